//! Throttling: which of a server's errors ask for less.
//!
//! A status is not visible; what clients do after it is. A 429 says when to come back, in whole seconds
//! (`Retry-After`, RFC 9110, 10.2.3), and SDKs obey it to the second, while the back-off that is their
//! own has jitter. Clients whose own loops wait for whole seconds do so after any failure, also after
//! one without an answer: what they do after an error says nothing of it.

/// Sizes of errors that are told apart; the least common leaves.
const SIZES: usize = 8;
/// Two errors this close are the same error.
const SAME_BYTES: u32 = 8;
/// A request comes later than it was told to by what it takes to the client and back, seconds.
const LATE_MAX: f64 = 0.1;
/// And sooner by no more than a timer's step.
const EARLY_MAX: f64 = 0.002;
/// Longer pauses are not obeyed by SDKs, seconds.
const TOLD_MAX: f64 = 61.0;
/// So many pauses, and three in four, of whole seconds are no chance.
const WHOLE_MIN: u16 = 3;
/// When so many were counted they count half.
const COUNTED_MAX: u16 = 256;

/// How long the clients of a server wait after its failures.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pauses {
    errors: [(u32, Count); SIZES],
    /// After failures without an answer.
    bare: Count,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    whole: u16,
    all: u16,
}

impl Pauses {
    /// Learns from a pause, in seconds, after an error of this size; `None`: without an answer.
    pub fn learn(&mut self, size: Option<u32>, pause_secs: f64) {
        let Some(size) = size else { return self.bare.add(pause_secs) };
        let same =
            |(known, count): &(u32, Count)| count.all > 0 && known.abs_diff(size) <= SAME_BYTES;
        let place = self.errors.iter().position(same).unwrap_or_else(|| {
            let rarest = (0..SIZES).min_by_key(|&i| self.errors[i].1.all).unwrap_or(0);
            self.errors[rarest] = (size, Count::default());
            rarest
        });
        self.errors[place].1.add(pause_secs);
    }

    /// Whether clients come back after an error of this size when they were told to.
    #[must_use]
    pub fn are_told(&self, size: u32) -> bool {
        let near = |&&(known, _): &&(u32, Count)| known.abs_diff(size) <= SAME_BYTES;
        let is_told = |&(_, count): &(u32, Count)| count.is_whole();
        !self.bare.is_whole() && self.errors.iter().filter(near).any(is_told)
    }
}

impl Count {
    fn add(&mut self, pause_secs: f64) {
        if self.all >= COUNTED_MAX {
            (self.whole, self.all) = (self.whole / 2, self.all / 2);
        }
        self.all += 1;
        self.whole += u16::from(is_whole(pause_secs));
    }

    const fn is_whole(self) -> bool {
        self.whole >= WHOLE_MIN && self.whole * 4 >= self.all * 3
    }
}

/// Whether a pause is a whole number of seconds, as it is seen on the way.
#[must_use]
pub fn is_whole(pause_secs: f64) -> bool {
    let late = (pause_secs + EARLY_MAX).fract() - EARLY_MAX;
    (1.0 - EARLY_MAX..TOLD_MAX).contains(&pause_secs) && late <= LATE_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learnt(size: Option<u32>, pauses: &[f64]) -> Pauses {
        let mut learnt = Pauses::default();
        pauses.iter().for_each(|&pause| learnt.learn(size, pause));
        learnt
    }

    #[test]
    fn an_error_after_which_clients_come_back_to_the_second_asks_for_less() {
        let pauses = learnt(Some(850), &[5.003, 5.021, 4.999]);
        assert!(pauses.are_told(853));
        assert!(!pauses.are_told(700), "another error");
        assert!(!learnt(Some(850), &[5.003, 2.021]).are_told(850), "twice is a chance");
    }

    #[test]
    fn back_off_with_jitter_is_the_clients_own() {
        let own = [0.41, 0.88, 0.47, 0.99, 0.39, 0.81, 1.61, 3.52, 1.02, 2.05, 1.01];
        assert!(!learnt(Some(850), &own).are_told(850));
    }

    #[test]
    fn loops_that_wait_for_a_second_after_anything_say_nothing() {
        let mut pauses = learnt(Some(850), &[1.004, 1.003, 1.01, 1.004]);
        assert!(pauses.are_told(850));
        (0..3).for_each(|_| pauses.learn(None, 1.005));
        assert!(!pauses.are_told(850));
    }

    #[test]
    fn a_pause_is_whole_where_it_ends_just_after_a_second() {
        let pauses = [0.0, 0.5, 0.999, 1.0, 1.09, 1.11, 1.997, 1.999, 60.05, 61.0];
        let whole = [false, false, true, true, true, false, false, true, true, false];
        assert_eq!(pauses.map(is_whole), whole);
    }
}
