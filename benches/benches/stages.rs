//! The loop up to each of its stages: nanoseconds a packet, so that a stage is the difference to the
//! one before. With 1,024 flows everything is in the cache; with 65,536 nothing of a flow is.
//!
//! `cargo bench -p benches --bench stages`; one of them: `-- data/detect/1024`. Under `cargo test`
//! each runs once, unmeasured, with few flows.

#![allow(missing_docs, reason = "criterion_group! makes a public function without a document")]

use std::time::Duration;

mod per_packet;

use benches::{Traffic, port};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fastpath::burst::Burst;
use fastpath::classify::Classifier;
use fastpath::decide::{Decider, Stance};
use fastpath::detect::{Capacity, Clients};
use fastpath::exchange::Exchanges;
use fastpath::flow::table::FlowTable;
use fastpath::keyed::Seed;
use fastpath::parse::Parser;
use fastpath::policy::snapshot::{Policy, Snapshot};
use fastpath::port::Port;
use fastpath::telemetry::counters::Passes;
use fastpath::telemetry::event::{self, EventReceiver, EventSender, ExchangeId};
use fastpath::{classify, decide, detect, exchange, flow, parse};
use per_packet::per_packet;
use tests::cycle::CyclePort;

/// In the order of the loop. `Port` is what the others are measured with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Port,
    Parse,
    Track,
    Records,
    Classify,
    Exchange,
    Detect,
    Decide,
}

const STAGES: [Stage; 8] = [
    Stage::Port,
    Stage::Parse,
    Stage::Track,
    Stage::Records,
    Stage::Classify,
    Stage::Exchange,
    Stage::Detect,
    Stage::Decide,
];

/// What the stages of an lcore own.
struct Stages {
    port: CyclePort,
    burst: Burst<<CyclePort as Port>::Frame>,
    passes: Passes,
    parser: Parser,
    flows: FlowTable,
    classifier: Classifier,
    exchanges: Exchanges,
    clients: Clients,
    decider: Decider,
    snapshot: Snapshot,
    events: EventSender,
    receiver: EventReceiver,
}

impl Stages {
    fn new(traffic: Traffic, flows: u32) -> Self {
        let policy = Policy::catalogue().expect("the shipped catalogue can be read");
        let table = FlowTable::with_capacity(2 * flows as usize);
        let (events, receiver) = event::ring(1 << 14);
        let capacity = Capacity { slots: table.slots(), clients: 1024, servers: 1024 };
        let seed = Seed::Fixed(1);
        let mut stages = Self {
            port: port(traffic, flows),
            burst: Burst::new(),
            passes: Passes::default(),
            parser: Parser::for_flows(2 * flows as usize),
            classifier: Classifier::new(1024),
            exchanges: Exchanges::for_slots(table.slots(), 1024, ExchangeId::first_of(0)),
            clients: Clients::with_capacity(capacity, seed),
            flows: table,
            decider: Decider::for_slots(capacity.slots, 1, seed),
            snapshot: Snapshot::compile(policy).expect("the shipped catalogue compiles"),
            events,
            receiver,
        };
        while !stages.port.is_cycling() {
            stages.run_up_to(Stage::Decide);
        }
        stages
    }

    /// One burst, as `Lcore::run_once` plays it, up to a stage.
    fn run_up_to(&mut self, last: Stage) {
        self.port.rx_burst(&mut self.burst);
        if last >= Stage::Parse {
            parse::headers(&mut self.burst, &mut self.parser, &mut self.passes);
        }
        if last >= Stage::Track {
            flow::track(&mut self.burst.packets, &mut self.flows, &mut self.passes);
        }
        if last >= Stage::Records {
            parse::handshakes(&mut self.burst, &mut self.flows, &mut self.parser);
        }
        self.run_packets_up_to(last);
        // What has ended is taken by `exchange`, where it runs.
        if last < Stage::Exchange {
            self.flows.take_ended(|_, _| {});
        }
        self.clients.take_finished().for_each(drop);
        while let Some(event) = self.receiver.next() {
            std::hint::black_box(&event);
        }
        self.port.tx_burst(&mut self.burst);
    }

    fn run_packets_up_to(&mut self, last: Stage) {
        let Self { flows, exchanges, clients, events, snapshot, .. } = self;
        let packets = &mut self.burst.packets;
        if last >= Stage::Classify {
            classify::endpoints(packets, flows, snapshot, &mut self.classifier, events);
        }
        if last >= Stage::Exchange {
            exchange::meet(packets, flows, snapshot, exchanges);
            exchange::follow(packets, flows, exchanges);
        }
        if last >= Stage::Detect {
            detect::observe(packets, flows, exchanges, clients, snapshot, events);
        }
        if last >= Stage::Decide {
            decide::verdicts(
                packets,
                flows,
                exchanges,
                clients,
                &mut self.decider,
                snapshot,
                Stance::Inline,
                events,
            );
        }
    }
}

fn stages(criterion: &mut Criterion) {
    let measured = std::env::args().any(|argument| argument == "--bench");
    let flows = if measured { [1 << 10, 1 << 16] } else { [64, 128] };
    for traffic in [Traffic::Acks, Traffic::Data, Traffic::NewFlows, Traffic::Hellos] {
        let mut group = criterion.benchmark_group(traffic.name());
        group.throughput(Throughput::Elements(1)).measurement_time(Duration::from_secs(2));
        for flows in flows {
            for stage in STAGES {
                // Anew: what a stage has not seen would be a gap to it.
                let mut stages = Stages::new(traffic, flows);
                let name = format!("{stage:?}").to_lowercase();
                group.bench_function(BenchmarkId::new(name, flows), |bencher| {
                    per_packet(bencher, || stages.run_up_to(stage));
                });
            }
        }
    }
}

criterion_group!(benches, stages);
criterion_main!(benches);
