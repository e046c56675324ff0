//! What flows are taken for when they do not say so: behind addresses that others have named, at
//! addresses that many share, and where the beginning was not seen.

use std::net::SocketAddr;

use fastpath::burst::Direction::{ToClient, ToServer};
use fastpath::lcore::{LcoreConfig, Mode};
use fastpath::port::mem::MemPort;
use fastpath::telemetry::event::{Evidence, Visibility};
use fastpath::telemetry::line::FlowLine;
use fastpath::time::Nanos;
use tests::connection::{Arrival, Connection};
use tests::frame::{ACK, FIN, SYN, Segment, tcp};
use tests::play::{self, Run};
use tests::tls::{self, Offer};

const START: Nanos = Nanos::from_secs(1_700_000_000);
const SERVER: ([u8; 4], u16) = ([203, 0, 113, 9], 443);
const CDN: ([u8; 4], u16) = ([203, 0, 113, 77], 443);

fn at(seconds: u64) -> Nanos {
    START + Nanos::from_secs(seconds)
}

fn connection(port: u16, server: ([u8; 4], u16), seconds: u64) -> Connection {
    let client = SocketAddr::from(([198, 51, 100, 1], port));
    Connection::new(client, SocketAddr::from(server), at(seconds))
}

/// A connection that shows this hello and is answered.
fn shows(port: u16, server: ([u8; 4], u16), seconds: u64, offer: &Offer<'_>) -> Vec<Arrival> {
    let mut c = connection(port, server, seconds);
    c.connect().send(ToServer, &tls::hello(offer)).wait(Nanos::from_millis(20)).answer_hello();
    c.close();
    c.take()
}

fn named(sni: &str) -> Offer<'_> {
    Offer { sni: Some(sni), ..Offer::default() }
}

const NO_NAME: Offer<'_> =
    Offer { sni: None, alpn: &["http/1.1"], ciphers: tls::CIPHERS, ech: false, padding: 0 };
const OUTER: Offer<'_> = Offer { sni: Some("cloudflare-ech.com"), ech: true, ..NO_NAME };

/// Another application than the one that has taught: what it calls says nothing.
const OTHER_CIPHERS: &[u16] = &[0x1303];

fn flows(mut arrivals: Vec<Arrival>) -> Vec<FlowLine> {
    arrivals.sort_by_key(|(at, ..)| *at);
    play::frames(arrivals).told.flows
}

/// The flow from `port`: its endpoint, what that was told by, and how sure it is.
fn of(flows: &[FlowLine], port: u16) -> (Option<&str>, Option<Evidence>, Option<f64>) {
    let flow = flows.iter().find(|flow| flow.sport == port).expect("it was told");
    (flow.endpoint.as_deref(), flow.endpoint_by, flow.confidence)
}

#[test]
fn a_hidden_name_is_what_others_have_asked_that_address_for() {
    let mut arrivals = Vec::new();
    for n in 0..4 {
        arrivals.extend(shows(40_000 + n, SERVER, u64::from(n), &named("api.openai.com")));
    }
    let unknown = |offer| Offer { ciphers: OTHER_CIPHERS, ..offer };
    arrivals.extend(shows(41_000, SERVER, 10, &unknown(OUTER)));
    arrivals.extend(shows(41_001, SERVER, 11, &unknown(NO_NAME)));
    arrivals.extend(shows(41_002, (SERVER.0, 8443), 12, &unknown(NO_NAME)));
    // The same application as the one that has taught: its habit speaks for it as well.
    arrivals.extend(shows(41_003, SERVER, 13, &NO_NAME));
    let flows = flows(arrivals);
    assert_eq!(of(&flows, 40_003), (Some("openai"), Some(Evidence::Sni), Some(1.0)));
    // Four calls, and one of something else supposed: 4 / 5.
    assert_eq!(of(&flows, 41_000), (Some("openai"), Some(Evidence::Learnt), Some(0.8)));
    assert_eq!(of(&flows, 41_001), (Some("openai"), Some(Evidence::Learnt), Some(0.8)));
    assert_eq!(of(&flows, 41_002), (None, None, None), "another port is another server");
    // It calls it 1.2 times as often as everybody, and something else 0.2 times: 0.96 to 0.04.
    assert_eq!(of(&flows, 41_003), (Some("openai"), Some(Evidence::Learnt), Some(0.96)));
}

#[test]
fn one_call_is_not_enough_to_learn_from() {
    let mut arrivals = shows(40_000, SERVER, 0, &named("api.openai.com"));
    arrivals.extend(shows(41_000, SERVER, 1, &Offer { ciphers: OTHER_CIPHERS, ..NO_NAME }));
    assert_eq!(of(&flows(arrivals), 41_000), (None, None, None));
}

#[test]
fn an_address_that_serves_many_names_tells_nothing() {
    let mut arrivals = Vec::new();
    for n in 0..6 {
        let seconds = u64::from(n);
        arrivals.extend(shows(40_000 + n, CDN, seconds, &named("api.openai.com")));
        let site = format!("site-{n}.example");
        arrivals.extend(shows(40_100 + n, CDN, seconds, &named(&site)));
    }
    arrivals.extend(shows(41_000, CDN, 20, &Offer { ciphers: OTHER_CIPHERS, ..OUTER }));
    assert_eq!(of(&flows(arrivals), 41_000), (None, None, None));
}

#[test]
fn an_outer_name_teaches_nothing_and_is_never_quite_believed() {
    let mut arrivals = Vec::new();
    let outer = Offer { ech: true, ..named("api.openai.com") };
    for n in 0..4 {
        arrivals.extend(shows(40_000 + n, SERVER, u64::from(n), &outer));
    }
    arrivals.extend(shows(41_000, SERVER, 10, &NO_NAME));
    let flows = flows(arrivals);
    assert_eq!(of(&flows, 40_003), (Some("openai"), Some(Evidence::Sni), Some(0.8)));
    assert_eq!(of(&flows, 41_000), (None, None, None));
}

#[test]
fn what_was_learnt_is_forgotten_in_hours() {
    const HOUR: u64 = 3_600;
    let mut arrivals = Vec::new();
    for n in 0..8 {
        arrivals.extend(shows(40_000 + n, SERVER, 0, &named("api.openai.com")));
    }
    let other = Offer { ciphers: OTHER_CIPHERS, ..NO_NAME };
    for (n, hours) in [(0, 1), (1, 2), (2, 3)] {
        arrivals.extend(shows(41_000 + n, SERVER, hours * HOUR, &other));
    }
    let flows = flows(arrivals);
    assert_eq!(of(&flows, 41_000).2, Some(0.8), "4 of 5");
    assert_eq!(of(&flows, 41_001).2, Some(0.67), "2 of 3");
    assert_eq!(of(&flows, 41_002), (None, None, None), "1 of 2");
}

#[test]
fn a_flood_of_addresses_is_bounded_and_makes_nothing_forgotten() {
    let mut arrivals = Vec::new();
    for n in 0..4 {
        arrivals.extend(shows(40_000 + n, SERVER, 0, &named("api.openai.com")));
    }
    let hello = tls::hello(&named("www.example.com"));
    for n in 0..100_000_u32 {
        let [_, a, b, c] = n.to_be_bytes();
        let segment = Segment {
            source: SocketAddr::from(([198, 51, 100, 2], 50_000)),
            destination: SocketAddr::from(([10, a, b, c], 443)),
            vlan: None,
            seq: 1,
            ack: 1,
            flags: ACK,
            payload: &hello,
        };
        let time = at(60) + Nanos::from_micros(10 * u64::from(n));
        arrivals.push((time, fastpath::burst::PortIndex(0), tcp(&segment)));
    }
    arrivals.extend(shows(41_000, SERVER, 120, &Offer { ciphers: OTHER_CIPHERS, ..NO_NAME }));
    let config = LcoreConfig { mode: Mode::Wire, ..LcoreConfig::default() };
    let (lcore, told) = play::to_end(MemPort::new(arrivals), config, |_| {});
    assert!(lcore.totals().learnt_evicted > 90_000);
    let (endpoint, by, confidence) = of(&told.flows, 41_000);
    assert_eq!((endpoint, by), (Some("openai"), Some(Evidence::Learnt)));
    assert!(confidence.is_some_and(|share| share > 0.75), "{confidence:?}");
}

#[test]
fn a_flow_met_in_the_middle_is_classified_by_its_address_and_marked() {
    let mut arrivals = Vec::new();
    for n in 0..4 {
        arrivals.extend(shows(40_000 + n, SERVER, 0, &named("api.openai.com")));
    }
    let mut c = connection(41_000, SERVER, 10);
    c.open("api.openai.com");
    drop(c.take());
    c.wait(Nanos::from_millis(50)).exchange(700, 12).wait(Nanos::from_millis(50)).close();
    arrivals.extend(c.take());
    let exchanges = play::frames(arrivals).told.exchanges;
    let [exchange] = exchanges.as_slice() else { panic!("one exchange, not {exchanges:?}") };
    assert!(exchange.from_middle);
    assert_eq!(exchange.visibility, Visibility::Opaque);
    assert_eq!(exchange.endpoint.as_deref(), Some("openai"));
    assert_eq!(exchange.endpoint_by, Some(Evidence::Learnt));
    assert_eq!(exchange.confidence.endpoint, Some(0.8));
}

#[test]
fn the_visibility_of_a_flow_is_what_its_hello_offers_until_it_shows_more() {
    let mut arrivals = Vec::new();
    for (n, alpn) in [&[][..], &["http/1.1"], &["h2", "http/1.1"], &["h2"]].into_iter().enumerate()
    {
        let port = 40_000 + u16::try_from(n).expect("four");
        let offer = Offer { alpn, ..named("api.openai.com") };
        arrivals.extend(shows(port, SERVER, 0, &offer));
    }
    let Run { told, totals, .. } = play::frames(arrivals);
    let mut seen: Vec<_> = told.flows.iter().map(|flow| (flow.sport, flow.visibility)).collect();
    seen.sort_by_key(|(port, _)| *port);
    let seen: Vec<_> = seen.into_iter().map(|(_, visibility)| visibility).collect();
    assert_eq!(seen, [Visibility::H1, Visibility::H1, Visibility::Both, Visibility::Mux]);
    let flows = totals.flows;
    assert_eq!((flows.h1, flows.both, flows.mux, flows.quic), (0, 1, 1, 0), "no exchange yet");
}

#[test]
fn behaviour_settles_what_an_encrypted_choice_leaves_open() {
    let both = Offer { alpn: &["h2", "http/1.1"], ..named("api.openai.com") };
    let mut arrivals = Vec::new();
    // The length of the first client record: an HTTP/2 preface with SETTINGS, or a request.
    for (port, first) in [(40_000, 64), (40_001, 700)] {
        let mut c = connection(port, SERVER, 0);
        c.connect().send(ToServer, &tls::hello(&both)).wait(Nanos::from_millis(20));
        c.answer_hello().wait(Nanos::from_millis(1));
        c.data(ToServer, &[36, first]).wait(Nanos::from_millis(50));
        c.data(ToClient, &[300, 300, 5]).wait(Nanos::from_millis(10)).close();
        arrivals.extend(c.take());
    }
    arrivals.sort_by_key(|(at, ..)| *at);
    let flows = play::frames(arrivals).totals.flows;
    assert_eq!((flows.h1, flows.mux, flows.both), (1, 1, 0));
}

#[test]
fn in_a_simultaneous_open_the_first_to_send_a_syn_is_the_client() {
    let mut c = connection(40_000, SERVER, 0);
    c.flags(ToServer, SYN).wait(Nanos::from_millis(5)).flags(ToClient, SYN);
    c.wait(Nanos::from_millis(5));
    let mut arrivals = c.take();
    // Each side answers the other's SYN with its own again.
    for n in [0, 1] {
        let (time, port, mut frame) = arrivals[n].clone();
        frame[14 + 20 + 13] = SYN | ACK;
        arrivals.push((time + Nanos::from_millis(10), port, frame));
    }
    c.wait(Nanos::from_millis(20)).send(ToServer, &tls::hello(&named("api.openai.com")));
    c.wait(Nanos::from_millis(20)).answer_hello();
    arrivals.extend(c.take());
    let run = play::frames(arrivals);
    assert_eq!(run.totals.flows.opened, 1, "the second SYN opens no other connection");
    let [flow] = run.told.flows.as_slice() else { panic!("one flow") };
    assert_eq!((flow.sport, flow.from_middle), (40_000, false));
}

#[test]
fn a_hello_on_a_syn_is_read_whether_it_is_taken_or_sent_again() {
    let hello = tls::hello(&named("api.openai.com"));
    for refused in [false, true] {
        let mut c = connection(40_000, SERVER, 0);
        let (client, server) = (c.client, c.server);
        let start = |flags, source, destination, seq, ack, payload| {
            tcp(&Segment { source, destination, vlan: None, seq, ack, flags, payload })
        };
        let length = u32::try_from(hello.len()).expect("a short hello");
        c.arrive(ToServer, start(SYN, client, server, 99, 0, &hello)).wait(Nanos::from_millis(20));
        let taken = if refused { 100 } else { 100 + length };
        c.arrive(ToClient, start(SYN | ACK, server, client, 7, taken, &[]));
        if refused {
            c.arrive(ToServer, start(ACK, client, server, 100, 8, &hello));
        }
        let run = play::frames(c.take());
        let [flow] = run.told.flows.as_slice() else { panic!("one flow, refused: {refused}") };
        assert_eq!(flow.endpoint.as_deref(), Some("openai"));
        assert_eq!(run.totals.flows.repeated_frames, 0);
    }
}

#[test]
fn round_trips_are_told_with_the_exchange_and_retransmissions_are_counted() {
    let mut c = connection(40_000, SERVER, 0);
    c.open("api.openai.com").wait(Nanos::from_millis(5));
    let request = c.segments(ToServer, &tls::data(3_000, 1), 1448);
    for segment in request.iter().chain(&request[..1]) {
        c.arrive(ToServer, segment.clone());
    }
    c.wait(Nanos::from_millis(150)).data(ToClient, &[300, 300, 5]);
    c.wait(Nanos::from_millis(10)).flags(ToServer, FIN | ACK);
    c.wait(Nanos::from_millis(20)).flags(ToClient, FIN | ACK);
    let run = play::frames(c.take());
    let [exchange] = run.told.exchanges.as_slice() else { panic!("one exchange") };
    assert_eq!(exchange.rtt_server_ms, Some(20.0), "not of the request, which was repeated");
    assert_eq!((run.totals.flows.repeated_frames, run.totals.flows.repeated_bytes), (1, 1448));
}
