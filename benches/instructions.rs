//! A fixed workload whose instructions are counted: `scripts/instructions` runs it under callgrind and
//! divides what each function here costs by the frames it says it has played.
//!
//! Nothing in it depends on time, on chance, or on what the machine is.

use std::process::ExitCode;

use benches::{Traffic, lcore};
use fastpath::burst::BURST_FRAMES;
use fastpath::lcore::{Lcore, Outlets};
use tests::cycle::CyclePort;

/// One workload: the function that plays it, so that callgrind tells it apart, its traffic, its
/// flows, and its frames.
type Workload = (fn(&mut Lcore<CyclePort>, &Outlets, usize), Traffic, u32, usize);

/// Frames of known flows weigh most, as they do on a wire.
const WORKLOADS: [Workload; 6] = [
    (acks, Traffic::Acks, 1024, 20_480),
    (data, Traffic::Data, 1024, 20_480),
    // Four frames each: 2,048 flows, and each of them with a ClientHello.
    (new_flows, Traffic::NewFlows, 1024, 8192),
    (hellos, Traffic::Hellos, 1024, 2048),
    // Five frames each: 512 exchanges.
    (exchanges, Traffic::Exchanges, 128, 2560),
    (mixed, Traffic::Mixed, 1024, 20_480),
];

fn main() -> ExitCode {
    for (play, traffic, flows, frames) in WORKLOADS {
        let (mut lcore, outlets) = lcore(traffic, flows);
        // A lap unmeasured: what is taken once for each flow has been taken.
        bursts(&mut lcore, &outlets, flows as usize / BURST_FRAMES * 8);
        let before = lcore.totals().port.rx_frames;
        play(&mut lcore, &outlets, frames / BURST_FRAMES);
        let played = lcore.totals().port.rx_frames - before;
        if played != frames as u64 {
            eprintln!("instructions: {} played {played} of {frames} frames", traffic.name());
            return ExitCode::FAILURE;
        }
        println!("{} {played}", traffic.name());
    }
    ExitCode::SUCCESS
}

#[inline]
fn bursts(lcore: &mut Lcore<CyclePort>, outlets: &Outlets, count: usize) {
    for _ in 0..count {
        lcore.run_once();
        // Somebody reads what is told, as the supervisor does.
        while outlets.events.next().is_some() {}
    }
}

/// A function of its own for each name: equal ones would be folded into one, so each carries its
/// name past the optimizer.
macro_rules! workloads {
    ($($name:ident)+) => {$(
        #[inline(never)]
        fn $name(lcore: &mut Lcore<CyclePort>, outlets: &Outlets, count: usize) {
            std::hint::black_box(stringify!($name));
            bursts(lcore, outlets, count);
        }
    )+};
}

workloads!(acks data new_flows hellos exchanges mixed);
