//! Orders of versions.

use alloc::vec::Vec;
use core::cmp::Ordering;

use crate::version::Version;

/// The order of versions. [`crate::Downgrade::Refuse`] uses it to prevent downgrades.
///
/// An order does not apply to versions with another format; offers of such versions are refused. A
/// leading `v` is ignored by [`Order::SemVer`] and [`Order::Numeric`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Order {
    /// Semantic Versioning 2.0.0: `MAJOR.MINOR.PATCH`, then `-` and a pre-release, then `+` and a
    /// build. All three numbers are needed, and no number has a leading zero. A pre-release is
    /// older than its release: `1.0.0-rc.2 < 1.0.0-rc.10 < 1.0.0`. Builds of one version are equal.
    SemVer,
    /// Any count of numbers between dots, compared from left to right: `1.9 < 1.10`. Leading zeros
    /// are ignored, and missing numbers at the end are 0: `1.2`, `1.2.0` and `01.2` are equal.
    Numeric,
    /// These exact versions, the oldest first.
    Listed(Vec<Version>),
}

impl Order {
    /// Compares two versions; `None` if one of them does not fit the order.
    #[must_use]
    pub fn compare(&self, one: &Version, other: &Version) -> Option<Ordering> {
        let (one_text, other_text) = (one.as_str(), other.as_str());
        match self {
            Self::SemVer => Some(SemVer::parse(one_text)?.compare(&SemVer::parse(other_text)?)),
            Self::Numeric => numeric(one_text, other_text),
            Self::Listed(versions) => {
                let place = |wanted| versions.iter().position(|version| version == wanted);
                Some(place(one)?.cmp(&place(other)?))
            }
        }
    }
}

/// Removes the leading `v`.
fn bare(text: &str) -> &str {
    text.strip_prefix('v').unwrap_or(text)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Compares two numbers of any length by their digits.
fn by_value(one: &str, other: &str) -> Ordering {
    let (one, other) = (one.trim_start_matches('0'), other.trim_start_matches('0'));
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}

fn numeric(one: &str, other: &str) -> Option<Ordering> {
    let (one, other) = (bare(one), bare(other));
    if !one.split('.').chain(other.split('.')).all(is_number) {
        return None;
    }
    let (mut ones, mut others) = (one.split('.'), other.split('.'));
    loop {
        let order = match (ones.next(), others.next()) {
            (None, None) => return Some(Ordering::Equal),
            (one, other) => by_value(one.unwrap_or("0"), other.unwrap_or("0")),
        };
        if order.is_ne() {
            return Some(order);
        }
    }
}

/// The parts that determine the order.
struct SemVer<'a> {
    numbers: [&'a str; 3],
    pre: Option<&'a str>,
}

impl<'a> SemVer<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let text = bare(text);
        let (text, build) = split(text, '+');
        let (numbers, pre) = split(text, '-');
        if !build.is_none_or(|build| build.split('.').all(is_word)) {
            return None;
        }
        if !pre.is_none_or(|pre| pre.split('.').all(|part| is_word(part) && !is_padded(part))) {
            return None;
        }
        let mut parts = numbers.split('.');
        let numbers = [parts.next()?, parts.next()?, parts.next()?];
        let whole = parts.next().is_none();
        let right = numbers.iter().all(|number| is_number(number) && !is_padded(number));
        (whole && right).then_some(Self { numbers, pre })
    }

    fn compare(&self, other: &Self) -> Ordering {
        let pairs = self.numbers.iter().zip(&other.numbers);
        let numbers = pairs.map(|(one, other)| by_value(one, other));
        numbers.fold(Ordering::Equal, Ordering::then).then_with(|| match (self.pre, other.pre) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(one), Some(other)) => pre_releases(one, other),
        })
    }
}

fn split(text: &str, at: char) -> (&str, Option<&str>) {
    text.split_once(at).map_or((text, None), |(before, behind)| (before, Some(behind)))
}

/// An identifier of a pre-release or a build.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// A number with a leading zero.
fn is_padded(text: &str) -> bool {
    text.len() > 1 && text.starts_with('0') && is_number(text)
}

/// Numbers compare by value and are below words, words compare by bytes, and of two with equal
/// parts the longer is newer.
fn pre_releases(one: &str, other: &str) -> Ordering {
    let (mut ones, mut others) = (one.split('.'), other.split('.'));
    loop {
        let order = match (ones.next(), others.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(one), Some(other)) => match (is_number(one), is_number(other)) {
                (true, true) => by_value(one, other),
                (true, false) => Ordering::Less,
                (false, true) => Ordering::Greater,
                (false, false) => one.cmp(other),
            },
        };
        if order.is_ne() {
            return order;
        }
    }
}
