//! Work of clients that share one template, with its truth: what was sent again, what was a second
//! copy. Random, and alike every time for a seed.
//!
//! A batch is the hard case for a tap: every request has one of a few lengths, so that only times
//! tell a retry from the next piece of work. Clients that hedge are the other: two equal requests at
//! once.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::SocketAddr;

use fastpath::burst::Direction::{ToClient, ToServer};
use fastpath::telemetry::line::ExchangeLine;
use fastpath::time::Nanos;

use crate::connection::{Arrival, Connection};

/// How a client waits before it sends a failed request again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backoff {
    /// As the SDKs do: 0.375 to 0.5 s, then 0.75 to 1.0 s.
    Sdk,
    /// A loop of its own: so many milliseconds, give or take a few.
    Loop(u64),
}

/// Who sends on which connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// All workers take what is free from one pool, the latest used first.
    Pool,
    /// Each worker has one of its own, as sessions of threads and pools of processes are.
    Worker,
    /// Every attempt opens one.
    Attempt,
}

/// What a client does with a copy that is no longer wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loser {
    /// It closes the connection.
    Leaves,
    /// It lets the response come.
    Finishes,
}

/// Work to be made up.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// Same seed, same frames.
    pub seed: u64,
    /// Requests under way at once.
    pub workers: usize,
    /// Pieces of work of each worker.
    pub pieces: usize,
    /// Request lengths; more than a hundred: each is nearly unique.
    pub lengths: u64,
    /// Attempts that fail, percent.
    pub fail_percent: u64,
    /// What follows a failure.
    pub backoff: Backoff,
    /// Who sends on which connection.
    pub share: Share,
    /// A worker rests so many milliseconds at most between two pieces of work.
    pub rest_ms: u64,
    /// Round trip, milliseconds.
    pub rtt_ms: u64,
    /// A second copy is sent when there is no answer for so many milliseconds.
    pub hedge_after_ms: Option<(u64, Loser)>,
}

/// What an attempt really was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Truth {
    /// The attempt before it, by place in the list.
    pub retry_of: Option<usize>,
    /// It is the second copy of one that ran.
    pub hedge: bool,
}

/// What was made up.
#[derive(Debug, Default)]
pub struct Made {
    /// Frames, in order of arrival.
    pub arrivals: Vec<Arrival>,
    /// Port and start of every attempt, and what it was.
    pub attempts: Vec<(u16, Nanos, Truth)>,
}

/// How claims compare with the truth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Score {
    /// Claimed and true.
    pub right: u32,
    /// Claimed.
    pub found: u32,
    /// True.
    pub all: u32,
    /// Right ones that name the right attempt.
    pub linked: u32,
}

const START: Nanos = Nanos::from_secs(1_700_000_000);
/// Attempts at a piece of work, at most.
const ATTEMPTS_MAX: u32 = 3;

impl Default for Workload {
    fn default() -> Self {
        Self {
            seed: 1,
            workers: 4,
            pieces: 40,
            lengths: 2,
            fail_percent: 15,
            backoff: Backoff::Sdk,
            share: Share::Pool,
            rest_ms: 15,
            rtt_ms: 20,
            hedge_after_ms: None,
        }
    }
}

impl Score {
    /// Share of claims that are true; 1 without claims.
    #[must_use]
    pub fn precision(&self) -> f64 {
        if self.found == 0 { 1.0 } else { f64::from(self.right) / f64::from(self.found) }
    }

    /// Share of the truth that is claimed; 1 where there is none.
    #[must_use]
    pub fn recall(&self) -> f64 {
        if self.all == 0 { 1.0 } else { f64::from(self.right) / f64::from(self.all) }
    }

    /// Harmonic mean of both.
    #[must_use]
    pub fn f1(&self) -> f64 {
        let (precision, recall) = (self.precision(), self.recall());
        2.0 * precision * recall / (precision + recall).max(f64::MIN_POSITIVE)
    }

    /// The sum of both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            right: self.right + other.right,
            found: self.found + other.found,
            all: self.all + other.all,
            linked: self.linked + other.linked,
        }
    }
}

impl Made {
    /// Compares exchanges with the truth: retries, and hedges. Every attempt must be among them.
    ///
    /// # Panics
    /// When there are more exchanges than attempts, or fewer.
    #[must_use]
    pub fn score(&self, told: &[ExchangeLine]) -> (Score, Score) {
        // By connection and place on it: the lines have their times in seconds, rounded.
        let mut places: Vec<usize> = (0..self.attempts.len()).collect();
        places.sort_by_key(|&place| (self.attempts[place].0, self.attempts[place].1));
        let mut lines: Vec<&ExchangeLine> = told.iter().collect();
        lines.sort_by(|a, b| a.client_port.cmp(&b.client_port).then(a.start.total_cmp(&b.start)));
        assert_eq!(lines.len(), places.len(), "every attempt is told, and nothing else");
        let by: HashMap<usize, &ExchangeLine> = places.into_iter().zip(lines).collect();
        let (mut retries, mut hedges) = (Score::default(), Score::default());
        for (place, (.., truth)) in self.attempts.iter().enumerate() {
            let line = by[&place];
            retries.note(truth.retry_of.is_some(), line.retry_of.is_some());
            hedges.note(truth.hedge, line.hedge);
            let named = truth.retry_of.map(|before| by[&before].id.clone());
            let linked = named.is_some() && named.as_ref() == line.retry_of.as_ref();
            retries.linked += u32::from(linked);
        }
        (retries, hedges)
    }
}

impl Score {
    fn note(&mut self, is: bool, claimed: bool) {
        self.all += u32::from(is);
        self.found += u32::from(claimed);
        self.right += u32::from(is && claimed);
    }
}

/// A piece of work in the hands of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    at: u64,
    worker: usize,
    length: usize,
    /// Attempts so far, and the latest of them.
    tried: u32,
    before: Option<usize>,
}

/// The connections of all workers.
#[derive(Debug, Default)]
struct Pool {
    connections: Vec<(Connection, u64)>,
    /// Who opened each of them.
    workers: Vec<usize>,
}

impl Workload {
    /// Makes it up.
    #[must_use]
    pub fn make(&self) -> Made {
        let mut chance = Chance(self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let (mut made, mut pool) = (Made::default(), Pool::default());
        let mut left = vec![self.pieces; self.workers];
        let mut turns: BinaryHeap<Reverse<Turn>> = (0..self.workers)
            .map(|worker| {
                let at = chance.between(0, 60_000);
                Reverse(Turn {
                    at,
                    worker,
                    length: self.length(&mut chance),
                    tried: 0,
                    before: None,
                })
            })
            .collect();
        while let Some(Reverse(turn)) = turns.pop() {
            let (end, failed) = self.attempt(&turn, &mut chance, &mut pool, &mut made);
            let tried = turn.tried + 1;
            if failed && tried < ATTEMPTS_MAX {
                let at = end + self.wait(tried, &mut chance);
                let before = Some(made.attempts.len() - 1);
                turns.push(Reverse(Turn { at, tried, before, ..turn }));
                continue;
            }
            left[turn.worker] -= 1;
            if left[turn.worker] > 0 {
                let at = end + chance.between(1_000, 1_000 + 1_000 * self.rest_ms);
                let length = self.length(&mut chance);
                turns.push(Reverse(Turn { at, length, tried: 0, before: None, ..turn }));
            }
        }
        made.arrivals = pool.close();
        made
    }

    fn length(&self, chance: &mut Chance) -> usize {
        1_500 + usize::try_from(chance.between(0, self.lengths)).unwrap_or(0) * 5 / 4
    }

    /// Microseconds from a failure to the next attempt.
    fn wait(&self, tried: u32, chance: &mut Chance) -> u64 {
        match self.backoff {
            Backoff::Sdk if tried == 1 => chance.between(376_000, 505_000),
            Backoff::Sdk => chance.between(751_000, 1_005_000),
            Backoff::Loop(ms) => chance.between(1_000 * ms, 1_000 * ms + 6_000),
        }
    }

    /// One attempt, and its copy if it is slow. When it is over, and whether it failed.
    fn attempt(
        &self,
        turn: &Turn,
        chance: &mut Chance,
        pool: &mut Pool,
        made: &mut Made,
    ) -> (u64, bool) {
        let rtt = 1_000 * self.rtt_ms;
        let failed = chance.between(0, 100) < self.fail_percent;
        // A few answers take very long.
        let slow = if chance.between(0, 6) == 0 { 6 } else { 1 };
        let think = if failed {
            chance.between(3_000, 30_000)
        } else {
            slow * chance.between(90_000, 450_000)
        };
        let truth = Truth { retry_of: turn.before, hedge: false };
        let index = pool.free(turn.at, self, turn.worker, None);
        let start = pool.request(index, turn.at, turn.length);
        made.attempts.push((pool.port(index), nanos(start), truth));
        let mut end = start + rtt + think;
        let hedge = self.hedge_after_ms.filter(|(after, _)| end > start + 1_000 * after + 4 * rtt);
        if let Some((after, loser)) = hedge {
            let second = pool.free(start + 1_000 * after, self, turn.worker, Some(index));
            let copied = pool.request(second, start + 1_000 * after, turn.length);
            made.attempts.push((
                pool.port(second),
                nanos(copied),
                Truth { hedge: true, ..Truth::default() },
            ));
            let other = copied + rtt + chance.between(90_000, 450_000);
            let (winner, lost, won_at, lost_at) =
                if other < end { (second, index, other, end) } else { (index, second, end, other) };
            pool.answer(winner, won_at, false, chance);
            match loser {
                Loser::Leaves => pool.leave(lost, won_at + 1_000),
                Loser::Finishes => pool.answer(lost, lost_at, false, chance),
            }
            end = won_at;
            // The list is in order of start, and a failure names the latest attempt.
            return (end, false);
        }
        pool.answer(index, end, failed, chance);
        if self.share == Share::Attempt {
            pool.leave(index, end + 500);
        }
        (end, failed)
    }
}

impl Pool {
    /// A connection that nobody uses at this time, the latest first; a new one when there is none.
    fn free(&mut self, at: u64, workload: &Workload, worker: usize, taken: Option<usize>) -> usize {
        let reusable = |index: &usize| {
            let shared = match workload.share {
                Share::Pool => true,
                Share::Worker => self.workers[*index] == worker,
                Share::Attempt => false,
            };
            shared && taken != Some(*index) && self.connections[*index].1 < at
        };
        let idle = (0..self.connections.len()).filter(reusable);
        idle.max_by_key(|&index| self.connections[index].1).unwrap_or_else(|| {
            let port = 20_000 + u16::try_from(self.connections.len()).unwrap_or(u16::MAX);
            let client = SocketAddr::from(([198, 51, 100, 1], port));
            let server = SocketAddr::from(([203, 0, 113, 9], 443));
            let mut connection = Connection::new(client, server, nanos(at));
            connection.rtt = Nanos::from_millis(workload.rtt_ms);
            connection.open_up_to_finished("api.openai.com", &["http/1.1"]);
            self.connections.push((connection, 0));
            self.workers.push(worker);
            self.connections.len() - 1
        })
    }

    fn port(&self, index: usize) -> u16 {
        self.connections[index].0.client.port()
    }

    /// Sends a request; gives when it left.
    fn request(&mut self, index: usize, at: u64, length: usize) -> u64 {
        let (connection, busy) = &mut self.connections[index];
        connection.at = connection.at.max(nanos(at));
        let start = connection.at;
        connection.data(ToServer, &[length]);
        if *busy == 0 {
            let rtt = connection.rtt;
            connection.wait(rtt).tickets();
        }
        *busy = u64::MAX;
        start.since(START).0 / 1_000
    }

    fn answer(&mut self, index: usize, at: u64, failed: bool, chance: &mut Chance) {
        let bytes = if failed { 380 } else { chance.between(700, 1_900) };
        let (connection, busy) = &mut self.connections[index];
        connection.at = nanos(at);
        connection.data(ToClient, &[usize::try_from(bytes).unwrap_or(0)]);
        *busy = at;
    }

    fn leave(&mut self, index: usize, at: u64) {
        let (connection, busy) = &mut self.connections[index];
        connection.at = nanos(at);
        connection.close();
        *busy = u64::MAX;
    }

    /// The frames of all connections, those that are open closed at the end.
    fn close(mut self) -> Vec<Arrival> {
        let last = self.connections.iter().map(|(c, _)| c.at).max().unwrap_or(START);
        let mut arrivals = Vec::new();
        for (connection, busy) in &mut self.connections {
            if *busy != u64::MAX {
                connection.at = last + Nanos::from_secs(2);
                connection.close();
            }
            arrivals.extend(connection.take());
        }
        // Stable: frames of one time stay in order.
        arrivals.sort_by_key(|(at, ..)| *at);
        arrivals
    }
}

/// Microseconds since the start.
fn nanos(micros: u64) -> Nanos {
    START + Nanos::from_micros(micros)
}

/// A small generator (xorshift64*).
struct Chance(u64);

impl Chance {
    /// From `low` on, below `high`; `low` when there is nothing between.
    fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let value = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        low + value % (high - low).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_frames_and_another_does_not() {
        let made = |seed| Workload { seed, ..Workload::default() }.make();
        assert_eq!(made(3).arrivals, made(3).arrivals);
        assert_ne!(made(3).arrivals, made(4).arrivals);
        assert!(made(3).arrivals.is_sorted_by_key(|(at, ..)| *at));
    }

    #[test]
    fn failures_are_sent_again_and_slow_ones_twice() {
        let made = Workload::default().make();
        let retries = made.attempts.iter().filter(|(.., truth)| truth.retry_of.is_some()).count();
        assert!((10..60).contains(&retries), "{retries}");
        let hedged = Workload {
            hedge_after_ms: Some((600, Loser::Leaves)),
            fail_percent: 0,
            ..Workload::default()
        };
        let hedges = hedged.make().attempts.iter().filter(|(.., truth)| truth.hedge).count();
        assert!((10..80).contains(&hedges), "{hedges}");
    }
}
