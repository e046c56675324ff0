//! Where a connection's handshake ends and its application begins, and what protocol that speaks:
//! all of it from record lengths and the clear hellos.

use std::ops::Range;

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
    /// The server is known for tickets as long as its next record.
    pub(super) usual: bool,
    /// The first record of the server's application keys.
    first_length: u16,
    first_at: Nanos,
    server_records: u8,
    client_records: u8,
}

/// What a server record is to the session tickets of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ticket {
    No,
    One,
    /// It is one, and so was the record before it.
    Both,
}

/// A round trip, where none was measured.
pub(super) const RTT_DEFAULT: Nanos = Nanos::from_millis(20);
/// Records of a client's Finished in TLS 1.3, with SHA-256 and SHA-384.
const FINISHED_RECORDS: [u16; 2] = [53, 69];
/// Session tickets a server sends after a handshake, at most.
const TICKETS_MAX: u8 = 2;
/// Lengths of their records.
const TICKET_RECORDS: Range<u16> = 61..420;
/// The tickets of one handshake are written together.
const TICKETS_TOGETHER: Nanos = Nanos::from_millis(4);
/// Two that are told by nothing but their equal length share a flight.
const TICKETS_IN_FLIGHT: Nanos = Nanos::from_millis(1);
/// How long after a round trip tickets are punctual.
const PUNCTUAL: Nanos = Nanos::from_millis(25);
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

    /// Whether a server record has the place and the size of a session ticket: among the first that
    /// follow the handshake.
    pub(super) fn may_be_ticket(&self, record: &Record) -> bool {
        self.tls13
            && self.finished.is_some()
            && record.direction == Direction::ToClient
            && self.tickets < TICKETS_MAX
            && self.server_records < TICKETS_MAX
            && TICKET_RECORDS.contains(&record.length)
    }

    /// Whether a server record is a session ticket (RFC 8446, 4.6.1).
    ///
    /// A server sends them as soon as it has read the client's Finished, and before any response. A
    /// busy one reads that late: its tickets are known by their place and their lengths, and only
    /// where those do not tell by time.
    pub(super) fn ticket(&mut self, record: &Record) -> Ticket {
        let may_be = self.may_be_ticket(record);
        let usual = std::mem::take(&mut self.usual);
        let twins = self.are_twins(record);
        let place = self.server_records;
        self.server_records = place.saturating_add(1);
        if place == 0 {
            (self.first_length, self.first_at) = (record.length, record.at);
        }
        if !may_be {
            return Ticket::No;
        }
        let together = record.at.since(self.first_at) < TICKETS_TOGETHER;
        let alike = together && record.length.abs_diff(self.first_length) <= 34;
        let soon = self.finished.is_some_and(|finished| {
            record.at.since(finished) <= self.rtt.unwrap_or(RTT_DEFAULT) + PUNCTUAL
        });
        if place == self.tickets && alike && (soon || usual || place > 0) {
            self.tickets += 1;
            return Ticket::One;
        }
        if twins {
            self.tickets = TICKETS_MAX;
            return Ticket::Both;
        }
        Ticket::No
    }

    /// Whether a server record is the second of two tickets as OpenSSL writes them: equal, and at
    /// once.
    pub(super) fn are_twins(&self, record: &Record) -> bool {
        self.may_be_ticket(record)
            && self.server_records == 1
            && record.length == self.first_length
            && record.at.since(self.first_at) < TICKETS_IN_FLIGHT
    }

    pub(super) fn has_ticket(&self) -> bool {
        self.tickets > 0
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
