//! Documents that are right, and what is said of those that are not.

use std::path::Path;

use fastpath::policy::rules::{Rule, Rules};
use fastpath::policy::snapshot::{Policy, RetryBudget, RuleMode, Snapshot};

use super::*;

const HEAD: &str = "apiVersion: fermata.dev/v1alpha1\n";

fn parsed(text: &str) -> Result<Policy, String> {
    parse(Path::new("p.yaml"), text).map_err(|error| error.to_string())
}

fn endpoint(spec: &str) -> String {
    format!("{HEAD}kind: Endpoint\nmetadata: {{ name: mine }}\nspec:\n{spec}")
}

#[test]
fn the_example_is_valid_and_compiles() {
    let example = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples/policy.yaml"));
    let policy = read(example).unwrap();
    assert_eq!(policy.mode, RuleMode::Shadow);
    let snapshot = Snapshot::compile(policy).unwrap();
    let id = snapshot.by_name("llm.example.internal").unwrap();
    assert_eq!(snapshot.endpoint(id).name, "our-vllm");
}

#[test]
fn an_empty_file_is_the_catalogue() {
    let catalogue = Policy::catalogue().unwrap();
    for text in ["", "# nothing\n", "---\n---\n"] {
        assert_eq!(parsed(text).as_ref(), Ok(&catalogue), "{text:?}");
    }
}

#[test]
fn the_users_endpoints_come_first_and_replace_their_namesakes() {
    let own = endpoint("  hosts: [llm.example.com]\n").replace("mine", "openai");
    let policy = parsed(&own).unwrap();
    assert_eq!(policy.endpoints[0].hosts[0].to_string(), "llm.example.com");
    assert_eq!(policy.endpoints.iter().filter(|e| e.name == "openai").count(), 1);
    assert_eq!(policy.endpoints.len(), Policy::catalogue().unwrap().endpoints.len());
}

#[test]
fn the_retry_constraint_of_the_gateway_api_becomes_the_budget() {
    let text = format!(
        "{HEAD}kind: CoordinationPolicy\nmetadata: {{ name: all }}\nspec:\n  mode: off\n  retryConstraint:\n    \
         budget: {{ percent: 20, interval: 10s }}\n    minRetryRate: {{ count: 30, interval: 10s }}\n  \
         limits: {{ retryWindow: 1m }}\n"
    );
    let policy = parsed(&text).unwrap();
    let budget = RetryBudget { percent: 20.0, min_per_sec: 3.0, burst: 30.0, fixed: true };
    assert_eq!((policy.mode, policy.retry_budget), (RuleMode::Off, budget));
    assert_eq!((policy.limits.retry_window_ms, policy.limits.stall_ms), (60_000, 500));
}

#[test]
fn an_unknown_field_is_told_with_line_path_and_the_nearest_name() {
    let first = endpoint("  hosts: [a.example]\n");
    let text = first + "---\n" + &endpoint("  host: [b.example]\n").replace("mine", "other");
    assert_eq!(
        parsed(&text).unwrap_err(),
        "error: p.yaml:11: spec.host: unknown field `host`; expected `provider`, `class`, `hosts`, `prefixes`, \
         `ports`, `fingerprints`, `price`, `calibration` or `learnt`\n  did you mean `hosts`?"
    );
}

#[test]
fn unknown_kinds_values_and_versions_say_what_was_expected() {
    let kind = format!("{HEAD}kind: Endpiont\n");
    assert_eq!(
        parsed(&kind).unwrap_err(),
        "error: p.yaml:2: kind: unknown value `Endpiont`; expected `Endpoint`, `CoordinationPolicy`, `Tenant` or `Exporter`\n  \
         did you mean `Endpoint`?"
    );
    let version = "apiVersion: v1\n";
    assert_eq!(
        parsed(version).unwrap_err(),
        "error: p.yaml:1: apiVersion: `v1` is not supported; expected `fermata.dev/v1alpha1`"
    );
}

#[test]
fn a_wrong_value_is_told_with_its_place_in_a_list() {
    let text = endpoint("  hosts:\n    - a.example\n    - 'no host'\n");
    let error = parsed(&text).unwrap_err();
    assert!(
        error.starts_with("error: p.yaml:7: spec.hosts[1]: `no host` is no host pattern"),
        "{error}"
    );
}

#[test]
fn what_would_have_no_effect_is_an_error() {
    for (spec, path) in [
        ("  class: llm\n", "spec: nothing can be recognised"),
        ("  hosts: [a.b]\n  ports: [443]\n", "spec.ports: "),
        (
            "  hosts: [a.b]\n  price: { outputPerMillion: [3, 2, 1], inputPerMillion: [1, 1, 1] }\n",
            "spec.price.outputPerMillion: ",
        ),
    ] {
        let error = parsed(&endpoint(spec)).unwrap_err();
        assert!(error.contains(path), "{error}");
    }
}

#[test]
fn a_second_coordination_policy_or_name_is_an_error() {
    let one = format!("{HEAD}kind: CoordinationPolicy\nmetadata: {{ name: a }}\nspec: {{}}\n");
    let error = parsed(&format!("{one}---\n{one}")).unwrap_err();
    assert!(
        error.contains("p.yaml:7: kind: a second CoordinationPolicy; the first is in line 1"),
        "{error}"
    );
    let one = endpoint("  hosts: [a.b]\n");
    let error = parsed(&format!("{one}---\n{one}")).unwrap_err();
    assert!(error.contains("a second Endpoint named `mine`"), "{error}");
}

#[test]
fn broken_yaml_is_told_with_its_line() {
    let error = parsed(&format!("{HEAD}kind: [Endpoint\n")).unwrap_err();
    assert!(error.starts_with("error: p.yaml:"), "{error}");
    assert!(!error.contains(" at line "), "{error}");
}

fn coordination(spec: &str) -> Result<Policy, String> {
    parsed(&format!("{HEAD}kind: CoordinationPolicy\nmetadata: {{ name: all }}\nspec:\n{spec}"))
}

#[test]
fn every_rule_has_a_mode_and_a_share_of_its_own() {
    let policy = coordination(
        "  mode: enforce\n  enforcePercent: 50\n  holdout: 10%\n  adaptiveConcurrency: { mode: shadow }\n  \
         cancelPropagation: { enforcePercent: 5%, grace: 500ms }\n  fanOut: { maxConcurrent: 16 }\n",
    )
    .unwrap();
    let rules = &policy.rules;
    assert_eq!(rules.mode(Rule::Concurrency, policy.mode), RuleMode::Shadow);
    assert_eq!(rules.mode(Rule::Cancel, policy.mode), RuleMode::Enforce);
    assert_eq!([rules.share(Rule::Cancel), rules.share(Rule::FanOut)], [0.05, 0.5]);
    assert_eq!((rules.cancel.grace_ms, rules.fan_out.max_concurrent), (500, Some(16)));
    assert_eq!(rules.self_disarm.holdout_percent, 10.0);
}

#[test]
fn what_a_policy_does_not_say_is_the_default() {
    assert_eq!(coordination("  mode: shadow\n").unwrap().rules, Rules::default());
}

#[test]
fn outlier_detection_has_the_names_of_envoy() {
    let policy = coordination(
        "  outlierDetection: { consecutiveFailures: 3, interval: 10s, baseEjectionTime: 30s, maxEjectionTime: 5m, \
         maxEjectionPercent: 10 }\n",
    );
    let breaker = policy.unwrap().rules.breaker;
    assert_eq!((breaker.consecutive_failures, breaker.base_ejection_time_ms), (3, 30_000));
    assert_eq!(breaker.max_ejection_percent, 10.0);
    let other = coordination("  outlierDetection: { interval: 30s }\n").unwrap_err();
    assert!(other.contains("spec.outlierDetection.interval: expected `10s`"), "{other}");
}

#[test]
fn a_figure_out_of_range_and_a_field_that_is_not_there_are_errors() {
    let range = coordination("  holdout: 80%\n").unwrap_err();
    assert!(range.contains("p.yaml:5: spec.holdout: expected 0 to 50 percent"), "{range}");
    let field = coordination("  cancelPropagation: { graze: 1s }\n").unwrap_err();
    assert!(field.contains("did you mean `grace`?"), "{field}");
    let percent = coordination("  enforcePercent: half\n").unwrap_err();
    assert!(percent.contains("a share in percent"), "{percent}");
    let closed = coordination("  failureMode: closed\n").unwrap_err();
    assert!(closed.contains("`open`"), "{closed}");
}

fn tenant(name: &str, prefixes: &str) -> String {
    format!(
        "---\n{HEAD}kind: Tenant\nmetadata: {{ name: {name} }}\nspec: {{ prefixes: {prefixes} }}\n"
    )
}

fn all(text: &str) -> Result<Documents, String> {
    parse_all(Path::new("p.yaml"), text).map_err(|error| error.to_string())
}

#[test]
fn a_client_belongs_to_the_tenant_with_the_longest_prefix() {
    let text = tenant("wide", "[10.0.0.0/8, '2001:db8::/32']") + &tenant("narrow", "[10.1.0.0/16]");
    let tenants = Tenants::new(&all(&text).unwrap().tenants);
    for (client, name) in [
        ("10.1.2.3", Some("narrow")),
        ("10.2.2.3", Some("wide")),
        ("2001:db8::1", Some("wide")),
        ("192.0.2.1", None),
        ("nobody", None),
    ] {
        assert_eq!(tenants.of(client), name, "{client}");
    }
}

#[test]
fn tenants_that_cannot_be_told_apart_and_those_without_clients_are_errors() {
    let twice = all(&(tenant("a", "[10.0.0.0/8]") + &tenant("b", "[192.0.2.0/24, 10.0.0.0/8]")));
    let said = "error: p.yaml:10: spec.prefixes[1]: `10.0.0.0/8` is the tenant `a` already";
    assert!(twice.as_ref().unwrap_err().starts_with(said), "{twice:?}");
    let named = all(&(tenant("a", "[10.0.0.0/8]") + &tenant("a", "[11.0.0.0/8]"))).unwrap_err();
    assert!(named.starts_with("error: p.yaml:9: metadata.name: a second Tenant"), "{named}");
    assert!(all(&tenant("a", "[]")).unwrap_err().contains("expected at least one prefix"));
}

fn exporter(name: &str, spec: &str) -> String {
    format!("---\n{HEAD}kind: Exporter\nmetadata: {{ name: {name} }}\nspec: {{ {spec} }}\n")
}

#[test]
fn an_exporter_is_one_of_four_with_its_defaults() {
    let text = exporter("prom", "openMetrics: { listen: '127.0.0.1:9464' }")
        + &exporter("flows", "ipfix: { collector: '192.0.2.1:4739' }")
        + &exporter("lines", "jsonLines: { path: /var/log/fermata/exchanges.jsonl }")
        + &exporter(
            "otel",
            "otlp: { endpoint: 'http://127.0.0.1:4318/v1/metrics', interval: 30s }",
        );
    let exporters = all(&text).unwrap().exporters;
    let Destination::Ipfix(ipfix) = &exporters[1].to else { panic!("{exporters:?}") };
    assert_eq!((ipfix.transport, ipfix.observation_domain), (Transport::Udp, 1));
    assert_eq!(ipfix.template_interval.to_string(), "5m");
    let Destination::Otlp(otlp) = &exporters[3].to else { panic!("{exporters:?}") };
    assert_eq!(otlp.interval.0, 30_000);
}

#[test]
fn exporters_that_are_in_each_others_way_or_make_no_sense_are_errors() {
    let listen = "openMetrics: { listen: '127.0.0.1:9464' }";
    let twice = all(&(exporter("a", listen) + &exporter("b", listen))).unwrap_err();
    assert!(twice.contains("p.yaml:10: spec.openMetrics.listen: `127.0.0.1:9464` is that of `a`"));
    for (spec, said) in [
        ("openMetric: { listen: '127.0.0.1:1' }", "did you mean `openMetrics`?"),
        (
            "jsonLines: { path: a.jsonl }",
            "p.yaml:5: spec.jsonLines.path: `a.jsonl`: expected an absolute",
        ),
        ("otlp: { endpoint: 'ftp://x' }", "spec.otlp.endpoint"),
        ("otlp: { endpoint: 'http://x', interval: 10 }", "did you mean `10s`?"),
        ("ipfix: { collector: here }", "spec.ipfix.collector"),
        ("ipfix: { collector: '192.0.2.1:1', transport: sctp }", "expected `udp` or `tcp`"),
    ] {
        let error = all(&exporter("a", spec)).unwrap_err();
        assert!(error.contains(said), "{spec}: {error}");
    }
}

#[test]
fn what_an_earlier_endpoint_has_already_is_told_with_its_line() {
    let first = endpoint("  hosts: [a.example, '*.b.example']\n  prefixes: [10.0.0.0/8]\n");
    let second = endpoint(
        "  hosts:\n    - x.b.example\n    - '*.b.example'\n  prefixes: [10.0.0.0/8]\n  ports: [443]\n",
    );
    let text = first + "---\n" + &second.replace("mine", "other");
    let findings = all(&text).unwrap().findings;
    let said: Vec<_> = findings.iter().map(|f| (f.at.as_str(), f.path.as_str())).collect();
    assert_eq!(said, [("p.yaml:14", "spec.hosts[1]"), ("p.yaml:15", "spec.prefixes[0]")]);
    assert!(findings[0].message.starts_with("`*.b.example` is found as `mine`"), "{findings:?}");
}

#[test]
fn a_prefix_that_other_ports_have_is_in_nobodys_way() {
    let first = endpoint("  prefixes: [10.0.0.0/8]\n  ports: [443]\n");
    let second = endpoint("  prefixes: [10.0.0.0/8]\n").replace("mine", "other");
    assert_eq!(all(&(first + "---\n" + &second)).unwrap().findings, []);
}

#[test]
fn settings_that_nothing_comes_of_are_told() {
    let text = format!(
        "{HEAD}kind: CoordinationPolicy\nmetadata: {{ name: all }}\nspec:\n  mode: shadow\n  hold: {{ maxTime: 1s }}\n  \
         fairShare: {{ mode: enforce }}\n  fanOut:\n    enforcePercent: 5%\n"
    );
    let findings = all(&text).unwrap().findings;
    let said: Vec<_> = findings.iter().map(|f| (f.at.as_str(), f.path.as_str())).collect();
    assert_eq!(
        said,
        [
            ("p.yaml:7", "spec.fairShare.mode"),
            ("p.yaml:9", "spec.fanOut.enforcePercent"),
            ("p.yaml:6", "spec.hold.helloMaxTime"),
        ]
    );
}
