//! The thread of an lcore: pinned first, so that all memory it takes is near its core; then its
//! port; then the loop, until it is told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{GATHER_EVERY, say};
use crate::lcore::{Lcore, LcoreConfig, Outlets};
use crate::policy::handoff::Subscriber;
use crate::port::{Port, Rx};

/// What an lcore's thread is given.
pub(super) struct Thread {
    pub(super) config: LcoreConfig,
    pub(super) core: Option<core_affinity::CoreId>,
    pub(super) idle: bool,
    pub(super) subscriber: Subscriber,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) ready: Sender<Result<Started, String>>,
}

/// What a started lcore tells first.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) index: u16,
    /// The core it is pinned to.
    pub(super) core: Option<usize>,
    pub(super) outlets: Outlets,
}

/// Where an lcore's port comes from.
pub(super) enum Ports<P, M> {
    /// It makes those of all lcores, keeps the first and gives the others away in order.
    Made(M, Vec<Sender<P>>),
    /// It is given one.
    Given(Receiver<P>),
}

/// Empty polls in a row before an idle lcore sleeps, and for how long: short against any round
/// trip.
const IDLE_POLLS: u32 = 256;
const IDLE_SLEEP: Duration = Duration::from_micros(50);
/// Polls at the end in which frames between lcores may come home: more than a second of them.
const DRAIN_POLLS: u32 = 20_000;

impl Thread {
    pub(super) fn spawn<P, E, M>(self, ports: Ports<P, M>) -> std::io::Result<JoinHandle<()>>
    where
        P: Port + Send + 'static,
        E: std::fmt::Display,
        M: FnOnce() -> Result<Vec<P>, E> + Send + 'static,
    {
        let name = format!("lcore-{}", self.config.index);
        std::thread::Builder::new().name(name).spawn(move || self.run(ports))
    }

    fn run<P, E, M>(self, ports: Ports<P, M>)
    where
        P: Port,
        E: std::fmt::Display,
        M: FnOnce() -> Result<Vec<P>, E>,
    {
        let index = self.config.index;
        let pinned = self.core.filter(|&core| core_affinity::set_for_current(core));
        if pinned.is_none() {
            say(format_args!("lcore {index} could not be pinned to a core and runs on any"));
        }
        let port = match ports.port() {
            Ok(Some(port)) => port,
            // Whoever makes the ports has failed, and has said so.
            Ok(None) => return,
            Err(text) => {
                // The supervisor waits for exactly one message.
                let _ = self.ready.send(Err(text));
                return;
            }
        };
        let (lcore, outlets) = Lcore::new(port, self.config, self.subscriber);
        let started = Started { index, core: pinned.map(|core| core.id), outlets };
        if self.ready.send(Ok(started)).is_ok() {
            drop(self.ready);
            poll(lcore, self.idle, &self.stop);
        }
    }
}

impl<P, E, M> Ports<P, M>
where
    E: std::fmt::Display,
    M: FnOnce() -> Result<Vec<P>, E>,
{
    fn port(self) -> Result<Option<P>, String> {
        let (make, others) = match self {
            Self::Given(port) => return Ok(port.recv().ok()),
            Self::Made(make, others) => (make, others),
        };
        let ports = make().map_err(|error| error.to_string())?;
        let (made, wanted) = (ports.len(), others.len() + 1);
        if made != wanted {
            return Err(format!("{made} ports were made; expected {wanted}, one an lcore"));
        }
        let mut ports = ports.into_iter();
        let own = ports.next();
        for (port, to) in ports.zip(others) {
            // A thread that is gone will be missed by the supervisor.
            let _ = to.send(port);
        }
        Ok(own)
    }
}

fn poll<P: Port>(mut lcore: Lcore<P>, idle: bool, stop: &AtomicBool) {
    let mut empty = 0_u32;
    while !stop.load(Ordering::Relaxed) {
        match lcore.run_once() {
            Rx::Frames(_) => empty = 0,
            Rx::Idle => empty = empty.saturating_add(1),
            Rx::Closed => break,
        }
        if idle && empty > IDLE_POLLS {
            std::thread::sleep(IDLE_SLEEP);
        }
    }
    for _ in 0..DRAIN_POLLS {
        if lcore.drain() {
            break;
        }
        if lcore.run_once() == Rx::Idle {
            std::thread::sleep(IDLE_SLEEP);
        }
    }
    while lcore.finish() {
        // The supervisor empties the ring meanwhile.
        std::thread::sleep(GATHER_EVERY);
    }
}
