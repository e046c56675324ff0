//! TCP headers (RFC 9293, 3.1). Options are skipped; the checksum is not judged: NICs fill it in
//! late.

use super::ip::Transport;
use crate::burst::{Tcp, TcpFlags};
use crate::telemetry::reasons::PassReason;

/// TCP without options.
const HEADER_BYTES: usize = 20;

/// What `parse` takes from a transport header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) source_port: u16,
    pub(super) destination_port: u16,
    pub(super) tcp: Tcp,
    /// Header bytes that the frame holds: the payload's place is behind them.
    pub(super) header_bytes: usize,
    pub(super) payload_bytes: usize,
    pub(super) payload_wire_bytes: usize,
}

/// Reads the TCP header. A capture that cut the options off still gives a segment: nothing in it is
/// guessed.
pub(super) fn segment(transport: Transport<'_>) -> Result<Segment, PassReason> {
    if transport.wire_bytes < HEADER_BYTES {
        return Err(PassReason::MalformedTransport);
    }
    let header: Option<&[u8; HEADER_BYTES]> = transport.bytes.first_chunk();
    let &[p0, p1, p2, p3, s0, s1, s2, s3, a0, a1, a2, a3, data_offset, flags, w0, w1, ..] =
        header.ok_or(PassReason::TruncatedTransport)?;
    let header_bytes = usize::from(data_offset >> 4) * 4;
    if header_bytes < HEADER_BYTES || header_bytes > transport.wire_bytes {
        return Err(PassReason::MalformedTransport);
    }
    let held = header_bytes.min(transport.bytes.len());
    Ok(Segment {
        source_port: u16::from_be_bytes([p0, p1]),
        destination_port: u16::from_be_bytes([p2, p3]),
        tcp: Tcp {
            seq: u32::from_be_bytes([s0, s1, s2, s3]),
            ack: u32::from_be_bytes([a0, a1, a2, a3]),
            window: u16::from_be_bytes([w0, w1]),
            flags: TcpFlags(flags),
            timestamps: None,
        },
        header_bytes: held,
        payload_bytes: transport.bytes.len() - held,
        payload_wire_bytes: transport.wire_bytes - header_bytes,
    })
}
