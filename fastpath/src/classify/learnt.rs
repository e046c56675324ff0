//! What hellos with a name have taught: which endpoints are called at an address, or by an
//! application of a client.
//!
//! A lesson has a keyed hash for its key and counts for its content, and every count fades with a
//! half-life of an hour: what is not repeated is forgotten. Names of no known endpoint count as
//! well, so that an address which serves many is seen to.
//!
//! Bounded: when the memory is full, a few lessons are compared in turn, and the one that weighs
//! least leaves and is counted; of equals the oldest. A flood of new addresses therefore pushes out
//! itself.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};

use foldhash::fast::RandomState;

use crate::policy::snapshot::EndpointId;
use crate::time::Nanos;

/// A bounded memory of lessons.
#[derive(Debug)]
pub struct Learnt {
    places: HashMap<LessonKey, usize, RandomState>,
    lessons: Vec<Lesson>,
    capacity: usize,
    /// Where the next search for the lightest begins.
    hand: usize,
    hasher: RandomState,
    /// Lessons that were forgotten to make room for newer ones.
    pub evicted: u64,
}

/// The key of a lesson.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LessonKey(u64);

#[derive(Clone, Copy, Debug)]
struct Lesson {
    key: LessonKey,
    /// When the counts were last right.
    at: Nanos,
    called: [Called; ENDPOINTS],
    /// Calls of anything else.
    other: f32,
}

/// How likely a call is one of which endpoint, or of something else: the shares of the calls seen,
/// one call of something else supposed (Laplace). They add up to 1.
#[derive(Clone, Copy, Debug)]
pub struct Shares {
    called: [Called; ENDPOINTS],
    other: f32,
    /// The part of the supposed call in `other`.
    supposed: f32,
}

/// How often an endpoint was called.
#[derive(Clone, Copy, Debug, Default)]
struct Called {
    endpoint: Option<EndpointId>,
    count: f32,
}

/// Endpoints that are told apart in a lesson; further ones count as something else.
const ENDPOINTS: usize = 4;
/// Lessons that are compared when one has to leave.
const COMPARED: usize = 8;
/// After this time a call counts half.
const HALF_LIFE: Nanos = Nanos::from_secs(3_600);
/// Within this a call counts whole: it would fade by a five-thousandth.
const FRESH: Nanos = Nanos::from_secs(1);

impl Learnt {
    /// With room for so many lessons. All memory is taken here.
    ///
    /// # Panics
    /// When there is no room at all.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        assert!(capacity > 0, "at least one lesson");
        Self {
            // A map that is never more than half full only ever rehashes in place.
            places: HashMap::with_capacity_and_hasher(2 * capacity, RandomState::default()),
            lessons: Vec::with_capacity(capacity),
            capacity,
            hand: 0,
            hasher: RandomState::default(),
            evicted: 0,
        }
    }

    /// The key of what a lesson is about.
    #[must_use]
    pub fn key(&self, about: impl Hash) -> LessonKey {
        LessonKey(self.hasher.hash_one(about))
    }

    /// A call was seen: of an endpoint, or of something that is none.
    pub fn teach(&mut self, key: LessonKey, endpoint: Option<EndpointId>, at: Nanos) {
        let place = self.places.get(&key).copied().unwrap_or_else(|| self.open(key, at));
        self.lessons[place].add(endpoint, at);
    }

    /// How likely the next call is one of which endpoint; `None` where nothing was taught.
    #[must_use]
    pub fn shares(&self, key: LessonKey, at: Nanos) -> Option<Shares> {
        self.places.get(&key).map(|&place| self.lessons[place].shares(at))
    }

    /// Makes a lesson, in the place of another one when there is no room.
    fn open(&mut self, key: LessonKey, at: Nanos) -> usize {
        let lesson = Lesson { key, at, called: Default::default(), other: 0.0 };
        let place = if self.lessons.len() < self.capacity {
            self.lessons.push(lesson);
            self.lessons.len() - 1
        } else {
            let place = self.lightest(at);
            self.places.remove(&self.lessons[place].key);
            self.lessons[place] = lesson;
            self.evicted += 1;
            place
        };
        self.places.insert(key, place);
        place
    }

    /// The lightest of the lessons whose turn it is to be compared.
    fn lightest(&mut self, at: Nanos) -> usize {
        let turn = (0..COMPARED).map(|n| (self.hand + n) % self.lessons.len());
        let weighed = turn.map(|place| (self.lessons[place].weight(at), place));
        let lightest = weighed.min_by(|(a, first), (b, second)| {
            a.total_cmp(b).then_with(|| self.lessons[*first].at.cmp(&self.lessons[*second].at))
        });
        self.hand = (self.hand + COMPARED) % self.lessons.len();
        lightest.map_or(self.hand, |(_, place)| place)
    }
}

impl Shares {
    /// Each endpoint with its share.
    pub fn endpoints(&self) -> impl Iterator<Item = (EndpointId, f32)> + Clone {
        self.called.iter().filter_map(|called| Some((called.endpoint?, called.count)))
    }

    /// The share of something else.
    #[must_use]
    pub fn other(&self) -> f32 {
        self.other
    }

    /// The share of `endpoint`; one that was never called is something else.
    #[must_use]
    pub fn of(&self, endpoint: EndpointId) -> f32 {
        let share = self.endpoints().find(|&(called, _)| called == endpoint);
        share.map_or(self.other, |(_, share)| share)
    }

    /// The part of the calls seen, none supposed, that were of `endpoint`.
    #[must_use]
    pub fn seen(&self, endpoint: EndpointId) -> f32 {
        let share = self.endpoints().find(|&(called, _)| called == endpoint);
        share.map_or(0.0, |(_, share)| share / (1.0 - self.supposed))
    }

    /// How much more often than everybody this one calls an endpoint, or something else; 1 where it
    /// has called nothing yet. The supposed call is one that everybody makes.
    #[must_use]
    pub fn preference(&self, endpoint: Option<EndpointId>, everybody: &Self) -> f32 {
        let (of_all, own) = match endpoint {
            Some(id) => (everybody.of(id), self.seen(id) * (1.0 - self.supposed)),
            None => (everybody.other, self.other - self.supposed),
        };
        own / of_all + self.supposed
    }
}

impl Lesson {
    fn add(&mut self, endpoint: Option<EndpointId>, at: Nanos) {
        if !self.is_fresh(at) {
            let faded = self.faded(at);
            self.called.iter_mut().for_each(|called| called.count *= faded);
            self.other *= faded;
            self.at = self.at.max(at);
        }
        let known = self.called.iter().position(|called| called.endpoint == endpoint);
        let place =
            known.or_else(|| self.called.iter().position(|called| called.endpoint.is_none()));
        match (endpoint, place) {
            (Some(_), Some(place)) => {
                self.called[place].endpoint = endpoint;
                self.called[place].count += 1.0;
            }
            (None, _) | (_, None) => self.other += 1.0,
        }
    }

    fn shares(&self, at: Nanos) -> Shares {
        let faded = self.faded(at);
        let total = self.total() * faded + 1.0;
        let share = |called: Called| Called { count: called.count * faded / total, ..called };
        let supposed = 1.0 / total;
        Shares {
            called: self.called.map(share),
            other: self.other * faded / total + supposed,
            supposed,
        }
    }

    fn weight(&self, at: Nanos) -> f32 {
        self.total() * self.faded(at)
    }

    fn total(&self) -> f32 {
        self.called.iter().map(|called| called.count).sum::<f32>() + self.other
    }

    fn is_fresh(&self, at: Nanos) -> bool {
        at.since(self.at) < FRESH
    }

    /// What is left of a count.
    fn faded(&self, at: Nanos) -> f32 {
        if self.is_fresh(at) {
            return 1.0;
        }
        #[expect(clippy::cast_possible_truncation, reason = "a ratio of times")]
        let half_lives = (at.since(self.at).secs_f64() / HALF_LIFE.secs_f64()) as f32;
        (-half_lives).exp2()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: EndpointId = EndpointId(1);
    const B: EndpointId = EndpointId(2);
    const HOUR: Nanos = Nanos::from_secs(3_600);

    fn share(learnt: &Learnt, key: LessonKey, endpoint: EndpointId, at: Nanos) -> f32 {
        learnt.shares(key, at).unwrap().of(endpoint)
    }

    fn taught(calls: &[(Option<EndpointId>, u32)]) -> (Learnt, LessonKey) {
        let mut learnt = Learnt::with_capacity(16);
        let key = learnt.key("an address");
        for &(endpoint, times) in calls {
            (0..times).for_each(|_| learnt.teach(key, endpoint, Nanos::ZERO));
        }
        (learnt, key)
    }

    #[test]
    fn the_share_grows_with_the_calls_seen() {
        for (times, expected) in [(1, 0.5), (3, 0.75), (9, 0.9)] {
            let (learnt, key) = taught(&[(Some(A), times)]);
            assert!((share(&learnt, key, A, Nanos::ZERO) - expected).abs() < 1e-6);
        }
    }

    #[test]
    fn a_habit_is_a_preference_beyond_what_everybody_calls() {
        let (learnt, key) = taught(&[(Some(A), 5), (Some(B), 2), (None, 2)]);
        let everybody = learnt.shares(key, Nanos::ZERO).unwrap();
        let (learnt, key) = taught(&[(Some(A), 3)]);
        let own = learnt.shares(key, Nanos::ZERO).unwrap();
        for (endpoint, expected) in [(Some(A), 1.75), (Some(B), 0.25), (None, 0.25)] {
            assert!((own.preference(endpoint, &everybody) - expected).abs() < 1e-6);
        }
    }

    #[test]
    fn what_else_is_called_there_lowers_it() {
        let (learnt, key) = taught(&[(Some(A), 4), (Some(B), 3), (None, 8)]);
        assert!((share(&learnt, key, A, Nanos::ZERO) - 0.25).abs() < 1e-6);
    }

    #[test]
    fn lessons_fade_with_a_half_life_of_an_hour() {
        let (learnt, key) = taught(&[(Some(A), 8)]);
        assert!((share(&learnt, key, A, HOUR + HOUR) - 2.0 / 3.0).abs() < 1e-6);
        assert!(share(&learnt, key, A, Nanos::from_secs(86_400)) < 1e-5);
    }

    #[test]
    fn time_that_runs_backwards_strengthens_nothing() {
        let mut learnt = Learnt::with_capacity(16);
        let key = learnt.key(1);
        learnt.teach(key, Some(A), HOUR);
        learnt.teach(key, Some(A), Nanos::ZERO);
        assert!((share(&learnt, key, A, Nanos::ZERO) - 2.0 / 3.0).abs() < 1e-6);
    }

    #[test]
    fn a_fifth_endpoint_counts_as_something_else() {
        let calls: Vec<_> = (1..=5).map(|n| (Some(EndpointId(n)), 1)).collect();
        let (learnt, key) = taught(&calls);
        let shares = learnt.shares(key, Nanos::ZERO).unwrap();
        assert!((shares.other() - 2.0 / 6.0).abs() < 1e-6);
        assert!(shares.endpoints().all(|(endpoint, _)| endpoint != EndpointId(5)));
        assert!((share(&learnt, key, A, Nanos::ZERO) - 1.0 / 6.0).abs() < 1e-6);
    }

    #[test]
    fn a_flood_of_addresses_pushes_out_itself() {
        let (mut learnt, key) = taught(&[(Some(A), 9)]);
        for n in 0..100_000 {
            let other = learnt.key(n);
            learnt.teach(other, None, Nanos(n));
        }
        assert_eq!((learnt.lessons.len(), learnt.places.len()), (16, 16));
        assert_eq!(learnt.evicted, 100_000 - 15);
        assert!(share(&learnt, key, A, Nanos::ZERO) > 0.89);
    }
}
