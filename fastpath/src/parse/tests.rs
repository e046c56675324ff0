//! Frames made in code, one fact a test, and arbitrary ones.
#![allow(clippy::indexing_slicing, reason = "a test may panic")]

use proptest::prelude::*;

use super::*;
use crate::burst::{Address, Headers, Link, PortIndex};
use crate::telemetry::reasons::PassReason;
use crate::time::Nanos;

struct Bytes(Vec<u8>);

impl Frame for Bytes {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

const MACS: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];

pub(super) fn ethernet(tags: &[u8], ethertype: u16, packet: &[u8]) -> Vec<u8> {
    [&MACS, tags, &ethertype.to_be_bytes(), packet].concat()
}

/// TCP from 40000 to 443, sequence 1,000, ACK, with `options` (a multiple of four).
pub(super) fn tcp(options: &[u8], payload: &[u8]) -> Vec<u8> {
    let words = u8::try_from(5 + options.len() / 4).unwrap();
    let header =
        [0x9c, 0x40, 0x01, 0xbb, 0, 0, 3, 0xe8, 0, 0, 0, 9, words << 4, 0x18, 1, 0, 0, 0, 0, 0];
    [&header, options, payload].concat()
}

pub(super) fn udp(payload: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(8 + payload.len()).unwrap().to_be_bytes();
    [&[0x9c, 0x40, 0x01, 0xbb, high, low, 0, 0], payload].concat()
}

pub(super) fn v4(protocol: u8, options: &[u8], fragment: u16, transport: &[u8]) -> Vec<u8> {
    let words = u8::try_from(5 + options.len() / 4).unwrap();
    let [high, low] = u16::try_from(20 + options.len() + transport.len()).unwrap().to_be_bytes();
    let [fragment_high, fragment_low] = fragment.to_be_bytes();
    let header = [
        0x40 | words,
        0,
        high,
        low,
        0,
        0,
        fragment_high,
        fragment_low,
        64,
        protocol,
        0,
        0, //
        198,
        51,
        100,
        1,
        203,
        0,
        113,
        9,
    ];
    [&header, options, transport].concat()
}

/// IPv6 with extension headers: pairs of type and content, whose first byte is set to the next
/// type.
pub(super) fn v6(extensions: &[(u8, &[u8])], protocol: u8, transport: &[u8]) -> Vec<u8> {
    let types: Vec<u8> = extensions.iter().map(|&(kind, _)| kind).chain([protocol]).collect();
    let mut payload = Vec::new();
    for (i, (_, content)) in extensions.iter().enumerate() {
        payload.push(types[i + 1]);
        payload.extend(&content[1..]);
    }
    payload.extend(transport);
    let [high, low] = u16::try_from(payload.len()).unwrap().to_be_bytes();
    let mut header = vec![0x60, 0, 0, 0, high, low, types[0], 64];
    header.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    header.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    [header, payload].concat()
}

fn frame_headers(frame: &[u8], wire_bytes: usize) -> Result<Headers, PassReason> {
    let mut fragments = Fragments::default();
    let mut walk = Walk { fragments: &mut fragments, now: Nanos(1) };
    walk.frame(Link::Ethernet, frame, wire_bytes)
}

fn read(frame: &[u8]) -> Result<Headers, PassReason> {
    frame_headers(frame, frame.len())
}

fn hello() -> Vec<u8> {
    tcp(&[], b"hello")
}

#[test]
fn a_tcp_segment_is_read_whole() {
    let headers = read(&ethernet(&[], 0x0800, &v4(6, &[], 0x4000, &hello()))).unwrap();
    assert_eq!(headers.source.to_string(), "198.51.100.1");
    assert_eq!(headers.destination.to_string(), "203.0.113.9");
    assert_eq!((headers.source_port, headers.destination_port), (40_000, 443));
    assert_eq!((headers.tcp.seq, headers.tcp.ack, headers.tcp.window), (1_000, 9, 256));
    assert!(headers.tcp.flags.ack() && !headers.tcp.flags.syn());
    assert_eq!((headers.network_offset, headers.transport_offset), (14, 34));
    assert_eq!(headers.payload(), 54..59);
    assert_eq!(headers.payload_wire_bytes, 5);
}

#[test]
fn three_vlan_tags_are_looked_behind_and_a_fourth_is_not() {
    let packet = v4(6, &[], 0, &hello());
    let tags = [0x88, 0xa8, 0, 1, 0x91, 0, 0, 2, 0x81, 0, 0, 3, 0x81, 0, 0, 4];
    assert_eq!(read(&ethernet(&tags[..12], 0x0800, &packet)).unwrap().network_offset, 26);
    assert_eq!(read(&ethernet(&tags, 0x0800, &packet)), Err(PassReason::NotIp));
}

#[test]
fn neither_arp_nor_lldp_nor_a_length_is_ip() {
    for ethertype in [0x0806, 0x88cc, 60, 1500] {
        assert_eq!(read(&ethernet(&[], ethertype, &[0; 60])), Err(PassReason::NotIp));
    }
    assert_eq!(read(&MACS), Err(PassReason::TruncatedEthernet));
    assert_eq!(read(&ethernet(&[0x81, 0, 0, 1], 0, &[])[..16]), Err(PassReason::TruncatedEthernet));
}

#[test]
fn ethernet_padding_is_no_payload() {
    let mut frame = ethernet(&[], 0x0800, &v4(6, &[], 0, &tcp(&[], b"")));
    frame.resize(60, 0xee);
    let headers = read(&frame).unwrap();
    assert_eq!((headers.payload_bytes, headers.payload_wire_bytes), (0, 0));
}

#[test]
fn options_of_ip_and_tcp_are_skipped() {
    let packet = v4(6, &[1; 8], 0, &tcp(&[1; 12], b"x"));
    let headers = read(&ethernet(&[], 0x0800, &packet)).unwrap();
    assert_eq!((headers.transport_offset, headers.payload_offset), (42, 74));
    assert_eq!(headers.payload_bytes, 1);
}

#[test]
fn a_capture_that_cut_the_frame_still_knows_the_length_on_the_wire() {
    let frame = ethernet(&[], 0x0800, &v4(6, &[], 0, &tcp(&[1; 12], &[7; 1000])));
    let headers = frame_headers(&frame[..96], frame.len()).unwrap();
    assert_eq!((headers.payload_bytes, headers.payload_wire_bytes), (30, 1000));
    let headers = frame_headers(&frame[..60], frame.len()).unwrap();
    assert_eq!((headers.payload(), headers.payload_wire_bytes), (60..60, 1000));
    assert_eq!(frame_headers(&frame[..53], frame.len()), Err(PassReason::TruncatedTransport));
    assert_eq!(frame_headers(&frame[..33], frame.len()), Err(PassReason::TruncatedIp));
}

#[test]
fn a_total_length_of_zero_means_the_rest_of_the_frame() {
    let mut packet = v4(6, &[], 0, &hello());
    packet[2..4].fill(0);
    assert_eq!(read(&ethernet(&[], 0x0800, &packet)).unwrap().payload_bytes, 5);
}

#[test]
fn a_fragment_without_the_others_opens_nothing() {
    for fragment in [0x2000, 0x2001, 0x0001, 0x1fff] {
        let frame = ethernet(&[], 0x0800, &v4(6, &[], fragment, &hello()));
        assert!(read(&frame).map_or_else(|r| r == PassReason::Fragment, |h| h.is_part()));
    }
    for fragment in [[0, 0, 0, 1, 0, 0, 0, 9], [0, 0, 0, 8, 0, 0, 0, 9]] {
        let frame = ethernet(&[], 0x86dd, &v6(&[(44, &fragment)], 6, &hello()));
        assert!(read(&frame).map_or_else(|r| r == PassReason::Fragment, |h| h.is_part()));
    }
}

#[test]
fn an_atomic_fragment_is_a_whole_packet() {
    let frame = ethernet(&[], 0x86dd, &v6(&[(44, &[0, 0, 0, 0, 0, 0, 0, 9])], 6, &hello()));
    assert_eq!(read(&frame).unwrap().payload_bytes, 5);
}

#[test]
fn ipv6_extension_headers_are_walked() {
    let short = [0, 0, 1, 4, 0, 0, 0, 0];
    let long = [&[0, 2][..], &[0; 22]].concat();
    let extensions = [(0, &short[..]), (43, &long[..]), (60, &short[..])];
    let headers = read(&ethernet(&[], 0x86dd, &v6(&extensions, 17, &udp(b"quic")))).unwrap();
    assert_eq!(headers.source, Address::from("2001:db8::1".parse::<std::net::IpAddr>().unwrap()));
    assert_eq!((headers.protocol, headers.transport_offset), (Protocol::Udp, 94));
    assert_eq!(headers.payload(), 102..106);
}

#[test]
fn more_extension_headers_than_anyone_sends_are_malformed() {
    let one = (60, &[0, 0, 1, 4, 0, 0, 0, 0][..]);
    assert_eq!(
        read(&ethernet(&[], 0x86dd, &v6(&[one; 8], 6, &hello()))),
        Err(PassReason::MalformedIp)
    );
    let beyond = (60, &[0, 200, 1, 4, 0, 0, 0, 0][..]);
    assert_eq!(
        read(&ethernet(&[], 0x86dd, &v6(&[beyond], 6, &hello()))),
        Err(PassReason::MalformedIp)
    );
}

#[test]
fn headers_that_contradict_themselves_are_named() {
    let with = |at: usize, byte: u8| {
        let mut frame = ethernet(&[], 0x0800, &v4(6, &[], 0, &hello()));
        frame[at] = byte;
        read(&frame)
    };
    assert_eq!(with(14, 0x65), Err(PassReason::MalformedIp), "version 6 behind ethertype IPv4");
    assert_eq!(with(14, 0x44), Err(PassReason::MalformedIp), "header of 16 bytes");
    assert_eq!(with(17, 19), Err(PassReason::MalformedIp), "total shorter than the header");
    assert_eq!(with(17, 39), Err(PassReason::MalformedTransport), "no room for TCP");
    assert_eq!(with(46, 0x40), Err(PassReason::MalformedTransport), "TCP header of 16 bytes");
    assert_eq!(with(46, 0x70), Err(PassReason::MalformedTransport), "TCP header beyond the packet");
    assert_eq!(with(23, 1), Err(PassReason::NotTransport), "ICMP");
}

#[test]
fn a_udp_length_above_the_ip_length_is_malformed() {
    let mut datagram = udp(b"abc");
    datagram[5] = 12;
    let frame = ethernet(&[], 0x0800, &v4(17, &[], 0, &datagram));
    assert_eq!(read(&frame), Err(PassReason::MalformedTransport));
}

#[test]
fn a_frame_that_passes_unread_is_counted() {
    let mut burst = Burst::new();
    for frame in [ethernet(&[], 0x0806, &[0; 28]), ethernet(&[], 0x0800, &v4(6, &[], 0, &hello()))]
    {
        let len = u32::try_from(frame.len()).unwrap();
        burst.push(Bytes(frame), Nanos(1), PortIndex(0), len);
    }
    let mut passes = Passes::default();
    headers(&mut burst, &mut Parser::default(), &mut passes);
    assert!(burst.packets.headers[0].is_none());
    assert!(burst.packets.headers[1].is_some());
    assert_eq!(passes.count(PassReason::NotIp), 1);
}

/// What every `Headers` promises to later stages.
fn assert_sound(frame: &[u8], wire_bytes: usize) {
    if let Ok(headers) = frame_headers(frame, wire_bytes) {
        assert!(headers.payload().end <= frame.len());
        assert!(headers.payload_bytes <= headers.payload_wire_bytes);
        assert!(headers.network_offset < headers.transport_offset);
        assert!(u32::from(headers.transport_offset) < headers.payload_offset);
    }
}

/// One valid frame of each kind.
fn valid() -> [Vec<u8>; 5] {
    let extensions = [(0, &[0, 0, 1, 4, 0, 0, 0, 0][..]), (44, &[0, 0, 0, 0, 0, 0, 0, 9][..])];
    [
        ethernet(&[], 0x0800, &v4(6, &[], 0, &hello())),
        ethernet(&[0x81, 0, 0, 1], 0x0800, &v4(6, &[1; 12], 0, &tcp(&[1; 20], &[3; 80]))),
        ethernet(&[], 0x0800, &v4(17, &[], 0, &udp(b"quic"))),
        ethernet(&[], 0x86dd, &v6(&extensions, 6, &hello())),
        ethernet(&[0x88, 0xa8, 0, 1, 0x81, 0, 0, 1], 0x86dd, &v6(&[], 17, &udp(&[5; 40]))),
    ]
}

proptest! {
    #[test]
    fn arbitrary_bytes_give_sound_headers_or_none(
        frame in prop::collection::vec(any::<u8>(), 0..200),
        wire_bytes in 0_usize..2000,
    ) {
        assert_sound(&frame, wire_bytes);
    }

    #[test]
    fn mutated_frames_give_sound_headers_or_none(
        kind in 0_usize..5,
        mutations in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
        more_on_the_wire in 0_usize..2000,
    ) {
        let mut frame = valid()[kind].clone();
        for (at, byte) in mutations {
            let at = at.index(frame.len());
            frame[at] = byte;
        }
        frame.truncate(cut.index(frame.len()) + 1);
        assert_sound(&frame, frame.len() + more_on_the_wire);
    }
}
