//! The words of the first page, the same in the terminal and in HTML.

use fastpath::telemetry::event::{Outcome, Waste};
use fastpath::telemetry::ledger::Range;
use fastpath::telemetry::ledger::savings::{Saving, SavingsView};

use super::Report;
use super::causes::{Cause, Evidence};
use super::naming::Naming;
use super::terminal::waste_text;
use crate::figures;
use crate::output::clean;

/// A figure of the coordination tax.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Figure {
    pub(super) name: &'static str,
    pub(super) value: String,
    pub(super) remark: String,
}

/// Something to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) text: String,
    pub(super) command: Option<String>,
}

/// The coordination tax: what waste cost in tokens, time and money.
pub(super) fn tax(report: &Report) -> [Figure; 3] {
    let (totals, waste) = (&report.totals, &report.waste);
    let figure = |name, value, remark| Figure { name, value, remark };
    let unknown = |name, remark: &str| figure(name, "unknown".to_owned(), remark.to_owned());
    let of = |all: f64, part: f64, text: String| match all > 0.0 {
        true => format!("{:.0} % of the {text} seen", part / all * 100.0),
        false => "none were seen".to_owned(),
    };
    let [_, all_tokens, _] = totals.tokens.0;
    let tokens = if report.uncalibrated() {
        unknown("Wasted tokens", "no endpoint here has a calibration")
    } else {
        let (likely, between) = estimate(waste.tokens.0, figures::tokens);
        let share = of(all_tokens, waste.tokens.0[1], figures::tokens(all_tokens));
        figure("Wasted tokens", likely, format!("{between}{share}"))
    };
    let time = figure(
        "Wasted time",
        figures::duration(waste.seconds),
        "connections kept busy for nothing".to_owned(),
    );
    let money = if report.uncalibrated() || waste.unpriced() {
        unknown("Wasted money", "no price is known: name one in a policy")
    } else {
        let (likely, between) = estimate(waste.cost.0, figures::dollars);
        figure("Wasted money", likely, format!("{between}output tokens at list or policy prices"))
    };
    [tokens, time, money]
}

/// Wasted attempts by class.
pub(super) fn by_class(report: &Report) -> String {
    let by_class = |(class, &n): (&Waste, &u64)| {
        (n > 0).then(|| format!("{} {}", figures::count(n), waste_text(*class)))
    };
    let classes: Vec<String> = report.totals.by_waste.iter().filter_map(by_class).collect();
    if classes.is_empty() { "none seen".to_owned() } else { classes.join(", ") }
}

/// What to do about each cause: nothing where one before it has said so.
pub(super) fn advice(causes: &[Cause]) -> Vec<Option<&'static str>> {
    let said = |n: usize| causes[..n].iter().any(|before| before.waste == causes[n].waste);
    (0..causes.len()).map(|n| (!said(n)).then(|| causes[n].advice())).collect()
}

/// The likely value, and the range around it where there is one.
fn estimate(values: [f64; 3], text: fn(f64) -> String) -> (String, String) {
    let [low, likely, high] = values.map(text);
    if low == high {
        (likely, String::new())
    } else {
        (format!("~{likely}"), format!("{low} to {high}; "))
    }
}

/// What is missing from the tax because it cannot be seen, where something is.
pub(super) fn unseen(report: &Report) -> Option<String> {
    let unseen = report.visibility.unseen;
    let requests = |n| figures::counted(n, "request", "requests");
    let parts: Vec<String> = [
        (unseen.abandoned_before_first_byte, "abandoned before the first byte"),
        (unseen.uncalibrated, "without a calibration for tokens"),
        (unseen.unpriced, "without a price"),
        (
            report.totals.by_outcome.get(&Outcome::Open).copied().unwrap_or(0),
            "still running at the end",
        ),
    ]
    .into_iter()
    .filter(|&(n, _)| n > 0)
    .map(|(n, what)| format!("{} {what}", requests(n)))
    .collect();
    let text = format!(
        "{}. What of it was waste is not known, and not in these figures.",
        parts.join(", ")
    );
    (!parts.is_empty()).then_some(text)
}

/// How much a cause wasted.
pub(super) fn cause_figures(cause: &Cause) -> String {
    let totals = &cause.totals;
    let [.., most] = totals.tokens.0;
    let tokens = match most > 0.0 {
        true => format!(
            ", {} tokens, {}",
            figures::range(totals.tokens.0, figures::tokens),
            money(totals.tokens, totals.cost)
        ),
        false => String::new(),
    };
    format!(
        "{:.0} % of all waste: {}, {}{tokens}",
        cause.share * 100.0,
        figures::counted(totals.exchanges, "attempt", "attempts"),
        figures::duration(totals.seconds),
    )
}

/// Whom it befell, and when.
pub(super) fn cause_place(cause: &Cause) -> String {
    let (worst, attempts) = &cause.worst_client;
    let clients = match cause.clients {
        0 | 1 => format!("All by {}", clean(worst)),
        n => format!("By {n} clients, most by {} ({})", clean(worst), figures::count(*attempts)),
    };
    let (from, to) = (figures::utc(cause.first), figures::utc(cause.last));
    let to = if from[..10] == to[..10] { to[11..].to_owned() } else { to };
    format!("{clients}; from {from} to {to} UTC.")
}

/// An exchange, with its capture where there are several.
pub(super) fn evidence(report: &Report, evidence: &Evidence, naming: Naming<'_>) -> String {
    let capture = evidence.capture.as_ref();
    capture.map_or_else(
        || evidence.exchange.clone(),
        |capture| format!("{} {}", naming.evidence(report, capture), evidence.exchange),
    )
}

/// The command that explains the first exchange of a cause's evidence.
pub(super) fn explain_command(
    report: &Report,
    cause: &Cause,
    naming: Naming<'_>,
) -> Option<String> {
    let first = cause.evidence.first()?;
    let file = naming.capture(report, first.capture.as_deref())?;
    let policy = naming.policy(report);
    Some(format!("fermata explain --read {file} {}{policy}", first.exchange))
}

/// What each law would have prevented, as people call it; those that would have prevented nothing
/// are left out.
pub(super) fn savings(report: &Report) -> Vec<(String, Saving)> {
    let SavingsView { retry_budget, breaker, cancel_propagation, fan_out, admission } =
        report.savings;
    let budget = format!("Retry budget of {} %", report.prevented.retry_percent);
    [
        (budget, retry_budget),
        ("Breaker".to_owned(), breaker),
        ("Cancel propagation".to_owned(), cancel_propagation),
        ("Fan-out and doomed work".to_owned(), fan_out),
        ("Admission limit and hold".to_owned(), admission),
    ]
    .into_iter()
    .filter(|(_, saving)| saving.exchanges.0[2] > 0.0)
    .collect()
}

/// What to say where no law would have held anything.
pub(super) fn nothing_prevented(report: &Report) -> String {
    match report.waste.exchanges {
        0 => "Nothing was wasted, and no law would have held anything.".to_owned(),
        _ => "Nothing: no law that is known here would have touched this waste.".to_owned(),
    }
}

/// A cost and its range, or that no price is known.
pub(super) fn money(tokens: Range, cost: Range) -> String {
    let ([_, tokens, _], [_, usual, _]) = (tokens.0, cost.0);
    if tokens > 0.0 && usual <= 0.0 {
        return "no price".to_owned();
    }
    figures::range(cost.0, figures::dollars)
}

/// What to do next, in order.
pub(super) fn next_steps(report: &Report, naming: Naming<'_>) -> Vec<Step> {
    let step = |text: &str, command: Option<String>| Step { text: text.to_owned(), command };
    let (captures, starter) = (naming.captures(report), naming.starter());
    let mut steps = Vec::new();
    if let Some(cause) = report.causes.first() {
        let text =
            "Look at the heaviest wasted exchange: every observation and rule behind it, in words.";
        steps.push(step(text, explain_command(report, cause, naming)));
    }
    if naming.is_unwritten() {
        let text = "Write this as a page to pass on, with a starter policy beside it.";
        let policy = naming.policy(report);
        let command =
            captures.as_ref().map(|files| format!("fermata assess {files}{policy} --out report"));
        steps.push(step(text, command));
    }
    let budget = &report.starter_budget;
    let text = format!(
        "Check the starter policy: the endpoints seen, and a retry budget of {} %, at least {} in ten seconds, all in \
         shadow.",
        budget.percent, budget.min_per_ten_seconds
    );
    steps.push(step(&text, Some(format!("fermata validate {starter}"))));
    if report.uncalibrated() || report.waste.unpriced() || report.visibility.unseen.unpriced > 0 {
        let text = "Add prices to its endpoints: money is missing where no price is known.";
        steps.push(step(text, None));
    }
    let text = "Assess again under it, with other captures too: a policy that fits one hour may not fit the next.";
    let command = captures.map(|files| format!("fermata assess {files} --policy {starter}"));
    steps.push(step(text, command));
    steps
}
