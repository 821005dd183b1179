//! Dates of the Gregorian calendar.

/// The UTC day of a Unix time in seconds: `2023-11-14` for 1,700,000,000.
#[must_use]
pub fn day(unix: u64) -> String {
    // Days since 0000-03-01: a year that begins in March has its leap day at its end.
    let days = (unix / 86_400).saturating_add(719_468);
    let (era, of_era) = (days / 146_097, days % 146_097);
    let leap = of_era / 1_460;
    let leaps = leap.saturating_sub(of_era / 36_524).saturating_add(of_era / 146_096);
    let year = of_era.saturating_sub(leaps) / 365;
    let before = year.saturating_mul(365).saturating_add(year / 4).saturating_sub(year / 100);
    let of_year = of_era.saturating_sub(before);
    let month = (of_year.saturating_mul(5).saturating_add(2)) / 153;
    let day = of_year.saturating_sub((month.saturating_mul(153).saturating_add(2)) / 5);
    let (month, next) =
        if month < 10 { (month.saturating_add(3), 0) } else { (month.saturating_sub(9), 1) };
    let year = era.saturating_mul(400).saturating_add(year).saturating_add(next);
    format!("{year:04}-{month:02}-{:02}", day.saturating_add(1))
}

/// The UTC date and time of a Unix time in seconds: `2023-11-14T22:13:20Z` for 1,700,000,000.
#[must_use]
pub fn date_time(unix: u64) -> String {
    let (hour, minute, second) = (unix / 3_600 % 24, unix / 60 % 60, unix % 60);
    format!("{}T{hour:02}:{minute:02}:{second:02}Z", day(unix))
}

/// The Unix time in seconds of a UTC date and time, as browsers send them: `2023-11-14T22:13`, with
/// seconds or without. `None` for anything else, and before 1970.
#[must_use]
pub fn unix(text: &str) -> Option<u64> {
    let (date, time) = text.split_once(['T', ' '])?;
    let digits = |text: &str, width: usize| {
        let good = text.len() == width && text.bytes().all(|b| b.is_ascii_digit());
        good.then(|| text.parse::<u64>().ok()).flatten()
    };
    let mut parts = time.split(':');
    let (hour, minute) = (digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    let second = parts.next().map_or(Some(0), |second| digits(second, 2))?;
    if hour > 23 || minute > 59 || second > 59 || parts.next().is_some() {
        return None;
    }
    let year = digits(date.get(..4)?, 4)?;
    let (month, of_month) = (digits(date.get(5..7)?, 2)?, digits(date.get(8..)?, 2)?);
    // As in `day`: years begin in March.
    let of_year = (month.checked_add(9)? % 12).checked_mul(153)?.checked_add(2)? / 5;
    let year = if month < 3 { year.checked_sub(1)? } else { year };
    let leaps = (year / 4).saturating_sub(year / 100).saturating_add(year / 400);
    let days = year.checked_mul(365)?.checked_add(leaps)?.checked_add(of_year)?;
    let days = days.checked_add(of_month)?.checked_sub(719_469)?;
    let at = days.checked_mul(86_400)?;
    // An invalid date, for example 31 February, is another day.
    (day(at) == date).then_some(())?;
    at.checked_add(hour.checked_mul(3_600)?)?
        .checked_add(minute.checked_mul(60)?)?
        .checked_add(second)
}

#[cfg(test)]
mod tests {
    use super::{day, unix};

    #[test]
    fn a_date_and_a_time_are_read_and_an_invalid_one_is_refused() {
        for (text, wanted) in [
            ("1970-01-01T00:00", 0),
            ("2000-02-29T23:59:59", 951_868_799),
            ("2023-11-14T22:13:20", 1_700_000_000),
            ("2023-11-14 22:13:20", 1_700_000_000),
            ("2100-03-01T00:00", 4_107_542_400),
        ] {
            assert_eq!(unix(text), Some(wanted), "{text}");
        }
        for unix_day in (0..60_000).map(|day| day * 86_400) {
            assert_eq!(unix(&format!("{}T00:01", day(unix_day))), Some(unix_day + 60));
        }
        for bad in [
            "",
            "2023-11-14",
            "2023-02-29T00:00",
            "2023-13-01T00:00",
            "2023-00-01T00:00",
            "2023-01-00T00:00",
            "1969-12-31T23:59",
            "2023-1-01T00:00",
            "2023-01-01T24:00",
            "2023-01-01T0:00",
            "2023-01-01T00:60",
            "2023-01-01T00:00:00:00",
            "2023-01-01T+1:00",
            "2023é01-01T00:00",
        ] {
            assert_eq!(unix(bad), None, "{bad}");
        }
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        for (unix, wanted) in [
            (0, "1970-01-01"),
            (86_399, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_551_113_065, "2019-02-25"),
            (1_700_000_000, "2023-11-14"),
            (1_709_164_800, "2024-02-29"),
            (1_735_689_599, "2024-12-31"),
            (1_735_689_600, "2025-01-01"),
            (4_107_542_400, "2100-03-01"),
            (253_402_300_799, "9999-12-31"),
        ] {
            assert_eq!(day(unix), wanted, "{unix}");
        }
    }
}
