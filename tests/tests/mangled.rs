//! The same captures through a worse tap: loss, reordering, merged segments, a late start, a server
//! that is further away. What is
//! said of them stays right. The committed lab capture is always read; those of `../shared` where
//! they are there.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use fastpath::lcore::Outlets;
use fastpath::policy::snapshot::{Policy, Snapshot};
use fastpath::replay::replay;
use fastpath::telemetry::event::{Event, Outcome};
use fastpath::telemetry::line::ExchangeLine;
use serde_json::Value;
use tests::mangle::stretch::Asked;
use tests::mangle::{Capture, Mangle, flow};

/// What the issue asks of HTTP/1.1 whatever the tap.
const RETRY_F1_MIN: f64 = 0.95;

const SEED: u64 = 20_260_101;

/// Round trip of the captures, and of a server that is far away.
const RTT: u64 = 20_000_000;
const RTT_FAR: u64 = 80_000_000;

/// Exchanges of a capture.
fn exchanges(capture: &Capture, name: &str) -> Vec<ExchangeLine> {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.pcap"));
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
    let plain = said(exchanges(&lab(), "lab"));
    assert!(plain.len() > 20);
    for how in [Mangle::Merge, Mangle::Reorder] {
        let worse = said(exchanges(&lab().mangled(how, SEED), &format!("lab.{how:?}")));
        let differ: Vec<_> = plain.symmetric_difference(&worse).collect();
        assert!(differ.len() <= plain.len() / 50, "{how:?}: {differ:?}");
    }
}

#[test]
fn a_capture_that_starts_late_has_no_false_abort() {
    let half = lab().half_time() as f64 / 1e9;
    let plain = exchanges(&lab(), "late");
    let key = |line: &ExchangeLine| (line.client.clone(), line.client_port, line.start.to_bits());
    let aborted = |line: &&ExchangeLine| line.outcome == Outcome::ClientAbort;
    let aborts: HashSet<_> = plain.iter().filter(aborted).map(key).collect();
    let late = exchanges(&lab().mangled(Mangle::SecondHalf, SEED), "late.half");
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

/// What is done to all captures.
#[derive(Clone, Copy, Debug)]
struct Worse {
    name: &'static str,
    far: bool,
    how: Option<Mangle>,
}

/// A truth line by line.
fn read_truth(folder: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join("truth.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time since 1970")]
fn nanos(row: &Value, key: &str) -> u64 {
    (row[key].as_f64().unwrap_or(0.0) * 1e9) as u64
}

fn connection(row: &Value) -> [u8; 12] {
    let end = |host: &str, port: &str| {
        let port = u16::try_from(row[port].as_u64().unwrap()).unwrap();
        SocketAddrV4::new(row[host].as_str().unwrap().parse().unwrap(), port)
    };
    flow(end("client", "port"), end("server", "server_port"))
}

/// Moves the server away: frames, and the times of the truth.
fn moved_away(capture: Capture, truth: &mut [Value]) -> Capture {
    let asked = |row: &Value| Asked {
        flow: connection(row),
        at: nanos(row, "t_hdr"),
        chain: row["wf"].as_u64().unwrap(),
    };
    let mut requests: Vec<Asked> = truth.iter().map(asked).collect();
    requests.sort_by_key(|asked| asked.at);
    let (capture, shifts) = capture.stretched(RTT, RTT_FAR - RTT, &requests);
    for row in truth {
        let flow = connection(row);
        for key in ["t_hdr", "t_body", "t_first", "t_last", "t_end"] {
            let at = nanos(row, key);
            if at == 0 {
                continue;
            }
            let then = match key {
                "t_hdr" | "t_body" => shifts.received(flow, at, RTT),
                _ => shifts.answered(flow, at, RTT),
            };
            row[key] = (then as f64 / 1e9).into();
            if let Some(stall) = row["note"]["stall_t"].as_f64().filter(|_| key == "t_first") {
                row["note"]["stall_t"] = (stall + (then as f64 - at as f64) / 1e9).into();
            }
        }
    }
    capture
}

/// Scores all captures after they were made worse.
fn score(captures: &Path, worse: Worse) -> Value {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("mangled.{}", worse.name));
    let (truths, results) = (root.join("truth"), root.join("results"));
    std::fs::create_dir_all(&results).unwrap();
    for entry in std::fs::read_dir(captures).unwrap() {
        let folder = entry.unwrap().path();
        if !folder.join("truth.jsonl").is_file() {
            continue;
        }
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let mut capture = Capture::read(&folder.join("capture.pcap")).unwrap();
        let mut truth = read_truth(&folder);
        if worse.far {
            capture = moved_away(capture, &mut truth);
        }
        let late = worse.how == Some(Mangle::SecondHalf);
        // What the tap was too late for is not asked of it.
        let since = if late { capture.half_time() as f64 / 1e9 + 0.05 } else { 0.0 };
        truth.retain(|row| row["t_hdr"].as_f64().unwrap() >= since);
        if let Some(how) = worse.how {
            capture = capture.mangled(how, SEED);
        }
        let mut text = String::new();
        for line in exchanges(&capture, &format!("{}.{name}", worse.name)) {
            if line.start >= since - 0.02 {
                writeln!(text, "{}", serde_json::to_string(&line).unwrap()).unwrap();
            }
        }
        std::fs::write(results.join(format!("{name}.jsonl")), text).unwrap();
        std::fs::create_dir_all(truths.join(&name)).unwrap();
        let truth: String = truth.iter().map(|row| format!("{row}\n")).collect();
        std::fs::write(truths.join(&name).join("truth.jsonl"), truth).unwrap();
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
    let near = |name, how| Worse { name, far: false, how: Some(how) };
    let far = |name, how| Worse { name, far: true, how };
    let all = [
        near("resent", Mangle::Resend(RTT)),
        near("missed", Mangle::Miss),
        near("reordered", Mangle::Reorder),
        near("merged", Mangle::Merge),
        near("late", Mangle::SecondHalf),
        far("far", None),
        far("far_resent", Some(Mangle::Resend(RTT_FAR))),
        far("far_missed", Some(Mangle::Miss)),
    ];
    for worse in all {
        let scores = score(&captures, worse);
        let http1 = &scores["total"]["h1"];
        let (retry, abort) = (&http1["retry"]["f1"], &http1["abort"]["precision"]);
        println!("{worse:?}: retry F1 {retry}, abort P {abort}, figure {}", scores["figure"]);
        assert!(retry.as_f64().unwrap() >= RETRY_F1_MIN, "{worse:?}: retry F1 {retry}");
        assert_eq!(abort.as_f64(), Some(1.0), "{worse:?}: false aborts");
    }
}
