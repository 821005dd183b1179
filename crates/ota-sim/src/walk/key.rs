//! One number for all states that behave alike.
//!
//! The key is a hash of the state's `Debug` text, which has every field, in a canonical form:
//!
//! * moments are replaced by their distance from now, and what is longer ago than every time that
//!   the configuration compares with is "long ago": the machine only compares and adds;
//! * operation and publication ids are replaced by the order in which they appear: the machine only
//!   asks whether two are equal;
//! * the last ids, the journal's sequence number and block, and the generator of jitter are left
//!   out: nothing but a fresh id, a fresh number and another jitter follows from them.

use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;

/// Longer ago than all times that are compared with, in microseconds.
const LONG: u64 = 200_000_000;
/// Later than all times but the daily report's, in microseconds.
const FAR: u64 = 20 * 3_600_000_000;

/// What is replaced by something else, with the text before its number.
#[derive(Clone, Copy)]
enum Field {
    Moment,
    Id(usize),
    Skip,
    Block,
}

const FIELDS: [(&str, Field); 8] = [
    ("Instant(", Field::Moment),
    ("OpId(", Field::Id(0)),
    ("PubId(", Field::Id(1)),
    ("Rng(", Field::Skip),
    ("last_op: ", Field::Skip),
    ("last_pub: ", Field::Skip),
    ("sequence: ", Field::Skip),
    ("block: [", Field::Block),
];

/// The key of this text at this moment.
pub(super) fn key(text: &str, now: u64) -> u128 {
    let mut canon = Canon { first: DefaultHasher::new(), second: DefaultHasher::new() };
    canon.second.write_u8(1);
    let mut ids = [Vec::new(), Vec::new()];
    let mut rest = text;
    // Each field's name begins a word.
    while let Some(end) = rest.find(['I', 'O', 'P', 'R', 'l', 's', 'b']) {
        let (plain, tail) = rest.split_at(end);
        canon.text(plain);
        let Some((name, field)) = FIELDS.iter().find(|(name, _)| tail.starts_with(name)) else {
            let (letter, tail) = tail.split_at(1);
            canon.text(letter);
            rest = tail;
            continue;
        };
        let tail = &tail[name.len()..];
        rest = match field {
            Field::Block => tail.find(']').map_or("", |end| &tail[end..]),
            _ => tail.trim_start_matches(|c: char| c.is_ascii_digit()),
        };
        let number: u64 = tail[..tail.len() - rest.len()].parse().unwrap_or(0);
        match field {
            Field::Moment => canon.moment(number, now),
            Field::Id(kind) => {
                let known = &mut ids[*kind];
                let place = known.iter().position(|id| *id == number);
                canon.number(place.unwrap_or(known.len()) as u64);
                if place.is_none() {
                    known.push(number);
                }
            }
            Field::Skip | Field::Block => {}
        }
    }
    canon.text(rest);
    u128::from(canon.first.finish()) << 64 | u128::from(canon.second.finish())
}

struct Canon {
    first: DefaultHasher,
    second: DefaultHasher,
}

impl Canon {
    fn text(&mut self, text: &str) {
        self.first.write(text.as_bytes());
        self.second.write(text.as_bytes());
    }

    fn number(&mut self, number: u64) {
        self.first.write_u64(number);
        self.second.write_u64(number);
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
