//! QUIC Initial packets as a client or server really protects them (RFC 9001, 5; RFC 9369, 3).
//!
//! The keys are those of `rustls`, so that nothing here is taken from what is tested.

use std::sync::LazyLock;

use fastpath::burst::Direction;
use tokio_rustls::rustls::Side;
use tokio_rustls::rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use tokio_rustls::rustls::quic::{Keys, Suite};

/// A version of QUIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// RFC 9000.
    V1,
    /// RFC 9369.
    V2,
    /// draft-29, of which many servers still answer.
    Draft29,
}

/// One Initial packet.
#[derive(Clone, Copy, Debug)]
pub struct Initial<'a> {
    /// Version.
    pub version: Version,
    /// Who sends it: the server's are protected with other keys.
    pub direction: Direction,
    /// Destination connection id of the client's first Initial, from which all keys come.
    pub original_id: &'a [u8],
    /// Destination connection id, at most 20 bytes.
    pub destination_id: &'a [u8],
    /// Source connection id, at most 20 bytes.
    pub source_id: &'a [u8],
    /// Token of a Retry, at most 16,383 bytes.
    pub token: &'a [u8],
    /// Packet number.
    pub number: u32,
    /// The frames in clear. PADDING is added where protection needs it.
    pub frames: &'a [u8],
}

/// Bytes of the packet number: the longest form.
const NUMBER_BYTES: usize = 4;
/// The tag, and the sample of header protection, which begins behind the longest packet number
/// (RFC 9001, 5.4.2).
const TAG_BYTES: usize = 16;
/// What a client pads its datagram to at least (RFC 9000, 14.1).
pub const DATAGRAM_BYTES_MIN: usize = 1200;

static SUITE: LazyLock<Suite> = LazyLock::new(|| {
    let suite = TLS13_AES_128_GCM_SHA256.tls13();
    suite.and_then(|suite| suite.quic_suite()).expect("ring has the cipher of Initials")
});

impl Initial<'_> {
    /// The packet, protected.
    ///
    /// # Panics
    /// When a connection id, the token or the frames are too long for a packet.
    #[must_use]
    pub fn protect(&self) -> Vec<u8> {
        let (version, kind, keys_version) = self.version.facts();
        let mut packet = vec![0xc0 | kind << 4 | 3];
        packet.extend(version.to_be_bytes());
        for id in [self.destination_id, self.source_id] {
            packet.push(u8::try_from(id.len()).expect("at most 20 bytes"));
            packet.extend(id);
        }
        packet.extend(length(self.token.len()));
        packet.extend(self.token);
        packet.extend(length(NUMBER_BYTES + self.frames.len() + TAG_BYTES));
        let number_offset = packet.len();
        packet.extend(self.number.to_be_bytes());
        let side = match self.direction {
            Direction::ToServer => Side::Client,
            Direction::ToClient => Side::Server,
        };
        let keys: Keys = SUITE.keys(self.original_id, side, keys_version);
        let mut payload = self.frames.to_vec();
        let tag = keys.local.packet.encrypt_in_place(u64::from(self.number), &packet, &mut payload);
        packet.extend(payload);
        packet.extend(tag.expect("far below what the cipher may encrypt").as_ref());
        let sample_offset = number_offset + NUMBER_BYTES;
        let sample: [u8; TAG_BYTES] =
            packet[sample_offset..sample_offset + TAG_BYTES].try_into().expect("the tag is there");
        let (header, number) = packet.split_at_mut(number_offset);
        let (first, number) = (&mut header[0], &mut number[..NUMBER_BYTES]);
        keys.local.header.encrypt_in_place(&sample, first, number).expect("a sample of 16 bytes");
        packet
    }
}

impl Version {
    /// Its number on the wire, the type bits of its Initials, and what the keys are derived for.
    fn facts(self) -> (u32, u8, tokio_rustls::rustls::quic::Version) {
        use tokio_rustls::rustls::quic;
        match self {
            Self::V1 => (1, 0, quic::Version::V1),
            Self::V2 => (0x6b33_43cf, 1, quic::Version::V2),
            Self::Draft29 => (0xff00_001d, 0, quic::Version::V1Draft),
        }
    }
}

/// A CRYPTO frame (RFC 9000, 19.6).
#[must_use]
pub fn crypto(offset: usize, bytes: &[u8]) -> Vec<u8> {
    [&[6][..], &length(offset), &length(bytes.len()), bytes].concat()
}

/// A variable-length integer of two bytes, or four where two do not do (RFC 9000, 16).
fn length(n: usize) -> Vec<u8> {
    match u16::try_from(n) {
        Ok(n) if n < 1 << 14 => (n | 1 << 14).to_be_bytes().to_vec(),
        _ => (u32::try_from(n).unwrap_or(0x3fff_ffff) | 2 << 30).to_be_bytes().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protected_packet_opens_with_the_keys_of_the_other_side() {
        let id = [0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08];
        let initial = Initial {
            version: Version::V1,
            direction: Direction::ToServer,
            original_id: &id,
            destination_id: &id,
            source_id: &[],
            token: &[],
            number: 2,
            frames: &crypto(0, &[1, 0, 0, 0]),
        };
        let keys = SUITE.keys(&id, Side::Server, tokio_rustls::rustls::quic::Version::V1);
        let mut packet = initial.protect();
        let number_offset = 1 + 4 + 1 + 8 + 1 + 2 + 2;
        let sample: [u8; 16] = packet[number_offset + 4..][..16].try_into().unwrap();
        let (header, rest) = packet.split_at_mut(number_offset);
        let (number, payload) = rest.split_at_mut(NUMBER_BYTES);
        keys.remote.header.decrypt_in_place(&sample, &mut header[0], number).unwrap();
        assert_eq!((header[0], &number[..]), (0xc3, &[0, 0, 0, 2][..]));
        let header = [&header[..], &number[..]].concat();
        let opened = keys.remote.packet.decrypt_in_place(2, &header, payload).unwrap();
        assert_eq!(opened, initial.frames);
    }
}
