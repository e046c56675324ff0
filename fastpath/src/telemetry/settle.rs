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
        let is_due =
            |front: &(Nanos, Event), held: usize| held > HELD_MAX || now > front.0 + AMENDED_WITHIN;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::event::{Exchange, ExchangeId, Waste};
    use crate::telemetry::line::tests::an_exchange;

    fn exchange(id: u64) -> Event {
        Event::Exchange(Exchange { id: ExchangeId(id), waste: None, ..an_exchange() })
    }

    fn amendment(id: u64) -> Event {
        let (at, exchange) = (Nanos::from_secs(9), ExchangeId(id));
        Event::Amendment(Amendment { at, exchange, waste: Waste::Thrash })
    }

    /// Numbers of the exchanges that have settled, and whether they were amended.
    #[derive(Default)]
    struct Settled {
        settling: Settling,
        exchanges: Vec<(u64, bool)>,
    }

    impl Settled {
        fn push(&mut self, seconds: u64, event: Event) {
            let Self { settling, exchanges } = self;
            settling.push(Nanos::from_secs(seconds), event, |event| note(exchanges, event));
        }

        fn finish(mut self) -> Vec<(u64, bool)> {
            let Self { settling, exchanges } = &mut self;
            settling.finish(|event| note(exchanges, event));
            self.exchanges
        }
    }

    fn note(exchanges: &mut Vec<(u64, bool)>, event: &Event) {
        if let Event::Exchange(exchange) = event {
            assert_eq!(exchange.waste.is_some(), exchange.amended.is_some());
            exchanges.push((exchange.id.0, exchange.amended.is_some()));
        }
    }

    #[test]
    fn an_exchange_is_told_once_with_what_was_learnt_of_it_later() {
        let mut settled = Settled::default();
        settled.push(1, exchange(1));
        settled.push(2, exchange(2));
        settled.push(9, amendment(1));
        assert_eq!(settled.exchanges, [], "nothing is told early");
        assert_eq!(settled.finish(), [(1, true), (2, false)]);
    }

    #[test]
    fn what_can_no_longer_be_amended_leaves_and_a_late_amendment_is_counted() {
        let mut settled = Settled::default();
        settled.push(1, exchange(1));
        settled.push(77, exchange(2));
        assert_eq!(settled.exchanges, [(1, false)]);
        settled.push(78, amendment(1));
        assert_eq!((settled.settling.late, settled.finish()), (1, vec![(1, false), (2, false)]));
    }

    #[test]
    fn the_oldest_leaves_early_when_too_many_wait() {
        let mut settled = Settled::default();
        for id in 0..=HELD_MAX as u64 {
            settled.push(1, exchange(id));
        }
        assert_eq!(settled.exchanges, [(0, false)]);
    }
}
