//! Self-disarm (invariant I5): enforcement of a rule at an endpoint ends itself when the clients that it
//! acts on fail more than those it never acts on, or wait longer while nothing is overloaded.
//!
//! Failures are compared in pairs: each exchange of the holdout with the next one of the other side.
//! Only pairs that differ tell anything, and if acting does no harm, at most half of them speak against
//! it. The statistic is a sum of betting scores, one begun at each such pair (an e-detector, Shin,
//! Ramdas and Rinaldo 2024): without harm it takes [`ALARM`] differing pairs on average until it alarms.

use crate::policy::rules::SelfDisarm as Policy;
use crate::time::Nanos;

/// Differing pairs to a false alarm, on average, at least.
const ALARM: f64 = 10_000.0;
/// What is bet on a pair that speaks against acting.
const STAKE: f64 = 0.5;
/// Latencies of either side that a mean is taken of.
const LATENCIES: u32 = 200;
/// Standard errors by which one mean must exceed the bound.
const ERRORS: f64 = 3.0;

/// The side of an experiment that a client is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Rules act on it.
    ActedOn,
    /// They never do.
    Holdout,
}

/// Why enforcement ended itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Harm {
    /// The side acted on fails more. The statistic.
    Failures(f64),
    /// It waits longer. The share by which.
    Latency(f64),
}

/// One rule at one endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disarm {
    /// Of an exchange of the holdout that waits for its pair: whether it failed.
    unpaired: Option<bool>,
    statistic: f64,
    acted_on: Mean,
    holdout: Mean,
    until: Option<Nanos>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    count: u32,
    sum: f64,
    squares: f64,
}

impl Disarm {
    /// Whether the rule may act.
    pub fn is_armed(&mut self, now: Nanos) -> bool {
        if self.until.is_some_and(|until| now >= until) {
            *self = Self::default();
        }
        self.until.is_none()
    }

    /// Whether enforcement has ended itself, for whoever looks on.
    #[must_use]
    pub fn is_disarmed(&self, now: Nanos) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// An exchange is over. Gives the reason when enforcement ends with it.
    pub fn ended(&mut self, side: Side, failed: bool, now: Nanos, policy: &Policy) -> Option<Harm> {
        let holdout = match side {
            Side::Holdout => {
                self.unpaired = Some(failed);
                return None;
            }
            Side::ActedOn => self.unpaired.take()?,
        };
        if holdout == failed || self.until.is_some() {
            return None;
        }
        let factor = if failed { 1.0 + STAKE } else { 1.0 - STAKE };
        self.statistic = (1.0 + self.statistic) * factor;
        let harm = Harm::Failures(self.statistic);
        (self.statistic >= ALARM).then(|| self.disarm(harm, now, policy))
    }

    /// A first byte has come so long after its request, at a backend that is not overloaded.
    pub fn first_byte(
        &mut self,
        side: Side,
        wait: Nanos,
        now: Nanos,
        policy: &Policy,
    ) -> Option<Harm> {
        let mean = match side {
            Side::ActedOn => &mut self.acted_on,
            Side::Holdout => &mut self.holdout,
        };
        mean.add(wait.secs_f64());
        let (acted_on, holdout) = (self.acted_on, self.holdout);
        if acted_on.count < LATENCIES || holdout.count < LATENCIES || self.until.is_some() {
            return None;
        }
        let bound = holdout.mean() * (1.0 + policy.max_added_latency_percent / 100.0);
        let error = (acted_on.error2() + holdout.error2()).sqrt();
        let harmful = acted_on.mean() > bound + ERRORS * error;
        (self.acted_on, self.holdout) = (Mean::default(), Mean::default());
        let harm = Harm::Latency(acted_on.mean() / holdout.mean().max(1e-9) - 1.0);
        harmful.then(|| self.disarm(harm, now, policy))
    }

    fn disarm(&mut self, harm: Harm, now: Nanos, policy: &Policy) -> Harm {
        let until = Some(now + Nanos::from_millis(policy.rearm_after_ms));
        *self = Self { until, ..Self::default() };
        harm
    }
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.count = self.count.saturating_add(1);
        self.sum += value;
        self.squares += value * value;
    }

    fn mean(&self) -> f64 {
        self.sum / f64::from(self.count.max(1))
    }

    /// The square of its standard error.
    fn error2(&self) -> f64 {
        let count = f64::from(self.count.max(1));
        (self.squares / count - self.mean() * self.mean()).max(0.0) / count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::rules::Rules;

    fn policy() -> Policy {
        Rules::default().self_disarm
    }

    const NOW: Nanos = Nanos::from_secs(5);

    /// A number from 0 to 1, from a seed.
    fn draw(seed: &mut u64) -> f64 {
        *seed =
            seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*seed >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// After how many pairs it disarms, of at most so many.
    fn pairs(acted_on: f64, holdout: f64, most: u32, mut seed: u64) -> Option<u32> {
        let mut disarm = Disarm::default();
        (0..most).find(|_| {
            let [a, b] = [acted_on, holdout].map(|share| draw(&mut seed) < share);
            disarm.ended(Side::Holdout, b, NOW, &policy());
            disarm.ended(Side::ActedOn, a, NOW, &policy()).is_some()
        })
    }

    #[test]
    fn equal_failures_do_not_disarm_and_more_failures_soon_do() {
        let false_alarms = (0..100).filter(|&seed| pairs(0.2, 0.2, 2000, seed).is_some()).count();
        assert!(false_alarms <= 10, "{false_alarms} of 100 runs of 640 differing pairs");
        assert!((0..100).all(|seed| pairs(0.6, 0.1, 2000, seed).is_some_and(|n| n < 400)));
    }

    #[test]
    fn one_side_alone_proves_nothing() {
        let mut disarm = Disarm::default();
        let harm = (0..5000).find_map(|_| disarm.ended(Side::ActedOn, true, NOW, &policy()));
        assert_eq!(harm, None);
    }

    #[test]
    fn what_was_disarmed_acts_again_after_a_time() {
        let mut disarm = Disarm::default();
        for _ in 0..100 {
            disarm.ended(Side::Holdout, false, NOW, &policy());
            disarm.ended(Side::ActedOn, true, NOW, &policy());
        }
        assert!(!disarm.is_armed(NOW + Nanos::from_secs(599)));
        assert!(disarm.is_armed(NOW + Nanos::from_secs(600)));
    }

    #[test]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a second")]
    fn latency_beyond_the_bound_disarms_and_noise_does_not() {
        let play = |factor: f64| {
            let (mut disarm, mut seed) = (Disarm::default(), 7);
            (0..2000).find_map(|_| {
                let secs = 0.2 + 0.2 * draw(&mut seed);
                let wait = |secs: f64| Nanos::from_micros((secs * 1e6) as u64);
                disarm.first_byte(Side::Holdout, wait(secs), NOW, &policy());
                disarm.first_byte(Side::ActedOn, wait(secs * factor), NOW, &policy())
            })
        };
        assert_eq!(play(1.0), None);
        assert!(matches!(play(1.74), Some(Harm::Latency(share)) if share > 0.6));
    }
}
