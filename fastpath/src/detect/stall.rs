//! Stall: a response that had begun falls silent for longer than the limit.

use crate::exchange::h1::{Facts, STREAM_BEGUN_RECORDS};
use crate::time::Nanos;

/// The longest silence inside the response, if it is longer than `limit`. The silence before a
/// close counts where the close `cut` the response; else the connection idled.
#[must_use]
pub fn observe(facts: &Facts, cut: bool, limit: Nanos) -> Option<Nanos> {
    let seen = &facts.seen;
    // Plain, or not begun to stream: its silence is thought.
    if seen.down_records < STREAM_BEGUN_RECORDS {
        return None;
    }
    let tail = facts
        .closed
        .filter(|_| cut && facts.is_streamed() && !facts.is_terminated())
        .map_or(Nanos::ZERO, |closed| closed.since(seen.last_down));
    let silence = seen.longest_gap.max(tail);
    (silence > limit).then_some(silence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::{Shape, facts};

    const LIMIT: Nanos = Nanos::from_millis(500);

    fn observe(facts: &Facts, limit: Nanos) -> Option<Nanos> {
        super::observe(facts, true, limit)
    }

    fn stream(gap_at: u64, gap: u64) -> Vec<(u64, u16)> {
        (0..12).map(|n| (100 + 20 * n + if n >= gap_at { gap } else { 0 }, 300)).collect()
    }

    #[test]
    fn a_silent_second_inside_a_stream_is_a_stall() {
        let stalled = observe(&facts(Shape { down: &stream(8, 980), ..Shape::default() }), LIMIT);
        assert_eq!(stalled, Some(Nanos::from_millis(1000)));
    }

    #[test]
    fn silence_before_the_stream_has_begun_is_thought() {
        let shape = Shape { down: &stream(2, 5000), ..Shape::default() };
        assert_eq!(observe(&facts(shape), LIMIT), None);
    }

    #[test]
    fn a_pause_below_the_limit_is_none() {
        assert_eq!(
            observe(&facts(Shape { down: &stream(8, 400), ..Shape::default() }), LIMIT),
            None
        );
    }

    #[test]
    fn idling_after_the_end_is_none() {
        let mut down = stream(0, 0);
        down.push((330, 5));
        let shape = Shape { down: &down, client_closes: Some(5000), ..Shape::default() };
        assert_eq!(observe(&facts(shape), LIMIT), None);
    }

    #[test]
    fn idling_after_an_end_without_a_mark_is_none() {
        let shape = Shape { down: &stream(0, 0), client_closes: Some(2320), ..Shape::default() };
        assert_eq!(super::observe(&facts(shape), false, LIMIT), None);
    }

    #[test]
    fn thought_after_a_prelude_of_many_records_is_none() {
        let mut down = vec![(100, 199), (100, 269), (101, 123), (101, 41)];
        down.extend((0..9).map(|n| (2600 + 20 * n, 150)));
        assert_eq!(observe(&facts(Shape { down: &down, ..Shape::default() }), LIMIT), None);
    }

    #[test]
    fn silence_before_the_client_gives_up_is_a_stall() {
        let shape = Shape { down: &stream(0, 0), client_closes: Some(2320), ..Shape::default() };
        assert_eq!(observe(&facts(shape), LIMIT), Some(Nanos::from_millis(2000)));
    }
}
