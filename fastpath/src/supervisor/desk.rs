//! What the supervisor has gathered: the ledger, the latest exchanges, events and flows, and how
//! the lcore is doing. Answers every request of the socket. All of it is bounded; what is older
//! leaves.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::ipc::{
    EndpointRow, ErrorReply, FlowCounts, FrameCounts, Latency, LcoreStatus, Page, PolicySummary,
    PortStatus, ROWS_MAX, Reply, Request, Status,
};
use crate::lcore::{Mode, Outlets};
use crate::policy::handoff::Publisher;
use crate::policy::learnt::Learnt;
use crate::policy::snapshot::{EndpointId, Policy, Snapshot};
use crate::port::DeviceReport;
use crate::telemetry::event::{Amendment, Event};
use crate::telemetry::ledger::Ledger;
use crate::telemetry::line::{EventLine, ExchangeLine, FlowLine};
use crate::telemetry::reasons::{DropReason, PassReason};
use crate::telemetry::report::Report;

/// Everything gathered. The default is a desk that nobody tells anything.
#[derive(Debug, Default)]
pub struct Desk {
    mode: Mode,
    lcore: Option<LcoreDesk>,
    snapshot: Option<Arc<Snapshot>>,
    revision: u64,
    ledger: Ledger,
    exchanges: Recent<ExchangeLine>,
    events: Recent<EventLine>,
    flows: VecDeque<FlowLine>,
    report: Option<Report>,
    devices: Vec<DeviceReport>,
    /// Amendments of exchanges that had left already: the ledger lacks them.
    late_amendments: u64,
    started: Option<Instant>,
    heard: Option<Instant>,
    now: Option<Instant>,
    silent: bool,
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
    /// From a burst's arrival to its departure, microseconds.
    pub burst_latency_us: Latency,
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
    /// A desk for one lcore.
    #[must_use]
    pub fn new(mode: Mode, snapshot: Arc<Snapshot>, lcore: LcoreDesk, now: Instant) -> Self {
        Self {
            mode,
            lcore: Some(lcore),
            snapshot: Some(snapshot),
            revision: 1,
            started: Some(now),
            heard: Some(now),
            now: Some(now),
            ..Self::default()
        }
    }

    /// Takes over what the lcore has told since the last time, and notices when it tells nothing.
    pub fn gather(&mut self, now: Instant) {
        self.now = Some(now);
        let (Some(lcore), Some(snapshot)) = (&self.lcore, &self.snapshot) else { return };
        while let Some(event) = lcore.outlets.events.next() {
            let Outlets { names, fingerprints, .. } = &lcore.outlets;
            match &event {
                Event::Exchange(exchange) => {
                    let line = ExchangeLine::new(exchange, names, snapshot);
                    self.ledger.add(&line);
                    self.exchanges.push(line);
                }
                Event::Signal(signal) => self.events.push(EventLine::new(signal, snapshot)),
                Event::Amendment(amendment) => {
                    let told = self.exchanges.amend(amendment, &mut self.ledger);
                    match told {
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
        if let Some(devices) = lcore.outlets.reports.take_devices() {
            self.devices = devices;
        }
        if let Some(report) = lcore.outlets.reports.take() {
            self.report = Some(report);
            self.heard = Some(now);
        }
        let silent = self.silence() > SILENCE_MAX;
        if silent != self.silent {
            self.silent = silent;
            let what =
                if silent { "gives no sign of life: frames may not pass" } else { "is back" };
            super::say(format_args!("lcore 0 {what}"));
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
            burst_latency_us: status.lcores.first().map(|l| l.burst_latency_us).unwrap_or_default(),
        }
    }

    fn policy(&self) -> Option<&Policy> {
        self.snapshot.as_ref().map(|snapshot| snapshot.policy())
    }

    /// What the lcore has learnt, once it has been asked and has told.
    fn learnt(&self) -> Option<BTreeMap<String, Learnt>> {
        let (lcore, policy) = (self.lcore.as_ref()?, self.policy()?);
        let name = |id: EndpointId| policy.endpoints.get(id.index()).map(|e| e.name.clone());
        let learnt = lcore.outlets.reports.take_learnt()?;
        Some(learnt.into_iter().filter_map(|(id, learnt)| Some((name(id)?, learnt))).collect())
    }

    fn apply(&mut self, policy: Policy) -> Reply {
        let (Some(lcore), Some(current)) = (&self.lcore, &self.snapshot) else {
            return Reply::Error(ErrorReply::new("no_lcore", "no lcore runs"));
        };
        match current.succeeded_by(policy) {
            Ok(next) => {
                let next = Arc::new(next);
                lcore.publisher.publish(Arc::clone(&next));
                self.snapshot = Some(next);
                self.revision += 1;
                Reply::Applied(self.policy_summary())
            }
            Err(e) => Reply::Error(ErrorReply::new("invalid_policy", e.to_string())),
        }
    }

    fn bypass(&mut self, on: bool) -> Reply {
        let Some(lcore) = &self.lcore else {
            return Reply::Error(ErrorReply::new("no_lcore", "no lcore runs"));
        };
        lcore.publisher.bypass(on);
        if on != self.bypassed {
            let what = if on { "nothing acts on traffic" } else { "rules act on traffic again" };
            super::say(format_args!("bypass: {what}"));
        }
        self.bypassed = on;
        Reply::Bypassed(on)
    }

    fn silence(&self) -> Duration {
        self.now.zip(self.heard).map_or(Duration::ZERO, |(now, heard)| now.duration_since(heard))
    }

    fn endpoints(&self) -> Vec<EndpointRow> {
        let mut rows = self.ledger.endpoints.server_rows();
        let (Some(report), Some(policy)) = (&self.report, self.policy()) else { return rows };
        let by_name: BTreeMap<&str, u32> =
            policy.endpoints.iter().map(|e| e.name.as_str()).zip(report.in_flight).collect();
        for row in &mut rows {
            row.in_flight = by_name.get(row.name.as_str()).map(|&n| u64::from(n));
        }
        rows
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
        let mut status = Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            mode: mode.to_owned(),
            uptime_seconds: uptime.unwrap_or_default().as_secs_f64(),
            ports: self.devices.iter().map(port_status).collect(),
            policy: self.policy_summary(),
            bypassed: self.bypassed,
            ..Status::default()
        };
        if let (Some(report), Some(lcore)) = (&self.report, &self.lcore) {
            fill(&mut status, report, self.late_amendments);
            status.lcores = vec![lcore_status(report, lcore.core, self.silence())];
        }
        status
    }
}

fn fill(status: &mut Status, report: &Report, late_amendments: u64) {
    let totals = &report.totals;
    let port = &totals.port;
    let drops = DropReason::ALL.iter().map(|&r| (r.name().to_owned(), port.drops.count(r)));
    status.frames = FrameCounts {
        rx_frames: port.rx_frames,
        rx_bytes: port.rx_bytes,
        tx_frames: port.tx_frames,
        tx_bytes: port.tx_bytes,
        held_frames: port.held_frames,
        drops: drops.filter(|&(_, n)| n > 0).collect(),
    };
    let passes = PassReason::ALL.iter().map(|&r| (r.name().to_owned(), totals.passes.count(r)));
    status.passes = passes.filter(|&(_, n)| n > 0).collect();
    let flows = totals.flows;
    status.flows = FlowCounts {
        live: flows.live,
        opened: flows.opened,
        evicted: flows.evicted,
        h1: flows.h1,
        mux: flows.mux,
        quic: flows.quic,
        both: flows.both,
        repeated_frames: flows.repeated_frames,
        repeated_bytes: flows.repeated_bytes,
    };
    status.exchanges = totals.exchanges;
    status.events_lost = totals.events_lost;
    let limits = [
        ("flow.evicted", flows.evicted),
        ("parse.reassembly_refused", totals.reassembly_refused),
        ("parse.fingerprints_refused", totals.fingerprints_refused),
        ("parse.records_lost", totals.records_lost),
        ("classify.names_refused", totals.names_refused),
        ("act.holds_refused", totals.acts.holds_refused),
        ("act.shaped_refused", totals.acts.shaped_refused),
        ("act.resets_refused", totals.acts.resets_refused),
        ("classify.learnt_evicted", totals.learnt_evicted),
        ("detect.retry_evicted", totals.retry_evicted),
        ("decide.refused", totals.decide_refused),
        ("telemetry.events_lost", totals.events_lost),
        ("telemetry.late_amendments", late_amendments),
    ];
    let reached = limits.into_iter().filter(|&(_, n)| n > 0);
    status.limits_reached = reached.map(|(name, n)| (name.to_owned(), n)).collect();
}

fn lcore_status(report: &Report, core: Option<usize>, silence: Duration) -> LcoreStatus {
    let micros = |nanos: u64| nanos as f64 / 1000.0;
    let latency = report.latency;
    LcoreStatus {
        lcore: 0,
        core,
        heartbeat_age_ms: u64::try_from(silence.as_millis()).unwrap_or(u64::MAX),
        bursts: report.totals.bursts,
        frames: report.totals.port.rx_frames,
        busy_share: report.totals.bursts as f64 / report.polls.max(1) as f64,
        burst_latency_us: Latency {
            p50: micros(latency.p50),
            p99: micros(latency.p99),
            p999: micros(latency.p999),
            max: micros(latency.max),
        },
    }
}

fn port_status(device: &DeviceReport) -> PortStatus {
    let mac = device.mac.map(|byte| format!("{byte:02x}")).join(":");
    PortStatus {
        name: device.name.clone(),
        link: Some(if device.link_up { "up" } else { "down" }.to_owned()),
        mac: Some(mac),
        rx_frames: device.rx_frames,
        tx_frames: device.tx_frames,
        rx_missed: device.rx_missed + device.rx_no_buffer,
        rx_errors: device.rx_errors,
        tx_errors: device.tx_errors,
    }
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
