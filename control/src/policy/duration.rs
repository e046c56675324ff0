//! Durations in documents: `500ms`, `12s`, `5m`, `1h`.

use std::fmt;
use std::str::FromStr;

use fastpath::time::Nanos;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A duration, whole milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Millis(pub u64);

impl Millis {
    /// As time.
    #[must_use]
    pub const fn nanos(self) -> Nanos {
        Nanos::from_millis(self.0)
    }
}

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl FromStr for Millis {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text).ok_or_else(|| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let meant = if digits { format!("; did you mean `{text}s`?") } else { String::new() };
            format!(
                "`{text}` is no duration; expected a whole number and a unit: `500ms`, `12s`, `5m` or `1h`{meant}"
            )
        })
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];
        let fits =
            units.into_iter().find(|(factor, _)| self.0 > 0 && self.0.is_multiple_of(*factor));
        let (factor, unit) = fits.unwrap_or((1, "ms"));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl schemars::JsonSchema for Millis {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A whole number and a unit: `500ms`, `12s`, `5m` or `1h`.",
            "type": "string",
            "pattern": "^[0-9]+(ms|s|m|h)$",
        })
    }
}

fn parse(text: &str) -> Option<Millis> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor).map(Millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_with_a_unit() {
        assert_eq!(
            ["500ms", "12s", "5m", "1h"].map(parse).map(|m| m.map(|m| m.0)),
            [Some(500), Some(12_000), Some(300_000), Some(3_600_000)]
        );
        assert_eq!(
            ["", "12", "s", "1.5s", "-1s", "1 s", "99999999999999999999h"].map(parse),
            [None; 7]
        );
        assert_eq!(
            [0, 500, 1_500, 12_000, 300_000, 7_200_000].map(|ms| Millis(ms).to_string()),
            ["0ms", "500ms", "1500ms", "12s", "5m", "2h"]
        );
        assert!("12".parse::<Millis>().unwrap_err().ends_with("did you mean `12s`?"));
    }
}
