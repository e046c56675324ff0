//! What the replies of a server look like, learnt from those that have ended: sizes of ordinary
//! replies, sizes of errors, how streams begin, whether it closes after a reply. Bounded per server
//! and in servers.
//!
//! The measured rules are the prior; what is learnt here corrects them where a server differs.
//! Lengths are kept as cluster centres and coarse counts of a server, never as a sequence
//! (docs/privacy.md).

use std::collections::HashMap;

use super::recurring::Recurring;
use crate::burst::Address;
use crate::exchange::h1::Facts;
use crate::policy::endpoint::Class;
use crate::time::Nanos;

/// What is remembered of servers.
#[derive(Debug)]
pub struct ReplyMemory {
    slots: Vec<Replies>,
    index: HashMap<Address, usize>,
    hand: usize,
    /// Servers that were pushed out.
    pub evicted: u64,
}

/// One server.
#[derive(Clone, Debug, Default)]
pub struct Replies {
    server: Address,
    last_used: Nanos,
    /// What its endpoint does, as far as a flow with a name has told.
    pub class: Option<Class>,
    /// Sizes of ordinary plain replies.
    ordinary: Sizes,
    errors: Clusters,
    /// Sizes of answers, where any size can be an ordinary one.
    pub recurring: Recurring,
    /// Lengths of the second record of streams.
    preludes: Clusters,
    streams: u32,
    complete: u32,
    /// Complete replies after which the server did not close at once.
    left_open: u32,
}

/// How often sizes occur, in steps of a twentieth. What is old counts half, then a quarter, and so
/// on.
#[derive(Clone, Debug)]
struct Sizes {
    counts: [u8; STEPS],
    total: u8,
}

/// Values that recur, by their first occurrence; the rarest leaves.
#[derive(Clone, Debug, Default)]
struct Clusters([(u32, u32); CLUSTERS_KEPT]);

const SERVERS: usize = 256;
const SAMPLE: usize = 16;
/// Steps from the smallest size told apart up to 500 times it.
const STEPS: usize = 128;
const SMALLEST_BYTES: f64 = 64.0;
const STEP: f64 = 1.05;
/// When this many have been counted, all counts are halved.
const COUNTED_MAX: u8 = 128;
const CLUSTERS_KEPT: usize = 16;
/// Two sizes this close are the same: a request id, a date.
const SAME_BYTES: u32 = 3;
/// Two errors this close are the same error.
const ERROR_BYTES: u32 = 8;
/// An error answer with rate-limit headers is longer than one without by this much.
const THROTTLE_BYTES: std::ops::RangeInclusive<u32> = 50..=400;
/// A server that closes within this after its last byte has cut the reply, if it usually does not
/// close.
const PROMPT_CLOSE: Nanos = Nanos::from_millis(30);
const COMPLETE_MIN: u32 = 8;

impl Default for ReplyMemory {
    fn default() -> Self {
        Self {
            slots: vec![Replies::default(); SERVERS],
            index: HashMap::with_capacity(2 * SERVERS),
            hand: 0,
            evicted: 0,
        }
    }
}

impl ReplyMemory {
    /// What is known of a server, if anything is.
    #[must_use]
    pub fn of(&self, server: Address) -> Option<&Replies> {
        self.index.get(&server).map(|&index| &self.slots[index])
    }

    /// The same, to learn.
    pub fn learn(&mut self, server: Address, now: Nanos) -> &mut Replies {
        let index = self.index.get(&server).copied().unwrap_or_else(|| self.claim(server));
        let replies = &mut self.slots[index];
        replies.last_used = now;
        replies
    }

    fn claim(&mut self, server: Address) -> usize {
        let index = if self.index.len() < SERVERS { self.index.len() } else { self.evict() };
        self.slots[index] = Replies { server, ..Replies::default() };
        self.index.insert(server, index);
        index
    }

    fn evict(&mut self) -> usize {
        let candidates = (0..SAMPLE).map(|n| (self.hand + n) % SERVERS);
        let index = candidates.min_by_key(|&i| self.slots[i].last_used).unwrap_or(self.hand);
        self.hand = (self.hand + SAMPLE) % SERVERS;
        self.index.remove(&self.slots[index].server);
        self.evicted += 1;
        index
    }
}

impl Replies {
    /// A short reply that begins as this server's streams begin: it is one, however little came of
    /// it.
    #[must_use]
    pub fn begins_like_a_stream(&self, facts: &Facts) -> bool {
        let second = u32::from(facts.seen.second_length);
        let alike = self.preludes.near(second, SAME_BYTES);
        facts.seen.down_records >= 3 && second > 5 && alike >= 3 && alike * 5 >= self.streams
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

    /// An error-shaped reply whose size is ordinary here, and recurs in no error, is an ordinary
    /// reply.
    #[must_use]
    pub fn is_ordinary(&self, facts: &Facts) -> bool {
        let bytes = facts.seen.down_bytes;
        self.ordinary.up_to_a_step_above(bytes) >= 2 && self.errors.near(bytes, SAME_BYTES) < 2
    }

    /// A plain reply of a size that has been an error before, though it took longer than errors do.
    #[must_use]
    pub fn is_known_error(&self, facts: &Facts) -> bool {
        !facts.is_streamed() && self.errors.near(facts.seen.down_bytes, SAME_BYTES) >= 2
    }

    /// A plain reply of a size that recurs as errors do.
    #[must_use]
    pub fn recurs_as_error(&self, facts: &Facts) -> bool {
        !facts.is_streamed() && self.recurring.is_error(facts.seen.down_bytes)
    }

    /// Of two recurring error sizes the larger carries rate-limit headers: it is a 429.
    #[must_use]
    pub fn is_throttled(&self, facts: &Facts) -> bool {
        let bytes = facts.seen.down_bytes;
        self.errors.0.iter().any(|&(size, count)| {
            count >= 2 && THROTTLE_BYTES.contains(&bytes.saturating_sub(size))
        })
    }

    /// Learns from an exchange that has ended. `error_shaped` is what the prior said.
    pub fn learn(&mut self, facts: &Facts, error_shaped: bool, complete: bool) {
        let bytes = facts.seen.down_bytes;
        if facts.is_streamed() {
            self.streams = self.streams.saturating_add(1);
            self.preludes.add(u32::from(facts.seen.second_length), SAME_BYTES);
        } else if error_shaped {
            self.errors.add(bytes, ERROR_BYTES);
        } else if complete {
            self.ordinary.add(bytes);
        }
        if complete {
            self.complete = self.complete.saturating_add(1);
            let closed = facts.ending.is_by_server() && closed_promptly(facts);
            self.left_open = self.left_open.saturating_add(u32::from(!closed));
        }
    }
}

fn closed_promptly(facts: &Facts) -> bool {
    let last = facts.seen.last_down;
    facts.closed.is_some_and(|closed| closed >= last && closed.since(last) < PROMPT_CLOSE)
}

impl Default for Sizes {
    fn default() -> Self {
        Self { counts: [0; STEPS], total: 0 }
    }
}

impl Sizes {
    fn add(&mut self, bytes: u32) {
        if self.total >= COUNTED_MAX {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.total = self.counts.iter().sum();
        }
        self.counts[step(bytes)] += 1;
        self.total += 1;
    }

    /// How many are no longer than this, or a step above it.
    fn up_to_a_step_above(&self, bytes: u32) -> u32 {
        let last = (step(bytes) + 1).min(STEPS - 1);
        self.counts[..=last].iter().map(|&count| u32::from(count)).sum()
    }
}

/// The step a size is in.
fn step(bytes: u32) -> usize {
    let steps = (f64::from(bytes.max(1)) / SMALLEST_BYTES).ln() / STEP.ln();
    (0..STEPS - 1).find(|&step| steps < step as f64 + 1.0).unwrap_or(STEPS - 1)
}

impl Clusters {
    /// How often a value within `radius` of this one has occurred.
    fn near(&self, value: u32, radius: u32) -> u32 {
        let near = self.0.iter().filter(|(center, _)| center.abs_diff(value) <= radius);
        near.map(|&(_, count)| count).sum()
    }

    fn add(&mut self, value: u32, radius: u32) {
        let near =
            |(center, count): &&mut (u32, u32)| *count > 0 && center.abs_diff(value) <= radius;
        if let Some((_, count)) = self.0.iter_mut().find(near) {
            *count = count.saturating_add(1);
        } else if let Some(rarest) = self.0.iter_mut().min_by_key(|(_, count)| *count) {
            *rarest = (value, 1);
        }
    }
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
    fn a_prompt_reply_of_ordinary_size_is_ordinary() {
        let mut replies = Replies::default();
        replies.learn(&plain(1500, 400), false, true);
        assert!(!replies.is_ordinary(&plain(1600, 30)));
        replies.learn(&plain(1550, 400), false, true);
        assert!(replies.is_ordinary(&plain(1600, 30)));
        assert!(!replies.is_ordinary(&plain(700, 30)), "smaller than any ordinary reply");
    }

    #[test]
    fn old_sizes_fade() {
        let mut sizes = Sizes::default();
        for _ in 0..4 {
            sizes.add(500);
        }
        for _ in 0..1000 {
            sizes.add(5000);
        }
        assert_eq!(sizes.up_to_a_step_above(520), 0);
        assert!(sizes.up_to_a_step_above(5000) > 60);
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

    #[test]
    fn servers_are_bounded() {
        let mut memory = ReplyMemory::default();
        for n in 0..1000u32 {
            let [a, b, c, d] = n.to_be_bytes();
            memory.learn(Address::v4([a, b, c, d]), Nanos(n.into()));
        }
        assert_eq!((memory.index.len(), memory.evicted), (SERVERS, 1000 - SERVERS as u64));
    }
}
