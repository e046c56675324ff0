//! JA4, the fingerprint of a TLS client, by FoxIO's `JA4.md` (BSD-3-Clause). No other method of
//! JA4+.
//!
//! ```text
//! t13d1516h2_8daaf6152771_e5627efa2ab1
//! | | || | |  |            sorted extensions and, in their order, signature algorithms: SHA-256, 12 digits
//! | | || | |  sorted ciphers: SHA-256, 12 digits
//! | | || | first and last character of the first ALPN name
//! | | || number of extensions
//! | | |number of ciphers
//! | | server name there (d) or not (i)
//! | highest version
//! transport
//! ```
//!
//! GREASE (RFC 8701) is left out everywhere. Server name and ALPN count as extensions but are not
//! hashed.

use sha2::{Digest, Sha256};

use crate::burst::{Carrier, Ja4, TlsVersion};

/// What a fingerprint is made of: lists as they stood in the ClientHello.
#[derive(Clone, Debug)]
pub(super) struct Offer<'a> {
    pub(super) carrier: Carrier,
    pub(super) version: TlsVersion,
    /// Whether there is a server-name extension, whatever is in it.
    pub(super) server_name: bool,
    /// The first ALPN name.
    pub(super) alpn: Option<&'a [u8]>,
    pub(super) ciphers: Codes,
    pub(super) extensions: Codes,
    pub(super) signature_algorithms: Codes,
}

impl Offer<'_> {
    /// The fingerprint.
    pub(super) fn ja4(&self) -> Ja4 {
        let mut text = Text::default();
        text.push(&[match self.carrier {
            Carrier::Tcp => b't',
            Carrier::Quic => b'q',
            Carrier::Dtls => b'd',
        }]);
        text.push(version_characters(self.version));
        text.push(if self.server_name { b"d" } else { b"i" });
        text.push(&two_digits(self.ciphers.as_slice().len()));
        text.push(&two_digits(self.extensions.as_slice().len()));
        text.push(&alpn_characters(self.alpn.unwrap_or_default()));
        text.push(b"_");
        text.push(&digest(self.ciphers.clone().sorted().as_slice(), &[]));
        text.push(b"_");
        let hashed: Codes = self.extensions.iter().filter(|e| !NOT_HASHED.contains(e)).collect();
        text.push(&digest(hashed.sorted().as_slice(), self.signature_algorithms.as_slice()));
        Ja4(text.bytes)
    }
}

/// A list of two-byte codes without its GREASE, in a fixed room. The longest lists seen in the wild
/// hold fewer than 200; of a longer one than [`CODES_MAX`] only the beginning is fingerprinted.
#[derive(Clone, Debug)]
pub(super) struct Codes {
    codes: [u16; CODES_MAX],
    len: usize,
}

impl Codes {
    pub(super) fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        self.as_slice().iter().copied()
    }

    fn as_slice(&self) -> &[u16] {
        self.codes.get(..self.len).unwrap_or_default()
    }

    fn sorted(mut self) -> Self {
        self.codes.get_mut(..self.len).unwrap_or_default().sort_unstable();
        self
    }
}

impl Default for Codes {
    fn default() -> Self {
        Self { codes: [0; CODES_MAX], len: 0 }
    }
}

impl FromIterator<u16> for Codes {
    fn from_iter<I: IntoIterator<Item = u16>>(codes: I) -> Self {
        let mut list = Self::default();
        let codes = codes.into_iter().filter(|&code| !is_grease(code));
        for (room, code) in list.codes.iter_mut().zip(codes) {
            *room = code;
            list.len += 1;
        }
        list
    }
}

/// Whether a code is one of the sixteen that mean nothing: 0x0a0a, 0x1a1a, ... 0xfafa (RFC 8701).
fn is_grease(code: u16) -> bool {
    let [high, low] = code.to_be_bytes();
    high == low && low & 0x0f == 0x0a
}

fn version_characters(version: TlsVersion) -> &'static [u8; 2] {
    match version.0 {
        0x0304 => b"13",
        0x0303 => b"12",
        0x0302 => b"11",
        0x0301 => b"10",
        0x0300 => b"s3",
        0x0002 => b"s2",
        0xfeff => b"d1",
        0xfefd => b"d2",
        0xfefc => b"d3",
        _ => b"00",
    }
}

/// A count of two digits; 99 and above are 99.
fn two_digits(count: usize) -> [u8; 2] {
    let count = u8::try_from(count.min(99)).unwrap_or(99);
    [b'0' + count / 10, b'0' + count % 10]
}

/// First and last character of a name, or of its hexadecimal digits when either is not
/// alphanumeric.
fn alpn_characters(name: &[u8]) -> [u8; 2] {
    match (name.first(), name.last()) {
        (Some(&first), Some(&last))
            if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() =>
        {
            [first, last]
        }
        (Some(&first), Some(&last)) => {
            let [character, _, _, other] = hex_digits(u16::from_be_bytes([first, last]));
            [character, other]
        }
        _ => *b"00",
    }
}

/// The first twelve hexadecimal digits of the SHA-256 of a list, or of two with an underscore
/// between. Twelve zeros for no list.
fn digest(codes: &[u16], more: &[u16]) -> [u8; 12] {
    if codes.is_empty() && more.is_empty() {
        return *b"000000000000";
    }
    let mut hash = Sha256::new();
    write_list(codes, &mut hash);
    if !more.is_empty() {
        hash.update(b"_");
        write_list(more, &mut hash);
    }
    let mut digits = [0; 12];
    let hash = hash.finalize();
    for (four, &bytes) in digits.as_chunks_mut().0.iter_mut().zip(hash.as_chunks().0) {
        *four = hex_digits(u16::from_be_bytes(bytes));
    }
    digits
}

/// The list as JA4 writes it: four digits each, lower case, commas between. Hashing a code at a
/// time would cost more than the hash.
fn write_list(codes: &[u16], hash: &mut Sha256) {
    let mut separator = 1; // the first code has none before it
    for codes in codes.chunks(16) {
        let mut text = [*b",0000"; 16];
        for (text, &code) in text.iter_mut().zip(codes) {
            let [a, b, c, d] = hex_digits(code);
            *text = [b',', a, b, c, d];
        }
        let text = text.as_flattened();
        hash.update(text.get(separator..5 * codes.len()).unwrap_or_default());
        separator = 0;
    }
}

/// Four digits, computed side by side in the four bytes of a word.
fn hex_digits(code: u16) -> [u8; 4] {
    let code = u32::from(code);
    let pairs = (code & 0xff00) << 8 | (code & 0x00ff);
    let nibbles = (pairs & 0x00f0_00f0) << 4 | (pairs & 0x000f_000f);
    let letters = ((nibbles + 0x0606_0606) >> 4) & 0x0101_0101;
    (nibbles + 0x3030_3030 + letters * u32::from(b'a' - b'9' - 1)).to_be_bytes()
}

/// Fills the 36 characters from the left.
struct Text {
    bytes: [u8; 36],
    len: usize,
}

impl Default for Text {
    fn default() -> Self {
        Self { bytes: [b'0'; 36], len: 0 }
    }
}

impl Text {
    fn push(&mut self, part: &[u8]) {
        let end = self.len + part.len();
        if let Some(room) = self.bytes.get_mut(self.len..end) {
            room.copy_from_slice(part);
            self.len = end;
        }
    }
}

/// Codes a list holds, at most.
const CODES_MAX: usize = 256;

/// Server name and ALPN: they are in the first part already.
const NOT_HASHED: [u16; 2] = [0x0000, 0x0010];

#[cfg(test)]
mod tests {
    use super::*;

    /// Test lists are written as in JA4.md.
    fn codes(list: &str) -> Codes {
        list.split(',')
            .filter(|code| !code.is_empty())
            .map(|code| u16::from_str_radix(code, 16).unwrap())
            .collect()
    }

    fn offer() -> Offer<'static> {
        Offer {
            carrier: Carrier::Tcp,
            version: TlsVersion::V1_3,
            server_name: true,
            alpn: Some(b"h2"),
            ciphers: codes(
                "2a2a,1301,1302,1303,c02b,c02f,c02c,c030,cca9,cca8,c013,c014,009c,009d,002f,0035",
            ),
            extensions: codes(
                "1a1a,001b,0000,0033,0010,4469,0017,002d,000d,0005,0023,0012,002b,ff01,000b,000a,\
                 0015,fafa",
            ),
            signature_algorithms: codes("0403,0804,0401,0503,0805,0501,0806,0601"),
        }
    }

    #[test]
    fn the_example_of_the_specification() {
        assert_eq!(offer().ja4().as_str(), "t13d1516h2_8daaf6152771_e5627efa2ab1");
    }

    #[test]
    fn the_transport_is_the_first_character() {
        let first = |carrier| Offer { carrier, ..offer() }.ja4().0[0];
        assert_eq!([Carrier::Tcp, Carrier::Quic, Carrier::Dtls].map(first), *b"tqd");
    }

    #[test]
    fn without_signature_algorithms_there_is_no_underscore() {
        let offer = Offer { signature_algorithms: Codes::default(), ..offer() };
        assert!(offer.ja4().as_str().ends_with("_6d807ffa2a79"));
    }

    #[test]
    fn an_empty_list_is_twelve_zeros() {
        let offer = Offer {
            server_name: false,
            alpn: None,
            ciphers: Codes::default(),
            extensions: codes("0a0a"),
            signature_algorithms: Codes::default(),
            ..offer()
        };
        assert_eq!(offer.ja4().as_str(), "t13i000000_000000000000_000000000000");
    }

    #[test]
    fn counts_end_at_99() {
        assert_eq!([0, 9, 99, 100, 512].map(two_digits), [*b"00", *b"09", *b"99", *b"99", *b"99"]);
    }

    #[test]
    fn an_alpn_name_that_is_not_alphanumeric_is_taken_in_hexadecimal() {
        let cases: [(&[u8], &[u8; 2]); 12] = [
            (b"h2", b"h2"),
            (b"http/1.1", b"h1"),
            (b"", b"00"),
            (b"a", b"aa"),
            (&[0xab], b"ab"),
            (&[0x20], b"20"),
            (&[0xab, 0xcd], b"ad"),
            (&[0x20, 0x61], b"21"),
            (&[0x30, 0xab], b"3b"),
            (&[0x61, 0x20], b"60"),
            (&[0x30, 0x31, 0xab, 0xcd], b"3d"),
            (&[0x30, 0xab, 0xcd, 0x31], b"01"),
        ];
        for (name, expected) in cases {
            assert_eq!(alpn_characters(name), *expected, "{name:02x?}");
        }
    }

    #[test]
    fn versions_have_two_characters_and_a_draft_has_zeros() {
        let characters =
            [0x0304, 0x0303, 0x0302, 0x0301, 0x0300, 0x0002, 0xfeff, 0xfefd, 0xfefc, 0x7f1a].map(
                |version| std::str::from_utf8(version_characters(TlsVersion(version))).unwrap(),
            );
        assert_eq!(characters, ["13", "12", "11", "10", "s3", "s2", "d1", "d2", "d3", "00"]);
    }

    #[test]
    fn hexadecimal_digits_are_those_of_the_standard_library() {
        for code in 0..=u16::MAX {
            assert_eq!(hex_digits(code), format!("{code:04x}").as_bytes());
        }
    }

    #[test]
    fn the_sixteen_grease_codes_and_no_other() {
        let grease: Vec<u16> = (0..=u16::MAX).filter(|&code| is_grease(code)).collect();
        assert_eq!(grease.len(), 16);
        assert!(grease.iter().all(|code| code % 0x1010 == 0x0a0a));
    }
}
