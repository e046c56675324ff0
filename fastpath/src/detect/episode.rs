//! What the detectors above single exchanges have in common: an episode that runs, and the changes
//! of it that are told.

use crate::policy::snapshot::EndpointId;
use crate::telemetry::event::{Episode, ExchangeId, Peers, Phase, Scope, Signal, SignalKind};
use crate::time::Nanos;

/// The exchange by which an episode is known: the latest that belongs to it.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    /// Its number.
    pub exchange: ExchangeId,
    /// Between whom.
    pub peers: Peers,
    /// Which endpoint, if known.
    pub endpoint: Option<EndpointId>,
}

/// An episode that runs.
#[derive(Clone, Copy, Debug)]
pub struct Track {
    /// When it began.
    pub began: Nanos,
    /// The latest exchange of it.
    pub subject: Subject,
    /// Exchanges of it.
    pub exchanges: u32,
    /// Those in vain.
    pub in_vain: u32,
    /// Their output tokens.
    pub tokens: f64,
    /// The largest figure so far.
    pub peak: f64,
}

/// Something to be told of an episode.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// Whether it begins or ends.
    pub phase: Phase,
    /// When.
    pub at: Nanos,
    /// Its figure: at the end the largest.
    pub value: f64,
    /// How it stands.
    pub track: Track,
}

impl Track {
    /// An episode that began with this exchange.
    #[must_use]
    pub fn new(began: Nanos, subject: Subject) -> Self {
        Self { began, subject, exchanges: 0, in_vain: 0, tokens: 0.0, peak: 0.0 }
    }

    /// It is recognised.
    #[must_use]
    pub fn begins(&self, at: Nanos) -> Change {
        Change { phase: Phase::Begins, at, value: self.peak, track: *self }
    }

    /// It is over.
    #[must_use]
    pub fn ends(&self, at: Nanos) -> Change {
        Change { phase: Phase::Ends, at: at.max(self.began), value: self.peak, track: *self }
    }
}

impl Change {
    /// The signal of this change.
    #[must_use]
    pub fn signal(
        &self,
        kind: SignalKind,
        scope: Scope,
        margin: Option<f64>,
        confidence: f64,
    ) -> Signal {
        let Track { began, subject, exchanges, in_vain, tokens, .. } = self.track;
        let Subject { exchange, peers, endpoint } = subject;
        let (phase, at, value) = (self.phase, self.at, self.value);
        let episode =
            Episode { phase, scope, began, exchanges, in_vain, tokens, margin, confidence };
        Signal { at, kind, exchange, peers, endpoint, value, episode: Some(episode) }
    }
}
