//! The supervisor: starts the lcores, each pinned to its core, watches their heartbeats, gathers
//! what they tell and answers questions over the socket. The only module that starts threads; an
//! lcore never waits for it.

pub mod desk;
mod socket;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::lcore::{Lcore, LcoreConfig, Outlets};
use crate::policy::handoff::{self, Subscriber};
use crate::policy::snapshot::Snapshot;
use crate::port::{Port, Rx};
use desk::{Desk, LcoreDesk};

/// What a supervisor is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Sizes and mode of each lcore.
    pub lcore: LcoreConfig,
    /// The core to pin the lcore to; `None` takes the first that can be had.
    pub core: Option<usize>,
    /// Give the core away while nothing arrives.
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
    lcore: JoinHandle<()>,
    socket: socket::Server,
}

/// How often what the lcores tell is gathered. Their rings hold many times what a busy one tells in
/// this time.
const GATHER_EVERY: Duration = Duration::from_millis(5);
/// Empty polls in a row before an idle lcore sleeps, and for how long: short against any round
/// trip.
const IDLE_POLLS: u32 = 256;
const IDLE_SLEEP: Duration = Duration::from_micros(50);

impl Supervisor {
    /// Starts the lcore with the port that `make_port` gives, on the lcore's own thread, and opens
    /// the socket.
    ///
    /// # Errors
    /// When the port, the core or the socket cannot be had.
    pub fn start<P: Port, E: std::fmt::Display>(
        settings: Settings,
        snapshot: Arc<Snapshot>,
        make_port: impl FnOnce() -> Result<P, E> + Send + 'static,
    ) -> Result<Self, SupervisorError> {
        if let Err(error) = withhold_memory_from_dumps() {
            say(format_args!("a core dump would hold packets: {DUMP_FILTER}: {error}"));
        }
        let core = choose_core(settings.core)?;
        let listener = socket::bind(&settings.socket)?;
        let (publisher, subscriber) = handoff::channel(Arc::clone(&snapshot));
        let stop = Arc::new(AtomicBool::new(false));
        let worker = Worker {
            config: settings.lcore,
            core,
            idle: settings.idle,
            subscriber,
            stop: Arc::clone(&stop),
        };
        let (ready, started) = mpsc::channel();
        let lcore = std::thread::Builder::new()
            .name("lcore-0".to_owned())
            .spawn(move || worker.run(make_port, &ready))
            .map_err(SupervisorError::Thread)?;
        let (outlets, core) = started
            .recv()
            .map_err(|_| SupervisorError::LcoreDied)?
            .map_err(SupervisorError::Port)?;
        let lcore_desk = LcoreDesk { core, outlets, publisher };
        let desk = Desk::new(settings.lcore.mode, snapshot, lcore_desk, now());
        let desk = Arc::new(Mutex::new(desk));
        let socket =
            socket::Server::start(listener, Arc::clone(&desk)).map_err(SupervisorError::Thread)?;
        Ok(Self { desk, stop, lcore, socket })
    }

    /// Gathers until `stop` is set, then ends the lcore and gives the desk with everything it has
    /// told.
    ///
    /// # Errors
    /// When an lcore stops by itself.
    pub fn run(self, stop: &AtomicBool) -> Result<Desk, SupervisorError> {
        // Written by a signal handler; nothing else hangs on it.
        while !stop.load(Ordering::Relaxed) {
            lock(&self.desk).gather(now());
            if self.lcore.is_finished() {
                self.socket.stop();
                return Err(SupervisorError::LcoreDied);
            }
            std::thread::sleep(GATHER_EVERY);
        }
        // Read by the lcore once a burst; the join below is what orders what it leaves behind.
        self.stop.store(true, Ordering::Relaxed);
        while !self.lcore.is_finished() {
            lock(&self.desk).gather(now());
            std::thread::sleep(GATHER_EVERY);
        }
        self.lcore.join().map_err(|_| SupervisorError::LcoreDied)?;
        self.socket.stop();
        let mut desk = std::mem::take(&mut *lock(&self.desk));
        desk.gather(now());
        Ok(desk)
    }
}

/// What a started lcore tells first: its outlets, and the core it is pinned to.
type Started = (Outlets, Option<usize>);

/// What an lcore's thread is given.
struct Worker {
    config: LcoreConfig,
    core: Option<core_affinity::CoreId>,
    idle: bool,
    subscriber: Subscriber,
    stop: Arc<AtomicBool>,
}

impl Worker {
    fn run<P: Port, E: std::fmt::Display>(
        self,
        make_port: impl FnOnce() -> Result<P, E>,
        ready: &mpsc::Sender<Result<Started, String>>,
    ) {
        let pinned = self.core.filter(|&core| core_affinity::set_for_current(core));
        if pinned.is_none() {
            say(format_args!("lcore 0 could not be pinned to a core and runs on any"));
        }
        let port = match make_port() {
            Ok(port) => port,
            Err(e) => {
                // The supervisor waits for exactly one message.
                let _ = ready.send(Err(e.to_string()));
                return;
            }
        };
        let (mut lcore, outlets) = Lcore::new(port, self.config, self.subscriber);
        if ready.send(Ok((outlets, pinned.map(|core| core.id)))).is_err() {
            return;
        }
        let mut empty = 0_u32;
        while !self.stop.load(Ordering::Relaxed) {
            match lcore.run_once() {
                Rx::Frames(_) => empty = 0,
                Rx::Idle => empty = empty.saturating_add(1),
                Rx::Closed => break,
            }
            if self.idle && empty > IDLE_POLLS {
                std::thread::sleep(IDLE_SLEEP);
            }
        }
        while lcore.finish() {
            // The supervisor empties the ring meanwhile.
            std::thread::sleep(GATHER_EVERY);
        }
    }
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

fn choose_core(wanted: Option<usize>) -> Result<Option<core_affinity::CoreId>, SupervisorError> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    match wanted {
        // The last one: interrupts and everything else prefer the first.
        None => Ok(cores.last().copied()),
        Some(id) => match cores.iter().find(|core| core.id == id) {
            Some(core) => Ok(Some(*core)),
            None => Err(SupervisorError::Core(id, cores.iter().map(|core| core.id).collect())),
        },
    }
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
