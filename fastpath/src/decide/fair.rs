//! Fair share (law A8): whose held request goes next.
//!
//! A virtual counter for each tenant of what it was served; the least served goes first. A tenant that
//! was idle is lifted to the least of those that wait, so that nobody saves up a claim. A client is a
//! tenant of its own. Tenants share [`TENANTS`] counters by hash: two on one counter share its turn.

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

/// What every tenant was served.
#[derive(Debug)]
pub struct Shares(Box<[f64]>);

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
        Self(vec![0.0; TENANTS].into())
    }
}

impl Shares {
    /// What a tenant was served, in virtual seconds.
    #[must_use]
    pub fn served(&self, tenant: Tenant) -> f64 {
        self.0[usize::from(tenant.0)]
    }

    /// A tenant begins to wait beside others, of whom the least served has this much.
    pub fn lift(&mut self, tenant: Tenant, least: f64) {
        let served = &mut self.0[usize::from(tenant.0)];
        *served = served.max(least);
    }

    /// A tenant was served this much.
    pub fn charge(&mut self, tenant: Tenant, cost: f64) {
        self.0[usize::from(tenant.0)] += cost;
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
