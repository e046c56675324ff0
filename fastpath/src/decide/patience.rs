//! How long clients of an endpoint wait before they give up, from those that did.
//!
//! A request that would not be answered before its client leaves is better held on: its answer would be
//! work for nobody. It goes after all that can still be answered, and is never refused.

use crate::time::Nanos;

/// Clients that gave up, the latest.
const LATEST: usize = 32;
/// Fewer say nothing.
const LATEST_MIN: usize = 8;
/// Patience is this quantile of them: one in so many is less patient.
const LESS_PATIENT: usize = 4;

/// One endpoint's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Patience {
    waits: [Nanos; LATEST],
    count: usize,
    next: usize,
    quantile: Option<Nanos>,
}

impl Patience {
    /// A client has given up after this.
    pub fn gave_up(&mut self, wait: Nanos) {
        self.waits[self.next] = wait;
        self.next = (self.next + 1) % LATEST;
        self.count = (self.count + 1).min(LATEST);
        let mut sorted = self.waits;
        let sorted = &mut sorted[..self.count];
        sorted.sort_unstable();
        self.quantile = (self.count >= LATEST_MIN).then(|| sorted[self.count / LESS_PATIENT]);
    }

    /// Whether one that has waited for `waited` is there for an answer that takes so many seconds.
    #[must_use]
    pub fn lasts(&self, waited: Nanos, served_secs: f64) -> bool {
        self.quantile.is_none_or(|most| waited.secs_f64() + served_secs < most.secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_waited_nearly_as_long_as_others_did_will_not_be_there() {
        let mut patience = Patience::default();
        let lasts = |patience: &Patience, secs| patience.lasts(Nanos::from_secs(secs), 2.0);
        (0..7).for_each(|_| patience.gave_up(Nanos::from_secs(20)));
        assert!(lasts(&patience, 60), "seven say nothing");
        patience.gave_up(Nanos::from_secs(20));
        assert!(lasts(&patience, 17) && !lasts(&patience, 19));
    }

    #[test]
    fn a_few_that_leave_early_do_not_make_all_impatient_and_the_old_are_forgotten() {
        let mut patience = Patience::default();
        (0..40).for_each(|n| patience.gave_up(Nanos::from_secs(if n % 8 == 0 { 1 } else { 20 })));
        assert!(patience.lasts(Nanos::from_secs(15), 2.0));
        (0..32).for_each(|_| patience.gave_up(Nanos::from_secs(5)));
        assert!(!patience.lasts(Nanos::from_secs(15), 2.0));
    }
}
