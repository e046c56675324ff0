//! Walks TLS record headers along a TCP stream and reads the one hello of each direction.
//!
//! A stream remembers the sequence number of the next byte it must look at, which is as a rule the
//! next record header. The bytes between are skipped without being looked at, so that loss or
//! reordering inside a record body costs nothing, and a data segment inside one record costs a
//! comparison. Only bytes that came before a header or hello byte that is still missing are kept,
//! in the bounded pools of [`Reassembly`].
//!
//! This and `hello` are all that reads payload. What leaves are the types in `burst/record.rs`.

use super::reassembly::{Reassembly, StreamKey, ahead};
use super::{Found, Parser, hello};
use crate::burst::{
    BURST_RECORDS, Carrier, ClientHello, ContentType, Direction, FlowId, Headers, Packets, Record,
    ServerHello,
};
use crate::time::Nanos;

/// The streams of the flows, by flow and direction; the flow table is one.
pub trait Streams {
    /// The stream of one direction of a flow that is in the table.
    fn stream(&mut self, flow: FlowId, direction: Direction) -> &mut Stream;
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
}

/// One direction of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    key: StreamKey,
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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No place known: the connection is met in the middle, or the place was lost.
    Searching,
    /// `next` is (inside) a record header.
    Header,
    /// `next` is inside a handshake record that is being read.
    Hello,
    /// Not TLS: nothing to look at.
    Foreign,
}

const HEADER_BYTES: usize = 5;
/// A missing byte this far behind is given up.
const HOLE_BYTES_MAX: i32 = 1 << 20;
/// RFC 8446, 5.2: 2^14 + 256, and what TLS 1.2 allows on top (RFC 5246, 6.2.3).
const RECORD_BYTES_MAX: u16 = 16_384 + 2_048;

impl Stream {
    /// A stream whose start has not been seen. `number` is unique in an lcore's life.
    #[must_use]
    pub fn new(number: u64) -> Self {
        Self {
            key: StreamKey(number),
            next: 0,
            phase: Phase::Searching,
            header: [0; HEADER_BYTES],
            header_have: 0,
            hello_left: 0,
            hello_done: false,
            hello_kept: false,
            waiting: false,
        }
    }

    /// The SYN has been seen: the stream starts at `seq`.
    fn start(&mut self, seq: u32) {
        if self.phase == Phase::Searching {
            self.next = seq;
            self.phase = Phase::Header;
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

    fn lose(&mut self, counters: &mut WalkCounters) {
        self.phase = Phase::Searching;
        self.header_have = 0;
        self.hello_done = true;
        counters.lost += 1;
    }
}

/// Walks the records of one TCP frame.
pub(super) fn segment(
    found: Found,
    headers: &Headers,
    payload: &[u8],
    packets: &mut Packets,
    streams: &mut impl Streams,
    parser: &mut Parser,
) {
    let Found { packet, flow, direction } = found;
    let Some(&at) = packets.at.get(packet) else { return };
    let Parser { streams: pools, counters, .. } = parser;
    let reverse = direction.reverse();
    let mut walk = Walk { packet, at, flow, direction: reverse, packets, counters };
    walk.notice_loss(headers, streams.stream(flow, reverse), pools);
    walk.direction = direction;
    let stream = streams.stream(flow, direction);
    if headers.tcp.flags.syn() {
        stream.start(headers.tcp.seq.wrapping_add(1));
    }
    walk.counters.cut_frames += u64::from(headers.payload_bytes < headers.payload_wire_bytes);
    if payload.is_empty() || stream.phase == Phase::Foreign {
        return;
    }
    let seq = headers.tcp.seq.wrapping_add(u32::from(headers.tcp.flags.syn()));
    walk.segment(stream, pools, seq, payload);
    if stream.waiting {
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
}

impl Walk<'_> {
    /// A receiver that acknowledges bytes we still wait for has got them past us: the capture
    /// missed them.
    fn notice_loss(&mut self, headers: &Headers, stream: &mut Stream, pools: &mut Reassembly) {
        if stream.waiting && headers.tcp.flags.ack() && ahead(headers.tcp.ack, stream.next) > 0 {
            stream.lose(self.counters);
            self.resume(stream, pools);
        }
    }

    /// One segment of payload that starts at `seq`.
    fn segment(&mut self, stream: &mut Stream, pools: &mut Reassembly, seq: u32, bytes: &[u8]) {
        if stream.phase == Phase::Searching {
            if bytes.first_chunk().is_none_or(|header| parse_header(header).is_none()) {
                return;
            }
            stream.next = seq;
            stream.phase = Phase::Header;
        }
        loop {
            let start = ahead(stream.next, seq);
            if start < -HOLE_BYTES_MAX {
                // Nobody will send these bytes again, and nobody acknowledges where we can see it.
                stream.lose(self.counters);
                return self.segment(stream, pools, seq, bytes);
            }
            if start < 0 {
                pools.keep(stream.key, seq, bytes);
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
                Phase::Header => self.header(stream, rest),
                Phase::Hello => self.hello(stream, pools, rest),
                Phase::Searching | Phase::Foreign => return,
            }
        }
    }

    /// Goes on with kept segments whose turn has come.
    fn catch_up(&mut self, stream: &mut Stream, pools: &mut Reassembly) {
        let mut bytes = pools.lend_scratch();
        while let Some(seq) = pools.take(stream.key, stream.next, true, &mut bytes) {
            self.segment(stream, pools, seq, &bytes);
        }
        pools.return_scratch(bytes);
        stream.waiting = pools.kept(stream.key) > 0;
    }

    /// Goes on after a loss: the kept segments, in order, from the first that starts with a record
    /// header.
    fn resume(&mut self, stream: &mut Stream, pools: &mut Reassembly) {
        let mut bytes = pools.lend_scratch();
        for _ in 0..pools.kept(stream.key) {
            let Some(seq) = pools.take(stream.key, stream.next, false, &mut bytes) else { break };
            self.segment(stream, pools, seq, &bytes);
        }
        pools.return_scratch(bytes);
        stream.waiting = pools.kept(stream.key) > 0;
    }

    fn header(&mut self, stream: &mut Stream, rest: &[u8]) {
        let have = usize::from(stream.header_have);
        let taken = rest.len().min(HEADER_BYTES - have);
        for (to, from) in stream.header.iter_mut().skip(have).zip(rest) {
            *to = *from;
        }
        // At most five, both.
        stream.header_have += u8::try_from(taken).unwrap_or(0);
        stream.next = stream.next.wrapping_add(u32::try_from(taken).unwrap_or(0));
        if usize::from(stream.header_have) < HEADER_BYTES {
            return;
        }
        stream.header_have = 0;
        let Some((content, length)) = parse_header(&stream.header) else {
            // Before the hello it never was TLS; after it a header is missing that we thought to
            // know.
            if stream.hello_done {
                stream.lose(self.counters);
            } else {
                stream.phase = Phase::Foreign;
            }
            return;
        };
        if !self.emit(content, length) {
            stream.lose(self.counters);
            return;
        }
        if content == ContentType::Handshake && !stream.hello_done && length > 0 {
            stream.phase = Phase::Hello;
            stream.hello_left = length;
        } else {
            // Past any other record there is no hello to come.
            stream.hello_done |= content == ContentType::ApplicationData;
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
        if self.read_hello(stream, pools, part) == Hello::Incomplete {
            return;
        }
        if stream.hello_kept {
            pools.release_hello(stream.key);
        }
        stream.hello_done = true;
        stream.next = stream.next.wrapping_add(u32::from(stream.hello_left));
        stream.phase = Phase::Header;
    }

    /// Reads the hello from `part` alone when it is whole there, else from the pool.
    fn read_hello(&mut self, stream: &mut Stream, pools: &mut Reassembly, part: &[u8]) -> Hello {
        if !stream.hello_kept
            && let Some(message) = whole_message(part)
        {
            return self.message(message);
        }
        stream.hello_kept = true;
        let Some(kept) = pools.extend_hello(stream.key, part) else { return Hello::None };
        whole_message(kept).map_or(Hello::Incomplete, |message| self.message(message))
    }

    /// A whole handshake message.
    fn message(&mut self, message: &[u8]) -> Hello {
        let packet = u16::try_from(self.packet).unwrap_or(u16::MAX);
        let (flow, direction) = (self.flow, self.direction);
        match message.first() {
            Some(&CLIENT_HELLO) => {
                let Some(facts) = hello::client_hello(message, Carrier::Tcp) else {
                    return Hello::None;
                };
                self.counters.client_hellos += 1;
                let hello::ClientFacts { sni, alpn, version, ja4, ech } = facts;
                self.packets.client_hellos.push(ClientHello {
                    packet,
                    flow,
                    direction,
                    carrier: Carrier::Tcp,
                    sni,
                    alpn,
                    version,
                    ja4,
                    ech,
                });
                Hello::Read
            }
            Some(&SERVER_HELLO) => {
                let Some(facts) = hello::server_hello(message) else { return Hello::None };
                let hello::ServerFacts { version, cipher, h2 } = facts;
                self.packets.server_hellos.push(ServerHello { packet, flow, version, cipher, h2 });
                Hello::Read
            }
            _ => Hello::None,
        }
    }
}

/// What became of a hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hello {
    Incomplete,
    Read,
    /// Another message, or one that cannot be read.
    None,
}

/// Type and length of a record, if these five bytes can be a record header.
fn parse_header(
    &[content, major, _, high, low]: &[u8; HEADER_BYTES],
) -> Option<(ContentType, u16)> {
    let content = match content {
        20 => ContentType::ChangeCipherSpec,
        21 => ContentType::Alert,
        22 => ContentType::Handshake,
        23 => ContentType::ApplicationData,
        _ => return None,
    };
    let length = u16::from_be_bytes([high, low]);
    (major == 3 && length <= RECORD_BYTES_MAX).then_some((content, length))
}

/// The handshake message at the start of `bytes` (RFC 8446, 4), if it is there to its end.
fn whole_message(bytes: &[u8]) -> Option<&[u8]> {
    let &[_, a, b, c] = bytes.first_chunk()?;
    bytes.get(..4 + u32::from_be_bytes([0, a, b, c]) as usize)
}

const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::burst::{Address, Burst, Datagram, Frame, PortIndex, Protocol, Tcp, TcpFlags};
    use crate::parse::{Parser, handshakes};

    struct Bytes(Vec<u8>);
    impl Frame for Bytes {
        fn bytes(&self) -> &[u8] {
            &self.0
        }
    }

    struct Pair([Stream; 2]);
    impl Streams for Pair {
        fn stream(&mut self, _: FlowId, direction: Direction) -> &mut Stream {
            &mut self.0[direction.index()]
        }
    }

    /// Gives segments (sequence number, payload) of one direction to the walk, a burst each.
    struct Rig {
        streams: Pair,
        parser: Parser,
        lengths: Vec<u16>,
    }

    impl Rig {
        fn new() -> Self {
            let mut streams = Pair([Stream::new(1), Stream::new(2)]);
            streams.0[0].start(1000);
            Self { streams, parser: Parser::default(), lengths: Vec::new() }
        }

        fn give(&mut self, direction: Direction, tcp: Tcp, payload: &[u8]) {
            let mut burst = Burst::new();
            burst.begin(Nanos(1));
            burst.push(Bytes(payload.to_vec()), Nanos(1), PortIndex(0), 0);
            let bytes = u32::try_from(payload.len()).unwrap();
            burst.packets.headers[0] = Some(Headers {
                source: Address::default(),
                destination: Address::default(),
                source_port: 1,
                destination_port: 443,
                protocol: Protocol::Tcp,
                tcp,
                datagram: Datagram::Other,
                network_offset: 0,
                transport_offset: 0,
                payload_offset: 0,
                payload_bytes: bytes,
                payload_wire_bytes: bytes,
            });
            burst.packets.flow[0] = Some((FlowId(0), direction));
            handshakes(&mut burst, &mut self.streams, &mut self.parser);
            self.lengths.extend(burst.packets.records.iter().map(|record| record.length));
        }

        fn up(&mut self, offset: u32, payload: &[u8]) {
            let tcp = Tcp { seq: 1000 + offset, flags: TcpFlags(0x10), ..Tcp::default() };
            self.give(Direction::ToServer, tcp, payload);
        }

        fn acknowledged(&mut self, offset: u32) {
            let tcp = Tcp { ack: 1000 + offset, flags: TcpFlags(0x10), ..Tcp::default() };
            self.give(Direction::ToClient, tcp, &[]);
        }
    }

    fn record(length: u16) -> Vec<u8> {
        let [high, low] = length.to_be_bytes();
        let mut bytes = vec![23, 3, 3, high, low];
        bytes.resize(5 + usize::from(length), 0xaa);
        bytes
    }

    fn stream(lengths: &[u16]) -> Vec<u8> {
        lengths.iter().flat_map(|&length| record(length)).collect()
    }

    #[test]
    fn records_are_found_wherever_segments_split_them() {
        let bytes = stream(&[10, 0, 300, 7]);
        for size in 1..60 {
            let mut rig = Rig::new();
            for (n, part) in bytes.chunks(size).enumerate() {
                rig.up(u32::try_from(n * size).unwrap(), part);
            }
            assert_eq!(rig.lengths, [10, 0, 300, 7], "segments of {size} bytes");
        }
    }

    #[test]
    fn a_segment_that_overtakes_a_header_waits_for_it() {
        let bytes = stream(&[10, 20, 30]);
        let mut rig = Rig::new();
        rig.up(15, &bytes[15..]);
        assert_eq!(rig.lengths, [] as [u16; 0]);
        rig.up(0, &bytes[..15]);
        assert_eq!(rig.lengths, [10, 20, 30]);
        assert_eq!(rig.parser.streams.kept(StreamKey(1)), 0);
    }

    #[test]
    fn a_hole_inside_a_body_costs_nothing() {
        let bytes = stream(&[1000, 20]);
        let mut rig = Rig::new();
        rig.up(0, &bytes[..100]);
        rig.up(900, &bytes[900..]);
        assert_eq!((rig.lengths.as_slice(), rig.parser.counters.lost), (&[1000, 20][..], 0));
    }

    #[test]
    fn what_the_receiver_acknowledged_is_not_waited_for() {
        let bytes = stream(&[10, 20, 30]);
        let mut rig = Rig::new();
        rig.up(15, &bytes[15..40]);
        rig.acknowledged(40);
        assert_eq!((rig.lengths.as_slice(), rig.parser.counters.lost), (&[20][..], 1));
        rig.up(40, &bytes[40..]);
        assert_eq!(rig.lengths, [20, 30]);
    }

    #[test]
    fn what_is_sent_again_is_seen_once() {
        let bytes = stream(&[10, 20]);
        let mut rig = Rig::new();
        rig.up(0, &bytes);
        rig.up(0, &bytes[..20]);
        rig.up(5, &bytes[5..]);
        assert_eq!(rig.lengths, [10, 20]);
    }

    #[test]
    fn plain_text_is_left_alone() {
        let mut rig = Rig::new();
        rig.up(0, b"GET / HTTP/1.1\r\n\r\n");
        rig.up(18, &record(10));
        assert!(rig.streams.0[0].phase == Phase::Foreign && rig.lengths.is_empty());
    }
}
