//! Joins the fragments of IP datagrams (RFC 791, 3.2; RFC 8200, 4.5), in a pool that is taken once.
//!
//! A datagram is its sender, receiver, identification and protocol. It must be whole within thirty
//! seconds, which is what Linux gives IPv4 (RFC 8200 says sixty): identifications come again sooner
//! than that on a fast link. When the pool is full the oldest datagram leaves; a fragment costs one
//! look-up and one copy, however many others wait.
//!
//! Overlaps are handled as Linux does: bytes that are all there already are a duplicate and are
//! ignored, any other overlap ends the datagram (RFC 5722), and so does a second end. A joined
//! datagram stays until the next burst, as its frame does.

use std::collections::HashMap;

use super::ip::{self, Packet, Piece};
use crate::burst::{Address, BURST_FRAMES};
use crate::time::Nanos;

/// Datagrams kept at most, those of the present burst that are whole included.
const DATAGRAMS: usize = 256;

/// The same where there are few flows: more than one burst can make whole.
const DATAGRAMS_MIN: usize = 2 * BURST_FRAMES;

/// A datagram without its IP header is no longer than this.
const DATAGRAM_BYTES: usize = 65_535;

/// Fragments start at a multiple of this.
const UNIT_BYTES: usize = 8;

/// Words of the map of units that are there, a bit each.
const MAP_WORDS: usize = DATAGRAM_BYTES.div_ceil(UNIT_BYTES).div_ceil(64);

/// How long a datagram may take to be whole.
const WHOLE_WITHIN: Nanos = Nanos::from_secs(30);

// The whole datagrams of a burst never fill the pool.
const _: () = assert!(DATAGRAMS_MIN > BURST_FRAMES && DATAGRAMS <= u16::MAX as usize);

/// The datagrams of an lcore in the making: 16 MiB of address space, of which only the part that
/// fragments have reached is ever touched.
#[derive(Debug)]
pub(super) struct Fragments {
    index: HashMap<Key, u16>,
    datagrams: Vec<Datagram>,
    /// The next one to be taken. They are taken in turns, so it is the oldest, too.
    oldest: usize,
    /// Datagrams that became whole in this burst.
    joined: Vec<u16>,
    /// Datagrams that left before they were whole.
    pub(super) refused: u64,
}

/// What a fragment was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Added {
    /// The last one that was missing; the datagram has this index.
    Whole(u16),
    /// One of many, of a datagram whose ports are known: source and destination.
    Part { protocol: u8, ports: (u16, u16) },
    /// One of which no more can be told.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    source: Address,
    destination: Address,
    id: u32,
    /// Zero for IPv6, where only the first fragment tells it.
    protocol: u8,
}

#[derive(Debug)]
struct Datagram {
    /// `None` when nothing waits here.
    key: Option<Key>,
    since: Nanos,
    /// As the first fragment tells it.
    protocol: u8,
    /// As long as any datagram here has ever been; what is not in the map is of an earlier one.
    bytes: Vec<u8>,
    map: [u64; MAP_WORDS],
    units: usize,
    /// The highest end of a fragment.
    end: usize,
    /// The last fragment is there, so that `end` is the datagram's.
    ended: bool,
    /// Whole, and in use until the next burst.
    whole: bool,
}

/// A fragment that contradicts those before it.
struct Contradiction;

impl Default for Fragments {
    fn default() -> Self {
        Self::for_flows(DATAGRAMS)
    }
}

impl Fragments {
    /// For about this many flows: one datagram in the making for each, within the bounds above.
    pub(super) fn for_flows(flows: usize) -> Self {
        let count = flows.clamp(DATAGRAMS_MIN, DATAGRAMS);
        Self {
            // Twice the room, so that it only ever rehashes in place.
            index: HashMap::with_capacity(2 * count),
            datagrams: (0..count).map(|_| Datagram::new()).collect(),
            oldest: 0,
            joined: Vec::with_capacity(BURST_FRAMES),
            refused: 0,
        }
    }

    /// Gives the joined datagrams of the last burst up.
    pub(super) fn begin_burst(&mut self) {
        while let Some(index) = self.joined.pop() {
            self.release(index);
        }
    }

    /// Takes a fragment in. `now` is packet time, and never runs backwards.
    #[cold]
    pub(super) fn add(&mut self, packet: &Packet<'_>, piece: Piece, now: Nanos) -> Added {
        let is_v6 = packet.source.ip().is_ipv6();
        let key = Key {
            source: packet.source,
            destination: packet.destination,
            id: piece.id,
            protocol: if is_v6 { 0 } else { packet.protocol },
        };
        let found = self.index.get(&key).copied().filter(|&index| self.is_fresh(index, now));
        // A cut fragment would never be whole; its datagram tells the ports all the same.
        let cut = packet.payload.bytes.len() < packet.payload.wire_bytes;
        let index = match found {
            Some(index) => index,
            None if cut => return Added::Unknown,
            None => self.open(key, now),
        };
        let Some(datagram) = self.datagrams.get_mut(usize::from(index)) else {
            return Added::Unknown;
        };
        if cut {
            return datagram.part();
        }
        match datagram.add(packet.protocol, piece, packet.payload.bytes) {
            Err(Contradiction) => {
                self.refused += 1;
                self.forget(index);
                Added::Unknown
            }
            Ok(false) => datagram.part(),
            Ok(true) => {
                self.index.remove(&key);
                datagram.key = None;
                datagram.whole = true;
                Added::Whole(index)
            }
        }
    }

    /// Lends the bytes of a whole datagram, with its protocol. They go back by
    /// [`give_back`](Self::give_back).
    pub(super) fn lend(&mut self, index: u16) -> (u8, Vec<u8>) {
        match self.datagrams.get_mut(usize::from(index)) {
            Some(datagram) => (datagram.protocol, std::mem::take(&mut datagram.bytes)),
            None => (0, Vec::new()),
        }
    }

    /// Takes lent bytes back.
    pub(super) fn give_back(&mut self, index: u16, bytes: Vec<u8>) {
        if let Some(datagram) = self.datagrams.get_mut(usize::from(index)) {
            datagram.bytes = bytes;
        }
    }

    /// How long a whole datagram is.
    pub(super) fn bytes(&self, index: u16) -> usize {
        self.datagrams.get(usize::from(index)).map_or(0, |datagram| datagram.end)
    }

    /// Keeps a whole datagram until the next burst.
    pub(super) fn keep(&mut self, index: u16) {
        self.joined.push(index);
    }

    /// Gives a whole datagram up.
    pub(super) fn release(&mut self, index: u16) {
        if let Some(datagram) = self.datagrams.get_mut(usize::from(index)) {
            datagram.whole = false;
        }
    }

    /// Whether the datagram may still be waited for; it is forgotten if not.
    fn is_fresh(&mut self, index: u16, now: Nanos) -> bool {
        let datagram = self.datagrams.get(usize::from(index));
        let fresh = datagram.is_some_and(|d| now.0.saturating_sub(d.since.0) <= WHOLE_WITHIN.0);
        if !fresh {
            self.refused += 1;
            self.forget(index);
        }
        fresh
    }

    fn forget(&mut self, index: u16) {
        let datagram = self.datagrams.get_mut(usize::from(index));
        if let Some(key) = datagram.and_then(|datagram| datagram.key.take()) {
            self.index.remove(&key);
        }
    }

    /// Takes the oldest place that no whole datagram of this burst has.
    fn open(&mut self, key: Key, now: Nanos) -> u16 {
        let is_whole = |at: usize| self.datagrams.get(at).is_some_and(|datagram| datagram.whole);
        let mut at = self.oldest;
        for _ in 0..BURST_FRAMES {
            if !is_whole(at) {
                break;
            }
            at = (at + 1) % self.datagrams.len();
        }
        self.oldest = (at + 1) % self.datagrams.len();
        // There are no more than `u16::MAX` datagrams.
        let index = u16::try_from(at).unwrap_or_default();
        if let Some(datagram) = self.datagrams.get_mut(at) {
            if let Some(key) = datagram.key.take() {
                self.index.remove(&key);
                self.refused += 1;
            }
            datagram.begin(key, now);
        }
        self.index.insert(key, index);
        index
    }
}

impl Datagram {
    fn new() -> Self {
        Self {
            key: None,
            since: Nanos::ZERO,
            protocol: 0,
            bytes: Vec::with_capacity(DATAGRAM_BYTES),
            map: [0; MAP_WORDS],
            units: 0,
            end: 0,
            ended: false,
            whole: false,
        }
    }

    fn begin(&mut self, key: Key, now: Nanos) {
        self.key = Some(key);
        self.since = now;
        self.map = [0; MAP_WORDS];
        self.units = 0;
        self.end = 0;
        self.ended = false;
        self.whole = false;
    }

    /// Adds a fragment. `Ok(true)` when nothing is missing any more.
    fn add(&mut self, protocol: u8, piece: Piece, bytes: &[u8]) -> Result<bool, Contradiction> {
        // Only the last fragment may have a length that is no multiple of eight.
        let len = if piece.more { bytes.len() / UNIT_BYTES * UNIT_BYTES } else { bytes.len() };
        let end = piece.offset + len;
        let beyond = if piece.more { self.ended && end > self.end } else { end < self.end };
        let second_end = !piece.more && self.ended && end != self.end;
        if len == 0 || end > DATAGRAM_BYTES || beyond || second_end {
            return Err(Contradiction);
        }
        let (first, last) = (piece.offset / UNIT_BYTES, (end - 1) / UNIT_BYTES);
        let units = last - first + 1;
        match self.held(first, last) {
            0 => {}
            held if held == units => return Ok(false),
            _ => return Err(Contradiction),
        }
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        let (Some(room), Some(bytes)) = (self.bytes.get_mut(piece.offset..end), bytes.get(..len))
        else {
            return Err(Contradiction);
        };
        room.copy_from_slice(bytes);
        self.mark(first, last);
        self.units += units;
        self.end = self.end.max(end);
        self.ended |= !piece.more;
        if piece.offset == 0 {
            self.protocol = protocol;
        }
        Ok(self.ended && self.units == self.end.div_ceil(UNIT_BYTES))
    }

    /// What is known of a datagram that is not whole.
    fn part(&self) -> Added {
        let is_transport = matches!(self.protocol, ip::TCP | ip::UDP);
        match self.bytes.as_slice() {
            &[s0, s1, d0, d1, ..] if is_transport && self.held(0, 0) == 1 => Added::Part {
                protocol: self.protocol,
                ports: (u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1])),
            },
            _ => Added::Unknown,
        }
    }

    /// How many units of this range are there.
    fn held(&self, first: usize, last: usize) -> usize {
        let words = self.map.iter().zip(masks(first, last)).skip(first / 64);
        let words = words.take(last / 64 - first / 64 + 1);
        words.map(|(word, mask)| (word & mask).count_ones() as usize).sum()
    }

    fn mark(&mut self, first: usize, last: usize) {
        let words = self.map.iter_mut().zip(masks(first, last)).skip(first / 64);
        words.take(last / 64 - first / 64 + 1).for_each(|(word, mask)| *word |= mask);
    }
}

/// The bits of the units from `first` to `last` in each word of the map.
fn masks(first: usize, last: usize) -> impl Iterator<Item = u64> {
    (0..MAP_WORDS).map(move |word| {
        let from = first.saturating_sub(word * 64).min(64);
        let to = (last + 1).saturating_sub(word * 64).min(64);
        let below = |bits: usize| if bits == 64 { u64::MAX } else { (1 << bits) - 1 };
        below(to) & !below(from)
    })
}
