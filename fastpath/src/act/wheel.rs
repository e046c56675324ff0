//! A timing wheel of two levels (Varghese and Lauck, 1987): starting, stopping and finding what is
//! due take a few instructions, however many timers there are.
//!
//! 4,096 slots of 65.5 µs cover the next 268 ms, 4,096 of 8.39 ms the next 34 s; what is later waits in
//! the last slot and is looked at again. A slot is a list, linked both ways; two bitmaps say which
//! slots have one. A timer takes 16 bytes.

use crate::time::Nanos;

/// A timer fires at most this long after its time.
pub const SLOT: Nanos = Nanos(1 << FINE_SHIFT);

/// A timer that runs. Valid until it fires or is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerId(u32);

/// Slots of a level.
const SLOTS: usize = 4096;
/// A fine slot has 2^16 ns, a coarse one 2^7 fine ones.
const FINE_SHIFT: u32 = 16;
const COARSE_SHIFT: u32 = 7;
const NONE: u32 = u32::MAX;
/// Set in the `previous` of the first timer of a slot; the other bits are the slot's number, coarse
/// ones behind the fine ones.
const FIRST: u32 = 1 << 31;

/// Timers, each with what it is for.
#[derive(Debug)]
pub struct Wheel {
    /// The first timer of each slot, fine ones first.
    heads: Box<[u32]>,
    occupied: Box<[u64]>,
    timers: Vec<Timer>,
    free: u32,
    /// Everything before this fine slot, counted since the epoch, has fired.
    reached: u64,
    running: usize,
}

#[derive(Clone, Copy, Debug)]
struct Timer {
    /// The fine slot it is due in, its low bits: it is never far from `reached`.
    due: u32,
    what: u32,
    next: u32,
    previous: u32,
}

const _: () = assert!(size_of::<Timer>() == 16);

impl Wheel {
    /// A wheel for at most `capacity` timers.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            heads: vec![NONE; 2 * SLOTS].into(),
            occupied: vec![0; 2 * SLOTS / 64].into(),
            timers: Vec::with_capacity(capacity),
            free: NONE,
            reached: 0,
            running: 0,
        }
    }

    /// Timers that run.
    #[must_use]
    pub fn len(&self) -> usize {
        self.running
    }

    /// Whether no timer runs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.running == 0
    }

    /// At `now`, starts a timer for `what`; `None` when there are as many as there may be. One whose
    /// time is over fires next.
    pub fn start(&mut self, now: Nanos, due: Nanos, what: u32) -> Option<TimerId> {
        if self.running == 0 {
            self.reached = self.reached.max(now.0 >> FINE_SHIFT);
        }
        let due = due.0.div_ceil(SLOT.0).max(self.reached);
        let timer = Timer { due: low(due), what, next: NONE, previous: NONE };
        let place = if self.free != NONE {
            let place = self.free;
            self.free = self.timers[place as usize].next;
            self.timers[place as usize] = timer;
            place
        } else if self.timers.len() < self.timers.capacity() {
            self.timers.push(timer);
            low(self.timers.len() as u64 - 1)
        } else {
            return None;
        };
        self.running += 1;
        self.insert(place, due);
        Some(TimerId(place))
    }

    /// Stops a timer before it fires.
    pub fn stop(&mut self, timer: TimerId) {
        self.unlink(timer.0);
        self.release(timer.0);
    }

    /// Ends the timers that are due at `now`, and gives what they were for.
    pub fn advance(&mut self, now: Nanos, mut fire: impl FnMut(u32)) {
        let until = now.0 >> FINE_SHIFT;
        while self.running > 0 && self.reached <= until {
            if self.reached.is_multiple_of(1 << COARSE_SHIFT) {
                self.refine();
            }
            let slot = fine(self.reached);
            while self.heads[slot] != NONE {
                let place = self.heads[slot];
                fire(self.timers[place as usize].what);
                self.stop(TimerId(place));
            }
            self.reached = self.next_occupied(self.reached + 1).min(until + 1);
        }
        self.reached = self.reached.max(until + 1);
    }

    fn insert(&mut self, place: u32, due: u64) {
        let slot = if due - self.reached < SLOTS as u64 {
            fine(due)
        } else {
            // The coarse slot that is being worked off has been emptied.
            let last = (self.reached >> COARSE_SHIFT) + SLOTS as u64 - 1;
            SLOTS + fine((due >> COARSE_SHIFT).min(last))
        };
        let next = std::mem::replace(&mut self.heads[slot], place);
        self.occupied[slot / 64] |= 1 << (slot % 64);
        if next != NONE {
            self.timers[next as usize].previous = place;
        }
        let timer = &mut self.timers[place as usize];
        (timer.next, timer.previous) = (next, FIRST | low(slot as u64));
    }

    fn unlink(&mut self, place: u32) {
        let Timer { next, previous, .. } = self.timers[place as usize];
        if next != NONE {
            self.timers[next as usize].previous = previous;
        }
        if previous & FIRST == 0 {
            self.timers[previous as usize].next = next;
            return;
        }
        let slot = (previous & !FIRST) as usize;
        self.heads[slot] = next;
        if next == NONE {
            self.occupied[slot / 64] &= !(1 << (slot % 64));
        }
    }

    fn release(&mut self, place: u32) {
        self.timers[place as usize].next = self.free;
        self.free = place;
        self.running -= 1;
    }

    /// Deals the timers of the coarse slot that begins out to fine ones.
    fn refine(&mut self) {
        let slot = SLOTS + fine(self.reached >> COARSE_SHIFT);
        let mut place = std::mem::replace(&mut self.heads[slot], NONE);
        self.occupied[slot / 64] &= !(1 << (slot % 64));
        while place != NONE {
            let Timer { next, due, .. } = self.timers[place as usize];
            let ahead = due.wrapping_sub(low(self.reached));
            self.insert(place, self.reached + u64::from(ahead));
            place = next;
        }
    }

    /// The first slot from `slot` on that has a timer or may get some from a coarse one.
    fn next_occupied(&self, slot: u64) -> u64 {
        let border = slot.next_multiple_of(1 << COARSE_SHIFT);
        let mut at = slot;
        while at < border {
            let place = fine(at);
            let ahead = self.occupied[place / 64] >> (place % 64);
            if ahead != 0 {
                return (at + u64::from(ahead.trailing_zeros())).min(border);
            }
            at += 64 - (place % 64) as u64;
        }
        border
    }
}

/// The place of a slot in its level.
#[expect(clippy::cast_possible_truncation, reason = "below 4096")]
const fn fine(slot: u64) -> usize {
    (slot % SLOTS as u64) as usize
}

#[expect(clippy::cast_possible_truncation, reason = "the low bits are what is wanted")]
const fn low(value: u64) -> u32 {
    value as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fired(wheel: &mut Wheel, now: Nanos) -> Vec<u32> {
        let mut fired = Vec::new();
        wheel.advance(now, |what| fired.push(what));
        fired
    }

    #[test]
    fn a_full_wheel_refuses_and_has_room_again_once_a_timer_has_fired() {
        let mut wheel = Wheel::with_capacity(1);
        let now = Nanos::from_secs(1);
        assert!(wheel.start(now, now + Nanos::from_millis(1), 1).is_some());
        assert!(wheel.start(now, now + Nanos::from_millis(1), 2).is_none());
        let now = now + Nanos::from_millis(2);
        assert_eq!(fired(&mut wheel, now), [1]);
        assert!(wheel.start(now, now, 3).is_some());
    }

    proptest! {
        /// Against a list: no timer fires before its time, none later than a slot after it, each
        /// fires once, and one that was stopped never.
        #[test]
        fn timers_fire_when_they_are_due(
            steps in proptest::collection::vec(
                (0u64..90_000_000, 0u64..60_000_000, any::<bool>()), 1..200),
        ) {
            let mut wheel = Wheel::with_capacity(200);
            let mut now = Nanos::from_secs(1_700_000_000);
            let mut waiting: Vec<(Nanos, u32, TimerId)> = Vec::new();
            for (what, (delay_us, step_us, stops)) in (0..).zip(steps) {
                let due = now + Nanos::from_micros(delay_us);
                waiting.push((due, what, wheel.start(now, due, what).expect("there is room")));
                if stops {
                    let victim = what as usize * 7 % waiting.len();
                    wheel.stop(waiting.swap_remove(victim).2);
                }
                now += Nanos::from_micros(step_us);
                for what in fired(&mut wheel, now) {
                    let at = waiting.iter().position(|(_, w, _)| *w == what);
                    let (due, ..) = waiting.swap_remove(at.expect("fires once"));
                    prop_assert!(due <= now);
                }
                prop_assert!(waiting.iter().all(|(due, ..)| *due + SLOT > now));
                prop_assert_eq!(wheel.len(), waiting.len());
            }
        }
    }
}
