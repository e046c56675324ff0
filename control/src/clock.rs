//! The time of the control plane, which deals with people and processes and not with bursts.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Now, Unix seconds.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "a revision has the time at which people made it")]
pub fn now() -> f64 {
    // A clock before 1970 is none to go by.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// Now, for what lies between two times.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "waits and rates of the daemon are real time")]
pub fn instant() -> Instant {
    Instant::now()
}
