//! Conservation of frames (docs/specification.md): what enters a wire leaves it, byte for byte and
//! in order, or is a named drop.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;

use fastpath::burst::{Frame, PortIndex};
use fastpath::keyed::Seed;
use fastpath::lcore::{LcoreConfig, Mode};
use fastpath::port::fault::{FaultPort, Faults};
use fastpath::port::mem::MemPort;
use fastpath::port::pair::PairPort;
use fastpath::port::{Port, Rx};
use fastpath::telemetry::reasons::{DropReason, PassReason};
use fastpath::time::Nanos;
use tests::connection::{Arrival, busy_hour};
use tests::frame::foreign;
use tests::play;
use tests::tap::Tap;

const WIRE: LcoreConfig = LcoreConfig {
    index: 0,
    mode: Mode::Wire,
    flows: 4096,
    clients: 256,
    servers: 64,
    names: 64,
    events: 16_384,
    seed: Seed::Fixed(0),
    lcores: 1,
};

/// TLS connections with frames that are none of ours between them, from both sides.
fn everything() -> Vec<Arrival> {
    let mut arrivals = busy_hour(12, "api.openai.com");
    let every = arrivals.len() / foreign().len();
    for (n, (_, frame)) in foreign().into_iter().enumerate() {
        let place = n * (every + 1);
        let at = arrivals[place].0;
        let port = PortIndex(u16::try_from(n % 2).unwrap());
        arrivals.insert(place, (at, port, frame));
    }
    arrivals
}

/// The frames that enter by one side and leave by the other.
fn one_way(arrivals: &[Arrival], port: PortIndex) -> Vec<&[u8]> {
    arrivals.iter().filter(|(_, p, _)| *p == port).map(|(.., frame)| &frame[..]).collect()
}

#[test]
fn every_frame_passes_a_wire_unchanged_and_in_order() {
    let arrivals = everything();
    let run = play::frames(arrivals.clone());
    for port in [0, 1] {
        let sent: Vec<&[u8]> = run
            .sent
            .iter()
            .filter(|sent| sent.port == PortIndex(port ^ 1))
            .map(|sent| sent.frame.bytes())
            .collect();
        assert_eq!(sent, one_way(&arrivals, PortIndex(port)), "in by port {port}");
    }
    assert!(run.totals.port.balanced());
    assert_eq!(run.totals.port.drops.total(), 0);
    // The traffic was followed, not merely let through.
    assert_eq!(run.totals.exchanges, 24);
    assert!(run.totals.passes.count(PassReason::NotIp) >= 4);
    assert_eq!(run.totals.passes.count(PassReason::Fragment), 1);
}

#[test]
fn a_tap_sends_nothing() {
    let port = MemPort::new(everything());
    let config = LcoreConfig { mode: Mode::Observe, ..WIRE };
    let (lcore, told) = play::to_end(port, config, |_| {});
    let counters = *lcore.port().counters();
    assert!(lcore.port().sent().is_empty());
    assert_eq!(counters.drops.count(DropReason::Observed), counters.rx_frames);
    assert_eq!(told.exchanges.len(), 24);
}

/// Faults of every kind, more of one or another by seed.
fn faults(seed: u64) -> Faults {
    let share = |n: u32| u16::try_from((seed >> n) % 4).unwrap() * 25;
    Faults {
        drop_per_mille: share(0),
        repeat_per_mille: share(1),
        reorder_per_mille: share(2),
        truncate_per_mille: share(3),
        delay_per_mille: share(4),
        delay_max: Nanos::from_millis(1 + seed % 90),
    }
}

#[test]
fn whatever_a_wire_does_to_frames_the_loop_does_nothing_to_them() {
    let arrivals = everything();
    for seed in 0..200 {
        // Every fourth run has too few flows: what finds no flow passes all the same.
        let config = LcoreConfig { flows: if seed % 4 == 0 { 3 } else { 4096 }, ..WIRE };
        let faulty = FaultPort::new(MemPort::new(arrivals.clone()), faults(seed), seed);
        let (lcore, _) = play::to_end(Tap::new(faulty), config, |lcore| {
            let counters = lcore.port().counters();
            assert!(counters.balanced(), "seed {seed}: {counters:?}");
        });
        let tap = lcore.port();
        assert!(tap.wrong.is_empty(), "seed {seed}: {}", tap.wrong.join("; "));
        let counters = tap.counters();
        assert_eq!(counters.rx_frames, arrivals.len() as u64 + counters.made_frames, "seed {seed}");
        assert_eq!(counters.held_frames, 0, "seed {seed}");
        assert_eq!(tap.unchanged, counters.tx_frames, "seed {seed}");
        let lost = counters.drops.count(DropReason::Fault);
        assert_eq!(counters.rx_frames, counters.tx_frames + lost, "seed {seed}");
        assert_eq!(tap.inner().inner().sent().len() as u64, counters.tx_frames, "seed {seed}");
    }
}

#[test]
fn what_was_not_truncated_leaves_as_it_came_whatever_the_order() {
    let arrivals = everything();
    for seed in 0..50 {
        let faults = Faults { truncate_per_mille: 0, ..faults(seed) };
        let faulty = FaultPort::new(MemPort::new(arrivals.clone()), faults, seed);
        let (lcore, _) = play::to_end(faulty, WIRE, |_| {});
        let mut copies: BTreeMap<&[u8], i64> = BTreeMap::new();
        for (.., frame) in &arrivals {
            *copies.entry(frame).or_default() += 1;
        }
        let counters = *lcore.port().counters();
        let (mut missing, mut extra) = (0, 0);
        for sent in lcore.port().inner().sent() {
            let left = copies.get_mut(sent.frame.bytes());
            let left = left.unwrap_or_else(|| panic!("seed {seed}: a frame nobody sent"));
            extra += u64::from(*left <= 0);
            *left -= 1;
        }
        missing += copies.values().filter(|&&left| left > 0).sum::<i64>().unsigned_abs();
        // A frame that was repeated and then lost is neither.
        assert!(missing <= counters.drops.count(DropReason::Fault), "seed {seed}");
        assert!(extra <= counters.made_frames, "seed {seed}");
        assert_eq!(counters.made_frames + missing, counters.drops.total() + extra, "seed {seed}");
    }
}

#[test]
fn a_full_ring_drops_by_name_and_loses_count_of_nothing() {
    let (mut outside, inside) = PairPort::new(64);
    let (mut lcore, _outlets, _) = play::lcore(inside, WIRE);
    let (mut injected, mut refused, mut taken) = (0_u64, 0, 0);
    for (n, (at, port, frame)) in everything().into_iter().enumerate() {
        outside.clock().set(at);
        match outside.inject(port, &frame) {
            Ok(()) => injected += 1,
            Err(_) => refused += 1,
        }
        if n % 50 == 49 {
            while lcore.run_once() != Rx::Idle {}
        }
        // The peer reads one frame in three: the ring to it fills up.
        if n % 3 == 0 && outside.take().is_some() {
            taken += 1;
        }
    }
    while lcore.run_once() != Rx::Idle {}
    while outside.take().is_some() {
        taken += 1;
    }
    let counters = lcore.port().counters();
    assert!(counters.balanced());
    assert_eq!((counters.rx_frames, counters.tx_frames, refused), (injected, taken, 0));
    assert!(counters.drops.count(DropReason::TxRingFull) > 0);
    assert_eq!(counters.drops.total(), counters.drops.count(DropReason::TxRingFull));
}

/// The witness itself: a loop that changed a frame would be seen.
#[test]
fn the_tap_sees_a_frame_that_was_changed_dropped_or_sent_by_the_wrong_port() {
    use fastpath::burst::{Burst, Fate};
    let arrivals: Vec<Arrival> = (0..4).map(|n| (Nanos(1), PortIndex(0), vec![n; 60])).collect();
    let mut tap = Tap::new(MemPort::new(arrivals));
    let mut burst = Burst::new();
    tap.rx_burst(&mut burst);
    let (frames, packets) = burst.split_mut();
    frames[0].bytes_mut()[59] ^= 1;
    packets.fate[1] = Fate::Drop(DropReason::Fault);
    packets.port[2] = PortIndex(1);
    tap.tx_burst(&mut burst);
    assert_eq!((tap.wrong.len(), tap.unchanged), (3, 1));
}
