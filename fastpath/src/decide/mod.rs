//! What should happen to an exchange. In shadow the answer is reported and nothing is done.

pub mod budget;
pub mod endpoint;
pub mod order;

use crate::burst::Packets;
use crate::detect::Clients;
use crate::exchange::{Edge, Exchanges};
use crate::flow::table::FlowTable;
use crate::policy::snapshot::{RuleMode, Snapshot};
use crate::telemetry::event::{Event, EventSender, Reason, Signal, SignalKind, Verdict};
use endpoint::EndpointStates;
use order::{HoldEnded, Order};

/// What an lcore decides by, and what it has decided in this burst.
#[derive(Debug, Default)]
pub struct Decider {
    endpoints: EndpointStates,
    orders: Vec<Order>,
}

/// What a decision may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stance {
    /// Frames pass through here and can be kept: orders are given where the policy enforces.
    Inline,
    /// They pass elsewhere: what would have been done is said.
    Beside,
}

impl Decider {
    /// What shall be done with the frames of this burst, and with what is kept of earlier ones; in
    /// this order. Empty unless the policy enforces and the stance is [`Stance::Inline`].
    #[must_use]
    pub fn orders(&self) -> &[Order] {
        &self.orders
    }

    /// A hold is over. Told of each hold exactly once, before the next burst is decided.
    pub fn hold_ended(&mut self, ended: &HoldEnded) {
        let _ = ended;
    }

    /// What is known of each endpoint.
    #[must_use]
    pub fn endpoints(&self) -> &EndpointStates {
        &self.endpoints
    }
}

/// Keeps the endpoints' in-flight counts and gives each decided attempt its verdict.
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
    let _ = (packets, flows, stance);
    let Decider { endpoints, orders } = decider;
    orders.clear();
    for edge in exchanges.edges() {
        match edge {
            Edge::Opened { endpoint: Some(id), .. } => endpoints.state_mut(*id).opened(),
            Edge::Ended(facts) => {
                if let Some(id) = facts.seen.endpoint {
                    endpoints.state_mut(id).ended();
                }
            }
            Edge::Withdrawn(_, Some(id)) => endpoints.state_mut(*id).ended(),
            Edge::FirstByte { .. }
            | Edge::Opened { endpoint: None, .. }
            | Edge::Withdrawn(_, None) => {}
        }
    }
    if policy.policy().mode == RuleMode::Off {
        return;
    }
    for i in 0..clients.decided().len() {
        let decided = clients.decided()[i];
        let Some(id) = decided.endpoint else { continue };
        let budget = &mut endpoints.state_mut(id).budget;
        let within =
            budget.admit(decided.link.attempt > 1, decided.at, &policy.policy().retry_budget);
        let verdict = if within {
            (Verdict::Pass, Reason::WithinRetryBudget)
        } else {
            (Verdict::Hold, Reason::OverRetryBudget)
        };
        clients.note_verdict(&decided, verdict);
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
