//! Cancel propagation (law A7): a server stops working for a client that has left.
//!
//! A client's RST says that it has left; its FIN does too, when the response is open and nothing of it
//! comes for a while: whoever closes only one side still reads. Connections that were closed wait here
//! for that time.

use std::collections::VecDeque;

use crate::burst::FlowId;
use crate::time::Nanos;

/// Closes that may wait; what exceeds them is not followed, and counted.
const WAITING_MAX: usize = 4096;

/// Clients that have closed.
#[derive(Debug)]
pub struct Cancels {
    waiting: VecDeque<Closed>,
    /// Closes that found no room.
    pub refused: u64,
}

/// A client that has closed its side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Its flow.
    pub flow: FlowId,
    /// The flow's number: another may have its place by then.
    pub number: u64,
    /// When.
    pub at: Nanos,
}

impl Default for Cancels {
    fn default() -> Self {
        Self { waiting: VecDeque::with_capacity(WAITING_MAX), refused: 0 }
    }
}

impl Cancels {
    /// A client has sent its FIN while its response is open.
    pub fn closed(&mut self, closed: Closed) {
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push_back(closed);
        } else {
            self.refused += 1;
        }
    }

    /// The next whose grace is over.
    pub fn due(&mut self, grace: Nanos, now: Nanos) -> Option<Closed> {
        self.waiting.pop_front_if(|closed| closed.at + grace <= now)
    }
}

/// Whether a client that closed at `closed` has left: its response is open, and nothing of it has come
/// since for `grace`. `last_down`: when the last of it came.
#[must_use]
pub fn has_left(closed: Nanos, last_down: Option<Nanos>, grace: Nanos, now: Nanos) -> bool {
    let quiet_since = last_down.map_or(closed, |last| last.max(closed));
    now.since(quiet_since) >= grace
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Nanos = Nanos::from_millis(200);

    fn closed(ms: u64) -> Closed {
        Closed { flow: FlowId(1), number: 1, at: Nanos::from_millis(ms) }
    }

    #[test]
    fn a_close_is_judged_when_its_grace_is_over() {
        let mut cancels = Cancels::default();
        cancels.closed(closed(1000));
        assert_eq!(cancels.due(GRACE, Nanos::from_millis(1199)), None);
        assert_eq!(cancels.due(GRACE, Nanos::from_millis(1200)), Some(closed(1000)));
        assert_eq!(cancels.due(GRACE, Nanos::MAX), None);
    }

    #[test]
    fn who_still_reads_has_not_left() {
        let [shut, now] = [1000, 1200].map(Nanos::from_millis);
        assert!(has_left(shut, None, GRACE, now));
        assert!(has_left(shut, Some(Nanos::from_millis(900)), GRACE, now));
        assert!(!has_left(shut, Some(Nanos::from_millis(1100)), GRACE, now));
    }

    #[test]
    fn more_closes_than_there_is_room_for_are_counted() {
        let mut cancels = Cancels::default();
        (0..WAITING_MAX as u64 + 3).for_each(|ms| cancels.closed(closed(ms)));
        assert_eq!(cancels.refused, 3);
    }
}
