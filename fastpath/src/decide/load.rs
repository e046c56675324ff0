//! When a backend was loaded: the times around its evidence of queueing while requests were held for it.
//!
//! Whoever is let past a hold then takes the turn of one who is held. What becomes of the two says
//! nothing of whether holding does harm, so such times are left out of that comparison.

use crate::time::Nanos;

/// Times that are remembered.
const TIMES: usize = 16;
/// Evidence shows so long after its cause at most, and its queue is gone so long after it.
const BEFORE: Nanos = Nanos::from_secs(1);
const AFTER: Nanos = Nanos::from_secs(2);

/// The latest times of one backend, oldest first, that do not touch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Loads {
    times: [(Nanos, Nanos); TIMES],
    count: usize,
    /// What is earlier is forgotten.
    forgotten: Nanos,
}

impl Loads {
    /// Whether there is such evidence at `now`, which never goes back.
    pub fn tick(&mut self, evidence: bool, now: Nanos) {
        if !evidence {
            return;
        }
        let until = now + AFTER;
        if let Some(latest) = self.count.checked_sub(1).map(|place| &mut self.times[place])
            && latest.1 + BEFORE >= now
        {
            latest.1 = until;
            return;
        }
        if self.count == TIMES {
            self.forgotten = self.times[0].1;
            self.times.rotate_left(1);
            self.count -= 1;
        }
        self.times[self.count] = (now - BEFORE, until);
        self.count += 1;
    }

    /// Whether it was loaded at `then`; what is forgotten was.
    #[must_use]
    pub fn was_loaded(&self, then: Nanos) -> bool {
        let within = |&(from, until): &(Nanos, Nanos)| (from..=until).contains(&then);
        then < self.forgotten || self.times[..self.count].iter().any(within)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(n: u64) -> Nanos {
        Nanos::from_secs(n)
    }

    #[test]
    fn a_backend_is_loaded_from_a_little_before_its_evidence_to_a_little_after() {
        let mut loads = Loads::default();
        (20..=30).for_each(|n| loads.tick(true, secs(n)));
        loads.tick(false, secs(31));
        let at = [18, 19, 25, 32, 33].map(|n| loads.was_loaded(secs(n)));
        assert_eq!(at, [false, true, true, true, false]);
    }

    #[test]
    fn what_is_forgotten_counts_as_loaded() {
        let mut loads = Loads::default();
        (1..=20).for_each(|n| loads.tick(true, secs(10 * n)));
        assert!(loads.was_loaded(secs(5)) && loads.was_loaded(secs(36)));
        assert!(!loads.was_loaded(secs(55)) && loads.was_loaded(secs(60)));
    }
}
