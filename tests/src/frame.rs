//! Frames from scratch: Ethernet, VLAN, IPv4, IPv6, TCP, UDP, and those around others: tunnels and
//! fragments. Checksums are zero, as nothing in the loop reads them.

use std::net::{IpAddr, SocketAddr};

/// FIN.
pub const FIN: u8 = 0x01;
/// SYN.
pub const SYN: u8 = 0x02;
/// RST.
pub const RST: u8 = 0x04;
/// ACK.
pub const ACK: u8 = 0x10;

/// One TCP segment.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// Sender.
    pub source: SocketAddr,
    /// Receiver, of the same family.
    pub destination: SocketAddr,
    /// VLAN of the frame, if it is tagged.
    pub vlan: Option<u16>,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// Control bits.
    pub flags: u8,
    /// Payload.
    pub payload: &'a [u8],
}

/// Where a field stands in an untagged IPv4 frame without options.
pub const V4_SOURCE: usize = ETHERNET + 12;
/// Likewise, the destination address.
pub const V4_DESTINATION: usize = ETHERNET + 16;
/// Likewise, the TCP sequence number.
pub const V4_SEQ: usize = ETHERNET + V4_HEADER + 4;
/// Likewise, the TCP acknowledgment number.
pub const V4_ACK: usize = ETHERNET + V4_HEADER + 8;

const ETHERNET: usize = 14;
const V4_HEADER: usize = 20;
const TCP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// The frame of a segment.
///
/// # Panics
/// When the two addresses are of different families.
#[must_use]
pub fn tcp(segment: &Segment<'_>) -> Vec<u8> {
    let mut frame = Vec::with_capacity(ETHERNET + 4 + 40 + TCP_HEADER + segment.payload.len());
    frame.extend([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
    if let Some(vlan) = segment.vlan {
        frame.extend([0x81, 0x00]);
        frame.extend(vlan.to_be_bytes());
    }
    let transport = TCP_HEADER + segment.payload.len();
    match (segment.source.ip(), segment.destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            frame.extend([0x08, 0x00, 0x45, 0]);
            frame.extend(length(V4_HEADER + transport));
            frame.extend([0, 0, 0x40, 0, 64, TCP, 0, 0]);
            frame.extend(source.octets());
            frame.extend(destination.octets());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(length(transport));
            frame.extend([TCP, 64]);
            frame.extend(source.octets());
            frame.extend(destination.octets());
        }
        _ => panic!("{} and {} are of two families", segment.source, segment.destination),
    }
    frame.extend(segment.source.port().to_be_bytes());
    frame.extend(segment.destination.port().to_be_bytes());
    frame.extend(segment.seq.to_be_bytes());
    frame.extend(segment.ack.to_be_bytes());
    frame.extend([0x50, segment.flags, 0xff, 0xff, 0, 0, 0, 0]);
    frame.extend(segment.payload);
    frame
}

/// The frame of a UDP datagram over IPv4.
///
/// # Panics
/// When an address is of IPv6.
#[must_use]
pub fn udp(source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let (IpAddr::V4(from), IpAddr::V4(to)) = (source.ip(), destination.ip()) else {
        panic!("{source} and {destination} are not both of IPv4");
    };
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00, 0x45, 0];
    frame.extend(length(V4_HEADER + UDP_HEADER + payload.len()));
    frame.extend([0, 0, 0x40, 0, 64, UDP, 0, 0]);
    frame.extend(from.octets());
    frame.extend(to.octets());
    frame.extend(source.port().to_be_bytes());
    frame.extend(destination.port().to_be_bytes());
    frame.extend(length(UDP_HEADER + payload.len()));
    frame.extend([0, 0]);
    frame.extend(payload);
    frame
}

/// Frames that are none of ours: each passes a wire unchanged.
#[must_use]
pub fn foreign() -> Vec<(&'static str, Vec<u8>)> {
    let ethernet = |destination: [u8; 6], kind: [u8; 2], body: &[u8]| {
        [&destination[..], &[2, 0, 0, 0, 0, 2], &kind, body].concat()
    };
    let arp =
        [0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 2, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2];
    let peers = ("192.0.2.1:40000".parse(), "192.0.2.2:443".parse());
    let (Ok(source), Ok(destination)) = peers else { unreachable!("two constant addresses") };
    let jumbo = Segment {
        source,
        destination,
        vlan: None,
        seq: 1,
        ack: 1,
        flags: ACK,
        payload: &[0x17; 8960],
    };
    vec![
        ("ARP", ethernet([0xff; 6], [0x08, 0x06], &arp)),
        ("LLDP", ethernet([1, 0x80, 0xc2, 0, 0, 0x0e], [0x88, 0xcc], &[2, 7, 4, 2, 0, 0, 0, 0, 2])),
        ("spanning tree", ethernet([1, 0x80, 0xc2, 0, 0, 0], [0, 0x26], &[0x42; 38])),
        ("an unknown ethertype", ethernet([2; 6], [0x99, 0x99], &[7; 60])),
        ("four tags", ethernet([2; 6], [0x81, 0], &[0, 1, 0x81, 0, 0, 2, 0x81, 0, 0, 3, 0x81, 0])),
        ("ICMP", ethernet([2; 6], [0x08, 0], &icmp())),
        ("a fragment", ethernet([2; 6], [0x08, 0], &fragment())),
        ("a jumbo frame", tcp(&jumbo)),
        ("one byte", vec![0x5a]),
        ("an Ethernet header alone", ethernet([2; 6], [0x08, 0], &[])),
        ("noise", (0..200_u8).map(|n| n.wrapping_mul(31) ^ 0x5c).collect()),
    ]
}

/// The names of what [`encapsulated`] makes.
pub const ENCAPSULATIONS: [&str; 9] =
    ["none", "two tags", "MPLS", "PPPoE", "IP in IP", "GRE", "VXLAN", "Geneve", "GTP-U"];

/// An untagged Ethernet frame with an IPv4 packet, in the encapsulation of this name.
///
/// # Panics
/// When there is none of this name.
#[must_use]
pub fn encapsulated(name: &str, frame: &[u8]) -> Vec<u8> {
    let (ethernet, packet) = frame.split_at(ETHERNET);
    let macs = &ethernet[..12];
    let between = |header: &[u8]| [macs, header, packet].concat();
    let outer = |protocol: u8, header: &[u8], inside: &[u8]| {
        let bytes = V4_HEADER + header.len() + inside.len();
        let mut packet = vec![0x45, 0];
        packet.extend(length(bytes));
        packet.extend([0, 0, 0x40, 0, 64, protocol, 0, 0, 10, 9, 0, 1, 10, 9, 0, 2]);
        [macs, &[8, 0], &packet, header, inside].concat()
    };
    let over_udp = |port: u16, header: &[u8], inside: &[u8]| {
        let mut udp = [40_000_u16.to_be_bytes(), port.to_be_bytes()].concat();
        udp.extend(length(8 + header.len() + inside.len()));
        udp.extend([0, 0]);
        udp.extend(header);
        outer(17, &udp, inside)
    };
    match name {
        "none" => frame.to_vec(),
        "two tags" => between(&[0x88, 0xa8, 0, 7, 0x81, 0, 0, 9, 8, 0]),
        "MPLS" => between(&[0x88, 0x47, 0, 1, 0, 64, 0, 1, 1, 64]),
        "PPPoE" => {
            let [high, low] = length(2 + packet.len());
            between(&[0x88, 0x64, 0x11, 0, 0, 5, high, low, 0, 0x21])
        }
        "IP in IP" => outer(4, &[], packet),
        "GRE" => outer(47, &[0x20, 0, 8, 0, 0, 0, 0, 7], packet),
        "VXLAN" => over_udp(4789, &[8, 0, 0, 0, 0, 0, 42, 0], frame),
        "Geneve" => over_udp(6081, &[0, 0, 0x65, 0x58, 0, 0, 42, 0], frame),
        "GTP-U" => {
            let [high, low] = length(packet.len());
            over_udp(2152, &[0x30, 255, high, low, 0, 0, 0, 7], packet)
        }
        other => panic!("no encapsulation is called {other}"),
    }
}

/// The fragments of an untagged Ethernet frame with an IPv4 packet, none with more than `bytes` of
/// its payload, which are a multiple of eight.
///
/// # Panics
/// When a fragment would start beyond what a header can tell.
#[must_use]
pub fn fragments(frame: &[u8], id: u16, bytes: usize) -> Vec<Vec<u8>> {
    let (header, payload) = frame.split_at(ETHERNET + V4_HEADER);
    let last = payload.len().saturating_sub(1) / bytes;
    let fragment = |(n, piece): (usize, &[u8])| {
        let unit = u16::try_from(n * bytes / 8).expect("a datagram has 65,535 bytes at most");
        let field = unit | if n < last { 0x2000 } else { 0 };
        let mut fragment = header.to_vec();
        fragment[ETHERNET + 2..ETHERNET + 4].copy_from_slice(&length(V4_HEADER + piece.len()));
        fragment[ETHERNET + 4..ETHERNET + 6].copy_from_slice(&id.to_be_bytes());
        fragment[ETHERNET + 6..ETHERNET + 8].copy_from_slice(&field.to_be_bytes());
        [&fragment, piece].concat()
    };
    payload.chunks(bytes).enumerate().map(fragment).collect()
}

fn icmp() -> Vec<u8> {
    [&[0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2][..], &[8; 8]].concat()
}

fn fragment() -> Vec<u8> {
    [&[0x45, 0, 0, 40, 0, 9, 0x20, 1, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2][..], &[3; 20]].concat()
}

/// A length field of two bytes. No frame here is longer.
fn length(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).unwrap_or(u16::MAX).to_be_bytes()
}
