//! Doubt: answers that may be errors, until what their client does next tells.
//!
//! An error page of a few kilobytes looks like any short answer that came at once. Its client knows
//! better: it asks for the same again, or begins its workflow anew. So such an answer waits for
//! [`HELD_FOR`] until it is told what it was. All wait equally long, so a queue is a timer. Bounded:
//! when [`HELD_MAX`] wait the oldest is settled early, and is counted.

use std::collections::VecDeque;

use super::group::Place;
use super::outcome::{confidence, judge};
use super::reply::Replies;
use super::{Clients, failure, waste_of_retry};
use crate::burst::Address;
use crate::exchange::h1::Facts;
use crate::policy::endpoint::Class;
use crate::telemetry::event::{EventSender, Exchange, ExchangeId, Outcome};
use crate::telemetry::grounds::OutcomeRule;
use crate::time::Nanos;

/// An answer in doubt.
#[derive(Clone, Copy, Debug)]
pub struct Doubt {
    /// Everything seen of it.
    pub facts: Facts,
    /// What its server does.
    pub class: Class,
    /// Where the retry memory has it.
    pub place: Place,
    /// Hash of its client's cipher list.
    pub application: u64,
}

/// An application began its work anew.
#[derive(Clone, Copy, Debug)]
struct Anew {
    client: Address,
    application: u64,
    /// When it had last called anybody.
    called: Nanos,
    at: Nanos,
}

/// The queue.
#[derive(Debug)]
pub struct Doubts {
    held: VecDeque<(Nanos, Exchange, Doubt)>,
    /// The latest [`ANEW_KEPT`].
    anew: VecDeque<Anew>,
    /// What was settled before its time.
    pub hurried: u64,
}

/// Exchanges that have ended and are not told yet.
#[derive(Debug)]
pub struct Untold<'a> {
    pub(super) finished: &'a mut [Exchange],
    pub(super) doubtful: &'a mut [(Exchange, Doubt)],
    pub(super) doubts: &'a mut Doubts,
}

/// Exchanges that wait at most, about 4 MB.
const HELD_MAX: usize = 4096;
/// A repeat begins, and is decided, within this; so is most of what begins anew.
const HELD_FOR: Nanos = Nanos::from_millis(2200);
/// A workflow is begun anew within this after the step that failed.
const GIVEN_UP_WITHIN: Nanos = Nanos::from_millis(1700);

const ANEW_KEPT: usize = 64;

impl Default for Doubts {
    fn default() -> Self {
        let (held, anew) =
            (VecDeque::with_capacity(HELD_MAX + 1), VecDeque::with_capacity(ANEW_KEPT));
        Self { held, anew, hurried: 0 }
    }
}

impl Doubts {
    /// Holds an exchange that everything else is known of.
    pub fn hold(&mut self, now: Nanos, exchange: Exchange, doubt: Doubt) {
        self.held.push_back((now, exchange, doubt));
    }

    /// The next exchange whose time has come.
    pub fn due(&mut self, now: Nanos) -> Option<(Exchange, Doubt)> {
        let full = self.held.len() > HELD_MAX;
        let due = |held: &mut (Nanos, Exchange, Doubt)| full || now.since(held.0) >= HELD_FOR;
        let (since, exchange, doubt) = self.held.pop_front_if(due)?;
        self.hurried += u64::from(now.since(since) < HELD_FOR);
        Some((exchange, doubt))
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// An exchange that waits.
    pub fn find(&mut self, id: ExchangeId) -> Option<&mut Exchange> {
        let mut exchanges = self.held.iter_mut().rev().map(|(_, exchange, _)| exchange);
        exchanges.find(|exchange| exchange.id == id)
    }

    /// An application of a client began its work anew `at` this time, after it had last `called`
    /// anybody.
    pub fn began_anew(
        &mut self,
        (client, application): (Address, u64),
        (called, at): (Nanos, Nanos),
    ) {
        if self.anew.len() == ANEW_KEPT {
            self.anew.pop_front();
        }
        self.anew.push_back(Anew { client, application, called, at });
    }

    /// Whether what a client did next, after an answer, was to begin its work anew: or so it seems
    /// where it does several things at once.
    #[must_use]
    pub fn was_given_up(&self, exchange: &Exchange, doubt: &Doubt) -> bool {
        let end = doubt.facts.seen.last_down;
        self.anew.iter().any(|anew| {
            anew.client == exchange.peers.client
                && anew.application == doubt.application
                && anew.called < end
                && (end..end + GIVEN_UP_WITHIN).contains(&anew.at)
        })
    }
}

impl Untold<'_> {
    /// The exchange with this number, if it is one of them.
    pub fn find(&mut self, id: ExchangeId) -> Option<&mut Exchange> {
        let doubtful = self.doubtful.iter_mut().map(|(exchange, _)| exchange);
        let mut of_this_burst = self.finished.iter_mut().chain(doubtful);
        of_this_burst.find(|exchange| exchange.id == id).or_else(|| self.doubts.find(id))
    }
}

/// The pause after which a repeat shows that an answer was none, if it may have been.
#[must_use]
pub(super) fn doubt_about(
    facts: &Facts,
    class: Class,
    replies: Option<&Replies>,
    outcome: Outcome,
) -> Option<Nanos> {
    let usual = replies.is_some_and(|replies| replies.is_usual_vector(facts, class));
    let within = replies.map_or(failure::SERVICE_TIME_MAX, Replies::errors_within);
    let may_be = outcome == Outcome::Complete && !usual;
    may_be.then(|| failure::doubt(facts, class, within)).flatten()
}

/// Holds what is in doubt, and tells what has been for long enough.
pub(super) fn settle(now: Nanos, clients: &mut Clients, events: &mut EventSender) {
    let Clients { keys, retries, replies, patterns, finished, doubtful, doubts, .. } = clients;
    for (exchange, doubt) in doubtful.drain(..) {
        doubts.hold(now, exchange, doubt);
    }
    while let Some((mut exchange, doubt)) = doubts.due(now) {
        let Doubt { facts, class, place, .. } = doubt;
        let replies = replies.learn(exchange.peers.server, facts.seen.last_heard);
        if class == Class::Tool && doubts.was_given_up(&exchange, &doubt) {
            replies.learn_rejected(&facts);
        }
        let is_none = retries.is_tried_again(place, exchange.id);
        let (outcome, rule) = match judge(&facts, class, Some(replies)) {
            (Outcome::Complete, _) if is_none && replies.is_throttled(&facts) => {
                (Outcome::Throttled, OutcomeRule::AskedAgain)
            }
            (Outcome::Complete, _) if is_none => (Outcome::Failed, OutcomeRule::AskedAgain),
            judged => judged,
        };
        let failed = matches!(outcome, Outcome::Failed | Outcome::Throttled);
        let differs = retries.settled(keys, place, &facts, failed);
        replies.learn(&facts, failed && differs, !failed);
        replies.learn_page(&facts, class);
        if failed {
            (exchange.outcome, exchange.grounds.outcome) = (outcome, rule);
            exchange.outcome_confidence = confidence(&facts, outcome);
            (exchange.tokens, exchange.cost_milli_usd) = (None, None);
            exchange.waste = exchange.waste.or(waste_of_retry(&exchange));
            patterns.failed(&exchange);
        }
        patterns.told(&exchange, events);
        finished.push(exchange);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::{Shape, facts};
    use crate::telemetry::line::tests::an_exchange;

    fn doubt() -> Doubt {
        let facts = facts(Shape { down: &[(30, 3000)], ..Shape::default() });
        Doubt { facts, class: Class::Tool, place: Place(1), application: 7 }
    }

    #[test]
    fn an_answer_in_doubt_is_settled_after_its_time_and_once() {
        let mut doubts = Doubts::default();
        doubts.hold(Nanos(5), an_exchange(), doubt());
        assert!(doubts.due(Nanos(4) + HELD_FOR).is_none());
        assert!(doubts.due(Nanos(5) + HELD_FOR).is_some());
        assert!(doubts.due(Nanos::MAX).is_none() && doubts.is_empty());
    }

    #[test]
    fn what_finds_no_room_hurries_the_oldest() {
        let (mut doubts, doubt) = (Doubts::default(), doubt());
        (0..=HELD_MAX).for_each(|_| doubts.hold(Nanos(5), an_exchange(), doubt));
        assert!(doubts.due(Nanos(6)).is_some());
        assert!(doubts.due(Nanos(6)).is_none());
        assert_eq!(doubts.hurried, 1);
    }

    #[test]
    fn an_answer_after_which_work_begins_anew_was_given_up() {
        let given_up = |application, called, at| {
            let mut doubts = Doubts::default();
            let times = (Nanos::from_millis(called), Nanos::from_millis(at));
            doubts.began_anew((an_exchange().peers.client, application), times);
            doubts.was_given_up(&an_exchange(), &doubt())
        };
        assert!(given_up(7, 0, 500));
        assert!(!given_up(8, 0, 500), "another application");
        assert!(!given_up(7, 300, 500), "it had gone on to something else");
        assert!(!given_up(7, 0, 2500), "long after");
    }
}
