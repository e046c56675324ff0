//! Captures with known truth. Those of the lab are here; the others lie beside the repository
//! (`../shared`), and without them the test says so and passes. The hostile ones are played by
//! `fastpath/tests/malformed.rs`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use fastpath::policy::snapshot::{Policy, Snapshot};
use fastpath::port::pcap::PcapError;
use fastpath::replay::{Summary, replay};
use fastpath::telemetry::event::Event;
use fastpath::telemetry::line::ExchangeLine;
use serde_json::Value;

/// What the issue asks of HTTP/1.1.
const SPLITTING_MIN: f64 = 0.999;
const RETRY_F1_MIN: f64 = 0.99;
const FIGURE_MIN: f64 = 0.995;
const OUTCOME_MIN: f64 = 0.98;
const RESTART_MIN: f64 = 0.95;
/// Wasted tokens of a capture, against those that can be seen: of replies on the wire whose client
/// had not left by itself before their end.
const WASTE_WITHIN: f64 = 0.10;
/// Exchanges of a capture that are called waste and were none.
const FALSE_WASTE_MAX: f64 = 0.005;
/// And of HTTP/2.
const HTTP2_FIGURE_MIN: f64 = 0.985;

fn snapshot() -> Arc<Snapshot> {
    Arc::new(Snapshot::compile(Policy::catalogue().unwrap()).unwrap())
}

/// A folder of `../shared`, if it is there.
fn shared(folder: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared").join(folder);
    if !path.is_dir() {
        println!("skipped: {} is not there", path.display());
        return None;
    }
    Some(path)
}

/// Exchanges of a capture, a line each.
fn exchanges(path: &Path) -> Result<(String, Summary), PcapError> {
    let (snapshot, mut text) = (snapshot(), String::new());
    let told = Arc::clone(&snapshot);
    let summary = replay(
        path,
        snapshot,
        |event, outlets| {
            if let Event::Exchange(exchange) = event {
                let line = ExchangeLine::new(exchange, &outlets.names, &told);
                writeln!(text, "{}", serde_json::to_string(&line).unwrap()).unwrap();
            }
        },
        |_| {},
    )?;
    Ok((text, summary))
}

fn folders(path: &Path) -> Vec<String> {
    let names = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
    let captures = names.filter(|entry| entry.path().join("capture.pcap").is_file());
    let mut names: Vec<String> =
        captures.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Exchanges that are called waste and whose request was not, nor another attempt; and all. Which of
/// several streams is which is a guess, so on HTTP/2 what a connection has too many counts.
fn false_waste(lines: &str, truth: &str) -> (usize, usize) {
    let parsed = |text: &str| -> Vec<Value> {
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let (lines, truth) = (parsed(lines), parsed(truth));
    let connection = |row: &Value, port: &str| {
        let [client, server] = ["client", "server"].map(|key| row[key].to_string());
        (client, row[port].to_string(), server)
    };
    let is_waste = |request: &Value| !request["waste"].is_null() || request["is_retry"] == true;
    let (mut falsely, mut of_mux) = (0, BTreeMap::<_, usize>::new());
    for line in lines.iter().filter(|line| !line["waste"].is_null()) {
        let key = connection(line, "client_port");
        let of_connection = truth.iter().filter(|request| connection(request, "port") == key);
        if line["visibility"] == "mux" {
            let claimed = of_mux.entry(key.clone()).or_default();
            *claimed += 1;
            let wasted = of_connection.filter(|request| is_waste(request)).count();
            falsely += usize::from(*claimed > wasted);
            continue;
        }
        let start = line["start"].as_f64().unwrap();
        let late = |request: &Value| request["t_hdr"].as_f64().unwrap() - start;
        // The server's clock; it may hear of a request up to this much later.
        let nearest = of_connection
            .filter(|request| (-0.05..2.5).contains(&late(request)))
            .min_by(|a, b| late(a).abs().total_cmp(&late(b).abs()));
        falsely += usize::from(nearest.is_some_and(|request| !is_waste(request)));
    }
    (falsely, lines.len())
}

#[test]
fn exchanges_of_the_captures_are_those_of_the_truth() {
    let Some(captures) = shared("captures") else { return };
    if Command::new("python3").arg("--version").output().is_err() {
        println!("skipped: python3 is not there, and score.py needs it");
        return;
    }
    let results = Path::new(env!("CARGO_TARGET_TMPDIR")).join("captures");
    std::fs::create_dir_all(&results).unwrap();
    for name in folders(&captures) {
        let (text, summary) = exchanges(&captures.join(&name).join("capture.pcap")).unwrap();
        let lost = (summary.totals.events_lost, summary.late_amendments);
        assert_eq!((lost, summary.note), ((0, 0), None), "{name}");
        let truth = std::fs::read_to_string(captures.join(&name).join("truth.jsonl")).unwrap();
        let (falsely, of) = false_waste(&text, &truth);
        assert!(falsely as f64 <= FALSE_WASTE_MAX * of as f64, "{name}: {falsely} of {of} falsely");
        std::fs::write(results.join(format!("{name}.jsonl")), text).unwrap();
    }
    let scored = Command::new("python3")
        .arg(captures.join("score.py"))
        .args([&captures, &results])
        .arg("--json")
        .output()
        .unwrap();
    assert!(scored.status.success(), "{}", String::from_utf8_lossy(&scored.stderr));
    let scores: Value = serde_json::from_slice(&scored.stdout).unwrap();
    for (name, capture) in scores["captures"].as_object().unwrap() {
        let tokens = |key: &str| capture["h1"]["waste"][key].as_f64().unwrap_or(0.0);
        let (claimed, visible) =
            (tokens("claimed"), tokens("true_visible") - tokens("of_it_unread"));
        println!("{name}: wasted tokens claimed {claimed}, visible {visible}");
        let off = (claimed - visible).abs();
        assert!(off <= WASTE_WITHIN * visible, "{name}: {claimed}, expected {visible}");
    }
    let http1 = &scores["total"]["h1"];
    let split = http1["split"]["f1"].as_f64().unwrap();
    let retry = http1["retry"]["f1"].as_f64().unwrap();
    let figure = scores["figure"].as_f64().unwrap();
    let outcome = http1["outcome"]["macro_recall"].as_f64().unwrap();
    let restart = http1["restart"]["f1"].as_f64().unwrap();
    println!("HTTP/1.1: splitting {split}, outcome {outcome}, retry {retry}, figure {figure}");
    assert!(split >= SPLITTING_MIN, "splitting {split}, expected {SPLITTING_MIN}");
    assert!(retry >= RETRY_F1_MIN, "retry F1 {retry}, expected {RETRY_F1_MIN}");
    assert!(outcome >= OUTCOME_MIN, "outcome {outcome}, expected {OUTCOME_MIN}");
    assert!(restart >= RESTART_MIN, "restart F1 {restart}, expected {RESTART_MIN}");
    assert!(figure >= FIGURE_MIN, "figure {figure}, expected {FIGURE_MIN}");
    let http2 = scores["figure_h2"].as_f64().unwrap();
    println!("HTTP/2: figure {http2}");
    assert!(http2 >= HTTP2_FIGURE_MIN, "HTTP/2 {http2}, expected {HTTP2_FIGURE_MIN}");
}

#[test]
fn a_replay_gives_the_same_lines_every_time() {
    let lab = Path::new(env!("CARGO_MANIFEST_DIR")).join("lab/captures/lab.pcap");
    let (first, summary) = exchanges(&lab).unwrap();
    assert!(summary.totals.exchanges > 0);
    assert_eq!(first, exchanges(&lab).unwrap().0);
}

/// What is told of a capture of HTTP/3, by the client's port, and how many requests there truly
/// were, and whether each was alone on its connection.
fn http3() -> BTreeMap<u64, (Vec<serde_json::Value>, usize, bool)> {
    let captures = Path::new(env!("CARGO_MANIFEST_DIR")).join("lab/captures");
    let (text, _) = exchanges(&captures.join("http3.pcap")).unwrap();
    let truth = std::fs::read_to_string(captures.join("http3.truth.jsonl")).unwrap();
    let mut connections = BTreeMap::new();
    for line in truth.lines() {
        let request: serde_json::Value = serde_json::from_str(line).unwrap();
        let port = request["port"].as_u64().unwrap();
        let connection = connections.entry(port).or_insert((Vec::new(), 0, true));
        connection.1 += 1;
        connection.2 = request["alone"].as_bool().unwrap();
    }
    for line in text.lines() {
        let exchange: serde_json::Value = serde_json::from_str(line).unwrap();
        let port = exchange["client_port"].as_u64().unwrap();
        connections.get_mut(&port).expect("a connection of the truth").0.push(exchange);
    }
    connections
}

#[test]
fn requests_over_http3_are_counted_where_each_is_alone() {
    let alone: Vec<_> = http3().into_values().filter(|(.., alone)| *alone).collect();
    let found: usize = alone.iter().map(|(found, ..)| found.len()).sum();
    let expected: usize = alone.iter().map(|(_, expected, _)| expected).sum();
    println!("HTTP/3: {found} found of {expected}");
    assert!(expected >= 40 && found.abs_diff(expected) * 10 <= expected, "{found} of {expected}");
}

#[test]
fn of_http3_nothing_is_claimed_that_cannot_be_seen() {
    for (found, expected, _) in http3().into_values() {
        assert!(found.len() <= expected, "at once there may be more than are told, never less");
        for exchange in found {
            assert_eq!(exchange["visibility"], "quic");
            assert!(exchange["confidence"]["outcome"].as_f64().unwrap() < 0.7);
            assert!(exchange["outcome"] == "complete" || exchange["outcome"] == "open");
            for unseen in ["retry_of", "tokens_estimate", "stall", "waste"] {
                assert!(exchange[unseen].is_null(), "{unseen}: {exchange}");
            }
        }
    }
}
