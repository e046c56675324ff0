//! Fan-out: first attempts of one caller to one server that were meant to start together.
//!
//! A branch on a new connection is meant when its SYN leaves, one on an idle connection when its
//! request does; what lies within [`TOGETHER`] of a branch belongs to its fan-out. Retries are
//! attempts of their branch, not branches. A worker that takes its next piece of work at once is no
//! branch: one connection may have carried the parent, several that go on without a pause are
//! workers. State of a caller is bounded: [`AT_ONCE`] fan-outs of which [`BRANCHES_KEPT`] branches
//! each are followed; the rest is counted.

use super::doomed::{self, Doomed, Habit};
use super::episode::{Change, Subject, Track};
use crate::telemetry::event::{ExchangeId, Outcome};
use crate::time::Nanos;

/// Branches of one fan-out are meant to start within this time of one another.
pub const TOGETHER: Nanos = Nanos::from_millis(20);

/// Fewer branches than this are chance.
pub const BRANCHES_MIN: u32 = 3;

/// Fan-outs of a caller that are followed at once.
pub const AT_ONCE: usize = 8;

/// Branches of a fan-out that are followed to their end.
pub const BRANCHES_KEPT: usize = 64;

/// How long after its last branch a fan-out takes no more: later than any start is decided.
const OPEN_FOR: Nanos = Nanos::from_secs(2);

/// A fan-out of which nothing was heard for this long is over.
const LOST_AFTER: Nanos = Nanos::from_secs(600);

/// The fan-outs of a caller: one client, server and application.
#[derive(Clone, Copy, Debug)]
pub struct FanOuts {
    all: [Option<FanOut>; AT_ONCE],
    /// What it does after a branch has failed for good.
    pub habit: Habit,
    /// A fan-out with such a branch ended then, and what the caller does is awaited.
    awaited: Option<Nanos>,
    /// Fan-outs that were given up for newer ones, and branches that found no room.
    pub lost: u64,
}

#[derive(Clone, Copy, Debug)]
struct FanOut {
    /// Earliest and latest time at which a branch was meant to start.
    meant: [Nanos; 2],
    last_heard: Nanos,
    branches: [Branch; BRANCHES_KEPT],
    kept: usize,
    /// Branches, those without room among them.
    count: u32,
    /// Branches whose connection had just completed something else.
    continuing: u32,
    /// Branches that are over, whatever came of them.
    over: u32,
    announced: bool,
    track: Track,
}

#[derive(Clone, Copy, Debug)]
struct Branch {
    id: ExchangeId,
    attempt: u16,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running,
    Done,
    Failed(Nanos),
}

/// A first attempt or a retry, as it was decided.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// When its request began.
    pub at: Nanos,
    /// When it was meant to: the SYN of its connection, if it is the first on it.
    pub meant: Nanos,
    /// Its connection had just completed another exchange.
    pub continues: bool,
    /// Its attempt number.
    pub attempt: u16,
    /// The attempt before.
    pub retry_of: Option<ExchangeId>,
    /// Itself.
    pub subject: Subject,
}

impl Default for FanOuts {
    fn default() -> Self {
        Self { all: [None; AT_ONCE], habit: Habit::default(), awaited: None, lost: 0 }
    }
}

impl FanOuts {
    /// An attempt started. Tells of a fan-out when its third branch has.
    pub fn started(&mut self, start: &Start) -> Option<Change> {
        if let Some(before) = start.retry_of {
            self.tried_again(before, start);
            return None;
        }
        if self.awaited.take_if(|ended| start.at >= *ended).is_some() {
            self.habit.went_on = self.habit.went_on.saturating_add(1);
        }
        let joins = |fan_out: &FanOut| fan_out.joins(start.meant);
        let index = self.all.iter().position(|slot| slot.as_ref().is_some_and(joins));
        let index = index.unwrap_or_else(|| self.make(start));
        let fan_out = self.all[index].as_mut()?;
        self.lost += u64::from(!fan_out.add(start));
        if fan_out.announced || fan_out.fresh() < BRANCHES_MIN {
            return None;
        }
        fan_out.announced = true;
        Some(fan_out.track.begins(start.at))
    }

    /// An attempt is over. Tells whether it went on after a branch beside it had failed for good.
    pub fn ended(
        &mut self,
        id: ExchangeId,
        end: Nanos,
        outcome: Outcome,
        tokens: f64,
    ) -> Option<Doomed> {
        let habit = self.habit;
        let fan_out = self.all.iter_mut().flatten().find(|fan_out| fan_out.has(id))?;
        let failed_at = fan_out.failed_for_good(id, end);
        fan_out.ended(id, end, outcome, tokens);
        let doomed = doomed::observe(failed_at, end, &habit)?;
        (outcome == Outcome::Complete && fan_out.announced).then_some(doomed)
    }

    /// Time has passed: fan-outs end when all their branches have, for good.
    pub fn tick(&mut self, now: Nanos) -> Option<Change> {
        if self.awaited.take_if(|ended| now > *ended + doomed::GOES_ON_WITHIN).is_some() {
            self.habit.gave_up = self.habit.gave_up.saturating_add(1);
        }
        let over = |fan_out: &FanOut| fan_out.is_over(now);
        let slot = self.all.iter_mut().find(|slot| slot.as_ref().is_some_and(over))?;
        let fan_out = slot.take()?;
        self.awaited = self.awaited.or(fan_out.failed_for_good(ExchangeId(0), now).map(|_| now));
        fan_out.end()
    }

    /// The observation is over; call until it tells nothing.
    pub fn close(&mut self) -> Option<Change> {
        self.all.iter_mut().filter_map(Option::take).find_map(|fan_out| fan_out.end())
    }

    /// A place for a new fan-out: a free one, or that of the smallest and oldest.
    fn make(&mut self, start: &Start) -> usize {
        let worth = |slot: &Option<FanOut>| {
            slot.as_ref().map_or((false, Nanos::ZERO), |f| (f.announced, f.last_heard))
        };
        let index = (0..AT_ONCE).min_by_key(|&i| worth(&self.all[i])).unwrap_or(0);
        self.lost += u64::from(self.all[index].as_ref().is_some_and(|f| f.announced));
        self.all[index] = Some(FanOut::new(start));
        index
    }

    fn tried_again(&mut self, before: ExchangeId, start: &Start) {
        let mut branches = self.all.iter_mut().flatten();
        if let Some(fan_out) = branches.find(|fan_out| fan_out.has(before)) {
            fan_out.track.exchanges += 1;
            fan_out.last_heard = fan_out.last_heard.max(start.at);
            let Some(branch) = fan_out.branch(before) else { return };
            let reopened = branch.state != State::Running;
            *branch = Branch {
                id: start.subject.exchange,
                attempt: start.attempt,
                state: State::Running,
            };
            fan_out.over -= u32::from(reopened);
        }
    }
}

impl FanOut {
    fn new(start: &Start) -> Self {
        let unused = Branch { id: ExchangeId(0), attempt: 0, state: State::Done };
        Self {
            meant: [start.meant; 2],
            last_heard: start.at,
            branches: [unused; BRANCHES_KEPT],
            kept: 0,
            count: 0,
            continuing: 0,
            over: 0,
            announced: false,
            track: Track::new(start.meant, start.subject),
        }
    }

    fn joins(&self, meant: Nanos) -> bool {
        let [first, last] = self.meant;
        meant + TOGETHER >= first && meant <= last + TOGETHER
    }

    /// Adds a branch; false where it is only counted.
    fn add(&mut self, start: &Start) -> bool {
        self.meant = [self.meant[0].min(start.meant), self.meant[1].max(start.meant)];
        self.last_heard = self.last_heard.max(start.at);
        self.count += 1;
        self.continuing += u32::from(start.continues);
        self.track.began = self.meant[0];
        self.track.exchanges += 1;
        self.track.peak = f64::from(self.count);
        let Some(place) = self.branches.get_mut(self.kept) else {
            self.over += 1;
            return false;
        };
        let id = start.subject.exchange;
        *place = Branch { id, attempt: start.attempt, state: State::Running };
        self.kept += 1;
        true
    }

    /// Branches but workers that go on; one of these may have carried the parent.
    fn fresh(&self) -> u32 {
        self.count - self.continuing.saturating_sub(1)
    }

    fn has(&self, id: ExchangeId) -> bool {
        self.branches[..self.kept].iter().any(|branch| branch.id == id)
    }

    fn branch(&mut self, id: ExchangeId) -> Option<&mut Branch> {
        self.branches[..self.kept].iter_mut().find(|branch| branch.id == id)
    }

    fn ended(&mut self, id: ExchangeId, end: Nanos, outcome: Outcome, tokens: f64) {
        self.last_heard = self.last_heard.max(end);
        // A client that leaves a branch has not been failed by it.
        let failed = outcome.invites_retry() && outcome != Outcome::ClientAbort;
        let Some(branch) = self.branch(id) else { return };
        if branch.state != State::Running {
            return;
        }
        branch.state = if failed { State::Failed(end) } else { State::Done };
        self.over += 1;
        if outcome.invites_retry() {
            self.track.in_vain += 1;
            self.track.tokens += tokens;
        }
    }

    /// When a branch other than `id` failed for good, as far as it is known at `now`.
    fn failed_for_good(&self, id: ExchangeId, now: Nanos) -> Option<Nanos> {
        let others = self.branches[..self.kept].iter().filter(|branch| branch.id != id);
        let finally = others.filter_map(|branch| match branch.state {
            State::Failed(at) if doomed::is_final(at, branch.attempt, now) => Some(at),
            State::Failed(_) | State::Running | State::Done => None,
        });
        finally.min()
    }

    fn is_over(&self, now: Nanos) -> bool {
        let awaits_retry = |branch: &Branch| match branch.state {
            State::Failed(at) => !doomed::is_final(at, branch.attempt, now),
            State::Running | State::Done => false,
        };
        let ended =
            || self.over == self.count && !self.branches[..self.kept].iter().any(awaits_retry);
        let closed = now > self.meant[1] + OPEN_FOR;
        let chance = self.fresh() < BRANCHES_MIN;
        closed && (chance || now > self.last_heard + LOST_AFTER || ended())
    }

    fn end(&self) -> Option<Change> {
        self.announced.then(|| self.track.ends(self.last_heard))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::cascade::tests::subject;
    use crate::telemetry::event::Phase;

    fn start(n: u64, ms: u64) -> Start {
        let at = Nanos::from_millis(ms);
        Start { at, meant: at, continues: false, attempt: 1, retry_of: None, subject: subject(n) }
    }

    fn retry(n: u64, ms: u64, before: u64, attempt: u16) -> Start {
        Start { attempt, retry_of: Some(ExchangeId(before)), ..start(n, ms) }
    }

    /// Branches 1 to `n`, a millisecond apart from second 10 on.
    fn fan_out(n: u64) -> (FanOuts, Vec<Change>) {
        let mut all = FanOuts::default();
        let changes = (1..=n).filter_map(|n| all.started(&start(n, 10_000 + n))).collect();
        (all, changes)
    }

    fn end(all: &mut FanOuts, n: u64, ms: u64, outcome: Outcome) -> Option<Doomed> {
        all.ended(ExchangeId(n), Nanos::from_millis(ms), outcome, 0.0)
    }

    #[test]
    fn three_branches_at_once_are_a_fan_out_and_end_with_the_last() {
        let (mut all, changes) = fan_out(4);
        assert_eq!(changes.len(), 1);
        for n in 1..=4 {
            assert!(all.tick(Nanos::from_secs(20)).is_none());
            end(&mut all, n, 10_000 + 500 * n, Outcome::Complete);
        }
        let over = all.tick(Nanos::from_secs(20)).unwrap();
        assert_eq!((over.phase, over.value), (Phase::Ends, 4.0));
        assert_eq!((over.at, over.track.in_vain), (Nanos::from_secs(12), 0));
    }

    #[test]
    fn two_are_chance_and_one_after_the_other_is_none() {
        assert!(fan_out(2).1.is_empty());
        let mut all = FanOuts::default();
        assert!((1..40).all(|n| all.started(&start(n, 10_000 + 25 * n)).is_none()));
    }

    #[test]
    fn workers_that_take_their_next_piece_of_work_together_are_none() {
        let mut all = FanOuts::default();
        let next = |n| Start { continues: true, ..start(n, 10_000 + n) };
        assert!((1..9).all(|n| all.started(&next(n)).is_none()));
        assert!(all.started(&start(10, 10_010)).is_none(), "one worker and one branch");
        assert!(all.started(&start(11, 10_011)).is_some(), "the third that no worker explains");
    }

    #[test]
    fn retries_are_no_branches_but_attempts_of_theirs() {
        let (mut all, _) = fan_out(3);
        end(&mut all, 1, 10_050, Outcome::Failed);
        assert!(all.started(&retry(9, 10_500, 1, 2)).is_none());
        for n in [2, 3, 9] {
            end(&mut all, n, 11_000, Outcome::Complete);
        }
        let over = all.tick(Nanos::from_secs(20)).unwrap();
        assert_eq!((over.value, over.track.exchanges, over.track.in_vain), (3.0, 4, 1));
    }

    #[test]
    fn a_branch_beside_one_that_used_up_its_attempts_is_doomed() {
        let (mut all, _) = fan_out(3);
        end(&mut all, 1, 10_050, Outcome::Failed);
        all.started(&retry(8, 10_500, 1, 2));
        end(&mut all, 8, 10_550, Outcome::Failed);
        assert_eq!(end(&mut all, 2, 11_000, Outcome::Complete), None, "one attempt is left");
        all.started(&retry(9, 11_500, 8, 3));
        end(&mut all, 9, 11_600, Outcome::Failed);
        let doomed = end(&mut all, 3, 14_600, Outcome::Complete).unwrap();
        assert_eq!((doomed.after, doomed.confidence), (Nanos::from_secs(3), 0.5));
    }

    #[test]
    fn what_a_caller_does_after_a_failed_branch_is_learnt() {
        let (mut all, _) = fan_out(3);
        end(&mut all, 1, 10_050, Outcome::Failed);
        end(&mut all, 2, 10_050, Outcome::Complete);
        end(&mut all, 3, 10_050, Outcome::Complete);
        assert!(all.tick(Nanos::from_secs(15)).is_some());
        all.tick(Nanos::from_secs(21));
        assert_eq!((all.habit.gave_up, all.habit.went_on), (1, 0));
    }

    #[test]
    fn more_branches_than_are_kept_are_counted() {
        let (mut all, _) = fan_out(BRANCHES_KEPT as u64 + 6);
        assert_eq!(all.lost, 6);
        for n in 1..=BRANCHES_KEPT as u64 {
            end(&mut all, n, 11_000, Outcome::Complete);
        }
        assert_eq!(all.tick(Nanos::from_secs(20)).map(|over| over.value), Some(70.0));
    }
}
