//! `fermata assess`: what captures show of calls, attempts and waste.

use std::path::Path;

use fastpath::telemetry::event::Event;
use fastpath::telemetry::line::{EventLine, ExchangeLine};

use crate::cli::AssessArgs;
use crate::failure::{Done, Failure};
use crate::output::{self, Format, Paint};
use crate::report::{self, Assessment, html, terminal};
use crate::{capture, policy};

/// Reads the captures and prints the summary; with `--out` writes the report.
///
/// # Errors
/// When no capture, or the policy, can be read, or the report cannot be written.
pub fn run(args: &AssessArgs) -> Result<Done, Failure> {
    let snapshot = policy::snapshot(args.policy.as_deref())?;
    let mut assessment = Assessment::new(snapshot.policy());
    let json = args.output == Format::Json;
    let (read, done) =
        capture::read(&args.captures, &snapshot, json, |_, event, outlets| match event {
            Event::Exchange(exchange) => {
                assessment.add(&ExchangeLine::new(exchange, &outlets.names, &snapshot));
            }
            Event::Signal(signal) => assessment.add_event(&EventLine::new(signal, &snapshot)),
            Event::Hello(_) => {}
        })?;
    let report = assessment.finish(&read, args.captures.len());
    let value = report::to_json(&report);
    if let Some(directory) = &args.out {
        let text = serde_json::to_string_pretty(&value).map_err(|e| Failure::Output(e.into()))?;
        write(directory, "report.json", &text)?;
        write(directory, "report.html", &html::page(&report))?;
    }
    match args.output {
        Format::Json => output::print_json(&value)?,
        Format::Table => {
            output::print_text(&terminal::summary(&report, Paint::of_stdout()))?;
            if let Some(directory) = &args.out {
                let place = directory.join("report.html");
                output::print_text(&format!("\nReport: {} (and report.json)\n", place.display()))?;
            }
        }
    }
    Ok(done)
}

fn write(directory: &Path, name: &str, text: &str) -> Result<(), Failure> {
    let path = directory.join(name);
    let failed = |error| Failure::Write(path.clone(), error);
    std::fs::create_dir_all(directory).map_err(failed)?;
    std::fs::write(&path, text).map_err(failed)
}
