//! What a large policy costs: 10,000 rules, which are the names and prefixes that endpoints are found by,
//! at most of the endpoints there may be.
//!
//! `cargo bench -p benches --bench policy`; the goal for `compile` is 100 ms (docs/performance.md). Under
//! `cargo test` each runs once, unmeasured.

#![allow(missing_docs, reason = "criterion_group! makes a public function without a document")]

use std::fmt::Write as _;
use std::path::Path;

use control::policy::document;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use fastpath::policy::snapshot::Snapshot;

const RULES: u64 = 10_000;
const ENDPOINTS: u64 = 400;

/// A policy of [`RULES`] rules: of each endpoint half are host patterns and half are prefixes.
fn text() -> String {
    let mut text = String::new();
    for endpoint in 0..ENDPOINTS {
        let _ = write!(
            text,
            "---\napiVersion: {}\nkind: Endpoint\nmetadata: {{ name: e{endpoint} }}\nspec:\n  hosts:\n",
            document::API_VERSION
        );
        let rules = RULES / ENDPOINTS;
        for host in 0..rules / 2 {
            let star = if host % 2 == 0 { "*." } else { "" };
            let _ = writeln!(text, "    - '{star}h{host}.e{endpoint}.example'");
        }
        text.push_str("  prefixes:\n");
        for prefix in rules / 2..rules {
            let _ = writeln!(text, "    - 10.{}.{}.{prefix}", endpoint / 256, endpoint % 256);
        }
    }
    text
}

fn large(criterion: &mut Criterion) {
    let text = text();
    let parse = || document::parse(Path::new("policy.yaml"), &text).expect("the policy is valid");
    let policy = parse();
    let first = Snapshot::compile(policy.clone()).expect("the policy compiles");
    let mut group = criterion.benchmark_group("policy_10000_rules");
    group.throughput(Throughput::Elements(RULES)).sample_size(20);
    group.bench_function("parse", |bencher| bencher.iter(parse));
    group.bench_function("compile", |bencher| {
        bencher.iter_batched(|| policy.clone(), Snapshot::compile, BatchSize::PerIteration)
    });
    group.bench_function("succeed", |bencher| {
        bencher.iter_batched(
            || policy.clone(),
            |policy| first.succeeded_by(policy),
            BatchSize::PerIteration,
        )
    });
    group.finish();
}

criterion_group!(benches, large);
criterion_main!(benches);
