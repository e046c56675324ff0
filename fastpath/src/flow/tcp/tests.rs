//! Sequence progress by example, and against a set of bytes.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::burst::TcpFlags;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

fn segment(seq: u32, flags: u8) -> Tcp {
    Tcp { seq, flags: TcpFlags(flags), ..Tcp::default() }
}

/// A connection that has brought bytes 100 to 149.
fn begun() -> Progress {
    let mut progress = Progress::default();
    assert_eq!(progress.advance(&segment(99, SYN), 0).fresh_bytes, 0);
    assert_eq!(progress.advance(&segment(100, ACK), 50).fresh_bytes, 50);
    progress
}

#[test]
fn an_acknowledgment_of_more_than_passed_shows_a_loss() {
    let mut progress = Progress::default();
    assert!(!progress.lacks(7), "nothing has passed");
    progress.advance(&segment(100, 0x10), 50);
    assert!(!progress.lacks(150) && progress.lacks(151) && !progress.lacks(100));
}

#[test]
fn what_was_acknowledged_ahead_is_missed_once_and_leaves_no_hole() {
    let mut progress = begun();
    progress.acknowledged(180);
    assert_eq!(progress.loss.missed_bytes, 30);
    progress.acknowledged(190);
    assert_eq!(progress.loss.missed_bytes, 40);
    progress.advance(&segment(190, ACK), 10);
    progress.acknowledged(200);
    assert_eq!(progress.loss.missed_bytes, 40);
    assert!(progress.advance(&segment(200, ACK), 10).in_order);
    progress.advance(&segment(240, ACK), 10);
    progress.acknowledged(250);
    assert_eq!(progress.missed(250), Some((70, false)), "a hole behind it");
    assert_eq!(progress.missed(240), None, "not shown yet");
}

#[test]
fn only_bytes_beyond_the_highest_are_new() {
    let mut progress = begun();
    let again = progress.advance(&segment(100, ACK), 50);
    assert_eq!(again, Arrived { fresh_bytes: 0, repeated: true, in_order: false });
    let partly = progress.advance(&segment(140, ACK), 20);
    assert_eq!(partly, Arrived { fresh_bytes: 10, repeated: true, in_order: false });
}

#[test]
fn what_comes_out_of_order_is_new_and_no_retransmission() {
    let mut progress = begun();
    let late = [170, 150].map(|seq| progress.advance(&segment(seq, ACK), 20));
    assert!(late.iter().all(|arrived| arrived.fresh_bytes == 20 && !arrived.repeated));
    assert!(progress.advance(&segment(150, ACK), 20).repeated, "the hole is closed");
}

#[test]
fn a_hole_that_the_receiver_has_acknowledged_is_none() {
    let mut progress = begun();
    progress.advance(&segment(170, ACK), 20);
    progress.acknowledged(150);
    assert_eq!(progress.loss.missed_bytes, 0, "it waits as we do");
    assert!(!progress.advance(&segment(190, ACK), 10).in_order);
    progress.acknowledged(200);
    assert_eq!(progress.loss.missed_bytes, 20);
    assert!(progress.advance(&segment(200, ACK), 10).in_order);
    assert!(progress.advance(&segment(150, ACK), 20).repeated);
}

#[test]
fn sequence_numbers_wrap() {
    let mut progress = Progress::default();
    progress.advance(&segment(u32::MAX - 9, ACK), 10);
    assert_eq!(progress.advance(&segment(0, ACK), 5).fresh_bytes, 5);
    assert_eq!(progress.advance(&segment(15, ACK), 5).fresh_bytes, 5);
    assert_eq!(progress.advance(&segment(u32::MAX - 4, ACK), 20).fresh_bytes, 10);
}

#[test]
fn a_keep_alive_and_a_window_probe_are_no_retransmissions() {
    let mut progress = begun();
    for _ in 0..3 {
        assert!(!progress.advance(&segment(149, ACK), 1).repeated, "keep-alive");
    }
    assert_eq!(progress.advance(&segment(150, ACK), 1).fresh_bytes, 1, "the first probe");
    assert!(!progress.advance(&segment(150, ACK), 1).repeated, "the second");
    let opened = progress.advance(&segment(150, ACK), 100);
    assert_eq!((opened.fresh_bytes, opened.repeated), (99, false));
}

#[test]
fn a_repeated_syn_or_fin_is_a_retransmission() {
    let mut progress = Progress::default();
    assert!(!progress.advance(&segment(99, SYN), 0).repeated);
    assert!(progress.advance(&segment(99, SYN), 0).repeated);
    assert!(!progress.advance(&segment(100, FIN | ACK), 10).repeated);
    assert!(progress.advance(&segment(110, FIN | ACK), 0).repeated);
}

#[test]
fn a_syn_of_another_number_starts_anew() {
    let mut progress = begun();
    progress.advance(&segment(7_000_000, SYN | ACK), 0);
    let next = progress.advance(&segment(7_000_001, ACK), 10);
    assert_eq!((next.fresh_bytes, next.in_order, next.repeated), (10, true, false));
}

#[test]
fn data_on_a_syn_count_once_whether_they_are_taken_or_refused() {
    let mut taken = Progress::default();
    assert_eq!(taken.advance(&segment(99, SYN), 300).fresh_bytes, 300);
    taken.answered(400);
    assert!(taken.advance(&segment(400, ACK), 10).in_order);
    let mut refused = Progress::default();
    refused.advance(&segment(99, SYN), 300);
    refused.answered(100);
    let again = refused.advance(&segment(100, ACK), 300);
    assert_eq!(again, Arrived { fresh_bytes: 300, repeated: false, in_order: true });
}

#[test]
fn a_fin_is_ahead_until_the_bytes_before_it_are_there() {
    let mut progress = begun();
    progress.advance(&segment(160, FIN | ACK), 0);
    assert!(progress.fin_ahead());
    progress.advance(&segment(150, ACK), 10);
    assert!(!progress.fin_ahead() && progress.fin);
}

#[test]
fn a_reset_from_nowhere_ends_nothing() {
    let mut progress = begun();
    progress.advance(&segment(100 + (1 << 31), RST), 0);
    assert!(!progress.rst);
    progress.advance(&segment(150, RST), 0);
    assert!(progress.rst);
}

proptest! {
    /// Segments of ten bytes, lost, late and repeated at will.
    #[test]
    fn bytes_are_counted_as_new_as_often_as_there_are_different_ones(
        start in any::<u32>(),
        order in proptest::collection::vec(0_u32..40, 1..200),
    ) {
        let (mut progress, mut seen) = (Progress::default(), BTreeSet::new());
        progress.advance(&segment(start.wrapping_sub(1), SYN), 0);
        let (mut fresh, mut repeats, mut repeated) = (0, 0, 0);
        let piece = |n: u32| segment(start.wrapping_add(10 * n), ACK);
        for n in order {
            let arrived = progress.advance(&piece(n), 10);
            fresh += arrived.fresh_bytes;
            repeated += u32::from(arrived.repeated);
            repeats += u32::from(!seen.insert(n));
            let span = 10 * (seen.last().unwrap() + 1);
            prop_assert_eq!(fresh + progress.loss.missing, span, "what is not there is missing");
            // While there are several holes a repeated piece may be taken for a missing one.
            prop_assert!(fresh >= 10 * u32::try_from(seen.len()).unwrap());
            prop_assert!(repeated <= repeats);
        }
        for n in 0..*seen.last().unwrap() {
            if !seen.contains(&n) {
                fresh += progress.advance(&piece(n), 10).fresh_bytes;
            }
        }
        prop_assert_eq!((fresh, progress.loss.missing), (10 * (seen.last().unwrap() + 1), 0));
    }
}
