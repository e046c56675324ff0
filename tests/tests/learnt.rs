//! What is learnt of an endpoint from one capture helps to read another: it can be told, shipped in
//! a policy, and learning goes on from it. It says nothing of clients (docs/privacy.md).

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use fastpath::policy::learnt::{Cluster, LENGTH_STEP, Learnt};
use fastpath::policy::snapshot::{Policy, Snapshot};
use fastpath::replay::replay;
use fastpath::telemetry::event::{Event, Outcome};
use fastpath::telemetry::line::ExchangeLine;
use tests::play::{self, Told};
use tests::scenario::Scenario;

/// The shipped catalogue, with what was learnt of its endpoints.
fn policy(learnt: &BTreeMap<String, Learnt>) -> Policy {
    let mut policy = Policy::catalogue().unwrap();
    for endpoint in &mut policy.endpoints {
        endpoint.learnt = learnt.get(&endpoint.name).cloned().map(Box::new);
    }
    policy
}

fn play(text: &str, known: &BTreeMap<String, Learnt>) -> (Told, BTreeMap<String, Learnt>) {
    play::under(policy(known), Scenario::read(text).unwrap().arrivals())
}

/// Requests of these lengths that are refused at once, each with an error of 900 bytes or so.
fn refused(requests: [usize; 4]) -> String {
    let mut text =
        "connection a 192.0.2.1:1000 203.0.113.9:443\n0 a open api.openai.com\n".to_owned();
    for (n, request) in requests.into_iter().enumerate() {
        let error = 900 + n % 2;
        let step = format!("+200 a > data {request}\n+50 a < data {error}\n");
        text += &step;
    }
    text + "+10 a > FA\n"
}

/// A request that is answered with an error of the same size after long thought.
const SLOWLY_REFUSED: &str = "connection b 192.0.2.2:1000 203.0.113.9:443\n\
     0 b open api.openai.com\n+50 b > data 3000\n+600 b < data 901\n+10 b > FA\n";

#[test]
fn an_error_that_was_learnt_elsewhere_is_known_at_its_first_sight() {
    let outcome = |learnt: &BTreeMap<String, Learnt>| {
        let (told, _) = play(SLOWLY_REFUSED, learnt);
        told.exchanges.first().map(|exchange| exchange.outcome)
    };
    let (_, learnt) = play(&refused([700, 720, 740, 760]), &BTreeMap::new());
    assert_eq!(outcome(&BTreeMap::new()), Some(Outcome::Complete), "nobody knows better");
    assert_eq!(outcome(&learnt), Some(Outcome::Failed));
}

#[test]
fn learning_goes_on_from_what_was_learnt() {
    let errors = |learnt: &BTreeMap<String, Learnt>| {
        learnt["openai"].http1.errors.iter().map(|cluster| cluster.count).sum::<u16>()
    };
    let (_, once) = play(&refused([700, 720, 740, 760]), &BTreeMap::new());
    let (_, twice) = play(&refused([800, 820, 840, 860]), &once);
    assert_eq!((errors(&once), errors(&twice)), (4, 8));
}

#[test]
fn what_is_told_says_nothing_of_the_lengths_of_requests() {
    let (_, learnt) = play(&refused([700, 720, 740, 760]), &BTreeMap::new());
    let (_, other) = play(&refused([5000, 3000, 4000, 2000]), &BTreeMap::new());
    assert_eq!(learnt, other);
    let seen = refused([700, 700, 700, 700]).replace("203.0.113.9", "203.0.113.77");
    assert_eq!(play(&seen, &BTreeMap::new()).1, learnt, "nor which server, client or when");
}

#[test]
fn lengths_are_told_in_steps_and_once_they_recur() {
    let (_, learnt) = play(&refused([700, 720, 740, 760]), &BTreeMap::new());
    let errors = &learnt["openai"].http1.errors;
    assert_eq!(errors, &[Cluster { value: 900, count: 4 }], "900 and 901");
    assert!(errors.iter().all(|cluster| cluster.value % LENGTH_STEP == 0));
    let twice = refused([700, 720, 740, 760])
        .lines()
        .take(6)
        .fold(String::new(), |text, line| text + line + "\n");
    assert!(
        play(&twice, &BTreeMap::new()).1.get("openai").is_none_or(|l| l.http1.errors.is_empty())
    );
}

/// A capture with known truth, if it is there.
fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures").join(name);
    if !path.is_dir() || Command::new("python3").arg("--version").output().is_err() {
        println!("skipped: {} or python3 is not there", path.display());
        return None;
    }
    Some(path)
}

/// Reads a capture under a policy. Returns its exchanges, a line each, and what was learnt.
fn read(capture: &Path, policy: Policy) -> (String, BTreeMap<String, Learnt>) {
    let snapshot = Arc::new(Snapshot::compile(policy).unwrap());
    let (told, mut text) = (Arc::clone(&snapshot), String::new());
    let sink = |event: &Event, outlets: &fastpath::lcore::Outlets| {
        if let Event::Exchange(exchange) = event {
            let line = ExchangeLine::new(exchange, &outlets.names, &told);
            writeln!(text, "{}", serde_json::to_string(&line).unwrap()).unwrap();
        }
    };
    let summary = replay(&capture.join("capture.pcap"), snapshot, sink, |_| {}).unwrap();
    (text, summary.learnt)
}

/// The two figures of `score.py`, of HTTP/1.1 and HTTP/2, where there is such traffic.
fn figures(capture: &Path, exchanges: &str, name: &str) -> [f64; 2] {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("learnt-{name}.jsonl"));
    std::fs::write(&file, exchanges).unwrap();
    let score = capture.parent().unwrap().join("score.py");
    let truth = capture.join("truth.jsonl");
    let scored = Command::new("python3").arg(score).args([&truth, &file]).arg("--json").output();
    let scored = scored.unwrap();
    assert!(scored.status.success(), "{}", String::from_utf8_lossy(&scored.stderr));
    let scores: serde_json::Value = serde_json::from_slice(&scored.stdout).unwrap();
    ["figure", "figure_h2"].map(|key| scores[key].as_f64().unwrap_or(1.0))
}

#[test]
fn a_capture_is_read_no_worse_with_what_another_taught() {
    let pairs = [
        ("abort_probe", "late_abort"),
        ("retry_storm", "partial_outage"),
        ("abort_probe_h2", "h2_mux"),
        ("thrash", "multi_tenant"),
    ];
    for (first, second) in pairs {
        let (Some(first), Some(second)) = (shared(first), shared(second)) else { return };
        let (_, learnt) = read(&first, policy(&BTreeMap::new()));
        assert!(!learnt.is_empty(), "something is learnt");
        let (without, _) = read(&second, policy(&BTreeMap::new()));
        let (with, _) = read(&second, policy(&learnt));
        let name = second.file_name().unwrap().to_string_lossy().into_owned();
        let before = figures(&second, &without, &format!("{name}-without"));
        let after = figures(&second, &with, &format!("{name}-with"));
        println!("{name}: {before:?} without, {after:?} with");
        for (before, after) in before.into_iter().zip(after) {
            assert!(after >= before, "{name}: {after} with, {before} without");
        }
    }
}
