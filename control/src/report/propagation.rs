//! How a failure spread: from the endpoint that failed, through the client that met it, to what the
//! client did next within the retry window: another attempt there, or calls elsewhere.
//!
//! A retry is a link the detector has found. A further call is only what followed in time: the
//! report says "followed", not "caused". Bounded: the busiest pairs of client and endpoint, the
//! last failures of each.

use std::collections::{BTreeMap, HashMap, VecDeque};

use fastpath::telemetry::line::ExchangeLine;
use serde::Serialize;

/// Pairs of client and endpoint with failures that are remembered.
const PAIRS_MAX: usize = 4096;

/// Failures of a pair that are remembered: those a call that began earlier but ended later can
/// still follow.
const FAILURES_MAX: usize = 32;

/// Flows of failures in the report: the widest.
const EDGES_MAX: usize = 200;

/// The gathered failures and what followed.
#[derive(Debug)]
pub struct Propagation {
    window_seconds: f64,
    /// Ends of the last failures, by client and then by endpoint.
    failures: HashMap<String, BTreeMap<String, VecDeque<f64>>>,
    pairs: usize,
    edges: BTreeMap<(String, String, Kind), Edge>,
}

/// What an edge counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// From an endpoint to a client: attempts that failed.
    Failure,
    /// From a client to an endpoint: further attempts at failed work.
    Retry,
    /// From a client to an endpoint: calls that followed a failure elsewhere.
    FollowedBy,
}

/// One edge.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Edge {
    /// Node it comes from.
    pub from: String,
    /// Node it goes to.
    pub to: String,
    /// What it counts.
    pub kind: Kind,
    /// How many.
    pub exchanges: u64,
    /// How many of them failed in their turn.
    pub failed: u64,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Node {
    /// `endpoint:NAME` or `client:ADDRESS`.
    pub id: String,
    /// `endpoint` or `client`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
}

/// The finished graph, the widest edges first.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PropagationView {
    /// A call that begins within this time after a failure follows it.
    pub window_seconds: f64,
    /// Endpoints and clients with an edge.
    pub nodes: Vec<Node>,
    /// Edges.
    pub edges: Vec<Edge>,
}

impl Propagation {
    /// An empty graph; what begins within `window_seconds` after a failure follows it.
    #[must_use]
    pub fn new(window_seconds: f64) -> Self {
        Self { window_seconds, failures: HashMap::new(), pairs: 0, edges: BTreeMap::new() }
    }

    /// Enters one exchange.
    pub fn add(&mut self, exchange: &ExchangeLine) {
        let name = exchange.server_name();
        let (endpoint, client) =
            (format!("endpoint:{name}"), format!("client:{}", exchange.client));
        let failed = exchange.outcome.invites_retry();
        if exchange.retry_of.is_some() {
            self.count(&client, &endpoint, Kind::Retry, failed);
        } else if self.failed_elsewhere(exchange) {
            self.count(&client, &endpoint, Kind::FollowedBy, failed);
        }
        if failed {
            self.remember(exchange);
            self.count(&endpoint, &client, Kind::Failure, true);
        }
    }

    /// The finished graph.
    #[must_use]
    pub fn view(&self, window_seconds: f64) -> PropagationView {
        let mut edges: Vec<Edge> = self.edges.values().cloned().collect();
        edges.sort_by(|a, b| b.exchanges.cmp(&a.exchanges).then_with(|| a.from.cmp(&b.from)));
        edges.truncate(EDGES_MAX);
        let mut ids: Vec<&String> = edges.iter().flat_map(|edge| [&edge.from, &edge.to]).collect();
        ids.sort_unstable();
        ids.dedup();
        let node = |id: &&String| {
            let (kind, name) = id.split_once(':').unwrap_or(("", id));
            let kind = if kind == "client" { "client" } else { "endpoint" };
            Node { id: (*id).clone(), kind, name: name.to_owned() }
        };
        PropagationView { window_seconds, nodes: ids.iter().map(node).collect(), edges }
    }

    /// Whether this client met a failure of another endpoint shortly before this exchange began.
    fn failed_elsewhere(&self, exchange: &ExchangeLine) -> bool {
        let window = exchange.start - self.window_seconds..=exchange.start;
        let elsewhere = |(endpoint, ends): (&String, &VecDeque<f64>)| {
            endpoint != exchange.server_name() && ends.iter().any(|end| window.contains(end))
        };
        self.failures.get(&exchange.client).is_some_and(|ends| ends.iter().any(elsewhere))
    }

    fn remember(&mut self, exchange: &ExchangeLine) {
        let known = self.failures.get(&exchange.client);
        let known = known.is_some_and(|ends| ends.contains_key(exchange.server_name()));
        if !known && self.pairs == PAIRS_MAX {
            return;
        }
        self.pairs += usize::from(!known);
        let of_client = self.failures.entry(exchange.client.clone()).or_default();
        let ends = of_client.entry(exchange.server_name().to_owned()).or_default();
        if ends.len() == FAILURES_MAX {
            ends.pop_front();
        }
        ends.push_back(exchange.over());
    }

    fn count(&mut self, from: &str, to: &str, kind: Kind, failed: bool) {
        let key = (from.to_owned(), to.to_owned(), kind);
        if self.edges.len() >= PAIRS_MAX * 3 && !self.edges.contains_key(&key) {
            return;
        }
        let edge = self.edges.entry(key).or_insert_with(|| Edge {
            from: from.to_owned(),
            to: to.to_owned(),
            kind,
            exchanges: 0,
            failed: 0,
        });
        edge.exchanges += 1;
        edge.failed += u64::from(failed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::exchange;
    use fastpath::telemetry::event::Outcome;

    fn failed(client: &str, endpoint: &str, start: f64, end: f64) -> ExchangeLine {
        ExchangeLine { outcome: Outcome::Failed, ..exchange(client, endpoint, start, end) }
    }

    fn edges(exchanges: &[ExchangeLine]) -> Vec<(String, String, Kind, u64)> {
        let mut propagation = Propagation::new(12.0);
        exchanges.iter().for_each(|exchange| propagation.add(exchange));
        let view = propagation.view(12.0);
        view.edges.into_iter().map(|e| (e.from, e.to, e.kind, e.exchanges)).collect()
    }

    #[test]
    fn a_failure_its_retry_and_a_call_elsewhere_are_three_edges() {
        let retry =
            ExchangeLine { retry_of: Some("x1".to_owned()), ..exchange("c", "a", 2.0, 3.0) };
        let seen = edges(&[failed("c", "a", 0.0, 1.0), retry, exchange("c", "b", 3.0, 4.0)]);
        let edge = |from: &str, to: &str, kind| (from.to_owned(), to.to_owned(), kind, 1);
        assert_eq!(
            seen,
            [
                edge("client:c", "endpoint:a", Kind::Retry),
                edge("client:c", "endpoint:b", Kind::FollowedBy),
                edge("endpoint:a", "client:c", Kind::Failure),
            ]
        );
    }

    #[test]
    fn what_another_client_does_or_what_comes_too_late_does_not_follow() {
        let seen = edges(&[
            failed("c", "a", 0.0, 1.0),
            exchange("other", "b", 2.0, 3.0),
            exchange("c", "b", 20.0, 21.0),
        ]);
        assert_eq!(seen.len(), 1);
    }

    #[test]
    fn success_spreads_nothing() {
        assert!(edges(&[exchange("c", "a", 0.0, 1.0), exchange("c", "b", 2.0, 3.0)]).is_empty());
    }
}
