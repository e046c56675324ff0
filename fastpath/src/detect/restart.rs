//! Restart: a request that has been answered is sent again, as when an agent's workflow begins
//! anew. Batches and health checks repeat lengths too, and are none.

use super::repeat::Repeat;
use crate::time::Nanos;

/// A workflow fails and is begun again later than this after the answer; a batch goes on sooner.
pub const PAUSE_MIN: Nanos = Nanos::from_millis(250);
/// The same where the application has called something else in between: what failed may have failed
/// at once.
const PAUSE_MIN_BUSY: Nanos = Nanos::from_millis(100);
/// More completed requests of nearly this length are a template.
const FAMILY_MAX: u32 = 5;
/// The same where the application has done nothing else between the two.
const FAMILY_MAX_ALONE: u32 = 1;

/// Whether the request is the restart of one that had been answered.
#[must_use]
pub fn observe(repeat: &Repeat) -> bool {
    let least = if repeat.busy_between { PAUSE_MIN_BUSY } else { PAUSE_MIN };
    let paused = repeat.answered.is_some_and(|since| since >= least);
    let family = repeat.same + repeat.near;
    let is_template = match repeat.busy_between {
        true => family > FAMILY_MAX,
        // Lengths that vary by a digit or two are those of a loop.
        false => family > FAMILY_MAX_ALONE || repeat.near > 0,
    };
    paused && !is_template
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repeat(pause_ms: u64, same: u32, near: u32, busy_between: bool) -> Repeat {
        let answered = Some(Nanos::from_millis(pause_ms));
        Repeat { same, near, answered, busy_between, ..Repeat::default() }
    }

    #[test]
    fn the_same_step_after_others_is_a_restart() {
        assert!(observe(&repeat(3000, 1, 0, true)));
        assert!(observe(&repeat(3000, 4, 1, true)), "the fifth run");
        assert!(observe(&repeat(800, 1, 0, false)), "a workflow of one step");
        assert!(observe(&repeat(150, 1, 0, true)), "the second step failed at once");
    }

    #[test]
    fn a_batch_is_none() {
        assert!(!observe(&repeat(60, 1, 0, false)), "it goes on at once");
        assert!(!observe(&repeat(400, 1, 1, false)), "lengths differ by a digit");
        assert!(!observe(&repeat(400, 9, 0, true)), "a template");
    }

    #[test]
    fn a_first_request_is_none() {
        assert!(!observe(&Repeat::default()));
    }
}
