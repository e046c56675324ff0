//! A window of fixed size that slides over the bytes of a reader.

use std::io::{self, Read};

/// Size of the window. Each read asks for all that is free, which is at least half of it.
pub(super) const WINDOW_BYTES: usize = 1024 * 1024;

/// The bytes of a reader from the current position on, as far as they have been read.
pub(super) struct Window {
    source: Box<dyn Read + Send>,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// Position of `start` in the source.
    offset: u64,
}

impl Window {
    pub(super) fn new(source: Box<dyn Read + Send>) -> Self {
        let buffer = vec![0; WINDOW_BYTES].into_boxed_slice();
        Self { source, buffer, start: 0, end: 0, offset: 0 }
    }

    /// Reads on until `wanted` bytes are in the window. `false` when the source ends before.
    ///
    /// # Panics
    /// When `wanted` is more than half of the window: no caller may follow a length from the file
    /// that far.
    pub(super) fn fill(&mut self, wanted: usize) -> io::Result<bool> {
        if self.bytes().len() >= wanted {
            return Ok(true);
        }
        assert!(wanted <= WINDOW_BYTES / 2, "a record of {wanted} bytes was not bounded");
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        while self.end < wanted {
            match self.source.read(&mut self.buffer[self.end..]) {
                Ok(0) => return Ok(false),
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// What has been read from the current position on.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Moves on by `len` bytes that are in the window.
    pub(super) fn consume(&mut self, len: usize) {
        debug_assert!(len <= self.end - self.start);
        self.start += len;
        self.offset += len as u64;
    }

    /// Moves on by `len` bytes without keeping them. `Ok(missing)` when the source ended that much
    /// before.
    pub(super) fn skip(&mut self, len: u64) -> io::Result<u64> {
        let mut left = len;
        while left > 0 {
            let here = self.bytes().len().min(usize::try_from(left).unwrap_or(usize::MAX));
            self.consume(here);
            left -= here as u64;
            if left > 0 && !self.fill(1)? {
                break;
            }
        }
        Ok(left)
    }

    /// Position of the first byte of the window in the source.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// How much of the source has been read.
    pub(super) fn read_bytes(&self) -> u64 {
        self.offset + (self.end - self.start) as u64
    }
}
