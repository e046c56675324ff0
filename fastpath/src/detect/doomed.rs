//! Doomed work: branches that go on although a branch beside them has failed for good.
//!
//! Whether the others are of use without the one that failed is the client's secret. What can be
//! seen is its habit: after earlier fan-outs with a failed branch it went on with a next call, or it
//! gave up. The confidence is the share of those that gave up; nothing learnt is even odds.

use crate::time::Nanos;

/// An attempt with this number that fails is not tried again by SDKs.
pub const ATTEMPTS_MAX: u16 = 3;

/// A failed attempt that was not tried again within this time is final: the longest back-off of SDKs
/// is 1.1 s, and a link is decided half a second after its start.
pub const FINAL_AFTER: Nanos = Nanos::from_secs(4);

/// A client that goes on after a fan-out does so within this time.
pub const GOES_ON_WITHIN: Nanos = Nanos::from_secs(5);

/// Confidence from which doomed work is booked as waste.
pub const BOOKED_FROM: f64 = 0.7;

/// What a caller did after fan-outs with a branch that failed for good.
#[derive(Clone, Copy, Debug, Default)]
pub struct Habit {
    /// It called on.
    pub went_on: u32,
    /// It did not.
    pub gave_up: u32,
}

/// A branch that was doomed when it ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Doomed {
    /// How long after the failure it went on.
    pub after: Nanos,
    /// How sure it is.
    pub confidence: f64,
}

impl Habit {
    /// Share of those that gave up, begun with one of each.
    #[must_use]
    pub fn gives_up(&self) -> f64 {
        let (gave_up, went_on) = (f64::from(self.gave_up), f64::from(self.went_on));
        (gave_up + 1.0) / (gave_up + went_on + 2.0)
    }
}

/// Whether a failure is final at `now`.
#[must_use]
pub fn is_final(failed_at: Nanos, attempt: u16, now: Nanos) -> bool {
    attempt >= ATTEMPTS_MAX || now >= failed_at + FINAL_AFTER
}

/// Whether a branch that ended at `end` went on after one beside it had failed for good at
/// `failed_at`.
#[must_use]
pub fn observe(failed_at: Option<Nanos>, end: Nanos, habit: &Habit) -> Option<Doomed> {
    let failed_at = failed_at.filter(|&failed_at| end > failed_at)?;
    Some(Doomed { after: end.since(failed_at), confidence: habit.gives_up() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: Nanos = Nanos::from_secs(10);

    #[test]
    fn a_branch_that_outlives_a_final_failure_is_doomed_with_even_odds() {
        let doomed = observe(Some(FAILED), Nanos::from_secs(13), &Habit::default()).unwrap();
        assert_eq!((doomed.after, doomed.confidence), (Nanos::from_secs(3), 0.5));
    }

    #[test]
    fn a_branch_that_was_over_before_is_not() {
        assert_eq!(observe(Some(FAILED), Nanos::from_secs(9), &Habit::default()), None);
        assert_eq!(observe(None, Nanos::from_secs(9), &Habit::default()), None);
    }

    #[test]
    fn clients_that_give_up_make_it_surer_and_those_that_go_on_less_so() {
        assert!(Habit { gave_up: 3, went_on: 0 }.gives_up() > BOOKED_FROM);
        assert!(Habit { gave_up: 0, went_on: 3 }.gives_up() < 0.3);
    }

    #[test]
    fn a_failure_is_final_when_attempts_or_patience_are_used_up() {
        let soon = FAILED + Nanos::from_secs(1);
        assert!(!is_final(FAILED, 1, soon));
        assert!(is_final(FAILED, 3, soon));
        assert!(is_final(FAILED, 1, FAILED + FINAL_AFTER));
    }
}
