//! Writes frames to a classic pcap file, with nanoseconds, little-endian, under the link type of
//! the first one.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::error::PcapError;
use super::linktype;
use super::reader::PACKET_BYTES;
use crate::burst::{Frame, Link};
use crate::time::Nanos;

/// Magic of classic pcap with nanoseconds.
const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;

/// A capture file that is being written.
#[derive(Debug)]
pub(super) struct Writer {
    name: String,
    file: BufWriter<File>,
    /// The link type of the file; `None` before its first frame.
    link: Option<Link>,
    /// Frames of another one.
    left_out: u64,
    /// The first failure; nothing is written after it, and `finish` tells.
    failed: Option<io::Error>,
}

impl Writer {
    pub(super) fn create(path: &Path) -> Result<Self, PcapError> {
        let name = path.display().to_string();
        match File::create(path) {
            Ok(file) => {
                let file = BufWriter::with_capacity(256 * 1024, file);
                Ok(Self { name, file, link: None, left_out: 0, failed: None })
            }
            Err(source) => Err(PcapError::Write { name, source }),
        }
    }

    pub(super) fn write(&mut self, at: Nanos, frame: &impl Frame, wire_bytes: u32) {
        if self.link.is_some_and(|link| link != frame.link()) {
            self.left_out += 1;
        } else if self.failed.is_none() {
            let begun = self.begin(frame.link());
            let written = begun.and_then(|()| self.write_record(at, frame.bytes(), wire_bytes));
            self.failed = written.err();
        }
    }

    pub(super) fn finish(&mut self) -> Result<(), PcapError> {
        let flushed = match self.failed.take() {
            Some(error) => Err(error),
            None => self.begin(Link::Ethernet).and_then(|()| self.file.flush()),
        };
        match (flushed, self.left_out) {
            (Err(source), _) => Err(PcapError::Write { name: self.name.clone(), source }),
            (Ok(()), 0) => Ok(()),
            (Ok(()), frames) => Err(PcapError::MixedLinkTypes { name: self.name.clone(), frames }),
        }
    }

    /// Writes the header of the file, unless it is there.
    fn begin(&mut self, link: Link) -> io::Result<()> {
        match self.link {
            Some(_) => Ok(()),
            None => {
                self.link = Some(link);
                self.file.write_all(&header(link))
            }
        }
    }

    fn write_record(&mut self, at: Nanos, frame: &[u8], wire_bytes: u32) -> io::Result<()> {
        // The format ends in 2106; a later time is written as its end.
        let seconds = u32::try_from(at.0 / 1_000_000_000).unwrap_or(u32::MAX);
        let captured = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        let nanoseconds = (at.0 % 1_000_000_000) as u32;
        for field in [seconds, nanoseconds, captured, wire_bytes.max(captured)] {
            self.file.write_all(&field.to_le_bytes())?;
        }
        self.file.write_all(frame)
    }
}

fn header(link: Link) -> [u8; 24] {
    let snap_bytes = u32::try_from(PACKET_BYTES).unwrap_or(u32::MAX);
    let fields = [MAGIC_NANOSECONDS, 0x0004_0002, 0, 0, snap_bytes, linktype::number(link)];
    let mut header = [0; 24];
    for (room, field) in header.chunks_exact_mut(4).zip(fields) {
        room.copy_from_slice(&field.to_le_bytes());
    }
    header
}
