//! Open streams of a connection, in order of start. A few have their place in it; more take a room
//! of those that the connections of an lcore share, and give it back when they are few again.

use std::ops::{Deref, DerefMut};

use super::STREAMS_MAX;
use super::stream::Stream;

/// Streams that have their place in the connection.
const IN_PLACE: usize = 16;
/// A connection with no more than this gives its room back: fewer than would take one, so that it
/// does not come and go.
const IN_PLACE_AGAIN: usize = IN_PLACE / 2;
/// Rooms that an lcore's connections share. A connection without one has [`IN_PLACE`] streams at
/// most.
const ROOMS: usize = 256;

/// Rooms that nobody has taken.
#[derive(Debug)]
pub(super) struct Rooms(Vec<Vec<Stream>>);

impl Default for Rooms {
    fn default() -> Self {
        Self((0..ROOMS).map(|_| Vec::with_capacity(STREAMS_MAX)).collect())
    }
}

/// Open streams.
#[derive(Debug, Default)]
pub(super) struct OpenStreams {
    few: [Stream; IN_PLACE],
    /// Of `few`; zero with a room.
    count: usize,
    /// All of them, if it has capacity.
    room: Vec<Stream>,
}

impl OpenStreams {
    /// Puts the latest stream in; false when there is no place for it.
    pub(super) fn push(&mut self, stream: Stream, rooms: &mut Rooms) -> bool {
        if !self.has_room() && self.count < IN_PLACE {
            self.few[self.count] = stream;
            self.count += 1;
            return true;
        }
        if !self.has_room() {
            let Some(room) = rooms.0.pop() else { return false };
            self.room = room;
            self.room.extend_from_slice(&self.few);
            self.count = 0;
        }
        let fits = self.room.len() < STREAMS_MAX;
        if fits {
            self.room.push(stream);
        }
        fits
    }

    /// Takes the stream at `place` out; those after it move up.
    pub(super) fn remove(&mut self, place: usize, rooms: &mut Rooms) -> Stream {
        if !self.has_room() {
            let stream = self[place];
            self.few.copy_within(place + 1..self.count, place);
            self.count -= 1;
            return stream;
        }
        let stream = self.room.remove(place);
        if self.room.len() <= IN_PLACE_AGAIN {
            self.count = self.room.len();
            self.few[..self.count].copy_from_slice(&self.room);
            self.room.clear();
            rooms.0.push(std::mem::take(&mut self.room));
        }
        stream
    }

    fn has_room(&self) -> bool {
        self.room.capacity() > 0
    }
}

impl Deref for OpenStreams {
    type Target = [Stream];

    fn deref(&self) -> &[Stream] {
        if self.has_room() { &self.room } else { &self.few[..self.count] }
    }
}

impl DerefMut for OpenStreams {
    fn deref_mut(&mut self) -> &mut [Stream] {
        if self.has_room() { &mut self.room } else { &mut self.few[..self.count] }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::telemetry::event::ExchangeId;

    fn stream(number: u64) -> Stream {
        Stream { id: ExchangeId(number), ..Stream::default() }
    }

    fn numbers(open: &OpenStreams) -> Vec<u64> {
        open.iter().map(|stream| stream.id.0).collect()
    }

    #[test]
    fn without_a_room_a_connection_keeps_those_in_place() {
        let (mut open, mut none) = (OpenStreams::default(), Rooms(Vec::new()));
        let taken = (0..100).filter(|&number| open.push(stream(number), &mut none)).count();
        assert_eq!((taken, open.len()), (IN_PLACE, IN_PLACE));
        open.remove(0, &mut none);
        assert!(open.push(stream(100), &mut none), "and takes the next when one is over");
    }

    #[test]
    fn a_room_goes_back_when_its_streams_are_few() {
        let (mut open, mut rooms) = (OpenStreams::default(), Rooms::default());
        let taken = (0..100).filter(|&number| open.push(stream(number), &mut rooms)).count();
        assert_eq!((taken, rooms.0.len()), (STREAMS_MAX, ROOMS - 1));
        while !open.is_empty() {
            open.remove(open.len() - 1, &mut rooms);
        }
        assert_eq!(rooms.0.len(), ROOMS);
        assert!(rooms.0.iter().all(|room| room.is_empty() && room.capacity() >= STREAMS_MAX));
    }

    proptest! {
        #[test]
        fn streams_keep_their_order(acts in prop::collection::vec(any::<Option<u8>>(), 0..300)) {
            let (mut open, mut rooms) = (OpenStreams::default(), Rooms::default());
            let mut expected = Vec::new();
            for (act, number) in acts.into_iter().zip(0..) {
                match act.map(usize::from) {
                    Some(place) if !expected.is_empty() && place % 3 > 0 => {
                        let place = place % expected.len();
                        let removed = open.remove(place, &mut rooms).id.0;
                        prop_assert_eq!(removed, expected.remove(place));
                    }
                    _ => {
                        let fits = open.push(stream(number), &mut rooms);
                        prop_assert_eq!(fits, expected.len() < STREAMS_MAX);
                        expected.extend(fits.then_some(number));
                    }
                }
                prop_assert_eq!(&numbers(&open), &expected);
            }
        }
    }
}
