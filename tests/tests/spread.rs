//! Several lcores tell what one tells: the same traffic through a wire, spread in software, polled
//! in turn by one thread.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use fastpath::keyed::Seed;
use fastpath::lcore::{Lcore, LcoreConfig, Mode};
use fastpath::policy::handoff;
use fastpath::policy::snapshot::{Policy, RuleMode, Snapshot};
use fastpath::port::Rx;
use fastpath::port::mem::{MemPort, Sent};
use fastpath::port::spread::{Ends, LcorePort};
use fastpath::telemetry::Totals;
use fastpath::telemetry::line::EventLine;
use tests::connection::{Arrival, Connection, busy_hour, multiplexed_hour, storm};
use tests::play::Told;

/// What came of some traffic on so many lcores.
struct Run {
    told: Told,
    totals: Totals,
    /// Frames that each looped.
    looped: Vec<u64>,
    sent: Vec<Sent>,
}

fn run(arrivals: Vec<Arrival>, lcores: usize, ends: Ends) -> Run {
    // What is decided is by what one lcore has seen (docs/decisions/0007).
    let policy = Policy { mode: RuleMode::Off, ..Policy::catalogue().unwrap() };
    let snapshot = Arc::new(Snapshot::compile(policy).unwrap());
    let mut planes: Vec<_> = (0..)
        .zip(LcorePort::spread(MemPort::new(arrivals), lcores, ends, 1024))
        .map(|(index, port)| {
            let seed = Seed::Fixed(0);
            let config = LcoreConfig { index, mode: Mode::Wire, seed, ..LcoreConfig::default() };
            let (publisher, subscriber) = handoff::channel(Arc::clone(&snapshot));
            (Lcore::new(port, config, subscriber), publisher)
        })
        .collect();
    let mut told = Told::default();
    let mut closed = vec![false; lcores];
    while closed.contains(&false) {
        for (((lcore, outlets), _), closed) in planes.iter_mut().zip(&mut closed) {
            *closed = lcore.run_once() == Rx::Closed;
            told.take(outlets, &snapshot);
        }
    }
    let mut totals = Totals::default();
    for ((lcore, outlets), _) in &mut planes {
        while lcore.finish() {
            told.take(outlets, &snapshot);
        }
        told.take(outlets, &snapshot);
        totals.merge(&lcore.totals());
    }
    let looped = planes.iter().map(|((l, _), _)| l.totals().port.looped_frames()).collect();
    let sent = planes[0].0.0.port().inner().unwrap().sent().to_vec();
    Run { told, totals, looped, sent }
}

/// What was told of flows, exchanges and single clients, in an order that does not depend on who
/// told it and without the numbers. What is told of an endpoint over all its clients is left out:
/// each lcore says that of its own clients.
fn lines(told: &Told) -> BTreeSet<String> {
    let exchanges = told.exchanges.iter().map(|line| without_numbers(&format!("{line:?}")));
    let of_clients = |line: &&EventLine| line.episode.is_none();
    let events = told.events.iter().filter(of_clients);
    let events = events.map(|line| without_numbers(&format!("{line:?}")));
    let flows = told.flows.iter().map(|line| format!("{line:?}"));
    exchanges.chain(events).chain(flows).collect()
}

/// Shows only what differs.
fn assert_same(told: &Told, expected: &Told) {
    let (told, expected) = (lines(told), lines(expected));
    let missing: Vec<_> = expected.difference(&told).take(3).collect();
    let more: Vec<_> = told.difference(&expected).take(3).collect();
    assert!(missing.is_empty() && more.is_empty(), "missing {missing:#?}, told {more:#?}");
}

/// The text with every number of an exchange, `"x57"`, taken out.
fn without_numbers(text: &str) -> String {
    let mut parts = text.split("\"x");
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        kept.push_str("\"x");
        kept.push_str(rest);
    }
    kept
}

/// Clients of every kind at once: healthy ones over HTTP/1.1 and HTTP/2, one that repeats what is
/// refused.
fn traffic() -> Vec<Arrival> {
    let mut arrivals = busy_hour(40, "api.openai.com");
    arrivals.extend(storm(12, "api.anthropic.com"));
    arrivals.extend(multiplexed_hour(20, "api.openai.com"));
    arrivals.sort_by_key(|(at, ..)| *at);
    arrivals
}

#[test]
fn two_and_five_lcores_tell_the_exchanges_that_one_tells() {
    let one = run(traffic(), 1, Ends::Wire);
    assert!(one.told.exchanges.len() > 100, "{}", one.told.exchanges.len());
    assert!(!one.told.events.is_empty());
    for lcores in [2, 5] {
        let more = run(traffic(), lcores, Ends::Wire);
        // Whose a client is follows from a key of the process; not all can be one's.
        let busy = more.looped.iter().filter(|&&frames| frames > 0).count();
        assert!(busy > 1, "{:?}", more.looped);
        assert_same(&more.told, &one.told);
        assert_eq!(more.totals.exchanges, one.totals.exchanges);
        assert_eq!(more.totals.flows, one.totals.flows);
    }
}

#[test]
fn every_frame_has_one_end_and_leaves_as_it_came_whoever_looped_it() {
    let arrivals = traffic();
    let frames = arrivals.len() as u64;
    let (one, more) = (run(arrivals.clone(), 1, Ends::Wire), run(arrivals, 3, Ends::Wire));
    assert!(more.totals.port.balanced());
    assert_eq!(more.looped.iter().sum::<u64>(), frames);
    assert_eq!((more.totals.port.tx_frames, more.totals.port.held_frames), (frames, 0));
    let sorted = |run: Run| {
        let mut sent: Vec<_> =
            run.sent.into_iter().map(|s| (s.port.0, format!("{:?}", s.frame))).collect();
        sent.sort_unstable();
        sent
    };
    assert_eq!(sorted(one), sorted(more));
}

/// Both directions come in by one port there.
#[test]
fn on_a_tap_too_a_client_is_one_lcore_s() {
    let on_one_port = |arrivals: Vec<Arrival>| {
        let port = fastpath::burst::PortIndex(0);
        arrivals.into_iter().map(|(at, _, frame)| (at, port, frame)).collect::<Vec<_>>()
    };
    let one = run(on_one_port(traffic()), 1, Ends::Tap);
    let more = run(on_one_port(traffic()), 4, Ends::Tap);
    assert!(more.looped.iter().all(|&frames| frames > 0), "{:?}", more.looped);
    assert_same(&more.told, &one.told);
}

/// The client repeats at another server of the endpoint: only who owns the client sees it.
#[test]
fn a_client_that_goes_to_another_server_stays_with_its_lcore() {
    let mut arrivals = Vec::new();
    for n in 0..24_u16 {
        let client = SocketAddr::from(([198, 51, 100, 1], 30_000 + n));
        let server = SocketAddr::from(([203, 0, 113, u8::try_from(n).unwrap()], 443));
        let at = fastpath::time::Nanos::from_secs(1_700_000_000 + u64::from(n));
        let mut connection = Connection::new(client, server, at);
        connection.open("api.openai.com").exchange(700, 3).close();
        arrivals.extend(connection.take());
    }
    let run = run(arrivals, 4, Ends::Wire);
    assert_eq!(run.looped.iter().filter(|&&frames| frames > 0).count(), 1, "{:?}", run.looped);
}
