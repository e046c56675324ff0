//! Long headers (RFC 8999, 5.1; RFC 9000, 17.2) and the packets that one datagram holds.

use super::varint;
use super::version::Version;

/// Connection ids are no longer than this in any version that can be read (RFC 9000, 17.2).
const CONNECTION_ID_BYTES_MAX: u8 = 20;

/// A packet with a long header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet<'a> {
    /// What it is.
    pub(super) kind: Kind,
    /// Destination connection id.
    pub(super) destination: &'a [u8],
    /// Source connection id.
    pub(super) source: &'a [u8],
    /// From the first byte of its header to the last of its payload.
    pub(super) bytes: &'a [u8],
    /// Where the packet number stands in `bytes`.
    pub(super) number_at: usize,
    /// What follows it in the datagram.
    pub(super) rest: &'a [u8],
}

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An Initial.
    Initial(&'static Version),
    /// A list of versions, at least one of which is known.
    VersionNegotiation,
    /// 0-RTT, Handshake or Retry.
    Other,
}

impl<'a> Packet<'a> {
    /// The packet at the start of `bytes`, if it has a long header of a known version and is whole.
    pub(super) fn first(bytes: &'a [u8]) -> Option<Self> {
        let header = Header::read(bytes)?;
        let Header { destination, source, first, version, mut rest } = header;
        let other = Self { kind: Kind::Other, destination, source, bytes, number_at: 0, rest: &[] };
        let Some(version) = version else {
            return Some(Self { kind: Kind::VersionNegotiation, ..other });
        };
        let packet_type = (first >> 4 & 3).wrapping_sub(version.initial_type) & 3;
        match packet_type {
            INITIAL => {
                let token = varint(&mut rest)?;
                rest = rest.get(usize::try_from(token).ok()?..)?;
            }
            RETRY => return Some(other),
            _ => {}
        }
        let length = usize::try_from(varint(&mut rest)?).ok()?;
        let number_at = bytes.len() - rest.len();
        let (bytes, rest) = bytes.split_at_checked(number_at.checked_add(length)?)?;
        let kind = if packet_type == INITIAL { Kind::Initial(version) } else { Kind::Other };
        Some(Self { kind, destination, source, bytes, number_at, rest })
    }
}

/// Whether a datagram begins with a long header of a version that can be read, or with a list of
/// versions of which one can.
pub(super) fn is_long(bytes: &[u8]) -> bool {
    Header::read(bytes).is_some()
}

/// The part of a long header that no version changes (RFC 8999, 5.1).
struct Header<'a> {
    first: u8,
    /// `None` in a version negotiation.
    version: Option<&'static Version>,
    destination: &'a [u8],
    source: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Header<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (&[first, a, b, c, d], mut rest) = bytes.split_first_chunk()?;
        if first & LONG == 0 {
            return None;
        }
        let number = u32::from_be_bytes([a, b, c, d]);
        let version = if number == 0 { None } else { Some(Version::of(number)?) };
        let destination = connection_id(&mut rest)?;
        let source = connection_id(&mut rest)?;
        if version.is_none() {
            let mut listed = rest.as_chunks().0.iter().map(|&number| u32::from_be_bytes(number));
            listed.find_map(Version::of)?;
        }
        Some(Self { first, version, destination, source, rest })
    }
}

fn connection_id<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (&len, tail) = rest.split_first()?;
    if len > CONNECTION_ID_BYTES_MAX {
        return None;
    }
    let (id, tail) = tail.split_at_checked(usize::from(len))?;
    *rest = tail;
    Some(id)
}

/// The bit of a long header.
const LONG: u8 = 0x80;
/// Packet types, counted from the Initial's (RFC 9000, 17.2; RFC 9369, 3.2).
const INITIAL: u8 = 0;
const RETRY: u8 = 3;
