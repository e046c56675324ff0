//! One port for several lcores: which of them gets a frame, and how it gets there.
//!
//! An lcore shares nothing, so all frames of a flow have to reach the same one, and all flows of a
//! client should: who repeats a request is seen by whoever saw the first. A device that can hash
//! one address does that in hardware, each lcore polling a queue of its own ([`LcorePort::Own`]).
//! Where a device cannot, one lcore receives and sends for all: it is the *distributor*, hands each
//! frame to the lcore that owns its client over a bounded ring, and takes it back with its fate for
//! the end. The others are *workers*.
//!
//! Arrivals and ends are counted in one place, by whoever owns the device; a worker counts what it
//! has taken over. `Lcore::run_once` is the same on each.

mod distributor;
mod owner;

use self::distributor::{Distributor, Worker};
pub use self::owner::Ends;
use super::{DeviceReport, Port, Rx};
use crate::burst::Burst;
use crate::telemetry::counters::PortCounters;
use crate::time::Nanos;

/// How frames are spread over lcores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spread {
    /// One lcore has them all.
    #[default]
    Single,
    /// The devices hash the client's address: a client is one lcore's.
    ClientAddress,
    /// The devices, or the kernel below them, hash addresses and ports alike both ways: a flow is
    /// one lcore's, a client is not.
    FiveTuple,
    /// One lcore receives for all, and hashes the client's address.
    Software,
}

impl Spread {
    /// Its name in exports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::ClientAddress => "rss_client_address",
            Self::FiveTuple => "rss_5_tuple",
            Self::Software => "software",
        }
    }
}

/// A port as one of several lcores sees it.
#[derive(Debug)]
pub enum LcorePort<P: Port> {
    /// Queues of its own on every device, or all of a port.
    Own(P),
    /// It receives and sends for all.
    Distributor(Box<Distributor<P>>),
    /// It gets its frames from the distributor.
    Worker(Box<Worker<P::Frame>>),
}

impl<P: Port> LcorePort<P> {
    /// `port` for so many lcores, the distributor's first; spread in software when there is more
    /// than one. At most `ring_frames` are on their way to and from each worker.
    ///
    /// # Panics
    /// When `lcores` or `ring_frames` is zero.
    #[must_use]
    pub fn spread(port: P, lcores: usize, ends: Ends, ring_frames: usize) -> Vec<Self> {
        assert!(lcores > 0, "a port is somebody's");
        if lcores == 1 {
            return vec![Self::Own(port)];
        }
        let (distributor, workers) = Distributor::new(port, lcores, ends, ring_frames);
        let workers = workers.into_iter().map(|worker| Self::Worker(Box::new(worker)));
        std::iter::once(Self::Distributor(Box::new(distributor))).chain(workers).collect()
    }

    /// The port with the devices; none at a worker.
    #[must_use]
    pub fn inner(&self) -> Option<&P> {
        match self {
            Self::Own(port) => Some(port),
            Self::Distributor(distributor) => Some(distributor.inner()),
            Self::Worker(_) => None,
        }
    }
}

impl<P: Port> Port for LcorePort<P> {
    type Frame = P::Frame;

    fn rx_burst(&mut self, burst: &mut Burst<P::Frame>) -> Rx {
        match self {
            Self::Own(port) => port.rx_burst(burst),
            Self::Distributor(distributor) => distributor.rx_burst(burst),
            Self::Worker(worker) => worker.rx_burst(burst),
        }
    }

    fn tx_burst(&mut self, burst: &mut Burst<P::Frame>) -> Nanos {
        match self {
            Self::Own(port) => port.tx_burst(burst),
            Self::Distributor(distributor) => distributor.tx_burst(burst),
            Self::Worker(worker) => worker.tx_burst(burst),
        }
    }

    /// A worker has no device to make a frame for: what it would have made is counted as refused.
    fn build(&mut self, bytes: &[u8]) -> Option<P::Frame> {
        match self {
            Self::Own(port) => port.build(bytes),
            Self::Distributor(distributor) => distributor.build(bytes),
            Self::Worker(_) => None,
        }
    }

    fn frames(&self) -> Option<u32> {
        match self {
            Self::Own(port) => port.frames(),
            Self::Distributor(distributor) => distributor.frames,
            Self::Worker(worker) => worker.frames,
        }
    }

    fn counters(&self) -> &PortCounters {
        match self {
            Self::Own(port) => port.counters(),
            Self::Distributor(distributor) => distributor.counters(),
            Self::Worker(worker) => worker.counters(),
        }
    }

    fn drain(&mut self) -> bool {
        match self {
            Self::Own(port) => port.drain(),
            Self::Distributor(distributor) => distributor.drain(),
            Self::Worker(worker) => worker.drain(),
        }
    }

    fn spread(&self) -> Spread {
        match self {
            Self::Own(port) => port.spread(),
            Self::Distributor(_) | Self::Worker(_) => Spread::Software,
        }
    }

    fn devices(&self) -> Vec<DeviceReport> {
        self.inner().map(P::devices).unwrap_or_default()
    }
}
