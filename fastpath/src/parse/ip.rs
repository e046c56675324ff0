//! The network layer: IPv4 (RFC 791) with options, IPv6 (RFC 8200) with extension headers.
//!
//! Lengths come from the IP header, not from the frame: Ethernet pads short frames, and a capture
//! may cut long ones. Fragments are not joined; each passes as [`PassReason::Fragment`]. Addresses
//! are not judged.

use crate::burst::{Address, Protocol};
use crate::telemetry::reasons::PassReason;

/// IPv4 without options.
const V4_HEADER_BYTES: usize = 20;

/// IPv6 without extension headers.
const V6_HEADER_BYTES: usize = 40;

/// Extension headers that are looked behind; RFC 8200, 4.1 names six in all.
const EXTENSIONS_MAX: usize = 8;

/// An IP packet that carries TCP or UDP, whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet<'a> {
    pub(super) source: Address,
    pub(super) destination: Address,
    pub(super) protocol: Protocol,
    pub(super) transport: Transport<'a>,
}

/// What an IP packet carries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transport<'a> {
    /// Where it starts in the frame.
    pub(super) offset: usize,
    /// Its bytes, as far as the frame holds them.
    pub(super) bytes: &'a [u8],
    /// How many bytes the IP header promises; never fewer than `bytes`.
    pub(super) wire_bytes: usize,
}

/// Reads the IPv4 packet at `offset` of a frame that had `frame_wire_bytes` on the wire.
pub(super) fn v4(
    frame: &[u8],
    offset: usize,
    frame_wire_bytes: usize,
) -> Result<Packet<'_>, PassReason> {
    let packet = frame.get(offset..).unwrap_or_default();
    let header: &[u8; V4_HEADER_BYTES] = packet.first_chunk().ok_or(PassReason::TruncatedIp)?;
    let [version, _, len_high, len_low, _, _, fragment_high, fragment_low, _, protocol, _, _, ..] =
        *header;
    let header_bytes = usize::from(version & 0x0f) * 4;
    if version >> 4 != 4 || header_bytes < V4_HEADER_BYTES {
        return Err(PassReason::MalformedIp);
    }
    let promised = usize::from(u16::from_be_bytes([len_high, len_low]));
    let total_bytes = total_bytes(promised, offset, frame_wire_bytes);
    if total_bytes < header_bytes {
        return Err(PassReason::MalformedIp);
    }
    // More fragments, or not the first one. The don't-fragment bit says nothing here.
    if u16::from_be_bytes([fragment_high, fragment_low]) & 0x3fff != 0 {
        return Err(PassReason::Fragment);
    }
    let protocol = transport_protocol(protocol)?;
    let [.., s0, s1, s2, s3, d0, d1, d2, d3] = *header;
    Ok(Packet {
        source: Address::v4([s0, s1, s2, s3]),
        destination: Address::v4([d0, d1, d2, d3]),
        protocol,
        transport: transport(packet, offset, header_bytes, total_bytes)?,
    })
}

/// Reads the IPv6 packet at `offset` of a frame that had `frame_wire_bytes` on the wire.
pub(super) fn v6(
    frame: &[u8],
    offset: usize,
    frame_wire_bytes: usize,
) -> Result<Packet<'_>, PassReason> {
    let packet = frame.get(offset..).unwrap_or_default();
    let header: &[u8; V6_HEADER_BYTES] = packet.first_chunk().ok_or(PassReason::TruncatedIp)?;
    let [version, _, _, _, len_high, len_low, next_header, ..] = *header;
    if version >> 4 != 6 {
        return Err(PassReason::MalformedIp);
    }
    let promised = match usize::from(u16::from_be_bytes([len_high, len_low])) {
        0 => 0,
        payload_bytes => V6_HEADER_BYTES + payload_bytes,
    };
    let total_bytes = total_bytes(promised, offset, frame_wire_bytes);
    let (protocol, header_bytes) = behind_extensions(packet, next_header, total_bytes)?;
    let addresses = header.split_at_checked(8).map(|(_, addresses)| addresses.as_chunks().0);
    let Some([source, destination]) = addresses else { return Err(PassReason::MalformedIp) };
    Ok(Packet {
        source: Address::v6(*source),
        destination: Address::v6(*destination),
        protocol: transport_protocol(protocol)?,
        transport: transport(packet, offset, header_bytes, total_bytes)?,
    })
}

/// Two bytes of `bytes` at `offset`.
pub(super) fn be_u16(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..)?.first_chunk().copied().map(u16::from_be_bytes)
}

/// The length of the packet. A sender that leaves segmentation to its NIC is captured with the
/// length zero (and a jumbogram, RFC 2675, has it too): then the frame says.
fn total_bytes(promised: usize, offset: usize, frame_wire_bytes: usize) -> usize {
    if promised == 0 { frame_wire_bytes.saturating_sub(offset) } else { promised }
}

/// Walks the extension headers. Returns the protocol behind them and the bytes before it.
fn behind_extensions(
    packet: &[u8],
    first: u8,
    total_bytes: usize,
) -> Result<(u8, usize), PassReason> {
    let (mut next, mut offset) = (first, V6_HEADER_BYTES);
    for _ in 0..EXTENSIONS_MAX {
        let bytes = match next {
            // Hop-by-hop options, routing, destination options: all tell their length alike.
            0 | 43 | 60 | 44 => {
                let extension: Option<&[u8; 4]> =
                    packet.get(offset..).and_then(|rest| rest.first_chunk());
                let &[following, length, high, low] = extension.ok_or(PassReason::TruncatedIp)?;
                let fragment = next == 44;
                // Offset zero and no more fragments: an atomic fragment (RFC 6946) is a whole
                // packet.
                if fragment && u16::from_be_bytes([high, low]) & 0xfff9 != 0 {
                    return Err(PassReason::Fragment);
                }
                next = following;
                if fragment { 8 } else { (usize::from(length) + 1) * 8 }
            }
            protocol => return Ok((protocol, offset)),
        };
        offset += bytes;
        if offset > total_bytes {
            return Err(PassReason::MalformedIp);
        }
    }
    Err(PassReason::MalformedIp)
}

fn transport_protocol(number: u8) -> Result<Protocol, PassReason> {
    match number {
        6 => Ok(Protocol::Tcp),
        17 => Ok(Protocol::Udp),
        _ => Err(PassReason::NotTransport),
    }
}

/// Cuts padding off, and remembers what a capture has cut off.
fn transport(
    packet: &[u8],
    offset: usize,
    header_bytes: usize,
    total_bytes: usize,
) -> Result<Transport<'_>, PassReason> {
    let bytes = packet.get(header_bytes..total_bytes.min(packet.len()));
    Ok(Transport {
        offset: offset + header_bytes,
        bytes: bytes.ok_or(PassReason::TruncatedIp)?,
        wire_bytes: total_bytes.saturating_sub(header_bytes),
    })
}
