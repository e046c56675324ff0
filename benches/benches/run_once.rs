//! The whole loop, and each stage that can be called alone: nanoseconds a packet, by traffic and
//! number of flows.
//!
//! `cargo bench -p benches`; one of them: `cargo bench -p benches -- run_once/data/1024`. Under
//! `cargo test` each runs once, unmeasured, with few flows.

#![allow(missing_docs, reason = "criterion_group! makes a public function without a document")]

use benches::{Traffic, lcore, port};
use criterion::measurement::{Measurement, WallTime};
use criterion::{
    Bencher, BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};
use fastpath::burst::{BURST_FRAMES, Burst};
use fastpath::flow::table::FlowTable;
use fastpath::parse::Parser;
use fastpath::port::Port;
use fastpath::telemetry::counters::Passes;
use fastpath::{flow, parse};
use tests::cycle::CyclePort;

/// Numbers of flows: in the cache, and far beyond it.
fn flows() -> [u32; 2] {
    let measured = std::env::args().any(|argument| argument == "--bench");
    if measured { [1 << 10, 1 << 16] } else { [64, 128] }
}

fn run_once(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("run_once");
    group.throughput(Throughput::Elements(1));
    for traffic in Traffic::ALL {
        for flows in flows() {
            let (mut lcore, outlets) = lcore(traffic, flows);
            group.bench_function(BenchmarkId::new(traffic.name(), flows), |bencher| {
                per_packet(bencher, || {
                    lcore.run_once();
                    // Somebody reads what is told, as the supervisor does.
                    while outlets.events.next().is_some() {}
                });
            });
        }
    }
}

/// The port alone: what is to be taken off the figures of the stages.
fn port_alone(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("port");
    stage(&mut group, |_, _| {});
}

fn parse_headers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("port_and_parse");
    let (mut parser, mut passes) = (Parser::default(), Passes::default());
    stage(&mut group, |_, burst| parse::headers(burst, &mut parser, &mut passes));
}

fn flow_track(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("port_parse_and_flow");
    let (mut parser, mut passes) = (Parser::default(), Passes::default());
    stage(&mut group, |table, burst| {
        parse::headers(burst, &mut parser, &mut passes);
        flow::track(&mut burst.packets, table, &mut passes);
        table.take_ended(|_, _| {});
    });
}

/// Measures some stages on full frames of known flows. The difference from one group to the next is
/// one stage.
fn stage(
    group: &mut BenchmarkGroup<'_, WallTime>,
    mut stages: impl FnMut(&mut FlowTable, &mut Burst<<CyclePort as Port>::Frame>),
) {
    group.throughput(Throughput::Elements(1));
    for flows in flows() {
        let mut table = FlowTable::with_capacity(2 * flows as usize);
        let (mut port, mut burst) = (port(Traffic::Data, flows), Burst::new());
        let mut once = |port: &mut CyclePort| {
            port.rx_burst(&mut burst);
            stages(&mut table, &mut burst);
            port.tx_burst(&mut burst);
        };
        while !port.is_cycling() {
            once(&mut port);
        }
        group.bench_function(BenchmarkId::new("data", flows), |bencher| {
            per_packet(bencher, || once(&mut port));
        });
    }
}

/// Times bursts, all of them full, so that an iteration of the report is a packet.
fn per_packet(bencher: &mut Bencher<'_, WallTime>, mut burst: impl FnMut()) {
    bencher.iter_custom(|packets| {
        let bursts = packets.div_ceil(BURST_FRAMES as u64);
        let start = WallTime.start();
        for _ in 0..bursts {
            burst();
        }
        let share = packets as f64 / (bursts * BURST_FRAMES as u64) as f64;
        WallTime.end(start).mul_f64(share)
    });
}

criterion_group!(benches, run_once, port_alone, parse_headers, flow_track);
criterion_main!(benches);
