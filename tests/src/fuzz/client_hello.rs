//! Any bytes as a hello message, and as a TCP stream cut, repeated and reordered as the input says.

use std::cell::RefCell;
use std::net::SocketAddr;

use fastpath::burst::{Carrier, Direction};
use fastpath::lcore::Mode;
use fastpath::parse::hello;
use fastpath::parse::ja4::Fingerprinter;
use fastpath::port::mem::MemPort;
use fastpath::telemetry::line::FlowLine;
use fastpath::time::Nanos;

use super::input::{Input, START};
use super::play;
use crate::connection::Arrival;
use crate::frame::{self, ACK, SYN, Segment};

/// A segment of the input: an offset into the stream and a length.
type Cut = (u16, u16);

const CUTS_MAX: u8 = 64;
const SEGMENT_BYTES: usize = 1400;
/// The client's sequence numbers wrap within the first segments.
const FIRST_SEQ: u32 = u32::MAX - 700;

/// Plays an input as a stream: a byte of flags, a number of cuts and so many offsets and lengths,
/// then the stream's bytes. The segments of the cuts are followed by the whole stream, so that
/// nothing is missing in the end.
///
/// Flags: bit 0, the server sends it; bit 1, there is no SYN; bit 2, VLAN and IPv6.
///
/// # Panics
/// When a promise of the loop is broken, or a ClientHello that is found in order is not the one
/// found in this order.
pub fn client_hello(data: &[u8]) {
    let mut input = Input(data);
    let flags = input.u8();
    let count = input.u8() % (CUTS_MAX + 1);
    let cuts: Vec<Cut> = (0..count).map(|_| (input.u16(), input.u16())).collect();
    let stream = &input.0[..input.0.len().min(usize::from(u16::MAX))];
    message(stream);
    message(stream.get(RECORD_HEADER_BYTES..).unwrap_or_default());
    let in_order = first_hello(arrivals(flags, &[], stream));
    let as_cut = first_hello(arrivals(flags, &cuts, stream));
    // What does not begin with a ClientHello, or not at its SYN, is found by searching where
    // segments begin: there the order may matter.
    let is_hello = stream.starts_with(&[HANDSHAKE, 3]) && stream.get(5) == Some(&CLIENT_HELLO);
    if let (Some(expected), true) = (in_order, is_hello && flags & NO_SYN == 0) {
        assert_eq!(as_cut, Some(expected), "cut as {cuts:?}");
    }
}

const FROM_SERVER: u8 = 1;
const NO_SYN: u8 = 2;
const TAGGED_V6: u8 = 4;
const RECORD_HEADER_BYTES: usize = 5;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

thread_local! {
    /// Its tables are large: one for all inputs.
    static FINGERPRINTER: RefCell<Fingerprinter> = RefCell::default();
}

/// The message parsers alone, which by themselves believe nothing of what a record says.
fn message(bytes: &[u8]) {
    for carrier in [Carrier::Tcp, Carrier::Quic, Carrier::Dtls] {
        let facts = FINGERPRINTER.with_borrow_mut(|own| hello::client_hello(bytes, carrier, own));
        if let Some(facts) = facts {
            let ja4 = facts.ja4.as_str();
            assert!(ja4.len() == 36 && ja4.starts_with(['t', 'q', 'd']), "{ja4}");
            assert!(facts.alpn.names().all(|name| facts.alpn.offers(name)));
        }
    }
    let _ = hello::server_hello(bytes);
}

fn first_hello(arrivals: Vec<Arrival>) -> Option<FlowLine> {
    let (told, _) = play(MemPort::new(arrivals), Mode::Wire);
    told.flows.into_iter().next().map(|line| FlowLine { time: 0.0, ..line })
}

fn arrivals(flags: u8, cuts: &[Cut], stream: &[u8]) -> Vec<Arrival> {
    let mut arrivals = Vec::new();
    if flags & NO_SYN == 0 {
        arrivals.push(segment(flags, START, FIRST_SEQ, SYN, &[]));
    }
    let cut = cuts.iter().map(|&(offset, len)| (usize::from(offset), usize::from(len)));
    let whole = (0..stream.len()).step_by(SEGMENT_BYTES).map(|offset| (offset, SEGMENT_BYTES));
    for (n, (offset, len)) in cut.chain(whole).enumerate() {
        let rest = stream.get(offset..).unwrap_or_default();
        let payload = &rest[..rest.len().min(len)];
        let at = START + Nanos::from_millis(2 * (1 + n as u64));
        // An offset has two bytes.
        let seq = FIRST_SEQ.wrapping_add(1 + u32::try_from(offset).unwrap_or(0));
        arrivals.push(segment(flags, at, seq, ACK, payload));
    }
    arrivals
}

fn segment(flags: u8, at: Nanos, seq: u32, tcp_flags: u8, payload: &[u8]) -> Arrival {
    let (client, server, vlan) = if flags & TAGGED_V6 == 0 {
        (SocketAddr::from(([198, 51, 100, 7], 40_007)), ([203, 0, 113, 9], 443).into(), None)
    } else {
        let of = |last, port| SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, last], port));
        (of(7, 40_007), of(9, 443), Some(100))
    };
    let direction =
        if flags & FROM_SERVER == 0 { Direction::ToServer } else { Direction::ToClient };
    let (source, destination) = match direction {
        Direction::ToServer => (client, server),
        Direction::ToClient => (server, client),
    };
    // The opener of a connection sends no ACK with its SYN, the other one does.
    let ack = if direction == Direction::ToClient { ACK } else { 0 };
    let tcp_flags = tcp_flags | ack;
    let frame =
        frame::tcp(&Segment { source, destination, vlan, seq, ack: 0, flags: tcp_flags, payload });
    (at, fastpath::burst::PortIndex(direction as u16), frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_in_pieces_from_its_end_is_the_hello_in_order() {
        let stream = crate::tls::client_hello("api.openai.com", &["h2"], 0);
        let cuts: Vec<Cut> = (0..30).rev().map(|n| (n * 8, 8)).collect();
        for flags in [0, TAGGED_V6] {
            let found = first_hello(arrivals(flags, &cuts, &stream));
            assert_eq!(found.as_ref().and_then(|line| line.sni.as_deref()), Some("api.openai.com"));
            assert_eq!(found, first_hello(arrivals(flags, &[], &stream)));
        }
    }
}
