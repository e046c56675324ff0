//! The two queues of a device.
//!
//! A queue may be used by one thread at a time, and DPDK does not check that. `RxQueue` and
//! `TxQueue` are made once by their device and are neither `Sync` nor `Clone`, so the compiler
//! does.

use std::cell::Cell;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use super::mbuf::Mbuf;
use crate::burst::{BURST_FRAMES, Burst, Frame, PortIndex};
use crate::telemetry::counters::PortCounters;
use crate::telemetry::reasons::DropReason;

/// Frames asked for at a time. Vector receive functions of several drivers want no less.
pub(super) const RX_FRAMES: usize = 32;

/// The same, as DPDK counts.
const RX_ASK: u16 = 32;
const _: () = assert!(RX_ASK as usize == RX_FRAMES);

/// A receive queue of a started device.
#[derive(Debug)]
pub(super) struct RxQueue {
    port: u16,
    queue: u16,
    /// Whether its frames note that they came in by it.
    noted: bool,
    /// The number the wire knows the device by.
    index: PortIndex,
    /// `Cell` is `Send` and not `Sync`, like this.
    _not_sync: PhantomData<Cell<()>>,
}

impl RxQueue {
    /// A queue of `port`, whose frames will say that they came in by `index`, and if `noted`, by
    /// which queue.
    ///
    /// # Safety
    /// The queue is set up, its port is started and stays so as long as this value is used, and
    /// there is no other `RxQueue` of it.
    pub(super) unsafe fn new(port: u16, queue: u16, index: PortIndex, noted: bool) -> Self {
        Self { port, queue, noted, index, _not_sync: PhantomData }
    }

    /// Adds to the burst up to [`RX_FRAMES`] frames that have arrived. Gives how many.
    ///
    /// # Panics
    /// When the burst has no room for that many.
    #[inline]
    pub(super) fn receive(
        &mut self,
        burst: &mut Burst<Mbuf>,
        counters: &mut PortCounters,
    ) -> usize {
        assert!(burst.room() >= RX_FRAMES, "a poll may give {RX_FRAMES} frames");
        let now = burst.packets.now;
        let mut slots = [const { MaybeUninit::<*mut dpdk_sys::rte_mbuf>::uninit() }; RX_FRAMES];
        // SAFETY: wants a started port (`new`), a queue that nobody polls meanwhile (`&mut self`,
        // and `RxQueue` is neither Sync nor Clone), and room for as many pointers as it is told:
        // `slots` has `RX_FRAMES`.
        let received = unsafe {
            dpdk_sys::shim_eth_rx_burst(self.port, self.queue, slots.as_mut_ptr().cast(), RX_ASK)
        };
        let received = usize::from(received);
        let frames = slots[..received].iter().map(|slot| {
            // SAFETY: wants an initialised value: the driver wrote the first `received` slots.
            let mbuf = unsafe { slot.assume_init() };
            let mbuf = NonNull::new(mbuf).expect("a driver receives no null mbuf");
            // SAFETY: wants a valid mbuf that is ours alone: a receive function gives its mbufs
            // away, and takes them from the pool the queue was set up with, a `Mempool`.
            let mut mbuf = unsafe { Mbuf::from_raw(mbuf) };
            if self.noted {
                mbuf.set_queue(self.queue);
            }
            let wire_bytes = mbuf.wire_bytes();
            counters.rx_bytes += u64::from(wire_bytes);
            (mbuf, wire_bytes)
        });
        burst.extend(frames, now, self.index);
        counters.rx_frames += received as u64;
        received
    }
}

/// A transmit queue of a started device, with the frames of a burst that will leave by it.
#[derive(Debug)]
pub(super) struct TxQueue {
    port: u16,
    queue: u16,
    /// Length of the longest frame without tags, bytes.
    frame_bytes_max: u32,
    /// In order. Never holds more than a burst, so it never grows.
    staged: Vec<Mbuf>,
    /// `Cell` is `Send` and not `Sync`, like this.
    _not_sync: PhantomData<Cell<()>>,
}

impl TxQueue {
    /// A queue of `port`, whose frames carry at most `mtu` bytes.
    ///
    /// # Safety
    /// The queue is set up, its port is started and stays so as long as this value is used, and
    /// there is no other `TxQueue` of it.
    pub(super) unsafe fn new(port: u16, queue: u16, mtu: u16) -> Self {
        Self {
            port,
            queue,
            frame_bytes_max: u32::from(mtu) + ETHERNET_BYTES,
            staged: Vec::with_capacity(BURST_FRAMES),
            _not_sync: PhantomData,
        }
    }

    /// Puts a frame in line, or frees and counts it when the device cannot carry it.
    #[inline]
    pub(super) fn stage(&mut self, frame: Mbuf, counters: &mut PortCounters) {
        let bytes = frame.wire_bytes();
        if bytes > self.frame_bytes_max && bytes > self.frame_bytes_max + tag_bytes(frame.bytes()) {
            counters.drops.add(DropReason::FrameTooLong);
            return;
        }
        counters.tx_frames += 1;
        counters.tx_bytes += u64::from(bytes);
        if self.staged.len() == BURST_FRAMES {
            self.send(counters);
        }
        self.staged.push(frame);
    }

    /// Sends what is in line. A full ring gets some microseconds to drain; what it did not take by
    /// then is freed and counted.
    #[inline]
    pub(super) fn send(&mut self, counters: &mut PortCounters) {
        let mut refusals = 0;
        while !self.staged.is_empty() {
            if self.send_some() > 0 {
                refusals = 0;
                continue;
            }
            refusals += 1;
            if refusals > REFUSALS_MAX {
                self.give_up(counters);
                return;
            }
            for _ in 0..PAUSES {
                std::hint::spin_loop();
            }
        }
    }

    fn send_some(&mut self) -> usize {
        let offered = u16::try_from(self.staged.len()).unwrap_or(u16::MAX);
        // SAFETY: wants a started port (`new`), a queue that nobody uses meanwhile (`&mut self`,
        // and `TxQueue` is neither Sync nor Clone), and `offered` mbufs it may own: `staged` has as
        // many, and `Mbuf` is a transparent pointer.
        let sent = unsafe {
            let staged = self.staged.as_mut_ptr().cast();
            dpdk_sys::shim_eth_tx_burst(self.port, self.queue, staged, offered)
        };
        let sent = usize::from(sent.min(offered));
        self.staged.drain(..sent).for_each(std::mem::forget); // the device owns these now
        sent
    }

    #[cold]
    fn give_up(&mut self, counters: &mut PortCounters) {
        for frame in self.staged.drain(..) {
            counters.tx_frames -= 1;
            counters.tx_bytes -= u64::from(frame.wire_bytes());
            counters.drops.add(DropReason::TxRingFull);
        }
    }
}

/// What the tags of a frame may add to its length: a device counts them beside its MTU (IEEE
/// 802.1Q, 802.1ad).
#[cold]
fn tag_bytes(frame: &[u8]) -> u32 {
    match frame.get(12..14) {
        Some([0x81, 0x00]) => 4,
        Some([0x88, 0xa8]) => 8,
        _ => 0,
    }
}

/// Destination, source and ethertype; the FCS is the device's business.
const ETHERNET_BYTES: u32 = 14;
/// How often a full ring may refuse before frames are lost, and how long to wait before the next
/// try: about a microsecond, so a stuck device holds the loop up for 20.
const REFUSALS_MAX: u32 = 20;
const PAUSES: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_may_exceed_the_mtu() {
        let mut frame = [0; 60];
        assert_eq!(tag_bytes(&frame), 0);
        frame[12] = 0x81;
        assert_eq!(tag_bytes(&frame), 4);
        assert_eq!(tag_bytes(&frame[..10]), 0);
    }
}
