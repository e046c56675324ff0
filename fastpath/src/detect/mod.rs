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
pub mod doubt;
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
pub mod size;
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
    Event, EventSender, Exchange, ExchangeId, Outcome, Peers, Reason, Signal, SignalKind, Verdict,
    Visibility, Waste, Work, length_bucket,
};
use crate::telemetry::grounds::{Grounds, OutcomeRule};
use crate::time::Nanos;
use doubt::{Doubt, Doubts};
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
    /// Exchanges of which everything is known but what their answers were: of this burst, and before.
    doubtful: Vec<(Exchange, Doubt)>,
    doubts: Doubts,
    last_ended: Option<(FlowId, Outcome)>,
    /// The same for HTTP/2.
    streams: mux::Streams,
}

/// Exchanges that have ended and are not told yet.
#[derive(Debug)]
pub struct Untold<'a> {
    finished: &'a mut [Exchange],
    doubtful: &'a mut [(Exchange, Doubt)],
    doubts: &'a mut Doubts,
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

#[derive(Clone, Copy, Debug)]
struct Running {
    id: ExchangeId,
    link: Link,
    verdict: (Verdict, Reason),
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
    /// When its application had last called anybody.
    called: Nanos,
    endpoint: Option<EndpointId>,
    place: Place,
    withdrawn: bool,
    /// The exchange, if it has ended meanwhile, and what its answer may be.
    ended: Option<(Exchange, Option<Doubt>)>,
}

/// Of what no rule has looked at.
const NO_VERDICT: (Verdict, Reason) = (Verdict::Pass, Reason::NoRule);
/// Attempts that may wait to be decided; beyond it the oldest is decided early.
const UNDECIDED_MAX: usize = 8192;
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
            doubtful: Vec::with_capacity(1024),
            doubts: Doubts::default(),
            last_ended: None,
            streams: mux::Streams::default(),
        }
    }

    /// The attempts that were decided in this burst.
    #[must_use]
    pub fn decided(&self) -> &[Decided] {
        &self.decided
    }

    /// Notes what is done with a decided attempt, also if it has ended already.
    pub fn note_verdict(&mut self, decided: &Decided, verdict: (Verdict, Reason)) {
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

    fn note_finished(&mut self, id: ExchangeId, verdict: (Verdict, Reason)) {
        let finished = self.finished.iter_mut().find(|exchange| exchange.id == id);
        if let Some(exchange) = finished.or_else(|| self.doubts.find(id)) {
            (exchange.verdict, exchange.reason) = verdict;
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
        let lost = retries.evicted() + replies.evicted + streams.evicted() + patterns.evicted();
        lost + doubts.hurried
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
        !self.undecided.is_empty() || !self.doubts.is_empty() || self.streams.has_undecided()
    }

    fn finish(&mut self, exchange: Exchange, doubt: Option<Doubt>) {
        match doubt {
            Some(doubt) => self.doubtful.push((exchange, doubt)),
            None => self.finished.push(exchange),
        }
    }

    fn waiting_mut(&mut self, id: ExchangeId) -> Option<&mut Undecided> {
        // Exchange numbers count up, and starts go into the queue in their order.
        let index = self.undecided.binary_search_by_key(&id, |waiting| waiting.id).ok()?;
        self.undecided.get_mut(index)
    }
}

impl Untold<'_> {
    /// The exchange with this number, if it is one of them.
    pub fn find(&mut self, id: ExchangeId) -> Option<&mut Exchange> {
        let doubtful = self.doubtful.iter_mut().map(|(exchange, _)| exchange);
        let of_this_burst = self.finished.iter_mut().chain(doubtful);
        of_this_burst
            .into_iter()
            .find(|exchange| exchange.id == id)
            .or_else(|| self.doubts.find(id))
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
    for edge in exchanges.edges() {
        match edge {
            Edge::Opened { id, flow, endpoint, at, meant, previous } => {
                let continues = clients.last_ended == Some((*flow, Outcome::Complete))
                    && previous.is_some_and(|end| at.since(end) < CONTINUES_WITHIN);
                let caller = caller(flows, *flow);
                let carried = Carried { previous: *previous, continues };
                let (place, called) =
                    clients.retries.started(*id, *flow, (*meant, *at), &caller, carried);
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
                    called,
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
            Edge::Ended(facts) => ended(facts, flows, clients, policy, events),
            Edge::Withdrawn(id, _) => {
                if let Some(waiting) = clients.waiting_mut(*id) {
                    waiting.withdrawn = true;
                    let place = waiting.place;
                    clients.retries.withdrawn(place, *id);
                }
            }
        }
    }
    for _ in 0..DECISIONS_PER_BURST {
        let due = clients.undecided.front().is_some_and(|s| s.at + DECIDE_AFTER <= packets.now);
        if !due {
            break;
        }
        decide_next(exchanges, clients, policy, events);
    }
    let http1 = clients.decided.len();
    mux::observe(packets, flows, exchanges, clients, policy, events);
    look_beyond(http1, exchanges, clients, events);
    settle_doubts(packets.now, clients, events);
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

/// Holds what is in doubt, and tells what has been for long enough.
fn settle_doubts(now: Nanos, clients: &mut Clients, events: &mut EventSender) {
    let Clients { keys, retries, replies, patterns, finished, doubtful, doubts, .. } = clients;
    for (exchange, doubt) in doubtful.drain(..) {
        doubts.hold(now, exchange, doubt);
    }
    while let Some((mut exchange, doubt)) = doubts.due(now) {
        let Doubt { facts, class, place, .. } = doubt;
        let replies = replies.learn(exchange.peers.server, facts.seen.last_heard);
        if class == Class::Tool && doubts.was_given_up(&exchange, &doubt) {
            replies.learn_rejected(&facts);
        }
        let is_none = retries.is_tried_again(place, exchange.id);
        let (outcome, rule) = match judge(&facts, class, Some(replies)) {
            (Outcome::Complete, _) if is_none && replies.is_throttled(&facts) => {
                (Outcome::Throttled, OutcomeRule::AskedAgain)
            }
            (Outcome::Complete, _) if is_none => (Outcome::Failed, OutcomeRule::AskedAgain),
            judged => judged,
        };
        let failed = matches!(outcome, Outcome::Failed | Outcome::Throttled);
        let differs = retries.settled(keys, place, &facts, failed);
        replies.learn(&facts, failed && differs, !failed);
        replies.learn_page(&facts, class);
        if failed {
            (exchange.outcome, exchange.grounds.outcome) = (outcome, rule);
            exchange.outcome_confidence = confidence(&facts, outcome);
            (exchange.tokens, exchange.cost_milli_usd) = (None, None);
            exchange.waste = exchange.waste.or(waste_of_retry(&exchange));
            patterns.failed(&exchange);
        }
        patterns.told(&exchange, events);
        finished.push(exchange);
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
    let doubt = doubt_about(facts, class, clients.replies.of(server), outcome, datagrams);
    let doubt = place.zip(doubt).filter(|&(place, _)| {
        let tried_again = clients.retries.is_tried_again(place, facts.seen.id);
        tried_again || clients.retries.may_doubt(&clients.keys, place, facts)
    });
    if doubt.is_none() && !datagrams && !facts.seen.has_holes && !facts.seen.missed {
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
    signal_end(&exchange, events);
    let standing = doubt.map_or(Standing::Told(outcome), |(_, pause)| Standing::Doubted(pause));
    let known =
        place.and_then(|place| clients.retries.ended(&clients.keys, place, facts, standing));
    let (facts, application) = (*facts, caller.application);
    let doubt = doubt.map(|(place, _)| Doubt { facts, class, place, application });
    match clients.waiting_mut(exchange.id) {
        Some(waiting) => waiting.ended = Some((exchange, doubt)),
        None => {
            let running = clients.running[facts.seen.flow.0 as usize].take();
            let running = running.filter(|running| running.id == exchange.id);
            // The retry memory knows better, where it still knows: a link can turn out to be
            // mistaken.
            let (link, verdict) = known
                .or(running.map(|running| (running.link, running.verdict)))
                .unwrap_or((Link::UNKNOWN, NO_VERDICT));
            (exchange.verdict, exchange.reason) = verdict;
            clients.finish(complete(exchange, link), doubt);
        }
    }
}

/// The pause after which a repeat shows that an answer was none, if it may have been.
fn doubt_about(
    facts: &Facts,
    class: Class,
    replies: Option<&Replies>,
    outcome: Outcome,
    datagrams: bool,
) -> Option<Nanos> {
    let answered = outcome == Outcome::Complete && !datagrams;
    let usual = replies.is_some_and(|replies| replies.is_usual_vector(facts, class));
    let within = replies.map_or(failure::SERVICE_TIME_MAX, Replies::errors_within);
    (answered && !usual).then(|| failure::doubt(facts, class, within)).flatten()
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
    let Undecided { application, called, endpoint, place, .. } = waiting;
    let Clients { keys, retries, replies, patterns, .. } = clients;
    let Peers { client, server, .. } = peers;
    let datagrams = quic::is_between(&peers);
    let work = waiting.ended.map_or_else(
        || {
            let facts = exchanges.facts(flow, id).filter(|_| !datagrams)?;
            Some(patterns.work(keys, &facts, &Caller { client, server, application }))
        },
        |(exchange, _)| exchange.work,
    );
    let replies = replies.of(peers.server);
    let link = retries.decide(keys, place, id, window, exchanges, |facts| {
        let class = class_of(class, replies, facts.midway);
        let outcome = match datagrams {
            true => quic::judge(facts).0,
            false => outcome(facts, class, replies),
        };
        doubt_about(facts, class, replies, outcome, datagrams)
            .map_or(Standing::Told(outcome), Standing::Doubted)
    });
    let link = if datagrams { Link::UNKNOWN } else { link };
    if link.restart {
        clients.doubts.began_anew((client, application), (called, start));
    }
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
        Some((exchange, doubt)) => clients.finish(complete(exchange, link), doubt),
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
