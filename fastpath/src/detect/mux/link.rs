//! Retries over HTTP/2. Sameness is sameness of the request body's length; where a client joins
//! HEADERS and DATA, of both, give or take what HPACK makes of a retry counter, and of the headers
//! that only the first request of a connection spells out.
//!
//! A retry needs an end to follow: that of the attempt itself where it ran alone, else any end on
//! its connection that no other retry has used. Lengths are kept as keyed hashes.

use std::hash::{BuildHasher, RandomState};

use arrayvec::ArrayVec;

use crate::burst::FlowId;
use crate::detect::calls::Calls;
use crate::detect::gap::Habit;
use crate::detect::repeat::{self, Alike as Likeness, Asked, Earlier};
use crate::detect::retry::{Caller, Link};
use crate::detect::{hedge, restart};
use crate::keyed::{Fresh, Kept, Keys};
use crate::lru::{LruMap, Reuse};
use crate::telemetry::event::{ExchangeId, Outcome};
use crate::telemetry::grounds::{LinkGrounds, LinkRule};
use crate::time::Nanos;

/// What is remembered of attempts.
#[derive(Debug)]
pub(super) struct Links {
    groups: LruMap<u64, Group>,
    calls: Calls,
    hasher: RandomState,
}

/// One client, server and application.
#[derive(Debug, Default)]
struct Group {
    /// Oldest first.
    attempts: ArrayVec<Attempt, ATTEMPTS>,
    /// Likewise.
    ends: ArrayVec<End, ENDS>,
    habit: Habit,
}

#[derive(Clone, Copy, Debug)]
struct Attempt {
    id: ExchangeId,
    place: FlowId,
    /// Number of its flow, which a place has not.
    flow: u64,
    start: Nanos,
    rtt: Nanos,
    /// Keyed hash of its length, once it is known.
    length: Option<Kept>,
    joined: bool,
    first: bool,
    /// Where it stands, if it is not among others.
    alone: Option<State>,
    /// When it was over, if it is.
    end: Option<Nanos>,
    /// When its application had last called another server.
    elsewhere: Nanos,
    used: bool,
    number: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running,
    Complete,
    Failed(Nanos),
}

/// Something that ended one of several streams of a connection.
#[derive(Clone, Copy, Debug)]
struct End {
    flow: u64,
    at: Nanos,
    /// The stream it was counted for.
    owner: Option<ExchangeId>,
    used: bool,
}

/// What a request is compared by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    /// Plaintext bytes.
    pub(super) bytes: u32,
    /// HEADERS are part of them.
    pub(super) joined: bool,
    /// The first request of its connection.
    pub(super) first: bool,
}

/// What an attempt was decided to be, and whose end it took, if that was another's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decision {
    pub(super) link: Link,
    pub(super) end_of: Option<ExchangeId>,
}

/// Attempts and ends of a group.
const ATTEMPTS: usize = 64;
const ENDS: usize = 64;
/// An attempt older than this, from its start, is not tried again.
const AGE_MAX: Nanos = Nanos::from_secs(30);
/// A retry may seem to start this long before the attempt that was cut has ended.
const OVERLAP_MAX: Nanos = Nanos::from_millis(30);
/// What a retry counter takes off joined requests at most, and what it adds while HPACK has not
/// seen it.
const COUNTER_BYTES: u32 = 12;
const COUNTER_NEW_BYTES: u32 = 4;
/// What the first request of a connection spells out: a few headers, or those of an SDK.
const FIRST_BYTES: std::ops::RangeInclusive<u32> = 60..=400;
/// Lengths that a joined request may have had before.
const NEAR: usize = (COUNTER_NEW_BYTES + COUNTER_BYTES + 1) as usize;
const FAR: usize = 341;
/// Of the nearest, those that HPACK makes of one request on two connections.
const ELSEWHERE: usize = 2 * COUNTER_NEW_BYTES as usize + 1;
/// Least density, a second, of a gap that is one of a retry policy.
const POLICY_DENSITY_MIN: f64 = 0.3;
/// A copy or a repeat is one by its length alone.
const REPEAT_CONFIDENCE: f64 = 0.75;
/// Completed requests of one length that make it a template.
const TEMPLATE_ABOVE: usize = 2;
/// Starts a second of one length that are always there, and the least log-likelihood of a link.
const BACKGROUND_PER_SEC: f64 = 0.002;
const LINK_ABOVE: f64 = -1.0;

impl Reuse for Group {
    fn reuse(&mut self) {
        self.attempts.clear();
        self.ends.clear();
        self.habit = Habit::default();
    }
}

impl Links {
    /// For so many groups.
    pub(super) fn with_capacity(groups: usize) -> Self {
        Self {
            groups: LruMap::with_capacity(groups),
            calls: Calls::for_groups(groups),
            hasher: RandomState::new(),
        }
    }

    /// The key of a caller's group.
    pub(super) fn key(&self, caller: &Caller) -> u64 {
        self.hasher.hash_one(caller)
    }

    /// An attempt has started on the flow of this number.
    pub(super) fn started(
        &mut self,
        key: u64,
        (id, application): (ExchangeId, u64),
        (place, flow): (FlowId, u64),
        start: Nanos,
    ) {
        let elsewhere = self.calls.note(application, key, start).elsewhere;
        let group = self.groups.touch(key, start);
        if group.attempts.is_full() {
            group.attempts.remove(0);
        }
        group.attempts.push(Attempt {
            id,
            place,
            flow,
            start,
            rtt: Nanos::ZERO,
            length: None,
            joined: false,
            first: false,
            alone: Some(State::Running),
            end: None,
            elsewhere,
            used: false,
            number: 1,
        });
    }

    /// An attempt is over. `alone`: what is known of it is its own.
    pub(super) fn ended(
        &mut self,
        keys: &Keys,
        key: u64,
        id: ExchangeId,
        (size, rtt): (Size, Nanos),
        (outcome, alone, at): (Outcome, bool, Nanos),
    ) {
        let length = keys.length(size.bytes.into()).kept();
        let group = self.groups.touch(key, at);
        let Some(attempt) = group.attempts.iter_mut().find(|attempt| attempt.id == id) else {
            return;
        };
        (attempt.rtt, attempt.end) = (rtt, Some(at));
        (attempt.length, attempt.joined, attempt.first) = (Some(length), size.joined, size.first);
        let failed = outcome.invites_retry();
        attempt.alone = alone.then_some(if failed { State::Failed(at) } else { State::Complete });
        if failed && !alone {
            let flow = attempt.flow;
            group.push_end(End { flow, at, owner: Some(id), used: false });
        }
    }

    /// Something may have ended one of several streams.
    pub(super) fn maybe_ended(&mut self, key: u64, flow: u64, at: Nanos) {
        self.groups.touch(key, at).push_end(End { flow, at, owner: None, used: false });
    }

    /// Decides what an attempt is. `running` tells how an attempt that is still open would have
    /// ended: whether it is alone, its outcome, and when.
    pub(super) fn decide(
        &mut self,
        keys: &Keys,
        key: u64,
        id: ExchangeId,
        (size, rtt): (Size, Nanos),
        window: Nanos,
        running: impl Fn(FlowId, ExchangeId) -> Option<(bool, Outcome, Nanos, Size)>,
    ) -> Decision {
        let length = keys.length(size.bytes.into());
        let hashes = Alike::of(size, keys);
        let unknown = Decision { link: Link::UNKNOWN, end_of: None };
        let Some(group) = self.groups.get_mut(&key) else { return unknown };
        let Some(place) = group.attempts.iter().position(|attempt| attempt.id == id) else {
            return unknown;
        };
        let attempt = &mut group.attempts[place];
        attempt.rtt = rtt;
        (attempt.length, attempt.joined, attempt.first) =
            (Some(length.kept()), size.joined, size.first);
        let own = *attempt;
        let rate = group.rate(&own, length);
        for earlier in (0..place).rev() {
            let mut before = group.attempts[earlier];
            let age = own.start.since(before.start);
            if age > AGE_MAX.max(window) || before.used || age < before.rtt {
                continue;
            }
            if before.alone == Some(State::Running)
                && let Some((alone, outcome, at, seen)) = running(before.place, before.id)
            {
                let failed = outcome.invites_retry();
                before.length = Some(keys.length(seen.bytes.into()).kept());
                (before.joined, before.first) = (seen.joined, seen.first);
                let state = if failed { State::Failed(at) } else { State::Running };
                before.alone = alone.then_some(state);
            }
            if !before.length.is_some_and(|hash| hashes.contains(before.joined, before.first, hash))
            {
                continue;
            }
            let Some((at, end)) = group.end_for(&before, own.start) else { continue };
            let gap = own.start.since(at).secs_f64();
            let likely =
                group.habit.density(gap, before.number).ln() - (rate + BACKGROUND_PER_SEC).ln();
            if gap > window.secs_f64() || (rate > 0.0 && likely <= LINK_ABOVE) {
                continue;
            }
            let by_policy = group.habit.density(gap, before.number) >= POLICY_DENSITY_MIN;
            if !by_policy && hashes.is_vague(before.first) {
                continue;
            }
            return group.link(place, earlier, (end, gap, likely));
        }
        let link = group.repeats(place, &hashes, |flow, id| {
            let (_, _, _, seen) = running(flow, id)?;
            Some((keys.length(seen.bytes.into()).kept(), seen))
        });
        Decision { link, end_of: None }
    }

    /// Groups that were pushed out.
    pub(super) fn evicted(&self) -> u64 {
        self.groups.evicted + self.calls.evicted()
    }

    /// Forgets lengths whose key is gone, in one group a call.
    pub(super) fn sweep(&mut self, keys: &Keys) {
        if let Some(group) = self.groups.next_in_round() {
            let gone =
                |attempt: &&mut Attempt| attempt.length.is_some_and(|kept| !keys.knows(kept));
            group.attempts.iter_mut().filter(gone).for_each(|attempt| attempt.length = None);
        }
    }
}

/// Hashes of the lengths that the same request may have had.
struct Alike {
    own: Size,
    exact: Fresh,
    /// Of joined requests the same with another counter; of others what is nearly the same.
    near: [Fresh; NEAR],
    far: [Fresh; FAR],
}

impl Alike {
    /// The hashes of all lengths that the same request may have had before.
    fn of(size: Size, keys: &Keys) -> Self {
        let length = |bytes: u32| keys.length(bytes.into());
        let bytes = size.bytes;
        let none = Fresh::default();
        let mut alike =
            Self { own: size, exact: length(bytes), near: [none; NEAR], far: [none; FAR] };
        if size.joined {
            for (hash, more) in alike.near.iter_mut().zip(0..) {
                *hash = length((bytes + more).saturating_sub(COUNTER_NEW_BYTES));
            }
            for (hash, by) in alike.far.iter_mut().zip(FIRST_BYTES) {
                *hash = length(match size.first {
                    true => bytes.saturating_sub(by),
                    false => bytes.saturating_add(by),
                });
            }
        } else {
            for (hash, by) in alike.near.iter_mut().zip([1, 2, 3]) {
                *hash = length(bytes + by);
            }
            for (hash, by) in alike.near.iter_mut().skip(3).zip([1, 2, 3]) {
                *hash = length(bytes.saturating_sub(by));
            }
        }
        alike
    }

    fn contains(&self, joined: bool, first: bool, hash: Kept) -> bool {
        if joined != self.own.joined {
            return false;
        }
        match (joined, first == self.own.first) {
            (false, _) => self.exact.is(hash),
            (true, true) => self.near.iter().any(|near| near.is(hash)),
            (true, false) => self.far.iter().any(|far| far.is(hash)),
        }
    }

    /// That the lengths agree says little: one of the two spells its headers out.
    fn is_vague(&self, first: bool) -> bool {
        self.own.joined && first != self.own.first
    }

    /// How much another request is like this one. `elsewhere`: it is on another connection.
    fn likeness(&self, (hash, joined, first): (Kept, bool, bool), elsewhere: bool) -> Likeness {
        match () {
            () if joined != self.own.joined || self.is_vague(first) => Likeness::Other,
            () if self.exact.is(hash) => Likeness::Same,
            () if elsewhere && joined && self.near.iter().take(ELSEWHERE).any(|n| n.is(hash)) => {
                Likeness::Same
            }
            () if self.near.iter().any(|near| near.is(hash)) => Likeness::Near,
            () => Likeness::Other,
        }
    }
}

impl Group {
    /// What an attempt is that is no retry: the copy of one that runs, a repeat of one that was
    /// answered, or neither. What is answered among others is not known to be.
    fn repeats(
        &self,
        place: usize,
        hashes: &Alike,
        running: impl Fn(FlowId, ExchangeId) -> Option<(Kept, Size)>,
    ) -> Link {
        let own = self.attempts[place];
        let earlier = self.attempts.iter().take(place).map(|other| {
            let told = other.length.map(|hash| (hash, other.joined, other.first));
            let seen = || {
                let (hash, size) = running(other.place, other.id)?;
                Some((hash, size.joined, size.first))
            };
            let alike = told.or_else(seen).map_or(Likeness::Other, |size| {
                hashes.likeness(size, other.flow != own.flow && other.end.is_none())
            });
            let answered = other.end.filter(|_| other.alone == Some(State::Complete));
            // What nothing is known of any more is over.
            let end = other.end.or_else(|| (alike == Likeness::Other).then_some(other.start));
            Earlier { alike, start: other.start, answered, end }
        });
        // A connection that carries several at once says nothing of who goes on.
        let asked = Asked { at: own.start, elsewhere: own.elsewhere, continues: false };
        let repeat = repeat::look(asked, earlier);
        let (hedge, restart) = (hedge::observe(&repeat), restart::observe(&repeat));
        let count = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
        let grounds = LinkGrounds {
            rule: LinkRule::Body,
            same: count(repeat.same),
            near: count(repeat.near),
            answered_seconds: repeat.answered.map(Nanos::secs_f64),
            running_seconds: repeat.running.map(Nanos::secs_f64),
            ..LinkGrounds::default()
        };
        let confidence =
            if hedge || restart { REPEAT_CONFIDENCE } else { Link::UNKNOWN.confidence };
        Link { hedge, restart: restart && !hedge, confidence, grounds, ..Link::UNKNOWN }
    }

    fn push_end(&mut self, end: End) {
        if self.ends.is_full() {
            self.ends.remove(0);
        }
        self.ends.push(end);
    }

    /// When, and by which of `ends`, an attempt came to an end that a retry at `start` may follow.
    fn end_for(&self, before: &Attempt, start: Nanos) -> Option<(Nanos, Option<usize>)> {
        match before.alone {
            Some(State::Failed(at)) => (at <= start + OVERLAP_MAX).then_some((at, None)),
            Some(State::Running | State::Complete) => None,
            None => {
                let soonest = before.start + Nanos(before.rtt.0 / 5 * 4);
                let fits = |end: &End| {
                    let in_time = (soonest..=start + OVERLAP_MAX).contains(&end.at);
                    end.flow == before.flow && !end.used && in_time
                };
                let end = self.ends.iter().position(fits)?;
                Some((self.ends[end].at, Some(end)))
            }
        }
    }

    /// Completed requests of this length a second; 0 unless it is a template.
    fn rate(&self, own: &Attempt, length: Fresh) -> f64 {
        let same = |attempt: &&Attempt| {
            attempt.length.is_some_and(|kept| length.is(kept))
                && attempt.id < own.id
                && attempt.alone == Some(State::Complete)
        };
        let count = self.attempts.iter().filter(same).count();
        let first = self.attempts.iter().find(same).map_or(own.start, |attempt| attempt.start);
        match count > TEMPLATE_ABOVE {
            true => count as f64 / own.start.since(first).secs_f64().max(1.0),
            false => 0.0,
        }
    }

    fn link(&mut self, place: usize, earlier: usize, by: (Option<usize>, f64, f64)) -> Decision {
        let (end, gap, likely) = by;
        self.habit.learn(gap);
        let end = end.and_then(|end| self.ends.get_mut(end));
        let (confidence, rule) = match end.is_some() {
            true => (0.8, LinkRule::SharedEnd),
            false => (0.95, LinkRule::Body),
        };
        let end_of = end.and_then(|end| {
            end.used = true;
            end.owner
        });
        let before = &mut self.attempts[earlier];
        before.used = true;
        let (id, number) = (before.id, before.number.saturating_add(1));
        self.attempts[place].number = number;
        let grounds = LinkGrounds {
            rule,
            candidates: 1,
            gap_seconds: Some(gap),
            log_likelihood: Some(likely),
            ..LinkGrounds::default()
        };
        let retry_of = Some(id);
        let link = Link { attempt: number, retry_of, confidence, grounds, ..Link::UNKNOWN };
        Decision { link, end_of: end_of.filter(|owner| *owner != id) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyed::Seed;

    fn keys() -> Keys {
        Keys::new(Seed::Fixed(1))
    }

    const RTT: Nanos = Nanos::from_millis(20);
    const WINDOW: Nanos = Nanos::from_secs(12);
    const FLOW: (FlowId, u64) = (FlowId(0), 7);

    fn at(ms: u64) -> Nanos {
        Nanos::from_millis(ms)
    }

    fn separate(bytes: u32) -> Size {
        Size { bytes, joined: false, first: false }
    }

    /// An attempt from `start` to `end`, milliseconds, decided in between.
    fn attempt(links: &mut Links, id: u64, size: Size, start: u64, end: (Outcome, bool, u64)) {
        let (outcome, alone, ended) = end;
        links.started(1, (ExchangeId(id), 0), FLOW, at(start));
        let decision = links.decide(&keys(), 1, ExchangeId(id), (size, RTT), WINDOW, |_, _| None);
        assert_eq!(decision.link.retry_of, None, "of attempt {id}");
        links.ended(&keys(), 1, ExchangeId(id), (size, RTT), (outcome, alone, at(ended)));
    }

    fn retry_of(links: &mut Links, id: u64, size: Size, start: u64) -> Option<u64> {
        links.started(1, (ExchangeId(id), 0), FLOW, at(start));
        let decision = links.decide(&keys(), 1, ExchangeId(id), (size, RTT), WINDOW, |_, _| None);
        decision.link.retry_of.map(|id| id.0)
    }

    #[test]
    fn the_same_body_after_a_failure_is_a_retry_and_after_success_none() {
        let mut links = Links::with_capacity(4);
        attempt(&mut links, 1, separate(900), 0, (Outcome::Failed, true, 60));
        attempt(&mut links, 2, separate(700), 100, (Outcome::Complete, true, 300));
        assert_eq!(retry_of(&mut links, 3, separate(900), 500), Some(1));
        assert_eq!(retry_of(&mut links, 4, separate(900), 900), None, "each failure is used once");
        assert_eq!(retry_of(&mut links, 5, separate(700), 950), None);
    }

    #[test]
    fn joined_requests_may_differ_by_a_counter_and_by_first_headers() {
        let joined = |bytes, first| Size { bytes, joined: true, first };
        let mut links = Links::with_capacity(4);
        attempt(&mut links, 1, joined(2156, true), 0, (Outcome::Failed, true, 60));
        assert_eq!(retry_of(&mut links, 2, joined(1850, false), 500), Some(1));
        let mut links = Links::with_capacity(4);
        attempt(&mut links, 1, joined(4093, false), 0, (Outcome::Failed, true, 60));
        assert_eq!(retry_of(&mut links, 2, joined(4101, false), 300), None, "a retry is no longer");
        assert_eq!(retry_of(&mut links, 3, joined(4085, false), 500), Some(1));
    }

    #[test]
    fn among_others_any_unused_end_in_time_will_do() {
        let mut links = Links::with_capacity(4);
        attempt(&mut links, 1, separate(900), 0, (Outcome::Complete, false, 200));
        assert_eq!(retry_of(&mut links, 2, separate(900), 400), None, "nothing has ended badly");
        links.maybe_ended(1, FLOW.1, at(410));
        assert_eq!(retry_of(&mut links, 3, separate(900), 500), Some(1));
        assert_eq!(retry_of(&mut links, 4, separate(900), 600), None);
    }

    #[test]
    fn a_copy_on_another_connection_may_differ_by_what_hpack_makes_of_it() {
        let copy_of = |flow| {
            let joined = |bytes| Size { bytes, joined: true, first: false };
            let mut links = Links::with_capacity(4);
            links.started(1, (ExchangeId(1), 0), FLOW, at(0));
            links.started(1, (ExchangeId(2), 0), (FlowId(1), flow), at(400));
            let running = |_, _| Some((true, Outcome::Open, at(400), joined(976)));
            let own = (joined(972), RTT);
            links.decide(&keys(), 1, ExchangeId(2), own, WINDOW, running).link.hedge
        };
        assert!(copy_of(FLOW.1 + 1));
        assert!(!copy_of(FLOW.1), "on its own connection HPACK has seen it");
    }

    #[test]
    fn attempts_and_ends_are_bounded() {
        let mut links = Links::with_capacity(4);
        for id in 0..1000 {
            links.started(1, (ExchangeId(id), 0), FLOW, at(id));
            links.maybe_ended(1, FLOW.1, at(id));
        }
        let group = links.groups.get(&1).unwrap();
        assert_eq!((group.attempts.len(), group.ends.len()), (ATTEMPTS, ENDS));
    }
}
