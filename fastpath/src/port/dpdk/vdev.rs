//! A virtual device, as EAL wants it spelled, checked before EAL sees it.
//!
//! What `net_af_packet` cannot do, and we cannot mend: an 802.1ad tag leaves as 802.1Q, because the
//! kernel takes the outer tag off and the driver does not look which it was; and a frame that the
//! kernel has merged (TSO, GSO, GRO) beyond its slot is cut off, so switch those off with ethtool.

use std::path::Path;

use super::error::DpdkError;
use super::host;

/// A `--vdev`: a name, arguments, and what follows from them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Vdev {
    /// Driver and number: `net_af_packet0`.
    pub(super) name: String,
    arguments: Vec<String>,
    /// The network interface below it, for `net_af_packet`.
    pub(super) interface: Option<String>,
    /// Payload of the longest frame it carries.
    pub(super) mtu: u16,
    /// Room it wants in an mbuf, beyond what the MTU asks for.
    pub(super) frame_bytes: u16,
}

impl Vdev {
    /// Takes all specifications apart.
    pub(super) fn parse_all(specs: &[String]) -> Result<Vec<Self>, DpdkError> {
        let mut vdevs: Vec<Self> = Vec::with_capacity(specs.len());
        for spec in specs {
            let vdev = Self::parse(spec)?;
            if vdevs.iter().any(|earlier| earlier.name == vdev.name) {
                return Err(DpdkError::DuplicateVdev(vdev.name));
            }
            vdevs.push(vdev);
        }
        Ok(vdevs)
    }

    fn parse(spec: &str) -> Result<Self, DpdkError> {
        let mut parts = spec.split(',').map(str::to_owned);
        let name = parts.next().unwrap_or_default();
        let arguments: Vec<String> = parts.collect();
        let wrong = || DpdkError::VdevWithoutInterface(spec.to_owned());
        if name.is_empty() {
            return Err(wrong());
        }
        let mut vdev = Self { name, arguments, interface: None, mtu: 0, frame_bytes: 0 };
        if vdev.is(AF_PACKET) {
            vdev.interface = Some(vdev.argument("iface").ok_or_else(wrong)?.to_owned());
        }
        if vdev.is(VHOST) {
            vdev.argument("iface").ok_or_else(wrong)?;
        }
        Ok(vdev)
    }

    /// Checks that the device can be made, and settles its MTU: `mtu`, or that of its interface.
    pub(super) fn checked(mut self, mtu: u16) -> Result<Self, DpdkError> {
        self.mtu = mtu;
        if let Some(interface) = self.interface.clone() {
            host::check_capability(host::NET_RAW, &self.name)?;
            host::check_interface(&self.name, &interface)?;
            self.mtu = host::interface_mtu(&interface).unwrap_or(mtu);
            self.widen(mtu.max(self.mtu));
        }
        if self.is(VHOST) && self.argument("client") != Some("1") {
            host::check_socket(Path::new(self.argument("iface").unwrap_or_default()))?;
        }
        Ok(self)
    }

    /// Queues it is made with, where the specification says so: its peer, or the kernel, fills each.
    pub(super) fn queues(&self) -> u16 {
        let given = self.argument("queues").or_else(|| self.argument("qpairs"));
        given.and_then(|queues| queues.parse().ok()).unwrap_or(1)
    }

    /// The specification for EAL.
    pub(super) fn spec(&self) -> String {
        let mut spec = self.name.clone();
        for argument in &self.arguments {
            spec.push(',');
            spec.push_str(argument);
        }
        spec
    }

    /// Makes the slots of an af_packet ring as long as the longest frame, where the user has not:
    /// the kernel cuts off what does not fit, and says nothing. The driver wants an mbuf as long as
    /// a slot, and blocks without a remainder; the kernel wants blocks of whole pages.
    fn widen(&mut self, mtu: u16) {
        let given: Option<u32> = self.argument("framesz").and_then(|bytes| bytes.parse().ok());
        let slot_bytes = given.unwrap_or_else(|| {
            let needed = u32::from(mtu) + SLOT_OVERHEAD_BYTES;
            if needed <= SLOT_BYTES { SLOT_BYTES } else { needed.next_multiple_of(PAGE_BYTES) }
        });
        if given.is_none() && slot_bytes > SLOT_BYTES {
            self.arguments.push(format!("framesz={slot_bytes}"));
            if self.argument("blocksz").is_none() {
                self.arguments.push(format!("blocksz={slot_bytes}"));
            }
        }
        self.frame_bytes = u16::try_from(slot_bytes).unwrap_or(u16::MAX);
    }

    fn is(&self, driver: &str) -> bool {
        self.name.strip_prefix(driver).is_some_and(|n| n.chars().all(|c| c.is_ascii_digit()))
    }

    fn argument(&self, key: &str) -> Option<&str> {
        self.arguments.iter().find_map(|argument| argument.strip_prefix(key)?.strip_prefix('='))
    }
}

const AF_PACKET: &str = "net_af_packet";
const VHOST: &str = "net_vhost";
/// The default slot of the driver.
const SLOT_BYTES: u32 = 2048;
/// In a slot beside the payload: the kernel's header and alignment (82), Ethernet and a tag (18);
/// rounded up.
const SLOT_OVERHEAD_BYTES: u32 = 128;
const PAGE_BYTES: u32 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jumbo_interface_gets_jumbo_slots() {
        let mut vdev = Vdev::parse("net_af_packet0,iface=eth1").unwrap();
        vdev.widen(1500);
        assert_eq!(vdev.spec(), "net_af_packet0,iface=eth1");
        vdev.widen(9000);
        assert_eq!(vdev.spec(), "net_af_packet0,iface=eth1,framesz=12288,blocksz=12288");
        assert_eq!(vdev.frame_bytes, 12288);
    }

    #[test]
    fn slots_the_user_chose_stay() {
        let mut vdev =
            Vdev::parse("net_af_packet0,iface=eth1,framesz=16384,blocksz=32768").unwrap();
        vdev.widen(9000);
        assert_eq!(vdev.spec(), "net_af_packet0,iface=eth1,framesz=16384,blocksz=32768");
        assert_eq!(vdev.frame_bytes, 16384);
    }

    #[test]
    fn af_packet_without_an_interface_is_an_error() {
        assert!(Vdev::parse("net_af_packet0").is_err());
        assert!(Vdev::parse("net_af_packet0,iface=eth1").is_ok());
        assert!(Vdev::parse("net_null0").is_ok());
    }
}
