//! Takes structure off the front of an input: any bytes are an input, and what is missing at its
//! end is zero or empty.

use fastpath::burst::{Direction, PortIndex};
use fastpath::time::Nanos;

/// What is left of an input.
#[derive(Clone, Copy, Debug)]
pub(super) struct Input<'a>(pub(super) &'a [u8]);

/// One packet of an input: a control byte, a length of two bytes, and its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet<'a> {
    control: u8,
    pub(super) bytes: &'a [u8],
}

/// Packets of one input, at most: more say nothing that these do not.
const PACKETS_MAX: usize = 256;

impl<'a> Input<'a> {
    pub(super) fn u8(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    pub(super) fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.u8(), self.u8()])
    }

    /// So many bytes, or what there is.
    pub(super) fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// The rest as packets.
    pub(super) fn packets(mut self) -> impl Iterator<Item = Packet<'a>> {
        let packet = move || {
            (!self.0.is_empty()).then(|| {
                let (control, len) = (self.u8(), self.u16());
                Packet { control, bytes: self.take(usize::from(len)) }
            })
        };
        std::iter::from_fn(packet).take(PACKETS_MAX)
    }
}

impl Packet<'_> {
    /// Bit 0: the way it goes.
    pub(super) fn direction(&self) -> Direction {
        if self.control & 1 == 0 { Direction::ToServer } else { Direction::ToClient }
    }

    /// The port of the wire at the side of its sender.
    pub(super) fn port(&self) -> PortIndex {
        PortIndex(u16::from(self.control & 1))
    }

    /// Bits 1 to 3: the time between the packet before and this one.
    pub(super) fn wait(&self) -> Nanos {
        let steps = [0, 1, 5, 50, 600, 12_000, 61_000, 700_000];
        steps
            .get(usize::from(self.control >> 1 & 7))
            .map_or(Nanos::ZERO, |&n| Nanos::from_millis(n))
    }

    /// Bits 4 and 5: which flow it is of, where the target says so.
    pub(super) fn flow(&self) -> u8 {
        self.control >> 4 & 3
    }

    /// Bit 6: it stands in the datagram of the packet before.
    pub(super) fn coalesced(&self) -> bool {
        self.control & 0x40 != 0
    }
}

/// Writes what [`Input::packets`] reads.
pub(super) fn write(control: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(control);
    out.extend(u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend(bytes);
}

/// The time of an input's first packet.
pub(super) const START: Nanos = Nanos::from_secs(1_700_000_000);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_read_as_they_are_written_and_the_last_may_be_cut() {
        let mut bytes = Vec::new();
        write(0b0001_0011, b"one", &mut bytes);
        write(0, b"two", &mut bytes);
        let read: Vec<Packet<'_>> = Input(&bytes[..bytes.len() - 1]).packets().collect();
        assert_eq!((read[0].bytes, read[1].bytes, read.len()), (&b"one"[..], &b"tw"[..], 2));
        assert_eq!((read[0].direction(), read[0].flow()), (Direction::ToClient, 1));
        assert_eq!(read[0].wait(), Nanos::from_millis(1));
    }
}
