//! The DPDK port on real EAL: frames in are frames out, byte for byte, and no mbuf is lost.
//!
//! EAL starts once a process, so each test runs itself again in a process of its own. None needs
//! hugepages; the one that needs root and a network namespace says so and passes without.

#![cfg(feature = "dpdk")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, id};
use std::sync::Arc;

use fastpath::burst::Burst;
use fastpath::lcore::{Lcore, LcoreConfig, Mode};
use fastpath::policy::handoff;
use fastpath::policy::snapshot::{Policy, Snapshot};
use fastpath::port::dpdk::{DpdkConfig, DpdkError, DpdkPort, HostError, Mbuf};
use fastpath::port::spread::LcorePort;
use fastpath::port::{Port, Rx, Spread};
use fastpath::telemetry::Totals;
use fastpath::telemetry::counters::PortCounters;
use fastpath::telemetry::event::Event;
use fastpath::telemetry::reasons::DropReason;

#[test]
fn a_million_frames_leave_every_mbuf_in_the_pool() {
    in_its_own_process("a_million_frames_leave_every_mbuf_in_the_pool", || {
        let mut port = open(&["net_null0", "net_null1"], 1500, true).unwrap();
        // A thread that EAL does not know, as the loop's is.
        let lcore = std::thread::spawn(move || {
            let before = port.mbufs_in_use();
            let mut burst = Burst::new();
            while port.counters().rx_frames < 1_000_000 {
                assert_ne!(port.rx_burst(&mut burst), Rx::Closed);
                port.tx_burst(&mut burst);
            }
            assert_eq!(port.mbufs_in_use(), before);
            assert!(port.counters().balanced());
            assert_eq!(port.counters().tx_frames, port.counters().rx_frames);
            let devices = port.devices();
            assert_eq!(devices.iter().map(|d| d.rx_frames).sum::<u64>(), port.counters().rx_frames);
            assert_eq!(devices[0].rx_frames, devices[1].rx_frames, "no device starves another");
        });
        lcore.join().unwrap();
    });
}

#[test]
fn every_frame_passes_unchanged_and_in_order() {
    in_its_own_process("every_frame_passes_unchanged_and_in_order", || {
        let dir = Scratch::new();
        let (forth, back) = (frames(9000), frames(1500));
        write_pcap(&dir.file("in0"), &forth);
        write_pcap(&dir.file("in1"), &back);
        let vdevs = [dir.pcap(0, "in0", "out0"), dir.pcap(1, "in1", "out1")];
        let mut port = open(&vdevs, 9000, true).unwrap();
        run(&mut port, forth.len() + back.len());
        assert_eq!(port.counters().drops.total(), 0);
        drop(port);
        assert_eq!(read_pcap(&dir.file("out1")), forth);
        assert_eq!(read_pcap(&dir.file("out0")), back);
    });
}

#[test]
fn frames_pass_through_a_ring_both_ways() {
    in_its_own_process("frames_pass_through_a_ring_both_ways", || {
        let dir = Scratch::new();
        let sent = frames(9000);
        write_pcap(&dir.file("in0"), &sent);
        // A net_ring receives what it sends, so each frame crosses it and comes back.
        let mut port =
            open(&[dir.pcap(0, "in0", "out0"), "net_ring0".to_owned()], 9000, true).unwrap();
        run(&mut port, 2 * sent.len());
        assert_eq!(port.mbufs_in_use(), 0);
        drop(port);
        assert_eq!(read_pcap(&dir.file("out0")), sent);
    });
}

#[test]
fn a_frame_longer_than_the_mtu_has_a_name_for_its_end() {
    in_its_own_process("a_frame_longer_than_the_mtu_has_a_name_for_its_end", || {
        let dir = Scratch::new();
        let sent = frames(9000);
        write_pcap(&dir.file("in0"), &sent);
        let mut port =
            open(&[dir.pcap(0, "in0", "out0"), "net_null1,no-rx=1".to_owned()], 1500, true)
                .unwrap();
        run(&mut port, sent.len());
        let long = sent.iter().filter(|frame| frame.len() > 1522).count() as u64;
        assert!(long > 0);
        assert_eq!(port.counters().drops.count(DropReason::FrameTooLong), long);
        assert_eq!(port.counters().tx_frames, sent.len() as u64 - long);
        assert_eq!(port.mbufs_in_use(), 0, "also when it came in several segments");
    });
}

#[test]
fn in_mode_observe_every_frame_ends_in_the_port() {
    in_its_own_process("in_mode_observe_every_frame_ends_in_the_port", || {
        let dir = Scratch::new();
        let sent = frames(1500);
        write_pcap(&dir.file("in0"), &sent);
        let mut port = open(&[dir.pcap(0, "in0", "out0")], 1500, false).unwrap();
        run(&mut port, sent.len());
        assert_eq!(port.counters().drops.count(DropReason::Observed), sent.len() as u64);
        assert_eq!(port.mbufs_in_use(), 0);
        drop(port);
        assert_eq!(read_pcap(&dir.file("out0")), Vec::<Vec<u8>>::new());
    });
}

/// A capture on a tap: two lcores tell what one tells, whoever of them owns the client. They are
/// polled in turn, so that no scheduler has a say.
#[test]
fn two_lcores_tell_the_exchanges_that_one_tells() {
    let name = "two_lcores_tell_the_exchanges_that_one_tells";
    if std::env::var_os(CHILD).is_some() {
        return tell_exchanges();
    }
    let dir = Scratch::new();
    let told = ["1", "2"].map(|lcores| {
        let file = dir.file(lcores);
        let mut wrapper = Command::new("env");
        wrapper.arg(format!("{LCORES}={lcores}")).arg(format!("{TOLD}={}", file.display()));
        in_a_process(name, &mut wrapper, || ());
        fs::read_to_string(file).unwrap()
    });
    assert!(told[0].lines().count() > 50, "{}", told[0]);
    assert_eq!(told[1], told[0]);
}

/// The child of the test above: writes a line for each exchange, in an order of its own.
fn tell_exchanges() {
    let dir = Scratch::new();
    let lcores = std::env::var(LCORES).unwrap().parse().unwrap();
    let capture = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/lab/captures/lab.pcap");
    let vdevs = vec![format!("net_pcap0,rx_pcap={capture},tx_pcap={}", dir.file("out").display())];
    let ports = open_spread(vdevs, lcores, false).unwrap();
    let policy = Policy::catalogue().unwrap();
    let snapshot = Arc::new(Snapshot::compile(policy).unwrap());
    let mut lcores: Vec<_> = (0..)
        .zip(ports)
        .map(|(index, port)| {
            let (_publisher, subscriber) = handoff::channel(Arc::clone(&snapshot));
            let config = LcoreConfig { index, mode: Mode::Observe, ..LcoreConfig::default() };
            Lcore::new(port, config, subscriber)
        })
        .collect();
    let mut idle = 0;
    while idle < 1000 {
        let frames = lcores.iter_mut().map(|(lcore, _)| lcore.run_once());
        idle = if frames.filter(|rx| *rx != Rx::Idle).count() > 0 { 0 } else { idle + 1 };
    }
    let mut lines = Vec::new();
    let mut totals = Totals::default();
    for (lcore, outlets) in &mut lcores {
        while lcore.finish() {}
        assert!(lcore.totals().port.looped_frames() > 100, "each has clients");
        totals.merge(&lcore.totals());
        while let Some(event) = outlets.events.next() {
            if let Event::Exchange(exchange) = event {
                lines.push(format!("{:?} up {}", exchange.peers, exchange.up_bucket));
            }
        }
    }
    assert!(totals.port.balanced());
    assert_eq!((totals.port.held_frames, totals.port.tx_frames), (0, 0));
    lines.sort_unstable();
    fs::write(std::env::var(TOLD).unwrap(), lines.join("\n")).unwrap();
}

#[test]
fn each_lcore_has_a_queue_of_its_own_where_devices_hash() {
    in_its_own_process("each_lcore_has_a_queue_of_its_own_where_devices_hash", || {
        let vdevs = vec!["net_null0".to_owned(), "net_null1".to_owned()];
        let mut ports = open_spread(vdevs, 2, true).unwrap();
        let mut burst = Burst::new();
        for _ in 0..1000 {
            for port in &mut ports {
                assert!(matches!(port, LcorePort::Own(_)));
                assert_eq!(port.spread(), Spread::FiveTuple);
                port.rx_burst(&mut burst);
                port.tx_burst(&mut burst);
            }
        }
        let mut counters = PortCounters::default();
        for port in &ports {
            assert!(port.counters().rx_frames > 30_000 && port.counters().balanced());
            counters.merge(port.counters());
        }
        let devices = ports[0].devices();
        assert_eq!(devices.iter().map(|d| d.rx_frames).sum::<u64>(), counters.rx_frames);
        assert!(ports[1].devices().is_empty(), "one speaks for the devices");
    });
}

/// Three wires in one port: a capture into a veth pair, Fermata's wire between two veth pairs, and
/// the other veth pair into a capture.
#[test]
fn frames_pass_through_the_kernel_by_af_packet() {
    through_the_kernel("frames_pass_through_the_kernel_by_af_packet", 9000, "", |dir, vdevs| {
        // The kernel takes the outer tag off, and the driver puts one back as 802.1Q, whatever it
        // was.
        let sent: Vec<_> = frames(9000).into_iter().filter(|f| f[12..14] != [0x88, 0xa8]).collect();
        write_pcap(&dir.file("in0"), &sent);
        let mut port = open(vdevs, 9000, true).unwrap();
        run(&mut port, 3 * sent.len());
        assert_eq!(port.counters().drops.total(), 0);
        assert_eq!(port.devices().iter().map(|d| d.rx_missed).sum::<u64>(), 0);
        drop(port);
        let arrived = read_pcap(&dir.file("out1"));
        assert_eq!(arrived.len(), sent.len());
        assert!(arrived == sent, "a frame was changed");
    });
}

/// The kernel spreads what arrives over the queues of a packet socket by a hash of the flow.
#[test]
fn one_lcore_polls_every_queue_that_the_kernel_fills() {
    let name = "one_lcore_polls_every_queue_that_the_kernel_fills";
    through_the_kernel(name, 1500, ",qpairs=2", |dir, vdevs| {
        let mut sent: Vec<_> = (1..=100).map(from_client).collect();
        write_pcap(&dir.file("in0"), &sent);
        let mut port = open(vdevs, 1500, true).unwrap();
        run(&mut port, 3 * sent.len());
        assert_eq!(port.counters().drops.total(), 0);
        drop(port);
        let mut arrived = read_pcap(&dir.file("out1"));
        arrived.sort_unstable();
        sent.sort_unstable();
        assert!(arrived == sent, "{} of {} arrived", arrived.len(), sent.len());
    });
}

/// Runs a test in a network namespace with the veth pairs a and b; the wires are made of vdevs with
/// these `arguments`, and captures `in0` and `out1` are at their ends.
fn through_the_kernel(
    name: &str,
    mtu: usize,
    arguments: &str,
    test: impl FnOnce(&Scratch, &[String]),
) {
    let veths = format!(
        "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 && \
         sysctl -qw net.ipv6.conf.default.disable_ipv6=1 && \
         ip link add a0 mtu {mtu} type veth peer name a1 mtu {mtu} && \
         ip link add b0 mtu {mtu} type veth peer name b1 mtu {mtu} && \
         for i in a0 a1 b0 b1; do ip link set $i up; done"
    );
    if !succeeds("unshare", ["-n", "sh", "-c", &veths]) {
        println!("skipped {name}: cannot make a network namespace with veth pairs (not root?)");
        return;
    }
    let exec = format!("{veths} && exec \"$0\" \"$@\"");
    in_a_process(name, Command::new("unshare").args(["-n", "sh", "-c", &exec]), || {
        let dir = Scratch::new();
        let mut vdevs = vec![dir.pcap(0, "in0", "out0")];
        vdevs.extend(
            ["a0", "a1", "b0", "b1"]
                .iter()
                .enumerate()
                .map(|(i, interface)| format!("net_af_packet{i},iface={interface}{arguments}")),
        );
        vdevs.push(format!("net_pcap1,tx_pcap={}", dir.file("out1").display()));
        test(&dir, &vdevs);
    });
}

/// A UDP datagram of this client.
fn from_client(client: u8) -> Vec<u8> {
    let mut frame =
        vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17];
    frame.extend([0, 0, 10, 0, 0, client, 10, 9, 9, 9, 200, client, 1, 187, 0, 26, 0, 0]);
    frame.extend([client; 18]);
    frame
}

#[test]
fn what_is_missing_is_named_with_the_mend() {
    let error = open(&["net_af_packet0,iface=foo", "net_null0"], 1500, true).unwrap_err();
    match &error {
        DpdkError::Host(HostError::InterfaceMissing { interface, .. }) => {
            assert_eq!(interface, "foo")
        }
        DpdkError::Host(HostError::Capability { .. }) => {
            println!("not root: the capability is missed before the interface")
        }
        other => panic!("{other}"),
    }
    let error = open(&["net_null0"], 1500, true).unwrap_err();
    assert!(error.to_string().contains("expected an even number"), "{error}");
    let pci = vec!["0000:ff:1f.7".to_owned()];
    let config = DpdkConfig { pci, no_huge: true, pairs: false, ..DpdkConfig::default() };
    let error = DpdkPort::open(&config).unwrap_err();
    assert!(error.to_string().contains("scripts/bind-nic"), "{error}");
}

#[test]
fn a_driver_that_does_not_exist_is_an_error() {
    in_its_own_process("a_driver_that_does_not_exist_is_an_error", || {
        let error = open(&["net_nonsense0", "net_null0"], 1500, true).unwrap_err();
        assert!(error.to_string().contains("a driver it cannot parse does not exist"), "{error}");
        assert_eq!(
            open(&["net_null0", "net_null1"], 1500, true).unwrap_err(),
            DpdkError::SecondEal
        );
    });
}

fn open(vdevs: &[impl AsRef<str>], mtu: u16, pairs: bool) -> Result<DpdkPort, DpdkError> {
    let vdevs = vdevs.iter().map(|spec| spec.as_ref().to_owned()).collect();
    let file_prefix = "fermata-test".to_owned();
    let config =
        DpdkConfig { vdevs, mtu, pairs, file_prefix, no_huge: true, ..DpdkConfig::default() };
    DpdkPort::open(&config)
}

fn open_spread(
    vdevs: Vec<String>,
    lcores: u16,
    pairs: bool,
) -> Result<Vec<LcorePort<DpdkPort>>, DpdkError> {
    let file_prefix = "fermata-test".to_owned();
    DpdkPort::open_spread(&DpdkConfig {
        vdevs,
        pairs,
        lcores,
        file_prefix,
        no_huge: true,
        ..DpdkConfig::default()
    })
}

/// Runs the port until it has received so many frames, and checks that time does not go back, that
/// every frame has one end, and that no more frames arrive.
fn run(port: &mut DpdkPort, frames: usize) {
    let mut burst: Burst<Mbuf> = Burst::new();
    let (mut then, mut idle) = (burst.packets.now, 0);
    while idle < POLLS_IDLE_MAX {
        match port.rx_burst(&mut burst) {
            Rx::Frames(_) => idle = 0,
            Rx::Idle => idle += 1,
            Rx::Closed => panic!("a device never closes"),
        }
        assert!(burst.packets.now >= then);
        then = burst.packets.now;
        port.tx_burst(&mut burst);
    }
    assert_eq!(port.counters().rx_frames, frames as u64, "{:?}", port.devices());
    assert!(port.counters().balanced());
}

/// Frames of every kind that must pass: ARP, LLDP, an unknown ethertype, a runt, tags, lengths up
/// to the MTU.
fn frames(mtu: usize) -> Vec<Vec<u8>> {
    let frame = |header: &[u8], bytes: usize| {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        frame.extend_from_slice(header);
        frame.extend((frame.len()..bytes).map(|i| u8::try_from(i * 7 % 251).unwrap()));
        frame
    };
    let mut frames = vec![
        frame(&[0x08, 0x06], 42),
        frame(&[0x88, 0xcc], 60),
        frame(&[0xab, 0xcd], 1000),
        frame(&[0x08, 0x00], 15),
        frame(&[0x81, 0x00, 0x20, 0x64, 0x08, 0x00], 300),
        frame(&[0x88, 0xa8, 0x00, 0x05, 0x81, 0x00, 0x00, 0x06, 0x08, 0x00], 300),
        frame(&[0x86, 0xdd], mtu + 14),
        frame(&[0x81, 0x00, 0x00, 0x07, 0x08, 0x00], mtu + 18),
    ];
    frames.extend((60..mtu + 14).step_by(101).map(|bytes| frame(&[0x08, 0x00], bytes)));
    frames
}

fn write_pcap(file: &Path, frames: &[Vec<u8>]) {
    let words = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 0xffff, 1_u32];
    let mut bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    for frame in frames {
        let length = u32::try_from(frame.len()).unwrap();
        bytes.extend([1, 0, length, length].iter().flat_map(|w: &u32| w.to_le_bytes()));
        bytes.extend_from_slice(frame);
    }
    fs::write(file, bytes).unwrap();
}

fn read_pcap(file: &Path) -> Vec<Vec<u8>> {
    let bytes = fs::read(file).unwrap();
    let (mut frames, mut rest) = (Vec::new(), &bytes[24..]);
    while let Some((header, tail)) = rest.split_at_checked(16) {
        let length = u32::from_le_bytes(header[8..12].try_into().unwrap()) as usize;
        frames.push(tail[..length].to_vec());
        rest = &tail[length..];
    }
    frames
}

/// A directory for one test, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let directory = std::env::temp_dir().join(format!("fermata-dpdk-test-{}", id()));
        fs::create_dir_all(&directory).unwrap();
        Self(directory)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn pcap(&self, number: usize, rx: &str, tx: &str) -> String {
        let (rx, tx) = (self.file(rx), self.file(tx));
        format!("net_pcap{number},rx_pcap={},tx_pcap={}", rx.display(), tx.display())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn in_its_own_process(name: &str, test: impl FnOnce()) {
    in_a_process(name, &mut Command::new("env"), test);
}

/// Runs `test` in a process that `wrapper` starts: this test binary again, told to run only this
/// test.
fn in_a_process(name: &str, wrapper: &mut Command, test: impl FnOnce()) {
    if std::env::var_os(CHILD).is_some() {
        return test();
    }
    let child =
        wrapper.arg(std::env::current_exe().unwrap()).args(["--exact", name, "--nocapture"]);
    let output = child.env(CHILD, "1").output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&text));
}

fn succeeds<const N: usize>(program: &str, arguments: [&str; N]) -> bool {
    let arguments = arguments.map(OsStr::new);
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

/// Set in the environment of a process that is to run the test itself.
const CHILD: &str = "FERMATA_DPDK_TEST_CHILD";
/// How many lcores a child is to run, and where it says what they told.
const LCORES: &str = "FERMATA_DPDK_TEST_LCORES";
const TOLD: &str = "FERMATA_DPDK_TEST_TOLD";
/// A port that gave nothing so many times has nothing more. The kernel needs some microseconds from
/// a veth's one end to its other; a poll takes a tenth of one.
const POLLS_IDLE_MAX: u32 = 200_000;
