//! The flow table: bounded, with expiry in small steps and eviction by need.
//!
//! This is the right and plain one: a hash map from key to slot. What the stages rely on is its
//! interface.
//!
//! A flow that has ended keeps its slot until the burst after next begins, so that the stages
//! behind `track` can still look at it and no slot means two flows in one burst.

use std::collections::HashMap;

use super::entry::FlowEntry;
use super::key::FlowKey;
use crate::burst::{BURST_FRAMES, Direction, FlowId};
use crate::parse::handshake::Handshake;
use crate::parse::tls::{Stream, Streams};
use crate::telemetry::FlowTotals;
use crate::time::Nanos;

/// The flows of an lcore.
#[derive(Debug)]
pub struct FlowTable {
    index: HashMap<FlowKey, FlowId>,
    slots: Vec<Option<FlowEntry>>,
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
/// Slots that one expiry step looks at, and candidates that one eviction compares.
const EXPIRE_STEP: usize = 1024;
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
        let ids = (0..u32::try_from(slots).expect("checked above")).rev().map(FlowId);
        Self {
            // Twice the room: a hash map that is never more than half full only ever rehashes in
            // place.
            index: HashMap::with_capacity(2 * capacity),
            slots: vec![None; slots],
            free: ids.collect(),
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
        self.slots.len()
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
        self.index.get(key).copied()
    }

    /// Makes a flow. When the table is full another one leaves: half-open first, then closed, then
    /// idle. `None` when no slot can be had.
    pub fn open(&mut self, key: FlowKey, client_is_low: bool, at: Nanos) -> Option<FlowId> {
        if self.index.len() >= self.capacity {
            self.evict()?;
        }
        let flow = self.free.pop()?;
        self.opened += 1;
        self.slots[flow.0 as usize] = Some(FlowEntry::new(key, client_is_low, self.opened, at));
        self.index.insert(key, flow);
        self.fresh.push(flow);
        Some(flow)
    }

    /// Counts a frame that repeats this many payload bytes, or a SYN or FIN.
    pub fn count_repeated(&mut self, bytes: u32) {
        self.repeated_frames += 1;
        self.repeated_bytes += u64::from(bytes);
    }

    /// Ends a flow. Its entry can be read until the burst after next.
    pub fn end(&mut self, flow: FlowId) {
        let key = self.entry(flow).key;
        self.index.remove(&key);
        self.ended.push(flow);
    }

    /// Ends flows that have been idle for too long, a bounded number of slots at a time.
    pub fn expire(&mut self, now: Nanos) {
        for _ in 0..EXPIRE_STEP.min(self.slots.len()) {
            let flow = self.advance_hand();
            let is_idle = |entry: &FlowEntry| idle_limit(entry) < now.since(entry.last_seen);
            if self.slots[flow.0 as usize].as_ref().is_some_and(is_idle) && self.is_live(flow) {
                self.expired += 1;
                self.end(flow);
            }
        }
    }

    /// Ends some of the flows, for the end of a capture; false when none is left.
    pub fn end_some(&mut self) -> bool {
        for _ in 0..self.slots.len() {
            let flow = self.advance_hand();
            if self.is_live(flow) {
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
    #[must_use]
    pub fn entry(&self, flow: FlowId) -> &FlowEntry {
        self.slots[flow.0 as usize].as_ref().expect("a FlowId is given out for a filled slot only")
    }

    /// The same, to change it.
    ///
    /// # Panics
    /// When it is neither.
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

    fn advance_hand(&mut self) -> FlowId {
        let flow = FlowId(u32::try_from(self.hand).expect("there are fewer than 2^32 slots"));
        self.hand = (self.hand + 1) % self.slots.len();
        flow
    }

    fn is_live(&self, flow: FlowId) -> bool {
        let entry = self.slots[flow.0 as usize].as_ref();
        entry.is_some_and(|entry| self.index.get(&entry.key) == Some(&flow))
    }

    /// Ends the flow that matters least among a few.
    fn evict(&mut self) -> Option<()> {
        if self.free.len() < BURST_FRAMES {
            return None;
        }
        let mut worst: Option<(u8, Nanos, FlowId)> = None;
        let mut compared = 0;
        for _ in 0..self.slots.len() {
            let flow = self.advance_hand();
            if !self.is_live(flow) {
                continue;
            }
            let entry = self.entry(flow);
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
    fn stream(&mut self, flow: FlowId, direction: Direction) -> &mut Stream {
        &mut self.entry_mut(flow).halves[direction.index()].stream
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
mod tests {
    use super::*;
    use crate::burst::{Address, Protocol};

    fn key(n: u32) -> FlowKey {
        let [a, b, c, d] = n.to_be_bytes();
        let low = (Address::v4([a, b, c, d]), 1);
        FlowKey { low, high: (Address::v4([255; 4]), 443), protocol: Protocol::Tcp }
    }

    fn settle(table: &mut FlowTable) {
        table.take_ended(|_, _| {});
        table.begin_burst();
    }

    #[test]
    fn a_flow_is_found_until_it_ends_and_can_be_read_a_little_longer() {
        let mut table = FlowTable::with_capacity(4);
        let flow = table.open(key(1), true, Nanos(1)).unwrap();
        assert_eq!(table.find(&key(1)), Some(flow));
        table.end(flow);
        assert_eq!(table.find(&key(1)), None);
        assert_eq!(table.entry(flow).key, key(1));
        let again = table.open(key(1), true, Nanos(2)).unwrap();
        assert_ne!(again, flow, "a slot never means two flows in one burst");
    }

    #[test]
    fn a_full_table_lets_the_longest_idle_go() {
        let mut table = FlowTable::with_capacity(8);
        for n in 0..8 {
            table.open(key(n), true, Nanos(u64::from(n) + 1)).unwrap();
            settle(&mut table);
        }
        assert!(table.open(key(99), true, Nanos(100)).is_some());
        assert_eq!(
            (table.find(&key(0)), table.totals().evicted, table.totals().live),
            (None, 1, 8)
        );
    }

    #[test]
    fn a_flood_never_outgrows_the_table() {
        let mut table = FlowTable::with_capacity(100);
        for n in 0..10_000 {
            assert!(table.open(key(n), true, Nanos(u64::from(n))).is_some());
            if n % 64 == 0 {
                settle(&mut table);
            }
        }
        assert_eq!(table.totals().live, 100);
    }

    #[test]
    fn idle_flows_expire_in_steps() {
        let mut table = FlowTable::with_capacity(4);
        table.open(key(1), true, Nanos::ZERO);
        table.expire(OPEN_IDLE);
        assert!(table.find(&key(1)).is_some());
        for _ in 0..8 {
            table.expire(OPEN_IDLE + Nanos(1));
        }
        assert_eq!((table.find(&key(1)), table.totals().expired), (None, 1));
    }
}
