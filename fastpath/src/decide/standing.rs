//! Where each flow stands with the laws: what was let through on it, and what is held.

use super::limit::Ticket;
use crate::burst::{Address, FlowId};
use crate::telemetry::event::{Decision, ExchangeId};
use crate::time::Nanos;

/// One flow.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standing {
    /// What of it is where.
    pub phase: Phase,
    /// The place of its backend, while it is not idle, or when it was rerouted there.
    pub backend: Option<usize>,
    /// Its new connections go to that backend, and not to the one it calls.
    pub rerouted: bool,
    /// Its request, as its limit knows it.
    pub ticket: Option<Ticket>,
    /// Hash of its client.
    pub client: u64,
    /// The client.
    pub address: Option<Address>,
    /// Its exchange, if one runs.
    pub exchange: Option<ExchangeId>,
    /// When its request arrived here.
    pub arrived: Nanos,
    /// Since when its client waits: the ClientHello before it may have been held.
    pub began: Nanos,
    /// When it was let through.
    pub forwarded: Nanos,
    /// When its response began.
    pub first_byte: Option<Nanos>,
    /// What was decided of it, for the exchange it becomes.
    pub decision: Option<Decision>,
    /// It was taken for a retry and paid for, or found over budget.
    pub budgeted: bool,
}

/// Where a flow's request is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// There is none.
    #[default]
    Idle,
    /// It is held, or the ClientHello that comes before it is.
    Held,
    /// Its connection was let through, and it is to come.
    Granted,
    /// It was let through.
    Running,
}

/// A stream of HTTP/2 that was let through.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    /// Its exchange.
    pub id: ExchangeId,
    /// Its flow.
    pub flow: FlowId,
    /// The place of its backend, and the backend's address.
    pub backend: usize,
    /// The server.
    pub server: Address,
    /// Its client.
    pub client: Address,
    /// As its limit knows it.
    pub ticket: Ticket,
    /// When its response began.
    pub first_byte: Option<Nanos>,
}

/// Streams that run, in the order of their numbers.
#[derive(Debug)]
pub struct Streams {
    running: Vec<Stream>,
    /// Streams that found no room and are not counted.
    pub refused: u64,
}

/// Streams at once.
const STREAMS_MAX: usize = 4096;

impl Default for Streams {
    fn default() -> Self {
        Self { running: Vec::with_capacity(STREAMS_MAX), refused: 0 }
    }
}

impl Streams {
    /// Whether one more has room.
    pub fn has_room(&mut self) -> bool {
        let room = self.running.len() < STREAMS_MAX;
        self.refused += u64::from(!room);
        room
    }

    /// A stream has begun, if there is room for it.
    pub fn opened(&mut self, stream: Stream) {
        if self.running.len() < STREAMS_MAX {
            let place = self.running.partition_point(|other| other.id < stream.id);
            self.running.insert(place, stream);
        }
    }

    /// It is over.
    pub fn ended(&mut self, id: ExchangeId) -> Option<Stream> {
        let place = self.running.binary_search_by_key(&id, |stream| stream.id).ok()?;
        Some(self.running.remove(place))
    }

    /// Those that run.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.running.iter_mut()
    }
}
