//! What the laws order, on traffic that passes through the whole loop: in shadow nothing, where the
//! policy enforces it what they say, never of what is not an AI endpoint, and after the bypass nothing.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::SocketAddr;
use std::sync::Arc;

use fastpath::burst::{Direction, FlowId};
use fastpath::decide::order::{Order, Toward};
use fastpath::keyed::Seed;
use fastpath::lcore::{Lcore, LcoreConfig, Mode};
use fastpath::policy::handoff::{self, Publisher};
use fastpath::policy::rules::{FanOut, Rule, Rules, SelfDisarm};
use fastpath::policy::snapshot::{Policy, RuleMode, Snapshot};
use fastpath::port::Rx;
use fastpath::port::mem::MemPort;
use fastpath::telemetry::event::{Reason, Verdict};
use fastpath::telemetry::line::ExchangeLine;
use fastpath::time::Nanos;
use tests::connection::{Arrival, Connection, busy_hour, multiplexed_hour, storm};
use tests::play::Told;

const START: Nanos = Nanos::from_secs(1_700_000_000);
const SNI: &str = "api.openai.com";

fn ms(n: u64) -> Nanos {
    Nanos::from_millis(n)
}

/// The catalogue, with everything enforced for everybody.
fn enforcing() -> Policy {
    let rules = Rules::default();
    let self_disarm = SelfDisarm { holdout_percent: 0.0, ..rules.self_disarm };
    let rules = Rules { self_disarm, ..rules };
    Policy { mode: RuleMode::Enforce, rules, ..Policy::catalogue().unwrap() }
}

/// What was ordered, and when, and what was told.
struct Played {
    orders: Vec<(Nanos, Order)>,
    told: Told,
    held: usize,
}

fn play(policy: Policy, arrivals: Vec<Arrival>) -> Played {
    play_and(policy, arrivals, Mode::Wire, |_, _| {})
}

/// `look` is shown the time of each burst before it is taken, and may turn the bypass.
fn play_and(
    policy: Policy,
    mut arrivals: Vec<Arrival>,
    mode: Mode,
    mut look: impl FnMut(Nanos, &Publisher),
) -> Played {
    arrivals.sort_by_key(|(at, ..)| *at);
    let snapshot = Arc::new(Snapshot::compile(policy).unwrap());
    let (publisher, subscriber) = handoff::channel(Arc::clone(&snapshot));
    let config = LcoreConfig { mode, seed: Seed::Fixed(1), ..LcoreConfig::default() };
    let (mut lcore, outlets) = Lcore::new(MemPort::new(arrivals), config, subscriber);
    let (mut orders, mut told) = (Vec::new(), Told::default());
    loop {
        look(lcore.now(), &publisher);
        let rx = lcore.run_once();
        orders.extend(lcore.decider().orders().iter().map(|&order| (lcore.now(), order)));
        told.take(&outlets, &snapshot);
        if rx == Rx::Closed {
            break;
        }
    }
    let held = lcore.decider().held();
    while lcore.finish() {
        told.take(&outlets, &snapshot);
    }
    told.take(&outlets, &snapshot);
    Played { orders, told, held }
}

impl Played {
    fn holds(&self) -> Vec<FlowId> {
        let hold = |(_, order): &(Nanos, Order)| match order {
            Order::Hold { flow, .. } => Some(*flow),
            _ => None,
        };
        self.orders.iter().filter_map(hold).collect()
    }

    fn releases(&self) -> Vec<FlowId> {
        let release = |(_, order): &(Nanos, Order)| match order {
            Order::Release { flow, .. } => Some(*flow),
            _ => None,
        };
        self.orders.iter().filter_map(release).collect()
    }

    fn resets(&self) -> Vec<Nanos> {
        let reset = |(at, order): &(Nanos, Order)| {
            matches!(order, Order::Reset { toward: Toward::Server, .. }).then_some(*at)
        };
        self.orders.iter().filter_map(reset).collect()
    }

    fn decided_by(&self, reason: Reason) -> Vec<&ExchangeLine> {
        self.told.exchanges.iter().filter(|line| line.reason == reason).collect()
    }
}

fn connection(client: u16, at: Nanos) -> Connection {
    let [high, low] = client.to_be_bytes();
    let client = SocketAddr::from(([198, 51, high, low], 40_000));
    Connection::new(client, SocketAddr::from(([203, 0, 113, 9], 443)), at)
}

/// `count` clients that ask one after the other, 2 ms apart, and are answered after six seconds.
fn crowd(count: u16, sni: &str) -> Vec<Arrival> {
    let mut arrivals = Vec::new();
    for n in 0..count {
        let mut c = connection(n, START + ms(2 * u64::from(n)));
        c.open(sni).wait(ms(5)).data(Direction::ToServer, &[700]).wait(ms(6000));
        c.data(Direction::ToClient, &[300]).wait(ms(20)).data(Direction::ToClient, &[300, 5]);
        c.wait(ms(20)).close();
        arrivals.extend(c.take());
    }
    arrivals
}

#[test]
fn in_shadow_a_verdict_is_told_and_nothing_is_ordered() {
    let shadow = Policy { mode: RuleMode::Shadow, ..enforcing() };
    let played = play(shadow, crowd(100, SNI));
    assert!(played.orders.is_empty(), "{:?}", played.orders);
    let held = played.decided_by(Reason::ConcurrencyLimit);
    assert_eq!(held.len(), 36, "beyond the hard cap of 64");
    assert!(held.iter().all(|line| line.verdict == Verdict::Hold && !line.enforced));
    assert!(held.iter().all(|line| line.grounds.decision.is_some_and(|d| d.limit == 64.0)));
}

#[test]
fn on_a_tap_nothing_is_ordered_whatever_the_policy_says() {
    let played = play_and(enforcing(), crowd(100, SNI), Mode::Observe, |_, _| {});
    assert!(played.orders.is_empty());
    assert_eq!(played.decided_by(Reason::ConcurrencyLimit).len(), 36);
}

#[test]
fn what_exceeds_the_limit_is_held_and_released_when_others_are_over() {
    let played = play(enforcing(), crowd(100, SNI));
    let (mut holds, mut releases) = (played.holds(), played.releases());
    assert_eq!(holds.len(), 36);
    assert_eq!(played.held, 0);
    holds.sort_unstable_by_key(|flow| flow.0);
    releases.sort_unstable_by_key(|flow| flow.0);
    assert_eq!(holds, releases, "each hold ends once");
    let held = played.decided_by(Reason::ConcurrencyLimit);
    assert!(held.iter().all(|line| line.enforced && line.hold_ms.is_some_and(|ms| ms > 0)));
}

#[test]
fn a_hello_is_held_no_longer_than_four_seconds_and_a_request_no_longer_than_thirty() {
    let mut arrivals = crowd(70, SNI);
    // One that had been answered before asks again on its connection while all places are taken.
    let mut c = connection(999, START.since(ms(2000)));
    c.open(SNI).wait(ms(5)).exchange(700, 3).wait(ms(2000)).exchange(900, 3);
    arrivals.extend(c.take());
    let played = play(enforcing(), arrivals);
    let spans = played.orders.iter().filter_map(|(at, order)| match order {
        Order::Hold { until, .. } => Some(until.since(*at).secs_f64()),
        _ => None,
    });
    let mut spans: Vec<f64> = spans.collect();
    spans.sort_by(f64::total_cmp);
    let (request, hellos) = spans.split_last().unwrap();
    assert!((28.0..=30.0).contains(request), "{request}");
    assert!(!hellos.is_empty() && hellos.iter().all(|span| (3.7..=4.0).contains(span)));
}

#[test]
fn what_is_no_ai_endpoint_is_never_acted_on() {
    let mut arrivals = crowd(100, "example.org");
    let mut left = connection(500, START);
    left.open("example.org").data(Direction::ToServer, &[700]).wait(ms(100));
    left.data(Direction::ToClient, &[300]).wait(ms(10)).reset(Direction::ToServer);
    arrivals.extend(left.take());
    assert!(play(enforcing(), arrivals).orders.is_empty());
}

#[test]
fn healthy_traffic_is_let_through_with_everything_armed() {
    for arrivals in [busy_hour(40, SNI), multiplexed_hour(40, SNI)] {
        let played = play(enforcing(), arrivals);
        assert!(played.orders.is_empty(), "{:?}", played.orders);
        assert!(!played.told.exchanges.is_empty());
    }
}

#[test]
fn the_holdout_is_never_acted_on() {
    let mut policy = enforcing();
    policy.rules.self_disarm.holdout_percent = 50.0;
    let played = play(policy, crowd(200, SNI));
    let over = played.decided_by(Reason::ConcurrencyLimit);
    let acted_on = over.iter().filter(|line| line.enforced).count();
    assert_eq!(acted_on, played.holds().len());
    assert!(acted_on > 20 && over.len() - acted_on > 20, "{acted_on} of {}", over.len());
}

#[test]
fn a_rule_in_shadow_does_not_act_beside_others_that_do() {
    let mut policy = enforcing();
    policy.rules.switches[Rule::Concurrency.index()].mode = Some(RuleMode::Shadow);
    let played = play(policy, crowd(100, SNI));
    assert!(played.holds().is_empty());
    assert!(!played.decided_by(Reason::ConcurrencyLimit).is_empty());
}

#[test]
fn the_bypass_releases_everything_at_once_and_nothing_is_held_after_it() {
    let on_at = START + ms(250);
    let mut seen = None;
    let played = play_and(enforcing(), crowd(150, SNI), Mode::Wire, |now, publisher| {
        if now >= on_at {
            publisher.bypass(true);
            seen = seen.or(Some(now));
        }
    });
    assert!(!played.holds().is_empty() && played.held == 0);
    assert_eq!(played.holds().len(), played.releases().len());
    let last_hold = played.orders.iter().rev().find(|(_, o)| matches!(o, Order::Hold { .. }));
    assert!(last_hold.is_some_and(|(at, _)| *at <= seen.unwrap()));
    let released = |(at, order): &(Nanos, Order)| match order {
        Order::Release { at: due, .. } if *at > seen.unwrap() => Some((*at, *due)),
        _ => None,
    };
    let released: Vec<_> = played.orders.iter().filter_map(released).collect();
    assert!(!released.is_empty() && released.iter().all(|pair| *pair == released[0]));
    assert!(played.told.exchanges.len() >= 150, "what passes is counted all the same");
}

/// A client that asks, gets the beginning of a stream, and then `ends`.
fn under_way(ends: impl FnOnce(&mut Connection)) -> Vec<Arrival> {
    let mut c = connection(1, START);
    c.open(SNI).wait(ms(5)).exchange(700, 8).wait(ms(500));
    c.data(Direction::ToServer, &[700]).wait(ms(150));
    for _ in 0..8 {
        c.data(Direction::ToClient, &[300]).wait(ms(20));
    }
    ends(&mut c);
    // Time goes on.
    let mut other = connection(2, c.at + ms(3000));
    other.open(SNI).wait(ms(5)).exchange(700, 3);
    let mut arrivals = c.take();
    arrivals.extend(other.take());
    arrivals
}

#[test]
fn a_server_is_told_at_once_that_a_client_reset_its_response() {
    let mut left = Nanos::ZERO;
    let played = play(
        enforcing(),
        under_way(|c| {
            left = c.at;
            c.reset(Direction::ToServer);
        }),
    );
    assert_eq!(played.resets(), [left]);
    let cut = played.decided_by(Reason::ClientLeft);
    assert!(cut.len() == 1 && cut[0].verdict == Verdict::Reset && cut[0].enforced);
}

#[test]
fn a_client_that_closes_and_hears_nothing_for_the_grace_has_left() {
    let mut left = Nanos::ZERO;
    let arrivals = under_way(|c| {
        left = c.at;
        c.flags(Direction::ToServer, tests::frame::FIN | tests::frame::ACK);
    });
    let played = play(enforcing(), arrivals);
    let resets = played.resets();
    assert_eq!(resets.len(), 1);
    assert!(resets[0].since(left) >= ms(200), "{:?}", resets[0].since(left));
}

#[test]
fn a_client_that_closes_one_side_and_reads_on_is_left_alone() {
    let arrivals = under_way(|c| {
        c.flags(Direction::ToServer, tests::frame::FIN | tests::frame::ACK);
        for _ in 0..30 {
            c.wait(ms(50)).data(Direction::ToClient, &[300]);
        }
        c.data(Direction::ToClient, &[5]).flags(Direction::ToClient, tests::frame::FIN | 0x10);
    });
    assert!(play(enforcing(), arrivals).resets().is_empty());
}

#[test]
fn a_close_behind_a_whole_response_resets_nothing() {
    let arrivals = under_way(|c| {
        c.data(Direction::ToClient, &[5]).wait(ms(20));
        c.flags(Direction::ToServer, tests::frame::FIN | tests::frame::ACK).wait(ms(400));
    });
    assert!(play(enforcing(), arrivals).resets().is_empty());
}

#[test]
fn an_endpoint_whose_connections_are_cut_is_left_alone_for_a_while() {
    let mut arrivals = Vec::new();
    for n in 0..12 {
        let mut c = connection(n, START + ms(300 * u64::from(n)));
        c.open(SNI).wait(ms(5)).data(Direction::ToServer, &[700]).wait(ms(100));
        c.reset(Direction::ToClient);
        arrivals.extend(c.take());
    }
    let played = play(enforcing(), arrivals);
    let held = played.decided_by(Reason::BreakerOpen);
    assert!((5..=7).contains(&held.len()), "{} of the seven after the fifth failure", held.len());
    assert_eq!(held.len(), played.holds().len());
    assert!(held.iter().all(|line| line.grounds.decision.is_some_and(|d| d.measured >= 5.0)));
}

#[test]
fn retries_over_budget_are_held_and_never_reset() {
    // All it gets is errors: without these two the budget alone must do.
    let mut policy = enforcing();
    for rule in [Rule::Breaker, Rule::Throttle] {
        policy.rules.switches[rule.index()].mode = Some(RuleMode::Off);
    }
    let played = play(policy, storm(40, SNI));
    let over = played.decided_by(Reason::OverRetryBudget);
    assert!(over.iter().filter(|line| line.enforced).count() > 10, "{}", over.len());
    assert!(played.resets().is_empty());
}

#[test]
fn a_client_over_its_fan_out_cap_is_held_until_another_of_its_requests_is_over() {
    let mut policy = enforcing();
    policy.rules.fan_out = FanOut { max_concurrent: Some(8) };
    let mut arrivals = Vec::new();
    for n in 0..20_u16 {
        let client = SocketAddr::from(([198, 51, 100, 1], 40_000 + n));
        let server = SocketAddr::from(([203, 0, 113, 9], 443));
        let mut c = Connection::new(client, server, START + ms(u64::from(n)));
        c.open(SNI).wait(ms(5)).data(Direction::ToServer, &[700 + usize::from(n)]).wait(ms(2000));
        c.data(Direction::ToClient, &[300]).wait(ms(20)).data(Direction::ToClient, &[300, 5]);
        c.wait(ms(20)).close();
        arrivals.extend(c.take());
    }
    let played = play(policy, arrivals);
    assert_eq!(played.holds().len(), 12);
    // The frames pass all the same here, so that the last four are over before it is their turn.
    assert_eq!((played.releases().len(), played.held), (8, 0));
}

#[test]
fn one_seed_gives_the_same_orders_twice() {
    let orders = || play(enforcing(), [crowd(120, SNI), storm(30, SNI)].concat()).orders;
    assert_eq!(orders(), orders());
}
