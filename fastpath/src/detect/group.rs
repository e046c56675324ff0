//! The bounded memory behind retry detection: groups of one client, server and application, each
//! with its latest attempts and the request lengths that completed. The oldest leaves first, and is
//! counted.

use arrayvec::ArrayVec;

use super::Known;
use super::gap::Habit;
use super::retry::Link;
use super::size::{Reply, Size};
use crate::burst::FlowId;
use crate::exchange::h1::{Current, Facts};
use crate::keyed::{Fresh, Kept, Keys};
use crate::lru::Reuse;
use crate::telemetry::event::{Decision, ExchangeId};
use crate::time::Nanos;

/// Attempts and lengths of a group.
const ATTEMPTS: usize = 64;
const LENGTHS: usize = 64;
/// Spans kept of one length: one more than any limit compares with.
const SPANS: usize = 6;
/// What a group is found by: a hash of its client, server and application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place(pub(super) u64);

/// One client, server and application.
#[derive(Debug, Default)]
pub struct Group {
    /// Attempts that are undecided, running, or failed and not tried again; oldest first.
    pub attempts: ArrayVec<Attempt, ATTEMPTS>,
    lengths: ArrayVec<Length, LENGTHS>,
    /// How its clients retry.
    pub habit: Habit,
}

/// One attempt.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// Its exchange.
    pub id: ExchangeId,
    /// The flow it runs on.
    pub flow: FlowId,
    /// When it started.
    pub start: Nanos,
    /// When its client decided on it: earlier, if a connection had to be opened for it.
    pub meant: Nanos,
    /// What its connection had carried before.
    pub carried: Carried,
    /// When the same application of the client had last called another server; zero when never.
    pub elsewhere: Nanos,
    /// What it was decided to be.
    pub link: Option<Link>,
    /// What was decided to be done with it.
    pub verdict: Decision,
    /// A later attempt is known to be the retry of this one.
    pub paid: bool,
    /// Where it stands.
    pub progress: Progress,
}

/// What a connection had carried before an attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// End of the exchange before, if there was one.
    pub previous: Option<Nanos>,
    /// It was complete, and had ended just before.
    pub continues: bool,
}

/// Where an attempt stands.
#[derive(Clone, Copy, Debug)]
pub enum Progress {
    /// Not over.
    Running,
    /// Completed.
    Done(Size),
    /// Answered, perhaps by an error: what its client does next will show.
    Doubted(Size, Debt),
    /// Failed: a retry may follow.
    Failed(Size, Debt),
}

/// When a failed attempt ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Debt {
    /// Its end.
    pub end: Nanos,
    /// The end is that of its last record, so that no retry can come before it.
    pub exact: bool,
    /// The pause after it from which on a repeat is one.
    pub pause: Nanos,
    /// What it was answered.
    pub answer: Reply,
}

/// A completed request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Completed {
    /// A keyed hash of its length.
    pub hash: Fresh,
    /// A keyed hash of its body's records.
    pub body: Option<Kept>,
    /// A keyed hash of the size of its answer.
    pub answer: Kept,
    /// When it started.
    pub start: Nanos,
    /// When its answer ended.
    pub end: Nanos,
}

/// Completed requests of one length.
#[derive(Clone, Copy, Debug)]
pub struct Length {
    /// A keyed hash of the length.
    pub hash: Kept,
    /// A keyed hash of the body's records in the last one; `None` when it had none of its own.
    pub body: Option<Kept>,
    /// A keyed hash of the size of the last one's answer.
    pub answer: Kept,
    /// How many.
    pub count: u32,
    /// When the first one started.
    pub first: Nanos,
    /// When the last one started.
    pub last: Nanos,
    /// Start and end of the latest of them, in a ring; none that is older than an attempt may be.
    spans: [(Nanos, Nanos); SPANS],
}

impl Reuse for Group {
    fn reuse(&mut self) {
        self.attempts.clear();
        self.lengths.clear();
        self.habit = Habit::default();
    }
}

impl Group {
    /// Adds an attempt, in order of start. When there is no room, the oldest of those that are decided
    /// and still run leaves, as it comes back when it ends; if there is none, the oldest of all. True
    /// when that had to.
    pub fn push(&mut self, attempt: Attempt) -> bool {
        let comes_back =
            |other: &Attempt| other.link.is_some() && matches!(other.progress, Progress::Running);
        let full = self.attempts.is_full();
        let away = self.attempts.iter().position(comes_back).filter(|_| full);
        if full {
            self.attempts.remove(away.unwrap_or(0));
        }
        let place = self.attempts.iter().rposition(|other| other.id < attempt.id);
        self.attempts.insert(place.map_or(0, |place| place + 1), attempt);
        full && away.is_none()
    }

    /// Forgets decided attempts that ended before `oldest`.
    pub fn forget_before(&mut self, oldest: Nanos) {
        self.attempts.retain(|attempt| match attempt.progress {
            Progress::Doubted(_, debt) | Progress::Failed(_, debt) => {
                attempt.link.is_none() || debt.end > oldest
            }
            Progress::Running | Progress::Done(_) => true,
        });
    }

    /// Forgets when completed requests that ended before `oldest` were asked.
    pub fn forget_spans_before(&mut self, oldest: Nanos) {
        let spans = self.lengths.iter_mut().flat_map(|length| &mut length.spans);
        spans.filter(|(_, end)| *end < oldest).for_each(|span| *span = Default::default());
    }

    /// Forgets what was hashed under a key that is gone.
    pub fn forget_unknown(&mut self, keys: &Keys) {
        self.lengths.retain(|length| keys.knows(length.hash));
        self.attempts.retain(|attempt| match attempt.progress {
            Progress::Done(Size::Hashed(whole, _))
            | Progress::Doubted(Size::Hashed(whole, _), _)
            | Progress::Failed(Size::Hashed(whole, _), _) => keys.knows(whole),
            Progress::Running
            | Progress::Done(_)
            | Progress::Doubted(..)
            | Progress::Failed(..) => true,
        });
    }

    /// The attempt with this number.
    #[must_use]
    pub fn attempt(&self, id: ExchangeId) -> Option<&Attempt> {
        self.attempts.iter().find(|attempt| attempt.id == id)
    }

    /// The same, to change it.
    pub fn attempt_mut(&mut self, id: ExchangeId) -> Option<&mut Attempt> {
        self.attempts.iter_mut().find(|attempt| attempt.id == id)
    }

    /// A request of this length completed.
    pub fn learn_length(&mut self, done: &Completed) {
        let Completed { hash, body, answer, start, end } = *done;
        let index = self.lengths.iter().position(|length| hash.is(length.hash));
        let index = index.unwrap_or_else(|| {
            let (hash, spans) = (hash.kept(), [(Nanos::ZERO, Nanos::ZERO); SPANS]);
            let (count, first, last) = (0, start, start);
            let fresh = Length { hash, body, answer, count, first, last, spans };
            if !self.lengths.is_full() {
                self.lengths.push(fresh);
                return self.lengths.len() - 1;
            }
            let oldest = (0..LENGTHS).min_by_key(|&i| self.lengths[i].last).unwrap_or(0);
            self.lengths[oldest] = fresh;
            oldest
        });
        let length = &mut self.lengths[index];
        length.spans[length.count as usize % SPANS] = (start, end);
        // Under the current key again: what goes on is known for as long as it does.
        length.hash = hash.kept();
        length.body = body;
        length.answer = answer;
        length.count = length.count.saturating_add(1);
        length.first = length.first.min(start);
        length.last = length.last.max(start);
    }

    /// All lengths that completed.
    pub fn lengths(&self) -> impl Iterator<Item = &Length> + Clone {
        self.lengths.iter()
    }

    /// Completed requests of this length.
    #[must_use]
    pub fn length(&self, hash: Fresh) -> Option<&Length> {
        self.lengths.iter().find(|length| hash.is(length.hash))
    }
}

impl Length {
    /// How many had ended at `at`, as far as the latest few tell.
    #[must_use]
    pub fn count_before(&self, at: Nanos) -> u32 {
        let later = self.spans().filter(|&(_, end)| end >= at).count();
        self.count.saturating_sub(u32::try_from(later).unwrap_or(u32::MAX))
    }

    /// Start and end of the latest few.
    pub fn spans(&self) -> impl Iterator<Item = (Nanos, Nanos)> + Clone {
        self.spans.iter().copied().take(self.count as usize)
    }
}

impl Attempt {
    /// One that had no room while it ran: it ends, and is known to be this.
    #[must_use]
    pub fn back(facts: &Facts, (link, verdict): Known) -> Self {
        let &Current { id, flow, start, .. } = &facts.seen;
        let (carried, elsewhere, progress) = (Carried::default(), Nanos::ZERO, Progress::Running);
        let (meant, link, paid) = (start, Some(link), false);
        Self { id, flow, start, meant, carried, elsewhere, link, verdict, paid, progress }
    }

    /// Nothing can refer to it any more.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        let over = match self.progress {
            Progress::Running | Progress::Doubted(..) => false,
            Progress::Done(_) => true,
            Progress::Failed(..) => self.paid,
        };
        over && self.link.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::{Shape, facts};
    use crate::keyed::Seed;

    fn attempt(id: u64, decided: bool, failed: bool) -> Attempt {
        let facts = facts(Shape { down: &[(30, 900)], ..Shape::default() });
        let known = (Link::UNKNOWN, Decision::default());
        let debt =
            Debt { end: Nanos(id), exact: true, pause: Nanos::ZERO, answer: Reply::default() };
        Attempt {
            id: ExchangeId(id),
            link: decided.then_some(Link::UNKNOWN),
            progress: match failed {
                true => Progress::Failed(Size::of(&facts), debt),
                false => Progress::Running,
            },
            ..Attempt::back(&facts, known)
        }
    }

    #[test]
    fn what_still_runs_makes_room_for_what_has_failed_and_comes_back() {
        let mut group = Group::default();
        group.push(attempt(1, true, true));
        for n in 2..=ATTEMPTS as u64 {
            assert!(!group.push(attempt(n, n % 2 == 0, false)));
        }
        assert!(!group.push(attempt(900, false, false)));
        assert!(group.attempt(ExchangeId(1)).is_some(), "a debt");
        assert!(group.attempt(ExchangeId(2)).is_none(), "the oldest that is decided and runs");
        assert!(!group.push(attempt(2, true, true)));
        assert!(group.attempts.is_sorted_by_key(|attempt| attempt.id), "in order of start");
        group.forget_before(Nanos(1));
        assert!(group.attempt(ExchangeId(1)).is_none() && group.attempt(ExchangeId(2)).is_some());
        while group
            .attempts
            .iter()
            .any(|a| matches!(a.progress, Progress::Running) && a.link.is_some())
        {
            assert!(!group.push(attempt(901, false, false)));
        }
        assert!(group.push(attempt(902, false, false)), "one that nobody has decided had to leave");
    }

    #[test]
    fn lengths_are_counted_and_bounded() {
        let mut group = Group::default();
        let keys = Keys::new(Seed::Os);
        for n in 0..200 {
            for hash in [n, 7].map(|length| keys.hash(0, length)) {
                let (start, end) = (Nanos(n), Nanos(n + 1));
                group.learn_length(&Completed { hash, start, end, ..Completed::default() });
            }
        }
        let length = group.length(keys.hash(0, 7)).unwrap();
        assert_eq!((length.count, length.spans().count()), (201, SPANS));
        assert_eq!(group.lengths.len(), LENGTHS);
    }
}
