//! The table by example, and against a map.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::burst::{Address, Protocol};

fn key(n: u32) -> FlowKey {
    let [a, b, c, d] = n.to_be_bytes();
    let low = (Address::v4([a, b, c, d]), 1);
    FlowKey { low, high: (Address::v4([255; 4]), 443), protocol: Protocol::Tcp }
}

fn settle(table: &mut FlowTable) {
    table.take_ended(|_, _| {});
    table.begin_burst(0);
}

#[test]
fn a_flow_is_found_until_it_ends_and_can_be_read_a_little_longer() {
    let mut table = FlowTable::with_capacity(4);
    let flow = table.open(key(1), true, Nanos(1)).unwrap();
    assert_eq!(table.find(&key(1)), Some(flow));
    table.end(flow);
    assert_eq!(table.find(&key(1)), None);
    assert_eq!(table.flow(flow).key, key(1));
    let again = table.open(key(1), true, Nanos(2)).unwrap();
    assert_ne!(again, flow, "a slot never means two flows in one burst");
}

#[test]
fn a_full_table_lets_the_longest_idle_go() {
    let mut table = FlowTable::with_capacity(8);
    for n in 0..8 {
        table.open(key(n), true, Nanos(u64::from(n) + 1)).unwrap();
        settle(&mut table);
    }
    assert!(table.open(key(99), true, Nanos(100)).is_some());
    assert_eq!((table.find(&key(0)), table.totals().evicted, table.totals().live), (None, 1, 8));
}

#[test]
fn a_flood_never_outgrows_the_table() {
    let mut table = FlowTable::with_capacity(100);
    for n in 0..10_000 {
        assert!(table.open(key(n), true, Nanos(u64::from(n))).is_some());
        if n % 64 == 0 {
            settle(&mut table);
        }
    }
    assert_eq!(table.totals().live, 100);
}

#[test]
fn idle_flows_expire_within_a_round() {
    let mut table = FlowTable::with_capacity(100);
    (0..100).for_each(|n| assert!(table.open(key(n), true, Nanos::ZERO).is_some()));
    let step = |table: &mut FlowTable, now| {
        table.expire(now);
        settle(table);
        table.totals().expired
    };
    assert_eq!(step(&mut table, OPEN_IDLE), 0);
    let expired: Vec<u64> =
        (0..EXPIRE_ROUND).map(|_| step(&mut table, OPEN_IDLE + Nanos(1))).collect();
    assert_eq!(expired.first(), Some(&20), "a part of them at a time");
    assert_eq!(expired.last(), Some(&100));
}

/// What happens to a table.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A frame of this key, after which its flow is of this importance.
    Frame { key: u32, importance: u8 },
    /// The flow of this key ends.
    End { key: u32 },
    /// Seconds pass, and idle flows expire.
    Expire { secs: u64 },
    /// The next burst begins.
    Burst,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0_u32..60, 0_u8..3).prop_map(|(key, importance)| Step::Frame { key, importance }),
        2 => (0_u32..60).prop_map(|key| Step::End { key }),
        1 => (1_u64..400).prop_map(|secs| Step::Expire { secs }),
        2 => Just(Step::Burst),
    ];
    prop::collection::vec(step, 1..300)
}

/// Makes a flow half-open, closed or open.
fn become_important(entry: &mut FlowEntry, importance: u8) {
    let (up, down) = (Direction::ToServer, Direction::ToClient);
    entry.state.set(up, Of::SEEN);
    entry.state.put(down, Of::SEEN, importance > 0);
    entry.state.set(up, Of::HAS_SYN);
    entry.state.put(up, Of::RST, importance == 1);
}

/// The same table as a map: importance, last frame and slot of each live flow.
#[derive(Default)]
struct Model(HashMap<u32, (u8, Nanos, FlowId)>);

impl Model {
    /// Takes the flows out that the table no longer finds, and returns them.
    fn take_lost(&mut self, table: &FlowTable) -> Vec<(u8, Nanos, FlowId)> {
        let lost = self.0.extract_if(|&n, _| table.find(&key(n)).is_none());
        lost.map(|(_, flow)| flow).collect()
    }

    fn agrees(&self, table: &FlowTable) {
        for n in 0..60 {
            let flow = self.0.get(&n).map(|&(.., flow)| flow);
            assert_eq!(table.find(&key(n)), flow);
            assert!(flow.is_none_or(|flow| table.flow(flow).key == key(n)));
        }
        assert_eq!(table.totals().live, self.0.len() as u64);
    }

    fn frame(&mut self, table: &mut FlowTable, n: u32, importance: u8, now: Nanos) {
        const ROOM: usize = 16;
        if table.find(&key(n)).is_none() {
            let is_full = self.0.len() == ROOM;
            let flow = table.open(key(n), true, now).expect("a table this small has slots enough");
            let worst = self.0.values().min().copied().filter(|_| is_full);
            assert_eq!(self.take_lost(table), Vec::from_iter(worst), "the least important leaves");
            assert!(self.0.values().all(|&(.., other)| other != flow), "a slot is one flow");
            self.0.insert(n, (importance, now, flow));
        }
        let (rank, seen, flow) = self.0.get_mut(&n).expect("put in above");
        (*rank, *seen) = (importance, now);
        let entry = table.entry_mut(*flow);
        entry.last_seen = now;
        become_important(entry, importance);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn it_holds_what_a_map_would_hold(steps in steps()) {
        let (mut table, mut model) = (FlowTable::with_capacity(16), Model::default());
        let mut now = Nanos(1);
        let mut since_burst = 0;
        for step in steps {
            // No two flows were last seen at one time, and no burst has more frames than it can.
            now += Nanos(1);
            since_burst += 1;
            match step {
                Step::Frame { key, importance } => model.frame(&mut table, key, importance, now),
                Step::End { key } => {
                    if let Some((.., flow)) = model.0.remove(&key) {
                        table.end(flow);
                        prop_assert!(!table.entry(flow).state.is_live(), "it can still be read");
                    }
                }
                Step::Expire { secs } => {
                    now += Nanos::from_secs(secs);
                    (0..EXPIRE_ROUND).for_each(|_| table.expire(now));
                    settle(&mut table);
                    let limits = [HALF_OPEN_IDLE, CLOSED_IDLE, OPEN_IDLE];
                    let is_idle = |&(rank, seen, _): &(u8, Nanos, FlowId)| {
                        now.since(seen) > limits[usize::from(rank)]
                    };
                    let idle = model.0.values().filter(|flow| is_idle(flow)).count();
                    let lost = model.take_lost(&table);
                    prop_assert_eq!(lost.len(), idle);
                    prop_assert!(lost.iter().all(is_idle));
                }
                Step::Burst => since_burst = BURST_FRAMES,
            }
            if since_burst >= BURST_FRAMES {
                settle(&mut table);
                since_burst = 0;
            }
            model.agrees(&table);
        }
    }
}
