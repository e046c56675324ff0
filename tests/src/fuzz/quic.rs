//! Any bytes as UDP datagrams, and as the frames inside QUIC Initials that are protected as they
//! should be: without that a fuzzer never gets past the tag.

use fastpath::burst::{Direction, PortIndex};
use fastpath::lcore::Mode;
use fastpath::port::mem::MemPort;
use fastpath::telemetry::line::FlowLine;
use fastpath::time::Nanos;

use super::input::{Input, Packet, START};
use super::play;
use crate::connection::Arrival;
use crate::initial::{Initial, Version, crypto};

/// Server ports of the four flows of an input: QUIC's, DTLS's for CoAP, STUN's, any.
const PORTS: [u16; 4] = [443, 5684, 3478, 55_555];

/// Plays an input as datagrams: a byte of flags, then packets. Flags: bit 0, observe.
///
/// # Panics
/// When a promise of the loop is broken.
pub fn quic(data: &[u8]) {
    let mut input = Input(data);
    let mode = if input.u8() & 1 == 0 { Mode::Wire } else { Mode::Observe };
    let mut at = START;
    let arrivals = input.packets().map(|packet| {
        at += packet.wait();
        datagram(at, packet.direction(), packet.flow(), packet.bytes)
    });
    play(MemPort::new(arrivals.collect()), mode);
}

/// Plays an input as Initials of one connection: a byte of flags, then packets whose bytes are
/// frames in clear. With bit 7 of the flags the rest is a handshake message instead, cut into
/// CRYPTO frames as `client_hello` is cut into segments.
///
/// Flags: bits 0 and 1, the version; bit 2, PADDING up to what a client must send; bit 3, each
/// packet to the server bears another connection id.
///
/// # Panics
/// When a promise of the loop is broken, or the ClientHello of a message in one piece is not the
/// one found in many.
pub fn quic_frames(data: &[u8]) {
    let mut input = Input(data);
    let flags = input.u8();
    if flags & WHOLE_MESSAGE != 0 {
        return message(flags, input);
    }
    let mut sender = Sender::new(flags);
    input.packets().for_each(|packet| sender.send(&packet));
    play(MemPort::new(sender.arrivals()), Mode::Wire);
}

const VERSION: u8 = 3;
const PADDED: u8 = 4;
const CHANGING_ID: u8 = 8;
const WHOLE_MESSAGE: u8 = 0x80;

const CUTS_MAX: u8 = 24;
const CRYPTO_BYTES: usize = 1000;

fn message(flags: u8, mut input: Input<'_>) {
    let count = input.u8() % (CUTS_MAX + 1);
    let cuts: Vec<_> =
        (0..count).map(|_| (usize::from(input.u16()), usize::from(input.u16()))).collect();
    let message = &input.0[..input.0.len().min(4 * CRYPTO_BYTES)];
    let whole = || (0..message.len()).step_by(CRYPTO_BYTES).map(|offset| (offset, CRYPTO_BYTES));
    let in_order = first_hello(flags, message, whole());
    let as_cut = first_hello(flags, message, cuts.iter().copied().chain(whole()));
    if in_order.is_some() {
        assert_eq!(as_cut, in_order, "cut as {cuts:?}");
    }
}

fn first_hello(
    flags: u8,
    message: &[u8],
    cuts: impl Iterator<Item = (usize, usize)>,
) -> Option<FlowLine> {
    let mut sender = Sender::new(flags);
    for (offset, len) in cuts {
        let rest = message.get(offset..).unwrap_or_default();
        let frame = crypto(offset, &rest[..rest.len().min(len).min(CRYPTO_BYTES)]);
        sender.at += Nanos::from_millis(1);
        let packet = sender.initial(Direction::ToServer, &frame);
        sender.datagrams.push((sender.at, Direction::ToServer, 0, packet));
    }
    let (told, _) = play(MemPort::new(sender.arrivals()), Mode::Wire);
    told.flows.into_iter().next().map(|line| FlowLine { time: 0.0, ..line })
}

/// Makes Initials of one connection.
struct Sender {
    flags: u8,
    at: Nanos,
    number: u32,
    datagrams: Vec<(Nanos, Direction, u8, Vec<u8>)>,
}

/// Connection ids: the client's first choice, the one the server chooses, the client's own.
const ORIGINAL_ID: &[u8] = &[0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08];
const SERVER_ID: &[u8] = &[0xf0, 0x67, 0xa5, 0x50, 0x2a];
const CLIENT_ID: &[u8] = &[0xc1; 4];

/// Frames of one packet, at most, so that coalesced ones fit an IP packet.
const FRAMES_BYTES_MAX: usize = 2048;
const DATAGRAM_BYTES_MAX: usize = 8192;
/// What one packet of so many frames makes is 1,200 bytes long.
const PADDED_BYTES: usize = 1140;
/// Header protection needs this much (RFC 9001, 5.4.2).
const FRAMES_BYTES_MIN: usize = 4;

impl Sender {
    fn new(flags: u8) -> Self {
        Self { flags, at: START, number: 0, datagrams: Vec::new() }
    }

    fn send(&mut self, packet: &Packet<'_>) {
        self.at += packet.wait();
        let initial = self.initial(packet.direction(), packet.bytes);
        match self.datagrams.last_mut() {
            Some((.., payload))
                if packet.coalesced() && payload.len() + initial.len() < DATAGRAM_BYTES_MAX =>
            {
                payload.extend(initial);
            }
            _ => self.datagrams.push((self.at, packet.direction(), packet.flow(), initial)),
        }
    }

    fn initial(&mut self, direction: Direction, frames: &[u8]) -> Vec<u8> {
        let version = match self.flags & VERSION {
            0 | 1 => Version::V1,
            2 => Version::V2,
            _ => Version::Draft29,
        };
        let first = self.number == 0 || self.flags & CHANGING_ID == 0;
        let to_server = if first { ORIGINAL_ID } else { SERVER_ID };
        let (destination_id, source_id) = match direction {
            Direction::ToServer => (to_server, CLIENT_ID),
            Direction::ToClient => (CLIENT_ID, SERVER_ID),
        };
        let padded = self.flags & PADDED != 0;
        let bytes_min = if padded { PADDED_BYTES } else { FRAMES_BYTES_MIN };
        let mut frames = frames[..frames.len().min(FRAMES_BYTES_MAX)].to_vec();
        frames.resize(frames.len().max(bytes_min), 0);
        self.number += 1;
        let initial = Initial {
            version,
            direction,
            original_id: ORIGINAL_ID,
            destination_id,
            source_id,
            token: &[],
            number: self.number - 1,
            frames: &frames,
        };
        initial.protect()
    }

    fn arrivals(self) -> Vec<Arrival> {
        let datagrams = self.datagrams.into_iter();
        datagrams.map(|(at, way, flow, payload)| datagram(at, way, flow, &payload)).collect()
    }
}

/// A datagram over IPv4 between the client and the server of a flow.
fn datagram(at: Nanos, direction: Direction, flow: u8, payload: &[u8]) -> Arrival {
    let client = ([198, 51, 100, 7], 40_007 + u16::from(flow));
    let server = ([203, 0, 113, 9], PORTS.get(usize::from(flow)).copied().unwrap_or(443));
    let ends = match direction {
        Direction::ToServer => [client, server],
        Direction::ToClient => [server, client],
    };
    (at, PortIndex(direction as u16), udp(ends, payload))
}

/// The frame of a datagram from the first to the second of two ends.
pub(super) fn udp(ends: [([u8; 4], u16); 2], payload: &[u8]) -> Vec<u8> {
    let payload = &payload[..payload.len().min(PAYLOAD_BYTES_MAX)];
    // At most 65,507 bytes of payload in 65,535.
    let length = |bytes: usize| u16::try_from(bytes).unwrap_or(u16::MAX).to_be_bytes();
    let [(source, source_port), (destination, destination_port)] = ends;
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00, 0x45, 0];
    frame.extend(length(28 + payload.len()));
    frame.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
    frame.extend(source);
    frame.extend(destination);
    frame.extend(source_port.to_be_bytes());
    frame.extend(destination_port.to_be_bytes());
    frame.extend(length(8 + payload.len()));
    frame.extend([0, 0]);
    frame.extend(payload);
    frame
}

const PAYLOAD_BYTES_MAX: usize = 65_507;
