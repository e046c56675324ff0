//! The audit log: one JSON object a line for every change and every refusal: who, what, from where,
//! and what came of it. Reads that succeed are not in it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::peer::Peer;
use crate::clock;

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// When, Unix seconds.
    pub time: f64,
    /// Who.
    pub who: String,
    /// From where: `unix`, or an address.
    pub from: String,
    /// Their role; null for none.
    pub role: Option<String>,
    /// What: method and path, `tls`, or `expire`.
    pub what: String,
    /// The status that was answered; 0 for what never became a request.
    pub status: u16,
    /// `done`, or the code of the error.
    pub outcome: String,
    /// The revision that is in force by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
}

/// The log.
#[derive(Debug)]
pub struct Audit {
    path: Option<PathBuf>,
    file: Mutex<Option<File>>,
}

impl Audit {
    /// A log that is appended to; standard error where there is no file.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(path: Option<&Path>) -> io::Result<Self> {
        let open = |path: &Path| OpenOptions::new().create(true).append(true).open(path);
        let file = path.map(open).transpose()?;
        Ok(Self { path: path.map(Path::to_owned), file: Mutex::new(file) })
    }

    /// Adds a line. One that cannot be written is written to standard error.
    pub(crate) fn write(
        &self,
        peer: &Peer,
        what: &str,
        status: u16,
        outcome: &str,
        revision: Option<u64>,
    ) {
        let line = Line {
            time: clock::now(),
            who: peer.who.clone(),
            from: peer.from.clone(),
            role: peer.role.map(|role| role.name().to_owned()),
            what: what.to_owned(),
            status,
            outcome: outcome.to_owned(),
            revision,
        };
        let text = serde_json::to_string(&line).unwrap_or_default() + "\n";
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let written = match file.as_mut() {
            Some(file) => file.write_all(text.as_bytes()),
            None => io::stderr().write_all(text.as_bytes()),
        };
        if let Err(error) = written {
            let path = self.path.as_deref().unwrap_or(Path::new("stderr")).display();
            // Where stderr is gone too there is nobody to tell.
            let _ = write!(io::stderr(), "audit: {path}: {error}: {text}");
        }
    }
}
