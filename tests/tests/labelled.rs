//! Small labelled captures (`scripts/lab-capture`) of kinds that no rule was made with: hedged
//! requests, TLS 1.2, an inference server without TLS. The truth is the servers' and the clients'
//! own; the bars are wide, for each capture is one run of its kind.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use fastpath::policy::snapshot::{Policy, Snapshot};
use fastpath::replay::replay;
use fastpath::telemetry::event::Event;
use fastpath::telemetry::line::ExchangeLine;
use serde_json::Value;

/// A connection: client, its port, server.
type Connection = (String, u64, String);

/// What was seen of a kind of claim.
#[derive(Debug, Default)]
struct Claims {
    /// Requests it is true of.
    happened: usize,
    /// Exchanges that claim it.
    claimed: usize,
    /// Claims that are true.
    right: usize,
}

impl Claims {
    fn count(&mut self, happened: bool, claimed: bool) {
        self.happened += usize::from(happened);
        self.claimed += usize::from(claimed);
        self.right += usize::from(happened && claimed);
    }

    /// Claims that are not true.
    fn invented(&self) -> usize {
        self.claimed - self.right
    }

    /// At least this share of what happened was seen.
    fn seen(&self, share: f64) -> bool {
        self.right as f64 >= share * self.happened as f64
    }
}

/// What became of a whole capture.
#[derive(Debug, Default)]
struct Figures {
    /// Requests that happened.
    requests: usize,
    /// Exchanges that were seen.
    exchanges: usize,
    /// Requests on connections with the right number of exchanges: the others are not judged.
    paired: usize,
    /// Outcomes that are right.
    outcomes: usize,
    retries: Claims,
    hedges: Claims,
    aborts: Claims,
}

impl Figures {
    fn judge(&mut self, request: &Value, exchange: &Value) {
        let outcome = exchange["outcome"].as_str().unwrap();
        self.paired += 1;
        self.outcomes += usize::from(accepts(request, outcome));
        self.retries.count(request["is_retry"] == true, !exchange["retry_of"].is_null());
        self.hedges.count(request["is_hedge"] == true, exchange["hedge"] == true);
        let (left, stalled) = (request["end"] == "client_abort", outcome == "stalled");
        self.aborts.count(left, outcome == "client_abort" || left && stalled);
    }
}

/// The outcomes that are right for a request.
fn accepts(request: &Value, outcome: &str) -> bool {
    let answered = request["t_first"].as_f64().unwrap() > 0.0;
    let unread = matches!(request["client_out"].as_str(), Some("cancelled" | "hedge_loser"));
    let stalled = !request["note"].is_null() && outcome == "stalled";
    match (request["end"].as_str().unwrap(), request["status"].as_u64().unwrap()) {
        ("complete", 400..) => matches!(outcome, "failed" | "throttled"),
        ("complete", _) if unread => matches!(outcome, "complete" | "client_abort"),
        ("complete", _) => outcome == "complete",
        ("client_abort", _) => outcome == "client_abort" || stalled,
        _ if answered => matches!(outcome, "server_abort" | "truncated") || stalled,
        _ => matches!(outcome, "server_abort" | "connect_failed"),
    }
}

fn connection(line: &Value, port: &str) -> Connection {
    let text = |field: &str| line[field].as_str().unwrap().to_owned();
    (text("client"), line[port].as_u64().unwrap(), text("server"))
}

/// Lines by connection, in the order of time.
fn by_connection(lines: Vec<Value>, port: &str, time: &str) -> BTreeMap<Connection, Vec<Value>> {
    let mut connections: BTreeMap<Connection, Vec<Value>> = BTreeMap::new();
    for line in lines {
        connections.entry(connection(&line, port)).or_default().push(line);
    }
    let at = |line: &Value| line[time].as_f64().unwrap();
    for lines in connections.values_mut() {
        lines.sort_by(|one, other| at(one).total_cmp(&at(other)));
    }
    connections
}

/// Replays a capture of the lab and judges it.
fn figures(name: &str) -> Figures {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("lab/captures");
    let snapshot = Arc::new(Snapshot::compile(Policy::catalogue().unwrap()).unwrap());
    let (told, mut exchanges) = (Arc::clone(&snapshot), Vec::new());
    replay(
        &folder.join(format!("{name}.pcap")),
        snapshot,
        |event, outlets| {
            if let Event::Exchange(exchange) = event {
                let line = ExchangeLine::new(exchange, &outlets.names, &told);
                exchanges.push(serde_json::to_value(&line).unwrap());
            }
        },
        |_| {},
    )
    .unwrap();
    let truth = std::fs::read_to_string(folder.join(format!("{name}.truth.jsonl"))).unwrap();
    let truth: Vec<Value> = truth.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut figures =
        Figures { requests: truth.len(), exchanges: exchanges.len(), ..Figures::default() };
    let seen = by_connection(exchanges, "client_port", "start");
    for (key, requests) in by_connection(truth, "port", "t_hdr") {
        let found = seen.get(&key).map_or(&[][..], Vec::as_slice);
        if found.len() == requests.len() {
            requests.iter().zip(found).for_each(|(one, other)| figures.judge(one, other));
        }
    }
    println!("{name}: {figures:?}");
    figures
}

#[test]
fn hedged_requests_are_told_from_retries() {
    let figures = figures("hedge");
    assert_eq!((figures.exchanges, figures.paired), (figures.requests, figures.requests));
    assert!(figures.outcomes * 100 >= figures.requests * 95, "{figures:?}");
    assert!(figures.hedges.seen(0.75) && figures.hedges.invented() <= 1, "{figures:?}");
    assert!(figures.retries.invented() <= 1, "{figures:?}");
}

#[test]
fn requests_in_tls_1_2_are_judged_as_those_in_tls_1_3() {
    let figures = figures("tls12");
    assert_eq!((figures.exchanges, figures.paired), (figures.requests, figures.requests));
    assert!(figures.outcomes * 100 >= figures.requests * 93, "{figures:?}");
    assert!(figures.retries.seen(0.85) && figures.retries.invented() <= 2, "{figures:?}");
    assert!(figures.aborts.seen(0.8) && figures.aborts.invented() == 0, "{figures:?}");
}

#[test]
fn requests_without_tls_are_split_and_their_aborts_and_retries_are_found() {
    let figures = figures("plain");
    assert_eq!((figures.exchanges, figures.paired), (figures.requests, figures.requests));
    assert!(figures.aborts.seen(0.8), "{figures:?}");
    assert!(figures.retries.seen(0.25) && figures.retries.invented() <= 2, "{figures:?}");
}
