//! What a DPDK port needs to know, and the sizes that follow from it.

/// Devices and memory of a [`DpdkPort`](super::DpdkPort).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DpdkConfig {
    /// Virtual devices as EAL wants them: `net_af_packet0,iface=eth1`. Port 0 is the first of them.
    pub vdevs: Vec<String>,
    /// PCI addresses of devices bound to a driver for user space: `0000:03:00.0`. They follow the
    /// vdevs.
    pub pci: Vec<String>,
    /// Run without hugepages: slower, and enough for virtual devices.
    pub no_huge: bool,
    /// Memory for frames in MiB; as much as the devices need when `None`.
    pub memory_mb: Option<u32>,
    /// Payload of the longest Ethernet frame that has to pass, bytes. `net_af_packet` takes more
    /// when the interface has more.
    pub mtu: u16,
    /// Tells EAL processes on one machine apart.
    pub file_prefix: String,
    /// Devices are the two ends of wires: 0 and 1, 2 and 3, and so on. Otherwise they only receive.
    pub pairs: bool,
    /// Lcores that share the devices.
    pub lcores: u16,
    /// Spread frames over them in software, though the devices could.
    pub spread_in_software: bool,
}

impl Default for DpdkConfig {
    fn default() -> Self {
        Self {
            vdevs: Vec::new(),
            pci: Vec::new(),
            no_huge: false,
            memory_mb: None,
            mtu: 1500,
            file_prefix: "fermata".to_owned(),
            pairs: true,
            lcores: 1,
            spread_in_software: false,
        }
    }
}

/// The sizes of a mempool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PoolSize {
    /// Mbufs in the pool.
    pub(super) mbufs: u32,
    /// Bytes of a frame that one mbuf holds.
    pub(super) frame_bytes: u16,
    /// Memory that EAL and the drivers need beside it, MiB.
    beside_mb: u32,
}

impl PoolSize {
    /// Enough mbufs for full rings of every queue, the loops, and the caches of the lcores. A queue
    /// is one each way.
    pub(super) fn of(queues: usize, lcores: u16, frame_bytes: u16) -> Self {
        let queues = u32::try_from(queues).unwrap_or(u32::MAX);
        let rings = u32::from(RX_DESCRIPTORS) + u32::from(TX_DESCRIPTORS);
        let others = LCORE_MBUFS.saturating_mul(u32::from(lcores.saturating_sub(1)));
        let mbufs = rings.saturating_mul(queues).saturating_add(LOOP_MBUFS).saturating_add(others);
        let beside_mb = BESIDE_MB.saturating_add(QUEUE_MB.saturating_mul(queues));
        Self { mbufs, frame_bytes, beside_mb }
    }

    /// Memory it takes in MiB, with what EAL and the drivers need beside it.
    pub(super) fn memory_mb(self) -> u32 {
        let bytes = u64::from(self.mbufs) * (u64::from(self.frame_bytes) + MBUF_OVERHEAD_BYTES);
        // A mempool pads what it holds, to spread it over the memory channels.
        let padded = bytes + bytes / 16;
        u32::try_from(padded.div_ceil(1 << 20)).unwrap_or(u32::MAX).saturating_add(self.beside_mb)
    }
}

/// Descriptors of a receive queue. At 64-byte frames and 10 Gbit/s, 1024 bridge 69 microseconds.
pub(super) const RX_DESCRIPTORS: u16 = 1024;
/// Descriptors of a transmit queue.
pub(super) const TX_DESCRIPTORS: u16 = 1024;
/// Mbufs an lcore keeps for itself, so that it seldom touches the pool's ring.
pub(super) const CACHE_MBUFS: u32 = 256;
/// Mbufs beyond the rings: a burst, held frames, caches (a cache grows to one and a half times its
/// size).
const LOOP_MBUFS: u32 = 4096;
/// The same for each lcore but the first, with what is on its way to and from it.
const LCORE_MBUFS: u32 = 1024 + 2048;
const _: () = assert!(LCORE_MBUFS as usize == 1024 + RING_FRAMES);
/// Frames that may be on their way between the distributor and a worker.
pub(super) const RING_FRAMES: usize = 2048;
/// The mbuf structure, its headroom, and the mempool's header, with padding.
const MBUF_OVERHEAD_BYTES: u64 = 128 + 128 + 128;
/// Statistics and tables of EAL and the drivers, and what a queue of a driver takes.
const BESIDE_MB: u32 = 32;
const QUEUE_MB: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_devices_need_less_memory_than_a_small_machine_has() {
        assert!(PoolSize::of(2, 1, 2048).memory_mb() < 64);
        assert!(PoolSize::of(2, 1, 12288).memory_mb() < 160);
    }
}
