//! Numbers as people read them: rates with SI suffixes, durations, bytes.

use std::time::Duration;

use jiff::{Span, SpanRelativeTo, Timestamp, Unit};

/// A number in at most three digits and a suffix: `0`, `12.4k`, `1.92M`; with `exact`, all its digits.
#[must_use]
pub(crate) fn number(value: f64, exact: bool) -> String {
    if exact {
        return format!("{value:.0}");
    }
    let mut scaled = value;
    let mut suffix = "";
    for next in ["k", "M", "G", "T", "P", "E"] {
        // What would round to a fourth digit takes the next suffix.
        if scaled < 999.5 {
            break;
        }
        scaled /= 1000.0;
        suffix = next;
    }
    format!("{}{suffix}", three_digits(scaled))
}

/// A counter.
#[must_use]
pub(crate) fn count(value: u64, exact: bool) -> String {
    if exact || value < 1000 { value.to_string() } else { number(approximate(value), false) }
}

/// Change per second between two readings of a counter; `None` where it has been reset or no time has passed.
#[must_use]
pub(crate) fn rate(before: u64, after: u64, seconds: f64) -> Option<f64> {
    let change = after.checked_sub(before)?;
    (seconds >= SHORTEST).then(|| approximate(change) / seconds)
}

/// A rate for a table; `--` where there is none.
#[must_use]
pub(crate) fn rate_text(rate: Option<f64>, exact: bool) -> String {
    rate.map_or_else(|| "--".to_owned(), |rate| number(rate, exact))
}

/// The two largest units of a duration: `3m12s`, `2d4h`, `0s`.
#[must_use]
pub(crate) fn duration(seconds: u64) -> String {
    let parts =
        [(seconds / 86_400, "d"), (seconds / 3_600 % 24, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let largest = parts.iter().position(|(amount, _)| *amount > 0).unwrap_or(parts.len() - 1);
    parts
        .iter()
        .skip(largest)
        .take(2)
        .enumerate()
        .filter(|(place, (amount, _))| *place == 0 || *amount > 0)
        .map(|(_, (amount, unit))| format!("{amount}{unit}"))
        .collect()
}

/// Time from `now` until `then`, for "ends in"; `now` where it is past.
#[must_use]
pub(crate) fn until(now: Timestamp, then: Timestamp) -> String {
    match u64::try_from(then.as_second() - now.as_second()) {
        Ok(seconds) if seconds > 0 => duration(seconds),
        _ => "now".to_owned(),
    }
}

/// Time since `then`, for "ago"; 0 s where it lies ahead (clocks differ).
#[must_use]
pub(crate) fn since(now: Timestamp, then: Timestamp) -> String {
    duration(u64::try_from(now.as_second() - then.as_second()).unwrap_or(0))
}

/// Reads `90s`, `4h`, `7d`, `1h 30m`; a day is 24 hours. Not zero and not negative.
///
/// # Errors
///
/// A sentence for the user when the text is not such a duration.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration; write it like 90s, 30m, 4h or 7d");
    let span: Span = text.parse().map_err(|_error| wrong())?;
    let seconds = span
        .total((Unit::Second, SpanRelativeTo::days_are_24_hours()))
        .map_err(|_error| format!("`{text}` has months or years, whose length varies; use days (7d)"))?;
    let duration = Duration::try_from_secs_f64(seconds).map_err(|_error| wrong())?;
    if duration.is_zero() {
        Err(format!("`{text}` is no time at all; give at least 1s"))
    } else {
        Ok(duration)
    }
}

fn three_digits(value: f64) -> String {
    let text = match value {
        v if v >= 99.95 => format!("{v:.0}"),
        v if v >= 9.995 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn approximate(value: u64) -> f64 {
    value as f64
}

/// Below this many seconds between two samples a rate would be noise.
const SHORTEST: f64 = 0.05;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        for (value, text) in [
            (0.0, "0"),
            (0.4, "0.4"),
            (8.0, "8"),
            (311.0, "311"),
            (999.4, "999"),
            (999.6, "1k"),
            (12_400.0, "12.4k"),
            (960_000.0, "960k"),
            (999_600.0, "1M"),
            (1_920_000.0, "1.92M"),
            (9.8e9, "9.8G"),
        ] {
            assert_eq!(number(value, false), text);
        }
        assert_eq!(number(12_400.4, true), "12400");
        assert_eq!(count(1_234_567, false), "1.23M");
        assert_eq!(count(1_234_567, true), "1234567");
    }

    #[test]
    fn a_rate_needs_time_and_a_counter_that_only_grows() {
        assert_eq!(rate(10, 30, 2.0), Some(10.0));
        assert_eq!(rate(30, 10, 2.0), None, "the counter was reset");
        assert_eq!(rate(10, 30, 0.001), None);
        assert_eq!(rate_text(None, false), "--");
    }

    #[test]
    fn durations_show_two_units() {
        for (seconds, text) in
            [(0, "0s"), (59, "59s"), (192, "3m12s"), (3600, "1h"), (3_601, "1h"), (187_200, "2d4h")]
        {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn durations_are_read_and_refused() {
        assert_eq!(parse_duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("7d"), Ok(Duration::from_secs(7 * 86_400)));
        assert_eq!(parse_duration("1h 30m"), Ok(Duration::from_secs(5_400)));
        for wrong in ["", "4", "h", "-4h", "0s", "1mo", "soon"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_relative_to_now() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let later: Timestamp = "2026-01-01T04:00:00Z".parse().unwrap();
        assert_eq!(until(now, later), "4h");
        assert_eq!(until(later, now), "now");
        assert_eq!(since(later, now), "4h");
        assert_eq!(since(now, later), "0s");
    }
}
