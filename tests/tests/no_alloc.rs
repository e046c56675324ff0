//! The loop allocates nothing once it runs (docs/specification.md): not for known flows, not for
//! new ones, not for exchanges.

use std::sync::Arc;

use fastpath::burst::Direction;

use fastpath::lcore::{Lcore, LcoreConfig, Outlets};
use fastpath::policy::handoff;
use fastpath::policy::rules::{FanOut, Rules};
use fastpath::policy::snapshot::{Policy, RuleMode, Snapshot};
use fastpath::time::Nanos;
use tests::connection::{Arrival, busy_hour, multiplexed_hour, storm};
use tests::cycle::{CyclePort, Lap};
use tests::frame::fragments;
use tests::play;

/// Laps of whole connections, each lap by clients that nobody has seen: handshakes, hellos,
/// requests, streamed responses, closes.
fn new_clients() -> CyclePort {
    laps(busy_hour(8, "api.openai.com"))
}

fn laps(arrivals: Vec<Arrival>) -> CyclePort {
    let laps = arrivals.into_iter().map(|arrival| {
        let from_client = arrival.1.0 == Direction::ToServer as u16;
        (arrival, Lap::NewClient { from_client })
    });
    CyclePort::new(Vec::new(), laps.collect(), Nanos::from_millis(4))
}

fn run(lcore: &mut Lcore<CyclePort>, outlets: &Outlets, bursts: usize) -> u64 {
    let mut told = 0;
    for _ in 0..bursts {
        lcore.run_once();
        while outlets.events.next().is_some() {
            told += 1;
        }
    }
    told
}

#[test]
fn steady_traffic_allocates_nothing() {
    // So few flows that the table fills while warming up: eviction is measured as well.
    let config = LcoreConfig { flows: 64, ..LcoreConfig::default() };
    let (mut lcore, outlets, _) = play::lcore(new_clients(), config);
    run(&mut lcore, &outlets, 2_000);
    let before = lcore.totals();
    let mut told = 0;
    let seen = allocation_counter::measure(|| told = run(&mut lcore, &outlets, 5_000));
    let after = lcore.totals();
    assert_eq!(seen.count_total, 0, "{} bytes in {} pieces", seen.bytes_total, seen.count_total);
    assert!(after.flows.opened > before.flows.opened + 1_000, "new flows were among it");
    assert!(after.exchanges > before.exchanges + 1_000 && told > 1_000, "and exchanges");
    assert!(after.flows.evicted > before.flows.evicted, "and evictions");
    assert_eq!(after.events_lost, 0);
}

/// Every datagram comes in fragments, and more are in the making than there is room for.
#[test]
fn fragments_allocate_nothing() {
    let arrivals = busy_hour(8, "api.openai.com").into_iter().zip(0_u16..);
    let arrivals = arrivals.flat_map(|((at, port, frame), id)| {
        let mut pieces = fragments(&frame, id, 512);
        // Every ninth datagram lacks its end.
        if id % 9 == 8 && pieces.len() > 1 {
            pieces.pop();
        }
        pieces.into_iter().map(move |piece| (at, port, piece))
    });
    let (mut lcore, outlets, _) = play::lcore(laps(arrivals.collect()), LcoreConfig::default());
    run(&mut lcore, &outlets, 2_000);
    let before = lcore.totals();
    let seen = allocation_counter::measure(|| {
        run(&mut lcore, &outlets, 2_000);
    });
    let after = lcore.totals();
    assert_eq!(seen.count_total, 0, "{} bytes in {} pieces", seen.bytes_total, seen.count_total);
    assert!(after.client_hellos > before.client_hellos + 100, "hellos were joined");
    assert!(after.reassembly_refused > before.reassembly_refused + 100, "and the pool was full");
}

/// Links between attempts are an assignment among all that have one length: the most work there is
/// for `detect`.
#[test]
fn a_retry_storm_allocates_nothing() {
    let port = laps(storm(40, "api.openai.com"));
    let (mut lcore, outlets, _) = play::lcore(port, LcoreConfig::default());
    run(&mut lcore, &outlets, 1_000);
    let before = lcore.totals();
    let seen = allocation_counter::measure(|| {
        run(&mut lcore, &outlets, 1_000);
    });
    assert_eq!(seen.count_total, 0, "{} bytes in {} pieces", seen.bytes_total, seen.count_total);
    assert!(lcore.totals().exchanges > before.exchanges + 1_000);
}

#[test]
fn multiplexed_traffic_allocates_nothing() {
    let port = laps(multiplexed_hour(8, "api.openai.com"));
    let config = LcoreConfig { flows: 64, ..LcoreConfig::default() };
    let (mut lcore, outlets, _) = play::lcore(port, config);
    run(&mut lcore, &outlets, 2_000);
    let before = lcore.totals();
    let seen = allocation_counter::measure(|| {
        run(&mut lcore, &outlets, 5_000);
    });
    assert_eq!(seen.count_total, 0, "{} bytes in {} pieces", seen.bytes_total, seen.count_total);
    assert!(lcore.totals().exchanges > before.exchanges + 500);
}

#[test]
fn a_new_policy_allocates_nothing_where_it_is_taken() {
    let policy = || Policy::catalogue().expect("the shipped catalogue can be read");
    let first = Snapshot::compile(policy()).expect("the shipped catalogue compiles");
    let next = first.succeeded_by(policy()).expect("the shipped catalogue compiles");
    let (publisher, subscriber) = handoff::channel(Arc::new(first));
    let (mut lcore, outlets) = Lcore::new(new_clients(), LcoreConfig::default(), subscriber);
    run(&mut lcore, &outlets, 2_000);
    publisher.publish(Arc::new(next));
    let seen = allocation_counter::measure(|| {
        run(&mut lcore, &outlets, 100);
    });
    assert_eq!((seen.count_total, seen.count_current), (0, 0), "neither taken nor given back");
}

#[test]
fn the_counter_sees_a_single_allocation() {
    let seen = allocation_counter::measure(|| drop(std::hint::black_box(Box::new(7_u64))));
    assert_eq!(seen.count_total, 1);
}

/// The frames do what their names say: a lap is not lost on the loop because nothing in it is new.
#[test]
fn the_laps_have_hellos_exchanges_and_retries() {
    let arrivals: Vec<Arrival> = busy_hour(8, "api.openai.com");
    let run = play::frames(arrivals);
    assert_eq!((run.totals.client_hellos, run.totals.exchanges), (8, 16));
    let run = play::frames(multiplexed_hour(8, "api.openai.com"));
    let retries = run.told.exchanges.iter().filter(|line| line.retry_of.is_some()).count();
    assert_eq!((run.totals.flows.mux, run.totals.exchanges, retries), (8, 40, 8));
    let run = play::frames(storm(40, "api.openai.com"));
    let retries = run.told.exchanges.iter().filter(|line| line.retry_of.is_some()).count();
    assert!(run.totals.exchanges == 44 && retries > 20, "{retries} retries");
}

/// What is remembered of clients and servers lies in few pieces, however many they are, and its
/// bytes follow from their numbers.
#[test]
fn what_is_remembered_lies_in_few_pieces() {
    let policy = Policy::catalogue().expect("the shipped catalogue can be read");
    let snapshot = Arc::new(Snapshot::compile(policy).expect("the shipped catalogue compiles"));
    let set_up = |clients, servers| {
        let config = LcoreConfig { flows: 64, clients, servers, ..LcoreConfig::default() };
        let port = CyclePort::new(Vec::new(), Vec::new(), Nanos::from_millis(4));
        let (_publisher, subscriber) = handoff::channel(Arc::clone(&snapshot));
        allocation_counter::measure(|| drop(Lcore::new(port, config, subscriber)))
    };
    // What a thread takes once is none of it.
    set_up(1, 1);
    let (few, clients, servers) = (set_up(1024, 1024), set_up(2048, 1024), set_up(1024, 2048));
    assert_eq!((clients.count_total, servers.count_total), (few.count_total, few.count_total));
    let a_client = (clients.bytes_total - few.bytes_total) / 1024;
    let a_server = (servers.bytes_total - few.bytes_total) / 1024;
    eprintln!("{} pieces; {a_client} bytes a client, {a_server} a server", few.count_total);
    assert!(a_client < 88 * 1024 && a_server < 4 * 1024, "what `LcoreConfig` says");
}

/// Every law enforced, on clients that come and go, fail and leave: the most that is decided.
#[test]
fn enforced_laws_allocate_nothing() {
    let rules = Rules { fan_out: FanOut { max_concurrent: Some(2) }, ..Rules::default() };
    let policy = Policy { mode: RuleMode::Enforce, rules, ..Policy::catalogue().unwrap() };
    let (_publisher, subscriber) = handoff::channel(Arc::new(Snapshot::compile(policy).unwrap()));
    let traffic = [busy_hour(8, "api.openai.com"), storm(12, "api.openai.com")].concat();
    let (mut lcore, outlets) = Lcore::new(laps(traffic), LcoreConfig::default(), subscriber);
    run(&mut lcore, &outlets, 2_000);
    let mut orders = 0;
    let seen = allocation_counter::measure(|| {
        for _ in 0..3_000 {
            run(&mut lcore, &outlets, 1);
            orders += lcore.decider().orders().len();
        }
    });
    assert_eq!(seen.count_total, 0, "{} bytes in {} pieces", seen.bytes_total, seen.count_total);
    assert!(orders > 50, "{orders} orders");
}
