//! What the hardware gives that the standard library does not: the time stamp counter.
//!
//! One of the three places that may hold `unsafe` (docs/architecture.md). It knows no unit: a port
//! calibrates ticks against a clock.

#![allow(
    unsafe_code,
    reason = "reads a register of the processor; one of the three places for unsafe"
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_go_forward() {
        let earlier = tsc();
        std::thread::yield_now();
        assert!(tsc() >= earlier);
    }
}
