//! What is said of an exchange, in the order in which it came to be known.

use fastpath::detect::assign::LINK_ABOVE;
use fastpath::detect::{hedge, restart};
use fastpath::policy::endpoint::{Endpoint, Fit};
use fastpath::telemetry::event::{Evidence, Outcome, SignalKind, Visibility, Waste};
use fastpath::telemetry::grounds::{LinkGrounds, LinkRule};
use fastpath::telemetry::line::{EventLine, ExchangeLine};

use super::case::Case;
use super::{Section, Statement, outcome, verdict};
use crate::figures;
use crate::output::clean;
use crate::report::waste_text;
use crate::rows::{signal_text, socket};

/// Who called whom.
pub(super) fn title(x: &ExchangeLine) -> String {
    let client = socket(&x.client, x.client_port);
    format!("{}  {client} to {}, {}", x.id, clean(x.server_name()), visibility(x.visibility))
}

/// What it is, in a line.
pub(super) fn verdict_line(x: &ExchangeLine) -> String {
    let mut parts = vec![format!("{} in {}", x.outcome.name(), figures::duration(x.seconds()))];
    parts.push(match &x.retry_of {
        Some(before) => format!("attempt {}, a retry of {before}", x.attempt),
        None if x.hedge => "a second copy of a request that still ran".to_owned(),
        None if x.restart => "asked again after a restart".to_owned(),
        None => "a first attempt".to_owned(),
    });
    parts.push(
        x.waste
            .map_or_else(|| "no waste".to_owned(), |waste| format!("waste: {}", waste_text(waste))),
    );
    parts.push(format!("verdict: {}", verdict::word(x)));
    parts.join("; ")
}

/// Everything.
pub(super) fn sections(case: &Case) -> Vec<Section> {
    let x = &case.exchange;
    let endpoint = x.endpoint.as_ref();
    let endpoint = endpoint.and_then(|name| case.policy.endpoints.iter().find(|e| e.name == *name));
    let class = endpoint.map(|endpoint| endpoint.class);
    let section = |title, statements| Section { title, statements };
    vec![
        section("Connection", connection(case)),
        section("Time and size", time_and_size(x)),
        section("Outcome", outcome::statements(x, class)),
        section("Attempt", attempt(case)),
        section("Tokens", tokens(x, endpoint)),
        section("Waste and verdict", waste_and_verdict(case)),
    ]
}

fn connection(case: &Case) -> Vec<Statement> {
    let x = &case.exchange;
    let hello = case.hello.as_ref().map_or_else(
        || "not seen: it passed before the observation began, or was forgotten".to_owned(),
        |hello| {
            let alpn = match hello.alpn.as_slice() {
                [] => "no ALPN".to_owned(),
                names => format!("ALPN {}", clean(&names.join(", "))),
            };
            let ech = if hello.ech { ", encrypted ClientHello or its GREASE present" } else { "" };
            format!(
                "{} before the request, over {}: offers {}, {alpn}{ech}, JA4 {}",
                figures::duration(x.start - hello.time),
                hello.proto,
                hello.tls_version,
                hello.ja4
            )
        },
    );
    let name = x.sni.as_ref().map_or_else(|| "none in clear".to_owned(), |sni| clean(sni));
    let mut out = vec![say("ClientHello", hello), say("Server name", name)];
    out.push(say("Endpoint", endpoint(x)));
    let mut visible = match x.visibility {
        Visibility::H1 => "HTTP/1.1 in TLS: one request at a time, so records belong to it alone",
        Visibility::Mux if x.grounds.alone => {
            "HTTP/2 in TLS; this stream ran alone on its connection and is judged like HTTP/1.1"
        }
        Visibility::Mux => {
            "HTTP/2 in TLS, among other streams: sums are known, what is whose is a guess"
        }
        Visibility::Quic => "QUIC: directions and times only",
        Visibility::Both | Visibility::Opaque => {
            "no TLS that could be followed: directions, lengths and times"
        }
    }
    .to_owned();
    if x.from_middle {
        visible.push_str("; the connection was met in the middle");
    }
    out.push(say("Seen as", visible));
    out
}

fn endpoint(x: &ExchangeLine) -> String {
    let Some(name) = &x.endpoint else {
        return "none that is known: the policy names neither this server's name nor its address"
            .to_owned();
    };
    let by = match x.endpoint_by {
        Some(Evidence::Prefix) => "the policy names the server's address and port",
        Some(Evidence::Sni) => "the policy names the name in the ClientHello",
        Some(Evidence::Learnt) => "clients that did give a name asked this address for it",
        Some(Evidence::Fingerprint) => "the policy names the ClientHello's fingerprint",
        None => "the policy has changed since",
    };
    let sure = x.confidence.endpoint.map_or_else(String::new, |c| format!(", confidence {c:.2}"));
    format!("{}: {by}{sure}", clean(name))
}

fn time_and_size(x: &ExchangeLine) -> Vec<Statement> {
    let mut out = vec![say("Request began", format!("{} UTC", utc_millis(x.start)))];
    let to_server = x.rtt_server_ms.map_or_else(
        || "the round trip to the server is not known".to_owned(),
        |ms| format!("the round trip to the server takes {}", round_trip(ms)),
    );
    let first = match (x.first_byte_seconds(), x.rtt_server_ms) {
        (None, _) => format!("none came; {to_server}"),
        (Some(after), Some(ms)) => format!(
            "{} after the request; {to_server}, so the server took {}",
            figures::duration(after),
            figures::duration((after - ms / 1e3).max(0.0))
        ),
        (Some(after), None) => {
            format!("{} after the request; {to_server}", figures::duration(after))
        }
    };
    out.push(say("First byte", first));
    let took = figures::duration(x.seconds());
    out.push(say(
        "Over",
        format!("{took} after the request began, at {} UTC", figures::clock(x.over())),
    ));
    let g = &x.grounds;
    let sent = match g.up_records {
        0 => String::new(),
        n => format!("{}, ", figures::counted(n.into(), "record", "records")),
    };
    out.push(say("Request", format!("{sent}{}", bucket(x.up_bucket))));
    let shape = if x.streamed { "a stream" } else { "no stream" };
    let came = match g.down_records {
        0 => "none".to_owned(),
        n => format!(
            "{} in {}, {}: {shape}",
            figures::counted(n.into(), "record", "records"),
            figures::counted(g.bursts.into(), "burst", "bursts"),
            bucket(x.down_bucket)
        ),
    };
    out.push(say("Response", came));
    let stall = x.stall.map_or_else(
        || "none: no silence inside the response was longer than the limit".to_owned(),
        |seconds| format!("the response was silent for {}", figures::duration(seconds)),
    );
    out.push(say("Stall", stall));
    out
}

fn attempt(case: &Case) -> Vec<Statement> {
    let x = &case.exchange;
    let window = figures::duration(case.policy.limits.retry_window().secs_f64());
    let link = &x.grounds.link;
    let mut out = vec![say("Link", self::link(x, link, &window))];
    if let Some(before) = &case.before {
        out.push(say("Attempt before", beside(before)));
    }
    if let Some(after) = &case.after {
        out.push(say("Attempt after", beside(after)));
    }
    if x.hedge {
        let since = link.running_seconds.unwrap_or_default();
        let text = format!(
            "A request of the same length had started {} before and still ran; a client that hedges waits at least {}.",
            figures::duration(since),
            figures::duration(hedge::WAIT_MIN.secs_f64())
        );
        out.push(say("Hedge", text));
    }
    if x.restart {
        let since = link.answered_seconds.unwrap_or_default();
        let text = format!(
            "A request like it had been answered {} before, and lengths like it are no template ({} of its length and \
             {} of nearly it in the minute before); a restart comes later than {}.",
            figures::duration(since),
            link.same,
            link.near,
            figures::duration(restart::PAUSE_MIN.secs_f64())
        );
        out.push(say("Restart", text));
    }
    out.push(say("Confidence", format!("{:.2}", x.confidence.retry)));
    out
}

fn link(x: &ExchangeLine, link: &LinkGrounds, window: &str) -> String {
    let gap = link
        .gap_seconds
        .map_or_else(String::new, |gap| format!("a gap of {}", figures::duration(gap.max(0.0))));
    let odds = link.log_likelihood.map_or_else(String::new, |odds| match link.rule {
        LinkRule::Assigned => {
            format!("log-likelihood ratio {odds:.1}, and a link needs more than {LINK_ABOVE:.1}")
        }
        _ => format!("log-likelihood ratio {odds:.1}, asked for only where a length is a template"),
    });
    let candidates = figures::counted(link.candidates.into(), "failed attempt", "failed attempts");
    let how = match link.rule {
        LinkRule::Undecided => {
            return "It was not compared with others: forgotten before its time, or what it was linked to turned out \
                    to have succeeded."
                .to_owned();
        }
        LinkRule::Unique => {
            "nothing else of nearly its length was answered lately, so an equal length is enough"
        }
        LinkRule::Assigned => {
            "many requests have nearly its length, so the pause before it must tell"
        }
        LinkRule::Body => "its body has the same length",
        LinkRule::SharedEnd => {
            "its body has the same length, and an end on its connection goes for that of the attempt before"
        }
    };
    let rivals = match link.rivals {
        0 => String::new(),
        n => format!(
            " {} for the same.",
            figures::counted(n.into(), "other start competed", "other starts competed")
        ),
    };
    match &x.retry_of {
        Some(before) if matches!(link.rule, LinkRule::Body | LinkRule::SharedEnd) => {
            format!("Retry of {before}: {how}. There was {gap} between them ({odds}).")
        }
        Some(before) => format!(
            "Retry of {before}: {how}. {candidates} of its client, server and application would do; between this one and it \
             was {gap} ({odds}).{rivals}"
        ),
        None if link.candidates == 0 => format!(
            "No retry: no attempt of its client, server and application with its length failed within {window} before it."
        ),
        None => format!(
            "No retry: {how}. {candidates} would do by length; the likeliest ended with {gap} before it ({odds}), or went to \
             a likelier start.{rivals}"
        ),
    }
}

fn beside(other: &ExchangeLine) -> String {
    format!(
        "{}: attempt {}, {} after {}",
        other.id,
        other.attempt,
        other.outcome.name(),
        figures::duration(other.seconds())
    )
}

fn tokens(x: &ExchangeLine, endpoint: Option<&Endpoint>) -> Vec<Statement> {
    let Some(estimate) = x.tokens_estimate else {
        let failed =
            matches!(x.outcome, Outcome::Failed | Outcome::Throttled | Outcome::ConnectFailed);
        let why = match endpoint {
            _ if x.grounds.down_records == 0 => {
                "there was no response; what the server made unseen is not known"
            }
            _ if failed => "an error has none",
            None => "the endpoint is not known",
            Some(Endpoint { calibration: None, .. }) => {
                "its endpoint has no calibration: name one in a policy"
            }
            Some(_) => "its endpoint has no calibration for responses of this kind",
        };
        return vec![say("Output tokens", format!("no estimate: {why}"))];
    };
    let mut out = vec![say("Output tokens", figures::range(estimate, figures::tokens))];
    if let Some((fit, kind)) = endpoint.and_then(|endpoint| fit(x, endpoint)) {
        out.push(say("Calibration", format!("{}: {}", kind, formula(x, fit))));
    }
    match (x.cost_usd, endpoint.and_then(|endpoint| endpoint.price)) {
        (Some(cost), Some(price)) => {
            let [cheap, usual, dear] = price.output_per_million;
            let at = format!("at ${usual} for a million output tokens (${cheap} to ${dear})");
            out.push(say("Cost", format!("{} {at}", figures::range(cost, figures::dollars))));
        }
        _ => out.push(say("Cost", "no price is known: name one in a policy".to_owned())),
    }
    out
}

/// The fit that the estimate was made with (`detect/tokens.rs`).
fn fit(x: &ExchangeLine, endpoint: &Endpoint) -> Option<(Fit, &'static str)> {
    let calibration = endpoint.calibration?;
    let cut = matches!(x.outcome, Outcome::ClientAbort | Outcome::ServerAbort);
    match (x.visibility, x.streamed) {
        (Visibility::Mux, true) => {
            let fit = calibration.mux_stream.unwrap_or(calibration.stream);
            Some((fit, "of streams over HTTP/2"))
        }
        (Visibility::Mux, false) => Some((calibration.mux_plain?, "of plain answers over HTTP/2")),
        (_, streamed) if streamed || cut => Some((calibration.stream, "of streams")),
        _ => Some((calibration.plain?, "of plain answers")),
    }
}

fn formula(x: &ExchangeLine, fit: Fit) -> String {
    let mut terms = Vec::new();
    if fit.per_record != 0.0 {
        terms.push(format!("{} for each of {} records", fit.per_record, x.grounds.counted_records));
    }
    if fit.per_byte != 0.0 {
        terms.push(format!("{} for each byte ({})", fit.per_byte, bucket(x.down_bucket)));
    }
    if fit.per_event != 0.0 {
        terms.push(format!("{} for each event", fit.per_event));
    }
    if fit.offset != 0.0 {
        terms.push(format!("{} in any case", fit.offset));
    }
    if fit.tail != 0.0 && x.outcome == Outcome::Complete {
        terms.push(format!("{} because it is whole", fit.tail));
    }
    format!("{}; give or take {:.0} %", terms.join(", "), f64::from(fit.spread) * 100.0)
}

fn waste_and_verdict(case: &Case) -> Vec<Statement> {
    let x = &case.exchange;
    let waste = match x.waste {
        None if x.outcome == Outcome::ClientAbort && x.first_byte.is_none() => {
            "none that can be seen: the client left before the first byte, and what the server made of it never \
             reached the wire"
        }
        None if x.outcome == Outcome::Complete => "none: it was answered",
        None if x.outcome.invites_retry() => {
            "none: it failed as a first attempt; only what is tried again in vain is waste"
        }
        None => "none that is known",
        Some(Waste::Retry) => "retried in vain: it was another attempt, and came to nothing again",
        Some(Waste::LateAbort) => "left by the client midway: what had been made was thrown away",
        Some(Waste::Partial) => "cut by the server midway: what had been sent is of no use",
        Some(Waste::Orphan) => "made for a client that had left: a gateway went on receiving it",
        Some(Waste::Doomed) => "beside a branch that had failed for good: nothing could come of it",
        Some(Waste::Thrash) => {
            "thrown away: its workflow began anew and asked again for what it had been told"
        }
        Some(Waste::Hedge) => {
            "lost against its copy: the client left it when the other was answered"
        }
    };
    let mut out = vec![say("Waste", waste.to_owned())];
    if let Some(amended) = x.amended {
        let (clock, since) = (figures::clock(amended), figures::duration(amended - x.over()));
        out.push(say("Amended", format!("that turned out at {clock} UTC, {since} after its end")));
    }
    for signal in &case.signals {
        out.push(say("Signal", self::signal(x, signal)));
    }
    out.extend(verdict::statements(case));
    out
}

/// A signal in words. One about a cut tells its last byte; the close that cut it may come later.
fn signal(x: &ExchangeLine, signal: &EventLine) -> String {
    let cut = matches!(signal.kind, SignalKind::LateAbort | SignalKind::Partial);
    let (value, time) = match (x.first_byte, x.closed.filter(|_| cut)) {
        (Some(first), Some(closed)) => (closed - first, closed),
        _ => (signal.value, signal.time),
    };
    let text = signal_text(&EventLine { value, ..signal.clone() });
    format!("{text}, at {} UTC", figures::clock(time))
}

fn round_trip(ms: f64) -> String {
    if ms < 1.0 { "less than 1 ms".to_owned() } else { figures::millis(Some(ms)) }
}

const fn visibility(visibility: Visibility) -> &'static str {
    match visibility {
        Visibility::H1 => "HTTP/1.1",
        Visibility::Mux => "HTTP/2",
        Visibility::Quic => "QUIC",
        Visibility::Both | Visibility::Opaque => "opaque",
    }
}

fn bucket(bytes: u64) -> String {
    format!("up to {}", figures::bytes(bytes))
}

fn utc_millis(seconds: f64) -> String {
    format!("{} {}", &figures::utc(seconds)[..10], figures::clock(seconds))
}

fn say(about: &'static str, text: String) -> Statement {
    Statement { about, text }
}
