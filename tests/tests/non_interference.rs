//! Privacy P1: the loop does not depend on payload. A capture is replayed, and again with every
//! payload byte replaced but those it may read: TLS record headers at walked boundaries, and the
//! hello of each direction. What it tells, counts and sends is the same.
//!
//! The walk here is a second one, made for this test: it knows the whole stream, and shares no code
//! with `parse`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::HashMap;
use std::path::Path;

use fastpath::burst::{Burst, Frame};
use fastpath::port::pcap::PcapPort;
use fastpath::port::{Port, Rx};
use tests::connection::{Arrival, busy_hour};
use tests::play::{self, Run};

/// Sender, receiver, ports.
type Way = [u8; 12];

/// The payload of a TCP segment over IPv4 in a frame.
struct Payload {
    way: Way,
    seq: u32,
    syn: bool,
    start: usize,
    len: usize,
}

/// One direction of a connection: what each byte of it is, by offset from its first byte.
#[derive(Default)]
struct Stream {
    first: u32,
    bytes: Vec<Option<u8>>,
    /// The loop may look at this byte.
    open: Vec<bool>,
}

const HANDSHAKE: u8 = 22;

fn payload(frame: &[u8]) -> Option<Payload> {
    if frame.get(12..14)? != [8, 0] || *frame.get(23)? != 6 {
        return None;
    }
    let header = usize::from(frame[14] & 15) * 4;
    let total = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
    let tcp = 14 + header;
    let start = tcp + usize::from(*frame.get(tcp + 12)? >> 4) * 4;
    let way = [&frame[26..34], frame.get(tcp..tcp + 4)?].concat().try_into().ok()?;
    let seq = u32::from_be_bytes(frame.get(tcp + 4..tcp + 8)?.try_into().ok()?);
    let len = (14 + total).checked_sub(start)?;
    (start + len <= frame.len()).then_some(Payload {
        way,
        seq,
        syn: frame[tcp + 13] & 2 != 0,
        start,
        len,
    })
}

/// Joins the streams of all connections whose SYN is there. A port used twice is one stream less:
/// the second SYN begins it anew, and the first is left as it is.
fn streams(arrivals: &[Arrival]) -> HashMap<(Way, u32), Stream> {
    let mut streams: HashMap<(Way, u32), Stream> = HashMap::new();
    let mut current: HashMap<Way, u32> = HashMap::new();
    for (.., frame) in arrivals {
        let Some(payload) = payload(frame) else { continue };
        if payload.syn {
            current.insert(payload.way, payload.seq);
        }
        let Some(&syn) = current.get(&payload.way) else { continue };
        let stream = streams.entry((payload.way, syn)).or_default();
        stream.first = syn.wrapping_add(1);
        let offset = payload.seq.wrapping_sub(stream.first) as usize;
        if payload.len == 0 || offset > 1 << 28 {
            continue;
        }
        if stream.bytes.len() < offset + payload.len {
            stream.bytes.resize(offset + payload.len, None);
        }
        for (i, &byte) in frame[payload.start..payload.start + payload.len].iter().enumerate() {
            stream.bytes[offset + i] = Some(byte);
        }
    }
    for stream in streams.values_mut() {
        stream.walk();
    }
    streams
}

impl Stream {
    /// Opens record headers and the hello, the first handshake message. From a hole on everything
    /// is open: there the loop must search.
    fn walk(&mut self) {
        self.open = vec![false; self.bytes.len()];
        let (mut at, mut hello_left) = (0, None);
        while at < self.bytes.len() {
            let bytes: Vec<u8> =
                self.bytes[at..].iter().take(9).copied().map_while(|byte| byte).collect();
            let [content, _, _, high, low, ref message @ ..] = bytes[..] else {
                return self.open[at..].fill(true);
            };
            let length = usize::from(u16::from_be_bytes([high, low]));
            let mut read = 5;
            if content == HANDSHAKE {
                let left = hello_left.get_or_insert_with(|| message_bytes(message));
                let part = length.min(*left);
                *left -= part;
                read += part;
            }
            let end = (at + read).min(self.bytes.len());
            self.open[at..end].fill(true);
            at += 5 + length;
        }
    }
}

/// The bytes of a handshake message, its header of four included.
fn message_bytes(header: &[u8]) -> usize {
    match header {
        [_, a, b, c] => 4 + u32::from_be_bytes([0, *a, *b, *c]) as usize,
        _ => 0,
    }
}

/// The capture with every payload byte replaced that the loop may not read, and how many these are.
fn randomised(arrivals: &[Arrival], seed: u64) -> (Vec<Arrival>, usize) {
    let streams = streams(arrivals);
    let mut current: HashMap<Way, u32> = HashMap::new();
    let mut replaced = 0;
    let mut changed = arrivals.to_vec();
    for (.., frame) in &mut changed {
        let Some(payload) = payload(frame) else { continue };
        if payload.syn {
            current.insert(payload.way, payload.seq);
        }
        let Some(&syn) = current.get(&payload.way) else { continue };
        let stream = &streams[&(payload.way, syn)];
        let offset = payload.seq.wrapping_sub(stream.first) as usize;
        for i in 0..payload.len {
            if stream.open.get(offset + i) == Some(&false) {
                frame[payload.start + i] = noise(seed, offset + i);
                replaced += 1;
            }
        }
    }
    (changed, replaced)
}

/// A repeated segment repeats its bytes: noise goes by the place in the stream.
fn noise(seed: u64, offset: usize) -> u8 {
    let mixed = (seed ^ offset as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).to_be_bytes()[3]
}

fn lab_capture() -> Vec<Arrival> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("lab/captures/lab.pcap");
    let mut port = PcapPort::open(&path).unwrap();
    let (mut burst, mut arrivals) = (Burst::new(), Vec::new());
    while port.rx_burst(&mut burst) != Rx::Closed {
        let (frames, packets) = burst.split();
        for (i, frame) in frames.iter().enumerate() {
            arrivals.push((packets.at[i], packets.port[i], frame.bytes().to_vec()));
        }
        port.tx_burst(&mut burst);
    }
    arrivals
}

fn headers(run: &Run) -> Vec<(fastpath::time::Nanos, u16, Vec<u8>)> {
    let header = |frame: &[u8]| match payload(frame) {
        Some(payload) => frame[..payload.start].to_vec(),
        None => frame.to_vec(),
    };
    run.sent.iter().map(|sent| (sent.at, sent.port.0, header(sent.frame.bytes()))).collect()
}

fn assert_no_interference(arrivals: &[Arrival], name: &str) {
    let plain = play::frames(arrivals.to_vec());
    assert!(plain.totals.exchanges > 10, "{name} has exchanges to tell of");
    let bytes: usize = arrivals.iter().map(|(.., frame)| frame.len()).sum();
    for seed in 1..4 {
        let (changed, replaced) = randomised(arrivals, seed);
        assert!(replaced > bytes / 2, "{name}: only {replaced} of {bytes} bytes are replaced");
        let run = play::frames(changed);
        assert_eq!(run.told, plain.told, "{name}, seed {seed}");
        assert_eq!(run.totals, plain.totals, "{name}, seed {seed}");
        assert!(headers(&run) == headers(&plain), "{name}, seed {seed}: frames out differ");
    }
}

#[test]
fn what_the_lab_capture_gives_does_not_depend_on_payload() {
    assert_no_interference(&lab_capture(), "the lab's capture");
}

#[test]
fn what_made_up_connections_give_does_not_depend_on_payload() {
    assert_no_interference(&busy_hour(12, "api.openai.com"), "a busy hour");
}

/// The test can fail: a byte that the loop does read makes a difference.
#[test]
fn a_record_header_makes_a_difference() {
    let arrivals = busy_hour(12, "api.openai.com");
    let plain = play::frames(arrivals.clone());
    let mut changed = arrivals;
    let is_request = |frame: &[u8]| {
        payload(frame)
            .is_some_and(|p| p.len > 600 && frame[p.start] == 23 && p.way[10..] == [1, 187])
    };
    let frame =
        changed.iter_mut().map(|(.., frame)| frame).find(|frame| is_request(frame)).unwrap();
    let start = payload(frame).unwrap().start;
    frame[start + 4] ^= 1;
    let run = play::frames(changed);
    assert!(run.told != plain.told || run.totals != plain.totals);
}

/// And so does a name in a hello.
#[test]
fn a_server_name_makes_a_difference() {
    let plain = play::frames(busy_hour(3, "api.openai.com"));
    let other = play::frames(busy_hour(3, "api.openai.org"));
    assert!(plain.told.flows[0].endpoint.is_some() && other.told.flows[0].endpoint.is_none());
}
