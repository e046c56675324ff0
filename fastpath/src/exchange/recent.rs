//! A bounded map for what is learnt of peers: when it is full, the stalest of a few entries leaves
//! and is counted. Everything is allocated at start.

use std::collections::HashMap;
use std::hash::Hash;

use crate::time::Nanos;

/// The map.
#[derive(Debug)]
pub struct Recent<K, V> {
    slots: Vec<Slot<K, V>>,
    index: HashMap<K, usize>,
    hand: usize,
    round: usize,
    /// Entries that were pushed out.
    pub evicted: u64,
}

#[derive(Debug, Default)]
struct Slot<K, V> {
    key: K,
    used: Nanos,
    value: V,
}

/// A value whose room is used again for another key.
pub trait Reuse: Default {
    /// Forgets everything, and keeps what was allocated.
    fn reuse(&mut self);
}

/// Entries compared when one has to leave.
const SAMPLE: usize = 16;

impl<K: Copy + Default + Eq + Hash, V: Reuse> Recent<K, V> {
    /// With room for `limit` entries.
    #[must_use]
    pub fn with_capacity(limit: usize) -> Self {
        Self {
            slots: (0..limit).map(|_| Slot::default()).collect(),
            index: HashMap::with_capacity(2 * limit),
            hand: 0,
            round: 0,
            evicted: 0,
        }
    }

    /// What is known of `key`, if anything is.
    #[must_use]
    pub fn get(&self, key: K) -> Option<&V> {
        self.index.get(&key).map(|&index| &self.slots[index].value)
    }

    /// What is known of `key`, to add to it; a new entry when there is none.
    pub fn learn(&mut self, key: K, now: Nanos) -> &mut V {
        let index = self.index.get(&key).copied().unwrap_or_else(|| self.claim(key, now));
        let slot = &mut self.slots[index];
        slot.used = now;
        &mut slot.value
    }

    /// The next value of a round over all of them.
    pub fn next_in_round(&mut self) -> Option<&mut V> {
        self.round = (self.round + 1) % self.index.len().max(1);
        self.slots.get_mut(self.round).map(|slot| &mut slot.value)
    }

    fn claim(&mut self, key: K, now: Nanos) -> usize {
        let taken = self.index.len();
        let index = if taken < self.slots.len() {
            taken
        } else {
            let index = self.stalest();
            self.index.remove(&self.slots[index].key);
            self.evicted += 1;
            index
        };
        let slot = &mut self.slots[index];
        (slot.key, slot.used) = (key, now);
        slot.value.reuse();
        self.index.insert(key, index);
        index
    }

    fn stalest(&mut self) -> usize {
        let candidates = (0..SAMPLE).map(|n| (self.hand + n) % self.slots.len());
        let index = candidates.min_by_key(|&i| self.slots[i].used).unwrap_or(self.hand);
        self.hand = (self.hand + SAMPLE) % self.slots.len();
        index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Reuse for u32 {
        fn reuse(&mut self) {
            *self = 0;
        }
    }

    #[test]
    fn entries_are_bounded_and_the_stale_leave_first() {
        let mut map: Recent<u32, u32> = Recent::with_capacity(8);
        for key in 0..100 {
            *map.learn(key, Nanos(key.into())) = key;
        }
        assert_eq!((map.slots.len(), map.index.len(), map.evicted), (8, 8, 92));
        assert_eq!((map.get(99), map.get(0)), (Some(&99), None));
    }
}
