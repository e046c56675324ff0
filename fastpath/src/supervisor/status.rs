//! How the data plane is doing, in the words of the socket: from reports and devices to
//! [`Status`] and its parts.

use std::time::Duration;

use crate::ipc::{ActCounts, FlowCounts, FrameCounts, Latency, LcoreStatus, PortStatus, Status};
use crate::port::DeviceReport;
use crate::telemetry::Totals;
use crate::telemetry::reasons::{DropReason, PassReason};
use crate::telemetry::report::Report;

/// Enters what all lcores have counted.
pub(super) fn fill(status: &mut Status, totals: &Totals, late_amendments: u64) {
    let port = &totals.port;
    let drops = DropReason::ALL.iter().map(|&r| (r.name().to_owned(), port.drops.count(r)));
    status.frames = FrameCounts {
        rx_frames: port.rx_frames,
        rx_bytes: port.rx_bytes,
        tx_frames: port.tx_frames,
        tx_bytes: port.tx_bytes,
        held_frames: port.held_frames,
        drops: drops.filter(|&(_, n)| n > 0).collect(),
    };
    let passes = PassReason::ALL.iter().map(|&r| (r.name().to_owned(), totals.passes.count(r)));
    status.passes = passes.filter(|&(_, n)| n > 0).collect();
    let flows = totals.flows;
    status.flows = FlowCounts {
        live: flows.live,
        opened: flows.opened,
        evicted: flows.evicted,
        h1: flows.h1,
        mux: flows.mux,
        quic: flows.quic,
        both: flows.both,
        repeated_frames: flows.repeated_frames,
        repeated_bytes: flows.repeated_bytes,
    };
    let acts = totals.acts;
    status.acts = ActCounts {
        holds: acts.holds,
        holds_refused: acts.holds_refused,
        shaped: acts.shaped,
        shaped_refused: acts.shaped_refused,
        resets: acts.resets,
        resets_refused: acts.resets_refused,
        held_flows: acts.held_flows,
        held_frames: acts.held_frames,
    };
    status.exchanges = totals.exchanges;
    status.events_lost = totals.events_lost;
    let limits = [
        ("flow.evicted", flows.evicted),
        ("parse.reassembly_refused", totals.reassembly_refused),
        ("parse.fingerprints_refused", totals.fingerprints_refused),
        ("parse.records_lost", totals.records_lost),
        ("classify.names_refused", totals.names_refused),
        ("act.holds_refused", totals.acts.holds_refused),
        ("act.shaped_refused", totals.acts.shaped_refused),
        ("act.resets_refused", totals.acts.resets_refused),
        ("classify.learnt_evicted", totals.learnt_evicted),
        ("detect.retry_evicted", totals.retry_evicted),
        ("decide.refused", totals.decide_refused),
        ("telemetry.events_lost", totals.events_lost),
        ("telemetry.late_amendments", late_amendments),
    ];
    let reached = limits.into_iter().filter(|&(_, n)| n > 0);
    status.limits_reached = reached.map(|(name, n)| (name.to_owned(), n)).collect();
}

/// The lcore `index` by its latest report, `silence` after it.
pub(super) fn of_lcore(
    index: u16,
    report: &Report,
    core: Option<usize>,
    silence: Duration,
) -> LcoreStatus {
    let micros = |nanos: u64| nanos as f64 / 1000.0;
    let latency = report.latency;
    LcoreStatus {
        lcore: index,
        core,
        heartbeat_age_ms: u64::try_from(silence.as_millis()).unwrap_or(u64::MAX),
        bursts: report.totals.bursts,
        frames: report.totals.port.looped_frames(),
        busy_share: report.totals.bursts as f64 / report.polls.max(1) as f64,
        burst_latency_us: Latency {
            p50: micros(latency.p50),
            p99: micros(latency.p99),
            p999: micros(latency.p999),
            max: micros(latency.max),
        },
    }
}

/// Quantile by quantile, that of the slowest lcore.
pub(super) fn slowest(lcores: &[LcoreStatus]) -> Latency {
    lcores.iter().map(|lcore| lcore.burst_latency_us).fold(Latency::default(), |worst, of| {
        Latency {
            p50: worst.p50.max(of.p50),
            p99: worst.p99.max(of.p99),
            p999: worst.p999.max(of.p999),
            max: worst.max.max(of.max),
        }
    })
}

/// A port, as its device counts.
pub(super) fn of_port(device: &DeviceReport) -> PortStatus {
    let mac = device.mac.map(|byte| format!("{byte:02x}")).join(":");
    PortStatus {
        name: device.name.clone(),
        link: Some(if device.link_up { "up" } else { "down" }.to_owned()),
        mac: Some(mac),
        rx_frames: device.rx_frames,
        tx_frames: device.tx_frames,
        rx_missed: device.rx_missed + device.rx_no_buffer,
        rx_errors: device.rx_errors,
        tx_errors: device.tx_errors,
    }
}
