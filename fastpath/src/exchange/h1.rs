//! HTTP/1.1 in TLS: one request at a time on a connection (docs/architecture.md, "What is
//! visible").
//!
//! A client record after any server record of the running exchange opens the next one; no time
//! constant is involved. Handshake records, session tickets and close_notify are not part of
//! exchanges. State is O(1).

use std::hash::{BuildHasher, RandomState};

use super::cadence::Cadence;
use super::handshake::{Handshake, RTT_DEFAULT, Ticket};
use crate::burst::{Direction, FlowId, Record};
use crate::flow::entry::Classified;
use crate::policy::snapshot::EndpointId;
use crate::telemetry::event::{ExchangeId, Visibility};
use crate::time::Nanos;

/// A connection and the exchange that runs on it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Connection {
    handshake: Handshake,
    close: Close,
    /// Exchanges so far.
    pub exchanges: u32,
    /// The one that runs.
    pub current: Option<Current>,
    /// When the one before was last heard of.
    previous_end: Option<Nanos>,
    /// It has shown that it is HTTP/2: its records are not followed here.
    pub multiplexed: bool,
    /// What the flow is counted as; opaque: not at all.
    pub counted: Visibility,
    /// Bytes of responses that were missed so far.
    missed_bytes: u32,
    /// The latest miss that is not settled: when it was noticed, and the plaintext of the record it
    /// would be; 0 where that is not known.
    miss: Option<(Nanos, u16)>,
}

/// What a record means for its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Counted; nothing begins or ends.
    Nothing,
    /// A request begins with it.
    Request,
    /// It has the size of the mark that ends a chunked response.
    Terminator,
    /// It is an alert: its sender closes.
    Close,
    /// The connection speaks HTTP/2, and this record of so much plaintext is its first that says so.
    Multiplexed(u16),
}

/// How an exchange came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It has not.
    Running,
    /// The next request followed on its connection.
    Reuse,
    /// The terminator came and nothing after it.
    Terminated,
    /// The client closed first.
    ClientClosed,
    /// The server closed first.
    ServerClosed,
    /// The server reset, without an alert before.
    ServerReset,
    /// The flow went idle, was pushed out, or the observation ended.
    Gone,
}

impl Ending {
    /// The server ended it.
    #[must_use]
    pub const fn is_by_server(self) -> bool {
        matches!(self, Self::ServerClosed | Self::ServerReset)
    }
}

/// What there is to know of an exchange.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Counts of the exchange.
    pub seen: Current,
    /// How it ended.
    pub ending: Ending,
    /// When one side closed, if it did.
    pub closed: Option<Nanos>,
    /// When the server closed, first or not.
    pub server_closed: Option<Nanos>,
    /// Round trip of its connection.
    pub rtt: Option<Nanos>,
    /// The connection was met in the middle: all of this is less sure.
    pub midway: bool,
}

/// The counts of one exchange. Lengths are of plaintext: record length less what encryption adds.
#[derive(Clone, Copy, Debug)]
pub struct Current {
    /// Its number.
    pub id: ExchangeId,
    /// Its flow.
    pub flow: FlowId,
    /// The endpoint of its flow when it began.
    pub endpoint: Option<EndpointId>,
    /// First byte of the request.
    pub start: Nanos,
    /// Last record of the request.
    pub last_up: Nanos,
    /// Request bytes.
    pub up_bytes: u32,
    /// Request records.
    pub up_records: u16,
    /// A keyed hash of the lengths of all request records but the first: the body, where a client
    /// writes it apart.
    pub body_hash: u64,
    /// First record of the response.
    pub first_byte: Option<Nanos>,
    /// Last record of the response.
    pub last_down: Nanos,
    /// Last new byte of either direction.
    pub last_heard: Nanos,
    /// Response bytes.
    pub down_bytes: u32,
    /// Response records.
    pub down_records: u16,
    /// Groups of response records more than 3 ms apart.
    pub bursts: u16,
    /// Length of the second response record: how a stream begins.
    pub second_length: u16,
    /// Length of the last response record.
    pub last_length: u16,
    /// The events of a stream.
    pub cadence: Cadence,
    /// Longest time between two response records, once a stream has begun and its first burst is
    /// over.
    pub longest_gap: Nanos,
    /// Response records that came after the client had closed.
    pub late_records: u16,
    /// Those of them that are longer than a terminator.
    pub late_data_records: u16,
    /// One of those began anew: what came before it was not written together with it.
    pub late_anew: bool,
    /// A terminator came before the client closed.
    pub terminated_in_time: bool,
    /// The client has acknowledged bytes of the response that never passed here, and nothing of it
    /// has passed since.
    pub missed: bool,
    /// Some of the response was missed, so that its size says nothing.
    pub has_holes: bool,
    /// It waits in the settle queue.
    pub queued: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Close {
    client: Option<Nanos>,
    server: Option<Nanos>,
    server_reset: bool,
    server_alert: bool,
}

/// Plaintext length of a chunked body's last chunk, `0\r\n\r\n`.
pub(super) const TERMINATOR: u16 = 5;
/// Bytes of a record before what is encrypted (RFC 8446, 5.2).
const RECORD_HEADER: u32 = 5;
/// Bytes of an alert (RFC 8446, 6).
const ALERT_BYTES: u32 = 2;
/// What a tap sees out of order is not later than this.
const LATE_BY: Nanos = Nanos::from_millis(5);
/// A record of an alert in TLS 1.3: two bytes, content type, tag.
const ALERT_RECORD: u16 = 19;
/// A shorter client record is no request: met in the middle, a connection may speak anything.
const REQUEST_BYTES_MIN: u16 = 64;
/// Records that follow one another faster than this are one burst.
const BURST_GAP: Nanos = Nanos::from_millis(3);
/// What a server writes at once arrives within this, also where its writes are sent apart.
const WRITTEN_AT_ONCE: Nanos = Nanos::from_millis(8);
/// Records of a response after which its silence is no thought any more.
pub const STREAM_BEGUN_RECORDS: u16 = 4;
/// A request that a connection was opened for follows its handshake within this; where the end of
/// that is not seen, its first frame.
const FOLLOWS_HANDSHAKE: Nanos = Nanos::from_millis(100);
const FOLLOWS_CONNECT: Nanos = Nanos::from_millis(350);
/// What arrives this soon after a close was on its way before it.
const CLOSE_SLACK: Nanos = Nanos::from_micros(200);
impl Connection {
    /// Takes over what the flow's handshake says, when it says more than before.
    pub fn meet(&mut self, class: &Classified, rtt: Option<Nanos>) {
        self.handshake.meet(class, rtt);
    }

    /// There is no handshake: nothing is encrypted.
    pub(super) fn meet_plain(&mut self, rtt: Option<Nanos>) {
        self.handshake.skip(rtt);
    }

    /// The plaintext length of a record that belongs to the application; an alert is taken in.
    pub(super) fn plaintext(&mut self, record: &Record) -> Result<u16, Step> {
        if !self.handshake.is_over(record) {
            return Err(Step::Nothing);
        }
        if self.handshake.tls13 && record.length == ALERT_RECORD {
            self.alert(record.direction, record.at);
            return Err(Step::Close);
        }
        let ticket = match record.direction {
            Direction::ToServer => Ticket::No,
            Direction::ToClient => self.handshake.ticket(record),
        };
        match (ticket, &mut self.current) {
            (Ticket::No, _) => {}
            (Ticket::Both, Some(current)) if current.down_records == 1 => {
                current.withdraw_response();
                return Err(Step::Nothing);
            }
            // Nothing takes back what a stream of HTTP/2 was given.
            (Ticket::Both, _) if self.multiplexed => {}
            (Ticket::One | Ticket::Both, _) => return Err(Step::Nothing),
        }
        Ok(record.length.saturating_sub(self.handshake.overhead))
    }

    /// Whether a record has the place and the size of a session ticket.
    pub(super) fn may_be_ticket(&self, record: &Record) -> bool {
        self.handshake.may_be_ticket(record)
    }

    /// The server is known, or not, for tickets as long as its next record.
    pub(super) fn expect_ticket(&mut self, usual: bool) {
        self.handshake.usual = usual;
    }

    /// Whether a record that comes next makes two equal tickets of itself and the one before.
    pub(super) fn completes_tickets(&self, record: &Record) -> bool {
        let sure = !self.multiplexed || self.handshake.has_ticket();
        sure && self.handshake.are_twins(record)
    }

    /// A record of application data (in TLS 1.3: of anything encrypted).
    pub fn application_record(&mut self, record: &Record, hasher: &RandomState) -> Step {
        let length = match self.plaintext(record) {
            Ok(length) => length,
            Err(step) => return step,
        };
        self.settle_miss(record.at);
        match record.direction {
            Direction::ToServer => {
                if self.handshake.speaks_h2(length) {
                    return Step::Multiplexed(length);
                }
                match &mut self.current {
                    Some(current) if !current.may_be_answered(record.at, self.handshake.rtt) => {
                        current.request_record(length, record.at, hasher);
                        Step::Nothing
                    }
                    None if self.handshake.midway && length < REQUEST_BYTES_MIN => Step::Nothing,
                    Some(_) | None => Step::Request,
                }
            }
            Direction::ToClient => {
                self.miss = None;
                let Some(current) = &mut self.current else { return Step::Nothing };
                current.response_record(length, record.at, self.close.client);
                if length == TERMINATOR { Step::Terminator } else { Step::Nothing }
            }
        }
    }

    /// When the client decided on a request that begins `at` this time. A connection that is opened
    /// for a request carries it as soon as the handshake is over; one that a pool opened in advance
    /// waits.
    #[must_use]
    pub(super) fn meant(&self, opened: Nanos, at: Nanos) -> Nanos {
        let follows = match self.handshake.finished() {
            Some(finished) => at.since(finished) < FOLLOWS_HANDSHAKE,
            None => at.since(opened) < FOLLOWS_CONNECT,
        };
        if self.exchanges == 0 && follows { opened.min(at) } else { at }
    }

    /// Opens an exchange with its first record. Returns when the one before was last heard of.
    pub fn open(
        &mut self,
        id: ExchangeId,
        endpoint: Option<EndpointId>,
        record: &Record,
    ) -> Option<Nanos> {
        let length = record.length.saturating_sub(self.handshake.overhead);
        self.exchanges += 1;
        self.miss = None;
        self.current = Some(Current::new(id, endpoint, record, length));
        self.previous_end
    }

    /// An alert: its sender closes.
    pub fn alert(&mut self, direction: Direction, at: Nanos) {
        self.close.server_alert |= direction == Direction::ToClient;
        self.closed(direction, false, at);
    }

    /// The connection was met in the middle.
    #[must_use]
    pub(super) fn is_midway(&self) -> bool {
        self.handshake.midway
    }

    /// FIN or RST from one side.
    pub fn closed(&mut self, direction: Direction, reset: bool, at: Nanos) {
        self.settle_miss(at);
        let close = &mut self.close;
        match direction {
            Direction::ToServer => close.client = close.client.or(Some(at)),
            Direction::ToClient => {
                close.server_reset |= reset && close.server.is_none() && !close.server_alert;
                close.server = close.server.or(Some(at));
            }
        }
    }

    /// The client has acknowledged bytes of responses that had not passed here, so many so far.
    /// `ahead`: nothing after them had passed, so that they are measured: one record, as far as
    /// anybody knows. Else what they were part of is not known to be whole.
    pub fn missed_response(&mut self, missed_bytes: u32, ahead: bool, at: Nanos) {
        let before = std::mem::replace(&mut self.missed_bytes, missed_bytes);
        let bytes = missed_bytes.wrapping_sub(before);
        let Handshake { overhead, rtt, .. } = self.handshake;
        let header = if overhead == 0 { 0 } else { RECORD_HEADER };
        let length = bytes.saturating_sub(header + u32::from(overhead));
        if length == ALERT_BYTES && ahead {
            self.closed(Direction::ToClient, false, at);
        }
        // No record is shorter, but an alert or a FIN.
        if length < u32::from(TERMINATOR) {
            return;
        }
        self.settle_miss(at);
        let Some(current) = &mut self.current else { return };
        current.missed = true;
        // Nothing is answered before a round trip is over: those were tickets.
        if !ahead || current.down_records > 0 || at > current.answered_from(rtt) {
            let length = u16::try_from(length).unwrap_or(u16::MAX);
            self.miss = Some((at, length.min(if ahead { u16::MAX } else { 0 })));
        }
    }

    /// Believes in a miss when what was missed has not come for long enough: a tap that sees
    /// segments out of their order may see the acknowledgment first.
    fn settle_miss(&mut self, now: Nanos) {
        let Some((at, length)) = self.miss.take_if(|(at, _)| now.since(*at) >= LATE_BY) else {
            return;
        };
        let Some(current) = &mut self.current else { return };
        if length == 0 {
            current.has_holes = true;
            return;
        }
        current.response_record(length, at, self.close.client);
        current.missed = length != TERMINATOR;
    }

    /// New payload bytes passed. After a close they are a goodbye, or on their way to nobody.
    pub fn heard(&mut self, at: Nanos) {
        if self.closing().is_some() {
            return;
        }
        if let Some(current) = &mut self.current {
            current.last_heard = at;
        }
    }

    /// How the close seen so far ends the running exchange: the one who closes first decides.
    #[must_use]
    pub fn closing(&self) -> Option<Ending> {
        match (self.close.client, self.close.server) {
            (None, None) => None,
            (Some(client), server) if server.is_none_or(|server| client <= server) => {
                Some(Ending::ClientClosed)
            }
            _ if self.close.server_reset => Some(Ending::ServerReset),
            _ => Some(Ending::ServerClosed),
        }
    }

    /// When the first side closed.
    #[must_use]
    pub(super) fn closed_at(&self) -> Option<Nanos> {
        let Close { client, server, .. } = self.close;
        client.into_iter().chain(server).min()
    }

    /// Both sides have closed.
    #[must_use]
    pub fn both_closed(&self) -> bool {
        self.close.client.is_some() && self.close.server.is_some()
    }

    /// Ends the running exchange, if there is one.
    pub fn end(&mut self, ending: Ending) -> Option<Facts> {
        let facts = self.facts(ending)?;
        self.current = None;
        self.previous_end = Some(facts.seen.last_down.max(facts.seen.start));
        Some(facts)
    }

    /// The running exchange as it would be if it ended now. A close that was seen outranks
    /// `ending`, except that a request which follows proves that there was none before it.
    #[must_use]
    pub fn facts(&self, ending: Ending) -> Option<Facts> {
        let seen = self.current?;
        let ending =
            if ending == Ending::Reuse { ending } else { self.closing().unwrap_or(ending) };
        let closed = match ending {
            Ending::ClientClosed => self.close.client,
            Ending::ServerClosed | Ending::ServerReset => self.close.server,
            Ending::Running | Ending::Reuse | Ending::Terminated | Ending::Gone => None,
        };
        let Handshake { rtt, midway, .. } = self.handshake;
        Some(Facts { seen, ending, closed, server_closed: self.close.server, rtt, midway })
    }
}

impl Current {
    fn new(id: ExchangeId, endpoint: Option<EndpointId>, record: &Record, length: u16) -> Self {
        Self {
            id,
            flow: record.flow,
            endpoint,
            start: record.at,
            last_up: record.at,
            up_bytes: u32::from(length),
            up_records: 1,
            body_hash: 0,
            first_byte: None,
            last_down: Nanos::ZERO,
            last_heard: record.at,
            down_bytes: 0,
            down_records: 0,
            bursts: 0,
            second_length: 0,
            last_length: 0,
            cadence: Cadence::default(),
            longest_gap: Nanos::ZERO,
            late_records: 0,
            late_data_records: 0,
            late_anew: false,
            terminated_in_time: false,
            missed: false,
            has_holes: false,
            queued: false,
        }
    }

    /// Whether a response has begun, or one that was missed may have: nothing is answered before a
    /// round trip is over.
    fn may_be_answered(&self, at: Nanos, rtt: Option<Nanos>) -> bool {
        self.down_records > 0 || (self.missed && at > self.answered_from(rtt))
    }

    fn answered_from(&self, rtt: Option<Nanos>) -> Nanos {
        self.last_up + rtt.unwrap_or(RTT_DEFAULT).max(RTT_DEFAULT)
    }

    fn request_record(&mut self, length: u16, at: Nanos, hasher: &RandomState) {
        self.last_up = at;
        self.up_bytes = self.up_bytes.saturating_add(u32::from(length));
        self.up_records = self.up_records.saturating_add(1);
        self.body_hash = hasher.hash_one((self.body_hash, length));
    }

    /// The one record of the response was none.
    fn withdraw_response(&mut self) {
        (self.first_byte, self.last_down) = (None, Nanos::ZERO);
        (self.down_bytes, self.down_records, self.bursts) = (0, 0, 0);
        (self.last_length, self.late_records, self.late_data_records) = (0, 0, 0);
        self.late_anew = false;
    }

    fn response_record(&mut self, length: u16, at: Nanos, client_closed: Option<Nanos>) {
        // Segments that are merged on the way come with the last of them: before anything else came,
        // what counts is how long the client had been gone.
        let since = self.first_byte.map_or(client_closed, |_| Some(self.last_down));
        let anew = since.is_some_and(|since| at.since(since) > WRITTEN_AT_ONCE);
        if self.first_byte.is_none() {
            self.first_byte = Some(at);
            self.bursts = 1;
        } else {
            let gap = at.since(self.last_down);
            // Within the first burst nothing has a cadence: a model thinks after its prelude.
            if self.down_records >= STREAM_BEGUN_RECORDS && self.bursts > 1 {
                self.longest_gap = self.longest_gap.max(gap);
            }
            self.bursts = self.bursts.saturating_add(u16::from(gap > BURST_GAP));
        }
        self.last_down = at;
        self.missed = false;
        self.last_length = length;
        if length != TERMINATOR {
            self.cadence.record(length);
        }
        self.down_bytes = self.down_bytes.saturating_add(u32::from(length));
        self.down_records = self.down_records.saturating_add(1);
        if self.down_records == 2 {
            self.second_length = length;
        }
        if client_closed.is_some_and(|closed| at > closed + CLOSE_SLACK) {
            self.late_records = self.late_records.saturating_add(1);
            let is_data = length > TERMINATOR;
            self.late_data_records = self.late_data_records.saturating_add(u16::from(is_data));
            self.late_anew |= is_data && anew;
        } else {
            self.terminated_in_time |= length == TERMINATOR;
        }
    }
}

impl Facts {
    /// The response has the shape of a stream.
    #[must_use]
    pub fn is_streamed(&self) -> bool {
        self.seen.bursts >= 4 || self.seen.down_records >= 8
    }

    /// The last thing the server sent in time was the terminator.
    #[must_use]
    pub fn is_terminated(&self) -> bool {
        if self.seen.late_records > 0 {
            self.seen.terminated_in_time
        } else {
            self.last_is_terminator()
        }
    }

    /// The client left a response that was not whole: data came after that, and the mark of the end
    /// neither before nor last. A client that reads to the end of a response is sent no more data;
    /// one that reads no more than the head of a short one is still sent what was written with it.
    #[must_use]
    pub const fn is_left(&self) -> bool {
        self.seen.late_anew && !self.seen.terminated_in_time && self.seen.last_length != TERMINATOR
    }

    /// The last record of all has the terminator's size.
    #[must_use]
    pub fn last_is_terminator(&self) -> bool {
        self.seen.down_records > 0 && self.seen.last_length == TERMINATOR
    }

    /// From the end of the request to the first byte of the response, less the round trip.
    #[must_use]
    pub fn service_time(&self) -> Option<Nanos> {
        let first = self.seen.first_byte?;
        Some(first.since(self.seen.last_up).since(self.rtt.unwrap_or(RTT_DEFAULT)))
    }

    /// From the first to the last record of the response.
    #[must_use]
    pub fn span(&self) -> Nanos {
        self.seen.first_byte.map_or(Nanos::ZERO, |first| self.seen.last_down.since(first))
    }

    /// The usual time between two bursts of the response.
    #[must_use]
    pub fn usual_gap(&self) -> Nanos {
        Nanos(self.span().0 / u64::from(self.seen.bursts.saturating_sub(1)).max(1))
    }

    /// Records and plaintext bytes of the response without its terminator.
    #[must_use]
    pub fn body(&self) -> (u32, u32) {
        let marks = u32::from(self.last_is_terminator());
        let records = u32::from(self.seen.down_records).saturating_sub(marks);
        (records, self.seen.down_bytes.saturating_sub(marks * u32::from(TERMINATOR)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::burst::{ContentType, TlsVersion};

    const UP: Direction = Direction::ToServer;
    const DOWN: Direction = Direction::ToClient;

    fn record(direction: Direction, ms: u64, plaintext: u16) -> Record {
        Record {
            packet: 0,
            at: Nanos::from_millis(ms),
            flow: FlowId(0),
            direction,
            content: ContentType::ApplicationData,
            length: plaintext + 17,
        }
    }

    fn connection(class: Classified) -> Connection {
        let mut connection = Connection::default();
        connection.meet(&class, Some(RTT_DEFAULT));
        connection
    }

    fn tls13() -> Classified {
        Classified { hello: true, version: Some(TlsVersion::V1_3), ..Classified::default() }
    }

    /// Steps of records (direction, milliseconds, plaintext length), opening exchanges as they
    /// begin.
    fn steps(connection: &mut Connection, records: &[(Direction, u64, u16)]) -> Vec<Step> {
        let hasher = RandomState::new();
        let step = |&(direction, ms, length): &(Direction, u64, u16)| {
            let record = record(direction, ms, length);
            let step = connection.application_record(&record, &hasher);
            if step == Step::Request {
                connection.end(Ending::Reuse);
                connection.open(ExchangeId(ms), None, &record);
            }
            step
        };
        records.iter().map(step).collect()
    }

    #[test]
    fn finished_and_tickets_are_no_exchange() {
        let mut c = connection(tls13());
        let seen = steps(&mut c, &[(UP, 0, 36), (DOWN, 20, 238), (DOWN, 21, 238), (UP, 22, 700)]);
        assert_eq!(seen, [Step::Nothing, Step::Nothing, Step::Nothing, Step::Request]);
        assert_eq!(c.current.unwrap().down_records, 0);
    }

    #[test]
    fn two_equal_tickets_of_a_busy_server_are_no_response() {
        let mut c = connection(tls13());
        let tickets = [(DOWN, 900, 249), (DOWN, 900, 249)];
        steps(&mut c, &[(UP, 0, 52), (UP, 1, 626), tickets[0], tickets[1]]);
        let seen = c.current.unwrap();
        assert_eq!((seen.down_records, seen.first_byte), (0, None));
        let rest = [(UP, 1000, 350), (DOWN, 1600, 200), (DOWN, 1600, 200)];
        assert_eq!(steps(&mut c, &rest), [Step::Nothing; 3], "the body of the request");
        let seen = c.current.unwrap();
        assert_eq!((seen.up_records, seen.down_records), (2, 2), "tickets come once");
    }

    #[test]
    fn two_late_records_that_differ_or_come_apart_are_a_response() {
        for second in [(DOWN, 900, 250), (DOWN, 901, 249)] {
            let mut c = connection(tls13());
            steps(&mut c, &[(UP, 0, 52), (UP, 1, 626), (DOWN, 900, 249), second]);
            assert_eq!(c.current.unwrap().down_records, 2);
        }
    }

    #[test]
    fn data_of_its_own_after_the_client_left_shows_that_it_left_early() {
        let left = |late: &[(Direction, u64, u16)]| {
            let mut c = connection(tls13());
            steps(&mut c, &[(UP, 0, 52), (UP, 1, 700), (DOWN, 300, 564), (DOWN, 320, 312)]);
            c.closed(UP, false, Nanos::from_millis(322));
            steps(&mut c, late);
            c.facts(Ending::Running).unwrap().is_left()
        };
        assert!(left(&[(DOWN, 340, 317)]));
        assert!(!left(&[(DOWN, 324, 317)]), "written with the data before it");
        assert!(!left(&[(DOWN, 340, 317), (DOWN, 341, 5)]), "it was the last");
        assert!(!left(&[]));
    }

    #[test]
    fn a_client_record_after_a_server_record_opens_the_next_exchange() {
        let mut c = connection(tls13());
        let seen = steps(
            &mut c,
            &[
                (UP, 0, 36),
                (UP, 1, 700),
                (UP, 2, 900),
                (DOWN, 300, 1200),
                (DOWN, 301, 5),
                (UP, 400, 700),
            ],
        );
        use Step::{Nothing, Request, Terminator};
        assert_eq!(seen, [Nothing, Request, Nothing, Nothing, Terminator, Request]);
        assert_eq!(c.exchanges, 2);
    }

    #[test]
    fn a_preface_shows_http2_and_without_the_offer_it_does_not() {
        let mut offering = connection(Classified { offers_h2: true, ..tls13() });
        assert_eq!(steps(&mut offering, &[(UP, 0, 36), (UP, 1, 64)])[1], Step::Multiplexed(64));
        let mut plain = connection(tls13());
        assert_eq!(steps(&mut plain, &[(UP, 0, 36), (UP, 1, 64)])[1], Step::Request);
    }

    #[test]
    fn who_closes_first_ends_the_exchange() {
        let mut c = connection(tls13());
        steps(&mut c, &[(UP, 0, 36), (UP, 1, 700), (DOWN, 100, 900)]);
        c.closed(UP, false, Nanos::from_millis(150));
        c.closed(DOWN, true, Nanos::from_millis(151));
        let facts = c.end(Ending::Gone).unwrap();
        assert_eq!(facts.ending, Ending::ClientClosed);
        assert_eq!(facts.closed, Some(Nanos::from_millis(150)));
    }

    #[test]
    fn a_reset_after_an_alert_is_a_close() {
        let mut c = connection(tls13());
        steps(&mut c, &[(UP, 0, 36), (UP, 1, 700)]);
        c.alert(DOWN, Nanos::from_millis(5));
        c.closed(DOWN, true, Nanos::from_millis(6));
        assert_eq!(c.closing(), Some(Ending::ServerClosed));
        let mut c = connection(tls13());
        steps(&mut c, &[(UP, 0, 36), (UP, 1, 700)]);
        c.closed(DOWN, true, Nanos::from_millis(6));
        assert_eq!(c.closing(), Some(Ending::ServerReset));
    }

    #[test]
    fn a_response_that_passed_unseen_ends_the_request() {
        let mut c = connection(tls13());
        let ms = Nanos::from_millis;
        steps(&mut c, &[(UP, 0, 36), (UP, 1, 700)]);
        c.missed_response(500, true, ms(3));
        assert_eq!(steps(&mut c, &[(UP, 3, 900)]), [Step::Nothing], "nobody answers that fast");
        assert_eq!(c.current.unwrap().down_records, 0);
        c.missed_response(1022, true, ms(60));
        assert_eq!(c.current.unwrap().down_records, 0, "it may be late");
        c.closed(UP, false, ms(70));
        let seen = c.current.unwrap();
        assert_eq!((seen.down_records, seen.down_bytes, seen.missed), (1, 500, true));
        assert_eq!(steps(&mut c, &[(UP, 400, 700)]), [Step::Request]);
        c.missed_response(1022, true, ms(401));
        assert_eq!(steps(&mut c, &[(UP, 401, 900)]), [Step::Nothing], "the same loss");
    }

    #[test]
    fn a_terminator_that_passed_unseen_is_one() {
        let mut c = connection(tls13());
        let stream: Vec<_> = (0..10).map(|n| (DOWN, 100 + 20 * n, 300)).collect();
        steps(&mut c, &[(UP, 0, 36), (UP, 1, 700)]);
        steps(&mut c, &stream);
        c.missed_response(27, true, Nanos::from_millis(300));
        c.closed(UP, false, Nanos::from_millis(310));
        let facts = c.facts(Ending::Running).unwrap();
        assert!(facts.is_terminated() && !facts.seen.missed);
        c.missed_response(28, true, Nanos::from_millis(400));
        assert!(c.facts(Ending::Running).unwrap().is_terminated(), "a FIN");
    }

    #[test]
    fn an_acknowledgment_that_is_seen_before_its_record_shows_no_loss() {
        let mut c = connection(tls13());
        steps(&mut c, &[(UP, 0, 36), (UP, 1, 700)]);
        c.missed_response(422, true, Nanos::from_millis(100));
        steps(&mut c, &[(DOWN, 101, 400), (DOWN, 200, 5)]);
        let seen = c.current.unwrap();
        assert_eq!((seen.down_records, seen.missed, seen.has_holes), (2, false, false));
    }

    #[test]
    fn a_hole_in_a_response_makes_its_size_unknown() {
        let mut c = connection(tls13());
        steps(&mut c, &[(UP, 0, 36), (UP, 1, 700)]);
        c.missed_response(900, false, Nanos::from_millis(80));
        assert!(c.current.unwrap().missed, "the first bytes");
        steps(&mut c, &[(DOWN, 90, 300)]);
        let seen = c.current.unwrap();
        assert!(!seen.missed && seen.has_holes, "the rest came");
    }

    #[test]
    fn met_in_the_middle_a_short_record_is_no_request() {
        let mut c = connection(Classified::default());
        assert_eq!(steps(&mut c, &[(UP, 0, 40), (UP, 100, 700)]), [Step::Nothing, Step::Request]);
    }

    #[test]
    fn what_comes_after_the_client_left_is_late() {
        let mut c = connection(tls13());
        steps(&mut c, &[(UP, 0, 36), (UP, 1, 700), (DOWN, 100, 300)]);
        c.closed(UP, false, Nanos::from_millis(110));
        steps(&mut c, &[(DOWN, 120, 300), (DOWN, 121, 5)]);
        let seen = c.current.unwrap();
        assert_eq!(
            (seen.late_records, seen.late_data_records, seen.terminated_in_time),
            (2, 1, false)
        );
    }
}
