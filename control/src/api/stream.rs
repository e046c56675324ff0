//! Server-sent events (WHATWG HTML, 9.2): what is new, as it comes. `status` twice a second,
//! `exchanges` and `signals` when there are any, `policy` when another revision is in force.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::channel::Channel;
use hyper::Response;
use serde::Serialize;

use super::http::{Body, respond_with};
use super::routes::LIMIT_MAX;
use crate::serve::Daemon;

/// Something is sent at least this often, so that a connection that is gone is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Pieces that wait for a reader; one who is slower gets larger ones.
const PIECES_MAX: usize = 4;

/// The stream, from now on.
pub(super) fn response(daemon: Arc<Daemon>) -> Response<Body> {
    let (mut sender, body) = Channel::<Bytes, Infallible>::new(PIECES_MAX);
    tokio::spawn(async move {
        let mut ticks = daemon.ticks();
        let mut seen = Seen::now(&daemon);
        loop {
            let text = seen.news(&daemon);
            if sender.send_data(text.into()).await.is_err() {
                return;
            }
            // Once for what comes and, in quiet times, once in a while.
            let _ = tokio::time::timeout(KEEP_ALIVE, ticks.changed()).await;
            if daemon.is_stopping() {
                return;
            }
        }
    });
    respond_with(200, "text/event-stream", body.boxed_unsync())
}

/// How far somebody has seen.
struct Seen {
    exchange: u64,
    signal: u64,
    revision: Option<Option<u64>>,
}

impl Seen {
    fn now(daemon: &Daemon) -> Self {
        let view = daemon.view();
        Self {
            exchange: view.exchanges(None, 0).next,
            signal: view.events(None, 0).next,
            revision: None,
        }
    }

    /// What is new since then.
    fn news(&mut self, daemon: &Daemon) -> String {
        let mut text = String::new();
        let (revision, _) = daemon.revision_in_force();
        if self.revision != Some(revision) {
            self.revision = Some(revision);
            add(&mut text, "policy", &serde_json::json!({ "revision": revision }));
        }
        let view = daemon.view();
        add(&mut text, "status", &view.status);
        let exchanges = view.exchanges(Some(self.exchange), LIMIT_MAX);
        let signals = view.events(Some(self.signal), LIMIT_MAX);
        drop(view);
        (self.exchange, self.signal) = (exchanges.next, signals.next);
        if !exchanges.rows.is_empty() {
            add(&mut text, "exchanges", &exchanges);
        }
        if !signals.rows.is_empty() {
            add(&mut text, "signals", &signals);
        }
        text
    }
}

fn add<T: Serialize>(text: &mut String, event: &str, data: &T) {
    // JSON has no line breaks of its own, so one line is enough.
    let data = serde_json::to_string(data).unwrap_or_default();
    *text += &format!("event: {event}\ndata: {data}\n\n");
}
