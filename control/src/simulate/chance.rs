//! Chance from a seed: what it gives depends on the seed and on who asks, never on what was asked
//! before by others, so that two columns of one run meet the same arrivals and the same work.

use fastpath::time::Nanos;

/// A stream of pseudo-random numbers (`SplitMix64`, Steele et al. 2014).
#[derive(Clone, Copy, Debug)]
pub(super) struct Chance(u64);

/// Who asks: streams of different purposes have nothing in common.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    /// When work arrives, and at which host.
    Arrival = 1,
    /// How long a request is and how long its answer takes.
    Work = 2,
    /// How long a client waits before it tries again.
    BackOff = 3,
    /// Which replica a connection goes to.
    Replica = 4,
    /// What a fault does to a request.
    Fault = 5,
    /// When a client leaves.
    Leave = 6,
    /// What the wire does to a frame.
    Wire = 7,
}

impl Chance {
    /// The stream of one purpose and one thing: a group, a call, an attempt.
    pub(super) fn new(seed: u64, purpose: Purpose, thing: u64) -> Self {
        let mut chance = Self(seed ^ (purpose as u64).wrapping_mul(0xd6e8_feb8_6659_fd93));
        let start = chance.next() ^ thing.wrapping_mul(0xa076_1d64_78bd_642f);
        Self(start)
    }

    /// From 0 up to, and not including, 1.
    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// From `low` to `high`, both included.
    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high.saturating_sub(low) + 1)
    }

    /// Exponentially distributed around `mean`.
    pub(super) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    /// Log-normally distributed with mean 1; `sigma` is of the logarithm.
    pub(super) fn spread(&mut self, sigma: f64) -> f64 {
        if sigma == 0.0 { 1.0 } else { (sigma * self.normal() - sigma * sigma / 2.0).exp() }
    }

    /// Normally distributed, mean 0 and variance 1 (Box and Muller).
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Seconds as time; none when negative.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, and never negative"
)]
pub(super) fn seconds(seconds: f64) -> Nanos {
    Nanos((seconds.max(0.0) * 1e9) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_mean_one_and_an_exponential_its_mean() {
        let mut chance = Chance::new(7, Purpose::Work, 1);
        let mean =
            |mut draw: Box<dyn FnMut() -> f64>| (0..200_000).map(|_| draw()).sum::<f64>() / 2e5;
        assert!((mean(Box::new(move || chance.spread(0.8))) - 1.0).abs() < 0.01);
        assert!((mean(Box::new(move || chance.exponential(3.0))) - 3.0).abs() < 0.03);
    }

    #[test]
    fn streams_of_two_purposes_differ_and_of_one_are_equal() {
        let draw = |seed, purpose, thing| Chance::new(seed, purpose, thing).next();
        assert_eq!(draw(1, Purpose::Work, 5), draw(1, Purpose::Work, 5));
        assert_ne!(draw(1, Purpose::Work, 5), draw(1, Purpose::Leave, 5));
        assert_ne!(draw(1, Purpose::Work, 5), draw(1, Purpose::Work, 6));
        assert_ne!(draw(1, Purpose::Work, 5), draw(2, Purpose::Work, 5));
    }
}
