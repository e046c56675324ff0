//! Writes the captures that `scripts/bench` plays: the same bytes every time.
//!
//! `bench-captures acks FLOWS FILE`: an ACK of each flow, 60 bytes, the two directions in turn.
//! `bench-captures connections LAPS FILE`: 200 TLS connections of two exchanges each, at once, and
//! again for every further lap.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use fastpath::burst::Direction;
use fastpath::time::Nanos;
use tests::capture::Laps;
use tests::connection::{Arrival, Connection, busy_hour};
use tests::frame::ACK;

/// The shortest Ethernet frame, without its checksum.
const FRAME_BYTES_MIN: usize = 60;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, count, path] = arguments.as_slice() else { return usage() };
    let Ok(count) = count.parse::<u32>() else { return usage() };
    let laps = match kind.as_str() {
        "acks" => Laps::new((0..count).map(ack).collect(), 1, Nanos::ZERO),
        "connections" => {
            let frames = busy_hour(200, "api.openai.com");
            Laps::new(frames, count.into(), Nanos::from_secs(1))
        }
        _ => return usage(),
    };
    match write(laps, path) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("bench-captures: {path}: {e}");
            ExitCode::FAILURE
        }
    }
}

fn write(mut laps: Laps, path: &str) -> std::io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    std::io::copy(&mut laps, &mut file)?;
    file.flush()
}

/// An ACK of flow `n`; flows differ in the client's address.
fn ack(n: u32) -> Arrival {
    let client = SocketAddr::from((Ipv4Addr::from(0x0a00_0001 + n), 40_000));
    let server = SocketAddr::from(([203, 0, 113, 9], 443));
    let at = Nanos::from_secs(1_700_000_000) + Nanos::from_micros(u64::from(n));
    let mut connection = Connection::new(client, server, at);
    let direction = if n.is_multiple_of(2) { Direction::ToServer } else { Direction::ToClient };
    let (at, port, mut frame) = connection.flags(direction, ACK).take().remove(0);
    frame.resize(frame.len().max(FRAME_BYTES_MIN), 0);
    (at, port, frame)
}

fn usage() -> ExitCode {
    eprintln!("usage: bench-captures acks FLOWS FILE | connections LAPS FILE");
    ExitCode::from(4)
}
