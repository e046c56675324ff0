//! On which connection a retry comes.
//!
//! A worker with a connection of its own tries again on that connection, or on a fresh one where the
//! failure closed it. Workers that share a pool take whatever is free. Which of both a group of
//! clients does is learnt from its retries, and from the starts that were none.

/// What the connection of a start had carried before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// An attempt that failed and was not tried again.
    Failed,
    /// An exchange that was complete, just before.
    Answered,
    /// Anything else, or longer ago.
    Other,
    /// Nothing: the connection is fresh.
    Nothing,
}

/// The connection of a start, beside that of the failed attempt that it may be the retry of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Came {
    /// What it had carried before.
    pub before: Before,
    /// It had carried that very attempt, last.
    pub same: bool,
    /// The connection of the failed attempt was open.
    pub open: bool,
}

/// How the starts of a group chose their connections so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Connections {
    /// Retries, after failures that closed the connection and after those that did not, by kind.
    retries: [Counts; 2],
    /// Starts that were something else.
    others: Counts,
}

type Counts = [u32; KINDS];
/// The connection of the failed attempt; one that was just answered; another; a fresh one.
const KINDS: usize = 4;
/// Shares before anything was learnt, worth so many starts.
const RETRY_PRIOR: [[f64; KINDS]; 2] = [[0.01, 0.25, 0.24, 0.5], [0.45, 0.25, 0.25, 0.05]];
const OTHER_PRIOR: [f64; KINDS] = [0.12, 0.45, 0.25, 0.18];
const PRIOR_STARTS: f64 = 4.0;
/// When this many starts were learnt, they count half.
const STARTS_MAX: u32 = 256;

impl Connections {
    /// Log-likelihood ratio of a retry against anything else.
    #[must_use]
    pub fn likelihood(&self, came: Came) -> f64 {
        let retry = share(&self.retries[usize::from(came.open)], came.as_retry(), {
            &RETRY_PRIOR[usize::from(came.open)]
        });
        let ratio = (retry / share(&self.others, came.as_other(), &OTHER_PRIOR)).ln();
        match came.before {
            // Whatever was learnt from decisions that were mistaken.
            Before::Answered => ratio.min(0.0),
            Before::Failed if came.same => ratio.max(0.0),
            _ => ratio,
        }
    }

    /// Learns from a start that was decided.
    pub fn learn(&mut self, retry: bool, came: Came) {
        let (counts, kind) = match retry {
            true => (&mut self.retries[usize::from(came.open)], came.as_retry()),
            false => (&mut self.others, came.as_other()),
        };
        if counts.iter().sum::<u32>() >= STARTS_MAX {
            counts.iter_mut().for_each(|count| *count /= 2);
        }
        counts[kind] += 1;
    }
}

impl Came {
    fn as_retry(self) -> usize {
        match self.before {
            Before::Failed if self.same => 0,
            Before::Answered => 1,
            Before::Failed | Before::Other => 2,
            Before::Nothing => 3,
        }
    }

    fn as_other(self) -> usize {
        match self.before {
            Before::Failed => 0,
            Before::Answered => 1,
            Before::Other => 2,
            Before::Nothing => 3,
        }
    }
}

fn share(counts: &Counts, kind: usize, prior: &[f64; KINDS]) -> f64 {
    let all = f64::from(counts.iter().sum::<u32>());
    (PRIOR_STARTS * prior[kind] + f64::from(counts[kind])) / (PRIOR_STARTS + all)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACK: Came = Came { before: Before::Failed, same: true, open: true };
    const ON: Came = Came { before: Before::Answered, same: false, open: true };
    const FRESH: Came = Came { before: Before::Nothing, same: false, open: true };

    #[test]
    fn a_worker_that_was_just_answered_goes_on_with_something_else() {
        let connections = Connections::default();
        assert!(connections.likelihood(ON) < 0.0);
        assert!(connections.likelihood(BACK) > 0.0);
    }

    #[test]
    fn workers_with_a_connection_of_their_own_are_learnt() {
        let mut connections = Connections::default();
        let before = [BACK, ON, FRESH].map(|came| connections.likelihood(came));
        for _ in 0..30 {
            connections.learn(true, BACK);
            connections.learn(false, ON);
        }
        let after = [BACK, ON, FRESH].map(|came| connections.likelihood(came));
        assert!(after[0] > before[0] + 1.0 && after[1] < before[1] - 1.0, "{after:?}");
        let closed = Came { open: false, ..FRESH };
        assert!(connections.likelihood(closed) > 1.0, "it had to open another one");
    }

    #[test]
    fn a_shared_pool_is_learnt() {
        let mut connections = Connections::default();
        for n in 0..60 {
            connections.learn(true, if n % 3 == 0 { BACK } else { ON });
            connections.learn(false, if n % 3 == 0 { BACK } else { ON });
        }
        assert!(connections.likelihood(BACK).abs() < 0.3);
        assert!(connections.likelihood(ON).abs() < 0.3);
    }
}
