//! How well the traffic could be seen, and in sentences what could not.

use fastpath::telemetry::event::Outcome;
use fastpath::telemetry::ledger::{Tally, Unseen};
use serde::Serialize;

use crate::capture::Read;
use crate::figures;

/// How well it could be seen.
#[derive(Clone, Debug, Serialize)]
pub struct Visibility {
    /// Flows of HTTP/1.1 in TLS: followed request by request.
    pub h1_flows: u64,
    /// Flows of HTTP/2 in TLS.
    pub mux_flows: u64,
    /// Flows of QUIC: counted, not followed yet.
    pub quic_flows: u64,
    /// Flows that offered HTTP/2 and HTTP/1.1 and showed nothing of what was chosen.
    pub both_flows: u64,
    /// Flows in all.
    pub flows: u64,
    /// Missing from the sums, in exchanges.
    pub unseen: Unseen,
    /// Times the place in a stream of records was lost: packets are missing from the capture.
    pub records_lost: u64,
    /// Frames that the capture holds only the beginning of.
    pub cut_frames: u64,
    /// Frames of flows whose start is not in the capture, and frames that are not TCP or UDP.
    pub frames_not_followed: u64,
    /// All of it in sentences.
    pub notes: Vec<String>,
}

impl Visibility {
    pub(super) fn new(read: &[Read], tally: &Tally) -> Self {
        use fastpath::telemetry::Totals as Counted;
        let sum = |pick: fn(&Counted) -> u64| read.iter().map(|r| pick(&r.summary.totals)).sum();
        let not_followed = |counted: &Counted| {
            use fastpath::telemetry::reasons::PassReason;
            PassReason::ALL.iter().map(|&reason| counted.passes.count(reason)).sum()
        };
        let mut visibility = Self {
            h1_flows: sum(|t| t.flows.h1),
            mux_flows: sum(|t| t.flows.mux),
            quic_flows: sum(|t| t.flows.quic),
            both_flows: sum(|t| t.flows.both),
            flows: sum(|t| t.flows.opened),
            unseen: tally.unseen,
            records_lost: sum(|t| t.records_lost),
            cut_frames: sum(|t| t.cut_frames),
            frames_not_followed: sum(not_followed),
            notes: Vec::new(),
        };
        visibility.notes = notes(&visibility, tally);
        visibility
    }
}

/// What could not be seen, in sentences; nothing is said of what did not occur.
fn notes(seen: &Visibility, tally: &Tally) -> Vec<String> {
    let Unseen { abandoned_before_first_byte, uncalibrated, unpriced } = seen.unseen;
    let requests = |n| figures::counted(n, "request", "requests");
    let flows = |n| figures::counted(n, "connection", "connections");
    let open = tally.ended(Outcome::Open);
    let mut notes = Vec::new();
    let mut note = |applies: bool, text: String| {
        if applies {
            notes.push(text);
        }
    };
    note(
        seen.mux_flows > 0,
        format!(
            "{} of HTTP/2: where several requests run at once their number is known, and what became of each \
             is a guess.",
            flows(seen.mux_flows)
        ),
    );
    note(
        seen.quic_flows > 0,
        format!("{} of QUIC: counted, not followed yet.", flows(seen.quic_flows)),
    );
    note(
        abandoned_before_first_byte > 0,
        format!(
            "{} abandoned before the first byte: what the server made of them never reached the wire and is \
             not in the tokens.",
            requests(abandoned_before_first_byte)
        ),
    );
    note(
        uncalibrated > 0,
        format!("{} of endpoints without a calibration: no tokens.", requests(uncalibrated)),
    );
    note(unpriced > 0, format!("{} of endpoints without a price: no cost.", requests(unpriced)));
    note(open > 0, format!("{} still running when the capture ended.", requests(open)));
    note(
        seen.records_lost > 0,
        format!(
            "Packets are missing from the capture: the place in a stream was lost {}.",
            figures::counted(seen.records_lost, "time", "times")
        ),
    );
    note(
        seen.frames_not_followed > 0,
        format!(
            "{} not followed: not TCP or UDP, or of connections that began before the capture.",
            figures::counted(seen.frames_not_followed, "frame", "frames")
        ),
    );
    notes
}
