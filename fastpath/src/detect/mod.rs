//! What behaviour means: outcome, retries and waste of exchanges.
//!
//! One detector a file, each a pure function of what was seen and of limits. They run when an
//! exchange begins or ends and when a start is due to be decided, never per packet.

pub mod abort;
pub mod calls;
pub mod cascade;
pub mod clusters;
pub mod continuity;
pub mod doomed;
pub mod episode;
pub mod failure;
pub mod fanout;
pub mod gap;
pub mod group;
pub mod hedge;
pub mod margin;
pub mod memory;
mod mux;
pub mod orphan;
pub mod outage;
pub mod outcome;
pub mod partial;
pub mod patterns;
pub mod quic;
pub mod recurring;
pub mod repeat;
pub mod reply;
pub mod restart;
pub mod retry;
pub mod stall;
pub mod thrash;
pub mod tokens;
pub mod window;

use std::collections::VecDeque;

use crate::burst::{FlowId, Packets};
use crate::exchange::h1::Facts;
use crate::exchange::{Edge, Exchanges};
use crate::flow::table::FlowTable;
use crate::keyed::{Keys, Seed};
use crate::policy::endpoint::Class;
use crate::policy::learnt::Learnt;
use crate::policy::snapshot::{EndpointId, Snapshot};
use crate::telemetry::event::{
    Decision, Event, EventSender, Exchange, ExchangeId, Outcome, Peers, Reason, Signal, SignalKind,
    Verdict, Visibility, Waste, Work, length_bucket,
};
use crate::telemetry::grounds::Grounds;
use crate::time::Nanos;
use group::{Carried, Place};
use outcome::{confidence, grounds, judge, outcome};
use patterns::Patterns;
use reply::{Replies, ReplyMemory};
use retry::{Caller, DECIDE_AFTER, Link, RetryMemory};

/// What an lcore remembers of its clients.
#[derive(Debug)]
pub struct Clients {
    keys: Keys,
    /// Ticks for which there may be hashes under a key that is gone.
    stale: usize,
    retries: RetryMemory,
    replies: ReplyMemory,
    patterns: Patterns,
    /// Attempts that have started and are not decided yet, in order of start: all wait equally
    /// long.
    undecided: VecDeque<Undecided>,
    /// Attempts that were decided in this burst.
    decided: Vec<Decided>,
    /// What was decided of the exchange that runs on each flow: however long it runs, and whoever
    /// pushed it out of the retry memory meanwhile.
    running: Vec<Option<Running>>,
    /// Exchanges of which everything is known.
    finished: Vec<Exchange>,
    last_ended: Option<(FlowId, Outcome)>,
    /// Exchanges that were judged in this burst.
    judged: Vec<Judged>,
    /// What was done with the exchange that runs on each flow, before anybody knew what it is.
    gated: Vec<Option<(ExchangeId, Decision)>>,
    /// The same for HTTP/2.
    streams: mux::Streams,
}

/// An attempt that was decided in this burst.
#[derive(Clone, Copy, Debug)]
pub struct Decided {
    /// Its exchange.
    pub id: ExchangeId,
    /// When it was decided.
    pub at: Nanos,
    /// Its endpoint.
    pub endpoint: Option<EndpointId>,
    /// What it is.
    pub link: Link,
    /// Between whom.
    pub peers: Peers,
    /// First byte of its request.
    pub start: Nanos,
    /// When it was meant to start: the first frame of its connection, if it is the first there.
    pub meant: Nanos,
    /// Its connection had just completed another exchange.
    pub continues: bool,
    /// Hash of the client's cipher list.
    pub application: u64,
    /// What it asks of whom, as far as its request has been seen.
    pub work: Option<Work>,
    flow: FlowId,
    /// Where the retry memory has it; nowhere over HTTP/2.
    place: Option<Place>,
}

/// An exchange that was judged in this burst.
#[derive(Clone, Copy, Debug)]
pub struct Judged {
    /// Its number.
    pub id: ExchangeId,
    /// On which flow.
    pub flow: FlowId,
    /// Between whom.
    pub peers: Peers,
    /// Its endpoint.
    pub endpoint: Option<EndpointId>,
    /// How it ended.
    pub outcome: Outcome,
    /// First byte of its request.
    pub start: Nanos,
    /// Last byte of either side.
    pub end: Nanos,
}

#[derive(Clone, Copy, Debug)]
struct Running {
    id: ExchangeId,
    link: Link,
    verdict: Decision,
}

#[derive(Debug)]
struct Undecided {
    id: ExchangeId,
    flow: FlowId,
    peers: Peers,
    at: Nanos,
    meant: Nanos,
    continues: bool,
    application: u64,
    endpoint: Option<EndpointId>,
    place: Place,
    withdrawn: bool,
    /// The exchange, if it has ended meanwhile.
    ended: Option<Exchange>,
}

/// Of what no rule has looked at.
const NO_VERDICT: Decision = Decision::of(Verdict::Pass, Reason::NoRule);
/// Attempts that may wait to be decided; beyond it the oldest is decided early.
const UNDECIDED_MAX: usize = 8192;
/// Ends of one burst that are told to whoever decides; beyond it their outcome is not.
const JUDGED_MAX: usize = 1024;
/// Starts that are decided in one burst at most; the rest waits for the next.
const DECISIONS_PER_BURST: usize = 16;
/// An exchange that begins this soon after the one before on its connection continues its worker's
/// work.
const CONTINUES_WITHIN: Nanos = Nanos::from_millis(60);

impl Clients {
    /// For a flow table with this many slots; lengths are hashed under keys of this seed.
    #[must_use]
    pub fn for_slots(slots: usize, seed: Seed) -> Self {
        Self {
            keys: Keys::new(seed),
            stale: 0,
            retries: RetryMemory::default(),
            replies: ReplyMemory::default(),
            patterns: Patterns::default(),
            undecided: VecDeque::with_capacity(UNDECIDED_MAX),
            decided: Vec::with_capacity(8 * DECISIONS_PER_BURST),
            running: vec![None; slots],
            finished: Vec::with_capacity(1024),
            last_ended: None,
            judged: Vec::with_capacity(JUDGED_MAX),
            gated: vec![None; slots],
            streams: mux::Streams::default(),
        }
    }

    /// The attempts that were decided in this burst.
    #[must_use]
    pub fn decided(&self) -> &[Decided] {
        &self.decided
    }

    /// Notes what is done with a decided attempt, also if it has ended already.
    pub fn note_verdict(&mut self, decided: &Decided, verdict: Decision) {
        let Some(place) = decided.place else {
            self.streams.note_verdict(decided.id, verdict);
            self.note_finished(decided.id, verdict);
            return;
        };
        self.retries.note_verdict(place, decided.id, verdict);
        let running = &mut self.running[decided.flow.0 as usize];
        if let Some(running) = running.as_mut().filter(|running| running.id == decided.id) {
            running.verdict = verdict;
        }
        self.note_finished(decided.id, verdict);
    }

    /// Exchanges that were judged in this burst.
    #[must_use]
    pub fn judged(&self) -> &[Judged] {
        &self.judged
    }

    /// Notes what is done with an exchange of a flow, whatever it is decided to be. The last word
    /// counts.
    pub fn note_gate(&mut self, flow: FlowId, id: ExchangeId, decision: Decision) {
        let ended = self.waiting_mut(id).and_then(|waiting| waiting.ended.as_mut());
        if let Some(exchange) = ended {
            exchange.note(&decision);
            return;
        }
        if let Some(exchange) = self.finished.iter_mut().find(|exchange| exchange.id == id) {
            exchange.note(&decision);
            return;
        }
        self.gated[flow.0 as usize] = Some((id, decision));
    }

    /// How likely a request that comes on a flow is another attempt at what has failed, before any of
    /// it has been seen: by the failed attempts of its client, server and application that nobody has
    /// paid for, and the time since. From 0 to 1.
    #[must_use]
    pub fn provisional(&self, flows: &FlowTable, flow: FlowId, window: Nanos, now: Nanos) -> f64 {
        self.retries.provisional(&caller(flows, flow), window, now)
    }

    /// Takes down that an exchange was judged, and what had been done with it.
    fn judge(&mut self, exchange: &mut Exchange, flow: FlowId) {
        let &mut Exchange { id, peers, endpoint, outcome, start, end, .. } = exchange;
        if self.judged.len() < JUDGED_MAX {
            self.judged.push(Judged { id, flow, peers, endpoint, outcome, start, end });
        }
        let gated = &mut self.gated[flow.0 as usize];
        if let Some((_, decision)) = gated.take_if(|(gated, _)| *gated == id) {
            exchange.note(&decision);
        }
    }

    fn note_finished(&mut self, id: ExchangeId, verdict: Decision) {
        if let Some(exchange) = self.finished.iter_mut().find(|exchange| exchange.id == id) {
            exchange.note_late(&verdict);
        }
    }

    /// Takes the exchanges of which everything is known.
    pub fn take_finished(&mut self) -> impl Iterator<Item = Exchange> + '_ {
        self.finished.drain(..)
    }

    /// Groups, attempts and patterns that were forgotten before their time.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        let Self { retries, replies, streams, patterns, .. } = self;
        retries.evicted() + replies.evicted + streams.evicted() + patterns.evicted()
    }

    /// Forgets a little of what is too old, and ends episodes that are over. Called once a tick.
    pub fn sweep(&mut self, now: Nanos, events: &mut EventSender) {
        let Self { keys, stale, retries, replies, streams, patterns, .. } = self;
        if keys.tick(now) {
            *stale = group::GROUPS.max(reply::SERVERS).max(mux::GROUPS);
        }
        retries.sweep(now, keys, *stale > 0);
        if *stale > 0 {
            replies.sweep(keys);
            streams.sweep(keys);
            *stale -= 1;
        }
        patterns.tick(keys, now, events);
    }

    /// The observation is over: ends every episode.
    pub fn close(&mut self, now: Nanos, events: &mut EventSender) {
        self.patterns.close(now, events);
    }

    /// What is learnt of endpoints, and of which.
    #[must_use]
    pub fn learnt(&self, exchanges: &Exchanges) -> Vec<(EndpointId, Learnt)> {
        let mut endpoints: Vec<(EndpointId, Learnt)> = Vec::new();
        for (server, id, http1) in self.replies.export() {
            let mut learnt = Learnt { http1, http2: self.streams.export(server) };
            exchanges.mux.export(server, &mut learnt.http2);
            match endpoints.iter_mut().find(|(known, _)| *known == id) {
                Some((_, known)) => known.merge(&learnt),
                None => endpoints.push((id, learnt)),
            }
        }
        endpoints.retain(|(_, learnt)| !learnt.is_empty());
        endpoints.sort_by_key(|&(id, _)| id);
        endpoints
    }

    /// Whether an attempt is still to be decided.
    #[must_use]
    pub fn has_undecided(&self) -> bool {
        !self.undecided.is_empty() || self.streams.has_undecided()
    }

    fn waiting_mut(&mut self, id: ExchangeId) -> Option<&mut Undecided> {
        // Exchange numbers count up, and starts go into the queue in their order.
        let index = self.undecided.binary_search_by_key(&id, |waiting| waiting.id).ok()?;
        self.undecided.get_mut(index)
    }
}

/// Looks at what began and ended in this burst, and decides the starts whose time has come.
pub fn observe(
    packets: &Packets,
    flows: &FlowTable,
    exchanges: &Exchanges,
    clients: &mut Clients,
    policy: &Snapshot,
    events: &mut EventSender,
) {
    clients.decided.clear();
    clients.judged.clear();
    for edge in exchanges.edges() {
        match edge {
            Edge::Opened { id, flow, endpoint, at, meant, previous, .. } => {
                let continues = clients.last_ended == Some((*flow, Outcome::Complete))
                    && previous.is_some_and(|end| at.since(end) < CONTINUES_WITHIN);
                let caller = caller(flows, *flow);
                let carried = Carried { previous: *previous, continues };
                let place = clients.retries.started(*id, *flow, (*meant, *at), &caller, carried);
                let (id, flow, at, meant, endpoint) = (*id, *flow, *at, *meant, *endpoint);
                let (entry, application) = (flows.entry(flow), caller.application);
                let (peers, withdrawn, ended) = (entry.peers(), false, None);
                let waiting = Undecided {
                    id,
                    flow,
                    peers,
                    at,
                    meant,
                    continues,
                    application,
                    endpoint,
                    place,
                    withdrawn,
                    ended,
                };
                if clients.undecided.len() == UNDECIDED_MAX {
                    decide_next(exchanges, clients, policy, events);
                }
                clients.undecided.push_back(waiting);
            }
            Edge::FirstByte { .. } => {}
            Edge::Ended(facts) => ended(facts, flows, clients, policy, events),
            Edge::Withdrawn(id, ..) => {
                if let Some(waiting) = clients.waiting_mut(*id) {
                    waiting.withdrawn = true;
                    let place = waiting.place;
                    clients.retries.withdrawn(place, *id);
                }
            }
        }
    }
    decide_due(packets.now, exchanges, clients, policy, events);
    let http1 = clients.decided.len();
    mux::observe(packets, flows, exchanges, clients, policy, events);
    let Clients { patterns, decided, finished, .. } = clients;
    let is_new = |exchange: &&mut Exchange| decided.iter().any(|new| new.id == exchange.id);
    for exchange in finished.iter_mut().filter(|exchange| !is_new(exchange)) {
        patterns.ended(exchange, exchanges, events);
    }
    for decided in decided.iter().take(http1) {
        patterns.started(decided, exchanges, finished, events);
    }
    for exchange in finished.iter_mut().filter(is_new) {
        patterns.ended(exchange, exchanges, events);
    }
}

fn ended(
    facts: &Facts,
    flows: &FlowTable,
    clients: &mut Clients,
    policy: &Snapshot,
    events: &mut EventSender,
) {
    let endpoint = facts.seen.endpoint.map(|id| policy.endpoint(id));
    let peers = flows.entry(facts.seen.flow).peers();
    let (server, datagrams) = (peers.server, quic::is_between(&peers));
    let class = endpoint.map(|endpoint| endpoint.class);
    if let (Some(id), Some(endpoint)) = (facts.seen.endpoint, endpoint) {
        clients.replies.meet(server, facts.seen.last_heard, (id, endpoint));
    }
    let class = class_of(class, clients.replies.of(server), facts.midway);
    let place = clients.retries.place(&caller(flows, facts.seen.flow));
    let within =
        clients.replies.of(server).map_or(failure::SERVICE_TIME_MAX, Replies::errors_within);
    if !datagrams
        && reply::may_recur(facts, class, within)
        && let Some(place) = place
    {
        let replies = clients.replies.learn(server, facts.seen.last_heard);
        clients.retries.answered(&clients.keys, place, facts, &mut replies.recurring);
    }
    let (outcome, rule) = match datagrams {
        true => quic::judge(facts),
        false => judge(facts, class, clients.replies.of(server)),
    };
    if !datagrams && !facts.seen.has_holes && !facts.seen.missed {
        let error_shaped = failure::observe(facts, class, within);
        let replies = clients.replies.learn(server, facts.seen.last_heard);
        replies.learn(facts, error_shaped, outcome == Outcome::Complete);
        replies.learn_page(facts, class);
    }
    clients.last_ended = Some((facts.seen.flow, outcome));
    let mut exchange = describe(facts, outcome, flows, policy);
    let caller = caller(flows, facts.seen.flow);
    exchange.work = (!datagrams).then(|| clients.patterns.work(&clients.keys, facts, &caller));
    exchange.grounds = grounds(facts, rule);
    clients.judge(&mut exchange, facts.seen.flow);
    signal_end(&exchange, events);
    let known = place.and_then(|place| clients.retries.ended(&clients.keys, place, facts, outcome));
    match clients.waiting_mut(exchange.id) {
        Some(waiting) => waiting.ended = Some(exchange),
        None => {
            let running = clients.running[facts.seen.flow.0 as usize].take();
            let running = running.filter(|running| running.id == exchange.id);
            // The retry memory knows better, where it still knows: a link can turn out to be
            // mistaken.
            let (link, verdict) = known
                .or(running.map(|running| (running.link, running.verdict)))
                .unwrap_or((Link::UNKNOWN, NO_VERDICT));
            exchange.note_late(&verdict);
            clients.finished.push(complete(exchange, link));
        }
    }
}

/// Decides the attempts whose time has come.
fn decide_due(
    now: Nanos,
    exchanges: &Exchanges,
    clients: &mut Clients,
    policy: &Snapshot,
    events: &mut EventSender,
) {
    for _ in 0..DECISIONS_PER_BURST {
        if clients.undecided.front().is_none_or(|start| start.at + DECIDE_AFTER > now) {
            break;
        }
        decide_next(exchanges, clients, policy, events);
    }
}

/// Decides the attempt that started first.
fn decide_next(
    exchanges: &Exchanges,
    clients: &mut Clients,
    policy: &Snapshot,
    events: &mut EventSender,
) {
    let Some(waiting) = clients.undecided.pop_front() else { return };
    if waiting.withdrawn {
        return;
    }
    let class = waiting.endpoint.map(|id| policy.endpoint(id).class);
    let window = policy.policy().limits.retry_window();
    let Undecided { id, flow, peers, at: start, meant, continues, .. } = waiting;
    let Undecided { application, endpoint, place, .. } = waiting;
    let Clients { keys, retries, replies, patterns, .. } = clients;
    let Peers { client, server, .. } = peers;
    let datagrams = quic::is_between(&peers);
    let work = waiting.ended.map_or_else(
        || {
            let facts = exchanges.facts(flow, id).filter(|_| !datagrams)?;
            Some(patterns.work(keys, &facts, &Caller { client, server, application }))
        },
        |exchange| exchange.work,
    );
    let replies = replies.of(peers.server);
    let link = retries.decide(keys, place, id, window, exchanges, |facts| match datagrams {
        true => quic::judge(facts).0,
        false => outcome(facts, class_of(class, replies, facts.midway), replies),
    });
    let link = if datagrams { Link::UNKNOWN } else { link };
    let at = start + DECIDE_AFTER;
    clients.decided.push(Decided {
        id,
        at,
        endpoint,
        link,
        peers,
        start,
        meant,
        continues,
        application,
        work,
        flow,
        place: Some(place),
    });
    if let Some(kind) = kind_of(&link) {
        let (exchange, value, episode) = (id, f64::from(link.attempt), None);
        events.send(Event::Signal(Signal { at, kind, exchange, peers, endpoint, value, episode }));
    }
    match waiting.ended {
        Some(exchange) => clients.finished.push(complete(exchange, link)),
        None => {
            let running = Running { id, link, verdict: NO_VERDICT };
            clients.running[flow.0 as usize] = Some(running);
        }
    }
}

/// What a decided attempt is called, if it is more than a first one.
fn kind_of(link: &Link) -> Option<SignalKind> {
    match link {
        Link { retry_of: Some(_), .. } => Some(SignalKind::Retry),
        Link { hedge: true, .. } => Some(SignalKind::Hedge),
        Link { restart: true, .. } => Some(SignalKind::Restart),
        _ => None,
    }
}

/// What a server does: what its endpoint says, else what it was seen to be on other flows. Of a flow
/// met in the middle nothing else is known, and the shapes of a model prove nothing, unless it has
/// streamed.
fn class_of(class: Option<Class>, replies: Option<&Replies>, midway: bool) -> Class {
    let known = class.or(replies.and_then(|replies| replies.class));
    let streams = replies.is_some_and(Replies::streams);
    known.unwrap_or(if midway && !streams { Class::Tool } else { Class::Llm })
}

/// Everything about an ended exchange but what it is a retry of.
fn describe(facts: &Facts, outcome: Outcome, flows: &FlowTable, policy: &Snapshot) -> Exchange {
    let seen = &facts.seen;
    let entry = flows.entry(seen.flow);
    let endpoint = seen.endpoint.map(|id| policy.endpoint(id));
    let datagrams = quic::is_between(&entry.peers());
    let tokens = (!datagrams).then(|| tokens::estimate(facts, outcome, endpoint)).flatten();
    let price = endpoint.and_then(|endpoint| endpoint.price);
    Exchange {
        id: seen.id,
        peers: entry.peers(),
        endpoint: seen.endpoint,
        // A policy that came in the middle of it may call the flow otherwise.
        call: entry.class.call.filter(|call| Some(call.endpoint) == seen.endpoint),
        sni: entry.class.sni,
        visibility: match entry.class.visibility {
            Visibility::Quic => Visibility::Quic,
            _ if facts.midway => Visibility::Opaque,
            _ => Visibility::H1,
        },
        from_middle: entry.from_middle(),
        rtt: entry.halves.map(|half| half.rtt.smoothed()),
        start: seen.start,
        first_byte: seen.first_byte,
        end: seen.last_heard.max(seen.last_down).max(seen.last_up),
        // A request may cross the close that answers it.
        closed: facts.closed.map(|closed| closed.max(seen.start)).filter(|_| is_cut_short(outcome)),
        outcome,
        attempt: 1,
        retry_of: None,
        hedge: false,
        restart: false,
        stall: stall::observe(facts, is_cut_short(outcome), policy.policy().limits.stall())
            .filter(|_| !datagrams),
        outcome_confidence: confidence(facts, outcome),
        retry_confidence: Link::UNKNOWN.confidence,
        up_bucket: length_bucket(seen.up_bytes.into()),
        down_bucket: length_bucket(seen.down_bytes.into()),
        streamed: facts.is_streamed(),
        tokens,
        cost_milli_usd: tokens.zip(price).map(|(tokens, price)| tokens::cost(tokens, price)),
        waste: waste_of_end(outcome, seen.first_byte.is_some()),
        amended: None,
        work: None,
        verdict: Verdict::Pass,
        reason: Reason::NoRule,
        enforced: false,
        hold: None,
        grounds: Grounds::default(),
    }
}

/// A side closed before the response was whole.
fn is_cut_short(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::ClientAbort | Outcome::ServerAbort | Outcome::ConnectFailed)
}

/// The waste that the end of an exchange alone shows.
fn waste_of_end(outcome: Outcome, has_begun: bool) -> Option<Waste> {
    match outcome {
        Outcome::ClientAbort if has_begun => Some(Waste::LateAbort),
        Outcome::ServerAbort => Some(Waste::Partial),
        _ => None,
    }
}

/// Adds what an exchange is a retry of, a copy or a repeat. Another attempt that came to nothing is
/// waste of that kind, unless its response had begun: then the abort or the cut is what wasted it. So
/// is a copy that lost.
fn complete(mut exchange: Exchange, link: Link) -> Exchange {
    exchange.attempt = link.attempt;
    exchange.retry_of = link.retry_of;
    exchange.retry_confidence = link.confidence;
    exchange.grounds.link = link.grounds;
    exchange.hedge = link.hedge;
    exchange.restart = link.restart;
    if link.retry_of.is_some() && exchange.outcome.invites_retry() {
        exchange.waste = exchange.waste.or(Some(Waste::Retry));
    }
    if link.hedge && exchange.outcome == Outcome::ClientAbort {
        exchange.waste = Some(Waste::Hedge);
    }
    exchange
}

fn signal_end(exchange: &Exchange, events: &mut EventSender) {
    let since_first = exchange.first_byte.map_or(0.0, |first| exchange.end.since(first).secs_f64());
    let kind = match exchange.waste {
        Some(Waste::LateAbort) => Some((SignalKind::LateAbort, since_first)),
        Some(Waste::Partial) => Some((SignalKind::Partial, since_first)),
        Some(Waste::Retry | Waste::Orphan | Waste::Thrash | Waste::Doomed | Waste::Hedge)
        | None => None,
    };
    let stall = exchange.stall.map(|silence| (SignalKind::Stall, silence.secs_f64()));
    for (kind, value) in kind.into_iter().chain(stall) {
        let &Exchange { id: exchange, peers, endpoint, end: at, .. } = exchange;
        let episode = None;
        events.send(Event::Signal(Signal { at, kind, exchange, peers, endpoint, value, episode }));
    }
}

fn caller(flows: &FlowTable, flow: FlowId) -> Caller {
    let entry = flows.entry(flow);
    let peers = entry.peers();
    Caller { client: peers.client, server: peers.server, application: entry.class.application }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::hash::RandomState;

    use super::*;
    use crate::burst::{ContentType, Direction, Record, TlsVersion};
    use crate::exchange::h1::{Connection, Ending};
    use crate::flow::entry::Classified;

    /// An exchange to be made: its request starts at 0 ms and its round trip is 20 ms.
    #[derive(Default)]
    pub(crate) struct Shape<'a> {
        /// Response records: milliseconds and plaintext bytes, in order.
        pub(crate) down: &'a [(u64, u16)],
        pub(crate) client_closes: Option<u64>,
        pub(crate) server_closes: Option<u64>,
    }

    /// The facts of an exchange of this shape.
    pub(crate) fn facts(shape: Shape<'_>) -> Facts {
        let class =
            Classified { hello: true, version: Some(TlsVersion::V1_3), ..Classified::default() };
        let hasher = RandomState::new();
        let mut connection = Connection::default();
        connection.meet(&class, Some(Nanos::from_millis(20)));
        let record = |direction, ms, bytes: u16| Record {
            packet: 0,
            at: Nanos::from_millis(ms),
            flow: FlowId(0),
            direction,
            content: ContentType::ApplicationData,
            length: bytes + 17,
        };
        connection.application_record(&record(Direction::ToServer, 0, 36), &hasher);
        let request = record(Direction::ToServer, 0, 700);
        connection.application_record(&request, &hasher);
        connection.open(ExchangeId(1), None, &request);
        let mut events: Vec<(u64, u16, Option<Direction>)> =
            shape.down.iter().map(|&(ms, bytes)| (ms, bytes, None)).collect();
        events.extend(shape.client_closes.map(|ms| (ms, 0, Some(Direction::ToServer))));
        events.extend(shape.server_closes.map(|ms| (ms, 0, Some(Direction::ToClient))));
        events.sort_by_key(|&(ms, ..)| ms);
        for (ms, bytes, close) in events {
            match close {
                Some(side) => connection.closed(side, false, Nanos::from_millis(ms)),
                None => {
                    connection.application_record(&record(Direction::ToClient, ms, bytes), &hasher);
                }
            }
        }
        connection.facts(Ending::Running).unwrap()
    }
}
