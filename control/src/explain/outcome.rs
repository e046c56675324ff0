//! Why an exchange is said to have ended as it did.

use fastpath::detect::failure;
use fastpath::policy::endpoint::Class;
use fastpath::telemetry::event::{Outcome, Visibility};
use fastpath::telemetry::grounds::{Ended, OutcomeRule};
use fastpath::telemetry::line::ExchangeLine;

use super::Statement;
use crate::figures;

/// What ended it, which rule decided, and how sure that is.
pub(super) fn statements(x: &ExchangeLine, class: Option<Class>) -> Vec<Statement> {
    let mut out = vec![
        Statement { about: "Ended by", text: ended(x) },
        Statement { about: "Rule", text: rule(x, class) },
    ];
    if x.outcome == Outcome::Throttled {
        let text =
            "Two sizes of error recur at this server, and this is the larger one: an error with \
                    rate-limit headers, a 429."
                .to_owned();
        out.push(Statement { about: "Throttled", text });
    }
    out.push(Statement { about: "Confidence", text: confidence(x) });
    out
}

fn ended(x: &ExchangeLine) -> String {
    let what = match x.grounds.ended {
        Ended::Running => "nothing: it was running when it was told",
        Ended::NextRequest => "the next request on its connection, so the response was over",
        Ended::Mark if x.visibility == Visibility::Mux => "the server's END_STREAM",
        Ended::Mark => "the last chunk of a chunked body, and nothing after it",
        Ended::Silence => "silence of the server, which does not mark the ends of responses",
        Ended::ClientClosed => "the client: it closed the connection first",
        Ended::ClientReset => "the client: it reset the stream",
        Ended::ServerClosed => "the server: it closed the connection first",
        Ended::ServerReset => "the server: it reset",
        Ended::Gone => "nobody: its flow went idle, or the observation ended",
    };
    let since = x.closed.map(|closed| closed - x.start);
    let when = since.map_or_else(String::new, |since| {
        format!(", {} after the request began", figures::duration(since))
    });
    let late = match x.grounds.late_records {
        0 => String::new(),
        n => format!(
            "; {} of the response came after the client had closed",
            figures::counted(n.into(), "record", "records")
        ),
    };
    format!("{what}{when}{late}")
}

fn rule(x: &ExchangeLine, class: Option<Class>) -> String {
    let outcome = x.outcome.name();
    match x.grounds.outcome {
        OutcomeRule::NoResponse => {
            let who = if x.outcome == Outcome::ClientAbort { "client" } else { "server" };
            format!("No byte of a response came before the {who} closed: {outcome}.")
        }
        OutcomeRule::ResponseMissed => format!(
            "The client acknowledged a response that did not pass here; it goes for whole: {outcome}."
        ),
        OutcomeRule::ClientLeft => format!(
            "The client closed while the response was under way, without its end having come: {outcome}."
        ),
        OutcomeRule::ServerCut => format!(
            "The server ended a response that had begun, without the mark of a whole one: {outcome}."
        ),
        OutcomeRule::CutStream => format!(
            "The response began as this server's streams begin, and a close followed before it could be \
             told by its length: {outcome}."
        ),
        OutcomeRule::ErrorShape => format!("{}: {outcome}.", error_shape(x, class)),
        OutcomeRule::ErrorSize => format!(
            "Answers of this size recur among this server's errors (cluster centres learnt for the server): \
             {outcome}."
        ),
        OutcomeRule::AskedAgain => format!(
            "The answer came as soon as errors do, and its client asked for the same again or began its work anew: \
             {outcome}."
        ),
        OutcomeRule::PromptClose => format!(
            "This server keeps connections open after whole responses, and closed this one with the last byte: \
             {outcome}."
        ),
        OutcomeRule::Mark => format!("The mark of a whole response came: {outcome}."),
        OutcomeRule::NothingAgainst => format!(
            "There is no mark of a whole response, and nothing speaks against it: no abort, no cut, no shape of \
             an error: {outcome}."
        ),
    }
}

fn error_shape(x: &ExchangeLine, class: Option<Class>) -> String {
    if x.visibility == Visibility::Mux {
        return "The answer has the shape of an error over HTTP/2: headers and a short body in one piece"
            .to_owned();
    }
    let within = figures::duration(failure::SERVICE_TIME_MAX.secs_f64());
    let span = figures::duration(failure::SPAN_MAX.secs_f64());
    let count = |bytes: u32| figures::count(bytes.into());
    match class {
        Some(Class::Embedding) => format!(
            "The answer has the shape of an error: at most {} bytes, begun within {within} besides the round trip, in \
             one piece of at most {span}",
            count(failure::EMBEDDING_BYTES_MAX)
        ),
        Some(Class::Llm | Class::Tool) | None => format!(
            "The answer has the shape of an error: at most {} bytes, begun within {within} besides the round trip, in \
             one piece of at most {span}; or below {} bytes, which no model's answer is",
            count(failure::LLM_BYTES_MAX),
            count(failure::LLM_BYTES_MIN)
        ),
    }
}

fn confidence(x: &ExchangeLine) -> String {
    let share = x.confidence.outcome;
    let mut text =
        format!("{share:.2}: the share of right answers of this rule on captures with known truth");
    if x.from_middle {
        text.push_str(", less because the connection was met in the middle");
    }
    if x.visibility == Visibility::Mux && !x.grounds.alone {
        text.push_str(", of streams that run among others, where whose end it was is a guess");
    }
    text
}
