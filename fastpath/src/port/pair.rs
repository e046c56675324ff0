//! Two ends joined by bounded queues: two lcores, or a test peer and an lcore, exchange frames.
//!
//! The cable carries port numbers: what leaves one end by a port arrives at the other end by the
//! same one. A frame that the other end has no room for is dropped as [`DropReason::TxRingFull`],
//! as a NIC does. Time is set by whoever owns the [`Clock`]; no clock is read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::queue::ArrayQueue;

use super::mem::{Buffer, Pool};
use super::{Port, Rx};
use crate::burst::{Burst, Fate, Frame, Link, PortIndex};
use crate::telemetry::counters::PortCounters;
use crate::telemetry::reasons::DropReason;
use crate::time::Nanos;

/// One end of a pair.
#[derive(Debug)]
pub struct PairPort {
    incoming: Arc<ArrayQueue<Crossing>>,
    outgoing: Arc<ArrayQueue<Crossing>>,
    clock: Clock,
    pool: Pool,
    counters: PortCounters,
}

/// The time of both ends. Clones show the same time.
#[derive(Clone, Debug, Default)]
pub struct Clock(Arc<AtomicU64>);

/// A frame between the ends.
#[derive(Debug)]
struct Crossing {
    port: PortIndex,
    frame: Buffer,
}

/// The other end has no room for the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueFull;

impl Clock {
    /// Sets the time of both ends. Ports never let it run backwards.
    pub fn set(&self, now: Nanos) {
        // Nothing but the number is handed over, so no load needs to see more than it.
        self.0.store(now.0, Ordering::Relaxed);
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Nanos {
        Nanos(self.0.load(Ordering::Relaxed))
    }
}

impl PairPort {
    /// Two ends; `capacity` frames may be on their way in each direction.
    ///
    /// # Panics
    /// When `capacity` is zero.
    #[must_use]
    pub fn new(capacity: usize) -> (Self, Self) {
        let clock = Clock::default();
        let there = Arc::new(ArrayQueue::new(capacity));
        let back = Arc::new(ArrayQueue::new(capacity));
        let end = |incoming: &Arc<_>, outgoing: &Arc<_>| Self {
            incoming: Arc::clone(incoming),
            outgoing: Arc::clone(outgoing),
            clock: clock.clone(),
            pool: Pool::default(),
            counters: PortCounters::default(),
        };
        (end(&back, &there), end(&there, &back))
    }

    /// The time both ends share.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// Puts a frame on the cable as a peer outside the loop: it arrives at the other end by `port`.
    /// Such frames are not counted here; they did not come in by this end.
    ///
    /// # Errors
    /// When the other end has no room.
    pub fn inject(&mut self, port: PortIndex, bytes: &[u8]) -> Result<(), QueueFull> {
        let frame = self.pool.copy(Link::Ethernet, bytes);
        self.outgoing.push(Crossing { port, frame }).map_err(|refused| {
            self.pool.free(refused.frame);
            QueueFull
        })
    }

    /// Takes the next frame off the cable as a peer outside the loop, with the port it arrives by.
    pub fn take(&mut self) -> Option<(PortIndex, Buffer)> {
        self.incoming.pop().map(|Crossing { port, frame }| (port, frame))
    }

    fn send(&mut self, port: PortIndex, frame: Buffer) {
        let bytes = frame.bytes().len() as u64;
        match self.outgoing.push(Crossing { port, frame }) {
            Ok(()) => {
                self.counters.tx_frames += 1;
                self.counters.tx_bytes += bytes;
            }
            Err(refused) => {
                self.counters.drops.add(DropReason::TxRingFull);
                self.pool.free(refused.frame);
            }
        }
    }

    /// Whether the other end is gone. Its last frames may still be in the queue.
    fn alone(&self) -> bool {
        Arc::strong_count(&self.incoming) == 1
    }
}

impl Port for PairPort {
    type Frame = Buffer;

    fn rx_burst(&mut self, burst: &mut Burst<Buffer>) -> Rx {
        burst.begin(self.clock.now());
        let now = burst.packets.now;
        // Asked before the queue is emptied: an end that sends and then goes leaves nothing behind.
        let alone = self.alone();
        while burst.room() > 0 {
            let Some(Crossing { port, frame }) = self.incoming.pop() else { break };
            let bytes = frame.bytes().len();
            self.counters.rx_frames += 1;
            self.counters.rx_bytes += bytes as u64;
            burst.push(frame, now, port, u32::try_from(bytes).unwrap_or(u32::MAX));
        }
        match burst.len() {
            0 if alone => Rx::Closed,
            0 => Rx::Idle,
            frames => Rx::Frames(frames),
        }
    }

    fn tx_burst(&mut self, burst: &mut Burst<Buffer>) -> Nanos {
        for (frame, port, fate) in burst.drain() {
            match fate {
                Fate::Forward => self.send(port.peer(), frame),
                Fate::Drop(reason) => {
                    self.counters.drops.add(reason);
                    self.pool.free(frame);
                }
            }
        }
        Nanos::ZERO
    }

    fn build(&mut self, bytes: &[u8]) -> Option<Buffer> {
        Some(self.pool.copy(Link::Ethernet, bytes))
    }

    fn counters(&self) -> &PortCounters {
        &self.counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_crosses_an_lcore_and_comes_back_by_the_other_port() {
        let (mut outside, mut lcore) = PairPort::new(8);
        outside.clock().set(Nanos(7));
        outside.inject(PortIndex(0), &[9; 60]).unwrap();
        let mut burst = Burst::new();
        assert_eq!(lcore.rx_burst(&mut burst), Rx::Frames(1));
        assert_eq!(burst.packets.at, [Nanos(7)]);
        lcore.tx_burst(&mut burst);
        assert_eq!(outside.take(), Some((PortIndex(1), vec![9; 60].into())));
        assert!(lcore.counters().balanced());
    }

    #[test]
    fn what_the_other_end_has_no_room_for_is_a_named_drop() {
        let (mut outside, mut lcore) = PairPort::new(2);
        let mut burst = Burst::new();
        for round in 0..2 {
            outside.inject(PortIndex(0), &[round; 60]).unwrap();
            outside.inject(PortIndex(0), &[round; 60]).unwrap();
            assert_eq!(outside.inject(PortIndex(0), &[round; 60]), Err(QueueFull));
            lcore.rx_burst(&mut burst);
            lcore.tx_burst(&mut burst);
        }
        let counters = lcore.counters();
        assert_eq!((counters.rx_frames, counters.tx_frames), (4, 2));
        assert_eq!(counters.drops.count(DropReason::TxRingFull), 2);
        assert!(counters.balanced());
    }

    #[test]
    fn an_end_closes_when_the_other_is_gone_and_its_frames_are_read() {
        let (mut outside, mut lcore) = PairPort::new(2);
        let mut burst = Burst::new();
        assert_eq!(lcore.rx_burst(&mut burst), Rx::Idle);
        outside.inject(PortIndex(0), &[1]).unwrap();
        drop(outside);
        assert_eq!(lcore.rx_burst(&mut burst), Rx::Frames(1));
        lcore.tx_burst(&mut burst);
        assert_eq!(lcore.rx_burst(&mut burst), Rx::Closed);
    }

    #[test]
    fn time_does_not_follow_a_clock_that_is_set_back() {
        let (_outside, mut lcore) = PairPort::new(1);
        let mut burst = Burst::new();
        lcore.clock().set(Nanos(9));
        lcore.rx_burst(&mut burst);
        lcore.clock().set(Nanos(5));
        lcore.rx_burst(&mut burst);
        assert_eq!(burst.packets.now, Nanos(9));
    }
}
