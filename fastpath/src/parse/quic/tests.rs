//! Datagrams made in code, one fact a test, and arbitrary ones.
#![allow(clippy::indexing_slicing, reason = "a test may panic")]

use std::cell::RefCell;

use proptest::prelude::*;

use super::*;
use crate::burst::{Burst, FlowId, PortIndex};
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
    /// For arbitrary cases: a parser takes its memory once.
    static PARSER: RefCell<Parser> = RefCell::default();
}

/// Reads datagrams of the client, a burst each; how many hellos they gave, and what it counted.
fn read(datagrams: &[Vec<u8>]) -> (usize, Parser) {
    let mut parser = Parser::default();
    (read_with(&mut parser, datagrams), parser)
}

fn read_with(parser: &mut Parser, datagrams: &[Vec<u8>]) -> usize {
    let (mut flow, mut hellos) = (One(Handshake::new(1)), 0);
    for payload in datagrams {
        let mut burst = Burst::new();
        burst.push((), Nanos(1), PortIndex(0), 0);
        let found = Found { packet: 0, flow: FlowId(0), direction: Direction::ToServer };
        datagram(found, payload, &mut burst.packets, &mut flow, parser);
        hellos += burst.packets.client_hellos.len();
    }
    hellos
}

/// A sealed Initial of version 1 with these frames.
fn initial(destination: &[u8], frames: &[u8]) -> Vec<u8> {
    let len = u8::try_from(destination.len()).unwrap();
    let mut header = [&[0xc0, 0, 0, 0, 1, len][..], destination, &[0, 0]].concat();
    let length = u16::try_from(1 + frames.len() + 16).unwrap();
    header.extend((0x4000 | length).to_be_bytes());
    let version = Version::of(1).unwrap();
    let keys = Keys::client(version, destination).unwrap();
    keys::tests::seal(&keys, &header, &[0], frames)
}

/// A CRYPTO frame with a whole ClientHello without extensions.
fn hello() -> Vec<u8> {
    let body = [&[3, 3][..], &[0xaa; 32], &[0, 0, 2, 0x13, 1, 1, 0]].concat();
    let len = u8::try_from(body.len()).unwrap();
    [&[6, 0, 0x40, 4 + len, 1, 0, 0, len][..], &body, &[0; 100]].concat()
}

#[test]
fn a_whole_hello_is_read_and_its_place_given_back() {
    let (hellos, mut parser) = read(&[initial(b"8 octets", &hello())]);
    assert_eq!((hellos, parser.counters.initials, parser.refused()), (1, 1, 0));
    let slot = parser.quic.messages.claim(Handshake::new(2).key, Opening::default(), Nanos(2));
    assert!(parser.quic.messages.find(Handshake::new(1).key, slot).is_none());
}

#[test]
fn a_connection_id_too_short_for_a_client_is_not_tried() {
    let (hellos, parser) = read(&[initial(b"7 octet", &hello())]);
    assert_eq!((hellos, parser.counters.initials_unopened), (0, 0));
}

#[test]
fn the_packets_of_one_datagram_are_bounded() {
    let other = [&[0xe0, 0, 0, 0, 1, 0, 0, 1][..], &[0]].concat();
    let datagram = |others: usize| [other.repeat(others), initial(b"8 octets", &hello())].concat();
    assert_eq!(read(&[datagram(PACKETS_MAX - 1)]).0, 1);
    assert_eq!(read(&[datagram(PACKETS_MAX)]).0, 0);
}

#[test]
fn crypto_beyond_the_bound_is_refused_and_the_hello_still_read() {
    let beyond = [&[6, 0x80, 0xff, 0, 0, 1, 0xaa][..], &hello()].concat();
    let (hellos, parser) = read(&[initial(b"8 octets", &beyond)]);
    assert_eq!((hellos, parser.refused()), (1, 1));
}

#[test]
fn a_hello_longer_than_the_bound_is_given_up() {
    let frames = [&[6, 0, 4, 1, 1, 0, 0][..], &[0; 20]].concat();
    let (hellos, parser) = read(&[initial(b"8 octets", &frames)]);
    assert_eq!((hellos, parser.refused()), (0, 1));
}

#[test]
fn a_list_of_unknown_versions_opens_nothing() {
    let list = |version: [u8; 4]| [&[0x80, 0, 0, 0, 0, 0, 0][..], &version].concat();
    assert!(is_opening(&list([0, 0, 0, 1])));
    assert!(!is_opening(&list([0x0a, 0x0a, 0x0a, 0x0a])));
    assert!(!is_opening(&[0xc0, 0, 0, 0, 1, 21]), "a connection id of 21 bytes");
    assert!(!is_opening(&[0x40, 0, 0, 0, 1, 0, 0]), "a short header");
}

#[test]
fn a_varint_is_read_in_all_its_lengths() {
    // RFC 9000, A.1.
    let read = |mut bytes: &[u8]| varint(&mut bytes);
    let eight = [0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c];
    assert_eq!(read(&eight), Some(151_288_809_941_952_652));
    assert_eq!(read(&[0x9d, 0x7f, 0x3e, 0x7d]), Some(494_878_333));
    assert_eq!(read(&[0x7b, 0xbd]), Some(15_293));
    assert_eq!((read(&[0x25]), read(&[0x40, 0x25])), (Some(37), Some(37)));
    assert_eq!((read(&[]), read(&eight[..7])), (None, None));
}

proptest! {
    #[test]
    fn arbitrary_datagrams_do_not_panic(
        head in prop::sample::select(vec![0xc0_u8, 0xd0, 0xe3, 0xff]),
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let datagram = [&[head, 0, 0, 0, 1][..], &bytes].concat();
        let hellos = PARSER.with_borrow_mut(|parser| read_with(parser, &[bytes, datagram]));
        prop_assert_eq!(hellos, 0);
    }

    #[test]
    fn mutated_initials_give_no_second_hello(
        mutations in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let sound = initial(b"8 octets", &hello());
        let mut mutated = sound.clone();
        for (at, byte) in mutations {
            let at = at.index(mutated.len());
            mutated[at] = byte;
        }
        mutated.truncate(cut.index(mutated.len()) + 1);
        let hellos = PARSER.with_borrow_mut(|parser| read_with(parser, &[mutated, sound]));
        prop_assert_eq!(hellos, 1);
    }

    #[test]
    fn arbitrary_frames_under_sound_protection_do_not_panic(
        frames in prop::collection::vec(any::<u8>(), 20..300),
        kind in prop::sample::select(vec![0_u8, 1, 2, 3, 6, 0x1c]),
    ) {
        let frames = [&[kind][..], &frames].concat();
        let opened = PARSER.with_borrow_mut(|parser| {
            let before = parser.counters.initials;
            read_with(parser, &[initial(b"8 octets", &frames)]);
            parser.counters.initials - before
        });
        prop_assert_eq!(opened, 1);
    }
}
