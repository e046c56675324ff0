//! Marking: sets codepoints in IP headers, and mends the checksum by what has changed.

use crate::act::checksum::updated;
use crate::decide::order::Mark;

/// Bits of congestion notification in the octet of IPv4 and the traffic class of IPv6 (RFC 3168, 5).
const ECN: u8 = 0b11;

/// Marks the IP packet that `packet` begins with; false when it is not IP or its sender does not
/// take part in congestion notification.
pub fn mark(packet: &mut [u8], mark: Mark) -> bool {
    match packet.first().map(|first| first >> 4) {
        Some(4) => mark_v4(packet, mark),
        Some(6) => mark_v6(packet, mark),
        _ => false,
    }
}

fn mark_v4(packet: &mut [u8], mark: Mark) -> bool {
    let Some(header) = packet.first_chunk_mut::<20>() else { return false };
    let Some(class) = marked(header[1], mark) else { return false };
    let checksum = u16::from_be_bytes([header[10], header[11]]);
    let checksum = updated(checksum, &header[..2], &[header[0], class]);
    header[1] = class;
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    true
}

/// The traffic class straddles the first two octets (RFC 8200, 3); nothing sums it up.
fn mark_v6(packet: &mut [u8], mark: Mark) -> bool {
    let Some([first, second]) = packet.first_chunk_mut::<2>() else { return false };
    let Some(class) = marked(*first << 4 | *second >> 4, mark) else { return false };
    *first = *first & 0xf0 | class >> 4;
    *second = *second & 0x0f | class << 4;
    true
}

fn marked(class: u8, mark: Mark) -> Option<u8> {
    match mark {
        Mark::Dscp(codepoint) => Some(codepoint << 2 | class & ECN),
        Mark::CongestionExperienced => (class & ECN != 0).then_some(class | ECN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::act::checksum::Sum;

    fn v4(class: u8) -> Vec<u8> {
        let mut header =
            vec![0x45, class, 0, 40, 7, 7, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        let checksum = Sum::default().bytes(&header).checksum();
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        header
    }

    #[test]
    fn a_codepoint_replaces_the_class_and_leaves_congestion_bits_alone() {
        let mut packet = v4(0b0010_1001);
        assert!(mark(&mut packet, Mark::Dscp(0b10_1110)));
        assert_eq!(packet[1], 0b1011_1001);
        assert_eq!(Sum::default().bytes(&packet).checksum(), 0, "the header still sums up");
        let mut packet = vec![0x60, 0x12, 0x34, 0x56];
        assert!(mark(&mut packet, Mark::Dscp(0b10_1110)));
        assert_eq!(packet, [0x6b, 0x92, 0x34, 0x56]);
    }

    #[test]
    fn congestion_is_marked_only_where_the_sender_understands_it() {
        let mut deaf = v4(0b0010_1000);
        assert!(!mark(&mut deaf, Mark::CongestionExperienced));
        assert_eq!(deaf, v4(0b0010_1000));
        let mut packet = v4(0b0010_1010);
        assert!(mark(&mut packet, Mark::CongestionExperienced));
        assert_eq!(packet, v4(0b0010_1011));
    }
}
