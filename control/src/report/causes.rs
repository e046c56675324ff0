//! The causes of waste: classes of waste at one endpoint, the worst first, each with exchanges as
//! evidence that `fermata explain` takes.
//!
//! Bounded: a fixed number of (class, endpoint, client) accounts; what finds no room is entered as
//! of other clients.

use std::collections::{BTreeMap, HashMap};

use fastpath::telemetry::event::Waste;
use fastpath::telemetry::ledger::{OTHERS, Range, Tally, WasteTotals};
use fastpath::telemetry::line::ExchangeLine;
use serde::Serialize;

/// Accounts of class, endpoint and client.
const ACCOUNTS_MAX: usize = 4096;
/// Causes in the report.
const CAUSES_MAX: usize = 10;
/// Exchanges named for each.
const EVIDENCE_MAX: usize = 3;

/// The waste gathered so far.
#[derive(Debug, Default)]
pub struct Causes {
    accounts: HashMap<Key, Sums>,
    /// Seconds of all exchanges, the useful ones too.
    seconds: f64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key {
    waste: Waste,
    endpoint: String,
    client: String,
}

#[derive(Clone, Debug)]
struct Sums {
    totals: WasteTotals,
    first: f64,
    last: f64,
    evidence: Vec<(f64, Evidence)>,
}

/// An exchange that shows a cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// Its number, for `fermata explain`.
    pub exchange: String,
    /// File name of its capture, when several were read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capture: Option<String>,
}

/// A class of waste at one endpoint.
#[derive(Clone, Debug, Serialize)]
pub struct Cause {
    /// The class.
    pub waste: Waste,
    /// The endpoint, or another server.
    pub endpoint: String,
    /// What it adds up to.
    pub totals: WasteTotals,
    /// Its share of all waste, 0 to 1: of wasted attempts, seconds and tokens, each of which weighs
    /// as much as of it was wasted.
    pub share: f64,
    /// Clients that it befell.
    pub clients: usize,
    /// The one with most of it, and with how many attempts.
    pub worst_client: (String, u64),
    /// Begin of the first of these attempts, Unix seconds.
    pub first: f64,
    /// End of the last.
    pub last: f64,
    /// The heaviest of them.
    pub evidence: Vec<Evidence>,
}

impl Causes {
    /// Enters one exchange; one that was not wasted leaves nothing.
    pub fn add(&mut self, exchange: &ExchangeLine) {
        self.seconds += exchange.seconds();
        let Some(waste) = exchange.waste else { return };
        let mut key = Key {
            waste,
            endpoint: exchange.server_name().to_owned(),
            client: exchange.client.clone(),
        };
        if self.accounts.len() >= ACCOUNTS_MAX && !self.accounts.contains_key(&key) {
            OTHERS.clone_into(&mut key.endpoint);
            OTHERS.clone_into(&mut key.client);
        }
        self.accounts.entry(key).or_insert_with(|| Sums::new(exchange.start)).add(exchange);
    }

    /// The causes, worst first, as shares of all waste in `tally`.
    #[must_use]
    pub fn view(&self, tally: &Tally) -> Vec<Cause> {
        let wasted = &tally.waste;
        let whole = [
            (wasted.exchanges as f64, tally.attempts as f64),
            (wasted.seconds, self.seconds),
            (wasted.tokens.0[1], tally.tokens.0[1]),
        ];
        let mut by_cause: BTreeMap<(Waste, &str), Vec<(&str, &Sums)>> = BTreeMap::new();
        for (key, sums) in &self.accounts {
            by_cause.entry((key.waste, &key.endpoint)).or_default().push((&key.client, sums));
        }
        let mut causes: Vec<Cause> = by_cause
            .into_iter()
            .filter_map(|((waste, endpoint), clients)| Cause::new(waste, endpoint, &clients, whole))
            .collect();
        causes
            .sort_by(|a, b| b.share.total_cmp(&a.share).then_with(|| a.endpoint.cmp(&b.endpoint)));
        causes.truncate(CAUSES_MAX);
        causes
    }
}

impl Sums {
    fn new(start: f64) -> Self {
        Self { totals: WasteTotals::default(), first: start, last: start, evidence: Vec::new() }
    }

    fn add(&mut self, exchange: &ExchangeLine) {
        let range = |values: Option<[f64; 3]>| Range(values.unwrap_or_default());
        let tokens = range(exchange.tokens_estimate);
        self.merge(&Self {
            totals: WasteTotals {
                exchanges: 1,
                slot_seconds: exchange.slot_seconds(),
                seconds: exchange.seconds(),
                bytes_bucketed: exchange.up_bucket + exchange.down_bucket,
                tokens,
                cost: range(exchange.cost_usd),
            },
            first: exchange.start,
            last: exchange.over(),
            evidence: vec![(
                exchange.seconds() + tokens.0[1],
                Evidence { exchange: exchange.id.clone(), capture: exchange.pcap.clone() },
            )],
        });
    }

    fn merge(&mut self, other: &Self) {
        self.totals.exchanges += other.totals.exchanges;
        self.totals.seconds += other.totals.seconds;
        self.totals.slot_seconds += other.totals.slot_seconds;
        self.totals.bytes_bucketed += other.totals.bytes_bucketed;
        self.totals.tokens += other.totals.tokens;
        self.totals.cost += other.totals.cost;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.evidence.extend_from_slice(&other.evidence);
        let heaviest = |a: &(f64, Evidence), b: &(f64, Evidence)| {
            b.0.total_cmp(&a.0).then_with(|| a.1.exchange.cmp(&b.1.exchange))
        };
        self.evidence.sort_by(heaviest);
        self.evidence.truncate(EVIDENCE_MAX);
    }
}

impl Cause {
    fn new(
        waste: Waste,
        endpoint: &str,
        clients: &[(&str, &Sums)],
        whole: [(f64, f64); 3],
    ) -> Option<Self> {
        let worst = clients.iter().max_by(|(name, a), (other, b)| {
            a.totals.exchanges.cmp(&b.totals.exchanges).then_with(|| other.cmp(name))
        })?;
        let mut sums = Sums::new(worst.1.first);
        clients.iter().for_each(|(_, of_client)| sums.merge(of_client));
        let Sums { totals, first, last, evidence } = sums;
        let parts = [totals.exchanges as f64, totals.seconds, totals.tokens.0[1]];
        let (mut weighed, mut weights) = (0.0, 0.0);
        for (part, (wasted, all)) in parts.into_iter().zip(whole) {
            if wasted > 0.0 && all > 0.0 {
                weighed += part / all;
                weights += wasted / all;
            }
        }
        Some(Self {
            waste,
            endpoint: endpoint.to_owned(),
            totals,
            share: if weights > 0.0 { weighed / weights } else { 0.0 },
            clients: clients.len(),
            worst_client: (worst.0.to_owned(), worst.1.totals.exchanges),
            first,
            last,
            evidence: evidence.into_iter().map(|(_, evidence)| evidence).collect(),
        })
    }

    /// What to do about it, outside and inside of Fermata.
    #[must_use]
    pub const fn advice(&self) -> &'static str {
        advice(self.waste)
    }
}

const fn advice(waste: Waste) -> &'static str {
    match waste {
        Waste::Retry => {
            "Retry at one layer only, with jittered back-off and few attempts (max_retries of the SDK); put the \
             endpoint under a retry budget."
        }
        Waste::LateAbort => {
            "Compare the client's time-outs with how long answers take here; cap output length, and let the \
             server stop generating when its client has left."
        }
        Waste::Partial => {
            "Look for idle and total time-outs of the server, its proxies and load balancers, and for restarts \
             of the server at these times."
        }
        Waste::Orphan => {
            "Let the gateway cancel its own call as soon as its client has left (propagate the disconnect)."
        }
        Waste::Doomed => {
            "Cancel the other branches of a fan-out when one has failed for good, if their answers are of no use \
             without it."
        }
        Waste::Thrash => {
            "Let the workflow keep what it was told (checkpoints), so that a restart does not ask from the start."
        }
        Waste::Hedge => {
            "Send the second copy later (after the 95th percentile of the first byte), and cancel the loser at \
             once."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::exchange;

    fn wasted(id: u32, client: &str, endpoint: &str, waste: Waste) -> ExchangeLine {
        let (id, start) = (format!("x{id}"), f64::from(id));
        ExchangeLine { id, waste: Some(waste), ..exchange(client, endpoint, start, start + 1.0) }
    }

    fn causes(exchanges: &[ExchangeLine]) -> Vec<Cause> {
        let (mut causes, mut tally) = (Causes::default(), Tally::default());
        for line in exchanges {
            causes.add(line);
            tally.add(line);
        }
        causes.view(&tally)
    }

    #[test]
    fn a_cause_is_a_class_at_an_endpoint_and_names_its_worst_client() {
        let seen = causes(&[
            wasted(1, "a", "e", Waste::Retry),
            wasted(2, "b", "e", Waste::Retry),
            wasted(3, "b", "e", Waste::Retry),
            wasted(4, "b", "f", Waste::Partial),
            exchange("b", "e", 5.0, 9.0),
        ]);
        assert_eq!(seen.len(), 2);
        assert_eq!((seen[0].waste, seen[0].endpoint.as_str()), (Waste::Retry, "e"));
        assert_eq!((seen[0].clients, seen[0].worst_client.clone()), (2, ("b".to_owned(), 2)));
        assert_eq!((seen[0].first, seen[0].last), (1.0, 4.0));
        assert!((seen[0].share - 0.75).abs() < 1e-9, "{}", seen[0].share);
    }

    #[test]
    fn a_few_tokens_do_not_outweigh_a_storm() {
        let mut lines: Vec<_> = (0..90).map(|n| wasted(n, "a", "storm", Waste::Retry)).collect();
        lines.iter_mut().for_each(|line| line.tokens_estimate = None);
        lines.push(wasted(90, "a", "cut", Waste::Partial));
        lines.extend((91..190).map(|n| exchange("a", "fine", f64::from(n), f64::from(n) + 1.0)));
        assert_eq!(causes(&lines)[0].endpoint, "storm", "one of a hundred tokens was wasted");
    }

    #[test]
    fn the_heaviest_exchanges_are_the_evidence() {
        let heavy = |id, tokens: f64| ExchangeLine {
            tokens_estimate: Some([tokens; 3]),
            ..wasted(id, "a", "e", Waste::LateAbort)
        };
        let seen = causes(&[heavy(1, 5.0), heavy(2, 90.0), heavy(3, 50.0), heavy(4, 70.0)]);
        let ids: Vec<_> = seen[0].evidence.iter().map(|e| e.exchange.as_str()).collect();
        assert_eq!(ids, ["x2", "x4", "x3"]);
    }

    #[test]
    fn accounts_are_bounded_and_nothing_is_lost() {
        let mut causes = Causes::default();
        for n in 0..2 * ACCOUNTS_MAX {
            causes.add(&wasted(1, &format!("c{n}"), "e", Waste::Retry));
        }
        assert!(causes.accounts.len() <= ACCOUNTS_MAX + Waste::ALL.len());
        let view = causes.view(&Tally::default());
        let sum: u64 = view.iter().map(|cause| cause.totals.exchanges).sum();
        assert_eq!(sum, 2 * ACCOUNTS_MAX as u64);
    }
}
