//! Exchanges that the tests of the detectors make up.

use std::hash::RandomState;

use super::*;
use crate::burst::{ContentType, Direction, Record, TlsVersion};
use crate::exchange::h1::{Connection, Ending};
use crate::flow::entry::Classified;

/// An exchange to be made: its request starts at 0 ms and its round trip is 20 ms.
#[derive(Default)]
pub(crate) struct Shape<'a> {
    /// Response records: milliseconds and plaintext bytes, in order.
    pub(crate) down: &'a [(u64, u16)],
    pub(crate) client_closes: Option<u64>,
    pub(crate) server_closes: Option<u64>,
}

/// The facts of an exchange of this shape.
pub(crate) fn facts(shape: Shape<'_>) -> Facts {
    let class =
        Classified { hello: true, version: Some(TlsVersion::V1_3), ..Classified::default() };
    let hasher = RandomState::new();
    let mut connection = Connection::default();
    connection.meet(&class, Some(Nanos::from_millis(20)));
    let record = |direction, ms, bytes: u16| Record {
        packet: 0,
        at: Nanos::from_millis(ms),
        flow: FlowId(0),
        direction,
        content: ContentType::ApplicationData,
        length: bytes + 17,
    };
    connection.application_record(&record(Direction::ToServer, 0, 36), &hasher);
    let request = record(Direction::ToServer, 0, 700);
    connection.application_record(&request, &hasher);
    connection.open(ExchangeId(1), None, &request);
    let mut events: Vec<(u64, u16, Option<Direction>)> =
        shape.down.iter().map(|&(ms, bytes)| (ms, bytes, None)).collect();
    events.extend(shape.client_closes.map(|ms| (ms, 0, Some(Direction::ToServer))));
    events.extend(shape.server_closes.map(|ms| (ms, 0, Some(Direction::ToClient))));
    events.sort_by_key(|&(ms, ..)| ms);
    for (ms, bytes, close) in events {
        match close {
            Some(side) => connection.closed(side, false, Nanos::from_millis(ms)),
            None => {
                connection.application_record(&record(Direction::ToClient, ms, bytes), &hasher);
            }
        }
    }
    connection.facts(Ending::Running).unwrap()
}
