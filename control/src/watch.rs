//! `fermata watch`: what needs a look, a line each, as it happens. Waste, failures and verdicts of
//! requests, and what detectors and rules say. It goes on when the data plane starts anew.

use std::path::Path;
use std::time::Duration;

use fastpath::telemetry::event::{Outcome, Verdict, Waste};
use fastpath::telemetry::line::{EventClass, EventLine, ExchangeLine};

use crate::cli::{self, WatchArgs};
use crate::export::Counts;
use crate::export::feed::{Reader, Rows};
use crate::failure::{Done, Failure};
use crate::figures;
use crate::link::Link;
use crate::output::{self, Paint, Row};
use crate::rows;

/// Time between two questions.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// A column for what happened, and one for the exchange.
const WHAT: usize = 15;
const EXCHANGE: usize = 8;

/// Writes lines until the process is ended.
///
/// # Errors
/// When the data plane cannot be asked at first, or standard output cannot be written.
pub fn run(socket: &Path, args: &WatchArgs) -> Result<Done, Failure> {
    drop(Link::connect(socket)?);
    let (paint, counts) = (Paint::of_stdout(), Counts::default());
    let mut reader = Reader::new(socket, args.backlog);
    let (mut away, mut missed) = (false, 0);
    loop {
        match reader.read(&counts) {
            Ok(rows) => {
                if std::mem::take(&mut away) {
                    output::print_text(&format!(
                        "{}\n",
                        paint.dim("the data plane answers again")
                    ))?;
                }
                let [.., all] = counts.all();
                if all > missed {
                    let text = format!("{} rows had gone before they were read", all - missed);
                    output::print_text(&format!("{}\n", paint.yellow(&text)))?;
                    missed = all;
                }
                output::print_text(&text(&rows, args, paint))?;
            }
            Err(error) => {
                if !std::mem::replace(&mut away, true) {
                    cli::report(&error.reply(), false);
                }
            }
        }
        std::thread::sleep(ASK_EVERY);
    }
}

/// The lines of `rows` that are asked for, in the order of their time.
fn text(rows: &Rows, args: &WatchArgs, paint: Paint) -> String {
    let wanted = |endpoint: Option<&String>, client: &String| {
        args.endpoint.as_ref().is_none_or(|name| endpoint == Some(name))
            && args.client.as_ref().is_none_or(|address| address == client)
    };
    let exchanges = rows
        .exchanges
        .iter()
        .filter(|x| wanted(x.endpoint.as_ref(), &x.client) && (args.all || needs_a_look(x)))
        .map(|x| (x.end, of_exchange(x, paint)));
    // What a detector says of one exchange is in that exchange's line too, but not at once.
    let events = rows
        .events
        .iter()
        .filter(|event| wanted(event.endpoint.as_ref(), &event.client))
        .map(|event| (event.time, of_event(event, paint)));
    let mut lines: Vec<(f64, String)> = exchanges.chain(events).collect();
    lines.sort_by(|a, b| a.0.total_cmp(&b.0));
    lines.into_iter().map(|(_, line)| line + "\n").collect()
}

fn needs_a_look(x: &ExchangeLine) -> bool {
    let fine = matches!(x.outcome, Outcome::Complete | Outcome::Open);
    !fine || x.waste.is_some() || x.verdict != Verdict::Pass
}

fn of_exchange(x: &ExchangeLine, paint: Paint) -> String {
    let what = format!("{:<WHAT$}", x.outcome.name());
    let what = match x.outcome {
        Outcome::Complete => paint.green(&what),
        Outcome::Open => what,
        Outcome::Throttled | Outcome::Stalled => paint.yellow(&what),
        Outcome::Failed
        | Outcome::ClientAbort
        | Outcome::ServerAbort
        | Outcome::Truncated
        | Outcome::ConnectFailed => paint.red(&what),
    };
    let mut said = vec![format!("took {}", figures::duration(x.end - x.start))];
    if let Some(first_byte) = x.first_byte {
        said.push(format!("first byte after {}", figures::duration(first_byte - x.start)));
    }
    if let Some(of) = &x.retry_of {
        said.push(format!("attempt {}, of {of}", x.attempt));
    }
    if x.verdict != Verdict::Pass {
        let done = if x.enforced { "" } else { " (not in force)" };
        let held = x.hold_ms.map(|ms| format!(" {}", figures::duration(ms as f64 / 1e3)));
        let verdict = x.verdict.name();
        said.push(format!("{verdict}{}{done}", held.unwrap_or_default()));
    }
    if let Some(waste) = x.waste.map(Waste::name) {
        said.push(paint.red(&format!("waste: {waste}")));
    }
    let place = place(x.endpoint.as_ref(), &x.server, x.server_port);
    line(x.end, &what, &x.id, &x.client, &place, &said.join(", "))
}

fn of_event(event: &EventLine, paint: Paint) -> String {
    // The cells of the table of events: time, kind, exchange, client, endpoint, what.
    let [_, kind, .., what] = &event.cells()[..] else { return String::new() };
    let kind = format!("{kind:<WHAT$}");
    let kind = match event.event {
        EventClass::Signal => paint.bold(&kind),
        EventClass::Verdict => paint.yellow(&kind),
        EventClass::Amendment => paint.red(&kind),
    };
    let place = place(event.endpoint.as_ref(), &event.server, event.server_port);
    line(event.time, &kind, &event.exchange, &event.client, &place, what)
}

fn place(endpoint: Option<&String>, server: &str, port: u16) -> String {
    endpoint.cloned().unwrap_or_else(|| rows::socket(server, port))
}

fn line(time: f64, what: &str, exchange: &str, client: &str, place: &str, said: &str) -> String {
    let (client, place) = (output::clean(client), output::clean(place));
    format!("{}  {what}  {exchange:<EXCHANGE$}  {client} -> {place}  {said}", figures::clock(time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::exchange;
    use fastpath::telemetry::event::{Reason, SignalKind};

    const ALL: WatchArgs = WatchArgs { endpoint: None, client: None, all: true, backlog: false };

    fn rows() -> Rows {
        let well = exchange("198.51.100.11", "openai", 0.0, 9.0);
        let failed = ExchangeLine {
            id: "x2".to_owned(),
            outcome: Outcome::Failed,
            attempt: 2,
            retry_of: Some("x1".to_owned()),
            waste: Some(Waste::Retry),
            verdict: Verdict::Hold,
            hold_ms: Some(1500),
            reason: Reason::OverRetryBudget,
            ..exchange("198.51.100.12", "other", 1.0, 3.0)
        };
        let event = EventLine {
            pcap: None,
            time: 5.0,
            event: EventClass::Signal,
            kind: SignalKind::Cascade,
            exchange: "x2".to_owned(),
            client: "198.51.100.12".to_owned(),
            client_port: 1,
            server: "192.0.2.1".to_owned(),
            server_port: 443,
            endpoint: Some("other".to_owned()),
            value: 3.0,
            unit: "attempts_per_call".to_owned(),
            waste: None,
            episode: None,
        };
        Rows { exchanges: vec![well, failed], events: vec![event] }
    }

    #[test]
    fn lines_come_in_the_order_of_their_time() {
        let text = text(&rows(), &ALL, Paint::PLAIN);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "00:00:03.000  failed           x2        198.51.100.12 -> other  took 2.0 s, first byte \
                 after 0 s, attempt 2, of x1, hold 1.5 s (not in force), waste: retry",
                "00:00:05.000  cascade          x2        198.51.100.12 -> other  3.0 attempts for each call",
                "00:00:09.000  complete         x1        198.51.100.11 -> openai  took 9.0 s, first byte \
                 after 0 s",
            ]
        );
    }

    #[test]
    fn what_went_well_is_left_out_unless_it_is_asked_for() {
        let args = WatchArgs { all: false, ..ALL };
        assert_eq!(text(&rows(), &args, Paint::PLAIN).lines().count(), 2);
        let args = WatchArgs { endpoint: Some("openai".to_owned()), ..ALL };
        assert_eq!(text(&rows(), &args, Paint::PLAIN).lines().count(), 1);
        let args = WatchArgs { client: Some("198.51.100.12".to_owned()), ..ALL };
        assert_eq!(text(&rows(), &args, Paint::PLAIN).lines().count(), 2);
    }

    #[test]
    fn a_name_from_the_network_cannot_command_the_terminal() {
        let mut rows = rows();
        rows.exchanges[0].endpoint = Some("a\x1b[2Jb".to_owned());
        assert!(!text(&rows, &ALL, Paint::PLAIN).contains('\x1b'));
    }
}
