//! What `act` does to frames, seen from both ends of a wire: order, exactness, bounds, and that
//! every frame has one end.

use std::net::SocketAddr;

use fastpath::act::Shapers;
use fastpath::act::checksum::Sum;
use fastpath::act::hold::HoldBounds;
use fastpath::burst::{Burst, Fate, FlowId, PortIndex};
use fastpath::decide::order::{HoldEnd, Mark, Order, Toward};
use fastpath::flow::table::FlowTable;
use fastpath::flow::{self};
use fastpath::parse::{self, Parser};
use fastpath::policy::rules::{self, Rules};
use fastpath::port::mem::Buffer;
use fastpath::telemetry::counters::{Passes, PortCounters};
use fastpath::telemetry::reasons::DropReason;
use fastpath::time::Nanos;
use proptest::prelude::*;
use tests::frame::{self, ACK, FIN, RST, SYN, Segment};

const CLIENT: PortIndex = PortIndex(0);
const SERVER: PortIndex = PortIndex(1);

/// The stages that `act` needs, on frames in memory.
struct Wire {
    flows: FlowTable,
    parser: Parser,
    passes: Passes,
    shapers: Shapers<Buffer>,
    burst: Burst<Buffer>,
    counters: PortCounters,
    now: Nanos,
}

/// A frame that has left, by the port it left by.
type Left = (PortIndex, Vec<u8>);

impl Wire {
    fn new(bounds: HoldBounds) -> Self {
        Self {
            flows: FlowTable::with_capacity(64),
            parser: Parser::for_flows(64),
            passes: Passes::default(),
            shapers: Shapers::new(bounds),
            burst: Burst::new(),
            counters: PortCounters::default(),
            now: Nanos::from_secs(1),
        }
    }

    /// Plays one burst, a millisecond after the one before. `orders` is asked once its flows are
    /// known.
    fn play(
        &mut self,
        frames: &[Left],
        orders: impl FnOnce(&[Option<FlowId>]) -> Vec<Order>,
    ) -> Vec<Left> {
        self.now += Nanos::from_millis(1);
        self.burst.begin(self.now);
        for (port, bytes) in frames {
            let wire_bytes = u32::try_from(bytes.len()).expect("a frame is short");
            self.burst.push(bytes.clone().into(), self.now, *port, wire_bytes);
            self.counters.rx_frames += 1;
        }
        parse::headers(&mut self.burst, &mut self.parser, &mut self.passes);
        self.shapers.arrive(&mut self.burst);
        flow::track(&mut self.burst.packets, &mut self.flows, &mut self.passes);
        let flows: Vec<_> = self.burst.packets.flow.iter().map(|f| f.map(|(id, _)| id)).collect();
        let orders = orders(&flows);
        let build = &mut |bytes: &[u8]| Some(Buffer::from(bytes.to_vec()));
        self.shapers.apply(&mut self.burst, &self.flows, &orders, build);
        let mut left = Vec::new();
        for (frame, port, fate) in self.burst.drain() {
            match fate {
                Fate::Forward => {
                    self.counters.tx_frames += 1;
                    left.push((port.peer(), fastpath::burst::Frame::bytes(&frame).to_vec()));
                }
                Fate::Drop(reason) => self.counters.drops.add(reason),
            }
        }
        let complete = self.shapers.complete(&self.counters);
        assert!(complete.balanced(), "{complete:?}");
        left
    }

    fn pass(&mut self, frames: &[Left]) -> Vec<Left> {
        self.play(frames, |_| Vec::new())
    }

    fn ends(&self) -> Vec<HoldEnd> {
        self.shapers.ended().iter().map(|ended| ended.end).collect()
    }

    fn drops(&self, reason: DropReason) -> u64 {
        self.counters.drops.count(reason)
    }
}

fn ends(v6: bool) -> [SocketAddr; 2] {
    if v6 {
        [
            "[2001:db8::1]:40000".parse().expect("an address"),
            "[2001:db8::2]:443".parse().expect("an address"),
        ]
    } else {
        [
            "10.0.0.1:40000".parse().expect("an address"),
            "203.0.113.9:443".parse().expect("an address"),
        ]
    }
}

/// A segment of the client, with this much payload.
fn up(seq: u32, flags: u8, payload: usize) -> Left {
    let [source, destination] = ends(false);
    let payload = &vec![7; payload];
    let segment = Segment { source, destination, vlan: None, seq, ack: 501, flags, payload };
    (CLIENT, frame::tcp(&segment))
}

fn down(seq: u32, ack: u32, payload: usize) -> Left {
    let [destination, source] = ends(false);
    let payload = &vec![9; payload];
    (
        SERVER,
        frame::tcp(&Segment { source, destination, vlan: None, seq, ack, flags: ACK, payload }),
    )
}

/// A wire with an open connection: the client's next byte is 101, the server's 501.
fn open(bounds: HoldBounds) -> Wire {
    let mut wire = Wire::new(bounds);
    let [client, server] = ends(false);
    let syn = Segment {
        source: server,
        destination: client,
        vlan: None,
        seq: 500,
        ack: 101,
        flags: SYN | ACK,
        payload: &[],
    };
    wire.pass(&[up(100, SYN, 0), (SERVER, frame::tcp(&syn)), up(101, ACK, 0)]);
    wire
}

/// Holds the first flow of the burst for ten milliseconds from its frame `from` on.
fn hold(flows: &[Option<FlowId>], from: u16, now: Nanos) -> Vec<Order> {
    let until = now + Nanos::from_millis(10);
    vec![Order::Hold { flow: flows[0].expect("its flow is known"), from, until }]
}

fn seqs(left: &[Left]) -> Vec<u32> {
    let seq = |frame: &[u8]| {
        u32::from_be_bytes(frame[frame::V4_SEQ..][..4].try_into().expect("four bytes"))
    };
    left.iter().map(|(_, frame)| seq(frame)).collect()
}

#[test]
fn the_bounds_of_the_policy_end_a_hold() {
    for (max_bytes, pool_percent, kept) in
        [(1000, 25.0, true), (200, 25.0, false), (1000, 0.0, false)]
    {
        let mut wire = open(HoldBounds::default());
        let rule = Rules::default().hold;
        wire.shapers.bound(&rules::HoldBounds { max_bytes, pool_percent, ..rule });
        let now = wire.now;
        let left = wire.play(&[up(101, ACK, 200)], |flows| hold(flows, 0, now));
        assert_eq!(left.is_empty(), kept, "{max_bytes} bytes, {pool_percent} %");
        assert_eq!(wire.ends().is_empty(), kept);
    }
}

#[test]
fn no_more_is_held_than_the_policy_s_share_of_the_frames_that_the_port_has() {
    let rule = Rules::default().hold;
    let frames = |port, pool_percent| {
        HoldBounds::of(port).with(&rules::HoldBounds { pool_percent, ..rule }).frames
    };
    assert_eq!(frames(Some(8192), 25.0), 2048);
    assert_eq!(frames(Some(8192), 50.0), 4096);
    assert_eq!(frames(None, 25.0), 16_384);
}

#[test]
fn a_held_request_leaves_once_in_order_and_nothing_of_its_flow_overtakes_it() {
    let mut wire = open(HoldBounds::default());
    let now = wire.now;
    let left = wire.play(&[up(101, ACK, 100), up(201, ACK, 50)], |flows| hold(flows, 0, now));
    assert_eq!(left, [], "both frames are kept");
    let repeat_and_ack = [up(101, ACK, 100), up(251, ACK, 0)];
    assert_eq!(seqs(&wire.pass(&repeat_and_ack)), [251], "the repeat is absorbed, the ACK passes");
    assert_eq!(wire.drops(DropReason::HoldRepeated), 1);
    let now = wire.now;
    let left = wire.play(&[up(251, ACK, 70)], |flows| {
        vec![Order::Release { flow: flows[0].unwrap(), at: now }]
    });
    assert_eq!(seqs(&left), [101, 201, 251]);
    assert!(left.iter().all(|(port, _)| *port == SERVER));
    assert_eq!(wire.ends(), [HoldEnd::Released]);
    assert_eq!(seqs(&wire.pass(&[up(321, ACK, 10)])), [321], "the flow is free again");
}

#[test]
fn what_was_sent_before_the_hold_is_repeated_to_the_server() {
    let mut wire = open(HoldBounds::default());
    wire.pass(&[up(101, ACK, 100)]);
    let now = wire.now;
    wire.play(&[up(201, ACK, 50)], |flows| hold(flows, 0, now));
    assert_eq!(seqs(&wire.pass(&[up(101, ACK, 100)])), [101], "its original may be lost");
}

#[test]
fn frames_before_the_one_that_begins_a_request_pass() {
    let mut wire = open(HoldBounds::default());
    let now = wire.now;
    let left = wire.play(&[up(101, ACK, 100), up(201, ACK, 50)], |flows| hold(flows, 1, now));
    assert_eq!(seqs(&left), [101]);
    assert_eq!(seqs(&wire.pass(&[up(251, ACK, 9)])), [0; 0], "in later bursts all are kept");
}

#[test]
fn a_hold_whose_time_is_over_forwards_what_it_kept() {
    let mut wire = open(HoldBounds::default());
    let now = wire.now;
    wire.play(&[up(101, ACK, 100)], |flows| hold(flows, 0, now));
    let mut left = Vec::new();
    for _ in 0..12 {
        left.extend(wire.pass(&[]));
    }
    assert_eq!(seqs(&left), [101]);
    assert_eq!(wire.shapers.counts().held_flows, 0);
}

#[test]
fn a_release_in_the_future_waits_for_its_time() {
    let mut wire = open(HoldBounds::default());
    let now = wire.now;
    wire.play(&[up(101, ACK, 100)], |flows| hold(flows, 0, now));
    let flow = the_flow(&mut wire);
    let at = wire.now + Nanos::from_millis(4);
    assert_eq!(wire.play(&[], |_| vec![Order::Release { flow, at }]), []);
    assert_eq!(wire.pass(&[]), []);
    let left: Vec<Left> = (0..4).flat_map(|_| wire.pass(&[])).collect();
    assert_eq!(seqs(&left), [101]);
}

/// The flow of the client.
fn the_flow(wire: &mut Wire) -> FlowId {
    let mut flow = None;
    wire.play(&[up(101, ACK, 0)], |flows| {
        flow = flows[0];
        Vec::new()
    });
    flow.expect("its flow is known")
}

#[test]
fn a_bound_that_is_reached_ends_the_hold_and_loses_nothing() {
    let bounds = HoldBounds { flow_frames: 3, ..HoldBounds::default() };
    let mut wire = open(bounds);
    let now = wire.now;
    let mut left = wire.play(&[up(101, ACK, 10)], |flows| hold(flows, 0, now));
    for n in 1..6 {
        left.extend(wire.pass(&[up(101 + 10 * n, ACK, 10)]));
    }
    assert_eq!(seqs(&left), [101, 111, 121, 131, 141, 151]);
    assert_eq!(wire.shapers.counts().held_frames, 0);
}

#[test]
fn more_flows_than_may_be_held_pass() {
    let mut wire = open(HoldBounds { flows: 0, ..HoldBounds::default() });
    let now = wire.now;
    let left = wire.play(&[up(101, ACK, 10)], |flows| hold(flows, 0, now));
    assert_eq!(seqs(&left), [101]);
    assert_eq!(wire.ends(), [HoldEnd::Full]);
    assert_eq!(wire.shapers.counts().holds_refused, 1);
}

#[test]
fn a_client_that_leaves_while_it_is_held_costs_the_server_nothing_but_an_exact_rst() {
    for close in [FIN | ACK, RST] {
        let mut wire = open(HoldBounds::default());
        let now = wire.now;
        wire.play(&[up(101, ACK, 100)], |flows| hold(flows, 0, now));
        let left = wire.pass(&[up(201, close, 0)]);
        assert_eq!(left.len(), 1);
        let (port, frame) = &left[0];
        assert_eq!((*port, seqs(&left)[0]), (SERVER, 101), "the byte the server waits for");
        assert_eq!(frame[47] & RST, RST);
        assert_eq!(wire.drops(DropReason::HoldLeft), 2, "the request and the close");
        assert_eq!(wire.ends(), [HoldEnd::Left]);
    }
}

/// Sums up an IP header and the TCP segment behind it: both give zero when they are right.
fn checksums(frame: &[u8], network: usize) -> [u16; 2] {
    let ip = &frame[network..];
    if ip[0] >> 4 == 4 {
        let length = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
        let tcp = &ip[20..length];
        let bytes = u16::try_from(tcp.len()).expect("a segment is short");
        let pseudo = Sum::default().bytes(&ip[12..20]).word(6).word(bytes);
        [Sum::default().bytes(&ip[..20]).checksum(), pseudo.bytes(tcp).checksum()]
    } else {
        let bytes = u16::from_be_bytes([ip[4], ip[5]]);
        let tcp = &ip[40..40 + usize::from(bytes)];
        let pseudo = Sum::default().bytes(&ip[8..40]).word(6).word(bytes);
        [0, pseudo.bytes(tcp).checksum()]
    }
}

#[test]
fn a_reset_has_the_numbers_that_each_side_expects_and_sums_up() {
    for (v6, vlan) in [(false, None), (true, None), (false, Some(7)), (true, Some(7))] {
        let [client, server] = ends(v6);
        let segment = |source, destination, seq, ack, flags, payload| {
            frame::tcp(&Segment { source, destination, vlan, seq, ack, flags, payload })
        };
        let mut wire = Wire::new(HoldBounds::default());
        wire.pass(&[(CLIENT, segment(client, server, 100, 0, SYN, &[]))]);
        wire.pass(&[(SERVER, segment(server, client, 500, 101, SYN | ACK, &[]))]);
        let data = (SERVER, segment(server, client, 501, 101, ACK, &[1; 33]));
        let ack = (CLIENT, segment(client, server, 101, 534, ACK, &[]));
        let mut left = wire.play(&[data.clone(), ack], |flows| {
            vec![Order::Reset { flow: flows[0].unwrap(), toward: Toward::Both }]
        });
        assert_eq!(left[0], (CLIENT, data.1), "what the server sent still passes");
        left.remove(1);
        let network = 14 + vlan.map_or(0, |_| 4);
        let tcp = network + if v6 { 40 } else { 20 };
        let numbers = |frame: &[u8]| {
            let word = |at: usize| u32::from_be_bytes(frame[at..at + 4].try_into().unwrap());
            (u16::from_be_bytes([frame[tcp], frame[tcp + 1]]), word(tcp + 4), word(tcp + 8))
        };
        assert_eq!((left[1].0, numbers(&left[1].1)), (SERVER, (40000, 101, 534)));
        assert_eq!((left[2].0, numbers(&left[2].1)), (CLIENT, (443, 534, 101)));
        for (_, frame) in &left[1..] {
            assert_eq!(checksums(frame, network), [0, 0]);
        }
        assert_eq!(left[1].1[..6], left[0].1[6..12], "to the server's MAC address");
    }
}

#[test]
fn a_reset_without_a_frame_to_go_by_waits_for_the_next_one() {
    let mut wire = open(HoldBounds::default());
    let flow = the_flow(&mut wire);
    let reset = vec![Order::Reset { flow, toward: Toward::Server }];
    assert_eq!(wire.play(&[], |_| reset), []);
    assert_eq!(wire.pass(&[up(101, ACK, 9)]).len(), 1, "its client does not know what has arrived");
    let left = wire.pass(&[down(501, 101, 20)]);
    assert_eq!(left.len(), 2);
    assert_eq!((left[1].0, seqs(&left)[1]), (SERVER, 101));
}

#[test]
fn nothing_is_made_inside_a_tunnel() {
    let mut wire = Wire::new(HoldBounds::default());
    let inside = |left: Left| frame::encapsulated("VXLAN", &left.1);
    wire.pass(&[(CLIENT, inside(up(100, SYN, 0)))]);
    let frames = [(CLIENT, inside(up(101, ACK, 5))), (SERVER, inside(down(501, 106, 5)))];
    let left = wire.play(&frames, |flows| {
        vec![Order::Reset { flow: flows[0].unwrap(), toward: Toward::Both }]
    });
    assert_eq!(left.len(), 2);
    assert_eq!(wire.shapers.counts().resets_refused, 2);
}

#[test]
fn disarming_lets_everything_go() {
    let mut wire = open(HoldBounds::default());
    let now = wire.now;
    wire.play(&[up(101, ACK, 100)], |flows| hold(flows, 0, now));
    wire.burst.begin(wire.now);
    wire.shapers.disarm(&mut wire.burst, &wire.flows);
    assert_eq!(wire.burst.drain().count(), 1);
    assert_eq!(wire.ends(), [HoldEnd::Released]);
}

#[test]
fn a_paced_flow_leaves_in_order_at_its_rate_and_all_of_it() {
    let mut wire = open(HoldBounds::default());
    // Each frame of 154 bytes takes 2 ms. A timer fires a slot later at most, here in the burst after.
    let pace = |flows: &[Option<FlowId>]| {
        vec![Order::Pace { flow: flows[0].unwrap(), bytes_per_sec: 77_000 }]
    };
    let frames = [up(101, ACK, 100), up(201, ACK, 100), up(301, ACK, 100)];
    let mut left = vec![wire.play(&frames, pace)];
    for _ in 0..5 {
        left.push(wire.pass(&[]));
    }
    let left: Vec<Vec<u32>> = left.iter().map(|left| seqs(left)).collect();
    assert_eq!(left, [vec![101], vec![], vec![], vec![201], vec![], vec![301]]);
}

#[test]
fn a_flow_that_is_no_longer_paced_leaves_at_once() {
    let mut wire = open(HoldBounds::default());
    let frames = [up(101, ACK, 100), up(201, ACK, 100), up(301, ACK, 100)];
    let mut rate = |frames: &[Left], bytes_per_sec| {
        let pace =
            |flows: &[Option<FlowId>]| vec![Order::Pace { flow: flows[0].unwrap(), bytes_per_sec }];
        seqs(&wire.play(frames, pace))
    };
    assert_eq!(rate(&frames, 1_000), [101]);
    assert_eq!(rate(&[up(401, ACK, 1)], 0), [201, 301, 401]);
}

#[test]
fn a_paced_flow_that_sends_too_much_loses_what_does_not_fit_and_keeps_its_rate() {
    for bounds in [
        HoldBounds { flow_frames: 4, ..HoldBounds::default() },
        HoldBounds { flow_bytes: 400, ..HoldBounds::default() },
    ] {
        paced_within(bounds);
    }
}

fn paced_within(bounds: HoldBounds) {
    let mut wire = open(bounds);
    let pace = |flows: &[Option<FlowId>]| {
        vec![Order::Pace { flow: flows[0].expect("its flow is known"), bytes_per_sec: 77_000 }]
    };
    let mut left = seqs(&wire.play(&[up(101, ACK, 100)], pace));
    for n in 1..8 {
        left.extend(seqs(&wire.pass(&[up(101 + 100 * n, ACK, 100)])));
    }
    let lost = wire.drops(DropReason::PaceFull);
    assert!(lost > 0 && left.len() < 5, "{lost} lost, {left:?} left in eight milliseconds");
    for _ in 0..16 {
        left.extend(seqs(&wire.pass(&[])));
    }
    assert_eq!(left.len() as u64 + lost, 8, "what waited leaves: {left:?}");
    assert!(left.is_sorted());
}

#[test]
fn a_policed_flow_loses_what_exceeds_its_rate_but_no_acknowledgment() {
    let mut wire = open(HoldBounds::default());
    let police = |flows: &[Option<FlowId>]| {
        vec![Order::Police { flow: flows[0].unwrap(), bytes_per_sec: 1_000 }]
    };
    // A quarter of a second of its rate may come at once: two frames, the second begun within it.
    let frames: Vec<Left> = (0..6).map(|n| up(101 + 150 * n, ACK, 150)).collect();
    assert_eq!(seqs(&wire.play(&frames, police)), [101, 251]);
    assert_eq!(wire.drops(DropReason::Policed), 4);
    assert_eq!(seqs(&wire.pass(&[up(1001, ACK, 0)])), [1001]);
}

#[test]
fn a_marked_flow_carries_its_codepoint_towards_the_server() {
    let mut wire = open(HoldBounds::default());
    let mark = Mark::Dscp(0b00_1000);
    let order = |flows: &[Option<FlowId>]| vec![Order::Mark { flow: flows[0].unwrap(), mark }];
    let left = wire.play(&[summed(up(101, ACK, 9)), down(501, 101, 9)], order);
    assert_eq!((left[0].1[15], left[1].1[15]), (0b0010_0000, 0));
    assert_eq!(checksums(&left[0].1, 14), [0, 0]);
}

/// The frame with the checksums that a host would have given it.
fn summed((port, mut frame): Left) -> Left {
    let network = 14;
    let (v4, transport) =
        (frame[network] >> 4 == 4, network + if frame[network] >> 4 == 4 { 20 } else { 40 });
    if v4 {
        let sum = Sum::default().bytes(&frame[network..transport]).checksum();
        frame[network + 10..network + 12].copy_from_slice(&sum.to_be_bytes());
    }
    let [_, sum] = checksums(&frame, network);
    frame[transport + 16..transport + 18].copy_from_slice(&sum.to_be_bytes());
    (port, frame)
}

#[test]
fn a_rerouted_connection_is_one_with_the_replica_for_the_server_and_with_the_called_address_for_the_client()
 {
    for v6 in [false, true] {
        let [client, called] = ends(v6);
        let replica: SocketAddr =
            if v6 { "[2001:db8::9]:8443" } else { "203.0.113.77:8443" }.parse().unwrap();
        let segment = |port, source, destination, seq, ack, flags, payload| {
            let segment = Segment { source, destination, vlan: None, seq, ack, flags, payload };
            summed((port, frame::tcp(&segment)))
        };
        let mut wire = Wire::new(HoldBounds::default());
        let to = (replica.ip().into(), replica.port());
        let left = wire.play(&[segment(CLIENT, client, called, 100, 0, SYN, &[])], |flows| {
            vec![Order::Reroute { flow: flows[0].unwrap(), to }]
        });
        assert_eq!(left, [segment(SERVER, client, replica, 100, 0, SYN, &[])]);
        let back = wire.pass(&[segment(SERVER, replica, client, 500, 101, SYN | ACK, &[])]);
        assert_eq!(back, [segment(CLIENT, called, client, 500, 101, SYN | ACK, &[])]);
        let data = wire.pass(&[segment(CLIENT, client, called, 101, 501, ACK, &[5; 77])]);
        assert_eq!(data, [segment(SERVER, client, replica, 101, 501, ACK, &[5; 77])]);
        assert_eq!(wire.flows.totals().opened, 1, "one connection, as its client sees it");
    }
}

#[test]
fn what_is_held_and_made_for_a_rerouted_connection_goes_to_the_replica_too() {
    let [client, called] = ends(false);
    let replica: SocketAddr = "203.0.113.77:443".parse().unwrap();
    let to = (replica.ip().into(), replica.port());
    let mut wire = Wire::new(HoldBounds::default());
    wire.play(&[summed(up(100, SYN, 0))], |flows| {
        vec![Order::Reroute { flow: flows[0].unwrap(), to }]
    });
    let now = wire.now;
    wire.play(&[summed(up(101, ACK, 10))], |flows| hold(flows, 0, now));
    let left = wire.pass(&[summed(up(111, FIN | ACK, 0))]);
    let segment = Segment {
        source: client,
        destination: replica,
        vlan: None,
        seq: 101,
        ack: 501,
        flags: RST | ACK,
        payload: &[],
    };
    let (_, mut expected) = summed((SERVER, frame::tcp(&segment)));
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].1[14 + 12..14 + 28], expected.split_off(14 + 12)[..16]);
    assert_eq!(checksums(&left[0].1, 14), [0, 0]);
    assert_ne!(called, replica);
}

proptest! {
    /// Whatever is sent and ordered: each byte of the client leaves, in the order in which it came,
    /// and each frame has one end.
    #[test]
    fn holding_changes_when_bytes_leave_and_nothing_else(
        bursts in proptest::collection::vec(
            (proptest::collection::vec((0u32..4, 1usize..200), 0..6), 0u8..4, 0u64..15), 1..60)
    ) {
        let bounds = HoldBounds { flow_frames: 6, ..HoldBounds::default() };
        let mut wire = open(bounds);
        let (mut next, mut left) = (101, Vec::new());
        for (frames, order, delay_ms) in bursts {
            let frames: Vec<Left> = frames
                .into_iter()
                .map(|(back, payload)| {
                    // Now and then the client repeats what it has sent.
                    let again = back == 3 && next > 301;
                    let seq = if again { next - 150 } else { next };
                    let payload = if again { payload.min(150) } else { payload };
                    next = next.max(seq + u32::try_from(payload).unwrap());
                    up(seq, ACK, payload)
                })
                .collect();
            let now = wire.now;
            left.extend(wire.play(&frames, |flows| match (order, flows.first()) {
                (1, Some(_)) => hold(flows, 0, now),
                (2, Some(flow)) => {
                    let at = now + Nanos::from_millis(delay_ms);
                    vec![Order::Release { flow: flow.unwrap(), at }]
                }
                _ => Vec::new(),
            }));
        }
        for _ in 0..20 {
            left.extend(wire.pass(&[]));
        }
        let mut reached = 101;
        for (seq, (_, frame)) in seqs(&left).into_iter().zip(&left) {
            let payload = u32::try_from(frame.len()).unwrap() - 54;
            prop_assert!(seq <= reached, "{} bytes overtaken", seq - reached);
            reached = reached.max(seq + payload);
        }
        prop_assert_eq!(reached, next, "every byte has left");
        prop_assert_eq!(wire.shapers.counts().held_frames, 0);
    }
}
