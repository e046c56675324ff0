//! HTTP/2 in TLS: streams of a connection, from directions, record lengths and time (RFC 9113).
//!
//! A stream that is alone on its connection is followed like an exchange of HTTP/1.1. Where several
//! are open nothing says which one a record belongs to: then their number and the ends on the
//! connection are known, and what is said of one stream is a guess that says so. A connection has
//! [`STREAMS_MAX`] open streams at most; the state of all connections is allocated at start.

mod connection;
mod habit;
mod open;
mod request;
mod stream;

use crate::burst::{Address, Direction, FlowId};
use crate::flow::entry::FlowEntry;
use crate::lru::LruMap;
use crate::policy::learnt::LearntHttp2;
use crate::policy::snapshot::EndpointId;
use crate::telemetry::event::ExchangeId;
use crate::time::Nanos;

use super::h1::Ending;
use super::handshake::RTT_DEFAULT;
use super::settle::{SETTLE, SettleQueue};
use connection::Connection;
use habit::Habit;
use open::Rooms;
pub use stream::{Stream, StreamEnding, StreamFacts, Unit};

/// Open streams of one connection that are followed; what exceeds them is counted.
pub const STREAMS_MAX: usize = 64;
/// HTTP/2 connections of an lcore that are followed at once; what exceeds them is counted.
const CONNECTIONS_MAX: usize = 4096;
/// No connection.
const NONE: u32 = u32::MAX;

/// Something that begins or ends on a multiplexed connection.
#[derive(Clone, Copy, Debug)]
pub enum MuxEdge {
    /// A stream has begun.
    Opened {
        /// Its exchange.
        id: ExchangeId,
        /// On which flow.
        flow: FlowId,
        /// To which endpoint.
        endpoint: Option<EndpointId>,
        /// First record of its request. May lie before what was told last.
        at: Nanos,
    },
    /// A stream is over.
    Ended(StreamFacts),
    /// The client may have reset one of several streams: a retry may be the sequel.
    MaybeReset {
        /// On which flow.
        flow: FlowId,
        /// When.
        at: Nanos,
    },
}

/// The multiplexed connections of an lcore.
#[derive(Debug)]
pub struct Muxes {
    /// Place in `pool` by flow, or [`NONE`].
    index: Vec<u32>,
    /// As many as there have been at once.
    pool: Vec<Connection>,
    free: Vec<u32>,
    rooms: Rooms,
    habits: LruMap<Address, Habit>,
    settling: SettleQueue,
    edges: Vec<MuxEdge>,
    /// Connections and streams that found no room.
    pub refused: u64,
}

/// What a record, or its absence, does to a connection, as the connection sees the world.
struct Scene<'a> {
    flow: FlowId,
    endpoint: Option<EndpointId>,
    habit: &'a mut Habit,
    edges: &'a mut Vec<MuxEdge>,
    next: &'a mut u64,
    refused: &'a mut u64,
    rooms: &'a mut Rooms,
}

/// Four fifths of a round trip: what comes sooner after something answers something else.
fn nearly(rtt: Nanos) -> Nanos {
    Nanos(rtt.0 / 5 * 4)
}

impl Muxes {
    /// For a flow table with this many slots, so many servers, and room for so many edges in a
    /// burst.
    pub(super) fn for_slots(slots: usize, servers: usize, edges: usize) -> Self {
        let count = CONNECTIONS_MAX.min(slots);
        Self {
            index: vec![NONE; slots],
            pool: Vec::with_capacity(count),
            free: Vec::with_capacity(count),
            rooms: Rooms::default(),
            habits: LruMap::with_capacity(servers),
            settling: SettleQueue::default(),
            edges: Vec::with_capacity(edges),
            refused: 0,
        }
    }

    /// What began and ended in this burst, in the order in which it became known.
    #[must_use]
    pub fn edges(&self) -> &[MuxEdge] {
        &self.edges
    }

    /// Adds what a server does with its frames to what is learnt of it.
    pub fn export(&self, server: Address, learnt: &mut LearntHttp2) {
        if let Some(habit) = self.habits.get(&server) {
            habit.export(learnt);
        }
    }

    /// What is known of a server that was not met before.
    pub(super) fn meet(&mut self, server: Address, learnt: &LearntHttp2, now: Nanos) {
        if self.habits.get(&server).is_none() {
            *self.habits.touch(server, now) = Habit::from(learnt);
        }
    }

    /// The stream `id` as it stands, if it is open on `flow`.
    #[must_use]
    pub fn facts(&self, flow: FlowId, server: Address, id: ExchangeId) -> Option<StreamFacts> {
        let connection = self.pool.get(self.place(flow)?)?;
        connection.facts(id, flow, self.habits.get(&server))
    }

    /// What was known of the connection before: `adopted` is when its first records came and how
    /// long they were, when they were taken for a request.
    pub(super) fn begin(
        &mut self,
        flow: FlowId,
        entry: &FlowEntry,
        midway: bool,
        adopted: Option<(Nanos, u32, bool)>,
    ) {
        let Some(place) = self.free.pop().or_else(|| self.new_place()) else {
            self.refused += 1;
            return;
        };
        self.index[flow.0 as usize] = place;
        let connection = &mut self.pool[place as usize];
        connection.begin(entry.rtt().unwrap_or(RTT_DEFAULT), midway);
        if let Some((at, bytes, answered)) = adopted {
            connection.adopt(at, bytes, answered);
        }
    }

    /// A record of this plaintext length.
    pub(super) fn record(
        &mut self,
        flow: FlowId,
        entry: &FlowEntry,
        (direction, length, at): (Direction, u16, Nanos),
        closing: Option<Ending>,
        next: &mut u64,
    ) {
        self.on(flow, entry, at, next, |connection, scene| {
            connection.due(at, scene);
            match direction {
                Direction::ToServer => connection.client_record(length, at, scene),
                Direction::ToClient if closing == Some(Ending::ClientClosed) => {
                    connection.late_record(length, at, scene);
                }
                Direction::ToClient => connection.server_record(length, at, scene),
            }
            connection.suspects_reset()
        });
    }

    /// One side has closed, or both have.
    pub(super) fn closed(
        &mut self,
        flow: FlowId,
        entry: &FlowEntry,
        (ending, both): (Ending, bool),
        at: Nanos,
        next: &mut u64,
    ) {
        self.on(flow, entry, at, next, |connection, scene| {
            connection.flush(scene);
            if ending == Ending::ClientClosed && !both {
                return true;
            }
            connection.end_all(ending, at, scene);
            false
        });
    }

    /// Records were lost: what is said of this connection is less sure from here on.
    pub(super) fn lost(&mut self, flow: FlowId) {
        if let Some(place) = self.place(flow) {
            self.pool[place].midway = true;
        }
    }

    /// The flow is over: ends what is open and gives the place back.
    pub(super) fn end(
        &mut self,
        flow: FlowId,
        entry: &FlowEntry,
        (ending, at): (Ending, Nanos),
        next: &mut u64,
    ) {
        self.on(flow, entry, at, next, |connection, scene| {
            connection.flush(scene);
            connection.end_all(ending, at, scene);
            false
        });
        if let Some(place) = self.place(flow) {
            self.index[flow.0 as usize] = NONE;
            self.free.extend(u32::try_from(place));
        }
    }

    /// The next connection that asked to be looked at again, and is still there.
    pub(super) fn due(&mut self, now: Nanos) -> Option<FlowId> {
        loop {
            let (flow, _) = self.settling.due(now)?;
            if self.place(flow).is_some_and(|place| self.pool[place].queued) {
                return Some(flow);
            }
        }
    }

    /// Looks at a connection again, [`SETTLE`] after it asked for it.
    pub(super) fn settle(
        &mut self,
        flow: FlowId,
        entry: &FlowEntry,
        closing: Option<(Ending, Nanos)>,
        now: Nanos,
        next: &mut u64,
    ) {
        self.on(flow, entry, now, next, |connection, scene| {
            connection.queued = false;
            match closing {
                Some((ending, at)) => connection.end_all(ending, at, scene),
                None => connection.end_reset(now.since(SETTLE), scene),
            }
            connection.suspects_reset()
        });
    }

    pub(super) fn clear(&mut self) {
        self.edges.clear();
    }

    fn place(&self, flow: FlowId) -> Option<usize> {
        self.index.get(flow.0 as usize).filter(|&&place| place != NONE).map(|&place| place as usize)
    }

    fn new_place(&mut self) -> Option<u32> {
        let place = self.pool.len();
        if place == CONNECTIONS_MAX.min(self.index.len()) {
            return None;
        }
        self.pool.push(Connection::default());
        u32::try_from(place).ok()
    }

    /// Does something to a connection; `act` says whether to look at it again after a while.
    fn on(
        &mut self,
        flow: FlowId,
        entry: &FlowEntry,
        at: Nanos,
        next: &mut u64,
        act: impl FnOnce(&mut Connection, &mut Scene<'_>) -> bool,
    ) {
        let Some(place) = self.place(flow) else { return };
        let connection = &mut self.pool[place];
        if let Some(rtt) = entry.rtt() {
            connection.meet(rtt);
        }
        let mut scene = Scene {
            flow,
            endpoint: entry.class.endpoint(),
            habit: self.habits.touch(entry.peers().server, at),
            edges: &mut self.edges,
            next,
            refused: &mut self.refused,
            rooms: &mut self.rooms,
        };
        if act(connection, &mut scene) && !connection.queued {
            connection.queued = self.settling.push(at, flow, ExchangeId(0));
        }
    }
}

#[cfg(test)]
mod tests;
