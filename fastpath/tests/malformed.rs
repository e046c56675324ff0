//! Hostile input: nothing that comes from a capture or a wire may panic, hang or lose count of a
//! frame.
//!
//! The corpus lies beside the repository (`../shared/corpus/malformed`); without it that test says
//! so and passes. Everything runs through the whole loop, to the end of every flow. Cases made in
//! code are always there.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use fastpath::burst::{Carrier, PortIndex};
use fastpath::lcore::{Lcore, LcoreConfig};
use fastpath::parse::hello;
use fastpath::policy::handoff;
use fastpath::policy::snapshot::{Policy, Snapshot};
use fastpath::port::mem::{Buffer, MemPort};
use fastpath::port::pcap::{PcapError, PcapPort};
use fastpath::port::{Port, Rx};
use fastpath::time::Nanos;

/// Plays a port through the loop to its end.
fn play<P: Port<Frame = Buffer>>(port: P, name: &str) -> Lcore<P> {
    static SNAPSHOT: LazyLock<Arc<Snapshot>> =
        LazyLock::new(|| Arc::new(Snapshot::compile(Policy::catalogue().unwrap()).unwrap()));
    let (_publisher, subscriber) = handoff::channel(Arc::clone(&SNAPSHOT));
    let config = LcoreConfig { flows: 1024, ..LcoreConfig::default() };
    let (mut lcore, outlets) = Lcore::new(port, config, subscriber);
    for _ in 0..POLLS_MAX {
        let rx = lcore.run_once();
        while outlets.events.next().is_some() {}
        let counters = lcore.port().counters();
        assert!(counters.balanced(), "{name}: {counters:?}");
        if rx == Rx::Closed {
            while lcore.finish() {
                while outlets.events.next().is_some() {}
            }
            return lcore;
        }
    }
    panic!("{name} does not end");
}

/// The frames that a run had.
fn frames<P: Port>(lcore: &Lcore<P>) -> u64 {
    lcore.port().counters().rx_frames
}

/// Far above what any file of the corpus needs, gaps in time included.
const POLLS_MAX: usize = 1_000_000;

/// Plays bytes that are no capture: as a frame, as the payload of a TCP stream, as a datagram, and
/// as hello messages.
fn play_raw(bytes: &[u8], name: &str) -> u64 {
    let mut arriving = vec![(Nanos(1), PortIndex(0), bytes.to_vec())];
    let segments = bytes.chunks(SEGMENT_BYTES).zip(0_u64..);
    arriving.extend(segments.map(|(payload, n)| (Nanos(2 + n), PortIndex(0), segment(n, payload))));
    arriving.extend(
        bytes
            .chunks(DATAGRAM_BYTES)
            .zip(0_u64..)
            .map(|(payload, n)| (Nanos::from_secs(1) + Nanos(n), PortIndex(0), datagram(payload))),
    );
    for kind in [1, 2] {
        let body = bytes.get(..bytes.len().min(0xff_ffff)).unwrap_or_default();
        let len = u32::try_from(body.len()).unwrap().to_be_bytes();
        let message = [&[kind], &len[1..], body].concat();
        let _ = (hello::client_hello(&message, Carrier::Tcp), hello::server_hello(&message));
    }
    let _ = (hello::client_hello(bytes, Carrier::Tcp), hello::server_hello(bytes));
    frames(&play(MemPort::new(arriving), name))
}

const SEGMENT_BYTES: usize = 1400;

/// The `n`-th segment of a stream from a client to port 443.
fn segment(n: u64, payload: &[u8]) -> Vec<u8> {
    let [total_high, total_low] = u16::try_from(40 + payload.len()).unwrap().to_be_bytes();
    let sequence = u32::try_from(n * SEGMENT_BYTES as u64).unwrap().to_be_bytes();
    let ethernet = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0];
    let ip =
        [0x45, 0, total_high, total_low, 0, 0, 0, 0, 64, 6, 0, 0, 198, 51, 100, 1, 203, 0, 113, 9];
    let tcp = [0x9c, 0x40, 0x01, 0xbb, 0, 0, 0, 0, 0, 0, 0, 1, 0x50, 0x18, 1, 0, 0, 0, 0, 0];
    let mut frame = [&ethernet[..], &ip, &tcp, payload].concat();
    frame[38..42].copy_from_slice(&sequence);
    frame
}

const DATAGRAM_BYTES: usize = 8192;

/// A datagram from a client to port 443.
fn datagram(payload: &[u8]) -> Vec<u8> {
    let [total_high, total_low] = u16::try_from(28 + payload.len()).unwrap().to_be_bytes();
    let [high, low] = u16::try_from(8 + payload.len()).unwrap().to_be_bytes();
    let ethernet = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0];
    let ip =
        [0x45, 0, total_high, total_low, 0, 0, 0, 0, 64, 17, 0, 0, 198, 51, 100, 1, 203, 0, 113, 9];
    let udp = [0x9c, 0x40, 0x01, 0xbb, high, low, 0, 0];
    [&ethernet[..], &ip, &udp, payload].concat()
}

fn files_below(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, files);
        } else {
            files.push(path);
        }
    }
}

#[test]
fn the_malformed_corpus_plays_without_a_panic() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus/malformed");
    if !corpus.is_dir() {
        println!("skipped: {} is not there", corpus.display());
        return;
    }
    let mut files = Vec::new();
    files_below(&corpus, &mut files);
    files.sort();
    let (mut captures, mut raw, mut damaged, mut played) = (0, 0, 0, 0);
    for path in &files {
        let name = path.display().to_string();
        match PcapPort::open(path) {
            Ok(port) => {
                captures += 1;
                let lcore = play(port, &name);
                played += frames(&lcore);
                damaged += u32::from(lcore.port().note().is_some());
            }
            Err(PcapError::Open { .. } | PcapError::Read { .. }) => {
                panic!("cannot read {name}")
            }
            Err(error) => {
                assert!(!error.to_string().is_empty() && !error.hint().is_empty());
                raw += 1;
                played += play_raw(&std::fs::read(path).unwrap(), &name);
            }
        }
    }
    println!("{captures} captures ({damaged} of them damaged), {raw} raw inputs, {played} frames");
    assert_eq!(captures + raw, files.len());
}

/// A classic pcap file with these records, each under a header with the given captured length.
fn pcap(records: &[(u32, &[u8])]) -> Vec<u8> {
    let mut file = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 1].map(u32::to_le_bytes).concat();
    for (captured, bytes) in records {
        file.extend([1, 0, *captured, *captured].map(u32::to_le_bytes).concat());
        file.extend(*bytes);
    }
    file
}

fn pcapng_with_block_length(length: u32) -> Vec<u8> {
    let section = [0x0a0d_0d0a, 28, 0x1a2b_3c4d, 1, u32::MAX, u32::MAX, 28];
    let interface = [1, 20, 1, 0, 20];
    let packet = [6, length, 0, 0, 1, 4, 4, 0, 36];
    [&section[..], &interface, &packet].concat().into_iter().flat_map(u32::to_le_bytes).collect()
}

#[test]
fn damaged_captures_made_in_code_play_up_to_the_damage() {
    let frame = segment(0, b"hello");
    let len = u32::try_from(frame.len()).unwrap();
    let whole = (len, &frame[..]);
    let cases = [
        ("sound", pcap(&[whole]), Some(1), "-"),
        ("zero bytes", Vec::new(), None, "capture_empty"),
        ("half a header", pcap(&[])[..20].to_vec(), None, "capture_truncated"),
        ("a header only", pcap(&[]), Some(0), "-"),
        ("cut in a packet", pcap(&[whole, (len, &frame[..9])]), Some(1), "capture_truncated"),
        (
            "cut in a record header",
            [pcap(&[whole]), vec![0; 7]].concat(),
            Some(1),
            "capture_truncated",
        ),
        ("absurd length", pcap(&[whole, (u32::MAX, &frame)]), Some(1), "capture_absurd_length"),
        ("absurd first length", pcap(&[(0x7fff_ffff, &frame)]), Some(0), "capture_absurd_length"),
        ("text", b"GET / HTTP/1.1".to_vec(), None, "capture_unknown_format"),
        ("sound pcapng", pcapng_with_block_length(36), Some(1), "-"),
        ("block of no length", pcapng_with_block_length(0), Some(0), "capture_bad_block"),
        ("block of odd length", pcapng_with_block_length(37), Some(0), "capture_bad_block"),
        ("block beyond the end", pcapng_with_block_length(400), Some(0), "capture_truncated"),
        ("block of 4 GiB", pcapng_with_block_length(u32::MAX - 3), Some(0), "capture_truncated"),
        ("block too short", pcapng_with_block_length(32), Some(0), "capture_bad_block"),
    ];
    for (name, file, expected, code) in cases {
        match PcapPort::from_reader(Cursor::new(file), name) {
            Ok(port) => {
                let lcore = play(port, name);
                assert_eq!(Some(frames(&lcore)), expected, "{name}");
                assert_eq!(lcore.port().note().map_or("-", PcapError::code), code, "{name}");
            }
            Err(error) => assert_eq!((expected, error.code()), (None, code), "{name}: {error}"),
        }
    }
}

#[test]
fn raw_bytes_made_in_code_are_frames_like_others() {
    for bytes in
        [&b""[..], &[0; 1], &[0x45; 14], &[0xff; 70_000], &[1, 0, 0, 0], &[1, 0xff, 0xff, 0xff]]
    {
        play_raw(bytes, "raw bytes");
    }
}
