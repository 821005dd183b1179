//! Times of the caller's clock.

use core::fmt;
use core::num::NonZeroU64;
use core::ops::Add;
use core::time::Duration;

/// 2026-01-01 in Unix seconds: this code is not older.
const RELEASED: u64 = 1_767_225_600;

/// The time of the build in Unix seconds, from `SOURCE_DATE_EPOCH`, but at least that of the
/// release: a right clock never shows an earlier time.
pub const BUILT: u64 = built(option_env!("SOURCE_DATE_EPOCH"));

/// The later of the release and the build's setting.
const fn built(epoch: Option<&str>) -> u64 {
    let told = match epoch {
        Some(text) => number(text.as_bytes()),
        None => 0,
    };
    if told > RELEASED { told } else { RELEASED }
}

/// Parses a decimal number; 0 if the text is not a number.
const fn number(text: &[u8]) -> u64 {
    let mut value: u64 = 0;
    let mut rest = text;
    while let [digit @ b'0'..=b'9', more @ ..] = rest {
        value = value.saturating_mul(10).saturating_add(digit.wrapping_sub(b'0') as u64);
        rest = more;
    }
    if rest.is_empty() { value } else { 0 }
}

/// A time in microseconds since an origin of the caller's choice (usually its boot).
///
/// The core never reads a clock: every input carries its time. The clock must not run backwards; a
/// time before the last one counts as the last one. Arithmetic saturates, at 584,542 years.
///
/// An `Option<Instant>` takes no more memory than an `Instant`, because a device stores dozens of
/// them.
///
/// ```
/// use core::time::Duration;
/// use ota_proto::Instant;
///
/// let now = Instant::from_millis(12_345);
/// assert_eq!(now.to_string(), "12.345");
/// assert_eq!((now + Duration::from_secs(1)).since(now), Duration::from_secs(1));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub struct Instant(
    // One more than the microseconds: zero represents `None`.
    #[cfg_attr(feature = "snapshot", serde(with = "micros"))] NonZeroU64,
);

impl Instant {
    /// The origin.
    pub const ZERO: Self = Self(NonZeroU64::MIN);
    /// The latest time; "never" in comparisons.
    pub const MAX: Self = Self(NonZeroU64::MAX);

    /// The moment `micros` microseconds after the origin, at most [`Instant::MAX`].
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(NonZeroU64::MIN.saturating_add(micros))
    }

    /// The moment `millis` milliseconds after the origin.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self::from_micros(millis.saturating_mul(1_000))
    }

    /// The moment `secs` seconds after the origin.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self::from_micros(secs.saturating_mul(1_000_000))
    }

    /// Microseconds since the origin.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0.get().wrapping_sub(1)
    }

    /// Milliseconds since the origin, rounded down.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.as_micros() / 1_000
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.past(earlier).0)
    }

    /// The same as [`Instant::since`], in microseconds.
    #[must_use]
    // Not inlined: each copy costs flash.
    #[inline(never)]
    pub const fn past(self, earlier: Self) -> Micros {
        Micros(self.0.get().saturating_sub(earlier.0.get()))
    }
}

/// A time is stored as its microseconds.
#[cfg(feature = "snapshot")]
mod micros {
    use core::num::NonZeroU64;

    use serde::{Deserialize as _, Deserializer, Serializer};

    use super::Instant;

    pub(super) fn serialize<S: Serializer>(at: &NonZeroU64, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(Instant(*at).as_micros())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<NonZeroU64, D::Error> {
        u64::deserialize(from).map(|micros| Instant::from_micros(micros).0)
    }
}

/// The origin.
impl Default for Instant {
    fn default() -> Self {
        Self::ZERO
    }
}

/// The time this long after the origin, for clocks that start there.
///
/// ```
/// let start = std::time::Instant::now();
/// let now = || ota_proto::Instant::from(start.elapsed());
/// assert!(now() <= now());
/// ```
impl From<Duration> for Instant {
    fn from(since_origin: Duration) -> Self {
        Self::ZERO + since_origin
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Instant").field(&self.as_micros()).finish()
    }
}

impl Add<Micros> for Instant {
    type Output = Self;

    /// Saturates at [`Instant::MAX`]. Not inlined: a hundred copies of it are 4 KiB of a
    /// microcontroller's flash.
    #[inline(never)]
    fn add(self, rhs: Micros) -> Self {
        Self(self.0.saturating_add(rhs.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturates at [`Instant::MAX`].
    fn add(self, rhs: Duration) -> Self {
        self + Micros::from(rhs)
    }
}

/// A duration in whole microseconds: as exact as an [`Instant`], half the size of a [`Duration`],
/// and added without a multiplication. Arithmetic saturates.
///
/// ```
/// use core::time::Duration;
/// use ota_proto::{Instant, Micros};
///
/// let wait = Micros::from_secs(10);
/// assert_eq!(wait, Duration::from_secs(10).into());
/// assert_eq!(Instant::from_secs(5) + wait, Instant::from_secs(15));
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "snapshot", serde(from = "Duration", into = "Duration"))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Micros(u64);

impl Micros {
    /// No time.
    pub const ZERO: Self = Self(0);
    /// The longest time there is.
    pub const MAX: Self = Self(u64::MAX);

    /// A time of `micros` microseconds.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// A time of `millis` milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// A time of `secs` seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// The time in microseconds.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The time in seconds, rounded down.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Whether the time is zero.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// This time multiplied by `factor`.
    #[must_use]
    // Not inlined: each copy costs flash.
    #[inline(never)]
    pub const fn times(self, factor: u32) -> Self {
        Self(self.0.saturating_mul(factor as u64))
    }

    /// The sum of both times.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// This time without `other`; zero if `other` is the longer one.
    #[must_use]
    pub const fn less(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// This time divided by `of`; unchanged if `of` is zero.
    #[must_use]
    pub const fn part(self, of: u32) -> Self {
        match self.0.checked_div(of as u64) {
            Some(part) => Self(part),
            None => self,
        }
    }
}

/// Rounded down.
impl From<Duration> for Micros {
    /// Without the 128 bits of [`Duration::as_micros`], which cost flash.
    #[inline(never)]
    fn from(time: Duration) -> Self {
        Self(time.as_secs().saturating_mul(1_000_000).saturating_add(time.subsec_micros().into()))
    }
}

impl From<Micros> for Duration {
    fn from(time: Micros) -> Self {
        Self::from_micros(time.0)
    }
}

/// Formatted like a [`Duration`]: `1.5s`.
impl fmt::Debug for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Duration::from(*self).fmt(f)
    }
}

impl fmt::Display for Instant {
    /// Seconds with three decimals: `12.345`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.as_millis();
        write!(f, "{}.{:03}", millis / 1_000, millis % 1_000)
    }
}

/// Seconds with six decimals.
#[cfg(feature = "defmt")]
impl defmt::Format for Instant {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{=u64:us}", self.as_micros());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(Instant::MAX + Duration::MAX, Instant::MAX);
        assert_eq!(Instant::ZERO.since(Instant::MAX), Duration::ZERO);
        assert_eq!(Instant::from_secs(u64::MAX), Instant::MAX);
        assert_eq!(Instant::from_micros(u64::MAX), Instant::MAX);
        assert_eq!(Instant::from_micros(u64::MAX - 1), Instant::MAX);
        for micros in [0, 1, u64::MAX - 1] {
            assert_eq!(Instant::from_micros(micros).as_micros(), micros);
        }
        for time in [
            Duration::ZERO,
            Duration::new(7, 999_999_999),
            Duration::from_micros(u64::MAX),
            Duration::from_micros(u64::MAX) + Duration::from_micros(1),
            Duration::new(u64::MAX / 1_000_000, 999_999_999),
            Duration::MAX,
        ] {
            assert_eq!(
                Micros::from(time).as_micros(),
                u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
            );
        }
    }

    #[test]
    fn none_costs_no_memory() {
        assert_eq!(size_of::<Option<Instant>>(), size_of::<Instant>());
    }

    #[test]
    fn prints_seconds() {
        extern crate alloc;
        assert_eq!(
            alloc::format!("{:?} {:?}", Instant::ZERO, Instant::from_micros(7)),
            "Instant(0) Instant(7)"
        );
        assert_eq!(alloc::format!("{}", Instant::from_millis(12_345)), "12.345");
    }

    /// Only another build would show this from outside.
    #[test]
    fn a_build_is_as_old_as_it_was_told_and_no_older_than_the_release() {
        for (epoch, second) in [
            (None, 1_767_225_600),
            (Some("1767225599"), 1_767_225_600),
            (Some("1767225600"), 1_767_225_600),
            (Some("1767225601"), 1_767_225_601),
            (Some("02000000000"), 2_000_000_000),
            (Some("99999999999999999999999"), u64::MAX),
        ] {
            assert_eq!(built(epoch), second, "{epoch:?}");
        }
        for none in ["", "x", "-2000000000", "2000000000 ", "2000000000.5"] {
            assert_eq!(built(Some(none)), 1_767_225_600, "{none:?}");
        }
    }
}
