//! Reports over a few made-up exchanges.

use std::path::Path;

use fastpath::telemetry::event::{Reason, Verdict, Visibility};
use fastpath::telemetry::grounds::Grounds;
use fastpath::telemetry::line::Confidence;

use super::naming::Naming;
use super::terminal::Style;
use super::*;
use crate::output::Paint;

/// As in a pipe.
const PLAIN: Style<'_> =
    Style { paint: Paint::PLAIN, columns: 100, naming: Naming::Typed { policy: None, out: None } };

/// A complete first attempt by `client` at `endpoint`.
pub(crate) fn exchange(client: &str, endpoint: &str, start: f64, end: f64) -> ExchangeLine {
    ExchangeLine {
        pcap: None,
        id: "x1".to_owned(),
        client: client.to_owned(),
        client_port: 40_000,
        server: "192.0.2.1".to_owned(),
        server_port: 443,
        endpoint: Some(endpoint.to_owned()),
        endpoint_by: None,
        tenant: None,
        sni: None,
        visibility: Visibility::H1,
        from_middle: false,
        rtt_server_ms: None,
        rtt_client_ms: None,
        start,
        first_byte: Some(start),
        end,
        closed: None,
        outcome: Outcome::Complete,
        attempt: 1,
        retry_of: None,
        hedge: false,
        restart: false,
        stall: None,
        confidence: Confidence { outcome: 1.0, retry: 1.0, endpoint: None },
        up_bucket: 1024,
        down_bucket: 4096,
        streamed: true,
        tokens_estimate: Some([80.0, 100.0, 120.0]),
        cost_usd: Some([0.1, 0.2, 0.4]),
        amended: None,
        waste: None,
        verdict: Verdict::Pass,
        hold_ms: None,
        enforced: false,
        reason: Reason::NoRule,
        grounds: Grounds::default(),
    }
}

/// Two endpoints; one call is tried three times, in vain, and the last attempt would have been
/// held.
fn storm() -> Report {
    let mut assessment = Assessment::new(&Policy::default());
    assessment.add(&exchange("198.51.100.11", "good", 0.0, 1.0));
    for attempt in 1..=3u16 {
        let at = f64::from(attempt) * 2.0;
        assessment.add(&ExchangeLine {
            attempt,
            retry_of: (attempt > 1).then(|| "x1".to_owned()),
            outcome: Outcome::Failed,
            waste: (attempt > 1).then_some(Waste::Retry),
            verdict: if attempt == 3 { Verdict::Hold } else { Verdict::Pass },
            reason: if attempt == 3 { Reason::OverRetryBudget } else { Reason::NoRule },
            tokens_estimate: None,
            cost_usd: None,
            ..exchange("198.51.100.11", "bad", at, at + 0.5)
        });
    }
    assessment.finish(&[], 1)
}

#[test]
fn the_report_has_every_field_of_the_contract() {
    let value = to_json(&storm());
    for pointer in [
        "/schema_version",
        "/capture/files",
        "/totals/exchanges",
        "/totals/attempts",
        "/totals/first_attempts",
        "/totals/amplification",
        "/totals/by_outcome/failed",
        "/totals/by_waste/late_abort",
        "/waste/exchanges",
        "/waste/seconds",
        "/waste/bytes_bucketed",
        "/waste/tokens/2",
        "/waste/cost/2",
        "/prevented/by_law/retry_budget/exchanges",
        "/causes/0/waste",
        "/causes/0/evidence/0/exchange",
        "/starter_budget/percent",
        "/endpoints/0/name",
        "/clients/0/name",
        "/timeline/0/time",
        "/propagation/nodes/0/id",
        "/propagation/edges/0/from",
        "/visibility/mux_flows",
    ] {
        assert!(value.pointer(pointer).is_some(), "{pointer} is missing");
    }
}

#[test]
fn the_sums_are_those_of_the_exchanges() {
    let report = storm();
    assert_eq!(report.totals.attempts, 4);
    assert_eq!(report.totals.amplification, Some(2.0));
    assert_eq!((report.waste.exchanges, report.waste.seconds), (2, 1.0));
    assert_eq!(report.endpoints[0].name, "bad");
    assert_eq!(
        report.headline(),
        "2 calls took 4 attempts (2.00 for each call); 2 (50 %) were waste."
    );
}

#[test]
fn the_tax_its_causes_and_what_to_do_come_before_the_detail() {
    let report = storm();
    let page = html::page(&report);
    let places =
        ["Wasted tokens", "The cause", "What a policy would have saved", "What to do next"]
            .map(|text| page.find(text).unwrap_or_else(|| panic!("{text} is missing")));
    assert!(places.is_sorted() && places[3] < page.find("In detail").unwrap());
    let text = terminal::summary(&report, &PLAIN);
    for said in ["bad: retried in vain", "Evidence: x1", "All by 198.51.100.11", "max_retries"] {
        assert!(page.contains(said.trim_start_matches("Evidence: ")), "{said} is not in the page");
        assert!(text.contains(said), "{said} is missing in\n{text}");
    }
}

#[test]
fn what_is_without_waste_names_no_cause() {
    let mut assessment = Assessment::new(&Policy::default());
    assessment.add(&exchange("c", "openai", 0.0, 1.0));
    let report = assessment.finish(&[], 1);
    assert!(report.causes.is_empty());
    let page = html::page(&report);
    assert!(page.contains("No attempt was wasted") && page.contains("Nothing was wasted"));
    assert!(!terminal::summary(&report, &PLAIN).contains("Worst causes"));
}

#[test]
fn what_cannot_be_seen_is_said_beside_the_tax_and_is_not_zero() {
    let mut assessment = Assessment::new(&Policy::default());
    let line = exchange("c", "openai", 0.0, 1.0);
    assessment.add(&ExchangeLine { tokens_estimate: None, cost_usd: None, ..line.clone() });
    let unseen = ExchangeLine {
        outcome: Outcome::ClientAbort,
        first_byte: None,
        tokens_estimate: None,
        cost_usd: None,
        ..line
    };
    assessment.add(&unseen);
    let report = assessment.finish(&[], 1);
    let text = terminal::summary(&report, &PLAIN);
    for text in [text, html::page(&report)] {
        assert!(text.contains("1 request abandoned before the first byte"), "{text}");
        assert!(text.contains("unknown"), "tokens are not known rather than none: {text}");
    }
}

#[test]
fn the_terminal_needs_no_more_columns_than_it_has() {
    let mut assessment = Assessment::new(&Policy::default());
    for waste in Waste::ALL {
        let name = "a-rather-long-name-of-an-endpoint-that-somebody-chose.example.internal";
        assessment
            .add(&ExchangeLine { waste: Some(waste), ..exchange("2001:db8::1", name, 0.0, 1e6) });
    }
    let report = assessment.finish(&[], 1);
    for columns in [80, 100] {
        let text = terminal::summary(&report, &Style { columns, ..PLAIN });
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("fermata "));
        let wide: Vec<_> = lines.filter(|line| line.chars().count() > columns).collect();
        assert!(wide.is_empty(), "{wide:#?}");
    }
}

#[test]
fn commands_on_the_terminal_run_as_pasted_and_those_of_the_page_tell_no_folder() {
    let mut report = storm();
    let path = "/srv/taps/day 1/lab/a.pcap".to_owned();
    report.capture.files =
        vec![CaptureFile { path, start: None, end: None, frames: 4, note: None }];
    report.policy = Some("mine.yaml".to_owned());
    let typed = |out| Naming::Typed { policy: Some(Path::new("../mine.yaml")), out };
    let said = |out| terminal::summary(&report, &Style { naming: typed(out), ..PLAIN });
    let written = said(Some(Path::new("out")));
    for command in [
        "fermata explain --read '/srv/taps/day 1/lab/a.pcap' x1 --policy ../mine.yaml\n",
        "fermata validate out/policy.yaml\n",
        "fermata assess '/srv/taps/day 1/lab/a.pcap' --policy out/policy.yaml\n",
    ] {
        assert!(written.contains(command), "{command} is missing in\n{written}");
    }
    let first = "fermata assess '/srv/taps/day 1/lab/a.pcap' --policy ../mine.yaml --out report\n";
    assert!(said(None).contains(first) && !written.contains("--out"));
    let page = html::page(&report);
    assert!(
        !page.contains("/srv/taps") && page.contains("--read lab/a.pcap x1 --policy mine.yaml")
    );
}

#[test]
fn other_servers_are_left_out_where_there_is_an_ai_endpoint() {
    let mut assessment = Assessment::new(&Policy::default());
    let sni = Some("www.example.com".to_owned());
    let other = ExchangeLine { endpoint: None, sni, ..exchange("c", "", 0.0, 1.0) };
    assessment.add(&other);
    assessment.add(&exchange("c", "openai", 0.0, 1.0));
    let report = assessment.finish(&[], 1);
    assert_eq!((report.scope, report.totals.exchanges), (Scope::AiEndpoints, 1));
    assert_eq!(report.other_servers.busiest[0].name, "www.example.com");
}

#[test]
fn without_an_ai_endpoint_the_report_is_about_all_servers_and_says_so() {
    let mut assessment = Assessment::new(&Policy::default());
    assessment.add(&ExchangeLine { endpoint: None, ..exchange("c", "", 0.0, 1.0) });
    let report = assessment.finish(&[], 1);
    assert_eq!((report.scope, report.endpoints[0].name.as_str()), (Scope::AllServers, "192.0.2.1"));
    assert!(report.caution().unwrap().starts_with("No known AI endpoint"));
    assert!(html::page(&report).contains("No known AI endpoint"));
}

#[test]
fn an_empty_capture_is_a_report_too() {
    let report = Assessment::new(&Policy::default()).finish(&[], 1);
    assert!(terminal::summary(&report, &PLAIN).contains("No request was seen."));
    assert!(html::page(&report).contains("No request was seen."));
    assert_eq!(to_json(&report)["totals"]["amplification"], serde_json::Value::Null);
}

#[test]
fn a_hostile_name_cannot_leave_its_place_in_the_page_or_the_terminal() {
    let hostile = "</title><script>alert(1)</script>\x1b[2J\"'&";
    let mut assessment = Assessment::new(&Policy::default());
    for outcome in [Outcome::Failed, Outcome::Complete] {
        let sni = Some(hostile.to_owned());
        let line = ExchangeLine { endpoint: None, sni, outcome, ..exchange("c", "", 0.0, 1.0) };
        assessment.add(&line);
    }
    let report = assessment.finish(&[], 1);
    let page = html::page(&report);
    assert!(!page.contains("<script>alert"), "the name is escaped");
    assert!(!page.contains('\x1b'));
    assert!(page.contains("&lt;script&gt;"));
    assert!(!terminal::summary(&report, &PLAIN).contains('\x1b'));
}

#[test]
fn the_page_needs_nothing_from_outside() {
    let page = html::page(&storm());
    for outside in ["http://", "https://", "src=", "@import", "<link", "url(h", "url(\"", "url(/"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    assert!(page.matches("<svg").count() >= 5);
}
