//! The flow table: bounded, with expiry in small steps and eviction by need.
//!
//! When it is full the flow leaves that has waited longest for an answer: a flood pushes out its own.
//! Where all are answered, one that is closed leaves, then one that has rested since it was last looked
//! at.
//!
//! The [`Index`] leads from the hash of a key to a slot; a slot holds what every flow has, its key
//! included. What a burst needs of both is prefetched before it is used
//! ([`track`](super::track)). Keys of IPv6, and the details of those flows that have some, are kept
//! apart and reached by an index.
//!
//! A flow that has ended keeps its slot until the burst after next begins, so that the stages
//! behind `track` can still look at it and no slot means two flows in one burst.

use std::collections::VecDeque;

use super::detail::Details;
use super::entry::{Classified, DetailIndex, Flow, FlowDetail, FlowEntry};
use super::index::{Index, KeyHash};
use super::key::{FlowKey, KeyHasher, ShortKey, Sought};
use super::state::Of;
use super::tcp::Arrived;
use crate::burst::{BURST_FRAMES, Direction, FlowId, Headers};
use crate::hw;
use crate::parse::handshake::Handshake;
use crate::parse::tls::{Stream, Streams};
use crate::telemetry::FlowTotals;
use crate::time::Nanos;

/// The flows of an lcore.
#[derive(Debug)]
pub struct FlowTable {
    index: Index,
    hasher: KeyHasher,
    /// As many as there have been at once; memory of the others is not touched.
    slots: Vec<FlowEntry>,
    slots_max: usize,
    /// Those of `slots` without a flow.
    free: Vec<FlowId>,
    /// Whole keys of IPv6, and those without a flow.
    long_keys: Vec<FlowKey>,
    free_keys: Vec<u32>,
    details: Details,
    /// Flows by when they opened or were heard again, of which those that nobody has answered are the
    /// first to leave. Others are taken out when they come to the front.
    unanswered: VecDeque<FlowId>,
    /// Flows by when they were closed.
    closed: VecDeque<FlowId>,
    /// Opened in this burst, by frame order.
    fresh: Vec<FlowId>,
    /// Ended and not yet seen by the exchange stage.
    ended: Vec<FlowId>,
    /// Seen by it: their slots are free from the next burst on.
    retired: Vec<FlowId>,
    /// Next slot that expiry looks at.
    hand: usize,
    capacity: usize,
    /// Revision of the policy in force, and which of those it is that have been.
    revision: Option<u64>,
    policy: u32,
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
/// Flows of each kind that one eviction looks at.
const EVICT_LOOKS: usize = 256;
/// Closed flows that are remembered in the order in which they leave.
const CLOSED_MAX: usize = 65_536;
/// Flows that have been answered and that a flow which opens takes out of the queue of the others: more
/// than come in.
const ANSWERED_OUT: usize = 2;

impl FlowTable {
    /// A table for `capacity` flows. All memory is taken here.
    ///
    /// # Panics
    /// When `capacity` is 0 or more than 2^31.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self::with_details(capacity, capacity)
    }

    /// The same, with room for the details of fewer flows than that.
    ///
    /// # Panics
    /// When `capacity` is 0 or more than 2^31.
    #[must_use]
    pub fn with_details(capacity: usize, details: usize) -> Self {
        assert!(capacity > 0 && capacity <= 1 << 31, "1 to 2^31 flows");
        // Slots of ended flows are not free at once.
        let ended = ended_max(capacity);
        let slots = capacity + 2 * ended;
        Self {
            index: Index::with_capacity(capacity, hw::match_tags()),
            hasher: KeyHasher::default(),
            slots: Vec::with_capacity(slots),
            slots_max: slots,
            free: Vec::with_capacity(slots),
            long_keys: Vec::with_capacity(slots),
            free_keys: Vec::with_capacity(slots),
            details: Details::with_capacity(if details < capacity { details } else { slots }),
            unanswered: VecDeque::with_capacity(slots),
            closed: VecDeque::with_capacity(slots.min(CLOSED_MAX)),
            fresh: Vec::with_capacity(BURST_FRAMES),
            ended: Vec::with_capacity(2 * ended),
            retired: Vec::with_capacity(2 * ended),
            hand: 0,
            capacity,
            revision: None,
            policy: 0,
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

    /// Begins a burst under the policy of this revision, and frees the slots of flows that every
    /// stage has seen the end of.
    pub fn begin_burst(&mut self, revision: u64) {
        if self.revision != Some(revision) {
            self.revision = Some(revision);
            // No flow is older than so many policies and has been met by none of them.
            self.policy = self.policy.checked_add(1).unwrap_or(1);
        }
        self.fresh.clear();
        for flow in self.retired.drain(..) {
            let entry = &mut self.slots[flow.0 as usize];
            self.details.give_back(entry.detail);
            if entry.state.kind().v6 {
                self.free_keys.push(entry.key.place());
            }
            *entry = FlowEntry::vacant();
            self.free.push(flow);
        }
    }

    /// The live flow of a key.
    #[must_use]
    pub fn find(&self, key: &FlowKey) -> Option<FlowId> {
        let sought = self.hasher.of_key(key);
        self.find_likely(&sought, || *key, None)
    }

    /// The key of a frame's flow, as it is looked for.
    #[inline]
    pub(super) fn sought(&self, headers: &Headers) -> Sought {
        self.hasher.sought(headers)
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

    /// The live flow of a key, which as a rule is the likely one. `whole` gives the key when it is
    /// of IPv6.
    #[inline]
    pub(super) fn find_likely(
        &self,
        sought: &Sought,
        whole: impl Fn() -> FlowKey,
        likely: Option<FlowId>,
    ) -> Option<FlowId> {
        if let Some(flow) = likely
            && self.is_sought(flow, sought, &whole)
        {
            return likely;
        }
        self.find_any(sought, &whole)
    }

    #[cold]
    fn find_any(&self, sought: &Sought, whole: &impl Fn() -> FlowKey) -> Option<FlowId> {
        self.index.find(sought.hash, |flow| self.is_sought(flow, sought, whole))
    }

    #[inline(always)]
    fn is_sought(&self, flow: FlowId, sought: &Sought, whole: &impl Fn() -> FlowKey) -> bool {
        let entry = &self.slots[flow.0 as usize];
        let alike = entry.state.is_live() && entry.state.kind() == sought.kind;
        match sought.kind.v6 {
            false => alike && entry.key == sought.key,
            true => {
                alike
                    && entry.key.is_alike(sought.key)
                    && entry.whole_key(&self.long_keys) == whole()
            }
        }
    }

    /// Makes a flow. When the table is full another one leaves: half-open first, then closed, then
    /// idle. `None` when no slot can be had.
    pub fn open(&mut self, key: FlowKey, client_is_low: bool, at: Nanos) -> Option<FlowId> {
        if self.index.len() >= self.capacity {
            self.evict()?;
        }
        let sought = self.hasher.of_key(&key);
        let flow = self.free_slot()?;
        if !self.index.insert(sought.hash, flow) {
            self.free.push(flow);
            return None;
        }
        self.opened += 1;
        let short = if sought.kind.v6 { self.keep_key(sought.key, key) } else { sought.key };
        self.slots[flow.0 as usize] = FlowEntry::new(short, sought.kind, client_is_low, at);
        self.fresh.push(flow);
        self.let_wait(flow);
        Some(flow)
    }

    /// Puts a flow that opens behind those that wait for an answer.
    fn let_wait(&mut self, flow: FlowId) {
        let slots = &self.slots;
        for _ in 0..ANSWERED_OUT {
            self.unanswered.pop_front_if(|first| !is_waiting(&slots[first.0 as usize]));
        }
        if self.unanswered.len() == self.slots_max {
            self.unanswered.pop_front();
        }
        self.unanswered.push_back(flow);
    }

    /// Puts a flow that has been closed behind the others that have.
    pub(super) fn note_closed(&mut self, flow: FlowId) {
        if self.closed.len() == self.slots_max.min(CLOSED_MAX) {
            self.closed.pop_front();
        }
        self.closed.push_back(flow);
    }

    /// Keeps a whole key: there are as many places as slots.
    fn keep_key(&mut self, short: ShortKey, key: FlowKey) -> ShortKey {
        let place = self.free_keys.pop().unwrap_or_else(|| {
            self.long_keys.push(key);
            u32::try_from(self.long_keys.len() - 1).expect("there are fewer than 2^32 slots")
        });
        self.long_keys[place as usize] = key;
        short.at(place)
    }

    fn free_slot(&mut self) -> Option<FlowId> {
        self.free.pop().or_else(|| {
            let next = u32::try_from(self.slots.len()).ok()?;
            let is_room = self.slots.len() < self.slots_max;
            is_room.then(|| {
                self.slots.push(FlowEntry::vacant());
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
        let entry = &mut self.slots[flow.0 as usize];
        entry.state.end();
        let key = entry.whole_key(&self.long_keys);
        self.index.remove(self.hasher.of_key(&key).hash, flow);
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
    pub fn take_ended(&mut self, mut see: impl FnMut(FlowId, &Flow<'_>)) {
        for n in 0..self.ended.len() {
            let flow = self.ended[n];
            see(flow, &self.flow(flow));
            self.retired.push(flow);
        }
        self.ended.clear();
    }

    /// Flows that were opened in this burst.
    #[must_use]
    pub fn fresh(&self) -> &[FlowId] {
        &self.fresh
    }

    /// A flow that is live, or ended in this burst or the one before.
    #[must_use]
    #[inline]
    pub fn flow(&self, flow: FlowId) -> Flow<'_> {
        let entry = self.entry(flow);
        Flow::new(entry, self.details.get(entry.detail), &self.long_keys)
    }

    /// What the receiver of a direction has acknowledged up to `ack` without that it had passed
    /// here, as [`Progress::missed`](super::tcp::Progress::missed) tells it.
    #[must_use]
    #[inline]
    pub fn missed(&self, flow: FlowId, direction: Direction, ack: u32) -> Option<(u32, bool)> {
        let lossy = self.entry(flow).state.has(direction, Of::LOSS);
        lossy.then(|| self.flow(flow).progress(direction).missed(ack)).flatten()
    }

    #[inline]
    pub(super) fn entry(&self, flow: FlowId) -> &FlowEntry {
        &self.slots[flow.0 as usize]
    }

    #[inline]
    pub(super) fn entry_mut(&mut self, flow: FlowId) -> &mut FlowEntry {
        &mut self.slots[flow.0 as usize]
    }

    /// What the ClientHello and the policy say of a flow, to change it. `None` when there is no room
    /// to keep it.
    pub fn class_mut(&mut self, flow: FlowId) -> Option<&mut Classified> {
        self.detail_mut(flow).map(|detail| &mut detail.class)
    }

    /// Whether a flow was classified by the policy in force. From here on it is.
    pub fn meet_policy(&mut self, flow: FlowId) -> bool {
        std::mem::replace(&mut self.slots[flow.0 as usize].policy, self.policy) == self.policy
    }

    /// Whether a flow was classified by the policy in force.
    #[inline]
    pub(super) fn is_classified(&self, flow: FlowId) -> bool {
        self.slots[flow.0 as usize].policy == self.policy
    }

    /// The sender of this hello is the client, whatever the ports had suggested.
    pub fn turn(&mut self, flow: FlowId) {
        let entry = &mut self.slots[flow.0 as usize];
        entry.turn();
        if entry.detail != DetailIndex::NONE {
            let detail = self.details.get_mut(entry.detail);
            detail.streams.swap(0, 1);
            detail.losses.swap(0, 1);
        }
    }

    /// Takes a TCP segment in that is not an ordinary one.
    pub(super) fn segment(
        &mut self,
        flow: FlowId,
        headers: &Headers,
        direction: Direction,
        at: Nanos,
    ) -> Arrived {
        let Headers { tcp, payload_wire_bytes, .. } = headers;
        let entry = &self.slots[flow.0 as usize];
        let losses = self.details.get(entry.detail).losses;
        let reverse = direction.reverse();
        let mut half = entry.progress(direction, &losses[direction.index()]);
        let mut other = entry.progress(reverse, &losses[reverse.index()]);
        let arrived = half.advance(tcp, *payload_wire_bytes);
        if tcp.flags.ack() {
            other.acknowledged(tcp.ack);
        }
        let answers = tcp.flags.ack() && !tcp.flags.rst();
        if answers && tcp.flags.syn() {
            other.answered(tcp.ack);
        }
        let entry = &mut self.slots[flow.0 as usize];
        let was_closed = entry.is_closed();
        if arrived.in_order || arrived.repeated {
            // Data on a SYN may be refused; the SYN itself is answered in any case.
            let data = if tcp.flags.syn() { 1 } else { *payload_wire_bytes };
            let end = tcp.seq.wrapping_add(data).wrapping_add(u32::from(tcp.flags.fin()));
            entry.measure(direction, |rtt| rtt.sent(tcp, end, arrived, at));
        }
        if answers {
            entry.measure(reverse, |rtt| {
                rtt.acknowledged(tcp, at);
            });
        }
        entry.keep(direction, &half);
        entry.keep(reverse, &other);
        if answers && tcp.flags.syn() {
            entry.infer_start(reverse, tcp.ack);
        }
        if entry.is_closed() && !was_closed {
            self.note_closed(flow);
        }
        let lacks = half.loss.is_some() || other.loss.is_some();
        let had = losses.iter().any(super::tcp::Loss::is_some);
        if (lacks || had)
            && let Some(detail) = self.detail_mut(flow)
        {
            detail.losses[direction.index()] = half.loss;
            detail.losses[reverse.index()] = other.loss;
        }
        arrived
    }

    /// The detail of a flow, which gets one if it has none. `None` when there is no room.
    fn detail_mut(&mut self, flow: FlowId) -> Option<&mut FlowDetail> {
        let entry = &mut self.slots[flow.0 as usize];
        if entry.detail == DetailIndex::NONE {
            entry.detail = self.details.take()?;
            let detail = self.details.get_mut(entry.detail);
            for direction in [Direction::ToServer, Direction::ToClient] {
                let stream = &mut detail.streams[direction.index()];
                entry.start(direction).into_iter().for_each(|seq| stream.start(seq));
                entry.note_walk(direction, stream);
            }
        }
        Some(self.details.get_mut(entry.detail))
    }

    /// What it has counted.
    #[must_use]
    pub fn totals(&self) -> FlowTotals {
        FlowTotals {
            opened: self.opened,
            expired: self.expired,
            evicted: self.evicted,
            live: self.index.len() as u64,
            detailed: self.details.len() as u64,
            refused: self.details.refused,
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
        self.slots.get(flow.0 as usize).filter(|entry| entry.state.is_live())
    }

    /// Ends the flow that matters least.
    fn evict(&mut self) -> Option<()> {
        let room = self.free.len() + self.slots_max - self.slots.len();
        if room < BURST_FRAMES {
            return None;
        }
        let flow = self
            .longest_unanswered()
            .or_else(|| self.longest_closed())
            .or_else(|| self.next_at_rest())?;
        self.evicted += 1;
        self.end(flow);
        Some(())
    }

    /// The flow that has waited longest for an answer: one that was heard of again goes back to the
    /// end.
    fn longest_unanswered(&mut self) -> Option<FlowId> {
        for _ in 0..EVICT_LOOKS {
            let flow = self.unanswered.pop_front()?;
            let entry = &mut self.slots[flow.0 as usize];
            if !is_waiting(entry) {
                continue;
            }
            if !entry.take_heard_again() {
                return Some(flow);
            }
            self.unanswered.push_back(flow);
        }
        None
    }

    fn longest_closed(&mut self) -> Option<FlowId> {
        for _ in 0..EVICT_LOOKS {
            let flow = self.closed.pop_front()?;
            let entry = &self.slots[flow.0 as usize];
            if entry.state.is_live() && entry.is_closed() {
                return Some(flow);
            }
        }
        None
    }

    /// The next flow that nothing was heard of since it was last looked at. When something was of all
    /// that are looked at, the one of them that is silent for longest.
    fn next_at_rest(&mut self) -> Option<FlowId> {
        let mut silent: Option<(Nanos, FlowId)> = None;
        let mut looks = 0;
        for _ in 0..self.slots.len() {
            let flow = self.advance_hand();
            let entry = &mut self.slots[flow.0 as usize];
            if !entry.state.is_live() {
                continue;
            }
            if !entry.state.take_heard() {
                return Some(flow);
            }
            let candidate = (entry.last_seen, flow);
            silent = Some(silent.map_or(candidate, |silent| silent.min(candidate)));
            looks += 1;
            if looks == EVICT_LOOKS {
                break;
            }
        }
        silent.map(|(_, flow)| flow)
    }
}

impl Streams for FlowTable {
    #[inline]
    fn streams(&mut self, flow: FlowId, direction: Direction) -> [&mut Stream; 2] {
        let has_room = self.detail_mut(flow).is_some();
        let index = self.slots[flow.0 as usize].detail;
        let detail = if has_room { self.details.get_mut(index) } else { self.details.spare() };
        direction.first_of(&mut detail.streams)
    }

    #[inline]
    fn tells_nothing(&mut self, flow: FlowId, direction: Direction, headers: &Headers) -> bool {
        let entry = &self.slots[flow.0 as usize];
        // A SYN that comes before all else is remembered with the flow.
        let is_first = entry.detail == DetailIndex::NONE && headers.payload_wire_bytes == 0;
        is_first || entry.tells_nothing(headers, direction)
    }

    fn walked(&mut self, flow: FlowId) {
        let entry = &mut self.slots[flow.0 as usize];
        if entry.detail != DetailIndex::NONE {
            let [up, down] = &self.details.get(entry.detail).streams;
            entry.note_walk(Direction::ToServer, up);
            entry.note_walk(Direction::ToClient, down);
        }
    }

    fn handshake(&mut self, flow: FlowId) -> &mut Handshake {
        let has_room = self.detail_mut(flow).is_some();
        let index = self.slots[flow.0 as usize].detail;
        let detail = if has_room { self.details.get_mut(index) } else { self.details.spare() };
        &mut detail.handshake
    }
}

/// Flows that one burst can end at most: each frame can reuse ports and push out another flow, and
/// a step of expiry finds no more than there are.
fn ended_max(capacity: usize) -> usize {
    2 * BURST_FRAMES + EXPIRE_STEP.min(capacity)
}

/// A flow that nobody has answered yet.
fn is_waiting(entry: &FlowEntry) -> bool {
    entry.state.is_live() && entry.is_unanswered()
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
