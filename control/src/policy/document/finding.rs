//! What a valid policy says in vain: names that another endpoint has first, and settings that nothing
//! comes of.

use fastpath::policy::endpoint::{Endpoint, HostPattern, Prefix};
use fastpath::policy::rules::Rule;
use fastpath::policy::snapshot::{Policy, RuleMode};
use serde::{Deserialize, Serialize};

use super::place::Places;

/// Something a valid policy says in vain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Finding {
    /// File and line: `policy.yaml:12`.
    pub at: String,
    /// The field: `spec.hosts[1]`.
    pub path: String,
    /// What comes of it, and why.
    pub message: String,
}

/// A document that was checked, for what is to be said of it.
#[derive(Debug)]
pub(super) struct Checked {
    /// Its endpoint's name; none where it is another kind.
    pub(super) endpoint: Option<String>,
    /// Its text, on the lines of its file.
    pub(super) text: String,
}

/// What `policy`, of which `documents` are what was typed, says in vain. `own` of its endpoints are
/// the user's; the rest is the catalogue.
pub(super) fn findings(
    file: &str,
    documents: &[Checked],
    policy: &Policy,
    own: usize,
) -> Vec<Finding> {
    let mut said: Vec<(Option<&str>, String, String)> = Vec::new();
    for (at, endpoint) in policy.endpoints.iter().enumerate().take(own) {
        // The catalogue comes after the user's: what is named in both is the user's.
        for before in &policy.endpoints[..at] {
            shadowed(endpoint, before, &mut said);
        }
    }
    idle(policy, &mut said);
    let find = |endpoint: Option<&str>| {
        documents.iter().find(|document| document.endpoint.as_deref() == endpoint)
    };
    let placed = said.into_iter().filter_map(|(endpoint, path, message)| {
        let document = find(endpoint)?;
        // Where only the document's defaults are to blame nothing was typed in vain.
        let line = Places::of(&document.text).line(&path);
        let at = line.map_or_else(|| file.to_owned(), |line| format!("{file}:{line}"));
        Some(Finding { at, path, message })
    });
    placed.collect()
}

fn shadowed<'a>(
    endpoint: &'a Endpoint,
    before: &Endpoint,
    said: &mut Vec<(Option<&'a str>, String, String)>,
) {
    let mut say = |path: String, what: &dyn std::fmt::Display| {
        let message = format!(
            "`{what}` is found as `{}`, which stands before `{}`: this one is never used",
            before.name, endpoint.name
        );
        said.push((Some(&endpoint.name), path, message));
    };
    for (index, host) in endpoint.hosts.iter().enumerate() {
        if before.hosts.iter().any(|other: &HostPattern| other == host) {
            say(format!("spec.hosts[{index}]"), host);
        }
    }
    let same_ports = before.ports.is_empty()
        || (!endpoint.ports.is_empty() && endpoint.ports.iter().all(|p| before.ports.contains(p)));
    for (index, prefix) in endpoint.prefixes.iter().enumerate() {
        if same_ports && before.prefixes.iter().any(|other: &Prefix| other == prefix) {
            say(format!("spec.prefixes[{index}]"), prefix);
        }
    }
    for (index, fingerprint) in endpoint.fingerprints.iter().enumerate() {
        if before.fingerprints.contains(fingerprint) {
            say(format!("spec.fingerprints[{index}]"), fingerprint);
        }
    }
}

fn idle(policy: &Policy, said: &mut Vec<(Option<&str>, String, String)>) {
    let mode = policy.mode;
    let mut say = |path: String, message: String| said.push((None, path, message));
    for rule in Rule::ALL {
        let switch = policy.rules.switches[rule.index()];
        let field = |name: &str| format!("spec.{}.{name}", rule.name());
        if let Some(own) = switch.mode.filter(|own| *own > mode) {
            let (own, mode) = (own.name(), mode.name());
            let message = format!(
                "`{own}` is more than the policy's `mode: {mode}` allows: the rule is in `{mode}`"
            );
            say(field("mode"), message);
        }
        let enforces = policy.rules.mode(rule, mode) == RuleMode::Enforce;
        if switch.enforce_percent.is_some() && !enforces {
            let message = "a share of clients matters where the rule enforces, and it does not";
            say(field("enforcePercent"), message.to_owned());
        }
    }
    let hold = policy.rules.hold;
    if hold.hello_max_time_ms > hold.max_time_ms {
        let message = "no hold is longer than `maxTime`, which is shorter".to_owned();
        say("spec.hold.helloMaxTime".to_owned(), message);
    }
}
