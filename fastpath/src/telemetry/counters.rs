//! Plain counters, owned by whoever counts.

use super::reasons::{DropReason, PassReason};

/// What a port counts. `rx_frames = tx_frames + held_frames + sum(drops)` whenever no burst is in
/// the loop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortCounters {
    /// Frames that came in.
    pub rx_frames: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Frames sent.
    pub tx_frames: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Frames inside the data plane between bursts: held, or delayed by a fault port.
    pub held_frames: u64,
    /// Frames the port itself made: repeats of the fault port. They count as received.
    pub made_frames: u64,
    /// Frames handed to other lcores; they come back for their end.
    pub handed_frames: u64,
    /// Frames taken over from another lcore, which counts their arrival and their end.
    pub taken_frames: u64,
    /// Frames freed, by reason.
    pub drops: Drops,
}

impl PortCounters {
    /// Adds what another lcore has counted.
    pub fn merge(&mut self, other: &Self) {
        self.rx_frames += other.rx_frames;
        self.rx_bytes += other.rx_bytes;
        self.tx_frames += other.tx_frames;
        self.tx_bytes += other.tx_bytes;
        self.held_frames += other.held_frames;
        self.made_frames += other.made_frames;
        self.handed_frames += other.handed_frames;
        self.taken_frames += other.taken_frames;
        self.drops.merge(&other.drops);
    }

    /// Frames that went through this lcore's own loop, those that arrive now included.
    #[must_use]
    pub fn looped_frames(&self) -> u64 {
        let kept = self.rx_frames + self.taken_frames;
        kept.saturating_sub(self.handed_frames + self.drops.count(DropReason::LcoreRingFull))
    }

    /// Whether every frame that came in has had its one end or is still held.
    #[must_use]
    pub fn balanced(&self) -> bool {
        self.rx_frames == self.tx_frames + self.held_frames + self.drops.total()
    }
}

/// What was done to flows, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Acts {
    /// Flows that were held.
    pub holds: u64,
    /// Orders to hold that met a bound: the flow passed.
    pub holds_refused: u64,
    /// Flows that were paced, policed, marked or sent to another replica.
    pub shaped: u64,
    /// Orders to do so that met a bound, or a flow that cannot be changed: it passed.
    pub shaped_refused: u64,
    /// RSTs sent. They count as received by the port, and as made.
    pub resets: u64,
    /// RSTs that were not made: inside a tunnel, without a frame to go by, or without a buffer.
    pub resets_refused: u64,
    /// Flows that are held or paced.
    pub held_flows: u64,
    /// Frames that are kept.
    pub held_frames: u64,
}

impl Acts {
    /// Adds what another lcore has done.
    pub fn merge(&mut self, other: &Self) {
        self.holds += other.holds;
        self.holds_refused += other.holds_refused;
        self.shaped += other.shaped;
        self.shaped_refused += other.shaped_refused;
        self.resets += other.resets;
        self.resets_refused += other.resets_refused;
        self.held_flows += other.held_flows;
        self.held_frames += other.held_frames;
    }
}

/// Frames freed, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops([u64; DropReason::ALL.len()]);

impl Drops {
    /// One more.
    pub fn add(&mut self, reason: DropReason) {
        self.add_many(reason, 1);
    }

    /// So many more.
    pub fn add_many(&mut self, reason: DropReason, frames: u64) {
        self.0[reason.index()] += frames;
    }

    /// How many for `reason`.
    #[must_use]
    pub fn count(&self, reason: DropReason) -> u64 {
        self.0[reason.index()]
    }

    /// Adds those of another lcore.
    pub fn merge(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(own, more)| *own += more);
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// Frames that passed unread, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passes([u64; PassReason::ALL.len()]);

impl Passes {
    /// One more.
    pub fn add(&mut self, reason: PassReason) {
        self.0[reason.index()] += 1;
    }

    /// Adds those of another lcore.
    pub fn merge(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(own, more)| *own += more);
    }

    /// How many for `reason`.
    #[must_use]
    pub fn count(&self, reason: PassReason) -> u64 {
        self.0[reason.index()]
    }
}
