//! The network layer: IPv4 (RFC 791) with options, IPv6 (RFC 8200) with extension headers, and the
//! authentication header (RFC 4302) of both.
//!
//! Lengths come from the IP header, not from the frame: Ethernet pads short frames, and a capture
//! may cut long ones. Addresses are not judged.

use super::layer::Layer;
use crate::burst::Address;
use crate::telemetry::reasons::PassReason;

/// TCP among the protocol numbers.
pub(super) const TCP: u8 = 6;
/// UDP among the protocol numbers.
pub(super) const UDP: u8 = 17;
/// The fragment header of IPv6.
const FRAGMENT: u8 = 44;
/// The authentication header.
pub(super) const AUTHENTICATION: u8 = 51;

/// IPv4 without options.
const V4_HEADER_BYTES: usize = 20;

/// IPv6 without extension headers.
const V6_HEADER_BYTES: usize = 40;

/// Extension headers that are looked behind; RFC 8200, 4.1 names six in all.
const EXTENSIONS_MAX: usize = 8;

/// The two network protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Network {
    V4,
    V6,
}

/// An IP packet, or a fragment of one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet<'a> {
    pub(super) source: Address,
    pub(super) destination: Address,
    /// Number of the protocol that it carries.
    pub(super) protocol: u8,
    /// What is behind its headers.
    pub(super) payload: Layer<'a>,
    /// Where the payload belongs, when it is not the whole of it.
    pub(super) piece: Option<Piece>,
}

/// The place of a fragment in its datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Identification: of 16 bits in IPv4.
    pub(super) id: u32,
    /// Offset in the datagram, bytes.
    pub(super) offset: usize,
    /// More fragments follow it.
    pub(super) more: bool,
}

/// Reads an IPv4 header.
#[inline]
pub(super) fn v4(layer: Layer<'_>) -> Result<Packet<'_>, PassReason> {
    let header: &[u8; V4_HEADER_BYTES] = layer.first().ok_or(PassReason::TruncatedIp)?;
    let &[version, _, len0, len1, id0, id1, piece0, piece1, _, protocol, ..] = header;
    let header_bytes = usize::from(version & 0x0f) * 4;
    if version >> 4 != 4 || header_bytes < V4_HEADER_BYTES {
        return Err(PassReason::MalformedIp);
    }
    let layer = of_promised(layer, usize::from(u16::from_be_bytes([len0, len1])));
    if layer.wire_bytes < header_bytes {
        return Err(PassReason::MalformedIp);
    }
    // The don't-fragment bit says nothing here.
    let piece = match u16::from_be_bytes([piece0, piece1]) & 0x3fff {
        0 => None,
        field => Some(Piece {
            id: u32::from(u16::from_be_bytes([id0, id1])),
            offset: usize::from(field & 0x1fff) * 8,
            more: field & 0x2000 != 0,
        }),
    };
    let &[.., s0, s1, s2, s3, d0, d1, d2, d3] = header;
    Ok(Packet {
        source: Address::v4([s0, s1, s2, s3]),
        destination: Address::v4([d0, d1, d2, d3]),
        protocol,
        payload: layer.behind(header_bytes).ok_or(PassReason::TruncatedIp)?,
        piece,
    })
}

/// Reads an IPv6 header and its extension headers, up to a fragment header.
pub(super) fn v6(layer: Layer<'_>) -> Result<Packet<'_>, PassReason> {
    let header: &[u8; V6_HEADER_BYTES] = layer.first().ok_or(PassReason::TruncatedIp)?;
    let &[version, _, _, _, len0, len1, next_header, ..] = header;
    if version >> 4 != 6 {
        return Err(PassReason::MalformedIp);
    }
    let promised = match usize::from(u16::from_be_bytes([len0, len1])) {
        0 => 0,
        payload_bytes => V6_HEADER_BYTES + payload_bytes,
    };
    let layer = of_promised(layer, promised);
    let behind = layer.behind(V6_HEADER_BYTES).ok_or(PassReason::TruncatedIp)?;
    let (protocol, payload, piece) = behind_extensions(next_header, behind)?;
    let addresses = header.split_at_checked(8).map(|(_, addresses)| addresses.as_chunks().0);
    let Some([source, destination]) = addresses else { return Err(PassReason::MalformedIp) };
    Ok(Packet {
        source: Address::v6(*source),
        destination: Address::v6(*destination),
        protocol,
        payload,
        piece,
    })
}

/// Walks extension headers, of which the first has the number `first`. Returns the protocol behind
/// them, its bytes, and the place of these when a fragment header stands before them.
pub(super) fn behind_extensions(
    first: u8,
    layer: Layer<'_>,
) -> Result<(u8, Layer<'_>, Option<Piece>), PassReason> {
    let (mut next, mut layer) = (first, layer);
    for _ in 0..EXTENSIONS_MAX {
        let words = match next {
            // Hop-by-hop options, routing, destination options, mobility (RFC 6275), HIP (RFC
            // 7401), Shim6 (RFC 5533): all tell their length alike.
            0 | 43 | 60 | 135 | 139 | 140 | FRAGMENT | AUTHENTICATION => layer.first(),
            protocol => return Ok((protocol, layer, None)),
        };
        let &[following, length, high, low] = words.ok_or(PassReason::TruncatedIp)?;
        let bytes = match next {
            FRAGMENT => 8,
            AUTHENTICATION => (usize::from(length) + 2) * 4,
            _ => (usize::from(length) + 1) * 8,
        };
        if bytes > layer.wire_bytes {
            return Err(PassReason::MalformedIp);
        }
        let behind = layer.behind(bytes).ok_or(PassReason::TruncatedIp)?;
        // Offset zero and no more fragments: an atomic fragment (RFC 6946) is a whole packet.
        let field = u16::from_be_bytes([high, low]);
        if next == FRAGMENT && field & 0xfff9 != 0 {
            let id: Option<&[u8; 8]> = layer.first();
            let &[_, _, _, _, id @ ..] = id.ok_or(PassReason::TruncatedIp)?;
            let (id, offset) = (u32::from_be_bytes(id), usize::from(field & 0xfff8));
            return Ok((following, behind, Some(Piece { id, offset, more: field & 1 != 0 })));
        }
        (next, layer) = (following, behind);
    }
    Err(PassReason::MalformedIp)
}

/// The packet with the length of its header. A sender that leaves segmentation to its NIC is
/// captured with the length zero (and a jumbogram, RFC 2675, has it too): then the layer around it
/// says.
fn of_promised(layer: Layer<'_>, promised: usize) -> Layer<'_> {
    if promised == 0 { layer } else { layer.of_length(promised) }
}
