//! Asks a daemon over its Unix socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use fastpath::ipc::ErrorReply;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The longest answer, bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Why there is no answer.
#[derive(Debug)]
pub enum ClientError {
    /// No daemon listens there.
    NotConnected(PathBuf, io::Error),
    /// It listens, and gives no answer that can be understood.
    NotUnderstood(PathBuf, String),
    /// It says no: the status, and why.
    Refused(u16, ErrorReply),
}

/// A daemon, by its socket.
#[derive(Clone, Debug)]
pub struct Client(PathBuf);

impl Client {
    /// The daemon that listens at `socket`.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self(socket.to_owned())
    }

    /// Whether one listens there.
    #[must_use]
    pub fn is_there(&self) -> bool {
        std::os::unix::net::UnixStream::connect(&self.0).is_ok()
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// When there is none, or it is no.
    pub fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<T, ClientError> {
        let not_understood = |error: String| ClientError::NotUnderstood(self.0.clone(), error);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| ClientError::NotConnected(self.0.clone(), error))?;
        let (status, bytes) = runtime.block_on(async {
            let stream = UnixStream::connect(&self.0)
                .await
                .map_err(|error| ClientError::NotConnected(self.0.clone(), error))?;
            let asked = tokio::time::timeout(PATIENCE, send(stream, method, path, body)).await;
            asked
                .map_err(|_| not_understood("it took more than 20 s".to_owned()))?
                .map_err(not_understood)
        })?;
        if status.is_success() {
            return serde_json::from_slice(&bytes).map_err(|e| not_understood(e.to_string()));
        }
        #[derive(serde::Deserialize)]
        struct Refusal {
            error: ErrorReply,
        }
        let refusal: Refusal =
            serde_json::from_slice(&bytes).map_err(|e| not_understood(e.to_string()))?;
        Err(ClientError::Refused(status.as_u16(), refusal.error))
    }
}

/// Sends one request over a connection that is open.
///
/// # Errors
/// When the connection breaks, or the answer is no HTTP.
pub async fn send<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<(StatusCode, Bytes), String> {
    let text = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(text)?;
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header(HOST, "fermata");
    if body.is_some() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    let bytes = body.map(Value::to_string).unwrap_or_default();
    let request = request.body(Full::new(Bytes::from(bytes))).map_err(|e| e.to_string())?;
    let response = sender.send_request(request).await.map_err(text)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    Ok((status, body.map_err(|error| error.to_string())?.to_bytes()))
}

impl ClientError {
    /// The exit code of the contract.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotConnected(..) => 5,
            Self::NotUnderstood(..) => 1,
            Self::Refused(_, reply) => match reply.code.as_str() {
                "invalid_policy" | "invalid_value" => 3,
                "not_connected" | "timed_out" => 5,
                _ => 1,
            },
        }
    }

    /// The error object of the contract.
    #[must_use]
    pub fn reply(&self) -> ErrorReply {
        let (path, code, message, hint) = match self {
            Self::NotConnected(path, error) => (
                path,
                "not_connected",
                format!("no daemon listens here ({error})"),
                "start it with `fermata serve`, or name its socket with --api PATH",
            ),
            Self::NotUnderstood(path, error) => (
                path,
                "not_understood",
                format!("the daemon's answer cannot be understood: {error}"),
                "`fermata` and the daemon must be of one version",
            ),
            Self::Refused(_, reply) => return reply.clone(),
        };
        let path = Some(path.display().to_string());
        ErrorReply { code: code.to_owned(), message, path, hint: Some(hint.to_owned()) }
    }
}
