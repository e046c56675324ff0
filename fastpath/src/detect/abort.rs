//! Late abort: the client leaves while a response is being made. What still arrives after it left
//! is the proof.

use crate::exchange::h1::{Ending, Facts};

/// Whether the client left a response that was under way. A client that only stops reading at the
/// last event, or whose terminator is still on its way, has not.
#[must_use]
pub fn observe(facts: &Facts) -> bool {
    let seen = &facts.seen;
    if facts.ending != Ending::ClientClosed || seen.down_records == 0 {
        return false;
    }
    let only_the_mark_was_late = seen.late_records > 0 && seen.late_data_records == 0;
    let read_to_the_last_event =
        facts.is_streamed() && (1..=2).contains(&seen.late_records) && facts.last_is_terminator();
    if only_the_mark_was_late || read_to_the_last_event {
        return false;
    }
    // What was missed may have been the end.
    seen.late_records >= 2
        || facts.is_left()
        || (facts.is_streamed() && !facts.is_terminated() && !seen.missed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::{Shape, facts};

    fn stream(n: u64) -> Vec<(u64, u16)> {
        (0..n).map(|n| (100 + 20 * n, 300)).collect()
    }

    #[test]
    fn leaving_a_stream_is_an_abort() {
        let shape = Shape { down: &stream(10), client_closes: Some(290), ..Shape::default() };
        assert!(observe(&facts(shape)));
    }

    #[test]
    fn leaving_after_the_terminator_is_none() {
        let mut down = stream(10);
        down.push((281, 5));
        assert!(!observe(&facts(Shape {
            down: &down,
            client_closes: Some(290),
            ..Shape::default()
        })));
    }

    #[test]
    fn leaving_at_the_last_event_is_none() {
        let mut down = stream(10);
        down.push((300, 5));
        assert!(!observe(&facts(Shape {
            down: &down,
            client_closes: Some(290),
            ..Shape::default()
        })));
    }

    #[test]
    fn a_reply_in_one_piece_that_was_read_is_none() {
        let shape = Shape { down: &[(400, 900)], client_closes: Some(420), ..Shape::default() };
        assert!(!observe(&facts(shape)));
    }

    #[test]
    fn a_reply_that_comes_after_the_client_left_reaches_nobody() {
        let shape = Shape { down: &[(2520, 207)], client_closes: Some(2500), ..Shape::default() };
        assert!(observe(&facts(shape)));
    }

    #[test]
    fn two_records_after_the_close_prove_an_early_abort() {
        let down = [(100, 300), (120, 300), (140, 300)];
        assert!(observe(&facts(Shape {
            down: &down,
            client_closes: Some(110),
            ..Shape::default()
        })));
    }
}
