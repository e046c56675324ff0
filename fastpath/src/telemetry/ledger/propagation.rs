//! How a failure spread: from the endpoint that failed, through the client that met it, to what the
//! client did next within the retry window: another attempt there, work done again, branches that
//! were doomed, or calls elsewhere.
//!
//! A retry is a link the detector has found. A further call is only what followed in time: the
//! report says "followed", not "caused". Bounded: the busiest pairs of client and endpoint, the
//! last failures of each. [`Episodes`] keeps such a graph for each episode that was told of.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::telemetry::event::{Phase, Scope, SignalKind, Waste};
use crate::telemetry::line::{EventLine, ExchangeLine};

/// Pairs of client and endpoint with failures that are remembered.
const PAIRS_MAX: usize = 4096;

/// Edges that are kept.
const EDGES_KEPT: usize = 3 * PAIRS_MAX;

/// Failures of a pair that are remembered: those a call that began earlier but ended later can
/// still follow.
const FAILURES_MAX: usize = 32;

/// Flows of failures in the report: the widest.
const EDGES_MAX: usize = 200;

/// Episodes that are followed at once, and that are kept once they are over.
const EPISODES_MAX: usize = 32;

/// Exchanges that are kept for episodes that are told of after they began.
const RECENT_MAX: usize = 256;

/// The gathered failures and what followed.
#[derive(Debug, Default)]
pub struct Propagation {
    window_seconds: f64,
    /// Ends of the last failures, by client and then by endpoint.
    failures: HashMap<String, BTreeMap<String, VecDeque<f64>>>,
    pairs: usize,
    /// By client, then by endpoint, then by kind.
    sums: HashMap<String, HashMap<String, BTreeMap<Kind, Sums>>>,
    edges: usize,
}

/// What an edge adds up to.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    exchanges: u64,
    failed: u64,
    seconds: f64,
    tokens: f64,
}

/// What an edge counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// From an endpoint to a client: attempts that failed.
    Failure,
    /// From a client to an endpoint: further attempts at failed work.
    Retry,
    /// From a client to an endpoint: calls that followed a failure elsewhere.
    FollowedBy,
    /// From a client to an endpoint: answered work that was done again after a failure.
    Restart,
    /// From a client to an endpoint: branches that went on beside one that had failed.
    Doomed,
}

/// One edge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    /// How long they took, seconds.
    #[serde(default)]
    pub seconds: f64,
    /// Their output tokens, the likely figure.
    #[serde(default)]
    pub tokens: f64,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Node {
    /// `endpoint:NAME` or `client:ADDRESS`.
    pub id: String,
    /// `endpoint` or `client`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// The finished graph, the widest edges first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
        Self { window_seconds, ..Self::default() }
    }

    /// Enters one exchange.
    pub fn add(&mut self, exchange: &ExchangeLine) {
        if let Some(kind) = self.kind(exchange) {
            self.count(kind, exchange);
        }
        if exchange.outcome.invites_retry() {
            self.remember(exchange);
            self.count(Kind::Failure, exchange);
        }
    }

    /// What of an earlier failure an exchange is, if it is anything of it.
    fn kind(&self, exchange: &ExchangeLine) -> Option<Kind> {
        if exchange.retry_of.is_some() {
            return Some(Kind::Retry);
        }
        match exchange.waste {
            Some(Waste::Doomed) => Some(Kind::Doomed),
            _ if exchange.restart && self.failed_before(exchange) => Some(Kind::Restart),
            _ => self.failed_elsewhere(exchange).then_some(Kind::FollowedBy),
        }
    }

    /// The finished graph.
    #[must_use]
    pub fn view(&self, window_seconds: f64) -> PropagationView {
        let mut edges: Vec<Edge> = Vec::with_capacity(self.edges);
        for (client, of_client) in &self.sums {
            for (endpoint, kinds) in of_client {
                let edge = |(kind, sums): (&Kind, &Sums)| sums.edge(*kind, client, endpoint);
                edges.extend(kinds.iter().map(edge));
            }
        }
        edges.sort_by(|a, b| {
            let by_name = || (&a.from, &a.to, a.kind).cmp(&(&b.from, &b.to, b.kind));
            b.exchanges.cmp(&a.exchanges).then_with(by_name)
        });
        edges.truncate(EDGES_MAX);
        let mut ids: Vec<&String> = edges.iter().flat_map(|edge| [&edge.from, &edge.to]).collect();
        ids.sort_unstable();
        ids.dedup();
        let node = |id: &&String| {
            let (kind, name) = id.split_once(':').unwrap_or(("", id));
            let kind = if kind == "client" { "client" } else { "endpoint" };
            Node { id: (*id).clone(), kind: kind.to_owned(), name: name.to_owned() }
        };
        PropagationView { window_seconds, nodes: ids.iter().map(node).collect(), edges }
    }

    /// Whether this client met a failure of another endpoint shortly before this exchange began.
    fn failed_elsewhere(&self, exchange: &ExchangeLine) -> bool {
        self.failed_at(exchange, |endpoint| endpoint != exchange.server_name())
    }

    /// The same of any endpoint.
    fn failed_before(&self, exchange: &ExchangeLine) -> bool {
        self.failed_at(exchange, |_| true)
    }

    fn failed_at(&self, exchange: &ExchangeLine, which: impl Fn(&str) -> bool) -> bool {
        let window = exchange.start - self.window_seconds..=exchange.start;
        let lately = |(endpoint, ends): (&String, &VecDeque<f64>)| {
            which(endpoint) && ends.iter().any(|end| window.contains(end))
        };
        self.failures.get(&exchange.client).is_some_and(|ends| ends.iter().any(lately))
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

    fn count(&mut self, kind: Kind, exchange: &ExchangeLine) {
        if let Some(sums) = self.sums_of(kind, &exchange.client, exchange.server_name()) {
            sums.exchanges += 1;
            sums.failed += u64::from(exchange.outcome.invites_retry());
            sums.seconds += exchange.seconds();
            sums.tokens += exchange.tokens_estimate.map_or(0.0, |[_, likely, _]| likely);
        }
    }

    /// The sums of an edge, known or new; none where there is no room for a new one.
    fn sums_of(&mut self, kind: Kind, client: &str, endpoint: &str) -> Option<&mut Sums> {
        let kinds = self.sums.get(client).and_then(|of_client| of_client.get(endpoint));
        if !kinds.is_some_and(|kinds| kinds.contains_key(&kind)) {
            if self.edges >= EDGES_KEPT {
                return None;
            }
            self.edges += 1;
            let of_client = self.sums.entry(client.to_owned()).or_default();
            of_client.entry(endpoint.to_owned()).or_default().insert(kind, Sums::default());
        }
        self.sums.get_mut(client)?.get_mut(endpoint)?.get_mut(&kind)
    }
}

impl Sums {
    fn edge(self, kind: Kind, client: &str, endpoint: &str) -> Edge {
        let (client, endpoint) = (format!("client:{client}"), format!("endpoint:{endpoint}"));
        let (from, to) =
            if kind == Kind::Failure { (endpoint, client) } else { (client, endpoint) };
        let Self { exchanges, failed, seconds, tokens } = self;
        Edge { from, to, kind, exchanges, failed, seconds, tokens }
    }
}

/// The graphs of episodes: outages, cascades, restarts.
#[derive(Debug, Default)]
pub struct Episodes {
    window_seconds: f64,
    open: Vec<Open>,
    over: VecDeque<EpisodeView>,
    recent: VecDeque<ExchangeLine>,
    /// Episodes that found no room.
    lost: u64,
}

/// An episode that runs.
#[derive(Debug)]
struct Open {
    kind: SignalKind,
    scope: Scope,
    /// The client, the endpoint or the server's address that it is about.
    of: String,
    began: f64,
    graph: Propagation,
}

/// An episode and how it spread.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EpisodeView {
    /// What kind it is.
    pub kind: SignalKind,
    /// Whom it is about.
    pub scope: Scope,
    /// The client, the endpoint or the server's address.
    pub of: String,
    /// When it began, Unix seconds.
    pub began: f64,
    /// When it ended; none while it runs.
    pub ended: Option<f64>,
    /// Its largest figure, in the unit of its kind.
    pub peak: f64,
    /// Its graph.
    pub graph: PropagationView,
}

impl Episodes {
    /// None yet; what begins within `window_seconds` after a failure follows it.
    #[must_use]
    pub fn new(window_seconds: f64) -> Self {
        Self { window_seconds, ..Self::default() }
    }

    /// Enters one exchange, in the order in which they end.
    pub fn add(&mut self, exchange: &ExchangeLine) {
        for open in &mut self.open {
            open.add(exchange);
        }
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(exchange.clone());
    }

    /// Enters one signal; those that are no part of an episode are passed over.
    pub fn add_event(&mut self, event: &EventLine) {
        let Some(episode) = &event.episode else { return };
        let spreads = matches!(
            event.kind,
            SignalKind::Cascade
                | SignalKind::WorkflowRestart
                | SignalKind::Loop
                | SignalKind::Outage
                | SignalKind::Throttling
        );
        if !spreads {
            return;
        }
        let of = match episode.scope {
            Scope::Client => event.client.clone(),
            Scope::Endpoint => event.endpoint.clone().unwrap_or_else(|| event.server.clone()),
            Scope::Backend => event.server.clone(),
        };
        match episode.phase {
            Phase::Begins if self.open.len() == EPISODES_MAX => self.lost += 1,
            Phase::Begins => {
                let (kind, scope, began) = (event.kind, episode.scope, episode.began);
                let graph = Propagation::new(self.window_seconds);
                let mut open = Open { kind, scope, of, began, graph };
                self.recent.iter().for_each(|exchange| open.add(exchange));
                self.open.push(open);
            }
            Phase::Ends => {
                let is_it = |open: &Open| open.kind == event.kind && open.began == episode.began;
                let index = self.open.iter().position(|open| is_it(open) && open.of == of);
                if let Some(open) = index.map(|index| self.open.swap_remove(index)) {
                    if self.over.len() == EPISODES_MAX {
                        self.over.pop_front();
                        self.lost += 1;
                    }
                    self.over.push_back(open.view(Some(event.time), event.value));
                }
            }
        }
    }

    /// The episodes, in order of their beginning.
    #[must_use]
    pub fn view(&self) -> Vec<EpisodeView> {
        let open = self.open.iter().map(|open| open.view(None, 0.0));
        let mut all: Vec<EpisodeView> = self.over.iter().cloned().chain(open).collect();
        all.sort_by(|a, b| a.began.total_cmp(&b.began).then_with(|| a.of.cmp(&b.of)));
        all
    }

    /// Episodes that found no room.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

impl Open {
    /// Enters an exchange of the client, endpoint or server that the episode is about, or what
    /// followed from its failures.
    fn add(&mut self, exchange: &ExchangeLine) {
        let own = match self.scope {
            Scope::Client => exchange.client == self.of,
            Scope::Endpoint => exchange.server_name() == self.of,
            Scope::Backend => exchange.server == self.of,
        };
        if exchange.over() >= self.began && (own || self.graph.failed_before(exchange)) {
            self.graph.add(exchange);
        }
    }

    fn view(&self, ended: Option<f64>, peak: f64) -> EpisodeView {
        let Self { kind, scope, began, .. } = *self;
        let graph = self.graph.view(self.graph.window_seconds);
        EpisodeView { kind, scope, of: self.of.clone(), began, ended, peak, graph }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::event::Outcome;
    use crate::telemetry::ledger::tally::tests;
    use crate::telemetry::line::{EpisodeLine, EventClass};

    fn exchange(client: &str, endpoint: &str, start: f64, end: f64) -> ExchangeLine {
        let (client, endpoint) = (client.to_owned(), Some(endpoint.to_owned()));
        ExchangeLine { client, endpoint, ..tests::exchange(start, end) }
    }

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

    #[test]
    fn work_done_again_after_a_failure_is_a_restart_and_a_doomed_branch_is_one() {
        let again = ExchangeLine { restart: true, ..exchange("c", "b", 2.0, 3.0) };
        let doomed = ExchangeLine { waste: Some(Waste::Doomed), ..exchange("c", "b", 2.0, 3.0) };
        let seen = edges(&[failed("c", "a", 0.0, 1.0), again, doomed]);
        let kinds: Vec<Kind> = seen.iter().map(|edge| edge.2).collect();
        assert_eq!(kinds, [Kind::Restart, Kind::Doomed, Kind::Failure]);
    }

    fn outage(phase: Phase, time: f64) -> EventLine {
        EventLine {
            pcap: None,
            time,
            event: EventClass::Signal,
            kind: SignalKind::Outage,
            exchange: "x1".to_owned(),
            client: "c".to_owned(),
            client_port: 1,
            server: "192.0.2.1".to_owned(),
            server_port: 443,
            endpoint: Some("a".to_owned()),
            value: 0.5,
            unit: "share".to_owned(),
            waste: None,
            episode: Some(EpisodeLine {
                phase,
                scope: Scope::Endpoint,
                began: 0.5,
                exchanges: 8,
                in_vain: 4,
                tokens: 0.0,
                margin: None,
                confidence: 0.9,
            }),
        }
    }

    #[test]
    fn an_episode_has_the_failures_of_its_endpoint_and_what_followed_from_them() {
        let mut episodes = Episodes::new(12.0);
        episodes.add(&failed("c", "a", 0.0, 1.0));
        episodes.add(&failed("other", "b", 0.0, 1.0));
        episodes.add_event(&outage(Phase::Begins, 1.5));
        episodes.add(&exchange("c", "b", 2.0, 3.0));
        episodes.add(&exchange("other", "b", 2.0, 3.0));
        episodes.add_event(&outage(Phase::Ends, 9.0));
        episodes.add(&failed("c", "a", 10.0, 11.0));
        let all = episodes.view();
        assert_eq!((all.len(), all[0].ended, all[0].peak), (1, Some(9.0), 0.5));
        let seen: Vec<_> = all[0].graph.edges.iter().map(|e| (e.kind, e.exchanges)).collect();
        assert_eq!(seen, [(Kind::FollowedBy, 1), (Kind::Failure, 1)]);
    }

    #[test]
    fn episodes_beyond_the_limit_are_counted() {
        let mut episodes = Episodes::new(12.0);
        for _ in 0..EPISODES_MAX + 3 {
            episodes.add_event(&outage(Phase::Begins, 1.0));
        }
        assert_eq!((episodes.view().len(), episodes.lost()), (EPISODES_MAX, 3));
    }
}
