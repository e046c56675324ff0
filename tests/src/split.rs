//! A port that splits: what another port receives in one burst comes in several, of given sizes.

use std::collections::VecDeque;

use fastpath::burst::{Burst, Frame, PortIndex};
use fastpath::port::mem::Buffer;
use fastpath::port::{Port, Rx};
use fastpath::telemetry::counters::PortCounters;
use fastpath::time::Nanos;

/// A port whose bursts are split.
#[derive(Debug)]
pub struct SplitPort<P> {
    inner: P,
    whole: Burst<Buffer>,
    waiting: VecDeque<(Nanos, PortIndex, Buffer)>,
    /// Frames of the next bursts, over and over.
    sizes: Vec<usize>,
    next: usize,
    /// Bursts with frames.
    pub bursts: u64,
}

impl<P> SplitPort<P> {
    /// Splits the bursts of `inner` into these sizes, one frame at least, over and over.
    #[must_use]
    pub fn new(inner: P, sizes: Vec<usize>) -> Self {
        let (whole, waiting) = (Burst::new(), VecDeque::new());
        Self { inner, whole, waiting, sizes, next: 0, bursts: 0 }
    }

    /// The port below.
    #[must_use]
    pub fn inner(&self) -> &P {
        &self.inner
    }
}

impl<P: Port<Frame = Buffer>> Port for SplitPort<P> {
    type Frame = Buffer;

    fn rx_burst(&mut self, burst: &mut Burst<Buffer>) -> Rx {
        burst.begin(burst.packets.now);
        if self.waiting.is_empty() {
            let rx = self.inner.rx_burst(&mut self.whole);
            if !matches!(rx, Rx::Frames(_)) {
                burst.advance(self.whole.packets.now);
                return rx;
            }
            let at = self.whole.packets.at.clone();
            let frames = self.whole.drain().map(|(frame, port, _)| (port, frame));
            self.waiting
                .extend(at.into_iter().zip(frames).map(|(at, (port, frame))| (at, port, frame)));
        }
        let size = self.sizes.get(self.next % self.sizes.len().max(1)).copied().unwrap_or(1);
        self.next += 1;
        self.bursts += 1;
        for _ in 0..size.max(1) {
            let Some((at, port, frame)) = self.waiting.pop_front() else { break };
            burst.advance(at);
            let wire_bytes = u32::try_from(frame.bytes().len()).unwrap_or(u32::MAX);
            burst.push(frame, at, port, wire_bytes);
        }
        Rx::Frames(burst.len())
    }

    fn tx_burst(&mut self, burst: &mut Burst<Buffer>) -> Nanos {
        self.inner.tx_burst(burst)
    }

    fn build(&mut self, bytes: &[u8]) -> Option<Buffer> {
        self.inner.build(bytes)
    }

    fn counters(&self) -> &PortCounters {
        self.inner.counters()
    }
}
