//! Answers that change nothing.

use std::path::Path;

use fastpath::ipc::{ErrorReply, Reply, Request};
use fastpath::telemetry::event::ExchangeId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::change::PolicyText;
use super::routes::{LIMIT_DEFAULT, LIMIT_MAX};
use super::{ApiError, Call, json};
use crate::clock::now;
use crate::explain;
use crate::policy::{self, document::TenantEntry};
use crate::serve::Daemon;
use crate::serve::view::WINDOW_SECONDS;
use crate::transaction::{self, API_NAME, Change, Validated};

/// Whether all is well.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Health {
    /// All of what follows is as it should be.
    pub healthy: bool,
    /// Of the daemon.
    pub version: String,
    /// The data plane answers.
    pub data_plane: bool,
    /// The store can be read.
    pub store: bool,
    /// The revision that should be in force; 0 for the catalogue alone.
    pub revision: u64,
    /// The revision that the data plane has; null while it is away.
    pub revision_in_force: Option<u64>,
    /// Nothing acts on traffic.
    pub bypassed: bool,
    /// Times lately that a rule ended its own enforcement because it did harm.
    pub disarmed: usize,
    /// Requests refused since the start.
    pub refused: u64,
    /// What is wrong, if something is.
    pub error: Option<ErrorReply>,
}

/// What differs from the policy in force.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Difference {
    /// The revision it is compared with.
    pub revision: u64,
    /// Field by field.
    pub changes: Vec<Change>,
}

type Answer = Result<Value, ApiError>;

pub(super) fn health(daemon: &Daemon, _: &Call) -> Answer {
    let (revision_in_force, wrong) = daemon.revision_in_force();
    let current = transaction::current(&*daemon.store);
    let view = daemon.view();
    let data_plane = view.status.is_some();
    let error = match &current {
        Err(error) => Some(error.reply()),
        Ok(_) => wrong,
    };
    let revision = current.as_ref().map_or(0, |current| current.revision);
    let same = revision_in_force == Some(revision);
    json(&Health {
        healthy: data_plane && error.is_none() && same,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        data_plane,
        store: current.is_ok(),
        revision,
        revision_in_force,
        bypassed: view.status.as_ref().is_some_and(|status| status.bypassed),
        disarmed: view.disarmed(),
        refused: daemon.refused(),
        error,
    })
}

pub(super) fn status(daemon: &Daemon, _: &Call) -> Answer {
    let status = daemon.ask(&Request::Status, |reply| {
        if let Reply::Status(status) = reply { Some(status) } else { None }
    })?;
    json(&status)
}

pub(super) fn endpoints(daemon: &Daemon, _: &Call) -> Answer {
    let rows = daemon.ask(&Request::Endpoints, |reply| {
        if let Reply::Endpoints(rows) = reply { Some(rows) } else { None }
    })?;
    json(&rows)
}

pub(super) fn backends(daemon: &Daemon, _: &Call) -> Answer {
    let standings = daemon.ask(&Request::Backends, |reply| {
        if let Reply::Backends(standings) = reply { Some(standings) } else { None }
    })?;
    json(&standings)
}

pub(super) fn clients(daemon: &Daemon, _: &Call) -> Answer {
    let rows = daemon.ask(&Request::Clients, |reply| {
        if let Reply::Clients(rows) = reply { Some(rows) } else { None }
    })?;
    json(&rows)
}

pub(super) fn tenants(daemon: &Daemon, _: &Call) -> Answer {
    let rows = daemon.view().tenants();
    json(&rows)
}

pub(super) fn prefixes(daemon: &Daemon, _: &Call) -> Answer {
    let current = transaction::current(&*daemon.store)?;
    let documents = transaction::check(Path::new(API_NAME), &current.text)?;
    json(&documents.tenants.iter().map(TenantEntry::from).collect::<Vec<_>>())
}

pub(super) fn flows(daemon: &Daemon, call: &Call) -> Answer {
    let limit = limit(call)?;
    let rows = daemon.ask(&Request::Flows { limit }, |reply| {
        if let Reply::Flows(rows) = reply { Some(rows) } else { None }
    })?;
    json(&rows)
}

pub(super) fn exchanges(daemon: &Daemon, call: &Call) -> Answer {
    let page = daemon.view().exchanges(call.number("after")?, limit(call)?);
    json(&page)
}

pub(super) fn signals(daemon: &Daemon, call: &Call) -> Answer {
    let page = daemon.view().events(call.number("after")?, limit(call)?);
    json(&page)
}

pub(super) fn explain(daemon: &Daemon, call: &Call) -> Answer {
    let id = call.path.first().and_then(|id| id.strip_prefix('x')?.parse().ok());
    let id = id.map(ExchangeId).ok_or_else(|| {
        ApiError::new(404, "no_such_exchange", "expected `x` and a number, as in x57", None)
    })?;
    Ok(explain::of_data_plane(daemon.plane(), id)?)
}

pub(super) fn ledger(daemon: &Daemon, _: &Call) -> Answer {
    let ledger = daemon.ask(&Request::Ledger, |reply| {
        if let Reply::Ledger(ledger) = reply { Some(ledger) } else { None }
    })?;
    json(&ledger)
}

pub(super) fn savings(daemon: &Daemon, _: &Call) -> Answer {
    let savings = daemon.view().savings.view();
    json(&savings)
}

pub(super) fn series(daemon: &Daemon, call: &Call) -> Answer {
    let since = call.number::<u64>("seconds")?.map_or(0.0, |seconds| now() - seconds as f64);
    let points = daemon.view().series(since);
    json(&points)
}

pub(super) fn propagation(daemon: &Daemon, _: &Call) -> Answer {
    let graph = daemon.view().propagation.view(WINDOW_SECONDS);
    json(&graph)
}

pub(super) fn policy(daemon: &Daemon, _: &Call) -> Answer {
    json(&transaction::current(&*daemon.store)?)
}

pub(super) fn history(daemon: &Daemon, _: &Call) -> Answer {
    json(&transaction::history(&*daemon.store)?)
}

pub(super) fn revision(daemon: &Daemon, call: &Call) -> Answer {
    let revision = call.path.first().and_then(|number| number.parse().ok());
    let revision = revision.ok_or_else(|| {
        ApiError::new(404, "no_such_revision", "expected the number of a revision", None)
    })?;
    let (head, _) = daemon.store.load()?;
    json(&transaction::of_revision(&*daemon.store, &head, revision)?)
}

pub(super) fn validate(_: &Daemon, call: &Call) -> Answer {
    let PolicyText { text, name } = call.body()?;
    let documents = transaction::check(Path::new(name.as_deref().unwrap_or(API_NAME)), &text)?;
    json(&Validated::of(&documents))
}

pub(super) fn diff(daemon: &Daemon, call: &Call) -> Answer {
    let PolicyText { text, name } = call.body()?;
    transaction::check(Path::new(name.as_deref().unwrap_or(API_NAME)), &text)?;
    let current = transaction::current(&*daemon.store)?;
    let changes = transaction::diff(&current.text, &text)?;
    json(&Difference { revision: current.revision, changes })
}

pub(super) fn members(daemon: &Daemon, _: &Call) -> Answer {
    json(&daemon.store.members()?)
}

pub(super) fn openapi(_: &Daemon, _: &Call) -> Answer {
    Ok(super::openapi::document())
}

pub(super) fn schema(_: &Daemon, _: &Call) -> Answer {
    Ok(policy::schema::policy())
}

fn limit(call: &Call) -> Result<usize, ApiError> {
    Ok(call.number("limit")?.unwrap_or(LIMIT_DEFAULT).min(LIMIT_MAX))
}
