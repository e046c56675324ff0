//! The same captures through a worse tap: loss, reordering, merged segments, a late start. What is
//! said of them stays right. The committed lab capture is always read; those of `../shared` where
//! they are there.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use fastpath::lcore::Outlets;
use fastpath::policy::snapshot::{Policy, Snapshot};
use fastpath::replay::replay;
use fastpath::telemetry::event::{Event, Outcome};
use fastpath::telemetry::line::ExchangeLine;
use tests::mangle::{Capture, Mangle};

/// What the issue asks of HTTP/1.1 whatever the tap.
const RETRY_F1_MIN: f64 = 0.95;

const SEED: u64 = 20_260_101;

/// Exchanges of a capture that was made worse.
fn exchanges(capture: Capture, how: Option<Mangle>, name: &str) -> Vec<ExchangeLine> {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.{how:?}.pcap"));
    let capture = how.map_or(capture.clone(), |how| capture.mangled(how, SEED));
    capture.write(&path).unwrap();
    let snapshot = Arc::new(Snapshot::compile(Policy::catalogue().unwrap()).unwrap());
    let (told, mut lines) = (Arc::clone(&snapshot), Vec::new());
    let sink = |event: &Event, outlets: &Outlets| {
        if let Event::Exchange(exchange) = event {
            lines.push(ExchangeLine::new(exchange, &outlets.names, &told));
        }
    };
    replay(&path, snapshot, sink, |_| {}).unwrap();
    std::fs::remove_file(path).unwrap();
    lines
}

/// What an exchange is, whatever its number: its connection, its place on it, and what was said of
/// it.
type Said = (String, u16, usize, Outcome, u16, bool);

fn said(mut lines: Vec<ExchangeLine>) -> HashSet<Said> {
    lines.sort_by(|a, b| a.start.total_cmp(&b.start));
    let mut places: HashMap<(String, u16), usize> = HashMap::new();
    let fact = |line: &ExchangeLine| {
        let place = places.entry((line.client.clone(), line.client_port)).or_default();
        *place += 1;
        let (client, port) = (line.client.clone(), line.client_port);
        (client, port, *place, line.outcome, line.attempt, line.restart)
    };
    lines.iter().map(fact).collect()
}

fn lab() -> Capture {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("lab/captures/lab.pcap");
    Capture::read(&path).unwrap()
}

#[test]
fn merged_and_reordered_segments_change_nothing() {
    let plain = said(exchanges(lab(), None, "lab"));
    assert!(plain.len() > 20);
    for how in [Mangle::Merge, Mangle::Reorder] {
        let worse = said(exchanges(lab(), Some(how), "lab"));
        let differ: Vec<_> = plain.symmetric_difference(&worse).collect();
        assert!(differ.len() <= plain.len() / 50, "{how:?}: {differ:?}");
    }
}

#[test]
fn a_capture_that_starts_late_has_no_false_abort() {
    let half = lab().half_time() as f64 / 1e9;
    let plain = exchanges(lab(), None, "late");
    let key = |line: &ExchangeLine| (line.client.clone(), line.client_port, line.start.to_bits());
    let aborted = |line: &&ExchangeLine| line.outcome == Outcome::ClientAbort;
    let aborts: HashSet<_> = plain.iter().filter(aborted).map(key).collect();
    let late = exchanges(lab(), Some(Mangle::SecondHalf), "late");
    assert!(late.len() * 4 > plain.len(), "{} of {}", late.len(), plain.len());
    for line in late.iter().filter(aborted).filter(|line| line.start > half + 1.0) {
        assert!(aborts.contains(&key(line)), "false abort {line:?}");
    }
}

/// The captures of `../shared`, if they are there.
fn captures() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures");
    let there = path.is_dir() && Command::new("python3").arg("--version").output().is_ok();
    if !there {
        println!("skipped: {} or python3 is not there", path.display());
    }
    there.then_some(path)
}

/// Copies a truth without what the tap was too late for.
fn write_truth(from: &Path, to: &Path, since: f64) {
    let text = std::fs::read_to_string(from).unwrap();
    let seen = text.lines().filter(|line| {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        row["t_hdr"].as_f64().unwrap() >= since
    });
    std::fs::write(to, seen.map(|line| format!("{line}\n")).collect::<String>()).unwrap();
}

/// Scores all captures after they were made worse.
fn score(captures: &Path, how: Mangle) -> serde_json::Value {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("mangled.{how:?}"));
    let (truths, results) = (root.join("truth"), root.join("results"));
    std::fs::create_dir_all(&results).unwrap();
    for entry in std::fs::read_dir(captures).unwrap() {
        let folder = entry.unwrap().path();
        if !folder.join("truth.jsonl").is_file() {
            continue;
        }
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let capture = Capture::read(&folder.join("capture.pcap")).unwrap();
        let since =
            if how == Mangle::SecondHalf { capture.half_time() as f64 / 1e9 + 0.05 } else { 0.0 };
        let mut text = String::new();
        for line in exchanges(capture, Some(how), &name) {
            if line.start >= since - 0.02 {
                writeln!(text, "{}", serde_json::to_string(&line).unwrap()).unwrap();
            }
        }
        std::fs::write(results.join(format!("{name}.jsonl")), text).unwrap();
        std::fs::create_dir_all(truths.join(&name)).unwrap();
        write_truth(&folder.join("truth.jsonl"), &truths.join(&name).join("truth.jsonl"), since);
    }
    let scored = Command::new("python3")
        .arg(captures.join("score.py"))
        .args([&truths, &results])
        .arg("--json")
        .output()
        .unwrap();
    serde_json::from_slice(&scored.stdout).unwrap()
}

#[test]
fn retries_and_aborts_are_found_whatever_the_tap() {
    let Some(captures) = captures() else { return };
    let all = [Mangle::Resend, Mangle::Miss, Mangle::Reorder, Mangle::Merge, Mangle::SecondHalf];
    for how in all {
        let scores = score(&captures, how);
        let http1 = &scores["total"]["h1"];
        let (retry, abort) = (&http1["retry"]["f1"], &http1["abort"]["precision"]);
        println!("{how:?}: retry F1 {retry}, abort precision {abort}, figure {}", scores["figure"]);
        assert!(retry.as_f64().unwrap() >= RETRY_F1_MIN, "{how:?}: retry F1 {retry}");
        if how != Mangle::Miss {
            assert_eq!(abort.as_f64(), Some(1.0), "{how:?}: false aborts");
        }
    }
}
