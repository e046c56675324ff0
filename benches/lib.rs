//! Traffic for the benches: connections made in memory, the same for every run, played for ever by
//! [`CyclePort`](tests::cycle::CyclePort), which neither makes nor copies a frame while the loop is
//! measured.

use std::net::{Ipv4Addr, SocketAddr};

use fastpath::burst::Direction;
use fastpath::lcore::{Lcore, LcoreConfig, Outlets};
use fastpath::time::Nanos;
use tests::connection::{Arrival, Connection};
use tests::cycle::{CyclePort, Lap};
use tests::frame::ACK;
use tests::play;

/// Payload of a full frame with time stamps, as it is on most connections.
const PAYLOAD_BYTES: u32 = 1448;
/// Time between two bursts. Short, so that ticks and expiry weigh as little as they do at line
/// rate.
const STEP: Nanos = Nanos::from_micros(10);

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
}

impl Traffic {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Acks, Self::Data, Self::NewFlows, Self::Hellos];

    /// A word for the report.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Acks => "acks",
            Self::Data => "data",
            Self::NewFlows => "new_flows",
            Self::Hellos => "hellos",
        }
    }
}

/// A port that plays traffic of this many flows for ever.
#[must_use]
pub fn port(traffic: Traffic, flows: u32) -> CyclePort {
    let (mut first, mut laps) = (Vec::new(), Vec::new());
    for n in 0..flows {
        let mut connection = connection(n);
        match traffic {
            Traffic::Acks => {
                first.extend(connection.open("api.openai.com").take());
                laps.extend(lap(connection.flags(Direction::ToServer, ACK), |_| Lap::Same));
            }
            Traffic::Data => {
                first.extend(connection.open("api.openai.com").take());
                first.extend(connection.data(Direction::ToServer, &[700]).take());
                let advance = Lap::Advance { seq: PAYLOAD_BYTES, ack: 0 };
                let plaintext = PAYLOAD_BYTES as usize - 5 - tests::tls::OVERHEAD;
                laps.extend(lap(connection.data(Direction::ToClient, &[plaintext]), |_| advance));
            }
            Traffic::NewFlows => {
                let hello = tests::tls::client_hello("api.openai.com", &["h2", "http/1.1"], 200);
                connection.connect().send(Direction::ToServer, &hello);
                laps.extend(lap(&mut connection, |(_, port, _)| Lap::NewClient {
                    from_client: port.0 == 0,
                }));
            }
            Traffic::Hellos => {
                let hello = tests::tls::browser_hello("api.openai.com", n as usize);
                connection.send(Direction::ToServer, &hello);
                laps.extend(lap(&mut connection, |_| Lap::NewClient { from_client: true }));
            }
        }
    }
    CyclePort::new(first, laps, STEP)
}

/// An lcore on such a port, past the first part: what it sees from here on is the traffic alone.
#[must_use]
pub fn lcore(traffic: Traffic, flows: u32) -> (Lcore<CyclePort>, Outlets) {
    // Room to spare for flows that stay; new ones push each other out.
    let is_new = matches!(traffic, Traffic::NewFlows | Traffic::Hellos);
    let capacity = if is_new { flows } else { 2 * flows };
    let config = LcoreConfig { flows: capacity as usize, ..LcoreConfig::default() };
    let (mut lcore, outlets, _) = play::lcore(port(traffic, flows), config);
    while !lcore.port().is_cycling() {
        lcore.run_once();
        while outlets.events.next().is_some() {}
    }
    (lcore, outlets)
}

/// Client `n`, of up to 65,536. The high half of its address is for laps of new clients.
fn connection(n: u32) -> Connection {
    let client = Ipv4Addr::from(0x0a00_0000 | (n & 0xffff));
    let server = SocketAddr::from(([203, 0, 113, 9], 443));
    Connection::new(SocketAddr::from((client, 40_000)), server, Nanos::ZERO)
}

fn lap(connection: &mut Connection, lap: impl Fn(&Arrival) -> Lap) -> Vec<(Arrival, Lap)> {
    let arrivals = connection.take().into_iter();
    arrivals
        .map(|arrival| {
            let lap = lap(&arrival);
            (arrival, lap)
        })
        .collect()
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
            let expected = match traffic {
                Traffic::Acks => (1024, 0, 0),
                Traffic::Data => (1024, 0, 1024),
                Traffic::NewFlows => (1024, 256, 256),
                Traffic::Hellos => (1024, 1024, 1024),
            };
            assert_eq!((frames, opened, records), expected, "{traffic:?}");
        }
    }
}
