//! `fermata assess` from a file in the page cache: nanoseconds a packet, from the file to the sums of
//! the report.
//!
//! `cargo bench -p benches --bench assess`; with `FERMATA_CAPTURE=FILE` of that capture instead of one
//! that is made here. Under `cargo test` it reads a small file once, unmeasured.

#![allow(missing_docs, reason = "criterion_group! makes a public function without a document")]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use control::report::Assessment;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fastpath::policy::snapshot::{Policy, Snapshot};
use fastpath::replay::replay;
use fastpath::telemetry::event::Event;
use fastpath::telemetry::line::{EventLine, ExchangeLine};
use fastpath::time::Nanos;
use tests::capture::Laps;
use tests::connection::{busy_hour, multiplexed_hour, storm};

/// Reads a capture as `fermata assess` does; returns its frames.
fn assess(path: &Path, snapshot: &Arc<Snapshot>) -> u64 {
    let mut assessment = Assessment::new(snapshot.policy());
    let sink = |event: &Event, outlets: &fastpath::lcore::Outlets| match event {
        Event::Exchange(exchange) => {
            assessment.add(&ExchangeLine::new(exchange, &outlets.names, snapshot));
        }
        Event::Signal(signal) if signal.episode.is_some() => {
            assessment.add_event(&EventLine::new(signal, snapshot));
        }
        Event::Signal(_) | Event::Hello(_) | Event::Amendment(_) => {}
    };
    let summary = replay(path, Arc::clone(snapshot), sink, |_| {}).expect("the capture is there");
    std::hint::black_box(assessment.finish(&[], 1));
    summary.totals.port.rx_frames
}

/// The capture to read, and whether it was made for this.
fn capture() -> (PathBuf, bool) {
    if let Some(path) = std::env::var_os("FERMATA_CAPTURE") {
        return (path.into(), false);
    }
    let measured = std::env::args().any(|argument| argument == "--bench");
    let path = std::env::temp_dir().join(format!("fermata-bench-{}.pcap", std::process::id()));
    let mut frames = busy_hour(64, "api.openai.com");
    frames.extend(multiplexed_hour(16, "api.anthropic.com"));
    frames.extend(storm(16, "api.openai.com"));
    frames.sort_by_key(|(at, ..)| *at);
    let mut laps = Laps::new(frames, if measured { 100 } else { 2 }, Nanos::from_secs(1));
    let mut file = File::create(&path).expect("the temporary directory takes a file");
    std::io::copy(&mut laps, &mut file).expect("and its content");
    (path, true)
}

fn from_cache(criterion: &mut Criterion) {
    let policy = Policy::catalogue().expect("the shipped catalogue can be read");
    let snapshot = Arc::new(Snapshot::compile(policy).expect("the shipped catalogue compiles"));
    let (path, made) = capture();
    let frames = assess(&path, &snapshot);
    let mut group = criterion.benchmark_group("assess");
    group.throughput(Throughput::Elements(frames)).sample_size(10);
    group.bench_function("file_in_cache", |bencher| bencher.iter(|| assess(&path, &snapshot)));
    group.finish();
    if made {
        // It is of no use any more.
        let _ = std::fs::remove_file(path);
    }
}

criterion_group!(benches, from_cache);
criterion_main!(benches);
