//! The walk on streams made in code: a segment at a time, in any order.
#![allow(clippy::indexing_slicing, reason = "a test may panic")]

use super::*;
use crate::burst::{Address, Burst, Datagram, Frame, PortIndex, Protocol, Tcp, TcpFlags};
use crate::parse::{Parser, handshakes};

struct Bytes(Vec<u8>);
impl Frame for Bytes {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

struct Pair([Stream; 2], Handshake);
impl Streams for Pair {
    fn stream(&mut self, _: FlowId, direction: Direction) -> &mut Stream {
        &mut self.0[direction.index()]
    }

    fn handshake(&mut self, _: FlowId) -> &mut Handshake {
        &mut self.1
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
        let mut streams = Pair([Stream::new(1), Stream::new(2)], Handshake::new(1));
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
            fragment: None,
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
    assert_eq!(rig.parser.streams.kept(&rig.streams.0[0].held), 0);
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
