//! Counts over the last ten seconds, in exact buckets of one second.

use crate::time::Nanos;

/// Buckets of a window.
const BUCKETS: usize = 10;

/// How long a window is.
pub const WINDOW: Nanos = Nanos::from_secs(BUCKETS as u64);

/// `N` counts over the last ten seconds.
#[derive(Clone, Copy, Debug)]
pub struct Window<const N: usize> {
    buckets: [[u32; N]; BUCKETS],
    /// The latest second there is a bucket for.
    second: u64,
}

impl<const N: usize> Default for Window<N> {
    fn default() -> Self {
        Self { buckets: [[0; N]; BUCKETS], second: 0 }
    }
}

impl<const N: usize> Window<N> {
    /// One more of count `what` at this time. What is older than the window is not counted.
    pub fn add(&mut self, at: Nanos, what: usize) {
        self.advance(at);
        let second = second(at);
        if second + (BUCKETS as u64) > self.second {
            let count = &mut self.buckets[bucket(second)][what];
            *count = count.saturating_add(1);
        }
    }

    /// The counts of the ten seconds up to `now`.
    pub fn sums(&mut self, now: Nanos) -> [u32; N] {
        self.advance(now);
        let mut sums = [0_u32; N];
        for bucket in &self.buckets {
            for (sum, count) in sums.iter_mut().zip(bucket) {
                *sum = sum.saturating_add(*count);
            }
        }
        sums
    }

    /// Empties the buckets of the seconds since the latest one.
    fn advance(&mut self, at: Nanos) {
        let second = second(at);
        let steps = second.saturating_sub(self.second).min(BUCKETS as u64);
        for step in 0..steps {
            self.buckets[bucket(second - step)] = [0; N];
        }
        self.second = self.second.max(second);
    }
}

fn second(at: Nanos) -> u64 {
    at.0 / 1_000_000_000
}

/// The bucket of a second.
#[allow(clippy::cast_possible_truncation, reason = "a remainder of ten")]
fn bucket(second: u64) -> usize {
    (second % BUCKETS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_leave_after_ten_seconds() {
        let mut window: Window<2> = Window::default();
        window.add(Nanos::from_secs(100), 0);
        window.add(Nanos::from_secs(105), 0);
        window.add(Nanos::from_secs(105), 1);
        assert_eq!(window.sums(Nanos::from_secs(109)), [2, 1]);
        assert_eq!(window.sums(Nanos::from_secs(110)), [1, 1]);
        assert_eq!(window.sums(Nanos::from_secs(5000)), [0, 0]);
    }

    #[test]
    fn what_is_late_goes_to_its_own_second_or_nowhere() {
        let mut window: Window<1> = Window::default();
        window.add(Nanos::from_secs(100), 0);
        window.add(Nanos::from_secs(95), 0);
        window.add(Nanos::from_secs(80), 0);
        assert_eq!(window.sums(Nanos::from_secs(100)), [2]);
        assert_eq!(window.sums(Nanos::from_secs(105)), [1]);
    }
}
