//! What the loop costs a frame, on a machine that does other work as well: the fastest and the
//! middle one of many short batches, in nanoseconds.
//!
//! `cargo run --release -p benches --example loop_cost -- data 1024 2000`: traffic, flows, batches;
//! and, if it is wanted, snapshots that another thread publishes a second meanwhile.
//! Two builds are compared by running them in turns. Under callgrind, the difference between two
//! numbers of batches is what a batch costs.

#![allow(clippy::disallowed_methods, reason = "what measures time reads a clock")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use benches::{Traffic, lcore_and_publisher};
use fastpath::burst::BURST_FRAMES;
use fastpath::policy::handoff::Publisher;
use fastpath::policy::snapshot::{Policy, Snapshot};

/// Bursts of a batch: short enough to fall between two interruptions.
const BURSTS: u32 = 64;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| arguments.next().unwrap_or_else(|| panic!("{what} is missing"));
    let name = next("the traffic");
    let flows = next("the number of flows").parse().expect("flows are a number");
    let batches: usize = next("the number of batches").parse().expect("batches are a number");
    let traffic = Traffic::ALL.into_iter().find(|traffic| traffic.name() == name);
    let traffic = traffic.expect("a traffic that benches know");
    let (mut lcore, outlets, publisher) = lcore_and_publisher(traffic, flows);
    if let Some(swaps) = arguments.next() {
        let every = 1.0 / swaps.parse::<f64>().expect("snapshots a second are a number");
        publish_for_ever(publisher, Duration::from_secs_f64(every));
    }
    let mut ns_per_frame: Vec<f64> = Vec::with_capacity(batches);
    for _ in 0..batches {
        let start = Instant::now();
        for _ in 0..BURSTS {
            lcore.run_once();
            while outlets.events.next().is_some() {}
        }
        let frames = f64::from(BURSTS) * BURST_FRAMES as f64;
        ns_per_frame.push(start.elapsed().as_nanos() as f64 / frames);
    }
    ns_per_frame.sort_by(f64::total_cmp);
    let at = |part: usize| ns_per_frame[(batches - 1) * part / 100];
    println!("{name} {flows}: least {:.1}, tenth {:.1}, middle {:.1} ns", at(0), at(10), at(50));
}

/// Two snapshots of one policy in turns, compiled before.
fn publish_for_ever(publisher: Publisher, every: Duration) {
    let policy = Policy::catalogue().expect("the shipped catalogue can be read");
    let compile = || Snapshot::compile(policy.clone()).expect("the shipped catalogue compiles");
    let snapshots = [Arc::new(compile()), Arc::new(compile())];
    std::thread::spawn(move || {
        for snapshot in snapshots.iter().cycle() {
            publisher.publish(Arc::clone(snapshot));
            std::thread::sleep(every);
        }
    });
}
