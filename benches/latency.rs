//! Round trips over a path, for `scripts/bench`: p50, p99 and p99.9 by an HDR histogram.
//!
//! `bench-latency answer ADDRESS` sends every datagram back. `bench-latency ask ADDRESS COUNT
//! INTERVAL_US` sends one each interval, waits for it, and prints one JSON object, in nanoseconds.
//! Both ends sleep while they wait, so that they take no time from the path on a small machine; what
//! waking them costs is in every figure.

#![allow(clippy::disallowed_methods, reason = "what measures time reads a clock")]

use std::io;
use std::net::UdpSocket;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// As long as a short streamed event of a model is on the wire.
const PAYLOAD_BYTES: usize = 200;
/// A datagram that is not back by then is lost.
const LOST_AFTER: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["answer", address] => answer(address),
        ["ask", address, count, interval] => match (count.parse(), interval.parse()) {
            (Ok(count), Ok(interval_us)) => ask(address, count, Duration::from_micros(interval_us)),
            _ => return usage(),
        },
        _ => return usage(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("bench-latency: {}: {e}", words.join(" "));
            ExitCode::FAILURE
        }
    }
}

fn answer(address: &str) -> io::Result<()> {
    let socket = UdpSocket::bind(address)?;
    let mut datagram = [0; 2048];
    loop {
        let (length, from) = socket.recv_from(&mut datagram)?;
        socket.send_to(&datagram[..length], from)?;
    }
}

fn ask(address: &str, count: u64, interval: Duration) -> io::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(LOST_AFTER))?;
    let mut times: Histogram<u64> = Histogram::new(3).map_err(io::Error::other)?;
    let mut lost = 0;
    for number in 0..count {
        let start = Instant::now();
        let mut datagram = [0; PAYLOAD_BYTES];
        datagram[..8].copy_from_slice(&number.to_le_bytes());
        socket.send(&datagram)?;
        if returns(&socket, number, start)? {
            let nanos = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
            times.record(nanos).map_err(io::Error::other)?;
        } else {
            lost += 1;
        }
        std::thread::sleep(interval.saturating_sub(start.elapsed()));
    }
    let at = |quantile| times.value_at_quantile(quantile);
    println!(
        "{{\"count\":{},\"lost\":{lost},\"p50\":{},\"p99\":{},\"p999\":{},\"max\":{}}}",
        times.len(),
        at(0.5),
        at(0.99),
        at(0.999),
        times.max()
    );
    Ok(())
}

/// Whether the datagram of this number comes back in time; an older one is passed over.
fn returns(socket: &UdpSocket, number: u64, start: Instant) -> io::Result<bool> {
    let mut datagram = [0; PAYLOAD_BYTES];
    while start.elapsed() < LOST_AFTER {
        match socket.recv(&mut datagram) {
            Ok(_) if datagram[..8] == number.to_le_bytes() => return Ok(true),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(e) => return Err(e),
        }
    }
    Ok(false)
}

fn usage() -> ExitCode {
    eprintln!("usage: bench-latency answer ADDRESS | ask ADDRESS COUNT INTERVAL_US");
    ExitCode::from(4)
}
