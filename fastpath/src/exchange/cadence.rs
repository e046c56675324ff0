//! Where the events of a streamed response begin, and how long they are.
//!
//! Headers and what a stream opens with differ from server to server, by hundreds of bytes. The
//! events after them are alike: one form, filled with a little text. So the records are told by
//! their lengths: a majority vote (Boyer and Moore, 1981) over the first few finds the length that
//! recurs, and the counts begin with it. State is O(1).

/// The events of one response.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cadence {
    /// Length of the event that the others are compared with, and its votes.
    unit: u16,
    votes: u16,
    /// Two session tickets came where the response begins.
    after_tickets: bool,
    /// Records looked at.
    seen: u16,
    /// Records and bytes from the first event on, closing records included.
    counts: (u16, u32),
    /// Records and bytes of those that are one event.
    events: (u16, u32),
    /// Length of the latest of them, and by how much each differs from the one before, in all.
    latest: u16,
    swing: u32,
}

/// Among so many records a stream begins: headers, up to three events that open it, and its first
/// text.
const PRELUDE_RECORDS: u16 = 5;
/// Events differ by the text they carry: a few tokens, which in a short event are much of it.
const TEXT_BYTES: u16 = 24;
const SHORT_EVENT: u16 = 160;
/// What frames an event, which several in one record may share.
const FRAME_BYTES: u32 = 9;
/// `"role":"assistant",`, less a text of a few letters.
const ROLE_BYTES: u32 = 12;

impl Cadence {
    /// Of a response over HTTP/2, whose HEADERS are left out: as short as an event once HPACK knows
    /// them. What came before SETTINGS was a ticket.
    pub(super) fn behind_headers() -> Self {
        Self { after_tickets: true, seen: 1, ..Self::default() }
    }

    /// A record of the response, terminators left out.
    pub(super) fn record(&mut self, length: u16) {
        self.seen = self.seen.saturating_add(1);
        // What follows the headers is not of their very length: those were late session tickets.
        if self.seen == 2 && length == self.unit && !self.after_tickets {
            *self = Self { after_tickets: true, ..Self::default() };
            return;
        }
        if self.votes == 0 {
            return self.begin(length);
        }
        if self.is_event(length) {
            self.votes = self.votes.saturating_add(1);
            self.events.0 = self.events.0.saturating_add(1);
            self.events.1 = self.events.1.saturating_add(u32::from(length));
            self.swing = self.swing.saturating_add(u32::from(length.abs_diff(self.latest)));
            self.latest = length;
        } else if self.seen <= PRELUDE_RECORDS && !(self.seen > 2 && is_several(length, self.unit))
        {
            // What the second record is compared with is headers.
            self.votes -= 1;
            if self.votes == 0 {
                return self.begin(length);
            }
        }
        self.counts.0 = self.counts.0.saturating_add(1);
        self.counts.1 = self.counts.1.saturating_add(u32::from(length));
    }

    /// More of the latest record: what arrived together with it.
    pub(super) fn joined(&mut self, length: u16) {
        self.counts.1 = self.counts.1.saturating_add(u32::from(length));
    }

    /// Records and bytes from the first event on, closing records included.
    #[must_use]
    pub fn counts(&self) -> (u32, u32) {
        (u32::from(self.counts.0), self.counts.1)
    }

    /// Records that are one event.
    #[must_use]
    pub fn events(&self) -> u32 {
        u32::from(self.events.0)
    }

    /// Mean length of an event, bytes; `None` before there is one.
    #[must_use]
    pub fn event_length(&self) -> Option<f32> {
        (self.events.0 > 0).then(|| self.events.1 as f32 / f32::from(self.events.0))
    }

    /// Whether the first event is longer than the others by the name of a role: it opens the text and
    /// carries none.
    #[must_use]
    pub fn opens_with_role(&self) -> bool {
        let (count, bytes) = self.events;
        let others = u32::from(count.saturating_sub(1));
        let rest = bytes.saturating_sub(u32::from(self.unit));
        others > 0 && others * (u32::from(self.unit).saturating_sub(ROLE_BYTES)) >= rest
    }

    /// By how many bytes an event differs from the one before, on average.
    #[must_use]
    pub fn swing(&self) -> f32 {
        self.swing as f32 / f32::from(self.events.0.saturating_sub(1).max(1))
    }

    fn begin(&mut self, length: u16) {
        // The first record of all is headers, or has them in front.
        let counts = match self.seen > 2 && is_several(self.unit, length) {
            true => (self.counts.0 + 1, self.counts.1 + u32::from(length)),
            false => (1, u32::from(length)),
        };
        let (seen, after_tickets) = (self.seen, self.after_tickets);
        *self = Self {
            unit: length,
            votes: 1,
            after_tickets,
            seen,
            counts,
            events: (1, u32::from(length)),
            latest: length,
            swing: 0,
        };
    }

    fn is_event(&self, length: u16) -> bool {
        let (short, long) = (length.min(self.unit), length.max(self.unit));
        let text = if short < SHORT_EVENT { long / 4 } else { TEXT_BYTES };
        long - short <= text
    }
}

/// Whether a record is several events of this length in one. Short events differ too much for that
/// to be told.
fn is_several(record: u16, event: u16) -> bool {
    let several = (u32::from(record) + u32::from(event / 2)) / u32::from(event.max(1));
    let apart = u32::from(record).abs_diff(several * u32::from(event));
    several > 1 && event >= SHORT_EVENT && apart <= several * FRAME_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cadence(lengths: &[u16]) -> Cadence {
        let mut cadence = Cadence::default();
        lengths.iter().for_each(|&length| cadence.record(length));
        cadence
    }

    #[test]
    fn headers_and_what_a_stream_opens_with_are_left_out() {
        for prelude in [&[788, 332, 123, 41][..], &[249, 249, 199, 269, 123, 41], &[1284]] {
            let lengths = [prelude, &[130, 126, 149, 124, 129]].concat();
            assert_eq!(cadence(&lengths).counts(), (5, 658), "{prelude:?}");
        }
        for prelude in [&[1113, 365][..], &[1478], &[224, 390]] {
            let lengths = [prelude, &[331; 9]].concat();
            assert_eq!(cadence(&lengths).counts(), (9, 2979), "{prelude:?}");
        }
    }

    #[test]
    fn joined_events_and_closing_records_count_and_are_no_event() {
        let cadence = cadence(&[1113, 365, 331, 331, 331, 331, 655, 331, 645, 19]);
        assert_eq!(cadence.counts(), (8, 5 * 331 + 655 + 645 + 19));
        assert_eq!((cadence.events(), cadence.event_length()), (5, Some(331.0)));
    }

    #[test]
    fn events_that_begin_a_stream_joined_are_events() {
        let first = cadence(&[1113, 365, 662, 331, 331, 331]);
        assert_eq!(first.counts(), (4, 5 * 331));
        let third = cadence(&[1113, 331, 975, 331, 331]);
        assert_eq!(third.counts(), (4, 3 * 331 + 975));
    }

    #[test]
    fn an_event_that_opens_with_a_role_is_told_by_its_length() {
        assert!(cadence(&[178, 346, 328, 331, 329, 330]).opens_with_role());
        assert!(!cadence(&[178, 331, 328, 331, 329, 330]).opens_with_role());
        assert!(!cadence(&[178, 346]).opens_with_role(), "nothing to compare it with");
    }

    #[test]
    fn what_arrives_together_is_of_one_record() {
        let mut joined = cadence(&[178, 330, 331, 329]);
        joined.joined(300);
        assert_eq!(joined.counts(), (3, 990 + 300));
    }

    #[test]
    fn events_of_one_token_hardly_differ() {
        assert!(cadence(&[178, 285, 286, 284, 287, 286]).swing() < 3.0);
        assert!(cadence(&[178, 285, 301, 290, 307, 288]).swing() > 10.0);
        assert_eq!(cadence(&[]).event_length(), None);
    }
}
