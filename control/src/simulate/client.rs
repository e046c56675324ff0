//! Clients: tasks of steps of calls side by side, and each call's attempts.

use std::net::Ipv4Addr;

use fastpath::time::Nanos;

use super::chance::{Chance, Purpose, seconds};
use super::connection::{CLIENT_IDLE, Connection, Side};
use super::frame::Socket;
use super::ledger::Ended;
use super::profile::{self, CONNECT_TIMEOUT, Failure, LOOPS_MAX, Next};
use super::scenario::Load;
use super::schedule::Event;
use super::slab::Id;
use super::stream::Message;
use super::tls::CLOSE_NOTIFY;
use super::world::World;

/// A host: a process with a pool of connections.
#[derive(Debug, Default)]
pub(super) struct Host {
    opened: u16,
    calls: u32,
    /// Connections that nobody uses, the latest used last.
    idle: Vec<Id<Connection>>,
}

/// A piece of work.
#[derive(Debug)]
pub(super) struct Task {
    group: usize,
    host: u32,
    step: u32,
    pending: u32,
    failed: bool,
    restarts: u32,
}

/// A request that somebody wants answered, in as many attempts as it takes.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) group: usize,
    pub(super) host: u32,
    /// The same in every column.
    pub(super) number: u64,
    pub(super) bytes: u32,
    pub(super) begun: Nanos,
    /// The attempt that runs, from 1.
    pub(super) attempt: u32,
    pub(super) phase: Phase,
    /// Since when it is in this phase.
    pub(super) since: Nanos,
    pub(super) first_byte: Option<Nanos>,
    pub(super) connection: Option<Id<Connection>>,
    /// Its request has been sent, in one attempt or another.
    sent: bool,
    /// A server has had it, likewise.
    pub(super) reached: bool,
    task: Id<Task>,
    counts: [u32; LOOPS_MAX],
}

/// How far an attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Between two attempts.
    Waiting,
    /// The connection is being established.
    Connecting,
    /// The request is on its way.
    Sent,
    /// The server has it.
    Served,
}

/// Where ephemeral ports begin, and how many there are.
const PORTS: (u16, u16) = (20_000, 40_000);
/// Between two steps of a task.
const STEP_PAUSE: Nanos = Nanos::from_millis(5);
/// The headers of a request, where they have a record of their own.
const REQUEST_HEAD: u32 = 480;

impl World<'_> {
    /// Work arrives at a group; so does the next one later.
    pub(super) fn arrival(&mut self, group: usize) {
        let state = &mut self.groups[group];
        let host = state.chance.between(0, state.hosts.len() as u64 - 1);
        let gap = seconds(state.chance.exponential(1.0 / (state.per_second * state.factor)));
        self.schedule.push(self.now + gap, Event::Arrival { group });
        self.begin(group, u32::try_from(host).unwrap_or(0));
    }

    /// A host begins a task.
    pub(super) fn begin(&mut self, group: usize, host: u32) {
        let restarts = self.scenario.clients[group].restarts;
        let task = Task { group, host, step: 0, pending: 0, failed: false, restarts };
        let task = self.tasks.insert(task);
        self.step(task);
    }

    /// The calls of a task's next step.
    pub(super) fn step(&mut self, id: Id<Task>) {
        let Some(task) = self.tasks.get_mut(id) else { return };
        let (group, host) = (task.group, task.host);
        let spec = &self.scenario.clients[group];
        task.pending = spec.children;
        for _ in 0..spec.children {
            let state = &mut self.groups[group].hosts[host as usize];
            state.calls += 1;
            let number = (group as u64) << 52 | u64::from(host) << 28 | u64::from(state.calls);
            let [least, most] = spec.request_bytes.map(u64::from);
            let bytes = Chance::new(self.seed, Purpose::Work, number).between(least, most);
            let call = self.calls.insert(Call {
                group,
                host,
                number,
                bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
                begun: self.now,
                attempt: 0,
                phase: Phase::Waiting,
                since: self.now,
                first_byte: None,
                connection: None,
                sent: false,
                reached: false,
                task: id,
                counts: [0; LOOPS_MAX],
            });
            self.ledger.offered(self.now, group);
            self.attempt(call);
        }
    }

    /// A call is tried: on a connection of the pool, or on a new one.
    pub(super) fn attempt(&mut self, id: Id<Call>) {
        let now = self.now;
        let Some(call) = self.calls.get_mut(id) else { return };
        call.attempt += 1;
        call.phase = Phase::Connecting;
        call.since = now;
        let (group, host, attempt) = (call.group, call.host, call.attempt);
        self.ledger.attempt(now, group);
        let timeout = self.scenario.clients[group].timeout.nanos();
        self.schedule.push(now + timeout, Event::Timeout { call: id, attempt });
        let connection = self.idle(group, host).unwrap_or_else(|| self.open(id, group, host));
        if let Some(call) = self.calls.get_mut(id) {
            call.connection = Some(connection);
        }
        let Some(open) = self.connections.get_mut(connection) else { return };
        open.call = Some((id, attempt));
        open.used = now;
        if open.ready {
            self.request(connection);
        } else {
            self.schedule.push(now + CONNECT_TIMEOUT, Event::ConnectTimeout { connection });
        }
    }

    /// The client's end of a TCP connection is established.
    pub(super) fn connected(&mut self, id: Id<Connection>) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.used = self.now;
        let hello = &self.groups[connection.group].hello;
        connection.end(Side::Client).stream.give(hello, Message::Hello);
        self.flush(id, Side::Client);
    }

    /// Something has arrived at a client.
    pub(super) fn at_client(&mut self, id: Id<Connection>, message: Message) {
        match message {
            Message::ServerFlight => {
                let Some(connection) = self.connections.get_mut(id) else { return };
                connection.ready = true;
                connection.end(Side::Client).stream.give(&self.finished, Message::Finished);
                if connection.call.is_some() {
                    self.request(id);
                } else {
                    self.flush(id, Side::Client);
                }
            }
            Message::Head => {
                let call = self.connections.get(id).and_then(|connection| connection.call);
                if let Some(call) = call.and_then(|(call, _)| self.calls.get_mut(call)) {
                    call.first_byte = Some(self.now);
                }
            }
            Message::End => {
                if let Some(call) = self.answered(id) {
                    self.ledger.ended(self.now, id, Ended::Complete);
                    self.succeed(call);
                }
            }
            Message::Error { status, retry_after } => {
                if let Some(call) = self.answered(id) {
                    let throttled = status == 429;
                    let ended = if throttled { Ended::Throttled } else { Ended::Failed };
                    self.ledger.ended(self.now, id, ended);
                    self.fail(call, Failure::Error { status, retry_after });
                }
            }
            Message::None | Message::Hello | Message::Finished | Message::Request(..) => {}
        }
    }

    /// The server has closed or reset.
    pub(super) fn server_left(&mut self, id: Id<Connection>, _reset: bool) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let call = connection.call.take();
        self.close(id, Side::Client);
        let Some((call, _)) = call else { return };
        let begun = self.calls.get(call).is_some_and(|call| call.first_byte.is_some());
        let (ended, failure) = if begun {
            (Ended::ServerAbort, Failure::Cut)
        } else {
            (Ended::NoReply, Failure::Refused)
        };
        self.ledger.ended(self.now, id, ended);
        self.fail(call, failure);
    }

    /// A client has waited for long enough.
    pub(super) fn timeout(&mut self, id: Id<Call>, attempt: u32) {
        if self.leave(id, attempt) {
            self.fail(id, Failure::Timeout);
        }
    }

    /// A connection has not been established in time.
    pub(super) fn connect_timeout(&mut self, id: Id<Connection>) {
        let Some(connection) = self.connections.get(id).filter(|c| !c.ready) else { return };
        if let Some((call, attempt)) = connection.call {
            self.timeout(call, attempt);
        }
    }

    /// A client loses interest in a call.
    pub(super) fn lose_interest(&mut self, id: Id<Call>, attempt: u32) {
        if self.leave(id, attempt)
            && let Some(call) = self.calls.remove(id)
        {
            self.ledger.left(call.group);
            self.child_done(call.task, true);
        }
    }

    /// Closes the connection of an attempt that still runs. False when it does not.
    fn leave(&mut self, id: Id<Call>, attempt: u32) -> bool {
        let Some(call) = self.calls.get_mut(id) else { return false };
        if call.attempt != attempt || call.phase == Phase::Waiting {
            return false;
        }
        let Some(connection) = call.connection.take() else { return true };
        let goodbye = self.scenario.clients[call.group].profile.says_goodbye();
        self.ledger.ended(self.now, connection, Ended::ClientAbort);
        if let Some(open) = self.connections.get_mut(connection) {
            open.call = None;
            if goodbye && open.ready {
                self.write(connection, Side::Client, CLOSE_NOTIFY, Message::None);
            }
        }
        self.close(connection, Side::Client);
        true
    }

    /// The answer to a connection's attempt is there; the connection is free for another.
    fn answered(&mut self, id: Id<Connection>) -> Option<Id<Call>> {
        let connection = self.connections.get_mut(id)?;
        let (call, _) = connection.call.take()?;
        connection.used = self.now;
        let (group, host) = (connection.group, connection.host);
        self.groups[group].hosts[host as usize].idle.push(id);
        Some(call)
    }

    fn succeed(&mut self, id: Id<Call>) {
        let Some(call) = self.calls.remove(id) else { return };
        self.ledger.succeeded(self.now, &call);
        self.child_done(call.task, true);
    }

    /// An attempt was in vain.
    fn fail(&mut self, id: Id<Call>, failure: Failure) {
        let Some(call) = self.calls.get_mut(id) else { return };
        call.phase = Phase::Waiting;
        call.connection = None;
        call.first_byte = None;
        let thing = call.number.wrapping_mul(64) + u64::from(call.attempt);
        let mut chance = Chance::new(self.seed, Purpose::BackOff, thing);
        let group = &self.scenario.clients[call.group];
        match profile::next(group, &mut call.counts, failure, &mut chance) {
            Next::After(wait) => self.schedule.push(self.now + wait, Event::Attempt { call: id }),
            Next::GiveUp => {
                let (group, task) = (call.group, call.task);
                self.calls.remove(id);
                self.ledger.failed(self.now, group);
                self.child_done(task, false);
            }
        }
    }

    /// A call of a task is over; the last one of a step ends the step.
    fn child_done(&mut self, id: Id<Task>, well: bool) {
        let Some(task) = self.tasks.get_mut(id) else { return };
        task.pending -= 1;
        task.failed |= !well;
        if task.pending > 0 {
            return;
        }
        let group = task.group;
        let spec = &self.scenario.clients[group];
        if task.failed && task.restarts > 0 {
            task.restarts -= 1;
            task.step = 0;
            task.failed = false;
            self.ledger.restarted(group);
        } else if task.failed || task.step + 1 >= spec.steps {
            let host = task.host;
            self.tasks.remove(id);
            if let Load::Think(rest) = spec.load {
                let state = &mut self.groups[group];
                let rest = state.chance.exponential(rest.nanos().secs_f64() / state.factor);
                self.schedule.push(self.now + seconds(rest), Event::Think { group, host });
            }
            return;
        } else {
            task.step += 1;
        }
        self.schedule.push(self.now + STEP_PAUSE, Event::Step { task: id });
    }

    /// A connection of the host's pool that can be used.
    fn idle(&mut self, group: usize, host: u32) -> Option<Id<Connection>> {
        loop {
            let id = self.groups[group].hosts[host as usize].idle.pop()?;
            let Some(connection) = self.connections.get(id) else { continue };
            if !connection.is_usable() {
                continue;
            }
            if self.now.since(connection.used) < CLIENT_IDLE {
                return Some(id);
            }
            self.close(id, Side::Client);
        }
    }

    fn open(&mut self, call: Id<Call>, group: usize, host: u32) -> Id<Connection> {
        let (number, attempt) = self.calls.get(call).map_or((0, 0), |c| (c.number, c.attempt));
        let thing = number.wrapping_mul(64) + u64::from(attempt);
        let mut chance = Chance::new(self.seed, Purpose::Replica, thing);
        let pool = self.groups[group].pool;
        let replicas = u64::from(self.scenario.pools[pool].replicas);
        let replica = self.first_replica[pool]
            + usize::try_from(chance.between(0, replicas - 1)).unwrap_or(0);
        let server = Socket { address: self.replicas[replica].address, port: 443 };
        let state = &mut self.groups[group];
        let address = Ipv4Addr::from(state.first_address + host);
        let opened = &mut state.hosts[host as usize].opened;
        let mut client = Socket { address, port: 0 };
        loop {
            client.port = PORTS.0 + *opened % PORTS.1;
            *opened = opened.wrapping_add(1);
            if !self.by_socket.contains_key(&client) {
                break;
            }
        }
        let isn = u32::try_from(chance.between(0, u32::MAX.into())).unwrap_or(0);
        let connection = Connection::new(group, host, client, server, isn);
        let id = self.connections.insert(connection);
        self.by_socket.insert(client, id);
        self.ledger.opened += 1;
        self.flush(id, Side::Client);
        id
    }

    /// Sends the request of the call that a connection is for.
    fn request(&mut self, id: Id<Connection>) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(id) else { return };
        let Some((call_id, attempt)) = connection.call else { return };
        let client = connection.end(Side::Client).local;
        let Some(call) = self.calls.get_mut(call_id) else { return };
        call.phase = Phase::Sent;
        call.since = now;
        let bytes = call.bytes;
        let retry = std::mem::replace(&mut call.sent, true);
        self.ledger.sent(now, id, client, retry);
        let message = Message::Request(call_id, attempt);
        if self.scenario.clients[call.group].profile.splits_requests() {
            self.write(id, Side::Client, REQUEST_HEAD, Message::None);
        }
        self.write(id, Side::Client, bytes, message);
        self.flush(id, Side::Client);
    }
}
