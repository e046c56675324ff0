//! Which spreading the devices of a port can carry, and how many queues each then has.
//!
//! Both directions of a flow come in by different devices and have to reach one lcore, so all
//! devices do it, in the same way, or none. The Toeplitz key repeats every 16 bits: that makes the
//! hash the same with source and destination exchanged, and the same of one address wherever the
//! device puts it.

use crate::port::Spread;

/// What a device offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) driver: String,
    pub(super) rx_queues: u16,
    pub(super) tx_queues: u16,
    /// Queues the device was made with, and that its peer or the kernel fills whoever polls them.
    pub(super) filled: u16,
    /// What it can hash: `RTE_ETH_RSS_*`.
    pub(super) hashes: u64,
    /// Entries of its table from hash to queue.
    pub(super) table: u16,
}

/// Queues of each device, and what is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) spread: Spread,
    /// Receive and transmit queues, by device.
    pub(super) queues: Vec<(u16, u16)>,
}

impl Plan {
    /// The best that all devices can, for so many lcores.
    pub(super) fn of(offers: &[Offer], lcores: u16, pairs: bool, software: bool) -> Self {
        let spread = match lcores {
            1 => Spread::Single,
            _ if software => Spread::Software,
            _ => in_hardware(offers, lcores, pairs).unwrap_or(Spread::Software),
        };
        let queues = |offer: &Offer| match spread {
            Spread::ClientAddress | Spread::FiveTuple => (lcores, lcores),
            Spread::Single | Spread::Software => {
                let filled = offer.filled.clamp(1, offer.rx_queues.max(1));
                (filled, filled.min(offer.tx_queues.max(1)))
            }
        };
        Self { spread, queues: offers.iter().map(queues).collect() }
    }
}

/// The kernel hashes the 5-tuple both ways for the sockets of a packet socket's group.
fn in_hardware(offers: &[Offer], lcores: u16, pairs: bool) -> Option<Spread> {
    let first = offers.first()?;
    let like_first = |offer: &Offer| offer.driver == first.driver && offer.table == first.table;
    let queues = |offer: &Offer| offer.rx_queues >= lcores && offer.tx_queues >= lcores;
    if !offers.iter().all(|offer| like_first(offer) && queues(offer)) {
        return None;
    }
    if first.driver == AF_PACKET {
        return offers.iter().all(|o| o.filled == lcores).then_some(Spread::FiveTuple);
    }
    let all_hash = |what: u64| offers.iter().all(|offer| offer.hashes & what == what);
    if pairs && all_hash(ONE_ADDRESS) && offers.iter().all(|o| o.hashes & ADDRESSES != 0) {
        Some(Spread::ClientAddress)
    } else if all_hash(TCP_PORTS) {
        Some(Spread::FiveTuple)
    } else {
        None
    }
}

/// What the device with this index is to hash; zero without hashing.
pub(super) fn hash_of(spread: Spread, index: u16, offer: &Offer) -> u64 {
    match spread {
        Spread::ClientAddress if index.is_multiple_of(2) => offer.hashes & ADDRESSES | SOURCE_ONLY,
        Spread::ClientAddress => offer.hashes & ADDRESSES | DESTINATION_ONLY,
        Spread::FiveTuple => offer.hashes & (ADDRESSES | PORTS),
        Spread::Single | Spread::Software => 0,
    }
}

/// The key: 0x6d5a again and again (Woo and Park, "Scalable TCP session monitoring with symmetric
/// receive-side scaling", 2012).
pub(super) const fn key() -> [u8; KEY_BYTES_MAX] {
    let mut key = [0x6d; KEY_BYTES_MAX];
    let mut i = 1;
    while i < KEY_BYTES_MAX {
        key[i] = 0x5a;
        i += 2;
    }
    key
}

/// Longer than the key of any device.
const KEY_BYTES_MAX: usize = 64;
/// What a device takes that does not say how long its key is.
pub(super) const KEY_BYTES: u8 = 40;
const AF_PACKET: &str = "net_af_packet";
const SOURCE_ONLY: u64 = dpdk_sys::SHIM_ETH_RSS_L3_SRC_ONLY.cast_unsigned();
const DESTINATION_ONLY: u64 = dpdk_sys::SHIM_ETH_RSS_L3_DST_ONLY;
const ONE_ADDRESS: u64 = SOURCE_ONLY | DESTINATION_ONLY;
const ADDRESSES: u64 = dpdk_sys::SHIM_ETH_RSS_IP;
const PORTS: u64 = dpdk_sys::SHIM_ETH_RSS_TCP | dpdk_sys::SHIM_ETH_RSS_UDP;
const TCP_PORTS: u64 =
    dpdk_sys::SHIM_ETH_RSS_NONFRAG_IPV4_TCP | dpdk_sys::SHIM_ETH_RSS_NONFRAG_IPV6_TCP;

#[cfg(test)]
mod tests {
    use super::*;

    fn nic() -> Offer {
        let driver = "net_nic".to_owned();
        Offer { driver, rx_queues: 16, tx_queues: 16, filled: 1, hashes: ADDRESSES, table: 128 }
    }

    fn spread(offers: &[Offer], lcores: u16) -> Spread {
        Plan::of(offers, lcores, true, false).spread
    }

    #[test]
    fn the_best_that_all_devices_can_is_in_force() {
        let one = Offer { hashes: ADDRESSES | PORTS | ONE_ADDRESS, ..nic() };
        let tuple = Offer { hashes: ADDRESSES | PORTS, ..nic() };
        assert_eq!(spread(&[one.clone(), one.clone()], 4), Spread::ClientAddress);
        assert_eq!(spread(&[one.clone(), tuple.clone()], 4), Spread::FiveTuple);
        assert_eq!(spread(&[one.clone(), nic()], 4), Spread::Software);
        assert_eq!(spread(&[one.clone(), one.clone()], 17), Spread::Software, "too few queues");
        assert_eq!(spread(&[one.clone(), one.clone()], 1), Spread::Single);
        let other = Offer { driver: "net_other".to_owned(), ..one.clone() };
        assert_eq!(spread(&[one.clone(), other], 2), Spread::Software, "hashes may differ");
        assert_eq!(Plan::of(&[one.clone(), one], 2, false, false).spread, Spread::FiveTuple);
        assert_eq!(Plan::of(&[tuple.clone(), tuple], 2, true, true).spread, Spread::Software);
    }

    #[test]
    fn queues_that_are_filled_are_polled_whoever_polls_them() {
        let kernel = |filled| {
            let (driver, queues) = (AF_PACKET.to_owned(), filled);
            Offer { driver, rx_queues: queues, tx_queues: queues, filled, ..Offer::default() }
        };
        let plan = Plan::of(&[kernel(2), kernel(2)], 2, true, false);
        assert_eq!((plan.spread, plan.queues[0]), (Spread::FiveTuple, (2, 2)));
        let plan = Plan::of(&[kernel(3), kernel(3)], 2, true, false);
        assert_eq!((plan.spread, plan.queues[0]), (Spread::Software, (3, 3)));
        let plan = Plan::of(&[kernel(2), nic()], 1, true, false);
        assert_eq!(plan.queues, [(2, 2), (1, 1)]);
    }

    /// RSS as the specification of the hash has it: a shifting key, one bit of input at a time.
    fn toeplitz(input: &[u8]) -> u32 {
        let key = key();
        let word = |bit: usize| {
            (0..32).fold(0_u32, |word, i| {
                let at = bit + i;
                word << 1 | u32::from(key[at / 8] >> (7 - at % 8) & 1)
            })
        };
        let set = |bit: &usize| input[bit / 8] >> (7 - bit % 8) & 1 == 1;
        (0..input.len() * 8).filter(set).fold(0, |hash, bit| hash ^ word(bit))
    }

    #[test]
    fn the_key_is_symmetric_and_takes_an_address_anywhere() {
        let (client, server) = ([10, 1, 2, 3], [192, 0, 2, 9]);
        let (client_port, server_port) = ([0x9c, 0x40], [0x01, 0xbb]);
        let there = [&client[..], &server, &client_port, &server_port].concat();
        let back = [&server[..], &client, &server_port, &client_port].concat();
        assert_eq!(toeplitz(&there), toeplitz(&back));
        let as_source = [&client[..], &[0; 4]].concat();
        let as_destination = [&[0; 4], &client[..]].concat();
        assert_eq!(toeplitz(&as_source), toeplitz(&as_destination));
        assert_ne!(toeplitz(&as_source), toeplitz(&server));
    }
}
