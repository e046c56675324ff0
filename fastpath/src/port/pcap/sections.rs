//! pcapng: sections of blocks. Packets, interfaces and section headers are read; all other blocks
//! are skipped.

use pcap_parser::pcapng::{
    InterfaceDescriptionBlock, parse_enhancedpacketblock_be, parse_enhancedpacketblock_le,
    parse_interfacedescriptionblock_be, parse_interfacedescriptionblock_le,
    parse_simplepacketblock_be, parse_simplepacketblock_le,
};
use pcap_parser::traits::PcapNGPacketBlock;
use pcap_parser::{EPB_MAGIC, IDB_MAGIC, SHB_MAGIC, SPB_MAGIC};

use super::linktype;
use super::reader::{BLOCK_BYTES, PACKET_BYTES, Record, Stop};
use super::window::Window;
use crate::burst::Link;
use crate::time::Nanos;

/// Type, length, and the length again at the end.
const BLOCK_BYTES_MIN: usize = 12;

/// Where the packet stands in its block.
const ENHANCED_HEADER_BYTES: usize = 28;
const SIMPLE_HEADER_BYTES: usize = 12;

/// The Packet Block: obsolete since 2004, and still met. Its header is as long as that of an
/// enhanced one.
const PACKET_MAGIC: u32 = 2;

/// Interfaces a section may describe; the packets of further ones are skipped.
const INTERFACES_MAX: usize = 4096;

/// The state of a pcapng file between two blocks.
pub(super) struct Sections {
    big_endian: bool,
    interfaces: Vec<Option<Interface>>,
    packets: u64,
    skipped_packets: u64,
    /// Time of the last packet, for blocks that have none.
    last: Nanos,
}

/// What is known of an interface; its place in the list is `None` when its description cannot be
/// read.
#[derive(Clone, Copy)]
struct Interface {
    /// The number of its link type, and what it stands for when frames of it are read.
    number: i32,
    link: Option<Link>,
    units_per_second: u64,
    offset_seconds: i64,
    snap_bytes: u32,
}

/// What a block was.
enum Found {
    Packet(Record),
    Skipped,
    Other,
}

impl Sections {
    /// Reads the first section header.
    pub(super) fn open(window: &mut Window) -> Result<Self, Stop> {
        let mut sections = Self {
            big_endian: false,
            interfaces: Vec::new(),
            packets: 0,
            skipped_packets: 0,
            last: Nanos::ZERO,
        };
        let len = sections.block_bytes(window)?.unwrap_or_default();
        window.consume(len);
        Ok(sections)
    }

    pub(super) fn skipped_packets(&self) -> u64 {
        self.skipped_packets
    }

    /// The next packet, or `None` at the end.
    pub(super) fn next(&mut self, window: &mut Window) -> Result<Option<Record>, Stop> {
        while let Some(len) = self.block_bytes(window)? {
            let block = window.bytes().get(..len).unwrap_or_default();
            match self.block(block)? {
                Found::Packet(record) => return Ok(Some(record)),
                Found::Skipped => self.skipped_packets += 1,
                Found::Other => {}
            }
            window.consume(len);
        }
        Ok(None)
    }

    /// Brings the next block into the window and checks its frame: byte order, length, length
    /// again. Blocks too long for that are skipped here. `None` at the end.
    fn block_bytes(&mut self, window: &mut Window) -> Result<Option<usize>, Stop> {
        loop {
            if !window.fill(BLOCK_BYTES_MIN)? {
                return match window.bytes() {
                    [] => Ok(None),
                    _ => Err(Stop::truncated(window, BLOCK_BYTES_MIN as u64)),
                };
            }
            self.follow_byte_order(window.bytes())?;
            let kind = self.field(window.bytes(), 0);
            let len = self.field(window.bytes(), 4);
            if !len.is_multiple_of(4) || (len as usize) < BLOCK_BYTES_MIN {
                return Err(Stop::BadBlock("its length is below 12 or no multiple of 4"));
            }
            if len as usize <= BLOCK_BYTES {
                return self.whole_block(window, len as usize).map(Some);
            }
            self.skipped_packets += u64::from(is_packet(kind));
            let missing = window.skip(u64::from(len))?;
            if missing > 0 {
                let found_bytes = u64::from(len) - missing;
                return Err(Stop::Truncated { expected_bytes: u64::from(len), found_bytes });
            }
        }
    }

    fn whole_block(&self, window: &mut Window, len: usize) -> Result<usize, Stop> {
        if !window.fill(len)? {
            return Err(Stop::truncated(window, len as u64));
        }
        if self.field(window.bytes(), len - 4) as usize != len {
            return Err(Stop::BadBlock("the lengths at its two ends differ"));
        }
        Ok(len)
    }

    /// Every section header says its own byte order, and starts the list of interfaces anew.
    fn follow_byte_order(&mut self, block: &[u8]) -> Result<(), Stop> {
        if self.field(block, 0) != SHB_MAGIC {
            return Ok(());
        }
        self.interfaces.clear();
        self.big_endian = match block.get(8..12) {
            Some([0x1a, 0x2b, 0x3c, 0x4d]) => true,
            Some([0x4d, 0x3c, 0x2b, 0x1a]) => false,
            _ => return Err(Stop::BadBlock("the section header has no byte-order magic")),
        };
        Ok(())
    }

    /// Reads one whole block. One with a sound frame and an unsound inside is passed over.
    fn block(&mut self, block: &[u8]) -> Result<Found, Stop> {
        match self.field(block, 0) {
            IDB_MAGIC => {
                if self.interfaces.len() < INTERFACES_MAX {
                    self.interfaces.push(self.interface(block));
                }
                Ok(Found::Other)
            }
            kind if is_packet(kind) => {
                self.packets += 1;
                if self.packets == 1 {
                    self.some_link()?;
                }
                let record = self.packet(block).filter(|r| r.captured_bytes <= PACKET_BYTES);
                self.last = record.map_or(self.last, |record| record.at);
                Ok(record.map_or(Found::Skipped, Found::Packet))
            }
            _ => Ok(Found::Other),
        }
    }

    fn interface(&self, block: &[u8]) -> Option<Interface> {
        let parse = if self.big_endian {
            parse_interfacedescriptionblock_be
        } else {
            parse_interfacedescriptionblock_le
        };
        let (_, description) = parse(block).ok()?;
        Some(Interface {
            number: description.linktype.0,
            link: linktype::link(description.linktype.0),
            units_per_second: units_per_second(description.if_tsresol)?,
            offset_seconds: offset_seconds(&description, self.big_endian),
            snap_bytes: description.snaplen,
        })
    }

    /// An error when no link that is read is described before the first packet: nothing would be
    /// left to read.
    fn some_link(&self) -> Result<(), Stop> {
        let mut interfaces = self.interfaces.iter().flatten();
        match interfaces.clone().next() {
            Some(first) if interfaces.all(|interface| interface.link.is_none()) => {
                Err(Stop::LinkType(first.number))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// An interface of which packets are read, and its link type.
    fn read_from(&self, id: usize) -> Option<(Interface, Link)> {
        let interface = self.interfaces.get(id).copied().flatten()?;
        Some((interface, interface.link?))
    }

    fn packet(&self, block: &[u8]) -> Option<Record> {
        match self.field(block, 0) {
            EPB_MAGIC => self.enhanced_packet(block),
            PACKET_MAGIC => self.obsolete_packet(block),
            _ => self.simple_packet(block),
        }
    }

    fn enhanced_packet(&self, block: &[u8]) -> Option<Record> {
        let parse = if self.big_endian {
            parse_enhancedpacketblock_be
        } else {
            parse_enhancedpacketblock_le
        };
        let (_, packet) = parse(block).ok()?;
        let (interface, link) = self.read_from(packet.if_id as usize)?;
        let captured = packet.packet_data().len();
        Some(Record {
            link,
            at: interface.time(u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low)),
            wire_bytes: packet.origlen.max(u32::try_from(captured).ok()?),
            start: ENHANCED_HEADER_BYTES,
            captured_bytes: captured,
            record_bytes: block.len(),
        })
    }

    /// A packet block has its interface in two bytes, and before the others a count of drops.
    fn obsolete_packet(&self, block: &[u8]) -> Option<Record> {
        let word = self.field(block, 8);
        let id = if self.big_endian { word >> 16 } else { word & 0xffff };
        let (interface, link) = self.read_from(id as usize)?;
        let [high, low, captured, wire_bytes] = [12, 16, 20, 24].map(|at| self.field(block, at));
        let captured_bytes = captured as usize;
        let room = block.len().checked_sub(ENHANCED_HEADER_BYTES + 4)?;
        (captured_bytes <= room).then_some(Record {
            link,
            at: interface.time(u64::from(high) << 32 | u64::from(low)),
            wire_bytes: wire_bytes.max(captured),
            start: ENHANCED_HEADER_BYTES,
            captured_bytes,
            record_bytes: block.len(),
        })
    }

    /// A simple packet has neither time nor interface: the last packet's time, the first interface.
    fn simple_packet(&self, block: &[u8]) -> Option<Record> {
        let parse =
            if self.big_endian { parse_simplepacketblock_be } else { parse_simplepacketblock_le };
        let (_, packet) = parse(block).ok()?;
        let (interface, link) = self.read_from(0)?;
        let snap_bytes = match interface.snap_bytes {
            0 => usize::MAX,
            bytes => bytes as usize,
        };
        Some(Record {
            link,
            at: self.last,
            wire_bytes: packet.origlen,
            start: SIMPLE_HEADER_BYTES,
            captured_bytes: packet.packet_data().len().min(snap_bytes),
            record_bytes: block.len(),
        })
    }

    fn field(&self, block: &[u8], offset: usize) -> u32 {
        let field = block.get(offset..).and_then(|rest| rest.first_chunk());
        let field = field.copied().unwrap_or_default();
        if self.big_endian { u32::from_be_bytes(field) } else { u32::from_le_bytes(field) }
    }
}

impl Interface {
    /// The point in time that `units` stand for.
    fn time(&self, units: u64) -> Nanos {
        let nanos = match self.units_per_second {
            1_000_000 => units.saturating_mul(1_000),
            1_000_000_000 => units,
            other => {
                let nanos = u128::from(units) * 1_000_000_000 / u128::from(other);
                u64::try_from(nanos).unwrap_or(u64::MAX)
            }
        };
        let offset = self.offset_seconds.saturating_mul(1_000_000_000);
        Nanos(nanos.saturating_add_signed(offset))
    }
}

/// Whether a block of this type holds a packet.
fn is_packet(kind: u32) -> bool {
    matches!(kind, EPB_MAGIC | SPB_MAGIC | PACKET_MAGIC)
}

/// The resolution of time stamps: a power of ten, or of two when the top bit is set. `None` when it
/// does not fit. (`ts_resolution` of pcap-parser refuses all powers of two.)
fn units_per_second(resolution: u8) -> Option<u64> {
    match resolution {
        0..=0x7f => 10_u64.checked_pow(u32::from(resolution)),
        0x80..=0xff => 2_u64.checked_pow(u32::from(resolution & 0x7f)),
    }
}

/// Seconds to add to time stamps. pcap-parser reads the option as little-endian in every section.
fn offset_seconds(description: &InterfaceDescriptionBlock<'_>, big_endian: bool) -> i64 {
    if big_endian { description.if_tsoffset.swap_bytes() } else { description.if_tsoffset }
}
