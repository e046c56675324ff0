//! Messages read back by what a collector knows: the templates that came before.

use std::collections::HashMap;

use fastpath::telemetry::event::{SignalKind, Waste};
use fastpath::telemetry::line::{EventClass, EventLine, ExchangeLine};

use super::element::Type;
use super::*;
use crate::report::tests::exchange;

/// A collector that knows nothing but RFC 7011.
#[derive(Default)]
struct Collector {
    /// By number: an element's number, enterprise and length.
    templates: HashMap<u16, Vec<(u16, u32, u16)>>,
    records: u32,
    /// Records, by their template.
    read: Vec<(u16, Values)>,
}

/// By element and enterprise.
type Values = HashMap<(u16, u32), Vec<u8>>;

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn long(bytes: &[u8], at: usize) -> u32 {
    u32::from(word(bytes, at)) << 16 | u32::from(word(bytes, at + 2))
}

impl Collector {
    fn message(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= MESSAGE_MAX);
        assert_eq!((word(bytes, 0), usize::from(word(bytes, 2))), (10, bytes.len()));
        assert_eq!(long(bytes, 8), self.records, "the sequence number counts records before");
        assert_eq!(long(bytes, 12), 9, "the observation domain");
        let mut at = 16;
        while at < bytes.len() {
            let (id, length) = (word(bytes, at), usize::from(word(bytes, at + 2)));
            let body = &bytes[at + 4..at + length];
            match id {
                2 => self.templates(body, 4),
                3 => self.templates(body, 6),
                id => self.data(id, body),
            }
            at += length;
        }
        assert_eq!(at, bytes.len());
    }

    fn templates(&mut self, body: &[u8], header: usize) {
        let mut at = 0;
        while at < body.len() {
            let (id, count) = (word(body, at), word(body, at + 2));
            at += header;
            let mut fields = Vec::new();
            for _ in 0..count {
                let (id, length) = (word(body, at), word(body, at + 2));
                at += 4;
                let enterprise = if id & 0x8000 == 0 {
                    0
                } else {
                    at += 4;
                    long(body, at - 4)
                };
                fields.push((id & 0x7fff, enterprise, length));
            }
            self.templates.insert(id, fields);
        }
    }

    fn data(&mut self, id: u16, body: &[u8]) {
        let mut at = 0;
        while at < body.len() {
            let mut values = HashMap::new();
            for &(element, enterprise, length) in &self.templates[&id] {
                let mut length = usize::from(length);
                if length == 0xffff {
                    length = body[at].into();
                    at += 1;
                    if length == 255 {
                        length = word(body, at).into();
                        at += 2;
                    }
                }
                values.insert((element, enterprise), body[at..at + length].to_vec());
                at += length;
            }
            self.records += 1;
            self.read.push((id, values));
        }
    }
}

fn settings(collector: String, transport: Transport) -> Settings {
    Settings {
        collector,
        transport,
        observation_domain: 9,
        template_interval: Duration::from_secs(60),
        enterprise: 32_473,
    }
}

fn rows() -> Rows {
    let v4 = ExchangeLine {
        id: "x57".to_owned(),
        attempt: 2,
        retry_of: Some("x56".to_owned()),
        waste: Some(Waste::Retry),
        hold_ms: Some(1200),
        start: 1_795_349_153.934,
        first_byte: Some(1_795_349_154.434),
        end: 1_795_349_155.0,
        ..exchange("198.51.100.11", "openai", 0.0, 1.0)
    };
    let name = "e".repeat(300);
    let v6 = ExchangeLine {
        client: "2001:db8::7".to_owned(),
        server: "2001:db8::1".to_owned(),
        tokens_estimate: None,
        first_byte: None,
        ..exchange("2001:db8::7", &name, 5.0, 6.0)
    };
    let amendment = EventLine {
        pcap: None,
        time: 1_795_349_160.5,
        event: EventClass::Amendment,
        kind: SignalKind::Wasted,
        exchange: "x57".to_owned(),
        client: "198.51.100.11".to_owned(),
        client_port: 40_000,
        server: "192.0.2.1".to_owned(),
        server_port: 443,
        endpoint: None,
        value: 5.5,
        unit: "seconds".to_owned(),
        waste: Some(Waste::Orphan),
        episode: None,
    };
    Rows { exchanges: vec![v4, v6], events: vec![amendment] }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |all, byte| all << 8 | u64::from(*byte))
}

#[test]
fn a_collector_that_knows_the_templates_reads_every_value() {
    let (mut exporting, mut collector) = (Exporting::new(9, 32_473), Collector::default());
    for message in exporting.templates(7, MESSAGE_MAX) {
        collector.message(&message);
    }
    let described: Vec<_> = std::mem::take(&mut collector.read);
    assert_eq!(described.len(), ENTERPRISE_ELEMENTS.len());
    let (id, outcome) = &described[3];
    assert_eq!(*id, 260);
    assert_eq!(outcome[&(341, 0)], b"outcome");
    assert_eq!((number(&outcome[&(303, 0)]), number(&outcome[&(346, 0)])), (4, 32_473));
    assert_eq!(number(&outcome[&(339, 0)]), u64::from(Type::Unsigned8.number()));
    for message in exporting.records(&rows(), 7, MESSAGE_MAX) {
        collector.message(&message.bytes);
    }
    let [(256, v4), (257, v6), (258, amended)] = &collector.read[..] else { panic!("three") };
    let standard = |values: &Values, element| number(&values[&(element, 0)]);
    let own = |values: &Values, element| number(&values[&(element, 32_473)]);
    assert_eq!(v4[&(8, 0)], [198, 51, 100, 11]);
    assert_eq!(standard(v4, 152), 1_795_349_153_934);
    assert_eq!((standard(v4, 7), standard(v4, 11), standard(v4, 4)), (40_000, 443, 6));
    assert_eq!((standard(v4, 231), standard(v4, 232)), (1024, 4096));
    assert_eq!([1, 2, 3, 4, 6, 10, 11, 12].map(|e| own(v4, e)), [57, 56, 2, 1, 1, 1200, 500, 100]);
    assert_eq!(v4[&(16, 32_473)], b"openai");
    assert_eq!(number(&v6[&(27, 0)]), 0x7, "the last bytes of the client's address");
    assert_eq!(v6[&(16, 32_473)].len(), 300, "a long name has three bytes of length");
    let none = u64::from(u32::MAX);
    assert_eq!((own(v6, 11), own(v6, 12)), (none, none), "what there is not");
    assert_eq!((own(amended, 1), own(amended, 6)), (57, 4));
    assert_eq!(standard(amended, 323), 1_795_349_160_500);
}

#[test]
fn messages_fit_a_datagram_and_every_record_is_in_one() {
    let (mut exporting, mut collector) = (Exporting::new(9, 1), Collector::default());
    exporting.templates(7, MESSAGE_MAX).iter().for_each(|m| collector.message(m));
    collector.read.clear();
    let mut many = Rows::default();
    for _ in 0..100 {
        many.exchanges.extend(rows().exchanges);
    }
    for message in exporting.records(&many, 7, MESSAGE_MAX) {
        collector.message(&message.bytes);
    }
    assert_eq!(collector.read.len(), 200);
}

#[test]
fn over_udp_templates_come_first_and_again_after_their_time() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut ipfix = Ipfix::new(settings(socket.local_addr().unwrap().to_string(), Transport::Udp));
    let received = |ipfix: &mut Ipfix, now| {
        ipfix.send(&rows(), now).unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut sets = Vec::new();
        let mut buffer = [0; 2000];
        while let Ok(length) = socket.recv(&mut buffer) {
            assert!(length <= MESSAGE_MAX);
            sets.push(word(&buffer, 16));
        }
        sets
    };
    assert_eq!(received(&mut ipfix, 100), [2, 260, 256]);
    assert_eq!(received(&mut ipfix, 159), [256], "they are known");
    assert_eq!(received(&mut ipfix, 160), [2, 260, 256], "a collector may have started since");
}

#[test]
fn over_tcp_a_session_begins_with_templates_and_counts_from_zero() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap().to_string();
    let mut ipfix = Ipfix::new(settings(to, Transport::Tcp));
    for _ in 0..2 {
        assert_eq!(ipfix.send(&rows(), 100).unwrap(), 3);
        assert_eq!(ipfix.send(&rows(), 999).unwrap(), 3);
        ipfix.connection = None;
        let (mut stream, _) = listener.accept().unwrap();
        let (mut bytes, mut collector) = (Vec::new(), Collector::default());
        io::Read::read_to_end(&mut stream, &mut bytes).unwrap();
        let (mut at, mut templates) = (0, 0);
        while at < bytes.len() {
            let length = usize::from(word(&bytes, at + 2));
            templates += usize::from(word(&bytes, at + 16) == 2);
            collector.message(&bytes[at..at + length]);
            at += length;
        }
        assert_eq!((templates, collector.read.len()), (1, ENTERPRISE_ELEMENTS.len() + 6));
    }
}
