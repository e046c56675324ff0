//! Assignment: which start is the retry of which failed attempt, where several starts could be and
//! lengths do not tell.

use super::continuity::Came;
use super::size::Reply;
use crate::telemetry::event::ExchangeId;

/// Least log-likelihood ratio of a link.
pub const LINK_ABOVE: f64 = -1.0;

/// A start that may be the retry of a failed attempt.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    /// The attempt that failed.
    pub failed: ExchangeId,
    /// Its number.
    pub failed_attempt: u16,
    /// The attempt that started.
    pub start: ExchangeId,
    /// From the end of the one to the other, seconds.
    pub gap_secs: f64,
    /// On which connection it came.
    pub came: Came,
    /// Log-likelihood ratio of a retry against anything else.
    pub likelihood: f64,
    /// The answer that the failed attempt was given, if it was given a whole one.
    pub answer: Option<Reply>,
}

/// Assigns starts to failed attempts, likeliest first, one to one; gives what `id` got.
pub(super) fn assign(pairs: &mut [Pair], id: ExchangeId) -> Option<Pair> {
    // In place, as a stable sort would allocate; so no two pairs may be equal.
    pairs.sort_unstable_by(|a, b| {
        let likelihood = b.likelihood.total_cmp(&a.likelihood);
        likelihood.then(b.failed.cmp(&a.failed)).then(a.start.cmp(&b.start))
    });
    let mut assigned = 0;
    for i in 0..pairs.len() {
        let pair = pairs[i];
        if pair.likelihood <= LINK_ABOVE {
            return None;
        }
        let clash = |other: &Pair| other.failed == pair.failed || other.start == pair.start;
        if pairs[..assigned].iter().any(clash) {
            continue;
        }
        if pair.start == id {
            return Some(pair);
        }
        pairs.swap(assigned, i);
        assigned += 1;
    }
    None
}

/// How sure a decision is: certain lengths are, and likelihoods far from the threshold.
pub(super) fn confidence(pairs: &[Pair], id: ExchangeId, linked: bool, unique: bool) -> f64 {
    if unique {
        return 0.99;
    }
    let own = pairs.iter().filter(|pair| pair.start == id).map(|pair| pair.likelihood);
    let best = own.fold(f64::NEG_INFINITY, f64::max);
    let odds = if linked { best - LINK_ABOVE } else { LINK_ABOVE - best };
    (1.0 / (1.0 + (-odds).exp())).clamp(0.5, 0.99)
}
