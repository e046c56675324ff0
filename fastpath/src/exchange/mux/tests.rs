//! Streams from record lengths: each way a request may be split, each way a response may end, and
//! that no sequence of records breaks the bounds.

use proptest::prelude::*;

use super::connection::Connection;
use super::habit::Habit;
use super::*;

const UP: Direction = Direction::ToServer;
const DOWN: Direction = Direction::ToClient;
const RTT: Nanos = Nanos::from_millis(20);

/// A connection with what surrounds it.
struct Rig {
    connection: Connection,
    habit: Habit,
    edges: Vec<MuxEdge>,
    next: u64,
    refused: u64,
    rooms: Rooms,
}

impl Rig {
    fn new() -> Self {
        let mut connection = Connection::default();
        connection.begin(RTT, false);
        Self {
            connection,
            habit: Habit::default(),
            edges: Vec::new(),
            next: 1,
            refused: 0,
            rooms: Rooms::default(),
        }
    }

    /// A server whose responses are known to end with a mark, or without.
    fn knowing(marked: bool) -> Self {
        let mut rig = Self::new();
        for _ in 0..8 {
            rig.habit.ended(true, marked);
            rig.habit.ended(false, marked);
        }
        for _ in 0..8 {
            rig.habit.answered(false);
        }
        rig
    }

    fn with<R>(&mut self, act: impl FnOnce(&mut Connection, &mut Scene<'_>) -> R) -> R {
        let mut scene = Scene {
            flow: FlowId(0),
            endpoint: None,
            habit: &mut self.habit,
            edges: &mut self.edges,
            next: &mut self.next,
            refused: &mut self.refused,
            rooms: &mut self.rooms,
        };
        act(&mut self.connection, &mut scene)
    }

    /// Records (direction, milliseconds, plaintext length).
    fn records(&mut self, records: &[(Direction, u64, u16)]) -> &mut Self {
        for &(direction, ms, length) in records {
            self.with(|connection, scene| {
                let at = Nanos::from_millis(ms);
                connection.due(at, scene);
                match direction {
                    Direction::ToServer => connection.client_record(length, at, scene),
                    Direction::ToClient => connection.server_record(length, at, scene),
                }
            });
        }
        self
    }

    fn close(&mut self, ending: Ending, ms: u64) -> &mut Self {
        self.with(|connection, scene| {
            connection.flush(scene);
            connection.end_all(ending, Nanos::from_millis(ms), scene);
        });
        self
    }

    fn starts(&self) -> Vec<u64> {
        let start = |edge: &MuxEdge| match edge {
            MuxEdge::Opened { at, .. } => Some(at.0 / 1_000_000),
            MuxEdge::Ended(_) | MuxEdge::MaybeReset { .. } => None,
        };
        self.edges.iter().filter_map(start).collect()
    }

    fn ends(&self) -> Vec<StreamFacts> {
        let end = |edge: &MuxEdge| match edge {
            MuxEdge::Ended(facts) => Some(*facts),
            MuxEdge::Opened { .. } | MuxEdge::MaybeReset { .. } => None,
        };
        self.edges.iter().filter_map(end).collect()
    }

    fn endings(&self) -> Vec<StreamEnding> {
        self.ends().iter().map(|facts| facts.ending).collect()
    }
}

#[test]
fn headers_then_data_are_one_request() {
    let mut rig = Rig::new();
    rig.records(&[(UP, 0, 82), (UP, 1, 456), (UP, 2, 1500), (UP, 2, 9)]);
    rig.records(&[(UP, 900, 152), (UP, 901, 700)]);
    assert_eq!(rig.starts(), [1, 900]);
}

#[test]
fn joined_headers_and_data_are_one_request_once_no_data_can_follow() {
    let mut rig = Rig::new();
    rig.records(&[(UP, 0, 24), (UP, 0, 1800), (DOWN, 1, 40)]);
    assert_eq!(rig.starts(), [] as [u64; 0], "settings answer no request");
    rig.records(&[(DOWN, 20, 9), (DOWN, 90, 1130)]);
    assert_eq!(rig.starts(), [0]);
    rig.records(&[(DOWN, 110, 9), (UP, 300, 1400)]);
    assert_eq!(rig.starts(), [0, 300], "the connection is known to join");
}

#[test]
fn headers_of_several_requests_in_one_record_are_none() {
    let mut rig = Rig::new();
    rig.records(&[(UP, 0, 46), (UP, 0, 240), (UP, 0, 700), (DOWN, 20, 40), (DOWN, 50, 900)]);
    rig.records(&[(DOWN, 51, 9), (UP, 500, 1504), (UP, 501, 1923), (UP, 502, 1686)]);
    assert_eq!(rig.starts(), [0, 500, 502], "the first begins with its HEADERS");
}

#[test]
fn a_first_request_that_is_given_up_unanswered_has_been_one() {
    let mut rig = Rig::knowing(true);
    rig.records(&[(UP, 0, 1382), (DOWN, 20, 233), (DOWN, 20, 51), (DOWN, 20, 9), (UP, 21, 9)]);
    rig.records(&[(UP, 1000, 13), (UP, 1400, 1051), (DOWN, 1600, 94), (DOWN, 1600, 900)]);
    assert_eq!(rig.starts(), [0, 1400]);
    assert_eq!(rig.endings(), [StreamEnding::ClientReset]);
}

#[test]
fn what_comes_before_settings_and_their_acknowledgement_answer_nothing() {
    let mut rig = Rig::new();
    rig.records(&[(UP, 0, 82), (UP, 0, 120), (UP, 0, 611), (DOWN, 300, 233), (DOWN, 300, 233)]);
    rig.records(&[(DOWN, 300, 51), (DOWN, 300, 9), (DOWN, 800, 89), (DOWN, 800, 453)]);
    assert_eq!(rig.endings(), []);
    rig.records(&[(DOWN, 800, 9)]);
    assert_eq!(rig.ends()[0].stream.down_bytes, 89 + 453);
}

#[test]
fn settings_that_were_acknowledged_have_come() {
    let mut rig = Rig::new();
    // The server's own came with its Finished.
    rig.records(&[(UP, 0, 1388), (DOWN, 21, 22), (DOWN, 490, 451), (DOWN, 510, 314)]);
    rig.records(&[(DOWN, 530, 314), (DOWN, 530, 9)]);
    assert_eq!(rig.ends()[0].stream.down_records, 3);
}

#[test]
fn ends_of_bodies_tell_how_many_requests_their_joined_headers_were() {
    let mut rig = Rig::new();
    rig.records(&[(UP, 0, 82), (UP, 0, 120), (UP, 0, 730), (UP, 0, 9), (DOWN, 20, 40)]);
    rig.records(&[(UP, 21, 9), (DOWN, 50, 900), (DOWN, 50, 9)]);
    // HEADERS of four, and a body short enough to be HEADERS.
    rig.records(&[(UP, 500, 236), (UP, 501, 900), (UP, 510, 223), (UP, 511, 473), (UP, 511, 292)]);
    rig.records(&[(UP, 512, 9), (UP, 512, 9), (UP, 512, 9), (UP, 512, 9)]);
    assert_eq!(rig.starts().len(), 5);
}

#[test]
fn control_frames_between_headers_and_their_data_are_no_answer() {
    let mut rig = Rig::new();
    rig.records(&[(UP, 0, 82), (UP, 0, 339), (DOWN, 20, 40), (DOWN, 21, 13), (UP, 36, 866)]);
    assert_eq!(rig.starts(), [0]);
}

#[test]
fn frames_of_one_body_are_one_request() {
    let mut rig = Rig::new();
    rig.records(&[(UP, 0, 82), (UP, 0, 456), (UP, 1, 16_384), (UP, 2, 16_384), (UP, 3, 900)]);
    rig.records(&[(DOWN, 24, 40), (DOWN, 60, 900), (DOWN, 60, 9)]);
    assert_eq!(rig.ends().iter().map(|end| end.stream.up_bytes).collect::<Vec<_>>(), [33_668]);
}

#[test]
fn a_mark_ends_the_stream_and_tells_what_came_with_it() {
    let mut rig = Rig::new();
    rig.records(&[(UP, 0, 82), (UP, 0, 456), (UP, 0, 700), (DOWN, 20, 40)]);
    rig.records(&[(DOWN, 60, 141), (DOWN, 60, 136), (DOWN, 61, 9)]);
    let end = rig.ends()[0];
    assert_eq!((end.ending, end.unit), (StreamEnding::EndStream, Unit { headers: 141, data: 136 }));
    assert!(end.stream.alone && end.stream.down_bytes == 277);
}

#[test]
fn without_marks_the_next_request_ends_a_response() {
    let mut rig = Rig::knowing(false);
    rig.records(&[(UP, 0, 82), (UP, 0, 456), (UP, 0, 700), (DOWN, 20, 40)]);
    rig.records(&[(DOWN, 60, 111), (DOWN, 61, 900), (UP, 400, 91), (UP, 401, 700)]);
    assert_eq!(rig.endings(), [StreamEnding::Quiet]);
    assert_eq!(rig.ends()[0].ended, Nanos::from_millis(61));
}

#[test]
fn with_marks_the_next_request_runs_beside_a_response() {
    let mut rig = Rig::knowing(true);
    rig.records(&[(UP, 0, 82), (UP, 0, 456), (UP, 0, 700), (DOWN, 20, 40)]);
    rig.records(&[(DOWN, 60, 133), (UP, 400, 91), (UP, 401, 700), (DOWN, 500, 900)]);
    rig.records(&[(DOWN, 500, 9), (DOWN, 700, 400), (DOWN, 700, 9)]);
    assert_eq!(rig.endings(), [StreamEnding::EndStream; 2]);
    assert!(rig.ends().iter().all(|end| !end.stream.alone), "neither is claimed for itself");
}

#[test]
fn a_client_that_waits_for_each_answer_is_believed_to_have_it() {
    let mut rig = Rig::knowing(false);
    rig.records(&[(UP, 0, 82), (UP, 0, 456), (UP, 0, 700), (DOWN, 20, 40)]);
    rig.records(&[(DOWN, 60, 111), (DOWN, 61, 900), (UP, 63, 91), (UP, 63, 700)]);
    assert_eq!(rig.endings(), [StreamEnding::Quiet], "two milliseconds after the answer");

    let mut rig = Rig::knowing(false);
    rig.records(&[(UP, 0, 82), (UP, 0, 456), (UP, 0, 700), (DOWN, 20, 40)]);
    rig.records(&[(UP, 40, 91), (UP, 40, 700), (DOWN, 60, 900), (UP, 63, 91), (UP, 63, 700)]);
    assert_eq!(rig.endings(), [], "this one does not wait");
}

#[test]
fn a_mark_that_comes_before_an_answer_can_is_of_the_response_before() {
    let mut rig = Rig::new();
    rig.records(&[(UP, 0, 82), (UP, 0, 456), (UP, 0, 700), (DOWN, 20, 40)]);
    rig.records(&[(DOWN, 60, 900), (UP, 62, 91), (UP, 62, 700), (DOWN, 66, 9)]);
    assert_eq!(rig.endings(), [StreamEnding::Quiet]);
    assert_eq!(rig.habit.marks_the_end(false), Some(true));
    rig.records(&[(DOWN, 140, 900), (DOWN, 140, 9)]);
    assert_eq!(rig.endings(), [StreamEnding::Quiet, StreamEnding::EndStream]);
}

#[test]
fn window_for_the_connection_is_no_reset() {
    let mut rig = Rig::knowing(true);
    rig.records(&[(UP, 0, 82), (UP, 0, 456)]);
    for n in 0..9 {
        let at = 1 + 500 * n;
        rig.records(&[(UP, at, 152), (UP, at, 8000), (UP, at + 1, 151), (UP, at + 1, 300)]);
        rig.records(&[(DOWN, at + 21, 13), (DOWN, at + 200, 900), (DOWN, at + 200, 9)]);
        rig.records(&[(DOWN, at + 240, 900), (DOWN, at + 240, 9)]);
    }
    let resets = rig.endings().iter().filter(|end| **end == StreamEnding::ServerReset).count();
    assert!(resets < 9, "{resets} of nine: some are grants");
}

#[test]
fn a_server_that_closes_behind_its_answer_has_cut_nothing() {
    let mut rig = Rig::new();
    rig.records(&[(UP, 0, 82), (UP, 0, 456), (UP, 0, 700), (DOWN, 20, 40), (DOWN, 60, 900)]);
    assert_eq!(rig.close(Ending::ServerClosed, 62).endings(), [StreamEnding::Quiet]);
    let mut rig = Rig::new();
    rig.records(&[(UP, 0, 82), (UP, 0, 456), (UP, 0, 700), (DOWN, 20, 40), (DOWN, 60, 900)]);
    assert_eq!(rig.close(Ending::ServerReset, 62).endings(), [StreamEnding::ServerClosed]);
}

#[test]
fn a_reset_of_the_client_counts_once_data_stops() {
    let stream: Vec<_> = (0..9).map(|n| (DOWN, 60 + 20 * n, 300)).collect();
    let reset = [(UP, 225, 13), (DOWN, 240, 300)];
    let mut rig = Rig::knowing(true);
    rig.records(&[(UP, 0, 82), (UP, 0, 456), (UP, 0, 700), (DOWN, 20, 40)]);
    rig.records(&stream).records(&reset).records(&[(UP, 900, 152), (UP, 901, 700)]);
    assert_eq!(rig.endings(), [StreamEnding::ClientReset]);
    assert_eq!(rig.ends()[0].ended, Nanos::from_millis(225));

    let mut rig = Rig::knowing(true);
    rig.records(&[(UP, 0, 82), (UP, 0, 456), (UP, 0, 700), (DOWN, 20, 40)]);
    rig.records(&stream).records(&reset).records(&[(DOWN, 300, 300), (DOWN, 320, 9)]);
    assert_eq!(rig.endings(), [StreamEnding::EndStream], "it was a grant of window");
}

#[test]
fn a_reset_of_the_server_before_any_data_is_no_grant_of_window() {
    let mut rig = Rig::knowing(true);
    rig.records(&[(UP, 0, 82), (UP, 0, 456), (UP, 0, 700), (DOWN, 20, 40)]);
    rig.records(&[(DOWN, 850, 13), (UP, 900, 152), (UP, 901, 700)]);
    assert_eq!(rig.endings(), [StreamEnding::ServerReset]);
}

#[test]
fn who_closes_in_the_middle_of_a_response_is_told() {
    for (ending, expected) in [
        (Ending::ClientClosed, StreamEnding::ClientClosed),
        (Ending::ServerClosed, StreamEnding::ServerClosed),
    ] {
        let mut rig = Rig::knowing(true);
        rig.records(&[(UP, 0, 82), (UP, 0, 456), (UP, 0, 700), (DOWN, 20, 40), (DOWN, 60, 900)]);
        assert_eq!(rig.close(ending, 70).endings(), [expected]);
    }
}

#[test]
fn a_request_that_the_close_finds_kept_back_is_told() {
    let mut rig = Rig::new();
    rig.records(&[(UP, 0, 24), (UP, 0, 1800)]).close(Ending::ClientClosed, 500);
    assert_eq!((rig.starts(), rig.endings()), (vec![0], vec![StreamEnding::ClientClosed]));
}

#[test]
fn streams_beyond_the_bound_are_counted() {
    let mut rig = Rig::new();
    rig.records(&[(UP, 0, 82), (UP, 0, 456)]);
    rig.records(&[(UP, 1, 700); 100]);
    assert_eq!(rig.starts().len(), STREAMS_MAX);
    assert_eq!(rig.refused, 98 - STREAMS_MAX as u64, "two may be pieces of the first body");
}

proptest! {
    /// Whatever comes, every stream that begins ends, once, after its start.
    #[test]
    fn every_stream_that_begins_ends_once(
        records in prop::collection::vec((any::<bool>(), 0u64..40, prop_oneof![
            prop::sample::select(vec![0u16, 2, 9, 13, 17, 22, 26, 30, 39, 40, 45, 82, 111]),
            0u16..2000,
            Just(16_384u16),
        ]), 0..400),
        marked in any::<bool>(),
        by_client in any::<bool>(),
    ) {
        let mut rig = Rig::knowing(marked);
        let mut now = 0;
        for (up, gap, length) in records {
            now += gap;
            rig.records(&[(if up { UP } else { DOWN }, now, length)]);
        }
        let ending = if by_client { Ending::ClientClosed } else { Ending::ServerReset };
        rig.close(ending, now);
        let opened = rig.next - 1;
        let mut ended: Vec<u64> = rig.ends().iter().map(|facts| facts.stream.id.0).collect();
        ended.sort_unstable();
        prop_assert_eq!(ended, (1..=opened).collect::<Vec<_>>());
        prop_assert!(rig.ends().iter().all(|facts| facts.ended >= facts.stream.start));
    }
}

/// The first request of a client that ends each body with an empty frame (httpcore), from its preface
/// to the server's SETTINGS.
fn first_of_httpcore(rig: &mut Rig) {
    rig.records(&[(UP, 0, 82), (UP, 2, 119), (UP, 3, 748), (UP, 3, 9), (DOWN, 21, 30)]);
}

#[test]
fn ends_of_bodies_count_requests_where_the_ack_is_joined_with_headers() {
    let mut rig = Rig::new();
    first_of_httpcore(&mut rig);
    // An ACK and the HEADERS of three in one record, then their DATA, then their ends.
    rig.records(&[(UP, 25, 190), (UP, 26, 240), (UP, 26, 490), (UP, 27, 564)]);
    rig.records(&[(UP, 28, 9), (UP, 28, 9), (UP, 28, 9)]);
    assert_eq!(rig.starts().len(), 4);
}

#[test]
fn an_ack_of_its_own_ends_no_body() {
    let mut rig = Rig::new();
    first_of_httpcore(&mut rig);
    rig.records(&[(UP, 22, 9), (UP, 60, 58), (UP, 60, 564), (UP, 60, 9)]);
    assert_eq!(rig.starts(), [2, 60]);
}

/// A streamed response to a request at `start`, an event each 20 ms.
fn events(rig: &mut Rig, start: u64, count: u64) {
    rig.records(&[(DOWN, start, 54)]);
    (0..count).for_each(|n| {
        rig.records(&[(DOWN, start + 1 + 20 * n, 300)]);
    });
}

#[test]
fn a_reset_that_is_joined_with_the_next_request_ends_the_response() {
    let mut rig = Rig::knowing(true);
    rig.records(&[(UP, 0, 82), (UP, 1, 900), (DOWN, 21, 30), (UP, 22, 9), (DOWN, 23, 9)]);
    events(&mut rig, 200, 8);
    rig.records(&[(UP, 350, 913)]);
    events(&mut rig, 600, 8);
    rig.records(&[(DOWN, 800, 9)]);
    assert_eq!(rig.endings(), [StreamEnding::ClientReset, StreamEnding::EndStream]);
    assert_eq!(rig.ends()[0].ended, Nanos::from_millis(350));
}

#[test]
fn a_response_that_goes_on_beside_the_next_was_not_reset() {
    let mut rig = Rig::knowing(true);
    rig.records(&[(UP, 0, 82), (UP, 1, 900), (DOWN, 21, 30), (UP, 22, 9), (DOWN, 23, 9)]);
    events(&mut rig, 200, 8);
    rig.records(&[(UP, 350, 913)]);
    events(&mut rig, 360, 20);
    rig.records(&[(DOWN, 770, 9), (DOWN, 790, 9)]);
    assert_eq!(rig.endings(), [StreamEnding::EndStream; 2]);
}

/// Two requests at once on a connection whose first was answered long ago.
fn two_at_once() -> Rig {
    let mut rig = Rig::knowing(false);
    first_of_httpcore(&mut rig);
    rig.records(&[(UP, 22, 9), (DOWN, 100, 100), (DOWN, 100, 900)]);
    rig.records(&[(UP, 400, 57), (UP, 400, 600), (UP, 401, 58), (UP, 401, 700)]);
    rig
}

#[test]
fn several_grants_of_window_are_no_response() {
    let mut rig = two_at_once();
    rig.records(&[(DOWN, 422, 39), (DOWN, 500, 100), (DOWN, 500, 800)]);
    rig.records(&[(DOWN, 600, 100), (DOWN, 600, 500)]).close(Ending::ClientClosed, 5000);
    let bytes: Vec<_> = rig.ends().iter().map(|facts| facts.stream.down_bytes).collect();
    assert_eq!(bytes, [1000, 900, 600], "in the order of their ends");
}

#[test]
fn headers_as_long_as_several_grants_are_headers_when_data_follow_at_once() {
    let mut rig = two_at_once();
    rig.records(&[(DOWN, 422, 39), (DOWN, 422, 125), (DOWN, 600, 100), (DOWN, 600, 500)]);
    rig.close(Ending::ClientClosed, 5000);
    let ends = rig.ends();
    assert!(ends.iter().any(|facts| facts.stream.down_bytes == 39 + 125), "{ends:?}");
}

#[test]
fn without_marks_data_as_short_as_headers_belong_to_the_headers_before_them() {
    let mut rig = two_at_once();
    rig.records(&[(DOWN, 440, 103), (DOWN, 441, 125), (DOWN, 460, 103), (DOWN, 460, 119)]);
    rig.close(Ending::ClientClosed, 5000);
    let records: Vec<_> = rig.ends().iter().map(|facts| facts.stream.down_records).collect();
    assert_eq!(records, [2, 2, 2]);
}

#[test]
fn a_client_that_reset_nothing_and_leaves_in_peace_had_every_response() {
    let mut rig = two_at_once();
    rig.records(&[(DOWN, 440, 100), (DOWN, 440, 1200)]).close(Ending::ClientClosed, 5000);
    assert_eq!(rig.endings(), [StreamEnding::Quiet; 3]);
    let mut rig = two_at_once();
    rig.records(&[(DOWN, 440, 100), (DOWN, 440, 1200)]).close(Ending::ClientClosed, 600);
    assert!(rig.endings().contains(&StreamEnding::ClientClosed), "it did not wait");
}

/// A server that marks every end, and a client that has asked it for `bytes` (HEADERS and DATA in
/// one record) at 100 ms, on a connection whose first request was answered long ago.
fn asked(bytes: u16) -> Rig {
    let mut rig = Rig::knowing(true);
    rig.records(&[(UP, 0, 82), (UP, 1, 900), (DOWN, 21, 30), (UP, 22, 9), (DOWN, 23, 9)]);
    rig.records(&[(DOWN, 50, 54), (DOWN, 50, 900), (DOWN, 50, 9), (UP, 100, bytes)]);
    rig
}

/// Requests like that of [`asked`], each second, that were answered.
fn answered(rig: &mut Rig, seconds: std::ops::RangeInclusive<u64>) {
    for at in seconds.map(|n| 1000 * n) {
        rig.records(&[(UP, at, 700), (DOWN, at + 60, 54), (DOWN, at + 60, 900)]);
        rig.records(&[(DOWN, at + 60, 9)]);
    }
}

#[test]
fn what_ends_without_data_began_with_headers_that_hpack_knew() {
    let mut rig = asked(700);
    rig.records(&[(DOWN, 121, 13), (DOWN, 160, 13), (DOWN, 160, 9)]);
    let ends = rig.ends();
    let [_, last] = &ends[..] else { panic!("{ends:?}") };
    assert_eq!(last.ending, StreamEnding::EndStream);
    assert_eq!(last.stream.down_records, 1);
    assert_eq!(last.stream.first_byte, Some(Nanos::from_millis(160)));
}

#[test]
fn after_a_response_of_headers_alone_one_as_short_as_a_reset_is_none() {
    let mut rig = asked(700);
    rig.records(&[(DOWN, 160, 54), (DOWN, 160, 900), (DOWN, 160, 9)]);
    answered(&mut rig, 1..=3);
    rig.records(&[(UP, 9000, 700), (DOWN, 9021, 13), (DOWN, 9060, 36), (UP, 9200, 699)]);
    rig.records(&[(DOWN, 9221, 13), (DOWN, 9280, 13), (UP, 9400, 699)]);
    assert_eq!(rig.endings()[5..], [StreamEnding::Quiet, StreamEnding::Quiet]);
    let mut rig = asked(700);
    rig.records(&[(DOWN, 121, 13), (DOWN, 180, 13), (UP, 500, 699)]);
    assert_eq!(rig.endings()[1..], [StreamEnding::ServerReset], "headers would have come in full");
}

#[test]
fn who_asks_for_the_same_again_has_had_a_response() {
    let ended = |again| {
        let mut rig = asked(700);
        rig.records(&[(DOWN, 160, 229), (UP, 400, again)]);
        rig.endings()[1..] == [StreamEnding::Quiet]
    };
    assert!(ended(700) && ended(698));
    assert!(!ended(1300), "another request beside it");
}

#[test]
fn an_event_after_a_reset_that_is_joined_with_a_request_opens_no_response() {
    let mut rig = asked(700);
    events(&mut rig, 200, 8);
    rig.records(&[(UP, 350, 913), (DOWN, 372, 300), (DOWN, 600, 54), (DOWN, 600, 900)]);
    rig.records(&[(DOWN, 600, 9)]);
    assert_eq!(rig.endings()[1..], [StreamEnding::ClientReset, StreamEnding::EndStream]);
    assert_eq!(rig.ends()[2].stream.down_bytes, 54 + 900);
}

#[test]
fn a_client_that_has_always_waited_has_given_up_what_fell_silent() {
    let endings = |before: u64| {
        let mut rig = asked(700);
        rig.records(&[(DOWN, 160, 54), (DOWN, 160, 900), (DOWN, 160, 9)]);
        answered(&mut rig, 1..=before);
        rig.records(&[(UP, 9000, 700), (DOWN, 9200, 54), (DOWN, 9200, 423), (UP, 9230, 1400)]);
        rig.records(&[(DOWN, 9500, 54), (DOWN, 9500, 900), (DOWN, 9500, 9)]);
        rig.endings()[2 + usize::try_from(before).unwrap()..].to_vec()
    };
    assert_eq!(endings(3), [StreamEnding::ClientReset, StreamEnding::EndStream]);
    assert_eq!(endings(0), [StreamEnding::EndStream], "nothing is known of it");
}
