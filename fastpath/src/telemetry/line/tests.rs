//! Golden lines.

use super::*;
use crate::burst::{Address, Ja4, Protocol};
use crate::policy::snapshot::Policy;
use crate::telemetry::event::{Call, ExchangeId};
use crate::telemetry::fingerprints::{FingerprintTable, Lists};
use crate::telemetry::grounds::Grounds;
use crate::telemetry::names::NameTable;

fn peers() -> Peers {
    Peers {
        client: Address::v4([198, 51, 100, 11]),
        client_port: 40_000,
        server: Address::v4([198, 51, 100, 101]),
        server_port: 443,
        protocol: Protocol::Tcp,
    }
}

/// The id of this name, and of an ALPN offer.
fn named(name: &str) -> (Names, [Option<super::super::names::NameId>; 2], Snapshot) {
    let mut table = NameTable::with_capacity(4);
    let id = [name.as_bytes(), b"\x02h2\x01\xe9"].map(|name| table.intern(name));
    (table.reader(), id, Snapshot::compile(Policy::catalogue().unwrap()).unwrap())
}

#[test]
fn a_hello_becomes_the_flow_line_of_the_corpus() {
    let (names, [sni, alpn], snapshot) = named("api.openai.com");
    let ja4 = Ja4(*b"t13d1516h2_8daaf6152771_e5627efa2ab1");
    let mut table = FingerprintTable::default();
    let lists = Lists { head: *b"t13d1516h2", codes: &[0x1301, 0x000d, 0x0403], lengths: [1, 1] };
    let (_, fingerprint) = table.intern(&lists, |_| ja4);
    let endpoint = snapshot.by_name("api.openai.com").unwrap();
    let hello = Hello {
        at: Nanos(1_500_000_000_123_456_789),
        peers: peers(),
        carrier: Carrier::Tcp,
        sni,
        alpn,
        version: TlsVersion::V1_3,
        ja4,
        fingerprint,
        ech: false,
        esni: false,
        call: Some(Call { endpoint, by: Evidence::Learnt, confidence: 0.75 }),
        visibility: Visibility::Both,
        from_middle: true,
    };
    assert_eq!(
        serde_json::to_string(&FlowLine::new(&hello, &names, &table.reader(), &snapshot)).unwrap(),
        r#"{"src":"198.51.100.11","sport":40000,"dst":"198.51.100.101","dport":443,"proto":"tcp","#
            .to_owned()
            + r#""sni":"api.openai.com","alpn":["h2","é"],"tls_version":"TLSv1.3","#
            + r#""ja4":"t13d1516h2_8daaf6152771_e5627efa2ab1","ja4_r":"t13d1516h2_1301_000d_0403","#
            + r#""ech":false,"esni":false,"#
            + r#""time":1500000000.123457,"endpoint":"openai","endpoint_by":"learnt","#
            + r#""confidence":0.75,"visibility":"both","from_middle":true}"#
    );
}

/// An exchange with a server of no name.
pub(crate) fn an_exchange() -> Exchange {
    Exchange {
        id: ExchangeId(7),
        peers: peers(),
        endpoint: None,
        call: None,
        sni: None,
        visibility: Visibility::H1,
        from_middle: false,
        rtt: [Some(Nanos(20_123_456)), None],
        start: Nanos::from_micros(1_795_349_153_934_962),
        first_byte: None,
        end: Nanos::from_secs(1_795_349_154),
        closed: Some(Nanos::from_secs(1_795_349_155)),
        outcome: Outcome::ConnectFailed,
        attempt: 2,
        retry_of: Some(ExchangeId(3)),
        hedge: false,
        restart: false,
        stall: None,
        outcome_confidence: 0.98,
        retry_confidence: 0.99,
        up_bucket: 2048,
        down_bucket: 1024,
        streamed: false,
        tokens: Some(Estimate { low: 0.5, likely: 1.5, high: 2.5 }),
        cost_milli_usd: Some(Estimate { low: 0.001, likely: 0.015, high: 0.15 }),
        waste: Some(Waste::Retry),
        amended: None,
        work: None,
        verdict: Verdict::Hold,
        reason: Reason::OverRetryBudget,
        enforced: false,
        hold: None,
        grounds: Grounds::default(),
    }
}

#[test]
fn an_exchange_becomes_the_line_of_the_contract() {
    let (names, [sni, _], snapshot) = named("api.openai.com");
    let endpoint = snapshot.by_name("api.openai.com").unwrap();
    let exchange = Exchange {
        endpoint: Some(endpoint),
        call: Some(Call { endpoint, by: Evidence::Sni, confidence: 1.0 }),
        sni,
        ..an_exchange()
    };
    let line = ExchangeLine::new(&exchange, &names, &snapshot);
    let text = serde_json::to_string(&line).unwrap();
    assert_eq!(
        text,
        r#"{"id":"x7","client":"198.51.100.11","client_port":40000,"server":"198.51.100.101","#
            .to_owned()
            + r#""server_port":443,"endpoint":"openai","endpoint_by":"sni","tenant":null,"#
            + r#""sni":"api.openai.com","visibility":"h1","from_middle":false,"#
            + r#""rtt_server_ms":20.123,"rtt_client_ms":null,"#
            + r#""start":1795349153.934962,"first_byte":null,"end":1795349154.0,"#
            + r#""closed":1795349155.0,"outcome":"connect_failed","attempt":2,"retry_of":"x3","hedge":false,"#
            + r#""restart":false,"stall":null,"confidence":{"outcome":0.98,"retry":0.99,"endpoint":1.0},"#
            + r#""up_bucket":2048,"down_bucket":1024,"streamed":false,"#
            + r#""tokens_estimate":[0.0,2.0,3.0],"cost_usd":[1e-6,0.000015,0.00015],"#
            + r#""waste":"retry","verdict":"hold","reason":"over_retry_budget","#
            + r#""grounds":{"outcome":"no_response","ended":"running","up_records":0,"down_records":0,"#
            + r#""counted_records":0,"bursts":0,"late_records":0,"alone":false,"link":{"#
            + r#""rule":"undecided","candidates":0,"rivals":0,"gap_seconds":null,"#
            + r#""log_likelihood":null,"same":0,"near":0,"answered_seconds":null,"#
            + r#""running_seconds":null}}}"#
    );
    assert_eq!(serde_json::from_str::<ExchangeLine>(&text).unwrap(), line);
}

#[test]
fn a_verdict_is_told_apart_from_a_signal() {
    let (_, _, snapshot) = named("x");
    let signal = |kind| Signal {
        at: Nanos::from_secs(1),
        kind,
        exchange: ExchangeId(1),
        peers: peers(),
        endpoint: None,
        value: 0.1 + 0.2,
        episode: None,
    };
    let stall = EventLine::new(&signal(SignalKind::Stall), &snapshot);
    assert_eq!((stall.event, stall.unit.as_str()), (EventClass::Signal, "seconds"));
    assert_eq!(stall.value.to_string(), "0.3");
    let over = EventLine::new(&signal(SignalKind::OverBudget), &snapshot);
    assert_eq!((over.event, over.unit.as_str()), (EventClass::Verdict, "attempt"));
}

#[test]
fn versions_have_the_names_of_the_corpus() {
    let name = |number| version_name(TlsVersion(number));
    assert_eq!(name(0x0301), "TLSv1.0");
    assert_eq!(name(0xfefd), "DTLSv1.2");
    assert_eq!(name(0x7f1a), "0x7f1a");
}
