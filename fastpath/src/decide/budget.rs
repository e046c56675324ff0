//! Retry budget: first attempts earn a share of a retry, time earns a trickle, a retry
//! costs one.

use crate::policy::snapshot::RetryBudget;
use crate::time::Nanos;

/// The budget of one endpoint: a bucket of retries.
#[derive(Clone, Copy, Debug, Default)]
pub struct Budget {
    /// Retries that may be made now. `None` until the first attempt: a bucket starts full.
    left: Option<f64>,
    filled: Nanos,
}

impl Budget {
    /// Takes an attempt into account; false when it is a retry over the budget.
    pub fn admit(&mut self, is_retry: bool, now: Nanos, rule: &RetryBudget) -> bool {
        let earned = now.since(self.filled).secs_f64() * rule.min_per_sec;
        let first = if is_retry { 0.0 } else { rule.percent / 100.0 };
        let left = self.left.map_or(rule.burst, |left| (left + earned + first).min(rule.burst));
        self.filled = self.filled.max(now);
        let within = !is_retry || left >= 1.0;
        self.left = Some(if is_retry && within { left - 1.0 } else { left });
        within
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: RetryBudget = RetryBudget { percent: 10.0, min_per_sec: 0.1, burst: 10.0 };

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
            let earned = RULE.burst + 0.1 * first + 0.1 * now as f64 / 1000.0;
            proptest::prop_assert!(admitted <= earned + 1e-6);
        }
    }
}
