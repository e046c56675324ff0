//! Histograms that fade: how often sizes, or times, occur of late, in steps of a constant ratio.
//!
//! When [`COUNTED_MAX`] have been counted all counts are halved: what is old counts half, then a
//! quarter, and so on.

/// Steps of a constant ratio.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Where the first step begins. What is smaller is in it too.
    pub smallest: f64,
    /// Steps in which a value doubles.
    pub per_doubling: f64,
}

/// How often values of each step have occurred. What is beyond the last step is in it too.
#[derive(Clone, Debug)]
pub struct Histogram<const STEPS: usize> {
    scale: Scale,
    counts: [u8; STEPS],
    total: u8,
}

/// When this many have been counted, all counts are halved.
const COUNTED_MAX: u8 = 128;

impl Scale {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below 0 is step 0")]
    fn step(self, value: u32) -> usize {
        let doublings = (f64::from(value) / self.smallest).log2();
        (doublings * self.per_doubling).floor() as usize
    }

    /// The smallest whole number of a step.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "far below 2^32")]
    fn begin(self, step: usize) -> u32 {
        (self.smallest * (step as f64 / self.per_doubling).exp2()).ceil() as u32
    }
}

impl<const STEPS: usize> Histogram<STEPS> {
    /// One in which nothing has been counted.
    #[must_use]
    pub fn new(scale: Scale) -> Self {
        Self { scale, counts: [0; STEPS], total: 0 }
    }

    /// Counts a value.
    pub fn add(&mut self, value: u32) {
        if self.total >= COUNTED_MAX {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.total = self.counts.iter().sum();
        }
        self.counts[self.step(value)] += 1;
        self.total += 1;
    }

    /// Values that count.
    #[must_use]
    pub fn total(&self) -> u8 {
        self.total
    }

    /// How many are in the step of this one.
    #[must_use]
    pub fn like(&self, value: u32) -> u8 {
        self.counts[self.step(value)]
    }

    /// How many are no larger than this, or a step above it.
    #[must_use]
    pub fn up_to_a_step_above(&self, value: u32) -> u32 {
        let steps = self.counts.iter().take(self.step(value) + 2);
        steps.map(|&count| u32::from(count)).sum()
    }

    /// Where the step begins below which is one value in so many, at most; `None` before the first
    /// value.
    #[must_use]
    pub fn all_but_one_in(&self, part: u8) -> Option<u32> {
        let mut left = self.total / part;
        let step = self.counts.iter().position(|&count| {
            let found = count > left;
            left = left.saturating_sub(count);
            found
        })?;
        Some(self.scale.begin(step))
    }

    /// Where each step begins, and its count.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u8)> + '_ {
        self.counts.iter().enumerate().map(|(step, &count)| (self.scale.begin(step), count))
    }

    fn step(&self, value: u32) -> usize {
        self.scale.step(value).min(STEPS - 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SCALE: Scale = Scale { smallest: 64.0, per_doubling: 14.2 };

    #[test]
    fn what_is_old_fades() {
        let mut sizes = Histogram::<128>::new(SCALE);
        (0..4).for_each(|_| sizes.add(500));
        (0..1000).for_each(|_| sizes.add(5000));
        assert_eq!(sizes.up_to_a_step_above(520), 0);
        assert!(sizes.up_to_a_step_above(5000) > 60);
        assert!(sizes.total() <= COUNTED_MAX);
    }

    #[test]
    fn a_few_small_ones_are_left_out() {
        let mut times = Histogram::<24>::new(Scale { smallest: 1.0, per_doubling: 2.0 });
        assert_eq!(times.all_but_one_in(20), None);
        times.add(8);
        assert_eq!(times.all_but_one_in(20), Some(8));
        (0..39).for_each(|_| times.add(100));
        assert_eq!(times.all_but_one_in(20), Some(91), "100 is in the step from 90.5 on");
    }

    proptest! {
        #[test]
        fn where_a_step_begins_is_in_it_and_one_less_is_not(step in 1_usize..127) {
            let begin = SCALE.begin(step);
            prop_assert_eq!((SCALE.step(begin), SCALE.step(begin - 1)), (step, step - 1));
        }

        #[test]
        fn any_value_can_be_counted(values in prop::collection::vec(any::<u32>(), 0..300)) {
            let mut sizes = Histogram::<24>::new(SCALE);
            values.iter().for_each(|&value| sizes.add(value));
            prop_assert_eq!(sizes.up_to_a_step_above(u32::MAX), u32::from(sizes.total()));
        }
    }
}
