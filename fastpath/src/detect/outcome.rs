//! How an exchange ended: the detectors' answers in order, corrected by what is known of its
//! server.

use super::reply::Replies;
use super::{abort, failure, partial};
use crate::exchange::h1::{Ending, Facts};
use crate::policy::endpoint::Class;
use crate::telemetry::event::Outcome;

/// How an exchange ended, or would have ended if it ended now. `replies` is what is known of its
/// server.
#[must_use]
pub fn outcome(facts: &Facts, class: Class, replies: Option<&Replies>) -> Outcome {
    if facts.seen.down_records == 0 {
        return match facts.ending {
            _ if facts.seen.missed => Outcome::Complete,
            Ending::ServerReset | Ending::ServerClosed => Outcome::ConnectFailed,
            Ending::ClientClosed => Outcome::ClientAbort,
            Ending::Running | Ending::Reuse | Ending::Terminated | Ending::Gone => Outcome::Open,
        };
    }
    let knows = |judge: fn(&Replies, &Facts) -> bool| replies.is_some_and(|r| judge(r, facts));
    let left = matches!(facts.ending, Ending::ClientClosed) || facts.ending.is_by_server();
    let cut_short = left
        && !facts.seen.missed
        && !facts.is_streamed()
        && !facts.is_terminated()
        && knows(Replies::begins_like_a_stream);
    if abort::observe(facts) || (cut_short && !facts.ending.is_by_server()) {
        return Outcome::ClientAbort;
    }
    if partial::observe(facts) || cut_short {
        return Outcome::ServerAbort;
    }
    let error_shaped = failure::observe(facts, class) && !knows(Replies::is_ordinary);
    let known_error = match class {
        Class::Llm | Class::Embedding => knows(Replies::is_known_error),
        Class::Tool => knows(Replies::recurs_as_error),
    };
    match error_shaped || known_error {
        true if knows(Replies::is_throttled) => Outcome::Throttled,
        true => Outcome::Failed,
        false if knows(Replies::was_cut_by_a_prompt_close) => Outcome::ServerAbort,
        false => Outcome::Complete,
    }
}

/// Shares of right answers that the rules reached on captures with known truth; a connection met in
/// the middle, or an end that nobody saw, is worth less.
#[must_use]
pub fn confidence(facts: &Facts, outcome: Outcome) -> f64 {
    let base = match outcome {
        Outcome::Complete if facts.is_terminated() => 0.99,
        Outcome::Complete if facts.seen.missed => 0.7,
        Outcome::Complete if facts.ending == Ending::Gone => 0.8,
        Outcome::Complete | Outcome::ClientAbort | Outcome::ServerAbort => 0.98,
        Outcome::ConnectFailed => 0.99,
        Outcome::Failed | Outcome::Throttled => 0.95,
        Outcome::Truncated | Outcome::Stalled | Outcome::Open => 0.7,
    };
    if facts.midway { base * 0.6 } else { base }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::{Shape, facts};

    #[test]
    fn no_answer_is_told_by_who_closed() {
        let by = |shape| outcome(&facts(shape), Class::Llm, None);
        assert_eq!(
            by(Shape { server_closes: Some(40), ..Shape::default() }),
            Outcome::ConnectFailed
        );
        assert_eq!(
            by(Shape { client_closes: Some(4000), ..Shape::default() }),
            Outcome::ClientAbort
        );
        assert_eq!(by(Shape::default()), Outcome::Open);
    }
}
