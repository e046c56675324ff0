//! TCP sequence progress of one direction: what is new, what is missing, what is repeated, what has
//! ended.
//!
//! O(1), whatever the network does: the bytes that were skipped are one span and the number of
//! those in it that are still missing. With one hole that is exact; with several, which byte was
//! late may be told wrongly, how many were late is not.

use crate::burst::Tcp;

/// One direction of a TCP connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Sequence number of the SYN.
    isn: u32,
    /// The byte after the highest one seen.
    high: u32,
    /// All holes lie in `hole_start..hole_end`.
    hole_start: u32,
    hole_end: u32,
    /// Sequence numbers in there that have not been seen.
    missing: u32,
    /// Bytes that the receiver has acknowledged and that had not passed here.
    missed_bytes: u32,
    /// The acknowledgment that showed the last of them.
    missed_at: u32,
    /// What it has acknowledged ahead of `high`; those bytes are no hole.
    ahead_to: Option<u32>,
    /// Payload bytes that passed again, and the frames that held them or another SYN or FIN.
    pub repeated_bytes: u32,
    /// Frames that repeated something.
    pub repeated_frames: u32,
    has_syn: bool,
    /// The SYN had data with it and has not been answered.
    syn_data: bool,
    /// `high` is known.
    begun: bool,
    /// A FIN was seen.
    pub fin: bool,
    /// An RST was seen.
    pub rst: bool,
}

/// What a segment has brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrived {
    /// Payload bytes that had not been seen before.
    pub fresh_bytes: u32,
    /// It repeats what had passed before.
    pub repeated: bool,
    /// It goes on where the segment before it ended, and nothing is missing.
    pub in_order: bool,
}

/// Repeated bytes that are no retransmission: a keep-alive repeats the byte before the next one
/// (RFC 9293, 3.8.4), and what follows a probe of a closed window repeats the probe's
/// (RFC 9293, 3.8.6.1).
const PROBE_BYTES: u32 = 1;

impl Progress {
    /// Takes a segment in.
    pub fn advance(&mut self, tcp: &Tcp, payload_bytes: u32) -> Arrived {
        let flags = tcp.flags;
        if flags.rst() {
            self.rst |= self.plausible(tcp.seq);
            return Arrived::default();
        }
        let controls = u32::from(flags.syn()) + u32::from(flags.fin());
        let length = payload_bytes.wrapping_add(controls);
        if self.begun && controls == 0 {
            if length == 0 {
                return Arrived::default();
            }
            if tcp.seq == self.high && self.missing == 0 {
                self.high = self.high.wrapping_add(length);
                return Arrived { fresh_bytes: payload_bytes, repeated: false, in_order: true };
            }
        }
        let repeats_control = (flags.syn() && self.has_syn && self.isn == tcp.seq)
            || (flags.fin() && self.fin && tcp.seq.wrapping_add(length) == self.high);
        if flags.syn() && !repeats_control {
            // Another initial sequence number: nothing that came before it counts.
            self.begun &= !self.has_syn;
            (self.has_syn, self.isn, self.syn_data) = (true, tcp.seq, payload_bytes > 0);
        }
        self.fin |= flags.fin();
        self.place(tcp.seq, length, payload_bytes, repeats_control)
    }

    /// The receiver has everything before `ack`: what we still miss there has passed elsewhere.
    pub fn acknowledged(&mut self, ack: u32) {
        if self.missing > 0 && distance(self.hole_start, ack) > 0 {
            self.hole_start = ack;
            let room = distance(ack, self.hole_end).max(0).cast_unsigned();
            let left = self.missing.min(room);
            if left < self.missing {
                self.missed_bytes = self.missed_bytes.wrapping_add(self.missing - left);
                self.missed_at = ack;
            }
            self.missing = left;
        }
        if self.lacks(ack) {
            let ahead = distance(self.known(), ack).max(0).cast_unsigned();
            if ahead > 0 {
                self.missed_bytes = self.missed_bytes.wrapping_add(ahead);
                self.missed_at = ack;
                self.ahead_to = Some(ack);
            }
        }
    }

    /// The byte after the highest one that passed or is known to have passed elsewhere.
    fn known(&self) -> u32 {
        self.ahead_to.filter(|&to| distance(self.high, to) > 0).unwrap_or(self.high)
    }

    /// The receiver's SYN. One that acknowledges ours and not the data on it has refused them; they
    /// will be sent again and count then (RFC 7413, 4.2.2).
    pub fn answered(&mut self, ack: u32) {
        if self.syn_data && ack == self.isn.wrapping_add(1) {
            self.high = ack;
        }
        self.syn_data = false;
    }

    /// Sequence number of the SYN, if it was seen.
    #[must_use]
    pub fn syn(&self) -> Option<u32> {
        self.has_syn.then_some(self.isn)
    }

    /// A FIN came, and bytes before it are still missing.
    #[must_use]
    pub fn fin_ahead(&self) -> bool {
        self.fin && self.missing > 0
    }

    /// A segment that is not simply the next one.
    fn place(
        &mut self,
        seq: u32,
        length: u32,
        payload_bytes: u32,
        repeats_control: bool,
    ) -> Arrived {
        let end = seq.wrapping_add(length);
        if !self.begun {
            (self.begun, self.high, self.missing) = (true, end, 0);
            return Arrived { fresh_bytes: payload_bytes, repeated: false, in_order: length > 0 };
        }
        let (skipped, beyond) = (distance(self.high, seq), distance(self.high, end));
        let mut fresh = beyond.max(0).cast_unsigned().min(length);
        if skipped > 0 {
            let hole = distance(self.known(), seq);
            if hole > 0 && self.missing == 0 {
                self.hole_start = self.known();
            }
            if hole > 0 {
                self.hole_end = seq;
                self.missing = self.missing.saturating_add(hole.cast_unsigned());
            }
        } else if self.missing > 0 {
            fresh += self.fill(seq, end);
        }
        if beyond > 0 {
            self.high = end;
        }
        let fresh_bytes = fresh.min(payload_bytes);
        let again = payload_bytes - fresh_bytes;
        let repeated = again > PROBE_BYTES || repeats_control;
        if repeated {
            self.repeated_frames = self.repeated_frames.saturating_add(1);
            self.repeated_bytes = self.repeated_bytes.saturating_add(again);
        }
        let in_order = length > 0 && skipped == 0 && self.missing == 0 && !repeated;
        Arrived { fresh_bytes, repeated, in_order }
    }

    /// Takes `seq..end` out of the holes, and tells how much of it was missing.
    fn fill(&mut self, seq: u32, end: u32) -> u32 {
        let span = distance(self.hole_start, self.hole_end);
        let start = distance(self.hole_start, seq).max(0);
        let stop = distance(self.hole_start, end).min(span);
        if stop <= start {
            return 0;
        }
        let filled = (stop - start).cast_unsigned().min(self.missing);
        self.missing -= filled;
        if start == 0 {
            self.hole_start = self.hole_start.wrapping_add(stop.cast_unsigned());
        } else if stop == span {
            self.hole_end = self.hole_start.wrapping_add(start.cast_unsigned());
        }
        filled
    }

    /// The bytes missed so far, if it was no later acknowledgment than this that showed the last of
    /// them; and whether nothing behind them had passed then.
    #[must_use]
    pub fn missed(&self, ack: u32) -> Option<(u32, bool)> {
        let shown = self.missed_bytes > 0 && distance(self.missed_at, ack) >= 0;
        shown.then_some((self.missed_bytes, self.ahead_to == Some(self.missed_at)))
    }

    /// Whether the receiver acknowledges bytes that have not passed here.
    fn lacks(&self, ack: u32) -> bool {
        self.begun && (1..1 << 30).contains(&ack.wrapping_sub(self.high))
    }

    /// An RST far from where the connection is comes from somebody who cannot see it (RFC 5961, 3).
    fn plausible(&self, seq: u32) -> bool {
        /// The largest window there can be (RFC 7323, 2.3).
        const WINDOW_MAX: u32 = 1 << 30;
        !self.begun || distance(self.high, seq).unsigned_abs() < WINDOW_MAX
    }
}

/// How far `to` lies behind `from` in sequence space (RFC 9293, 3.4); negative when before it.
#[must_use]
pub fn distance(from: u32, to: u32) -> i32 {
    to.wrapping_sub(from).cast_signed()
}

#[cfg(test)]
mod tests;
