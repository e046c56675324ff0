//! Shadow savings: for each control law, what enforcing it would have prevented.
//!
//! A pure fold over exchange lines and signals, in the order in which they are told. Each figure is a
//! range of low, likely and high under the assumption that its law states; the laws overlap, so their
//! figures are not to be added up. What a law would have cost (a hold that delays work that
//! succeeds) is not a saving and is not booked against it, but the low end leaves such work out.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::tally::{Range, range};
use crate::telemetry::event::{Outcome, Reason, SignalKind, Verdict, Waste};
use crate::telemetry::line::{EventLine, ExchangeLine};

/// Servers whose breaker is followed.
const SERVERS_MAX: usize = 1024;
/// Failures in a row that open a breaker.
const OPENS_AFTER: u32 = 5;
/// Seconds of the first ejection; each further one takes twice as long.
const EJECTED_SECONDS: f64 = 5.0;
/// The longest ejection, as a power of two of the first.
const EJECTIONS_MAX: u32 = 6;

/// What enforcing would have prevented, law by law.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SavingsView {
    /// Retry budget (A3). Assumes that a parked retry that came to nothing would not have been sent.
    /// Low: only later attempts than the second, which SDKs do not make on their own. High: every
    /// retry over budget, also those that were answered.
    pub retry_budget: Saving,
    /// Breaker (A5). Assumes that five failures in a row close a server address for 5 s, then 10 s and
    /// so on, and that what is not sent there is not sent elsewhere. Low: retries only, as a first
    /// attempt may be the probe. High: what was answered in that time as well.
    pub breaker: Saving,
    /// Cancel propagation (A7). Assumes that a server stops when it learns that its client has left.
    /// Counts what arrived after the client's close, and what orphans received. Low: orphans weighed
    /// by their confidence. High: a late abort's server works on for as long again as it is seen to.
    pub cancel_propagation: Saving,
    /// Fan-out and doomed work (A12). Assumes that branches beside one that failed for good are held
    /// until nobody wants them. Low: only those that were booked as waste. Likely: weighed by
    /// confidence. High: all of them.
    pub fan_out: Saving,
    /// Admission limit and hold (A1, A2). Assumes that an attempt that ran into throttling would have
    /// waited for its turn instead. Low: further attempts only. High: attempts that clients gave up
    /// before the first byte as well, as they queue at the server.
    pub admission: Saving,
}

/// What one law would have prevented: low, likely, high.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Saving {
    /// Attempts that would not have been sent, or not to their end.
    pub exchanges: Range,
    /// Seconds of connections.
    pub seconds: Range,
    /// Output tokens.
    pub tokens: Range,
    /// Their cost in US dollars.
    pub cost: Range,
}

/// The fold.
#[derive(Debug, Default)]
pub struct Savings {
    view: SavingsView,
    servers: HashMap<String, Breaker>,
    /// Exchanges whose server found no room.
    lost: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Breaker {
    in_a_row: u32,
    ejections: u32,
    open: Option<(f64, f64)>,
}

/// Which ends of a range an exchange belongs to: low, likely, high, each from 0 to 1.
type Weights = [f64; 3];

impl Savings {
    /// Enters one exchange.
    pub fn add(&mut self, exchange: &ExchangeLine) {
        let retry = exchange.retry_of.is_some();
        let in_vain = exchange.outcome.invites_retry();
        if exchange.verdict == Verdict::Hold && exchange.reason == Reason::OverRetryBudget {
            let low = in_vain && exchange.attempt > 2;
            self.view.retry_budget.add(exchange, 1.0, weights(low, in_vain, true));
        }
        if self.is_shut(exchange) {
            self.view.breaker.add(exchange, 1.0, weights(in_vain && retry, in_vain, true));
        }
        if exchange.waste == Some(Waste::LateAbort) {
            let after = exchange.closed.map_or(0.0, |closed| (exchange.end - closed).max(0.0));
            let whole = exchange.seconds();
            let share = if whole > 0.0 { (after / whole).min(1.0) } else { 0.0 };
            if share > 0.0 {
                let twice = (2.0 * share).min(1.0) / share;
                self.view.cancel_propagation.add(exchange, share, [1.0, 1.0, twice]);
            }
        }
        let throttled = exchange.outcome == Outcome::Throttled;
        let given_up = exchange.outcome == Outcome::ClientAbort && exchange.first_byte.is_none();
        if throttled || given_up {
            self.view.admission.add(exchange, 1.0, weights(throttled && retry, throttled, true));
        }
    }

    /// Enters one signal: orphans and doomed branches know what came after the fact.
    pub fn add_event(&mut self, event: &EventLine) {
        let Some(episode) = &event.episode else { return };
        let sure = episode.confidence;
        let (saving, weights) = match event.kind {
            SignalKind::Orphan => (&mut self.view.cancel_propagation, [sure, 1.0, 1.0]),
            SignalKind::Doomed => {
                let booked = if sure >= BOOKED_FROM { sure } else { 0.0 };
                (&mut self.view.fan_out, [booked, sure, 1.0])
            }
            _ => return,
        };
        saving.exchanges += weighed([1.0; 3], weights);
        saving.seconds += weighed([event.value; 3], weights);
        saving.tokens += weighed([episode.tokens; 3], weights);
    }

    /// What was gathered.
    #[must_use]
    pub fn view(&self) -> SavingsView {
        self.view.clone()
    }

    /// Exchanges whose server found no room: their breaker is not followed.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Whether a breaker would have been open when this exchange began. Follows the breaker.
    fn is_shut(&mut self, exchange: &ExchangeLine) -> bool {
        if self.servers.len() >= SERVERS_MAX && !self.servers.contains_key(&exchange.server) {
            self.lost += 1;
            return false;
        }
        self.servers.entry(exchange.server.clone()).or_default().shuts_out(exchange)
    }
}

/// Confidence from which a doomed branch is booked as waste (`detect/doomed.rs`).
const BOOKED_FROM: f64 = 0.7;

impl Breaker {
    fn shuts_out(&mut self, exchange: &ExchangeLine) -> bool {
        let shut = self.open.is_some_and(|(from, to)| (from..to).contains(&exchange.start));
        // Throttling says that the server is well; a client's own abort says nothing.
        let failed = matches!(
            exchange.outcome,
            Outcome::Failed | Outcome::ServerAbort | Outcome::ConnectFailed | Outcome::Truncated
        );
        if shut {
            return true;
        }
        if failed {
            self.in_a_row += 1;
        } else if exchange.outcome == Outcome::Complete {
            (self.in_a_row, self.ejections) = (0, 0);
        }
        if self.in_a_row >= OPENS_AFTER {
            let seconds = EJECTED_SECONDS * f64::from(1_u32 << self.ejections.min(EJECTIONS_MAX));
            self.open = Some((exchange.over(), exchange.over() + seconds));
            self.ejections += 1;
            // Half-open: one failed probe opens it again.
            self.in_a_row = OPENS_AFTER - 1;
        }
        false
    }
}

impl Saving {
    /// Adds a share of an exchange, with these weights.
    fn add(&mut self, exchange: &ExchangeLine, share: f64, weights: Weights) {
        let part = |range: Range| range.0.map(|value| value * share);
        self.exchanges += weighed([1.0; 3], weights.map(|weight| weight.min(1.0)));
        self.seconds += weighed([exchange.seconds() * share; 3], weights);
        self.tokens += weighed(part(range(exchange.tokens_estimate)), weights);
        self.cost += weighed(part(range(exchange.cost_usd)), weights);
    }
}

fn weights(low: bool, likely: bool, high: bool) -> Weights {
    [low, likely, high].map(|counts| f64::from(u8::from(counts)))
}

fn weighed(values: [f64; 3], weights: Weights) -> Range {
    let [low, likely, high] = weights;
    Range([values[0] * low, values[1] * likely, values[2] * high])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::event::{Phase, Scope};
    use crate::telemetry::ledger::tally::tests::exchange;
    use crate::telemetry::line::{EpisodeLine, EventClass};

    fn saved(exchanges: &[ExchangeLine]) -> SavingsView {
        let mut savings = Savings::default();
        exchanges.iter().for_each(|exchange| savings.add(exchange));
        savings.view()
    }

    fn ended(outcome: Outcome, start: f64, end: f64) -> ExchangeLine {
        ExchangeLine { outcome, ..exchange(start, end) }
    }

    #[test]
    fn healthy_traffic_saves_nothing() {
        let healthy: Vec<_> = (0..50).map(|n| exchange(f64::from(n), f64::from(n) + 2.0)).collect();
        assert_eq!(saved(&healthy), SavingsView::default());
    }

    #[test]
    fn a_retry_over_budget_is_likely_saved_if_it_was_in_vain() {
        let over = |attempt, outcome| ExchangeLine {
            verdict: Verdict::Hold,
            reason: Reason::OverRetryBudget,
            attempt,
            retry_of: Some("x0".to_owned()),
            ..ended(outcome, 0.0, 2.0)
        };
        let view = saved(&[
            over(2, Outcome::Failed),
            over(3, Outcome::Failed),
            over(2, Outcome::Complete),
        ]);
        assert_eq!(view.retry_budget.exchanges, Range([1.0, 2.0, 3.0]));
        assert_eq!(view.retry_budget.seconds, Range([2.0, 4.0, 6.0]));
    }

    #[test]
    fn a_breaker_opens_after_five_failures_and_spares_what_comes_next() {
        let mut traffic: Vec<_> =
            (0..5).map(|n| ended(Outcome::Failed, f64::from(n), f64::from(n) + 0.5)).collect();
        traffic.push(ended(Outcome::Failed, 6.0, 7.0));
        traffic.push(exchange(8.0, 9.0));
        traffic.push(ended(Outcome::Failed, 20.0, 21.0));
        traffic.push(ended(Outcome::Failed, 22.0, 23.0));
        let view = saved(&traffic);
        assert_eq!(view.breaker.exchanges, Range([0.0, 2.0, 3.0]));
    }

    #[test]
    fn four_failures_and_throttling_open_none() {
        let outcome = |n| if n % 5 == 4 { Outcome::Complete } else { Outcome::Failed };
        let mut traffic: Vec<_> =
            (0..50).map(|n| ended(outcome(n), f64::from(n), f64::from(n) + 0.5)).collect();
        traffic
            .extend((50..80).map(|n| ended(Outcome::Throttled, f64::from(n), f64::from(n) + 0.5)));
        let view = saved(&traffic);
        assert_eq!(view.breaker, Saving::default());
        assert_eq!(view.admission.exchanges, Range([0.0, 30.0, 30.0]));
    }

    #[test]
    fn what_arrives_after_a_client_has_left_is_saved_by_its_cancel() {
        let (waste, closed) = (Some(Waste::LateAbort), Some(3.0));
        let left = ended(Outcome::ClientAbort, 0.0, 4.0);
        let view = saved(&[ExchangeLine { waste, closed, ..left }]);
        assert_eq!(view.cancel_propagation.seconds, Range([1.0, 1.0, 2.0]));
        assert_eq!(view.cancel_propagation.tokens, Range([2.0, 2.5, 6.0]));
    }

    fn signal(kind: SignalKind, confidence: f64) -> EventLine {
        EventLine {
            pcap: None,
            time: 9.0,
            event: EventClass::Signal,
            kind,
            exchange: "x1".to_owned(),
            client: "c".to_owned(),
            client_port: 1,
            server: "s".to_owned(),
            server_port: 443,
            endpoint: None,
            value: 4.0,
            unit: "seconds".to_owned(),
            waste: None,
            episode: Some(EpisodeLine {
                phase: Phase::Ends,
                scope: Scope::Client,
                began: 1.0,
                exchanges: 1,
                in_vain: 1,
                tokens: 100.0,
                margin: None,
                confidence,
            }),
        }
    }

    #[test]
    fn orphans_and_doomed_branches_are_weighed_by_confidence() {
        let mut savings = Savings::default();
        savings.add_event(&signal(SignalKind::Orphan, 0.5));
        savings.add_event(&signal(SignalKind::Doomed, 0.5));
        let view = savings.view();
        assert_eq!(view.cancel_propagation.tokens, Range([50.0, 100.0, 100.0]));
        assert_eq!(view.fan_out.seconds, Range([0.0, 2.0, 4.0]));
    }
}
