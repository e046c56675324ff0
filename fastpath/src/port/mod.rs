//! Where frames come from and go to. One trait; the loop does not know which port it runs on.
//!
//! A port stamps time: it sets [`Packets::now`](crate::burst::Packets::now) in every burst, also in
//! an empty one, so that timers run while nothing arrives. It owns every frame outside the loop:
//! what it could not send is freed and counted by it as
//! [`DropReason::TxRingFull`](crate::telemetry::reasons::DropReason).

#[cfg(feature = "dpdk")]
pub mod dpdk;
pub mod fault;
pub mod mem;
pub mod pair;
pub mod pcap;
pub mod spread;

pub use spread::Spread;

use crate::burst::{Burst, Frame};
use crate::telemetry::counters::PortCounters;
use crate::time::Nanos;

/// What a poll gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rx {
    /// This many frames.
    Frames(usize),
    /// None now; there may be some later.
    Idle,
    /// None ever again: the capture has ended.
    Closed,
}

/// One device of a port, with what it counts itself. All zero and down where a port has no such
/// figure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceReport {
    /// Its name: `net_af_packet0`, or a PCI address.
    pub name: String,
    /// Its driver.
    pub driver: String,
    /// Its MAC address.
    pub mac: [u8; 6],
    /// Payload of the longest frame that may leave by it, bytes.
    pub mtu: u16,
    /// Whether the link is up.
    pub link_up: bool,
    /// Speed of the link in Mbit/s, zero when unknown.
    pub link_mbps: u32,
    /// Frames received.
    pub rx_frames: u64,
    /// Frames sent.
    pub tx_frames: u64,
    /// Frames that arrived and were lost because nobody took them from the device in time.
    pub rx_missed: u64,
    /// Frames that arrived broken.
    pub rx_errors: u64,
    /// Frames that could not be received because there was no buffer left.
    pub rx_no_buffer: u64,
    /// Frames that the device took and could not send.
    pub tx_errors: u64,
}

/// Frames in bursts, both ways.
pub trait Port {
    /// What a frame is here: an mbuf, or bytes of a capture.
    type Frame: Frame;

    /// Begins the burst, sets its time, and fills it with what has arrived.
    fn rx_burst(&mut self, burst: &mut Burst<Self::Frame>) -> Rx;

    /// Ends every frame of the burst by its fate: sends it out of the peer of the port it came in
    /// by, or frees it. Counts each end. Returns how long the burst has been in the loop, zero
    /// where time is a capture's.
    fn tx_burst(&mut self, burst: &mut Burst<Self::Frame>) -> Nanos;

    /// A frame of the loop's own, with a copy of `bytes`; `None` when there is no buffer for it. It
    /// counts as made once it is in a burst.
    fn build(&mut self, bytes: &[u8]) -> Option<Self::Frame>;

    /// Frames there are for the lcore of this port, on their way and held; `None` where there is no
    /// such bound.
    fn frames(&self) -> Option<u32> {
        None
    }

    /// Frames and bytes in and out, and every drop by reason, since the start.
    fn counters(&self) -> &PortCounters;

    /// Receives no more: from here on a poll gives only frames that are on their way between lcores.
    /// Whether all of those have had their end.
    fn drain(&mut self) -> bool {
        true
    }

    /// How frames are spread over the lcores that share the devices.
    fn spread(&self) -> Spread {
        Spread::Single
    }

    /// The devices, where there are any. Asks them: call it once a second, not once a burst.
    fn devices(&self) -> Vec<DeviceReport> {
        Vec::new()
    }
}
