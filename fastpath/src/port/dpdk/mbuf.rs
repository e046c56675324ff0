//! One frame in DPDK memory.

use std::ptr::NonNull;

use crate::burst::Frame;

/// A frame in DPDK memory; owned, and freed to its mempool when dropped.
///
/// The mempool makes an mbuf as large as the longest frame, so a frame is one segment. Should a
/// driver chain segments all the same, `bytes` is the first of them, and the whole chain is sent or
/// freed.
#[repr(transparent)]
#[derive(Debug)]
pub struct Mbuf(NonNull<dpdk_sys::rte_mbuf>);

// SAFETY: an mbuf belongs to no thread, only to its owner. Freeing it puts it into the cache of the
// freeing thread's own lcore number, or into the pool's ring, which takes many producers
// (`Mempool`).
unsafe impl Send for Mbuf {}

impl Mbuf {
    /// Takes ownership of what a device has received.
    ///
    /// # Safety
    /// `mbuf` is a valid mbuf of a [`Mempool`](super::mempool::Mempool) that nobody else owns or
    /// refers to.
    #[inline]
    pub(super) const unsafe fn from_raw(mbuf: NonNull<dpdk_sys::rte_mbuf>) -> Self {
        Self(mbuf)
    }

    /// Length of the frame with all its segments, bytes.
    #[inline]
    pub(super) fn wire_bytes(&self) -> u32 {
        self.header().pkt_len
    }

    /// Where the bytes of the first segment start, and how many they are.
    #[inline]
    fn data(&self) -> (*mut u8, usize) {
        let header = self.header();
        // SAFETY: wants the result inside one allocation: the driver set `data_off` inside the
        // buffer.
        let start = unsafe { header.buf_addr.cast::<u8>().add(usize::from(header.data_off)) };
        (start, usize::from(header.data_len))
    }

    /// Notes the queue of its device that it came in by, in the field where DPDK keeps the queue
    /// that a frame will leave by (`rte_event_eth_tx_adapter_txq_set`).
    #[inline]
    pub(super) fn set_queue(&mut self, queue: u16) {
        // SAFETY: the pointer is valid and ours alone (`from_raw`); `&mut self` keeps others away.
        let header = unsafe { self.0.as_mut() };
        // A union of plain numbers, of which a driver has written another: writing needs nothing.
        header.__bindgen_anon_2.hash.txadapter.txq = queue;
    }

    /// The queue that was noted.
    #[inline]
    pub(super) fn queue(&self) -> u16 {
        let noted = self.header().__bindgen_anon_2;
        // SAFETY: any bits are a number; mempool memory is initialised.
        let hash = unsafe { noted.hash };
        // SAFETY: likewise.
        let adapter = unsafe { hash.txadapter };
        adapter.txq
    }

    #[inline]
    fn header(&self) -> &dpdk_sys::rte_mbuf {
        // SAFETY: the pointer is valid and ours alone (`from_raw`); `&self` keeps the mbuf
        // unchanged meanwhile.
        unsafe { self.0.as_ref() }
    }
}

impl Frame for Mbuf {
    #[inline]
    fn bytes(&self) -> &[u8] {
        let (start, len) = self.data();
        // SAFETY: wants `len` initialised bytes: the driver wrote them (fresh pool memory is zero),
        // and they end inside the buffer. Nobody changes them while `&self` lives: the mbuf is ours
        // alone.
        unsafe { std::slice::from_raw_parts(start, len) }
    }

    #[inline]
    fn bytes_mut(&mut self) -> &mut [u8] {
        let (start, len) = self.data();
        // SAFETY: as in `bytes`; and nobody else reads or writes them while `&mut self` lives.
        unsafe { std::slice::from_raw_parts_mut(start, len) }
    }
}

impl Drop for Mbuf {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: wants a valid mbuf that is not used afterwards: ours alone (`from_raw`), and gone
        // after this.
        unsafe { dpdk_sys::shim_pktmbuf_free(self.0.as_ptr()) };
    }
}

const _: () = assert!(size_of::<Mbuf>() == size_of::<*mut dpdk_sys::rte_mbuf>());
