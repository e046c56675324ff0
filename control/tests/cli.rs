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
