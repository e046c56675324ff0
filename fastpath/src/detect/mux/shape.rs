//! What error answers of a server look like over HTTP/2, learnt from streams that ran alone. HPACK
//! compresses headers differently on every edge, so what is compared is the data behind them.
//!
//! The measured rules are the prior. Lengths are kept as cluster centres of a server, never as a
//! sequence (docs/privacy.md).

use std::ops::RangeInclusive;

use super::super::clusters::Clusters;
use crate::detect::failure::{LLM_BYTES_MAX, PAGE_BYTES_MAX};
use crate::exchange::mux::{Stream, StreamEnding, StreamFacts};
use crate::lru::Reuse;
use crate::policy::endpoint::Class;
use crate::policy::learnt::LearntHttp2;
use crate::time::Nanos;

/// What is known of one server.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shapes {
    /// HEADERS in a record of their own, in front of an answer in one piece and of a stream. Before
    /// a stream they may have its first event with them.
    headers: Clusters,
    stream_headers: Clusters,
    /// DATA of answers that were error-shaped.
    errors: Clusters,
    /// DATA of ordinary plain answers that came nearly as soon as errors do.
    quick: Clusters,
    /// DATA of plain answers that came at once, whatever they were: a size that recurs is a canned
    /// answer.
    prompt: Clusters,
    /// Its endpoint has been asked for what is known.
    met: bool,
}

/// An answer that may yet turn out to be an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Suspect {
    /// Bytes of it, and of its HEADERS if they had a record of their own.
    bytes: u32,
    headers: Option<u32>,
    /// It ran alone.
    pub(super) alone: bool,
}

/// Two answers this close are the same answer: a request id, a date.
const SAME_BYTES: u32 = 8;
/// Headers of one kind of answer differ by this much.
const HEADERS_BYTES: u32 = 16;
/// HEADERS in a record of their own are no longer than this.
const HEADERS_MAX: u16 = 800;
/// An error of this size has occurred so often before, and a prompt answer has.
const KNOWN_MIN: u32 = 2;
const CANNED_MIN: u32 = 3;
/// The longest error answer of embeddings, headers included.
const EMBEDDING_BYTES_MAX: u32 = 700;
/// Nearly every error fits in so much DATA, and no answer of a model does: the second behind edges
/// that send headers in full, whose models answer in envelopes of half a kilobyte.
const ERROR_DATA: RangeInclusive<u32> = 31..=260;
const ERROR_DATA_OF_FULL_HEADERS: RangeInclusive<u32> = 31..=440;
const FULL_HEADERS_MIN: u32 = 600;
/// HEADERS in front of an error among others are longer than this.
const FRONT_MIN: u16 = 29;
/// The same in one record with headers that are not known: compressed, or sent in full.
const WHOLE_ERROR: RangeInclusive<u32> = 700..=1200;
/// The longest error answer of a model that came at once: its DATA, or all of it where headers are
/// not known. HTTP/1.1 has more room for headers ([`failure::LLM_BYTES_MAX`]).
///
/// [`failure::LLM_BYTES_MAX`]: crate::detect::failure::LLM_BYTES_MAX
const ERROR_DATA_MAX: u32 = 700;
const ERROR_BYTES_MAX: u32 = 1200;
/// HEADERS and DATA of an error in one record, and a response without any DATA: no model, and no
/// embedding, answers in so little, whatever it takes.
const TOO_SHORT: u32 = 260;
/// The same of DATA alone.
const TOO_SHORT_DATA: u32 = 240;
/// One in so many prompt answers of a tool that have one size is no coincidence.
const CANNED_SHARE: u32 = 16;
/// DATA of a tool's answer that is neither a line of JSON nor an error page.
const TOOL_ANSWER: RangeInclusive<u32> = TOO_SHORT_DATA + 1..=2200;
/// HEADERS take this much of it at least, once HPACK knows them.
const TOO_SHORT_AMONG: RangeInclusive<u32> = 150..=260;
/// A model needs longer than an error takes for a page of text, and proxies send none longer.
const PAGE: RangeInclusive<u32> = LLM_BYTES_MAX + 1..=PAGE_BYTES_MAX;
/// HEADERS alone are no longer than this, even the first of a connection.
const BODILESS_MAX: u32 = 480;
/// An error is known at once; a model has to think.
const SERVICE_TIME_MAX: Nanos = Nanos::from_millis(75);
/// For what is too short to be anything else; what takes no longer is quick.
const SHORT_SERVICE_TIME_MAX: Nanos = Nanos::from_millis(150);
/// For a size that errors of this server have had.
const KNOWN_SERVICE_TIME_MAX: Nanos = Nanos::from_secs(1);
/// Vectors of numbers that are written out differ by this part of their length.
const VECTOR_PART: u32 = 16;
/// An answer in one piece comes within this, in so many records.
const SPAN_MAX: Nanos = Nanos::from_millis(50);
const RECORDS_MAX: u16 = 3;

impl Reuse for Shapes {}

impl Shapes {
    pub(super) fn export(&self) -> LearntHttp2 {
        LearntHttp2 {
            headers: self.headers.export(),
            errors: self.errors.export(),
            stream_headers: self.stream_headers.export(),
            quick: self.quick.export(),
            prompt: self.prompt.export(),
            ..LearntHttp2::default()
        }
    }

    /// What the policy says of a server's endpoint is what learning begins with.
    pub(super) fn meet(&mut self, learnt: Option<&LearntHttp2>) {
        if let Some(learnt) = learnt.filter(|_| !self.met) {
            self.headers.import(&learnt.headers);
            self.errors.import(&learnt.errors);
            self.stream_headers.import(&learnt.stream_headers);
            self.quick.import(&learnt.quick);
            self.prompt.import(&learnt.prompt);
        }
        self.met = true;
    }

    /// Whether a response that has come to its end is error-shaped. A tool's is only by a size that
    /// recurs: any size, at any speed, can be an ordinary answer.
    pub(super) fn is_error(&self, facts: &StreamFacts, class: Class) -> bool {
        match class {
            Class::Tool => facts.stream.alone && self.is_canned_by_a_tool(facts),
            Class::Llm | Class::Embedding if facts.stream.alone => self.is_lone_error(facts, class),
            Class::Embedding => {
                let small = facts.stream.down_bytes <= EMBEDDING_BYTES_MAX;
                small && facts.stream.down_records > 0 && facts.stream.down_records <= RECORDS_MAX
            }
            Class::Llm => self.is_error_unit(facts),
        }
    }

    /// A response that has come to its end and that nothing speaks against yet: alone, as prompt as
    /// errors are, and of a size that is not known as ordinary; of a tool among others, short.
    pub(super) fn suspect(&self, facts: &StreamFacts, class: Class) -> Option<Suspect> {
        let (data, alone) = (self.data(facts), facts.stream.alone);
        // Vectors of one model are of one length, so what has another may take longer.
        let within = match class == Class::Embedding && !self.is_vector(data) {
            true => SHORT_SERVICE_TIME_MAX,
            false => SERVICE_TIME_MAX,
        };
        let prompt = facts.service_time().is_some_and(|time| time < within);
        let may_be = match alone {
            true => prompt && facts.stream.down_bytes <= PAGE_BYTES_MAX,
            false => class == Class::Tool,
        };
        let usual = self.quick.near(data, SAME_BYTES) >= KNOWN_MIN
            || (class == Class::Tool && TOOL_ANSWER.contains(&data));
        (may_be && is_complete(facts) && is_in_one_piece(facts) && !usual).then_some(Suspect {
            bytes: facts.stream.down_bytes,
            headers: own_headers(&facts.stream),
            alone,
        })
    }

    /// Whether a suspect has the size of errors: of those that are known, or among others of several
    /// short answers beside longer ones.
    pub(super) fn recurs_as_error(&self, suspect: Suspect) -> bool {
        let data = self.data_of(suspect);
        let near = self.prompt.near(data, SAME_BYTES);
        let stands_out = near >= CANNED_MIN && 2 * near <= self.prompt.total();
        self.is_known_error(data) || (!suspect.alone && stands_out)
    }

    /// The sequel showed that a suspect was an error.
    pub(super) fn learn_error(&mut self, suspect: Suspect) {
        let data = self.data_of(suspect);
        (0..KNOWN_MIN).for_each(|_| self.errors.add(data, SAME_BYTES));
    }

    /// Learns from a response that has come to its end.
    pub(super) fn learn(&mut self, facts: &StreamFacts, class: Class, error: bool) {
        let seen = &facts.stream;
        if !is_complete(facts) || seen.down_records == 0 {
            return;
        }
        if !seen.alone {
            // How soon it came is not known there.
            if class == Class::Tool && is_in_one_piece(facts) {
                self.learn_headers(facts);
                self.prompt.add(self.data(facts), SAME_BYTES);
            }
            return;
        }
        self.learn_headers(facts);
        if is_in_one_piece(facts) {
            let data = self.data(facts);
            if facts.service_time().is_some_and(|time| time < SERVICE_TIME_MAX) {
                self.prompt.add(data, SAME_BYTES);
            }
            let quick = facts.service_time().is_some_and(|time| time < SHORT_SERVICE_TIME_MAX);
            if error {
                self.errors.add(data, SAME_BYTES);
            } else if quick {
                self.quick.add(data, SAME_BYTES);
            }
        }
    }

    fn learn_headers(&mut self, facts: &StreamFacts) {
        let seen = &facts.stream;
        if seen.down_records >= 2 && seen.first_length <= HEADERS_MAX {
            let of = if seen.is_plain() { &mut self.headers } else { &mut self.stream_headers };
            of.add(seen.first_length.into(), HEADERS_BYTES);
        }
    }

    fn is_lone_error(&self, facts: &StreamFacts, class: Class) -> bool {
        if !is_in_one_piece(facts) {
            return false;
        }
        let data = self.data(facts);
        let within = |limit| facts.service_time().is_some_and(|time| time < limit);
        let bytes = facts.stream.down_bytes;
        let small = match class {
            Class::Llm => {
                let known = self.headers(facts).is_some();
                let limit = if known { ERROR_DATA_MAX } else { ERROR_BYTES_MAX };
                let has_body = !facts.stream.joined || facts.stream.up_bytes > BODILESS_MAX;
                (data <= limit && within(SERVICE_TIME_MAX))
                    || (has_body && PAGE.contains(&data) && within(SERVICE_TIME_MAX))
                    || (known && ERROR_DATA.contains(&data) && within(SHORT_SERVICE_TIME_MAX))
            }
            Class::Embedding | Class::Tool => {
                bytes <= EMBEDDING_BYTES_MAX && within(SERVICE_TIME_MAX)
            }
        };
        if self.is_too_short(facts, data) && within(KNOWN_SERVICE_TIME_MAX) {
            return true;
        }
        let canned = within(SERVICE_TIME_MAX) && self.prompt.near(data, SAME_BYTES) >= CANNED_MIN;
        (self.is_known_error(data) && within(KNOWN_SERVICE_TIME_MAX))
            || ((small || canned) && !self.is_ordinary(data))
    }

    /// Less than any model or embedding answers in.
    fn is_too_short(&self, facts: &StreamFacts, data: u32) -> bool {
        match facts.stream.down_records {
            1 => facts.stream.down_bytes <= TOO_SHORT,
            _ => self.headers(facts).is_some() && data <= TOO_SHORT_DATA,
        }
    }

    /// An answer of a tool that has come at once, of the size of its errors, or short and of one size
    /// again and again.
    fn is_canned_by_a_tool(&self, facts: &StreamFacts) -> bool {
        let prompt = facts.service_time().is_some_and(|time| time < SERVICE_TIME_MAX);
        let data = self.data(facts);
        let near = self.prompt.near(data, SAME_BYTES);
        let recurs = near >= KNOWN_MIN && near * CANNED_SHARE >= self.prompt.total();
        let canned = recurs && facts.stream.down_bytes <= TOO_SHORT;
        is_in_one_piece(facts) && prompt && (canned || self.is_known_error(data))
    }

    /// Among others the time a response took is not known: its shape alone decides.
    fn is_error_unit(&self, facts: &StreamFacts) -> bool {
        let (front, data) = (facts.unit.headers, u32::from(facts.unit.data));
        let Some(headers) = self.headers.commonest() else {
            return (WHOLE_ERROR.contains(&data) && !self.compresses_headers())
                || (front == 0 && TOO_SHORT_AMONG.contains(&data))
                || (front > FRONT_MIN && ERROR_DATA.contains(&data))
                || self.is_known_error(data);
        };
        let is_error = |data| error_data(headers).contains(&data) || self.is_known_error(data);
        let full = headers >= FULL_HEADERS_MIN;
        match full && headers.abs_diff(front.into()) > HEADERS_BYTES {
            true => is_error(data.saturating_sub(headers)),
            // HEADERS of others may stand between: a size that errors have had is enough.
            false => self.is_known_error(data) || (front > FRONT_MIN && is_error(data)),
        }
    }

    /// What this server has sent in one record with its headers is too short for headers in full.
    fn compresses_headers(&self) -> bool {
        let mut whole = self.stream_headers.iter().chain(self.errors.iter());
        whole.any(|(length, _)| length < FULL_HEADERS_MIN)
    }

    fn is_known_error(&self, data: u32) -> bool {
        self.errors.near(data, SAME_BYTES) >= KNOWN_MIN
    }

    /// At least two ordinary answers were no longer, and came as quickly.
    fn is_ordinary(&self, data: u32) -> bool {
        let shorter = self.quick.iter().filter(|(size, _)| *size <= data + data / 20);
        shorter.map(|(_, count)| u32::from(count)).sum::<u32>() >= 2
    }

    /// DATA of a response in one piece by which its tokens are counted: headers are those of
    /// streams, if no others are known.
    pub(super) fn counted(&self, facts: &StreamFacts) -> u32 {
        let headers = self.headers(facts).or_else(|| self.stream_headers.commonest());
        facts.stream.down_bytes.saturating_sub(headers.unwrap_or(0))
    }

    /// DATA of a response in one piece, as far as it can be told from its headers.
    fn data(&self, facts: &StreamFacts) -> u32 {
        facts.stream.down_bytes.saturating_sub(self.headers(facts).unwrap_or(0))
    }

    /// The same of a suspect, by what is known of headers since it came.
    fn data_of(&self, suspect: Suspect) -> u32 {
        let headers = suspect.headers.or_else(|| self.headers.commonest());
        suspect.bytes.saturating_sub(headers.unwrap_or(0))
    }

    /// One or several vectors of the usual length; or nobody knows the usual one.
    fn is_vector(&self, data: u32) -> bool {
        let usual = self.quick.iter().filter(|&(_, count)| u32::from(count) >= KNOWN_MIN);
        let mut lengths = usual.map(|(length, _)| length.max(1)).peekable();
        let several = |length: u32| {
            let over = data % length;
            over.min(length - over) <= length / VECTOR_PART
        };
        lengths.peek().is_none() || lengths.any(several)
    }

    /// Headers of a response: its own, where they have a record of their own, else those that this
    /// server sends most.
    fn headers(&self, facts: &StreamFacts) -> Option<u32> {
        own_headers(&facts.stream).or_else(|| self.headers.commonest())
    }
}

/// HEADERS of a response that have a record of their own.
fn own_headers(seen: &Stream) -> Option<u32> {
    let apart = seen.down_records >= 2 && seen.first_length <= HEADERS_MAX;
    apart.then_some(seen.first_length.into())
}

/// The response was whole, or all of it had come when the client closed.
fn is_complete(facts: &StreamFacts) -> bool {
    match facts.ending {
        StreamEnding::EndStream | StreamEnding::Quiet => true,
        StreamEnding::ClientClosed => is_in_one_piece(facts) && facts.stream.late_records == 0,
        _ => false,
    }
}

fn error_data(headers: u32) -> RangeInclusive<u32> {
    if headers < FULL_HEADERS_MIN { ERROR_DATA } else { ERROR_DATA_OF_FULL_HEADERS }
}

/// The response came at once and in few records.
fn is_in_one_piece(facts: &StreamFacts) -> bool {
    let seen = &facts.stream;
    let span = seen.first_byte.map_or(Nanos::ZERO, |first| seen.last_down.since(first));
    (1..=RECORDS_MAX).contains(&seen.down_records) && span < SPAN_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::burst::FlowId;
    use crate::detect::mux::tests::lone;
    use crate::exchange::mux::Unit;

    /// A response of a lone stream: milliseconds and lengths; its request ends at 0.
    fn reply(records: &[(u64, u16)]) -> StreamFacts {
        lone(FlowId(0), StreamEnding::EndStream, records)
    }

    #[test]
    fn a_short_prompt_answer_is_an_error_and_a_slow_one_none() {
        let shapes = Shapes::default();
        assert!(shapes.is_error(&reply(&[(60, 141), (60, 136)]), Class::Llm));
        assert!(!shapes.is_error(&reply(&[(400, 141), (400, 250)]), Class::Llm));
        assert!(!shapes.is_error(&reply(&[(60, 141), (60, 900)]), Class::Llm));
        assert!(!shapes.is_error(&reply(&[(60, 141), (60, 136)]), Class::Tool));
    }

    #[test]
    fn what_is_too_short_for_a_model_is_an_error_whatever_came_before() {
        let mut shapes = Shapes::default();
        for _ in 0..4 {
            shapes.learn(&reply(&[(140, 224)]), Class::Llm, false);
        }
        assert!(shapes.is_error(&reply(&[(240, 221)]), Class::Llm), "headers and data in one");
        assert!(shapes.is_error(&reply(&[(400, 38)]), Class::Embedding), "headers alone");
        assert!(!shapes.is_error(&reply(&[(400, 340)]), Class::Llm), "a word");
    }

    #[test]
    fn a_short_prompt_answer_of_a_tool_is_an_error_once_it_recurs() {
        let mut shapes = Shapes::default();
        let short = reply(&[(40, 104), (40, 125)]);
        for _ in 0..2 {
            assert!(!shapes.is_error(&short, Class::Tool));
            shapes.learn(&short, Class::Llm, false);
        }
        assert!(shapes.is_error(&short, Class::Tool));
        assert!(!shapes.is_error(&reply(&[(40, 104), (40, 900)]), Class::Tool));
    }

    #[test]
    fn a_prompt_answer_is_suspect_until_its_size_is_known() {
        let mut shapes = Shapes::default();
        let page = reply(&[(40, 93), (42, 3568)]);
        let suspect = shapes.suspect(&page, Class::Tool).unwrap();
        assert!(!shapes.recurs_as_error(suspect));
        assert_eq!(shapes.suspect(&reply(&[(300, 93), (302, 3568)]), Class::Tool), None, "late");
        assert_eq!(shapes.suspect(&reply(&[(40, 93), (42, 900)]), Class::Tool), None, "an answer");
        shapes.learn_error(suspect);
        assert!(shapes.is_error(&page, Class::Tool), "its sequel showed what it was");
        for _ in 0..2 {
            shapes.learn(&reply(&[(40, 30), (40, 1544)]), Class::Embedding, false);
        }
        assert_eq!(shapes.suspect(&reply(&[(40, 30), (40, 1544)]), Class::Embedding), None);
    }

    #[test]
    fn a_page_that_came_at_once_is_no_answer_of_a_model() {
        let page = |ms: u64| reply(&[(ms, 93), (ms + 1, 3629)]);
        let shapes = Shapes::default();
        assert!(shapes.is_error(&page(60), Class::Llm));
        assert!(!shapes.is_error(&page(400), Class::Llm), "it was written");
        assert!(!shapes.is_error(&page(60), Class::Embedding));
        let mut list = page(60);
        (list.stream.joined, list.stream.up_bytes) = (true, 300);
        assert!(!shapes.is_error(&list, Class::Llm), "nothing was asked of the model");
    }

    #[test]
    fn what_is_no_vector_is_suspect_though_it_took_its_time() {
        let mut shapes = Shapes::default();
        let suspect = |shapes: &Shapes, ms, length| {
            shapes.suspect(&reply(&[(ms, 30), (ms, length)]), Class::Embedding).is_some()
        };
        assert!(!suspect(&shapes, 130, 3675), "nobody knows what is usual");
        for _ in 0..2 {
            shapes.learn(&reply(&[(60, 30), (60, 1544)]), Class::Embedding, false);
        }
        assert!(suspect(&shapes, 130, 3675));
        assert!(!suspect(&shapes, 300, 3675), "too late");
        assert!(!suspect(&shapes, 130, 3090), "two vectors");
    }

    #[test]
    fn headers_that_become_known_later_tell_how_long_a_suspect_was() {
        let mut shapes = Shapes::default();
        let whole = reply(&[(40, 223)]);
        let suspect = shapes.suspect(&whole, Class::Tool).unwrap();
        for _ in 0..2 {
            shapes.learn(&reply(&[(40, 103), (40, 119)]), Class::Llm, true);
        }
        assert!(shapes.recurs_as_error(suspect), "103 and 120 bytes");
    }

    #[test]
    fn among_others_an_error_is_known_by_its_headers_or_by_its_size() {
        let mut shapes = Shapes::default();
        let mut among = reply(&[(60, 200)]);
        among.stream.alone = false;
        let mut is_error = |shapes: &Shapes, headers, data| {
            among.unit = Unit { headers, data };
            shapes.is_error(&among, Class::Llm)
        };
        assert!(is_error(&shapes, 39, 125), "compressed headers in front");
        assert!(!is_error(&shapes, 0, 125), "the last event of a stream");
        for _ in 0..2 {
            shapes.learn(&reply(&[(60, 48), (60, 125)]), Class::Llm, true);
        }
        assert!(is_error(&shapes, 0, 125));
        assert!(!is_error(&shapes, 0, 60));
    }

    #[test]
    fn several_short_answers_of_a_tool_among_longer_ones_are_errors() {
        let among = |records: &[(u64, u16)]| {
            let mut facts = reply(records);
            facts.stream.alone = false;
            facts
        };
        let short = among(&[(240, 103), (240, 125)]);
        let mut shapes = Shapes::default();
        for length in [900, 2000, 1500, 3000] {
            shapes.learn(&among(&[(260, 100), (260, length)]), Class::Tool, false);
        }
        for told in [false, false, true] {
            shapes.learn(&short, Class::Tool, false);
            let suspect = shapes.suspect(&short, Class::Tool).unwrap();
            assert_eq!(shapes.recurs_as_error(suspect), told);
        }
        (0..4).for_each(|_| shapes.learn(&short, Class::Tool, false));
        let suspect = shapes.suspect(&short, Class::Tool).unwrap();
        assert!(!shapes.recurs_as_error(suspect), "most answers are as short");
    }

    #[test]
    fn an_error_that_recurs_is_known_whatever_it_takes() {
        let mut shapes = Shapes::default();
        for _ in 0..2 {
            shapes.learn(&reply(&[(60, 141), (60, 136)]), Class::Llm, true);
        }
        assert!(shapes.is_error(&reply(&[(900, 133), (900, 138)]), Class::Llm));
    }

    #[test]
    fn a_size_that_errors_have_had_is_no_error_after_long_thought() {
        let mut shapes = Shapes::default();
        for _ in 0..2 {
            shapes.learn(&reply(&[(60, 141), (60, 436)]), Class::Llm, true);
        }
        assert!(shapes.is_error(&reply(&[(400, 141), (400, 438)]), Class::Llm));
        assert!(!shapes.is_error(&reply(&[(1900, 141), (1900, 438)]), Class::Llm));
    }

    #[test]
    fn a_prompt_answer_of_one_size_again_and_again_is_canned() {
        let mut shapes = Shapes::default();
        let canned = reply(&[(50, 141), (50, 1800)]);
        for _ in 0..3 {
            assert!(!shapes.is_error(&canned, Class::Llm));
            shapes.learn(&canned, Class::Llm, false);
            shapes.quick = Clusters::default();
        }
        assert!(shapes.is_error(&canned, Class::Llm));
    }

    #[test]
    fn headers_sent_in_full_are_learnt_and_taken_off() {
        let mut shapes = Shapes::default();
        shapes.learn(&reply(&[(400, 761), (400, 969)]), Class::Llm, false);
        let mut among = reply(&[(60, 931)]);
        among.stream.alone = false;
        among.unit = Unit { headers: 0, data: 931 };
        assert!(shapes.is_error(&among, Class::Llm));
        among.unit = Unit { headers: 0, data: 1455 };
        assert!(!shapes.is_error(&among, Class::Llm));
    }
}
