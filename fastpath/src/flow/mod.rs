//! Who is talking: finds or makes the flow of each frame and follows its TCP state.

pub mod entry;
mod index;
pub mod key;
pub mod rtt;
pub mod table;
pub mod tcp;

use crate::burst::{BURST_FRAMES, Datagram, Direction, FlowId, Headers, Packets, Protocol};
use crate::telemetry::counters::Passes;
use crate::telemetry::reasons::PassReason;
use crate::time::Nanos;
use entry::FlowEntry;
use index::KeyHash;
use key::FlowKey;
use table::FlowTable;

/// The UDP port of QUIC to a web server: all UDP on it is followed. On other ports a handshake of
/// QUIC or DTLS opens a flow.
const QUIC_PORT: u16 = 443;

/// Finds or makes the flow of each parsed frame, and counts it there.
///
/// Three passes: the first two only load what the third looks at, for all frames at once. A frame
/// without a flow passes: it belongs to nothing we follow, or the table is full.
pub fn track(packets: &mut Packets, flows: &mut FlowTable, passes: &mut Passes) {
    flows.begin_burst();
    let mut hashes = [KeyHash::default(); BURST_FRAMES];
    for (hash, headers) in hashes.iter_mut().zip(&packets.headers) {
        if let Some(headers) = headers {
            *hash = flows.hash(&FlowKey::of(headers).0);
            flows.prefetch_index(*hash);
        }
    }
    let mut likely = [None; BURST_FRAMES];
    for (likely, hash) in likely.iter_mut().zip(&hashes).take(packets.len()) {
        *likely = flows.prefetch_likely(*hash);
    }
    let sought = hashes.iter().zip(&likely);
    for (i, (headers, sought)) in packets.headers.iter().zip(sought).enumerate() {
        let Some(headers) = headers else { continue };
        let at = packets.at[i];
        match find_or_open(headers, sought, at, flows) {
            Ok((flow, direction)) => {
                packets.flow[i] = Some((flow, direction));
                let entry = flows.entry_mut(flow);
                entry.last_seen = at;
                let half = &mut entry.halves[direction.index()];
                half.frames += 1;
                half.bytes += u64::from(packets.wire_bytes[i]);
                if headers.protocol == Protocol::Tcp && !headers.is_part() {
                    let arrived = entry.segment(headers, direction, at);
                    packets.fresh_bytes[i] = arrived.fresh_bytes;
                    if arrived.repeated {
                        flows.count_repeated(headers.payload_wire_bytes - arrived.fresh_bytes);
                    }
                }
            }
            Err(reason) => passes.add(reason),
        }
    }
}

fn find_or_open(
    headers: &Headers,
    (&hash, &likely): (&KeyHash, &Option<FlowId>),
    at: Nanos,
    flows: &mut FlowTable,
) -> Result<(FlowId, Direction), PassReason> {
    let (key, source_is_low) = FlowKey::of(headers);
    if let Some(flow) = flows.find_likely(&key, hash, likely) {
        let entry = flows.entry(flow);
        if !reuses_ports(entry, headers, source_is_low) {
            return Ok((flow, entry.direction(source_is_low)));
        }
        flows.end(flow);
    }
    open(key, headers, source_is_low, at, flows)
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
    let half = &entry.halves[entry.direction(source_is_low).index()];
    // A flow met in the middle has shown no SYN; one that comes later is not its own.
    let another = half.tcp.syn().map_or(half.frames > 0, |syn| syn != headers.tcp.seq);
    is_first && (entry.is_closed() || another)
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
