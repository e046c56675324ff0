//! `fermata assess`: what captures show of calls, attempts and waste.

use std::path::Path;

use fastpath::telemetry::event::Event;
use fastpath::telemetry::line::{EventLine, ExchangeLine};

use crate::cli::AssessArgs;
use crate::failure::{Done, Failure};
use crate::output::{self, Format, Paint};
use crate::report::{self, Assessment, html, starter, terminal};
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
        capture::read(&args.captures, &snapshot, json, |name, event, outlets| match event {
            Event::Exchange(exchange) => {
                let line = ExchangeLine::new(exchange, &outlets.names, &snapshot);
                assessment.add(&ExchangeLine { pcap: name.map(str::to_owned), ..line });
            }
            Event::Signal(signal) => assessment.add_event(&EventLine::new(signal, &snapshot)),
            Event::Hello(_) | Event::Amendment(_) => {}
        })?;
    let mut report = assessment.finish(&read, args.captures.len());
    report.policy = args.policy.as_deref().map(capture::file_name);
    let value = report::to_json(&report);
    if let Some(directory) = &args.out {
        let text = serde_json::to_string_pretty(&value).map_err(|e| Failure::Output(e.into()))?;
        write(directory, "report.json", &text)?;
        write(directory, "report.html", &html::page(&report))?;
        write(directory, "policy.yaml", &starter::yaml(&report, snapshot.policy()))?;
    }
    match args.output {
        Format::Json => output::print_json(&value)?,
        Format::Table => {
            output::print_text(&terminal::summary(&report, Paint::of_stdout()))?;
            if let Some(directory) = &args.out {
                let place = directory.join("report.html");
                output::print_text(&format!(
                    "\nReport: {} (beside it report.json and the starter policy.yaml)\n",
                    place.display()
                ))?;
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
