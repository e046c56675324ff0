//! Metrics as text: OpenMetrics 1.0, and the older form that Prometheus reads.

use std::fmt::Write as _;

use super::metrics::{Kind, Metric, Samples};

/// A form of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus text format 0.0.4.
    Prometheus,
}

impl Form {
    /// The form that an `Accept` header asks for.
    #[must_use]
    pub fn accepted(accept: &str) -> Self {
        let asked = accept.split(',').any(|kind| {
            kind.trim().to_ascii_lowercase().starts_with("application/openmetrics-text")
        });
        if asked { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// Its media type.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// All samples as text.
#[must_use]
pub fn render(samples: &Samples, form: Form) -> String {
    let mut out = String::new();
    for (metric, series) in samples.iter() {
        head(&mut out, metric, form);
        let name = metric.sample_name();
        for (labels, value) in series {
            out.push_str(&name);
            for (i, (key, value)) in labels.iter().enumerate() {
                let _ = write!(out, "{}{key}=\"", if i == 0 { '{' } else { ',' });
                escape(&mut out, value);
                out.push('"');
            }
            let _ = writeln!(out, "{} {value}", if labels.is_empty() { "" } else { "}" });
        }
    }
    if form == Form::OpenMetrics {
        out.push_str("# EOF\n");
    }
    out
}

fn head(out: &mut String, metric: Metric, form: Form) {
    let (name, kind) = match form {
        Form::OpenMetrics => (metric.name().to_owned(), kind(metric.kind())),
        // It has no infos, and its counters are named as their samples.
        Form::Prometheus => {
            let kind = if metric.kind() == Kind::Info { "gauge" } else { kind(metric.kind()) };
            (metric.sample_name(), kind)
        }
    };
    let _ = writeln!(out, "# TYPE {name} {kind}");
    if let Some(unit) = metric.unit().filter(|_| form == Form::OpenMetrics) {
        let _ = writeln!(out, "# UNIT {name} {unit}");
    }
    let _ = writeln!(out, "# HELP {name} {}.", metric.help());
}

const fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Info => "info",
        Kind::Summary => "summary",
    }
}

fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Samples {
        let mut samples = Samples::default();
        samples.add(Metric::WastedTime, &[("endpoint", "a\"b\\c\n"), ("class", "retry")], 2.5);
        samples.add(Metric::Up, &[], 1.0);
        samples.add(Metric::Build, &[("version", "1")], 1.0);
        samples
    }

    #[test]
    fn openmetrics_has_units_an_end_and_families_without_suffix() {
        let text = "\
# TYPE fermata_up gauge
# HELP fermata_up Whether the data plane answers.
fermata_up 1
# TYPE fermata_build info
# HELP fermata_build Version and mode of the data plane, and how frames are spread over cores.
fermata_build_info{version=\"1\"} 1
# TYPE fermata_wasted_seconds counter
# UNIT fermata_wasted_seconds seconds
# HELP fermata_wasted_seconds First to last byte of wasted requests, added up.
fermata_wasted_seconds_total{endpoint=\"a\\\"b\\\\c\\n\",class=\"retry\"} 2.5
# EOF
";
        assert_eq!(render(&two(), Form::OpenMetrics), text);
    }

    #[test]
    fn the_older_form_names_a_counter_as_its_samples() {
        let text = render(&two(), Form::Prometheus);
        assert!(text.contains("# TYPE fermata_wasted_seconds_total counter\n"), "{text}");
        assert!(text.contains("# TYPE fermata_build_info gauge\n"), "{text}");
        assert!(!text.contains("# EOF") && !text.contains("# UNIT"), "{text}");
    }

    #[test]
    fn who_asks_for_openmetrics_gets_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3";
        assert_eq!(Form::accepted(prometheus), Form::OpenMetrics);
        assert_eq!(Form::accepted("*/*"), Form::Prometheus);
        assert_eq!(Form::accepted(""), Form::Prometheus);
    }
}
