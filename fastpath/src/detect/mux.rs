//! Outcome, retries and tokens of HTTP/2 streams.
//!
//! A stream that ran alone is judged like an exchange of HTTP/1.1. Of streams that ran among others
//! the sums on their connection are meant: which of them an error or a reset belongs to is a guess,
//! which a retry that follows may correct while they are held back.

mod held;
mod link;
mod shape;

use std::collections::{HashMap, VecDeque};

use super::episode::Subject;
use super::retry::{Caller, DECIDE_AFTER, Link};
use super::{Account, Begun, Clients, NO_VERDICT, caller, complete, signal_end, tokens};
use crate::burst::{Address, Packets};
use crate::exchange::Exchanges;
use crate::exchange::mux::{MuxEdge, Stream, StreamEnding, StreamFacts};
use crate::flow::table::FlowTable;
use crate::keyed::Keys;
use crate::lru::LruMap;
use crate::policy::endpoint::Class;
use crate::policy::learnt::LearntHttp2;
use crate::policy::snapshot::Snapshot;
use crate::telemetry::event::{Decision, EventSender, Exchange, ExchangeId, Outcome, Visibility};
use crate::telemetry::grounds::{Ended, Grounds, LinkGrounds, OutcomeRule};
use crate::time::Nanos;
use held::Held;
use link::{Links, Size};

use shape::{Shapes, Suspect};

/// What an lcore remembers of the clients and servers of HTTP/2.
#[derive(Debug)]
pub(super) struct Streams {
    links: Links,
    shapes: LruMap<Address, Shapes>,
    /// Streams that are not decided yet, by number: the order in which they became known.
    undecided: VecDeque<Undecided>,
    /// What was decided of streams that still run.
    running: HashMap<ExchangeId, (Link, Decision)>,
    /// Streams that are over, and may have been something else.
    held: Held,
    /// Streams that found no room in one of these.
    pushed_out: u64,
}

#[derive(Debug)]
struct Undecided {
    begun: Begun,
    /// Its end, if that has come meanwhile.
    ended: Option<(Exchange, Size, Nanos, Option<Suspect>)>,
}

const UNDECIDED_MAX: usize = 8192;
const RUNNING_MAX: usize = 8192;
/// Streams decided, or given free, in one burst at most.
const PER_BURST: usize = 64;

impl Streams {
    /// For so many clients and servers.
    pub(super) fn with_capacity(clients: usize, servers: usize) -> Self {
        Self {
            links: Links::with_capacity(clients),
            shapes: LruMap::with_capacity(servers),
            undecided: VecDeque::with_capacity(UNDECIDED_MAX),
            running: HashMap::with_capacity(2 * RUNNING_MAX),
            held: Held::default(),
            pushed_out: 0,
        }
    }

    /// Whether a stream is still to be told of.
    pub(super) fn has_undecided(&self) -> bool {
        !self.undecided.is_empty() || !self.held.is_empty()
    }

    /// Groups, servers and streams that were forgotten before their time.
    pub(super) fn evicted(&self) -> u64 {
        self.links.evicted() + self.shapes.evicted + self.pushed_out + self.held.pushed_out
    }

    /// What is learnt of a server.
    pub(super) fn export(&self, server: Address) -> LearntHttp2 {
        self.shapes.get(&server).map(Shapes::export).unwrap_or_default()
    }

    /// Forgets what was hashed under a key that is gone, a little of it a call.
    pub(super) fn sweep(&mut self, keys: &Keys) {
        self.links.sweep(keys);
    }

    /// Notes what is done with a decided attempt that is not told of yet.
    pub(super) fn note_verdict(&mut self, id: ExchangeId, verdict: Decision) {
        if let Some((_, noted)) = self.running.get_mut(&id) {
            *noted = verdict;
        } else {
            self.held.note_verdict(id, verdict);
        }
    }

    fn waiting_mut(&mut self, id: ExchangeId) -> Option<&mut Undecided> {
        let place = self.undecided.binary_search_by_key(&id, |waiting| waiting.begun.id).ok()?;
        self.undecided.get_mut(place)
    }
}

/// Looks at the streams that began and ended in this burst, and decides those whose time has come.
pub(super) fn observe(
    packets: &Packets,
    flows: &FlowTable,
    exchanges: &Exchanges,
    clients: &mut Clients,
    policy: &Snapshot,
    events: &mut EventSender,
) {
    for edge in exchanges.mux.edges() {
        match *edge {
            MuxEdge::Opened { id, flow, endpoint, at } => {
                let streams = &mut clients.streams;
                let caller = caller(flows, flow);
                let key = streams.links.key(&caller);
                let entry = flows.flow(flow);
                let started = (id, caller.application);
                streams.links.started(key, started, (flow, entry.number), at);
                let begun = Begun {
                    id,
                    flow,
                    peers: entry.peers(),
                    endpoint,
                    at,
                    meant: at,
                    continues: false,
                    application: caller.application,
                    place: None,
                };
                let waiting = Undecided { begun, ended: None };
                if streams.undecided.len() == UNDECIDED_MAX {
                    decide_next(exchanges, clients, policy, events);
                }
                clients.streams.undecided.push_back(waiting);
            }
            MuxEdge::Ended(facts) => ended(&facts, flows, clients, policy, events),
            MuxEdge::MaybeReset { flow, at } => {
                let links = &mut clients.streams.links;
                let key = links.key(&caller(flows, flow));
                links.maybe_ended(key, flows.flow(flow).number, at);
            }
        }
    }
    for _ in 0..PER_BURST {
        let next = clients.streams.undecided.front();
        if next.is_none_or(|waiting| waiting.begun.at + DECIDE_AFTER > packets.now) {
            break;
        }
        decide_next(exchanges, clients, policy, events);
    }
    let Clients { streams, finished, .. } = clients;
    for _ in 0..PER_BURST {
        // At the end of an observation nothing more will follow.
        let shapes = |server: &Address| streams.shapes.get(server);
        let Some(exchange) = streams.held.pop_due(packets.now, shapes) else { break };
        finished.push(exchange);
    }
}

fn ended(
    facts: &StreamFacts,
    flows: &FlowTable,
    clients: &mut Clients,
    policy: &Snapshot,
    events: &mut EventSender,
) {
    let class = facts.endpoint.map_or(Class::Llm, |id| policy.endpoint(id).class);
    let caller = caller(flows, facts.flow);
    let endpoint = facts.endpoint.map(|id| (id, policy.endpoint(id)));
    if let Some(endpoint) = endpoint {
        clients.replies.meet(caller.server, facts.ended, endpoint);
    }
    let learnt = endpoint.and_then(|(_, endpoint)| endpoint.learnt.as_deref());
    let shapes = clients.streams.shapes.touch(caller.server, facts.ended);
    shapes.meet(learnt.map(|learnt| &learnt.http2));
    let error = shapes.is_error(facts, class);
    let outcome = outcome(facts, class, error);
    let complete_so_far = outcome == Outcome::Complete;
    let suspect = shapes.suspect(facts, class).filter(|_| complete_so_far);
    shapes.learn(facts, class, error);
    let data = shapes.counted(facts);
    let mut exchange = account(facts, outcome, data, policy).exchange(flows, policy);
    clients.judge(&mut exchange, facts.flow);
    signal_end(&exchange, events);
    let streams = &mut clients.streams;
    let key = streams.links.key(&caller);
    let size = size(&facts.stream);
    let is_suspect = suspect.is_some_and(|suspect| suspect.alone);
    let how = (outcome, facts.stream.alone, is_suspect, end(facts, outcome));
    streams.links.ended(&clients.keys, key, exchange.id, (size, facts.rtt), how);
    match streams.waiting_mut(exchange.id) {
        Some(waiting) => waiting.ended = Some((exchange, size, facts.rtt, suspect)),
        None => {
            let known = streams.running.remove(&exchange.id);
            let (link, verdict) = known.unwrap_or((Link::UNKNOWN, NO_VERDICT));
            let mut exchange = complete(exchange, link);
            exchange.note_late(&verdict);
            tell(exchange, facts.stream.alone, suspect, facts.ended, clients);
        }
    }
}

/// Passes an exchange on, at once or when what followed it is known.
fn tell(
    exchange: Exchange,
    alone: bool,
    suspect: Option<Suspect>,
    at: Nanos,
    clients: &mut Clients,
) {
    let Clients { streams, finished, .. } = clients;
    if alone && suspect.is_none() {
        finished.push(exchange);
    } else {
        finished.extend(streams.held.push(at, exchange, suspect));
    }
}

/// Decides the stream that became known first.
fn decide_next(
    exchanges: &Exchanges,
    clients: &mut Clients,
    policy: &Snapshot,
    events: &mut EventSender,
) {
    let streams = &mut clients.streams;
    let Some(waiting) = streams.undecided.pop_front() else { return };
    let Undecided { begun, ended } = waiting;
    let Begun { id, flow, peers, endpoint, at, application, .. } = begun;
    let caller = Caller { client: peers.client, server: peers.server, application };
    let class = endpoint.map_or(Class::Llm, |id| policy.endpoint(id).class);
    let window = policy.policy().limits.retry_window();
    let now = exchanges.mux.facts(flow, peers.server, id);
    let own = ended
        .map(|(_, size, rtt, _)| (size, rtt))
        .or_else(|| now.map(|facts| (size(&facts.stream), facts.rtt)));
    let Some(own) = own else { return };
    let key = streams.links.key(&caller);
    let shapes = streams.shapes.get(&peers.server).copied().unwrap_or_default();
    let decision = streams.links.decide(&clients.keys, key, id, own, window, |flow, id| {
        let facts = exchanges.mux.facts(flow, peers.server, id)?;
        let outcome = outcome(&facts, class, shapes.is_error(&facts, class));
        Some((facts.stream.alone, outcome, end(&facts, outcome), size(&facts.stream)))
    });
    if let Some(owner) = decision.end_of {
        decision.link.retry_of.into_iter().for_each(|failed| streams.held.swap(owner, failed));
    }
    let failed = decision.link.retry_of.filter(|_| decision.failed);
    if let Some((server, suspect)) = failed.and_then(|failed| streams.held.fail(failed)) {
        streams.shapes.touch(server, at).learn_error(suspect);
    }
    let attempt = decision.link.attempt;
    let subject = Subject { exchange: id, peers, endpoint };
    clients.patterns.attempted(at, attempt, subject, events);
    begun.decide(decision.link, None, &mut clients.decided, events);
    match ended {
        Some((exchange, _, _, suspect)) => {
            let alone = exchange.outcome_confidence >= ALONE_CONFIDENCE_MIN;
            tell(complete(exchange, decision.link), alone, suspect, exchange.end, clients);
        }
        None if streams.running.len() < RUNNING_MAX => {
            streams.running.insert(id, (decision.link, NO_VERDICT));
        }
        None => streams.pushed_out += 1,
    }
}

/// How a stream ended. `error`: its response is error-shaped.
fn outcome(facts: &StreamFacts, class: Class, error: bool) -> Outcome {
    let seen = &facts.stream;
    let answered = seen.down_records > 0;
    let complete = if error { Outcome::Failed } else { Outcome::Complete };
    match facts.ending {
        // An answer has data.
        StreamEnding::EndStream if !answered => Outcome::Failed,
        StreamEnding::EndStream => complete,
        StreamEnding::Quiet | StreamEnding::Gone | StreamEnding::Running if answered => complete,
        StreamEnding::Quiet if !seen.alone => Outcome::Complete,
        StreamEnding::Quiet | StreamEnding::Gone | StreamEnding::Running => Outcome::Open,
        StreamEnding::ClientReset => Outcome::ClientAbort,
        StreamEnding::ClientClosed if was_abandoned(facts) => Outcome::ServerAbort,
        StreamEnding::ClientClosed if answered && was_read(facts, class) => complete,
        StreamEnding::ClientClosed => Outcome::ClientAbort,
        StreamEnding::ServerReset | StreamEnding::ServerClosed if answered => Outcome::ServerAbort,
        StreamEnding::ServerReset | StreamEnding::ServerClosed => Outcome::ConnectFailed,
    }
}

/// A stream that was under way fell silent for good, and its client left long after: where the
/// application fails, some servers neither end nor reset its response.
fn was_abandoned(facts: &StreamFacts) -> bool {
    let seen = &facts.stream;
    seen.alone
        && seen.is_streamed()
        && facts.marked == Some(true)
        && facts.ended.since(seen.last_down) > ABANDONED_AFTER
}

/// No model that goes on pauses for so long in the middle of a stream.
const ABANDONED_AFTER: Nanos = Nanos::from_secs(30);

/// A response without a mark that the client had when it closed. Only models stream.
fn was_read(facts: &StreamFacts, class: Class) -> bool {
    let plain = !facts.stream.is_streamed();
    facts.stream.late_records == 0 && !facts.marked.unwrap_or(!plain)
        || (facts.stream.late_records == 0 && plain && class != Class::Llm)
}

/// When a stream ended, as a retry sees it.
fn end(facts: &StreamFacts, outcome: Outcome) -> Nanos {
    match outcome {
        Outcome::Failed | Outcome::Throttled if facts.stream.alone => facts.stream.last_down,
        _ => facts.ended,
    }
}

fn size(stream: &Stream) -> Size {
    Size { bytes: stream.up_bytes, joined: stream.joined, first: stream.first }
}

/// Least confidence in the outcome of a stream that ran alone.
const ALONE_CONFIDENCE_MIN: f64 = 0.8;

/// Shares of right outcomes that the rules reached on captures with known truth: alone, and among
/// others, where the guess is that of a stream; less where records are missing.
fn confidence(facts: &StreamFacts, outcome: Outcome) -> f64 {
    let base: f64 = match (facts.stream.alone, outcome) {
        (_, Outcome::Open) => 0.5,
        (true, Outcome::Complete) if facts.ending == StreamEnding::EndStream => 0.98,
        (true, Outcome::ServerAbort | Outcome::ConnectFailed) => 0.9,
        (true, _) => 0.95,
        (false, Outcome::Complete) => 0.75,
        (false, _) => 0.6,
    };
    if facts.midway { base * 0.6 } else { base }
}

/// What is told of a stream. `data`: bytes of its response without headers.
fn account(facts: &StreamFacts, outcome: Outcome, data: u32, policy: &Snapshot) -> Account {
    let seen = &facts.stream;
    let endpoint = facts.endpoint.map(|id| policy.endpoint(id));
    let streamed = seen.is_streamed();
    let tokens = endpoint.and_then(|endpoint| tokens::estimate_mux(seen, data, outcome, endpoint));
    Account {
        id: seen.id,
        flow: facts.flow,
        endpoint: facts.endpoint,
        visibility: Visibility::Mux,
        start: seen.start,
        first_byte: seen.first_byte,
        end: seen.last_down.max(seen.last_up),
        closed: Some(facts.ended),
        outcome,
        confidence: confidence(facts, outcome),
        up_bytes: seen.up_bytes,
        down_bytes: seen.down_bytes,
        streamed,
        stall: stall(facts, policy.policy().limits.stall()),
        tokens,
        work: None,
        grounds: grounds(facts, outcome),
    }
}

/// What a stream was judged by, but for its link.
fn grounds(facts: &StreamFacts, outcome: Outcome) -> Grounds {
    let (ended, closed) = match facts.ending {
        StreamEnding::Running => (Ended::Running, OutcomeRule::NothingAgainst),
        StreamEnding::EndStream => (Ended::Mark, OutcomeRule::Mark),
        StreamEnding::Quiet => (Ended::Silence, OutcomeRule::NothingAgainst),
        StreamEnding::ClientReset => (Ended::ClientReset, OutcomeRule::ClientLeft),
        StreamEnding::ServerReset => (Ended::ServerReset, OutcomeRule::ServerCut),
        StreamEnding::ClientClosed => (Ended::ClientClosed, OutcomeRule::ClientLeft),
        StreamEnding::ServerClosed => (Ended::ServerClosed, OutcomeRule::ServerCut),
        StreamEnding::Gone => (Ended::Gone, OutcomeRule::NothingAgainst),
    };
    let seen = &facts.stream;
    let rule = match outcome {
        _ if seen.down_records == 0 => OutcomeRule::NoResponse,
        Outcome::Failed | Outcome::Throttled => OutcomeRule::ErrorShape,
        Outcome::Complete if ended != Ended::Mark => OutcomeRule::NothingAgainst,
        _ => closed,
    };
    Grounds {
        outcome: rule,
        ended,
        decision: None,
        // Of a request HTTP/2 tells where it begins, not in how many records it came.
        up_records: 0,
        down_records: seen.down_records,
        counted_records: seen.down_records,
        bursts: seen.bursts,
        late_records: seen.late_records,
        alone: seen.alone,
        link: LinkGrounds::default(),
    }
}

/// A response that ran alone and fell silent for longer than the limit, before its end or a cut.
fn stall(facts: &StreamFacts, limit: Nanos) -> Option<Nanos> {
    let seen = &facts.stream;
    if !seen.alone || seen.down_records < STALL_RECORDS_MIN {
        return None;
    }
    // What never went on did not stall.
    let silent = facts.ended.since(seen.last_down);
    let cut = silent <= ABANDONED_AFTER
        && matches!(
            facts.ending,
            StreamEnding::ClientReset
                | StreamEnding::ClientClosed
                | StreamEnding::ServerReset
                | StreamEnding::ServerClosed
        );
    let tail = if cut { silent } else { Nanos::ZERO };
    let silence = seen.longest_gap.max(tail);
    (silence > limit).then_some(silence)
}

/// A response with fewer records has not begun to stream: its silence is thought.
const STALL_RECORDS_MIN: u16 = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::burst::FlowId;

    const RTT: Nanos = Nanos::from_millis(20);

    /// A stream that ran alone from 0 ms: its response records (milliseconds, bytes), and how it
    /// ended, with the last of them.
    pub(super) fn lone(flow: FlowId, ending: StreamEnding, records: &[(u64, u16)]) -> StreamFacts {
        let stream = Stream::of_records(RTT, records);
        let (endpoint, unit, marked, midway) = (None, Default::default(), Some(true), false);
        let ended = stream.last_down;
        StreamFacts { stream, flow, endpoint, ending, ended, unit, marked, rtt: RTT, midway }
    }

    fn told(ending: StreamEnding, records: &[(u64, u16)]) -> Outcome {
        outcome(&lone(FlowId(0), ending, records), Class::Llm, false)
    }

    #[test]
    fn who_ended_a_stream_and_when_is_its_outcome() {
        let stream: Vec<_> = (0..12).map(|n| (100 + 20 * n, 300)).collect();
        assert_eq!(told(StreamEnding::EndStream, &stream), Outcome::Complete);
        assert_eq!(told(StreamEnding::ClientReset, &stream), Outcome::ClientAbort);
        assert_eq!(told(StreamEnding::ClientClosed, &stream), Outcome::ClientAbort);
        assert_eq!(told(StreamEnding::ServerReset, &stream), Outcome::ServerAbort);
        assert_eq!(told(StreamEnding::ServerReset, &[]), Outcome::ConnectFailed);
        assert_eq!(told(StreamEnding::Gone, &[]), Outcome::Open);
    }

    #[test]
    fn an_end_without_data_is_that_of_an_error() {
        assert_eq!(told(StreamEnding::EndStream, &[]), Outcome::Failed);
    }

    #[test]
    fn a_stream_that_never_goes_on_was_given_up_by_its_server_and_did_not_stall() {
        let stream: Vec<_> = (0..12).map(|n| (100 + 20 * n, 300)).collect();
        let left_after = |seconds| {
            let mut facts = lone(FlowId(0), StreamEnding::ClientClosed, &stream);
            facts.ended = facts.stream.last_down + Nanos::from_secs(seconds);
            let stalled = stall(&facts, Nanos::from_millis(500)).is_some();
            (outcome(&facts, Class::Llm, false), stalled)
        };
        assert_eq!(left_after(10), (Outcome::ClientAbort, true));
        assert_eq!(left_after(60), (Outcome::ServerAbort, false));
    }

    #[test]
    fn without_marks_a_response_that_was_all_there_was_read() {
        let mut facts = lone(FlowId(0), StreamEnding::ClientClosed, &[(100, 111), (100, 900)]);
        facts.marked = Some(false);
        assert_eq!(outcome(&facts, Class::Llm, false), Outcome::Complete);
        facts.stream.late_records = 1;
        assert_eq!(outcome(&facts, Class::Llm, false), Outcome::ClientAbort);
    }

    #[test]
    fn among_others_confidence_is_that_of_a_guess() {
        let mut facts = lone(FlowId(0), StreamEnding::EndStream, &[(100, 900)]);
        let alone = confidence(&facts, Outcome::Failed);
        facts.stream.alone = false;
        assert!(confidence(&facts, Outcome::Failed) < alone.min(ALONE_CONFIDENCE_MIN));
    }

    #[test]
    fn silence_in_a_stream_is_a_stall_and_before_its_first_token_none() {
        let limit = Nanos::from_millis(500);
        let mut records: Vec<_> = (0..8).map(|n| (100 + 20 * n, 300)).collect();
        records.push((1500, 300));
        let facts = lone(FlowId(0), StreamEnding::EndStream, &records);
        assert_eq!(stall(&facts, limit), Some(Nanos::from_millis(1260)));
        let thinking = [(100, 133), (900, 486), (920, 130), (940, 130), (960, 130), (980, 130)];
        assert_eq!(stall(&lone(FlowId(0), StreamEnding::EndStream, &thinking), limit), None);
    }
}
