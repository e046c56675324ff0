//! P3 of docs/privacy.md: no sequence is kept. What is remembered of a flow has the same size after
//! ten records and after a hundred thousand, no type that it is made of holds a list of times, and
//! what is hashed is forgotten with its key.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use fastpath::burst::Direction::{ToClient, ToServer};
use fastpath::keyed::KEY_LIFE;
use fastpath::lcore::{Lcore, LcoreConfig, Outlets};
use fastpath::time::Nanos;
use syn::visit::{self, Visit};
use tests::connection::{Arrival, Connection};
use tests::cycle::{CyclePort, Lap};
use tests::play;

/// Records of a lap of a flow that goes on for ever.
const LAP: u32 = 8;
/// Records of the flows that are compared.
const FEW: u32 = 10;
const SOME: u32 = 1_000;
const MANY: u32 = 100_000;

fn connection() -> Connection {
    let at = Nanos::from_secs(1_700_000_000);
    let client = SocketAddr::from(([198, 51, 100, 1], 40_000));
    Connection::new(client, SocketAddr::from(([203, 0, 113, 9], 443)), at)
}

/// A response that never ends: its connection has been opened, and a lap is [`LAP`] of its records.
fn endless(mut connection: Connection, send: impl Fn(&mut Connection)) -> CyclePort {
    let first = connection.take();
    for _ in 0..LAP {
        send(&mut connection);
    }
    let laps: Vec<Arrival> = connection.take();
    // Ethernet, IPv4 and TCP without options stand before the payload.
    let payload: usize = laps.iter().map(|(.., frame)| frame.len() - 54).sum();
    let seq = u32::try_from(payload).unwrap();
    let laps = laps.into_iter().map(|arrival| (arrival, Lap::Advance { seq, ack: 0 }));
    CyclePort::new(first, laps.collect(), Nanos::from_millis(7))
}

fn http1() -> CyclePort {
    let mut connection = connection();
    connection.open("api.openai.com").data(ToServer, &[700]);
    endless(connection, |connection| {
        connection.data(ToClient, &[300]);
    })
}

fn http2() -> CyclePort {
    let mut connection = connection();
    connection.open_offering("api.openai.com", &["h2"]);
    connection.data(ToServer, &[82, 456, 1500, 9]);
    connection.data(ToClient, &[40, 9]);
    endless(connection, |connection| {
        connection.data(ToClient, &[300]);
    })
}

/// An inference server without TLS.
fn opaque() -> CyclePort {
    let mut connection = connection();
    connection.server.set_port(8000);
    connection.connect().send(ToServer, &[b'x'; 700]);
    endless(connection, |connection| {
        connection.send(ToClient, &[b'x'; 300]);
    })
}

fn play(lcore: &mut Lcore<CyclePort>, outlets: &Outlets, bursts: u32) {
    for _ in 0..bursts {
        lcore.run_once();
        while outlets.events.next().is_some() {}
    }
}

/// Bytes and pieces of memory that an lcore holds after a flow of so many records.
fn held(port: CyclePort, records: u32) -> (i64, i64) {
    let mut kept = None;
    let seen = allocation_counter::measure(|| {
        let config = LcoreConfig { flows: 64, names: 64, ..LcoreConfig::default() };
        let (mut lcore, outlets, snapshot) = play::lcore(port, config);
        play(&mut lcore, &outlets, 2 + records.div_ceil(LAP));
        kept = Some((lcore, outlets, snapshot));
    });
    let (lcore, ..) = kept.unwrap();
    assert_eq!(lcore.totals().flows.live, 1, "it is one flow");
    (seen.bytes_current, seen.count_current)
}

fn assert_constant(port: impl Fn() -> CyclePort) {
    let [few, some, many] = [FEW, SOME, MANY].map(|records| held(port(), records));
    assert_eq!(few, some, "{FEW} and {SOME} records");
    assert_eq!(few, many, "{FEW} and {MANY} records");
}

#[test]
fn state_does_not_grow_with_the_records_of_a_flow() {
    assert_constant(http1);
}

#[test]
fn state_does_not_grow_with_the_records_of_a_multiplexed_flow() {
    assert_constant(http2);
}

#[test]
fn state_does_not_grow_with_the_segments_of_an_opaque_flow() {
    assert_constant(opaque);
}

/// The endless flows are followed: they are not constant because nobody looks.
#[test]
fn the_endless_flows_are_followed() {
    for (port, records) in [(http1(), true), (http2(), true), (opaque(), false)] {
        let (mut lcore, outlets, _) = play::lcore(port, LcoreConfig::default());
        play(&mut lcore, &outlets, 200);
        assert_eq!(lcore.totals().records > 1_000, records);
        while lcore.finish() {}
        let mut exchanges = 0;
        while let Some(event) = outlets.events.next() {
            if let fastpath::telemetry::event::Event::Exchange(exchange) = event {
                assert!(exchange.down_bucket >= 300_000, "{exchange:?}");
                exchanges += 1;
            }
        }
        assert_eq!(exchanges, 1);
    }
}

/// A client that is refused, and tries again with a request of the same length `pause` later.
fn refused_and_tried_again(pause: Nanos, warm: Nanos) -> Vec<Arrival> {
    let mut arrivals = Vec::new();
    let mut early = connection();
    early.client.set_port(39_000);
    early.open("api.openai.com").wait(Nanos::from_millis(5)).exchange(1_000, 12).close();
    arrivals.extend(early.take());
    let mut connection = connection();
    connection.at += warm;
    let c = connection.open("api.openai.com").wait(Nanos::from_millis(5));
    c.data(ToServer, &[3_000]).wait(Nanos::from_millis(30)).data(ToClient, &[400]);
    c.wait(pause).data(ToServer, &[3_000]).wait(Nanos::from_millis(300));
    c.data(ToClient, &[900]).wait(Nanos::from_millis(300)).close();
    arrivals.extend(connection.take());
    arrivals
}

fn retries(arrivals: Vec<Arrival>) -> usize {
    let told = play::frames(arrivals).told;
    told.exchanges.iter().filter(|line| line.retry_of.is_some()).count()
}

/// The first tick begins a key's life. The request is refused before the key changes, and sent again
/// after.
#[test]
fn a_retry_is_known_across_the_change_of_the_key() {
    let almost = Nanos(KEY_LIFE.0 - Nanos::from_millis(1_500).0);
    assert_eq!(retries(refused_and_tried_again(Nanos::from_secs(3), almost)), 1);
    assert_eq!(retries(refused_and_tried_again(Nanos::from_secs(3), Nanos::from_secs(1))), 1);
}

/// Lists that may hold times, each with why it does not grow and what it is for.
const MAY_HOLD_TIMES: [(&str, &str); 5] = [
    // Two directions.
    ("FlowEntry", "halves"),
    // The last two records of a multiplexed connection: which of them ended a response is known
    // only from the next.
    ("Connection", "tail"),
    // At most eight records of requests that were joined: which of them were requests of their own
    // is known only when their bodies end.
    ("Splitter", "swallowed"),
    // Open streams, sixteen or sixty-four: one entry a request that runs.
    ("OpenStreams", "few"),
    ("OpenStreams", "room"),
];

/// Types of the data plane by name, and their fields. Types of one name are taken together.
#[derive(Default)]
struct Types(BTreeMap<String, Vec<Field>>);

struct Field {
    name: String,
    /// The names in its type.
    types: Vec<String>,
    is_list: bool,
}

impl Field {
    fn new(name: String, ty: &syn::Type) -> Self {
        Self { name, types: names(ty), is_list: is_list(ty) }
    }
}

impl<'ast> Visit<'ast> for Types {
    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        let fields = item.fields.iter().enumerate().map(|(n, field)| {
            let name = field.ident.as_ref().map_or(n.to_string(), ToString::to_string);
            Field::new(name, &field.ty)
        });
        self.0.entry(item.ident.to_string()).or_default().extend(fields);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        let fields = item.variants.iter().flat_map(|variant| &variant.fields);
        let fields = fields.map(|field| Field::new("variant".to_owned(), &field.ty));
        self.0.entry(item.ident.to_string()).or_default().extend(fields);
    }
}

/// The names in a type.
#[derive(Default)]
struct Names(Vec<String>);

impl<'ast> Visit<'ast> for Names {
    fn visit_ident(&mut self, ident: &'ast syn::Ident) {
        self.0.push(ident.to_string());
    }
}

fn names(ty: &syn::Type) -> Vec<String> {
    let mut names = Names::default();
    names.visit_type(ty);
    names.0
}

const LISTS: [&str; 8] =
    ["Vec", "VecDeque", "HashMap", "BTreeMap", "HashSet", "Memory", "Recent", "ArrayQueue"];

fn is_list(ty: &syn::Type) -> bool {
    struct Arrays(bool);
    impl<'ast> Visit<'ast> for Arrays {
        fn visit_type_array(&mut self, array: &'ast syn::TypeArray) {
            self.0 = true;
            visit::visit_type_array(self, array);
        }
        fn visit_type_slice(&mut self, slice: &'ast syn::TypeSlice) {
            self.0 = true;
            visit::visit_type_slice(self, slice);
        }
    }
    let mut arrays = Arrays(false);
    arrays.visit_type(ty);
    arrays.0 || names(ty).iter().any(|name| LISTS.contains(&name.as_str()))
}

impl Types {
    fn read(folders: &[&str]) -> Self {
        let mut types = Self::default();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fastpath/src");
        let mut waiting: Vec<PathBuf> = folders.iter().map(|folder| root.join(folder)).collect();
        while let Some(path) = waiting.pop() {
            if path.is_dir() {
                waiting.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            } else {
                types
                    .visit_file(&syn::parse_file(&std::fs::read_to_string(path).unwrap()).unwrap());
            }
        }
        types
    }

    /// The types that something of this type is made of.
    fn reachable(&self, roots: &[&str]) -> BTreeSet<String> {
        let mut waiting: Vec<String> = roots.iter().map(|&root| root.to_owned()).collect();
        let mut reached = BTreeSet::new();
        while let Some(name) = waiting.pop() {
            if self.0.contains_key(&name) && reached.insert(name.clone()) {
                waiting.extend(self.0[&name].iter().flat_map(|field| field.types.clone()));
            }
        }
        reached
    }

    /// Lists with a time in them, in what these types are made of.
    fn lists_of_times(&self, roots: &[&str]) -> BTreeSet<(String, String)> {
        let mut found = BTreeSet::new();
        for name in self.reachable(roots) {
            for field in self.0[&name].iter().filter(|field| field.is_list) {
                let inner: Vec<&str> = field.types.iter().map(String::as_str).collect();
                let times = inner.contains(&"Nanos") || self.reachable(&inner).contains("Nanos");
                if times {
                    found.insert((name.clone(), field.name.clone()));
                }
            }
        }
        found
    }
}

#[test]
fn no_state_of_a_flow_holds_a_list_of_times() {
    let types = Types::read(&["flow", "exchange", "parse", "burst", "time.rs"]);
    let found = types.lists_of_times(&["FlowEntry", "Connection"]);
    let allowed = MAY_HOLD_TIMES.map(|(name, field)| (name.to_owned(), field.to_owned()));
    assert_eq!(found, BTreeSet::from(allowed));
}

/// The test can fail: a list of (time, length) is found however deep it lies.
#[test]
fn a_list_of_times_and_lengths_is_found() {
    let text = "struct Root { a: Option<Inner> } struct Nanos(u64); \
                struct Inner { lengths: [u16; 4], seen: Vec<(u16, At)>, at: Nanos } \
                struct At { at: Nanos }";
    let mut types = Types::default();
    types.visit_file(&syn::parse_file(text).unwrap());
    let found = types.lists_of_times(&["Root"]);
    assert_eq!(found, BTreeSet::from([("Inner".to_owned(), "seen".to_owned())]));
}
