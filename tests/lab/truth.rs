//! The ground truth: one JSON line a request, as tests/lab/README.md describes it, for
//! `fermata-lab compare`.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use crate::error::LabError;

/// One HTTP request, as the server knows it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Number of the request in this run.
    pub(crate) id: u64,
    /// Name of the endpoint.
    pub(crate) ep: String,
    /// Name the endpoint is asked for.
    pub(crate) sni: String,
    /// Client address.
    pub(crate) client: String,
    /// Client port.
    pub(crate) port: u16,
    /// Server address.
    pub(crate) server: String,
    /// Server port.
    pub(crate) server_port: u16,
    /// Version of HTTP.
    pub(crate) http: String,
    /// Server software.
    pub(crate) srv: String,
    /// The client's name for the logical call.
    pub(crate) call: String,
    /// Workflow run; the lab has no workflows.
    pub(crate) run: u32,
    /// Attempt at the call, from 0.
    pub(crate) att: u32,
    /// Requests of the call that came before.
    pub(crate) arrival: u32,
    /// What the SDK says in `x-stainless-retry-count`.
    pub(crate) sdk_retry: String,
    /// `chat`, `chat_s` (streamed), `embed` or `unknown`.
    pub(crate) kind: String,
    /// Whether a stream was asked for.
    pub(crate) stream: bool,
    /// Request headers in.
    pub(crate) t_hdr: f64,
    /// Request body in; 0 never.
    pub(crate) t_body: f64,
    /// First body byte handed out; 0 never.
    pub(crate) t_first: f64,
    /// Last body byte handed out; 0 never.
    pub(crate) t_last: f64,
    /// End of the request.
    pub(crate) t_end: f64,
    /// Bytes of the request body.
    pub(crate) req_body: u64,
    /// Bytes of the response body handed out.
    pub(crate) resp_body: u64,
    /// HTTP status; 0 none sent.
    pub(crate) status: u16,
    /// Tokens handed out.
    pub(crate) tokens: u32,
    /// Tokens the whole answer has.
    pub(crate) tokens_planned: u32,
    /// Stream events handed out that carry tokens.
    pub(crate) chunks: u32,
    /// Request body / 4.
    pub(crate) prompt_tokens: u32,
    /// How it ended: see [`End`].
    pub(crate) end: String,
    /// Name of the injected fault.
    pub(crate) fault: Option<String>,
    /// Details of a stall.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<Note>,
    /// Seconds spent waiting for a slot.
    pub(crate) queue_s: f64,
    /// Slots in use when it came.
    pub(crate) conc: usize,
    /// User agent.
    pub(crate) ua: String,
    /// Client library.
    pub(crate) lib: String,
    /// What the client's caller saw; the server cannot know.
    pub(crate) client_out: Option<String>,
    /// The class: see [`classify`].
    pub(crate) cls: String,
    /// An earlier request of the same call came before.
    pub(crate) is_retry: bool,
    /// `id` of that request.
    pub(crate) retry_of: Option<u64>,
    /// Second copy of a running request; the lab sends none.
    pub(crate) is_hedge: bool,
    /// Same for restarts.
    pub(crate) is_restart: bool,
    /// Why its tokens were wasted.
    pub(crate) waste: Option<String>,
    /// Tokens nobody could use.
    pub(crate) wasted_tokens: u32,
    /// The connection is in the capture from its handshake on.
    pub(crate) visible: bool,
}

/// A stall that was injected.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Note {
    /// Length of the silence.
    pub(crate) stall_s: f64,
    /// When it began.
    pub(crate) stall_t: f64,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The whole answer was handed out.
    Complete,
    /// The client left first.
    ClientAbort,
    /// The server sent a RST.
    ServerReset,
    /// The server closed before the answer was whole.
    ServerClose,
}

impl End {
    /// Its name in the truth.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::ClientAbort => "client_abort",
            Self::ServerReset => "server_reset",
            Self::ServerClose => "server_close",
        }
    }
}

/// The class of a request: (`cls`, `waste`). A client that leaves a silent endpoint ran into its
/// time-out.
pub(crate) fn classify(
    end: End,
    status: u16,
    answered: bool,
    fault: Option<&str>,
) -> (&'static str, Option<&'static str>) {
    match (end, answered) {
        (End::Complete, _) if status >= 400 => ("http_error", Some("http_error")),
        (End::Complete, _) => ("success", None),
        (End::ClientAbort, false) if fault == Some("silence") => {
            ("client_timeout", Some("client_timeout"))
        }
        (End::ClientAbort, _) => ("user_cancel", Some("user_cancel")),
        (End::ServerReset | End::ServerClose, false) => ("reset_before", Some("reset_before")),
        (End::ServerReset | End::ServerClose, true) => ("server_reset", Some("server_reset")),
    }
}

/// The truth file, and the memory of which request was the last of each call.
pub(crate) struct Log {
    path: PathBuf,
    state: Mutex<State>,
}

struct State {
    file: BufWriter<File>,
    next: u64,
    last_of_call: HashMap<String, u64>,
}

impl Log {
    /// Opens (and empties) the truth file.
    pub(crate) fn create(path: &Path) -> Result<Self, LabError> {
        let file =
            File::create(path).map_err(|source| LabError::File { path: path.into(), source })?;
        let file = BufWriter::new(file);
        let state = Mutex::new(State { file, next: 0, last_of_call: HashMap::new() });
        Ok(Self { path: path.into(), state })
    }

    /// A number for a request of `call`, and the number of the request of that call before it.
    pub(crate) fn number(&self, call: &str) -> (u64, Option<u64>) {
        let mut state = self.state.lock().expect("no holder of this lock panics");
        let id = state.next;
        state.next += 1;
        (id, state.last_of_call.insert(call.to_owned(), id))
    }

    /// Writes a line. A truth that cannot be written makes the run worthless: it says so and goes
    /// on.
    pub(crate) fn write(&self, record: &Record) {
        let mut state = self.state.lock().expect("no holder of this lock panics");
        let line = serde_json::to_string(record).expect("a record has only plain fields");
        if let Err(error) = writeln!(state.file, "{line}").and_then(|()| state.file.flush()) {
            eprintln!("fermata-lab: {}: {error}; the truth is not whole", self.path.display());
        }
    }
}

#[cfg(test)]
impl Log {
    /// A log in the system's directory for temporary files, named for its test.
    pub(crate) fn of_test(name: &str) -> (Self, PathBuf) {
        let file = format!("fermata-lab-{name}-{}.jsonl", std::process::id());
        let path = std::env::temp_dir().join(file);
        (Self::create(&path).unwrap(), path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complete_answer_with_an_error_status_is_an_http_error() {
        assert_eq!(classify(End::Complete, 503, true, None).0, "http_error");
        assert_eq!(classify(End::Complete, 200, true, None), ("success", None));
    }

    #[test]
    fn a_reset_is_before_or_after_the_first_byte() {
        assert_eq!(classify(End::ServerReset, 0, false, None).0, "reset_before");
        assert_eq!(classify(End::ServerReset, 200, true, None).0, "server_reset");
    }

    #[test]
    fn leaving_a_silent_endpoint_is_a_timeout_and_leaving_any_other_a_cancel() {
        let silent = classify(End::ClientAbort, 0, false, Some("silence"));
        assert_eq!(silent.0, "client_timeout");
        assert_eq!(classify(End::ClientAbort, 0, false, None).0, "user_cancel");
        assert_eq!(classify(End::ClientAbort, 200, true, Some("stall")).0, "user_cancel");
    }
}
