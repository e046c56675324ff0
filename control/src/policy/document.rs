//! Policy documents: YAML, several in a file, of four kinds.
//!
//! An unknown field is an error, not a surprise: with file, line, path, what was expected and the
//! nearest name. What comes out is the catalogue with the user's endpoints before it; an endpoint
//! of the same name replaces the catalogue's.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use fastpath::policy::endpoint::{
    Calibration, Class, Endpoint, FingerprintPattern, HostPattern, Prefix, Price,
};
use fastpath::policy::learnt::Learnt;
use fastpath::policy::snapshot::{Limits, Policy, RetryBudget, RuleMode};
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};

use super::duration::Millis;

mod error;
mod exporter;
mod finding;
mod place;
mod rules;
mod tenant;

pub use error::DocumentError;
pub use exporter::{Destination, Exporter, Ipfix, JsonLines, OpenMetrics, Otlp, Transport};
use finding::Checked;
pub use finding::Finding;
use place::Places;
use rules::Percent;
pub use tenant::{Tenant, TenantEntry, Tenants};

/// The version of all documents.
pub const API_VERSION: &str = "fermata.dev/v1alpha1";

/// One document.
#[derive(Debug)]
struct Document {
    name: String,
    spec: Spec,
}

#[derive(Debug)]
enum Spec {
    Endpoint(Box<EndpointSpec>),
    CoordinationPolicy(Box<CoordinationSpec>),
    Tenant(tenant::TenantSpec),
    Exporter(Destination),
}

#[derive(Clone, Copy, Debug, Deserialize)]
enum Kind {
    Endpoint,
    CoordinationPolicy,
    Tenant,
    Exporter,
}

/// All documents of a policy, checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Documents {
    /// What the data plane takes.
    pub policy: Policy,
    /// Whose clients are whose.
    pub tenants: Vec<Tenant>,
    /// Where telemetry goes.
    pub exporters: Vec<Exporter>,
    /// What is said in vain.
    pub findings: Vec<Finding>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    name: String,
}

/// An endpoint as typed: `policy::endpoint::Endpoint` without its name.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EndpointSpec {
    #[serde(default)]
    provider: Option<String>,
    #[serde(default)]
    class: Class,
    #[serde(default)]
    hosts: Vec<HostPattern>,
    #[serde(default)]
    prefixes: Vec<Prefix>,
    #[serde(default)]
    ports: Vec<u16>,
    #[serde(default)]
    fingerprints: Vec<FingerprintPattern>,
    #[serde(default)]
    price: Option<Price>,
    #[serde(default)]
    calibration: Option<Calibration>,
    #[serde(default)]
    learnt: Option<Box<Learnt>>,
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CoordinationSpec {
    #[serde(default)]
    mode: RuleMode,
    #[serde(default)]
    enforce_percent: Option<Percent>,
    #[serde(default)]
    failure_mode: Option<rules::Failure>,
    #[serde(default)]
    holdout: Option<Percent>,
    #[serde(default)]
    hold: rules::Hold,
    #[serde(default)]
    adaptive_concurrency: rules::Bare,
    #[serde(default)]
    retry_constraint: rules::RetryConstraint,
    #[serde(default)]
    admission_control: rules::AdmissionControl,
    #[serde(default)]
    outlier_detection: rules::OutlierDetection,
    #[serde(default)]
    replica_choice: rules::ReplicaChoice,
    #[serde(default)]
    cancel_propagation: rules::CancelPropagation,
    #[serde(default)]
    fair_share: rules::Bare,
    #[serde(default)]
    metastability_guard: rules::Bare,
    #[serde(default)]
    fan_out: rules::FanOut,
    #[serde(default)]
    self_disarm: rules::SelfDisarm,
    #[serde(default)]
    limits: LimitsSpec,
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Budget {
    percent: f64,
    /// Retries may be saved up for this long.
    #[serde(default = "ten_seconds")]
    interval: Millis,
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Rate {
    count: f64,
    interval: Millis,
}

#[derive(Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LimitsSpec {
    #[serde(default)]
    retry_window: Option<Millis>,
    #[serde(default)]
    stall: Option<Millis>,
}

/// Retries that can be saved up at least.
const BURST_MIN: f64 = 10.0;

/// The shipped catalogue as a policy.
///
/// # Errors
/// Only when the build is broken.
pub fn catalogue() -> Result<Policy, DocumentError> {
    Policy::catalogue().map_err(|error| DocumentError::compile(None, &error))
}

/// The policy of the documents in `file`, with the catalogue.
///
/// # Errors
/// When the file cannot be read or is no valid policy.
pub fn read(file: &Path) -> Result<Policy, DocumentError> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| DocumentError::Unreadable(file.to_owned(), error))?;
    parse(file, &text)
}

/// The policy of the documents in `text`, with the catalogue. `file` is for errors.
///
/// # Errors
/// When a document is not valid.
pub fn parse(file: &Path, text: &str) -> Result<Policy, DocumentError> {
    parse_all(file, text).map(|documents| documents.policy)
}

/// All that the documents in `text` say, with the catalogue. `file` is for errors.
///
/// # Errors
/// When a document is not valid.
pub fn parse_all(file: &Path, text: &str) -> Result<Documents, DocumentError> {
    let mut documents = Documents::default();
    let mut coordination: Option<u64> = None;
    let mut checked = Vec::new();
    for part in split(text) {
        let document = part.parse(file)?;
        let mut endpoint = None;
        let taken = match document.spec {
            Spec::Endpoint(spec) => {
                endpoint = Some(document.name.clone());
                check_endpoint(document.name, *spec, &documents.policy.endpoints)
                    .map(|endpoint| documents.policy.endpoints.push(endpoint))
            }
            Spec::CoordinationPolicy(spec) => match coordination.replace(part.first_line) {
                Some(line) => {
                    let message =
                        format!("a second CoordinationPolicy; the first is in line {line}");
                    Err(("kind".into(), message))
                }
                None => coordinate(&mut documents.policy, &spec),
            },
            Spec::Tenant(spec) => tenant::check(document.name, spec, &documents.tenants)
                .map(|tenant| documents.tenants.push(tenant)),
            Spec::Exporter(to) => exporter::check(document.name, to, &documents.exporters)
                .map(|exporter| documents.exporters.push(exporter)),
        };
        taken.map_err(|(path, message)| part.invalid(file, &path, message))?;
        checked.push((endpoint, part.text));
    }
    let own = documents.policy.endpoints.len();
    let policy = &mut documents.policy;
    let named = |endpoint: &Endpoint| policy.endpoints.iter().any(|own| own.name == endpoint.name);
    let shipped: Vec<_> =
        catalogue()?.endpoints.into_iter().filter(|endpoint| !named(endpoint)).collect();
    policy.endpoints.extend(shipped);
    let checked: Vec<Checked> =
        checked.into_iter().map(|(endpoint, text)| Checked { endpoint, text }).collect();
    let file = file.display().to_string();
    documents.findings = finding::findings(&file, &checked, &documents.policy, own);
    Ok(documents)
}

/// The documents in `text` as they were typed, for comparisons. `file` is for errors.
///
/// # Errors
/// When one cannot be read.
pub fn values(file: &Path, text: &str) -> Result<Vec<serde_json::Value>, DocumentError> {
    let read = |part: Part| {
        // As the typed parser reads them: `off` is a word.
        let options = serde_saphyr::options! { strict_booleans: true };
        serde_saphyr::from_str_with_options(&part.text, options)
            .map_err(|error| DocumentError::syntax(file, None, &error))
    };
    split(text).into_iter().map(read).collect()
}

/// The kinds there are, with the schema of their `spec`.
pub(super) fn kinds(
    generator: &mut schemars::SchemaGenerator,
) -> [(&'static str, schemars::Schema); 4] {
    [
        ("Endpoint", generator.subschema_for::<EndpointSpec>()),
        ("CoordinationPolicy", generator.subschema_for::<CoordinationSpec>()),
        ("Tenant", generator.subschema_for::<tenant::TenantSpec>()),
        ("Exporter", generator.subschema_for::<Destination>()),
    ]
}

fn ten_seconds() -> Millis {
    Millis(10_000)
}

/// What a check found wrong: the path within the document, and the message.
type Wrong = (Cow<'static, str>, String);

fn check_endpoint(name: String, spec: EndpointSpec, known: &[Endpoint]) -> Result<Endpoint, Wrong> {
    if known.iter().any(|other| other.name == name) {
        let message = format!("a second Endpoint named `{name}`; names are unique");
        return Err(("metadata.name".into(), message));
    }
    if spec.hosts.is_empty() && spec.prefixes.is_empty() {
        let message = "nothing can be recognised as this endpoint; expected `hosts` or `prefixes`";
        return Err(("spec".into(), message.to_owned()));
    }
    if spec.prefixes.is_empty() && !spec.ports.is_empty() {
        let message = "ports narrow `prefixes`, and there are none".to_owned();
        return Err(("spec.ports".into(), message));
    }
    if let Some(price) = &spec.price {
        for (path, [cheapest, usual, dearest]) in [
            ("spec.price.outputPerMillion", price.output_per_million),
            ("spec.price.inputPerMillion", price.input_per_million),
        ] {
            if !(0.0 <= cheapest && cheapest <= usual && usual <= dearest && dearest.is_finite()) {
                let expected = "expected [cheapest, usual, dearest], rising, in US dollars";
                return Err((path.into(), format!("[{cheapest}, {usual}, {dearest}]: {expected}")));
            }
        }
    }
    let EndpointSpec { provider, class, hosts, prefixes, ports, fingerprints, .. } = spec;
    let EndpointSpec { price, calibration, learnt, .. } = spec;
    Ok(Endpoint {
        name,
        provider,
        class,
        hosts,
        prefixes,
        ports,
        fingerprints,
        price,
        calibration,
        learnt,
    })
}

fn coordinate(policy: &mut Policy, spec: &CoordinationSpec) -> Result<(), Wrong> {
    let (mut budget, mut interval) = (RetryBudget::default(), ten_seconds());
    if let Some(typed) = &spec.retry_constraint.budget {
        if !(0.0..=1000.0).contains(&typed.percent) {
            let message =
                format!("{}: expected 0 to 1000 (percent of first attempts)", typed.percent);
            return Err(("spec.retryConstraint.budget.percent".into(), message));
        }
        (budget.percent, interval) = (typed.percent, typed.interval);
    }
    if let Some(rate) = &spec.retry_constraint.min_retry_rate {
        let path = "spec.retryConstraint.minRetryRate";
        if rate.interval.0 == 0 || !(0.0..=1e9).contains(&rate.count) {
            return Err((
                path.into(),
                "expected a `count` not below 0 and an `interval` above 0".to_owned(),
            ));
        }
        budget.min_per_sec = rate.count * 1e3 / rate.interval.0 as f64;
        budget.fixed = true;
    }
    budget.burst = BURST_MIN.max(budget.min_per_sec * interval.0 as f64 / 1e3);
    let default = Limits::default();
    policy.limits = Limits {
        retry_window_ms: spec.limits.retry_window.map_or(default.retry_window_ms, |m| m.0),
        stall_ms: spec.limits.stall.map_or(default.stall_ms, |m| m.0),
    };
    policy.mode = spec.mode;
    policy.rules = rules::rules(spec)?;
    policy.retry_budget = budget;
    Ok(())
}

/// One document's text, on the lines it has in its file.
struct Part {
    first_line: u64,
    text: String,
}

/// Cuts a file at its document markers: in YAML 1.2 a line that begins with `---` is nothing else.
fn split(text: &str) -> Vec<Part> {
    let mut parts = vec![Part { first_line: 1, text: String::new() }];
    for (line, number) in text.split_inclusive('\n').zip(1u64..) {
        let marker = line.strip_prefix("---").filter(|rest| rest.trim_start().len() < rest.len());
        if marker.is_some() || line.trim_end() == "---" {
            // Empty lines before it keep the parser's line numbers those of the file.
            let mut text = "\n".repeat(usize::try_from(number).unwrap_or(usize::MAX) - 1);
            text.push_str(line);
            parts.push(Part { first_line: number, text });
        } else if let Some(part) = parts.last_mut() {
            part.text.push_str(line);
        }
    }
    let blank = |line: &str| {
        let line = line.strip_prefix("---").unwrap_or(line).trim();
        line.is_empty() || line.starts_with('#')
    };
    parts.retain(|part| !part.text.lines().all(blank));
    parts
}

impl Part {
    fn parse(&self, file: &Path) -> Result<Document, DocumentError> {
        let mut path = None;
        let parsed = serde_saphyr::with_deserializer_from_str(&self.text, |deserializer| {
            serde_path_to_error::deserialize(deserializer).map_err(|error| {
                path = Some(error.path().to_string());
                error.into_inner()
            })
        });
        parsed.map_err(|error| DocumentError::syntax(file, path, &error))
    }

    fn invalid(&self, file: &Path, path: &str, message: String) -> DocumentError {
        DocumentError::Invalid {
            file: file.to_owned(),
            line: Places::of(&self.text).line(path).or(Some(self.first_line)),
            path: Some(path.to_owned()),
            message,
            hint: None,
        }
    }
}

/// By hand, because `kind` decides what `spec` is, and serde's own way to do that forgets the
/// positions.
impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_struct("Document", FIELDS, DocumentVisitor)
    }
}

const FIELDS: &[&str] = &["apiVersion", "kind", "metadata", "spec"];

struct DocumentVisitor;

impl<'de> Visitor<'de> for DocumentVisitor {
    type Value = Document;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a document with `apiVersion`, `kind`, `metadata` and `spec`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Document, A::Error> {
        let (mut version, mut kind, mut metadata, mut spec) = (None, None, None, None);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "apiVersion" => version = Some(map.next_value::<ApiVersion>()?),
                "kind" => kind = Some(map.next_value::<Kind>()?),
                "metadata" => metadata = Some(map.next_value::<Metadata>()?),
                "spec" => {
                    spec = Some(match kind {
                        Some(Kind::Endpoint) => Spec::Endpoint(Box::new(map.next_value()?)),
                        Some(Kind::CoordinationPolicy) => {
                            Spec::CoordinationPolicy(Box::new(map.next_value()?))
                        }
                        Some(Kind::Tenant) => Spec::Tenant(map.next_value()?),
                        Some(Kind::Exporter) => Spec::Exporter(map.next_value()?),
                        None => return Err(de::Error::custom("`kind` must stand before `spec`")),
                    });
                }
                other => return Err(de::Error::unknown_field(other, FIELDS)),
            }
        }
        let missing = de::Error::missing_field;
        version.ok_or_else(|| missing("apiVersion"))?;
        kind.ok_or_else(|| missing("kind"))?;
        let Metadata { name } = metadata.ok_or_else(|| missing("metadata"))?;
        Ok(Document { name, spec: spec.ok_or_else(|| missing("spec"))? })
    }
}

/// The one version there is.
#[derive(Debug)]
struct ApiVersion;

impl<'de> Deserialize<'de> for ApiVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let version = String::deserialize(deserializer)?;
        if version == API_VERSION {
            return Ok(Self);
        }
        let message = format!("`{version}` is not supported; expected `{API_VERSION}`");
        Err(de::Error::custom(message))
    }
}

/// Path of a policy file, for errors that have none.
fn shipped() -> PathBuf {
    PathBuf::from("(the shipped catalogue)")
}

#[cfg(test)]
mod tests;
