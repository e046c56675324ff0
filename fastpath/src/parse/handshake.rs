//! What is remembered of the handshake of a UDP flow, and the one place where a ClientHello that
//! QUIC or DTLS has carried is read.
//!
//! The first ClientHello of a connection counts. The same one comes again after a Retry (RFC 9000,
//! 17.2.5.2) or a HelloVerifyRequest (RFC 6347, 4.2.1): it is known by its random. Another random
//! on the same ports is another connection, unless a version was negotiated in between.

use super::ja4::Fingerprinter;
use super::messages::{HEADER_BYTES, Slot};
use super::reassembly::StreamKey;
use super::tls::WalkCounters;
use super::{Found, hello};
use crate::burst::{Carrier, Packets};

/// The handshake of one UDP flow.
#[derive(Clone, Copy, Debug)]
pub struct Handshake {
    /// Whose messages in the pools are this flow's.
    pub(super) key: StreamKey,
    /// Where a message in the making is.
    pub(super) slot: Option<Slot>,
    /// A hello has been read or given up.
    pub(super) is_read: bool,
    /// The server has asked for another version since.
    pub(super) is_negotiating: bool,
    /// Digest of the random of the hello that was read.
    random: u64,
    /// Digest of the QUIC connection id that the client's keys come from.
    pub(super) client_id: u64,
    /// Digest of the QUIC connection id that the server has chosen.
    pub(super) server_id: u64,
}

impl Handshake {
    /// A handshake of which nothing has been seen. `number` is unique in an lcore's life.
    #[must_use]
    pub fn new(number: u64) -> Self {
        Self {
            key: StreamKey(number),
            slot: None,
            is_read: false,
            is_negotiating: false,
            random: 0,
            client_id: 0,
            server_id: 0,
        }
    }

    /// A whole handshake message of the client, with the header of TLS: puts a hello that was not
    /// there before into the burst. True when it did.
    pub(super) fn client_message(
        &mut self,
        message: &[u8],
        carrier: Carrier,
        fingerprinter: &mut Fingerprinter,
        found: Found,
        packets: &mut Packets,
        counters: &mut WalkCounters,
    ) -> bool {
        let random = message.get(RANDOM).map(digest);
        let was_read = self.is_read;
        self.is_read = true;
        let is_known = was_read && (random == Some(self.random) || self.is_negotiating);
        self.random = random.unwrap_or_default();
        self.is_negotiating = false;
        if is_known {
            return false;
        }
        let Some(facts) = hello::client_hello(message, carrier, fingerprinter) else {
            return false;
        };
        counters.client_hellos += 1;
        facts.keep(found, carrier, packets);
        true
    }
}

/// A digest of a connection id or a random (FNV-1a). Two that collide hide one from the other, no
/// more.
pub(super) fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Where the random stands in a ClientHello: behind the header and the version.
const RANDOM: std::ops::Range<usize> = HEADER_BYTES + 2..HEADER_BYTES + 2 + 32;
