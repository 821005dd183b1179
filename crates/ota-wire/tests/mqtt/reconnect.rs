//! Back-off.

use std::time::Duration;

use ota_proto::{Instant, Micros};
use ota_wire::mqtt::{Attempt, AttemptEnd, Reconnect, ReconnectConfig};

use crate::common::{at, ms};

fn new(seed: u64) -> Reconnect {
    Reconnect::new(ReconnectConfig::default(), seed, at(0))
}

/// One attempt that ends `after` its start.
fn attempt(reconnect: &mut Reconnect, after: Duration, how: AttemptEnd, open: bool) -> Attempt {
    let now = reconnect.next();
    reconnect.handle_connect(now);
    if how == AttemptEnd::Lost {
        reconnect.handle_up(now);
    }
    reconnect.handle_ended(now + after, how, open)
}

#[test]
fn the_first_connection_is_spread_over_5_s() {
    let firsts: Vec<_> = (0..1_000).map(|seed| new(seed).next()).collect();
    assert!(firsts.iter().all(|&first| first <= at(5)));
    for second in 0..5 {
        let here = firsts.iter().filter(|first| (at(second)..at(second + 1)).contains(first));
        assert!((120..=280).contains(&here.count()), "second {second}");
    }
}

#[test]
fn connects_are_5_s_apart_and_waits_grow_to_the_cap() {
    for (open, cap) in [(false, 300), (true, 30)] {
        let (mut longest, mut sum) = (Duration::ZERO, Duration::ZERO);
        for seed in 0..200 {
            let mut reconnect = new(seed);
            for round in 0..12_u32 {
                let start = reconnect.next();
                let end = start + Duration::from_millis(10);
                let next =
                    attempt(&mut reconnect, Duration::from_millis(10), AttemptEnd::Failed, open);
                assert!(next.at >= start + Duration::from_secs(5), "minimum interval");
                assert!(next.at.since(end) <= Duration::from_secs(cap), "cap");
                assert_eq!(next.at, reconnect.next());
                let range = 5_u64.saturating_mul(1 << round);
                assert!(next.at.since(start) <= Duration::from_secs(5 + range), "exponential");
                if round == 11 {
                    longest = longest.max(next.at.since(end));
                    sum += next.at.since(end);
                }
            }
        }
        assert!(longest > Duration::from_secs(cap * 9 / 10));
        let mean = sum / 200;
        assert!(mean > Duration::from_secs(cap * 4 / 10), "full jitter has its mean at the half");
    }
}

#[test]
fn the_floor_counts_from_the_connect_packet() {
    let mut reconnect = new(1);
    reconnect.handle_connect(at(10));
    reconnect.handle_connect(at(18));
    assert!(reconnect.handle_ended(at(19), AttemptEnd::Planned, false).at == at(23));
    reconnect.handle_connect(at(23));
    assert!(reconnect.handle_ended(at(99), AttemptEnd::Planned, false).at == at(99));
}

#[test]
fn only_a_session_of_60_s_forgets_the_failures() {
    let after = |millis| {
        (0..100)
            .map(|seed| {
                let mut reconnect = new(seed);
                for _ in 0..8 {
                    attempt(&mut reconnect, Duration::ZERO, AttemptEnd::Failed, false);
                }
                let start = reconnect.next();
                let length = Duration::from_millis(millis);
                let next = attempt(&mut reconnect, length, AttemptEnd::Lost, false);
                next.at.since(start + length)
            })
            .max()
            .unwrap()
    };
    assert!(after(60_000) <= Duration::from_secs(5));
    assert!(after(59_999) > Duration::from_secs(200));
}

#[test]
fn a_refused_login_is_slow_at_once() {
    for seed in 0..100 {
        let mut reconnect = new(seed);
        let start = reconnect.next();
        let next = attempt(&mut reconnect, Duration::ZERO, AttemptEnd::LoginRefused, true);
        let wait = next.at.since(start);
        assert!((225..=300).contains(&wait.as_secs()), "{wait:?}");
    }
}

#[test]
fn three_kicks_within_a_minute_are_reported_once() {
    let config = ReconnectConfig { base: Micros::ZERO, ..ReconnectConfig::default() };
    let mut reconnect = Reconnect::new(config, 3, at(0));
    let second = Duration::from_secs(1);
    let kicks: Vec<_> =
        (0..7).map(|_| attempt(&mut reconnect, second, AttemptEnd::Lost, false).kicked).collect();
    assert_eq!(kicks, [false, false, true, false, false, true, false]);
    // Rarer ones are ordinary losses.
    let mut reconnect = Reconnect::new(config, 3, at(0));
    let length = Duration::from_secs(31);
    assert!((0..9).all(|_| !attempt(&mut reconnect, length, AttemptEnd::Lost, false).kicked));
}

#[test]
fn the_same_seed_gives_the_same_waits() {
    let waits = |seed| {
        let mut reconnect = new(seed);
        (0..20)
            .map(|_| attempt(&mut reconnect, Duration::ZERO, AttemptEnd::Failed, false).at)
            .collect::<Vec<Instant>>()
    };
    assert_eq!(waits(5), waits(5));
    assert_ne!(waits(5), waits(6));
}

#[test]
fn extreme_numbers_saturate() {
    let most = Duration::MAX;
    let long = Micros::from(most);
    let config =
        ReconnectConfig { min_interval: long, base: long, cap: long, ..Default::default() };
    let mut reconnect = Reconnect::new(config, 1, ms(1));
    for _ in 0..40 {
        attempt(&mut reconnect, most, AttemptEnd::Failed, false);
    }
    assert_eq!(reconnect.next(), Instant::MAX);
}
