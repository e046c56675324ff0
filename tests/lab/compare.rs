//! `fermata-lab compare`: what happened, what Fermata saw, and whether that is the same.

use std::collections::HashMap;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::align::{Alignment, Seen, align};
use crate::error::{LabError, read_lines};
use crate::table::Table;
use crate::truth::Record;

/// Arguments of `fermata-lab compare`.
#[derive(Args)]
pub(crate) struct CompareArguments {
    /// The truth, as the endpoints wrote it.
    #[arg(long, value_name = "FILE")]
    truth: PathBuf,
    /// Exchange lines, as `fermata exchanges -o jsonl` writes them.
    #[arg(long, value_name = "FILE")]
    exchanges: PathBuf,
    /// Also write the comparison as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Differences that are forgiven, in percent of the attempts: what an attempt was is an
    /// estimate from times, and a machine that stands still moves times. A missed or invented
    /// attempt is never forgiven.
    #[arg(long, value_name = "PERCENT", default_value_t = 0)]
    tolerance: u8,
}

/// Compares two files; true when there is no difference, or no more than is forgiven.
pub(crate) fn run(arguments: &CompareArguments) -> Result<bool, LabError> {
    let truth: Vec<Record> = read_lines(&arguments.truth)?;
    let seen: Vec<Seen> = read_lines(&arguments.exchanges)?;
    let comparison = compare(&truth, &seen);
    print(&comparison);
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&comparison).expect("only plain fields");
        std::fs::write(path, text + "\n")
            .map_err(|source| LabError::File { path: path.clone(), source })?;
    }
    Ok(comparison.equal || comparison.is_forgiven(arguments.tolerance))
}

/// The whole comparison.
#[derive(Debug, Serialize)]
struct Comparison {
    /// Everything the wire can tell is equal, one by one.
    equal: bool,
    /// Every attempt was seen, and none was invented.
    attempts_equal: bool,
    attempts: usize,
    rows: Vec<Row>,
    differences: Vec<String>,
}

impl Comparison {
    /// Every attempt was seen, and no more than `percent` of them are mistaken for something else.
    fn is_forgiven(&self, percent: u8) -> bool {
        self.attempts_equal && self.differences.len() * 100 <= usize::from(percent) * self.attempts
    }
}

/// One line of the table.
#[derive(Debug, Serialize)]
struct Row {
    what: &'static str,
    happened: u64,
    seen: u64,
    /// Equal one by one, not just in number; null where the wire cannot tell.
    equal: Option<bool>,
}

/// What became of a request, in words that both sides know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Complete,
    ErrorAnswer,
    ClientAbort,
    Cut,
    NoReply,
    Other,
}

impl Class {
    const SHOWN: [(Self, &'static str); 5] = [
        (Self::Complete, "complete answers"),
        (Self::ErrorAnswer, "error answers"),
        (Self::ClientAbort, "client aborts"),
        (Self::Cut, "cut by the server"),
        (Self::NoReply, "no reply"),
    ];

    fn happened(record: &Record) -> Self {
        match (record.end.as_str(), record.t_first > 0.0) {
            ("complete", _) if record.status >= 400 => Self::ErrorAnswer,
            ("complete", _) => Self::Complete,
            ("client_abort", _) => Self::ClientAbort,
            ("server_reset" | "server_close", true) => Self::Cut,
            ("server_reset" | "server_close", false) => Self::NoReply,
            _ => Self::Other,
        }
    }

    fn seen(exchange: &Seen) -> Self {
        match (exchange.outcome.as_str(), exchange.first_byte.is_some()) {
            ("complete", _) => Self::Complete,
            ("failed" | "throttled", _) => Self::ErrorAnswer,
            ("client_abort", _) => Self::ClientAbort,
            ("server_abort" | "truncated", true) => Self::Cut,
            ("server_abort" | "truncated", false) | ("connect_failed", _) => Self::NoReply,
            _ => Self::Other,
        }
    }

    /// The class of a pair's exchange: `stalled` is a right name for a stalled answer that did not
    /// end well.
    fn seen_of(record: &Record, exchange: &Seen) -> Self {
        let happened = Self::happened(record);
        let excused = exchange.outcome == "stalled"
            && stalled(record)
            && matches!(happened, Self::ClientAbort | Self::Cut);
        if excused { happened } else { Self::seen(exchange) }
    }
}

/// A silence above half a second was injected and lived through.
fn stalled(record: &Record) -> bool {
    record.note.as_ref().is_some_and(|note| {
        record.stream && note.stall_s.min(record.t_end - note.stall_t) > STALL_S
    })
}

fn claims_stall(seen: &Seen) -> bool {
    seen.outcome == "stalled" || seen.stall.is_some_and(|seconds| seconds > STALL_S)
}

/// Compares both sides.
fn compare(truth: &[Record], seen: &[Seen]) -> Comparison {
    let alignment = align(truth, seen);
    let mut differences = unpaired(&alignment);
    let attempts = differences.is_empty();
    let links = Links::new(&alignment, &mut differences);
    let mut rows = vec![
        row("attempts", truth.len(), seen.len(), Some(attempts)),
        row(
            "first attempts",
            truth.iter().filter(|record| !record.is_retry).count(),
            seen.iter().filter(|exchange| exchange.retry_of.is_none()).count(),
            Some(attempts && links.equal),
        ),
        row(
            "retries",
            truth.iter().filter(|record| record.is_retry).count(),
            seen.iter().filter(|exchange| exchange.retry_of.is_some()).count(),
            Some(links.equal),
        ),
        row("  linked to the right attempt", links.found, links.right, Some(links.all_right())),
    ];
    let before = differences.len();
    for (class, what) in Class::SHOWN {
        let wrong = outcome_differences(&alignment, class);
        let unpaired = alignment.missed.iter().any(|record| Class::happened(record) == class)
            || alignment.invented.iter().any(|exchange| Class::seen(exchange) == class);
        let equal = wrong.is_empty() && !unpaired;
        differences.extend(wrong);
        let happened = truth.iter().filter(|record| Class::happened(record) == class).count();
        rows.push(row(what, happened, count_seen(&alignment, class), Some(equal)));
    }
    dedup_from(&mut differences, before);
    rows.push(stall_row(&alignment, &mut differences));
    rows.push(token_row(&alignment));
    Comparison {
        equal: differences.is_empty(),
        attempts_equal: attempts,
        attempts: truth.len(),
        rows,
        differences,
    }
}

fn row(what: &'static str, happened: usize, seen: usize, equal: Option<bool>) -> Row {
    Row { what, happened: happened as u64, seen: seen as u64, equal }
}

/// Lines for requests that were not seen and exchanges that did not happen.
fn unpaired(alignment: &Alignment<'_>) -> Vec<String> {
    let missed = alignment.missed.iter().map(|record| format!("{}: not seen", name(record)));
    let invented = alignment.invented.iter().map(|seen| {
        format!("exchange {} ({}:{}): did not happen", seen.id, seen.client, seen.client_port)
    });
    missed.chain(invented).collect()
}

/// What the retries come to.
struct Links {
    /// The same requests are retries on both sides.
    equal: bool,
    /// True retries that were seen as retries.
    found: usize,
    /// Of these, linked to the attempt they really follow.
    right: usize,
}

impl Links {
    fn new(alignment: &Alignment<'_>, differences: &mut Vec<String>) -> Self {
        let by_id = alignment.by_seen_id();
        let mut links = Self { equal: true, found: 0, right: 0 };
        for (record, seen) in &alignment.pairs {
            match (record.is_retry, &seen.retry_of) {
                (true, Some(before)) => {
                    links.link(record, &before.to_string(), &by_id, differences)
                }
                (true, None) => {
                    links.equal = false;
                    differences.push(format!("{}: a retry, seen as a first attempt", name(record)));
                }
                (false, Some(before)) => {
                    links.equal = false;
                    let before = by_id.get(&before.to_string()).map_or("?".into(), |it| name(it));
                    differences.push(format!(
                        "{}: a first attempt, seen as a retry of {before}",
                        name(record)
                    ));
                }
                (false, None) => {}
            }
        }
        let unpaired_retry = alignment.missed.iter().any(|record| record.is_retry)
            || alignment.invented.iter().any(|seen| seen.retry_of.is_some());
        links.equal &= !unpaired_retry;
        links
    }

    /// Judges one link of a retry that was found.
    fn link(
        &mut self,
        record: &Record,
        before: &str,
        by_id: &HashMap<String, &Record>,
        differences: &mut Vec<String>,
    ) {
        self.found += 1;
        let linked = by_id.get(before);
        if linked.is_some_and(|linked| Some(linked.id) == record.retry_of) {
            self.right += 1;
        } else {
            let linked = linked.map_or("an exchange that did not happen".into(), |it| name(it));
            differences.push(format!("{}: a retry, linked to {linked}", name(record)));
        }
    }

    fn all_right(&self) -> bool {
        self.found == self.right
    }
}

/// Lines for pairs of which exactly one side is of `class`.
fn outcome_differences(alignment: &Alignment<'_>, class: Class) -> Vec<String> {
    let differing = alignment.pairs.iter().filter(|(record, seen)| {
        (Class::happened(record) == class) != (Class::seen_of(record, seen) == class)
    });
    differing
        .map(|(record, seen)| {
            let (happened, status) = (Class::happened(record), record.status);
            let outcome = &seen.outcome;
            format!("{}: {happened:?} (status {status}), seen as {outcome}", name(record))
        })
        .collect()
}

fn count_seen(alignment: &Alignment<'_>, class: Class) -> usize {
    let paired = alignment.pairs.iter().map(|(record, seen)| Class::seen_of(record, seen));
    let invented = alignment.invented.iter().map(|seen| Class::seen(seen));
    paired.chain(invented).filter(|seen| *seen == class).count()
}

/// A wrong outcome shows up in two classes; one line is enough.
fn dedup_from(lines: &mut Vec<String>, start: usize) {
    let mut tail = lines.split_off(start);
    tail.sort();
    tail.dedup();
    lines.extend(tail);
}

fn stall_row(alignment: &Alignment<'_>, differences: &mut Vec<String>) -> Row {
    let wrong =
        alignment.pairs.iter().filter(|(record, seen)| stalled(record) != claims_stall(seen));
    let lines: Vec<String> = wrong
        .map(|(record, seen)| match stalled(record) {
            true => format!("{}: a stall that was not seen", name(record)),
            false => format!("{}: no stall, seen with {:?} s", name(record), seen.stall),
        })
        .collect();
    let happened = alignment.pairs.iter().filter(|(record, _)| stalled(record)).count();
    let seen = alignment.pairs.iter().filter(|(_, seen)| claims_stall(seen)).count();
    let equal = lines.is_empty();
    differences.extend(lines);
    row("stalls over 0.5 s", happened, seen, Some(equal))
}

/// Tokens of streams that carry an estimate; an estimate is never equal.
fn token_row(alignment: &Alignment<'_>) -> Row {
    let streams = alignment.pairs.iter().filter(|(record, _)| record.kind == "chat_s");
    let estimated: Vec<(u64, f64)> = streams
        .filter_map(|(record, seen)| {
            seen.tokens_estimate.map(|[_, likely, _]| (u64::from(record.tokens), likely))
        })
        .collect();
    let happened = estimated.iter().map(|(tokens, _)| tokens).sum();
    let likely: f64 = estimated.iter().map(|(_, likely)| likely).sum();
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "`as` saturates, and a sum of token estimates is far from the end of u64"
    )]
    let seen = likely.round() as u64;
    Row { what: "tokens of streams (estimate)", happened, seen, equal: None }
}

/// The name of a request for a reader who looks for it.
fn name(record: &Record) -> String {
    let Record { call, att, client, port, sni, kind, .. } = record;
    format!("call {call} attempt {} ({kind}, {client}:{port} -> {sni})", att + 1)
}

fn print(comparison: &Comparison) {
    let mut table = Table::new(&["what", "happened", "Fermata saw", "equal?"]);
    for Row { what, happened, seen, equal } in &comparison.rows {
        let verdict = match equal {
            Some(true) => "yes".to_owned(),
            Some(false) => "NO".to_owned(),
            None if *happened == 0 => "-".to_owned(),
            None => {
                let percent = (*seen as f64 / *happened as f64 - 1.0) * 100.0;
                format!("{percent:+.1} %")
            }
        };
        table.row(vec![(*what).to_owned(), happened.to_string(), seen.to_string(), verdict]);
    }
    print!("{table}");
    for difference in &comparison.differences {
        println!("  {difference}");
    }
}

/// A silence longer than this is a stall.
const STALL_S: f64 = 0.5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::align::tests::{record, seen};

    fn retry(id: u64, of: u64, t_hdr: f64) -> Record {
        Record { is_retry: true, retry_of: Some(of), att: 1, ..record(id, 4000, t_hdr) }
    }

    #[test]
    fn two_equal_views_are_equal() {
        let truth = [record(0, 4000, 1.0), retry(1, 0, 2.0)];
        let found = [seen(5, 4000, 1.0), Seen { retry_of: Some(5.into()), ..seen(6, 4000, 2.0) }];
        let comparison = compare(&truth, &found);
        assert!(comparison.equal, "{:?}", comparison.differences);
        assert!(comparison.differences.is_empty());
    }

    #[test]
    fn a_missed_retry_is_a_difference_that_names_the_call() {
        let truth = [record(0, 4000, 1.0), retry(1, 0, 2.0)];
        let found = [seen(5, 4000, 1.0), seen(6, 4000, 2.0)];
        let comparison = compare(&truth, &found);
        assert!(!comparison.equal);
        assert!(comparison.differences[0].starts_with("call c1 attempt 2"));
    }

    #[test]
    fn a_wrong_link_is_a_difference() {
        let truth = [record(0, 4000, 1.0), record(1, 4000, 2.0), retry(2, 1, 3.0)];
        let linked = Seen { retry_of: Some(5.into()), ..seen(7, 4000, 3.0) };
        let comparison = compare(&truth, &[seen(5, 4000, 1.0), seen(6, 4000, 2.0), linked]);
        assert!(!comparison.equal);
        assert_eq!(comparison.differences.len(), 1);
    }

    #[test]
    fn equal_numbers_of_different_aborts_are_not_equal() {
        let left = Record { end: "client_abort".into(), ..record(0, 4000, 1.0) };
        let truth = [left, record(1, 4000, 2.0)];
        let abort = Seen { outcome: "client_abort".into(), ..seen(6, 4000, 2.0) };
        let comparison = compare(&truth, &[seen(5, 4000, 1.0), abort]);
        assert!(!comparison.equal);
    }

    #[test]
    fn a_missed_attempt_is_not_equal_and_never_forgiven() {
        let truth = [record(0, 4000, 1.0), record(1, 4000, 20.0)];
        let comparison = compare(&truth, &[seen(5, 4000, 1.0)]);
        assert!(!comparison.equal && !comparison.is_forgiven(100));
    }

    #[test]
    fn a_mistaken_attempt_is_forgiven_by_its_share() {
        let truth: Vec<Record> = (0..20).map(|n| record(n, 4000, 2.0 * n as f64)).collect();
        let mut found: Vec<Seen> = (0..20).map(|n| seen(n, 4000, 2.0 * n as f64)).collect();
        found[3].outcome = "client_abort".into();
        let comparison = compare(&truth, &found);
        assert!(!comparison.equal);
        assert!(comparison.is_forgiven(5) && !comparison.is_forgiven(4));
    }

    #[test]
    fn an_unnamed_429_is_still_an_error_answer() {
        let truth = [Record { status: 429, ..record(0, 4000, 1.0) }];
        let found = [Seen { outcome: "failed".into(), ..seen(5, 4000, 1.0) }];
        assert!(compare(&truth, &found).equal);
    }
}
