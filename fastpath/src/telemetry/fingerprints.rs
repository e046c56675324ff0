//! Fingerprints of clients that were seen lately, kept once each: the lcore writes, anybody reads.
//!
//! An entry holds the JA4 and the lists it was made of, so that a reader can write JA4_r and the
//! lcore need not hash the same lists again. Bounded: [`SETS`] sets of [`WAYS`] entries; in a full
//! set the entry that was not used for longest leaves. An id has the generation of its entry, so
//! that the id of one that has left stands for nothing and never for another.
//!
//! Where an entry goes depends on a key that is drawn at start: nobody outside can aim at a set.

use std::fmt::Write as _;
use std::hash::BuildHasher;
use std::sync::Arc;

use crossbeam::atomic::AtomicCell;

use crate::burst::{FingerprintId, Ja4};

/// What a fingerprint is made of: GREASE left out, server name and ALPN not among the extensions.
/// The lists are as they came. That of extensions is in another order in every hello of a browser,
/// and means the same.
#[derive(Clone, Copy, Debug)]
pub struct Lists<'a> {
    /// The first part of the JA4: ten characters.
    pub head: [u8; 10],
    /// Ciphers, then extensions, then signature algorithms.
    pub codes: &'a [u16],
    /// How many of the codes are ciphers, and how many are extensions.
    pub lengths: [usize; 2],
}

/// The writing side, owned by one lcore.
#[derive(Debug)]
pub struct FingerprintTable {
    /// Hashes of the entries, by slot; zero is an empty slot.
    hashes: Vec<[u64; WAYS]>,
    entries: Vec<Entry>,
    /// When each entry was used last, in lookups.
    used: Vec<u64>,
    lookups: u64,
    keys: [u64; 2],
    published: Fingerprints,
    /// Fingerprints with more codes than an entry holds.
    pub refused: u64,
}

/// The readable side. A slot is written by the lcore alone, whole; a reader that meets a write
/// reads again.
#[derive(Clone, Debug)]
pub struct Fingerprints {
    slots: Arc<[AtomicCell<Entry>]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    /// Counts what the slot has held; 0 is nothing.
    generation: u32,
    /// Numbers of ciphers, extensions and signature algorithms.
    lengths: [u16; 3],
    /// No extension is there twice.
    distinct: bool,
    ja4: Ja4,
    codes: [u16; CODES_MAX],
}

/// Entries of a set, and sets.
const WAYS: usize = 8;
const SETS: usize = 512;
/// Codes of an entry. The longest hellos seen in the wild have fewer than 120 in all.
const CODES_MAX: usize = 256;

impl Default for FingerprintTable {
    fn default() -> Self {
        let state = std::hash::RandomState::new();
        let slots = (0..SETS * WAYS).map(|_| AtomicCell::new(Entry::EMPTY)).collect();
        Self {
            hashes: vec![[0; WAYS]; SETS],
            entries: vec![Entry::EMPTY; SETS * WAYS],
            used: vec![0; SETS * WAYS],
            lookups: 0,
            keys: [state.hash_one(0), state.hash_one(1)],
            published: Fingerprints { slots },
            refused: 0,
        }
    }
}

impl FingerprintTable {
    /// The JA4 of these lists and its id. It is computed when it is not here; when it cannot be
    /// kept it has no id.
    pub fn intern(
        &mut self,
        lists: &Lists<'_>,
        compute: impl FnOnce(&Lists<'_>) -> Ja4,
    ) -> (Ja4, Option<FingerprintId>) {
        let Some(lengths) = lists.entry_lengths() else {
            self.refused += 1;
            return (compute(lists), None);
        };
        self.lookups += 1;
        let hash = lists.hash(self.keys);
        let [.., a, b] = hash.to_be_bytes();
        let set = usize::from(u16::from_be_bytes([a, b])) % SETS;
        for way in 0..WAYS {
            let slot = set * WAYS + way;
            if self.hashes[set][way] == hash && self.entries[slot].is(lists, lengths) {
                self.used[slot] = self.lookups;
                return (self.entries[slot].ja4, Some(self.id(slot)));
            }
        }
        let ja4 = compute(lists);
        let oldest = (0..WAYS).min_by_key(|way| self.used[set * WAYS + way]).unwrap_or(0);
        let slot = set * WAYS + oldest;
        self.hashes[set][oldest] = hash;
        self.used[slot] = self.lookups;
        let entry = &mut self.entries[slot];
        entry.generation = entry.generation.checked_add(1).unwrap_or(1);
        entry.lengths = lengths;
        entry.distinct = is_distinct(lists.split()[1]);
        entry.ja4 = ja4;
        entry.codes[..lists.codes.len()].copy_from_slice(lists.codes);
        self.published.slots[slot].store(*entry);
        (ja4, Some(self.id(slot)))
    }

    /// A reader.
    #[must_use]
    pub fn reader(&self) -> Fingerprints {
        self.published.clone()
    }

    fn id(&self, slot: usize) -> FingerprintId {
        // There are SETS times WAYS slots.
        let number = u32::try_from(slot).unwrap_or(u32::MAX);
        FingerprintId { slot: number, generation: self.entries[slot].generation }
    }
}

impl Fingerprints {
    /// JA4_r, the fingerprint with its lists in clear (FoxIO JA4.md): four hexadecimal digits a
    /// code, commas between. `None` when the entry has left.
    #[must_use]
    pub fn ja4_r(&self, id: FingerprintId) -> Option<String> {
        let entry = self.slots.get(id.slot as usize)?.load();
        (entry.generation == id.generation).then(|| entry.ja4_r())
    }
}

impl<'a> Lists<'a> {
    /// Ciphers, extensions, and signature algorithms.
    #[must_use]
    pub fn split(&self) -> [&'a [u16]; 3] {
        split(self.codes, self.lengths)
    }

    /// The numbers of ciphers, extensions and signature algorithms, when an entry has room.
    fn entry_lengths(&self) -> Option<[u16; 3]> {
        let [ciphers, extensions] = self.lengths;
        let more = self.codes.len().checked_sub(ciphers + extensions)?;
        let fits = self.codes.len() <= CODES_MAX;
        fits.then(|| [ciphers, extensions, more].map(|n| u16::try_from(n).unwrap_or(u16::MAX)))
    }

    /// A hash of all of it, never zero, whatever the order of the extensions. What two lists have
    /// in common is told by a comparison, so it need not be strong, only hard to predict.
    fn hash(&self, keys: [u64; 2]) -> u64 {
        let [a, b, c, d, e, f, g, h, i, j] = self.head;
        let [ciphers, extensions, signed] = self.split();
        let set = extensions.iter().map(|&code| {
            let code = u64::from(code);
            fold(code ^ keys[0], code ^ keys[1])
        });
        let head = fold(
            u64::from_le_bytes([a, b, c, d, e, f, g, h]) ^ keys[0],
            u64::from_le_bytes([i, j, 0, 0, 0, 0, 0, 0])
                ^ (ciphers.len() as u64) << 16
                ^ (extensions.len() as u64) << 32
                ^ keys[1],
        );
        let state = set.fold(head, u64::wrapping_add);
        fold_list(signed, fold_list(ciphers, state, keys), keys).max(1)
    }
}

/// Adds a list, in its order, to a hash. Two multiplications fold sixteen bytes.
fn fold_list(codes: &[u16], mut state: u64, keys: [u64; 2]) -> u64 {
    let word = |codes: &[u16]| codes.iter().fold(0, |word, &code| word << 16 | u64::from(code));
    let (eights, rest) = codes.as_chunks::<8>();
    for eight in eights {
        let (low, high) = eight.split_at(4);
        state = fold(word(low) ^ state, word(high) ^ keys[1]);
    }
    let (low, high) = rest.split_at(rest.len().min(4));
    fold(word(low) ^ state, word(high) ^ keys[0] ^ codes.len() as u64)
}

/// The two halves of a product, one over the other.
fn fold(a: u64, b: u64) -> u64 {
    let (low, high) = a.carrying_mul(b, 0);
    low ^ high
}

/// Codes cut into ciphers, extensions and the rest.
fn split(codes: &[u16], [ciphers, extensions]: [usize; 2]) -> [&[u16]; 3] {
    let (ciphers, rest) = codes.split_at(ciphers.min(codes.len()));
    let (extensions, rest) = rest.split_at(extensions.min(rest.len()));
    [ciphers, extensions, rest]
}

fn is_distinct(codes: &[u16]) -> bool {
    codes.iter().enumerate().all(|(n, code)| !codes[..n].contains(code))
}

/// Whether two lists of one length have the same codes; those of the first are distinct. Each of
/// the second is compared with many at once, and none of it is a branch: a browser has a new order
/// in every hello.
fn is_permutation(distinct: &[u16], other: &[u16]) -> bool {
    distinct.chunks(16).all(|codes| {
        let mut lanes = [0; 16];
        lanes[..codes.len()].copy_from_slice(codes);
        let mut hits = [0_u16; 16];
        for &code in other {
            for (hit, &lane) in hits.iter_mut().zip(&lanes) {
                *hit += u16::from(lane == code);
            }
        }
        hits[..codes.len()].iter().all(|&hits| hits == 1)
    })
}

impl Entry {
    const EMPTY: Self = Self {
        generation: 0,
        lengths: [0; 3],
        distinct: false,
        ja4: Ja4([b'0'; 36]),
        codes: [0; CODES_MAX],
    };

    fn is(&self, lists: &Lists<'_>, lengths: [u16; 3]) -> bool {
        if self.lengths != lengths || !self.ja4.0.starts_with(&lists.head) {
            return false;
        }
        let [ciphers, extensions, signed] = lists.split();
        let [own_ciphers, own_extensions, own_signed] = self.split();
        own_ciphers == ciphers
            && own_signed == signed
            && (own_extensions == extensions
                || (self.distinct && is_permutation(own_extensions, extensions)))
    }

    fn split(&self) -> [&[u16]; 3] {
        let [ciphers, extensions, more] = self.lengths.map(usize::from);
        let codes = self.codes.get(..ciphers + extensions + more).unwrap_or_default();
        split(codes, [ciphers, extensions])
    }

    fn ja4_r(&self) -> String {
        let mut text = self.ja4.as_str().get(..10).unwrap_or_default().to_owned();
        let [ciphers, extensions, signed] = self.split();
        for list in [ciphers, extensions] {
            let mut list = list.to_vec();
            list.sort_unstable();
            text.push('_');
            write_codes(&mut text, &list);
        }
        if !signed.is_empty() {
            text.push('_');
            write_codes(&mut text, signed);
        }
        text
    }
}

fn write_codes(text: &mut String, codes: &[u16]) {
    for (n, code) in codes.iter().enumerate() {
        let comma = if n > 0 { "," } else { "" };
        // Writing to a String does not fail.
        let _ = write!(text, "{comma}{code:04x}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists<'a>(codes: &'a [u16], lengths: [usize; 2]) -> Lists<'a> {
        Lists { head: *b"t13d0201h2", codes, lengths }
    }

    fn ja4(lists: &Lists<'_>) -> Ja4 {
        let mut text = [b'0'; 36];
        text[..10].copy_from_slice(&lists.head);
        Ja4(text)
    }

    #[test]
    fn lists_are_hashed_once_and_written_out_by_a_reader() {
        let mut table = FingerprintTable::default();
        let seen = lists(&[0x1302, 0x1301, 0x000b, 0x000a, 0x0804, 0x0403], [2, 2]);
        let (first, id) = table.intern(&seen, ja4);
        let (again, same) = table.intern(&seen, |_| panic!("it is in the table"));
        assert_eq!((first, id), (again, same));
        let text = table.reader().ja4_r(id.unwrap());
        assert_eq!(text.as_deref(), Some("t13d0201h2_1301,1302_000a,000b_0804,0403"));
    }

    #[test]
    fn extensions_in_another_order_are_the_same_fingerprint() {
        let mut table = FingerprintTable::default();
        let codes: Vec<u16> = (0..40).collect();
        let (_, id) = table.intern(&lists(&codes, [1, 38]), ja4);
        let mut shuffled = codes.clone();
        shuffled[1..39].rotate_left(13);
        shuffled.swap(7, 31);
        assert_eq!(table.intern(&lists(&shuffled, [1, 38]), ja4).1, id);
        shuffled[20] = shuffled[21];
        assert_ne!(table.intern(&lists(&shuffled, [1, 38]), ja4).1, id, "one twice, one missing");
        assert_eq!(table.intern(&lists(&codes, [1, 38]), ja4).1, id);
    }

    #[test]
    fn a_list_with_one_extension_twice_is_not_taken_for_another() {
        let mut table = FingerprintTable::default();
        let ids = [[9, 9, 8], [9, 8, 8], [8, 9, 8], [9, 8, 7]]
            .map(|codes| table.intern(&lists(&codes, [0, 3]), ja4).1.unwrap());
        let texts = ids.map(|id| table.reader().ja4_r(id).unwrap());
        let expected = ["0008,0009,0009", "0008,0008,0009", "0008,0008,0009", "0007,0008,0009"];
        assert_eq!(texts, expected.map(|list| format!("t13d0201h2__{list}")));
    }

    #[test]
    fn without_signature_algorithms_there_is_no_third_list() {
        let mut table = FingerprintTable::default();
        let (_, id) = table.intern(&lists(&[0x1301], [1, 0]), ja4);
        assert_eq!(table.reader().ja4_r(id.unwrap()).as_deref(), Some("t13d0201h2_1301_"));
    }

    #[test]
    fn the_same_codes_in_other_lists_are_another_fingerprint() {
        let mut table = FingerprintTable::default();
        let codes = [1, 2, 3];
        let ids: Vec<_> = [[3, 0], [2, 1], [1, 2], [0, 0]]
            .into_iter()
            .map(|lengths| table.intern(&lists(&codes, lengths), ja4).1.unwrap())
            .collect();
        let texts: Vec<_> = ids.iter().map(|&id| table.reader().ja4_r(id).unwrap()).collect();
        let expected = ["0001,0002,0003_", "0001,0002_0003", "0001_0002,0003", "__0001,0002,0003"];
        assert_eq!(texts, expected.map(|lists| format!("t13d0201h2_{lists}")));
    }

    #[test]
    fn a_scanner_pushes_out_what_nobody_uses_and_nothing_else() {
        let mut table = FingerprintTable::default();
        let (used, unused) = ([0xc02b], [0xc02c]);
        let (_, kept) = table.intern(&lists(&used, [1, 0]), ja4);
        let (_, gone) = table.intern(&lists(&unused, [1, 0]), ja4);
        let reader = table.reader();
        for n in 0..20_000 {
            table.intern(&lists(&[n, n ^ 0x5555], [1, 1]), ja4);
            assert_eq!(table.intern(&lists(&used, [1, 0]), ja4).1, kept);
        }
        assert_eq!(reader.ja4_r(gone.unwrap()), None, "never another one's lists");
        assert!(reader.ja4_r(kept.unwrap()).is_some());
    }

    #[test]
    fn lists_too_long_for_an_entry_have_no_id_and_are_counted() {
        let mut table = FingerprintTable::default();
        let codes = [7; CODES_MAX + 1];
        let (_, id) = table.intern(&lists(&codes, [codes.len(), 0]), ja4);
        assert_eq!((id, table.refused), (None, 1));
        assert!(table.intern(&lists(&codes[1..], [CODES_MAX, 0]), ja4).1.is_some());
    }
}
