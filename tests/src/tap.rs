//! A port that looks on: it remembers the frames of each burst as they enter the loop, and checks
//! that just these leave it, unchanged and in order.

use fastpath::burst::{Burst, Fate, Frame, PortIndex};
use fastpath::port::mem::Buffer;
use fastpath::port::{Port, Rx};
use fastpath::telemetry::counters::PortCounters;
use fastpath::time::Nanos;

/// A port with a witness.
#[derive(Debug)]
pub struct Tap<P> {
    inner: P,
    entered: Vec<(PortIndex, Buffer)>,
    /// Frames that have left the loop as they had entered it.
    pub unchanged: u64,
    /// What happened to the others, a sentence each.
    pub wrong: Vec<String>,
}

impl<P> Tap<P> {
    /// Looks on at `inner`.
    #[must_use]
    pub fn new(inner: P) -> Self {
        Self { inner, entered: Vec::new(), unchanged: 0, wrong: Vec::new() }
    }

    /// The port below.
    #[must_use]
    pub fn inner(&self) -> &P {
        &self.inner
    }

    fn compare(&mut self, burst: &mut Burst<Buffer>) {
        let (frames, packets) = burst.split();
        if frames.len() != self.entered.len() {
            self.wrong.push(format!(
                "{} frames entered, {} leave",
                self.entered.len(),
                frames.len()
            ));
        }
        for (i, (frame, (port, before))) in frames.iter().zip(&self.entered).enumerate() {
            let (fate, at) = (packets.fate[i], packets.port[i]);
            if frame.bytes() == before.bytes() && fate == Fate::Forward && at == *port {
                self.unchanged += 1;
            } else {
                self.wrong.push(format!("frame {i} of {:?}: {fate:?} at {at:?}", packets.now));
            }
        }
    }
}

impl<P: Port<Frame = Buffer>> Port for Tap<P> {
    type Frame = Buffer;

    fn rx_burst(&mut self, burst: &mut Burst<Buffer>) -> Rx {
        let rx = self.inner.rx_burst(burst);
        let (frames, packets) = burst.split();
        self.entered = packets.port.iter().copied().zip(frames.iter().cloned()).collect();
        rx
    }

    fn tx_burst(&mut self, burst: &mut Burst<Buffer>) -> Nanos {
        self.compare(burst);
        self.inner.tx_burst(burst)
    }

    fn build(&mut self, bytes: &[u8]) -> Option<Buffer> {
        self.inner.build(bytes)
    }

    fn counters(&self) -> &PortCounters {
        self.inner.counters()
    }
}
