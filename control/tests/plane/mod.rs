//! A data plane for tests of the daemon: the real supervisor and loop, on a pair of ports in memory. Its
//! connections end with it, as those of a process do.

use std::io;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use control::link::{Link, ask};
use fastpath::ipc::{Reply, Request};
use fastpath::lcore::LcoreConfig;
use fastpath::policy::snapshot::{Policy, Snapshot};
use fastpath::port::pair::PairPort;
use fastpath::supervisor::{Settings, Supervisor};

/// A data plane that runs until it is dropped.
pub(crate) struct Plane {
    socket: PathBuf,
    connections: Arc<Mutex<Vec<UnixStream>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    _outside: PairPort,
}

impl Plane {
    /// Starts one that listens at `socket`.
    pub(crate) fn start(socket: &Path) -> Self {
        let (outside, inside) = PairPort::new(64);
        let lcore = LcoreConfig { flows: 1024, ..LcoreConfig::default() };
        let settings = Settings { lcore, cores: Vec::new(), idle: true, socket: inner(socket) };
        let catalogue = Policy::catalogue().expect("the catalogue can be read");
        let snapshot = Arc::new(Snapshot::compile(catalogue).expect("and compiles"));
        let supervisor =
            Supervisor::start(settings, snapshot, move || Ok::<_, String>(vec![inside]))
                .expect("the data plane starts");
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let thread = Some(std::thread::spawn(move || {
            supervisor.run(&flag).expect("the data plane runs");
        }));
        let connections = pass_on(socket);
        Self { socket: socket.to_owned(), connections, stop, thread, _outside: outside }
    }

    /// The policy it has.
    pub(crate) fn policy(&self) -> Policy {
        let mut link = Link::connect(&self.socket).expect("it listens");
        let policy = ask(&mut link, &Request::Policy, |reply| {
            if let Reply::Policy(policy) = reply { Some(policy) } else { None }
        });
        *policy.expect("it answers")
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
        for connection in self.connections.lock().expect("nobody panicked").iter() {
            let _ = connection.shutdown(Shutdown::Both);
        }
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Where the supervisor listens.
fn inner(socket: &Path) -> PathBuf {
    socket.with_extension("inner")
}

/// Passes connections at `socket` on to the supervisor; they are those that end with the data plane.
fn pass_on(socket: &Path) -> Arc<Mutex<Vec<UnixStream>>> {
    let _ = std::fs::remove_file(socket);
    let listener = UnixListener::bind(socket).expect("the socket is free");
    let (connections, inner) = (Arc::<Mutex<Vec<UnixStream>>>::default(), inner(socket));
    let all = Arc::clone(&connections);
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let Ok(far) = UnixStream::connect(&inner) else { continue };
            for (from, to) in [(&near, &far), (&far, &near)] {
                let clone = |stream: &UnixStream| stream.try_clone().expect("a handle is left");
                all.lock().expect("nobody panicked").push(clone(from));
                let (mut from, mut to) = (clone(from), clone(to));
                std::thread::spawn(move || {
                    let _ = io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
            }
        }
    });
    connections
}
