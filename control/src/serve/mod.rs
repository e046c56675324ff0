//! `fermata serve`: the daemon between people and the data plane. It keeps policies in a store, puts
//! the one in force in the data plane and keeps it there, remembers what the data plane tells, and
//! answers the API (`api`).
//!
//! When the daemon ends the data plane goes on with the policy it has; when the data plane comes back
//! the daemon gives it the policy in force.

pub mod audit;
pub mod config;
mod follow;
pub(crate) mod limit;
mod listen;
pub mod peer;
mod tls;
pub mod view;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fastpath::ipc::{ErrorReply, Reply, Request};
use fastpath::policy::snapshot::Snapshot;

use crate::cli::ServeArgs;
use crate::failure::{Done, Failure};
use crate::link::{Link, LinkError, ask};
use crate::policy::document::{DocumentError, Documents, Tenants};
use crate::store::Store;
use crate::transaction::{self, Current, TransactionError, Under};
use audit::Audit;
use config::Config;
use limit::Limits;
use peer::{Peer, Roles};
use view::View;

/// Everything the daemon knows and owns; shared by its tasks.
#[derive(Debug)]
pub struct Daemon {
    /// Where policies are.
    pub store: Box<dyn Store>,
    /// The audit log.
    pub audit: Audit,
    /// Roles of users of this machine.
    pub roles: Roles,
    plane: PathBuf,
    view: Mutex<View>,
    limits: Mutex<Limits>,
    in_force: Mutex<InForce>,
    /// What comes back at a time when the store may be out of reach.
    fallback: Mutex<Option<(f64, Current)>>,
    /// Counts up when there is something new to see; what follows the live view waits for it.
    ticks: tokio::sync::watch::Sender<u64>,
    stop: AtomicBool,
    /// Audit lines written for refusals, for `health`.
    refused: AtomicU64,
}

/// What the data plane has been given.
#[derive(Debug, Default)]
pub(crate) struct InForce {
    /// The revision the data plane has; none while it is away or has another policy.
    revision: Option<u64>,
    /// What it says, with the tenants that the data plane knows nothing of.
    under: Option<Arc<(u64, Under)>>,
    /// Why the policy in force cannot be used, if so.
    error: Option<ErrorReply>,
}

impl Daemon {
    /// A daemon that has not started yet.
    #[must_use]
    pub fn new(store: Box<dyn Store>, audit: Audit, roles: Roles, plane: &Path) -> Self {
        Self {
            store,
            audit,
            roles,
            plane: plane.to_owned(),
            view: Mutex::default(),
            limits: Mutex::default(),
            in_force: Mutex::default(),
            fallback: Mutex::default(),
            ticks: tokio::sync::watch::Sender::new(0),
            stop: AtomicBool::new(false),
            refused: AtomicU64::new(0),
        }
    }

    /// Where the data plane listens.
    #[must_use]
    pub fn plane(&self) -> &Path {
        &self.plane
    }

    pub(crate) fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn limits(&self) -> MutexGuard<'_, Limits> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn in_force(&self) -> MutexGuard<'_, InForce> {
        self.in_force.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the data plane.
    ///
    /// # Errors
    /// When there is no answer in time, or it is an error.
    pub(crate) fn ask<T>(
        &self,
        request: &Request,
        pick: impl FnOnce(Reply) -> Option<T>,
    ) -> Result<T, LinkError> {
        ask(&mut Link::connect(&self.plane)?, request, pick)
    }

    /// Tells those who follow that there is something new.
    pub(crate) fn tick(&self) {
        self.ticks.send_modify(|ticks| *ticks += 1);
    }

    pub(crate) fn ticks(&self) -> tokio::sync::watch::Receiver<u64> {
        self.ticks.subscribe()
    }

    /// Notes what was refused.
    pub(crate) fn refuse(&self, peer: &Peer, what: &str, status: u16, code: &str) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.audit.write(peer, what, status, code, None);
    }

    /// Requests refused since the start.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Asks everything to end.
    pub(crate) fn stop(&self) {
        // Read by the following task a few times a second.
        self.stop.store(true, Ordering::Relaxed);
        self.tick();
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Puts `current` in the data plane, unless it is there. True when it is.
    ///
    /// # Errors
    /// When the stored policy is none, or the data plane refuses it.
    pub(crate) fn put_in_force(&self, current: &Current) -> Result<bool, TransactionError> {
        let mut in_force = self.in_force();
        if in_force.revision == Some(current.revision) {
            return Ok(true);
        }
        let documents = transaction::check(Path::new(transaction::API_NAME), &current.text)?;
        let policy = Box::new(documents.policy.clone());
        let under = Arc::new((current.revision, under(documents)?));
        let applied = self.ask(&Request::Apply { policy }, |reply| {
            if let Reply::Applied(summary) = reply { Some(summary) } else { None }
        });
        match applied {
            Ok(_) => {
                *in_force =
                    InForce { revision: Some(current.revision), under: Some(under), error: None };
                drop(in_force);
                self.tick();
                Ok(true)
            }
            Err(LinkError::Refused(error)) => {
                in_force.error = Some(error.clone());
                Err(TransactionError::Refused(error))
            }
            // It is away: it gets the policy when it is back.
            Err(_) => {
                in_force.under = Some(under);
                Ok(false)
            }
        }
    }

    /// The data plane is away, or another one.
    pub(crate) fn forget_plane(&self) {
        self.in_force().revision = None;
    }

    /// The revision in the data plane, and why the one in the store is not, if so.
    pub(crate) fn revision_in_force(&self) -> (Option<u64>, Option<ErrorReply>) {
        let in_force = self.in_force();
        (in_force.revision, in_force.error.clone())
    }

    /// The policy in force, to look at exchanges under.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) fn under(&self) -> Result<Arc<(u64, Under)>, TransactionError> {
        if let Some(under) = &self.in_force().under {
            return Ok(Arc::clone(under));
        }
        let current = transaction::current(&*self.store)?;
        let documents = transaction::check(Path::new(transaction::API_NAME), &current.text)?;
        Ok(Arc::new((current.revision, under(documents)?)))
    }
}

/// `documents`, compiled.
pub(crate) fn under(documents: Documents) -> Result<Under, TransactionError> {
    let tenants = Tenants::new(&documents.tenants);
    let snapshot = Snapshot::compile(documents.policy).map_err(|error| {
        TransactionError::Invalid(Box::new(DocumentError::compile(None, &error)))
    })?;
    Ok(Under { snapshot: Arc::new(snapshot), tenants })
}

/// Runs the daemon until SIGINT or SIGTERM.
///
/// # Errors
/// When its configuration is wrong, or it cannot listen.
pub fn run(plane: &Path, args: &ServeArgs) -> Result<Done, Failure> {
    let config = Config::read(args)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(32)
        .build()
        .map_err(|error| Failure::Serve("runtime".to_owned(), error.to_string()))?;
    runtime.block_on(serve(plane, config))?;
    Ok(Done::Wholly)
}

async fn serve(plane: &Path, config: Config) -> Result<(), Failure> {
    let failed = |what: &Path, error: std::io::Error| {
        Failure::Serve(what.display().to_string(), error.to_string())
    };
    let path = config.audit.clone();
    let audit = Audit::open(path.as_deref())
        .map_err(|error| failed(path.as_deref().unwrap_or(Path::new("audit")), error))?;
    let roles = Roles::new(config.roles.clone(), config.admins());
    let daemon = Arc::new(Daemon::new(config.store()?, audit, roles, plane));
    let unix = listen::Unix::bind(&config.socket).map_err(|error| failed(&config.socket, error))?;
    let tls = match &config.listen {
        Some(remote) => Some(tls::Remote::bind(remote).await?),
        None => None,
    };
    let following = {
        let daemon = Arc::clone(&daemon);
        tokio::task::spawn_blocking(move || follow::run(&daemon))
    };
    let accepting = {
        let daemon = Arc::clone(&daemon);
        tokio::spawn(async move { listen::accept(daemon, unix, tls).await })
    };
    stopped().await;
    daemon.stop();
    accepting.abort();
    // A follower that panicked has said so.
    let _ = following.await;
    Ok(())
}

/// Waits for SIGINT or SIGTERM.
async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
        (Ok(mut interrupt), Ok(mut terminate)) => {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        }
        // Without handlers the signals end the process by themselves.
        _ => std::future::pending().await,
    }
}
