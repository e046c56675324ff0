//! Captures as a port: classic pcap and pcapng, from a file, a pipe or any reader.
//!
//! Time is packet time. It never runs backwards in a burst, though every frame keeps its own; a gap
//! is filled with empty bursts so that timers fire as they would on a wire (`mem/pace.rs`). Memory
//! is bounded whatever the file says. Damage ends the capture, never the program: what was read
//! before it plays, and [`PcapPort::note`] tells what is wrong. The
//! link types that are read are those of [`Link`](crate::burst::Link).

mod classic;
mod error;
mod linktype;
mod reader;
mod sections;
mod window;
mod writer;

pub use error::PcapError;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use self::reader::{Reader, Record};
use self::writer::Writer;
use super::mem::pace::{Pace, Turn};
use super::mem::{Buffer, Pool};
use super::{Port, Rx};
use crate::burst::{Burst, Fate, PortIndex};
use crate::telemetry::counters::PortCounters;
use crate::time::Nanos;

/// A port that receives the packets of a capture.
#[derive(Debug)]
pub struct PcapPort {
    reader: Reader,
    total_bytes: Option<u64>,
    next: Option<Record>,
    note: Option<PcapError>,
    output: Option<Writer>,
    pace: Pace,
    pool: Pool,
    counters: PortCounters,
}

/// How far a capture has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes read so far.
    pub read_bytes: u64,
    /// Bytes there are; `None` for a pipe.
    pub total_bytes: Option<u64>,
}

impl PcapPort {
    /// Opens a capture file; `-` is standard input.
    ///
    /// # Errors
    /// When there is no such file, when it is empty or no capture, or when its link type is not
    /// read.
    pub fn open(path: &Path) -> Result<Self, PcapError> {
        if path == Path::new("-") {
            return Self::from_reader(std::io::stdin(), "standard input");
        }
        let name = path.display().to_string();
        let failed = |source| PcapError::Open { name: path.display().to_string(), source };
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let mut port = Self::from_reader(file, &name)?;
        port.total_bytes = metadata.is_file().then_some(metadata.len());
        Ok(port)
    }

    /// Reads a capture from `source`; `name` stands for it in errors.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_reader(source: impl Read + Send + 'static, name: &str) -> Result<Self, PcapError> {
        let mut port = Self {
            reader: Reader::open(Box::new(source), name)?,
            total_bytes: None,
            next: None,
            note: None,
            output: None,
            pace: Pace::new(),
            pool: Pool::default(),
            counters: PortCounters::default(),
        };
        port.read_next();
        match port.note.take_if(|note| matches!(note, PcapError::LinkType { .. })) {
            Some(link) => Err(link),
            None => Ok(port),
        }
    }

    /// Also writes every forwarded frame to a classic pcap file with nanoseconds at `path`. Such a
    /// file has one link type, that of the first frame: those of another are left out.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn with_output(mut self, path: &Path) -> Result<Self, PcapError> {
        self.output = Some(Writer::create(path)?);
        Ok(self)
    }

    /// Completes the output file, if there is one.
    ///
    /// # Errors
    /// When it could not be written in full, frames of another link type included.
    pub fn finish(&mut self) -> Result<(), PcapError> {
        self.output.as_mut().map_or(Ok(()), Writer::finish)
    }

    /// How far the capture has been read.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress { read_bytes: self.reader.read_bytes(), total_bytes: self.total_bytes }
    }

    /// What ended the capture before its time, if anything did.
    #[must_use]
    pub fn note(&self) -> Option<&PcapError> {
        self.note.as_ref()
    }

    /// Packets left out: of a link type that is not read, of an undescribed interface, or overlong.
    #[must_use]
    pub fn skipped_packets(&self) -> u64 {
        self.reader.skipped_packets()
    }

    fn read_next(&mut self) {
        self.next = self.reader.next().unwrap_or_else(|error| {
            self.note = Some(error);
            None
        });
    }

    fn push(&mut self, record: &Record, burst: &mut Burst<Buffer>) {
        let frame = self.pool.copy(record.link, self.reader.bytes(record));
        self.counters.rx_frames += 1;
        self.counters.rx_bytes += u64::from(record.wire_bytes);
        burst.push(frame, record.at, PortIndex(0), record.wire_bytes);
        self.pace.reach(record.at);
    }

    fn send(&mut self, burst: &mut Burst<Buffer>) {
        let (frames, packets) = burst.split();
        for (i, frame) in frames.iter().enumerate() {
            if packets.fate[i] == Fate::Forward {
                self.counters.tx_frames += 1;
                self.counters.tx_bytes += u64::from(packets.wire_bytes[i]);
                if let Some(output) = &mut self.output {
                    output.write(packets.at[i], frame, packets.wire_bytes[i]);
                }
            }
        }
    }
}

impl Port for PcapPort {
    type Frame = Buffer;

    fn rx_burst(&mut self, burst: &mut Burst<Buffer>) -> Rx {
        burst.begin(self.pace.now());
        let Some(first) = self.next.as_ref().map(|record| record.at) else { return Rx::Closed };
        if let Turn::Idle(now) = self.pace.turn(first) {
            burst.advance(now);
            return Rx::Idle;
        }
        while burst.room() > 0 {
            let Some(record) = self.next.take_if(|next| Pace::same_burst(first, next.at)) else {
                break;
            };
            self.push(&record, burst);
            self.read_next();
        }
        burst.advance(self.pace.now());
        Rx::Frames(burst.len())
    }

    fn tx_burst(&mut self, burst: &mut Burst<Buffer>) -> Nanos {
        self.send(burst);
        for (frame, _, fate) in burst.drain() {
            if let Fate::Drop(reason) = fate {
                self.counters.drops.add(reason);
            }
            self.pool.free(frame);
        }
        Nanos::ZERO
    }

    fn build(&mut self, bytes: &[u8]) -> Option<Buffer> {
        Some(bytes.to_vec().into())
    }

    fn counters(&self) -> &PortCounters {
        &self.counters
    }
}

#[cfg(test)]
mod tests;
