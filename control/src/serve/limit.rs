//! How often somebody may ask: a bucket of tokens for each, of as many as there is room for.

use std::collections::HashMap;
use std::time::Instant;

/// Requests a second, in the long run.
const RATE: f64 = 50.0;
/// Requests at once, after a pause.
const BURST: f64 = 100.0;
/// Peers with a bucket of their own; when there are more, the fullest bucket goes.
const PEERS_MAX: usize = 1024;

/// The buckets.
#[derive(Debug, Default)]
pub(crate) struct Limits(HashMap<String, (f64, Instant)>);

impl Limits {
    /// Takes a token of `who`; false when there is none.
    pub(crate) fn take(&mut self, who: &str, now: Instant) -> bool {
        let filled = |(tokens, at): (f64, Instant)| {
            (tokens + now.saturating_duration_since(at).as_secs_f64() * RATE).min(BURST)
        };
        if !self.0.contains_key(who) && self.0.len() >= PEERS_MAX {
            let fullest = self.0.iter().max_by(|a, b| filled(*a.1).total_cmp(&filled(*b.1)));
            let fullest = fullest.map(|(name, _)| name.clone());
            fullest.and_then(|name| self.0.remove(&name));
        }
        let bucket = self.0.entry(who.to_owned()).or_insert((BURST, now));
        let tokens = filled(*bucket);
        let enough = tokens >= 1.0;
        *bucket = (if enough { tokens - 1.0 } else { tokens }, now);
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_burst_passes_and_then_a_rate_and_nobody_pays_for_another() {
        let (mut limits, start) = (Limits::default(), crate::clock::instant());
        let taken = (0..1000).filter(|_| limits.take("a", start)).count();
        assert_eq!(taken, 100);
        assert!(limits.take("b", start));
        let later = start + Duration::from_secs(1);
        assert_eq!((0..1000).filter(|_| limits.take("a", later)).count(), 50);
    }

    #[test]
    fn however_many_ask_memory_is_bounded_and_who_has_used_up_theirs_is_remembered() {
        let (mut limits, now) = (Limits::default(), crate::clock::instant());
        while limits.take("greedy", now) {}
        for n in 0..5000 {
            assert!(limits.take(&n.to_string(), now));
        }
        assert_eq!(limits.0.len(), PEERS_MAX);
        assert!(!limits.take("greedy", now));
    }
}
