//! How client software retries and leaves. The figures are those of real SDKs on the wire: two more
//! attempts, half a second and then a second before them, `Retry-After` obeyed to the letter.

use fastpath::time::Nanos;

use super::chance::{Chance, seconds};
use super::scenario::{Group, Profile};

/// How an attempt ended that was in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// No whole answer in time, or no connection.
    Timeout,
    /// The server closed or reset before it answered.
    Refused,
    /// The server closed in the middle of its answer.
    Cut,
    /// An error instead of an answer, and the seconds after which to come back.
    Error { status: u16, retry_after: Option<u16> },
}

/// What a client does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It tries again after this.
    After(Nanos),
    /// The call has failed.
    GiveUp,
}

/// Loops around a call, at most.
pub(super) const LOOPS_MAX: usize = 4;

/// Seconds of a `Retry-After` that the SDKs obey at most.
const RETRY_AFTER_MAX: u16 = 60;
/// Attempts of an SDK as it comes.
const SDK_ATTEMPTS: u32 = 3;
/// A connection that is not established by now is given up.
pub(super) const CONNECT_TIMEOUT: Nanos = Nanos::from_secs(5);

impl Profile {
    /// Whether it sends headers and body of a request in two records.
    pub(super) const fn splits_requests(self) -> bool {
        !matches!(self, Self::OpenaiNode | Self::AnthropicNode)
    }

    /// Whether it says `close_notify` before it closes.
    pub(super) const fn says_goodbye(self) -> bool {
        matches!(self, Self::Aiohttp)
    }

    const fn is_sdk(self) -> bool {
        !matches!(self, Self::Httpx | Self::Aiohttp)
    }

    /// Whether it tries again after this: the SDKs leave alone what broke in the middle.
    const fn retries(self, failure: Failure) -> bool {
        match failure {
            Failure::Timeout | Failure::Refused => true,
            Failure::Cut => !self.is_sdk(),
            Failure::Error { status, .. } => matches!(status, 408 | 409 | 429 | 500..),
        }
    }

    /// The wait before attempt `tried` + 1 of the innermost loop.
    fn back_off(self, tried: u32, chance: &mut Chance) -> Nanos {
        if !self.is_sdk() {
            return seconds(0.09 * chance.unit());
        }
        let doubled = 0.5 * 2_f64.powi(i32::try_from(tried).unwrap_or(i32::MAX).min(12) - 1);
        seconds(doubled.min(8.0) * (1.0 - 0.25 * chance.unit()))
    }
}

/// What a client of `group` does after a failure, when its loops have counted so many attempts.
pub(super) fn next(
    group: &Group,
    counts: &mut [u32; LOOPS_MAX],
    failure: Failure,
    chance: &mut Chance,
) -> Next {
    if !group.profile.retries(failure) {
        return Next::GiveUp;
    }
    let attempts: &[u32] = match (group.attempts.as_slice(), group.profile.is_sdk()) {
        ([], true) => &[SDK_ATTEMPTS],
        ([], false) => &[1],
        (given, _) => given,
    };
    for (level, (&most, count)) in attempts.iter().zip(counts.iter_mut()).enumerate() {
        *count += 1;
        if *count >= most {
            *count = 0;
            continue;
        }
        let wait = match failure {
            Failure::Error { retry_after: Some(after), .. }
                if level == 0 && group.profile.is_sdk() && after <= RETRY_AFTER_MAX =>
            {
                Nanos::from_secs(after.into())
            }
            // Loops around an SDK are of the application's own making, and do not wait.
            _ if level > 0 => seconds(0.09 * chance.unit()),
            _ => group.profile.back_off(*count, chance),
        };
        return Next::After(wait);
    }
    Next::GiveUp
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::chance::Purpose;
    use crate::simulate::scenario::Load;

    fn group(profile: Profile, attempts: &[u32]) -> Group {
        let text = "{ name: a, pool: p, hosts: 1, load: { perSecond: 1 } }";
        let group: Group = serde_saphyr::from_str(text).unwrap();
        assert_eq!(group.load, Load::PerSecond(1.0));
        Group { profile, attempts: attempts.to_vec(), ..group }
    }

    fn waits(group: &Group, failure: Failure) -> Vec<f64> {
        let mut chance = Chance::new(1, Purpose::BackOff, 1);
        let mut counts = [0; LOOPS_MAX];
        let mut waits = Vec::new();
        while let Next::After(wait) = next(group, &mut counts, failure, &mut chance) {
            waits.push(wait.secs_f64());
        }
        waits
    }

    #[test]
    fn an_sdk_makes_two_more_attempts_at_its_intervals() {
        let waits = waits(&group(Profile::OpenaiPython, &[]), Failure::Refused);
        assert_eq!(waits.len(), 2);
        assert!((0.375..=0.5).contains(&waits[0]) && (0.75..=1.0).contains(&waits[1]), "{waits:?}");
    }

    #[test]
    fn nested_loops_multiply() {
        for (attempts, all) in [(&[3, 3, 3][..], 27), (&[6, 5], 30), (&[11], 11)] {
            let group = group(Profile::OpenaiPython, attempts);
            assert_eq!(waits(&group, Failure::Timeout).len() + 1, all);
        }
    }

    #[test]
    fn a_herd_comes_back_at_the_second_it_was_told() {
        let error = |after| Failure::Error { status: 429, retry_after: Some(after) };
        let sdk = group(Profile::AnthropicNode, &[]);
        assert_eq!(waits(&sdk, error(7)), [7.0, 7.0]);
        assert!(waits(&sdk, error(61))[0] < 1.0, "too long to be obeyed");
    }

    #[test]
    fn what_broke_in_the_middle_is_tried_again_by_loops_only() {
        assert!(waits(&group(Profile::OpenaiPython, &[]), Failure::Cut).is_empty());
        assert_eq!(waits(&group(Profile::Httpx, &[4]), Failure::Cut).len(), 3);
        let refused = Failure::Error { status: 400, retry_after: None };
        assert!(waits(&group(Profile::Httpx, &[4]), refused).is_empty());
    }
}
