//! `fermata-lab answers`: did every SDK call get the same bytes through Fermata as without it?

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::error::{LabError, read_lines};

/// A line of an answers file that matters here.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Line {
    /// The call.
    pub(crate) call: String,
    /// What the application saw: `ok`, `cancelled` or the name of an error.
    pub(crate) outcome: String,
    /// Digest of every byte of the answer.
    pub(crate) sha256: String,
    /// Their number.
    pub(crate) bytes: u64,
}

/// Compares two answers files; true when every call is equal.
pub(crate) fn run(direct: &Path, wire: &Path) -> Result<bool, LabError> {
    let (direct, wire) = (read_lines(direct)?, read_lines(wire)?);
    let (equal, differences) = compare(&direct, &wire);
    for difference in &differences {
        println!("  {difference}");
    }
    println!("answers: {equal} of {} equal, byte for byte", equal + differences.len());
    Ok(differences.is_empty())
}

/// The number of equal calls, and a line for every other.
fn compare(direct: &[Line], wire: &[Line]) -> (usize, Vec<String>) {
    let by_call = |lines: &[Line]| -> BTreeMap<String, Line> {
        lines.iter().map(|line| (line.call.clone(), line.clone())).collect()
    };
    let (direct, mut wire) = (by_call(direct), by_call(wire));
    let (mut equal, mut differences) = (0, Vec::new());
    for (call, expected) in direct {
        match wire.remove(&call) {
            None => differences.push(format!("{call}: no answer on the wire path")),
            Some(found) if found == expected => equal += 1,
            Some(found) => differences.push(format!(
                "{call}: direct {} with {} bytes, wire {} with {} bytes",
                expected.outcome, expected.bytes, found.outcome, found.bytes
            )),
        }
    }
    differences
        .extend(wire.into_keys().map(|call| format!("{call}: no answer on the direct path")));
    (equal, differences)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(call: &str, sha256: &str) -> Line {
        Line { call: call.into(), outcome: "ok".into(), sha256: sha256.into(), bytes: 9 }
    }

    #[test]
    fn equal_answers_are_counted() {
        let lines = [line("c1", "aa"), line("c2", "bb")];
        assert_eq!(compare(&lines, &lines), (2, vec![]));
    }

    #[test]
    fn other_bytes_and_missing_calls_are_named() {
        let (equal, differences) =
            compare(&[line("c1", "aa"), line("c2", "bb")], &[line("c1", "ab"), line("c3", "cc")]);
        assert_eq!(equal, 0);
        assert_eq!(differences.len(), 3);
        assert!(differences[0].starts_with("c1:"), "{differences:?}");
    }
}
