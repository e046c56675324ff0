//! The metrics for whoever fetches them: HTTP/1.1, `GET /metrics`.
//!
//! Each fetch asks the data plane, one at a time. While the data plane is away the answer is
//! `fermata_up 0` and what the exporters count.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{Semaphore, oneshot};

use super::counts::{Counts, Registry};
use super::metrics::{Labels, Metric, Samples};
use super::snapshot::Snapshot;
use super::text::{Form, render};
use crate::link::Link;

/// Makes metrics of the data plane when asked.
#[derive(Debug)]
pub struct Source {
    socket: PathBuf,
    labels: Labels,
    clients: bool,
    registry: Registry,
}

/// Connections at once; the next ones wait.
const CONNECTIONS_MAX: usize = 32;
/// How long a request's head may take to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may last.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);

impl Source {
    /// Of the data plane at `socket`; with `clients`, also by client address.
    #[must_use]
    pub fn new(socket: &Path, clients: bool, registry: Registry) -> Self {
        Self { socket: socket.to_owned(), labels: Labels::default(), clients, registry }
    }

    /// The metrics as they are. A data plane that is away is told as such.
    pub fn samples(&mut self) -> Samples {
        let taken = Link::connect(&self.socket).and_then(|mut link| Snapshot::take(&mut link));
        let mut samples = match taken {
            Ok(snapshot) => snapshot.samples(&mut self.labels, self.clients),
            Err(_) => {
                let mut samples = Samples::default();
                samples.add(Metric::Up, &[], 0.0);
                samples
            }
        };
        self.registry.add_to(&mut samples);
        samples
    }
}

/// Binds the address to listen at.
///
/// # Errors
/// When it cannot be had.
pub fn bind(listen: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(listen)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Answers until `stop` is told or gone.
///
/// # Errors
/// When the thread cannot wait for sockets.
pub fn serve(
    listener: TcpListener,
    source: Source,
    counts: &Arc<Counts>,
    stop: oneshot::Receiver<()>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(2)
        .build()?;
    let source = Arc::new(Mutex::new(source));
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        tokio::select! {
            never = accept(listener, source, Arc::clone(counts)) => never,
            _ = stop => Ok(()),
        }
    })
}

async fn accept(
    listener: tokio::net::TcpListener,
    source: Arc<Mutex<Source>>,
    counts: Arc<Counts>,
) -> io::Result<()> {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return Ok(()) };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, most likely: they come back.
            counts.failed();
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (source, counts) = (Arc::clone(&source), Arc::clone(&counts));
        tokio::spawn(async move {
            let _place = place;
            let service = service_fn(|request| answer(request, Arc::clone(&source), &counts));
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            // Whoever asks badly or goes away is answered by hyper, or not at all.
            let _ = tokio::time::timeout(CONNECTION_TIMEOUT, connection).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    source: Arc<Mutex<Source>>,
    counts: &Counts,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path() != "/metrics" {
        return Ok(plain(StatusCode::NOT_FOUND, "the metrics are at /metrics\n"));
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "GET reads the metrics\n");
        response.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return Ok(response);
    }
    let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
    let form = Form::accepted(accept.unwrap_or_default());
    let taken = tokio::task::spawn_blocking(move || {
        render(&source.lock().unwrap_or_else(PoisonError::into_inner).samples(), form)
    });
    let Ok(text) = taken.await else {
        counts.failed();
        return Ok(plain(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be made\n"));
    };
    counts.sent(1);
    let mut response = Response::new(Full::new(Bytes::from(text)));
    let kind = hyper::header::HeaderValue::from_static(form.content_type());
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
