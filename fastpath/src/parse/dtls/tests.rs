//! Records made in code, one fact a test, and arbitrary ones.
#![allow(clippy::indexing_slicing, reason = "a test may panic")]

use std::cell::RefCell;

use proptest::prelude::*;

use super::*;
use crate::burst::{Burst, ClientHello, FlowId, PortIndex, TlsVersion};
use crate::parse::tls::Stream;

/// One flow.
struct One(Handshake);

impl Streams for One {
    fn streams(&mut self, _: FlowId, _: Direction) -> [&mut Stream; 2] {
        unreachable!("UDP has no TCP stream")
    }

    fn handshake(&mut self, _: FlowId) -> &mut Handshake {
        &mut self.0
    }
}

thread_local! {
    /// For all cases of a test: a parser takes its memory once.
    static PARSER: RefCell<Parser> = RefCell::default();
}

/// Reads datagrams of one flow, a burst each; the hellos they gave.
fn read(datagrams: &[Vec<u8>]) -> Vec<ClientHello> {
    let (mut flow, mut hellos) = (One(Handshake::new(1)), Vec::new());
    for payload in datagrams {
        let mut burst = Burst::new();
        burst.push((), Nanos(1), PortIndex(0), 0);
        let found = Found { packet: 0, flow: FlowId(0), direction: Direction::ToServer };
        PARSER.with_borrow_mut(|parser| {
            datagram(found, payload, &mut burst.packets, &mut flow, parser);
        });
        hellos.append(&mut burst.packets.client_hellos);
    }
    hellos
}

/// The body of a ClientHello of DTLS 1.2 with this random and cookie, and 300 ciphers.
fn body(random: u8, cookie: &[u8]) -> Vec<u8> {
    let len = u8::try_from(cookie.len()).unwrap();
    let ciphers = [&600_u16.to_be_bytes()[..], &[0xc0; 600]].concat();
    [&[0xfe, 0xfd][..], &[random; 32], &[0, len], cookie, &ciphers, &[1, 0]].concat()
}

/// A fragment of a handshake message of this type.
fn fragment(kind: u8, sequence: u16, body: &[u8], range: std::ops::Range<usize>) -> Vec<u8> {
    let number = |n: usize| u32::try_from(n).unwrap().to_be_bytes();
    let (length, offset, bytes) = (number(body.len()), number(range.start), number(range.len()));
    let sequence = sequence.to_be_bytes();
    [&[kind], &length[1..], &sequence, &offset[1..], &bytes[1..], &body[range]].concat()
}

fn record(epoch: u8, handshake: &[u8]) -> Vec<u8> {
    let length = u16::try_from(handshake.len()).unwrap().to_be_bytes();
    [&[22, 0xfe, 0xff, 0, epoch, 0, 0, 0, 0, 0, 0], &length[..], handshake].concat()
}

fn whole(sequence: u16, body: &[u8]) -> Vec<u8> {
    record(0, &fragment(1, sequence, body, 0..body.len()))
}

#[test]
fn a_hello_in_one_record_is_read() {
    let payload = whole(0, &body(1, &[]));
    assert!(is_opening(&payload));
    let hellos = read(&[payload]);
    assert_eq!((hellos.len(), hellos[0].carrier), (1, Carrier::Dtls));
    assert_eq!(hellos[0].version, TlsVersion(0xfefd));
    assert!(hellos[0].ja4.as_str().starts_with("dd2i"), "{:?}", hellos[0].ja4);
}

#[test]
fn fragments_are_joined_over_records_and_datagrams() {
    let body = body(1, &[]);
    let part = |range| fragment(1, 0, &body, range);
    let first = [record(0, &part(400..640)), record(0, &[part(0..100), part(80..200)].concat())];
    assert_eq!(read(&[first.concat(), record(0, &part(150..400))]).len(), 1);
    assert_eq!(read(&[first.concat(), record(0, &part(201..400))]).len(), 0, "a byte is missing");
}

#[test]
fn the_hello_with_a_cookie_is_no_second_one() {
    let (first, second) = (whole(0, &body(1, &[])), whole(1, &body(1, &[9; 20])));
    assert_eq!(read(&[first.clone(), second, first]).len(), 1);
}

#[test]
fn another_random_is_another_connection() {
    assert_eq!(read(&[whole(0, &body(1, &[])), whole(0, &body(2, &[]))]).len(), 2);
}

#[test]
fn a_new_message_takes_the_place_of_one_left_unfinished() {
    let (old, new) = (body(1, &[]), body(2, &[7; 8]));
    let half = record(0, &fragment(1, 0, &old, 0..300));
    let parts = [0..300, 300..new.len()].map(|range| record(0, &fragment(1, 1, &new, range)));
    assert_eq!(read(&[half, parts.concat()]).len(), 1);
}

#[test]
fn only_records_in_clear_are_read() {
    let body = body(1, &[]);
    let hello = fragment(1, 0, &body, 0..body.len());
    assert!(!is_opening(&record(1, &hello)));
    assert_eq!(read(&[record(1, &hello)]).len(), 0);
    let later = [record(0, &fragment(2, 0, &body, 0..50)), whole(1, &body)].concat();
    assert_eq!(read(&[later]).len(), 1, "behind another record");
}

#[test]
fn a_fragment_beyond_its_message_is_none() {
    let mut handshake = fragment(1, 0, &body(1, &[]), 0..100);
    handshake[7] = 0xff;
    assert!(!is_opening(&record(0, &handshake)));
    assert_eq!(read(&[record(0, &handshake)]).len(), 0);
}

#[test]
fn a_message_beyond_the_bound_is_given_up_and_counted() {
    let refused = || PARSER.with_borrow(Parser::refused);
    let (long, before) = (vec![0; 20_000], refused());
    assert_eq!(read(&[record(0, &fragment(1, 0, &long, 19_000..19_900))]).len(), 0);
    assert_eq!(refused(), before + 1);
}

proptest! {
    #[test]
    fn arbitrary_datagrams_do_not_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let _ = (is_opening(&bytes), read(&[record(0, &bytes), bytes]));
    }

    #[test]
    fn mutated_hellos_do_not_panic(
        mutations in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = whole(0, &body(1, &[3; 4]));
        for (at, byte) in mutations {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        prop_assert!(read(&[bytes.clone(), bytes]).len() <= 1);
    }
}
