//! The report in a terminal: what a busy operator understands in ten seconds, then the detail.

use std::fmt::Write as _;

use fastpath::telemetry::event::Waste;

use super::{Report, Scope};
use crate::figures;
use crate::output::{self, Column, Paint, Row};

/// Rows of the worst endpoints and clients.
const WORST_MAX: usize = 5;

/// The whole summary.
#[must_use]
pub fn summary(report: &Report, paint: Paint) -> String {
    let mut out = String::new();
    head(&mut out, report, paint);
    if report.totals.attempts > 0 {
        figures_block(&mut out, report, paint);
        held(&mut out, report, paint);
        worst(&mut out, report, paint);
    }
    other_servers(&mut out, report, paint);
    not_seen(&mut out, report, paint);
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
        let _ = writeln!(out, "{}", paint.yellow(caution));
    }
    let headline = report.headline();
    let headline =
        if report.waste.exchanges > 0 { paint.red(&headline) } else { paint.green(&headline) };
    let _ = writeln!(out, "{headline}\n");
}

fn figures_block(out: &mut String, report: &Report, paint: Paint) {
    let (totals, waste) = (&report.totals, &report.waste);
    let mut line = |name: &str, figure: String, remark: &str| {
        let _ = writeln!(
            out,
            "  {name:<16}{}  {}",
            paint.bold(&format!("{figure:>12}")),
            paint.dim(remark)
        );
    };
    line("Calls", figures::count(totals.first_attempts), "pieces of work somebody wanted done");
    let ratio = format!("requests sent for them: {} a call", figures::times(totals.amplification));
    line("Attempts", figures::count(totals.attempts), &ratio);
    line("Wasted attempts", figures::count(waste.exchanges), &waste_by_class(report));
    line(
        "Wasted time",
        figures::duration(waste.seconds),
        "that wasted attempts kept connections busy",
    );
    if report.uncalibrated() {
        let remark = "no endpoint here has a calibration: name one in a policy";
        line("Wasted tokens", figures::UNKNOWN.to_owned(), remark);
        return;
    }
    let (likely, between) = estimate(waste.tokens.0, figures::tokens);
    let remark = format!("{between}of {} seen", figures::tokens(totals.tokens.0[1]));
    line("Wasted tokens", likely, &remark);
    if waste.unpriced() {
        line("Wasted cost", figures::UNKNOWN.to_owned(), "no price is known: name one in a policy");
    } else {
        let (likely, between) = estimate(waste.cost.0, figures::dollars);
        line("Wasted cost", likely, &format!("{between}output tokens at list or policy prices"));
    }
}

/// The likely value, and the range around it where there is one.
fn estimate(values: [f64; 3], text: fn(f64) -> String) -> (String, String) {
    let [low, likely, high] = values.map(text);
    if low == high {
        (likely, String::new())
    } else {
        (format!("~{likely}"), format!("{low} to {high}, "))
    }
}

fn waste_by_class(report: &Report) -> String {
    let by_class = |(class, &n): (&Waste, &u64)| {
        (n > 0).then(|| format!("{} {}", figures::count(n), waste_text(*class)))
    };
    let classes: Vec<String> = report.totals.by_waste.iter().filter_map(by_class).collect();
    if classes.is_empty() { "none seen".to_owned() } else { classes.join(", ") }
}

/// A class of waste in words.
pub(crate) const fn waste_text(class: Waste) -> &'static str {
    match class {
        Waste::Retry => "retried in vain",
        Waste::LateAbort => "left by the client midway",
        Waste::Partial => "cut by the server midway",
        Waste::Thrash => "asked again after a restart",
        Waste::Hedge => "lost against its copy",
    }
}

fn held(out: &mut String, report: &Report, paint: Paint) {
    for (law, held) in &report.prevented.by_law {
        let what = match law.as_str() {
            "retry_budget" => format!("A retry budget of {} %", report.prevented.retry_percent),
            other => other.to_owned(),
        };
        let text = format!(
            "{what} would have held {} ({} in vain: {}, ~{} tokens).",
            figures::counted(held.exchanges, "retry", "retries"),
            figures::count(held.in_vain),
            figures::duration(held.seconds),
            figures::tokens(held.tokens.0[1]),
        );
        let _ =
            writeln!(out, "\n  {} {}", paint.green(&text), paint.dim("Shadow: nothing was held."));
    }
}

fn worst(out: &mut String, report: &Report, paint: Paint) {
    let what = match report.scope {
        Scope::AiEndpoints => "endpoints",
        Scope::AllServers => "servers",
    };
    rows(out, &format!("Worst {what}"), &report.endpoints, paint);
    rows(out, "Worst clients", &report.clients, paint);
}

fn rows<T: Row>(out: &mut String, title: &str, all: &[T], paint: Paint) {
    let shown: Vec<Vec<String>> = all.iter().take(WORST_MAX).map(Row::cells).collect();
    let count =
        if all.len() > WORST_MAX { format!("{WORST_MAX} of {}", all.len()) } else { String::new() };
    let _ = writeln!(out, "\n{} {}", paint.bold(title), paint.dim(&count));
    indent(out, &output::table(&columns_without_name::<T>(), &shown), paint);
}

/// The heading says already what the rows are.
fn columns_without_name<T: Row>() -> Vec<Column> {
    let mut columns = T::COLUMNS.to_vec();
    if let Some(first) = columns.first_mut() {
        first.title = "";
    }
    columns
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
        "\n{}\n  {}{more}\n  {}",
        paint.bold("Servers that are no known AI endpoint, not counted above"),
        names.join(", "),
        paint.dim(
            "If one of them is yours, name it in a policy: docs/examples/policy.yaml, --policy FILE"
        )
    );
}

fn not_seen(out: &mut String, report: &Report, paint: Paint) {
    let notes = &report.visibility.notes;
    if notes.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{}", paint.bold("What could not be seen"));
    for note in notes {
        let _ = writeln!(out, "  {} {note}", paint.yellow("-"));
    }
}
