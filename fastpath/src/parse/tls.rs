//! Walks TLS record headers along a TCP stream and reads the one hello of each direction.
//!
//! A stream remembers the sequence number of the next byte it must look at, which is as a rule the
//! next record header. The bytes between are skipped without being looked at, so that loss or
//! reordering inside a record body costs nothing, and a data segment inside one record costs a
//! comparison. Only bytes that came before a header or hello byte that is still missing are kept,
//! in the bounded pools of [`Reassembly`]. Of bytes that come twice the first copy counts, whatever
//! the second says.
//!
//! TLS may start late: behind STARTTLS, a request to a proxy, a PROXY header. The first
//! [`SEARCH_BYTES`] of a stream that is not TLS are searched in order for a hello; after that one
//! comparison tells whether a segment begins with one. A hello far away in sequence space from
//! where the stream is belongs to another connection on the same ports, whose SYN was not seen.
//! There is no second hello otherwise: one after a HelloRetryRequest or of a renegotiation is
//! passed over.
//!
//! This and `hello` are all that reads payload. What leaves are the types in `burst/record.rs`.

use super::handshake::Handshake;
use super::ja4::Fingerprinter;
use super::reassembly::{HELLO_BYTES, Held, Reassembly, StreamKey, ahead};
use super::{Found, Parser, hello};
use crate::burst::{
    BURST_RECORDS, Carrier, ContentType, Direction, FlowId, Headers, Packets, Record, ServerHello,
};
use crate::time::Nanos;

/// The streams of the flows, by flow and direction; the flow table is one.
pub trait Streams {
    /// The stream of this direction of a flow that is in the table, and that of the other one.
    fn streams(&mut self, flow: FlowId, direction: Direction) -> [&mut Stream; 2];

    /// Whether a TCP segment can hold nothing of interest, told without a look at its payload: it is
    /// an acknowledgment, or a part of a record's body. To walk it would change nothing.
    fn tells_nothing(&mut self, flow: FlowId, direction: Direction, headers: &Headers) -> bool {
        tells_nothing(headers, self.streams(flow, direction))
    }

    /// The streams of a flow have been walked.
    fn walked(&mut self, _flow: FlowId) {}

    /// The handshake of a UDP flow that is in the table.
    fn handshake(&mut self, flow: FlowId) -> &mut Handshake;
}

/// What the walk counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WalkCounters {
    /// Record headers seen.
    pub records: u64,
    /// Times a stream lost its place.
    pub lost: u64,
    /// ClientHellos read.
    pub client_hellos: u64,
    /// Frames of which a capture holds less payload than was on the wire.
    pub cut_frames: u64,
    /// QUIC Initials opened.
    pub initials: u64,
    /// QUIC Initials that the keys of their own connection id do not open.
    pub initials_unopened: u64,
}

/// One direction of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    held: Held,
    /// Sequence number of the next byte that must be looked at.
    next: u32,
    phase: Phase,
    /// Bytes of a record header that a segment boundary has split.
    header: [u8; HEADER_BYTES],
    header_have: u8,
    /// Bytes of the present handshake record not yet read.
    hello_left: u16,
    /// The hello has been read or given up: handshake records are skipped like all others.
    hello_done: bool,
    /// A part of the hello is in the pool.
    hello_kept: bool,
    /// Segments of this stream wait in the pool for their turn (or did, if they were pushed out).
    waiting: bool,
    /// The SYN has been seen, so that what is not TLS at the start never was.
    started: bool,
    /// What is being read came behind something else: if it is no hello, it is no TLS.
    late: bool,
    /// Bytes that are still searched for a late hello.
    search_left: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No place known: the connection is met in the middle, or the place was lost.
    Searching,
    /// `next` is (inside) a record header.
    Header,
    /// `next` is inside a handshake record that is being read.
    Hello,
    /// Not TLS so far. `next` counts while there are bytes to search.
    Foreign,
}

const HEADER_BYTES: usize = 5;
/// A missing byte this far behind is given up.
const HOLE_BYTES_MAX: u32 = 1 << 20;
/// RFC 8446, 5.2: 2^14 + 256, and what TLS 1.2 allows on top (RFC 5246, 6.2.3).
const RECORD_BYTES_MAX: u16 = 16_384 + 2_048;
/// A mail client says a few hundred bytes before STARTTLS, a PROXY header has up to 536, a CONNECT
/// with credentials one or two thousand.
const SEARCH_BYTES: u16 = 4096;

impl Stream {
    /// A stream whose start has not been seen. `number` is unique in an lcore's life.
    #[must_use]
    pub fn new(number: u64) -> Self {
        Self {
            held: Held::new(StreamKey(number)),
            next: 0,
            phase: Phase::Searching,
            header: [0; HEADER_BYTES],
            header_have: 0,
            hello_left: 0,
            hello_done: false,
            hello_kept: false,
            waiting: false,
            started: false,
            late: false,
            search_left: SEARCH_BYTES,
        }
    }

    /// The SYN, or an answer to it, has been seen: the stream starts at `seq`.
    pub fn start(&mut self, seq: u32) {
        if self.phase == Phase::Searching && !self.hello_done {
            self.started = true;
            self.begin(seq);
        }
    }

    /// It is not TLS.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.phase == Phase::Foreign
    }

    /// Its place is not known: it was met in the middle, or bytes were lost.
    #[must_use]
    pub fn is_searching(&self) -> bool {
        self.phase == Phase::Searching
    }

    /// A record header is at `seq`.
    fn begin(&mut self, seq: u32) {
        self.next = seq;
        self.phase = Phase::Header;
        self.header_have = 0;
    }

    /// Whether nothing in this segment can be of interest.
    fn ignores(&self, payload: &[u8]) -> bool {
        self.phase == Phase::Foreign
            && self.search_left == 0
            && payload.first() != Some(&CONTENT_HANDSHAKE)
    }

    /// Sequence number of the next byte that must be looked at.
    #[must_use]
    pub fn next(&self) -> u32 {
        self.next
    }

    /// Its records are walked, and nothing waits for its turn.
    #[must_use]
    pub fn is_walking(&self) -> bool {
        matches!(self.phase, Phase::Header | Phase::Hello) && !self.waiting
    }

    /// Segments wait for their turn.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.waiting
    }

    /// Puts a record header together that segment boundaries have split. Returns what it says, and
    /// how many bytes this segment had of it; moves on and returns nothing while some are missing.
    fn gather_header(&mut self, rest: &[u8]) -> Option<(Option<(ContentType, u16)>, usize)> {
        let have = usize::from(self.header_have);
        let taken = rest.len().min(HEADER_BYTES - have);
        for (to, from) in self.header.iter_mut().skip(have).zip(rest) {
            *to = *from;
        }
        let have = have + taken;
        let plausible = self.header.get(..have).is_some_and(may_begin_record);
        if plausible && have < HEADER_BYTES {
            // At most five, both.
            self.header_have = u8::try_from(have).unwrap_or(0);
            self.next = self.next.wrapping_add(u32::try_from(taken).unwrap_or(0));
            return None;
        }
        self.header_have = 0;
        Some((parse_header(&self.header).filter(|_| plausible), taken))
    }

    /// Forgets the hello before: another one is at `seq`.
    fn restart(&mut self, seq: u32, pools: &mut Reassembly) {
        self.drop_hello(pools);
        self.hello_done = false;
        self.begin(seq);
    }

    fn drop_hello(&mut self, pools: &mut Reassembly) {
        if self.hello_kept {
            pools.release_hello(&mut self.held);
            self.hello_kept = false;
        }
    }

    fn lose(&mut self, pools: &mut Reassembly, counters: &mut WalkCounters) {
        self.drop_hello(pools);
        self.header_have = 0;
        if self.phase == Phase::Foreign {
            self.search_left = 0;
        } else {
            self.phase = Phase::Searching;
            counters.lost += 1;
        }
    }
}

#[inline]
fn tells_nothing(headers: &Headers, [stream, opposite]: [&mut Stream; 2]) -> bool {
    let Headers { tcp, payload_bytes, payload_wire_bytes, .. } = headers;
    if tcp.flags.syn() || payload_bytes != payload_wire_bytes || opposite.waiting {
        return false;
    }
    *payload_bytes == 0 || (stream.is_walking() && is_body(stream.next, tcp.seq, *payload_bytes))
}

/// Whether a segment ends before the next byte that must be looked at, as nearly all do that lie in
/// the body of a record. Bytes behind a hole are none of this.
#[inline]
#[must_use]
pub fn is_body(next: u32, seq: u32, bytes: u32) -> bool {
    let start = ahead(next, seq);
    start >= 0 && (bytes..=HOLE_BYTES_MAX).contains(&start.unsigned_abs())
}

/// Walks the records of one TCP frame, on the stream of its direction; the other one is there for
/// what the frame says about it.
#[inline]
pub(super) fn segment(
    found: Found,
    headers: &Headers,
    payload: &[u8],
    packets: &mut Packets,
    [stream, opposite]: [&mut Stream; 2],
    parser: &mut Parser,
) {
    let Found { packet, flow, direction } = found;
    let Some(&at) = packets.at.get(packet) else { return };
    let Parser { streams: pools, fingerprinter, counters, .. } = parser;
    let flags = headers.tcp.flags;
    let reverse = direction.reverse();
    let mut walk = Walk { packet, at, flow, direction: reverse, packets, counters, fingerprinter };
    if opposite.waiting {
        walk.notice_loss(headers, opposite, pools);
    }
    if flags.syn() && flags.ack() {
        opposite.start(headers.tcp.ack);
    }
    walk.direction = direction;
    if flags.syn() {
        stream.start(headers.tcp.seq.wrapping_add(1));
    }
    walk.counters.cut_frames += u64::from(headers.payload_bytes < headers.payload_wire_bytes);
    if payload.is_empty() || stream.ignores(payload) {
        return;
    }
    let seq = headers.tcp.seq.wrapping_add(u32::from(flags.syn()));
    walk.segment(stream, pools, seq, payload);
    if stream.waiting && stream.phase != Phase::Searching {
        walk.catch_up(stream, pools);
    }
}

/// One walk: where what it finds goes.
struct Walk<'a> {
    packet: usize,
    at: Nanos,
    flow: FlowId,
    direction: Direction,
    packets: &'a mut Packets,
    counters: &'a mut WalkCounters,
    fingerprinter: &'a mut Fingerprinter,
}

impl Walk<'_> {
    /// A receiver that acknowledges bytes we still wait for has got them past us: the capture
    /// missed them. `stream` is one that waits.
    fn notice_loss(&mut self, headers: &Headers, stream: &mut Stream, pools: &mut Reassembly) {
        if !headers.tcp.flags.ack() {
            return;
        }
        let beyond = ahead(headers.tcp.ack, stream.next);
        if stream.phase == Phase::Searching && beyond >= 0 {
            // Nothing comes before what is kept.
            self.resume(stream, pools);
        } else if beyond > 0 {
            stream.lose(pools, self.counters);
            self.resume(stream, pools);
        }
    }

    /// One segment of payload that starts at `seq`.
    fn segment(&mut self, stream: &mut Stream, pools: &mut Reassembly, seq: u32, bytes: &[u8]) {
        if !find_place(stream, pools, seq, bytes) {
            return;
        }
        loop {
            let start = ahead(stream.next, seq);
            if start.unsigned_abs() > HOLE_BYTES_MAX {
                if stream.phase != Phase::Foreign && begins_hello(bytes) {
                    stream.restart(seq, pools);
                    continue;
                }
                if start > 0 {
                    return;
                }
                // Nobody will send these bytes again, and nobody acknowledges where we can see it.
                stream.lose(pools, self.counters);
                return self.segment(stream, pools, seq, bytes);
            }
            if start < 0 {
                pools.keep(&mut stream.held, seq, bytes);
                stream.waiting = true;
                return;
            }
            // `start` is not negative, and a place past the end of the segment is none of its
            // business.
            let Some(rest) = bytes.get(start.cast_unsigned() as usize..).filter(|r| !r.is_empty())
            else {
                return;
            };
            match stream.phase {
                Phase::Header => self.header(stream, pools, rest),
                Phase::Hello => self.hello(stream, pools, rest),
                Phase::Foreign => search(stream, rest),
                Phase::Searching => return,
            }
        }
    }

    /// Goes on with kept segments whose turn has come.
    fn catch_up(&mut self, stream: &mut Stream, pools: &mut Reassembly) {
        let mut bytes = pools.lend_scratch();
        while let Some(seq) = pools.take(&stream.held, Some(stream.next), &mut bytes) {
            self.segment(stream, pools, seq, &bytes);
        }
        pools.return_scratch(bytes);
        stream.waiting = pools.kept(&stream.held) > 0;
    }

    /// Goes on after a loss: the kept segments, in order, from the first that starts with a record
    /// header.
    fn resume(&mut self, stream: &mut Stream, pools: &mut Reassembly) {
        let mut bytes = pools.lend_scratch();
        for _ in 0..pools.kept(&stream.held) {
            let Some(seq) = pools.take(&stream.held, None, &mut bytes) else { break };
            self.segment(stream, pools, seq, &bytes);
        }
        pools.return_scratch(bytes);
        stream.waiting = pools.kept(&stream.held) > 0;
    }

    fn header(&mut self, stream: &mut Stream, pools: &mut Reassembly, rest: &[u8]) {
        let (header, taken) = match rest.first_chunk() {
            // As a rule it is whole.
            Some(header) if stream.header_have == 0 => (parse_header(header), HEADER_BYTES),
            _ => match stream.gather_header(rest) {
                Some(gathered) => gathered,
                None => return,
            },
        };
        // At most five.
        let taken = u32::try_from(taken).unwrap_or(0);
        stream.next = stream.next.wrapping_add(taken);
        let Some((content, length)) = header else {
            // Before the hello it never was TLS; after it a header is missing that we thought to
            // know.
            if stream.hello_done || !stream.started {
                stream.lose(pools, self.counters);
            } else {
                stream.drop_hello(pools);
                stream.phase = Phase::Foreign;
                stream.next = stream.next.wrapping_sub(taken);
            }
            return;
        };
        if !self.emit(content, length) {
            stream.lose(pools, self.counters);
            return;
        }
        if content == ContentType::Handshake && !stream.hello_done && length > 0 {
            stream.phase = Phase::Hello;
            stream.hello_left = length;
        } else {
            // Past any other record there is no hello to come.
            if content == ContentType::ApplicationData {
                stream.hello_done = true;
                stream.drop_hello(pools);
            }
            stream.next = stream.next.wrapping_add(u32::from(length));
        }
    }

    /// Puts a record into the burst; false when the burst has no room for it.
    fn emit(&mut self, content: ContentType, length: u16) -> bool {
        if self.packets.records.len() >= BURST_RECORDS {
            return false;
        }
        self.counters.records += 1;
        self.packets.records.push(Record {
            // A burst has at most BURST_FRAMES frames.
            packet: u16::try_from(self.packet).unwrap_or(u16::MAX),
            at: self.at,
            flow: self.flow,
            direction: self.direction,
            content,
            length,
        });
        true
    }

    fn hello(&mut self, stream: &mut Stream, pools: &mut Reassembly, rest: &[u8]) {
        let part = rest.get(..usize::from(stream.hello_left)).unwrap_or(rest);
        // A part is no longer than `hello_left`.
        stream.hello_left -= u16::try_from(part.len()).unwrap_or(stream.hello_left);
        stream.next = stream.next.wrapping_add(u32::try_from(part.len()).unwrap_or(0));
        if stream.hello_left == 0 {
            stream.phase = Phase::Header;
        }
        let hello = self.read_hello(stream, pools, part);
        if hello == Hello::Incomplete {
            return;
        }
        stream.drop_hello(pools);
        if hello == Hello::None && stream.late {
            stream.phase = Phase::Foreign;
            return;
        }
        // The answer to another hello is still to come.
        stream.hello_done = hello != Hello::Retry;
        stream.next = stream.next.wrapping_add(u32::from(stream.hello_left));
        stream.phase = Phase::Header;
    }

    /// Reads the hello from `part` alone when it is whole there, else from the pool.
    fn read_hello(&mut self, stream: &mut Stream, pools: &mut Reassembly, part: &[u8]) -> Hello {
        if !stream.hello_kept {
            if let Some(message) = whole_message(part) {
                return self.message(message);
            }
            if !may_begin_message(part) {
                return Hello::None;
            }
        }
        stream.hello_kept = true;
        let Some(kept) = pools.extend_hello(&mut stream.held, part) else { return Hello::None };
        match whole_message(kept) {
            Some(message) => self.message(message),
            None if may_begin_message(kept) => Hello::Incomplete,
            None => Hello::None,
        }
    }

    /// A whole handshake message.
    fn message(&mut self, message: &[u8]) -> Hello {
        match message.first() {
            Some(&CLIENT_HELLO) => self.client_hello(message),
            Some(&SERVER_HELLO) => {
                let Some(facts) = hello::server_hello(message) else { return Hello::None };
                let hello::ServerFacts { version, cipher, h2, retry } = facts;
                if retry {
                    return Hello::Retry;
                }
                let (packet, flow) = (self.packet_index(), self.flow);
                self.packets.server_hellos.push(ServerHello { packet, flow, version, cipher, h2 });
                Hello::Read
            }
            _ => Hello::None,
        }
    }

    fn client_hello(&mut self, message: &[u8]) -> Hello {
        let carrier = Carrier::Tcp;
        let Some(facts) = hello::client_hello(message, carrier, self.fingerprinter) else {
            return Hello::None;
        };
        self.counters.client_hellos += 1;
        let Self { packet, flow, direction, .. } = *self;
        facts.keep(Found { packet, flow, direction }, carrier, self.packets);
        Hello::Read
    }

    /// A burst has at most BURST_FRAMES frames.
    fn packet_index(&self) -> u16 {
        u16::try_from(self.packet).unwrap_or(u16::MAX)
    }
}

/// What became of a hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hello {
    Incomplete,
    Read,
    /// A HelloRetryRequest.
    Retry,
    /// Another message, or one that cannot be read.
    None,
}

/// Whether the walk has a place in this segment, or finds one.
fn find_place(stream: &mut Stream, pools: &mut Reassembly, seq: u32, bytes: &[u8]) -> bool {
    match stream.phase {
        Phase::Header | Phase::Hello => true,
        Phase::Foreign => {
            // Where segments stand in for the start of a hello, their sequence need not: some
            // stacks send bytes that do not count.
            if begins_hello(bytes) {
                stream.late = true;
                stream.begin(seq);
            }
            stream.phase == Phase::Header || stream.search_left > 0
        }
        Phase::Searching => {
            let far = ahead(stream.next, seq).unsigned_abs() > HOLE_BYTES_MAX;
            if stream.hello_done && far && begins_hello(bytes) {
                stream.restart(seq, pools);
            } else if may_begin_record(bytes) {
                stream.begin(seq);
            } else if !stream.hello_done && stream.search_left > 0 {
                let is_first = stream.search_left == SEARCH_BYTES;
                stream.next = seq;
                search(stream, bytes);
                if is_first && stream.phase == Phase::Searching {
                    // The segment before it may still come.
                    pools.keep(&mut stream.held, seq, bytes);
                    stream.waiting = true;
                }
            }
            stream.phase == Phase::Header
        }
    }
}

/// Looks for a late hello in the first bytes of a stream: where a segment, a line or a preamble of
/// known length has ended. One inside something else is not the connection's own (OpenVPN).
fn search(stream: &mut Stream, rest: &[u8]) {
    let within = rest.len().min(usize::from(stream.search_left));
    let is_start = |&n: &usize| {
        let before = n.checked_sub(1).and_then(|n| rest.get(n));
        before.is_none_or(|&byte| byte == b'\n') && rest.get(n..).is_some_and(may_begin_hello)
    };
    let found = (0..within).find(is_start);
    let passed = match found {
        Some(passed) => passed,
        None => preamble_bytes(rest).unwrap_or(rest.len()),
    };
    if found.is_some() {
        stream.late = true;
        stream.phase = Phase::Header;
        stream.header_have = 0;
    }
    // There are at most SEARCH_BYTES to search.
    stream.search_left -= u16::try_from(passed.min(within)).unwrap_or(0);
    stream.next = stream.next.wrapping_add(u32::try_from(passed).unwrap_or(0));
}

/// The length of what may stand before TLS and tells its own length.
fn preamble_bytes(bytes: &[u8]) -> Option<usize> {
    match *bytes {
        // PROXY protocol, version 2: a signature, two bytes, a length.
        [
            b'\r',
            b'\n',
            b'\r',
            b'\n',
            0,
            b'\r',
            b'\n',
            b'Q',
            b'U',
            b'I',
            b'T',
            b'\n',
            _,
            _,
            a,
            b,
            ..,
        ] => Some(16 + usize::from(u16::from_be_bytes([a, b]))),
        // PostgreSQL's SSLRequest.
        [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f, ..] => Some(8),
        // MySQL's, the first packet of the client.
        [32, 0, 0, 1, ..] => Some(36),
        // TPKT (RFC 1006, 6), which carries RDP.
        [3, 0, a, b, ..] => Some(usize::from(u16::from_be_bytes([a, b])).max(4)),
        _ => None,
    }
}

/// Type and length of a record, if these five bytes can be a record header.
fn parse_header(
    &[content, major, minor, high, low]: &[u8; HEADER_BYTES],
) -> Option<(ContentType, u16)> {
    let content = match content {
        20 => ContentType::ChangeCipherSpec,
        21 => ContentType::Alert,
        CONTENT_HANDSHAKE => ContentType::Handshake,
        23 => ContentType::ApplicationData,
        _ => return None,
    };
    let length = u16::from_be_bytes([high, low]);
    (major == 3 && minor <= VERSION_MINOR_MAX && length <= RECORD_BYTES_MAX)
        .then_some((content, length))
}

/// Whether a record header may be here, as far as the bytes go.
fn may_begin_record(bytes: &[u8]) -> bool {
    let mut header = [23, 3, 3, 0, 0];
    for (to, from) in header.iter_mut().zip(bytes) {
        *to = *from;
    }
    parse_header(&header).is_some()
}

/// Whether a handshake record that carries a hello is here. Sure enough for any segment of any
/// stream: some 50 bits must be right.
fn begins_hello(bytes: &[u8]) -> bool {
    bytes.len() >= 11 && may_begin_hello(bytes)
}

/// The same, as far as the bytes go.
fn may_begin_hello(bytes: &[u8]) -> bool {
    let (header, message) = bytes.split_at_checked(HEADER_BYTES).unwrap_or((bytes, &[]));
    if header.first() != Some(&CONTENT_HANDSHAKE) || !may_begin_record(header) {
        return false;
    }
    // A record may hold less than the whole message.
    let length = <&[u8; HEADER_BYTES]>::try_from(header)
        .map_or(usize::MAX, |&[.., high, low]| u16::from_be_bytes([high, low]).into());
    let message = message.get(..length).unwrap_or(message);
    length > 0
        && may_begin_message(message)
        && message.get(4).is_none_or(|&major| major == 3)
        && message.get(5).is_none_or(|&minor| minor <= VERSION_MINOR_MAX)
}

/// Whether a hello of a length that can be kept may be here, as far as the bytes go.
fn may_begin_message(bytes: &[u8]) -> bool {
    let length = bytes.first_chunk().map(|&[_, a, b, c]| u32::from_be_bytes([0, a, b, c]) as usize);
    bytes.first().is_none_or(|&kind| matches!(kind, CLIENT_HELLO | SERVER_HELLO))
        && length.is_none_or(|length| length + 4 <= HELLO_BYTES)
}

/// The handshake message at the start of `bytes` (RFC 8446, 4), if it is there to its end.
fn whole_message(bytes: &[u8]) -> Option<&[u8]> {
    let &[_, a, b, c] = bytes.first_chunk()?;
    bytes.get(..4 + u32::from_be_bytes([0, a, b, c]) as usize)
}

const CONTENT_HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
/// TLS 1.3 writes 3.3; a draft, or somebody who has misread it, 3.4.
const VERSION_MINOR_MAX: u8 = 4;

#[cfg(test)]
mod tests;
