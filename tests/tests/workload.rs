//! Retries among requests that all look alike, and hedges: claims against the truth, over seeds and
//! kinds of clients. The bounds are wide: what a tap can know of a template has a ceiling.
//! `FERMATA_SEEDS=20 cargo test -p tests --test workload -- --nocapture` shows the spread.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use tests::play;
use tests::workload::{Backoff, Loser, Score, Share, Workload};

fn seeds() -> u64 {
    std::env::var("FERMATA_SEEDS").map_or(3, |n| n.parse().unwrap())
}

/// Retries and hedges over all seeds.
fn scores(name: &str, workload: Workload) -> (Score, Score) {
    let (mut retries, mut hedges) = (Score::default(), Score::default());
    let (mut worst, mut best) = (1.0_f64, 0.0_f64);
    for seed in 1..=seeds() {
        let made = Workload { seed, ..workload }.make();
        let run = play::frames(made.arrivals.clone());
        let (retry, hedge) = made.score(&run.told.exchanges);
        (retries, hedges) = (retries.plus(retry), hedges.plus(hedge));
        let f1 = if workload.hedge_after_ms.is_some() { hedge.f1() } else { retry.f1() };
        (worst, best) = (worst.min(f1), best.max(f1));
    }
    let show = |s: Score| format!("{:.3} {:.3} ({})", s.precision(), s.recall(), s.all);
    let linked = f64::from(retries.linked) / f64::from(retries.right.max(1));
    println!(
        "{name:32} retry {} linked {linked:.3} count {:+.3} hedge {} F1 {worst:.3}..{best:.3}",
        show(retries),
        f64::from(retries.found) / f64::from(retries.all.max(1)) - 1.0,
        show(hedges),
    );
    (retries, hedges)
}

#[test]
fn retries_of_a_template_are_told_from_the_next_piece_of_work() {
    let plain = Workload::default();
    let each = Workload { share: Share::Worker, ..plain };
    let cases = [
        ("sdk", plain, 0.85),
        ("sdk, one length", Workload { lengths: 1, ..plain }, 0.75),
        ("sdk, eight workers", Workload { workers: 8, pieces: 25, ..plain }, 0.65),
        ("sdk, 5 % fail", Workload { fail_percent: 5, ..plain }, 0.85),
        ("sdk, 40 % fail", Workload { fail_percent: 40, ..plain }, 0.8),
        ("sdk, resting", Workload { rest_ms: 800, ..plain }, 0.75),
        ("sdk, own connections", Workload { share: Share::Attempt, ..plain }, 0.7),
        ("sdk, own, 80 ms", Workload { share: Share::Attempt, rtt_ms: 80, ..plain }, 0.7),
        ("sdk, a connection each", each, 0.9),
        ("sdk, each, resting", Workload { rest_ms: 800, ..each }, 0.95),
        ("sdk, each, eight", Workload { workers: 8, pieces: 25, ..each }, 0.9),
        ("sdk, each, sixteen", Workload { workers: 16, pieces: 15, ..each }, 0.9),
        ("each, loop of 10 ms", Workload { backoff: Backoff::Loop(10), ..each }, 0.9),
        ("sdk, 80 ms", Workload { rtt_ms: 80, ..plain }, 0.85),
        ("loop of 10 ms", Workload { backoff: Backoff::Loop(10), ..plain }, 0.85),
        ("loop of 60 ms", Workload { backoff: Backoff::Loop(60), ..plain }, 0.85),
        ("nearly unique", Workload { lengths: 10_000, ..plain }, 0.95),
        ("no failures", Workload { fail_percent: 0, ..plain }, 1.0),
    ];
    for (name, workload, f1_min) in cases {
        let (retries, hedges) = scores(name, workload);
        assert!(retries.f1() >= f1_min, "{name}: {retries:?}");
        assert!(hedges.found * 100 <= retries.all, "{name}: {hedges:?}");
    }
}

/// Times tell nothing here: an own back-off among equal requests, and more workers than a gap has
/// room for. What is claimed there has to be true all the same.
#[test]
fn what_cannot_be_known_is_claimed_seldom() {
    let plain = Workload::default();
    let busy = Workload { workers: 16, pieces: 15, ..plain };
    let (retries, _) = scores("sdk, sixteen workers", busy);
    assert!(retries.precision() >= 0.6, "{retries:?}");
    let (retries, _) = scores("loop of 1.5 s", Workload { backoff: Backoff::Loop(1500), ..plain });
    assert!(retries.found * 2 <= retries.all, "{retries:?}");
}

#[test]
fn hedges_are_found_whatever_becomes_of_the_loser() {
    let unique = Workload {
        lengths: 10_000,
        fail_percent: 0,
        workers: 3,
        pieces: 30,
        ..Workload::default()
    };
    for loser in [Loser::Leaves, Loser::Finishes] {
        for after in [600, 1_200] {
            for share in [Share::Pool, Share::Worker, Share::Attempt] {
                let hedge_after_ms = Some((after, loser));
                let workload = Workload { hedge_after_ms, share, ..unique };
                let name = format!("{loser:?} after {after} ms, {share:?}");
                let (_, hedges) = scores(&name, workload);
                assert!(hedges.all > 5, "{name}");
                assert!(hedges.precision() >= 0.9 && hedges.recall() >= 0.9, "{name}: {hedges:?}");
            }
        }
    }
    let failing =
        Workload { fail_percent: 15, hedge_after_ms: Some((600, Loser::Leaves)), ..unique };
    let (retries, hedges) = scores("hedges beside retries", failing);
    assert!(hedges.precision() >= 0.9 && hedges.recall() >= 0.9, "{hedges:?}");
    assert!(retries.f1() >= 0.9, "{retries:?}");
}
