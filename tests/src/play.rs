//! Plays frames through the whole loop and keeps what it tells.

use std::sync::Arc;

use fastpath::lcore::{Lcore, LcoreConfig, Mode, Outlets};
use fastpath::policy::handoff;
use fastpath::policy::snapshot::{Policy, Snapshot};
use fastpath::port::mem::{MemPort, Sent};
use fastpath::port::{Port, Rx};
use fastpath::telemetry::Totals;
use fastpath::telemetry::event::{Amendment, Event};
use fastpath::telemetry::line::{EventLine, ExchangeLine, FlowLine};

use crate::connection::Arrival;

/// What a run has told, as lines of the contract, in order of their kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// Hellos.
    pub flows: Vec<FlowLine>,
    /// Exchanges.
    pub exchanges: Vec<ExchangeLine>,
    /// Signals.
    pub events: Vec<EventLine>,
}

/// What became of a run.
#[derive(Debug)]
pub struct Run {
    /// What it told.
    pub told: Told,
    /// What it counted.
    pub totals: Totals,
    /// What it sent.
    pub sent: Vec<Sent>,
}

/// An lcore with the shipped catalogue as its policy.
///
/// # Panics
/// When the catalogue cannot be read, which its own test would have told.
#[must_use]
pub fn lcore<P: Port>(port: P, config: LcoreConfig) -> (Lcore<P>, Outlets, Arc<Snapshot>) {
    let policy = Policy::catalogue().expect("the shipped catalogue can be read");
    let snapshot = Arc::new(Snapshot::compile(policy).expect("the shipped catalogue compiles"));
    let (_publisher, subscriber) = handoff::channel(Arc::clone(&snapshot));
    let (lcore, outlets) = Lcore::new(port, config, subscriber);
    (lcore, outlets, snapshot)
}

/// Runs a port to its end, in mode wire, and calls `look` after every burst.
///
/// # Panics
/// When the port does not close.
pub fn to_end<P: Port>(
    port: P,
    config: LcoreConfig,
    mut look: impl FnMut(&Lcore<P>),
) -> (Lcore<P>, Told) {
    let (mut lcore, outlets, snapshot) = lcore(port, config);
    let mut told = Told::default();
    for _ in 0..POLLS_MAX {
        let rx = lcore.run_once();
        look(&lcore);
        told.take(&outlets, &snapshot);
        if rx == Rx::Closed {
            while lcore.finish() {
                told.take(&outlets, &snapshot);
            }
            told.take(&outlets, &snapshot);
            return (lcore, told);
        }
    }
    panic!("the port does not close within {POLLS_MAX} polls");
}

/// Plays frames from memory through a wire.
#[must_use]
pub fn frames(arrivals: Vec<Arrival>) -> Run {
    let config = LcoreConfig { mode: Mode::Wire, ..LcoreConfig::default() };
    let (lcore, told) = to_end(MemPort::new(arrivals), config, |_| {});
    Run { told, totals: lcore.totals(), sent: lcore.port().sent().to_vec() }
}

/// Far above what any test needs, gaps in time included.
const POLLS_MAX: usize = 10_000_000;

impl Told {
    /// Takes over what is in the ring.
    pub fn take(&mut self, outlets: &Outlets, snapshot: &Snapshot) {
        while let Some(event) = outlets.events.next() {
            match event {
                Event::Hello(hello) => {
                    let Outlets { names, fingerprints, .. } = outlets;
                    self.flows.push(FlowLine::new(&hello, names, fingerprints, snapshot));
                }
                Event::Exchange(exchange) => {
                    self.exchanges.push(ExchangeLine::new(&exchange, &outlets.names, snapshot));
                }
                Event::Signal(signal) => self.events.push(EventLine::new(&signal, snapshot)),
                Event::Amendment(amendment) => self.amend(&amendment),
            }
        }
    }

    /// Enters what was learnt of an exchange after it was told.
    fn amend(&mut self, amendment: &Amendment) {
        let id = amendment.exchange.to_string();
        if let Some(line) = self.exchanges.iter_mut().rev().find(|line| line.id == id) {
            line.amend(amendment);
        }
    }
}
