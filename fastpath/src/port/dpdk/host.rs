//! What the host has: interfaces, PCI devices, hugepages, capabilities. Asked once, before EAL
//! starts, because EAL's own answer to a missing one is a number.

use std::fmt;
use std::fs;
use std::path::Path;

/// What the host lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostError {
    /// There is no network interface of that name in this network namespace.
    InterfaceMissing {
        /// The device that wants it.
        vdev: String,
        /// The interface.
        interface: String,
        /// Those that exist.
        present: Vec<String>,
    },
    /// A file is where the socket of a vhost device has to be.
    SocketExists(String),
    /// The directory of the socket of a vhost device does not exist.
    SocketDirectory(String),
    /// There is no PCI device at that address.
    PciMissing(String),
    /// The PCI device is bound to a driver that DPDK cannot use, or to none.
    PciDriver {
        /// Its address.
        address: String,
        /// Its driver.
        driver: Option<String>,
    },
    /// The process lacks a capability.
    Capability {
        /// Its name.
        name: &'static str,
        /// What needs it.
        wanted_by: String,
    },
    /// Too few free hugepages.
    Hugepages {
        /// Memory in free hugepages, MiB.
        free_mb: u64,
        /// Memory the devices need, MiB.
        need_mb: u32,
    },
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InterfaceMissing { vdev, interface, present } => write!(
                f,
                "interface `{interface}` of {vdev} does not exist; expected one of: {}. See \
                 `ip link`",
                present.join(", ")
            ),
            Self::SocketExists(path) => write!(
                f,
                "socket `{path}` exists already; another process serves it, or left it behind: \
                 then rm {path}"
            ),
            Self::SocketDirectory(path) => {
                write!(f, "socket `{path}`: its directory does not exist; make it with mkdir -p")
            }
            Self::PciMissing(address) => write!(
                f,
                "no PCI device at `{address}`; expected an address like 0000:03:00.0, see \
                 scripts/bind-nic"
            ),
            Self::PciDriver { address, driver } => write!(
                f,
                "PCI device {address} is bound to {}; expected vfio-pci, run scripts/bind-nic \
                 {address}",
                driver.as_deref().unwrap_or("no driver")
            ),
            Self::Capability { name, wanted_by } => write!(
                f,
                "{wanted_by} needs the capability {name}; run as root, or give it with \
                 `setcap {name}+ep`"
            ),
            Self::Hugepages { free_mb, need_mb } => write!(
                f,
                "{free_mb} MiB of hugepages are free and {need_mb} MiB are needed; run \
                 `scripts/hugepages up {}`, or use --no-huge",
                need_mb.div_ceil(2)
            ),
        }
    }
}

impl std::error::Error for HostError {}

/// CAP_NET_RAW: to open a packet socket.
pub(super) const NET_RAW: Capability = Capability { name: "cap_net_raw", bit: 13 };

/// A capability of a process (capabilities(7)).
#[derive(Clone, Copy, Debug)]
pub(super) struct Capability {
    name: &'static str,
    bit: u32,
}

/// Whether this thread has it. When the kernel does not say, it is left to the kernel.
pub(super) fn check_capability(capability: Capability, wanted_by: &str) -> Result<(), HostError> {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    match effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()) {
        Some(bits) if bits >> capability.bit & 1 == 0 => {
            Err(HostError::Capability { name: capability.name, wanted_by: wanted_by.to_owned() })
        }
        _ => Ok(()),
    }
}

/// Whether this network namespace has the interface. `/proc` knows, `/sys` may show another
/// namespace.
pub(super) fn check_interface(vdev: &str, interface: &str) -> Result<(), HostError> {
    let Ok(table) = fs::read_to_string(INTERFACES) else { return Ok(()) };
    let present = interfaces(&table);
    if present.iter().any(|name| name == interface) {
        return Ok(());
    }
    Err(HostError::InterfaceMissing {
        vdev: vdev.to_owned(),
        interface: interface.to_owned(),
        present,
    })
}

/// MTU of an interface.
pub(super) fn interface_mtu(interface: &str) -> Option<u16> {
    let mtu: u32 = number(Path::new(&format!("/sys/class/net/{interface}/mtu")))?;
    Some(u16::try_from(mtu).unwrap_or(u16::MAX))
}

/// Frames the kernel has received by an interface since it was made.
pub(super) fn interface_rx_frames(interface: &str) -> Option<u64> {
    rx_frames(&fs::read_to_string(INTERFACES).ok()?, interface)
}

/// Whether a vhost device can make its socket at `path`.
pub(super) fn check_socket(path: &Path) -> Result<(), HostError> {
    if fs::symlink_metadata(path).is_ok() {
        return Err(HostError::SocketExists(path.display().to_string()));
    }
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() && !parent.is_dir() => {
            Err(HostError::SocketDirectory(path.display().to_string()))
        }
        _ => Ok(()),
    }
}

/// Whether there is a PCI device at the address, with a driver DPDK can use.
pub(super) fn check_pci(address: &str) -> Result<(), HostError> {
    let directory = Path::new("/sys/bus/pci/devices").join(address);
    if address.contains('/') || !directory.is_dir() {
        return Err(HostError::PciMissing(address.to_owned()));
    }
    let link = fs::read_link(directory.join("driver")).ok();
    let driver = link.and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    match driver {
        Some(name) if PCI_DRIVERS.contains(&name.as_str()) => Ok(()),
        driver => Err(HostError::PciDriver { address: address.to_owned(), driver }),
    }
}

/// Whether enough memory is free in hugepages of any size.
pub(super) fn check_hugepages(need_mb: u32) -> Result<(), HostError> {
    let free_mb = free_hugepages_kb(Path::new("/sys/kernel/mm/hugepages")) / 1024;
    if free_mb < u64::from(need_mb) {
        return Err(HostError::Hugepages { free_mb, need_mb });
    }
    Ok(())
}

/// Sums `hugepages-<size>kB/free_hugepages` under `root`.
fn free_hugepages_kb(root: &Path) -> u64 {
    let kb = |entry: fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let size_kb: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        let free: u64 = number(&entry.path().join("free_hugepages"))?;
        Some(size_kb * free)
    };
    fs::read_dir(root).into_iter().flatten().flatten().filter_map(kb).sum()
}

/// The names in `/proc/net/dev`: two lines of headings, then `name: numbers`.
fn interfaces(table: &str) -> Vec<String> {
    let names = table.lines().skip(2).filter_map(|line| line.split_once(':'));
    names.map(|(name, _)| name.trim().to_owned()).collect()
}

/// The second number after the name: bytes, packets.
fn rx_frames(table: &str, interface: &str) -> Option<u64> {
    let mut lines = table.lines().filter_map(|line| line.split_once(':'));
    let (_, numbers) = lines.find(|(name, _)| name.trim() == interface)?;
    numbers.split_whitespace().nth(1)?.parse().ok()
}

fn number<T: std::str::FromStr>(file: &Path) -> Option<T> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// The interfaces of the network namespace of this thread, with their counters.
const INTERFACES: &str = "/proc/thread-self/net/dev";
/// Drivers that leave a device to user space, and Mellanox's, which shares it.
const PCI_DRIVERS: &[&str] = &["vfio-pci", "igb_uio", "uio_pci_generic", "mlx5_core", "mlx4_core"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_exists_and_another_does_not() {
        assert_eq!(check_interface("net_af_packet0", "lo"), Ok(()));
        let error = check_interface("net_af_packet0", "foo").unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("interface `foo` of net_af_packet0 does not exist"), "{text}");
        assert!(text.contains("expected one of: ") && text.ends_with("See `ip link`"), "{text}");
    }

    #[test]
    fn the_frames_of_an_interface_are_read_from_its_line() {
        let table = "Inter-| Receive\n face |bytes packets\n  eth0: 70 1 0\n   lo:1402 23 0 0\n";
        assert_eq!(rx_frames(table, "lo"), Some(23));
        assert_eq!(rx_frames(table, "eth"), None);
        assert_eq!(interfaces(table), ["eth0", "lo"]);
    }

    #[test]
    fn a_path_is_no_pci_address() {
        assert_eq!(check_pci("../.."), Err(HostError::PciMissing("../..".to_owned())));
    }

    #[test]
    fn a_socket_needs_its_directory_and_a_free_name() {
        assert!(matches!(
            check_socket(Path::new("/nowhere/x")),
            Err(HostError::SocketDirectory(_))
        ));
        assert!(matches!(check_socket(Path::new("/proc/stat")), Err(HostError::SocketExists(_))));
    }
}
