//! The dashboard in a real browser, with answers in the place of the daemon's: what it shows, what
//! it asks for when somebody presses, and whether it can be read and used without a mouse.

use std::path::PathBuf;

use fastpath::ipc::{
    BackendRow, BreakerState, EndpointStanding, Page, PropagationView, SavingsView, Standings,
    Status,
};
use fastpath::telemetry::ledger::Ledger;
use fastpath::telemetry::ledger::propagation::Propagation;
use fastpath::telemetry::ledger::savings::Savings;
use fastpath::telemetry::line::ExchangeLine;
use serde_json::{Value, json};
use tests::play;
use tests::scenario::Scenario;

use super::browser::Browser;
use super::{CONTRAST_MIN, TEXTS};

const INDEX: &str = include_str!("../../../control/assets/dashboard/index.html");
const STYLE: &str = include_str!("../../../control/assets/dashboard/dashboard.css");
const SCRIPT: &str = include_str!("../../../control/assets/dashboard/dashboard.js");

/// Answers as soon as it is asked, and remembers what it was asked.
const IN_PLACE_OF_THE_DAEMON: &str = "
window.asked = [];
window.fetch = async (path, options = {}) => {
  const key = path.split('?')[0].replace(/^(.v1.explain).*/, '$1');
  asked.push([options.method ?? 'GET', key, options.body ? JSON.parse(options.body) : null]);
  const answer = ANSWERS[key];
  const ok = answer !== undefined;
  return { ok, statusText: 'nothing', json: async () => (ok ? answer : { error: { message: 'refused' } }) };
};
";

/// A name that would be markup, if it were not text.
const HOSTILE: &str = "<img src=x onerror=hostile()>";

/// Exchanges of a scenario in which failures spread.
fn exchanges() -> Vec<ExchangeLine> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scenarios/cascade_fires/scenario.txt");
    let scenario = Scenario::read(&std::fs::read_to_string(path).unwrap()).unwrap();
    play::frames(scenario.arrivals()).told.exchanges
}

fn answers() -> Value {
    let (mut ledger, mut savings) = (Ledger::default(), Savings::default());
    let mut propagation = Propagation::new(12.0);
    let mut rows = exchanges();
    for line in &rows {
        ledger.add(line);
        savings.add(line);
        propagation.add(line);
    }
    let hostile = ExchangeLine { endpoint: Some(HOSTILE.to_owned()), ..rows[0].clone() };
    ledger.add(&hostile);
    rows.push(hostile);
    let name = rows[0].endpoint.clone().unwrap();
    let backend = BackendRow {
        server: "192.0.2.1".to_owned(),
        server_port: 443,
        endpoint: Some(name.clone()),
        in_flight: 12,
        in_flight_max: 64.0,
        waiting: 4,
        waiting_max: Some(6.0),
        first_byte_base_ms: Some(250.0),
        held: 7,
        held_longest_ms: Some(1800),
        breaker: BreakerState::Open,
    };
    let standing =
        EndpointStanding { endpoint: name, in_flight: 12, ..EndpointStanding::default() };
    let standings = Standings { backends: vec![backend], endpoints: vec![standing] };
    let mut status = Status { mode: "wire".to_owned(), ..Status::default() };
    status.policy.revision = 3;
    let page = Page { next: rows.len() as u64 + 1, rows, missed: 0 };
    let graph: PropagationView = propagation.view(12.0);
    let (savings, view): (SavingsView, _) = (savings.view(), ledger.view());
    let tenants = view.endpoints.tenants.clone();
    let point = |n: u32| {
        let tokens = f64::from(n * n);
        json!({ "time": f64::from(n * 30), "exchanges": n, "waste_tokens": [0, tokens, 0], "saved_tokens": tokens / 2.0 })
    };
    let entry = |n: u32| json!({ "revision": n, "who": "root", "when": 1e9, "why": "a reason", "restores": null });
    let text = "apiVersion: fermata.dev/v1alpha1\n";
    let change = json!({ "document": "CoordinationPolicy/default", "path": "spec.mode", "before": "shadow", "after": "enforce" });
    let replay = json!({ "exchanges": 5, "seconds": 60.0, "verdicts": 1, "enforced_before": 0.0, "enforced_after": 1.0 });
    json!({
        "/v1/health": { "data_plane": true, "store": true, "bypassed": false, "disarmed": 0, "error": null },
        "/v1/status": status,
        "/v1/ledger": view,
        "/v1/backends": standings,
        "/v1/tenants": tenants,
        "/v1/savings": savings,
        "/v1/series": (0..40).map(point).collect::<Vec<_>>(),
        "/v1/propagation": graph,
        "/v1/exchanges": page,
        "/v1/explain": { "sections": [{ "title": "What was seen", "statements": [{ "about": "outcome", "text": "said in words" }] }] },
        "/v1/policy": { "revision": 3, "entry": entry(3), "text": text, "pending": { "revision": 3, "until": 9e9 } },
        "/v1/policy/history": { "revision": 3, "confirmed": 2, "revisions": [entry(2), entry(3)] },
        "/v1/policy/dry-run": { "revision": 3, "policy": { "mode": "enforce", "endpoints": 5, "findings": [] }, "changes": [change], "replay": replay },
        "/v1/policy/apply": {}, "/v1/policy/confirm": {}, "/v1/policy/rollback": {}, "/v1/bypass": {},
    })
}

/// An open dashboard; none without a browser.
fn open(name: &str, width: u32, scheme: &str) -> Option<Browser> {
    let folder: PathBuf =
        std::env::temp_dir().join(format!("fermata-dashboard-{name}-{}", std::process::id()));
    let Some(mut browser) = Browser::start(folder.clone()) else {
        eprintln!("skipped: no chromium in PATH (scripts/setup installs it)");
        return None;
    };
    let assets = folder.join("assets");
    std::fs::create_dir_all(&assets).unwrap();
    let script = format!("const ANSWERS = {};{IN_PLACE_OF_THE_DAEMON}{SCRIPT}", answers());
    std::fs::write(folder.join("index.html"), INDEX).unwrap();
    std::fs::write(assets.join("dashboard.css"), STYLE).unwrap();
    std::fs::write(assets.join("dashboard.js"), script).unwrap();
    browser.open(&folder.join("index.html"), width, scheme, "screen");
    assert_eq!(browser.value("document.body.dataset.ready"), "yes");
    Some(browser)
}

#[test]
fn it_shows_what_the_daemon_says_as_text_and_complains_of_nothing() {
    let Some(mut browser) = open("shows", 1280, "light") else { return };
    let text = browser.value("document.body.innerText").as_str().unwrap().to_owned();
    for said in [
        "All is well",
        "12 / 64",
        "4 / 6",
        "1 of 1 open",
        "192.0.2.1:443",
        "1.8 s",
        "retry budget",
        "waits to be confirmed",
        HOSTILE,
    ] {
        assert!(text.contains(said), "{said} is missing in\n{text}");
    }
    assert_eq!(browser.value("document.querySelectorAll('img').length"), 0, "a name is no markup");
    assert_eq!(browser.value("document.querySelectorAll('#series svg path').length"), 2);
    let nodes = browser.value("document.querySelectorAll('#graph svg g').length");
    assert!(nodes.as_u64() >= Some(2), "{nodes} nodes of the graph");
    let complaints = ["Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"];
    let said: Vec<&Value> = browser
        .events
        .iter()
        .filter(|event| complaints.iter().any(|method| event["method"] == *method))
        .collect();
    assert!(said.is_empty(), "{said:#?}");
}

#[test]
fn an_exchange_is_explained_when_its_number_is_pressed() {
    let Some(mut browser) = open("explains", 1280, "light") else { return };
    browser.value("document.querySelector('#exchange-rows button').click()");
    assert_eq!(browser.value("document.getElementById('dialog').open"), true);
    let said = browser.value("document.getElementById('dialog').innerText");
    assert!(said.as_str().unwrap().contains("said in words"), "{said}");
    assert_eq!(browser.value("document.activeElement.id"), "dialog-no", "Enter closes it");
    browser.value("document.activeElement.click()");
    assert_eq!(browser.value("document.getElementById('dialog').open"), false);
}

#[test]
fn a_policy_is_compared_and_applied_only_when_it_is_agreed_to() {
    let Some(mut browser) = open("applies", 1280, "light") else { return };
    let asked =
        "asked.filter(([method]) => method === 'POST').map(([, path, body]) => [path, body])";
    browser.value("(document.getElementById('text').value = 'mode: enforce', 0)");
    browser.value("document.getElementById('edit').requestSubmit()");
    let said = browser.value("document.getElementById('difference').innerText");
    let said = said.as_str().unwrap();
    assert!(said.contains("spec.mode: shadow becomes enforce"), "{said}");
    browser.value("document.getElementById('apply').click()");
    browser.value("document.getElementById('dialog-no').click()");
    let body = json!({ "text": "mode: enforce", "name": "the editor" });
    assert_eq!(browser.value(asked), json!([["/v1/policy/dry-run", body]]), "it was cancelled");
    browser.value("document.getElementById('apply').click()");
    browser.value("(document.getElementById('why').value = 'tried', 0)");
    browser.value("document.getElementById('dialog-yes').click()");
    let applied = json!({
        "text": "mode: enforce", "name": "the editor", "why": "tried", "if_revision": 3, "confirm_within": "5m",
    });
    // The dialog tells that it was closed in a task of its own.
    let mut all = browser.value(asked);
    while all.as_array().unwrap().len() < 2 {
        all = browser.value(asked);
    }
    assert_eq!(all[1], json!(["/v1/policy/apply", applied]));
    browser.value("document.getElementById('confirm').click()");
    assert_eq!(browser.value(asked)[2], json!(["/v1/policy/confirm", {}]));
}

#[test]
fn everything_that_can_be_used_has_a_name_and_is_reached_by_keys() {
    let Some(mut browser) = open("keys", 1280, "light") else { return };
    let tree = browser.call("Accessibility.getFullAXTree", &json!({}));
    let nodes = tree["nodes"].as_array().unwrap();
    let roles = ["button", "link", "combobox", "textbox", "image", "region", "table"];
    let used: Vec<&Value> = nodes
        .iter()
        .filter(|node| roles.iter().any(|role| node["role"]["value"] == *role))
        .collect();
    assert!(used.len() > 30, "{}", used.len());
    for node in used {
        assert!(node["name"]["value"].as_str().is_some_and(|name| !name.is_empty()), "{node}");
    }
    let unreachable = "[...document.querySelectorAll('a, button, select, textarea, summary, .scroll, #graph g')]\
                       .filter((e) => e.tabIndex < 0).length";
    assert_eq!(browser.value(unreachable), 0);
}

#[test]
fn it_fits_a_phone_and_can_be_read_in_light_and_in_dark() {
    for (width, scheme) in [(390, "light"), (1280, "light"), (1280, "dark")] {
        let Some(mut browser) = open("reads", width, scheme) else { return };
        let wide = browser.value("document.documentElement.scrollWidth");
        assert!(wide.as_u64() <= Some(width.into()), "{width} pixels, and the page takes {wide}");
        let texts = browser.value(TEXTS);
        let texts = texts.as_array().unwrap();
        assert!(texts.len() > 80, "{} texts", texts.len());
        for text in texts {
            let contrast = text["contrast"].as_f64().unwrap();
            assert!(contrast >= CONTRAST_MIN, "{scheme}, {width}: {text}");
        }
    }
}
