//! Carries out what was decided, and gives every frame its end.
//!
//! On a tap a frame ends here: its original goes its own way. On a wire every frame is sent, unless
//! an order says otherwise: a hold ([`hold`]) or a reset ([`reset`]). Actions that cannot be carried
//! out exactly are not carried out, and counted: the frames pass.

pub mod checksum;
pub mod hold;
pub mod mark;
mod queue;
pub mod reset;
pub mod wheel;

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::burst::{Burst, Direction, Fate, FlowId, Frame, Packets, PortIndex};
use crate::decide::order::{HoldEnded, Order, Toward};
use crate::flow::table::FlowTable;
use crate::telemetry::counters::PortCounters;
use crate::telemetry::reasons::DropReason;
use hold::{HoldBounds, Holds};
use reset::{Expected, Made};

/// What an lcore holds back and makes.
#[derive(Debug)]
pub struct Shapers<F> {
    holds: Holds<F>,
    /// The RSTs that would end connections whose client has closed of late, by flow: a slot is taken
    /// over by the next flow that falls on it.
    closed: Box<[Option<Closed>]>,
    /// Flows to be reset by their next frame.
    wanted: HashMap<FlowId, Toward, RandomState>,
    counts: Counts,
}

/// What was done, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Flows that were held.
    pub holds: u64,
    /// Orders to hold that met a bound: the flow passed.
    pub holds_refused: u64,
    /// RSTs sent. They count as received by the port, and as made.
    pub resets: u64,
    /// RSTs that were not made: inside a tunnel, without a frame to go by, or without a buffer.
    pub resets_refused: u64,
    /// Flows that are held.
    pub held_flows: u64,
    /// Frames that are kept.
    pub held_frames: u64,
}

/// A connection whose client has closed.
#[derive(Clone, Copy, Debug)]
struct Closed {
    flow: FlowId,
    /// The port that the client's frames come in by.
    port: PortIndex,
    server: Option<Made>,
    client: Option<Made>,
}

/// Connections whose end is remembered, and resets that wait for a frame, at most.
const CLOSED: usize = 1024;

/// Gives a frame with these bytes, or `None` when there is no buffer for it.
pub type Build<'a, F> = &'a mut dyn FnMut(&[u8]) -> Option<F>;

impl<F: Frame> Shapers<F> {
    /// Nothing held, within these bounds.
    #[must_use]
    pub fn new(bounds: HoldBounds) -> Self {
        Self {
            holds: Holds::new(bounds),
            closed: vec![None; CLOSED].into(),
            wanted: HashMap::with_capacity_and_hasher(CLOSED, RandomState::default()),
            counts: Counts::default(),
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
        let now = burst.packets.now;
        self.holds.ended.clear();
        for &flow in flows.fresh() {
            self.holds.forget(flow, now);
            self.wanted.remove(&flow);
        }
        for order in orders {
            match *order {
                Order::Hold { flow, from, until } => {
                    let begun = self.holds.begin(flow, from, until, now);
                    let count = if begun {
                        &mut self.counts.holds
                    } else {
                        &mut self.counts.holds_refused
                    };
                    *count += 1;
                }
                Order::Release { flow, at } => self.holds.release(flow, at, now),
                Order::Reset { flow, toward } => self.reset(flow, toward, burst, build),
                Order::Pace { .. } | Order::Police { .. } | Order::Mark { .. } | Order::Reroute { .. } => {}
            }
        }
        self.reset_wanted(burst, build);
        self.remember_closes(burst, flows);
        if !self.holds.is_empty() {
            let Self { holds, counts, .. } = self;
            holds.keep(burst, |burst, left| {
                let made = made_from(burst, left.frame.into(), left.server);
                send(made, burst, counts, build);
            });
            self.holds.expire(now);
            self.holds.flush(burst);
        }
    }

    /// Lets everything go that is held: nothing is to be acted on any more.
    pub fn disarm(&mut self, burst: &mut Burst<F>) {
        self.holds.ended.clear();
        self.wanted.clear();
        self.holds.release_all(burst.packets.now);
        self.holds.flush(burst);
    }

    /// What became of holds in this burst.
    #[must_use]
    pub fn ended(&self) -> &[HoldEnded] {
        &self.holds.ended
    }

    /// What was done so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let held_flows = self.holds.flows() as u64;
        Counts { held_flows, held_frames: self.holds.frames() as u64, ..self.counts }
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
        let of_flow = |seen: &Option<(FlowId, Direction)>| seen.is_some_and(|(id, _)| id == flow);
        let latest = burst.packets.flow.iter().rposition(of_flow);
        if let Some(i) = latest {
            self.reset_by(i, toward, burst, build);
            return;
        }
        let closed = self.closed[flow.0 as usize % CLOSED].filter(|closed| closed.flow == flow);
        if let Some(Closed { port, server, client, .. }) = closed {
            send(server.map(|made| (made, port)), burst, &mut self.counts, build);
            if toward == Toward::Both {
                send(client.map(|made| (made, port.peer())), burst, &mut self.counts, build);
            }
        } else if self.wanted.len() < CLOSED {
            self.wanted.insert(flow, toward);
        } else {
            self.counts.resets_refused += 1;
        }
    }

    /// Resets by frame `i` of the burst.
    fn reset_by(&mut self, i: usize, toward: Toward, burst: &mut Burst<F>, build: Build<'_, F>) {
        for side in [Direction::ToServer, Direction::ToClient] {
            if toward.includes(side) {
                let expected = expected(&burst.packets, i, side);
                let made = expected.and_then(|expected| made_from(burst, i, expected));
                send(made, burst, &mut self.counts, build);
            }
        }
    }

    fn reset_wanted(&mut self, burst: &mut Burst<F>, build: Build<'_, F>) {
        if self.wanted.is_empty() {
            return;
        }
        for i in 0..burst.len() {
            let wanted = burst.packets.flow[i].and_then(|(flow, _)| self.wanted.remove(&flow));
            if let Some(toward) = wanted {
                self.reset_by(i, toward, burst, build);
            }
        }
    }

    /// Keeps what an RST takes of the connections to AI endpoints whose clients close here: later
    /// there may be no frame to make it from.
    fn remember_closes(&mut self, burst: &Burst<F>, flows: &FlowTable) {
        for i in 0..burst.len() {
            let packets = &burst.packets;
            let Some((flow, Direction::ToServer)) = packets.flow[i] else { continue };
            let closes = packets.headers[i].is_some_and(|headers| headers.tcp.flags.fin());
            if !closes || flows.entry(flow).class.endpoint().is_none() {
                continue;
            }
            let [server, client] = [Direction::ToServer, Direction::ToClient].map(|side| {
                let made = expected(packets, i, side).and_then(|e| made_from(burst, i, e));
                made.map(|(made, _)| made)
            });
            let port = packets.port[i];
            self.closed[flow.0 as usize % CLOSED] = Some(Closed { flow, port, server, client });
        }
    }
}

/// What the receiver on this side expects, as frame `i` shows.
fn expected(packets: &Packets, i: usize, side: Direction) -> Option<Expected> {
    let (headers, (_, direction)) = (packets.headers[i].as_ref()?, packets.flow[i]?);
    if direction == side {
        Expected::by_receiver(headers, direction)
    } else {
        Expected::by_sender(headers, direction)
    }
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
    counts: &mut Counts,
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
    use crate::time::Nanos;

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
