//! Retry: which attempt is another try at the work of which earlier one.
//!
//! Payload is not read, so sameness is sameness of length: the same client, server and application
//! sends a request of the same length again (or the same body behind another header) after an
//! attempt that failed. Where lengths are a template (batches, health checks) equality proves
//! nothing, and what decides is how likely the gap is: links are an assignment of starts to failed
//! attempts by log-likelihood, made [`DECIDE_AFTER`] the start.
//!
//! Memory is bounded and short. A length is kept in clear only while its exchange runs or waits to
//! be decided, after that as a hash whose key rotates.

use std::hash::{BuildHasher, RandomState};

use super::assign::{Pair, assign, confidence};
use super::calls::{Called, Calls};
use super::continuity::{Before, Came};
use super::group::{Attempt, Carried, Completed, Debt, Group, Place, Progress};
use super::recurring::{Answer, Recurring};
use super::repeat::{self, Alike, Asked, Earlier, Repeat};
use super::size::{FAMILY_BYTES, Reply, Request, Size};
use super::{Known, hedge, restart};
use crate::burst::{Address, FlowId};
use crate::exchange::Exchanges;
use crate::exchange::h1::Facts;
use crate::keyed::Keys;
use crate::lru::LruMap;
use crate::policy::snapshot::Limits;
use crate::telemetry::event::{Decision, ExchangeId, Outcome};
use crate::telemetry::grounds::{LinkGrounds, LinkRule};
use crate::time::Nanos;

/// How long after its start an attempt is linked. Sooner, and rivals for the same debt are not
/// known yet.
pub const DECIDE_AFTER: Nanos = Nanos::from_millis(500);

/// When a completed request was asked is forgotten after this.
const SPANS_FOR: Nanos = Nanos::from_secs(75);
/// A retry is decided within this.
const DECIDED_WITHIN: Nanos = Nanos::from_secs(1);
/// Starts a second of one length that are always there.
const BACKGROUND_PER_SEC: f64 = 0.002;
/// Starts are counted over this time where nothing of a request is known.
const STARTS_WITHIN: Nanos = Nanos::from_secs(10);
/// What it costs that only the body is the same.
const BODY_ONLY: f64 = 0.3;
/// Seconds by which a retry may seem to start before the attempt that was cut has ended.
const OVERLAP_MAX: f64 = 0.03;
/// A rate is taken over at least this time, seconds.
const OBSERVED_MIN_SECS: f64 = 0.3;
/// Completed requests of one length that make it a template.
const TEMPLATE_ABOVE: u32 = 2;
/// Requests of one length that wait for an answer at once are a template before any has one.
const AT_ONCE_MIN: u32 = 2;
/// A link teaches how a group retries from this log-likelihood ratio on.
const LEARN_ABOVE: f64 = 0.0;
/// Lengths of a family that completed this recently count.
const FAMILY_WITHIN: Nanos = Nanos::from_secs(60);
/// Answers of a group that may be in doubt at once.
const DOUBTED_MAX: usize = 40;
/// A request that comes later than this after an answer, seconds, does not put it in doubt: after a
/// first attempt, a later one, and an answer that is not what models give.
const AGAIN_WITHIN_SECS: f64 = 0.6;
const LATER_AGAIN_WITHIN_SECS: f64 = 1.2;
const MODEL_AGAIN_WITHIN_SECS: f64 = 1.7;
/// Sooner than this, seconds, nothing was called in between that the request could follow from.
const AGAIN_BUSY_SECS: f64 = 0.25;
/// One that is asked for more often has one answer, whatever it is.
const AGAIN_MAX: u16 = 5;
/// Most answers that may be errors are none: log of the odds.
const DOUBT: f64 = 2.3;

/// How an attempt stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It ended like this, or would if it ended now.
    Told(Outcome),
    /// It was answered, perhaps by an error: a repeat after at least this pause shows that.
    Doubted(Nanos),
}

/// What an attempt was decided to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// Its number at the work: 1 is the first.
    pub attempt: u16,
    /// The attempt before.
    pub retry_of: Option<ExchangeId>,
    /// How sure that is, 0 to 1.
    pub confidence: f64,
    /// It is a second copy of a request that was still running.
    pub hedge: bool,
    /// It repeats a request that had been answered.
    pub restart: bool,
    /// What this was decided by.
    pub grounds: LinkGrounds,
}

/// Who calls whom with which application.
#[derive(Clone, Copy, Debug, Hash)]
pub struct Caller {
    /// The client.
    pub client: Address,
    /// The server.
    pub server: Address,
    /// Hash of the client's cipher list.
    pub application: u64,
}

/// What an lcore remembers of attempts.
#[derive(Debug)]
pub struct RetryMemory {
    groups: LruMap<Place, Group>,
    /// How long after a failure a retry may come: as the policy last said.
    window: Nanos,
    calls: Calls,
    hasher: RandomState,
    pairs: Vec<Pair>,
    starts: Vec<Start>,
    pushed_out: u64,
}

/// A start to be decided.
#[derive(Clone, Copy, Debug)]
struct Start {
    id: ExchangeId,
    at: Nanos,
    meant: Nanos,
    elsewhere: Nanos,
    request: Request,
    flow: FlowId,
    carried: Carried,
    before: Before,
    /// Completed requests of this very length a second; 0 unless it is a template.
    rate_per_sec: f64,
    /// Nothing of this length, or nearly, has completed lately.
    unique: bool,
}

impl Link {
    /// A first attempt, as far as anybody knows.
    pub const UNKNOWN: Self = Self {
        attempt: 1,
        retry_of: None,
        confidence: 0.5,
        hedge: false,
        restart: false,
        grounds: LinkGrounds {
            rule: LinkRule::Undecided,
            candidates: 0,
            rivals: 0,
            gap_seconds: None,
            log_likelihood: None,
            same: 0,
            near: 0,
            answered_seconds: None,
            running_seconds: None,
        },
    };
}

impl RetryMemory {
    /// For so many groups.
    #[must_use]
    pub fn with_capacity(groups: usize) -> Self {
        Self {
            groups: LruMap::with_capacity(groups),
            window: Limits::default().retry_window(),
            calls: Calls::for_groups(groups),
            hasher: RandomState::new(),
            pairs: Vec::with_capacity(4096),
            starts: Vec::with_capacity(64),
            pushed_out: 0,
        }
    }

    /// Remembers that an attempt was meant, and has started, on a connection that had carried
    /// something else before or nothing. Returns where, and when its application had last called
    /// anybody.
    pub fn started(
        &mut self,
        id: ExchangeId,
        flow: FlowId,
        (meant, at): (Nanos, Nanos),
        caller: &Caller,
        carried: Carried,
    ) -> (Place, Nanos) {
        let (place, Called { elsewhere, anywhere }) = self.called(caller, at);
        let group = self.groups.touch(place, at);
        group.forget_before(at.since(self.window + DECIDED_WITHIN));
        group.forget_spans_before(at.since(SPANS_FOR));
        self.pushed_out += u64::from(group.push(Attempt {
            id,
            flow,
            start: at,
            meant,
            carried,
            elsewhere,
            link: None,
            verdict: Decision::default(),
            paid: false,
            progress: Progress::Running,
        }));
        (place, anywhere)
    }

    /// Notes a call, whatever becomes of it. Returns the place of the caller's group, and when its
    /// application had called before.
    pub fn called(&mut self, caller: &Caller, at: Nanos) -> (Place, Called) {
        let place = Place(self.hasher.hash_one(caller));
        let application = self.hasher.hash_one((caller.client, caller.application));
        (place, self.calls.note(application, place.0, at))
    }

    /// The place of a caller's group, unless it has left.
    #[must_use]
    pub fn place(&self, caller: &Caller) -> Option<Place> {
        let place = Place(self.hasher.hash_one(caller));
        self.groups.get(&place).map(|_| place)
    }

    /// How likely a request of this caller, now, is the retry of an attempt that is known to have
    /// failed: the densities of the gaps, against the rate at which it starts anything.
    #[must_use]
    pub fn provisional(&self, caller: &Caller, window: Nanos, now: Nanos) -> f64 {
        let Some(group) = self.place(caller).and_then(|place| self.groups.get(&place)) else {
            return 0.0;
        };
        let (mut retry, mut started) = (0.0, 0_u32);
        for attempt in &group.attempts {
            started += u32::from(now.since(attempt.start) < STARTS_WITHIN);
            if let (Progress::Failed(_, debt), false) = (attempt.progress, attempt.paid)
                && now.since(debt.end) <= window
            {
                let number = attempt.link.map_or(1, |link| link.attempt);
                retry += group.habit.density(now.since(debt.end).secs_f64(), number);
            }
        }
        let rate = f64::from(started) / STARTS_WITHIN.secs_f64();
        retry / (retry + rate.max(BACKGROUND_PER_SEC))
    }

    /// Lets a server's memory of answers learn from one, and from what the same request was answered
    /// before.
    pub fn answered(&self, keys: &Keys, place: Place, facts: &Facts, recurring: &mut Recurring) {
        let (size, request) = (facts.seen.down_bytes, keys.length(facts.seen.up_bytes.into()));
        let Some(group) = self.groups.get(&place) else { return };
        let known = group.length(request);
        let in_doubt = group.attempts.iter().rev().find_map(|attempt| match attempt.progress {
            Progress::Doubted(asked, debt) if asked.is(facts.seen.up_bytes, request) => {
                Some((debt.answer.exact, false))
            }
            _ => None,
        });
        let settled = known.map(|length| (length.answer, length.count > TEMPLATE_ABOVE));
        let before = in_doubt.or(settled);
        recurring.learn(&Answer { size, request, before }, keys);
    }

    /// Remembers how an attempt ended. Returns what it was decided to be, if it was; `running`: as far
    /// as its flow knows.
    pub fn ended(
        &mut self,
        keys: &Keys,
        place: Place,
        facts: &Facts,
        standing: Standing,
        running: Option<Known>,
    ) -> Option<Known> {
        let mut size = Size::of(facts);
        let group = self.groups.get_mut(&place)?;
        if standing == Standing::Told(Outcome::Complete) {
            group.learn_length(&completed(facts, keys));
        }
        if !standing.may_invite_retry() {
            // It had looked like a failure, and somebody was taken for its retry.
            let names_it = |attempt: &&mut Attempt| {
                attempt.link.is_some_and(|link| link.retry_of == Some(facts.seen.id))
            };
            if let Some(mistaken) = group.attempts.iter_mut().find(names_it) {
                mistaken.link = Some(Link::UNKNOWN);
            }
        }
        if group.attempt(facts.seen.id).is_none() && standing.may_invite_retry() {
            self.pushed_out += u64::from(group.push(Attempt::back(facts, running?)));
        }
        let attempt = group.attempt_mut(facts.seen.id)?;
        let link = attempt.link;
        if link.is_some() {
            size = size.hashed(keys);
        }
        attempt.progress = match (standing, debt(facts, standing, keys)) {
            (_, None) => Progress::Done(size),
            (Standing::Doubted(_), Some(debt)) => Progress::Doubted(size, debt),
            (Standing::Told(_), Some(debt)) => Progress::Failed(size, debt),
        };
        let verdict = attempt.verdict;
        group.attempts.retain(|attempt| !attempt.is_spent());
        link.map(|link| (link, verdict))
    }

    /// Whether a doubt about the answer to this request could be settled by what follows: requests
    /// of its length are no template, and not too many wait already.
    #[must_use]
    pub fn may_doubt(&self, keys: &Keys, place: Place, facts: &Facts) -> bool {
        let Some(group) = self.groups.get(&place) else { return false };
        let length = group.length(keys.length(facts.seen.up_bytes.into()));
        let doubted = |attempt: &&Attempt| matches!(attempt.progress, Progress::Doubted(..));
        length.is_none_or(|length| length.count <= TEMPLATE_ABOVE)
            && group.attempts.iter().filter(doubted).count() < DOUBTED_MAX
    }

    /// Whether another attempt is the retry of this one.
    #[must_use]
    pub fn is_tried_again(&self, place: Place, id: ExchangeId) -> bool {
        let attempt = self.groups.get(&place).and_then(|group| group.attempt(id));
        attempt.is_some_and(|attempt| attempt.paid)
    }

    /// The doubt about an answer is settled. Returns whether requests of this length have had another
    /// answer.
    pub fn settled(&mut self, keys: &Keys, place: Place, facts: &Facts, failed: bool) -> bool {
        let Some(group) = self.groups.get_mut(&place) else { return false };
        if !failed {
            group.learn_length(&completed(facts, keys));
        }
        if let Some(attempt) = group.attempt_mut(facts.seen.id)
            && let Progress::Doubted(size, debt) = attempt.progress
        {
            attempt.progress =
                if failed { Progress::Failed(size, debt) } else { Progress::Done(size) };
        }
        group.attempts.retain(|attempt| !attempt.is_spent());
        let length = group.length(keys.length(facts.seen.up_bytes.into()));
        length.is_some_and(|length| !keys.is_length(length.answer, facts.seen.down_bytes))
    }

    /// Notes what is done with an attempt that still runs.
    pub fn note_verdict(&mut self, place: Place, id: ExchangeId, verdict: Decision) {
        if let Some(attempt) = self.groups.get_mut(&place).and_then(|group| group.attempt_mut(id)) {
            attempt.verdict = verdict;
        }
    }

    /// Forgets what is too old, in one group a call. `stale`: what was hashed under a key that is
    /// gone as well.
    pub fn sweep(&mut self, now: Nanos, keys: &Keys, stale: bool) {
        let Some(group) = self.groups.next_in_round() else { return };
        group.forget_before(now.since(self.window + DECIDED_WITHIN));
        group.forget_spans_before(now.since(SPANS_FOR));
        if stale {
            group.forget_unknown(keys);
        }
    }

    /// Forgets what was no exchange.
    pub fn withdrawn(&mut self, place: Place, id: ExchangeId) {
        if let Some(group) = self.groups.get_mut(&place) {
            group.attempts.retain(|attempt| attempt.id != id);
        }
    }

    /// Decides what an attempt is, [`DECIDE_AFTER`] its start, and what it was another try after.
    /// `standing_of` judges attempts that still run.
    pub fn decide(
        &mut self,
        keys: &Keys,
        place: Place,
        id: ExchangeId,
        window: Nanos,
        exchanges: &Exchanges,
        standing_of: impl Fn(&Facts) -> Standing,
    ) -> (Link, Option<Pair>) {
        self.window = window;
        let Self { groups, pairs, starts, .. } = self;
        starts.clear();
        pairs.clear();
        let Some(group) = groups.get_mut(&place) else { return (Link::UNKNOWN, None) };
        let view = View { group, keys, exchanges, standing_of: &standing_of };
        let Some(attempt) = group.attempt(id) else { return (Link::UNKNOWN, None) };
        let Some(own) = view.start(attempt) else { return (Link::UNKNOWN, None) };
        let repeat = view.repeat(attempt, &own);
        if own.unique {
            starts.push(own);
        } else {
            let undecided = group.attempts.iter().filter(|a| a.link.is_none() && a.id >= id);
            starts.extend(undecided.filter_map(|attempt| view.start(attempt)));
        }
        for start in starts.iter() {
            view.pair(start, window, pairs);
        }
        let best = if own.unique {
            // Nothing else has this length: the latest failed attempt is meant, whatever the gap.
            pairs.iter().max_by_key(|pair| pair.failed).copied()
        } else {
            assign(pairs, id)
        };
        let mine = pairs.iter().filter(|pair| pair.start == id);
        let likeliest = mine.max_by(|a, b| a.likelihood.total_cmp(&b.likelihood)).copied();
        let likeliest = best.or(likeliest);
        let link = Link {
            attempt: best.map_or(1, |pair| pair.failed_attempt.saturating_add(1)),
            retry_of: best.map(|pair| pair.failed),
            confidence: confidence(pairs, id, best.is_some(), own.unique),
            hedge: best.is_none() && hedge::observe(&repeat),
            restart: best.is_none() && restart::observe(&repeat),
            grounds: grounds(likeliest, pairs, &own, starts.len(), &repeat),
        };
        settle(group, keys, &own, link, (best, likeliest));
        (link, best)
    }

    /// Groups, attempts and applications that were pushed out before their time.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.groups.evicted + self.calls.evicted() + self.pushed_out
    }
}

/// Everything a decision looks at.
struct View<'a, O> {
    group: &'a Group,
    keys: &'a Keys,
    exchanges: &'a Exchanges,
    standing_of: &'a O,
}

impl<O: Fn(&Facts) -> Standing> View<'_, O> {
    /// What an undecided attempt is compared by. `None` when nothing is known of it any more.
    fn start(&self, attempt: &Attempt) -> Option<Start> {
        let size = match attempt.progress {
            Progress::Running => Size::of(&self.exchanges.facts(attempt.flow, attempt.id)?),
            Progress::Done(size) | Progress::Doubted(size, _) | Progress::Failed(size, _) => size,
        };
        let Size::Clear(bytes, _) = size else { return None };
        let running = |family: i64| {
            let near =
                |other: &&Attempt| self.completed_before(other, attempt.start, bytes, family);
            self.group.attempts.iter().filter(near).count()
        };
        let request = size.request(self.keys)?;
        let lately = |length: &super::group::Length| length.last + FAMILY_WITHIN > attempt.start;
        let family = (-FAMILY_BYTES..=FAMILY_BYTES).any(|off| {
            let hash = self.keys.length(i64::from(bytes) + off);
            self.group.length(hash).is_some_and(lately)
        });
        let (count, first) = self.group.length(request.hash).map_or((0, attempt.start), |length| {
            (length.count_before(attempt.start), length.first)
        });
        let at_once = self.at_once(attempt, bytes);
        let count = count + u32::try_from(running(0)).unwrap_or(u32::MAX);
        let count = if at_once >= AT_ONCE_MIN { count + at_once } else { count };
        let observed = attempt.start.since(first).secs_f64().max(OBSERVED_MIN_SECS);
        let rate_per_sec = if count > TEMPLATE_ABOVE || at_once >= AT_ONCE_MIN {
            f64::from(count) / observed
        } else {
            0.0
        };
        let unique = rate_per_sec == 0.0 && !family && running(FAMILY_BYTES) == 0;
        let Attempt { id, start: at, meant, elsewhere, flow, carried, .. } = *attempt;
        let before = self.before(attempt);
        Some(Start {
            id,
            at,
            meant,
            elsewhere,
            request,
            flow,
            carried,
            before,
            rate_per_sec,
            unique,
        })
    }

    /// Whether `start` asks for nothing but what `doubted` has asked for: nothing else of nearly its
    /// length runs, or was answered lately, but for attempts before it with the same answer.
    fn is_alone_with(&self, doubted: &Attempt, answer: Reply, start: &Start) -> bool {
        let near = start.request.near(self.keys);
        let alike = |size: Size| !matches!(size.alike(&start.request, &near), Alike::Other);
        let before =
            |other: &&Attempt| other.id < start.id && other.id != doubted.id && !other.paid;
        let is_rival = |other: &Attempt| match other.progress {
            Progress::Doubted(size, debt) => {
                let tired = other.link.is_some_and(|link| link.attempt >= AGAIN_MAX);
                alike(size) && (tired || !debt.answer.is_near(&answer))
            }
            Progress::Running => {
                let facts = self.exchanges.facts(other.flow, other.id);
                facts.is_some_and(|facts| alike(Size::of(&facts)))
            }
            Progress::Done(_) | Progress::Failed(..) => false,
        };
        start.unique && !self.group.attempts.iter().filter(before).any(is_rival)
    }

    /// Whether a request of the same length shows that the answer was none: it comes as soon as
    /// clients try again. Where answers may be as prompt, it must follow from nothing else that was
    /// called in between; and if it comes as soon as a worker's next piece of work, have had the same
    /// answer.
    fn asks_again(&self, start: &Start, (debt, number): (Debt, u16), gap_secs: f64) -> bool {
        let within = match number {
            _ if debt.pause == Nanos::ZERO => MODEL_AGAIN_WITHIN_SECS,
            1 => AGAIN_WITHIN_SECS,
            _ => LATER_AGAIN_WITHIN_SECS,
        };
        let called = start.elsewhere > debt.end && gap_secs > AGAIN_BUSY_SECS;
        let busy = called && debt.pause > Nanos::ZERO;
        let answer = || self.group.attempt(start.id).and_then(|attempt| self.debt(attempt));
        let paused = gap_secs >= debt.pause.secs_f64()
            || answer().is_some_and(|(_, own, _)| own.answer.is_near(&debt.answer));
        number <= AGAIN_MAX && gap_secs < within && !busy && paused
    }

    /// What the connection of an attempt had carried before.
    fn before(&self, attempt: &Attempt) -> Before {
        let Carried { previous, continues } = attempt.carried;
        let failed = |other: &Attempt| match other.progress {
            Progress::Failed(_, debt) if other.id < attempt.id && !other.paid => {
                other.flow == attempt.flow && previous == Some(debt.end)
            }
            _ => false,
        };
        match previous {
            None => Before::Nothing,
            Some(_) if continues => Before::Answered,
            Some(_) if self.group.attempts.iter().any(failed) => Before::Failed,
            Some(_) => Before::Other,
        }
    }

    /// The connection of a start, beside that of a failed attempt.
    fn came(&self, start: &Start, failed: &Attempt, debt: Debt) -> Came {
        let closed = self.exchanges.closed_at(failed.flow);
        Came {
            before: start.before,
            same: start.flow == failed.flow && start.carried.previous == Some(debt.end),
            open: closed.is_none_or(|closed| closed > start.meant),
        }
    }

    /// How many attempts of this length were waiting for an answer when this one started.
    fn at_once(&self, attempt: &Attempt, bytes: u32) -> u32 {
        let waits = |other: &&Attempt| {
            other.id < attempt.id
                && matches!(other.progress, Progress::Running)
                && self.exchanges.facts(other.flow, other.id).is_some_and(|facts| {
                    let answered = facts.seen.first_byte.is_some_and(|first| first < attempt.start);
                    facts.seen.up_bytes == bytes && !answered
                })
        };
        let waiting = self.group.attempts.iter().filter(waits).count();
        u32::try_from(waiting).unwrap_or(u32::MAX)
    }

    /// Whether an attempt that is not known to be over has in effect completed before `at`, with
    /// nearly this length.
    fn completed_before(&self, other: &Attempt, at: Nanos, bytes: u32, family: i64) -> bool {
        let Progress::Running = other.progress else { return false };
        self.exchanges.facts(other.flow, other.id).is_some_and(|facts| {
            let near = (i64::from(facts.seen.up_bytes) - i64::from(bytes)).abs() <= family;
            near && facts.seen.down_records > 0
                && facts.seen.last_down < at
                && !(self.standing_of)(&facts).may_invite_retry()
        })
    }

    /// What an undecided attempt repeats.
    fn repeat(&self, attempt: &Attempt, start: &Start) -> Repeat {
        let near = start.request.near(self.keys);
        let completed = self.group.lengths().flat_map(move |length| {
            let alike = start.request.alike(length.hash, length.body, &near);
            length.spans().map(move |(start, end)| {
                let (answered, end) = (Some(end), Some(end));
                Earlier { alike, start, answered, end }
            })
        });
        let before = self.group.attempts.iter().filter(move |other| other.id < attempt.id);
        let others = before.filter_map(move |other| {
            let (size, answered, end) = self.standing(other)?;
            let alike = size.alike(&start.request, &near);
            Some(Earlier { alike, start: other.start, answered, end })
        });
        let &Attempt { start: at, elsewhere, carried, .. } = attempt;
        let asked = Asked { at, elsewhere, continues: carried.continues };
        repeat::look(asked, completed.chain(others))
    }

    /// Request, end of the answer and end of an attempt that is not among the completed ones.
    fn standing(&self, attempt: &Attempt) -> Option<(Size, Option<Nanos>, Option<Nanos>)> {
        match attempt.progress {
            Progress::Done(_) => None,
            Progress::Doubted(size, debt) if !attempt.paid => {
                Some((size, Some(debt.end), Some(debt.end)))
            }
            Progress::Doubted(size, debt) | Progress::Failed(size, debt) => {
                Some((size, None, Some(debt.end)))
            }
            Progress::Running => {
                let facts = self.exchanges.facts(attempt.flow, attempt.id)?;
                let end = facts.seen.first_byte.map(|_| facts.seen.last_down);
                let fails = attempt.paid || (self.standing_of)(&facts).invites_retry();
                Some((Size::of(&facts), end.filter(|_| !fails), end))
            }
        }
    }

    /// Adds every failed attempt that `start` may be the retry of.
    fn pair(&self, start: &Start, window: Nanos, pairs: &mut Vec<Pair>) {
        for failed in &self.group.attempts {
            if failed.paid || failed.id >= start.id {
                continue;
            }
            let Some((size, debt, doubted)) = self.debt(failed) else { continue };
            let whole = match size.alike(&start.request, &[]) {
                Alike::Same => true,
                Alike::Body => false,
                Alike::Near | Alike::Other => continue,
            };
            let least = if debt.exact { 0.0 } else { -OVERLAP_MAX };
            let since = |at: Nanos| at.secs_f64() - debt.end.secs_f64();
            // A connection that was being opened when the attempt failed was meant for something
            // else, unless nothing else has this length.
            let gap_secs = match since(start.meant) {
                gap if gap < least && start.unique => since(start.at),
                gap => gap,
            };
            if gap_secs < least || gap_secs > window.secs_f64() {
                continue;
            }
            let failed_attempt = failed.link.map_or(1, |link| link.attempt);
            let came = self.came(start, failed, debt);
            let again = || {
                self.asks_again(start, (debt, failed_attempt), gap_secs)
                    && self.is_alone_with(failed, debt.answer, start)
            };
            if doubted && !again() {
                continue;
            }
            let likelihood = self.group.habit.density(gap_secs, failed_attempt).ln()
                - (start.rate_per_sec + BACKGROUND_PER_SEC).ln()
                - if whole { 0.0 } else { BODY_ONLY }
                - if doubted { DOUBT } else { 0.0 }
                + self.group.habit.connection(came);
            let failed = failed.id;
            pairs.push(Pair {
                failed,
                failed_attempt,
                start: start.id,
                gap_secs,
                came,
                likelihood,
                answer: debt.exact.then_some(debt.answer),
            });
        }
    }

    /// An attempt's debt, and whether it is in doubt; of one that still runs, what it would be if it
    /// ended now.
    fn debt(&self, attempt: &Attempt) -> Option<(Size, Debt, bool)> {
        match attempt.progress {
            Progress::Failed(size, debt) => Some((size, debt, false)),
            Progress::Doubted(size, debt) => Some((size, debt, true)),
            Progress::Done(_) => None,
            Progress::Running => {
                let facts = self.exchanges.facts(attempt.flow, attempt.id)?;
                let standing = (self.standing_of)(&facts);
                let debt = debt(&facts, standing, self.keys)?;
                Some((Size::of(&facts), debt, matches!(standing, Standing::Doubted(_))))
            }
        }
    }
}

impl Standing {
    fn invites_retry(self) -> bool {
        matches!(self, Self::Told(outcome) if outcome.invites_retry())
    }

    fn may_invite_retry(self) -> bool {
        matches!(self, Self::Doubted(_)) || self.invites_retry()
    }
}

fn completed(facts: &Facts, keys: &Keys) -> Completed {
    let answer = keys.length(facts.seen.down_bytes.into()).kept();
    let hash = keys.length(facts.seen.up_bytes.into());
    let body = Size::of(facts).body(keys);
    let (start, end) = (facts.seen.start, facts.seen.last_down);
    Completed { hash, body, answer, start, end }
}

/// What an attempt that stands like this leaves to be tried again.
fn debt(facts: &Facts, standing: Standing, keys: &Keys) -> Option<Debt> {
    let end = facts.seen.last_down;
    let answer = || Reply::of(facts.seen.down_bytes, keys);
    match standing {
        Standing::Doubted(pause) => Some(Debt { end, exact: true, pause, answer: answer() }),
        Standing::Told(outcome) if outcome.invites_retry() => {
            let exact = matches!(outcome, Outcome::Failed | Outcome::Throttled);
            let end = facts.closed.filter(|_| !exact).unwrap_or(end);
            Some(Debt { end, exact, pause: Nanos::ZERO, answer: answer() })
        }
        Standing::Told(_) => None,
    }
}

/// What a decision rests on: the pair that was chosen, else the likeliest one of the start.
fn grounds(
    pair: Option<Pair>,
    pairs: &[Pair],
    own: &Start,
    starts: usize,
    repeat: &Repeat,
) -> LinkGrounds {
    let count = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
    let mine = pairs.iter().filter(|pair| pair.start == own.id);
    LinkGrounds {
        rule: if own.unique { LinkRule::Unique } else { LinkRule::Assigned },
        candidates: count(mine.count()),
        rivals: count(starts.saturating_sub(1)),
        gap_seconds: pair.map(|pair| pair.gap_secs),
        log_likelihood: pair.map(|pair| pair.likelihood),
        same: u16::try_from(repeat.same).unwrap_or(u16::MAX),
        near: u16::try_from(repeat.near).unwrap_or(u16::MAX),
        answered_seconds: repeat.answered.map(Nanos::secs_f64),
        running_seconds: repeat.running.map(Nanos::secs_f64),
    }
}

/// Writes a decision down: in the attempt, in the one it repeats, and in the group's habit.
fn settle(
    group: &mut Group,
    keys: &Keys,
    own: &Start,
    link: Link,
    (best, likeliest): (Option<Pair>, Option<Pair>),
) {
    let &Start { id, unique, .. } = own;
    if let Some(pair) = likeliest {
        group.habit.learn_start(best.is_some(), pair.came);
    }
    if let Some(pair) = best {
        if unique || pair.likelihood > LEARN_ABOVE {
            group.habit.learn(pair.gap_secs);
        }
        if let Some(failed) = group.attempt_mut(pair.failed) {
            failed.paid = true;
        }
    }
    if let Some(attempt) = group.attempt_mut(id) {
        attempt.link = Some(link);
        if let Progress::Done(size) | Progress::Doubted(size, _) | Progress::Failed(size, _) =
            &mut attempt.progress
        {
            *size = size.hashed(keys);
        }
    }
    group.attempts.retain(|attempt| !attempt.is_spent());
}
