//! Where an application has called: whether it did anything else between two equal requests.

use crate::time::Nanos;

/// The latest calls of applications, by hash. Two applications of one place push each other out,
/// which is counted.
#[derive(Debug)]
pub struct Calls {
    slots: Vec<Application>,
    evicted: u64,
}

/// The two groups an application has called last.
#[derive(Clone, Copy, Debug, Default)]
struct Application {
    key: u64,
    latest: (u64, Nanos),
    other: (u64, Nanos),
}

const APPLICATIONS: usize = 4096;

impl Default for Calls {
    fn default() -> Self {
        Self { slots: vec![Application::default(); APPLICATIONS], evicted: 0 }
    }
}

impl Calls {
    /// Notes a call. Returns when the application last called another group; zero when never.
    pub fn note(&mut self, application: u64, group: u64, at: Nanos) -> Nanos {
        // A remainder that fits whatever the size of a pointer.
        let index = usize::try_from(application % APPLICATIONS as u64).unwrap_or(0);
        let slot = &mut self.slots[index];
        if slot.key != application {
            self.evicted += u64::from(slot.key != 0);
            *slot = Application { key: application, ..Application::default() };
        }
        if slot.latest.0 != group {
            slot.other = slot.latest;
        }
        slot.latest = (group, at);
        slot.other.1
    }

    /// Applications that were pushed out.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.evicted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_to_one_server_are_nothing_else() {
        let mut calls = Calls::default();
        assert_eq!(calls.note(1, 10, Nanos(5)), Nanos::ZERO);
        assert_eq!(calls.note(1, 10, Nanos(6)), Nanos::ZERO);
        assert_eq!(calls.note(1, 20, Nanos(7)), Nanos(6));
        assert_eq!(calls.note(1, 10, Nanos(8)), Nanos(7));
        assert_eq!(calls.note(2, 10, Nanos(9)), Nanos::ZERO, "another application");
    }

    #[test]
    fn applications_are_bounded() {
        let mut calls = Calls::default();
        calls.note(1, 10, Nanos(5));
        calls.note(1 + APPLICATIONS as u64, 10, Nanos(6));
        assert_eq!((calls.note(1, 20, Nanos(7)), calls.evicted()), (Nanos::ZERO, 2));
    }
}
