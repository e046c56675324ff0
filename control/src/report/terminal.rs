//! The report in a terminal: what a busy operator understands in ten seconds, then the detail.

use std::fmt::Write as _;

use fastpath::telemetry::event::{Outcome, Waste};
use fastpath::telemetry::ledger::Tally;

use super::{Report, Scope, wording};
use crate::figures;
use crate::output::{self, Column, Paint};

/// Rows of the worst endpoints and clients.
const WORST_MAX: usize = 5;
/// Causes.
const CAUSES_SHOWN: usize = 3;
/// Columns of the whole, and of a name.
const WIDTH: usize = 100;
const NAME_CHARS_MAX: usize = 30;

/// The whole summary.
#[must_use]
pub fn summary(report: &Report, paint: Paint) -> String {
    let mut out = String::new();
    head(&mut out, report, paint);
    if report.totals.attempts > 0 {
        tax(&mut out, report, paint);
        causes(&mut out, report, paint);
        prevented(&mut out, report, paint);
        worst(&mut out, report, paint);
    }
    other_servers(&mut out, report, paint);
    not_seen(&mut out, report, paint);
    if report.totals.attempts > 0 {
        next(&mut out, report, paint);
    }
    out
}

fn head(out: &mut String, report: &Report, paint: Paint) {
    let capture = &report.capture;
    let period = capture.start.map_or_else(
        || "no frame".to_owned(),
        |start| format!("{} UTC, {}", figures::utc(start), figures::duration(capture.seconds)),
    );
    let title = output::clean(&report.title());
    let _ = writeln!(
        out,
        "{}  {}",
        paint.bold(&title),
        paint.dim(&format!("{period}, {} frames", figures::count(capture.frames)))
    );
    if let Some(caution) = report.caution() {
        for line in output::wrapped(caution, WIDTH) {
            let _ = writeln!(out, "{}", paint.yellow(&line));
        }
    }
    let headline = report.headline();
    let headline =
        if report.waste.exchanges > 0 { paint.red(&headline) } else { paint.green(&headline) };
    let _ = writeln!(out, "{headline}\n");
}

fn tax(out: &mut String, report: &Report, paint: Paint) {
    let _ = writeln!(out, "{}", paint.bold("Coordination tax"));
    for wording::Figure { name, value, remark } in wording::tax(report) {
        let value = paint.bold(&format!("{value:>10}"));
        let _ = writeln!(out, "  {name:<16}{value}  {}", paint.dim(&remark));
    }
    let wasted = figures::count(report.waste.exchanges);
    paragraph(
        out,
        &format!("  {:<16}{wasted:>10}  ", "Wasted attempts"),
        &wording::by_class(report),
    );
    if let Some(unseen) = wording::unseen(report) {
        paragraph(out, "  Unseen          ", &unseen);
    }
}

fn causes(out: &mut String, report: &Report, paint: Paint) {
    let shown = &report.causes[..report.causes.len().min(CAUSES_SHOWN)];
    for (n, (cause, advice)) in shown.iter().zip(wording::advice(shown)).enumerate() {
        if n == 0 {
            let _ = writeln!(out, "\n{}", paint.bold("Worst causes"));
        }
        let endpoint = output::clean(&cause.endpoint);
        let title = format!("{endpoint}: {}", waste_text(cause.waste));
        let _ = writeln!(out, "  {}. {}", n + 1, paint.red(&title));
        let evidence: Vec<String> = cause.evidence.iter().map(wording::evidence).collect();
        paragraph(out, "     ", &format!("{}.", wording::cause_figures(cause)));
        paragraph(out, "     ", &wording::cause_place(cause));
        paragraph(out, "     ", &format!("Evidence: {}.", evidence.join(", ")));
        paragraph(out, "     ", advice.unwrap_or_default());
    }
}

fn prevented(out: &mut String, report: &Report, paint: Paint) {
    let _ = writeln!(out, "\n{}", paint.bold("What a policy would have saved"));
    let savings = wording::savings(report);
    if savings.is_empty() {
        paragraph(out, "  ", &wording::nothing_prevented(report));
        return;
    }
    for (law, saving) in &savings {
        let text = format!(
            "{law}: {} attempts, {}, {} tokens, {}.",
            figures::range(saving.exchanges.0, figures::tokens),
            figures::range(saving.seconds.0, figures::duration),
            figures::range(saving.tokens.0, figures::tokens),
            wording::money(saving.tokens, saving.cost),
        );
        paragraph(out, "  ", &text);
    }
    paragraph(out, "  ", "Each law by itself, so they do not add up. Shadow: nothing was held.");
}

fn next(out: &mut String, report: &Report, paint: Paint) {
    let _ = writeln!(out, "\n{}", paint.bold("What to do next"));
    for wording::Step { text, command } in wording::next_steps(report) {
        paragraph(out, "  - ", &text);
        if let Some(command) = command {
            let _ = writeln!(out, "      {}", paint.green(&command));
        }
    }
}

/// Text of at most [`WIDTH`] columns: `first` stands before its first line, as much room before
/// the others.
fn paragraph(out: &mut String, first: &str, text: &str) {
    let indent = first.chars().count();
    for (n, line) in output::wrapped(text, WIDTH - indent).into_iter().enumerate() {
        let before = if n == 0 { first.to_owned() } else { " ".repeat(indent) };
        let _ = writeln!(out, "{before}{line}");
    }
}

/// A class of waste in words.
pub(crate) const fn waste_text(class: Waste) -> &'static str {
    match class {
        Waste::Retry => "retried in vain",
        Waste::LateAbort => "left by the client midway",
        Waste::Partial => "cut by the server midway",
        Waste::Orphan => "made for a client that had left",
        Waste::Thrash => "thrown away by a restart",
        Waste::Doomed => "beside a branch that had failed",
        Waste::Hedge => "lost against its copy",
    }
}

fn worst(out: &mut String, report: &Report, paint: Paint) {
    let what = match report.scope {
        Scope::AiEndpoints => "endpoints",
        Scope::AllServers => "servers",
    };
    let row = |name: &str, tally, amplification| cells(name, tally, amplification);
    let endpoints: Vec<_> =
        report.endpoints.iter().map(|r| row(&r.name, &r.tally, r.amplification)).collect();
    let clients: Vec<_> =
        report.clients.iter().map(|r| row(&r.name, &r.tally, r.amplification)).collect();
    rows(out, &format!("Worst {what}"), &endpoints, paint);
    rows(out, "Worst clients", &clients, paint);
}

/// The columns that fit: the page has the rest.
const COLUMNS: [Column; 8] = [
    Column::text(""),
    Column::figure("ATTEMPTS"),
    Column::figure("PER CALL"),
    Column::figure("COMPLETE"),
    Column::figure("WASTED"),
    Column::figure("TIME"),
    Column::figure("TOKENS"),
    Column::figure("MONEY"),
];

fn cells(name: &str, tally: &Tally, amplification: Option<f64>) -> Vec<String> {
    let waste = &tally.waste;
    let money = if waste.unpriced() {
        figures::UNKNOWN.to_owned()
    } else {
        figures::dollars(waste.cost.0[1])
    };
    vec![
        name.chars().take(NAME_CHARS_MAX).collect(),
        figures::count(tally.attempts),
        figures::times(amplification),
        figures::count(tally.ended(Outcome::Complete)),
        figures::count(waste.exchanges),
        figures::duration(waste.seconds),
        figures::tokens(waste.tokens.0[1]),
        money,
    ]
}

fn rows(out: &mut String, title: &str, all: &[Vec<String>], paint: Paint) {
    let shown = &all[..all.len().min(WORST_MAX)];
    let count =
        if all.len() > WORST_MAX { format!("{WORST_MAX} of {}", all.len()) } else { String::new() };
    let _ = writeln!(out, "\n{} {}", paint.bold(title), paint.dim(&count));
    indent(out, &output::table(&COLUMNS, shown), paint);
}

fn indent(out: &mut String, table: &str, paint: Paint) {
    for (i, line) in table.lines().enumerate() {
        let line = if i == 0 { paint.dim(line) } else { line.to_owned() };
        let _ = writeln!(out, "  {line}");
    }
}

fn other_servers(out: &mut String, report: &Report, paint: Paint) {
    let others = &report.other_servers;
    if others.count == 0 {
        return;
    }
    let names: Vec<String> = others
        .busiest
        .iter()
        .take(WORST_MAX)
        .map(|row| {
            format!("{} ({})", output::clean(&row.name), figures::count(row.tally.exchanges))
        })
        .collect();
    let more = others.count.saturating_sub(names.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let _ = writeln!(
        out,
        "\n{}",
        paint.bold("Servers that are no known AI endpoint, not counted above")
    );
    paragraph(out, "  ", &format!("{}{more}", names.join(", ")));
    paragraph(out, "  ", "If one of them is yours, name it in a policy: docs/examples/policy.yaml");
}

fn not_seen(out: &mut String, report: &Report, paint: Paint) {
    let notes = &report.visibility.notes;
    if notes.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{}", paint.bold("What could not be seen"));
    for note in notes {
        paragraph(out, "  - ", note);
    }
}
