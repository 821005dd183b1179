//! Chance from a seed.

/// The splitmix64 generator: one word of state, good enough for jitter, not for secrets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Rng(u64);

impl Rng {
    /// The sequence of this seed. Any seed is as good as any other.
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `0..=max`. The bias is below `max / 2^64`.
    pub(crate) fn up_to(&mut self, max: u64) -> u64 {
        let span = u128::from(max).saturating_add(1);
        let scaled = u128::from(self.next()).saturating_mul(span) >> 64;
        u64::try_from(scaled).unwrap_or(max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_published_sequence_of_seed_zero() {
        let mut rng = Rng::new(0);
        assert_eq!(rng.next(), 0xE220_A839_7B1D_CDAF);
        assert_eq!(rng.next(), 0x6E78_9E6A_A1B9_65F4);
    }

    #[test]
    fn stays_within_its_bound() {
        let mut rng = Rng::new(7);
        assert!((0..1_000).all(|_| rng.up_to(5) <= 5));
        assert_eq!(rng.up_to(0), 0);
    }
}
