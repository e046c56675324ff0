//! What is exported is documented, and what dashboards and alerts name is exported.

use std::collections::BTreeSet;

use serde_json::Value;

use super::ipfix::ENTERPRISE_ELEMENTS;
use super::metrics::Metric;
use super::snapshot::tests::all_samples;

const DOCUMENT: &str = include_str!("../../../docs/metrics.md");
const RULES: &str = include_str!("../../assets/prometheus/fermata.rules.yaml");
const DASHBOARDS: [&str; 2] = [
    include_str!("../../assets/grafana/fermata-waste.json"),
    include_str!("../../assets/grafana/fermata-data-plane.json"),
];

#[test]
fn every_metric_is_in_the_document_with_its_kind_and_labels_and_no_other_is() {
    let samples = all_samples();
    let mut rows = BTreeSet::new();
    for (metric, series) in samples.iter() {
        let labels: Vec<&str> = series.keys().flat_map(|set| set.iter().map(|(k, _)| *k)).fold(
            Vec::new(),
            |mut all, key| {
                if !all.contains(&key) {
                    all.push(key);
                }
                all
            },
        );
        let kind = format!("{:?}", metric.kind()).to_lowercase();
        let name = metric.sample_name();
        rows.insert(format!("| `{name}` | {kind} | {} | {} |", labels.join(", "), metric.help()));
    }
    let documented: BTreeSet<_> =
        DOCUMENT.lines().filter(|l| l.starts_with("| `fermata_")).map(str::to_owned).collect();
    let missing: Vec<_> = rows.difference(&documented).collect();
    let wrong: Vec<_> = documented.difference(&rows).collect();
    assert!(missing.is_empty() && wrong.is_empty(), "missing {missing:#?}\nwrong {wrong:#?}");
}

#[test]
fn every_element_of_the_enterprise_is_in_the_document() {
    for element in ENTERPRISE_ELEMENTS {
        let row = format!("| {} | `{}` | ", element.id, element.name);
        assert!(DOCUMENT.contains(&row), "{row}");
    }
}

#[test]
fn every_alert_is_in_the_document() {
    let alerts: Vec<_> =
        RULES.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 10);
    for alert in &alerts {
        assert!(DOCUMENT.contains(&format!("| `{alert}` | ")), "{alert}");
    }
    let documented = DOCUMENT.lines().filter(|line| line.starts_with("| `Fermata")).count();
    assert_eq!(documented, alerts.len());
}

#[test]
fn alerts_and_dashboards_name_metrics_and_labels_that_are_exported() {
    let samples = all_samples();
    let exported: BTreeSet<String> = Metric::ALL.iter().map(|m| m.sample_name()).collect();
    let labels: BTreeSet<&str> = samples
        .iter()
        .flat_map(|(_, series)| series.keys().flatten().map(|(key, _)| *key))
        .collect();
    let mut texts = vec![RULES.to_owned()];
    for dashboard in DASHBOARDS {
        let dashboard: Value = serde_json::from_str(dashboard).unwrap();
        let mut expressions = Vec::new();
        gather(&dashboard, &mut expressions);
        assert!(expressions.len() > 10, "a dashboard without queries");
        texts.append(&mut expressions);
    }
    for text in texts {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        for word in text.split(|c| !is_name(c)).filter(|word| word.starts_with("fermata_")) {
            assert!(exported.contains(word), "{word} in {text}");
        }
        for matcher in text.split('{').skip(1).filter_map(|rest| rest.split('}').next()) {
            for (key, _) in matcher.split(',').filter_map(|part| part.split_once(['=', '!'])) {
                let key = key.trim();
                let known = labels.contains(key) || key == "instance" || key == "job";
                assert!(
                    known || key.starts_with('$') || !key.chars().all(is_name),
                    "{key}: {text}"
                );
            }
        }
    }
}

/// The expressions of a dashboard, and those that its variables are made by.
fn gather(value: &Value, expressions: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(text) if key == "expr" || key == "definition" => {
                        expressions.push(text.clone());
                    }
                    value => gather(value, expressions),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| gather(value, expressions)),
        _ => {}
    }
}
