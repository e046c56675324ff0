//! Late abort: the client leaves while a response is being made. What still arrives after it left
//! is the proof.

use crate::exchange::h1::{Ending, Facts};
use crate::time::Nanos;

/// How the whole streams of a server end, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// Nobody knows.
    Unknown,
    /// With a mark of their own: a stream without it is not whole.
    Marked,
    /// Often without: the last chunk is joined to the last event.
    Unmarked,
}

/// A server that sends at its cadence, and does not know that the client has left, is heard within
/// so many gaps.
const GAPS_HEARD: u64 = 2;

/// An event that says which answer it is of is longer; no record among such events is much shorter.
const LONG_EVENT: f32 = 190.0;

/// `data: [DONE]` and the mark, with their chunk, and by how much the text of an event may differ.
const ALL_BYTES: f32 = 60.0;

/// One record in so many may hold two events by chance.
const ONE_BY_ONE: u32 = 8;

/// Whether the client left a response that was under way, of a server whose streams have such
/// `ends`. A client that only stops reading at the last event, or whose terminator is still on its
/// way, has not.
#[must_use]
pub fn observe(facts: &Facts, ends: Ends) -> bool {
    let seen = &facts.seen;
    if facts.ending != Ending::ClientClosed || seen.down_records == 0 {
        return false;
    }
    let only_the_mark_was_late = seen.late_records > 0 && seen.late_data_records == 0;
    let read_to_the_last_event =
        facts.is_streamed() && (1..=2).contains(&seen.late_records) && facts.last_is_terminator();
    let ended = ends_with_a_word(facts) || (ends != Ends::Marked && ends_with_all(facts));
    if only_the_mark_was_late || read_to_the_last_event || ended {
        return false;
    }
    // What was missed may have been the end.
    let was_cut = facts.is_streamed() && !facts.is_terminated() && !seen.missed;
    seen.late_records >= 2 || facts.is_left() || (was_cut && !is_over(facts, ends))
}

/// The client left after a record that is much too short for an event of this stream's form: `[DONE]`
/// alone, perhaps with the mark behind it.
fn ends_with_a_word(facts: &Facts) -> bool {
    let long = facts.seen.cadence.event_length().filter(|&length| length >= LONG_EVENT);
    facts.is_streamed()
        && facts.seen.late_records == 0
        && long.is_some_and(|length| f32::from(facts.seen.last_length) * 4.0 < length)
}

/// The client left after a record that is longer than any event, of a stream that sends its events one
/// by one: the last event, `[DONE]` and the mark wait for nothing, and a proxy writes them together.
fn ends_with_all(facts: &Facts) -> bool {
    let Facts { seen, .. } = facts;
    let (counted, _) = seen.cadence.counts();
    let joined = counted.saturating_sub(seen.cadence.events());
    let long = seen.cadence.event_length().filter(|&length| length >= LONG_EVENT);
    facts.is_streamed()
        && seen.late_records == 0
        && joined.saturating_sub(1) * ONE_BY_ONE <= counted
        && long.is_some_and(|length| f32::from(seen.last_length) > length + ALL_BYTES)
}

/// Whether there was nothing more to be sent to a client that left a stream without a mark.
#[must_use]
pub fn is_over(facts: &Facts, ends: Ends) -> bool {
    match ends {
        Ends::Marked => false,
        Ends::Unknown => was_over(facts),
        Ends::Unmarked => went_quiet(facts) || had_idled(facts),
    }
}

/// The client left soon after the last byte, and the server, which did not know for longer than any
/// of its gaps and than two usual ones, sent nothing more.
#[must_use]
pub fn was_over(facts: &Facts) -> bool {
    let gaps = facts.seen.longest_gap.max(Nanos(GAPS_HEARD * facts.usual_gap().0));
    !had_idled(facts) && unaware(facts).is_some_and(|quiet| quiet >= gaps)
}

/// It sent nothing more for longer than usual.
fn went_quiet(facts: &Facts) -> bool {
    unaware(facts).is_some_and(|quiet| quiet > facts.usual_gap())
}

/// How long the server was silent before it knew that the client had left.
fn unaware(facts: &Facts) -> Option<Nanos> {
    let (closed, rtt) = left_in_silence(facts)?;
    Some(facts.server_closed.unwrap_or(closed + rtt).since(facts.seen.last_down))
}

/// The client left long after the last byte, as connections that idle are left.
fn had_idled(facts: &Facts) -> bool {
    left_in_silence(facts).is_some_and(|(closed, rtt)| {
        closed.since(facts.seen.last_down) > facts.seen.longest_gap.max(rtt)
    })
}

/// When the client left, and its round trip, where no data came after that.
fn left_in_silence(facts: &Facts) -> Option<(Nanos, Nanos)> {
    let left = facts.ending == Ending::ClientClosed
        && facts.seen.down_records > 0
        && facts.seen.late_data_records == 0;
    facts.closed.zip(facts.rtt).filter(|_| left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::{Shape, facts};

    fn observe(facts: &Facts) -> bool {
        super::observe(facts, Ends::Unknown)
    }

    fn stream(n: u64) -> Vec<(u64, u16)> {
        (0..n).map(|n| (100 + 20 * n, 300)).collect()
    }

    #[test]
    fn leaving_a_stream_is_an_abort() {
        let shape = Shape { down: &stream(10), client_closes: Some(290), ..Shape::default() };
        assert!(observe(&facts(shape)));
    }

    #[test]
    fn leaving_a_fast_stream_that_sends_no_more_is_none() {
        let fast: Vec<_> = (0..10).map(|n| (100 + 7 * n, 300)).collect();
        let shape = Shape { down: &fast, client_closes: Some(164), ..Shape::default() };
        assert!(!observe(&facts(shape)));
        let running: Vec<_> = (0..12).map(|n| (100 + 7 * n, 300)).collect();
        let shape = Shape { down: &running, client_closes: Some(164), ..Shape::default() };
        assert!(observe(&facts(shape)), "more came");
        let told = Shape { down: &fast, client_closes: Some(164), server_closes: Some(168) };
        assert!(observe(&facts(told)), "the server knew before its next event");
        let marked = Shape { down: &fast, client_closes: Some(164), ..Shape::default() };
        assert!(super::observe(&facts(marked), Ends::Marked), "the mark is missing");
    }

    #[test]
    fn a_connection_that_idles_is_left_where_ends_are_marked() {
        let by = |ends| {
            let down = stream(10);
            let shape = Shape { down: &down, client_closes: Some(2000), ..Shape::default() };
            super::observe(&facts(shape), ends)
        };
        assert_eq!([Ends::Marked, Ends::Unknown, Ends::Unmarked].map(by), [true, true, false]);
    }

    #[test]
    fn what_answers_a_client_that_has_left_is_unread() {
        let down = [(1022, 207)];
        let late = Shape { down: &down, client_closes: Some(1000), ..Shape::default() };
        assert!(observe(&facts(late)));
        let crossing = Shape { down: &[(21, 207)], client_closes: Some(1), ..Shape::default() };
        assert!(!observe(&facts(crossing)), "it only closed its half");
    }

    #[test]
    fn leaving_after_a_word_that_is_no_event_is_none() {
        let mut down = stream(10);
        down.push((281, 24));
        let left = |down: &[(u64, u16)]| {
            observe(&facts(Shape { down, client_closes: Some(290), ..Shape::default() }))
        };
        assert!(!left(&down));
        let short: Vec<_> = down.iter().map(|&(ms, bytes)| (ms, bytes.min(120))).collect();
        assert!(left(&short), "pings are as short among short events");
    }

    #[test]
    fn leaving_after_all_that_a_stream_ends_with_in_one_record_is_none() {
        let left = |last: u16, ends| {
            let mut down = stream(10);
            down.push((300, last));
            let shape = Shape { down: &down, client_closes: Some(302), ..Shape::default() };
            super::observe(&facts(shape), ends)
        };
        assert!(!left(580, Ends::Unknown) && !left(580, Ends::Unmarked));
        assert!(left(310, Ends::Unknown), "an event like the others");
        assert!(left(580, Ends::Marked), "the mark would come apart");
        let pairs: Vec<_> = (0..12).map(|n| (100 + 20 * n, 300 + 280 * (n % 2) as u16)).collect();
        let shape = Shape { down: &pairs, client_closes: Some(322), ..Shape::default() };
        assert!(observe(&facts(shape)), "events come two at a time all along");
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
