//! The control laws as policy sets them: whether each acts, on how many clients, and its figures. Plain
//! data; the laws are in `decide`, one file each, and docs/policy.md describes every field.

use serde::{Deserialize, Serialize};

use super::snapshot::{PolicyError, RuleMode};
use crate::time::Nanos;

/// Whether a rule acts, and for whom. A rule never does more than the policy's own mode allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Switch {
    /// Its mode; the policy's, where there is none.
    #[serde(default)]
    pub mode: Option<RuleMode>,
    /// Share of clients it is enforced for, percent; the policy's, where there is none.
    #[serde(default)]
    pub enforce_percent: Option<f64>,
}

/// What happens to traffic when the data plane cannot decide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum FailureMode {
    /// It is forwarded. There is no other mode.
    #[default]
    Open,
}

/// The rules that can be switched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Concurrency limit (A1).
    Concurrency,
    /// Retry budget (A3).
    RetryBudget,
    /// Throttle where no time to first byte is known (A4).
    Throttle,
    /// Breaker and outlier detection (A5).
    Breaker,
    /// Replica choice (A6).
    Replica,
    /// Cancel propagation (A7).
    Cancel,
    /// Fair share (A8).
    FairShare,
    /// Metastability guard (A11).
    Guard,
    /// Fan-out (A12).
    FanOut,
}

/// Bounds of every hold (A2).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HoldBounds {
    /// A request on a connection that is open, milliseconds.
    pub max_time_ms: u64,
    /// A new connection's ClientHello, milliseconds: below the time SDKs allow for a connect.
    pub hello_max_time_ms: u64,
    /// What is kept of one flow, bytes.
    pub max_bytes: u32,
    /// What is kept of all, percent of the frames there are.
    pub pool_percent: f64,
}

/// Throttle (A4), named as in Envoy's admission control.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Throttle {
    /// What is counted, milliseconds.
    pub sampling_window_ms: u64,
    /// K: attempts for each that was accepted.
    pub aggression: f64,
    /// The largest share that is held, percent.
    pub max_hold_percent: f64,
}

/// Breaker (A5), named as in Envoy's outlier detection.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Breaker {
    /// Failures in a row that open it.
    pub consecutive_failures: u32,
    /// Share of failures in ten seconds that opens it, percent.
    pub failure_percent: f64,
    /// Attempts in that time without which the share says nothing.
    pub request_volume: u32,
    /// The first ejection, milliseconds; each further one takes twice as long.
    pub base_ejection_time_ms: u64,
    /// The longest, milliseconds.
    pub max_ejection_time_ms: u64,
    /// The largest share of a pool that is ejected at once, percent.
    pub max_ejection_percent: f64,
}

/// Replica choice (A6).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Replica {
    /// The affine replica is left when it has this many times the median in flight.
    pub overload_factor: f64,
}

/// Cancel propagation (A7).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cancel {
    /// Silence of the response after its client's FIN, milliseconds.
    pub grace_ms: u64,
}

/// Fan-out (A12). Without a cap nothing is held by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FanOut {
    /// Requests one client may have running at once.
    #[serde(default)]
    pub max_concurrent: Option<u32>,
}

/// When enforcement ends itself (I5).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SelfDisarm {
    /// Clients that are never acted on, percent.
    pub holdout_percent: f64,
    /// Mean latency that a rule may add while no server is overloaded, percent.
    pub max_added_latency_percent: f64,
    /// A rule acts again after this, milliseconds.
    pub rearm_after_ms: u64,
}

/// All of them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rules {
    /// Share of clients that rules are enforced for, percent.
    pub enforce_percent: f64,
    /// What happens when the data plane cannot decide.
    pub failure_mode: FailureMode,
    /// Whether each rule acts, in the order of [`Rule::ALL`].
    pub switches: [Switch; Rule::ALL.len()],
    /// A2.
    pub hold: HoldBounds,
    /// A4.
    pub throttle: Throttle,
    /// A5.
    pub breaker: Breaker,
    /// A6.
    pub replica: Replica,
    /// A7.
    pub cancel: Cancel,
    /// A12.
    pub fan_out: FanOut,
    /// I5.
    pub self_disarm: SelfDisarm,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Self; 9] = [
        Self::Concurrency,
        Self::RetryBudget,
        Self::Throttle,
        Self::Breaker,
        Self::Replica,
        Self::Cancel,
        Self::FairShare,
        Self::Guard,
        Self::FanOut,
    ];

    /// The word of the policy.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Concurrency => "adaptiveConcurrency",
            Self::RetryBudget => "retryConstraint",
            Self::Throttle => "admissionControl",
            Self::Breaker => "outlierDetection",
            Self::Replica => "replicaChoice",
            Self::Cancel => "cancelPropagation",
            Self::FairShare => "fairShare",
            Self::Guard => "metastabilityGuard",
            Self::FanOut => "fanOut",
        }
    }

    /// Its place in [`Rule::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl Rules {
    /// What a rule may do in a policy of this mode.
    #[must_use]
    pub fn mode(&self, rule: Rule, policy: RuleMode) -> RuleMode {
        self.switches[rule.index()].mode.map_or(policy, |own| own.min(policy))
    }

    /// Share of clients that a rule is enforced for, from 0 to 1.
    #[must_use]
    pub fn share(&self, rule: Rule) -> f64 {
        self.switches[rule.index()].enforce_percent.unwrap_or(self.enforce_percent) / 100.0
    }

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// When a figure is out of its range.
    pub fn check_values(&self) -> Result<(), PolicyError> {
        let check = |right: bool, path: &str, expected| {
            if right { Ok(()) } else { Err(PolicyError::Value(path.to_owned(), expected)) }
        };
        let percent = |value: f64| (0.0..=100.0).contains(&value);
        let span = |ms: u64, longest: u64| (1..=longest).contains(&ms);
        check(percent(self.enforce_percent), "rules.enforcePercent", "0 to 100")?;
        for (switch, rule) in self.switches.iter().zip(Rule::ALL) {
            let path = format!("rules.{}.enforcePercent", rule.name());
            check(switch.enforce_percent.is_none_or(percent), &path, "0 to 100")?;
        }
        let HoldBounds { max_time_ms, hello_max_time_ms, max_bytes, pool_percent } = self.hold;
        check(span(max_time_ms, 120_000), "rules.hold.maxTime", "1ms to 2m")?;
        check(span(hello_max_time_ms, 10_000), "rules.hold.helloMaxTime", "1ms to 10s")?;
        check((1..=65_536).contains(&max_bytes), "rules.hold.maxBytes", "1 to 65536")?;
        check((0.0..=50.0).contains(&pool_percent), "rules.hold.poolPercent", "0 to 50")?;
        let Throttle { sampling_window_ms, aggression, max_hold_percent } = self.throttle;
        let window = (1000..=30_000).contains(&sampling_window_ms);
        check(window, "rules.admissionControl.samplingWindow", "1s to 30s")?;
        let path = "rules.admissionControl.aggression";
        check((1.0..=10.0).contains(&aggression), path, "1 to 10")?;
        let path = "rules.admissionControl.maxHoldPercent";
        check((0.0..=99.0).contains(&max_hold_percent), path, "0 to 99")?;
        self.breaker.check_values(check)?;
        let factor = (1.0..=100.0).contains(&self.replica.overload_factor);
        check(factor, "rules.replicaChoice.overloadFactor", "1 to 100")?;
        let grace = (10..=60_000).contains(&self.cancel.grace_ms);
        check(grace, "rules.cancelPropagation.grace", "10ms to 60s")?;
        let cap = self.fan_out.max_concurrent.is_none_or(|cap| cap > 0);
        check(cap, "rules.fanOut.maxConcurrent", "at least 1")?;
        let SelfDisarm { holdout_percent, max_added_latency_percent, rearm_after_ms } =
            self.self_disarm;
        check((0.0..=50.0).contains(&holdout_percent), "rules.holdout", "0 to 50 percent")?;
        let path = "rules.selfDisarm.maxAddedLatencyPercent";
        check((0.0..=1000.0).contains(&max_added_latency_percent), path, "0 to 1000")?;
        check(span(rearm_after_ms, 86_400_000), "rules.selfDisarm.rearmAfter", "1ms to 24h")
    }
}

impl Breaker {
    fn check_values(
        &self,
        check: impl Fn(bool, &str, &'static str) -> Result<(), PolicyError>,
    ) -> Result<(), PolicyError> {
        let in_a_row = self.consecutive_failures > 0;
        check(in_a_row, "rules.outlierDetection.consecutiveFailures", "at least 1")?;
        let share = (1.0..=100.0).contains(&self.failure_percent);
        check(share, "rules.outlierDetection.failurePercent", "1 to 100")?;
        let (base, longest) = (self.base_ejection_time_ms, self.max_ejection_time_ms);
        let times = 0 < base && base <= longest && longest <= 3_600_000;
        check(
            times,
            "rules.outlierDetection.baseEjectionTime",
            "at most maxEjectionTime, at most 1h",
        )?;
        let share = (0.0..=100.0).contains(&self.max_ejection_percent);
        check(share, "rules.outlierDetection.maxEjectionPercent", "0 to 100")
    }
}

impl HoldBounds {
    /// How long a hold lasts at most.
    #[must_use]
    pub const fn longest(&self, hello: bool) -> Nanos {
        Nanos::from_millis(if hello { self.hello_max_time_ms } else { self.max_time_ms })
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            enforce_percent: 100.0,
            failure_mode: FailureMode::Open,
            switches: [Switch::default(); Rule::ALL.len()],
            hold: HoldBounds {
                max_time_ms: 30_000,
                hello_max_time_ms: 4000,
                max_bytes: 15_000,
                pool_percent: 25.0,
            },
            throttle: Throttle {
                sampling_window_ms: 30_000,
                aggression: 1.5,
                max_hold_percent: 90.0,
            },
            breaker: Breaker {
                consecutive_failures: 5,
                failure_percent: 50.0,
                request_volume: 20,
                base_ejection_time_ms: 5000,
                max_ejection_time_ms: 300_000,
                max_ejection_percent: 50.0,
            },
            replica: Replica { overload_factor: 1.5 },
            cancel: Cancel { grace_ms: 200 },
            fan_out: FanOut::default(),
            self_disarm: SelfDisarm {
                holdout_percent: 5.0,
                max_added_latency_percent: 5.0,
                rearm_after_ms: 600_000,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_does_no_more_than_its_policy_allows() {
        let mut rules = Rules::default();
        assert_eq!(rules.mode(Rule::Cancel, RuleMode::Enforce), RuleMode::Enforce);
        rules.switches[Rule::Cancel.index()].mode = Some(RuleMode::Enforce);
        assert_eq!(rules.mode(Rule::Cancel, RuleMode::Shadow), RuleMode::Shadow);
        rules.switches[Rule::Cancel.index()].mode = Some(RuleMode::Off);
        assert_eq!(rules.mode(Rule::Cancel, RuleMode::Enforce), RuleMode::Off);
    }

    #[test]
    fn every_rule_has_the_place_of_its_list() {
        assert!(Rule::ALL.iter().enumerate().all(|(place, rule)| rule.index() == place));
    }

    #[test]
    fn figures_out_of_range_are_refused() {
        assert_eq!(Rules::default().check_values(), Ok(()));
        let wrong = [
            Rules { enforce_percent: f64::NAN, ..Rules::default() },
            Rules { cancel: Cancel { grace_ms: 0 }, ..Rules::default() },
            Rules { fan_out: FanOut { max_concurrent: Some(0) }, ..Rules::default() },
        ];
        assert!(wrong.iter().all(|rules| rules.check_values().is_err()));
    }
}
