//! What an exchange was judged by: the rule behind its outcome and the figures behind its link to an
//! earlier attempt. Conclusions, counts and times only: no length leaves with them.

use serde::{Deserialize, Serialize};

/// The grounds of everything that is said of an exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Grounds {
    /// The rule that decided its outcome.
    pub outcome: OutcomeRule,
    /// What ended it.
    pub ended: Ended,
    /// Records of the request.
    pub up_records: u16,
    /// Records of the response.
    pub down_records: u16,
    /// Those of them that tokens are counted by.
    pub counted_records: u16,
    /// Groups of response records more than 3 ms apart.
    pub bursts: u16,
    /// Response records that came after the client had closed.
    pub late_records: u16,
    /// Nothing else ran on its connection meanwhile.
    pub alone: bool,
    /// What its link was decided by.
    pub link: LinkGrounds,
    /// What its verdict was decided by, where that is not pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<DecisionGrounds>,
}

/// The figures of a law that said more than pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct DecisionGrounds {
    /// What the law looks at: requests that wait (concurrency limit), that run (fan-out) or are in
    /// flight (replica choice), failures (breaker), the share to be held (admission control), how
    /// likely it is a retry (retry budget, guard), seconds without data (cancel propagation).
    pub measured: f64,
    /// What that is held against, in the same unit: most that may wait or run, attempts that the
    /// failures are of, the draw, retries left, seconds of grace.
    pub limit: f64,
    /// Requests in flight at its backend.
    pub in_flight: u32,
    /// Requests held there.
    pub held: u32,
    /// Time to first byte of the backend without a queue, seconds.
    pub base_seconds: Option<f64>,
    /// First bytes a second it gives.
    pub rate_per_second: Option<f64>,
}

/// What ended an exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// Nothing: it runs.
    #[default]
    Running,
    /// The next request on its connection.
    NextRequest,
    /// The mark of a whole response: a chunked body's last chunk, or END_STREAM.
    Mark,
    /// The server fell silent, where ends are not marked.
    Silence,
    /// The client closed the connection first.
    ClientClosed,
    /// The client reset its stream (HTTP/2).
    ClientReset,
    /// The server closed the connection first.
    ServerClosed,
    /// The server reset the connection, or its stream.
    ServerReset,
    /// Its flow went idle, was pushed out, or the observation ended.
    Gone,
}

/// The rule that decided an outcome, in the order in which they are tried (`detect/outcome.rs`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OutcomeRule {
    /// No response was seen: who closed decides.
    #[default]
    NoResponse,
    /// The client acknowledged a response that did not pass here.
    ResponseMissed,
    /// The client closed while the response was under way (`detect/abort.rs`).
    ClientLeft,
    /// The server closed a response that was under way (`detect/partial.rs`).
    ServerCut,
    /// It began as this server's streams begin, and a close cut it short (`detect/reply.rs`).
    CutStream,
    /// The answer has the shape of an error: small, prompt, in one piece (`detect/failure.rs`).
    ErrorShape,
    /// Its size recurs among this server's errors (`detect/reply.rs`).
    ErrorSize,
    /// The answer was as prompt as errors are, and its client asked again at once, or began its work
    /// anew (`detect/doubt.rs`).
    AskedAgain,
    /// A server that keeps connections open closed this one with the last byte of the answer.
    PromptClose,
    /// It ended with the mark of a whole response.
    Mark,
    /// No mark, and nothing that speaks against it.
    NothingAgainst,
}

/// What an exchange's link to an earlier attempt, or its absence, was decided by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct LinkGrounds {
    /// The rule.
    pub rule: LinkRule,
    /// Failed attempts that it may be the retry of, by length and time.
    pub candidates: u16,
    /// Starts that competed with it for them.
    pub rivals: u16,
    /// From the end of the likeliest of them to the start, seconds.
    pub gap_seconds: Option<f64>,
    /// Log-likelihood ratio of that gap: of a retry against a start by chance.
    pub log_likelihood: Option<f64>,
    /// Requests of its length that were answered in the minute before, as far as they are counted.
    pub same: u16,
    /// Likewise of nearly its length.
    pub near: u16,
    /// How long before it the latest answer to one like it had ended, seconds.
    pub answered_seconds: Option<f64>,
    /// How long before it one of its length had started that still ran, seconds.
    pub running_seconds: Option<f64>,
}

/// The rule that decided a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum LinkRule {
    /// It was not decided: forgotten before its time, or taken back.
    #[default]
    Undecided,
    /// Nothing else has its length: the latest failed attempt is meant, whatever the gap.
    Unique,
    /// Its length is a template: starts are assigned to failed attempts by likelihood.
    Assigned,
    /// HTTP/2: the latest failed attempt with its body's length.
    Body,
    /// HTTP/2: likewise, of attempts that ran among others, by an end on their connection.
    SharedEnd,
}

impl Grounds {
    /// The same with its figures in millionths, as a line shows them.
    #[must_use]
    pub fn rounded(mut self) -> Self {
        let LinkGrounds { gap_seconds, log_likelihood, answered_seconds, running_seconds, .. } =
            &mut self.link;
        for figure in [gap_seconds, log_likelihood, answered_seconds, running_seconds] {
            *figure = figure.map(|figure| (figure * 1e6).round() / 1e6);
        }
        if let Some(decision) = &mut self.decision {
            let DecisionGrounds { measured, limit, base_seconds, rate_per_second, .. } = decision;
            let figures = base_seconds.iter_mut().chain(rate_per_second);
            for figure in figures.chain([measured, limit]) {
                *figure = (*figure * 1e6).round() / 1e6;
            }
        }
        self
    }
}
