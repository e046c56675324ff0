//! The rate of a flow, by the generic cell rate algorithm (ITU-T I.371): one time says when the next
//! frame conforms.

use crate::time::Nanos;

/// A rate and what was used of it.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    bytes_per_sec: u64,
    /// When a frame conforms that wants the rate to have caught up.
    next: Nanos,
}

impl Rate {
    /// This many bytes a second, none used.
    #[must_use]
    pub const fn new(bytes_per_sec: u64) -> Self {
        Self { bytes_per_sec, next: Nanos::ZERO }
    }

    /// When the next frame conforms.
    #[must_use]
    pub const fn next(&self) -> Nanos {
        self.next
    }

    /// Whether a frame conforms at `now` that may be early by `tolerance`: a rate with a tolerance
    /// lets a burst of that length pass.
    #[must_use]
    pub fn conforms(&self, now: Nanos, tolerance: Nanos) -> bool {
        self.next <= now + tolerance
    }

    /// A frame of this length is sent at `now`.
    pub fn take(&mut self, now: Nanos, bytes: u32) {
        let nanos = u64::from(bytes).saturating_mul(1_000_000_000) / self.bytes_per_sec.max(1);
        self.next = self.next.max(now) + Nanos(nanos);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever is offered, no more passes in any time than the rate, the tolerance and one
        /// frame allow; and a flow below its rate loses nothing.
        #[test]
        fn what_conforms_never_exceeds_the_rate(
            frames in proptest::collection::vec((0u64..3_000, 40u32..1_500), 1..300),
            tolerance_ms in 0u64..300,
        ) {
            const RATE: u64 = 1_000_000;
            let (mut rate, tolerance) = (Rate::new(RATE), Nanos::from_millis(tolerance_ms));
            let mut now = Nanos::from_secs(5);
            let (mut passed, begin) = (0, now);
            for (gap_us, bytes) in frames {
                now += Nanos::from_micros(gap_us);
                if rate.conforms(now, tolerance) {
                    rate.take(now, bytes);
                    passed += u64::from(bytes);
                }
                let time = now.since(begin) + tolerance;
                prop_assert!(passed as f64 <= RATE as f64 * time.secs_f64() + 1_500.0);
            }
        }

        #[test]
        fn a_flow_below_its_rate_conforms(frames in proptest::collection::vec(40u32..1_500, 1..99)) {
            let (mut rate, mut now) = (Rate::new(1_000_000), Nanos::from_secs(5));
            for bytes in frames {
                prop_assert!(rate.conforms(now, Nanos::ZERO));
                rate.take(now, bytes);
                now += Nanos::from_micros(u64::from(bytes));
            }
        }
    }
}
