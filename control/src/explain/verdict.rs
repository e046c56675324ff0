//! What a law said of an exchange, by which figures, and what was done.

use fastpath::telemetry::event::{Reason, Verdict, Visibility};
use fastpath::telemetry::grounds::DecisionGrounds;
use fastpath::telemetry::line::ExchangeLine;

use super::Statement;
use super::case::Case;
use crate::figures;

/// The verdict, the law behind it, its figures, and whether it was carried out.
pub(super) fn statements(case: &Case) -> Vec<Statement> {
    let x = &case.exchange;
    let say = |about, text| Statement { about, text };
    let mut out = vec![say("Verdict", decision(x))];
    if x.reason == Reason::NoRule {
        return out;
    }
    out.push(say("Law", law(case)));
    if let Some(grounds) = &x.grounds.decision {
        out.push(say("Figures", figures_of(x.reason, grounds)));
    }
    if matches!(x.reason, Reason::WithinRetryBudget | Reason::OverRetryBudget) {
        let load = case.load;
        let before = format!(
            "{} and {} at this endpoint, of which {} were over the budget",
            figures::counted(load.first_attempts, "first attempt", "first attempts"),
            figures::counted(load.retries, "retry", "retries"),
            figures::count(load.held)
        );
        out.push(say("Until then", before));
    }
    out.push(say("Enforced", enforced(x)));
    out
}

/// The verdict in a word, and whether it was only said.
pub(super) fn word(x: &ExchangeLine) -> String {
    match (x.verdict, x.enforced) {
        (Verdict::Pass, _) => "pass".to_owned(),
        (verdict, true) => verdict.name().to_owned(),
        (verdict, false) => format!("{} (shadow)", verdict.name()),
    }
}

fn decision(x: &ExchangeLine) -> String {
    let verdict = word(x);
    let why = match x.reason {
        Reason::NoRule if x.visibility == Visibility::Mux => "no rule looks at this stream",
        Reason::NoRule => "no rule looks at it",
        Reason::WithinRetryBudget if x.attempt <= 1 => {
            "a first attempt, which the retry budget never holds"
        }
        Reason::WithinRetryBudget => "a retry within the retry budget of its endpoint",
        Reason::OverRetryBudget => "a retry over the retry budget of its endpoint",
        Reason::ConcurrencyLimit => "as much waits at its backend as that takes up",
        Reason::AdmissionControl => "its backend accepts too small a share of what it gets",
        Reason::BreakerOpen => "its endpoint or backend fails, and is left alone for a while",
        Reason::ReplicaChoice => "the replica it called fails or has too much in flight",
        Reason::ClientLeft => "its client has left while the response was open",
        Reason::RetriesLast => "retries keep its endpoint overloaded, and first attempts go first",
        Reason::FanOut => "its client has as many requests running as it may",
    };
    format!("{verdict}: {why}")
}

fn law(case: &Case) -> String {
    let (budget, rules) = (case.policy.retry_budget, &case.policy.rules);
    match case.exchange.reason {
        Reason::NoRule => String::new(),
        Reason::WithinRetryBudget | Reason::OverRetryBudget => format!(
            "The budget of an endpoint: {} retries for a hundred first attempts and {} a second, of which {} can be saved up.",
            budget.percent, budget.min_per_sec, budget.burst
        ),
        Reason::ConcurrencyLimit => {
            "No more requests wait at a backend than 2.5 times what it begins to answer in its usual time to first byte, and 3."
                .to_owned()
        }
        Reason::AdmissionControl => format!(
            "Attempts beyond {} times what a backend accepts are held, at most {} % of them.",
            rules.throttle.aggression, rules.throttle.max_hold_percent
        ),
        Reason::BreakerOpen => format!(
            "{} failures in a row, or {} % of at least {} in ten seconds, open a breaker for {}, and for twice as long each time.",
            rules.breaker.consecutive_failures,
            rules.breaker.failure_percent,
            rules.breaker.request_volume,
            figures::duration(rules.breaker.base_ejection_time_ms as f64 / 1e3)
        ),
        Reason::ReplicaChoice => format!(
            "A new connection leaves a replica that is ejected, or has more than {} times the median in flight.",
            rules.replica.overload_factor
        ),
        Reason::ClientLeft => format!(
            "A client has left when it resets, or when it closes and nothing of the response comes for {}.",
            figures::duration(rules.cancel.grace_ms as f64 / 1e3)
        ),
        Reason::RetriesLast => {
            "While an endpoint can do less than it is asked and clients repeat themselves, retries wait for first attempts."
                .to_owned()
        }
        Reason::FanOut => match rules.fan_out.max_concurrent {
            Some(cap) => format!("A client may have {cap} requests running at once."),
            None => "A client may have as many requests running as it likes.".to_owned(),
        },
    }
}

fn figures_of(reason: Reason, grounds: &DecisionGrounds) -> String {
    let &DecisionGrounds { measured, limit, in_flight, held, .. } = grounds;
    let own = match reason {
        Reason::ConcurrencyLimit if grounds.base_seconds.is_some() => {
            format!("{measured} waited, of at most {limit:.1}")
        }
        Reason::ConcurrencyLimit => format!("{measured} were in flight, of at most {limit:.0}"),
        Reason::AdmissionControl => format!("a share of {measured:.2} is held"),
        Reason::BreakerOpen => format!("{measured} of {limit} had failed in ten seconds"),
        Reason::ReplicaChoice => format!("{measured} in flight there, {limit} at the one chosen"),
        Reason::ClientLeft => format!(
            "{} after its close, with {} of grace",
            figures::duration(measured),
            figures::duration(limit)
        ),
        Reason::FanOut => format!("{measured} ran, of at most {limit}"),
        Reason::OverRetryBudget | Reason::RetriesLast => {
            format!("a retry with probability {measured:.2}, {limit:.1} retries left")
        }
        Reason::NoRule | Reason::WithinRetryBudget => return String::new(),
    };
    let mut text = format!("{own}; {in_flight} in flight at its backend, {held} held");
    if let Some(base) = grounds.base_seconds {
        text += &format!(", usual time to first byte {}", figures::duration(base));
    }
    if let Some(rate) = grounds.rate_per_second {
        text += &format!(", {rate:.1} a second");
    }
    text
}

fn enforced(x: &ExchangeLine) -> String {
    match (x.verdict, x.enforced, x.hold_ms) {
        (Verdict::Pass, ..) => "nothing was to be done".to_owned(),
        (_, false, _) => "no: this is shadow, and nothing was held".to_owned(),
        (_, true, Some(ms)) => format!("yes, held for {}", figures::duration(ms as f64 / 1e3)),
        (_, true, None) => "yes".to_owned(),
    }
}
