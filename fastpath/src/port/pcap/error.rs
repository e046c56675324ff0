//! What can be wrong with a capture: what, where, what was expected, and what mends it.

use std::error::Error;
use std::fmt;
use std::io;

use pcap_parser::Linktype;

/// Why a capture cannot be read, or not to its end, or not be written.
#[derive(Debug)]
pub enum PcapError {
    /// The file cannot be opened.
    Open {
        /// The capture.
        name: String,
        /// What the system says.
        source: io::Error,
    },
    /// Reading failed.
    Read {
        /// The capture.
        name: String,
        /// Where, in bytes from its start.
        offset: u64,
        /// What the system says.
        source: io::Error,
    },
    /// The output file cannot be made or written.
    Write {
        /// The output file.
        name: String,
        /// What the system says.
        source: io::Error,
    },
    /// There is not one byte in it.
    Empty {
        /// The capture.
        name: String,
    },
    /// It begins like no capture we know.
    NotACapture {
        /// The capture.
        name: String,
        /// Its first bytes.
        magic: Vec<u8>,
    },
    /// Its packets begin with a link header that is not read.
    LinkType {
        /// The capture.
        name: String,
        /// The link type, by its number in the registry of tcpdump.org.
        number: i32,
    },
    /// The output file has one link type, and frames of another were to be written.
    MixedLinkTypes {
        /// The output file.
        name: String,
        /// How many were left out.
        frames: u64,
    },
    /// It ends in the middle of a packet or block.
    Truncated {
        /// The capture.
        name: String,
        /// Where that packet or block begins, in bytes from the start.
        offset: u64,
        /// How long it should be.
        expected_bytes: u64,
        /// How much of it is there.
        found_bytes: u64,
    },
    /// A packet claims to be longer than any can be. What follows cannot be found.
    AbsurdLength {
        /// The capture.
        name: String,
        /// Where the packet begins, in bytes from the start.
        offset: u64,
        /// What it claims.
        length: u32,
    },
    /// A pcapng block contradicts itself. What follows cannot be found.
    BadBlock {
        /// The capture.
        name: String,
        /// Where the block begins, in bytes from the start.
        offset: u64,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl PcapError {
    /// A word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Open { .. } => "capture_open",
            Self::Read { .. } => "capture_read",
            Self::Write { .. } => "capture_write",
            Self::Empty { .. } => "capture_empty",
            Self::NotACapture { .. } => "capture_unknown_format",
            Self::LinkType { .. } => "capture_link_type",
            Self::MixedLinkTypes { .. } => "capture_mixed_link_types",
            Self::Truncated { .. } => "capture_truncated",
            Self::AbsurdLength { .. } => "capture_absurd_length",
            Self::BadBlock { .. } => "capture_bad_block",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Open { .. } => "check the path and that it can be read",
            Self::Read { .. } => "check the disk, or the program at the other end of the pipe",
            Self::Write { .. } => "check the path, its permissions and the space left",
            Self::Empty { .. } => {
                "capture again: tcpdump -i IFACE -w FILE writes a header even for no packet"
            }
            Self::NotACapture { magic, .. } => unknown_format_hint(magic),
            Self::LinkType { .. } => {
                "capture on an interface that gives Ethernet, IP, PPP, 802.11 or cooked (`any`) frames"
            }
            Self::MixedLinkTypes { .. } => {
                "all other frames were written; replay one interface at a time: \
                 tshark -r FILE -Y frame.interface_id==0 -w OUT"
            }
            Self::Truncated { .. } => {
                "the packets before it were read; a capture still being written ends like this"
            }
            Self::AbsurdLength { .. } | Self::BadBlock { .. } => {
                "the packets before it were read; the file is damaged from there on"
            }
        }
    }
}

impl fmt::Display for PcapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { name, source } => write!(f, "cannot open {name}: {source}"),
            Self::Read { name, offset, source } => {
                write!(f, "cannot read {name} at byte {offset}: {source}")
            }
            Self::Write { name, source } => write!(f, "cannot write {name}: {source}"),
            Self::Empty { name } => {
                write!(f, "{name} is empty (0 bytes), expected a pcap or pcapng header")
            }
            Self::NotACapture { name, magic } => {
                write!(f, "{name} is not a capture: it begins with the bytes")?;
                magic.iter().try_for_each(|byte| write!(f, " {byte:02x}"))?;
                f.write_str(", expected the magic of pcap or pcapng")
            }
            Self::LinkType { name, number } => {
                let link = Linktype(*number);
                write!(
                    f,
                    "{name} has link type {number} ({link}), expected one of Ethernet, raw IP, \
                     loopback, Linux cooked, PPP, HDLC, IEEE 802.11 or NFLOG"
                )
            }
            Self::MixedLinkTypes { name, frames } => {
                write!(f, "{frames} frames of another link type were left out of {name}")
            }
            Self::Truncated { name, offset, expected_bytes, found_bytes } => write!(
                f,
                "{name} is cut off in the packet or block at byte {offset}: \
                 expected {expected_bytes} bytes, found {found_bytes}"
            ),
            Self::AbsurdLength { name, offset, length } => write!(
                f,
                "the packet at byte {offset} of {name} claims {length} bytes, \
                 expected at most {}",
                super::reader::PACKET_BYTES
            ),
            Self::BadBlock { name, offset, what } => {
                write!(f, "the block at byte {offset} of {name} is damaged: {what}")
            }
        }
    }
}

impl Error for PcapError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Open { source, .. } | Self::Read { source, .. } | Self::Write { source, .. } => {
                Some(source)
            }
            Self::Empty { .. }
            | Self::NotACapture { .. }
            | Self::LinkType { .. }
            | Self::MixedLinkTypes { .. }
            | Self::Truncated { .. }
            | Self::AbsurdLength { .. }
            | Self::BadBlock { .. } => None,
        }
    }
}

/// Captures are often handed on compressed: say so when the magic does.
fn unknown_format_hint(magic: &[u8]) -> &'static str {
    match magic {
        [0x1f, 0x8b, ..] => "it is compressed with gzip: gunzip -c FILE | fermata ... -",
        [0x28, 0xb5, 0x2f, 0xfd] => "it is compressed with zstd: zstd -dc FILE | fermata ... -",
        [0xfd, b'7', b'z', b'X'] => "it is compressed with xz: xz -dc FILE | fermata ... -",
        _ => "convert it first: editcap -F pcapng FILE OUT",
    }
}
