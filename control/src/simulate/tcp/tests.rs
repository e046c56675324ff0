//! Two ends and a wire between them that holds, drops and rewrites.

use std::net::Ipv4Addr;

use super::*;
use crate::simulate::stream::Message;

/// Two ends, and the segments between them.
struct Pair {
    client: Tcp,
    server: Tcp,
    now: Nanos,
    to_server: Vec<Segment>,
    to_client: Vec<Segment>,
}

impl Pair {
    fn new() -> Self {
        let socket = |last, port| Socket { address: Ipv4Addr::new(10, 0, 0, last), port };
        let (a, b) = (socket(1, 40_000), socket(2, 443));
        let (client, server) = (Tcp::connect(a, b, u32::MAX - 3), Tcp::listen(b, a, 77));
        let now = Nanos::from_secs(1);
        Self { client, server, now, to_server: Vec::new(), to_client: Vec::new() }
    }

    fn open() -> Self {
        let mut pair = Self::new();
        pair.run();
        assert_eq!(pair.client.state, State::Established);
        assert_eq!(pair.server.state, State::Established);
        pair
    }

    fn flush(&mut self) {
        let Self { client, server, now, to_server, to_client } = self;
        client.flush(*now, |_, departure| to_server.push(departure.segment));
        server.flush(*now, |_, departure| to_client.push(departure.segment));
    }

    /// Until both ends are silent. What the server's end was told.
    fn run(&mut self) -> Vec<Change> {
        let mut told = Vec::new();
        self.flush();
        while !(self.to_server.is_empty() && self.to_client.is_empty()) {
            for segment in std::mem::take(&mut self.to_server) {
                told.push(self.server.receive(&segment));
            }
            for segment in std::mem::take(&mut self.to_client) {
                self.client.receive(&segment);
            }
            self.flush();
        }
        told
    }

    /// Lets the client's timer run.
    fn wait(&mut self) {
        self.now = self.client.deadline().unwrap();
        assert!(self.client.timeout(self.now));
    }
}

fn arrived(told: &[Change]) -> u64 {
    told.iter().filter_map(|change| change.arrived).map(|(from, to)| to - from).sum()
}

#[test]
fn bytes_cross_the_wrap_of_sequence_numbers_once_and_are_forgotten_when_acknowledged() {
    let mut pair = Pair::open();
    pair.client.stream.record(9_000, Message::None);
    let told = pair.run();
    assert_eq!(arrived(&told), pair.client.stream.written());
    let mut bytes = Vec::new();
    pair.client.stream.copy(0, 9_000, &mut bytes);
    assert!(bytes.is_empty(), "acknowledged");
}

#[test]
fn a_first_flight_that_is_held_is_sent_again_at_growing_intervals_one_segment_at_a_time() {
    let mut pair = Pair::open();
    pair.client.stream.record(4_000, Message::None);
    pair.flush();
    let held = std::mem::take(&mut pair.to_server);
    assert_eq!(held.len(), 3);
    let mut intervals = Vec::new();
    for _ in 0..4 {
        let before = pair.now;
        pair.wait();
        intervals.push(pair.now.since(before));
        pair.flush();
        assert_eq!(std::mem::take(&mut pair.to_server), held[..1], "absorbed");
    }
    assert_eq!(intervals, [200, 400, 800, 1600].map(Nanos::from_millis));
    pair.to_server = held;
    assert_eq!(arrived(&pair.run()), pair.client.stream.written(), "and released");
    assert_eq!(pair.client.deadline(), None);
}

#[test]
fn a_segment_that_is_lost_is_made_good() {
    let mut pair = Pair::open();
    pair.client.stream.record(6_000, Message::None);
    pair.flush();
    pair.to_server.remove(1);
    let mut told = pair.run();
    assert!(arrived(&told) < pair.client.stream.written());
    pair.wait();
    told.extend(pair.run());
    assert_eq!(arrived(&told), pair.client.stream.written());
}

#[test]
fn a_window_of_zero_stops_the_sender_until_it_opens_again() {
    let mut pair = Pair::open();
    let closed = Segment { window: 0, ..pair.server.departure(ACK, pair.server.high, 0).segment };
    pair.client.receive(&closed);
    pair.client.stream.record(3_000, Message::None);
    pair.flush();
    assert!(pair.to_server.is_empty());
    pair.wait();
    pair.flush();
    let probe = std::mem::take(&mut pair.to_server);
    assert_eq!(probe.iter().map(|s| s.bytes).collect::<Vec<_>>(), [0]);
    assert_eq!(pair.client.receive(&closed), Change::default());
    pair.client.receive(&Segment { window: 64, ..closed });
    assert_eq!(arrived(&pair.run()), pair.client.stream.written());
}

#[test]
fn only_the_exact_sequence_number_resets() {
    let mut pair = Pair::open();
    let exact = pair.server.departure(RST | ACK, pair.server.high, 0).segment;
    for beside in [1, 1000] {
        let segment = Segment { seq: exact.seq.wrapping_add(beside), ..exact };
        assert!(!pair.client.receive(&segment).reset);
        pair.flush();
        assert_eq!(std::mem::take(&mut pair.to_server).len(), 1, "a challenge");
    }
    let below = Segment { seq: exact.seq.wrapping_sub(1), ..exact };
    assert!(!pair.client.receive(&below).reset);
    assert_eq!(pair.client.challenged, 2);
    assert!(pair.client.receive(&exact).reset);
    assert_eq!(pair.client.state, State::Closed);
}

#[test]
fn both_ends_close_in_peace() {
    let mut pair = Pair::open();
    pair.client.close();
    let told = pair.run();
    assert!(told.iter().any(|change| change.peer_closed));
    assert_eq!(pair.server.state, State::Established, "it may still send");
    pair.server.close();
    pair.run();
    assert_eq!((pair.client.state, pair.server.state), (State::Closed, State::Closed));
}

#[test]
fn a_lost_syn_is_sent_again_after_a_second() {
    let mut pair = Pair::new();
    pair.flush();
    pair.to_server.clear();
    let before = pair.now;
    pair.wait();
    assert_eq!(pair.now.since(before), RTO_FIRST);
    pair.run();
    assert_eq!(pair.client.state, State::Established);
}
