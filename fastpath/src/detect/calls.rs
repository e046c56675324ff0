//! Where an application has called: whether it did anything else between two equal requests.

use crate::exchange::recent::{Recent, Reuse};
use crate::time::Nanos;

/// The latest calls of applications, by hash. The one that has been silent for longest, of a few,
/// is forgotten for a new one, which is counted.
#[derive(Debug)]
pub struct Calls {
    applications: Recent<u64, Application>,
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

const APPLICATIONS: usize = 4096;

impl Reuse for Application {
    fn reuse(&mut self) {
        *self = Self::default();
    }
}

impl Default for Calls {
    fn default() -> Self {
        Self { applications: Recent::with_capacity(APPLICATIONS) }
    }
}

impl Calls {
    /// Notes a call. Returns when the application had called before.
    pub fn note(&mut self, application: u64, group: u64, at: Nanos) -> Called {
        let calls = self.applications.learn(application, at);
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
        let mut calls = Calls::default();
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
        let mut calls = Calls::default();
        for application in 0..=APPLICATIONS as u64 {
            calls.note(application, 10, Nanos(5 + application));
        }
        assert_eq!(calls.evicted(), 1);
        assert_eq!(calls.note(0, 20, Nanos(9000)).elsewhere, Nanos::ZERO, "it was forgotten");
    }
}
