//! A server further away: the same capture as a tap at the clients would have seen it.
//!
//! Nothing says which frame made which other one be sent, so the rules are those of a request and
//! its answer. A client's segment follows what it had last received on its connection, and of the
//! requests of its chain of work. A server's segment follows what the client had sent a round trip
//! before. Frames of one direction of a connection keep their order.
//!
//! What is not made up: the data that a server would have sent on in the time in which a client's
//! close travels further; windows and slow start, so that a large answer comes as fast as before;
//! clients that give up earlier than a server that is further away answers; work that waits for
//! another chain. Timers count from what a client received last.

use std::collections::HashMap;

use super::{Capture, Segment, reversed, segment};
use crate::frame::SYN;

/// A request of which it is known what work it belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Its connection, as [`Capture`] names it.
    pub flow: [u8; 12],
    /// When its server had it, nanoseconds since 1970.
    pub at: u64,
    /// Requests of one chain follow one another; others are independent.
    pub chain: u64,
}

/// By how much each connection was moved, and when.
#[derive(Debug, Default)]
pub struct Shifts {
    connections: HashMap<[u8; 12], Vec<Ends>>,
    added: u64,
}

/// One connection; its address pair and ports may be used again.
#[derive(Debug)]
struct Ends {
    began: u64,
    /// When its client, and its server, sent something that the other side acts on, and by how much
    /// that was moved.
    sent: [Vec<(u64, u64)>; 2],
    chain: Option<u64>,
    client_spoke_last: bool,
}

/// A segment reaches its server, and the answer the tap, no sooner than this after it, in shares of
/// the round trip.
const SOONEST: (u64, u64) = (9, 10);
/// A handshake and a request reach the server within this.
const ASKED_WITHIN: u64 = 300_000_000;

impl Shifts {
    /// When a server would have received what it received `at` this time.
    #[must_use]
    pub fn received(&self, flow: [u8; 12], at: u64, rtt: u64) -> u64 {
        let one_way = rtt / 2;
        let moved = self.of(flow, at).map_or(0, |ends| ends.moved(0, at.saturating_sub(one_way)));
        at + moved + self.added / 2
    }

    /// When a server would have sent what it sent `at` this time.
    #[must_use]
    pub fn answered(&self, flow: [u8; 12], at: u64, rtt: u64) -> u64 {
        let moved = self.of(flow, at).map_or(0, |ends| ends.moved(1, at + rtt / 2));
        (at + moved).saturating_sub(self.added / 2)
    }

    fn of(&self, flow: [u8; 12], at: u64) -> Option<&Ends> {
        self.connections.get(&flow)?.iter().rev().find(|ends| ends.began <= at)
    }
}

impl Ends {
    fn new(began: u64) -> Self {
        Self { began, sent: [Vec::new(), Vec::new()], chain: None, client_spoke_last: true }
    }

    /// By how much the latest of what an end had sent `at` this time was moved.
    fn moved(&self, end: usize, at: u64) -> u64 {
        let sent = &self.sent[end];
        let before = sent.partition_point(|&(time, _)| time <= at);
        before.checked_sub(1).map_or(0, |index| sent[index].1)
    }

    fn latest(&self, end: usize) -> u64 {
        self.moved(end, u64::MAX)
    }
}

impl Capture {
    /// The same with a round trip that is longer by `added` nanoseconds. `rtt` is what it is, and
    /// `asked` says which requests are one chain of work; without it connections are independent.
    #[must_use]
    pub fn stretched(mut self, rtt: u64, added: u64, asked: &[Asked]) -> (Self, Shifts) {
        let mut shifts = Shifts { added, ..Shifts::default() };
        let mut chains: HashMap<u64, u64> = HashMap::new();
        let mut requests: HashMap<[u8; 12], Vec<&Asked>> = HashMap::new();
        for request in asked {
            requests.entry(request.flow).or_default().push(request);
        }
        for (time, frame) in &mut self.frames {
            let Some(segment) = segment(frame) else { continue };
            let from_client = shifts.is_from_client(&segment, *time);
            let flow = if from_client { segment.flow } else { reversed(segment.flow) };
            let all = requests.get(&flow).map_or(&[][..], Vec::as_slice);
            let Some(ends) = shifts.connections.get_mut(&flow).and_then(|all| all.last_mut())
            else {
                continue;
            };
            let shift = if from_client {
                ends.client_sends(*time, &segment, all, &chains)
            } else {
                let soonest = time.saturating_sub(rtt * SOONEST.0 / SOONEST.1);
                ends.server_sends(*time, &segment, soonest, added)
            };
            if let Some(chain) = ends.chain.filter(|_| !from_client) {
                let known = chains.entry(chain).or_default();
                *known = (*known).max(shift);
            }
            *time += shift;
        }
        self.frames.sort_by_key(|&(time, _)| time);
        (self, shifts)
    }
}

impl Shifts {
    /// Whether the client sent it; who sends the first frame of a connection is its client.
    fn is_from_client(&mut self, segment: &Segment, at: u64) -> bool {
        let opens = segment.flags & SYN != 0;
        let known = self.connections.contains_key(&segment.flow);
        let from_client = known || !self.connections.contains_key(&reversed(segment.flow));
        if from_client {
            let all = self.connections.entry(segment.flow).or_default();
            // A SYN that is sent again opens nothing.
            let begins = all.last().is_none_or(|ends| opens && !ends.sent[1].is_empty());
            if begins {
                all.push(Ends::new(at));
            }
        }
        from_client
    }
}

impl Ends {
    fn client_sends(
        &mut self,
        at: u64,
        segment: &Segment,
        asked: &[&Asked],
        chains: &HashMap<u64, u64>,
    ) -> u64 {
        let mut shift = self.latest(0).max(self.latest(1));
        if !segment.is_heeded() {
            return shift;
        }
        let turn = !self.client_spoke_last || self.sent[0].is_empty();
        let next = asked.iter().find(|a| a.at >= at && a.at - at < ASKED_WITHIN);
        if let Some(asked) = next.filter(|_| turn) {
            self.chain = Some(asked.chain);
            shift = shift.max(chains.get(&asked.chain).copied().unwrap_or(0));
        }
        self.client_spoke_last = true;
        self.sent[0].push((at, shift));
        shift
    }

    fn server_sends(&mut self, at: u64, segment: &Segment, soonest: u64, added: u64) -> u64 {
        let shift = self.latest(1).max(self.moved(0, soonest) + added);
        if segment.is_heeded() {
            self.client_spoke_last = false;
            self.sent[1].push((at, shift));
        }
        shift
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::connection::Connection;
    use fastpath::time::Nanos;

    const MS: u64 = 1_000_000;

    /// A connection with one exchange from this time on, and its name.
    fn exchange(port: u16, at: u64) -> (Capture, [u8; 12]) {
        let client: SocketAddr = ([198, 51, 100, 1], port).into();
        let server: SocketAddr = ([203, 0, 113, 9], 443).into();
        let mut connection = Connection::new(client, server, Nanos(at));
        connection.open("api.openai.com").exchange(700, 10).close();
        let frames: Vec<_> =
            connection.take().into_iter().map(|(at, _, frame)| (at.0, frame)).collect();
        let flow = segment(&frames[0].1).unwrap().flow;
        (Capture { frames }, flow)
    }

    #[test]
    fn each_turn_takes_longer_and_a_stream_keeps_its_pace() {
        let (plain, flow) = exchange(40_000, 1_000 * MS);
        let (far, shifts) = plain.clone().stretched(20 * MS, 60 * MS, &[]);
        let moved: Vec<u64> =
            plain.frames.iter().zip(&far.frames).map(|(a, b)| (b.0 - a.0) / MS).collect();
        assert_eq!(moved.first(), Some(&0), "the SYN");
        assert!(moved.is_sorted() && moved.windows(2).all(|two| two[1] - two[0] <= 60));
        // SYN, hello, Finished, and the request that waits for tickets.
        assert_eq!(moved.last(), Some(&240), "{moved:?}");
        let asked = 1_000 * MS + 70 * MS;
        assert_eq!(shifts.received(flow, asked, 20 * MS), asked + 210 * MS);
    }

    #[test]
    fn work_of_one_chain_waits_for_what_was_before_it() {
        let (mut both, first) = exchange(40_000, 1_000 * MS);
        let (second, then) = exchange(40_001, 3_000 * MS);
        both.frames.extend(second.frames);
        let asked = |flow, at, chain| Asked { flow, at, chain };
        let begins = |chains: [u64; 2]| {
            let asked = [asked(first, 1_070 * MS, chains[0]), asked(then, 3_070 * MS, chains[1])];
            let (far, _) = both.clone().stretched(20 * MS, 60 * MS, &asked);
            let mut frames = far.frames.iter();
            frames.find(|(_, frame)| segment(frame).unwrap().flow == then).unwrap().0 / MS
        };
        assert_eq!(begins([1, 1]), 3_240);
        assert_eq!(begins([1, 2]), 3_000, "another chain");
    }
}
