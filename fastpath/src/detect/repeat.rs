//! What a request repeats: how often one of its length has been answered lately, and whether one
//! runs. Restart and hedge are judged by it.

use crate::time::Nanos;

/// How a request stands to earlier ones of its client, server and application.
#[derive(Clone, Copy, Debug, Default)]
pub struct Repeat {
    /// Answered requests of exactly this length in the minute before it. At most as many are
    /// counted as are needed to call a length a template.
    pub same: u32,
    /// The same of nearly, but not exactly, this length.
    pub near: u32,
    /// How long ago the latest answer to one of this length, or of this body, ended.
    pub answered: Option<Nanos>,
    /// The application has called something else since then.
    pub busy_between: bool,
    /// How long ago one of exactly this length started that still ran.
    pub running: Option<Nanos>,
    /// How many of this or nearly this length ran.
    pub at_once: u32,
    /// Its connection had just completed something else.
    pub continues: bool,
}

/// Answers older than this say nothing about a repeat.
const WITHIN: Nanos = Nanos::from_secs(60);
/// A client that gives up and tries again may seem to do both at once. One that gets an answer has
/// waited for it.
const OVERLAP_MIN: Nanos = Nanos::from_millis(30);

/// A request that is judged.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// When it started.
    pub at: Nanos,
    /// When its application had last called another server.
    pub elsewhere: Nanos,
    /// Its connection had just completed something else.
    pub continues: bool,
}

/// An earlier request that it is compared with.
#[derive(Clone, Copy, Debug)]
pub struct Earlier {
    /// How much its length is like the other's.
    pub alike: Alike,
    /// When it started.
    pub start: Nanos,
    /// When its answer ended; `None` while it runs, or when it had none.
    pub answered: Option<Nanos>,
    /// When it ended, with an answer or without; `None` while it runs.
    pub end: Option<Nanos>,
}

/// How much two request lengths are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alike {
    /// The same length.
    Same,
    /// The same body behind other headers.
    Body,
    /// A few bytes apart.
    Near,
    /// Neither.
    Other,
}

/// What `asked` repeats of `earlier`.
pub fn look(asked: Asked, earlier: impl Iterator<Item = Earlier> + Clone) -> Repeat {
    let mut repeat = Repeat { continues: asked.continues, ..Repeat::default() };
    let mut latest = None;
    for other in earlier.clone() {
        let answered = other.answered.filter(|&end| end < asked.at && end + WITHIN > asked.at);
        repeat.same += u32::from(other.alike == Alike::Same && answered.is_some());
        repeat.near += u32::from(other.alike == Alike::Near && answered.is_some());
        if matches!(other.alike, Alike::Same | Alike::Body) {
            latest = latest.max(answered);
        }
        let overlap = if other.answered.is_some() { Nanos::ZERO } else { OVERLAP_MIN };
        let goes_on = other.end.is_none_or(|end| end > asked.at + overlap);
        let ran = other.start < asked.at && goes_on;
        repeat.at_once += u32::from(ran && matches!(other.alike, Alike::Same | Alike::Near));
        if other.alike == Alike::Same && ran {
            let since = asked.at.since(other.start);
            repeat.running = Some(repeat.running.map_or(since, |known| known.max(since)));
        }
    }
    if let Some(end) = latest {
        let something_else = |other: &Earlier| {
            other.alike == Alike::Other && other.start > end && other.start < asked.at
        };
        repeat.answered = Some(asked.at.since(end));
        repeat.busy_between = asked.elsewhere > end || earlier.clone().any(|o| something_else(&o));
    }
    repeat
}

#[cfg(test)]
mod tests {
    use super::*;

    fn earlier(alike: Alike, start: u64, end: Option<u64>) -> Earlier {
        let end = end.map(Nanos::from_millis);
        Earlier { alike, start: Nanos::from_millis(start), answered: end, end }
    }

    fn asked(ms: u64) -> Asked {
        Asked { at: Nanos::from_millis(ms), elsewhere: Nanos::ZERO, continues: false }
    }

    #[test]
    fn answers_are_counted_by_likeness_and_age() {
        let before = [
            earlier(Alike::Same, 0, Some(100)),
            earlier(Alike::Same, 69_000, Some(70_000)),
            earlier(Alike::Near, 69_500, Some(70_100)),
            earlier(Alike::Other, 69_500, Some(70_100)),
            earlier(Alike::Same, 69_900, Some(71_000)),
        ];
        let repeat = look(asked(70_500), before.into_iter());
        assert_eq!((repeat.same, repeat.near), (1, 1), "one is old, one had not ended");
        assert_eq!(repeat.answered, Some(Nanos::from_millis(500)));
        assert_eq!((repeat.running, repeat.at_once), (Some(Nanos::from_millis(600)), 1));
        assert!(!repeat.busy_between, "the other one started before the answer");
    }

    #[test]
    fn a_call_in_between_counts_on_any_server() {
        let before = [earlier(Alike::Body, 0, Some(100)), earlier(Alike::Other, 300, Some(400))];
        assert!(look(asked(900), before.into_iter()).busy_between);
        let alone = [earlier(Alike::Body, 0, Some(100))];
        assert!(!look(asked(900), alone.into_iter()).busy_between);
        let away = Asked { elsewhere: Nanos::from_millis(500), ..asked(900) };
        assert!(look(away, alone.into_iter()).busy_between);
    }
}
