//! Answers that change something, and the one that says what a change would do.

use std::path::Path;

use fastpath::ipc::{Reply, Request};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ApiError, Call, json};
use crate::clock::now;
use crate::policy::duration::Millis;
use crate::serve::{Daemon, under};
use crate::transaction::{self, API_NAME, Apply, By, Change, Current, Replay, Validated, replay};

/// A policy to look at.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyText {
    /// The documents, YAML.
    pub text: String,
    /// The name of their file, for errors.
    #[serde(default)]
    pub name: Option<String>,
}

/// A policy to put in force.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyRequest {
    /// The documents, YAML.
    pub text: String,
    /// The name of their file, for errors.
    #[serde(default)]
    pub name: Option<String>,
    /// Why, for the history.
    #[serde(default)]
    pub why: String,
    /// It is taken back after this unless it is confirmed.
    #[serde(default)]
    pub confirm_within: Option<Millis>,
    /// Only if this revision is in force; 0 where there is none.
    #[serde(default)]
    pub if_revision: Option<u64>,
}

/// Nothing needs to be said.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// Where to go back to.
#[derive(Clone, Debug, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// A revision; without it the one before.
    #[serde(default)]
    pub to: Option<u64>,
    /// Why, for the history.
    #[serde(default)]
    pub why: String,
}

/// The switch that stops everything.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BypassRequest {
    /// Nothing acts on traffic.
    pub on: bool,
}

/// Where the switch stands.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Bypassed {
    /// Nothing acts on traffic.
    pub bypassed: bool,
}

/// What a change has come to.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Applied {
    /// The policy that is in force by it.
    pub current: Current,
    /// The data plane has it. If not it is away, and gets it when it is back.
    pub in_force: bool,
}

/// What a policy would change.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub struct DryRun {
    /// The revision it is compared with.
    pub revision: u64,
    /// What it is.
    pub policy: Validated,
    /// What differs, field by field.
    pub changes: Vec<Change>,
    /// The exchanges of the last minutes under it.
    pub replay: Replay,
}

type Answer = Result<Value, ApiError>;

/// The longest reason, bytes.
const WHY_BYTES_MAX: usize = 1_000;

pub(super) fn dry_run(daemon: &Daemon, call: &Call) -> Answer {
    let PolicyText { text, name } = call.body()?;
    let documents = transaction::check(Path::new(name.as_deref().unwrap_or(API_NAME)), &text)?;
    let current = transaction::current(&*daemon.store)?;
    let changes = transaction::diff(&current.text, &text)?;
    let policy = Validated::of(&documents);
    let (before, after) = (daemon.under()?, under(documents)?);
    let replay = replay(daemon.view().window(), &before.1, &after);
    json(&DryRun { revision: current.revision, policy, changes, replay })
}

pub(super) fn apply(daemon: &Daemon, call: &Call) -> Answer {
    let ApplyRequest { text, name, why, confirm_within, if_revision } = call.body()?;
    let why = reason(&why)?;
    // Once with the name that the caller knows it by, for the errors.
    transaction::check(Path::new(name.as_deref().unwrap_or(API_NAME)), &text)?;
    let apply = Apply {
        text: &text,
        confirm_within: confirm_within.map(|time| time.0 as f64 / 1e3),
        if_revision,
    };
    let by = By { who: &call.peer.who, why, now: now() };
    let current = transaction::apply(&*daemon.store, &apply, &by)?;
    match daemon.put_in_force(&current) {
        Ok(in_force) => json(&Applied { current, in_force }),
        Err(error) => {
            // What the data plane refuses does not stay in force in the store.
            let why = "the data plane refused it";
            transaction::rollback(&*daemon.store, None, &By { why, ..by })?;
            Err(error.into())
        }
    }
}

pub(super) fn confirm(daemon: &Daemon, call: &Call) -> Answer {
    let Nothing {} = call.body()?;
    let current = transaction::confirm(&*daemon.store)?;
    finish(daemon, current)
}

pub(super) fn rollback(daemon: &Daemon, call: &Call) -> Answer {
    let RollbackRequest { to, why } = call.body()?;
    let by = By { who: &call.peer.who, why: reason(&why)?, now: now() };
    let current = transaction::rollback(&*daemon.store, to, &by)?;
    finish(daemon, current)
}

pub(super) fn bypass(daemon: &Daemon, call: &Call) -> Answer {
    let BypassRequest { on } = call.body()?;
    let bypassed = daemon.ask(&Request::Bypass { on }, |reply| {
        if let Reply::Bypassed(now) = reply { Some(now) } else { None }
    })?;
    json(&Bypassed { bypassed })
}

fn finish(daemon: &Daemon, current: Current) -> Answer {
    let in_force = daemon.put_in_force(&current)?;
    json(&Applied { current, in_force })
}

fn reason(why: &str) -> Result<&str, ApiError> {
    if why.len() > WHY_BYTES_MAX {
        let message = format!("a reason of {} bytes; expected at most {WHY_BYTES_MAX}", why.len());
        return Err(ApiError::new(422, "invalid_value", &message, None));
    }
    Ok(why)
}
