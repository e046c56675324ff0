//! The whole loop, and a ClientHello by itself: nanoseconds a packet, by traffic and number of flows.
//!
//! `cargo bench -p benches`; one of them: `cargo bench -p benches -- run_once/data/1024`. Under
//! `cargo test` each runs once, unmeasured, with few flows.

#![allow(missing_docs, reason = "criterion_group! makes a public function without a document")]

mod per_packet;

use benches::{Traffic, lcore, port};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
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
use per_packet::per_packet;

/// Numbers of flows: in the cache, and far beyond it. Flows with exchanges hold more frames than
/// there is memory for so many.
fn flows(traffic: Traffic) -> &'static [u32] {
    let measured = std::env::args().any(|argument| argument == "--bench");
    match traffic {
        _ if !measured => &[64, 128],
        Traffic::Exchanges | Traffic::Mixed => &[128, 1 << 10],
        Traffic::Acks | Traffic::Data | Traffic::NewFlows | Traffic::Hellos => &[1 << 10, 1 << 16],
    }
}

fn run_once(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("run_once");
    group.throughput(Throughput::Elements(1));
    for traffic in Traffic::ALL {
        for &flows in flows(traffic) {
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

/// More flows than any cache holds; they are unmeasured in tests, which have no time for them.
fn million_flows(criterion: &mut Criterion) {
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let mut group = criterion.benchmark_group("run_once");
    group.throughput(Throughput::Elements(1)).sample_size(20);
    let (mut lcore, _outlets) = lcore(Traffic::Acks, 1 << 20);
    group.bench_function(BenchmarkId::new("acks", 1 << 20), |bencher| {
        per_packet(bencher, || {
            lcore.run_once();
        });
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
    flow::track(&mut burst.packets, &mut table, &mut passes);
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

criterion_group!(benches, run_once, million_flows, client_hello);
criterion_main!(benches);
