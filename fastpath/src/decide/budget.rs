//! Retry budget (law A3): first attempts earn a share of a retry, time earns a trickle, a retry costs
//! one. What is over budget is parked in the lowest class of the hold queue, and never reset.
//!
//! The trickle and what can be saved up grow with what the endpoint can do, where that has shown: a
//! fixed one is too much for a small endpoint and nothing for a large one.

use crate::policy::snapshot::RetryBudget;
use crate::time::Nanos;

/// β in a bad state: the margin is small.
const RATIO_BAD: f64 = 0.02;
/// f: of μ̂.
const TRICKLE_OF_CAPACITY: f64 = 0.02;
/// The cap: seconds of f and of βμ̂.
const CAP_SECS: f64 = 5.0;

/// The budget of one endpoint: a bucket of retries.
#[derive(Clone, Copy, Debug, Default)]
pub struct Budget {
    /// Retries that may be made now. `None` until the first attempt: a bucket starts full.
    left: Option<f64>,
    filled: Nanos,
}

/// How an endpoint does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// As far as is known.
    #[default]
    Good,
    /// Its metastability margin is small (law A11).
    Bad,
    /// Its breaker is open (law A5).
    Open,
}

/// The figures of a budget at one time, on one lcore.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    /// β: what a first attempt earns.
    pub ratio: f64,
    /// f: what a second earns.
    pub per_sec: f64,
    /// What can be saved up.
    pub cap: f64,
}

impl Terms {
    /// Of a rule, for an endpoint that can do this much (μ̂, a second on this lcore), on one of so many
    /// lcores. What is absolute is shared out among them.
    #[must_use]
    pub fn of(rule: &RetryBudget, health: Health, capacity: Option<f64>, lcores: u16) -> Self {
        let ratio = rule.percent / 100.0;
        let ratio = match health {
            Health::Good => ratio,
            Health::Bad => ratio.min(RATIO_BAD),
            Health::Open => 0.0,
        };
        let lcores = f64::from(lcores.max(1));
        let (per_sec, cap) = (rule.min_per_sec / lcores, rule.burst / lcores);
        let capacity = capacity.filter(|_| !rule.fixed).unwrap_or(0.0);
        let per_sec = per_sec.max(TRICKLE_OF_CAPACITY * capacity);
        let cap = cap.max(CAP_SECS * (per_sec + ratio * capacity)).max(1.0);
        Self { ratio, per_sec, cap }
    }
}

impl Budget {
    /// Takes an attempt into account; false when it is a retry over the budget.
    pub fn admit(&mut self, is_retry: bool, now: Nanos, terms: &Terms) -> bool {
        let left = self.left(now, terms);
        let earned = if is_retry { 0.0 } else { terms.ratio };
        let left = (left + earned).min(terms.cap);
        self.filled = self.filled.max(now);
        let within = !is_retry || left >= 1.0;
        self.left = Some(if is_retry && within { left - 1.0 } else { left });
        within
    }

    /// Retries that may be made now.
    #[must_use]
    pub fn left(&self, now: Nanos, terms: &Terms) -> f64 {
        let earned = now.since(self.filled).secs_f64() * terms.per_sec;
        self.left.map_or(terms.cap, |left| (left + earned).min(terms.cap))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Terms = Terms { ratio: 0.1, per_sec: 0.1, cap: 10.0 };

    #[test]
    fn the_shipped_rule_without_more_is_a_tenth_and_one_in_ten_seconds() {
        let terms =
            |health, capacity, lcores| Terms::of(&RetryBudget::default(), health, capacity, lcores);
        assert_eq!(terms(Health::Good, None, 1), RULE);
        assert_eq!(
            terms(Health::Good, Some(100.0), 1),
            Terms { ratio: 0.1, per_sec: 2.0, cap: 60.0 }
        );
        assert_eq!(terms(Health::Bad, None, 2), Terms { ratio: 0.02, per_sec: 0.05, cap: 5.0 });
        assert_eq!(terms(Health::Open, Some(100.0), 1).ratio, 0.0);
    }

    #[test]
    fn a_rate_that_a_policy_sets_does_not_grow_with_the_endpoint() {
        let rule = RetryBudget { fixed: true, ..RetryBudget::default() };
        assert_eq!(Terms::of(&rule, Health::Good, Some(1000.0), 1), RULE);
    }

    #[test]
    fn a_storm_gets_the_burst_and_then_the_trickle() {
        let mut budget = Budget::default();
        let admitted = |budget: &mut Budget, at: u64| {
            (0..100).filter(|_| budget.admit(true, Nanos::from_secs(at), &RULE)).count()
        };
        assert_eq!(admitted(&mut budget, 1), 10);
        assert_eq!(admitted(&mut budget, 31), 3, "0.1 a second for 30 s");
    }

    #[test]
    fn ten_first_attempts_pay_for_one_retry() {
        let mut budget = Budget::default();
        let now = Nanos::from_secs(1);
        while budget.admit(true, now, &RULE) {}
        for _ in 0..11 {
            assert!(budget.admit(false, now, &RULE));
        }
        assert!(budget.admit(true, now, &RULE));
        assert!(!budget.admit(true, now, &RULE));
    }

    proptest::proptest! {
        /// What is admitted never exceeds share of first attempts + rate * time + burst.
        #[test]
        fn admitted_retries_never_exceed_what_was_earned(
            steps in proptest::collection::vec((proptest::bool::ANY, 0u64..500), 1..400)
        ) {
            let mut budget = Budget::default();
            let (mut now, mut first, mut admitted) = (0, 0.0, 0.0);
            for (is_retry, ms) in steps {
                now += ms;
                let within = budget.admit(is_retry, Nanos::from_millis(now), &RULE);
                first += f64::from(u8::from(!is_retry));
                admitted += f64::from(u8::from(is_retry && within));
                proptest::prop_assert!(within || is_retry);
            }
            let earned = RULE.cap + 0.1 * first + 0.1 * now as f64 / 1000.0;
            proptest::prop_assert!(admitted <= earned + 1e-6);
        }
    }
}
