//! The lower part of a frame: tables of endpoints, backends, clients, tenants, savings, and how the
//! data plane is doing.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use fastpath::ipc::{BackendRow, BreakerState, EndpointRow, Standings};
use fastpath::telemetry::event::Outcome;
use fastpath::telemetry::ledger::savings::Saving;
use fastpath::telemetry::ledger::{Tally, TenantRow};

use super::state::Order;
use crate::export::Snapshot;
use crate::figures::{self, UNKNOWN};
use crate::output::{self, Column, Paint, Row};
use crate::rows;

/// A table: its title, columns and cells.
pub(super) struct Table {
    pub(super) title: &'static str,
    pub(super) columns: Vec<Column>,
    pub(super) cells: Vec<Vec<String>>,
}

/// What the backends of an endpoint add up to.
#[derive(Default)]
struct Sum {
    in_flight_max: f64,
    waiting: u64,
    waiting_max: Option<f64>,
    held: u64,
    open: usize,
    backends: usize,
}

impl Table {
    /// As text of at most `room` rows, without the `first` ones.
    pub(super) fn text(&self, out: &mut String, first: usize, room: usize, paint: Paint) {
        let first = first.min(self.cells.len().saturating_sub(room));
        let last = (first + room).min(self.cells.len());
        let all = last - first == self.cells.len();
        let which = if all {
            String::new()
        } else {
            format!(" {} to {last} of {}", first + 1, self.cells.len())
        };
        let _ = writeln!(out, "\n{}{}", paint.bold(self.title), paint.dim(&which));
        if self.cells.is_empty() {
            let _ = writeln!(out, "  {}", paint.dim("none yet"));
        } else {
            out.push_str(&output::table(&self.columns, &self.cells[first..last]));
        }
    }
}

/// Endpoints with what they may and do, and what they waste.
pub(super) fn endpoints(look: &Snapshot, before: Option<&Snapshot>, order: Order) -> Table {
    let columns = vec![
        Column::text(""),
        Column::figure("IN FLIGHT"),
        Column::figure("MAY"),
        Column::figure("WAIT"),
        Column::figure("MAY"),
        Column::figure("HELD"),
        Column::text("BREAKER"),
        Column::figure("FIRST BYTE"),
        Column::figure("p99"),
        Column::figure("REQ/S"),
        Column::figure("ATTEMPTS"),
        Column::figure("AMPLIF."),
        Column::figure("FAILED"),
        Column::figure("WASTED"),
        Column::figure("TOKENS"),
        Column::figure("COST"),
    ];
    let earlier: BTreeMap<&str, u64> = before
        .into_iter()
        .flat_map(|look| &look.ledger.endpoints.servers)
        .map(|row| (&*row.name, row.tally.attempts))
        .collect();
    let seconds = before.map(|b| look.status.uptime_seconds - b.status.uptime_seconds);
    let mut rows: Vec<&EndpointRow> = look.ledger.endpoints.servers.iter().collect();
    sort(&mut rows, order, |row| (&row.name, &row.tally));
    let cells = rows
        .into_iter()
        .map(|row| {
            let grown = row.tally.attempts - earlier.get(&*row.name).copied().unwrap_or(0);
            let rate = seconds.filter(|&s| s > 0.0).map(|s| grown as f64 / s);
            endpoint(row, &look.standings, rate)
        })
        .collect();
    Table { title: "Endpoints", columns, cells }
}

fn endpoint(row: &EndpointRow, standings: &Standings, rate: Option<f64>) -> Vec<String> {
    let standing = standings.endpoints.iter().find(|standing| standing.endpoint == row.name);
    let mut sum = Sum::default();
    for backend in standings.backends.iter().filter(|b| b.endpoint.as_ref() == Some(&row.name)) {
        sum.add(backend);
    }
    let tally = &row.tally;
    let failed = tally.exchanges - tally.ended(Outcome::Complete) - tally.ended(Outcome::Open);
    let breaker = match standing {
        Some(standing) if standing.disarmed => "disarmed".to_owned(),
        Some(standing) if standing.breaker != BreakerState::Closed => {
            standing.breaker.name().to_owned()
        }
        Some(_) if sum.open > 0 => format!("{} of {} open", sum.open, sum.backends),
        Some(standing) if standing.overloaded => "overloaded".to_owned(),
        Some(_) => "closed".to_owned(),
        None => UNKNOWN.to_owned(),
    };
    let may = |max: Option<f64>| max.map_or(UNKNOWN.to_owned(), |max| format!("{max:.0}"));
    vec![
        row.name.clone(),
        standing.map_or(UNKNOWN.to_owned(), |standing| standing.in_flight.to_string()),
        may((sum.backends > 0).then_some(sum.in_flight_max)),
        if sum.backends > 0 { sum.waiting.to_string() } else { UNKNOWN.to_owned() },
        may(sum.waiting_max),
        sum.held.to_string(),
        breaker,
        figures::millis(row.first_byte_p50_ms),
        figures::millis(row.first_byte_p99_ms),
        rate.map_or(UNKNOWN.to_owned(), |rate| format!("{rate:.1}")),
        figures::count(tally.attempts),
        figures::times(row.amplification),
        figures::percent(failed, tally.exchanges),
        figures::percent(tally.waste.exchanges, tally.attempts),
        figures::tokens(tally.waste.tokens.0[1]),
        cost(tally),
    ]
}

impl Sum {
    fn add(&mut self, backend: &BackendRow) {
        self.backends += 1;
        self.in_flight_max += backend.in_flight_max;
        self.waiting += backend.waiting;
        if let Some(max) = backend.waiting_max {
            self.waiting_max = Some(self.waiting_max.unwrap_or(0.0) + max);
        }
        self.held += backend.held;
        self.open += usize::from(backend.breaker == BreakerState::Open);
    }
}

fn cost(tally: &Tally) -> String {
    if tally.waste.unpriced() {
        UNKNOWN.to_owned()
    } else {
        figures::dollars(tally.waste.cost.0[1])
    }
}

/// Backend addresses, those with most held first: the queue.
pub(super) fn backends(look: &Snapshot) -> Table {
    let columns = vec![
        Column::text(""),
        Column::text("ENDPOINT"),
        Column::figure("HELD"),
        Column::figure("LONGEST"),
        Column::figure("IN FLIGHT"),
        Column::figure("MAY"),
        Column::figure("WAIT"),
        Column::figure("MAY"),
        Column::figure("USUAL FIRST BYTE"),
        Column::text("BREAKER"),
    ];
    let mut rows: Vec<&BackendRow> = look.standings.backends.iter().collect();
    rows.sort_by_key(|row| std::cmp::Reverse((row.held, row.in_flight)));
    let cells = rows.into_iter().map(|row| {
        let longest = row.held_longest_ms.map(|ms| figures::duration(ms as f64 / 1e3));
        vec![
            rows::socket(&row.server, row.server_port),
            row.endpoint.clone().unwrap_or_else(|| UNKNOWN.to_owned()),
            row.held.to_string(),
            longest.unwrap_or_else(|| UNKNOWN.to_owned()),
            row.in_flight.to_string(),
            format!("{:.0}", row.in_flight_max),
            row.waiting.to_string(),
            row.waiting_max.map_or(UNKNOWN.to_owned(), |max| format!("{max:.0}")),
            figures::millis(row.first_byte_base_ms),
            row.breaker.name().to_owned(),
        ]
    });
    Table { title: "Backends and what is held for them", columns, cells: cells.collect() }
}

/// Clients.
pub(super) fn clients(look: &Snapshot, order: Order) -> Table {
    let mut rows: Vec<_> = look.ledger.endpoints.clients.iter().collect();
    sort(&mut rows, order, |row| (&row.name, &row.tally));
    Table { title: "Clients", columns: untitled(&rows), cells: cells(&rows) }
}

/// Tenants, with their share of what all of them got.
pub(super) fn tenants(look: &Snapshot, order: Order) -> Table {
    let columns = vec![
        Column::text(""),
        Column::figure("ATTEMPTS"),
        Column::figure("SHARE"),
        Column::figure("AMPLIF."),
        Column::figure("TOKENS"),
        Column::figure("SHARE"),
        Column::figure("WASTED"),
        Column::figure("WASTED TOKENS"),
        Column::figure("WASTED COST"),
    ];
    let totals = &look.ledger.endpoints.totals;
    let mut rows: Vec<&TenantRow> = look.ledger.endpoints.tenants.iter().collect();
    sort(&mut rows, order, |row| (&row.name, &row.tally));
    let share = |part: f64, whole: f64| {
        if whole > 0.0 { format!("{:.0} %", part * 100.0 / whole) } else { UNKNOWN.to_owned() }
    };
    let cells = rows.into_iter().map(|row| {
        let tally = &row.tally;
        vec![
            row.name.clone(),
            figures::count(tally.attempts),
            figures::percent(tally.attempts, totals.attempts),
            figures::times(row.amplification),
            figures::tokens(tally.tokens.0[1]),
            share(tally.tokens.0[1], totals.tokens.0[1]),
            figures::percent(tally.waste.exchanges, tally.attempts),
            figures::tokens(tally.waste.tokens.0[1]),
            cost(tally),
        ]
    });
    Table { title: "Tenants", columns, cells: cells.collect() }
}

/// What each law in force would have prevented.
pub(super) fn savings(look: &Snapshot) -> Table {
    let columns = vec![
        Column::text(""),
        Column::figure("REQUESTS"),
        Column::figure("TIME"),
        Column::figure("TOKENS"),
        Column::figure("COST"),
    ];
    let savings = &look.savings;
    let cells = [
        ("retry budget", &savings.retry_budget),
        ("breaker", &savings.breaker),
        ("cancel propagation", &savings.cancel_propagation),
        ("fan-out", &savings.fan_out),
        ("admission", &savings.admission),
    ];
    let row = |(law, saving): (&str, &Saving)| {
        vec![
            law.to_owned(),
            figures::range(saving.exchanges.0, |n| format!("{n:.0}")),
            figures::range(saving.seconds.0, figures::duration),
            figures::range(saving.tokens.0, figures::tokens),
            figures::range(saving.cost.0, figures::dollars),
        ]
    };
    Table {
        title: "What each law in force would have prevented: likely (low to high); the laws overlap",
        columns,
        cells: cells.into_iter().map(row).collect(),
    }
}

/// Counters of the data plane that moved.
pub(super) fn plane(look: &Snapshot) -> Table {
    let columns = vec![Column::text(""), Column::figure("COUNT"), Column::text("WHAT")];
    let status = &look.status;
    let acts = &status.acts;
    let mut cells: Vec<Vec<String>> = Vec::new();
    let mut add = |name: &str, count: u64, what: &str| {
        if count > 0 {
            cells.push(vec![name.to_owned(), figures::count(count), what.to_owned()]);
        }
    };
    add("holds", acts.holds, "flows that were held");
    add("holds refused", acts.holds_refused, "a bound was met: the flow passed");
    add("held flows", acts.held_flows, "held or paced now");
    add("shaped", acts.shaped, "paced, policed, marked or sent to another replica");
    add("shaped refused", acts.shaped_refused, "a bound was met: the flow passed");
    add("resets", acts.resets, "RSTs to servers whose client had left");
    add("resets refused", acts.resets_refused, "RSTs that were not made");
    for (reason, count) in &status.frames.drops {
        add(reason, *count, "frames dropped");
    }
    for (reason, count) in &status.passes {
        add(reason, *count, "frames that passed without being followed");
    }
    for (limit, count) in &status.limits_reached {
        add(limit, *count, "something bounded was full");
    }
    Table { title: "Counters", columns, cells }
}

/// The usual columns, the first without a title: the table has one.
fn untitled<T: Row>(_: &[&T]) -> Vec<Column> {
    let mut columns = T::COLUMNS.to_vec();
    if let Some(first) = columns.first_mut() {
        first.title = "";
    }
    columns
}

fn cells<T: Row>(rows: &[&T]) -> Vec<Vec<String>> {
    rows.iter().map(|row| row.cells()).collect()
}

/// In the order that was chosen; as they come they are in the order of waste.
fn sort<T>(rows: &mut [&T], order: Order, key: impl Fn(&T) -> (&String, &Tally)) {
    match order {
        Order::Waste => {}
        Order::Attempts => rows.sort_by_key(|row| std::cmp::Reverse(key(row).1.attempts)),
        Order::Name => rows.sort_by(|a, b| key(a).0.cmp(key(b).0)),
    }
}
