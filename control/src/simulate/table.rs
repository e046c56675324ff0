//! A run for people: one row a column, then the tenants and what must hold.

use std::fmt::Write as _;

use super::result::{ColumnResult, Figure, Run};
use crate::output::{Column, table};

/// Tenants that are shown; the document has all.
const TENANTS_MAX: usize = 12;

/// The text.
pub(super) fn text(run: &Run) -> String {
    let mut out = format!("{}, seed {}: {:.0} s", run.scenario, run.seed, run.seconds.0);
    if let Some([from, to]) = run.trigger_seconds {
        let _ = write!(out, ", trigger from {:.0} to {:.0} s", from.0, to.0);
    }
    let _ = write!(out, ", capacity {:.1}/s\n{}\n\n", run.capacity_per_second.0, run.title);
    out.push_str(&goodput(run));
    out.push_str(&load(run));
    if run.columns.iter().any(|column| column.tenants.len() > 1) {
        out.push_str(&tenants(run));
    }
    for column in &run.columns {
        notes(&mut out, column);
    }
    out
}

fn goodput(run: &Run) -> String {
    const COLUMNS: [Column; 8] = [
        Column::text("COLUMN"),
        Column::figure("BEFORE/s"),
        Column::figure("DURING/s"),
        Column::figure("OF ORACLE"),
        Column::figure("A MINUTE AFTER"),
        Column::figure("RECOVERY"),
        Column::figure("ANSWERED"),
        Column::figure("LATENCY"),
    ];
    let row = |column: &ColumnResult| {
        let trigger = column.trigger.as_ref();
        let rate =
            |figure: Option<Figure>| figure.map_or("-".to_owned(), |f| format!("{:.1}", f.0));
        let recovery = match trigger.map(|trigger| trigger.recovery_seconds) {
            None => "-".to_owned(),
            Some(None) => "never".to_owned(),
            Some(Some(Figure(seconds))) => format!("{seconds:.0} s"),
        };
        vec![
            column.column.name().to_owned(),
            rate(trigger.map(|trigger| trigger.before_per_second)),
            rate(trigger.map(|trigger| trigger.during_per_second)),
            share(trigger.and_then(|trigger| trigger.during_of_oracle)),
            share(trigger.and_then(|trigger| trigger.minute_after_share)),
            recovery,
            share(Some(Figure(of(column.totals.completed, column.totals.calls)))),
            format!("{:.2} s", column.totals.mean_latency_seconds.0),
        ]
    };
    table(&COLUMNS, &run.columns.iter().map(row).collect::<Vec<_>>()) + "\n"
}

fn load(run: &Run) -> String {
    const COLUMNS: [Column; 8] = [
        Column::text("COLUMN"),
        Column::figure("CALLS"),
        Column::figure("ATTEMPTS"),
        Column::figure("x CLIENT"),
        Column::figure("x SERVER"),
        Column::figure("WASTE"),
        Column::figure("429s"),
        Column::figure("JAIN"),
    ];
    let row = |column: &ColumnResult| {
        let totals = &column.totals;
        vec![
            column.column.name().to_owned(),
            totals.calls.to_string(),
            totals.attempts.to_string(),
            format!("{:.2}", totals.client_amplification.0),
            format!("{:.2}", totals.server_amplification.0),
            share(Some(totals.waste_share)),
            totals.throttled.to_string(),
            format!("{:.3}", column.jain.0),
        ]
    };
    table(&COLUMNS, &run.columns.iter().map(row).collect::<Vec<_>>()) + "\n"
}

fn tenants(run: &Run) -> String {
    const COLUMNS: [Column; 6] = [
        Column::text("COLUMN"),
        Column::text("TENANT"),
        Column::figure("CALLS"),
        Column::figure("ANSWERED"),
        Column::figure("SLOT SECONDS"),
        Column::figure("FIRST BYTE p50, p99"),
    ];
    let rows = run.columns.iter().flat_map(|column| {
        column.tenants.iter().take(TENANTS_MAX).map(|tenant| {
            let first_byte = match (tenant.first_byte_p50, tenant.first_byte_p99) {
                (Some(p50), Some(p99)) => format!("{:.2} s, {:.2} s", p50.0, p99.0),
                _ => "-".to_owned(),
            };
            vec![
                column.column.name().to_owned(),
                tenant.tenant.clone(),
                tenant.calls.to_string(),
                share(Some(Figure(of(tenant.completed, tenant.calls)))),
                format!("{:.0}", tenant.slot_seconds.0),
                first_byte,
            ]
        })
    });
    table(&COLUMNS, &rows.collect::<Vec<_>>()) + "\n"
}

fn notes(out: &mut String, column: &ColumnResult) {
    let invariants = &column.invariants;
    let name = column.column.name();
    if let Some(agreement) = &column.agreement {
        let _ = writeln!(
            out,
            "{name}: {} exchanges told of {} attempts; outcome right in {}, {} of {} retries found, {} told \
             that were none",
            agreement.exchanges,
            agreement.attempts,
            share(Some(Figure(of(agreement.outcomes_right, agreement.attempts)))),
            agreement.retries_right,
            agreement.retries,
            agreement.retries_told - agreement.retries_right,
        );
    }
    for (decision, count) in &column.decisions {
        let _ = writeln!(out, "{name}: {decision}: {count}");
    }
    let mut broken = Vec::new();
    if !invariants.frames_conserved {
        broken.push("frames are not conserved".to_owned());
    }
    if invariants.frames_broken > 0 {
        broken.push(format!("{} frames arrived broken", invariants.frames_broken));
    }
    if invariants.resets_beside > 0 {
        broken.push(format!("{} resets beside the sequence number", invariants.resets_beside));
    }
    if !broken.is_empty() {
        let _ = writeln!(out, "{name}: VIOLATED: {}", broken.join("; "));
    }
}

fn share(figure: Option<Figure>) -> String {
    figure.map_or("-".to_owned(), |figure| format!("{:.1} %", 100.0 * figure.0))
}

fn of(a: u64, b: u64) -> f64 {
    if b == 0 { 0.0 } else { a as f64 / b as f64 }
}
