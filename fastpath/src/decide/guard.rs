//! Metastability guard (law A11): tightens the retry budget and the limit of an endpoint before retries
//! keep it overloaded by themselves, and puts first attempts first while they do.
//!
//! margin = μ̂ / (λ̂ (1 + r̂)) with capacity μ̂ and first attempts λ̂ a second, and r̂ retries for each.
//! μ̂ shows only while an endpoint gives all it has; until then nothing is said.

use crate::time::Nanos;

/// Below this margin the endpoint is in a bad way.
const MARGIN_MIN: f64 = 1.1;
/// Retries go last from ρ̂·a above 1 on, until a has been below this for so long.
const AMPLIFICATION_OVER: f64 = 1.1;
const OVER_AFTER: Nanos = Nanos::from_secs(10);
/// L is multiplied by this.
const TIGHTENED: f64 = 0.9;
/// Rates are smoothed over so many seconds.
const SMOOTHING_SECS: f64 = 5.0;
/// Attempts a second without which nothing is said.
const RATE_MIN: f64 = 0.5;

/// One endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub struct Guard {
    first: u32,
    retries: u32,
    completed: u32,
    /// When the counts begin.
    since: Option<Nanos>,
    /// λ̂, retries a second, and μ̂.
    first_per_sec: f64,
    retries_per_sec: f64,
    capacity_per_sec: Option<f64>,
    bad: bool,
    retries_last: bool,
    /// Since when a has been low.
    calm: Option<Nanos>,
}

/// What a guard goes by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// μ̂ / (λ̂ (1 + r̂)).
    pub margin: Option<f64>,
    /// a: attempts for each first attempt.
    pub amplification: f64,
}

impl Guard {
    /// An attempt has begun.
    pub fn started(&mut self, is_retry: bool) {
        let count = if is_retry { &mut self.retries } else { &mut self.first };
        *count = count.saturating_add(1);
    }

    /// An attempt was answered.
    pub fn completed(&mut self) {
        self.completed = self.completed.saturating_add(1);
    }

    /// Time has passed; `saturated`: a backend of the endpoint shows evidence of queueing. Once a
    /// second is enough.
    pub fn tick(&mut self, saturated: bool, now: Nanos) {
        let secs = now.since(*self.since.get_or_insert(now)).secs_f64();
        if secs < 1.0 {
            return;
        }
        let weight = 1.0 - (-secs / SMOOTHING_SECS).exp();
        let learn =
            |rate: &mut f64, count: u32| *rate += weight * (f64::from(count) / secs - *rate);
        learn(&mut self.first_per_sec, self.first);
        learn(&mut self.retries_per_sec, self.retries);
        if saturated {
            let seen = f64::from(self.completed) / secs;
            learn(self.capacity_per_sec.get_or_insert(seen), self.completed);
        }
        (self.first, self.retries, self.completed, self.since) = (0, 0, 0, Some(now));
        let Figures { margin, amplification } = self.figures();
        self.bad = margin.is_some_and(|margin| margin < MARGIN_MIN);
        self.order_retries(margin, amplification, now);
    }

    /// A retry budget earns less: its ratio is the one of a bad state.
    #[must_use]
    pub const fn is_bad(&self) -> bool {
        self.bad
    }

    /// First attempts go strictly before retries.
    #[must_use]
    pub const fn puts_retries_last(&self) -> bool {
        self.retries_last
    }

    /// A factor for L.
    #[must_use]
    pub const fn scale(&self) -> f64 {
        if self.bad { TIGHTENED } else { 1.0 }
    }

    /// μ̂, where it has shown.
    #[must_use]
    pub const fn capacity_per_sec(&self) -> Option<f64> {
        self.capacity_per_sec
    }

    /// What it goes by.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let asked = self.first_per_sec + self.retries_per_sec;
        let amplification = if self.first_per_sec > 0.0 { asked / self.first_per_sec } else { 1.0 };
        let margin = self.capacity_per_sec.filter(|_| asked >= RATE_MIN).map(|c| c / asked);
        Figures { margin, amplification }
    }

    /// ρ̂·a is 1 / margin.
    fn order_retries(&mut self, margin: Option<f64>, amplification: f64, now: Nanos) {
        let calm = amplification < AMPLIFICATION_OVER;
        if !calm && margin.is_some_and(|margin| margin < 1.0) {
            (self.retries_last, self.calm) = (true, None);
        }
        if !calm {
            self.calm = None;
        } else if now.since(*self.calm.get_or_insert(now)) >= OVER_AFTER {
            self.retries_last = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many seconds of this many first attempts, retries and answers a second.
    fn play(guard: &mut Guard, from: u64, secs: u64, counts: [u32; 3], saturated: bool) {
        for n in 0..secs {
            (0..counts[0]).for_each(|_| guard.started(false));
            (0..counts[1]).for_each(|_| guard.started(true));
            (0..counts[2]).for_each(|_| guard.completed());
            guard.tick(saturated, Nanos::from_secs(from + n + 1));
        }
    }

    #[test]
    fn an_endpoint_that_never_queued_has_no_margin() {
        let mut guard = Guard::default();
        play(&mut guard, 0, 60, [30, 3, 33], false);
        assert_eq!((guard.figures().margin, guard.is_bad()), (None, false));
    }

    #[test]
    fn a_storm_puts_retries_last_until_ten_seconds_after_it() {
        let mut guard = Guard::default();
        play(&mut guard, 0, 30, [20, 40, 10], true);
        assert!(guard.is_bad() && guard.puts_retries_last() && guard.scale() < 1.0);
        play(&mut guard, 30, 20, [20, 0, 20], false);
        assert!(guard.puts_retries_last(), "the rates forget slowly");
        play(&mut guard, 50, 20, [20, 0, 20], false);
        assert!(!guard.puts_retries_last());
    }

    #[test]
    fn first_attempts_alone_that_are_too_many_put_nothing_last() {
        let mut guard = Guard::default();
        play(&mut guard, 0, 30, [60, 0, 30], true);
        assert!(guard.is_bad() && !guard.puts_retries_last());
    }
}
