//! Replays a capture through the whole loop: the same `Lcore::run_once` as on a wire, with the
//! capture's time.

use std::path::Path;
use std::sync::Arc;

use crate::lcore::{Lcore, LcoreConfig, Mode, Outlets};
use crate::policy::handoff;
use crate::policy::snapshot::Snapshot;
use crate::port::Rx;
use crate::port::pcap::{PcapError, PcapPort, Progress};
use crate::telemetry::Totals;
use crate::telemetry::event::Event;
use crate::telemetry::settle::Settling;
use crate::time::Nanos;

/// What is left to say when the capture has ended.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Everything counted.
    pub totals: Totals,
    /// Time of the first frame; zero when there was none.
    pub first: Nanos,
    /// Time of the last frame.
    pub last: Nanos,
    /// Amendments that came when their exchange had been told already: see [`Settling`].
    pub late_amendments: u64,
    /// What was wrong with the file, if it could be read only in part.
    pub note: Option<String>,
}

/// Gives every event of the capture at `path` to `sink`, in order, with what its ids stand for.
/// Amendments have been entered in their exchanges, and are no events of their own.
///
/// # Errors
/// When the file cannot be opened or is no capture. A file that breaks off is read as far as it
/// goes.
pub fn replay(
    path: &Path,
    snapshot: Arc<Snapshot>,
    mut sink: impl FnMut(&Event, &Outlets),
    mut progress: impl FnMut(&Progress),
) -> Result<Summary, PcapError> {
    let port = PcapPort::open(path)?;
    let (_publisher, subscriber) = handoff::channel(snapshot);
    let config = LcoreConfig { mode: Mode::Observe, ..LcoreConfig::default() };
    let (mut lcore, outlets) = Lcore::new(port, config, subscriber);
    let mut first = Nanos::ZERO;
    let mut settling = Settling::default();
    let mut give = |now| {
        while let Some(event) = outlets.events.next() {
            settling.push(now, event, |event| sink(event, &outlets));
        }
    };
    loop {
        let rx = lcore.run_once();
        give(lcore.now());
        if rx == Rx::Closed {
            break;
        }
        if first == Nanos::ZERO {
            first = lcore.now();
        }
        progress(&lcore.port().progress());
    }
    let last = lcore.now();
    while lcore.finish() {
        give(last);
    }
    give(last);
    settling.finish(|event| sink(event, &outlets));
    let note = lcore.port().note().map(|note| note.to_string());
    Ok(Summary { totals: lcore.totals(), first, last, late_amendments: settling.late, note })
}
