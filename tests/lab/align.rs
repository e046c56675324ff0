//! Pairs what Fermata saw with what happened: on each connection, in the order of time.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::Value;

use crate::truth::Record;

/// The fields of an exchange line that the lab judges.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Seen {
    /// Its name.
    pub(crate) id: Value,
    /// Client address.
    pub(crate) client: String,
    /// Client port.
    pub(crate) client_port: u16,
    /// Server address.
    pub(crate) server: String,
    /// First request byte.
    pub(crate) start: f64,
    /// What became of it.
    pub(crate) outcome: String,
    /// The attempt before.
    #[serde(default)]
    pub(crate) retry_of: Option<Value>,
    /// First response byte.
    #[serde(default)]
    pub(crate) first_byte: Option<f64>,
    /// Longest stall.
    #[serde(default)]
    pub(crate) stall: Option<f64>,
    /// Low, likely, high.
    #[serde(default)]
    pub(crate) tokens_estimate: Option<[f64; 3]>,
}

/// What happened and what was seen, paired as far as it goes.
#[derive(Debug, Default)]
pub(crate) struct Alignment<'a> {
    /// Requests and the exchange that is theirs.
    pub(crate) pairs: Vec<(&'a Record, &'a Seen)>,
    /// Requests that were not seen.
    pub(crate) missed: Vec<&'a Record>,
    /// Exchanges that did not happen.
    pub(crate) invented: Vec<&'a Seen>,
}

/// A connection: client, its port, server.
type Key<'a> = (&'a str, u16, &'a str);

/// Pairs both sides. A request reaches its server at most `EARLY` before and `LATE` after the
/// exchange began.
pub(crate) fn align<'a>(truth: &'a [Record], seen: &'a [Seen]) -> Alignment<'a> {
    let mut connections: BTreeMap<Key<'a>, (Vec<&Record>, Vec<&Seen>)> = BTreeMap::new();
    for record in truth {
        let key = (record.client.as_str(), record.port, record.server.as_str());
        connections.entry(key).or_default().0.push(record);
    }
    for exchange in seen {
        let key = (exchange.client.as_str(), exchange.client_port, exchange.server.as_str());
        connections.entry(key).or_default().1.push(exchange);
    }
    let mut alignment = Alignment::default();
    for (mut records, mut exchanges) in connections.into_values() {
        records.sort_by(|one, other| one.t_hdr.total_cmp(&other.t_hdr));
        exchanges.sort_by(|one, other| one.start.total_cmp(&other.start));
        alignment.connection(&records, &exchanges);
    }
    alignment.pairs.sort_by_key(|(record, _)| record.id);
    alignment
}

impl<'a> Alignment<'a> {
    /// Pairs one connection: both sides are in order, so the earlier of two that do not fit has no
    /// partner.
    fn connection(&mut self, records: &[&'a Record], exchanges: &[&'a Seen]) {
        let (mut records, mut exchanges) = (records.iter().peekable(), exchanges.iter().peekable());
        loop {
            match (records.peek().copied(), exchanges.peek().copied()) {
                (Some(record), Some(exchange)) => {
                    let delay = record.t_hdr - exchange.start;
                    if delay < -EARLY {
                        self.missed.push(record);
                        records.next();
                    } else if delay > LATE {
                        self.invented.push(exchange);
                        exchanges.next();
                    } else {
                        self.pairs.push((record, exchange));
                        records.next();
                        exchanges.next();
                    }
                }
                (Some(record), None) => {
                    self.missed.push(record);
                    records.next();
                }
                (None, Some(exchange)) => {
                    self.invented.push(exchange);
                    exchanges.next();
                }
                (None, None) => return,
            }
        }
    }

    /// From the name of an exchange to the request it is.
    pub(crate) fn by_seen_id(&self) -> HashMap<String, &'a Record> {
        self.pairs.iter().map(|(record, seen)| (seen.id.to_string(), *record)).collect()
    }
}

/// Seconds a request may reach its server before the exchange began: the clocks are one, the
/// rounding is not.
const EARLY: f64 = 0.05;
/// Seconds it may reach it later.
const LATE: f64 = 2.5;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn record(id: u64, port: u16, t_hdr: f64) -> Record {
        let (client, server) = ("198.51.100.11".to_owned(), "198.51.100.101".to_owned());
        let call = format!("c{id}");
        let end = "complete".to_owned();
        Record { id, client, port, server, t_hdr, call, end, status: 200, ..Record::default() }
    }

    pub(crate) fn seen(id: u64, port: u16, start: f64) -> Seen {
        Seen {
            id: id.into(),
            client: "198.51.100.11".to_owned(),
            client_port: port,
            server: "198.51.100.101".to_owned(),
            start,
            outcome: "complete".to_owned(),
            retry_of: None,
            first_byte: None,
            stall: None,
            tokens_estimate: None,
        }
    }

    #[test]
    fn requests_of_a_connection_pair_in_order() {
        let truth = [record(0, 4000, 1.001), record(1, 4000, 1.9), record(2, 4001, 1.0)];
        let found = [seen(7, 4000, 1.899), seen(8, 4000, 1.0), seen(9, 4001, 1.0)];
        let alignment = align(&truth, &found);
        let pairs: Vec<(u64, &Value)> =
            alignment.pairs.iter().map(|(record, seen)| (record.id, &seen.id)).collect();
        assert_eq!(pairs, [(0, &8.into()), (1, &7.into()), (2, &9.into())]);
    }

    #[test]
    fn a_request_without_an_exchange_is_missed_and_the_next_still_pairs() {
        let truth = [record(0, 4000, 1.0), record(1, 4000, 9.0)];
        let found = [seen(8, 4000, 9.0)];
        let alignment = align(&truth, &found);
        assert_eq!(alignment.missed.first().map(|record| record.id), Some(0));
        assert_eq!(alignment.pairs.len(), 1);
    }

    #[test]
    fn an_exchange_on_an_unknown_connection_is_invented() {
        let found = [seen(8, 4000, 9.0)];
        assert_eq!(align(&[], &found).invented.len(), 1);
    }
}
