//! How many exchanges a client has running at once: its fan-out.
//!
//! Exchanges are entered when they end, so an exchange that is still running when another began
//! arrives after it. Each start therefore stays open for counting until [`RECENT_MAX`] later ones
//! have come; the count is exact for clients with fewer than that many exchanges at once, and a
//! floor for the others.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Starts of a client that can still be counted in.
const RECENT_MAX: usize = 256;

/// Least number at once of each row; a row ends where the next begins.
pub const CONCURRENCY_FLOORS: [u32; 9] = [1, 2, 3, 5, 9, 17, 33, 65, 129];

/// One client's concurrency.
#[derive(Debug, Default)]
pub(super) struct Concurrency {
    recent: VecDeque<Start>,
    settled: [u64; CONCURRENCY_FLOORS.len()],
    max: u32,
}

#[derive(Clone, Copy, Debug)]
struct Start {
    start: f64,
    end: f64,
    /// Exchanges known to run at `start`, this one included.
    running: u32,
}

/// How often a client had that many exchanges running when one of its exchanges began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConcurrencyRow {
    /// At least this many at once, the new one included.
    pub from: u32,
    /// At most this many; none for the last row.
    pub to: Option<u32>,
    /// Exchanges that began so.
    pub exchanges: u64,
}

impl Concurrency {
    /// Enters an exchange that ran from `start` to `end`.
    pub(super) fn add(&mut self, start: f64, end: f64) {
        let mut running = 1;
        for earlier in &mut self.recent {
            if start <= earlier.start && earlier.start < end {
                earlier.running += 1;
                self.max = self.max.max(earlier.running);
            }
            if earlier.start <= start && start < earlier.end {
                running += 1;
            }
        }
        self.max = self.max.max(running);
        if self.recent.len() == RECENT_MAX
            && let Some(oldest) = self.recent.pop_front()
        {
            self.settled[row_of(oldest.running)] += 1;
        }
        self.recent.push_back(Start { start, end, running });
    }

    /// Adds another client's counts, for a sum over clients.
    pub(super) fn merge(&mut self, other: &Self) {
        for (sum, count) in self.settled.iter_mut().zip(other.counts()) {
            *sum += count;
        }
        self.max = self.max.max(other.max);
    }

    /// Most at once.
    pub(super) fn max(&self) -> u32 {
        self.max
    }

    /// The distribution, up to the last row that is not empty.
    pub(super) fn rows(&self) -> Vec<ConcurrencyRow> {
        let counts = self.counts();
        let used = counts.iter().rposition(|&n| n > 0).map_or(0, |last| last + 1);
        let row = |i: usize| ConcurrencyRow {
            from: CONCURRENCY_FLOORS[i],
            to: CONCURRENCY_FLOORS.get(i + 1).map(|next| next - 1),
            exchanges: counts[i],
        };
        (0..used).map(row).collect()
    }

    fn counts(&self) -> [u64; CONCURRENCY_FLOORS.len()] {
        let mut counts = self.settled;
        for start in &self.recent {
            counts[row_of(start.running)] += 1;
        }
        counts
    }
}

fn row_of(running: u32) -> usize {
    CONCURRENCY_FLOORS.iter().rposition(|&floor| floor <= running).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(intervals: &[(f64, f64)]) -> Concurrency {
        let mut concurrency = Concurrency::default();
        for &(start, end) in intervals {
            concurrency.add(start, end);
        }
        concurrency
    }

    #[test]
    fn one_after_another_is_one_at_once() {
        assert_eq!(of(&[(0., 1.), (1., 2.), (2., 3.)]).max(), 1);
    }

    #[test]
    fn the_longest_arrives_last_and_counts_in_all_it_spanned() {
        let concurrency = of(&[(1., 2.), (3., 4.), (3.5, 5.), (0., 9.)]);
        assert_eq!(concurrency.max(), 3);
        let row = |from, to, exchanges| ConcurrencyRow { from, to: Some(to), exchanges };
        assert_eq!(concurrency.rows(), [row(1, 1, 1), row(2, 2, 2), row(3, 4, 1)]);
    }

    #[test]
    fn a_burst_of_equal_starts_counts_everyone() {
        assert_eq!(of(&[(0., 1.); 4]).max(), 4);
    }

    #[test]
    fn memory_is_bounded_and_no_exchange_is_forgotten() {
        let concurrency = of(&vec![(0., 1.); RECENT_MAX * 3]);
        assert_eq!(concurrency.recent.len(), RECENT_MAX);
        assert_eq!(concurrency.counts().iter().sum::<u64>(), RECENT_MAX as u64 * 3);
    }
}
