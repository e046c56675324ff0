//! Follows the store and the data plane: what is in force in the one is put in the other, and what
//! the other tells is remembered.

use std::path::Path;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use fastpath::ipc::{Page, ROWS_MAX, Reply, Request};

use super::Daemon;
use super::peer::Peer;
use crate::clock::now;
use crate::link::{Link, LinkError, ask};
use crate::policy::document::Tenants;
use crate::store::Version;
use crate::transaction::{self, Current, TransactionError};

/// Time between two looks.
const EVERY: Duration = Duration::from_millis(500);

/// The data plane, while it is there.
#[derive(Debug, Default)]
struct Plane {
    link: Option<Link>,
    /// Of the process, and how long it had run: another one starts with another policy and other rows.
    pid: Option<u32>,
    uptime: f64,
    after_exchange: u64,
    after_event: u64,
}

/// Follows until the daemon stops.
pub(super) fn run(daemon: &Daemon) {
    let mut plane = Plane::default();
    while !daemon.is_stopping() {
        if plane.look(daemon).is_err() {
            plane.link = None;
            daemon.forget_plane();
            daemon.view().status = None;
        }
        let read = settle(daemon);
        daemon.view().point(now());
        daemon.tick();
        // Returns at once when somebody else has changed the store.
        daemon.store.wait(&read, EVERY);
    }
}

/// Takes back what was not confirmed in time, and puts in force what the store says. What it cannot
/// do now it tries again at the next look, and the data plane keeps its policy.
pub(super) fn settle(daemon: &Daemon) -> Version {
    let store = &*daemon.store;
    // Of several appliances one is first; the others see what has come of it.
    if let Ok(Some(back)) = transaction::expire(store, now()) {
        let peer = Peer { who: "fermata".into(), from: "daemon".into(), role: None };
        daemon.audit.write(&peer, "expire", 200, "done", Some(back.revision));
    }
    let read = store.load().map_err(TransactionError::from).and_then(|(head, version)| {
        let current = transaction::of_revision(store, &head, head.current().unwrap_or(0))?;
        let back = transaction::of_revision(store, &head, head.confirmed.unwrap_or(0))?;
        Ok((current, back, version))
    });
    let (put, version) = match read {
        Ok((current, back, version)) => {
            *fallback(daemon) = current.pending.map(|pending| (pending.until, back));
            (daemon.put_in_force(&current).map(drop), version)
        }
        Err(error) => {
            // A change that nobody could confirm here ends here, whether the store is there or not.
            let back = fallback(daemon).clone().filter(|(until, _)| now() >= *until);
            let put = back.map(|(_, back)| daemon.put_in_force(&back));
            (put.transpose().and(Err(error)), Version::default())
        }
    };
    if let Err(error) = put {
        daemon.in_force().error = Some(error.reply());
    }
    version
}

fn fallback(daemon: &Daemon) -> MutexGuard<'_, Option<(f64, Current)>> {
    daemon.fallback.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Plane {
    /// Asks for what is new.
    fn look(&mut self, daemon: &Daemon) -> Result<(), LinkError> {
        let mut link = match self.link.take() {
            Some(link) => link,
            None => Link::connect(Path::new(daemon.plane()))?,
        };
        let status = ask(&mut link, &Request::Status, |reply| {
            if let Reply::Status(status) = reply { Some(*status) } else { None }
        })?;
        if self.pid != Some(status.pid) || status.uptime_seconds < self.uptime {
            *self = Self { pid: Some(status.pid), ..Self::default() };
            daemon.forget_plane();
        }
        self.uptime = status.uptime_seconds;
        let ledger = ask(&mut link, &Request::Ledger, |reply| {
            if let Reply::Ledger(ledger) = reply { Some(*ledger) } else { None }
        })?;
        let exchanges = rows(
            &mut link,
            &mut self.after_exchange,
            |after| Request::Exchanges { after, limit: ROWS_MAX },
            |reply| if let Reply::Exchanges(page) = reply { Some(page) } else { None },
        )?;
        let events = rows(
            &mut link,
            &mut self.after_event,
            |after| Request::Events { after, limit: ROWS_MAX },
            |reply| if let Reply::Events(page) = reply { Some(page) } else { None },
        )?;
        // A daemon whose policy is not valid has no tenants to name.
        let under = daemon.under().ok();
        let nobody = Tenants::default();
        let tenants = under.as_ref().map_or(&nobody, |under| &under.1.tenants);
        let mut view = daemon.view();
        (view.status, view.ledger) = (Some(status), Some(ledger));
        view.take(exchanges, events, tenants);
        drop(view);
        self.link = Some(link);
        Ok(())
    }
}

/// Everything after a place.
fn rows<T>(
    link: &mut Link,
    after: &mut u64,
    request: impl Fn(u64) -> Request,
    pick: impl Fn(Reply) -> Option<Page<T>>,
) -> Result<Vec<T>, LinkError> {
    let mut all = Vec::new();
    loop {
        let page = ask(link, &request(*after), &pick)?;
        let ended = page.rows.len() < ROWS_MAX;
        *after = page.next;
        all.extend(page.rows);
        // More than the window holds would be forgotten at once.
        if ended || all.len() > super::view::WINDOW_MAX {
            return Ok(all);
        }
    }
}
