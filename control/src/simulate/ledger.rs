//! What happened: series second by second, totals after the warm-up, and each tenant's share.

use std::collections::{BTreeMap, HashMap};

use fastpath::telemetry::event::{Event, Exchange, Outcome};
use fastpath::time::Nanos;
use serde::Serialize;

use super::client::Call;
use super::connection::Connection;
use super::frame::{Broken, Socket};
use super::scenario::Scenario;
use super::slab::Id;

mod agreement;

pub(super) use agreement::Agreement;

/// Everything that was counted.
#[derive(Debug)]
pub(super) struct Ledger {
    start: Nanos,
    warmup: usize,
    /// One for each second.
    pub(super) steps: Vec<Step>,
    pub(super) tenants: Vec<Tenant>,
    /// The tenant of each group.
    of_group: Vec<usize>,
    pub(super) totals: Totals,
    log: Option<Log>,
    /// Connections that were opened.
    pub(super) opened: u64,
    /// Ends that gave up after their last retransmission.
    pub(super) gave_up: u64,
    /// Frames that a fault of a server swallowed.
    pub(super) lost_frames: u64,
    /// Frames that reached an end and were none, or had a wrong checksum.
    pub(super) broken_frames: u64,
    /// Resets beside the exact sequence number, inside the window.
    pub(super) resets_beside: u64,
    /// The longest that a request was under way to its server.
    pub(super) longest_way: Nanos,
}

/// A second.
#[derive(Clone, Debug, Default)]
pub(super) struct Step {
    pub(super) offered: u32,
    pub(super) attempts: u32,
    pub(super) arrived: u32,
    pub(super) distinct: u32,
    pub(super) completed: u32,
    pub(super) failed: u32,
    pub(super) throttled: u32,
    pub(super) useful: f64,
    pub(super) wasted: f64,
    pub(super) gauges: Gauges,
}

/// What there is at the end of a second.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gauges {
    pub(super) working: u32,
    pub(super) queued: u32,
    pub(super) held: u32,
}

/// A tenant.
#[derive(Debug)]
pub(super) struct Tenant {
    pub(super) name: String,
    pub(super) offered: u64,
    pub(super) completed: u64,
    pub(super) useful: f64,
    pub(super) wasted: f64,
    /// Second, and time to first byte from the first attempt on, of each answered call.
    pub(super) first_bytes: Vec<(u32, f32)>,
}

/// Since the warm-up.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    pub(super) offered: u64,
    pub(super) attempts: u64,
    /// Requests that servers had.
    pub(super) arrived: u64,
    /// Different ones among them.
    pub(super) distinct: u64,
    pub(super) completed: u64,
    pub(super) failed: u64,
    pub(super) left: u64,
    pub(super) restarts: u64,
    pub(super) throttled: u64,
    pub(super) errors: u64,
    pub(super) useful: f64,
    pub(super) wasted: f64,
    pub(super) latency: f64,
}

/// How an attempt whose request was sent ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Complete,
    Failed,
    Throttled,
    ClientAbort,
    ServerAbort,
    NoReply,
}

/// Attempts as they were, and exchanges as they were told.
#[derive(Debug, Default)]
struct Log {
    attempts: Vec<agreement::Attempt>,
    running: HashMap<Id<Connection>, usize>,
    exchanges: Vec<agreement::Told>,
    decisions: BTreeMap<String, u64>,
    signals: BTreeMap<String, u64>,
}

impl Ledger {
    pub(super) fn new(scenario: &Scenario, start: Nanos, logs: bool) -> Self {
        let seconds = |nanos: Nanos| usize::try_from(nanos.0 / 1_000_000_000).unwrap_or(0);
        Self {
            start,
            warmup: seconds(scenario.warmup.nanos()),
            steps: vec![Step::default(); seconds(scenario.duration.nanos()) + 1],
            tenants: Vec::new(),
            of_group: Vec::new(),
            totals: Totals::default(),
            log: logs.then(Log::default),
            opened: 0,
            gave_up: 0,
            lost_frames: 0,
            broken_frames: 0,
            resets_beside: 0,
            longest_way: Nanos::ZERO,
        }
    }

    /// The place of a tenant; the next group is its.
    pub(super) fn tenant(&mut self, name: &str) -> usize {
        let known = self.tenants.iter().position(|tenant| tenant.name == name);
        let place = known.unwrap_or_else(|| {
            self.tenants.push(Tenant {
                name: name.to_owned(),
                offered: 0,
                completed: 0,
                useful: 0.0,
                wasted: 0.0,
                first_bytes: Vec::new(),
            });
            self.tenants.len() - 1
        });
        self.of_group.push(place);
        place
    }

    pub(super) fn offered(&mut self, now: Nanos, group: usize) {
        let (step, warm) = self.step(now);
        step.offered += 1;
        self.totals.offered += u64::from(warm);
        self.tenants[self.of_group[group]].offered += u64::from(warm);
    }

    pub(super) fn attempt(&mut self, now: Nanos, _group: usize) {
        let (step, warm) = self.step(now);
        step.attempts += 1;
        self.totals.attempts += u64::from(warm);
    }

    /// A request has reached a server, `first` if no attempt at it had.
    pub(super) fn arrived(&mut self, now: Nanos, first: bool, travelled: Nanos) {
        let (step, warm) = self.step(now);
        step.arrived += 1;
        step.distinct += u32::from(first);
        self.totals.arrived += u64::from(warm);
        self.totals.distinct += u64::from(warm && first);
        self.longest_way = self.longest_way.max(travelled);
    }

    pub(super) fn succeeded(&mut self, now: Nanos, call: &Call) {
        let second = self.second_of(now);
        let (step, warm) = self.step(now);
        step.completed += 1;
        if !warm {
            return;
        }
        self.totals.completed += 1;
        self.totals.latency += now.since(call.begun).secs_f64();
        let tenant = &mut self.tenants[self.of_group[call.group]];
        tenant.completed += 1;
        let first_byte = call.first_byte.unwrap_or(now).since(call.begun).secs_f64();
        #[allow(clippy::cast_possible_truncation, reason = "seven digits of a time are enough")]
        tenant.first_bytes.push((u32::try_from(second).unwrap_or(u32::MAX), first_byte as f32));
    }

    pub(super) fn failed(&mut self, now: Nanos, _group: usize) {
        let (step, warm) = self.step(now);
        step.failed += 1;
        self.totals.failed += u64::from(warm);
    }

    pub(super) fn left(&mut self, _group: usize) {
        self.totals.left += 1;
    }

    pub(super) fn restarted(&mut self, _group: usize) {
        self.totals.restarts += 1;
    }

    pub(super) fn refused(&mut self, now: Nanos, status: u16) {
        let (step, warm) = self.step(now);
        if status == 429 {
            step.throttled += 1;
            self.totals.throttled += u64::from(warm);
        } else {
            self.totals.errors += u64::from(warm);
        }
    }

    /// A slot was taken for so many seconds.
    pub(super) fn worked(&mut self, now: Nanos, group: usize, seconds: f64, useful: bool) {
        let tenant = self.of_group[group];
        let (step, warm) = self.step(now);
        if useful {
            step.useful += seconds;
        } else {
            step.wasted += seconds;
        }
        if warm {
            let (totals, tenant) = (&mut self.totals, &mut self.tenants[tenant]);
            if useful {
                (totals.useful, tenant.useful) = (totals.useful + seconds, tenant.useful + seconds);
            } else {
                (totals.wasted, tenant.wasted) = (totals.wasted + seconds, tenant.wasted + seconds);
            }
        }
    }

    pub(super) fn second(&mut self, now: Nanos, gauges: &Gauges) {
        // What is over, not what begins.
        let (step, _) = self.step(now - Nanos(1));
        step.gauges = *gauges;
    }

    pub(super) fn broken(&mut self, _broken: Broken) {
        self.broken_frames += 1;
    }

    /// A request was sent on a connection.
    pub(super) fn sent(&mut self, now: Nanos, id: Id<Connection>, client: Socket, retry: bool) {
        if let Some(log) = &mut self.log {
            log.running.insert(id, log.attempts.len());
            log.attempts.push(agreement::Attempt { client, at: now, retry, ended: None });
        }
    }

    /// The attempt that a connection was for has ended, if one was.
    pub(super) fn ended(&mut self, _now: Nanos, id: Id<Connection>, ended: Ended) {
        if let Some(log) = &mut self.log
            && let Some(place) = log.running.remove(&id)
        {
            log.attempts[place].ended = Some(ended);
        }
    }

    /// What the data plane tells.
    pub(super) fn told(&mut self, events: impl Iterator<Item = Event>) {
        let Some(log) = &mut self.log else { return };
        for event in events {
            match event {
                Event::Exchange(exchange) => {
                    log.exchanges.push(agreement::Told::new(&exchange));
                    *log.decisions.entry(decision(&exchange)).or_default() += 1;
                }
                Event::Signal(signal) => {
                    *log.signals.entry(word(&signal.kind)).or_default() += 1;
                }
                Event::Hello(_) | Event::Amendment(_) => {}
            }
        }
    }

    /// How what was told compares with what was.
    pub(super) fn agreement(&self) -> Option<Agreement> {
        self.log.as_ref().map(|log| agreement::compare(&log.attempts, &log.exchanges))
    }

    /// Exchanges by what was decided about them, and why.
    pub(super) fn decisions(&self) -> BTreeMap<String, u64> {
        self.log.as_ref().map(|log| log.decisions.clone()).unwrap_or_default()
    }

    /// What the data plane signalled, and how often.
    pub(super) fn signals(&self) -> BTreeMap<String, u64> {
        self.log.as_ref().map(|log| log.signals.clone()).unwrap_or_default()
    }

    fn second_of(&self, now: Nanos) -> usize {
        usize::try_from(now.since(self.start).0 / 1_000_000_000).unwrap_or(usize::MAX)
    }

    /// The second of `now`, and whether it is after the warm-up.
    fn step(&mut self, now: Nanos) -> (&mut Step, bool) {
        let second = self.second_of(now).min(self.steps.len() - 1);
        let warm = second >= self.warmup;
        (&mut self.steps[second], warm)
    }
}

/// Verdict and reason in the words of the contract: `hold: over_retry_budget`.
fn decision(exchange: &Exchange) -> String {
    format!("{}: {}", word(&exchange.verdict), word(&exchange.reason))
}

/// The word of the contract.
fn word(value: &impl Serialize) -> String {
    let value = serde_json::to_value(value);
    value.ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

impl Ended {
    /// The outcome that a look at the wire should give.
    const fn outcome(self) -> Outcome {
        match self {
            Self::Complete => Outcome::Complete,
            Self::Failed => Outcome::Failed,
            Self::Throttled => Outcome::Throttled,
            Self::ClientAbort => Outcome::ClientAbort,
            Self::ServerAbort => Outcome::ServerAbort,
            Self::NoReply => Outcome::ConnectFailed,
        }
    }
}
