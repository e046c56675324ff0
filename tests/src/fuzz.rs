//! The fuzz targets: what is done with one input, and what must hold whatever it is.
//!
//! Each target takes any bytes and panics where a promise is broken: frames in are frames out or
//! counted drops, unchanged and in order ([`witness`]); offsets lie in the frame; tables and events
//! stay within their bounds; a run ends. The same functions serve libFuzzer (`tests/fuzz`,
//! `scripts/fuzz`) and the stable test over the saved inputs (`tests/tests/fuzz_corpus.rs`).

mod client_hello;
mod frame;
mod input;
mod pcap_file;
mod policy;
mod quic;
pub mod seeds;
mod witness;

pub use client_hello::client_hello;
pub use frame::frame;
pub use pcap_file::pcap_file;
pub use policy::policy;
pub use quic::{quic, quic_frames};

use std::sync::{Arc, LazyLock};

use fastpath::keyed::Seed;
use fastpath::lcore::{Lcore, LcoreConfig, Mode};
use fastpath::policy::handoff;
use fastpath::policy::snapshot::{Policy, Snapshot};
use fastpath::port::mem::Buffer;
use fastpath::port::{Port, Rx};
use fastpath::telemetry::Totals;

use self::witness::Witness;
use crate::play::Told;

/// A target: its name, which is that of its folders, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 6] = [
    ("frame", frame),
    ("client_hello", client_hello),
    ("quic", quic),
    ("quic_frames", quic_frames),
    ("pcap_file", pcap_file),
    ("policy", policy),
];

/// Few, so that eviction and refusal happen within one input.
const CONFIG: LcoreConfig = LcoreConfig {
    index: 0,
    mode: Mode::Wire,
    flows: 8,
    clients: 4,
    servers: 4,
    names: 16,
    events: 512,
    seed: Seed::Fixed(0),
    lcores: 1,
};

/// A gap between two frames costs some forty empty bursts at most (`port/mem/pace.rs`).
const POLLS_PER_FRAME: u64 = 64;
/// Ending eight flows and deciding what is undecided takes a few calls.
const FINISH_CALLS_MAX: u32 = 1000;
/// The least bytes of a TLS record: its header (RFC 8446, 5.1).
const RECORD_HEADER_BYTES: u64 = 5;

/// Plays a port through the whole loop to the end of every flow, and checks what holds of any.
fn play<P: Port<Frame = Buffer>>(port: P, mode: Mode) -> (Told, Totals) {
    let port = Witness::new(port, mode);
    let (_publisher, subscriber) = handoff::channel(Arc::clone(&SNAPSHOT));
    let (mut lcore, outlets) = Lcore::new(port, LcoreConfig { mode, ..CONFIG }, subscriber);
    let (mut told, mut polls) = (Told::default(), 0);
    loop {
        let rx = lcore.run_once();
        told.take(&outlets, &SNAPSHOT);
        polls += 1;
        let counters = lcore.port().counters();
        assert!(counters.balanced(), "{counters:?}");
        assert!(polls <= POLLS_PER_FRAME * (counters.rx_frames + 2), "{polls} polls, {counters:?}");
        if rx == Rx::Closed {
            break;
        }
    }
    let mut calls = 0;
    while lcore.finish() {
        told.take(&outlets, &SNAPSHOT);
        calls += 1;
        assert!(calls < FINISH_CALLS_MAX, "the end does not end");
    }
    told.take(&outlets, &SNAPSHOT);
    let totals = lcore.totals();
    check(&totals, &told);
    (told, totals)
}

static SNAPSHOT: LazyLock<Arc<Snapshot>> = LazyLock::new(|| {
    let policy = Policy::catalogue().expect("the shipped catalogue can be read");
    Arc::new(Snapshot::compile(policy).expect("the shipped catalogue compiles"))
});

/// Nothing is left, and nothing was made of nothing.
fn check(totals: &Totals, told: &Told) {
    assert!(totals.port.balanced());
    assert_eq!((totals.port.held_frames, totals.flows.live), (0, 0), "{totals:?}");
    assert!(totals.flows.evicted <= totals.flows.opened, "{totals:?}");
    assert!(totals.flows.opened <= totals.port.rx_frames, "{totals:?}");
    assert!(totals.records * RECORD_HEADER_BYTES <= totals.port.rx_bytes, "{totals:?}");
    let lines = told.flows.len() + told.exchanges.len() + told.events.len();
    assert!(totals.events_lost == 0 || lines >= CONFIG.events, "{totals:?}");
    assert!(told.flows.len() as u64 <= totals.client_hellos, "{totals:?}");
    assert!(told.exchanges.len() as u64 <= totals.exchanges, "{totals:?}");
    for line in &told.flows {
        assert!(line.ja4.len() == JA4_BYTES && line.ja4.is_ascii(), "{line:?}");
        let written = serde_json::to_string(line).expect("a line has no key that JSON has not");
        let read = serde_json::from_str(&written);
        assert_eq!(read.ok().as_ref(), Some(line), "{written}");
    }
    for line in &told.exchanges {
        assert!(line.start <= line.end, "{line:?}");
        assert!(line.first_byte.is_none_or(|at| line.start <= at), "{line:?}");
        let written = serde_json::to_string(line).expect("a line has no key that JSON has not");
        assert_eq!(serde_json::from_str(&written).ok().as_ref(), Some(line), "{written}");
    }
}

/// `a_b_c` of ten, twelve and twelve characters (FoxIO JA4.md).
const JA4_BYTES: usize = 36;
