//! Tunnels and fragments: the connection inside is followed, and every frame goes on byte for byte.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::SocketAddr;

use fastpath::burst::Frame;
use fastpath::telemetry::reasons::PassReason;
use fastpath::time::Nanos;
use tests::connection::{Arrival, Connection};
use tests::frame::{ENCAPSULATIONS, encapsulated, fragments};
use tests::play;

const SNI: &str = "api.openai.com";

/// A connection with one exchange.
fn connection() -> Vec<Arrival> {
    let client = SocketAddr::from(([198, 51, 100, 1], 40_000));
    let server = SocketAddr::from(([203, 0, 113, 9], 443));
    let mut connection = Connection::new(client, server, Nanos::from_secs(1_700_000_000));
    let wait = Nanos::from_millis(5);
    connection.open(SNI).wait(wait).exchange(700, 12).wait(wait).close();
    connection.take()
}

/// The connection with each of its frames made into others by `make`.
fn made(mut make: impl FnMut(&[u8], u16) -> Vec<Vec<u8>>) -> Vec<Arrival> {
    let frames = connection().into_iter().zip(0_u16..);
    let frames = frames.flat_map(|((at, port, frame), id)| {
        make(&frame, id).into_iter().map(move |frame| (at, port, frame))
    });
    frames.collect()
}

/// Plays the frames; what left must be what came.
fn play(arrivals: Vec<Arrival>, name: &str) -> play::Run {
    let run = play::frames(arrivals.clone());
    let sent = run.sent.iter().map(|sent| sent.frame.bytes());
    assert!(sent.eq(arrivals.iter().map(|(.., frame)| frame.as_slice())), "{name}: bytes");
    assert!(run.totals.port.balanced(), "{name}");
    run
}

#[test]
fn the_connection_in_a_tunnel_is_told_as_one_without() {
    let plain = play(connection(), "none").told;
    assert_eq!(plain.exchanges.len(), 1);
    assert_eq!(plain.flows[0].sni.as_deref(), Some(SNI));
    for name in ENCAPSULATIONS {
        let run = play(made(|frame, _| vec![encapsulated(name, frame)]), name);
        assert_eq!(run.told.flows, plain.flows, "{name}");
        assert_eq!(run.told.exchanges.len(), 1, "{name}");
    }
}

#[test]
fn a_connection_in_fragments_is_told_whatever_their_order() {
    let plain = play(connection(), "none").told;
    for bytes in [8, 64, 504] {
        for order in ["as sent", "reversed", "rotated"] {
            let arrivals = made(|frame, id| {
                let mut fragments = fragments(frame, id, bytes);
                match order {
                    "reversed" => fragments.reverse(),
                    "rotated" => fragments.rotate_left(1),
                    _ => {}
                }
                fragments
            });
            let run = play(arrivals, order);
            assert_eq!(run.told.flows, plain.flows, "{order}, {bytes} bytes a fragment");
            assert_eq!(run.told.exchanges.len(), 1, "{order}, {bytes} bytes a fragment");
            assert_eq!(run.totals.reassembly_refused, 0, "{order}, {bytes} bytes a fragment");
        }
    }
}

#[test]
fn fragments_inside_a_tunnel_are_joined_as_well() {
    let plain = play(connection(), "none").told;
    for name in ["GRE", "VXLAN", "GTP-U"] {
        let arrivals = made(|frame, id| {
            fragments(frame, id, 256).iter().map(|frame| encapsulated(name, frame)).collect()
        });
        assert_eq!(play(arrivals, name).told.flows, plain.flows, "{name}");
    }
}

#[test]
fn a_fragment_that_completes_nothing_counts_for_its_flow_and_moves_nothing() {
    let lost_last = made(|frame, id| {
        let mut fragments = fragments(frame, id, 64);
        if fragments.len() > 1 {
            fragments.pop();
        }
        fragments
    });
    let run = play(lost_last, "the last fragment is lost");
    assert!(run.told.flows.is_empty(), "no hello has been whole");
    assert_eq!(run.totals.passes.count(PassReason::Fragment), 0, "the flow is known by its SYN");
}
