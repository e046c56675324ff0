//! Frames in memory: a port for tests, fuzzing and benches.
//!
//! Everything it will receive is given when it is made and everything sent is kept, with the time
//! and the port it left by. Bursts and time are those of a capture ([`pcap`](super::pcap)). It
//! loses nothing.

mod buffer;
pub(super) mod pace;

pub use buffer::{Buffer, Pool};

use std::collections::VecDeque;

use self::pace::{Pace, Turn};
use super::{Port, Rx};
use crate::burst::{Burst, Fate, Frame, PortIndex};
use crate::telemetry::counters::PortCounters;
use crate::time::Nanos;

/// A port that receives frames from memory and sends into memory.
#[derive(Debug)]
pub struct MemPort {
    arriving: VecDeque<(Nanos, PortIndex, Buffer)>,
    sent: Vec<Sent>,
    pace: Pace,
    counters: PortCounters,
}

/// A frame that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The time of the burst it left in.
    pub at: Nanos,
    /// The port it left by.
    pub port: PortIndex,
    /// The frame.
    pub frame: Buffer,
}

impl MemPort {
    /// A port that will receive `frames`, in this order, each at its time by its port.
    #[must_use]
    pub fn new(frames: Vec<(Nanos, PortIndex, Vec<u8>)>) -> Self {
        let arriving: VecDeque<_> =
            frames.into_iter().map(|(at, port, bytes)| (at, port, bytes.into())).collect();
        Self {
            sent: Vec::with_capacity(arriving.len()),
            arriving,
            pace: Pace::new(),
            counters: PortCounters::default(),
        }
    }

    /// Everything sent so far, in order.
    #[must_use]
    pub fn sent(&self) -> &[Sent] {
        &self.sent
    }
}

impl Port for MemPort {
    type Frame = Buffer;

    fn rx_burst(&mut self, burst: &mut Burst<Buffer>) -> Rx {
        burst.begin(self.pace.now());
        let Some(&(first, ..)) = self.arriving.front() else { return Rx::Closed };
        if let Turn::Idle(now) = self.pace.turn(first) {
            burst.advance(now);
            return Rx::Idle;
        }
        while burst.room() > 0 {
            let Some((at, port, frame)) =
                self.arriving.pop_front_if(|(at, ..)| Pace::same_burst(first, *at))
            else {
                break;
            };
            self.pace.reach(at);
            self.counters.rx_frames += 1;
            self.counters.rx_bytes += frame.bytes().len() as u64;
            let wire_bytes = u32::try_from(frame.bytes().len()).unwrap_or(u32::MAX);
            burst.push(frame, at, port, wire_bytes);
        }
        burst.advance(self.pace.now());
        Rx::Frames(burst.len())
    }

    fn tx_burst(&mut self, burst: &mut Burst<Buffer>) -> Nanos {
        let now = burst.packets.now;
        for (frame, port, fate) in burst.drain() {
            match fate {
                Fate::Forward => {
                    self.counters.tx_frames += 1;
                    self.counters.tx_bytes += frame.bytes().len() as u64;
                    self.sent.push(Sent { at: now, port: port.peer(), frame });
                }
                Fate::Drop(reason) => self.counters.drops.add(reason),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::burst::BURST_FRAMES;
    use crate::telemetry::reasons::DropReason;

    fn frames(times_ms: &[u64]) -> Vec<(Nanos, PortIndex, Vec<u8>)> {
        let frame = |(i, &t): (usize, &u64)| {
            (Nanos::from_millis(t), PortIndex(0), vec![u8::try_from(i % 256).unwrap(); 60])
        };
        times_ms.iter().enumerate().map(frame).collect()
    }

    #[test]
    fn a_frame_leaves_by_the_peer_of_the_port_it_came_in_by() {
        let mut port = MemPort::new(vec![
            (Nanos(5), PortIndex(0), vec![1]),
            (Nanos(6), PortIndex(1), vec![2]),
        ]);
        let mut burst = Burst::new();
        assert_eq!(port.rx_burst(&mut burst), Rx::Frames(2));
        port.tx_burst(&mut burst);
        let sent: Vec<_> =
            port.sent().iter().map(|s| (s.at, s.port.0, s.frame.bytes()[0])).collect();
        assert_eq!(sent, [(Nanos(6), 1, 1), (Nanos(6), 0, 2)]);
        assert_eq!(port.rx_burst(&mut burst), Rx::Closed);
    }

    #[test]
    fn a_burst_ends_a_millisecond_after_its_first_frame_or_when_full() {
        let mut port = MemPort::new(frames(&[1, 1, 2, 3]));
        let mut burst = Burst::new();
        for expected in [2, 1, 1] {
            assert_eq!(port.rx_burst(&mut burst), Rx::Frames(expected));
            port.tx_burst(&mut burst);
        }
        let mut port = MemPort::new(frames(&[1; BURST_FRAMES + 1]));
        assert_eq!(port.rx_burst(&mut burst), Rx::Frames(BURST_FRAMES));
    }

    #[test]
    fn every_frame_is_counted_once_at_its_end() {
        let mut port = MemPort::new(frames(&[1, 1, 1]));
        let mut burst = Burst::new();
        port.rx_burst(&mut burst);
        burst.packets.fate[1] = Fate::Drop(DropReason::Observed);
        port.tx_burst(&mut burst);
        assert!(port.counters().balanced());
        assert_eq!(port.counters().tx_frames, 2);
        assert_eq!(port.counters().drops.count(DropReason::Observed), 1);
    }
}
