//! How likely a pause between a failed attempt and its retry is: naive loops, SDK back-off, or
//! anything else.
//!
//! The mixture starts from what clients were measured to do and follows what this group of clients
//! does.

/// What a group's retries looked like so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Habit {
    /// Links by kind of gap: naive, SDK, other.
    links: [u32; 3],
    /// The last naive gaps, seconds.
    naive: [f64; NAIVE_KEPT],
    naive_count: usize,
    /// Starts that were something else and starts that were retries: all, and those whose
    /// connection had just completed another exchange.
    starts: [[u32; 2]; 2],
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
/// How many of both go on with their worker's connection, before anything was learnt: shares, worth
/// so many starts.
const CONTINUING_PRIOR: [f64; 2] = [0.45, 0.25];
const CONTINUING_STARTS: f64 = 8.0;
/// When this many starts were learnt, they count half.
const STARTS_MAX: u32 = 256;
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

    /// Log-likelihood ratio of a retry, of a start whose connection had just completed another
    /// exchange, or had not. A worker that takes its next piece of work goes on at once; one that
    /// waits to try again does not.
    #[must_use]
    pub fn worker(&self, continues: bool) -> f64 {
        let share = |kind: usize| {
            let [all, continuing] = self.starts[kind].map(f64::from);
            let prior = CONTINUING_STARTS * CONTINUING_PRIOR[kind];
            let share = (prior + continuing) / (CONTINUING_STARTS + all);
            if continues { share } else { 1.0 - share }
        };
        let ratio = (share(1) / share(0)).ln();
        // Whatever was learnt from decisions that were mistaken.
        if continues { ratio.min(0.0) } else { ratio.max(0.0) }
    }

    /// Learns from a start that was decided.
    pub fn learn_start(&mut self, retry: bool, continues: bool) {
        let counts = &mut self.starts[usize::from(retry)];
        if counts[0] >= STARTS_MAX {
            counts.iter_mut().for_each(|count| *count /= 2);
        }
        counts[0] += 1;
        counts[1] += u32::from(continues);
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
    fn workers_that_go_on_at_once_are_learnt() {
        let mut habit = Habit::default();
        let (goes_on, waits) = (habit.worker(true), habit.worker(false));
        assert!(goes_on < 0.0 && waits > 0.0);
        for _ in 0..300 {
            habit.learn_start(false, true);
        }
        assert!(habit.worker(true) < goes_on && habit.worker(false) > waits + 1.0);
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
