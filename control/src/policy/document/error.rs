//! What is wrong with a policy, where, what was expected, and the nearest name.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use fastpath::ipc::ErrorReply;
use fastpath::policy::snapshot::PolicyError;

/// Why a policy cannot be used.
#[derive(Debug)]
pub enum DocumentError {
    /// The file cannot be read.
    Unreadable(PathBuf, io::Error),
    /// The file is no valid policy.
    Invalid {
        /// The file.
        file: PathBuf,
        /// The line, where one is to blame.
        line: Option<u64>,
        /// The field: `spec.hosts[1]`.
        path: Option<String>,
        /// What is wrong, and what was expected.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
}

impl DocumentError {
    /// From the parser's error.
    pub(crate) fn syntax(file: &Path, path: Option<String>, error: &serde_saphyr::Error) -> Self {
        use serde_saphyr::Error;
        let error = error.without_snippet();
        let (message, hint) = match error {
            Error::SerdeUnknownField { field, expected, .. } => unknown("field", field, expected),
            Error::SerdeUnknownVariant { variant, expected, .. } => {
                unknown("value", variant, expected)
            }
            Error::SerdeMissingField { field, .. } => {
                (format!("the field `{field}` is missing"), None)
            }
            other => with_suggestion(plain(&other.to_string())),
        };
        Self::Invalid {
            file: file.to_owned(),
            line: error.location().map(|location| location.line()).filter(|&line| line > 0),
            path: path.filter(|path| path != "."),
            message,
            hint,
        }
    }

    /// From the compiler's error.
    pub(crate) fn compile(file: Option<&Path>, error: &PolicyError) -> Self {
        let file = file.map_or_else(super::shipped, Path::to_owned);
        Self::Invalid { file, line: None, path: None, message: error.to_string(), hint: None }
    }

    /// The exit code of the contract: a policy that cannot be read is an error, one that is wrong
    /// is invalid.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Unreadable(..) => 1,
            Self::Invalid { .. } => 3,
        }
    }

    /// The error object of the contract; its path is `file:line`.
    #[must_use]
    pub fn reply(&self) -> ErrorReply {
        match self {
            Self::Unreadable(file, error) => ErrorReply {
                code: "unreadable_policy".to_owned(),
                message: format!("the policy cannot be read: {error}"),
                path: Some(file.display().to_string()),
                hint: Some("docs/examples/policy.yaml is one to start from".to_owned()),
            },
            Self::Invalid { file, line, path, message, hint } => ErrorReply {
                code: "invalid_policy".to_owned(),
                message: path.as_ref().map(|p| format!("{p}: ")).unwrap_or_default() + message,
                path: Some(match line {
                    Some(line) => format!("{}:{line}", file.display()),
                    None => file.display().to_string(),
                }),
                hint: hint.clone(),
            },
        }
    }
}

impl fmt::Display for DocumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::failure::for_people(&self.reply()))
    }
}

impl std::error::Error for DocumentError {}

fn unknown(what: &str, word: &str, expected: &[&'static str]) -> (String, Option<String>) {
    let names: Vec<String> = expected.iter().map(|name| format!("`{name}`")).collect();
    let message = format!("unknown {what} `{word}`; expected {}", one_of(&names));
    (message, nearest(word, expected).map(|name| format!("did you mean `{name}`?")))
}

/// What a message suggests is a hint of its own.
fn with_suggestion(message: String) -> (String, Option<String>) {
    match message.split_once("; did you mean ") {
        Some((message, meant)) => {
            (message.to_owned(), Some(format!("did you mean {}", meant.trim_end_matches(" at"))))
        }
        None => (message, None),
    }
}

fn one_of(names: &[String]) -> String {
    match names {
        [] => "nothing here".to_owned(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}

/// The expected name that `word` was probably meant to be: letters alike, whatever the case and
/// hyphens.
fn nearest<'a>(word: &str, expected: &[&'a str]) -> Option<&'a str> {
    let bare = |text: &str| text.replace(['-', '_'], "").to_lowercase();
    let word = bare(word);
    let near = |name: &&str| strsim::damerau_levenshtein(&word, &bare(name));
    let best = *expected.iter().min_by_key(|name| near(name))?;
    (near(&best) <= (best.len() / 3).max(2)).then_some(best)
}

/// The parser's message without the position it ends with: that has a place of its own.
fn plain(message: &str) -> String {
    let first = message.lines().next().unwrap_or(message);
    let end = first.rfind(" at line ").unwrap_or(first.len());
    let start = first.strip_prefix("error: ").map_or(0, |_| "error: ".len());
    first.get(start..end).unwrap_or(first).trim_end_matches(',').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_ignores_case_and_hyphens() {
        let expected = ["retryConstraint", "mode", "limits"];
        assert_eq!(nearest("retry_constraint", &expected), Some("retryConstraint"));
        assert_eq!(nearest("limit", &expected), Some("limits"));
        assert_eq!(nearest("colour", &expected), None);
    }
}
