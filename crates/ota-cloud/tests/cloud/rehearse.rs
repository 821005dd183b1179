//! A batch against a fleet that does not exist.

use super::*;
use ota_cloud::campaign::{CampaignPlan, Gate, Pace, StopRule, Wave, Who};
use ota_cloud::rehearse::{Member, Rehearsal, Rehearsed};

fn fleet(devices: usize, takes: u64) -> Vec<Member> {
    let member = |n| Member {
        identity: Identity::new("TESTPROD01", &format!("d{n}")).unwrap(),
        version: "0.1.0".into(),
        connects: Some(at(0)),
        takes: Duration::from_secs(takes),
    };
    (0..devices).map(member).collect()
}

fn play(plan: &CampaignPlan, fleet: &[Member], fail_per_mille: u16) -> Rehearsed {
    let firmware = Firmware::new("TESTPROD01", "1.0.0", digest(), 1_000_000);
    let (options, config) = (TaskOptions::default(), config());
    let (firmware, options, config) = (&firmware, &options, &config);
    Rehearsal { plan, fleet, options, firmware, config, now: at(0), fail_per_mille }.play()
}

fn waves(waves: Vec<Wave>) -> CampaignPlan {
    CampaignPlan { waves, ..CampaignPlan::default() }
}

fn wave(size: u64) -> Wave {
    Wave { who: Who::Count(size), size, ..Wave::default() }
}

#[test]
fn each_wave_ends_when_its_devices_pace_and_gate_let_it() {
    let gate = Gate { soak: 600, ..Gate::default() };
    let pace = Pace { at_once: 10, ..Pace::default() };
    let plan = waves(vec![Wave { gate, ..wave(5) }, Wave { pace, ..wave(95) }]);
    let played = play(&plan, &fleet(100, 60), 0);
    let ends: Vec<_> = played.waves.iter().map(|wave| (wave.begins, wave.ends)).collect();
    // Ten at a time take ten rounds of a minute.
    assert_eq!(ends, [(Some(0), Some(60)), (Some(660), Some(1_260))]);
    assert_eq!((played.ends, played.stopped, played.never), (Some(1_260), None, 0));
    assert_eq!(played.peak_bytes_per_second, 166_660);
}

#[test]
fn a_stop_rule_trips_at_the_failures_that_it_is_for() {
    let stop = StopRule { percent: Some(5), of_at_least: 100, ..StopRule::default() };
    let pace = Pace { at_once: 100, ..Pace::default() };
    let plan = waves(vec![Wave { stop, pace, ..wave(1_000) }]);
    let fleet = fleet(1_000, 60);
    assert_eq!(play(&plan, &fleet, 10).stopped, None);
    let bad = play(&plan, &fleet, 200);
    assert!(matches!(bad.stopped, Some((1, seconds)) if seconds <= 120), "{bad:?}");
    assert!(bad.waves[0].left >= 800 && bad.ends.is_none(), "{bad:?}");
}

#[test]
fn devices_that_never_connect_keep_a_batch_open_and_late_ones_come_later() {
    let mut fleet = fleet(3, 60);
    fleet[1].connects = None;
    fleet[2].connects = Some(at(3_600_000));
    let played = play(&CampaignPlan::default(), &fleet, 0);
    assert_eq!((played.never, played.ends, played.waves[0].left), (1, None, 1));
    assert_eq!(played.waves[0].ends, Some(3_660));
}

#[test]
fn a_person_opens_each_gate_at_once_in_a_rehearsal() {
    let gate = Gate { person: true, ..Gate::default() };
    let plan = waves(vec![Wave { gate, ..wave(1) }, wave(1)]);
    assert_eq!(play(&plan, &fleet(2, 60), 0).ends, Some(120));
}

#[test]
#[ignore = "takes seconds of real time: the gate runs it in a step of its own"]
#[allow(clippy::disallowed_methods, reason = "the time that it takes is what is tested")]
fn a_hundred_thousand_devices_are_rehearsed_in_ten_seconds() {
    let pace = Pace { per_minute: 2_000, ..Pace::default() };
    let plan = waves(vec![Wave { pace, ..wave(100_000) }]);
    let begin = std::time::Instant::now();
    let played = play(&plan, &fleet(100_000, 90), 10);
    assert_eq!(played.waves[0].left, 0);
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
}
