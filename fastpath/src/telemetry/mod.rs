//! What the data plane tells: counters, events, latency and the waste ledger.
//!
//! An lcore counts in plain integers it owns and copies them to where others can read now and then
//! (`report`); events leave through a bounded ring. Nothing here is on the per-packet
//! path but an addition.

pub mod counters;
pub mod event;
pub mod fingerprints;
pub mod grounds;
pub mod latency;
pub mod ledger;
pub mod line;
pub mod names;
pub mod reasons;
pub mod report;
pub mod settle;

use counters::{Acts, Passes, PortCounters};

/// Everything an lcore has counted since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Frames by their ends, from the port.
    pub port: PortCounters,
    /// What was done to flows.
    pub acts: Acts,
    /// Frames that passed without being followed, by reason.
    pub passes: Passes,
    /// Bursts with at least one frame.
    pub bursts: u64,
    /// Flows, from the flow table.
    pub flows: FlowTotals,
    /// TLS record headers walked.
    pub records: u64,
    /// Times a direction lost its place among the records (loss, capture gaps) and had to find it
    /// again.
    pub records_lost: u64,
    /// ClientHellos read.
    pub client_hellos: u64,
    /// Frames of which a capture holds less payload than was on the wire.
    pub cut_frames: u64,
    /// QUIC Initials opened.
    pub initials: u64,
    /// QUIC Initials that the keys of their own connection id do not open: a server's, or damaged.
    pub initials_unopened: u64,
    /// Out-of-order segments and hello fragments that found no room in the bounded pools.
    pub reassembly_refused: u64,
    /// Fingerprints whose lists were too long to keep: they have no JA4_r.
    pub fingerprints_refused: u64,
    /// Exchanges that have ended.
    pub exchanges: u64,
    /// Events lost because nobody read them in time.
    pub events_lost: u64,
    /// Host names that found no room in the table of names.
    pub names_refused: u64,
    /// Addresses and applications that were forgotten to learn of newer ones (`classify::learnt`).
    pub learnt_evicted: u64,
    /// Groups and attempts of the retry memory, and servers of the reply memory, pushed out by
    /// newer ones before their time.
    pub retry_evicted: u64,
    /// Backends, holds, streams and closes that the laws had no room for.
    pub decide_refused: u64,
}

impl Totals {
    /// Adds what another lcore has counted.
    pub fn merge(&mut self, other: &Self) {
        self.port.merge(&other.port);
        self.acts.merge(&other.acts);
        self.decide_refused += other.decide_refused;
        self.passes.merge(&other.passes);
        self.flows.merge(&other.flows);
        self.bursts += other.bursts;
        self.records += other.records;
        self.records_lost += other.records_lost;
        self.client_hellos += other.client_hellos;
        self.cut_frames += other.cut_frames;
        self.initials += other.initials;
        self.initials_unopened += other.initials_unopened;
        self.reassembly_refused += other.reassembly_refused;
        self.fingerprints_refused += other.fingerprints_refused;
        self.exchanges += other.exchanges;
        self.events_lost += other.events_lost;
        self.names_refused += other.names_refused;
        self.learnt_evicted += other.learnt_evicted;
        self.retry_evicted += other.retry_evicted;
    }
}

impl FlowTotals {
    /// Adds what another flow table counts.
    pub fn merge(&mut self, other: &Self) {
        self.opened += other.opened;
        self.expired += other.expired;
        self.evicted += other.evicted;
        self.live += other.live;
        self.repeated_frames += other.repeated_frames;
        self.repeated_bytes += other.repeated_bytes;
        self.h1 += other.h1;
        self.mux += other.mux;
        self.quic += other.quic;
        self.both += other.both;
    }
}

/// What a flow table counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowTotals {
    /// Flows made.
    pub opened: u64,
    /// Flows ended by FIN, RST or idle time.
    pub expired: u64,
    /// Flows pushed out by newer ones before their time.
    pub evicted: u64,
    /// Flows in the table now.
    pub live: u64,
    /// TCP segments that repeated what had passed before.
    pub repeated_frames: u64,
    /// Payload bytes in them that had passed before.
    pub repeated_bytes: u64,
    /// Flows that turned out to be HTTP/1.1 in TLS.
    pub h1: u64,
    /// HTTP/2 in TLS.
    pub mux: u64,
    /// QUIC.
    pub quic: u64,
    /// HTTP/2 and HTTP/1.1 offered, and nothing has shown yet which was chosen.
    pub both: u64,
}
