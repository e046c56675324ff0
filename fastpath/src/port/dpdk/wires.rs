//! The port: devices in pairs, each pair the two ends of a wire; or devices that only listen.

use super::clock::Clock;
use super::config::{DpdkConfig, PoolSize};
use super::device::{Device, DeviceId, DeviceSetup};
use super::eal::{Eal, EalArgs};
use super::error::DpdkError;
use super::host;
use super::mbuf::Mbuf;
use super::mempool::Mempool;
use super::queue::RX_FRAMES;
use super::vdev::Vdev;
use crate::burst::{Burst, Fate, PortIndex};
use crate::port::{DeviceReport, Port, Rx};
use crate::telemetry::counters::PortCounters;
use crate::telemetry::reasons::DropReason;
use crate::time::Nanos;

/// A port on DPDK devices. Made by any thread, and used by the thread that runs the loop.
#[derive(Debug)]
pub struct DpdkPort {
    devices: Vec<Device>,
    pool: Mempool,
    eal: Eal,
    clock: Clock,
    /// Whether frames leave by the other device of the pair.
    pairs: bool,
    /// The device to poll next, so that each comes first in its turn.
    next: usize,
    counters: PortCounters,
}

impl DpdkPort {
    /// Starts EAL and all devices. Once a process.
    ///
    /// # Errors
    /// When a device cannot be had; the message says what to do. What can be known beforehand is
    /// checked before EAL starts.
    pub fn open(config: &DpdkConfig) -> Result<Self, DpdkError> {
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
        let size = PoolSize::of(devices, frame_bytes);
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
    ) -> Result<Self, DpdkError> {
        let ends = vdevs.iter().map(|vdev| (&vdev.name, vdev.mtu, vdev.interface.as_deref()));
        let ends = ends.chain(config.pci.iter().map(|address| (address, config.mtu, None)));
        let found: Vec<(DeviceId, DeviceSetup<'_>)> = (0..)
            .zip(ends)
            .map(|(index, (name, mtu, interface))| {
                let setup = DeviceSetup { index: PortIndex(index), mtu, interface };
                Ok((DeviceId::find(&eal, name)?, setup))
            })
            .collect::<Result<_, DpdkError>>()?;
        let socket =
            found.first().map_or(dpdk_sys::SHIM_SOCKET_ID_ANY, |(device, _)| device.socket());
        let pool = Mempool::new(&eal, size, socket)?;
        let devices = found
            .into_iter()
            .map(|(device, setup)| device.start(&pool, setup))
            .collect::<Result<_, _>>()?;
        let (pairs, counters) = (config.pairs, PortCounters::default());
        Ok(Self { devices, pool, eal, clock: Clock::new(), pairs, next: 0, counters })
    }

    /// Mbufs that are out of the pool: in a device's ring, in the loop, or held.
    #[must_use]
    pub fn mbufs_in_use(&self) -> u32 {
        self.pool.in_use()
    }
}

impl Port for DpdkPort {
    type Frame = Mbuf;

    /// Polls the devices in turn until the burst is full or each of them had nothing more. The next
    /// burst starts with the device after the last one, so none starves another.
    fn rx_burst(&mut self, burst: &mut Burst<Mbuf>) -> Rx {
        self.eal.enter_thread();
        burst.begin(self.clock.now());
        let mut drained = 0;
        while drained < self.devices.len() && burst.room() >= RX_FRAMES {
            let received = self.devices[self.next].rx.receive(burst, &mut self.counters);
            drained = if received < RX_FRAMES { drained + 1 } else { 0 };
            self.next = if self.next + 1 == self.devices.len() { 0 } else { self.next + 1 };
        }
        if burst.is_empty() { Rx::Idle } else { Rx::Frames(burst.len()) }
    }

    fn tx_burst(&mut self, burst: &mut Burst<Mbuf>) -> Nanos {
        if !burst.is_drained() {
            for (frame, port, fate) in burst.drain() {
                match fate {
                    Fate::Forward if self.pairs => {
                        self.devices[usize::from(port.0 ^ 1)].tx.stage(frame, &mut self.counters);
                    }
                    Fate::Forward => self.counters.drops.add(DropReason::Observed),
                    Fate::Drop(reason) => self.counters.drops.add(reason),
                }
            }
            for device in &mut self.devices {
                device.tx.send(&mut self.counters);
            }
        }
        self.clock.now().since(burst.packets.now)
    }

    fn build(&mut self, bytes: &[u8]) -> Option<Mbuf> {
        self.pool.frame(bytes)
    }

    fn counters(&self) -> &PortCounters {
        &self.counters
    }

    fn devices(&self) -> Vec<DeviceReport> {
        self.devices.iter().map(Device::report).collect()
    }
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
