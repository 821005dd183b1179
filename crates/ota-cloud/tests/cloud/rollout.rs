//! Standing rules.

use super::*;
use ota_cloud::{Rollout, TaskError};

fn rule(desk: &mut Desk, ms: u64) {
    desk.cloud.set_rollout(at(ms), "TESTPROD01", Some(Rollout::new("1.0.0"))).unwrap();
}

#[test]
fn every_device_that_reports_another_version_is_offered_it() {
    let mut desk = Desk::new(config());
    rule(&mut desk, 0);
    desk.cloud.allow_unknown(true);
    for name in ["dev001", "new"] {
        let identity = Identity::new("TESTPROD01", name).unwrap();
        desk.cloud.handle_connected(at(0), &identity).unwrap();
        let report = br#"{"type":"report_version","report":{"version":"0.1.0"}}"#;
        desk.cloud.handle_message(at(0), identity.report_topic(), report).unwrap();
    }
    assert_eq!(desk.sent(0), ["reply 0.1.0"; 2]);
    assert_eq!(desk.sent(50), ["offer 1.0.0"; 2]);
    assert!(desk.task().by_rollout);
}

#[test]
fn a_rule_reaches_devices_that_reported_before() {
    let mut desk = Desk::new(config());
    desk.connect(0);
    desk.version(0, "0.1.0");
    rule(&mut desk, 1_000);
    assert_eq!(desk.sent(1_000), ["offer 1.0.0"]);
    // Setting it again changes nothing.
    rule(&mut desk, 2_000);
    assert_eq!(desk.sent(2_000), [""; 0]);
}

#[test]
fn the_target_and_other_products_are_left_alone() {
    let mut desk = Desk::new(config());
    rule(&mut desk, 0);
    desk.connect(0);
    desk.version(0, "1.0.0");
    desk.cloud.allow_unknown(true);
    let other = Identity::new("OTHER", "dev001").unwrap();
    desk.cloud.handle_connected(at(0), &other).unwrap();
    let report = br#"{"type":"report_version","report":{"version":"0.1.0"}}"#;
    desk.cloud.handle_message(at(0), other.report_topic(), report).unwrap();
    assert_eq!(desk.sent(1_000), ["reply 0.1.0"]);
}

#[test]
fn a_failed_device_is_tried_again_in_a_new_session_three_times_at_most() {
    let mut desk = Desk::new(config());
    rule(&mut desk, 0);
    let mut offers = 0;
    for n in 0..6 {
        let ms = n * 10_000;
        desk.connect(ms);
        desk.version(ms, "0.1.0");
        offers += desk.sent(ms + 50).len();
        if desk.cloud.device(&device()).unwrap().has_open_task() {
            desk.fail(ms + 100, "-4", "md5");
        }
        // Within the session it is left alone.
        desk.version(ms + 200, "0.1.0");
        assert_eq!(desk.sent(ms + 1_000), [""; 0]);
        desk.disconnect(ms + 2_000);
    }
    assert_eq!(offers, 3);
}

#[test]
fn an_owed_result_of_a_timed_out_task_does_not_hold_up_the_next() {
    let mut desk = Desk::new(config());
    rule(&mut desk, 0);
    desk.connect(0);
    desk.version(0, "0.1.0");
    desk.sent(50);
    desk.disconnect(1_000);
    desk.cloud.handle_timeout(at(700_000));
    assert_eq!(desk.status(), Status::TimedOut);
    desk.connect(800_000);
    desk.fail(800_000, "-5", "rolled back");
    desk.version(800_100, "0.1.0");
    assert_eq!(desk.sent(800_150), ["offer 1.0.0"]);
}

#[test]
fn a_rule_can_end_and_needs_firmware() {
    let mut desk = Desk::new(config());
    let none = desk.cloud.set_rollout(at(0), "TESTPROD01", Some(Rollout::new("7")));
    assert_eq!(none, Err(TaskError::FirmwareNotExist));
    rule(&mut desk, 0);
    desk.cloud.set_rollout(at(0), "TESTPROD01", None).unwrap();
    desk.connect(0);
    desk.version(0, "0.1.0");
    assert_eq!(desk.sent(1_000), [""; 0]);
}

#[test]
fn attempts_at_one_version_do_not_count_for_the_next() {
    let mut desk = Desk::new(config());
    let set = |desk: &mut Desk, ms, version| {
        let mut once = Rollout::new(version);
        once.attempts = 1;
        desk.cloud.set_rollout(at(ms), "TESTPROD01", Some(once)).unwrap();
    };
    set(&mut desk, 0, "1.0.0");
    desk.connect(0);
    desk.version(0, "0.1.0");
    assert_eq!(desk.sent(50), ["offer 1.0.0"]);
    desk.fail(100, "-4", "md5");
    desk.disconnect(200);
    desk.connect(10_000);
    desk.version(10_000, "0.1.0");
    assert_eq!(desk.sent(10_050), [""; 0]);
    desk.cloud.add_firmware(Firmware::new("TESTPROD01", "1.1.0", digest(), 9)).unwrap();
    set(&mut desk, 11_000, "1.1.0");
    assert_eq!(desk.sent(11_050), ["offer 1.1.0"]);
}
