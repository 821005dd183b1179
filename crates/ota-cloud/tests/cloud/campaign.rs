//! Batches, by literal counts at literal times.

use super::*;
use ota_cloud::campaign::{
    BatchRef, Campaign, CampaignChange, CampaignInput, CampaignPlan, CampaignState, CloseReason,
    Gate, Hold, Pace, PauseReason, Scale, Slot, StopRule, Tally, Waits, Wave, WaveCounts, Who,
    Window, count_name, read_count,
};
use proptest::prelude::*;

fn counts(waiting: u64, open: u64, succeeded: u64, failed: u64) -> WaveCounts {
    WaveCounts { waiting, open, succeeded, failed, ..WaveCounts::default() }
}

const TICK: CampaignInput = CampaignInput::Tick;
const SCALE: Scale = Scale { image: 1_000, at_most: u32::MAX, again: false };

/// One input.
fn put(
    batch: &mut Campaign,
    millis: u64,
    input: CampaignInput,
    counts: &[WaveCounts],
) -> CampaignChange {
    batch.apply(at(millis), input, counts, SCALE)
}

fn wave(size: u64) -> Wave {
    Wave { who: Who::Count(size), size, ..Wave::default() }
}

fn one(wave: Wave) -> Campaign {
    Campaign::new(CampaignPlan { waves: vec![wave], ..CampaignPlan::default() })
}

fn waves(waves: Vec<Wave>) -> Campaign {
    Campaign::new(CampaignPlan { waves, ..CampaignPlan::default() })
}

#[test]
fn so_many_a_minute_and_so_many_at_once() {
    let pace = Pace { per_minute: 10, at_once: 4, ..Pace::default() };
    let mut batch = one(Wave { pace, ..wave(100) });
    let change = put(&mut batch, 0, TICK, &[counts(100, 0, 0, 0)]);
    assert_eq!((change.admit, change.wake), (4, Some(at(60_000))));
    assert_eq!(put(&mut batch, 1, TICK, &[counts(96, 4, 0, 0)]).admit, 0);
    // Whoever has ended frees a place, while the minute has any.
    assert_eq!(put(&mut batch, 1_000, TICK, &[counts(96, 0, 4, 0)]).admit, 4);
    assert_eq!(put(&mut batch, 2_000, TICK, &[counts(92, 0, 8, 0)]).admit, 2);
    assert_eq!(put(&mut batch, 59_999, TICK, &[counts(90, 0, 10, 0)]).admit, 0);
    assert_eq!(put(&mut batch, 60_000, TICK, &[counts(90, 0, 10, 0)]).admit, 4);
    // A silent device frees its place too.
    let silent = WaveCounts { stalled: 3, silent: 4, ..counts(86, 4, 10, 0) };
    assert_eq!(put(&mut batch, 60_001, TICK, &[silent]).admit, 3);
}

#[test]
fn bytes_a_second_limit_who_starts() {
    let pace = Pace { bytes_per_second: 500, ..Pace::default() };
    let mut batch = one(Wave { pace, ..wave(9) });
    let change = put(&mut batch, 0, TICK, &[counts(9, 0, 0, 0)]);
    assert_eq!((change.admit, change.wake), (1, Some(at(2_000))));
    assert_eq!(put(&mut batch, 1_999, TICK, &[counts(8, 1, 0, 0)]).admit, 0);
    assert_eq!(put(&mut batch, 2_000, TICK, &[counts(8, 1, 0, 0)]).admit, 1);
}

#[test]
fn it_begins_and_ends_by_its_plan() {
    let plan =
        CampaignPlan { starts: Some(at(1_000)), ends: Some(at(9_000)), ..CampaignPlan::default() };
    let mut batch = Campaign::new(plan);
    let change = put(&mut batch, 0, TICK, &[counts(3, 0, 0, 0)]);
    assert_eq!((change.admit, change.wake), (0, Some(at(1_000))));
    let change = put(&mut batch, 1_000, TICK, &[counts(3, 0, 0, 0)]);
    assert_eq!((change.admit, change.wake), (3, Some(at(9_000))));
    let change = put(&mut batch, 9_000, TICK, &[counts(0, 3, 0, 0)]);
    let ended = CampaignState::Closed(CloseReason::Ended);
    assert_eq!((change.admit, change.moved, change.wake), (0, Some(ended), None));
    // Nothing opens it again.
    assert_eq!(put(&mut batch, 9_001, CampaignInput::Resume, &[counts(9, 0, 0, 0)]).admit, 0);
    assert_eq!(batch.state(), ended);
}

#[test]
fn it_is_complete_when_every_device_has_ended() {
    let mut batch = Campaign::default();
    assert_eq!(put(&mut batch, 0, TICK, &[counts(2, 0, 0, 0)]).admit, 2);
    assert_eq!(put(&mut batch, 1, TICK, &[counts(0, 1, 1, 0)]).moved, None);
    let complete = CampaignState::Closed(CloseReason::Complete);
    assert_eq!(put(&mut batch, 2, TICK, &[counts(0, 0, 1, 1)]).moved, Some(complete));
    // Devices that failed may start again.
    let again = put(&mut batch, 3, CampaignInput::Reopen, &[counts(0, 1, 1, 0)]);
    assert_eq!(again.moved, Some(CampaignState::Running));
}

#[test]
fn failures_stop_it_until_a_person_lets_it_go_on() {
    let stop = StopRule { failures: Some(3), ..StopRule::default() };
    let mut batch = one(Wave { stop, ..wave(20) });
    assert_eq!(put(&mut batch, 0, TICK, &[counts(1, 5, 0, 2)]).admit, 1);
    let stopped = CampaignState::Paused(PauseReason::StopRule);
    let change = put(&mut batch, 1, TICK, &[counts(9, 4, 0, 3)]);
    assert_eq!((change.admit, change.moved), (0, Some(stopped)));
    assert_eq!(batch.hold(at(1)), Some(Hold::Paused));
    // The same three do not stop it again; three more do.
    let change = put(&mut batch, 2, CampaignInput::Resume, &[counts(9, 4, 0, 3)]);
    assert_eq!((change.admit, change.moved), (9, Some(CampaignState::Running)));
    assert!(change.released && batch.hold(at(2)).is_none());
    assert_eq!(put(&mut batch, 3, TICK, &[counts(0, 4, 0, 5)]).moved, None);
    // A device that failed and is tried again counts as well.
    let again = WaveCounts { again: 1, ..counts(0, 4, 0, 5) };
    assert_eq!(put(&mut batch, 4, TICK, &[again]).moved, Some(stopped));
}

#[test]
fn a_share_of_failures_stops_it_once_enough_have_ended() {
    let stop = StopRule { percent: Some(20), of_at_least: 10, ..StopRule::default() };
    let state = |succeeded, failed| {
        let mut batch = one(Wave { stop, ..wave(99) });
        let _ = put(&mut batch, 0, TICK, &[counts(1, 1, succeeded, failed)]);
        batch.state()
    };
    assert_eq!(state(0, 9), CampaignState::Running);
    assert_eq!(state(9, 1), CampaignState::Running);
    assert_eq!(state(8, 2), CampaignState::Paused(PauseReason::StopRule));
}

#[test]
fn devices_without_progress_stop_it_and_a_rule_may_cancel() {
    let stop = StopRule { silent: Some(2), cancel: true, ..StopRule::default() };
    let mut batch = one(Wave { stop, ..wave(9) });
    let silent = |silent| WaveCounts { silent, ..counts(4, 5, 0, 0) };
    assert_eq!(put(&mut batch, 0, TICK, &[silent(1)]).moved, None);
    let closed = CampaignState::Closed(CloseReason::StopRule);
    let change = put(&mut batch, 1, TICK, &[silent(2)]);
    assert_eq!((change.admit, change.moved), (0, Some(closed)));
}

#[test]
fn a_wave_opens_the_next_by_successes_soak_time_and_a_person() {
    let gate = Gate { successes: Some(2), soak: 60, ..Gate::default() };
    let last = Gate { person: true, ..Gate::default() };
    let mut batch = waves(vec![
        Wave { gate, ..wave(3) },
        Wave { gate: last, ..wave(5) },
        Wave { who: Who::Rest, size: 7, ..Wave::default() },
    ]);
    let rest = [counts(5, 0, 0, 0), counts(7, 0, 0, 0)];
    let with = |first| [first, rest[0], rest[1]];
    assert_eq!(put(&mut batch, 0, TICK, &with(counts(3, 0, 0, 0))).admit, 3);
    assert_eq!(batch.waits(at(0)), Some(Waits::Devices));
    assert_eq!(put(&mut batch, 1, TICK, &with(counts(0, 2, 1, 0))).entered, None);
    let change = put(&mut batch, 10_000, TICK, &with(counts(0, 1, 2, 0)));
    assert_eq!((change.entered, change.wake), (None, Some(at(70_000))));
    assert_eq!(batch.waits(at(10_000)), Some(Waits::Soak(at(70_000))));
    let change = put(&mut batch, 70_000, TICK, &with(counts(0, 1, 2, 0)));
    assert_eq!((change.entered, change.admit), (Some(1), 5));
    // The second wave has ended, and only a person opens the third.
    let ended = [counts(0, 0, 3, 0), counts(0, 0, 5, 0), counts(7, 0, 0, 0)];
    assert_eq!(put(&mut batch, 80_000, TICK, &ended).admit, 0);
    assert_eq!(batch.waits(at(80_000)), Some(Waits::Person));
    let rev = batch.rev();
    let change = put(&mut batch, 80_001, CampaignInput::Next, &ended);
    assert_eq!((change.entered, change.admit, batch.rev()), (Some(2), 7, rev + 1));
    assert_eq!(batch.waits(at(80_001)), None);
}

#[test]
fn a_failure_of_an_earlier_wave_stops_a_later_one() {
    let stop = StopRule { failures: Some(1), ..StopRule::default() };
    let gate = Gate { successes: Some(1), ..Gate::default() };
    let mut batch = waves(vec![Wave { stop, gate, ..wave(2) }, wave(2)]);
    let change = put(&mut batch, 0, TICK, &[counts(0, 1, 1, 0), counts(2, 0, 0, 0)]);
    assert_eq!((change.entered, change.admit), (Some(1), 2));
    let change = put(&mut batch, 1, TICK, &[counts(0, 0, 1, 1), counts(0, 2, 0, 0)]);
    assert_eq!(change.moved, Some(CampaignState::Paused(PauseReason::StopRule)));
}

#[test]
fn a_weekly_window_holds_devices_and_offers() {
    // 1970 began on a Thursday: bit 3. From one to two o'clock in a zone an hour east.
    let window = Window { days: 0b1000, from: 60, until: 120, offset: 60 };
    let plan = CampaignPlan { windows: vec![window], ..CampaignPlan::default() };
    let mut batch = Campaign::new(plan);
    assert_eq!(put(&mut batch, 0, TICK, &[counts(2, 0, 0, 0)]).admit, 2);
    let hour = 3_600_000;
    let change = put(&mut batch, hour, TICK, &[counts(0, 2, 0, 0)]);
    assert_eq!((batch.hold(at(hour)), change.released), (Some(Hold::Window), false));
    let week = 7 * 24 * hour;
    assert_eq!(change.wake, Some(at(week)));
    let change = put(&mut batch, week, TICK, &[counts(0, 2, 0, 0)]);
    assert!(change.released && batch.hold(at(week)).is_none());
}

#[test]
fn pause_and_cancel_are_at_once() {
    let mut batch = Campaign::default();
    let change = put(&mut batch, 0, CampaignInput::Pause, &[counts(5, 0, 0, 0)]);
    let paused = CampaignState::Paused(PauseReason::Asked);
    assert_eq!((change.admit, change.moved), (0, Some(paused)));
    let change = put(&mut batch, 0, CampaignInput::Cancel, &[counts(5, 0, 0, 0)]);
    let cancelled = CampaignState::Closed(CloseReason::Cancelled);
    assert_eq!((change.admit, change.moved), (0, Some(cancelled)));
}

#[test]
fn a_minute_that_is_over_or_of_a_paused_batch_is_not_waited_for() {
    let pace = Pace { per_minute: 2, at_once: 2, ..Pace::default() };
    let mut batch = one(Wave { pace, ..wave(9) });
    let change = put(&mut batch, 0, TICK, &[counts(9, 0, 0, 0)]);
    assert_eq!((change.admit, change.wake), (2, Some(at(60_000))));
    let mut paused = batch.clone();
    let change = put(&mut paused, 1, CampaignInput::Pause, &[counts(7, 2, 0, 0)]);
    assert_eq!(change.wake, None);
    // Nobody has ended: the next who does is who frees a place.
    for time in [60_000, 60_001] {
        let change = put(&mut batch, time, TICK, &[counts(7, 2, 0, 0)]);
        assert_eq!((change.admit, change.wake), (0, None), "{time}");
    }
}

#[test]
fn a_plan_that_cannot_be_meant_is_refused() {
    let plan = |waves: Vec<Wave>| CampaignPlan { waves, ..CampaignPlan::default() };
    let with = |gate: Gate, stop: StopRule| plan(vec![Wave { gate, stop, ..wave(1) }]);
    let of = |who| plan(vec![Wave { who, ..Wave::default() }]);
    let (gate, stop) = (Gate::default(), StopRule::default());
    let bad = [
        of(Who::Count(0)),
        of(Who::Percent(0)),
        of(Who::Percent(101)),
        of(Who::Devices(Vec::new())),
        with(Gate { success_percent: Some(101), ..gate }, stop),
        with(Gate { successes: Some(0), ..gate }, stop),
        with(Gate { successes: Some(1), success_percent: Some(1), ..gate }, stop),
        with(gate, StopRule { percent: Some(101), ..stop }),
        with(gate, StopRule { failures: Some(0), ..stop }),
        with(Gate { soak: u64::MAX, ..gate }, stop),
        plan(vec![wave(1); 21]),
        CampaignPlan { starts: Some(at(9)), ends: Some(at(8)), ..CampaignPlan::default() },
        CampaignPlan { ends: Some(at(5)), ..CampaignPlan::default() },
        CampaignPlan {
            windows: vec![Window { days: 1, from: 9, until: 9, offset: 0 }],
            ..CampaignPlan::default()
        },
    ];
    for plan in bad {
        assert!(plan.check(at(5)).is_err(), "{plan:?}");
    }
    assert_eq!(with(gate, stop).check(at(5)), Ok(()));
}

#[test]
fn the_name_of_a_count_is_read_back() {
    let of = BatchRef { number: 7, wave: 2 };
    for slot in [Slot::Status(Status::TimedOut), Slot::Silent, Slot::Stalled, Slot::Again] {
        let name = count_name("P", of, slot);
        assert_eq!(read_count(&name), Some(("P", of, slot)), "{name}");
    }
    assert_eq!(read_count("P/task/5"), None);
    let mut tally = Tally::default();
    tally.add(Slot::Status(Status::Burning), 2);
    tally.add(Slot::Status(Status::Burning), -1);
    assert_eq!(tally.counts(3), counts(3, 1, 0, 0));
}

#[test]
fn a_stored_batch_of_before_waves_is_one_wave_without_limits() {
    let batch: Campaign = serde_json::from_str(
        r#"{"plan":{"per_minute":3,"stays_open":false},"state":"Running","minute":null,"forgiven":[]}"#,
    )
    .unwrap();
    assert_eq!(batch, Campaign::default());
}

/// The devices of a batch, by their waves.
fn wave_of(batch: &Campaign, started: u64, all: u64) -> Vec<u64> {
    batch.waiting(started, all)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A whole batch: never more than the plan allows, no wave before its gate, and it ends.
    #[test]
    fn every_batch_ends_within_its_plan(
        sizes in proptest::collection::vec(1_u64..60, 1..4), per_minute in 0_u32..20,
        at_once in 0_u32..20, soak in 0_u64..100,
        ends in proptest::collection::vec(any::<bool>(), 1..40),
    ) {
        let pace = Pace { per_minute, at_once, ..Pace::default() };
        let gate = Gate { soak, ..Gate::default() };
        let mut batch = waves(sizes.iter().map(|size| Wave { pace, gate, ..wave(*size) }).collect());
        let all: u64 = sizes.iter().sum();
        let mut now: Vec<WaveCounts> = sizes.iter().map(|size| counts(*size, 0, 0, 0)).collect();
        let (mut time, mut minute, mut started) = (0_u64, (0_u64, 0_u32), 0_u64);
        for step in 0.. {
            prop_assert!(step < 3_000, "{batch:?} {now:?}");
            let change = put(&mut batch, time, TICK, &now);
            if change.moved.is_some() {
                break;
            }
            if time >= minute.0 + 60_000 {
                minute = (time, 0);
            }
            minute.1 += change.admit;
            for _ in 0..change.admit {
                let wave = batch.wave_at(started);
                prop_assert!(wave <= batch.wave());
                now[wave].waiting -= 1;
                now[wave].open += 1;
                started += 1;
            }
            prop_assert_eq!(
                wave_of(&batch, started, all),
                now.iter().map(|wave| wave.waiting).collect::<Vec<_>>()
            );
            let open: u64 = now.iter().map(|wave| wave.open).sum();
            prop_assert!(at_once == 0 || open <= u64::from(at_once));
            prop_assert!(per_minute == 0 || minute.1 <= per_minute);
            let begun = now.iter().take(batch.wave());
            prop_assert!(begun.into_iter().all(|wave| wave.waiting == 0 && wave.open == 0));
            // One of those under way ends, else the time comes that it asks for.
            if let Some(under_way) = now.iter_mut().find(|wave| wave.open > 0) {
                under_way.open -= 1;
                let well = ends[usize::try_from(step).unwrap() % ends.len()];
                if well { under_way.succeeded += 1 } else { under_way.failed += 1 }
            } else if let Some(wake) = change.wake {
                prop_assert!(wake > at(time));
                time = wake.as_millis();
            }
        }
        let done: u64 = now.iter().map(|wave| wave.succeeded + wave.failed).sum();
        prop_assert_eq!(done, all);
        let again: Campaign = serde_json::from_slice(&serde_json::to_vec(&batch).unwrap()).unwrap();
        prop_assert_eq!(again, batch);
    }

    /// Whatever happens in whatever order: a paused or closed batch starts nobody, and never more
    /// start than wait in waves that have begun.
    #[test]
    fn nobody_starts_while_it_is_paused_or_over(
        inputs in proptest::collection::vec((0_u8..6, 0_u64..9, 0_u64..9, 0_u64..9), 1..60),
    ) {
        let stop = StopRule { failures: Some(3), ..StopRule::default() };
        let gate = Gate { successes: Some(2), ..Gate::default() };
        let mut batch = waves(vec![Wave { stop, gate, ..wave(9) }, wave(9)]);
        for (step, (input, waiting, succeeded, failed)) in inputs.into_iter().enumerate() {
            let input = match input {
                0 => CampaignInput::Pause,
                1 => CampaignInput::Resume,
                2 => CampaignInput::Next,
                3 => CampaignInput::Reopen,
                _ => TICK,
            };
            let now = [counts(waiting, 1, succeeded, failed), counts(9, 0, 0, 0)];
            let rev = batch.rev();
            let change = put(&mut batch, step as u64, input, &now);
            if batch.state() != CampaignState::Running {
                prop_assert_eq!(change.admit, 0);
            }
            let ready = waiting + if batch.wave() > 0 { 9 } else { 0 };
            prop_assert!(u64::from(change.admit) <= ready);
            prop_assert_eq!(
                batch.rev() > rev,
                change.moved.is_some() || change.entered.is_some() || input != TICK
            );
        }
    }
}
