//! The wire: frames travel from an end to the data plane and on to the other end, each half of a
//! round trip in the same time, so that every queue is in order of arrival by itself.
//!
//! Where the data plane stands there is either an `Lcore`, polled as on a machine, or nothing, and
//! frames pass at the same polls.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use fastpath::burst::Frame;
use fastpath::keyed::Seed;
use fastpath::lcore::{Lcore, LcoreConfig, Mode, Outlets};
use fastpath::policy::handoff::{self, Publisher};
use fastpath::policy::snapshot::Snapshot;
use fastpath::port::mem::Buffer;
use fastpath::telemetry::Totals;
use fastpath::telemetry::event::Event;
use fastpath::time::Nanos;

use super::connection::Side;
use super::frame::{self, Segment};
use super::port::{CLIENTS, Line, SERVERS, SimPort};
use super::scenario::{Rtt, Wire};

/// The wire.
pub(super) struct Network {
    half: [Nanos; 2],
    /// On their way to the data plane, by the side they come from.
    inbound: [VecDeque<(Nanos, Buffer)>; 2],
    /// On their way to an end, by the side they go to.
    outbound: [VecDeque<(Nanos, Buffer)>; 2],
    line: Rc<RefCell<Line>>,
    plane: Option<Plane>,
    next_poll: Nanos,
    bytes: Vec<u8>,
    /// Frames that ends have sent.
    pub(super) sent: u64,
    /// Frames that have reached an end.
    pub(super) arrived: u64,
}

/// The data plane in the middle.
pub(super) struct Plane {
    lcore: Lcore<SimPort>,
    outlets: Outlets,
    _publisher: Publisher,
}

/// The data plane is polled this often while frames arrive: what lies between two polls is a burst.
const POLL: Nanos = Nanos::from_micros(50);
/// And this often while none do, so that its timers run.
const IDLE_POLL: Nanos = Nanos::from_millis(1);

impl Plane {
    /// An `Lcore` with room for so many connections, on such a wire.
    pub(super) fn new(
        snapshot: Arc<Snapshot>,
        seed: u64,
        connections: usize,
        wire: Wire,
    ) -> (Self, Rc<RefCell<Line>>) {
        let (port, line) = SimPort::new(wire, seed);
        let (publisher, subscriber) = handoff::channel(snapshot);
        let usual = LcoreConfig::default();
        let flows = connections.next_power_of_two().max(usual.flows);
        let config = LcoreConfig { mode: Mode::Wire, flows, seed: Seed::Fixed(seed), ..usual };
        let (lcore, outlets) = Lcore::new(port, config, subscriber);
        outlets.reports.decline();
        (Self { lcore, outlets, _publisher: publisher }, line)
    }
}

impl Network {
    /// A wire with a data plane, or with nothing, in its middle.
    pub(super) fn new(rtt: &Rtt, start: Nanos, plane: Option<(Plane, Rc<RefCell<Line>>)>) -> Self {
        let (plane, line) =
            plane.map_or_else(Default::default, |(plane, line)| (Some(plane), line));
        Self {
            half: [rtt.client, rtt.server].map(|rtt| Nanos(rtt.nanos().0 / 2)),
            inbound: Default::default(),
            outbound: Default::default(),
            line,
            plane,
            next_poll: start,
            bytes: Vec::new(),
            sent: 0,
            arrived: 0,
        }
    }

    /// An end sends a segment.
    pub(super) fn send(
        &mut self,
        from: Side,
        now: Nanos,
        segment: &Segment,
        payload: impl FnOnce(&mut Vec<u8>),
    ) {
        self.bytes.clear();
        frame::write(segment, &mut self.bytes, payload);
        let buffer = self.line.borrow_mut().buffer(&self.bytes);
        let side = from.index();
        self.inbound[side].push_back((now + self.half[side], buffer));
        self.sent += 1;
    }

    /// When something happens on the wire next.
    pub(super) fn next(&self) -> Nanos {
        let first = |queue: &VecDeque<(Nanos, Buffer)>| queue.front().map_or(Nanos::MAX, |f| f.0);
        let waiting = self.inbound.iter().map(first).min().unwrap_or(Nanos::MAX);
        // The poll after it; all of a poll's frames are one burst.
        let busy = Nanos(waiting.0.div_ceil(POLL.0).saturating_mul(POLL.0));
        let idle = if self.plane.is_some() { self.next_poll } else { Nanos::MAX };
        let poll = busy.min(idle);
        self.outbound.iter().map(first).min().unwrap_or(Nanos::MAX).min(poll)
    }

    /// The data plane's turn, if it has one at `now`.
    pub(super) fn poll(&mut self, now: Nanos) {
        let due = |queue: &VecDeque<(Nanos, Buffer)>| queue.front().is_some_and(|f| f.0 <= now);
        let frames = now.0.is_multiple_of(POLL.0) && self.inbound.iter().any(due);
        if !frames && (self.plane.is_none() || now < self.next_poll) {
            return;
        }
        self.next_poll = now + IDLE_POLL;
        let mut line = self.line.borrow_mut();
        line.now = now;
        loop {
            let first = |side: usize| self.inbound[side].front().map_or(Nanos::MAX, |f| f.0);
            let side = usize::from(first(1) < first(0));
            let Some((at, buffer)) = self.inbound[side].pop_front_if(|f| f.0 <= now) else { break };
            let port = if side == Side::Client.index() { CLIENTS } else { SERVERS };
            if self.plane.is_some() {
                line.arrived.push_back((at, port, buffer));
            } else {
                line.left.push_back((port.peer(), buffer));
            }
        }
        drop(line);
        if let Some(plane) = &mut self.plane {
            loop {
                plane.lcore.run_once();
                if self.line.borrow().arrived.is_empty() {
                    break;
                }
            }
        }
        let mut line = self.line.borrow_mut();
        while let Some((port, buffer)) = line.left.pop_front() {
            let side = usize::from(port != CLIENTS);
            self.outbound[side].push_back((now + self.half[side], buffer));
        }
    }

    /// The next frame that has reached the `side` by `now`: read, or why it cannot be.
    pub(super) fn take(
        &mut self,
        side: Side,
        now: Nanos,
    ) -> Option<Result<Segment, frame::Broken>> {
        let (_, buffer) = self.outbound[side.index()].pop_front_if(|f| f.0 <= now)?;
        self.arrived += 1;
        let segment = frame::read(buffer.bytes());
        self.line.borrow_mut().pool.free(buffer);
        Some(segment)
    }

    /// Frames between the ends that have not reached one.
    pub(super) fn under_way(&self) -> u64 {
        self.inbound.iter().chain(&self.outbound).map(|queue| queue.len() as u64).sum()
    }

    /// Frames that were lost on the way to the data plane.
    pub(super) fn lost(&self) -> u64 {
        self.line.borrow().lost
    }

    /// What the data plane has told since the last call.
    pub(super) fn events(&self) -> impl Iterator<Item = Event> {
        let next = || self.plane.as_ref().and_then(|plane| plane.outlets.events.next());
        std::iter::from_fn(next)
    }

    /// The observation is over: the data plane tells what it has not told yet.
    pub(super) fn finish(&mut self) -> bool {
        self.plane.as_mut().is_some_and(|plane| plane.lcore.finish())
    }

    /// What the data plane counted, where there is one.
    pub(super) fn totals(&self) -> Option<Totals> {
        self.plane.as_ref().map(|plane| plane.lcore.totals())
    }
}

const _: () = assert!(CLIENTS.0 == 0 && SERVERS.0 == 1, "sides are indices");
