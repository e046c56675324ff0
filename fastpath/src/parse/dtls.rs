//! DTLS: joins the fragments of a ClientHello (RFC 6347, 4.2; RFC 9147, 4 and 5).
//!
//! Only records in clear are read, that is of epoch 0. The hello that answers a HelloVerifyRequest
//! or HelloRetryRequest has the random of the first and is none of its own. What TURN carries (RFC
//! 8656) is left alone: the relay that the datagram goes to is not the peer that the hello is for.

use super::handshake::Handshake;
use super::ja4::Fingerprinter;
use super::messages::{HEADER_BYTES as TLS_HEADER_BYTES, Message, Messages, Progress};
use super::tls::{Streams, WalkCounters};
use super::{Found, Parser};
use crate::burst::{Carrier, Direction, Packets};
use crate::time::Nanos;

/// ClientHellos that are not whole.
#[derive(Debug)]
pub(super) struct Dtls {
    messages: Messages<Flight>,
}

/// Which message the fragments belong to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Flight {
    from: Option<Direction>,
    sequence: u16,
    length: [u8; 3],
}

/// Hellos in the making at most.
const HELLOS: u16 = 128;

impl Default for Dtls {
    fn default() -> Self {
        Self::for_flows(usize::MAX)
    }
}

impl Dtls {
    /// For this many flows, each of which has one message in the making at most.
    pub(super) fn for_flows(flows: usize) -> Self {
        Self { messages: Messages::for_flows(flows, HELLOS) }
    }

    /// Hellos that were pushed out by newer ones, and fragments beyond the bound.
    pub(super) fn refused(&self) -> u64 {
        self.messages.refused
    }
}

/// Whether a datagram begins with a handshake record in clear.
pub(super) fn is_opening(payload: &[u8]) -> bool {
    Record::take(&mut { payload })
        .is_some_and(|record| Fragment::take(&mut { record.handshake }).is_some())
}

/// Reads the records of one datagram.
pub(super) fn datagram(
    found: Found,
    payload: &[u8],
    packets: &mut Packets,
    streams: &mut impl Streams,
    parser: &mut Parser,
) {
    let Some(&at) = packets.at.get(found.packet) else { return };
    let Parser { dtls, fingerprinter, counters, .. } = parser;
    let handshake = streams.handshake(found.flow);
    let mut reader = Reader { found, at, handshake, dtls, fingerprinter, packets, counters };
    let mut records = payload;
    while let Some(record) = Record::take(&mut records) {
        let mut rest = record.handshake;
        while let Some(fragment) = Fragment::take(&mut rest) {
            // One hello a frame at most: the burst has no more room.
            if fragment.kind == CLIENT_HELLO && reader.fragment(&fragment) {
                return;
            }
        }
    }
}

/// One datagram: where what it holds goes.
struct Reader<'a> {
    found: Found,
    at: Nanos,
    handshake: &'a mut Handshake,
    dtls: &'a mut Dtls,
    fingerprinter: &'a mut Fingerprinter,
    packets: &'a mut Packets,
    counters: &'a mut WalkCounters,
}

impl Reader<'_> {
    /// A fragment of a ClientHello; true when it has completed one that goes into the burst.
    fn fragment(&mut self, fragment: &Fragment<'_>) -> bool {
        let Fragment { sequence, length, .. } = *fragment;
        let flight = Flight { from: Some(self.found.direction), sequence, length };
        let (at, handshake) = (self.at, &mut *self.handshake);
        let messages = &mut self.dtls.messages;
        if messages.find(handshake.key, handshake.slot).is_none() {
            handshake.slot = messages.claim(handshake.key, flight, at);
        }
        let Some(message) = messages.find(handshake.key, handshake.slot) else { return false };
        if message.context != flight {
            message.restart(flight, at);
        }
        let fits = write(message, fragment, at);
        let is_told = match message.progress() {
            Progress::Incomplete if fits => return false,
            Progress::Whole(hello) => handshake.client_message(
                hello,
                Carrier::Dtls,
                self.fingerprinter,
                self.found,
                self.packets,
                self.counters,
            ),
            Progress::Incomplete | Progress::TooLong => {
                messages.refused += 1;
                false
            }
        };
        let Handshake { key, slot, .. } = *self.handshake;
        self.dtls.messages.release(key, slot);
        self.handshake.slot = None;
        is_told
    }
}

/// Adds a fragment behind the header that the message would have in TLS; false when it does not
/// fit.
fn write(message: &mut Message<Flight>, fragment: &Fragment<'_>, at: Nanos) -> bool {
    let [a, b, c] = fragment.length;
    let offset = TLS_HEADER_BYTES as u64 + u64::from(fragment.offset);
    message.write(0, &[fragment.kind, a, b, c], at) && message.write(offset, fragment.body, at)
}

/// A plaintext handshake record of epoch 0.
struct Record<'a> {
    handshake: &'a [u8],
}

impl<'a> Record<'a> {
    /// Takes a record off the front.
    fn take(rest: &mut &'a [u8]) -> Option<Self> {
        let (header, tail) = rest.split_first_chunk::<RECORD_HEADER_BYTES>()?;
        let &[content, major, minor, epoch_high, epoch_low, _, _, _, _, _, _, high, low] = header;
        let is_clear = [epoch_high, epoch_low] == [0, 0];
        if content != HANDSHAKE || !VERSIONS.contains(&[major, minor]) || !is_clear {
            return None;
        }
        let (handshake, tail) =
            tail.split_at_checked(usize::from(u16::from_be_bytes([high, low])))?;
        *rest = tail;
        Some(Self { handshake })
    }
}

/// A fragment of a handshake message (RFC 9147, 5.2).
struct Fragment<'a> {
    kind: u8,
    length: [u8; 3],
    sequence: u16,
    offset: u32,
    body: &'a [u8],
}

impl<'a> Fragment<'a> {
    /// Takes a fragment off the front.
    fn take(rest: &mut &'a [u8]) -> Option<Self> {
        let (header, tail) = rest.split_first_chunk::<FRAGMENT_HEADER_BYTES>()?;
        let &[kind, l0, l1, l2, s0, s1, o0, o1, o2, f0, f1, f2] = header;
        let number = |a, b, c| u32::from_be_bytes([0, a, b, c]);
        let (length, offset, bytes) = (number(l0, l1, l2), number(o0, o1, o2), number(f0, f1, f2));
        let (body, tail) = tail.split_at_checked(bytes as usize)?;
        if offset + bytes > length {
            return None;
        }
        *rest = tail;
        let sequence = u16::from_be_bytes([s0, s1]);
        Some(Self { kind, length: [l0, l1, l2], sequence, offset, body })
    }
}

/// Content type of a handshake record, and the type of a ClientHello in it.
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// DTLS 1.2 (and 1.3), 1.0, and 1.0 as OpenSSL had it before the RFC.
const VERSIONS: [[u8; 2]; 3] = [[0xfe, 0xfd], [0xfe, 0xff], [0x01, 0x00]];
const RECORD_HEADER_BYTES: usize = 13;
const FRAGMENT_HEADER_BYTES: usize = 12;

#[cfg(test)]
mod tests;
