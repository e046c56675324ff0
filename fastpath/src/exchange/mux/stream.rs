//! One stream of a connection: its counts, and what they say when it has to end without a mark.

use std::ops::RangeInclusive;

use super::request::Request;
use crate::burst::FlowId;
use crate::exchange::cadence::Cadence;
use crate::policy::snapshot::EndpointId;
use crate::telemetry::event::ExchangeId;
use crate::time::Nanos;

/// The counts of one stream. Lengths are of plaintext, frame headers included. While others are
/// open on its connection, what the server sends is shared out by guess.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stream {
    /// Its number.
    pub id: ExchangeId,
    /// The endpoint of its flow when it began.
    pub(super) endpoint: Option<EndpointId>,
    /// First record of the request.
    pub start: Nanos,
    /// Last record of the request.
    pub last_up: Nanos,
    /// DATA of the request; HEADERS too, where the client joins them.
    pub up_bytes: u32,
    /// The client joins HEADERS and DATA.
    pub joined: bool,
    /// The first stream of its connection.
    pub first: bool,
    /// No other stream was open while it was.
    pub alone: bool,
    /// First record of the response.
    pub first_byte: Option<Nanos>,
    /// Last record of the response; its start before there is any.
    pub last_down: Nanos,
    /// Response bytes.
    pub down_bytes: u32,
    /// Response records.
    pub down_records: u16,
    /// Groups of response records more than 3 ms apart.
    pub bursts: u16,
    /// Length of the first response record.
    pub first_length: u16,
    /// Its events.
    pub cadence: Cadence,
    /// Longest time between two response records, after the first four.
    pub longest_gap: Nanos,
    /// Response records that came after the client had closed.
    pub late_records: u16,
    /// When the client may have reset it.
    pub client_reset: Option<Nanos>,
    /// What looked like that has been grants of window on this connection.
    pub(super) client_grants: bool,
    /// When the server may have reset it.
    pub(super) server_reset: Option<Nanos>,
    /// Window was granted a round trip after the request.
    pub(super) granted: bool,
}

/// How a stream came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEnding {
    /// It has not.
    Running,
    /// The server's mark came.
    EndStream,
    /// The server fell silent and another request followed, where ends are not marked.
    Quiet,
    /// The client reset it and the server stopped.
    ClientReset,
    /// The server reset it.
    ServerReset,
    /// The client closed the connection first.
    ClientClosed,
    /// The server closed the connection first.
    ServerClosed,
    /// The flow went idle, was pushed out, or the observation ended.
    Gone,
}

/// The last records before a mark, when they came with it: a response in one piece has no others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unit {
    /// The last but one: HEADERS, or 0.
    pub headers: u16,
    /// The last: DATA, or HEADERS and DATA in one.
    pub data: u16,
}

/// What there is to know of a stream.
#[derive(Clone, Copy, Debug)]
pub struct StreamFacts {
    /// Its counts.
    pub stream: Stream,
    /// Its flow.
    pub flow: FlowId,
    /// The endpoint of its flow when it began.
    pub endpoint: Option<EndpointId>,
    /// How it ended.
    pub ending: StreamEnding,
    /// When it ended; now, if it has not.
    pub ended: Nanos,
    /// What came directly before the mark.
    pub unit: Unit,
    /// Responses of this server are known to end with a mark, or not to; `None` before any has.
    pub marked: Option<bool>,
    /// Round trip of its connection.
    pub rtt: Nanos,
    /// The connection was met in the middle, or has lost records.
    pub midway: bool,
}

/// Records that follow one another faster than this are one burst.
const BURST_GAP: Nanos = Nanos::from_millis(3);
/// A response that has been silent for this long when its connection closes was over.
const QUIET: Nanos = Nanos::from_millis(30);
/// The first records of a response, whose pauses are thought.
const HEAD_RECORDS: u16 = 4;

impl Stream {
    pub(super) fn new(
        (id, endpoint): (ExchangeId, Option<EndpointId>),
        request: &Request,
        alone: bool,
    ) -> Self {
        Self {
            id,
            endpoint,
            start: request.start,
            last_up: request.last,
            up_bytes: request.bytes,
            joined: request.joined,
            first: request.first,
            alone,
            first_byte: None,
            last_down: request.last,
            down_bytes: 0,
            down_records: 0,
            bursts: 0,
            first_length: 0,
            cadence: Cadence::behind_headers(),
            longest_gap: Nanos::ZERO,
            late_records: 0,
            client_reset: None,
            client_grants: false,
            server_reset: None,
            granted: false,
        }
    }

    /// A stream whose request is over at 0 and whose response has come: milliseconds and lengths.
    #[cfg(test)]
    pub(crate) fn of_records(rtt: Nanos, records: &[(u64, u16)]) -> Self {
        let zero = Nanos::ZERO;
        let request = Request { start: zero, last: zero, bytes: 700, joined: false, first: true };
        let mut stream = Self::new((ExchangeId(1), None), &request, true);
        for &(ms, length) in records {
            stream.data(length, Nanos::from_millis(ms), rtt);
        }
        stream
    }

    /// The body of its request goes on.
    pub(super) fn more(&mut self, length: u16, at: Nanos) {
        self.up_bytes = self.up_bytes.saturating_add(u32::from(length));
        self.last_up = at;
    }

    /// A record of its response.
    pub(super) fn data(&mut self, length: u16, at: Nanos, rtt: Nanos) {
        let gap = at.since(self.last_down);
        if self.first_byte.is_none() {
            self.first_byte = Some(at);
            self.first_length = length;
            self.bursts = 1;
        } else {
            self.bursts = self.bursts.saturating_add(u16::from(gap > BURST_GAP));
        }
        if self.down_records >= HEAD_RECORDS {
            self.longest_gap = self.longest_gap.max(gap);
        }
        if self.down_records > 0 {
            self.cadence.record(length);
        }
        self.last_down = at;
        self.down_bytes = self.down_bytes.saturating_add(u32::from(length));
        self.down_records = self.down_records.saturating_add(1);
        self.server_reset = None;
        if self.client_reset.is_some_and(|reset| at > on_its_way(reset, rtt)) {
            self.client_reset = None;
        }
    }

    /// How it ends when something ends it at `at` that is no mark, and when that was.
    pub(super) fn resolve(
        &self,
        why: StreamEnding,
        at: Nanos,
        marked: Option<bool>,
    ) -> (StreamEnding, Nanos) {
        // Where ends are not marked, a grant of window after the last data looks the same.
        let leaves = !self.may_be_whole(marked) || (self.is_streamed() && !self.client_grants);
        if let Some(reset) = self.client_reset.filter(|_| leaves) {
            return (StreamEnding::ClientReset, reset);
        }
        let cuts = marked == Some(true) || self.down_records == 0 || self.is_streamed();
        if let Some(reset) = self.server_reset.filter(|_| cuts) {
            return (StreamEnding::ServerReset, reset);
        }
        if self.may_be_whole(marked) && at.since(self.last_down) > QUIET {
            return (StreamEnding::Quiet, self.last_down);
        }
        (why, at)
    }

    /// The response may be over: ends are not marked, or nobody knows and it is no stream.
    pub(super) fn may_be_whole(&self, marked: Option<bool>) -> bool {
        self.down_records > 0 && !marked.unwrap_or_else(|| self.is_streamed())
    }

    /// No pause between its records is longer than this, most likely: twice the usual one.
    pub(super) fn pause(&self) -> Nanos {
        let span = self.first_byte.map_or(Nanos::ZERO, |first| self.last_down.since(first));
        Nanos(span.0 / u64::from(self.bursts.max(1)) * 2) + BURST_GAP
    }

    /// Of its response nothing has come but one record, as long as HEADERS are.
    pub(super) fn is_headers(&self, lengths: RangeInclusive<u16>) -> bool {
        self.down_records == 1 && lengths.contains(&self.first_length)
    }

    /// Its response has come, in one piece.
    pub(super) fn is_whole(&self) -> bool {
        self.down_records > 0 && !self.is_streamed()
    }

    /// Its response has headers and data, and came in one piece as far as it came.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.down_records > 1 && !self.is_streamed()
    }

    /// Its response has the shape of a stream.
    #[must_use]
    pub fn is_streamed(&self) -> bool {
        self.bursts >= 4 || self.down_records >= 8
    }
}

/// What was on its way when the client reset arrives until then: within a round trip.
pub(super) fn on_its_way(reset: Nanos, rtt: Nanos) -> Nanos {
    reset + rtt + Nanos(rtt.0 * 3 / 10) + Nanos::from_millis(5)
}

impl StreamFacts {
    /// From the end of the request to the first byte of the response, less the round trip.
    #[must_use]
    pub fn service_time(&self) -> Option<Nanos> {
        let first = self.stream.first_byte?;
        Some(first.since(self.stream.last_up).since(self.rtt))
    }
}
