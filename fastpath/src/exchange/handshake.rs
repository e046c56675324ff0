//! Where a connection's handshake ends and its application begins, and what protocol that speaks:
//! all of it from record lengths and the clear hellos.

use crate::burst::{Direction, Record, TlsVersion};
use crate::flow::entry::Classified;
use crate::time::Nanos;

/// What is known of a connection's handshake.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Handshake {
    /// What the handshake says has been taken over from the flow.
    known: bool,
    /// No hello was seen.
    pub(super) midway: bool,
    pub(super) tls13: bool,
    pub(super) overhead: u16,
    offers_h2: bool,
    chose_h2: Option<bool>,
    pub(super) rtt: Option<Nanos>,
    /// The client's Finished, after which application data may flow.
    finished: Option<Nanos>,
    tickets: u8,
    ticket_length: u16,
    ticket_at: Nanos,
    server_records: u8,
    client_records: u8,
}

/// A round trip, where none was measured.
pub(super) const RTT_DEFAULT: Nanos = Nanos::from_millis(20);
/// Records of a client's Finished in TLS 1.3, with SHA-256 and SHA-384.
const FINISHED_RECORDS: [u16; 2] = [53, 69];
/// Session tickets a server sends after a handshake, at most.
const TICKETS_MAX: u8 = 2;
/// First plaintext lengths of an HTTP/2 client: preface, SETTINGS, WINDOW_UPDATE in their usual
/// groupings.
const H2_PREFACES: [u16; 8] = [24, 45, 51, 57, 58, 64, 70, 82];
/// Lengths of SETTINGS ACK alone, and with a WINDOW_UPDATE.
const H2_ACKS: [u16; 2] = [9, 22];
const H2_ACK_WITHIN: u8 = 8;
/// Lengths of the frames an HTTP/2 client sends again and again: an empty DATA, WINDOW_UPDATE, PING.
const H2_FRAMES: [u16; 3] = [9, 13, 17];

impl Handshake {
    /// Takes over what the flow's hellos say, when they say more than before.
    pub(super) fn meet(&mut self, class: &Classified, rtt: Option<Nanos>) {
        if self.known {
            return;
        }
        self.midway = !class.hello;
        self.tls13 = class.version.is_none_or(|version| version >= TlsVersion::V1_3);
        self.overhead = overhead(self.tls13, class.cipher);
        self.offers_h2 = class.offers_h2;
        self.chose_h2 = class.chose_h2;
        self.rtt = rtt;
        self.known = class.version.is_some();
    }

    /// There is none, nor any encryption.
    pub(super) fn skip(&mut self, rtt: Option<Nanos>) {
        let (known, midway, client_records) = (true, true, H2_ACK_WITHIN);
        *self = Self { known, midway, client_records, rtt, ..Self::default() };
    }

    /// Whether the record belongs to the application and not to the handshake before it.
    pub(super) fn is_over(&mut self, record: &Record) -> bool {
        if !self.tls13 || self.finished.is_some() {
            return true;
        }
        let is_finished = match record.direction {
            // Met in the middle: what is not a Finished by its size is taken for a request.
            Direction::ToServer if self.midway => FINISHED_RECORDS.contains(&record.length),
            Direction::ToServer => true,
            Direction::ToClient => return false,
        };
        self.finished = Some(record.at);
        if self.midway && !is_finished {
            // The handshake is long past, and its tickets with it.
            self.tickets = TICKETS_MAX;
        }
        !is_finished
    }

    /// When the client's Finished came, in TLS 1.3.
    pub(super) fn finished(&self) -> Option<Nanos> {
        self.finished.filter(|_| !self.midway)
    }

    /// Whether a server record is a session ticket: at most two, right after the handshake, alike.
    pub(super) fn is_ticket(&mut self, record: &Record) -> bool {
        let first = self.tickets == 0;
        let alike = first
            || (record.length.abs_diff(self.ticket_length) <= 34
                && record.at.since(self.ticket_at) < Nanos::from_millis(4));
        let soon = self.finished.is_some_and(|finished| {
            let limit = self.rtt.unwrap_or(RTT_DEFAULT) + Nanos::from_millis(25);
            record.at.since(finished) <= limit
        });
        let is_ticket = self.tls13
            && self.tickets < TICKETS_MAX
            && self.server_records == self.tickets
            && (61..420).contains(&record.length)
            && soon
            && alike;
        self.server_records = self.server_records.saturating_add(1);
        if is_ticket {
            self.tickets += 1;
            if first {
                self.ticket_length = record.length;
                self.ticket_at = record.at;
            }
        }
        is_ticket
    }

    /// Whether a client record of this plaintext length shows that the connection is HTTP/2.
    pub(super) fn speaks_h2(&mut self, length: u16) -> bool {
        if let Some(chose_h2) = self.chose_h2 {
            return chose_h2;
        }
        if self.client_records >= H2_ACK_WITHIN {
            return false;
        }
        self.client_records += 1;
        if self.midway {
            // No offer was seen, and no preface is to come. No request of HTTP/1.1 is this short.
            return H2_FRAMES.contains(&length);
        }
        if !self.offers_h2 {
            return false;
        }
        (self.client_records == 1 && H2_PREFACES.contains(&length)) || H2_ACKS.contains(&length)
    }
}

/// What a record is longer than its plaintext: TLS 1.3 adds a content type and a tag, TLS 1.2 with
/// AES-GCM an explicit nonce and a tag, with ChaCha20-Poly1305 the tag alone.
fn overhead(tls13: bool, cipher: u16) -> u16 {
    const CHACHA20: [u16; 3] = [0xcca8, 0xcca9, 0xccaa];
    match tls13 {
        true => 17,
        false if CHACHA20.contains(&cipher) => 16,
        false => 24,
    }
}
