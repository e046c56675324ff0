//! What happens to requests between the gate and their end, as the laws are told of it.

use super::breaker::Answer;
use super::cancel::{Closed, has_left};
use super::disarm::Harm;
use super::fair::{self, Tenant};
use super::gate::Arrival;
use super::order::{Order, Toward};
use super::replica::choose;
use super::side::Sides;
use super::standing::{Phase, Standing, Stream};
use super::{BUDGETED_MAX, Decider, ORDERS, Scene, Stance};
use crate::burst::{Direction, FlowId, Packets, Protocol};
use crate::detect::{Clients, Judged};
use crate::exchange::Edge;
use crate::exchange::h1::Facts;
use crate::exchange::mux::MuxEdge;
use crate::policy::rules::{Breaker, Rule};
use crate::policy::snapshot::RuleMode;
use crate::telemetry::event::{
    Decision, Event, EventSender, ExchangeId, Outcome, Reason, Signal, SignalKind, Verdict,
};
use crate::telemetry::grounds::DecisionGrounds;
use crate::time::Nanos;

impl Decider {
    /// A flow takes a slot: what stood there before is over. A new connection to a replica that fails
    /// or has too much goes to another.
    pub(super) fn begin(&mut self, flow: FlowId, scene: &Scene<'_>) {
        let standing = self.flows[flow.0 as usize];
        if standing.phase == Phase::Held
            && let Some(place) = standing.backend
        {
            self.backends.at_mut(place).queue.remove(flow);
        }
        self.finish(flow, scene.now);
        self.flows[flow.0 as usize] = Standing::default();
        self.reroute(flow, scene);
    }

    /// Takes in what began and ended in this burst, and judges what arrived.
    pub(super) fn follow(&mut self, packets: &Packets, scene: &Scene<'_>, clients: &mut Clients) {
        for hello in &packets.client_hellos {
            let Some(endpoint) = scene.flows.entry(hello.flow).class.endpoint() else { continue };
            let at = packets.at[usize::from(hello.packet)];
            let (flow, packet, exchange) = (hello.flow, hello.packet, None);
            if self.flows[flow.0 as usize].phase == Phase::Idle {
                self.arrive(Arrival { flow, packet, at, endpoint, exchange }, scene, clients);
            }
        }
        for edge in scene.exchanges.edges() {
            match edge {
                Edge::Opened { id, flow, endpoint: Some(endpoint), at, packet, .. } => {
                    self.endpoints.state_mut(*endpoint).opened();
                    let (flow, packet, at) = (*flow, *packet, *at);
                    let exchange = Some(*id);
                    let arrival = Arrival { flow, packet, at, endpoint: *endpoint, exchange };
                    self.opened(&arrival, *id, scene, clients);
                }
                Edge::FirstByte { id, flow, at, .. } => self.first_byte(*flow, *id, *at, scene),
                Edge::Ended(facts) => self.ended(facts, scene),
                Edge::Withdrawn(id, Some(endpoint), flow) => {
                    self.endpoints.state_mut(*endpoint).ended();
                    let standing = &mut self.flows[flow.0 as usize];
                    if standing.exchange.take_if(|running| *running == *id).is_some() {
                        standing.phase = Phase::Granted;
                        self.grants.push((scene.now, *flow));
                    }
                }
                Edge::Opened { endpoint: None, .. } | Edge::Withdrawn(_, None, _) => {}
            }
        }
        for edge in scene.exchanges.mux.edges() {
            match edge {
                MuxEdge::Opened { id, flow, endpoint: Some(_), at } => {
                    self.stream_opened(*id, *flow, *at, scene, clients);
                }
                MuxEdge::Ended(facts) => self.stream_ended(facts.stream.id, scene),
                MuxEdge::Opened { endpoint: None, .. } | MuxEdge::MaybeReset { .. } => {}
            }
        }
    }

    /// Tells the laws that go by outcomes.
    pub(super) fn judge_ended(
        &mut self,
        scene: &Scene<'_>,
        clients: &Clients,
        events: &mut EventSender,
    ) {
        let rules = &scene.policy.policy().rules;
        // Where nothing else answers, a probe goes as often as at first: its failure costs one request.
        let base = rules.breaker.base_ejection_time_ms;
        let alone = Breaker { max_ejection_time_ms: base, ..rules.breaker };
        for judged in clients.judged() {
            let Some(endpoint) = judged.endpoint else { continue };
            let (now, took) = (judged.end, judged.end.since(judged.start));
            if judged.outcome == Outcome::ClientAbort {
                let waited = scene.now.since(judged.start);
                self.endpoints.state_mut(endpoint).patience.gave_up(waited);
            }
            let answer = (Answer::of(judged.outcome), took);
            let draw = self.sides.draw();
            let state = self.endpoints.state_mut(endpoint);
            state.breaker.ended(answer, now, &alone, true, draw);
            if judged.outcome == Outcome::Complete {
                state.guard.completed();
            }
            let server = (judged.peers.server, judged.peers.server_port);
            let may = self.backends.may_eject(endpoint, rules.breaker.max_ejection_percent);
            let sole = self.backends.is_sole(endpoint);
            if let Some(place) = self.backends.find_or_make(server, endpoint, now) {
                let backend = self.backends.at_mut(place);
                let rule = if sole { &alone } else { &rules.breaker };
                backend.breaker.ended(answer, now, rule, may, draw);
                if judged.outcome == Outcome::Throttled {
                    backend.limit.throttled(now);
                }
                if let Some(accepted) = accepted(judged.outcome) {
                    backend.throttle.ended(accepted, now);
                }
            }
            self.compare(judged, scene, events);
        }
    }

    /// A side of the experiment has an outcome more.
    fn compare(&mut self, judged: &Judged, scene: &Scene<'_>, events: &mut EventSender) {
        let (Some(endpoint), true) = (judged.endpoint, scene.enforces(scene.policy.policy().mode))
        else {
            return;
        };
        let rules = &scene.policy.policy().rules;
        let hash = self.sides.hash(judged.peers.client);
        let share = rules.enforce_percent / 100.0;
        let Some(side) = Sides::of(hash, share, &rules.self_disarm) else { return };
        let failed = judged.outcome.invites_retry();
        // Whoever is let past a full server takes another's turn: that compares nothing.
        let server = (judged.peers.server, judged.peers.server_port);
        let loaded = |place| self.backends.at(place).limit.was_loaded(judged.start);
        if self.backends.known(server).is_none_or(loaded) {
            return;
        }
        let disarm = &mut self.endpoints.state_mut(endpoint).disarm;
        let mut harm = disarm.ended(side, failed, judged.end, &rules.self_disarm);
        let standing = &self.flows[judged.flow.0 as usize];
        let is_its = standing.exchange.is_none_or(|id| id == judged.id);
        if let (Some(first), true, true) = (standing.first_byte, is_its, harm.is_none()) {
            let wait = first.since(standing.arrived);
            harm = disarm.first_byte(side, wait, judged.end, &rules.self_disarm);
        }
        if let Some(Harm::Failures(value) | Harm::Latency(value)) = harm {
            events.send(Event::Signal(Signal {
                at: judged.end,
                kind: SignalKind::Disarmed,
                exchange: judged.id,
                peers: judged.peers,
                endpoint: judged.endpoint,
                value,
                episode: None,
            }));
        }
    }

    /// Ends what runs for clients that have left.
    pub(super) fn cancel(&mut self, packets: &Packets, scene: &Scene<'_>, clients: &mut Clients) {
        let mode = scene.policy.rule_mode(Rule::Cancel);
        if mode == RuleMode::Off || scene.stance == Stance::Bypassed {
            return;
        }
        for i in 0..packets.len() {
            let (Some(headers), Some((flow, Direction::ToServer))) =
                (&packets.headers[i], packets.flow[i])
            else {
                continue;
            };
            let (flags, at) = (headers.tcp.flags, packets.at[i]);
            if headers.protocol != Protocol::Tcp || !(flags.fin() || flags.rst()) {
                continue;
            }
            if self.flows[flow.0 as usize].phase != Phase::Running {
                continue;
            }
            let number = scene.flows.entry(flow).number;
            if flags.rst() && scene.flows.entry(flow).halves[0].tcp.rst {
                self.leave(flow, at, Nanos::ZERO, scene, clients);
            } else if flags.fin() {
                self.cancels.closed(Closed { flow, number, at });
            }
        }
        let grace = Nanos::from_millis(scene.policy.policy().rules.cancel.grace_ms);
        while self.orders.len() < ORDERS
            && let Some(closed) = self.cancels.due(grace, scene.now)
        {
            let standing = &self.flows[closed.flow.0 as usize];
            // It ran before it was closed, or it is another's by now.
            if standing.phase == Phase::Running && standing.forwarded <= closed.at {
                self.leave(closed.flow, closed.at, grace, scene, clients);
            }
        }
    }

    /// The client of a flow closed at `closed`: the server is told, if its response is open.
    fn leave(
        &mut self,
        flow: FlowId,
        closed: Nanos,
        grace: Nanos,
        scene: &Scene<'_>,
        clients: &mut Clients,
    ) {
        let standing = self.flows[flow.0 as usize];
        let Some(id) = standing.exchange else { return };
        let Some(facts) = scene.exchanges.facts(flow, id) else { return };
        let last_down = facts.seen.first_byte.map(|_| facts.seen.last_down);
        if !is_open(&facts) || !has_left(closed, last_down, grace, scene.now) {
            return;
        }
        let rules = &scene.policy.policy().rules;
        let acts = scene.enforces(scene.policy.rule_mode(Rule::Cancel))
            && Sides::acts_on(standing.client, rules.share(Rule::Cancel), &rules.self_disarm);
        if acts {
            self.orders.push(Order::Reset { flow, toward: Toward::Server });
        }
        let grounds = DecisionGrounds {
            measured: scene.now.since(closed).secs_f64(),
            limit: grace.secs_f64(),
            ..DecisionGrounds::default()
        };
        let hold = standing.decision.and_then(|decision| decision.hold);
        let (grounds, enforced) = (Some(grounds), acts);
        let reset = Decision::of(Verdict::Reset, Reason::ClientLeft);
        clients.note_gate(flow, id, Decision { grounds, enforced, hold, ..reset });
    }

    /// First bytes of streams are looked for once a tick: whose they are is known late.
    pub(super) fn poll_streams(&mut self, scene: &Scene<'_>) {
        let Self { streams, backends, .. } = self;
        for stream in streams.iter_mut().filter(|stream| stream.first_byte.is_none()) {
            let facts = scene.exchanges.mux.facts(stream.flow, stream.server, stream.id);
            let Some((first, facts)) = facts.and_then(|f| Some((f.stream.first_byte?, f))) else {
                continue;
            };
            stream.first_byte = Some(first);
            let backend = backends.at_mut(stream.backend);
            let held = backend.queue.normal();
            backend.limit.first_byte(stream.ticket, facts.stream.last_up, held, first);
        }
    }

    /// The request of a flow is over, or nobody waits for it.
    pub(super) fn finish(&mut self, flow: FlowId, now: Nanos) {
        let standing = &mut self.flows[flow.0 as usize];
        standing.phase = Phase::Idle;
        if standing.exchange.take().is_some() {
            standing.decision = None;
        }
        let (Some(place), Some(ticket)) = (standing.backend, standing.ticket.take()) else {
            return;
        };
        self.shares.ended(Tenant::of(standing.client));
        let backend = self.backends.at_mut(place);
        let held = backend.queue.normal();
        backend.limit.ended(ticket, standing.first_byte, held, now);
        if let Some(client) = standing.address.and_then(|client| self.clients.get_mut(&client)) {
            client.ended();
        }
    }

    fn opened(
        &mut self,
        arrival: &Arrival,
        id: ExchangeId,
        scene: &Scene<'_>,
        clients: &mut Clients,
    ) {
        let standing = &mut self.flows[arrival.flow.0 as usize];
        match standing.phase {
            Phase::Granted => {
                standing.exchange = Some(id);
                standing.phase = Phase::Running;
                if let (Some(place), Some(ticket)) = (standing.backend, standing.ticket) {
                    self.backends.at_mut(place).limit.begun(ticket, arrival.at);
                }
            }
            // It is held with the hello before it.
            Phase::Held => standing.exchange = Some(id),
            Phase::Running | Phase::Idle => {
                self.finish(arrival.flow, arrival.at);
                self.arrive(*arrival, scene, clients);
            }
        }
        self.note(arrival.flow, clients);
        let standing = &self.flows[arrival.flow.0 as usize];
        if standing.budgeted && self.budgeted.len() < BUDGETED_MAX {
            let over = standing.decision.is_some_and(|d| d.reason == Reason::OverRetryBudget);
            self.budgeted.push_back((id, over));
        }
    }

    fn first_byte(&mut self, flow: FlowId, id: ExchangeId, at: Nanos, scene: &Scene<'_>) {
        let standing = &mut self.flows[flow.0 as usize];
        let (Some(place), Some(ticket)) = (standing.backend, standing.ticket) else { return };
        if standing.exchange != Some(id) || standing.first_byte.is_some() {
            return;
        }
        standing.first_byte = Some(at);
        // Net of the upload.
        let facts = scene.exchanges.facts(flow, id);
        let asked = facts.map_or(standing.forwarded, |facts| facts.seen.last_up);
        let backend = self.backends.at_mut(place);
        let held = backend.queue.normal();
        backend.limit.first_byte(ticket, asked.max(standing.forwarded), held, at);
        self.release(place, scene);
    }

    fn ended(&mut self, facts: &Facts, scene: &Scene<'_>) {
        if let Some(endpoint) = facts.seen.endpoint {
            self.endpoints.state_mut(endpoint).ended();
        }
        let flow = facts.seen.flow;
        let standing = self.flows[flow.0 as usize];
        if standing.exchange != Some(facts.seen.id) {
            return;
        }
        if standing.phase == Phase::Held {
            // Its client left while it was held, or its flow is over.
            if let Some(place) = standing.backend {
                self.backends.at_mut(place).queue.remove(flow);
            }
        }
        let end = facts.seen.last_heard.max(facts.seen.start).min(scene.now);
        if standing.ticket.is_some() && scene.policy.rule_mode(Rule::FairShare).enforces() {
            let occupied = end.since(standing.forwarded);
            let cost = fair::cost(occupied, facts.seen.up_bytes, facts.seen.down_bytes);
            // A turn was charged when it was let through.
            self.shares.charge(Tenant::of(standing.client), (cost - 1.0).max(0.0));
        }
        self.finish(flow, end);
        if let Some(place) = standing.backend {
            self.release(place, scene);
        }
    }

    fn stream_opened(
        &mut self,
        id: ExchangeId,
        flow: FlowId,
        at: Nanos,
        scene: &Scene<'_>,
        clients: &mut Clients,
    ) {
        if !self.streams.has_room() {
            return;
        }
        let entry = scene.flows.entry(flow);
        let (Some(endpoint), peers) = (entry.class.endpoint(), entry.peers()) else { return };
        let server = (peers.server, peers.server_port);
        let standing = &mut self.flows[flow.0 as usize];
        let granted = standing.backend.filter(|_| standing.phase == Phase::Granted);
        let granted = granted.and_then(|place| Some((place, standing.ticket.take()?)));
        let (place, ticket) = match granted {
            Some(granted) => {
                standing.phase = Phase::Idle;
                if let Some(decision) = standing.decision.take() {
                    clients.note_gate(flow, id, decision);
                }
                granted
            }
            None => {
                let place = standing.backend.filter(|_| standing.rerouted);
                let place = place.or_else(|| self.backends.find_or_make(server, endpoint, at));
                let Some(place) = place else { return };
                self.clients.touch(peers.client, at).forwarded();
                self.shares.forwarded(Tenant::of(self.sides.hash(peers.client)));
                (place, self.backends.at_mut(place).limit.forwarded(at))
            }
        };
        let (client, first_byte, server) = (peers.client, None, peers.server);
        self.streams.opened(Stream {
            id,
            flow,
            backend: place,
            server,
            client,
            ticket,
            first_byte,
        });
    }

    fn stream_ended(&mut self, id: ExchangeId, scene: &Scene<'_>) {
        let Some(stream) = self.streams.ended(id) else { return };
        let backend = self.backends.at_mut(stream.backend);
        let held = backend.queue.normal();
        backend.limit.ended(stream.ticket, stream.first_byte, held, scene.now);
        if let Some(client) = self.clients.get_mut(&stream.client) {
            client.ended();
        }
        self.shares.ended(Tenant::of(self.sides.hash(stream.client)));
        self.release(stream.backend, scene);
    }

    /// Sends a new connection elsewhere, if the replica it calls fails or has too much.
    fn reroute(&mut self, flow: FlowId, scene: &Scene<'_>) {
        let mode = scene.policy.rule_mode(Rule::Replica);
        let entry = scene.flows.entry(flow);
        let peers = entry.peers();
        let is_new = entry.halves[0].tcp.syn().is_some() && entry.halves[1].frames == 0;
        if mode == RuleMode::Off
            || scene.stance == Stance::Bypassed
            || peers.protocol != Protocol::Tcp
            || !is_new
        {
            return;
        }
        let port = peers.server_port;
        let Some(endpoint) = scene.policy.by_address(peers.server.ip(), port) else { return };
        let known = self.backends.known((peers.server, port));
        let Some(own) = known else { return };
        let v4 = peers.server.ip().is_ipv4();
        let pool = self.backends.pool(endpoint, port, |address| {
            let ip = address.ip();
            ip.is_ipv4() == v4 && scene.policy.by_address(ip, port) == Some(endpoint)
        });
        let Some(own) = pool.at(own) else { return };
        let rules = &scene.policy.policy().rules;
        let hash = self.sides.hash(peers.client);
        let draws = (hash, self.sides.bits());
        let Some(other) = choose(pool.replicas(), own, draws, &rules.replica) else { return };
        if other == own {
            return;
        }
        let place = pool.place(other);
        let armed = self.endpoints.state_mut(endpoint).disarm.is_armed(scene.now);
        let acts = armed
            && scene.enforces(mode)
            && Sides::acts_on(hash, rules.share(Rule::Replica), &rules.self_disarm);
        let replica = pool.replicas()[own];
        let grounds = DecisionGrounds {
            measured: replica.in_flight.into(),
            limit: pool.replicas()[other].in_flight.into(),
            in_flight: replica.in_flight,
            base_seconds: replica.first_byte_secs,
            ..DecisionGrounds::default()
        };
        let decision = Decision::of(Verdict::Reroute, Reason::ReplicaChoice);
        let decision = Decision { grounds: Some(grounds), enforced: acts, ..decision };
        let standing = &mut self.flows[flow.0 as usize];
        standing.decision = Some(decision);
        if acts {
            (standing.rerouted, standing.backend) = (true, Some(place));
            let to = self.backends.at(place).server;
            self.orders.push(Order::Reroute { flow, to });
        }
    }
}

/// Whether a server still owes some of a response when its client closes: it has not begun, or it is a
/// stream without its mark. A server that is done closes in turn.
fn is_open(facts: &Facts) -> bool {
    let under_way = facts.is_streamed() && !facts.last_is_terminator();
    facts.server_closed.is_none() && (facts.seen.first_byte.is_none() || under_way)
}

/// Whether a server took what it was asked; none when its client left before it could say.
const fn accepted(outcome: Outcome) -> Option<bool> {
    match outcome {
        Outcome::Complete | Outcome::Truncated | Outcome::Stalled => Some(true),
        Outcome::Failed | Outcome::Throttled | Outcome::ServerAbort | Outcome::ConnectFailed => {
            Some(false)
        }
        Outcome::ClientAbort | Outcome::Open => None,
    }
}
