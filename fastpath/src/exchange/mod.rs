//! Request and response on a flow, from directions, record headers and time.
//!
//! HTTP/1.1 in TLS is followed exchange by exchange ([`h1`]), HTTP/2 stream by stream as far as the
//! wire allows ([`mux`]). What comes out are edges; what an exchange *means* is the detectors'
//! business.

pub mod cadence;
pub mod h1;
mod handshake;
pub mod mux;
mod opaque;
mod quic;
pub mod settle;
mod tickets;

use std::hash::RandomState;

use crate::burst::{
    BURST_RECORDS, ContentType, Datagram, Direction, FlowId, Headers, Packets, Protocol, Record,
};
use crate::flow::entry::FlowEntry;
use crate::flow::table::FlowTable;
use crate::flow::tcp::Progress;
use crate::policy::snapshot::{EndpointId, Snapshot};
use crate::telemetry::event::{ExchangeId, Visibility};
use crate::time::Nanos;
use h1::{Connection, Ending, Facts, Step};
use mux::Muxes;
use settle::{SETTLE, SettleQueue};
use tickets::TicketLengths;

/// Something that begins or ends.
#[derive(Clone, Copy, Debug)]
pub enum Edge {
    /// A request has begun.
    Opened {
        /// Its exchange.
        id: ExchangeId,
        /// On which flow.
        flow: FlowId,
        /// To which endpoint.
        endpoint: Option<EndpointId>,
        /// When.
        at: Nanos,
        /// When its client decided to send it: the first frame of its connection, if it was opened
        /// for this request.
        meant: Nanos,
        /// When the exchange before it on this connection was last heard of, if there was one.
        previous: Option<Nanos>,
        /// Index in the burst of the frame its request begins in.
        packet: u16,
    },
    /// The first byte of a response has come. Told again when what came first was no response.
    FirstByte {
        /// Its exchange.
        id: ExchangeId,
        /// On which flow.
        flow: FlowId,
        /// From which endpoint.
        endpoint: Option<EndpointId>,
        /// When.
        at: Nanos,
    },
    /// An exchange is over.
    Ended(Facts),
    /// It was no exchange after all: the connection is HTTP/2.
    Withdrawn(ExchangeId, Option<EndpointId>, FlowId),
}

/// The exchanges of an lcore's flows.
#[derive(Debug)]
pub struct Exchanges {
    connections: Vec<Connection>,
    paths: Vec<quic::Path>,
    settling: SettleQueue,
    edges: Vec<Edge>,
    /// Those of HTTP/2.
    pub mux: Muxes,
    next: u64,
    tickets: TicketLengths,
    hasher: RandomState,
    /// Flows by what they have turned out to be.
    pub seen: FlowsSeen,
}

/// How many flows have turned out to be what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowsSeen {
    /// HTTP/1.1 in TLS.
    pub h1: u64,
    /// HTTP/2 in TLS.
    pub mux: u64,
    /// QUIC.
    pub quic: u64,
    /// HTTP/2 and HTTP/1.1 offered, and nothing has shown yet which was chosen.
    pub both: u64,
}

/// Exchanges that are ended by silence in one burst at most; the rest waits for the next.
const SETTLED_PER_BURST: usize = 1024;
/// Edges that `follow` makes room for at start. A record can end an exchange and open the next,
/// or begin a response.
const EDGES: usize = 3 * BURST_RECORDS;

impl Exchanges {
    /// For a flow table with this many slots, and so many servers.
    #[must_use]
    pub fn for_slots(slots: usize, servers: usize, first: ExchangeId) -> Self {
        Self {
            connections: vec![Connection::default(); slots],
            paths: vec![quic::Path::default(); slots],
            settling: SettleQueue::default(),
            edges: Vec::with_capacity(EDGES),
            mux: Muxes::for_slots(slots, servers, EDGES),
            next: first.0,
            tickets: TicketLengths::default(),
            hasher: RandomState::new(),
            seen: FlowsSeen::default(),
        }
    }

    /// What began and ended in this burst, in order.
    #[must_use]
    pub fn edges(&self) -> &[Edge] {
        &self.edges
    }

    /// The exchange `id` as it stands, if it is the one running on `flow`.
    #[must_use]
    pub fn facts(&self, flow: FlowId, id: ExchangeId) -> Option<Facts> {
        let facts = self.connections.get(flow.0 as usize)?.facts(Ending::Running)?;
        (facts.seen.id == id).then_some(facts)
    }

    /// How many exchanges a flow has carried.
    #[must_use]
    pub fn count(&self, flow: FlowId) -> u32 {
        self.connections.get(flow.0 as usize).map_or(0, |connection| connection.exchanges)
    }

    /// When the first side of a flow closed it.
    #[must_use]
    pub fn closed_at(&self, flow: FlowId) -> Option<Nanos> {
        self.connections.get(flow.0 as usize)?.closed_at()
    }

    fn connection(&mut self, flow: FlowId) -> &mut Connection {
        &mut self.connections[flow.0 as usize]
    }

    /// Counts a flow as what it has turned out to be, and no longer as what it seemed before.
    fn count_as(&mut self, flow: FlowId, visibility: Visibility) {
        let before = std::mem::replace(&mut self.connection(flow).counted, visibility);
        if before == visibility {
            return;
        }
        if let Some(count) = self.seen.of(before) {
            *count -= 1;
        }
        if let Some(count) = self.seen.of(visibility) {
            *count += 1;
        }
    }

    fn end(&mut self, flow: FlowId, ending: Ending) {
        let facts = self.connection(flow).end(ending);
        self.edges.extend(facts.map(Edge::Ended));
    }

    /// Tells that a response has begun, if the record of its flow that has just come began it.
    fn tell_first_byte(&mut self, flow: FlowId, at: Nanos) {
        let current = self.connections[flow.0 as usize].current;
        if let Some(current) = current.filter(|c| c.down_records == 1 && c.first_byte == Some(at)) {
            let (id, endpoint) = (current.id, current.endpoint);
            self.edges.push(Edge::FirstByte { id, flow, endpoint, at });
        }
    }

    /// The server's close ends an exchange at once. A client's close ends it when the server has
    /// closed too, or after a while: what the server still sends tells an abort from a goodbye.
    fn after_close(&mut self, flow: FlowId, entry: &FlowEntry, at: Nanos) {
        let connection = self.connection(flow);
        if let Some(ending) = connection.closing() {
            let closed = (ending, connection.both_closed());
            let since = connection.closed_at().unwrap_or(at);
            self.mux.closed(flow, entry, closed, since, &mut self.next);
        }
        let connection = self.connection(flow);
        match connection.closing() {
            None => {}
            Some(Ending::ClientClosed) if !connection.both_closed() => self.let_settle(flow, at),
            Some(ending) => self.end(flow, ending),
        }
    }

    fn let_settle(&mut self, flow: FlowId, at: Nanos) {
        if let Some(current) = &mut self.connections[flow.0 as usize].current
            && !current.queued
        {
            current.queued = self.settling.push(at, flow, current.id);
        }
    }

    /// Ends the exchanges that have been silent for long enough.
    fn settle(&mut self, now: Nanos) {
        for _ in 0..SETTLED_PER_BURST {
            let Some((flow, id)) = self.settling.due(now) else { break };
            let datagrams = self.connection(flow).counted == Visibility::Quic;
            let connection = self.connection(flow);
            let closing = connection.closing();
            let Some(current) = connection.current.as_mut().filter(|current| current.id == id)
            else {
                continue;
            };
            current.queued = false;
            let silent = now.since(current.last_down) >= SETTLE;
            let terminated =
                connection.facts(Ending::Running).is_some_and(|facts| facts.last_is_terminator());
            match closing {
                Some(ending) => self.end(flow, ending),
                None if datagrams && quic::is_over(self.connection(flow), now) => {
                    self.end(flow, Ending::Gone);
                }
                None if datagrams => self.let_settle(flow, now),
                None if terminated && silent => self.end(flow, Ending::Terminated),
                None if terminated => self.let_settle(flow, now),
                None => {}
            }
        }
    }

    /// A flow taken for HTTP/1.1 is HTTP/2: what it had been seen to send belongs to its preface and
    /// first request.
    fn turn_to_mux(&mut self, flow: FlowId, entry: &FlowEntry) {
        let connection = self.connection(flow);
        connection.multiplexed = true;
        let (midway, current) = (connection.is_midway(), connection.current.take());
        let adopted = current.map(|c| (c.start, c.up_bytes, c.down_records > 0));
        self.edges.extend(current.map(|c| Edge::Withdrawn(c.id, c.endpoint, flow)));
        self.mux.begin(flow, entry, midway, adopted.filter(|_| !midway));
    }

    fn multiplexed(&mut self, record: &Record, length: u16, entry: &FlowEntry) {
        let closing = self.connection(record.flow).closing();
        let record_seen = (record.direction, length, record.at);
        self.mux.record(record.flow, entry, record_seen, closing, &mut self.next);
    }

    /// The same for multiplexed connections.
    fn settle_mux(&mut self, flows: &FlowTable, now: Nanos) {
        for _ in 0..SETTLED_PER_BURST {
            let Some(flow) = self.mux.due(now) else { break };
            let connection = self.connection(flow);
            let closing = connection.closing().zip(connection.closed_at());
            self.mux.settle(flow, flows.entry(flow), closing, now, &mut self.next);
        }
    }
}

impl FlowsSeen {
    fn of(&mut self, visibility: Visibility) -> Option<&mut u64> {
        match visibility {
            Visibility::H1 => Some(&mut self.h1),
            Visibility::Mux => Some(&mut self.mux),
            Visibility::Quic => Some(&mut self.quic),
            Visibility::Both => Some(&mut self.both),
            Visibility::Opaque => None,
        }
    }
}

/// Lets what a policy says of an endpoint be known of its servers before they answer.
pub fn meet(packets: &Packets, flows: &FlowTable, policy: &Snapshot, exchanges: &mut Exchanges) {
    for hello in &packets.client_hellos {
        let entry = flows.entry(hello.flow);
        let endpoint = entry.class.endpoint().map(|id| policy.endpoint(id));
        if let Some(learnt) = endpoint.and_then(|endpoint| endpoint.learnt.as_ref()) {
            exchanges.mux.meet(entry.peers().server, &learnt.http2, packets.now);
        }
    }
}

/// Follows the exchanges of every flow in the burst, then of those that fell silent or have ended.
pub fn follow(packets: &Packets, flows: &mut FlowTable, exchanges: &mut Exchanges) {
    exchanges.edges.clear();
    exchanges.mux.clear();
    for &flow in flows.fresh() {
        *exchanges.connection(flow) = Connection::default();
        exchanges.paths[flow.0 as usize] = quic::Path::default();
    }
    let clients = packets.client_hellos.iter().map(|hello| hello.flow);
    for flow in clients.chain(packets.server_hellos.iter().map(|hello| hello.flow)) {
        let visibility = flows.entry(flow).class.visibility;
        // What HTTP/1.1 has to show before it counts is an exchange.
        let h1 = visibility == Visibility::H1;
        exchanges.count_as(flow, if h1 { Visibility::Opaque } else { visibility });
    }
    let mut records = packets.records.iter().peekable();
    for i in 0..packets.len() {
        // What a request acknowledges belongs to the response before it.
        notice_miss(packets, i, flows, exchanges);
        while let Some(record) = records.next_if(|record| usize::from(record.packet) == i) {
            follow_record(record, flows, exchanges);
        }
        if let (Some(headers), Some((flow, direction))) = (&packets.headers[i], packets.flow[i]) {
            let at = packets.at[i];
            let fresh_bytes = packets.fresh_bytes[i];
            if fresh_bytes > 0 {
                exchanges.connection(flow).heard(at);
                let entry = flows.entry(flow);
                if entry.class.visibility == Visibility::Mux
                    && entry.halves[direction.index()].stream.is_searching()
                {
                    exchanges.mux.lost(flow);
                }
                if opaque::is_ours(entry) {
                    let packet = u16::try_from(i).unwrap_or(u16::MAX);
                    let record = opaque::segment(packet, at, (flow, direction), fresh_bytes);
                    follow_segment(&record, flows, exchanges);
                }
            }
            let progress = &flows.entry(flow).halves[direction.index()].tcp;
            if closes(headers, progress) {
                exchanges.connection(flow).closed(direction, headers.tcp.flags.rst(), at);
                if progress.fin_ahead() && !headers.tcp.flags.rst() {
                    // What is still missing may be the end of the response.
                    exchanges.let_settle(flow, at);
                } else {
                    exchanges.after_close(flow, flows.entry(flow), at);
                }
            }
            if headers.protocol == Protocol::Udp {
                let packet = u16::try_from(i).unwrap_or(u16::MAX);
                let record = quic::datagram(packet, at, (flow, direction), headers);
                follow_datagram(headers, &record, flows, exchanges);
            }
        }
    }
    exchanges.settle(packets.now);
    exchanges.settle_mux(flows, packets.now);
    flows.take_ended(|flow, entry| {
        exchanges.end(flow, Ending::Gone);
        let connection = exchanges.connection(flow);
        let closing = connection.closing().zip(connection.closed_at());
        let closing = closing.unwrap_or((Ending::Gone, packets.now));
        exchanges.mux.end(flow, entry, closing, &mut exchanges.next);
    });
}

/// Any UDP that is followed and is not DTLS is QUIC, also where its hello was not seen.
fn follow_datagram(
    headers: &Headers,
    record: &Record,
    flows: &mut FlowTable,
    exchanges: &mut Exchanges,
) {
    let flow = record.flow;
    let class = &mut flows.entry_mut(flow).class;
    if !class.hello && class.visibility == Visibility::Opaque && headers.datagram != Datagram::Dtls
    {
        class.visibility = Visibility::Quic;
        exchanges.count_as(flow, Visibility::Quic);
    }
    let entry = flows.entry(flow);
    if headers.is_part() || entry.class.visibility != Visibility::Quic || !quic::is_ours(entry) {
        return;
    }
    let Exchanges { connections, paths, hasher, .. } = exchanges;
    let (connection, path) = (&mut connections[flow.0 as usize], &mut paths[flow.0 as usize]);
    let meaning = path.follow(connection, record, headers.datagram, hasher);
    let endpoint = entry.class.endpoint();
    let step = match meaning {
        quic::Meaning::Step(step) => step,
        quic::Meaning::Instead => {
            let probe = exchanges.connection(flow).current.take();
            exchanges.edges.extend(probe.map(|c| Edge::Withdrawn(c.id, c.endpoint, flow)));
            Step::Request
        }
    };
    act_on(step, record, endpoint, flows, exchanges);
    if step == Step::Request {
        exchanges.let_settle(flow, record.at);
    }
}

/// Looks whether the client acknowledges bytes of a response that never passed here.
fn notice_miss(packets: &Packets, i: usize, flows: &FlowTable, exchanges: &mut Exchanges) {
    let (Some(headers), Some((flow, Direction::ToServer))) = (&packets.headers[i], packets.flow[i])
    else {
        return;
    };
    let ack = headers.tcp.ack;
    let server = &flows.entry(flow).halves[Direction::ToClient.index()].tcp;
    if headers.tcp.flags.ack()
        && let Some((missed_bytes, ahead)) = server.missed(ack)
    {
        exchanges.connection(flow).missed_response(missed_bytes, ahead, packets.at[i]);
    }
}

/// A FIN, or an RST that `flow` took for genuine.
fn closes(headers: &Headers, progress: &Progress) -> bool {
    headers.tcp.flags.fin() || (headers.tcp.flags.rst() && progress.rst)
}

fn follow_record(record: &Record, flows: &mut FlowTable, exchanges: &mut Exchanges) {
    let flow = record.flow;
    let entry = flows.entry_mut(flow);
    let Exchanges { connections, tickets, hasher, .. } = exchanges;
    let connection = &mut connections[flow.0 as usize];
    connection.meet(&entry.class, entry.rtt());
    tickets.meet(connection, record, &entry.peers());
    let endpoint = entry.class.endpoint();
    let step = match record.content {
        ContentType::ApplicationData if connection.multiplexed => {
            match connection.plaintext(record) {
                Ok(length) => {
                    exchanges.multiplexed(record, length, entry);
                    Step::Nothing
                }
                Err(step) => step,
            }
        }
        ContentType::ApplicationData => connection.application_record(record, hasher),
        ContentType::Alert => {
            connection.alert(record.direction, record.at);
            Step::Close
        }
        ContentType::ChangeCipherSpec | ContentType::Handshake => Step::Nothing,
    };
    act_on(step, record, endpoint, flows, exchanges);
}

/// The same for new payload of a flow that is not TLS.
fn follow_segment(record: &Record, flows: &mut FlowTable, exchanges: &mut Exchanges) {
    let Exchanges { connections, hasher, .. } = exchanges;
    let connection = &mut connections[record.flow.0 as usize];
    let entry = flows.entry(record.flow);
    let step = opaque::follow(connection, record, entry.rtt(), hasher);
    let endpoint = entry.class.endpoint();
    act_on(step, record, endpoint, flows, exchanges);
}

fn act_on(
    step: Step,
    record: &Record,
    endpoint: Option<EndpointId>,
    flows: &mut FlowTable,
    exchanges: &mut Exchanges,
) {
    let flow = record.flow;
    let entry = flows.entry_mut(flow);
    if record.direction == Direction::ToClient {
        exchanges.tell_first_byte(flow, record.at);
    }
    match step {
        Step::Nothing => {}
        Step::Close => exchanges.after_close(flow, entry, record.at),
        Step::Terminator => exchanges.let_settle(flow, record.at),
        Step::Request => {
            exchanges.end(flow, Ending::Reuse);
            let id = ExchangeId(exchanges.next);
            exchanges.next += 1;
            if entry.class.visibility == Visibility::Both {
                entry.class.visibility = Visibility::H1;
            }
            // What is not TLS has exchanges too, and stays opaque.
            exchanges.count_as(flow, entry.class.visibility);
            let (at, opened) = (record.at, entry.opened);
            let meant = exchanges.connection(flow).meant(opened, at);
            let previous = exchanges.connection(flow).open(id, endpoint, record);
            let packet = record.packet;
            exchanges.edges.push(Edge::Opened { id, flow, endpoint, at, meant, previous, packet });
        }
        Step::Multiplexed(length) => {
            entry.class.visibility = Visibility::Mux;
            exchanges.count_as(flow, Visibility::Mux);
            exchanges.turn_to_mux(flow, entry);
            exchanges.multiplexed(record, length, entry);
        }
    }
}
