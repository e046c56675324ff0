//! The details of those flows that have shown more than an acknowledgment.
//!
//! Bounded: who finds no room is counted, and passes without being looked into. As many are made as
//! there have been at once, so that memory of the others is not touched.

use super::entry::{DetailIndex, FlowDetail};

/// The details.
#[derive(Debug)]
pub(super) struct Details {
    /// The first two are of nobody.
    all: Vec<FlowDetail>,
    free: Vec<DetailIndex>,
    capacity: usize,
    given: u64,
    /// Asked for when there was none.
    pub(super) refused: u64,
}

/// What a flow without a detail reads.
const BLANK: DetailIndex = DetailIndex::NONE;
/// What a flow that was refused one writes to.
const SPARE: DetailIndex = DetailIndex(1);
const RESERVED: usize = 2;

impl Details {
    /// For so many flows.
    pub(super) fn with_capacity(flows: usize) -> Self {
        let capacity = flows + RESERVED;
        let mut all = Vec::with_capacity(capacity);
        all.extend([FlowDetail::new(0); RESERVED]);
        Self { all, free: Vec::with_capacity(capacity), capacity, given: 0, refused: 0 }
    }

    /// Gives out a new one.
    pub(super) fn take(&mut self) -> Option<DetailIndex> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.all.len() < self.capacity => {
                let index = u32::try_from(self.all.len()).ok()?;
                self.all.push(FlowDetail::new(0));
                DetailIndex(index)
            }
            None => {
                self.refused += 1;
                return None;
            }
        };
        self.given += 1;
        *self.get_mut(index) = FlowDetail::new(self.given);
        Some(index)
    }

    /// Takes one back.
    pub(super) fn give_back(&mut self, index: DetailIndex) {
        if index != BLANK {
            self.free.push(index);
        }
    }

    /// The detail of a flow; a blank one when it has none.
    pub(super) fn get(&self, index: DetailIndex) -> &FlowDetail {
        &self.all[index.0 as usize]
    }

    /// The same, to change it. `index` is one that was given out.
    pub(super) fn get_mut(&mut self, index: DetailIndex) -> &mut FlowDetail {
        debug_assert!(index != BLANK, "the blank one stays blank");
        &mut self.all[index.0 as usize]
    }

    /// A detail of nobody: what is written to it is lost.
    pub(super) fn spare(&mut self) -> &mut FlowDetail {
        let spare = self.get_mut(SPARE);
        *spare = FlowDetail::new(0);
        spare
    }

    /// Details given out now.
    pub(super) fn len(&self) -> usize {
        self.all.len() - self.free.len() - RESERVED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_finds_no_room_is_counted_and_a_place_is_given_again_blank() {
        let mut details = Details::with_capacity(2);
        let [a, b] = [(); 2].map(|()| details.take().unwrap());
        assert_ne!(a, b);
        details.get_mut(a).class.hello = true;
        assert_eq!((details.take(), details.refused, details.len()), (None, 1, 2));
        details.give_back(a);
        let again = details.take().unwrap();
        assert!(!details.get(again).class.hello && details.get(again).number == 3);
        assert!(!details.get(DetailIndex::NONE).class.hello);
    }
}
