//! TLS as it looks from outside: record headers with something behind them, and the two hellos in
//! clear.

/// What TLS 1.3 adds to the plaintext of a record: content type and tag.
pub const OVERHEAD: usize = 17;
/// Plaintext of the longest record (RFC 8446, 5.1).
pub const PLAINTEXT_MAX: usize = 16_384;

const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

/// A record of encrypted data with this much plaintext. Its body is `fill`, over and over.
///
/// # Panics
/// When the plaintext does not fit one record.
#[must_use]
pub fn data(plaintext: usize, fill: u8) -> Vec<u8> {
    assert!(plaintext <= PLAINTEXT_MAX, "{plaintext} bytes are more than a record holds");
    record(APPLICATION_DATA, &vec![fill; plaintext + OVERHEAD])
}

/// The change_cipher_spec of compatibility mode (RFC 8446, D.4).
#[must_use]
pub fn change_cipher_spec() -> Vec<u8> {
    record(CHANGE_CIPHER_SPEC, &[1])
}

/// What a ClientHello says.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// Server name.
    pub sni: Option<&'a str>,
    /// ALPN, in order; none: no extension.
    pub alpn: &'a [&'a str],
    /// Cipher suites.
    pub ciphers: &'a [u16],
    /// An encrypted ClientHello is in it, or its GREASE: nobody can tell.
    pub ech: bool,
    /// Bytes of an extension that means nothing, as a post-quantum key share would: it makes the
    /// hello longer than a segment.
    pub padding: usize,
}

impl Default for Offer<'_> {
    fn default() -> Self {
        Self { sni: None, alpn: &["http/1.1"], ciphers: CIPHERS, ech: false, padding: 0 }
    }
}

/// The cipher suites of an ordinary offer.
pub const CIPHERS: &[u16] = &[0x1301, 0x1302, 0xc02f];

/// A ClientHello of TLS 1.3 that asks for `sni`, in one record.
#[must_use]
pub fn client_hello(sni: &str, alpn: &[&str], padding: usize) -> Vec<u8> {
    hello(&Offer { sni: Some(sni), alpn, padding, ..Offer::default() })
}

/// A ClientHello of TLS 1.3, in one record.
#[must_use]
pub fn hello(offer: &Offer<'_>) -> Vec<u8> {
    let name = offer.sni.map(|sni| [&[0][..], &u16_block(sni.as_bytes())].concat());
    let names: Vec<u8> = offer.alpn.iter().flat_map(|name| u8_block(name.as_bytes())).collect();
    let ciphers: Vec<u8> = offer.ciphers.iter().flat_map(|cipher| cipher.to_be_bytes()).collect();
    let extensions = [
        name.map(|name| extension(0, &u16_block(&name))),
        (!names.is_empty()).then(|| extension(16, &u16_block(&names))),
        Some(extension(43, &[4, 3, 4, 3, 3])),
        Some(extension(13, &[0, 4, 4, 3, 8, 4])),
        offer.ech.then(|| extension(0xfe0d, &[0xec; 64])),
        Some(extension(0xfe00, &vec![0; offer.padding])),
    ];
    let extensions: Vec<u8> = extensions.into_iter().flatten().flatten().collect();
    let body =
        [&[3, 3][..], &[0xaa; 32], &[0], &u16_block(&ciphers), &[1, 0], &u16_block(&extensions)];
    record(HANDSHAKE, &message(1, &body.concat()))
}

/// A ClientHello like a browser's, with its lists of ciphers and extensions, in one record of 512
/// bytes (RFC 7685). As in a browser the order of the extensions is another each time: that of the
/// `n`-th is turned by `n`.
#[must_use]
pub fn browser_hello(sni: &str, n: usize) -> Vec<u8> {
    const CIPHERS: [u16; 16] = [
        0x2a2a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013,
        0xc014, 0x009c, 0x009d, 0x002f, 0x0035,
    ];
    let codes =
        |codes: &[u16]| codes.iter().flat_map(|code| code.to_be_bytes()).collect::<Vec<_>>();
    let name = [&[0][..], &u16_block(sni.as_bytes())].concat();
    let signatures = [0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601];
    let names = [u8_block(b"h2"), u8_block(b"http/1.1")].concat();
    let mut extensions = [
        extension(0x1a1a, &[]),
        extension(0x001b, &[2, 0, 2]),
        extension(0x0000, &u16_block(&name)),
        extension(0x0033, &u16_block(&[&[0, 29][..], &u16_block(&[0x77; 32])].concat())),
        extension(0x0010, &u16_block(&names)),
        extension(0x4469, &u16_block(&u8_block(b"h2"))),
        extension(0x0017, &[]),
        extension(0x002d, &[1, 1]),
        extension(0x000d, &u16_block(&codes(&signatures))),
        extension(0x0005, &[1, 0, 0, 0, 0]),
        extension(0x0023, &[]),
        extension(0x0012, &[]),
        extension(0x002b, &[6, 0x3a, 0x3a, 3, 4, 3, 3]),
        extension(0xff01, &[0]),
        extension(0x000b, &[1, 0]),
        extension(0x000a, &u16_block(&codes(&[0x4a4a, 29, 23, 24]))),
    ];
    let turn = n % extensions.len();
    extensions.rotate_left(turn);
    let mut extensions = extensions.concat();
    let padding = 384_usize.saturating_sub(extensions.len());
    extensions.extend(extension(0x0015, &vec![0; padding]));
    let ciphers = u16_block(&codes(&CIPHERS));
    let head = [&[3, 3][..], &[0xaa; 32], &u8_block(&[0xcc; 32]), &ciphers, &[1, 0]].concat();
    record(HANDSHAKE, &message(1, &[head, u16_block(&extensions)].concat()))
}

/// A ServerHello that chooses TLS 1.3, in one record.
#[must_use]
pub fn server_hello() -> Vec<u8> {
    let extensions = extension(43, &[3, 4]);
    let body = [&[3, 3][..], &[0xbb; 32], &[0], &[0x13, 0x01], &[0], &u16_block(&extensions)];
    record(HANDSHAKE, &message(2, &body.concat()))
}

fn record(content: u8, body: &[u8]) -> Vec<u8> {
    [&[content, 3, 3][..], &u16_block(body)].concat()
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[kind, a, b, c], body].concat()
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &u16_block(content)].concat()
}

fn u16_block(content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap_or(u16::MAX).to_be_bytes();
    [&length[..], content].concat()
}

fn u8_block(content: &[u8]) -> Vec<u8> {
    [&[u8::try_from(content.len()).unwrap_or(u8::MAX)], content].concat()
}
