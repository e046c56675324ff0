//! One frame of `fermata top`, as text: pure, so that it can be tested and printed once.

use std::fmt::Write as _;

use fastpath::ipc::{LcoreStatus, Status};

use super::state::{State, View};
use super::view;
use crate::export::Snapshot;
use crate::figures;
use crate::output::{self, Paint};

/// A heartbeat older than this is worth a look.
const HEARTBEAT_LATE_MS: u64 = 1000;

/// The frame for `look`; rates are over the time since `before`, or since the start.
pub(super) fn render(
    look: &Snapshot,
    before: Option<&Snapshot>,
    state: &State,
    (columns, rows): (u16, u16),
    paint: Paint,
) -> String {
    let mut out = String::new();
    head(&mut out, &look.status, paint);
    if state.help {
        out.push_str(HELP);
        return clip(&out, usize::from(columns));
    }
    frames(&mut out, look, before, paint);
    waste(&mut out, look, paint);
    let last = keys(state, paint);
    if matches!(state.view, View::Overview | View::Plane) {
        lcores(&mut out, &look.status.lcores, paint);
    }
    let used = out.lines().count();
    // An empty line, a title and a heading; and the keys in the last line.
    let room = usize::from(rows).saturating_sub(used + 3 + 1).max(3);
    let first = state.first;
    match state.view {
        View::Overview => {
            let endpoints = view::endpoints(look, before, state.order);
            let clients = view::clients(look, state.order);
            // Both tables share what is left.
            let half = room.saturating_sub(3) / 2;
            let of_endpoints = half.max(room.saturating_sub(3 + clients.cells.len())).max(3);
            let of_endpoints = of_endpoints.min(endpoints.cells.len().max(1));
            endpoints.text(&mut out, first, of_endpoints, paint);
            let of_clients = room.saturating_sub(3 + of_endpoints).max(3);
            clients.text(&mut out, first, of_clients, paint);
        }
        View::Backends => view::backends(look).text(&mut out, first, room, paint),
        View::Clients => view::clients(look, state.order).text(&mut out, first, room, paint),
        View::Tenants => view::tenants(look, state.order).text(&mut out, first, room, paint),
        View::Savings => view::savings(look).text(&mut out, first, room, paint),
        View::Plane => view::plane(look).text(&mut out, first, room, paint),
    }
    let lines: Vec<&str> = out.lines().take(usize::from(rows).saturating_sub(1)).collect();
    clip(&(lines.join("\n") + "\n" + &last), usize::from(columns))
}

const HELP: &str = "
  1 to 6, Tab, arrows   overview, backends and held requests, clients, tenants, savings, data plane
  up, down, j, k        a row; PageUp and PageDown ten; g the first
  s                     order: waste, attempts, name
  p                     pause, and go on
  Space, r              ask again now
  ?, h                  this help; Esc leaves it
  q, Esc, Ctrl-C        quit

  MAY is how many may be in flight, or wait for their first byte; HELD waits here for its turn.
  FIRST BYTE is what half of the responses took; p99 what 99 of a hundred did.
  AMPLIF. is attempts for each piece of work; tokens and cost are those that were wasted, the likely figure.
";

/// What can be pressed, and what was.
fn keys(state: &State, paint: Paint) -> String {
    let mut line = paint.dim("q quit  ? help  ");
    for ((view, name), digit) in View::ALL.iter().zip(1..) {
        let text = format!("{digit} {name}");
        // Brackets say it where there are no colours.
        let text = if *view == state.view {
            paint.bold(&format!("[{text}]"))
        } else {
            format!(" {text} ")
        };
        line += &text;
    }
    let paused = if state.paused { paint.yellow("PAUSED  ") } else { String::new() };
    let rest = format!("s order: {}  p pause", state.order.name());
    format!("{line}  {paused}{}", paint.dim(&rest))
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
    let late = status.lcores.iter().filter(|lcore| lcore.heartbeat_age_ms > HEARTBEAT_LATE_MS);
    for lcore in late {
        let text = format!("LCORE {} GIVES NO SIGN OF LIFE: frames may not pass", lcore.lcore);
        let _ = writeln!(out, "{}", paint.red(&text));
    }
}

fn frames(out: &mut String, look: &Snapshot, before: Option<&Snapshot>, paint: Paint) {
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

fn waste(out: &mut String, look: &Snapshot, paint: Paint) {
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
    let _ = writeln!(out, "Waste    {text}");
    let decided: u64 = totals.held.values().map(|held| held.exchanges).sum();
    let now: u64 = look.standings.backends.iter().map(|backend| backend.held).sum();
    let longest = look.standings.backends.iter().filter_map(|b| b.held_longest_ms).max();
    let longest = longest.map_or(String::new(), |ms| {
        format!(", the longest for {}", figures::duration(ms as f64 / 1e3))
    });
    let acts = look.status.policy.mode.enforces() && !look.status.bypassed;
    let would = if acts { "decided to hold" } else { "would have held" };
    let queue = format!("{now} held now{longest}; laws {would} {}", figures::count(decided));
    let spared = &look.savings.retry_budget;
    let saved = format!(
        "a retry budget in force spares ~{:.0} requests, ~{} tokens",
        spared.exchanges.0[1],
        figures::tokens(spared.tokens.0[1]),
    );
    let queue = if now > 0 { paint.yellow(&queue) } else { queue };
    let _ = writeln!(out, "Held     {queue}{}", paint.dim(&format!("  {saved}")));
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
    use crate::export::snapshot::tests::full;
    use crate::top::state::Order;

    fn a_look() -> Snapshot {
        let mut look = full();
        look.status.uptime_seconds = 10.0;
        look
    }

    fn shown(view: View) -> String {
        let state = State { view, ..State::default() };
        render(&a_look(), None, &state, (200, 40), Paint::PLAIN)
    }

    #[test]
    fn a_frame_shows_frames_cores_waste_endpoints_and_clients() {
        let frame = shown(View::Overview);
        for text in [
            "in 1,000 (100/s",
            "port.tx_ring_full 3",
            "not pinned",
            "3 attempts",
            "11 held now, the longest for 800 ms; laws would have held 2",
            "openai",
            "198.51.100.11",
            "[1 overview]",
        ] {
            assert!(frame.contains(text), "{text} is missing in\n{frame}");
        }
    }

    #[test]
    fn an_endpoint_is_shown_with_limit_breaker_and_waste() {
        let frame = shown(View::Overview);
        let row = frame.lines().find(|line| line.starts_with("openai")).unwrap();
        let cells: Vec<&str> = row.split("  ").map(str::trim).filter(|c| !c.is_empty()).collect();
        let expected =
            ["openai", "4", "128", "2", "11", "11", "1 of 2 open", "0 s", "0 s", "-", "3", "3.00x"];
        assert_eq!(&cells[..12], expected, "{frame}");
    }

    #[test]
    fn each_view_shows_its_table() {
        for (view, text) in [
            (View::Backends, "192.0.2.2:443"),
            (View::Clients, "MOST AT ONCE"),
            (View::Tenants, "(unnamed)"),
            (View::Savings, "cancel propagation"),
            (View::Plane, "parse.not_ip"),
        ] {
            let frame = shown(view);
            assert!(frame.contains(text), "{text} is missing in\n{frame}");
            assert!(!frame.contains("[1 overview]"), "{frame}");
        }
        let most_held = shown(View::Backends);
        assert!(most_held.find("192.0.2.2:443") < most_held.find("192.0.2.1:443"), "{most_held}");
    }

    #[test]
    fn rates_are_those_since_the_look_before() {
        let (before, mut now) = (a_look(), a_look());
        now.status.uptime_seconds = 12.0;
        now.status.frames.rx_frames = 1500;
        now.ledger.endpoints.servers[0].tally.attempts += 5;
        let state = State { order: Order::Attempts, ..State::default() };
        let frame = render(&now, Some(&before), &state, (200, 40), Paint::PLAIN);
        assert!(frame.contains("in 1,500 (250/s"), "{frame}");
        assert!(frame.contains("  2.5  "), "requests a second of the endpoint\n{frame}");
    }

    #[test]
    fn a_frame_fits_any_terminal() {
        for size in [(40, 12), (80, 24), (200, 60)] {
            for (view, _) in View::ALL {
                let state = State { view, paused: true, first: 99, ..State::default() };
                let frame = render(&a_look(), None, &state, size, Paint::PLAIN);
                let lines: Vec<&str> = frame.lines().collect();
                assert!(lines.len() <= size.1.into(), "{size:?}\n{frame}");
                assert!(lines.iter().all(|l| l.chars().count() <= size.0.into()), "{frame}");
                assert!(lines.last().unwrap().starts_with("q quit"), "the keys come last");
                let colours = render(&a_look(), None, &state, size, Paint::COLOUR);
                let plain = |text: &str| {
                    let cut = text.split('\x1b').map(|part| part.split_once('m'));
                    let first = text.split('\x1b').next().unwrap_or_default().to_owned();
                    cut.skip(1).flatten().fold(first, |all, (_, rest)| all + rest)
                };
                assert_eq!(plain(&colours), frame, "colours change nothing but colours");
            }
        }
    }

    #[test]
    fn what_needs_somebody_stands_at_the_top() {
        let mut look = a_look();
        look.status.bypassed = true;
        look.status.lcores[0].heartbeat_age_ms = 5000;
        let frame = render(&look, None, &State::default(), (100, 30), Paint::PLAIN);
        let top: Vec<&str> = frame.lines().take(3).collect();
        assert!(top[1].starts_with("BYPASSED") && top[2].starts_with("LCORE 0 GIVES NO SIGN"));
    }
}
