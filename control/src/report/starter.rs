//! A starter policy, written out from what was seen: the endpoints in use, and a retry budget derived
//! from their measured first attempts. In shadow, and valid for `fermata validate`.
//!
//! Names from the network stand in comments only, and only those that can be host names.

use std::fmt::Write as _;

use fastpath::policy::endpoint::Endpoint;
use fastpath::policy::snapshot::Policy;
use fastpath::telemetry::event::Outcome;
use fastpath::telemetry::ledger::EndpointRow;
use serde::Serialize;

use super::Report;
use crate::figures;
use crate::policy::document::API_VERSION;

/// Retries a second that are always allowed, at least.
const RATE_MIN_PER_SEC: f64 = 0.1;
/// Retries that are always allowed, as a share of what the busiest endpoint completes.
const RATE_SHARE: f64 = 0.02;
/// Over which interval the rate is written.
const INTERVAL_SECONDS: f64 = 10.0;
/// In which order the fields of an endpoint are written.
const ORDER: [&str; 8] =
    ["provider", "class", "hosts", "prefixes", "ports", "fingerprints", "price", "calibration"];
/// Servers that are offered as endpoints, in comments.
const OFFERED_MAX: usize = 5;

/// The retry budget of the starter policy, and what it was derived from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Budget {
    /// Retries for a hundred first attempts.
    pub percent: f64,
    /// Retries in ten seconds that are always allowed.
    pub min_per_ten_seconds: f64,
    /// The endpoint that completed most.
    pub busiest: Option<String>,
    /// What it completed a second.
    pub completed_per_second: f64,
}

impl Budget {
    /// The budget for `endpoints`, seen for `seconds`; `percent` is that of the policy they were
    /// assessed under.
    #[must_use]
    pub fn derive(endpoints: &[EndpointRow], seconds: f64, percent: f64) -> Self {
        let completed = |row: &&EndpointRow| row.tally.ended(Outcome::Complete);
        let busiest = endpoints.iter().max_by_key(completed);
        let rate = |row: &EndpointRow| completed(&row) as f64 / seconds.max(1.0);
        let completed_per_second = busiest.map_or(0.0, rate);
        let always = (RATE_SHARE * completed_per_second).max(RATE_MIN_PER_SEC);
        Self {
            percent,
            min_per_ten_seconds: (always * INTERVAL_SECONDS * 10.0).round() / 10.0,
            busiest: busiest.map(|row| row.name.clone()),
            completed_per_second,
        }
    }
}

/// The policy file, for a report made under `policy`.
#[must_use]
pub fn yaml(report: &Report, policy: &Policy) -> String {
    let mut out = String::from(
        "# A starter policy, made by `fermata assess` from what it saw. It only watches: mode is shadow.\n\
         # Check it: fermata validate policy.yaml\n\
         # Try it:   fermata assess CAPTURE --policy policy.yaml\n",
    );
    for row in &report.endpoints {
        let known = policy.endpoints.iter().find(|endpoint| endpoint.name == row.name);
        if let Some(text) = known.and_then(|endpoint| endpoint_document(endpoint, row)) {
            out.push_str(&text);
        }
    }
    offers(&mut out, report);
    budget(&mut out, report, policy);
    out
}

/// An endpoint as the policy had it, after what was seen of it. None that cannot be written back.
fn endpoint_document(endpoint: &Endpoint, row: &EndpointRow) -> Option<String> {
    let mut spec = serde_json::to_value(endpoint).ok()?;
    let name = spec.as_object_mut()?.remove("name")?;
    let mut out = format!(
        "---\n# Seen: {} in {}; {} wasted.\n",
        figures::counted(row.tally.first_attempts, "call", "calls"),
        figures::counted(row.tally.attempts, "attempt", "attempts"),
        figures::count(row.tally.waste.exchanges),
    );
    if endpoint.price.is_none() {
        out.push_str("# No price: add `price` to see money.\n");
    } else {
        out.push_str("# Put in your own prices: US dollars for a million tokens, cheapest, usual, dearest.\n");
    }
    let _ = writeln!(
        out,
        "apiVersion: {API_VERSION}\nkind: Endpoint\nmetadata: {{ name: {name} }}\nspec:"
    );
    let mut fields: Vec<_> = spec.as_object()?.iter().collect();
    fields.sort_by_key(|(key, _)| ORDER.iter().position(|known| known == key));
    for (key, value) in fields {
        match value {
            serde_json::Value::Object(parts) => {
                let _ = writeln!(out, "  {key}:");
                for (key, value) in parts {
                    let _ = writeln!(out, "    {key}: {}", flow(value));
                }
            }
            // JSON is YAML: names in quotes cannot leave their place.
            value => {
                let _ = writeln!(out, "  {key}: {}", flow(value));
            }
        }
    }
    Some(out)
}

/// A value on one line, with room to read. Numbers that are no whole ones were `f32`.
#[allow(clippy::cast_possible_truncation, reason = "back to what they were")]
fn flow(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Object(fields) => {
            let told = |(key, value): &(&String, &serde_json::Value)| {
                *key == "spread" || value.as_f64() != Some(0.0)
            };
            let fields: Vec<String> = fields
                .iter()
                .filter(told)
                .map(|(key, value)| format!("{key}: {}", flow(value)))
                .collect();
            format!("{{ {} }}", fields.join(", "))
        }
        serde_json::Value::Array(items) => {
            format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", "))
        }
        serde_json::Value::Number(number) => number
            .as_f64()
            .filter(|_| number.is_f64())
            .map_or_else(|| number.to_string(), |figure| (figure as f32).to_string()),
        other => other.to_string(),
    }
}

/// Servers that may be the user's own endpoints, in comments.
fn offers(out: &mut String, report: &Report) {
    let rows =
        if report.other_servers.busiest.is_empty() && report.scope == super::Scope::AllServers {
            &report.endpoints
        } else {
            &report.other_servers.busiest
        };
    let names = rows.iter().map(|row| &row.name).filter(|name| is_host(name));
    for (n, name) in names.take(OFFERED_MAX).enumerate() {
        if n == 0 {
            out.push_str(
                "# ---\n# Servers that are no known AI endpoint. Is one of them yours? Take its '#' away.\n",
            );
        }
        let key = if name.parse::<std::net::IpAddr>().is_ok() { "prefixes" } else { "hosts" };
        let _ = writeln!(
            out,
            "# ---\n# apiVersion: {API_VERSION}\n# kind: Endpoint\n# metadata: {{ name: \"{name}\" }}\n\
             # spec: {{ class: llm, {key}: [\"{name}\"] }}"
        );
    }
}

/// Letters, digits, hyphens and dots, or an address.
fn is_host(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':');
    !name.is_empty() && name.len() <= 255 && name.chars().all(plain)
}

fn budget(out: &mut String, report: &Report, policy: &Policy) {
    let Budget { percent, min_per_ten_seconds, busiest, completed_per_second } =
        &report.starter_budget;
    let from = busiest.as_ref().map_or_else(
        || "nothing was completed".to_owned(),
        |name| format!("{} completed {completed_per_second:.2} calls a second", comment(name)),
    );
    let _ = write!(
        out,
        "---\n# Retries an endpoint gets: a share of its first attempts, and a floor of 2 % of what the busiest one\n\
         # completes, at least one in ten seconds ({from}).\n"
    );
    for row in report.endpoints.iter().take(OFFERED_MAX) {
        let seconds = report.capture.seconds.max(1.0);
        let first = row.tally.first_attempts as f64 / seconds;
        let _ = writeln!(
            out,
            "#   {}: {first:.2} first attempts a second allow {:.2} retries a second; seen: {:.2}",
            comment(&row.name),
            first * percent / 100.0 + min_per_ten_seconds / INTERVAL_SECONDS,
            row.tally.retries() as f64 / seconds,
        );
    }
    let limits = policy.limits;
    let _ = writeln!(
        out,
        "apiVersion: {API_VERSION}\nkind: CoordinationPolicy\nmetadata: {{ name: starter }}\nspec:\n  \
         mode: shadow\n  retryConstraint:\n    budget: {{ percent: {percent}, interval: 10s }}\n    \
         minRetryRate: {{ count: {min_per_ten_seconds}, interval: 10s }}\n  limits:\n    \
         retryWindow: {}ms\n    stall: {}ms",
        limits.retry_window_ms, limits.stall_ms
    );
}

/// A name inside a comment: nothing in it ends the line.
fn comment(name: &str) -> String {
    name.chars().map(|c| if crate::output::is_obeyed(c) { '?' } else { c }).take(60).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::policy::document;
    use crate::report::Assessment;
    use crate::report::tests::exchange;
    use fastpath::telemetry::line::ExchangeLine;

    fn assessed(lines: &[ExchangeLine]) -> (Report, Policy) {
        let policy = Policy::catalogue().unwrap();
        let mut assessment = Assessment::new(&policy);
        lines.iter().for_each(|line| assessment.add(line));
        (assessment.finish(&[], 1), policy)
    }

    #[test]
    fn every_endpoint_of_the_catalogue_is_written_back_as_it_was() {
        let policy = Policy::catalogue().unwrap();
        let lines: Vec<_> =
            policy.endpoints.iter().map(|e| exchange("c", &e.name, 0.0, 1.0)).collect();
        let (report, policy) = assessed(&lines);
        let text = yaml(&report, &policy);
        let read = document::parse(Path::new("policy.yaml"), &text).unwrap();
        for endpoint in &policy.endpoints {
            let again = read.endpoints.iter().find(|other| other.name == endpoint.name);
            assert_eq!(again, Some(endpoint), "{text}");
        }
        assert!(text.matches("kind: Endpoint").count() >= policy.endpoints.len());
    }

    #[test]
    fn the_floor_of_the_budget_follows_what_the_busiest_endpoint_completes() {
        let lines: Vec<_> =
            (0..1000).map(|n| exchange("c", "openai", f64::from(n), f64::from(n) + 1.0)).collect();
        let (report, _) = assessed(&lines);
        let busy = Budget::derive(&report.endpoints, 10.0, 10.0);
        assert_eq!((busy.completed_per_second, busy.min_per_ten_seconds), (100.0, 20.0));
        let idle = Budget::derive(&[], 10.0, 10.0);
        assert_eq!((idle.percent, idle.min_per_ten_seconds), (10.0, 1.0));
    }

    #[test]
    fn a_hostile_name_does_not_get_into_the_policy() {
        let hostile = |sni: &str| ExchangeLine {
            endpoint: None,
            sni: Some(sni.to_owned()),
            ..exchange("c", "", 0.0, 1.0)
        };
        let lines = [
            hostile("a.b\n---\nkind: Endpoint"),
            hostile("x\" ]}"),
            hostile("llm.example.internal"),
        ];
        let (report, policy) = assessed(&lines);
        let text = yaml(&report, &policy);
        assert!(document::parse(Path::new("policy.yaml"), &text).is_ok(), "{text}");
        assert!(text.contains("hosts: [\"llm.example.internal\"]"), "{text}");
        assert_eq!(text.lines().filter(|line| line.starts_with("kind:")).count(), 1, "{text}");
    }
}
