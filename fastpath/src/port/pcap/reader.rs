//! Finds the packets of a capture, one after the other, in a bounded window.
//!
//! No length in the file is believed before it is bounded: [`PACKET_BYTES`] for a packet,
//! [`BLOCK_BYTES`] for a pcapng block that is looked into. A packet is not copied: a [`Record`]
//! says where it stands in the window, and is valid until the next one is asked for.

use std::fmt;
use std::io::{self, Read};

use super::classic::Classic;
use super::error::PcapError;
use super::sections::Sections;
use super::window::{WINDOW_BYTES, Window};
use crate::burst::Link;
use crate::time::Nanos;

/// The longest packet a capture may hold; libpcap has the same limit.
pub(super) const PACKET_BYTES: usize = 256 * 1024;

/// The longest pcapng block that is read; a longer one is skipped.
pub(super) const BLOCK_BYTES: usize = 2 * PACKET_BYTES;

const _: () = assert!(BLOCK_BYTES <= WINDOW_BYTES / 2);

/// First bytes of a pcapng file, whatever its byte order.
const SECTION_HEADER_MAGIC: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// One packet: its facts, and where its bytes are from the start of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) link: Link,
    pub(super) at: Nanos,
    pub(super) wire_bytes: u32,
    pub(super) start: usize,
    pub(super) captured_bytes: usize,
    /// What to move on by, to get past the packet.
    pub(super) record_bytes: usize,
}

/// The packets of a capture.
pub(super) struct Reader {
    name: String,
    window: Window,
    format: Format,
    /// Bytes of the last record, still in the window.
    taken: usize,
}

enum Format {
    Classic(Classic),
    Sections(Sections),
}

/// What stopped the search for the next packet; [`Reader`] adds the name and makes a [`PcapError`]
/// of it.
pub(super) enum Stop {
    Read(io::Error),
    NotACapture(Vec<u8>),
    Truncated { expected_bytes: u64, found_bytes: u64 },
    AbsurdLength(u32),
    BadBlock(&'static str),
    LinkType(i32),
}

impl Reader {
    pub(super) fn open(source: Box<dyn Read + Send>, name: &str) -> Result<Self, PcapError> {
        let mut window = Window::new(source);
        window.fill(4).map_err(|error| Stop::Read(error).told_of(name, 0))?;
        if window.bytes().is_empty() {
            return Err(PcapError::Empty { name: name.to_owned() });
        }
        let format = if window.bytes().starts_with(&SECTION_HEADER_MAGIC) {
            Sections::open(&mut window).map(Format::Sections)
        } else {
            Classic::open(&mut window).map(Format::Classic)
        };
        match format {
            Ok(format) => Ok(Self { name: name.to_owned(), window, format, taken: 0 }),
            Err(stop) => Err(stop.told_of(name, 0)),
        }
    }

    /// The next packet, or `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Record>, PcapError> {
        self.window.consume(std::mem::take(&mut self.taken));
        let found = match &mut self.format {
            Format::Classic(classic) => classic.next(&mut self.window),
            Format::Sections(sections) => sections.next(&mut self.window),
        };
        match found {
            Ok(record) => {
                self.taken = record.map_or(0, |record| record.record_bytes);
                Ok(record)
            }
            Err(stop) => Err(stop.told_of(&self.name, self.window.offset())),
        }
    }

    /// The bytes of the record that [`next`](Self::next) gave last.
    pub(super) fn bytes(&self, record: &Record) -> &[u8] {
        &self.window.bytes()[record.start..record.start + record.captured_bytes]
    }

    pub(super) fn read_bytes(&self) -> u64 {
        self.window.read_bytes()
    }

    pub(super) fn skipped_packets(&self) -> u64 {
        match &self.format {
            Format::Classic(_) => 0,
            Format::Sections(sections) => sections.skipped_packets(),
        }
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Stop {
    /// `wanted` bytes were needed and the window has fewer.
    pub(super) fn truncated(window: &Window, wanted: u64) -> Self {
        Self::Truncated { expected_bytes: wanted, found_bytes: window.bytes().len() as u64 }
    }

    fn told_of(self, name: &str, offset: u64) -> PcapError {
        let name = name.to_owned();
        match self {
            Self::Read(source) => PcapError::Read { name, offset, source },
            Self::NotACapture(magic) => PcapError::NotACapture { name, magic },
            Self::Truncated { expected_bytes, found_bytes } => {
                PcapError::Truncated { name, offset, expected_bytes, found_bytes }
            }
            Self::AbsurdLength(length) => PcapError::AbsurdLength { name, offset, length },
            Self::BadBlock(what) => PcapError::BadBlock { name, offset, what },
            Self::LinkType(number) => PcapError::LinkType { name, number },
        }
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}
