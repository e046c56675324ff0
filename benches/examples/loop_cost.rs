//! What the loop costs a frame, on a machine that does other work as well: the fastest and the
//! middle one of many short batches, in nanoseconds.
//!
//! `cargo run --release -p benches --example loop_cost -- data 1024 2000`: traffic, flows, batches.
//! Two builds are compared by running them in turns. Under callgrind, the difference between two
//! numbers of batches is what a batch costs.

#![allow(clippy::disallowed_methods, reason = "what measures time reads a clock")]

use std::time::Instant;

use benches::{Traffic, lcore};
use fastpath::burst::BURST_FRAMES;

/// Bursts of a batch: short enough to fall between two interruptions.
const BURSTS: u32 = 64;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| arguments.next().unwrap_or_else(|| panic!("{what} is missing"));
    let name = next("the traffic");
    let flows = next("the number of flows").parse().expect("flows are a number");
    let batches: usize = next("the number of batches").parse().expect("batches are a number");
    let traffic = Traffic::ALL.into_iter().find(|traffic| traffic.name() == name);
    let (mut lcore, outlets) = lcore(traffic.expect("a traffic that benches know"), flows);
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
