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
    /// Keyed hashes of its length, once it is known, and of that in steps.
    length: Option<Kept>,
    step: Option<Kept>,
    joined: bool,
    first: bool,
    /// Where it stands, if it is not among others.
    alone: Option<State>,
    /// When it was over, if it is.
    end: Option<Nanos>,
    /// When its application had last called another server.
    elsewhere: Nanos,
    /// It is complete, and came as errors come.
    suspect: bool,
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

/// What an attempt was decided to be, and what that says of others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decision {
    pub(super) link: Link,
    /// Whose end it took, if that was another's.
    pub(super) end_of: Option<ExchangeId>,
    /// What it is a retry of was taken for complete.
    pub(super) failed: bool,
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
/// The same where one of the two is the first of its connection, in steps of so many bytes.
const STEP_BYTES: u32 = 32;
const STEPS: usize = 12;
/// Of the nearest, those that HPACK makes of one request on two connections.
const ELSEWHERE: usize = 2 * COUNTER_NEW_BYTES as usize + 1;
/// Least density, a second, of a gap that is one of a retry policy.
const POLICY_DENSITY_MIN: f64 = 0.3;
/// A copy or a repeat is one by its length alone.
const REPEAT_CONFIDENCE: f64 = 0.75;
/// An answer that was an error is followed by its retry within this.
const SEQUEL: std::ops::RangeInclusive<Nanos> = Nanos::from_millis(100)..=Nanos::from_millis(1450);
/// A model has hardly been asked in between.
const SOON: Nanos = Nanos::from_millis(700);
/// The next request of a connection whose first failed is its retry, most likely, when it comes
/// within this.
const NEXT_WITHIN: Nanos = Nanos::from_secs(2);
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
            step: None,
            joined: false,
            first: false,
            alone: Some(State::Running),
            end: None,
            elsewhere,
            suspect: false,
            used: false,
            number: 1,
        });
    }

    /// An attempt is over. `alone`: what is known of it is its own; `suspect`: it may yet turn out to
    /// have failed.
    pub(super) fn ended(
        &mut self,
        keys: &Keys,
        key: u64,
        id: ExchangeId,
        (size, rtt): (Size, Nanos),
        (outcome, alone, suspect, at): (Outcome, bool, bool, Nanos),
    ) {
        let group = self.groups.touch(key, at);
        let Some(attempt) = group.attempts.iter_mut().find(|attempt| attempt.id == id) else {
            return;
        };
        (attempt.rtt, attempt.end, attempt.suspect) = (rtt, Some(at), suspect);
        attempt.measure(size, keys);
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
        let unknown = Decision { link: Link::UNKNOWN, end_of: None, failed: false };
        let Some(group) = self.groups.get_mut(&key) else { return unknown };
        let Some(place) = group.attempts.iter().position(|attempt| attempt.id == id) else {
            return unknown;
        };
        let attempt = &mut group.attempts[place];
        attempt.rtt = rtt;
        attempt.measure(size, keys);
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
                before.measure(seen, keys);
                let state = if failed { State::Failed(at) } else { State::Running };
                before.alone = alone.then_some(state);
            }
            if !hashes.contains(&before) {
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
            let is_next = || group.is_next(place, earlier) && gap <= NEXT_WITHIN.secs_f64();
            let vague = hashes.is_vague(before.first) || hashes.differs(&before, own.flow);
            if vague && !by_policy && !is_next() {
                continue;
            }
            return group.link(place, earlier, (end, gap, likely));
        }
        let link = group.repeats(place, &hashes, |flow, id| {
            let (_, _, _, seen) = running(flow, id)?;
            Some((keys.length(seen.bytes.into()).kept(), seen))
        });
        if let Some((earlier, gap)) = group.sequel_of(place, &hashes) {
            group.attempts[earlier].alone = group.attempts[earlier].end.map(State::Failed);
            let decision = group.link(place, earlier, (None, gap, 0.0));
            return Decision { failed: true, ..decision };
        }
        Decision { link, end_of: None, failed: false }
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
            group.attempts.iter_mut().filter(gone).for_each(|attempt| {
                (attempt.length, attempt.step) = (None, None);
            });
        }
    }
}

/// Hashes of the lengths that the same request may have had.
struct Alike {
    own: Size,
    exact: Fresh,
    /// Of joined requests the same with another counter; of others what is nearly the same.
    near: [Fresh; NEAR],
    /// The same, where one of the two is the first of its connection: in steps.
    steps: [Fresh; STEPS],
}

/// The hash of a length in steps.
fn step(bytes: u32, keys: &Keys) -> Fresh {
    keys.hash(STEP_BYTES.into(), (bytes / STEP_BYTES).into())
}

impl Alike {
    /// The hashes of all lengths that the same request may have had before.
    fn of(size: Size, keys: &Keys) -> Self {
        let length = |bytes: u32| keys.length(bytes.into());
        let bytes = size.bytes;
        let none = Fresh::default();
        let mut alike =
            Self { own: size, exact: length(bytes), near: [none; NEAR], steps: [none; STEPS] };
        if size.joined {
            for (hash, more) in alike.near.iter_mut().zip(0..) {
                *hash = length((bytes + more).saturating_sub(COUNTER_NEW_BYTES));
            }
            let shortest = match size.first {
                true => bytes.saturating_sub(*FIRST_BYTES.end()),
                false => bytes.saturating_add(*FIRST_BYTES.start()),
            };
            for (hash, n) in alike.steps.iter_mut().zip(0..) {
                *hash = step(shortest + n * STEP_BYTES, keys);
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

    fn contains(&self, before: &Attempt) -> bool {
        let (Some(length), Some(step)) = (before.length, before.step) else { return false };
        if before.joined != self.own.joined {
            return false;
        }
        match (before.joined, before.first == self.own.first) {
            (false, _) => self.exact.is(length),
            (true, true) => self.near.iter().any(|near| near.is(length)),
            (true, false) => self.steps.iter().any(|near| near.is(step)),
        }
    }

    /// That the lengths agree says little: one of the two spells its headers out.
    fn is_vague(&self, first: bool) -> bool {
        self.own.joined && first != self.own.first
    }

    /// It is on another connection, and HPACK or chance has made the lengths differ.
    fn differs(&self, before: &Attempt, flow: u64) -> bool {
        before.flow != flow && !before.length.is_some_and(|length| self.exact.is(length))
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

impl Attempt {
    fn measure(&mut self, size: Size, keys: &Keys) {
        self.length = Some(keys.length(size.bytes.into()).kept());
        self.step = Some(step(size.bytes, keys).kept());
        (self.joined, self.first) = (size.joined, size.first);
    }
}

impl Group {
    /// Nothing else has started on the connection of `earlier` before the attempt at `place`, which is
    /// on it as well.
    fn is_next(&self, place: usize, earlier: usize) -> bool {
        let flow = self.attempts[earlier].flow;
        let mut since = self.attempts[earlier + 1..=place].iter();
        since
            .find(|attempt| attempt.flow == flow)
            .is_some_and(|next| next.id == self.attempts[place].id)
    }

    /// The complete attempt whose answer must have been an error, as the same request follows after
    /// the pause of a retry: it came as errors come, the length is no template, and the connection,
    /// if not the application, has done nothing else meanwhile. A workflow that begins again has
    /// asked a model in between, and that takes longer. And the pause, seconds.
    fn sequel_of(&self, place: usize, hashes: &Alike) -> Option<(usize, f64)> {
        let own = self.attempts[place];
        let alike = |attempt: &Attempt| !hashes.is_vague(attempt.first) && hashes.contains(attempt);
        let answered = |attempt: &&Attempt| attempt.alone == Some(State::Complete);
        let before = self.attempts[..place].iter();
        if before.filter(answered).filter(|attempt| alike(attempt)).count() > 1 {
            return None;
        }
        let earlier = (0..place).rev().find(|&earlier| alike(&self.attempts[earlier]))?;
        let attempt = &self.attempts[earlier];
        let end = attempt.end.filter(|_| attempt.suspect && !attempt.used)?;
        let gap = own.start.since(end);
        let busy = own.elsewhere > end
            || self.attempts[earlier + 1..place].iter().any(|other| other.start > end);
        let fits = own.start > end && SEQUEL.contains(&gap);
        // One call a process (curl): what others of its kind do meanwhile says nothing of it.
        let one_shots = own.first && attempt.first && own.flow != attempt.flow && gap <= SOON;
        (fits && (!busy || one_shots || self.is_next(place, earlier)))
            .then_some((earlier, gap.secs_f64()))
    }

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
        Decision { link, end_of: end_of.filter(|owner| *owner != id), failed: false }
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
        links.ended(&keys(), 1, ExchangeId(id), (size, RTT), (outcome, alone, false, at(ended)));
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

    /// Whether a request `pause` after the answer to one of this size is its retry. `suspect`: the
    /// answer came as errors come.
    fn is_sequel(links: &mut Links, suspect: bool, pause: u64, size: Size) -> bool {
        let own = (separate(900), RTT);
        links.started(1, (ExchangeId(1), 0), FLOW, at(0));
        links.decide(&keys(), 1, ExchangeId(1), own, WINDOW, |_, _| None);
        let how = (Outcome::Complete, true, suspect, at(40));
        links.ended(&keys(), 1, ExchangeId(1), own, how);
        links.started(1, (ExchangeId(2), 0), FLOW, at(40 + pause));
        let decision = links.decide(&keys(), 1, ExchangeId(2), (size, RTT), WINDOW, |_, _| None);
        decision.failed && decision.link.retry_of == Some(ExchangeId(1))
    }

    #[test]
    fn the_same_request_after_an_answer_as_prompt_as_an_error_is_its_retry() {
        let is_sequel = |suspect, pause, bytes| {
            is_sequel(&mut Links::with_capacity(4), suspect, pause, separate(bytes))
        };
        assert!(is_sequel(true, 400, 900));
        assert!(!is_sequel(false, 400, 900), "it was an answer");
        assert!(!is_sequel(true, 400, 901), "another request");
        assert!(!is_sequel(true, 30, 900), "a batch goes on at once");
        assert!(!is_sequel(true, 5000, 900));
    }

    #[test]
    fn of_two_calls_that_are_a_connection_each_others_of_their_kind_say_nothing() {
        let sequel = |first, pause: u64| {
            let mut links = Links::with_capacity(4);
            let own = (Size { first, ..separate(900) }, RTT);
            links.started(1, (ExchangeId(1), 0), FLOW, at(0));
            links.decide(&keys(), 1, ExchangeId(1), own, WINDOW, |_, _| None);
            links.ended(&keys(), 1, ExchangeId(1), own, (Outcome::Complete, true, true, at(40)));
            links.started(2, (ExchangeId(2), 0), (FlowId(1), 8), at(60));
            links.started(1, (ExchangeId(3), 0), (FlowId(2), 9), at(40 + pause));
            let decision = links.decide(&keys(), 1, ExchangeId(3), own, WINDOW, |_, _| None);
            decision.link.retry_of == Some(ExchangeId(1))
        };
        assert!(sequel(true, 400));
        assert!(!sequel(true, 900), "a model may have been asked in between");
        assert!(!sequel(false, 400), "connections that carry more");
    }

    #[test]
    fn what_is_asked_again_and_again_is_no_sequel() {
        let mut links = Links::with_capacity(4);
        for id in 10..12 {
            links.started(1, (ExchangeId(id), 0), FLOW, at(0));
            let how = (Outcome::Complete, true, true, at(10 + id));
            links.ended(&keys(), 1, ExchangeId(id), (separate(900), RTT), how);
        }
        assert!(!is_sequel(&mut links, true, 400, separate(900)));
    }

    #[test]
    fn the_next_request_after_the_first_of_a_connection_has_failed_is_its_retry() {
        let joined = |bytes, first| Size { bytes, joined: true, first };
        let retry = |pause: u64, between: bool| {
            let mut links = Links::with_capacity(4);
            attempt(&mut links, 1, joined(2137, true), 0, (Outcome::Failed, true, 60));
            if between {
                attempt(&mut links, 2, joined(600, false), 70, (Outcome::Complete, true, 90));
            }
            retry_of(&mut links, 3, joined(1835, false), 60 + pause) == Some(1)
        };
        assert!(retry(250, false), "whatever the pause");
        assert!(!retry(250, true), "it is not the next");
        assert!(retry(450, true), "an SDK pauses so");
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
