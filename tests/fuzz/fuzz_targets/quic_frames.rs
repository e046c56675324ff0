//! Any bytes as the frames of QUIC Initials.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tests::fuzz::quic_frames(data));
