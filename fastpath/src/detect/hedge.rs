//! Hedge: a second copy of a request, sent while the first still runs. Parallel workers send equal
//! lengths at the same moment, batches again and again, each as soon as it has an answer; these are
//! none.

use super::repeat::Repeat;
use crate::time::Nanos;

/// A client waits at least this long for the first copy.
pub const WAIT_MIN: Nanos = Nanos::from_millis(120);
/// The same of a request whose connection had just completed another one: most likely a worker that
/// takes its next piece of work.
pub const WAIT_MIN_CONTINUING: Nanos = Nanos::from_millis(400);
/// More completed requests of this length are a template.
const SAME_MAX: u32 = 1;
/// So are more that run at once.
const AT_ONCE_MAX: u32 = 1;

/// Whether the request is the second copy of one that runs.
#[must_use]
pub fn observe(repeat: &Repeat) -> bool {
    let least = if repeat.continues { WAIT_MIN_CONTINUING } else { WAIT_MIN };
    let waited = repeat.running.is_some_and(|since| since > least);
    let is_template = repeat.same > SAME_MAX || repeat.near > 0 || repeat.at_once > AT_ONCE_MAX;
    waited && !is_template
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
        let worker = Repeat { continues: true, ..repeat(300, 0, 0) };
        assert!(!observe(&worker), "it has just had an answer");
        assert!(observe(&Repeat { continues: true, ..repeat(800, 0, 0) }), "from a pool");
        let workers = Repeat { at_once: 2, ..repeat(800, 0, 0) };
        assert!(!observe(&workers), "a template that nobody has answered yet");
        assert!(!observe(&Repeat::default()));
    }
}
