//! What a QUIC packet costs in `parse`: an Initial whose hello is read, one that no key opens, one
//! after the hello. Nanoseconds a datagram, headers included.
//!
//! `cargo bench -p benches --bench quic`.

#![allow(missing_docs, reason = "criterion_group! makes a public function without a document")]

use std::hint::black_box;
use std::net::SocketAddr;

use criterion::measurement::{Measurement, WallTime};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fastpath::burst::{BURST_FRAMES, Burst, Direction, FlowId, Frame, PortIndex};
use fastpath::parse::handshake::Handshake;
use fastpath::parse::tls::{Stream, Streams};
use fastpath::parse::{self, Parser};
use fastpath::telemetry::counters::Passes;
use fastpath::time::Nanos;
use tests::frame;
use tests::quic::{Client, V1};

/// Hands out a handshake that has seen nothing, or one whose hello has been read.
struct Flows {
    handshake: Handshake,
    is_kept: bool,
    number: u64,
}

impl Streams for Flows {
    fn streams(&mut self, _: FlowId, _: Direction) -> [&mut Stream; 2] {
        unreachable!("UDP has no TCP stream")
    }

    fn handshake(&mut self, _: FlowId) -> &mut Handshake {
        self.number += 1;
        if !self.is_kept {
            self.handshake = Handshake::new(self.number);
        }
        &mut self.handshake
    }
}

struct Bytes(Vec<u8>);

impl Frame for Bytes {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

/// The handshake message of a ClientHello as browsers send it: with a post-quantum key share it
/// takes two Initials, without it one.
fn hello(padding: usize) -> Vec<u8> {
    tests::tls::client_hello("api.openai.com", &["h3"], padding)[5..].to_vec()
}

fn initials(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("initial");
    group.throughput(Throughput::Elements(1));
    let whole = |n: u8| {
        let mut client = Client::new(V1, &[n; 8]);
        let frames = client.crypto(0, &hello(300));
        client.initial(&frames)
    };
    let unopened = |n: u8| {
        let mut initial = whole(n);
        initial[600] ^= 1;
        initial
    };
    let short = |n: u8| [&[0x40 | n & 7][..], &[n; 1199]].concat();
    type Make<'a> = &'a dyn Fn(u8) -> Vec<u8>;
    let cases: [(&str, bool, Make<'_>); 4] = [
        ("hello", false, &whole),
        ("unopened", false, &unopened),
        ("after_the_hello", true, &|_| whole(0)),
        ("short_header", true, &short),
    ];
    for (name, is_kept, make) in cases {
        let mut burst = burst(make);
        let mut flows = Flows { handshake: Handshake::new(0), is_kept, number: 0 };
        let (mut parser, mut passes) = (Parser::default(), Passes::default());
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|datagrams| {
                let bursts = datagrams.div_ceil(BURST_FRAMES as u64);
                let start = WallTime.start();
                for _ in 0..bursts {
                    burst.packets.clear_found();
                    parse::headers(&mut burst, &mut parser, &mut passes);
                    parse::handshakes(black_box(&mut burst), &mut flows, &mut parser);
                }
                let share = datagrams as f64 / (bursts * BURST_FRAMES as u64) as f64;
                WallTime.end(start).mul_f64(share)
            });
        });
    }
}

/// A burst of these datagrams, each with a flow.
fn burst(make: &dyn Fn(u8) -> Vec<u8>) -> Burst<Bytes> {
    let from = SocketAddr::from(([198, 51, 100, 7], 50_000));
    let to = SocketAddr::from(([203, 0, 113, 9], 443));
    let mut burst = Burst::new();
    for n in (0..).take(BURST_FRAMES) {
        let frame = Bytes(frame::udp(from, to, &make(n)));
        let wire_bytes = u32::try_from(frame.0.len()).expect("a short frame");
        burst.push(frame, Nanos(1), PortIndex(0), wire_bytes);
    }
    burst.packets.flow.fill(Some((FlowId(0), Direction::ToServer)));
    burst
}

criterion_group!(benches, initials);
criterion_main!(benches);
