//! Carries out what was decided, and gives every frame its end.
//!
//! On a tap a frame ends here: its original goes its own way. On a wire every frame is sent, unless
//! an order says otherwise. Actions that cannot be carried
//! out exactly are not carried out, and counted: the frames pass.

pub mod checksum;
pub mod hold;
pub mod mark;
mod queue;
pub mod rate;
mod reroute;
pub mod reset;
pub mod wheel;

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;

use crate::burst::{Burst, Direction, Fate, FlowId, Frame, Packets, PortIndex};
use crate::decide::order::{HoldEnded, Mark, Order, Toward};
use crate::flow::table::FlowTable;
use crate::policy::rules;
use crate::telemetry::counters::{Acts, PortCounters};
use crate::telemetry::reasons::DropReason;
use crate::time::Nanos;
use hold::{HoldBounds, Holds};
use rate::Rate;
use reroute::Reroutes;
use reset::{Expected, Made};

/// What an lcore holds back and makes.
#[derive(Debug)]
pub struct Shapers<F> {
    holds: Holds<F>,
    /// The RSTs that would end connections whose client has closed of late, by flow: a slot is taken
    /// over by the next flow that falls on it.
    closed: Box<[Option<Closed>]>,
    /// Flows to be reset towards a side, by the next frame that comes from there.
    wanted: HashSet<(FlowId, Direction), RandomState>,
    shapes: HashMap<FlowId, Shape, RandomState>,
    reroutes: Reroutes,
    counts: Acts,
}

/// What is done to each frame of a flow.
#[derive(Clone, Copy, Debug, Default)]
struct Shape {
    police: Option<Rate>,
    mark: Option<Mark>,
}

/// A connection whose client has closed.
#[derive(Clone, Copy, Debug)]
struct Closed {
    flow: FlowId,
    /// Towards the server and the client, each with the port that it leaves opposite to.
    resets: [Option<(Made, PortIndex)>; 2],
}

/// Connections whose end is remembered, and resets that wait for a frame, at most.
const CLOSED: usize = 1024;

/// Flows that are policed or marked, at most.
const SHAPED: usize = 4096;
/// How far ahead of its rate a policed flow may be: an ordinary window passes whole.
const POLICE_TOLERANCE: Nanos = Nanos::from_millis(250);

/// Gives a frame with these bytes, or `None` when there is no buffer for it.
pub type Build<'a, F> = &'a mut dyn FnMut(&[u8]) -> Option<F>;

impl<F: Frame> Shapers<F> {
    /// Nothing held, within these bounds.
    #[must_use]
    pub fn new(bounds: HoldBounds) -> Self {
        Self {
            holds: Holds::new(bounds),
            closed: vec![None; CLOSED].into(),
            wanted: HashSet::with_capacity_and_hasher(CLOSED, RandomState::default()),
            shapes: HashMap::with_capacity_and_hasher(SHAPED, RandomState::default()),
            reroutes: Reroutes::new(),
            counts: Acts::default(),
        }
    }

    /// What is held from here on stays within the policy's bounds.
    pub fn bound(&mut self, rule: &rules::HoldBounds) {
        self.holds.bound(rule);
    }

    /// Gives frames of rerouted connections the address that their clients know, before any stage
    /// looks at them.
    pub fn arrive(&self, burst: &mut Burst<F>) {
        if !self.reroutes.is_empty() {
            self.reroutes.arrive(burst);
        }
    }

    /// Carries out `orders` on the frames of the burst, and lets go what is due.
    pub fn apply(
        &mut self,
        burst: &mut Burst<F>,
        flows: &FlowTable,
        orders: &[Order],
        build: Build<'_, F>,
    ) {
        self.begin(burst.packets.now, flows);
        for order in orders {
            self.carry_out(order, burst, flows, build);
        }
        self.reset_wanted(burst, build);
        self.remember_closes(burst, flows);
        self.shape(burst);
        self.hold(burst, build);
        self.depart(burst);
    }

    /// Forgets what was ordered of flows whose slots are taken over in this burst.
    fn begin(&mut self, now: Nanos, flows: &FlowTable) {
        self.holds.ended.clear();
        for &flow in flows.fresh() {
            self.holds.forget(flow, now);
            self.wanted.remove(&(flow, Direction::ToServer));
            self.wanted.remove(&(flow, Direction::ToClient));
            self.closed[flow.0 as usize % CLOSED].take_if(|closed| closed.flow == flow);
            self.shapes.remove(&flow);
            self.reroutes.forget(flow);
        }
    }

    fn carry_out(
        &mut self,
        order: &Order,
        burst: &mut Burst<F>,
        flows: &FlowTable,
        build: Build<'_, F>,
    ) {
        let now = burst.packets.now;
        match *order {
            Order::Hold { flow, from, until } => {
                let begun = self.holds.begin(flow, from, until, now);
                self.counts.holds += u64::from(begun);
                self.counts.holds_refused += u64::from(!begun);
            }
            Order::Release { flow, at } => self.holds.release(flow, at, now),
            Order::Reset { flow, toward } => self.reset(flow, toward, burst, build),
            Order::Pace { flow, bytes_per_sec } => {
                let paced = self.holds.pace(flow, bytes_per_sec, now);
                self.count_shaped(paced);
            }
            Order::Police { flow, bytes_per_sec } => {
                let rate = (bytes_per_sec > 0).then(|| Rate::new(bytes_per_sec));
                self.reshape(flow, |shape| shape.police = rate);
            }
            Order::Mark { flow, mark } => self.reshape(flow, |shape| shape.mark = Some(mark)),
            Order::Reroute { flow, to } => {
                let peers = flows.entry(flow).peers();
                let rerouted = self.reroutes.begin(flow, &peers, to);
                self.count_shaped(rerouted);
            }
        }
    }

    fn reshape(&mut self, flow: FlowId, change: impl FnOnce(&mut Shape)) {
        let room = self.shapes.len() < SHAPED || self.shapes.contains_key(&flow);
        if room {
            change(self.shapes.entry(flow).or_default());
        }
        self.count_shaped(room);
    }

    fn count_shaped(&mut self, done: bool) {
        self.counts.shaped += u64::from(done);
        self.counts.shaped_refused += u64::from(!done);
    }

    /// Polices and marks.
    fn shape(&mut self, burst: &mut Burst<F>) {
        if self.shapes.is_empty() {
            return;
        }
        let (frames, packets) = burst.split_mut();
        for (i, frame) in frames.iter_mut().enumerate() {
            let Some((flow, Direction::ToServer)) = packets.flow[i] else { continue };
            let Some(shape) = self.shapes.get_mut(&flow) else { continue };
            let Some(headers) = packets.headers[i] else { continue };
            if let Some(rate) = shape.police.as_mut().filter(|_| headers.payload_wire_bytes > 0) {
                if !rate.conforms(packets.now, POLICE_TOLERANCE) {
                    packets.fate[i] = Fate::Drop(DropReason::Policed);
                    continue;
                }
                rate.take(packets.now, packets.wire_bytes[i]);
            }
            let (network, bytes) = (usize::from(headers.network_offset), frame.bytes_mut());
            if let Some(codepoint) = shape.mark
                && let Some((link, packet)) = bytes.split_at_mut_checked(network)
                && reset::is_plain_ethernet(link)
            {
                mark::mark(packet, codepoint);
            }
        }
    }

    fn hold(&mut self, burst: &mut Burst<F>, build: Build<'_, F>) {
        if self.holds.is_empty() {
            return;
        }
        let Self { holds, counts, .. } = self;
        holds.keep(burst, |burst, left| {
            let made = made_from(burst, left.frame.into(), left.server);
            send(made, burst, counts, build);
        });
        holds.expire(burst.packets.now);
        holds.send_due(burst);
        holds.flush(burst);
    }

    fn depart(&self, burst: &mut Burst<F>) {
        if !self.reroutes.is_empty() {
            self.reroutes.depart(burst);
        }
    }

    /// Lets everything go that is held: nothing is to be acted on any more. Connections that were
    /// rerouted stay where they are, for they would break.
    pub fn disarm(&mut self, burst: &mut Burst<F>, flows: &FlowTable) {
        self.begin(burst.packets.now, flows);
        self.wanted.clear();
        self.shapes.clear();
        if !self.holds.is_empty() {
            self.holds.release_all(burst.packets.now);
            self.holds.keep(burst, |_, _| {});
            self.holds.flush(burst);
        }
        self.depart(burst);
    }

    /// What became of holds in this burst.
    #[must_use]
    pub fn ended(&self) -> &[HoldEnded] {
        &self.holds.ended
    }

    /// What was done so far.
    #[must_use]
    pub fn counts(&self) -> Acts {
        let held_flows = self.holds.flows() as u64;
        Acts { held_flows, held_frames: self.holds.frames() as u64, ..self.counts }
    }

    /// The port's counters with what is kept and made here, which the port does not know.
    #[must_use]
    pub fn complete(&self, port: &PortCounters) -> PortCounters {
        let made = self.counts.resets;
        PortCounters {
            rx_frames: port.rx_frames + made,
            made_frames: port.made_frames + made,
            held_frames: port.held_frames + self.holds.frames() as u64,
            ..*port
        }
    }

    fn reset(&mut self, flow: FlowId, toward: Toward, burst: &mut Burst<F>, build: Build<'_, F>) {
        for side in [Direction::ToServer, Direction::ToClient] {
            if toward.includes(side) {
                self.reset_side(flow, side, burst, build);
            }
        }
    }

    /// Only a frame from this side says exactly what it expects: the latest of this burst, one that
    /// was remembered, or the next to come.
    fn reset_side(
        &mut self,
        flow: FlowId,
        side: Direction,
        burst: &mut Burst<F>,
        build: Build<'_, F>,
    ) {
        let from_side = Some((flow, side.reverse()));
        let closed = self.closed[flow.0 as usize % CLOSED].filter(|closed| closed.flow == flow);
        if let Some(i) = burst.packets.flow.iter().rposition(|seen| *seen == from_side) {
            send(made_for_sender(burst, i), burst, &mut self.counts, build);
        } else if let Some(made) = closed.and_then(|closed| closed.resets[side.index()]) {
            send(Some(made), burst, &mut self.counts, build);
        } else if self.wanted.len() < CLOSED {
            self.wanted.insert((flow, side));
        } else {
            self.counts.resets_refused += 1;
        }
    }

    fn reset_wanted(&mut self, burst: &mut Burst<F>, build: Build<'_, F>) {
        if self.wanted.is_empty() {
            return;
        }
        for i in 0..burst.len() {
            let Some((flow, direction)) = burst.packets.flow[i] else { continue };
            if self.wanted.remove(&(flow, direction.reverse())) {
                send(made_for_sender(burst, i), burst, &mut self.counts, build);
            }
        }
    }

    /// Keeps the RSTs of the connections to AI endpoints whose clients close here: later there may be
    /// no frame to make them from. The server's is known once it has answered the close.
    fn remember_closes(&mut self, burst: &Burst<F>, flows: &FlowTable) {
        for i in 0..burst.len() {
            let packets = &burst.packets;
            let Some((flow, direction)) = packets.flow[i] else { continue };
            let place = flow.0 as usize % CLOSED;
            let closes = direction == Direction::ToServer
                && packets.headers[i].is_some_and(|headers| headers.tcp.flags.fin())
                && flows.entry(flow).class.endpoint().is_some();
            if closes {
                self.closed[place] = Some(Closed { flow, resets: [None; 2] });
            }
            let closed = self.closed[place].as_mut().filter(|closed| closed.flow == flow);
            if let Some(closed) = closed
                && let Some(made) = made_for_sender(burst, i)
            {
                closed.resets[direction.reverse().index()] = Some(made);
            }
        }
    }
}

/// The RST that the sender of frame `i` takes, by what the frame says that it expects.
fn made_for_sender<F: Frame>(burst: &Burst<F>, i: usize) -> Option<(Made, PortIndex)> {
    let (headers, (_, direction)) = (burst.packets.headers[i].as_ref()?, burst.packets.flow[i]?);
    made_from(burst, i, Expected::by_sender(headers, direction)?)
}

/// An RST made from frame `i`, and the port that it leaves opposite to.
fn made_from<F: Frame>(
    burst: &Burst<F>,
    i: usize,
    expected: Expected,
) -> Option<(Made, PortIndex)> {
    let packets = &burst.packets;
    let (headers, (_, direction)) = (packets.headers[i].as_ref()?, packets.flow[i]?);
    let made = reset::reset(burst.frame(i)?.bytes(), headers, direction, expected)?;
    let port = packets.port[i];
    Some((made, if expected.toward == direction { port } else { port.peer() }))
}

fn send<F: Frame>(
    made: Option<(Made, PortIndex)>,
    burst: &mut Burst<F>,
    counts: &mut Acts,
    build: Build<'_, F>,
) {
    let room = burst.added_room() > 0;
    match made.filter(|_| room).and_then(|(made, port)| Some((build(made.bytes())?, port))) {
        Some((frame, port)) => {
            burst.add(frame, port, Fate::Forward);
            counts.resets += 1;
        }
        None => counts.resets_refused += 1,
    }
}

/// Ends the frames of a tap or a replay.
pub fn release_observed(packets: &mut Packets) {
    packets.fate.fill(Fate::Drop(DropReason::Observed));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_of_a_tap_is_not_sent() {
        let mut burst = Burst::new();
        burst.begin(Nanos(1));
        burst.push((), Nanos(1), PortIndex(0), 60);
        release_observed(&mut burst.packets);
        let fates: Vec<Fate> = burst.drain().map(|(_, _, fate)| fate).collect();
        assert_eq!(fates, [Fate::Drop(DropReason::Observed)]);
    }
}
