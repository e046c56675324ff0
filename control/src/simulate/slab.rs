//! Things that come and go, at places that are used again. An id of what has gone finds nothing,
//! so that a timer need not be taken back when its subject ends.

use std::marker::PhantomData;

/// The place of a `T`, and which of those it has held.
pub(super) struct Id<T> {
    index: u32,
    generation: u32,
    of: PhantomData<fn() -> T>,
}

/// The places.
#[derive(Debug)]
pub(super) struct Slab<T> {
    places: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub(super) fn insert(&mut self, value: T) -> Id<T> {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push((0, None));
            u32::try_from(self.places.len() - 1).expect("memory ends before 2^32 places")
        });
        let (generation, place) = &mut self.places[index as usize];
        *place = Some(value);
        Id { index, generation: *generation, of: PhantomData }
    }

    pub(super) fn get(&self, id: Id<T>) -> Option<&T> {
        let (generation, place) = self.places.get(id.index as usize)?;
        place.as_ref().filter(|_| *generation == id.generation)
    }

    pub(super) fn get_mut(&mut self, id: Id<T>) -> Option<&mut T> {
        let (generation, place) = self.places.get_mut(id.index as usize)?;
        place.as_mut().filter(|_| *generation == id.generation)
    }

    pub(super) fn remove(&mut self, id: Id<T>) -> Option<T> {
        self.get(id)?;
        let (generation, place) = &mut self.places[id.index as usize];
        *generation = generation.wrapping_add(1);
        self.free.push(id.index);
        place.take()
    }

    /// All of them, in order of their places.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Id<T>, &T)> {
        self.places.iter().enumerate().filter_map(|(index, (generation, place))| {
            let index = u32::try_from(index).ok()?;
            Some((Id { index, generation: *generation, of: PhantomData }, place.as_ref()?))
        })
    }
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }
}

impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Id<T> {}

impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.index, self.generation) == (other.index, other.generation)
    }
}

impl<T> Eq for Id<T> {}

impl<T> std::hash::Hash for Id<T> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (self.index, self.generation).hash(state);
    }
}

impl<T> std::fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_what_has_gone_finds_nothing() {
        let mut slab = Slab::default();
        let first = slab.insert('a');
        assert_eq!(slab.remove(first), Some('a'));
        let second = slab.insert('b');
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get(second), Some(&'b'));
        assert_eq!(slab.iter().count(), 1);
    }
}
