//! What a run gives: totals, tenants, series and invariants of each column, as one document that is
//! the same to the byte for the same scenario, policy and seed.

use std::collections::BTreeMap;

use fastpath::time::Nanos;
use serde::{Serialize, Serializer};

use super::ledger::{Agreement, Ledger, Step, Tenant};
use super::scenario::{Column, Scenario};
use super::world::World;

/// The version of the document.
pub const SCHEMA_VERSION: u32 = 1;

/// A run.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// Of this document.
    pub schema_version: u32,
    /// The scenario's name.
    pub scenario: String,
    /// What it is to show.
    pub title: String,
    /// What chance was made from.
    pub seed: u64,
    /// Seconds that were simulated.
    pub seconds: Figure,
    /// Seconds before anything counts.
    pub warmup_seconds: Figure,
    /// When the trigger begins and is over.
    pub trigger_seconds: Option<[Figure; 2]>,
    /// Requests a second that the servers can answer, when nothing is wrong with them.
    pub capacity_per_second: Figure,
    /// What was compared.
    pub columns: Vec<ColumnResult>,
}

/// What a column gave.
#[derive(Clone, Debug, Serialize)]
pub struct ColumnResult {
    /// Which.
    pub column: Column,
    /// Since the warm-up.
    pub totals: TotalsResult,
    /// Around the trigger.
    pub trigger: Option<TriggerResult>,
    /// Jain's index over the slot-seconds of the tenants, each as a share of what max-min fairness gives
    /// it; 1 is fair.
    pub jain: Figure,
    /// By tenant.
    pub tenants: Vec<TenantResult>,
    /// Second by second.
    pub series: Series,
    /// What must hold in every run.
    pub invariants: Invariants,
    /// What the data plane told, beside what was.
    pub agreement: Option<Agreement>,
    /// Exchanges by what the data plane decided about them, and why.
    pub decisions: BTreeMap<String, u64>,
    /// What the data plane signalled, and how often.
    pub signals: BTreeMap<String, u64>,
}

/// Counts since the warm-up.
#[derive(Clone, Debug, Serialize)]
pub struct TotalsResult {
    /// Calls that somebody wanted answered.
    pub calls: u64,
    /// Attempts at them.
    pub attempts: u64,
    /// Calls that were answered.
    pub completed: u64,
    /// Calls that failed for good.
    pub failed: u64,
    /// Calls that lost interest.
    pub left: u64,
    /// Tasks that began anew.
    pub restarts: u64,
    /// Requests that reached a server.
    pub arrived: u64,
    /// 429s.
    pub throttled: u64,
    /// Other errors.
    pub errors: u64,
    /// Attempts for a call.
    pub client_amplification: Figure,
    /// Requests that reached a server, for each different one.
    pub server_amplification: Figure,
    /// Calls answered a second.
    pub goodput_per_second: Figure,
    /// From the first attempt to the whole answer, of calls that were answered.
    pub mean_latency_seconds: Figure,
    /// Slot-seconds for answers that arrived.
    pub useful_slot_seconds: Figure,
    /// Slot-seconds for answers that nobody had.
    pub wasted_slot_seconds: Figure,
    /// Their share.
    pub waste_share: Figure,
}

/// Goodput around the trigger.
#[derive(Clone, Debug, Serialize)]
pub struct TriggerResult {
    /// Calls answered a second before it.
    pub before_per_second: Figure,
    /// From five seconds after its beginning to its end.
    pub during_per_second: Figure,
    /// The same as a share of what the oracle has, where that is a column.
    pub during_of_oracle: Option<Figure>,
    /// From one minute after its end on, for half a minute, as a share of before.
    pub minute_after_share: Option<Figure>,
    /// Seconds from its end until goodput is 95 % of before and stays at 90 %; null when it never is.
    pub recovery_seconds: Option<Figure>,
    /// Attempts for a call, from its beginning to the end of the run.
    pub client_amplification: Figure,
    /// Requests that reached a server for each different one, likewise.
    pub server_amplification: Figure,
    /// Share of slot-seconds for answers that nobody had, likewise.
    pub waste_share: Figure,
}

/// A tenant since the warm-up.
#[derive(Clone, Debug, Serialize)]
pub struct TenantResult {
    /// Whose.
    pub tenant: String,
    /// Calls.
    pub calls: u64,
    /// Those that were answered.
    pub completed: u64,
    /// Slots taken, for how long.
    pub slot_seconds: Figure,
    /// Of these, for answers that nobody had.
    pub wasted_slot_seconds: Figure,
    /// Time to first byte from the first attempt on: median and 99th percentile, seconds.
    pub first_byte_p50: Option<Figure>,
    /// 99th percentile.
    pub first_byte_p99: Option<Figure>,
    /// The same over time: second, median, 99th percentile.
    pub first_byte_over_time: Vec<[Figure; 3]>,
}

/// Columns of equal length, one place a second.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Series {
    /// Calls begun.
    pub calls: Vec<u32>,
    /// Attempts begun.
    pub attempts: Vec<u32>,
    /// Requests that reached a server.
    pub arrived: Vec<u32>,
    /// Calls answered.
    pub goodput: Vec<u32>,
    /// Calls that failed for good.
    pub failed: Vec<u32>,
    /// 429s.
    pub throttled: Vec<u32>,
    /// Requests that have a slot.
    pub working: Vec<u32>,
    /// Requests that wait at a server.
    pub queued: Vec<u32>,
    /// Requests that are kept back before the servers, or lost on the way.
    pub held: Vec<u32>,
    /// Slot-seconds that ended as waste in this second.
    pub wasted_slot_seconds: Vec<Figure>,
    /// Slot-seconds that ended well in this second.
    pub useful_slot_seconds: Vec<Figure>,
}

/// What must hold in every run.
#[derive(Clone, Debug, Serialize)]
pub struct Invariants {
    /// Frames that ends sent.
    pub frames_sent: u64,
    /// Frames that reached an end.
    pub frames_arrived: u64,
    /// Frames on the wire when the run ended.
    pub frames_under_way: u64,
    /// Frames that the wire lost on the way to the data plane.
    pub frames_lost: u64,
    /// Frames inside the data plane when the run ended.
    pub frames_held: u64,
    /// Frames the data plane dropped, each for a named reason.
    pub frames_dropped: u64,
    /// Frames the data plane made itself.
    pub frames_made: u64,
    /// Sent and made are arrived, under way, lost, held and dropped.
    pub frames_conserved: bool,
    /// Frames that arrived broken, or with a wrong checksum.
    pub frames_broken: u64,
    /// Frames that a fault of a server swallowed.
    pub frames_lost_at_servers: u64,
    /// Resets that were not at the exact sequence number.
    pub resets_beside: u64,
    /// The longest that a request was under way to its server, round trips included.
    pub longest_hold_seconds: Figure,
    /// Connections that were opened.
    pub connections: u64,
}

/// A figure with three digits behind the point: enough to read, and the same on every machine that
/// adds up alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Figure(pub f64);

impl Serialize for Figure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64((self.0 * 1e3).round() / 1e3)
    }
}

/// First bytes are summed up over this many seconds.
const WINDOW_SECONDS: u32 = 10;

impl Run {
    /// A run without a column.
    pub(super) fn new(scenario: &Scenario, seed: u64) -> Self {
        let begins = scenario.faults.iter().map(|fault| fault.at.nanos()).min();
        let trigger = begins.zip(scenario.recovery_from());
        Self {
            schema_version: SCHEMA_VERSION,
            scenario: scenario.name.clone(),
            title: scenario.title.clone(),
            seed,
            seconds: Figure(scenario.duration.nanos().secs_f64()),
            warmup_seconds: Figure(scenario.warmup.nanos().secs_f64()),
            trigger_seconds: trigger.map(|(a, b)| [a, b].map(|at| Figure(at.secs_f64()))),
            capacity_per_second: Figure(scenario.pools.iter().map(|pool| pool.capacity()).sum()),
            columns: Vec::new(),
        }
    }

    /// The column of this name, if it was run.
    #[must_use]
    pub fn column(&self, column: Column) -> Option<&ColumnResult> {
        self.columns.iter().find(|result| result.column == column)
    }

    /// Enters what the others had of what the oracle had.
    pub(super) fn compare(&mut self) {
        let oracle = self.column(Column::Oracle).and_then(|oracle| oracle.trigger.as_ref());
        let Some(Figure(ceiling)) = oracle.map(|trigger| trigger.during_per_second) else { return };
        for trigger in self.columns.iter_mut().filter_map(|column| column.trigger.as_mut()) {
            trigger.during_of_oracle = Some(Figure(ratio(trigger.during_per_second.0, ceiling)));
        }
    }
}

impl ColumnResult {
    pub(super) fn new(column: Column, world: &World<'_>) -> Self {
        let (ledger, scenario) = (&world.ledger, world.scenario);
        let taken = ledger.tenants.iter().map(|tenant| tenant.useful + tenant.wasted);
        let shares = taken.zip(fair_shares(world)).filter(|&(_, fair)| fair > 0.0);
        let shares: Vec<f64> = shares.map(|(taken, fair)| taken / fair).collect();
        Self {
            column,
            totals: TotalsResult::new(ledger, scenario),
            trigger: TriggerResult::new(&ledger.steps, scenario),
            jain: Figure(jain(&shares)),
            tenants: ledger.tenants.iter().map(TenantResult::new).collect(),
            series: Series::new(&ledger.steps),
            invariants: Invariants::new(world),
            agreement: ledger.agreement(),
            decisions: ledger.decisions(),
            signals: ledger.signals(),
        }
    }
}

impl TotalsResult {
    fn new(ledger: &Ledger, scenario: &Scenario) -> Self {
        let totals = &ledger.totals;
        let seconds = (scenario.duration.nanos() - scenario.warmup.nanos()).secs_f64();
        let of = |a: u64, b: u64| Figure(ratio(a as f64, b as f64));
        Self {
            calls: totals.offered,
            attempts: totals.attempts,
            completed: totals.completed,
            failed: totals.failed,
            left: totals.left,
            restarts: totals.restarts,
            arrived: totals.arrived,
            throttled: totals.throttled,
            errors: totals.errors,
            client_amplification: of(totals.attempts, totals.offered),
            server_amplification: of(totals.arrived, totals.distinct),
            goodput_per_second: Figure(totals.completed as f64 / seconds),
            mean_latency_seconds: Figure(ratio(totals.latency, totals.completed as f64)),
            useful_slot_seconds: Figure(totals.useful),
            wasted_slot_seconds: Figure(totals.wasted),
            waste_share: Figure(ratio(totals.wasted, totals.wasted + totals.useful)),
        }
    }
}

impl TriggerResult {
    fn new(steps: &[Step], scenario: &Scenario) -> Option<Self> {
        let second = |nanos: Nanos| usize::try_from(nanos.0 / 1_000_000_000).unwrap_or(usize::MAX);
        let begins = second(scenario.faults.iter().map(|fault| fault.at.nanos()).min()?);
        let ends = second(scenario.recovery_from()?);
        let last = steps.len() - 1;
        let mean = |from: usize, to: usize| {
            let steps = steps.get(from..to.min(last)).unwrap_or_default();
            ratio(steps.iter().map(|step| f64::from(step.completed)).sum(), steps.len() as f64)
        };
        let before = mean(second(scenario.warmup.nanos()), begins);
        let stays = |from: usize| {
            let windows = (from..(from + 60).min(last.saturating_sub(10))).step_by(10);
            windows.into_iter().all(|at| mean(at, at + 10) >= 0.9 * before)
        };
        let recovered = |&at: &usize| mean(at, at + 10) >= 0.95 * before && stays(at);
        let recovery = (ends..last.saturating_sub(10)).find(recovered);
        let after = ends + 60;
        let since = &steps[begins.min(last)..];
        let sum = |of: fn(&Step) -> f64| since.iter().map(of).sum::<f64>();
        let (wasted, useful) = (sum(|step| step.wasted), sum(|step| step.useful));
        let of = |a: fn(&Step) -> u32, b: fn(&Step) -> u32| {
            let sum = |of: fn(&Step) -> u32| since.iter().map(|s| f64::from(of(s))).sum();
            Figure(ratio(sum(a), sum(b)))
        };
        Some(Self {
            before_per_second: Figure(before),
            during_per_second: Figure(mean(begins + 5, ends)),
            during_of_oracle: None,
            minute_after_share: (after + 30 <= last)
                .then(|| Figure(ratio(mean(after, after + 30), before))),
            recovery_seconds: recovery.map(|at| Figure((at - ends) as f64)),
            client_amplification: of(|step| step.attempts, |step| step.offered),
            server_amplification: of(|step| step.arrived, |step| step.distinct),
            waste_share: Figure(ratio(wasted, wasted + useful)),
        })
    }
}

impl TenantResult {
    fn new(tenant: &Tenant) -> Self {
        let all: Vec<f32> = tenant.first_bytes.iter().map(|&(_, time)| time).collect();
        let mut windows: BTreeMap<u32, Vec<f32>> = BTreeMap::new();
        for &(second, time) in &tenant.first_bytes {
            windows.entry(second / WINDOW_SECONDS).or_default().push(time);
        }
        let over_time = windows.into_iter().filter_map(|(window, times)| {
            let [p50, p99] = percentiles(times)?;
            Some([Figure(f64::from(window * WINDOW_SECONDS)), p50, p99])
        });
        let percentiles = percentiles(all);
        Self {
            tenant: tenant.name.clone(),
            calls: tenant.offered,
            completed: tenant.completed,
            slot_seconds: Figure(tenant.useful + tenant.wasted),
            wasted_slot_seconds: Figure(tenant.wasted),
            first_byte_p50: percentiles.map(|[p50, _]| p50),
            first_byte_p99: percentiles.map(|[_, p99]| p99),
            first_byte_over_time: over_time.collect(),
        }
    }
}

impl Series {
    /// The last step is the end of the run, and empty.
    fn new(steps: &[Step]) -> Self {
        let steps = &steps[..steps.len() - 1];
        let counts = |of: fn(&Step) -> u32| steps.iter().map(of).collect();
        let figures = |of: fn(&Step) -> f64| steps.iter().map(|step| Figure(of(step))).collect();
        Self {
            calls: counts(|step| step.offered),
            attempts: counts(|step| step.attempts),
            arrived: counts(|step| step.arrived),
            goodput: counts(|step| step.completed),
            failed: counts(|step| step.failed),
            throttled: counts(|step| step.throttled),
            working: counts(|step| step.gauges.working),
            queued: counts(|step| step.gauges.queued),
            held: counts(|step| step.gauges.held),
            wasted_slot_seconds: figures(|step| step.wasted),
            useful_slot_seconds: figures(|step| step.useful),
        }
    }
}

impl Invariants {
    fn new(world: &World<'_>) -> Self {
        let (ledger, network) = (&world.ledger, &world.network);
        let port = network.totals().map(|totals| totals.port).unwrap_or_default();
        let (held, dropped) = (port.held_frames, port.drops.total());
        let made = port.made_frames;
        let under_way = network.under_way();
        let lost = network.lost();
        let ends = network.arrived + under_way + lost + held + dropped;
        Self {
            frames_sent: network.sent,
            frames_arrived: network.arrived,
            frames_under_way: under_way,
            frames_lost: lost,
            frames_held: held,
            frames_dropped: dropped,
            frames_made: made,
            frames_conserved: network.sent + made == ends,
            frames_broken: ledger.broken_frames,
            frames_lost_at_servers: ledger.lost_frames,
            resets_beside: ledger.resets_beside,
            longest_hold_seconds: Figure(ledger.longest_way.secs_f64()),
            connections: ledger.opened,
        }
    }
}

/// Median and 99th percentile.
fn percentiles(mut values: Vec<f32>) -> Option<[Figure; 2]> {
    values.sort_by(f32::total_cmp);
    let at = |share: usize| values.get((values.len().max(1) - 1) * share / 100).copied();
    Some([Figure(at(50)?.into()), Figure(at(99)?.into())])
}

/// Slot-seconds that max-min fairness gives each tenant: what its calls need, as far as that is no more
/// than an equal share of what the others leave.
fn fair_shares(world: &World<'_>) -> Vec<f64> {
    let scenario = world.scenario;
    let seconds = (scenario.duration.nanos() - scenario.warmup.nanos()).secs_f64();
    let slots: f64 =
        scenario.pools.iter().map(|p| f64::from(p.slots) * f64::from(p.replicas)).sum();
    let mut needs = vec![0.0; world.ledger.tenants.len()];
    for group in &world.groups {
        let pool = &scenario.pools[group.pool];
        let each = pool.prefill.nanos().secs_f64() + pool.decode.nanos().secs_f64();
        needs[group.tenant] = world.ledger.tenants[group.tenant].offered as f64 * each;
    }
    max_min(&needs, slots * seconds)
}

/// Shares out `all`, none more than it needs.
fn max_min(needs: &[f64], all: f64) -> Vec<f64> {
    let mut by_need: Vec<usize> = (0..needs.len()).collect();
    by_need.sort_by(|&a, &b| needs[a].total_cmp(&needs[b]));
    let (mut left, mut shares) = (all, vec![0.0; needs.len()]);
    for (served, &place) in by_need.iter().enumerate() {
        shares[place] = needs[place].min(left / (needs.len() - served) as f64);
        left -= shares[place];
    }
    shares
}

/// Jain's index: 1 where all have the same, 1/n where one has all.
fn jain(values: &[f64]) -> f64 {
    let (sum, squares) = values.iter().fold((0.0, 0.0), |(s, q), v| (s + v, q + v * v));
    if squares == 0.0 { 1.0 } else { sum * sum / (values.len() as f64 * squares) }
}

/// Nothing of nothing is nothing.
fn ratio(a: f64, b: f64) -> f64 {
    if b == 0.0 { 0.0 } else { a / b }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jains_index_is_one_for_equals_and_a_share_for_one_alone() {
        assert!((jain(&[3.0, 3.0, 3.0]) - 1.0).abs() < 1e-9);
        assert!((jain(&[9.0, 0.0, 0.0]) - 1.0 / 3.0).abs() < 1e-9);
    }

    #[test]
    fn nobody_is_given_more_than_it_needs_and_the_rest_is_shared_equally() {
        assert_eq!(max_min(&[50.0, 1.0, 9.0], 30.0), [20.0, 1.0, 9.0]);
        assert_eq!(max_min(&[50.0, 1.0, 90.0], 31.0), [15.0, 1.0, 15.0]);
        assert_eq!(max_min(&[], 31.0), [0.0; 0]);
    }

    #[test]
    fn percentiles_are_of_the_sorted_values() {
        let values = (0..101_u8).rev().map(f32::from).collect();
        assert_eq!(percentiles(values), Some([Figure(50.0), Figure(99.0)]));
        assert_eq!(percentiles(Vec::new()), None);
    }
}
