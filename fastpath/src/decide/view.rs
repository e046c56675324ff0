//! How each backend and each endpoint stands, for whoever looks on: a copy, taken now and then.

use arrayvec::ArrayVec;

use super::Decider;
use super::backend::{BACKENDS_MAX, Backend, Server};
use super::breaker::State;
use crate::policy::snapshot::{ENDPOINTS_MAX, EndpointId};
use crate::time::Nanos;

/// Everything that a decider goes by, at one time.
#[derive(Clone, Debug)]
pub struct View {
    /// The backends that are known.
    pub backends: ArrayVec<BackendView, BACKENDS_MAX>,
    /// The endpoints, by id.
    pub endpoints: [EndpointView; ENDPOINTS_MAX],
}

/// One backend address.
#[derive(Clone, Copy, Debug)]
pub struct BackendView {
    /// Whose.
    pub server: Server,
    /// The endpoint it was last called for.
    pub endpoint: EndpointId,
    /// Forwarded and not over.
    pub in_flight: usize,
    /// The hard cap of those.
    pub in_flight_max: f64,
    /// Of those in flight: without a first byte, and not overtaken.
    pub waiting: usize,
    /// How many may wait; none while the usual time to first byte is not known.
    pub waiting_max: Option<f64>,
    /// Usual seconds to first byte without a queue.
    pub base_secs: Option<f64>,
    /// Requests held.
    pub held: usize,
    /// For how long the longest of them has been.
    pub held_longest: Option<Nanos>,
    /// Where its breaker stands.
    pub breaker: State,
}

/// One endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub struct EndpointView {
    /// Where its breaker stands.
    pub breaker: State,
    /// It can do hardly more than it is asked (law A11).
    pub overloaded: bool,
    /// Rules act on its clients no more.
    pub disarmed: bool,
}

impl Decider {
    /// How everything stands.
    #[must_use]
    pub fn view(&self, now: Nanos) -> View {
        let mut view =
            View { backends: ArrayVec::new(), endpoints: [EndpointView::default(); ENDPOINTS_MAX] };
        let places = (0..self.backends.len()).map(|place| self.backends.at(place));
        view.backends.extend(places.map(|backend| of_backend(backend, now)));
        for (to, state) in view.endpoints.iter_mut().zip(self.endpoints.all()) {
            *to = EndpointView {
                breaker: state.breaker.state(),
                overloaded: state.guard.is_bad(),
                disarmed: state.disarm.is_disarmed(now),
            };
        }
        view
    }
}

fn of_backend(backend: &Backend, now: Nanos) -> BackendView {
    let judged = backend.limit.judge(backend.queue.normal(), now);
    BackendView {
        server: backend.server,
        endpoint: backend.endpoint,
        in_flight: judged.in_flight,
        in_flight_max: judged.in_flight_max,
        waiting: judged.waiting,
        waiting_max: judged.waiting_max,
        base_secs: judged.base_secs,
        held: backend.queue.len(),
        held_longest: backend.queue.oldest().map(|since| now.since(since)),
        breaker: backend.breaker.state(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::burst::{Address, FlowId};
    use crate::decide::fair::{Shares, Tenant};
    use crate::decide::queue::{Class, Held};
    use crate::keyed::Seed;
    use crate::telemetry::event::Reason;

    #[test]
    fn a_backend_is_shown_with_what_runs_and_what_is_held() {
        let mut decider = Decider::for_slots(1, 1, Seed::Fixed(1));
        let (server, endpoint) = ((Address::v4([192, 0, 2, 1]), 443), EndpointId(3));
        let (then, now) = (Nanos::from_secs(5), Nanos::from_secs(7));
        let place = decider.backends.find_or_make(server, endpoint, then).unwrap();
        let backend = decider.backends.at_mut(place);
        backend.limit.forwarded(then);
        let held = Held {
            flow: FlowId(0),
            endpoint,
            tenant: Tenant::of(0),
            client: 1,
            class: Class::Normal,
            reason: Reason::ConcurrencyLimit,
            since: then,
            began: then,
            until: Nanos::from_secs(30),
        };
        assert!(backend.queue.push(held, &mut Shares::default()));
        let view = decider.view(now);
        let [backend] = &view.backends[..] else { panic!("one backend") };
        assert_eq!((backend.server, backend.endpoint), (server, endpoint));
        assert_eq!((backend.in_flight, backend.held), (1, 1));
        assert_eq!(backend.held_longest, Some(Nanos::from_secs(2)));
        assert_eq!(backend.breaker, State::Closed);
        assert!(!view.endpoints[3].disarmed);
    }
}
