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

use self::ja4::Fingerprinter;
use self::reassembly::Reassembly;
use self::tls::{Streams, WalkCounters};
use crate::burst::{Burst, Datagram, Direction, FlowId, Frame, Headers, Protocol};
use crate::telemetry::counters::Passes;
use crate::telemetry::reasons::PassReason;

/// What `parse` remembers from frame to frame, all of it bounded and taken once.
#[derive(Debug, Default)]
pub struct Parser {
    /// Pools of TLS streams.
    streams: Reassembly,
    /// Fingerprints of hellos, whatever carried them.
    pub fingerprinter: Fingerprinter,
    /// What has been found so far.
    pub counters: WalkCounters,
}

impl Parser {
    /// Entries of the pools that were pushed out by newer ones, and hellos too long to keep.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.streams.refused
    }
}

/// Reads the record headers and hellos in the payload of each frame that belongs to a flow.
pub fn handshakes<F: Frame>(burst: &mut Burst<F>, streams: &mut impl Streams, parser: &mut Parser) {
    let (frames, packets) = burst.split();
    for (i, frame) in frames.iter().enumerate() {
        let columns = (packets.headers.get(i), packets.flow.get(i));
        let (Some(&Some(headers)), Some(&Some((flow, direction)))) = columns else { continue };
        let payload = frame.bytes().get(headers.payload()).unwrap_or(&[]);
        let found = Found { packet: i, flow, direction };
        match headers.protocol {
            Protocol::Tcp => {
                tls::segment(found, &headers, payload, packets, streams, parser);
            }
            Protocol::Udp => {}
        }
    }
}

/// Where a frame's payload belongs.
#[derive(Clone, Copy, Debug)]
struct Found {
    /// The frame, by its index in the burst.
    packet: usize,
    flow: FlowId,
    direction: Direction,
}

/// Reads the link, network and transport headers of each frame, or counts why it passes unread.
pub fn headers<F: Frame>(burst: &mut Burst<F>, _parser: &mut Parser, passes: &mut Passes) {
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
        datagram: Datagram::Other,
        network_offset: offset(network_offset)?,
        transport_offset: offset(transport_offset)?,
        payload_offset: bytes(transport_offset + segment.header_bytes)?,
        payload_bytes: bytes(segment.payload_bytes)?,
        payload_wire_bytes: bytes(segment.payload_wire_bytes)?,
    })
}

#[cfg(test)]
mod tests;
