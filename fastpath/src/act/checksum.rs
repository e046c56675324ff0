//! The Internet checksum (RFC 1071), whole and by what has changed (RFC 1624).

/// A running sum of 16-bit words in one's complement.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u32);

impl Sum {
    /// Adds bytes that begin at an even offset; an odd last one counts as if a zero followed.
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<2>();
        for word in words {
            self = self.word(u16::from_be_bytes(*word));
        }
        rest.first().map_or(self, |&last| self.word(u16::from(last) << 8))
    }

    /// Adds one word.
    #[must_use]
    pub const fn word(self, word: u16) -> Self {
        let sum = self.0 + word as u32;
        Self((sum & 0xffff) + (sum >> 16))
    }

    /// Its complement: what a header carries.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "folded: below 0x10000")]
    pub const fn checksum(self) -> u16 {
        !(((self.0 & 0xffff) + (self.0 >> 16)) as u16)
    }
}

/// The checksum of data in which `old` has become `new` (RFC 1624, equation 3). Both have the same
/// even length and begin at an even offset.
#[must_use]
pub fn updated(checksum: u16, old: &[u8], new: &[u8]) -> u16 {
    let complement = |bytes: &[u8]| {
        let (words, _) = bytes.as_chunks::<2>();
        words.iter().fold(Sum::default(), |sum, word| sum.word(!u16::from_be_bytes(*word)))
    };
    let Sum(without) = complement(old).word(!checksum);
    #[expect(clippy::cast_possible_truncation, reason = "folded: below 0x10000")]
    Sum::default().word(without as u16).bytes(new).checksum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_example_of_rfc_1071_sums_up() {
        let Sum(sum) = Sum::default().bytes(&[0, 1, 0xf2, 3, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum, 0xddf2);
    }

    #[test]
    fn the_example_of_rfc_1624_does_not_become_minus_zero() {
        assert_eq!(updated(0xdd2f, &[0x55, 0x55], &[0x32, 0x85]), 0x0000);
    }

    proptest! {
        #[test]
        fn an_updated_checksum_is_the_checksum_of_the_updated_data(
            data in proptest::collection::vec(any::<u8>(), 20..60),
            at in 0usize..8, new in any::<[u8; 4]>(),
        ) {
            let at = 2 * at;
            let before = Sum::default().bytes(&data).checksum();
            let mut after = data.clone();
            after[at..at + 4].copy_from_slice(&new);
            let whole = Sum::default().bytes(&after).checksum();
            let by_change = updated(before, &data[at..at + 4], &new);
            // Zero has two forms; data of an IP header is never all zero.
            prop_assume!(after.iter().any(|&b| b != 0) && data.iter().any(|&b| b != 0));
            prop_assert_eq!(by_change, whole);
        }
    }
}
