//! One account's sums.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use crate::telemetry::event::{Outcome, Reason, Verdict, Waste};
use crate::telemetry::line::ExchangeLine;

/// A sum of ranges: low, likely, high.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Range(pub [f64; 3]);

/// What the exchanges of an account add up to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Tally {
    /// Requests sent, whatever became of them.
    pub exchanges: u64,
    /// Attempts at some work: every exchange is one.
    pub attempts: u64,
    /// Attempts that are the first at their work.
    pub first_attempts: u64,
    /// Attempts by how they ended; every outcome is there.
    pub by_outcome: BTreeMap<Outcome, u64>,
    /// Wasted attempts by why; every class is there.
    pub by_waste: BTreeMap<Waste, u64>,
    /// What the wasted attempts add up to.
    pub waste: WasteTotals,
    /// The same by why they were wasted; every class is there.
    #[serde(default)]
    pub waste_by_class: BTreeMap<Waste, WasteTotals>,
    /// Output tokens of all responses.
    pub tokens: Range,
    /// Their cost in US dollars.
    pub cost: Range,
    /// What a law would have held (in shadow) or has held, by the law's name.
    pub held: BTreeMap<String, Held>,
    /// What the sums above do not contain because it cannot be seen.
    pub unseen: Unseen,
}

/// Sums over wasted attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WasteTotals {
    /// How many.
    pub exchanges: u64,
    /// First to last byte, added up.
    pub seconds: f64,
    /// First to last byte of the responses: for so long a slot of a server was surely taken.
    #[serde(default)]
    pub slot_seconds: f64,
    /// Request and response bytes, each rounded up to its bucket.
    pub bytes_bucketed: u64,
    /// Output tokens.
    pub tokens: Range,
    /// Their cost in US dollars.
    pub cost: Range,
}

/// Sums over exchanges that a law decided to hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Held {
    /// How many.
    pub exchanges: u64,
    /// How many of them ended in no usable response: those a hold could have spared.
    pub in_vain: u64,
    /// First to last byte of those in vain.
    pub seconds: f64,
    /// Output tokens of those in vain.
    pub tokens: Range,
    /// Their cost in US dollars.
    pub cost: Range,
}

/// What is missing from the sums, by reason, in exchanges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Unseen {
    /// The client left before the first byte: what the server made never reached the wire.
    pub abandoned_before_first_byte: u64,
    /// There was a response, but its endpoint has no calibration: no tokens.
    pub uncalibrated: u64,
    /// There are tokens, but their endpoint has no price: no cost.
    pub unpriced: u64,
}

impl Tally {
    /// Enters one exchange.
    pub fn add(&mut self, exchange: &ExchangeLine) {
        self.exchanges += 1;
        self.attempts += 1;
        self.first_attempts += u64::from(exchange.attempt <= 1);
        *self.by_outcome.entry(exchange.outcome).or_default() += 1;
        let (tokens, cost) = (range(exchange.tokens_estimate), range(exchange.cost_usd));
        self.tokens += tokens;
        self.cost += cost;
        self.unseen.add(exchange);
        if let Some(waste) = exchange.waste {
            self.amend(exchange, waste);
        }
        if exchange.verdict != Verdict::Pass {
            self.held.entry(law(exchange.reason).to_owned()).or_default().add(exchange);
        }
    }

    /// Books an exchange that is in the sums, but not as waste, as `waste`.
    pub(super) fn amend(&mut self, exchange: &ExchangeLine, waste: Waste) {
        *self.by_waste.entry(waste).or_default() += 1;
        self.waste.add(exchange);
        self.waste_by_class.entry(waste).or_default().add(exchange);
    }

    /// Attempts for one first attempt; none when no first attempt was seen.
    #[must_use]
    pub fn amplification(&self) -> Option<f64> {
        (self.first_attempts > 0).then(|| self.attempts as f64 / self.first_attempts as f64)
    }

    /// Attempts that are not the first at their work.
    #[must_use]
    pub fn retries(&self) -> u64 {
        self.attempts - self.first_attempts
    }

    /// Attempts that ended as `outcome`.
    #[must_use]
    pub fn ended(&self, outcome: Outcome) -> u64 {
        self.by_outcome.get(&outcome).copied().unwrap_or(0)
    }
}

impl WasteTotals {
    fn add(&mut self, exchange: &ExchangeLine) {
        self.exchanges += 1;
        self.seconds += exchange.seconds();
        self.slot_seconds += exchange.slot_seconds();
        self.bytes_bucketed += exchange.up_bucket + exchange.down_bucket;
        self.tokens += range(exchange.tokens_estimate);
        self.cost += range(exchange.cost_usd);
    }

    /// Whether there are tokens and none of them has a price: the cost is not known, rather than
    /// zero.
    #[must_use]
    pub fn unpriced(&self) -> bool {
        let ([.., tokens], [.., cost]) = (self.tokens.0, self.cost.0);
        tokens > 0.0 && cost <= 0.0
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            exchanges: 0,
            attempts: 0,
            first_attempts: 0,
            by_outcome: Outcome::ALL.map(|outcome| (outcome, 0)).into(),
            by_waste: Waste::ALL.map(|waste| (waste, 0)).into(),
            waste: WasteTotals::default(),
            waste_by_class: Waste::ALL.map(|waste| (waste, WasteTotals::default())).into(),
            tokens: Range::default(),
            cost: Range::default(),
            held: BTreeMap::new(),
            unseen: Unseen::default(),
        }
    }
}

impl Held {
    fn add(&mut self, exchange: &ExchangeLine) {
        self.exchanges += 1;
        if exchange.outcome != Outcome::Complete && exchange.outcome != Outcome::Open {
            self.in_vain += 1;
            self.seconds += exchange.seconds();
            self.tokens += range(exchange.tokens_estimate);
            self.cost += range(exchange.cost_usd);
        }
    }
}

impl Unseen {
    fn add(&mut self, exchange: &ExchangeLine) {
        let abandoned = exchange.outcome == Outcome::ClientAbort && exchange.first_byte.is_none();
        let answered = match exchange.outcome {
            Outcome::Complete
            | Outcome::ClientAbort
            | Outcome::ServerAbort
            | Outcome::Truncated
            | Outcome::Stalled => exchange.first_byte.is_some(),
            // An error has no tokens, and what is open is not over.
            Outcome::Failed | Outcome::Throttled | Outcome::ConnectFailed | Outcome::Open => false,
        };
        let (tokens, cost) = (exchange.tokens_estimate, exchange.cost_usd);
        self.abandoned_before_first_byte += u64::from(abandoned);
        self.uncalibrated += u64::from(answered && tokens.is_none());
        self.unpriced += u64::from(tokens.is_some() && cost.is_none());
    }
}

impl AddAssign for Range {
    fn add_assign(&mut self, other: Self) {
        for (sum, value) in self.0.iter_mut().zip(other.0) {
            *sum += value;
        }
    }
}

pub(super) fn range(estimate: Option<[f64; 3]>) -> Range {
    Range(estimate.unwrap_or_default())
}

/// The law behind a reason, as the report names it.
const fn law(reason: Reason) -> &'static str {
    match reason {
        Reason::NoRule => "none",
        Reason::WithinRetryBudget | Reason::OverRetryBudget => "retry_budget",
        Reason::ConcurrencyLimit => "concurrency_limit",
        Reason::AdmissionControl => "admission_control",
        Reason::BreakerOpen => "breaker",
        Reason::ReplicaChoice => "replica_choice",
        Reason::ClientLeft => "cancel_propagation",
        Reason::RetriesLast => "metastability_guard",
        Reason::FanOut => "fan_out",
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::telemetry::event::Visibility;
    use crate::telemetry::grounds::Grounds;
    use crate::telemetry::line::Confidence;

    /// A complete exchange with `openai` from `start` to `end`.
    pub(crate) fn exchange(start: f64, end: f64) -> ExchangeLine {
        ExchangeLine {
            pcap: None,
            id: "x1".to_owned(),
            client: "198.51.100.11".to_owned(),
            client_port: 40_000,
            server: "192.0.2.1".to_owned(),
            server_port: 443,
            endpoint: Some("openai".to_owned()),
            endpoint_by: None,
            tenant: None,
            sni: Some("api.openai.com".to_owned()),
            visibility: Visibility::H1,
            from_middle: false,
            rtt_server_ms: None,
            rtt_client_ms: None,
            start,
            first_byte: Some(start),
            end,
            closed: None,
            outcome: Outcome::Complete,
            attempt: 1,
            retry_of: None,
            hedge: false,
            restart: false,
            stall: None,
            confidence: Confidence { outcome: 1.0, retry: 1.0, endpoint: None },
            up_bucket: 1024,
            down_bucket: 4096,
            streamed: true,
            tokens_estimate: Some([8.0, 10.0, 12.0]),
            cost_usd: Some([0.1, 0.2, 0.4]),
            waste: None,
            amended: None,
            verdict: Verdict::Pass,
            hold_ms: None,
            enforced: false,
            reason: Reason::NoRule,
            grounds: Grounds::default(),
        }
    }

    #[test]
    fn amplification_is_attempts_over_first_attempts() {
        let mut tally = Tally::default();
        assert_eq!(tally.amplification(), None);
        tally.add(&exchange(0.0, 1.0));
        for attempt in [2, 3] {
            tally.add(&ExchangeLine { attempt, ..exchange(0.0, 1.0) });
        }
        assert_eq!((tally.amplification(), tally.retries()), (Some(3.0), 2));
    }

    #[test]
    fn waste_sums_seconds_bytes_tokens_and_cost_of_wasted_attempts_only() {
        let mut tally = Tally::default();
        tally.add(&exchange(0.0, 1.0));
        let (waste, outcome) = (Some(Waste::LateAbort), Outcome::ClientAbort);
        tally.add(&ExchangeLine { waste, outcome, ..exchange(1.0, 3.5) });
        assert_eq!(
            tally.waste,
            WasteTotals {
                exchanges: 1,
                seconds: 2.5,
                slot_seconds: 2.5,
                bytes_bucketed: 5120,
                tokens: Range([8.0, 10.0, 12.0]),
                cost: Range([0.1, 0.2, 0.4]),
            }
        );
        assert_eq!(tally.tokens, Range([16.0, 20.0, 24.0]));
        assert_eq!(tally.by_waste[&Waste::LateAbort], 1);
        assert_eq!(tally.waste_by_class[&Waste::LateAbort], tally.waste);
        assert_eq!(tally.waste_by_class[&Waste::Retry], WasteTotals::default());
        assert_eq!(tally.ended(Outcome::ClientAbort), 1);
    }

    #[test]
    fn what_cannot_be_seen_is_counted_as_unseen() {
        let mut tally = Tally::default();
        let (first_byte, tokens_estimate) = (None, None);
        let outcome = Outcome::ClientAbort;
        let abandoned = ExchangeLine { first_byte, outcome, tokens_estimate, ..exchange(0., 1.) };
        tally.add(&abandoned);
        tally.add(&ExchangeLine { tokens_estimate, cost_usd: None, ..exchange(0., 1.) });
        tally.add(&ExchangeLine { cost_usd: None, ..exchange(0., 1.) });
        tally.add(&ExchangeLine { outcome: Outcome::Failed, ..abandoned });
        let unseen = Unseen { abandoned_before_first_byte: 1, uncalibrated: 1, unpriced: 1 };
        assert_eq!(tally.unseen, unseen);
    }

    #[test]
    fn a_hold_spares_only_what_was_in_vain() {
        let mut tally = Tally::default();
        let (verdict, reason) = (Verdict::Hold, Reason::OverRetryBudget);
        tally.add(&ExchangeLine { verdict, reason, ..exchange(0., 1.) });
        tally.add(&ExchangeLine { verdict, reason, outcome: Outcome::Failed, ..exchange(0., 2.) });
        let held = tally.held["retry_budget"];
        assert_eq!((held.exchanges, held.in_vain, held.seconds), (2, 1, 2.0));
    }
}
