//! The supervisor: starts the lcores, each pinned to its core, watches their heartbeats, gathers
//! what they tell and answers questions over the socket. The only module that starts threads; an
//! lcore never waits for it.

pub mod desk;
mod socket;
mod standings;
mod status;
mod thread;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::lcore::LcoreConfig;
use crate::policy::handoff::{self, Publisher};
use crate::policy::snapshot::Snapshot;
use crate::port::Port;
use desk::{Desk, LcoreDesk};
use thread::{Ports, Started, Thread};

/// What a supervisor is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Sizes and mode of each lcore.
    pub lcore: LcoreConfig,
    /// The core of each lcore; where there is none, one lcore on the last core that can be had.
    pub cores: Vec<usize>,
    /// Give the cores away while nothing arrives.
    pub idle: bool,
    /// Where to listen.
    pub socket: PathBuf,
}

/// Why a data plane could not start or did not go on.
#[derive(Debug)]
pub enum SupervisorError {
    /// The port cannot be had; the text says why and what to do.
    Port(String),
    /// The socket cannot be had.
    Socket(PathBuf, std::io::Error),
    /// A data plane already listens there.
    InUse(PathBuf),
    /// The core to pin to does not exist or may not be used.
    Core(usize, Vec<usize>),
    /// A thread could not be started.
    Thread(std::io::Error),
    /// An lcore stopped by itself: a defect. Frames no longer pass.
    LcoreDied,
}

/// A data plane that runs.
#[derive(Debug)]
pub struct Supervisor {
    desk: Arc<Mutex<Desk>>,
    stop: Arc<AtomicBool>,
    lcores: Vec<JoinHandle<()>>,
    socket: socket::Server,
}

/// How often what the lcores tell is gathered. Their rings hold many times what a busy one tells in
/// this time.
const GATHER_EVERY: Duration = Duration::from_millis(5);

impl Supervisor {
    /// Starts the lcores with the ports that `make_ports` gives, one each, and opens the socket.
    /// `make_ports` runs on the first lcore's thread, and each lcore takes its memory on its own.
    ///
    /// # Errors
    /// When the ports, a core or the socket cannot be had.
    pub fn start<P: Port + Send + 'static, E: std::fmt::Display>(
        settings: Settings,
        snapshot: Arc<Snapshot>,
        make_ports: impl FnOnce() -> Result<Vec<P>, E> + Send + 'static,
    ) -> Result<Self, SupervisorError> {
        if let Err(error) = withhold_memory_from_dumps() {
            say(format_args!("a core dump would hold packets: {DUMP_FILTER}: {error}"));
        }
        let cores = choose_cores(&settings.cores)?;
        let count = u16::try_from(cores.len()).unwrap_or(u16::MAX);
        let listener = socket::bind(&settings.socket)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (ready, started) = mpsc::channel();
        let (mut lcores, mut publishers, mut ports_to) = (Vec::new(), Vec::new(), Vec::new());
        // From the last to the first: the first one shares the ports out.
        let mut make_ports = Some(make_ports);
        for (index, core) in (0..).zip(cores).collect::<Vec<_>>().into_iter().rev() {
            let (publisher, subscriber) = handoff::channel(Arc::clone(&snapshot));
            publishers.push(publisher);
            let config = LcoreConfig { index, lcores: count, ..settings.lcore };
            let (idle, stop, ready) = (settings.idle, Arc::clone(&stop), ready.clone());
            let thread = Thread { config, core, idle, subscriber, stop, ready };
            let ports = match make_ports.take_if(|_| index == 0) {
                Some(make) => {
                    ports_to.reverse();
                    Ports::Made(make, std::mem::take(&mut ports_to))
                }
                None => {
                    let (port_to, port) = mpsc::channel();
                    ports_to.push(port_to);
                    Ports::Given(port)
                }
            };
            lcores.push(thread.spawn(ports).map_err(SupervisorError::Thread)?);
        }
        drop(ready);
        publishers.reverse();
        let desks = gather_started(&started, publishers)?;
        if let [first, _, ..] = &desks[..] {
            let (count, spread) = (desks.len(), first.outlets.spread.name());
            say(format_args!("{count} lcores; frames are spread by {spread}"));
        }
        let desk = Desk::new(settings.lcore.mode, snapshot, desks, now());
        let desk = Arc::new(Mutex::new(desk));
        let socket =
            socket::Server::start(listener, Arc::clone(&desk)).map_err(SupervisorError::Thread)?;
        Ok(Self { desk, stop, lcores, socket })
    }

    /// Gathers until `stop` is set, then ends the lcores and gives the desk with everything they
    /// have told.
    ///
    /// # Errors
    /// When an lcore stops by itself.
    pub fn run(self, stop: &AtomicBool) -> Result<Desk, SupervisorError> {
        // Written by a signal handler; nothing else hangs on it.
        while !stop.load(Ordering::Relaxed) {
            lock(&self.desk).gather(now());
            if self.lcores.iter().any(JoinHandle::is_finished) {
                self.socket.stop();
                return Err(SupervisorError::LcoreDied);
            }
            std::thread::sleep(GATHER_EVERY);
        }
        // Read by the lcores once a burst; the joins below are what orders what they leave behind.
        self.stop.store(true, Ordering::Relaxed);
        while !self.lcores.iter().all(JoinHandle::is_finished) {
            lock(&self.desk).gather(now());
            std::thread::sleep(GATHER_EVERY);
        }
        for lcore in self.lcores {
            lcore.join().map_err(|_| SupervisorError::LcoreDied)?;
        }
        self.socket.stop();
        let mut desk = std::mem::take(&mut *lock(&self.desk));
        desk.gather(now());
        Ok(desk)
    }
}

/// Waits until each lcore has said that it is there. One that cannot be ends them all: the others
/// are still waiting for their ports.
fn gather_started(
    started: &mpsc::Receiver<Result<Started, String>>,
    publishers: Vec<Publisher>,
) -> Result<Vec<LcoreDesk>, SupervisorError> {
    let mut lcores = Vec::with_capacity(publishers.len());
    for _ in 0..publishers.len() {
        let started = started.recv().map_err(|_| SupervisorError::LcoreDied)?;
        lcores.push(started.map_err(SupervisorError::Port)?);
    }
    lcores.sort_unstable_by_key(|started| started.index);
    let desk = |(started, publisher): (Started, _)| LcoreDesk {
        core: started.core,
        outlets: started.outlets,
        publisher,
    };
    Ok(lcores.into_iter().zip(publishers).map(desk).collect())
}

impl std::fmt::Display for SupervisorError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Port(text) => f.write_str(text),
            Self::Socket(path, e) => write!(
                f,
                "socket {}: {e}; expected a path in a directory that this user may write to (--socket)",
                path.display()
            ),
            Self::InUse(path) => write!(
                f,
                "socket {}: a data plane already listens there; stop it, or choose another --socket",
                path.display()
            ),
            Self::Core(core, allowed) => {
                write!(
                    f,
                    "core {core} cannot be used by this process; expected one of {allowed:?} (--lcores)"
                )
            }
            Self::Thread(e) => write!(f, "a thread could not be started: {e}"),
            Self::LcoreDied => f.write_str(
                "an lcore has stopped by itself; frames no longer pass. The lines above say why",
            ),
        }
    }
}

impl std::error::Error for SupervisorError {}

/// What of a process's memory a core dump holds, a bit a kind of memory (Linux, core(5)).
const DUMP_FILTER: &str = "/proc/self/coredump_filter";

/// A core dump of this process holds registers and nothing of its memory: no flow, no key, and of
/// packets what was in a vector register, on the heap, on a stack or in hugepages, whoever maps
/// them and whenever.
fn withhold_memory_from_dumps() -> std::io::Result<()> {
    std::fs::write(DUMP_FILTER, "0")
}

/// A line for whoever reads stderr. That nobody does any more is no reason to stop forwarding.
pub fn say(text: std::fmt::Arguments<'_>) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "fermata-fastpath: {text}");
}

/// The cores that this process may use.
#[must_use]
pub fn usable_cores() -> Vec<usize> {
    core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect()
}

/// One an lcore; `None` is one that runs on any core.
fn choose_cores(wanted: &[usize]) -> Result<Vec<Option<core_affinity::CoreId>>, SupervisorError> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    if wanted.is_empty() {
        // The last one: interrupts and everything else prefer the first.
        return Ok(vec![cores.last().copied()]);
    }
    let find = |&id| match cores.iter().find(|core| core.id == id) {
        Some(core) => Ok(Some(*core)),
        None => Err(SupervisorError::Core(id, usable_cores())),
    };
    wanted.iter().map(find).collect()
}

/// A poisoned desk is still a desk: whoever panicked had only been reading or adding rows.
fn lock(desk: &Mutex<Desk>) -> std::sync::MutexGuard<'_, Desk> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}

#[allow(
    clippy::disallowed_methods,
    reason = "the supervisor watches heartbeats by the wall; no stage of the loop sees this"
)]
fn now() -> Instant {
    Instant::now()
}
