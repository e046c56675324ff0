//! Figures as people read them: counts, shares, durations, tokens, money, times of day.

/// Hyphen, for what is not known.
pub const UNKNOWN: &str = "-";

/// `12,345`.
#[must_use]
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count with its noun: `1 call`, `2 calls`.
#[must_use]
pub fn counted(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(n), if n == 1 { one } else { many })
}

/// `58 %`; below one percent with a decimal.
#[must_use]
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "0 %".to_owned();
    }
    let share = part as f64 * 100.0 / whole as f64;
    if share > 0.0 && share < 1.0 { format!("{share:.1} %") } else { format!("{share:.0} %") }
}

/// `85 ms`, `3.2 s`, `41 s`, `12 min`, `3.4 h`, `12 days`.
#[must_use]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "positive, and saturates"
)]
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 0.0005 => "0 s".to_owned(),
        s if s < 0.995 => format!("{:.0} ms", s * 1e3),
        s if s < 9.95 => format!("{s:.1} s"),
        s if s < 119.5 => format!("{s:.0} s"),
        s if s < 7170.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{} days", count((s / 86_400.0).round() as u64)),
    }
}

/// A quantile in milliseconds, as a duration.
#[must_use]
pub fn millis(ms: Option<f64>) -> String {
    ms.map_or_else(|| UNKNOWN.to_owned(), |ms| duration(ms / 1e3))
}

/// Attempts for one first attempt: `1.32x`.
#[must_use]
pub fn times(amplification: Option<f64>) -> String {
    amplification.map_or_else(|| UNKNOWN.to_owned(), |x| format!("{x:.2}x"))
}

/// A number of tokens, rounded to what an estimate is worth: `1,720`, `48k`, `1.3M`.
#[must_use]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and small")]
pub fn tokens(n: f64) -> String {
    match n.max(0.0) {
        n if n < 10_000.0 => count(n.round() as u64),
        n if n < 999_500.0 => format!("{:.0}k", n / 1e3),
        n => format!("{:.1}M", n / 1e6),
    }
}

/// A range around its likely value: `1,720 (1,400 to 2,100)`.
#[must_use]
pub fn range(values: [f64; 3], text: fn(f64) -> String) -> String {
    let [low, likely, high] = values.map(text);
    if low == high { likely } else { format!("{likely} ({low} to {high})") }
}

/// US dollars with two figures: `$0.026`, `$4.10`, `$12,345`.
#[must_use]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and small")]
pub fn dollars(usd: f64) -> String {
    match usd.max(0.0) {
        0.0 => "$0".to_owned(),
        usd if usd < 0.000_1 => "<$0.0001".to_owned(),
        usd if usd < 0.01 => format!("${usd:.4}"),
        usd if usd < 0.1 => format!("${usd:.3}"),
        usd if usd < 1000.0 => format!("${usd:.2}"),
        usd => format!("${}", count(usd.round() as u64)),
    }
}

/// Bytes: `4 KiB`.
#[must_use]
pub fn bytes(n: u64) -> String {
    let units = [(1u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = units.into_iter().find(|&(size, _)| n >= size);
    unit.map_or_else(
        || format!("{n} B"),
        |(size, name)| {
            let value = n as f64 / size as f64;
            if value < 9.95 && !n.is_multiple_of(size) {
                format!("{value:.1} {name}")
            } else {
                format!("{value:.0} {name}")
            }
        },
    )
}

/// A Unix time as UTC: `2026-11-22 10:15:53`.
#[must_use]
#[allow(clippy::cast_possible_truncation, reason = "a date beyond i64 is no date")]
pub fn utc(seconds: f64) -> String {
    let whole = seconds.floor() as i64;
    let (days, of_day) = (whole.div_euclid(86_400), whole.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// A Unix time as a time of day in UTC, with milliseconds: `10:15:53.934`.
#[must_use]
pub fn clock(seconds: f64) -> String {
    let day = seconds.rem_euclid(86_400.0);
    let (hour, minute) = ((day / 3600.0).floor(), (day / 60.0).floor() % 60.0);
    let thousandths = (day % 60.0 * 1000.0).floor() / 1000.0;
    format!("{hour:02.0}:{minute:02.0}:{thousandths:06.3}")
}

/// Year, month and day of a day counted from 1970-01-01 (H. Hinnant, "chrono-compatible date
/// algorithms").
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped_by_threes() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn durations_have_about_two_figures() {
        let texts = [0.0, 0.085, 3.21, 41.4, 720.0, 12_345.0].map(duration);
        assert_eq!(texts, ["0 s", "85 ms", "3.2 s", "41 s", "12 min", "3.4 h"]);
    }

    #[test]
    fn money_and_tokens_are_rounded_to_what_they_are_worth() {
        assert_eq!([0.0, 0.00001, 0.0264, 4.1].map(dollars), ["$0", "<$0.0001", "$0.026", "$4.10"]);
        assert_eq!([1720.4, 48_200.0, 1.31e6].map(tokens), ["1,720", "48k", "1.3M"]);
        assert_eq!(range([1.0, 2.0, 3.0], tokens), "2 (1 to 3)");
        assert_eq!(range([0.0; 3], tokens), "0");
    }

    #[test]
    fn unix_time_becomes_a_date() {
        assert_eq!(utc(0.0), "1970-01-01 00:00:00");
        assert_eq!(utc(1_795_349_153.93), "2026-11-22 12:05:53");
        assert_eq!(utc(951_782_400.0), "2000-02-29 00:00:00");
        assert_eq!(clock(1_795_349_153.934_9), "12:05:53.934");
    }

    #[test]
    fn bytes_are_in_binary_units() {
        assert_eq!([512, 4096, 1536, 5 << 20].map(bytes), ["512 B", "4 KiB", "1.5 KiB", "5 MiB"]);
    }
}
