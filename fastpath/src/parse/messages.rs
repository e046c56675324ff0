//! The bounded pool of handshake messages in the making, whose pieces come by offset: CRYPTO frames
//! of QUIC (RFC 9000, 19.6) and fragments of DTLS (RFC 9147, 5.5).
//!
//! Pieces may come in any order, overlap and repeat. A bit for each byte says what is there, so
//! that no number of pieces is too many. When the pool is full its oldest message leaves and is
//! counted, unless it had been left alone for so long that nobody will finish it. The pool holds
//! bytes of packets, so it stays inside `parse`.

use super::reassembly::StreamKey;
use crate::time::Nanos;

/// The bytes of a message at most, its header included. A post-quantum ClientHello takes about
/// 2,000.
pub(super) const MESSAGE_BYTES: usize = 16 * 1024;
/// Words of a map with a bit for each of them.
const MAP_WORDS: usize = MESSAGE_BYTES.div_ceil(64);
/// The header of a TLS handshake message (RFC 8446, 4): its type and its length.
pub(super) const HEADER_BYTES: usize = 4;
/// A message that nobody has added to for this long is abandoned.
const ABANDONED_AFTER: Nanos = Nanos::from_secs(10);

/// A place in the pool. It stays its owner's until another message needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot(u16);

/// The pool, with what the maker of each message must remember beside it.
#[derive(Debug)]
pub(super) struct Messages<C> {
    /// As many as there have been at once, in one piece.
    messages: Vec<Message<C>>,
    free: Vec<Slot>,
    /// Messages that were pushed out by newer ones, and pieces that lie beyond the bound.
    pub(super) refused: u64,
}

/// One message in the making.
#[derive(Debug)]
pub(super) struct Message<C> {
    owner: Option<StreamKey>,
    touched: Nanos,
    /// What its maker remembers.
    pub(super) context: C,
    /// Bytes there from the start on, without a gap.
    whole_bytes: usize,
    /// A bit for each byte that is there.
    there: [u64; MAP_WORDS],
    bytes: [u8; MESSAGE_BYTES],
}

/// How far a message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress<'a> {
    /// Bytes are missing.
    Incomplete,
    /// The message, from its header on.
    Whole(&'a [u8]),
    /// Its header says that it is longer than the bound.
    TooLong,
}

impl<C: Clone + Default> Messages<C> {
    /// A pool for a message of each of these flows, and for `most` of them at most.
    pub(super) fn for_flows(flows: usize, most: u16) -> Self {
        Self::with_capacity(u16::try_from(flows).map_or(most, |flows| flows.min(most)))
    }

    /// A pool for `capacity` messages, 18 KiB each, taken once. The memory of a message is not
    /// touched before its first claim.
    pub(super) fn with_capacity(capacity: u16) -> Self {
        Self {
            messages: Vec::with_capacity(capacity.into()),
            free: (0..capacity).rev().map(Slot).collect(),
            refused: 0,
        }
    }

    /// The message of `owner` at `slot`, unless another one has pushed it out.
    pub(super) fn find(&mut self, owner: StreamKey, slot: Option<Slot>) -> Option<&mut Message<C>> {
        let message = self.messages.get_mut(usize::from(slot?.0))?;
        (message.owner == Some(owner)).then_some(message)
    }

    /// A place for a message of `owner`, which has none or lets go of the one it has.
    pub(super) fn claim(&mut self, owner: StreamKey, context: C, at: Nanos) -> Option<Slot> {
        let slot = self.free.pop().or_else(|| self.oldest(at))?;
        // The places of the free list are first taken in their order.
        if usize::from(slot.0) == self.messages.len() {
            self.messages.push(Message::new(context.clone()));
        }
        let message = self.messages.get_mut(usize::from(slot.0))?;
        message.owner = Some(owner);
        message.restart(context, at);
        Some(slot)
    }

    /// Gives a place back, if it still is the owner's.
    pub(super) fn release(&mut self, owner: StreamKey, slot: Option<Slot>) {
        if let (Some(slot), Some(message)) = (slot, self.find(owner, slot)) {
            message.owner = None;
            self.free.push(slot);
        }
    }

    /// Takes the place of the message that has been left alone for the longest time.
    fn oldest(&mut self, at: Nanos) -> Option<Slot> {
        let by_age = self.messages.iter().enumerate().min_by_key(|(_, message)| message.touched);
        let (index, oldest) = by_age?;
        self.refused += u64::from(at.since(oldest.touched) < ABANDONED_AFTER);
        u16::try_from(index).ok().map(Slot)
    }
}

impl<C> Message<C> {
    fn new(context: C) -> Self {
        Self {
            owner: None,
            touched: Nanos::ZERO,
            context,
            whole_bytes: 0,
            there: [0; MAP_WORDS],
            bytes: [0; MESSAGE_BYTES],
        }
    }

    /// Forgets what is there: the sender begins again.
    pub(super) fn restart(&mut self, context: C, at: Nanos) {
        self.context = context;
        self.touched = at;
        self.whole_bytes = 0;
        self.there.fill(0);
    }

    /// Adds a piece that starts at `offset`; false when it reaches beyond the bound.
    pub(super) fn write(&mut self, offset: u64, piece: &[u8], at: Nanos) -> bool {
        self.touched = at;
        let Ok(start) = usize::try_from(offset) else { return false };
        let Some(end) = start.checked_add(piece.len()) else { return false };
        let Some(place) = self.bytes.get_mut(start..end) else { return false };
        place.copy_from_slice(piece);
        self.mark(start, end);
        self.advance();
        true
    }

    /// How far it has come.
    pub(super) fn progress(&self) -> Progress<'_> {
        let there = self.bytes.get(..self.whole_bytes).unwrap_or_default();
        let Some(&[_, a, b, c]) = there.first_chunk() else { return Progress::Incomplete };
        let len = HEADER_BYTES + u32::from_be_bytes([0, a, b, c]) as usize;
        match there.get(..len) {
            Some(message) => Progress::Whole(message),
            None if len > MESSAGE_BYTES => Progress::TooLong,
            None => Progress::Incomplete,
        }
    }

    /// Sets the bits of the bytes from `start` to before `end`.
    fn mark(&mut self, start: usize, end: usize) {
        let mut at = start;
        while at < end {
            let bits = (64 - at % 64).min(end - at);
            // 1 to 64 bits.
            let mask = u64::MAX >> (64 - bits) << (at % 64);
            if let Some(word) = self.there.get_mut(at / 64) {
                *word |= mask;
            }
            at += bits;
        }
    }

    /// Moves the end of what is there without a gap.
    fn advance(&mut self) {
        while let Some(word) = self.there.get(self.whole_bytes / 64) {
            let place = self.whole_bytes % 64;
            let run = (word >> place).trailing_ones() as usize;
            self.whole_bytes += run;
            if run < 64 - place {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(len: u16) -> Vec<u8> {
        let [high, low] = len.to_be_bytes();
        let body = (0..len).map(|n| u8::try_from(n % 251).unwrap());
        [1, 0, high, low].into_iter().chain(body).collect()
    }

    fn pool(capacity: u16) -> Messages<u8> {
        Messages::with_capacity(capacity)
    }

    #[test]
    fn a_message_is_whole_when_its_last_gap_closes() {
        let (mut pool, me, bytes) = (pool(1), StreamKey(7), message(500));
        let slot = pool.claim(me, 0, Nanos(1));
        let message = pool.find(me, slot).unwrap();
        for range in [300..504, 0..100, 90..200] {
            assert!(message.write(range.start as u64, &bytes[range], Nanos(1)));
            assert_eq!(message.progress(), Progress::Incomplete);
        }
        assert!(message.write(200, &bytes[200..300], Nanos(1)));
        assert_eq!(message.progress(), Progress::Whole(&bytes));
    }

    #[test]
    fn what_lies_beyond_the_bound_is_refused() {
        let (mut pool, me) = (pool(1), StreamKey(7));
        let slot = pool.claim(me, 0, Nanos(1));
        let message = pool.find(me, slot).unwrap();
        assert!(!message.write(MESSAGE_BYTES as u64, &[0], Nanos(1)));
        assert!(!message.write(u64::MAX, &[0; 9], Nanos(1)));
        assert!(message.write(0, &[1, 1, 0, 0], Nanos(1)));
        assert_eq!(message.progress(), Progress::TooLong);
    }

    #[test]
    fn the_message_left_alone_longest_leaves_a_full_pool() {
        let mut pool = pool(2);
        let first = pool.claim(StreamKey(1), 0, Nanos(1));
        let second = pool.claim(StreamKey(2), 0, Nanos(2));
        pool.find(StreamKey(1), first).unwrap().write(0, &[1], Nanos(3));
        let third = pool.claim(StreamKey(3), 0, Nanos(4));
        assert_eq!(pool.refused, 1);
        assert!(pool.find(StreamKey(1), first).is_some());
        assert!(pool.find(StreamKey(2), second).is_none(), "pushed out");
        assert!(pool.find(StreamKey(3), third).is_some());
        pool.release(StreamKey(2), second);
        assert!(pool.find(StreamKey(3), third).is_some(), "only its owner gives a place back");
    }

    #[test]
    fn an_abandoned_message_leaves_uncounted() {
        let mut pool = pool(1);
        pool.claim(StreamKey(1), 0, Nanos(1));
        pool.claim(StreamKey(2), 0, Nanos(1) + ABANDONED_AFTER);
        assert_eq!(pool.refused, 0);
    }

    #[test]
    fn a_place_given_back_is_taken_first_and_holds_nothing() {
        let mut pool = pool(2);
        let slot = pool.claim(StreamKey(1), 0, Nanos(1));
        pool.find(StreamKey(1), slot).unwrap().write(0, &message(0), Nanos(1));
        pool.release(StreamKey(1), slot);
        assert_eq!(pool.claim(StreamKey(2), 0, Nanos(2)), slot);
        let message = pool.find(StreamKey(2), slot).unwrap();
        assert_eq!(message.progress(), Progress::Incomplete);
    }

    proptest! {
        #[test]
        fn pieces_in_any_order_and_overlap_give_the_same_bytes(
            len in 0_u16..3000,
            pieces in prop::collection::vec(
                (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
                0..40,
            ),
            rest in (1_usize..700).prop_flat_map(|size| {
                (Just(size), Just((0..3004_usize.div_ceil(size)).collect::<Vec<_>>()).prop_shuffle())
            }),
        ) {
            let (mut pool, me, bytes) = (pool(1), StreamKey(7), message(len));
            let slot = pool.claim(me, 0, Nanos(1));
            let message = pool.find(me, slot).unwrap();
            for (start, end) in pieces {
                let (start, end) = (start.index(bytes.len()), end.index(bytes.len() + 1));
                let piece = bytes.get(start..end).unwrap_or_default();
                prop_assert!(message.write(start as u64, piece, Nanos(1)));
            }
            let (size, order) = rest;
            for start in order.into_iter().map(|n| n * size) {
                let piece = bytes.get(start..bytes.len().min(start + size)).unwrap_or_default();
                prop_assert!(message.write(start as u64, piece, Nanos(1)));
            }
            prop_assert_eq!(message.progress(), Progress::Whole(&bytes));
        }

        #[test]
        fn arbitrary_pieces_do_not_panic(
            pieces in prop::collection::vec(
                (0_u64..20_000, prop::collection::vec(any::<u8>(), 0..300)),
                0..20,
            ),
        ) {
            let mut pool = pool(1);
            let slot = pool.claim(StreamKey(7), 0, Nanos(1));
            let message = pool.find(StreamKey(7), slot).unwrap();
            for (offset, piece) in pieces {
                message.write(offset, &piece, Nanos(1));
                let _ = message.progress();
            }
        }
    }
}
