//! A bounded map of the latest keys, for what is learnt of clients and servers.
//!
//! All memory is taken at start, in three pieces. A value is kept in its place and owns no memory:
//! lists in it are bounded (`ArrayVec`). No value is touched before its place is first used, so
//! that places which nobody needs cost address space only.
//!
//! When the map is full, [`SAMPLE`] places are compared in turn, and the key that was not used for
//! longest leaves and is counted: LRU by sampling.

use std::collections::HashMap;
use std::hash::Hash;

use foldhash::fast::RandomState;

use crate::time::Nanos;

/// Places that are compared when a key has to leave.
pub const SAMPLE: usize = 16;

/// The map.
#[derive(Debug)]
pub struct LruMap<K, V> {
    values: Vec<V>,
    /// The key of each value, and when it was used last. Apart, as this is what is compared.
    uses: Vec<(K, Nanos)>,
    index: HashMap<K, usize, RandomState>,
    capacity: usize,
    /// Where the next search for the least recently used begins.
    hand: usize,
    round: usize,
    /// Keys that had to leave.
    pub evicted: u64,
}

/// A value whose place another key may take over.
pub trait Reuse: Default {
    /// Makes it like new. Values of which most is seldom used can do so without replacing all.
    fn reuse(&mut self) {
        *self = Self::default();
    }
}

impl<K: Copy + Eq + Hash, V: Reuse> LruMap<K, V> {
    /// For so many keys, one at least.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self {
            values: Vec::with_capacity(capacity),
            uses: Vec::with_capacity(capacity),
            // Twice as many, so that keys that come and go never make it grow.
            index: HashMap::with_capacity_and_hasher(2 * capacity, RandomState::default()),
            capacity,
            hand: 0,
            round: 0,
            evicted: 0,
        }
    }

    /// The value of `key`, which is used at `now`; a new one when there is none.
    pub fn touch(&mut self, key: K, now: Nanos) -> &mut V {
        let place = self.index.get(&key).copied().unwrap_or_else(|| self.claim(key));
        let (_, used) = &mut self.uses[place];
        *used = now.max(*used);
        &mut self.values[place]
    }

    /// The value of `key`, if there is one. To look at it is not to use it.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        self.index.get(key).map(|&place| &self.values[place])
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.index.get(key).map(|&place| &mut self.values[place])
    }

    /// The next value of a round over all of them.
    pub fn next_in_round(&mut self) -> Option<&mut V> {
        self.round = (self.round + 1) % self.values.len().max(1);
        self.values.get_mut(self.round)
    }

    /// All keys with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.uses.iter().map(|(key, _)| key).zip(&self.values)
    }

    /// All values.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.values.iter_mut()
    }

    /// Keys that it has room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    fn claim(&mut self, key: K) -> usize {
        let place = if self.values.len() < self.capacity {
            self.values.push(V::default());
            self.uses.push((key, Nanos::ZERO));
            self.values.len() - 1
        } else {
            let place = self.least_recently_used();
            self.index.remove(&self.uses[place].0);
            self.evicted += 1;
            self.uses[place] = (key, Nanos::ZERO);
            self.values[place].reuse();
            place
        };
        self.index.insert(key, place);
        place
    }

    fn least_recently_used(&mut self) -> usize {
        let turn = (0..SAMPLE).map(|n| (self.hand + n) % self.capacity);
        let place = turn.min_by_key(|&place| self.uses[place].1).unwrap_or(self.hand);
        self.hand = (self.hand + SAMPLE) % self.capacity;
        place
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Reuse for u32 {}

    #[test]
    fn the_key_that_was_not_used_for_longest_leaves() {
        let mut map: LruMap<u32, u32> = LruMap::with_capacity(SAMPLE);
        for key in 0..16 {
            *map.touch(key, Nanos(u64::from(key))) = key;
        }
        *map.touch(0, Nanos(100)) += 10;
        assert_eq!(*map.touch(99, Nanos(101)), 0, "a place that is used again is like new");
        assert_eq!((map.iter().count(), map.evicted), (SAMPLE, 1));
        assert_eq!((map.get(&1), map.get(&0)), (None, Some(&10)));
    }

    #[test]
    fn a_late_look_at_the_past_does_not_make_a_key_older() {
        let mut map: LruMap<u32, u32> = LruMap::with_capacity(2);
        map.touch(1, Nanos(20));
        map.touch(2, Nanos(10));
        map.touch(1, Nanos::ZERO);
        map.touch(3, Nanos(30));
        assert!(map.get(&1).is_some() && map.get(&2).is_none());
    }

    #[test]
    fn a_round_comes_to_every_value() {
        let mut map: LruMap<u32, u32> = LruMap::with_capacity(4);
        assert_eq!(map.next_in_round(), None);
        for key in 0..3 {
            *map.touch(key, Nanos(1)) = key;
        }
        let mut met: Vec<u32> = (0..3).filter_map(|_| map.next_in_round().copied()).collect();
        met.sort_unstable();
        assert_eq!(met, [0, 1, 2]);
    }

    proptest! {
        #[test]
        fn a_value_is_its_own_keys_and_every_key_that_is_missing_was_counted(
            keys in prop::collection::vec(0_u8..64, 0..500),
            capacity in 1_usize..40,
        ) {
            let mut map: LruMap<u8, u32> = LruMap::with_capacity(capacity);
            let mut model: HashMap<u8, u32> = HashMap::new();
            let mut fresh = 0;
            for (key, now) in keys.into_iter().zip(0..) {
                let known = map.get(&key).copied();
                prop_assert!(known.is_none_or(|value| model.get(&key) == Some(&value)));
                let count = if known.is_some() { model.get(&key).copied() } else { None };
                fresh += u64::from(count.is_none());
                *map.touch(key, Nanos(now)) += 1;
                model.insert(key, count.unwrap_or(0) + 1);
                prop_assert_eq!(map.get(&key), model.get(&key), "used last, it stays");
            }
            let held = map.iter().count();
            prop_assert!(held <= map.capacity());
            prop_assert_eq!(map.evicted + held as u64, fresh);
        }
    }
}
