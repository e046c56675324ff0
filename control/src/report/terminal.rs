//! The report in a terminal: what a busy operator understands in ten seconds, then the detail.

use std::fmt::Write as _;

use fastpath::telemetry::event::{Outcome, Waste};
use fastpath::telemetry::ledger::Tally;

use super::chart::label;
use super::naming::Naming;
use super::{Report, Scope, wording};
use crate::figures;
use crate::output::{self, Column, Paint};

/// Rows of the worst endpoints and clients.
const WORST_MAX: usize = 5;
/// Causes.
const CAUSES_SHOWN: usize = 3;
/// Columns of a name.
const NAME_CHARS_MAX: usize = 30;
const NAME_CHARS_MIN: usize = 12;

/// How the summary is to look.
#[derive(Clone, Copy, Debug)]
pub struct Style<'a> {
    /// With colours or without.
    pub paint: Paint,
    /// Columns of text. A command takes as many as it needs: it is to be pasted.
    pub columns: usize,
    /// How commands name files.
    pub naming: Naming<'a>,
}

/// The whole summary.
#[must_use]
pub fn summary(report: &Report, style: &Style<'_>) -> String {
    let mut out = String::new();
    head(&mut out, report, style);
    if report.totals.attempts > 0 {
        tax(&mut out, report, style);
        causes(&mut out, report, style);
        prevented(&mut out, report, style);
        worst(&mut out, report, style);
    }
    other_servers(&mut out, report, style);
    not_seen(&mut out, report, style);
    if report.totals.attempts > 0 {
        next(&mut out, report, style);
    }
    out
}

fn head(out: &mut String, report: &Report, style: &Style<'_>) {
    let paint = style.paint;
    let capture = &report.capture;
    let period = capture.start.map_or_else(
        || "no frame".to_owned(),
        |start| format!("{} UTC, {}", figures::utc(start), figures::duration(capture.seconds)),
    );
    let title = output::clean(&report.title());
    let frames = format!("{period}, {} frames", figures::count(capture.frames));
    let one_line = title.chars().count() + 2 + frames.chars().count() <= style.columns;
    let between = if one_line { "  " } else { "\n" };
    let _ = writeln!(out, "{}{between}{}", paint.bold(&title), paint.dim(&frames));
    if let Some(caution) = report.caution() {
        for line in output::wrapped(caution, style.columns) {
            let _ = writeln!(out, "{}", paint.yellow(&line));
        }
    }
    for line in output::wrapped(&report.headline(), style.columns) {
        let line = if report.waste.exchanges > 0 { paint.red(&line) } else { paint.green(&line) };
        let _ = writeln!(out, "{line}");
    }
    out.push('\n');
}

/// Where the remark on a figure begins.
const REMARK_FROM: usize = 30;

fn tax(out: &mut String, report: &Report, style: &Style<'_>) {
    let paint = style.paint;
    let _ = writeln!(out, "{}", paint.bold("Coordination tax"));
    for wording::Figure { name, value, remark } in wording::tax(report) {
        let lines = output::wrapped(&remark, style.columns - REMARK_FROM);
        for (n, line) in lines.iter().enumerate() {
            let (name, value) = if n == 0 { (name, value.as_str()) } else { ("", "") };
            let value = paint.bold(&format!("{value:>10}"));
            let _ = writeln!(out, "  {name:<16}{value}  {}", paint.dim(line));
        }
    }
    let wasted = figures::count(report.waste.exchanges);
    paragraph(
        out,
        style,
        &format!("  {:<16}{wasted:>10}  ", "Wasted attempts"),
        &wording::by_class(report),
    );
    if let Some(unseen) = wording::unseen(report) {
        paragraph(out, style, "  Unseen          ", &unseen);
    }
}

fn causes(out: &mut String, report: &Report, style: &Style<'_>) {
    let paint = style.paint;
    let shown = &report.causes[..report.causes.len().min(CAUSES_SHOWN)];
    for (n, (cause, advice)) in shown.iter().zip(wording::advice(shown)).enumerate() {
        if n == 0 {
            let _ = writeln!(out, "\n{}", paint.bold("Worst causes"));
        }
        let why = waste_text(cause.waste);
        let room = style.columns.saturating_sub(why.chars().count() + 7);
        let endpoint = label(&output::clean(&cause.endpoint), room);
        let title = format!("{endpoint}: {why}");
        let _ = writeln!(out, "  {}. {}", n + 1, paint.red(&title));
        let named = |evidence| wording::evidence(report, evidence, style.naming);
        let evidence: Vec<String> = cause.evidence.iter().map(named).collect();
        paragraph(out, style, "     ", &format!("{}.", wording::cause_figures(cause)));
        paragraph(out, style, "     ", &wording::cause_place(cause));
        paragraph(out, style, "     ", &format!("Evidence: {}.", evidence.join(", ")));
        paragraph(out, style, "     ", advice.unwrap_or_default());
    }
}

fn prevented(out: &mut String, report: &Report, style: &Style<'_>) {
    let paint = style.paint;
    let _ = writeln!(out, "\n{}", paint.bold("What a policy would have saved"));
    let savings = wording::savings(report);
    if savings.is_empty() {
        paragraph(out, style, "  ", &wording::nothing_prevented(report));
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
        paragraph(out, style, "  ", &text);
    }
    paragraph(
        out,
        style,
        "  ",
        "Each law by itself, so they do not add up. Shadow: nothing was held.",
    );
}

fn next(out: &mut String, report: &Report, style: &Style<'_>) {
    let paint = style.paint;
    let _ = writeln!(out, "\n{}", paint.bold("What to do next"));
    for wording::Step { text, command } in wording::next_steps(report, style.naming) {
        paragraph(out, style, "  - ", &text);
        if let Some(command) = command {
            let _ = writeln!(out, "      {}", paint.green(&command));
        }
    }
}

/// Text that fits its columns: `first` stands before its first line, as much room before the others.
fn paragraph(out: &mut String, style: &Style<'_>, first: &str, text: &str) {
    let indent = first.chars().count();
    for (n, line) in output::wrapped(text, style.columns - indent).into_iter().enumerate() {
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

fn worst(out: &mut String, report: &Report, style: &Style<'_>) {
    let what = match report.scope {
        Scope::AiEndpoints => "endpoints",
        Scope::AllServers => "servers",
    };
    let row = |name: &str, tally, amplification| cells(name, tally, amplification);
    let endpoints: Vec<_> =
        report.endpoints.iter().map(|r| row(&r.name, &r.tally, r.amplification)).collect();
    let clients: Vec<_> =
        report.clients.iter().map(|r| row(&r.name, &r.tally, r.amplification)).collect();
    rows(out, &format!("Worst {what}"), &endpoints, style);
    rows(out, "Worst clients", &clients, style);
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
        name.to_owned(),
        figures::count(tally.attempts),
        figures::times(amplification),
        figures::count(tally.ended(Outcome::Complete)),
        figures::count(waste.exchanges),
        figures::duration(waste.seconds),
        figures::tokens(waste.tokens.0[1]),
        money,
    ]
}

fn rows(out: &mut String, title: &str, all: &[Vec<String>], style: &Style<'_>) {
    let mut shown = all[..all.len().min(WORST_MAX)].to_vec();
    let count = if all.len() > WORST_MAX {
        style.paint.dim(&format!(" {WORST_MAX} of {}", all.len()))
    } else {
        String::new()
    };
    let width = |column: usize| {
        let cells = shown.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0).max(COLUMNS[column].title.len()) + 2
    };
    let figures: usize = (1..COLUMNS.len()).map(width).sum();
    let room = style.columns.saturating_sub(figures + 2).clamp(NAME_CHARS_MIN, NAME_CHARS_MAX);
    for row in &mut shown {
        row[0] = label(&row[0], room);
    }
    let _ = writeln!(out, "\n{}{count}", style.paint.bold(title));
    indent(out, &output::table(&COLUMNS, &shown), style.paint);
}

fn indent(out: &mut String, table: &str, paint: Paint) {
    for (i, line) in table.lines().enumerate() {
        let line = if i == 0 { paint.dim(line) } else { line.to_owned() };
        let _ = writeln!(out, "  {line}");
    }
}

fn other_servers(out: &mut String, report: &Report, style: &Style<'_>) {
    let paint = style.paint;
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
    paragraph(out, style, "  ", &format!("{}{more}", names.join(", ")));
    paragraph(
        out,
        style,
        "  ",
        "If one of them is yours, name it in a policy: docs/examples/policy.yaml",
    );
}

fn not_seen(out: &mut String, report: &Report, style: &Style<'_>) {
    let paint = style.paint;
    let notes = &report.visibility.notes;
    if notes.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{}", paint.bold("What could not be seen"));
    for note in notes {
        paragraph(out, style, "  - ", note);
    }
}
