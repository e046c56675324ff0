//! Streams that are over and not told of yet: what follows may show whose an end was, or that an
//! answer was an error.

use std::collections::VecDeque;

use super::shape::{Shapes, Suspect};
use crate::burst::Address;
use crate::telemetry::event::{Decision, Exchange, ExchangeId, Outcome, Waste};
use crate::telemetry::grounds::OutcomeRule;
use crate::time::Nanos;

/// The streams, in the order of their ends.
#[derive(Debug)]
pub(super) struct Held {
    queue: VecDeque<(Nanos, Exchange, Option<Suspect>)>,
    /// Streams that found no room.
    pub(super) pushed_out: u64,
}

const HELD_MAX: usize = 4096;
/// A retry by an SDK follows its first attempt within a second and a half, and is decided half a
/// second after that.
const HELD_FOR: Nanos = Nanos::from_secs(2);
/// Share of right outcomes where the sequel tells.
const SEQUEL_CONFIDENCE: f64 = 0.8;

impl Default for Held {
    fn default() -> Self {
        Self { queue: VecDeque::with_capacity(HELD_MAX), pushed_out: 0 }
    }
}

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Keeps a stream that ended `at`. Returns the oldest, if there is no room for both.
    pub(super) fn push(
        &mut self,
        at: Nanos,
        exchange: Exchange,
        suspect: Option<Suspect>,
    ) -> Option<Exchange> {
        let oldest = if self.queue.len() == HELD_MAX { self.queue.pop_front() } else { None };
        self.pushed_out += u64::from(oldest.is_some());
        self.queue.push_back((at, exchange, suspect));
        oldest.map(|(_, exchange, _)| exchange)
    }

    /// The next stream whose time has come. `shapes` tells what is known of its server.
    pub(super) fn pop_due<'a>(
        &mut self,
        now: Nanos,
        shapes: impl FnOnce(&Address) -> Option<&'a Shapes>,
    ) -> Option<Exchange> {
        let over = |(since, ..): &mut (Nanos, Exchange, _)| now.since(*since) >= HELD_FOR;
        let (_, mut exchange, suspect) = self.queue.pop_front_if(over)?;
        let shapes = shapes(&exchange.peers.server);
        let is_error = |suspect| shapes.is_some_and(|shapes| shapes.recurs_as_error(suspect));
        if suspect.is_some_and(is_error) {
            fail(&mut exchange);
        }
        Some(exchange)
    }

    /// Notes what is done with an attempt.
    pub(super) fn note_verdict(&mut self, id: ExchangeId, verdict: Decision) {
        if let Some((_, held, _)) = self.queue.iter_mut().rev().find(|(_, held, _)| held.id == id) {
            held.note(&verdict);
        }
    }

    /// The sequel of this stream showed that its answer was an error. Returns what was suspected,
    /// if it is still held.
    pub(super) fn fail(&mut self, id: ExchangeId) -> Option<(Address, Suspect)> {
        let (_, exchange, suspect) =
            self.queue.iter_mut().rev().find(|(_, held, _)| held.id == id)?;
        fail(exchange);
        Some((exchange.peers.server, suspect.take()?))
    }

    /// A retry shows whose an end was: the two streams change places, if both are still held.
    pub(super) fn swap(&mut self, owner: ExchangeId, failed: ExchangeId) {
        let place = |id| self.queue.iter().position(|(_, exchange, _)| exchange.id == id);
        let (Some(owner), Some(failed)) = (place(owner), place(failed)) else { return };
        let (owner, failed) = (owner.min(failed), owner.max(failed));
        let (head, tail) = self.queue.make_contiguous().split_at_mut(failed);
        let ((_, one, _), Some((_, other, _))) = (&mut head[owner], tail.first_mut()) else {
            return;
        };
        std::mem::swap(&mut one.outcome, &mut other.outcome);
        std::mem::swap(&mut one.outcome_confidence, &mut other.outcome_confidence);
        std::mem::swap(&mut one.waste, &mut other.waste);
        std::mem::swap(&mut one.tokens, &mut other.tokens);
        std::mem::swap(&mut one.cost_milli_usd, &mut other.cost_milli_usd);
        std::mem::swap(&mut one.grounds.outcome, &mut other.grounds.outcome);
        std::mem::swap(&mut one.grounds.ended, &mut other.grounds.ended);
    }
}

/// What was taken for an answer was an error.
fn fail(exchange: &mut Exchange) {
    exchange.outcome = Outcome::Failed;
    exchange.outcome_confidence = exchange.outcome_confidence.min(SEQUEL_CONFIDENCE);
    exchange.grounds.outcome = OutcomeRule::ErrorSize;
    (exchange.tokens, exchange.cost_milli_usd) = (None, None);
    if exchange.retry_of.is_some() {
        exchange.waste = exchange.waste.or(Some(Waste::Retry));
    }
}
