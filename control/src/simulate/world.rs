//! The world: everything there is in one column of a run, and the loop that lets time pass.

use std::collections::HashMap;
use std::sync::Arc;

use fastpath::policy::snapshot::Snapshot;
use fastpath::time::Nanos;

use super::admission::Admission;
use super::chance::{Chance, Purpose, seconds};
use super::client::{Call, Host, Phase, Task};
use super::connection::{Connection, Side};
use super::frame::Socket;
use super::ledger::{Gauges, Ledger};
use super::network::{Network, Plane};
use super::scenario::{Column, Load, Scenario};
use super::schedule::{Event, Schedule};
use super::server::{Job, Replica};
use super::slab::{Id, Slab};
use super::stream::Message;
use super::tls;

/// One column of a run.
pub(super) struct World<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) seed: u64,
    pub(super) now: Nanos,
    pub(super) schedule: Schedule,
    pub(super) network: Network,
    pub(super) connections: Slab<Connection>,
    /// By their client's end.
    pub(super) by_socket: HashMap<Socket, Id<Connection>>,
    pub(super) tasks: Slab<Task>,
    pub(super) calls: Slab<Call>,
    pub(super) jobs: Slab<Job>,
    pub(super) groups: Vec<GroupState>,
    pub(super) replicas: Vec<Replica>,
    /// Where the replicas of each pool begin.
    pub(super) first_replica: Vec<usize>,
    pub(super) admission: Admission,
    /// Tokens of a pool and tenant, and when they were counted.
    pub(super) quotas: HashMap<(usize, usize), (f64, Nanos)>,
    pub(super) ledger: Ledger,
    /// Messages that are being delivered.
    pub(super) messages: Vec<Message>,
    pub(super) server_flight: Arc<[u8]>,
    pub(super) tickets: Arc<[u8]>,
    pub(super) finished: Arc<[u8]>,
}

/// The hosts of a group.
#[derive(Debug)]
pub(super) struct GroupState {
    pub(super) hosts: Vec<Host>,
    pub(super) chance: Chance,
    /// Tasks a second, when nothing goes wrong.
    pub(super) per_second: f64,
    /// So many times more.
    pub(super) factor: f64,
    pub(super) pool: usize,
    pub(super) tenant: usize,
    /// Address of the first host, as a number.
    pub(super) first_address: u32,
    pub(super) hello: Arc<[u8]>,
}

/// When every simulation begins, as Unix time.
pub(super) const START: Nanos = Nanos::from_secs(1_700_000_000);
/// A request that has been under way for longer than this beyond its round trips is held, or lost.
const LATE: Nanos = Nanos::from_millis(20);
/// Addresses of hosts begin here; each group has prefixes of 16 bits of its own.
const FIRST_ADDRESS: u32 = u32::from_be_bytes([10, 16, 0, 0]);

impl<'a> World<'a> {
    pub(super) fn new(
        scenario: &'a Scenario,
        column: Column,
        snapshot: &Arc<Snapshot>,
        seed: u64,
    ) -> Self {
        let hosts: usize = scenario.clients.iter().map(|group| group.hosts as usize).sum();
        let plane = (column == Column::Lcore)
            .then(|| Plane::new(Arc::clone(snapshot), seed, 2 * hosts, scenario.wire));
        let mut replicas = Vec::new();
        let mut first_replica = Vec::new();
        for (place, pool) in scenario.pools.iter().enumerate() {
            first_replica.push(replicas.len());
            replicas.extend((0..pool.replicas).map(|n| Replica::new(place, n, pool)));
        }
        Self {
            scenario,
            seed,
            now: START,
            schedule: Schedule::default(),
            network: Network::new(&scenario.rtt, START, plane),
            connections: Slab::default(),
            by_socket: HashMap::new(),
            tasks: Slab::default(),
            calls: Slab::default(),
            jobs: Slab::default(),
            groups: Vec::new(),
            admission: Admission::new(column, replicas.len(), START),
            replicas,
            first_replica,
            quotas: HashMap::new(),
            ledger: Ledger::new(scenario, START, column == Column::Lcore),
            messages: Vec::new(),
            server_flight: Arc::from(tls::server_flight()),
            tickets: Arc::from(tls::tickets()),
            finished: Arc::from(tls::finished()),
        }
        .populated()
    }

    /// Lets the scenario run from its beginning to its end.
    pub(super) fn run(&mut self) {
        let end = START + self.scenario.duration.nanos();
        self.plan();
        loop {
            let next = self.network.next().min(self.schedule.next().unwrap_or(Nanos::MAX));
            if next > end {
                break;
            }
            self.now = next;
            self.network.poll(next);
            self.ledger.told(self.network.events());
            for side in [Side::Client, Side::Server] {
                while let Some(frame) = self.network.take(side, next) {
                    self.arrive(side, frame);
                }
            }
            while let Some(event) = self.schedule.pop(next) {
                self.happen(event);
            }
        }
        self.now = end;
        while self.network.finish() {
            self.ledger.told(self.network.events());
        }
        self.ledger.told(self.network.events());
    }

    fn populated(mut self) -> Self {
        let mut address = FIRST_ADDRESS;
        for (place, group) in self.scenario.clients.iter().enumerate() {
            let pool = self.scenario.pool(&group.pool).expect("checked with the scenario");
            let spec = &self.scenario.pools[pool];
            let calls = f64::from(group.children) * f64::from(group.steps);
            let per_second = match group.load {
                Load::PerSecond(rate) => rate,
                Load::Utilisation(share) => share * spec.capacity() / calls,
                Load::Think(rest) => f64::from(group.hosts) / rest.nanos().secs_f64(),
            };
            self.groups.push(GroupState {
                hosts: (0..group.hosts).map(|_| Host::default()).collect(),
                chance: Chance::new(self.seed, Purpose::Arrival, place as u64),
                per_second,
                factor: 1.0,
                pool,
                tenant: self.ledger.tenant(group.tenant()),
                first_address: address,
                hello: Arc::from(tls::client_hello(group.profile, &spec.host)),
            });
            address += group.hosts.div_ceil(1 << 16) << 16;
        }
        self
    }

    /// Asks for what happens by itself.
    fn plan(&mut self) {
        for group in 0..self.groups.len() {
            if let Load::Think(rest) = self.scenario.clients[group].load {
                for host in 0..self.scenario.clients[group].hosts {
                    let wait = self.groups[group].chance.exponential(rest.nanos().secs_f64());
                    self.schedule.push(START + seconds(wait), Event::Think { group, host });
                }
            } else {
                self.schedule.push(START, Event::Arrival { group });
            }
        }
        for (index, fault) in self.scenario.faults.iter().enumerate() {
            let begins = START + fault.at.nanos();
            self.schedule.push(begins, Event::Fault { index, begins: true });
            let ends = begins + fault.lasts.nanos();
            self.schedule.push(ends, Event::Fault { index, begins: false });
        }
        self.schedule.push(START + SECOND, Event::Second);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrival { group } => self.arrival(group),
            Event::Think { group, host } => self.begin(group, host),
            Event::Step { task } => self.step(task),
            Event::Attempt { call } => self.attempt(call),
            Event::Timeout { call, attempt } => self.timeout(call, attempt),
            Event::ConnectTimeout { connection } => self.connect_timeout(connection),
            Event::Leave { call, attempt } => self.lose_interest(call, attempt),
            Event::Retransmit { connection, side } => self.retransmit(connection, side),
            Event::Work { job } => self.work(job),
            Event::Fault { index, begins } => self.fault(index, begins),
            Event::Second => self.second(),
        }
    }

    /// A second is over.
    fn second(&mut self) {
        let (rtt, now) = (&self.scenario.rtt, self.now);
        let round_trips = Nanos(4 * (rtt.client.nanos().0 + rtt.server.nanos().0));
        let late = |call: &Call| {
            matches!(call.phase, Phase::Connecting | Phase::Sent)
                && now.since(call.since) > round_trips + LATE
        };
        let held = self.calls.iter().filter(|(_, call)| late(call)).count();
        let gauges = Gauges {
            working: self.replicas.iter().map(|replica| replica.busy).sum(),
            queued: self.replicas.iter().map(|replica| replica.queued).sum(),
            held: u32::try_from(held).unwrap_or(u32::MAX) + self.admission.held(),
        };
        self.ledger.second(now, &gauges);
        self.sweep();
        self.schedule.push(now + SECOND, Event::Second);
    }
}

const SECOND: Nanos = Nanos::from_secs(1);
