//! The saved inputs of the fuzz targets, on a stable toolchain: each corpus, and each input that
//! once broke a promise (`tests/fuzz/regressions`), goes through what `scripts/fuzz` runs.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};

use tests::fuzz::seeds::seeds;
use tests::fuzz::{TARGETS, Target};

/// What the repository holds of one target, at most.
const FILES_MAX: usize = 200;
const BYTES_MAX: u64 = 300 * 1024;

/// What playing one input may take beyond an lcore's memory: what the test keeps of the frames and
/// of what was told.
const MORE_BYTES_MAX: u64 = 16 << 20;

fn fuzz_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// The files of a folder, in the order of their names; none where there is no folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Plays the saved inputs of a target, and says which one fails.
fn play((name, run): Target) {
    let saved = files(&fuzz_folder().join("corpus").join(name));
    let once_broken = files(&fuzz_folder().join("regressions").join(name));
    assert!(!saved.is_empty(), "{name} has a corpus");
    run(&[]); // what is made once is made here
    let (_, frame) = TARGETS[0];
    let lcore = allocation_counter::measure(|| frame(&[])).bytes_max;
    for path in saved.iter().chain(&once_broken) {
        let input = std::fs::read(path).unwrap();
        println!("{}", path.display());
        let memory = allocation_counter::measure(|| run(&input));
        assert_eq!((memory.count_current, memory.bytes_current), (0, 0), "{}", path.display());
        assert!(memory.bytes_max < lcore + MORE_BYTES_MAX, "{}: {memory:?}", path.display());
    }
}

#[test]
fn every_saved_input_of_frame_plays() {
    play(TARGETS[0]);
}

#[test]
fn every_saved_input_of_client_hello_plays() {
    play(TARGETS[1]);
}

#[test]
fn every_saved_input_of_quic_plays() {
    play(TARGETS[2]);
}

#[test]
fn every_saved_input_of_quic_frames_plays() {
    play(TARGETS[3]);
}

#[test]
fn every_saved_input_of_pcap_file_plays() {
    play(TARGETS[4]);
}

#[test]
fn every_saved_input_of_policy_plays() {
    play(TARGETS[5]);
}

#[test]
fn every_seed_plays() {
    for (name, input) in seeds() {
        let (_, run) = TARGETS.iter().find(|(target, _)| *target == name).unwrap();
        run(&input);
    }
}

#[test]
fn every_target_of_the_fuzzer_is_one_of_the_library() {
    let named = |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let binaries: Vec<String> =
        files(&fuzz_folder().join("fuzz_targets")).iter().map(named).collect();
    let mut targets = TARGETS.map(|(name, _)| name);
    targets.sort_unstable();
    assert_eq!(binaries, targets);
}

#[test]
fn the_saved_corpora_are_small() {
    for (name, _) in TARGETS {
        let saved = files(&fuzz_folder().join("corpus").join(name));
        let bytes: u64 = saved.iter().map(|path| path.metadata().unwrap().len()).sum();
        assert!(
            saved.len() <= FILES_MAX && bytes <= BYTES_MAX,
            "{name}: {} files, {bytes} bytes",
            saved.len()
        );
    }
}
