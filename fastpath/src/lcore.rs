//! The loop. One lcore owns everything it touches; the same `run_once` runs on the wire, on a tap,
//! in a replay of a capture, in tests and in benches. Only the port and the mode differ.

use serde::{Deserialize, Serialize};

use crate::act::Shapers;
use crate::act::hold::HoldBounds;
use crate::burst::Burst;
use crate::classify::Classifier;
use crate::decide::{Decider, Stance};
use crate::detect::{Capacity, Clients};
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

impl Mode {
    /// Only on a wire can what is decided be done.
    const fn stance(self, bypassed: bool) -> Stance {
        match self {
            _ if bypassed => Stance::Bypassed,
            Self::Wire => Stance::Inline,
            Self::Observe => Stance::Beside,
        }
    }
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
    /// Clients that are remembered; one that has been met takes 85 KB.
    pub clients: usize,
    /// Servers that are remembered; one that has been met takes 4 KB.
    pub servers: usize,
    /// Host names that can be told apart.
    pub names: u32,
    /// Events that may wait to be read.
    pub events: usize,
    /// What the keys of its hashes are derived from.
    pub seed: Seed,
    /// Lcores that the traffic is shared out to, this one included.
    pub lcores: u16,
}

impl Default for LcoreConfig {
    fn default() -> Self {
        Self {
            index: 0,
            mode: Mode::Wire,
            flows: 65_536,
            clients: 1024,
            servers: 1024,
            names: 4096,
            events: 16_384,
            seed: Seed::Os,
            lcores: 1,
        }
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
    decider: Decider,
    shapers: Shapers<P::Frame>,
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
        let LcoreConfig { mode, clients, servers, seed, .. } = config;
        let flows = FlowTable::with_capacity(config.flows);
        let classifier = Classifier::new(config.names);
        let room = HoldBounds::of(port.frames());
        let parser = Parser::for_flows(config.flows);
        let (reports, report_receiver) = channel();
        let outlets = Outlets {
            events: receiver,
            names: classifier.names.reader(),
            fingerprints: parser.fingerprinter.reader(),
            reports: report_receiver,
            spread: port.spread(),
        };
        let slots = flows.slots();
        let lcore = Self {
            port,
            mode,
            policy,
            burst: Burst::new(),
            exchanges: Exchanges::for_slots(slots, servers, ExchangeId::first_of(config.index)),
            clients: Clients::with_capacity(Capacity { slots, clients, servers }, seed),
            flows,
            parser,
            classifier,
            decider: Decider::for_slots(slots, config.lcores, seed),
            shapers: Shapers::new(room),
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
        let stance = self.mode.stance(self.policy.is_bypassed());
        let policy = self.policy.refresh();
        let rx = self.port.rx_burst(&mut self.burst);
        parse::headers(&mut self.burst, &mut self.parser, &mut self.passes);
        self.shapers.arrive(&mut self.burst);
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
            packets,
            &self.flows,
            &self.exchanges,
            &mut self.clients,
            &mut self.decider,
            policy,
            stance,
            &mut self.events,
        );
        let enforces = stance == Stance::Inline && policy.policy().mode.enforces();
        self.shapers.bound(&policy.policy().rules.hold);
        match self.mode {
            Mode::Observe => act::release_observed(packets),
            Mode::Wire => self.act(enforces),
        }
        let now = self.burst.packets.now;
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
        let stance = self.mode.stance(self.policy.is_bypassed());
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
            packets,
            &self.flows,
            &self.exchanges,
            &mut self.clients,
            &mut self.decider,
            policy,
            stance,
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
            port: self.shapers.complete(self.port.counters()),
            acts: self.shapers.counts(),
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
            decide_refused: self.decider.refused(),
        }
    }

    /// What is learnt of endpoints.
    #[must_use]
    pub fn learnt(&self) -> Vec<(EndpointId, Learnt)> {
        self.clients.learnt(&self.exchanges)
    }

    /// What it decides by, and what it has decided in the latest burst.
    #[must_use]
    pub fn decider(&self) -> &Decider {
        &self.decider
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

    /// Carries out what was decided, or lets go what is held once nothing shall be done any more.
    fn act(&mut self, enforces: bool) {
        if enforces {
            let orders = self.decider.orders();
            let build = &mut |bytes: &[u8]| self.port.build(bytes);
            self.shapers.apply(&mut self.burst, &self.flows, orders, build);
        } else {
            self.shapers.disarm(&mut self.burst, &self.flows);
        }
        for ended in self.shapers.ended() {
            self.decider.hold_ended(ended);
        }
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
        self.reports.publish(
            now,
            self.polls,
            totals,
            &self.latency,
            self.decider.endpoints(),
            devices,
        );
        self.reports.publish_learnt(|| self.learnt());
    }
}
