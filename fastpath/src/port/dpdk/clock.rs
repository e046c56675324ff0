//! Turns the ticks of the time stamp counter into Unix time.
//!
//! Time starts at the system's and then runs with its monotonic clock: it is never stepped, and
//! never goes back. Reading it costs one RDTSC and a multiplication; once a second it is compared
//! with the monotonic clock and steered, because the rate DPDK or the kernel reports for the
//! counter can be off by a permille.

use std::time::{Duration, Instant, SystemTime};

use crate::hw;
use crate::time::Nanos;

/// A clock that a burst can afford.
#[derive(Debug)]
pub(super) struct Clock {
    /// The system's monotonic clock when Unix time was `unix_ns`.
    origin: Instant,
    unix_ns: u64,
    line: Line,
    /// Ticks of the next comparison.
    compare_at: u64,
}

/// Time as a straight line over ticks.
#[derive(Clone, Copy, Debug)]
struct Line {
    /// A point on it.
    ticks: u64,
    ns: u64,
    /// Its slope: nanoseconds a tick, times 2^32.
    slope: u64,
    /// The monotonic clock at `ticks`: where the line should have been.
    true_ns: u64,
}

impl Clock {
    /// Starts the clock; takes 10 ms.
    pub(super) fn new() -> Self {
        let (origin, unix_ns) = now();
        let mut line = Line { ticks: 0, ns: unix_ns, slope: 0, true_ns: unix_ns };
        let first = pair(origin);
        std::thread::sleep(Duration::from_millis(10));
        let second = pair(origin);
        line.slope = slope(second.1 - first.1, second.0.saturating_sub(first.0));
        line.ticks = second.0;
        line.ns = unix_ns + second.1;
        line.true_ns = line.ns;
        Self { origin, unix_ns, line, compare_at: second.0 + line.ticks_in(INTERVAL_NS) }
    }

    /// The time now.
    #[inline]
    pub(super) fn now(&mut self) -> Nanos {
        let ticks = hw::tsc();
        if ticks >= self.compare_at {
            self.compare();
        }
        Nanos(self.line.at(ticks))
    }

    #[cold]
    fn compare(&mut self) {
        let (ticks, elapsed_ns) = pair(self.origin);
        self.line = self.line.steered(ticks, self.unix_ns + elapsed_ns);
        self.compare_at = ticks + self.line.ticks_in(INTERVAL_NS);
    }
}

impl Line {
    /// The time at `ticks`; its starting point when they are earlier.
    #[inline]
    fn at(&self, ticks: u64) -> u64 {
        let ticks = ticks.saturating_sub(self.ticks);
        let ns = (u128::from(ticks) * u128::from(self.slope)) >> 32;
        self.ns + u64::try_from(ns).unwrap_or(u64::MAX / 2)
    }

    fn ticks_in(&self, ns: u64) -> u64 {
        u64::try_from((u128::from(ns) << 32) / u128::from(self.slope.max(1)))
            .unwrap_or(u64::MAX / 2)
    }

    /// The line that goes on from here and meets the true time after one more interval. It is never
    /// steeper or flatter than the true rate by more than a tenth; when far behind (the machine
    /// slept), it jumps.
    fn steered(self, ticks: u64, true_ns: u64) -> Self {
        let here = self.at(ticks);
        let rate = slope(true_ns.saturating_sub(self.true_ns), ticks.saturating_sub(self.ticks));
        if true_ns > here + INTERVAL_NS / 10 {
            return Self { ticks, ns: true_ns, slope: rate, true_ns };
        }
        let wanted_ns = (true_ns + INTERVAL_NS).saturating_sub(here);
        let wanted_ns = wanted_ns.clamp(INTERVAL_NS / 10 * 9, INTERVAL_NS / 10 * 11);
        let slope = u128::from(rate) * u128::from(wanted_ns) / u128::from(INTERVAL_NS);
        Self { ticks, ns: here, slope: u64::try_from(slope).unwrap_or(rate), true_ns }
    }
}

fn slope(ns: u64, ticks: u64) -> u64 {
    u64::try_from((u128::from(ns) << 32) / u128::from(ticks.max(1))).unwrap_or(u64::MAX)
}

/// Ticks and the nanoseconds since `origin` that belong together: the closest of a few readings,
/// because the kernel may take the core away between the two.
fn pair(origin: Instant) -> (u64, u64) {
    let reading = |_| {
        let before = hw::tsc();
        let elapsed = origin.elapsed();
        let after = hw::tsc();
        let ns = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX / 2);
        (after.saturating_sub(before), (before.midpoint(after), ns))
    };
    (0..4).map(reading).min_by_key(|(gap, _)| *gap).map_or((0, 0), |(_, pair)| pair)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a port stamps time; once at start, and steered once a second"
)]
fn now() -> (Instant, u64) {
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    (Instant::now(), u64::try_from(unix.as_nanos()).unwrap_or(u64::MAX / 2))
}

/// Between two comparisons.
const INTERVAL_NS: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const GHZ_2: u64 = 1 << 31; // half a nanosecond a tick

    #[test]
    fn a_wrong_rate_is_gone_after_two_intervals() {
        let mut line = Line { ticks: 0, ns: 0, slope: GHZ_2 / 1000 * 1002, true_ns: 0 };
        for second in 1..=3 {
            line = line.steered(second * 2_000_000_000, second * INTERVAL_NS);
        }
        let error = line.at(8_000_000_000).abs_diff(4 * INTERVAL_NS);
        assert!(error < 1000, "{error} ns off");
    }

    #[test]
    fn time_never_goes_back() {
        let fast = Line { ticks: 0, ns: 0, slope: GHZ_2 * 2, true_ns: 0 };
        let steered = fast.steered(2_000_000_000, INTERVAL_NS);
        assert_eq!(steered.at(2_000_000_000), fast.at(2_000_000_000));
        assert!(steered.at(2_000_000_100) > steered.at(2_000_000_000));
        assert_eq!(steered.at(0), steered.ns);
    }

    #[test]
    fn after_a_sleep_of_the_machine_it_jumps() {
        let line = Line { ticks: 0, ns: 0, slope: GHZ_2, true_ns: 0 };
        assert_eq!(line.steered(100, 60 * INTERVAL_NS).ns, 60 * INTERVAL_NS);
    }

    #[test]
    fn it_agrees_with_the_system() {
        let mut clock = Clock::new();
        let (_, system) = now();
        assert!(clock.now().0.abs_diff(system) < 10_000_000);
    }
}
