//! Host names and ALPN offers seen in hellos, kept once each: the lcore writes, anybody reads.
//!
//! Bounded: when the table is full a new name gets no id and is counted; its flow is classified all
//! the same.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};

use foldhash::fast::RandomState;

use crate::burst::NAME_BYTES_MAX;

/// The number of a name in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameId(u32);

impl NameId {
    /// As an index, below the capacity of its table.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The readable side of a table of names. A slot is written once, before its id is given to anyone.
#[derive(Clone, Debug)]
pub struct Names {
    slots: Arc<[OnceLock<Name>]>,
}

/// The writing side, owned by one lcore.
#[derive(Debug)]
pub struct NameTable {
    names: Names,
    ids: HashMap<Name, NameId, RandomState>,
    /// Names that found no room.
    pub refused: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Name {
    bytes: [u8; NAME_BYTES_MAX],
    len: u8,
}

impl Name {
    fn new(name: &[u8]) -> Option<Self> {
        let len = u8::try_from(name.len()).ok()?;
        let mut bytes = [0; NAME_BYTES_MAX];
        bytes[..name.len()].copy_from_slice(name);
        Some(Self { bytes, len })
    }
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let name: &[u8] = self.borrow();
        name.hash(state);
    }
}

impl Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl NameTable {
    /// A table for `capacity` names.
    #[must_use]
    pub fn with_capacity(capacity: u32) -> Self {
        let slots = (0..capacity).map(|_| OnceLock::new()).collect();
        let ids = HashMap::with_capacity_and_hasher(capacity as usize, RandomState::default());
        Self { names: Names { slots }, ids, refused: 0 }
    }

    /// The id of a name of at most [`NAME_BYTES_MAX`] bytes, a new one when it was not seen before.
    pub fn intern(&mut self, name: &[u8]) -> Option<NameId> {
        if let Some(&id) = self.ids.get(name) {
            return Some(id);
        }
        self.add(Name::new(name)?)
    }

    /// Not in line: a name is large, and seldom new.
    #[cold]
    fn add(&mut self, name: Name) -> Option<NameId> {
        let next = u32::try_from(self.ids.len()).ok()?;
        let Some(slot) = self.names.slots.get(self.ids.len()) else {
            self.refused += 1;
            return None;
        };
        slot.get_or_init(|| name);
        self.ids.insert(name, NameId(next));
        Some(NameId(next))
    }

    /// A name, where it is text.
    #[must_use]
    pub fn text(&self, id: NameId) -> Option<&str> {
        std::str::from_utf8(self.names.bytes(id)).ok()
    }

    /// A reader.
    #[must_use]
    pub fn reader(&self) -> Names {
        self.names.clone()
    }
}

impl Names {
    /// The name as it stood on the wire.
    #[must_use]
    pub fn bytes(&self, id: NameId) -> &[u8] {
        self.slots.get(id.index()).and_then(OnceLock::get).map_or(&[], Borrow::borrow)
    }

    /// The name as text; bytes that are not UTF-8 are shown as U+FFFD.
    #[must_use]
    pub fn text(&self, id: NameId) -> String {
        String::from_utf8_lossy(self.bytes(id)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_id_and_a_full_table_refuses() {
        let mut table = NameTable::with_capacity(1);
        let id = table.intern(b"a.test").unwrap();
        assert_eq!(table.intern(b"a.test"), Some(id));
        assert_eq!(table.intern(b"b.test"), None);
        assert_eq!(table.refused, 1);
        assert_eq!(table.reader().text(id), "a.test");
        assert_eq!(table.text(id), Some("a.test"));
    }
}
