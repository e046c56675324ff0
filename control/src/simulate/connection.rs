//! A connection with both of its ends, and how segments, timers and applications meet there.

use std::net::Ipv4Addr;

use fastpath::time::Nanos;

use super::client::Call;
use super::frame::{Broken, SYN, Segment, Socket};
use super::schedule::Event;
use super::server::Job;
use super::slab::Id;
use super::stream::Message;
use super::tcp::{Change, Departure, State, Tcp};
use super::world::World;

/// Which end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Who opened it.
    Client,
    /// Who was called.
    Server,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) group: usize,
    pub(super) host: u32,
    ends: [Tcp; 2],
    /// The replica its server's end is at, once a SYN has come there.
    pub(super) replica: Option<usize>,
    /// The client's side of the TLS handshake is done.
    pub(super) ready: bool,
    /// The attempt that the client waits for.
    pub(super) call: Option<(Id<Call>, u32)>,
    /// What the server does for it.
    pub(super) job: Option<Id<Job>>,
    /// When client and server were last busy with it.
    pub(super) used: Nanos,
}

/// A server closes a connection without a request for this long.
const SERVER_IDLE: Nanos = Nanos::from_secs(65);
/// A pool of an SDK closes one after this long (httpx; undici likewise).
pub(super) const CLIENT_IDLE: Nanos = Nanos::from_secs(5);

impl Side {
    pub(super) const fn index(self) -> usize {
        match self {
            Self::Client => 0,
            Self::Server => 1,
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

impl Connection {
    /// A connection that its client is about to open.
    pub(super) fn new(group: usize, host: u32, client: Socket, server: Socket, isn: u32) -> Self {
        let ends = [
            Tcp::connect(client, server, isn),
            Tcp::listen(server, client, isn.wrapping_mul(0x9e37_79b9)),
        ];
        let (replica, ready, call, job, used) = (None, false, None, None, Nanos::ZERO);
        Self { group, host, ends, replica, ready, call, job, used }
    }

    pub(super) fn end(&mut self, side: Side) -> &mut Tcp {
        &mut self.ends[side.index()]
    }

    /// Whether the client may send a request on it.
    pub(super) fn is_usable(&self) -> bool {
        let end = &self.ends[Side::Client.index()];
        self.ready && end.state == State::Established && !end.is_closing() && !end.peer_closed
    }

    fn is_over(&self) -> bool {
        self.ends[0].state == State::Closed
            && matches!(self.ends[1].state, State::Closed | State::Listen)
    }
}

impl World<'_> {
    /// A frame has reached an end.
    pub(super) fn arrive(&mut self, side: Side, frame: Result<Segment, Broken>) {
        let segment = match frame {
            Ok(segment) => segment,
            Err(broken) => return self.ledger.broken(broken),
        };
        let (client, server) = match side {
            Side::Client => (segment.destination, segment.source),
            Side::Server => (segment.source, segment.destination),
        };
        if side == Side::Server && self.is_lost(server.address) {
            self.ledger.lost_frames += 1;
            return;
        }
        let Some(&id) = self.by_socket.get(&client) else { return self.refuse(side, &segment) };
        if side == Side::Server && !self.accept(id, &segment, server) {
            return self.refuse(side, &segment);
        }
        let Some(connection) = self.connections.get_mut(id) else { return };
        let end = connection.end(side);
        if end.remote != segment.source || (side == Side::Server && end.state == State::Closed) {
            return self.refuse(side, &segment);
        }
        let challenged = end.challenged;
        let change = end.receive(&segment);
        self.ledger.resets_beside += u64::from(end.challenged - challenged);
        self.flush(id, side);
        self.react(id, side, change);
    }

    /// A timer of an end has run.
    pub(super) fn retransmit(&mut self, id: Id<Connection>, side: Side) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(id) else { return };
        let end = connection.end(side);
        end.armed = false;
        if end.timeout(now) {
            self.flush(id, side);
        } else {
            self.ledger.gave_up += 1;
            self.react(id, side, Change { reset: true, ..Change::default() });
        }
    }

    /// Sends what an end may send now.
    pub(super) fn flush(&mut self, id: Id<Connection>, side: Side) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(id) else { return };
        let network = &mut self.network;
        let end = connection.end(side);
        end.flush(now, |end, Departure { segment, offset }| {
            let payload = |frame: &mut Vec<u8>| end.stream.copy(offset, segment.bytes, frame);
            network.send(side, now, &segment, payload);
        });
        if let Some(deadline) = end.deadline().filter(|_| !end.armed) {
            end.armed = true;
            self.schedule.push(deadline.max(now), Event::Retransmit { connection: id, side });
        }
    }

    /// An end says that it is done.
    pub(super) fn close(&mut self, id: Id<Connection>, side: Side) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let end = connection.end(side);
        if matches!(end.state, State::SynSent | State::Listen | State::SynReceived) {
            return self.reset(id, side);
        }
        end.close();
        self.flush(id, side);
        self.forget_if_over(id);
    }

    /// An end resets the connection.
    pub(super) fn reset(&mut self, id: Id<Connection>, side: Side) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(id) else { return };
        if let Some(Departure { segment, .. }) = connection.end(side).abort() {
            self.network.send(side, now, &segment, |_| {});
        }
        self.forget_if_over(id);
    }

    /// Closes what nobody has used for long.
    pub(super) fn sweep(&mut self) {
        let now = self.now;
        let idle = |connection: &Connection, limit| now.since(connection.used) > limit;
        let old: Vec<(Id<Connection>, Side)> = self
            .connections
            .iter()
            .filter_map(|(id, connection)| {
                let client = &connection.ends[0];
                if connection.call.is_none()
                    && idle(connection, CLIENT_IDLE)
                    && !client.is_closing()
                {
                    return Some((id, Side::Client));
                }
                let server = connection.job.is_none() && idle(connection, SERVER_IDLE);
                (server && connection.ends[1].state != State::Closed).then_some((id, Side::Server))
            })
            .collect();
        for (id, side) in old {
            self.close(id, side);
            let stuck = self.connections.get_mut(id).filter(|c| c.ends[0].state == State::Closed);
            if side == Side::Server && stuck.is_some() {
                self.forget(id);
            }
        }
    }

    /// What an end's application makes of a change.
    fn react(&mut self, id: Id<Connection>, side: Side, change: Change) {
        if change.established && side == Side::Client {
            self.connected(id);
        }
        if let Some((from, to)) = change.arrived {
            self.deliver(id, side, from, to);
        }
        if change.peer_closed || change.reset {
            match side {
                Side::Client => self.server_left(id, change.reset),
                Side::Server => self.client_left(id, change.reset),
            }
        }
        self.forget_if_over(id);
    }

    fn deliver(&mut self, id: Id<Connection>, side: Side, from: u64, to: u64) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.used = self.now;
        if connection.end(side).is_closing() {
            // Nobody reads here any more, and the kernel says so.
            return self.reset(id, side);
        }
        let mut messages = std::mem::take(&mut self.messages);
        messages.extend(connection.end(side.other()).stream.messages(from, to));
        for message in messages.drain(..) {
            match side {
                Side::Client => self.at_client(id, message),
                Side::Server => self.at_server(id, message),
            }
        }
        self.messages = messages;
    }

    /// Whether the server's end takes the segment; a SYN makes it one of the server it came to.
    fn accept(&mut self, id: Id<Connection>, segment: &Segment, to: Socket) -> bool {
        let replica = self.replica_at(to.address);
        let Some(connection) = self.connections.get_mut(id) else { return false };
        let server = connection.end(Side::Server);
        if server.state == State::Listen && segment.has(SYN) {
            let Some(replica) = replica.filter(|&replica| !self.replicas[replica].resets()) else {
                return false;
            };
            server.local = to;
            connection.replica = Some(replica);
        }
        let server = connection.end(Side::Server);
        server.local == to && server.state != State::Listen || segment.has(SYN)
    }

    fn refuse(&mut self, side: Side, segment: &Segment) {
        if let Some(refusal) = Tcp::refusal(segment) {
            self.network.send(side, self.now, &refusal, |_| {});
        }
    }

    fn forget_if_over(&mut self, id: Id<Connection>) {
        if self.connections.get(id).is_some_and(Connection::is_over) {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: Id<Connection>) {
        if let Some(mut connection) = self.connections.remove(id) {
            self.by_socket.remove(&connection.end(Side::Client).local);
        }
    }

    fn replica_at(&self, address: Ipv4Addr) -> Option<usize> {
        let [198, 18, pool, replica] = address.octets() else { return None };
        let first = *self.first_replica.get(usize::from(pool))?;
        let replica = first + usize::from(replica).checked_sub(1)?;
        self.replicas.get(replica).filter(|r| r.pool == usize::from(pool)).map(|_| replica)
    }

    fn is_lost(&self, address: Ipv4Addr) -> bool {
        self.replica_at(address).is_some_and(|replica| self.replicas[replica].is_lost())
    }
}

/// What a client or server writes on a connection.
impl World<'_> {
    pub(super) fn write(
        &mut self,
        id: Id<Connection>,
        side: Side,
        plaintext: u32,
        message: Message,
    ) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.used = self.now;
        let end = connection.end(side);
        if !end.is_closing() {
            end.stream.record(plaintext, message);
        }
    }
}
