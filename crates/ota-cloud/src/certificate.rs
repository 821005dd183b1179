//! When a certificate ends. Nothing else of it is read here: TLS checks certificates.

/// Reads the end of an X.509 certificate in DER, in seconds since 1970; `None` if it has none that
/// can be read.
#[must_use]
pub fn not_after(der: &[u8]) -> Option<u64> {
    let (certificate, _) = expect(der, SEQUENCE)?;
    let (body, _) = expect(certificate, SEQUENCE)?;
    let rest = match element(body)? {
        (VERSION, _, rest) => rest,
        _ => body,
    };
    let (_, rest) = expect(rest, INTEGER)?;
    let (_, rest) = expect(rest, SEQUENCE)?;
    // The issuer.
    let (_, rest) = expect(rest, SEQUENCE)?;
    let (validity, _) = expect(rest, SEQUENCE)?;
    let (_, _, rest) = element(validity)?;
    match element(rest)? {
        (UTC_TIME, text, _) => {
            let year = digits(text.get(..2)?)?;
            let century = if year < 50 { 2_000 } else { 1_900 };
            moment(year.checked_add(century)?, text.get(2..)?)
        }
        (GENERALIZED_TIME, text, _) => moment(digits(text.get(..4)?)?, text.get(4..)?),
        _ => None,
    }
}

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// The first element: its tag, its content, and what follows.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (len, rest) = match usize::from(*first) {
        len @ 0..=0x7f => (len, rest),
        long => {
            let (len, rest) =
                rest.split_at_checked(long & 0x7f).filter(|(len, _)| len.len() <= 4)?;
            let sum = len.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
            (usize::try_from(sum).ok()?, rest)
        }
    };
    let (content, rest) = rest.split_at_checked(len)?;
    Some((*tag, content, rest))
}

fn expect(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = element(bytes)?;
    (found == tag).then_some((content, rest))
}

fn digits(text: &[u8]) -> Option<u64> {
    let text = core::str::from_utf8(text).ok()?;
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// `MMDDHHMMSSZ` of a year.
fn moment(year: u64, text: &[u8]) -> Option<u64> {
    let part = |at: usize| digits(text.get(at..at.checked_add(2)?)?);
    let (month, day) = (part(0)?, part(2)?);
    let (hour, minute, second) = (part(4)?, part(6)?, part(8)?);
    if text.get(10..)? != b"Z" || day == 0 || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let before = year.checked_sub(1)?;
    let leaps = |year: u64| (year / 4).saturating_sub(year / 100).saturating_add(year / 400);
    let is_leap = leaps(year) > leaps(before);
    let february = if is_leap { 29 } else { 28 };
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let done = usize::try_from(month.checked_sub(1)?).ok()?;
    let in_month = months.get(done).copied()?;
    let days = months.iter().take(done).sum::<u64>().checked_add(day.checked_sub(1)?)?;
    let years = year.checked_sub(1_970)?.checked_mul(365)?;
    let days = years.checked_add(leaps(before).checked_sub(leaps(1_969))?)?.checked_add(days)?;
    let clock = hour.checked_mul(3_600)?.checked_add(minute.checked_mul(60)?)?;
    let seconds = days.checked_mul(86_400)?.checked_add(clock)?.checked_add(second)?;
    (day <= in_month).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrap(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![tag];
        match u8::try_from(content.len()) {
            Ok(len @ 0..=0x7f) => bytes.push(len),
            _ => bytes.extend([0x82, (content.len() >> 8) as u8, content.len() as u8]),
        }
        bytes.extend(content);
        bytes
    }

    fn certificate(version: bool, tag: u8, end: &[u8]) -> Vec<u8> {
        let mut body = if version { wrap(VERSION, &wrap(INTEGER, &[2])) } else { Vec::new() };
        body.extend(wrap(INTEGER, &[7; 16]));
        body.extend(wrap(SEQUENCE, &[]));
        body.extend(wrap(SEQUENCE, &[b'x'; 200]));
        let validity = [wrap(UTC_TIME, b"200101000000Z"), wrap(tag, end)].concat();
        body.extend(wrap(SEQUENCE, &validity));
        wrap(SEQUENCE, &wrap(SEQUENCE, &body))
    }

    #[test]
    fn the_end_of_a_certificate() {
        for (tag, end, unix) in [
            (UTC_TIME, &b"700101000000Z"[..], Some(0)),
            (UTC_TIME, b"261201010203Z", Some(1_796_086_923)),
            (UTC_TIME, b"240229000000Z", Some(1_709_164_800)),
            (UTC_TIME, b"230229000000Z", None),
            (GENERALIZED_TIME, b"20500101000000Z", Some(2_524_608_000)),
            (GENERALIZED_TIME, b"21000301000000Z", Some(4_107_542_400)),
            (GENERALIZED_TIME, b"99991231235959Z", Some(253_402_300_799)),
            (UTC_TIME, b"261301000000Z", None),
            (UTC_TIME, b"2612010102+3Z", None),
            (UTC_TIME, b"261201010203", None),
            (SEQUENCE, b"261201010203Z", None),
        ] {
            for version in [true, false] {
                assert_eq!(not_after(&certificate(version, tag, end)), unix, "{end:?}");
            }
        }
    }

    #[test]
    fn no_piece_of_a_certificate_is_one() {
        let whole = certificate(true, UTC_TIME, b"261201010203Z");
        for len in 0..whole.len() {
            assert_eq!(not_after(&whole[..len]), None);
        }
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0xff;
            let _ = not_after(&bytes);
        }
    }
}
