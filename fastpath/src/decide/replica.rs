//! Replica choice (law A6), for new connections of a pool. A connection stays where its client sends it,
//! unless that replica is ejected or has too much in flight: then it goes to the one that its client's
//! hash prefers, so that prefix caches stay warm, and if that has too much as well, to the best of
//! three.
//!
//! Of three drawn, those below the pool's quantile of requests in flight are cold; the one of them with
//! the least time to first byte is taken, and of none that are cold the one with least in flight.

use std::hash::BuildHasher;

use foldhash::quality::FixedState;

use crate::policy::rules::Replica as Rule;

/// Replicas of one pool that are looked at.
pub const REPLICAS_MAX: usize = 64;
/// Replicas drawn.
const DRAWN: usize = 3;
/// At or below this quantile of what is in flight a replica is cold.
const HOT_QUANTILE: f64 = 0.84;

/// One replica, as it stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Replica {
    /// What it is known by, the same for every choice.
    pub key: u64,
    /// Requests in flight.
    pub in_flight: u32,
    /// Its time to first byte, seconds, if it is known.
    pub first_byte_secs: Option<f64>,
    /// Its breaker is open.
    pub ejected: bool,
}

/// The replica for a client with this hash that has chosen `own` itself, for a draw; none when all are
/// ejected.
#[must_use]
pub fn choose(
    pool: &[Replica],
    own: usize,
    (client, draw): (u64, u64),
    rule: &Rule,
) -> Option<usize> {
    let pool = &pool[..pool.len().min(REPLICAS_MAX)];
    let healthy = || pool.iter().enumerate().filter(|(_, replica)| !replica.ejected);
    let mut in_flight = [0; REPLICAS_MAX];
    let mut count = 0;
    for (to, (_, replica)) in in_flight.iter_mut().zip(healthy()) {
        *to = replica.in_flight;
        count += 1;
    }
    let in_flight = &mut in_flight[..count];
    in_flight.sort_unstable();
    let median = f64::from(*in_flight.get(count.checked_sub(1)? / 2)?).max(1.0);
    let fits = |replica: &Replica| {
        !replica.ejected && f64::from(replica.in_flight) <= rule.overload_factor * median
    };
    if pool.get(own).is_some_and(fits) {
        return Some(own);
    }
    let hash = |replica: &Replica| FixedState::default().hash_one((replica.key, client));
    let affine = healthy().max_by_key(|(_, replica)| hash(replica));
    if let Some((affine, _)) = affine.filter(|(_, replica)| fits(replica)) {
        return Some(affine);
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below 64")]
    let hot = in_flight[(HOT_QUANTILE * (count - 1) as f64) as usize];
    best_of_three(healthy, count, hot, draw)
}

fn best_of_three<'a, I: Iterator<Item = (usize, &'a Replica)>>(
    healthy: impl Fn() -> I,
    count: usize,
    hot: u32,
    draw: u64,
) -> Option<usize> {
    #[allow(clippy::cast_possible_truncation, reason = "a remainder below 64")]
    let drawn = |n: usize| healthy().nth((draw >> (16 * n)) as usize % count);
    let rank = |replica: &Replica| {
        let cold = replica.in_flight <= hot;
        let wait = if cold { replica.first_byte_secs.unwrap_or(0.0) } else { 0.0 };
        (!cold, wait, replica.in_flight)
    };
    let best = (0..DRAWN).filter_map(drawn).min_by(|(_, a), (_, b)| {
        let (a, b) = (rank(a), rank(b));
        a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2))
    });
    best.map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Rule = Rule { overload_factor: 1.5 };

    fn pool(in_flight: &[u32]) -> Vec<Replica> {
        let replica = |(&in_flight, key): (&u32, u64)| Replica {
            key,
            in_flight,
            first_byte_secs: Some(0.3),
            ejected: false,
        };
        in_flight.iter().zip(1..).map(replica).collect()
    }

    #[test]
    fn a_client_of_a_healthy_pool_stays_where_it_wants_to() {
        let pool = pool(&[6, 4, 4, 5]);
        for (own, client) in (0..4).zip(0..) {
            assert_eq!(choose(&pool, own, (client, 7), &RULE), Some(own));
        }
    }

    #[test]
    fn clients_of_an_ejected_replica_are_spread_and_each_keeps_its_other_one() {
        let mut replicas = pool(&[4; 8]);
        replicas[7].ejected = true;
        let mut counts = [0; 8];
        for client in 0..7000 {
            let place = choose(&replicas, 7, (client, client), &RULE).unwrap();
            assert_eq!(choose(&replicas, 7, (client, !client), &RULE), Some(place));
            counts[place] += 1;
        }
        assert!(counts[..7].iter().all(|count| (800..1200).contains(count)), "{counts:?}");
        assert_eq!(counts[7], 0);
    }

    #[test]
    fn an_overloaded_replica_gets_little_that_is_new() {
        let replicas = pool(&[40, 4, 4, 4]);
        let hot = (0..500_u64).filter(|&client| {
            let draw = client.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            choose(&replicas, 0, (client, draw), &RULE) == Some(0)
        });
        assert!(hot.count() < 40, "what three equal draws leave there");
    }

    #[test]
    fn of_a_pool_that_is_ejected_as_a_whole_none_is_chosen() {
        let mut replicas = pool(&[4, 4]);
        replicas.iter_mut().for_each(|replica| replica.ejected = true);
        assert_eq!(choose(&replicas, 0, (1, 1), &RULE), None);
        assert_eq!(choose(&[], 0, (1, 1), &RULE), None);
    }
}
