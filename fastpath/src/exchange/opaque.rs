//! TCP without TLS, as plaintext inference servers speak it: no payload is read there either.
//! Requests and responses follow from directions, lengths and times, as in [`super::h1`]; what a
//! record is there is here what arrives together. Followed are the endpoints of the policy and the
//! usual ports of such servers, and everything said of them is less sure. On those ports a flow may
//! be met in the middle: nothing needs its place in the stream.

use std::hash::RandomState;

use super::h1::{Connection, Step, TERMINATOR};
use crate::burst::{ContentType, Direction, FlowId, Record};
use crate::flow::entry::FlowEntry;
use crate::time::Nanos;

/// vLLM and others; Ollama.
const INFERENCE_PORTS: [u16; 2] = [8000, 11434];
/// Segments that follow one another faster than this are one piece.
const TOGETHER: Nanos = Nanos::from_millis(1);

/// Whether this flow is to be followed: it is not TLS, and its server may be one of inference.
pub(super) fn is_ours(entry: &FlowEntry) -> bool {
    let foreign = entry.halves.iter().any(|half| half.stream.is_foreign());
    // Neither side has sent anything that looks like a record, since it is watched.
    let unknown = entry.halves.iter().all(|half| half.stream.is_searching());
    let plain_port = INFERENCE_PORTS.contains(&entry.peers().server_port);
    let known = entry.class.endpoint().is_some() || plain_port;
    let midway = unknown && plain_port && entry.from_middle();
    ((foreign && known) || midway) && !entry.class.hello
}

/// The record that `bytes` new bytes of payload stand for.
pub(super) fn segment(
    packet: u16,
    at: Nanos,
    (flow, direction): (FlowId, Direction),
    bytes: u32,
) -> Record {
    let length = u16::try_from(bytes).unwrap_or(u16::MAX);
    Record { packet, at, flow, direction, content: ContentType::ApplicationData, length }
}

/// Takes in a segment.
pub(super) fn follow(
    connection: &mut Connection,
    record: &Record,
    rtt: Option<Nanos>,
    hasher: &RandomState,
) -> Step {
    connection.meet_plain(rtt);
    let alone = record.length == TERMINATOR || connection.closing().is_some();
    if record.direction == Direction::ToClient
        && !alone
        && let Some(current) = &mut connection.current
        && current.first_byte.is_some()
        && record.at.since(current.last_down) < TOGETHER
    {
        current.down_bytes = current.down_bytes.saturating_add(u32::from(record.length));
        current.last_down = record.at;
        current.last_length = record.length;
        current.cadence.joined(record.length);
        return Step::Nothing;
    }
    connection.application_record(record, hasher)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::h1::Ending;
    use crate::telemetry::event::ExchangeId;

    const UP: Direction = Direction::ToServer;
    const DOWN: Direction = Direction::ToClient;

    /// What segments (direction, milliseconds, bytes) mean, each in turn.
    fn steps(connection: &mut Connection, segments: &[(Direction, u64, u32)]) -> Vec<Step> {
        let hasher = RandomState::new();
        let step = |&(direction, ms, bytes): &(Direction, u64, u32)| {
            let record = segment(0, Nanos::from_millis(ms), (FlowId(0), direction), bytes);
            let step = follow(connection, &record, None, &hasher);
            if step == Step::Request {
                connection.end(Ending::Reuse);
                connection.open(ExchangeId(ms), None, &record);
            }
            step
        };
        segments.iter().map(step).collect()
    }

    #[test]
    fn a_request_after_a_response_is_another_exchange() {
        let mut connection = Connection::default();
        let seen =
            steps(&mut connection, &[(UP, 0, 800), (UP, 1, 400), (DOWN, 90, 900), (UP, 200, 700)]);
        assert_eq!(seen, [Step::Request, Step::Nothing, Step::Nothing, Step::Request]);
    }

    #[test]
    fn segments_of_one_piece_are_no_stream() {
        let mut connection = Connection::default();
        let mut segments = vec![(UP, 0, 800)];
        segments.extend([(DOWN, 90, 1448); 20]);
        steps(&mut connection, &segments);
        let facts = connection.facts(Ending::Running).unwrap();
        assert_eq!((facts.seen.down_records, facts.seen.down_bytes), (1, 20 * 1448));
        assert!(!facts.is_streamed() && facts.midway, "and all of it is less sure");
    }

    #[test]
    fn short_segments_of_a_client_are_no_sign_of_http2() {
        let mut connection = Connection::default();
        assert_eq!(steps(&mut connection, &[(UP, 0, 13), (UP, 9, 9)])[1], Step::Nothing);
    }
}
