//! The gate: an arrival passes or is held, and what is held is released.
//!
//! An arrival is a ClientHello, or the first flight of a request on a connection that is open. The laws
//! are asked in turn; the first that would hold it and acts on its client does. What any of them would
//! have done is noted with the exchange.

use super::breaker::Breaker;
use super::fair::{Shares, Tenant};
use super::limit::Judgement;
use super::order::Order;
use super::queue::{Class, Held, expires_at, release_at};
use super::side::Sides;
use super::standing::{Phase, Standing};
use super::{Decider, ORDERS, Scene, budget};
use crate::burst::{Address, FlowId, Protocol};
use crate::detect::Clients;
use crate::policy::rules::Rule;
use crate::policy::snapshot::{EndpointId, RuleMode};
use crate::telemetry::event::{Decision, ExchangeId, Reason, Verdict};
use crate::telemetry::grounds::DecisionGrounds;
use crate::time::Nanos;

/// A request is taken for a retry, where a hold is at stake, from this probability on.
const RETRY_ABOVE: f64 = 0.5;
/// A connection that was let through and carries no request for so long had none.
pub(super) const GRANT_MAX: Nanos = Nanos::from_secs(5);
/// Requests of one backend released at once, at most; the next event releases more.
const RELEASES_MAX: usize = 64;

/// What has arrived.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) flow: FlowId,
    /// Index in the burst of its first frame.
    pub(super) packet: u16,
    pub(super) at: Nanos,
    pub(super) endpoint: EndpointId,
    /// Its exchange, when it is a request.
    pub(super) exchange: Option<ExchangeId>,
}

/// What an arrival is judged by.
#[derive(Clone, Copy)]
struct Asked {
    flow: FlowId,
    endpoint: EndpointId,
    place: usize,
    client: Address,
    hash: u64,
    at: Nanos,
    hello: bool,
}

/// A law that would hold it.
#[derive(Clone, Copy)]
struct Said {
    reason: Reason,
    class: Class,
    grounds: DecisionGrounds,
}

/// Laws that hold, in the order in which they are asked.
const LAWS: [Rule; 6] = [
    Rule::Breaker,
    Rule::FanOut,
    Rule::RetryBudget,
    Rule::Guard,
    Rule::Throttle,
    Rule::Concurrency,
];

impl Decider {
    /// Something has arrived: it goes, or is held.
    pub(super) fn arrive(&mut self, arrival: Arrival, scene: &Scene<'_>, clients: &Clients) {
        let Arrival { flow, packet, at, endpoint, exchange } = arrival;
        let peers = scene.flows.entry(flow).peers();
        let standing = self.flows[flow.0 as usize];
        let server = (peers.server, peers.server_port);
        let place = standing.backend.filter(|_| standing.rerouted);
        let place = place.or_else(|| self.backends.find_or_make(server, endpoint, at));
        let Some(place) = place else { return };
        let hash = self.sides.hash(peers.client);
        let waited = exchange.is_some() && standing.decision.is_some_and(|d| d.hold.is_some());
        self.flows[flow.0 as usize] = Standing {
            backend: Some(place),
            client: hash,
            address: Some(peers.client),
            exchange,
            arrived: at,
            began: if waited { standing.began } else { at },
            rerouted: standing.rerouted,
            decision: standing
                .decision
                .filter(|d| exchange.is_some() || d.verdict == Verdict::Reroute),
            ..Standing::default()
        };
        let hello = exchange.is_none();
        let client = peers.client;
        let asked = Asked { flow, endpoint, place, client, hash, at, hello };
        let bypassed = scene.stance == super::Stance::Bypassed;
        let said = if bypassed { None } else { self.ask(&asked, scene, clients) };
        let holds = said.filter(|(_, acts)| *acts && peers.protocol == Protocol::Tcp);
        if let Some((said, _)) = said {
            let grounds = Some(said.grounds);
            let enforced = holds.is_some();
            let decision =
                Decision { enforced, grounds, ..Decision::of(Verdict::Hold, said.reason) };
            self.flows[flow.0 as usize].decision = Some(decision);
        }
        if let Some((said, _)) = holds
            && self.hold(&asked, &said, packet, scene)
        {
            self.release(place, scene);
        } else {
            self.forward(flow, at, scene);
        }
    }

    /// Tells the exchange of a flow what was decided of it.
    pub(super) fn note(&self, flow: FlowId, clients: &mut Clients) {
        let standing = &self.flows[flow.0 as usize];
        if let (Some(id), Some(decision)) = (standing.exchange, standing.decision) {
            clients.note_gate(flow, id, decision);
        }
    }

    /// Lets the request of a flow through.
    pub(super) fn forward(&mut self, flow: FlowId, now: Nanos, scene: &Scene<'_>) {
        let standing = &mut self.flows[flow.0 as usize];
        let (Some(place), None) = (standing.backend, standing.ticket) else { return };
        let backend = self.backends.at_mut(place);
        standing.ticket = Some(backend.limit.forwarded(now));
        standing.forwarded = now;
        let rule = &scene.policy.policy().rules.breaker;
        backend.breaker.forwarded(now, rule);
        self.endpoints.state_mut(backend.endpoint).breaker.forwarded(now, rule);
        if let Some(client) = standing.address {
            self.clients.touch(client, now).forwarded();
        }
        self.shares.forwarded(Tenant::of(standing.client));
        standing.phase = Phase::Running;
        if standing.exchange.is_none() {
            standing.phase = Phase::Granted;
            self.grants.push((now, flow));
        }
    }

    /// Releases what may go at a backend.
    pub(super) fn release(&mut self, place: usize, scene: &Scene<'_>) {
        for _ in 0..RELEASES_MAX {
            if self.backends.at(place).queue.is_empty() || self.orders.len() >= ORDERS {
                return;
            }
            let Some(held) = self.next_of(place, scene) else { return };
            self.let_go(&held, scene);
        }
    }

    /// Ends a hold by an order.
    pub(super) fn let_go(&mut self, held: &Held, scene: &Scene<'_>) {
        let now = scene.now;
        let bypassed = scene.stance == super::Stance::Bypassed;
        let at = if bypassed { now } else { release_at(held.since, now, self.sides.draw()) };
        self.orders.push(Order::Release { flow: held.flow, at });
        self.shares.charge(held.tenant, 1.0);
        let standing = &mut self.flows[held.flow.0 as usize];
        if let Some(decision) = &mut standing.decision {
            decision.hold = Some(now.since(held.since));
        }
        // What is let go later waits at its backend no sooner.
        self.forward(held.flow, at, scene);
        self.released.push(held.flow);
    }

    fn next_of(&mut self, place: usize, scene: &Scene<'_>) -> Option<Held> {
        let Self { backends, endpoints, clients, flows, shares, sides, lcores, .. } = self;
        let (now, rules) = (scene.now, &scene.policy.policy().rules);
        let backend = backends.at_mut(place);
        let judgement = backend.limit.judge(backend.queue.len(), now);
        let limited = scene.policy.rule_mode(Rule::Concurrency).enforces();
        let fair = scene.policy.rule_mode(Rule::FairShare).enforces();
        let over: &Shares = shares;
        let is_over = |held: &Held| fair && over.is_over(held.tenant);
        let draw = sides.draw();
        let throttled = !backend.throttle.admit(now, &rules.throttle, draw).admits;
        let guarded = scene.policy.rule_mode(Rule::Guard) != RuleMode::Off;
        let (streaming, breaker) = (backend.limit.streaming(), backend.breaker);
        let normal = backend.queue.normal();
        let served_secs = backend.limit.served_secs();
        let patience = endpoints.state_mut(backend.endpoint).patience;
        let lasts = |held: &Held| patience.lasts(now.since(held.began), served_secs);
        let has_room = |held: &Held| {
            !limited || if is_over(held) { judgement.admits_over } else { judgement.admits }
        };
        let mut may_go = |held: &Held| match held.reason {
            Reason::BreakerOpen => {
                let endpoint = endpoints.state_mut(held.endpoint).breaker;
                let admits = |b: &&Breaker| b.admits(now, &rules.breaker, draw);
                has_room(held) && [&breaker, &endpoint].iter().all(admits)
            }
            Reason::OverRetryBudget => {
                let state = endpoints.state_mut(held.endpoint);
                let terms = terms(state, scene, guarded, *lcores);
                has_room(held) && state.budget.left(now, &terms) >= 1.0
            }
            Reason::RetriesLast => has_room(held) && normal == 0,
            Reason::FanOut => {
                let client = flows[held.flow.0 as usize].address;
                let client = client.and_then(|client| clients.get(&client));
                has_room(held) && client.is_none_or(|client| client.admits(&rules.fan_out))
            }
            Reason::AdmissionControl => !throttled && has_room(held),
            _ => has_room(held),
        };
        let held = backend.queue.pop(streaming, shares, lasts, &mut may_go)?;
        if held.reason == Reason::OverRetryBudget {
            let state = endpoints.state_mut(held.endpoint);
            let terms = terms(state, scene, guarded, *lcores);
            state.budget.admit(true, now, &terms);
        }
        Some(held)
    }

    /// Keeps an arrival; false when there is no room.
    fn hold(&mut self, asked: &Asked, said: &Said, packet: u16, scene: &Scene<'_>) -> bool {
        let &Asked { flow, endpoint, place, hash, at, hello, .. } = asked;
        let longest = scene.policy.policy().rules.hold.longest(hello);
        let until = expires_at(at, longest, self.sides.draw());
        let Said { reason, class, .. } = *said;
        let tenant = Tenant::of(hash);
        let began = self.flows[flow.0 as usize].began;
        let (client, since) = (hash, at);
        let held = Held { flow, endpoint, tenant, client, class, reason, since, began, until };
        let room = self.orders.len() < ORDERS;
        if !room || !self.backends.at_mut(place).queue.push(held, &mut self.shares) {
            return false;
        }
        self.flows[flow.0 as usize].phase = Phase::Held;
        self.orders.push(Order::Hold { flow, from: packet, until });
        true
    }

    /// Asks the laws. The first that acts, or else the first that would.
    fn ask(&mut self, asked: &Asked, scene: &Scene<'_>, clients: &Clients) -> Option<(Said, bool)> {
        let mut would = None;
        let armed = self.endpoints.state_mut(asked.endpoint).disarm.is_armed(scene.now);
        for law in LAWS {
            let mode = scene.policy.rule_mode(law);
            let rules = &scene.policy.policy().rules;
            let acts = armed
                && scene.enforces(mode)
                && Sides::acts_on(asked.hash, rules.share(law), &rules.self_disarm);
            if mode == RuleMode::Off {
                continue;
            }
            let said = match law {
                // What is not enforced is judged when more is known of it.
                Rule::RetryBudget if acts => self.ask_budget(asked, scene, clients),
                Rule::Guard if acts => self.ask_guard(asked, scene, clients),
                Rule::Breaker => self.ask_breaker(asked, scene),
                Rule::FanOut => self.ask_fan_out(asked, scene),
                Rule::Throttle => self.ask_throttle(asked, scene),
                Rule::Concurrency => self.ask_limit(asked, scene),
                _ => None,
            };
            match said {
                Some(said) if acts => return Some((said, true)),
                Some(said) => would = would.or(Some((said, false))),
                None => {}
            }
        }
        would
    }

    fn ask_limit(&self, asked: &Asked, scene: &Scene<'_>) -> Option<Said> {
        let backend = self.backends.at(asked.place);
        let judgement = backend.limit.judge(backend.queue.normal(), asked.at);
        let fair = scene.policy.rule_mode(Rule::FairShare).enforces();
        let over = fair && self.shares.is_over(Tenant::of(asked.hash));
        let room = if over { judgement.admits_over } else { judgement.admits };
        // What is held already goes first.
        let admits = room && backend.queue.normal() == 0;
        if admits {
            return None;
        }
        let Judgement { waiting, waiting_max, in_flight, in_flight_max, .. } = judgement;
        let capped = in_flight as f64 >= in_flight_max;
        let (measured, limit) = match waiting_max {
            Some(max) if !capped => (waiting as f64, max),
            _ => (in_flight as f64, in_flight_max),
        };
        let (reason, class) = (Reason::ConcurrencyLimit, Class::Normal);
        Some(Said { reason, class, grounds: self.grounds(asked.place, measured, limit, asked.at) })
    }

    fn ask_throttle(&mut self, asked: &Asked, scene: &Scene<'_>) -> Option<Said> {
        let draw = self.sides.draw();
        let backend = self.backends.at_mut(asked.place);
        if backend.limit.base_secs().is_some() {
            return None;
        }
        let rule = &scene.policy.policy().rules.throttle;
        let judgement = backend.throttle.admit(asked.at, rule, draw);
        let grounds = self.grounds(asked.place, judgement.share, draw, asked.at);
        let (reason, class) = (Reason::AdmissionControl, Class::Normal);
        (!judgement.admits).then_some(Said { reason, class, grounds })
    }

    fn ask_breaker(&mut self, asked: &Asked, scene: &Scene<'_>) -> Option<Said> {
        let (rule, draw) = (&scene.policy.policy().rules.breaker, self.sides.draw());
        let endpoint = &mut self.endpoints.state_mut(asked.endpoint).breaker;
        let backend = &mut self.backends.at_mut(asked.place).breaker;
        let shut = [endpoint, backend].into_iter().find(|b| !b.admits(asked.at, rule, draw))?;
        let figures = shut.figures(asked.at);
        let (failed, over) = (f64::from(figures.failed), f64::from(figures.over));
        let (reason, class) = (Reason::BreakerOpen, Class::Lowest);
        Some(Said { reason, class, grounds: self.grounds(asked.place, failed, over, asked.at) })
    }

    fn ask_fan_out(&mut self, asked: &Asked, scene: &Scene<'_>) -> Option<Said> {
        let rule = scene.policy.policy().rules.fan_out;
        let client = self.clients.touch(asked.client, asked.at);
        if client.admits(&rule) {
            return None;
        }
        let (running, cap) = (client.running(), rule.max_concurrent.unwrap_or(u32::MAX));
        let grounds = self.grounds(asked.place, running.into(), cap.into(), asked.at);
        Some(Said { reason: Reason::FanOut, class: Class::Lowest, grounds })
    }

    fn ask_budget(&mut self, asked: &Asked, scene: &Scene<'_>, clients: &Clients) -> Option<Said> {
        let retry = retry(asked, scene, clients)?;
        let guarded = scene.policy.rule_mode(Rule::Guard) != RuleMode::Off;
        let state = self.endpoints.state_mut(asked.endpoint);
        let terms = terms(state, scene, guarded, self.lcores);
        self.flows[asked.flow.0 as usize].budgeted = true;
        let left = state.budget.left(asked.at, &terms);
        if state.budget.admit(true, asked.at, &terms) {
            return None;
        }
        let (reason, class) = (Reason::OverRetryBudget, Class::Lowest);
        let mut grounds = self.grounds(asked.place, retry, left, asked.at);
        grounds.rate_per_second = Some(terms.per_sec);
        Some(Said { reason, class, grounds })
    }

    fn ask_guard(&mut self, asked: &Asked, scene: &Scene<'_>, clients: &Clients) -> Option<Said> {
        let guard = self.endpoints.state_mut(asked.endpoint).guard;
        if !guard.puts_retries_last() || self.backends.at(asked.place).queue.normal() == 0 {
            return None;
        }
        let retry = retry(asked, scene, clients)?;
        let grounds = self.grounds(asked.place, retry, RETRY_ABOVE, asked.at);
        Some(Said { reason: Reason::RetriesLast, class: Class::Lowest, grounds })
    }

    /// The figures of a law, beside those of the backend.
    fn grounds(&self, place: usize, measured: f64, limit: f64, now: Nanos) -> DecisionGrounds {
        let backend = self.backends.at(place);
        let judgement = backend.limit.judge(backend.queue.len(), now);
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        DecisionGrounds {
            measured,
            limit,
            in_flight: count(judgement.in_flight),
            held: count(backend.queue.len()),
            base_seconds: judgement.base_secs,
            rate_per_second: judgement.base_secs.map(|_| judgement.rate_per_sec),
        }
    }
}

/// How likely an arrival is a retry, if it is taken for one.
fn retry(asked: &Asked, scene: &Scene<'_>, clients: &Clients) -> Option<f64> {
    let window = scene.policy.policy().limits.retry_window();
    let retry = clients.provisional(scene.flows, asked.flow, window, asked.at);
    (retry >= RETRY_ABOVE).then_some(retry)
}

/// The terms of an endpoint's retry budget.
pub(super) fn terms(
    state: &super::endpoint::EndpointState,
    scene: &Scene<'_>,
    guarded: bool,
    lcores: u16,
) -> budget::Terms {
    let capacity = state.guard.capacity_per_sec();
    let rule = &scene.policy.policy().retry_budget;
    budget::Terms::of(rule, state.health(guarded), capacity, lcores)
}
