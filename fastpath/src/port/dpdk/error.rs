//! Everything that can be wrong when a DPDK port opens: what was wrong, what was expected, what to
//! do.

use std::ffi::{CStr, c_int};
use std::fmt;

use super::host::HostError;

/// Why a DPDK port does not open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DpdkError {
    /// No device was given.
    NoDevice,
    /// A wire has two ends, and this many devices were given.
    Unpaired(usize),
    /// Two vdevs have this name.
    DuplicateVdev(String),
    /// The vdev specification has no `iface=`, or no name at all.
    VdevWithoutInterface(String),
    /// The host lacks something.
    Host(HostError),
    /// The memory limit is below what the devices need.
    Memory {
        /// The limit, MiB.
        given_mb: u32,
        /// What they need, MiB.
        need_mb: u32,
    },
    /// An argument holds a NUL byte.
    NulInArgument(String),
    /// EAL was initialised before in this process.
    SecondEal,
    /// EAL refused to start.
    Eal {
        /// Its reason.
        errno: Errno,
        /// What it was given.
        arguments: Vec<String>,
    },
    /// EAL started, but made no device of that name.
    DeviceMissing(String),
    /// The device cannot carry frames of that size.
    Mtu {
        /// The device.
        device: String,
        /// What was asked for.
        wanted: u16,
        /// What it can do.
        max: u32,
    },
    /// The mempool could not be made.
    Mempool {
        /// Its reason.
        errno: Errno,
        /// Mbufs it should have had.
        mbufs: u32,
    },
    /// The device refused a step of its configuration.
    Device {
        /// The device.
        device: String,
        /// The step, by the name of the function.
        step: &'static str,
        /// Its reason.
        errno: Errno,
    },
}

impl From<HostError> for DpdkError {
    fn from(error: HostError) -> Self {
        Self::Host(error)
    }
}

impl fmt::Display for DpdkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDevice => {
                write!(f, "no device was given; expected --vdev SPEC or --pci ADDRESS")
            }
            Self::Unpaired(devices) => write!(
                f,
                "{devices} devices were given; a wire has two ends, so expected an even number \
                 (or --mode observe)"
            ),
            Self::DuplicateVdev(name) => {
                write!(f, "vdev `{name}` is given twice; expected a number of its own for each")
            }
            Self::VdevWithoutInterface(spec) => write!(
                f,
                "vdev `{spec}`: expected DRIVERn,iface=NAME, e.g. net_af_packet0,iface=eth1"
            ),
            Self::Host(error) => error.fmt(f),
            Self::Memory { given_mb, need_mb } => write!(
                f,
                "--memory {given_mb} is too little; these devices and this MTU need {need_mb} MiB"
            ),
            Self::NulInArgument(argument) => write!(f, "argument {argument:?} holds a NUL byte"),
            Self::SecondEal => {
                write!(f, "EAL was initialised before; a process can do that once")
            }
            Self::Eal { errno, arguments } => write!(
                f,
                "EAL did not start: {errno}; it was given `{}`. What it printed above says more; a \
                 driver it cannot parse does not exist (`ls /usr/lib/*/dpdk/pmds-*` lists them)",
                arguments.join(" ")
            ),
            Self::DeviceMissing(name) => write!(
                f,
                "EAL made no device `{name}`; expected a network device, see what `dpdk-testpmd` \
                 says of it"
            ),
            Self::Mtu { device, wanted, max } => {
                write!(f, "{device} cannot carry an MTU of {wanted}; expected at most {max}")
            }
            Self::Mempool { errno, mbufs } => write!(
                f,
                "no memory for {mbufs} mbufs: {errno}; take more with `scripts/hugepages up`, or \
                 give more with --memory"
            ),
            Self::Device { device, step, errno } => write!(f, "{device}: {step} failed: {errno}"),
        }
    }
}

impl std::error::Error for DpdkError {}

/// An error number of the kernel or of DPDK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    /// What DPDK left in `rte_errno` on this thread.
    pub(super) fn last() -> Self {
        // SAFETY: reads a thread-local integer, which every thread has from its start.
        Self(unsafe { dpdk_sys::shim_errno() })
    }

    /// Turns a return value, zero or a negative number, into a result.
    pub(super) fn check(returned: c_int) -> Result<(), Self> {
        if returned < 0 { Err(Self(-returned)) } else { Ok(()) }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: takes any integer; gives a string that is valid until this thread calls it again.
        let text = unsafe { dpdk_sys::rte_strerror(self.0) };
        // SAFETY: `rte_strerror` never gives null, ends its text with NUL, and is not called in
        // between.
        let text = unsafe { CStr::from_ptr(text) };
        write!(f, "{} (error {})", text.to_string_lossy(), self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_number_has_its_text() {
        assert_eq!(Errno(12).to_string(), "Cannot allocate memory (error 12)");
    }
}
