//! The same capture with other lengths: each request, and each record of data of a response, is made
//! longer or shorter by as much, and everything that counts bytes follows: record headers, sequence
//! and acknowledgment numbers, lengths of IP packets. Times, order and number of frames stay. Of a
//! request over HTTP/1.1 the last record is changed, so that one that is sent again in more or fewer
//! records is still the same; over HTTP/2, where several may follow one another at once, each that
//! holds a body.
//!
//! What is short stays as it is: marks of the protocol (alerts, terminators, frames that end or
//! grant) and whatever belongs to the handshake.

use std::collections::{HashMap, HashSet};

use fastpath::time::Nanos;
use tests::connection::Arrival;

use super::frame::{self, Segment, Way};
use super::{HEADER_BYTES, Stream, header, streams};

/// By how many bytes records of data grow.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shift {
    pub(crate) to_server: isize,
    pub(crate) to_client: isize,
}

/// A capture with other lengths.
pub(crate) struct Reframed {
    pub(crate) arrivals: Vec<Arrival>,
    /// Records that are longer or shorter.
    pub(crate) records: usize,
}

/// Where one stream's bytes are in the other.
#[derive(Default)]
struct Map {
    /// Where a record begins, before and after, in order; then the end.
    records: Vec<(usize, usize)>,
    bytes: Vec<u8>,
    changed: usize,
}

const DATA: u8 = 23;
/// Records of less plaintext are marks, frames of the protocol, or part of the handshake.
const PLAINTEXT_MIN: usize = 100;
/// A record of the server that is no longer than this and comes among its first may be a ticket.
const TICKET_BYTES_MAX: usize = 420;
const TICKETS_AMONG: usize = 4;
/// HEADERS in a record of their own are shorter.
const BODY_MIN: usize = 500;
/// A ticket may come between two records of a request; an answer takes longer.
const REQUEST_PAUSE: Nanos = Nanos::from_millis(5);
/// What TLS 1.3 adds.
const OVERHEAD: usize = 17;
/// What is left of a record is longer than what the loop takes for something else.
const LENGTH_MAX: usize = 16_384;

/// The capture with lengths that are off by `shift`.
pub(crate) fn reframed(arrivals: &[Arrival], shift: Shift) -> Reframed {
    let streams = streams(arrivals);
    let pauses = pauses(arrivals, &streams);
    let hellos: HashSet<Way> =
        streams.iter().filter(|(_, s)| is_client(s)).map(|(k, _)| k.0).collect();
    let maps: HashMap<(Way, u32), Map> = streams
        .iter()
        .map(|(key, stream)| {
            let from_client = hellos.contains(&key.0);
            let known = from_client || hellos.contains(&reversed(&key.0));
            let by = if from_client { shift.to_server } else { shift.to_client };
            let by = if known { by } else { 0 };
            (*key, Map::of(stream, by, pauses.get(key).filter(|_| from_client)))
        })
        .collect();
    let mut current: HashMap<Way, u32> = HashMap::new();
    let mut changed = arrivals.to_vec();
    for (.., bytes) in &mut changed {
        let Some(segment) = frame::segment(bytes) else { continue };
        if segment.syn {
            current.insert(segment.way, segment.seq);
        }
        let of = |way: Way| {
            let key = (way, *current.get(&way)?);
            Some((streams.get(&key)?, maps.get(&key)?))
        };
        if let Some((stream, map)) = of(segment.way) {
            let ack = of(reversed(&segment.way))
                .map_or(segment.ack, |(stream, map)| map.number(stream, segment.ack));
            rewrite(bytes, &segment, stream, map, ack);
        }
    }
    Reframed { arrivals: changed, records: maps.values().map(|map| map.changed).sum() }
}

/// It begins with a ClientHello.
fn is_client(stream: &Stream) -> bool {
    matches!(
        stream.at(0, HEADER_BYTES + 1)[..],
        [super::HANDSHAKE, 3, _, _, _, super::CLIENT_HELLO]
    )
}

fn reversed(way: &Way) -> Way {
    let mut other = [0; 36];
    other[..16].copy_from_slice(&way[16..32]);
    other[16..32].copy_from_slice(&way[..16]);
    other[32..34].copy_from_slice(&way[34..]);
    other[34..].copy_from_slice(&way[32..34]);
    other
}

/// Where in a client's stream another request begins: when the server has sent something.
#[derive(Default)]
struct Pauses {
    places: Vec<usize>,
    end: usize,
    last: Nanos,
    answered: bool,
}

/// Those of all streams.
fn pauses(
    arrivals: &[Arrival],
    streams: &HashMap<(Way, u32), Stream>,
) -> HashMap<(Way, u32), Pauses> {
    let mut pauses: HashMap<(Way, u32), Pauses> = HashMap::new();
    let mut current: HashMap<Way, u32> = HashMap::new();
    for (at, _, bytes) in arrivals {
        let Some(segment) = frame::segment(bytes) else { continue };
        if segment.syn {
            current.insert(segment.way, segment.seq);
        }
        if segment.payload.is_empty() {
            continue;
        }
        let key = |way: Way| current.get(&way).map(|&syn| (way, syn));
        if let Some(key) = key(reversed(&segment.way)) {
            pauses.entry(key).or_default().answered = true;
        }
        let Some(key) = key(segment.way) else { continue };
        let Some(stream) = streams.get(&key) else { continue };
        let to = stream.offset(&segment).saturating_add(segment.payload.len());
        let seen = pauses.entry(key).or_default();
        if to > seen.end && to < super::STREAM_BYTES_MAX {
            if seen.answered && *at > seen.last + REQUEST_PAUSE {
                seen.places.push(seen.end);
            }
            (seen.end, seen.last, seen.answered) = (to, *at, false);
        }
    }
    pauses
}

impl Pauses {
    /// Whether the record that ends here is the last of its request.
    fn ends(&self, place: usize, next: usize) -> bool {
        self.places.iter().any(|pause| (place..next).contains(pause))
    }
}

impl Map {
    /// Of a stream that can be walked to its end; any other stays as it is.
    fn of(stream: &Stream, by: isize, requests: Option<&Pauses>) -> Self {
        let mut map = Self::default();
        let from_client = requests.is_some();
        let (mut at, mut data, mut http2) = (0, 0, false);
        while by != 0 && at < stream.bytes.len() {
            let bytes = stream.at(at, HEADER_BYTES);
            let Some((content, length)) = header(&bytes) else { return Self::unchanged(stream) };
            let record = stream.at(at, HEADER_BYTES + length);
            let whole = record.len() == HEADER_BYTES + length;
            if !whole && at + record.len() < stream.bytes.len() {
                return Self::unchanged(stream);
            }
            map.records.push((at, map.bytes.len()));
            data += usize::from(content == DATA);
            let ticket = !from_client && data <= TICKETS_AMONG && length <= TICKET_BYTES_MAX;
            // The server's flight comes before anything is asked, in records of its own.
            let flight = !from_client && data <= 1;
            // What follows the Finished is a request, or the preface of HTTP/2 (RFC 9113, 3.4).
            http2 |=
                from_client && content == DATA && data == 2 && length < PLAINTEXT_MIN + OVERHEAD;
            let least = if http2 { BODY_MIN } else { PLAINTEXT_MIN };
            let is_data = content == DATA && length >= least + OVERHEAD;
            let to = length.saturating_add_signed(by);
            let end = at + HEADER_BYTES + length;
            let last = http2
                || requests.is_none_or(|requests| {
                    requests.ends(end, next_data(stream, end))
                        || next_data(stream, end) >= stream.bytes.len()
                });
            if whole && is_data && last && !ticket && !flight && to <= LENGTH_MAX {
                map.changed += 1;
                let [high, low] = u16::try_from(to).unwrap_or(u16::MAX).to_be_bytes();
                map.bytes.extend([record[0], record[1], record[2], high, low]);
                map.bytes.extend(record[HEADER_BYTES..].iter().copied().chain([0x5a; 64]).take(to));
            } else {
                map.bytes.extend(&record);
            }
            at += HEADER_BYTES + length;
        }
        if by == 0 {
            return Self::unchanged(stream);
        }
        map.records.push((stream.bytes.len(), map.bytes.len()));
        map
    }

    fn unchanged(stream: &Stream) -> Self {
        let bytes = stream.bytes.iter().map(|byte| byte.unwrap_or_default()).collect();
        Self { records: vec![(0, 0)], bytes, changed: 0 }
    }

    /// Where a byte is after: as far from the beginning of its record, but inside it.
    fn place(&self, offset: usize) -> usize {
        let next = self.records.partition_point(|&(before, _)| before <= offset);
        let Some(&(before, after)) = next.checked_sub(1).and_then(|i| self.records.get(i)) else {
            return offset;
        };
        let end = self.records.get(next).map_or(usize::MAX, |&(_, after)| after);
        (after + offset - before).min(end)
    }

    /// A sequence number after. That of the SYN and of the FIN are beside the stream.
    fn number(&self, stream: &Stream, number: u32) -> u32 {
        let offset = number.wrapping_sub(stream.first) as usize;
        if offset > super::STREAM_BYTES_MAX {
            return number;
        }
        stream.first.wrapping_add(u32::try_from(self.place(offset)).unwrap_or(u32::MAX))
    }
}

/// Where the next record begins that is no mark.
fn next_data(stream: &Stream, from: usize) -> usize {
    let mut at = from;
    while let Some((_, length)) = header(&stream.at(at, HEADER_BYTES)) {
        if length >= PLAINTEXT_MIN + OVERHEAD {
            return at + 1;
        }
        at += HEADER_BYTES + length;
    }
    stream.bytes.len()
}

/// Puts what a segment carries after, and all numbers, in place of what they were.
fn rewrite(bytes: &mut Vec<u8>, segment: &Segment, stream: &Stream, map: &Map, ack: u32) {
    let offset = stream.offset(segment);
    if offset > super::STREAM_BYTES_MAX {
        return;
    }
    let [from, to] = [offset, offset + segment.payload.len()].map(|place| map.place(place));
    let seq = map.number(stream, segment.seq.wrapping_add(u32::from(segment.syn)));
    let seq = seq.wrapping_sub(u32::from(segment.syn));
    bytes[segment.tcp + 4..segment.tcp + 8].copy_from_slice(&seq.to_be_bytes());
    bytes[segment.tcp + 8..segment.tcp + 12].copy_from_slice(&ack.to_be_bytes());
    let payload: Vec<u8> = map.bytes.get(from..to).unwrap_or_default().to_vec();
    // Total length of IPv4 (RFC 791), payload length of IPv6 (RFC 8200).
    let at = segment.network + if bytes[segment.network] >> 4 == 4 { 2 } else { 4 };
    let length = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let length = usize::from(length) + payload.len() - segment.payload.len();
    let length = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    bytes[at..at + 2].copy_from_slice(&length);
    bytes.splice(segment.payload.clone(), payload);
}
