//! What happens when: events by time, and in the order they were asked for where times are equal.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use fastpath::time::Nanos;

use super::client::{Call, Task};
use super::connection::{Connection, Side};
use super::server::Job;
use super::slab::Id;

/// Something that will happen.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// Work arrives at a group of clients.
    Arrival { group: usize },
    /// A host of a closed loop begins its next task.
    Think { group: usize, host: u32 },
    /// A task goes on with its next step.
    Step { task: Id<Task> },
    /// A call is tried, again or for the first time.
    Attempt { call: Id<Call> },
    /// A client has waited for as long as it does.
    Timeout { call: Id<Call>, attempt: u32 },
    /// A connection should have been established by now.
    ConnectTimeout { connection: Id<Connection> },
    /// A client loses interest.
    Leave { call: Id<Call>, attempt: u32 },
    /// The retransmission timer of one end.
    Retransmit { connection: Id<Connection>, side: Side },
    /// A server makes the next piece of an answer.
    Work { job: Id<Job> },
    /// A fault begins or ends.
    Fault { index: usize, begins: bool },
    /// A second is over.
    Second,
}

/// Events that wait.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    waiting: BinaryHeap<Reverse<Waiting>>,
    asked: u64,
}

#[derive(Debug)]
struct Waiting {
    at: Nanos,
    asked: u64,
    event: Event,
}

impl Schedule {
    pub(super) fn push(&mut self, at: Nanos, event: Event) {
        self.asked += 1;
        self.waiting.push(Reverse(Waiting { at, asked: self.asked, event }));
    }

    /// When the next event is due.
    pub(super) fn next(&self) -> Option<Nanos> {
        self.waiting.peek().map(|Reverse(waiting)| waiting.at)
    }

    /// The next event, if it is due at `now`.
    pub(super) fn pop(&mut self, now: Nanos) -> Option<Event> {
        if self.next()? > now {
            return None;
        }
        self.waiting.pop().map(|Reverse(waiting)| waiting.event)
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.asked).cmp(&(other.at, other.asked))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Waiting {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_one_time_happen_in_the_order_they_were_asked_for() {
        let mut schedule = Schedule::default();
        for group in 0..5 {
            schedule.push(Nanos(9), Event::Arrival { group });
        }
        schedule.push(Nanos(4), Event::Second);
        assert!(matches!(schedule.pop(Nanos(9)), Some(Event::Second)));
        for expected in 0..5 {
            let event = schedule.pop(Nanos(9));
            assert!(matches!(event, Some(Event::Arrival { group }) if group == expected));
        }
        assert!(schedule.pop(Nanos::MAX).is_none());
    }
}
