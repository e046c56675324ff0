//! The port: devices in pairs, each pair the two ends of a wire; or devices that only listen. For
//! several lcores, each with a queue of its own on every device, or one with them all.

use std::sync::Arc;

use super::clock::Clock;
use super::config::{DpdkConfig, PoolSize, RING_FRAMES};
use super::device::{Device, DeviceId, DeviceSetup, QueueSetup, Queues};
use super::eal::{Eal, EalArgs};
use super::error::DpdkError;
use super::host;
use super::mbuf::Mbuf;
use super::mempool::Mempool;
use super::queue::{RX_FRAMES, RxQueue, TxQueue};
use super::spread::{self, Offer, Plan};
use super::vdev::Vdev;
use crate::burst::{Burst, Fate, PortIndex};
use crate::port::spread::{Ends, LcorePort};
use crate::port::{DeviceReport, Port, Rx, Spread};
use crate::telemetry::counters::PortCounters;
use crate::telemetry::reasons::DropReason;
use crate::time::Nanos;

/// A port on DPDK devices, or one lcore's queues of them. Made by any thread, and used by the thread
/// that runs the loop.
#[derive(Debug)]
pub struct DpdkPort {
    /// Receive queues of all devices.
    rx: Vec<RxQueue>,
    /// Transmit queues, by device.
    tx: Vec<Vec<TxQueue>>,
    /// Behind the queues, so that it goes after them.
    devices: Vec<Arc<Device>>,
    pools: Arc<[Mempool]>,
    eal: Arc<Eal>,
    clock: Clock,
    /// Whether frames leave by the other device of the pair.
    pairs: bool,
    /// The queue to poll next, so that each comes first in its turn.
    next: usize,
    /// How frames are spread, and whether this lcore speaks for the devices.
    spread: Spread,
    first: bool,
    /// Mbufs there are for its lcore.
    frames: u32,
    counters: PortCounters,
}

impl DpdkPort {
    /// Starts EAL and all devices, for one lcore. Once a process.
    ///
    /// # Errors
    /// When a device cannot be had; the message says what to do. What can be known beforehand is
    /// checked before EAL starts.
    pub fn open(config: &DpdkConfig) -> Result<Self, DpdkError> {
        let mut ports = Self::open_each(&DpdkConfig { lcores: 1, ..config.clone() })?;
        Ok(ports.swap_remove(0))
    }

    /// Starts EAL and all devices, and gives each lcore its port. Once a process.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_spread(config: &DpdkConfig) -> Result<Vec<LcorePort<Self>>, DpdkError> {
        let mut ports = Self::open_each(config)?;
        let lcores = usize::from(config.lcores.max(1));
        if ports.len() == lcores {
            return Ok(ports.into_iter().map(LcorePort::Own).collect());
        }
        let ends = if config.pairs { Ends::Wire } else { Ends::Tap };
        Ok(LcorePort::spread(ports.swap_remove(0), lcores, ends, RING_FRAMES))
    }

    /// As many ports as lcores have queues of their own.
    fn open_each(config: &DpdkConfig) -> Result<Vec<Self>, DpdkError> {
        let devices = config.vdevs.len() + config.pci.len();
        match devices {
            0 => return Err(DpdkError::NoDevice),
            n if config.pairs && n % 2 != 0 => return Err(DpdkError::Unpaired(n)),
            _ => {}
        }
        let vdevs = Vdev::parse_all(&config.vdevs)?;
        let vdevs: Vec<Vdev> =
            vdevs.into_iter().map(|vdev| vdev.checked(config.mtu)).collect::<Result<_, _>>()?;
        for address in &config.pci {
            host::check_pci(address)?;
        }
        let widest = vdevs.iter().map(|vdev| vdev.frame_bytes).max().unwrap_or(0);
        let frame_bytes = widest.max(frame_bytes(config.mtu));
        let lcores = config.lcores.max(1);
        let queues = |vdev: &Vdev| usize::from(vdev.queues().max(lcores));
        let queues: usize = vdevs.iter().map(queues).sum();
        let queues = queues + config.pci.len() * usize::from(lcores);
        let size = PoolSize::of(queues, lcores, frame_bytes);
        let eal = Eal::init(&EalArgs {
            vdevs: vdevs.iter().map(Vdev::spec).collect(),
            pci: config.pci.clone(),
            no_huge_mb: memory(config, size)?,
            file_prefix: config.file_prefix.clone(),
        })?;
        Self::start(eal, config, &vdevs, size)
    }

    fn start(
        eal: Eal,
        config: &DpdkConfig,
        vdevs: &[Vdev],
        size: PoolSize,
    ) -> Result<Vec<Self>, DpdkError> {
        let ends = vdevs.iter().map(|v| (&v.name, v.mtu, v.interface.as_deref(), v.queues()));
        let ends = ends.chain(config.pci.iter().map(|address| (address, config.mtu, None, 1)));
        let found: Vec<(DeviceId, DeviceSetup<'_>)> = (0..)
            .zip(ends)
            .map(|(index, (name, mtu, interface, filled))| {
                let setup = DeviceSetup { index: PortIndex(index), mtu, interface, filled };
                Ok((DeviceId::find(&eal, name)?, setup))
            })
            .collect::<Result<_, DpdkError>>()?;
        let offers: Vec<Offer> = found
            .iter()
            .map(|(device, setup)| device.offer(*setup))
            .collect::<Result<_, DpdkError>>()?;
        let plan = Plan::of(&offers, config.lcores.max(1), config.pairs, config.spread_in_software);
        let pools = pools(&eal, &found, size, config.no_huge)?;
        let frames = size.mbufs.saturating_mul(u32::try_from(pools.len()).unwrap_or(u32::MAX));
        let ports = match plan.spread {
            Spread::Single | Spread::Software => 1,
            Spread::ClientAddress | Spread::FiveTuple => usize::from(config.lcores),
        };
        let mut started = Vec::with_capacity(found.len());
        for ((device, setup), (offer, queues)) in
            found.into_iter().zip(offers.iter().zip(&plan.queues))
        {
            let (rx, tx) = *queues;
            let hash = spread::hash_of(plan.spread, setup.index.0, offer);
            let queues = QueueSetup { rx, tx, hash, noted: ports == 1 && rx > 1 };
            let socket = device.socket();
            let pool = pools.iter().find(|pool| pool.socket() == socket).unwrap_or(&pools[0]);
            started.push(device.start(pool, setup, queues)?);
        }
        Ok(share(
            started,
            ports,
            &Shared {
                eal: Arc::new(eal),
                pools: pools.into(),
                pairs: config.pairs,
                spread: plan.spread,
                frames,
            },
        ))
    }

    /// Mbufs that are out of their pool: in a device's ring, in a loop, or held.
    #[must_use]
    pub fn mbufs_in_use(&self) -> u32 {
        self.pools.iter().map(Mempool::in_use).sum()
    }
}

impl Port for DpdkPort {
    type Frame = Mbuf;

    /// Polls the queues in turn until the burst is full or each of them had nothing more. The next
    /// burst starts with the queue after the last one, so none starves another.
    fn rx_burst(&mut self, burst: &mut Burst<Mbuf>) -> Rx {
        self.eal.enter_thread();
        burst.begin(self.clock.now());
        let mut drained = 0;
        while drained < self.rx.len() && burst.room() >= RX_FRAMES {
            let received = self.rx[self.next].receive(burst, &mut self.counters);
            drained = if received < RX_FRAMES { drained + 1 } else { 0 };
            self.next = if self.next + 1 == self.rx.len() { 0 } else { self.next + 1 };
        }
        if burst.is_empty() { Rx::Idle } else { Rx::Frames(burst.len()) }
    }

    fn tx_burst(&mut self, burst: &mut Burst<Mbuf>) -> Nanos {
        if !burst.is_drained() {
            for (frame, port, fate) in burst.drain() {
                match fate {
                    Fate::Forward if self.pairs => {
                        let queues = &mut self.tx[usize::from(port.0 ^ 1)];
                        let queue = match queues.len() {
                            1 => 0,
                            queues => usize::from(frame.queue()) % queues,
                        };
                        queues[queue].stage(frame, &mut self.counters);
                    }
                    Fate::Forward => self.counters.drops.add(DropReason::Observed),
                    Fate::Drop(reason) => self.counters.drops.add(reason),
                }
            }
            for queue in self.tx.iter_mut().flatten() {
                queue.send(&mut self.counters);
            }
        }
        self.clock.now().since(burst.packets.now)
    }

    fn build(&mut self, bytes: &[u8]) -> Option<Mbuf> {
        self.pools.first()?.frame(bytes)
    }

    fn frames(&self) -> Option<u32> {
        Some(self.frames)
    }

    fn counters(&self) -> &PortCounters {
        &self.counters
    }

    fn spread(&self) -> Spread {
        self.spread
    }

    fn devices(&self) -> Vec<DeviceReport> {
        let devices = self.devices.iter().filter(|_| self.first);
        devices.map(|device| device.report()).collect()
    }
}

/// What all lcores have in common.
struct Shared {
    eal: Arc<Eal>,
    pools: Arc<[Mempool]>,
    pairs: bool,
    spread: Spread,
    /// Mbufs of all pools.
    frames: u32,
}

/// Gives each of so many ports a queue of every device each way, or one port all of them.
fn share(started: Vec<(Device, Queues)>, ports: usize, shared: &Shared) -> Vec<DpdkPort> {
    let (devices, queues): (Vec<Arc<Device>>, Vec<Queues>) =
        started.into_iter().map(|(device, queues)| (Arc::new(device), queues)).unzip();
    let mut queues: Vec<_> =
        queues.into_iter().map(|Queues { rx, tx }| (rx.into_iter(), tx.into_iter())).collect();
    let port = |index| {
        let mine = if ports == 1 { usize::MAX } else { 1 };
        let rx = queues.iter_mut().flat_map(|(rx, _)| rx.take(mine)).collect();
        let tx = queues.iter_mut().map(|(_, tx)| tx.take(mine).collect()).collect();
        DpdkPort {
            rx,
            tx,
            devices: devices.clone(),
            pools: Arc::clone(&shared.pools),
            eal: Arc::clone(&shared.eal),
            clock: Clock::new(),
            pairs: shared.pairs,
            next: 0,
            spread: shared.spread,
            first: index == 0,
            frames: shared.frames / u32::try_from(ports).unwrap_or(u32::MAX),
            counters: PortCounters::default(),
        }
    };
    (0..ports).map(port).collect()
}

/// A pool on each processor socket that a device is attached to; without hugepages memory is in one
/// place.
fn pools(
    eal: &Eal,
    found: &[(DeviceId, DeviceSetup<'_>)],
    size: PoolSize,
    no_huge: bool,
) -> Result<Vec<Mempool>, DpdkError> {
    let mut sockets: Vec<i32> = found.iter().map(|(device, _)| device.socket()).collect();
    sockets.sort_unstable_by_key(|&socket| std::cmp::Reverse(socket));
    sockets.dedup();
    let any = |socket: &i32| *socket == dpdk_sys::SHIM_SOCKET_ID_ANY;
    let attached = sockets.iter().filter(|socket| !any(socket)).count();
    // A device that is attached to none takes what the others have.
    sockets.truncate(if no_huge { 1 } else { attached.max(1) });
    sockets.into_iter().map(|socket| Mempool::new(eal, size, socket)).collect()
}

/// Memory for EAL in MiB when there shall be no hugepages; checks that there is enough of either
/// kind.
fn memory(config: &DpdkConfig, size: PoolSize) -> Result<Option<u32>, DpdkError> {
    let need_mb = size.memory_mb();
    if let Some(given_mb) = config.memory_mb.filter(|&given_mb| given_mb < need_mb) {
        return Err(DpdkError::Memory { given_mb, need_mb });
    }
    if config.no_huge {
        return Ok(Some(config.memory_mb.unwrap_or(need_mb)));
    }
    host::check_hugepages(config.memory_mb.unwrap_or(need_mb))?;
    Ok(None)
}

/// Room for a frame of that MTU with two tags and FCS; a multiple of a cache line, and never below
/// what drivers expect.
fn frame_bytes(mtu: u16) -> u16 {
    let bytes = (u32::from(mtu) + 14 + 8 + 4).next_multiple_of(64).max(2048);
    u16::try_from(bytes).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_known_before_eal_is_said_before_eal() {
        let open = |vdevs: &[&str]| {
            let vdevs = vdevs.iter().map(|&v| v.to_owned()).collect();
            DpdkPort::open(&DpdkConfig { vdevs, no_huge: true, ..DpdkConfig::default() })
                .unwrap_err()
        };
        assert_eq!(open(&[]), DpdkError::NoDevice);
        assert_eq!(open(&["net_null0"]), DpdkError::Unpaired(1));
        assert_eq!(
            open(&["net_null0", "net_null0"]),
            DpdkError::DuplicateVdev("net_null0".to_owned())
        );
    }

    #[test]
    fn an_mbuf_holds_the_longest_frame() {
        assert_eq!(frame_bytes(1500), 2048);
        assert_eq!(frame_bytes(9000), 9088);
        assert_eq!(frame_bytes(u16::MAX), u16::MAX);
    }
}
