//! How backends and endpoints stand, in the words of the socket: the views of all lcores as one.

use std::collections::BTreeMap;

use crate::decide::breaker::State;
use crate::decide::view::{BackendView, View};
use crate::ipc::{BackendRow, BreakerState, EndpointStanding, Standings};
use crate::policy::endpoint::Endpoint;

/// Adds up what each lcore sees of the same backend; of breakers the farthest from closed counts.
pub(super) fn of<'a>(
    views: impl Iterator<Item = &'a View>,
    endpoints: &[Endpoint],
    in_flight: &[u64],
) -> Standings {
    let mut rows = BTreeMap::new();
    let mut standings: Vec<EndpointStanding> = endpoints
        .iter()
        .zip(in_flight)
        .map(|(endpoint, &in_flight)| EndpointStanding {
            endpoint: endpoint.name.clone(),
            in_flight,
            ..EndpointStanding::default()
        })
        .collect();
    for view in views {
        for backend in &view.backends {
            let name = endpoints.get(backend.endpoint.index()).map(|e| e.name.clone());
            add(rows.entry(backend.server).or_default(), backend, name);
        }
        for (standing, of) in standings.iter_mut().zip(&view.endpoints) {
            standing.breaker = standing.breaker.max(breaker(of.breaker));
            standing.overloaded |= of.overloaded;
            standing.disarmed |= of.disarmed;
        }
    }
    let backends: Vec<BackendRow> = rows.into_values().collect();
    standings.retain(|standing| {
        let out_of_order = standing.disarmed || standing.breaker != BreakerState::Closed;
        let is_called = || backends.iter().any(|b| b.endpoint.as_ref() == Some(&standing.endpoint));
        out_of_order || standing.overloaded || standing.in_flight > 0 || is_called()
    });
    Standings { backends, endpoints: standings }
}

fn add(row: &mut BackendRow, view: &BackendView, endpoint: Option<String>) {
    let (address, port) = view.server;
    (row.server, row.server_port, row.endpoint) = (address.to_string(), port, endpoint);
    row.in_flight += view.in_flight as u64;
    row.in_flight_max += view.in_flight_max;
    row.waiting += view.waiting as u64;
    row.waiting_max = either(row.waiting_max, view.waiting_max, |a, b| a + b);
    let base_ms = view.base_secs.map(|seconds| seconds * 1e3);
    row.first_byte_base_ms = either(row.first_byte_base_ms, base_ms, f64::max);
    row.held += view.held as u64;
    let longest_ms = view.held_longest.map(|longest| longest.0 / 1_000_000);
    row.held_longest_ms = either(row.held_longest_ms, longest_ms, Ord::max);
    row.breaker = row.breaker.max(breaker(view.breaker));
}

fn either<T>(a: Option<T>, b: Option<T>, both: impl FnOnce(T, T) -> T) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(both(a, b)),
        (a, b) => a.or(b),
    }
}

const fn breaker(state: State) -> BreakerState {
    match state {
        State::Closed => BreakerState::Closed,
        State::Recovering { .. } => BreakerState::Recovering,
        State::Probing { .. } => BreakerState::Probing,
        State::Open { .. } => BreakerState::Open,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::burst::Address;
    use crate::decide::view::EndpointView;
    use crate::policy::snapshot::{ENDPOINTS_MAX, EndpointId, Policy};
    use crate::time::Nanos;

    fn view(in_flight: usize, breaker: State) -> View {
        let backend = BackendView {
            server: (Address::v4([192, 0, 2, 1]), 443),
            endpoint: EndpointId(0),
            in_flight,
            in_flight_max: 64.0,
            waiting: 1,
            waiting_max: None,
            base_secs: Some(0.25),
            held: 2,
            held_longest: Some(Nanos::from_millis(1500)),
            breaker,
        };
        let endpoints = [EndpointView::default(); ENDPOINTS_MAX];
        View { backends: [backend].into_iter().collect(), endpoints }
    }

    #[test]
    fn what_two_lcores_see_of_a_backend_is_one_row() {
        let endpoints = Policy::catalogue().unwrap().endpoints;
        let views = [view(3, State::Closed), view(4, State::Open { until: Nanos::from_secs(9) })];
        let standings = of(views.iter(), &endpoints, &[7]);
        let [row] = &standings.backends[..] else { panic!("one row") };
        assert_eq!((row.in_flight, row.held, row.held_longest_ms), (7, 4, Some(1500)));
        assert_eq!((row.in_flight_max, row.waiting_max), (128.0, None));
        assert_eq!(row.breaker, BreakerState::Open);
        assert_eq!(row.endpoint.as_ref(), Some(&endpoints[0].name));
        let [endpoint] = &standings.endpoints[..] else { panic!("one endpoint is called") };
        assert_eq!((endpoint.in_flight, endpoint.breaker), (7, BreakerState::Closed));
    }
}
