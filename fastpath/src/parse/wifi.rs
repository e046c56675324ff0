//! IEEE 802.11 data frames in clear, as a monitor interface captures them. Encrypted frames,
//! management and first are not IP here.

use super::layer::Layer;
use super::link::{Carried, Step, behind};
use crate::telemetry::reasons::PassReason;

/// Frame first, duration, three addresses and sequence control.
const HEADER_BYTES: usize = 24;

/// Looks behind a radiotap header, which tells its length.
pub(super) fn radiotap(frame: Layer<'_>) -> Step<'_> {
    let &[version, _, len0, len1] = frame.first().ok_or(PassReason::TruncatedEthernet)?;
    if version != 0 {
        return Err(PassReason::NotIp);
    }
    Ok((Carried::Ieee80211, behind(frame, usize::from(u16::from_le_bytes([len0, len1])))?))
}

/// Looks behind the header of a data frame (IEEE 802.11, 9.3.2.1), and behind that of the first
/// subframe when it is an aggregate.
pub(super) fn data(layer: Layer<'_>) -> Step<'_> {
    let &[first, flags] = layer.first().ok_or(PassReason::TruncatedEthernet)?;
    let (version, kind, subtype) = (first & 3, first >> 2 & 3, first >> 4);
    let (empty, quality, protected) = (subtype & 4 != 0, subtype & 8 != 0, flags & 0x40 != 0);
    if version != 0 || kind != 2 || empty || protected {
        return Err(PassReason::NotIp);
    }
    let four_addresses = flags & 3 == 3;
    let quality_offset = HEADER_BYTES + if four_addresses { 6 } else { 0 };
    let mut bytes = quality_offset;
    if quality {
        let high_throughput = flags & 0x80 != 0;
        bytes += if high_throughput { 6 } else { 2 };
        let aggregate = layer.bytes.get(quality_offset).is_some_and(|byte| byte & 0x80 != 0);
        bytes += if aggregate { 14 } else { 0 };
    }
    let body = behind(layer, bytes)?;
    if body.bytes.starts_with(&[0xaa, 0xaa, 3]) {
        return Ok((Carried::Llc, body));
    }
    // Some drivers align the body.
    Ok((Carried::Llc, behind(layer, bytes.next_multiple_of(4))?))
}
