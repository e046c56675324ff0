//! The detectors above single exchanges, and the state they share out: clients, callers, endpoints,
//! backends and gateways.
//!
//! They see an attempt twice: when it is decided, in order of start, and when everything about it
//! is known. Of HTTP/2 streams, cascades and outages count every attempt, and an orphan can follow
//! one that its client left; which of several streams a record belongs to is a guess, so no steps,
//! branches or upstream legs are told from them. Nothing here runs per packet. What is found is told
//! as signals with an episode; what was waste is written into the exchange, unless the exchange was
//! waste by itself already.

use std::hash::{BuildHasher, RandomState};

use super::cascade::{self, Cascade};
use super::episode::{Change, Subject};
use super::fanout::{self, FanOuts};
use super::margin::{self, Load};
use super::orphan::{Legs, Progress};
use super::outage::{self, Backend, Others, Sign};
use super::retry::Caller;
use super::thrash::{self, Steps};
use super::window::{WINDOW, Window};
use super::{Decided, Untold, doomed};
use crate::burst::{Address, FlowId};
use crate::exchange::Exchanges;
use crate::exchange::h1::Facts;
use crate::keyed::Keys;
use crate::lru::{LruMap, Reuse};
use crate::policy::snapshot::{ENDPOINTS_MAX, EndpointId};
use crate::telemetry::event::{
    Amendment, Event, EventSender, Exchange, ExchangeId, Outcome, Phase, Scope, SignalKind, Waste,
    Work,
};
use crate::time::Nanos;

/// Of each, how many are looked at in one tick.
const PER_TICK: usize = 4;
/// Confidence of what is counted rather than inferred.
const COUNTED: f64 = 0.95;
/// Of a run of steps that repeat in order, and of branches that start together.
const INFERRED: f64 = 0.9;
/// Length of the steps in which lengths are alike.
const FAMILY_BYTES: u32 = 8;

/// Everything that is remembered above single exchanges.
#[derive(Debug)]
pub struct Patterns {
    hasher: RandomState,
    clients: LruMap<Address, Client>,
    callers: LruMap<u64, FanOuts>,
    endpoints: LruMap<EndpointId, Endpoint>,
    backends: LruMap<(Address, u16), Server>,
    gateways: LruMap<Address, Legs>,
}

#[derive(Debug, Default)]
struct Client {
    cascade: Cascade,
    steps: Steps,
}

#[derive(Debug, Default)]
struct Endpoint {
    cascade: Cascade,
    /// Answered, not answered.
    over: Window<2>,
    most: u32,
}

#[derive(Debug, Default)]
struct Server {
    backend: Backend,
    endpoint: Option<EndpointId>,
}

impl Reuse for Client {}
impl Reuse for FanOuts {}
impl Reuse for Endpoint {}
impl Reuse for Server {}
impl Reuse for Legs {}

impl Patterns {
    /// For so many clients, as many callers and gateways, and so many backends.
    #[must_use]
    pub fn with_capacity(clients: usize, backends: usize) -> Self {
        Self {
            hasher: RandomState::new(),
            clients: LruMap::with_capacity(clients),
            callers: LruMap::with_capacity(clients),
            endpoints: LruMap::with_capacity(ENDPOINTS_MAX),
            backends: LruMap::with_capacity(backends),
            gateways: LruMap::with_capacity(clients),
        }
    }

    /// What an exchange asks of whom.
    #[must_use]
    pub fn work(&self, keys: &Keys, facts: &Facts, caller: &Caller) -> Work {
        let seen = &facts.seen;
        let hash = |what: u8, value: u64| keys.hash(self.hasher.hash_one((caller, what)), value);
        let step = |off| (seen.up_bytes.saturating_add(off) / FAMILY_BYTES).into();
        let body = || seen.body_hash.rotate_left(16) ^ u64::from(seen.up_records);
        Work {
            whole: hash(0, seen.up_bytes.into()),
            body: (seen.up_records > 1).then(|| hash(1, body())),
            family: [hash(2, step(0)), hash(3, step(FAMILY_BYTES / 2))],
            application: caller.application,
        }
    }

    /// What found no room or was pushed out before its time.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        let Self { clients, callers, endpoints, backends, gateways, .. } = self;
        clients.evicted + callers.evicted + endpoints.evicted + backends.evicted + gateways.evicted
    }

    /// An attempt was decided.
    pub fn started(
        &mut self,
        decided: &Decided,
        exchanges: &Exchanges,
        untold: &mut Untold<'_>,
        events: &mut EventSender,
    ) {
        let &Decided { id, endpoint, link, peers, flow, start: at, .. } = decided;
        let subject = Subject { exchange: id, peers, endpoint };
        self.attempted(at, link.attempt, subject, events);
        let margin = self.margin(endpoint, at);
        if let Some(work) = decided.work {
            let client = self.clients.touch(peers.client, at);
            let start = thrash::Start { at, flow, work, retry_of: link.retry_of, subject };
            let change = client.steps.started(&start, |flow, id| {
                let seen = exchanges.facts(flow, id)?.seen;
                (seen.down_records > 0).then_some(seen.last_down)
            });
            tell_run(events, change);
            let waste = Waste::Thrash;
            client.steps.take_abandoned(|exchange| match untold.find(exchange) {
                Some(untold) => untold.waste = untold.waste.or(Some(waste)),
                None => {
                    let amendment = Amendment { at: decided.at, exchange, waste };
                    events.send(Event::Amendment(amendment));
                }
            });
        }
        let (attempt, retry_of) = (link.attempt, link.retry_of);
        let &Decided { meant, continues, .. } = decided;
        let start = fanout::Start { at, meant, continues, attempt, retry_of, subject };
        let caller = self.hasher.hash_one((peers.client, peers.server, decided.application));
        let change = self.callers.touch(caller, at).started(&start);
        tell(events, SignalKind::FanOut, Scope::Client, change, margin, INFERRED);
        self.gateways.touch(peers.client, at).started(id, flow, at);
    }

    /// An attempt was decided, of which no more is known than whose it is and its number.
    pub fn attempted(
        &mut self,
        at: Nanos,
        attempt: u16,
        subject: Subject,
        events: &mut EventSender,
    ) {
        let limits = cascade::Limits::default();
        if let Some(endpoint) = subject.endpoint {
            let state = self.endpoints.touch(endpoint, at);
            let change = state.cascade.started(at, attempt, subject, &limits);
            let margin = change.and_then(|_| state.margin(at));
            tell(events, SignalKind::Cascade, Scope::Endpoint, change, margin, COUNTED);
        }
        let margin = self.margin(subject.endpoint, at);
        let client = self.clients.touch(subject.peers.client, at);
        let change = client.cascade.started(at, attempt, subject, &limits);
        tell(events, SignalKind::Cascade, Scope::Client, change, margin, COUNTED);
    }

    /// Everything about an exchange is known, but what its answer was and what it means beside others.
    pub fn ended(
        &mut self,
        exchange: &mut Exchange,
        exchanges: &Exchanges,
        events: &mut EventSender,
    ) {
        let in_vain = exchange.retry_of.is_some() && exchange.outcome.invites_retry();
        let tokens = likely_tokens(exchange);
        if let Some(client) = self.clients.get_mut(&exchange.peers.client) {
            if in_vain {
                client.cascade.came_to_nothing(tokens);
            }
            let &mut Exchange { id, end, outcome, waste, .. } = exchange;
            let likely = exchange.tokens.map(|tokens| tokens.likely);
            if client.steps.ended(id, end, outcome, likely, waste.is_some()) {
                exchange.waste = Some(Waste::Thrash);
            }
        }
        self.branch_ended(exchange, events);
        self.leg_ended(exchange, exchanges, events);
    }

    /// The answer of an exchange that had ended turns out to have been none.
    pub fn failed(&mut self, exchange: &Exchange) {
        let &Exchange { id, end, outcome, waste, .. } = exchange;
        if let Some(client) = self.clients.get_mut(&exchange.peers.client) {
            if exchange.retry_of.is_some() {
                client.cascade.came_to_nothing(likely_tokens(exchange));
            }
            client.steps.ended(id, end, outcome, None, waste.is_some());
        }
    }

    /// Everything about an exchange is known.
    pub fn told(&mut self, exchange: &Exchange, events: &mut EventSender) {
        let in_vain = exchange.retry_of.is_some() && exchange.outcome.invites_retry();
        let &Exchange { id, peers, endpoint, start, first_byte, outcome, .. } = exchange;
        let at = exchange.closed.unwrap_or(exchange.end).max(exchange.end);
        let waited = first_byte.is_none().then(|| at.since(start));
        let sign = outage::sign(outcome, waited);
        let state = endpoint.map(|endpoint| self.endpoints.touch(endpoint, at));
        let server = self.backends.touch((peers.server, peers.server_port), at);
        server.endpoint = endpoint;
        let (mut others, mut margin) = (Others::default(), None);
        if let Some(state) = state {
            if in_vain {
                state.cascade.came_to_nothing(likely_tokens(exchange));
            }
            let (answered, failed) = server.backend.counts(at);
            let [all_answered, all_failed] = state.over.sums(at);
            others.answered = all_answered.saturating_sub(answered);
            others.failed = all_failed.saturating_sub(failed);
            if let Some(sign) = sign {
                state.over.add(at, usize::from(sign != Sign::Answered));
                state.most = state.most.max(state.over.sums(at)[0]);
            }
            margin = state.margin(at);
        }
        if let Some(sign) = sign {
            let subject = Subject { exchange: id, peers, endpoint };
            let client = self.hasher.hash_one(peers.client);
            let limits = outage::Limits::default();
            let told = server.backend.ended(at, sign, client, subject, others, &limits);
            tell_outage(events, told, margin);
        }
    }

    /// Time has passed: looks for episodes that are over, a few places a call.
    pub fn tick(&mut self, keys: &Keys, now: Nanos, events: &mut EventSender) {
        for _ in 0..PER_TICK {
            if let Some(client) = self.clients.next_in_round() {
                let change = client.cascade.tick(now, &cascade::Limits::default());
                tell(events, SignalKind::Cascade, Scope::Client, change, None, COUNTED);
                tell_run(events, client.steps.tick(keys, now));
            }
            if let Some(fan_outs) = self.callers.next_in_round() {
                let change = fan_outs.tick(now);
                tell(events, SignalKind::FanOut, Scope::Client, change, None, INFERRED);
            }
            if let Some(endpoint) = self.endpoints.next_in_round() {
                let change = endpoint.cascade.tick(now, &cascade::Limits::default());
                let margin = change.and_then(|_| endpoint.margin(now));
                tell(events, SignalKind::Cascade, Scope::Endpoint, change, margin, COUNTED);
            }
            if let Some(server) = self.backends.next_in_round() {
                let limits = outage::Limits::default();
                let told = server.backend.tick(now, Others::default(), &limits);
                tell_outage(events, told, None);
            }
        }
    }

    /// The observation is over: every episode that runs ends.
    pub fn close(&mut self, now: Nanos, events: &mut EventSender) {
        for client in self.clients.values_mut() {
            let change = client.cascade.close(now);
            tell(events, SignalKind::Cascade, Scope::Client, change, None, COUNTED);
            while let Some(change) = client.steps.close() {
                tell_run(events, Some(change));
            }
        }
        for fan_outs in self.callers.values_mut() {
            while let Some(change) = fan_outs.close() {
                tell(events, SignalKind::FanOut, Scope::Client, Some(change), None, INFERRED);
            }
        }
        for endpoint in self.endpoints.values_mut() {
            let margin = endpoint.margin(now);
            let change = endpoint.cascade.close(now);
            tell(events, SignalKind::Cascade, Scope::Endpoint, change, margin, COUNTED);
        }
        for server in self.backends.values_mut() {
            tell_outage(events, server.backend.close(now), None);
        }
    }

    fn margin(&mut self, endpoint: Option<EndpointId>, now: Nanos) -> Option<f64> {
        self.endpoints.get_mut(&endpoint?)?.margin(now)
    }

    fn branch_ended(&mut self, exchange: &mut Exchange, events: &mut EventSender) {
        let Some(application) = exchange.work.map(|work| work.application) else { return };
        let peers = exchange.peers;
        let caller = self.hasher.hash_one((peers.client, peers.server, application));
        let (id, end, outcome) = (exchange.id, exchange.end, exchange.outcome);
        let tokens = likely_tokens(exchange);
        let fan_outs = self.callers.get_mut(&caller);
        let doomed = fan_outs.and_then(|f| f.ended(id, end, outcome, tokens));
        if let Some(doomed) = doomed {
            if doomed.confidence >= doomed::BOOKED_FROM {
                exchange.waste = exchange.waste.or(Some(Waste::Doomed));
            }
            let (after, confidence) = (doomed.after, doomed.confidence);
            tell_alone(events, SignalKind::Doomed, exchange, after, 1.0, confidence);
        }
    }

    fn leg_ended(
        &mut self,
        exchange: &mut Exchange,
        exchanges: &Exchanges,
        events: &mut EventSender,
    ) {
        let &mut Exchange { id, peers, start, first_byte, end, .. } = exchange;
        let upstream = self.gateways.get_mut(&peers.client);
        if let Some(orphan) = upstream.and_then(|legs| legs.ended(id, first_byte, end)) {
            exchange.waste = exchange.waste.or(Some(Waste::Orphan));
            let (after, share) = (orphan.after, orphan.share);
            tell_alone(events, SignalKind::Orphan, exchange, after, share, orphan.confidence);
        }
        let left = exchange.closed.filter(|_| exchange.outcome == Outcome::ClientAbort);
        if let (Some(left), Some(legs)) = (left, self.gateways.get_mut(&peers.server)) {
            let down_bytes = exchange.down_bucket / 2;
            let downstream = Progress { start, first_byte, down_bytes };
            legs.downstream_left(&downstream, left, |flow, id| progress(exchanges, flow, id));
        }
    }
}

impl Endpoint {
    fn margin(&mut self, now: Nanos) -> Option<f64> {
        let (first_attempts, retries) = self.cascade.load(now);
        let [completed, failed] = self.over.sums(now);
        let seconds = WINDOW.secs_f64();
        let most_per_second = f64::from(self.most) / seconds;
        let load = Load { seconds, first_attempts, retries, completed, failed, most_per_second };
        margin::margin(&load)
    }
}

fn progress(exchanges: &Exchanges, flow: FlowId, id: ExchangeId) -> Option<Progress> {
    let seen = exchanges.facts(flow, id)?.seen;
    let (start, first_byte) = (seen.start, seen.first_byte);
    Some(Progress { start, first_byte, down_bytes: seen.down_bytes.into() })
}

fn likely_tokens(exchange: &Exchange) -> f64 {
    exchange.tokens.map_or(0.0, |tokens| tokens.likely.into())
}

fn tell(
    events: &mut EventSender,
    kind: SignalKind,
    scope: Scope,
    change: Option<Change>,
    margin: Option<f64>,
    confidence: f64,
) {
    if let Some(change) = change {
        events.send(Event::Signal(change.signal(kind, scope, margin, confidence)));
    }
}

fn tell_run(events: &mut EventSender, change: Option<(SignalKind, Change)>) {
    if let Some((kind, change)) = change {
        tell(events, kind, Scope::Client, Some(change), None, INFERRED);
    }
}

fn tell_outage(events: &mut EventSender, told: Option<outage::Told>, margin: Option<f64>) {
    if let Some((kind, scope, change)) = told {
        tell(events, kind, scope, Some(change), margin, COUNTED);
    }
}

/// Tells of one exchange that went on in vain for `after`, a `share` of its response.
fn tell_alone(
    events: &mut EventSender,
    kind: SignalKind,
    exchange: &Exchange,
    after: Nanos,
    share: f64,
    confidence: f64,
) {
    let &Exchange { id, peers, endpoint, start, end, .. } = exchange;
    let mut track = super::episode::Track::new(start, Subject { exchange: id, peers, endpoint });
    (track.exchanges, track.in_vain) = (1, 1);
    track.tokens = likely_tokens(exchange) * share;
    let value = after.secs_f64();
    let change = Change { phase: Phase::Ends, at: end, value, track };
    tell(events, kind, Scope::Client, Some(change), None, confidence);
}
