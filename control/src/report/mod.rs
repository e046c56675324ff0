//! The assessment: gathered exchange by exchange, finished as one [`Report`], shown in three ways.
//!
//! `report.json` is the report as it stands; the terminal summary and the HTML page show the same
//! figures. Known AI endpoints and other servers are gathered apart. The report is about the first
//! when there is at least one of them, and says so when it is not.

pub mod causes;
pub(crate) mod chart;
pub mod html;
pub mod naming;
pub mod starter;
pub mod terminal;
pub mod timeline;
mod visibility;
mod wording;

use std::collections::BTreeMap;

use fastpath::policy::snapshot::Policy;
use fastpath::telemetry::event::{Outcome, Waste};
use fastpath::telemetry::ledger::propagation::{
    EpisodeView, Episodes, Propagation, PropagationView,
};
use fastpath::telemetry::ledger::savings::{Savings, SavingsView};
use fastpath::telemetry::ledger::{
    BookView, ClientRow, ConcurrencyRow, EndpointRow, Held, Ledger, Range, Tally, WasteTotals,
};
use fastpath::telemetry::line::{EventLine, ExchangeLine};
use serde::Serialize;

use crate::capture::Read;
use crate::figures;
use causes::{Cause, Causes};
use starter::Budget;
pub(crate) use terminal::waste_text;
use timeline::{Timeline, TimelineView};
pub use visibility::Visibility;

/// Version of `report.json`: fields may be added within one, never renamed.
pub const SCHEMA_VERSION: u32 = 1;

/// Servers that are no known AI endpoint, listed apart: the busiest.
const OTHER_SERVERS_MAX: usize = 50;

/// Everything gathered so far.
#[derive(Debug)]
pub struct Assessment {
    ledger: Ledger,
    endpoints: Series,
    others: Series,
    retry_percent: f64,
    window_seconds: f64,
}

/// What is gathered beside the ledger, for one kind of server.
#[derive(Debug)]
struct Series {
    causes: Causes,
    timeline: Timeline,
    propagation: Propagation,
    episodes: Episodes,
    savings: Savings,
}

/// What a report is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Requests to known AI endpoints.
    AiEndpoints,
    /// Requests to any TLS server: there was no known AI endpoint.
    AllServers,
}

/// The finished report.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The program and its version.
    pub generator: String,
    /// What was read.
    pub capture: CaptureSection,
    /// File name of the policy it was made under; none for the shipped catalogue.
    pub policy: Option<String>,
    /// Which servers the figures are about.
    pub scope: Scope,
    /// Sums over all exchanges.
    pub totals: Totals,
    /// Sums over wasted attempts.
    pub waste: WasteTotals,
    /// Its causes, worst first.
    pub causes: Vec<Cause>,
    /// What laws would have held.
    pub prevented: Prevented,
    /// The retry budget of the starter policy.
    pub starter_budget: Budget,
    /// By endpoint, most waste first.
    pub endpoints: Vec<EndpointRow>,
    /// By client, most waste first.
    pub clients: Vec<ClientRow>,
    /// Servers that are no known AI endpoint, busiest first.
    pub other_servers: OtherServers,
    /// Exchanges a client had running at once.
    pub fan_out: FanOut,
    /// Over time.
    pub timeline: Vec<timeline::Step>,
    /// Length of each step of the timeline.
    pub timeline_step_seconds: f64,
    /// How failures spread.
    pub propagation: PropagationView,
    /// Outages, cascades and restarts, each with how it spread.
    pub episodes: Vec<EpisodeView>,
    /// What each law would have prevented: low, likely, high.
    pub savings: SavingsView,
    /// How well all this could be seen.
    pub visibility: Visibility,
}

/// What was read.
#[derive(Clone, Debug, Serialize)]
pub struct CaptureSection {
    /// Captures asked for; fewer may have been readable.
    pub asked: usize,
    /// Captures read.
    pub files: Vec<CaptureFile>,
    /// First frame, Unix seconds.
    pub start: Option<f64>,
    /// Last frame.
    pub end: Option<f64>,
    /// Seconds captured, without the time between captures.
    pub seconds: f64,
    /// Frames.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// One capture.
#[derive(Clone, Debug, Serialize)]
pub struct CaptureFile {
    /// As it was given.
    pub path: String,
    /// First frame, Unix seconds; none when there is no frame.
    pub start: Option<f64>,
    /// Last frame.
    pub end: Option<f64>,
    /// Frames.
    pub frames: u64,
    /// What was wrong with it, if it was read in part.
    pub note: Option<String>,
}

/// Sums over all exchanges.
#[derive(Clone, Debug, Serialize)]
pub struct Totals {
    /// Requests sent.
    pub exchanges: u64,
    /// Attempts.
    pub attempts: u64,
    /// Attempts that are the first at their work: calls.
    pub first_attempts: u64,
    /// Attempts for one call.
    pub amplification: Option<f64>,
    /// By how they ended.
    pub by_outcome: BTreeMap<Outcome, u64>,
    /// Wasted ones by why.
    pub by_waste: BTreeMap<Waste, u64>,
    /// Output tokens.
    pub tokens: Range,
    /// Their cost, US dollars.
    pub cost: Range,
}

/// What laws would have held. In a replay nothing was.
#[derive(Clone, Debug, Serialize)]
pub struct Prevented {
    /// `shadow`: would have been.
    pub mode: &'static str,
    /// The retry budget that was tried, retries for a hundred calls.
    pub retry_percent: f64,
    /// By law.
    pub by_law: BTreeMap<String, Held>,
}

/// Servers that are no known AI endpoint.
#[derive(Clone, Debug, Serialize)]
pub struct OtherServers {
    /// How many there are.
    pub count: usize,
    /// Exchanges with all of them.
    pub exchanges: u64,
    /// The busiest.
    pub busiest: Vec<EndpointRow>,
}

/// Exchanges a client had running at once.
#[derive(Clone, Debug, Serialize)]
pub struct FanOut {
    /// The most.
    pub max: u32,
    /// How often an exchange began with that many running, itself included.
    pub concurrency: Vec<ConcurrencyRow>,
}

impl Assessment {
    /// An empty assessment under `policy`.
    #[must_use]
    pub fn new(policy: &Policy) -> Self {
        let window_seconds = policy.limits.retry_window().secs_f64();
        Self {
            ledger: Ledger::default(),
            endpoints: Series::new(window_seconds),
            others: Series::new(window_seconds),
            retry_percent: policy.retry_budget.percent,
            window_seconds,
        }
    }

    /// Enters one exchange.
    pub fn add(&mut self, exchange: &ExchangeLine) {
        self.ledger.add(exchange);
        let known = exchange.endpoint.is_some();
        let series = if known { &mut self.endpoints } else { &mut self.others };
        series.causes.add(exchange);
        series.timeline.add(exchange);
        series.propagation.add(exchange);
        series.episodes.add(exchange);
        series.savings.add(exchange);
    }

    /// Enters one signal.
    pub fn add_event(&mut self, event: &EventLine) {
        let known = event.endpoint.is_some();
        let series = if known { &mut self.endpoints } else { &mut self.others };
        series.episodes.add_event(event);
        series.savings.add_event(event);
    }

    /// The report over what was entered, of the captures `read` out of those `asked` for.
    #[must_use]
    pub fn finish(self, read: &[Read], asked: usize) -> Report {
        let view = self.ledger.view();
        let known = view.endpoints.totals.exchanges > 0;
        let (scope, book, series, rest) = if known {
            (Scope::AiEndpoints, view.endpoints, self.endpoints, view.others)
        } else {
            (Scope::AllServers, view.others, self.others, BookView::default())
        };
        let TimelineView { steps, step_seconds } = series.timeline.view();
        let totals = &book.totals;
        let capture = CaptureSection::new(read, asked);
        Report {
            schema_version: SCHEMA_VERSION,
            generator: format!("fermata {}", env!("CARGO_PKG_VERSION")),
            causes: series.causes.view(totals),
            starter_budget: Budget::derive(&book.servers, capture.seconds, self.retry_percent),
            capture,
            policy: None,
            scope,
            waste: totals.waste,
            prevented: Prevented {
                mode: "shadow",
                retry_percent: self.retry_percent,
                by_law: totals.held.clone(),
            },
            fan_out: FanOut {
                max: book.clients.iter().map(|row| row.concurrency_max).max().unwrap_or(0),
                concurrency: book.concurrency.clone(),
            },
            other_servers: OtherServers::new(&rest),
            timeline: steps,
            timeline_step_seconds: step_seconds,
            propagation: series.propagation.view(self.window_seconds),
            episodes: series.episodes.view(),
            savings: series.savings.view(),
            visibility: Visibility::new(read, totals),
            totals: Totals::new(totals),
            endpoints: book.servers,
            clients: book.clients,
        }
    }
}

impl Series {
    fn new(window_seconds: f64) -> Self {
        Self {
            causes: Causes::default(),
            timeline: Timeline::default(),
            propagation: Propagation::new(window_seconds),
            episodes: Episodes::new(window_seconds),
            savings: Savings::default(),
        }
    }
}

impl Report {
    /// The captures by folder and name, for a title: a report is passed on, where a file lay is
    /// not.
    #[must_use]
    pub fn title(&self) -> String {
        match self.capture.files.as_slice() {
            [] => "no capture".to_owned(),
            [one] => one.short(),
            [first, rest @ ..] => format!("{} and {} more", first.short(), rest.len()),
        }
    }

    /// What must be known before any figure is read: that frames are cut short, or that the servers
    /// are not known to be AI endpoints.
    #[must_use]
    pub fn caution(&self) -> Option<&'static str> {
        if self.visibility.cut_frames > 0 {
            return Some(
                "The capture holds only the beginning of its frames: records in what is missing cannot be seen, and \
                 the figures below are wrong. Capture again with whole packets (tcpdump -s 0).",
            );
        }
        let all = self.scope == Scope::AllServers && self.totals.exchanges > 0;
        all.then_some(
            "No known AI endpoint: the figures are about all TLS servers. Name your endpoints in a policy \
             (--policy, see docs/examples/policy.yaml).",
        )
    }

    /// Whether there are responses but no calibration for any: tokens are not known, rather than
    /// zero.
    #[must_use]
    pub fn uncalibrated(&self) -> bool {
        self.totals.tokens.0[2] <= 0.0 && self.visibility.unseen.uncalibrated > 0
    }

    /// The one sentence to read if there is time for one only.
    #[must_use]
    pub fn headline(&self) -> String {
        let Totals { attempts, first_attempts, amplification, .. } = self.totals;
        if attempts == 0 {
            let unfollowed = self.visibility.quic_flows;
            let text = figures::counted(unfollowed, "connection of", "connections of");
            return match unfollowed {
                0 => "No request was seen.".to_owned(),
                _ => format!("No request could be followed; {text} QUIC were seen."),
            };
        }
        let calls = figures::counted(first_attempts, "call", "calls");
        let tries = figures::counted(attempts, "attempt", "attempts");
        let ratio = amplification.map_or_else(String::new, |x| format!(" ({x:.2} for each call)"));
        let waste = match self.waste.exchanges {
            0 => "none of them was waste".to_owned(),
            n => format!(
                "{} ({}) {} waste",
                figures::count(n),
                figures::percent(n, attempts),
                if n == 1 { "was" } else { "were" }
            ),
        };
        format!("{calls} took {tries}{ratio}; {waste}.")
    }
}

impl CaptureSection {
    fn new(read: &[Read], asked: usize) -> Self {
        let files: Vec<CaptureFile> = read.iter().map(CaptureFile::new).collect();
        let seconds = |file: &CaptureFile| Some(file.end? - file.start?);
        Self {
            asked,
            start: files.iter().filter_map(|f| f.start).reduce(f64::min),
            end: files.iter().filter_map(|f| f.end).reduce(f64::max),
            seconds: files.iter().filter_map(seconds).sum(),
            frames: read.iter().map(|r| r.summary.totals.port.rx_frames).sum(),
            bytes: read.iter().map(|r| r.summary.totals.port.rx_bytes).sum(),
            files,
        }
    }
}

impl CaptureFile {
    fn new(read: &Read) -> Self {
        let summary = &read.summary;
        let frames = summary.totals.port.rx_frames;
        let time = |at: fastpath::time::Nanos| (frames > 0).then(|| at.secs_f64());
        Self {
            path: read.path.display().to_string(),
            start: time(summary.first),
            end: time(summary.last),
            frames,
            note: summary.note.clone(),
        }
    }

    /// Its folder and name.
    fn short(&self) -> String {
        let parts: Vec<&str> = self.path.rsplitn(3, '/').take(2).collect();
        parts.into_iter().rev().collect::<Vec<_>>().join("/")
    }
}

impl Totals {
    fn new(tally: &Tally) -> Self {
        Self {
            exchanges: tally.exchanges,
            attempts: tally.attempts,
            first_attempts: tally.first_attempts,
            amplification: tally.amplification(),
            by_outcome: tally.by_outcome.clone(),
            by_waste: tally.by_waste.clone(),
            tokens: tally.tokens,
            cost: tally.cost,
        }
    }
}

impl OtherServers {
    fn new(book: &BookView) -> Self {
        let mut busiest = book.servers.clone();
        busiest.sort_by_key(|row| std::cmp::Reverse(row.tally.exchanges));
        busiest.truncate(OTHER_SERVERS_MAX);
        Self { count: book.servers.len(), exchanges: book.totals.exchanges, busiest }
    }
}

/// `report.json`: figures rounded to a millionth, so that equal input gives equal text.
#[must_use]
pub fn to_json(report: &Report) -> serde_json::Value {
    // A report has string keys and finite figures only, so it is always a value.
    let mut value = serde_json::to_value(report).unwrap_or_default();
    round(&mut value);
    value
}

fn round(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Array(items) => items.iter_mut().for_each(round),
        serde_json::Value::Object(fields) => fields.values_mut().for_each(round),
        serde_json::Value::Number(number) => {
            if let Some(figure) = number.as_f64().filter(|_| number.is_f64()) {
                let rounded = serde_json::Number::from_f64((figure * 1e6).round() / 1e6);
                *number = rounded.unwrap_or_else(|| number.clone());
            }
        }
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::String(_) => {}
    }
}

#[cfg(test)]
pub(crate) mod tests;
