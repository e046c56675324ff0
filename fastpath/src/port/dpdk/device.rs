//! A device: configured, started, with its queues both ways.

use std::ffi::{CStr, CString};
use std::fs;
use std::mem::MaybeUninit;
use std::path::Path;

use super::config::{RX_DESCRIPTORS, TX_DESCRIPTORS};
use super::eal::Eal;
use super::error::{DpdkError, Errno};
use super::host;
use super::mempool::Mempool;
use super::queue::{RxQueue, TxQueue};
use super::spread::{self, Offer};
use crate::burst::PortIndex;
use crate::port::DeviceReport;

/// A started device. Stopped and closed when dropped; whoever uses a queue of it keeps it.
#[derive(Debug)]
pub(super) struct Device {
    id: DeviceId,
    mtu: u16,
    mac: [u8; 6],
    driver: String,
    /// The network interface below it, for a driver that knows neither its link nor its losses.
    interface: Option<Interface>,
}

/// The queues of a started device. Each may be used as long as the device is there.
#[derive(Debug)]
pub(super) struct Queues {
    pub(super) rx: Vec<RxQueue>,
    pub(super) tx: Vec<TxQueue>,
}

/// A network interface of the kernel below a device.
#[derive(Debug)]
struct Interface {
    name: String,
    /// What it had received when the device started.
    rx_frames: u64,
}

/// A device EAL has made, by DPDK's number; not started yet.
#[derive(Clone, Debug)]
pub(super) struct DeviceId {
    port: u16,
    name: String,
}

/// What a device is to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeviceSetup<'a> {
    /// The number the wire knows it by.
    pub(super) index: PortIndex,
    /// Payload of the longest frame.
    pub(super) mtu: u16,
    /// The network interface below it, if any; its MTU is then not ours to set.
    pub(super) interface: Option<&'a str>,
    /// Queues it was made with.
    pub(super) filled: u16,
}

/// How a device is to share out what it receives.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueueSetup {
    /// Receive queues.
    pub(super) rx: u16,
    /// Transmit queues.
    pub(super) tx: u16,
    /// What it hashes to choose a queue, `RTE_ETH_RSS_*`; zero where it does not choose.
    pub(super) hash: u64,
    /// One lcore has all queues, and frames leave by the queue they came in by.
    pub(super) noted: bool,
}

impl DeviceId {
    /// Finds the device EAL made for a vdev or a PCI address.
    pub(super) fn find(_eal: &Eal, name: &str) -> Result<Self, DpdkError> {
        let c_name = CString::new(name).map_err(|_| DpdkError::NulInArgument(name.to_owned()))?;
        let mut port = 0;
        // SAFETY: wants an initialised EAL (`_eal`), a C string, and a place for a number; keeps
        // neither.
        let found =
            unsafe { dpdk_sys::rte_eth_dev_get_port_by_name(c_name.as_ptr(), &raw mut port) };
        Errno::check(found).map_err(|_| DpdkError::DeviceMissing(name.to_owned()))?;
        Ok(Self { port, name: name.to_owned() })
    }

    /// The processor socket it is attached to, or "any".
    pub(super) fn socket(&self) -> i32 {
        // SAFETY: takes any number, and says -1, "any", when it is no device.
        unsafe { dpdk_sys::rte_eth_dev_socket_id(self.port) }
    }

    /// What it can do for several lcores.
    pub(super) fn offer(&self, setup: DeviceSetup<'_>) -> Result<Offer, DpdkError> {
        let info = self.info()?;
        Ok(Offer {
            driver: driver_name(&info),
            rx_queues: info.max_rx_queues,
            tx_queues: info.max_tx_queues,
            filled: setup.filled,
            hashes: info.flow_type_rss_offloads,
            table: info.reta_size,
        })
    }

    /// Configures and starts it.
    pub(super) fn start(
        self,
        pool: &Mempool,
        setup: DeviceSetup<'_>,
        queues: QueueSetup,
    ) -> Result<(Device, Queues), DpdkError> {
        let info = self.info()?;
        self.configure(&info, setup, queues)?;
        self.set_up_queues(pool, queues)?;
        // SAFETY: wants a configured port with its queues set up, as it just was.
        self.step("rte_eth_dev_start", unsafe { dpdk_sys::rte_eth_dev_start(self.port) })?;
        // SAFETY: takes any number of a port, and says no when a device cannot.
        let promiscuous = unsafe { dpdk_sys::rte_eth_promiscuous_enable(self.port) };
        if promiscuous != -ENOTSUP {
            // A pipe without addresses has no such mode and needs none; any other device must obey.
            self.step("rte_eth_promiscuous_enable", promiscuous)?;
        }
        let (mtu, mac) = (setup.mtu, self.mac());
        let rx = |queue| {
            // SAFETY: the queue is set up and the port started; it is stopped in `Device::drop`, and
            // whoever has a queue keeps the device (`Device`); a name starts once, because starting
            // takes the configuration and a second one fails, and each number is here once.
            unsafe { RxQueue::new(self.port, queue, setup.index, queues.noted) }
        };
        // SAFETY: as for the receive queue.
        let tx = |queue| unsafe { TxQueue::new(self.port, queue, mtu) };
        let queues =
            Queues { rx: (0..queues.rx).map(rx).collect(), tx: (0..queues.tx).map(tx).collect() };
        let (driver, interface) = (driver_name(&info), setup.interface.map(Interface::new));
        Ok((Device { id: self, mtu, mac, driver, interface }, queues))
    }

    fn info(&self) -> Result<dpdk_sys::rte_eth_dev_info, DpdkError> {
        let mut info = MaybeUninit::zeroed();
        // SAFETY: wants a place for the structure; checks the number of the port.
        let told = unsafe { dpdk_sys::rte_eth_dev_info_get(self.port, info.as_mut_ptr()) };
        self.step("rte_eth_dev_info_get", told)?;
        // SAFETY: wants an initialised value: it was zeroed, which is valid for its numbers and
        // pointers, and then filled.
        Ok(unsafe { info.assume_init() })
    }

    fn configure(
        &self,
        info: &dpdk_sys::rte_eth_dev_info,
        setup: DeviceSetup<'_>,
        queues: QueueSetup,
    ) -> Result<(), DpdkError> {
        // SAFETY: wants a type for which zero is valid: numbers, flags and pointers; zero means
        // "default".
        let mut conf: dpdk_sys::rte_eth_conf = unsafe { MaybeUninit::zeroed().assume_init() };
        if setup.interface.is_none() {
            let max = u32::from(info.max_mtu)
                .min(info.max_rx_pktlen.saturating_sub(FRAME_OVERHEAD_BYTES));
            if u32::from(setup.mtu) > max {
                let device = self.name.clone();
                return Err(DpdkError::Mtu { device, wanted: setup.mtu, max });
            }
            conf.rxmode.mtu = u32::from(setup.mtu);
        }
        let mut key = spread::key();
        if queues.hash != 0 {
            conf.rxmode.mq_mode = dpdk_sys::rte_eth_rx_mq_mode_RTE_ETH_MQ_RX_RSS;
            let rss = &mut conf.rx_adv_conf.rss_conf;
            let told = info.hash_key_size;
            rss.rss_key = key.as_mut_ptr();
            rss.rss_key_len = if told == 0 { spread::KEY_BYTES } else { told };
            rss.rss_hf = queues.hash;
        }
        let QueueSetup { rx, tx, .. } = queues;
        // SAFETY: wants a valid configuration, which it copies with its key, a key of as many bytes
        // as it says (`key` has more than any device takes); checks the rest and the number of the
        // port.
        let configured =
            unsafe { dpdk_sys::rte_eth_dev_configure(self.port, rx, tx, &raw const conf) };
        self.step("rte_eth_dev_configure", configured)
    }

    fn set_up_queues(&self, pool: &Mempool, queues: QueueSetup) -> Result<(), DpdkError> {
        let (mut rx, mut tx) = (RX_DESCRIPTORS, TX_DESCRIPTORS);
        // SAFETY: wants two numbers it may change; checks the number of the port.
        let adjusted = unsafe {
            dpdk_sys::rte_eth_dev_adjust_nb_rx_tx_desc(self.port, &raw mut rx, &raw mut tx)
        };
        self.step("rte_eth_dev_adjust_nb_rx_tx_desc", adjusted)?;
        let socket = u32::try_from(self.socket()).unwrap_or(u32::MAX); // SOCKET_ID_ANY is -1
        for queue in 0..queues.rx {
            let default = std::ptr::null();
            let pool = pool.as_ptr();
            // SAFETY: wants a configured port, no configuration for the driver's default, and a
            // pool that outlives the queue: pools are never freed.
            let set_up = unsafe {
                dpdk_sys::rte_eth_rx_queue_setup(self.port, queue, rx, socket, default, pool)
            };
            self.step("rte_eth_rx_queue_setup", set_up)?;
        }
        for queue in 0..queues.tx {
            let default = std::ptr::null();
            // SAFETY: wants a configured port, and no configuration for the driver's default.
            let set_up =
                unsafe { dpdk_sys::rte_eth_tx_queue_setup(self.port, queue, tx, socket, default) };
            self.step("rte_eth_tx_queue_setup", set_up)?;
        }
        Ok(())
    }

    fn mac(&self) -> [u8; 6] {
        let mut address = dpdk_sys::rte_ether_addr { addr_bytes: [0; 6] };
        // SAFETY: wants a place for an address; says no, and leaves zeros, when there is none.
        unsafe { dpdk_sys::rte_eth_macaddr_get(self.port, &raw mut address) };
        address.addr_bytes
    }

    fn step(&self, step: &'static str, returned: i32) -> Result<(), DpdkError> {
        let error = |errno| DpdkError::Device { device: self.name.clone(), step, errno };
        Errno::check(returned).map_err(error)
    }
}

impl Device {
    /// What the device is and what it has counted.
    pub(super) fn report(&self) -> DeviceReport {
        let stats = self.stats();
        let (link_up, link_mbps) = self.link();
        DeviceReport {
            name: self.id.name.clone(),
            driver: self.driver.clone(),
            mac: self.mac,
            mtu: self.mtu,
            link_up,
            link_mbps,
            rx_frames: stats.ipackets,
            tx_frames: stats.opackets,
            rx_missed: stats.imissed + self.interface.as_ref().map_or(0, |i| i.missed(&stats)),
            rx_errors: stats.ierrors,
            rx_no_buffer: stats.rx_nombuf,
            tx_errors: stats.oerrors,
        }
    }

    fn stats(&self) -> dpdk_sys::rte_eth_stats {
        let mut stats = MaybeUninit::<dpdk_sys::rte_eth_stats>::zeroed();
        // SAFETY: wants a place for the structure; a device that cannot tell leaves the zeros.
        unsafe { dpdk_sys::rte_eth_stats_get(self.id.port, stats.as_mut_ptr()) };
        // SAFETY: wants an initialised value: it was zeroed, and is made of numbers.
        unsafe { stats.assume_init() }
    }

    fn link(&self) -> (bool, u32) {
        let mut link = MaybeUninit::<dpdk_sys::rte_eth_link>::zeroed();
        // SAFETY: wants a place for the structure; a device that cannot tell leaves the zeros.
        unsafe { dpdk_sys::rte_eth_link_get_nowait(self.id.port, link.as_mut_ptr()) };
        // SAFETY: wants an initialised value: it was zeroed, and is made of numbers.
        let link = unsafe { link.assume_init() };
        let up = u32::from(link.link_status()) == dpdk_sys::RTE_ETH_LINK_UP;
        let mbps = if link.link_speed == SPEED_UNKNOWN { 0 } else { link.link_speed };
        match &self.interface {
            Some(interface) => (interface.carrier().unwrap_or(up), mbps),
            None => (up, mbps),
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: wants a started port whose queues nobody uses: their users keep `self`, and are
        // gone when it goes.
        unsafe { dpdk_sys::rte_eth_dev_stop(self.id.port) };
        // SAFETY: wants a stopped port, whose number is not used afterwards: it is gone with
        // `self`.
        unsafe { dpdk_sys::rte_eth_dev_close(self.id.port) };
    }
}

impl Interface {
    fn new(name: &str) -> Self {
        let rx_frames = host::interface_rx_frames(name).unwrap_or(0);
        Self { name: name.to_owned(), rx_frames }
    }

    /// Frames the kernel received and the device did not: its ring was full. The driver of 22.11
    /// does not ask for them. Frames that wait in the ring at this moment are among them.
    fn missed(&self, stats: &dpdk_sys::rte_eth_stats) -> u64 {
        let received = host::interface_rx_frames(&self.name).unwrap_or(0);
        received.saturating_sub(self.rx_frames).saturating_sub(stats.ipackets)
    }

    /// Whether the kernel sees a carrier: not when the interface is down. `None` when `/sys` shows
    /// another network namespace.
    fn carrier(&self) -> Option<bool> {
        let directory = Path::new("/sys/class/net").join(&self.name);
        let carrier = fs::read_to_string(directory.join("carrier"));
        directory.exists().then(|| carrier.is_ok_and(|carrier| carrier.trim() == "1"))
    }
}

fn driver_name(info: &dpdk_sys::rte_eth_dev_info) -> String {
    if info.driver_name.is_null() {
        return String::new();
    }
    // SAFETY: wants a C string that stays: a driver's name is a constant of its library, which
    // stays loaded.
    let name = unsafe { CStr::from_ptr(info.driver_name) };
    name.to_string_lossy().into_owned()
}

/// Ethernet header and FCS, which a device's frame length counts and its MTU does not.
const FRAME_OVERHEAD_BYTES: u32 = 18;
/// `RTE_ETH_SPEED_NUM_UNKNOWN`.
const SPEED_UNKNOWN: u32 = u32::MAX;
/// The device has no such function.
const ENOTSUP: i32 = 95;
