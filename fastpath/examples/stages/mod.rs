//! The stages that `act` needs, on any port: what comes in is parsed and found its flow, orders are
//! carried out, what is left leaves. Nothing is classified and nothing decided.

use fastpath::act::Shapers;
use fastpath::act::hold::HoldBounds;
use fastpath::burst::Burst;
use fastpath::decide::order::Order;
use fastpath::flow::table::FlowTable;
use fastpath::flow::{self};
use fastpath::parse::{self, Parser};
use fastpath::port::{Port, Rx};
use fastpath::telemetry::counters::Passes;

/// Flows at once.
const FLOWS: usize = 4096;

/// A port, and what is known of the flows on it.
pub(crate) struct Stages<P: Port> {
    /// Where frames come from and go to.
    pub(crate) port: P,
    /// What is held back.
    pub(crate) shapers: Shapers<P::Frame>,
    /// The flows there are.
    pub(crate) flows: FlowTable,
    burst: Burst<P::Frame>,
    parser: Parser,
    passes: Passes,
}

impl<P: Port> Stages<P> {
    /// Nothing known, nothing held.
    pub(crate) fn new(port: P) -> Self {
        Self {
            shapers: Shapers::new(HoldBounds::of(port.frames())),
            port,
            flows: FlowTable::with_capacity(FLOWS),
            burst: Burst::new(),
            parser: Parser::for_flows(FLOWS),
            passes: Passes::default(),
        }
    }

    /// Plays one burst. `orders` adds to the list what shall be done, once its flows are known.
    pub(crate) fn run_once(
        &mut self,
        list: &mut Vec<Order>,
        orders: impl FnOnce(&Burst<P::Frame>, &FlowTable, &mut Vec<Order>),
    ) -> Rx {
        let rx = self.port.rx_burst(&mut self.burst);
        parse::headers(&mut self.burst, &mut self.parser, &mut self.passes);
        self.shapers.arrive(&mut self.burst);
        flow::track(&mut self.burst.packets, &mut self.flows, &mut self.passes);
        list.clear();
        orders(&self.burst, &self.flows, list);
        let build = &mut |bytes: &[u8]| self.port.build(bytes);
        self.shapers.apply(&mut self.burst, &self.flows, list, build);
        self.flows.take_ended(|_, _| {});
        self.flows.expire(self.burst.packets.now);
        self.port.tx_burst(&mut self.burst);
        rx
    }
}
