//! The two bounded pools of TLS streams: segments that came before their turn, and hellos not yet
//! whole.
//!
//! Both hold bytes of packets, so both stay inside `parse`. When a pool is full its oldest entry
//! leaves and is counted; the stream it belonged to finds its place again by itself.

/// Whose bytes: a stream's number, unique within an lcore's life, so that a flow that takes over a
/// slot of the flow table never meets bytes of the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StreamKey(pub(super) u64);

/// Segments kept at most, and the bytes of one: longer ones take several places.
const PIECES: usize = 1024;
const PIECE_BYTES: usize = 2048;
/// Hellos in the making at most, and the bytes of one. A post-quantum ClientHello takes about
/// 2,000.
const HELLOS: usize = 256;
const HELLO_BYTES: usize = 16 * 1024;

/// Both pools of an lcore, about 6 MiB, taken once.
#[derive(Debug)]
pub struct Reassembly {
    pieces: Vec<Piece>,
    oldest_piece: usize,
    hellos: Vec<Hello>,
    oldest_hello: usize,
    scratch: Vec<u8>,
    /// Entries that were pushed out by newer ones, and hellos too long to keep.
    pub refused: u64,
}

#[derive(Debug)]
struct Piece {
    owner: Option<StreamKey>,
    seq: u32,
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct Hello {
    owner: Option<StreamKey>,
    bytes: Vec<u8>,
}

impl Default for Reassembly {
    fn default() -> Self {
        let piece = || Piece { owner: None, seq: 0, bytes: Vec::with_capacity(PIECE_BYTES) };
        let hello = || Hello { owner: None, bytes: Vec::with_capacity(HELLO_BYTES) };
        Self {
            pieces: (0..PIECES).map(|_| piece()).collect(),
            oldest_piece: 0,
            hellos: (0..HELLOS).map(|_| hello()).collect(),
            oldest_hello: 0,
            scratch: Vec::with_capacity(PIECE_BYTES),
            refused: 0,
        }
    }
}

impl Reassembly {
    /// Keeps a copy of a segment that came before its turn.
    pub(super) fn keep(&mut self, owner: StreamKey, seq: u32, bytes: &[u8]) {
        let mut seq = seq;
        for part in bytes.chunks(PIECE_BYTES) {
            if let Some(piece) = self.pieces.get_mut(self.oldest_piece) {
                self.refused += u64::from(piece.owner.is_some());
                piece.owner = Some(owner);
                piece.seq = seq;
                piece.bytes.clear();
                piece.bytes.extend_from_slice(part);
            }
            self.oldest_piece = (self.oldest_piece + 1) % PIECES;
            // A part is at most PIECE_BYTES long.
            seq = seq.wrapping_add(u32::try_from(part.len()).unwrap_or(0));
        }
    }

    /// How many pieces of the stream wait here.
    pub(super) fn kept(&self, owner: StreamKey) -> usize {
        self.pieces.iter().filter(|piece| piece.owner == Some(owner)).count()
    }

    /// Moves the stream's piece with the lowest sequence number, counted from `from`, into `out`.
    /// With `reached`, only a piece that starts at or before `from`.
    pub(super) fn take(
        &mut self,
        owner: StreamKey,
        from: u32,
        reached: bool,
        out: &mut Vec<u8>,
    ) -> Option<u32> {
        let distance = |piece: &Piece| ahead(piece.seq, from);
        let piece = self
            .pieces
            .iter_mut()
            .filter(|piece| piece.owner == Some(owner))
            .min_by_key(|piece| distance(piece))?;
        if reached && distance(piece) > 0 {
            return None;
        }
        piece.owner = None;
        out.clear();
        out.extend_from_slice(&piece.bytes);
        Some(piece.seq)
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
    /// long.
    pub(super) fn extend_hello(&mut self, owner: StreamKey, bytes: &[u8]) -> Option<&[u8]> {
        let held = self.hellos.iter().position(|hello| hello.owner == Some(owner));
        let index = held.unwrap_or_else(|| self.claim_hello(owner));
        let hello = self.hellos.get_mut(index)?;
        if hello.bytes.len() + bytes.len() > HELLO_BYTES {
            hello.owner = None;
            self.refused += 1;
            return None;
        }
        hello.bytes.extend_from_slice(bytes);
        Some(&hello.bytes)
    }

    /// Gives the stream's hello buffer back.
    pub(super) fn release_hello(&mut self, owner: StreamKey) {
        if let Some(hello) = self.hellos.iter_mut().find(|hello| hello.owner == Some(owner)) {
            hello.owner = None;
        }
    }

    fn claim_hello(&mut self, owner: StreamKey) -> usize {
        let free = self.hellos.iter().position(|hello| hello.owner.is_none());
        let index = free.unwrap_or(self.oldest_hello);
        if free.is_none() {
            self.refused += 1;
        }
        self.oldest_hello = (index + 1) % HELLOS;
        if let Some(hello) = self.hellos.get_mut(index) {
            hello.owner = Some(owner);
            hello.bytes.clear();
        }
        index
    }
}

/// How far `seq` lies ahead of `from` in sequence space (RFC 9293, 3.4); negative when behind.
pub(super) fn ahead(seq: u32, from: u32) -> i32 {
    seq.wrapping_sub(from).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_back_in_order_of_sequence_and_across_the_wrap() {
        let mut pools = Reassembly::default();
        let (me, other) = (StreamKey(1), StreamKey(2));
        pools.keep(me, 10, b"later");
        pools.keep(me, u32::MAX - 1, b"sooner");
        pools.keep(other, 0, b"not mine");
        let mut out = Vec::new();
        assert_eq!(pools.take(me, u32::MAX - 9, true, &mut out), None, "its turn has not come");
        assert_eq!(pools.take(me, u32::MAX - 1, true, &mut out), Some(u32::MAX - 1));
        assert_eq!(out, b"sooner");
        assert_eq!(pools.take(me, 0, false, &mut out), Some(10));
        assert_eq!(pools.kept(me), 0);
    }

    #[test]
    fn the_oldest_piece_leaves_when_the_pool_is_full() {
        let mut pools = Reassembly::default();
        pools.keep(StreamKey(1), 0, b"x");
        for n in 0..PIECES {
            pools.keep(StreamKey(2), u32::try_from(n).unwrap(), b"y");
        }
        assert_eq!(
            (pools.kept(StreamKey(1)), pools.kept(StreamKey(2)), pools.refused),
            (0, PIECES, 1)
        );
    }

    #[test]
    fn a_hello_without_end_is_given_up() {
        let mut pools = Reassembly::default();
        assert!(pools.extend_hello(StreamKey(1), &[0; HELLO_BYTES]).is_some());
        assert!(pools.extend_hello(StreamKey(1), &[0]).is_none());
        assert_eq!(pools.refused, 1);
    }
}
