//! The exchanges of the last minutes under another policy: which would have another name, and for
//! which of those that a rule decided it would act, or not, where it did not, or did.
//!
//! Frames are not kept, so the laws themselves are not run again: what a rule decided is taken as it
//! was, and what is compared is whether the policy lets it act, for how many clients, and on which
//! endpoint. `fermata simulate` is for what a policy does in the long run.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use fastpath::policy::rules::Rule;
use fastpath::policy::snapshot::{RuleMode, Snapshot};
use fastpath::telemetry::event::{Evidence, Reason, Verdict};
use fastpath::telemetry::line::ExchangeLine;
use serde::{Deserialize, Serialize};

use crate::policy::document::Tenants;

/// A policy that exchanges are looked at under.
#[derive(Clone, Debug)]
pub struct Under {
    /// Compiled.
    pub snapshot: Arc<Snapshot>,
    /// Whose clients are whose.
    pub tenants: Tenants,
}

/// What would have been different.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Replay {
    /// Exchanges that were looked at.
    pub exchanges: u64,
    /// The time they are of, seconds.
    pub seconds: f64,
    /// Those that would belong to another endpoint, most frequent first.
    pub endpoints: Vec<Moved>,
    /// Those that would belong to another tenant.
    pub tenants: Vec<Moved>,
    /// Verdicts other than to pass.
    pub verdicts: u64,
    /// Those that the policy in force lets act, expected by the share of clients.
    pub enforced_before: f64,
    /// Those that the other one would.
    pub enforced_after: f64,
    /// Those that would not even be told, because their rule is off or their endpoint gone.
    pub silenced: u64,
}

/// Exchanges that go from one name to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Moved {
    /// Before; null for none.
    pub from: Option<String>,
    /// After; null for none.
    pub to: Option<String>,
    /// How many.
    pub exchanges: u64,
}

/// Rows of names that are told.
const MOVED_MAX: usize = 32;

/// Looks at `lines` under both policies.
#[must_use]
pub fn replay<'a>(
    lines: impl IntoIterator<Item = &'a ExchangeLine>,
    before: &Under,
    after: &Under,
) -> Replay {
    let mut told = Replay::default();
    let (mut endpoints, mut tenants) = (BTreeMap::new(), BTreeMap::new());
    let (mut first, mut last) = (f64::INFINITY, f64::NEG_INFINITY);
    for line in lines {
        told.exchanges += 1;
        (first, last) = (first.min(line.start), last.max(line.start));
        let names = [before, after].map(|under| under.endpoint(line));
        count(&mut endpoints, &names);
        let owners = [before, after].map(|under| under.tenants.of(&line.client).map(str::to_owned));
        count(&mut tenants, &owners);
        if line.verdict == Verdict::Pass {
            continue;
        }
        let Some(rule) = rule(line.reason) else { continue };
        told.verdicts += 1;
        told.enforced_before += before.acts(rule, names[0].is_some());
        told.enforced_after += after.acts(rule, names[1].is_some());
        let off = after.snapshot.rule_mode(rule) == RuleMode::Off || names[1].is_none();
        told.silenced += u64::from(off);
    }
    told.seconds = (last - first).max(0.0);
    (told.endpoints, told.tenants) = (rows(endpoints), rows(tenants));
    told
}

type Names = (Option<String>, Option<String>);

fn count(moved: &mut BTreeMap<Names, u64>, [from, to]: &[Option<String>; 2]) {
    if from != to {
        *moved.entry((from.clone(), to.clone())).or_default() += 1;
    }
}

fn rows(moved: BTreeMap<Names, u64>) -> Vec<Moved> {
    let mut rows: Vec<Moved> =
        moved.into_iter().map(|((from, to), exchanges)| Moved { from, to, exchanges }).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.exchanges));
    rows.truncate(MOVED_MAX);
    rows
}

impl Under {
    /// The endpoint that an exchange belongs to: by address, by name, and by what was learnt while the
    /// policy still has its endpoint.
    fn endpoint(&self, line: &ExchangeLine) -> Option<String> {
        let snapshot = &self.snapshot;
        let by_address = || {
            let server: IpAddr = line.server.parse().ok()?;
            snapshot.by_address(server, line.server_port)
        };
        let by_name = || line.sni.as_deref().and_then(|name| snapshot.by_name(name));
        if let Some(id) = by_address().or_else(by_name) {
            return Some(snapshot.endpoint(id).name.clone());
        }
        let learnt = matches!(line.endpoint_by, Some(Evidence::Learnt | Evidence::Fingerprint));
        let known = |name: &&String| {
            snapshot.policy().endpoints.iter().any(|endpoint| endpoint.name == **name)
        };
        line.endpoint.as_ref().filter(|_| learnt).filter(known).cloned()
    }

    /// The share of clients that `rule` acts on.
    fn acts(&self, rule: Rule, known: bool) -> f64 {
        if !known || !self.snapshot.rule_mode(rule).enforces() {
            return 0.0;
        }
        let rules = &self.snapshot.policy().rules;
        rules.share(rule) * (1.0 - rules.self_disarm.holdout_percent / 100.0)
    }
}

/// The rule that gives this reason.
fn rule(reason: Reason) -> Option<Rule> {
    match reason {
        Reason::NoRule | Reason::WithinRetryBudget => None,
        Reason::OverRetryBudget => Some(Rule::RetryBudget),
        Reason::ConcurrencyLimit => Some(Rule::Concurrency),
        Reason::AdmissionControl => Some(Rule::Throttle),
        Reason::BreakerOpen => Some(Rule::Breaker),
        Reason::ReplicaChoice => Some(Rule::Replica),
        Reason::ClientLeft => Some(Rule::Cancel),
        Reason::RetriesLast => Some(Rule::Guard),
        Reason::FanOut => Some(Rule::FanOut),
    }
}
