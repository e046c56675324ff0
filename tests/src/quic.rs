//! The beginning of a QUIC connection as a client sends it: Initials sealed as RFC 9001 asks, and
//! the packets that may stand beside them.

use aes::Aes128;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes_gcm::Aes128Gcm;
use aes_gcm::aead::AeadInOut;
use hkdf::Hkdf;
use sha2::Sha256;

/// QUIC version 1 (RFC 9000).
pub const V1: u32 = 1;
/// QUIC version 2 (RFC 9369).
pub const V2: u32 = 0x6b33_43cf;
/// One version of each salt, and the salt.
pub const SALTS: [(u32, &str); 8] = [
    (V1, "38762cf7f55934b34d179ae6a4c80cadccbb7f0a"),
    (V2, "0dede3def700a6db819381be6e269dcbf9bd2ed9"),
    (0xff00_001d, "afbfec289993d24c9e9786f19c6111e04390a899"),
    (0xff00_001b, "c3eef712c72ebb5a11a7d2432bb46365bef9f502"),
    (0xface_b002, "c3eef712c72ebb5a11a7d2432bb46365bef9f502"),
    (0xff00_0016, "7fbcdb0e7c66bbe9193a96cd21519ebd7a02644a"),
    (T050, "7ff579e5acd072915580304c43a2367c60488310"),
    (T051, "7a4edef4e7ccee5fa4506c19124fc8ccda6e033d"),
];
const T050: u32 = 0x5430_3530;
const T051: u32 = 0x5430_3531;

/// The payload of an Initial at least, so that its datagram is long enough (RFC 9000, 14.1).
const PAYLOAD_BYTES_MIN: usize = 1162;

/// A client that opens a connection.
#[derive(Clone, Debug)]
pub struct Client {
    version: u32,
    destination: Vec<u8>,
    source: Vec<u8>,
    token: Vec<u8>,
    key: [u8; 16],
    iv: [u8; 12],
    header: [u8; 16],
    number: u32,
}

impl Client {
    /// A client whose first connection id to the server is `destination`.
    ///
    /// # Panics
    /// When the version is none of [`SALTS`].
    #[must_use]
    pub fn new(version: u32, destination: &[u8]) -> Self {
        let salt = SALTS.iter().find(|(known, _)| *known == version).expect("a version of SALTS").1;
        let (_, initial) = Hkdf::<Sha256>::extract(Some(&bytes(salt)), destination);
        let secret: [u8; 32] = expand(&initial, "client in");
        let client = Hkdf::<Sha256>::from_prk(&secret).expect("a secret of 32 bytes");
        let quic = if version == V2 { "quicv2" } else { "quic" };
        Self {
            version,
            destination: destination.to_vec(),
            source: b"client".to_vec(),
            token: Vec::new(),
            key: expand(&client, &format!("{quic} key")),
            iv: expand(&client, &format!("{quic} iv")),
            header: expand(&client, &format!("{quic} hp")),
            number: 0,
        }
    }

    /// The client after a Retry: keys from the server's connection id, and its token.
    #[must_use]
    pub fn retried(&self, server: &[u8], token: &[u8]) -> Self {
        Self { token: token.to_vec(), number: self.number, ..Self::new(self.version, server) }
    }

    /// The client once it knows the server's connection id: its keys stay.
    #[must_use]
    pub fn answered(&self, server: &[u8]) -> Self {
        Self { destination: server.to_vec(), ..self.clone() }
    }

    /// An Initial with these frames, padded.
    ///
    /// # Panics
    /// When it would be longer than a datagram.
    pub fn initial(&mut self, frames: &[u8]) -> Vec<u8> {
        let mut payload = frames.to_vec();
        payload.resize(payload.len().max(PAYLOAD_BYTES_MIN), 0);
        let mut header = self.long(self.packet_type(0), 3);
        header.extend(varint(self.token.len()));
        header.extend(&self.token);
        header.extend(varint(4 + payload.len() + 16));
        let number = self.number.to_be_bytes();
        self.number += 1;
        header.extend(number);
        let mut nonce = self.iv;
        nonce[8..].iter_mut().zip(number).for_each(|(byte, number)| *byte ^= number);
        let tag = Aes128Gcm::new(&self.key.into())
            .encrypt_inout_detached(&nonce.into(), &header, payload.as_mut_slice().into())
            .expect("shorter than 64 GiB");
        payload.extend(tag);
        let mut mask = <[u8; 16]>::try_from(&payload[..16]).expect("16 bytes").into();
        Aes128::new(&self.header.into()).encrypt_block(&mut mask);
        header[0] ^= mask[0] & 0x0f;
        let at = header.len() - 4;
        header[at..].iter_mut().zip(&mask[1..]).for_each(|(byte, mask)| *byte ^= mask);
        [header, payload].concat()
    }

    /// A 0-RTT packet of this many bytes that nobody can read.
    #[must_use]
    pub fn zero_rtt(&self, len: usize) -> Vec<u8> {
        [self.long(self.packet_type(1), 0), varint(len), vec![0xee; len]].concat()
    }

    /// A Handshake packet of this many bytes that nobody can read.
    #[must_use]
    pub fn handshake(&self, len: usize) -> Vec<u8> {
        [self.long(self.packet_type(2), 0), varint(len), vec![0xee; len]].concat()
    }

    /// A server's Initial to this client, from `server`, that the client's keys do not open.
    #[must_use]
    pub fn server_initial(&self, server: &[u8]) -> Vec<u8> {
        let header = self.to_client(server).long(self.packet_type(0), 0);
        [header, varint(0), varint(1200), vec![0xdd; 1200]].concat()
    }

    /// A Retry to this client: `server` is the connection id to go on with.
    #[must_use]
    pub fn retry(&self, server: &[u8], token: &[u8]) -> Vec<u8> {
        [&self.to_client(server).long(self.packet_type(3), 0), token, &[0xcc; 16]].concat()
    }

    /// A Version Negotiation to this client.
    #[must_use]
    pub fn version_negotiation(&self, versions: &[u32]) -> Vec<u8> {
        let to_client = Self { version: 0, ..self.to_client(&self.destination) };
        let versions: Vec<u8> = versions.iter().flat_map(|version| version.to_be_bytes()).collect();
        [to_client.long(0, 0), versions].concat()
    }

    /// The connection ids as a server sends them.
    fn to_client(&self, server: &[u8]) -> Self {
        Self { destination: self.source.clone(), source: server.to_vec(), ..self.clone() }
    }

    /// The part of a long header that all packets have.
    fn long(&self, packet_type: u8, low: u8) -> Vec<u8> {
        [
            &[0xc0 | packet_type << 4 | low][..],
            &self.version.to_be_bytes(),
            &block(&self.destination),
            &block(&self.source),
        ]
        .concat()
    }

    /// The number of a packet type of version 1 in this version (RFC 9369, 3.2).
    fn packet_type(&self, v1: u8) -> u8 {
        if self.version == V2 { (v1 + 1) % 4 } else { v1 }
    }

    /// A CRYPTO frame of this client's version.
    #[must_use]
    pub fn crypto(&self, offset: usize, data: &[u8]) -> Vec<u8> {
        let kind = if [T050, T051].contains(&self.version) { 8 } else { 6 };
        [&[kind][..], &varint(offset), &varint(data.len()), data].concat()
    }
}

/// HKDF-Expand-Label with an empty context (RFC 8446, 7.1).
fn expand<const N: usize>(secret: &Hkdf<Sha256>, label: &str) -> [u8; N] {
    let label = format!("tls13 {label}");
    let len = u8::try_from(N).expect("a short secret");
    let info = [&[0, len][..], &block(label.as_bytes()), &[0]].concat();
    let mut out = [0; N];
    secret.expand(&info, &mut out).expect("a short secret");
    out
}

/// A variable-length integer of four bytes (RFC 9000, 16).
fn varint(value: usize) -> Vec<u8> {
    let value = u32::try_from(value).expect("a short length");
    (value | 0x8000_0000).to_be_bytes().to_vec()
}

/// Bytes behind their length of one byte.
fn block(content: &[u8]) -> Vec<u8> {
    [&[u8::try_from(content.len()).expect("a short block")], content].concat()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("ASCII"));
    digits.map(|pair| u8::from_str_radix(pair, 16).expect("hex")).collect()
}
