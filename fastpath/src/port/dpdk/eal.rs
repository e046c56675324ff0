//! The environment abstraction layer: memory and drivers, once a process.
//!
//! EAL gets one lcore, the thread that opens the port, and that thread keeps the affinity it had.
//! Threads that run the loop are ours; each borrows an lcore number the first time it polls,
//! because a mempool keeps its caches by that number, and gives it back when it ends.

use std::ffi::{CString, c_char, c_int};
use std::fs;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};

use super::error::{DpdkError, Errno};

/// What EAL is started with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EalArgs {
    /// One `--vdev` each.
    pub vdevs: Vec<String>,
    /// One `-a` each; without any, the PCI bus is not looked at.
    pub pci: Vec<String>,
    /// Memory in MiB from ordinary pages, or hugepages, as they are needed, when `None`.
    pub no_huge_mb: Option<u32>,
    /// Tells EAL processes on one machine apart.
    pub file_prefix: String,
}

impl EalArgs {
    /// The command line, program name first.
    fn words(&self) -> Vec<String> {
        let mut words = vec![
            "fermata".to_owned(),
            format!("--lcores=0@({})", allowed_cpus()),
            format!("--file-prefix={}", self.file_prefix),
            "--no-telemetry".to_owned(),
            "--log-level=*:error".to_owned(),
        ];
        match self.no_huge_mb {
            // EAL refuses --in-memory beside --no-huge; --no-shconf does the part that matters
            // here: no files, no second process.
            Some(mb) => {
                words.extend(["--no-huge".to_owned(), "--no-shconf".to_owned(), format!("-m{mb}")]);
            }
            None => words.push("--in-memory".to_owned()),
        }
        if self.vdevs.iter().any(|vdev| vdev.starts_with(VIRTIO_USER)) {
            // Its back end maps this memory, and takes no more than eight files of it.
            words.push("--single-file-segments".to_owned());
        }
        if self.pci.is_empty() {
            words.push("--no-pci".to_owned());
        }
        words.extend(self.pci.iter().map(|address| format!("--allow={address}")));
        words.extend(self.vdevs.iter().map(|spec| format!("--vdev={spec}")));
        words
    }
}

/// Proof that EAL is initialised.
///
/// It stays so until the process ends: `rte_eal_cleanup` unmaps the memory of every frame, and only
/// a count per frame could prove that nobody owns one. With `--in-memory` and `--no-shconf` nothing
/// outlives the process, and what has to end in order, the devices, does.
#[derive(Debug)]
pub struct Eal(());

impl Eal {
    /// Starts EAL.
    ///
    /// # Errors
    /// When EAL was started before in this process, or refuses.
    pub fn init(arguments: &EalArgs) -> Result<Self, DpdkError> {
        let words = arguments.words();
        let strings: Vec<CString> = words
            .iter()
            .map(|word| {
                CString::new(word.as_str()).map_err(|_| DpdkError::NulInArgument(word.clone()))
            })
            .collect::<Result<_, _>>()?;
        let count =
            c_int::try_from(strings.len()).expect("a command line has fewer than 2^31 words");
        // Written and read here only; the swap alone decides who is first, so no order is needed.
        if STARTED.swap(true, Ordering::Relaxed) {
            return Err(DpdkError::SecondEal);
        }
        let mut pointers: Vec<*mut c_char> = strings.into_iter().map(CString::into_raw).collect();
        // SAFETY: wants `count` pointers to C strings that it may reorder (`pointers` is ours) and
        // keep (the strings are leaked by `into_raw`); and wants to be called once a process:
        // `STARTED` sees to that.
        let parsed = unsafe { dpdk_sys::rte_eal_init(count, pointers.as_mut_ptr()) };
        if parsed < 0 {
            return Err(DpdkError::Eal { errno: Errno::last(), arguments: words });
        }
        Ok(Self(()))
    }

    /// Gives this thread an lcore number, so that it has a cache in each mempool. After the first
    /// time this costs a load and a branch. Without a number, when all 128 are taken, everything
    /// works and is slower.
    #[inline]
    pub(super) fn enter_thread(&self) {
        LCORE.with(|_| ());
    }
}

/// An lcore number that this thread borrows until it ends.
struct LcoreNumber {
    borrowed: bool,
    /// The number belongs to the thread.
    _not_send: PhantomData<*const ()>,
}

impl LcoreNumber {
    /// Borrows one, unless the thread has one of its own: the thread that initialised EAL.
    fn borrow() -> Self {
        // SAFETY: reads a thread-local integer, which every thread has from its start.
        let present = unsafe { dpdk_sys::shim_lcore_id() } != dpdk_sys::SHIM_LCORE_ID_ANY;
        // SAFETY: wants a thread without an lcore number, as was just seen; says no when EAL is not
        // initialised.
        let borrowed = !present && unsafe { dpdk_sys::rte_thread_register() } == 0;
        Self { borrowed, _not_send: PhantomData }
    }
}

impl Drop for LcoreNumber {
    fn drop(&mut self) {
        if self.borrowed {
            // SAFETY: wants to be called by the thread that registered: thread-locals are dropped
            // by theirs.
            unsafe { dpdk_sys::rte_thread_unregister() };
        }
    }
}

thread_local! {
    static LCORE: LcoreNumber = LcoreNumber::borrow();
}

const VIRTIO_USER: &str = "net_virtio_user";

static STARTED: AtomicBool = AtomicBool::new(false);

/// The processors this thread may use, as the kernel lists them: `0-3,8`.
fn allowed_cpus() -> String {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    list.map_or_else(|| "0".to_owned(), |list| list.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_a_back_end_maps_is_in_few_files() {
        let virtio = "net_virtio_user0,path=/run/v0.sock".to_owned();
        let shared = EalArgs { vdevs: vec![virtio], ..EalArgs::default() }.words();
        assert!(shared.contains(&"--single-file-segments".to_owned()));
    }

    #[test]
    fn without_pci_devices_the_pci_bus_is_left_alone() {
        let none = EalArgs { no_huge_mb: Some(64), ..EalArgs::default() }.words();
        assert!(none.contains(&"--no-pci".to_owned()) && none.contains(&"-m64".to_owned()));
        assert!(!none.contains(&"--in-memory".to_owned()));
        let one = EalArgs { pci: vec!["0000:03:00.0".to_owned()], ..EalArgs::default() }.words();
        assert!(
            one.contains(&"--allow=0000:03:00.0".to_owned())
                && one.contains(&"--in-memory".to_owned())
        );
    }
}
