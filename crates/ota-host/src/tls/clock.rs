//! A clock that is not set makes every certificate look wrong, or an expired one right.

use ota_proto::TlsError;

/// 2026-01-01: this code is no older.
const RELEASED: u64 = 1_767_225_600;

/// No clock that is right says less: when this was built, where the build says so.
const LEAST: u64 = match option_env!("SOURCE_DATE_EPOCH") {
    Some(text) if number(text.as_bytes()) > RELEASED => number(text.as_bytes()),
    _ => RELEASED,
};

/// Whether certificates can be judged by a clock that says so (`None`: it stands before 1970).
/// `known`: a time that has been.
pub(super) fn check(unix: Option<u64>, known: u64) -> Result<(), TlsError> {
    if unix.is_some_and(|unix| unix >= known.max(LEAST)) {
        Ok(())
    } else {
        Err(TlsError::ClockNotSet)
    }
}

/// A decimal number; 0 when it is none.
const fn number(text: &[u8]) -> u64 {
    let mut value: u64 = 0;
    let mut rest = text;
    while let [digit @ b'0'..=b'9', more @ ..] = rest {
        value = value.saturating_mul(10).saturating_add((*digit - b'0') as u64);
        rest = more;
    }
    if rest.is_empty() { value } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_before_the_build_or_before_what_has_been_is_not_set() {
        let not_set = Err(TlsError::ClockNotSet);
        assert_eq!(check(None, 0), not_set);
        assert_eq!(check(Some(0), 0), not_set);
        assert_eq!(check(Some(LEAST - 1), 0), not_set);
        assert_eq!(check(Some(LEAST), 0), Ok(()));
        assert_eq!(check(Some(LEAST + 100), LEAST + 101), not_set);
        assert_eq!(check(Some(LEAST + 101), LEAST + 101), Ok(()));
    }

    #[test]
    fn the_date_of_a_build_is_a_number_or_nothing() {
        assert_eq!(number(b"1767225600"), 1_767_225_600);
        assert_eq!(number(b"99999999999999999999999"), u64::MAX);
        for none in ["", "x", "-1", "12 ", "1.5"] {
            assert_eq!(number(none.as_bytes()), 0, "{none:?}");
        }
    }
}
