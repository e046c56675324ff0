//! Hands snapshots from one publisher to one lcore, at a burst boundary and without a lock.
//!
//! The lcore never frees a snapshot: what it has done with goes back through a second queue, and
//! the publisher drops it. Both queues are crossbeam's; there is no primitive of our own here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::queue::ArrayQueue;

use super::snapshot::Snapshot;

/// The publishing end, for one lcore.
#[derive(Debug)]
pub struct Publisher {
    fresh: Arc<ArrayQueue<Arc<Snapshot>>>,
    spent: Arc<ArrayQueue<Arc<Snapshot>>>,
    bypass: Arc<AtomicBool>,
}

/// The lcore's end.
#[derive(Debug)]
pub struct Subscriber {
    current: Arc<Snapshot>,
    fresh: Arc<ArrayQueue<Arc<Snapshot>>>,
    spent: Arc<ArrayQueue<Arc<Snapshot>>>,
    bypass: Arc<AtomicBool>,
}

/// Snapshots that may wait to be freed before the lcore puts off taking a new one.
const SPENT_MAX: usize = 4;

/// Both ends, with `first` in force.
#[must_use]
pub fn channel(first: Arc<Snapshot>) -> (Publisher, Subscriber) {
    let (fresh, spent) = (Arc::new(ArrayQueue::new(1)), Arc::new(ArrayQueue::new(SPENT_MAX)));
    let bypass = Arc::new(AtomicBool::new(false));
    let publisher = Publisher {
        fresh: Arc::clone(&fresh),
        spent: Arc::clone(&spent),
        bypass: Arc::clone(&bypass),
    };
    (publisher, Subscriber { current: first, fresh, spent, bypass })
}

impl Publisher {
    /// Puts `snapshot` in force from the lcore's next burst on. Replaces one that was not yet
    /// taken.
    pub fn publish(&self, snapshot: Arc<Snapshot>) {
        while self.spent.pop().is_some() {}
        drop(self.fresh.force_push(snapshot));
    }

    /// Turns everything that acts on traffic off, or on again, from the lcore's next burst on.
    pub fn bypass(&self, on: bool) {
        // A word that says nothing about other memory; the lcore reads it in `is_bypassed`.
        self.bypass.store(on, Ordering::Relaxed);
    }
}

impl Subscriber {
    /// The snapshot in force: the only place where a new one can appear.
    pub fn refresh(&mut self) -> &Snapshot {
        if !self.fresh.is_empty()
            && !self.spent.is_full()
            && let Some(fresh) = self.fresh.pop()
        {
            let spent = std::mem::replace(&mut self.current, fresh);
            // Cannot fail: only this lcore fills the queue, and it had room just above.
            let _ = self.spent.push(spent);
        }
        &self.current
    }

    /// Whether nothing may act on traffic. Written by [`Publisher::bypass`].
    #[must_use]
    pub fn is_bypassed(&self) -> bool {
        self.bypass.load(Ordering::Relaxed)
    }

    /// The snapshot in force, without looking for a newer one.
    #[must_use]
    pub fn current(&self) -> &Arc<Snapshot> {
        &self.current
    }
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::{Limits, Policy};
    use super::*;

    fn snapshot(stall_ms: u64) -> Arc<Snapshot> {
        let limits = Limits { stall_ms, ..Limits::default() };
        Arc::new(Snapshot::compile(Policy { limits, ..Policy::default() }).unwrap())
    }

    #[test]
    fn the_newest_snapshot_is_in_force_after_a_refresh() {
        let (publisher, mut subscriber) = channel(snapshot(1));
        publisher.publish(snapshot(2));
        publisher.publish(snapshot(3));
        assert_eq!(subscriber.current().policy().limits.stall_ms, 1);
        assert_eq!(subscriber.refresh().policy().limits.stall_ms, 3);
    }

    #[test]
    fn the_publisher_frees_what_the_lcore_has_done_with() {
        let first = snapshot(100);
        let (publisher, mut subscriber) = channel(Arc::clone(&first));
        publisher.publish(snapshot(1));
        subscriber.refresh();
        assert_eq!(Arc::strong_count(&first), 2, "the lcore has given it back, not freed it");
        publisher.publish(snapshot(2));
        assert_eq!(Arc::strong_count(&first), 1);
    }

    #[test]
    fn the_bypass_is_seen_without_a_refresh_and_ends_again() {
        let (publisher, subscriber) = channel(snapshot(1));
        assert!(!subscriber.is_bypassed());
        publisher.bypass(true);
        assert!(subscriber.is_bypassed());
        publisher.bypass(false);
        assert!(!subscriber.is_bypassed());
    }

    #[test]
    fn a_publisher_that_never_collects_stops_the_swaps_not_the_lcore() {
        let (publisher, mut subscriber) = channel(snapshot(100));
        for n in 1..10 {
            drop(publisher.fresh.force_push(snapshot(n)));
            subscriber.refresh();
        }
        assert_eq!(subscriber.current().policy().limits.stall_ms, SPENT_MAX as u64);
    }
}
