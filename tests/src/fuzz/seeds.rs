//! Inputs that fuzzing starts from, all made here: sound traffic of every kind the loop knows, so
//! that a mutation is never far from something that is read to its end.

use std::net::SocketAddr;

use fastpath::burst::Direction;
use fastpath::time::Nanos;

use super::input::{START, write};
use super::{pcap_file, quic};
use crate::connection::{Arrival, Connection};
use crate::initial::{Initial, Version, crypto};
use crate::{frame, tls};

/// The inputs of each target, by its name.
#[must_use]
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let of = |target, inputs: Vec<Vec<u8>>| inputs.into_iter().map(move |input| (target, input));
    of("frame", frames())
        .chain(of("client_hello", streams()))
        .chain(of("quic", datagrams()))
        .chain(of("quic_frames", quic_frames()))
        .chain(of("pcap_file", captures()))
        .chain(of("policy", policies()))
        .collect()
}

fn connection() -> Connection {
    let (client, server) = (([198, 51, 100, 7], 40_007), ([203, 0, 113, 9], 443));
    Connection::new(SocketAddr::from(client), SocketAddr::from(server), START)
}

/// A connection with an exchange, short.
fn exchange(connection: &mut Connection) -> Vec<Arrival> {
    connection.connect();
    let hello = tls::client_hello("api.openai.com", &["http/1.1"], 0);
    connection.send(Direction::ToServer, &hello).send(Direction::ToClient, &tls::server_hello());
    connection.data(Direction::ToServer, &[200]).wait(Nanos::from_millis(50));
    connection.data(Direction::ToClient, &[60]).wait(Nanos::from_millis(50));
    connection.data(Direction::ToClient, &[60, 5]).close().take()
}

/// Input of `frame`: flags, then the frames with their time in steps.
fn input(flags: u8, arrivals: &[Arrival]) -> Vec<u8> {
    let (mut bytes, mut before) = (vec![flags], START);
    for (at, port, frame) in arrivals {
        let step = if at.since(before) >= Nanos::from_millis(50) { 3 } else { 0 };
        before = *at;
        write(step << 1 | u8::try_from(port.0 & 1).unwrap_or(0), frame, &mut bytes);
    }
    bytes
}

fn frames() -> Vec<Vec<u8>> {
    let mut inputs: Vec<Vec<u8>> = Vec::new();
    let v6 = |last: u16| SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, last], 443));
    let mut tagged = connection();
    tagged.vlan = Some(7);
    let mut reset = connection();
    reset.open("api.anthropic.com").data(Direction::ToServer, &[900]).reset(Direction::ToClient);
    let mut small = connection();
    small.mss = 100;
    let connections = [
        exchange(&mut connection()),
        exchange(&mut tagged),
        exchange(&mut small),
        exchange(&mut Connection::new(v6(1), v6(2), START)),
        reset.take(),
    ];
    inputs.extend(connections.iter().map(|arrivals| input(0, arrivals)));
    inputs.push(input(1, &connections[0]));
    let one = |frame: &[u8]| {
        let mut bytes = vec![0];
        write(0, frame, &mut bytes);
        bytes
    };
    inputs.extend(frame::foreign().iter().filter(|(_, f)| f.len() < 300).map(|(_, f)| one(f)));
    inputs.extend(encapsulated().iter().map(|frame| one(frame)));
    inputs.extend(link_types());
    inputs.push(fragments());
    inputs
}

/// The ClientHello's segment as an IP packet.
fn hello_packet() -> Vec<u8> {
    let mut connection = connection();
    let hello = tls::client_hello("api.openai.com", &["h2", "http/1.1"], 0);
    let frames = connection.segments(Direction::ToServer, &hello, 1400);
    frames.concat()[ETHERNET_BYTES..].to_vec()
}

const ETHERNET_BYTES: usize = 14;

/// The same packet behind every header that may stand before it.
fn encapsulated() -> Vec<Vec<u8>> {
    let inner = hello_packet();
    let macs = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    let ethernet = |kind: u16, body: &[u8]| [&macs[..], &kind.to_be_bytes(), body].concat();
    let with = |header: &[u8]| [header, &inner].concat();
    let inner_frame = ethernet(0x0800, &inner);
    let of_udp = |port, header: &[u8], body: &[u8]| {
        let ends = [([192, 0, 2, 1], 50_000), ([192, 0, 2, 2], port)];
        quic::udp(ends, &[header, body].concat())
    };
    let in_ip = |protocol: u8, body: &[u8]| {
        let total = u16::try_from(20 + body.len()).unwrap_or(u16::MAX).to_be_bytes();
        let head = [0x45, 0, total[0], total[1], 0, 0, 0x40, 0, 64, protocol, 0, 0];
        ethernet(0x0800, &[&head[..], &[192, 0, 2, 1, 192, 0, 2, 2], body].concat())
    };
    let in_v6 = |next: u8, body: &[u8]| {
        let len = u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes();
        let head = [0x60, 0, 0, 0, len[0], len[1], next, 64];
        let ends = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        ethernet(0x86dd, &[&head[..], &ends, &ends, body].concat())
    };
    let len = u16::try_from(inner.len() + 2).unwrap_or(u16::MAX).to_be_bytes();
    let gtp_len = u16::try_from(inner.len()).unwrap_or(u16::MAX).to_be_bytes();
    vec![
        ethernet(0x8100, &with(&[0, 1, 8, 0])),
        ethernet(0x88a8, &with(&[0, 1, 0x81, 0, 0, 2, 8, 0])),
        ethernet(0x8847, &with(&[0, 1, 0, 64, 0, 2, 1, 64])),
        ethernet(0x8864, &with(&[0x11, 0, 0, 1, len[0], len[1], 0, 0x21])),
        in_ip(4, &inner),
        in_v6(4, &inner),
        in_v6(60, &with(&[4, 0, 1, 4, 0, 0, 0, 0])),
        in_v6(44, &with(&[4, 0, 0, 1, 0, 0, 0, 9])),
        in_ip(47, &with(&[0, 0, 8, 0])),
        in_ip(47, &with(&[0xb0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2])),
        in_ip(47, &[&[0, 0, 0x65, 0x58][..], &inner_frame].concat()),
        in_ip(51, &with(&[4, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
        of_udp(4789, &[8, 0, 0, 0, 0, 0, 1, 0], &inner_frame),
        of_udp(6081, &[0, 0, 0x65, 0x58, 0, 0, 1, 0], &inner_frame),
        of_udp(6081, &[1, 0, 0x08, 0, 0, 0, 1, 0, 0, 0, 0, 0], &inner),
        of_udp(2152, &[0x30, 255, gtp_len[0], gtp_len[1], 0, 0, 0, 1], &inner),
    ]
}

/// The same packet as captures of other links have it: flags with the place of the link type in
/// the table of `frame`.
fn link_types() -> Vec<Vec<u8>> {
    let inner = hello_packet();
    let links: [(u8, &[u8]); 7] = [
        (0, &[2, 0, 0, 0]),
        (1, &[0xff, 3, 0, 0x21]),
        (6, &[]),
        (9, &[0, 0, 0, 2]),
        (10, &[0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0, 8, 0]),
        (13, &[]),
        (15, &[8, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0]),
    ];
    let one = |(link, header): &(u8, &[u8])| {
        let mut bytes = vec![link << 4 | 2];
        write(0, &[header, &inner[..]].concat(), &mut bytes);
        bytes
    };
    links.iter().map(one).collect()
}

/// The packet in three IPv4 fragments, the last first.
fn fragments() -> Vec<u8> {
    let packet = hello_packet();
    let (header, body) = packet.split_at(20);
    let parts: Vec<&[u8]> = body.chunks(96).collect();
    let mut bytes = vec![0];
    for (n, part) in parts.iter().enumerate().rev() {
        let total = u16::try_from(20 + part.len()).unwrap_or(u16::MAX).to_be_bytes();
        let more = if n + 1 < parts.len() { 0x20 } else { 0 };
        let place = u8::try_from(n * 12).unwrap_or(u8::MAX);
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00];
        frame.extend([0x45, 0, total[0], total[1], 0, 77, more, place]);
        frame.extend(&header[8..]);
        frame.extend(*part);
        write(0, &frame, &mut bytes);
    }
    bytes
}

/// Input of `client_hello`: flags, cuts, stream.
fn cut(flags: u8, cuts: &[(u16, u16)], stream: &[u8]) -> Vec<u8> {
    let mut bytes = vec![flags, u8::try_from(cuts.len()).unwrap_or(u8::MAX)];
    bytes.extend(cuts.iter().flat_map(|&(offset, len)| [offset, len]).flat_map(u16::to_be_bytes));
    bytes.extend(stream);
    bytes
}

fn streams() -> Vec<Vec<u8>> {
    let hello = tls::client_hello("api.openai.com", &["h2", "http/1.1"], 0);
    let long = tls::client_hello("api.anthropic.com", &["http/1.1"], 1800);
    let flight = [tls::server_hello(), tls::change_cipher_spec(), tls::data(300, 2)].concat();
    let backwards: Vec<(u16, u16)> = (0..20).rev().map(|n| (n * 11, 11)).collect();
    let overlapping: Vec<(u16, u16)> = (0..10).map(|n| (n * 150, 300)).collect();
    // The message in two records.
    let (body, rest) = hello[5..].split_at(60);
    let record = |body: &[u8]| {
        let [high, low] = u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes();
        [&[22, 3, 1, high, low][..], body].concat()
    };
    let records = [record(body), record(rest)].concat();
    let two = [&hello[..], &tls::data(40, 1), &hello].concat();
    let behind = |prefix: &[u8]| cut(0, &[(0, u16::MAX)], &[prefix, &hello].concat());
    vec![
        cut(0, &[], &hello),
        cut(4, &[], &hello),
        cut(2, &[], &hello),
        cut(1, &[], &flight),
        cut(0, &backwards, &hello),
        cut(0, &overlapping, &long),
        cut(0, &[(1400, 400), (0, 700)], &long),
        cut(0, &[(3, 200)], &records),
        cut(0, &[(100, 100)], &two),
        behind(b"EHLO a\r\nSTARTTLS\r\n"),
        behind(b"CONNECT api.openai.com:443 HTTP/1.1\r\n\r\n"),
        behind(b"PROXY TCP4 192.0.2.1 192.0.2.2 40000 443\r\n"),
    ]
}

fn initial(version: Version, number: u32, frames: &[u8]) -> Vec<u8> {
    let id = &[0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08][..];
    let (original_id, destination_id, source_id, token) = (id, id, &[0xc1; 4][..], &[][..]);
    let direction = Direction::ToServer;
    Initial { version, direction, original_id, destination_id, source_id, token, number, frames }
        .protect()
}

fn message() -> Vec<u8> {
    tls::client_hello("chatgpt.com", &["h3"], 0)[5..].to_vec()
}

/// A ClientHello as DTLS has it (RFC 6347, 4.2), in one fragment or two.
fn dtls(parts: usize) -> Vec<u8> {
    let message = message();
    // The cookie of no bytes stands behind version, random and session id.
    let body = [&message[4..39], &[0], &message[39..]].concat();
    let u24 = |n: usize| u32::try_from(n).unwrap_or(0).to_be_bytes()[1..].to_vec();
    let mut bytes = Vec::new();
    let size = body.len().div_ceil(parts);
    for (n, part) in body.chunks(size).enumerate() {
        let head = [&[1][..], &u24(body.len()), &[0, 0], &u24(n * size), &u24(part.len())].concat();
        let len = u16::try_from(head.len() + part.len()).unwrap_or(u16::MAX).to_be_bytes();
        let number = u8::try_from(n).unwrap_or(0);
        bytes.extend([22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, number, len[0], len[1]]);
        bytes.extend([head, part.to_vec()].concat());
    }
    bytes
}

fn datagrams() -> Vec<Vec<u8>> {
    let of = |payloads: &[(u8, Vec<u8>)]| {
        let mut bytes = vec![0];
        payloads.iter().for_each(|(control, payload)| write(*control, payload, &mut bytes));
        bytes
    };
    let message = message();
    let (head, tail) = message.split_at(90);
    let whole = |version| initial(version, 0, &[crypto(0, &message), vec![0; 900]].concat());
    let negotiation = [&[0x80, 0, 0, 0, 0, 4][..], &[0xc1; 4], &[0], &[0, 0, 0, 1]].concat();
    let retry = [&[0xf0, 0, 0, 0, 1, 4][..], &[0xc1; 4], &[5, 0xf0, 0x67, 0xa5, 0x50, 0x2a]];
    let retry = [&retry.concat()[..], b"token", &[7; 16]].concat();
    let split = [
        (0, initial(Version::V1, 1, &crypto(90, tail))),
        (0, initial(Version::V1, 0, &crypto(0, head))),
    ];
    let stun = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[9; 12]].concat();
    let short = [&[0x41][..], &[0xc1; 4], &[0x33; 40]].concat();
    vec![
        of(&[(0, whole(Version::V1)), (1, short.clone()), (0, short)]),
        of(&[(0, whole(Version::V2))]),
        of(&[(0, whole(Version::Draft29))]),
        of(&split),
        of(&[(0, whole(Version::V1)), (1, negotiation), (1, retry)]),
        of(&[(0x10, dtls(1))]),
        of(&[(0x20, stun), (0x20, dtls(2))]),
        of(&[(0, b"no QUIC at all".to_vec()), (0x30, vec![0x80; 30])]),
    ]
}

fn quic_frames() -> Vec<Vec<u8>> {
    let message = message();
    let of = |flags: u8, packets: &[(u8, Vec<u8>)]| {
        let mut bytes = vec![flags];
        packets.iter().for_each(|(control, frames)| write(*control, frames, &mut bytes));
        bytes
    };
    let (head, tail) = message.split_at(100);
    let ack = vec![2, 0, 0, 0, 0];
    let close = vec![0x1c, 0, 0, 0];
    let in_pieces = |flags: u8, cuts: &[(u16, u16)]| cut(flags, cuts, &message);
    vec![
        of(4, &[(0, crypto(0, &message))]),
        of(2, &[(0, crypto(0, &message)), (1, ack.clone())]),
        of(3, &[(0, [vec![1, 0, 0], crypto(0, &message)].concat())]),
        of(0, &[(0, crypto(100, tail)), (0x40, crypto(0, head))]),
        of(8, &[(0, crypto(0, head)), (1, ack), (0, crypto(100, tail))]),
        of(0, &[(0, [crypto(5, tail), crypto(0, head), crypto(3, head)].concat()), (1, close)]),
        in_pieces(0x80, &[]),
        in_pieces(0x82, &[(150, 90), (0, 100), (90, 80)]),
        in_pieces(0x88, &[(10, 1), (9, 1), (8, 2), (0, 9)]),
    ]
}

fn captures() -> Vec<Vec<u8>> {
    let frames: Vec<(Nanos, Vec<u8>)> =
        exchange(&mut connection()).into_iter().map(|(at, _, frame)| (at, frame)).take(6).collect();
    let classic = pcap_file::classic(1, &frames);
    // With nanoseconds, and from a machine of the other byte order.
    let nanos = [&0xa1b2_3c4d_u32.to_le_bytes()[..], &classic[4..]].concat();
    let swapped: Vec<u8> = pcap_file::classic(1, &[])
        .chunks(4)
        .flat_map(|word| word.iter().rev().copied().collect::<Vec<u8>>())
        .collect();
    let words = |words: &[u32]| words.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
    let section = words(&[0x0a0d_0d0a, 28, 0x1a2b_3c4d, 1, u32::MAX, u32::MAX, 28]);
    let interface = words(&[1, 20, 1, 0, 20]);
    let finer = words(&[1, 32, 1, 0, 0x0001_0009, 9, 0, 32]);
    let enhanced = |frame: &[u8], interface: u32| {
        let padded = frame.len().next_multiple_of(4);
        let len = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let (total, bytes) = (len(padded + 32), len(frame.len()));
        let head = words(&[6, total, interface, 0x0005_0000, 9, bytes, bytes]);
        let mut block = [&head[..], frame].concat();
        block.resize(28 + padded, 0);
        [block, words(&[total])].concat()
    };
    let simple = {
        let frame = &frames[0].1[..52];
        [&words(&[3, 68, 52])[..], frame, &words(&[68])].concat()
    };
    let blocks: Vec<u8> = frames.iter().flat_map(|(_, frame)| enhanced(frame, 0)).collect();
    let two = [&section[..], &interface, &finer, &enhanced(&frames[0].1, 1)].concat();
    vec![
        classic.clone(),
        nanos,
        swapped,
        [&section[..], &interface, &blocks].concat(),
        [&section[..], &interface, &simple].concat(),
        [&two[..], &two].concat(),
        pcap_file::classic(101, &[(START, hello_packet())]),
        pcap_file::classic(113, &[(START, hello_packet())]),
    ]
}

fn policies() -> Vec<Vec<u8>> {
    let example = include_str!("../../../docs/examples/policy.yaml");
    let mut inputs: Vec<Vec<u8>> =
        example.split("\n---\n").map(|part| part.as_bytes().to_vec()).collect();
    inputs.push(example.as_bytes().to_vec());
    for text in [
        r#"{"endpoints":[{"name":"a","hosts":["*.a.test","b*.c.test"],"prefixes":["10.0.0.0/8"],"ports":[443]}]}"#,
        r#"{"mode":"off","retryBudget":{"percent":5,"minPerSec":1,"burst":10},"limits":{"retryWindowMs":9,"stallMs":9}}"#,
        "apiVersion: fermata.dev/v1alpha1\nkind: Endpoint\nmetadata: {name: x}\nspec: {hosts: [x.*], prefixes: ['::1', 2001:db8::/32]}\n",
    ] {
        inputs.push(text.as_bytes().to_vec());
    }
    inputs
}
