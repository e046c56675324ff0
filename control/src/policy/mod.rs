//! Policy as people write it: documents, checked, and compiled to what the data plane takes.

pub mod document;
pub mod duration;
pub mod schema;

use std::path::Path;
use std::sync::Arc;

use fastpath::policy::snapshot::Snapshot;

use document::{DocumentError, Documents};

/// The snapshot of the shipped catalogue and, before it, of what the policy file says.
///
/// # Errors
/// When the file cannot be read or is no valid policy.
pub fn snapshot(file: Option<&Path>) -> Result<Arc<Snapshot>, DocumentError> {
    let policy = match file {
        Some(file) => document::read(file)?,
        None => document::catalogue()?,
    };
    Snapshot::compile(policy).map(Arc::new).map_err(|error| DocumentError::compile(file, &error))
}

/// All that the documents of `text` say, once the data plane's compiler has nothing against it.
///
/// # Errors
/// When it is no valid policy.
pub fn check(file: &Path, text: &str) -> Result<Documents, DocumentError> {
    let documents = document::parse_all(file, text)?;
    Snapshot::compile(documents.policy.clone())
        .map_err(|error| DocumentError::compile(Some(file), &error))?;
    Ok(documents)
}

/// The text of the policy file.
///
/// # Errors
/// When it cannot be read.
pub fn text(file: &Path) -> Result<String, DocumentError> {
    std::fs::read_to_string(file).map_err(|error| DocumentError::Unreadable(file.to_owned(), error))
}
