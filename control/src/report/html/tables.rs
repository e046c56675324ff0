//! The figures behind the charts, as tables.

use std::fmt::Write as _;

use fastpath::telemetry::event::{Outcome, Waste};
use fastpath::telemetry::ledger::{ClientRow, ConcurrencyRow, EndpointRow, Tally};

use crate::figures;
use crate::report::OtherServers;
use crate::report::chart::{escape, figure};
use crate::report::terminal::waste_text;
use crate::report::timeline::Step;
use fastpath::telemetry::ledger::propagation::{Kind, PropagationView};

/// The endpoints or other servers (`kind` says which), `all` of which `shown` are the first.
pub(super) fn endpoints(kind: &str, shown: &[&EndpointRow], all: usize) -> String {
    let mut heads = vec![kind];
    heads.extend(TALLY_HEADS);
    heads.extend(["First byte p50", "p99"]);
    let rows = shown.iter().map(|row| {
        let mut cells = tally(&row.name, &row.tally, row.amplification);
        cells.push(figures::millis(row.first_byte_p50_ms));
        cells.push(figures::millis(row.first_byte_p99_ms));
        cells
    });
    table(&heads, rows) + &rest(shown.len(), all)
}

/// The clients, `all` of which `shown` are the first.
pub(super) fn clients(shown: &[&ClientRow], all: usize) -> String {
    let mut heads = vec!["Client"];
    heads.extend(TALLY_HEADS);
    heads.push("Most at once");
    let rows = shown.iter().map(|row| {
        let mut cells = tally(&row.name, &row.tally, row.amplification);
        cells.push(row.concurrency_max.to_string());
        cells
    });
    table(&heads, rows) + &rest(shown.len(), all)
}

/// The steps in which something began.
pub(super) fn timeline(steps: &[Step]) -> String {
    let mut heads = vec!["Begin (UTC)", "First attempts", "Retries"];
    heads.extend(Waste::ALL.map(waste_text));
    heads.push("Wasted time");
    let busy = steps.iter().filter(|step| step.first_attempts + step.retries > 0);
    let rows = busy.map(|step| {
        let mut cells = vec![
            figures::clock(step.time),
            figures::count(step.first_attempts),
            figures::count(step.retries),
        ];
        let wasted = |class| step.wasted.get(&class).map_or(0, |wasted| wasted.exchanges);
        cells.extend(Waste::ALL.map(|class| figures::count(wasted(class))));
        cells.push(figures::duration(step.wasted_seconds()));
        cells
    });
    table(&heads, rows)
}

/// Exchanges at once.
pub(super) fn fan_out(rows: &[ConcurrencyRow]) -> String {
    let rows =
        rows.iter().map(|row| vec![between(row.from, row.to), figures::count(row.exchanges)]);
    table(&["Requests at once", "Requests that began so"], rows)
}

/// The edges.
pub(super) fn propagation(view: &PropagationView) -> String {
    let rows = view.edges.iter().map(|edge| {
        let what = match edge.kind {
            Kind::Failure => "failed attempts",
            Kind::Retry => "retries",
            Kind::FollowedBy => "other calls that followed",
            Kind::Restart => "calls made again",
            Kind::Doomed => "calls beside a failed branch",
        };
        let name = |id: &str| id.split_once(':').map_or(id, |(_, name)| name).to_owned();
        vec![
            name(&edge.from),
            name(&edge.to),
            what.to_owned(),
            figures::count(edge.exchanges),
            figures::count(edge.failed),
        ]
    });
    table(&["From", "To", "What", "Count", "Of them failed"], rows)
}

/// Servers that are no AI endpoint.
pub(super) fn other_servers(others: &OtherServers) -> String {
    let rows = others.busiest.iter().map(|row| {
        let not_ok = row.tally.exchanges - row.tally.ended(Outcome::Complete);
        vec![row.name.clone(), figures::count(row.tally.exchanges), figures::count(not_ok)]
    });
    let heads = ["Name asked for, or address", "Requests", "Not complete"];
    table(&heads, rows) + &rest(others.busiest.len(), others.count)
}

/// `3-4`, or `129 and more`.
pub(super) fn between(from: u32, to: Option<u32>) -> String {
    match to {
        Some(to) if to == from => from.to_string(),
        Some(to) => format!("{from}-{to}"),
        None => format!("{from} and more"),
    }
}

const TALLY_HEADS: [&str; 8] = [
    "Attempts",
    "Retries",
    "Per call",
    "Complete",
    "Wasted",
    "Wasted time",
    "Wasted tokens",
    "Wasted cost",
];

fn tally(name: &str, tally: &Tally, amplification: Option<f64>) -> Vec<String> {
    vec![
        name.to_owned(),
        figures::count(tally.attempts),
        figures::count(tally.retries()),
        figures::times(amplification),
        figures::count(tally.ended(Outcome::Complete)),
        figures::count(tally.waste.exchanges),
        figures::duration(tally.waste.seconds),
        figures::range(tally.waste.tokens.0, figures::tokens),
        if tally.waste.unpriced() {
            figures::UNKNOWN.to_owned()
        } else {
            figures::dollars(tally.waste.cost.0[1])
        },
    ]
}

/// A table; the first column and words are set to the left, figures to the right.
fn table(heads: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut out = String::from("<div class=\"scroll\"><table><thead><tr>");
    for head in heads {
        let _ = write!(out, "<th scope=\"col\">{}</th>", escape(head));
    }
    out.push_str("</tr></thead><tbody>");
    for row in rows {
        out.push_str("<tr>");
        for (i, cell) in row.iter().enumerate() {
            let word = cell.chars().next().is_some_and(char::is_alphabetic);
            let _ = match (i, word) {
                (0, _) => write!(out, "<th scope=\"row\">{}</th>", escape(cell)),
                (_, true) => write!(out, "<td class=\"word\">{}</td>", escape(cell)),
                (_, false) => write!(out, "<td>{}</td>", figure(cell)),
            };
        }
        out.push_str("</tr>");
    }
    out + "</tbody></table></div>"
}

fn rest(shown: usize, all: usize) -> String {
    if all <= shown {
        return String::new();
    }
    format!("<p class=\"rest\">{shown} of {all}; report.json has the rest.</p>")
}
