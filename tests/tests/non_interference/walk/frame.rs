//! The headers of a frame, as far as the second walk follows them: Ethernet with tags, IPv4 and
//! IPv6 with extension headers, TCP and UDP. No fragments, no tunnels.

use std::ops::Range;

/// Sender, receiver, ports.
pub(super) type Way = [u8; 36];

/// A TCP segment in a frame.
pub(super) struct Segment {
    pub(super) way: Way,
    /// Where the network's and the transport's headers begin.
    pub(super) network: usize,
    pub(super) tcp: usize,
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) syn: bool,
    pub(super) payload: Range<usize>,
}

/// What IP carries in a frame.
struct Packet<'a> {
    protocol: u8,
    source: &'a [u8],
    destination: &'a [u8],
    /// Where the transport header begins, and the packet ends.
    transport: Range<usize>,
}

const TCP: u8 = 6;
const UDP: u8 = 17;
/// Ports behind which a tunnel may lie, whose inner headers are read: VXLAN, Geneve, GTP-U, Teredo,
/// L2TP.
const TUNNEL_PORTS: [u16; 7] = [4789, 8472, 4790, 6081, 2152, 3544, 1701];

/// The segment in a frame that holds all of it.
pub(super) fn segment(frame: &[u8]) -> Option<Segment> {
    let packet = packet(frame)?;
    let tcp = packet.transport.start;
    if packet.protocol != TCP {
        return None;
    }
    let payload = tcp + usize::from(*frame.get(tcp + 12)? >> 4) * 4..packet.transport.end;
    let mut way = [0; 36];
    way[..packet.source.len()].copy_from_slice(packet.source);
    way[16..16 + packet.destination.len()].copy_from_slice(packet.destination);
    way[32..].copy_from_slice(frame.get(tcp..tcp + 4)?);
    let [seq, ack] = [tcp + 4, tcp + 8].map(|at| frame.get(at..)?.first_chunk().copied());
    let [seq, ack] = [seq?, ack?].map(u32::from_be_bytes);
    let network = network(frame)?;
    let syn = frame.get(tcp + 13)? & 2 != 0;
    (payload.start <= payload.end).then_some(Segment { way, network, tcp, seq, ack, syn, payload })
}

/// The payload of a UDP datagram that is no tunnel's, in a frame that holds all of it.
pub(super) fn datagram(frame: &[u8]) -> Option<Range<usize>> {
    let packet = packet(frame)?;
    let udp = packet.transport.start;
    if packet.protocol != UDP {
        return None;
    }
    let [a, b, c, d, high, low, ..] = *frame.get(udp..)? else { return None };
    let ports = [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])];
    let end = udp + usize::from(u16::from_be_bytes([high, low]));
    let right = udp + 8 <= end && end <= packet.transport.end;
    (right && !ports.iter().any(|port| TUNNEL_PORTS.contains(port))).then_some(udp + 8..end)
}

/// Payload of a frame in bytes, whether or not the walk can follow it: what stands behind the
/// shortest headers there are.
pub(super) fn payload_bytes(frame: &[u8]) -> usize {
    match (segment(frame), datagram(frame)) {
        (Some(segment), _) => segment.payload.len(),
        (None, Some(payload)) => payload.len(),
        (None, None) => frame.len().saturating_sub(HEADERS_BYTES_MIN),
    }
}

/// Ethernet, IPv4, UDP.
const HEADERS_BYTES_MIN: usize = 14 + 20 + 8;

fn packet(frame: &[u8]) -> Option<Packet<'_>> {
    let network = network(frame)?;
    match *frame.get(network - 2..network)? {
        [0x08, 0x00] => v4(frame, network),
        [0x86, 0xdd] => v6(frame, network),
        _ => None,
    }
}

/// Where the network's header begins: behind the type that stands behind the tags.
fn network(frame: &[u8]) -> Option<usize> {
    let mut at = 12;
    while let [0x81, 0x00] | [0x88, 0xa8] | [0x91, 0x00] = *frame.get(at..at + 2)? {
        at += 4;
    }
    Some(at + 2)
}

fn v4(frame: &[u8], at: usize) -> Option<Packet<'_>> {
    let header = frame.get(at..at + 20)?;
    let end = at + usize::from(u16::from_be_bytes([header[2], header[3]]));
    let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
    let transport = at + usize::from(header[0] & 15) * 4..end;
    let whole = !fragment && header[0] >> 4 == 4 && end <= frame.len();
    (whole && transport.start <= end).then_some(Packet {
        protocol: header[9],
        source: &header[12..16],
        destination: &header[16..20],
        transport,
    })
}

fn v6(frame: &[u8], at: usize) -> Option<Packet<'_>> {
    let header = frame.get(at..at + 40)?;
    let end = at + 40 + usize::from(u16::from_be_bytes([header[4], header[5]]));
    let (mut protocol, mut start) = (header[6], at + 40);
    // Hop-by-hop, routing and destination options, mobility, host identity, shim6.
    while [0, 43, 60, 135, 139, 140].contains(&protocol) {
        let &[next, length] = frame.get(start..)?.first_chunk()?;
        (protocol, start) = (next, start + 8 + 8 * usize::from(length));
    }
    let (source, destination) = (&header[8..24], &header[24..40]);
    (end <= frame.len() && start <= end).then_some(Packet {
        protocol,
        source,
        destination,
        transport: start..end,
    })
}
