//! What a server does with the frames that end a response and with those that answer a request body,
//! learnt from streams that ran alone: whether it ends with an empty DATA frame, and whether it
//! grants window at once.

use crate::exchange::recent::Reuse;
use crate::policy::learnt::{LearntHttp2, weighed};

/// The habits of one server.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Habit {
    /// Responses that ended with a frame of their own, and that did without.
    marked: u16,
    unmarked: u16,
    /// Requests, and WINDOW_UPDATEs that came a round trip after one.
    requests: u16,
    granted: u16,
}

/// Some edges mark only what they had not yet sent when the end came.
const MARKED_FOR_ONE_UNMARKED: u16 = 4;
const SETTLED_MIN: u16 = 16;
/// When this many were counted, all counts are halved: what is old fades.
const COUNTED_MAX: u16 = 256;

impl Reuse for Habit {
    fn reuse(&mut self) {
        *self = Self::default();
    }
}

impl From<&LearntHttp2> for Habit {
    fn from(learnt: &LearntHttp2) -> Self {
        let [marked, unmarked] = weighed([learnt.marked, learnt.unmarked]);
        let [requests, granted] = weighed([learnt.requests, learnt.granted]);
        Self { marked, unmarked, requests, granted }
    }
}

impl Habit {
    pub(super) fn export(&self, learnt: &mut LearntHttp2) {
        (learnt.marked, learnt.unmarked) = (self.marked, self.unmarked);
        (learnt.requests, learnt.granted) = (self.requests, self.granted);
    }

    /// Responses end with an empty DATA frame that carries END_STREAM (RFC 9113, 6.1). Edges that
    /// buffer put the flag on the last data instead, and then nothing marks the end.
    /// `None` before any response has ended.
    pub(super) fn marks_the_end(&self) -> Option<bool> {
        let seen = self.marked + self.unmarked > 0;
        seen.then_some(self.marked > MARKED_FOR_ONE_UNMARKED * self.unmarked)
    }

    /// Enough responses have ended for the habit to be believed against appearances.
    pub(super) fn is_settled(&self) -> bool {
        self.marked + self.unmarked >= SETTLED_MIN
    }

    /// A frame of the size of a WINDOW_UPDATE one round trip after a request is one, and no
    /// RST_STREAM. Taken for granted until the server is known.
    pub(super) fn grants_window(&self) -> bool {
        self.requests < 4 || 2 * self.granted >= self.requests
    }

    pub(super) fn ended(&mut self, marked: bool) {
        if self.marked + self.unmarked >= COUNTED_MAX {
            (self.marked, self.unmarked) = (self.marked / 2, self.unmarked / 2);
        }
        if marked { self.marked += 1 } else { self.unmarked += 1 }
    }

    pub(super) fn answered(&mut self, granted: bool) {
        if self.requests >= COUNTED_MAX {
            (self.requests, self.granted) = (self.requests / 2, self.granted / 2);
        }
        self.requests += 1;
        self.granted += u16::from(granted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_habit_of_a_server_is_what_it_does_mostly() {
        let mut habit = Habit::default();
        assert_eq!(habit.marks_the_end(), None);
        habit.ended(true);
        assert_eq!(habit.marks_the_end(), Some(true));
        habit.ended(false);
        assert_eq!(habit.marks_the_end(), Some(false));
    }

    #[test]
    fn a_server_that_never_grants_window_resets() {
        let mut habit = Habit::default();
        assert!(habit.grants_window());
        for _ in 0..4 {
            habit.answered(false);
        }
        assert!(!habit.grants_window());
    }

    #[test]
    fn what_is_old_fades() {
        let mut habit = Habit::default();
        for _ in 0..1000 {
            habit.ended(true);
        }
        for _ in 0..300 {
            habit.ended(false);
        }
        assert_eq!(habit.marks_the_end(), Some(false));
    }
}
