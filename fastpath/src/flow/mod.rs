//! Who is talking: finds or makes the flow of each frame and follows its TCP state.

mod detail;
pub mod entry;
mod index;
pub mod key;
pub mod rtt;
mod state;
pub mod table;
pub mod tcp;

use crate::burst::{BURST_FRAMES, Datagram, Direction, FlowId, Frames, Headers, Packets, Protocol};
use crate::telemetry::counters::Passes;
use crate::telemetry::reasons::PassReason;
use crate::time::Nanos;
use entry::{DetailIndex, FlowEntry, Ordinary};
use key::{FlowKey, Sought};
use state::Of;
use table::FlowTable;

/// The UDP port of QUIC to a web server: all UDP on it is followed. On other ports a handshake of
/// QUIC or DTLS opens a flow.
const QUIC_PORT: u16 = 443;

/// Finds or makes the flow of each parsed frame, counts it there, and marks the frames that other
/// stages must look at: all but the ordinary segments of flows that are known.
///
/// Three passes: the first two only load what the third looks at, for all frames at once. A frame
/// without a flow passes: it belongs to nothing we follow, or the table is full.
pub fn track(packets: &mut Packets, flows: &mut FlowTable, revision: u64, passes: &mut Passes) {
    flows.begin_burst(revision);
    let mut sought = [Sought::default(); BURST_FRAMES];
    for (sought, headers) in sought.iter_mut().zip(&packets.headers) {
        if let Some(headers) = headers {
            *sought = flows.sought(headers);
            flows.prefetch_index(sought.hash);
        }
    }
    let mut likely = [None; BURST_FRAMES];
    for (likely, sought) in likely.iter_mut().zip(&sought).take(packets.len()) {
        *likely = flows.prefetch_likely(sought.hash);
    }
    packets.marked = Frames::NONE;
    for (i, (sought, likely)) in sought.iter().zip(likely).enumerate().take(packets.len()) {
        let Some(headers) = &packets.headers[i] else { continue };
        let at = packets.at[i];
        match find_or_open(headers, sought, likely, at, flows) {
            Ok((flow, direction)) => {
                packets.flow[i] = Some((flow, direction));
                let frame = Arrival { headers, direction, at, wire_bytes: packets.wire_bytes[i] };
                let (taken, fresh_bytes) = take_in(&frame, flow, flows);
                packets.fresh_bytes[i] = fresh_bytes;
                match taken {
                    Taken::Ordinary => {}
                    Taken::Carrying => packets.carrying.insert(i),
                    Taken::Other => packets.marked.insert(i),
                }
            }
            Err(reason) => passes.add(reason),
        }
    }
}

/// A frame of a flow.
struct Arrival<'a> {
    headers: &'a Headers,
    direction: Direction,
    at: Nanos,
    wire_bytes: u32,
}

/// What a frame was for its flow.
enum Taken {
    /// Nobody else needs to look at it.
    Ordinary,
    /// The same, but that an exchange may go on with it.
    Carrying,
    /// Anything else.
    Other,
}

/// Brings a flow up to date.
#[inline]
fn take_in(frame: &Arrival<'_>, flow: FlowId, flows: &mut FlowTable) -> (Taken, u32) {
    let &Arrival { headers, direction, at, wire_bytes } = frame;
    let entry = flows.entry_mut(flow);
    entry.count(direction, wire_bytes, at);
    if headers.protocol != Protocol::Tcp || headers.is_part() {
        return (Taken::Other, 0);
    }
    if let Some(Ordinary { fresh_bytes, body }) = entry.ordinary(headers, direction, at) {
        let carries = fresh_bytes > 0 && entry.detail != DetailIndex::NONE;
        let kind = match body && flows.is_classified(flow) {
            true if carries => Taken::Carrying,
            true => Taken::Ordinary,
            false => Taken::Other,
        };
        return (kind, fresh_bytes);
    }
    let arrived = flows.segment(flow, headers, direction, at);
    if arrived.repeated {
        flows.count_repeated(headers.payload_wire_bytes - arrived.fresh_bytes);
    }
    (Taken::Other, arrived.fresh_bytes)
}

fn find_or_open(
    headers: &Headers,
    sought: &Sought,
    likely: Option<FlowId>,
    at: Nanos,
    flows: &mut FlowTable,
) -> Result<(FlowId, Direction), PassReason> {
    let source_is_low = sought.source_is_low;
    if let Some(flow) = flows.find_likely(sought, || FlowKey::of(headers).0, likely) {
        let entry = flows.entry(flow);
        if !reuses_ports(entry, headers, source_is_low) {
            return Ok((flow, entry.direction(source_is_low)));
        }
        flows.end(flow);
    }
    open(FlowKey::of(headers).0, headers, source_is_low, at, flows)
}

#[cold]
fn open(
    key: FlowKey,
    headers: &Headers,
    source_is_low: bool,
    at: Nanos,
    flows: &mut FlowTable,
) -> Result<(FlowId, Direction), PassReason> {
    if headers.is_part() {
        return Err(PassReason::Fragment);
    }
    let direction = first_direction(headers).ok_or(PassReason::FlowNotOurs)?;
    let client_is_low = (direction == Direction::ToServer) == source_is_low;
    let flow = flows.open(key, client_is_low, at).ok_or(PassReason::FlowTableFull)?;
    Ok((flow, direction))
}

/// A SYN that is no repeat of the one that opened the flow opens another connection on the same
/// ports.
fn reuses_ports(entry: &FlowEntry, headers: &Headers, source_is_low: bool) -> bool {
    let flags = headers.tcp.flags;
    let is_first = flags.syn() && !flags.ack();
    if !is_first {
        return false;
    }
    let direction = entry.direction(source_is_low);
    // A flow met in the middle has shown no SYN; one that comes later is not its own.
    let seen = entry.state.has(direction, Of::SEEN);
    let another = entry.syn(direction).map_or(seen, |syn| syn != headers.tcp.seq);
    entry.is_closed() || another
}

/// The direction of a flow's first frame, or `None` when it opens none.
fn first_direction(headers: &Headers) -> Option<Direction> {
    let flags = headers.tcp.flags;
    let to_lower_port = if headers.destination_port <= headers.source_port {
        Direction::ToServer
    } else {
        Direction::ToClient
    };
    match headers.protocol {
        Protocol::Udp => {
            let ports = [headers.source_port, headers.destination_port];
            let opens = headers.datagram != Datagram::Other || ports.contains(&QUIC_PORT);
            opens.then_some(to_lower_port)
        }
        Protocol::Tcp if flags.syn() && !flags.ack() => Some(Direction::ToServer),
        Protocol::Tcp if flags.syn() => Some(Direction::ToClient),
        // Met in the middle: the service has the lower port, until a hello says otherwise.
        Protocol::Tcp => (headers.payload_wire_bytes > 0 && !flags.rst()).then_some(to_lower_port),
    }
}
