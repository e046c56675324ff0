//! The flow table: bounded, with expiry in small steps and eviction by need.
//!
//! The [`Index`] leads from the hash of a key to a slot; a slot holds all that is kept of a flow, its
//! key included. What a burst needs of both is prefetched before it is used
//! ([`track`](super::track)).
//!
//! A flow that has ended keeps its slot until the burst after next begins, so that the stages
//! behind `track` can still look at it and no slot means two flows in one burst.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use super::entry::FlowEntry;
use super::index::{Index, KeyHash};
use super::key::FlowKey;
use crate::burst::{BURST_FRAMES, Direction, FlowId};
use crate::hw;
use crate::parse::handshake::Handshake;
use crate::parse::tls::{Stream, Streams};
use crate::telemetry::FlowTotals;
use crate::time::Nanos;

/// The flows of an lcore.
#[derive(Debug)]
pub struct FlowTable {
    index: Index,
    hasher: RandomState,
    /// As many as there have been at once; memory of the others is not touched.
    slots: Vec<Option<FlowEntry>>,
    slots_max: usize,
    /// Those of `slots` without a flow.
    free: Vec<FlowId>,
    /// Opened in this burst, by frame order.
    fresh: Vec<FlowId>,
    /// Ended and not yet seen by the exchange stage.
    ended: Vec<FlowId>,
    /// Seen by it: their slots are free from the next burst on.
    retired: Vec<FlowId>,
    /// Next slot that expiry looks at.
    hand: usize,
    capacity: usize,
    opened: u64,
    expired: u64,
    evicted: u64,
    repeated_frames: u64,
    repeated_bytes: u64,
}

/// How long a flow is kept after its last frame.
const HALF_OPEN_IDLE: Nanos = Nanos::from_secs(10);
const CLOSED_IDLE: Nanos = Nanos::from_secs(2);
const OPEN_IDLE: Nanos = Nanos::from_secs(660);
/// Expiry looks at every slot once in so many steps, as long as that takes no more slots a step than
/// this.
const EXPIRE_ROUND: usize = 5;
const EXPIRE_STEP: usize = 1024;
/// Candidates that one eviction compares.
const EVICT_SAMPLE: usize = 32;

impl FlowTable {
    /// A table for `capacity` flows. All memory is taken here.
    ///
    /// # Panics
    /// When `capacity` is 0 or more than 2^31.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        assert!(capacity > 0 && capacity <= 1 << 31, "1 to 2^31 flows");
        // Slots of ended flows are not free at once.
        let ended = ended_max(capacity);
        let slots = capacity + 2 * ended;
        Self {
            index: Index::with_capacity(capacity, hw::match_tags()),
            hasher: RandomState::default(),
            slots: Vec::with_capacity(slots),
            slots_max: slots,
            free: Vec::with_capacity(slots),
            fresh: Vec::with_capacity(BURST_FRAMES),
            ended: Vec::with_capacity(2 * ended),
            retired: Vec::with_capacity(2 * ended),
            hand: 0,
            capacity,
            opened: 0,
            expired: 0,
            evicted: 0,
            repeated_frames: 0,
            repeated_bytes: 0,
        }
    }

    /// Slots in all: one more than the highest [`FlowId`] there can be.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots_max
    }

    /// Frees the slots of flows that every stage has seen the end of.
    pub fn begin_burst(&mut self) {
        self.fresh.clear();
        for flow in self.retired.drain(..) {
            self.slots[flow.0 as usize] = None;
            self.free.push(flow);
        }
    }

    /// The live flow of a key.
    #[must_use]
    pub fn find(&self, key: &FlowKey) -> Option<FlowId> {
        self.find_likely(key, self.hash(key), None)
    }

    /// The hash of a key, by which this table alone finds it.
    #[inline]
    pub(super) fn hash(&self, key: &FlowKey) -> KeyHash {
        KeyHash(self.hasher.hash_one(key))
    }

    /// Begins to load the place of a flow in the index.
    #[inline]
    pub(super) fn prefetch_index(&self, hash: KeyHash) {
        self.index.prefetch(hash);
    }

    /// The flow that most likely has this hash, which begins to be loaded.
    #[inline]
    pub(super) fn prefetch_likely(&self, hash: KeyHash) -> Option<FlowId> {
        let flow = self.index.likely(hash)?;
        hw::prefetch(&self.slots[flow.0 as usize]);
        Some(flow)
    }

    /// The live flow of a key, which as a rule is the likely one.
    #[inline]
    pub(super) fn find_likely(
        &self,
        key: &FlowKey,
        hash: KeyHash,
        likely: Option<FlowId>,
    ) -> Option<FlowId> {
        let is_sought = |flow: FlowId| {
            let entry = self.slots[flow.0 as usize].as_ref();
            entry.is_some_and(|entry| entry.is_live && entry.key == *key)
        };
        if let Some(flow) = likely
            && is_sought(flow)
        {
            return likely;
        }
        self.index.find(hash, is_sought)
    }

    /// Makes a flow. When the table is full another one leaves: half-open first, then closed, then
    /// idle. `None` when no slot can be had.
    pub fn open(&mut self, key: FlowKey, client_is_low: bool, at: Nanos) -> Option<FlowId> {
        if self.index.len() >= self.capacity {
            self.evict()?;
        }
        let flow = self.free_slot()?;
        if !self.index.insert(self.hash(&key), flow) {
            self.free.push(flow);
            return None;
        }
        self.opened += 1;
        self.slots[flow.0 as usize] = Some(FlowEntry::new(key, client_is_low, self.opened, at));
        self.fresh.push(flow);
        Some(flow)
    }

    fn free_slot(&mut self) -> Option<FlowId> {
        self.free.pop().or_else(|| {
            let next = u32::try_from(self.slots.len()).ok()?;
            let is_room = self.slots.len() < self.slots_max;
            is_room.then(|| {
                self.slots.push(None);
                FlowId(next)
            })
        })
    }

    /// Counts a frame that repeats this many payload bytes, or a SYN or FIN.
    pub fn count_repeated(&mut self, bytes: u32) {
        self.repeated_frames += 1;
        self.repeated_bytes += u64::from(bytes);
    }

    /// Ends a flow. Its entry can be read until the burst after next.
    pub fn end(&mut self, flow: FlowId) {
        let entry = self.entry_mut(flow);
        entry.is_live = false;
        let key = entry.key;
        self.index.remove(self.hash(&key), flow);
        self.ended.push(flow);
    }

    /// Ends flows that have been idle for too long, a bounded number of slots at a time.
    pub fn expire(&mut self, now: Nanos) {
        for _ in 0..self.slots.len().div_ceil(EXPIRE_ROUND).min(EXPIRE_STEP) {
            let flow = self.advance_hand();
            let is_idle = |entry: &FlowEntry| idle_limit(entry) < now.since(entry.last_seen);
            if self.live(flow).is_some_and(is_idle) {
                self.expired += 1;
                self.end(flow);
            }
        }
    }

    /// Ends some of the flows, for the end of a capture; false when none is left.
    pub fn end_some(&mut self) -> bool {
        for _ in 0..self.slots.len() {
            let flow = self.advance_hand();
            if self.live(flow).is_some() {
                self.end(flow);
                if self.ended.len() >= EXPIRE_STEP {
                    break;
                }
            }
        }
        !self.ended.is_empty()
    }

    /// Takes over the flows that have ended since the last call; the caller looks at them now or
    /// never.
    pub fn take_ended(&mut self, mut see: impl FnMut(FlowId, &FlowEntry)) {
        for flow in self.ended.drain(..) {
            if let Some(entry) = &self.slots[flow.0 as usize] {
                see(flow, entry);
            }
            self.retired.push(flow);
        }
    }

    /// Flows that were opened in this burst.
    #[must_use]
    pub fn fresh(&self) -> &[FlowId] {
        &self.fresh
    }

    /// A flow that is live, or ended in this burst or the one before.
    ///
    /// # Panics
    /// When it is neither.
    #[inline]
    #[must_use]
    pub fn entry(&self, flow: FlowId) -> &FlowEntry {
        self.slots[flow.0 as usize].as_ref().expect("a FlowId is given out for a filled slot only")
    }

    /// The same, to change it.
    ///
    /// # Panics
    /// When it is neither.
    #[inline]
    pub fn entry_mut(&mut self, flow: FlowId) -> &mut FlowEntry {
        self.slots[flow.0 as usize].as_mut().expect("a FlowId is given out for a filled slot only")
    }

    /// What it has counted.
    #[must_use]
    pub fn totals(&self) -> FlowTotals {
        FlowTotals {
            opened: self.opened,
            expired: self.expired,
            evicted: self.evicted,
            live: self.index.len() as u64,
            repeated_frames: self.repeated_frames,
            repeated_bytes: self.repeated_bytes,
            ..FlowTotals::default()
        }
    }

    /// The next slot of those that have been used.
    fn advance_hand(&mut self) -> FlowId {
        let flow = FlowId(u32::try_from(self.hand).expect("there are fewer than 2^32 slots"));
        self.hand = (self.hand + 1) % self.slots.len();
        flow
    }

    /// The flow of a slot, if there is one that has not ended.
    fn live(&self, flow: FlowId) -> Option<&FlowEntry> {
        let slot = self.slots.get(flow.0 as usize)?;
        slot.as_ref().filter(|entry| entry.is_live)
    }

    /// Ends the flow that matters least among a few.
    fn evict(&mut self) -> Option<()> {
        let room = self.free.len() + self.slots_max - self.slots.len();
        if room < BURST_FRAMES {
            return None;
        }
        let mut worst: Option<(u8, Nanos, FlowId)> = None;
        let mut compared = 0;
        for _ in 0..self.slots.len() {
            let flow = self.advance_hand();
            let Some(entry) = self.live(flow) else { continue };
            // Nobody answers, whatever the frames look like: a flood, or a one-sided tap.
            let one_sided = entry.halves.iter().any(|half| half.frames == 0);
            let rank = if one_sided { 0 } else { importance(entry) };
            let candidate = (rank, entry.last_seen, flow);
            worst = Some(worst.map_or(candidate, |worst| worst.min(candidate)));
            compared += 1;
            if compared == EVICT_SAMPLE {
                break;
            }
        }
        let (_, _, flow) = worst?;
        self.evicted += 1;
        self.end(flow);
        Some(())
    }
}

impl Streams for FlowTable {
    #[inline]
    fn streams(&mut self, flow: FlowId, direction: Direction) -> [&mut Stream; 2] {
        direction.first_of(&mut self.entry_mut(flow).halves).map(|half| &mut half.stream)
    }

    fn handshake(&mut self, flow: FlowId) -> &mut Handshake {
        &mut self.entry_mut(flow).handshake
    }
}

/// Flows that one burst can end at most: each frame can reuse ports and push out another flow, and
/// a step of expiry finds no more than there are.
fn ended_max(capacity: usize) -> usize {
    2 * BURST_FRAMES + EXPIRE_STEP.min(capacity)
}

fn idle_limit(entry: &FlowEntry) -> Nanos {
    match importance(entry) {
        0 => HALF_OPEN_IDLE,
        1 => CLOSED_IDLE,
        _ => OPEN_IDLE,
    }
}

fn importance(entry: &FlowEntry) -> u8 {
    if entry.is_half_open() {
        0
    } else if entry.is_closed() {
        1
    } else {
        2
    }
}

#[cfg(test)]
mod tests;
