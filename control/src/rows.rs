//! Flows, exchanges and events as rows: of captures here, and as tables wherever they come from.

use std::io;

use fastpath::ipc::{ClientRow, EndpointRow};
use fastpath::lcore::Outlets;
use fastpath::telemetry::event::{Event, Outcome, Phase, SignalKind, Visibility, Waste};
use fastpath::telemetry::line::{EventLine, ExchangeLine, FlowLine};

use crate::cli::{ExchangesArgs, FlowsArgs};
use crate::failure::{Done, Failure};
use crate::figures::{self, UNKNOWN};
use crate::output::{self, Column, Row, RowFormat, Rows};
use crate::{capture, policy};

/// `fermata flows --read`.
///
/// # Errors
/// When no capture, or the policy, can be read.
pub fn flows(args: &FlowsArgs) -> Result<Done, Failure> {
    let snapshot = policy::snapshot(args.policy.as_deref())?;
    read(&args.read, &snapshot, args.output, |pcap, event, outlets| match event {
        Event::Hello(hello) => {
            let Outlets { names, fingerprints, .. } = outlets;
            Some(FlowLine { pcap, ..FlowLine::new(hello, names, fingerprints, &snapshot) })
        }
        Event::Exchange(_) | Event::Signal(_) | Event::Amendment(_) => None,
    })
}

/// `fermata exchanges --read`.
///
/// # Errors
/// When no capture, or the policy, can be read.
pub fn exchanges(args: &ExchangesArgs) -> Result<Done, Failure> {
    let snapshot = policy::snapshot(args.policy.as_deref())?;
    read(&args.read, &snapshot, args.output, |pcap, event, outlets| match event {
        Event::Exchange(exchange) => {
            Some(ExchangeLine { pcap, ..ExchangeLine::new(exchange, &outlets.names, &snapshot) })
        }
        Event::Hello(_) | Event::Signal(_) | Event::Amendment(_) => None,
    })
}

/// `fermata events --read`.
///
/// # Errors
/// When no capture, or the policy, can be read.
pub fn events(args: &ExchangesArgs) -> Result<Done, Failure> {
    let snapshot = policy::snapshot(args.policy.as_deref())?;
    read(&args.read, &snapshot, args.output, |pcap, event, outlets| match event {
        Event::Signal(signal) => Some(EventLine { pcap, ..EventLine::new(signal, &snapshot) }),
        Event::Exchange(exchange) => {
            let line = ExchangeLine::new(exchange, &outlets.names, &snapshot);
            EventLine::of_amended(&ExchangeLine { pcap, ..line })
        }
        Event::Hello(_) | Event::Amendment(_) => None,
    })
}

/// Writes the row that `pick` makes of each event of the captures.
fn read<T: Row>(
    captures: &[std::path::PathBuf],
    snapshot: &std::sync::Arc<fastpath::policy::snapshot::Snapshot>,
    format: RowFormat,
    pick: impl Fn(Option<String>, &Event, &Outlets) -> Option<T>,
) -> Result<Done, Failure> {
    let mut rows = Rows::new::<T>(io::BufWriter::new(io::stdout().lock()), format);
    let mut result = Ok(());
    let json = format != RowFormat::Table;
    let (_, done) = capture::read(captures, snapshot, json, |pcap, event, names| {
        if let (Ok(()), Some(row)) = (&result, pick(pcap.map(str::to_owned), event, names)) {
            result = output::written(rows.push(&row));
        }
    })?;
    result?;
    output::written(rows.finish::<T>())?;
    Ok(done)
}

impl Row for FlowLine {
    const COLUMNS: &'static [Column] = &[
        Column::text("TIME"),
        Column::text("CLIENT"),
        Column::text("SERVER"),
        Column::text("PROTO"),
        Column::text("SEEN AS"),
        Column::text("ENDPOINT"),
        Column::text("SNI"),
        Column::text("ALPN"),
        Column::text("TLS"),
        Column::text("JA4"),
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            figures::clock(self.time),
            socket(&self.src, self.sport),
            socket(&self.dst, self.dport),
            self.proto.clone(),
            visibility_name(self.visibility).to_owned(),
            or_unknown(likely_endpoint(self).as_deref()),
            or_unknown(self.sni.as_deref()),
            or_unknown(Some(self.alpn.join(",")).as_deref().filter(|names| !names.is_empty())),
            self.tls_version.trim_start_matches("TLSv").to_owned(),
            self.ja4.clone(),
        ]
    }
}

impl Row for ExchangeLine {
    const COLUMNS: &'static [Column] = &[
        Column::text("TIME"),
        Column::text("ID"),
        Column::text("CLIENT"),
        Column::text("ENDPOINT"),
        Column::text("OUTCOME"),
        Column::figure("ATTEMPT"),
        Column::text("RETRY OF"),
        Column::figure("FIRST BYTE"),
        Column::figure("TOOK"),
        Column::figure("TOKENS"),
        Column::text("WASTE"),
        Column::text("VERDICT"),
    ];

    fn cells(&self) -> Vec<String> {
        let tokens = self.tokens_estimate.map(|[_, likely, _]| figures::tokens(likely));
        vec![
            figures::clock(self.start),
            self.id.clone(),
            socket(&self.client, self.client_port),
            self.server_name().to_owned(),
            self.outcome.name().to_owned(),
            self.attempt.to_string(),
            or_unknown(self.retry_of.as_deref()),
            figures::millis(self.first_byte_seconds().map(|seconds| seconds * 1e3)),
            figures::duration(self.seconds()),
            or_unknown(tokens.as_deref()),
            or_unknown(self.waste.map(Waste::name)),
            self.verdict.name().to_owned(),
        ]
    }
}

impl Row for EventLine {
    const COLUMNS: &'static [Column] = &[
        Column::text("TIME"),
        Column::text("EVENT"),
        Column::text("EXCHANGE"),
        Column::text("CLIENT"),
        Column::text("ENDPOINT"),
        Column::text("WHAT"),
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            figures::clock(self.time),
            signal_name(self.kind).to_owned(),
            self.exchange.clone(),
            socket(&self.client, self.client_port),
            self.endpoint.clone().unwrap_or_else(|| socket(&self.server, self.server_port)),
            signal_text(self),
        ]
    }
}

impl Row for EndpointRow {
    const COLUMNS: &'static [Column] = &[
        Column::text("ENDPOINT"),
        Column::figure("ATTEMPTS"),
        Column::figure("RETRIES"),
        Column::figure("AMPLIF."),
        Column::figure("COMPLETE"),
        Column::figure("FAILED"),
        Column::figure("WASTED"),
        Column::figure("WASTED TIME"),
        Column::figure("WASTED TOKENS"),
        Column::figure("WASTED COST"),
        Column::figure("FIRST BYTE p50"),
        Column::figure("p99"),
    ];

    fn cells(&self) -> Vec<String> {
        let mut cells = tally_cells(&self.name, &self.tally, self.amplification);
        cells.push(figures::millis(self.first_byte_p50_ms));
        cells.push(figures::millis(self.first_byte_p99_ms));
        cells
    }
}

impl Row for ClientRow {
    const COLUMNS: &'static [Column] = &[
        Column::text("CLIENT"),
        Column::figure("ATTEMPTS"),
        Column::figure("RETRIES"),
        Column::figure("AMPLIF."),
        Column::figure("COMPLETE"),
        Column::figure("FAILED"),
        Column::figure("WASTED"),
        Column::figure("WASTED TIME"),
        Column::figure("WASTED TOKENS"),
        Column::figure("WASTED COST"),
        Column::figure("MOST AT ONCE"),
    ];

    fn cells(&self) -> Vec<String> {
        let mut cells = tally_cells(&self.name, &self.tally, self.amplification);
        cells.push(self.concurrency_max.to_string());
        cells
    }
}

fn tally_cells(
    name: &str,
    tally: &fastpath::telemetry::ledger::Tally,
    amplification: Option<f64>,
) -> Vec<String> {
    let settled = tally.exchanges - tally.ended(Outcome::Open);
    let [_, tokens, _] = tally.waste.tokens.0;
    let [_, cost, _] = tally.waste.cost.0;
    let cost = if tally.waste.unpriced() { UNKNOWN.to_owned() } else { figures::dollars(cost) };
    vec![
        name.to_owned(),
        figures::count(tally.attempts),
        figures::count(tally.retries()),
        figures::times(amplification),
        figures::count(tally.ended(Outcome::Complete)),
        figures::count(settled - tally.ended(Outcome::Complete)),
        figures::count(tally.waste.exchanges),
        figures::duration(tally.waste.seconds),
        figures::tokens(tokens),
        cost,
    ]
}

/// `192.0.2.1:443`, `[2001:db8::1]:443`.
pub(crate) fn socket(address: &str, port: u16) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

fn or_unknown(text: Option<&str>) -> String {
    text.unwrap_or(UNKNOWN).to_owned()
}

/// The endpoint, and how sure it is where it is not.
fn likely_endpoint(flow: &FlowLine) -> Option<String> {
    let endpoint = flow.endpoint.clone()?;
    let unsure = flow.confidence.filter(|&confidence| confidence < 1.0);
    Some(match unsure {
        Some(confidence) => format!("{endpoint} ({:.0} %)", confidence * 100.0),
        None => endpoint,
    })
}

const fn visibility_name(visibility: Visibility) -> &'static str {
    match visibility {
        Visibility::H1 => "h1",
        Visibility::Both => "both",
        Visibility::Mux => "mux",
        Visibility::Quic => "quic",
        Visibility::Opaque => "opaque",
    }
}

const fn signal_name(kind: SignalKind) -> &'static str {
    match kind {
        SignalKind::Retry => "retry",
        SignalKind::LateAbort => "late_abort",
        SignalKind::Partial => "partial",
        SignalKind::Stall => "stall",
        SignalKind::Hedge => "hedge",
        SignalKind::Restart => "restart",
        SignalKind::OverBudget => "over_budget",
        SignalKind::Cascade => "cascade",
        SignalKind::FanOut => "fan_out",
        SignalKind::WorkflowRestart => "workflow_restart",
        SignalKind::Loop => "loop",
        SignalKind::Doomed => "doomed",
        SignalKind::Orphan => "orphan",
        SignalKind::Outage => "outage",
        SignalKind::Throttling => "throttling",
        SignalKind::Disarmed => "disarmed",
        SignalKind::Wasted => "wasted",
    }
}

pub(crate) fn signal_text(event: &EventLine) -> String {
    let what = kind_text(event);
    let Some(episode) = &event.episode else { return what };
    let exchanges = figures::counted(episode.exchanges.into(), "exchange", "exchanges");
    let in_vain = figures::count(episode.in_vain.into());
    let lasted = figures::duration(event.time - episode.began);
    match episode.phase {
        Phase::Begins => format!("{what}, begins"),
        Phase::Ends => format!("{what}, over after {lasted}: {exchanges}, {in_vain} in vain"),
    }
}

fn kind_text(event: &EventLine) -> String {
    let time = figures::duration(event.value);
    let share = || format!("{:.0} %", event.value * 100.0);
    match event.kind {
        SignalKind::Retry => format!("attempt {} at the same work", event.value),
        SignalKind::LateAbort => format!("client left {time} after the first byte"),
        SignalKind::Partial => format!("server cut the response {time} after its first byte"),
        SignalKind::Stall => format!("response silent for {time}"),
        SignalKind::Hedge => "a second copy of a request that still runs".to_owned(),
        SignalKind::Restart => "asks again what had been answered".to_owned(),
        SignalKind::OverBudget => {
            format!("attempt {} is over the retry budget: would be held", event.value)
        }
        SignalKind::Cascade => format!("{:.1} attempts for each call", event.value),
        SignalKind::FanOut => format!("{} branches side by side", event.value),
        SignalKind::WorkflowRestart => format!("the same calls again, run {}", event.value),
        SignalKind::Loop => format!("the same calls again and again, round {}", event.value),
        SignalKind::Doomed => format!("went on for {time} beside a branch that had failed"),
        SignalKind::Orphan => format!("received for {time} after its client had left"),
        SignalKind::Outage => format!("{} failed", share()),
        SignalKind::Throttling => format!("{} throttled", share()),
        SignalKind::Disarmed => {
            "rules act on its clients no more: these failed more, or waited longer, than the holdout"
                .to_owned()
        }
        SignalKind::Wasted => {
            let why = or_unknown(event.waste.map(Waste::name));
            format!("turns out to have been waste, {time} after its end: {why}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_socket_has_brackets() {
        assert_eq!(socket("192.0.2.1", 443), "192.0.2.1:443");
        assert_eq!(socket("2001:db8::1", 443), "[2001:db8::1]:443");
    }
}
