//! QUIC, as HTTP/3 uses it (RFC 9000, RFC 9114): exchanges by direction, size and time.
//!
//! Everything behind the handshake is encrypted, frame types and acknowledgments too. A client that
//! only receives sends small datagrams; a request is larger, and its response comes a round trip
//! later. So a larger datagram of the client after data of the server opens an exchange, as in
//! [`super::h1`]. Several streams at once are not told apart: a request that is sent into the
//! response to another ends that one. What a stream is reset or closed with looks like an
//! acknowledgment, so who gave up is not seen. State is O(1).

use std::hash::RandomState;

use super::h1::{self, Ending, Step};
use super::handshake::RTT_DEFAULT;
use crate::burst::{ContentType, Datagram, Direction, FlowId, Headers, Record};
use crate::flow::entry::Flow;
use crate::time::Nanos;

/// What is known of a connection beside its exchange.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    /// The first datagrams of the client and of the server.
    first: [Option<Nanos>; 2],
    /// The shortest time that the server has taken to send anything.
    rtt: Option<Nanos>,
    /// A datagram that the server, silent until then, has not answered.
    asked: Option<Nanos>,
    /// The server's latest datagram.
    heard: Nanos,
    /// The first datagram of the client behind the handshake.
    begun: Option<Nanos>,
    /// What the server sends by itself, once the handshake is over, has passed.
    settled: bool,
    /// The smallest datagram behind the handshake, each way: nearly all of it acknowledgment.
    least: [u32; 2],
}

/// The smallest datagram that acknowledges has a flags byte, the connection ID that its receiver
/// chose, a packet number, an ACK frame and a tag (RFC 9000, 17.3 and 19.3); with an ID of eight
/// bytes they are about 35.
const ACK_BYTES: u32 = 40;
/// A request is longer than the smallest datagram by its header fields, and an acknowledgment of a
/// path that loses by a few ranges.
const REQUEST_ABOVE: u32 = 64;
/// Data of the server is longer by a frame's worth.
const DATA_ABOVE: u32 = 28;
/// Datagrams that follow one another faster than this are one piece.
const TOGETHER: Nanos = Nanos::from_millis(1);
/// A client that sends again after this, unanswered, sends another request: pieces of one request
/// wait for acknowledgments at most.
const UNANSWERED: Nanos = Nanos::from_millis(250);
/// A datagram this large, alone and unanswered in the first moments of a connection, asks how large
/// they may be (RFC 9000, 14.4).
const PROBE_BYTES: u32 = 1200;
const PROBES_WITHIN: Nanos = Nanos::from_secs(3);
/// Settings and session tickets follow the handshake within a round trip and this, in datagrams no
/// longer than that.
const SETTINGS_WITHIN: Nanos = Nanos::from_millis(25);
const SETTINGS_BYTES_MAX: u32 = 420;
/// A response that has been silent for this long is over.
pub(super) const SILENCE: Nanos = Nanos::from_secs(10);

/// What a datagram means for its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A step, as of a record.
    Step(Step),
    /// What was taken for a request was none, and this datagram opens one.
    Instead,
}

impl Default for Path {
    fn default() -> Self {
        Self {
            first: [None; 2],
            rtt: None,
            asked: None,
            heard: Nanos::ZERO,
            begun: None,
            settled: false,
            least: [ACK_BYTES; 2],
        }
    }
}

/// Whether this flow is to be followed: its handshake was read, or it is known whom it calls.
pub(super) fn is_ours(entry: &Flow<'_>) -> bool {
    entry.class.hello || entry.class.endpoint().is_some()
}

/// The record that a datagram stands for.
pub(super) fn datagram(
    packet: u16,
    at: Nanos,
    (flow, direction): (FlowId, Direction),
    headers: &Headers,
) -> Record {
    let length = u16::try_from(headers.payload_wire_bytes).unwrap_or(u16::MAX);
    Record { packet, at, flow, direction, content: ContentType::ApplicationData, length }
}

impl Path {
    /// Measures the round trip from here to the server: by the handshake, then by what the server
    /// sends after a silence, which is an acknowledgment at the latest.
    fn measure(&mut self, direction: Direction, at: Nanos) {
        let way = direction.index();
        if direction == Direction::ToServer {
            let silent = at.since(self.heard) > self.rtt.unwrap_or(RTT_DEFAULT);
            self.asked = self.asked.or(silent.then_some(at));
        } else {
            let asked = if self.first[way].is_none() { self.first[0] } else { self.asked };
            let took = asked.map(|asked| at.since(asked));
            self.rtt = self.rtt.into_iter().chain(took).min();
            (self.asked, self.heard) = (None, at);
        }
        self.first[way] = self.first[way].or(Some(at));
    }

    /// Takes in a datagram.
    pub(super) fn follow(
        &mut self,
        connection: &mut h1::Connection,
        record: &Record,
        kind: Datagram,
        hasher: &RandomState,
    ) -> Meaning {
        let nothing = Meaning::Step(Step::Nothing);
        let (way, bytes) = (record.direction.index(), u32::from(record.length));
        self.measure(record.direction, record.at);
        if kind != Datagram::Other {
            return nothing;
        }
        self.least[way] = self.least[way].min(bytes);
        if record.direction == Direction::ToServer {
            self.begun = self.begun.or(Some(record.at));
        }
        connection.meet_plain(self.rtt);
        match record.direction {
            Direction::ToServer if bytes <= self.least[way] + REQUEST_ABOVE => nothing,
            Direction::ToServer if self.was_probe(connection, record) => Meaning::Instead,
            Direction::ToServer if is_unanswered(connection, record) => {
                Meaning::Step(Step::Request)
            }
            Direction::ToClient if bytes <= self.least[way] + DATA_ABOVE => nothing,
            Direction::ToClient if self.is_own(record) => nothing,
            Direction::ToClient if !self.may_answer(connection, record) => nothing,
            Direction::ToClient if joins(connection, record) => nothing,
            Direction::ToServer | Direction::ToClient => {
                // No datagram has the meaning of a record's length.
                match connection.application_record(record, hasher) {
                    Step::Request => Meaning::Step(Step::Request),
                    _ => nothing,
                }
            }
        }
    }

    /// Whether the server sends this by itself: the first short datagram with data.
    fn is_own(&mut self, record: &Record) -> bool {
        let limit = self.rtt.unwrap_or(RTT_DEFAULT) + SETTINGS_WITHIN;
        let soon = self.begun.is_some_and(|begun| record.at.since(begun) <= limit);
        let own = !self.settled && soon && u32::from(record.length) <= SETTINGS_BYTES_MAX;
        self.settled = true;
        own
    }

    /// What runs is a probe of the path, not a request.
    fn was_probe(&self, connection: &h1::Connection, record: &Record) -> bool {
        let Some(current) = &connection.current else { return false };
        let early = self.first[0].is_some_and(|first| current.start < first + PROBES_WITHIN);
        let lone = current.up_records == 1 && current.up_bytes >= PROBE_BYTES;
        let quiet = record.at.since(current.last_up) > self.rtt.unwrap_or(RTT_DEFAULT);
        early && lone && quiet && current.down_records == 0
    }

    /// Whether data of the server may be of the response: the first comes no sooner than nearly a
    /// round trip after the request.
    fn may_answer(&self, connection: &h1::Connection, record: &Record) -> bool {
        let soonest = Nanos(self.rtt.unwrap_or(RTT_DEFAULT).0 / 5 * 4);
        connection.current.as_ref().is_some_and(|current| {
            current.down_records > 0 || record.at.since(current.last_up) >= soonest
        })
    }
}

fn is_unanswered(connection: &h1::Connection, record: &Record) -> bool {
    connection.current.as_ref().is_some_and(|current| {
        current.down_records == 0 && record.at.since(current.last_up) > UNANSWERED
    })
}

/// Adds a datagram of the server to the piece that it is of, if that has begun.
fn joins(connection: &mut h1::Connection, record: &Record) -> bool {
    let Some(current) = &mut connection.current else { return false };
    let together = current.down_records > 0 && record.at.since(current.last_down) < TOGETHER;
    if together {
        current.down_bytes = current.down_bytes.saturating_add(u32::from(record.length));
        (current.last_down, current.last_length) = (record.at, record.length);
    }
    together
}

/// Whether the exchange that runs has been silent for long enough to be over.
pub(super) fn is_over(connection: &h1::Connection, now: Nanos) -> bool {
    connection.facts(Ending::Running).is_some_and(|facts| {
        facts.seen.down_records > 0 && now.since(facts.seen.last_down) >= SILENCE
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::event::ExchangeId;

    const UP: Direction = Direction::ToServer;
    const DOWN: Direction = Direction::ToClient;

    #[derive(Default)]
    struct Rig {
        path: Path,
        connection: h1::Connection,
        hasher: RandomState,
        starts: Vec<u64>,
        withdrawn: usize,
    }

    impl Rig {
        /// A connection whose handshake has taken 20 ms.
        fn new() -> Self {
            let mut rig = Self::default();
            rig.send(Datagram::Quic, &[(UP, 0, 1200), (DOWN, 20, 1200), (UP, 21, 1200)]);
            rig
        }

        fn send(&mut self, kind: Datagram, datagrams: &[(Direction, u64, u16)]) {
            for &(direction, ms, length) in datagrams {
                let (at, flow) = (Nanos::from_millis(ms), FlowId(0));
                let content = ContentType::ApplicationData;
                let record = Record { packet: 0, at, flow, direction, content, length };
                let Self { path, connection, hasher, .. } = self;
                let meaning = path.follow(connection, &record, kind, hasher);
                self.withdrawn += usize::from(meaning == Meaning::Instead);
                if meaning != Meaning::Step(Step::Nothing) {
                    self.starts.push(ms);
                    self.connection.open(ExchangeId(ms), None, &record);
                }
            }
        }

        fn short(&mut self, datagrams: &[(Direction, u64, u16)]) -> &mut Self {
            self.send(Datagram::Other, datagrams);
            self
        }
    }

    #[test]
    fn acknowledgments_of_a_stream_are_no_requests() {
        let mut rig = Rig::new();
        rig.short(&[(UP, 30, 900), (DOWN, 50, 34), (DOWN, 400, 300), (UP, 401, 35)]);
        for n in 0..50 {
            rig.short(&[(DOWN, 420 + 20 * n, 190), (UP, 421 + 20 * n, 35 + (n % 30) as u16)]);
        }
        rig.short(&[(UP, 3000, 1200), (UP, 3000, 700), (DOWN, 3300, 800)]);
        assert_eq!(rig.starts, [30, 3000]);
    }

    #[test]
    fn what_the_server_sends_by_itself_is_no_response() {
        let mut rig = Rig::new();
        rig.short(&[(UP, 30, 900), (DOWN, 41, 250), (DOWN, 42, 90), (UP, 45, 800)]);
        assert_eq!(rig.starts, [30], "the request goes on");
        assert_eq!(rig.connection.current.unwrap().down_records, 0);
    }

    #[test]
    fn a_probe_of_the_path_is_no_request() {
        let mut rig = Rig::new();
        rig.short(&[(UP, 30, 1400), (DOWN, 51, 34), (UP, 900, 700), (DOWN, 950, 700)]);
        assert_eq!((rig.starts.as_slice(), rig.withdrawn), (&[30, 900][..], 1));
    }

    #[test]
    fn an_unanswered_request_and_the_next_are_two() {
        let mut rig = Rig::new();
        rig.short(&[(UP, 30, 700), (UP, 32, 700), (UP, 600, 800), (DOWN, 900, 500)]);
        assert_eq!((rig.starts.as_slice(), rig.withdrawn), (&[30, 600][..], 0));
    }

    #[test]
    fn silence_ends_a_response_and_not_a_thought() {
        let mut rig = Rig::new();
        rig.short(&[(UP, 30, 700)]);
        assert!(!is_over(&rig.connection, Nanos::from_secs(60)));
        rig.short(&[(DOWN, 900, 500)]);
        assert!(!is_over(&rig.connection, Nanos::from_secs(5)));
        assert!(is_over(&rig.connection, Nanos::from_secs(11)));
    }

    #[test]
    fn longer_connection_ids_make_longer_acknowledgments() {
        let mut rig = Rig::new();
        rig.short(&[
            (UP, 30, 900),
            (DOWN, 400, 300),
            (UP, 401, 58),
            (DOWN, 420, 200),
            (UP, 421, 90),
        ]);
        assert_eq!(rig.starts, [30]);
    }
}
