//! Servers: slots, a queue before them, prefill and decode, and what goes wrong with them.

use std::collections::{HashSet, VecDeque};
use std::net::Ipv4Addr;

use fastpath::time::Nanos;

use super::chance::{Chance, Purpose, seconds};
use super::client::{Call, Phase};
use super::connection::{Connection, Side};
use super::scenario::{Disconnect, FaultKind, Pool};
use super::schedule::Event;
use super::slab::Id;
use super::stream::Message;
use super::world::World;

/// A server.
#[derive(Debug)]
pub(super) struct Replica {
    pub(super) pool: usize,
    pub(super) address: Ipv4Addr,
    slots: u32,
    /// Requests that have a slot.
    pub(super) busy: u32,
    /// Requests that wait for one. Some may have gone.
    queue: VecDeque<Id<Job>>,
    /// Of these, how many have not.
    pub(super) queued: u32,
    faults: Faults,
    /// Clients it has served before.
    warm: HashSet<(usize, u32)>,
}

/// What is wrong with a server.
#[derive(Clone, Copy, Debug)]
struct Faults {
    share: f64,
    slow: f64,
    lost: bool,
    resets: bool,
    fast_fail: f64,
    stalls: bool,
    throttle: Option<Nanos>,
}

/// A request at a server.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) call: Id<Call>,
    pub(super) attempt: u32,
    pub(super) group: usize,
    pub(super) host: u32,
    pub(super) replica: usize,
    pub(super) stage: Stage,
    /// Where its answer goes; nowhere when that is gone.
    pub(super) connection: Option<Id<Connection>>,
    /// When it got its slot.
    began: Nanos,
    interval: Nanos,
    records: u32,
    made: u32,
    chance: Chance,
}

/// Where a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// A control keeps it back.
    Held,
    /// It waits for a slot.
    Queued,
    /// It has one.
    Working,
}

/// The headers of an answer.
const HEAD: u32 = 420;
/// An error: headers and a few words.
const ERROR: u32 = 380;
/// Rate-limit headers make a 429 longer.
const THROTTLED: u32 = 470;
/// The chunk terminator.
const TERMINATOR: u32 = 5;
/// A record of a stream, from and to.
const RECORD: (u64, u64) = (220, 340);

impl Replica {
    pub(super) fn new(pool: usize, replica: u32, spec: &Pool) -> Self {
        let byte = |n: usize| u8::try_from(n).unwrap_or(u8::MAX);
        let address = Ipv4Addr::new(198, 18, byte(pool), byte(replica as usize + 1));
        Self {
            pool,
            address,
            slots: spec.slots,
            busy: 0,
            queue: VecDeque::new(),
            queued: 0,
            faults: Faults::NONE,
            warm: HashSet::new(),
        }
    }

    /// Slots there are at present.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a u32")]
    pub(super) fn slots(&self) -> u32 {
        ((f64::from(self.slots) * self.faults.share) as u32).max(1)
    }

    pub(super) fn resets(&self) -> bool {
        self.faults.resets
    }

    pub(super) fn is_lost(&self) -> bool {
        self.faults.lost
    }
}

impl Faults {
    const NONE: Self = Self {
        share: 1.0,
        slow: 1.0,
        lost: false,
        resets: false,
        fast_fail: 0.0,
        stalls: false,
        throttle: None,
    };
}

impl World<'_> {
    /// Something has arrived at a server.
    pub(super) fn at_server(&mut self, id: Id<Connection>, message: Message) {
        let answer = match message {
            Message::Hello => (&self.server_flight, Message::ServerFlight),
            Message::Finished => (&self.tickets, Message::None),
            Message::Request(call, attempt) => return self.requested(id, call, attempt),
            Message::None
            | Message::ServerFlight
            | Message::Head
            | Message::End
            | Message::Error { .. } => return,
        };
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.end(Side::Server).stream.give(answer.0, answer.1);
        self.flush(id, Side::Server);
    }

    /// The client has closed, or reset.
    pub(super) fn client_left(&mut self, id: Id<Connection>, reset: bool) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let Some(job_id) = connection.job else { return self.close(id, Side::Server) };
        let Some(job) = self.jobs.get_mut(job_id) else { return };
        let notices = match self.scenario.pools[self.replicas[job.replica].pool].disconnect {
            Disconnect::Abort => true,
            Disconnect::Reset => reset,
            Disconnect::Finish => false,
        };
        if notices || job.stage == Stage::Held {
            self.end_job(job_id);
            self.close(id, Side::Server);
        } else if reset {
            job.connection = None;
            if let Some(connection) = self.connections.get_mut(id) {
                connection.job = None;
            }
        }
    }

    /// A fault begins or ends.
    pub(super) fn fault(&mut self, index: usize, begins: bool) {
        let fault = &self.scenario.faults[index];
        let pool = fault.pool.as_deref().and_then(|name| self.scenario.pool(name));
        if let FaultKind::Load(factor) = fault.kind {
            let concerned =
                |group: &usize| pool.is_none_or(|pool| self.groups[*group].pool == pool);
            for group in (0..self.groups.len()).filter(concerned).collect::<Vec<_>>() {
                self.groups[group].factor = if begins { factor } else { 1.0 };
            }
            return;
        }
        let Some(pool) = pool else { return };
        let first = self.first_replica[pool];
        let all = 0..self.scenario.pools[pool].replicas as usize;
        let concerned = |n: &usize| fault.replica.is_none_or(|replica| replica as usize == *n);
        for replica in all.filter(concerned).map(|n| first + n) {
            let none = Faults::NONE;
            let faults = &mut self.replicas[replica].faults;
            match fault.kind {
                FaultKind::Cut(share) => faults.share = if begins { share } else { none.share },
                FaultKind::Slow(factor) => faults.slow = if begins { factor } else { none.slow },
                FaultKind::Blackhole => faults.lost = begins,
                FaultKind::Reset => faults.resets = begins,
                FaultKind::FastFail(share) => {
                    faults.fast_fail = if begins { share } else { none.fast_fail };
                }
                FaultKind::Stall => faults.stalls = begins,
                FaultKind::Throttle(after) => faults.throttle = begins.then(|| after.nanos()),
                FaultKind::Load(_) => {}
            }
            self.start_jobs(replica);
            self.release(replica);
        }
    }

    /// A server makes the next piece of an answer.
    pub(super) fn work(&mut self, id: Id<Job>) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        if job.made >= job.records {
            return self.end_job(id);
        }
        let slow = self.replicas[job.replica].faults.slow;
        let interval = seconds(job.interval.secs_f64() * slow);
        let Some(connection) = job.connection else {
            // Nobody will see it, and the slot is taken all the same.
            let left = u64::from(job.records - job.made);
            job.made = job.records;
            let end = self.now + Nanos(interval.0.saturating_mul(left));
            return self.schedule.push(end, Event::Work { job: id });
        };
        let first = job.made == 0;
        job.made += 1;
        let last = job.made == job.records;
        let bytes = u32::try_from(job.chance.between(RECORD.0, RECORD.1)).unwrap_or(0);
        if first {
            self.write(connection, Side::Server, HEAD, Message::Head);
        }
        self.write(connection, Side::Server, bytes, Message::None);
        if last {
            self.write(connection, Side::Server, TERMINATOR, Message::End);
            self.flush(connection, Side::Server);
            self.end_job(id);
        } else {
            self.flush(connection, Side::Server);
            self.schedule.push(self.now + interval, Event::Work { job: id });
        }
    }

    /// Puts a request before the slots of its replica, or refuses it.
    pub(super) fn enqueue(&mut self, id: Id<Job>) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        job.stage = Stage::Queued;
        let (index, connection) = (job.replica, job.connection);
        let replica = &mut self.replicas[index];
        let full = self.scenario.pools[replica.pool]
            .queue
            .is_some_and(|most| replica.busy >= replica.slots() && replica.queued >= most);
        if full {
            self.jobs.remove(id);
            if let Some(connection) = connection {
                self.answer_error(connection, 503, None);
            }
            return;
        }
        replica.queue.push_back(id);
        replica.queued += 1;
        self.start_jobs(index);
    }

    /// A request is over for its server: answered, or no longer wanted.
    pub(super) fn end_job(&mut self, id: Id<Job>) {
        let Some(job) = self.jobs.remove(id) else { return };
        let replica = &mut self.replicas[job.replica];
        match job.stage {
            Stage::Held => self.admission.dropped(job.replica),
            Stage::Queued => replica.queued -= 1,
            Stage::Working => {
                replica.busy -= 1;
                let wanted = self
                    .calls
                    .get(job.call)
                    .is_some_and(|call| call.attempt == job.attempt && call.phase == Phase::Served);
                let whole = job.made == job.records && job.connection.is_some();
                let slot = self.now.since(job.began).secs_f64();
                self.ledger.worked(self.now, job.group, slot, wanted && whole);
            }
        }
        if let Some(id) = job.connection
            && let Some(connection) = self.connections.get_mut(id)
        {
            connection.job = None;
            connection.used = self.now;
            if connection.end(Side::Server).peer_closed {
                self.close(id, Side::Server);
            }
        }
        self.start_jobs(job.replica);
        self.release(job.replica);
    }

    /// A whole request has arrived.
    fn requested(&mut self, id: Id<Connection>, call_id: Id<Call>, attempt: u32) {
        let now = self.now;
        let Some(connection) = self.connections.get(id) else { return };
        let (group, host, replica) = (connection.group, connection.host, connection.replica);
        let Some(replica) = replica else { return };
        let mut number = 0;
        if let Some(call) = self.calls.get_mut(call_id).filter(|call| call.attempt == attempt) {
            let first = !std::mem::replace(&mut call.reached, true);
            self.ledger.arrived(now, first, now.since(call.since));
            (call.phase, call.since) = (Phase::Served, now);
            number = call.number;
        } else {
            self.ledger.arrived(now, false, Nanos::ZERO);
        }
        let thing = number.wrapping_mul(64) + u64::from(attempt);
        let faults = self.replicas[replica].faults;
        let mut chance = Chance::new(self.seed, Purpose::Fault, thing);
        if faults.stalls {
            return;
        }
        if let Some(after) = faults.throttle.or_else(|| self.over_quota(replica, group)) {
            return self.answer_error(id, 429, Some(after));
        }
        if faults.fast_fail > 0.0 && chance.unit() < faults.fast_fail {
            return self.answer_error(id, 500, None);
        }
        let job = self.jobs.insert(Job {
            call: call_id,
            attempt,
            group,
            host,
            replica,
            stage: Stage::Held,
            connection: Some(id),
            began: now,
            interval: Nanos::ZERO,
            records: 0,
            made: 0,
            chance: Chance::new(self.seed, Purpose::Work, thing),
        });
        if let Some(connection) = self.connections.get_mut(id) {
            connection.job = Some(job);
        }
        self.admit(job);
    }

    pub(super) fn answer_error(&mut self, id: Id<Connection>, status: u16, after: Option<Nanos>) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.job = None;
        }
        let seconds = |after: Nanos| u16::try_from(after.0.div_ceil(1_000_000_000)).ok();
        let retry_after = after.and_then(seconds);
        let bytes = if status == 429 { THROTTLED } else { ERROR };
        self.ledger.refused(self.now, status);
        self.write(id, Side::Server, bytes, Message::Error { status, retry_after });
        self.flush(id, Side::Server);
    }

    /// Gives free slots to those who wait.
    fn start_jobs(&mut self, index: usize) {
        loop {
            let replica = &mut self.replicas[index];
            if replica.busy >= replica.slots() {
                return;
            }
            let Some(id) = replica.queue.pop_front() else { return };
            let Some(job) = self.jobs.get_mut(id) else { continue };
            replica.queued -= 1;
            replica.busy += 1;
            let pool = &self.scenario.pools[replica.pool];
            let cold = pool.cold_prefill > 1.0 && replica.warm.insert((job.group, job.host));
            let factor = replica.faults.slow * if cold { pool.cold_prefill } else { 1.0 };
            let prefill = pool.prefill.nanos().secs_f64() * job.chance.spread(pool.prefill_spread);
            let decode = pool.decode.nanos().secs_f64() * job.chance.spread(pool.decode_spread);
            job.stage = Stage::Working;
            job.began = self.now;
            job.records = records(decode, pool.record.nanos().secs_f64());
            job.interval = seconds(decode / f64::from(job.records.max(2) - 1));
            self.schedule.push(self.now + seconds(prefill * factor), Event::Work { job: id });
            let (call, attempt, group) = (job.call, job.attempt, job.group);
            self.maybe_leaves(call, attempt, group, prefill * factor + decode);
        }
    }

    /// Some clients lose interest before their answer is whole.
    fn maybe_leaves(&mut self, call: Id<Call>, attempt: u32, group: usize, service: f64) {
        let share = self.scenario.clients[group].leave;
        let Some(number) = self.calls.get(call).map(|call| call.number) else { return };
        let mut chance = Chance::new(self.seed, Purpose::Leave, number);
        if share > 0.0 && chance.unit() < share {
            let after = seconds(service * (0.05 + 0.9 * chance.unit()));
            self.schedule.push(self.now + after, Event::Leave { call, attempt });
        }
    }

    /// Takes a request from a tenant's quota; where it is used up, when to come back.
    fn over_quota(&mut self, replica: usize, group: usize) -> Option<Nanos> {
        let pool = self.replicas[replica].pool;
        let quota = self.scenario.pools[pool].quota?;
        let tenant = self.groups[group].tenant;
        let bucket = self.quotas.entry((pool, tenant)).or_insert((quota.burst, self.now));
        let refill = self.now.since(bucket.1).secs_f64() * quota.per_second;
        *bucket = ((bucket.0 + refill).min(quota.burst), self.now);
        if bucket.0 >= 1.0 {
            bucket.0 -= 1.0;
            return None;
        }
        Some(quota.retry_after.nanos())
    }
}

/// Records of an answer that takes `decode` seconds: one at the first byte, and one at each interval.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and small")]
fn records(decode: f64, record: f64) -> u32 {
    2 + (decode / record).min(1e5) as u32
}
