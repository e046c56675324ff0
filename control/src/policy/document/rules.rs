//! The control laws as a CoordinationPolicy types them. Names are those of the Gateway API
//! (`retryConstraint`) and of Envoy (`outlierDetection`, `admissionControl`) where these have the
//! thing; docs/policy.md describes every field.

use fastpath::policy::rules::{FailureMode, Rule, Rules, Switch};
use fastpath::policy::snapshot::{PolicyError, RuleMode};
use serde::{Deserialize, Deserializer, de};

use super::super::duration::Millis;
use super::{Budget, CoordinationSpec, Rate, Wrong};

/// A share in percent: `5%` or `5`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Percent(pub f64);

/// A rule that has nothing but its switch.
#[derive(Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Bare {
    #[serde(default)]
    mode: Option<RuleMode>,
    #[serde(default)]
    enforce_percent: Option<Percent>,
}

/// As in the Gateway API: a share of the first attempts, and a rate that is always allowed.
#[derive(Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RetryConstraint {
    #[serde(default)]
    mode: Option<RuleMode>,
    #[serde(default)]
    enforce_percent: Option<Percent>,
    #[serde(default)]
    pub(super) budget: Option<Budget>,
    #[serde(default)]
    pub(super) min_retry_rate: Option<Rate>,
}

#[derive(Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Hold {
    #[serde(default)]
    max_time: Option<Millis>,
    #[serde(default)]
    hello_max_time: Option<Millis>,
    #[serde(default)]
    max_bytes: Option<u32>,
    #[serde(default)]
    pool_percent: Option<Percent>,
}

#[derive(Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AdmissionControl {
    #[serde(default)]
    mode: Option<RuleMode>,
    #[serde(default)]
    enforce_percent: Option<Percent>,
    #[serde(default)]
    sampling_window: Option<Millis>,
    #[serde(default)]
    aggression: Option<f64>,
    #[serde(default)]
    max_hold_percent: Option<Percent>,
}

#[derive(Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct OutlierDetection {
    #[serde(default)]
    mode: Option<RuleMode>,
    #[serde(default)]
    enforce_percent: Option<Percent>,
    #[serde(default)]
    consecutive_failures: Option<u32>,
    #[serde(default)]
    failure_percent: Option<Percent>,
    #[serde(default)]
    request_volume: Option<u32>,
    #[serde(default)]
    interval: Option<Millis>,
    #[serde(default)]
    base_ejection_time: Option<Millis>,
    #[serde(default)]
    max_ejection_time: Option<Millis>,
    #[serde(default)]
    max_ejection_percent: Option<Percent>,
}

#[derive(Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ReplicaChoice {
    #[serde(default)]
    mode: Option<RuleMode>,
    #[serde(default)]
    enforce_percent: Option<Percent>,
    #[serde(default)]
    overload_factor: Option<f64>,
}

#[derive(Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CancelPropagation {
    #[serde(default)]
    mode: Option<RuleMode>,
    #[serde(default)]
    enforce_percent: Option<Percent>,
    #[serde(default)]
    grace: Option<Millis>,
}

#[derive(Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct FanOut {
    #[serde(default)]
    mode: Option<RuleMode>,
    #[serde(default)]
    enforce_percent: Option<Percent>,
    #[serde(default)]
    max_concurrent: Option<u32>,
}

#[derive(Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SelfDisarm {
    #[serde(default)]
    max_added_latency: Option<Percent>,
    #[serde(default)]
    rearm_after: Option<Millis>,
}

/// Failures are counted over this, in exact buckets of a second.
const INTERVAL_MS: u64 = 10_000;

/// The rules of a policy, with the defaults for what it does not say.
pub(super) fn rules(spec: &CoordinationSpec) -> Result<Rules, Wrong> {
    let mut rules = Rules { switches: switches(spec), ..Rules::default() };
    set(&mut rules.enforce_percent, spec.enforce_percent.map(|p| p.0));
    set(&mut rules.failure_mode, spec.failure_mode);
    let (hold, typed) = (&mut rules.hold, &spec.hold);
    set(&mut hold.max_time_ms, typed.max_time.map(|m| m.0));
    set(&mut hold.hello_max_time_ms, typed.hello_max_time.map(|m| m.0));
    set(&mut hold.max_bytes, typed.max_bytes);
    set(&mut hold.pool_percent, typed.pool_percent.map(|p| p.0));
    let (throttle, typed) = (&mut rules.throttle, &spec.admission_control);
    set(&mut throttle.sampling_window_ms, typed.sampling_window.map(|m| m.0));
    set(&mut throttle.aggression, typed.aggression);
    set(&mut throttle.max_hold_percent, typed.max_hold_percent.map(|p| p.0));
    let (breaker, typed) = (&mut rules.breaker, &spec.outlier_detection);
    if typed.interval.is_some_and(|interval| interval.0 != INTERVAL_MS) {
        let message = "expected `10s`: failures are counted over ten seconds, and nothing else";
        return Err(("spec.outlierDetection.interval".into(), message.to_owned()));
    }
    set(&mut breaker.consecutive_failures, typed.consecutive_failures);
    set(&mut breaker.failure_percent, typed.failure_percent.map(|p| p.0));
    set(&mut breaker.request_volume, typed.request_volume);
    set(&mut breaker.base_ejection_time_ms, typed.base_ejection_time.map(|m| m.0));
    set(&mut breaker.max_ejection_time_ms, typed.max_ejection_time.map(|m| m.0));
    set(&mut breaker.max_ejection_percent, typed.max_ejection_percent.map(|p| p.0));
    set(&mut rules.replica.overload_factor, spec.replica_choice.overload_factor);
    set(&mut rules.cancel.grace_ms, spec.cancel_propagation.grace.map(|m| m.0));
    rules.fan_out.max_concurrent = spec.fan_out.max_concurrent;
    let (disarm, typed) = (&mut rules.self_disarm, &spec.self_disarm);
    set(&mut disarm.holdout_percent, spec.holdout.map(|p| p.0));
    set(&mut disarm.max_added_latency_percent, typed.max_added_latency.map(|p| p.0));
    set(&mut disarm.rearm_after_ms, typed.rearm_after.map(|m| m.0));
    rules.check_values().map_err(|error| wrong(&error))?;
    Ok(rules)
}

/// The compiler's finding, at the field that was typed.
fn wrong(error: &PolicyError) -> Wrong {
    match error {
        PolicyError::Value(path, expected) => {
            let path = path.strip_prefix("rules.").unwrap_or(path);
            let path = path.strip_suffix("LatencyPercent").map_or_else(
                || path.to_owned(),
                // As it is typed: a percentage has its sign.
                |stem| format!("{stem}Latency"),
            );
            (format!("spec.{path}").into(), format!("expected {expected}"))
        }
        other => ("spec".into(), other.to_string()),
    }
}

fn switches(spec: &CoordinationSpec) -> [Switch; Rule::ALL.len()] {
    Rule::ALL.map(|rule| {
        let (mode, percent) = match rule {
            Rule::Concurrency => spec.adaptive_concurrency.switch(),
            Rule::RetryBudget => {
                (spec.retry_constraint.mode, spec.retry_constraint.enforce_percent)
            }
            Rule::Throttle => (spec.admission_control.mode, spec.admission_control.enforce_percent),
            Rule::Breaker => (spec.outlier_detection.mode, spec.outlier_detection.enforce_percent),
            Rule::Replica => (spec.replica_choice.mode, spec.replica_choice.enforce_percent),
            Rule::Cancel => (spec.cancel_propagation.mode, spec.cancel_propagation.enforce_percent),
            Rule::FairShare => spec.fair_share.switch(),
            Rule::Guard => spec.metastability_guard.switch(),
            Rule::FanOut => (spec.fan_out.mode, spec.fan_out.enforce_percent),
        };
        Switch { mode, enforce_percent: percent.map(|percent| percent.0) }
    })
}

fn set<T>(to: &mut T, from: Option<T>) {
    if let Some(value) = from {
        *to = value;
    }
}

impl Bare {
    const fn switch(&self) -> (Option<RuleMode>, Option<Percent>) {
        (self.mode, self.enforce_percent)
    }
}

/// The one failure mode there is needs no more than its name.
pub(super) type Failure = FailureMode;

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PercentVisitor)
    }
}

impl schemars::JsonSchema for Percent {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Percent".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A share in percent: `5%` or `5`.",
            "anyOf": [{ "type": "number" }, { "type": "string", "pattern": r"^[0-9.]+ *%?$" }],
        })
    }
}

struct PercentVisitor;

impl de::Visitor<'_> for PercentVisitor {
    type Value = Percent;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a share in percent: `5%` or `5`")
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Percent, E> {
        Ok(Percent(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Percent, E> {
        Ok(Percent(value as f64))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Percent, E> {
        Ok(Percent(value as f64))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Percent, E> {
        let number = text.strip_suffix('%').unwrap_or(text).trim_end().parse();
        number.map(Percent).map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}
