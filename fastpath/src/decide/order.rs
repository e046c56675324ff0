//! What `decide` asks of `act`, and what `act` tells of it.
//!
//! `decide` never sees a frame and `act` never judges: an [`Order`] names a flow and what shall be
//! done to it, a [`HoldEnd`] says what became of a hold. Orders of one burst are carried out in
//! their order, before its frames are sent.

use crate::burst::{Address, Direction, FlowId};
use crate::time::Nanos;

/// What shall be done to a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Keep back what its client sends, from frame `from` of this burst on: a ClientHello, or the
    /// first flight of a request. Ends by [`Order::Release`], at `until`, when the client leaves
    /// or when a bound of the hold is reached.
    Hold {
        /// The flow.
        flow: FlowId,
        /// Index in the burst of the first frame to keep.
        from: u16,
        /// When it ends by itself: what is kept is then forwarded.
        until: Nanos,
    },
    /// Send what is kept of it, at `at` or later in the same order.
    Release {
        /// The flow.
        flow: FlowId,
        /// When: releases of a herd are spread.
        at: Nanos,
    },
    /// Send what its client sends no faster than this.
    Pace {
        /// The flow.
        flow: FlowId,
        /// Bytes of frames a second; zero ends the pacing.
        bytes_per_sec: u64,
    },
    /// Free what its client sends beyond this rate.
    Police {
        /// The flow.
        flow: FlowId,
        /// Bytes of frames a second; zero ends the policing.
        bytes_per_sec: u64,
    },
    /// Set this codepoint in what its client sends.
    Mark {
        /// The flow.
        flow: FlowId,
        /// What to set.
        mark: Mark,
    },
    /// End the connection towards one side or both, by an RST with the exact sequence number.
    Reset {
        /// The flow.
        flow: FlowId,
        /// Who shall see it end.
        toward: Toward,
    },
    /// Send a new connection to another replica of its pool: from its SYN on, every frame's
    /// destination is rewritten, and the source of what comes back.
    Reroute {
        /// The flow, as its client knows it.
        flow: FlowId,
        /// Address and port of the replica, of the same family.
        to: (Address, u16),
    },
}

/// Codepoints of the IP header that `act` may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A differentiated services codepoint (RFC 2474), 0 to 63.
    Dscp(u8),
    /// Congestion experienced (RFC 3168), on frames whose sender is ECN-capable only.
    CongestionExperienced,
}

/// The sides of a connection that an RST is sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toward {
    /// The server: it stops working for a client that has left.
    Server,
    /// The client and the server.
    Both,
}

/// What became of a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldEnded {
    /// The flow.
    pub flow: FlowId,
    /// How.
    pub end: HoldEnd,
    /// When.
    pub at: Nanos,
}

/// How a hold ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldEnd {
    /// By its order.
    Released,
    /// Its time was over: forwarded.
    Expired,
    /// A bound of frames or bytes was reached: forwarded.
    Full,
    /// The client left: what was kept is freed, and the server learns of it by an RST.
    Left,
}

impl Toward {
    /// Whether an RST goes this way.
    #[must_use]
    pub const fn includes(self, direction: Direction) -> bool {
        matches!((self, direction), (Self::Both, _) | (Self::Server, Direction::ToServer))
    }
}
