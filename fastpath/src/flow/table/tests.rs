//! The table by example, and against a map.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::burst::{Address, Datagram, Protocol, Tcp, TcpFlags};

fn key(n: u32) -> FlowKey {
    let [a, b, c, d] = n.to_be_bytes();
    let low = (Address::v4([a, b, c, d]), 1);
    FlowKey { low, high: (Address::v4([255; 4]), 443), protocol: Protocol::Tcp }
}

fn settle(table: &mut FlowTable) {
    table.take_ended(|_, _| {});
    table.begin_burst(0);
}

/// The headers of a segment without payload.
fn headers_of(tcp: Tcp) -> Headers {
    Headers {
        source: Address::default(),
        destination: Address::default(),
        source_port: 1,
        destination_port: 443,
        protocol: Protocol::Tcp,
        tcp,
        datagram: Datagram::Other,
        fragment: None,
        network_offset: 14,
        transport_offset: 34,
        payload_offset: 54,
        payload_bytes: 0,
        payload_wire_bytes: 0,
    }
}

/// A frame of either direction passes.
fn hear_both(table: &mut FlowTable, flow: FlowId, at: Nanos) {
    for direction in [Direction::ToServer, Direction::ToClient] {
        table.entry_mut(flow).count(direction, 60, at);
    }
}

#[test]
fn a_flow_is_found_until_it_ends_and_can_be_read_a_little_longer() {
    let mut table = FlowTable::with_capacity(4);
    let flow = table.open(key(1), true, Nanos(1)).unwrap();
    assert_eq!(table.find(&key(1)), Some(flow));
    table.end(flow);
    assert_eq!(table.find(&key(1)), None);
    assert_eq!(table.flow(flow).key(), key(1));
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
fn of_flows_without_an_answer_one_that_was_heard_again_outlasts_the_others() {
    let mut table = FlowTable::with_capacity(8);
    for n in 0..8 {
        let flow = table.open(key(n), true, Nanos(1)).unwrap();
        for _ in 0..if n == 0 { 2 } else { 1 } {
            table.entry_mut(flow).count(Direction::ToServer, 60, Nanos(2));
        }
    }
    table.open(key(99), true, Nanos(3)).unwrap();
    assert_eq!([0, 1, 2].map(|n| table.find(&key(n)).is_some()), [true, false, true]);
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
fn a_flood_pushes_out_its_own_and_no_flow_that_was_answered() {
    const CONVERSATIONS: u32 = 600;
    let mut table = FlowTable::with_capacity(1000);
    let hear = |table: &mut FlowTable, at| {
        for n in 0..CONVERSATIONS {
            let flow = table.find(&key(n)).expect("a conversation stays");
            hear_both(table, flow, at);
        }
    };
    for n in 0..CONVERSATIONS {
        table.open(key(n), true, Nanos(1)).unwrap();
    }
    hear(&mut table, Nanos(2));
    for n in 0..10_000 {
        let at = Nanos::from_millis(u64::from(n));
        let flow = table.open(key(1_000_000 + n), true, at).expect("another one leaves");
        table.entry_mut(flow).count(Direction::ToServer, 60, at);
        if n % 64 == 0 {
            settle(&mut table);
        }
    }
    hear(&mut table, Nanos::from_secs(11));
    assert_eq!(table.totals().live, 1000);
}

#[test]
fn of_a_table_of_conversations_the_one_leaves_that_rests() {
    let mut table = FlowTable::with_capacity(64);
    for n in 0..64 {
        let flow = table.open(key(n), true, Nanos(1)).unwrap();
        hear_both(&mut table, flow, Nanos(100 - u64::from(n)));
    }
    table.open(key(100), true, Nanos(200)).unwrap();
    assert_eq!(
        table.find(&key(63)),
        None,
        "of all that were heard of the one that is silent longest"
    );
    settle(&mut table);
    for n in (0..63).chain([100]).filter(|&n| n != 5) {
        let flow = table.find(&key(n)).unwrap();
        hear_both(&mut table, flow, Nanos(300));
    }
    table.open(key(101), true, Nanos(400)).unwrap();
    assert_eq!(table.find(&key(5)), None);
    assert_eq!((table.totals().live, table.totals().evicted), (64, 2));
}

#[test]
fn a_closed_flow_leaves_before_one_that_is_open() {
    let mut table = FlowTable::with_capacity(4);
    for n in 0..4 {
        let flow = table.open(key(n), true, Nanos(1)).unwrap();
        hear_both(&mut table, flow, Nanos(2));
    }
    let (flow, rst) = (table.find(&key(2)).unwrap(), TcpFlags(0x04));
    let headers = headers_of(Tcp { flags: rst, ..Tcp::default() });
    table.segment(flow, &headers, Direction::ToServer, Nanos(3));
    table.open(key(9), true, Nanos(4)).unwrap();
    assert_eq!(table.find(&key(2)), None);
}

#[test]
fn neighbouring_ports_find_places_under_every_seed() {
    for _ in 0..500 {
        let mut table = FlowTable::with_capacity(100);
        assert!((0..100).all(|n| table.open(key(n), true, Nanos::ZERO).is_some()));
    }
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
            assert!(flow.is_none_or(|flow| table.flow(flow).key() == key(n)));
        }
        assert_eq!(table.totals().live, self.0.len() as u64);
    }

    fn frame(&mut self, table: &mut FlowTable, n: u32, importance: u8, now: Nanos) {
        const ROOM: usize = 16;
        if table.find(&key(n)).is_none() {
            let is_full = self.0.len() == ROOM;
            let least = self.0.values().map(|&(rank, ..)| rank).min().filter(|_| is_full);
            let latest = self.0.values().map(|&(_, seen, _)| seen).max();
            let flow = table.open(key(n), true, now).expect("a table this small has slots enough");
            // Which of them leaves goes by when they were looked at: a sample of the oldest.
            for (rank, seen, _) in self.take_lost(table) {
                assert_eq!(Some(rank), least, "the least important leaves");
                assert!(rank < 2 || Some(seen) != latest, "and not what was heard of last");
            }
            assert!(self.0.values().all(|&(.., other)| other != flow), "a slot is one flow");
            self.0.insert(n, (importance, now, flow));
        }
        let (rank, seen, flow) = self.0.get_mut(&n).expect("put in above");
        // What was answered stays so.
        *rank = if *rank == 0 { importance } else { importance.max(1) };
        *seen = now;
        let entry = table.entry_mut(*flow);
        entry.count(Direction::ToServer, 60, now);
        let was_closed = entry.is_closed();
        become_important(entry, *rank);
        if entry.is_closed() && !was_closed {
            table.note_closed(*flow);
        }
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
