//! QUIC connections as clients open them, through the whole loop: one hello a connection, however
//! its packets come.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::SocketAddr;

use fastpath::burst::{Burst, Direction, FlowId, Frame, PortIndex};
use fastpath::parse::handshake::Handshake;
use fastpath::parse::tls::{Stream, Streams};
use fastpath::parse::{self, Parser};
use fastpath::telemetry::counters::Passes;
use fastpath::telemetry::line::FlowLine;
use fastpath::time::Nanos;
use tests::frame;
use tests::play::{self, Run};
use tests::quic::{Client, SALTS, V1, V2};

/// The first connection id of the tests' client.
const ID: &[u8] = b"original";

/// The handshake message of a ClientHello with this random.
fn hello(sni: &str, random: u8, padding: usize) -> Vec<u8> {
    let mut message = tests::tls::client_hello(sni, &["h3"], padding)[5..].to_vec();
    message[6..38].fill(random);
    message
}

fn addresses(port: u16) -> (SocketAddr, SocketAddr) {
    (SocketAddr::from(([198, 51, 100, 7], 50_000)), SocketAddr::from(([203, 0, 113, 9], port)))
}

/// Plays datagrams between one client and port 443, a millisecond apart; true: the client's.
fn play(datagrams: &[(bool, Vec<u8>)]) -> Run {
    play_to(443, datagrams)
}

fn play_to(port: u16, datagrams: &[(bool, Vec<u8>)]) -> Run {
    let (client, server) = addresses(port);
    let arrivals = datagrams.iter().zip(1..).map(|((is_clients, payload), n)| {
        let (from, to) = if *is_clients { (client, server) } else { (server, client) };
        let port = PortIndex(u16::from(!is_clients));
        (Nanos::from_millis(n), port, frame::udp(from, to, payload))
    });
    play::frames(arrivals.collect())
}

/// The names of the hellos that were told, each from the client to the server.
fn names(run: &Run) -> Vec<String> {
    let told = run.told.flows.iter().map(|line| serde_json::to_value::<&FlowLine>(line).unwrap());
    told.map(|line| {
        assert_eq!((&line["proto"], &line["src"]), (&"quic".into(), &"198.51.100.7".into()));
        assert!(line["ja4"].as_str().unwrap().starts_with("q13d"), "{line}");
        line["sni"].as_str().unwrap_or("-").to_owned()
    })
    .collect()
}

/// A hello in one Initial.
fn whole(client: &mut Client, message: &[u8]) -> (bool, Vec<u8>) {
    let frames = client.crypto(0, message);
    (true, client.initial(&frames))
}

#[test]
fn a_hello_in_one_initial_is_read_in_every_version() {
    for (version, _) in SALTS {
        let mut client = Client::new(version, ID);
        let run = play(&[whole(&mut client, &hello("a.test", 1, 0))]);
        assert_eq!(names(&run), ["a.test"], "{version:#x}");
        assert_eq!((run.totals.initials, run.totals.initials_unopened), (1, 0));
    }
}

#[test]
fn the_client_is_who_sends_the_hello_on_any_port() {
    for port in [443, 853, 4433, 60_000] {
        let mut client = Client::new(V1, ID);
        let run = play_to(port, &[whole(&mut client, &hello("a.test", 1, 0))]);
        assert_eq!(names(&run), ["a.test"], "port {port}");
    }
}

#[test]
fn a_hello_over_three_initials_is_read_in_any_order() {
    let message = hello("long.test", 1, 2400);
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut client = Client::new(V1, ID);
        let parts: Vec<&[u8]> = message.chunks(message.len().div_ceil(3)).collect();
        let initials = order.map(|n| {
            let frames = client.crypto(n * parts[0].len(), parts[n]);
            (true, client.initial(&frames))
        });
        assert_eq!(names(&play(&initials)), ["long.test"], "{order:?}");
    }
}

#[test]
fn the_keys_stay_when_the_client_writes_to_the_servers_connection_id() {
    let message = hello("long.test", 1, 1500);
    let mut client = Client::new(V1, ID);
    let first = client.initial(&client.crypto(0, &message[..900]));
    let mut answered = client.answered(b"chosen-by-server");
    let second = answered.initial(&answered.crypto(900, &message[900..]));
    let run = play(&[(true, first), (false, client.server_initial(b"chosen")), (true, second)]);
    assert_eq!(names(&run), ["long.test"]);
}

#[test]
fn initials_coalesced_with_other_packets_are_read() {
    let message = hello("long.test", 1, 1500);
    let mut client = Client::new(V1, ID);
    let (first, second) = (client.crypto(0, &message[..700]), client.crypto(700, &message[700..]));
    let datagram = [
        client.zero_rtt(40),
        client.initial(&second),
        client.handshake(60),
        client.initial(&first),
        client.zero_rtt(20),
    ]
    .concat();
    assert_eq!(names(&play(&[(true, datagram)])), ["long.test"]);
}

#[test]
fn zero_rtt_may_come_before_the_initial() {
    let mut client = Client::new(V2, ID);
    let run = play(&[(true, client.zero_rtt(1200)), whole(&mut client, &hello("a.test", 1, 0))]);
    assert_eq!(names(&run), ["a.test"]);
}

#[test]
fn a_retry_is_no_second_connection() {
    let message = hello("a.test", 1, 0);
    let mut client = Client::new(V1, ID);
    let mut retried = client.retried(b"after-retry", b"token");
    let run = play(&[
        whole(&mut client, &message),
        (false, client.retry(b"after-retry", b"token")),
        whole(&mut retried, &message),
        (false, retried.server_initial(b"chosen")),
        whole(&mut retried.answered(b"chosen"), &message),
    ]);
    assert_eq!(names(&run), ["a.test"]);
}

#[test]
fn a_retry_in_the_middle_of_a_hello_changes_the_keys() {
    let message = hello("long.test", 1, 1500);
    let mut client = Client::new(V1, ID);
    let mut retried = client.retried(b"after-retry", b"token");
    let run = play(&[
        (true, client.initial(&client.clone().crypto(0, &message[..800]))),
        (false, client.retry(b"after-retry", b"token")),
        (true, retried.initial(&retried.clone().crypto(800, &message[800..]))),
        (true, retried.initial(&retried.clone().crypto(0, &message[..800]))),
    ]);
    assert_eq!(names(&run), ["long.test"]);
}

#[test]
fn a_negotiated_version_is_no_second_connection() {
    let mut first = Client::new(V1, ID);
    let negotiation = (false, first.version_negotiation(&[V2, 0x1a2a_3a4a]));
    let mut second = Client::new(V2, b"another-id");
    let run = play(&[
        whole(&mut first, &hello("a.test", 1, 0)),
        negotiation,
        whole(&mut second, &hello("a.test", 2, 0)),
    ]);
    assert_eq!(names(&run), ["a.test"]);
}

#[test]
fn another_connection_on_the_same_ports_is_told() {
    let mut first = Client::new(V1, ID);
    let mut second = Client::new(V1, b"another-id");
    let run = play(&[
        whole(&mut first, &hello("a.test", 1, 0)),
        (false, first.server_initial(b"chosen")),
        whole(&mut second, &hello("b.test", 2, 0)),
        (false, second.server_initial(b"chosen-2")),
        whole(&mut second.answered(b"chosen-2"), &hello("b.test", 2, 0)),
    ]);
    assert_eq!(names(&run), ["a.test", "b.test"]);
}

#[test]
fn what_follows_the_hello_is_not_opened() {
    let mut client = Client::new(V1, ID);
    let message = hello("a.test", 1, 0);
    let mut datagrams = vec![
        whole(&mut client, &message),
        (false, client.server_initial(b"chosen")),
        whole(&mut client, &message),
    ];
    let mut answered = client.answered(b"chosen");
    datagrams.extend((0..5).map(|_| whole(&mut answered, &[])));
    datagrams.extend((0..5).map(|_| (false, client.server_initial(b"chosen"))));
    let run = play(&datagrams);
    assert_eq!((names(&run).len(), run.totals.initials), (1, 1));
    assert_eq!(run.totals.initials_unopened, 0);
}

#[test]
fn a_damaged_or_foreign_initial_tells_nothing() {
    let mut client = Client::new(V1, ID);
    let (_, mut damaged) = whole(&mut client, &hello("a.test", 1, 0));
    damaged[600] ^= 1;
    let not_a_hello = client.initial(&client.clone().crypto(0, &[2, 0, 0, 1, 0]));
    let run = play(&[(true, damaged), (false, client.server_initial(b"s")), (true, not_a_hello)]);
    assert_eq!(names(&run), [""; 0]);
    assert_eq!((run.totals.initials, run.totals.initials_unopened), (1, 1));
}

#[test]
fn a_damaged_initial_does_not_hide_the_one_sent_again() {
    let mut client = Client::new(V1, ID);
    let (_, mut damaged) = whole(&mut client, &hello("a.test", 1, 0));
    damaged[600] ^= 1;
    let run = play(&[(true, damaged), whole(&mut client, &hello("a.test", 1, 0))]);
    assert_eq!(names(&run), ["a.test"]);
}

#[test]
fn a_flood_of_half_hellos_pushes_the_oldest_out_and_is_counted() {
    let message = hello("a.test", 1, 0);
    let half = |n: u16| {
        let mut client = Client::new(V1, &[&n.to_be_bytes()[..], b"original"].concat());
        let frames = client.crypto(0, &message[..60]);
        client.initial(&frames)
    };
    let server = addresses(443).1;
    let arrivals = (0..1000).map(|n| {
        let from = SocketAddr::from(([198, 51, 100, 7], 1000 + n));
        (Nanos::from_millis(u64::from(n)), PortIndex(0), frame::udp(from, server, &half(n)))
    });
    let run = play::frames(arrivals.collect());
    assert_eq!((run.totals.initials, run.told.flows.len()), (1000, 0));
    assert_eq!(run.totals.reassembly_refused, 1000 - 512);
}

#[test]
fn udp_that_is_neither_quic_nor_dtls_opens_no_flow() {
    let payloads: [&[u8]; 5] = [
        &[0x00; 40],
        &[0x80, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4],
        &[0x80, 0x60, 0x12, 0x34, 0, 0, 0, 1, 9, 9, 9, 9],
        &[0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 0, 0, 0, 0, 0],
        &[22, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1],
    ];
    for payload in payloads {
        let run = play_to(5000, &[(true, payload.to_vec())]);
        assert_eq!(run.totals.flows.opened, 0, "{payload:02x?}");
    }
}

/// Hands out a handshake that has seen nothing, each time.
struct Flows(Handshake, u64);

impl Streams for Flows {
    fn streams(&mut self, _: FlowId, _: Direction) -> [&mut Stream; 2] {
        unreachable!("UDP has no TCP stream")
    }

    fn handshake(&mut self, _: FlowId) -> &mut Handshake {
        self.1 += 1;
        self.0 = Handshake::new(self.1);
        &mut self.0
    }
}

struct Bytes(Vec<u8>);

impl Frame for Bytes {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

#[test]
fn hellos_of_quic_allocate_nothing() {
    let (from, to) = addresses(443);
    let (whole_hello, long) = (hello("a.test", 1, 0), hello("long.test", 1, 1500));
    let mut burst = Burst::new();
    for n in 0..32_u8 {
        let mut client = Client::new(V1, &[n; 8]);
        let half = client.crypto(0, &long[..800]);
        for payload in [whole(&mut client, &whole_hello).1, client.initial(&half)] {
            burst.push(Bytes(frame::udp(from, to, &payload)), Nanos(1), PortIndex(0), 0);
        }
    }
    let mut flows = Flows(Handshake::new(0), 0);
    let (mut parser, mut passes) = (Parser::default(), Passes::default());
    let mut read = || {
        parse::headers(&mut burst, &mut parser, &mut passes);
        burst.packets.flow.fill(Some((FlowId(0), Direction::ToServer)));
        burst.packets.clear_found();
        parse::handshakes(&mut burst, &mut flows, &mut parser);
    };
    read();
    let seen = allocation_counter::measure(|| (0..50).for_each(|_| read()));
    assert_eq!(seen.count_total, 0, "{} bytes", seen.bytes_total);
    assert_eq!(parser.counters.client_hellos, 51 * 32);
    assert!(parser.refused() > 0, "full pools were among it");
}
