//! `fermata export` against a data plane that is a thread with a socket, read by the programs that
//! others use: promtool, nfcapd, tshark. A program that is absent skips its test with a message.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use fastpath::ipc::{Page, Reply, Request, Status};
use fastpath::telemetry::event::{Outcome, Reason, Verdict, Visibility, Waste};
use fastpath::telemetry::grounds::Grounds;
use fastpath::telemetry::ledger::Ledger;
use fastpath::telemetry::line::{Confidence, ExchangeLine};
use serde_json::Value;

/// A data plane with two exchanges, one of them over IPv6; answers until the process ends.
fn data_plane(name: &str) -> PathBuf {
    let path = scratch(name).join("plane.sock");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || serve(&stream.unwrap()));
        }
    });
    path
}

/// An empty directory of this test.
fn scratch(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("fermata-export-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

fn serve(stream: &UnixStream) {
    for line in BufReader::new(stream).lines() {
        let Ok(line) = line else { return };
        let mut text = serde_json::to_vec(&answer(&serde_json::from_str(&line).unwrap())).unwrap();
        text.push(b'\n');
        let mut out = stream;
        if out.write_all(&text).is_err() {
            return;
        }
    }
}

fn answer(request: &Request) -> Reply {
    let mut ledger = Ledger::default();
    exchanges().iter().for_each(|exchange| ledger.add(exchange));
    match request {
        Request::Status => {
            let mut status = Status { pid: 7, mode: "wire".to_owned(), ..Status::default() };
            status.frames.drops.insert("port.tx_ring_full".to_owned(), 3);
            Reply::Status(Box::new(status))
        }
        Request::Ledger => Reply::Ledger(Box::new(ledger.view())),
        Request::Savings => Reply::Savings(Box::default()),
        Request::Backends => Reply::Backends(Box::default()),
        Request::Exchanges { after: 0, .. } => {
            Reply::Exchanges(Page { rows: exchanges(), next: 2, missed: 0 })
        }
        Request::Exchanges { .. } => {
            Reply::Exchanges(Page { rows: Vec::new(), next: 2, missed: 0 })
        }
        Request::Events { .. } => Reply::Events(Page { rows: Vec::new(), next: 0, missed: 0 }),
        other => panic!("no exporter asks for {other:?}"),
    }
}

fn exchanges() -> Vec<ExchangeLine> {
    let v4 = ExchangeLine {
        pcap: None,
        id: "x57".to_owned(),
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
        start: 1_795_349_153.934,
        first_byte: Some(1_795_349_154.434),
        end: 1_795_349_155.0,
        closed: None,
        outcome: Outcome::Failed,
        attempt: 2,
        retry_of: Some("x56".to_owned()),
        hedge: false,
        restart: false,
        stall: None,
        confidence: Confidence { outcome: 0.98, retry: 0.99, endpoint: None },
        up_bucket: 2048,
        down_bucket: 65_536,
        streamed: false,
        tokens_estimate: Some([8.0, 10.0, 12.0]),
        cost_usd: None,
        amended: None,
        waste: Some(Waste::Retry),
        verdict: Verdict::Hold,
        hold_ms: Some(1200),
        enforced: false,
        reason: Reason::OverRetryBudget,
        grounds: Grounds::default(),
    };
    let v6 = ExchangeLine {
        id: "x58".to_owned(),
        client: "2001:db8::7".to_owned(),
        server: "2001:db8::1".to_owned(),
        waste: None,
        ..v4.clone()
    };
    vec![v4, v6]
}

/// The command, ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn fermata(socket: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fermata"));
    command.arg("export").args(arguments).arg("--socket").arg(socket);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Whether a program is there; says which package has it where it is not.
fn have(program: &str, package: &str) -> bool {
    let there = Command::new(program).arg("-h").output().is_ok();
    if !there {
        eprintln!("skipped: {program} is not there (apt-get install {package})");
    }
    there
}

fn given(program: &mut Command, input: &[u8]) -> Output {
    let spawned = program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = spawned.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

fn metrics(name: &str, more: &[&str]) -> Vec<u8> {
    let socket = data_plane(name);
    let arguments = [&["prometheus", "--once", "--clients"], more].concat();
    let output = fermata(&socket, &arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn promtool_finds_nothing_wrong_with_the_metrics() {
    if !have("promtool", "prometheus") {
        return;
    }
    let text = metrics("promtool", &[]);
    let output = given(Command::new("promtool").args(["check", "metrics"]), &text);
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

#[test]
fn the_parser_of_openmetrics_takes_the_metrics() {
    let parse = "import sys\n\
        from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse\n\
        print(sum(len(family.samples) for family in parse(sys.stdin.read())))";
    let text = metrics("openmetrics", &["--openmetrics"]);
    let output = given(Command::new("python3").args(["-c", parse]), &text);
    let stderr = String::from_utf8_lossy(&output.stderr);
    if stderr.contains("ModuleNotFoundError") {
        eprintln!("skipped: apt-get install python3-prometheus-client");
        return;
    }
    assert!(output.status.success(), "{stderr}");
    let samples = text.split(|&b| b == b'\n').filter(|l| !l.is_empty() && l[0] != b'#').count();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), samples.to_string());
}

#[test]
fn promtool_takes_the_alert_rules_and_what_they_are_tested_by() {
    if !have("promtool", "prometheus") {
        return;
    }
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/prometheus");
    for arguments in
        [["check", "rules", "fermata.rules.yaml"], ["test", "rules", "fermata.rules.test.yaml"]]
    {
        let output =
            Command::new("promtool").args(arguments).current_dir(&directory).output().unwrap();
        let said =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
    }
}

#[test]
fn promtool_takes_every_query_of_the_dashboards() {
    if !have("promtool", "prometheus") {
        return;
    }
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/grafana");
    let mut rules = "groups:\n  - name: queries\n    rules:\n".to_owned();
    for file in std::fs::read_dir(directory).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let dashboard: Value = serde_json::from_str(&text).unwrap();
        for panel in dashboard["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let query = target["expr"].as_str().unwrap().replace("$__rate_interval", "5m");
                let query = serde_json::to_string(&query).unwrap();
                let _ = writeln!(rules, "      - record: query\n        expr: {query}");
            }
        }
    }
    assert!(rules.lines().count() > 100);
    let path = scratch("queries").join("queries.yaml");
    std::fs::write(&path, rules).unwrap();
    let output = Command::new("promtool").args(["check", "rules"]).arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    // The rules all have one name, which is no more than a warning.
    assert!(output.status.success(), "{said}");
}

/// An exporter that listens, and where.
fn listening(socket: &Path) -> (Running, String) {
    let arguments = ["prometheus", "--listen", "127.0.0.1:0"];
    let mut child = fermata(socket, &arguments).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let address = lines
        .filter_map(|line| line.split_once("http://").map(|(_, url)| url.to_owned()))
        .next()
        .unwrap();
    (Running(child), address.trim_end_matches("/metrics").to_owned())
}

fn get(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{request}\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn metrics_are_fetched_in_the_form_that_is_asked_for() {
    let (_running, address) = listening(&data_plane("fetched"));
    let text = get(&address, "GET /metrics HTTP/1.1");
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    assert!(text.contains("content-type: text/plain; version=0.0.4"), "{text}");
    for sample in [
        "\nfermata_up 1\n",
        "\nfermata_dropped_frames_total{reason=\"port.tx_ring_full\"} 3\n",
        "\nfermata_exchanges_total{endpoint=\"openai\",outcome=\"failed\"} 2\n",
        "\nfermata_export_records_total{exporter=\"openmetrics\"} 0\n",
    ] {
        assert!(text.contains(sample), "{sample} is missing in\n{text}");
    }
    assert!(!text.contains("198.51.100.11"), "client addresses were not asked for");
    let accept = "GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text; version=1.0.0";
    let text = get(&address, accept);
    assert!(text.contains("content-type: application/openmetrics-text"), "{text}");
    assert!(text.ends_with("# EOF\n"), "{text}");
    assert!(get(&address, "GET / HTTP/1.1").starts_with("HTTP/1.1 404 "));
    assert!(get(&address, "POST /metrics HTTP/1.1").starts_with("HTTP/1.1 405 "));
}

#[test]
fn a_data_plane_that_is_away_is_told_as_down() {
    let (_running, address) = listening(&scratch("away").join("no.sock"));
    let text = get(&address, "GET /metrics HTTP/1.1");
    assert!(text.contains("\nfermata_up 0\n"), "{text}");
}

#[test]
fn an_address_that_is_taken_is_an_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let arguments = ["prometheus", "--listen", &address];
    let output = fermata(&data_plane("taken"), &arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(&format!("{address}: cannot listen there")), "{said}");
}

#[test]
fn lines_on_standard_output_are_those_of_the_contract() {
    let mut child = fermata(&data_plane("lines"), &["jsonl", "--backlog"]).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let read: Vec<ExchangeLine> =
        lines.take(2).map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    drop(Running(child));
    assert_eq!(read, exchanges());
}

/// Runs an IPFIX exporter until `done` has seen what it wants.
fn export_ipfix<T>(name: &str, port: u16, done: impl FnOnce() -> T) -> T {
    let to = format!("udp://127.0.0.1:{port}");
    let arguments = ["ipfix", "--to", &to, "--backlog"];
    let _running = Running(fermata(&data_plane(name), &arguments).spawn().unwrap());
    done()
}

#[test]
fn tshark_reads_the_messages() {
    if !have("tshark", "tshark") || !have("text2pcap", "wireshark-common") {
        return;
    }
    let collector = UdpSocket::bind("127.0.0.1:0").unwrap();
    let messages = export_ipfix("tshark", collector.local_addr().unwrap().port(), || {
        // Templates, what the elements are, and the records.
        [(); 3].map(|()| {
            let mut buffer = vec![0; 2000];
            let length = collector.recv(&mut buffer).unwrap();
            buffer.truncate(length);
            buffer
        })
    });
    let mut dump = String::new();
    for message in &messages {
        for (at, line) in message.chunks(16).enumerate() {
            let _ = write!(dump, "{:06x}", at * 16);
            line.iter().for_each(|byte| write!(dump, " {byte:02x}").unwrap());
            dump.push('\n');
        }
    }
    let directory = scratch("tshark-files");
    let (text, pcap) = (directory.join("messages.txt"), directory.join("messages.pcap"));
    std::fs::write(&text, dump).unwrap();
    let made = Command::new("text2pcap").args(["-u", "4739,4739"]).arg(&text).arg(&pcap).output();
    assert!(made.unwrap().status.success());
    let read = Command::new("tshark").arg("-Vr").arg(&pcap).output().unwrap();
    let read = String::from_utf8_lossy(&read.stdout).into_owned();
    assert!(!read.contains("Malformed") && !read.contains("No template found"), "{read}");
    for said in [
        "SrcAddr: 198.51.100.11",
        "DstAddr: 2001:db8::1",
        "SrcPort: 40000",
        "DstPort: 443",
        "Initiator Octets: 2048",
        "Responder Octets: 65536",
        "Information Element Name: outcome",
    ] {
        assert!(read.contains(said), "{said} is missing in\n{read}");
    }
}

#[test]
fn nfdump_reads_what_nfcapd_has_collected() {
    if !have("nfcapd", "nfdump") || !have("nfdump", "nfdump") {
        return;
    }
    let directory = scratch("nfcapd-files");
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    // It prints each record as it takes it, which is how the test knows.
    let mut collector = Command::new("stdbuf")
        .args(["-oL", "nfcapd", "-E", "-b", "127.0.0.1", "-p", &port.to_string(), "-w"])
        .arg(&directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(collector.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut printed = BufReader::new(collector.stdout.take().unwrap()).lines().map(Result::unwrap);
    let ready = said.find(|line| line.contains("Startup") || line.contains("Listen"));
    assert!(ready.is_some(), "nfcapd ended before it was ready");
    export_ipfix("nfcapd", port, || {
        let seen = printed.by_ref().filter(|line| line.contains("src addr"));
        assert_eq!(seen.take(2).count(), 2, "two records are taken");
    });
    // Asked to end, it writes what it has.
    let pid = collector.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let ended = std::thread::spawn(move || printed.last());
    collector.wait().unwrap();
    ended.join().unwrap();
    let read = Command::new("nfdump").arg("-R").arg(&directory).args(["-o", "csv"]).output();
    let read = String::from_utf8_lossy(&read.unwrap().stdout).into_owned();
    for said in ["198.51.100.11", "192.0.2.1", "2001:db8::7", "40000", "443", "2048"] {
        assert!(read.contains(said), "{said} is missing in\n{read}");
    }
}
