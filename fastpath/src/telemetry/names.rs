//! Host names seen in hellos, kept once each: the lcore writes, anybody reads.
//!
//! Bounded: when the table is full a new name gets no id and is counted; its flow is classified all
//! the same.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use crate::burst::HostName;

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
    slots: Arc<[OnceLock<HostName>]>,
}

/// The writing side, owned by one lcore.
#[derive(Debug)]
pub struct NameTable {
    names: Names,
    ids: HashMap<HostNameKey, NameId>,
    /// Names that found no room.
    pub refused: u64,
}

#[derive(Debug, PartialEq, Eq)]
struct HostNameKey(HostName);

impl std::hash::Hash for HostNameKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.as_bytes().hash(state);
    }
}

impl std::borrow::Borrow<[u8]> for HostNameKey {
    fn borrow(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl NameTable {
    /// A table for `capacity` names.
    #[must_use]
    pub fn with_capacity(capacity: u32) -> Self {
        let slots = (0..capacity).map(|_| OnceLock::new()).collect();
        Self { names: Names { slots }, ids: HashMap::with_capacity(capacity as usize), refused: 0 }
    }

    /// The id of `name`, a new one when it was not seen before.
    pub fn intern(&mut self, name: &HostName) -> Option<NameId> {
        if let Some(&id) = self.ids.get(name.as_bytes()) {
            return Some(id);
        }
        let next = u32::try_from(self.ids.len()).ok()?;
        let Some(slot) = self.names.slots.get(self.ids.len()) else {
            self.refused += 1;
            return None;
        };
        slot.get_or_init(|| *name);
        self.ids.insert(HostNameKey(*name), NameId(next));
        Some(NameId(next))
    }

    /// A name, where it is text.
    #[must_use]
    pub fn text(&self, id: NameId) -> Option<&str> {
        let name = self.names.slots.get(id.0 as usize).and_then(OnceLock::get)?;
        std::str::from_utf8(name.as_bytes()).ok()
    }

    /// A reader.
    #[must_use]
    pub fn reader(&self) -> Names {
        self.names.clone()
    }
}

impl Names {
    /// The name as text; bytes that are not UTF-8 are shown as U+FFFD.
    #[must_use]
    pub fn text(&self, id: NameId) -> String {
        let name = self.slots.get(id.0 as usize).and_then(OnceLock::get);
        name.map_or_else(String::new, |n| String::from_utf8_lossy(n.as_bytes()).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_id_and_a_full_table_refuses() {
        let mut table = NameTable::with_capacity(1);
        let (a, b) = (HostName::new(b"a.test").unwrap(), HostName::new(b"b.test").unwrap());
        let id = table.intern(&a).unwrap();
        assert_eq!(table.intern(&a), Some(id));
        assert_eq!(table.intern(&b), None);
        assert_eq!(table.refused, 1);
        assert_eq!(table.reader().text(id), "a.test");
        assert_eq!(table.text(id), Some("a.test"));
    }
}
