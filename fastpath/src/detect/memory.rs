//! A bounded map: state of the latest keys, each in a place that was taken at start.
//!
//! When all places are taken, the least used of a sample leaves and is counted. Nothing allocates
//! after the start.

use std::collections::HashMap;
use std::hash::Hash;

use foldhash::fast::RandomState;

use crate::time::Nanos;

/// Places compared when one has to leave.
const SAMPLE: usize = 8;

/// State by key.
#[derive(Debug)]
pub struct Memory<K, V> {
    places: Vec<Place<K, V>>,
    index: HashMap<K, usize, RandomState>,
    capacity: usize,
    hand: usize,
    round: usize,
    /// Keys that were pushed out.
    pub evicted: u64,
}

#[derive(Debug)]
struct Place<K, V> {
    key: K,
    last_used: Nanos,
    state: V,
}

impl<K: Copy + Eq + Hash, V: Default> Memory<K, V> {
    /// For `capacity` keys.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            places: Vec::with_capacity(capacity),
            // Twice as many, so that keys that come and go never make the map grow.
            index: HashMap::with_capacity_and_hasher(2 * capacity, RandomState::default()),
            capacity,
            hand: 0,
            round: 0,
            evicted: 0,
        }
    }

    /// The state of `key`, fresh when it was not known.
    pub fn of(&mut self, key: K, now: Nanos) -> &mut V {
        let index = match self.index.get(&key) {
            Some(&index) => index,
            None => self.claim(key),
        };
        let place = &mut self.places[index];
        place.last_used = place.last_used.max(now);
        &mut place.state
    }

    /// The state of `key`, if it is known.
    pub fn known(&mut self, key: &K) -> Option<&mut V> {
        self.index.get(key).map(|&index| &mut self.places[index].state)
    }

    /// The next state of a round over all of them.
    pub fn next_in_round(&mut self) -> Option<&mut V> {
        self.round = if self.round + 1 < self.places.len() { self.round + 1 } else { 0 };
        self.places.get_mut(self.round).map(|place| &mut place.state)
    }

    /// The states of all keys.
    pub fn all(&mut self) -> impl Iterator<Item = &mut V> {
        self.places.iter_mut().map(|place| &mut place.state)
    }

    /// Keys that are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    fn claim(&mut self, key: K) -> usize {
        let place = Place { key, last_used: Nanos::ZERO, state: V::default() };
        let index = if self.places.len() < self.capacity {
            self.places.push(place);
            self.places.len() - 1
        } else {
            let index = self.least_used();
            self.index.remove(&self.places[index].key);
            self.places[index] = place;
            self.evicted += 1;
            index
        };
        self.index.insert(key, index);
        index
    }

    fn least_used(&mut self) -> usize {
        let candidates = (0..SAMPLE).map(|n| (self.hand + n) % self.capacity);
        let index = candidates.min_by_key(|&i| self.places[i].last_used).unwrap_or(self.hand);
        self.hand = (self.hand + SAMPLE) % self.capacity;
        index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_used_key_leaves_when_all_places_are_taken() {
        let mut memory: Memory<u32, u32> = Memory::with_capacity(8);
        for key in 0..8 {
            *memory.of(key, Nanos(u64::from(key))) = key;
        }
        *memory.of(0, Nanos(100)) += 10;
        memory.of(99, Nanos(101));
        assert_eq!((memory.len(), memory.evicted), (8, 1));
        assert_eq!(memory.known(&1), None, "the one that was not used for longest");
        assert_eq!(memory.known(&0), Some(&mut 10));
    }

    #[test]
    fn a_round_comes_to_every_key() {
        let mut memory: Memory<u32, u32> = Memory::with_capacity(4);
        assert_eq!(memory.next_in_round(), None);
        for key in 0..3 {
            *memory.of(key, Nanos(1)) = key;
        }
        let mut met: Vec<u32> = (0..3).filter_map(|_| memory.next_in_round().copied()).collect();
        met.sort_unstable();
        assert_eq!(met, [0, 1, 2]);
    }
}
