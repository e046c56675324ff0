//! Exchanges that are looked at again after a second: a client has closed while the server may
//! still send, or the terminator has come. All wait equally long, so a queue is a timer.

use std::collections::VecDeque;

use crate::burst::FlowId;
use crate::telemetry::event::ExchangeId;
use crate::time::Nanos;

/// How long silence must last.
pub const SETTLE: Nanos = Nanos::from_secs(1);

/// Exchanges that may wait at once. What finds no room ends with its connection instead.
const WAITING_MAX: usize = 65_536;

/// The queue.
#[derive(Debug)]
pub struct SettleQueue {
    waiting: VecDeque<(Nanos, FlowId, ExchangeId)>,
}

impl Default for SettleQueue {
    fn default() -> Self {
        Self { waiting: VecDeque::with_capacity(WAITING_MAX) }
    }
}

impl SettleQueue {
    /// Puts an exchange in; false when there is no room.
    pub fn push(&mut self, now: Nanos, flow: FlowId, id: ExchangeId) -> bool {
        let room = self.waiting.len() < WAITING_MAX;
        if room {
            self.waiting.push_back((now, flow, id));
        }
        room
    }

    /// The next exchange whose time has come.
    pub fn due(&mut self, now: Nanos) -> Option<(FlowId, ExchangeId)> {
        self.waiting
            .pop_front_if(|(since, _, _)| now.since(*since) >= SETTLE)
            .map(|(_, flow, id)| (flow, id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchange_is_due_after_a_second_and_once() {
        let mut queue = SettleQueue::default();
        assert!(queue.push(Nanos(5), FlowId(1), ExchangeId(7)));
        assert_eq!(queue.due(Nanos(4) + SETTLE), None);
        assert_eq!(queue.due(Nanos(5) + SETTLE), Some((FlowId(1), ExchangeId(7))));
        assert_eq!(queue.due(Nanos::MAX), None);
    }
}
