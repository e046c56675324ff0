//! An exchange that is over, as it is told: what the rules of its protocol say of it, with what its
//! flow and its endpoint are known to be.

use super::retry::Link;
use super::{is_cut_short, tokens, waste_of_end};
use crate::burst::FlowId;
use crate::flow::table::FlowTable;
use crate::policy::snapshot::{EndpointId, Snapshot};
use crate::telemetry::event::{
    Estimate, Exchange, ExchangeId, Outcome, Reason, Verdict, Visibility, Work, length_bucket,
};
use crate::telemetry::grounds::Grounds;
use crate::time::Nanos;

/// What the rules of its protocol say of an exchange, but for its link.
#[derive(Clone, Copy, Debug)]
pub(super) struct Account {
    /// Its number.
    pub(super) id: ExchangeId,
    /// On which flow.
    pub(super) flow: FlowId,
    /// To which endpoint.
    pub(super) endpoint: Option<EndpointId>,
    /// How much of it is seen.
    pub(super) visibility: Visibility,
    /// First byte of its request.
    pub(super) start: Nanos,
    /// First byte of its response.
    pub(super) first_byte: Option<Nanos>,
    /// When it was last heard of.
    pub(super) end: Nanos,
    /// When a side ended it.
    pub(super) closed: Option<Nanos>,
    /// How it ended.
    pub(super) outcome: Outcome,
    /// How sure that is, 0 to 1.
    pub(super) confidence: f64,
    /// Plaintext bytes of its request.
    pub(super) up_bytes: u32,
    /// The same of its response.
    pub(super) down_bytes: u32,
    /// The response is a stream.
    pub(super) streamed: bool,
    /// How long it fell silent, if that was long.
    pub(super) stall: Option<Nanos>,
    /// Tokens of the response.
    pub(super) tokens: Option<Estimate>,
    /// What it asks of whom.
    pub(super) work: Option<Work>,
    /// What it was judged by.
    pub(super) grounds: Grounds,
}

impl Account {
    /// The exchange as it is told, as long as nothing is known of what it repeats.
    #[must_use]
    pub(super) fn exchange(self, flows: &FlowTable, policy: &Snapshot) -> Exchange {
        let entry = flows.entry(self.flow);
        let price = self.endpoint.and_then(|id| policy.endpoint(id).price);
        Exchange {
            id: self.id,
            peers: entry.peers(),
            endpoint: self.endpoint,
            // A policy that came in the middle of it may call the flow otherwise.
            call: entry.class.call.filter(|call| Some(call.endpoint) == self.endpoint),
            sni: entry.class.sni,
            visibility: self.visibility,
            from_middle: entry.from_middle(),
            rtt: entry.halves.map(|half| half.rtt.smoothed()),
            start: self.start,
            first_byte: self.first_byte,
            end: self.end,
            // A request may cross the close that answers it.
            closed: self
                .closed
                .map(|closed| closed.max(self.start))
                .filter(|_| is_cut_short(self.outcome)),
            outcome: self.outcome,
            attempt: Link::UNKNOWN.attempt,
            retry_of: Link::UNKNOWN.retry_of,
            hedge: Link::UNKNOWN.hedge,
            restart: Link::UNKNOWN.restart,
            stall: self.stall,
            outcome_confidence: self.confidence,
            retry_confidence: Link::UNKNOWN.confidence,
            up_bucket: length_bucket(self.up_bytes.into()),
            down_bucket: length_bucket(self.down_bytes.into()),
            streamed: self.streamed,
            tokens: self.tokens,
            cost_milli_usd: self
                .tokens
                .zip(price)
                .map(|(tokens, price)| tokens::cost(tokens, price)),
            waste: waste_of_end(self.outcome, self.first_byte.is_some()),
            amended: None,
            work: self.work,
            verdict: Verdict::Pass,
            reason: Reason::NoRule,
            enforced: false,
            hold: None,
            grounds: self.grounds,
        }
    }
}
