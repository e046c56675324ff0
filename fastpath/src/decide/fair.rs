//! Fair share (law A8): whose held request goes next.
//!
//! A virtual counter for each tenant of what it was served; the least served goes first. A tenant that
//! was idle is lifted to the least of those that wait, so that nobody saves up a claim. A client is a
//! tenant of its own. Tenants share [`TENANTS`] counters by hash: two on one counter share its turn.
//!
//! Who has more requests running than tenants have on average is over its share, as long as it is not
//! alone: its requests leave room at the backend for those of the others.

use crate::time::Nanos;

/// Counters.
pub const TENANTS: usize = 1024;
/// What a megabyte up and down costs, in seconds of a slot.
const UP_PER_MB: f64 = 1.0;
const DOWN_PER_MB: f64 = 10.0;
const MB: f64 = 1e6;

/// A tenant's counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tenant(u16);

/// What every tenant was served, and what it has running.
#[derive(Debug)]
pub struct Shares {
    tenants: Box<[Share]>,
    /// Requests that run, and tenants that have one.
    running: u32,
    active: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Share {
    served: f64,
    running: u32,
}

/// So many requests at once are in everybody's share.
const RUNNING_FREE: u32 = 4;

impl Tenant {
    /// The counter of whoever has this hash.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "a remainder of 1024")]
    pub const fn of(hash: u64) -> Self {
        Self((hash % TENANTS as u64) as u16)
    }
}

impl Default for Shares {
    fn default() -> Self {
        Self { tenants: vec![Share::default(); TENANTS].into(), running: 0, active: 0 }
    }
}

impl Shares {
    /// What a tenant was served, in virtual seconds.
    #[must_use]
    pub fn served(&self, tenant: Tenant) -> f64 {
        self.tenants[usize::from(tenant.0)].served
    }

    /// A request of it is forwarded.
    pub fn forwarded(&mut self, tenant: Tenant) {
        let share = &mut self.tenants[usize::from(tenant.0)];
        self.active += u32::from(share.running == 0);
        share.running += 1;
        self.running += 1;
    }

    /// One is over.
    pub fn ended(&mut self, tenant: Tenant) {
        let share = &mut self.tenants[usize::from(tenant.0)];
        if share.running > 0 {
            share.running -= 1;
            self.running -= 1;
            self.active -= u32::from(share.running == 0);
        }
    }

    /// Whether a tenant has more running than its share, beside others.
    #[must_use]
    pub fn is_over(&self, tenant: Tenant) -> bool {
        let running = self.tenants[usize::from(tenant.0)].running;
        running > RUNNING_FREE && u64::from(running) * u64::from(self.active) > self.running.into()
    }

    /// A tenant begins to wait beside others, of whom the least served has this much.
    pub fn lift(&mut self, tenant: Tenant, least: f64) {
        let served = &mut self.tenants[usize::from(tenant.0)].served;
        *served = served.max(least);
    }

    /// A tenant was served this much.
    pub fn charge(&mut self, tenant: Tenant, cost: f64) {
        self.tenants[usize::from(tenant.0)].served += cost;
    }
}

/// Slot-seconds + MB up + 10 · MB down.
#[must_use]
pub fn cost(occupied: Nanos, up_bytes: u32, down_bytes: u32) -> f64 {
    let (up, down) = (f64::from(up_bytes) / MB, f64::from(down_bytes) / MB);
    occupied.secs_f64() + UP_PER_MB * up + DOWN_PER_MB * down
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_second_costs_what_a_tenth_of_a_megabyte_down_does() {
        let second = cost(Nanos::from_secs(1), 0, 0);
        assert!((second - cost(Nanos::ZERO, 0, 100_000)).abs() < 1e-9);
        assert!((second - cost(Nanos::ZERO, 1_000_000, 0)).abs() < 1e-9);
    }

    #[test]
    fn who_runs_more_than_others_is_over_its_share_and_who_is_alone_is_not() {
        let mut shares = Shares::default();
        let [storm, person] = [1, 2].map(Tenant::of);
        (0..20).for_each(|_| shares.forwarded(storm));
        assert!(!shares.is_over(storm), "nobody else is there");
        shares.forwarded(person);
        assert!(shares.is_over(storm) && !shares.is_over(person));
        (0..16).for_each(|_| shares.ended(storm));
        assert!(!shares.is_over(storm), "four are in everybody's share");
        (0..9).for_each(|_| shares.ended(person));
        assert_eq!((shares.running, shares.active), (4, 1));
    }

    #[test]
    fn an_idle_tenant_has_no_claim_to_what_it_did_not_use() {
        let mut shares = Shares::default();
        let [busy, idle] = [1, 2].map(Tenant::of);
        shares.charge(busy, 50.0);
        shares.lift(idle, shares.served(busy));
        assert!((shares.served(idle) - 50.0).abs() < 1e-9);
        shares.lift(busy, 10.0);
        assert!((shares.served(busy) - 50.0).abs() < 1e-9, "nobody is lowered");
    }
}
