//! What it costs to find a frame's flow and to bring it up to date, with more flows than any cache
//! holds: `flow::track` alone, on acknowledgments of flows in random order. Nanoseconds a frame.
//!
//! `cargo run --release -p benches --example table_cost -- 1000000 2000`: flows, batches.

#![allow(clippy::disallowed_methods, reason = "what measures time reads a clock")]

use std::time::Instant;

use fastpath::burst::{
    Address, BURST_FRAMES, Burst, Datagram, Headers, PortIndex, Protocol, Tcp, TcpFlags,
};
use fastpath::flow::table::FlowTable;
use fastpath::flow::track;
use fastpath::telemetry::counters::Passes;
use fastpath::time::Nanos;

/// Bursts of a batch: short enough to fall between two interruptions.
const BURSTS: usize = 64;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| arguments.next().unwrap_or_else(|| panic!("{what} is missing"));
    let flows: u32 = next("the number of flows").parse().expect("flows are a number");
    let batches: usize = next("the number of batches").parse().expect("batches are a number");
    let mut table = FlowTable::with_capacity(flows as usize + flows as usize / 4);
    let (mut burst, mut passes) = (Burst::new(), Passes::default());
    let mut now = Nanos::from_secs(1_700_000_000);
    let mut play = |numbers: &[u32], flags: u8| {
        burst.drain().for_each(drop);
        burst.begin(now);
        now += Nanos(1);
        burst.extend(numbers.iter().map(|_| ((), 60)), now, PortIndex(0));
        for (column, &number) in burst.packets.headers.iter_mut().zip(numbers) {
            *column = Some(headers(number, flags));
        }
        let start = Instant::now();
        track(&mut burst.packets, &mut table, 1, &mut passes);
        let took = start.elapsed();
        table.take_ended(|_, _| {});
        (took, table.totals().live)
    };
    let all: Vec<u32> = (0..flows).collect();
    for numbers in all.chunks(BURST_FRAMES) {
        play(numbers, SYN);
    }
    let mut state = 1_u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        u32::try_from((state >> 33) % u64::from(flows)).expect("less than the flows")
    };
    let mut ns_per_frame: Vec<f64> = Vec::with_capacity(batches);
    let mut live = 0;
    for _ in 0..batches {
        let mut ns = 0;
        for _ in 0..BURSTS {
            let numbers: [u32; BURST_FRAMES] = std::array::from_fn(|_| random());
            let (took, now_live) = play(&numbers, ACK);
            ns += took.as_nanos();
            live = now_live;
        }
        ns_per_frame.push(ns as f64 / (BURSTS * BURST_FRAMES) as f64);
    }
    assert_eq!(live, u64::from(flows), "each flow is known");
    ns_per_frame.sort_by(f64::total_cmp);
    let at = |part: usize| ns_per_frame[(batches - 1) * part / 100];
    println!("table {flows}: least {:.1}, tenth {:.1}, middle {:.1} ns", at(0), at(10), at(50));
}

fn headers(number: u32, flags: u8) -> Headers {
    let [a, b, c, d] = number.to_be_bytes();
    Headers {
        source: Address::v4([10 ^ a, b, c, d]),
        destination: Address::v4([203, 0, 113, 9]),
        source_port: 40_000,
        destination_port: 443,
        protocol: Protocol::Tcp,
        tcp: Tcp { seq: 7, ack: 9, flags: TcpFlags(flags), ..Tcp::default() },
        datagram: Datagram::Other,
        fragment: None,
        network_offset: 14,
        transport_offset: 34,
        payload_offset: 54,
        payload_bytes: 0,
        payload_wire_bytes: 0,
    }
}
