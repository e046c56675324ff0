//! Exporters that run: each on threads of its own, until they are stopped.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::oneshot;

use super::counts::{Counts, Registry};
use super::feed::{self, QUEUE_MAX, Reader, Sink};
use super::http::{self, Source};
use super::ipfix::{self, Ipfix};
use super::lines::{Lines, Remote, Rotated, Stdout};
use super::otlp;

/// An exporter.
#[derive(Clone, Debug)]
pub struct Exporter {
    /// Its name, in what is counted of it.
    pub name: String,
    /// Where it exports to.
    pub to: Target,
    /// Rows that the data plane still remembers are exported too.
    pub backlog: bool,
}

/// Where telemetry goes, and as what.
#[derive(Clone, Debug)]
pub enum Target {
    /// Metrics that Prometheus fetches.
    OpenMetrics {
        /// Where to listen.
        listen: SocketAddr,
        /// Also by client address.
        clients: bool,
    },
    /// Exchanges as flow records.
    Ipfix(ipfix::Settings),
    /// Exchanges and events as lines of JSON in a file.
    File {
        /// The file.
        path: PathBuf,
        /// Bytes after which it is rotated.
        bytes_max: u64,
        /// Older files that are kept.
        files_max: u32,
    },
    /// The same over TCP, to a host and a port.
    Tcp(String),
    /// The same on standard output.
    Stdout,
    /// Metrics as OTLP.
    Otlp(otlp::Settings),
}

/// Why an exporter could not be started.
#[derive(Debug)]
pub enum StartError {
    /// The address to listen at cannot be had.
    Listen(SocketAddr, io::Error),
    /// A thread could not be started.
    Thread(io::Error),
}

/// Exporters that run. They stop when this is dropped; the threads end as soon as what they are at
/// is done.
#[derive(Debug)]
pub struct Exporters {
    running: Vec<Running>,
}

#[derive(Debug)]
struct Running {
    /// Told by being dropped.
    _stop: Stop,
    threads: Vec<JoinHandle<()>>,
    listens: Option<SocketAddr>,
}

#[derive(Debug)]
enum Stop {
    Rows { _stop: mpsc::Sender<()> },
    Metrics { _stop: oneshot::Sender<()> },
}

impl Exporters {
    /// Starts exporters of the data plane at `socket`. A data plane that is away is waited for.
    ///
    /// # Errors
    /// When an address cannot be had; none of them runs then.
    pub fn start(
        exporters: Vec<Exporter>,
        socket: &Path,
        registry: &Registry,
    ) -> Result<Self, StartError> {
        let start = |exporter: Exporter| {
            let counts = registry.counts(&exporter.name);
            exporter.start(socket, registry, counts)
        };
        let running = exporters.into_iter().map(start).collect::<Result<_, _>>()?;
        Ok(Self { running })
    }

    /// The addresses that metrics can be fetched at, in the order of the exporters.
    #[must_use]
    pub fn listening(&self) -> Vec<SocketAddr> {
        self.running.iter().filter_map(|running| running.listens).collect()
    }

    /// Waits until all of them have ended.
    pub fn wait(self) {
        for Running { _stop, threads, .. } in self.running {
            for thread in threads {
                // A thread that panicked has said so.
                let _ = thread.join();
            }
        }
    }
}

impl Exporter {
    fn start(
        self,
        socket: &Path,
        registry: &Registry,
        counts: Arc<Counts>,
    ) -> Result<Running, StartError> {
        let sink: Box<dyn Sink> = match self.to {
            Target::OpenMetrics { listen, clients } => {
                let failed = |error| StartError::Listen(listen, error);
                let listener = http::bind(listen).map_err(failed)?;
                let listens = Some(listener.local_addr().map_err(failed)?);
                let source = Source::new(socket, clients, registry.clone());
                let (stop, stopped) = oneshot::channel();
                let serve = move || report(http::serve(listener, source, &counts, stopped));
                let threads = vec![spawn(serve)?];
                return Ok(Running { _stop: Stop::Metrics { _stop: stop }, threads, listens });
            }
            Target::Otlp(settings) => {
                let (socket, registry) = (socket.to_owned(), registry.clone());
                let (stop, stopped) = oneshot::channel();
                let export =
                    move || report(otlp::run(&settings, socket, &registry, &counts, stopped));
                let (_stop, threads) = (Stop::Metrics { _stop: stop }, vec![spawn(export)?]);
                return Ok(Running { _stop, threads, listens: None });
            }
            Target::Ipfix(settings) => Box::new(Ipfix::new(settings)),
            Target::File { path, bytes_max, files_max } => {
                Box::new(Lines::new(Rotated::new(&path, bytes_max, files_max)))
            }
            Target::Tcp(to) => Box::new(Lines::new(Remote::new(&to))),
            Target::Stdout => Box::new(Lines::new(Stdout)),
        };
        let reader = Reader::new(socket, self.backlog);
        start_rows(reader, sink, counts)
    }
}

fn start_rows(
    mut reader: Reader,
    mut sink: Box<dyn Sink>,
    counts: Arc<Counts>,
) -> Result<Running, StartError> {
    let (stop, stopped) = mpsc::channel();
    let (to, queue) = mpsc::sync_channel(QUEUE_MAX);
    let of_feed = Arc::clone(&counts);
    let feeds = spawn(move || feed::fill(&mut reader, &to, &of_feed, &stopped))?;
    let drains = spawn(move || feed::drain(&mut *sink, &queue, &counts))?;
    let (_stop, threads) = (Stop::Rows { _stop: stop }, vec![feeds, drains]);
    Ok(Running { _stop, threads, listens: None })
}

fn spawn(run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StartError> {
    let named = std::thread::Builder::new().name("exporter".to_owned());
    named.spawn(run).map_err(StartError::Thread)
}

/// Says why an exporter has ended.
fn report(ended: io::Result<()>) {
    if let Err(error) = ended {
        let text = format!("an exporter has ended: {error}");
        crate::cli::report(&fastpath::ipc::ErrorReply::new("exporter", text), false);
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(address, error) => {
                write!(f, "{address}: cannot listen there ({error}); expected a free address")
            }
            Self::Thread(error) => write!(f, "a thread could not be started: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// The time, since 1970.
#[allow(clippy::disallowed_methods, reason = "records carry the time of their export")]
pub(super) fn unix_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The same in seconds.
pub(super) fn unix_seconds() -> u64 {
    unix_time().as_secs()
}
