//! Throttle (law A4): what is held where no time to first byte is known, so that the concurrency limit
//! says nothing. By what share of the attempts the server accepts, as clients of it would.

use crate::policy::rules::Throttle as Rule;
use crate::time::Nanos;

/// Buckets of one second.
const BUCKETS: usize = 30;
/// Fewer attempts than this say nothing.
const ATTEMPTS_MIN: u32 = 5;
/// A probe passes at least this often.
const PROBE_EVERY: Nanos = Nanos::from_secs(1);

/// Attempts and answers of one backend, second by second.
#[derive(Clone, Copy, Debug)]
pub struct Throttle {
    buckets: [[u32; 2]; BUCKETS],
    second: u64,
    probed: Nanos,
}

/// What a throttle says of one more request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judgement {
    /// Whether it may go.
    pub admits: bool,
    /// n: attempts in the window.
    pub attempts: u32,
    /// Those of them that were accepted.
    pub accepted: u32,
    /// Probability that one is held.
    pub share: f64,
}

impl Default for Throttle {
    fn default() -> Self {
        Self { buckets: [[0; 2]; BUCKETS], second: 0, probed: Nanos::ZERO }
    }
}

impl Throttle {
    /// An attempt is over, accepted or not. A client that leaves says nothing.
    pub fn ended(&mut self, accepted: bool, now: Nanos) {
        self.advance(now);
        let bucket = &mut self.buckets[place(self.second)];
        bucket[0] = bucket[0].saturating_add(1);
        bucket[1] = bucket[1].saturating_add(u32::from(accepted));
    }

    /// Whether one more may go, for a draw from 0 to 1.
    pub fn admit(&mut self, now: Nanos, rule: &Rule, draw: f64) -> Judgement {
        self.advance(now);
        let seconds = (rule.sampling_window_ms / 1000).clamp(1, BUCKETS as u64);
        let (mut attempts, mut accepted) = (0_u32, 0_u32);
        for back in 0..seconds {
            let [n, good] = self.buckets[place(self.second.wrapping_sub(back))];
            attempts = attempts.saturating_add(n);
            accepted = accepted.saturating_add(good);
        }
        let surplus = f64::from(attempts) - rule.aggression * f64::from(accepted);
        let share = (surplus / (f64::from(attempts) + 1.0)).max(0.0);
        let share = share.min(rule.max_hold_percent / 100.0);
        let share = if attempts < ATTEMPTS_MIN { 0.0 } else { share };
        let probe = now.since(self.probed) >= PROBE_EVERY;
        let admits = draw >= share || probe;
        if admits {
            self.probed = now;
        }
        Judgement { admits, attempts, accepted, share }
    }

    fn advance(&mut self, now: Nanos) {
        let second = now.0 / 1_000_000_000;
        for step in 0..second.saturating_sub(self.second).min(BUCKETS as u64) {
            self.buckets[place(second - step)] = [0; 2];
        }
        self.second = self.second.max(second);
    }
}

#[allow(clippy::cast_possible_truncation, reason = "a remainder of thirty")]
fn place(second: u64) -> usize {
    (second % BUCKETS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::rules::Rules;

    fn rule() -> Rule {
        Rules::default().throttle
    }

    fn at(ms: u64) -> Nanos {
        Nanos::from_millis(100_000 + ms)
    }

    #[test]
    fn a_server_that_accepts_two_of_three_is_not_throttled() {
        let mut throttle = Throttle::default();
        (0..300).for_each(|n| throttle.ended(n % 3 != 0, at(n * 10)));
        assert_eq!(throttle.admit(at(3000), &rule(), 0.0).share, 0.0);
    }

    #[test]
    fn one_that_accepts_nothing_gets_a_tenth_and_a_probe_a_second() {
        let mut throttle = Throttle::default();
        (0..300).for_each(|n| throttle.ended(false, at(n * 10)));
        assert!((throttle.admit(at(3000), &rule(), 0.95).share - 0.9).abs() < 1e-9);
        let admitted = (1..5000).filter(|&n| throttle.admit(at(3000 + n), &rule(), 0.0).admits);
        assert_eq!(admitted.count(), 4, "one a second, whatever is drawn");
    }

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let mut throttle = Throttle::default();
        (0..300).for_each(|n| throttle.ended(false, at(n * 10)));
        assert_eq!(throttle.admit(at(40_000), &rule(), 0.0).attempts, 0);
    }
}
