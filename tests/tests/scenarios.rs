//! Scenarios: text in, frames through the loop, text out. A folder of `scenarios/` is a case; its
//! README says how one is written. `FERMATA_BLESS=1 cargo test -p tests --test scenarios` writes
//! every expectation anew.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use fastpath::lcore::LcoreConfig;
use fastpath::port::mem::MemPort;
use fastpath::telemetry::line::{EventLine, ExchangeLine, FlowLine};
use tests::play::{self, Told};
use tests::scenario::{START, Scenario};
use tests::split::SplitPort;

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
        if let Some(margin) = episode.margin {
            write!(text, ", margin {margin}").unwrap();
        }
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

fn read(name: &str) -> Scenario {
    let text = std::fs::read_to_string(folder().join(name).join("scenario.txt")).unwrap();
    Scenario::read(&text).unwrap_or_else(|e| panic!("{name}/scenario.txt, {e}"))
}

fn played(name: &str) -> (String, Told) {
    let scenario = read(name);
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

/// What a scenario is to fire, by the first part of its name.
type Fires = fn(&EventLine) -> bool;

/// What is told by more than a signal of its own kind.
const FINDINGS: [(&str, Fires); 3] = [
    ("keep_alives", |event| word(event.kind) == "stall"),
    ("thinking", |event| word(event.kind) == "stall"),
    ("margin", |event| event.episode.as_ref().and_then(|e| e.margin).is_some_and(|m| m < 1.0)),
];

/// Signals that no detector gives: a verdict of the rules, and what amends an exchange.
const NO_DETECTORS: [&str; 3] = ["over_budget", "wasted", "disarmed"];

/// The kinds of signals that a detector gives, as the source has them.
fn kinds() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fastpath/src/telemetry/event.rs");
    let source = syn::parse_file(&std::fs::read_to_string(path).unwrap()).unwrap();
    let kinds = source.items.into_iter().find_map(|item| match item {
        syn::Item::Enum(kinds) if kinds.ident == "SignalKind" => Some(kinds.variants),
        _ => None,
    });
    let names = kinds.unwrap().into_iter().map(|kind| snake(&kind.ident.to_string()));
    names.filter(|name| !NO_DETECTORS.contains(&name.as_str())).collect()
}

fn snake(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

/// An expectation that was blessed in haste does not slip through: by its name a scenario fires its
/// detector or not. A detector without its three fails here.
#[test]
fn a_detector_fires_in_its_own_scenario_and_in_no_near_miss() {
    let (kinds, names) = (kinds(), names());
    assert!(kinds.iter().any(|kind| kind == "retry"), "{kinds:?}");
    let mut wrong = Vec::new();
    let mut check = |name: &str, fires: &dyn Fn(&EventLine) -> bool| {
        for (suffix, expected) in [("fires", true), ("nearly", false), ("benign", false)] {
            let scenario = format!("{name}_{suffix}");
            if !names.contains(&scenario) {
                wrong.push(format!("{scenario} is missing"));
            } else if played(&scenario).1.events.iter().any(fires) != expected {
                wrong.push(format!("{scenario}: {name} fires: {}", !expected));
            }
        }
    };
    for kind in &kinds {
        check(kind.strip_prefix("late_").unwrap_or(kind), &|event| word(event.kind) == *kind);
    }
    for (name, fires) in FINDINGS {
        check(name, &fires);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
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

/// Neither does the poll in which a frame is received.
#[test]
fn what_is_told_does_not_depend_on_how_frames_are_split_into_bursts() {
    let splits: [&[usize]; 5] = [&[1], &[2], &[3, 1], &[1, 7, 2], &[5, 1, 1, 3, 2, 8, 4]];
    let small = LcoreConfig { flows: 64, clients: 16, servers: 16, ..LcoreConfig::default() };
    let mut split_up = 0;
    for name in names() {
        let scenario = read(&name);
        let (expected, _) = played(&name);
        for sizes in splits {
            let port = SplitPort::new(MemPort::new(scenario.arrivals()), sizes.to_vec());
            let (lcore, told) = play::to_end(port, small, |_| {});
            assert_eq!(render(&told, &scenario), expected, "{name} in bursts of {sizes:?}");
            split_up += usize::from(lcore.port().bursts > 0);
        }
    }
    assert_eq!(split_up, splits.len() * names().len());
}
