//! The key of a flow: its 5-tuple, the same for both directions.

use std::hash::{BuildHasher, Hash, Hasher};

use foldhash::quality::RandomState;

use super::index::KeyHash;
use crate::burst::{Address, Headers, Protocol};

/// A 5-tuple with the lower (address, port) first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowKey {
    /// The lower end.
    pub low: (Address, u16),
    /// The higher end.
    pub high: (Address, u16),
    /// TCP or UDP.
    pub protocol: Protocol,
}

/// A key in the 12 bytes that a flow entry has for it. Of IPv4: the two addresses, and the two
/// ports. Of IPv6: a digest, and the place of the whole key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ShortKey(pub(super) [u32; 3]);

/// What a short key is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) udp: bool,
    pub(super) v6: bool,
}

/// A key that is looked for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sought {
    pub(super) hash: KeyHash,
    /// Without a place, when it is of IPv6.
    pub(super) key: ShortKey,
    pub(super) kind: Kind,
    /// The frame that it is of comes from the lower end.
    pub(super) source_is_low: bool,
}

/// The hash by which a table alone finds its flows, and the digest of long keys. The quality kind:
/// under some seeds the fast one puts neighbouring ports into few groups.
#[derive(Clone, Debug, Default)]
pub(super) struct KeyHasher {
    places: RandomState,
    digests: RandomState,
}

impl FlowKey {
    /// The key of a frame's flow, and whether the frame's source is the lower end.
    #[must_use]
    pub fn of(headers: &Headers) -> (Self, bool) {
        let source = (headers.source, headers.source_port);
        let destination = (headers.destination, headers.destination_port);
        let source_is_low = source <= destination;
        let (low, high) = if source_is_low { (source, destination) } else { (destination, source) };
        (Self { low, high, protocol: headers.protocol }, source_is_low)
    }
}

impl Hash for FlowKey {
    /// In three numbers: the derived implementation would take seven.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { low, high, protocol } = self;
        low.0.hash(state);
        high.0.hash(state);
        state.write_u64(u64::from(low.1) << 32 | u64::from(high.1) << 16 | *protocol as u64);
    }
}

impl ShortKey {
    /// The same digest, with the place of its key.
    pub(super) fn at(self, place: u32) -> Self {
        let [a, b, _] = self.0;
        Self([a, b, place])
    }

    /// The place of the whole key, of IPv6.
    pub(super) fn place(self) -> u32 {
        self.0[2]
    }

    /// Whether the digest is the same, of IPv6.
    pub(super) fn is_alike(self, other: Self) -> bool {
        self.0[..2] == other.0[..2]
    }

    /// The whole key, of IPv4.
    pub(super) fn v4(self, protocol: Protocol) -> FlowKey {
        let [low, high, ports] = self.0;
        let address = |bits: u32| Address::v4(bits.to_be_bytes());
        let [a, b, c, d] = ports.to_be_bytes();
        let (low_port, high_port) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        FlowKey { low: (address(low), low_port), high: (address(high), high_port), protocol }
    }
}

impl KeyHasher {
    /// The key of a frame's flow.
    #[inline]
    pub(super) fn sought(&self, headers: &Headers) -> Sought {
        let udp = headers.protocol == Protocol::Udp;
        match (headers.source.v4_bits(), headers.destination.v4_bits()) {
            (Some(source), Some(destination)) => {
                let source = (source, headers.source_port);
                let destination = (destination, headers.destination_port);
                let source_is_low = source <= destination;
                let (low, high) =
                    if source_is_low { (source, destination) } else { (destination, source) };
                self.short(low, high, udp, source_is_low)
            }
            _ => {
                let (key, source_is_low) = FlowKey::of(headers);
                Sought { source_is_low, ..self.long(&key) }
            }
        }
    }

    /// A whole key.
    pub(super) fn of_key(&self, key: &FlowKey) -> Sought {
        let FlowKey { low, high, protocol } = *key;
        match (low.0.v4_bits(), high.0.v4_bits()) {
            (Some(a), Some(b)) => {
                self.short((a, low.1), (b, high.1), protocol == Protocol::Udp, true)
            }
            _ => self.long(key),
        }
    }

    #[inline]
    fn short(
        &self,
        (low, low_port): (u32, u16),
        (high, high_port): (u32, u16),
        udp: bool,
        source_is_low: bool,
    ) -> Sought {
        let ports = u32::from(low_port) << 16 | u32::from(high_port);
        let addresses = u128::from(u64::from(low) << 32 | u64::from(high));
        let number = addresses << 64 | u128::from(u64::from(ports) << 1 | u64::from(udp));
        Sought {
            hash: KeyHash(self.places.hash_one(number)),
            key: ShortKey([low, high, ports]),
            kind: Kind { udp, v6: false },
            source_is_low,
        }
    }

    fn long(&self, key: &FlowKey) -> Sought {
        let [a, b, c, d, e, f, g, h] = self.digests.hash_one(key).to_le_bytes();
        let digest = [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]), 0];
        Sought {
            hash: KeyHash(self.places.hash_one(key)),
            key: ShortKey(digest),
            kind: Kind { udp: key.protocol == Protocol::Udp, v6: true },
            source_is_low: true,
        }
    }
}
