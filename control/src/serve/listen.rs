//! Who connects, and how: the Unix socket with its peer's credentials, and TLS beside it.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Daemon;
use super::peer::Peer;
use super::tls::Remote;
use crate::api;

/// Connections at once, over both.
const CONNECTIONS_MAX: usize = 256;
/// The head of a request is here within this time, and so is a TLS handshake.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// The longest head, bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// The Unix socket. Its file goes with it.
#[derive(Debug)]
pub(super) struct Unix {
    listener: UnixListener,
    path: PathBuf,
}

impl Unix {
    /// Listens at `path`, in place of a socket that a dead daemon has left behind.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        if let Some(directory) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
            std::fs::create_dir_all(directory)?;
        }
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "a daemon listens here already"));
        }
        if std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket()) {
            std::fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        // Anybody may connect; what they may do goes by who they are.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
        Ok(Self { listener, path: path.to_owned() })
    }
}

impl Drop for Unix {
    fn drop(&mut self) {
        // That the file may be gone already is fine.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Accepts connections for ever.
pub(super) async fn accept(daemon: Arc<Daemon>, unix: Unix, tls: Option<Remote>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let tls = tls.map(Arc::new);
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let remote = async {
            match &tls {
                Some(tls) => tls.listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = unix.listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let peer = match stream.peer_cred() {
                        Ok(peer) => daemon.roles.of_socket(peer.uid(), peer.gid()),
                        Err(_) => Peer { who: "unknown".into(), from: "unix".into(), role: None },
                    };
                    tokio::spawn(serve(Arc::clone(&daemon), peer, stream, place));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            accepted = remote => match (accepted, &tls) {
                (Ok((stream, from)), Some(tls)) => {
                    let (daemon, tls) = (Arc::clone(&daemon), Arc::clone(tls));
                    tokio::spawn(async move {
                        match tls.shake_hands(stream, from).await {
                            Ok((stream, peer)) => serve(daemon, peer, stream, place).await,
                            Err(why) => {
                                let (who, from) = ("unknown".to_owned(), from.to_string());
                                daemon.refuse(&Peer { who, from, role: None }, "tls", 0, &why);
                            }
                        }
                    });
                }
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            },
        }
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    daemon: Arc<Daemon>,
    peer: Peer,
    stream: S,
    place: OwnedSemaphorePermit,
) {
    let peer = Arc::new(peer);
    let (of, who) = (Arc::clone(&daemon), Arc::clone(&peer));
    let service = service_fn(move |request| {
        let (daemon, peer) = (Arc::clone(&of), Arc::clone(&who));
        async move { Ok::<_, std::convert::Infallible>(api::http::answer(daemon, peer, request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(HEAD_BYTES_MAX)
        // Who has said everything may still listen.
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served
        && error.is_parse()
    {
        daemon.refuse(&peer, "http", 400, "malformed_request");
    }
    drop(place);
}
