//! The loop. One lcore owns everything it touches; the same `run_once` runs on the wire, on a tap,
//! in a replay of a capture, in tests and in benches. Only the port and the mode differ.

use serde::{Deserialize, Serialize};

use crate::burst::Burst;
use crate::classify::Classifier;
use crate::decide::endpoint::EndpointStates;
use crate::detect::Clients;
use crate::exchange::{Exchanges, FlowsSeen};
use crate::flow::table::FlowTable;
use crate::keyed::Seed;
use crate::parse::Parser;
use crate::policy::handoff::Subscriber;
use crate::policy::learnt::Learnt;
use crate::policy::snapshot::EndpointId;
use crate::port::{Port, Rx, Spread};
use crate::telemetry::counters::Passes;
use crate::telemetry::event::{Event, EventReceiver, EventSender, ExchangeId, ring};
use crate::telemetry::fingerprints::Fingerprints;
use crate::telemetry::latency::Latency;
use crate::telemetry::names::Names;
use crate::telemetry::report::{ReportReceiver, ReportSender, channel};
use crate::telemetry::{FlowTotals, Totals};
use crate::time::{Nanos, Ticker};
use crate::{act, classify, decide, detect, exchange, flow, parse};

/// What the loop does with frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Inline between two ports: every frame goes on to the other side.
    #[default]
    Wire,
    /// On copies of the traffic, from a SPAN port, a tap or a capture: frames end here.
    Observe,
}

/// Sizes of an lcore, taken once at start.
#[derive(Clone, Copy, Debug)]
pub struct LcoreConfig {
    /// Its number among the lcores of one data plane.
    pub index: u16,
    /// What to do with frames.
    pub mode: Mode,
    /// Flows at once.
    pub flows: usize,
    /// Host names that can be told apart.
    pub names: u32,
    /// Events that may wait to be read.
    pub events: usize,
    /// What the keys of its hashes are derived from.
    pub seed: Seed,
}

impl Default for LcoreConfig {
    fn default() -> Self {
        let (names, events) = (4096, 16_384);
        Self { index: 0, mode: Mode::Wire, flows: 65_536, names, events, seed: Seed::Os }
    }
}

/// One core's data plane.
#[derive(Debug)]
pub struct Lcore<P: Port> {
    port: P,
    mode: Mode,
    policy: Subscriber,
    burst: Burst<P::Frame>,
    flows: FlowTable,
    parser: Parser,
    classifier: Classifier,
    exchanges: Exchanges,
    clients: Clients,
    endpoints: EndpointStates,
    events: EventSender,
    passes: Passes,
    latency: Latency,
    bursts: u64,
    finished: u64,
    ticker: Ticker,
    polls: u64,
    reports: ReportSender,
}

/// The reading ends of what an lcore tells.
#[derive(Clone, Debug)]
pub struct Outlets {
    /// Hellos, exchanges and signals.
    pub events: EventReceiver,
    /// What the name ids in them stand for.
    pub names: Names,
    /// What the fingerprint ids stand for.
    pub fingerprints: Fingerprints,
    /// How it is doing.
    pub reports: ReportReceiver,
    /// How frames are spread over the lcores, as its port says.
    pub spread: Spread,
}

/// How often flows expire and counters are published.
const TICK: Nanos = Nanos::from_millis(10);

impl<P: Port> Lcore<P> {
    /// An lcore on `port`, and the reading ends of what it tells.
    #[must_use]
    pub fn new(port: P, config: LcoreConfig, policy: Subscriber) -> (Self, Outlets) {
        let (events, receiver) = ring(config.events);
        let flows = FlowTable::with_capacity(config.flows);
        let classifier = Classifier::new(config.names);
        let parser = Parser::for_flows(config.flows);
        let (reports, report_receiver) = channel();
        let outlets = Outlets {
            events: receiver,
            names: classifier.names.reader(),
            fingerprints: parser.fingerprinter.reader(),
            reports: report_receiver,
            spread: port.spread(),
        };
        let lcore = Self {
            port,
            mode: config.mode,
            policy,
            burst: Burst::new(),
            exchanges: Exchanges::for_slots(flows.slots(), ExchangeId::first_of(config.index)),
            clients: Clients::for_slots(flows.slots(), config.seed),
            flows,
            parser,
            classifier,
            endpoints: EndpointStates::default(),
            events,
            passes: Passes::default(),
            latency: Latency::default(),
            bursts: 0,
            finished: 0,
            ticker: Ticker::every(TICK),
            polls: 0,
            reports,
        };
        (lcore, outlets)
    }

    /// One burst, from the port through every stage and back to the port.
    pub fn run_once(&mut self) -> Rx {
        let policy = self.policy.refresh();
        let rx = self.port.rx_burst(&mut self.burst);
        parse::headers(&mut self.burst, &mut self.parser, &mut self.passes);
        flow::track(&mut self.burst.packets, &mut self.flows, &mut self.passes);
        parse::handshakes(&mut self.burst, &mut self.flows, &mut self.parser);
        let packets = &mut self.burst.packets; // from here on nobody sees payload
        classify::endpoints(
            packets,
            &mut self.flows,
            policy,
            &mut self.classifier,
            &mut self.events,
        );
        exchange::meet(packets, &self.flows, policy, &mut self.exchanges);
        exchange::follow(packets, &mut self.flows, &mut self.exchanges);
        detect::observe(
            packets,
            &self.flows,
            &self.exchanges,
            &mut self.clients,
            policy,
            &mut self.events,
        );
        decide::verdicts(
            &self.exchanges,
            &mut self.clients,
            &mut self.endpoints,
            policy,
            &mut self.events,
        );
        if self.mode == Mode::Observe {
            act::release_observed(packets);
        }
        let now = packets.now;
        let in_loop = self.port.tx_burst(&mut self.burst);
        self.tell(rx, in_loop);
        if self.ticker.due(now) {
            self.flows.expire(now);
            self.clients.sweep(now, &mut self.events);
            self.publish();
        }
        rx
    }

    /// Receives no more. Whether every frame that was received has had its end: call [`run_once`]
    /// until it is so.
    ///
    /// [`run_once`]: Self::run_once
    pub fn drain(&mut self) -> bool {
        self.port.drain()
    }

    /// Ends every flow and tells what was still open: the observation is over. Call until it
    /// returns false, reading the events in between.
    pub fn finish(&mut self) -> bool {
        let policy = self.policy.current();
        self.burst.begin(self.burst.packets.now + detect::retry::DECIDE_AFTER);
        self.flows.begin_burst();
        let more = self.flows.end_some();
        let packets = &self.burst.packets;
        exchange::follow(packets, &mut self.flows, &mut self.exchanges);
        detect::observe(
            packets,
            &self.flows,
            &self.exchanges,
            &mut self.clients,
            policy,
            &mut self.events,
        );
        decide::verdicts(
            &self.exchanges,
            &mut self.clients,
            &mut self.endpoints,
            policy,
            &mut self.events,
        );
        self.tell(Rx::Closed, Nanos::ZERO);
        self.publish();
        self.reports.publish_devices(self.port.devices());
        let more = more || self.clients.has_undecided();
        if !more {
            self.clients.close(self.burst.packets.now, &mut self.events);
        }
        more
    }

    /// Everything counted since the start.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let FlowsSeen { h1, mux, quic, both } = self.exchanges.seen;
        Totals {
            port: *self.port.counters(),
            passes: self.passes,
            bursts: self.bursts,
            flows: FlowTotals { h1, mux, quic, both, ..self.flows.totals() },
            records: self.parser.counters.records,
            records_lost: self.parser.counters.lost,
            client_hellos: self.parser.counters.client_hellos,
            cut_frames: self.parser.counters.cut_frames,
            initials: self.parser.counters.initials,
            initials_unopened: self.parser.counters.initials_unopened,
            reassembly_refused: self.parser.refused(),
            fingerprints_refused: self.parser.fingerprinter.refused(),
            exchanges: self.finished,
            events_lost: self.events.lost,
            names_refused: self.classifier.names.refused,
            learnt_evicted: self.classifier.evicted(),
            retry_evicted: self.clients.evicted(),
        }
    }

    /// What is learnt of endpoints.
    #[must_use]
    pub fn learnt(&self) -> Vec<(EndpointId, Learnt)> {
        self.clients.learnt(&self.exchanges)
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> &P {
        &self.port
    }

    /// The time of the latest burst.
    #[must_use]
    pub fn now(&self) -> Nanos {
        self.burst.packets.now
    }

    /// Passes on what is known of exchanges, and counts the burst.
    fn tell(&mut self, rx: Rx, in_loop: Nanos) {
        self.polls += 1;
        if let Rx::Frames(_) = rx {
            self.bursts += 1;
            self.latency.record(in_loop);
        }
        for exchange in self.clients.take_finished() {
            self.finished += 1;
            self.events.send(Event::Exchange(exchange));
        }
    }

    fn publish(&mut self) {
        let (now, totals) = (self.burst.packets.now, self.totals());
        let devices = || self.port.devices();
        self.reports.publish(now, self.polls, totals, &self.latency, &self.endpoints, devices);
        self.reports.publish_learnt(|| self.learnt());
    }
}
