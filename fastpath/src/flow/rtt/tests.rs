//! Round trips by example, and against a network that loses, delays and repeats.

use proptest::prelude::*;

use super::*;
use crate::burst::{TcpFlags, Timestamps};
use crate::flow::tcp::Progress;

const ACK: u8 = 0x10;

/// One direction and the acknowledgments of it, as `FlowTable` connects them.
#[derive(Default)]
struct Path {
    tcp: Progress,
    rtt: RoundTrip,
}

impl Path {
    fn data(&mut self, ms: u64, seq: u32, length: u32, value: Option<u32>) {
        let timestamps = value.map(|value| Timestamps { value, echo: 0 });
        let tcp = Tcp { seq, flags: TcpFlags(ACK), timestamps, ..Tcp::default() };
        let arrived = self.tcp.advance(&tcp, length);
        self.rtt.sent(&tcp, seq + length, arrived, Nanos::from_millis(ms));
    }

    fn ack(&mut self, ms: u64, ack: u32, echo: Option<u32>) -> Option<u64> {
        let timestamps = echo.map(|echo| Timestamps { value: 0, echo });
        let tcp = Tcp { ack, flags: TcpFlags(ACK), timestamps, ..Tcp::default() };
        self.tcp.acknowledged(ack);
        self.rtt.acknowledged(&tcp, Nanos::from_millis(ms)).map(|took| took.0 / 1_000_000)
    }
}

#[test]
fn a_sample_is_from_the_segment_to_what_acknowledges_it() {
    let mut path = Path::default();
    path.data(0, 100, 50, None);
    path.data(3, 150, 50, None);
    assert_eq!(path.ack(10, 149, None), None, "not yet all of it");
    assert_eq!(path.ack(20, 150, None), Some(20));
    assert_eq!(path.ack(23, 200, None), None, "one sample at a time");
    path.data(30, 200, 50, None);
    assert_eq!(path.ack(42, 250, None), Some(12));
    assert_eq!(path.rtt.timing.minimum(), Some(Nanos::from_millis(12)));
    assert_eq!(path.rtt.timing.smoothed(), Some(Nanos::from_millis(19)));
}

#[test]
fn a_repeated_segment_gives_no_sample() {
    let mut path = Path::default();
    path.data(0, 100, 50, None);
    path.data(200, 100, 50, None);
    assert_eq!(path.ack(220, 150, None), None);
    assert_eq!(path.rtt.timing.smoothed(), None);
}

#[test]
fn a_timestamp_tells_which_of_the_two_was_answered() {
    for (echo, sample) in [(1200, Some(20)), (1000, None)] {
        let mut path = Path::default();
        path.data(0, 100, 50, Some(1000));
        path.data(200, 100, 50, Some(1200));
        assert_eq!(path.ack(220, 150, Some(echo)), sample);
    }
}

#[test]
fn a_clock_that_has_not_moved_tells_nothing() {
    let mut path = Path::default();
    path.data(0, 100, 50, Some(1000));
    path.data(200, 100, 50, Some(1000));
    assert_eq!(path.ack(220, 150, Some(1000)), None);
}

#[test]
fn a_segment_behind_a_hole_gives_no_sample() {
    let mut path = Path::default();
    path.data(0, 100, 50, None);
    assert_eq!(path.ack(20, 150, None), Some(20));
    path.data(30, 200, 50, None);
    path.data(300, 150, 50, None);
    assert_eq!(path.ack(320, 250, None), None, "nor what closes it, which may be a repetition");
    path.data(330, 250, 50, None);
    assert_eq!(path.ack(350, 300, None), Some(20));
}

/// What becomes of one transmission: lost before us, lost behind us, milliseconds to us and beyond.
type Fate = (bool, bool, u64, u64);

/// What passes here: when, which segment, when it was sent, and when it will arrive, if it does.
fn transmissions(fates: &[Vec<Fate>]) -> Vec<(u64, u32, u64, Option<u64>)> {
    let mut passing = Vec::new();
    for (n, tries) in fates.iter().enumerate() {
        for (attempt, &(before, behind, to_us, onward)) in tries.iter().enumerate() {
            let last = attempt + 1 == tries.len();
            let sent = 5 * n as u64 + 300 * attempt as u64;
            let here = sent + to_us;
            if !before || last {
                let arrives = (!behind || last).then_some(here + onward);
                passing.push((here, u32::try_from(n).unwrap(), sent, arrives));
            }
        }
    }
    passing.sort_unstable();
    passing
}

proptest! {
    #[test]
    fn samples_lie_within_the_truth_whatever_is_lost_late_or_repeated(
        fates in proptest::collection::vec(
            proptest::collection::vec((any::<bool>(), any::<bool>(), 0_u64..20, 10_u64..30), 1..4),
            1..30,
        ),
        stamped in any::<bool>(),
    ) {
        let passing = transmissions(&fates);
        let stamp = |ms: u64| stamped.then(|| 7000 + u32::try_from(ms).unwrap());
        // Arrivals at the receiver, which acknowledges at once; the answer takes 10 ms back to us.
        let mut arrivals: Vec<(u64, u32, Option<u32>)> = passing
            .iter()
            .filter_map(|&(_, n, sent, arrives)| Some((arrives?, n, stamp(sent))))
            .collect();
        arrivals.sort_unstable();
        let (mut have, mut recent) = (vec![false; fates.len()], None);
        let mut acks = Vec::new();
        for (at, n, value) in arrivals {
            let due = have.iter().take_while(|&&have| have).count();
            if n as usize <= due {
                recent = value; // RFC 7323, 4.3
            }
            have[n as usize] = true;
            let next = have.iter().take_while(|&&have| have).count();
            acks.push((at + 10, 1000 * u32::try_from(next).unwrap(), recent));
        }
        let mut path = Path::default();
        let mut passed = vec![Vec::new(); fates.len()];
        let (mut passing, mut acks) = (passing.into_iter().peekable(), acks.into_iter().peekable());
        path.data(0, 0, 0, None);
        loop {
            let next_is_data = match (passing.peek(), acks.peek()) {
                (Some(data), Some(ack)) => data.0 <= ack.0,
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (None, None) => break,
            };
            if next_is_data {
                let (here, n, sent, _) = passing.next().unwrap();
                passed[n as usize].push(here);
                path.data(here, 1000 * n, 1000, stamp(sent));
            } else {
                let (at, ack, echo) = acks.next().unwrap();
                let end = path.rtt.timing.end;
                if let Some(took) = path.ack(at, ack, echo) {
                    prop_assert!((20..=40).contains(&took), "{took} ms");
                    let sampled = &passed[(end / 1000) as usize - 1];
                    prop_assert!(stamped || sampled.len() == 1, "a retransmission gave a sample");
                }
            }
        }
    }
}
