//! The port of the simulated wire: frames come from the world and go back to it, at the world's
//! time. Every frame that comes and goes is counted, and so is what the scenario's wire loses.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use fastpath::burst::{Burst, Fate, Frame, Link, PortIndex};
use fastpath::port::mem::{Buffer, Pool};
use fastpath::port::{Port, Rx};
use fastpath::telemetry::counters::PortCounters;
use fastpath::telemetry::reasons::DropReason;
use fastpath::time::Nanos;

use super::chance::{Chance, Purpose};
use super::scenario::Wire;

/// The side of the clients.
pub(super) const CLIENTS: PortIndex = PortIndex(0);
/// The side of the servers.
pub(super) const SERVERS: PortIndex = PortIndex(1);

/// What lies at the two sides of the data plane. The world and the port share it.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// The world's time.
    pub(super) now: Nanos,
    /// Frames to come in, with the port they come in by.
    pub(super) arrived: VecDeque<(Nanos, PortIndex, Buffer)>,
    /// Frames that have left, with the port they left by.
    pub(super) left: VecDeque<(PortIndex, Buffer)>,
    /// Frames that were lost before they came in.
    pub(super) lost: u64,
    /// Buffers of frames that have ended.
    pub(super) pool: Pool,
}

/// The port.
#[derive(Debug)]
pub(super) struct SimPort {
    line: Rc<RefCell<Line>>,
    counters: PortCounters,
    wire: Wire,
    chance: Chance,
}

impl SimPort {
    /// A port on such a wire, and the line it shares.
    pub(super) fn new(wire: Wire, seed: u64) -> (Self, Rc<RefCell<Line>>) {
        let line = Rc::new(RefCell::new(Line::default()));
        let chance = Chance::new(seed, Purpose::Wire, 0);
        let counters = PortCounters::default();
        (Self { line: Rc::clone(&line), counters, wire, chance }, line)
    }

    /// Whether this happens, which it does with such a share. Without one nothing is drawn.
    fn happens(&mut self, share: f64) -> bool {
        share > 0.0 && self.chance.unit() < share
    }
}

impl Line {
    /// An empty buffer with a copy of `bytes`.
    pub(super) fn buffer(&mut self, bytes: &[u8]) -> Buffer {
        self.pool.copy(Link::Ethernet, bytes)
    }
}

impl Port for SimPort {
    type Frame = Buffer;

    fn rx_burst(&mut self, burst: &mut Burst<Buffer>) -> Rx {
        let line = Rc::clone(&self.line);
        let mut line = line.borrow_mut();
        burst.begin(line.now);
        while burst.room() > 0 {
            let Some((at, port, frame)) = line.arrived.pop_front() else { break };
            if self.happens(self.wire.lost) {
                line.lost += 1;
                line.pool.free(frame);
                continue;
            }
            let bytes = frame.bytes().len();
            self.counters.rx_frames += 1;
            self.counters.rx_bytes += bytes as u64;
            burst.push(frame, at, port, u32::try_from(bytes).unwrap_or(u32::MAX));
        }
        if burst.is_empty() { Rx::Idle } else { Rx::Frames(burst.len()) }
    }

    fn tx_burst(&mut self, burst: &mut Burst<Buffer>) -> Nanos {
        let line = Rc::clone(&self.line);
        let mut line = line.borrow_mut();
        for (frame, port, fate) in burst.drain() {
            match fate {
                Fate::Forward if self.happens(self.wire.refused) => {
                    self.counters.drops.add(DropReason::TxRingFull);
                    line.pool.free(frame);
                }
                Fate::Forward => {
                    self.counters.tx_frames += 1;
                    self.counters.tx_bytes += frame.bytes().len() as u64;
                    line.left.push_back((port.peer(), frame));
                }
                Fate::Drop(reason) => {
                    self.counters.drops.add(reason);
                    line.pool.free(frame);
                }
            }
        }
        Nanos::ZERO
    }

    fn build(&mut self, bytes: &[u8]) -> Option<Buffer> {
        if self.happens(self.wire.exhausted) {
            return None;
        }
        Some(self.line.borrow_mut().buffer(bytes))
    }

    fn counters(&self) -> &PortCounters {
        &self.counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_leaves_by_the_other_side_at_the_worlds_time() {
        let (mut port, line) = SimPort::new(Wire::default(), 1);
        let frame = line.borrow_mut().buffer(&[7; 60]);
        line.borrow_mut().arrived.push_back((Nanos(4), CLIENTS, frame));
        line.borrow_mut().now = Nanos(5);
        let mut burst = Burst::new();
        assert_eq!(port.rx_burst(&mut burst), Rx::Frames(1));
        assert_eq!((burst.packets.now, burst.packets.at[0]), (Nanos(5), Nanos(4)));
        port.tx_burst(&mut burst);
        assert_eq!(line.borrow_mut().left.pop_front().map(|(port, _)| port), Some(SERVERS));
        assert!(port.counters().balanced());
        assert_eq!(port.rx_burst(&mut burst), Rx::Idle);
    }
}
