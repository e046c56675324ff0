//! The bytes of one protocol layer, without those around it.

/// A header and what is behind it, as far as the layer around it reaches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layer<'a> {
    /// Where it starts in the frame, or in the joined datagram.
    pub(super) offset: usize,
    /// Its bytes, as far as the capture holds them.
    pub(super) bytes: &'a [u8],
    /// How many bytes it had on the wire; never fewer than `bytes`.
    pub(super) wire_bytes: usize,
}

impl<'a> Layer<'a> {
    /// A frame or a datagram that had `wire_bytes` on the wire.
    pub(super) fn whole(bytes: &'a [u8], wire_bytes: usize) -> Self {
        Self { offset: 0, bytes, wire_bytes: wire_bytes.max(bytes.len()) }
    }

    /// Its first `N` bytes, or `None` when it has fewer.
    pub(super) fn first<const N: usize>(&self) -> Option<&'a [u8; N]> {
        self.bytes.first_chunk()
    }

    /// Two bytes at `offset`.
    pub(super) fn be_u16(&self, offset: usize) -> Option<u16> {
        self.bytes.get(offset..)?.first_chunk().copied().map(u16::from_be_bytes)
    }

    /// What is behind the first `bytes`, or `None` when it does not hold as many.
    pub(super) fn behind(self, bytes: usize) -> Option<Self> {
        Some(Self {
            offset: self.offset + bytes,
            bytes: self.bytes.get(bytes..)?,
            wire_bytes: self.wire_bytes - bytes,
        })
    }

    /// The same with the length that its header promises: padding is cut off, and what a capture
    /// has cut off is remembered.
    pub(super) fn of_length(self, wire_bytes: usize) -> Self {
        Self { bytes: self.bytes.get(..wire_bytes).unwrap_or(self.bytes), wire_bytes, ..self }
    }

    /// Where it ends on the wire, counted as `offset`.
    pub(super) fn wire_end(&self) -> usize {
        self.offset + self.wire_bytes
    }
}
