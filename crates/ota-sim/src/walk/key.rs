//! One key for all states that behave the same.
//!
//! The key is a hash of the state's `Debug` text, which has every field, in a canonical form:
//!
//! * moments are replaced by their distance from now, and what is longer ago than every time that
//!   the configuration compares with is "long ago": the machine only compares and adds;
//! * operation and publication ids are replaced by the order in which they appear: the machine only
//!   asks whether two are equal;
//! * the last ids, the journal's sequence number and block, and the generator of jitter are left
//!   out: nothing but a fresh id, a fresh number and another jitter follows from them.

/// Longer ago than all times that are compared with, in microseconds.
const LONG: u64 = 200_000_000;
/// Later than all times but the daily report's, in microseconds.
const FAR: u64 = 20 * 3_600_000_000;

/// Where the machine's changing parts begin: its configuration comes before.
const BEGIN: &str = ", running: ";

/// The key of this text at this moment.
pub(super) fn key(text: &str, now: u64) -> u128 {
    let mut canon = Canon(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    let mut ids = [Vec::new(), Vec::new()];
    let mut rest = text.find(BEGIN).map_or(text, |begin| text.split_at(begin).1);
    // What is replaced comes after a bracket or a colon.
    while let Some(at) = rest.bytes().position(|byte| matches!(byte, b'(' | b':')) {
        let (plain, tail) = rest.split_at(at.saturating_add(1));
        canon.text(plain);
        rest = if plain.ends_with("Instant(") {
            let (at, tail) = number(tail);
            canon.moment(at, now);
            tail
        } else if plain.ends_with("OpId(") {
            canon.id(&mut ids[0], tail)
        } else if plain.ends_with("PubId(") {
            canon.id(&mut ids[1], tail)
        } else if ["last_op:", "last_pub:", "sequence:", "Rng("].iter().any(|n| plain.ends_with(n))
        {
            number(tail.trim_start()).1
        } else if plain.ends_with("block:") {
            tail.find(']').map_or("", |end| tail.split_at(end).1)
        } else {
            tail
        };
    }
    canon.text(rest);
    canon.0
}

/// The number that the text begins with, and what comes after it.
fn number(text: &str) -> (u64, &str) {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = text.strip_suffix(rest).unwrap_or("");
    (digits.parse().unwrap_or(0), rest)
}

/// A hash of 128 bits. Nobody chooses its input.
struct Canon(u128);

impl Canon {
    fn text(&mut self, text: &str) {
        for chunk in text.as_bytes().chunks(8) {
            self.number(chunk.iter().fold(1, |word, byte| word << 8 | u64::from(*byte)));
        }
    }

    fn number(&mut self, number: u64) {
        let mixed = self.0 ^ u128::from(number);
        let mixed = mixed.wrapping_mul(0xda94_2042_e4dd_58b5_2360_ed05_1fc6_5da5);
        self.0 = (mixed ^ (mixed >> 67)).wrapping_add(1);
    }

    fn id<'a>(&mut self, known: &mut Vec<u64>, text: &'a str) -> &'a str {
        let (id, rest) = number(text);
        let place = known.iter().position(|other| *other == id);
        self.number(place.unwrap_or(known.len()) as u64);
        if place.is_none() {
            known.push(id);
        }
        rest
    }

    fn moment(&mut self, at: u64, now: u64) {
        if at > now {
            self.number(1);
            self.number(at.saturating_sub(now).min(FAR));
        } else {
            self.number(0);
            self.number(now.saturating_sub(at).min(LONG));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_moments_are_relative() {
        let a = key("OpId(3) PubId(3) OpId(4) OpId(3) Instant(10) last_op: 4", 5);
        assert_eq!(a, key("OpId(8) PubId(1) OpId(9) OpId(8) Instant(25) last_op: 9", 20));
        assert_ne!(a, key("OpId(8) PubId(1) OpId(9) OpId(9) Instant(25) last_op: 9", 20));
        assert_ne!(a, key("OpId(8) PubId(1) OpId(9) OpId(8) Instant(26) last_op: 9", 20));
    }

    #[test]
    fn what_is_long_ago_is_alike() {
        assert_eq!(key("Instant(1)", LONG * 2), key("Instant(7)", LONG * 3));
        assert_ne!(key("Instant(1)", 2), key("Instant(1)", 3));
    }
}
