//! What the daemon knows of the data plane: its last answers, the exchanges of the last minutes, and
//! what they add up to. Bounded, whatever the traffic.

use std::collections::VecDeque;

use fastpath::ipc::{LedgerView, Page, Status};
use fastpath::telemetry::event::SignalKind;
use fastpath::telemetry::ledger::propagation::Propagation;
use fastpath::telemetry::ledger::savings::Savings;
use fastpath::telemetry::ledger::{Ledger, TenantRow};
use fastpath::telemetry::line::{EventClass, EventLine, ExchangeLine};
use serde::{Deserialize, Serialize};

use crate::policy::document::Tenants;

/// Exchanges that are remembered.
pub const WINDOW_MAX: usize = 20_000;
/// And for how long, seconds.
pub const WINDOW_SECONDS: f64 = 900.0;
/// Events that are remembered.
const EVENTS_MAX: usize = 4_000;
/// Points of the series: a day of them.
const POINTS_MAX: usize = 8_640;
/// Time between two of them, seconds.
pub const POINT_SECONDS: f64 = 10.0;

/// What is known.
#[derive(Debug)]
pub struct View {
    /// The last status; none while the data plane is away.
    pub status: Option<Status>,
    /// The last ledger.
    pub ledger: Option<LedgerView>,
    /// Exchanges, oldest first, numbered by the data plane's pages or by this daemon.
    exchanges: VecDeque<ExchangeLine>,
    /// The number of the exchange after the newest one.
    next: u64,
    events: VecDeque<EventLine>,
    next_event: u64,
    /// What enforcing prevents, or would, of all that this daemon has seen.
    pub savings: Savings,
    /// Who makes whom do things in vain.
    pub propagation: Propagation,
    own: Ledger,
    series: VecDeque<Point>,
}

/// A point of the series: sums since the data plane's start, so that any two give what lies between.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Point {
    /// When, Unix seconds.
    pub time: f64,
    /// Exchanges with AI endpoints.
    pub exchanges: u64,
    /// Those that were waste.
    pub waste_exchanges: u64,
    /// Seconds of waste.
    pub waste_seconds: f64,
    /// Output tokens wasted: low, likely, high.
    pub waste_tokens: [f64; 3],
    /// US dollars wasted: low, likely, high.
    pub waste_cost: [f64; 3],
    /// Exchanges that the rules prevent, or would if they were enforced: likely.
    pub saved_exchanges: f64,
    /// Their output tokens, likely.
    pub saved_tokens: f64,
    /// Frames held now.
    pub held_frames: u64,
    /// Frames received.
    pub rx_frames: u64,
    /// Revision of the policy in the data plane.
    pub revision: u64,
}

impl Default for View {
    fn default() -> Self {
        Self {
            status: None,
            ledger: None,
            exchanges: VecDeque::new(),
            next: 1,
            events: VecDeque::new(),
            next_event: 1,
            savings: Savings::default(),
            propagation: Propagation::new(WINDOW_SECONDS),
            own: Ledger::default(),
            series: VecDeque::new(),
        }
    }
}

impl View {
    /// Takes in what the data plane has told.
    pub(crate) fn take(
        &mut self,
        exchanges: Vec<ExchangeLine>,
        events: Vec<EventLine>,
        tenants: &Tenants,
    ) {
        for mut line in exchanges {
            line.tenant = tenants.of(&line.client).map(str::to_owned);
            self.own.add(&line);
            self.savings.add(&line);
            self.propagation.add(&line);
            let oldest = line.end - WINDOW_SECONDS;
            self.exchanges.push_back(line);
            self.next += 1;
            while self.exchanges.len() > WINDOW_MAX
                || self.exchanges.front().is_some_and(|line| line.end < oldest)
            {
                self.exchanges.pop_front();
            }
        }
        for event in events {
            self.savings.add_event(&event);
            self.amend(&event);
            self.events.push_back(event);
            self.next_event += 1;
            if self.events.len() > EVENTS_MAX {
                self.events.pop_front();
            }
        }
    }

    /// What turned out to be waste after it had been told.
    fn amend(&mut self, event: &EventLine) {
        let Some(waste) = event.waste.filter(|_| event.event == EventClass::Amendment) else {
            return;
        };
        let mut newest_first = self.exchanges.iter_mut().rev();
        if let Some(line) = newest_first.find(|line| line.id == event.exchange) {
            self.own.amend(line, waste);
            line.waste.get_or_insert(waste);
        }
    }

    /// Exchanges after the number `after`, at most `limit`; without `after` the newest.
    pub(crate) fn exchanges(&self, after: Option<u64>, limit: usize) -> Page<ExchangeLine> {
        page(&self.exchanges, self.next, after, limit)
    }

    /// Events after the number `after`, likewise.
    pub(crate) fn events(&self, after: Option<u64>, limit: usize) -> Page<EventLine> {
        page(&self.events, self.next_event, after, limit)
    }

    /// All exchanges that are remembered.
    pub(crate) fn window(&self) -> impl Iterator<Item = &ExchangeLine> {
        self.exchanges.iter()
    }

    /// Accounts by tenant.
    pub(crate) fn tenants(&self) -> Vec<TenantRow> {
        self.own.endpoints.tenant_rows()
    }

    /// Points not older than `since`, Unix seconds.
    pub(crate) fn series(&self, since: f64) -> Vec<Point> {
        self.series.iter().filter(|point| point.time >= since).cloned().collect()
    }

    /// Adds a point when it is time for one.
    pub(crate) fn point(&mut self, now: f64) {
        let due = self.series.back().is_none_or(|last| now >= last.time + POINT_SECONDS);
        let (Some(status), Some(ledger)) = (&self.status, &self.ledger) else { return };
        if !due {
            return;
        }
        let totals = &ledger.endpoints.totals;
        let saved = self.savings.view();
        let kinds = [
            &saved.retry_budget,
            &saved.breaker,
            &saved.cancel_propagation,
            &saved.fan_out,
            &saved.admission,
        ];
        let point = Point {
            time: now,
            exchanges: totals.exchanges,
            waste_exchanges: totals.waste.exchanges,
            waste_seconds: totals.waste.seconds,
            waste_tokens: totals.waste.tokens.0,
            waste_cost: totals.waste.cost.0,
            saved_exchanges: kinds.iter().map(|saving| saving.exchanges.0[1]).sum(),
            saved_tokens: kinds.iter().map(|saving| saving.tokens.0[1]).sum(),
            held_frames: status.frames.held_frames,
            rx_frames: status.frames.rx_frames,
            revision: status.policy.revision,
        };
        self.series.push_back(point);
        if self.series.len() > POINTS_MAX {
            self.series.pop_front();
        }
    }

    /// Events of self-disarming, which need somebody's eye.
    pub(crate) fn disarmed(&self) -> usize {
        self.events.iter().filter(|event| event.kind == SignalKind::Disarmed).count()
    }
}

fn page<T: Clone>(rows: &VecDeque<T>, next: u64, after: Option<u64>, limit: usize) -> Page<T> {
    let first = next - rows.len() as u64;
    let (skip, missed) = match after {
        // Page::next is the number of the last row given.
        Some(after) => {
            let from = (after + 1).clamp(first, next);
            (from - first, first.saturating_sub(after + 1))
        }
        None => ((rows.len() as u64).saturating_sub(limit as u64), 0),
    };
    let skip = usize::try_from(skip).unwrap_or(usize::MAX);
    let given: Vec<T> = rows.iter().skip(skip).take(limit).cloned().collect();
    let next = first + (skip + given.len()) as u64 - 1;
    Page { rows: given, next, missed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_one_another_and_say_what_was_missed() {
        let rows: VecDeque<u64> = (11..=20).collect();
        let newest = page(&rows, 21, None, 3);
        assert_eq!((newest.rows, newest.next, newest.missed), (vec![18, 19, 20], 20, 0));
        let first = page(&rows, 21, Some(5), 4);
        assert_eq!((first.rows, first.next, first.missed), (vec![11, 12, 13, 14], 14, 5));
        let second = page(&rows, 21, Some(14), 100);
        assert_eq!((second.rows.len(), second.next, second.missed), (6, 20, 0));
        let none = page(&rows, 21, Some(20), 100);
        assert_eq!((none.rows.len(), none.next), (0, 20));
        let ahead = page(&rows, 21, Some(4_000), 100);
        assert_eq!((ahead.rows.len(), ahead.next), (0, 20));
        assert_eq!(page::<u64>(&VecDeque::new(), 1, None, 3).next, 0);
    }
}
