//! Round trips, measured by looking on: from a segment that passes here to the acknowledgment that
//! comes back for it.
//!
//! One sample is in flight a direction, and only a segment that came in order starts one. When
//! anything in the direction is repeated before the answer comes, nobody can tell which of the two
//! was answered and the sample is given up (Karn; RFC 6298, 3), unless TCP timestamps tell
//! (RFC 7323, 4.1): then the repetition is the sample, and counts when its own timestamp is echoed.

use super::tcp::{Arrived, distance};
use crate::burst::Tcp;
use crate::time::Nanos;

/// Round trips between here and the receiver of one direction.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoundTrip {
    pub(super) timing: Timing,
    pub(super) sample: Sample,
}

/// What was measured, and when the sample in flight began. Times are microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Timing {
    /// 0 before the first sample.
    smoothed: u32,
    minimum: u32,
    /// When the segment of the sample in flight passed, in the low bits of the time.
    sent: u32,
    /// The acknowledgment it waits for.
    end: u32,
    /// Its timestamp, if it had one.
    value: u32,
}

/// The sample in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sample {
    #[default]
    None,
    /// Of a segment that has passed once.
    Once,
    /// The same, and it has a timestamp.
    OnceStamped,
    /// Of a segment that has passed before, with another timestamp.
    Repeated,
}

/// Samples that take longer than this measure something else, micros.
const SAMPLE_MAX: u32 = 64_000_000;

impl RoundTrip {
    /// A segment of this direction has passed; `end` is the sequence number that follows it.
    pub fn sent(&mut self, tcp: &Tcp, end: u32, arrived: Arrived, at: Nanos) {
        if self.sample != Sample::None
            && (arrived.repeated || micros(at).wrapping_sub(self.timing.sent) > SAMPLE_MAX)
        {
            self.sample = if self.tells_apart(tcp, end) { Sample::Repeated } else { Sample::None };
        } else if self.sample == Sample::None && arrived.in_order {
            self.sample = if tcp.timestamps.is_some() { Sample::OnceStamped } else { Sample::Once };
        } else {
            return;
        }
        (self.timing.sent, self.timing.end) = (micros(at), end);
        self.timing.value = tcp.timestamps.map_or(0, |stamps| stamps.value);
    }

    /// An acknowledgment of this direction has come back. Returns the sample that it completes.
    pub fn acknowledged(&mut self, tcp: &Tcp, at: Nanos) -> Option<Nanos> {
        if self.sample == Sample::None || distance(self.timing.end, tcp.ack) < 0 {
            return None;
        }
        let sample = std::mem::take(&mut self.sample);
        let echoed = || tcp.timestamps.is_some_and(|stamps| stamps.echo == self.timing.value);
        let took = micros(at).wrapping_sub(self.timing.sent);
        let counts = took <= SAMPLE_MAX && (sample != Sample::Repeated || echoed());
        counts.then(|| self.take(took))
    }

    /// Whether a repetition can be told from all that passed before it: it was sent later than the
    /// sample, and so than everything that the sample's end covers.
    fn tells_apart(&self, tcp: &Tcp, end: u32) -> bool {
        let later = |value| distance(self.timing.value, value) > 0;
        self.sample != Sample::Once
            && distance(end, self.timing.end) >= 0
            && tcp.timestamps.is_some_and(|stamps| later(stamps.value))
    }

    fn take(&mut self, took: u32) -> Nanos {
        // Two frames of one burst of a wire have the same time.
        let took = took.max(1);
        if self.timing.smoothed == 0 {
            (self.timing.smoothed, self.timing.minimum) = (took, took);
        } else {
            // At most 8 times SAMPLE_MAX.
            self.timing.smoothed = (7 * self.timing.smoothed + took) / 8;
            self.timing.minimum = self.timing.minimum.min(took);
        }
        Nanos::from_micros(took.into())
    }
}

impl Timing {
    /// Smoothed as a sender does (RFC 6298, 2), if there was a sample.
    pub(super) fn smoothed(&self) -> Option<Nanos> {
        (self.smoothed > 0).then(|| Nanos::from_micros(self.smoothed.into()))
    }

    /// The shortest sample.
    pub(super) fn minimum(&self) -> Option<Nanos> {
        (self.minimum > 0).then(|| Nanos::from_micros(self.minimum.into()))
    }
}

fn micros(at: Nanos) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "differences are taken modulo 2^32")]
    let low = (at.0 / 1_000) as u32;
    low
}

#[cfg(test)]
mod tests;
