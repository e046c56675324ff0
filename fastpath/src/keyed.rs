//! Keyed hashes with a short life: what is equal is told, and what it was is not (docs/privacy.md,
//! P3).
//!
//! A key lives for two times [`KEY_LIFE`]: while it is the current one, and while it is the one
//! before, so that what was asked just before a rotation is still recognised after it. Then it is
//! overwritten, and what was hashed under it can no longer be compared with anything. The next key
//! follows from a secret through a one-way function and the secret is replaced with it, so a key
//! that is gone cannot be derived again. The hash is AES-128 of digest and value, cut to 48 bits,
//! with the number of its key.

use std::hash::{BuildHasher, RandomState};

use aes::Aes128Enc;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use sha2::{Digest, Sha256};

use crate::time::Nanos;

/// How long a key is the current one: longer than anything hashed under it is looked for, a step
/// of a workflow that runs for eleven minutes and is asked again a minute later.
pub const KEY_LIFE: Nanos = Nanos::from_secs(900);

/// What keys are derived from. The keys of two processes, and of two lcores, have nothing in
/// common unless they are given one seed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Seed {
    /// Random numbers of the operating system.
    #[default]
    Os,
    /// This number: a replay gives the same twice.
    Fixed(u64),
}

/// The two keys of an lcore.
pub struct Keys {
    secret: [u8; 32],
    current: Key,
    previous: Option<Key>,
    /// When the next key takes over; unknown before the first tick.
    due: Option<Nanos>,
}

struct Key {
    /// Counts up from 1.
    number: u16,
    cipher: Aes128Enc,
}

/// A hash as it is kept: 48 bits, and the number of its key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept(u64);

/// A hash of something that is known now: under both keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fresh {
    current: u64,
    previous: Option<u64>,
}

const HASH_BITS: u32 = 48;
/// The digest that lengths go with.
const LENGTH: u64 = 0;

impl Keys {
    /// Keys that are derived from `seed`.
    #[must_use]
    pub fn new(seed: Seed) -> Self {
        let mut hasher = Sha256::new();
        match seed {
            Seed::Os => {
                let random = RandomState::new();
                (0..4_u64).for_each(|n| hasher.update(random.hash_one(n).to_le_bytes()));
            }
            Seed::Fixed(number) => hasher.update(number.to_le_bytes()),
        }
        let secret = hasher.finalize().into();
        Self { secret, current: Key::of(&secret, 1), previous: None, due: None }
    }

    /// Time has passed: the next key takes over when it is time, and then an old one is gone. Whoever
    /// was away for long finds none of the old ones.
    pub fn tick(&mut self, now: Nanos) -> bool {
        let due = *self.due.get_or_insert(now + KEY_LIFE);
        if now < due {
            return false;
        }
        self.rotate();
        if now >= due + KEY_LIFE {
            self.rotate();
        }
        self.due = Some(now + KEY_LIFE);
        true
    }

    /// The hash of a value that belongs to something with this digest.
    #[must_use]
    pub fn hash(&self, digest: u64, value: u64) -> Fresh {
        let previous = self.previous.as_ref().map(|key| key.hash(digest, value));
        Fresh { current: self.current.hash(digest, value), previous }
    }

    /// Whether a kept hash is the one of this value.
    #[must_use]
    pub fn is(&self, kept: Kept, digest: u64, value: u64) -> bool {
        let keys = [Some(&self.current), self.previous.as_ref()];
        let key = keys.into_iter().flatten().find(|key| key.number == kept.key());
        key.is_some_and(|key| key.hash(digest, value) == kept.0)
    }

    /// The hash of a length in bytes. None is negative, so such a one is equal to none.
    #[must_use]
    #[allow(clippy::cast_sign_loss, reason = "only equality counts")]
    pub fn length(&self, bytes: i64) -> Fresh {
        self.hash(LENGTH, bytes as u64)
    }

    /// Whether a kept hash is the one of this length.
    #[must_use]
    pub fn is_length(&self, kept: Kept, bytes: u32) -> bool {
        self.is(kept, LENGTH, bytes.into())
    }

    /// Whether the key of a kept hash is still there.
    #[must_use]
    pub fn knows(&self, kept: Kept) -> bool {
        let previous = self.previous.as_ref().map(|key| key.number);
        kept.key() == self.current.number || Some(kept.key()) == previous
    }

    fn rotate(&mut self) {
        self.secret =
            Sha256::new().chain_update(b"next").chain_update(self.secret).finalize().into();
        let number = self.current.number.checked_add(1).unwrap_or(1);
        let next = Key::of(&self.secret, number);
        self.previous = Some(std::mem::replace(&mut self.current, next));
    }
}

impl Key {
    fn of(secret: &[u8; 32], number: u16) -> Self {
        let digest: [u8; 32] =
            Sha256::new().chain_update(b"key").chain_update(secret).finalize().into();
        let (key, _) = digest.split_at(16);
        let key: [u8; 16] = key.try_into().unwrap_or_default();
        Self { number, cipher: Aes128Enc::new(&key.into()) }
    }

    fn hash(&self, digest: u64, value: u64) -> u64 {
        let block = u128::from(digest) << 64 | u128::from(value);
        let mut block = block.to_le_bytes().into();
        self.cipher.encrypt_block(&mut block);
        let [a, b, c, d, e, f, ..] = block.0;
        u64::from(self.number) << HASH_BITS | u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
    }
}

/// Keys are not shown.
impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { current, previous, due, .. } = self;
        let previous = previous.as_ref().map(|key| key.number);
        let mut shown = f.debug_struct("Keys");
        shown.field("current", &current.number).field("previous", &previous).field("due", due);
        shown.finish_non_exhaustive()
    }
}

impl Kept {
    #[allow(clippy::cast_possible_truncation, reason = "sixteen bits are left")]
    const fn key(self) -> u16 {
        (self.0 >> HASH_BITS) as u16
    }
}

impl Fresh {
    /// What is kept of it.
    #[must_use]
    pub const fn kept(self) -> Kept {
        Kept(self.current)
    }

    /// Whether a kept hash is of the same value.
    #[must_use]
    pub fn is(self, kept: Kept) -> bool {
        self.current == kept.0 || self.previous == Some(kept.0)
    }

    /// Whether another is of the same value; a rotation may lie between the two.
    #[must_use]
    pub fn same(self, other: Self) -> bool {
        self.is(other.kept()) || other.is(self.kept())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Nanos = Nanos::from_secs(1_000_000);

    fn started(seed: Seed) -> Keys {
        let mut keys = Keys::new(seed);
        keys.tick(START);
        keys
    }

    #[test]
    fn what_is_equal_is_equal_across_one_rotation() {
        let mut keys = started(Seed::Os);
        let before = keys.hash(7, 1300);
        keys.tick(START + KEY_LIFE);
        let after = keys.hash(7, 1300);
        assert!(after.is(before.kept()) && after.same(before) && before.same(after));
        assert!(keys.is(before.kept(), 7, 1300) && keys.knows(before.kept()));
        assert!(!keys.is(before.kept(), 7, 1301) && !keys.hash(8, 1300).is(before.kept()));
        assert_ne!(before.kept(), after.kept(), "the current key is another");
    }

    #[test]
    fn after_two_rotations_nothing_of_a_key_is_left() {
        let mut keys = started(Seed::Os);
        let old = keys.hash(0, 1300);
        keys.tick(START + KEY_LIFE);
        keys.tick(START + KEY_LIFE + KEY_LIFE);
        assert!(!keys.knows(old.kept()) && !keys.is(old.kept(), 0, 1300));
        assert!((0..5000).all(|length| !keys.hash(0, length).same(old)));
    }

    #[test]
    fn a_pause_longer_than_two_lives_leaves_none_of_the_old_keys() {
        let mut keys = started(Seed::Os);
        let old = keys.hash(0, 1300).kept();
        keys.tick(START + Nanos::from_secs(7200));
        assert!(!keys.knows(old));
    }

    #[test]
    fn two_processes_have_different_keys_and_two_replays_the_same() {
        let hash = |seed| Keys::new(seed).hash(0, 1300).kept();
        assert_ne!(hash(Seed::Os), hash(Seed::Os));
        assert_eq!(hash(Seed::Fixed(1)), hash(Seed::Fixed(1)));
        assert_ne!(hash(Seed::Fixed(1)), hash(Seed::Fixed(2)));
        let rotated = |seed| {
            let mut keys = started(seed);
            keys.tick(START + KEY_LIFE);
            keys.hash(0, 1300).kept()
        };
        assert_eq!(rotated(Seed::Fixed(1)), rotated(Seed::Fixed(1)));
    }

    #[test]
    fn a_key_is_not_shown() {
        let keys = format!("{:?}", started(Seed::Fixed(1)));
        assert!(keys.starts_with("Keys { current: 1, previous: None"), "{keys}");
    }
}
