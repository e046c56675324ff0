//! The decider beside an `act` that tells how its holds end.

use super::queue::{Class, Held};
use super::*;
use crate::decide::fair::Tenant;
use crate::detect::Capacity;
use crate::policy::snapshot::{EndpointId, Policy};

const FLOW: FlowId = FlowId(3);
const CLIENT: Address = Address::v4([198, 51, 100, 1]);

struct Rig {
    decider: Decider,
    flows: FlowTable,
    exchanges: Exchanges,
    clients: Clients,
    policy: Snapshot,
}

impl Rig {
    /// A decider that holds a request of [`FLOW`] since the first second.
    fn holding() -> Self {
        let policy = Policy { mode: RuleMode::Enforce, ..Policy::default() };
        let mut rig = Self {
            decider: Decider::for_slots(8, 1, Seed::Fixed(1)),
            flows: FlowTable::with_capacity(8),
            exchanges: Exchanges::for_slots(8, 4, ExchangeId::first_of(0)),
            clients: Clients::with_capacity(
                Capacity { slots: 8, clients: 4, servers: 4 },
                Seed::Fixed(1),
            ),
            policy: Snapshot::compile(policy).unwrap(),
        };
        let (endpoint, since) = (EndpointId(0), Nanos::from_secs(1));
        let server = (Address::v4([203, 0, 113, 9]), 443);
        let backend = rig.decider.backends.find_or_make(server, endpoint, since);
        rig.decider.flows[FLOW.0 as usize] = Standing {
            phase: Phase::Held,
            backend,
            address: Some(CLIENT),
            arrived: since,
            decision: Some(Decision::of(Verdict::Hold, Reason::ConcurrencyLimit)),
            ..Standing::default()
        };
        let held = Held {
            flow: FLOW,
            endpoint,
            tenant: Tenant::of(1),
            client: 1,
            class: Class::Normal,
            reason: Reason::ConcurrencyLimit,
            since,
            began: since,
            until: Nanos::from_secs(5),
        };
        let Decider { backends, shares, .. } = &mut rig.decider;
        assert!(backends.at_mut(0).queue.push(held, shares));
        rig
    }

    fn settle(&mut self, end: HoldEnd) {
        let at = Nanos::from_secs(4);
        self.decider.hold_ended(&HoldEnded { flow: FLOW, end, at });
        let Self { decider, flows, exchanges, clients, policy } = self;
        let (stance, now) = (Stance::Inline, at);
        let scene = Scene { flows, exchanges, policy, stance, now };
        decider.settle_holds(&scene, clients);
    }

    fn in_flight(&self) -> usize {
        self.decider.backends.at(0).limit.in_flight()
    }

    fn standing(&self) -> &Standing {
        &self.decider.flows[FLOW.0 as usize]
    }
}

#[test]
fn a_hold_that_expires_is_a_request_at_its_backend() {
    for (end, exchange, phase) in [
        (HoldEnd::Expired, Some(ExchangeId::first_of(0)), Phase::Running),
        (HoldEnd::Full, None, Phase::Granted),
    ] {
        let mut rig = Rig::holding();
        rig.decider.flows[FLOW.0 as usize].exchange = exchange;
        rig.settle(end);
        assert_eq!((rig.in_flight(), rig.decider.held()), (1, 0));
        assert_eq!(rig.standing().phase, phase);
        let hold = rig.standing().decision.and_then(|decision| decision.hold);
        assert_eq!(hold, Some(Nanos::from_secs(3)));
    }
}

#[test]
fn a_connection_whose_hello_was_held_too_long_is_opened_and_its_request_judged_anew() {
    let mut rig = Rig::holding();
    rig.settle(HoldEnd::Expired);
    assert_eq!((rig.in_flight(), rig.decider.held()), (0, 0));
    assert_eq!(rig.standing().phase, Phase::Idle);
    let hold = rig.standing().decision.and_then(|decision| decision.hold);
    assert_eq!(hold, Some(Nanos::from_secs(3)), "it is told with the exchange");
}

#[test]
fn a_client_that_leaves_before_its_release_is_due_is_not_counted() {
    let mut rig = Rig::holding();
    let Rig { decider, flows, exchanges, policy, .. } = &mut rig;
    let (stance, now) = (Stance::Inline, Nanos::from_secs(3));
    decider.release_all(&Scene { flows, exchanges, policy, stance, now });
    assert_eq!(rig.in_flight(), 1);
    rig.settle(HoldEnd::Left);
    assert_eq!((rig.in_flight(), rig.standing().phase), (0, Phase::Idle));
}

#[test]
fn a_client_that_leaves_while_it_is_held_costs_its_backend_nothing() {
    let mut rig = Rig::holding();
    rig.settle(HoldEnd::Left);
    assert_eq!((rig.in_flight(), rig.decider.held()), (0, 0));
    assert_eq!(rig.standing().phase, Phase::Idle);
    assert!(rig.decider.orders().is_empty());
}

#[test]
fn a_hold_that_an_order_ended_is_not_counted_twice() {
    let mut rig = Rig::holding();
    let Rig { decider, flows, exchanges, policy, .. } = &mut rig;
    let (stance, now) = (Stance::Inline, Nanos::from_secs(3));
    decider.release_all(&Scene { flows, exchanges, policy, stance, now });
    assert!(matches!(decider.orders(), [Order::Release { flow: FLOW, at }] if *at >= now));
    rig.settle(HoldEnd::Released);
    assert_eq!((rig.in_flight(), rig.decider.held()), (1, 0));
}

#[test]
fn a_connection_that_was_let_through_and_asks_nothing_is_not_counted_for_long() {
    let mut rig = Rig::holding();
    rig.settle(HoldEnd::Full);
    let Rig { decider, flows, exchanges, policy, .. } = &mut rig;
    let (stance, now) = (Stance::Inline, Nanos::from_secs(4) + gate::GRANT_MAX);
    decider.tick(&Scene { flows, exchanges, policy, stance, now });
    assert_eq!(rig.in_flight(), 0);
}
