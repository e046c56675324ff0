//! The second walk: what of a capture the loop may read, found by code that shares nothing with
//! `parse`. It knows whole streams, and takes as long as it likes.
//!
//! May be read (docs/privacy.md, P1): headers down to TCP and UDP; the headers of TLS and DTLS
//! records where the walk meets them, and the hellos; of QUIC the headers of packets with a long
//! header, and Initials, whose keys anybody can derive (RFC 9001, 5.2). Nothing of a QUIC packet
//! with a short header, not even its first byte, and nothing of a TCP stream that is not TLS but
//! the five bytes that show it.

use std::collections::HashMap;
use std::ops::Range;

use tests::connection::Arrival;

mod datagram;
mod frame;
pub(crate) mod reframe;

use frame::{Segment, Way};

/// One direction of a connection: what each byte of it is, by offset from its first byte.
#[derive(Default)]
struct Stream {
    /// Sequence number of its first byte.
    first: u32,
    bytes: Vec<Option<u8>>,
    /// The loop may look at this byte.
    open: Vec<bool>,
    /// A byte was sent twice, and not the same.
    contradicts: bool,
}

/// A capture with other payload, and how much of it is other.
pub(crate) struct Replaced {
    pub(crate) arrivals: Vec<Arrival>,
    pub(crate) replaced_bytes: usize,
    pub(crate) payload_bytes: usize,
}

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const HEADER_BYTES: usize = 5;
/// RFC 8446, 5.2, and what TLS 1.2 allows on top (RFC 5246, 6.2.3).
const RECORD_BYTES_MAX: usize = 16_384 + 2_048;
/// What may stand in the segment of a late hello before it: a PROXY header, a SOCKS reply.
const PREFIX_BYTES: usize = 600;
/// A sequence number that far away is of another connection or of nobody.
const STREAM_BYTES_MAX: usize = 1 << 26;

/// Replaces every byte of payload that the loop may not read. Frames whose headers cannot be
/// followed here, fragments and tunnels, stay as they are, and so do streams without a beginning.
pub(crate) fn randomised(arrivals: &[Arrival], seed: u64) -> Replaced {
    let streams = streams(arrivals);
    let mut current: HashMap<Way, u32> = HashMap::new();
    let (mut replaced_bytes, mut payload_bytes) = (0, 0);
    let mut changed = arrivals.to_vec();
    for (number, (.., bytes)) in changed.iter_mut().enumerate() {
        payload_bytes += frame::payload_bytes(bytes);
        if let Some(segment) = frame::segment(bytes) {
            let Some(stream) = find(&streams, &mut current, &segment) else { continue };
            let offset = stream.offset(&segment);
            for i in 0..segment.payload.len() {
                if stream.open.get(offset + i) == Some(&false) {
                    bytes[segment.payload.start + i] = noise(seed, offset + i);
                    replaced_bytes += 1;
                }
            }
        } else if let Some(payload) = frame::datagram(bytes) {
            let closed = datagram::closed(&bytes[payload.clone()]);
            for range in closed {
                for i in range {
                    bytes[payload.start + i] = noise(seed ^ (number as u64) << 20, i);
                    replaced_bytes += 1;
                }
            }
        }
    }
    Replaced { arrivals: changed, replaced_bytes, payload_bytes }
}

/// The stream of a segment: of the latest SYN with its ports.
fn find<'a>(
    streams: &'a HashMap<(Way, u32), Stream>,
    current: &mut HashMap<Way, u32>,
    segment: &Segment,
) -> Option<&'a Stream> {
    if segment.syn {
        current.insert(segment.way, segment.seq);
    }
    streams.get(&(segment.way, *current.get(&segment.way)?))
}

/// Joins the streams of all connections whose SYN is there. A port used twice is one stream more:
/// the second SYN begins it.
fn streams(arrivals: &[Arrival]) -> HashMap<(Way, u32), Stream> {
    let mut streams: HashMap<(Way, u32), Stream> = HashMap::new();
    let mut current: HashMap<Way, u32> = HashMap::new();
    for (.., bytes) in arrivals {
        let Some(segment) = frame::segment(bytes) else { continue };
        if segment.syn {
            current.insert(segment.way, segment.seq);
        }
        let Some(&syn) = current.get(&segment.way) else { continue };
        let stream = streams.entry((segment.way, syn)).or_default();
        stream.first = syn.wrapping_add(1);
        stream.add(stream.offset(&segment), &bytes[segment.payload]);
    }
    streams.values_mut().for_each(Stream::walk);
    streams
}

impl Stream {
    /// Where a segment stands. Data may come with the SYN (RFC 7413).
    fn offset(&self, segment: &Segment) -> usize {
        segment.seq.wrapping_add(u32::from(segment.syn)).wrapping_sub(self.first) as usize
    }

    /// What has been sent is not sent otherwise: the first of two counts, and says so.
    fn add(&mut self, offset: usize, bytes: &[u8]) {
        if bytes.is_empty() || offset > STREAM_BYTES_MAX {
            return;
        }
        if self.bytes.len() < offset + bytes.len() {
            self.bytes.resize(offset + bytes.len(), None);
        }
        for (known, &byte) in self.bytes[offset..].iter_mut().zip(bytes) {
            self.contradicts |= known.is_some_and(|known| known != byte);
            known.get_or_insert(byte);
        }
    }

    /// The bytes from a place on, up to a hole.
    fn at(&self, place: usize, count: usize) -> Vec<u8> {
        let rest = self.bytes.get(place..).unwrap_or_default();
        rest.iter().take(count).copied().map_while(|byte| byte).collect()
    }

    fn open(&mut self, range: Range<usize>) {
        let end = range.end.min(self.open.len());
        self.open[range.start.min(end)..end].fill(true);
    }

    /// Opens what may be read. From a hole on where a header should be, or a header that is none,
    /// everything is open: there the loop must search.
    fn walk(&mut self) {
        self.open = vec![self.contradicts; self.bytes.len()];
        match header(&self.at(0, HEADER_BYTES)) {
            Some(_) => self.walk_records(0),
            None => self.walk_foreign(),
        }
    }

    fn walk_records(&mut self, from: usize) {
        let (mut at, mut hello_left) = (from, None);
        while at < self.bytes.len() {
            let bytes = self.at(at, HEADER_BYTES + 4);
            let Some((content, length)) = header(&bytes) else {
                return self.open(at..self.bytes.len());
            };
            let mut read = HEADER_BYTES;
            if content == HANDSHAKE {
                let left = hello_left.get_or_insert_with(|| message_bytes(&bytes[HEADER_BYTES..]));
                let part = length.min(*left);
                *left -= part;
                read += part;
            }
            self.open(at..at + read);
            at += HEADER_BYTES + length;
        }
    }

    /// What does not begin with a record is not TLS, until a hello comes late: behind STARTTLS, or
    /// through a proxy.
    fn walk_foreign(&mut self) {
        self.open(0..HEADER_BYTES);
        let is_hello = |place: &usize| match self.at(*place, HEADER_BYTES + 1)[..] {
            [HANDSHAKE, 3, 0..=4, _, _, kind] => [CLIENT_HELLO, SERVER_HELLO].contains(&kind),
            _ => false,
        };
        if let Some(hello) = (0..self.bytes.len()).find(is_hello) {
            self.open(hello.saturating_sub(PREFIX_BYTES)..hello);
            self.walk_records(hello);
        }
    }
}

/// Type and length of the record that begins here.
fn header(bytes: &[u8]) -> Option<(u8, usize)> {
    let [content @ 20..=23, 3, _, high, low, ..] = *bytes else { return None };
    let length = usize::from(u16::from_be_bytes([high, low]));
    (length <= RECORD_BYTES_MAX).then_some((content, length))
}

/// The bytes of a handshake message, its header of four included.
fn message_bytes(header: &[u8]) -> usize {
    match header {
        [_, a, b, c] => 4 + u32::from_be_bytes([0, *a, *b, *c]) as usize,
        _ => 0,
    }
}

/// A repeated segment repeats its bytes: noise goes by the place in the stream.
fn noise(seed: u64, offset: usize) -> u8 {
    let mixed = (seed ^ offset as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).to_be_bytes()[3]
}
