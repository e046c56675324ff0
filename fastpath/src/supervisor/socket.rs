//! The Unix socket: one JSON object a line each way. A thread a connection, few of them, none of
//! them near an lcore.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::desk::Desk;
use super::{SupervisorError, lock};
use crate::ipc::{ErrorReply, LINE_BYTES_MAX, Reply, Request};

/// A socket that is listened on. Its file goes with it.
#[derive(Debug)]
pub(super) struct Listener {
    socket: UnixListener,
    path: PathBuf,
}

/// The listening thread.
#[derive(Debug)]
pub(super) struct Server {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// Connections at once; another one is told so and closed.
const CONNECTIONS_MAX: usize = 32;
/// A client that asks nothing, or takes nothing, for this long is let go.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often the listener looks whether it should stop.
const ACCEPT_EVERY: Duration = Duration::from_millis(20);

/// Binds the socket, in place of one that a dead data plane has left behind.
pub(super) fn bind(path: &Path) -> Result<Listener, SupervisorError> {
    let wrong = |e| SupervisorError::Socket(path.to_owned(), e);
    if let Some(directory) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
        std::fs::create_dir_all(directory).map_err(wrong)?;
    }
    if UnixStream::connect(path).is_ok() {
        return Err(SupervisorError::InUse(path.to_owned()));
    }
    // Only a socket is taken over; another file there makes `bind` fail, and stays.
    if std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket()) {
        std::fs::remove_file(path).map_err(wrong)?;
    }
    let socket = UnixListener::bind(path).map_err(wrong)?;
    let listener = Listener { socket, path: path.to_owned() };
    let owner_and_group = std::fs::Permissions::from_mode(0o660);
    std::fs::set_permissions(path, owner_and_group).map_err(wrong)?;
    listener.socket.set_nonblocking(true).map_err(wrong)?;
    Ok(listener)
}

impl Drop for Listener {
    fn drop(&mut self) {
        // That the file may be gone already is fine.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Server {
    pub(super) fn start(listener: Listener, desk: Arc<Mutex<Desk>>) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("socket".to_owned())
            .spawn(move || accept(listener, &desk, &flag))?;
        Ok(Self { stop, thread })
    }

    pub(super) fn stop(self) {
        // Read by the listening thread, a few times a second; the join orders the rest.
        self.stop.store(true, Ordering::Relaxed);
        // A listener that panicked has said so on stderr.
        let _ = self.thread.join();
    }
}

fn accept(listener: Listener, desk: &Arc<Mutex<Desk>>, stop: &AtomicBool) {
    let open = Arc::new(AtomicUsize::new(0));
    while !stop.load(Ordering::Relaxed) {
        match listener.socket.accept() {
            Ok((stream, _)) => admit(stream, Arc::clone(desk), &open),
            Err(_) => std::thread::sleep(ACCEPT_EVERY),
        }
    }
}

fn admit(mut stream: UnixStream, desk: Arc<Mutex<Desk>>, open: &Arc<AtomicUsize>) {
    // Counted here only; a connection thread gives its place back when it ends.
    if open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
        open.fetch_sub(1, Ordering::Relaxed);
        let text = format!("{CONNECTIONS_MAX} clients are connected; expected fewer");
        let _ = send(&mut stream, &Reply::Error(ErrorReply::new("busy", text)));
        return;
    }
    let place = Arc::clone(open);
    let spawned = std::thread::Builder::new().name("client".to_owned()).spawn(move || {
        // A client that goes away in the middle concerns nobody else.
        let _ = serve(stream, &desk);
        place.fetch_sub(1, Ordering::Relaxed);
    });
    if spawned.is_err() {
        open.fetch_sub(1, Ordering::Relaxed);
    }
}

fn serve(stream: UnixStream, desk: &Mutex<Desk>) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        let limit = LINE_BYTES_MAX as u64 + 1;
        reader.by_ref().take(limit).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(());
        }
        if line.len() > LINE_BYTES_MAX {
            let text = format!("a request is longer than {LINE_BYTES_MAX} bytes");
            return send(&mut writer, &Reply::Error(ErrorReply::new("too_long", text)));
        }
        let reply = match serde_json::from_slice::<Request>(&line) {
            Ok(request) => lock(desk).answer(request),
            Err(e) => Reply::Error(ErrorReply::new("invalid_request", e.to_string())),
        };
        send(&mut writer, &reply)?;
    }
}

fn send(stream: &mut UnixStream, reply: &Reply) -> std::io::Result<()> {
    let mut text = serde_json::to_vec(reply)?;
    text.push(b'\n');
    stream.write_all(&text)
}
