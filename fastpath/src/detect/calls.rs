//! Where an application has called: whether it did anything else between two equal requests.

use crate::lru::{LruMap, Reuse};
use crate::time::Nanos;

/// The latest calls of applications, by hash.
#[derive(Debug)]
pub struct Calls {
    applications: LruMap<u64, Application>,
}

/// The two groups an application has called last.
#[derive(Clone, Copy, Debug, Default)]
struct Application {
    latest: (u64, Nanos),
    other: (u64, Nanos),
}

/// When an application had called before; zero when never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Called {
    /// Another group.
    pub elsewhere: Nanos,
    /// Any group.
    pub anywhere: Nanos,
}

/// An application is much smaller than a group, and is remembered for longer.
const PER_GROUP: usize = 4;

impl Reuse for Application {}

impl Calls {
    /// For the applications that make up so many groups.
    #[must_use]
    pub fn for_groups(groups: usize) -> Self {
        Self { applications: LruMap::with_capacity(PER_GROUP * groups) }
    }

    /// Notes a call. Returns when the application had called before.
    pub fn note(&mut self, application: u64, group: u64, at: Nanos) -> Called {
        let calls = self.applications.touch(application, at);
        let anywhere = calls.latest.1;
        if calls.latest.0 != group {
            calls.other = calls.latest;
        }
        calls.latest = (group, at);
        Called { elsewhere: calls.other.1, anywhere }
    }

    /// Applications that were pushed out.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.applications.evicted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_to_one_server_are_nothing_else() {
        let mut calls = Calls::for_groups(1);
        let mut note = |application, group, at| {
            let Called { elsewhere, anywhere } = calls.note(application, group, Nanos(at));
            (elsewhere.0, anywhere.0)
        };
        assert_eq!(note(1, 10, 5), (0, 0));
        assert_eq!(note(1, 10, 6), (0, 5));
        assert_eq!(note(1, 20, 7), (6, 6));
        assert_eq!(note(1, 10, 8), (7, 7));
        assert_eq!(note(2, 10, 9), (0, 0), "another application");
    }

    #[test]
    fn applications_are_bounded() {
        let mut calls = Calls::for_groups(1);
        for application in 0..=PER_GROUP as u64 {
            calls.note(application, 10, Nanos(5 + application));
        }
        assert_eq!(calls.evicted(), 1);
        assert_eq!(calls.note(0, 20, Nanos(9000)).elsewhere, Nanos::ZERO, "it was forgotten");
    }
}
