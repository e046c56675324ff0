//! One end of a TCP connection, as much of it as a data plane can act on: handshake, cumulative
//! acknowledgment, retransmission with exponential back-off (RFC 6298), the peer's window with
//! zero-window probes, FIN, and RST with the check of RFC 5961.
//!
//! It has no congestion control, no delayed acknowledgment and keeps nothing that arrives out of
//! order: the simulated wire loses frames only where a fault or the data plane does.
//!
//! Positions count what takes sequence space: the SYN is at 0, the first byte at 1, the FIN behind
//! the last byte.

use fastpath::time::Nanos;

use super::frame::{ACK, FIN, MSS, RST, SYN, Segment, Socket, WINDOW_SHIFT};
use super::stream::Stream;

/// One end.
#[derive(Debug)]
pub(super) struct Tcp {
    pub(super) local: Socket,
    pub(super) remote: Socket,
    pub(super) state: State,
    /// What this end sends.
    pub(super) stream: Stream,
    /// The other end has said that it sends no more.
    pub(super) peer_closed: bool,
    /// Resets that arrived inside the window and beside its edge, each challenged.
    pub(super) challenged: u32,
    isn: u32,
    peer_isn: u32,
    /// Positions: the oldest without acknowledgment, the next to send, the highest ever sent.
    una: u64,
    next: u64,
    high: u64,
    /// Where the next byte of the peer belongs.
    received: u64,
    peer_window: u64,
    closing: bool,
    owes_ack: bool,
    /// After a timeout one segment at a time, until something is acknowledged.
    probing: bool,
    retries: u32,
    deadline: Option<Nanos>,
    /// A timer event is under way.
    pub(super) armed: bool,
}

/// How far an end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Waits for a SYN.
    Listen,
    /// Has sent a SYN.
    SynSent,
    /// Has answered a SYN.
    SynReceived,
    /// Sends and receives.
    Established,
    /// Is gone.
    Closed,
}

/// What a segment has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// The handshake is complete.
    pub(super) established: bool,
    /// Stream offsets of what has newly arrived in order, if anything has.
    pub(super) arrived: Option<(u64, u64)>,
    /// The peer sends no more.
    pub(super) peer_closed: bool,
    /// The connection is reset.
    pub(super) reset: bool,
}

/// A segment to send: position in the stream and bytes of payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Departure {
    pub(super) segment: Segment,
    pub(super) offset: u64,
}

/// A round trip and what Linux adds to it at least.
const RTO_MIN: Nanos = Nanos::from_millis(200);
/// Before a round trip has been measured (RFC 6298, 2.1).
const RTO_FIRST: Nanos = Nanos::from_secs(1);
const RTO_MAX: Nanos = Nanos::from_secs(120);
/// Timeouts in a row after which an end gives up, as Linux does.
const RETRIES_MAX: u32 = 15;
const SYN_RETRIES_MAX: u32 = 6;
/// Bytes an end is ready to receive: nobody here is slow to read.
const WINDOW: u64 = 1 << 22;

impl Tcp {
    /// An end that waits for a SYN of `remote`.
    pub(super) fn listen(local: Socket, remote: Socket, isn: u32) -> Self {
        Self {
            local,
            remote,
            state: State::Listen,
            stream: Stream::default(),
            peer_closed: false,
            challenged: 0,
            isn,
            peer_isn: 0,
            una: 0,
            next: 0,
            high: 0,
            received: 0,
            peer_window: MSS as u64,
            closing: false,
            owes_ack: false,
            probing: false,
            retries: 0,
            deadline: None,
            armed: false,
        }
    }

    /// An end that opens a connection.
    pub(super) fn connect(local: Socket, remote: Socket, isn: u32) -> Self {
        Self { state: State::SynSent, ..Self::listen(local, remote, isn) }
    }

    /// Will send no more, and reads no more.
    pub(super) fn close(&mut self) {
        self.closing = true;
    }

    /// Whether it was closed by its own application.
    pub(super) fn is_closing(&self) -> bool {
        self.closing || self.state == State::Closed
    }

    /// Ends at once. Gives the RST that tells the peer.
    pub(super) fn abort(&mut self) -> Option<Departure> {
        let told = matches!(self.state, State::Established | State::SynReceived);
        self.state = State::Closed;
        self.deadline = None;
        told.then(|| self.departure(RST | ACK, self.high, 0))
    }

    /// Takes a segment in. What must be sent because of it, [`Tcp::flush`] sends.
    pub(super) fn receive(&mut self, segment: &Segment) -> Change {
        match self.state {
            State::Closed => Change::default(),
            State::Listen => {
                if segment.flags & (SYN | ACK | RST) == SYN {
                    self.state = State::SynReceived;
                    self.peer_isn = segment.seq;
                    self.received = 1;
                    self.peer_window = segment.window.into();
                }
                Change::default()
            }
            State::SynSent => self.receive_syn_ack(segment),
            State::SynReceived | State::Established => self.receive_synchronised(segment),
        }
    }

    /// When its timer should run next; the caller arms it if none is under way.
    pub(super) fn deadline(&self) -> Option<Nanos> {
        self.deadline
    }

    /// Its timer has run. False when this end has given up.
    pub(super) fn timeout(&mut self, now: Nanos) -> bool {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return true;
        }
        self.retries += 1;
        let most = if self.state == State::SynSent { SYN_RETRIES_MAX } else { RETRIES_MAX };
        if self.retries > most {
            self.state = State::Closed;
            self.deadline = None;
            return false;
        }
        self.probing = true;
        self.next = self.una;
        self.deadline = None;
        true
    }

    /// Gives every segment that may go now to `send`.
    pub(super) fn flush(&mut self, now: Nanos, mut send: impl FnMut(&Self, Departure)) {
        let mut sent = false;
        if self.next == 0 && matches!(self.state, State::SynSent | State::SynReceived) {
            let flags = if self.state == State::SynSent { SYN } else { SYN | ACK };
            self.advance(1);
            send(self, self.departure(flags, 0, 0));
            sent = true;
        }
        if self.state == State::Established {
            while let Some(bytes) = self.sendable() {
                let position = self.next;
                self.advance(bytes.into());
                send(self, self.departure(ACK, position, bytes));
                sent = true;
            }
            if self.closing && self.next == self.fin() && !(self.probing && sent) {
                let position = self.next;
                self.advance(1);
                send(self, self.departure(FIN | ACK, position, 0));
                sent = true;
            }
            if self.closing && self.probing && self.high == self.fin() {
                // As Linux: the last FIN does not wait for a segment that is sent again.
                self.high += 1;
                send(self, self.departure(FIN | ACK, self.fin(), 0));
                sent = true;
            }
            if self.probing && !sent && self.next == self.una && self.una < self.fin() {
                // A window of zero: below it, so that the answer is an acknowledgment and no more.
                send(self, self.departure(ACK, self.una - 1, 0));
                sent = true;
            }
        }
        if self.owes_ack && !sent && self.state == State::Established {
            send(self, self.departure(ACK, self.high, 0));
        }
        self.owes_ack = false;
        if self.closing && self.peer_closed && self.una > self.fin() {
            self.state = State::Closed;
        }
        self.arm(now);
    }

    /// The answer to a segment that belongs to no connection.
    pub(super) fn refusal(segment: &Segment) -> Option<Segment> {
        if segment.has(RST) {
            return None;
        }
        let taken = segment.bytes + u32::from(segment.has(SYN)) + u32::from(segment.has(FIN));
        let (seq, ack, flags) = if segment.has(ACK) {
            (segment.ack, 0, RST)
        } else {
            (0, segment.seq.wrapping_add(taken), RST | ACK)
        };
        let (source, destination) = (segment.destination, segment.source);
        Some(Segment { source, destination, seq, ack, flags, window: 0, bytes: 0 })
    }

    fn receive_syn_ack(&mut self, segment: &Segment) -> Change {
        let answers = segment.has(ACK) && segment.ack == self.isn.wrapping_add(1);
        if !answers {
            return Change::default();
        }
        if segment.has(RST) {
            self.state = State::Closed;
            self.deadline = None;
            return Change { reset: true, ..Change::default() };
        }
        if !segment.has(SYN) {
            return Change::default();
        }
        self.state = State::Established;
        self.peer_isn = segment.seq;
        self.received = 1;
        self.peer_window = segment.window.into();
        self.acknowledged(1);
        self.owes_ack = true;
        Change { established: true, ..Change::default() }
    }

    fn receive_synchronised(&mut self, segment: &Segment) -> Change {
        let ahead = signed(segment.seq, self.peer_isn.wrapping_add(low(self.received)));
        if segment.has(RST) {
            return self.receive_reset(ahead);
        }
        let mut change = Change::default();
        if segment.has(SYN) {
            // Its acknowledgment was lost: say it again.
            self.next = if self.state == State::SynReceived { 0 } else { self.next };
            self.owes_ack = true;
            return change;
        }
        if segment.has(ACK) {
            change.established = self.receive_ack(segment);
        }
        let end = ahead + i64::from(segment.bytes);
        if ahead != 0 || segment.bytes > 0 || segment.has(FIN) {
            self.owes_ack = true;
        }
        if ahead > 0 || self.state != State::Established {
            return change;
        }
        if end > 0 {
            let from = self.received;
            self.received += end.unsigned_abs();
            change.arrived = Some((from - 1, self.received - 1));
        }
        if segment.has(FIN) && end >= 0 && !self.peer_closed {
            self.received += 1;
            self.peer_closed = true;
            change.peer_closed = true;
        }
        change
    }

    /// RFC 5961, 3.2: only the exact next position resets; one inside the window is challenged.
    fn receive_reset(&mut self, ahead: i64) -> Change {
        if ahead == 0 {
            self.state = State::Closed;
            self.deadline = None;
            return Change { reset: true, ..Change::default() };
        }
        if ahead > 0 && ahead.unsigned_abs() < WINDOW {
            self.challenged += 1;
            self.owes_ack = true;
        }
        Change::default()
    }

    /// True when this completes the handshake.
    fn receive_ack(&mut self, segment: &Segment) -> bool {
        let ahead = signed(segment.ack, self.isn.wrapping_add(low(self.una)));
        let position = self.una.saturating_add_signed(ahead);
        if ahead < 0 || position > self.high {
            return false;
        }
        self.peer_window = u64::from(segment.window) << WINDOW_SHIFT;
        if ahead > 0 {
            self.acknowledged(position);
        }
        let established = self.state == State::SynReceived && position >= 1;
        if established {
            self.state = State::Established;
        }
        established
    }

    fn acknowledged(&mut self, position: u64) {
        self.una = position;
        self.next = self.next.max(position);
        self.stream.acknowledge(position.saturating_sub(1));
        self.probing = false;
        self.retries = 0;
        self.deadline = None;
    }

    /// Bytes of the next segment that the window and the stream allow.
    fn sendable(&self) -> Option<u32> {
        if self.probing && self.next > self.una {
            return None;
        }
        let window = (self.una + self.peer_window).saturating_sub(self.next);
        let bytes = self.fin().saturating_sub(self.next).min(window).min(MSS as u64);
        u32::try_from(bytes).ok().filter(|&bytes| bytes > 0)
    }

    /// The position of the FIN: behind the last byte.
    fn fin(&self) -> u64 {
        1 + self.stream.written()
    }

    fn advance(&mut self, by: u64) {
        self.next += by;
        self.high = self.high.max(self.next);
    }

    /// Runs the timer while something is without acknowledgment, or cannot be sent.
    fn arm(&mut self, now: Nanos) {
        let unsent = self.state == State::Established && self.next < self.fin();
        if self.state == State::Closed || (self.una >= self.high && !unsent) {
            self.deadline = None;
        } else if self.deadline.is_none() {
            let handshake = matches!(self.state, State::SynSent | State::SynReceived);
            let first = if handshake { RTO_FIRST } else { RTO_MIN };
            let wait = Nanos(first.0 << self.retries.min(16)).min(RTO_MAX);
            self.deadline = Some(now + wait);
        }
    }

    fn departure(&self, flags: u8, position: u64, bytes: u32) -> Departure {
        let window = if flags & SYN != 0 { u64::from(u16::MAX) } else { WINDOW >> WINDOW_SHIFT };
        let acknowledges = flags & ACK != 0;
        let segment = Segment {
            source: self.local,
            destination: self.remote,
            seq: self.isn.wrapping_add(low(position)),
            ack: if acknowledges { self.peer_isn.wrapping_add(low(self.received)) } else { 0 },
            flags,
            window: u16::try_from(window).unwrap_or(u16::MAX),
            bytes,
        };
        Departure { segment, offset: position.saturating_sub(1) }
    }
}

/// How far one sequence number is ahead of another.
fn signed(a: u32, b: u32) -> i64 {
    i64::from(a.wrapping_sub(b).cast_signed())
}

#[allow(clippy::cast_possible_truncation, reason = "sequence numbers wrap")]
fn low(position: u64) -> u32 {
    position as u32
}

#[cfg(test)]
mod tests;
