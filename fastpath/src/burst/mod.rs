//! A burst of frames and, in columns beside them, what the stages have found out about each.
//!
//! [`Burst`] owns the frames; [`Packets`] is everything but their bytes. Ports, `parse` and `act`
//! see a `Burst`; all other stages see `Packets` only, so that no stage after `parse` *can* read
//! payload.
//!
//! All columns have the length of the burst and are sized once, for [`BURST_FRAMES`].

mod headers;
mod record;

pub use headers::{
    Address, Datagram, Direction, FlowId, Fragment, Headers, Link, Protocol, Tcp, TcpFlags,
    Timestamps,
};
pub use record::{
    Alpn, Carrier, ClientHello, ContentType, FingerprintId, HelloNames, Ja4, NAME_BYTES_MAX,
    NameRange, Record, ServerHello, TlsVersion,
};

use crate::telemetry::reasons::DropReason;
use crate::time::Nanos;

/// Frames in a burst, at most.
pub const BURST_FRAMES: usize = 64;

/// Frames of earlier bursts that leave with one burst, at most.
pub const ADDED_FRAMES: usize = 1024;

/// Record headers one burst can carry to the later stages. A 1,500-byte frame of empty records
/// holds 300; what does not fit is counted and its stream resynchronises.
pub const BURST_RECORDS: usize = 4096;

/// A port of the wire by its number, as it was configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortIndex(pub u16);

impl PortIndex {
    /// The other port of a wire: 0 and 1 belong together, 2 and 3, and so on.
    #[must_use]
    pub const fn peer(self) -> Self {
        Self(self.0 ^ 1)
    }
}

/// How a frame leaves the loop. Every frame has exactly one of these in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Sent out of the port opposite to the one it came in by.
    Forward,
    /// Freed, for a reason that is counted.
    Drop(DropReason),
}

/// The bytes of one frame, from its link header on, without FCS.
pub trait Frame {
    /// The whole frame.
    fn bytes(&self) -> &[u8];

    /// The whole frame, to rewrite.
    fn bytes_mut(&mut self) -> &mut [u8];

    /// What it begins with. Always Ethernet on a wire; a capture may have been made elsewhere.
    fn link(&self) -> Link {
        Link::Ethernet
    }
}

/// Frames of a burst by their indices: bit `i` is frame `i`.
pub type Frames = u64;
const _: () = assert!(Frames::BITS as usize == BURST_FRAMES);

/// A burst of frames with their columns.
#[derive(Debug)]
pub struct Burst<F> {
    frames: Vec<F>,
    /// What else leaves with this burst: frames of earlier ones, and frames made by `act`. Each has
    /// the port that it leaves opposite to.
    added: Vec<(F, PortIndex, Fate)>,
    /// Where `frames` are put in order when some are taken out; empty in between.
    spare: Vec<F>,
    /// Everything about the frames but their bytes.
    pub packets: Packets,
}

/// What is known of the frames of a burst, in columns. Index `i` is the same frame in each.
#[derive(Debug)]
pub struct Packets {
    /// The time of the burst: of its last frame in a capture, of the poll on a wire. Never runs
    /// backwards.
    pub now: Nanos,
    /// When each frame arrived.
    pub at: Vec<Nanos>,
    /// By which port.
    pub port: Vec<PortIndex>,
    /// Length of the frame on the wire in bytes (a capture may hold less of it).
    pub wire_bytes: Vec<u32>,
    /// What `parse::headers` made of it; `None` when it is not IP or cannot be read.
    pub headers: Vec<Option<Headers>>,
    /// Its flow and direction, from `flow::track`.
    pub flow: Vec<Option<(FlowId, Direction)>>,
    /// Payload bytes that had not been seen before, from `flow::track`.
    pub fresh_bytes: Vec<u32>,
    /// How it will leave. Forward, until a stage says otherwise.
    pub fate: Vec<Fate>,
    /// TLS record headers seen in this burst, in frame order, from `parse::records`.
    pub records: Vec<Record>,
    /// ClientHellos completed in this burst.
    pub client_hellos: Vec<ClientHello>,
    /// The names in them.
    pub hello_names: HelloNames,
    /// ServerHellos completed in this burst.
    pub server_hellos: Vec<ServerHello>,
}

impl<F> Burst<F> {
    /// An empty burst; this is the only place that allocates.
    #[must_use]
    pub fn new() -> Self {
        Self {
            frames: Vec::with_capacity(BURST_FRAMES),
            added: Vec::with_capacity(ADDED_FRAMES),
            spare: Vec::with_capacity(BURST_FRAMES),
            packets: Packets::new(),
        }
    }

    /// Empties the burst and sets its time. The port calls this first.
    ///
    /// # Panics
    /// When frames are left: each must have been taken by [`Burst::drain`].
    pub fn begin(&mut self, now: Nanos) {
        let ended = self.frames.is_empty() && self.added.is_empty();
        assert!(ended, "a frame of the last burst has no end");
        self.packets.clear();
        self.advance(now);
    }

    /// Moves the time of the burst forward to `now`, never back.
    pub fn advance(&mut self, now: Nanos) {
        self.packets.now = self.packets.now.max(now);
    }

    /// How many frames still fit.
    #[must_use]
    pub fn room(&self) -> usize {
        BURST_FRAMES - self.frames.len()
    }

    /// Adds a frame that arrived `at` by `port`.
    ///
    /// # Panics
    /// When there is no [`room`](Self::room).
    pub fn push(&mut self, frame: F, at: Nanos, port: PortIndex, wire_bytes: u32) {
        assert!(self.room() > 0, "a burst holds {BURST_FRAMES} frames");
        self.frames.push(frame);
        self.packets.push(at, port, wire_bytes);
    }

    /// Adds frames that arrived together, each with its length on the wire: a column at a time, at
    /// a third of the price of as many [`push`](Self::push)es.
    ///
    /// # Panics
    /// When there is no [`room`](Self::room) for all of them.
    pub fn extend(&mut self, frames: impl Iterator<Item = (F, u32)>, at: Nanos, port: PortIndex) {
        let Self { frames: taken, packets, .. } = self;
        for (frame, wire_bytes) in frames {
            assert!(taken.len() < BURST_FRAMES, "a burst holds {BURST_FRAMES} frames");
            taken.push(frame);
            packets.wire_bytes.push(wire_bytes);
        }
        packets.fill(taken.len(), at, port);
    }

    /// The frames and their columns, apart, for `parse`.
    pub fn split(&mut self) -> (&[F], &mut Packets) {
        (&self.frames, &mut self.packets)
    }

    /// Frame `i`.
    #[must_use]
    pub fn frame(&self, i: usize) -> Option<&F> {
        self.frames.get(i)
    }

    /// The frames for `act`, which may rewrite them, and their columns.
    pub fn split_mut(&mut self) -> (&mut [F], &mut Packets) {
        (&mut self.frames, &mut self.packets)
    }

    /// Takes these frames out of the burst, each with the port it came in by. The columns that
    /// [`drain`](Self::drain) reads close up; no stage may look at the others afterwards.
    pub fn take(&mut self, these: Frames, mut keep: impl FnMut(usize, F, PortIndex)) {
        if these == 0 {
            return;
        }
        std::mem::swap(&mut self.frames, &mut self.spare);
        let Self { frames, spare, packets, .. } = self;
        for (i, frame) in spare.drain(..).enumerate() {
            if these >> i & 1 == 1 {
                keep(i, frame, packets.port[i]);
            } else {
                packets.port[frames.len()] = packets.port[i];
                packets.fate[frames.len()] = packets.fate[i];
                frames.push(frame);
            }
        }
    }

    /// Frames that can still be [added](Self::add).
    #[must_use]
    pub fn added_room(&self) -> usize {
        ADDED_FRAMES - self.added.len()
    }

    /// Lets a frame leave with this burst, after the burst's own, opposite to `port`. It does not
    /// count as one of the burst.
    ///
    /// # Panics
    /// When there is no [room](Self::added_room).
    pub fn add(&mut self, frame: F, port: PortIndex, fate: Fate) {
        assert!(self.added_room() > 0, "{ADDED_FRAMES} frames leave with a burst");
        self.added.push((frame, port, fate));
    }

    /// The frames that will be sent: the burst's own, then those added.
    pub fn leaving_mut(&mut self) -> impl Iterator<Item = &mut F> {
        let own = self.frames.iter_mut().zip(&self.packets.fate);
        let added = self.added.iter_mut().map(|(frame, _, fate)| (frame, &*fate));
        own.chain(added).filter_map(|(frame, fate)| (*fate == Fate::Forward).then_some(frame))
    }

    /// Takes every frame out, with the port it came in by and its fate. The port calls this last.
    pub fn drain(&mut self) -> impl Iterator<Item = (F, PortIndex, Fate)> + '_ {
        let Self { frames, packets, added, .. } = self;
        let own = frames.drain(..).enumerate();
        own.map(|(i, frame)| (frame, packets.port[i], packets.fate[i])).chain(added.drain(..))
    }

    /// Whether nothing is to be sent or freed.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.frames.is_empty() && self.added.is_empty()
    }

    /// Number of frames.
    #[must_use]
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether there is no frame.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}

impl<F> Default for Burst<F> {
    fn default() -> Self {
        Self::new()
    }
}

impl Packets {
    fn new() -> Self {
        Self {
            now: Nanos::ZERO,
            at: Vec::with_capacity(BURST_FRAMES),
            port: Vec::with_capacity(BURST_FRAMES),
            wire_bytes: Vec::with_capacity(BURST_FRAMES),
            headers: Vec::with_capacity(BURST_FRAMES),
            flow: Vec::with_capacity(BURST_FRAMES),
            fresh_bytes: Vec::with_capacity(BURST_FRAMES),
            fate: Vec::with_capacity(BURST_FRAMES),
            records: Vec::with_capacity(BURST_RECORDS),
            client_hellos: Vec::with_capacity(BURST_FRAMES),
            hello_names: HelloNames::with_capacity(BURST_FRAMES),
            server_hellos: Vec::with_capacity(BURST_FRAMES),
        }
    }

    /// Number of frames in the burst.
    #[must_use]
    pub fn len(&self) -> usize {
        self.at.len()
    }

    /// A flow turns out to go the other way: so do its frames and records in this burst.
    pub fn turn(&mut self, flow: FlowId) {
        for (_, direction) in self.flow.iter_mut().flatten().filter(|(id, _)| *id == flow) {
            *direction = direction.reverse();
        }
        for record in self.records.iter_mut().filter(|record| record.flow == flow) {
            record.direction = record.direction.reverse();
        }
    }

    /// Whether the burst has no frame: time passed, nothing came.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.at.is_empty()
    }

    fn push(&mut self, at: Nanos, port: PortIndex, wire_bytes: u32) {
        self.at.push(at);
        self.port.push(port);
        self.wire_bytes.push(wire_bytes);
        self.headers.push(None);
        self.flow.push(None);
        self.fresh_bytes.push(0);
        self.fate.push(Fate::Forward);
    }

    /// Makes the columns `len` long; what is new arrived `at` by `port`.
    fn fill(&mut self, len: usize, at: Nanos, port: PortIndex) {
        self.at.resize(len, at);
        self.port.resize(len, port);
        self.headers.resize(len, None);
        self.flow.resize(len, None);
        self.fresh_bytes.resize(len, 0);
        self.fate.resize(len, Fate::Forward);
    }

    fn clear(&mut self) {
        self.at.clear();
        self.port.clear();
        self.wire_bytes.clear();
        self.headers.clear();
        self.flow.clear();
        self.fresh_bytes.clear();
        self.fate.clear();
        self.clear_found();
    }

    /// Forgets the records and hellos of the burst.
    pub fn clear_found(&mut self) {
        self.records.clear();
        self.client_hellos.clear();
        self.hello_names.clear();
        self.server_hellos.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_taken_out_leave_the_others_their_ports_and_fates() {
        let mut burst = Burst::new();
        burst.begin(Nanos(1));
        for n in 0..4u16 {
            burst.push(n, Nanos(1), PortIndex(n), 60);
        }
        burst.packets.fate[3] = Fate::Drop(DropReason::Fault);
        let mut kept = Vec::new();
        burst.take(0b0110, |i, frame, port| kept.push((i, frame, port)));
        burst.add(9, PortIndex(0), Fate::Forward);
        assert_eq!(kept, [(1, 1, PortIndex(1)), (2, 2, PortIndex(2))]);
        let left: Vec<_> = burst.drain().collect();
        let fault = Fate::Drop(DropReason::Fault);
        let own = [(0, PortIndex(0), Fate::Forward), (3, PortIndex(3), fault)];
        assert_eq!(left, [own[0], own[1], (9, PortIndex(0), Fate::Forward)]);
        assert!(burst.is_drained());
    }

    #[test]
    fn frames_added_together_have_the_columns_of_frames_added_one_by_one() {
        let (mut together, mut singly) = (Burst::new(), Burst::new());
        together.extend([((), 60), ((), 90)].into_iter(), Nanos(7), PortIndex(1));
        singly.push((), Nanos(7), PortIndex(1), 60);
        singly.push((), Nanos(7), PortIndex(1), 90);
        assert_eq!(format!("{together:?}"), format!("{singly:?}"));
    }
}
