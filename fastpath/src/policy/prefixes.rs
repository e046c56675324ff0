//! Longest prefix match: one hash lookup for each length that occurs in the policy, longest first.
//!
//! A policy has few lengths, whatever the number of its prefixes, and only a flow that opens asks.

use std::collections::HashMap;
use std::net::IpAddr;

use super::endpoint::{Family, Prefix};

/// What belongs to address prefixes.
#[derive(Debug)]
pub struct Prefixes<T> {
    /// What belongs to each, most important first.
    owners: HashMap<Prefix, Vec<T>>,
    /// Prefix lengths in use, in bits, longest first.
    v4: Vec<u8>,
    v6: Vec<u8>,
}

impl<T> Default for Prefixes<T> {
    fn default() -> Self {
        Self { owners: HashMap::new(), v4: Vec::new(), v6: Vec::new() }
    }
}

impl<T: Copy> Prefixes<T> {
    /// Gives a prefix to an owner. Where two have the same the one added first is more important.
    pub fn add(&mut self, prefix: Prefix, owner: T) {
        let lengths = match prefix.family() {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        };
        if let Err(place) = lengths.binary_search_by(|length| prefix.bits().cmp(length)) {
            lengths.insert(place, prefix.bits());
        }
        self.owners.entry(prefix).or_default().push(owner);
    }

    /// The owner of the longest prefix of `ip` that has one which `fits`.
    #[must_use]
    pub fn longest(&self, ip: IpAddr, fits: impl Fn(T) -> bool) -> Option<T> {
        let lengths = if ip.is_ipv4() { &self.v4 } else { &self.v6 };
        lengths.iter().find_map(|&bits| {
            let owners = self.owners.get(&Prefix::of(ip, bits))?;
            owners.iter().copied().find(|&owner| fits(owner))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;

    use super::*;
    use proptest::prelude::*;

    fn address() -> impl Strategy<Value = IpAddr> {
        // Few addresses, so that prefixes cover them and one another.
        prop_oneof![
            any::<[u8; 2]>().prop_map(|[a, b]| IpAddr::from([a & 1, 0, b & 7, a])),
            any::<[u16; 2]>().prop_map(|[a, b]| IpAddr::from([a & 1, 0, 0, b & 7, 0, 0, 0, a])),
        ]
    }

    fn prefix() -> impl Strategy<Value = Prefix> {
        (address(), any::<u8>())
            .prop_map(|(ip, bits)| Prefix::of(ip, bits % if ip.is_ipv4() { 33 } else { 129 }))
    }

    proptest! {
        #[test]
        fn the_longest_prefix_that_fits_is_found(
            prefixes in prop::collection::vec(prefix(), 0..60),
            asked in prop::collection::vec(address(), 1..20),
            odd in any::<bool>(),
        ) {
            let fits = |owner: u16| !odd || owner % 2 == 1;
            let mut table = Prefixes::default();
            for (owner, &prefix) in (0..).zip(&prefixes) {
                table.add(prefix, owner);
            }
            for ip in asked {
                let owners = (0..).zip(&prefixes);
                let among = owners.filter(|&(owner, prefix)| fits(owner) && prefix.contains(ip));
                let longest = among.max_by_key(|&(owner, prefix)| (prefix.bits(), Reverse(owner)));
                prop_assert_eq!(table.longest(ip, fits), longest.map(|(owner, _)| owner));
            }
        }
    }
}
