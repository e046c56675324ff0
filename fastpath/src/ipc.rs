//! Messages between the data plane and `fermata`, over a Unix stream socket: one JSON object a line
//! each way.
//!
//! A client sends a [`Request`] and reads one [`Reply`]; it may do so again on the same connection.
//! Types only: the server is in `supervisor`, the client in the control plane. Fields may be added,
//! never renamed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::policy::learnt::Learnt;
use crate::policy::snapshot::{Policy, RuleMode};
use crate::telemetry::line::{EventLine, ExchangeLine, FlowLine};

pub use crate::telemetry::ledger::propagation::PropagationView;
pub use crate::telemetry::ledger::savings::SavingsView;
pub use crate::telemetry::ledger::{ClientRow, EndpointRow, LedgerView};

/// Where the data plane listens unless it is told otherwise.
pub const SOCKET_DEFAULT: &str = "/run/fermata/fastpath.sock";

/// Longest line either side accepts, bytes. A policy of 512 endpoints and a page of rows stay well
/// below.
pub const LINE_BYTES_MAX: usize = 16 << 20;

/// Rows a reply holds at most, whatever the request asks for.
pub const ROWS_MAX: usize = 4096;

/// What is asked: `{"request":"flows","limit":20}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// How the data plane is doing.
    Status,
    /// Endpoints with traffic so far, those with most waste first.
    Endpoints,
    /// Clients, likewise.
    Clients,
    /// The flows that showed a ClientHello last, newest first.
    Flows {
        /// At most this many.
        limit: usize,
    },
    /// Exchanges, oldest first.
    Exchanges {
        /// Only those after this place, as [`Page::next`] gave it; 0 for all that are still there.
        after: u64,
        /// At most this many.
        limit: usize,
    },
    /// Signals and verdicts, oldest first.
    Events {
        /// Only those after this place.
        after: u64,
        /// At most this many.
        limit: usize,
    },
    /// The whole waste ledger.
    Ledger,
    /// What enforcing each law would have prevented.
    Savings,
    /// How failures spread.
    Propagation,
    /// How backends and endpoints stand.
    Backends,
    /// What has been learnt of endpoints.
    Learnt,
    /// The policy in force.
    Policy,
    /// Puts a policy in force.
    Apply {
        /// The whole policy, catalogue included.
        policy: Box<Policy>,
    },
    /// Turns everything that acts on traffic off, or on again.
    Bypass {
        /// Off: what passes is counted, and nothing more.
        on: bool,
    },
}

/// What comes back: `{"flows":[..]}` or `{"error":{..}}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// To [`Request::Endpoints`].
    Endpoints(Vec<EndpointRow>),
    /// To [`Request::Clients`].
    Clients(Vec<ClientRow>),
    /// To [`Request::Flows`].
    Flows(Vec<FlowLine>),
    /// To [`Request::Exchanges`].
    Exchanges(Page<ExchangeLine>),
    /// To [`Request::Events`].
    Events(Page<EventLine>),
    /// To [`Request::Ledger`].
    Ledger(Box<LedgerView>),
    /// To [`Request::Savings`].
    Savings(Box<SavingsView>),
    /// To [`Request::Propagation`].
    Propagation(Box<PropagationView>),
    /// To [`Request::Backends`].
    Backends(Box<Standings>),
    /// To [`Request::Learnt`], by endpoint; none while the lcore has not told yet: ask again.
    Learnt(Option<BTreeMap<String, Learnt>>),
    /// To [`Request::Policy`].
    Policy(Box<Policy>),
    /// To [`Request::Apply`]: what is in force now.
    Applied(PolicySummary),
    /// To [`Request::Bypass`]: whether nothing acts on traffic now.
    Bypassed(bool),
    /// The request could not be met.
    Error(ErrorReply),
}

/// Rows of a sequence that goes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Page<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// Ask for what comes `after` this next.
    pub next: u64,
    /// Rows that were dropped before they could be asked for.
    pub missed: u64,
}

/// An error, as on stderr with `-o json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ErrorReply {
    /// One word for programs: `invalid_policy`.
    pub code: String,
    /// What is wrong, and what was expected.
    pub message: String,
    /// Where: a file, line and path, or null.
    pub path: Option<String>,
    /// What to do, or null.
    pub hint: Option<String>,
}

/// How the data plane is doing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Status {
    /// Of the program.
    pub version: String,
    /// Of the process.
    pub pid: u32,
    /// `wire`, `observe` or `replay`.
    pub mode: String,
    /// Since the start, seconds.
    pub uptime_seconds: f64,
    /// How frames are spread over the cores: `single`, `rss_client_address`, `rss_5_tuple` or
    /// `software`.
    #[serde(default)]
    pub spread: String,
    /// The cores.
    pub lcores: Vec<LcoreStatus>,
    /// The ports.
    pub ports: Vec<PortStatus>,
    /// Frames by their ends, over all lcores.
    pub frames: FrameCounts,
    /// Frames that passed without being followed, by reason.
    pub passes: BTreeMap<String, u64>,
    /// Flows.
    pub flows: FlowCounts,
    /// What was done to flows.
    #[serde(default)]
    pub acts: ActCounts,
    /// Exchanges that have ended.
    pub exchanges: u64,
    /// Events lost because nobody read them in time.
    pub events_lost: u64,
    /// How often something bounded was full and let something go, by its name; only what happened.
    #[serde(default)]
    pub limits_reached: BTreeMap<String, u64>,
    /// The policy in force.
    pub policy: PolicySummary,
    /// Nothing acts on traffic, whatever the policy says.
    #[serde(default)]
    pub bypassed: bool,
}

/// One lcore.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LcoreStatus {
    /// Its number.
    pub lcore: u16,
    /// The core it is pinned to; none when it could not be pinned.
    pub core: Option<usize>,
    /// Since its last sign of life, milliseconds.
    pub heartbeat_age_ms: u64,
    /// Bursts with at least one frame.
    pub bursts: u64,
    /// Frames that went through its loop.
    pub frames: u64,
    /// Share of its time with frames in hand, 0 to 1.
    pub busy_share: f64,
    /// From a burst's arrival to its departure.
    pub burst_latency_us: Latency,
}

/// Quantiles of a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Latency {
    /// Median.
    pub p50: f64,
    /// 99 of a hundred.
    pub p99: f64,
    /// 999 of a thousand.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

/// One port, as its device counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PortStatus {
    /// Name of the device.
    pub name: String,
    /// `up` or `down`; none when the device does not say.
    pub link: Option<String>,
    /// MAC address; none where there is none.
    pub mac: Option<String>,
    /// Frames received.
    pub rx_frames: u64,
    /// Frames sent.
    pub tx_frames: u64,
    /// Frames the device dropped because nobody took them in time.
    pub rx_missed: u64,
    /// Frames it could not receive.
    pub rx_errors: u64,
    /// Frames it could not send.
    pub tx_errors: u64,
}

/// Frames by their ends: received = sent + held + dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FrameCounts {
    /// Frames received.
    pub rx_frames: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Frames sent.
    pub tx_frames: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Frames inside the data plane now.
    pub held_frames: u64,
    /// Frames freed, by reason.
    pub drops: BTreeMap<String, u64>,
}

/// Flows over all lcores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FlowCounts {
    /// In the tables now.
    pub live: u64,
    /// Made since the start.
    pub opened: u64,
    /// Pushed out by newer ones before their time.
    pub evicted: u64,
    /// That turned out to be HTTP/1.1 in TLS.
    pub h1: u64,
    /// HTTP/2 in TLS: counted, not followed yet.
    pub mux: u64,
    /// QUIC: counted, not followed yet.
    pub quic: u64,
    /// Offered HTTP/2 and HTTP/1.1, and showed nothing of what was chosen.
    #[serde(default)]
    pub both: u64,
    /// TCP segments that repeated what had passed before.
    #[serde(default)]
    pub repeated_frames: u64,
    /// Payload bytes in them that had passed before.
    #[serde(default)]
    pub repeated_bytes: u64,
}

/// What was done to flows, over all lcores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ActCounts {
    /// Flows that were held.
    pub holds: u64,
    /// Orders to hold that met a bound: the flow passed.
    pub holds_refused: u64,
    /// Flows that were paced, policed, marked or sent to another replica.
    pub shaped: u64,
    /// Orders to do so that met a bound: the flow passed.
    pub shaped_refused: u64,
    /// RSTs sent.
    pub resets: u64,
    /// RSTs that were not made.
    pub resets_refused: u64,
    /// Flows that are held or paced now.
    pub held_flows: u64,
    /// Frames that are kept now.
    pub held_frames: u64,
}

/// How backends and endpoints stand, over all lcores: as of the last second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Standings {
    /// Backend addresses that have been called lately.
    pub backends: Vec<BackendRow>,
    /// Endpoints that have such a backend, or whose rules are out of order.
    pub endpoints: Vec<EndpointStanding>,
}

/// One backend address.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BackendRow {
    /// Its address.
    pub server: String,
    /// Its port.
    pub server_port: u16,
    /// The endpoint it was last called for.
    pub endpoint: Option<String>,
    /// Requests forwarded and not over.
    pub in_flight: u64,
    /// No more than these may be in flight.
    pub in_flight_max: f64,
    /// Of those in flight: without a first byte, and not overtaken.
    pub waiting: u64,
    /// No more than these may wait; none while the usual time to first byte is not known.
    pub waiting_max: Option<f64>,
    /// Usual time to first byte without a queue, milliseconds.
    pub first_byte_base_ms: Option<f64>,
    /// Requests held.
    pub held: u64,
    /// For how long the longest of them has been, milliseconds.
    pub held_longest_ms: Option<u64>,
    /// Where its breaker stands.
    pub breaker: BreakerState,
}

/// One endpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EndpointStanding {
    /// Its name.
    pub endpoint: String,
    /// Exchanges that run.
    pub in_flight: u64,
    /// Where its own breaker stands.
    pub breaker: BreakerState,
    /// It can do hardly more than it is asked.
    pub overloaded: bool,
    /// Rules act on its clients no more: `selfDisarm`.
    pub disarmed: bool,
}

/// Where a breaker stands; of several lcores, the farthest from closed.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// All goes.
    #[default]
    Closed,
    /// A growing share goes.
    Recovering,
    /// One request is out, and decides.
    Probing,
    /// Nothing goes.
    Open,
}

/// The policy in force, in short.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PolicySummary {
    /// Counts up with every policy put in force; 1 is the one of the start.
    pub revision: u64,
    /// Whether rules are evaluated.
    pub mode: RuleMode,
    /// Endpoints known.
    pub endpoints: usize,
    /// Retries allowed for a hundred first attempts.
    pub retry_percent: f64,
}

impl BreakerState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Closed, Self::Recovering, Self::Probing, Self::Open];

    /// As on the socket.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Recovering => "recovering",
            Self::Probing => "probing",
            Self::Open => "open",
        }
    }
}

impl ErrorReply {
    /// An error without a place or a hint.
    #[must_use]
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), path: None, hint: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_flat_object() {
        let request = Request::Exchanges { after: 7, limit: 20 };
        let text = r#"{"request":"exchanges","after":7,"limit":20}"#;
        assert_eq!(serde_json::to_string(&request).unwrap(), text);
        assert_eq!(serde_json::from_str::<Request>(text).unwrap(), request);
        assert_eq!(serde_json::to_string(&Request::Status).unwrap(), r#"{"request":"status"}"#);
    }

    #[test]
    fn an_error_reply_is_the_error_object_of_the_contract() {
        let reply = Reply::Error(ErrorReply::new("unknown_request", "no"));
        let text = r#"{"error":{"code":"unknown_request","message":"no","path":null,"hint":null}}"#;
        assert_eq!(serde_json::to_string(&reply).unwrap(), text);
    }

    #[test]
    fn replies_survive_the_socket() {
        for reply in [
            Reply::Status(Box::default()),
            Reply::Ledger(Box::default()),
            Reply::Policy(Box::default()),
            Reply::Savings(Box::default()),
            Reply::Propagation(Box::default()),
            Reply::Backends(Box::default()),
            Reply::Exchanges(Page { rows: Vec::new(), next: 3, missed: 1 }),
            Reply::Flows(Vec::new()),
        ] {
            let text = serde_json::to_string(&reply).unwrap();
            assert_eq!(serde_json::from_str::<Reply>(&text).unwrap(), reply);
        }
    }
}
