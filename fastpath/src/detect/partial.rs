//! Partial completion: the server cuts a response that has begun.

use crate::exchange::h1::{Ending, Facts};
use crate::time::Nanos;

/// A reset this soon after the last record cut something short; later it ends an idle connection.
const RESET_WITHIN: Nanos = Nanos::from_millis(500);

/// Whether the server cut the response.
#[must_use]
pub fn observe(facts: &Facts) -> bool {
    if facts.seen.down_records == 0 || facts.is_terminated() || facts.seen.missed {
        return false;
    }
    let wait = facts.closed.map(|closed| closed.since(facts.seen.last_down));
    match facts.ending {
        Ending::ServerReset => facts.is_streamed() || wait.is_some_and(|wait| wait < RESET_WITHIN),
        Ending::ServerClosed => facts.is_streamed(),
        Ending::Running
        | Ending::Reuse
        | Ending::Terminated
        | Ending::ClientClosed
        | Ending::Gone => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::{Shape, facts};

    fn stream() -> Vec<(u64, u16)> {
        (0..10).map(|n| (100 + 20 * n, 300)).collect()
    }

    #[test]
    fn a_stream_without_its_end_was_cut() {
        let shape = Shape { down: &stream(), server_closes: Some(300), ..Shape::default() };
        assert!(observe(&facts(shape)));
    }

    #[test]
    fn a_stream_with_its_end_was_not() {
        let mut down = stream();
        down.push((281, 5));
        assert!(!observe(&facts(Shape {
            down: &down,
            server_closes: Some(300),
            ..Shape::default()
        })));
    }

    #[test]
    fn a_plain_reply_before_a_goodbye_was_not() {
        let shape = Shape { down: &[(400, 900)], server_closes: Some(401), ..Shape::default() };
        assert!(!observe(&facts(shape)));
    }
}
