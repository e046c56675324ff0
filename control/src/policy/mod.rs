//! Policy as people write it: documents, checked, and compiled to what the data plane takes.

pub mod document;
pub(crate) mod duration;

use std::path::Path;
use std::sync::Arc;

use fastpath::policy::snapshot::Snapshot;

use document::DocumentError;

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
