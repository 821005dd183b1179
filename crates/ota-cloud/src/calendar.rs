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

#[cfg(test)]
mod tests {
    use super::day;

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
