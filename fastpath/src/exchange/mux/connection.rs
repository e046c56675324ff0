//! One multiplexed connection: which frames its records are, and which stream they may belong to.

use super::habit::Habit;
use super::open::OpenStreams;
use super::request::{Request, Sent, Splitter};
use super::stream::{Stream, StreamEnding, StreamFacts, Unit, on_its_way};
use super::{MuxEdge, Scene, nearly};
use crate::burst::FlowId;
use crate::exchange::h1::Ending;
use crate::telemetry::event::ExchangeId;
use crate::time::Nanos;

/// The state of a connection. Bounded by [`STREAMS_MAX`](super::STREAMS_MAX).
#[derive(Debug, Default)]
pub(super) struct Connection {
    /// It waits to be looked at again.
    pub(super) queued: bool,
    /// It was met in the middle, or has lost records.
    pub(super) midway: bool,
    rtt: Nanos,
    splitter: Splitter,
    /// Open streams, in order of start.
    open: OpenStreams,
    /// When its first record came.
    first_at: Option<Nanos>,
    settings_seen: bool,
    ack_seen: bool,
    /// Records of the server that came before its SETTINGS.
    tickets: u8,
    /// The last two data records of the server: time and length.
    tail: [(Nanos, u16); 2],
    /// The stream that the last of them was given to.
    latest: ExchangeId,
    /// When the server sent anything last.
    last_server: Nanos,
    /// Resets of the client that may have ended one of several streams.
    cancelled: u16,
    /// When a request was last sent before the response to another was over.
    overlapped: Option<Nanos>,
    /// Bytes of requests since the server last granted window that none of them asked for.
    uploaded: u32,
    /// The response that was taken for over when the next request followed.
    succeeded: Option<Stream>,
    /// What might have been resets of the client were grants of window.
    grants: u16,
    /// A record of the server that is several grants of window, unless data follow at once: then it
    /// is HEADERS.
    perhaps_grants: Option<(Nanos, u16)>,
    /// When the server last sent a record as long as a grant of window or a reset.
    short_at: Nanos,
    /// A response was HEADERS alone. The next of its kind may be as short as a reset, once HPACK knows
    /// its headers (RFC 7541, 2.3.2).
    bare: bool,
    /// First records of lone responses: as long as HEADERS, and longer.
    opened: [u16; 2],
    /// Requests so far.
    requests: u16,
}

/// Frames without data by their plaintext lengths (RFC 9113, 6): an empty DATA frame or a SETTINGS
/// ACK; WINDOW_UPDATE or RST_STREAM; GOAWAY or PING; two of 13.
const EMPTY: u16 = 9;
const UPDATE_OR_RESET: u16 = 13;
const GOAWAY: u16 = 17;
const TWO_UPDATES: u16 = 26;
/// A RST_STREAM of the client, alone or with a PING.
const CLIENT_RESETS: [u16; 2] = [13, 30];
/// Frames that are no data and need not stop after a reset.
const NO_DATA: [u16; 6] = [9, 13, 17, 26, 34, 39];
/// SETTINGS ACK, alone or joined with SETTINGS or WINDOW_UPDATE.
const ACKS: [u16; 5] = [9, 18, 22, 31, 35];
/// The server's SETTINGS are shorter than this.
const SETTINGS_BELOW: u16 = 120;
/// Servers send no more session tickets than this (RFC 8446, 4.6.1).
const TICKETS_MAX: u8 = 4;
/// HEADERS of a response in a record of their own, compressed.
const HEADERS: std::ops::RangeInclusive<u16> = 30..=130;
/// What may be HEADERS that HPACK does not know yet is no longer than this.
const HEADERS_ALONE_MAX: u16 = 150;
/// Records of one response in one piece come within this.
const UNIT_GAP: Nanos = Nanos::from_millis(4);
/// DATA follow HEADERS of the same length as some grants of window within this.
const HEADERS_GAP: Nanos = Nanos::from_millis(2);
/// A mark follows the last data within this; more than that, and it ended something else.
const MARK_GAP: Nanos = Nanos::from_millis(12);
/// Window is granted within a round trip and this.
const GRANT_WITHIN: Nanos = Nanos::from_millis(30);
/// What is answered has to arrive: a frame this soon after a request was on its way before.
const CROSSING: Nanos = Nanos::from_micros(500);
/// A client that has several requests running may soon have so again.
const OVERLAPS_FOR: Nanos = Nanos::from_secs(5);
/// A server grants window for the connection when half of the initial 65,535 bytes are used at the
/// latest (RFC 9113, 6.9.2), and with it any request may seem to be reset.
const WINDOW_HALF: u32 = 32_000;
/// A response that has been silent for this long when the next request follows is over, where ends
/// are not marked, and where that is not known.
const QUIET: Nanos = Nanos::from_millis(20);
const QUIET_UNKNOWN: Nanos = Nanos::from_millis(60);
/// A joined request and its repeat differ by no more than a retry counter and what HPACK makes of it.
const AGAIN_BYTES: u32 = 16;
/// A client that has sent so many requests and waited for every response does so as a rule.
const WAITED_MIN: u16 = 4;
/// The same for one of several responses, in one piece and streamed.
const QUIET_PLAIN: Nanos = Nanos::from_millis(60);
const QUIET_AMONG: Nanos = Nanos::from_millis(1200);

impl Connection {
    /// The shortest round trip so far.
    pub(super) fn meet(&mut self, rtt: Nanos) {
        self.rtt = rtt;
    }

    /// A connection that has just shown itself to be HTTP/2.
    pub(super) fn begin(&mut self, rtt: Nanos, midway: bool) {
        debug_assert!(self.open.is_empty(), "the connection before has ended");
        // In the middle both sides' settings are long past.
        let (settings_seen, ack_seen) = (midway, midway);
        *self = Self { rtt, midway, settings_seen, ack_seen, ..Self::default() };
    }

    /// Its first records were met before; `answered`: the server had begun to send as well.
    pub(super) fn adopt(&mut self, at: Nanos, bytes: u32, answered: bool) {
        self.first_at = Some(at);
        self.settings_seen |= answered;
        self.splitter.adopt(at, bytes);
    }

    /// A record of the client.
    pub(super) fn client_record(&mut self, length: u16, at: Nanos, scene: &mut Scene<'_>) {
        self.first_at = self.first_at.or(Some(at));
        match self.splitter.record(length, at) {
            Sent::Nothing => {}
            Sent::Control => {
                if CLIENT_RESETS.contains(&length) {
                    self.client_reset(at, scene);
                }
            }
            Sent::Request(request) => self.request(&request, at, scene),
            Sent::More(length) => {
                if let Some(latest) = self.open.last_mut() {
                    latest.more(length, at);
                }
            }
        }
    }

    /// A record of the server.
    pub(super) fn server_record(&mut self, length: u16, at: Nanos, scene: &mut Scene<'_>) {
        if self.is_preface(length, at) {
            return;
        }
        let no_data = [UPDATE_OR_RESET, GOAWAY, TWO_UPDATES].contains(&length);
        if no_data {
            self.short_at = at;
        }
        if let Some((before, length)) = self.perhaps_grants.take()
            && at.since(before) < HEADERS_GAP
            && !no_data
        {
            self.data(length, before, scene);
        }
        if let Some(request) = self.splitter.answered(at, self.rtt, no_data) {
            self.request(&request, at, scene);
        }
        match length {
            EMPTY => self.end_stream(at, scene),
            UPDATE_OR_RESET => self.update_or_reset(at, scene),
            TWO_UPDATES => {
                self.update_or_reset(at, scene);
                self.update_or_reset(at, scene);
            }
            GOAWAY | 0..=8 => {}
            _ if self.are_grants(length, at) => self.perhaps_grants = Some((at, length)),
            _ => self.data(length, at, scene),
        }
        self.last_server = at;
    }

    /// A record of the server that came after the client had closed: proof that a response was
    /// under way, unless it is the mark alone.
    pub(super) fn late_record(&mut self, length: u16, at: Nanos, scene: &mut Scene<'_>) {
        match &mut self.open[..] {
            [lone] if length == EMPTY && lone.late_records == 0 && lone.down_records > 0 => {
                self.end_stream(at, scene);
            }
            [.., latest] if length > EMPTY && !NO_DATA.contains(&length) => {
                latest.late_records = latest.late_records.saturating_add(1);
            }
            _ => {}
        }
    }

    /// Opens what was kept back for long enough, and ends what was silent for long enough.
    pub(super) fn due(&mut self, at: Nanos, scene: &mut Scene<'_>) {
        if let Some(request) = self.splitter.due(at) {
            self.request(&request, at, scene);
        }
        self.end_silent(at, scene);
    }

    /// Opens what is kept back: nothing will follow it.
    pub(super) fn flush(&mut self, scene: &mut Scene<'_>) {
        if let Some(request) = self.splitter.close() {
            self.request(&request, request.last, scene);
        }
    }

    /// Ends every open stream: the connection is over.
    pub(super) fn end_all(&mut self, ending: Ending, at: Nanos, scene: &mut Scene<'_>) {
        let why = match ending {
            Ending::ClientClosed => StreamEnding::ClientClosed,
            Ending::ServerClosed | Ending::ServerReset => StreamEnding::ServerClosed,
            _ => StreamEnding::Gone,
        };
        let orderly = ending == Ending::ServerClosed;
        let was_under_way =
            self.open.iter().any(|s| s.late_records > 0 || (!s.alone && s.down_records == 0));
        while let Some(&stream) = self.open.last() {
            // A client that grants window again and again has not reset as many streams.
            let left = u16::try_from(self.open.len()).unwrap_or(u16::MAX);
            let marks = scene.habit.marks(&stream);
            let (mut ending, mut ended) = stream.resolve(why, at, marks);
            if is_orderly(orderly, &stream, marks) {
                (ending, ended) = (StreamEnding::Quiet, stream.last_down);
            }
            let silent = at.since(stream.last_down) > QUIET_AMONG;
            let unknown = marks != Some(true) && stream.is_streamed() && stream.alone;
            if silent && (stream.is_whole() || unknown) {
                scene.habit.ended(stream.is_streamed(), false);
            }
            if marks == Some(true) && !stream.alone && ending == why {
                if (1..=left).contains(&self.cancelled) && why != StreamEnding::Gone {
                    self.cancelled -= 1;
                    ending = StreamEnding::ClientReset;
                } else if why == StreamEnding::ClientClosed && stream.is_whole() {
                    (ending, ended) = (StreamEnding::Quiet, stream.last_down);
                } else if why == StreamEnding::ClientClosed && !was_under_way {
                    // Nothing was on its way to a client that left in peace: its mark was lost to a
                    // reset in front of other frames.
                    (ending, ended) = (StreamEnding::ServerReset, self.last_server);
                }
            }
            if ending == why && self.was_answered_unseen(&stream, why, at) {
                (ending, ended) = (StreamEnding::Quiet, self.last_server);
            }
            self.finish(self.open.len() - 1, ending, ended, scene);
        }
    }

    /// A client gives a stream up with RST_STREAM (RFC 9113, 6.4). One that reset none, and closes
    /// when all has long been silent, has had the response, among those of others.
    fn was_answered_unseen(&self, stream: &Stream, why: StreamEnding, at: Nanos) -> bool {
        why == StreamEnding::ClientClosed
            && !stream.alone
            && stream.down_records == 0
            && self.cancelled == 0
            && self.last_server > stream.last_up
            && at.since(self.last_server) > QUIET_AMONG
    }

    /// Ends streams that were reset, and nothing followed since `silent_since`.
    pub(super) fn end_reset(&mut self, silent_since: Nanos, scene: &mut Scene<'_>) {
        for place in (0..self.open.len()).rev() {
            let stream = self.open[place];
            // A model may think for longer than this: before any response it may have been a grant of
            // window.
            let by_server = stream.server_reset.filter(|_| stream.down_records > 0);
            let reset = stream.client_reset.or(by_server);
            if reset.is_some_and(|reset| reset.max(stream.last_down) <= silent_since) {
                let marks = scene.habit.marks(&stream);
                let (ending, at) = stream.resolve(StreamEnding::Running, silent_since, marks);
                if ending != StreamEnding::Running {
                    self.finish(place, ending, at, scene);
                }
            }
        }
    }

    /// Whether a stream may have been reset, so that silence would end it.
    pub(super) fn suspects_reset(&self) -> bool {
        self.open.iter().any(|stream| stream.client_reset.or(stream.server_reset).is_some())
    }

    /// The stream `id` as it stands.
    pub(super) fn facts(
        &self,
        id: ExchangeId,
        flow: FlowId,
        habit: Option<&Habit>,
    ) -> Option<StreamFacts> {
        let stream = *self.open.iter().find(|stream| stream.id == id)?;
        let marked = habit.and_then(|habit| habit.marks(&stream));
        let (ending, ended) = stream.resolve(StreamEnding::Running, self.last_server, marked);
        let Self { rtt, midway, .. } = *self;
        let unit = Unit::default();
        Some(StreamFacts { stream, flow, endpoint: None, ending, ended, unit, marked, rtt, midway })
    }

    /// Whether a server record is of the server's preface: its SETTINGS and the ACK of the client's.
    fn is_preface(&mut self, length: u16, at: Nanos) -> bool {
        let soon = self
            .first_at
            .is_none_or(|first| at <= first + self.rtt + nearly(self.rtt) + Nanos::from_millis(30));
        let answered = self.tail[1].1 > 0;
        // However late: no response begins with an empty frame.
        let is_ack = length == EMPTY || (soon && ACKS.contains(&length));
        if !self.ack_seen && !answered && is_ack {
            self.ack_seen = true;
            return true;
        }
        if !self.settings_seen && (EMPTY + 1..SETTINGS_BELOW).contains(&length) {
            self.settings_seen = true;
            return true;
        }
        // Nothing of HTTP/2 comes before SETTINGS (RFC 9113, 3.4): session tickets.
        let too_long = length >= SETTINGS_BELOW;
        let begun = self.settings_seen || self.ack_seen;
        let is_ticket = !begun && too_long && self.tickets < TICKETS_MAX;
        self.tickets += u8::from(is_ticket);
        is_ticket
    }

    /// The client has sent several requests, and each when the response before was over.
    fn always_waits(&self) -> bool {
        self.overlapped.is_none() && self.requests > WAITED_MIN
    }

    fn overlaps(&self, at: Nanos) -> bool {
        self.overlapped.is_some_and(|then| at.since(then) < OVERLAPS_FOR)
    }

    fn request(&mut self, request: &Request, now: Nanos, scene: &mut Scene<'_>) {
        self.end_before_request(request, scene);
        self.requests = self.requests.saturating_add(1);
        let id = ExchangeId(*scene.next);
        let alone = self.open.is_empty();
        if self.open.iter().any(|stream| stream.down_records == 0) {
            self.overlapped = Some(request.start);
        }
        self.uploaded = self.uploaded.saturating_add(request.bytes);
        if !self.open.push(Stream::new((id, scene.endpoint), request, alone), scene.rooms) {
            *scene.refused += 1;
            return;
        }
        *scene.next += 1;
        if !alone {
            self.open.iter_mut().for_each(|stream| stream.alone = false);
        }
        debug_assert!(request.start <= now, "a request is known when its first record is");
        let Scene { flow, endpoint, .. } = *scene;
        scene.edges.push(MuxEdge::Opened { id, flow, endpoint, at: request.start });
    }

    /// Ends what must have been over before a request.
    fn end_before_request(&mut self, request: &Request, scene: &mut Scene<'_>) {
        let at = request.start;
        if let [lone] = self.open[..] {
            let marks = scene.habit.marks(&lone);
            let silent = at.since(lone.last_down);
            let quiet = match marks {
                Some(true) if !self.overlaps(at) && !scene.habit.is_sure(lone.is_streamed()) => {
                    Nanos::ZERO
                }
                Some(true) if lone.is_plain() && !scene.habit.is_settled(false) => QUIET_UNKNOWN,
                Some(true) => QUIET_AMONG,
                // A client that has waited for every response so far has waited for this one.
                Some(false) if !self.overlaps(at) => Nanos::ZERO,
                None if !self.overlaps(at) => Nanos::ZERO,
                Some(false) => QUIET,
                None => QUIET_UNKNOWN,
            };
            // Who asks for the same again has had a response that was none: an edge may put END_STREAM on
            // its own error pages, and mark what it passes on.
            // HEADERS alone begin a response as well, to a client that may want several of one kind.
            let whole = lone.down_records > 1 || lone.first_length > HEADERS_ALONE_MAX;
            let whole = lone.is_whole() && (whole || self.always_waits());
            let again = whole && silent > QUIET && is_same_request(&lone, request);
            let over = lone.client_reset.is_some()
                || (lone.server_reset.is_some() && silent > QUIET)
                || (lone.down_records > 0 && silent > quiet)
                || again;
            if over {
                let (ending, ended) = lone.resolve(StreamEnding::Quiet, at, marks);
                let ended = if ending == StreamEnding::Quiet { lone.last_down } else { ended };
                if ending == StreamEnding::Quiet && lone.alone {
                    self.succeeded = Some(lone);
                }
                self.finish(0, ending, ended, scene);
            }
        } else if scene.habit.marks_the_end(true) == Some(true)
            && at.since(self.last_server) > QUIET_AMONG
        {
            while self.cancelled > 0 && !self.open.is_empty() {
                self.cancelled -= 1;
                self.finish(
                    self.open.len() - 1,
                    StreamEnding::ClientReset,
                    self.last_server,
                    scene,
                );
            }
        }
    }

    /// Where ends are not marked, one of several responses ends by falling silent.
    fn end_silent(&mut self, now: Nanos, scene: &mut Scene<'_>) {
        if self.open.len() < 2 {
            return;
        }
        for place in (0..self.open.len()).rev() {
            let stream = self.open[place];
            let quiet = match scene.habit.marks(&stream) {
                Some(true) => continue,
                Some(false) if !stream.is_streamed() => QUIET_PLAIN,
                Some(false) | None => QUIET_AMONG,
            };
            if stream.down_records > 1 && now.since(stream.last_down) > quiet {
                scene.habit.ended(stream.is_streamed(), false);
                self.finish(place, StreamEnding::Quiet, stream.last_down, scene);
            }
        }
    }

    fn client_reset(&mut self, at: Nanos, scene: &mut Scene<'_>) {
        let grants = self.grants > 0;
        match &mut self.open[..] {
            [] => {}
            [lone] if at > lone.last_up + CROSSING => {
                lone.client_reset = Some(at);
                lone.client_grants = grants;
            }
            [_] => {}
            _ => {
                self.cancelled = self.cancelled.saturating_add(1);
                scene.edges.push(MuxEdge::MaybeReset { flow: scene.flow, at });
            }
        }
    }

    /// Data of the server: of the one open stream, of the one that the record just before was of,
    /// or of the one that has the least so far.
    fn data(&mut self, length: u16, at: Nanos, scene: &mut Scene<'_>) {
        let rtt = self.rtt;
        let begun = |stream: &&Stream| at.since(stream.last_up) >= nearly(rtt);
        if let Some(before) = self.succeeded.take() {
            // What comes before anything can be answered is of the response before.
            let beside = !self.open.iter().any(|stream| begun(&stream));
            if beside {
                self.overlapped = Some(at);
            } else if at.since(before.last_down) > before.pause() {
                scene.habit.ended(before.is_streamed(), false);
            }
        }
        let opens = self.may_open(length);
        self.end_given_up(opens, at, scene);
        let may_begin = HEADERS.contains(&length) && scene.habit.marks_the_end(true) != Some(true);
        let together = at.since(self.tail[1].0) < UNIT_GAP;
        // What follows HEADERS at once is their DATA, however short.
        let goes_on = |s: &&Stream| !may_begin || s.is_headers(HEADERS);
        let latest = self.open.iter().find(|s| together && s.id == self.latest);
        let same = latest.filter(goes_on).map(|s| s.id);
        let least = |over: bool, opens: bool| {
            let goes_on = |s: &Stream| opens || s.down_records > 0;
            let fits = |s: &&Stream| begun(s) && goes_on(s) && over == is_over(s, at, scene.habit);
            self.open.iter().filter(fits).min_by_key(|s| s.down_bytes).map(|s| s.id)
        };
        let of_any = || least(false, true).or_else(|| least(true, true));
        let id = same.or_else(|| least(false, opens)).or_else(of_any);
        if let Some(stream) = self.open.iter_mut().find(|stream| Some(stream.id) == id) {
            self.latest = stream.id;
            if stream.down_records == 0 && stream.alone {
                let longer = usize::from(!HEADERS.contains(&length));
                self.opened[longer] = self.opened[longer].saturating_add(1);
            }
            if stream.down_records == 0 && stream.alone && !stream.first {
                scene.habit.answered(stream.granted);
            }
            let suspect = stream.client_reset.is_some();
            stream.data(length, at, rtt);
            self.grants += u16::from(suspect && stream.client_reset.is_none() && self.grants < 9);
        }
        self.tail = [self.tail[1], (at, length)];
    }

    /// A RST_STREAM in one record with the next request, of a client that has waited for every response
    /// so far: the response that was under way falls silent when what was on its way has come, and
    /// the next record is of the other.
    fn end_given_up(&mut self, opens: bool, at: Nanos, scene: &mut Scene<'_>) {
        let [under_way, next] = self.open[..] else { return };
        let pause = under_way.pause();
        let silent = under_way.down_records > 0 && at.since(under_way.last_down) > pause + pause;
        // A server that is at work sees the reset an event later.
        let in_time = under_way.last_down <= on_its_way(next.start, self.rtt) + pause;
        let marked = scene.habit.marks(&under_way) == Some(true);
        let begins = opens && next.down_records == 0 && !self.overlaps(at);
        let stopped = under_way.is_streamed() || self.always_waits();
        if silent && in_time && marked && begins && stopped {
            self.finish(0, StreamEnding::ClientReset, next.start, scene);
            self.open.iter_mut().for_each(|next| next.alone = true);
        }
    }

    /// Whether a record of this length may be the first of a response: HEADERS, where the responses of
    /// this connection have begun with a record of HEADERS alone.
    fn may_open(&self, length: u16) -> bool {
        let [apart, joined] = self.opened;
        apart == 0 || joined > 0 || HEADERS.contains(&length)
    }

    /// The mark: of the one open stream, of the one whose whole response has just come, or of the
    /// oldest that has data.
    fn end_stream(&mut self, at: Nanos, scene: &mut Scene<'_>) {
        if let Some(before) = self.succeeded
            && !self.open.iter().any(|s| at.since(s.last_up) >= nearly(self.rtt))
        {
            (self.succeeded, self.overlapped) = (None, Some(at));
            scene.habit.ended(before.is_streamed(), true);
            return;
        }
        if let [lone] = &mut self.open[..]
            && lone.down_records == 0
            && at.since(self.short_at) < UNIT_GAP
        {
            // What ends has begun: with HEADERS that HPACK knew all of.
            lone.data(UPDATE_OR_RESET, self.short_at, self.rtt);
        }
        let just_now = at.since(self.tail[1].0) <= MARK_GAP;
        let whole = |s: &Stream| {
            just_now && s.id == self.latest && s.is_whole() && scene.habit.marks(s) != Some(false)
        };
        let marked = |s: &Stream| scene.habit.marks(s) != Some(false);
        let answered = || self.open.iter().position(|s| s.down_records > 0 && marked(s));
        let place = self.open.iter().position(whole).or_else(answered).unwrap_or(0);
        if let Some(stream) = self.open.get(place) {
            if stream.down_records > 0 {
                scene.habit.ended(stream.is_streamed(), true);
            }
            self.finish(place, StreamEnding::EndStream, at, scene);
        }
    }

    /// Several WINDOW_UPDATEs in one record, for the bodies of several requests: two for each at most,
    /// a round trip after the last of them.
    fn are_grants(&self, length: u16, at: Nanos) -> bool {
        let frames = usize::from(length / UPDATE_OR_RESET);
        let fits = |s: &Stream| at.since(s.last_up) <= self.rtt + GRANT_WITHIN;
        length.is_multiple_of(UPDATE_OR_RESET)
            && self.open.len() > 1
            && (3..=2 * self.open.len()).contains(&frames)
            && self.open.iter().any(fits)
    }

    fn update_or_reset(&mut self, at: Nanos, scene: &mut Scene<'_>) {
        let (soonest, latest) = (nearly(self.rtt), self.rtt + GRANT_WITHIN);
        let fresh = |stream: &&mut Stream| {
            let age = at.since(stream.last_up);
            !stream.granted && (soonest..=latest).contains(&age)
        };
        let grants = scene.habit.grants_window();
        if let Some(stream) = self.open.iter_mut().find(fresh) {
            stream.granted = true;
            if grants {
                return;
            }
        }
        let fits = self.open.iter().any(|s| (soonest..=latest).contains(&at.since(s.last_up)));
        if !grants && fits && self.uploaded >= WINDOW_HALF {
            self.uploaded = 0;
            return;
        }
        let marks = scene.habit.marks_the_end(true);
        match &mut self.open[..] {
            [] => {}
            [lone] => {
                let earliest = if grants { latest } else { soonest };
                if at <= lone.last_up + earliest {
                    return;
                }
                if self.bare && lone.down_records == 0 {
                    lone.data(UPDATE_OR_RESET, at, self.rtt);
                } else {
                    lone.server_reset = Some(at);
                }
            }
            _ if marks != Some(true) => {}
            // Several grants may answer one request.
            several if grants && several.iter().any(|s| at <= s.last_up + latest) => {}
            several => {
                let begun = several.iter().rposition(|stream| at > stream.last_up + soonest);
                if let Some(place) = begun {
                    self.finish(place, StreamEnding::ServerReset, at, scene);
                }
            }
        }
    }

    fn finish(&mut self, place: usize, ending: StreamEnding, at: Nanos, scene: &mut Scene<'_>) {
        let stream = self.open.remove(place, scene.rooms);
        if ending == StreamEnding::ServerReset && stream.alone && stream.down_records == 0 {
            scene.habit.refused(stream.granted);
        }
        self.bare |= ending == StreamEnding::Quiet
            && stream.alone
            && stream.down_records == 1
            && stream.down_bytes <= (*HEADERS.end()).into();
        let Self { rtt, midway, .. } = *self;
        scene.edges.push(MuxEdge::Ended(StreamFacts {
            stream,
            flow: scene.flow,
            endpoint: stream.endpoint,
            ending,
            ended: at.max(stream.last_up),
            unit: if ending == StreamEnding::EndStream { self.unit(at) } else { Unit::default() },
            marked: scene.habit.marks(&stream),
            rtt,
            midway,
        }));
    }

    /// What came directly before the mark.
    fn unit(&self, mark: Nanos) -> Unit {
        let [(before_at, headers), (last_at, data)] = self.tail;
        if mark.since(last_at) > MARK_GAP {
            return Unit::default();
        }
        let together = last_at.since(before_at) < UNIT_GAP;
        Unit { headers: if together { headers } else { 0 }, data }
    }
}

/// Whether a request asks for the same as the one of `stream`, on its connection.
fn is_same_request(stream: &Stream, request: &Request) -> bool {
    let by = if request.joined { AGAIN_BYTES } else { 0 };
    let spelt_out = stream.first && stream.joined;
    !spelt_out && stream.joined == request.joined && stream.up_bytes.abs_diff(request.bytes) <= by
}

/// A server that closes behind a response in one piece, in answer to none, has sent all of it: so
/// ends a connection that it had given notice of (GOAWAY; RFC 9113, 6.8).
fn is_orderly(closed: bool, stream: &Stream, marks: Option<bool>) -> bool {
    closed && stream.alone && stream.is_whole() && marks != Some(true)
}

/// A response in one piece that has come, from a server that does not mark its end.
fn is_over(stream: &Stream, at: Nanos, habit: &Habit) -> bool {
    let unmarked = habit.marks(stream) == Some(false);
    unmarked && stream.is_whole() && at.since(stream.last_down) > QUIET
}
