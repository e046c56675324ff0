//! Whose a frame is: a hash of its client's address, under a key of the process, so that nobody
//! outside can choose the lcore.
//!
//! The address is that of the outermost IP header, as a NIC's hash has it. What has none (ARP, an
//! ethertype that is not read here) is the first lcore's.

use std::hash::{BuildHasher, Hasher};

use foldhash::quality::RandomState;

use crate::burst::PortIndex;

/// What the devices of a port are connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// Two and two the ends of a wire; clients are behind the first of each two.
    Wire,
    /// Copies of both directions come in by each.
    Tap,
}

/// Who owns what.
#[derive(Debug)]
pub(super) struct Owners {
    lcores: u64,
    ends: Ends,
    hasher: RandomState,
}

/// The addresses of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Addresses<'a> {
    source: &'a [u8],
    destination: &'a [u8],
    /// Ports of TCP and UDP; none in a fragment, whose siblings lack them.
    ports: Option<[u16; 2]>,
}

impl Owners {
    pub(super) fn new(lcores: usize, ends: Ends) -> Self {
        Self { lcores: lcores as u64, ends, hasher: RandomState::default() }
    }

    /// The lcore that owns the frame that came in by `port`.
    pub(super) fn of(&self, frame: &[u8], port: PortIndex) -> usize {
        let Some(addresses) = Addresses::read(frame) else { return 0 };
        let hash = match self.ends {
            Ends::Wire if port.0.is_multiple_of(2) => self.hash(addresses.source),
            Ends::Wire => self.hash(addresses.destination),
            Ends::Tap => self.hash_of_tap(addresses),
        };
        // The upper half, scaled: all bits of the hash decide, and no division is needed.
        usize::try_from(((hash >> 32) * self.lcores) >> 32).unwrap_or(0)
    }

    /// Of two ends the one with the higher port asks, where just one port is a well-known one.
    /// Otherwise both addresses decide, whichever comes first.
    fn hash_of_tap(&self, addresses: Addresses<'_>) -> u64 {
        let Addresses { source, destination, ports } = addresses;
        match ports.map(|ports| ports.map(|port| port < WELL_KNOWN)) {
            Some([false, true]) => self.hash(source),
            Some([true, false]) => self.hash(destination),
            _ => self.hash(source) ^ self.hash(destination),
        }
    }

    fn hash(&self, address: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(address);
        hasher.finish()
    }
}

impl<'a> Addresses<'a> {
    fn read(frame: &'a [u8]) -> Option<Self> {
        let (ethertype, packet) = behind_tags(frame)?;
        match ethertype {
            IPV4 => Self::v4(packet),
            IPV6 => Self::v6(packet),
            _ => None,
        }
    }

    /// RFC 791, 3.1.
    fn v4(packet: &'a [u8]) -> Option<Self> {
        let (source, destination) = (packet.get(12..16)?, packet.get(16..20)?);
        let header = usize::from(packet[0] & 0xf) * 4;
        let fragment = u16::from_be_bytes([packet[6], packet[7]]) & 0x3fff != 0;
        let ports = if fragment { None } else { ports(packet[9], packet.get(header..)?) };
        Some(Self { source, destination, ports })
    }

    /// RFC 8200, 3. A packet with extension headers has no ports here, a fragment's among them.
    fn v6(packet: &'a [u8]) -> Option<Self> {
        let (source, destination) = (packet.get(8..24)?, packet.get(24..40)?);
        Some(Self { source, destination, ports: ports(packet[6], &packet[40..]) })
    }
}

/// The ethertype and what follows it, behind up to two VLAN tags.
fn behind_tags(frame: &[u8]) -> Option<(u16, &[u8])> {
    let mut rest = frame.get(12..)?;
    for _ in 0..=TAGS_MAX {
        let (ethertype, behind) = rest.split_first_chunk::<2>()?;
        match u16::from_be_bytes(*ethertype) {
            VLAN | PROVIDER_VLAN => rest = behind.get(2..)?,
            ethertype => return Some((ethertype, behind)),
        }
    }
    None
}

fn ports(protocol: u8, transport: &[u8]) -> Option<[u16; 2]> {
    let [a, b, c, d, ..] = *transport else { return None };
    let ports = [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])];
    matches!(protocol, TCP | UDP).then_some(ports)
}

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const VLAN: u16 = 0x8100;
const PROVIDER_VLAN: u16 = 0x88a8;
const TAGS_MAX: usize = 2;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// Ports below are those of services (RFC 6335, 6).
const WELL_KNOWN: u16 = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(tags: usize, v6: bool, ends: [u8; 2], ports: [u16; 2], fragment: bool) -> Vec<u8> {
        let mut frame = vec![2; 12];
        (0..tags).for_each(|_| frame.extend([0x81, 0, 0, 7]));
        let address = |end: u8| if v6 { vec![end; 16] } else { vec![end; 4] };
        if v6 {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, if fragment { 44 } else { TCP }, 64]);
        } else {
            let offset = u8::from(fragment) * 0x20;
            frame.extend([8, 0, 0x45, 0, 0, 28, 0, 1, offset, 0, 64, TCP, 0, 0]);
        }
        ends.iter().for_each(|&end| frame.extend(address(end)));
        ports.iter().for_each(|port| frame.extend(port.to_be_bytes()));
        frame.extend([0; 16]);
        frame
    }

    proptest! {
        #[test]
        fn both_directions_of_a_flow_have_one_owner(
            tags in 0..3_usize, v6: bool, ends: [u8; 2], ports: [u16; 2], fragment: bool,
            lcores in 1..9_usize,
        ) {
            let back = |[a, b]: [u16; 2]| [b, a];
            let there = frame(tags, v6, ends, ports, fragment);
            let reply = frame(tags, v6, [ends[1], ends[0]], back(ports), fragment);
            for (kind, other) in [(Ends::Wire, PortIndex(1)), (Ends::Tap, PortIndex(0))] {
                let owners = Owners::new(lcores, kind);
                let owner = owners.of(&there, PortIndex(0));
                prop_assert!(owner < lcores);
                prop_assert_eq!(owner, owners.of(&reply, other));
            }
        }

        #[test]
        fn any_bytes_have_an_owner(bytes: Vec<u8>, port in 0..4_u16, lcores in 1..9_usize) {
            for ends in [Ends::Wire, Ends::Tap] {
                prop_assert!(Owners::new(lcores, ends).of(&bytes, PortIndex(port)) < lcores);
            }
        }
    }

    #[test]
    fn all_flows_of_a_client_have_one_owner_on_a_wire_and_on_a_tap() {
        for (ends, back) in [(Ends::Wire, PortIndex(1)), (Ends::Tap, PortIndex(0))] {
            let owners = Owners::new(7, ends);
            let owner = owners.of(&frame(0, false, [9, 1], [40_000, 443], false), PortIndex(0));
            for server in 1..200 {
                let reply = frame(1, false, [server, 9], [443, 50_000], false);
                assert_eq!(owners.of(&reply, back), owner, "{ends:?} {server}");
            }
        }
    }

    #[test]
    fn many_clients_are_shared_out_among_all() {
        let owners = Owners::new(4, Ends::Wire);
        let mut share = [0; 4];
        for client in 0..=255 {
            let of_client = frame(0, true, [client, 1], [40_000, 443], false);
            share[owners.of(&of_client, PortIndex(0))] += 1;
        }
        assert!(share.iter().all(|&clients| clients > 20), "{share:?}");
    }
}
