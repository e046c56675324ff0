//! A data plane that tells of everything, and what is made of it.

use fastpath::ipc::{
    BackendRow, EndpointStanding, Latency, LcoreStatus, PolicySummary, PortStatus,
};
use fastpath::telemetry::event::{Outcome, Reason, Verdict, Waste};
use fastpath::telemetry::ledger::Ledger;
use fastpath::telemetry::ledger::savings::Savings;
use fastpath::telemetry::line::ExchangeLine;

use super::*;
use crate::export::counts::Registry;
use crate::report::tests::exchange;

/// A snapshot in which nothing is missing.
pub(crate) fn full() -> Snapshot {
    let (mut ledger, mut savings) = (Ledger::default(), Savings::default());
    for attempt in 1..=3_u16 {
        let line = ExchangeLine {
            attempt,
            retry_of: (attempt > 1).then(|| "x1".to_owned()),
            outcome: Outcome::Failed,
            waste: (attempt > 1).then_some(Waste::Retry),
            verdict: if attempt > 1 { Verdict::Hold } else { Verdict::Pass },
            reason: if attempt > 1 { Reason::OverRetryBudget } else { Reason::NoRule },
            ..exchange("198.51.100.11", "openai", 1.0, 3.0)
        };
        ledger.add(&line);
        savings.add(&line);
    }
    Snapshot {
        status: status(),
        ledger: ledger.view(),
        savings: savings.view(),
        standings: standings(),
    }
}

fn status() -> Status {
    let mut status = Status {
        version: "0.1.0".to_owned(),
        mode: "wire".to_owned(),
        spread: "single".to_owned(),
        uptime_seconds: 10.5,
        exchanges: 3,
        ..Status::default()
    };
    status.policy = PolicySummary { revision: 7, endpoints: 12, ..PolicySummary::default() };
    status.frames.rx_frames = 1000;
    status.frames.drops.insert("port.tx_ring_full".to_owned(), 3);
    status.passes.insert("parse.not_ip".to_owned(), 5);
    status.limits_reached.insert("flow.evicted".to_owned(), 2);
    status.acts.holds = 4;
    status.lcores.push(LcoreStatus {
        heartbeat_age_ms: 3,
        burst_latency_us: Latency { p50: 1.5, p99: 4.0, p999: 9.0, max: 80.0 },
        ..LcoreStatus::default()
    });
    status.ports.push(PortStatus {
        name: "net_af_packet0".to_owned(),
        link: Some("up".to_owned()),
        rx_errors: 1,
        ..PortStatus::default()
    });
    status
}

fn standings() -> Standings {
    let backend = |last: u8, held, breaker| BackendRow {
        server: format!("192.0.2.{last}"),
        server_port: 443,
        endpoint: Some("openai".to_owned()),
        in_flight: 2,
        in_flight_max: 64.0,
        waiting: 1,
        waiting_max: Some(5.5),
        first_byte_base_ms: Some(250.0),
        held,
        held_longest_ms: Some(held * 100),
        breaker,
    };
    let endpoint = EndpointStanding {
        endpoint: "openai".to_owned(),
        in_flight: 4,
        ..EndpointStanding::default()
    };
    let backends = vec![backend(1, 3, BreakerState::Closed), backend(2, 8, BreakerState::Open)];
    Standings { backends, endpoints: vec![endpoint] }
}

/// All metrics of a full snapshot, exporters' own among them.
pub(crate) fn all_samples() -> Samples {
    let mut samples = full().samples(&mut Labels::default(), true);
    let registry = Registry::default();
    registry.counts("ipfix").sent(3);
    registry.add_to(&mut samples);
    samples
}

#[test]
fn every_metric_is_made() {
    let samples = all_samples();
    let made: Vec<Metric> = samples.iter().map(|(metric, _)| metric).collect();
    let missing: Vec<_> = Metric::ALL.iter().filter(|metric| !made.contains(metric)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn figures_are_in_base_units_and_backends_add_up_to_their_endpoint() {
    let samples = all_samples();
    let of = [("endpoint", "openai")];
    for (metric, labels, value) in [
        (Metric::Exchanges, &[of[0], ("outcome", "failed")][..], 3.0),
        (Metric::Exchanges, &[of[0], ("outcome", "complete")], 0.0),
        (Metric::FirstAttempts, &of, 1.0),
        (Metric::WastedTime, &[of[0], ("class", "retry")], 4.0),
        (Metric::Decisions, &[of[0], ("law", "retry_budget")], 2.0),
        (Metric::InFlight, &of, 4.0),
        (Metric::InFlightMax, &of, 128.0),
        (Metric::WaitingMax, &of, 11.0),
        (Metric::Held, &of, 11.0),
        (Metric::HeldLongest, &of, 0.8),
        (Metric::Backends, &[of[0], ("state", "open")], 1.0),
        (Metric::EndpointBreaker, &[of[0], ("state", "closed")], 1.0),
        (Metric::LcoreBurstDuration, &[("lcore", "0"), ("quantile", "0.99")], 4e-6),
        (Metric::PolicyMode, &[("mode", "shadow")], 1.0),
        (Metric::TenantWastedExchanges, &[("tenant", "none")], 2.0),
        (Metric::ClientExchanges, &[("client", "198.51.100.11")], 3.0),
        (Metric::PreventableTime, &[("law", "retry_budget"), ("estimate", "likely")], 4.0),
        (Metric::ExportRecords, &[("exporter", "ipfix")], 3.0),
    ] {
        let found = samples.value(metric, labels);
        assert!(found.is_some_and(|v| (v - value).abs() < 1e-12), "{metric:?}: {found:?}");
    }
}

#[test]
fn clients_are_told_only_where_asked_for() {
    let samples = full().samples(&mut Labels::default(), false);
    assert!(
        samples
            .iter()
            .all(|(_, series)| { series.keys().flatten().all(|(key, _)| *key != "client") })
    );
}
