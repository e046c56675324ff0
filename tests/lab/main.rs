//! `fermata-lab`: the endpoints of the lab and the two comparisons at its end.
//!
//! The only file of the lab that reads arguments and decides exit codes: 0 equal or served to the
//! end, 1 an error, 2 differences. Everything it starts is described in `tests/lab/README.md`.

mod align;
mod answer;
mod answers;
mod anthropic;
mod certs;
mod clock;
mod compare;
mod config;
mod connection;
mod error;
mod exchange;
mod frames;
mod headers;
mod openai;
mod plan;
mod respond;
mod serve;
mod slots;
mod stream;
mod table;
mod truth;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::LabError;

/// Endpoints and ground truth of Fermata's lab.
///
/// The lab puts real SDK clients and real TLS endpoints at the two ends of Fermata. This program is
/// the endpoints, and afterwards the judge: it compares what Fermata saw with what the servers know
/// happened, and the answers that came over the wire with the answers of the direct path.
/// `scripts/lab run` calls it; `tests/lab/README.md` says more.
#[derive(Parser)]
#[command(name = "fermata-lab", version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the model endpoints until SIGTERM or SIGINT, and log the truth of every request.
    ///
    /// Listens on every address of the endpoint file (HTTPS, HTTP/1.1), answers calls in the manner
    /// of OpenAI and Anthropic, misbehaves exactly as the plan says, and writes one JSON line a
    /// request to the truth file.
    Endpoints(serve::EndpointsArguments),
    /// Compare Fermata's exchange lines with the truth.
    ///
    /// Prints "what happened / what Fermata saw / equal?", then one line for each difference that
    /// names the call. Exit 0 when attempts, retries and client aborts are equal, 2 otherwise.
    Compare(compare::CompareArguments),
    /// Compare the answers of the direct path with the answers that came through Fermata.
    ///
    /// Both files are written by the clients (one line an SDK call, with a digest of every byte of
    /// the answer). Exit 0 when every call got the same bytes, 2 otherwise.
    Answers {
        /// Answers of the direct path, where nothing stood between client and endpoint.
        #[arg(long, value_name = "FILE")]
        direct: PathBuf,
        /// Answers of the wire path, through Fermata.
        #[arg(long, value_name = "FILE")]
        wire: PathBuf,
    },
    /// Check that frames in = frames out + held + named drops.
    ///
    /// Reads what `fermata-fastpath --stats-out` wrote. Exit 0 when they add up, 2 otherwise.
    Frames {
        /// The counters of the run.
        #[arg(long, value_name = "FILE")]
        stats: PathBuf,
        /// Also expect that no frame was dropped, missed or broken.
        #[arg(long)]
        lossless: bool,
    },
}

const EXIT_CODES: &str = "Exit codes: 0 fine or no difference, 1 error, 2 differences, 4 usage.";

/// Exit code of a comparison that found differences.
const DIFFERENT: u8 = 2;
/// Exit code of wrong usage, as everywhere.
const USAGE: u8 = 4;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = if error.use_stderr() { USAGE } else { 0 };
            // A closed terminal is the only way this can fail, and then there is nobody to tell.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    match run(arguments.command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(DIFFERENT),
        Err(error) => {
            eprintln!("fermata-lab: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs one command; `Ok(false)` means that a comparison found differences.
fn run(command: Command) -> Result<bool, LabError> {
    match command {
        Command::Endpoints(arguments) => serve::run(&arguments).map(|()| true),
        Command::Compare(arguments) => compare::run(&arguments),
        Command::Answers { direct, wire } => answers::run(&direct, &wire),
        Command::Frames { stats, lossless } => frames::run(&stats, lossless),
    }
}
