//! What differs between two policies, field by field: order, layout and comments are no difference.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::TransactionError;
use crate::policy::document::{self, DocumentError};

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Change {
    /// Kind and name of the document: `Endpoint/our-vllm`.
    pub document: String,
    /// The field: `spec.hosts[1]`; empty for a document that only one of them has.
    pub path: String,
    /// What it was; null where there was nothing.
    pub before: Value,
    /// What it is; null where there is nothing.
    pub after: Value,
}

/// What differs between two policies.
///
/// # Errors
/// When one of them cannot be read.
pub fn diff(before: &str, after: &str) -> Result<Vec<Change>, TransactionError> {
    let (before, after) = (documents(before)?, documents(after)?);
    let names: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let mut changes = Vec::new();
    for name in names {
        let side = |of: &BTreeMap<String, Value>| of.get(name).cloned().unwrap_or(Value::Null);
        compare(name, String::new(), &side(&before), &side(&after), &mut changes);
    }
    Ok(changes)
}

fn documents(text: &str) -> Result<BTreeMap<String, Value>, TransactionError> {
    let invalid = |error: DocumentError| TransactionError::Invalid(Box::new(error));
    let values = document::values(Path::new(super::API_NAME), text).map_err(invalid)?;
    let named = values.into_iter().map(|value| {
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or("?");
        (format!("{}/{}", text("/kind"), text("/metadata/name")), value)
    });
    Ok(named.collect())
}

fn compare(name: &str, path: String, before: &Value, after: &Value, changes: &mut Vec<Change>) {
    if before == after {
        return;
    }
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for key in keys {
                let dot = if path.is_empty() { "" } else { "." };
                let side = |of: &serde_json::Map<String, Value>| {
                    of.get(key).cloned().unwrap_or(Value::Null)
                };
                compare(name, format!("{path}{dot}{key}"), &side(old), &side(new), changes);
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            for index in 0..old.len().max(new.len()) {
                let side = |of: &[Value]| of.get(index).cloned().unwrap_or(Value::Null);
                compare(name, format!("{path}[{index}]"), &side(old), &side(new), changes);
            }
        }
        _ => changes.push(Change {
            document: name.to_owned(),
            path,
            before: before.clone(),
            after: after.clone(),
        }),
    }
}
