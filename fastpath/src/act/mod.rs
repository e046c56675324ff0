//! Gives every frame its end. On a tap a frame ends here: its original goes its own way. On a wire
//! every frame is sent: verdicts are reported, and the actions that carry them out are not part of
//! this release (README, status).

use crate::burst::{Fate, Packets};
use crate::telemetry::reasons::DropReason;

/// Ends the frames of a tap or a replay.
pub fn release_observed(packets: &mut Packets) {
    packets.fate.fill(Fate::Drop(DropReason::Observed));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::burst::{Burst, PortIndex};
    use crate::time::Nanos;

    #[test]
    fn a_frame_of_a_tap_is_not_sent() {
        let mut burst = Burst::new();
        burst.begin(Nanos(1));
        burst.push((), Nanos(1), PortIndex(0), 60);
        release_observed(&mut burst.packets);
        let fates: Vec<Fate> = burst.drain().map(|(_, _, fate)| fate).collect();
        assert_eq!(fates, [Fate::Drop(DropReason::Observed)]);
    }
}
