//! What should happen to an exchange. In shadow the answer is reported and nothing is done.

pub mod budget;
pub mod endpoint;

use crate::detect::Clients;
use crate::exchange::mux::{MuxEdge, StreamFacts};
use crate::exchange::{Edge, Exchanges};
use crate::policy::snapshot::{RuleMode, Snapshot};
use crate::telemetry::event::{Event, EventSender, Reason, Signal, SignalKind, Verdict};
use endpoint::EndpointStates;

/// Keeps the endpoints' in-flight counts and gives each decided attempt its verdict.
pub fn verdicts(
    exchanges: &Exchanges,
    clients: &mut Clients,
    endpoints: &mut EndpointStates,
    policy: &Snapshot,
    events: &mut EventSender,
) {
    for edge in exchanges.edges() {
        match edge {
            Edge::Opened { endpoint: Some(id), .. } => endpoints.state_mut(*id).opened(),
            Edge::Ended(facts) => {
                if let Some(id) = facts.seen.endpoint {
                    endpoints.state_mut(id).ended();
                }
            }
            Edge::Withdrawn(_, Some(id)) => endpoints.state_mut(*id).ended(),
            Edge::Opened { endpoint: None, .. } | Edge::Withdrawn(_, None) => {}
        }
    }
    for edge in exchanges.mux.edges() {
        match edge {
            MuxEdge::Opened { endpoint: Some(id), .. } => endpoints.state_mut(*id).opened(),
            MuxEdge::Ended(StreamFacts { endpoint: Some(id), .. }) => {
                endpoints.state_mut(*id).ended();
            }
            MuxEdge::Opened { .. } | MuxEdge::Ended(_) | MuxEdge::MaybeReset { .. } => {}
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
