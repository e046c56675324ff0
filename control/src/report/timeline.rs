//! Attempts and waste over time, in at most [`STEPS_MAX`] steps of equal length.
//!
//! Exchanges come in the order of their ends and are entered at their starts. When they span more
//! steps than there may be, steps are joined in pairs: memory stays the same however long the
//! capture is.

use std::collections::BTreeMap;

use fastpath::telemetry::event::Waste;
use fastpath::telemetry::line::ExchangeLine;
use serde::Serialize;

/// Most steps.
const STEPS_MAX: i64 = 120;

/// The shortest step.
const STEP_SECONDS_MIN: f64 = 0.25;

/// The series.
#[derive(Debug)]
pub struct Timeline {
    step_seconds: f64,
    /// By time over `step_seconds`.
    steps: BTreeMap<i64, Sums>,
}

#[derive(Clone, Debug, Default)]
struct Sums {
    first_attempts: u64,
    retries: u64,
    wasted: BTreeMap<Waste, Wasted>,
}

/// Wasted attempts of one class that began in a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Wasted {
    /// How many.
    pub exchanges: u64,
    /// First to last byte, added up.
    pub seconds: f64,
    /// Output tokens, likely.
    pub tokens: f64,
}

/// What began in one step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// Its begin, Unix seconds.
    pub time: f64,
    /// First attempts.
    pub first_attempts: u64,
    /// Other attempts.
    pub retries: u64,
    /// Waste by class; every class is there.
    pub wasted: BTreeMap<Waste, Wasted>,
}

/// The finished series.
#[derive(Clone, Debug)]
pub struct TimelineView {
    /// Every step from the first to the last, the empty ones too.
    pub steps: Vec<Step>,
    /// Their length.
    pub step_seconds: f64,
}

impl Default for Timeline {
    fn default() -> Self {
        Self { step_seconds: STEP_SECONDS_MIN, steps: BTreeMap::new() }
    }
}

impl Timeline {
    /// Enters one exchange at its start.
    pub fn add(&mut self, exchange: &ExchangeLine) {
        let sums = self.steps.entry(index(exchange.start, self.step_seconds)).or_default();
        if exchange.attempt <= 1 {
            sums.first_attempts += 1;
        } else {
            sums.retries += 1;
        }
        if let Some(class) = exchange.waste {
            let wasted = sums.wasted.entry(class).or_default();
            wasted.exchanges += 1;
            wasted.seconds += exchange.seconds();
            wasted.tokens += exchange.tokens_estimate.map_or(0.0, |[_, likely, _]| likely);
        }
        while self.span() > STEPS_MAX {
            self.join_pairs();
        }
    }

    /// The finished series.
    #[must_use]
    pub fn view(&self) -> TimelineView {
        let (first, span) = (self.steps.keys().next().copied().unwrap_or(0), self.span());
        let step = |index: i64| {
            let sums = self.steps.get(&index).cloned().unwrap_or_default();
            let wasted = |class| (class, sums.wasted.get(&class).copied().unwrap_or_default());
            Step {
                time: index as f64 * self.step_seconds,
                first_attempts: sums.first_attempts,
                retries: sums.retries,
                wasted: Waste::ALL.map(wasted).into(),
            }
        };
        TimelineView {
            steps: (first..first + span).map(step).collect(),
            step_seconds: self.step_seconds,
        }
    }

    fn span(&self) -> i64 {
        match (self.steps.keys().next(), self.steps.keys().next_back()) {
            (Some(first), Some(last)) => last - first + 1,
            _ => 0,
        }
    }

    fn join_pairs(&mut self) {
        self.step_seconds *= 2.0;
        for (index, sums) in std::mem::take(&mut self.steps) {
            let joined = self.steps.entry(index.div_euclid(2)).or_default();
            joined.first_attempts += sums.first_attempts;
            joined.retries += sums.retries;
            for (class, wasted) in sums.wasted {
                let sum = joined.wasted.entry(class).or_default();
                sum.exchanges += wasted.exchanges;
                sum.seconds += wasted.seconds;
                sum.tokens += wasted.tokens;
            }
        }
    }
}

impl Step {
    /// Seconds wasted by all classes.
    #[must_use]
    pub fn wasted_seconds(&self) -> f64 {
        self.wasted.values().map(|wasted| wasted.seconds).sum()
    }
}

#[allow(clippy::cast_possible_truncation, reason = "saturates, and no time lies that far away")]
fn index(time: f64, step_seconds: f64) -> i64 {
    (time / step_seconds).floor() as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::exchange;

    #[test]
    fn steps_are_joined_rather_than_growing_in_number() {
        let mut timeline = Timeline::default();
        for n in 0..10_000 {
            timeline.add(&exchange("c", "e", f64::from(n), f64::from(n) + 1.0));
        }
        let view = timeline.view();
        assert!(view.steps.len() <= 120 && view.steps.len() > 60, "{}", view.steps.len());
        assert_eq!(view.steps.iter().map(|step| step.first_attempts).sum::<u64>(), 10_000);
    }

    #[test]
    fn an_earlier_start_that_comes_late_is_entered_at_its_place() {
        let mut timeline = Timeline::default();
        timeline.add(&exchange("c", "e", 10.0, 11.0));
        timeline.add(&exchange("c", "e", 9.0, 12.0));
        let view = timeline.view();
        assert_eq!((view.steps[0].time, view.steps.len()), (9.0, 5));
        assert_eq!(view.steps[0].first_attempts, 1);
    }

    #[test]
    fn nothing_entered_is_no_step() {
        assert!(Timeline::default().view().steps.is_empty());
    }
}
