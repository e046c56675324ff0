//! TCP sequence progress of one direction: what is new, what is repeated, what has ended.

use crate::burst::Tcp;

/// One direction of a TCP connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Sequence number of the SYN, if it was seen.
    pub syn: Option<u32>,
    /// The byte after the highest one seen.
    high: Option<u32>,
    /// A FIN was seen.
    pub fin: bool,
    /// The FIN came ahead of bytes that are still missing.
    pub fin_ahead: bool,
    /// An RST was seen.
    pub rst: bool,
}

impl Progress {
    /// Takes a segment in and tells how many of its bytes are new.
    pub fn advance(&mut self, tcp: &Tcp, payload_bytes: u32) -> u32 {
        let flags = tcp.flags;
        if flags.syn() {
            self.syn = Some(tcp.seq);
        }
        if flags.rst() {
            self.rst |= self.plausible(tcp.seq);
            return 0;
        }
        self.fin |= flags.fin();
        let end = tcp
            .seq
            .wrapping_add(payload_bytes)
            .wrapping_add(u32::from(flags.syn()))
            .wrapping_add(u32::from(flags.fin()));
        let Some(high) = self.high else {
            self.high = Some(end);
            return payload_bytes;
        };
        self.fin_ahead |= flags.fin() && tcp.seq.wrapping_sub(high).cast_signed() > 0;
        let beyond = end.wrapping_sub(high).cast_signed();
        if beyond <= 0 {
            return 0;
        }
        self.high = Some(end);
        beyond.cast_unsigned().min(payload_bytes)
    }

    /// Whether the receiver acknowledges bytes that have not passed here.
    #[must_use]
    pub fn lacks(&self, ack: u32) -> bool {
        self.high.is_some_and(|high| (1..1 << 30).contains(&ack.wrapping_sub(high)))
    }

    /// An RST far from where the connection is comes from somebody who cannot see it (RFC 5961, 3).
    fn plausible(&self, seq: u32) -> bool {
        /// The largest window there can be (RFC 7323, 2.3).
        const WINDOW_MAX: u32 = 1 << 30;
        self.high
            .is_none_or(|high| seq.wrapping_sub(high).cast_signed().unsigned_abs() < WINDOW_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::burst::TcpFlags;

    fn segment(seq: u32, flags: u8) -> Tcp {
        Tcp { seq, flags: TcpFlags(flags), ..Tcp::default() }
    }

    #[test]
    fn only_bytes_beyond_the_highest_are_new() {
        let mut progress = Progress::default();
        assert_eq!(progress.advance(&segment(99, 0x02), 0), 0);
        assert_eq!(progress.advance(&segment(100, 0x10), 50), 50);
        assert_eq!(progress.advance(&segment(100, 0x10), 50), 0);
        assert_eq!(progress.advance(&segment(140, 0x10), 20), 10);
    }

    #[test]
    fn an_acknowledgment_of_more_than_passed_shows_a_loss() {
        let mut progress = Progress::default();
        assert!(!progress.lacks(7), "nothing has passed");
        progress.advance(&segment(100, 0x10), 50);
        assert!(!progress.lacks(150) && progress.lacks(151) && !progress.lacks(100));
    }

    #[test]
    fn sequence_numbers_wrap() {
        let mut progress = Progress::default();
        progress.advance(&segment(u32::MAX - 9, 0x10), 10);
        assert_eq!(progress.advance(&segment(0, 0x10), 5), 5);
    }

    #[test]
    fn a_reset_from_nowhere_ends_nothing() {
        let mut progress = Progress::default();
        progress.advance(&segment(100, 0x10), 50);
        progress.advance(&segment(100 + (1 << 31), 0x04), 0);
        assert!(!progress.rst);
        progress.advance(&segment(150, 0x04), 0);
        assert!(progress.rst);
    }
}
