//! The places of those flows that may carry exchanges: a flow takes one when its first hello, record
//! or datagram is followed, and gives it back when it has ended.
//!
//! Bounded: who finds no place is counted, and its exchanges are not followed. As many places are
//! made as there have been at once.

use std::ops::{Index, IndexMut};

use super::h1::Connection;
use super::quic::Path;
use crate::burst::FlowId;

/// A place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u32);

impl Place {
    /// As an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a place holds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Followed {
    pub(super) connection: Connection,
    pub(super) path: Path,
}

/// The places of an lcore.
#[derive(Debug)]
pub(super) struct Places {
    /// By flow, counted from 1; 0 is none. Memory of flows that never have one is not touched.
    of: Vec<u32>,
    all: Vec<Followed>,
    free: Vec<Place>,
    /// Flows that have ended: their places can be read until the next burst.
    ended: Vec<FlowId>,
    capacity: usize,
    /// Flows that found no place.
    pub(super) refused: u64,
}

/// Flows that may carry exchanges at once.
const PLACES_MAX: usize = 1 << 20;

impl Places {
    /// For a flow table with this many slots.
    pub(super) fn for_slots(slots: usize) -> Self {
        let capacity = slots.min(PLACES_MAX);
        Self {
            of: vec![0; slots],
            all: Vec::with_capacity(capacity),
            free: Vec::with_capacity(capacity),
            ended: Vec::with_capacity(slots),
            capacity,
            refused: 0,
        }
    }

    /// How many there are at most.
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// The place of a flow, if it has one.
    pub(super) fn of(&self, flow: FlowId) -> Option<Place> {
        self.of.get(flow.0 as usize)?.checked_sub(1).map(Place)
    }

    /// The place of a flow, which takes one if it has none.
    pub(super) fn take(&mut self, flow: FlowId) -> Option<Place> {
        if let Some(place) = self.of(flow) {
            return Some(place);
        }
        let place = self.free.pop().or_else(|| {
            let next = u32::try_from(self.all.len()).ok()?;
            (self.all.len() < self.capacity).then(|| {
                self.all.push(Followed::default());
                Place(next)
            })
        });
        let Some(place) = place else {
            self.refused += 1;
            return None;
        };
        self[place] = Followed::default();
        self.of[flow.0 as usize] = place.0 + 1;
        Some(place)
    }

    /// The flow has ended.
    pub(super) fn ended(&mut self, flow: FlowId) {
        if self.of(flow).is_some() {
            self.ended.push(flow);
        }
    }

    /// Frees the places of flows that had ended before this burst.
    pub(super) fn free_ended(&mut self) {
        for flow in self.ended.drain(..) {
            let place = std::mem::take(&mut self.of[flow.0 as usize]);
            self.free.extend(place.checked_sub(1).map(Place));
        }
    }
}

impl Index<Place> for Places {
    type Output = Followed;

    fn index(&self, place: Place) -> &Followed {
        &self.all[place.index()]
    }
}

impl IndexMut<Place> for Places {
    fn index_mut(&mut self, place: Place) -> &mut Followed {
        &mut self.all[place.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_kept_until_the_burst_after_its_flow_and_given_again_blank() {
        let mut places = Places::for_slots(1);
        let place = places.take(FlowId(0)).unwrap();
        places[place].connection.exchanges = 7;
        places.ended(FlowId(0));
        assert_eq!(places[places.of(FlowId(0)).unwrap()].connection.exchanges, 7);
        places.free_ended();
        assert_eq!(places.of(FlowId(0)), None);
        let again = places.take(FlowId(0)).unwrap();
        assert_eq!((again, places[again].connection.exchanges), (place, 0));
    }

    #[test]
    fn who_finds_no_place_is_counted() {
        let mut places = Places { capacity: 1, ..Places::for_slots(2) };
        assert!(places.take(FlowId(0)).is_some() && places.take(FlowId(1)).is_none());
        assert_eq!((places.take(FlowId(0)).is_some(), places.refused), (true, 1));
    }
}
