//! Lengths of time, as people write them.

use std::time::Duration;

use crate::agent::LONGEST;

/// Parses `90s`, `30m`, `2h`, `1d` or a plain number of seconds; at most what may be deferred.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "" | "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3_600),
        "d" => Some(86_400),
        _ => None,
    };
    let seconds = number.parse::<u64>().ok().zip(factor);
    let seconds = seconds.and_then(|(number, factor)| number.checked_mul(factor));
    let seconds = seconds.filter(|seconds| (1..=LONGEST).contains(seconds));
    let wrong =
        || format!("no length of time: {text:?}; write it like 90s, 30m, 2h or 1d, up to 30d");
    seconds.map(Duration::from_secs).ok_or_else(wrong)
}

/// Shows a length of time as [`parse`] reads it: `5s`, `90s`, `2h`, `1h 30m`; below ten seconds
/// with a tenth, unless it is whole.
pub(crate) fn show(time: Duration) -> String {
    let tenths = (time.as_millis() + 50) / 100;
    if tenths < 100 && !tenths.is_multiple_of(10) {
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
            ("30d", LONGEST),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_secs(want)), "{text}");
        }
        for bad in ["", "0", "h", "-1h", "1.5h", "2w", "31d", "99999999999999999999", "2H"] {
            assert!(parse(bad).unwrap_err().contains("2h"), "{bad}");
        }
    }
}
