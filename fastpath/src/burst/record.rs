//! What `parse` lets out of TLS: record headers, and the clear fields of the two hellos. No
//! payload.

use super::{Direction, FlowId};
use crate::time::Nanos;

/// The type of a TLS record (RFC 8446, 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentType {
    /// 20
    ChangeCipherSpec,
    /// 21
    Alert,
    /// 22
    Handshake,
    /// 23: application data, and in TLS 1.3 everything else that is encrypted.
    ApplicationData,
}

/// The header of one TLS record, known as soon as its fifth byte has arrived in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Index of the frame in the burst that completed the header.
    pub packet: u16,
    /// When that frame arrived.
    pub at: Nanos,
    /// The flow.
    pub flow: FlowId,
    /// Which way it goes.
    pub direction: Direction,
    /// Its type.
    pub content: ContentType,
    /// Its length field: bytes after the header.
    pub length: u16,
}

/// A TLS version by its number on the wire, e.g. 0x0304.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TlsVersion(pub u16);

impl TlsVersion {
    /// TLS 1.2
    pub const V1_2: Self = Self(0x0303);
    /// TLS 1.3
    pub const V1_3: Self = Self(0x0304);
}

/// Bytes of a name, or of an ALPN offer, at most: a host name has no more (RFC 1035, 2.3.4), and the
/// longest offer of a browser a tenth.
pub const NAME_BYTES_MAX: usize = 255;

/// The ALPN protocol names a client offers, in order, in wire form (RFC 7301: length byte, name).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Alpn<'a>(&'a [u8]);

impl<'a> Alpn<'a> {
    /// The names of a list as far as it goes, and as they have room in [`NAME_BYTES_MAX`] bytes.
    #[must_use]
    pub fn new(list: &'a [u8]) -> Self {
        let mut whole = 0;
        while let Some(&length) = list.get(whole) {
            let end = whole + 1 + usize::from(length);
            if end > list.len().min(NAME_BYTES_MAX) {
                break;
            }
            whole = end;
        }
        Self(&list[..whole])
    }

    /// All of them, in wire form.
    #[must_use]
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The names, in order.
    pub fn names(self) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (&length, tail) = rest.split_first()?;
            let (name, tail) = tail.split_at_checked(usize::from(length))?;
            rest = tail;
            Some(name)
        })
    }

    /// Whether `name` is offered.
    #[must_use]
    pub fn offers(self, name: &[u8]) -> bool {
        self.names().any(|offered| offered == name)
    }
}

impl std::fmt::Debug for Alpn<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.names().map(<[u8]>::escape_ascii)).finish()
    }
}

/// Host names and ALPN offers of the ClientHellos of a burst, one behind the other, so that a hello
/// is small.
#[derive(Debug)]
pub struct HelloNames(Vec<u8>);

/// The place of a name in the [`HelloNames`] of its burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameRange {
    start: u32,
    len: u8,
}

impl HelloNames {
    /// With room for the names of so many hellos.
    pub(super) fn with_capacity(hellos: usize) -> Self {
        Self(Vec::with_capacity(hellos * 2 * NAME_BYTES_MAX))
    }

    /// Takes a name in, cut to [`NAME_BYTES_MAX`] bytes.
    #[inline]
    pub fn push(&mut self, name: &[u8]) -> NameRange {
        // A burst has a few thousand bytes of names.
        let start = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        let len = u8::try_from(name.len()).unwrap_or(u8::MAX);
        self.0.extend_from_slice(&name[..usize::from(len)]);
        NameRange { start, len }
    }

    /// The name in this place; nothing when the burst is another one.
    #[must_use]
    pub fn get(&self, range: NameRange) -> &[u8] {
        let start = range.start as usize;
        self.0.get(start..start + usize::from(range.len)).unwrap_or_default()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// A JA4 fingerprint, 36 ASCII characters (FoxIO JA4.md).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ja4(pub [u8; 36]);

impl Ja4 {
    /// The fingerprint as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("")
    }

    /// The hash of the cipher list: equal for all connections of one application, resumed ones
    /// included.
    #[must_use]
    pub fn ciphers(&self) -> [u8; 12] {
        let mut part = [0; 12];
        part.copy_from_slice(&self.0[11..23]);
        part
    }
}

impl std::fmt::Debug for Ja4 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The place of a fingerprint in the table that keeps its lists. It stands for nothing once the
/// table has forgotten them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FingerprintId {
    /// Which entry.
    pub slot: u32,
    /// Which of those the entry has held.
    pub generation: u32,
}

/// What carries a TLS handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Carrier {
    /// TLS over TCP.
    #[default]
    Tcp,
    /// QUIC.
    Quic,
    /// DTLS over UDP.
    Dtls,
}

/// The clear fields of a ClientHello that may be used and exported.
#[derive(Clone, Copy, Debug)]
pub struct ClientHello {
    /// Index of the frame in the burst that completed it.
    pub packet: u16,
    /// The flow.
    pub flow: FlowId,
    /// The way the hello went: its sender is the client, whatever the ports suggest.
    pub direction: Direction,
    /// What carried it.
    pub carrier: Carrier,
    /// Server name (RFC 6066), if there is one.
    pub sni: Option<NameRange>,
    /// ALPN offer, in wire form.
    pub alpn: NameRange,
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

/// The clear fields of a ServerHello.
#[derive(Clone, Copy, Debug)]
pub struct ServerHello {
    /// Index of the frame in the burst that completed it.
    pub packet: u16,
    /// The flow.
    pub flow: FlowId,
    /// The version chosen.
    pub version: TlsVersion,
    /// The cipher suite chosen.
    pub cipher: u16,
    /// The ALPN protocol chosen is `h2`; `None` where the choice is encrypted (TLS 1.3) or absent.
    pub h2: Option<bool>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alpn_offer_is_kept_in_order_as_far_as_it_goes() {
        let offer = Alpn::new(b"\x02h2\x08http/1.1\x09cut");
        assert_eq!(offer.names().collect::<Vec<_>>(), [&b"h2"[..], b"http/1.1"]);
        assert!(offer.offers(b"http/1.1") && !offer.offers(b"cut"));
        let long = [&b"\x02h2"[..], &[252], &[b'x'; 252], b"\x01y"].concat();
        assert_eq!(Alpn::new(&long).names().count(), 1, "the second has no room");
        assert_eq!(Alpn::new(&long[3..]).names().count(), 2);
    }

    #[test]
    fn names_of_a_burst_are_found_in_their_place() {
        let mut names = HelloNames::with_capacity(1);
        let [first, empty, long] =
            [&b"api.test"[..], b"", &[b'a'; 256]].map(|name| names.push(name));
        assert_eq!((names.get(first), names.get(empty)), (&b"api.test"[..], &b""[..]));
        assert_eq!(names.get(long).len(), NAME_BYTES_MAX);
        names.clear();
        assert_eq!(names.get(first), b"");
    }
}
