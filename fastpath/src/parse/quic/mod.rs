//! QUIC: opens Initial packets and reads the ClientHello in their CRYPTO frames (RFC 9000, 9001;
//! RFC 9369; the drafts from 22 on; Facebook's and Google's versions).
//!
//! An Initial that opens with the keys of its own destination connection id is the first of a
//! client; the server's never do. The keys stay with the hello until it is whole, as the client
//! writes to the server's connection id as soon as it knows it. A Retry changes the keys. Once the
//! hello is read, a packet costs its header only, unless it is a client's Initial to a connection
//! id that neither end has used: another connection may begin on the same ports.

mod frames;
mod keys;
mod packet;
mod version;

use self::keys::Keys;
use self::packet::{Kind, Packet};
use self::version::Version;
use super::handshake::{Handshake, digest};
use super::ja4::Fingerprinter;
use super::messages::{Messages, Progress};
use super::tls::{Streams, WalkCounters};
use super::{Found, Parser};
use crate::burst::{Carrier, Direction, Packets};
use crate::time::Nanos;

/// What is kept of connections whose hello is not whole.
#[derive(Debug)]
pub(super) struct Quic {
    messages: Messages<Opening>,
    scratch: Vec<u8>,
}

/// Who opens a connection, and under which keys.
#[derive(Clone, Copy, Debug, Default)]
struct Opening {
    keys: Keys,
    /// Digest of the connection id that the keys come from.
    id: u64,
    from: Option<Direction>,
}

/// Connections in the making at most.
const CONNECTIONS: u16 = 512;
/// No datagram, and no packet in it, is longer.
const SCRATCH_BYTES: usize = 64 * 1024;
/// Packets of one datagram that are looked at. A client coalesces four at most, one of each type.
const PACKETS_MAX: usize = 8;
/// The shortest connection id that a client may begin with (RFC 9000, 7.2).
const CLIENT_ID_BYTES_MIN: usize = 8;

impl Default for Quic {
    fn default() -> Self {
        Self::for_flows(usize::MAX)
    }
}

impl Quic {
    /// For this many flows, each of which has one message in the making at most.
    pub(super) fn for_flows(flows: usize) -> Self {
        Self {
            messages: Messages::for_flows(flows, CONNECTIONS),
            scratch: Vec::with_capacity(SCRATCH_BYTES),
        }
    }

    /// Hellos that were pushed out by newer ones, and pieces of hellos beyond the bound.
    pub(super) fn refused(&self) -> u64 {
        self.messages.refused
    }
}

/// Whether a datagram begins with a QUIC packet that opens a connection.
pub(super) fn is_opening(payload: &[u8]) -> bool {
    packet::is_long(payload)
}

/// Reads the packets of one datagram.
pub(super) fn datagram(
    found: Found,
    payload: &[u8],
    packets: &mut Packets,
    streams: &mut impl Streams,
    parser: &mut Parser,
) {
    let Some(&at) = packets.at.get(found.packet) else { return };
    let Parser { quic, fingerprinter, counters, .. } = parser;
    let handshake = streams.handshake(found.flow);
    let mut reader = Reader { found, at, handshake, quic, fingerprinter, packets, counters };
    let mut rest = payload;
    for _ in 0..PACKETS_MAX {
        let Some(packet) = Packet::first(rest) else { return };
        rest = packet.rest;
        // One hello a frame at most: the burst has no more room.
        if reader.packet(&packet) || rest.is_empty() {
            return;
        }
    }
}

/// One datagram: where what it holds goes.
struct Reader<'a> {
    found: Found,
    at: Nanos,
    handshake: &'a mut Handshake,
    quic: &'a mut Quic,
    fingerprinter: &'a mut Fingerprinter,
    packets: &'a mut Packets,
    counters: &'a mut WalkCounters,
}

impl Reader<'_> {
    /// One packet; true when it has completed a hello.
    fn packet(&mut self, packet: &Packet<'_>) -> bool {
        let Handshake { key, slot, .. } = *self.handshake;
        let opening = self.quic.messages.find(key, slot).map(|message| message.context);
        let client = opening.map_or(Some(Direction::ToServer), |opening| opening.from);
        let is_clients = client == Some(self.found.direction);
        if !is_clients && (opening.is_some() || self.handshake.is_read) {
            self.server_packet(packet);
            return false;
        }
        match packet.kind {
            Kind::Initial(version) => self.initial(packet, version, opening),
            Kind::VersionNegotiation => {
                self.handshake.is_negotiating = true;
                false
            }
            Kind::Other => false,
        }
    }

    /// A packet of the server: it tells which connection id it has chosen.
    fn server_packet(&mut self, packet: &Packet<'_>) {
        if packet.kind == Kind::VersionNegotiation {
            self.handshake.is_negotiating = true;
        } else {
            self.handshake.server_id = digest(packet.source);
        }
    }

    /// An Initial that may be a client's.
    fn initial(
        &mut self,
        packet: &Packet<'_>,
        version: &Version,
        opening: Option<Opening>,
    ) -> bool {
        let id = digest(packet.destination);
        if let Some(opening) = opening {
            if self.open(packet, version, opening) {
                return self.hello();
            }
            if opening.id == id {
                return false;
            }
        } else if self.handshake.is_read
            && (id == self.handshake.client_id || id == self.handshake.server_id)
        {
            return false;
        }
        if packet.destination.len() < CLIENT_ID_BYTES_MIN {
            return false;
        }
        let Some(keys) = Keys::client(version, packet.destination) else { return false };
        let own = Opening { keys, id, from: Some(self.found.direction) };
        if !self.open(packet, version, own) {
            self.counters.initials_unopened += 1;
            return false;
        }
        self.hello()
    }

    /// Opens an Initial and keeps its CRYPTO data with these keys; false when they are not its
    /// keys.
    fn open(&mut self, packet: &Packet<'_>, version: &Version, opening: Opening) -> bool {
        let Quic { messages, scratch } = &mut *self.quic;
        let Some(payload) = opening.keys.open(packet, scratch) else { return false };
        self.counters.initials += 1;
        let handshake = &mut *self.handshake;
        let mut refused = 0;
        for frames::Crypto { offset, data } in frames::crypto(payload, version.frames) {
            if messages.find(handshake.key, handshake.slot).is_none() {
                handshake.slot = messages.claim(handshake.key, opening, self.at);
            }
            let Some(message) = messages.find(handshake.key, handshake.slot) else { break };
            if message.context.id != opening.id {
                message.restart(opening, self.at);
            }
            refused += u64::from(!message.write(offset, data, self.at));
        }
        messages.refused += refused;
        true
    }

    /// Reads the hello if it is whole; true when it goes into the burst.
    fn hello(&mut self) -> bool {
        let Quic { messages, .. } = &mut *self.quic;
        let Handshake { key, slot, .. } = *self.handshake;
        let Some(message) = messages.find(key, slot) else { return false };
        let client_id = message.context.id;
        let is_told = match message.progress() {
            Progress::Incomplete => return false,
            Progress::Whole(message) => self.handshake.client_message(
                message,
                Carrier::Quic,
                self.fingerprinter,
                self.found,
                self.packets,
                self.counters,
            ),
            Progress::TooLong => {
                messages.refused += 1;
                self.handshake.is_read = true;
                false
            }
        };
        self.handshake.client_id = client_id;
        self.quic.messages.release(key, slot);
        self.handshake.slot = None;
        is_told
    }
}

/// A variable-length integer (RFC 9000, 16), taken off the front.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let (&first, _) = rest.split_first()?;
    let (bytes, tail) = rest.split_at_checked(1 << (first >> 6))?;
    *rest = tail;
    let value = bytes.iter().fold(0, |value: u64, &byte| value << 8 | u64::from(byte));
    // The two highest bits of the first byte told the length.
    Some(value & (u64::MAX >> (64 - 8 * bytes.len()) >> 2))
}

#[cfg(test)]
mod tests;
