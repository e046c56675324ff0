//! The distributor, its workers, and the two rings to each.
//!
//! The frames of a worker are bounded by their number, wherever they are: on the way to it, in its
//! loop, or on the way back. So the ring back never is full, and a frame that is too many is dropped
//! before it leaves, as [`DropReason::LcoreRingFull`].
//!
//! Time goes with the frames: the distributor shows the time of a burst after it has handed over
//! the frames of it, and a worker takes that time when it has taken everything. So no timer of a
//! worker runs ahead of a frame that waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam::queue::ArrayQueue;
use crossbeam::utils::CachePadded;

use super::owner::{Ends, Owners};
use crate::burst::{Burst, Fate, Frame, PortIndex};
use crate::port::{Port, Rx};
use crate::telemetry::counters::PortCounters;
use crate::telemetry::reasons::DropReason;
use crate::time::Nanos;

/// Receives and sends for all lcores, and is one of them.
#[derive(Debug)]
pub struct Distributor<P: Port> {
    inner: P,
    /// Frames there are for each of the lcores.
    pub(super) frames: Option<u32>,
    owners: Owners,
    /// What the port gave, before it is shared out.
    arrived: Burst<P::Frame>,
    /// What workers have given back, to be sent.
    returned: Burst<P::Frame>,
    lanes: Vec<Lane<P::Frame>>,
    shown: Arc<Shown>,
    draining: bool,
    /// Frames that were too many for a worker.
    refused: u64,
    handed: u64,
    counters: PortCounters,
}

/// Gets its frames from the distributor.
#[derive(Debug)]
pub struct Worker<F> {
    /// As the distributor's.
    pub(super) frames: Option<u32>,
    forth: Arc<Ring<F>>,
    back: Arc<Ring<F>>,
    shown: Arc<Shown>,
    counters: PortCounters,
}

/// The distributor's side of a worker.
#[derive(Debug)]
struct Lane<F> {
    forth: Arc<Ring<F>>,
    back: Arc<Ring<F>>,
    /// Frames that the worker has, rings included.
    out: usize,
}

type Ring<F> = ArrayQueue<Handed<F>>;

/// A frame between two lcores, with its columns.
#[derive(Debug)]
struct Handed<F> {
    frame: F,
    at: Nanos,
    wire_bytes: u32,
    port: PortIndex,
    fate: Fate,
}

/// What the distributor shows its workers. It alone writes.
#[derive(Debug, Default)]
struct Shown {
    /// The time up to which every frame has been handed over.
    time: CachePadded<AtomicU64>,
    /// No frame is out and none will be.
    over: AtomicBool,
}

impl<P: Port> Distributor<P> {
    pub(super) fn new(
        inner: P,
        lcores: usize,
        ends: Ends,
        ring_frames: usize,
    ) -> (Self, Vec<Worker<P::Frame>>) {
        let shown = Arc::new(Shown::default());
        let lane = |_| {
            let ring = || Arc::new(ArrayQueue::new(ring_frames));
            Lane { forth: ring(), back: ring(), out: 0 }
        };
        let lanes: Vec<Lane<P::Frame>> = (1..lcores).map(lane).collect();
        let each = u32::try_from(lcores).unwrap_or(u32::MAX);
        let frames = inner.frames().map(|frames| frames / each);
        let worker = |lane: &Lane<P::Frame>| Worker {
            frames,
            forth: Arc::clone(&lane.forth),
            back: Arc::clone(&lane.back),
            shown: Arc::clone(&shown),
            counters: PortCounters::default(),
        };
        let workers = lanes.iter().map(worker).collect();
        let distributor = Self {
            counters: *inner.counters(),
            frames,
            inner,
            owners: Owners::new(lcores, ends),
            arrived: Burst::new(),
            returned: Burst::new(),
            lanes,
            shown,
            draining: false,
            refused: 0,
            handed: 0,
        };
        (distributor, workers)
    }

    pub(super) fn build(&mut self, bytes: &[u8]) -> Option<P::Frame> {
        self.inner.build(bytes)
    }

    /// The port that is shared.
    pub(super) fn inner(&self) -> &P {
        &self.inner
    }

    /// Sends what workers have given back, shares out what has arrived, and keeps its own part.
    pub(super) fn rx_burst(&mut self, burst: &mut Burst<P::Frame>) -> Rx {
        self.send_returned();
        let now = self.arrived.packets.now;
        let rx = if self.draining {
            self.arrived.begin(now);
            Rx::Closed
        } else {
            self.inner.rx_burst(&mut self.arrived)
        };
        let now = self.arrived.packets.now;
        burst.begin(now);
        self.share_out(burst);
        // Pairs with the load in `Worker::rx_burst`: whoever sees this time finds its frames.
        self.shown.time.store(now.0, Ordering::Release);
        self.count();
        match rx {
            _ if !burst.is_empty() => Rx::Frames(burst.len()),
            Rx::Closed if self.out() == 0 => {
                // Says nothing about other memory: no frame is out.
                self.shown.over.store(true, Ordering::Relaxed);
                Rx::Closed
            }
            _ => Rx::Idle,
        }
    }

    pub(super) fn tx_burst(&mut self, burst: &mut Burst<P::Frame>) -> Nanos {
        let in_loop = self.inner.tx_burst(burst);
        self.count();
        in_loop
    }

    pub(super) fn counters(&self) -> &PortCounters {
        &self.counters
    }

    pub(super) fn drain(&mut self) -> bool {
        self.draining = true;
        self.shown.over.load(Ordering::Relaxed)
    }

    fn share_out(&mut self, burst: &mut Burst<P::Frame>) {
        // Taken out for as long as the frames are, and put back: no memory moves.
        let at = std::mem::take(&mut self.arrived.packets.at);
        let wire_bytes = std::mem::take(&mut self.arrived.packets.wire_bytes);
        for (i, (frame, port, fate)) in self.arrived.drain().enumerate() {
            let owner = self.owners.of(frame.bytes(), port);
            let Some(worker) = owner.checked_sub(1) else {
                burst.push(frame, at[i], port, wire_bytes[i]);
                continue;
            };
            let handed = Handed { frame, at: at[i], wire_bytes: wire_bytes[i], port, fate };
            if self.lanes[worker].hand_over(handed) {
                self.handed += 1;
            } else {
                self.refused += 1;
            }
        }
        self.arrived.packets.at = at;
        self.arrived.packets.wire_bytes = wire_bytes;
    }

    /// At most as many as were out when it began.
    fn send_returned(&mut self) {
        for lane in &mut self.lanes {
            let mut rest = lane.out;
            while rest > 0 {
                self.returned.begin(self.arrived.packets.now);
                while self.returned.room() > 0
                    && let Some(handed) = lane.back.pop()
                {
                    handed.enter(&mut self.returned);
                }
                let count = self.returned.len();
                if count == 0 {
                    break;
                }
                lane.out -= count;
                rest = rest.saturating_sub(count);
                self.inner.tx_burst(&mut self.returned);
            }
        }
    }

    fn out(&self) -> usize {
        self.lanes.iter().map(|lane| lane.out).sum()
    }

    fn count(&mut self) {
        self.counters = *self.inner.counters();
        self.counters.held_frames += self.out() as u64;
        self.counters.handed_frames += self.handed;
        self.counters.drops.add_many(DropReason::LcoreRingFull, self.refused);
    }
}

impl<F: Frame> Worker<F> {
    pub(super) fn rx_burst(&mut self, burst: &mut Burst<F>) -> Rx {
        let over = self.shown.over.load(Ordering::Relaxed);
        // Read before the ring is: what was handed over up to this time is in it.
        let time = Nanos(self.shown.time.load(Ordering::Acquire));
        burst.begin(burst.packets.now);
        let mut emptied = false;
        while burst.room() > 0 && !emptied {
            match self.forth.pop() {
                Some(handed) => handed.enter(burst),
                None => emptied = true,
            }
        }
        if emptied {
            burst.advance(time);
        }
        self.counters.taken_frames += burst.len() as u64;
        match burst.len() {
            0 if over => Rx::Closed,
            0 => Rx::Idle,
            frames => Rx::Frames(frames),
        }
    }

    pub(super) fn tx_burst(&mut self, burst: &mut Burst<F>) -> Nanos {
        let arrived = burst.packets.now;
        let at = std::mem::take(&mut burst.packets.at);
        let wire_bytes = std::mem::take(&mut burst.packets.wire_bytes);
        for (i, (frame, port, fate)) in burst.drain().enumerate() {
            let done = Handed { frame, at: at[i], wire_bytes: wire_bytes[i], port, fate };
            let refused = self.back.push(done).is_err();
            debug_assert!(!refused, "the ring back has room for every frame of a worker");
        }
        burst.packets.at = at;
        burst.packets.wire_bytes = wire_bytes;
        Nanos(self.shown.time.load(Ordering::Relaxed)).since(arrived)
    }

    pub(super) fn counters(&self) -> &PortCounters {
        &self.counters
    }

    pub(super) fn drain(&self) -> bool {
        self.shown.over.load(Ordering::Relaxed)
    }
}

impl<F> Lane<F> {
    /// Whether the worker may have one more.
    fn hand_over(&mut self, handed: Handed<F>) -> bool {
        if self.out == self.forth.capacity() {
            return false;
        }
        // Never full: it has room for all that may be out.
        let taken = self.forth.push(handed).is_ok();
        self.out += usize::from(taken);
        taken
    }
}

impl<F> Handed<F> {
    fn enter(self, burst: &mut Burst<F>) {
        burst.push(self.frame, self.at, self.port, self.wire_bytes);
        burst.advance(self.at);
        if let Some(fate) = burst.packets.fate.last_mut() {
            *fate = self.fate;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::LcorePort;
    use super::*;
    use crate::port::Spread;
    use crate::port::mem::{Buffer, MemPort};

    /// An IPv4 frame of a client; enough of them reach every lcore.
    fn frame(client: u8) -> Vec<u8> {
        let mut frame = vec![2; 60];
        frame[12..16].copy_from_slice(&[8, 0, 0x45, 0]);
        frame[26..34].copy_from_slice(&[10, 0, 0, client, 10, 9, 9, 9]);
        frame
    }

    fn spread(ring_frames: usize, frames: u8) -> Vec<LcorePort<MemPort>> {
        let arriving = (0..frames)
            .map(|n| (Nanos(u64::from(n)), PortIndex(u16::from(n) % 2 * 2), frame(n)))
            .collect();
        LcorePort::spread(MemPort::new(arriving), 3, Ends::Wire, ring_frames)
    }

    fn poll(port: &mut LcorePort<MemPort>, burst: &mut Burst<Buffer>) -> Rx {
        let rx = port.rx_burst(burst);
        port.tx_burst(burst);
        rx
    }

    #[test]
    fn every_frame_is_sent_once_by_the_peer_of_its_port_whoever_looped_it() {
        let mut ports = spread(64, 200);
        let mut burst = Burst::new();
        let mut closed = [false; 3];
        while closed != [true; 3] {
            for (port, closed) in ports.iter_mut().zip(&mut closed) {
                *closed = poll(port, &mut burst) == Rx::Closed;
            }
        }
        let mut sent: Vec<_> = ports[0].inner().unwrap().sent().to_vec();
        sent.sort_by_key(|sent| sent.frame.bytes()[29]);
        let expected = (0..200).map(|n| (PortIndex(u16::from(n) % 2 * 2 + 1), frame(n)));
        let sent = sent.into_iter().map(|sent| (sent.port, sent.frame.bytes().to_vec()));
        assert!(sent.eq(expected));
        let counters = ports[0].counters();
        assert!(counters.balanced() && counters.held_frames == 0);
        let looped: Vec<u64> = ports.iter().map(|port| port.counters().looped_frames()).collect();
        assert!(looped.iter().all(|&frames| frames > 20), "{looped:?}");
        assert_eq!(looped.iter().sum::<u64>(), 200);
        assert!(ports.iter().all(|port| port.spread() == Spread::Software));
    }

    #[test]
    fn frames_of_a_worker_that_stands_still_are_held_and_then_dropped_by_name() {
        let mut ports = spread(5, 200);
        let mut burst = Burst::new();
        for _ in 0..20 {
            poll(&mut ports[0], &mut burst);
        }
        let counters = *ports[0].counters();
        assert_eq!((counters.rx_frames, counters.held_frames), (200, 10));
        assert!(counters.drops.count(DropReason::LcoreRingFull) > 0 && counters.balanced());
        // The workers come back: what they had is sent, and nothing is held any more.
        for _ in 0..3 {
            for port in &mut ports {
                poll(port, &mut burst);
            }
        }
        let counters = ports[0].counters();
        assert_eq!(counters.held_frames, 0);
        assert_eq!(counters.tx_frames + counters.drops.total(), 200);
    }

    #[test]
    fn a_worker_s_drop_is_counted_where_the_frame_arrived() {
        let mut ports = spread(64, 60);
        let mut burst = Burst::new();
        poll(&mut ports[0], &mut burst);
        ports[1].rx_burst(&mut burst);
        let dropped = burst.len() as u64;
        burst.packets.fate.fill(Fate::Drop(DropReason::Observed));
        ports[1].tx_burst(&mut burst);
        poll(&mut ports[0], &mut burst);
        let counters = ports[0].counters();
        assert!(dropped > 0);
        assert_eq!(counters.drops.count(DropReason::Observed), dropped);
        assert!(counters.balanced());
    }

    #[test]
    fn a_worker_s_time_does_not_run_ahead_of_frames_that_wait() {
        // One of these clients is the worker's.
        let waiting = (0..=255).find_map(|client| {
            let frames = (0..70).map(|n| (Nanos(n), PortIndex(0), frame(client))).collect();
            let mut ports = LcorePort::spread(MemPort::new(frames), 2, Ends::Wire, 70);
            let mut burst = Burst::new();
            (0..3).for_each(|_| _ = poll(&mut ports[0], &mut burst));
            (ports[0].counters().held_frames == 70).then(|| ports.swap_remove(1))
        });
        let mut worker = waiting.unwrap();
        let mut burst = Burst::new();
        assert_eq!(poll(&mut worker, &mut burst), Rx::Frames(64));
        assert_eq!(burst.packets.now, Nanos(63));
        assert_eq!(poll(&mut worker, &mut burst), Rx::Frames(6));
        assert_eq!(burst.packets.now, Nanos(69));
    }

    #[test]
    fn after_drain_no_frame_is_received_and_none_is_out() {
        let mut ports = spread(64, 200);
        let mut burst = Burst::new();
        poll(&mut ports[0], &mut burst);
        let before = ports[0].counters().rx_frames;
        assert!(!ports[0].drain() && !ports[1].drain());
        for _ in 0..4 {
            for port in &mut ports {
                poll(port, &mut burst);
            }
        }
        assert!(ports.iter_mut().all(LcorePort::drain));
        let counters = ports[0].counters();
        assert_eq!((counters.rx_frames, counters.held_frames), (before, 0));
        assert!(counters.balanced());
    }
}
