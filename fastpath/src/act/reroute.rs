//! Rerouting: a new connection goes to another replica of its pool, and its client does not notice.
//!
//! The destination of what the client sends is rewritten as a frame leaves, the source of what comes
//! back as it arrives, before anybody looks at it: every stage sees the connection as its client
//! does. Frames that come back with the address that the client called (a replica behind a NAT, or
//! one that answers in the name of the service) need nothing. Checksums are mended by what has
//! changed (RFC 1624). The next hop stays: replicas are reached over the same link.
//!
//! Frames in a tunnel, fragments and ICMP errors are left as they are.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::checksum::updated;
use super::reset::is_plain_ethernet;
use crate::burst::{Address, Burst, FlowId, Frame, Headers, Protocol};
use crate::telemetry::event::Peers;

/// Connections that are rerouted at once, at most.
const CONNECTIONS: usize = 16_384;

/// Address and port.
type End = (Address, u16);

/// Connections that go elsewhere.
#[derive(Debug)]
pub(super) struct Reroutes {
    /// By client and called server: the replica.
    out: HashMap<(End, End), End, RandomState>,
    /// By client and replica: the called server.
    back: HashMap<(End, End), End, RandomState>,
    by_flow: HashMap<FlowId, [End; 3], RandomState>,
}

/// An end of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
}

/// Where the parts of a plain segment stand in its frame.
#[derive(Clone, Copy, Debug)]
struct Layout {
    network: usize,
    transport: usize,
    v6: bool,
}

impl Reroutes {
    pub(super) fn new() -> Self {
        fn map<K, V>() -> HashMap<K, V, RandomState> {
            HashMap::with_capacity_and_hasher(CONNECTIONS, RandomState::default())
        }
        Self { out: map(), back: map(), by_flow: map() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_flow.is_empty()
    }

    /// Sends a new connection to `replica`; false when it is of another family, when the client has
    /// such a connection there already, or when there are as many as may be.
    pub(super) fn begin(&mut self, flow: FlowId, peers: &Peers, replica: End) -> bool {
        let client = (peers.client, peers.client_port);
        let called = (peers.server, peers.server_port);
        let same_family = peers.server.ip().is_ipv4() == replica.0.ip().is_ipv4();
        let fits = self.by_flow.len() < CONNECTIONS && !self.by_flow.contains_key(&flow);
        let wanted = same_family && peers.protocol == Protocol::Tcp && called != replica;
        if !fits || !wanted || self.back.contains_key(&(client, replica)) {
            return false;
        }
        self.out.insert((client, called), replica);
        self.back.insert((client, replica), called);
        self.by_flow.insert(flow, [client, called, replica]);
        true
    }

    /// The slot of the flow is another one's.
    pub(super) fn forget(&mut self, flow: FlowId) {
        if let Some([client, called, replica]) = self.by_flow.remove(&flow) {
            self.out.remove(&(client, called));
            self.back.remove(&(client, replica));
        }
    }

    /// Gives frames that come back the source that their client called.
    pub(super) fn arrive<F: Frame>(&self, burst: &mut Burst<F>) {
        let (frames, packets) = burst.split_mut();
        for (frame, headers) in frames.iter_mut().zip(&mut packets.headers) {
            let Some(headers) = headers else { continue };
            let source = (headers.source, headers.source_port);
            let client = (headers.destination, headers.destination_port);
            let Some(&called) = self.back.get(&(client, source)) else { continue };
            if let Some(layout) = Layout::of(frame.bytes(), headers)
                && layout.rewrite(frame.bytes_mut(), Side::Source, called).is_some()
            {
                (headers.source, headers.source_port) = called;
            }
        }
    }

    /// Gives frames that leave for a server the destination of its replica.
    pub(super) fn depart<F: Frame>(&self, burst: &mut Burst<F>) {
        for frame in burst.leaving_mut() {
            let Some(layout) = Layout::read(frame.bytes()) else { continue };
            let ends = layout.ends(frame.bytes());
            let Some(&replica) = ends.and_then(|ends| self.out.get(&ends)) else { continue };
            // Whatever cannot be rewritten goes where its client has sent it.
            let _ = layout.rewrite(frame.bytes_mut(), Side::Destination, replica);
        }
    }
}

impl Layout {
    /// Of a frame whose headers are known.
    fn of(frame: &[u8], headers: &Headers) -> Option<Self> {
        let network = usize::from(headers.network_offset);
        let plain = is_plain_ethernet(frame.get(..network)?) && headers.fragment.is_none();
        let v6 = frame.get(network)? >> 4 == 6;
        let transport = usize::from(headers.transport_offset);
        (plain && headers.protocol == Protocol::Tcp).then_some(Self { network, transport, v6 })
    }

    /// Of a frame of this process's own, or of one that was parsed in an earlier burst.
    fn read(frame: &[u8]) -> Option<Self> {
        let mut network = 14;
        while !is_plain_ethernet(frame.get(..network)?) {
            network += 4;
            if network > 14 + 4 * 4 {
                return None;
            }
        }
        let ip = frame.get(network..)?;
        let (v6, protocol, length, whole) = match ip.first()? >> 4 {
            4 => {
                let part = u16::from_be_bytes([*ip.get(6)?, *ip.get(7)?]) & 0x3fff;
                (false, *ip.get(9)?, usize::from(ip[0] & 0xf) * 4, part == 0)
            }
            6 => (true, *ip.get(6)?, 40, true),
            _ => return None,
        };
        let transport = network + length;
        (protocol == 6 && whole).then_some(Self { network, transport, v6 })
    }

    /// Source and destination.
    fn ends(self, frame: &[u8]) -> Option<(End, End)> {
        let end = |side| {
            let address = frame.get(self.address(side))?;
            let address = match address.first_chunk::<16>() {
                Some(v6) => Address::v6(*v6),
                None => Address::v4(*address.first_chunk()?),
            };
            let port = frame.get(self.port(side))?.first_chunk()?;
            Some((address, u16::from_be_bytes(*port)))
        };
        Some((end(Side::Source)?, end(Side::Destination)?))
    }

    fn address(self, side: Side) -> std::ops::Range<usize> {
        let (first, length) = if self.v6 { (8, 16) } else { (12, 4) };
        let start = self.network + first + if side == Side::Source { 0 } else { length };
        start..start + length
    }

    fn port(self, side: Side) -> std::ops::Range<usize> {
        let start = self.transport + if side == Side::Source { 0 } else { 2 };
        start..start + 2
    }

    /// Writes an end into a frame; `None`, and nothing changed, when the frame is too short for what
    /// its headers say.
    fn rewrite(self, frame: &mut [u8], side: Side, (address, port): End) -> Option<()> {
        let octets = address.octets();
        let address = if self.v6 { &octets[..] } else { &octets[12..] };
        let sum_at = self.transport + 16;
        frame.get(sum_at..sum_at + 2)?;
        if !self.v6 {
            self.replace(frame, self.address(side), address, self.network + 10, false)?;
        }
        self.replace(frame, self.address(side), address, sum_at, true)?;
        self.replace(frame, self.port(side), &port.to_be_bytes(), sum_at, true)
    }

    /// Mends the checksum at `sum_at` for `new` at `place`, and puts it there if `write`.
    fn replace(
        self,
        frame: &mut [u8],
        place: std::ops::Range<usize>,
        new: &[u8],
        sum_at: usize,
        write: bool,
    ) -> Option<()> {
        let sum = u16::from_be_bytes(*frame.get(sum_at..)?.first_chunk()?);
        let sum = updated(sum, frame.get(place.clone())?, new);
        frame.get_mut(sum_at..sum_at + 2)?.copy_from_slice(&sum.to_be_bytes());
        if write {
            frame.get_mut(place)?.copy_from_slice(new);
        }
        Some(())
    }
}
