//! Messages: a header, and sets of templates or records (RFC 7011, section 3).

use fastpath::telemetry::line::EventClass;

use super::element::{ENTERPRISE_ELEMENTS, Element};
use super::record::{self, Record, Template};
use crate::export::feed::Rows;

/// Makes the messages of one transport session and counts its records.
#[derive(Debug)]
pub(super) struct Exporting {
    domain: u32,
    enterprise: u32,
    /// Records sent so far, modulo 2^32.
    sequence: u32,
}

/// A message with records.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) bytes: Vec<u8>,
    /// How many records of exchanges and amendments it has.
    pub(super) records: u32,
}

const VERSION: u16 = 10;
const HEADER: usize = 16;
const SET_HEADER: usize = 4;
const TEMPLATE_SET: u16 = 2;
const OPTIONS_TEMPLATE_SET: u16 = 3;
/// Of an element's number: it is of an enterprise.
const ENTERPRISE_BIT: u16 = 0x8000;
/// Elements of [`Template::Elements`] that say what the others are about: enterprise and number.
const SCOPE_FIELDS: u16 = 2;

impl Exporting {
    pub(super) const fn new(domain: u32, enterprise: u32) -> Self {
        Self { domain, enterprise, sequence: 0 }
    }

    /// A new session: its records are counted from the beginning.
    pub(super) const fn restart(&mut self) {
        self.sequence = 0;
    }

    /// What a collector has to know before it can read records: the templates, and what the
    /// enterprise's elements are.
    pub(super) fn templates(&mut self, now: u64, bytes_max: usize) -> Vec<Vec<u8>> {
        let mut templates = Vec::new();
        for template in Template::DATA {
            let elements = template.elements();
            templates.extend_from_slice(&template.id().to_be_bytes());
            templates.extend_from_slice(&count(elements.len()).to_be_bytes());
            elements.iter().for_each(|element| self.specifier(&mut templates, element));
        }
        let (mut options, elements) = (Vec::new(), Template::Elements.elements());
        options.extend_from_slice(&Template::Elements.id().to_be_bytes());
        options.extend_from_slice(&count(elements.len()).to_be_bytes());
        options.extend_from_slice(&SCOPE_FIELDS.to_be_bytes());
        elements.iter().for_each(|element| self.specifier(&mut options, element));
        let mut first = self.header(now);
        set(&mut first, TEMPLATE_SET, &templates);
        set(&mut first, OPTIONS_TEMPLATE_SET, &options);
        let mut messages = vec![finished(first)];
        let enterprise = self.enterprise;
        let describe = |element| record::of_element(element, enterprise);
        let described = ENTERPRISE_ELEMENTS.iter().map(describe).collect();
        messages.extend(self.pack(described, now, bytes_max).into_iter().map(|m| m.bytes));
        messages
    }

    /// The records of `rows`.
    pub(super) fn records(&mut self, rows: &Rows, now: u64, bytes_max: usize) -> Vec<Message> {
        let amendments = rows.events.iter().filter(|event| event.event == EventClass::Amendment);
        let exchanges = rows.exchanges.iter().filter_map(record::of_exchange);
        let records: Vec<Record> =
            exchanges.chain(amendments.filter_map(record::of_amendment)).collect();
        self.pack(records, now, bytes_max)
    }

    /// Messages of at most `bytes_max` with these records, those of a template together.
    fn pack(&mut self, records: Vec<Record>, now: u64, bytes_max: usize) -> Vec<Message> {
        let mut messages: Vec<Message> = Vec::new();
        let mut records = records.into_iter().peekable();
        while records.peek().is_some() {
            let (mut bytes, mut count) = (self.header(now), 0);
            while let Some(&(template, ref first)) = records.peek() {
                if count > 0 && bytes.len() + SET_HEADER + first.len() > bytes_max {
                    break;
                }
                let mut body = Vec::new();
                while let Some((_, record)) = records.next_if(|(other, record)| {
                    let length = bytes.len() + SET_HEADER + body.len() + record.len();
                    *other == template && (length <= bytes_max || (count == 0 && body.is_empty()))
                }) {
                    body.extend_from_slice(&record);
                    count += 1;
                }
                if body.is_empty() {
                    break;
                }
                set(&mut bytes, template.id(), &body);
            }
            self.sequence = self.sequence.wrapping_add(count);
            messages.push(Message { bytes: finished(bytes), records: count });
        }
        messages
    }

    /// A message's header, its length still to be set.
    fn header(&self, now: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(1500);
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        // Seconds that wrap in 2106, as RFC 7011 has it.
        let now = u32::try_from(now & u64::from(u32::MAX)).unwrap_or_default();
        for word in [now, self.sequence, self.domain] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        debug_assert_eq!(out.len(), HEADER);
        out
    }

    fn specifier(&self, out: &mut Vec<u8>, element: &Element) {
        let bit = if element.enterprise { ENTERPRISE_BIT } else { 0 };
        out.extend_from_slice(&(element.id | bit).to_be_bytes());
        out.extend_from_slice(&element.kind.length().to_be_bytes());
        if element.enterprise {
            out.extend_from_slice(&self.enterprise.to_be_bytes());
        }
    }
}

fn set(out: &mut Vec<u8>, id: u16, body: &[u8]) {
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(&count(SET_HEADER + body.len()).to_be_bytes());
    out.extend_from_slice(body);
}

fn finished(mut message: Vec<u8>) -> Vec<u8> {
    let length = count(message.len());
    message[2..4].copy_from_slice(&length.to_be_bytes());
    message
}

/// Messages, and so everything in them, are far below 65,535 bytes.
fn count(n: usize) -> u16 {
    u16::try_from(n).unwrap_or(u16::MAX)
}
