//! The clear fields of a TLS ClientHello and ServerHello (RFC 8446, 4.1), over one whole handshake
//! message.
//!
//! Only what may be used and exported leaves: names, versions, the fingerprint. Unknown and
//! repeated extensions are tolerated, the first of a kind counts; a list that breaks off inside an
//! extension is read as far as it goes, as a broken message is the server's to refuse. A message
//! whose own lengths do not fit gives nothing. Messages split over segments are joined elsewhere.

use super::ja4::{Fingerprinter, Offer, is_grease};
use crate::burst::{
    Alpn, Carrier, ClientHello, FingerprintId, Ja4, NAME_BYTES_MAX, Packets, TlsVersion,
};

/// What a ClientHello says. Names lie in the message until [`ClientFacts::keep`].
#[derive(Clone, Copy, Debug)]
pub struct ClientFacts<'a> {
    /// Server name (RFC 6066), if there is one: 1 to 255 bytes.
    pub sni: Option<&'a [u8]>,
    /// ALPN offer (RFC 7301).
    pub alpn: Alpn<'a>,
    /// The highest version offered.
    pub version: TlsVersion,
    /// Fingerprint.
    pub ja4: Ja4,
    /// Where the lists of the fingerprint are kept.
    pub fingerprint: Option<FingerprintId>,
    /// Whether an encrypted ClientHello extension is present (or its GREASE).
    pub ech: bool,
    /// Whether an encrypted server name is present, the draft that ECH came from.
    pub esni: bool,
}

/// What a ServerHello says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerFacts {
    /// The version chosen.
    pub version: TlsVersion,
    /// The cipher suite chosen.
    pub cipher: u16,
    /// The ALPN protocol chosen is `h2`; `None` where the choice is encrypted (TLS 1.3) or absent.
    pub h2: Option<bool>,
    /// It is a HelloRetryRequest: the choice comes in another ServerHello.
    pub retry: bool,
}

impl ClientFacts<'_> {
    /// Puts the hello into the burst, as the later stages see it.
    pub(super) fn keep(&self, found: super::Found, carrier: Carrier, packets: &mut Packets) {
        let names = &mut packets.hello_names;
        packets.client_hellos.push(ClientHello {
            // A burst has at most BURST_FRAMES frames.
            packet: u16::try_from(found.packet).unwrap_or(u16::MAX),
            flow: found.flow,
            direction: found.direction,
            carrier,
            sni: self.sni.map(|name| names.push(name)),
            alpn: names.push(self.alpn.as_bytes()),
            version: self.version,
            ja4: self.ja4,
            fingerprint: self.fingerprint,
            ech: self.ech,
            esni: self.esni,
        });
    }
}

/// Reads a ClientHello and makes its fingerprint. `message` starts at the handshake type and is
/// whole; of DTLS it is what the fragments make, with the TLS header of four bytes before.
#[must_use]
#[inline]
pub fn client_hello<'a>(
    message: &'a [u8],
    carrier: Carrier,
    fingerprinter: &mut Fingerprinter,
) -> Option<ClientFacts<'a>> {
    let mut body = body(message, CLIENT_HELLO)?;
    let legacy = body.u16()?;
    body.take(RANDOM_BYTES)?;
    body.u8_block()?;
    if carrier == Carrier::Dtls {
        body.u8_block()?; // the cookie
    }
    fingerprinter.begin(body.u16_block()?);
    body.u8_block()?;
    let mut found = Found::default();
    read_extensions(&mut body, |kind, content| {
        fingerprinter.extension(kind);
        found.take(kind, content);
    })?;
    let version = offered_version(found.supported_versions, legacy);
    let alpn = found.alpn.map_or(&[][..], alpn_list);
    let offer = Offer {
        carrier,
        version,
        server_name: found.server_name.is_some(),
        alpn: Cursor(alpn).u8_block().unwrap_or_default(),
    };
    let signatures = found.signature_algorithms.and_then(|list| Cursor(list).u16_block());
    let (ja4, fingerprint) = fingerprinter.finish(&offer, signatures.unwrap_or_default());
    Some(ClientFacts {
        sni: found.server_name.and_then(host_name),
        alpn: Alpn::new(alpn),
        version,
        ja4,
        fingerprint,
        ech: found.ech,
        esni: found.esni,
    })
}

/// Reads a ServerHello (or HelloRetryRequest, which looks alike). `message` starts at the handshake
/// type and is whole.
#[must_use]
pub fn server_hello(message: &[u8]) -> Option<ServerFacts> {
    let mut body = body(message, SERVER_HELLO)?;
    let legacy = body.u16()?;
    let retry = body.take(RANDOM_BYTES)? == RETRY_RANDOM;
    body.u8_block()?;
    let cipher = body.u16()?;
    body.u8()?;
    let mut found = Found::default();
    read_extensions(&mut body, |kind, content| found.take(kind, content))?;
    let chosen = found.supported_versions.and_then(|chosen| Cursor(chosen).u16());
    let version = TlsVersion(chosen.unwrap_or(legacy));
    let alpn = found.alpn.filter(|_| version <= TlsVersion::V1_2);
    let h2 = alpn.and_then(|list| Cursor(alpn_list(list)).u8_block()).map(|name| name == b"h2");
    Some(ServerFacts { version, cipher, h2, retry })
}

/// The body of a message of this type, as long as its header says.
fn body(message: &[u8], kind: u8) -> Option<Cursor<'_>> {
    let mut message = Cursor(message);
    (message.u8()? == kind).then_some(())?;
    let (high, low) = (message.u8()?, message.u16()?);
    message.take(usize::from(high) << 16 | usize::from(low)).map(Cursor)
}

/// The extensions that are looked into: the first of each kind.
#[derive(Default)]
struct Found<'a> {
    server_name: Option<&'a [u8]>,
    alpn: Option<&'a [u8]>,
    supported_versions: Option<&'a [u8]>,
    signature_algorithms: Option<&'a [u8]>,
    ech: bool,
    esni: bool,
}

impl<'a> Found<'a> {
    fn take(&mut self, kind: u16, content: &'a [u8]) {
        let first = match kind {
            SERVER_NAME => &mut self.server_name,
            ALPN => &mut self.alpn,
            SUPPORTED_VERSIONS => &mut self.supported_versions,
            SIGNATURE_ALGORITHMS => &mut self.signature_algorithms,
            ENCRYPTED_CLIENT_HELLO => return self.ech = true,
            ENCRYPTED_SERVER_NAME => return self.esni = true,
            _ => return,
        };
        first.get_or_insert(content);
    }
}

/// Gives each extension to `see`, in order. Old hellos have no extension block. `None` when the
/// lengths of the extensions do not fill their block.
fn read_extensions<'a>(body: &mut Cursor<'a>, mut see: impl FnMut(u16, &'a [u8])) -> Option<()> {
    if body.0.is_empty() {
        return Some(());
    }
    let mut block = Cursor(body.u16_block()?);
    while !block.0.is_empty() {
        see(block.u16()?, block.u16_block()?);
    }
    Some(())
}

/// The highest version in the extension that is not GREASE, else the field from before the
/// extension.
fn offered_version(supported: Option<&[u8]>, legacy: u16) -> TlsVersion {
    let list = supported.and_then(|list| Cursor(list).u8_block()).unwrap_or_default();
    let codes = list.as_chunks().0.iter().map(|&code| u16::from_be_bytes(code));
    TlsVersion(codes.filter(|&code| !is_grease(code)).max().unwrap_or(legacy))
}

/// The first name of type host_name (RFC 6066, 3), when it is as long as a host name can be.
#[inline]
fn host_name(extension: &[u8]) -> Option<&[u8]> {
    let mut list = Cursor(Cursor(extension).u16_block()?);
    loop {
        let (kind, name) = (list.u8()?, list.u16_block()?);
        if kind == 0 {
            return (1..=NAME_BYTES_MAX).contains(&name.len()).then_some(name);
        }
    }
}

/// The names of an ALPN extension, in wire form.
fn alpn_list(extension: &[u8]) -> &[u8] {
    Cursor(extension).u16_block().unwrap_or_default()
}

/// Takes fields off the front of a slice. Every method gives `None`, and takes nothing more of use,
/// when the slice ends before.
#[derive(Clone, Copy)]
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    fn u16(&mut self) -> Option<u16> {
        let (&bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u16::from_be_bytes(bytes))
    }

    /// A block behind its length of one byte.
    fn u8_block(&mut self) -> Option<&'a [u8]> {
        let len = self.u8()?;
        self.take(usize::from(len))
    }

    /// A block behind its length of two bytes.
    fn u16_block(&mut self) -> Option<&'a [u8]> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }
}

// Handshake types.
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;

const RANDOM_BYTES: usize = 32;
/// The random of a HelloRetryRequest: the SHA-256 of its name (RFC 8446, 4.1.3).
const RETRY_RANDOM: [u8; RANDOM_BYTES] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

// Extension types (IANA).
const SERVER_NAME: u16 = 0;
const SIGNATURE_ALGORITHMS: u16 = 13;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
/// draft-ietf-tls-esni-02, not registered.
const ENCRYPTED_SERVER_NAME: u16 = 0xffce;

#[cfg(test)]
mod tests;
