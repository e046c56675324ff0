//! What behaviour means: outcome, retries and waste of exchanges.
//!
//! One detector a file, each a pure function of what was seen and of limits. They run when an
//! exchange begins or ends and when a start is due to be decided, never per packet.

pub mod abort;
mod account;
pub mod assign;
pub mod calls;
pub mod cascade;
pub mod clusters;
pub mod continuity;
pub mod doomed;
pub mod doubt;
pub mod episode;
pub mod failure;
pub mod fanout;
pub mod gap;
pub mod group;
pub mod hedge;
pub mod histogram;
pub mod margin;
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
pub mod size;
pub mod stall;
pub mod thrash;
pub mod throttle;
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
    Verdict, Visibility, Waste, Work,
};
use crate::telemetry::grounds::OutcomeRule;
use crate::time::Nanos;
use account::Account;
use doubt::{Doubt, Doubts, Untold, doubt_about};
use group::{Carried, Place};
use outcome::{confidence, grounds, judge, outcome};
use patterns::Patterns;
use reply::{Replies, ReplyMemory};
use retry::{Caller, DECIDE_AFTER, Link, RetryMemory, Standing};

/// What an lcore remembers of its clients.
#[derive(Debug)]
pub struct Clients {
    keys: Keys,
    /// Ticks for which there may be hashes under a key that is gone.
    stale: usize,
    /// Ticks in which everything that is remembered is come to.
    places: usize,
    retries: RetryMemory,
    replies: ReplyMemory,
    patterns: Patterns,
    /// Attempts that have started and are not decided yet, in order of start: all wait equally
    /// long.
    undecided: VecDeque<Undecided>,
    /// Attempts that were decided in this burst.
    decided: Vec<Decided>,
    /// What was decided of the exchange that runs on each flow: however long it runs, and whoever
    /// pushed it out of the retry memory meanwhile. As far as there have been flows.
    running: Vec<Option<Running>>,
    /// Exchanges of which everything is known.
    finished: Vec<Exchange>,
    /// Exchanges of which everything is known but what their answers were: of this burst, and before.
    doubtful: Vec<(Exchange, Doubt)>,
    doubts: Doubts,
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
    /// Where the retry memory has it; nowhere over HTTP/2 and HTTP/3.
    place: Option<Place>,
}

/// A start, as it is known before it is decided.
#[derive(Clone, Copy, Debug)]
struct Begun {
    id: ExchangeId,
    flow: FlowId,
    peers: Peers,
    endpoint: Option<EndpointId>,
    at: Nanos,
    meant: Nanos,
    continues: bool,
    application: u64,
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
    begun: Begun,
    /// When its application had last called anybody.
    called: Nanos,
    withdrawn: bool,
    /// The exchange, if it has ended meanwhile, and what its answer may be.
    ended: Option<(Exchange, Option<Doubt>)>,
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

/// How much is remembered at once. Memory is taken at start, and touched when it is first used.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// Slots of the flow table.
    pub slots: usize,
    /// Clients, and as many groups of one client, server and application.
    pub clients: usize,
    /// Servers.
    pub servers: usize,
}

impl Clients {
    /// For so many flows, clients and servers; lengths are hashed under keys of this seed.
    #[must_use]
    pub fn with_capacity(capacity: Capacity, seed: Seed) -> Self {
        let Capacity { slots, clients, servers } = capacity;
        Self {
            keys: Keys::new(seed),
            stale: 0,
            places: clients.max(servers),
            retries: RetryMemory::with_capacity(clients),
            replies: ReplyMemory::with_capacity(servers),
            patterns: Patterns::with_capacity(clients, servers),
            undecided: VecDeque::with_capacity(UNDECIDED_MAX),
            decided: Vec::with_capacity(8 * DECISIONS_PER_BURST),
            running: Vec::with_capacity(slots),
            finished: Vec::with_capacity(1024),
            doubtful: Vec::with_capacity(1024),
            doubts: Doubts::default(),
            last_ended: None,
            judged: Vec::with_capacity(JUDGED_MAX),
            gated: vec![None; slots],
            streams: mux::Streams::with_capacity(clients, servers),
        }
    }

    /// The attempts that were decided in this burst.
    #[must_use]
    pub fn decided(&self) -> &[Decided] {
        &self.decided
    }

    /// Notes what is done with a decided attempt, also if it has ended already.
    pub fn note_verdict(&mut self, decided: &Decided, verdict: Decision) {
        match decided.place {
            Some(place) => self.retries.note_verdict(place, decided.id, verdict),
            None => self.streams.note_verdict(decided.id, verdict),
        }
        let running = self.running_mut(decided.flow);
        match running.as_mut().filter(|running| running.id == decided.id) {
            Some(running) => running.verdict = verdict,
            None => self.note_finished(decided.id, verdict),
        }
    }

    fn running_mut(&mut self, flow: FlowId) -> &mut Option<Running> {
        let place = flow.0 as usize;
        if self.running.len() <= place {
            self.running.resize(place + 1, None);
        }
        &mut self.running[place]
    }

    /// Exchanges that were judged in this burst.
    #[must_use]
    pub fn judged(&self) -> &[Judged] {
        &self.judged
    }

    /// Notes what is done with an exchange of a flow, whatever it is decided to be. The last word
    /// counts.
    pub fn note_gate(&mut self, flow: FlowId, id: ExchangeId, decision: Decision) {
        if let Some(waiting) = self.waiting_mut(id) {
            if let Some((exchange, _)) = &mut waiting.ended {
                exchange.note(&decision);
                return;
            }
        } else if let Some(exchange) = self.untold().find(id) {
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
        if let Some(exchange) = self.untold().find(id) {
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
        let Self { retries, replies, streams, patterns, doubts, .. } = self;
        let lost = retries.evicted() + replies.evicted() + streams.evicted() + patterns.evicted();
        lost + doubts.hurried
    }

    /// Forgets a little of what is too old, and ends episodes that are over. Called once a tick.
    pub fn sweep(&mut self, now: Nanos, events: &mut EventSender) {
        let Self { keys, stale, places, retries, replies, streams, patterns, .. } = self;
        if keys.tick(now) {
            *stale = *places;
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
        !self.undecided.is_empty() || !self.doubts.is_empty() || self.streams.has_undecided()
    }

    fn untold(&mut self) -> Untold<'_> {
        let Self { finished, doubtful, doubts, .. } = self;
        Untold { finished, doubtful, doubts }
    }

    fn finish(&mut self, exchange: Exchange, doubt: Option<Doubt>) {
        match doubt {
            Some(doubt) => self.doubtful.push((exchange, doubt)),
            None => self.finished.push(exchange),
        }
    }

    fn waiting_mut(&mut self, id: ExchangeId) -> Option<&mut Undecided> {
        // Exchange numbers count up, and starts go into the queue in their order.
        let index = self.undecided.binary_search_by_key(&id, |waiting| waiting.begun.id).ok()?;
        self.undecided.get_mut(index)
    }
}

impl Begun {
    /// Hands a start on with what it was decided to be, and tells it when it is more than a first
    /// attempt.
    fn decide(
        self,
        link: Link,
        work: Option<Work>,
        decided: &mut Vec<Decided>,
        events: &mut EventSender,
    ) {
        let Self { id, flow, peers, endpoint, at: start, meant, continues, .. } = self;
        let Self { application, place, .. } = self;
        let at = start + DECIDE_AFTER;
        decided.push(Decided {
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
            place,
        });
        if let Some(kind) = kind_of(&link) {
            let (exchange, value, episode) = (id, f64::from(link.attempt), None);
            events.send(Event::Signal(Signal {
                at,
                kind,
                exchange,
                peers,
                endpoint,
                value,
                episode,
            }));
        }
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
                let (caller, peers) = (caller(flows, *flow), flows.flow(*flow).peers());
                let carried = Carried { previous: *previous, continues };
                let retries = &mut clients.retries;
                let (place, called) = match quic::is_between(&peers) {
                    true => (None, retries.called(&caller, *at).1.anywhere),
                    false => {
                        let times = (*meant, *at);
                        let (place, called) = retries.started(*id, *flow, times, &caller, carried);
                        (Some(place), called)
                    }
                };
                let (id, flow, at, meant, endpoint) = (*id, *flow, *at, *meant, *endpoint);
                let application = caller.application;
                let begun =
                    Begun { id, flow, peers, endpoint, at, meant, continues, application, place };
                let waiting = Undecided { begun, called, withdrawn: false, ended: None };
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
                    if let Some(place) = waiting.begun.place {
                        clients.retries.withdrawn(place, *id);
                    }
                }
            }
        }
    }
    decide_due(packets.now, exchanges, clients, policy, events);
    let http1 = clients.decided.len();
    mux::observe(packets, flows, exchanges, clients, policy, events);
    look_beyond(http1, exchanges, clients, events);
    doubt::settle(packets.now, clients, events);
}

/// Looks at what was decided and ended beside everything else. The first `http1` of what was decided
/// are no streams.
fn look_beyond(
    http1: usize,
    exchanges: &Exchanges,
    clients: &mut Clients,
    events: &mut EventSender,
) {
    let Clients { patterns, decided, finished, doubtful, doubts, .. } = clients;
    let is_new = |exchange: &Exchange| decided.iter().any(|new| new.id == exchange.id);
    for new in [false, true] {
        if new {
            let mut untold = Untold { finished, doubtful, doubts };
            for decided in decided.iter().take(http1) {
                patterns.started(decided, exchanges, &mut untold, events);
            }
        }
        for exchange in finished.iter_mut().filter(|exchange| is_new(exchange) == new) {
            patterns.ended(exchange, exchanges, events);
            patterns.told(exchange, events);
        }
        for (exchange, _) in doubtful.iter_mut().filter(|(exchange, _)| is_new(exchange) == new) {
            patterns.ended(exchange, exchanges, events);
        }
    }
}

/// What an attempt was decided to be, and what was decided to be done with it.
type Known = (Link, Decision);

fn ended(
    facts: &Facts,
    flows: &FlowTable,
    clients: &mut Clients,
    policy: &Snapshot,
    events: &mut EventSender,
) {
    let seen = &facts.seen;
    let endpoint = seen.endpoint.map(|id| (id, policy.endpoint(id)));
    let (caller, peers) = (caller(flows, seen.flow), flows.flow(seen.flow).peers());
    if let Some(endpoint) = endpoint {
        clients.replies.meet(peers.server, seen.last_heard, endpoint);
    }
    let (account, known, doubt) = match quic::is_between(&peers) {
        true => (quic::account(facts), None, None),
        false => account_of_records(facts, &caller, clients, policy),
    };
    clients.last_ended = Some((seen.flow, account.outcome));
    let visibility = match flows.flow(seen.flow).class.visibility {
        Visibility::Quic => Visibility::Quic,
        _ if facts.midway => Visibility::Opaque,
        _ => Visibility::H1,
    };
    let mut exchange = Account { visibility, ..account }.exchange(flows, policy);
    clients.judge(&mut exchange, seen.flow);
    signal_end(&exchange, events);
    match clients.waiting_mut(exchange.id) {
        Some(waiting) => waiting.ended = Some((exchange, doubt)),
        None => {
            let running = clients.running_mut(seen.flow).take();
            let running = running.filter(|running| running.id == exchange.id);
            // The retry memory knows better, where it still knows: a link can turn out to be
            // mistaken.
            let (link, verdict) = known
                .or(running.map(|running| (running.link, running.verdict)))
                .unwrap_or((Link::UNKNOWN, NO_VERDICT));
            exchange.note_late(&verdict);
            clients.finish(complete(exchange, link), doubt);
        }
    }
}

/// Judges an exchange by its records, and learns from it.
fn account_of_records(
    facts: &Facts,
    caller: &Caller,
    clients: &mut Clients,
    policy: &Snapshot,
) -> (Account, Option<Known>, Option<Doubt>) {
    let endpoint = facts.seen.endpoint.map(|id| policy.endpoint(id));
    let running = clients.running_mut(facts.seen.flow).filter(|r| r.id == facts.seen.id);
    let running = running.map(|running| (running.link, running.verdict));
    let Clients { keys, retries, replies, patterns, .. } = clients;
    let known = replies.of(caller.server);
    let class = class_of(endpoint.map(|endpoint| endpoint.class), known, facts.midway);
    let within = known.map_or(failure::SERVICE_TIME_MAX, Replies::errors_within);
    let place = retries.place(caller);
    if let Some(place) = place.filter(|_| reply::may_recur(facts, class, within)) {
        let replies = replies.learn(caller.server, facts.seen.last_heard);
        retries.answered(keys, place, facts, &mut replies.recurring);
    }
    let (outcome, rule) = judge(facts, class, replies.of(caller.server));
    let pause = doubt_about(facts, class, replies.of(caller.server), outcome);
    let doubt = place.zip(pause).filter(|&(place, _)| {
        let tried_again = retries.is_tried_again(place, facts.seen.id);
        tried_again || retries.may_doubt(keys, place, facts)
    });
    if doubt.is_none() && !facts.seen.has_holes && !facts.seen.missed {
        let error_shaped = failure::observe(facts, class, within);
        let replies = replies.learn(caller.server, facts.seen.last_heard);
        replies.learn(facts, error_shaped, outcome == Outcome::Complete);
        replies.learn_page(facts, class);
    }
    let limit = policy.policy().limits.stall();
    let account = Account {
        stall: stall::observe(facts, is_cut_short(outcome), limit),
        tokens: tokens::estimate(facts, outcome, endpoint),
        work: Some(patterns.work(keys, facts, caller)),
        ..account(facts, outcome, rule)
    };
    let standing = doubt.map_or(Standing::Told(outcome), |(_, pause)| Standing::Doubted(pause));
    let known = place.and_then(|place| retries.ended(keys, place, facts, standing, running));
    let (facts, application) = (*facts, caller.application);
    let doubt = doubt.map(|(place, _)| Doubt { facts, class, place, application });
    (account, known, doubt)
}

/// What is told of an exchange of HTTP/1.1 or HTTP/3 alike.
fn account(facts: &Facts, outcome: Outcome, rule: OutcomeRule) -> Account {
    let seen = &facts.seen;
    Account {
        id: seen.id,
        flow: seen.flow,
        endpoint: seen.endpoint,
        visibility: Visibility::H1,
        start: seen.start,
        first_byte: seen.first_byte,
        end: seen.last_heard.max(seen.last_down).max(seen.last_up),
        closed: facts.closed,
        outcome,
        confidence: confidence(facts, outcome),
        up_bytes: seen.up_bytes,
        down_bytes: seen.down_bytes,
        streamed: facts.is_streamed(),
        stall: None,
        tokens: None,
        work: None,
        grounds: grounds(facts, rule),
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
        if clients.undecided.front().is_none_or(|start| start.begun.at + DECIDE_AFTER > now) {
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
    let Begun { id, flow, peers, endpoint, application, place, .. } = waiting.begun;
    let class = endpoint.map(|id| policy.endpoint(id).class);
    let window = policy.policy().limits.retry_window();
    let Clients { keys, retries, replies, patterns, doubts, .. } = clients;
    let known = replies.of(peers.server);
    let standing_of = |facts: &Facts| {
        let class = class_of(class, known, facts.midway);
        let outcome = outcome(facts, class, known);
        doubt_about(facts, class, known, outcome).map_or(Standing::Told(outcome), Standing::Doubted)
    };
    let (link, pair) = place.map_or((Link::UNKNOWN, None), |place| {
        retries.decide(keys, place, id, window, exchanges, standing_of)
    });
    if let Some(pair) = pair {
        let replies = replies.learn(peers.server, waiting.begun.at);
        replies.learn_pause(keys, pair.answer.as_ref(), pair.gap_secs);
    }
    if link.restart {
        doubts.began_anew((peers.client, application), (waiting.called, waiting.begun.at));
    }
    let work = match &waiting.ended {
        Some((exchange, _)) => exchange.work,
        None => exchanges.facts(flow, id).filter(|_| place.is_some()).map(|facts| {
            let Peers { client, server, .. } = peers;
            patterns.work(keys, &facts, &Caller { client, server, application })
        }),
    };
    waiting.begun.decide(link, work, &mut clients.decided, events);
    match waiting.ended {
        Some((exchange, doubt)) => clients.finish(complete(exchange, link), doubt),
        None => {
            let running = Running { id, link, verdict: NO_VERDICT };
            *clients.running_mut(flow) = Some(running);
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
    exchange.waste = exchange.waste.or(waste_of_retry(&exchange));
    if link.hedge && exchange.outcome == Outcome::ClientAbort {
        exchange.waste = Some(Waste::Hedge);
    }
    exchange
}

/// Another attempt that came to nothing is waste.
fn waste_of_retry(exchange: &Exchange) -> Option<Waste> {
    let in_vain = exchange.retry_of.is_some() && exchange.outcome.invites_retry();
    in_vain.then_some(Waste::Retry)
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
    let entry = flows.flow(flow);
    let peers = entry.peers();
    Caller { client: peers.client, server: peers.server, application: entry.class.application }
}

#[cfg(test)]
pub(crate) mod tests;
