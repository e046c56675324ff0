//! Hold queue of one backend address (law A2): which held request goes next.
//!
//! What can still be answered before its client gives up goes first; of that the least served tenant's
//! (deficit round robin with a quantum of one request; by what it cost where fair share is on), and of
//! its requests the oldest, as long as few are held: then the newest.
//! A queue that is served in its order alone is itself metastable: once it is longer than clients
//! wait, all that comes out of it was given up. Every hold ends by itself: `act` forwards it at
//! [`Held::until`].

use super::fair::{Shares, Tenant};
use crate::burst::FlowId;
use crate::policy::snapshot::EndpointId;
use crate::telemetry::event::Reason;
use crate::time::Nanos;

/// Requests one backend can have held; the next is forwarded, and counted.
pub const HELD_MAX: usize = 4096;
/// In order of arrival while no more than this share of the limit is held.
const FIFO_SHARE: f64 = 0.5;
/// L while little streams.
const LIMIT_MIN: f64 = 4.0;
/// Releases and expiries are spread over this share of the time.
const JITTER: f64 = 0.05;

/// A request that is held.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// On which flow.
    pub flow: FlowId,
    /// To which endpoint.
    pub endpoint: EndpointId,
    /// Whose.
    pub tenant: Tenant,
    /// Hash of the client.
    pub client: u64,
    /// When it goes, among the others.
    pub class: Class,
    /// The law that holds it.
    pub reason: Reason,
    /// Since when.
    pub since: Nanos,
    /// Since when its client waits: its ClientHello may have been held before.
    pub began: Nanos,
    /// Until when at most.
    pub until: Nanos,
}

/// Classes of service: a higher one goes first, whatever the order within.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// As it arrives.
    Normal,
    /// After everything else: retries over budget.
    Lowest,
}

/// What is held of one backend address, in order of arrival.
#[derive(Debug)]
pub struct Queue {
    held: Vec<Held>,
    /// Of the class [`Class::Normal`].
    normal: usize,
    /// Requests that found no room.
    pub refused: u64,
}

impl Default for Queue {
    fn default() -> Self {
        Self { held: Vec::with_capacity(HELD_MAX), normal: 0, refused: 0 }
    }
}

impl Queue {
    /// Keeps a request; false when there is no room.
    pub fn push(&mut self, held: Held, shares: &mut Shares) -> bool {
        if self.held.len() == HELD_MAX {
            self.refused += 1;
            return false;
        }
        if !self.held.iter().any(|other| other.tenant == held.tenant) {
            let others = self.held.iter().map(|other| shares.served(other.tenant));
            let least = others.fold(f64::INFINITY, f64::min);
            shares.lift(held.tenant, if least.is_finite() { least } else { 0.0 });
        }
        self.normal += usize::from(held.class == Class::Normal);
        self.held.push(held);
        true
    }

    /// Takes the request that goes next, of those that `may_go`, at a backend where so many stream.
    /// `lasts`: whether its client will still be there for the answer.
    pub fn pop(
        &mut self,
        streaming: u32,
        shares: &Shares,
        lasts: impl Fn(&Held) -> bool,
        mut may_go: impl FnMut(&Held) -> bool,
    ) -> Option<Held> {
        let in_order = self.held.len() as f64 <= FIFO_SHARE * f64::from(streaming).max(LIMIT_MIN);
        let mut next: Option<(usize, (Class, bool, f64))> = None;
        for (place, held) in self.held.iter().enumerate() {
            let rank = (held.class, !lasts(held), shares.served(held.tenant));
            let before = next.is_none_or(|(_, (class, late, served))| {
                let order = rank.0.cmp(&class).then(rank.1.cmp(&late));
                let order = order.then(rank.2.total_cmp(&served));
                order.is_lt() || (order.is_eq() && !in_order)
            });
            if before && may_go(held) {
                next = Some((place, rank));
            }
        }
        next.map(|(place, _)| self.take(place))
    }

    /// Takes what is held of a flow: it has left, or its time was over.
    pub fn remove(&mut self, flow: FlowId) -> Option<Held> {
        let place = self.held.iter().position(|held| held.flow == flow)?;
        Some(self.take(place))
    }

    /// Takes any: everything shall go.
    pub fn drain(&mut self) -> Option<Held> {
        let place = self.held.len().checked_sub(1)?;
        Some(self.take(place))
    }

    /// What waits for a place at the backend: those of the lowest class are in nobody's way.
    #[must_use]
    pub fn normal(&self) -> usize {
        self.normal
    }

    /// Everything held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    fn take(&mut self, place: usize) -> Held {
        let held = self.held.remove(place);
        self.normal -= usize::from(held.class == Class::Normal);
        held
    }
}

/// When a release is due, for a draw from 0 to 1: a herd that came together goes one by one.
#[must_use]
pub fn release_at(since: Nanos, now: Nanos, draw: f64) -> Nanos {
    now + share(now.since(since), JITTER * draw)
}

/// When a hold of at most `longest` ends by itself, likewise.
#[must_use]
pub fn expires_at(since: Nanos, longest: Nanos, draw: f64) -> Nanos {
    since + share(longest, 1.0 - JITTER * draw)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share from 0 to 1")]
fn share(of: Nanos, share: f64) -> Nanos {
    Nanos((of.0 as f64 * share) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(flow: u32, client: u64, class: Class) -> Held {
        Held {
            flow: FlowId(flow),
            endpoint: EndpointId(0),
            tenant: Tenant::of(client),
            client,
            class,
            reason: Reason::ConcurrencyLimit,
            since: Nanos::from_millis(flow.into()),
            began: Nanos::from_millis(flow.into()),
            until: Nanos::MAX,
        }
    }

    fn queue(waiting: &[(u32, u64, Class)]) -> (Queue, Shares) {
        let (mut queue, mut shares) = (Queue::default(), Shares::default());
        for &(flow, client, class) in waiting {
            queue.push(held(flow, client, class), &mut shares);
        }
        (queue, shares)
    }

    fn order(queue: &mut Queue, shares: &mut Shares, streaming: u32) -> Vec<u32> {
        std::iter::from_fn(|| {
            let held = queue.pop(streaming, shares, |_| true, |_| true)?;
            shares.charge(held.tenant, 1.0);
            Some(held.flow.0)
        })
        .collect()
    }

    #[test]
    fn few_go_in_their_order_and_many_the_newest_first() {
        let waiting = [1, 2, 3, 4].map(|n| (n, 7, Class::Normal));
        let (mut few, mut shares) = queue(&waiting);
        assert_eq!(order(&mut few, &mut shares, 64), [1, 2, 3, 4]);
        let (mut many, mut shares) = queue(&waiting);
        assert_eq!(order(&mut many, &mut shares, 0), [4, 3, 1, 2], "two are few again");
    }

    #[test]
    fn whoever_leaves_before_its_answer_waits_for_those_that_stay() {
        let (mut queue, shares) = queue(&[1, 2, 3].map(|n| (n, 7, Class::Normal)));
        let mut pop = || queue.pop(64, &shares, |held| held.flow.0 > 1, |_| true);
        let order = [pop(), pop(), pop()].map(|held| held.map(|held| held.flow.0));
        assert_eq!(order, [Some(2), Some(3), Some(1)]);
    }

    #[test]
    fn tenants_take_turns_however_much_one_of_them_has_waiting() {
        let mut waiting: Vec<_> = (0..40).map(|n| (n, 1, Class::Normal)).collect();
        waiting.extend([(100, 2, Class::Normal), (101, 2, Class::Normal)]);
        let (mut queue, mut shares) = queue(&waiting);
        let order = order(&mut queue, &mut shares, 0);
        let turns: Vec<usize> =
            [100, 101].iter().map(|flow| order.iter().position(|o| o == flow).unwrap()).collect();
        assert!(turns.iter().all(|&turn| turn < 4), "{order:?}");
    }

    #[test]
    fn the_lowest_class_goes_last_and_stands_in_nobodys_way() {
        let (mut queue, mut shares) =
            queue(&[(1, 1, Class::Lowest), (2, 2, Class::Normal), (3, 3, Class::Lowest)]);
        assert_eq!((queue.normal(), queue.len()), (1, 3));
        assert_eq!(order(&mut queue, &mut shares, 64), [2, 1, 3]);
    }

    #[test]
    fn who_leaves_is_forgotten_and_the_full_queue_refuses() {
        let (mut queue, mut shares) = queue(&[(1, 1, Class::Normal), (2, 1, Class::Normal)]);
        assert_eq!(queue.remove(FlowId(1)).map(|held| held.flow), Some(FlowId(1)));
        assert!(queue.remove(FlowId(1)).is_none());
        for n in 0..5000 {
            queue.push(held(n + 10, 1, Class::Normal), &mut shares);
        }
        assert_eq!((queue.len(), queue.refused), (HELD_MAX, 5001 - HELD_MAX as u64));
    }

    proptest::proptest! {
        /// Releases are never early, expiries never late, and both within a twentieth.
        #[test]
        fn jitter_stays_within_a_twentieth(ms in 0u64..40_000, draw in 0.0f64..1.0) {
            let (since, now) = (Nanos::from_secs(9), Nanos::from_secs(9) + Nanos::from_millis(ms));
            let release = release_at(since, now, draw);
            proptest::prop_assert!(release >= now && release.since(now).0 <= ms * 50_000 + 1);
            let longest = Nanos::from_millis(ms);
            let expiry = expires_at(since, longest, draw);
            proptest::prop_assert!(expiry <= now && now.since(expiry).0 <= ms * 50_000 + 1);
        }

        /// Everything that went in comes out, once.
        #[test]
        fn what_is_held_comes_out_once(
            waiting in proptest::collection::vec((0u64..5, proptest::bool::ANY), 0..60),
            streaming in 0u32..200
        ) {
            let waiting: Vec<_> = waiting.iter().zip(0..).map(|(&(client, lowest), n)| {
                (n, client, if lowest { Class::Lowest } else { Class::Normal })
            }).collect();
            let (mut queue, mut shares) = queue(&waiting);
            let mut out = order(&mut queue, &mut shares, streaming);
            out.sort_unstable();
            let all: Vec<u32> = waiting.iter().map(|&(n, ..)| n).collect();
            proptest::prop_assert_eq!(out, all);
            proptest::prop_assert_eq!(queue.normal(), 0);
        }
    }
}
