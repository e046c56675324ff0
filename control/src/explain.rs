//! `fermata explain`: every observation, rule and figure that led to what is said of one exchange,
//! in words.
//!
//! `case` gathers what is known of it and around it, from a capture or from the running data plane;
//! `words` says it. Lengths appear as buckets only, here as everywhere (docs/privacy.md, P2).

mod case;
mod outcome;
mod verdict;
mod words;

use std::fmt::Write as _;
use std::path::Path;

use fastpath::telemetry::event::ExchangeId;
use serde::Serialize;
use serde_json::Value;

use crate::cli::ExplainArgs;
use crate::failure::{Done, Failure};
use crate::output::{self, Format, Paint};
use case::Case;

/// A part of an explanation.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Section {
    title: &'static str,
    statements: Vec<Statement>,
}

/// One thing that is said, and what it is about.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Statement {
    about: &'static str,
    text: String,
}

/// Where the text of a statement begins, in columns.
const TEXT_FROM: usize = 18;

/// Explains one exchange of a capture, or of the running data plane.
///
/// # Errors
/// When the capture or the policy cannot be read, the data plane cannot be asked, or there is no
/// such exchange.
pub fn run(socket: &Path, args: &ExplainArgs) -> Result<Done, Failure> {
    let (case, done) = match &args.read {
        Some(capture) => case::of_capture(capture, args)?,
        None => (case::of_data_plane(socket, args.exchange)?, Done::Wholly),
    };
    let sections = words::sections(&case);
    match args.output {
        Format::Table => {
            output::print_text(&text(&case, &sections, Paint::of_stdout(), output::columns()))?
        }
        Format::Json => output::print_json(&answer(&case, &sections))?,
    }
    Ok(done)
}

/// Explains one exchange of the running data plane, for programs.
///
/// # Errors
/// When the data plane cannot be asked, or remembers no such exchange.
pub fn of_data_plane(socket: &Path, exchange: ExchangeId) -> Result<Value, Failure> {
    let case = case::of_data_plane(socket, exchange)?;
    Ok(answer(&case, &words::sections(&case)))
}

fn answer(case: &Case, sections: &[Section]) -> Value {
    serde_json::json!({
        "exchange": case.exchange,
        "flow": case.hello,
        "signals": case.signals,
        "attempt_before": case.before,
        "attempt_after": case.after,
        "endpoint_before": case.load,
        "sections": sections,
    })
}

fn text(case: &Case, sections: &[Section], paint: Paint, columns: usize) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{}", paint.bold(&words::title(&case.exchange)));
    let _ = writeln!(out, "{}", words::verdict_line(&case.exchange));
    for section in sections {
        let _ = writeln!(out, "\n{}", paint.bold(section.title));
        for Statement { about, text } in &section.statements {
            let mut lines = output::wrapped(text, columns - TEXT_FROM).into_iter();
            let first = lines.next().unwrap_or_default();
            let label = paint.dim(&format!("{about:<width$}", width = TEXT_FROM - 2));
            let _ = writeln!(out, "  {label}{first}");
            for line in lines {
                let _ = writeln!(out, "{:TEXT_FROM$}{line}", "");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests;
