//! Settling: events of a capture are held back until nothing can change what they say, so that each
//! exchange is told once, with the waste that only later ones showed.
//!
//! All events wait equally long and leave in the order in which they came. Bounded: when
//! [`HELD_MAX`] wait the oldest leaves early, and an amendment that comes too late for it is counted.
//! On a wire nobody waits: there an amendment is told as such.

use std::collections::VecDeque;

use super::event::{AMENDED_WITHIN, Amendment, Event};
use crate::time::Nanos;

/// Events that wait at most, about 10 MB.
pub const HELD_MAX: usize = 16_384;

/// Events that wait.
#[derive(Debug, Default)]
pub struct Settling {
    held: VecDeque<(Nanos, Event)>,
    /// Amendments of exchanges that had left already.
    pub late: u64,
}

impl Settling {
    /// Takes an event that came at `now`, and gives to `settled` what has waited long enough.
    pub fn push(&mut self, now: Nanos, event: Event, mut settled: impl FnMut(&Event)) {
        match event {
            Event::Amendment(amendment) => self.amend(&amendment),
            Event::Hello(_) | Event::Exchange(_) | Event::Signal(_) => {
                self.held.push_back((now, event));
            }
        }
        let is_due = |front: &(Nanos, Event), held: usize| {
            held > HELD_MAX || now > front.0 + AMENDED_WITHIN
        };
        while self.held.front().is_some_and(|front| is_due(front, self.held.len())) {
            if let Some((_, event)) = self.held.pop_front() {
                settled(&event);
            }
        }
    }

    /// The observation is over: gives to `settled` what still waits.
    pub fn finish(&mut self, mut settled: impl FnMut(&Event)) {
        self.held.drain(..).for_each(|(_, event)| settled(&event));
    }

    fn amend(&mut self, amendment: &Amendment) {
        let exchanges = self.held.iter_mut().rev().filter_map(|(_, event)| match event {
            Event::Exchange(exchange) => Some(exchange),
            Event::Hello(_) | Event::Signal(_) | Event::Amendment(_) => None,
        });
        let found = exchanges.into_iter().find(|exchange| exchange.id == amendment.exchange);
        match found {
            Some(exchange) if exchange.waste.is_none() => {
                exchange.waste = Some(amendment.waste);
                exchange.amended = Some(amendment.at);
            }
            Some(_) => {}
            None => self.late += 1,
        }
    }
}
