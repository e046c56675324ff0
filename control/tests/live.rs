//! The live commands against a data plane that is a thread with a socket: what goes over the wire,
//! both ways.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use fastpath::ipc::{LcoreStatus, Page, Reply, Request, Status};
use fastpath::policy::learnt::Learnt;
use fastpath::policy::snapshot::Policy;
use fastpath::telemetry::event::{Outcome, Reason, Verdict, Visibility, Waste};
use fastpath::telemetry::grounds::Grounds;
use fastpath::telemetry::ledger::Ledger;
use fastpath::telemetry::line::{Confidence, ExchangeLine};

/// A data plane with one exchange in its ledger; answers until the process ends.
fn data_plane(name: &str) -> PathBuf {
    let path =
        std::env::temp_dir().join(format!("fermata-live-{}-{name}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || listener.incoming().for_each(|stream| serve(&stream.unwrap())));
    path
}

fn serve(stream: &UnixStream) {
    for line in BufReader::new(stream).lines() {
        let Ok(line) = line else { return };
        let mut text = serde_json::to_vec(&answer(&serde_json::from_str(&line).unwrap())).unwrap();
        text.push(b'\n');
        let mut out = stream;
        out.write_all(&text).unwrap();
    }
}

fn answer(request: &Request) -> Reply {
    let mut ledger = Ledger::default();
    ledger.add(&exchange());
    match request {
        Request::Status => {
            let (mode, version) = ("wire".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
            let lcores = vec![LcoreStatus { core: Some(1), ..LcoreStatus::default() }];
            Reply::Status(Box::new(Status { version, mode, lcores, ..Status::default() }))
        }
        Request::Endpoints => Reply::Endpoints(ledger.endpoints.server_rows()),
        Request::Clients => Reply::Clients(ledger.endpoints.client_rows()),
        Request::Flows { .. } => Reply::Flows(Vec::new()),
        Request::Exchanges { after: 0, .. } => {
            Reply::Exchanges(Page { rows: vec![exchange()], next: 1, missed: 0 })
        }
        Request::Exchanges { .. } => {
            Reply::Exchanges(Page { rows: Vec::new(), next: 1, missed: 0 })
        }
        Request::Events { .. } => Reply::Events(Page { rows: Vec::new(), next: 0, missed: 0 }),
        Request::Learnt => {
            let mut learnt = Learnt::default();
            learnt.http2.plain_marked = 3;
            Reply::Learnt(Some([("openai".to_owned(), learnt)].into()))
        }
        Request::Ledger => Reply::Ledger(Box::new(ledger.view())),
        Request::Policy | Request::Apply { .. } => {
            Reply::Policy(Box::new(Policy::catalogue().unwrap()))
        }
        Request::Savings => Reply::Savings(Box::default()),
        Request::Propagation => Reply::Propagation(Box::default()),
        Request::Backends => Reply::Backends(Box::default()),
        Request::Bypass { on } => Reply::Bypassed(*on),
    }
}

fn exchange() -> ExchangeLine {
    ExchangeLine {
        pcap: None,
        id: "x1".to_owned(),
        client: "198.51.100.11".to_owned(),
        client_port: 40_000,
        server: "192.0.2.1".to_owned(),
        server_port: 443,
        endpoint: Some("openai".to_owned()),
        endpoint_by: None,
        tenant: None,
        sni: Some("api.openai.com".to_owned()),
        visibility: Visibility::H1,
        from_middle: false,
        rtt_server_ms: None,
        rtt_client_ms: None,
        start: 1_795_349_153.934_962,
        first_byte: None,
        end: 1_795_349_154.0,
        closed: None,
        outcome: Outcome::ConnectFailed,
        attempt: 2,
        retry_of: Some("x0".to_owned()),
        hedge: false,
        restart: false,
        stall: None,
        confidence: Confidence { outcome: 0.98, retry: 0.99, endpoint: None },
        up_bucket: 1024,
        down_bucket: 1024,
        streamed: false,
        tokens_estimate: None,
        cost_usd: None,
        amended: None,
        waste: Some(Waste::Retry),
        verdict: Verdict::Pass,
        hold_ms: None,
        enforced: false,
        reason: Reason::WithinRetryBudget,
        grounds: Grounds::default(),
    }
}

fn stdout_of(name: &str, arguments: &[&str]) -> String {
    let socket = data_plane(name);
    let output = Command::new(env!("CARGO_BIN_EXE_fermata"))
        .args(arguments)
        .arg("--socket")
        .arg(&socket)
        .output()
        .unwrap();
    let _ = std::fs::remove_file(&socket);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn endpoints_and_clients_are_tables_of_the_ledger() {
    assert!(stdout_of("endpoints", &["endpoints"]).contains("openai"));
    assert!(stdout_of("clients", &["clients"]).contains("198.51.100.11"));
}

#[test]
fn an_exchange_is_the_same_line_live_as_it_was_sent() {
    let text = stdout_of("exchanges", &["exchanges", "-o", "jsonl"]);
    assert_eq!(serde_json::from_str::<ExchangeLine>(&text).unwrap(), exchange());
}

#[test]
fn an_exchange_that_is_remembered_is_explained_and_another_is_not() {
    let text = stdout_of("explain", &["explain", "x1"]);
    for said in ["connect_failed", "attempt 2, a retry of x0", "within the retry budget"] {
        assert!(text.contains(said), "{said} is missing in\n{text}");
    }
}

#[test]
fn the_bypass_says_what_it_is_now() {
    assert!(stdout_of("bypass-on", &["bypass", "on"]).starts_with("Bypassed: nothing acts"));
    let off = stdout_of("bypass-off", &["bypass", "off", "-o", "json"]);
    let off: serde_json::Value = serde_json::from_str(&off).unwrap();
    assert_eq!(off, serde_json::json!({ "bypassed": false }));
}

#[test]
fn no_events_yet_is_a_heading() {
    assert!(stdout_of("events", &["events"]).starts_with("TIME"));
}

#[test]
fn top_prints_one_frame_where_there_is_no_terminal() {
    let frame = stdout_of("top", &["top"]);
    for text in ["wire mode", "core 1", "openai", "198.51.100.11"] {
        assert!(frame.contains(text), "{text} is missing in\n{frame}");
    }
}

#[test]
fn watch_tells_what_was_waste() {
    let socket = data_plane("watch");
    let mut child = Command::new(env!("CARGO_BIN_EXE_fermata"))
        .args(["watch", "--backlog", "--socket"])
        .arg(&socket)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let line = BufReader::new(child.stdout.take().unwrap()).lines().next().unwrap().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    for text in ["12:05:54.000  connect_failed ", "198.51.100.11 -> openai", "waste: retry"] {
        assert!(line.contains(text), "{text} is missing in\n{line}");
    }
}

/// `fermata top` in a terminal of 100 columns and 30 rows, which `script` makes.
fn in_a_terminal(name: &str, colours: bool) -> (Child, ChildStdin, BufReader<ChildStdout>) {
    let socket = data_plane(name);
    let no_color = if colours { "" } else { "NO_COLOR=1 " };
    let program = env!("CARGO_BIN_EXE_fermata");
    let command = format!(
        "stty rows 30 cols 100; {no_color}{program} top --every 3600 --socket {}",
        socket.display()
    );
    let mut child = Command::new("script")
        .args(["-qefc", &command, "/dev/null"])
        .env("TERM", "xterm")
        .env("SHELL", "/bin/sh")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (keys, screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    (child, keys, BufReader::new(screen))
}

/// Reads until `text` has been drawn; gives everything until then.
fn drawn(screen: &mut BufReader<ChildStdout>, text: &str) -> String {
    let mut all = Vec::new();
    while !String::from_utf8_lossy(&all).contains(text) {
        let mut byte = [0];
        let read = screen.read_exact(&mut byte);
        assert!(read.is_ok(), "{text} is not drawn:\n{}", String::from_utf8_lossy(&all));
        all.push(byte[0]);
    }
    String::from_utf8_lossy(&all).into_owned()
}

#[test]
fn top_in_a_terminal_answers_keys_and_leaves_it_as_it_was() {
    let (mut child, mut keys, mut screen) = in_a_terminal("top-keys", true);
    let first = drawn(&mut screen, "6 data plane");
    assert!(first.contains("\x1b[?1049h"), "the alternate screen");
    assert!(first.contains("[1 overview]") && first.contains("\x1b[1m"), "{first}");
    keys.write_all(b"2").unwrap();
    let second = drawn(&mut screen, "[2 backends]");
    assert!(second.contains("Backends and what is held"), "{second}");
    assert!(
        !second.contains("fermata-fastpath"),
        "what has not changed is not sent again: {second}"
    );
    keys.write_all(b"?").unwrap();
    drawn(&mut screen, "this help");
    keys.write_all(b"q").unwrap();
    drawn(&mut screen, "\x1b[?1049l");
    assert!(child.wait().unwrap().success());
}

#[test]
fn top_without_colours_says_the_same() {
    let (mut child, mut keys, mut screen) = in_a_terminal("top-plain", false);
    let frame = drawn(&mut screen, "6 data plane");
    assert!(frame.contains("[1 overview]") && frame.contains("openai"), "{frame}");
    assert!(!frame.contains("\x1b[1m") && !frame.contains("\x1b[2m"), "{frame}");
    keys.write_all(b"q").unwrap();
    drawn(&mut screen, "\x1b[?1049l");
    assert!(child.wait().unwrap().success());
}
