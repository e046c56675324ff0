//! The limit against a server of so many slots: what it admits, and what it never does.

use super::*;

/// A server: one first byte after `prefill` ms, the end after `decode` ms more, in `slots` at once.
struct Rig {
    limit: Limit,
    now: u64,
    slots: usize,
    queue: VecDeque<(Ticket, u64)>,
    running: Vec<(Ticket, u64, Option<u64>)>,
    held: usize,
    ticked: u64,
}

const PREFILL: u64 = 300;
const DECODE: u64 = 1700;

fn at(ms: u64) -> Nanos {
    Nanos::from_millis(ms)
}

impl Rig {
    fn new(slots: usize) -> Self {
        let limit = Limit::new(1);
        Self {
            limit,
            now: 0,
            slots,
            queue: VecDeque::new(),
            running: Vec::new(),
            held: 0,
            ticked: 0,
        }
    }

    fn forward(&mut self) {
        let ticket = self.limit.forwarded(at(self.now));
        self.queue.push_back((ticket, self.now));
    }

    /// One millisecond of the server.
    fn step(&mut self) {
        self.now += 1;
        let (now, held) = (self.now, self.held);
        for (ticket, began, first) in &mut self.running {
            if first.is_none() && now >= *began + PREFILL {
                *first = Some(now);
                self.limit.first_byte(*ticket, Nanos::ZERO, held, at(now));
            }
        }
        let limit = &mut self.limit;
        self.running.retain(|(ticket, began, first)| {
            let over = now >= began + PREFILL + DECODE;
            if over {
                limit.ended(*ticket, first.map(at), held, at(now));
            }
            !over
        });
        while self.running.len() < self.slots
            && let Some((ticket, _)) = self.queue.pop_front()
        {
            self.running.push((ticket, now, None));
        }
        if now >= self.ticked + 250 {
            self.ticked = now;
            self.limit.tick(self.held, at(now));
        }
    }

    /// So many seconds with a request every `every` ms; those that are not admitted wait here.
    fn play(&mut self, secs: u64, every: u64) -> usize {
        let mut most_held = 0;
        for ms in 0..secs * 1000 {
            if ms % every == 0 {
                self.held += 1;
            }
            // What arrives first is judged as if nothing were held.
            while self.held > 0 && self.limit.judge(self.held - 1, at(self.now)).admits {
                self.held -= 1;
                self.forward();
            }
            most_held = most_held.max(self.held);
            self.step();
        }
        most_held
    }
}

#[test]
fn a_server_with_room_holds_nothing() {
    let mut rig = Rig::new(64);
    assert_eq!(rig.play(60, 40), 0, "25 a second of 32");
    assert!(rig.limit.judge(0, at(rig.now)).base_secs.is_some_and(|p| (0.29..0.32).contains(&p)));
}

#[test]
fn a_cut_to_a_tenth_is_held_at_what_the_server_takes_up() {
    let mut rig = Rig::new(64);
    rig.play(60, 40);
    rig.slots = 6;
    rig.play(20, 40);
    let waiting = rig.queue.len();
    assert!(waiting < 32, "{waiting} wait at a server of six slots");
    let judgement = rig.limit.judge(rig.held, at(rig.now));
    assert!(rig.held > 100 && !judgement.admits, "{judgement:?}");
    rig.slots = 64;
    rig.play(80, 40);
    assert_eq!(rig.held, 0, "a surplus of 7 a second has taken up what waited");
}

#[test]
fn a_server_that_gives_no_first_byte_is_a_stall() {
    let mut rig = Rig::new(64);
    rig.play(60, 40);
    rig.slots = 0;
    rig.play(10, 40);
    let judgement = rig.limit.judge(rig.held, at(rig.now));
    assert!(judgement.stall && judgement.evidence && !judgement.admits);
    assert_eq!(judgement.waiting_max, Some(WAITING_FREE));
}

#[test]
fn until_the_base_is_known_only_the_hard_cap_holds() {
    let mut limit = Limit::new(1);
    let admitted = (0..200).take_while(|_| {
        let admits = limit.judge(0, at(1)).admits;
        if admits {
            limit.forwarded(at(1));
        }
        admits
    });
    assert_eq!(admitted.count(), 64);
    assert!(
        Limit::new(4).judge(0, at(1)).in_flight_max < 17.0,
        "each of four lcores has a quarter"
    );
}

#[test]
fn a_request_that_eight_overtook_does_not_count_as_waiting() {
    let mut limit = Limit::new(1);
    limit.forwarded(at(0));
    for n in 1..=8 {
        let ticket = limit.forwarded(at(n));
        limit.first_byte(ticket, Nanos::ZERO, 0, at(n + 10));
    }
    let judgement = limit.judge(0, at(30));
    assert_eq!((judgement.waiting, judgement.in_flight), (0, 9));
}

#[test]
fn throttling_lowers_what_may_be_in_flight_once_a_second_and_it_grows_again() {
    let mut limit = Limit::new(1);
    for _ in 0..40 {
        limit.forwarded(at(0));
    }
    let most = |limit: &Limit, ms: u64| limit.judge(0, at(ms)).in_flight_max;
    (0..100).for_each(|ms| limit.throttled(at(ms)));
    assert!((most(&limit, 100) - 28.0).abs() < 1e-9, "a wave lowers it once");
    limit.throttled(at(1000));
    assert!((most(&limit, 1000) - 19.6).abs() < 1e-9);
    assert!(!limit.judge(0, at(1000)).admits);
    (0..400).for_each(|n| limit.tick(0, at(1000 + 250 * n)));
    assert!(most(&limit, 101_000) >= 64.0, "it is gone");
}

proptest::proptest! {
    /// Whatever happens in whatever order, what is counted is what was forwarded and is not over.
    #[test]
    fn in_flight_is_what_was_forwarded_and_has_not_ended(
        steps in proptest::collection::vec((0u8..3, 0usize..64, 0u64..200), 1..300)
    ) {
        let mut limit = Limit::new(1);
        let mut open: Vec<(Ticket, Option<Nanos>)> = Vec::new();
        let mut now = 0;
        for (what, which, ms) in steps {
            now += ms;
            match what {
                0 => open.push((limit.forwarded(at(now)), None)),
                1 if !open.is_empty() => {
                    let which = which % open.len();
                    let (ticket, first) = &mut open[which];
                    if first.is_none() {
                        *first = Some(at(now));
                        limit.first_byte(*ticket, Nanos::ZERO, 0, at(now));
                    }
                }
                2 if !open.is_empty() => {
                    let (ticket, first) = open.swap_remove(which % open.len());
                    limit.ended(ticket, first, 0, at(now));
                }
                _ => limit.tick(0, at(now)),
            }
            let judgement = limit.judge(0, at(now));
            proptest::prop_assert_eq!(judgement.in_flight, open.len());
            let waiting = open.iter().filter(|(_, first)| first.is_none()).count();
            proptest::prop_assert!(judgement.waiting <= waiting);
        }
    }
}
