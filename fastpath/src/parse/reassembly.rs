//! The two bounded pools of TLS streams: segments that came before their turn, and hellos not yet
//! whole.
//!
//! Both hold bytes of packets, so both stay inside `parse`. When a pool is full its oldest entry
//! leaves and is counted; the stream it belonged to finds its place again by itself.
//!
//! A stream knows its places ([`Held`]), and its segments are chained in order of sequence, so that
//! no call looks at more than [`CHAIN_STEPS`] entries, however full the pools are.

use super::slab::Slab;

/// Whose bytes: a stream's number, unique within an lcore's life, so that a flow that takes over a
/// slot of the flow table never meets bytes of the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StreamKey(pub(super) u64);

/// A stream and its places in the pools. A place may have been given to another stream meanwhile;
/// its owner tells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    key: StreamKey,
    chain: Slot,
    hello: Slot,
}

/// An index into a pool.
type Slot = u16;
const NONE: Slot = Slot::MAX;

/// Segments kept at most, and the bytes of one: longer ones take several places.
const PIECES: Slot = 1024;
const PIECE_BYTES: usize = 2048;
/// Pieces that are passed, from the last one, in search of a new one's place. One that belongs
/// further back and is not the first is refused.
const CHAIN_STEPS: usize = 128;
/// Hellos in the making at most, and the bytes of one: more than a full record (RFC 8446, 5.1). A
/// post-quantum ClientHello takes about 2,000.
const HELLOS: Slot = 256;
pub(super) const HELLO_BYTES: usize = HELLO_LEN_MAX as usize;
const HELLO_LEN_MAX: u16 = 20 * 1024;

/// Both pools of an lcore, about 7 MiB of address space, taken once.
#[derive(Debug)]
pub struct Reassembly {
    pieces: Vec<Piece>,
    piece_bytes: Slab,
    free_pieces: Vec<Slot>,
    oldest_piece: Slot,
    /// The pieces of each stream that has some.
    chains: Vec<Chain>,
    free_chains: Vec<Slot>,
    hellos: Vec<Hello>,
    hello_bytes: Slab,
    free_hellos: Vec<Slot>,
    oldest_hello: Slot,
    scratch: Vec<u8>,
    /// Entries that were pushed out by newer ones, segments too far out of order and hellos too
    /// long to keep.
    pub refused: u64,
}

#[derive(Clone, Copy, Debug)]
struct Piece {
    chain: Slot,
    before: Slot,
    after: Slot,
    seq: u32,
    len: u16,
}

#[derive(Clone, Copy, Debug)]
struct Chain {
    owner: Option<StreamKey>,
    first: Slot,
    last: Slot,
    pieces: usize,
}

#[derive(Clone, Copy, Debug)]
struct Hello {
    owner: Option<StreamKey>,
    len: u16,
}

impl Held {
    /// A stream without places.
    pub(super) fn new(key: StreamKey) -> Self {
        Self { key, chain: NONE, hello: NONE }
    }
}

impl Default for Reassembly {
    fn default() -> Self {
        let piece = Piece { chain: NONE, before: NONE, after: NONE, seq: 0, len: 0 };
        Self {
            pieces: vec![piece; usize::from(PIECES)],
            piece_bytes: Slab::with_capacity(PIECES, PIECE_BYTES),
            free_pieces: (0..PIECES).rev().collect(),
            oldest_piece: 0,
            chains: vec![Chain::EMPTY; usize::from(PIECES)],
            free_chains: (0..PIECES).rev().collect(),
            hellos: vec![Hello { owner: None, len: 0 }; usize::from(HELLOS)],
            hello_bytes: Slab::with_capacity(HELLOS, HELLO_BYTES),
            free_hellos: (0..HELLOS).rev().collect(),
            oldest_hello: 0,
            scratch: Vec::with_capacity(PIECE_BYTES),
            refused: 0,
        }
    }
}

impl Reassembly {
    /// Keeps a copy of a segment that came before its turn. Of two with one sequence number the
    /// first is kept, unless the second is longer.
    pub(super) fn keep(&mut self, held: &mut Held, seq: u32, bytes: &[u8]) {
        let mut seq = seq;
        for part in bytes.chunks(PIECE_BYTES) {
            self.keep_piece(held, seq, part);
            // A part is at most PIECE_BYTES long.
            seq = seq.wrapping_add(u32::try_from(part.len()).unwrap_or(0));
        }
    }

    /// How many pieces of the stream wait here.
    pub(super) fn kept(&self, held: &Held) -> usize {
        self.chain(held).map_or(0, |chain| chain.pieces)
    }

    /// Moves the stream's first piece into `out` and gives its sequence number. With `reached`,
    /// only a piece that starts at or before that one.
    pub(super) fn take(
        &mut self,
        held: &Held,
        reached: Option<u32>,
        out: &mut Vec<u8>,
    ) -> Option<u32> {
        let first = self.chain(held)?.first;
        let piece = self.piece(first)?;
        let Piece { seq, len, .. } = *piece;
        if reached.is_some_and(|from| ahead(seq, from) > 0) {
            return None;
        }
        out.clear();
        out.extend_from_slice(self.piece_bytes.read(first, usize::from(len)));
        self.unlink(first);
        self.free_pieces.push(first);
        Some(seq)
    }

    /// A buffer for [`take`](Self::take), so that no piece costs an allocation; goes back by
    /// `return_scratch`.
    pub(super) fn lend_scratch(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.scratch)
    }

    /// Takes the lent buffer back.
    pub(super) fn return_scratch(&mut self, scratch: Vec<u8>) {
        self.scratch = scratch;
    }

    /// Adds bytes to the stream's hello and gives what there is so far; `None` when it grows too
    /// long, or its beginning was pushed out.
    pub(super) fn extend_hello(&mut self, held: &mut Held, bytes: &[u8]) -> Option<&[u8]> {
        if held.hello == NONE {
            held.hello = self.claim_hello(held.key);
        }
        let index = held.hello;
        let hello = self.hellos.get_mut(usize::from(index))?;
        let start = usize::from(hello.len);
        let len = u16::try_from(start + bytes.len()).ok().filter(|&len| len <= HELLO_LEN_MAX);
        let (Some(len), true) = (len, hello.owner == Some(held.key)) else {
            self.refused += u64::from(len.is_none());
            self.release_hello(held);
            return None;
        };
        hello.len = len;
        self.hello_bytes.write(index, start, bytes);
        Some(self.hello_bytes.read(index, usize::from(len)))
    }

    /// Gives the stream's hello buffer back.
    pub(super) fn release_hello(&mut self, held: &mut Held) {
        let index = std::mem::replace(&mut held.hello, NONE);
        let Some(hello) = self.hellos.get_mut(usize::from(index)) else { return };
        if hello.owner == Some(held.key) {
            hello.owner = None;
            self.free_hellos.push(index);
        }
    }

    fn keep_piece(&mut self, held: &mut Held, seq: u32, bytes: &[u8]) {
        let Some(before) = self.place(held, seq, bytes.len()) else { return };
        let Some(slot) = self.claim_piece() else { return };
        // The claim may have emptied the chain, or taken the piece before.
        let before = if self.owns(held, before) { before } else { NONE };
        let Some(chain) = self.claim_chain(held) else {
            return self.free_pieces.push(slot);
        };
        let after = match self.piece(before) {
            Some(piece) => piece.after,
            None => self.chains.get(usize::from(chain)).map_or(NONE, |chain| chain.first),
        };
        if let Some(piece) = self.pieces.get_mut(usize::from(slot)) {
            // A piece is at most PIECE_BYTES long.
            let len = u16::try_from(bytes.len()).unwrap_or(0);
            *piece = Piece { chain, before, after, seq, len };
        }
        self.piece_bytes.write(slot, 0, bytes);
        self.join(chain, before, slot);
        self.join(chain, slot, after);
        if let Some(chain) = self.chains.get_mut(usize::from(chain)) {
            chain.pieces += 1;
        }
    }

    /// The piece that one at `seq` comes after, or `NONE` for the first; nothing when it need not
    /// or cannot be kept.
    fn place(&mut self, held: &Held, seq: u32, len: usize) -> Option<Slot> {
        let Some(&Chain { first, last, .. }) = self.chain(held) else { return Some(NONE) };
        if self.piece(first).is_some_and(|piece| ahead(seq, piece.seq) < 0) {
            return Some(NONE);
        }
        let mut slot = last;
        for _ in 0..CHAIN_STEPS {
            let Some(piece) = self.piece(slot) else { return Some(NONE) };
            let distance = ahead(seq, piece.seq);
            if distance > 0 || (distance == 0 && len > usize::from(piece.len)) {
                return Some(slot);
            }
            if distance == 0 {
                return None;
            }
            slot = piece.before;
        }
        self.refused += u64::from(slot != NONE);
        (slot == NONE).then_some(NONE)
    }

    /// A free piece, or else the oldest.
    fn claim_piece(&mut self) -> Option<Slot> {
        if let Some(free) = self.free_pieces.pop() {
            return Some(free);
        }
        let oldest = self.oldest_piece;
        self.oldest_piece = (oldest + 1) % PIECES;
        self.refused += 1;
        self.unlink(oldest);
        Some(oldest)
    }

    fn claim_chain(&mut self, held: &mut Held) -> Option<Slot> {
        if self.chain(held).is_none() {
            // There are as many chains as pieces, and none is empty.
            held.chain = self.free_chains.pop()?;
            let chain = self.chains.get_mut(usize::from(held.chain))?;
            *chain = Chain { owner: Some(held.key), ..Chain::EMPTY };
        }
        Some(held.chain)
    }

    /// Takes a piece out of its chain, and the chain away with its last piece.
    fn unlink(&mut self, slot: Slot) {
        let Some(piece) = self.pieces.get_mut(usize::from(slot)) else { return };
        let (index, before, after) = (piece.chain, piece.before, piece.after);
        piece.chain = NONE;
        self.join(index, before, after);
        let Some(chain) = self.chains.get_mut(usize::from(index)) else { return };
        chain.pieces -= 1;
        if chain.pieces == 0 {
            chain.owner = None;
            self.free_chains.push(index);
        }
    }

    /// Makes two pieces neighbours; `NONE` is the end of the chain.
    fn join(&mut self, index: Slot, before: Slot, after: Slot) {
        let Some(chain) = self.chains.get_mut(usize::from(index)) else { return };
        match self.pieces.get_mut(usize::from(before)) {
            Some(piece) => piece.after = after,
            None => chain.first = after,
        }
        match self.pieces.get_mut(usize::from(after)) {
            Some(piece) => piece.before = before,
            None => chain.last = before,
        }
    }

    fn claim_hello(&mut self, owner: StreamKey) -> Slot {
        let slot = self.free_hellos.pop().unwrap_or_else(|| {
            let oldest = self.oldest_hello;
            self.oldest_hello = (oldest + 1) % HELLOS;
            self.refused += 1;
            oldest
        });
        if let Some(hello) = self.hellos.get_mut(usize::from(slot)) {
            hello.owner = Some(owner);
            hello.len = 0;
        }
        slot
    }

    fn chain(&self, held: &Held) -> Option<&Chain> {
        let chain = self.chains.get(usize::from(held.chain))?;
        (chain.owner == Some(held.key)).then_some(chain)
    }

    fn piece(&self, slot: Slot) -> Option<&Piece> {
        self.pieces.get(usize::from(slot))
    }

    fn owns(&self, held: &Held, slot: Slot) -> bool {
        self.chain(held).is_some() && self.piece(slot).is_some_and(|p| p.chain == held.chain)
    }
}

impl Chain {
    const EMPTY: Self = Self { owner: None, first: NONE, last: NONE, pieces: 0 };
}

/// How far `seq` lies ahead of `from` in sequence space (RFC 9293, 3.4); negative when behind.
pub(super) fn ahead(seq: u32, from: u32) -> i32 {
    seq.wrapping_sub(from).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(key: u64) -> Held {
        Held::new(StreamKey(key))
    }

    fn drain(pools: &mut Reassembly, held: &Held) -> Vec<u32> {
        let mut out = Vec::new();
        std::iter::from_fn(|| pools.take(held, None, &mut out)).collect()
    }

    #[test]
    fn pieces_come_back_in_order_of_sequence_and_across_the_wrap() {
        let mut pools = Reassembly::default();
        let (mut me, mut other) = (held(1), held(2));
        pools.keep(&mut me, 10, b"later");
        pools.keep(&mut me, u32::MAX - 1, b"sooner");
        pools.keep(&mut other, 0, b"not mine");
        let mut out = Vec::new();
        assert_eq!(pools.take(&me, Some(u32::MAX - 9), &mut out), None, "its turn has not come");
        assert_eq!(pools.take(&me, Some(u32::MAX - 1), &mut out), Some(u32::MAX - 1));
        assert_eq!(out, b"sooner");
        assert_eq!(pools.take(&me, None, &mut out), Some(10));
        assert_eq!((pools.kept(&me), pools.kept(&other)), (0, 1));
    }

    #[test]
    fn the_oldest_piece_leaves_when_the_pool_is_full() {
        let mut pools = Reassembly::default();
        let (mut first, mut second) = (held(1), held(2));
        pools.keep(&mut first, 0, b"x");
        for n in 0..PIECES {
            pools.keep(&mut second, u32::from(n), b"y");
        }
        assert_eq!(
            (pools.kept(&first), pools.kept(&second), pools.refused),
            (0, usize::from(PIECES), 1)
        );
    }

    #[test]
    fn a_stream_that_fills_the_pool_keeps_its_newest_pieces_in_order() {
        let mut pools = Reassembly::default();
        let mut me = held(1);
        let count = 3 * u32::from(PIECES) + 5;
        for n in 0..count {
            pools.keep(&mut me, n, b"x");
        }
        let expected: Vec<u32> = (count - u32::from(PIECES)..count).collect();
        assert_eq!(drain(&mut pools, &me), expected);
        assert_eq!(pools.free_pieces.len(), usize::from(PIECES));
        assert_eq!(pools.free_chains.len(), usize::from(PIECES));
    }

    #[test]
    fn the_longer_of_two_at_one_place_is_kept_and_a_repeat_is_not() {
        let mut pools = Reassembly::default();
        let mut me = held(1);
        for bytes in [&b"ab"[..], b"ab", b"x", b"abc"] {
            pools.keep(&mut me, 7, bytes);
        }
        assert_eq!(pools.kept(&me), 2);
        let mut out = Vec::new();
        pools.take(&me, None, &mut out);
        assert_eq!(out, b"ab");
    }

    #[test]
    fn a_segment_far_out_of_order_is_refused_and_counted() {
        let mut pools = Reassembly::default();
        let mut me = held(1);
        for n in 1..=200 {
            pools.keep(&mut me, 10 * n, b"x");
        }
        pools.keep(&mut me, 15, b"x");
        assert_eq!((pools.kept(&me), pools.refused), (200, 1));
        pools.keep(&mut me, 1605, b"x");
        pools.keep(&mut me, 5, b"x");
        assert_eq!((pools.kept(&me), pools.refused), (202, 1));
        let sequence = drain(&mut pools, &me);
        assert!(sequence.is_sorted(), "{sequence:?}");
    }

    #[test]
    fn a_hello_without_end_is_given_up() {
        let mut pools = Reassembly::default();
        let mut me = held(1);
        assert!(pools.extend_hello(&mut me, &[0; HELLO_BYTES]).is_some());
        assert!(pools.extend_hello(&mut me, &[0]).is_none());
        assert_eq!((pools.refused, pools.free_hellos.len()), (1, usize::from(HELLOS)));
    }

    #[test]
    fn a_hello_whose_beginning_was_pushed_out_is_given_up() {
        let mut pools = Reassembly::default();
        let mut streams: Vec<Held> = (0..=u64::from(HELLOS)).map(held).collect();
        for stream in &mut streams {
            assert!(pools.extend_hello(stream, b"x").is_some());
        }
        assert!(pools.extend_hello(&mut streams[0], b"y").is_none());
        assert_eq!(pools.extend_hello(&mut streams[1], b"y"), Some(&b"xy"[..]));
    }
}
