//! What the data plane is compared with: controls that stand before a replica's queue and know what
//! no data plane can know, its capacity.

use std::collections::VecDeque;

use fastpath::time::Nanos;

use super::connection::Side;
use super::scenario::Column;
use super::server::{Job, Stage};
use super::slab::Id;
use super::world::World;

/// A control over all replicas.
#[derive(Debug)]
pub(super) struct Admission {
    column: Column,
    gates: Vec<Gate>,
}

/// What it keeps of one replica.
#[derive(Debug)]
struct Gate {
    /// Requests that are kept back, in order of arrival. Some may have gone.
    held: VecDeque<Id<Job>>,
    /// Of these, how many have not.
    waiting: u32,
    /// Retries that may pass, and when that was counted.
    tokens: (f64, Nanos),
}

/// A fifth of the first attempts, and ten a second; a hundred can be saved up.
const BUDGET_SHARE: f64 = 0.2;
const BUDGET_PER_SECOND: f64 = 10.0;
const BUDGET_BURST: f64 = 100.0;

impl Admission {
    pub(super) fn new(column: Column, replicas: usize, start: Nanos) -> Self {
        let gate = || Gate { held: VecDeque::new(), waiting: 0, tokens: (BUDGET_BURST, start) };
        Self { column, gates: (0..replicas).map(|_| gate()).collect() }
    }

    /// Requests that are kept back.
    pub(super) fn held(&self) -> u32 {
        self.gates.iter().map(|gate| gate.waiting).sum()
    }

    /// A request has gone that was kept back.
    pub(super) fn dropped(&mut self, replica: usize) {
        self.gates[replica].waiting -= 1;
    }

    fn limits(&self) -> bool {
        matches!(self.column, Column::Fifo | Column::Oracle)
    }
}

impl World<'_> {
    /// Decides about a request that has arrived.
    pub(super) fn admit(&mut self, id: Id<Job>) {
        let Some(job) = self.jobs.get(id) else { return };
        let (index, attempt) = (job.replica, job.attempt);
        match self.admission.column {
            Column::None | Column::Lcore => self.enqueue(id),
            Column::Budget => {
                if self.admission.gates[index].spend(self.now, attempt) {
                    self.enqueue(id);
                } else {
                    self.turn_away(id);
                }
            }
            Column::Fifo | Column::Oracle => {
                let gate = &mut self.admission.gates[index];
                gate.held.push_back(id);
                gate.waiting += 1;
                self.release(index);
            }
        }
    }

    /// Lets go what finds room: as many as there are slots.
    pub(super) fn release(&mut self, index: usize) {
        if !self.admission.limits() {
            return;
        }
        loop {
            let replica = &self.replicas[index];
            if replica.busy + replica.queued >= replica.slots() {
                return;
            }
            let turned = self.admission.column == Column::Oracle
                && self.admission.gates[index].waiting > replica.slots() / 2;
            let gate = &mut self.admission.gates[index];
            let next = if turned { gate.held.pop_back() } else { gate.held.pop_front() };
            let Some(id) = next else { return };
            if self.jobs.get(id).is_some_and(|job| job.stage == Stage::Held) {
                self.admission.gates[index].waiting -= 1;
                self.enqueue(id);
            }
        }
    }

    /// Resets the connection of a request.
    fn turn_away(&mut self, id: Id<Job>) {
        let Some(job) = self.jobs.remove(id) else { return };
        let Some(connection) = job.connection else { return };
        if let Some(open) = self.connections.get_mut(connection) {
            open.job = None;
        }
        self.reset(connection, Side::Server);
    }
}

impl Gate {
    /// Whether the budget has room for this attempt.
    fn spend(&mut self, now: Nanos, attempt: u32) -> bool {
        let (tokens, since) = self.tokens;
        let mut tokens = tokens + BUDGET_PER_SECOND * now.since(since).secs_f64();
        if attempt == 1 {
            tokens += BUDGET_SHARE;
        }
        tokens = tokens.min(BUDGET_BURST);
        let passes = attempt == 1 || tokens >= 1.0;
        if attempt > 1 && passes {
            tokens -= 1.0;
        }
        self.tokens = (tokens, now);
        passes
    }
}
