//! Bytes to headers. The only code that reads frames; everything after it sees types without
//! payload.
//!
//! No allocation, no panic, no unsafe, no I/O: a frame from the network is never an error, it is a
//! [`PassReason`]. Parsers take `&[u8]` and check every access with `get`; what they return is
//! right by construction, so nobody checks again.
#![deny(clippy::indexing_slicing)]

mod dtls;
mod ethernet;
mod fragment;
mod frame;
pub mod handshake;
pub mod hello;
mod ip;
pub mod ja4;
mod layer;
mod link;
mod messages;
mod quic;
pub mod reassembly;
mod slab;
mod tcp;
pub mod tls;
mod tunnel;
mod udp;
mod usual;
mod wifi;

use self::dtls::Dtls;
use self::fragment::Fragments;
use self::frame::Walk;
use self::ja4::Fingerprinter;
use self::quic::Quic;
use self::reassembly::Reassembly;
use self::tls::{Streams, WalkCounters};
use crate::burst::{Burst, Datagram, Direction, FlowId, Fragment, Frame, Link, Protocol};
use crate::telemetry::counters::Passes;

/// What `parse` remembers from frame to frame, all of it bounded and taken once.
#[derive(Debug, Default)]
pub struct Parser {
    /// Pools of TLS streams.
    streams: Reassembly,
    /// Datagrams that are not whole, and those of this burst that are.
    fragments: Fragments,
    /// QUIC connections whose hello is not whole.
    quic: Quic,
    /// DTLS hellos that are not whole.
    dtls: Dtls,
    /// Fingerprints of hellos, whatever carried them.
    pub fingerprinter: Fingerprinter,
    /// What has been found so far.
    pub counters: WalkCounters,
}

impl Parser {
    /// For so many flows at once: few need smaller pools, as what waits in them is of a flow.
    #[must_use]
    pub fn for_flows(flows: usize) -> Self {
        Self {
            streams: Reassembly::default(),
            fragments: Fragments::for_flows(flows),
            quic: Quic::for_flows(flows),
            dtls: Dtls::for_flows(flows),
            fingerprinter: Fingerprinter::default(),
            counters: WalkCounters::default(),
        }
    }

    /// Entries of the pools that were pushed out by newer ones, hellos too long to keep, and
    /// datagrams that never became whole.
    #[must_use]
    pub fn refused(&self) -> u64 {
        let hellos = self.streams.refused + self.quic.refused() + self.dtls.refused();
        hellos + self.fragments.refused
    }
}

/// Reads the record headers and hellos in the payload of each frame that belongs to a flow.
pub fn handshakes<F: Frame>(burst: &mut Burst<F>, streams: &mut impl Streams, parser: &mut Parser) {
    let (frames, packets) = burst.split();
    // Taken out, so that what is found can go into the other columns.
    let column = std::mem::take(&mut packets.headers);
    for i in packets.marked.before(frames.len()) {
        let (Some(frame), Some(headers)) = (frames.get(i), column.get(i)) else { continue };
        let Some(&Some((flow, direction))) = packets.flow.get(i) else { continue };
        let Some(headers) = headers.as_ref().filter(|headers| !headers.is_part()) else { continue };
        if headers.protocol == Protocol::Tcp && streams.tells_nothing(flow, direction, headers) {
            continue;
        }
        let found = Found { packet: i, flow, direction };
        let joined = match headers.fragment {
            Some(Fragment::Joined(index)) => Some((index, parser.fragments.lend(index).1)),
            Some(Fragment::Part) | None => None,
        };
        let bytes = joined.as_ref().map_or(frame.bytes(), |(_, bytes)| bytes);
        let payload = bytes.get(headers.payload()).unwrap_or(&[]);
        match headers.protocol {
            Protocol::Tcp => {
                let both = streams.streams(flow, direction);
                tls::segment(found, headers, payload, packets, both, parser);
                streams.walked(flow);
            }
            Protocol::Udp => match headers.datagram {
                Datagram::Quic => quic::datagram(found, payload, packets, streams, parser),
                Datagram::Dtls => dtls::datagram(found, payload, packets, streams, parser),
                Datagram::Other => {}
            },
        }
        if let Some((index, bytes)) = joined {
            parser.fragments.give_back(index, bytes);
        }
    }
    packets.headers = column;
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
pub fn headers<F: Frame>(burst: &mut Burst<F>, parser: &mut Parser, passes: &mut Passes) {
    let (frames, packets) = burst.split();
    parser.fragments.begin_burst();
    let mut walk = Walk { fragments: &mut parser.fragments, now: packets.now };
    let columns = packets.headers.iter_mut().zip(&packets.wire_bytes);
    for (frame, (headers, &wire_bytes)) in frames.iter().zip(columns) {
        let (link, bytes) = (frame.link(), frame.bytes());
        if link == Link::Ethernet
            && let Some(usual) = usual::headers(bytes)
        {
            *headers = Some(usual);
            continue;
        }
        match walk.frame(link, bytes, wire_bytes as usize) {
            Ok(read) => *headers = Some(read),
            Err(reason) => passes.add(reason),
        }
    }
}

/// What the first bytes of a UDP payload look like.
fn datagram(payload: &[u8]) -> Datagram {
    if quic::is_opening(payload) {
        Datagram::Quic
    } else if dtls::is_opening(payload) {
        Datagram::Dtls
    } else {
        Datagram::Other
    }
}

#[cfg(test)]
mod tests;
