//! What an lcore tells the outside: hellos, exchanges and signals, as plain copies in a bounded
//! ring.
//!
//! An event holds ids, not text: [`NameId`] resolves through [`Names`](super::names::Names), a
//! [`FingerprintId`] through [`Fingerprints`](super::fingerprints::Fingerprints), an [`EndpointId`]
//! through the policy snapshot. Lengths are quantised here already (docs/privacy.md, P2).

use std::fmt;
use std::sync::Arc;

use crossbeam::queue::ArrayQueue;
use serde::{Deserialize, Serialize};

use super::grounds::{DecisionGrounds, Grounds};
use super::names::NameId;
use crate::burst::{Address, Carrier, FingerprintId, Ja4, Protocol, TlsVersion};
use crate::keyed::Fresh;
use crate::policy::snapshot::EndpointId;
use crate::time::Nanos;

/// One thing that was seen.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::large_enum_variant, reason = "they lie in a ring of equal places")]
pub enum Event {
    /// A flow has shown its ClientHello.
    Hello(Hello),
    /// An exchange is over and everything that will be said about it is known.
    Exchange(Exchange),
    /// A detector has fired.
    Signal(Signal),
    /// An exchange that was told turns out to have been waste.
    Amendment(Amendment),
}

impl Event {
    /// The time it belongs to.
    #[must_use]
    pub const fn at(&self) -> Nanos {
        match self {
            Self::Hello(hello) => hello.at,
            Self::Exchange(exchange) => exchange.end,
            Self::Signal(signal) => signal.at,
            Self::Amendment(amendment) => amendment.at,
        }
    }
}

/// Client and server of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peers {
    /// Who opened the connection.
    pub client: Address,
    /// Its port.
    pub client_port: u16,
    /// Who was called.
    pub server: Address,
    /// Its port.
    pub server_port: u16,
    /// Over TCP or UDP.
    pub protocol: Protocol,
}

/// The clear facts of a ClientHello.
#[derive(Clone, Copy, Debug)]
pub struct Hello {
    /// When it was complete.
    pub at: Nanos,
    /// Whose.
    pub peers: Peers,
    /// What carried it.
    pub carrier: Carrier,
    /// Server name.
    pub sni: Option<NameId>,
    /// ALPN offer, in wire form, if there is one.
    pub alpn: Option<NameId>,
    /// Highest version offered.
    pub version: TlsVersion,
    /// Fingerprint.
    pub ja4: Ja4,
    /// Its lists.
    pub fingerprint: Option<FingerprintId>,
    /// Encrypted ClientHello (or its GREASE) present.
    pub ech: bool,
    /// Encrypted server name present, the draft that ECH came from.
    pub esni: bool,
    /// The endpoint it was classified as.
    pub call: Option<Call>,
    /// How well its flow can be seen.
    pub visibility: Visibility,
    /// The flow's beginning was not seen.
    pub from_middle: bool,
}

/// The endpoint that a flow calls, and how that is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Call {
    /// Which.
    pub endpoint: EndpointId,
    /// What it was told by.
    pub by: Evidence,
    /// How sure it is, 0 to 1.
    pub confidence: f32,
}

/// What an endpoint was told by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// The server's address and port are the policy's.
    Prefix,
    /// The name in the ClientHello is the policy's.
    Sni,
    /// Clients that did give a name asked this address for it.
    Learnt,
    /// The ClientHello has a fingerprint that the policy names.
    Fingerprint,
}

/// An exchange's number, unique within a data plane's life; those of one lcore count up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExchangeId(pub u64);

impl ExchangeId {
    /// The first one of an lcore: each has 2^40 of its own.
    #[must_use]
    pub const fn first_of(lcore: u16) -> Self {
        Self(((lcore as u64) << 40) + 1)
    }
}

impl fmt::Display for ExchangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "x{}", self.0)
    }
}

/// How well a flow can be seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// HTTP/1.1 in TLS: one request at a time, outcome per exchange.
    H1,
    /// HTTP/2 and HTTP/1.1 are offered and the choice is encrypted: nothing has shown it yet. Said
    /// of flows, never of exchanges.
    Both,
    /// HTTP/2 in TLS: multiplexed.
    Mux,
    /// QUIC.
    Quic,
    /// Not TLS, or joined in the middle: directions and times only.
    #[default]
    Opaque,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The response is whole.
    Complete,
    /// An error-shaped answer.
    Failed,
    /// An error-shaped answer of the shape of a 429.
    Throttled,
    /// The client closed before the response was whole.
    ClientAbort,
    /// The server cut the response.
    ServerAbort,
    /// The response ends without its mark, and nobody can say whose doing it was.
    Truncated,
    /// The response had fallen silent when it ended.
    Stalled,
    /// The server closed without a response.
    ConnectFailed,
    /// Still running when the observation ended.
    Open,
}

impl Outcome {
    /// Every outcome, in the order of the contract.
    pub const ALL: [Self; 9] = [
        Self::Complete,
        Self::Failed,
        Self::Throttled,
        Self::ClientAbort,
        Self::ServerAbort,
        Self::Truncated,
        Self::Stalled,
        Self::ConnectFailed,
        Self::Open,
    ];

    /// The word of the contract.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Failed => "failed",
            Self::Throttled => "throttled",
            Self::ClientAbort => "client_abort",
            Self::ServerAbort => "server_abort",
            Self::Truncated => "truncated",
            Self::Stalled => "stalled",
            Self::ConnectFailed => "connect_failed",
            Self::Open => "open",
        }
    }

    /// Whether a client may try again after it. A client's own abort counts: most are time-outs.
    #[must_use]
    pub const fn invites_retry(self) -> bool {
        match self {
            Self::Complete | Self::Open => false,
            Self::Failed
            | Self::Throttled
            | Self::ClientAbort
            | Self::ServerAbort
            | Self::Truncated
            | Self::Stalled
            | Self::ConnectFailed => true,
        }
    }
}

/// Why an exchange was waste.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Waste {
    /// Another attempt at the same work, and in vain again.
    Retry,
    /// The client left while the response was being made.
    LateAbort,
    /// The server cut a response that had begun.
    Partial,
    /// A gateway went on receiving after its own client had left.
    Orphan,
    /// Its workflow began anew, and what it had been told so far was thrown away.
    Thrash,
    /// A branch went on although a branch beside it had failed for good.
    Doomed,
    /// The copy of a request that lost against the other.
    Hedge,
}

impl Waste {
    /// Every class.
    pub const ALL: [Self; 7] = [
        Self::Retry,
        Self::LateAbort,
        Self::Partial,
        Self::Orphan,
        Self::Thrash,
        Self::Doomed,
        Self::Hedge,
    ];

    /// The word of the contract.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::LateAbort => "late_abort",
            Self::Partial => "partial",
            Self::Orphan => "orphan",
            Self::Thrash => "thrash",
            Self::Doomed => "doomed",
            Self::Hedge => "hedge",
        }
    }
}

/// A range with its likely value. Tokens, or thousandths of a US dollar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Estimate {
    /// Not less than this, as far as the calibration goes.
    pub low: f32,
    /// The best single figure.
    pub likely: f32,
    /// Not more than this, as far as the calibration goes.
    pub high: f32,
}

/// What the decision stage says of an exchange. In shadow it is what would have been done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Let it go.
    #[default]
    Pass,
    /// Keep its request back for a while.
    Hold,
    /// Send its request no faster than a rate.
    Pace,
    /// Free what of its request exceeds a rate.
    Police,
    /// Set a codepoint in its frames.
    Mark,
    /// End its connection towards a side.
    Reset,
    /// Send it to another replica.
    Reroute,
}

impl Verdict {
    /// The word of the contract.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Hold => "hold",
            Self::Pace => "pace",
            Self::Police => "police",
            Self::Mark => "mark",
            Self::Reset => "reset",
            Self::Reroute => "reroute",
        }
    }
}

/// Which rule decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No rule applies.
    #[default]
    NoRule,
    /// Within the retry budget of its endpoint.
    WithinRetryBudget,
    /// A retry over the budget of its endpoint (`decide/budget.rs`).
    OverRetryBudget,
    /// As much waits at its backend as that takes up (`decide/limit.rs`).
    ConcurrencyLimit,
    /// Its backend accepts too small a share of what it gets (`decide/throttle.rs`).
    AdmissionControl,
    /// Its endpoint or backend fails (`decide/breaker.rs`).
    BreakerOpen,
    /// Its replica fails or has too much in flight (`decide/replica.rs`).
    ReplicaChoice,
    /// Its client has left (`decide/cancel.rs`).
    ClientLeft,
    /// Retries keep its endpoint overloaded, and it is one (`decide/guard.rs`).
    RetriesLast,
    /// Its client has too many requests running (`decide/fanout.rs`).
    FanOut,
}

/// What the decision stage says of an exchange, and by which figures.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Decision {
    /// What was, or in shadow would have been, done.
    pub verdict: Verdict,
    /// By which rule.
    pub reason: Reason,
    /// It was done, and not only said.
    pub enforced: bool,
    /// How long its request was held.
    pub hold: Option<Nanos>,
    /// The rule's figures.
    pub grounds: Option<DecisionGrounds>,
}

impl Decision {
    /// A verdict without more.
    #[must_use]
    pub const fn of(verdict: Verdict, reason: Reason) -> Self {
        Self { verdict, reason, enforced: false, hold: None, grounds: None }
    }
}

/// One request and its response.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    /// Its number.
    pub id: ExchangeId,
    /// Between whom.
    pub peers: Peers,
    /// Which endpoint, if it is a known one.
    pub endpoint: Option<EndpointId>,
    /// How the endpoint is known.
    pub call: Option<Call>,
    /// The name the client asked for.
    pub sni: Option<NameId>,
    /// How well its flow can be seen.
    pub visibility: Visibility,
    /// The flow's beginning was not seen.
    pub from_middle: bool,
    /// Smoothed round trips of the flow so far, between here and the server, and the client.
    pub rtt: [Option<Nanos>; 2],
    /// First byte of the request.
    pub start: Nanos,
    /// First byte of the response.
    pub first_byte: Option<Nanos>,
    /// Last byte of either.
    pub end: Nanos,
    /// When a side closed before the response was whole, and so ended it.
    pub closed: Option<Nanos>,
    /// How it ended.
    pub outcome: Outcome,
    /// 1 for the first attempt at this work.
    pub attempt: u16,
    /// The attempt before.
    pub retry_of: Option<ExchangeId>,
    /// A second copy of a request that was still running.
    pub hedge: bool,
    /// It repeats a request that had been answered, as a workflow that begins anew does.
    pub restart: bool,
    /// Longest silence inside the response, if it was a stall.
    pub stall: Option<Nanos>,
    /// How sure the outcome is, 0 to 1.
    pub outcome_confidence: f64,
    /// How sure the link to the attempt before (or its absence) is, 0 to 1.
    pub retry_confidence: f64,
    /// Request bytes, rounded up to a power of two, at least 1024.
    pub up_bucket: u64,
    /// Response bytes, likewise.
    pub down_bucket: u64,
    /// The response was a stream: several bursts.
    pub streamed: bool,
    /// Output tokens of the response.
    pub tokens: Option<Estimate>,
    /// What these tokens cost, in thousandths of a US dollar.
    pub cost_milli_usd: Option<Estimate>,
    /// Why it was waste.
    pub waste: Option<Waste>,
    /// When that turned out, if it was not known at its end.
    pub amended: Option<Nanos>,
    /// What it asks of whom, if the whole request was seen.
    pub work: Option<Work>,
    /// What was, or in shadow would have been, done with it.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// The verdict was carried out.
    pub enforced: bool,
    /// How long its request was held.
    pub hold: Option<Nanos>,
    /// What all this was judged by.
    pub grounds: Grounds,
}

impl Exchange {
    /// Takes down what is decided of it.
    pub fn note(&mut self, decision: &Decision) {
        (self.verdict, self.reason) = (decision.verdict, decision.reason);
        (self.enforced, self.hold) = (decision.enforced, decision.hold);
        self.grounds.decision = decision.grounds;
    }

    /// Takes down what is said of it once it is known what it is. What was done stays; what only would
    /// have been done gives way to a verdict on the attempt itself.
    pub fn note_late(&mut self, decision: &Decision) {
        let more = self.verdict == Verdict::Pass || decision.verdict != Verdict::Pass;
        if more && !self.enforced {
            self.note(decision);
        }
    }
}

/// What was learnt of an exchange after it was told. It had been no waste until then, and is amended
/// once, at most [`AMENDED_WITHIN`] after its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amendment {
    /// When.
    pub at: Nanos,
    /// Which exchange.
    pub exchange: ExchangeId,
    /// Why it was waste.
    pub waste: Waste,
}

/// An exchange that ended longer ago than this is amended no more: a minute in which a step can be
/// repeated, and what a run then takes to be proven.
pub const AMENDED_WITHIN: Nanos = Nanos::from_secs(75);

/// What a detector says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SignalKind {
    /// This exchange is another attempt at the work of an earlier one. Value: attempt number.
    Retry,
    /// The client left a response that was under way. Value: seconds since its first byte.
    LateAbort,
    /// The server cut a response. Value: seconds since its first byte.
    Partial,
    /// A response was silent for longer than the limit. Value: seconds of silence.
    Stall,
    /// A second copy of a request that still runs. Value: its attempt number.
    Hedge,
    /// A request that had been answered is sent again. Value: its attempt number.
    Restart,
    /// A verdict other than pass. Value: attempt number.
    OverBudget,
    /// Retries multiply the load. Value: attempts for one piece of work, at the end the most.
    Cascade,
    /// A client started branches side by side. Value: branches.
    FanOut,
    /// A client began a sequence of calls again. Value: which run it is, 2 for the first repetition.
    WorkflowRestart,
    /// A client runs through the same calls again and again, and all are answered. Value: rounds.
    Loop,
    /// A branch went on after one beside it had failed for good. Value: seconds since that failure.
    Doomed,
    /// A gateway still received after its own client had left. Value: seconds since then.
    Orphan,
    /// A backend fails more than it did and more than others do. Value: share of failures, at the
    /// end the largest.
    Outage,
    /// The same, where most answers have the shape of a 429.
    Throttling,
    /// Rules act on an endpoint's clients no more: these failed more, or waited longer, than the ones
    /// that are never acted on. Value: how strong the evidence is, in differing pairs to a false alarm;
    /// or the share of latency that was added.
    Disarmed,
    /// An exchange turns out to have been waste (an [`Amendment`], as a line). Value: seconds since it
    /// was over.
    Wasted,
}

/// One firing of a detector.
#[derive(Clone, Copy, Debug)]
pub struct Signal {
    /// When.
    pub at: Nanos,
    /// Which.
    pub kind: SignalKind,
    /// About which exchange.
    pub exchange: ExchangeId,
    /// Between whom.
    pub peers: Peers,
    /// Which endpoint, if known.
    pub endpoint: Option<EndpointId>,
    /// The kind's figure.
    pub value: f64,
    /// What it is part of, where the detector looks at more than one exchange.
    pub episode: Option<Episode>,
}

/// Whether an episode begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It was recognised.
    Begins,
    /// It is over, and its figures are final.
    Ends,
}

/// Whom an episode is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The signal's client.
    Client,
    /// Its endpoint.
    Endpoint,
    /// One server address of its endpoint, while the others are well.
    Backend,
}

/// Exchanges that belong together: a cascade, a fan-out, a run of a workflow, an outage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Episode {
    /// Whether it begins or ends.
    pub phase: Phase,
    /// Whom it is about.
    pub scope: Scope,
    /// When it began, which is before it was recognised.
    pub began: Nanos,
    /// Exchanges that were part of it so far.
    pub exchanges: u32,
    /// Of these, how many came to nothing or were work done again.
    pub in_vain: u32,
    /// Output tokens that were in vain, the likely figure.
    pub tokens: f64,
    /// Capacity of the endpoint against its load (`detect/margin.rs`), where it is known.
    pub margin: Option<f64>,
    /// How sure it is, 0 to 1.
    pub confidence: f64,
}

/// What a request asks of whom, as keyed hashes: for comparing, as long as their keys live. They are
/// not exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Client, server, application and length of the whole request.
    pub whole: Fresh,
    /// The same with the length of its body only, where that has records of its own.
    pub body: Option<Fresh>,
    /// The same with the length in steps of eight bytes, twice with the steps set off by half: lengths
    /// that differ by less than five share one of the two.
    pub family: [Fresh; 2],
    /// The application alone.
    pub application: u64,
}

/// The writing end of an lcore's ring of events. When the ring is full the event is lost and
/// counted.
#[derive(Debug)]
pub struct EventSender {
    ring: Arc<ArrayQueue<Event>>,
    /// Events lost because nobody emptied the ring in time.
    pub lost: u64,
}

/// The reading end.
#[derive(Clone, Debug)]
pub struct EventReceiver {
    ring: Arc<ArrayQueue<Event>>,
}

/// A ring for `capacity` events.
#[must_use]
pub fn ring(capacity: usize) -> (EventSender, EventReceiver) {
    let ring = Arc::new(ArrayQueue::new(capacity));
    (EventSender { ring: Arc::clone(&ring), lost: 0 }, EventReceiver { ring })
}

impl EventSender {
    /// Puts an event into the ring.
    #[inline]
    pub fn send(&mut self, event: Event) {
        if self.ring.push(event).is_err() {
            self.lost += 1;
        }
    }
}

impl EventReceiver {
    /// The oldest event, if there is one.
    #[must_use]
    pub fn next(&self) -> Option<Event> {
        self.ring.pop()
    }
}

/// Rounds a length up to its bucket: a power of two, at least 1 KiB.
#[must_use]
pub const fn length_bucket(bytes: u64) -> u64 {
    if bytes <= 1024 { 1024 } else { bytes.next_power_of_two() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_leave_in_powers_of_two() {
        assert_eq!([0, 1024, 1025, 5000].map(length_bucket), [1024, 1024, 2048, 8192]);
    }

    #[test]
    fn a_full_ring_loses_the_newest_event_and_counts_it() {
        let (mut sender, receiver) = ring(1);
        let signal = Signal {
            at: Nanos(1),
            kind: SignalKind::Stall,
            exchange: ExchangeId(1),
            peers: Peers {
                client: Address::default(),
                client_port: 1,
                server: Address::default(),
                server_port: 443,
                protocol: Protocol::Tcp,
            },
            endpoint: None,
            value: 1.0,
            episode: None,
        };
        sender.send(Event::Signal(signal));
        sender.send(Event::Signal(Signal { at: Nanos(2), ..signal }));
        assert_eq!(sender.lost, 1);
        assert!(matches!(receiver.next(), Some(Event::Signal(s)) if s.at == Nanos(1)));
        assert!(receiver.next().is_none());
    }
}
