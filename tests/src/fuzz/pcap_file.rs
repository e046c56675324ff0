//! Any bytes as a capture file.

use std::io::Cursor;

use fastpath::lcore::Mode;
use fastpath::port::pcap::PcapPort;
use fastpath::time::Nanos;

use super::play;

/// Reads an input as a capture file and plays what there is in it.
///
/// # Panics
/// When a promise of the reader or of the loop is broken.
pub fn pcap_file(data: &[u8]) {
    match PcapPort::from_reader(Cursor::new(data.to_vec()), "input") {
        Ok(port) => {
            play(port, Mode::Observe);
        }
        Err(error) => {
            assert!(!error.to_string().is_empty() && !error.hint().is_empty(), "{error:?}");
            assert!(!error.code().is_empty(), "{error:?}");
        }
    }
}

/// A classic pcap file, little-endian, with microseconds, of whole frames.
pub(super) fn classic(link_type: u32, frames: &[(Nanos, Vec<u8>)]) -> Vec<u8> {
    let mut file =
        [0xa1b2_c3d4, 0x0004_0002, 0, 0, 262_144, link_type].map(u32::to_le_bytes).concat();
    for (at, frame) in frames {
        // Seconds until 2106, and a frame is at most 65,535 bytes long.
        let (seconds, micros) = (at.0 / 1_000_000_000, at.0 % 1_000_000_000 / 1000);
        let words = [seconds, micros, frame.len() as u64, frame.len() as u64];
        file.extend(words.iter().flat_map(|&n| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes()));
        file.extend(frame);
    }
    file
}
