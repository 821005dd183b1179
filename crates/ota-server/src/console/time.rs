//! Times for people: UTC.

use ota_cloud::calendar::date_time;

/// Microseconds since 1970 as a date and a time.
pub(super) fn utc(micros: u64) -> String {
    date_time(micros / 1_000_000).replace('T', " ").replace('Z', "")
}

/// Seconds as hours, minutes and seconds: `1:05:00`.
pub(super) fn span(seconds: u64) -> String {
    format!("{}:{:02}:{:02}", seconds / 3_600, seconds % 3_600 / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_hours_minutes_and_seconds() {
        assert_eq!((span(59).as_str(), span(363_665).as_str()), ("0:00:59", "101:01:05"));
    }

    #[test]
    fn times_are_dates_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_400, "2000-02-29 00:00:00"),
            (1_709_164_800, "2024-02-29 00:00:00"),
            (1_796_083_199, "2026-11-30 23:59:59"),
            (4_107_542_400, "2100-03-01 00:00:00"),
        ] {
            assert_eq!(utc(seconds * 1_000_000), text);
        }
    }
}
