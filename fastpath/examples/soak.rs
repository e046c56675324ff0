//! Holds and releases exchanges over a real mempool until there are as many as asked for, with
//! faults on the port, and counts the mbufs that are missing in the end: none.
//!
//! `soak EXCHANGES SEED`. Frames are made in memory, go through [`FaultPort`], which loses, repeats,
//! reorders, cuts and delays them, and become mbufs as they arrive; what leaves goes to `net_null`.
//! Every request is held. Holds end by a release, by their time, by a bound or because the client
//! leaves. Time is virtual.

use std::collections::{BTreeMap, HashSet};

use fastpath::burst::{Burst, Direction, FlowId, PortIndex};
use fastpath::decide::order::Order;
use fastpath::flow::table::FlowTable;
use fastpath::port::dpdk::{DpdkConfig, DpdkPort, Mbuf};
use fastpath::port::fault::{FaultPort, Faults};
use fastpath::port::mem::{Buffer, MemPort};
use fastpath::port::{Port, Rx};
use fastpath::telemetry::counters::PortCounters;
use fastpath::time::Nanos;

mod stages;

/// Connections of a round, and exchanges on each: few enough to be made in memory beforehand.
const CONNECTIONS: u16 = 500;
const EXCHANGES: u32 = 20;
/// Time between two requests of a connection, and the longest hold.
const PERIOD: Nanos = Nanos::from_millis(80);
const HOLD_MAX_MS: u64 = 50;
/// Bursts without a frame in which what is still held comes to its end.
const SETTLING: Nanos = Nanos::from_secs(1);

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// Receives what a port in memory gives, as mbufs; sends by DPDK.
struct Through {
    source: FaultPort<MemPort>,
    arrived: Burst<Buffer>,
    wire: DpdkPort,
    /// Frames that found no mbuf.
    refused: u64,
}

impl Port for Through {
    type Frame = Mbuf;

    fn rx_burst(&mut self, burst: &mut Burst<Mbuf>) -> Rx {
        let rx = self.source.rx_burst(&mut self.arrived);
        let now = self.arrived.packets.now;
        burst.begin(now);
        for (frame, port, _) in self.arrived.drain() {
            let bytes = fastpath::burst::Frame::bytes(&frame);
            let wire_bytes = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            match self.wire.build(bytes) {
                Some(mbuf) => burst.push(mbuf, now, port, wire_bytes),
                None => self.refused += 1,
            }
        }
        rx
    }

    fn tx_burst(&mut self, burst: &mut Burst<Mbuf>) -> Nanos {
        self.wire.tx_burst(burst)
    }

    fn build(&mut self, bytes: &[u8]) -> Option<Mbuf> {
        self.wire.build(bytes)
    }

    fn frames(&self) -> Option<u32> {
        self.wire.frames()
    }

    fn counters(&self) -> &PortCounters {
        self.wire.counters()
    }
}

/// xorshift64* (Marsaglia, Vigna): the same seed, the same soak.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}

/// A connection whose frames are being made.
struct Connection {
    client: [u8; 4],
    port: u16,
    up: u32,
    down: u32,
}

impl Connection {
    fn frame(&mut self, direction: Direction, flags: u8, payload: usize) -> (PortIndex, Vec<u8>) {
        let server = [203, 0, 113, 9];
        let up = direction == Direction::ToServer;
        let (source, destination) = if up { (self.client, server) } else { (server, self.client) };
        let (from, to) = if up { (self.port, 443) } else { (443, self.port) };
        let (seq, ack) = if up { (self.up, self.down) } else { (self.down, self.up) };
        let length = u16::try_from(40 + payload).unwrap_or(u16::MAX);
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00, 0x45, 0];
        frame.extend(length.to_be_bytes());
        frame.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
        frame.extend(source);
        frame.extend(destination);
        frame.extend(from.to_be_bytes());
        frame.extend(to.to_be_bytes());
        frame.extend(seq.to_be_bytes());
        frame.extend(ack.to_be_bytes());
        frame.extend([5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
        frame.resize(frame.len() + payload, 7);
        let marks = u32::from(flags & (SYN | FIN) != 0);
        let bytes = u32::try_from(payload).unwrap_or(u32::MAX);
        let next = if up { &mut self.up } else { &mut self.down };
        *next = next.wrapping_add(bytes + marks);
        (PortIndex(u8::from(!up).into()), frame)
    }
}

/// The frames of a round, by time.
fn round(number: u32, start: Nanos, random: &mut Random) -> Vec<(Nanos, PortIndex, Vec<u8>)> {
    use Direction::{ToClient, ToServer};
    let mut frames = Vec::new();
    for n in 0..CONNECTIONS {
        let [_, high, middle, low] = number.to_be_bytes();
        let port = 1024 + n;
        let up = u32::try_from(random.below(1 << 31)).unwrap_or(0);
        let mut c = Connection { client: [10, high, middle, low], port, up, down: up ^ 0x5a5a };
        let mut at = start + Nanos::from_micros(random.below(PERIOD.0 / 1000));
        let mut push = |at: Nanos, (port, bytes)| frames.push((at, port, bytes));
        push(at, c.frame(ToServer, SYN, 0));
        push(at, c.frame(ToClient, SYN | ACK, 0));
        push(at, c.frame(ToServer, ACK, 0));
        for _ in 0..EXCHANGES {
            at += PERIOD;
            // Now and then more than may be kept of one flow.
            let flight = if random.below(50) == 0 { 40 } else { 1 + random.below(3) };
            for _ in 0..flight {
                push(at, c.frame(ToServer, ACK, 300));
            }
            if random.below(50) == 0 {
                push(at + Nanos::from_millis(5), c.frame(ToServer, FIN | ACK, 0));
                break;
            }
            let answer = at + Nanos::from_millis(HOLD_MAX_MS + 10);
            push(answer, c.frame(ToClient, ACK, 900));
            push(answer, c.frame(ToServer, ACK, 0));
        }
    }
    frames.sort_by_key(|(at, ..)| *at);
    frames
}

/// Orders a hold of every request that is not held yet.
fn hold_requests(
    burst: &Burst<Mbuf>,
    flows: &FlowTable,
    asked: &mut HashSet<FlowId>,
    random: &mut Random,
    list: &mut Vec<Order>,
) {
    let packets = &burst.packets;
    for flow in flows.fresh() {
        asked.remove(flow);
    }
    for (from, (headers, flow)) in (0..).zip(packets.headers.iter().zip(&packets.flow)) {
        let (Some(headers), Some((flow, direction))) = (headers, *flow) else { continue };
        if headers.payload_wire_bytes == 0 {
            continue;
        }
        if direction == Direction::ToClient {
            asked.remove(&flow);
        } else if asked.insert(flow) {
            let after = |ms| packets.now + Nanos::from_millis(ms);
            let until = after(1 + random.below(HOLD_MAX_MS));
            list.push(Order::Hold { flow, from, until });
            if random.below(3) > 0 {
                list.push(Order::Release { flow, at: after(random.below(HOLD_MAX_MS)) });
            }
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what| arguments.next().ok_or(format!("{what} is missing: soak EXCHANGES SEED"));
    let (wanted, seed) = (next("EXCHANGES")?.parse::<u64>()?, next("SEED")?.parse::<u64>()?);
    let mut random = Random(seed | 1);
    let faults = Faults {
        drop_per_mille: 10,
        repeat_per_mille: 10,
        reorder_per_mille: 10,
        truncate_per_mille: 5,
        delay_per_mille: 10,
        delay_max: Nanos::from_millis(20),
    };
    let wire = DpdkPort::open(&DpdkConfig {
        vdevs: vec!["net_null0".into(), "net_null1,no-rx=1".into()],
        no_huge: true,
        file_prefix: format!("fermata-soak-{}", std::process::id()),
        ..DpdkConfig::default()
    })?;
    let before = wire.mbufs_in_use();
    let source = |frames, n: u32| FaultPort::new(MemPort::new(frames), faults, seed + u64::from(n));
    let port = Through { source: source(Vec::new(), 0), arrived: Burst::new(), wire, refused: 0 };
    let mut stages = stages::Stages::new(port);
    let (mut list, mut asked, mut ends) = (Vec::new(), HashSet::new(), BTreeMap::new());
    let (mut now, mut number, mut held_max) = (Nanos::from_secs(1), 0, 0);
    while stages.shapers.counts().holds < wanted {
        number += 1;
        let mut frames = round(number, now, &mut random);
        let (mut at, end) = (now, frames.last().map_or(now, |(at, ..)| *at) + SETTLING);
        // Time goes on while nothing arrives: a frame of no flow each millisecond.
        while at < end {
            frames.push((at, PortIndex(0), vec![0; 60]));
            at += Nanos::from_millis(1);
        }
        frames.sort_by_key(|(at, ..)| *at);
        stages.port.source = source(frames, number);
        loop {
            let rx = stages.run_once(&mut list, |burst, flows, list| {
                hold_requests(burst, flows, &mut asked, &mut random, list);
            });
            for ended in stages.shapers.ended() {
                *ends.entry(format!("{:?}", ended.end)).or_insert(0_u64) += 1;
            }
            held_max = held_max.max(stages.shapers.counts().held_frames);
            if rx == Rx::Closed {
                break;
            }
        }
        now = end + SETTLING;
    }
    let acts = stages.shapers.counts();
    let after = stages.port.wire.mbufs_in_use();
    let struck = stages.port.refused;
    println!(
        "{} holds of which ended {ends:?}; {} RSTs; {held_max} frames held at most, {} now; \
         {struck} frames without an mbuf; mbufs in use before {before}, after {after}",
        acts.holds, acts.resets, acts.held_frames
    );
    if after != before || acts.held_frames > 0 {
        return Err("mbufs are missing".into());
    }
    Ok(())
}
