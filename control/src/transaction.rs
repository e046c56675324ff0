//! Changes of policy as transactions: each is a revision with an author and a reason, it can be
//! compared before it is made, it can undo itself unless it is confirmed, and it can be taken back.
//!
//! Pure but for the store: the time is given, and putting a policy in force is the caller's.

mod diff;
mod replay;

use std::path::Path;

use fastpath::ipc::ErrorReply;
use serde::{Deserialize, Serialize};

pub use diff::{Change, diff};
pub use replay::{Moved, Replay, Under, replay};

use crate::policy;
use crate::policy::document::{DocumentError, Documents, Finding};
use crate::store::{Entry, Head, Pending, Store, StoreError, TEXT_BYTES_MAX, sha256};

/// The longest that a change may wait to be confirmed, seconds.
pub const CONFIRM_WITHIN_MAX: f64 = 86_400.0;

/// Who changes something, when and why.
#[derive(Clone, Debug)]
pub struct By<'a> {
    /// Who: as the store shows it.
    pub who: &'a str,
    /// Why.
    pub why: &'a str,
    /// Unix seconds.
    pub now: f64,
}

/// What is to be applied.
#[derive(Clone, Debug, Default)]
pub struct Apply<'a> {
    /// The documents.
    pub text: &'a str,
    /// Seconds after which it is taken back unless it is confirmed.
    pub confirm_within: Option<f64>,
    /// Only if this revision is in force; 0 where there is none.
    pub if_revision: Option<u64>,
}

/// The policy in force, as the store has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Current {
    /// The revision; 0 where nothing was ever applied, and the shipped catalogue is in force.
    pub revision: u64,
    /// Who, when and why; none for revision 0.
    pub entry: Option<Entry>,
    /// The documents as they were typed.
    pub text: String,
    /// Until when it has to be confirmed.
    pub pending: Option<Pending>,
}

/// All revisions there are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct History {
    /// The revision in force; 0 where there is none.
    pub revision: u64,
    /// The revision that was confirmed last; 0 where there is none.
    pub confirmed: u64,
    /// One that waits to be confirmed.
    pub pending: Option<Pending>,
    /// Oldest first.
    pub revisions: Vec<Entry>,
}

/// What a valid policy is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Validated {
    /// Endpoints, with the catalogue.
    pub endpoints: usize,
    /// Tenants.
    pub tenants: usize,
    /// Exporters.
    pub exporters: usize,
    /// `off`, `shadow` or `enforce`.
    pub mode: String,
    /// What it says in vain.
    pub findings: Vec<Finding>,
}

/// Why a transaction was not made.
#[derive(Debug)]
pub enum TransactionError {
    /// The policy is not valid.
    Invalid(Box<DocumentError>),
    /// The store cannot do it.
    Store(StoreError),
    /// Another revision is in force than was expected: that one, and the one expected.
    Unexpected(u64, u64),
    /// A change waits to be confirmed.
    Pending(Pending),
    /// Nothing waits to be confirmed.
    NothingPending,
    /// There is no such revision.
    NoRevision(u64),
    /// There is none before the one in force.
    NothingBefore,
    /// The data plane refuses the policy.
    Refused(ErrorReply),
    /// A value cannot be: which, and what was expected.
    Value(&'static str, String),
}

/// The name of a policy that came by the API, in errors.
pub const API_NAME: &str = "policy";

/// Checks `text`, whose errors name `file`.
///
/// # Errors
/// When it is no valid policy.
pub fn check(file: &Path, text: &str) -> Result<Documents, TransactionError> {
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("{} bytes of policy; expected at most {TEXT_BYTES_MAX}", text.len());
        return Err(TransactionError::Value("policy", message));
    }
    policy::check(file, text).map_err(|error| TransactionError::Invalid(Box::new(error)))
}

impl Validated {
    /// In short.
    #[must_use]
    pub fn of(documents: &Documents) -> Self {
        Self {
            endpoints: documents.policy.endpoints.len(),
            tenants: documents.tenants.len(),
            exporters: documents.exporters.len(),
            mode: documents.policy.mode.name().to_owned(),
            findings: documents.findings.clone(),
        }
    }
}

/// The policy in force.
///
/// # Errors
/// When the store cannot be read.
pub fn current(store: &dyn Store) -> Result<Current, TransactionError> {
    let (head, _) = store.load()?;
    of_revision(store, &head, head.current().unwrap_or(0))
}

/// The policy of a revision; of 0 it is empty.
///
/// # Errors
/// When the store cannot be read or has no such revision.
pub fn of_revision(
    store: &dyn Store,
    head: &Head,
    revision: u64,
) -> Result<Current, TransactionError> {
    if revision == 0 {
        return Ok(Current { revision, entry: None, text: String::new(), pending: None });
    }
    let entry = head.entry(revision).ok_or(TransactionError::NoRevision(revision))?.clone();
    let text = store.text(&entry)?;
    let pending = head.pending.filter(|pending| pending.revision == revision);
    Ok(Current { revision, entry: Some(entry), text, pending })
}

/// All revisions.
///
/// # Errors
/// When the store cannot be read.
pub fn history(store: &dyn Store) -> Result<History, TransactionError> {
    let (head, _) = store.load()?;
    Ok(History {
        revision: head.current().unwrap_or(0),
        confirmed: head.confirmed.unwrap_or(0),
        pending: head.pending,
        revisions: head.entries,
    })
}

/// Makes a checked policy the next revision.
///
/// # Errors
/// When it is not valid, another change waits, the revision is not the one expected, or the store
/// cannot be written: then nothing has changed.
pub fn apply(
    store: &dyn Store,
    apply: &Apply<'_>,
    by: &By<'_>,
) -> Result<Current, TransactionError> {
    check(Path::new(API_NAME), apply.text)?;
    if let Some(seconds) = apply.confirm_within
        && !(1.0..=CONFIRM_WITHIN_MAX).contains(&seconds)
    {
        let message = format!("{seconds} s to confirm; expected 1s to 24h");
        return Err(TransactionError::Value("confirm_within", message));
    }
    add(store, apply, by, None)
}

/// Makes what waits to be confirmed stay.
///
/// # Errors
/// When nothing waits, or the store cannot be written.
pub fn confirm(store: &dyn Store) -> Result<Current, TransactionError> {
    let (mut head, version) = store.load()?;
    let pending = head.pending.take().ok_or(TransactionError::NothingPending)?;
    head.confirmed = Some(pending.revision);
    store.commit(&version, &head, None)?;
    of_revision(store, &head, pending.revision)
}

/// Goes back: from a change that waits to what was before it; else to the text of `to`, as a revision
/// of its own, or to that of the revision before the one in force.
///
/// # Errors
/// When there is no such revision, or the store cannot be written.
pub fn rollback(
    store: &dyn Store,
    to: Option<u64>,
    by: &By<'_>,
) -> Result<Current, TransactionError> {
    let (head, _) = store.load()?;
    if head.pending.is_some() {
        let back = take_back(store)?;
        let there = to.is_none_or(|to| to == back.revision);
        if there {
            return Ok(back);
        }
    }
    let (head, _) = store.load()?;
    let current = head.current().unwrap_or(0);
    let before = || head.entries.iter().rev().find(|entry| entry.revision < current);
    let to = match to {
        Some(to) => to,
        None => before().map(|entry| entry.revision).ok_or(TransactionError::NothingBefore)?,
    };
    let text = of_revision(store, &head, to)?.text;
    let again = Apply { text: &text, ..Apply::default() };
    add(store, &again, by, Some(to))
}

/// Takes back what was not confirmed in time; what is in force then, if that has changed.
///
/// # Errors
/// When the store cannot be used.
pub fn expire(store: &dyn Store, now: f64) -> Result<Option<Current>, TransactionError> {
    let (head, _) = store.load()?;
    match head.pending {
        Some(pending) if now >= pending.until => take_back(store).map(Some),
        _ => Ok(None),
    }
}

fn take_back(store: &dyn Store) -> Result<Current, TransactionError> {
    let (mut head, version) = store.load()?;
    head.pending = None;
    store.commit(&version, &head, None)?;
    of_revision(store, &head, head.confirmed.unwrap_or(0))
}

fn add(
    store: &dyn Store,
    apply: &Apply<'_>,
    by: &By<'_>,
    restores: Option<u64>,
) -> Result<Current, TransactionError> {
    let (mut head, version) = store.load()?;
    if let Some(pending) = head.pending {
        return Err(TransactionError::Pending(pending));
    }
    let current = head.current().unwrap_or(0);
    if let Some(expected) = apply.if_revision.filter(|expected| *expected != current) {
        return Err(TransactionError::Unexpected(current, expected));
    }
    let entry = Entry {
        revision: head.next(),
        who: by.who.to_owned(),
        when: by.now,
        why: by.why.to_owned(),
        sha256: sha256(apply.text.as_bytes()),
        restores,
    };
    match apply.confirm_within {
        Some(seconds) => {
            head.pending = Some(Pending { revision: entry.revision, until: by.now + seconds });
        }
        None => head.confirmed = Some(entry.revision),
    }
    head.push(entry.clone());
    store.commit(&version, &head, Some((&entry, apply.text)))?;
    let (text, pending) = (apply.text.to_owned(), head.pending);
    Ok(Current { revision: entry.revision, entry: Some(entry), text, pending })
}

impl From<StoreError> for TransactionError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl TransactionError {
    /// The exit code of the contract.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Invalid(error) => error.exit_code(),
            Self::Value(..) => 3,
            _ => 1,
        }
    }

    /// The error object of the contract.
    #[must_use]
    pub fn reply(&self) -> ErrorReply {
        let (code, message, hint) = match self {
            Self::Invalid(error) => return error.reply(),
            Self::Store(error) => return error.reply(),
            Self::Refused(error) => return error.clone(),
            Self::Unexpected(current, expected) => (
                "revision_changed",
                format!("revision {current} is in force, not {expected}"),
                "`fermata history` says who changed it; compare with `fermata diff` and apply again",
            ),
            Self::Pending(pending) => (
                "confirmation_pending",
                format!("revision {} waits to be confirmed", pending.revision),
                "`fermata confirm` keeps it, `fermata rollback` takes it back",
            ),
            Self::NothingPending => (
                "nothing_pending",
                "nothing waits to be confirmed: its time may be up, and it was taken back"
                    .to_owned(),
                "`fermata history` shows what is in force",
            ),
            Self::NoRevision(revision) => (
                "no_such_revision",
                format!("there is no revision {revision}"),
                "`fermata history` lists those there are",
            ),
            Self::NothingBefore => (
                "nothing_before",
                "there is no revision before the one in force".to_owned(),
                "`fermata rollback 0` goes back to the shipped catalogue",
            ),
            Self::Value(path, message) => {
                let reply = ErrorReply::new("invalid_value", message.as_str());
                return ErrorReply { path: Some((*path).to_owned()), ..reply };
            }
        };
        ErrorReply { hint: Some(hint.to_owned()), ..ErrorReply::new(code, message) }
    }
}

#[cfg(test)]
mod tests;
