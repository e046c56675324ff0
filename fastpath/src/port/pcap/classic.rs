//! Classic pcap: one header of 24 bytes, then records.

use pcap_parser::nom::IResult;
use pcap_parser::pcap::{
    LegacyPcapBlock, parse_pcap_frame, parse_pcap_frame_be, parse_pcap_frame_modified,
    parse_pcap_header,
};

use super::linktype;
use super::reader::{PACKET_BYTES, Record, Stop};
use super::window::Window;
use crate::burst::Link;
use crate::time::Nanos;

/// The header of the file.
const FILE_HEADER_BYTES: usize = 24;

/// The part of a record's header that every variant has: seconds, fraction, captured and original
/// length.
const RECORD_HEADER_BYTES: usize = 16;

/// The header of a record in the variant of Alexey Kuznetsov's patched libpcap.
const MODIFIED_HEADER_BYTES: usize = 24;

type ParseRecord = fn(&[u8]) -> IResult<&[u8], LegacyPcapBlock<'_>, pcap_parser::PcapError<&[u8]>>;

/// What the file header says of all records.
pub(super) struct Classic {
    link: Link,
    parse: ParseRecord,
    header_bytes: usize,
    big_endian: bool,
    nanoseconds_per_fraction: u64,
}

impl Classic {
    pub(super) fn open(window: &mut Window) -> Result<Self, Stop> {
        let complete = window.fill(FILE_HEADER_BYTES)?;
        let header = match parse_pcap_header(window.bytes()) {
            Ok((_, header)) => header,
            Err(error) if error.is_incomplete() && !complete => {
                return Err(Stop::truncated(window, FILE_HEADER_BYTES as u64));
            }
            Err(_) => {
                return Err(Stop::NotACapture(window.bytes().iter().copied().take(4).collect()));
            }
        };
        // The upper half of the field tells about an FCS, which IP lengths cut off as they cut off
        // padding.
        let number = header.network.0 & 0xffff;
        let link = linktype::link(number).ok_or(Stop::LinkType(number))?;
        window.consume(FILE_HEADER_BYTES);
        let (parse, header_bytes): (ParseRecord, _) = if header.is_modified_format() {
            (parse_pcap_frame_modified, MODIFIED_HEADER_BYTES)
        } else if header.is_bigendian() {
            (parse_pcap_frame_be, RECORD_HEADER_BYTES)
        } else {
            (parse_pcap_frame, RECORD_HEADER_BYTES)
        };
        Ok(Self {
            link,
            parse,
            header_bytes,
            big_endian: header.is_bigendian(),
            nanoseconds_per_fraction: if header.is_nanosecond_precision() { 1 } else { 1_000 },
        })
    }

    pub(super) fn next(&self, window: &mut Window) -> Result<Option<Record>, Stop> {
        if !window.fill(self.header_bytes)? {
            return match window.bytes() {
                [] => Ok(None),
                _ => Err(Stop::truncated(window, self.header_bytes as u64)),
            };
        }
        let captured = self.captured_bytes(window.bytes());
        let captured_bytes = captured as usize;
        if captured_bytes > PACKET_BYTES {
            return Err(Stop::AbsurdLength(captured));
        }
        let record_bytes = self.header_bytes + captured_bytes;
        if !window.fill(record_bytes)? {
            return Err(Stop::truncated(window, record_bytes as u64));
        }
        let Ok((_, block)) = (self.parse)(window.bytes()) else {
            return Err(Stop::truncated(window, record_bytes as u64));
        };
        let fraction = u64::from(block.ts_usec) * self.nanoseconds_per_fraction;
        Ok(Some(Record {
            link: self.link,
            at: Nanos::from_secs(u64::from(block.ts_sec)) + Nanos(fraction),
            wire_bytes: block.origlen.max(captured),
            start: self.header_bytes,
            captured_bytes,
            record_bytes,
        }))
    }

    /// The captured length, read before the parser sees the record: the parser would ask for as
    /// much.
    fn captured_bytes(&self, header: &[u8]) -> u32 {
        let field = header[8..].first_chunk().copied().unwrap_or_default();
        if self.big_endian { u32::from_be_bytes(field) } else { u32::from_le_bytes(field) }
    }
}
