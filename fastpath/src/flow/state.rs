//! What has happened to a flow, in 32 bits: five for the whole of it and twelve for each direction.

use super::key::Kind;
use super::rtt::Sample;
use crate::burst::Direction;

/// The bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct State(u32);

/// A bit of one direction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Of(u32);

impl Of {
    /// A frame has passed.
    pub(super) const SEEN: Self = Self(1);
    /// A SYN was seen.
    pub(super) const HAS_SYN: Self = Self(1 << 1);
    /// Where it starts is known: by a SYN, or by the answer to one.
    pub(super) const STARTED: Self = Self(1 << 2);
    /// The SYN had data with it and has not been answered.
    pub(super) const SYN_DATA: Self = Self(1 << 3);
    /// Its highest sequence number is known.
    pub(super) const BEGUN: Self = Self(1 << 4);
    /// A FIN was seen.
    pub(super) const FIN: Self = Self(1 << 5);
    /// An RST was seen.
    pub(super) const RST: Self = Self(1 << 6);
    /// Something is or was missing.
    pub(super) const LOSS: Self = Self(1 << 7);
    /// Its records are walked, and nothing waits for its turn.
    pub(super) const WALKING: Self = Self(1 << 8);
    /// Segments wait for their turn.
    pub(super) const WAITING: Self = Self(1 << 9);
}

/// It has not ended.
const LIVE: u32 = 1;
/// It is UDP.
const UDP: u32 = 1 << 1;
/// It is IPv6.
const V6: u32 = 1 << 2;
/// The lower end of its key is the client.
const CLIENT_IS_LOW: u32 = 1 << 3;
/// A frame has passed since it was last looked at for eviction.
const HEARD: u32 = 1 << 4;
/// Where the bits of the two directions begin, how many there are, and where the two of the sample
/// are among them.
const WAYS: u32 = 8;
const WAY_BITS: u32 = 12;
const WAY: u32 = (1 << WAY_BITS) - 1;
const SAMPLE: u32 = 10;

impl State {
    /// A flow that opens.
    pub(super) fn opened(kind: Kind, client_is_low: bool) -> Self {
        let bits = [(kind.udp, UDP), (kind.v6, V6), (client_is_low, CLIENT_IS_LOW)];
        Self(bits.into_iter().fold(LIVE, |all, (on, bit)| if on { all | bit } else { all }))
    }

    /// What its key is of.
    #[inline]
    pub(super) fn kind(self) -> Kind {
        Kind { udp: self.0 & UDP != 0, v6: self.0 & V6 != 0 }
    }

    /// Whether the flow has not ended.
    pub(super) fn is_live(self) -> bool {
        self.0 & LIVE != 0
    }

    /// It ends.
    pub(super) fn end(&mut self) {
        self.0 &= !LIVE;
    }

    /// Whether the lower end of the key is the client.
    #[inline]
    pub(super) fn client_is_low(self) -> bool {
        self.0 & CLIENT_IS_LOW != 0
    }

    /// The other end is the client: so the directions change places.
    pub(super) fn turn(&mut self) {
        let [up, down] = [0, 1].map(|n| self.0 >> (WAYS + n * WAY_BITS) & WAY);
        let whole = self.0 & ((1 << WAYS) - 1);
        self.0 = (whole ^ CLIENT_IS_LOW) | down << WAYS | up << (WAYS + WAY_BITS);
    }

    /// TCP of which nothing is or was missing, and for which nothing waits.
    #[inline]
    pub(super) fn is_undisturbed(self) -> bool {
        let disturbs = Of::LOSS.0 | Of::WAITING.0;
        self.0 & (UDP | disturbs << WAYS | disturbs << (WAYS + WAY_BITS)) == 0
    }

    #[inline]
    pub(super) fn has(self, direction: Direction, bit: Of) -> bool {
        self.0 & at(direction, bit.0) != 0
    }

    /// Whether one of the directions has the bit.
    pub(super) fn any(self, bit: Of) -> bool {
        self.has(Direction::ToServer, bit) || self.has(Direction::ToClient, bit)
    }

    /// Whether both directions have it.
    pub(super) fn both(self, bit: Of) -> bool {
        self.has(Direction::ToServer, bit) && self.has(Direction::ToClient, bit)
    }

    #[inline]
    pub(super) fn set(&mut self, direction: Direction, bit: Of) {
        self.0 |= at(direction, bit.0);
    }

    /// Sets the bit, or clears it.
    pub(super) fn put(&mut self, direction: Direction, bit: Of, on: bool) {
        self.0 &= !at(direction, bit.0);
        self.0 |= at(direction, if on { bit.0 } else { 0 });
    }

    /// A frame of the direction passes.
    #[inline]
    pub(super) fn pass(&mut self, direction: Direction) {
        self.0 |= HEARD | at(direction, Of::SEEN.0);
    }

    /// Whether a frame has passed since the last call.
    pub(super) fn take_heard(&mut self) -> bool {
        let heard = self.0 & HEARD != 0;
        self.0 &= !HEARD;
        heard
    }

    /// The sample of round trips that is in flight.
    #[inline]
    pub(super) fn sample(self, direction: Direction) -> Sample {
        match self.0 >> (shift(direction) + SAMPLE) & 3 {
            0 => Sample::None,
            1 => Sample::Once,
            2 => Sample::OnceStamped,
            _ => Sample::Repeated,
        }
    }

    #[inline]
    pub(super) fn put_sample(&mut self, direction: Direction, sample: Sample) {
        let place = shift(direction) + SAMPLE;
        self.0 = self.0 & !(3 << place) | (sample as u32) << place;
    }
}

#[inline]
fn at(direction: Direction, bits: u32) -> u32 {
    bits << shift(direction)
}

#[inline]
fn shift(direction: Direction) -> u32 {
    match direction {
        Direction::ToServer => WAYS,
        Direction::ToClient => WAYS + WAY_BITS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: Kind = Kind { udp: false, v6: false };
    const UP: Direction = Direction::ToServer;
    const DOWN: Direction = Direction::ToClient;

    #[test]
    fn a_bit_of_one_direction_is_none_of_the_other() {
        let mut state = State::opened(TCP, true);
        state.set(UP, Of::FIN);
        state.put_sample(DOWN, Sample::Repeated);
        assert!(state.has(UP, Of::FIN) && !state.has(DOWN, Of::FIN) && !state.both(Of::FIN));
        assert_eq!((state.sample(UP), state.sample(DOWN)), (Sample::None, Sample::Repeated));
        assert!(state.is_undisturbed() && state.client_is_low() && state.is_live());
        state.turn();
        assert!(state.has(DOWN, Of::FIN) && !state.has(UP, Of::FIN) && !state.client_is_low());
        assert_eq!((state.sample(UP), state.sample(DOWN)), (Sample::Repeated, Sample::None));
    }

    #[test]
    fn loss_in_either_direction_disturbs() {
        for direction in [UP, DOWN] {
            let mut state = State::opened(TCP, false);
            state.set(direction, Of::LOSS);
            assert!(!state.is_undisturbed());
            state.put(direction, Of::LOSS, false);
            assert_eq!(state, State::opened(TCP, false));
        }
        assert!(!State::opened(Kind { udp: true, v6: false }, false).is_undisturbed());
    }
}
