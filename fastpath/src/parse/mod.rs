//! Bytes to headers. The only code that reads frames; everything after it sees types without
//! payload.
//!
//! No allocation, no panic, no unsafe, no I/O: a frame from the network is never an error, it is a
//! [`PassReason`]. Parsers take `&[u8]` and check every access with `get`; what they return is
//! right by construction, so nobody checks again.
#![deny(clippy::indexing_slicing)]

mod ethernet;
pub mod hello;
mod ip;
pub mod ja4;
pub mod reassembly;
mod tcp;
pub mod tls;
mod udp;

use crate::burst::{Burst, Frame, Headers, Protocol};
use crate::telemetry::counters::Passes;
use crate::telemetry::reasons::PassReason;

/// Reads the link, network and transport headers of each frame, or counts why it passes unread.
pub fn headers<F: Frame>(burst: &mut Burst<F>, passes: &mut Passes) {
    let (frames, packets) = burst.split();
    let columns = packets.headers.iter_mut().zip(&packets.wire_bytes);
    for (frame, (headers, &wire_bytes)) in frames.iter().zip(columns) {
        match frame_headers(frame.bytes(), wire_bytes as usize) {
            Ok(read) => *headers = Some(read),
            Err(reason) => passes.add(reason),
        }
    }
}

/// The headers of one frame that had `wire_bytes` on the wire.
fn frame_headers(frame: &[u8], wire_bytes: usize) -> Result<Headers, PassReason> {
    let (network, network_offset) = ethernet::network(frame)?;
    let packet = match network {
        ethernet::Network::V4 => ip::v4(frame, network_offset, wire_bytes)?,
        ethernet::Network::V6 => ip::v6(frame, network_offset, wire_bytes)?,
    };
    let segment = match packet.protocol {
        Protocol::Tcp => tcp::segment(packet.transport)?,
        Protocol::Udp => udp::datagram(packet.transport)?,
    };
    let transport_offset = packet.transport.offset;
    let offset = |n: usize| u16::try_from(n).map_err(|_| PassReason::MalformedIp);
    let bytes = |n: usize| u32::try_from(n).map_err(|_| PassReason::MalformedIp);
    Ok(Headers {
        source: packet.source,
        destination: packet.destination,
        source_port: segment.source_port,
        destination_port: segment.destination_port,
        protocol: packet.protocol,
        tcp: segment.tcp,
        network_offset: offset(network_offset)?,
        transport_offset: offset(transport_offset)?,
        payload_offset: bytes(transport_offset + segment.header_bytes)?,
        payload_bytes: bytes(segment.payload_bytes)?,
        payload_wire_bytes: bytes(segment.payload_wire_bytes)?,
    })
}

#[cfg(test)]
mod tests;
