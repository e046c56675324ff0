//! Breaker (law A5), of an endpoint or of one backend address: what fails is left alone for a while.
//!
//! It opens on failures in a row, or on a share of failures over ten seconds; then half-opens with one
//! probe, and lets a tenth more through each second. Throttling is no failure: it is the concurrency
//! limit's business, and one tenant's must not close an endpoint to others.

use crate::detect::window::Window;
use crate::policy::rules::Breaker as Rule;
use crate::telemetry::event::Outcome;
use crate::time::Nanos;

/// An ejection is longer or shorter by up to this share.
const JITTER: f64 = 0.2;
/// Ejections double up to so many times.
const DOUBLINGS_MAX: u32 = 16;
/// What is let through more each second after the probe.
const SLOW_START_PER_SEC: f64 = 0.1;
/// A failure in less than this is a fast one.
const FAST: Nanos = Nanos::from_millis(50);

/// What an exchange was to a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Answered.
    Success,
    /// Failed.
    Failure,
    /// Neither: throttled, or left by its client.
    Neutral,
}

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// All goes.
    #[default]
    Closed,
    /// Nothing goes before then.
    Open {
        /// When the probe may go.
        until: Nanos,
    },
    /// One request is out, and decides.
    Probing {
        /// Since when; without an answer for an ejection's time another is sent.
        since: Nanos,
    },
    /// The probe was answered: a growing share goes.
    Recovering {
        /// Since when.
        since: Nanos,
    },
}

/// One breaker.
#[derive(Clone, Copy, Debug, Default)]
pub struct Breaker {
    in_a_row: u32,
    /// Answered, failed.
    window: Window<2>,
    ejections: u32,
    state: State,
}

/// What a breaker goes by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// Failures in a row.
    pub in_a_row: u32,
    /// Failures in ten seconds.
    pub failed: u32,
    /// Of so many.
    pub over: u32,
    /// Where it stands.
    pub state: State,
}

impl Answer {
    /// What an outcome is to a breaker.
    #[must_use]
    pub const fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Complete => Self::Success,
            Outcome::Failed | Outcome::ServerAbort | Outcome::ConnectFailed => Self::Failure,
            Outcome::Throttled
            | Outcome::ClientAbort
            | Outcome::Truncated
            | Outcome::Stalled
            | Outcome::Open => Self::Neutral,
        }
    }
}

impl Breaker {
    /// An exchange is over after `took`. `may_eject`: the rest of the pool carries on; `draw`: from 0
    /// to 1. True when it opens with this.
    pub fn ended(
        &mut self,
        (result, took): (Answer, Nanos),
        now: Nanos,
        rule: &Rule,
        may_eject: bool,
        draw: f64,
    ) -> bool {
        match result {
            Answer::Neutral => return false,
            Answer::Success => {
                self.in_a_row = 0;
                self.window.add(now, 0);
            }
            Answer::Failure => {
                self.in_a_row = self.in_a_row.saturating_add(1);
                self.window.add(now, 1);
            }
        }
        let probing = matches!(self.state, State::Probing { .. });
        match (self.state, result) {
            // A page that says no at once does not show that requests are served.
            (State::Probing { .. }, Answer::Success) if took >= FAST => {
                self.state = State::Recovering { since: now };
                return false;
            }
            (State::Open { .. }, _) | (State::Probing { .. }, Answer::Success) => return false,
            (State::Closed | State::Probing { .. } | State::Recovering { .. }, _) => {}
        }
        let [answered, failed] = self.window.sums(now);
        let over = answered + failed;
        let share = f64::from(failed) * 100.0 >= rule.failure_percent * f64::from(over);
        let fails = probing
            || self.in_a_row >= rule.consecutive_failures
            || (over >= rule.request_volume && share);
        let opens = result == Answer::Failure && fails && may_eject;
        if opens {
            self.open(now, rule, draw);
        }
        opens
    }

    /// Whether a request may go, for a draw from 0 to 1.
    #[must_use]
    pub fn admits(&self, now: Nanos, rule: &Rule, draw: f64) -> bool {
        match self.state {
            State::Closed => true,
            State::Open { until } => now >= until,
            State::Probing { since } => now.since(since) >= longest(rule, 0),
            State::Recovering { since } => draw < recovered(since, now),
        }
    }

    /// One goes. The one that goes when the ejection is over is the probe; what nobody acts on goes
    /// before that too, and is none.
    pub fn forwarded(&mut self, now: Nanos, rule: &Rule) {
        if !self.admits(now, rule, 0.0) {
            return;
        }
        match self.state {
            State::Closed => {}
            State::Open { .. } | State::Probing { .. } => {
                self.state = State::Probing { since: now };
            }
            State::Recovering { since } if recovered(since, now) >= 1.0 => *self = Self::default(),
            State::Recovering { .. } => {}
        }
    }

    /// Whether nothing but a probe may go.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. } | State::Probing { .. })
    }

    /// Where it stands.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// What it goes by.
    pub fn figures(&mut self, now: Nanos) -> Figures {
        let [answered, failed] = self.window.sums(now);
        Figures { in_a_row: self.in_a_row, failed, over: answered + failed, state: self.state }
    }

    fn open(&mut self, now: Nanos, rule: &Rule, draw: f64) {
        let longest =
            longest(rule, self.ejections).secs_f64() * (1.0 + JITTER * (2.0 * draw - 1.0));
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "minutes")]
        let longest = Nanos::from_millis((longest * 1e3) as u64);
        self.state = State::Open { until: now + longest };
        self.ejections = self.ejections.saturating_add(1);
        self.in_a_row = 0;
    }
}

/// The share that goes so long after the answered probe.
fn recovered(since: Nanos, now: Nanos) -> f64 {
    SLOW_START_PER_SEC * (1.0 + now.since(since).secs_f64())
}

/// The ejection after so many.
fn longest(rule: &Rule, ejections: u32) -> Nanos {
    let doubled = rule.base_ejection_time_ms << ejections.min(DOUBLINGS_MAX);
    Nanos::from_millis(doubled.min(rule.max_ejection_time_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::rules::Rules;

    const SLOW: Nanos = Nanos::from_secs(1);
    const FAILED: (Answer, Nanos) = (Answer::Failure, SLOW);
    const ANSWERED: (Answer, Nanos) = (Answer::Success, SLOW);

    fn rule() -> Rule {
        Rules::default().breaker
    }

    fn at(secs: u64) -> Nanos {
        Nanos::from_secs(1000 + secs)
    }

    /// Whether one may go; then it does.
    fn goes(breaker: &mut Breaker, now: Nanos, draw: f64) -> bool {
        let admits = breaker.admits(now, &rule(), draw);
        if admits {
            breaker.forwarded(now, &rule());
        }
        admits
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::default();
        let opens: Vec<bool> =
            (0..5).map(|n| breaker.ended(FAILED, at(n), &rule(), true, 0.5)).collect();
        assert_eq!(opens, [false, false, false, false, true]);
        breaker
    }

    #[test]
    fn five_failures_in_a_row_open_it_for_five_seconds() {
        let mut breaker = opened();
        assert!(!goes(&mut breaker, at(8), 0.0));
        assert!(goes(&mut breaker, at(9), 0.9), "the probe");
        assert!(!goes(&mut breaker, at(9), 0.0), "and no other");
    }

    #[test]
    fn an_answered_probe_lets_a_tenth_more_through_each_second() {
        let mut breaker = opened();
        goes(&mut breaker, at(10), 0.0);
        breaker.ended(ANSWERED, at(11), &rule(), true, 0.5);
        assert!(goes(&mut breaker, at(13), 0.25) && !goes(&mut breaker, at(13), 0.35));
        assert!(goes(&mut breaker, at(20), 0.99));
        assert_eq!(breaker.figures(at(20)).state, State::Closed);
    }

    #[test]
    fn a_failed_probe_ejects_for_twice_as_long_and_a_fast_page_proves_nothing() {
        let mut breaker = opened();
        goes(&mut breaker, at(10), 0.0);
        assert!(!breaker.ended((Answer::Success, Nanos(1)), at(10), &rule(), true, 0.5));
        assert!(breaker.is_open(), "a fast answer does not close it");
        assert!(breaker.ended(FAILED, at(11), &rule(), true, 0.5));
        assert!(!goes(&mut breaker, at(20), 0.0) && goes(&mut breaker, at(21), 0.0));
    }

    #[test]
    fn half_of_twenty_open_it_too_and_throttling_never_does() {
        let mut breaker = Breaker::default();
        let mut opens = false;
        for n in 0..20 {
            let result = if n % 2 == 1 { FAILED } else { ANSWERED };
            opens |= breaker.ended(result, at(n / 4), &rule(), true, 0.5);
        }
        assert!(opens);
        let mut throttled = Breaker::default();
        let result = (Answer::of(Outcome::Throttled), SLOW);
        assert!((0..100).all(|n| !throttled.ended(result, at(n), &rule(), true, 0.5)));
    }

    #[test]
    fn the_last_half_of_a_pool_is_never_ejected() {
        let mut breaker = Breaker::default();
        assert!((0..50).all(|n| !breaker.ended(FAILED, at(n), &rule(), false, 0.5)));
        assert!(goes(&mut breaker, at(50), 0.99));
    }

    proptest::proptest! {
        /// However often it fails, it is never shut for more than the longest ejection and a fifth.
        #[test]
        fn an_ejection_is_bounded(fails in 1u32..60, draw in 0.0f64..1.0) {
            let mut breaker = Breaker::default();
            let mut now = at(0);
            for _ in 0..fails {
                breaker.ended(FAILED, now, &rule(), true, draw);
                if let State::Open { until } = breaker.figures(now).state {
                    proptest::prop_assert!(until.since(now) <= Nanos::from_secs(360));
                    now = until;
                    goes(&mut breaker, now, draw);
                }
            }
        }
    }
}
