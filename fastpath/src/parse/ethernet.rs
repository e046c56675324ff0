//! The link layer as a wire has it: Ethernet II (RFC 894) with up to three VLAN tags (IEEE 802.1Q,
//! 802.1ad).
//!
//! Frames with any other ethertype, or a length instead of one (IEEE 802.3), are left to
//! [`link`](super::link). One with a fourth tag is not IP here.

use super::ip::Network;
use super::layer::Layer;
use super::link::{self, Carried};
use crate::telemetry::reasons::PassReason;

/// Where the ethertype stands: after two MAC addresses.
const ETHERTYPE_OFFSET: usize = 12;

/// Tags that are looked behind.
const TAGS_MAX: usize = 3;

/// The network protocol of a frame, and its header with what is behind.
pub(super) fn network(frame: Layer<'_>) -> Result<(Network, Layer<'_>), PassReason> {
    let mut offset = ETHERTYPE_OFFSET;
    for _ in 0..=TAGS_MAX {
        let ethertype = frame.be_u16(offset).ok_or(PassReason::TruncatedEthernet)?;
        let behind = || frame.behind(offset + 2).ok_or(PassReason::TruncatedEthernet);
        match ethertype {
            0x0800 => return Ok((Network::V4, behind()?)),
            0x86dd => return Ok((Network::V6, behind()?)),
            // C-tag, S-tag, and the tag of QinQ before it was a standard.
            0x8100 | 0x88a8 | 0x9100 => offset += 4,
            other => return link::network(Carried::Ethertype(other), behind()?),
        }
    }
    Err(PassReason::NotIp)
}
