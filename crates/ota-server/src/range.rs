//! One byte range of a known length (RFC 9110 §14).

use std::ops::Range;

/// What a `Range` header asks of a body of `size` bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// All of it: no header, one of several ranges, or one that is not understood.
    Whole,
    /// Some of it, cut at the end: vendor devices ask for one byte too many (docs/protocol.md,
    /// The cloud's side).
    Part(Range<u64>),
    /// Nothing that is there: 416.
    Beyond,
}

/// Reads a `Range` header.
pub(super) fn parse(header: Option<&str>, size: u64) -> Asked {
    let Some(spec) = header.and_then(|text| text.trim().strip_prefix("bytes=")) else {
        return Asked::Whole;
    };
    let Some((from, to)) = spec.split_once('-') else { return Asked::Whole };
    let (from, to) = (from.trim(), to.trim());
    let range = match (number(from), number(to)) {
        (Some(from), Some(last)) if from <= last => from..last.saturating_add(1).min(size),
        (Some(from), None) if to.is_empty() => from..size,
        (None, Some(count)) if from.is_empty() => size.saturating_sub(count)..size,
        _ => return Asked::Whole,
    };
    if range.start >= size || range.is_empty() { Asked::Beyond } else { Asked::Part(range) }
}

/// Decimal digits only; a number beyond 64 bits is as far as one can ask.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_a_hundred_bytes() {
        for (header, asked) in [
            ("bytes=0-99", Asked::Part(0..100)),
            ("bytes=0-100", Asked::Part(0..100)),
            ("bytes=10-", Asked::Part(10..100)),
            ("bytes=10-19", Asked::Part(10..20)),
            ("bytes=99-99", Asked::Part(99..100)),
            ("bytes=-5", Asked::Part(95..100)),
            ("bytes=-500", Asked::Part(0..100)),
            (" bytes=1 - 2 ", Asked::Part(1..3)),
            ("bytes=0-99999999999999999999999", Asked::Part(0..100)),
            ("bytes=100-", Asked::Beyond),
            ("bytes=100-200", Asked::Beyond),
            ("bytes=99999999999999999999999-", Asked::Beyond),
            ("bytes=-0", Asked::Beyond),
            ("bytes=5-4", Asked::Whole),
            ("bytes=0-1,3-4", Asked::Whole),
            ("bytes=a-b", Asked::Whole),
            ("bytes=+1-2", Asked::Whole),
            ("bytes=-", Asked::Whole),
            ("bytes=", Asked::Whole),
            ("lines=0-1", Asked::Whole),
            ("", Asked::Whole),
        ] {
            assert_eq!(parse(Some(header), 100), asked, "{header}");
        }
        assert_eq!(parse(None, 100), Asked::Whole);
    }
}
