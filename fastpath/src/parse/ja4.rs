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
//! hashed. The same lists are hashed once: clients are few and connections are many, so what was
//! computed lately is kept in a [`FingerprintTable`].

use sha2::{Digest, Sha256};

use crate::burst::{Carrier, FingerprintId, Ja4, TlsVersion};
use crate::telemetry::fingerprints::{FingerprintTable, Fingerprints, Lists};

/// What a fingerprint is made of beside lists.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offer<'a> {
    pub(super) carrier: Carrier,
    pub(super) version: TlsVersion,
    /// Whether there is a server-name extension, whatever is in it.
    pub(super) server_name: bool,
    /// The first ALPN name.
    pub(super) alpn: &'a [u8],
}

/// Makes fingerprints: takes the lists of one hello, in the order ciphers, extensions, signature
/// algorithms, and gives its JA4. About 5 MiB, taken once.
#[derive(Debug)]
pub struct Fingerprinter {
    /// The codes of the hello that is being read, GREASE left out.
    codes: Vec<u16>,
    /// Where the ciphers end.
    ciphers: usize,
    /// Where the extensions end.
    extensions: usize,
    /// Extensions that count but are not hashed.
    not_hashed: usize,
    /// Where a list is sorted.
    sorted: Vec<u16>,
    table: FingerprintTable,
}

/// Codes of one hello, at most: more than its 16-bit lengths allow of each list.
const CODES_MAX: usize = 1 << 16;

impl Default for Fingerprinter {
    fn default() -> Self {
        Self {
            codes: Vec::with_capacity(CODES_MAX),
            ciphers: 0,
            extensions: 0,
            not_hashed: 0,
            sorted: Vec::with_capacity(CODES_MAX),
            table: FingerprintTable::default(),
        }
    }
}

impl Fingerprinter {
    /// Takes the cipher list, and forgets the hello before.
    pub(super) fn begin(&mut self, ciphers: &[u8]) {
        self.codes.clear();
        self.push_list(ciphers);
        (self.ciphers, self.extensions) = (self.codes.len(), self.codes.len());
        self.not_hashed = 0;
    }

    /// Takes the next extension's type.
    pub(super) fn extension(&mut self, kind: u16) {
        if matches!(kind, SERVER_NAME | ALPN) {
            self.not_hashed += 1;
        } else {
            self.push(kind);
            self.extensions = self.codes.len();
        }
    }

    /// The fingerprint of the lists taken, with these signature algorithms, and its place in the
    /// table.
    pub(super) fn finish(
        &mut self,
        offer: &Offer<'_>,
        signature_algorithms: &[u8],
    ) -> (Ja4, Option<FingerprintId>) {
        let lengths = [self.ciphers, self.extensions - self.ciphers];
        let head = head(offer, lengths[0], lengths[1] + self.not_hashed);
        self.push_list(signature_algorithms);
        let lists = Lists { head, codes: &self.codes, lengths };
        self.table.intern(&lists, |lists| ja4(lists, &mut self.sorted))
    }

    /// Who reads the lists of the fingerprints.
    #[must_use]
    pub fn reader(&self) -> Fingerprints {
        self.table.reader()
    }

    /// Fingerprints with lists too long to keep.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.table.refused
    }

    /// Takes two-byte codes. An odd byte at their end is nothing.
    fn push_list(&mut self, list: &[u8]) {
        for &code in list.as_chunks().0 {
            self.push(u16::from_be_bytes(code));
        }
    }

    fn push(&mut self, code: u16) {
        if !is_grease(code) && self.codes.len() < CODES_MAX {
            self.codes.push(code);
        }
    }
}

/// The first part: ten characters.
fn head(offer: &Offer<'_>, ciphers: usize, extensions: usize) -> [u8; 10] {
    let carrier = match offer.carrier {
        Carrier::Tcp => b't',
        Carrier::Quic => b'q',
        Carrier::Dtls => b'd',
    };
    let [v, w] = *version_characters(offer.version);
    let name = if offer.server_name { b'd' } else { b'i' };
    let ([c, d], [e, f]) = (two_digits(ciphers), two_digits(extensions));
    let [a, b] = alpn_characters(offer.alpn);
    [carrier, v, w, name, c, d, e, f, a, b]
}

/// The whole fingerprint, hashed.
fn ja4(lists: &Lists<'_>, sorted: &mut Vec<u16>) -> Ja4 {
    let [ciphers, extensions, signed] = lists.split();
    let mut text = Text::default();
    text.push(&lists.head);
    text.push(b"_");
    text.push(&digest(sort(ciphers, sorted), &[]));
    text.push(b"_");
    text.push(&digest(sort(extensions, sorted), signed));
    Ja4(text.bytes)
}

/// The codes, sorted in a place that is lent for it.
fn sort<'a>(codes: &[u16], sorted: &'a mut Vec<u16>) -> &'a [u16] {
    sorted.clear();
    sorted.extend_from_slice(codes);
    sorted.sort_unstable();
    sorted
}

/// Whether a code is one of the sixteen that mean nothing: 0x0a0a, 0x1a1a, ... 0xfafa (RFC 8701).
pub(super) fn is_grease(code: u16) -> bool {
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

// They are in the first part already.
const SERVER_NAME: u16 = 0x0000;
const ALPN: u16 = 0x0010;

#[cfg(test)]
mod tests {
    use super::*;

    /// Test lists are written as in JA4.md.
    fn bytes(list: &str) -> Vec<u8> {
        let codes = list.split(',').filter(|code| !code.is_empty());
        codes.flat_map(|code| u16::from_str_radix(code, 16).unwrap().to_be_bytes()).collect()
    }

    const CIPHERS: &str =
        "2a2a,1301,1302,1303,c02b,c02f,c02c,c030,cca9,cca8,c013,c014,009c,009d,002f,0035";
    const EXTENSIONS: &str = "1a1a,001b,0000,0033,0010,4469,0017,002d,000d,0005,0023,0012,002b,\
                              ff01,000b,000a,0015,fafa";
    const SIGNATURES: &str = "0403,0804,0401,0503,0805,0501,0806,0601";

    fn offer() -> Offer<'static> {
        let (carrier, version) = (Carrier::Tcp, TlsVersion::V1_3);
        Offer { carrier, version, server_name: true, alpn: b"h2" }
    }

    /// JA4 and JA4_r.
    fn fingerprint(offer: &Offer<'_>, lists: [&str; 3]) -> [String; 2] {
        let mut maker = Fingerprinter::default();
        maker.begin(&bytes(lists[0]));
        bytes(lists[1]).as_chunks().0.iter().for_each(|&kind| {
            maker.extension(u16::from_be_bytes(kind));
        });
        let (ja4, id) = maker.finish(offer, &bytes(lists[2]));
        [ja4.as_str().to_owned(), maker.reader().ja4_r(id.unwrap()).unwrap()]
    }

    #[test]
    fn the_example_of_the_specification() {
        let [ja4, raw] = fingerprint(&offer(), [CIPHERS, EXTENSIONS, SIGNATURES]);
        assert_eq!(ja4, "t13d1516h2_8daaf6152771_e5627efa2ab1");
        assert_eq!(
            raw,
            "t13d1516h2_002f,0035,009c,009d,1301,1302,1303,c013,c014,c02b,c02c,c02f,c030,cca8,cca9_\
             0005,000a,000b,000d,0012,0015,0017,001b,0023,002b,002d,0033,4469,ff01_\
             0403,0804,0401,0503,0805,0501,0806,0601"
        );
    }

    #[test]
    fn the_transport_is_the_first_character() {
        let first = |carrier| fingerprint(&Offer { carrier, ..offer() }, [""; 3])[0].remove(0);
        assert_eq!([Carrier::Tcp, Carrier::Quic, Carrier::Dtls].map(first), ['t', 'q', 'd']);
    }

    #[test]
    fn without_signature_algorithms_there_is_no_underscore() {
        let [ja4, _] = fingerprint(&offer(), [CIPHERS, EXTENSIONS, ""]);
        assert!(ja4.ends_with("_6d807ffa2a79"), "{ja4}");
    }

    #[test]
    fn an_empty_list_is_twelve_zeros() {
        let offer = Offer { server_name: false, alpn: b"", ..offer() };
        let [ja4, _] = fingerprint(&offer, ["", "0a0a", ""]);
        assert_eq!(ja4, "t13i000000_000000000000_000000000000");
    }

    #[test]
    fn a_list_of_thousands_is_hashed_whole() {
        let (mut codes, mut other) = (vec![0xc0; 16_000], vec![0xc0; 16_000]);
        let (ja4, id) = long(&codes);
        assert_eq!(id, None);
        *other.last_mut().unwrap() = 0xc1;
        assert_ne!(long(&other).0, ja4, "the last code counts");
        codes.reverse();
        assert_eq!(long(&codes).0, ja4);
    }

    fn long(ciphers: &[u8]) -> (Ja4, Option<FingerprintId>) {
        let mut maker = Fingerprinter::default();
        maker.begin(ciphers);
        maker.finish(&offer(), &[])
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
