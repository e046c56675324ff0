//! `kind: Exporter`: where telemetry goes.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Wrong;
use crate::policy::duration::Millis;

/// An exporter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exporter {
    /// Unique name.
    pub name: String,
    /// What it does.
    pub to: Destination,
}

/// Where it goes, and as what: one of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Destination {
    /// Metrics that Prometheus fetches.
    OpenMetrics(OpenMetrics),
    /// Exchanges as flow records (RFC 7011).
    Ipfix(Ipfix),
    /// Exchanges as lines of JSON, in a file.
    JsonLines(JsonLines),
    /// Metrics as OTLP over HTTP, in JSON.
    Otlp(Otlp),
}

/// Metrics that Prometheus fetches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OpenMetrics {
    /// Address and port to listen at: `127.0.0.1:9464`.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
}

/// Exchanges as flow records (RFC 7011).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ipfix {
    /// Address and port of the collector: `192.0.2.1:4739`.
    #[schemars(with = "String")]
    pub collector: SocketAddr,
    /// How records travel.
    #[serde(default)]
    pub transport: Transport,
    /// Tells this exporter from others of the collector.
    #[serde(default = "one")]
    pub observation_domain: u32,
    /// Over UDP templates are sent again after this.
    #[serde(default = "minutes")]
    pub template_interval: Millis,
}

/// How records travel.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// In datagrams.
    #[default]
    Udp,
    /// Over a connection.
    Tcp,
}

/// Exchanges as lines of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JsonLines {
    /// The file, which is appended to.
    pub path: PathBuf,
}

/// Metrics as OTLP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Otlp {
    /// Where to: `http://127.0.0.1:4318/v1/metrics`.
    #[schemars(regex(pattern = "^http://"))]
    pub endpoint: String,
    /// Time from one export to the next.
    #[serde(default = "ten_seconds")]
    pub interval: Millis,
}

const fn one() -> u32 {
    1
}

const fn minutes() -> Millis {
    Millis(300_000)
}

const fn ten_seconds() -> Millis {
    Millis(10_000)
}

/// Checks an exporter against those before it.
pub(super) fn check(name: String, to: Destination, known: &[Exporter]) -> Result<Exporter, Wrong> {
    if known.iter().any(|exporter| exporter.name == name) {
        let message = format!("a second Exporter named `{name}`; names are unique");
        return Err(("metadata.name".into(), message));
    }
    let taken = |same: &dyn Fn(&Destination) -> bool, path: &'static str, what: String| match known
        .iter()
        .find(|exporter| same(&exporter.to))
    {
        None => Ok(()),
        Some(other) => {
            let message = format!("{what} is that of `{}`; expected another", other.name);
            Err((path.into(), message))
        }
    };
    match &to {
        Destination::OpenMetrics(metrics) => taken(
            &|other| matches!(other, Destination::OpenMetrics(o) if o.listen == metrics.listen),
            "spec.openMetrics.listen",
            format!("`{}`", metrics.listen),
        )?,
        Destination::JsonLines(lines) => {
            if !lines.path.is_absolute() {
                let message = format!("`{}`: expected an absolute path", lines.path.display());
                return Err(("spec.jsonLines.path".into(), message));
            }
            taken(
                &|other| matches!(other, Destination::JsonLines(o) if o.path == lines.path),
                "spec.jsonLines.path",
                format!("`{}`", lines.path.display()),
            )?;
        }
        Destination::Otlp(otlp) => {
            if !otlp.endpoint.starts_with("http://") {
                let message = format!(
                    "`{}`: expected an address such as `http://127.0.0.1:4318/v1/metrics`",
                    otlp.endpoint
                );
                return Err(("spec.otlp.endpoint".into(), message));
            }
            if otlp.interval.0 < 1_000 {
                return Err(("spec.otlp.interval".into(), "expected at least `1s`".to_owned()));
            }
        }
        Destination::Ipfix(ipfix) => {
            if ipfix.template_interval.0 < 1_000 {
                let message = "expected at least `1s`".to_owned();
                return Err(("spec.ipfix.templateInterval".into(), message));
            }
        }
    }
    Ok(Exporter { name, to })
}
