//! Random numbers from a seed, the only source of randomness.

use crate::time::Micros;

/// A small seeded generator (SplitMix64). For jitter, never for secrets.
///
/// ```
/// use ota_proto::{Micros, Rng};
///
/// let (base, cap) = (Micros::from_secs(1), Micros::from_secs(30));
/// let pause = Rng::new(7).backoff(base, 3, cap); // the fourth pause in a row
/// assert!(pause <= Micros::from_secs(8));
/// assert_eq!(pause, Rng::new(7).backoff(base, 3, cap));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub struct Rng(u64);

impl Rng {
    /// Makes a generator. The same seed gives the same numbers on every machine.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 when `bound` is 0.
    // Not inlined: each copy costs flash.
    #[inline(never)]
    pub fn below(&mut self, bound: u64) -> u64 {
        let product = u128::from(self.next_u64()).wrapping_mul(u128::from(bound));
        u64::try_from(product >> 64).unwrap_or(0)
    }

    /// A time from zero up to `max`.
    pub fn up_to(&mut self, max: Micros) -> Micros {
        Micros::from_micros(self.below(max.as_micros().saturating_add(1)))
    }

    /// Exponential back-off with full jitter: from zero up to `base` doubled `exponent` times,
    /// at most `cap`.
    pub fn backoff(&mut self, base: Micros, exponent: u8, cap: Micros) -> Micros {
        self.up_to(Self::backoff_most(base, exponent, cap))
    }

    /// The longest pause that [`Rng::backoff`] may give.
    pub(crate) fn backoff_most(base: Micros, exponent: u8, cap: Micros) -> Micros {
        let factor = 1_u32.checked_shl(u32::from(exponent)).unwrap_or(u32::MAX);
        base.times(factor).min(cap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_its_cap() {
        let mut rng = Rng::new(7);
        let (base, cap) = (Micros::from_secs(1), Micros::from_secs(30));
        for exponent in 0..=255 {
            let most = if exponent < 5 { base.times(1 << exponent) } else { cap };
            for _ in 0..50 {
                assert!(rng.backoff(base, exponent, cap) <= most);
            }
        }
        assert_eq!(rng.below(0), 0);
    }
}
