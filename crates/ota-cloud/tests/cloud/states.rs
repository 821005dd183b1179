//! The platform's numbers for each state (docs/protocol.md, The cloud's side), results and tasks.

use super::*;
use ota_cloud::{EventKind, Finish, TaskError};

#[test]
fn numbers_of_a_good_update() {
    let mut desk = Desk::new(config());
    let mut seen = Vec::new();
    let id = desk.start(0);
    seen.push(desk.status().number());
    desk.connect(10);
    desk.version(10, "0.1.0");
    seen.push(desk.status().number());
    desk.sent(60);
    seen.push(desk.status().number());
    desk.downloading(1_000, "10");
    seen.push(desk.status().number());
    desk.downloading(2_000, "100");
    seen.push(desk.status().number());
    desk.burning(3_000);
    seen.push(desk.status().number());
    desk.done(4_000);
    seen.push(desk.status().number());
    assert_eq!(seen, [0, 1, 2, 3, 20, 4, 6]);
    let changes: Vec<_> = desk
        .outputs(4_000)
        .into_iter()
        .filter_map(|output| match output {
            Output::Event(event) => Some((event.at, event.kind)),
            _ => None,
        })
        .filter(|(_, kind)| matches!(kind, EventKind::Status { .. } | EventKind::Claimed { .. }))
        .collect();
    let status = |from, to| EventKind::Status { task: id, from, to, code: 0, text: String::new() };
    assert_eq!(
        changes,
        [
            (at(1_000), status(Status::Delivered, Status::Downloading)),
            (at(2_000), status(Status::Downloading, Status::Downloaded)),
            (at(3_000), status(Status::Downloaded, Status::Burning)),
            (at(4_000), EventKind::Claimed { task: id, late: false }),
            (at(4_000), status(Status::Burning, Status::Complete)),
        ]
    );
    desk.version(9_000, "1.0.0");
    assert!(desk.proved());
    assert_eq!(desk.task().finished, Some((at(4_000), Finish::Done)));
}

#[test]
fn odd_percents_are_kept_in_bounds() {
    let mut desk = Desk::started(config());
    let steps: [(&str, u8, u8); 6] = [
        (r#""percent":"101""#, 100, 3),
        (r#""percent":100"#, 100, 20),
        (r#""percent":-5"#, 0, 3),
        (r#""percent":"9000000000""#, 100, 3),
        (r#""percent":"7""#, 7, 3),
        (r#""x":1"#, 7, 3),
    ];
    for (ms, (text, percent, number)) in (2_000..).zip(steps) {
        desk.progress(ms, &format!(r#""state":"downloading",{text},"result_code":0"#));
        assert_eq!(
            (desk.task().percent, desk.status().number()),
            (Some(percent), number),
            "{text}"
        );
    }
}

#[test]
fn the_last_of_two_fails_wins_and_both_are_logged() {
    let mut desk = Desk::started(config());
    desk.fail(5_000, "-2", "time_out");
    desk.fail(5_001, "-5", "time_out");
    let task = desk.task();
    assert_eq!((task.status.number(), task.retcode), (5, -5));
    assert_eq!(task.finished, Some((at(5_000), Finish::Failed)));
    assert!(!task.late);
    let codes: Vec<_> = desk
        .cloud
        .device(&device())
        .unwrap()
        .log
        .iter()
        .filter_map(|entry| match entry.kind {
            EventKind::Progress { result_code, .. } => Some((entry.at, result_code)),
            _ => None,
        })
        .collect();
    assert_eq!(codes, [(at(5_000), -2), (at(5_001), -5)]);
    // An ended task is not pushed again.
    desk.version(6_000, "0.1.0");
    assert_eq!(desk.sent(9_000), [""; 0]);
}

#[test]
fn prose_in_result_msg_is_cut() {
    let mut desk = Desk::started(config());
    desk.fail(5_000, "-5", &"é".repeat(100));
    assert_eq!(desk.task().err_msg, "é".repeat(64));
    desk.fail(5_001, "-5", &format!("a{}", "é".repeat(100)));
    assert_eq!(desk.task().err_msg.len(), 127);
}

#[test]
fn claimed_is_not_proved() {
    let mut desk = Desk::started(config());
    desk.done(5_000);
    assert_eq!((desk.task().claimed, desk.task().proved), (Some(at(5_000)), None));
    assert!(!desk.proved());
    // And the other way round: shown, but not said.
    let mut desk = Desk::started(config());
    desk.version(5_000, "1.0.0");
    assert_eq!((desk.task().claimed, desk.task().proved), (None, Some(at(5_000))));
    assert_eq!(desk.status(), Status::Complete);
    assert_eq!(desk.task().finished, Some((at(5_000), Finish::Proved)));
    assert!(desk.proved() && !desk.cloud.device(&device()).unwrap().is_claimed_and_proved());
    desk.done(6_000);
    assert!(desk.proved() && desk.cloud.device(&device()).unwrap().is_claimed_and_proved());
    // A device that falls back later was proved, and is not any more.
    desk.version(7_000, "0.1.0");
    assert!(desk.task().is_proved() && !desk.proved());
}

#[test]
fn the_first_claim_and_proof_count() {
    let mut desk = Desk::started(config());
    desk.done(5_000);
    desk.version(6_000, "1.0.0");
    desk.done(7_000);
    desk.version(8_000, "1.0.0");
    let task = desk.task();
    assert_eq!((task.claimed, task.proved), (Some(at(5_000)), Some(at(6_000))));
    assert!(!task.late);
}

#[test]
fn a_fail_after_done_counts_until_the_version_shows() {
    let mut desk = Desk::started(config());
    desk.done(5_000);
    desk.fail(6_000, "-5", "rolled back");
    assert_eq!((desk.status(), desk.task().claimed), (Status::Failed, Some(at(5_000))));
    let mut desk = Desk::started(config());
    desk.done(5_000);
    desk.version(5_500, "1.0.0");
    desk.fail(6_000, "-5", "late");
    assert_eq!((desk.status(), desk.task().retcode), (Status::Complete, 0));
}

#[test]
fn the_target_before_any_push_ends_the_task() {
    let mut desk = Desk::new(config());
    desk.start(0);
    desk.connect(1_000);
    desk.version(1_000, "1.0.0");
    assert_eq!(desk.task().finished, Some((at(1_000), Finish::AlreadyThere)));
    assert_eq!((desk.status(), desk.task().claimed), (Status::Complete, None));
    assert_eq!(desk.sent(5_000), [""; 0]);
}

#[test]
fn progress_of_another_version_is_stray() {
    let mut desk = Desk::started(config());
    desk.say(
        2_000,
        r#"{"type":"report_progress","report":{"progress":{"state":"done","result_code":"0","result_msg":""},"version":"3.0"}}"#,
    );
    assert_eq!((desk.status(), desk.task().claimed), (Status::Delivered, None));
    assert_eq!(desk.cloud.device(&device()).unwrap().counters.stray, 1);
}

#[test]
fn one_task_at_a_time() {
    let mut desk = Desk::new(config());
    let options = TaskOptions::default();
    let stranger = Identity::new("TESTPROD01", "other").unwrap();
    let start = |desk: &mut Desk, who: &Identity, version: &str| {
        desk.cloud.start_task(at(0), who, version, &options).map(|_| ())
    };
    assert_eq!(start(&mut desk, &stranger, "1.0.0"), Err(TaskError::DeviceNotExist));
    assert_eq!(start(&mut desk, &device(), "7"), Err(TaskError::FirmwareNotExist));
    desk.connect(0);
    desk.version(0, "0.1.0");
    assert_eq!(start(&mut desk, &device(), "0.1.0"), Err(TaskError::DeviceFirmwareIsUpdated));
    assert_eq!(start(&mut desk, &device(), "1.0.0"), Ok(()));
    let running = Err(TaskError::DeviceRunningOtherOtaTask);
    assert_eq!(start(&mut desk, &device(), "1.0.0"), running);
}

#[test]
fn tasks_by_version() {
    let mut desk = Desk::new(config());
    let options = TaskOptions { from_versions: vec!["0.1.0".into()], ..TaskOptions::default() };
    let start =
        |desk: &mut Desk| desk.cloud.start_task(at(0), &device(), "1.0.0", &options).map(|_| ());
    assert_eq!(start(&mut desk), Err(TaskError::DeviceHasNoFirmware));
    desk.connect(0);
    desk.version(0, "0.2.0");
    assert_eq!(start(&mut desk), Err(TaskError::OtherVersion));
    desk.version(0, "0.1.0");
    assert_eq!(start(&mut desk), Ok(()));
}

#[test]
fn cancelled_shows_as_failed_and_the_device_is_not_told() {
    let mut desk = Desk::started(config());
    let id = desk.task().id;
    desk.cloud.cancel_task(at(2_000), id).unwrap();
    assert_eq!(desk.task().finished, Some((at(2_000), Finish::Cancelled)));
    assert_eq!(desk.status().number(), 5);
    assert_eq!(desk.sent(2_000), [""; 0]);
    let done = Err(TaskError::DeviceFirmwareTaskAlreadDone);
    assert_eq!(desk.cloud.cancel_task(at(2_000), id), done);
    desk.version(3_000, "0.1.0");
    assert_eq!(desk.sent(4_000), [""; 0]);
    desk.done(5_000);
    assert_eq!((desk.status(), desk.task().late), (Status::Complete, true));
}

#[test]
fn a_retry_is_a_new_attempt() {
    let mut desk = Desk::started(config());
    let id = desk.task().id;
    let progress = Err(TaskError::DeviceOtaTaskInProgress);
    assert_eq!(desk.cloud.retry_task(at(2_000), id), progress);
    desk.fail(2_000, "-4", "md5");
    desk.sent(2_000);
    desk.cloud.retry_task(at(3_000), id).unwrap();
    assert_eq!((desk.status(), desk.task().attempt, desk.task().retcode), (Status::Pending, 2, 0));
    // The first attempt's result, once more, is not the second's.
    desk.fail(3_000, "-4", "md5");
    assert_eq!(desk.status(), Status::Pending);
    assert_eq!(desk.sent(3_000), ["offer 1.0.0"]);
    desk.done(4_000);
    let done = Err(TaskError::DeviceFirmwareTaskAlreadDone);
    assert_eq!(desk.cloud.retry_task(at(5_000), id), done);
    assert_eq!((desk.status(), desk.task().late), (Status::Complete, false));
}

#[test]
fn a_person_is_asked_first() {
    let mut desk = Desk::new(config());
    desk.connect(0);
    let options = TaskOptions { confirm: true, ..TaskOptions::default() };
    let id = desk.cloud.start_task(at(0), &device(), "1.0.0", &options).unwrap();
    assert_eq!(desk.status().number(), 8);
    desk.version(1_000, "0.1.0");
    assert_eq!(desk.sent(9_000), [""; 0]);
    desk.cloud.confirm_task(at(10_000), id).unwrap();
    assert_eq!(desk.sent(10_000), ["offer 1.0.0"]);
    let not = Err(TaskError::NotAwaitingConfirm);
    assert_eq!(desk.cloud.confirm_task(at(10_000), id), not);
}

#[test]
fn old_tasks_are_kept_within_bounds() {
    let mut desk = Desk::new(CloudConfig { max_history: 2, max_log: 10, ..config() });
    desk.connect(0);
    for n in 0..10 {
        let id = desk.start(n);
        desk.cloud.cancel_task(at(n), id).unwrap();
    }
    let record = desk.cloud.device(&device()).unwrap();
    assert_eq!((record.history.len(), record.log.len()), (2, 10));
    let old = record.history[0].id;
    assert_eq!(desk.cloud.retry_task(at(99), old), Err(TaskError::DeviceFirmwareTaskNotExist));
}
