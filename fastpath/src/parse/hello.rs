//! The clear fields of a TLS ClientHello and ServerHello (RFC 8446, 4.1), over one whole handshake
//! message.
//!
//! Only what may be used and exported leaves: names, versions, the fingerprint. Unknown and
//! repeated extensions are tolerated, the first of a kind counts; a list that breaks off inside an
//! extension is read as far as it goes, as a broken message is the server's to refuse. A message
//! whose own lengths do not fit gives nothing. Messages split over segments are joined elsewhere.

use super::ja4::{Codes, Offer};
use crate::burst::{Alpn, Carrier, HostName, Ja4, TlsVersion};

/// What a ClientHello says.
#[derive(Clone, Copy, Debug)]
pub struct ClientFacts {
    /// Server name (RFC 6066), if there is one.
    pub sni: Option<HostName>,
    /// ALPN offer (RFC 7301).
    pub alpn: Alpn,
    /// The highest version offered.
    pub version: TlsVersion,
    /// Fingerprint.
    pub ja4: Ja4,
    /// Whether an encrypted ClientHello extension is present (or its GREASE).
    pub ech: bool,
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
}

/// Reads a ClientHello. `message` starts at the handshake type and is whole; of DTLS it is what the
/// fragments make, with the TLS header of four bytes before.
#[must_use]
pub fn client_hello(message: &[u8], carrier: Carrier) -> Option<ClientFacts> {
    let mut body = body(message, CLIENT_HELLO)?;
    let legacy = body.u16()?;
    body.take(RANDOM_BYTES)?;
    body.u8_block()?;
    if carrier == Carrier::Dtls {
        body.u8_block()?; // the cookie
    }
    let ciphers = body.u16_block()?;
    body.u8_block()?;
    let extensions = Extensions::read(&mut body)?;
    let alpn = extensions.first(ALPN);
    let version = offered_version(extensions.first(SUPPORTED_VERSIONS), legacy);
    let offer = Offer {
        carrier,
        version,
        server_name: extensions.first(SERVER_NAME).is_some(),
        alpn: alpn.and_then(|list| alpn_names(list).next()),
        ciphers: codes(ciphers),
        extensions: extensions.iter().map(|(kind, _)| kind).collect(),
        signature_algorithms: extensions
            .first(SIGNATURE_ALGORITHMS)
            .and_then(|list| Cursor(list).u16_block())
            .map(codes)
            .unwrap_or_default(),
    };
    Some(ClientFacts {
        sni: extensions.first(SERVER_NAME).and_then(host_name),
        alpn: alpn.map_or(Alpn::NONE, offered_alpn),
        version,
        ja4: offer.ja4(),
        ech: extensions.first(ENCRYPTED_CLIENT_HELLO).is_some(),
    })
}

/// Reads a ServerHello (or HelloRetryRequest, which looks alike). `message` starts at the handshake
/// type and is whole.
#[must_use]
pub fn server_hello(message: &[u8]) -> Option<ServerFacts> {
    let mut body = body(message, SERVER_HELLO)?;
    let legacy = body.u16()?;
    body.take(RANDOM_BYTES)?;
    body.u8_block()?;
    let cipher = body.u16()?;
    body.u8()?;
    let extensions = Extensions::read(&mut body)?;
    let chosen = extensions.first(SUPPORTED_VERSIONS).and_then(|chosen| Cursor(chosen).u16());
    let version = TlsVersion(chosen.unwrap_or(legacy));
    let alpn = extensions.first(ALPN).filter(|_| version <= TlsVersion::V1_2);
    let h2 = alpn.and_then(|list| alpn_names(list).next()).map(|name| name == b"h2");
    Some(ServerFacts { version, cipher, h2 })
}

/// The body of a message of this type, as long as its header says.
fn body(message: &[u8], kind: u8) -> Option<Cursor<'_>> {
    let mut message = Cursor(message);
    (message.u8()? == kind).then_some(())?;
    let (high, low) = (message.u8()?, message.u16()?);
    message.take(usize::from(high) << 16 | usize::from(low)).map(Cursor)
}

/// The extensions of a hello, in order. Their lengths have been checked to fill their block.
#[derive(Clone, Copy)]
struct Extensions<'a>(&'a [u8]);

impl<'a> Extensions<'a> {
    /// Takes the extension block, which old hellos do not have.
    fn read(body: &mut Cursor<'a>) -> Option<Self> {
        if body.0.is_empty() {
            return Some(Self(&[]));
        }
        let mut block = Cursor(body.u16_block()?);
        let extensions = Self(block.0);
        while !block.0.is_empty() {
            block.u16()?;
            block.u16_block()?;
        }
        Some(extensions)
    }

    fn iter(self) -> impl Iterator<Item = (u16, &'a [u8])> {
        let mut block = Cursor(self.0);
        std::iter::from_fn(move || Some((block.u16()?, block.u16_block()?)))
    }

    fn first(self, kind: u16) -> Option<&'a [u8]> {
        self.iter().find(|&(k, _)| k == kind).map(|(_, content)| content)
    }
}

/// The highest version in the extension that is not GREASE, else the field from before the
/// extension.
fn offered_version(supported: Option<&[u8]>, legacy: u16) -> TlsVersion {
    let list = supported.and_then(|list| Cursor(list).u8_block()).unwrap_or_default();
    TlsVersion(codes(list).iter().max().unwrap_or(legacy))
}

/// The first name of type host_name (RFC 6066, 3).
fn host_name(extension: &[u8]) -> Option<HostName> {
    let mut list = Cursor(Cursor(extension).u16_block()?);
    loop {
        let (kind, name) = (list.u8()?, list.u16_block()?);
        if kind == 0 {
            return HostName::new(name);
        }
    }
}

fn offered_alpn(extension: &[u8]) -> Alpn {
    let mut alpn = Alpn::NONE;
    alpn_names(extension).for_each(|name| alpn.push(name));
    alpn
}

/// The names of an ALPN extension, as far as the list goes.
fn alpn_names(extension: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut list = Cursor(Cursor(extension).u16_block().unwrap_or_default());
    std::iter::from_fn(move || list.u8_block())
}

/// A list of two-byte codes, GREASE left out. An odd byte at its end is nothing.
fn codes(list: &[u8]) -> Codes {
    list.as_chunks().0.iter().copied().map(u16::from_be_bytes).collect()
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

// Extension types (IANA).
const SERVER_NAME: u16 = 0;
const SIGNATURE_ALGORITHMS: u16 = 13;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;

#[cfg(test)]
mod tests;
