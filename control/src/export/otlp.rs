//! Metrics as OTLP over HTTP, in JSON (OpenTelemetry protocol 1.x, `POST /v1/metrics`).
//!
//! Values are cumulative since the data plane started, so an export that fails loses nothing but its
//! point in time: the next one has it all, and nothing is queued.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::counts::{Counts, Registry};
use super::metrics::{Kind, Labels, Metric, Samples, Set};
use super::snapshot::Snapshot;
use crate::link::Link;

/// What an exporter is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to.
    pub endpoint: Endpoint,
    /// Time from one export to the next.
    pub interval: Duration,
    /// Also by client address.
    pub clients: bool,
}

/// Where OTLP is taken: `http://HOST:PORT/v1/metrics`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    host: String,
    port: u16,
    path: String,
}

/// Why an export failed.
#[derive(Debug)]
enum ExportError {
    Receiver(io::Error),
    Http(hyper::Error),
    Refused(StatusCode),
    TimedOut,
}

/// The port of OTLP over HTTP.
const PORT_DEFAULT: u16 = 4318;
/// Where metrics go when the address says no more than host and port.
const PATH_DEFAULT: &str = "/v1/metrics";
/// How long an export may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of an answer at most.
const ANSWER_MAX: usize = 64 << 10;
/// AGGREGATION_TEMPORALITY_CUMULATIVE.
const CUMULATIVE: u8 = 2;

impl std::str::FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("`{text}`: expected http://HOST:PORT or a full path after it");
        let uri: Uri = text.parse().map_err(|_| expected())?;
        let host = uri.host().filter(|_| uri.scheme_str() == Some("http")).ok_or_else(expected)?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(PORT_DEFAULT),
            path: if path == "/" { PATH_DEFAULT } else { path }.to_owned(),
        })
    }
}

/// Exports until `stop` is told or gone.
///
/// # Errors
/// When the thread cannot wait for sockets.
pub fn run(
    settings: &Settings,
    socket: PathBuf,
    registry: &Registry,
    counts: &Arc<Counts>,
    stop: tokio::sync::oneshot::Receiver<()>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(1)
        .build()?;
    runtime.block_on(async {
        tokio::select! {
            () = export(settings, socket, registry, counts) => {}
            _ = stop => {}
        }
    });
    runtime.shutdown_background();
    Ok(())
}

async fn export(settings: &Settings, socket: PathBuf, registry: &Registry, counts: &Arc<Counts>) {
    let mut labels = Labels::default();
    let mut every = tokio::time::interval(settings.interval);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let asked = socket.clone();
        let take = move || Link::connect(&asked).and_then(|mut link| Snapshot::take(&mut link));
        let (mut samples, uptime) = match tokio::task::spawn_blocking(take).await {
            Ok(Ok(snapshot)) => {
                let samples = snapshot.samples(&mut labels, settings.clients);
                (samples, snapshot.status.uptime_seconds)
            }
            Ok(Err(_)) | Err(_) => {
                let mut samples = Samples::default();
                samples.add(Metric::Up, &[], 0.0);
                (samples, 0.0)
            }
        };
        registry.add_to(&mut samples);
        let now = super::run::unix_time();
        let body = body(&samples, now.saturating_sub(Duration::from_secs_f64(uptime)), now);
        match send(&settings.endpoint, body.to_string()).await {
            Ok(rejected) => {
                counts.sent(1);
                counts.dropped(rejected);
            }
            Err(_) => {
                counts.failed();
                counts.dropped(1);
            }
        }
    }
}

/// Sends a body. Returns how many data points were rejected.
async fn send(to: &Endpoint, body: String) -> Result<u64, ExportError> {
    let sent = tokio::time::timeout(PATIENCE, post(to, body));
    sent.await.map_err(|_| ExportError::TimedOut)?
}

async fn post(to: &Endpoint, body: String) -> Result<u64, ExportError> {
    let host = to.host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, to.port)).await.map_err(ExportError::Receiver)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(ExportError::Http)?;
    let request = Request::post(&to.path)
        .header(HOST, format!("{}:{}", to.host, to.port))
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|_| ExportError::Receiver(io::ErrorKind::InvalidInput.into()))?;
    // It ends when the sender is dropped.
    drop(tokio::spawn(connection));
    let response = sender.send_request(request).await.map_err(ExportError::Http)?;
    let status = response.status();
    if !status.is_success() {
        return Err(ExportError::Refused(status));
    }
    let answer = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
    let answer = answer.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
    let rejected = &answer["partialSuccess"]["rejectedDataPoints"];
    let as_text = || rejected.as_str().and_then(|text| text.parse().ok());
    Ok(rejected.as_u64().or_else(as_text).unwrap_or(0))
}

/// The body of an export: all samples, cumulative since `start`.
#[must_use]
pub fn body(samples: &Samples, start: Duration, now: Duration) -> Value {
    let metrics: Vec<Value> = samples
        .iter()
        .map(|(metric, series)| {
            let point = |(labels, value): (&Set, &f64)| point(metric, labels, *value, start, now);
            let points: Vec<Value> = series.iter().map(point).collect();
            let data = match metric.kind() {
                Kind::Counter => (
                    "sum",
                    json!({
                        "dataPoints": points,
                        "aggregationTemporality": CUMULATIVE,
                        "isMonotonic": true,
                    }),
                ),
                // A quantile is an attribute: OTLP's own summaries are for old formats only.
                Kind::Gauge | Kind::Info | Kind::Summary => {
                    ("gauge", json!({ "dataPoints": points }))
                }
            };
            json!({
                "name": metric.name(),
                "description": metric.help(),
                "unit": unit(metric),
                data.0: data.1,
            })
        })
        .collect();
    json!({ "resourceMetrics": [{
        "resource": { "attributes": [attribute("service.name", "fermata")] },
        "scopeMetrics": [{
            "scope": { "name": "fermata", "version": env!("CARGO_PKG_VERSION") },
            "metrics": metrics,
        }],
    }]})
}

fn point(metric: Metric, labels: &Set, value: f64, start: Duration, now: Duration) -> Value {
    let attributes: Vec<Value> = labels.iter().map(|(key, value)| attribute(key, value)).collect();
    let mut point = json!({
        "attributes": attributes,
        // 64-bit integers are strings in the JSON of protobuf.
        "timeUnixNano": now.as_nanos().to_string(),
        "asDouble": value,
    });
    if metric.kind() == Kind::Counter {
        point["startTimeUnixNano"] = start.as_nanos().to_string().into();
    }
    point
}

fn attribute(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

/// Units as UCUM has them.
fn unit(metric: Metric) -> &'static str {
    match metric.unit() {
        Some("seconds") => "s",
        Some("bytes") => "By",
        Some(_) | None => "1",
    }
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Receiver(error) => write!(f, "the receiver cannot be reached: {error}"),
            Self::Http(error) => write!(f, "the receiver does not speak HTTP as expected: {error}"),
            Self::Refused(status) => write!(f, "the receiver refused: {status}"),
            Self::TimedOut => write!(f, "the receiver took longer than {} s", PATIENCE.as_secs()),
        }
    }
}

impl std::error::Error for ExportError {}

#[cfg(test)]
mod tests;
