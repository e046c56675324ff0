//! The key of a flow: its 5-tuple, the same for both directions.

use std::hash::{Hash, Hasher};

use crate::burst::{Address, Headers, Protocol};

/// A 5-tuple with the lower (address, port) first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowKey {
    /// The lower end.
    pub low: (Address, u16),
    /// The higher end.
    pub high: (Address, u16),
    /// TCP or UDP.
    pub protocol: Protocol,
}

impl FlowKey {
    /// The key of a frame's flow, and whether the frame's source is the lower end.
    #[must_use]
    pub fn of(headers: &Headers) -> (Self, bool) {
        let source = (headers.source, headers.source_port);
        let destination = (headers.destination, headers.destination_port);
        let source_is_low = source <= destination;
        let (low, high) = if source_is_low { (source, destination) } else { (destination, source) };
        (Self { low, high, protocol: headers.protocol }, source_is_low)
    }
}

impl Hash for FlowKey {
    /// In three numbers: the derived implementation would take seven.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { low, high, protocol } = self;
        low.0.hash(state);
        high.0.hash(state);
        state.write_u64(u64::from(low.1) << 32 | u64::from(high.1) << 16 | *protocol as u64);
    }
}
