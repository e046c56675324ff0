//! TCP headers (RFC 9293, 3.1) and the options of RFC 7323; the other options are skipped. The
//! checksum is not judged: NICs fill it in late.

use super::layer::Layer;
use crate::burst::{Datagram, Tcp, TcpFlags, Timestamps};
use crate::telemetry::reasons::PassReason;

/// TCP without options.
const HEADER_BYTES: usize = 20;

/// The header has room for 40 bytes of options; no more than that many are walked.
const OPTIONS_MAX: usize = 40;

/// What `parse` takes from a transport header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) source_port: u16,
    pub(super) destination_port: u16,
    pub(super) tcp: Tcp,
    pub(super) datagram: Datagram,
    /// Header bytes that the frame holds: the payload's place is behind them.
    pub(super) header_bytes: usize,
    pub(super) payload_bytes: usize,
    pub(super) payload_wire_bytes: usize,
}

/// Reads the TCP header. A capture that cut the options off still gives a segment: nothing in it is
/// guessed.
#[inline(always)]
pub(super) fn segment(transport: Layer<'_>) -> Result<Segment, PassReason> {
    if transport.wire_bytes < HEADER_BYTES {
        return Err(PassReason::MalformedTransport);
    }
    let header: Option<&[u8; HEADER_BYTES]> = transport.bytes.first_chunk();
    let &[p0, p1, p2, p3, s0, s1, s2, s3, a0, a1, a2, a3, data_offset, flags, w0, w1, ..] =
        header.ok_or(PassReason::TruncatedTransport)?;
    let header_bytes = usize::from(data_offset >> 4) * 4;
    if header_bytes < HEADER_BYTES || header_bytes > transport.wire_bytes {
        return Err(PassReason::MalformedTransport);
    }
    let held = header_bytes.min(transport.bytes.len());
    let flags = TcpFlags(flags);
    let options = transport.bytes.get(HEADER_BYTES..held).unwrap_or_default();
    let Options { timestamps, window_scale } = match options {
        // How every usual system sends them in all segments but the first two.
        [1, 1, 8, 10, v0, v1, v2, v3, e0, e1, e2, e3] => Options {
            timestamps: Some(timestamps([*v0, *v1, *v2, *v3], [*e0, *e1, *e2, *e3])),
            window_scale: None,
        },
        [] => Options::default(),
        _ => self::options(options, flags.syn()),
    };
    Ok(Segment {
        source_port: u16::from_be_bytes([p0, p1]),
        destination_port: u16::from_be_bytes([p2, p3]),
        tcp: Tcp {
            seq: u32::from_be_bytes([s0, s1, s2, s3]),
            ack: u32::from_be_bytes([a0, a1, a2, a3]),
            window: u16::from_be_bytes([w0, w1]),
            flags,
            timestamps,
            window_scale,
        },
        datagram: Datagram::Other,
        header_bytes: held,
        payload_bytes: transport.bytes.len() - held,
        payload_wire_bytes: transport.wire_bytes - header_bytes,
    })
}

/// The options that are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Options {
    timestamps: Option<Timestamps>,
    window_scale: Option<u8>,
}

/// Walks the options: a kind, and after all kinds but two a length that counts both. Ends at the
/// first one that cannot be.
fn options(mut rest: &[u8], syn: bool) -> Options {
    let mut options = Options::default();
    for _ in 0..OPTIONS_MAX {
        rest = match rest {
            [1, rest @ ..] => rest,
            [] | [0, ..] => break,
            [kind, length, ..] => {
                let split = rest.split_at_checked(usize::from(*length).max(2));
                let Some((option, behind)) = split else { break };
                match (kind, option) {
                    (3, [_, 3, shift]) if syn => options.window_scale = Some(*shift),
                    (8, [_, 10, v0, v1, v2, v3, e0, e1, e2, e3]) => {
                        options.timestamps =
                            Some(timestamps([*v0, *v1, *v2, *v3], [*e0, *e1, *e2, *e3]));
                    }
                    _ => {}
                }
                behind
            }
            [_] => break,
        };
    }
    options
}

fn timestamps(value: [u8; 4], echo: [u8; 4]) -> Timestamps {
    Timestamps { value: u32::from_be_bytes(value), echo: u32::from_be_bytes(echo) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMPS: Timestamps = Timestamps { value: 0x0102_0304, echo: 0x0506_0708 };

    /// The segment of a header with these options, of which the capture holds `held` bytes.
    fn read(flags: u8, options: &[u8], held: usize) -> Tcp {
        let words = u8::try_from(5 + options.len() / 4).unwrap();
        let header = [0, 1, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, words << 4, flags, 0, 5, 0, 0, 0, 0];
        let bytes = [&header[..], options].concat();
        let bytes = bytes.get(..HEADER_BYTES + held).unwrap();
        segment(Layer { offset: 0, bytes, wire_bytes: HEADER_BYTES + options.len() }).unwrap().tcp
    }

    #[test]
    fn timestamps_are_found_wherever_they_stand() {
        let usual = [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(read(0x10, &usual, 12).timestamps, Some(STAMPS));
        let syn = [2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 3, 3, 7];
        let tcp = read(0x02, &syn, 20);
        assert_eq!((tcp.timestamps, tcp.window_scale), (Some(STAMPS), Some(7)));
        let behind_sack =
            [1, 1, 5, 10, 9, 9, 9, 9, 9, 9, 9, 9, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0];
        assert_eq!(read(0x10, &behind_sack, 24).timestamps, Some(STAMPS));
    }

    #[test]
    fn options_that_are_cut_or_contradict_themselves_tell_nothing() {
        let usual = [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8];
        for held in 0..12 {
            assert_eq!(read(0x10, &usual, held).timestamps, None, "{held} bytes held");
        }
        assert_eq!(read(0x10, &[8, 9, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1], 12).timestamps, None);
        assert_eq!(read(0x10, &[8, 0, 8, 1, 0, 8, 10, 1, 2, 3, 4, 5], 12).timestamps, None);
        assert_eq!(read(0x10, &[0, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8], 12).timestamps, None);
        assert_eq!(read(0x10, &[3, 3, 7, 0], 4).window_scale, None, "only a SYN scales the window");
    }
}
