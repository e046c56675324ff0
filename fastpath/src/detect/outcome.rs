//! How an exchange ended: the detectors' answers in order, corrected by what is known of its
//! server.

use super::abort::{self, Ends};
use super::reply::Replies;
use super::{failure, partial};
use crate::exchange::h1::{Ending, Facts};
use crate::policy::endpoint::Class;
use crate::telemetry::event::Outcome;
use crate::telemetry::grounds::{Ended, Grounds, LinkGrounds, OutcomeRule};

/// How an exchange ended, or would have ended if it ended now. `replies` is what is known of its
/// server.
#[must_use]
pub fn outcome(facts: &Facts, class: Class, replies: Option<&Replies>) -> Outcome {
    judge(facts, class, replies).0
}

/// The same, with the rule that decided.
#[must_use]
pub fn judge(facts: &Facts, class: Class, replies: Option<&Replies>) -> (Outcome, OutcomeRule) {
    if facts.seen.down_records == 0 {
        return no_response(facts);
    }
    let knows = |judge: fn(&Replies, &Facts) -> bool| replies.is_some_and(|r| judge(r, facts));
    let left = matches!(facts.ending, Ending::ClientClosed) || facts.ending.is_by_server();
    let ends = replies.map_or(Ends::Unknown, Replies::ends);
    // Vectors come whole, in as many records as it takes, and never as a stream.
    let vectors = class == Class::Embedding && facts.seen.late_records == 0;
    let over = facts.ending == Ending::ClientClosed && (vectors || abort::is_over(facts, ends));
    let cut_short = left
        && !over
        && !facts.seen.missed
        && !facts.is_streamed()
        && !facts.is_terminated()
        && knows(Replies::begins_like_a_stream);
    if abort::observe(facts, ends) && !over {
        return (Outcome::ClientAbort, OutcomeRule::ClientLeft);
    }
    if cut_short && !facts.ending.is_by_server() {
        return (Outcome::ClientAbort, OutcomeRule::CutStream);
    }
    if partial::observe(facts) {
        return (Outcome::ServerAbort, OutcomeRule::ServerCut);
    }
    if cut_short {
        return (Outcome::ServerAbort, OutcomeRule::CutStream);
    }
    let within = replies.map_or(failure::SERVICE_TIME_MAX, Replies::errors_within);
    let error_shaped = failure::observe(facts, class, within) && !knows(Replies::is_ordinary)
        || (class == Class::Llm && knows(Replies::is_stunted))
        || replies.is_some_and(|replies| replies.is_error_page(facts, class));
    let known_error = match class {
        Class::Llm => knows(Replies::is_known_error) || knows(Replies::recurs_as_error),
        Class::Embedding => knows(Replies::is_known_error),
        Class::Tool => knows(Replies::is_rejected) || knows(Replies::recurs_as_error),
    };
    let error = if error_shaped { OutcomeRule::ErrorShape } else { OutcomeRule::ErrorSize };
    let whole = match facts.is_terminated() {
        true => OutcomeRule::Mark,
        false => OutcomeRule::NothingAgainst,
    };
    match error_shaped || known_error {
        true if knows(Replies::is_throttled) => (Outcome::Throttled, error),
        true => (Outcome::Failed, error),
        false if !facts.seen.has_holes && knows(Replies::was_cut_by_a_prompt_close) => {
            (Outcome::ServerAbort, OutcomeRule::PromptClose)
        }
        false => (Outcome::Complete, whole),
    }
}

fn no_response(facts: &Facts) -> (Outcome, OutcomeRule) {
    if facts.seen.missed {
        return (Outcome::Complete, OutcomeRule::ResponseMissed);
    }
    let outcome = match facts.ending {
        Ending::ServerReset | Ending::ServerClosed => Outcome::ConnectFailed,
        Ending::ClientClosed => Outcome::ClientAbort,
        Ending::Running | Ending::Reuse | Ending::Terminated | Ending::Gone => Outcome::Open,
    };
    (outcome, OutcomeRule::NoResponse)
}

/// What an exchange was judged by, but for its link.
#[must_use]
pub fn grounds(facts: &Facts, rule: OutcomeRule) -> Grounds {
    let ended = match facts.ending {
        Ending::Running => Ended::Running,
        Ending::Reuse => Ended::NextRequest,
        Ending::Terminated => Ended::Mark,
        Ending::ClientClosed => Ended::ClientClosed,
        Ending::ServerClosed => Ended::ServerClosed,
        Ending::ServerReset => Ended::ServerReset,
        Ending::Gone => Ended::Gone,
    };
    let seen = &facts.seen;
    Grounds {
        outcome: rule,
        ended,
        decision: None,
        up_records: seen.up_records,
        down_records: seen.down_records,
        counted_records: u16::try_from(facts.body().0).unwrap_or(u16::MAX),
        bursts: seen.bursts,
        late_records: seen.late_records,
        alone: true,
        link: LinkGrounds::default(),
    }
}

/// Shares of right answers that the rules reached on captures with known truth; a connection met in
/// the middle, or an end that nobody saw, is worth less.
#[must_use]
pub fn confidence(facts: &Facts, outcome: Outcome) -> f64 {
    let base = match outcome {
        Outcome::Complete if facts.is_terminated() => 0.99,
        Outcome::Complete | Outcome::Failed | Outcome::Throttled
            if facts.seen.has_holes || facts.seen.missed =>
        {
            0.7
        }
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
    fn an_outcome_names_its_rule() {
        let rule = |shape| judge(&facts(shape), Class::Llm, None).1;
        assert_eq!(rule(Shape { down: &[(30, 900)], ..Shape::default() }), OutcomeRule::ErrorShape);
        assert_eq!(
            rule(Shape { down: &[(400, 900)], ..Shape::default() }),
            OutcomeRule::NothingAgainst
        );
        let marked = [(400, 900), (401, 5)];
        assert_eq!(rule(Shape { down: &marked, ..Shape::default() }), OutcomeRule::Mark);
        let stream: Vec<_> = (0..10).map(|n| (100 + 20 * n, 300)).collect();
        let left = Shape { down: &stream, client_closes: Some(290), ..Shape::default() };
        assert_eq!(rule(left), OutcomeRule::ClientLeft);
    }

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
