//! An assessment keeps no more of a long capture than of a short one: what is allocated is counted,
//! from the port to the report's sums.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use control::report::Assessment;
use fastpath::lcore::{Lcore, LcoreConfig, Mode, Outlets};
use fastpath::policy::snapshot::Snapshot;
use fastpath::port::Rx;
use fastpath::port::pcap::PcapPort;
use fastpath::telemetry::event::Event;
use fastpath::telemetry::line::{EventLine, ExchangeLine};
use fastpath::time::Nanos;
use tests::capture::Laps;
use tests::connection::{Arrival, busy_hour, multiplexed_hour, storm};
use tests::play;

/// More than strings and tables vary by, less than a number for each exchange.
const VARIES_BYTES: i64 = 16 * 1024;

/// Answers, refusals, retries, outages, HTTP/2.
fn lap() -> Vec<Arrival> {
    let mut frames = busy_hour(4, "api.openai.com");
    frames.extend(multiplexed_hour(2, "api.anthropic.com"));
    frames.extend(storm(8, "api.openai.com"));
    frames.sort_by_key(|(at, ..)| *at);
    frames
}

/// Runs up to a time of the capture, or to its end; returns how many exchanges were entered.
fn run_until(
    lcore: &mut Lcore<PcapPort>,
    (outlets, snapshot): (&Outlets, &Snapshot),
    assessment: &mut Assessment,
    time: Nanos,
) -> u64 {
    let mut entered = 0;
    while lcore.run_once() != Rx::Closed && lcore.now() < time {
        while let Some(event) = outlets.events.next() {
            match event {
                Event::Exchange(exchange) => {
                    entered += 1;
                    assessment.add(&ExchangeLine::new(&exchange, &outlets.names, snapshot));
                }
                Event::Signal(signal) => assessment.add_event(&EventLine::new(&signal, snapshot)),
                Event::Hello(_) | Event::Amendment(_) => {}
            }
        }
    }
    entered
}

#[test]
fn what_an_assessment_keeps_does_not_grow_with_its_capture() {
    let frames = lap();
    let start = frames[0].0;
    let laps = Laps::new(frames, 280, Nanos::from_secs(20));
    let every = laps.every();
    let port = PcapPort::from_reader(laps, "laps").unwrap();
    let config = LcoreConfig { mode: Mode::Observe, flows: 1024, ..LcoreConfig::default() };
    let (mut lcore, outlets, snapshot) = play::lcore(port, config);
    let mut assessment = Assessment::new(snapshot.policy());
    let mut up_to = |lap: u64| {
        let time = start + Nanos(every.0 * lap);
        run_until(&mut lcore, (&outlets, &snapshot), &mut assessment, time)
    };
    // A client's last 256 exchanges are kept, and there are two of each a lap.
    up_to(140);
    let mut entered = 0;
    let seen = allocation_counter::measure(|| entered = up_to(280));
    eprintln!("{entered} exchanges, {} bytes more", seen.bytes_current);
    assert!(entered > 140 * 20, "{entered} exchanges");
    assert!(seen.bytes_current < VARIES_BYTES, "{} bytes more", seen.bytes_current);
}
