//! What is kept of a flow. O(1): no list of anything.
//!
//! Every flow has a [`FlowEntry`] of two cache lines. An ordinary segment of a flow that is known
//! touches the first; the second has its round trips. What a handshake, a loss or a policy adds is a
//! [`FlowDetail`], which a flow gets when it first needs one.
//!
//! ```text
//!  0   last_seen  8 | bytes      16
//! 24   halves    16 | key        12
//! 52   frames     4 | policy      4 | state      4
//! 64   timings   40 | opened      8
//! 112  starts     8 | detail      4
//! ```

use super::key::{FlowKey, Kind, ShortKey};
use super::rtt::{RoundTrip, Sample, Timing};
use super::state::{Of, State};
use super::tcp::{Arrived, Loss, Progress, lacks};
use crate::burst::{Direction, Headers, Protocol, TlsVersion};
use crate::parse::handshake::Handshake;
use crate::parse::tls::{self, Stream};
use crate::policy::snapshot::EndpointId;
use crate::telemetry::event::{Call, Peers, Visibility};
use crate::telemetry::names::NameId;
use crate::time::Nanos;

/// What every flow has.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(128))]
pub(super) struct FlowEntry {
    /// Latest frame.
    pub(super) last_seen: Nanos,
    /// Bytes of frames on the wire, to the server and to the client.
    bytes: [u64; 2],
    /// To the server, to the client.
    pub(super) halves: [Half; 2],
    /// Its 5-tuple.
    pub(super) key: ShortKey,
    /// Frames of both directions.
    frames: u32,
    /// The policy that it was classified by, in the count of the table; 0: by none.
    pub(super) policy: u32,
    /// What has happened.
    pub(super) state: State,
    /// Round trips from here to the receiver of each direction and back.
    timings: [Timing; 2],
    /// First frame.
    pub(super) opened: Nanos,
    /// Sequence number of each SYN.
    starts: [u32; 2],
    /// Its detail.
    pub(super) detail: DetailIndex,
}

const _: () = assert!(size_of::<FlowEntry>() == 128);
const _: () = assert!(std::mem::offset_of!(FlowEntry, timings) == 64);

/// Where one direction of a TCP connection is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Half {
    /// The sequence number after the highest one seen.
    pub(super) high: u32,
    /// That of the next byte to be looked at, while records are walked.
    pub(super) next: u32,
}

/// A segment that only goes on where its flow was.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ordinary {
    /// Its payload, all of it new.
    pub(super) fresh_bytes: u32,
    /// It is an acknowledgment or a part of a record's body: no header is to be walked.
    pub(super) body: bool,
}

/// The place of a detail; 0: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DetailIndex(pub(super) u32);

impl DetailIndex {
    /// No detail.
    pub(super) const NONE: Self = Self(0);
}

/// What a flow has beyond its entry, once it needs it.
#[derive(Clone, Copy, Debug)]
pub(super) struct FlowDetail {
    /// Its number, unique in the lcore's life.
    pub(super) number: u64,
    /// What the ClientHello and the policy say.
    pub(super) class: Classified,
    /// TLS record walks, to the server and to the client.
    pub(super) streams: [Stream; 2],
    /// What is missing of each direction.
    pub(super) losses: [Loss; 2],
    /// Handshake of a UDP flow.
    pub(super) handshake: Handshake,
}

/// What is known of a flow's ends beyond addresses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Classified {
    /// The endpoint called, if it is a known one.
    pub call: Option<Call>,
    /// The name asked for.
    pub sni: Option<NameId>,
    /// The ClientHello gives no name, or perhaps only the outer one of an encrypted ClientHello.
    pub hidden: bool,
    /// A hash of the client's cipher list: one application, also across resumed connections.
    pub application: u64,
    /// A ClientHello was read.
    pub hello: bool,
    /// The client offered HTTP/2.
    pub offers_h2: bool,
    /// The server's choice, where it is in clear or there was none to make.
    pub chose_h2: Option<bool>,
    /// TLS version of the ServerHello.
    pub version: Option<TlsVersion>,
    /// Cipher suite of the ServerHello.
    pub cipher: u16,
    /// How well it can be seen.
    pub visibility: Visibility,
}

impl Classified {
    /// The endpoint called, if it is a known one.
    #[must_use]
    pub fn endpoint(&self) -> Option<EndpointId> {
        self.call.map(|call| call.endpoint)
    }
}

/// A flow as the stages behind `track` read it.
#[derive(Clone, Copy, Debug)]
pub struct Flow<'a> {
    /// First frame.
    pub opened: Nanos,
    /// Latest frame.
    pub last_seen: Nanos,
    /// A number that no other flow of the lcore ever has; 0 while it has shown neither payload nor
    /// an endpoint.
    pub number: u64,
    /// What the ClientHello and the policy say.
    pub class: &'a Classified,
    entry: &'a FlowEntry,
    detail: &'a FlowDetail,
    /// Of all flows, as an entry of IPv6 has but the place of its key.
    long_keys: &'a [FlowKey],
}

impl FlowEntry {
    /// A flow whose first frame has just been seen.
    pub(super) fn new(key: ShortKey, kind: Kind, client_is_low: bool, at: Nanos) -> Self {
        Self {
            last_seen: at,
            bytes: [0; 2],
            halves: [Half::default(); 2],
            key,
            frames: 0,
            policy: 0,
            state: State::opened(kind, client_is_low),
            timings: [Timing::default(); 2],
            opened: at,
            starts: [0; 2],
            detail: DetailIndex::NONE,
        }
    }

    /// A place without a flow.
    pub(super) fn vacant() -> Self {
        let mut entry = Self::new(ShortKey::default(), Kind::default(), false, Nanos::ZERO);
        entry.state.end();
        entry
    }

    /// Counts a frame.
    #[inline]
    pub(super) fn count(&mut self, direction: Direction, wire_bytes: u32, at: Nanos) {
        self.last_seen = at;
        self.frames = self.frames.wrapping_add(1);
        self.bytes[direction.index()] += u64::from(wire_bytes);
        self.state.pass(direction);
    }

    /// Takes in a TCP segment that only goes on where its flow was; `None`, and nothing is changed,
    /// when there is more to it than that.
    ///
    /// Such a segment has neither SYN, FIN nor RST; it is an acknowledgment, or comes in order.
    /// Nothing is missing in either direction, and it acknowledges nothing that has not passed.
    #[inline]
    pub(super) fn ordinary(
        &mut self,
        headers: &Headers,
        direction: Direction,
        at: Nanos,
    ) -> Option<Ordinary> {
        let Headers { tcp, payload_wire_bytes: bytes, .. } = headers;
        let way = direction.index();
        let [half, other] = [self.halves[way], self.halves[1 - way]];
        let plain = tcp.flags.is_plain()
            && self.state.is_undisturbed()
            && self.state.has(direction, Of::BEGUN);
        let ahead = tcp.flags.ack()
            && self.state.has(direction.reverse(), Of::BEGUN)
            && lacks(other.high, tcp.ack);
        if !plain || ahead {
            return None;
        }
        let body = *bytes == headers.payload_bytes
            && (*bytes == 0
                || self.state.has(direction, Of::WALKING)
                    && tls::is_body(half.next, tcp.seq, *bytes));
        if *bytes > 0 {
            if tcp.seq != half.high {
                return None;
            }
            let end = half.high.wrapping_add(*bytes);
            self.halves[way].high = end;
            let arrived = Arrived { fresh_bytes: *bytes, repeated: false, in_order: true };
            self.measure(direction, |rtt| rtt.sent(tcp, end, arrived, at));
        }
        if tcp.flags.ack() && self.state.sample(direction.reverse()) != Sample::None {
            self.measure(direction.reverse(), |rtt| {
                rtt.acknowledged(tcp, at);
            });
        }
        Some(Ordinary { fresh_bytes: *bytes, body })
    }

    /// Whether a TCP segment can hold nothing of interest for the walk of its records.
    #[inline]
    pub(super) fn tells_nothing(&self, headers: &Headers, direction: Direction) -> bool {
        let Headers { tcp, payload_bytes: bytes, payload_wire_bytes, .. } = headers;
        let waits = self.state.has(direction.reverse(), Of::WAITING);
        if tcp.flags.syn() || bytes != payload_wire_bytes || waits {
            return false;
        }
        let next = self.halves[direction.index()].next;
        *bytes == 0
            || (self.state.has(direction, Of::WALKING) && tls::is_body(next, tcp.seq, *bytes))
    }

    /// The sender of this hello is the client, whatever the ports had suggested.
    pub(super) fn turn(&mut self) {
        self.state.turn();
        self.bytes.swap(0, 1);
        self.halves.swap(0, 1);
        self.timings.swap(0, 1);
        self.starts.swap(0, 1);
    }

    /// TCP progress of a direction that lacks this.
    pub(super) fn progress(&self, direction: Direction, loss: &Loss) -> Progress {
        let has = |what| self.state.has(direction, what);
        Progress {
            isn: self.starts[direction.index()],
            high: self.halves[direction.index()].high,
            loss: if has(Of::LOSS) { *loss } else { Loss::default() },
            has_syn: has(Of::HAS_SYN),
            syn_data: has(Of::SYN_DATA),
            begun: has(Of::BEGUN),
            fin: has(Of::FIN),
            rst: has(Of::RST),
        }
    }

    /// Keeps the progress of a direction, but for what it lacks.
    pub(super) fn keep(&mut self, direction: Direction, progress: &Progress) {
        let &Progress { isn, high, ref loss, has_syn, syn_data, begun, fin, rst } = progress;
        self.halves[direction.index()].high = high;
        self.starts[direction.index()] = isn;
        let bits = [
            (Of::LOSS, loss.is_some()),
            (Of::HAS_SYN, has_syn),
            (Of::SYN_DATA, syn_data),
            (Of::BEGUN, begun),
            (Of::FIN, fin),
            (Of::RST, rst),
        ];
        bits.into_iter().for_each(|(bit, on)| self.state.put(direction, bit, on));
        if has_syn {
            self.state.set(direction, Of::STARTED);
        }
    }

    /// The other side answers a SYN that was not seen: its direction starts before `ack`.
    pub(super) fn infer_start(&mut self, direction: Direction, ack: u32) {
        if !self.state.has(direction, Of::STARTED) {
            self.starts[direction.index()] = ack.wrapping_sub(1);
            self.state.set(direction, Of::STARTED);
        }
    }

    /// Sequence number of a direction's first byte, if a SYN has told it.
    pub(super) fn start(&self, direction: Direction) -> Option<u32> {
        let started = self.state.has(direction, Of::STARTED);
        started.then(|| self.starts[direction.index()].wrapping_add(1))
    }

    /// Does something to the round trips of a direction.
    #[inline]
    pub(super) fn measure(&mut self, direction: Direction, act: impl FnOnce(&mut RoundTrip)) {
        let mut rtt = RoundTrip {
            timing: self.timings[direction.index()],
            sample: self.state.sample(direction),
        };
        act(&mut rtt);
        self.timings[direction.index()] = rtt.timing;
        self.state.put_sample(direction, rtt.sample);
    }

    /// Keeps where the walk of a direction is.
    pub(super) fn note_walk(&mut self, direction: Direction, stream: &Stream) {
        self.halves[direction.index()].next = stream.next();
        self.state.put(direction, Of::WALKING, stream.is_walking());
        self.state.put(direction, Of::WAITING, stream.is_waiting());
    }

    /// Which way a frame goes whose source is, or is not, the lower end of the key.
    #[inline]
    pub(super) fn direction(&self, source_is_low: bool) -> Direction {
        if source_is_low == self.state.client_is_low() {
            Direction::ToServer
        } else {
            Direction::ToClient
        }
    }

    /// Sequence number of a direction's SYN, if it was seen.
    pub(super) fn syn(&self, direction: Direction) -> Option<u32> {
        self.state.has(direction, Of::HAS_SYN).then_some(self.starts[direction.index()])
    }

    /// Its 5-tuple, which is among these when it is of IPv6.
    pub(super) fn whole_key(&self, long_keys: &[FlowKey]) -> FlowKey {
        let kind = self.state.kind();
        if kind.v6 {
            return long_keys[self.key.place() as usize];
        }
        self.key.v4(if kind.udp { Protocol::Udp } else { Protocol::Tcp })
    }

    /// Both ends have closed, or one has reset.
    pub(super) fn is_closed(&self) -> bool {
        self.state.any(Of::RST) || self.state.both(Of::FIN)
    }

    /// Nobody has answered, whatever the frames look like: it is new, or of a flood, or seen from one
    /// side only.
    pub(super) fn is_unanswered(&self) -> bool {
        !self.state.both(Of::SEEN)
    }

    /// Whether more than its first frame has passed since the last call.
    pub(super) fn take_heard_again(&mut self) -> bool {
        self.state.take_heard() && self.frames > 1
    }

    /// Nothing came back from the server yet.
    pub(super) fn is_half_open(&self) -> bool {
        !self.state.kind().udp
            && !self.state.has(Direction::ToClient, Of::SEEN)
            && self.state.has(Direction::ToServer, Of::HAS_SYN)
    }
}

impl FlowDetail {
    /// Of a flow of which nothing is known. Streams are numbered from the number.
    pub(super) fn new(number: u64) -> Self {
        Self {
            number,
            class: Classified::default(),
            streams: [0, 1].map(|n| Stream::new(2 * number + n)),
            losses: [Loss::default(); 2],
            handshake: Handshake::new(number),
        }
    }
}

impl<'a> Flow<'a> {
    #[inline]
    pub(super) fn new(
        entry: &'a FlowEntry,
        detail: &'a FlowDetail,
        long_keys: &'a [FlowKey],
    ) -> Self {
        let &FlowEntry { opened, last_seen, .. } = entry;
        let FlowDetail { number, class, .. } = detail;
        Self { opened, last_seen, number: *number, class, entry, detail, long_keys }
    }

    /// Its 5-tuple.
    #[must_use]
    pub fn key(&self) -> FlowKey {
        self.entry.whole_key(self.long_keys)
    }

    /// Client and server.
    #[must_use]
    pub fn peers(&self) -> Peers {
        let FlowKey { low, high, protocol } = self.key();
        let (client, server) =
            if self.entry.state.client_is_low() { (low, high) } else { (high, low) };
        Peers {
            client: client.0,
            client_port: client.1,
            server: server.0,
            server_port: server.1,
            protocol,
        }
    }

    /// TCP progress of a direction.
    #[must_use]
    pub fn progress(&self, direction: Direction) -> Progress {
        self.entry.progress(direction, &self.detail.losses[direction.index()])
    }

    /// One of the directions is not TLS.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.detail.streams.iter().any(Stream::is_foreign)
    }

    /// No direction has shown anything that looks like a TLS record.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.detail.streams.iter().all(Stream::is_searching)
    }

    /// Where the records of a direction begin is not known.
    #[must_use]
    pub fn has_no_place(&self, direction: Direction) -> bool {
        self.detail.streams[direction.index()].is_searching()
    }

    /// The shortest round trip from here to the server and back.
    #[must_use]
    pub fn rtt(&self) -> Option<Nanos> {
        self.entry.timings[Direction::ToServer.index()].minimum()
    }

    /// Round trips from here to the server and to the client and back, smoothed.
    #[must_use]
    pub fn smoothed_rtts(&self) -> [Option<Nanos>; 2] {
        self.entry.timings.map(|timing| timing.smoothed())
    }

    /// The client's SYN was seen.
    #[must_use]
    pub fn client_is_sure(&self) -> bool {
        self.entry.syn(Direction::ToServer).is_some()
    }

    /// A frame of this direction has passed.
    #[must_use]
    pub fn has_passed(&self, direction: Direction) -> bool {
        self.entry.state.has(direction, Of::SEEN)
    }

    /// Its beginning was not seen: no SYN of either side, or of UDP no ClientHello.
    #[must_use]
    pub fn from_middle(&self) -> bool {
        match self.entry.state.kind().udp {
            false => !self.entry.state.any(Of::HAS_SYN),
            true => !self.class.hello,
        }
    }
}
