//! Batches, by literal counts at literal times.

use super::*;
use ota_cloud::campaign::{
    Campaign, CampaignCounts, CampaignInput, CampaignPlan, CampaignState, CloseReason, PauseReason,
    StopRule,
};
use proptest::prelude::*;

fn counts(waiting: u64, open: u64, succeeded: u64, failed: u64) -> CampaignCounts {
    CampaignCounts { waiting, open, succeeded, failed }
}

const TICK: CampaignInput = CampaignInput::Tick;

#[test]
fn so_many_a_minute_and_so_many_at_once() {
    let plan = CampaignPlan { per_minute: 10, at_once: 4, ..CampaignPlan::default() };
    let mut batch = Campaign::new(plan);
    let change = batch.apply(at(0), TICK, &counts(100, 0, 0, 0));
    assert_eq!((change.admit, change.wake), (4, Some(at(60_000))));
    assert_eq!(batch.apply(at(1), TICK, &counts(96, 4, 0, 0)).admit, 0);
    // Whoever has ended frees a place, while the minute has any.
    assert_eq!(batch.apply(at(1_000), TICK, &counts(96, 0, 4, 0)).admit, 4);
    assert_eq!(batch.apply(at(2_000), TICK, &counts(92, 0, 8, 0)).admit, 2);
    assert_eq!(batch.apply(at(59_999), TICK, &counts(90, 0, 10, 0)).admit, 0);
    assert_eq!(batch.apply(at(60_000), TICK, &counts(90, 0, 10, 0)).admit, 4);
}

#[test]
fn it_begins_and_ends_by_its_plan() {
    let plan =
        CampaignPlan { starts: Some(at(1_000)), ends: Some(at(9_000)), ..CampaignPlan::default() };
    let mut batch = Campaign::new(plan);
    let change = batch.apply(at(0), TICK, &counts(3, 0, 0, 0));
    assert_eq!((change.admit, change.wake), (0, Some(at(1_000))));
    let change = batch.apply(at(1_000), TICK, &counts(3, 0, 0, 0));
    assert_eq!((change.admit, change.wake), (3, Some(at(9_000))));
    let change = batch.apply(at(9_000), TICK, &counts(0, 3, 0, 0));
    let ended = CampaignState::Closed(CloseReason::Ended);
    assert_eq!((change.admit, change.moved, change.wake), (0, Some(ended), None));
    // Nothing opens it again.
    assert_eq!(batch.apply(at(9_001), CampaignInput::Resume, &counts(9, 0, 0, 0)).admit, 0);
    assert_eq!(batch.state(), ended);
}

#[test]
fn it_is_complete_when_every_device_has_ended() {
    let mut batch = Campaign::new(CampaignPlan::default());
    assert_eq!(batch.apply(at(0), TICK, &counts(2, 0, 0, 0)).admit, 2);
    assert_eq!(batch.apply(at(1), TICK, &counts(0, 1, 1, 0)).moved, None);
    let complete = CampaignState::Closed(CloseReason::Complete);
    assert_eq!(batch.apply(at(2), TICK, &counts(0, 0, 1, 1)).moved, Some(complete));
    // Unless more may come to match.
    let plan = CampaignPlan { stays_open: true, ..CampaignPlan::default() };
    assert_eq!(Campaign::new(plan).apply(at(2), TICK, &counts(0, 0, 1, 1)).moved, None);
}

#[test]
fn failures_stop_it_until_a_person_lets_it_go_on() {
    let plan = CampaignPlan { stop: Some(StopRule::Failures(3)), ..CampaignPlan::default() };
    let mut batch = Campaign::new(plan);
    assert_eq!(batch.apply(at(0), TICK, &counts(1, 5, 0, 2)).admit, 1);
    let stopped = CampaignState::Paused(PauseReason::StopRule);
    let change = batch.apply(at(1), TICK, &counts(9, 4, 0, 3));
    assert_eq!((change.admit, change.moved), (0, Some(stopped)));
    assert!(!batch.offers());
    // The same three do not stop it again; three more do.
    let change = batch.apply(at(2), CampaignInput::Resume, &counts(9, 4, 0, 3));
    assert_eq!((change.admit, change.moved), (9, Some(CampaignState::Running)));
    assert!(batch.offers());
    assert_eq!(batch.apply(at(3), TICK, &counts(0, 4, 0, 5)).moved, None);
    assert_eq!(batch.apply(at(4), TICK, &counts(0, 4, 0, 6)).moved, Some(stopped));
}

#[test]
fn a_share_of_failures_stops_it_once_enough_have_ended() {
    let stop = StopRule::Percent { percent: 20, of_at_least: 10 };
    let plan = CampaignPlan { stop: Some(stop), ..CampaignPlan::default() };
    let state = |succeeded, failed| {
        let mut batch = Campaign::new(plan.clone());
        let _ = batch.apply(at(0), TICK, &counts(1, 1, succeeded, failed));
        batch.state()
    };
    assert_eq!(state(0, 9), CampaignState::Running);
    assert_eq!(state(8, 2), CampaignState::Running);
    assert_eq!(state(7, 3), CampaignState::Paused(PauseReason::StopRule));
}

#[test]
fn pause_and_cancel_are_at_once() {
    let mut batch = Campaign::new(CampaignPlan::default());
    let change = batch.apply(at(0), CampaignInput::Pause, &counts(5, 0, 0, 0));
    let paused = CampaignState::Paused(PauseReason::Asked);
    assert_eq!((change.admit, change.moved), (0, Some(paused)));
    let change = batch.apply(at(0), CampaignInput::Cancel, &counts(5, 0, 0, 0));
    let cancelled = CampaignState::Closed(CloseReason::Cancelled);
    assert_eq!((change.admit, change.moved), (0, Some(cancelled)));
}

#[test]
fn a_minute_that_is_over_or_of_a_paused_batch_is_not_waited_for() {
    let plan = CampaignPlan { per_minute: 2, at_once: 2, ..CampaignPlan::default() };
    let mut batch = Campaign::new(plan);
    let change = batch.apply(at(0), TICK, &counts(9, 0, 0, 0));
    assert_eq!((change.admit, change.wake), (2, Some(at(60_000))));
    let mut paused = batch.clone();
    assert_eq!(paused.apply(at(1), CampaignInput::Pause, &counts(7, 2, 0, 0)).wake, None);
    // Nobody has ended: the next who does is who frees a place.
    for time in [60_000, 60_001] {
        let change = batch.apply(at(time), TICK, &counts(7, 2, 0, 0));
        assert_eq!((change.admit, change.wake), (0, None), "{time}");
    }
}

proptest! {
    /// A whole batch: never more than the plan allows, and it ends.
    #[test]
    fn every_batch_ends_within_its_plan(
        waiting in 0_u64..200, per_minute in 0_u32..20, at_once in 0_u32..20,
        ends in proptest::collection::vec(any::<bool>(), 1..40),
    ) {
        let plan = CampaignPlan { per_minute, at_once, ..CampaignPlan::default() };
        let mut batch = Campaign::new(plan);
        let mut now = counts(waiting, 0, 0, 0);
        let (mut time, mut minute) = (0_u64, 0_u32);
        for step in 0.. {
            prop_assert!(step < 1_000, "{batch:?} {now:?}");
            let change = batch.apply(at(time), TICK, &now);
            if change.moved.is_some() {
                break;
            }
            minute += change.admit;
            now.waiting -= u64::from(change.admit);
            now.open += u64::from(change.admit);
            prop_assert!(at_once == 0 || now.open <= u64::from(at_once));
            prop_assert!(per_minute == 0 || minute <= per_minute);
            // One of those under way ends, else the time comes that it asks for.
            if now.open > 0 {
                now.open -= 1;
                let well = ends[usize::try_from(step).unwrap() % ends.len()];
                if well { now.succeeded += 1 } else { now.failed += 1 }
            } else if let Some(wake) = change.wake {
                prop_assert!(wake > at(time));
                time = wake.as_millis();
                minute = 0;
            }
        }
        prop_assert_eq!(now.succeeded + now.failed, waiting);
        let again: Campaign = serde_json::from_slice(&serde_json::to_vec(&batch).unwrap()).unwrap();
        prop_assert_eq!(again, batch);
    }
}
