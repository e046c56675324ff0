//! The command as a process: exit codes and errors of the contract.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

fn fermata(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fermata")).args(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A file with `text`, in a directory of this process.
fn file(name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("fermata-cli-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// A classic pcap without a packet.
fn empty_capture(name: &str) -> PathBuf {
    let head: [u32; 6] = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 1];
    file(name, head.map(u32::to_le_bytes).concat())
}

#[test]
fn a_missing_capture_is_exit_code_1_with_path_and_hint() {
    let output = fermata(&["assess", "/nonexistent/x.pcap"]);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(text.starts_with("error: /nonexistent/x.pcap: "), "{text}");
    assert!(text.contains("check the path"), "{text}");
}

#[test]
fn with_json_an_error_is_the_object_of_the_contract() {
    let output = fermata(&["exchanges", "--read", "/nonexistent/x.pcap", "-o", "jsonl"]);
    let value: serde_json::Value = serde_json::from_str(&stderr(&output)).unwrap();
    assert_eq!(value["error"]["path"], "/nonexistent/x.pcap");
    for key in ["code", "message", "hint"] {
        assert!(value["error"][key].is_string(), "{key}");
    }
}

#[test]
fn what_is_no_capture_is_exit_code_1() {
    let path = file("text.pcap", "this is a text and no capture at all, whatever its name says");
    let output = fermata(&["flows", "--read", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(output.stdout.is_empty() || !stderr(&output).is_empty());
}

#[test]
fn a_capture_without_packets_is_a_report_that_says_so() {
    let path = empty_capture("empty.pcap");
    let output = fermata(&["assess", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("No request was seen."));
}

#[test]
fn one_unreadable_capture_of_two_is_exit_code_6() {
    let path = empty_capture("readable.pcap");
    let output = fermata(&["assess", path.to_str().unwrap(), "/nonexistent/y.pcap"]);
    assert_eq!(output.status.code(), Some(6), "{}", stderr(&output));
    assert!(stderr(&output).contains("/nonexistent/y.pcap"));
}

#[test]
fn a_capture_that_breaks_off_is_read_as_far_as_it_goes_and_is_exit_code_6() {
    let head: [u32; 6] = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 1];
    let packet: [u32; 4] = [1_700_000_000, 0, 60, 60];
    let words = [&head[..], &packet[..]].concat();
    let path =
        file("cut.pcap", words.into_iter().map(u32::to_le_bytes).collect::<Vec<_>>().concat());
    let output = fermata(&["assess", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(6), "{}", stderr(&output));
    assert!(stderr(&output).contains("read in part: the file is cut off"), "{}", stderr(&output));
}

#[test]
fn no_readable_capture_of_two_is_exit_code_1() {
    let output = fermata(&["assess", "/nonexistent/x.pcap", "/nonexistent/y.pcap"]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn an_unknown_field_in_a_policy_is_exit_code_3_with_line_and_suggestion() {
    let text = "apiVersion: fermata.dev/v1alpha1\nkind: Endpoint\nmetadata: { name: a }\nspec:\n  hots: [a.b]\n";
    let path = file("policy.yaml", text);
    let output = fermata(&["validate", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(3));
    let text = stderr(&output);
    assert!(text.contains("policy.yaml:5: spec.hots: unknown field `hots`"), "{text}");
    assert!(text.contains("did you mean `hosts`?"), "{text}");
}

#[test]
fn the_example_policy_is_valid() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples/policy.yaml");
    assert_eq!(fermata(&["validate", example]).status.code(), Some(0));
}

#[test]
fn wrong_usage_is_exit_code_4() {
    for arguments in [
        &["assess"][..],
        &["nonsense"],
        &[],
        &["flows", "--limit", "many"],
        &["events", "--policy", "p.yaml"],
    ] {
        assert_eq!(fermata(arguments).status.code(), Some(4), "{arguments:?}");
    }
    let output = fermata(&["assess", "-o", "json"]);
    let value: serde_json::Value = serde_json::from_str(&stderr(&output)).unwrap();
    assert_eq!(value["error"]["code"], "usage");
}

#[test]
fn no_data_plane_is_exit_code_5_and_says_how_to_start_one() {
    for command in ["flows", "endpoints", "clients", "exchanges", "events", "top"] {
        let output = fermata(&[command, "--socket", "/nonexistent/fermata.sock"]);
        assert_eq!(output.status.code(), Some(5), "{command}");
        assert!(stderr(&output).contains("fermata-fastpath"), "{command}");
    }
}

#[test]
fn check_without_a_data_plane_finds_that() {
    let output = fermata(&["check", "--socket", "/nonexistent/fermata.sock", "-o", "json"]);
    assert_eq!(output.status.code(), Some(2));
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = value.as_array().unwrap();
    assert!(findings.iter().any(|f| f["name"] == "data plane" && f["level"] == "fail"));
}

#[test]
fn help_version_and_completions_are_exit_code_0() {
    for arguments in [
        &["--help"][..],
        &["assess", "--help"],
        &["--version"],
        &["version"],
        &["completions", "bash"],
    ] {
        let output = fermata(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(!output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_reader_that_goes_away_ends_the_command_quietly() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_fermata"))
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty(), "{}", stderr(&output));
}

#[test]
fn a_capture_of_beginnings_is_told_from_a_capture() {
    let whole = include_bytes!("../../tests/lab/captures/lab.pcap");
    let cut = file("beginnings.pcap", with_snaplen(whole, 300));
    let run = fermata(&["assess", cut.to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&run.stdout).contains("only the beginning of its frames"));
}

const LAB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/lab/captures/lab.pcap");

/// The first exchange of the lab's capture that is as asked for.
fn lab_exchange(wanted: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
    let output = fermata(&["exchanges", "--read", LAB, "-o", "jsonl"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.find(|line| wanted(line)).expect("the lab's capture has one")
}

/// What `explain` says of an exchange, as one line.
fn explained(exchange: &serde_json::Value) -> String {
    let id = exchange["id"].as_str().unwrap();
    let output = fermata(&["explain", "--read", LAB, id]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_report_of_the_lab_stands_alone_and_its_starter_policy_is_valid() {
    let directory = std::env::temp_dir().join(format!("fermata-report-{}", std::process::id()));
    let out = directory.to_str().unwrap();
    let output = fermata(&["assess", LAB, "--out", out]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let file = |name: &str| std::fs::read_to_string(directory.join(name)).unwrap();
    let page = file("report.html");
    for outside in ["http://", "https://", "<script", "<link", "@import", "src="] {
        assert!(!page.contains(outside), "{outside}");
    }
    let report: serde_json::Value = serde_json::from_str(&file("report.json")).unwrap();
    for cause in report["causes"].as_array().unwrap() {
        let id = &cause["evidence"][0]["exchange"];
        let shown = lab_exchange(|x| x["id"] == *id);
        assert_eq!(shown["waste"], cause["waste"]);
        assert_eq!(shown["endpoint"], cause["endpoint"]);
    }
    assert!(page.contains(report["causes"][0]["evidence"][0]["exchange"].as_str().unwrap()));
    let policy = directory.join("policy.yaml");
    let policy = policy.to_str().unwrap();
    assert_eq!(fermata(&["validate", policy]).status.code(), Some(0));
    let wasted = |arguments: &[&str]| {
        let value: serde_json::Value = serde_json::from_slice(&fermata(arguments).stdout).unwrap();
        value["waste"].clone()
    };
    let again = wasted(&["assess", LAB, "--policy", policy, "-o", "json"]);
    assert_eq!(again, report["waste"], "the endpoints are those of the catalogue");
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn healthy_traffic_is_reported_without_waste() {
    let capture =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/captures/healthy/capture.pcap");
    if !std::path::Path::new(capture).exists() {
        eprintln!("skipped: {capture} is absent");
        return;
    }
    let output = fermata(&["assess", capture, "-o", "json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["totals"]["exchanges"].as_u64().unwrap() > 100);
    assert_eq!(report["waste"]["exchanges"], 0);
    assert_eq!(report["causes"].as_array().unwrap().len(), 0);
}

#[test]
fn a_retry_that_would_have_been_held_is_explained_with_rule_law_and_figures() {
    let held = lab_exchange(|x| x["reason"] == "over_retry_budget" && x["outcome"] == "failed");
    let text = explained(&held);
    let before = held["retry_of"].as_str().unwrap();
    for said in [
        &format!("Retry of {before}: "),
        &format!("Attempt before {before}: attempt"),
        "between this one and it was a gap of",
        "log-likelihood ratio",
        "at most 2,200 bytes",
        "names the name in the ClientHello, confidence 1.00",
        "hold (shadow): a retry over the retry budget",
        "10 retries for a hundred first attempts and 0.1 a second",
        "nothing was held",
    ] {
        assert!(text.contains(said), "{said} is missing in {text}");
    }
}

#[test]
fn an_abort_is_explained_by_who_closed_and_its_tokens_by_the_calibration() {
    let left = lab_exchange(|x| x["waste"] == "late_abort" && !x["tokens_estimate"].is_null());
    let text = explained(&left);
    for said in [
        "Ended by the client: it closed the connection first",
        "while the response was under way",
        "Calibration of streams:",
        "give or take",
        "what had been made was thrown away",
    ] {
        assert!(text.contains(said), "{said} is missing in {text}");
    }
    let [low, likely, high] = [0, 1, 2].map(|i| left["tokens_estimate"][i].as_f64().unwrap());
    assert!(text.contains(&format!("Output tokens {likely} ({low} to {high})")), "{text}");
}

#[test]
fn an_explanation_is_one_json_object_for_programs() {
    let output = fermata(&["explain", "--read", LAB, "x1", "-o", "json"]);
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["exchange"]["id"], "x1");
    assert!(value["flow"]["ja4"].is_string());
    let sections: Vec<_> = value["sections"].as_array().unwrap().iter().collect();
    assert!(sections.iter().any(|section| section["title"] == "Outcome"));
}

#[test]
fn an_unknown_exchange_is_exit_code_1_and_names_those_there_are() {
    let output = fermata(&["explain", "--read", LAB, "x100000"]);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(text.contains("no exchange x100000: there are 90, from x1 to x90"), "{text}");
    assert_eq!(fermata(&["explain", "--read", LAB, "57"]).status.code(), Some(4));
}

/// A classic pcap, little-endian, with no packet longer than `snaplen`.
fn with_snaplen(capture: &[u8], snaplen: usize) -> Vec<u8> {
    let (head, mut rest) = capture.split_at(24);
    let mut out = head.to_vec();
    while let Some((header, tail)) = rest.split_at_checked(16) {
        let held = u32::from_le_bytes(header[8..12].try_into().unwrap()) as usize;
        let kept = held.min(snaplen);
        out.extend_from_slice(&header[..8]);
        out.extend_from_slice(&u32::try_from(kept).unwrap().to_le_bytes());
        out.extend_from_slice(&header[12..]);
        out.extend_from_slice(&tail[..kept]);
        rest = &tail[held..];
    }
    out
}
