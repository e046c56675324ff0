//! What hellos with a name have taught: which endpoints are called at an address, or by an
//! application of a client.
//!
//! A lesson has a keyed hash for its key and counts for its content, and every count fades with a
//! half-life of an hour: what is not repeated is forgotten. Names of no known endpoint count as
//! well, so that an address which serves many is seen to.
//!
//! Bounded: when a set of [`WAYS`] lessons is full, the one that weighs least leaves and is counted;
//! of equals the oldest. A flood of new addresses therefore pushes out itself.

use std::hash::{BuildHasher, Hash, RandomState};

use crate::policy::snapshot::EndpointId;
use crate::time::Nanos;

/// A bounded memory of lessons.
#[derive(Debug)]
pub struct Learnt {
    lessons: Vec<Lesson>,
    hasher: RandomState,
    /// Lessons that were forgotten to make room for newer ones.
    pub evicted: u64,
}

/// The key of a lesson.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LessonKey(u64);

#[derive(Clone, Copy, Debug, Default)]
struct Lesson {
    key: Option<LessonKey>,
    /// When the counts were last right.
    at: Nanos,
    called: [Called; ENDPOINTS],
    /// Calls of anything else.
    other: f32,
}

/// How often an endpoint was called.
#[derive(Clone, Copy, Debug, Default)]
struct Called {
    endpoint: Option<EndpointId>,
    count: f32,
}

/// Endpoints that are told apart in a lesson; further ones count as something else.
const ENDPOINTS: usize = 4;
/// Lessons that one key can be found among.
const WAYS: usize = 4;
/// After this time a call counts half.
const HALF_LIFE: Nanos = Nanos::from_secs(3_600);

impl Learnt {
    /// With room for about so many lessons. All memory is taken here.
    #[must_use]
    pub fn with_capacity(lessons: usize) -> Self {
        let lessons = vec![Lesson::default(); lessons.max(1).next_multiple_of(WAYS)];
        Self { lessons, hasher: RandomState::new(), evicted: 0 }
    }

    /// The key of what a lesson is about.
    #[must_use]
    pub fn key(&self, about: impl Hash) -> LessonKey {
        LessonKey(self.hasher.hash_one(about))
    }

    /// A call was seen: of an endpoint, or of something that is none.
    pub fn teach(&mut self, key: LessonKey, endpoint: Option<EndpointId>, at: Nanos) {
        let start = self.set(key);
        let set = &mut self.lessons[start..start + WAYS];
        let place = set.iter().position(|lesson| lesson.key == Some(key)).unwrap_or_else(|| {
            let lightest = (0..WAYS).min_by(|&a, &b| {
                let [a, b] = [&set[a], &set[b]];
                a.weight(at).total_cmp(&b.weight(at)).then(a.at.cmp(&b.at))
            });
            let place = lightest.unwrap_or(0);
            self.evicted += u64::from(set[place].key.is_some());
            set[place] = Lesson { key: Some(key), at, ..Lesson::default() };
            place
        });
        set[place].add(endpoint, at);
    }

    /// How likely the next call is one of `endpoint`, 0 to 1: its share of the calls, one call of
    /// something else supposed (Laplace).
    #[must_use]
    pub fn share(&self, key: LessonKey, endpoint: EndpointId, at: Nanos) -> f32 {
        self.find(key).map_or(0.0, |lesson| lesson.share(endpoint, at))
    }

    /// The endpoint called most.
    #[must_use]
    pub fn most_called(&self, key: LessonKey) -> Option<EndpointId> {
        let called = self.find(key)?.called.iter();
        called.max_by(|a, b| a.count.total_cmp(&b.count))?.endpoint
    }

    fn find(&self, key: LessonKey) -> Option<&Lesson> {
        let start = self.set(key);
        self.lessons[start..start + WAYS].iter().find(|lesson| lesson.key == Some(key))
    }

    /// Where the set of a key starts.
    fn set(&self, key: LessonKey) -> usize {
        let sets = self.lessons.len() / WAYS;
        let set = (u128::from(key.0) * sets as u128) >> 64;
        usize::try_from(set).expect("less than the number of sets") * WAYS
    }
}

impl Lesson {
    fn add(&mut self, endpoint: Option<EndpointId>, at: Nanos) {
        let faded = self.faded(at);
        self.called.iter_mut().for_each(|called| called.count *= faded);
        self.other *= faded;
        self.at = self.at.max(at);
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

    fn share(&self, endpoint: EndpointId, at: Nanos) -> f32 {
        let faded = self.faded(at);
        let called = self.called.iter().find(|called| called.endpoint == Some(endpoint));
        called.map_or(0.0, |called| called.count * faded / (self.total() * faded + 1.0))
    }

    fn weight(&self, at: Nanos) -> f32 {
        self.total() * self.faded(at)
    }

    fn total(&self) -> f32 {
        self.called.iter().map(|called| called.count).sum::<f32>() + self.other
    }

    /// What is left of a count.
    fn faded(&self, at: Nanos) -> f32 {
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
        for (times, share) in [(1, 0.5), (3, 0.75), (9, 0.9)] {
            let (learnt, key) = taught(&[(Some(A), times)]);
            assert_eq!(learnt.most_called(key), Some(A));
            assert!((learnt.share(key, A, Nanos::ZERO) - share).abs() < 1e-6);
        }
    }

    #[test]
    fn what_else_is_called_there_lowers_it() {
        let (learnt, key) = taught(&[(Some(A), 4), (Some(B), 3), (None, 8)]);
        assert_eq!(learnt.most_called(key), Some(A));
        assert!((learnt.share(key, A, Nanos::ZERO) - 0.25).abs() < 1e-6);
    }

    #[test]
    fn lessons_fade_with_a_half_life_of_an_hour() {
        let (learnt, key) = taught(&[(Some(A), 8)]);
        assert!((learnt.share(key, A, HOUR + HOUR) - 2.0 / 3.0).abs() < 1e-6);
        assert!(learnt.share(key, A, Nanos::from_secs(86_400)) < 1e-5);
    }

    #[test]
    fn time_that_runs_backwards_strengthens_nothing() {
        let mut learnt = Learnt::with_capacity(16);
        let key = learnt.key(1);
        learnt.teach(key, Some(A), HOUR);
        learnt.teach(key, Some(A), Nanos::ZERO);
        assert!((learnt.share(key, A, Nanos::ZERO) - 2.0 / 3.0).abs() < 1e-6);
    }

    #[test]
    fn a_fifth_endpoint_counts_as_something_else() {
        let calls: Vec<_> = (1..=5).map(|n| (Some(EndpointId(n)), 1)).collect();
        let (learnt, key) = taught(&calls);
        assert!(learnt.share(key, EndpointId(5), Nanos::ZERO).abs() < 1e-6);
        assert!((learnt.share(key, A, Nanos::ZERO) - 1.0 / 6.0).abs() < 1e-6);
    }

    #[test]
    fn a_flood_of_addresses_pushes_out_itself() {
        let (mut learnt, key) = taught(&[(Some(A), 9)]);
        for n in 0..100_000 {
            let other = learnt.key(n);
            learnt.teach(other, None, Nanos(n));
        }
        assert_eq!(learnt.lessons.len(), 16);
        assert!(learnt.evicted >= 100_000 - 16);
        assert!(learnt.share(key, A, Nanos::ZERO) > 0.89);
    }
}
