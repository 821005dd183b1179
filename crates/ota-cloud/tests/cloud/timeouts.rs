//! When a task counts as timed out, and what may still come after.

use super::*;
use ota_cloud::{EventKind, Finish, TimeoutFrom};

fn with(timeout_from: TimeoutFrom) -> CloudConfig {
    CloudConfig { timeout_from, timeout_interval: secs(60), ..config() }
}

#[test]
fn counted_from_the_last_report() {
    let mut desk = Desk::started(with(TimeoutFrom::LastReport));
    assert_eq!(desk.deadline(1_000), Some(at(61_000)));
    desk.downloading(50_000, "10");
    assert_eq!(desk.deadline(50_000), Some(at(110_000)));
    desk.version(100_000, "0.1.0");
    assert_eq!(desk.sent(100_050), ["offer 1.0.0"]);
    assert_eq!(desk.deadline(100_050), Some(at(160_050)));
    desk.cloud.handle_timeout(at(160_049));
    assert_eq!(desk.status(), Status::Delivered.max(Status::Downloading));
    desk.cloud.handle_timeout(at(160_050));
    assert_eq!(desk.status().number(), 10);
    assert_eq!(desk.task().finished, Some((at(160_050), Finish::TimedOut)));
    assert_eq!(desk.deadline(160_050), None);
}

#[test]
fn counted_from_the_push() {
    let mut desk = Desk::started(with(TimeoutFrom::Push));
    desk.downloading(50_000, "10");
    desk.version(55_000, "0.1.0");
    assert_eq!(desk.sent(55_050), ["offer 1.0.0"]);
    assert_eq!(desk.deadline(55_050), Some(at(61_000)));
    desk.cloud.handle_timeout(at(61_000));
    assert_eq!(desk.status(), Status::TimedOut);
}

/// As after a restart: the time before was too long, but nobody could be heard in it.
#[test]
fn a_task_has_its_whole_time_again_when_nobody_could_be_heard() {
    for from in [TimeoutFrom::Push, TimeoutFrom::LastReport] {
        let config = CloudConfig { serves_since: at(500_000), ..with(from) };
        let mut desk = Desk::started(config);
        assert_eq!(desk.deadline(1_000), Some(at(61_000)));
        desk.cloud.handle_timeout(at(500_001));
        assert_eq!(desk.deadline(500_001), Some(at(560_000)));
        assert_eq!(desk.task().finished, None);
        desk.cloud.handle_timeout(at(560_000));
        assert_eq!(desk.task().finished, Some((at(560_000), Finish::TimedOut)));
    }
}

#[test]
fn what_was_never_pushed_never_times_out() {
    for from in [TimeoutFrom::Push, TimeoutFrom::LastReport] {
        let mut desk = Desk::new(with(from));
        desk.start(0);
        assert_eq!(desk.deadline(0), None);
        desk.cloud.handle_timeout(Instant::from_secs(1_000_000));
        assert_eq!(desk.status(), Status::Offline);
    }
}

#[test]
fn away_is_silent_too() {
    let mut desk = Desk::started(with(TimeoutFrom::LastReport));
    desk.disconnect(2_000);
    desk.cloud.handle_timeout(at(61_000));
    assert_eq!(desk.status(), Status::TimedOut);
    // Not pushed again when it is back.
    desk.connect(70_000);
    desk.version(70_000, "0.1.0");
    assert_eq!(desk.sent(80_000), [""; 0]);
}

#[test]
fn a_tasks_own_interval() {
    let mut desk = Desk::new(with(TimeoutFrom::Push));
    desk.connect(0);
    let options = TaskOptions { timeout: Some(secs(3_600)), ..TaskOptions::default() };
    desk.cloud.start_task(at(0), &device(), "1.0.0", &options).unwrap();
    assert_eq!(desk.deadline(0), Some(Instant::from_secs(3_600)));
}

#[test]
fn a_late_done_is_accepted_and_marked() {
    let mut desk = Desk::started(with(TimeoutFrom::LastReport));
    desk.cloud.handle_timeout(at(61_000));
    let id = desk.task().id;
    // Progress alone does not open it again.
    desk.downloading(62_000, "60");
    assert_eq!((desk.status(), desk.task().percent), (Status::TimedOut, None));
    desk.outputs(62_000);
    desk.done(63_000);
    let task = desk.task();
    assert_eq!((task.status.number(), task.late), (6, true));
    assert_eq!(task.claimed, Some(at(63_000)));
    assert_eq!(task.finished, Some((at(61_000), Finish::TimedOut)));
    let claimed = EventKind::Claimed { task: id, late: true };
    assert!(
        desk.outputs(63_000)
            .iter()
            .any(|output| matches!(output, Output::Event(event) if event.kind == claimed))
    );
    desk.version(64_000, "1.0.0");
    assert!(desk.proved());
}

#[test]
fn a_late_done_after_a_fail() {
    let mut desk = Desk::started(config());
    desk.fail(2_000, "-1", "time_out");
    desk.done(3_000);
    assert_eq!((desk.status(), desk.task().late), (Status::Complete, true));
}

#[test]
fn a_late_fail_says_why() {
    let mut desk = Desk::started(with(TimeoutFrom::LastReport));
    desk.cloud.handle_timeout(at(61_000));
    desk.fail(62_000, "-3", "url expired");
    let task = desk.task();
    assert_eq!((task.status.number(), task.retcode, task.late), (5, -3, true));
    assert_eq!(task.finished, Some((at(61_000), Finish::TimedOut)));
}

#[test]
fn a_message_at_the_deadline_is_late() {
    let mut desk = Desk::started(with(TimeoutFrom::LastReport));
    desk.done(61_000);
    assert!(desk.task().late);
}

#[test]
fn an_overdue_cancel_finds_the_task_over() {
    let mut desk = Desk::started(with(TimeoutFrom::LastReport));
    let id = desk.task().id;
    assert!(desk.cloud.cancel_task(at(70_000), id).is_err());
    assert_eq!(desk.status(), Status::TimedOut);
}

#[test]
fn an_overdue_task_is_not_in_the_way_of_the_next() {
    let mut desk = Desk::started(with(TimeoutFrom::LastReport));
    let first = desk.task().id;
    let second = desk.start(61_000);
    assert_ne!(first, second);
    let record = desk.cloud.device(&device()).unwrap();
    assert_eq!(record.history[0].finished, Some((at(61_000), Finish::TimedOut)));
    let mut desk = Desk::started(with(TimeoutFrom::LastReport));
    desk.cloud.retry_task(at(61_000), first).unwrap();
    assert_eq!(desk.task().attempt, 2);
}
