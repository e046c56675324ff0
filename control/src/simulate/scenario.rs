//! What is simulated: servers, clients, what goes wrong and when, and what is compared.
//!
//! A scenario is one YAML document. An unknown field is an error with file, line, path, what was
//! expected and the nearest name, as in a policy (docs/simulate.md describes every field).

use std::path::Path;

use fastpath::time::Nanos;
use serde::{Deserialize, Serialize};

use crate::policy::document::DocumentError;
use crate::policy::duration::Millis;

mod check;

/// What is simulated.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scenario {
    /// What it is called.
    pub name: String,
    /// What it is to show, in a sentence.
    #[serde(default)]
    pub title: String,
    /// How long it runs.
    pub duration: Millis,
    /// What happens before this is in the series but not in the totals.
    #[serde(default)]
    pub warmup: Millis,
    /// When the trigger is over, from which on recovery is measured; the end of the last fault where
    /// it is not given.
    #[serde(default)]
    pub recovery_from: Option<Millis>,
    /// Round trips.
    #[serde(default)]
    pub rtt: Rtt,
    /// What the wire and the machine of the data plane do to frames.
    #[serde(default)]
    pub wire: Wire,
    /// What is compared, each with the same arrivals and the same work.
    #[serde(default = "all_columns")]
    pub columns: Vec<Column>,
    /// The servers.
    pub pools: Vec<Pool>,
    /// The clients.
    pub clients: Vec<Group>,
    /// What goes wrong.
    #[serde(default)]
    pub faults: Vec<Fault>,
}

/// Round trips between the wire and its two sides.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rtt {
    /// To the clients.
    pub client: Millis,
    /// To the servers.
    pub server: Millis,
}

/// What happens to frames at the data plane's port, as shares from 0 to 1. Other columns have no port.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wire {
    /// Frames that are lost before the data plane has them.
    #[serde(default)]
    pub lost: f64,
    /// Frames that it sends and that find the transmit queue full.
    #[serde(default)]
    pub refused: f64,
    /// Frames of its own that it finds no buffer for.
    #[serde(default)]
    pub exhausted: f64,
}

/// Who decides about requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Column {
    /// Nobody.
    None,
    /// A limit that knows the capacity, and an unbounded first-in-first-out queue before it.
    Fifo,
    /// A retry budget alone: a fifth of the first attempts and ten a second; what is over it is reset.
    Budget,
    /// A limit that knows the capacity, and a queue that turns around when it is long: the ceiling.
    Oracle,
    /// The data plane under the policy.
    Lcore,
}

/// Servers behind one name.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pool {
    /// What it is called here.
    pub name: String,
    /// The name its clients ask for; the policy tells by it which endpoint this is.
    #[serde(default = "default_host")]
    pub host: String,
    /// Servers, each at an address of its own. A connection goes to one at random.
    #[serde(default = "one")]
    pub replicas: u32,
    /// Requests that a replica works on at once.
    pub slots: u32,
    /// Requests that may wait at a replica; without it, any number. What finds no place gets a 503.
    #[serde(default)]
    pub queue: Option<u32>,
    /// Mean time to the first byte once a slot is free.
    pub prefill: Millis,
    /// Its spread: sigma of a log-normal distribution.
    #[serde(default)]
    pub prefill_spread: f64,
    /// Mean time from the first byte to the last.
    pub decode: Millis,
    /// Its spread: sigma of a log-normal distribution.
    #[serde(default)]
    pub decode_spread: f64,
    /// Time between two records of an answer.
    #[serde(default = "hundred_millis")]
    pub record: Millis,
    /// Prefill takes so many times longer where the replica has not served this client before.
    #[serde(default = "unit")]
    pub cold_prefill: f64,
    /// What it notices of a client that leaves.
    #[serde(default)]
    pub disconnect: Disconnect,
    /// Requests that each tenant is allowed.
    #[serde(default)]
    pub quota: Option<Quota>,
}

/// What a server notices of a client that leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Disconnect {
    /// It stops, whether the client closes or resets.
    Abort,
    /// It stops at a reset only.
    Reset,
    /// It never stops.
    #[default]
    Finish,
}

/// A token bucket; over it there is a 429.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Quota {
    /// Requests a second.
    pub per_second: f64,
    /// Requests that can be saved up.
    pub burst: f64,
    /// What the 429 says of when to come back.
    pub retry_after: Millis,
}

/// Clients of one kind, each a host with an address of its own in one prefix.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Group {
    /// What it is called.
    pub name: String,
    /// Whose it is; its own name where nobody is named.
    #[serde(default)]
    pub tenant: Option<String>,
    /// The pool it calls.
    pub pool: String,
    /// Hosts.
    pub hosts: u32,
    /// How they retry, and what they look like.
    #[serde(default)]
    pub profile: Profile,
    /// Attempts at a call, by the loops around it, innermost first: [3, 3] are nine. The SDK's own
    /// where it is not given.
    #[serde(default)]
    pub attempts: Vec<u32>,
    /// A client gives an attempt up that has no whole answer after this.
    #[serde(default = "ten_minutes")]
    pub timeout: Millis,
    /// How work comes.
    pub load: Load,
    /// Calls side by side in a step of a task.
    #[serde(default = "one")]
    pub children: u32,
    /// Steps of a task, one after the other.
    #[serde(default = "one")]
    pub steps: u32,
    /// How often a task begins anew when a step has failed for good.
    #[serde(default)]
    pub restarts: u32,
    /// Share of calls that lose interest somewhere from 5 to 95 % of their answer.
    #[serde(default)]
    pub leave: f64,
    /// Bytes of a request, from and to.
    #[serde(default = "request_bytes")]
    pub request_bytes: [u32; 2],
}

/// Clients by how they retry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// The Python SDK of `OpenAI`.
    #[default]
    OpenaiPython,
    /// Its Node SDK.
    OpenaiNode,
    /// The Python SDK of Anthropic.
    AnthropicPython,
    /// Its Node SDK.
    AnthropicNode,
    /// A loop around httpx.
    Httpx,
    /// A loop around aiohttp.
    Aiohttp,
}

/// How work comes.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Load {
    /// Tasks a second of the whole group, at random (Poisson).
    PerSecond(f64),
    /// The same as a share of what the pool can do.
    Utilisation(f64),
    /// Each host rests for this long, on average, between two tasks.
    Think(Millis),
}

/// Something that goes wrong for a while.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// Where.
    #[serde(default)]
    pub pool: Option<String>,
    /// At which of its replicas, from 0; at all where none is named.
    #[serde(default)]
    pub replica: Option<u32>,
    /// From when on.
    pub at: Millis,
    /// For how long.
    #[serde(rename = "for")]
    pub lasts: Millis,
    /// What.
    pub kind: FaultKind,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum FaultKind {
    /// This share of the slots is left, at least one.
    Cut(f64),
    /// Everything takes so many times longer.
    Slow(f64),
    /// Frames to it vanish.
    Blackhole,
    /// It resets every connection that is opened.
    Reset,
    /// This share of requests gets a 500 at once.
    FastFail(f64),
    /// Requests are accepted and never answered.
    Stall,
    /// Every request gets a 429 with this `Retry-After`.
    Throttle(Millis),
    /// All clients, or those of the pool, send so many times more.
    Load(f64),
}

impl Scenario {
    /// Reads a scenario.
    ///
    /// # Errors
    /// When the file cannot be read or is no valid scenario.
    pub fn read(file: &Path) -> Result<Self, DocumentError> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| DocumentError::Unreadable(file.to_owned(), error))?;
        Self::parse(file, &text)
    }

    /// The scenario in `text`. `file` is for errors.
    ///
    /// # Errors
    /// When it is not valid.
    pub fn parse(file: &Path, text: &str) -> Result<Self, DocumentError> {
        let mut path = None;
        let parsed = serde_saphyr::with_deserializer_from_str(text, |deserializer| {
            serde_path_to_error::deserialize(deserializer).map_err(|error| {
                path = Some(error.path().to_string());
                error.into_inner()
            })
        });
        let scenario: Self = parsed.map_err(|error| DocumentError::syntax(file, path, &error))?;
        check::check(&scenario).map_err(|(path, message)| DocumentError::Invalid {
            file: file.to_owned(),
            line: None,
            path: Some(path),
            message,
            hint: None,
        })?;
        Ok(scenario)
    }

    /// When the trigger is over.
    #[must_use]
    pub fn recovery_from(&self) -> Option<Nanos> {
        let end = |fault: &Fault| fault.at.nanos() + fault.lasts.nanos();
        self.recovery_from.map(Millis::nanos).or_else(|| self.faults.iter().map(end).max())
    }

    /// The place of a pool.
    pub(super) fn pool(&self, name: &str) -> Option<usize> {
        self.pools.iter().position(|pool| pool.name == name)
    }
}

impl Column {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Fifo => "fifo",
            Self::Budget => "budget",
            Self::Oracle => "oracle",
            Self::Lcore => "lcore",
        }
    }
}

impl Pool {
    /// Requests a second that its replicas can answer together.
    pub(super) fn capacity(&self) -> f64 {
        let seconds = (self.prefill.nanos() + self.decode.nanos()).secs_f64();
        f64::from(self.slots) * f64::from(self.replicas) / seconds
    }
}

impl Group {
    /// Whose it is.
    #[must_use]
    pub fn tenant(&self) -> &str {
        self.tenant.as_deref().unwrap_or(&self.name)
    }
}

impl Default for Rtt {
    /// A data centre.
    fn default() -> Self {
        Self { client: Millis(2), server: Millis(2) }
    }
}

fn all_columns() -> Vec<Column> {
    vec![Column::None, Column::Oracle, Column::Lcore]
}

fn default_host() -> String {
    "api.openai.com".to_owned()
}

fn one() -> u32 {
    1
}

fn unit() -> f64 {
    1.0
}

fn hundred_millis() -> Millis {
    Millis(100)
}

fn ten_minutes() -> Millis {
    Millis(600_000)
}

fn request_bytes() -> [u32; 2] {
    [1_200, 9_000]
}

#[cfg(test)]
mod tests;
