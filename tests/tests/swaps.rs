//! A policy is put in force at a burst boundary: nothing is lost, however often that happens.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::{Arc, Weak};

use fastpath::burst::Direction;
use fastpath::lcore::{Lcore, LcoreConfig};
use fastpath::policy::handoff;
use fastpath::policy::snapshot::{Limits, Policy, RuleMode, Snapshot};
use fastpath::time::Nanos;
use tests::connection::busy_hour;
use tests::cycle::{CyclePort, Lap};

/// A burst each millisecond, and a policy each burst: a thousand a second of the traffic's time.
const STEP: Nanos = Nanos::from_millis(1);
const SWAPS: u64 = 10_000;

/// Every one of them differs from the one before: in its mode, its limits and its endpoints.
fn policy(catalogue: &Policy, n: u64) -> Policy {
    let mut policy = catalogue.clone();
    policy.mode = if n.is_multiple_of(2) { RuleMode::Off } else { RuleMode::Shadow };
    policy.limits = Limits { stall_ms: 100 + n % 1_000, ..Limits::default() };
    policy.endpoints.truncate(3 + (n % 5) as usize);
    policy.endpoints.rotate_left((n % 3) as usize);
    policy
}

#[test]
fn ten_thousand_policies_at_a_thousand_a_second_lose_no_frame_and_no_memory() {
    let laps = busy_hour(1, "api.openai.com").into_iter().map(|arrival| {
        let from_client = arrival.1.0 == Direction::ToServer as u16;
        (arrival, Lap::NewClient { from_client })
    });
    let port = CyclePort::new(Vec::new(), laps.collect(), STEP);
    let catalogue = Policy::catalogue().unwrap();
    let mut newest = Arc::new(Snapshot::compile(policy(&catalogue, 0)).unwrap());
    let (publisher, subscriber) = handoff::channel(Arc::clone(&newest));
    let config = LcoreConfig { flows: 4096, ..LcoreConfig::default() };
    let (mut lcore, outlets) = Lcore::new(port, config, subscriber);
    let mut all: Vec<Weak<Snapshot>> = Vec::new();
    for n in 1..=SWAPS {
        newest = Arc::new(newest.succeeded_by(policy(&catalogue, n)).unwrap());
        all.push(Arc::downgrade(&newest));
        publisher.publish(Arc::clone(&newest));
        lcore.run_once();
        while outlets.events.next().is_some() {}
    }
    let totals = lcore.totals();
    let port = &totals.port;
    assert!(port.rx_frames > SWAPS, "{} frames were under way", port.rx_frames);
    assert_eq!(port.tx_frames, port.rx_frames, "every frame went on");
    assert!(totals.exchanges > 1_000, "exchanges were told meanwhile");
    let alive = all.iter().filter(|snapshot| snapshot.strong_count() > 0).count();
    assert!(alive <= 6, "{alive} policies are still in memory");
    assert_eq!(newest.revision(), SWAPS + 1);
}
