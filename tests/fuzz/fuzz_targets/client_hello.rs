//! Any bytes as a hello, and as a TCP stream in pieces.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tests::fuzz::client_hello(data));
