//! `fermata-fastpath`: the data plane as a process. Reads arguments, starts the supervisor, and
//! writes down what is left to say when it stops. Exit codes: 0 stopped as asked, 1 error, 4 usage.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use fastpath::config::{Config, ConfigError, SpreadBy};
use fastpath::lcore::{LcoreConfig, Mode};
use fastpath::policy::snapshot::{Policy, Snapshot};
use fastpath::supervisor::desk::{Desk, FinalStats};
use fastpath::supervisor::{Settings, Supervisor, say};

/// The Fermata data plane: forwards frames between two DPDK ports and follows the AI traffic among
/// them, without reading content.
#[derive(Debug, Parser)]
#[command(name = "fermata-fastpath", version, after_help = EXAMPLES)]
struct Arguments {
    /// Configuration file (YAML); flags win over what it says
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// wire: between two ports, every frame goes on to the other side; observe: on copies, from a
    /// SPAN port or tap
    #[arg(long, value_parser = parse_mode)]
    mode: Option<Mode>,
    /// A DPDK virtual device, as EAL takes it; repeat it: the first two are one wire, the next two
    /// another
    #[arg(long = "vdev", value_name = "SPEC")]
    vdevs: Vec<String>,
    /// A NIC bound to a driver for user space, by PCI address; repeat it (scripts/bind-nic)
    #[arg(long = "pci", value_name = "ADDRESS")]
    pci: Vec<String>,
    /// Run without hugepages: slower, enough for virtual devices
    #[arg(long)]
    no_huge: bool,
    /// Memory for DPDK in MiB
    #[arg(long, value_name = "MB")]
    memory: Option<u32>,
    /// Longest payload of a frame in bytes; jumbo frames up to it pass
    #[arg(long, value_name = "BYTES")]
    mtu: Option<u16>,
    /// The cores to run on, one lcore each: 2,3
    #[arg(long, value_name = "CORE", value_delimiter = ',')]
    lcores: Vec<usize>,
    /// How frames are spread over several lcores. auto: by the devices, where all of them can;
    /// software: one lcore receives and sends for the others
    #[arg(long, value_parser = parse_spread)]
    spread: Option<SpreadBy>,
    /// Give the core away while nothing arrives: for machines with few cores; adds up to 50 µs to a
    /// first frame
    #[arg(long)]
    idle: bool,
    /// Flows at once, over all lcores; when a table is full half-open, closed and idle flows leave, and frames
    /// still pass
    #[arg(long, value_name = "N")]
    flows: Option<usize>,
    /// Where `fermata` finds this data plane
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Write frames, drops and latency as JSON here when stopped
    #[arg(long, value_name = "FILE")]
    stats_out: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  Between two interfaces, without a NIC of its own (as scripts/lab does):
    fermata-fastpath --vdev net_af_packet0,iface=eth1 --vdev net_af_packet1,iface=eth2 --no-huge --idle

  Between the two ports of a NIC:
    scripts/hugepages up 512; scripts/bind-nic 0000:03:00.0 0000:03:00.1
    fermata-fastpath --pci 0000:03:00.0 --pci 0000:03:00.1 --lcores 3

  On a SPAN port, without touching the traffic:
    fermata-fastpath --mode observe --vdev net_af_packet0,iface=span0 --no-huge

Then look at it with `fermata top`, `fermata endpoints`, `fermata check`.
SIGINT or SIGTERM stop it. Exit codes: 0 stopped as asked, 1 error, 4 usage.";

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(e) => {
            // Help and version are no errors; where the text cannot be printed nothing else can
            // either.
            let _ = e.print();
            return if e.use_stderr() { ExitCode::from(4) } else { ExitCode::SUCCESS };
        }
    };
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            say(format_args!("{e}"));
            let usage = matches!(e.downcast_ref(), Some(ConfigError::Value(..)));
            if usage { ExitCode::from(4) } else { ExitCode::FAILURE }
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let stats_out = arguments.stats_out.clone();
    let config = arguments.into_config()?;
    config.check()?;
    let snapshot = Arc::new(Snapshot::compile(config.policy(Policy::catalogue()?))?);
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // The first asks the loop to end; a second one ends a process whose loop does not.
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let supervisor = start(&config, snapshot)?;
    let socket = config.socket.display();
    say(format_args!("running, {} ports; socket {socket}", config.vdevs.len() + config.pci.len()));
    let desk: Desk = supervisor.run(&stop)?;
    let stats = desk.final_stats();
    if let Some(path) = stats_out {
        write_stats(&path, &stats)?;
    }
    let dropped: u64 = stats.drops.values().sum();
    say(format_args!(
        "stopped; {} frames in, {} out, {} held, {dropped} dropped for a named reason",
        stats.rx, stats.tx, stats.held
    ));
    Ok(())
}

impl Arguments {
    fn into_config(self) -> Result<Config, ConfigError> {
        let mut config = self.config.as_deref().map_or(Ok(Config::default()), Config::read)?;
        set(&mut config.mode, self.mode);
        set(&mut config.memory_mb, self.memory.map(Some));
        set(&mut config.mtu, self.mtu);
        set(&mut config.flows, self.flows);
        set(&mut config.spread, self.spread);
        set(&mut config.socket, self.socket);
        if !self.vdevs.is_empty() || !self.pci.is_empty() {
            (config.vdevs, config.pci) = (self.vdevs, self.pci);
        }
        if !self.lcores.is_empty() {
            config.lcores = self.lcores;
        }
        config.no_huge |= self.no_huge;
        config.idle |= self.idle;
        Ok(config)
    }
}

fn set<T>(to: &mut T, from: Option<T>) {
    if let Some(value) = from {
        *to = value;
    }
}

fn parse_mode(text: &str) -> Result<Mode, String> {
    match text {
        "wire" => Ok(Mode::Wire),
        "observe" => Ok(Mode::Observe),
        _ => Err("expected wire or observe".to_owned()),
    }
}

fn parse_spread(text: &str) -> Result<SpreadBy, String> {
    match text {
        "auto" => Ok(SpreadBy::Auto),
        "software" => Ok(SpreadBy::Software),
        _ => Err("expected auto or software".to_owned()),
    }
}

fn settings(config: &Config) -> Settings {
    let flows = config.flows.div_ceil(config.lcores.len().max(1));
    Settings {
        lcore: LcoreConfig { mode: config.mode, flows, ..LcoreConfig::default() },
        cores: config.lcores.clone(),
        idle: config.idle,
        socket: config.socket.clone(),
    }
}

#[cfg(feature = "dpdk")]
fn start(
    config: &Config,
    snapshot: Arc<Snapshot>,
) -> Result<Supervisor, fastpath::supervisor::SupervisorError> {
    use fastpath::port::dpdk::{DpdkConfig, DpdkPort};
    let dpdk = DpdkConfig {
        vdevs: config.vdevs.clone(),
        pci: config.pci.clone(),
        no_huge: config.no_huge,
        memory_mb: config.memory_mb,
        mtu: config.mtu,
        // As unique as the socket, and the same at the next start.
        file_prefix: config.socket.display().to_string().replace('/', "-"),
        pairs: config.mode == Mode::Wire,
        lcores: u16::try_from(config.lcores.len().max(1)).unwrap_or(u16::MAX),
        spread_in_software: config.spread == SpreadBy::Software,
    };
    Supervisor::start(settings(config), snapshot, move || DpdkPort::open_spread(&dpdk))
}

#[cfg(not(feature = "dpdk"))]
fn start(
    config: &Config,
    snapshot: Arc<Snapshot>,
) -> Result<Supervisor, fastpath::supervisor::SupervisorError> {
    use fastpath::port::mem::MemPort;
    let no_ports = "this fermata-fastpath was built without DPDK and has no ports; \
                    build it with `cargo build --release -p fastpath --features dpdk`";
    Supervisor::start(settings(config), snapshot, move || Err::<Vec<MemPort>, _>(no_ports))
}

fn write_stats(path: &Path, stats: &FinalStats) -> Result<(), Box<dyn std::error::Error>> {
    let text = serde_json::to_string_pretty(stats)?;
    std::fs::write(path, text + "\n").map_err(|e| format!("{}: {e}", path.display()).into())
}
