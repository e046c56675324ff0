//! The backend addresses of an lcore: each with its limit, its hold queue and its breaker.
//!
//! All memory is taken at start. A backend that nothing runs on gives its place to one that is called;
//! where there is none, what goes to the new one is not judged, and counted.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::breaker::Breaker;
use super::limit::Limit;
use super::queue::Queue;
use super::replica::{REPLICAS_MAX, Replica};
use super::throttle::Throttle;
use crate::burst::Address;
use crate::policy::snapshot::EndpointId;
use crate::time::Nanos;

/// Backend addresses at once.
pub const BACKENDS_MAX: usize = 128;

/// Address and port.
pub type Server = (Address, u16);

/// One backend address.
#[derive(Debug)]
pub struct Backend {
    /// Whose.
    pub server: Server,
    /// The endpoint it was last called for.
    pub endpoint: EndpointId,
    /// A1.
    pub limit: Limit,
    /// A2.
    pub queue: Queue,
    /// A4.
    pub throttle: Throttle,
    /// A5.
    pub breaker: Breaker,
    last_used: Nanos,
}

/// All of them.
#[derive(Debug)]
pub struct Backends {
    places: Vec<Backend>,
    used: usize,
    index: HashMap<Server, usize, RandomState>,
    /// Requests to backends that found no place.
    pub refused: u64,
}

/// The replicas of an endpoint that are known, and their places.
#[derive(Clone, Copy, Debug)]
pub struct Pool {
    replicas: [Replica; REPLICAS_MAX],
    places: [usize; REPLICAS_MAX],
    count: usize,
}

impl Backends {
    /// For one of so many lcores.
    #[must_use]
    pub fn new(lcores: u16) -> Self {
        let backend = |_| Backend {
            server: (Address::v4([0; 4]), 0),
            endpoint: EndpointId(0),
            limit: Limit::new(lcores),
            queue: Queue::default(),
            throttle: Throttle::default(),
            breaker: Breaker::default(),
            last_used: Nanos::ZERO,
        };
        Self {
            places: (0..BACKENDS_MAX).map(backend).collect(),
            used: 0,
            index: HashMap::with_capacity_and_hasher(2 * BACKENDS_MAX, RandomState::default()),
            refused: 0,
        }
    }

    /// The place of a backend, as good as new if it was not known.
    pub fn find_or_make(
        &mut self,
        server: Server,
        endpoint: EndpointId,
        now: Nanos,
    ) -> Option<usize> {
        let place = match self.index.get(&server) {
            Some(&place) => place,
            None => self.make(server)?,
        };
        let backend = &mut self.places[place];
        (backend.endpoint, backend.last_used) = (endpoint, now);
        Some(place)
    }

    /// The place of a backend, if it is known.
    #[must_use]
    pub fn known(&self, server: Server) -> Option<usize> {
        self.index.get(&server).copied()
    }

    /// The backend at a place.
    #[must_use]
    pub fn at(&self, place: usize) -> &Backend {
        &self.places[place]
    }

    /// The same, to change it.
    pub fn at_mut(&mut self, place: usize) -> &mut Backend {
        &mut self.places[place]
    }

    /// Places that are taken.
    #[must_use]
    pub fn len(&self) -> usize {
        self.used
    }

    /// None is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Requests held, over all of them.
    #[must_use]
    pub fn held(&self) -> usize {
        self.places[..self.used].iter().map(|backend| backend.queue.len()).sum()
    }

    /// Whether an endpoint has one backend at most.
    #[must_use]
    pub fn is_sole(&self, endpoint: EndpointId) -> bool {
        self.places[..self.used].iter().filter(|b| b.endpoint == endpoint).nth(1).is_none()
    }

    /// Whether one more of an endpoint's backends may be ejected, when at most this share of them is.
    #[must_use]
    pub fn may_eject(&self, endpoint: EndpointId, percent: f64) -> bool {
        let pool = || self.places[..self.used].iter().filter(|b| b.endpoint == endpoint);
        let ejected = pool().filter(|backend| backend.breaker.is_open()).count() + 1;
        // One address alone may stand for any number of servers: leaving it alone helps them.
        pool().count() == 1 || ejected as f64 * 100.0 <= percent * pool().count() as f64
    }

    /// The replicas of an endpoint on one port, those of its policy that `is_ours` knows.
    #[must_use]
    pub fn pool(&self, endpoint: EndpointId, port: u16, is_ours: impl Fn(Address) -> bool) -> Pool {
        let none = Replica { key: 0, in_flight: 0, first_byte_secs: None, ejected: true };
        let mut pool = Pool { replicas: [none; REPLICAS_MAX], places: [0; REPLICAS_MAX], count: 0 };
        for (place, backend) in self.places[..self.used].iter().enumerate() {
            let same = backend.endpoint == endpoint && backend.server.1 == port;
            if pool.count == REPLICAS_MAX || !same || !is_ours(backend.server.0) {
                continue;
            }
            pool.replicas[pool.count] = Replica {
                key: place as u64,
                in_flight: u32::try_from(backend.limit.in_flight()).unwrap_or(u32::MAX),
                first_byte_secs: backend.limit.base_secs(),
                ejected: backend.breaker.is_open(),
            };
            pool.places[pool.count] = place;
            pool.count += 1;
        }
        pool
    }

    fn make(&mut self, server: Server) -> Option<usize> {
        let place = if self.used < self.places.len() {
            self.used += 1;
            self.used - 1
        } else {
            let Some(place) = self.idlest() else {
                self.refused += 1;
                return None;
            };
            self.index.remove(&self.places[place].server);
            place
        };
        let backend = &mut self.places[place];
        backend.limit.reset();
        (backend.server, backend.breaker) = (server, Breaker::default());
        backend.throttle = Throttle::default();
        self.index.insert(server, place);
        Some(place)
    }

    fn idlest(&self) -> Option<usize> {
        let idle = |backend: &&Backend| backend.limit.in_flight() == 0 && backend.queue.is_empty();
        let places = self.places.iter().enumerate();
        let idle = places.filter(|(_, backend)| idle(backend));
        idle.min_by_key(|(_, backend)| backend.last_used).map(|(place, _)| place)
    }
}

impl Pool {
    /// The replicas.
    #[must_use]
    pub fn replicas(&self) -> &[Replica] {
        &self.replicas[..self.count]
    }

    /// Where one of them is.
    #[must_use]
    pub fn place(&self, replica: usize) -> usize {
        self.places[replica]
    }

    /// Which of them is at a place.
    #[must_use]
    pub fn at(&self, place: usize) -> Option<usize> {
        self.places[..self.count].iter().position(|&other| other == place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(n: u8) -> Server {
        (Address::v4([10, 0, 0, n]), 443)
    }

    #[test]
    fn a_backend_that_something_runs_on_keeps_its_place() {
        let mut backends = Backends::new(1);
        let at = |n: u8| Nanos::from_secs(n.into());
        for n in 0..128 {
            let place = backends.find_or_make(server(n), EndpointId(1), at(n)).unwrap();
            if n < 127 {
                backends.at_mut(place).limit.forwarded(at(n));
            }
        }
        let taken = backends.find_or_make(server(200), EndpointId(1), at(200));
        assert_eq!(taken, Some(127), "the one that nothing runs on");
        backends.at_mut(127).limit.forwarded(at(201));
        assert_eq!(backends.find_or_make(server(201), EndpointId(1), at(202)), None);
        assert_eq!((backends.refused, backends.len()), (1, 128));
    }

    #[test]
    fn never_more_than_the_share_of_a_pool_is_ejected_but_a_single_address_may_be() {
        let mut backends = Backends::new(1);
        let rule = crate::policy::rules::Rules::default().breaker;
        let now = Nanos::from_secs(1);
        let fails = |backends: &mut Backends, place: usize| {
            let failed = (super::super::breaker::Answer::Failure, now);
            for _ in 0..5 {
                let may = backends.may_eject(EndpointId(1), 50.0);
                backends.at_mut(place).breaker.ended(failed, now, &rule, may, 0.5);
            }
            backends.at(place).breaker.is_open()
        };
        for n in 0..4 {
            backends.find_or_make(server(n), EndpointId(1), now);
        }
        assert_eq!([0, 1, 2, 3].map(|n| fails(&mut backends, n)), [true, true, false, false]);
        let mut alone = Backends::new(1);
        alone.find_or_make(server(9), EndpointId(1), now);
        assert!(fails(&mut alone, 0));
    }
}
