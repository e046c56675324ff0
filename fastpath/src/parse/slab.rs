//! Equal places for bytes in one allocation, which is taken once. The memory of a place is not
//! touched before it is first written to: places that nobody needs cost address space only.

/// The places.
#[derive(Debug)]
pub(super) struct Slab {
    /// As far as a place has ever been written to.
    bytes: Vec<u8>,
    place_bytes: usize,
}

impl Slab {
    /// So many places of `place_bytes` each.
    pub(super) fn with_capacity(places: u16, place_bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(usize::from(places) * place_bytes), place_bytes }
    }

    /// The first `len` bytes of a place that has been written to.
    pub(super) fn read(&self, place: u16, len: usize) -> &[u8] {
        let start = usize::from(place) * self.place_bytes;
        self.bytes.get(start..start + len).unwrap_or_default()
    }

    /// Writes bytes into a place behind its first `offset` ones; they must fit.
    pub(super) fn write(&mut self, place: u16, offset: usize, bytes: &[u8]) {
        let start = usize::from(place) * self.place_bytes;
        let end = start + self.place_bytes;
        // Within the capacity: the place is one of those that were asked for.
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        let room = self.bytes.get_mut(start + offset..end).unwrap_or_default();
        if let Some(room) = room.get_mut(..bytes.len()) {
            room.copy_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_holds_what_was_written_to_it_and_no_other_does() {
        let mut slab = Slab::with_capacity(4, 8);
        let allocated = slab.bytes.as_ptr();
        slab.write(2, 0, b"abc");
        slab.write(3, 0, b"xxxxxxxx");
        slab.write(0, 0, b"yyyyyyyy");
        slab.write(2, 3, b"defgh");
        assert_eq!(slab.read(2, 8), b"abcdefgh");
        assert_eq!(slab.bytes.as_ptr(), allocated, "no place is allocated later");
    }

    #[test]
    fn bytes_that_do_not_fit_go_nowhere() {
        let mut slab = Slab::with_capacity(2, 4);
        slab.write(0, 0, b"abcd");
        slab.write(1, 0, b"efgh");
        slab.write(0, 2, b"xyz");
        assert_eq!((slab.read(0, 4), slab.read(1, 4)), (&b"abcd"[..], &b"efgh"[..]));
    }
}
