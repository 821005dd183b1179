//! Durations, as people write them.

use std::time::Duration;

/// The longest duration: 30 days, for a deferral.
pub const MOST: Duration = Duration::from_secs(30 * 86_400);

/// Parses `90s`, `30m`, `2h`, `1d`, `1h 30m` or a plain number of seconds, from one second on.
pub fn parse(text: &str) -> Result<Duration, String> {
    parse_any(text).ok().filter(|time| *time >= Duration::from_secs(1)).ok_or_else(|| wrong(text))
}

/// Like [`parse`], and accepts `0`, `200ms` and `0.5s` too.
pub fn parse_any(text: &str) -> Result<Duration, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let bare = words.len() == 1;
    let sum = words.iter().try_fold(Duration::ZERO, |sum, word| sum.checked_add(part(word, bare)?));
    sum.filter(|time| !words.is_empty() && *time <= MOST).ok_or_else(|| wrong(text))
}

fn wrong(text: &str) -> String {
    format!("not a duration: {text:?}; write it like 90s, 30m, 2h or 1d, up to 30d")
}

/// Parses a number with its unit. A number that is the only word may have no unit, and means
/// seconds.
fn part(word: &str, bare: bool) -> Option<Duration> {
    let digits = word.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(word.len());
    let (number, unit) = word.split_at(digits);
    let millis = match unit {
        "" if bare => 1_000.0,
        "ms" => 1.0,
        "s" => 1_000.0,
        "m" => 60_000.0,
        "h" => 3_600_000.0,
        "d" => 86_400_000.0,
        _ => return None,
    };
    let number = number.parse::<f64>().ok().filter(|_| number.starts_with(|c: char| c != '.'))?;
    Duration::try_from_secs_f64((number * millis).round() / 1_000.0).ok()
}

/// Shows a duration as [`parse`] reads it: `5s`, `90s`, `2h`, `1h 30m`; below ten seconds
/// with a tenth, unless it is whole.
pub fn show(time: Duration) -> String {
    let tenths = (time.as_millis() + 50) / 100;
    if tenths < 100 && tenths % 10 != 0 {
        return format!("{}.{}s", tenths / 10, tenths % 10);
    }
    let seconds = time.as_secs() + u64::from(time.subsec_millis() >= 500);
    let (most, least, unit, part) = match seconds {
        0..120 => return format!("{seconds}s"),
        120..7_200 => (seconds / 60, seconds % 60, 'm', 's'),
        7_200..172_800 => (seconds / 3_600, seconds % 3_600 / 60, 'h', 'm'),
        _ => (seconds / 86_400, seconds % 86_400 / 3_600, 'd', 'h'),
    };
    if least == 0 { format!("{most}{unit}") } else { format!("{most}{unit} {least}{part}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_shown_as_they_are_written() {
        for (millis, want) in [
            (0, "0s"),
            (40, "0s"),
            (340, "0.3s"),
            (2_960, "3s"),
            (5_000, "5s"),
            (9_960, "10s"),
            (10_400, "10s"),
            (90_000, "90s"),
            (119_600, "2m"),
            (150_000, "2m 30s"),
            (3_600_000, "60m"),
            (7_200_000, "2h"),
            (9_000_000, "2h 30m"),
            (86_400_000, "24h"),
            (2_592_000_000, "30d"),
            (180_000_000, "2d 2h"),
        ] {
            assert_eq!(show(Duration::from_millis(millis)), want, "{millis}");
        }
    }

    #[test]
    fn lengths_are_read() {
        for (text, want) in [
            ("1", 1),
            ("90s", 90),
            ("30m", 1_800),
            ("2h", 7_200),
            (" 1d ", 86_400),
            ("30d", MOST.as_secs()),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_secs(want)), "{text}");
        }
        for (text, millis) in [("0", 0), ("0.2", 200), ("200ms", 200), ("1.5h", 5_400_000)] {
            assert_eq!(parse_any(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        let bad = ["", " ", "h", "-1h", "2w", "31d", "99999999999999999999", "2H", "1 2", "1h 2"];
        for bad in bad.into_iter().chain(["1e3", ".5", "1.2.3", "30d 1s", "inf", "nan", "+1"]) {
            assert!(parse(bad).unwrap_err().contains("2h"), "{bad}");
            assert!(parse_any(bad).is_err(), "{bad}");
        }
        for short in ["0", "0s", "999ms"] {
            assert!(parse(short).is_err(), "{short}");
        }
        // What is shown is read.
        for millis in [300, 5_000, 150_000, 9_000_000, 180_000_000, 2_592_000_000] {
            let time = Duration::from_millis(millis);
            assert_eq!(parse_any(&show(time)), Ok(time));
        }
    }
}
