//! Time as data: nanoseconds that arrive with a burst, and a ticker that says when periodic work is
//! due.
//!
//! Nothing in the data plane reads a clock except a port, which stamps its bursts. That is why a
//! replay of a capture gives the same answer to the byte as the wire it was taken from.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};

/// A point in time or a duration, in nanoseconds. Points count from the Unix epoch.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub u64);

impl Nanos {
    /// No time at all; as a point, the epoch.
    pub const ZERO: Self = Self(0);
    /// Later than any frame.
    pub const MAX: Self = Self(u64::MAX);

    /// `n` microseconds.
    #[must_use]
    pub const fn from_micros(n: u64) -> Self {
        Self(n.saturating_mul(1_000))
    }

    /// `n` milliseconds.
    #[must_use]
    pub const fn from_millis(n: u64) -> Self {
        Self(n.saturating_mul(1_000_000))
    }

    /// `n` seconds.
    #[must_use]
    pub const fn from_secs(n: u64) -> Self {
        Self(n.saturating_mul(1_000_000_000))
    }

    /// Seconds, for people, JSON and densities; never for arithmetic on points.
    #[must_use]
    pub fn secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// The time from `earlier` to `self`, zero when `earlier` is later: captures run backwards at
    /// times.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }
}

impl Add for Nanos {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Nanos {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Nanos {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self.since(other)
    }
}

impl fmt::Debug for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}s", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

/// Says, at most once an interval, that periodic work is due.
#[derive(Debug)]
pub struct Ticker {
    interval: Nanos,
    due: Nanos,
}

impl Ticker {
    /// A ticker that is due at once, and then every `interval`.
    #[must_use]
    pub fn every(interval: Nanos) -> Self {
        Self { interval, due: Nanos::ZERO }
    }

    /// Whether the interval has passed; if so the next one starts now.
    pub fn due(&mut self, now: Nanos) -> bool {
        if now < self.due {
            return false;
        }
        self.due = now + self.interval;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticker_is_due_once_an_interval() {
        let mut ticker = Ticker::every(Nanos::from_millis(10));
        let due: Vec<bool> =
            [5, 6, 14, 15, 40].map(|ms| ticker.due(Nanos::from_millis(ms))).to_vec();
        assert_eq!(due, [true, false, false, true, true]);
    }

    #[test]
    fn time_that_runs_backwards_is_no_time() {
        assert_eq!(Nanos(5).since(Nanos(9)), Nanos::ZERO);
    }
}
