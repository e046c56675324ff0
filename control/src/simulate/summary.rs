//! Several seeds of one scenario: of each figure the median, the least and the most. One seed is one
//! draw of arrivals and of service times, and says little of a control.

use serde::Serialize;

use super::result::{ColumnResult, Figure, Run, SCHEMA_VERSION, TriggerResult};
use super::scenario::Column as Control;
use crate::output::{Column, table};

/// All seeds.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Of this document.
    pub schema_version: u32,
    /// The scenario's name.
    pub scenario: String,
    /// What it is to show.
    pub title: String,
    /// What chance was made from.
    pub seeds: Vec<u64>,
    /// What was compared.
    pub columns: Vec<ColumnSummary>,
}

/// One column.
#[derive(Clone, Debug, Serialize)]
pub struct ColumnSummary {
    /// Which.
    pub column: Control,
    /// Goodput during the trigger, as a share of what the oracle had.
    pub during_of_oracle: Option<Spread>,
    /// From one minute after its end on, as a share of before.
    pub minute_after_share: Option<Spread>,
    /// Seeds in which goodput never was what it had been.
    pub never_recovered: Option<u64>,
    /// Seconds until it was, in the others.
    pub recovery_seconds: Option<Spread>,
    /// Share of calls that were answered.
    pub answered: Option<Spread>,
    /// Mean latency of those, seconds.
    pub latency_seconds: Option<Spread>,
    /// Attempts for a call, from the trigger on where there is one.
    pub client_amplification: Option<Spread>,
    /// Requests that reached a server for each different one, likewise.
    pub server_amplification: Option<Spread>,
    /// Share of slot-seconds for answers that nobody had, likewise.
    pub waste_share: Option<Spread>,
    /// 429s.
    pub throttled: Option<Spread>,
    /// Jain's index.
    pub jain: Option<Spread>,
    /// Frames that were dropped.
    pub frames_dropped: Option<Spread>,
    /// Seeds in which an invariant did not hold.
    pub violated: u64,
}

/// A figure over the seeds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The one in the middle; of an even number the mean of two.
    pub median: Figure,
    /// The least.
    pub least: Figure,
    /// The most.
    pub most: Figure,
}

impl Summary {
    /// Of runs of one scenario.
    pub(super) fn of(runs: &[Run]) -> Self {
        let first = runs.first();
        let columns = first.map_or(0, |run| run.columns.len());
        let column = |place: usize| {
            let results: Vec<&ColumnResult> = runs.iter().map(|run| &run.columns[place]).collect();
            ColumnSummary::of(&results)
        };
        Self {
            schema_version: SCHEMA_VERSION,
            scenario: first.map(|run| run.scenario.clone()).unwrap_or_default(),
            title: first.map(|run| run.title.clone()).unwrap_or_default(),
            seeds: runs.iter().map(|run| run.seed).collect(),
            columns: (0..columns).map(column).collect(),
        }
    }

    /// For people: a row a column, the median with the least and the most behind it.
    #[must_use]
    pub fn text(&self) -> String {
        const COLUMNS: [Column; 10] = [
            Column::text("COLUMN"),
            Column::figure("OF ORACLE"),
            Column::figure("A MINUTE AFTER"),
            Column::figure("RECOVERY"),
            Column::figure("ANSWERED"),
            Column::figure("LATENCY"),
            Column::figure("x CLIENT"),
            Column::figure("x SERVER"),
            Column::figure("WASTE"),
            Column::figure("429s"),
        ];
        let row = |column: &ColumnSummary| {
            let recovery = match column.never_recovered {
                Some(seeds) if seeds > 0 => format!("never in {seeds}"),
                _ => digits(column.recovery_seconds, 0),
            };
            vec![
                column.column.name().to_owned(),
                digits(column.during_of_oracle, 2),
                digits(column.minute_after_share, 2),
                recovery,
                digits(column.answered, 3),
                digits(column.latency_seconds, 2),
                digits(column.client_amplification, 2),
                digits(column.server_amplification, 2),
                digits(column.waste_share, 3),
                digits(column.throttled, 0),
            ]
        };
        let rows: Vec<_> = self.columns.iter().map(row).collect();
        let violated: u64 = self.columns.iter().map(|column| column.violated).sum();
        let note = if violated > 0 {
            format!(
                "\nVIOLATED: an invariant in {violated} runs; -o json without --seeds says which\n"
            )
        } else {
            String::new()
        };
        let seeds = self.seeds.len();
        format!(
            "{}, {seeds} seeds: median (least-most)\n{}\n\n{}{note}",
            self.scenario,
            self.title,
            table(&COLUMNS, &rows)
        )
    }
}

impl ColumnSummary {
    fn of(results: &[&ColumnResult]) -> Self {
        let all = |of: &dyn Fn(&ColumnResult) -> f64| {
            Spread::of(results.iter().map(|result| of(result)).collect())
        };
        let triggers: Vec<&TriggerResult> =
            results.iter().filter_map(|result| result.trigger.as_ref()).collect();
        let some = |of: fn(&TriggerResult) -> Option<Figure>| {
            Spread::of(triggers.iter().filter_map(|trigger| of(trigger)).map(|f| f.0).collect())
        };
        let since = |of: fn(&TriggerResult) -> f64, whole: fn(&ColumnResult) -> f64| {
            all(&|result| result.trigger.as_ref().map_or_else(|| whole(result), of))
        };
        let never = triggers.iter().filter(|trigger| trigger.recovery_seconds.is_none()).count();
        let violated = results.iter().filter(|result| {
            let invariants = &result.invariants;
            !invariants.frames_conserved
                || invariants.frames_broken > 0
                || invariants.resets_beside > 0
        });
        Self {
            column: results.first().map_or(Control::None, |result| result.column),
            during_of_oracle: some(|trigger| trigger.during_of_oracle),
            minute_after_share: some(|trigger| trigger.minute_after_share),
            never_recovered: (!triggers.is_empty()).then_some(never as u64),
            recovery_seconds: some(|trigger| trigger.recovery_seconds),
            answered: all(&|result| {
                result.totals.completed as f64 / (result.totals.calls as f64).max(1.0)
            }),
            latency_seconds: all(&|result| result.totals.mean_latency_seconds.0),
            client_amplification: since(
                |trigger| trigger.client_amplification.0,
                |result| result.totals.client_amplification.0,
            ),
            server_amplification: since(
                |trigger| trigger.server_amplification.0,
                |result| result.totals.server_amplification.0,
            ),
            waste_share: since(
                |trigger| trigger.waste_share.0,
                |result| result.totals.waste_share.0,
            ),
            throttled: all(&|result| result.totals.throttled as f64),
            jain: all(&|result| result.jain.0),
            frames_dropped: all(&|result| result.invariants.frames_dropped as f64),
            violated: violated.count() as u64,
        }
    }
}

impl Spread {
    /// Of no figure there is none.
    fn of(mut figures: Vec<f64>) -> Option<Self> {
        figures.sort_by(f64::total_cmp);
        let (least, most) = (*figures.first()?, *figures.last()?);
        let middle = [(figures.len() - 1) / 2, figures.len() / 2].map(|place| figures[place]);
        let median = Figure(f64::midpoint(middle[0], middle[1]));
        Some(Self { median, least: Figure(least), most: Figure(most) })
    }
}

fn digits(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or("-".to_owned(), |Spread { median, least, most }| {
        let [a, b, c] = [median, least, most].map(|figure| format!("{:.digits$}", figure.0));
        if b == c { a } else { format!("{a} ({b}-{c})") }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_its_middle_its_least_and_its_most() {
        let spread = |figures: &[f64]| {
            Spread::of(figures.to_vec()).map(|s| [s.median.0, s.least.0, s.most.0])
        };
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some([2.0, 1.0, 3.0]));
        assert_eq!(spread(&[4.0, 1.0]), Some([2.5, 1.0, 4.0]));
        assert_eq!(spread(&[]), None);
        assert_eq!(digits(Spread::of(vec![1.0, 1.0]), 2), "1.00");
        assert_eq!(digits(Spread::of(vec![1.0, 2.0]), 1), "1.5 (1.0-2.0)");
    }
}
