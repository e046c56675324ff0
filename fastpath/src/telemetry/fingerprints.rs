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

/// What a fingerprint is made of, in the form that is equal for equal fingerprints: GREASE left
/// out, ciphers and extensions sorted, server name and ALPN not among the extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Canonical<'a> {
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
        canonical: &Canonical<'_>,
        compute: impl FnOnce(&Canonical<'_>) -> Ja4,
    ) -> (Ja4, Option<FingerprintId>) {
        let Some(lengths) = canonical.entry_lengths() else {
            self.refused += 1;
            return (compute(canonical), None);
        };
        self.lookups += 1;
        let hash = canonical.hash(self.keys);
        let [.., a, b] = hash.to_be_bytes();
        let set = usize::from(u16::from_be_bytes([a, b])) % SETS;
        for way in 0..WAYS {
            let slot = set * WAYS + way;
            if self.hashes[set][way] == hash && self.entries[slot].is(canonical, lengths) {
                self.used[slot] = self.lookups;
                return (self.entries[slot].ja4, Some(self.id(slot)));
            }
        }
        let ja4 = compute(canonical);
        let oldest = (0..WAYS).min_by_key(|way| self.used[set * WAYS + way]).unwrap_or(0);
        let slot = set * WAYS + oldest;
        self.hashes[set][oldest] = hash;
        self.used[slot] = self.lookups;
        let entry = &mut self.entries[slot];
        entry.generation = entry.generation.checked_add(1).unwrap_or(1);
        entry.lengths = lengths;
        entry.ja4 = ja4;
        entry.codes[..canonical.codes.len()].copy_from_slice(canonical.codes);
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

impl Canonical<'_> {
    /// The numbers of ciphers, extensions and signature algorithms, when an entry has room.
    fn entry_lengths(&self) -> Option<[u16; 3]> {
        let [ciphers, extensions] = self.lengths;
        let more = self.codes.len().checked_sub(ciphers + extensions)?;
        let fits = self.codes.len() <= CODES_MAX;
        fits.then(|| [ciphers, extensions, more].map(|n| u16::try_from(n).unwrap_or(u16::MAX)))
    }

    /// A hash of all of it, never zero. Two multiplications fold sixteen bytes; what two lists have
    /// in common is told by a comparison, so it need not be strong, only hard to predict.
    fn hash(&self, keys: [u64; 2]) -> u64 {
        let [a, b, c, d, e, f, g, h, i, j] = self.head;
        let [ciphers, extensions] = self.lengths;
        let mut state = fold(
            u64::from_le_bytes([a, b, c, d, e, f, g, h]) ^ keys[0],
            u64::from_le_bytes([i, j, 0, 0, 0, 0, 0, 0])
                ^ (ciphers as u64) << 16
                ^ (extensions as u64) << 32
                ^ keys[1],
        );
        let word = |codes: &[u16; 4]| {
            let [a, b, c, d] = codes.map(u64::from);
            a | b << 16 | c << 32 | d << 48
        };
        let (eights, rest) = self.codes.as_chunks::<8>();
        for codes in eights {
            let ([low, high], _) = codes.as_chunks::<4>() else { continue };
            state = fold(word(low) ^ state, word(high) ^ keys[1]);
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        let ([low, high], _) = last.as_chunks::<4>() else { return state.max(1) };
        fold(word(low) ^ state, word(high) ^ keys[0] ^ self.codes.len() as u64).max(1)
    }
}

/// The two halves of a product, one over the other.
fn fold(a: u64, b: u64) -> u64 {
    let (low, high) = a.carrying_mul(b, 0);
    low ^ high
}

impl Entry {
    const EMPTY: Self =
        Self { generation: 0, lengths: [0; 3], ja4: Ja4([b'0'; 36]), codes: [0; CODES_MAX] };

    fn is(&self, canonical: &Canonical<'_>, lengths: [u16; 3]) -> bool {
        self.lengths == lengths
            && self.ja4.0.starts_with(&canonical.head)
            && self.codes.get(..canonical.codes.len()) == Some(canonical.codes)
    }

    fn ja4_r(&self) -> String {
        let [ciphers, extensions, more] = self.lengths.map(usize::from);
        let mut text = self.ja4.as_str().get(..10).unwrap_or_default().to_owned();
        let (hashed, signed) = self.codes.split_at((ciphers + extensions).min(CODES_MAX));
        let (offered, extended) = hashed.split_at(ciphers.min(hashed.len()));
        for list in [offered, extended] {
            text.push('_');
            write_codes(&mut text, list);
        }
        if more > 0 {
            text.push('_');
            write_codes(&mut text, signed.get(..more).unwrap_or_default());
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

    fn canonical<'a>(codes: &'a [u16], lengths: [usize; 2]) -> Canonical<'a> {
        Canonical { head: *b"t13d0201h2", codes, lengths }
    }

    fn ja4(canonical: &Canonical<'_>) -> Ja4 {
        let mut text = [b'0'; 36];
        text[..10].copy_from_slice(&canonical.head);
        Ja4(text)
    }

    #[test]
    fn lists_are_hashed_once_and_written_out_by_a_reader() {
        let mut table = FingerprintTable::default();
        let lists = canonical(&[0x1301, 0x1302, 0x000a, 0x0403, 0x0804], [2, 1]);
        let (first, id) = table.intern(&lists, ja4);
        let (again, same) = table.intern(&lists, |_| panic!("it is in the table"));
        assert_eq!((first, id), (again, same));
        let text = table.reader().ja4_r(id.unwrap());
        assert_eq!(text.as_deref(), Some("t13d0201h2_1301,1302_000a_0403,0804"));
    }

    #[test]
    fn without_signature_algorithms_there_is_no_third_list() {
        let mut table = FingerprintTable::default();
        let (_, id) = table.intern(&canonical(&[0x1301], [1, 0]), ja4);
        assert_eq!(table.reader().ja4_r(id.unwrap()).as_deref(), Some("t13d0201h2_1301_"));
    }

    #[test]
    fn the_same_codes_in_other_lists_are_another_fingerprint() {
        let mut table = FingerprintTable::default();
        let codes = [1, 2, 3];
        let ids: Vec<_> = [[3, 0], [2, 1], [1, 2], [0, 0]]
            .into_iter()
            .map(|lengths| table.intern(&canonical(&codes, lengths), ja4).1.unwrap())
            .collect();
        let texts: Vec<_> = ids.iter().map(|&id| table.reader().ja4_r(id).unwrap()).collect();
        let expected = ["0001,0002,0003_", "0001,0002_0003", "0001_0002,0003", "__0001,0002,0003"];
        assert_eq!(texts, expected.map(|lists| format!("t13d0201h2_{lists}")));
    }

    #[test]
    fn a_scanner_pushes_out_what_nobody_uses_and_nothing_else() {
        let mut table = FingerprintTable::default();
        let (used, unused) = ([0xc02b], [0xc02c]);
        let (_, kept) = table.intern(&canonical(&used, [1, 0]), ja4);
        let (_, gone) = table.intern(&canonical(&unused, [1, 0]), ja4);
        let reader = table.reader();
        for n in 0..20_000 {
            table.intern(&canonical(&[n, n ^ 0x5555], [1, 1]), ja4);
            assert_eq!(table.intern(&canonical(&used, [1, 0]), ja4).1, kept);
        }
        assert_eq!(reader.ja4_r(gone.unwrap()), None, "never another one's lists");
        assert!(reader.ja4_r(kept.unwrap()).is_some());
    }

    #[test]
    fn lists_too_long_for_an_entry_have_no_id_and_are_counted() {
        let mut table = FingerprintTable::default();
        let codes = [7; CODES_MAX + 1];
        let (_, id) = table.intern(&canonical(&codes, [codes.len(), 0]), ja4);
        assert_eq!((id, table.refused), (None, 1));
        assert!(table.intern(&canonical(&codes[1..], [CODES_MAX, 0]), ja4).1.is_some());
    }
}
