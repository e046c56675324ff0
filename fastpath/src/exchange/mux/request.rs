//! Requests of an HTTP/2 client, from the lengths and times of its records.
//!
//! After the preface a request is a record of HEADERS and then records of DATA; some clients join
//! the two, some join the HEADERS of several requests, and constant headers shrink to a few bytes
//! once HPACK has seen them (RFC 7541). What a record is may be known only when the next one
//! follows or the server answers, so one record at most is kept back.

use crate::time::Nanos;

/// The state of a client's side of a connection. O(1).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Splitter {
    past_preface: bool,
    held: Option<Held>,
    /// A control-sized record that may have been HEADERS.
    small_at: Option<Nanos>,
    /// Records after the preface.
    records: u32,
    requests: u32,
    /// Requests that came in one record with their HEADERS.
    joined: u32,
    first_length: u16,
    last_at: Nanos,
    /// When the records began that have followed one another since.
    run_at: Nanos,
    /// The last record was a whole DATA frame: the body goes on.
    unfinished: bool,
    /// Bodies that ended with an empty frame, and records when the last of them did.
    ends: (u32, u32),
    /// Records that were taken for HEADERS of what followed, the latest last: they were DATA where
    /// more bodies end than requests were seen.
    swallowed: [Option<Held>; SWALLOWED],
}

/// Records that are remembered in case they were DATA.
const SWALLOWED: usize = 8;

/// A record that is kept back.
#[derive(Clone, Copy, Debug)]
struct Held {
    at: Nanos,
    length: u16,
    role: Role,
}

impl Held {
    /// HEADERS with all the DATA behind them: the record is not full, and nothing has followed.
    fn is_whole(&self, now: Nanos) -> bool {
        self.role == Role::Headers
            && (FIRST_HEADERS_MAX + 1..FRAME_MAX).contains(&self.length)
            && now.since(self.at) >= BURST_GAP
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// HEADERS, or a whole request if the server answers before anything follows.
    Headers,
    /// DATA of a request whose HEADERS looked like control frames, or HEADERS of several requests
    /// if DATA follows at once.
    DataOrHeaders,
}

/// A request that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// Its first record.
    pub(super) start: Nanos,
    /// Its last record so far.
    pub(super) last: Nanos,
    /// Plaintext of its DATA; of everything, where HEADERS and DATA are joined.
    pub(super) bytes: u32,
    /// HEADERS and DATA are joined.
    pub(super) joined: bool,
    /// The first of its connection.
    pub(super) first: bool,
}

/// What a client record means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// Nothing yet.
    Nothing,
    /// Control frames.
    Control,
    /// A request begins, or shows that it has begun.
    Request(Request),
    /// The body of the latest request goes on.
    More(u16),
}

/// Plaintext of a SETTINGS ACK, and of an empty DATA frame that ends a body.
const EMPTY: u16 = 9;
/// Plaintext lengths of control frames and their usual groupings: SETTINGS ACK, WINDOW_UPDATE,
/// RST_STREAM, PING, GOAWAY.
const CONTROL: [u16; 10] = [2, 9, 13, 14, 17, 18, 22, 26, 30, 39];
/// Preface, SETTINGS and WINDOW_UPDATE are no longer than this in one record.
const PREFACE_MAX: u16 = 90;
/// HEADERS after the first are no longer than this.
const HEADERS_MAX: u16 = 330;
/// HEADERS this short follow one another when requests do.
const INDEXED_HEADERS_MAX: u16 = 60;
/// A joined request on a connection that joins is HEADERS alone when it is no longer than this.
const BODILESS_MAX: u16 = 400;
/// HEADERS of one request are no longer than this, even at first.
const FIRST_HEADERS_MAX: u16 = 480;
/// A full DATA frame (RFC 9113, 4.2).
const FRAME_MAX: u16 = 16_384;
/// DATA follows its HEADERS within this, when both are of one burst.
const BURST_GAP: Nanos = Nanos::from_millis(4);
/// Two pieces of one body follow each other within this.
const PIECE_GAP: Nanos = Nanos::from_millis(1);
/// Full frames of one body follow each other within this.
const FRAME_GAP: Nanos = Nanos::from_millis(50);
/// A client that sends many requests at once does so record after record.
const RUN_GAP: Nanos = Nanos::from_millis(50);
/// HEADERS whose DATA has not come within this, and no answer, were the end of a body.
const HELD_MAX: Nanos = Nanos::from_millis(150);

impl Splitter {
    /// A connection whose first client records, `length` bytes of plaintext, were met before it was
    /// known to be HTTP/2: preface and request in one.
    pub(super) fn adopt(&mut self, at: Nanos, length: u32) {
        self.past_preface = true;
        self.records = 1;
        self.first_length = u16::try_from(length).unwrap_or(u16::MAX);
        self.last_at = at;
        self.held = Some(Held { at, length: self.first_length, role: Role::Headers });
    }

    /// A client record of this plaintext length.
    pub(super) fn record(&mut self, length: u16, at: Nanos) -> Sent {
        if !self.past_preface {
            self.past_preface = length > PREFACE_MAX || length == 9;
            if length <= PREFACE_MAX {
                return Sent::Control;
            }
        }
        if CONTROL.contains(&length) {
            if length > 30 {
                self.small_at = Some(at);
            }
            let unseen = if length == EMPTY { self.end_body() } else { None };
            return unseen.map_or(Sent::Control, Sent::Request);
        }
        if self.unfinished && at.since(self.last_at) < FRAME_GAP {
            (self.unfinished, self.last_at) = (length >= FRAME_MAX, at);
            return Sent::More(length);
        }
        let gap = at.since(self.last_at);
        if gap > RUN_GAP || self.records == 0 {
            self.run_at = at;
        }
        self.records += 1;
        self.unfinished = false;
        self.last_at = at;
        if self.records == 1 {
            self.first_length = length;
        }
        let small = self.small_at.take().filter(|&small| at.since(small) < BURST_GAP);
        match self.held.take() {
            Some(held) if self.is_data_of(held, length, at) => {
                self.swallow(held);
                self.data(held.at, length, at, false)
            }
            Some(held) if held.role == Role::Headers && at.since(held.at) < HELD_MAX => {
                self.swallow(held);
                self.hold(Role::Headers, length, at)
            }
            Some(_) | None => match small {
                Some(small) if (61..=HEADERS_MAX).contains(&length) => {
                    self.data(small, length, at, false)
                }
                Some(_) | None => self.unheralded(length, at, gap),
            },
        }
    }

    fn swallow(&mut self, held: Held) {
        self.swallowed.rotate_left(1);
        self.swallowed[SWALLOWED - 1] = Some(held);
    }

    /// An empty frame. It ends a body, or acknowledges the server's SETTINGS; a client that ends
    /// bodies so (httpcore) has only one request under way until it has read them, so nothing stands
    /// between that one's end and the ACK.
    ///
    /// When more bodies have ended than requests were seen, the client has joined the HEADERS of
    /// several, and a record that was taken for HEADERS was DATA.
    fn end_body(&mut self) -> Option<Request> {
        let (ends, records) = self.ends;
        let is_ack = self.requests == 0 || (self.requests == ends && records == self.records);
        if is_ack && self.requests <= 1 {
            return None;
        }
        self.ends = (ends + 1, self.records);
        if ends < self.requests {
            return None;
        }
        if let Some(held) = self.held {
            return Some(self.release(held, false));
        }
        let data = self.swallowed[SWALLOWED - 1].take();
        self.swallowed.rotate_right(1);
        // Its HEADERS came before its DATA, with those of others.
        data.map(|data| self.open(self.run_at.min(data.at), data.at, data.length, false))
    }

    /// The record that is kept back, once its time to be HEADERS is over. To be asked before every
    /// record of the connection.
    pub(super) fn due(&mut self, now: Nanos) -> Option<Request> {
        let held = self.held?;
        let over = held.role == Role::DataOrHeaders && now.since(held.at) >= BURST_GAP;
        let whole = self.requests == 0 && held.is_whole(now);
        (over || whole).then(|| self.release(held, whole))
    }

    /// The server answers: what is kept back was a whole request, where that can be.
    /// Frames without data, `no_data`, answer no HEADERS whose DATA is still to come.
    pub(super) fn answered(&mut self, now: Nanos, rtt: Nanos, no_data: bool) -> Option<Request> {
        let held = self.held?;
        let waits = no_data && held.length <= FIRST_HEADERS_MAX && now.since(held.at) < HELD_MAX;
        if now.since(held.at) < super::nearly(rtt) || waits {
            return None;
        }
        self.close()
    }

    /// The connection closes: as if it had been answered.
    pub(super) fn close(&mut self) -> Option<Request> {
        let held = self.held?;
        let joins = self.requests == 0 || self.joined > 0;
        if held.role == Role::Headers && !joins {
            self.held = None;
            return None;
        }
        Some(self.release(held, held.role == Role::Headers))
    }

    /// Whether a record is DATA to the HEADERS that are kept back.
    fn is_data_of(&self, held: Held, length: u16, at: Nanos) -> bool {
        let gap = at.since(held.at);
        match held.role {
            Role::Headers => gap < HELD_MAX && length > INDEXED_HEADERS_MAX,
            Role::DataOrHeaders => gap < BURST_GAP && length > HEADERS_MAX,
        }
    }

    /// A record before which no HEADERS are kept back.
    fn unheralded(&mut self, length: u16, at: Nanos, gap: Nanos) -> Sent {
        let joins = self.joined > 0;
        if self.records == 1 || length <= HEADERS_MAX || (joins && length <= BODILESS_MAX) {
            return self.hold(Role::Headers, length, at);
        }
        if joins {
            return self.data(at, length, at, true);
        }
        let is_piece = self.requests == 1
            && self.records <= 4
            && self.first_length <= FIRST_HEADERS_MAX
            && gap < PIECE_GAP;
        if is_piece {
            self.unfinished = length >= FRAME_MAX;
            return Sent::More(length);
        }
        if gap > BURST_GAP {
            return self.hold(Role::DataOrHeaders, length, at);
        }
        self.data(at, length, at, false)
    }

    fn hold(&mut self, role: Role, length: u16, at: Nanos) -> Sent {
        self.held = Some(Held { at, length, role });
        Sent::Nothing
    }

    fn data(&mut self, start: Nanos, length: u16, at: Nanos, joined: bool) -> Sent {
        self.unfinished = length >= FRAME_MAX;
        Sent::Request(self.open(start, at, length, joined))
    }

    fn release(&mut self, held: Held, joined: bool) -> Request {
        self.held = None;
        self.unfinished = held.length >= FRAME_MAX;
        self.open(held.at, held.at, held.length, joined)
    }

    fn open(&mut self, start: Nanos, last: Nanos, length: u16, joined: bool) -> Request {
        let first = self.requests == 0;
        self.requests = self.requests.saturating_add(1);
        self.joined = self.joined.saturating_add(u32::from(joined));
        Request { start, last, bytes: length.into(), joined, first }
    }
}
