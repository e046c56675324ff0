//! The body against the messages of OTLP, and a receiver that takes it, refuses it or is away.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;

use serde::Deserialize;

use super::*;
use crate::export::snapshot::tests::all_samples;

/// `opentelemetry/proto/collector/metrics/v1` and `metrics/v1`, in the JSON of protobuf: what is not
/// in them is refused, as a strict receiver would.
mod proto {
    use super::*;

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    pub(super) struct ExportMetricsServiceRequest {
        pub(super) resource_metrics: Vec<ResourceMetrics>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    pub(super) struct ResourceMetrics {
        pub(super) resource: Resource,
        pub(super) scope_metrics: Vec<ScopeMetrics>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Resource {
        pub(super) attributes: Vec<KeyValue>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct ScopeMetrics {
        pub(super) scope: Scope,
        pub(super) metrics: Vec<Metric>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Scope {
        pub(super) name: String,
        pub(super) version: String,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Metric {
        pub(super) name: String,
        pub(super) description: String,
        pub(super) unit: String,
        pub(super) gauge: Option<Gauge>,
        pub(super) sum: Option<Sum>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    pub(super) struct Gauge {
        pub(super) data_points: Vec<NumberDataPoint>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    pub(super) struct Sum {
        pub(super) data_points: Vec<NumberDataPoint>,
        pub(super) aggregation_temporality: i32,
        pub(super) is_monotonic: bool,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    pub(super) struct NumberDataPoint {
        pub(super) attributes: Vec<KeyValue>,
        pub(super) start_time_unix_nano: Option<String>,
        pub(super) time_unix_nano: String,
        pub(super) as_double: f64,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct KeyValue {
        pub(super) key: String,
        pub(super) value: AnyValue,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    pub(super) struct AnyValue {
        pub(super) string_value: String,
    }
}

fn a_body() -> String {
    body(&all_samples(), Duration::from_secs(1_000), Duration::from_secs(1_010)).to_string()
}

#[test]
fn a_body_is_an_export_request_with_every_metric() {
    let text = a_body();
    let request: proto::ExportMetricsServiceRequest = serde_json::from_str(&text).unwrap();
    let [resource] = &request.resource_metrics[..] else { panic!("one resource") };
    let service = &resource.resource.attributes[0];
    assert_eq!((&*service.key, &*service.value.string_value), ("service.name", "fermata"));
    let [scope] = &resource.scope_metrics[..] else { panic!("one scope") };
    assert_eq!((&*scope.scope.name, &*scope.scope.version), ("fermata", "0.1.0"));
    assert_eq!(scope.metrics.len(), super::Metric::ALL.len());
    for metric in &scope.metrics {
        assert!(!metric.description.is_empty() && ["s", "By", "1"].contains(&&*metric.unit));
        match (&metric.gauge, &metric.sum) {
            (Some(gauge), None) => {
                let points = &gauge.data_points;
                assert!(points.iter().all(|p| p.start_time_unix_nano.is_none()), "{}", metric.name);
            }
            (None, Some(sum)) => {
                assert!(sum.is_monotonic && sum.aggregation_temporality == 2, "{}", metric.name);
                let start = Some("1000000000000".to_owned());
                assert!(sum.data_points.iter().all(|p| p.start_time_unix_nano == start));
            }
            _ => panic!("{} is one thing", metric.name),
        }
    }
    let wasted = scope.metrics.iter().find(|m| m.name == "fermata_wasted_seconds").unwrap();
    let points = &wasted.sum.as_ref().unwrap().data_points;
    let retry = points.iter().find(|p| p.attributes[1].value.string_value == "retry").unwrap();
    assert_eq!((retry.as_double, &*retry.time_unix_nano), (4.0, "1010000000000"));
}

/// A receiver that takes one request and answers with `answer`; gives its head and its body.
fn receive(answer: &'static str) -> (Endpoint, std::thread::JoinHandle<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let receiver = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(&stream);
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            head += &line;
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        (&stream).write_all(answer.as_bytes()).unwrap();
        (head, String::from_utf8(body).unwrap())
    });
    (to, receiver)
}

fn sent(to: &Endpoint) -> Result<u64, ExportError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(send(to, a_body()))
}

#[test]
fn a_receiver_gets_the_body_and_what_it_rejects_is_counted() {
    let (to, receiver) = receive(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 46\r\n\r\n\
         {\"partialSuccess\":{\"rejectedDataPoints\":\"3\"}}\n",
    );
    assert_eq!(sent(&to).unwrap(), 3);
    let (head, body) = receiver.join().unwrap();
    assert!(head.starts_with("POST /v1/metrics HTTP/1.1\r\n"), "{head}");
    assert!(head.to_ascii_lowercase().contains("content-type: application/json"), "{head}");
    assert_eq!(body, a_body());
}

#[test]
fn a_receiver_that_refuses_or_is_away_is_an_error() {
    let (to, receiver) = receive("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
    assert!(matches!(sent(&to), Err(ExportError::Refused(status)) if status == 503));
    receiver.join().unwrap();
    assert!(matches!(sent(&to), Err(ExportError::Receiver(_))), "nobody listens there any more");
}

#[test]
fn an_endpoint_is_an_address_with_the_usual_path() {
    let parsed = |text: &str| text.parse::<Endpoint>();
    let usual = parsed("http://[::1]:4318").unwrap();
    assert_eq!((usual.port, &*usual.path, &*usual.host), (4318, "/v1/metrics", "[::1]"));
    assert_eq!(parsed("http://collector/otlp").unwrap().path, "/otlp");
    for wrong in ["https://collector", "collector:4318", "http://"] {
        assert!(parsed(wrong).is_err(), "{wrong}");
    }
}
