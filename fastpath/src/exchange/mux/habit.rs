//! What a server does with the frames that end a response and with those that answer a request body,
//! learnt from streams that ran alone: whether it ends with an empty DATA frame, and whether it
//! grants window at once.
//!
//! Streamed responses and those in one piece are kept apart. A server that knows the length of a
//! body puts END_STREAM on its last data, and still ends with an empty frame what it passes on as it
//! comes (Node, Envoy).

use super::stream::Stream;
use crate::lru::Reuse;
use crate::policy::learnt::{LearntHttp2, weighed};

/// The habits of one server.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Habit {
    /// Responses in one piece.
    plain: Marks,
    streamed: Marks,
    /// Requests, and WINDOW_UPDATEs that came a round trip after one.
    requests: u16,
    granted: u16,
    /// Such frames that no response followed: they were RST_STREAM.
    refused: u16,
}

/// Responses that ended with a frame of their own, and that did without.
#[derive(Clone, Copy, Debug, Default)]
struct Marks {
    with: u16,
    without: u16,
}

impl Marks {
    fn are_usual(&self) -> Option<bool> {
        let seen = self.with + self.without > 0;
        seen.then_some(self.with > MARKED_FOR_ONE_UNMARKED * self.without)
    }
}

/// Some edges mark only what they had not yet sent when the end came.
const MARKED_FOR_ONE_UNMARKED: u16 = 4;
const SETTLED_MIN: u16 = 16;
const SURE_MIN: u16 = 3;
const REQUESTS_MIN: u16 = 4;
/// When this many were counted, all counts are halved: what is old fades.
const COUNTED_MAX: u16 = 256;

impl Reuse for Habit {}

impl From<&LearntHttp2> for Habit {
    fn from(learnt: &LearntHttp2) -> Self {
        let marks = |with, without| {
            let [with, without] = weighed([with, without]);
            Marks { with, without }
        };
        let [requests, granted, refused] =
            weighed([learnt.requests, learnt.granted, learnt.refused]);
        Self {
            plain: marks(learnt.plain_marked, learnt.plain_unmarked),
            streamed: marks(learnt.stream_marked, learnt.stream_unmarked),
            requests,
            granted,
            refused,
        }
    }
}

impl Habit {
    pub(super) fn export(&self, learnt: &mut LearntHttp2) {
        (learnt.plain_marked, learnt.plain_unmarked) = (self.plain.with, self.plain.without);
        (learnt.stream_marked, learnt.stream_unmarked) =
            (self.streamed.with, self.streamed.without);
        (learnt.requests, learnt.granted, learnt.refused) =
            (self.requests, self.granted, self.refused);
    }

    /// Responses of this shape end with an empty DATA frame that carries END_STREAM (RFC 9113, 6.1).
    /// Edges that buffer put the flag on the last data instead, and then nothing marks the end.
    /// `None` before any response that tells has ended: who marks what is in one piece marks streams,
    /// and who does not mark streams does not mark what is in one piece.
    pub(super) fn marks_the_end(&self, streamed: bool) -> Option<bool> {
        let other = || self.shape(!streamed).are_usual().filter(|&usual| usual == streamed);
        self.shape(streamed).are_usual().or_else(other)
    }

    /// The same for the response of `stream`, as far as its shape is known.
    pub(super) fn marks(&self, stream: &Stream) -> Option<bool> {
        self.marks_the_end(stream.is_streamed() || stream.down_records == 0)
    }

    /// Several responses of this shape have ended, and all with a mark.
    pub(super) fn is_sure(&self, streamed: bool) -> bool {
        let Marks { with, without } = *self.shape(streamed);
        with >= SURE_MIN && without == 0
    }

    /// Enough responses of this shape have ended for the habit to be believed against appearances.
    pub(super) fn is_settled(&self, streamed: bool) -> bool {
        let Marks { with, without } = *self.shape(streamed);
        with + without >= SETTLED_MIN
    }

    fn shape(&self, streamed: bool) -> &Marks {
        if streamed { &self.streamed } else { &self.plain }
    }

    /// A frame of the size of a WINDOW_UPDATE one round trip after a request is one, and no
    /// RST_STREAM: most of them were. Taken for granted until the server is known.
    pub(super) fn grants_window(&self) -> bool {
        self.requests < REQUESTS_MIN || self.granted > 2 * self.refused
    }

    pub(super) fn ended(&mut self, streamed: bool, marked: bool) {
        let marks = if streamed { &mut self.streamed } else { &mut self.plain };
        if marks.with + marks.without >= COUNTED_MAX {
            (marks.with, marks.without) = (marks.with / 2, marks.without / 2);
        }
        if marked { marks.with += 1 } else { marks.without += 1 }
    }

    pub(super) fn answered(&mut self, granted: bool) {
        if self.requests >= COUNTED_MAX {
            (self.requests, self.granted) = (self.requests / 2, self.granted / 2);
            self.refused /= 2;
        }
        self.requests += 1;
        self.granted += u16::from(granted);
    }

    /// A request was reset before any response, by such a frame or a later one.
    pub(super) fn refused(&mut self, granted: bool) {
        self.refused = self.refused.saturating_add(u16::from(granted)).min(COUNTED_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_habit_of_a_server_is_what_it_does_mostly() {
        let mut habit = Habit::default();
        assert_eq!(habit.marks_the_end(true), None);
        habit.ended(true, true);
        assert_eq!(habit.marks_the_end(true), Some(true));
        habit.ended(true, false);
        assert_eq!(habit.marks_the_end(true), Some(false));
    }

    #[test]
    fn streams_say_nothing_about_responses_in_one_piece() {
        let mut habit = Habit::default();
        habit.ended(true, true);
        assert_eq!(habit.marks_the_end(false), None);
        habit.ended(false, false);
        assert_eq!(
            (habit.marks_the_end(true), habit.marks_the_end(false)),
            (Some(true), Some(false))
        );
    }

    #[test]
    fn who_marks_what_is_in_one_piece_marks_streams() {
        let mut habit = Habit::default();
        habit.ended(false, true);
        assert_eq!(habit.marks_the_end(true), Some(true));
        let mut habit = Habit::default();
        habit.ended(true, false);
        assert_eq!(habit.marks_the_end(false), Some(false));
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
    fn a_server_that_grants_window_now_and_then_does_not_reset_each_time() {
        let mut habit = Habit::default();
        for n in 0..12 {
            habit.answered(n % 4 == 0);
        }
        assert!(habit.grants_window());
        habit.refused(true);
        habit.refused(true);
        assert!(!habit.grants_window(), "nor grant when it mostly resets");
    }

    #[test]
    fn what_is_old_fades() {
        let mut habit = Habit::default();
        for _ in 0..1000 {
            habit.ended(true, true);
        }
        for _ in 0..300 {
            habit.ended(true, false);
        }
        assert_eq!(habit.marks_the_end(true), Some(false));
    }
}
