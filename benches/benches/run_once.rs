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
use fastpath::burst::{BURST_FRAMES, Burst, Direction, FlowId};
use fastpath::classify::Classifier;
use fastpath::flow::table::FlowTable;
use fastpath::parse::Parser;
use fastpath::parse::handshake::Handshake;
use fastpath::parse::tls::{Stream, Streams};
use fastpath::policy::snapshot::{Policy, Snapshot};
use fastpath::port::Port;
use fastpath::telemetry::counters::Passes;
use fastpath::telemetry::event;
use fastpath::{classify, flow, parse};
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
        flow::track(&mut burst.packets, table, 1, &mut passes);
        table.take_ended(|_, _| {});
    });
}

/// From the record header to the event of a classified flow, which is read. One burst of hellos is
/// looked at again and again, each time by streams that have seen nothing.
fn client_hello(criterion: &mut Criterion) {
    let policy = Policy::catalogue().expect("the shipped catalogue can be read");
    let snapshot = Snapshot::compile(policy).expect("the shipped catalogue compiles");
    let (mut classifier, (mut events, receiver)) = (Classifier::new(1024), event::ring(1024));
    let (mut parser, mut passes) = (Parser::default(), Passes::default());
    let (mut table, mut burst) = (FlowTable::with_capacity(BURST_FRAMES), Burst::new());
    let flows = u32::try_from(BURST_FRAMES).expect("a burst is small");
    port(Traffic::Hellos, flows).rx_burst(&mut burst);
    parse::headers(&mut burst, &mut parser, &mut passes);
    flow::track(&mut burst.packets, &mut table, 1, &mut passes);
    let mut streams = Fresh(vec![[Stream::new(0); 2]; table.slots()]);
    let mut group = criterion.benchmark_group("client_hello");
    group.throughput(Throughput::Elements(1));
    group.bench_function("browser", |bencher| {
        per_packet(bencher, || {
            streams.0[..2 * BURST_FRAMES].fill([Stream::new(0); 2]);
            burst.packets.clear_found();
            parse::handshakes(&mut burst, &mut streams, &mut parser);
            let packets = &mut burst.packets;
            classify::endpoints(packets, &mut table, &snapshot, &mut classifier, &mut events);
            assert_eq!(packets.client_hellos.len(), BURST_FRAMES, "each frame is a hello");
            while let Some(event) = receiver.next() {
                std::hint::black_box(&event);
            }
        });
    });
}

/// Streams that can be made to have seen nothing.
struct Fresh(Vec<[Stream; 2]>);

impl Streams for Fresh {
    fn streams(&mut self, flow: FlowId, direction: Direction) -> [&mut Stream; 2] {
        direction.first_of(&mut self.0[flow.0 as usize])
    }

    fn handshake(&mut self, _: FlowId) -> &mut Handshake {
        unreachable!("these hellos come over TCP")
    }
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

criterion_group!(benches, run_once, port_alone, parse_headers, flow_track, client_hello);
criterion_main!(benches);
