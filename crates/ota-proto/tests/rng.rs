//! Random numbers from a seed: the same on every machine, and within their bounds.

use ota_proto::{Micros, Rng};

/// The first numbers of SplitMix64 from the seed 1234567, as published with the algorithm.
#[test]
fn the_numbers_are_those_of_splitmix64() {
    let mut rng = Rng::new(1_234_567);
    for number in [
        6_457_827_717_110_365_317,
        3_203_168_211_198_807_973,
        9_817_491_932_198_370_423,
        4_593_380_528_125_082_431,
        16_408_922_859_458_223_821,
    ] {
        assert_eq!(rng.next_u64(), number);
    }
}

#[test]
fn a_number_below_a_bound_reaches_each_value_and_not_the_bound() {
    let mut rng = Rng::new(1);
    let mut met = [0_u32; 7];
    for _ in 0..7_000 {
        let number = usize::try_from(rng.below(7)).unwrap_or(usize::MAX);
        met[number] += 1;
    }
    assert!(met.iter().all(|times| (800..1_200).contains(times)), "{met:?}");
    assert_eq!(rng.below(0), 0);
    assert_eq!(rng.below(1), 0);
    assert!((0..100).any(|_| rng.below(u64::MAX) > u64::MAX / 2));
}

#[test]
fn a_pause_may_be_its_longest_and_doubles_up_to_its_cap() {
    let most = Micros::from_micros(3);
    let mut rng = Rng::new(2);
    let met: Vec<_> = (0..200).map(|_| rng.up_to(most)).collect();
    assert_eq!(met.iter().max(), Some(&most));
    assert_eq!(met.iter().min(), Some(&Micros::ZERO));
    let (base, cap) = (Micros::from_secs(1), Micros::from_secs(20));
    for (exponent, longest) in [(0, 1), (1, 2), (4, 16), (5, 20), (31, 20), (32, 20), (255, 20)] {
        let longest = Micros::from_secs(longest);
        let met = (0..200).map(|_| rng.backoff(base, exponent, cap)).max().unwrap_or_default();
        assert!(met <= longest && met > longest.part(2), "{exponent}: {met:?}");
    }
}
