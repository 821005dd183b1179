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

#[cfg(test)]
mod tests {
    use super::*;

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
