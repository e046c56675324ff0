//! The versions of QUIC whose Initials can be opened, and in what they differ: the salt of the
//! keys, their labels, and the numbers of the packet and frame types.

/// What a version changes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Version {
    /// Salt of the initial secret (RFC 9001, 5.2).
    pub(super) salt: [u8; 20],
    /// Labels of the keys.
    pub(super) labels: Labels,
    /// Packet type of an Initial; Retry is the one before, modulo four.
    pub(super) initial_type: u8,
    /// Numbers of the frames.
    pub(super) frames: FrameTypes,
}

/// How the frames of an Initial are numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameTypes {
    /// RFC 9000, 19.
    Ietf,
    /// As in Google's QUIC before TLS. Only those that a client begins with are known.
    Google,
}

/// The inputs of HKDF-Expand-Label (RFC 8446, 7.1), ready made: length of the output, label behind
/// its length, empty context behind its length.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Labels {
    /// The key of AES-128-GCM.
    pub(super) key: &'static [u8],
    /// Its IV.
    pub(super) iv: &'static [u8],
    /// The key of header protection.
    pub(super) header: &'static [u8],
}

impl Version {
    /// The version of this number, if its Initials can be opened.
    pub(super) fn of(number: u32) -> Option<&'static Self> {
        Some(match number {
            0x0000_0001 | 0xff00_0021..=0xff00_0022 | MVFST_V1 => &V1,
            0x6b33_43cf => &V2,
            0xff00_001d..=0xff00_0020 => &DRAFT_29,
            0xff00_0017..=0xff00_001c => &DRAFT_23,
            0xff00_0016 | MVFST_DRAFT_22 => &DRAFT_22,
            0xface_b000..=0xface_b0ff => &DRAFT_23,
            Q050 => &GOOGLE_Q050,
            T050 => &GOOGLE_T050,
            T051 => &GOOGLE_T051,
            _ => return None,
        })
    }
}

/// Facebook's versions; those that are not named here have the salt of draft 23.
const MVFST_DRAFT_22: u32 = 0xface_b001;
const MVFST_V1: u32 = 0xface_b003;
/// Google's versions, in ASCII.
const Q050: u32 = u32::from_be_bytes(*b"Q050");
const T050: u32 = u32::from_be_bytes(*b"T050");
const T051: u32 = u32::from_be_bytes(*b"T051");

/// RFC 9001, 5.1.
const LABELS_V1: Labels = Labels {
    key: b"\x00\x10\x0etls13 quic key\x00",
    iv: b"\x00\x0c\x0dtls13 quic iv\x00",
    header: b"\x00\x10\x0dtls13 quic hp\x00",
};
/// RFC 9369, 3.3.2.
const LABELS_V2: Labels = Labels {
    key: b"\x00\x10\x10tls13 quicv2 key\x00",
    iv: b"\x00\x0c\x0ftls13 quicv2 iv\x00",
    header: b"\x00\x10\x0ftls13 quicv2 hp\x00",
};

/// RFC 9001, 5.2; drafts 33 and 34 too.
const V1: Version =
    like_v1(*b"\x38\x76\x2c\xf7\xf5\x59\x34\xb3\x4d\x17\x9a\xe6\xa4\xc8\x0c\xad\xcc\xbb\x7f\x0a");
/// RFC 9369, 3.3.1.
const V2: Version = Version {
    salt: *b"\x0d\xed\xe3\xde\xf7\x00\xa6\xdb\x81\x93\x81\xbe\x6e\x26\x9d\xcb\xf9\xbd\x2e\xd9",
    labels: LABELS_V2,
    initial_type: 1,
    frames: FrameTypes::Ietf,
};
/// draft-ietf-quic-tls-29 to 32.
const DRAFT_29: Version =
    like_v1(*b"\xaf\xbf\xec\x28\x99\x93\xd2\x4c\x9e\x97\x86\xf1\x9c\x61\x11\xe0\x43\x90\xa8\x99");
/// draft-ietf-quic-tls-23 to 28.
const DRAFT_23: Version =
    like_v1(*b"\xc3\xee\xf7\x12\xc7\x2e\xbb\x5a\x11\xa7\xd2\x43\x2b\xb4\x63\x65\xbe\xf9\xf5\x02");
const DRAFT_22: Version =
    like_v1(*b"\x7f\xbc\xdb\x0e\x7c\x66\xbb\xe9\x19\x3a\x96\xcd\x21\x51\x9e\xbd\x7a\x02\x64\x4a");
const GOOGLE_Q050: Version =
    google(*b"\x50\x45\x74\xef\xd0\x66\xfe\x2f\x9d\x94\x5c\xfc\xdb\xd3\xa7\xf0\xd3\xb5\x6b\x45");
const GOOGLE_T050: Version =
    google(*b"\x7f\xf5\x79\xe5\xac\xd0\x72\x91\x55\x80\x30\x4c\x43\xa2\x36\x7c\x60\x48\x83\x10");
const GOOGLE_T051: Version =
    google(*b"\x7a\x4e\xde\xf4\xe7\xcc\xee\x5f\xa4\x50\x6c\x19\x12\x4f\xc8\xcc\xda\x6e\x03\x3d");

const fn like_v1(salt: [u8; 20]) -> Version {
    Version { salt, labels: LABELS_V1, initial_type: 0, frames: FrameTypes::Ietf }
}

const fn google(salt: [u8; 20]) -> Version {
    Version { frames: FrameTypes::Google, ..like_v1(salt) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greased_or_unknown_version_cannot_be_opened() {
        for number in [0, 2, 0x1a2a_3a4a, 0xff00_0015, 0xff00_0023, 0x5130_3436, 0x709a_50c4] {
            assert_eq!(Version::of(number), None, "{number:#x}");
        }
    }

    #[test]
    fn each_salt_has_its_versions() {
        let same = [
            (0x0000_0001, 0xff00_0022),
            (0xff00_001d, 0xff00_0020),
            (0xff00_0017, 0xff00_001c),
            (0xff00_0016, 0xface_b001),
            (0xff00_0017, 0xface_b002),
            (0xface_b010, 0xface_b00e),
        ];
        for (one, other) in same {
            assert_eq!(Version::of(one), Version::of(other), "{one:#x}");
        }
        let different = [1, 0x6b33_43cf, 0xff00_001d, 0xff00_0017, 0xff00_0016, Q050, T050, T051];
        for (i, one) in different.iter().enumerate() {
            for other in &different[..i] {
                assert_ne!(Version::of(*one), Version::of(*other), "{one:#x} {other:#x}");
            }
        }
    }
}
