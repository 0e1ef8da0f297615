//! Times, sizes and counts in words. Pure: the time is told.

use chrono::{DateTime, TimeDelta, Utc};

/// Minutes of an hour, a day, a month and a year, roughly: what is said of them is rounded.
const HOUR: i64 = 60;
/// See [`HOUR`].
const DAY: i64 = 24 * HOUR;
/// See [`HOUR`].
const MONTH: i64 = 30 * DAY;
/// See [`HOUR`].
const YEAR: i64 = 365 * DAY;

/// `2026-11-22 14:45 UTC`.
pub(super) fn date(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M UTC").to_string()
}

/// `in 6 days`, `2 hours ago`.
pub(super) fn relative(then: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let difference = then - now;
    let minutes = difference.num_minutes().saturating_abs();
    if minutes == 0 {
        return "now".to_owned();
    }
    let (number, unit) = match minutes {
        ..120 => (minutes, "minute"),
        _ if minutes < 2 * DAY => (rounded(minutes, HOUR), "hour"),
        _ if minutes < 3 * MONTH => (rounded(minutes, DAY), "day"),
        _ if minutes < 2 * YEAR => (rounded(minutes, MONTH), "month"),
        _ => (rounded(minutes, YEAR), "year"),
    };
    let words = counted(number.unsigned_abs(), unit);
    if difference < TimeDelta::zero() { format!("{words} ago") } else { format!("in {words}") }
}

fn rounded(number: i64, unit: i64) -> i64 {
    (number + unit / 2) / unit
}

/// `1 key`, `2 keys`, `16,384 bins`.
pub(super) fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(number))
}

/// `16,384`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `812 bytes`, `12.3 kB`, `1.2 GB`: thousands, as disks are sold.
pub(super) fn size(bytes: u64) -> String {
    if bytes < 1_000 {
        return counted(bytes, "byte");
    }
    let (mut unit, mut tenths) = ("kB", bytes.saturating_add(50) / 100);
    for larger in ["MB", "GB", "TB", "PB", "EB"] {
        if tenths < 10_000 {
            break;
        }
        (unit, tenths) = (larger, (tenths + 500) / 1_000);
    }
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

/// The length of a collection, as a number to be told.
pub(super) fn number(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_the_unit_that_says_most() {
        let now = "2026-11-22T14:45:00Z".parse::<DateTime<Utc>>().unwrap();
        for (minutes, words) in [
            (0, "now"),
            (1, "in 1 minute"),
            (119, "in 119 minutes"),
            (120, "in 2 hours"),
            (DAY, "in 24 hours"),
            (6 * DAY, "in 6 days"),
            (89 * DAY, "in 89 days"),
            (100 * DAY, "in 3 months"),
            (YEAR, "in 12 months"),
            (3 * YEAR, "in 3 years"),
            (-5, "5 minutes ago"),
            (-2 * DAY, "2 days ago"),
            (-10 * YEAR, "10 years ago"),
        ] {
            assert_eq!(relative(now + TimeDelta::minutes(minutes), now), words);
        }
        assert_eq!(relative(now - TimeDelta::seconds(5), now), "now");
        assert_eq!(relative(DateTime::<Utc>::MAX_UTC, DateTime::<Utc>::MIN_UTC), "in 524,634 years");
        assert_eq!(date(now), "2026-11-22 14:45 UTC");
    }

    #[test]
    fn sizes_and_counts_are_rounded_and_grouped() {
        for (bytes, words) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (999, "999 bytes"),
            (1_000, "1.0 kB"),
            (12_345, "12.3 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (1_234_567_890, "1.2 GB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(size(bytes), words, "{bytes}");
        }
        assert_eq!(counted(16_384, "bin"), "16,384 bins");
        assert_eq!(grouped(1_000_000), "1,000,000");
    }
}
