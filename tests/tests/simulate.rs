//! The simulator: it reproduces metastable collapse where control is missing or wrong, it does not
//! where a limit knows the capacity, and healthy traffic passes the data plane as if it were not
//! there. Without the collapse it would prove nothing about a control that prevents it.

use std::path::Path;
use std::sync::Arc;

use control::policy;
use control::simulate::result::{ColumnResult, Run};
use control::simulate::scenario::{Column, Scenario};
use control::simulate::{simulate, summarise};
use fastpath::policy::snapshot::{Policy, RuleMode, Snapshot};
use proptest::prelude::*;

/// Eight slots, in the proportions of a model server; what follows is clients, faults and columns.
const SERVER: &str = "
  - name: llm
    slots: 8
    prefill: 300ms
    decode: 1700ms
    decodeSpread: 0.8
    record: 500ms
";

fn run(rest: &str, seed: u64) -> Run {
    let text = format!("name: small\nwarmup: 20s\npools:{SERVER}{rest}");
    let scenario = Scenario::parse(Path::new("small.yaml"), &text).expect("it is valid");
    let snapshot = policy::snapshot(None).expect("the catalogue is");
    simulate(&scenario, &snapshot, seed)
}

fn trigger(attempts: u32, fault: &str) -> String {
    format!(
        "duration: 170s
columns: [none, fifo, budget, oracle]
clients:
  - {{ name: sdk, pool: llm, hosts: 50, attempts: [{attempts}], timeout: 20s, load: {{ utilisation: 0.85 }} }}
faults: [{fault}]
"
    )
}

/// Goodput from a minute after the trigger on, as a share of what it was before.
fn minute_after(column: &ColumnResult) -> f64 {
    let trigger = column.trigger.as_ref().expect("there is a fault");
    trigger.minute_after_share.expect("the run goes on for long enough").0
}

fn assert_only_the_oracle_recovers(rest: &str) {
    for seed in [1, 2] {
        let run = run(rest, seed);
        for column in &run.columns {
            let share = minute_after(column);
            if column.column == Column::Oracle {
                assert!(share > 0.9, "seed {seed}, {:?}: {share}", column.column);
            } else {
                assert!(share < 0.2, "seed {seed}, {:?}: {share}", column.column);
            }
        }
    }
}

#[test]
fn negative_controls_stay_collapsed_after_a_cut_to_a_tenth_and_the_oracle_does_not() {
    let cut = "{ pool: llm, at: 40s, for: 30s, kind: { cut: 0.1 } }";
    assert_only_the_oracle_recovers(&trigger(3, cut));
}

#[test]
fn negative_controls_stay_collapsed_after_three_times_the_load_and_the_oracle_does_not() {
    assert_only_the_oracle_recovers(&trigger(3, "{ at: 40s, for: 30s, kind: { load: 3 } }"));
}

#[test]
fn a_server_that_stops_when_its_client_leaves_recovers_alone() {
    let cut = "{ pool: llm, at: 40s, for: 30s, kind: { cut: 0.3 } }";
    let stops = trigger(3, cut).replace("columns: [none, fifo, budget, oracle]", "columns: [none]");
    let goes_on = run(&stops, 1);
    let text = format!("name: small\nwarmup: 20s\npools:{SERVER}    disconnect: abort\n{stops}");
    let scenario = Scenario::parse(Path::new("small.yaml"), &text).unwrap();
    let aborts = simulate(&scenario, &policy::snapshot(None).unwrap(), 1);
    assert!(minute_after(&aborts.columns[0]) > 0.9, "{}", minute_after(&aborts.columns[0]));
    assert!(aborts.columns[0].totals.waste_share.0 < goes_on.columns[0].totals.waste_share.0);
}

const HEALTHY: &str = "duration: 120s
columns: [none, lcore]
clients:
  - { name: python, pool: llm, hosts: 30, timeout: 60s, load: { utilisation: 0.4 } }
  - { name: node, pool: llm, hosts: 30, profile: openai-node, timeout: 60s, load: { think: 30s } }
  - { name: agents, pool: llm, hosts: 2, profile: aiohttp, children: 3, steps: 2, load: { think: 20s } }
";

#[test]
fn healthy_traffic_passes_the_data_plane_as_if_it_were_not_there() {
    let mut run = run(HEALTHY, 4);
    let (none, lcore) = (run.columns.remove(0), run.columns.remove(0));
    let invariants = &lcore.invariants;
    assert!(invariants.frames_conserved && invariants.frames_sent > 10_000);
    assert_eq!(
        (invariants.frames_dropped, invariants.frames_made, invariants.frames_held),
        (0, 0, 0)
    );
    assert_eq!(invariants.frames_sent, invariants.frames_arrived + invariants.frames_under_way);
    let text = |column: &ColumnResult| {
        let mut value = serde_json::to_value(column).unwrap();
        for key in ["column", "agreement", "decisions", "signals"] {
            value[key] = serde_json::Value::Null;
        }
        value.to_string()
    };
    assert_eq!(text(&none), text(&lcore), "same work, same times, same totals");
}

#[test]
fn what_the_data_plane_tells_of_healthy_traffic_is_what_was() {
    let run = run(HEALTHY, 5);
    let agreement = run.column(Column::Lcore).unwrap().agreement.clone().unwrap();
    assert!(agreement.attempts > 300, "{agreement:?}");
    assert_eq!(agreement.exchanges, agreement.attempts);
    assert_eq!(agreement.outcomes_right, agreement.attempts, "{agreement:?}");
    assert_eq!((agreement.retries, agreement.retries_told), (0, 0));
}

#[test]
fn what_it_tells_of_failures_and_time_outs_is_nearly_what_was() {
    let rest = "duration: 150s
columns: [lcore]
clients:
  - { name: sdk, pool: llm, hosts: 50, attempts: [4], timeout: 9s, leave: 0.1, load: { utilisation: 0.6 } }
faults:
  - { pool: llm, at: 40s, for: 30s, kind: { fastFail: 0.5 } }
  - { pool: llm, at: 90s, for: 20s, kind: { cut: 0.3 } }
";
    let run = run(rest, 6);
    let agreement = run.columns[0].agreement.clone().unwrap();
    assert_eq!(agreement.exchanges, agreement.attempts);
    assert!(agreement.retries > 80, "{agreement:?}");
    let share = |a: u64, b: u64| a as f64 / b as f64;
    assert!(share(agreement.outcomes_right, agreement.attempts) > 0.98, "{agreement:?}");
    assert!(share(agreement.retries_right, agreement.retries) > 0.98, "{agreement:?}");
    assert!(share(agreement.retries_right, agreement.retries_told) > 0.98, "{agreement:?}");
}

#[test]
fn a_seed_gives_the_same_document_to_the_byte_and_another_does_not() {
    let rest = trigger(3, FAULTS[0]).replace("oracle]", "oracle, lcore]");
    let text = |seed| serde_json::to_string(&enforced(&rest, seed)).unwrap();
    assert_eq!(text(9), text(9));
    assert_ne!(text(9), text(10));
}

/// The catalogue, enforced for all clients but this share.
fn enforcing(holdout_percent: f64) -> Policy {
    let catalogue = Policy::catalogue().expect("it ships");
    let mut policy = Policy { mode: RuleMode::Enforce, ..catalogue };
    policy.rules.self_disarm.holdout_percent = holdout_percent;
    policy
}

fn under(policy: Policy, rest: &str, seed: u64) -> Run {
    let text = format!("name: small\nwarmup: 20s\npools:{SERVER}{rest}");
    let scenario = Scenario::parse(Path::new("small.yaml"), &text).expect("it is valid");
    simulate(&scenario, &Arc::new(Snapshot::compile(policy).expect("it is")), seed)
}

fn enforced(rest: &str, seed: u64) -> Run {
    under(enforcing(0.0), rest, seed)
}

fn assert_invariants(column: &ColumnResult, of: &str) {
    let invariants = &column.invariants;
    assert!(invariants.frames_conserved, "{of}: {invariants:?}");
    assert_eq!((invariants.frames_broken, invariants.resets_beside), (0, 0), "{of}");
}

#[test]
fn an_enforced_policy_acts_within_its_bounds_and_leaves_healthy_traffic_alone() {
    let cut = "{ pool: llm, at: 40s, for: 30s, kind: { cut: 0.1 } }";
    for seed in [1, 2, 3] {
        let rest = trigger(3, cut).replace("[none, fifo, budget, oracle]", "[lcore]");
        let column = enforced(&rest, seed).columns.remove(0);
        let invariants = &column.invariants;
        assert_invariants(&column, &format!("seed {seed}"));
        let longest = invariants.longest_hold_seconds.0;
        assert!((1.0..31.0).contains(&longest), "seed {seed}: {longest} s");
        let healthy = enforced(HEALTHY, seed);
        let invariants = &healthy.column(Column::Lcore).unwrap().invariants;
        assert_eq!((invariants.frames_dropped, invariants.frames_made), (0, 0), "seed {seed}");
        assert!(invariants.longest_hold_seconds.0 < 0.01, "seed {seed}: {invariants:?}");
    }
}

#[test]
fn a_holdout_that_passes_a_queue_of_held_requests_does_not_disarm_what_holds_them() {
    let cut = "{ pool: llm, at: 40s, for: 30s, kind: { cut: 0.25 } }";
    let rest = trigger(3, cut).replace("[none, fifo, budget, oracle]", "[lcore]");
    let column = under(enforcing(10.0), &rest, 1).columns.remove(0);
    assert!(column.decisions.contains_key("hold: concurrency_limit"), "{:?}", column.decisions);
    assert_eq!(column.signals.get("disarmed"), None, "{:?}", column.signals);
    assert!(minute_after(&column) > 0.9, "{}", minute_after(&column));
}

#[test]
fn a_rule_that_delays_what_a_server_has_room_for_is_disarmed() {
    let rest = "duration: 500s
columns: [lcore]
clients:
  - { name: agents, pool: llm, hosts: 60, timeout: 60s, children: 10, load: { utilisation: 0.4 } }
";
    let mut policy = enforcing(50.0);
    let disarmed = |policy| {
        let column = under(policy, rest, 1).columns.remove(0);
        column.signals.get("disarmed").copied().unwrap_or(0)
    };
    assert_eq!(disarmed(policy.clone()), 0, "without a cap nothing waits");
    policy.rules.fan_out.max_concurrent = Some(2);
    assert!(disarmed(policy) > 0);
}

#[test]
fn a_single_seed_is_one_of_those_that_a_summary_is_of() {
    let rest = trigger(3, FAULTS[0]).replace("170s", "70s");
    let text = format!("name: small\nwarmup: 20s\npools:{SERVER}{rest}");
    let scenario = Scenario::parse(Path::new("small.yaml"), &text).unwrap();
    let summary = summarise(&scenario, &policy::snapshot(None).unwrap(), 3..6);
    assert_eq!(summary.seeds, [3, 4, 5]);
    let waste = summary.columns[0].waste_share.unwrap();
    let single = run(&rest, 4).columns[0].trigger.as_ref().unwrap().waste_share;
    assert!(waste.least <= single && single <= waste.most);
    assert!(waste.least <= waste.median && waste.median <= waste.most);
}

const FAULTS: [&str; 8] = [
    "{ pool: llm, at: 40s, for: 20s, kind: { cut: 0.5 } }",
    "{ pool: llm, at: 40s, for: 20s, kind: { slow: 10 } }",
    "{ pool: llm, at: 40s, for: 20s, kind: blackhole }",
    "{ pool: llm, at: 40s, for: 20s, kind: reset }",
    "{ pool: llm, at: 40s, for: 20s, kind: { fastFail: 0.5 } }",
    "{ pool: llm, at: 40s, for: 20s, kind: stall }",
    "{ pool: llm, at: 40s, for: 20s, kind: { throttle: 3s } }",
    "{ at: 40s, for: 20s, kind: { load: 3 } }",
];

#[test]
fn every_fault_shows_and_frames_are_conserved_through_it() {
    let watched = |fault: &str| {
        let rest = trigger(3, fault)
            .replace("[none, fifo, budget, oracle]", "[lcore]")
            .replace("170s", "80s");
        run(&rest, 3).columns.remove(0)
    };
    let latency = |column: &ColumnResult| column.totals.mean_latency_seconds.0;
    let quiet = watched("");
    for fault in FAULTS {
        let column = watched(fault);
        let invariants = &column.invariants;
        assert!(invariants.frames_conserved, "{fault}: {invariants:?}");
        assert_eq!((invariants.frames_broken, invariants.resets_beside), (0, 0), "{fault}");
        let shows = column.totals.attempts > quiet.totals.attempts
            || latency(&column) > 1.2 * latency(&quiet);
        assert!(shows, "{fault}: {:?}", column.totals);
    }
}

#[test]
fn the_scenarios_that_ship_are_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/scenarios");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let scenario = Scenario::read(&entry.unwrap().path()).unwrap();
        assert!(!scenario.title.is_empty(), "{}", scenario.name);
        count += 1;
    }
    assert!(count >= 9, "{count}");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 6,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Whatever a server does, whatever the wire loses, whatever the machine has no room for: frames are
    /// conserved and whole, and what is not an AI endpoint is left alone. Where nothing is lost before a
    /// reset, it lies at its sequence number.
    #[test]
    fn invariants_hold_whatever_fails(
        fault in 0..FAULTS.len(),
        whole in prop::option::of(Just(())),
        loss in [0.0..0.03, 0.0..0.03],
        exhausted in prop_oneof![Just(0.0), 0.0..1.0],
        other in any::<bool>(),
        seed in 1..1000_u64,
    ) {
        let rest = trigger(3, FAULTS[fault])
            .replace("[none, fifo, budget, oracle]", "[lcore]")
            .replace("170s", "62s");
        let [lost, refused] = if whole.is_some() { [0.0; 2] } else { loss };
        let wire = format!("wire: {{ lost: {lost}, refused: {refused}, exhausted: {exhausted} }}\n");
        let host = if other { "    host: intranet.example\n" } else { "" };
        let rest = format!("{host}{wire}{rest}");
        let column = enforced(&rest, seed).columns.remove(0);
        let invariants = &column.invariants;
        prop_assert!(invariants.frames_conserved, "{invariants:?}");
        prop_assert_eq!(invariants.frames_broken, 0);
        prop_assert!(whole.is_none() || invariants.resets_beside == 0, "{invariants:?}");
        prop_assert!(column.totals.completed > 0, "nothing passes: {invariants:?}");
        if other {
            prop_assert_eq!((invariants.frames_made, invariants.frames_held), (0, 0));
            let passed = column.decisions.keys().all(|decision| decision.starts_with("pass"));
            prop_assert!(passed, "{:?}", column.decisions);
        }
    }
}
