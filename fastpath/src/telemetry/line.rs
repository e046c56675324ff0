//! The JSON lines of the contract, and how they come from events: ids become names, times become
//! seconds.
//!
//! The same line describes a thing on a capture and on the wire. Lines are also read back (from the
//! socket), so each both serialises and deserialises. Lengths appear as buckets only.

use serde::{Deserialize, Serialize};

use super::event::{
    Amendment, Episode, Estimate, Evidence, Exchange, Hello, Outcome, Peers, Phase, Reason, Scope,
    Signal, SignalKind, Verdict, Visibility, Waste,
};
use super::fingerprints::Fingerprints;
use super::grounds::Grounds;
use super::names::Names;
use crate::burst::{Alpn, Carrier, TlsVersion};
use crate::policy::snapshot::{EndpointId, Snapshot};
use crate::time::Nanos;

/// One flow that has shown a ClientHello.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FlowLine {
    /// File name of the capture, when several are read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pcap: Option<String>,
    /// Address of the ClientHello's sender.
    pub src: String,
    /// Its port.
    pub sport: u16,
    /// Address of the server.
    pub dst: String,
    /// Its port.
    pub dport: u16,
    /// `tcp`, `quic` or `dtls`.
    pub proto: String,
    /// Server name.
    pub sni: Option<String>,
    /// ALPN offer, in order; bytes as Latin-1 code points.
    pub alpn: Vec<String>,
    /// Highest version offered: `TLSv1.3`, or the number of an unnamed one.
    pub tls_version: String,
    /// Fingerprint.
    pub ja4: String,
    /// Its lists in clear. Absent where they are too long to keep, or were read too late.
    #[serde(default)]
    pub ja4_r: Option<String>,
    /// Encrypted ClientHello, or its GREASE, present.
    pub ech: bool,
    /// Encrypted server name present, the draft that ECH came from.
    #[serde(default)]
    pub esni: bool,
    /// When the ClientHello was complete, Unix seconds.
    pub time: f64,
    /// The AI endpoint it was classified as.
    pub endpoint: Option<String>,
    /// What the endpoint was told by.
    #[serde(default)]
    pub endpoint_by: Option<Evidence>,
    /// How sure the endpoint is, 0 to 1.
    #[serde(default)]
    pub confidence: Option<f64>,
    /// How well it can be seen.
    #[serde(default)]
    pub visibility: Visibility,
    /// Its beginning was not seen.
    #[serde(default)]
    pub from_middle: bool,
}

/// How sure an exchange's line is of some of its fields, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Confidence {
    /// Of `outcome`.
    pub outcome: f64,
    /// Of `retry_of`, or of there being none.
    pub retry: f64,
    /// Of `endpoint`, if there is one.
    #[serde(default)]
    pub endpoint: Option<f64>,
}

/// One exchange.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ExchangeLine {
    /// File name of the capture, when several are read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pcap: Option<String>,
    /// Stable within one run.
    pub id: String,
    /// Client address.
    pub client: String,
    /// Client port.
    pub client_port: u16,
    /// Server address.
    pub server: String,
    /// Server port.
    pub server_port: u16,
    /// Name of the endpoint, if it is a known one.
    pub endpoint: Option<String>,
    /// What the endpoint was told by.
    #[serde(default)]
    pub endpoint_by: Option<Evidence>,
    /// Name of the tenant; there are none yet.
    pub tenant: Option<String>,
    /// The name the client asked for.
    pub sni: Option<String>,
    /// How well its flow can be seen.
    pub visibility: Visibility,
    /// The flow's beginning was not seen.
    #[serde(default)]
    pub from_middle: bool,
    /// Smoothed round trip of the flow from here to the server and back, milliseconds.
    #[serde(default)]
    pub rtt_server_ms: Option<f64>,
    /// Likewise, to the client and back.
    #[serde(default)]
    pub rtt_client_ms: Option<f64>,
    /// First request byte, Unix seconds.
    pub start: f64,
    /// First response byte.
    pub first_byte: Option<f64>,
    /// Last byte of either.
    pub end: f64,
    /// When a side closed before the response was whole, and so ended it.
    #[serde(default)]
    pub closed: Option<f64>,
    /// How it ended.
    pub outcome: Outcome,
    /// 1 for the first attempt.
    pub attempt: u16,
    /// `id` of the attempt before.
    pub retry_of: Option<String>,
    /// A duplicate sent while the first was still running.
    pub hedge: bool,
    /// A call seen in an earlier run of the same workflow.
    pub restart: bool,
    /// Seconds of the longest stall inside the response.
    pub stall: Option<f64>,
    /// How sure this is.
    pub confidence: Confidence,
    /// Request bytes, bucketed.
    pub up_bucket: u64,
    /// Response bytes, bucketed.
    pub down_bucket: u64,
    /// The response came as a stream.
    pub streamed: bool,
    /// Output tokens: low, likely, high.
    pub tokens_estimate: Option<[f64; 3]>,
    /// What they cost in US dollars: low, likely, high.
    pub cost_usd: Option<[f64; 3]>,
    /// Why it was waste.
    pub waste: Option<Waste>,
    /// When that turned out, Unix seconds, if it was not known at its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amended: Option<f64>,
    /// What was, or in shadow would have been, done.
    pub verdict: Verdict,
    /// For how long a held request was, or would have been, held. Only where the law says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_ms: Option<u64>,
    /// It was done: the policy enforces it for this client.
    #[serde(default, skip_serializing_if = "is_false")]
    pub enforced: bool,
    /// The rule that decided.
    pub reason: Reason,
    /// What all this was judged by; `fermata explain` says it in words.
    #[serde(default)]
    pub grounds: Grounds,
}

/// One firing of a detector, or one verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EventLine {
    /// File name of the capture, when several are read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pcap: Option<String>,
    /// When, Unix seconds.
    pub time: f64,
    /// `signal`, `verdict` or `amendment`.
    pub event: EventClass,
    /// Which.
    pub kind: SignalKind,
    /// `id` of the exchange it is about.
    pub exchange: String,
    /// Client address.
    pub client: String,
    /// Client port.
    pub client_port: u16,
    /// Server address.
    pub server: String,
    /// Server port.
    pub server_port: u16,
    /// Name of the endpoint, if it is a known one.
    pub endpoint: Option<String>,
    /// The kind's figure, in `unit`.
    pub value: f64,
    /// `attempt` (a number of attempts), `seconds`, `attempts_per_call`, `branches`, `runs`, `rounds`
    /// or `share`.
    pub unit: String,
    /// Of an amendment: why the exchange was waste.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waste: Option<Waste>,
    /// What it is part of, where more than one exchange is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub episode: Option<EpisodeLine>,
}

/// Exchanges that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EpisodeLine {
    /// Whether it begins or ends.
    pub phase: Phase,
    /// Whether it is about the line's client, its endpoint, or its server's address.
    pub scope: Scope,
    /// When it began, Unix seconds.
    pub began: f64,
    /// Exchanges that were part of it so far.
    pub exchanges: u32,
    /// How many of them came to nothing or were work done again.
    pub in_vain: u32,
    /// Output tokens in vain, the likely figure.
    pub tokens: f64,
    /// Capacity of the endpoint against its load; below 1 it cannot keep up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin: Option<f64>,
    /// How sure it is, 0 to 1.
    pub confidence: f64,
}

/// Whether an event says what was seen or what was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum EventClass {
    /// A detector has fired.
    Signal,
    /// A rule has decided something other than to let the exchange pass.
    Verdict,
    /// An exchange that may have been told without waste turns out to have been waste.
    Amendment,
}

impl FlowLine {
    /// The line of `hello`.
    #[must_use]
    pub fn new(
        hello: &Hello,
        names: &Names,
        fingerprints: &Fingerprints,
        snapshot: &Snapshot,
    ) -> Self {
        let Peers { client, client_port, server, server_port, protocol: _ } = hello.peers;
        Self {
            pcap: None,
            src: client.to_string(),
            sport: client_port,
            dst: server.to_string(),
            dport: server_port,
            proto: carrier_name(hello.carrier).to_owned(),
            sni: hello.sni.map(|id| names.text(id)),
            alpn: hello.alpn.map_or_else(Vec::new, |id| alpn_names(names.bytes(id))),
            tls_version: version_name(hello.version),
            ja4: hello.ja4.as_str().to_owned(),
            ja4_r: hello.fingerprint.and_then(|id| fingerprints.ja4_r(id)),
            ech: hello.ech,
            esni: hello.esni,
            time: seconds(hello.at),
            endpoint: endpoint_name(hello.call.map(|call| call.endpoint), snapshot),
            endpoint_by: hello.call.map(|call| call.by),
            confidence: hello.call.map(|call| hundredths(call.confidence.into())),
            visibility: hello.visibility,
            from_middle: hello.from_middle,
        }
    }
}

impl ExchangeLine {
    /// The line of `exchange`.
    #[must_use]
    pub fn new(exchange: &Exchange, names: &Names, snapshot: &Snapshot) -> Self {
        let x = exchange;
        let [to_server, to_client] = x.rtt;
        Self {
            pcap: None,
            id: x.id.to_string(),
            client: x.peers.client.to_string(),
            client_port: x.peers.client_port,
            server: x.peers.server.to_string(),
            server_port: x.peers.server_port,
            endpoint: endpoint_name(x.endpoint, snapshot),
            endpoint_by: x.call.map(|call| call.by),
            tenant: None,
            sni: x.sni.map(|id| names.text(id)),
            visibility: x.visibility,
            from_middle: x.from_middle,
            rtt_server_ms: to_server.map(millis),
            rtt_client_ms: to_client.map(millis),
            start: seconds(x.start),
            first_byte: x.first_byte.map(seconds),
            end: seconds(x.end),
            closed: x.closed.map(seconds),
            outcome: x.outcome,
            attempt: x.attempt,
            retry_of: x.retry_of.map(|id| id.to_string()),
            hedge: x.hedge,
            restart: x.restart,
            stall: x.stall.map(seconds),
            confidence: Confidence {
                outcome: hundredths(x.outcome_confidence),
                retry: hundredths(x.retry_confidence),
                endpoint: x.call.map(|call| hundredths(call.confidence.into())),
            },
            up_bucket: x.up_bucket,
            down_bucket: x.down_bucket,
            streamed: x.streamed,
            tokens_estimate: x.tokens.map(whole_tokens),
            cost_usd: x.cost_milli_usd.map(dollars),
            waste: x.waste,
            amended: x.amended.map(seconds),
            verdict: x.verdict,
            hold_ms: x.hold.map(|hold| hold.0.div_ceil(1_000_000)),
            enforced: x.enforced,
            reason: x.reason,
            grounds: x.grounds.rounded(),
        }
    }

    /// Enters an amendment. Returns whether it changed anything.
    pub fn amend(&mut self, amendment: &Amendment) -> bool {
        let changes = self.waste.is_none();
        if changes {
            self.waste = Some(amendment.waste);
            self.amended = Some(seconds(amendment.at));
        }
        changes
    }

    /// When it was over: its last byte, or the close that ended it.
    #[must_use]
    pub fn over(&self) -> f64 {
        self.closed.map_or(self.end, |closed| closed.max(self.end))
    }

    /// Seconds that it kept its connection busy.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        (self.over() - self.start).max(0.0)
    }

    /// Seconds for which it surely held a slot of its server: from the first response byte on. What it
    /// waited before is not told apart from queueing.
    #[must_use]
    pub fn slot_seconds(&self) -> f64 {
        self.first_byte.map_or(0.0, |first| (self.end - first).max(0.0))
    }

    /// Seconds from the first request byte to the first response byte.
    #[must_use]
    pub fn first_byte_seconds(&self) -> Option<f64> {
        self.first_byte.map(|first| (first - self.start).max(0.0))
    }

    /// What its server is called: the endpoint, else the name asked for, else the address.
    #[must_use]
    pub fn server_name(&self) -> &str {
        self.endpoint.as_deref().or(self.sni.as_deref()).unwrap_or(&self.server)
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_false(value: &bool) -> bool {
    !*value
}

impl EventLine {
    /// The line of `signal`.
    #[must_use]
    pub fn new(signal: &Signal, snapshot: &Snapshot) -> Self {
        let (event, unit) = match signal.kind {
            SignalKind::Retry | SignalKind::Hedge | SignalKind::Restart => {
                (EventClass::Signal, "attempt")
            }
            SignalKind::LateAbort
            | SignalKind::Partial
            | SignalKind::Stall
            | SignalKind::Doomed
            | SignalKind::Orphan => (EventClass::Signal, "seconds"),
            SignalKind::Cascade => (EventClass::Signal, "attempts_per_call"),
            SignalKind::FanOut => (EventClass::Signal, "branches"),
            SignalKind::WorkflowRestart => (EventClass::Signal, "runs"),
            SignalKind::Loop => (EventClass::Signal, "rounds"),
            SignalKind::Outage | SignalKind::Throttling => (EventClass::Signal, "share"),
            SignalKind::OverBudget => (EventClass::Verdict, "attempt"),
            SignalKind::Disarmed => (EventClass::Verdict, "harm"),
            SignalKind::Wasted => (EventClass::Amendment, "seconds"),
        };
        Self {
            pcap: None,
            time: seconds(signal.at),
            event,
            kind: signal.kind,
            exchange: signal.exchange.to_string(),
            client: signal.peers.client.to_string(),
            client_port: signal.peers.client_port,
            server: signal.peers.server.to_string(),
            server_port: signal.peers.server_port,
            endpoint: endpoint_name(signal.endpoint, snapshot),
            value: (signal.value * 1e6).round() / 1e6,
            unit: unit.to_owned(),
            waste: None,
            episode: signal.episode.as_ref().map(EpisodeLine::new),
        }
    }

    /// The line of an exchange's amendment, if it was amended.
    #[must_use]
    pub fn of_amended(exchange: &ExchangeLine) -> Option<Self> {
        let time = exchange.amended?;
        let since = (time - exchange.over()).max(0.0);
        Some(Self {
            pcap: exchange.pcap.clone(),
            time,
            event: EventClass::Amendment,
            kind: SignalKind::Wasted,
            exchange: exchange.id.clone(),
            client: exchange.client.clone(),
            client_port: exchange.client_port,
            server: exchange.server.clone(),
            server_port: exchange.server_port,
            endpoint: exchange.endpoint.clone(),
            value: (since * 1e6).round() / 1e6,
            unit: "seconds".to_owned(),
            waste: exchange.waste,
            episode: None,
        })
    }
}

impl EpisodeLine {
    fn new(episode: &Episode) -> Self {
        Self {
            phase: episode.phase,
            scope: episode.scope,
            began: seconds(episode.began),
            exchanges: episode.exchanges,
            in_vain: episode.in_vain,
            tokens: episode.tokens.round(),
            margin: episode.margin.map(hundredths),
            confidence: hundredths(episode.confidence),
        }
    }
}

/// Seconds with microseconds: the shortest decimal of the nearest microsecond.
fn seconds(at: Nanos) -> f64 {
    let micros = at.0 / 1_000 + u64::from(at.0 % 1_000 >= 500);
    micros as f64 / 1e6
}

/// Milliseconds with microseconds.
fn millis(took: Nanos) -> f64 {
    (took.secs_f64() * 1e6).round() / 1e3
}

fn hundredths(share: f64) -> f64 {
    (share * 100.0).round() / 100.0
}

/// Tokens are whole, and the range contains its likely value.
fn whole_tokens(tokens: Estimate) -> [f64; 3] {
    let Estimate { low, likely, high } = tokens;
    [f64::from(low).floor(), f64::from(likely).round(), f64::from(high).ceil()]
}

fn dollars(milli_usd: Estimate) -> [f64; 3] {
    let Estimate { low, likely, high } = milli_usd;
    [low, likely, high].map(|milli| (f64::from(milli) * 1e3).round() / 1e6)
}

fn endpoint_name(id: Option<EndpointId>, snapshot: &Snapshot) -> Option<String> {
    let endpoint = id.and_then(|id| snapshot.policy().endpoints.get(id.index()));
    endpoint.map(|endpoint| endpoint.name.clone())
}

fn carrier_name(carrier: Carrier) -> &'static str {
    match carrier {
        Carrier::Tcp => "tcp",
        Carrier::Quic => "quic",
        Carrier::Dtls => "dtls",
    }
}

fn version_name(version: TlsVersion) -> String {
    let name = match version.0 {
        0x0304 => "TLSv1.3",
        0x0303 => "TLSv1.2",
        0x0302 => "TLSv1.1",
        0x0301 => "TLSv1.0",
        0x0300 => "SSLv3.0",
        0xfefc => "DTLSv1.3",
        0xfefd => "DTLSv1.2",
        0xfeff => "DTLSv1.0",
        other => return format!("0x{other:04x}"),
    };
    name.to_owned()
}

/// The names of an ALPN offer, as Latin-1.
fn alpn_names(offer: &[u8]) -> Vec<String> {
    Alpn::new(offer).names().map(|name| name.iter().copied().map(char::from).collect()).collect()
}

#[cfg(test)]
pub(crate) mod tests;
