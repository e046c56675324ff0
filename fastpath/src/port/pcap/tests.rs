//! Captures made in code: sound ones of every variant, and damaged ones.

use std::io::{self, Cursor, Read};

use proptest::prelude::*;

use super::*;
use crate::burst::{Frame, Link};
use crate::telemetry::reasons::DropReason;

/// A classic pcap file; its integers are written by `bytes`.
struct Classic {
    magic: u32,
    bytes: fn(u32) -> [u8; 4],
}

const LITTLE: Classic = Classic { magic: 0xa1b2_c3d4, bytes: u32::to_le_bytes };

impl Classic {
    fn header(&self, link: u32) -> Vec<u8> {
        let version = if (self.bytes)(1)[0] == 1 { 0x0004_0002 } else { 0x0002_0004 };
        [self.magic, version, 0, 0, 65_535, link].map(self.bytes).concat()
    }

    fn record(&self, seconds: u32, fraction: u32, packet: &[u8], wire: u32) -> Vec<u8> {
        let len = u32::try_from(packet.len()).unwrap();
        [[seconds, fraction, len, wire].map(self.bytes).concat(), packet.to_vec()].concat()
    }

    /// A file with one packet of 60 bytes at each of these milliseconds.
    fn file(&self, times_ms: &[u32]) -> Vec<u8> {
        let record = |t: &u32| self.record(t / 1000, t % 1000 * 1000, &[7; 60], 60);
        [self.header(1), times_ms.iter().flat_map(record).collect()].concat()
    }
}

fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let padded = body.len().next_multiple_of(4);
    let len = u32::try_from(padded + 12).unwrap().to_le_bytes();
    let padding = vec![0; padded - body.len()];
    [&kind.to_le_bytes()[..], &len, body, &padding, &len].concat()
}

fn section() -> Vec<u8> {
    let body = [&0x1a2b_3c4d_u32.to_le_bytes()[..], &1_u32.to_le_bytes(), &[0xff; 8]].concat();
    block(0x0a0d_0d0a, &body)
}

fn interface(link: u8, options: &[u8]) -> Vec<u8> {
    block(1, &[&[link, 0, 0, 0, 0, 0, 0, 0], options].concat())
}

fn enhanced(interface: u32, units: u64, packet: &[u8]) -> Vec<u8> {
    let len = u32::try_from(packet.len()).unwrap();
    let (high, low) = (u32::try_from(units >> 32).unwrap(), (units & 0xffff_ffff) as u32);
    let header = [interface, high, low, len, len].map(u32::to_le_bytes).concat();
    block(6, &[&header, packet].concat())
}

fn open(file: Vec<u8>) -> Result<PcapPort, PcapError> {
    PcapPort::from_reader(Cursor::new(file), "test.pcap")
}

/// Every poll until the end: the time, and the lengths of the frames.
fn play(port: &mut PcapPort) -> Vec<(Nanos, Vec<usize>)> {
    let mut burst = Burst::new();
    let mut polls = Vec::new();
    while port.rx_burst(&mut burst) != Rx::Closed {
        let lengths = burst.split().0.iter().map(|frame| frame.bytes().len()).collect();
        polls.push((burst.packets.now, lengths));
        port.tx_burst(&mut burst);
        assert!(port.counters().balanced());
        assert!(polls.len() < 100_000, "the port does not end");
    }
    polls
}

fn packets(file: Vec<u8>) -> (u64, Option<PcapError>) {
    let mut port = open(file).unwrap();
    play(&mut port);
    (port.counters().rx_frames, port.note)
}

#[test]
fn every_variant_of_classic_pcap_gives_the_same_times() {
    let variants = [
        (0xa1b2_c3d4, u32::to_le_bytes as fn(u32) -> [u8; 4], 5_000),
        (0xa1b2_c3d4, u32::to_be_bytes, 5_000),
        (0xa1b2_3c4d, u32::to_le_bytes, 5_000_000),
        (0xa1b2_3c4d, u32::to_be_bytes, 5_000_000),
    ];
    for (magic, bytes, fraction) in variants {
        let classic = Classic { magic, bytes };
        let file = [classic.header(1), classic.record(3, fraction, &[1; 60], 1514)].concat();
        let mut port = open(file).unwrap();
        let mut burst = Burst::new();
        assert_eq!(port.rx_burst(&mut burst), Rx::Frames(1));
        assert_eq!(burst.packets.at, [Nanos::from_millis(3_005)]);
        assert_eq!(burst.packets.wire_bytes, [1514]);
        assert_eq!(burst.split().0[0].bytes(), [1; 60]);
        port.tx_burst(&mut burst);
    }
}

#[test]
fn a_gap_is_filled_with_empty_bursts_and_never_overshot() {
    let mut port = open(LITTLE.file(&[1_000, 1_000, 1_008, 1_033])).unwrap();
    let polls: Vec<_> = play(&mut port).into_iter().map(|(now, l)| (now, l.len())).collect();
    let ms = Nanos::from_millis;
    let expected = [(ms(1_000), 2), (ms(1_008), 1), (ms(1_018), 0), (ms(1_033), 0), (ms(1_033), 1)];
    assert_eq!(polls, expected);
}

#[test]
fn a_frame_from_the_past_keeps_its_time_and_the_burst_keeps_its_own() {
    let mut port = open(LITTLE.file(&[1_000, 400])).unwrap();
    let mut burst = Burst::new();
    assert_eq!(port.rx_burst(&mut burst), Rx::Frames(2));
    assert_eq!(burst.packets.at, [Nanos::from_millis(1_000), Nanos::from_millis(400)]);
    assert_eq!(burst.packets.now, Nanos::from_millis(1_000));
    port.tx_burst(&mut burst);
}

#[test]
fn a_header_without_packets_closes_at_once() {
    let mut port = open(LITTLE.header(1)).unwrap();
    assert_eq!(port.rx_burst(&mut Burst::new()), Rx::Closed);
    assert!(port.note().is_none());
}

#[test]
fn a_file_of_zero_bytes_is_an_error_of_its_own() {
    assert!(matches!(open(Vec::new()), Err(PcapError::Empty { .. })));
}

#[test]
fn a_missing_file_is_named() {
    let error = PcapPort::open(Path::new("/nowhere/x.pcap")).unwrap_err();
    assert!(error.to_string().starts_with("cannot open /nowhere/x.pcap: "), "{error}");
}

#[test]
fn what_is_no_capture_shows_its_magic() {
    let error = open(b"\x1f\x8b\x08\x00 and more".to_vec()).unwrap_err();
    assert!(error.to_string().contains("1f 8b 08 00"), "{error}");
    assert!(error.hint().contains("gunzip"));
}

#[test]
fn another_link_type_is_refused_by_name() {
    for file in
        [LITTLE.header(10), [section(), interface(10, &[]), enhanced(0, 1, &[0; 60])].concat()]
    {
        let error = open(file).unwrap_err();
        assert!(error.to_string().contains("10 (FDDI)"), "{error}");
    }
}

#[test]
fn a_truncated_capture_plays_up_to_the_cut() {
    let mut file = LITTLE.file(&[1, 2, 3]);
    file.truncate(file.len() - 10);
    let (frames, note) = packets(file);
    assert_eq!(frames, 2);
    let note = note.unwrap();
    assert!(matches!(
        note,
        PcapError::Truncated { offset: 176, expected_bytes: 76, found_bytes: 66, .. }
    ));
}

#[test]
fn a_packet_of_absurd_length_ends_the_capture() {
    let mut file = LITTLE.file(&[1]);
    file.extend([1, 0, u32::MAX, 60].map(u32::to_le_bytes).concat());
    file.extend([0; 100]);
    let (frames, note) = packets(file);
    assert_eq!(frames, 1);
    assert!(matches!(note, Some(PcapError::AbsurdLength { length: u32::MAX, .. })));
}

#[test]
fn the_longest_packet_is_read_whole() {
    let packet = vec![5; reader::PACKET_BYTES];
    let wire = u32::try_from(packet.len()).unwrap();
    let file = [LITTLE.header(1), LITTLE.record(1, 0, &packet, wire)].concat();
    assert_eq!(play(&mut open(file).unwrap())[0].1, [reader::PACKET_BYTES]);
}

#[test]
fn pcapng_interfaces_of_other_links_are_skipped_and_counted() {
    let file = [
        section(),
        interface(1, &[]),
        interface(10, &[]),
        enhanced(0, 1, &[0; 60]),
        enhanced(1, 2, &[0; 70]),
        enhanced(9, 3, &[0; 80]),
        enhanced(0, 4, &[0; 61]),
    ];
    let mut port = open(file.concat()).unwrap();
    assert_eq!(play(&mut port), [(Nanos(4_000), vec![60, 61])]);
    assert_eq!(port.skipped_packets(), 2);
}

/// What every frame of a capture begins with.
fn links(file: Vec<u8>) -> Vec<Link> {
    let mut port = open(file).unwrap();
    let mut burst = Burst::new();
    let mut links = Vec::new();
    while port.rx_burst(&mut burst) != Rx::Closed {
        links.extend(burst.split().0.iter().map(Frame::link));
        port.tx_burst(&mut burst);
    }
    links
}

#[test]
fn a_frame_has_the_link_type_of_its_file_or_interface() {
    for (number, link) in [(0, Link::Null), (12, Link::Ip), (0x3000_0071, Link::LinuxSll)] {
        let file = [LITTLE.header(number), LITTLE.record(1, 0, &[0; 60], 60)].concat();
        assert_eq!(links(file), [link]);
    }
    let file = [section(), interface(101, &[]), interface(1, &[]), interface(113, &[])];
    let packets = [2, 0, 1].map(|n| enhanced(n, 1, &[0; 60]));
    let expected = [Link::LinuxSll, Link::Ip, Link::Ethernet];
    assert_eq!(links([file.concat(), packets.concat()].concat()), expected);
}

#[test]
fn the_obsolete_packet_block_of_pcapng_is_read() {
    let packet = |interface: u16, captured: u32| {
        let ids = [interface.to_le_bytes(), 7_u16.to_le_bytes()].concat();
        let fields = [0, 9, captured, 90].map(u32::to_le_bytes).concat();
        block(2, &[ids, fields, vec![5; 60]].concat())
    };
    let file =
        [section(), interface(1, &[]), packet(0, 60), packet(1, 60), packet(0, 61), packet(0, 59)];
    let mut port = open(file.concat()).unwrap();
    assert_eq!(play(&mut port), [(Nanos(9_000), vec![60, 59])]);
    assert_eq!(port.skipped_packets(), 2);
}

#[test]
fn a_written_file_has_one_link_type_and_says_what_it_leaves_out() {
    let path = std::env::temp_dir().join(format!("fermata-links-{}.pcap", std::process::id()));
    let file = [section(), interface(113, &[]), interface(1, &[])];
    let packets = [0, 1, 0].map(|n| enhanced(n, 1, &[0; 60]));
    let mut port = open([file.concat(), packets.concat()].concat()).unwrap();
    port = port.with_output(&path).unwrap();
    play(&mut port);
    let told = port.finish();
    let copy = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(told, Err(PcapError::MixedLinkTypes { frames: 1, .. })), "{told:?}");
    assert_eq!(links(copy), [Link::LinuxSll; 2]);
}

#[test]
fn pcapng_time_follows_resolution_and_offset_of_its_interface() {
    let nanoseconds = interface(1, &[9, 0, 1, 0, 9, 0, 0, 0]);
    let halves = interface(1, &[9, 0, 1, 0, 0x81, 0, 0, 0]);
    let later = interface(1, &[14, 0, 8, 0, 10, 0, 0, 0, 0, 0, 0, 0]);
    for (interface, units, expected) in [
        (interface(1, &[]), 7, Nanos::from_micros(7)),
        (nanoseconds, 7, Nanos(7)),
        (halves, 7, Nanos::from_millis(3_500)),
        (later, 7, Nanos::from_secs(10) + Nanos::from_micros(7)),
    ] {
        let file = [section(), interface, enhanced(0, units, &[0; 60])].concat();
        assert_eq!(play(&mut open(file).unwrap())[0].0, expected);
    }
}

#[test]
fn a_big_endian_section_is_read_as_such() {
    // The option if_tsoffset, 10 seconds.
    let interface = [1, 36, 0x0001_0000, 0, 0x000e_0008, 0, 10, 0, 36];
    let section = [0x0a0d_0d0a, 28, 0x1a2b_3c4d, 0x0001_0000, u32::MAX, u32::MAX, 28];
    let packet = [6, 36, 0, 0, 7, 4, 60, 0x0102_0304, 36];
    let words = [&section[..], &interface, &packet].concat();
    let mut port = open(words.into_iter().flat_map(u32::to_be_bytes).collect()).unwrap();
    let mut burst = Burst::new();
    assert_eq!(port.rx_burst(&mut burst), Rx::Frames(1));
    assert_eq!(burst.packets.now, Nanos::from_secs(10) + Nanos::from_micros(7));
    assert_eq!(burst.packets.wire_bytes, [60]);
    assert_eq!(burst.split().0[0].bytes(), [1, 2, 3, 4]);
    port.tx_burst(&mut burst);
}

#[test]
fn a_simple_packet_has_the_time_of_the_one_before() {
    let simple = block(3, &[&5_u32.to_le_bytes()[..], b"abcde"].concat());
    let file = [section(), interface(1, &[]), enhanced(0, 7, &[0; 60]), simple].concat();
    let mut port = open(file).unwrap();
    let mut burst = Burst::new();
    assert_eq!(port.rx_burst(&mut burst), Rx::Frames(2));
    assert_eq!(burst.packets.at, [Nanos::from_micros(7); 2]);
    assert_eq!(burst.split().0[1].bytes(), b"abcde");
    port.tx_burst(&mut burst);
}

#[test]
fn a_pcapng_block_with_a_bad_length_ends_the_capture() {
    for length in [0_u32, 8, 13, 16, 0xffff_fffc] {
        let mut bad = enhanced(0, 2, &[0; 60]);
        bad[4..8].copy_from_slice(&length.to_le_bytes());
        let (frames, note) =
            packets([section(), interface(1, &[]), enhanced(0, 1, &[0; 60]), bad].concat());
        assert_eq!(frames, 1, "length {length}");
        assert!(
            matches!(note, Some(PcapError::BadBlock { .. } | PcapError::Truncated { .. })),
            "length {length}: {note:?}"
        );
    }
}

#[test]
fn a_packet_longer_than_its_pcapng_block_is_skipped() {
    let mut liar = enhanced(0, 2, &[0; 60]);
    liar[20..24].copy_from_slice(&1_000_000_u32.to_le_bytes());
    let file =
        [section(), interface(1, &[]), enhanced(0, 1, &[0; 60]), liar, enhanced(0, 3, &[0; 60])];
    let mut port = open(file.concat()).unwrap();
    play(&mut port);
    assert_eq!((port.counters().rx_frames, port.skipped_packets()), (2, 1));
    assert!(port.note().is_none());
}

#[test]
fn a_huge_block_of_another_kind_is_passed_over() {
    let secrets = block(10, &vec![0; 3 * window::WINDOW_BYTES]);
    let file = [section(), interface(1, &[]), secrets, enhanced(0, 3, &[0; 60])].concat();
    assert_eq!(packets(file).0, 1);
}

/// Gives one byte a read, as a slow pipe may.
struct OneByte(Cursor<Vec<u8>>);

impl Read for OneByte {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = buffer.len().min(1);
        self.0.read(&mut buffer[..room])
    }
}

#[test]
fn a_pipe_that_gives_a_byte_at_a_time_is_read_alike() {
    let ng = [section(), interface(1, &[]), enhanced(0, 3, &[0; 60])].concat();
    for (file, frames) in [(LITTLE.file(&[1, 2]), 2), (ng, 1)] {
        let total = file.len() as u64;
        let mut port = PcapPort::from_reader(OneByte(Cursor::new(file)), "pipe").unwrap();
        play(&mut port);
        assert_eq!(port.counters().rx_frames, frames);
        assert_eq!(port.progress(), Progress { read_bytes: total, total_bytes: None });
    }
}

#[test]
fn forwarded_frames_are_written_and_read_back_alike() {
    let path = std::env::temp_dir().join(format!("fermata-pcap-{}.pcap", std::process::id()));
    let mut port = open(LITTLE.file(&[1, 1, 30])).unwrap().with_output(&path).unwrap();
    let mut burst = Burst::new();
    let mut dropped = 0;
    while port.rx_burst(&mut burst) != Rx::Closed {
        if burst.len() == 2 {
            burst.packets.fate[0] = Fate::Drop(DropReason::Observed);
            dropped += 1;
        }
        port.tx_burst(&mut burst);
    }
    port.finish().unwrap();
    let mut copy = PcapPort::open(&path).unwrap();
    let frames: Vec<_> = play(&mut copy).into_iter().filter(|(_, l)| !l.is_empty()).collect();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(dropped, 1);
    assert_eq!(frames, [(Nanos::from_millis(1), vec![60]), (Nanos::from_millis(30), vec![60])]);
}

proptest! {
    #[test]
    fn damaged_captures_end_without_a_panic(
        classic: bool,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut file = if classic {
            LITTLE.file(&[1, 2, 50, 4])
        } else {
            [section(), interface(1, &[9, 0, 1, 0, 9, 0, 0, 0]), enhanced(0, 3, &[0; 60]),
             block(3, &[60; 64]), interface(113, &[]), section(), enhanced(0, 5, &[1; 90])].concat()
        };
        for (at, byte) in damage {
            let at = at.index(file.len());
            file[at] = byte;
        }
        file.truncate(cut.index(file.len() + 1));
        if let Ok(mut port) = open(file) {
            play(&mut port);
        }
    }
}
