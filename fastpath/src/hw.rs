//! What the hardware gives that the standard library does not: the time stamp counter, prefetching,
//! and the comparison of many tags at once.
//!
//! One of the three places that may hold `unsafe` (docs/architecture.md). It knows no unit of time:
//! a port calibrates ticks against a clock.

#![allow(
    unsafe_code,
    reason = "instructions without a safe name; one of the three places for unsafe"
)]

/// The time stamp counter of this core, in ticks of a rate that does not change. Not ordered with
/// the loads and stores around it: off by some ten nanoseconds, for a fifth of the price of an
/// ordered read.
#[cfg(target_arch = "x86_64")]
#[inline]
#[must_use]
pub fn tsc() -> u64 {
    // SAFETY: RDTSC exists on every x86-64 processor, and Linux leaves it enabled for user space.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// The generic timer of this core, in ticks of a rate that does not change.
#[cfg(target_arch = "aarch64")]
#[inline]
#[must_use]
pub fn tsc() -> u64 {
    let ticks: u64;
    // SAFETY: CNTVCT_EL0 exists on every ARMv8 processor, and Linux lets user space read it.
    unsafe { std::arch::asm!("mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack)) };
    ticks
}

/// Bytes of a cache line.
const LINE_BYTES: usize = 64;

/// Begins to load all of `place` into the cache. Never faults, and changes nothing but times.
#[inline]
pub fn prefetch<T>(place: &T) {
    let start = std::ptr::from_ref(place).cast::<u8>();
    for line in 0..size_of::<T>().div_ceil(LINE_BYTES) {
        prefetch_line(start.wrapping_add(line * LINE_BYTES));
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn prefetch_line(line: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: PREFETCHT0 is a hint that takes any address; SSE is part of x86-64.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn prefetch_line(_: *const u8) {}

/// Tags that are compared at once.
pub const TAGS: usize = 32;

/// A cache line of tags.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Tags(pub [u16; TAGS]);

const _: () = assert!(size_of::<Tags>() == LINE_BYTES);

/// Which of the tags are equal to one: a bit each, the first one lowest.
pub type MatchTags = fn(&Tags, u16) -> u32;

/// The fastest way to match tags on this processor. Choose it once.
#[must_use]
pub fn match_tags() -> MatchTags {
    ways_to_match_tags().pop().unwrap_or(match_portable)
}

/// All ways to match tags on this processor, the fastest last.
#[must_use]
pub fn ways_to_match_tags() -> Vec<MatchTags> {
    let mut ways: Vec<MatchTags> = vec![match_portable];
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2, as was just seen.
            ways.push(|tags, tag| unsafe { x86::match_avx2(tags, tag) });
        }
        if is_x86_feature_detected!("avx512bw") {
            // SAFETY: the processor has AVX-512BW, as was just seen.
            ways.push(|tags, tag| unsafe { x86::match_avx512bw(tags, tag) });
        }
    }
    ways
}

fn match_portable(tags: &Tags, tag: u16) -> u32 {
    let bits = tags.0.iter().enumerate().map(|(n, &one)| u32::from(one == tag) << n);
    bits.fold(0, |all, bit| all | bit)
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256i, _mm256_cmpeq_epi16, _mm256_load_si256, _mm256_movemask_epi8, _mm256_packs_epi16,
        _mm256_permute4x64_epi64, _mm256_set1_epi16, _mm512_cmpeq_epi16_mask, _mm512_load_si512,
        _mm512_set1_epi16,
    };

    use super::Tags;

    #[target_feature(enable = "avx2")]
    pub(super) fn match_avx2(tags: &Tags, tag: u16) -> u32 {
        /// Even quarters first: packing takes turns between its two sources.
        const IN_ORDER: i32 = 0b11_01_10_00;
        let halves: *const __m256i = std::ptr::from_ref(tags).cast();
        let tag = _mm256_set1_epi16(tag.cast_signed());
        // SAFETY: the first half of the tags, and they are aligned to a line.
        let low = unsafe { _mm256_load_si256(halves) };
        // SAFETY: the second half of them.
        let high = unsafe { _mm256_load_si256(halves.wrapping_add(1)) };
        let equal = _mm256_packs_epi16(_mm256_cmpeq_epi16(low, tag), _mm256_cmpeq_epi16(high, tag));
        _mm256_movemask_epi8(_mm256_permute4x64_epi64::<IN_ORDER>(equal)).cast_unsigned()
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn match_avx512bw(tags: &Tags, tag: u16) -> u32 {
        // SAFETY: the tags are a whole line, and aligned to it.
        let tags = unsafe { _mm512_load_si512(std::ptr::from_ref(tags).cast()) };
        _mm512_cmpeq_epi16_mask(tags, _mm512_set1_epi16(tag.cast_signed()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_go_forward() {
        let earlier = tsc();
        std::thread::yield_now();
        assert!(tsc() >= earlier);
    }

    #[test]
    fn each_way_to_match_tags_finds_each_place_and_no_other() {
        for way in ways_to_match_tags() {
            for place in 0..TAGS {
                let mut tags = Tags([7; TAGS]);
                tags.0[place] = 0x8001;
                let bit = 1 << place;
                let found = [0x8001, 7, 0x0001, 0x8000].map(|tag| way(&tags, tag));
                assert_eq!(found, [bit, !bit, 0, 0], "place {place}");
            }
        }
    }
}
