//! A request while it runs. Its truth is written exactly once: when it ends well or is broken, or,
//! when the client leaves, as it is dropped.

use std::sync::Arc;

use crate::clock::now;
use crate::plan::Cut;
use crate::truth::{End, Log, Record, classify};

/// The running truth of one request.
pub(crate) struct Exchange {
    /// What is known so far.
    pub(crate) record: Record,
    log: Arc<Log>,
    written: bool,
}

impl Exchange {
    /// Begins a request.
    pub(crate) fn new(record: Record, log: Arc<Log>) -> Self {
        Self { record, log, written: false }
    }

    /// Bytes of the response body were handed to the connection.
    pub(crate) fn sent(&mut self, bytes: usize, tokens: u32) {
        let record = &mut self.record;
        record.t_last = now();
        if record.t_first == 0.0 {
            record.t_first = record.t_last;
        }
        record.resp_body += bytes as u64;
        record.tokens += tokens;
        record.chunks += u32::from(tokens > 0);
    }

    /// The whole answer was handed out.
    pub(crate) fn complete(&mut self) {
        self.finish(End::Complete);
    }

    /// The server breaks the connection.
    pub(crate) fn broken(&mut self, by: Cut) {
        self.finish(match by {
            Cut::Rst => End::ServerReset,
            Cut::Fin => End::ServerClose,
        });
    }

    /// Whether its truth is written.
    pub(crate) fn is_over(&self) -> bool {
        self.written
    }

    fn finish(&mut self, end: End) {
        if self.written {
            return;
        }
        self.written = true;
        let record = &mut self.record;
        record.t_end = now();
        record.end = end.name().to_owned();
        let answered = record.t_first > 0.0;
        let (cls, waste) = classify(end, record.status, answered, record.fault.as_deref());
        record.cls = cls.to_owned();
        record.waste = waste.map(str::to_owned);
        record.wasted_tokens = if waste.is_some() { record.tokens } else { 0 };
        self.log.write(record);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.finish(End::ClientAbort);
    }
}
