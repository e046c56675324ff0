//! A port that misbehaves on purpose: it loses, repeats, reorders, truncates and delays what
//! another receives.
//!
//! Everything follows from a seed, so a failure can be played again: tests print
//! [`FaultPort::seed`]. Faults strike on the receive side only; sending is the inner port's. Every
//! frame still has one end: a lost one is [`DropReason::Fault`], a repeat counts as received and
//! made, a delayed one as held, at any moment between bursts. At most some thousand frames are
//! held.

use std::collections::VecDeque;

use super::mem::Buffer;
use super::{Port, Rx};
use crate::burst::{BURST_FRAMES, Burst, Frame, PortIndex};
use crate::telemetry::counters::PortCounters;
use crate::telemetry::reasons::DropReason;
use crate::time::Nanos;

/// Frames that may wait, at most; while so many do, the inner port is not asked for more.
const HELD_FRAMES: usize = 1024;

/// How often each fault strikes, per thousand frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Lost.
    pub drop_per_mille: u16,
    /// Received twice.
    pub repeat_per_mille: u16,
    /// Swapped with the frame after it.
    pub reorder_per_mille: u16,
    /// Cut to a shorter length, of one byte at least.
    pub truncate_per_mille: u16,
    /// Held back.
    pub delay_per_mille: u16,
    /// The longest delay.
    pub delay_max: Nanos,
}

/// A port that receives through faults.
#[derive(Debug)]
pub struct FaultPort<P> {
    inner: P,
    faults: Faults,
    seed: u64,
    random: Random,
    arrived: Burst<Buffer>,
    /// Frames on their way to the loop, in the order in which they will come, the late ones in
    /// `delayed`.
    ready: VecDeque<Arrival>,
    delayed: Vec<Arrival>,
    now: Nanos,
    closed: bool,
    /// The inner port's counts as of the last look; `counters` has them and what this port adds.
    inner_counted: PortCounters,
    counters: PortCounters,
}

/// A frame that the inner port has received.
#[derive(Clone, Debug)]
struct Arrival {
    at: Nanos,
    port: PortIndex,
    wire_bytes: u32,
    frame: Buffer,
}

impl<P: Port<Frame = Buffer>> FaultPort<P> {
    /// Wraps `inner`. The same seed, faults and frames give the same result.
    #[must_use]
    pub fn new(inner: P, faults: Faults, seed: u64) -> Self {
        Self {
            inner_counted: *inner.counters(),
            counters: *inner.counters(),
            inner,
            faults,
            seed,
            random: Random(seed),
            arrived: Burst::new(),
            ready: VecDeque::with_capacity(2 * BURST_FRAMES),
            delayed: Vec::with_capacity(HELD_FRAMES),
            now: Nanos::ZERO,
            closed: false,
        }
    }

    /// The seed of all faults.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The port below.
    #[must_use]
    pub fn inner(&self) -> &P {
        &self.inner
    }

    fn held(&self) -> usize {
        self.ready.len() + self.delayed.len()
    }

    /// Takes a burst of the inner port and lets the faults strike.
    fn receive(&mut self) {
        self.closed = self.inner.rx_burst(&mut self.arrived) == Rx::Closed;
        self.now = self.now.max(self.arrived.packets.now);
        let packets = &self.arrived.packets;
        let stamps: Vec<_> = packets.at.iter().copied().zip(packets.wire_bytes.clone()).collect();
        let arrivals: Vec<_> = std::iter::zip(self.arrived.drain(), stamps).collect();
        for ((frame, port, _), (at, wire_bytes)) in arrivals {
            let arrival = Arrival { at, port, wire_bytes, frame };
            self.strike(arrival);
        }
        self.reorder();
    }

    fn strike(&mut self, mut arrival: Arrival) {
        if self.random.strikes(self.faults.drop_per_mille) {
            self.counters.drops.add(DropReason::Fault);
            return;
        }
        if self.random.strikes(self.faults.truncate_per_mille) {
            let len = arrival.frame.bytes().len() as u64;
            let kept = 1 + self.random.below(len.max(1));
            arrival.frame.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
            arrival.wire_bytes = u32::try_from(arrival.frame.bytes().len()).unwrap_or(u32::MAX);
        }
        if self.random.strikes(self.faults.repeat_per_mille) {
            self.counters.made_frames += 1;
            self.counters.rx_frames += 1;
            self.counters.rx_bytes += u64::from(arrival.wire_bytes);
            self.ready.push_back(arrival.clone());
        }
        if self.random.strikes(self.faults.delay_per_mille) {
            let longest = self.faults.delay_max.0.saturating_add(1);
            arrival.at = self.now + Nanos(self.random.below(longest));
            self.delayed.push(arrival);
        } else {
            self.ready.push_back(arrival);
        }
    }

    /// Swaps neighbours; the places keep their times, as the wire would stamp them.
    fn reorder(&mut self) {
        let ready = self.ready.make_contiguous();
        for i in 1..ready.len() {
            if self.random.strikes(self.faults.reorder_per_mille) {
                ready.swap(i - 1, i);
                let (earlier, later) = (ready[i].at, ready[i - 1].at);
                (ready[i - 1].at, ready[i].at) = (earlier, later);
            }
        }
    }

    /// Moves the delayed frames whose time has come behind those that are ready.
    fn release(&mut self) {
        if (self.closed || self.held() >= HELD_FRAMES) && self.ready.is_empty() {
            // The inner port is not asked any more: only the frames themselves move time on.
            let next = self.delayed.iter().map(|arrival| arrival.at).min();
            self.now = self.now.max(next.unwrap_or(Nanos::ZERO));
        }
        let now = self.now;
        self.delayed.sort_by_key(|arrival| arrival.at);
        let due = self.delayed.partition_point(|arrival| arrival.at <= now);
        self.ready.extend(self.delayed.drain(..due));
    }

    /// Adds what the inner port has counted since the last look.
    fn count(&mut self) {
        let (now, before) = (*self.inner.counters(), self.inner_counted);
        let counters = &mut self.counters;
        counters.rx_frames += now.rx_frames - before.rx_frames;
        counters.rx_bytes += now.rx_bytes - before.rx_bytes;
        counters.tx_frames += now.tx_frames - before.tx_frames;
        counters.tx_bytes += now.tx_bytes - before.tx_bytes;
        counters.made_frames += now.made_frames - before.made_frames;
        for &reason in DropReason::ALL {
            for _ in before.drops.count(reason)..now.drops.count(reason) {
                counters.drops.add(reason);
            }
        }
        self.inner_counted = now;
        self.counters.held_frames = now.held_frames + self.held() as u64;
    }
}

impl<P: Port<Frame = Buffer>> Port for FaultPort<P> {
    type Frame = Buffer;

    fn rx_burst(&mut self, burst: &mut Burst<Buffer>) -> Rx {
        if !self.closed && self.held() < HELD_FRAMES {
            self.receive();
        }
        self.release();
        burst.begin(self.now);
        while burst.room() > 0 {
            let Some(arrival) = self.ready.pop_front() else { break };
            burst.push(arrival.frame, arrival.at, arrival.port, arrival.wire_bytes);
        }
        self.count();
        match burst.len() {
            0 if self.closed && self.delayed.is_empty() => Rx::Closed,
            0 => Rx::Idle,
            frames => Rx::Frames(frames),
        }
    }

    fn tx_burst(&mut self, burst: &mut Burst<Buffer>) -> Nanos {
        let in_loop = self.inner.tx_burst(burst);
        self.count();
        in_loop
    }

    fn build(&mut self, bytes: &[u8]) -> Option<Buffer> {
        self.inner.build(bytes)
    }

    fn counters(&self) -> &PortCounters {
        &self.counters
    }
}

/// splitmix64 (Steele, Lea and Flood 2014): small, and the same numbers on every machine.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not zero.
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn strikes(&mut self, per_mille: u16) -> bool {
        self.below(1000) < u64::from(per_mille)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::mem::MemPort;
    use super::*;

    /// `count` frames, one each 100 us, each with its number inside.
    fn numbered(count: u32) -> MemPort {
        let frame = |n: u32| {
            let bytes = n.to_be_bytes().repeat(15);
            (Nanos::from_micros(100 * u64::from(n)), PortIndex(0), bytes)
        };
        MemPort::new((0..count).map(frame).collect())
    }

    /// Plays a port to its end, checks conservation between all bursts, and gives it back.
    fn play(inner: MemPort, faults: Faults, seed: u64) -> FaultPort<MemPort> {
        let mut port = FaultPort::new(inner, faults, seed);
        let mut burst = Burst::new();
        let mut last = Nanos::ZERO;
        for _ in 0..100_000 {
            let rx = port.rx_burst(&mut burst);
            assert!(burst.packets.now >= last, "time ran backwards, seed {seed}");
            last = burst.packets.now;
            port.tx_burst(&mut burst);
            assert!(port.counters().balanced(), "{:?}, seed {seed}", port.counters());
            if rx == Rx::Closed {
                assert_eq!(port.counters().held_frames, 0, "seed {seed}");
                return port;
            }
        }
        panic!("the port never closes, seed {seed}");
    }

    /// The numbers of the frames sent, in order.
    fn order(port: &FaultPort<MemPort>) -> Vec<u8> {
        port.inner().sent().iter().map(|sent| sent.frame.bytes()[3]).collect()
    }

    #[test]
    fn without_faults_every_frame_passes_in_order() {
        let port = play(numbered(200), Faults::default(), 1);
        assert_eq!(order(&port), (0..200).collect::<Vec<u8>>());
    }

    #[test]
    fn a_lost_frame_is_a_named_drop() {
        let port = play(numbered(200), Faults { drop_per_mille: 1000, ..Faults::default() }, 1);
        assert_eq!(port.counters().drops.count(DropReason::Fault), 200);
        assert!(order(&port).is_empty());
    }

    #[test]
    fn a_repeat_counts_as_received_and_made() {
        let port = play(numbered(100), Faults { repeat_per_mille: 1000, ..Faults::default() }, 1);
        let counters = port.counters();
        assert_eq!((counters.rx_frames, counters.made_frames, counters.tx_frames), (200, 100, 200));
    }

    #[test]
    fn reordering_loses_nothing() {
        let port = play(numbered(200), Faults { reorder_per_mille: 300, ..Faults::default() }, 1);
        let mut numbers = order(&port);
        assert!(!numbers.is_sorted());
        numbers.sort_unstable();
        assert_eq!(numbers, (0..200).collect::<Vec<u8>>());
    }

    #[test]
    fn a_truncated_frame_keeps_a_byte() {
        let port = play(numbered(200), Faults { truncate_per_mille: 1000, ..Faults::default() }, 1);
        let lengths = || port.inner().sent().iter().map(|sent| sent.frame.bytes().len());
        assert!(lengths().all(|len| (1..=60).contains(&len)));
        assert!(lengths().any(|len| len < 60));
    }

    #[test]
    fn a_delayed_frame_is_held_until_its_time() {
        let delay_max = Nanos::from_millis(5);
        let faults = Faults { delay_per_mille: 500, delay_max, ..Faults::default() };
        let port = play(numbered(200), faults, 1);
        for sent in port.inner().sent() {
            let bytes = sent.frame.bytes();
            let number = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            let sent_late = sent.at.since(Nanos::from_micros(100 * u64::from(number)));
            assert!(sent_late <= delay_max + Nanos::from_millis(2), "{sent_late:?}");
        }
        assert!(!order(&port).is_sorted());
    }

    #[test]
    fn more_delayed_frames_than_may_be_held_do_not_stop_the_port() {
        let delay_max = Nanos::from_secs(3600);
        let faults = Faults { delay_per_mille: 1000, delay_max, ..Faults::default() };
        let port = play(numbered(5_000), faults, 1);
        assert_eq!(port.counters().tx_frames, 5_000);
    }

    proptest! {
        #[test]
        fn every_frame_has_one_end_under_any_faults(
            seed: u64,
            rates in [0_u16..400, 0..400, 0..400, 0..400, 0..400],
            delay_ms in 0_u64..50,
            count in 0_u32..400,
        ) {
            let [drop, repeat, reorder, truncate, delay] = rates;
            let faults = Faults {
                drop_per_mille: drop,
                repeat_per_mille: repeat,
                reorder_per_mille: reorder,
                truncate_per_mille: truncate,
                delay_per_mille: delay,
                delay_max: Nanos::from_millis(delay_ms),
            };
            let port = play(numbered(count), faults, seed);
            let again = play(numbered(count), faults, seed);
            prop_assert_eq!(port.inner().sent(), again.inner().sent());
            let counters = port.counters();
            prop_assert_eq!(counters.rx_frames, u64::from(count) + counters.made_frames);
        }
    }
}
