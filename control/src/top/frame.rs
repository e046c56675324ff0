//! One frame of `fermata top`, as text: pure, so that it can be tested and printed once.

use std::fmt::Write as _;

use fastpath::ipc::{LcoreStatus, Status};

use super::Look;
use crate::figures;
use crate::output::{self, Column, Paint, Row};

/// A heartbeat older than this is worth a look.
const HEARTBEAT_LATE_MS: u64 = 1000;

/// The frame for `look`; rates are over the time since `before`, or since the start.
pub(super) fn render(
    look: &Look,
    before: Option<&Look>,
    (columns, rows): (u16, u16),
    paint: Paint,
) -> String {
    let mut out = String::new();
    head(&mut out, &look.status, paint);
    frames(&mut out, look, before, paint);
    lcores(&mut out, &look.status.lcores, paint);
    waste(&mut out, look, paint);
    let used = out.lines().count();
    // Both tables share what is left: two lines of heading each.
    let room = (usize::from(rows).saturating_sub(used + 6) / 2).max(3);
    let book = &look.ledger.endpoints;
    table(&mut out, "Endpoints", &book.servers, room, paint);
    table(&mut out, "Clients", &book.clients, room, paint);
    clip(&out, usize::from(columns))
}

fn head(out: &mut String, status: &Status, paint: Paint) {
    let policy = &status.policy;
    let _ = writeln!(
        out,
        "{}  {} mode, up {}, pid {}, policy revision {} ({}, {} endpoints, retry budget {} %)",
        paint.bold(&format!("fermata-fastpath {}", output::clean(&status.version))),
        output::clean(&status.mode),
        figures::duration(status.uptime_seconds),
        status.pid,
        policy.revision,
        policy.mode.name(),
        policy.endpoints,
        policy.retry_percent,
    );
    if status.bypassed {
        let _ = writeln!(out, "{}", paint.bold("BYPASSED: nothing acts on traffic"));
    }
}

fn frames(out: &mut String, look: &Look, before: Option<&Look>, paint: Paint) {
    let (now, status) = (&look.status.frames, &look.status);
    let old = before.map(|look| (&look.status.frames, look.status.uptime_seconds));
    let seconds = (status.uptime_seconds - old.map_or(0.0, |(_, uptime)| uptime)).max(1e-3);
    let rate = |now: u64, old: Option<u64>| now.saturating_sub(old.unwrap_or(0)) as f64 / seconds;
    let rx = rate(now.rx_frames, old.map(|(f, _)| f.rx_frames));
    let tx = rate(now.tx_frames, old.map(|(f, _)| f.tx_frames));
    let bits = rate(now.rx_bytes, old.map(|(f, _)| f.rx_bytes)) * 8.0;
    let _ = writeln!(
        out,
        "Frames   in {} ({rx:.0}/s, {:.1} Mbit/s)  out {} ({tx:.0}/s)  held {}  dropped {}",
        figures::count(now.rx_frames),
        bits / 1e6,
        figures::count(now.tx_frames),
        now.held_frames,
        dropped(status, paint),
    );
    let flows = &status.flows;
    let lost = if status.events_lost > 0 {
        paint.red(&format!("  events lost {}", status.events_lost))
    } else {
        String::new()
    };
    let _ = writeln!(
        out,
        "Flows    {} live, {} opened (HTTP/1.1 {}, HTTP/2 {}, QUIC {}), {} evicted  exchanges {}{lost}",
        figures::count(flows.live),
        figures::count(flows.opened),
        flows.h1,
        flows.mux,
        flows.quic,
        flows.evicted,
        figures::count(status.exchanges),
    );
    for port in &status.ports {
        let link = port.link.as_deref().unwrap_or(figures::UNKNOWN);
        let text = format!(
            "Port     {} {} {}  in {}  out {}  missed {}  errors {}",
            output::clean(&port.name),
            output::clean(port.mac.as_deref().unwrap_or("")),
            output::clean(link),
            figures::count(port.rx_frames),
            figures::count(port.tx_frames),
            port.rx_missed,
            port.rx_errors + port.tx_errors,
        );
        let wrong = link == "down" || port.rx_missed + port.rx_errors + port.tx_errors > 0;
        let _ = writeln!(out, "{}", if wrong { paint.yellow(&text) } else { text });
    }
}

/// Drops with their names; those of a tap are no loss.
fn dropped(status: &Status, paint: Paint) -> String {
    let drops: Vec<String> = status
        .frames
        .drops
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(name, count)| format!("{} {}", output::clean(name), figures::count(*count)))
        .collect();
    if drops.is_empty() { paint.green("0") } else { paint.yellow(&drops.join(", ")) }
}

fn lcores(out: &mut String, lcores: &[LcoreStatus], paint: Paint) {
    for lcore in lcores {
        let latency = &lcore.burst_latency_us;
        let core =
            lcore.core.map_or_else(|| "not pinned".to_owned(), |core| format!("core {core}"));
        let late = lcore.heartbeat_age_ms > HEARTBEAT_LATE_MS;
        let beat = format!("heartbeat {} ms ago", lcore.heartbeat_age_ms);
        let beat = if late { paint.red(&beat) } else { beat };
        let _ = writeln!(
            out,
            "Lcore {:<2} {core}, busy {:.0} %, burst p50 {:.1} p99 {:.1} p99.9 {:.1} max {:.0} us, {beat}",
            lcore.lcore,
            lcore.busy_share * 100.0,
            latency.p50,
            latency.p99,
            latency.p999,
            latency.max,
        );
    }
}

fn waste(out: &mut String, look: &Look, paint: Paint) {
    let totals = &look.ledger.endpoints.totals;
    let waste = &totals.waste;
    let text = format!(
        "{} calls, {} attempts ({}), wasted: {} attempts ({}), {}, ~{} tokens, ~{}",
        figures::count(totals.first_attempts),
        figures::count(totals.attempts),
        figures::times(totals.amplification()),
        figures::count(waste.exchanges),
        figures::percent(waste.exchanges, totals.attempts),
        figures::duration(waste.seconds),
        figures::tokens(waste.tokens.0[1]),
        figures::dollars(waste.cost.0[1]),
    );
    let text = if waste.exchanges > 0 { paint.red(&text) } else { text };
    let held: u64 = totals.held.values().map(|held| held.exchanges).sum();
    let _ = writeln!(out, "Waste    {text}{}", paint.dim(&format!("  would be held: {held}")));
    let unseen = look.status.flows.quic;
    if unseen > 0 {
        let text = format!("Not seen {unseen} connections of QUIC: counted, not followed yet");
        let _ = writeln!(out, "{}", paint.dim(&text));
    }
}

fn table<T: Row>(out: &mut String, title: &str, rows: &[T], room: usize, paint: Paint) {
    let more = if rows.len() > room { format!(" {room} of {}", rows.len()) } else { String::new() };
    let _ = writeln!(out, "\n{}{}", paint.bold(title), paint.dim(&more));
    let cells: Vec<Vec<String>> = rows.iter().take(room).map(Row::cells).collect();
    let mut columns: Vec<Column> = T::COLUMNS.to_vec();
    if let Some(first) = columns.first_mut() {
        first.title = "";
    }
    if cells.is_empty() {
        let _ = writeln!(out, "  {}", paint.dim("none yet"));
    } else {
        out.push_str(&output::table(&columns, &cells));
    }
}

/// Cuts every line at `columns`, not counting colours.
fn clip(text: &str, columns: usize) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let (mut shown, mut coded) = (0, false);
        for c in line.chars() {
            if c == '\x1b' {
                coded = true;
            }
            if coded || shown < columns {
                out.push(c);
            }
            shown += usize::from(!coded);
            coded &= c != 'm';
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::exchange;
    use fastpath::ipc::{Latency, PortStatus};
    use fastpath::telemetry::ledger::Ledger;

    fn a_look() -> Look {
        let mut ledger = Ledger::default();
        ledger.add(&exchange("198.51.100.11", "openai", 0.0, 1.0));
        let mut status =
            Status { version: "0.1.0".to_owned(), mode: "wire".to_owned(), ..Status::default() };
        status.uptime_seconds = 10.0;
        status.frames.rx_frames = 1000;
        status.frames.drops.insert("port.tx_ring_full".to_owned(), 3);
        status.lcores.push(LcoreStatus {
            core: Some(1),
            heartbeat_age_ms: 3,
            burst_latency_us: Latency { p50: 1.5, p99: 4.0, p999: 9.0, max: 80.0 },
            ..LcoreStatus::default()
        });
        status
            .ports
            .push(PortStatus { name: "net_af_packet0".to_owned(), ..PortStatus::default() });
        Look { status, ledger: ledger.view() }
    }

    #[test]
    fn a_frame_shows_frames_cores_waste_endpoints_and_clients() {
        let frame = render(&a_look(), None, (200, 40), Paint::PLAIN);
        for text in [
            "in 1,000 (100/s",
            "port.tx_ring_full 3",
            "core 1",
            "1 attempts",
            "openai",
            "198.51.100.11",
        ] {
            assert!(frame.contains(text), "{text} is missing in\n{frame}");
        }
    }

    #[test]
    fn rates_are_those_since_the_look_before() {
        let (before, mut now) = (a_look(), a_look());
        now.status.uptime_seconds = 12.0;
        now.status.frames.rx_frames = 1500;
        assert!(render(&now, Some(&before), (200, 40), Paint::PLAIN).contains("in 1,500 (250/s"));
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let frame = render(&a_look(), None, (40, 40), Paint::COLOUR);
        let visible = |line: &str| clip(line, 1000).replace("\x1b[0m", "").chars().count();
        assert!(frame.lines().all(|line| visible(line) <= 40 + 8), "{frame}");
        assert!(
            render(&a_look(), None, (40, 40), Paint::PLAIN)
                .lines()
                .all(|l| l.chars().count() <= 40)
        );
    }
}
