//! UDP headers (RFC 768).

use super::layer::Layer;
use super::tcp::Segment;
use crate::burst::Tcp;
use crate::telemetry::reasons::PassReason;

const HEADER_BYTES: usize = 8;

/// Reads the UDP header. Its length may be below what IP promises, never above.
pub(super) fn datagram(transport: Layer<'_>) -> Result<Segment, PassReason> {
    if transport.wire_bytes < HEADER_BYTES {
        return Err(PassReason::MalformedTransport);
    }
    let header: Option<&[u8; HEADER_BYTES]> = transport.bytes.first_chunk();
    let &[s0, s1, d0, d1, l0, l1, _, _] = header.ok_or(PassReason::TruncatedTransport)?;
    let wire_bytes = match usize::from(u16::from_be_bytes([l0, l1])) {
        // Zero: longer than the field can say (RFC 2675), or captured before the NIC filled it in.
        0 => transport.wire_bytes,
        length => length,
    };
    if wire_bytes < HEADER_BYTES || wire_bytes > transport.wire_bytes {
        return Err(PassReason::MalformedTransport);
    }
    let payload_wire_bytes = wire_bytes - HEADER_BYTES;
    let payload = transport.bytes.get(HEADER_BYTES..).unwrap_or_default();
    Ok(Segment {
        source_port: u16::from_be_bytes([s0, s1]),
        destination_port: u16::from_be_bytes([d0, d1]),
        tcp: Tcp::default(),
        datagram: super::datagram(payload),
        header_bytes: HEADER_BYTES,
        payload_bytes: payload_wire_bytes.min(payload.len()),
        payload_wire_bytes,
    })
}
