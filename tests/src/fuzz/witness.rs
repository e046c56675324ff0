//! A port that keeps a copy of what enters the loop and checks every burst that leaves it: the
//! same frames, and columns that fit them.

use fastpath::burst::{
    BURST_FRAMES, BURST_RECORDS, Burst, Fate, Fragment, Frame, Headers, Packets,
};
use fastpath::lcore::Mode;
use fastpath::port::mem::Buffer;
use fastpath::port::{Port, Rx};
use fastpath::telemetry::counters::PortCounters;
use fastpath::telemetry::reasons::DropReason;
use fastpath::time::Nanos;

/// A port with a witness.
#[derive(Debug)]
pub(super) struct Witness<P> {
    inner: P,
    mode: Mode,
    entered: Vec<Buffer>,
    /// The time of the latest burst.
    now: Nanos,
}

impl<P> Witness<P> {
    pub(super) fn new(inner: P, mode: Mode) -> Self {
        Self { inner, mode, entered: Vec::with_capacity(BURST_FRAMES), now: Nanos::ZERO }
    }

    fn check(&mut self, burst: &mut Burst<Buffer>) {
        let (frames, packets) = burst.split();
        assert_eq!(frames, self.entered, "the frames that left are those that entered");
        let fate = match self.mode {
            Mode::Wire => Fate::Forward,
            Mode::Observe => Fate::Drop(DropReason::Observed),
        };
        assert!(packets.fate.iter().all(|&f| f == fate), "{:?}", packets.fate);
        for (frame, headers) in frames.iter().zip(&packets.headers) {
            headers.iter().for_each(|headers| check_offsets(headers, frame.bytes().len()));
        }
        check_columns(packets, frames.len());
        assert!(packets.now >= self.now, "time ran backwards");
        self.now = packets.now;
    }
}

/// What an IP header can say of a length.
const DATAGRAM_BYTES_MAX: usize = 65_535;

/// The network header lies before the transport header, that before the payload, and all of it in
/// the frame, or in a datagram that the frame has completed.
fn check_offsets(headers: &Headers, frame_bytes: usize) {
    let payload = headers.payload();
    let frame_bytes = match headers.fragment {
        Some(Fragment::Joined(_)) => DATAGRAM_BYTES_MAX,
        Some(Fragment::Part) | None => frame_bytes,
    };
    assert!(usize::from(headers.network_offset) <= usize::from(headers.transport_offset));
    assert!(usize::from(headers.transport_offset) <= payload.start, "{headers:?}");
    assert!(payload.end <= frame_bytes, "beyond {frame_bytes} bytes: {headers:?}");
    assert!(headers.payload_bytes <= headers.payload_wire_bytes, "{headers:?}");
}

/// Every column has the length of the burst, and what points at a frame points at one of these.
fn check_columns(packets: &Packets, frames: usize) {
    let lens = [
        packets.at.len(),
        packets.port.len(),
        packets.wire_bytes.len(),
        packets.headers.len(),
        packets.flow.len(),
        packets.fresh_bytes.len(),
        packets.fate.len(),
    ];
    assert_eq!(lens, [frames; 7]);
    assert!(packets.records.len() <= BURST_RECORDS);
    let indices = packets.records.iter().map(|record| record.packet);
    let indices = indices.chain(packets.client_hellos.iter().map(|hello| hello.packet));
    let mut indices = indices.chain(packets.server_hellos.iter().map(|hello| hello.packet));
    assert!(indices.all(|i| usize::from(i) < frames), "a record of no frame");
    let known = |flow| packets.flow.iter().flatten().any(|&(id, _)| id == flow);
    assert!(packets.records.iter().all(|record| known(record.flow)), "a record of no flow");
    assert!(packets.client_hellos.iter().all(|hello| known(hello.flow)), "a hello of no flow");
}

impl<P: Port<Frame = Buffer>> Port for Witness<P> {
    type Frame = Buffer;

    fn rx_burst(&mut self, burst: &mut Burst<Buffer>) -> Rx {
        let rx = self.inner.rx_burst(burst);
        self.entered.clear();
        self.entered.extend(burst.split().0.iter().cloned());
        rx
    }

    fn tx_burst(&mut self, burst: &mut Burst<Buffer>) -> Nanos {
        self.check(burst);
        self.inner.tx_burst(burst)
    }

    fn build(&mut self, bytes: &[u8]) -> Option<Buffer> {
        self.inner.build(bytes)
    }

    fn counters(&self) -> &PortCounters {
        self.inner.counters()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastpath::burst::PortIndex;
    use fastpath::parse::{self, Parser};
    use fastpath::port::mem::MemPort;
    use fastpath::telemetry::counters::Passes;

    /// A burst of one segment with its headers, changed and given back to the port.
    fn changed(change: impl FnOnce(&mut [Buffer], &mut Packets)) {
        let frame = crate::frame::foreign().swap_remove(7).1;
        let arrivals = vec![(Nanos(1), PortIndex(0), frame)];
        let mut port = Witness::new(MemPort::new(arrivals), Mode::Wire);
        let mut burst = Burst::new();
        port.rx_burst(&mut burst);
        parse::headers(&mut burst, &mut Parser::default(), &mut Passes::default());
        let (frames, packets) = burst.split_mut();
        assert!(packets.headers[0].is_some());
        change(frames, packets);
        port.tx_burst(&mut burst);
    }

    #[test]
    fn a_burst_that_nobody_changed_is_sound() {
        changed(|_, _| {});
    }

    #[test]
    #[should_panic(expected = "the frames that left are those that entered")]
    fn a_frame_that_was_changed_is_noticed() {
        changed(|frames, _| frames[0].bytes_mut()[60] ^= 1);
    }

    #[test]
    #[should_panic(expected = "beyond 9014 bytes")]
    fn a_payload_beyond_the_frame_is_noticed() {
        changed(|_, packets| {
            packets.headers.iter_mut().flatten().for_each(|h| h.payload_bytes += 1)
        });
    }

    #[test]
    #[should_panic(expected = "Drop(Fault)")]
    fn a_frame_that_was_dropped_is_noticed() {
        changed(|_, packets| packets.fate[0] = Fate::Drop(DropReason::Fault));
    }
}
