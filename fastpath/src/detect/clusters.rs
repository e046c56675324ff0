//! Values that recur at a server, by their first occurrence: at most [`CLUSTERS_MAX`], the rarest
//! leaves. When [`COUNTED_MAX`] have been counted all counts are halved, so that what is old fades:
//! half of a count is left after 256 to 512 later ones.

use crate::policy::learnt::{self, CLUSTERS_MAX, COUNT_MIN, Cluster};

/// The values and how often each has occurred.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clusters {
    kept: [(u32, u16); CLUSTERS_MAX],
    total: u16,
}

const COUNTED_MAX: u16 = 512;

impl Clusters {
    /// How often a value within `radius` of this one has occurred.
    #[must_use]
    pub fn near(&self, value: u32, radius: u32) -> u32 {
        let near = self.kept.iter().filter(|(center, _)| center.abs_diff(value) <= radius);
        near.map(|&(_, count)| u32::from(count)).sum()
    }

    /// The values that have occurred, and how often.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u16)> + '_ {
        self.kept.iter().copied().filter(|&(_, count)| count > 0)
    }

    /// The value that has occurred most often.
    #[must_use]
    pub fn commonest(&self) -> Option<u32> {
        self.iter().max_by_key(|&(_, count)| count).map(|(center, _)| center)
    }

    /// How many values are told apart.
    #[must_use]
    pub fn kinds(&self) -> usize {
        self.iter().count()
    }

    /// Values that were counted, those that have left included.
    #[must_use]
    pub const fn total(&self) -> u32 {
        self.total as u32
    }

    /// Counts a value; within `radius` it is the same.
    pub fn add(&mut self, value: u32, radius: u32) {
        if self.total >= COUNTED_MAX {
            self.kept.iter_mut().for_each(|(_, count)| *count /= 2);
            self.total /= 2;
        }
        self.total += 1;
        let near =
            |(center, count): &&mut (u32, u16)| *count > 0 && center.abs_diff(value) <= radius;
        if let Some((_, count)) = self.kept.iter_mut().find(near) {
            *count = count.saturating_add(1);
        } else if let Some(rarest) = self.kept.iter_mut().min_by_key(|(_, count)| *count) {
            *rarest = (value, 1);
        }
    }

    /// What may be told of them.
    #[must_use]
    pub fn export(&self) -> Vec<Cluster> {
        let common = self.iter().filter(|&(_, count)| count >= COUNT_MIN);
        let step = |(value, count)| Cluster { value: learnt::stepped(value), count };
        common.map(step).collect()
    }

    /// Takes over what was told of them elsewhere.
    pub fn import(&mut self, clusters: &[Cluster]) {
        let mut counts = [0; CLUSTERS_MAX];
        for (count, cluster) in counts.iter_mut().zip(clusters) {
            *count = cluster.count;
        }
        let counts = learnt::weighed(counts);
        for ((kept, cluster), count) in self.kept.iter_mut().zip(clusters).zip(counts) {
            *kept = (cluster.value, count);
        }
        self.total = counts.iter().sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_old_fades() {
        let mut clusters = Clusters::default();
        (0..4).for_each(|_| clusters.add(500, 3));
        assert_eq!(clusters.near(502, 3), 4);
        (0..3000).for_each(|_| clusters.add(900, 3));
        assert_eq!(clusters.near(502, 3), 0);
        assert_eq!(clusters.commonest(), Some(900));
        assert!(clusters.total() <= COUNTED_MAX.into());
    }

    #[test]
    fn what_is_told_is_stepped_and_has_recurred() {
        let mut clusters = Clusters::default();
        (0..5).for_each(|_| clusters.add(701, 3));
        (0..2).for_each(|_| clusters.add(999, 3));
        let told = clusters.export();
        assert_eq!(told, [Cluster { value: 700, count: 5 }]);
        let mut other = Clusters::default();
        other.import(&told);
        assert_eq!((other.near(701, 3), other.total()), (5, 5));
    }
}
