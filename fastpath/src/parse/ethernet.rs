//! The link layer: Ethernet II (RFC 894) with up to three VLAN tags (IEEE 802.1Q, 802.1ad).
//!
//! A frame with a length instead of an ethertype (IEEE 802.3: spanning tree, CDP) is not IP here,
//! nor is one with a fourth tag.

use super::ip::be_u16;
use crate::telemetry::reasons::PassReason;

/// Where the ethertype stands: after two MAC addresses.
const ETHERTYPE_OFFSET: usize = 12;

/// Tags that are looked behind.
const TAGS_MAX: usize = 3;

/// The network protocol of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Network {
    V4,
    V6,
}

/// The network protocol and the offset of its header.
pub(super) fn network(frame: &[u8]) -> Result<(Network, usize), PassReason> {
    let mut offset = ETHERTYPE_OFFSET;
    for _ in 0..=TAGS_MAX {
        let ethertype = be_u16(frame, offset).ok_or(PassReason::TruncatedEthernet)?;
        match ethertype {
            0x0800 => return Ok((Network::V4, offset + 2)),
            0x86dd => return Ok((Network::V6, offset + 2)),
            // C-tag, S-tag, and the tag of QinQ before it was a standard.
            0x8100 | 0x88a8 | 0x9100 => offset += 4,
            _ => return Err(PassReason::NotIp),
        }
    }
    Err(PassReason::NotIp)
}
