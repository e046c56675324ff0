//! Finite slots: how many calls an endpoint works on at once. The others wait in the order they
//! came.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The slots of one endpoint. Tokio's semaphore is fair: first come, first served.
#[derive(Clone)]
pub(crate) struct Slots {
    free: Arc<Semaphore>,
    total: usize,
}

/// A slot in use; dropping it lets the next one in.
pub(crate) struct Slot {
    _permit: OwnedSemaphorePermit,
}

impl Slots {
    /// `total` free slots.
    pub(crate) fn new(total: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(total)), total }
    }

    /// Waits for a slot.
    pub(crate) async fn take(&self) -> Slot {
        let permit = Arc::clone(&self.free).acquire_owned().await;
        Slot { _permit: permit.expect("the semaphore is never closed") }
    }

    /// How many are in use.
    pub(crate) fn in_use(&self) -> usize {
        self.total - self.free.available_permits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_freed_slot_lets_the_next_one_in() {
        let slots = Slots::new(1);
        let first = slots.take().await;
        let mut second = Box::pin(slots.take());
        let waker = std::task::Waker::noop();
        let mut context = std::task::Context::from_waker(waker);
        assert!(second.as_mut().poll(&mut context).is_pending());
        drop(first);
        assert!(second.as_mut().poll(&mut context).is_ready());
    }

    #[tokio::test]
    async fn slots_in_use_are_counted() {
        let slots = Slots::new(3);
        let held = (slots.take().await, slots.take().await);
        assert_eq!(slots.in_use(), 2);
        drop(held);
        assert_eq!(slots.in_use(), 0);
    }
}
