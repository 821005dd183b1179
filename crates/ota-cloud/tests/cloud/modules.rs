//! Modules of a device (`fw_type`), and what proves an update.

use super::*;
use ota_cloud::{EventKind, NotOffered};

fn report(desk: &mut Desk, ms: u64, version: &str, fw_type: &str) {
    desk.say(
        ms,
        &format!(
            r#"{{"type":"report_version","report":{{"version":"{version}","fw_type":"{fw_type}"}}}}"#
        ),
    );
}

fn proofs(outputs: &[Output]) -> usize {
    let proved = |output: &&Output| matches!(output, Output::Event(event) if matches!(event.kind, EventKind::Proved { .. }));
    outputs.iter().filter(proved).count()
}

#[test]
fn a_report_of_another_module_proves_nothing() {
    let mut desk = Desk::started(config());
    report(&mut desk, 2_000, "1.0.0", "module");
    let outputs = desk.outputs(2_000);
    // It is answered all the same.
    assert_eq!(outputs.iter().filter_map(short).collect::<Vec<_>>(), ["reply 1.0.0"]);
    assert_eq!(proofs(&outputs), 0);
    assert_eq!((desk.task().proved, desk.status()), (None, Status::Delivered));
    // The right one does.
    desk.version(3_000, "1.0.0");
    assert_eq!(desk.task().proved, Some(at(3_000)));
}

#[test]
fn a_report_of_another_module_draws_no_offer() {
    let mut desk = Desk::new(config());
    desk.start(0);
    desk.connect(1_000);
    desk.sent(1_000);
    report(&mut desk, 2_000, "0.1.0", "module");
    assert_eq!(desk.sent(9_000), ["reply 0.1.0"]);
    desk.version(10_000, "0.1.0");
    assert_eq!(desk.sent(10_050), ["offer 1.0.0"]);
    // Nor is it taken for the module's own version by a standing rule.
    let mut desk = Desk::new(config());
    desk.cloud.set_rollout(at(0), "TESTPROD01", Some(ota_cloud::Rollout::new("1.0.0"))).unwrap();
    desk.connect(0);
    report(&mut desk, 0, "0.1.0", "module");
    assert_eq!(desk.sent(9_000), ["reply 0.1.0"]);
    assert!(desk.cloud.device(&device()).unwrap().task.is_none());
}

#[test]
fn proof_ends_the_task_when_done_is_lost() {
    let mut desk = Desk::started(config());
    desk.version(5_000, "1.0.0");
    assert_eq!(desk.status(), Status::Complete);
    assert_eq!(desk.task().finished.map(|(at, _)| at), Some(at(5_000)));
    assert!(desk.proved());
    // 600 s of silence change nothing, nor does a late `done`.
    desk.cloud.handle_timeout(at(700_000));
    assert_eq!(desk.status(), Status::Complete);
    desk.done(701_000);
    assert_eq!((desk.status(), desk.task().late), (Status::Complete, false));
    assert_eq!(desk.task().claimed, Some(at(701_000)));
}

#[test]
fn each_module_has_its_own_version_firmware_and_rule() {
    let mut desk = Desk::new(config());
    let module = ota_cloud::Module::new(Some("bms")).unwrap();
    let bms = Firmware {
        fw_type: Some("bms".into()),
        // The same version as the device's own.
        ..Firmware::new("TESTPROD01", "1.0.0", digest(), 7)
    };
    desk.cloud.add_firmware(bms).unwrap();
    let rule = ota_cloud::Rollout { module: module.clone(), ..ota_cloud::Rollout::new("1.0.0") };
    desk.cloud.set_rollout(at(0), "TESTPROD01", Some(rule)).unwrap();
    desk.connect(0);
    // The device's own module runs it, and has no rule.
    desk.version(0, "1.0.0");
    assert_eq!(desk.sent(1_000), [""; 0]);
    report(&mut desk, 2_000, "0.5.0", "bms");
    desk.sent(2_000);
    let offers = desk.offers(2_050);
    assert_eq!((offers[0].fw_type.as_deref(), offers[0].file_size), (Some("bms"), Some(7)));
    desk.version(3_000, "1.0.0");
    assert_eq!(desk.task().proved, None);
    report(&mut desk, 4_000, "1.0.0", "bms");
    assert_eq!(desk.task().proved, Some(at(4_000)));
    let device = &desk.cloud.device(&device()).unwrap().device;
    let versions: Vec<_> =
        device.modules.iter().map(|m| (m.module.as_str(), m.version.as_str())).collect();
    assert_eq!(versions, [("default", "1.0.0"), ("bms", "1.0.0")]);
}

/// `done` and `fail` of another module are no more its own than its version is.
#[test]
fn progress_of_another_module_is_stray() {
    for (fw_type, status) in
        [("module", Status::Delivered), ("a b", Status::Delivered), ("mcu", Status::Complete)]
    {
        let mut desk = Desk::started(config());
        desk.say(
            2_000,
            &format!(
                r#"{{"type":"report_progress","report":{{"progress":{{"state":"done","result_code":"0","result_msg":""}},"version":"1.0.0","fw_type":"{fw_type}"}}}}"#
            ),
        );
        assert_eq!(desk.status(), status, "{fw_type}");
    }
}

#[test]
fn the_names_of_the_devices_own_module_are_one() {
    for fw_type in ["mcu", "default", ""] {
        let mut desk = Desk::started(config());
        report(&mut desk, 2_000, "1.0.0", fw_type);
        assert_eq!(desk.task().proved, Some(at(2_000)), "{fw_type}");
    }
}

#[test]
fn more_modules_than_are_kept_and_none_at_all_are_answered() {
    let mut desk = Desk::started(config());
    for n in 0..20 {
        report(&mut desk, 2_000, "1.0.0", &format!("m{n}"));
        assert_eq!(desk.sent(2_000), ["reply 1.0.0"]);
    }
    report(&mut desk, 2_000, "1.0.0", &"x".repeat(33));
    report(&mut desk, 2_000, "1.0.0", "a b");
    assert_eq!(desk.sent(2_000), ["reply 1.0.0"]);
    let device = &desk.cloud.device(&device()).unwrap().device;
    assert_eq!(device.modules.len(), ota_cloud::device::MAX_MODULES);
    assert_eq!(device.not_offered, Some(NotOffered::UnknownModule));
    assert_eq!(desk.task().proved, None);
}

/// An image on trial reports its version, too.
#[test]
fn a_new_version_that_is_rolled_back_shows_as_failed() {
    let mut desk = Desk::started(config());
    desk.version(5_000, "1.0.0");
    desk.fail(9_000, "-5", "rolled back");
    desk.version(9_100, "0.1.0");
    let task = desk.task();
    assert_eq!(
        (task.status, task.retcode, task.err_msg.as_str()),
        (Status::Failed, -5, "rolled back")
    );
    assert!(!desk.proved());
    // And it can be tried again.
    let id = task.id;
    desk.cloud.retry_task(at(10_000), id).unwrap();
    assert_eq!(desk.sent(10_000), ["offer 1.0.0"]);
}

#[test]
fn proof_counts_after_the_task_was_given_up() {
    let mut desk = Desk::started(config());
    desk.cloud.handle_timeout(at(700_000));
    assert_eq!(desk.status(), Status::TimedOut);
    desk.version(800_000, "1.0.0");
    assert_eq!((desk.status(), desk.task().late), (Status::Complete, true));
    assert!(desk.proved());
}

/// Every report that draws no offer has a reason (R10).
#[test]
fn a_device_that_is_offered_nothing_has_a_reason() {
    let why = |desk: &mut Desk, ms: u64, version: &str| {
        desk.say(ms, &format!(r#"{{"type":"report_version","report":{{"version":"{version}"}}}}"#));
        let told: Vec<_> = desk
            .outputs(ms)
            .into_iter()
            .filter_map(|output| match output {
                Output::Event(event) => match event.kind {
                    EventKind::NotOffered { why, .. } => Some(why),
                    _ => None,
                },
                _ => None,
            })
            .collect();
        let kept = desk.cloud.device(&device()).unwrap().not_offered.clone();
        assert_eq!(told.last(), kept.as_ref());
        kept
    };
    let mut desk = Desk::new(config());
    desk.connect(0);
    assert_eq!(why(&mut desk, 0, "0.1.0"), Some(NotOffered::NoRule));
    let mut rule = ota_cloud::Rollout::new("1.0.0");
    rule.attempts = 2;
    rule.options.from_versions = vec!["0.1.0".into()];
    desk.cloud.set_rollout(at(0), "TESTPROD01", Some(rule)).unwrap();
    desk.sent(0);
    desk.fail(1_000, "-4", "md5");
    assert_eq!(why(&mut desk, 1_100, "0.1.0"), Some(NotOffered::WaitsForSession));
    assert_eq!(why(&mut desk, 1_200, "0.2.0"), Some(NotOffered::OtherVersion));
    desk.connect(2_000);
    assert_eq!(why(&mut desk, 2_000, "0.1.0"), None);
    assert_eq!(desk.sent(2_050), ["offer 1.0.0"]);
    desk.fail(2_100, "-4", "md5");
    desk.connect(3_000);
    let used = NotOffered::AttemptsUsed { attempts: 2 };
    assert_eq!(why(&mut desk, 3_000, "0.1.0"), Some(used));
    // Until somebody says that it is to be tried again: at once, as it is connected.
    desk.cloud.try_again(at(4_000));
    assert_eq!(desk.sent(4_000), ["offer 1.0.0"]);
    desk.version(5_000, "1.0.0");
    assert_eq!(why(&mut desk, 6_000, "1.0.0"), Some(NotOffered::UpToDate));
    desk.disconnect(7_000);
    let options = TaskOptions { confirm: true, ..TaskOptions::default() };
    desk.cloud.start_task(at(7_000), &device(), "0.1.0", &options).unwrap();
    assert_eq!(why(&mut desk, 7_000, "1.0.0"), Some(NotOffered::AwaitingConfirm));
    let id = desk.task().id;
    desk.cloud.confirm_task(at(7_000), id).unwrap();
    assert_eq!(why(&mut desk, 7_000, "1.0.0"), Some(NotOffered::NotSubscribed));
    let firmware = desk.cloud.firmware().find(|f| f.version == "0.1.0").unwrap().clone();
    assert!(desk.cloud.withdraw_firmware(&firmware, "it is bad"));
    desk.connect(8_000);
    let withdrawn = NotOffered::Withdrawn { why: "it is bad".into() };
    assert_eq!(why(&mut desk, 8_000, "1.0.0"), Some(withdrawn));
}

#[test]
fn a_status_that_is_an_end_says_why() {
    let texts = |desk: &mut Desk, ms| -> Vec<_> {
        let statuses = desk.outputs(ms).into_iter().filter_map(|output| match output {
            Output::Event(event) => match event.kind {
                EventKind::Status { to, code, text, .. } => Some((to.number(), code, text)),
                _ => None,
            },
            _ => None,
        });
        statuses.collect()
    };
    let mut desk = Desk::started(config());
    desk.fail(2_000, "-4", "wrong digest");
    assert_eq!(texts(&mut desk, 2_000).last(), Some(&(5, -4, "wrong digest".to_owned())));
    let mut desk = Desk::started(config());
    desk.cloud.handle_timeout(at(700_000));
    assert_eq!(texts(&mut desk, 700_000), [(10, 0, "no result within 600 s".to_owned())]);
    let mut desk = Desk::started(config());
    let id = desk.task().id;
    desk.cloud.cancel_task(at(2_000), id).unwrap();
    assert_eq!(texts(&mut desk, 2_000), [(5, 0, "cancelled".to_owned())]);
}
