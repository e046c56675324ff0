//! TLS as it looks from outside: the hellos in clear, and record headers with filler behind them.

use super::scenario::Profile;

/// What TLS 1.3 adds to the plaintext of a record: content type and tag.
pub(super) const OVERHEAD: u32 = 17;
/// Bytes of a record header.
pub(super) const HEADER: u32 = 5;
/// Plaintext of the longest record (RFC 8446, 5.1).
pub(super) const PLAINTEXT_MAX: u32 = 16_384;
/// Plaintext of a `close_notify`.
pub(super) const CLOSE_NOTIFY: u32 = 2;
/// The byte all payload consists of.
pub(super) const FILLER: u8 = 0x5a;

const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

/// The header of a record of encrypted data with this much plaintext.
pub(super) fn header(plaintext: u32) -> [u8; 5] {
    let length = u16::try_from(plaintext + OVERHEAD).unwrap_or(u16::MAX);
    let [high, low] = length.to_be_bytes();
    [APPLICATION_DATA, 3, 3, high, low]
}

/// A ClientHello of TLS 1.3 as this kind of client sends it.
pub(super) fn client_hello(profile: Profile, host: &str) -> Vec<u8> {
    let ciphers: &[u16] = match profile {
        Profile::OpenaiPython | Profile::AnthropicPython | Profile::Httpx => {
            &[0x1302, 0x1303, 0x1301, 0xc02c, 0xc030, 0xc02b, 0xc02f]
        }
        Profile::OpenaiNode | Profile::AnthropicNode => &[0x1302, 0x1303, 0x1301, 0xc02f, 0xc02b],
        Profile::Aiohttp => &[0x1302, 0x1303, 0x1301, 0xc02c, 0xc030, 0x009f],
    };
    let ciphers: Vec<u8> = ciphers.iter().flat_map(|cipher| cipher.to_be_bytes()).collect();
    let name = [&[0][..], &block(host.as_bytes())].concat();
    let key_share = [&[0, 29][..], &block(&[0x77; 32])].concat();
    let extensions = [
        extension(0, &block(&name)),
        extension(16, &block(b"\x08http/1.1")),
        extension(43, &[4, 3, 4, 3, 3]),
        extension(13, &[0, 4, 4, 3, 8, 4]),
        extension(51, &block(&key_share)),
    ]
    .concat();
    let head = [&[3, 3][..], &[0xaa; 32], &[0], &block(&ciphers), &[1, 0]].concat();
    record(HANDSHAKE, &message(1, &[head, block(&extensions)].concat()))
}

/// ServerHello, and the encrypted rest of the server's flight.
pub(super) fn server_flight() -> Vec<u8> {
    let extensions = extension(43, &[3, 4]);
    let body = [&[3, 3][..], &[0xbb; 32], &[0], &[0x13, 0x01], &[0], &block(&extensions)].concat();
    let hello = record(HANDSHAKE, &message(2, &body));
    [hello, record(CHANGE_CIPHER_SPEC, &[1]), data(2_800)].concat()
}

/// The client's Finished.
pub(super) fn finished() -> Vec<u8> {
    [record(CHANGE_CIPHER_SPEC, &[1]), data(36)].concat()
}

/// Two session tickets.
pub(super) fn tickets() -> Vec<u8> {
    [data(238), data(238)].concat()
}

fn data(plaintext: u32) -> Vec<u8> {
    let mut bytes = header(plaintext).to_vec();
    bytes.resize((HEADER + plaintext + OVERHEAD) as usize, FILLER);
    bytes
}

fn record(content: u8, body: &[u8]) -> Vec<u8> {
    [&[content, 3, 3][..], &block(body)].concat()
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[kind, a, b, c], body].concat()
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &block(content)].concat()
}

/// Bytes behind their length in two.
fn block(content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap_or(u16::MAX).to_be_bytes();
    [&length[..], content].concat()
}
