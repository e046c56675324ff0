//! An RST whose receiver takes it: with exactly the sequence number that it expects next (RFC 5961,
//! 3.2), built from a frame of the same connection.
//!
//! A frame towards the sender of the template says by its acknowledgment number which byte that
//! sender expects; its MAC addresses, tags and IP addresses are used the other way round. Only
//! frames whose outermost IP header is the connection's own serve as a template: inside a tunnel
//! nothing is made.

use crate::act::checksum::Sum;
use crate::burst::{Direction, Headers, Protocol};

/// Bytes of the longest RST: Ethernet with four tags, IPv6 and TCP.
const RESET_BYTES_MAX: usize = 14 + 4 * 4 + 40 + 20;
/// A frame on the wire is no shorter, without FCS (IEEE 802.3).
const FRAME_BYTES_MIN: usize = 60;

const TCP_BYTES: u16 = 20;
/// RST and ACK.
const FLAGS: u8 = 0x14;
const HOPS: u8 = 64;

/// A frame made here.
#[derive(Clone, Copy, Debug)]
pub struct Made {
    bytes: [u8; RESET_BYTES_MAX],
    len: usize,
}

/// The receiver of an RST and what it expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The way of the RST.
    pub toward: Direction,
    /// The sequence number its receiver expects next.
    pub seq: u32,
    /// The acknowledgment number: what its receiver has sent so far.
    pub ack: u32,
}

impl Made {
    /// The frame.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len.max(FRAME_BYTES_MIN)]
    }
}

impl Expected {
    /// What the sender of a segment expects next, as the segment itself says: exact.
    #[must_use]
    pub fn by_sender(headers: &Headers, direction: Direction) -> Option<Self> {
        let tcp = headers.tcp;
        let known = headers.protocol == Protocol::Tcp && !headers.is_part() && tcp.flags.ack();
        known.then(|| Self { toward: direction.reverse(), seq: tcp.ack, ack: next_after(headers) })
    }
}

/// The sequence number behind a segment.
fn next_after(headers: &Headers) -> u32 {
    let flags = headers.tcp.flags;
    let marks = u32::from(flags.syn()) + u32::from(flags.fin());
    headers.tcp.seq.wrapping_add(headers.payload_wire_bytes).wrapping_add(marks)
}

/// The RST of the connection that `template` belongs to. `direction` is the template's. `None` when
/// the template is tunnelled or tagged in a way that is not known.
#[must_use]
pub fn reset(
    template: &[u8],
    headers: &Headers,
    direction: Direction,
    expected: Expected,
) -> Option<Made> {
    let network = usize::from(headers.network_offset);
    if !is_plain_ethernet(template.get(..network)?) {
        return None;
    }
    let reversed = expected.toward != direction;
    let mut made = Made { bytes: [0; RESET_BYTES_MAX], len: 0 };
    made.push(template.get(..network)?)?;
    if reversed {
        let (destination, rest) = made.bytes.split_at_mut(6);
        destination.swap_with_slice(rest.get_mut(..6)?);
    }
    let ip = template.get(network..)?;
    let pseudo = match ip.first()? >> 4 {
        4 => made.push_v4(ip, reversed)?,
        6 => made.push_v6(ip, reversed)?,
        _ => return None,
    };
    let ports = [headers.source_port, headers.destination_port];
    let [from, to] = if reversed { [ports[1], ports[0]] } else { ports };
    let mut tcp = [0; TCP_BYTES as usize];
    tcp[..2].copy_from_slice(&from.to_be_bytes());
    tcp[2..4].copy_from_slice(&to.to_be_bytes());
    tcp[4..8].copy_from_slice(&expected.seq.to_be_bytes());
    tcp[8..12].copy_from_slice(&expected.ack.to_be_bytes());
    tcp[12] = 5 << 4;
    tcp[13] = FLAGS;
    let checksum = pseudo.bytes(&tcp).checksum();
    tcp[16..18].copy_from_slice(&checksum.to_be_bytes());
    made.push(&tcp)?;
    Some(made)
}

impl Made {
    fn push(&mut self, bytes: &[u8]) -> Option<()> {
        self.bytes.get_mut(self.len..self.len + bytes.len())?.copy_from_slice(bytes);
        self.len += bytes.len();
        Some(())
    }

    /// An IPv4 header without options (RFC 791). Gives the sum over the pseudo-header of TCP.
    fn push_v4(&mut self, template: &[u8], reversed: bool) -> Option<Sum> {
        const LENGTH: u16 = 20 + TCP_BYTES;
        let (source, destination) = ordered(template.get(12..16)?, template.get(16..20)?, reversed);
        let mut header = [0; 20];
        header[0] = 0x45;
        header[2..4].copy_from_slice(&LENGTH.to_be_bytes());
        header[6] = 0x40; // do not fragment
        header[8] = HOPS;
        header[9] = 6;
        header[12..16].copy_from_slice(source);
        header[16..20].copy_from_slice(destination);
        let checksum = Sum::default().bytes(&header).checksum();
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        self.push(&header)?;
        Some(pseudo(source, destination))
    }

    /// An IPv6 header without extensions (RFC 8200).
    fn push_v6(&mut self, template: &[u8], reversed: bool) -> Option<Sum> {
        let (source, destination) = ordered(template.get(8..24)?, template.get(24..40)?, reversed);
        let mut header = [0; 40];
        header[0] = 0x60;
        header[4..6].copy_from_slice(&TCP_BYTES.to_be_bytes());
        header[6] = 6;
        header[7] = HOPS;
        header[8..24].copy_from_slice(source);
        header[24..40].copy_from_slice(destination);
        self.push(&header)?;
        Some(pseudo(source, destination))
    }
}

fn ordered<'a>(source: &'a [u8], destination: &'a [u8], reversed: bool) -> (&'a [u8], &'a [u8]) {
    if reversed { (destination, source) } else { (source, destination) }
}

/// Addresses, protocol and length, which the checksum of TCP covers (RFC 9293, 3.1).
fn pseudo(source: &[u8], destination: &[u8]) -> Sum {
    Sum::default().bytes(source).bytes(destination).word(6).word(TCP_BYTES)
}

/// Whether these bytes are two MAC addresses, VLAN tags (IEEE 802.1Q, 802.1ad) and the ethertype of
/// IP.
pub(super) fn is_plain_ethernet(link: &[u8]) -> bool {
    let mut rest = link.get(12..).unwrap_or_default();
    loop {
        match rest {
            [0x81 | 0x91, 0x00, _, _, behind @ ..] | [0x88, 0xa8, _, _, behind @ ..] => {
                rest = behind;
            }
            [0x08, 0x00] | [0x86, 0xdd] => return true,
            _ => return false,
        }
    }
}
