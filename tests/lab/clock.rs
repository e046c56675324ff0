//! The lab's clock: the wall clock, because the truth and a capture are compared by it.
//!
//! The data plane never reads a clock; the lab is the world around it and has to.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since the Unix epoch, to the microsecond.
#[allow(
    clippy::disallowed_methods,
    reason = "a server's log carries the wall clock; no data plane"
)]
pub(crate) fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    micros(since.map_or(0.0, |elapsed| elapsed.as_secs_f64()))
}

/// Rounds to whole microseconds, which is what the truth file carries.
pub(crate) fn micros(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e6
}
