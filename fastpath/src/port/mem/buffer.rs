//! The frame of every software port: bytes in a recycled buffer.
//!
//! A [`Pool`] keeps the buffers of frames that have ended, so that a steady stream of frames
//! allocates nothing. Both are bounded: a pool keeps at most [`POOL_BUFFERS`] buffers of at most
//! [`KEPT_BYTES`] each.

use crate::burst::{Frame, Link};

/// Buffers a pool keeps, at most.
const POOL_BUFFERS: usize = 1024;

/// A buffer above this size is freed instead of kept: jumbo frames are rare, and one burst of the
/// longest would otherwise hold its memory for good.
const KEPT_BYTES: usize = 16 * 1024;

/// What a new buffer has room for: a frame of the usual MTU with tags.
const NEW_BYTES: usize = 2048;

/// The bytes of one frame, and what they begin with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Buffer {
    bytes: Vec<u8>,
    link: Link,
}

impl Buffer {
    /// Shortens the frame to `len` bytes; no effect on a shorter one.
    pub fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
    }
}

impl Frame for Buffer {
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    fn link(&self) -> Link {
        self.link
    }
}

impl From<Vec<u8>> for Buffer {
    /// An Ethernet frame.
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, link: Link::Ethernet }
    }
}

/// The free buffers of one port.
#[derive(Debug, Default)]
pub struct Pool {
    free: Vec<Buffer>,
}

impl Pool {
    /// A buffer with a copy of `bytes`; it allocates only when no free buffer is large enough.
    #[must_use]
    pub fn copy(&mut self, link: Link, bytes: &[u8]) -> Buffer {
        let mut buffer = self.free.pop().unwrap_or_else(|| Vec::with_capacity(NEW_BYTES).into());
        buffer.link = link;
        buffer.bytes.clear();
        buffer.bytes.extend_from_slice(bytes);
        buffer
    }

    /// Takes back the buffer of a frame that has ended.
    pub fn free(&mut self, buffer: Buffer) {
        if self.free.len() < POOL_BUFFERS && buffer.bytes.capacity() <= KEPT_BYTES {
            self.free.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freed_buffer_is_used_again() {
        let mut pool = Pool::default();
        let first = pool.copy(Link::Ethernet, &[1; 100]);
        let address = first.bytes().as_ptr();
        pool.free(first);
        let second = pool.copy(Link::Null, &[2; 60]);
        assert_eq!((second.bytes(), second.link()), (&[2; 60][..], Link::Null));
        assert_eq!(second.bytes().as_ptr(), address);
    }

    #[test]
    fn a_pool_does_not_keep_a_huge_buffer() {
        let mut pool = Pool::default();
        pool.free(Vec::with_capacity(KEPT_BYTES + 1).into());
        assert!(pool.free.is_empty());
    }
}
