//! A run as one HTML page: the figures, and charts over time with a line for each column. Nothing is
//! fetched, nothing runs.

use std::fmt::Write as _;

use super::result::{ColumnResult, Figure, Run, Series};
use super::table;
use crate::report::chart::{Anchor, Svg, WIDTH, escape, legend, ticks};

const STYLE: &str = include_str!("../report/html/page.css");
const OWN_STYLE: &str = include_str!("page.css");

const LEFT: f64 = 60.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const TALL: f64 = 170.0;
const HEIGHT: f64 = 220.0;

/// A chart: its title, what it says, and its figures second by second.
type Chart = (&'static str, &'static str, fn(&Series) -> Vec<f64>);

const CHARTS: [Chart; 6] = [
    ("Goodput", "Calls answered a second, averaged over five.", |s| smooth(&counts(&s.goodput))),
    ("Attempts", "Attempts begun a second, averaged over five.", |s| smooth(&counts(&s.attempts))),
    ("At the servers", "Requests that have a slot or wait for one.", |s| {
        s.working.iter().zip(&s.queued).map(|(&a, &b)| f64::from(a) + f64::from(b)).collect()
    }),
    ("Held", "Requests kept back before the servers, or lost on the way.", |s| counts(&s.held)),
    ("Waste", "Slot-seconds a second for answers that nobody had, averaged over five.", |s| {
        smooth(&s.wasted_slot_seconds.iter().map(|figure| figure.0).collect::<Vec<_>>())
    }),
    ("429s", "Requests throttled a second.", |s| counts(&s.throttled)),
];

/// The page.
pub(super) fn page(run: &Run) -> String {
    let title = escape(&run.scenario);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\">\
         <title>Simulation: {title}</title><style>{STYLE}{OWN_STYLE}</style></head><body><main>\
         <header><p class=\"kicker\">Simulation</p><h1>{title}</h1><p class=\"period\">{}</p></header>\
         <section><pre>{}</pre></section>",
        escape(&run.title),
        escape(&table::text(run)),
    );
    for (title, lead, of) in CHARTS {
        let lines: Vec<(&ColumnResult, Vec<f64>)> =
            run.columns.iter().map(|column| (column, of(&column.series))).collect();
        if lines.iter().any(|(_, values)| values.iter().any(|&value| value > 0.0)) {
            section(&mut out, run, title, lead, &lines);
        }
    }
    let tenants = run.columns.iter().map(|column| column.tenants.len()).max().unwrap_or(0);
    for place in 0..tenants.min(TENANTS_MAX) {
        first_bytes(&mut out, run, place);
    }
    out + "</main></body></html>\n"
}

/// Tenants that have a chart.
const TENANTS_MAX: usize = 6;

/// Time to first byte of one tenant.
fn first_bytes(out: &mut String, run: &Run, place: usize) {
    let Some(tenant) = run.columns.first().and_then(|column| column.tenants.get(place)) else {
        return;
    };
    let title = format!("First byte: {}", tenant.tenant);
    let lead = "99th percentile of the time to the first byte, seconds, over ten seconds each.";
    let seconds = run.columns[0].series.goodput.len();
    let values = |column: &ColumnResult| {
        let mut values = vec![0.0; seconds];
        for &[Figure(from), _, Figure(p99)] in &column.tenants[place].first_byte_over_time {
            for (second, value) in values.iter_mut().enumerate() {
                if (from..from + 10.0).contains(&(second as f64)) {
                    *value = p99;
                }
            }
        }
        values
    };
    let lines: Vec<_> = run.columns.iter().map(|column| (column, values(column))).collect();
    section(out, run, &title, lead, &lines);
}

fn section(
    out: &mut String,
    run: &Run,
    title: &str,
    lead: &str,
    lines: &[(&ColumnResult, Vec<f64>)],
) {
    let classes: Vec<(String, &str)> = lines
        .iter()
        .map(|(column, _)| (format!("c-{}", column.column.name()), column.column.name()))
        .collect();
    let entries: Vec<(&str, &str)> = classes.iter().map(|(c, n)| (c.as_str(), *n)).collect();
    let _ = write!(
        out,
        "<section><h2>{}</h2><p class=\"lead\">{}</p>{}{}</section>",
        escape(title),
        escape(lead),
        legend(&entries),
        chart(run, title, lead, lines)
    );
}

fn chart(run: &Run, title: &str, lead: &str, lines: &[(&ColumnResult, Vec<f64>)]) -> String {
    let mut svg = Svg::new(HEIGHT, title, lead);
    let most = lines.iter().flat_map(|(_, values)| values).copied().fold(0.0, f64::max);
    let marks = ticks(most, 4.0);
    let top = marks.last().copied().unwrap_or(1.0);
    let seconds = run.seconds.0.max(1.0);
    let x = |second: f64| LEFT + (WIDTH - LEFT - RIGHT) * second / seconds;
    let y = |value: f64| TOP + TALL - TALL * value / top;
    if let Some([Figure(from), Figure(to)]) = run.trigger_seconds {
        let (left, right, low) = (x(from), x(to), y(0.0));
        let area = format!("M{left:.1} {TOP:.1}H{right:.1}V{low:.1}H{left:.1}Z");
        svg.path("trigger", &area, "the trigger");
    }
    for &mark in &marks {
        svg.line("grid", (LEFT, y(mark)), (WIDTH - RIGHT, y(mark)));
        let text = if top < 4.0 { format!("{mark:.1}") } else { format!("{mark:.0}") };
        svg.text("tick", (LEFT - 8.0, y(mark) + 4.0), Anchor::End, &text);
    }
    for mark in ticks(seconds, 8.0).into_iter().filter(|&mark| mark <= seconds) {
        svg.line("mark", (x(mark), y(0.0)), (x(mark), y(0.0) + 5.0));
        svg.text("tick", (x(mark), y(0.0) + 20.0), Anchor::Middle, &format!("{mark:.0} s"));
    }
    for (column, values) in lines {
        let mut path = String::new();
        for (second, &value) in values.iter().enumerate() {
            let step = if second == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{step}{:.1} {:.1}", x(second as f64), y(value));
        }
        let name = column.column.name();
        svg.path(&format!("series c-{name}"), &path, name);
    }
    svg.finish()
}

fn counts(values: &[u32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}

/// The mean of five seconds, the middle one being this.
fn smooth(values: &[f64]) -> Vec<f64> {
    let mean = |at: usize| {
        let near = &values[at.saturating_sub(2)..(at + 3).min(values.len())];
        near.iter().sum::<f64>() / near.len() as f64
    };
    (0..values.len()).map(mean).collect()
}
