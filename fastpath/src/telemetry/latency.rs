//! How long bursts stay in the loop: an HDR histogram with two digits, from 1 ns to 1 s.

use hdrhistogram::Histogram;

use crate::time::Nanos;

/// The histogram of one lcore.
#[derive(Debug)]
pub struct Latency(Histogram<u64>);

/// Its quantiles, nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quantiles {
    /// Half of the bursts stay no longer.
    pub p50: u64,
    /// 99 of 100.
    pub p99: u64,
    /// 999 of 1000.
    pub p999: u64,
    /// The longest.
    pub max: u64,
}

/// The longest time told apart; what takes longer counts as this long.
const LONGEST_NS: u64 = 1_000_000_000;

impl Default for Latency {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST_NS, 2).expect("constant bounds are valid"))
    }
}

impl Latency {
    /// One more burst. A time of zero is none: the port has no clock.
    pub fn record(&mut self, time: Nanos) {
        if time > Nanos::ZERO {
            self.0.saturating_record(time.0);
        }
    }

    /// The quantiles so far.
    #[must_use]
    pub fn quantiles(&self) -> Quantiles {
        let at = |quantile| self.0.value_at_quantile(quantile);
        Quantiles { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: self.0.max() }
    }
}
