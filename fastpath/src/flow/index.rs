//! Where a flow is kept: from the hash of its key to its slot in the table.
//!
//! Groups of 32 places. The tags of a group, 16 bits of each hash, fill one cache line and are
//! compared at once. A key belongs to the first of two groups that its hash names, or to the second
//! when that one is full. There are more than twice as many places as flows, so that both are full
//! as good as never; then the flow finds no place.
//!
//! Nobody but the table knows the keys: a tag that is equal is a candidate, no more.

use crate::burst::FlowId;
use crate::hw::{self, MatchTags, TAGS, Tags};

/// The index.
#[derive(Debug)]
pub(super) struct Index {
    tags: Vec<Tags>,
    flows: Vec<Places>,
    /// Flows in it.
    len: usize,
    match_tags: MatchTags,
}

/// The hash of a key. The low 48 bits name two groups, the high 16 are the tag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct KeyHash(pub(super) u64);

/// The flows of a group, each in the place of its tag.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Places([FlowId; TAGS]);

/// A place without a flow.
const FREE: u16 = 0;
/// Places for each flow, at least.
const PLACES_PER_FLOW: usize = 2;

impl Index {
    /// For so many flows. All memory is taken here.
    pub(super) fn with_capacity(flows: usize, match_tags: MatchTags) -> Self {
        let groups = (flows * PLACES_PER_FLOW).div_ceil(TAGS) + 1;
        Self {
            tags: vec![Tags([FREE; TAGS]); groups],
            flows: vec![Places([FlowId(0); TAGS]); groups],
            len: 0,
            match_tags,
        }
    }

    /// Flows in it.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Begins to load what [`likely`](Self::likely) will look at.
    #[inline]
    pub(super) fn prefetch(&self, hash: KeyHash) {
        let [group, _] = self.groups(hash);
        hw::prefetch(&self.tags[group]);
        hw::prefetch(&self.flows[group]);
    }

    /// The flow that is likely to be found: the first candidate of the first group.
    #[inline]
    pub(super) fn likely(&self, hash: KeyHash) -> Option<FlowId> {
        let [group, _] = self.groups(hash);
        let lane = Lanes((self.match_tags)(&self.tags[group], hash.tag())).next()?;
        Some(self.flows[group].0[lane])
    }

    /// The flow of this hash that is the one sought.
    #[inline]
    pub(super) fn find(
        &self,
        hash: KeyHash,
        mut is_sought: impl FnMut(FlowId) -> bool,
    ) -> Option<FlowId> {
        self.groups(hash).into_iter().find_map(|group| {
            let lanes = Lanes((self.match_tags)(&self.tags[group], hash.tag()));
            lanes.map(|lane| self.flows[group].0[lane]).find(|&flow| is_sought(flow))
        })
    }

    /// Puts a flow in that is not there; false when there is no place for it.
    pub(super) fn insert(&mut self, hash: KeyHash, flow: FlowId) -> bool {
        for group in self.groups(hash) {
            if let Some(lane) = Lanes((self.match_tags)(&self.tags[group], FREE)).next() {
                self.tags[group].0[lane] = hash.tag();
                self.flows[group].0[lane] = flow;
                self.len += 1;
                return true;
            }
        }
        false
    }

    /// Takes a flow out, if it is there.
    pub(super) fn remove(&mut self, hash: KeyHash, flow: FlowId) {
        for group in self.groups(hash) {
            let mut lanes = Lanes((self.match_tags)(&self.tags[group], hash.tag()));
            if let Some(lane) = lanes.find(|&lane| self.flows[group].0[lane] == flow) {
                self.tags[group].0[lane] = FREE;
                self.len -= 1;
                return;
            }
        }
    }

    /// The two groups of a hash.
    #[inline]
    fn groups(&self, hash: KeyHash) -> [usize; 2] {
        // 32 bits of the hash as a fraction of the groups: no division.
        let part = |bits: u64| ((bits & 0xffff_ffff) * self.tags.len() as u64) >> 32;
        #[expect(clippy::cast_possible_truncation, reason = "less than the number of groups")]
        let groups = [hash.0, hash.0 >> 16].map(|bits| part(bits) as usize);
        groups
    }
}

impl KeyHash {
    /// The tag, which is never that of a free place.
    #[inline]
    fn tag(self) -> u16 {
        let [.., low, high] = self.0.to_le_bytes();
        u16::from_le_bytes([low | 1, high])
    }
}

/// The places of a group that have matched, a bit each.
struct Lanes(u32);

impl Iterator for Lanes {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let lane = self.0.trailing_zeros() as usize;
        // Clears the lowest bit that is set.
        self.0 &= self.0.wrapping_sub(1);
        (lane < TAGS).then_some(lane)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_group_that_is_full_leaves_its_flows_to_the_second_one() {
        let mut index = Index::with_capacity(64, hw::match_tags());
        let crowded = KeyHash(0);
        let second = |n: u64| KeyHash(n << 50 | 0xffff_0000_0000);
        let flows = |n: u32| (0..n).map(FlowId);
        assert_ne!(index.groups(second(1)), index.groups(crowded));
        assert!(flows(32).all(|flow| index.insert(crowded, flow)));
        assert!(!index.insert(crowded, FlowId(32)), "both groups of this hash are one");
        assert!(index.insert(second(1), FlowId(33)));
        assert_eq!(index.find(second(1), |_| true), Some(FlowId(33)));
        index.remove(second(1), FlowId(33));
        assert_eq!((index.find(second(1), |_| true), index.len()), (None, 32));
    }

    #[test]
    fn as_many_flows_as_it_is_for_find_places() {
        let mut index = Index::with_capacity(100_000, hw::match_tags());
        let mut hash = 1_u64;
        for flow in (0..100_000).map(FlowId) {
            hash = hash.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let mixed = hash ^ (hash >> 33);
            assert!(index.insert(KeyHash(mixed.wrapping_mul(0xff51_afd7_ed55_8ccd)), flow));
        }
        assert_eq!(index.len(), 100_000);
    }

    proptest! {
        #[test]
        fn it_finds_what_a_map_finds(
            steps in prop::collection::vec((any::<bool>(), 0_u64..40, 0_u64..4), 0..400),
        ) {
            for compare in hw::ways_to_match_tags() {
                let mut index = Index::with_capacity(40, compare);
                let mut model: HashMap<u64, FlowId> = HashMap::new();
                // Few hashes, so that keys share tags and groups.
                let hash = |key: u64| KeyHash((key % 7) << 50 | (key % 3) << 30);
                for (n, &(insert, key, other)) in (0..).zip(&steps) {
                    if insert && !model.contains_key(&key) {
                        if index.insert(hash(key), FlowId(n)) {
                            model.insert(key, FlowId(n));
                        }
                    } else if let Some(flow) = model.remove(&key) {
                        index.remove(hash(key), flow);
                    }
                    let sought = model.get(&other).copied();
                    let found = index.find(hash(other), |flow| Some(flow) == sought);
                    prop_assert_eq!(found, sought);
                    prop_assert_eq!(index.len(), model.len());
                }
            }
        }
    }
}
