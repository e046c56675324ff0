//! A pool of mbufs.

use std::ffi::{CString, c_int};
use std::ptr::NonNull;

use super::config::{CACHE_MBUFS, PoolSize};
use super::eal::Eal;
use super::error::{DpdkError, Errno};
use super::mbuf::Mbuf;
use crate::burst::Frame;

/// A pool of mbufs that devices receive into. It lives until the process ends, as EAL does: that is
/// what allows an [`Mbuf`](super::Mbuf) to carry no reference to its pool.
#[derive(Debug)]
pub(super) struct Mempool {
    pool: NonNull<dpdk_sys::rte_mempool>,
    socket: c_int,
}

// SAFETY: a pool belongs to no thread. `rte_pktmbuf_pool_create` makes it with the default handler
// `ring_mp_mc`, many producers and many consumers, and a thread only touches the cache of its own
// lcore number.
unsafe impl Send for Mempool {}

// SAFETY: what `&Mempool` allows, counting and naming the pool to a device, DPDK allows from any
// thread.
unsafe impl Sync for Mempool {}

impl Mempool {
    /// Takes the memory for all mbufs, near processor socket `socket`.
    pub(super) fn new(_eal: &Eal, size: PoolSize, socket: c_int) -> Result<Self, DpdkError> {
        let room = size.frame_bytes.saturating_add(HEADROOM_BYTES);
        let name = CString::new(format!("frames{socket}")).expect("a number holds no NUL");
        // SAFETY: wants an initialised EAL (`_eal` proves it) and a C string, which it copies;
        // checks the rest.
        let pool = unsafe {
            dpdk_sys::rte_pktmbuf_pool_create(
                name.as_ptr(),
                size.mbufs,
                CACHE_MBUFS,
                0,
                room,
                socket,
            )
        };
        let error = || DpdkError::Mempool { errno: Errno::last(), mbufs: size.mbufs };
        NonNull::new(pool).map(|pool| Self { pool, socket }).ok_or_else(error)
    }

    /// The pool, for a device to receive into.
    pub(super) fn as_ptr(&self) -> *mut dpdk_sys::rte_mempool {
        self.pool.as_ptr()
    }

    /// The processor socket it is near, or "any".
    pub(super) fn socket(&self) -> c_int {
        self.socket
    }

    /// A frame with a copy of `bytes`; `None` when no mbuf is free, or the bytes do not fit into one.
    pub(super) fn frame(&self, bytes: &[u8]) -> Option<Mbuf> {
        let len = u16::try_from(bytes.len()).ok()?;
        // SAFETY: wants a valid pool; a pool is never freed.
        let mbuf = NonNull::new(unsafe { dpdk_sys::shim_pktmbuf_alloc(self.pool.as_ptr()) })?;
        // SAFETY: wants a valid mbuf of a `Mempool` that is ours alone: just taken from this one.
        let mut frame = unsafe { Mbuf::from_raw(mbuf) };
        // SAFETY: wants a valid mbuf; checks that there is room.
        let room = unsafe { dpdk_sys::shim_pktmbuf_append(mbuf.as_ptr(), len) };
        if room.is_null() {
            return None;
        }
        frame.bytes_mut().copy_from_slice(bytes);
        Some(frame)
    }

    /// Mbufs that are out: in a device's ring, or owned as an [`Mbuf`](super::Mbuf). Walks the
    /// caches.
    pub(super) fn in_use(&self) -> u32 {
        // SAFETY: wants a valid pool; a pool is never freed.
        unsafe { dpdk_sys::rte_mempool_in_use_count(self.pool.as_ptr()) }
    }
}

/// Room before the frame, which drivers and VLAN insertion use.
#[expect(clippy::cast_possible_truncation, reason = "128, a constant of the build")]
const HEADROOM_BYTES: u16 = dpdk_sys::RTE_PKTMBUF_HEADROOM as u16;
