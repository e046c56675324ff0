//! Conformance: what a flow's ClientHello says, against a corpus whose answers others have
//! published. It lies beside the repository (`../shared`); without it the test says so and passes.
//!
//! The rules are those of the corpus' own `compare.py`: flows match by protocol, addresses and
//! ports, in either direction; a flow that is `optional` and a field that is `disputed` are not
//! counted; a line nobody expects is `extra` where the file is not `lenient`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fastpath::lcore::Outlets;
use fastpath::policy::snapshot::{Policy, Snapshot};
use fastpath::replay::replay;
use fastpath::telemetry::event::Event;
use fastpath::telemetry::line::FlowLine;
use serde_json::Value;

/// Right answers among those that count, for each field.
const RIGHT_MIN: f64 = 0.997;
/// Flows reported that are none.
const EXTRA_MAX: usize = 0;
/// Flows whose client was taken for the server.
const DIRECTION_WRONG_MAX: usize = 0;

const FIELDS: [&str; 6] = ["sni", "alpn", "tls_version", "ja4", "ja4_r", "ech"];
/// Where several lines have the ports of a flow, the one that agrees in most of these is its own.
const TELLING: [&str; 3] = ["sni", "ja4", "alpn"];

/// What is counted over all files.
#[derive(Debug, Default)]
struct Score {
    flows: usize,
    missed: usize,
    extra: usize,
    direction_wrong: usize,
    /// By field: right, and counted.
    fields: BTreeMap<&'static str, (usize, usize)>,
    /// What to print of each miss.
    notes: Vec<String>,
}

/// Protocol and both ends, the lower first.
type Key = (String, [(IpAddr, u64); 2]);

fn end(flow: &Value, address: &str, port: &str) -> (IpAddr, u64) {
    (flow[address].as_str().unwrap().parse().unwrap(), flow[port].as_u64().unwrap())
}

fn key(flow: &Value) -> Key {
    let mut ends = [end(flow, "src", "sport"), end(flow, "dst", "dport")];
    ends.sort();
    (flow["proto"].as_str().unwrap().to_owned(), ends)
}

/// A field's value where absent, null and empty are the same.
fn value<'a>(flow: &'a Value, field: &str) -> Option<&'a Value> {
    flow.get(field).filter(|value| {
        let empty = value.as_str().is_some_and(str::is_empty)
            || value.as_array().is_some_and(Vec::is_empty)
            || value.as_bool() == Some(false);
        !value.is_null() && !empty
    })
}

fn says(flow: &Value, list: &str, field: &str) -> bool {
    flow[list].as_array().is_some_and(|names| names.iter().any(|name| name == field))
}

fn lines(path: &Path, snapshot: &Arc<Snapshot>) -> Vec<Value> {
    let mut lines = Vec::new();
    // What cannot be read as a capture has no line.
    let _ = replay(
        path,
        Arc::clone(snapshot),
        |event, outlets| {
            if let Event::Hello(hello) = event {
                let Outlets { names, fingerprints, .. } = outlets;
                let line = FlowLine::new(hello, names, fingerprints, snapshot);
                lines.push(serde_json::to_value(line).unwrap());
            }
        },
        |_| {},
    );
    lines
}

impl Score {
    /// Compares the lines of one capture with what is expected of it.
    fn file(&mut self, expected: &Value, lines: &[Value]) {
        let name = expected["pcap"].as_str().unwrap();
        let flows = expected["flows"].as_array().unwrap();
        let mut used = vec![false; lines.len()];
        for flow in flows {
            let place = find(flow, lines, &used);
            if let Some(place) = place {
                used[place] = true;
            }
            if flow["optional"].is_null() || flow["optional"] == false {
                self.flow(name, flow, place.map(|place| &lines[place]));
            }
        }
        for (line, _) in lines.iter().zip(&used).filter(|(_, used)| !**used) {
            let known = flows.iter().any(|flow| key(flow) == key(line));
            if !known && expected["lenient"] != true {
                self.extra += 1;
                self.notes.push(format!("{name}: extra {line}"));
            }
        }
    }

    fn flow(&mut self, name: &str, flow: &Value, line: Option<&Value>) {
        self.flows += 1;
        let shown = format!("{name}: {} {}", flow["proto"], described(flow));
        match line {
            None => {
                self.missed += 1;
                self.notes.push(format!("{shown}: missed, sni {}", flow["sni"]));
            }
            Some(line) if end(line, "src", "sport") != end(flow, "src", "sport") => {
                self.direction_wrong += 1;
                self.notes.push(format!("{shown}: wrong direction"));
            }
            Some(_) => {}
        }
        let counted = |field: &&str| flow.get(*field).is_some() && !says(flow, "disputed", field);
        for field in FIELDS.into_iter().filter(counted) {
            let right = line.is_some_and(|line| value(line, field) == value(flow, field));
            let (rights, all) = self.fields.entry(field).or_default();
            (*rights, *all) = (*rights + usize::from(right), *all + 1);
            if let (Some(line), false) = (line, right) {
                let note = format!("{shown}: {field} {}, expected {}", line[field], flow[field]);
                self.notes.push(note);
            }
        }
    }
}

fn described(flow: &Value) -> String {
    let part = |key: &str| flow[key].to_string().replace('"', "");
    format!("{}:{} > {}:{}", part("src"), part("sport"), part("dst"), part("dport"))
}

/// The line of a flow among those not yet used.
fn find(flow: &Value, lines: &[Value], used: &[bool]) -> Option<usize> {
    let key_of_flow = key(flow);
    let mut places =
        (0..lines.len()).filter(|&place| !used[place] && key(&lines[place]) == key_of_flow);
    if flow["reused"].is_null() || flow["reused"] == false {
        return places.next();
    }
    let agreeing = |place: &usize| {
        TELLING.iter().filter(|f| value(&lines[*place], f) == value(flow, f)).count()
    };
    // Of equals the first.
    places.rev().max_by_key(agreeing)
}

#[test]
fn the_flows_of_the_corpus_are_those_others_have_published() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus/open");
    if !corpus.is_dir() {
        println!("skipped: {} is not there", corpus.display());
        return;
    }
    let snapshot = Arc::new(Snapshot::compile(Policy::catalogue().unwrap()).unwrap());
    let mut score = Score::default();
    let entries = std::fs::read_dir(corpus.join("expected")).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let expected: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        if expected["flows"].is_array() {
            let capture = corpus.join("pcap").join(expected["pcap"].as_str().unwrap());
            score.file(&expected, &lines(&capture, &snapshot));
        }
    }
    println!("{}", score.notes.join("\n"));
    let Score { flows, missed, extra, direction_wrong, .. } = score;
    println!("{flows} flows, {missed} missed, {extra} extra, {direction_wrong} wrong directions");
    for (field, (right, all)) in &score.fields {
        println!("{field:<12} {right} of {all} right");
    }
    for (field, (right, all)) in score.fields {
        let share = right as f64 / all as f64;
        assert!(share >= RIGHT_MIN, "{field}: {right} of {all} right, expected {RIGHT_MIN}");
    }
    for (count, limit, what) in [
        (extra, EXTRA_MAX, "flows that are none"),
        (direction_wrong, DIRECTION_WRONG_MAX, "wrong directions"),
    ] {
        assert!(count <= limit, "{count} {what}, at most {limit}");
    }
}

fn flow(text: &str) -> Value {
    let mut flow: Value = serde_json::from_str(text).unwrap();
    for (key, default) in
        [("proto", "tcp".into()), ("dst", "10.0.0.2".into()), ("dport", 443.into())]
    {
        flow.as_object_mut().unwrap().entry(key).or_insert(default);
    }
    flow
}

/// The comparison itself: what it counts, and what it does not.
#[test]
fn a_miss_an_extra_a_wrong_field_and_a_wrong_direction_are_counted() {
    let right = flow(r#"{"src":"10.0.0.1","sport":1,"sni":"a","alpn":[],"ja4":"x"}"#);
    let wrong = flow(r#"{"src":"10.0.0.1","sport":2,"sni":"b","ja4":"y"}"#);
    let missed = flow(r#"{"src":"10.0.0.1","sport":3,"sni":"c"}"#);
    let optional = flow(r#"{"src":"10.0.0.1","sport":4,"sni":"d","optional":"broken"}"#);
    let expected = serde_json::json!({ "pcap": "x", "flows": [right, wrong, missed, optional] });
    let lines = [
        flow(r#"{"src":"10.0.0.1","sport":1,"sni":"a","ja4":"x"}"#),
        flow(r#"{"src":"10.0.0.2","sport":443,"dst":"10.0.0.1","dport":2,"sni":"B","ja4":"y"}"#),
        flow(r#"{"src":"10.0.0.1","sport":9,"sni":"e"}"#),
    ];
    let mut score = Score::default();
    score.file(&expected, &lines);
    assert_eq!((score.flows, score.missed, score.extra, score.direction_wrong), (3, 1, 1, 1));
    assert_eq!((score.fields["sni"], score.fields["ja4"]), ((1, 3), (2, 2)));
    assert_eq!(score.fields["alpn"], (1, 1));
}

#[test]
fn a_reused_port_goes_to_the_line_that_agrees_most() {
    let first = flow(r#"{"src":"10.0.0.1","sport":1,"sni":"a","reused":true}"#);
    let second = flow(r#"{"src":"10.0.0.1","sport":1,"sni":"b","reused":true}"#);
    let expected = serde_json::json!({ "pcap": "x", "flows": [first.clone(), second.clone()] });
    let mut score = Score::default();
    score.file(&expected, &[second, first]);
    assert_eq!((score.fields["sni"], score.missed), ((2, 2), 0));
}
