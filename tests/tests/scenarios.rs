//! Scenarios: text in, frames through the loop, text out. A folder of `scenarios/` is a case; its
//! README says how one is written. `FERMATA_BLESS=1 cargo test -p tests --test scenarios` writes
//! every expectation anew.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use fastpath::telemetry::line::{EventLine, ExchangeLine, FlowLine};
use tests::play::{self, Told};
use tests::scenario::{START, Scenario};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios")
}

/// Milliseconds since the scenario's zero, to the tenth.
fn millis(seconds: f64) -> String {
    format!("{:.1}", (seconds - START.secs_f64()) * 1e3)
}

fn word(value: impl serde::Serialize) -> String {
    serde_json::to_string(&value).unwrap().trim_matches('"').to_owned()
}

fn hello(line: &FlowLine, scenario: &Scenario) -> String {
    let on = scenario.name(&line.src, line.sport);
    format!(
        "hello on {on}: {} alpn {} endpoint {}",
        word(&line.sni),
        line.alpn.join(","),
        word(&line.endpoint)
    )
}

fn exchange(line: &ExchangeLine, scenario: &Scenario) -> String {
    let on = scenario.name(&line.client, line.client_port);
    let mut text = format!(
        "exchange {} on {on}: {} {} attempt {} waste {} start {} first {} end {} up {} down {}",
        line.id,
        word(line.visibility),
        line.outcome.name(),
        line.attempt,
        word(line.waste),
        millis(line.start),
        line.first_byte.map_or("null".to_owned(), millis),
        millis(line.end),
        line.up_bucket,
        line.down_bucket,
    );
    if let Some(id) = &line.retry_of {
        write!(text, " retry_of {id}").unwrap();
    }
    for (flag, name) in [(line.hedge, " hedge"), (line.restart, " restart")] {
        text.push_str(if flag { name } else { "" });
    }
    if let Some(stall) = line.stall {
        write!(text, " stall {stall}").unwrap();
    }
    text
}

fn signal(line: &EventLine) -> String {
    let mut text = format!(
        "{} {} of {}: {} {}",
        word(line.event),
        word(line.kind),
        line.exchange,
        line.value,
        line.unit
    );
    if let Some(episode) = &line.episode {
        write!(
            text,
            ", {} of {} at {} since {}: {} exchanges, {} in vain",
            word(episode.phase),
            word(episode.scope),
            millis(line.time),
            millis(episode.began),
            episode.exchanges,
            episode.in_vain
        )
        .unwrap();
    }
    text
}

/// Everything that was told, a line each.
fn render(told: &Told, scenario: &Scenario) -> String {
    let mut lines: Vec<String> = Vec::new();
    lines.extend(told.flows.iter().map(|line| hello(line, scenario)));
    lines.extend(told.exchanges.iter().map(|line| exchange(line, scenario)));
    lines.extend(told.events.iter().map(signal));
    lines.push(String::new());
    lines.join("\n")
}

fn names() -> Vec<String> {
    let entries = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap());
    let folders = entries.filter(|entry| entry.path().is_dir());
    let mut names: Vec<String> =
        folders.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn played(name: &str) -> (String, Told) {
    let text = std::fs::read_to_string(folder().join(name).join("scenario.txt")).unwrap();
    let scenario = Scenario::read(&text).unwrap_or_else(|e| panic!("{name}/scenario.txt, {e}"));
    let run = play::frames(scenario.arrivals());
    assert!(run.totals.port.balanced(), "{name}");
    (render(&run.told, &scenario), run.told)
}

#[test]
fn every_scenario_gives_what_it_expects() {
    let mut differ = Vec::new();
    for name in names() {
        let (told, _) = played(&name);
        let path = folder().join(&name).join("expect.txt");
        if std::env::var_os("FERMATA_BLESS").is_some() {
            std::fs::write(&path, &told).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        if told != expected {
            differ.push(format!("{name}: expected\n{expected}\ngot\n{told}"));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

/// An expectation that was blessed in haste does not slip through: by its name a scenario fires its
/// detector or not.
#[test]
fn a_detector_fires_in_its_own_scenario_and_in_no_near_miss() {
    let detectors = [
        "retry",
        "abort",
        "partial",
        "stall",
        "hedge",
        "restart",
        "cascade",
        "fan_out",
        "workflow_restart",
        "loop",
        "doomed",
        "orphan",
        "outage",
    ];
    for detector in detectors {
        let fires = |name: &str| {
            let (_, told) = played(name);
            let named = |word: String| word.strip_prefix("late_").unwrap_or(&word) == detector;
            told.events.iter().any(|event| named(word(event.kind)))
        };
        assert!(fires(&format!("{detector}_fires")), "{detector} fires");
        assert!(!fires(&format!("{detector}_nearly")), "{detector} nearly fires");
        assert!(!fires(&format!("{detector}_benign")), "{detector} does not fire");
    }
}

/// Delivery changes nothing: the scenarios named `same_*` tell what `same` tells, but for the names
/// of the ends.
#[test]
fn disorder_repeats_tags_and_ipv6_change_nothing() {
    let (expected, _) = played("same");
    let others: Vec<String> =
        names().into_iter().filter(|name| name.starts_with("same_")).collect();
    assert_eq!(others.len(), 4);
    for name in others {
        assert_eq!(played(&name).0, expected, "{name}");
    }
}
