//! How likely a pause between a failed attempt and its retry is: naive loops, SDK back-off, or
//! anything else.
//!
//! The mixture starts from what clients were measured to do and follows what this group of clients
//! does.

use super::continuity::{Came, Connections};

/// What a group's retries looked like so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Habit {
    /// Links by kind of gap: naive, SDK, other.
    links: [u32; 3],
    /// The last naive gaps, seconds.
    naive: [f64; NAIVE_KEPT],
    naive_count: usize,
    /// On which connections they came, and everything else.
    connections: Connections,
}

const NAIVE_KEPT: usize = 16;
/// A naive loop tries again within this, seconds.
const NAIVE_BELOW: f64 = 0.13;
/// SDK back-off before the second and before later attempts: 0.5 s and 1 s less up to a quarter of
/// jitter, and what a busy client takes to wake up.
const SDK_FIRST: std::ops::Range<f64> = 0.365..0.54;
const SDK_LATER: std::ops::Range<f64> = 0.74..1.06;
/// Weights before anything was learnt, worth two links.
const PRIOR: [f64; 3] = [0.30, 0.58, 0.12];
const PRIOR_LINKS: f64 = 2.0;
/// Width of the kernel around a gap that was seen before, seconds.
const KERNEL_SIGMA: f64 = 0.006;
/// Mean of all other gaps, seconds.
const OTHER_MEAN: f64 = 3.0;
/// No gap is impossible.
const FLOOR: f64 = 1e-4;

impl Habit {
    /// Density, per second, of a retry `gap` seconds after attempt number `attempt` has failed.
    #[must_use]
    pub fn density(&self, gap: f64, attempt: u16) -> f64 {
        let gap = gap.max(0.0);
        let total = PRIOR_LINKS + f64::from(self.links.iter().sum::<u32>());
        let weight =
            |kind: usize| (PRIOR_LINKS * PRIOR[kind] + f64::from(self.links[kind])) / total;
        let other = (-gap / OTHER_MEAN).exp() / OTHER_MEAN;
        weight(0) * self.naive(gap) + weight(1) * sdk(gap, attempt) + weight(2) * other + FLOOR
    }

    /// Learns from a link.
    pub fn learn(&mut self, gap: f64) {
        let gap = gap.max(0.0);
        let kind = if gap < NAIVE_BELOW {
            self.naive[self.naive_count % NAIVE_KEPT] = gap;
            self.naive_count += 1;
            0
        } else if SDK_FIRST.contains(&gap) || SDK_LATER.contains(&gap) {
            1
        } else {
            2
        };
        self.links[kind] = self.links[kind].saturating_add(1);
    }

    /// Log-likelihood ratio of a retry, by the connection that it came on.
    #[must_use]
    pub fn connection(&self, came: Came) -> f64 {
        self.connections.likelihood(came)
    }

    /// Learns from a start that was decided: the retry of an attempt, or something else.
    pub fn learn_start(&mut self, retry: bool, came: Came) {
        self.connections.learn(retry, came);
    }

    fn naive(&self, gap: f64) -> f64 {
        let flat = if gap < NAIVE_BELOW { 1.0 / NAIVE_BELOW } else { 0.0 };
        let kept = &self.naive[..self.naive_count.min(NAIVE_KEPT)];
        if kept.len() < 2 {
            return flat;
        }
        let norm = KERNEL_SIGMA * (2.0 * std::f64::consts::PI).sqrt();
        let kernel = |&seen: &f64| (-0.5 * ((gap - seen) / KERNEL_SIGMA).powi(2)).exp() / norm;
        0.3 * flat + 0.7 * kept.iter().map(kernel).sum::<f64>() / kept.len() as f64
    }
}

fn sdk(gap: f64, attempt: u16) -> f64 {
    let within = |range: std::ops::Range<f64>| {
        if range.contains(&gap) { 1.0 / (range.end - range.start) } else { 0.0 }
    };
    let (first, later) = (within(SDK_FIRST), within(SDK_LATER));
    if attempt <= 1 { 0.92 * first + 0.08 * later } else { 0.1 * first + 0.9 * later }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_sdk_gap_is_likelier_than_a_pause_of_the_same_order() {
        let habit = Habit::default();
        assert!(habit.density(0.45, 1) > 5.0 * habit.density(0.65, 1));
        assert!(habit.density(0.9, 2) > habit.density(0.9, 1));
    }

    #[test]
    fn a_naive_loop_is_learnt() {
        let mut habit = Habit::default();
        let before = habit.density(0.05, 1);
        for _ in 0..10 {
            habit.learn(0.05);
        }
        assert!(habit.density(0.05, 1) > 5.0 * before);
        assert!(habit.density(0.1, 1) < habit.density(0.05, 1) / 5.0);
    }
}
