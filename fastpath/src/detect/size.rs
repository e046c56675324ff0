//! Sizes of requests and answers, as far as they are compared: whether one is that of another, or
//! nearly. A length is in clear only while its exchange runs or waits to be decided; what is kept
//! longer is a hash whose key rotates.

use super::repeat::Alike;
use crate::exchange::h1::Facts;
use crate::keyed::{Fresh, Kept, Keys};

/// Request lengths of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Until the attempt is decided: bytes of the whole request, and a digest of the lengths of the
    /// records after the first; `None` when there is only one.
    Clear(u32, Option<u64>),
    /// Once it is: keyed hashes of both.
    Hashed(Kept, Option<Kept>),
}

/// The lengths of a request that others are compared with.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    bytes: u32,
    /// A keyed hash of its length.
    pub hash: Fresh,
    /// A digest of the lengths of its body's records, and a keyed hash of that.
    body: Option<(u64, Fresh)>,
}

/// The size of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// A keyed hash of it.
    pub exact: Kept,
    /// The same of two steps that it is in, half of one apart.
    steps: [Kept; 2],
}

/// Lengths this close are one family: headers that differ by a digit or two.
pub const FAMILY_BYTES: i64 = 3;
/// Bodies are no lengths, whatever their digest; nor are steps.
const BODY: u64 = 1;
const STEP: u64 = 2;
/// Steps of answers for each power of e: a twelfth.
const STEPS_OF_E: f64 = 12.0;

impl Size {
    /// Of a request, as far as it has been seen.
    #[must_use]
    pub fn of(facts: &Facts) -> Self {
        let seen = &facts.seen;
        // The digest has a key of its own and lives as long as the length in clear beside it.
        let body = seen.body_hash.rotate_left(16) ^ u64::from(seen.up_records);
        Self::Clear(seen.up_bytes, (seen.up_records > 1).then_some(body))
    }

    /// What others are compared with; `None` when it is not known in clear any more.
    #[must_use]
    pub fn request(self, keys: &Keys) -> Option<Request> {
        let Self::Clear(bytes, body) = self else { return None };
        let body = body.map(|digest| (digest, keys.hash(BODY, digest)));
        Some(Request { bytes, hash: keys.length(bytes.into()), body })
    }

    /// A keyed hash of the body, where it is written apart.
    #[must_use]
    pub fn body(self, keys: &Keys) -> Option<Kept> {
        match self {
            Self::Clear(_, digest) => digest.map(|digest| keys.hash(BODY, digest).kept()),
            Self::Hashed(_, body) => body,
        }
    }

    /// The same, as it is kept.
    #[must_use]
    pub fn hashed(self, keys: &Keys) -> Self {
        match self {
            Self::Hashed(..) => self,
            Self::Clear(bytes, _) => {
                Self::Hashed(keys.length(bytes.into()).kept(), self.body(keys))
            }
        }
    }

    /// Whether it is that of a request of so many bytes, which have this hash.
    #[must_use]
    pub fn is(self, bytes: u32, hash: Fresh) -> bool {
        match self {
            Self::Clear(own, _) => own == bytes,
            Self::Hashed(whole, _) => hash.is(whole),
        }
    }

    /// How the request of this size is like another. `near`: hashes of lengths that differ by a digit
    /// or two; none, if these do not count.
    #[must_use]
    pub fn alike(self, request: &Request, near: &[Fresh]) -> Alike {
        match self {
            Self::Hashed(whole, body) => request.alike(whole, body, near),
            Self::Clear(bytes, _) if bytes == request.bytes => Alike::Same,
            Self::Clear(_, Some(body)) if request.body.is_some_and(|own| own.0 == body) => {
                Alike::Body
            }
            Self::Clear(bytes, _) => {
                let apart = i64::from(bytes.abs_diff(request.bytes));
                if apart <= FAMILY_BYTES && !near.is_empty() { Alike::Near } else { Alike::Other }
            }
        }
    }
}

impl Request {
    /// Hashes of the lengths that differ from its own by a digit or two.
    #[must_use]
    pub fn near(&self, keys: &Keys) -> [Fresh; 6] {
        [-3, -2, -1, 1, 2, 3].map(|off| keys.length(i64::from(self.bytes) + off))
    }

    /// How it is like another of which hashes are kept. `near`: as with sizes.
    #[must_use]
    pub fn alike(&self, whole: Kept, body: Option<Kept>, near: &[Fresh]) -> Alike {
        let same_body = || body.zip(self.body).is_some_and(|(body, own)| own.1.is(body));
        match () {
            () if self.hash.is(whole) => Alike::Same,
            () if same_body() => Alike::Body,
            () if near.iter().any(|hash| hash.is(whole)) => Alike::Near,
            () => Alike::Other,
        }
    }
}

impl Reply {
    /// Of so many bytes.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few hundred")]
    pub fn of(bytes: u32, keys: &Keys) -> Self {
        let halves = (2.0 * STEPS_OF_E * f64::from(bytes.max(1)).ln()) as u64;
        // Even numbers are steps, odd ones those half a step further.
        let steps = [2 * (halves / 2), 2 * halves.div_ceil(2) + 1];
        let exact = keys.length(bytes.into()).kept();
        Self { exact, steps: steps.map(|step| keys.hash(STEP, step).kept()) }
    }

    /// Whether the other is of nearly this size.
    #[must_use]
    pub fn is_near(&self, other: &Self) -> bool {
        self.steps.iter().zip(&other.steps).any(|(step, other)| step == other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyed::Seed;

    #[test]
    fn answers_of_nearly_one_size_are_near() {
        let keys = Keys::new(Seed::Fixed(1));
        let of = |bytes| Reply::of(bytes, &keys);
        for bytes in 110..6000 {
            let near = [bytes - bytes / 30, bytes, bytes + bytes / 30];
            assert!(near.iter().all(|&near| of(near).is_near(&of(bytes))), "{bytes}");
            assert!(!of(bytes - bytes / 7).is_near(&of(bytes)), "{bytes}");
        }
    }

    #[test]
    fn requests_are_alike_in_clear_as_they_are_when_they_are_kept() {
        let keys = Keys::new(Seed::Fixed(1));
        let request = Size::Clear(700, Some(9)).request(&keys).unwrap();
        let near = request.near(&keys);
        let others = [
            (Size::Clear(700, None), Alike::Same),
            (Size::Clear(950, Some(9)), Alike::Body),
            (Size::Clear(702, None), Alike::Near),
            (Size::Clear(704, Some(8)), Alike::Other),
        ];
        for (size, alike) in others {
            assert_eq!(size.alike(&request, &near), alike);
            assert_eq!(size.hashed(&keys).alike(&request, &near), alike);
        }
        assert_eq!(Size::Clear(702, None).alike(&request, &[]), Alike::Other);
    }
}
