//! The frame of every software port: bytes in a recycled buffer.
//!
//! A [`Pool`] keeps the buffers of frames that have ended, so that a steady stream of frames
//! allocates nothing. Both are bounded: a pool keeps at most [`POOL_BUFFERS`] buffers of at most
//! [`KEPT_BYTES`] each.

use crate::burst::Frame;

/// Buffers a pool keeps, at most.
const POOL_BUFFERS: usize = 1024;

/// A buffer above this size is freed instead of kept: jumbo frames are rare, and one burst of the
/// longest would otherwise hold its memory for good.
const KEPT_BYTES: usize = 16 * 1024;

/// What a new buffer has room for: a frame of the usual MTU with tags.
const NEW_BYTES: usize = 2048;

/// The bytes of one frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Buffer(Vec<u8>);

impl Buffer {
    /// The whole frame, to rewrite.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// Shortens the frame to `len` bytes; no effect on a shorter one.
    pub fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }
}

impl Frame for Buffer {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
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
    pub fn copy(&mut self, bytes: &[u8]) -> Buffer {
        let mut buffer = self.free.pop().unwrap_or_else(|| Buffer(Vec::with_capacity(NEW_BYTES)));
        buffer.0.clear();
        buffer.0.extend_from_slice(bytes);
        buffer
    }

    /// Takes back the buffer of a frame that has ended.
    pub fn free(&mut self, buffer: Buffer) {
        if self.free.len() < POOL_BUFFERS && buffer.0.capacity() <= KEPT_BYTES {
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
        let first = pool.copy(&[1; 100]);
        let address = first.bytes().as_ptr();
        pool.free(first);
        let second = pool.copy(&[2; 60]);
        assert_eq!(second.bytes(), [2; 60]);
        assert_eq!(second.bytes().as_ptr(), address);
    }

    #[test]
    fn a_pool_does_not_keep_a_huge_buffer() {
        let mut pool = Pool::default();
        pool.free(Buffer(Vec::with_capacity(KEPT_BYTES + 1)));
        assert!(pool.free.is_empty());
    }
}
