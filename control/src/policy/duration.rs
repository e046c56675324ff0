//! Durations in documents: `500ms`, `12s`, `5m`, `1h`.

use fastpath::time::Nanos;
use serde::{Deserialize, Deserializer, de};

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
        parse(&text).ok_or_else(|| {
            de::Error::custom(format_args!(
                "`{text}` is no duration; expected a whole number and a unit: `500ms`, `12s`, `5m` or `1h`"
            ))
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
    }
}
