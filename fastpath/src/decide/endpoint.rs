//! What an lcore knows of each endpoint now.

use super::breaker::Breaker;
use super::budget::{Budget, Health};
use super::disarm::Disarm;
use super::guard::Guard;
use super::patience::Patience;
use crate::policy::snapshot::{ENDPOINTS_MAX, EndpointId};

/// One endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub struct EndpointState {
    /// Exchanges that run.
    pub in_flight: u32,
    /// Its retry budget.
    pub budget: Budget,
    /// Its breaker.
    pub breaker: Breaker,
    /// Its metastability guard.
    pub guard: Guard,
    /// How long its clients wait.
    pub patience: Patience,
    /// Whether rules may act on its clients.
    pub disarm: Disarm,
}

/// All endpoints of an lcore, by id. Ids keep their meaning from one snapshot to the next.
#[derive(Debug)]
pub struct EndpointStates(Box<[EndpointState]>);

impl Default for EndpointStates {
    fn default() -> Self {
        Self(vec![EndpointState::default(); ENDPOINTS_MAX].into())
    }
}

impl EndpointStates {
    /// One of them.
    pub fn state_mut(&mut self, id: EndpointId) -> &mut EndpointState {
        &mut self.0[id.index()]
    }

    /// All of them, by index.
    #[must_use]
    pub fn all(&self) -> &[EndpointState] {
        &self.0
    }

    /// The same, to change them.
    pub fn all_mut(&mut self) -> &mut [EndpointState] {
        &mut self.0
    }
}

impl EndpointState {
    /// An exchange has begun.
    pub fn opened(&mut self) {
        self.in_flight += 1;
    }

    /// An exchange is over.
    pub fn ended(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// How it does. `guarded`: the guard has a say.
    #[must_use]
    pub fn health(&self, guarded: bool) -> Health {
        match () {
            () if self.breaker.is_open() => Health::Open,
            () if guarded && self.guard.is_bad() => Health::Bad,
            () => Health::Good,
        }
    }
}
