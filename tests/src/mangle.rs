//! Captures made worse on purpose, alike every time: what a network, a NIC or a late start does to
//! what a tap sees. Only classic pcap with Ethernet, IPv4 and TCP; other frames stay as they are. A
//! server that is further away: [`stretch`].

pub mod stretch;

use std::io;
use std::net::SocketAddrV4;
use std::path::Path;

use crate::frame::{ACK, FIN, RST, SYN};

/// A capture in memory.
#[derive(Clone, Debug, Default)]
pub struct Capture {
    /// Frames in order of time: nanoseconds since 1970, and bytes from the Ethernet header on.
    pub frames: Vec<(u64, Vec<u8>)>,
}

/// What is done to a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mangle {
    /// One in a hundred data segments is lost on either side of the tap and sent again: it is seen
    /// late, or twice. A sender takes a little more than a round trip of so many nanoseconds to
    /// notice.
    Resend(u64),
    /// One in a hundred data segments is never seen, though its receiver had it.
    Miss,
    /// One in twenty segments changes places with the next one of its direction.
    Reorder,
    /// Segments that follow one another within a millisecond are merged, as a NIC does (GRO).
    Merge,
    /// Only the second half of the time is seen.
    SecondHalf,
}

/// Where the fields of a frame are, and what they say.
#[derive(Clone, Copy, Debug)]
struct Segment {
    /// Addresses and ports, as they stand in the frame.
    flow: [u8; 12],
    seq: u32,
    ack: u32,
    flags: u8,
    /// Where the payload begins and ends; an Ethernet trailer is none.
    payload: (usize, usize),
}

const ETHERNET: usize = 14;
const FILE_HEADER: usize = 24;
const FRAME_HEADER: usize = 16;
const MAGIC_MICROS: u32 = 0xa1b2_c3d4;
const MAGIC_NANOS: u32 = 0xa1b2_3c4d;
/// Segments further apart than this are neither swapped nor merged.
const TOGETHER: u64 = 1_000_000;
/// The longest merged frame, as far as the IPv4 length goes.
const MERGED_MAX: usize = 65_000;

impl Capture {
    /// Reads a little-endian classic pcap.
    ///
    /// # Errors
    /// When the file cannot be read or is none.
    pub fn read(path: &Path) -> io::Result<Self> {
        let bytes = std::fs::read(path)?;
        let word =
            |at: usize| bytes.get(at..at + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let unit = match word(0) {
            Some(MAGIC_MICROS) => 1_000,
            Some(MAGIC_NANOS) => 1,
            _ => return Err(io::Error::other(format!("{}: no classic pcap", path.display()))),
        };
        let (mut frames, mut at) = (Vec::new(), FILE_HEADER);
        while let (Some(seconds), Some(part), Some(length)) = (word(at), word(at + 4), word(at + 8))
        {
            let begin = at + FRAME_HEADER;
            at = begin + length as usize;
            let Some(frame) = bytes.get(begin..at) else { break };
            let time = u64::from(seconds) * 1_000_000_000 + u64::from(part) * unit;
            frames.push((time, frame.to_vec()));
        }
        Ok(Self { frames })
    }

    /// Writes it as a classic pcap with nanoseconds.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut bytes = Vec::new();
        let header = [MAGIC_NANOS, 0x0004_0002, 0, 0, 1 << 18, 1];
        bytes.extend(header.iter().flat_map(|word| word.to_le_bytes()));
        for (time, frame) in &self.frames {
            let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
            let seconds = u32::try_from(time / 1_000_000_000).map_err(io::Error::other)?;
            let part = u32::try_from(time % 1_000_000_000).map_err(io::Error::other)?;
            bytes.extend([seconds, part, length, length].iter().flat_map(|w| w.to_le_bytes()));
            bytes.extend(frame);
        }
        std::fs::write(path, bytes)
    }

    /// Makes it worse. Which frames are hit follows from `seed` alone.
    #[must_use]
    pub fn mangled(mut self, how: Mangle, seed: u64) -> Self {
        let mut chance = Chance(seed | 1);
        match how {
            Mangle::Resend(rtt) => self.resend(rtt + rtt / 4, &mut chance),
            Mangle::Miss => self.frames.retain(|(_, frame)| {
                !(segment(frame).is_some_and(|s| s.has_data()) && chance.one_in(100))
            }),
            Mangle::Reorder => self.reorder(&mut chance),
            Mangle::Merge => self.merge(),
            Mangle::SecondHalf => {
                let half = self.half_time();
                self.frames.retain(|&(time, _)| time >= half);
            }
        }
        self.frames.sort_by_key(|&(time, _)| time);
        self
    }

    /// The middle of its time, nanoseconds since 1970.
    #[must_use]
    pub fn half_time(&self) -> u64 {
        let time = |frame: Option<&(u64, Vec<u8>)>| frame.map_or(0, |&(time, _)| time);
        let (first, last) = (time(self.frames.first()), time(self.frames.last()));
        first + (last - first) / 2
    }

    /// When the other side first acknowledges frame `index`, or a resend is due.
    fn resent_at(&self, index: usize, hit: &Segment, after: u64) -> u64 {
        let (time, _) = self.frames[index];
        let end = hit.end();
        let due = time + after;
        let later = self.frames[index + 1..].iter().take_while(|(time, _)| *time < due);
        let acknowledged = later.filter_map(|(time, frame)| Some((*time, segment(frame)?)));
        let acknowledged = acknowledged.filter(|(_, other)| {
            other.flow == reversed(hit.flow)
                && other.flags & ACK != 0
                && other.ack.wrapping_sub(end) < 1 << 31
        });
        acknowledged.map(|(time, _)| time - 1).next().unwrap_or(due).max(time)
    }

    fn resend(&mut self, after: u64, chance: &mut Chance) {
        let mut seen_twice = Vec::new();
        for index in 0..self.frames.len() {
            let Some(hit) = segment(&self.frames[index].1) else { continue };
            if !hit.has_data() || !chance.one_in(100) {
                continue;
            }
            if chance.one_in(2) {
                seen_twice.push((self.frames[index].0 + after, self.frames[index].1.clone()));
            } else {
                self.frames[index].0 = self.resent_at(index, &hit, after);
            }
        }
        self.frames.extend(seen_twice);
    }

    fn reorder(&mut self, chance: &mut Chance) {
        for index in 0..self.frames.len() {
            let (time, Some(hit)) = (self.frames[index].0, segment(&self.frames[index].1)) else {
                continue;
            };
            if !hit.has_data() || !chance.one_in(20) {
                continue;
            }
            let near = self.frames[index + 1..].iter().take_while(|(t, _)| t - time < TOGETHER);
            let next = near.filter_map(|(t, frame)| Some((*t, segment(frame)?)));
            let next = next.filter(|(_, other)| other.flow == hit.flow).map(|(t, _)| t + 1).next();
            self.frames[index].0 = next.unwrap_or(time);
        }
    }

    fn merge(&mut self) {
        let frames = std::mem::take(&mut self.frames);
        for (time, frame) in frames {
            let Some(second) = segment(&frame) else {
                self.frames.push((time, frame));
                continue;
            };
            let before = self.frames.iter_mut().rev().take_while(|(t, _)| time - t < TOGETHER);
            let before = before.filter(|(_, f)| segment(f).is_some_and(|s| s.flow == second.flow));
            let Some((when, into)) = before.take(1).find(|(_, first)| follows(first, &second))
            else {
                self.frames.push((time, frame));
                continue;
            };
            *when = time;
            append(into, &frame, &second);
        }
    }
}

impl Segment {
    /// The sequence number after its payload.
    fn end(&self) -> u32 {
        let length = u32::try_from(self.payload.1 - self.payload.0).unwrap_or(u32::MAX);
        self.seq.wrapping_add(length)
    }

    fn has_data(&self) -> bool {
        self.payload.1 > self.payload.0 && self.flags & (SYN | FIN | RST) == 0
    }

    /// Its receiver acts on it: it is no mere acknowledgment.
    fn is_heeded(&self) -> bool {
        self.payload.1 > self.payload.0 || self.flags & (SYN | FIN | RST) != 0
    }
}

/// A small generator (xorshift64).
struct Chance(u64);

impl Chance {
    fn one_in(&mut self, n: u64) -> bool {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.is_multiple_of(n)
    }
}

/// Whether `second` continues the segment in `first` and may be merged into it.
fn follows(first: &[u8], second: &Segment) -> bool {
    segment(first).is_some_and(|first| {
        first.has_data()
            && second.has_data()
            && first.end() == second.seq
            && first.payload.1 + second.payload.1 < MERGED_MAX
    })
}

/// Appends the payload of `frame` to the frame before it.
fn append(into: &mut Vec<u8>, frame: &[u8], second: &Segment) {
    if let Some(first) = segment(into) {
        into.truncate(first.payload.1);
        into.extend(&frame[second.payload.0..second.payload.1]);
        let length = u16::try_from(into.len() - ETHERNET).unwrap_or(u16::MAX);
        into[ETHERNET + 2..ETHERNET + 4].copy_from_slice(&length.to_be_bytes());
    }
}

/// The name of a connection: addresses and ports as they stand in a frame from its client.
#[must_use]
pub fn flow(client: SocketAddrV4, server: SocketAddrV4) -> [u8; 12] {
    let mut flow = [0; 12];
    flow[..4].copy_from_slice(&client.ip().octets());
    flow[4..8].copy_from_slice(&server.ip().octets());
    flow[8..10].copy_from_slice(&client.port().to_be_bytes());
    flow[10..].copy_from_slice(&server.port().to_be_bytes());
    flow
}

fn segment(frame: &[u8]) -> Option<Segment> {
    let ip = frame.get(ETHERNET..)?;
    let is_tcp = frame.get(12..14)? == [8, 0] && ip.first()? >> 4 == 4 && *ip.get(9)? == 6;
    let header = usize::from(ip[0] & 15) * 4;
    let length = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
    let tcp = ip.get(header..length)?;
    let word =
        |at: usize| tcp.get(at..at + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
    let mut flow = [0; 12];
    flow[..8].copy_from_slice(ip.get(12..20)?);
    flow[8..].copy_from_slice(tcp.get(..4)?);
    let begin = ETHERNET + header + usize::from(tcp.get(12)? >> 4) * 4;
    let payload = (begin, ETHERNET + length);
    (is_tcp && begin <= payload.1).then_some(())?;
    Some(Segment { flow, seq: word(4)?, ack: word(8)?, flags: *tcp.get(13)?, payload })
}

fn reversed(flow: [u8; 12]) -> [u8; 12] {
    let mut other = flow;
    other[..4].copy_from_slice(&flow[4..8]);
    other[4..8].copy_from_slice(&flow[..4]);
    other[8..10].copy_from_slice(&flow[10..]);
    other[10..].copy_from_slice(&flow[8..10]);
    other
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{self, tcp};

    fn frames(count: u32, apart: u64) -> Capture {
        let source = "198.51.100.1:40000".parse().unwrap();
        let destination = "203.0.113.1:443".parse().unwrap();
        let frame = |n: u32| {
            let (seq, ack, flags, payload) = (1 + 10 * n, 1, ACK, &[7; 10][..]);
            let segment =
                frame::Segment { source, destination, vlan: None, seq, ack, flags, payload };
            (1_000_000_000 + apart * u64::from(n), tcp(&segment))
        };
        Capture { frames: (0..count).map(frame).collect() }
    }

    fn sequence(capture: &Capture) -> Vec<u32> {
        capture.frames.iter().map(|(_, frame)| segment(frame).unwrap().seq).collect()
    }

    #[test]
    fn merged_segments_hold_the_same_bytes() {
        let merged = frames(5, 1000).mangled(Mangle::Merge, 1);
        assert_eq!(sequence(&merged), [1]);
        let segment = segment(&merged.frames[0].1).unwrap();
        assert_eq!(segment.payload.1 - segment.payload.0, 50);
        assert_eq!(frames(5, 2 * TOGETHER).mangled(Mangle::Merge, 1).frames.len(), 5);
    }

    #[test]
    fn reordered_segments_are_all_there() {
        let reordered = frames(200, 1000).mangled(Mangle::Reorder, 1);
        let mut all = sequence(&reordered);
        assert!(!all.is_sorted());
        all.sort_unstable();
        assert_eq!(all, sequence(&frames(200, 1000)));
    }

    #[test]
    fn resent_segments_are_late_or_double_and_none_is_missing() {
        let resent = frames(1000, 1000).mangled(Mangle::Resend(20_000_000), 1);
        assert!(resent.frames.len() > 1000 && !sequence(&resent).is_sorted());
        let mut all = sequence(&resent);
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 1000);
    }

    #[test]
    fn missed_segments_are_gone_and_half_is_half() {
        let missed = frames(1000, 1000).mangled(Mangle::Miss, 1).frames.len();
        assert!((980..1000).contains(&missed), "{missed}");
        assert_eq!(frames(1000, 1000).mangled(Mangle::SecondHalf, 1).frames.len(), 500);
    }
}
