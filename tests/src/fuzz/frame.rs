//! Any bytes as frames.

use fastpath::lcore::Mode;
use fastpath::port::mem::MemPort;
use fastpath::port::pcap::PcapPort;

use super::input::{Input, START};
use super::{pcap_file, play};

/// Link types a capture can have besides Ethernet, by their numbers in the registry of link-layer
/// header types (draft-ietf-opsawg-pcaplinktype).
const LINK_TYPES: [u32; 16] =
    [0, 9, 12, 14, 50, 51, 101, 104, 105, 108, 113, 127, 192, 228, 229, 276];

/// Plays an input as frames: a byte of flags, then packets.
///
/// Flags: bit 0, observe instead of wire; bits 4 to 7 with bit 1, a link type other than Ethernet,
/// for which the frames are played from a capture.
///
/// # Panics
/// When a promise of the loop is broken.
pub fn frame(data: &[u8]) {
    let mut input = Input(data);
    let flags = input.u8();
    let mode = if flags & 1 == 0 { Mode::Wire } else { Mode::Observe };
    let mut at = START;
    let arrivals = input.packets().map(|packet| {
        at += packet.wait();
        (at, packet.port(), packet.bytes.to_vec())
    });
    if flags & 2 == 0 {
        play(MemPort::new(arrivals.collect()), mode);
        return;
    }
    let link_type = LINK_TYPES[usize::from(flags >> 4)];
    let frames: Vec<_> = arrivals.map(|(at, _, bytes)| (at, bytes)).collect();
    let capture = std::io::Cursor::new(pcap_file::classic(link_type, &frames));
    if let Ok(port) = PcapPort::from_reader(capture, "frames") {
        play(port, mode);
    }
}
