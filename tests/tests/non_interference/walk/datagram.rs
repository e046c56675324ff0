//! What of a UDP payload the loop may not read: all but the handshake of QUIC and DTLS.

use std::ops::Range;

/// The parts of a datagram that are closed to the loop.
pub(super) fn closed(payload: &[u8]) -> Vec<Range<usize>> {
    // DTLS may stand behind the framing of another protocol, as in a TURN channel: where there may
    // be a handshake record (RFC 9147, 4), the datagram stays as it is.
    let is_dtls = |bytes: &[u8]| matches!(bytes, [22, 0xfe, 0xff | 0xfd | 0xfc]);
    if payload.windows(3).any(is_dtls) {
        return Vec::new();
    }
    let mut closed = Vec::new();
    let mut at = 0;
    // Packets stand behind each other in a datagram as long as their headers tell lengths.
    while let Some(&first) = payload.get(at) {
        if first & 0x80 == 0 {
            closed.push(at..payload.len());
            break;
        }
        let Some(packet) = long_packet(&payload[at..]) else { break };
        if !packet.is_open {
            closed.push(at + packet.header_bytes..at + packet.bytes);
        }
        at += packet.bytes;
    }
    closed
}

/// A QUIC packet with a long header.
struct LongPacket {
    /// All of it may be read.
    is_open: bool,
    /// Up to where the packet number begins, which is protected.
    header_bytes: usize,
    bytes: usize,
}

/// Reads a long header (RFC 8999, 5.1; RFC 9000, 17.2). `None` where it does not hold together:
/// then its bytes stay as they are.
fn long_packet(bytes: &[u8]) -> Option<LongPacket> {
    let version = u32::from_be_bytes(*bytes.get(1..)?.first_chunk()?);
    let mut at = 5;
    for _ in 0..2 {
        at += 1 + usize::from(*bytes.get(at)?);
    }
    let whole = |is_open| LongPacket { is_open, header_bytes: at, bytes: bytes.len() };
    let bits = bytes[0] >> 4 & 3;
    // In version 2 the types are turned by one (RFC 9369, 3.2).
    let kind = if version == 0x6b33_43cf { (bits + 3) % 4 } else { bits };
    match (version, kind) {
        // Version Negotiation, and Retry: there is nothing in them but headers.
        (0, _) => return Some(whole(true)),
        _ if !is_known(version) => return (at <= bytes.len()).then(|| whole(false)),
        (_, 3) => return Some(whole(true)),
        _ => {}
    }
    let is_initial = kind == 0;
    if is_initial {
        let (token, read) = variable(bytes.get(at..)?)?;
        at += read + token;
    }
    let (length, read) = variable(bytes.get(at..)?)?;
    at += read;
    let end = at.checked_add(length).filter(|&end| end <= bytes.len())?;
    Some(LongPacket { is_open: is_initial, header_bytes: at, bytes: end })
}

/// The versions whose Initials can be opened: RFC 9000 and 9369, drafts, mvfst, Google's with TLS.
fn is_known(version: u32) -> bool {
    matches!(
        version,
        1 | 0x6b33_43cf
            | 0xff00_0016..=0xff00_0022
            | 0xface_b000..=0xface_b0ff
            | 0x5430_3530..=0x5430_3531
            | 0x5130_3530
    )
}

/// A variable-length integer and the bytes it takes (RFC 9000, 16).
fn variable(bytes: &[u8]) -> Option<(usize, usize)> {
    let read = 1 << (bytes.first()? >> 6);
    let mut value = [0; 8];
    value[8 - read..].copy_from_slice(bytes.get(..read)?);
    value[8 - read] &= 0x3f;
    Some((usize::try_from(u64::from_be_bytes(value)).ok()?, read))
}
