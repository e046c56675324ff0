//! The walk on streams made in code: a segment at a time, in any order.
#![allow(clippy::indexing_slicing, reason = "a test may panic")]

use proptest::prelude::*;

use super::*;
use crate::burst::{
    Address, Burst, ClientHello, Datagram, Frame, PortIndex, Protocol, Tcp, TcpFlags,
};
use crate::parse::{Parser, handshakes};

struct Bytes(Vec<u8>);
impl Frame for Bytes {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

struct Pair([Stream; 2], Handshake);
impl Streams for Pair {
    fn streams(&mut self, _: FlowId, direction: Direction) -> [&mut Stream; 2] {
        direction.first_of(&mut self.0)
    }

    fn handshake(&mut self, _: FlowId) -> &mut Handshake {
        &mut self.1
    }
}

/// Gives segments (sequence number, payload) of one direction to the walk, a burst each.
struct Rig {
    streams: Pair,
    parser: Parser,
    lengths: Vec<u16>,
    hellos: Vec<ClientHello>,
    /// Their server names.
    names: Vec<Option<Vec<u8>>>,
    answers: usize,
    connections: u64,
}

impl Rig {
    fn new() -> Self {
        let mut streams = Pair([Stream::new(1), Stream::new(2)], Handshake::new(1));
        streams.0[0].start(1000);
        Self {
            streams,
            parser: Parser::default(),
            lengths: Vec::new(),
            hellos: Vec::new(),
            names: Vec::new(),
            answers: 0,
            connections: 1,
        }
    }

    /// Another connection.
    fn again(&mut self) {
        self.connections += 1;
        self.streams =
            Pair([0, 1].map(|n| Stream::new(2 * self.connections + n)), Handshake::new(0));
        self.streams.0[0].start(1000);
        (self.lengths, self.hellos, self.names) = (Vec::new(), Vec::new(), Vec::new());
    }

    fn give(&mut self, direction: Direction, tcp: Tcp, payload: &[u8]) {
        let mut burst = Burst::new();
        burst.begin(Nanos(1));
        burst.push(Bytes(payload.to_vec()), Nanos(1), PortIndex(0), 0);
        let bytes = u32::try_from(payload.len()).unwrap();
        burst.packets.headers[0] = Some(Headers {
            source: Address::default(),
            destination: Address::default(),
            source_port: 1,
            destination_port: 443,
            protocol: Protocol::Tcp,
            tcp,
            datagram: Datagram::Other,
            fragment: None,
            network_offset: 0,
            transport_offset: 0,
            payload_offset: 0,
            payload_bytes: bytes,
            payload_wire_bytes: bytes,
        });
        burst.packets.flow[0] = Some((FlowId(0), direction));
        handshakes(&mut burst, &mut self.streams, &mut self.parser);
        self.lengths.extend(burst.packets.records.iter().map(|record| record.length));
        let Packets { client_hellos, hello_names, .. } = &mut burst.packets;
        let name = |hello: &ClientHello| hello.sni.map(|name| hello_names.get(name).to_vec());
        self.names.extend(client_hellos.iter().map(name));
        self.hellos.append(client_hellos);
        self.answers += burst.packets.server_hellos.len();
    }

    fn up(&mut self, offset: u32, payload: &[u8]) {
        let tcp = Tcp { seq: 1000 + offset, flags: TcpFlags(0x10), ..Tcp::default() };
        self.give(Direction::ToServer, tcp, payload);
    }

    fn acknowledged(&mut self, offset: u32) {
        let tcp = Tcp { ack: 1000 + offset, flags: TcpFlags(0x10), ..Tcp::default() };
        self.give(Direction::ToClient, tcp, &[]);
    }
}

fn record(length: u16) -> Vec<u8> {
    let [high, low] = length.to_be_bytes();
    let mut bytes = vec![23, 3, 3, high, low];
    bytes.resize(5 + usize::from(length), 0xaa);
    bytes
}

fn stream(lengths: &[u16]) -> Vec<u8> {
    lengths.iter().flat_map(|&length| record(length)).collect()
}

#[test]
fn records_are_found_wherever_segments_split_them() {
    let bytes = stream(&[10, 0, 300, 7]);
    let mut rig = Rig::new();
    for size in 1..60 {
        rig.again();
        for (n, part) in bytes.chunks(size).enumerate() {
            rig.up(u32::try_from(n * size).unwrap(), part);
        }
        assert_eq!(rig.lengths, [10, 0, 300, 7], "segments of {size} bytes");
    }
}

#[test]
fn a_segment_that_overtakes_a_header_waits_for_it() {
    let bytes = stream(&[10, 20, 30]);
    let mut rig = Rig::new();
    rig.up(15, &bytes[15..]);
    assert_eq!(rig.lengths, [] as [u16; 0]);
    rig.up(0, &bytes[..15]);
    assert_eq!(rig.lengths, [10, 20, 30]);
    assert_eq!(rig.parser.streams.kept(&rig.streams.0[0].held), 0);
}

#[test]
fn a_hole_inside_a_body_costs_nothing() {
    let bytes = stream(&[1000, 20]);
    let mut rig = Rig::new();
    rig.up(0, &bytes[..100]);
    rig.up(900, &bytes[900..]);
    assert_eq!((rig.lengths.as_slice(), rig.parser.counters.lost), (&[1000, 20][..], 0));
}

#[test]
fn what_the_receiver_acknowledged_is_not_waited_for() {
    let bytes = stream(&[10, 20, 30]);
    let mut rig = Rig::new();
    rig.up(15, &bytes[15..40]);
    rig.acknowledged(40);
    assert_eq!((rig.lengths.as_slice(), rig.parser.counters.lost), (&[20][..], 1));
    rig.up(40, &bytes[40..]);
    assert_eq!(rig.lengths, [20, 30]);
}

#[test]
fn what_is_sent_again_is_seen_once() {
    let bytes = stream(&[10, 20]);
    let mut rig = Rig::new();
    rig.up(0, &bytes);
    rig.up(0, &bytes[..20]);
    rig.up(5, &bytes[5..]);
    assert_eq!(rig.lengths, [10, 20]);
}

/// A stream that has not shown its SYN.
fn met_in_the_middle() -> Rig {
    let mut rig = Rig::new();
    rig.streams.0[0] = Stream::new(1);
    rig
}

fn handshake(body: &[u8]) -> Vec<u8> {
    [&[22, 3, 1], &u16::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat()
}

/// A ClientHello message with a server name of `name` letters.
fn message(name: u16) -> Vec<u8> {
    let mut list = [&(name + 3).to_be_bytes()[..], &[0], &name.to_be_bytes()].concat();
    list.resize(list.len() + usize::from(name), b'a');
    let block =
        |body: &[u8]| [&u16::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat();
    let extensions = block(&[&[0, 0][..], &block(&list)].concat());
    let body = [&[3, 3][..], &[0xaa; 32], &[0], &[0, 2, 0x13, 1], &[1, 0], &extensions].concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[1], &length[1..], &body].concat()
}

fn hello() -> Vec<u8> {
    handshake(&message(40))
}

fn server_hello(random: [u8; 32]) -> Vec<u8> {
    let body = [&[3, 3][..], &random, &[0], &[0x13, 1], &[0]].concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    handshake(&[&[2], &length[1..], &body].concat())
}

/// Gives bytes in segments of `size`, from `offset` on.
fn give_in(rig: &mut Rig, offset: u32, bytes: &[u8], size: usize) {
    for (n, part) in bytes.chunks(size).enumerate() {
        rig.up(offset + u32::try_from(n * size).unwrap(), part);
    }
}

#[test]
fn plain_text_is_left_alone() {
    let mut rig = Rig::new();
    rig.up(0, b"GET / HTTP/1.1\r\n\r\n");
    rig.up(18, &record(10));
    assert!(rig.streams.0[0].phase == Phase::Foreign && rig.lengths.is_empty());
}

#[test]
fn a_hello_behind_plain_text_is_found_wherever_segments_split_it() {
    let prefix = b"PROXY TCP4 192.0.2.1 192.0.2.2 40000 443\r\n";
    let bytes = [&prefix[..], &hello(), &record(9)].concat();
    let mut rig = Rig::new();
    for size in 1..bytes.len() + 1 {
        rig.again();
        give_in(&mut rig, 0, &bytes, size);
        assert_eq!((rig.hellos.len(), rig.lengths.last()), (1, Some(&9)), "segments of {size}");
    }
}

#[test]
fn a_hello_behind_a_preamble_that_tells_its_length_is_found() {
    let proxy = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &[9; 12]].concat();
    let mysql = [&[32, 0, 0, 1][..], &[7; 32]].concat();
    let (postgres, tpkt) =
        (vec![0, 0, 0, 8, 4, 210, 22, 47], vec![3, 0, 0, 11, 6, 0, 0, 0, 0, 0, 0]);
    for preamble in [proxy, mysql, postgres, tpkt] {
        let bytes = [&preamble[..], &hello()].concat();
        let mut rig = Rig::new();
        rig.up(0, &bytes);
        assert_eq!(rig.hellos.len(), 1, "{preamble:?}");
        for size in 16..40 {
            rig.again();
            give_in(&mut rig, 0, &bytes, size);
            assert_eq!(rig.hellos.len(), 1, "{preamble:?} in segments of {size}");
        }
    }
}

#[test]
fn a_hello_inside_another_protocol_is_not_the_connections_own() {
    let mut rig = Rig::new();
    rig.up(0, &[&[0, 200, 0x20, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 1][..], &hello()].concat());
    assert_eq!(rig.hellos.len(), 0);
}

#[test]
fn a_late_hello_whose_segments_change_places_is_found() {
    let mut rig = Rig::new();
    let (prefix, hello) = (b"EHLO a\r\nSTARTTLS\r\n", hello());
    rig.up(0, prefix);
    rig.up(18 + 30, &hello[30..]);
    assert_eq!(rig.hellos.len(), 0);
    rig.up(18, &hello[..30]);
    assert_eq!(rig.hellos.len(), 1);
}

#[test]
fn a_hello_far_behind_plain_text_is_found_at_the_start_of_a_segment_only() {
    let text = vec![b'x'; 100_000];
    let far = u32::try_from(text.len()).unwrap();
    let mut rig = Rig::new();
    give_in(&mut rig, 0, &text, 1000);
    rig.up(far, &[b"x", &hello()[..]].concat());
    assert_eq!(rig.hellos.len(), 0);
    rig.up(far + 1000, &hello());
    assert_eq!(rig.hellos.len(), 1);
}

#[test]
fn bytes_that_do_not_count_in_the_sequence_hide_no_hello() {
    let mut rig = Rig::new();
    rig.up(0, &[0, 0]);
    rig.up(0, &hello());
    assert_eq!(rig.hellos.len(), 1);
}

#[test]
fn what_looks_like_a_hello_and_is_none_leaves_the_stream_foreign() {
    let mut broken = hello();
    broken[51] ^= 1; // the length of the extension block
    let mut rig = Rig::new();
    rig.up(0, b"text");
    rig.up(4, &broken);
    assert_eq!((rig.hellos.len(), rig.streams.0[0].phase), (0, Phase::Foreign));
    rig.up(4 + u32::try_from(broken.len()).unwrap(), &hello());
    assert_eq!(rig.hellos.len(), 1);
}

#[test]
fn the_second_hello_of_a_connection_is_passed_over() {
    let mut rig = Rig::new();
    let hello = hello();
    give_in(&mut rig, 0, &[&hello[..], &hello].concat(), hello.len());
    assert_eq!((rig.hellos.len(), rig.lengths.len()), (1, 2));
}

#[test]
fn a_hello_far_from_where_the_stream_is_belongs_to_another_connection() {
    for distance in [1 << 21, 1 << 30, u32::MAX - (1 << 21)] {
        let mut rig = Rig::new();
        rig.up(0, &[hello(), record(10)].concat());
        rig.up(distance, &record(10));
        assert_eq!(rig.hellos.len(), 1);
        rig.up(distance.wrapping_add(1 << 22), &hello());
        assert_eq!(rig.hellos.len(), 2, "at {distance}");
    }
}

#[test]
fn a_stream_met_in_the_middle_gives_its_hello_when_its_segments_have_changed_places() {
    let bytes = hello();
    for cut in 6..bytes.len() {
        let mut rig = met_in_the_middle();
        rig.up(u32::try_from(cut).unwrap(), &bytes[cut..]);
        rig.up(0, &bytes[..cut]);
        assert_eq!(rig.hellos.len(), 1, "cut after {cut} bytes");
    }
}

#[test]
fn what_is_acknowledged_waits_for_nothing_before_it() {
    let mut rig = met_in_the_middle();
    rig.up(0, &[0xaa; 700]);
    rig.acknowledged(700);
    let stream = &rig.streams.0[0];
    assert_eq!((rig.parser.streams.kept(&stream.held), stream.waiting), (0, false));
    assert_eq!(rig.parser.counters.lost, 0);
}

#[test]
fn a_stream_met_in_the_middle_gives_its_hello_in_segments_of_any_size() {
    let mut rig = Rig::new();
    for size in 1..60 {
        rig.again();
        rig.streams.0[0] = Stream::new(1000 + u64::try_from(size).unwrap());
        give_in(&mut rig, 70_000, &hello(), size);
        assert_eq!(rig.hellos.len(), 1, "segments of {size} bytes");
    }
}

#[test]
fn a_hello_over_many_records_is_read_past_empty_ones_and_alerts() {
    let message = message(40);
    for size in [1, 3, 50] {
        let between = [handshake(&[]), vec![21, 3, 3, 0, 2, 1, 0]].concat();
        let records: Vec<u8> = message
            .chunks(size)
            .flat_map(|part| [handshake(part), between.clone()].concat())
            .collect();
        let mut rig = Rig::new();
        give_in(&mut rig, 0, &records, 700);
        assert_eq!(rig.hellos.len(), 1, "records of {size} bytes");
    }
}

#[test]
fn a_hello_of_sixteen_kib_is_read() {
    let message = message(16_300);
    let mut rig = Rig::new();
    give_in(&mut rig, 0, &handshake(&message), 1448);
    assert_eq!(rig.hellos.len(), 1);
    assert!(rig.hellos[0].sni.is_none(), "the name is longer than a host name can be");
}

#[test]
fn data_on_the_syn_is_read_and_its_repeat_is_not() {
    let mut rig = met_in_the_middle();
    let hello = hello();
    let syn = Tcp { seq: 999, flags: TcpFlags(0x02), ..Tcp::default() };
    rig.give(Direction::ToServer, syn, &hello);
    rig.up(0, &hello);
    assert_eq!((rig.hellos.len(), rig.lengths.len()), (1, 1));
}

#[test]
fn of_bytes_that_come_twice_the_first_copy_counts() {
    let hello = hello();
    let mut other = hello.clone();
    other[60..].fill(b'z');
    let mut rig = Rig::new();
    rig.up(0, &hello[..70]);
    rig.up(50, &other[50..70]);
    rig.up(70, &hello[70..]);
    assert_eq!(rig.names, [Some(vec![b'a'; 40])]);
}

#[test]
fn a_hello_retry_request_is_not_the_choice() {
    let retry = [
        0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8,
        0x91, 0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8,
        0x33, 0x9c,
    ];
    let mut rig = Rig::new();
    rig.streams.0[1].start(1000);
    let tcp = |seq| Tcp { seq, flags: TcpFlags(0x10), ..Tcp::default() };
    let request = server_hello(retry);
    rig.give(Direction::ToClient, tcp(1000), &request);
    assert_eq!(rig.answers, 0);
    let seq = 1000 + u32::try_from(request.len()).unwrap();
    rig.give(Direction::ToClient, tcp(seq), &server_hello([7; 32]));
    assert_eq!(rig.answers, 1);
}

/// Where a hello behind `prefix` is cut, and in which order its segments come, some twice.
fn cuts() -> impl Strategy<Value = (Vec<u8>, Vec<prop::sample::Index>, Vec<prop::sample::Index>)> {
    let prefixes =
        prop::sample::select(vec![Vec::new(), b"AUTH TLS\r\n".to_vec(), b"a\nb\n".to_vec()]);
    let indices = || prop::collection::vec(any::<prop::sample::Index>(), 0..24);
    (prefixes, indices(), indices())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_hello_cut_and_shuffled_gives_the_same_facts((prefix, cuts, order) in cuts()) {
        let bytes = [prefix, hello(), record(5)].concat();
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        ends.extend([0, bytes.len()]);
        ends.sort_unstable();
        ends.dedup();
        let segments: Vec<(usize, usize)> = ends.windows(2).map(|w| (w[0], w[1])).collect();
        let facts = |rig: &Rig| -> (Vec<_>, Vec<u16>) {
            let facts = rig.hellos.iter().map(|hello| (hello.ja4, hello.version));
            (facts.zip(rig.names.clone()).collect(), rig.lengths.clone())
        };
        let mut rig = Rig::new();
        rig.up(0, &bytes);
        let whole = facts(&rig);
        prop_assert_eq!(whole.0.len(), 1);
        rig.again();
        let some = order.iter().map(|place| *place.get(&segments));
        for (start, end) in some.chain(segments.iter().copied()) {
            rig.up(u32::try_from(start).unwrap(), &bytes[start..end]);
        }
        prop_assert_eq!(facts(&rig), whole);
    }
}
