//! What the replies of a server look like, learnt from those that have ended: sizes of ordinary
//! replies, sizes of errors, how streams begin, whether it closes after a reply. Bounded per server
//! and in servers.
//!
//! The measured rules are the prior; what is learnt here corrects them where a server differs.
//! Lengths are kept as cluster centres and coarse counts of a server, never as a sequence
//! (docs/privacy.md).

use super::abort::{self, Ends};
use super::clusters::Clusters;
use super::failure;
use super::histogram::{Histogram, Scale};
use super::recurring::Recurring;
use super::size::Reply;
use super::throttle::Pauses;
use crate::burst::Address;
use crate::exchange::h1::{Ending, Facts};
use crate::keyed::Keys;
use crate::lru::{LruMap, Reuse};
use crate::policy::endpoint::{Class, Endpoint};
use crate::policy::learnt::{self, CLUSTERS_MAX, COUNT_MIN, Cluster, LearntHttp1, WEIGHT_MAX};
use crate::policy::snapshot::EndpointId;
use crate::time::Nanos;

/// What is remembered of servers.
#[derive(Debug)]
pub struct ReplyMemory(LruMap<Address, Replies>);

/// One server.
#[derive(Clone, Debug)]
pub struct Replies {
    /// Its endpoint, and what that does, as far as a flow with a name has told.
    endpoint: Option<EndpointId>,
    /// Likewise.
    pub class: Option<Class>,
    /// Sizes of ordinary plain replies, bytes.
    ordinary: Histogram<128>,
    errors: Clusters,
    /// Sizes of replies that are as short as errors are, and did not come as fast.
    hesitant: Clusters,
    /// Sizes of answers, where any size can be an ordinary one.
    pub recurring: Recurring,
    /// Lengths of the second record of streams.
    preludes: Clusters,
    /// From request to first byte, less the round trip, of replies that can be no errors;
    /// milliseconds.
    first_byte: Histogram<24>,
    /// Sizes of long replies that came as soon as errors do.
    pages: Clusters,
    /// How long clients wait after its errors.
    pauses: Pauses,
    /// Streams that were whole, with a mark at their end and without.
    marked: u16,
    unmarked: u16,
    complete: u16,
    /// Complete replies after which the server did not close at once.
    left_open: u16,
}

/// Steps of a twentieth, from the smallest size told apart up to 500 times it.
const SIZES: Scale = Scale { smallest: 64.0, per_doubling: 14.206_699_082_890_46 };
/// Steps of the root of two, from a millisecond up to three seconds.
const TIMES: Scale = Scale { smallest: 1.0, per_doubling: 2.0 };
/// Nineteen of twenty replies take as long as the quickest that counts.
const QUICKEST: u8 = 20;
/// Replies whose first byte must be known before they tell how long this server thinks.
const THOUGHT_MIN: u8 = 8;
/// Nothing that takes longer than this is prompt, however long a server thinks.
const PROMPT_MAX: Nanos = Nanos::from_millis(400);
/// When so many complete replies have been counted, both counts are halved.
const COMPLETE_MAX: u16 = 512;
/// Two sizes this close are the same: a request id, a date.
const SAME_BYTES: u32 = 3;
/// Two errors this close are the same error.
const ERROR_BYTES: u32 = 8;
/// An error answer with rate-limit headers is longer than one without by this much.
const THROTTLE_BYTES: std::ops::RangeInclusive<u32> = 50..=400;
/// A server that closes within this after its last byte has cut the reply, if it usually does not
/// close.
const PROMPT_CLOSE: Nanos = Nanos::from_millis(30);
const COMPLETE_MIN: u16 = 8;
/// Short replies that took some thought, of how many sizes, show that answers are that short here.
const HESITANT_MIN: u32 = 4;
const HESITANT_KINDS: usize = 2;
/// Error-shaped replies of so many kinds are no errors: errors of a server have few sizes.
const KINDS_MIN: usize = 8;
/// Whole streams without a mark, so many and more than one in so many, show that this server, or
/// the proxy before it, does not always send one.
const UNMARKED_MIN: u16 = 2;
const UNMARKED_SHARE: u32 = 8;
/// So many with one, and hardly any without, show that it does.
const MARKED_MIN: u16 = 3;
/// Streams of a server that is a model.
const STREAMS_MIN: u32 = 3;
/// Two error pages whose sizes differ by less than one part in so many are the same page.
const PAGE_PART: u32 = 16;
/// Replies that must be known before one is so much sooner that it is an error page, or late
/// enough to be an answer.
const KNOWN_MIN: u8 = 4;
/// Pages of so many kinds are answers that were kept ready.
const PAGES_KINDS: usize = 6;

impl Default for Replies {
    fn default() -> Self {
        Self {
            endpoint: None,
            class: None,
            ordinary: Histogram::new(SIZES),
            errors: Clusters::default(),
            hesitant: Clusters::default(),
            recurring: Recurring::default(),
            preludes: Clusters::default(),
            first_byte: Histogram::new(TIMES),
            pages: Clusters::default(),
            pauses: Pauses::default(),
            marked: 0,
            unmarked: 0,
            complete: 0,
            left_open: 0,
        }
    }
}

impl Reuse for Replies {}

impl ReplyMemory {
    /// For so many servers.
    #[must_use]
    pub fn with_capacity(servers: usize) -> Self {
        Self(LruMap::with_capacity(servers))
    }

    /// What is known of a server, if anything is.
    #[must_use]
    pub fn of(&self, server: Address) -> Option<&Replies> {
        self.0.get(&server)
    }

    /// The same, to learn.
    pub fn learn(&mut self, server: Address, now: Nanos) -> &mut Replies {
        self.0.touch(server, now)
    }

    /// A server of this endpoint: when it was not known before, what the policy says of it is what
    /// learning begins with.
    pub fn meet(&mut self, server: Address, now: Nanos, (id, endpoint): (EndpointId, &Endpoint)) {
        let replies = self.learn(server, now);
        let is_news = replies.endpoint.is_none();
        (replies.endpoint, replies.class) = (Some(id), Some(endpoint.class));
        if let Some(learnt) = endpoint.learnt.as_ref().filter(|_| is_news) {
            replies.import(&learnt.http1);
        }
    }

    /// What is learnt of every server whose endpoint is known.
    pub fn export(&self) -> impl Iterator<Item = (Address, EndpointId, LearntHttp1)> + '_ {
        self.0
            .iter()
            .filter_map(|(&server, replies)| Some((server, replies.endpoint?, replies.export())))
    }

    /// Forgets what was hashed under a key that is gone, of one server a call.
    pub fn sweep(&mut self, keys: &Keys) {
        if let Some(replies) = self.0.next_in_round() {
            replies.recurring.forget_unknown(keys);
        }
    }

    /// Servers that were pushed out.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.0.evicted
    }
}

impl Replies {
    /// A short reply that begins as this server's streams begin: it is one, however little came of
    /// it.
    #[must_use]
    pub fn begins_like_a_stream(&self, facts: &Facts) -> bool {
        let second = u32::from(facts.seen.second_length);
        let alike = self.preludes.near(second, SAME_BYTES);
        facts.seen.down_records >= 3
            && second > 5
            && alike >= 3
            && alike * 5 >= self.preludes.total()
    }

    /// A server that keeps connections open closed this one with the last byte of a reply: it was
    /// cut.
    #[must_use]
    pub fn was_cut_by_a_prompt_close(&self, facts: &Facts) -> bool {
        let keeps_open = self.complete >= COMPLETE_MIN && self.left_open * 5 >= self.complete * 4;
        keeps_open
            && facts.ending.is_by_server()
            && !facts.is_terminated()
            && closed_promptly(facts)
    }

    /// It has streamed: it is a model.
    #[must_use]
    pub fn streams(&self) -> bool {
        self.preludes.total() >= STREAMS_MIN
    }

    /// How whole streams end here.
    #[must_use]
    pub fn ends(&self) -> Ends {
        let unmarked_share = u32::from(self.unmarked) * UNMARKED_SHARE;
        match () {
            () if self.unmarked >= UNMARKED_MIN && unmarked_share > self.marked.into() => {
                Ends::Unmarked
            }
            () if self.marked >= MARKED_MIN => Ends::Marked,
            () => Ends::Unknown,
        }
    }

    /// A page that is longer than errors usually are, and came sooner than half of what answers take
    /// here, or recurs and came sooner than any of them. Answers that are kept ready come as soon, in
    /// many sizes, or always to one request.
    #[must_use]
    pub fn is_error_page(&self, facts: &Facts, class: Class) -> bool {
        let bytes = facts.seen.down_bytes;
        let alike = self.pages.near(bytes, bytes / PAGE_PART);
        let kept_ready = self.pages.kinds() >= PAGES_KINDS && alike * 4 <= self.pages.total();
        let quickest = self.quickest(KNOWN_MIN);
        let sooner_than = |least: Nanos| failure::is_prompt(facts, least.min(PROMPT_MAX));
        let too_soon = quickest.is_some_and(|least| sooner_than(Nanos(least.0 / 2)))
            || (alike > 0 && quickest.is_none_or(sooner_than));
        let listed = self.recurring.is_of_one_request(bytes);
        self.may_be_page(facts, class) && too_soon && !kept_ready && !listed
    }

    fn may_be_page(&self, facts: &Facts, class: Class) -> bool {
        let sizes = failure::LLM_BYTES_MAX + 1..=failure::PAGE_BYTES_MAX;
        class == Class::Llm
            && !facts.is_streamed()
            && !facts.seen.has_holes
            && !facts.seen.missed
            && sizes.contains(&facts.seen.down_bytes)
            && failure::is_prompt(facts, self.errors_within())
    }

    /// An error-shaped reply whose size is ordinary here, and recurs in no error, is an ordinary
    /// reply. So is one of many sizes, and a short one that took some thought where such are usual.
    #[must_use]
    pub fn is_ordinary(&self, facts: &Facts) -> bool {
        let bytes = facts.seen.down_bytes;
        let recurs = self.errors.near(bytes, SAME_BYTES) >= 2;
        let alike = self.errors.near(bytes, ERROR_BYTES);
        let one_of_many = self.errors.kinds() >= KINDS_MIN && alike * 4 <= self.errors.total();
        let short_ones_are_usual = self.hesitant.total() >= HESITANT_MIN
            && self.hesitant.kinds() >= HESITANT_KINDS
            && !failure::is_prompt(facts, self.errors_within());
        let by_size = self.ordinary.up_to_a_step_above(bytes) >= 2;
        let thinks = self.quickest(KNOWN_MIN);
        let took_thought = thinks.zip(facts.service_time()).is_some_and(|(least, took)| {
            took >= least && !failure::is_prompt(facts, self.errors_within())
        });
        one_of_many || (!recurs && (by_size || short_ones_are_usual || took_thought))
    }

    /// How soon an error is known: sooner than half of what nearly all replies take that can be no
    /// errors, and in any case as soon as was measured elsewhere.
    #[must_use]
    pub fn errors_within(&self) -> Nanos {
        let half = self.quickest(THOUGHT_MIN).map(|time| Nanos(time.0 / 2));
        half.unwrap_or_default().clamp(failure::SERVICE_TIME_MAX, PROMPT_MAX)
    }

    /// What nineteen of twenty replies need at least, when enough have been seen.
    fn quickest(&self, known_min: u8) -> Option<Nanos> {
        let least = self.first_byte.all_but_one_in(QUICKEST)?;
        (self.first_byte.total() >= known_min).then(|| Nanos::from_millis(least.into()))
    }

    /// A plain reply of a size that has been an error before, though it took longer than errors do.
    #[must_use]
    pub fn is_known_error(&self, facts: &Facts) -> bool {
        !facts.is_streamed() && self.errors.near(facts.seen.down_bytes, SAME_BYTES) >= 2
    }

    /// A prompt reply of a size that clients do not take for an answer.
    #[must_use]
    pub fn is_rejected(&self, facts: &Facts) -> bool {
        let bytes = facts.seen.down_bytes;
        let pages = self.pages.near(bytes, bytes / PAGE_PART);
        let is_page =
            bytes > failure::LLM_BYTES_MAX && pages >= 2 && pages * 4 >= self.pages.total();
        failure::is_prompt(facts, self.errors_within()) && (self.is_known_error(facts) || is_page)
    }

    /// A short reply without an answer in it: the shortest answers here, of which some are known, are
    /// longer by a third.
    #[must_use]
    pub fn is_stunted(&self, facts: &Facts) -> bool {
        let bytes = facts.seen.down_bytes;
        bytes < failure::LLM_BYTES_MIN
            && !facts.is_streamed()
            && !facts.ending.is_by_server()
            && self.ordinary.total() >= KNOWN_MIN
            && self.ordinary.up_to_a_step_above(bytes + bytes / 3) == 0
    }

    /// A vector of a size that is usual here.
    #[must_use]
    pub fn is_usual_vector(&self, facts: &Facts, class: Class) -> bool {
        let usual = self.ordinary.like(facts.seen.down_bytes) >= 2;
        class == Class::Embedding && usual
    }

    /// A client did not take this reply for an answer.
    pub fn learn_rejected(&mut self, facts: &Facts) {
        let bytes = facts.seen.down_bytes;
        match bytes > failure::LLM_BYTES_MAX {
            true => self.pages.add(bytes, bytes / PAGE_PART),
            false => self.errors.add(bytes, ERROR_BYTES),
        }
    }

    /// A plain reply of a size that recurs as errors do.
    #[must_use]
    pub fn recurs_as_error(&self, facts: &Facts) -> bool {
        !facts.is_streamed() && self.recurring.is_error(facts.seen.down_bytes)
    }

    /// Of two recurring error sizes the larger carries rate-limit headers: it is a 429. So is one
    /// after which clients come back when they were told to.
    #[must_use]
    pub fn is_throttled(&self, facts: &Facts) -> bool {
        let bytes = facts.seen.down_bytes;
        let larger =
            |(size, count)| count >= 2 && THROTTLE_BYTES.contains(&bytes.saturating_sub(size));
        self.pauses.are_told(bytes) || self.errors.iter().any(larger)
    }

    /// Learns from how long a client waited after a failure, seconds; `answer`: if that was an answer.
    pub fn learn_pause(&mut self, keys: &Keys, answer: Option<&Reply>, pause_secs: f64) {
        let sizes = || self.errors.iter().map(|(size, _)| size);
        let same = |answer: &Reply| {
            let exactly = |&size: &u32| keys.is_length(answer.exact, size);
            let nearly = |&size: &u32| Reply::of(size, keys).is_near(answer);
            sizes().find(exactly).or_else(|| sizes().find(nearly))
        };
        let size = answer.map(same);
        if size != Some(None) {
            self.pauses.learn(size.flatten(), pause_secs);
        }
    }

    fn export(&self) -> LearntHttp1 {
        let errors = self.recurring.errors().filter(|&(_, count)| count >= COUNT_MIN);
        let stepped = |(size, count)| Cluster { value: learnt::stepped(size), count };
        let told = |values: &mut dyn Iterator<Item = (u32, u8)>| {
            let told = values.filter(|&(_, count)| u16::from(count) >= COUNT_MIN);
            told.map(|(value, count)| Cluster { value, count: count.into() }).collect()
        };
        LearntHttp1 {
            complete: self.complete,
            left_open: self.left_open,
            errors: self.errors.export(),
            ordinary: told(&mut self.ordinary.iter()),
            preludes: self.preludes.export(),
            tool_errors: errors.take(CLUSTERS_MAX).map(stepped).collect(),
            first_byte: told(&mut self.first_byte.iter()),
        }
    }

    fn import(&mut self, learnt: &LearntHttp1) {
        [self.complete, self.left_open] = learnt::weighed([learnt.complete, learnt.left_open]);
        self.errors.import(&learnt.errors);
        self.preludes.import(&learnt.preludes);
        for error in &learnt.tool_errors {
            self.recurring.know_error(error.value, error.count);
        }
        for size in &learnt.ordinary {
            (0..size.count.min(WEIGHT_MAX)).for_each(|_| self.ordinary.add(size.value));
        }
        for time in &learnt.first_byte {
            (0..time.count.min(WEIGHT_MAX)).for_each(|_| self.first_byte.add(time.value));
        }
    }

    /// Learns from an exchange that has ended. `error_shaped` is what the prior said.
    pub fn learn(&mut self, facts: &Facts, error_shaped: bool, complete: bool) {
        let bytes = facts.seen.down_bytes;
        if facts.is_streamed() {
            self.preludes.add(u32::from(facts.seen.second_length), SAME_BYTES);
        } else if error_shaped && failure::is_prompt(facts, self.errors_within()) {
            self.errors.add(bytes, ERROR_BYTES);
        } else if error_shaped {
            self.hesitant.add(bytes, 0);
        } else if complete {
            self.ordinary.add(bytes);
        }
        let marked = facts.is_terminated();
        let whole = marked || facts.ending == Ending::Reuse || abort::was_over(facts);
        if complete && facts.is_streamed() && whole {
            self.learn_mark(marked);
        }
        // A long page may be an error when it is prompt.
        let no_error = facts.is_streamed()
            || bytes > failure::PAGE_BYTES_MAX
            || (bytes > failure::LLM_BYTES_MAX
                && !failure::is_prompt(facts, failure::SERVICE_TIME_MAX));
        if no_error && complete {
            let millis = facts.service_time().map(|time| time.0 / Nanos::from_millis(1).0);
            let millis = millis.map(|millis| u32::try_from(millis).unwrap_or(u32::MAX));
            millis.into_iter().for_each(|millis| self.first_byte.add(millis));
        }
        if complete {
            if self.complete >= COMPLETE_MAX {
                (self.complete, self.left_open) = (self.complete / 2, self.left_open / 2);
            }
            self.complete += 1;
            let closed = facts.ending.is_by_server() && closed_promptly(facts);
            self.left_open += u16::from(!closed);
        }
    }

    /// Learns from a prompt page, an error or not.
    pub fn learn_page(&mut self, facts: &Facts, class: Class) {
        if self.may_be_page(facts, class) {
            let bytes = facts.seen.down_bytes;
            self.pages.add(bytes, bytes / PAGE_PART);
        }
    }

    fn learn_mark(&mut self, marked: bool) {
        if self.marked + self.unmarked >= COMPLETE_MAX {
            (self.marked, self.unmarked) = (self.marked / 2, self.unmarked / 2);
        }
        let count = if marked { &mut self.marked } else { &mut self.unmarked };
        *count += 1;
    }
}

/// Whether the size of a response may be that of an error which only its recurrence tells: any size
/// of a tool; of a model what is longer than errors usually are, and came as soon.
#[must_use]
pub fn may_recur(facts: &Facts, class: Class, within: Nanos) -> bool {
    let plain = facts.seen.down_records > 0
        && !facts.is_streamed()
        && !facts.seen.has_holes
        && !facts.seen.missed;
    let long = facts.seen.down_bytes > failure::LLM_BYTES_MAX;
    plain
        && match class {
            Class::Tool => true,
            Class::Llm => long && failure::is_prompt(facts, within),
            // A vector has one size whatever is asked.
            Class::Embedding => false,
        }
}

fn closed_promptly(facts: &Facts) -> bool {
    let last = facts.seen.last_down;
    facts.closed.is_some_and(|closed| closed >= last && closed.since(last) < PROMPT_CLOSE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::{Shape, facts};

    fn plain(bytes: u16, ms: u64) -> Facts {
        facts(Shape { down: &[(ms, bytes)], ..Shape::default() })
    }

    #[test]
    fn an_error_that_takes_long_is_known_by_its_size() {
        let mut replies = Replies::default();
        replies.learn(&plain(900, 30), true, false);
        assert!(!replies.is_known_error(&plain(901, 400)), "once is no habit");
        replies.learn(&plain(901, 30), true, false);
        assert!(replies.is_known_error(&plain(901, 400)));
        assert!(!replies.is_known_error(&plain(950, 400)));
    }

    #[test]
    fn streams_that_are_followed_without_a_mark_show_that_there_is_none() {
        let stream: Vec<_> = (0..9).map(|n| (400 + 20 * n, 300)).collect();
        let marked: Vec<_> = stream.iter().copied().chain([(570, 5)]).collect();
        let whole = |down: &[(u64, u16)]| Facts {
            ending: Ending::Reuse,
            ..facts(Shape { down, ..Shape::default() })
        };
        let mut replies = Replies::default();
        assert_eq!(replies.ends(), Ends::Unknown);
        (0..3).for_each(|_| replies.learn(&whole(&marked), false, true));
        assert_eq!(replies.ends(), Ends::Marked);
        (0..2).for_each(|_| replies.learn(&whole(&stream), false, true));
        assert_eq!(replies.ends(), Ends::Unmarked);
    }

    #[test]
    fn a_long_page_that_came_sooner_than_any_answer_is_an_error() {
        let mut replies = Replies::default();
        let page = plain(4100, 35);
        assert!(!replies.is_error_page(&page, Class::Llm), "nothing is known");
        replies.learn_page(&page, Class::Llm);
        assert!(replies.is_error_page(&plain(4190, 35), Class::Llm), "it recurs");
        let mut replies = Replies::default();
        let stream: Vec<_> = (0..9).map(|n| (400 + 20 * n, 300)).collect();
        let whole = facts(Shape { down: &stream, ..Shape::default() });
        (0..4).for_each(|_| replies.learn(&whole, false, true));
        assert!(replies.is_error_page(&page, Class::Llm));
        assert!(!replies.is_error_page(&plain(4100, 300), Class::Llm));
        assert!(!replies.is_error_page(&page, Class::Embedding));
        for n in 0..8 {
            replies.learn_page(&plain(2300 + 700 * n, 35), Class::Llm);
        }
        assert!(!replies.is_error_page(&plain(5100, 35), Class::Llm), "answers kept ready");
    }

    #[test]
    fn a_short_answer_that_took_as_long_as_others_is_one() {
        let mut replies = Replies::default();
        let stream: Vec<_> = (0..9).map(|n| (400 + 20 * n, 300)).collect();
        let whole = facts(Shape { down: &stream, ..Shape::default() });
        (0..3).for_each(|_| replies.learn(&whole, false, true));
        assert!(!replies.is_ordinary(&plain(300, 500)), "not known yet");
        replies.learn(&whole, false, true);
        assert!(replies.is_ordinary(&plain(300, 500)));
        assert!(!replies.is_ordinary(&plain(300, 40)));
    }

    #[test]
    fn what_clients_reject_is_known_again() {
        let mut replies = Replies::default();
        for (error, again, other) in [(700, 701, 900), (3100, 3160, 5000)] {
            replies.learn_rejected(&plain(error, 30));
            assert!(!replies.is_rejected(&plain(again, 30)), "once is no habit");
            replies.learn_rejected(&plain(again, 30));
            assert!(replies.is_rejected(&plain(again, 30)));
            assert!(!replies.is_rejected(&plain(again, 300)), "it took its time");
            assert!(!replies.is_rejected(&plain(other, 30)));
        }
    }

    #[test]
    fn a_short_reply_far_below_any_answer_holds_none() {
        let mut replies = Replies::default();
        assert!(!replies.is_stunted(&plain(320, 500)), "no answer is known");
        (0..4).for_each(|n| replies.learn(&plain(470 + 30 * n, 500), false, true));
        assert!(replies.is_stunted(&plain(320, 500)));
        assert!(!replies.is_stunted(&plain(440, 500)), "a word");
    }

    #[test]
    fn a_prompt_reply_of_ordinary_size_is_ordinary() {
        let mut replies = Replies::default();
        replies.learn(&plain(1500, 400), false, true);
        assert!(!replies.is_ordinary(&plain(1600, 30)));
        replies.learn(&plain(1550, 400), false, true);
        assert!(replies.is_ordinary(&plain(1600, 30)));
        assert!(!replies.is_ordinary(&plain(700, 30)), "smaller than any ordinary reply");
    }

    #[test]
    fn errors_have_few_sizes_and_answers_many() {
        let mut replies = Replies::default();
        for n in 0..7 {
            replies.learn(&plain(600 + 40 * n, 30), true, false);
        }
        assert!(!replies.is_ordinary(&plain(1000, 30)));
        replies.learn(&plain(880, 30), true, false);
        assert!(replies.is_ordinary(&plain(1000, 30)), "a model that answers at once");
        for _ in 0..9 {
            replies.learn(&plain(1400, 30), true, false);
        }
        assert!(!replies.is_ordinary(&plain(1400, 30)), "its error");
        assert!(replies.is_ordinary(&plain(1000, 30)));
    }

    #[test]
    fn short_answers_are_told_from_errors_by_the_thought_they_take() {
        let mut replies = Replies::default();
        for n in 0..4 {
            assert!(!replies.is_ordinary(&plain(430, 300)), "not usual yet");
            replies.learn(&plain(430 + n % 2, 300), true, false);
        }
        assert!(replies.is_ordinary(&plain(430, 300)));
        assert!(!replies.is_ordinary(&plain(430, 30)), "no thought");
        let mut timeouts = Replies::default();
        for _ in 0..9 {
            timeouts.learn(&plain(430, 300), true, false);
        }
        assert!(!timeouts.is_ordinary(&plain(430, 300)), "a late error has one size");
    }

    #[test]
    fn where_models_think_longer_errors_may_take_longer() {
        let mut replies = Replies::default();
        let stream = |ms: u64| -> Vec<_> { (0..9).map(|n| (ms + 20 * n, 300)).collect() };
        for n in 0..8 {
            assert_eq!(replies.errors_within(), failure::SERVICE_TIME_MAX);
            let down = stream(500 + 10 * n);
            replies.learn(&facts(Shape { down: &down, ..Shape::default() }), false, true);
        }
        let within = replies.errors_within();
        assert!(
            (150..250).contains(&(within.0 / 1_000_000)),
            "half of nearly that, in steps: {within:?}"
        );
        for _ in 0..200 {
            let down = stream(40);
            replies.learn(&facts(Shape { down: &down, ..Shape::default() }), false, true);
        }
        assert_eq!(replies.errors_within(), failure::SERVICE_TIME_MAX, "it became faster");
    }

    #[test]
    fn the_larger_of_two_recurring_errors_is_a_429() {
        let mut replies = Replies::default();
        for _ in 0..2 {
            replies.learn(&plain(700, 30), true, false);
        }
        assert!(replies.is_throttled(&plain(850, 30)));
        assert!(!replies.is_throttled(&plain(700, 30)));
        assert!(!replies.is_throttled(&plain(2000, 30)));
    }

    #[test]
    fn a_stream_is_known_by_how_it_begins() {
        let mut replies = Replies::default();
        let stream: Vec<_> =
            (0..9).map(|n| (100 + 20 * n, if n == 1 { 333 } else { 500 })).collect();
        for _ in 0..3 {
            replies.learn(&facts(Shape { down: &stream, ..Shape::default() }), false, true);
        }
        let short = facts(Shape { down: &stream[..3], ..Shape::default() });
        assert!(replies.begins_like_a_stream(&short));
        let other =
            facts(Shape { down: &[(100, 500), (120, 700), (140, 500)], ..Shape::default() });
        assert!(!replies.begins_like_a_stream(&other));
    }
}
