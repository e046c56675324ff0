//! The plan: which request goes wrong, and how. Keyed by the call a client names and the attempt
//! the server counts, so a run repeats exactly, however the clients' timing falls.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use serde::Deserialize;

use crate::error::{LabError, read};

/// The plan as written by the clients' scenario.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlanFile {
    /// Name of the scenario, for the reader.
    #[serde(default)]
    pub(crate) scenario: String,
    /// Seed of the scenario; mixed into every answer.
    #[serde(default)]
    pub(crate) seed: u64,
    /// Slots of an endpoint in this scenario, where they differ from the endpoint file.
    #[serde(default)]
    pub(crate) slots: HashMap<String, usize>,
    /// The faults.
    #[serde(default)]
    pub(crate) faults: Vec<Entry>,
}

/// One fault of the plan.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// The call, as in the client's `x-lab-call`.
    pub(crate) call: String,
    /// The attempt it befalls, from 1.
    pub(crate) attempt: u32,
    /// What happens.
    pub(crate) fault: Fault,
}

/// What can befall a request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Fault {
    /// An error answer.
    Status {
        /// 429, 500, 503, 529 ...
        code: u16,
        /// The `Retry-After` header, in seconds.
        #[serde(default)]
        retry_after_s: Option<u32>,
    },
    /// A TCP RST before any byte of a response.
    ResetBefore,
    /// The response ends in the middle.
    Cut {
        /// Tokens sent before the cut.
        after_tokens: u32,
        /// How the connection ends.
        by: Cut,
    },
    /// The response falls silent for a while, then goes on.
    Stall {
        /// Tokens sent before the silence.
        after_tokens: u32,
        /// Length of the silence.
        ms: u64,
    },
    /// The first token comes late.
    SlowFirst {
        /// How much later than usual.
        ms: u64,
    },
    /// The request is taken and never answered; it ends when the client leaves.
    Silence,
}

/// How a cut looks on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Cut {
    /// A RST.
    Rst,
    /// A FIN without the chunk terminator and without close_notify.
    Fin,
}

/// The plan in force, with the attempts counted so far.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Name of the scenario, for the reader.
    pub(crate) scenario: String,
    /// Seed of the scenario.
    pub(crate) seed: u64,
    /// Slots by endpoint name.
    pub(crate) slots: HashMap<String, usize>,
    faults: HashMap<(String, u32), Fault>,
    attempts: Mutex<HashMap<String, u32>>,
}

impl Plan {
    /// Reads a plan; no path means no faults.
    pub(crate) fn load(path: Option<&Path>) -> Result<Self, LabError> {
        let Some(path) = path else { return Ok(Self::default()) };
        let text = read(path)?;
        let file = serde_json::from_str(&text).map_err(|source| LabError::Json {
            path: path.into(),
            line: source.line(),
            source,
        })?;
        Self::new(file).map_err(|wrong| LabError::Content { path: path.into(), wrong })
    }

    /// Checks a plan; two faults for one attempt are a mistake.
    pub(crate) fn new(mut file: PlanFile) -> Result<Self, String> {
        let mut faults = HashMap::new();
        for entry in std::mem::take(&mut file.faults) {
            let (call, attempt) = (entry.call, entry.attempt);
            if attempt == 0 {
                return Err(format!("call {call}: attempt 0, attempts count from 1"));
            }
            if faults.insert((call.clone(), attempt), entry.fault).is_some() {
                return Err(format!("call {call}, attempt {attempt}: two faults, expected one"));
            }
        }
        let attempts = Mutex::default();
        let PlanFile { scenario, seed, slots, .. } = file;
        Ok(Self { scenario, seed, slots, faults, attempts })
    }

    /// Counts a request of `call` and returns its attempt, from 1.
    pub(crate) fn arrival(&self, call: &str) -> u32 {
        let mut attempts = self.attempts.lock().expect("no holder of this lock panics");
        let count = attempts.entry(call.to_owned()).or_default();
        *count += 1;
        *count
    }

    /// What befalls this attempt.
    pub(crate) fn fault(&self, call: &str, attempt: u32) -> Option<&Fault> {
        self.faults.get(&(call.to_owned(), attempt))
    }
}

impl Fault {
    /// Its name in the truth.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Status { .. } => "status",
            Self::ResetBefore => "reset_before",
            Self::Cut { by: Cut::Rst, .. } => "reset_mid",
            Self::Cut { by: Cut::Fin, .. } => "close_mid",
            Self::Stall { .. } => "stall",
            Self::SlowFirst { .. } => "slow_first",
            Self::Silence => "silence",
        }
    }

    /// How much later than usual the first token comes.
    pub(crate) fn first_token_delay(&self) -> Duration {
        match self {
            Self::SlowFirst { ms } => Duration::from_millis(*ms),
            Self::Status { .. }
            | Self::ResetBefore
            | Self::Cut { .. }
            | Self::Stall { .. }
            | Self::Silence => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"seed": 7, "slots": {"internal": 2}, "faults": [
        {"call": "c17", "attempt": 1, "fault": {"kind": "status", "code": 503}},
        {"call": "c17", "attempt": 2, "fault": {"kind": "cut", "after_tokens": 9, "by": "rst"}}]}"#;

    fn plan(text: &str) -> Result<Plan, String> {
        Plan::new(serde_json::from_str(text).unwrap())
    }

    #[test]
    fn a_fault_befalls_its_call_and_attempt_only() {
        let plan = plan(TEXT).unwrap();
        assert_eq!(plan.fault("c17", 1), Some(&Fault::Status { code: 503, retry_after_s: None }));
        assert_eq!(plan.fault("c17", 2).map(Fault::name), Some("reset_mid"));
        assert_eq!(plan.fault("c17", 3), None);
        assert_eq!(plan.fault("c1", 1), None);
    }

    #[test]
    fn attempts_are_counted_per_call() {
        let plan = plan(TEXT).unwrap();
        let seen = [plan.arrival("c17"), plan.arrival("c3"), plan.arrival("c17")];
        assert_eq!(seen, [1, 1, 2]);
    }

    #[test]
    fn two_faults_for_one_attempt_are_refused() {
        let entry = r#"{"call": "c1", "attempt": 1, "fault": {"kind": "silence"}}"#;
        let wrong = plan(&format!(r#"{{"faults": [{entry}, {entry}]}}"#)).unwrap_err();
        assert_eq!(wrong, "call c1, attempt 1: two faults, expected one");
    }

    #[test]
    fn an_unknown_fault_is_an_error() {
        let text = r#"{"faults": [{"call": "c1", "attempt": 1, "fault": {"kind": "flood"}}]}"#;
        assert!(serde_json::from_str::<PlanFile>(text).is_err());
    }
}
