//! Traffic for the benches: connections made in memory, the same for every run, played for ever by
//! [`CyclePort`](tests::cycle::CyclePort), which neither makes nor copies a frame while the loop is
//! measured.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use fastpath::burst::Direction;
use fastpath::keyed::Seed;
use fastpath::lcore::{Lcore, LcoreConfig, Outlets};
use fastpath::policy::handoff::{self, Publisher};
use fastpath::policy::snapshot::{Policy, Snapshot};
use fastpath::time::Nanos;
use tests::connection::{Arrival, Connection};
use tests::cycle::{CyclePort, Lap};
use tests::frame::ACK;

/// Payload of a full frame with time stamps, as it is on most connections.
const PAYLOAD_BYTES: u32 = 1448;
/// Of Ethernet, IPv4 and TCP, without options.
const HEADERS_BYTES: usize = 54;
/// Time between two bursts of frames alone. Short, so that ticks and expiry weigh as little as they
/// do at line rate.
const STEP: Nanos = Nanos::from_micros(10);
/// The same where there are exchanges: 13,000 of them a second at most, so that none is decided
/// before its time for want of room.
const EXCHANGE_STEP: Nanos = Nanos::from_millis(1);
/// Flows whose whole TLS handshake is held in memory, at most; of more there is that of TCP alone.
const OPENED_MAX: u32 = 1 << 17;
/// Closed flows that the table still holds, at most.
const LINGERING_MAX: u32 = 8192;
/// Bursts until exchanges are decided and told as fast as they come.
const SETTLING_BURSTS: usize = 640;

/// What the frames of a lap are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// A bare ACK of each flow: the shortest frame of a known flow.
    Acks,
    /// A full frame of data of each flow, from the server, with one whole TLS record: a header to
    /// walk in every frame, which is more than there is to do for records of 16 KiB.
    Data,
    /// SYN, SYN and ACK, ACK and ClientHello of clients that nobody has seen.
    NewFlows,
    /// A browser's ClientHello of clients that nobody has seen, without a handshake before.
    Hellos,
    /// A request of each flow and the four records of its response, from one lap to the next.
    Exchanges,
    /// An exchange of each flow and ACKs, and for every sixteenth a new flow that is reset soon.
    Mixed,
}

impl Traffic {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Acks, Self::Data, Self::NewFlows, Self::Hellos, Self::Exchanges, Self::Mixed];

    /// Whether its flows are there before the first lap.
    const fn is_of_known_flows(self) -> bool {
        !matches!(self, Self::NewFlows | Self::Hellos)
    }

    const fn has_exchanges(self) -> bool {
        matches!(self, Self::Exchanges | Self::Mixed)
    }

    /// A word for the report.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Acks => "acks",
            Self::Data => "data",
            Self::NewFlows => "new_flows",
            Self::Hellos => "hellos",
            Self::Exchanges => "exchanges",
            Self::Mixed => "mixed",
        }
    }
}

/// A port that plays traffic of this many flows for ever.
#[must_use]
pub fn port(traffic: Traffic, flows: u32) -> CyclePort {
    let (mut first, mut laps) = (Vec::new(), Vec::new());
    for n in 0..flows {
        let mut connection = connection(n);
        let c = &mut connection;
        if traffic == Traffic::Acks && flows > OPENED_MAX {
            first.extend(c.connect().take());
        } else if traffic.is_of_known_flows() {
            first.extend(c.open("api.openai.com").data(Direction::ToServer, &[700]).take());
        }
        laps.push(match traffic {
            Traffic::Acks => lap(c.flags(Direction::ToServer, ACK), |_| Lap::Same),
            Traffic::Data => {
                let plaintext = PAYLOAD_BYTES as usize - 5 - tests::tls::OVERHEAD;
                advancing(c.data(Direction::ToClient, &[plaintext]))
            }
            Traffic::NewFlows => new_flow(c),
            Traffic::Hellos => {
                let hello = tests::tls::browser_hello("api.openai.com", n as usize);
                lap(c.send(Direction::ToServer, &hello), new_client)
            }
            Traffic::Exchanges => advancing(exchange(c)),
            Traffic::Mixed => {
                let acks = [Direction::ToClient, Direction::ToServer, Direction::ToServer];
                acks.iter().fold(exchange(c), |c, &direction| c.flags(direction, ACK));
                let mut frames = advancing(c);
                if n.is_multiple_of(16) {
                    let mut short = self::connection(flows + n);
                    frames.extend(new_flow(&mut short));
                    frames.extend(lap(short.reset(Direction::ToServer), new_client));
                }
                frames
            }
        });
    }
    let laps = if traffic.is_of_known_flows() {
        interleaved(laps)
    } else {
        laps.into_iter().flatten().collect()
    };
    CyclePort::new(first, laps, if traffic.has_exchanges() { EXCHANGE_STEP } else { STEP })
}

/// An lcore on such a port, past the first part: what it sees from here on is the traffic alone.
#[must_use]
pub fn lcore(traffic: Traffic, flows: u32) -> (Lcore<CyclePort>, Outlets) {
    let (lcore, outlets, _) = lcore_and_publisher(traffic, flows);
    (lcore, outlets)
}

/// The same, with the end from which it takes its snapshots.
///
/// # Panics
/// When the shipped catalogue cannot be used, which its own test would have told.
#[must_use]
pub fn lcore_and_publisher(traffic: Traffic, flows: u32) -> (Lcore<CyclePort>, Outlets, Publisher) {
    // Room to spare for flows that stay and for what lingers of closed ones; new ones push each
    // other out.
    let capacity = match traffic {
        Traffic::NewFlows | Traffic::Hellos => flows,
        Traffic::Acks | Traffic::Data | Traffic::Exchanges => 2 * flows,
        Traffic::Mixed => 2 * flows + LINGERING_MAX,
    };
    let seed = Seed::Fixed(1);
    let config = LcoreConfig { flows: capacity as usize, seed, ..LcoreConfig::default() };
    let policy = Policy::catalogue().expect("the shipped catalogue can be read");
    let snapshot = Snapshot::compile(policy).expect("the shipped catalogue compiles");
    let (publisher, subscriber) = handoff::channel(Arc::new(snapshot));
    let (mut lcore, outlets) = Lcore::new(port(traffic, flows), config, subscriber);
    let mut settling = if traffic.has_exchanges() { SETTLING_BURSTS } else { 0 };
    while !lcore.port().is_cycling() || settling > 0 {
        lcore.run_once();
        while outlets.events.next().is_some() {}
        settling -= usize::from(lcore.port().is_cycling() && settling > 0);
    }
    (lcore, outlets, publisher)
}

/// Client `n`. The high half of its address is for laps of new clients.
fn connection(n: u32) -> Connection {
    let client = Ipv4Addr::from(0x0a00_0000 | (n & 0xffff));
    let client_port = 40_000 + u16::try_from(n >> 16).expect("there is memory for fewer flows");
    let server = SocketAddr::from(([203, 0, 113, 9], 443));
    Connection::new(SocketAddr::from((client, client_port)), server, Nanos::ZERO)
}

/// SYN, SYN and ACK, ACK and ClientHello, of another client in each lap.
fn new_flow(connection: &mut Connection) -> Vec<(Arrival, Lap)> {
    let hello = tests::tls::client_hello("api.openai.com", &["h2", "http/1.1"], 200);
    lap(connection.connect().send(Direction::ToServer, &hello), new_client)
}

/// A request, the header and two events of its response, and the chunk that ends it.
fn exchange(connection: &mut Connection) -> &mut Connection {
    connection.data(Direction::ToServer, &[700]);
    [300, 120, 120, 5]
        .iter()
        .fold(connection, |c, &plaintext| c.data(Direction::ToClient, &[plaintext]))
}

/// The frames of a connection, to be played again behind themselves.
fn advancing(connection: &mut Connection) -> Vec<(Arrival, Lap)> {
    let arrivals = connection.take();
    let mut bytes = [0; 2];
    for (_, port, frame) in &arrivals {
        let payload = frame.len().saturating_sub(HEADERS_BYTES);
        bytes[usize::from(port.0)] += u32::try_from(payload).expect("a frame is small");
    }
    let lap = |from: usize| Lap::Advance { seq: bytes[from], ack: bytes[1 - from] };
    let with_lap = |arrival: Arrival| {
        let lap = lap(arrival.1.0.into());
        (arrival, lap)
    };
    arrivals.into_iter().map(with_lap).collect()
}

fn new_client((_, port, _): &Arrival) -> Lap {
    Lap::NewClient { from_client: port.0 == 0 }
}

fn lap(connection: &mut Connection, lap: impl Fn(&Arrival) -> Lap) -> Vec<(Arrival, Lap)> {
    let with_lap = |arrival| {
        let lap = lap(&arrival);
        (arrival, lap)
    };
    connection.take().into_iter().map(with_lap).collect()
}

/// The first frame of each flow, then the second of each: flows take turns, as they do on a wire.
fn interleaved(flows: Vec<Vec<(Arrival, Lap)>>) -> Vec<(Arrival, Lap)> {
    let mut flows: Vec<_> = flows.into_iter().map(Vec::into_iter).collect();
    let mut frames = Vec::new();
    loop {
        let before = frames.len();
        frames.extend(flows.iter_mut().filter_map(Iterator::next));
        if frames.len() == before {
            return frames;
        }
    }
}

#[cfg(test)]
mod tests_of_traffic {
    use super::*;

    #[test]
    fn the_loop_sees_the_traffic_that_a_bench_is_named_for() {
        for traffic in Traffic::ALL {
            let (mut lcore, _outlets) = lcore(traffic, 64);
            let before = lcore.totals();
            for _ in 0..16 {
                lcore.run_once();
            }
            let after = lcore.totals();
            let frames = after.port.rx_frames - before.port.rx_frames;
            let opened = after.flows.opened - before.flows.opened;
            let records = after.records - before.records;
            let exchanges = after.exchanges - before.exchanges;
            let expected = match traffic {
                Traffic::Acks => (1024, 0, 0, 0),
                Traffic::Data => (1024, 0, 1024, 0),
                Traffic::NewFlows => (1024, 256, 256, 0),
                Traffic::Hellos => (1024, 1024, 1024, 0),
                Traffic::Exchanges => (1024, 0, 1024, 192),
                Traffic::Mixed => (1024, 8, 648, 128),
            };
            assert_eq!((frames, opened, records, exchanges), expected, "{traffic:?}");
        }
    }
}
