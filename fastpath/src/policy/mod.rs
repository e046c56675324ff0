//! Policy as the data plane sees it: one immutable snapshot, handed over at a burst boundary.
//!
//! Documents are read and checked elsewhere; what arrives here is right by construction.

pub mod endpoint;
pub mod handoff;
pub mod learnt;
pub mod prefixes;
pub mod rules;
pub mod snapshot;
