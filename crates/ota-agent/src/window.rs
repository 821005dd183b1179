//! A time of day at which updates may run.

use std::time::Duration;

use ota_host::Clock;

const DAY: u64 = 86_400;
const HOUR: u64 = 3_600;

/// From one time of day to another, possibly over midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// Its start in seconds of the day, UTC.
    from: u64,
    /// Its length in seconds, 1 minute to less than a day.
    length: u64,
}

/// 2020-01-01: an earlier clock was never set.
pub(crate) const NEVER_SET: u64 = 1_577_836_800;

impl Window {
    /// Reads `02:00-04:00`, which is UTC, or `02:00-04:00 +08:00`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (times, offset) = match text.split_once(' ') {
            Some((times, offset)) => (times, Some(offset)),
            None => (text, None),
        };
        let (from, to) = times.split_once('-')?;
        let (from, to) = (minutes(from, 23)?, minutes(to, 23)?);
        let east = match offset {
            None => 0,
            Some(offset) => match (offset.strip_prefix('+'), offset.strip_prefix('-')) {
                (Some(east), _) => minutes(east, 14)?,
                (_, Some(west)) => DAY - minutes(west, 14)?,
                _ => return None,
            },
        };
        let length = (to + DAY - from) % DAY;
        (length > 0).then(|| Self { from: (from + 2 * DAY - east) % DAY, length })
    }

    /// Returns how long it stays closed at this Unix time; `None` while it is open. Without a set
    /// clock it returns one hour, because the clock may be set at any time.
    pub(crate) fn closed_for(&self, unix: Option<u64>) -> Option<Duration> {
        let Some(unix) = unix.filter(|unix| *unix >= NEVER_SET) else {
            return Some(Duration::from_secs(HOUR));
        };
        let since = (unix % DAY + DAY - self.from) % DAY;
        (since >= self.length).then(|| Duration::from_secs(DAY - since))
    }
}

/// Returns how long the window stays closed by the machine's clock; `None` while it is open, or
/// without one.
pub(crate) fn closed(window: Option<Window>) -> Option<Duration> {
    window?.closed_for(Clock::unix_time())
}

/// Seconds of `hh:mm`, with at most this many hours.
fn minutes(text: &str, most: u64) -> Option<u64> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str, most| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u64>().ok().filter(|number| digits && *number <= most)
    };
    Some(number(hours, most)? * HOUR + number(minutes, 59)? * 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-01 at this time of day, UTC.
    fn at(hours: u64, minutes: u64) -> Option<u64> {
        Some(1_767_225_600 + hours * HOUR + minutes * 60)
    }

    fn closed_at(text: &str, hours: u64, minutes: u64) -> Option<u64> {
        Window::parse(text).unwrap().closed_for(at(hours, minutes)).map(|wait| wait.as_secs() / 60)
    }

    #[test]
    fn a_window_is_open_from_its_begin_to_before_its_end() {
        assert_eq!(closed_at("02:00-04:00", 1, 59), Some(1));
        assert_eq!(closed_at("02:00-04:00", 2, 0), None);
        assert_eq!(closed_at("02:00-04:00", 3, 59), None);
        assert_eq!(closed_at("02:00-04:00", 4, 0), Some(22 * 60));
    }

    #[test]
    fn a_window_may_go_over_midnight() {
        assert_eq!(closed_at("23:30-00:30", 23, 0), Some(30));
        assert_eq!(closed_at("23:30-00:30", 23, 30), None);
        assert_eq!(closed_at("23:30-00:30", 0, 29), None);
        assert_eq!(closed_at("23:30-00:30", 0, 30), Some(23 * 60));
    }

    #[test]
    fn an_offset_from_utc_moves_it() {
        assert_eq!(closed_at("02:00-04:00 +08:00", 18, 0), None);
        assert_eq!(closed_at("02:00-04:00 +08:00", 17, 0), Some(60));
        assert_eq!(closed_at("02:00-04:00 -03:30", 5, 29), Some(1));
        assert_eq!(closed_at("02:00-04:00 -03:30", 5, 30), None);
    }

    #[test]
    fn a_clock_that_was_never_set_opens_nothing() {
        let window = Window::parse("00:00-23:59").unwrap();
        for unix in [None, Some(0), Some(NEVER_SET - 1)] {
            assert_eq!(window.closed_for(unix), Some(Duration::from_secs(HOUR)));
        }
        assert_eq!(window.closed_for(Some(NEVER_SET)), None);
    }

    #[test]
    fn what_is_no_window_is_refused() {
        for text in [
            "",
            "-",
            "02:00",
            "2:00-4:00",
            "02:00-02:00",
            "24:00-01:00",
            "02:60-04:00",
            "02:00-04:00+08:00",
            "02:00-04:00 08:00",
            "02:00-04:00 +15:00",
            "+2:00-04:00",
            "02:00 - 04:00",
        ] {
            assert_eq!(Window::parse(text), None, "{text:?}");
        }
    }
}
