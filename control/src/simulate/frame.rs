//! Frames of the simulated wire: Ethernet, IPv4, TCP, with the checksums a kernel would put there.
//! What arrives is read and checked the same way, so that a data plane that rewrites a frame must
//! keep it right.

use std::net::Ipv4Addr;

/// FIN.
pub(super) const FIN: u8 = 0x01;
/// SYN.
pub(super) const SYN: u8 = 0x02;
/// RST.
pub(super) const RST: u8 = 0x04;
/// ACK.
pub(super) const ACK: u8 = 0x10;

/// Payload bytes of a segment, at most: an MTU of 1,500.
pub(super) const MSS: usize = 1460;

/// Every window is told in units of this many bits, as a SYN says (RFC 7323).
pub(super) const WINDOW_SHIFT: u8 = 7;

const ETHERNET: usize = 14;
/// A frame without its checksum, at least (IEEE 802.3).
const FRAME_MIN: usize = 60;
const IPV4: usize = 20;
const TCP: usize = 20;
/// MSS, a no-operation, the window scale.
const SYN_OPTIONS: [u8; 8] = [2, 4, 0x05, 0xb4, 1, 3, 3, WINDOW_SHIFT];

/// An address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Socket {
    pub(super) address: Ipv4Addr,
    pub(super) port: u16,
}

/// The header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) source: Socket,
    pub(super) destination: Socket,
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) flags: u8,
    /// As it stands in the header.
    pub(super) window: u16,
    /// Payload bytes.
    pub(super) bytes: u32,
}

impl Segment {
    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Why a frame is none that an end takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// It is no TCP over IPv4 over Ethernet, or it is cut.
    Shape,
    /// A checksum is wrong.
    Checksum,
}

/// Writes the frame of `segment` into `frame`, which is empty; `payload` writes what it carries.
pub(super) fn write(segment: &Segment, frame: &mut Vec<u8>, payload: impl FnOnce(&mut Vec<u8>)) {
    let options: &[u8] = if segment.has(SYN) { &SYN_OPTIONS } else { &[] };
    frame.extend([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00]);
    let transport = TCP + options.len() + segment.bytes as usize;
    frame.extend([0x45, 0]);
    frame.extend(u16::try_from(IPV4 + transport).unwrap_or(u16::MAX).to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
    frame.extend(segment.source.address.octets());
    frame.extend(segment.destination.address.octets());
    let sum = fold(sum(&frame[ETHERNET..]));
    frame[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&(!sum).to_be_bytes());
    frame.extend(segment.source.port.to_be_bytes());
    frame.extend(segment.destination.port.to_be_bytes());
    frame.extend(segment.seq.to_be_bytes());
    frame.extend(segment.ack.to_be_bytes());
    let offset = u8::try_from((TCP + options.len()) * 4).unwrap_or(u8::MAX);
    frame.extend([offset, segment.flags]);
    frame.extend(segment.window.to_be_bytes());
    frame.extend([0; 4]);
    frame.extend(options);
    payload(frame);
    let sum = transport_sum(frame);
    frame[ETHERNET + IPV4 + 16..ETHERNET + IPV4 + 18].copy_from_slice(&(!sum).to_be_bytes());
}

/// Reads a frame that has arrived.
pub(super) fn read(frame: &[u8]) -> Result<Segment, Broken> {
    let ip = frame.get(ETHERNET..).filter(|ip| ip.len() >= IPV4 + TCP).ok_or(Broken::Shape)?;
    let total = usize::from(u16_at(ip, 2));
    // What follows is Ethernet's padding: no frame is shorter than 60 bytes.
    let padded = frame.len() == FRAME_MIN && ip.len() > total;
    let ip = if padded { ip.get(..total).unwrap_or(ip) } else { ip };
    if ip.len() < IPV4 + TCP {
        return Err(Broken::Shape);
    }
    let offset = usize::from(ip[IPV4 + 12] >> 4) * 4;
    let shape = frame[12..14] == [8, 0] && ip[0] == 0x45 && ip[9] == 6 && total == ip.len();
    if !shape || offset < TCP || IPV4 + offset > total {
        return Err(Broken::Shape);
    }
    if fold(sum(&ip[..IPV4])) != 0xffff || transport_sum(&frame[..ETHERNET + total]) != 0xffff {
        return Err(Broken::Checksum);
    }
    let tcp = &ip[IPV4..];
    let address = |at: usize| Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]);
    Ok(Segment {
        source: Socket { address: address(12), port: u16_at(tcp, 0) },
        destination: Socket { address: address(16), port: u16_at(tcp, 2) },
        seq: u32_at(tcp, 4),
        ack: u32_at(tcp, 8),
        flags: tcp[13],
        window: u16_at(tcp, 14),
        bytes: u32::try_from(total - IPV4 - offset).unwrap_or(0),
    })
}

/// The sum over pseudo header, TCP header and payload (RFC 9293, 3.1).
fn transport_sum(frame: &[u8]) -> u16 {
    let transport = &frame[ETHERNET + IPV4..];
    let addresses = sum(&frame[ETHERNET + 12..ETHERNET + IPV4]);
    fold(addresses + 6 + transport.len() as u64 + sum(transport))
}

/// Eight bytes at a time: what folds to sixteen bits in the end may be added up in any multiple of
/// them (RFC 1071, 2).
fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let halves = |word: u64| (word >> 32) + (word & 0xffff_ffff);
    let mut sum = words.iter().map(|&word| halves(u64::from_be_bytes(word))).sum::<u64>();
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        sum += halves(u64::from_be_bytes(last));
    }
    sum
}

#[allow(clippy::cast_possible_truncation, reason = "folded to sixteen bits")]
fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(flags: u8, bytes: u32) -> Segment {
        let socket = |last, port| Socket { address: Ipv4Addr::new(10, 0, 0, last), port };
        let (source, destination) = (socket(1, 40_000), socket(2, 443));
        Segment { source, destination, seq: 7, ack: 9, flags, window: 512, bytes }
    }

    #[test]
    fn what_is_written_is_read_again_and_every_flipped_byte_is_noticed() {
        for (flags, bytes) in [(SYN, 0), (ACK, 0), (ACK, 101)] {
            let (segment, mut frame) = (segment(flags, bytes), Vec::new());
            write(&segment, &mut frame, |frame| frame.extend(vec![0x5a; bytes as usize]));
            assert_eq!(read(&frame), Ok(segment));
            for at in ETHERNET..frame.len() {
                frame[at] ^= 0x10;
                assert!(read(&frame).is_err(), "byte {at}");
                frame[at] ^= 0x10;
            }
        }
    }

    #[test]
    fn a_short_frame_may_be_padded_and_no_longer_one() {
        let (segment, mut frame) = (segment(RST | ACK, 0), Vec::new());
        write(&segment, &mut frame, |_| {});
        frame.resize(FRAME_MIN, 0);
        assert_eq!(read(&frame), Ok(segment));
        frame.push(0);
        assert_eq!(read(&frame), Err(Broken::Shape));
    }

    #[test]
    fn noise_is_no_segment() {
        assert_eq!(read(&[]), Err(Broken::Shape));
        assert_eq!(read(&[0x45; 80]), Err(Broken::Shape));
    }
}
