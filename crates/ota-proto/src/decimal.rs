//! Decimal numbers: `core::fmt` and `core::str::FromStr` would cost 3 KiB of a microcontroller's
//! flash.

use core::str;

/// A number as decimal digits.
///
/// ```
/// use ota_proto::Decimal;
///
/// assert_eq!(Decimal::new(1_532).as_str(), "1532");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Decimal {
    digits: [u8; Decimal::MAX],
    /// The index of the first digit.
    at: usize,
}

impl Decimal {
    /// The length of the largest number.
    const MAX: usize = 20;

    /// Formats a number.
    #[must_use]
    #[inline(never)]
    pub fn new(number: u64) -> Self {
        let mut decimal = Self { digits: [b'0'; Self::MAX], at: Self::MAX };
        let mut rest = number;
        for place in decimal.digits.iter_mut().rev() {
            *place = b'0' | u8::try_from(rest % 10).unwrap_or(0);
            rest /= 10;
            decimal.at = decimal.at.saturating_sub(1);
            if rest == 0 {
                break;
            }
        }
        decimal
    }

    /// The digits as text.
    #[must_use]
    // Not inlined: each copy costs flash.
    #[inline(never)]
    pub fn as_str(&self) -> &str {
        let digits = self.digits.get(self.at..).unwrap_or_default();
        debug_assert!(!digits.is_empty() && digits.is_ascii(), "a number has a digit");
        str::from_utf8(digits).unwrap_or_default()
    }
}

/// Parses decimal digits; `None` if the text is not a number, or is 2^64 or more.
///
/// ```
/// use ota_proto::number;
///
/// assert_eq!(number(b"0017"), Some(17));
/// assert_eq!((number(b""), number(b"+1"), number(b"18446744073709551616")), (None, None, None));
/// ```
#[must_use]
#[inline(never)]
pub fn number(digits: &[u8]) -> Option<u64> {
    let mut number = None;
    for byte in digits {
        let digit = byte.is_ascii_digit().then_some(u64::from(byte & 15))?;
        number = Some(number.unwrap_or(0_u64).checked_mul(10)?.checked_add(digit)?);
    }
    number
}

/// Parses the value of `Retry-After` in seconds. `None` for a date, because there is no clock here.
/// A number that is too large becomes the largest one: retrying at once would be the opposite of its
/// meaning.
///
/// ```
/// use ota_proto::seconds;
///
/// assert_eq!(seconds(b"120"), Some(120));
/// assert_eq!(seconds(b"99999999999999999999"), Some(u32::MAX));
/// assert_eq!((seconds(b""), seconds(b"Wed, 21 Oct 2026 07:28:00 GMT")), (None, None));
/// ```
#[must_use]
pub fn seconds(value: &[u8]) -> Option<u32> {
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    is_number.then(|| number(value).and_then(|all| u32::try_from(all).ok()).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    extern crate alloc;

    use alloc::string::ToString as _;

    use super::*;

    #[test]
    fn digits_are_those_of_core() {
        let mut values = alloc::vec![0, 1, 9, 10, 99, 100, u64::MAX];
        values.extend((0..64).flat_map(|shift| [1 << shift, (1_u64 << shift).wrapping_sub(1)]));
        for value in values {
            let text = value.to_string();
            assert_eq!(Decimal::new(value).as_str(), text);
            assert_eq!(number(text.as_bytes()), Some(value));
        }
    }

    #[test]
    fn only_digits_are_a_number() {
        for none in ["", "-1", "+1", " 1", "1 ", "1.5", "0x1", "/", ":", "18446744073709551616"] {
            assert_eq!(number(none.as_bytes()), None, "{none:?}");
        }
        assert_eq!(number(b"00000000000000000000000000000018446744073709551615"), Some(u64::MAX));
    }
}
