//! Hostile input: nothing that comes from a capture or a wire may panic, hang, lose count of a
//! frame or make memory grow.
//!
//! The corpus lies beside the repository (`../shared/corpus/malformed`); without it that test says
//! so and passes. Everything runs through the whole loop, to the end of every flow. Cases made in
//! code, the floods among them, are always there.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use fastpath::burst::{Carrier, PortIndex};
use fastpath::lcore::{Lcore, LcoreConfig, Outlets};
use fastpath::parse::hello;
use fastpath::parse::ja4::Fingerprinter;
use fastpath::policy::handoff;
use fastpath::policy::snapshot::{Policy, Snapshot};
use fastpath::port::mem::{Buffer, MemPort};
use fastpath::port::pcap::{PcapError, PcapPort};
use fastpath::port::{Port, Rx};
use fastpath::time::Nanos;

/// Flows at once: fewer than a flood has.
const FLOWS: usize = 1024;

/// A gap between two frames costs some forty empty bursts at most (`port/mem/pace.rs`): so the
/// loop turns no more often than by a multiple of the frames.
const POLLS_PER_FRAME: u64 = 64;

fn lcore<P: Port<Frame = Buffer>>(port: P) -> (Lcore<P>, Outlets) {
    static SNAPSHOT: LazyLock<Arc<Snapshot>> =
        LazyLock::new(|| Arc::new(Snapshot::compile(Policy::catalogue().unwrap()).unwrap()));
    let (_publisher, subscriber) = handoff::channel(Arc::clone(&SNAPSHOT));
    let config = LcoreConfig { flows: FLOWS, ..LcoreConfig::default() };
    Lcore::new(port, config, subscriber)
}

/// Plays a port through the loop to its end.
fn play<P: Port<Frame = Buffer>>(port: P, name: &str) -> Lcore<P> {
    let (mut lcore, outlets) = lcore(port);
    play_to_end(&mut lcore, &outlets, name);
    lcore
}

fn play_to_end<P: Port<Frame = Buffer>>(lcore: &mut Lcore<P>, outlets: &Outlets, name: &str) {
    let mut polls = 0;
    loop {
        let rx = lcore.run_once();
        while outlets.events.next().is_some() {}
        let totals = lcore.totals();
        assert!(totals.port.balanced(), "{name}: {totals:?}");
        assert!(totals.flows.live <= FLOWS as u64, "{name}: {totals:?}");
        polls += 1;
        assert!(polls <= POLLS_PER_FRAME * (totals.port.rx_frames + 2), "{name} does not end");
        if rx == Rx::Closed {
            break;
        }
    }
    while lcore.finish() {
        while outlets.events.next().is_some() {}
    }
    assert_eq!(lcore.totals().flows.live, 0, "{name}");
}

/// The frames that a run had.
fn frames<P: Port>(lcore: &Lcore<P>) -> u64 {
    lcore.port().counters().rx_frames
}

/// Runs `work` and holds it to a bound of memory that is the same for every input: what an lcore
/// takes at its start, and what a port takes to read.
fn bounded<T>(input_bytes: usize, name: &str, work: impl FnOnce() -> T) -> T {
    static START: LazyLock<u64> = LazyLock::new(|| {
        let nothing = || drop(play(MemPort::new(Vec::new()), "nothing"));
        nothing(); // what a process makes once
        allocation_counter::measure(nothing).bytes_max
    });
    let start = *START;
    let mut result = None;
    let memory = allocation_counter::measure(|| result = Some(work()));
    // Four times: the bytes themselves, and the frames that a test makes of them.
    let bound = start + PORT_BYTES_MAX + 4 * input_bytes as u64;
    assert!(memory.bytes_max <= bound, "{name}: {memory:?}, at most {bound}");
    result.unwrap()
}

/// The window of a capture, the buffers of a burst, and the tables of a fingerprinter beside it.
const PORT_BYTES_MAX: u64 = 8 << 20;

/// Plays bytes that are no capture: as a frame, as the payload of a TCP stream, as a datagram, and
/// as hello messages.
fn play_raw(bytes: &[u8], name: &str) -> u64 {
    let mut arriving = vec![(Nanos(1), PortIndex(0), bytes.to_vec())];
    let segments = bytes.chunks(SEGMENT_BYTES).zip(0_u64..);
    arriving.extend(segments.map(|(payload, n)| (Nanos(2 + n), PortIndex(0), segment(n, payload))));
    let mut maker = Fingerprinter::default();
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
        let _ = (
            hello::client_hello(&message, Carrier::Tcp, &mut maker),
            hello::server_hello(&message),
        );
    }
    let _ = (hello::client_hello(bytes, Carrier::Tcp, &mut maker), hello::server_hello(bytes));
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
            Ok(_) => {
                captures += 1;
                let (frames, is_damaged) = bounded(0, &name, || {
                    let lcore = play(PcapPort::open(path).unwrap(), &name);
                    (frames(&lcore), lcore.port().note().is_some())
                });
                played += frames;
                damaged += u32::from(is_damaged);
            }
            Err(PcapError::Open { .. } | PcapError::Read { .. }) => {
                panic!("cannot read {name}")
            }
            Err(error) => {
                assert!(!error.to_string().is_empty() && !error.hint().is_empty());
                raw += 1;
                let bytes = std::fs::read(path).unwrap();
                played += bounded(bytes.len(), &name, || play_raw(&bytes, &name));
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

/// Frames of a flood, each of another client, 20 microseconds apart.
const FLOOD_FRAMES: u32 = 6000;

/// What one client of a flood sends, by its number.
type Client = fn(u32) -> Vec<Vec<u8>>;

/// State that is begun and never ended: what each kind of pool is made for.
const FLOODS: [(&str, Client); 7] = [
    ("half ClientHellos", |n| vec![tcp(n, 0, SYN, &[]), tcp(n, 1, ACK, &half_hello())]),
    ("segments before their turn", |n| vec![tcp(n, 0, SYN, &[]), tcp(n, 900, ACK, &[0x17; 1000])]),
    ("SYNs", |n| vec![tcp(n, 0, SYN, &[])]),
    ("first fragments", |n| vec![fragment(n, 0x2000)]),
    ("last fragments", |n| vec![fragment(n, 0x00b9)]),
    ("long headers of QUIC", |n| {
        let id = n.to_be_bytes();
        let head = [&[0xc3, 0, 0, 0, 1, 4][..], &id, &[0, 0, 0x44, 0x9e]].concat();
        vec![udp(n, 443, &[head, vec![0x5a; 1182]].concat())]
    }),
    ("first parts of a DTLS hello", |n| {
        let record = [22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 112];
        let message = [1, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 100];
        vec![udp(n, 5684, &[&record[..], &message, &[3; 100]].concat())]
    }),
];

/// The first half of what may be a ClientHello of 512 bytes.
fn half_hello() -> Vec<u8> {
    let mut record = vec![22, 3, 1, 2, 4, 1, 0, 2, 0, 3, 3];
    record.resize(256, 0xaa);
    record
}

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

fn ip(n: u32, protocol: u8, id: u16, fragment: u16, body: &[u8]) -> Vec<u8> {
    let total = u16::try_from(20 + body.len()).unwrap();
    let client = (0x0a00_0000 + n).to_be_bytes();
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0, 0x45, 0];
    frame.extend([total, id, fragment].map(u16::to_be_bytes).concat());
    frame.extend([64, protocol, 0, 0]);
    frame.extend([client, [203, 0, 113, 9]].concat());
    frame.extend(body);
    frame
}

fn tcp(n: u32, seq: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let ports = [0x9c, 0x40, 0x01, 0xbb];
    let rest = [0, 0, 0, 0, 0x50, flags, 1, 0, 0, 0, 0, 0];
    ip(n, 6, 0, 0x4000, &[&ports[..], &seq.to_be_bytes(), &rest, payload].concat())
}

fn udp(n: u32, port: u16, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(8 + payload.len()).unwrap();
    let head = [40_000, port, len, 0].map(u16::to_be_bytes).concat();
    ip(n, 17, 0, 0x4000, &[head, payload.to_vec()].concat())
}

/// A fragment of a datagram of its own, with flags and offset as they stand in the header.
fn fragment(n: u32, flags_and_offset: u16) -> Vec<u8> {
    let id = u16::try_from(n & 0xffff).unwrap();
    ip(n, 6, id, flags_and_offset, &[0x16; 1480])
}

fn flood(client: Client) -> MemPort {
    let frames = (0..FLOOD_FRAMES).flat_map(client).zip(1_u64..);
    MemPort::new(frames.map(|(frame, n)| (Nanos(20_000 * n), PortIndex(0), frame)).collect())
}

#[test]
fn a_flood_of_unfinished_state_takes_no_memory_and_loses_no_frame() {
    for (name, client) in FLOODS {
        let (mut lcore, outlets) = lcore(flood(client));
        for _ in 0..WARM_BURSTS {
            lcore.run_once();
            while outlets.events.next().is_some() {}
        }
        let warm = lcore.totals();
        let memory = allocation_counter::measure(|| play_to_end(&mut lcore, &outlets, name));
        assert_eq!((memory.count_total, memory.bytes_current), (0, 0), "{name}: {memory:?}");
        let totals = lcore.totals();
        assert!(warm.port.rx_frames < totals.port.rx_frames / 2, "{name} goes on: {warm:?}");
        assert_eq!(totals.port.rx_frames, totals.port.tx_frames, "{name}: {totals:?}");
    }
}

/// By then every pool has been touched, and the table is full.
const WARM_BURSTS: usize = 48;
