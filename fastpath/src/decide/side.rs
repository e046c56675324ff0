//! Which clients rules act on: a client is in or out as a whole, by a keyed hash of its address.
//!
//! The hash is divided: below the holdout share nothing is ever acted on; above it each rule acts up to
//! its share. The key follows from the lcore's seed. The draws of the laws keep no secret and begin with
//! the same number always, so that the same traffic is told the same twice.

use std::hash::{BuildHasher, RandomState};

use foldhash::quality::FixedState;

use super::disarm::Side;
use crate::burst::Address;
use crate::keyed::Seed;
use crate::policy::rules::SelfDisarm;

/// Hashes and draws.
#[derive(Debug)]
pub struct Sides {
    hasher: FixedState,
    state: u64,
}

impl Sides {
    /// Of a seed.
    #[must_use]
    pub fn new(seed: Seed) -> Self {
        let seed = match seed {
            Seed::Os => RandomState::new().hash_one(0_u64),
            Seed::Fixed(number) => number,
        };
        Self { hasher: FixedState::with_seed(seed), state: 0 }
    }

    /// The hash of a client.
    #[must_use]
    pub fn hash(&self, client: Address) -> u64 {
        self.hasher.hash_one(client)
    }

    /// A number from 0 to 1 (SplitMix64, Steele, Lea and Flood 2014).
    pub fn draw(&mut self) -> f64 {
        self.bits() as f64 / (1_u64 << 53) as f64
    }

    /// Fifty-three random bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) >> 11
    }

    /// Whether a rule that acts on this share of clients acts on the one with this hash.
    #[must_use]
    pub fn acts_on(hash: u64, share: f64, policy: &SelfDisarm) -> bool {
        let holdout = policy.holdout_percent / 100.0;
        let place = place(hash);
        place >= holdout && place < holdout + (1.0 - holdout) * share
    }

    /// The side of a client, when rules act on this share; none where they only could.
    #[must_use]
    pub fn of(hash: u64, share: f64, policy: &SelfDisarm) -> Option<Side> {
        if place(hash) < policy.holdout_percent / 100.0 {
            return Some(Side::Holdout);
        }
        Self::acts_on(hash, share, policy).then_some(Side::ActedOn)
    }
}

/// Where a hash lies between 0 and 1.
fn place(hash: u64) -> f64 {
    (hash >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::rules::Rules;

    fn clients(sides: &Sides) -> impl Iterator<Item = u64> + '_ {
        (0..10_000_u32).map(|n| sides.hash(Address::v4(n.to_be_bytes())))
    }

    #[test]
    fn a_twentieth_is_held_out_and_of_the_rest_the_share_is_acted_on() {
        let (sides, policy) = (Sides::new(Seed::Fixed(1)), Rules::default().self_disarm);
        let count = |share: f64, side| {
            clients(&sides).filter(|&hash| Sides::of(hash, share, &policy) == Some(side)).count()
        };
        let holdout = count(1.0, Side::Holdout);
        assert!((420..580).contains(&holdout), "{holdout}");
        assert_eq!(count(1.0, Side::ActedOn), 10_000 - holdout);
        assert_eq!(count(0.0, Side::ActedOn), 0);
        let tenth = count(0.1, Side::ActedOn);
        assert!((850..1050).contains(&tenth), "{tenth}");
    }

    #[test]
    fn who_is_acted_on_at_a_small_share_is_at_a_larger_one() {
        let (sides, policy) = (Sides::new(Seed::Fixed(7)), Rules::default().self_disarm);
        let acts = |hash, share| Sides::acts_on(hash, share, &policy);
        assert!(clients(&sides).all(|hash| !acts(hash, 0.2) || acts(hash, 0.6)));
    }
}
