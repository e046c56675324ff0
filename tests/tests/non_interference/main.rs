//! Privacy P1: the loop does not depend on payload. A capture is replayed, and again with every
//! payload byte replaced but those it may read ([`walk`]). What it tells, counts and sends, and
//! when, is the same.
//!
//! Captures that lie beside the repository (`../shared`) are played too where they are there.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod quantised;
mod walk;

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use fastpath::burst::{Burst, Frame, Link};
use fastpath::port::pcap::PcapPort;
use fastpath::port::{Port, Rx};
use fastpath::time::Nanos;
use tests::connection::{Arrival, busy_hour};
use tests::play::{self, Run};

use walk::{Replaced, randomised};

/// Frames of one capture, at most: what a test can play in its time.
const FRAMES_MAX: usize = 20_000;

/// The frames of a capture, from its beginning, on Ethernet; `None` when it is none, or of a link
/// type that is not told by the length of its header alone.
fn capture(path: &Path) -> Option<Vec<Arrival>> {
    let mut port = PcapPort::open(path).ok()?;
    let (mut burst, mut arrivals) = (Burst::new(), Vec::new());
    while arrivals.len() < FRAMES_MAX && port.rx_burst(&mut burst) != Rx::Closed {
        let (frames, packets) = burst.split();
        for (i, frame) in frames.iter().enumerate() {
            arrivals.push((packets.at[i], packets.port[i], on_ethernet(frame)?));
        }
        port.tx_burst(&mut burst);
    }
    Some(arrivals)
}

fn on_ethernet(frame: &impl Frame) -> Option<Vec<u8>> {
    let header_bytes = match frame.link() {
        Link::Ethernet => return Some(frame.bytes().to_vec()),
        Link::Ip => 0,
        Link::Null | Link::Loop => 4,
        Link::LinuxSll => 16,
        Link::LinuxSll2 => 20,
        _ => return None,
    };
    let packet = frame.bytes().get(header_bytes..).unwrap_or_default();
    let ethertype = match packet.first().map(|first| first >> 4) {
        Some(4) => [0x08, 0x00],
        Some(6) => [0x86, 0xdd],
        _ => [0x88, 0xb5], // for experiments (IEEE 802)
    };
    Some([&[2; 12][..], &ethertype, packet].concat())
}

fn lab_capture() -> Vec<Arrival> {
    capture(&Path::new(env!("CARGO_MANIFEST_DIR")).join("lab/captures/lab.pcap")).unwrap()
}

/// When a frame of which length leaves by which port. A wire keeps the order of each port, and the
/// frames are those that came.
fn schedule(run: &Run, arrivals: &[Arrival]) -> Vec<(Nanos, u16, usize)> {
    let of = |port: u16| arrivals.iter().filter(move |(_, p, _)| p.0 == port ^ 1);
    let mut expected = [of(0), of(1)];
    let entry = |sent: &fastpath::port::mem::Sent| {
        let (.., frame) = expected[usize::from(sent.port.0)].next().unwrap();
        assert!(sent.frame.bytes() == frame, "a frame leaves as it came");
        (sent.at, sent.port.0, frame.len())
    };
    run.sent.iter().map(entry).collect()
}

/// Fails with the first line that differs, as the rest of them would hide it.
fn assert_same<T: PartialEq + Debug>(before: &[T], after: &[T], what: &str) {
    let differs = before.iter().zip(after).find(|(before, after)| before != after);
    assert!(differs.is_none(), "{what}: {differs:#?}");
    assert_eq!(before.len(), after.len(), "{what}");
}

/// Plays a capture as it is and with `seeds` other payloads. Returns bytes replaced by one seed,
/// and bytes of payload.
fn assert_no_interference(arrivals: &[Arrival], seeds: u64, name: &str) -> (usize, usize) {
    let plain = play::frames(arrivals.to_vec());
    let plain_schedule = schedule(&plain, arrivals);
    let mut shares = (0, 0);
    for seed in 1..=seeds {
        let Replaced { arrivals: changed, replaced_bytes, payload_bytes } =
            randomised(arrivals, seed);
        shares = (replaced_bytes, payload_bytes);
        let run = play::frames(changed.clone());
        assert_same(&plain.told.flows, &run.told.flows, &format!("{name}, seed {seed}: flows"));
        let (before, after) = (&plain.told.exchanges, &run.told.exchanges);
        assert_same(before, after, &format!("{name}, seed {seed}: exchanges"));
        assert_same(&plain.told.events, &run.told.events, &format!("{name}, seed {seed}: events"));
        let [before, after] = [&plain, &run].map(|run| format!("{:#?}", run.totals));
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        assert_same(&lines(&before), &lines(&after), &format!("{name}, seed {seed}: counters"));
        assert!(
            schedule(&run, &changed) == plain_schedule,
            "{name}, seed {seed}: another schedule"
        );
    }
    shares
}

/// What is to be tested is there: most of the payload is replaced.
fn assert_most(&(replaced, payload): &(usize, usize), name: &str) {
    println!("{name}: {replaced} of {payload} bytes of payload replaced");
    assert!(replaced > payload / 2, "{name}: only {replaced} of {payload} bytes are replaced");
}

#[test]
fn what_the_lab_capture_gives_does_not_depend_on_payload() {
    let arrivals = lab_capture();
    assert!(play::frames(arrivals.clone()).totals.exchanges > 10, "there are exchanges");
    assert_most(&assert_no_interference(&arrivals, 3, "the lab's"), "the lab's capture");
}

#[test]
fn what_made_up_connections_give_does_not_depend_on_payload() {
    let arrivals = busy_hour(12, "api.openai.com");
    assert_most(&assert_no_interference(&arrivals, 3, "a busy hour"), "a busy hour");
}

/// The files of a folder of `../shared` that `pick` makes of its entries, if it is there.
fn shared(folder: &str, pick: impl Fn(PathBuf) -> PathBuf) -> Vec<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared").join(folder);
    let Ok(entries) = std::fs::read_dir(&path) else {
        println!("skipped: {} is not there", path.display());
        return Vec::new();
    };
    let files = entries.map(|entry| pick(entry.unwrap().path()));
    let mut files: Vec<PathBuf> = files.filter(|file| file.is_file()).collect();
    files.sort();
    files
}

fn assert_none_interferes(captures: &[PathBuf], name: &str) {
    let (mut total, mut read) = ((0, 0), 0);
    for path in captures {
        let Some(arrivals) = capture(path) else { continue };
        let shares = assert_no_interference(&arrivals, 1, &path.display().to_string());
        total = (total.0 + shares.0, total.1 + shares.1);
        read += 1;
    }
    println!("{read} of {} captures were played", captures.len());
    if !captures.is_empty() {
        assert!(read > captures.len() / 2);
        assert_most(&total, name);
    }
}

#[test]
fn what_captures_with_known_exchanges_give_does_not_depend_on_payload() {
    let captures = shared("captures", |folder| folder.join("capture.pcap"));
    assert_none_interferes(&captures, "captures with known exchanges");
}

#[test]
fn what_captures_with_known_hellos_give_does_not_depend_on_payload() {
    let captures = shared("corpus/open/pcap", |file| file);
    assert_none_interferes(&captures, "captures with known hellos");
}

/// The test can fail: a byte that the loop does read makes a difference.
#[test]
fn a_record_header_makes_a_difference() {
    let arrivals = busy_hour(12, "api.openai.com");
    let plain = play::frames(arrivals.clone());
    let mut changed = arrivals;
    // Ethernet, IPv4 and TCP without options; then a record of application data to port 443.
    const PAYLOAD: usize = 14 + 20 + 20;
    let is_request = |frame: &[u8]| {
        frame.len() > PAYLOAD + 600 && frame[PAYLOAD] == 23 && frame[36..38] == [1, 187]
    };
    let frame =
        changed.iter_mut().map(|(.., frame)| frame).find(|frame| is_request(frame)).unwrap();
    frame[PAYLOAD + 4] ^= 1;
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
