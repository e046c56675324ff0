//! Any bytes as UDP datagrams.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tests::fuzz::quic(data));
