//! What can go wrong in the lab before or after traffic flows, always with the name of the thing
//! that was wrong.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// An error of the lab program; faults of a connection are no errors here, they are the truth of a
/// request.
#[derive(Debug, Error)]
pub(crate) enum LabError {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{path}:{line}: {source}")]
    Json {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// What the parser expected.
        source: serde_json::Error,
    },
    /// A file parses and still makes no sense.
    #[error("{path}: {wrong}")]
    Content {
        /// The file.
        path: PathBuf,
        /// The value that was wrong and what was expected.
        wrong: String,
    },
    /// An address cannot be listened on.
    #[error(
        "cannot listen on {address}: {source} (does the namespace carry the address? `scripts/lab up`)"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A certificate could not be made.
    #[error("certificate of {name}: {source}")]
    Certificate {
        /// The name it was for.
        name: String,
        /// What rcgen said.
        source: rcgen::Error,
    },
    /// TLS could not be set up.
    #[error("TLS of {name}: {source}")]
    Tls {
        /// The endpoint.
        name: String,
        /// What rustls said.
        source: tokio_rustls::rustls::Error,
    },
    /// The runtime could not start or wait for a signal.
    #[error("runtime: {0}")]
    Runtime(#[from] io::Error),
}

/// Reads a whole file, with its name in the error.
pub(crate) fn read(path: &Path) -> Result<String, LabError> {
    std::fs::read_to_string(path).map_err(|source| LabError::File { path: path.into(), source })
}

/// Reads a file of JSON lines; empty lines are skipped.
pub(crate) fn read_lines<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Vec<T>, LabError> {
    let text = read(path)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(index, line)| {
            serde_json::from_str(line).map_err(|source| LabError::Json {
                path: path.into(),
                line: index + 1,
                source,
            })
        })
        .collect()
}
