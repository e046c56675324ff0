//! The lengths of the session tickets that servers send (RFC 8446, 4.6.1). A ticket's length follows
//! from the server's software and its certificate, so that one pair of tickets tells a later one,
//! also where it comes alone, as after a resumption, or late.
//!
//! A bounded set of keyed hashes of a server and a length: a collision pushes the older one out.

use std::hash::{BuildHasher, RandomState};

use super::h1::Connection;
use crate::burst::Record;
use crate::telemetry::event::Peers;

/// The set.
#[derive(Debug)]
pub(super) struct TicketLengths {
    slots: Box<[u64; SLOTS]>,
    hasher: RandomState,
}

const SLOTS: usize = 1024;

impl Default for TicketLengths {
    fn default() -> Self {
        Self { slots: Box::new([0; SLOTS]), hasher: RandomState::new() }
    }
}

impl TicketLengths {
    /// Tells a connection whether its server is known for tickets as long as a record that it is about
    /// to take in, and learns the length of two equal ones.
    pub(super) fn meet(
        &mut self,
        connection: &mut Connection,
        record: &Record,
        peers: impl FnOnce() -> Peers,
    ) {
        if !connection.may_be_ticket(record) {
            return;
        }
        let tag = self.tag(record, &peers());
        let known = &mut self.slots[slot(tag)];
        if connection.completes_tickets(record) {
            *known = tag;
        }
        connection.expect_ticket(*known == tag);
    }

    fn tag(&self, record: &Record, peers: &Peers) -> u64 {
        self.hasher.hash_one((peers.server, peers.server_port, record.length)).max(1)
    }
}

#[allow(clippy::cast_possible_truncation, reason = "less than SLOTS")]
fn slot(tag: u64) -> usize {
    (tag % SLOTS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::burst::{Address, ContentType, Direction, FlowId, Protocol, TlsVersion};
    use crate::exchange::h1::Step;
    use crate::flow::entry::Classified;
    use crate::telemetry::event::ExchangeId;
    use crate::time::Nanos;

    /// Response records of a request to the server at `port` that is sent with the client's Finished,
    /// when server records (milliseconds, length) follow.
    fn responses(lengths: &mut TicketLengths, port: u16, records: &[(u64, u16)]) -> u16 {
        let hasher = RandomState::new();
        let mut connection = Connection::default();
        let (client, server) = (Address::default(), Address::default());
        let (client_port, server_port, protocol) = (40_000, port, Protocol::Tcp);
        let peers = Peers { client, client_port, server, server_port, protocol };
        let version = Some(TlsVersion::V1_3);
        connection.meet(&Classified { hello: true, version, ..Classified::default() }, None);
        let up = [(0, 69), (1, 643)].map(|(ms, length)| (Direction::ToServer, ms, length));
        let down = records.iter().map(|&(ms, length)| (Direction::ToClient, ms, length));
        for (direction, ms, length) in up.into_iter().chain(down) {
            let (at, flow, content) =
                (Nanos::from_millis(ms), FlowId(0), ContentType::ApplicationData);
            let record = Record { packet: 0, at, flow, direction, content, length };
            lengths.meet(&mut connection, &record, || peers);
            let step = connection.application_record(&record, &hasher);
            if step == Step::Request {
                connection.open(ExchangeId(1), None, &record);
            }
        }
        connection.current.unwrap().down_records
    }

    #[test]
    fn a_late_ticket_alone_is_known_by_an_earlier_pair() {
        let mut lengths = TicketLengths::default();
        assert_eq!(responses(&mut lengths, 443, &[(500, 266)]), 1, "nothing is known yet");
        assert_eq!(responses(&mut lengths, 443, &[(30, 266), (30, 266)]), 0);
        assert_eq!(responses(&mut lengths, 443, &[(500, 266)]), 0);
        assert_eq!(responses(&mut lengths, 443, &[(500, 267)]), 1, "of another length");
        assert_eq!(responses(&mut lengths, 444, &[(500, 266)]), 1, "of another server");
    }

    #[test]
    fn what_follows_the_tickets_is_a_response_whatever_its_length() {
        let mut lengths = TicketLengths::default();
        assert_eq!(responses(&mut lengths, 443, &[(30, 266), (30, 266), (500, 266)]), 1);
        assert_eq!(responses(&mut lengths, 443, &[(500, 266), (900, 266)]), 1);
    }
}
