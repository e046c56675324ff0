//! Hellos made in code, one fact a test, and arbitrary ones.
#![allow(clippy::indexing_slicing, reason = "a test may panic")]

use std::cell::RefCell;

use proptest::prelude::*;

use super::*;

fn client_hello_tcp(message: &[u8]) -> Option<ClientFacts<'_>> {
    thread_local!(static MAKER: RefCell<Fingerprinter> = RefCell::default());
    MAKER.with_borrow_mut(|maker| client_hello(message, Carrier::Tcp, maker))
}

fn u16_block(content: &[u8]) -> Vec<u8> {
    [&u16::try_from(content.len()).unwrap().to_be_bytes()[..], content].concat()
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &u16_block(content)].concat()
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[kind], &len[1..], body].concat()
}

fn client(ciphers: &[u8], extensions: &[Vec<u8>]) -> Vec<u8> {
    let head = [&[3, 3][..], &[0xaa; 32], &[0], &u16_block(ciphers), &[1, 0]].concat();
    message(1, &[head, u16_block(&extensions.concat())].concat())
}

fn server(legacy: [u8; 2], cipher: [u8; 2], extensions: &[Vec<u8>]) -> Vec<u8> {
    let head = [&legacy[..], &[0xbb; 32], &[0], &cipher, &[0]].concat();
    message(2, &[head, u16_block(&extensions.concat())].concat())
}

fn server_name(name: &[u8]) -> Vec<u8> {
    extension(0, &u16_block(&[&[0][..], &u16_block(name)].concat()))
}

fn alpn(list: &[u8]) -> Vec<u8> {
    extension(16, &u16_block(list))
}

/// A hello of TLS 1.3 with GREASE everywhere.
fn modern() -> Vec<u8> {
    client(
        &[0x1a, 0x1a, 0x13, 0x02, 0x13, 0x01],
        &[
            extension(0x2a2a, &[]),
            server_name(b"api.example.com"),
            alpn(b"\x02h2\x08http/1.1"),
            extension(43, &[6, 0xfa, 0xfa, 3, 4, 3, 3]),
            extension(13, &[0, 4, 4, 3, 8, 4]),
            extension(0xfe0d, &[0; 8]),
        ],
    )
}

#[test]
fn a_modern_hello_is_read() {
    let hello = modern();
    let facts = client_hello_tcp(&hello).unwrap();
    assert_eq!(facts.sni.unwrap(), b"api.example.com");
    assert_eq!(facts.alpn.names().collect::<Vec<_>>(), [&b"h2"[..], b"http/1.1"]);
    assert_eq!(facts.version, TlsVersion::V1_3);
    assert!(facts.ech);
    assert!(facts.ja4.as_str().starts_with("t13d0205h2_"), "{:?}", facts.ja4);
}

#[test]
fn without_extensions_the_legacy_version_counts() {
    let body = [&[3, 1][..], &[0; 32], &[0], &u16_block(&[0, 0x2f]), &[1, 0]].concat();
    let hello = message(1, &body);
    let facts = client_hello_tcp(&hello).unwrap();
    assert_eq!(facts.version, TlsVersion(0x0301));
    assert!(facts.sni.is_none() && !facts.ech);
    assert!(facts.ja4.as_str().starts_with("t10i010000_"), "{:?}", facts.ja4);
}

#[test]
fn versions_that_are_all_grease_leave_the_legacy_one() {
    let hello = client(&[], &[extension(43, &[2, 0x3a, 0x3a])]);
    let facts = client_hello_tcp(&hello).unwrap();
    assert_eq!(facts.version, TlsVersion::V1_2);
}

#[test]
fn a_server_name_extension_without_a_name_still_is_a_d() {
    let hello = client(&[], &[extension(0, &[])]);
    let facts = client_hello_tcp(&hello).unwrap();
    assert!(facts.sni.is_none());
    assert_eq!(facts.ja4.as_str().as_bytes()[3], b'd');
}

#[test]
fn the_first_of_two_extensions_counts_and_both_are_in_the_fingerprint() {
    let hello = client(&[], &[server_name(b"first"), server_name(b"second")]);
    let facts = client_hello_tcp(&hello).unwrap();
    assert_eq!(facts.sni.unwrap(), b"first");
    assert!(facts.ja4.as_str().starts_with("t12d0002"), "{:?}", facts.ja4);
}

#[test]
fn extensions_that_do_not_fit_their_block_give_nothing() {
    let broken = client(&[], &[vec![0, 0, 0, 9, 1]]);
    assert!(client_hello_tcp(&broken).is_none());
    assert!(client_hello_tcp(&server(*b"\x03\x03", [0x13, 1], &[])).is_none(), "not a ClientHello");
}

#[test]
fn a_hello_cut_anywhere_gives_nothing() {
    let whole = modern();
    for len in 0..whole.len() {
        assert!(client_hello_tcp(&whole[..len]).is_none(), "{len} bytes");
    }
}

#[test]
fn ten_thousand_ciphers_do_not_hurt() {
    let hello = client(&[0xc0; 20_000], &[]);
    let facts = client_hello_tcp(&hello).unwrap();
    assert!(facts.ja4.as_str().starts_with("t12i9900"), "{:?}", facts.ja4);
}

#[test]
fn a_server_of_tls_1_3_hides_its_protocol() {
    let facts = server_hello(&server([3, 3], [0x13, 1], &[extension(43, &[3, 4])])).unwrap();
    let expected =
        ServerFacts { version: TlsVersion::V1_3, cipher: 0x1301, h2: None, retry: false };
    assert_eq!(facts, expected);
}

#[test]
fn a_hello_retry_request_is_told_by_its_random() {
    let mut bytes = server([3, 3], [0x13, 1], &[extension(43, &[3, 4])]);
    assert!(!server_hello(&bytes).unwrap().retry);
    bytes[6..38].copy_from_slice(&RETRY_RANDOM);
    assert!(server_hello(&bytes).unwrap().retry);
}

#[test]
fn an_encrypted_server_name_is_seen() {
    let hello = client(&[], &[extension(0xffce, &[0; 8])]);
    let facts = client_hello_tcp(&hello).unwrap();
    assert!(facts.esni && !facts.ech);
}

#[test]
fn a_server_of_tls_1_2_tells_its_protocol() {
    let chosen =
        |list: &[u8]| server_hello(&server([3, 3], [0xc0, 0x2f], &[alpn(list)])).unwrap().h2;
    assert_eq!(chosen(b"\x02h2"), Some(true));
    assert_eq!(chosen(b"\x08http/1.1"), Some(false));
    assert_eq!(server_hello(&server([3, 3], [0xc0, 0x2f], &[])).unwrap().h2, None);
}

proptest! {
    #[test]
    fn arbitrary_messages_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = (client_hello_tcp(&message(1, &bytes)), server_hello(&message(2, &bytes)));
        let _ = (client_hello_tcp(&bytes), server_hello(&bytes));
    }

    #[test]
    fn mutated_hellos_do_not_panic(
        mutations in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = modern();
        for (at, byte) in mutations {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = client_hello_tcp(&bytes);
    }
}
