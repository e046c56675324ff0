//! Classic pcap: one header of 24 bytes, then records.

use pcap_parser::pcap::parse_pcap_header;

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

/// What the file header says of all records.
pub(super) struct Classic {
    link: Link,
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
        let modified = header.is_modified_format();
        Ok(Self {
            link,
            header_bytes: if modified { MODIFIED_HEADER_BYTES } else { RECORD_HEADER_BYTES },
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
        let [seconds, fraction, captured, original] = self.fields(window.bytes());
        let captured_bytes = captured as usize;
        if captured_bytes > PACKET_BYTES {
            return Err(Stop::AbsurdLength(captured));
        }
        let record_bytes = self.header_bytes + captured_bytes;
        if !window.fill(record_bytes)? {
            return Err(Stop::truncated(window, record_bytes as u64));
        }
        let fraction = u64::from(fraction) * self.nanoseconds_per_fraction;
        Ok(Some(Record {
            link: self.link,
            at: Nanos::from_secs(u64::from(seconds)) + Nanos(fraction),
            wire_bytes: original.max(captured),
            start: self.header_bytes,
            captured_bytes,
            record_bytes,
        }))
    }

    /// Seconds, their fraction, captured and original length.
    fn fields(&self, header: &[u8]) -> [u32; 4] {
        let (fields, _) = header.as_chunks::<4>();
        let mut fields = fields.iter().copied();
        let value = if self.big_endian { u32::from_be_bytes } else { u32::from_le_bytes };
        [(); 4].map(|()| fields.next().map_or(0, value))
    }
}
