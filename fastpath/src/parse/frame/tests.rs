//! One segment in every encapsulation, in fragments of every order, and damaged.
#![allow(clippy::indexing_slicing, reason = "a test may panic")]

use proptest::prelude::*;

use super::*;
use crate::parse::tests::{ethernet, tcp, udp, v4, v6};

/// The segment inside: from 198.51.100.1:40000 to 203.0.113.9:443.
fn inner() -> Vec<u8> {
    v4(6, &[], 0, &tcp(&[], b"hello"))
}

/// The same from 2001:db8::1 to 2001:db8::2.
fn inner_v6() -> Vec<u8> {
    v6(&[], 6, &tcp(&[], b"hello"))
}

fn inner_frame() -> Vec<u8> {
    ethernet(&[0x81, 0, 0, 7], 0x0800, &inner())
}

/// A packet around `payload`, between addresses that are not those of the segment.
fn around(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = v4(protocol, &[], 0, payload);
    packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    packet
}

fn over_ip(protocol: u8, header: &[u8], inside: &[u8]) -> Vec<u8> {
    ethernet(&[], 0x0800, &around(protocol, &[header, inside].concat()))
}

fn over_udp(port: u16, header: &[u8], inside: &[u8]) -> Vec<u8> {
    let mut datagram = udp(&[header, inside].concat());
    datagram[2..4].copy_from_slice(&port.to_be_bytes());
    ethernet(&[], 0x0800, &around(17, &datagram))
}

fn behind(header: &[u8], inside: &[u8]) -> Vec<u8> {
    [header, inside].concat()
}

/// A PPPoE session header in front of PPP.
fn pppoe(ppp: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(ppp.len()).unwrap().to_be_bytes();
    behind(&[0x11, 0, 0, 9, high, low], ppp)
}

fn gtp(flags: u8, optional: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(optional.len() + inner().len()).unwrap().to_be_bytes();
    behind(&[flags, 255, high, low, 0, 0, 0, 5], optional)
}

/// A Teredo packet: the segment between an address with its prefix and another.
fn teredo() -> Vec<u8> {
    let mut packet = inner_v6();
    packet[8..12].copy_from_slice(&[0x20, 1, 0, 0]);
    packet
}

/// On the wire: the segment behind every link header, and in every tunnel.
fn on_a_wire() -> Vec<(&'static str, Vec<u8>)> {
    let (inner, v6, frame) = (inner(), inner_v6(), inner_frame());
    let snap = behind(&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0], &inner);
    let vlan_in_mpls = behind(&[0, 0, 1, 64], &frame);
    let label = |bottom: u8, inside: &[u8]| behind(&[0, 1, 0x20 | bottom, 64], inside);
    vec![
        ("802.3 SNAP", ethernet(&[], 60, &snap)),
        ("MPLS", ethernet(&[], 0x8847, &label(0, &label(1, &inner)))),
        ("MPLS IPv6", ethernet(&[], 0x8848, &label(1, &v6))),
        ("pseudowire", ethernet(&[], 0x8847, &label(1, &frame))),
        ("control word", ethernet(&[], 0x8847, &label(1, &behind(&[0; 4], &frame)))),
        ("VLAN, MPLS", ethernet(&[0x81, 0, 0, 1], 0x8847, &label(1, &vlan_in_mpls[4..]))),
        ("PPPoE", ethernet(&[0x88, 0xa8, 0, 1], 0x8864, &pppoe(&behind(&[0, 0x21], &inner)))),
        ("PPPoE compressed", ethernet(&[], 0x8864, &pppoe(&behind(&[0x57], &v6)))),
        ("PPPoE, MPLS", ethernet(&[], 0x8864, &pppoe(&behind(&[2, 0x81], &label(1, &inner))))),
        ("backbone", ethernet(&[], 0x88e7, &behind(&[0, 0, 0, 9], &frame))),
        ("NSH", ethernet(&[], 0x894f, &behind(&[0, 6, 1, 3], &behind(&[0; 20], &frame)))),
        ("IP in IP", over_ip(4, &[], &inner)),
        ("6in4", over_ip(41, &[], &v6)),
        ("AH", over_ip(51, &[4, 4, 0, 0, 0, 0, 0, 1], &behind(&[0; 16], &inner))),
        ("4in6", ethernet(&[], 0x86dd, &crate::parse::tests::v6(&[], 4, &inner))),
        ("EtherIP", over_ip(97, &[0x30, 0], &frame)),
        ("MPLS in IP", over_ip(137, &[0, 0, 1, 9], &inner)),
        ("GRE", over_ip(47, &[0, 0, 8, 0], &inner)),
        (
            "GRE with all fields",
            over_ip(47, &[0xb0, 0, 0x86, 0xdd, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2], &v6),
        ),
        ("GRE, Ethernet", over_ip(47, &[0x20, 0, 0x65, 0x58, 0, 0, 0, 1], &frame)),
        ("GRE, MPLS", over_ip(47, &[0, 0, 0x88, 0x47, 0, 0, 1, 9], &inner)),
        ("ERSPAN I", over_ip(47, &[0, 0, 0x88, 0xbe], &frame)),
        ("ERSPAN II", over_ip(47, &[0x10, 0, 0x88, 0xbe, 0, 0, 0, 1], &behind(&[0x10; 8], &frame))),
        (
            "ERSPAN III",
            over_ip(47, &[0x10, 0, 0x22, 0xeb, 0, 0, 0, 1], &behind(&[0x21; 20], &frame)),
        ),
        (
            "PPTP",
            over_ip(
                47,
                &[0x30, 0x81, 0x88, 0x0b, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0xff, 3, 0x21],
                &inner,
            ),
        ),
        ("VXLAN", over_udp(4789, &[8, 0, 0, 0, 0, 0, 1, 0], &frame)),
        ("VXLAN of Linux", over_udp(8472, &[8, 0, 0, 0, 0, 0, 1, 0], &frame)),
        ("VXLAN-GPE", over_udp(4790, &[0x0c, 0, 0, 2, 0, 0, 1, 0], &v6)),
        ("Geneve", over_udp(6081, &[1, 0, 0x65, 0x58, 0, 0, 1, 0, 9, 9, 9, 9], &frame)),
        ("GTP-U", over_udp(2152, &gtp(0x30, &[]), &inner)),
        ("GTP-U with options", over_udp(2152, &gtp(0x36, &[0, 1, 0, 0x85, 1, 16, 5, 0]), &inner)),
        (
            "Teredo",
            over_udp(
                3544,
                &[0, 1, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 1, 1, 1, 1, 1, 1],
                &teredo(),
            ),
        ),
        ("L2TP", over_udp(1701, &[0x42, 2, 0, 42, 0, 1, 0, 1, 0, 0, 0xff, 3, 0, 0x21], &inner)),
        ("MPLS in UDP", over_udp(6635, &[0, 0, 1, 9], &inner)),
        ("CAPWAP", over_udp(5247, &[0, 0x10, 2, 0, 0, 0, 0, 0], &frame)),
        ("TZSP", over_udp(37008, &[1, 0, 0, 1, 0, 10, 1, 5, 1], &frame)),
        ("three deep", over_ip(4, &[], &around(47, &behind(&[0, 0, 8, 0], &around(4, &inner))))),
    ]
}

/// In captures: the segment behind every link type but Ethernet.
fn in_a_capture() -> Vec<(&'static str, Link, Vec<u8>)> {
    let (inner, v6) = (inner(), inner_v6());
    let mut sll = vec![0; 14];
    sll.extend([0x81, 0, 0, 1, 8, 0]);
    let mut sll2 = vec![0; 20];
    sll2[..2].copy_from_slice(&[0x86, 0xdd]);
    let llc = [0xaa, 0xaa, 3, 0, 0, 0, 8, 0];
    let quality = behind(&[0x88, 1], &[&[0; 24][..], &llc, &inner].concat());
    let aligned = behind(&[0x88, 1], &[&[0; 26][..], &llc, &inner].concat());
    let nflog = [2, 0, 0, 0, 8, 0, 1, 0, 8, 0, 0, 0, 5, 0, 10, 0, b'x', 0, 0, 0, 90, 0, 9, 0];
    vec![
        ("IPv4", Link::Ip, inner.clone()),
        ("IPv6", Link::Ip, v6.clone()),
        ("little-endian", Link::Null, behind(&[2, 0, 0, 0], &inner)),
        ("big-endian", Link::Null, behind(&[0, 0, 0, 30], &v6)),
        ("OpenBSD", Link::Loop, behind(&[0, 0, 0, 24], &v6)),
        ("cooked, with a tag", Link::LinuxSll, behind(&sll, &inner)),
        ("cooked 2", Link::LinuxSll2, behind(&sll2, &v6)),
        ("PPP", Link::Ppp, behind(&[0, 0x21], &inner)),
        ("PPP in HDLC framing", Link::PppSerial, behind(&[0xff, 3, 0, 0x21], &inner)),
        ("HDLC among PPP", Link::PppSerial, behind(&[0x0f, 0, 8, 0], &inner)),
        ("PPPoE", Link::PppEther, pppoe(&behind(&[0, 0x57], &v6))),
        ("HDLC", Link::CiscoHdlc, behind(&[0x8f, 0, 0x86, 0xdd], &v6)),
        ("802.11", Link::Ieee80211, quality.clone()),
        ("802.11 aligned", Link::Ieee80211, aligned),
        ("radiotap", Link::Radiotap, behind(&[0, 0, 8, 0, 0, 0, 0, 0], &quality)),
        ("NFLOG", Link::Nflog, behind(&nflog, &inner)),
    ]
}

fn all() -> Vec<(&'static str, Link, Vec<u8>)> {
    let wire = on_a_wire().into_iter().map(|(name, frame)| (name, Link::Ethernet, frame));
    wire.chain(in_a_capture()).collect()
}

fn read_in(fragments: &mut Fragments, now: Nanos, frame: &[u8]) -> Result<Headers, PassReason> {
    Walk { fragments, now }.frame(Link::Ethernet, frame, frame.len())
}

fn read_alone(link: Link, frame: &[u8], wire_bytes: usize) -> Result<Headers, PassReason> {
    let mut fragments = Fragments::default();
    Walk { fragments: &mut fragments, now: Nanos(1) }.frame(link, frame, wire_bytes)
}

#[test]
fn the_flow_is_that_of_the_innermost_packet() {
    for (name, link, frame) in all() {
        let headers = read_alone(link, &frame, frame.len());
        let headers = headers.unwrap_or_else(|reason| panic!("{name}: {reason:?}"));
        let ports = (headers.source_port, headers.destination_port, headers.protocol);
        assert_eq!(ports, (40_000, 443, Protocol::Tcp), "{name}");
        let source = headers.source.to_string();
        assert!(source == "198.51.100.1" || source.starts_with("2001:"), "{name}: {source}");
        assert_eq!(&frame[headers.payload()], b"hello", "{name}");
    }
}

#[test]
fn a_port_alone_is_no_tunnel() {
    for port in [1701, 2152, 3544, 4789, 4790, 5247, 6081, 6635, 8472, 37008] {
        for payload in [&b"no tunnel header"[..], &[0; 64], &[8, 0, 0, 0, 0, 0, 1, 0, 1, 2, 3]] {
            let frame = over_udp(port, payload, &[]);
            let headers = read_alone(Link::Ethernet, &frame, frame.len()).unwrap();
            assert_eq!((headers.destination_port, headers.protocol), (port, Protocol::Udp));
        }
    }
}

#[test]
fn a_packet_longer_than_its_tunnel_is_not_looked_into() {
    let mut longer = inner();
    longer[3] += 1;
    let frame = over_ip(4, &[], &longer);
    assert_eq!(read_alone(Link::Ethernet, &frame, frame.len()), Err(PassReason::MalformedIp));
    let frame = over_udp(2152, &gtp(0x30, &[]), &longer);
    let headers = read_alone(Link::Ethernet, &frame, frame.len()).unwrap();
    assert_eq!(headers.destination_port, 2152);
}

#[test]
fn a_fifth_packet_inside_is_not_looked_into() {
    let nested = |depth: usize| {
        let packet = (0..depth).fold(inner(), |packet, _| around(4, &packet));
        let frame = ethernet(&[], 0x0800, &packet);
        read_alone(Link::Ethernet, &frame, frame.len())
    };
    assert!(nested(4).is_ok());
    assert_eq!(nested(5), Err(PassReason::NestedTooDeep));
}

/// A segment with 40 bytes of payload in four fragments: offset, more, bytes.
fn pieces() -> Vec<(usize, bool, Vec<u8>)> {
    let payload: Vec<u8> = (0..40).collect();
    let segment = tcp(&[], &payload);
    let pieces = segment.chunks(16).enumerate();
    pieces.map(|(n, bytes)| (16 * n, 16 * (n + 1) < segment.len(), bytes.to_vec())).collect()
}

fn v4_fragment(offset: usize, more: bool, bytes: &[u8]) -> Vec<u8> {
    let field = u16::try_from(offset / 8).unwrap() | if more { 0x2000 } else { 0 };
    ethernet(&[], 0x0800, &v4(6, &[], field, bytes))
}

fn v6_fragment(offset: usize, more: bool, bytes: &[u8]) -> Vec<u8> {
    let [high, low] = (u16::try_from(offset).unwrap() | u16::from(more)).to_be_bytes();
    ethernet(&[], 0x86dd, &v6(&[(44, &[0, 0, high, low, 0, 0, 0, 9])], 6, bytes))
}

/// The same in a tunnel that is in fragments itself: those of the inner packet, each in one frame.
fn nested_fragment(offset: usize, more: bool, bytes: &[u8]) -> Vec<u8> {
    over_ip(47, &[0, 0, 8, 0], &v4_fragment(offset, more, bytes)[14..])
}

#[test]
fn fragments_in_every_order_are_joined_by_the_last_to_come() {
    let pieces = pieces();
    for make in [v4_fragment, v6_fragment, nested_fragment] {
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2]] {
            let mut fragments = Fragments::default();
            let mut first_seen = false;
            for (n, &at) in order.iter().enumerate() {
                let (offset, more, bytes) = &pieces[at];
                let read = read_in(&mut fragments, Nanos(1), &make(*offset, *more, bytes));
                first_seen |= at == 0;
                if n < 3 && first_seen {
                    let part = read.unwrap();
                    assert!(part.is_part() && part.payload_wire_bytes == 0);
                    assert_eq!((part.source_port, part.destination_port), (40_000, 443));
                } else if n < 3 {
                    assert_eq!(read, Err(PassReason::Fragment));
                } else {
                    let headers = read.unwrap();
                    let Some(Fragment::Joined(index)) = headers.fragment else { panic!("joined") };
                    let (_, datagram) = fragments.lend(index);
                    assert!(datagram[headers.payload()].iter().copied().eq(0..40));
                    assert_eq!(headers.tcp.seq, 1_000);
                    fragments.give_back(index, datagram);
                }
            }
        }
    }
}

#[test]
fn a_tunnel_in_fragments_is_looked_into() {
    let packet = around(47, &behind(&[0, 0, 8, 0], &inner()));
    let (head, tail) = packet[20..].split_at(24);
    let mut fragments = Fragments::default();
    for (offset, bytes) in [(0, head), (24, tail)] {
        let field = u16::try_from(offset / 8).unwrap() | if offset == 0 { 0x2000 } else { 0 };
        let read =
            read_in(&mut fragments, Nanos(1), &ethernet(&[], 0x0800, &v4(47, &[], field, bytes)));
        match offset {
            0 => assert_eq!(read, Err(PassReason::Fragment)),
            _ => assert_eq!(read.unwrap().payload_bytes, 5),
        }
    }
}

#[test]
fn a_duplicate_is_ignored_and_an_overlap_ends_the_datagram() {
    let pieces = pieces();
    let give = |fragments: &mut Fragments, offset: usize, more: bool, bytes: &[u8]| {
        read_in(fragments, Nanos(1), &v4_fragment(offset, more, bytes))
    };
    let mut fragments = Fragments::default();
    for (offset, more, bytes) in [&pieces[0], &pieces[0], &pieces[2], &pieces[3]] {
        assert!(give(&mut fragments, *offset, *more, bytes).unwrap().is_part());
    }
    assert!(!give(&mut fragments, 16, true, &pieces[1].2).unwrap().is_part());
    assert_eq!(fragments.refused, 0);

    for (offset, more) in [(8, true), (40, true), (16, false)] {
        let mut fragments = Fragments::default();
        give(&mut fragments, 0, true, &pieces[0].2).unwrap();
        give(&mut fragments, 48, false, &pieces[3].2).unwrap();
        let ended = give(&mut fragments, offset, more, &pieces[1].2);
        assert_eq!((ended, fragments.refused), (Err(PassReason::Fragment), 1), "at {offset}");
    }
}

#[test]
fn a_datagram_must_be_whole_within_thirty_seconds() {
    let pieces = pieces();
    for (seconds, whole) in [(30, true), (31, false)] {
        let mut fragments = Fragments::default();
        let last = pieces.len() - 1;
        for (n, (offset, more, bytes)) in pieces.iter().enumerate() {
            let now = if n == last { Nanos::from_secs(1 + seconds) } else { Nanos::from_secs(1) };
            let read = read_in(&mut fragments, now, &v4_fragment(*offset, *more, bytes));
            if n == last {
                assert_eq!(read.is_ok(), whole, "after {seconds} s");
            }
        }
        assert_eq!(fragments.refused, u64::from(!whole));
    }
}

#[test]
fn a_flood_of_unfinished_fragments_pushes_out_the_oldest_and_is_counted() {
    let mut fragments = Fragments::default();
    let (_, _, first) = &pieces()[0];
    for id in 0..1_000_u16 {
        let mut frame = v4_fragment(0, true, first);
        frame[18..20].copy_from_slice(&id.to_be_bytes());
        assert!(read_in(&mut fragments, Nanos(1), &frame).unwrap().is_part());
    }
    assert_eq!(fragments.refused, 1_000 - 256);
}

/// What every `Headers` promises to later stages.
fn assert_sound(link: Link, frame: &[u8], wire_bytes: usize) {
    if let Ok(headers) = read_alone(link, frame, wire_bytes) {
        assert!(headers.payload().end <= frame.len());
        assert!(headers.payload_bytes <= headers.payload_wire_bytes);
    }
}

proptest! {
    #[test]
    fn damaged_encapsulations_give_sound_headers_or_none(
        kind in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
        more_on_the_wire in 0_usize..2000,
    ) {
        let all = all();
        let (_, link, mut frame) = all[kind.index(all.len())].clone();
        for (at, byte) in damage {
            let at = at.index(frame.len());
            frame[at] = byte;
        }
        frame.truncate(cut.index(frame.len()) + 1);
        assert_sound(link, &frame, frame.len() + more_on_the_wire);
    }

    #[test]
    fn arbitrary_bytes_behind_an_encapsulation_give_sound_headers_or_none(
        kind in any::<prop::sample::Index>(),
        kept in any::<prop::sample::Index>(),
        tail in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        let all = all();
        let (_, link, mut frame) = all[kind.index(all.len())].clone();
        frame.truncate(kept.index(frame.len()));
        frame.extend(tail);
        assert_sound(link, &frame, frame.len());
    }

    #[test]
    fn fragments_that_come_anyhow_never_give_a_range_beyond_their_datagram(
        pieces in prop::collection::vec((0_usize..12, any::<bool>(), 0_usize..40), 1..40),
    ) {
        let mut fragments = Fragments::default();
        let segment = tcp(&[], &[7; 80]);
        for (unit, more, len) in pieces {
            let bytes = segment.get(8 * unit..).unwrap_or_default();
            let bytes = &bytes[..len.min(bytes.len())];
            let read = read_in(&mut fragments, Nanos(1), &v4_fragment(8 * unit, more, bytes));
            if let Ok(Headers { fragment: Some(Fragment::Joined(index)), .. }) = read {
                let end = read.map_or(0, |headers| headers.payload().end);
                prop_assert!(end <= fragments.bytes(index));
            }
            fragments.begin_burst();
        }
    }
}
