//! Failure: an answer that has the shape of an error. Status codes are not visible; small, prompt,
//! in one piece is.

use crate::exchange::h1::Facts;
use crate::policy::endpoint::Class;
use crate::time::Nanos;

/// The longest error answer of a model, plaintext bytes with HTTP headers.
pub const LLM_BYTES_MAX: u32 = 2200;
/// Likewise of an endpoint for embeddings.
pub const EMBEDDING_BYTES_MAX: u32 = 1100;
/// The longest error page, as proxies serve them.
pub const PAGE_BYTES_MAX: u32 = 8192;
/// An answer of a model is shorter than this only if it is a word or two.
pub const LLM_BYTES_MIN: u32 = 520;
/// A model that answers in a word has thought for longer than this.
pub const TINY_WITHIN: Nanos = Nanos::from_millis(200);
/// An error is known at once; a model has to think. Where a model is known to think for longer, so
/// may an error take.
pub const SERVICE_TIME_MAX: Nanos = Nanos::from_millis(75);
/// A worker begins its next piece of work sooner than this after an answer.
const REPEAT_PAUSE_MIN: Nanos = Nanos::from_millis(30);
/// It comes in one piece: from first to last byte.
pub const SPAN_MAX: Nanos = Nanos::from_millis(50);

/// Whether the response came in one piece, within this time.
#[must_use]
pub fn is_prompt(facts: &Facts, within: Nanos) -> bool {
    facts.service_time().is_some_and(|time| time < within) && facts.span() < SPAN_MAX
}

/// Whether the response is error-shaped for an endpoint of this class, whose errors are known
/// `within` this time.
#[must_use]
pub fn observe(facts: &Facts, class: Class, within: Nanos) -> bool {
    let bytes = facts.seen.down_bytes;
    if facts.is_streamed() || bytes == 0 || facts.seen.has_holes {
        return false;
    }
    let prompt = is_prompt(facts, within);
    match class {
        Class::Llm => {
            let soon = facts.service_time().is_none_or(|time| time < TINY_WITHIN);
            let tiny = bytes < LLM_BYTES_MIN && soon && !facts.ending.is_by_server();
            tiny || (prompt && bytes <= LLM_BYTES_MAX)
        }
        Class::Embedding => prompt && bytes <= EMBEDDING_BYTES_MAX,
        // Any size, at any speed, can be an ordinary answer of a tool.
        Class::Tool => false,
    }
}

/// Whether an answer that is no error by its shape may be one all the same: plain, and as prompt as
/// errors are, or as short as those of models are. A repeat of its request after at least this pause
/// shows that it was. Answers of models are not prompt; a worker that has others takes its next piece
/// of work at once.
#[must_use]
pub fn doubt(facts: &Facts, class: Class, within: Nanos) -> Option<Nanos> {
    let plain = !facts.is_streamed() && !facts.seen.has_holes && !facts.seen.missed;
    let bytes = facts.seen.down_bytes;
    let pause = if class == Class::Llm { Nanos::ZERO } else { REPEAT_PAUSE_MIN };
    let prompt = is_prompt(facts, within) && (1..=PAGE_BYTES_MAX).contains(&bytes);
    let tiny = class == Class::Llm && (1..LLM_BYTES_MIN).contains(&bytes);
    (plain && (prompt || tiny)).then_some(pause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::{Shape, facts};

    fn observe(facts: &Facts, class: Class) -> bool {
        super::observe(facts, class, SERVICE_TIME_MAX)
    }

    #[test]
    fn a_small_prompt_answer_is_an_error() {
        assert!(observe(&facts(Shape { down: &[(30, 900)], ..Shape::default() }), Class::Llm));
    }

    #[test]
    fn where_a_model_thinks_for_long_an_error_may_take_its_time() {
        let slow = facts(Shape { down: &[(170, 900)], ..Shape::default() });
        assert!(!observe(&slow, Class::Llm));
        assert!(super::observe(&slow, Class::Llm, Nanos::from_millis(200)));
    }

    #[test]
    fn a_small_answer_after_thought_is_none() {
        assert!(!observe(&facts(Shape { down: &[(400, 900)], ..Shape::default() }), Class::Llm));
    }

    #[test]
    fn a_word_that_took_thought_is_in_doubt() {
        let word = |ms| facts(Shape { down: &[(ms, 400)], ..Shape::default() });
        assert!(observe(&word(100), Class::Llm));
        assert!(!observe(&word(400), Class::Llm));
        assert_eq!(doubt(&word(400), Class::Llm, SERVICE_TIME_MAX), Some(Nanos::ZERO));
    }

    #[test]
    fn what_is_prompt_and_plain_is_in_doubt() {
        let doubt = |down: &[(u64, u16)], class| {
            doubt(&facts(Shape { down, ..Shape::default() }), class, SERVICE_TIME_MAX)
        };
        assert_eq!(doubt(&[(30, 4000)], Class::Llm), Some(Nanos::ZERO));
        assert_eq!(doubt(&[(30, 4000)], Class::Tool), Some(REPEAT_PAUSE_MIN));
        assert_eq!(doubt(&[(30, 9000)], Class::Tool), None, "too long for a page");
        assert_eq!(doubt(&[(400, 4000)], Class::Embedding), None, "it took its time");
    }

    #[test]
    fn a_stream_and_a_tool_never_are() {
        let stream: Vec<_> = (0..9).map(|n| (30 + n, 450)).collect();
        assert!(!observe(&facts(Shape { down: &stream, ..Shape::default() }), Class::Llm));
        assert!(!observe(&facts(Shape { down: &[(30, 300)], ..Shape::default() }), Class::Tool));
    }
}
