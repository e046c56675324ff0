//! What the supervisor has gathered: the ledger, the latest exchanges, events and flows, and how
//! the lcores are doing. Answers every request of the socket. All of it is bounded; what is older
//! leaves.
//!
//! What lcores tell between two gatherings is taken in the order of its time, whoever tells it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{standings, status};
use crate::decide::view::View;
use crate::ipc::{
    EndpointRow, ErrorReply, FrameCounts, Latency, Page, PolicySummary, PortStatus, ROWS_MAX,
    Reply, Request, Standings, Status,
};
use crate::lcore::{Mode, Outlets};
use crate::policy::handoff::Publisher;
use crate::policy::learnt::Learnt;
use crate::policy::snapshot::{ENDPOINTS_MAX, EndpointId, Policy, Snapshot};
use crate::port::DeviceReport;
use crate::telemetry::Totals;
use crate::telemetry::event::{Amendment, Event};
use crate::telemetry::ledger::Ledger;
use crate::telemetry::ledger::propagation::Propagation;
use crate::telemetry::ledger::savings::Savings;
use crate::telemetry::line::{EventLine, ExchangeLine, FlowLine};
use crate::telemetry::report::Report;

/// Everything gathered. The default is a desk that nobody tells anything.
#[derive(Debug, Default)]
pub struct Desk {
    mode: Mode,
    lcores: Vec<Watched>,
    snapshot: Option<Arc<Snapshot>>,
    revision: u64,
    ledger: Ledger,
    savings: Savings,
    propagation: Propagation,
    exchanges: Recent<ExchangeLine>,
    events: Recent<EventLine>,
    flows: VecDeque<FlowLine>,
    devices: Vec<DeviceReport>,
    /// Amendments of exchanges that had left already: the ledger lacks them.
    late_amendments: u64,
    started: Option<Instant>,
    now: Option<Instant>,
    /// Nothing acts on traffic.
    bypassed: bool,
}

/// The supervisor's ends of an lcore.
#[derive(Debug)]
pub struct LcoreDesk {
    /// The core it is pinned to.
    pub core: Option<usize>,
    /// What it tells.
    pub outlets: Outlets,
    /// Where its policy goes.
    pub publisher: Publisher,
}

/// An lcore, and the latest of what it has told.
#[derive(Debug)]
struct Watched {
    desk: LcoreDesk,
    /// What it told last, until its turn comes.
    next: Option<Event>,
    report: Option<Report>,
    view: Option<View>,
    learnt: Option<Vec<(EndpointId, Learnt)>>,
    heard: Instant,
    silent: bool,
}

/// What is left of a data plane when it stops: written with `--stats-out`.
#[derive(Clone, Debug, Serialize)]
pub struct FinalStats {
    /// Frames received.
    pub rx: u64,
    /// Frames sent.
    pub tx: u64,
    /// Frames inside.
    pub held: u64,
    /// Frames freed, by reason.
    pub drops: BTreeMap<String, u64>,
    /// `rx = tx + held + drops`.
    pub balanced: bool,
    /// By device.
    pub ports: Vec<FinalPort>,
    /// Exchanges that have ended.
    pub exchanges: u64,
    /// Events lost because nobody read them in time.
    pub events_lost: u64,
    /// From a burst's arrival to its departure, microseconds; of the slowest lcore.
    pub burst_latency_us: Latency,
    /// How frames were spread over the lcores.
    pub spread: String,
    /// Frames that went through the loop of each lcore.
    pub lcore_frames: Vec<u64>,
}

/// One device.
#[derive(Clone, Debug, Serialize)]
pub struct FinalPort {
    /// Its name.
    pub name: String,
    /// Frames received, by its own count.
    pub rx: u64,
    /// Frames sent.
    pub tx: u64,
    /// Frames that nobody took in time.
    pub missed: u64,
    /// Frames that could not be received or sent.
    pub errors: u64,
}

/// The latest rows of a sequence.
#[derive(Debug)]
struct Recent<T> {
    rows: VecDeque<T>,
    /// Rows that have left.
    dropped: u64,
}

/// Rows kept, of each kind.
const RECENT_MAX: usize = 65_536;
const FLOWS_MAX: usize = 4096;
/// An lcore that has not published for this long is reported: it hangs, or its core was taken away.
const SILENCE_MAX: Duration = Duration::from_secs(1);

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self { rows: VecDeque::new(), dropped: 0 }
    }
}

impl<T: Clone> Recent<T> {
    fn push(&mut self, row: T) {
        if self.rows.len() == RECENT_MAX {
            self.rows.pop_front();
            self.dropped += 1;
        }
        self.rows.push_back(row);
    }

    /// Up to `limit` rows after the first `after` of the whole sequence.
    fn page(&self, after: u64, limit: usize) -> Page<T> {
        let missed = self.dropped.saturating_sub(after);
        let skip = usize::try_from(after.saturating_sub(self.dropped)).unwrap_or(usize::MAX);
        let rows: Vec<T> = self.rows.iter().skip(skip).take(limit.min(ROWS_MAX)).cloned().collect();
        let next = after.max(self.dropped) + rows.len() as u64;
        Page { rows, next, missed }
    }
}

impl Recent<ExchangeLine> {
    /// Enters an amendment into its exchange and into the ledger. Returns how it is told; nothing
    /// when the exchange has left.
    fn amend(&mut self, amendment: &Amendment, ledger: &mut Ledger) -> Option<EventLine> {
        let id = amendment.exchange.to_string();
        let line = self.rows.iter_mut().rev().find(|line| line.id == id)?;
        ledger.amend(line, amendment.waste);
        line.amend(amendment);
        EventLine::of_amended(line)
    }
}

impl Desk {
    /// A desk for these lcores, in the order of their numbers.
    #[must_use]
    pub fn new(mode: Mode, snapshot: Arc<Snapshot>, lcores: Vec<LcoreDesk>, now: Instant) -> Self {
        Self {
            mode,
            lcores: lcores.into_iter().map(|desk| Watched::new(desk, now)).collect(),
            propagation: Propagation::new(window_seconds(snapshot.policy())),
            snapshot: Some(snapshot),
            revision: 1,
            started: Some(now),
            now: Some(now),
            ..Self::default()
        }
    }

    /// Takes over what the lcores have told since the last time, and notices when one tells
    /// nothing.
    pub fn gather(&mut self, now: Instant) {
        self.now = Some(now);
        while let Some((index, event)) = self.earliest() {
            self.take(index, &event);
        }
        for (index, lcore) in self.lcores.iter_mut().enumerate() {
            if let Some(devices) = lcore.desk.outlets.reports.take_devices()
                && !devices.is_empty()
            {
                self.devices = devices;
            }
            lcore.hear(index, now);
        }
    }

    /// The earliest of what the lcores tell next, and who tells it.
    fn earliest(&mut self) -> Option<(usize, Event)> {
        for Watched { desk, next, .. } in &mut self.lcores {
            if next.is_none() {
                *next = desk.outlets.events.next();
            }
        }
        let told = self.lcores.iter().enumerate();
        let times = told.filter_map(|(index, l)| Some((l.next.as_ref()?.at(), index)));
        let (_, index) = times.min()?;
        Some((index, self.lcores[index].next.take()?))
    }

    /// Enters what the lcore `index` has told.
    fn take(&mut self, index: usize, event: &Event) {
        let Some(snapshot) = &self.snapshot else { return };
        let Outlets { names, fingerprints, .. } = &self.lcores[index].desk.outlets;
        match event {
            Event::Exchange(exchange) => {
                let line = ExchangeLine::new(exchange, names, snapshot);
                self.ledger.add(&line);
                self.savings.add(&line);
                self.propagation.add(&line);
                self.exchanges.push(line);
            }
            Event::Signal(signal) => {
                let line = EventLine::new(signal, snapshot);
                self.savings.add_event(&line);
                self.events.push(line);
            }
            Event::Amendment(amendment) => {
                match self.exchanges.amend(amendment, &mut self.ledger) {
                    Some(event) => self.events.push(event),
                    None => self.late_amendments += 1,
                }
            }
            Event::Hello(hello) => {
                if self.flows.len() == FLOWS_MAX {
                    self.flows.pop_back();
                }
                self.flows.push_front(FlowLine::new(hello, names, fingerprints, snapshot));
            }
        }
    }

    /// Answers a request.
    pub fn answer(&mut self, request: Request) -> Reply {
        match request {
            Request::Status => Reply::Status(Box::new(self.status())),
            Request::Endpoints => Reply::Endpoints(self.endpoints()),
            Request::Clients => Reply::Clients(self.ledger.endpoints.client_rows()),
            Request::Flows { limit } => {
                Reply::Flows(self.flows.iter().take(limit.min(ROWS_MAX)).cloned().collect())
            }
            Request::Exchanges { after, limit } => {
                Reply::Exchanges(self.exchanges.page(after, limit))
            }
            Request::Events { after, limit } => Reply::Events(self.events.page(after, limit)),
            Request::Ledger => Reply::Ledger(Box::new(self.ledger.view())),
            Request::Savings => Reply::Savings(Box::new(self.savings.view())),
            Request::Propagation => {
                let window = self.policy().map_or(0.0, window_seconds);
                Reply::Propagation(Box::new(self.propagation.view(window)))
            }
            Request::Backends => Reply::Backends(Box::new(self.standings())),
            Request::Learnt => Reply::Learnt(self.learnt()),
            Request::Policy => Reply::Policy(Box::new(self.policy().cloned().unwrap_or_default())),
            Request::Apply { policy } => self.apply(*policy),
            Request::Bypass { on } => self.bypass(on),
        }
    }

    /// What is left to say when the data plane has stopped.
    #[must_use]
    pub fn final_stats(&self) -> FinalStats {
        let status = self.status();
        let FrameCounts { rx_frames, tx_frames, held_frames, drops, .. } = status.frames;
        let dropped: u64 = drops.values().sum();
        let port = |p: &PortStatus| FinalPort {
            name: p.name.clone(),
            rx: p.rx_frames,
            tx: p.tx_frames,
            missed: p.rx_missed,
            errors: p.rx_errors + p.tx_errors,
        };
        FinalStats {
            rx: rx_frames,
            tx: tx_frames,
            held: held_frames,
            balanced: rx_frames == tx_frames + held_frames + dropped,
            drops,
            ports: status.ports.iter().map(port).collect(),
            exchanges: status.exchanges,
            events_lost: status.events_lost,
            burst_latency_us: status::slowest(&status.lcores),
            spread: status.spread,
            lcore_frames: status.lcores.iter().map(|lcore| lcore.frames).collect(),
        }
    }

    fn policy(&self) -> Option<&Policy> {
        self.snapshot.as_ref().map(|snapshot| snapshot.policy())
    }

    /// What the lcores have learnt, once they have been asked and each has told.
    fn learnt(&mut self) -> Option<BTreeMap<String, Learnt>> {
        for lcore in self.lcores.iter_mut().filter(|lcore| lcore.learnt.is_none()) {
            lcore.learnt = lcore.desk.outlets.reports.take_learnt();
        }
        if self.lcores.is_empty() || self.lcores.iter().any(|lcore| lcore.learnt.is_none()) {
            return None;
        }
        let told: Vec<_> = self.lcores.iter_mut().filter_map(|l| l.learnt.take()).collect();
        let policy = self.policy()?;
        let mut all: BTreeMap<String, Learnt> = BTreeMap::new();
        for (id, learnt) in told.into_iter().flatten() {
            if let Some(endpoint) = policy.endpoints.get(id.index()) {
                all.entry(endpoint.name.clone()).or_default().merge(&learnt);
            }
        }
        Some(all)
    }

    fn apply(&mut self, policy: Policy) -> Reply {
        let Some(current) = self.snapshot.as_ref().filter(|_| !self.lcores.is_empty()) else {
            return Reply::Error(ErrorReply::new("no_lcore", "no lcore runs"));
        };
        match current.succeeded_by(policy) {
            Ok(next) => {
                let next = Arc::new(next);
                for lcore in &self.lcores {
                    lcore.desk.publisher.publish(Arc::clone(&next));
                }
                self.snapshot = Some(next);
                self.revision += 1;
                Reply::Applied(self.policy_summary())
            }
            Err(e) => Reply::Error(ErrorReply::new("invalid_policy", e.to_string())),
        }
    }

    fn bypass(&mut self, on: bool) -> Reply {
        if self.lcores.is_empty() {
            return Reply::Error(ErrorReply::new("no_lcore", "no lcore runs"));
        }
        for lcore in &mut self.lcores {
            lcore.desk.publisher.bypass(on);
        }
        if on != self.bypassed {
            let what = if on { "nothing acts on traffic" } else { "rules act on traffic again" };
            super::say(format_args!("bypass: {what}"));
        }
        self.bypassed = on;
        Reply::Bypassed(on)
    }

    fn reports(&self) -> impl Iterator<Item = &Report> {
        self.lcores.iter().filter_map(|lcore| lcore.report.as_ref())
    }

    fn endpoints(&self) -> Vec<EndpointRow> {
        let mut rows = self.ledger.endpoints.server_rows();
        let Some(policy) = self.policy().filter(|_| self.reports().next().is_some()) else {
            return rows;
        };
        let in_flight = self.in_flight();
        let by_name: BTreeMap<&str, u64> =
            policy.endpoints.iter().map(|e| e.name.as_str()).zip(in_flight).collect();
        for row in &mut rows {
            row.in_flight = by_name.get(row.name.as_str()).copied();
        }
        rows
    }

    /// Exchanges that run, by endpoint.
    fn in_flight(&self) -> [u64; ENDPOINTS_MAX] {
        let mut in_flight = [0; ENDPOINTS_MAX];
        for report in self.reports() {
            in_flight.iter_mut().zip(report.in_flight).for_each(|(all, n)| *all += u64::from(n));
        }
        in_flight
    }

    fn standings(&self) -> Standings {
        let views = self.lcores.iter().filter_map(|lcore| lcore.view.as_ref());
        let endpoints = self.policy().map_or(&[][..], |policy| &policy.endpoints);
        standings::of(views, endpoints, &self.in_flight())
    }

    fn policy_summary(&self) -> PolicySummary {
        let Some(policy) = self.policy() else { return PolicySummary::default() };
        PolicySummary {
            revision: self.revision,
            mode: policy.mode,
            endpoints: policy.endpoints.len(),
            retry_percent: policy.retry_budget.percent,
        }
    }

    fn status(&self) -> Status {
        let uptime = self.now.zip(self.started).map(|(now, started)| now.duration_since(started));
        let mode = match self.mode {
            Mode::Wire => "wire",
            Mode::Observe => "observe",
        };
        let spread = self.lcores.first().map(|lcore| lcore.desk.outlets.spread);
        let mut status = Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            mode: mode.to_owned(),
            uptime_seconds: uptime.unwrap_or_default().as_secs_f64(),
            spread: spread.unwrap_or_default().name().to_owned(),
            ports: self.devices.iter().map(status::of_port).collect(),
            policy: self.policy_summary(),
            bypassed: self.bypassed,
            ..Status::default()
        };
        let mut totals = Totals::default();
        self.reports().for_each(|report| totals.merge(&report.totals));
        status::fill(&mut status, &totals, self.late_amendments);
        let now = self.now;
        let lcore = |(index, lcore): (u16, &Watched)| {
            let silence = now.map_or(Duration::ZERO, |now| now.duration_since(lcore.heard));
            let report = lcore.report.as_ref()?;
            Some(status::of_lcore(index, report, lcore.desk.core, silence))
        };
        status.lcores = (0..).zip(&self.lcores).filter_map(lcore).collect();
        status
    }
}

impl Watched {
    fn new(desk: LcoreDesk, now: Instant) -> Self {
        Self { desk, next: None, report: None, view: None, learnt: None, heard: now, silent: false }
    }

    /// Takes the latest report, and says when there has been none for long, or is one again.
    fn hear(&mut self, index: usize, now: Instant) {
        if let Some(report) = self.desk.outlets.reports.take() {
            self.report = Some(report);
            self.heard = now;
        }
        if let Some(view) = self.desk.outlets.reports.take_view() {
            self.view = Some(view);
        }
        let silent = now.duration_since(self.heard) > SILENCE_MAX;
        if silent != self.silent {
            self.silent = silent;
            let what =
                if silent { "gives no sign of life: frames may not pass" } else { "is back" };
            super::say(format_args!("lcore {index} {what}"));
        }
    }
}

/// A call that begins within this time after a failure follows it.
fn window_seconds(policy: &Policy) -> f64 {
    policy.limits.retry_window_ms as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::event::{ExchangeId, Waste};
    use crate::telemetry::ledger::tests::exchange;
    use crate::telemetry::line::EventClass;
    use crate::time::Nanos;

    #[test]
    fn pages_follow_one_another_and_say_what_was_missed() {
        let mut recent = Recent::default();
        for n in 0..RECENT_MAX + 10 {
            recent.push(n);
        }
        let first = recent.page(0, 3);
        assert_eq!((first.rows.as_slice(), first.next, first.missed), (&[10, 11, 12][..], 13, 10));
        let second = recent.page(first.next, 2);
        assert_eq!((second.rows.as_slice(), second.missed), (&[13, 14][..], 0));
        let last = recent.page(RECENT_MAX as u64 + 10, 5);
        assert_eq!((last.rows.len(), last.next), (0, RECENT_MAX as u64 + 10));
    }

    #[test]
    fn an_exchange_that_was_told_is_amended_in_the_rows_and_in_the_ledger() {
        let (mut exchanges, mut ledger) = (Recent::default(), Ledger::default());
        let line = exchange(0.0, 1.0);
        ledger.add(&line);
        exchanges.push(line);
        let (at, waste) = (Nanos::from_secs(3), Waste::Thrash);
        let amendment = Amendment { at, exchange: ExchangeId(1), waste };
        let event = exchanges.amend(&amendment, &mut ledger).unwrap();
        assert_eq!((event.event, event.waste), (EventClass::Amendment, Some(waste)));
        assert_eq!((event.time, event.value), (3.0, 2.0));
        assert_eq!(exchanges.rows[0].waste, Some(waste));
        let mut of_rows = Ledger::default();
        exchanges.rows.iter().for_each(|line| of_rows.add(line));
        assert_eq!(ledger.view(), of_rows.view());
        let gone = Amendment { exchange: ExchangeId(2), ..amendment };
        assert!(exchanges.amend(&gone, &mut ledger).is_none());
    }

    #[test]
    fn a_desk_that_was_told_nothing_answers_all_the_same() {
        let mut desk = Desk::default();
        assert!(matches!(desk.answer(Request::Status), Reply::Status(_)));
        assert!(
            matches!(desk.answer(Request::Endpoints), Reply::Endpoints(rows) if rows.is_empty())
        );
    }
}
