//! From the first byte of a frame to the transport header of its flow, through tunnels and
//! fragments.
//!
//! An ordinary frame goes straight through. In a tunnel the flow is that of the innermost packet;
//! the frame goes on as it came. What is inside must fit what is around it, and a datagram whose
//! inside does not is a datagram.

use super::fragment::{Added, Fragments};
use super::ip::{Network, Packet, Piece};
use super::layer::Layer;
use super::link::Carried;
use super::tcp::Segment;
use super::{ethernet, ip, link, tcp, tunnel, udp};
use crate::burst::{Datagram, Fragment, Headers, Link, Protocol, Tcp};
use crate::telemetry::reasons::PassReason;
use crate::time::Nanos;

/// Packets inside the outermost one that are looked into.
const NESTED_MAX: u8 = 4;

/// What a frame is read with.
pub(super) struct Walk<'a> {
    pub(super) fragments: &'a mut Fragments,
    pub(super) now: Nanos,
}

/// Where in a frame a packet stands.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// Packets around it.
    depth: u8,
    /// The joined datagram from whose first byte offsets count, if not from the frame's.
    joined: Option<u16>,
}

impl Walk<'_> {
    /// The headers of one frame that had `wire_bytes` on the wire.
    pub(super) fn frame(
        &mut self,
        link: Link,
        frame: &[u8],
        wire_bytes: usize,
    ) -> Result<Headers, PassReason> {
        let frame = Layer::whole(frame, wire_bytes);
        let (network, layer) = match link {
            Link::Ethernet => ethernet::network(frame)?,
            other => link::captured(other, frame)?,
        };
        let packet = read(network, layer)?;
        self.packet(&packet, layer.offset, Place::default())
    }

    /// The headers of what a packet carries, whose own header is at `network_offset`.
    fn packet(
        &mut self,
        packet: &Packet<'_>,
        network_offset: usize,
        place: Place,
    ) -> Result<Headers, PassReason> {
        if let Some(piece) = packet.piece {
            return self.fragment(packet, piece, place);
        }
        let (protocol, segment) = match packet.protocol {
            ip::TCP => (Protocol::Tcp, tcp::segment(packet.payload)?),
            ip::UDP => {
                let datagram = udp::datagram(packet.payload)?;
                if tunnel::is_port(datagram.source_port, datagram.destination_port)
                    && let Some(inside) = self.over_udp(packet, &datagram, place)
                {
                    return inside;
                }
                (Protocol::Udp, datagram)
            }
            _ => return self.over_ip(packet, network_offset, place),
        };
        headers(packet, protocol, &segment, network_offset, place)
    }

    /// Looks into an IP packet that is neither TCP nor UDP.
    #[cold]
    fn over_ip(
        &mut self,
        packet: &Packet<'_>,
        network_offset: usize,
        place: Place,
    ) -> Result<Headers, PassReason> {
        if packet.protocol == ip::AUTHENTICATION {
            let (protocol, payload, piece) =
                ip::behind_extensions(packet.protocol, packet.payload)?;
            // No fragment header stands behind it, and none at all in IPv4.
            if piece.is_some() || protocol == ip::AUTHENTICATION {
                return Err(PassReason::MalformedIp);
            }
            return self.packet(&Packet { protocol, payload, ..*packet }, network_offset, place);
        }
        let inside = tunnel::over_ip(packet.protocol, packet.payload);
        let (carried, layer) = inside.ok_or(PassReason::NotTransport)?;
        self.inside(carried, layer, place)
    }

    /// Looks into a datagram. `None` when it is no tunnel, or holds nothing that could be read.
    #[cold]
    fn over_udp(
        &mut self,
        packet: &Packet<'_>,
        datagram: &Segment,
        place: Place,
    ) -> Option<Result<Headers, PassReason>> {
        let payload = packet.payload.behind(datagram.header_bytes)?;
        let payload = payload.of_length(datagram.payload_wire_bytes);
        let Segment { source_port, destination_port, .. } = *datagram;
        let (carried, layer) = tunnel::over_udp(source_port, destination_port, payload)?;
        match self.inside(carried, layer, place) {
            told @ (Ok(_) | Err(PassReason::Fragment)) => Some(told),
            Err(_) => None,
        }
    }

    /// Reads the packet in a tunnel.
    fn inside(
        &mut self,
        carried: Carried,
        layer: Layer<'_>,
        place: Place,
    ) -> Result<Headers, PassReason> {
        if place.depth == NESTED_MAX {
            return Err(PassReason::NestedTooDeep);
        }
        let place = Place { depth: place.depth + 1, ..place };
        let (network, layer) = link::network(carried, layer)?;
        let packet = read(network, layer)?;
        if packet.payload.wire_end() > layer.wire_end() {
            return Err(PassReason::MalformedIp);
        }
        self.packet(&packet, layer.offset, place)
    }

    /// Joins a fragment to its datagram, and reads that on when it is whole.
    #[cold]
    fn fragment(
        &mut self,
        packet: &Packet<'_>,
        piece: Piece,
        place: Place,
    ) -> Result<Headers, PassReason> {
        if !tunnel::carries(packet.protocol) {
            return Err(PassReason::Fragment);
        }
        match self.fragments.add(packet, piece, self.now) {
            Added::Unknown => Err(PassReason::Fragment),
            Added::Part { protocol, ports: (source_port, destination_port) } => {
                let protocol = if protocol == ip::TCP { Protocol::Tcp } else { Protocol::Udp };
                let segment = Segment {
                    source_port,
                    destination_port,
                    tcp: Tcp::default(),
                    datagram: Datagram::Other,
                    header_bytes: 0,
                    payload_bytes: 0,
                    payload_wire_bytes: 0,
                };
                let part = headers(packet, protocol, &segment, 0, place)?;
                let fragment = Some(Fragment::Part);
                Ok(Headers { fragment, transport_offset: 0, payload_offset: 0, ..part })
            }
            Added::Whole(index) => {
                let (protocol, bytes) = self.fragments.lend(index);
                let whole = bytes.get(..self.fragments.bytes(index)).unwrap_or_default();
                let place = Place { joined: Some(index), ..place };
                let read = self.joined(packet, protocol, Layer::whole(whole, whole.len()), place);
                self.fragments.give_back(index, bytes);
                match read {
                    Ok(Headers { fragment: Some(Fragment::Joined(kept)), .. }) if kept == index => {
                        self.fragments.keep(index);
                    }
                    Ok(_) | Err(_) => self.fragments.release(index),
                }
                read
            }
        }
    }

    /// Reads a joined datagram; `packet` is any fragment of it.
    fn joined(
        &mut self,
        packet: &Packet<'_>,
        protocol: u8,
        layer: Layer<'_>,
        place: Place,
    ) -> Result<Headers, PassReason> {
        let (protocol, payload, piece) = ip::behind_extensions(protocol, layer)?;
        // A datagram has one fragment header (RFC 8200, 4.5).
        if piece.is_some() {
            return Err(PassReason::MalformedIp);
        }
        self.packet(&Packet { protocol, payload, piece, ..*packet }, 0, place)
    }
}

#[inline]
fn read(network: Network, layer: Layer<'_>) -> Result<Packet<'_>, PassReason> {
    match network {
        Network::V4 => ip::v4(layer),
        Network::V6 => ip::v6(layer),
    }
}

/// Puts together what has been read.
#[inline]
fn headers(
    packet: &Packet<'_>,
    protocol: Protocol,
    segment: &Segment,
    network_offset: usize,
    place: Place,
) -> Result<Headers, PassReason> {
    let transport_offset = packet.payload.offset;
    let offset = |n: usize| u16::try_from(n).map_err(|_| PassReason::MalformedIp);
    let bytes = |n: usize| u32::try_from(n).map_err(|_| PassReason::MalformedIp);
    Ok(Headers {
        source: packet.source,
        destination: packet.destination,
        source_port: segment.source_port,
        destination_port: segment.destination_port,
        protocol,
        tcp: segment.tcp,
        datagram: segment.datagram,
        fragment: place.joined.map(Fragment::Joined),
        network_offset: offset(network_offset)?,
        transport_offset: offset(transport_offset)?,
        payload_offset: bytes(transport_offset + segment.header_bytes)?,
        payload_bytes: bytes(segment.payload_bytes)?,
        payload_wire_bytes: bytes(segment.payload_wire_bytes)?,
    })
}

#[cfg(test)]
mod tests;
