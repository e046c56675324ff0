//! The report as one HTML page: nothing is fetched, nothing runs, every name is escaped.

mod summary;
mod tables;

use std::fmt::Write as _;

use fastpath::telemetry::event::{Outcome, Waste};
use fastpath::telemetry::ledger::{ClientRow, EndpointRow, Tally};

use super::chart::bars::{self, Bar};
use super::chart::pattern::patterns;
use super::chart::timeline::waste_class;
use super::chart::{columns, escape, legend, spread, timeline};
use super::terminal::waste_text;
use super::{Report, Scope};
use crate::figures;

/// Bars and rows of the page; `report.json` has all.
const SHOWN_MAX: usize = 15;

const STYLE: &str = include_str!("html/page.css");

/// The page.
#[must_use]
pub fn page(report: &Report) -> String {
    let mut out = String::with_capacity(1 << 16);
    let title = escape(&report.title());
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\">\
         <title>Waste report: {title}</title><style>{STYLE}</style></head><body>{}<main>",
        patterns()
    );
    head(&mut out, report);
    if let Some(caution) = report.caution() {
        let _ = write!(out, "<p class=\"caution\">{}</p>", escape(caution));
    }
    if report.totals.attempts > 0 {
        summary::tax(&mut out, report);
        summary::causes(&mut out, report);
        summary::prevented(&mut out, report);
        summary::next(&mut out, report);
        out.push_str("<h2 class=\"part\">In detail</h2>");
        over_time(&mut out, report);
        endpoints(&mut out, report);
        clients(&mut out, report);
        fan_out(&mut out, report);
        failures(&mut out, report);
    }
    visibility(&mut out, report);
    let _ = writeln!(
        out,
        "<footer>Made by {}. Fermata reads no content: everything here follows from lengths, times and \
         clear handshake fields.</footer></main></body></html>",
        escape(&report.generator)
    );
    out
}

fn head(out: &mut String, report: &Report) {
    let capture = &report.capture;
    let period = match (capture.start, capture.end) {
        (Some(start), Some(end)) => format!(
            "{} to {} UTC ({})",
            figures::utc(start),
            figures::utc(end),
            figures::duration(capture.seconds)
        ),
        _ => "no frame".to_owned(),
    };
    let _ = write!(
        out,
        "<header><p class=\"kicker\">Coordination tax of AI traffic</p><h1>{}</h1>\
         <p class=\"period\">{}: {period}, {} frames, {}</p></header>",
        escape(&report.headline()),
        escape(&report.title()),
        figures::count(capture.frames),
        figures::bytes(capture.bytes),
    );
}

fn over_time(out: &mut String, report: &Report) {
    section(out, "Attempts and waste over time", "Each attempt stands at the time it began.");
    let waste: Vec<(Waste, String)> =
        seen(report).map(|class| (class, format!("waste: {}", waste_text(class)))).collect();
    let mut entries = vec![("a-first", "first attempts"), ("a-retry", "retries")];
    let texts = waste.iter().map(|(class, text)| (waste_class(*class), text.as_str()));
    entries.extend(texts);
    out.push_str(&legend(&entries));
    out.push_str(&timeline::chart(&report.timeline, report.timeline_step_seconds));
    details(out, "Table: attempts and waste over time", &tables::timeline(&report.timeline));
    out.push_str("</section>");
}

/// The classes of waste that there are.
fn seen(report: &Report) -> impl Iterator<Item = Waste> {
    let by_waste = &report.totals.by_waste;
    Waste::ALL.into_iter().filter(|class| by_waste.get(class).is_some_and(|&n| n > 0))
}

fn endpoints(out: &mut String, report: &Report) {
    let (title, kind, lead) = match report.scope {
        Scope::AiEndpoints => {
            ("Endpoints", "Endpoint", "How attempts ended at each AI endpoint, most waste first.")
        }
        Scope::AllServers => {
            ("Servers", "Server", "How attempts ended at each TLS server, most waste first.")
        }
    };
    section(out, title, lead);
    let shown: Vec<&EndpointRow> = report.endpoints.iter().take(SHOWN_MAX).collect();
    let bars: Vec<Bar> = shown.iter().map(|row| outcome_bar(row)).collect();
    let used = |outcome: &Outcome| report.totals.by_outcome.get(outcome).is_some_and(|&n| n > 0);
    let entries: Vec<_> = Outcome::ALL
        .into_iter()
        .filter(used)
        .map(|outcome| (outcome_class(outcome), outcome_text(outcome)))
        .collect();
    out.push_str(&legend(&entries));
    out.push_str(&bars::chart(title, &bars));
    out.push_str(&tables::endpoints(kind, &shown, report.endpoints.len()));
    out.push_str("</section>");
}

fn clients(out: &mut String, report: &Report) {
    section(out, "Clients", "Useful and wasted attempts of each client, most waste first.");
    let shown: Vec<&ClientRow> = report.clients.iter().take(SHOWN_MAX).collect();
    let mut entries = vec![("o-complete", "not wasted")];
    entries.extend(seen(report).map(|class| (waste_class(class), waste_text(class))));
    out.push_str(&legend(&entries));
    let bars: Vec<Bar> =
        shown.iter().map(|row| waste_bar(&row.name, &row.tally, row.amplification)).collect();
    out.push_str(&bars::chart("Clients", &bars));
    out.push_str(&tables::clients(&shown, report.clients.len()));
    out.push_str("</section>");
}

fn fan_out(out: &mut String, report: &Report) {
    let lead = format!(
        "How many requests a client had running when one of its requests began, itself included. The most \
         was {}.",
        report.fan_out.max
    );
    section(out, "Fan-out", &lead);
    let columns: Vec<(String, u64)> = report
        .fan_out
        .concurrency
        .iter()
        .map(|row| (tables::between(row.from, row.to), row.exchanges))
        .collect();
    out.push_str(&columns::chart("Requests of one client at once", "requests at once", &columns));
    details(out, "Table: requests at once", &tables::fan_out(&report.fan_out.concurrency));
    out.push_str("</section>");
}

fn failures(out: &mut String, report: &Report) {
    let window = figures::duration(report.propagation.window_seconds);
    let lead = format!(
        "From endpoints where attempts failed, through the clients that met the failure, to what these called \
         within {window}. A retry is the same work again; other calls only followed in time."
    );
    section(out, "How failures spread", &lead);
    match spread::chart(&report.propagation) {
        Some(chart) => {
            out.push_str(&legend(&[
                ("s-failure", "failed attempts"),
                ("s-retry", "retries"),
                ("s-followed", "other calls that followed"),
            ]));
            out.push_str(&chart);
            details(out, "Table: how failures spread", &tables::propagation(&report.propagation));
        }
        None => out.push_str("<p class=\"none\">No attempt failed.</p>"),
    }
    out.push_str("</section>");
}

fn visibility(out: &mut String, report: &Report) {
    section(out, "What could not be seen", "Figures above are without this.");
    if report.visibility.notes.is_empty() {
        out.push_str("<p class=\"none\">Nothing was missing.</p>");
    } else {
        out.push_str("<ul class=\"notes\">");
        for note in &report.visibility.notes {
            let _ = write!(out, "<li>{}</li>", escape(note));
        }
        out.push_str("</ul>");
    }
    out.push_str("</section>");
    if report.other_servers.count > 0 {
        section(
            out,
            "Servers that are no known AI endpoint",
            "They are not counted above. If one of them is yours, name it in a policy (docs/examples/policy.yaml) \
             and assess again with --policy.",
        );
        out.push_str(&tables::other_servers(&report.other_servers));
        out.push_str("</section>");
    }
}

fn section(out: &mut String, title: &str, lead: &str) {
    let _ =
        write!(out, "<section><h2>{}</h2><p class=\"lead\">{}</p>", escape(title), escape(lead));
}

fn details(out: &mut String, title: &str, table: &str) {
    let _ = write!(out, "<details><summary>{}</summary>{table}</details>", escape(title));
}

fn outcome_bar(row: &EndpointRow) -> Bar {
    let part = |outcome: Outcome| {
        (outcome_class(outcome), row.tally.ended(outcome), outcome_text(outcome))
    };
    let remark = remark(&row.tally, row.amplification);
    Bar { name: row.name.clone(), parts: Outcome::ALL.map(part).to_vec(), remark }
}

fn waste_bar(name: &str, tally: &Tally, amplification: Option<f64>) -> Bar {
    let useful = tally.attempts - tally.waste.exchanges;
    let mut parts = vec![("o-complete", useful, "not wasted")];
    parts.extend(Waste::ALL.map(|class| {
        let count = tally.by_waste.get(&class).copied().unwrap_or(0);
        (waste_class(class), count, waste_text(class))
    }));
    Bar { name: name.to_owned(), parts, remark: remark(tally, amplification) }
}

fn remark(tally: &Tally, amplification: Option<f64>) -> String {
    let wasted = figures::percent(tally.waste.exchanges, tally.attempts);
    format!("{} wasted, {}", wasted, figures::times(amplification))
}

const fn outcome_class(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Complete => "o-complete",
        Outcome::Failed => "o-failed",
        Outcome::Throttled => "o-throttled",
        Outcome::ClientAbort => "o-client",
        Outcome::ServerAbort => "o-server",
        Outcome::Truncated => "o-truncated",
        Outcome::Stalled => "o-stalled",
        Outcome::ConnectFailed => "o-connect",
        Outcome::Open => "o-open",
    }
}

const fn outcome_text(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Complete => "complete",
        Outcome::Failed => "failed",
        Outcome::Throttled => "throttled",
        Outcome::ClientAbort => "left by the client",
        Outcome::ServerAbort => "cut by the server",
        Outcome::Truncated => "truncated",
        Outcome::Stalled => "stalled",
        Outcome::ConnectFailed => "no response",
        Outcome::Open => "still running",
    }
}
