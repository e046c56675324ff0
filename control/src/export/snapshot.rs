//! One look at the data plane, and the metrics that it gives.

use fastpath::ipc::{
    BreakerState, EndpointRow, LedgerView, PropagationView, Reply, Request, SavingsView, Standings,
    Status,
};
use fastpath::policy::snapshot::RuleMode;
use fastpath::telemetry::ledger::{OTHERS, Tally, UNNAMED};

use super::metrics::{Labels, Metric, OTHER, Samples, Value};
use crate::link::{Link, LinkError, ask};

/// Everything that the data plane tells of itself and of the traffic so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// How it is doing.
    pub status: Status,
    /// What exchanges add up to.
    pub ledger: LedgerView,
    /// What enforcing each law would have prevented.
    pub savings: SavingsView,
    /// How backends and endpoints stand.
    pub standings: Standings,
}

impl Snapshot {
    /// Asks the data plane for all of it.
    ///
    /// # Errors
    /// When it gives no answer.
    pub fn take(link: &mut Link) -> Result<Self, LinkError> {
        Ok(Self {
            status: status(link)?,
            ledger: ask(link, &Request::Ledger, |reply| match reply {
                Reply::Ledger(ledger) => Some(*ledger),
                _ => None,
            })?,
            savings: ask(link, &Request::Savings, |reply| match reply {
                Reply::Savings(savings) => Some(*savings),
                _ => None,
            })?,
            standings: ask(link, &Request::Backends, |reply| match reply {
                Reply::Backends(standings) => Some(*standings),
                _ => None,
            })?,
        })
    }

    /// What it says as metrics. With `clients`, also by client address.
    #[must_use]
    pub fn samples(&self, labels: &mut Labels, clients: bool) -> Samples {
        let mut samples = Samples::default();
        samples.add(Metric::Up, &[], 1.0);
        process(&mut samples, &self.status);
        frames(&mut samples, &self.status);
        lcores(&mut samples, &self.status);
        flows(&mut samples, &self.status);
        for row in &self.ledger.endpoints.servers {
            let name = labels.value("endpoint", plain(&row.name));
            endpoint(&mut samples, &name, row);
        }
        standings(&mut samples, labels, &self.standings);
        for row in &self.ledger.endpoints.tenants {
            let name = labels.value("tenant", plain(&row.name));
            tenant(&mut samples, ("tenant", &name), &row.tally);
        }
        for row in self.ledger.endpoints.clients.iter().filter(|_| clients) {
            let name = labels.value("client", plain(&row.name));
            let of = ("client", &name);
            samples.add_of(Metric::ClientExchanges, of, &[], row.tally.exchanges as f64);
            let wasted = row.tally.waste.exchanges as f64;
            samples.add_of(Metric::ClientWastedExchanges, of, &[], wasted);
        }
        savings(&mut samples, &self.savings);
        samples
    }
}

/// How the data plane is doing.
///
/// # Errors
/// When it gives no answer.
pub fn status(link: &mut Link) -> Result<Status, LinkError> {
    ask(link, &Request::Status, |reply| match reply {
        Reply::Status(status) => Some(*status),
        _ => None,
    })
}

/// How failures spread.
///
/// # Errors
/// When the data plane gives no answer.
pub fn propagation(link: &mut Link) -> Result<PropagationView, LinkError> {
    ask(link, &Request::Propagation, |reply| match reply {
        Reply::Propagation(view) => Some(*view),
        _ => None,
    })
}

/// The accounts of everything else, in words of labels.
fn plain(name: &str) -> &str {
    match name {
        OTHERS => OTHER,
        UNNAMED => "none",
        name => name,
    }
}

fn process(samples: &mut Samples, status: &Status) {
    let of_build =
        [("version", &*status.version), ("mode", &*status.mode), ("spread", &*status.spread)];
    samples.add(Metric::Build, &of_build, 1.0);
    samples.add(Metric::Uptime, &[], status.uptime_seconds);
    let policy = &status.policy;
    samples.add(Metric::PolicyRevision, &[], policy.revision as f64);
    samples.add(Metric::PolicyEndpoints, &[], policy.endpoints as f64);
    for mode in [RuleMode::Off, RuleMode::Shadow, RuleMode::Enforce] {
        let is = f64::from(u8::from(policy.mode == mode));
        samples.add(Metric::PolicyMode, &[("mode", mode.name())], is);
    }
    samples.add(Metric::Bypassed, &[], f64::from(u8::from(status.bypassed)));
}

fn frames(samples: &mut Samples, status: &Status) {
    let frames = &status.frames;
    for (metric, value) in [
        (Metric::ReceivedFrames, frames.rx_frames),
        (Metric::ReceivedBytes, frames.rx_bytes),
        (Metric::SentFrames, frames.tx_frames),
        (Metric::SentBytes, frames.tx_bytes),
        (Metric::HeldFrames, frames.held_frames),
    ] {
        samples.add(metric, &[], value as f64);
    }
    for (reason, count) in &frames.drops {
        samples.add(Metric::DroppedFrames, &[("reason", reason)], *count as f64);
    }
    for (reason, count) in &status.passes {
        samples.add(Metric::UnfollowedFrames, &[("reason", reason)], *count as f64);
    }
    for port in &status.ports {
        let of = ("port", &*port.name);
        if let Some(link) = &port.link {
            samples.add(Metric::PortUp, &[of], f64::from(u8::from(link == "up")));
        }
        samples.add(Metric::PortReceivedFrames, &[of], port.rx_frames as f64);
        samples.add(Metric::PortSentFrames, &[of], port.tx_frames as f64);
        samples.add(Metric::PortMissedFrames, &[of], port.rx_missed as f64);
        for (direction, errors) in [("receive", port.rx_errors), ("send", port.tx_errors)] {
            samples.add(Metric::PortErrors, &[of, ("direction", direction)], errors as f64);
        }
    }
}

fn lcores(samples: &mut Samples, status: &Status) {
    for lcore in &status.lcores {
        let number = lcore.lcore.to_string();
        let of = ("lcore", &*number);
        samples.add(Metric::LcoreHeartbeatAge, &[of], lcore.heartbeat_age_ms as f64 / 1e3);
        samples.add(Metric::LcoreBusy, &[of], lcore.busy_share);
        samples.add(Metric::LcoreFrames, &[of], lcore.frames as f64);
        let latency = lcore.burst_latency_us;
        for (quantile, micros) in [
            ("0.5", latency.p50),
            ("0.99", latency.p99),
            ("0.999", latency.p999),
            ("1.0", latency.max),
        ] {
            let labels = [of, ("quantile", quantile)];
            samples.add(Metric::LcoreBurstDuration, &labels, micros / 1e6);
        }
    }
}

fn flows(samples: &mut Samples, status: &Status) {
    let (flows, acts) = (&status.flows, &status.acts);
    for (metric, value) in [
        (Metric::Flows, flows.live),
        (Metric::FlowsOpened, flows.opened),
        (Metric::FlowsEvicted, flows.evicted),
        (Metric::RepeatedSegments, flows.repeated_frames),
        (Metric::RepeatedBytes, flows.repeated_bytes),
        (Metric::EventsLost, status.events_lost),
        (Metric::Holds, acts.holds),
        (Metric::HoldsRefused, acts.holds_refused),
        (Metric::HeldFlows, acts.held_flows),
        (Metric::Shaped, acts.shaped),
        (Metric::ShapedRefused, acts.shaped_refused),
        (Metric::Resets, acts.resets),
        (Metric::ResetsRefused, acts.resets_refused),
    ] {
        samples.add(metric, &[], value as f64);
    }
    for (protocol, count) in
        [("h1", flows.h1), ("mux", flows.mux), ("quic", flows.quic), ("both", flows.both)]
    {
        samples.add(Metric::FlowsByProtocol, &[("protocol", protocol)], count as f64);
    }
    for (limit, count) in &status.limits_reached {
        samples.add(Metric::LimitsReached, &[("limit", limit)], *count as f64);
    }
}

fn endpoint(samples: &mut Samples, name: &Value, row: &EndpointRow) {
    let (of, tally) = (("endpoint", name), &row.tally);
    for (outcome, count) in &tally.by_outcome {
        samples.add_of(Metric::Exchanges, of, &[("outcome", outcome.name())], *count as f64);
    }
    samples.add_of(Metric::FirstAttempts, of, &[], tally.first_attempts as f64);
    samples.add_of(Metric::Tokens, of, &[], tally.tokens.0[1]);
    samples.add_of(Metric::Cost, of, &[], tally.cost.0[1]);
    for (class, waste) in &tally.waste_by_class {
        let class = [("class", class.name())];
        samples.add_of(Metric::WastedExchanges, of, &class, waste.exchanges as f64);
        samples.add_of(Metric::WastedTime, of, &class, waste.seconds);
        samples.add_of(Metric::WastedBytes, of, &class, waste.bytes_bucketed as f64);
        samples.add_of(Metric::WastedTokens, of, &class, waste.tokens.0[1]);
        samples.add_of(Metric::WastedCost, of, &class, waste.cost.0[1]);
    }
    for (law, held) in &tally.held {
        samples.add_of(Metric::Decisions, of, &[("law", law)], held.exchanges as f64);
    }
    for (quantile, ms) in [("0.5", row.first_byte_p50_ms), ("0.99", row.first_byte_p99_ms)] {
        if let Some(ms) = ms {
            samples.add_of(Metric::FirstByte, of, &[("quantile", quantile)], ms / 1e3);
        }
    }
}

fn standings(samples: &mut Samples, labels: &mut Labels, standings: &Standings) {
    for endpoint in &standings.endpoints {
        let name = labels.value("endpoint", &endpoint.endpoint);
        let of = ("endpoint", &name);
        samples.add_of(Metric::InFlight, of, &[], endpoint.in_flight as f64);
        for state in BreakerState::ALL {
            let is = f64::from(u8::from(endpoint.breaker == state));
            samples.add_of(Metric::EndpointBreaker, of, &[("state", state.name())], is);
        }
        samples.add_of(Metric::Overloaded, of, &[], f64::from(u8::from(endpoint.overloaded)));
        samples.add_of(Metric::Disarmed, of, &[], f64::from(u8::from(endpoint.disarmed)));
        let backends = || {
            standings.backends.iter().filter(|b| b.endpoint.as_ref() == Some(&endpoint.endpoint))
        };
        let mut longest = 0;
        for backend in backends() {
            samples.add_of(Metric::InFlightMax, of, &[], backend.in_flight_max);
            samples.add_of(Metric::Waiting, of, &[], backend.waiting as f64);
            if let Some(max) = backend.waiting_max {
                samples.add_of(Metric::WaitingMax, of, &[], max);
            }
            samples.add_of(Metric::Held, of, &[], backend.held as f64);
            longest = longest.max(backend.held_longest_ms.unwrap_or(0));
        }
        samples.add_of(Metric::HeldLongest, of, &[], longest as f64 / 1e3);
        for state in BreakerState::ALL {
            let count = backends().filter(|backend| backend.breaker == state).count();
            samples.add_of(Metric::Backends, of, &[("state", state.name())], count as f64);
        }
    }
}

fn tenant(samples: &mut Samples, of: (&'static str, &Value), tally: &Tally) {
    for (metric, value) in [
        (Metric::TenantExchanges, tally.exchanges as f64),
        (Metric::TenantFirstAttempts, tally.first_attempts as f64),
        (Metric::TenantWastedExchanges, tally.waste.exchanges as f64),
        (Metric::TenantTokens, tally.tokens.0[1]),
        (Metric::TenantWastedTokens, tally.waste.tokens.0[1]),
    ] {
        samples.add_of(metric, of, &[], value);
    }
}

fn savings(samples: &mut Samples, savings: &SavingsView) {
    for (law, saving) in [
        ("retry_budget", &savings.retry_budget),
        ("breaker", &savings.breaker),
        ("cancel_propagation", &savings.cancel_propagation),
        ("fan_out", &savings.fan_out),
        ("admission", &savings.admission),
    ] {
        for (metric, range) in [
            (Metric::PreventableExchanges, saving.exchanges),
            (Metric::PreventableTime, saving.seconds),
            (Metric::PreventableTokens, saving.tokens),
            (Metric::PreventableCost, saving.cost),
        ] {
            for (estimate, value) in ["low", "likely", "high"].into_iter().zip(range.0) {
                samples.add(metric, &[("law", law), ("estimate", estimate)], value);
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
