//! Endpoints that are unlike those the rules were measured on: long error pages, models that think
//! longer, answers of one word, models that answer at once. What a server does is learnt; before
//! that, the measured rules hold.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::SocketAddr;

use fastpath::burst::Direction::{ToClient, ToServer};
use fastpath::telemetry::event::Outcome;
use fastpath::time::Nanos;
use tests::connection::Connection;
use tests::play;

/// One answer: milliseconds from the request to its only record, its bytes, and when the next
/// request follows.
#[derive(Clone, Copy)]
struct Answer {
    request: usize,
    after_ms: u64,
    bytes: usize,
    next_ms: u64,
}

/// What is told of answers on one connection to a model, in order.
fn outcomes(answers: &[Answer]) -> Vec<Outcome> {
    let client = SocketAddr::from(([198, 51, 100, 1], 40_000));
    let server = SocketAddr::from(([203, 0, 113, 9], 443));
    let mut connection = Connection::new(client, server, Nanos::from_secs(1_700_000_000));
    connection.open("api.openai.com").wait(Nanos::from_millis(50));
    for answer in answers {
        connection.data(ToServer, &[answer.request]).wait(Nanos::from_millis(answer.after_ms));
        connection.data(ToClient, &[answer.bytes]).wait(Nanos::from_millis(answer.next_ms));
    }
    connection.close();
    let mut told = play::frames(connection.take()).told.exchanges;
    assert_eq!(told.len(), answers.len());
    told.sort_by(|a, b| a.start.total_cmp(&b.start));
    told.iter().map(|line| line.outcome).collect()
}

fn answer(request: usize, after_ms: u64, bytes: usize) -> Answer {
    Answer { request, after_ms, bytes, next_ms: 300 }
}

#[test]
fn error_pages_of_any_size_are_known_by_their_recurrence() {
    let mut answers = Vec::new();
    for n in 0..6 {
        // Refused twice, then answered; an SDK waits half a second.
        let page = Answer { next_ms: 450, ..answer(900 + 40 * n, 30, 4_321) };
        answers.extend([page, page, answer(900 + 40 * n, 700, 1_300 + 31 * n)]);
    }
    let told = outcomes(&answers);
    let failed = told.iter().filter(|outcome| outcome.invites_retry()).count();
    assert!((8..=12).contains(&failed), "{told:?}");
    assert!(told.iter().skip(2).step_by(3).all(|outcome| *outcome == Outcome::Complete));
}

#[test]
fn a_list_that_is_asked_for_again_is_no_error_page() {
    let answers: Vec<_> = (0..30)
        .map(|n| if n % 3 == 0 { answer(300, 30, 5_000) } else { answer(900 + 40 * n, 700, 1_300) })
        .collect();
    assert!(outcomes(&answers).iter().all(|outcome| *outcome == Outcome::Complete));
}

#[test]
fn late_errors_are_known_where_models_think_longer() {
    let mut answers: Vec<_> =
        (0..12).map(|n| answer(900 + 40 * n, 2_500 + 40 * n as u64, 6_000 + 50 * n)).collect();
    answers.push(answer(2_000, 180, 800));
    assert_eq!(outcomes(&answers).last(), Some(&Outcome::Failed), "160 ms after a round trip");
    let quick: Vec<_> = (0..12)
        .map(|n| answer(900 + 40 * n, 130, 6_000 + 50 * n))
        .chain([answer(2_000, 180, 800)])
        .collect();
    assert_eq!(outcomes(&quick).last(), Some(&Outcome::Complete), "as long as its answers take");
}

#[test]
fn answers_of_one_word_are_no_errors() {
    let words: Vec<_> =
        (0..40).map(|n| answer(900 + 40 * n, 250 + 10 * (n as u64 % 7), 430 + n % 3)).collect();
    let told = outcomes(&words);
    assert!(told.iter().skip(6).all(|outcome| *outcome == Outcome::Complete), "{told:?}");
}

#[test]
fn answers_of_a_model_that_does_not_think_are_no_errors_for_long() {
    let answers: Vec<_> =
        (0..60).map(|n| answer(900 + 40 * n, 40, 700 + 37 * (n * 7 % 31))).collect();
    let told = outcomes(&answers);
    let false_errors = told.iter().skip(15).filter(|outcome| outcome.invites_retry()).count();
    assert!(false_errors <= 2, "{told:?}");
}
