//! What should happen to an exchange. In shadow the answer is reported and nothing is done.
//!
//! One law a file, each a small state machine of its own: events and their time in, a decision out.
//! [`verdicts`] ties them: it tells them what began and ended, asks them at the gate
//! (`decide/gate.rs`), and turns what they say into orders for `act` and verdicts for the report. The
//! state of the laws belongs to one lcore (docs/decisions/0007).

pub mod backend;
pub mod breaker;
pub mod budget;
pub mod cancel;
pub mod disarm;
pub mod endpoint;
pub mod fair;
pub mod fanout;
mod gate;
pub mod guard;
pub mod limit;
pub mod load;
pub mod order;
pub mod patience;
mod progress;
pub mod queue;
pub mod replica;
pub mod side;
pub mod standing;
pub mod throttle;

use std::collections::VecDeque;

use crate::burst::{Address, FlowId, Packets};
use crate::detect::Clients;
use crate::exchange::Exchanges;
use crate::flow::table::FlowTable;
use crate::keyed::Seed;
use crate::lru::LruMap;
use crate::policy::rules::Rule;
use crate::policy::snapshot::{RuleMode, Snapshot};
use crate::telemetry::event::{
    Decision, Event, EventSender, ExchangeId, Reason, Signal, SignalKind, Verdict,
};
use crate::time::{Nanos, Ticker};
use backend::Backends;
use cancel::Cancels;
use endpoint::EndpointStates;
use fair::Shares;
use fanout::FanOut;
use order::{HoldEnd, HoldEnded, Order};
use side::Sides;
use standing::{Phase, Standing, Streams};

/// What an lcore decides by, and what it has decided in this burst.
#[derive(Debug)]
pub struct Decider {
    endpoints: EndpointStates,
    backends: Backends,
    /// By slot of the flow table.
    flows: Vec<Standing>,
    streams: Streams,
    clients: LruMap<Address, FanOut>,
    shares: Shares,
    cancels: Cancels,
    sides: Sides,
    orders: Vec<Order>,
    /// Holds that an order of this burst ended.
    released: Vec<FlowId>,
    /// Connections that were let through, and whose request is to come.
    grants: Grants,
    /// Exchanges that the gate took for retries, and whether they were over budget.
    budgeted: VecDeque<(ExchangeId, bool)>,
    /// Holds that `act` has ended since the last burst.
    ended: Vec<HoldEnded>,
    ticker: Ticker,
    lcores: u16,
}

/// What a decision may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stance {
    /// Frames pass through here and can be kept: orders are given where the policy enforces.
    Inline,
    /// They pass elsewhere: what would have been done is said.
    Beside,
    /// Nothing is decided and everything held goes; what happens is counted all the same.
    Bypassed,
}

/// What the laws look at in one burst.
#[derive(Clone, Copy)]
struct Scene<'a> {
    flows: &'a FlowTable,
    exchanges: &'a Exchanges,
    policy: &'a Snapshot,
    stance: Stance,
    now: Nanos,
}

/// Connections that were let through, in order.
#[derive(Debug)]
struct Grants(VecDeque<(Nanos, FlowId)>);

/// Room for each of them.
const GRANTS_MAX: usize = 16_384;
/// Clients whose running requests are counted.
const CLIENTS_MAX: usize = 4096;
/// Orders of one burst, at most: what exceeds them is let through, or released with the next.
const ORDERS: usize = 2048;
/// Exchanges that the gate judged and that are still to be decided.
const BUDGETED_MAX: usize = 8192;

impl Scene<'_> {
    /// Whether a rule of this mode may act.
    fn enforces(&self, mode: RuleMode) -> bool {
        mode.enforces() && self.stance == Stance::Inline
    }
}

impl Decider {
    /// For a flow table with this many slots, on one of so many lcores that share the traffic. Who is
    /// acted on, and what is drawn, follows from the seed.
    #[must_use]
    pub fn for_slots(slots: usize, lcores: u16, seed: Seed) -> Self {
        Self {
            endpoints: EndpointStates::default(),
            backends: Backends::new(lcores),
            flows: vec![Standing::default(); slots],
            streams: Streams::default(),
            clients: LruMap::with_capacity(CLIENTS_MAX),
            shares: Shares::default(),
            cancels: Cancels::default(),
            sides: Sides::new(seed),
            orders: Vec::with_capacity(ORDERS),
            released: Vec::with_capacity(ORDERS),
            grants: Grants(VecDeque::with_capacity(GRANTS_MAX)),
            budgeted: VecDeque::with_capacity(BUDGETED_MAX),
            ended: Vec::with_capacity(4 * ORDERS),
            ticker: Ticker::every(limit::TICK),
            lcores,
        }
    }

    /// What shall be done with the frames of this burst, and with what is kept of earlier ones; in
    /// this order. Empty unless the policy enforces and the stance is [`Stance::Inline`], but for
    /// releases of what was held before.
    #[must_use]
    pub fn orders(&self) -> &[Order] {
        &self.orders
    }

    /// A hold is over. Told of each hold exactly once, before the next burst is decided.
    pub fn hold_ended(&mut self, ended: &HoldEnded) {
        self.ended.push(*ended);
    }

    /// What is known of each endpoint.
    #[must_use]
    pub fn endpoints(&self) -> &EndpointStates {
        &self.endpoints
    }

    /// Requests that are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.backends.held()
    }

    /// What found no room: backends, holds, streams and closes that are not judged.
    #[must_use]
    pub fn refused(&self) -> u64 {
        let queues = (0..self.backends.len()).map(|place| self.backends.at(place).queue.refused);
        self.backends.refused + queues.sum::<u64>() + self.streams.refused + self.cancels.refused
    }

    /// Takes over what became of holds.
    fn settle_holds(&mut self, scene: &Scene<'_>, clients: &mut Clients) {
        for i in 0..self.ended.len() {
            let HoldEnded { flow, end, at } = self.ended[i];
            let standing = &mut self.flows[flow.0 as usize];
            if standing.phase == Phase::Granted && end == HoldEnd::Left {
                // It left before its release was due.
                self.finish(flow, at);
                continue;
            }
            if standing.phase != Phase::Held {
                continue;
            }
            let connects = standing.exchange.is_none();
            if let Some(decision) = &mut standing.decision {
                decision.hold = Some(at.since(standing.arrived));
            }
            if let Some(place) = standing.backend {
                self.backends.at_mut(place).queue.remove(flow);
            }
            match end {
                // The connection is opened in time, and its request is asked for anew.
                HoldEnd::Expired if connects => self.flows[flow.0 as usize].phase = Phase::Idle,
                HoldEnd::Released | HoldEnd::Expired | HoldEnd::Full => {
                    self.forward(flow, at, scene);
                }
                HoldEnd::Left => self.flows[flow.0 as usize].phase = Phase::Idle,
            }
            self.note(flow, clients);
        }
        self.ended.clear();
    }

    /// Ends every hold.
    fn release_all(&mut self, scene: &Scene<'_>) {
        for place in 0..self.backends.len() {
            // What exceeds a burst's orders goes with the next burst.
            while self.orders.len() < ORDERS
                && let Some(held) = self.backends.at_mut(place).queue.drain()
            {
                self.let_go(&held, scene);
            }
        }
    }

    /// Time has passed.
    fn tick(&mut self, scene: &Scene<'_>) {
        let now = scene.now;
        let mut saturated = [false; crate::policy::snapshot::ENDPOINTS_MAX];
        let guarded = scene.policy.rule_mode(Rule::Guard) != RuleMode::Off;
        for place in 0..self.backends.len() {
            let backend = self.backends.at_mut(place);
            let held = backend.queue.normal();
            backend.limit.tick(held, now);
            saturated[backend.endpoint.index()] |= backend.limit.judge(held, now).evidence;
            let guard = &self.endpoints.state_mut(backend.endpoint).guard;
            backend.limit.scale = if guarded { guard.scale() } else { 1.0 };
        }
        for (endpoint, saturated) in self.endpoints.all_mut().iter_mut().zip(saturated) {
            endpoint.guard.tick(saturated, now);
        }
        while let Some((_, flow)) =
            self.grants.0.pop_front_if(|(at, _)| *at + gate::GRANT_MAX <= now)
        {
            let standing = &self.flows[flow.0 as usize];
            // Another may have its place, or it was let through again since.
            if standing.phase == Phase::Granted && standing.forwarded + gate::GRANT_MAX <= now {
                self.finish(flow, now);
            }
        }
        for place in 0..self.backends.len() {
            self.release(place, scene);
        }
    }

    /// What an attempt is turns out half a second after its start. First attempts earn retries then, and
    /// a retry that the gate has not judged is.
    fn judge_decided(
        &mut self,
        scene: &Scene<'_>,
        clients: &mut Clients,
        events: &mut EventSender,
    ) {
        let budget_mode = scene.policy.rule_mode(Rule::RetryBudget);
        let guarded = scene.policy.rule_mode(Rule::Guard) != RuleMode::Off;
        for i in 0..clients.decided().len() {
            let decided = clients.decided()[i];
            let Some(id) = decided.endpoint else { continue };
            let state = self.endpoints.state_mut(id);
            let is_retry = decided.link.attempt > 1;
            state.guard.started(is_retry);
            let gated = self.budgeted.binary_search_by_key(&decided.id, |(id, _)| *id).ok();
            if gated.is_some_and(|place| self.budgeted.remove(place).is_some())
                || budget_mode == RuleMode::Off
            {
                continue;
            }
            let terms = gate::terms(state, scene, guarded, self.lcores);
            let within = state.budget.admit(is_retry, decided.at, &terms);
            let decision = if within {
                Decision::of(Verdict::Pass, Reason::WithinRetryBudget)
            } else {
                Decision::of(Verdict::Hold, Reason::OverRetryBudget)
            };
            clients.note_verdict(&decided, decision);
            if !within {
                events.send(Event::Signal(Signal {
                    at: decided.at,
                    kind: SignalKind::OverBudget,
                    exchange: decided.id,
                    peers: decided.peers,
                    endpoint: decided.endpoint,
                    value: f64::from(decided.link.attempt),
                    episode: None,
                }));
            }
        }
    }
}

impl Grants {
    fn push(&mut self, grant: (Nanos, FlowId)) {
        if self.0.len() < GRANTS_MAX {
            self.0.push_back(grant);
        }
    }
}

/// Tells the laws what happened in this burst, and asks them what shall be done.
#[allow(clippy::too_many_arguments, reason = "a stage names all it reads and changes")]
pub fn verdicts(
    packets: &Packets,
    flows: &FlowTable,
    exchanges: &Exchanges,
    clients: &mut Clients,
    decider: &mut Decider,
    policy: &Snapshot,
    stance: Stance,
    events: &mut EventSender,
) {
    decider.orders.clear();
    decider.released.clear();
    let now = packets.now;
    let scene = Scene { flows, exchanges, policy, stance, now };
    decider.settle_holds(&scene, clients);
    let enforces = scene.enforces(policy.policy().mode);
    if !enforces && decider.held() > 0 {
        decider.release_all(&scene);
    }
    for &flow in flows.fresh() {
        decider.begin(flow, &scene);
    }
    decider.follow(packets, &scene, clients);
    decider.judge_ended(&scene, clients, events);
    decider.cancel(packets, &scene, clients);
    if decider.ticker.due(now) {
        decider.poll_streams(&scene);
        decider.tick(&scene);
    }
    for i in 0..decider.released.len() {
        decider.note(decider.released[i], clients);
    }
    if policy.policy().mode != RuleMode::Off && stance != Stance::Bypassed {
        decider.judge_decided(&scene, clients, events);
    }
}

#[cfg(test)]
mod tests;
