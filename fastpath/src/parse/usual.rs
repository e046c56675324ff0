//! The usual frame, read at once: Ethernet without tags, IPv4 without options and in one piece, TCP.
//!
//! It says of such a frame what [`Walk`](super::frame::Walk) says of it, layer by layer, and leaves
//! all others to that.

use super::layer::Layer;
use super::{ip, tcp};
use crate::burst::{Address, Headers, Protocol};

/// Two MAC addresses and an ethertype.
const ETHERNET_BYTES: usize = 14;
/// IPv4 without options.
const V4_BYTES: usize = 20;
const TRANSPORT_OFFSET: usize = ETHERNET_BYTES + V4_BYTES;

/// The headers of a frame, if it is a usual one.
#[inline]
pub(super) fn headers(frame: &[u8]) -> Option<Headers> {
    let first: &[u8; TRANSPORT_OFFSET] = frame.first_chunk()?;
    // Version 4 and five words; more fragments or an offset would be a piece.
    let &[
        ..,
        0x08,
        0x00,
        0x45,
        _,
        len0,
        len1,
        _,
        _,
        piece0,
        piece1,
        _,
        ip::TCP,
        _,
        _,
        s0,
        s1,
        s2,
        s3,
        d0,
        d1,
        d2,
        d3,
    ] = first
    else {
        return None;
    };
    let wire_bytes = usize::from(u16::from_be_bytes([len0, len1])).checked_sub(V4_BYTES)?;
    if u16::from_be_bytes([piece0, piece1]) & 0x3fff != 0 {
        return None;
    }
    let end = frame.len().min(TRANSPORT_OFFSET + wire_bytes);
    let bytes = frame.get(TRANSPORT_OFFSET..end)?;
    let segment = tcp::segment(Layer { offset: TRANSPORT_OFFSET, bytes, wire_bytes }).ok()?;
    Some(Headers {
        source: Address::v4([s0, s1, s2, s3]),
        destination: Address::v4([d0, d1, d2, d3]),
        source_port: segment.source_port,
        destination_port: segment.destination_port,
        protocol: Protocol::Tcp,
        tcp: segment.tcp,
        datagram: segment.datagram,
        fragment: None,
        network_offset: const { offset(ETHERNET_BYTES) },
        transport_offset: const { offset(TRANSPORT_OFFSET) },
        payload_offset: u32::try_from(TRANSPORT_OFFSET + segment.header_bytes).ok()?,
        payload_bytes: u32::try_from(segment.payload_bytes).ok()?,
        payload_wire_bytes: u32::try_from(segment.payload_wire_bytes).ok()?,
    })
}

#[expect(clippy::cast_possible_truncation, reason = "the offsets of headers are small")]
const fn offset(bytes: usize) -> u16 {
    bytes as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fragment::Fragments;
    use super::super::frame::Walk;
    use super::super::tests::{ethernet, tcp, v4};
    use super::*;
    use crate::burst::Link;
    use crate::time::Nanos;

    #[test]
    fn an_acknowledgment_and_a_segment_with_time_stamps_are_usual() {
        let stamps = [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8];
        for (options, payload) in [(&[][..], &b""[..]), (&stamps, b"hello")] {
            let mut frame = ethernet(&[], 0x0800, &v4(6, &[], 0, &tcp(options, payload)));
            frame.resize(frame.len().max(60), 0);
            assert_eq!(headers(&frame).map(|h| h.payload_bytes as usize), Some(payload.len()));
        }
    }

    #[test]
    fn tags_options_pieces_and_other_protocols_are_left_to_the_walk() {
        let segment = tcp(&[], b"hello");
        for frame in [
            ethernet(&[0x81, 0, 0, 7], 0x0800, &v4(6, &[], 0, &segment)),
            ethernet(&[], 0x0800, &v4(6, &[1, 1, 1, 0], 0, &segment)),
            ethernet(&[], 0x0800, &v4(6, &[], 0x2000, &segment)),
            ethernet(&[], 0x0800, &v4(17, &[], 0, &segment)),
            ethernet(&[], 0x86dd, &v4(6, &[], 0, &segment)),
        ] {
            assert_eq!(headers(&frame), None, "{frame:02x?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_usual_is_what_the_walk_says(
            options in prop::sample::select(vec![0_usize, 4, 12, 40]),
            payload in prop::collection::vec(any::<u8>(), 0..40),
            padding in 0_usize..20,
            changes in prop::collection::vec((0_usize..80, any::<u8>()), 0..4),
            held in 0_usize..160,
        ) {
            let segment = tcp(&vec![1; options], &payload);
            let mut frame = ethernet(&[], 0x0800, &v4(6, &[], 0, &segment));
            frame.resize(frame.len() + padding, 0);
            for (place, byte) in changes {
                if let Some(changed) = frame.get_mut(place) {
                    *changed = byte;
                }
            }
            let wire_bytes = frame.len();
            frame.truncate(held);
            if let Some(usual) = headers(&frame) {
                let mut fragments = Fragments::default();
                let mut walk = Walk { fragments: &mut fragments, now: Nanos::ZERO };
                prop_assert_eq!(walk.frame(Link::Ethernet, &frame, wire_bytes), Ok(usual));
            }
        }
    }
}
