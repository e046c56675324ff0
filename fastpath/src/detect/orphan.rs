//! Orphan: the upstream leg of a gateway still receives after the gateway's own client has left.
//!
//! Both legs are seen by the same box. A leg towards a provider is taken for the continuation of a
//! leg towards the gateway when it began just after it, its response began just before, and as much
//! has arrived on it. Several that fit share the confidence. Legs that end before the downstream one is
//! known to have been left are not looked at again.

use crate::burst::FlowId;
use crate::telemetry::event::ExchangeId;
use crate::time::Nanos;

/// Upstream legs of a gateway that are followed at once.
pub const LEGS: usize = 64;
/// A gateway calls its provider within this time.
const FORWARDS_WITHIN: Nanos = Nanos::from_millis(250);
/// And passes the first byte on within this one.
const STREAMS_WITHIN: Nanos = Nanos::from_millis(50);
/// Frames of the two legs may cross by this much.
const SKEW: Nanos = Nanos::from_millis(2);
/// What is on its way may still arrive this long after a cancel.
const GRACE: Nanos = Nanos::from_millis(200);
/// Upstream bytes for each downstream byte, at the least: headers and events are rewritten.
const BYTES_SHARE_MIN: f64 = 0.25;
/// Confidence of a single leg that fits in every respect, and of one whose responses had not begun.
const CONFIDENCE: f64 = 0.9;
const CONFIDENCE_UNBEGUN: f64 = 0.5;

/// The legs of a gateway towards its providers, oldest first.
#[derive(Clone, Copy, Debug)]
pub struct Legs {
    legs: [Option<Leg>; LEGS],
    /// Legs that were given up for newer ones.
    pub lost: u64,
}

#[derive(Clone, Copy, Debug)]
struct Leg {
    id: ExchangeId,
    flow: FlowId,
    start: Nanos,
    left: Option<(Nanos, f64)>,
}

/// How far a leg has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// First byte of its request.
    pub start: Nanos,
    /// First byte of its response.
    pub first_byte: Option<Nanos>,
    /// Bytes of its response.
    pub down_bytes: u64,
}

/// An upstream leg that went on alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Orphan {
    /// For how long.
    pub after: Nanos,
    /// Share of its response time.
    pub share: f64,
    /// How sure it is.
    pub confidence: f64,
}

impl Default for Legs {
    fn default() -> Self {
        Self { legs: [None; LEGS], lost: 0 }
    }
}

impl Legs {
    /// A leg towards a provider began.
    pub fn started(&mut self, id: ExchangeId, flow: FlowId, start: Nanos) {
        let oldest = (0..LEGS).min_by_key(|&i| self.legs[i].map(|leg| leg.start)).unwrap_or(0);
        self.lost += u64::from(self.legs[oldest].is_some());
        self.legs[oldest] = Some(Leg { id, flow, start, left: None });
    }

    /// The client of a downstream leg left at `at`. `progress_of` says how far a running leg has
    /// come.
    pub fn downstream_left(
        &mut self,
        downstream: &Progress,
        at: Nanos,
        progress_of: impl Fn(FlowId, ExchangeId) -> Option<Progress>,
    ) {
        let fits = |leg: &Leg| {
            leg.left.is_none()
                && progress_of(leg.flow, leg.id).is_some_and(|up| continues(downstream, &up))
        };
        let fitting = self.legs.iter().flatten().filter(|leg| fits(leg)).count();
        let nearest = self.legs.iter_mut().flatten().filter(|leg| fits(leg));
        let nearest = nearest.min_by_key(|leg| leg.start.0.abs_diff(downstream.start.0));
        let sure = downstream.first_byte.map_or(CONFIDENCE_UNBEGUN, |_| CONFIDENCE);
        if let Some(leg) = nearest {
            leg.left = Some((at, sure / fitting as f64));
        }
    }

    /// A leg is over.
    pub fn ended(
        &mut self,
        id: ExchangeId,
        first_byte: Option<Nanos>,
        end: Nanos,
    ) -> Option<Orphan> {
        let slot = self.legs.iter_mut().find(|slot| slot.is_some_and(|leg| leg.id == id))?;
        let (left, confidence) = slot.take()?.left?;
        let after = end.since(left);
        if after < GRACE {
            return None;
        }
        let whole = first_byte.map_or(after, |first| end.since(first)).secs_f64();
        let share = if whole > 0.0 { (after.secs_f64() / whole).min(1.0) } else { 1.0 };
        Some(Orphan { after, share, confidence })
    }
}

/// Whether an upstream leg carries on what a downstream leg asked for.
fn continues(down: &Progress, up: &Progress) -> bool {
    let forwarded = up.start + SKEW >= down.start && up.start <= down.start + FORWARDS_WITHIN;
    let streamed = match (down.first_byte, up.first_byte) {
        (Some(down), Some(up)) => down + SKEW >= up && down <= up + STREAMS_WITHIN,
        (Some(_), None) => false,
        (None, _) => true,
    };
    let as_much = up.down_bytes as f64 >= BYTES_SHARE_MIN * down.down_bytes as f64;
    forwarded && streamed && as_much
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Nanos {
        Nanos::from_millis(10_000 + ms)
    }

    const fn id(n: u64) -> ExchangeId {
        ExchangeId(n)
    }

    /// A gateway with an upstream leg that began at 5 ms; its client leaves at 500 ms.
    fn left(down: Progress, up: Progress) -> Legs {
        let mut legs = Legs::default();
        legs.started(id(1), FlowId(1), up.start);
        legs.downstream_left(&down, ms(500), |_, _| Some(up));
        legs
    }

    fn progress(start: u64, first_byte: u64, down_bytes: u64) -> Progress {
        Progress { start: ms(start), first_byte: Some(ms(first_byte)), down_bytes }
    }

    #[test]
    fn a_leg_that_goes_on_after_its_client_left_is_an_orphan() {
        let mut legs = left(progress(0, 102, 5000), progress(5, 100, 4800));
        let orphan = legs.ended(id(1), Some(ms(100)), ms(2100)).unwrap();
        assert_eq!((orphan.after, orphan.share), (Nanos::from_millis(1600), 0.8));
        assert_eq!(orphan.confidence, CONFIDENCE);
    }

    #[test]
    fn a_gateway_that_passes_the_cancel_on_leaves_none() {
        let mut legs = left(progress(0, 102, 5000), progress(5, 100, 4800));
        assert_eq!(legs.ended(id(1), Some(ms(100)), ms(540)), None);
    }

    #[test]
    fn another_call_of_the_gateway_does_not_fit() {
        for up in [progress(400, 500, 4800), progress(5, 20, 4800), progress(5, 100, 300)] {
            let mut legs = left(progress(0, 102, 5000), up);
            assert_eq!(legs.ended(id(1), Some(ms(100)), ms(9000)), None, "{up:?}");
        }
    }

    #[test]
    fn two_legs_that_fit_share_the_confidence() {
        let (down, up) = (progress(0, 102, 5000), progress(5, 100, 4800));
        let mut legs = Legs::default();
        legs.started(id(1), FlowId(1), ms(5));
        legs.started(id(2), FlowId(2), ms(7));
        legs.downstream_left(&down, ms(500), |_, _| Some(up));
        assert_eq!(legs.ended(id(1), None, ms(3000)).map(|o| o.confidence), Some(CONFIDENCE / 2.0));
        assert_eq!(legs.ended(id(2), None, ms(3000)), None);
    }

    #[test]
    fn the_oldest_leg_leaves_when_there_are_too_many() {
        let mut legs = Legs::default();
        for n in 0..=LEGS as u64 {
            legs.started(id(n), FlowId(0), ms(n));
        }
        assert_eq!(legs.lost, 1);
    }
}
