//! The command line: what can be asked, in clap's words, and which module answers.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use fastpath::ipc::{ErrorReply, SOCKET_DEFAULT};
use fastpath::telemetry::event::ExchangeId;

use crate::failure::{self, Done, EXIT_USAGE, Failure};
use crate::output::{Format, RowFormat};
use crate::{assess, bypass, check, explain, learnt, live, output, policy, rows, simulate, top};

/// See what AI traffic wastes, on a capture or on the wire, without reading its content.
#[derive(Debug, Parser)]
#[command(
    name = "fermata",
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  fermata assess traffic.pcap                      what this traffic wastes, in ten seconds
  fermata assess traffic.pcap --out report/        the same as a page to pass on, with a starter policy
  fermata exchanges --read traffic.pcap -o jsonl   every request with its outcome, for programs
  fermata explain --read traffic.pcap x57          why one of them was judged so
  fermata check                                    is this host ready, is the data plane well?
  fermata top                                      the running data plane, live

Exit codes: 0 fine, 1 error, 2 differences, 3 invalid policy, 4 usage, 5 not connected or timed out,
6 partly done."
)]
pub struct Cli {
    /// Where the data plane listens
    #[arg(long, global = true, value_name = "PATH", default_value = SOCKET_DEFAULT)]
    socket: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Report what a capture (pcap or pcapng) shows of calls, attempts and waste
    #[command(after_help = "\
Examples:
  fermata assess traffic.pcap
  fermata assess monday.pcap tuesday.pcapng --out report/
  fermata assess traffic.pcap --policy policy.yaml -o json | jq .waste

Several captures are added up; each is read by itself, so a retry is not linked across two files. Requests to known AI endpoints are counted, or
to all TLS servers where there is none. Name your own in a policy: docs/examples/policy.yaml.")]
    Assess(AssessArgs),
    /// List flows with their ClientHello: of a capture, or those seen last by the data plane
    Flows(FlowsArgs),
    /// List requests with their outcome: of a capture, or as the data plane sees them
    Exchanges(ExchangesArgs),
    /// List what the detectors found and the rules decided: on a capture, or live
    Events(ExchangesArgs),
    /// Say why: every observation, rule and figure behind one request's classification
    #[command(after_help = "\
Examples:
  fermata explain --read traffic.pcap x57
  fermata explain x57                              of the running data plane, while it remembers
  fermata explain --read traffic.pcap x57 -o json | jq .exchange.grounds

`fermata exchanges` and the report name the numbers.")]
    Explain(ExplainArgs),
    /// List the AI endpoints in use, those with most waste first
    Endpoints(LiveArgs),
    /// List the clients, those with most waste first
    Clients(LiveArgs),
    /// Print what has been learnt of endpoints, as a policy: from captures, or by the data plane
    #[command(after_help = "\
Examples:
  fermata learnt --read monday.pcap > learnt.yaml
  fermata assess tuesday.pcap --policy learnt.yaml
  fermata learnt -o json                           of the running data plane

What is printed is of endpoints, over all their clients: how responses end, what errors look like, when
streams begin. Reading goes on learning from it: what is imported weighs as much as 64 occurrences.")]
    Learnt(LearntArgs),
    /// Try a policy on simulated traffic, with the real data plane and in virtual time
    #[command(after_help = "\
Examples:
  fermata simulate docs/examples/scenarios/s1-capacity-cut.yaml
  fermata simulate s1.yaml --policy policy.yaml --seed 7 -o json | jq '.columns[].trigger'
  fermata simulate s1.yaml --out result/           the same as a page with charts
  fermata simulate s1.yaml --seeds 5               medians over five seeds

The same scenario, policy and seed give the same result to the byte. docs/simulate.md says what is simulated.")]
    Simulate(SimulateArgs),
    /// Show the running data plane on a screen that refreshes itself; q quits
    Top(TopArgs),
    /// Look at this host and this deployment: one line a finding, with the mend
    #[command(after_help = "\
Exit code 0: nothing to mend; 2: something is wrong; the findings say what and how to mend it.")]
    Check(CheckArgs),
    /// Stop everything that acts on traffic, or let it act again
    #[command(after_help = "\
Examples:
  fermata bypass on                                within a second nothing is held, dropped or reset
  fermata bypass off

What is seen is counted and reported all the same. A restart of the data plane ends it.")]
    Bypass(BypassArgs),
    /// Check a policy file
    Validate(ValidateArgs),
    /// Print the version
    Version(AnswerArgs),
    /// Print a completion script for a shell: `source <(fermata completions bash)`
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// What `fermata assess` takes.
#[derive(Debug, Args)]
pub struct AssessArgs {
    /// Captures, pcap or pcapng, assessed together
    #[arg(required = true, value_name = "CAPTURE")]
    pub captures: Vec<PathBuf>,
    /// Endpoints, prices and limits of your own
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Write report.html, report.json and a starter policy.yaml to this directory
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

/// What `fermata flows` takes.
#[derive(Debug, Args)]
pub struct FlowsArgs {
    /// Read these captures instead of asking the data plane
    #[arg(long, value_name = "CAPTURE", num_args = 1..)]
    pub read: Vec<PathBuf>,
    /// Endpoints of your own (with --read)
    #[arg(long, value_name = "FILE", requires = "read")]
    pub policy: Option<PathBuf>,
    /// At most this many rows (live)
    #[arg(long, value_name = "N", default_value_t = 40)]
    pub limit: usize,
    /// Form of the rows
    #[arg(short, long, value_enum, default_value_t)]
    pub output: RowFormat,
}

/// What `fermata exchanges` and `fermata events` take.
#[derive(Debug, Args)]
pub struct ExchangesArgs {
    /// Read these captures instead of asking the data plane
    #[arg(long, value_name = "CAPTURE", num_args = 1..)]
    pub read: Vec<PathBuf>,
    /// Endpoints, prices and limits of your own (with --read)
    #[arg(long, value_name = "FILE", requires = "read")]
    pub policy: Option<PathBuf>,
    /// At most this many rows, the newest (live)
    #[arg(long, value_name = "N", default_value_t = 40)]
    pub limit: usize,
    /// Go on as new ones come (live)
    #[arg(short, long, conflicts_with = "read")]
    pub follow: bool,
    /// Form of the rows
    #[arg(short, long, value_enum, default_value_t)]
    pub output: RowFormat,
}

/// What `fermata explain` takes.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The exchange, as `fermata exchanges` names it
    #[arg(value_name = "EXCHANGE", value_parser = exchange_id)]
    pub exchange: ExchangeId,
    /// Read this capture instead of asking the data plane
    #[arg(long, value_name = "CAPTURE")]
    pub read: Option<PathBuf>,
    /// Endpoints, prices and limits of your own (with --read)
    #[arg(long, value_name = "FILE", requires = "read")]
    pub policy: Option<PathBuf>,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

/// What `fermata learnt` takes.
#[derive(Debug, Args)]
pub struct LearntArgs {
    /// Read these captures instead of asking the data plane
    #[arg(long, value_name = "CAPTURE", num_args = 1..)]
    pub read: Vec<PathBuf>,
    /// Endpoints of your own, and what was learnt of them before (with --read)
    #[arg(long, value_name = "FILE", requires = "read")]
    pub policy: Option<PathBuf>,
    /// Form of the answer; the table is YAML
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

/// What a live table takes.
#[derive(Debug, Args)]
pub struct LiveArgs {
    /// Form of the rows
    #[arg(short, long, value_enum, default_value_t)]
    pub output: RowFormat,
}

/// What `fermata top` takes.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// Print one frame and end; so it is when standard output is no terminal
    #[arg(long)]
    pub once: bool,
    /// Seconds between two frames
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = interval)]
    pub every: f64,
}

/// What `fermata simulate` takes.
#[derive(Debug, Args)]
pub struct SimulateArgs {
    /// The scenario, YAML
    #[arg(value_name = "SCENARIO")]
    pub scenario: PathBuf,
    /// The policy of the `lcore` column; the shipped catalogue, in shadow, where there is none
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// What chance is made from
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Run so many seeds, from --seed on, and show the median, the least and the most of each figure
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=1000), conflicts_with = "out")]
    pub seeds: Option<u64>,
    /// Write simulation.html and simulation.json to this directory
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

/// What `fermata check` takes.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

/// What `fermata bypass` takes.
#[derive(Debug, Args)]
pub struct BypassArgs {
    /// on: nothing acts on traffic; off: rules act as the policy says
    #[arg(value_enum)]
    pub position: Position,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

/// Positions of a switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Position {
    /// Nothing acts on traffic.
    On,
    /// Rules act as the policy says.
    Off,
}

/// What `fermata validate` takes.
#[derive(Debug, Args)]
pub struct ValidateArgs {
    /// The policy file, YAML
    pub file: PathBuf,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

/// What a command with one answer takes.
#[derive(Debug, Args)]
pub struct AnswerArgs {
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

/// Runs the command that the process's arguments name.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let json = cli.command.wants_json();
    match cli.command.run(&cli.socket) {
        Ok(done) => done.exit_code().into(),
        Err(failure) => {
            report(&failure.reply(), json);
            failure.exit_code().into()
        }
    }
}

/// Writes an error, or what could not be done of a command that goes on, to standard error.
pub fn report(reply: &ErrorReply, json: bool) {
    let text = if json { failure::for_programs(reply) } else { failure::for_people(reply) };
    // Where stderr is gone there is nobody to tell that it is.
    let _ = writeln!(io::stderr(), "{text}");
}

impl Command {
    fn run(&self, socket: &std::path::Path) -> Result<Done, Failure> {
        match self {
            Self::Assess(args) => assess::run(args),
            Self::Flows(args) if args.read.is_empty() => live::flows(socket, args),
            Self::Flows(args) => rows::flows(args),
            Self::Exchanges(args) if args.read.is_empty() => live::exchanges(socket, args),
            Self::Exchanges(args) => rows::exchanges(args),
            Self::Events(args) if args.read.is_empty() => live::events(socket, args),
            Self::Events(args) => rows::events(args),
            Self::Explain(args) => explain::run(socket, args),
            Self::Endpoints(args) => live::endpoints(socket, args),
            Self::Clients(args) => live::clients(socket, args),
            Self::Learnt(args) => learnt::run(socket, args),
            Self::Simulate(args) => simulate::run(args),
            Self::Top(args) => top::run(socket, args),
            Self::Check(args) => check::run(socket, args),
            Self::Bypass(args) => bypass::run(socket, args),
            Self::Validate(args) => validate(args),
            Self::Version(args) => version(args),
            Self::Completions { shell } => completions(*shell),
        }
    }

    fn wants_json(&self) -> bool {
        match self {
            Self::Assess(AssessArgs { output, .. })
            | Self::Explain(ExplainArgs { output, .. })
            | Self::Learnt(LearntArgs { output, .. })
            | Self::Simulate(SimulateArgs { output, .. })
            | Self::Check(CheckArgs { output })
            | Self::Bypass(BypassArgs { output, .. })
            | Self::Validate(ValidateArgs { output, .. })
            | Self::Version(AnswerArgs { output }) => *output == Format::Json,
            Self::Flows(FlowsArgs { output, .. })
            | Self::Exchanges(ExchangesArgs { output, .. })
            | Self::Events(ExchangesArgs { output, .. })
            | Self::Endpoints(LiveArgs { output })
            | Self::Clients(LiveArgs { output }) => *output != RowFormat::Table,
            Self::Top(_) | Self::Completions { .. } => false,
        }
    }
}

/// Help and version go to standard output and are fine; all else is wrong usage.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let arguments: Vec<String> = std::env::args().collect();
    let wants = |value: &str| {
        let joined = [format!("-o{value}"), format!("-o={value}"), format!("--output={value}")];
        let apart =
            |pair: &[String]| (pair[0] == "-o" || pair[0] == "--output") && pair[1] == value;
        arguments.iter().any(|argument| joined.contains(argument))
            || arguments.windows(2).any(apart)
    };
    if wants("json") || wants("jsonl") {
        let text = error.render().to_string();
        let first = text.lines().next().unwrap_or_default();
        let mut reply = ErrorReply::new("usage", first.strip_prefix("error: ").unwrap_or(first));
        reply.hint = Some("`fermata COMMAND --help` shows what a command takes".to_owned());
        report(&reply, true);
    } else {
        let _ = error.print();
    }
    EXIT_USAGE.into()
}

fn interval(text: &str) -> Result<f64, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.1..=3600.0).contains(seconds));
    seconds.ok_or_else(|| "expected seconds from 0.1 to 3600".to_owned())
}

fn exchange_id(text: &str) -> Result<ExchangeId, String> {
    let number = text.strip_prefix('x').and_then(|number| number.parse().ok());
    number.map(ExchangeId).ok_or_else(|| "expected `x` and a number, as in x57".to_owned())
}

fn validate(args: &ValidateArgs) -> Result<Done, Failure> {
    let snapshot = policy::snapshot(Some(&args.file))?;
    let policy = snapshot.policy();
    let (endpoints, mode) = (policy.endpoints.len(), policy.mode);
    match args.output {
        Format::Table => output::print_text(&format!(
            "{}: valid; {endpoints} endpoints with the catalogue, mode {}, retry budget {} %\n",
            args.file.display(),
            format!("{mode:?}").to_lowercase(),
            policy.retry_budget.percent
        ))?,
        Format::Json => output::print_json(&serde_json::json!({
            "valid": true, "endpoints": endpoints, "mode": mode, "retry_budget": policy.retry_budget
        }))?,
    }
    Ok(Done::Wholly)
}

fn version(args: &AnswerArgs) -> Result<Done, Failure> {
    let version = env!("CARGO_PKG_VERSION");
    match args.output {
        Format::Table => output::print_text(&format!("fermata {version}\n"))?,
        Format::Json => output::print_json(&serde_json::json!({ "version": version }))?,
    }
    Ok(Done::Wholly)
}

fn completions(shell: clap_complete::Shell) -> Result<Done, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "fermata", &mut script);
    output::print_text(&String::from_utf8_lossy(&script))?;
    Ok(Done::Wholly)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_declaration_of_the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn several_captures_follow_one_read() {
        let cli =
            Cli::try_parse_from(["fermata", "flows", "--read", "a", "b", "-o", "jsonl"]).unwrap();
        let Command::Flows(args) = cli.command else { panic!("flows") };
        assert_eq!(args.read.len(), 2);
    }

    #[test]
    fn a_policy_without_a_capture_is_wrong_usage() {
        assert!(Cli::try_parse_from(["fermata", "events", "--policy", "p.yaml"]).is_err());
    }
}
