//! Defects that were found once, each as the traffic that showed it.

use std::net::SocketAddr;

use fastpath::burst::Direction::{ToClient, ToServer};
use fastpath::lcore::LcoreConfig;
use fastpath::port::mem::MemPort;
use fastpath::telemetry::event::{Outcome, Visibility};
use fastpath::telemetry::line::ExchangeLine;
use fastpath::telemetry::reasons::PassReason;
use fastpath::time::Nanos;
use tests::connection::{Arrival, Connection};
use tests::frame::{ACK, FIN, SYN, Segment, V4_ACK, V4_SEQ, tcp};
use tests::{play, tls};

const START: Nanos = Nanos::from_secs(1_700_000_000);

fn ms(n: u64) -> Nanos {
    Nanos::from_millis(n)
}

/// A client's connection from `port` to a server on 443, `at` milliseconds after the start.
fn connection(port: u16, at: u64) -> Connection {
    let client = SocketAddr::from(([198, 51, 100, 1], port));
    Connection::new(client, SocketAddr::from(([203, 0, 113, 9], 443)), START + ms(at))
}

/// The same, with its handshakes done.
fn opened(port: u16, at: u64) -> Connection {
    let mut connection = connection(port, at);
    connection.open("api.openai.com").wait(ms(5));
    connection
}

fn told(mut arrivals: Vec<Arrival>) -> Vec<ExchangeLine> {
    arrivals.sort_by_key(|(at, ..)| *at);
    play::frames(arrivals).told.exchanges
}

/// The exchange of the connection from `port`.
fn of(exchanges: &[ExchangeLine], port: u16) -> &ExchangeLine {
    exchanges.iter().find(|exchange| exchange.client_port == port).expect("it was told")
}

/// A request that is answered like an error, on a connection of its own.
fn failed(port: u16, at: u64) -> Vec<Arrival> {
    let mut c = opened(port, at);
    c.data(ToServer, &[700]).wait(ms(30)).data(ToClient, &[400]).wait(ms(5)).close();
    c.take()
}

#[test]
fn the_end_of_time_is_no_loop() {
    let mut c = opened(30_000, 0);
    c.exchange(700, 12);
    let mut arrivals = c.take();
    let shift = Nanos::MAX - arrivals.last().expect("frames").0;
    arrivals.iter_mut().for_each(|(at, ..)| *at += shift);
    assert_eq!(play::frames(arrivals).totals.exchanges, 1);
}

#[test]
fn two_failures_and_two_retries_of_a_template_are_two_links() {
    let mut arrivals = Vec::new();
    for n in 0..4u16 {
        let mut c = opened(30_000 + n, 2000 * u64::from(n));
        c.exchange(700, 12).wait(ms(10)).close();
        arrivals.extend(c.take());
    }
    arrivals.extend(failed(31_000, 10_000));
    arrivals.extend(failed(31_001, 10_040));
    for (port, at) in [(31_002, 10_470), (31_003, 10_520)] {
        let mut c = opened(port, at);
        c.exchange(700, 12).wait(ms(10)).close();
        arrivals.extend(c.take());
    }
    let exchanges = told(arrivals);
    let links = [31_002, 31_003].map(|port| of(&exchanges, port).retry_of.clone());
    assert!(links[0].is_some() && links[1].is_some() && links[0] != links[1], "{links:?}");
}

#[test]
fn a_fin_that_overtakes_the_terminator_cuts_nothing() {
    let mut c = opened(30_000, 0);
    c.data(ToServer, &[700]).wait(ms(150));
    for _ in 0..10 {
        c.data(ToClient, &[300]).wait(ms(20));
    }
    let terminator = c.segments(ToClient, &tls::data(5, 1), 1448);
    c.flags(ToClient, FIN | ACK).wait(ms(40));
    for segment in terminator {
        c.arrive(ToClient, segment);
    }
    c.wait(ms(5)).flags(ToServer, FIN | ACK);
    let exchanges = told(c.take());
    assert_eq!((exchanges[0].outcome, exchanges[0].waste), (Outcome::Complete, None));
}

#[test]
fn a_retry_that_runs_for_long_is_still_a_retry_when_it_ends() {
    let mut arrivals = failed(30_000, 0);
    let mut c = opened(30_001, 500);
    c.data(ToServer, &[700]).wait(ms(200));
    for _ in 0..90 {
        c.data(ToClient, &[300]).wait(ms(1000));
    }
    c.data(ToClient, &[5]).wait(ms(10)).close();
    arrivals.extend(c.take());
    let mut other = opened(30_002, 80_000);
    other.exchange(5000, 12).wait(ms(10)).close();
    arrivals.extend(other.take());
    assert_eq!(of(&told(arrivals), 30_001).attempt, 2);
}

#[test]
fn a_retry_amid_a_fan_out_is_still_a_retry_when_it_ends() {
    let slow = |port: u16, at: u64, bytes: usize| {
        let mut c = opened(port, at);
        c.data(ToServer, &[bytes]).wait(ms(8000));
        for _ in 0..12 {
            c.data(ToClient, &[300]).wait(ms(20));
        }
        c.data(ToClient, &[5]).wait(ms(10)).close();
        c.take()
    };
    let mut arrivals = failed(30_000, 0);
    arrivals.extend(slow(30_001, 500, 700));
    for n in 0..80u16 {
        arrivals.extend(slow(31_000 + n, 1500 + u64::from(n), 2000 + 50 * usize::from(n)));
    }
    assert_eq!(of(&told(arrivals), 30_001).attempt, 2);
}

#[test]
fn a_request_beside_one_that_only_looked_failed_is_no_retry() {
    let thinking = |port: u16, at: u64| {
        let mut c = opened(port, at);
        c.data(ToServer, &[700]).wait(ms(30)).data(ToClient, &[300]).wait(ms(3000));
        for _ in 0..12 {
            c.data(ToClient, &[300]).wait(ms(20));
        }
        c.data(ToClient, &[5]).wait(ms(10)).close();
        c.take()
    };
    let mut arrivals = thinking(30_000, 0);
    arrivals.extend(thinking(30_001, 400));
    let exchanges = told(arrivals);
    assert!(exchanges.iter().all(|exchange| exchange.outcome == Outcome::Complete));
    assert_eq!(of(&exchanges, 30_001).retry_of, None);
}

#[test]
fn a_connection_on_the_ports_of_one_met_midway_is_another() {
    let mut midway = connection(30_000, 0);
    midway.data(ToServer, &[700]).wait(ms(300)).data(ToClient, &[3000]);
    let mut arrivals = midway.take();
    let mut next = opened(30_000, 60_000);
    next.exchange(700, 12).wait(ms(10)).close();
    let mut later = next.take();
    for (_, _, frame) in &mut later {
        // Its sequence numbers lie behind those of the connection before.
        for place in [V4_SEQ, V4_ACK] {
            let number = frame[place..place + 4].first_chunk().expect("four bytes");
            let earlier = u32::from_be_bytes(*number).wrapping_sub(500_000_000);
            frame[place..place + 4].copy_from_slice(&earlier.to_be_bytes());
        }
    }
    arrivals.extend(later);
    let run = play::frames(arrivals);
    assert_eq!(run.totals.client_hellos, 1);
    assert!(run.told.exchanges.iter().any(|exchange| exchange.visibility == Visibility::H1));
}

#[test]
fn idling_before_the_goodbye_is_no_part_of_the_exchange() {
    let mut c = opened(30_000, 0);
    c.data(ToServer, &[700]).wait(ms(300)).data(ToClient, &[3000]).wait(ms(30_000));
    c.data(ToServer, &[2]).flags(ToServer, FIN | ACK).wait(ms(20)).flags(ToClient, FIN | ACK);
    let exchanges = told(c.take());
    assert!(exchanges[0].seconds() < 1.0, "{} s", exchanges[0].seconds());
}

#[test]
fn a_quick_reply_met_midway_is_no_session_ticket() {
    let mut c = connection(30_000, 0);
    c.data(ToServer, &[700]).wait(ms(30)).data(ToClient, &[380]).wait(ms(500)).close();
    let exchanges = told(c.take());
    assert!(exchanges[0].first_byte.is_some());
}

#[test]
fn a_hello_from_the_server_turns_no_flow_whose_syn_was_seen() {
    let mut c = connection(30_000, 0);
    c.connect();
    c.send(ToServer, &tls::client_hello("api.openai.com", &["http/1.1"], 0)).wait(ms(20));
    c.send(ToClient, &tls::client_hello("evil.example", &["h2"], 0)).wait(ms(5));
    c.data(ToServer, &[36]).data(ToServer, &[700]).wait(ms(100)).data(ToClient, &[900]);
    let flows = play::frames(c.take()).told.flows;
    let names: Vec<_> = flows.iter().map(|flow| flow.sni.as_deref()).collect();
    assert_eq!(names, [Some("api.openai.com")]);
}

#[test]
fn http2_that_is_recognised_late_counts_once() {
    let mut c = connection(30_000, 0);
    c.connect();
    c.send(ToServer, &tls::client_hello("api.openai.com", &["h2", "http/1.1"], 0)).wait(ms(20));
    c.answer_hello();
    c.data(ToServer, &[36]).data(ToServer, &[100, 22]).wait(ms(50)).data(ToClient, &[500]);
    let flows = play::frames(c.take()).totals.flows;
    assert_eq!((flows.h1, flows.mux), (0, 1));
}

#[test]
fn a_flood_of_frames_that_nobody_answers_evicts_no_conversation() {
    for flags in [SYN, ACK] {
        let mut c = opened(30_000, 0);
        c.data(ToServer, &[700]).wait(ms(4000));
        for _ in 0..12 {
            c.data(ToClient, &[300]).wait(ms(20));
        }
        c.data(ToClient, &[5]).wait(ms(10)).close();
        let mut arrivals = c.take();
        let port = arrivals[0].1;
        for n in 0..3000u32 {
            let [_, b, c, d] = n.to_be_bytes();
            let frame = tcp(&Segment {
                source: SocketAddr::from(([10, b, c, d], 50_000)),
                destination: SocketAddr::from(([203, 0, 113, 77], 443)),
                vlan: None,
                seq: 1,
                ack: 1,
                flags,
                payload: if flags == SYN { &[] } else { b"x" },
            });
            arrivals.push((START + ms(500 + u64::from(n)), port, frame));
        }
        arrivals.sort_by_key(|(at, ..)| *at);
        let config = LcoreConfig { flows: 1024, ..LcoreConfig::default() };
        let (_, told) = play::to_end(MemPort::new(arrivals), config, |_| {});
        assert_eq!(of(&told.exchanges, 30_000).outcome, Outcome::Complete, "flags {flags}");
    }
}

#[test]
fn a_flood_of_syns_ten_times_the_table_leaves_conversations_and_frames_alone() {
    const FLOWS: u32 = 512;
    const CONVERSATIONS: u16 = 256;
    let mut arrivals = Vec::new();
    for n in 0..CONVERSATIONS {
        let mut c = opened(20_000 + n, 0);
        c.exchange(700, 12).wait(ms(4000)).data(ToServer, &[900]).wait(ms(200));
        c.data(ToClient, &[400]).wait(ms(10)).close();
        arrivals.append(&mut c.take());
    }
    let port = arrivals[0].1;
    for n in 0..10 * FLOWS {
        let [_, b, c, d] = n.to_be_bytes();
        let syn = tcp(&Segment {
            source: SocketAddr::from(([10, b, c, d], 50_000)),
            destination: SocketAddr::from(([203, 0, 113, 77], 443)),
            vlan: None,
            seq: 1,
            ack: 0,
            flags: SYN,
            payload: &[],
        });
        arrivals.push((START + ms(500 + u64::from(n) / 2), port, syn));
    }
    arrivals.sort_by_key(|(at, ..)| *at);
    let config = LcoreConfig { flows: FLOWS as usize, ..LcoreConfig::default() };
    let frames = arrivals.len();
    let (lcore, told) = play::to_end(MemPort::new(arrivals), config, |_| {});
    assert_eq!(lcore.port().sent().len(), frames, "every frame passes");
    for n in 0..CONVERSATIONS {
        let mut told = told.exchanges.iter().filter(|told| told.client_port == 20_000 + n);
        assert!(told.clone().count() == 2 && told.all(|told| !told.from_middle), "port {n}");
    }
    let totals = lcore.totals();
    assert_eq!(totals.passes.count(PassReason::FlowTableFull), 0, "each SYN has had a flow");
    assert!(totals.flows.evicted > u64::from(9 * FLOWS), "{} evicted", totals.flows.evicted);
}

#[test]
fn a_gap_on_a_tap_of_one_direction_is_given_up() {
    let mut c = opened(30_000, 0);
    c.data(ToServer, &[700]).wait(ms(100)).data(ToClient, &[300]);
    let lost = c.segments(ToClient, &tls::data(300, 1), 1448);
    assert_eq!(lost.len(), 1, "a whole record, header and all");
    for _ in 0..200 {
        c.data(ToClient, &[16_000]).wait(ms(20));
    }
    let downstream: Vec<Arrival> =
        c.take().into_iter().filter(|(_, port, _)| port.0 == 1).collect();
    let totals = play::frames(downstream).totals;
    assert_eq!(totals.records_lost, 1);
    assert!(totals.records > 100, "{} records", totals.records);
}
