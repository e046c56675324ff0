//! Metastability margin: how much more an endpoint can carry than is asked of it, retries included.
//!
//! margin = μ / (λ (1 + r)), with capacity μ, first attempts λ and retries r for each of them. Below 1
//! the work that clients repeat keeps the endpoint overloaded even when what began the overload is
//! gone. An estimate over counters; nothing is kept here.

/// What was counted of an endpoint over some seconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    /// For how long.
    pub seconds: f64,
    /// First attempts that began.
    pub first_attempts: u32,
    /// Attempts beyond the first.
    pub retries: u32,
    /// Attempts that were answered.
    pub completed: u32,
    /// Attempts that came to nothing.
    pub failed: u32,
    /// The most that was ever answered, attempts a second.
    pub most_per_second: f64,
}

/// Share of failures above which an endpoint is taken to give all it has.
const SATURATED_SHARE: f64 = 0.1;
/// Attempts without which nothing can be said.
const ATTEMPTS_MIN: u32 = 8;

/// The margin; `None` where too little was counted.
///
/// An endpoint that fails some of what it gets shows its capacity: what it completes. One that does
/// not has at least the most it was seen to complete, so the margin is a lower bound then.
#[must_use]
pub fn margin(load: &Load) -> Option<f64> {
    let attempts = load.first_attempts.saturating_add(load.retries);
    let over = load.completed.saturating_add(load.failed);
    if attempts < ATTEMPTS_MIN || over == 0 || load.seconds <= 0.0 {
        return None;
    }
    let saturated = f64::from(load.failed) / f64::from(over) > SATURATED_SHARE;
    let completed = f64::from(load.completed) / load.seconds;
    let capacity = if saturated { completed } else { completed.max(load.most_per_second) };
    Some(capacity / (f64::from(attempts) / load.seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOAD: Load = Load {
        seconds: 10.0,
        first_attempts: 100,
        retries: 0,
        completed: 100,
        failed: 0,
        most_per_second: 25.0,
    };

    #[test]
    fn without_failures_the_most_it_ever_did_is_its_capacity() {
        assert_eq!(margin(&LOAD), Some(2.5));
    }

    #[test]
    fn retries_eat_the_margin() {
        assert_eq!(margin(&Load { retries: 100, ..LOAD }), Some(1.25));
    }

    #[test]
    fn an_endpoint_that_fails_gives_all_it_has() {
        let storm = Load { retries: 150, completed: 50, failed: 200, ..LOAD };
        assert_eq!(margin(&storm), Some(0.2));
    }

    #[test]
    fn a_handful_of_attempts_says_nothing() {
        assert_eq!(margin(&Load { first_attempts: 7, ..LOAD }), None);
        assert_eq!(margin(&Load { completed: 0, ..LOAD }), None);
    }
}
