//! Errors of servers whose ordinary answers have any size: an answer of one exact size that recurs
//! although the requests differ, where one of these requests was also answered otherwise, or was
//! sent again for the same answer.
//!
//! A health check has one request and one answer, a writer's acknowledgement is not asked for
//! again: neither is an error. Bounded; old counts fade.

use crate::keyed::{Fresh, Kept, Keys};

/// What one server's answers look like.
#[derive(Clone, Debug)]
pub struct Recurring {
    answers: [Answers; KEPT],
    seen: u32,
}

/// Answers of one exact size.
#[derive(Clone, Copy, Debug, Default)]
struct Answers {
    /// Plaintext bytes.
    size: u32,
    count: u32,
    /// A keyed hash of the latest request's length, while all have had the same.
    request: Kept,
    /// Requests of other lengths had it too.
    requests_differ: bool,
    /// How often its request had another answer, or was sent again and had this one again.
    evidence: u32,
    /// It has been found to be an error.
    is_error: bool,
}

/// One answer, and what the same request was answered before.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// Plaintext bytes.
    pub size: u32,
    /// A keyed hash of the request's length.
    pub request: Fresh,
    /// A keyed hash of the size of the answer before, and whether requests of this length are so
    /// common that one more is no repeat.
    pub before: Option<(Kept, bool)>,
}

const KEPT: usize = 64;
/// When this many answers have been seen, all counts are halved.
const SEEN_MAX: u32 = 64;
/// Answers of one size that are no coincidence: this many, and this share of all.
const COUNT_MIN: u32 = 3;
const SHARE_MIN: u32 = 16;

impl Default for Recurring {
    fn default() -> Self {
        Self { answers: [Answers::default(); KEPT], seen: 0 }
    }
}

impl Recurring {
    /// Whether an answer of this size is an error.
    #[must_use]
    pub fn is_error(&self, size: u32) -> bool {
        self.answers.iter().any(|known| known.size == size && known.is_error)
    }

    /// Whether one request alone has had this answer, and more than once: a list that is asked for
    /// again.
    #[must_use]
    pub fn is_of_one_request(&self, size: u32) -> bool {
        let same = |known: &&Answers| known.size == size && known.count > 1;
        self.answers.iter().find(same).is_some_and(|known| !known.requests_differ)
    }

    /// Learns from an answer.
    pub fn learn(&mut self, answer: &Answer, keys: &Keys) {
        if self.seen >= SEEN_MAX {
            self.fade();
        }
        self.seen += 1;
        let again = answer.before.is_some_and(|(before, _)| keys.is_length(before, answer.size));
        if let Some((before, _)) = answer.before
            && !again
        {
            let others = self.answers.iter_mut().filter(|known| known.count > 0);
            for other in others.filter(|known| keys.is_length(before, known.size)) {
                other.evidence += 1;
            }
        }
        let is_evidence = answer.before.is_some_and(|(_, common)| !again || !common);
        let seen = self.seen;
        let known = self.entry(answer);
        known.count += 1;
        // What the requests before a pause were is forgotten: it proves nothing.
        let differs = keys.knows(known.request) && !answer.request.is(known.request);
        known.requests_differ |= differs;
        known.request = answer.request.kept();
        known.evidence += u32::from(is_evidence);
        let recurs = known.count >= COUNT_MIN && known.count * SHARE_MIN >= seen;
        known.is_error |= recurs && known.requests_differ && known.evidence > 0;
    }

    /// The answers of this size; those that take the place of the rarest if there are none.
    fn entry(&mut self, answer: &Answer) -> &mut Answers {
        let same = |known: &Answers| known.count > 0 && known.size == answer.size;
        let index = self.answers.iter().position(same).unwrap_or_else(|| {
            let rarest = (0..KEPT).min_by_key(|&i| self.answers[i].count).unwrap_or(0);
            let Answer { size, request, .. } = *answer;
            self.answers[rarest] = Answers { size, request: request.kept(), ..Answers::default() };
            rarest
        });
        &mut self.answers[index]
    }

    /// Sizes that are errors, and how often they came of late.
    pub fn errors(&self) -> impl Iterator<Item = (u32, u16)> + '_ {
        let errors = self.answers.iter().filter(|known| known.is_error);
        errors.map(|known| (known.size, u16::try_from(known.count).unwrap_or(u16::MAX)))
    }

    /// An error of this size is known.
    pub fn know_error(&mut self, size: u32, count: u16) {
        if let Some(free) = self.answers.iter_mut().find(|known| known.count == 0) {
            let (count, is_error) = (u32::from(count).min(SEEN_MAX), true);
            *free = Answers { size, count, is_error, requests_differ: true, ..Answers::default() };
        }
    }

    /// Forgets the requests whose key is gone.
    pub fn forget_unknown(&mut self, keys: &Keys) {
        for known in self.answers.iter_mut().filter(|known| !keys.knows(known.request)) {
            known.request = Kept::default();
        }
    }

    fn fade(&mut self) {
        for known in &mut self.answers {
            known.count /= 2;
            if known.count == 0 {
                *known = Answers::default();
            }
        }
        self.seen /= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyed::Seed;

    fn learn(recurring: &mut Recurring, size: u32, request: i64, before: Option<u32>) {
        let keys = Keys::new(Seed::Fixed(1));
        let before = before.map(|size| (keys.length(size.into()).kept(), false));
        recurring.learn(&Answer { size, request: keys.length(request), before }, &keys);
    }

    #[test]
    fn a_size_that_failed_requests_share_is_an_error() {
        let mut recurring = Recurring::default();
        learn(&mut recurring, 700, 1, None);
        learn(&mut recurring, 351, 1, Some(700));
        learn(&mut recurring, 351, 2, None);
        assert!(!recurring.is_error(351), "twice is a coincidence");
        learn(&mut recurring, 351, 3, None);
        assert!(recurring.is_error(351));
        assert!(!recurring.is_error(700));
    }

    #[test]
    fn an_error_is_known_by_the_success_of_its_retry() {
        let mut recurring = Recurring::default();
        for request in 1..=3 {
            learn(&mut recurring, 335, request, None);
        }
        learn(&mut recurring, 248, 3, Some(335));
        assert!(!recurring.is_error(248));
        learn(&mut recurring, 335, 4, None);
        assert!(recurring.is_error(335));
    }

    #[test]
    fn a_health_check_is_none() {
        let mut recurring = Recurring::default();
        for n in 0..100 {
            let keys = Keys::new(Seed::Fixed(1));
            let before = (n > 0).then_some((keys.length(180).kept(), n > 2));
            recurring.learn(&Answer { size: 180, request: keys.length(1), before }, &keys);
        }
        assert!(!recurring.is_error(180));
    }

    #[test]
    fn an_acknowledgement_of_different_requests_is_none() {
        let mut recurring = Recurring::default();
        for request in 0..100 {
            learn(&mut recurring, 180, request, None);
        }
        assert!(!recurring.is_error(180));
    }

    #[test]
    fn an_error_that_no_longer_occurs_fades() {
        let mut recurring = Recurring::default();
        for request in 1..=4 {
            learn(&mut recurring, 335, request, Some(900));
        }
        assert!(recurring.is_error(335));
        for n in 0..300 {
            learn(&mut recurring, 1000 + n, n.into(), None);
        }
        assert!(!recurring.is_error(335));
    }
}
