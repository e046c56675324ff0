//! Explanations of made-up exchanges.

use fastpath::policy::snapshot::Policy;
use fastpath::telemetry::event::{Outcome, Reason, Verdict, Waste};
use fastpath::telemetry::grounds::{
    DecisionGrounds, Ended, Grounds, LinkGrounds, LinkRule, OutcomeRule,
};
use fastpath::telemetry::line::ExchangeLine;

use super::*;
use crate::report::tests::exchange;

/// Everything that is said, as one line.
fn said(exchange: ExchangeLine) -> String {
    let case = Case::new(exchange, Policy::catalogue().unwrap());
    let text = text(&case, &words::sections(&case), Paint::PLAIN, 100);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_first_attempt_that_had_rivals_names_what_spoke_against_a_link() {
    let link = LinkGrounds {
        rule: LinkRule::Assigned,
        candidates: 2,
        rivals: 3,
        gap_seconds: Some(3.25),
        log_likelihood: Some(-2.06),
        ..LinkGrounds::default()
    };
    let grounds = Grounds { link, ..Grounds::default() };
    let text = said(ExchangeLine { grounds, ..exchange("c", "e", 0.0, 1.0) });
    assert!(text.contains("2 failed attempts would do by length"), "{text}");
    assert!(text.contains("a gap of 3.2 s before it (log-likelihood ratio -2.1"), "{text}");
    assert!(text.contains("3 other starts competed"), "{text}");
}

#[test]
fn a_retry_by_its_length_alone_says_that_the_gap_was_not_asked() {
    let link = LinkGrounds {
        rule: LinkRule::Unique,
        candidates: 1,
        gap_seconds: Some(0.5),
        log_likelihood: Some(4.0),
        ..LinkGrounds::default()
    };
    let grounds = Grounds { link, ..Grounds::default() };
    let (attempt, retry_of) = (2, Some("x7".to_owned()));
    let text = said(ExchangeLine { attempt, retry_of, grounds, ..exchange("c", "e", 0.0, 1.0) });
    assert!(text.contains("Retry of x7: nothing else of nearly its length"), "{text}");
    assert!(text.contains("asked for only where a length is a template"), "{text}");
}

#[test]
fn what_was_abandoned_unseen_is_said_to_be_unseen() {
    let grounds = Grounds { ended: Ended::ClientClosed, ..Grounds::default() };
    let line = ExchangeLine {
        outcome: Outcome::ClientAbort,
        first_byte: None,
        closed: Some(1.0),
        tokens_estimate: None,
        grounds,
        ..exchange("c", "e", 0.0, 1.0)
    };
    let text = said(line);
    assert!(text.contains("what the server made of it never reached the wire"), "{text}");
    assert!(text.contains("what the server made unseen is not known"), "{text}");
}

#[test]
fn lengths_are_told_in_buckets_only() {
    let grounds =
        Grounds { outcome: OutcomeRule::Mark, down_records: 3, bursts: 1, ..Grounds::default() };
    let text = said(ExchangeLine { grounds, ..exchange("c", "e", 0.0, 1.0) });
    assert!(text.contains("3 records in 1 burst, up to 4 KiB"), "{text}");
}

#[test]
fn a_verdict_other_than_pass_names_its_law() {
    let line = ExchangeLine {
        attempt: 3,
        waste: Some(Waste::Retry),
        verdict: Verdict::Hold,
        reason: Reason::OverRetryBudget,
        ..exchange("c", "e", 0.0, 1.0)
    };
    let text = said(line);
    assert!(text.contains("hold (shadow): a retry over the retry budget"), "{text}");
    assert!(text.contains("10 retries for a hundred first attempts"), "{text}");
}

#[test]
fn a_hold_that_was_enforced_tells_its_figures_and_its_length() {
    let decision = DecisionGrounds {
        measured: 9.0,
        limit: 7.5,
        in_flight: 20,
        held: 3,
        base_seconds: Some(0.3),
        rate_per_second: Some(12.0),
    };
    let line = ExchangeLine {
        verdict: Verdict::Hold,
        reason: Reason::ConcurrencyLimit,
        enforced: true,
        hold_ms: Some(1200),
        grounds: Grounds { decision: Some(decision), ..Grounds::default() },
        ..exchange("c", "e", 0.0, 3.0)
    };
    let text = said(line);
    for part in ["hold: as much waits", "9 waited, of at most 7.5", "20 in flight", "held for 1.2"]
    {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
}
