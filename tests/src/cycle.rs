//! A port that plays the same frames for ever: no frame is made or copied while it runs.
//!
//! A frame that has left the loop goes to the end of the queue and is given the next lap's sequence
//! numbers, or the next lap's client. So the loop always sees traffic that goes on, and what is
//! measured is the loop.

use std::collections::VecDeque;

use fastpath::burst::{Burst, Frame, PortIndex};
use fastpath::port::mem::Buffer;
use fastpath::port::{Port, Rx};
use fastpath::telemetry::counters::PortCounters;
use fastpath::time::Nanos;

use crate::connection::Arrival;
use crate::frame::{V4_ACK, V4_DESTINATION, V4_SEQ, V4_SOURCE};

/// What changes in a frame from one lap to the next. All frames are untagged IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lap {
    /// Nothing.
    Same,
    /// Sequence and acknowledgment numbers, by this much.
    Advance {
        /// Bytes that the sender sends in a lap.
        seq: u32,
        /// Bytes that the receiver sends in a lap.
        ack: u32,
    },
    /// The client, whose address is the source, or else the destination: it is one nobody has seen.
    NewClient {
        /// The client sends this frame.
        from_client: bool,
    },
}

/// The port.
#[derive(Debug)]
pub struct CyclePort {
    /// Sent once, before the laps.
    first: VecDeque<(PortIndex, Buffer)>,
    waiting: VecDeque<(PortIndex, Buffer, Lap)>,
    /// The frames in the loop now.
    inside: VecDeque<Lap>,
    now: Nanos,
    step: Nanos,
    counters: PortCounters,
}

impl CyclePort {
    /// Plays `first` once and then `laps` for ever, a burst every `step`.
    #[must_use]
    pub fn new(first: Vec<Arrival>, laps: Vec<(Arrival, Lap)>, step: Nanos) -> Self {
        let inside = VecDeque::with_capacity(fastpath::burst::BURST_FRAMES);
        Self {
            first: first.into_iter().map(|(_, port, bytes)| (port, bytes.into())).collect(),
            waiting: laps
                .into_iter()
                .map(|((_, port, bytes), lap)| (port, bytes.into(), lap))
                .collect(),
            inside,
            now: Nanos::from_secs(1_700_000_000),
            step,
            counters: PortCounters::default(),
        }
    }

    /// Whether the first part has been played.
    #[must_use]
    pub fn is_cycling(&self) -> bool {
        self.first.is_empty()
    }

    fn count(&mut self, frames: usize) -> Rx {
        self.counters.rx_frames += frames as u64;
        Rx::Frames(frames)
    }
}

impl Port for CyclePort {
    type Frame = Buffer;

    fn rx_burst(&mut self, burst: &mut Burst<Buffer>) -> Rx {
        self.now += self.step;
        burst.begin(self.now);
        while burst.room() > 0 {
            let Some((port, frame)) = self.first.pop_front() else { break };
            let bytes = u32::try_from(frame.bytes().len()).unwrap_or(u32::MAX);
            burst.push(frame, self.now, port, bytes);
        }
        if !burst.is_empty() {
            return self.count(burst.len());
        }
        while burst.room() > 0 {
            let Some((port, frame, lap)) = self.waiting.pop_front() else { break };
            let bytes = u32::try_from(frame.bytes().len()).unwrap_or(u32::MAX);
            self.inside.push_back(lap);
            burst.push(frame, self.now, port, bytes);
        }
        self.count(burst.len())
    }

    fn tx_burst(&mut self, burst: &mut Burst<Buffer>) -> Nanos {
        self.counters.tx_frames += burst.len() as u64;
        for (mut frame, port, _) in burst.drain() {
            // Frames of the first part have no lap and end here.
            if let Some(lap) = self.inside.pop_front() {
                lap.rewrite(frame.bytes_mut());
                self.waiting.push_back((port, frame, lap));
            }
        }
        Nanos::ZERO
    }

    fn build(&mut self, bytes: &[u8]) -> Option<Buffer> {
        Some(bytes.to_vec().into())
    }

    fn counters(&self) -> &PortCounters {
        &self.counters
    }
}

impl Lap {
    fn rewrite(self, frame: &mut [u8]) {
        match self {
            Self::Same => {}
            Self::Advance { seq, ack } => {
                add(frame, V4_SEQ, seq);
                add(frame, V4_ACK, ack);
            }
            Self::NewClient { from_client } => {
                // Clients of a lap differ in the low bits of the address: laps in the high ones.
                add(frame, if from_client { V4_SOURCE } else { V4_DESTINATION }, 1 << 16);
            }
        }
    }
}

fn add(frame: &mut [u8], offset: usize, more: u32) {
    if let Some(field) = frame.get_mut(offset..).and_then(|rest| rest.first_chunk_mut::<4>()) {
        *field = u32::from_be_bytes(*field).wrapping_add(more).to_be_bytes();
    }
}
