//! When recorded frames come: which go into one burst, and how time steps through a gap.
//!
//! On a wire the loop polls all the time, so timers fire while nothing arrives. A recording only
//! has the times of its frames; [`Pace`] puts empty bursts into its gaps, in steps that double, so
//! that even a gap of years costs some forty bursts.

use crate::time::Nanos;

/// A burst holds frames of less than this, from its first one on.
const BURST_SPAN: Nanos = Nanos::from_millis(1);

/// Up to this gap the next frame just comes; it is also the first step through a longer one.
const GAP: Nanos = Nanos::from_millis(10);

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::port) enum Turn {
    /// The next frame begins a burst.
    Frames,
    /// Nothing arrives until this time: an empty burst.
    Idle(Nanos),
}

/// The time of a recording as it plays.
#[derive(Debug)]
pub(in crate::port) struct Pace {
    now: Option<Nanos>,
    step: Nanos,
}

impl Pace {
    pub(in crate::port) fn new() -> Self {
        Self { now: None, step: GAP }
    }

    /// The current time; before the first frame, the epoch.
    pub(in crate::port) fn now(&self) -> Nanos {
        self.now.unwrap_or(Nanos::ZERO)
    }

    /// Frames or a step of time, when the next frame arrives `at`. The first frame sets the time.
    pub(in crate::port) fn turn(&mut self, at: Nanos) -> Turn {
        let now = self.now.unwrap_or(at);
        if at.since(now) <= GAP {
            self.step = GAP;
            self.reach(at);
            return Turn::Frames;
        }
        let next = (now + self.step).min(at);
        self.step += self.step;
        self.reach(next);
        Turn::Idle(next)
    }

    /// A frame of `at` is in the burst. A recording's time may run backwards; ours does not.
    pub(in crate::port) fn reach(&mut self, at: Nanos) {
        self.now = Some(self.now().max(at));
    }

    /// Whether a frame of `at` still belongs to the burst whose first frame came at `first`.
    pub(in crate::port) fn same_burst(first: Nanos, at: Nanos) -> bool {
        at.since(first) < BURST_SPAN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Nanos {
        Nanos::from_millis(n)
    }

    #[test]
    fn a_long_gap_is_stepped_through_in_doubling_steps_up_to_the_next_frame() {
        let mut pace = Pace::new();
        assert_eq!(pace.turn(ms(1_000)), Turn::Frames);
        let turns: Vec<_> = (0..5).map(|_| pace.turn(ms(1_100))).collect();
        let idle = |at| Turn::Idle(ms(at));
        assert_eq!(turns, [idle(1_010), idle(1_030), idle(1_070), idle(1_100), Turn::Frames]);
    }

    #[test]
    fn a_gap_of_ten_milliseconds_needs_no_step() {
        let mut pace = Pace::new();
        pace.turn(ms(1_000));
        assert_eq!(pace.turn(ms(1_010)), Turn::Frames);
    }

    #[test]
    fn time_stands_still_while_a_recording_runs_backwards() {
        let mut pace = Pace::new();
        pace.turn(ms(1_000));
        assert_eq!(pace.turn(ms(400)), Turn::Frames);
        assert_eq!(pace.now(), ms(1_000));
    }

    #[test]
    fn the_longest_gap_ends_after_few_steps() {
        let mut pace = Pace::new();
        pace.turn(ms(0));
        let steps = (0..100).take_while(|_| pace.turn(Nanos::MAX) != Turn::Frames).count();
        assert!(steps < 50, "{steps} steps");
    }
}
