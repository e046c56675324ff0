//! Timing of bursts for the benches of the loop and of its stages.

use criterion::Bencher;
use criterion::measurement::{Measurement, WallTime};
use fastpath::burst::BURST_FRAMES;

/// Times bursts, all of them full, so that an iteration of the report is a packet.
pub(crate) fn per_packet(bencher: &mut Bencher<'_, WallTime>, mut burst: impl FnMut()) {
    bencher.iter_custom(|packets| {
        let bursts = packets.div_ceil(BURST_FRAMES as u64);
        let start = WallTime.start();
        for _ in 0..bursts {
            burst();
        }
        let share = packets as f64 / (bursts * BURST_FRAMES as u64) as f64;
        WallTime.end(start).mul_f64(share)
    });
}
