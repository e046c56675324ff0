//! `fermata export`: exporters from the command line, one or those of a policy.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};

use super::counts::Registry;
use super::http::Source;
use super::ipfix::{self, Transport};
use super::otlp;
use super::run::{Exporter, Exporters, Target};
use super::text::{Form, render};
use crate::cli;
use crate::failure::{Done, Failure};
use crate::link::Link;
use crate::output;

/// What `fermata export` takes.
#[derive(Debug, Args)]
pub struct ExportArgs {
    #[command(subcommand)]
    as_what: As,
}

#[derive(Debug, Subcommand)]
enum As {
    /// Metrics for Prometheus to fetch, at /metrics
    #[command(alias = "openmetrics")]
    Prometheus(PrometheusArgs),
    /// Exchanges as IPFIX flow records, to a collector
    Ipfix(IpfixArgs),
    /// Exchanges and events as lines of JSON
    Jsonl(JsonlArgs),
    /// Metrics as OTLP over HTTP, in JSON
    Otlp(OtlpArgs),
}

#[derive(Debug, Args)]
struct PrometheusArgs {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9464")]
    listen: SocketAddr,
    /// Also by client address: who asked is personal data
    #[arg(long)]
    clients: bool,
    /// Print the metrics once and end
    #[arg(long)]
    once: bool,
    /// Print them as OpenMetrics (with --once)
    #[arg(long, requires = "once")]
    openmetrics: bool,
}

#[derive(Debug, Args)]
struct IpfixArgs {
    /// The collector: udp://HOST:PORT or tcp://HOST:PORT
    #[arg(long, value_name = "URL", value_parser = collector)]
    to: (Transport, String),
    /// Tells this exporter from others of the collector
    #[arg(long, value_name = "N", default_value_t = 1)]
    observation_domain: u32,
    /// Private enterprise number of the elements that are no standard
    #[arg(long, value_name = "N", default_value_t = ipfix::ENTERPRISE_DEFAULT)]
    enterprise: u32,
    /// Seconds after which templates are sent again over UDP
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    template_interval: u64,
    /// Begin with what the data plane still remembers
    #[arg(long)]
    backlog: bool,
}

#[derive(Debug, Args)]
struct JsonlArgs {
    /// A file, tcp://HOST:PORT, or - for standard output
    #[arg(long, value_name = "TO", default_value = "-")]
    to: String,
    /// Mebibytes after which a file is rotated
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    rotate: u64,
    /// Older files that are kept
    #[arg(long, value_name = "N", default_value_t = 4)]
    keep: u32,
    /// Begin with what the data plane still remembers
    #[arg(long)]
    backlog: bool,
}

#[derive(Debug, Args)]
struct OtlpArgs {
    /// The receiver: http://HOST:PORT, with /v1/metrics where no other path is given
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:4318")]
    to: otlp::Endpoint,
    /// Seconds between two exports
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    every: u64,
    /// Also by client address: who asked is personal data
    #[arg(long)]
    clients: bool,
}

/// Exports until the process is ended.
///
/// # Errors
/// When an address cannot be had; with `--once`, when the data plane cannot be asked.
pub fn run(socket: &Path, args: &ExportArgs) -> Result<Done, Failure> {
    let registry = Registry::default();
    let (name, backlog, to) = match &args.as_what {
        As::Prometheus(args) if args.once => return once(socket, args),
        As::Prometheus(PrometheusArgs { listen, clients, .. }) => {
            ("openmetrics", false, Target::OpenMetrics { listen: *listen, clients: *clients })
        }
        As::Ipfix(args) => ("ipfix", args.backlog, Target::Ipfix(args.settings())),
        As::Jsonl(args) => ("jsonl", args.backlog, args.target()),
        As::Otlp(OtlpArgs { to, every, clients }) => {
            let interval = Duration::from_secs(*every);
            let settings = otlp::Settings { endpoint: to.clone(), interval, clients: *clients };
            ("otlp", false, Target::Otlp(settings))
        }
    };
    if let Err(error) = Link::connect(socket) {
        // It is waited for: a host may start the data plane later.
        cli::report(&error.reply(), false);
    }
    let exporter = Exporter { name: name.to_owned(), to, backlog };
    let running = Exporters::start(vec![exporter], socket, &registry)?;
    for address in running.listening() {
        eprintln!("fermata: metrics at http://{address}/metrics");
    }
    running.wait();
    Ok(Done::Wholly)
}

fn once(socket: &Path, args: &PrometheusArgs) -> Result<Done, Failure> {
    // Asked for by somebody who wants to see metrics: a data plane that is away is an error.
    drop(Link::connect(socket)?);
    let mut source = Source::new(socket, args.clients, Registry::default());
    let form = if args.openmetrics { Form::OpenMetrics } else { Form::Prometheus };
    output::print_text(&render(&source.samples(), form))?;
    Ok(Done::Wholly)
}

impl IpfixArgs {
    fn settings(&self) -> ipfix::Settings {
        let (transport, ref collector) = self.to;
        ipfix::Settings {
            collector: collector.clone(),
            transport,
            observation_domain: self.observation_domain,
            template_interval: Duration::from_secs(self.template_interval),
            enterprise: self.enterprise,
        }
    }
}

impl JsonlArgs {
    fn target(&self) -> Target {
        if self.to == "-" {
            return Target::Stdout;
        }
        if let Some(to) = self.to.strip_prefix("tcp://") {
            return Target::Tcp(to.to_owned());
        }
        let path = PathBuf::from(self.to.strip_prefix("file:").unwrap_or(&self.to));
        Target::File { path, bytes_max: self.rotate << 20, files_max: self.keep }
    }
}

fn collector(text: &str) -> Result<(Transport, String), String> {
    let parts = [("udp://", Transport::Udp), ("tcp://", Transport::Tcp)]
        .into_iter()
        .find_map(|(scheme, transport)| Some((transport, text.strip_prefix(scheme)?)));
    let is_address = |to: &str| {
        to.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
        })
    };
    match parts.filter(|(_, to)| is_address(to)) {
        Some((transport, to)) => Ok((transport, to.to_owned())),
        None => Err("expected udp://HOST:PORT or tcp://HOST:PORT".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_a_transport_a_host_and_a_port() {
        assert_eq!(collector("udp://[::1]:4739"), Ok((Transport::Udp, "[::1]:4739".to_owned())));
        for wrong in ["192.0.2.1:4739", "sctp://192.0.2.1:4739", "udp://host", "tcp://:4739"] {
            assert!(collector(wrong).is_err(), "{wrong}");
        }
    }
}
