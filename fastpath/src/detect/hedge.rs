//! Hedge: a second copy of a request, sent while the first still runs. Parallel workers send equal
//! lengths at the same moment, batches again and again; both are none.

use super::repeat::Repeat;
use crate::time::Nanos;

/// A client waits at least this long for the first copy.
pub const WAIT_MIN: Nanos = Nanos::from_millis(120);
/// More completed requests of this length are a template.
const SAME_MAX: u32 = 1;

/// Whether the request is the second copy of one that runs.
#[must_use]
pub fn observe(repeat: &Repeat) -> bool {
    let waited = repeat.running.is_some_and(|since| since > WAIT_MIN);
    waited && repeat.same <= SAME_MAX && repeat.near == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repeat(wait_ms: u64, same: u32, near: u32) -> Repeat {
        Repeat { same, near, running: Some(Nanos::from_millis(wait_ms)), ..Repeat::default() }
    }

    #[test]
    fn a_copy_after_a_wait_is_a_hedge() {
        assert!(observe(&repeat(800, 0, 0)));
    }

    #[test]
    fn parallel_requests_are_none() {
        assert!(!observe(&repeat(5, 0, 0)), "sent together");
        assert!(!observe(&repeat(800, 3, 0)), "a template");
        assert!(!observe(&repeat(800, 1, 2)), "a template with a counter in it");
        assert!(!observe(&Repeat::default()));
    }
}
