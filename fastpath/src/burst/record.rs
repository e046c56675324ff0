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

/// A host name of at most 255 bytes, as it stood on the wire.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HostName {
    bytes: [u8; 255],
    len: u8,
}

impl HostName {
    /// The name, or `None` when it is longer than a host name can be (RFC 1035) or empty.
    #[must_use]
    #[inline]
    pub fn new(name: &[u8]) -> Option<Self> {
        let len = u8::try_from(name.len()).ok().filter(|&len| len > 0)?;
        let mut bytes = [0; 255];
        bytes[..name.len()].copy_from_slice(name);
        Some(Self { bytes, len })
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl std::fmt::Debug for HostName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_bytes().escape_ascii().fmt(f)
    }
}

/// The ALPN protocol names a client offers, in order, in wire form (RFC 7301: length byte, name).
/// Names beyond 255 bytes in all are left out: ten times the longest offer of a browser.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Alpn {
    bytes: [u8; 255],
    len: u8,
}

impl Alpn {
    /// No name offered.
    pub const NONE: Self = Self { bytes: [0; 255], len: 0 };

    /// Adds a name; a name that does not fit is left out.
    #[inline]
    pub fn push(&mut self, name: &[u8]) {
        let (start, end) = (usize::from(self.len), usize::from(self.len) + 1 + name.len());
        let (Some(room), Ok(length), Ok(len)) =
            (self.bytes.get_mut(start..end), u8::try_from(name.len()), u8::try_from(end))
        else {
            return;
        };
        room[0] = length;
        room[1..].copy_from_slice(name);
        self.len = len;
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.bytes[..usize::from(self.len)];
        std::iter::from_fn(move || {
            let (&length, tail) = rest.split_first()?;
            let (name, tail) = tail.split_at_checked(usize::from(length))?;
            rest = tail;
            Some(name)
        })
    }

    /// Whether `name` is offered.
    #[must_use]
    pub fn offers(&self, name: &[u8]) -> bool {
        self.names().any(|offered| offered == name)
    }
}

impl std::fmt::Debug for Alpn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.names().map(<[u8]>::escape_ascii)).finish()
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
    pub sni: Option<HostName>,
    /// ALPN offer.
    pub alpn: Alpn,
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
    fn alpn_keeps_the_order_and_leaves_out_what_does_not_fit() {
        let mut alpn = Alpn::NONE;
        alpn.push(b"h2");
        alpn.push(&[b'x'; 254]);
        alpn.push(b"http/1.1");
        assert_eq!(alpn.names().collect::<Vec<_>>(), [&b"h2"[..], b"http/1.1"]);
        assert!(alpn.offers(b"http/1.1"));
    }

    #[test]
    fn a_name_of_256_bytes_is_no_host_name() {
        assert!(HostName::new(&[b'a'; 256]).is_none());
        assert_eq!(HostName::new(b"api.test").map(|n| n.as_bytes().len()), Some(8));
    }
}
