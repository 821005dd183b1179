//! Replies, offers and their order.

use super::*;

#[test]
fn the_reply_is_the_vendors_86_bytes() {
    let mut desk = Desk::new(config());
    desk.connect(0);
    desk.say(10, r#"{"type": "report_version", "report": {"version": "0.1.0"}}"#);
    let sent: Vec<_> =
        desk.outputs(10).into_iter().filter(|o| matches!(o, Output::Send { .. })).collect();
    let payload =
        br#"{"result_code":0,"result_msg":"success","type":"report_version_rsp","version":"0.1.0"}"#;
    assert_eq!(payload.len(), 86);
    let expected = Output::Send {
        device: device(),
        topic: "$ota/update/TESTPROD01/dev001".into(),
        payload: payload.to_vec(),
    };
    assert_eq!(sent, [expected]);
}

/// The vendor's log from 10:54:28 on, as seen by the cloud; milliseconds since then.
#[test]
fn the_vendors_session() {
    let mut desk = Desk::new(config());
    desk.connect(932);
    desk.version(1_004, "0.1.0");
    assert_eq!(desk.deadline(1_004), None);
    desk.start(17_300);
    let offers = desk.offers(17_300);
    assert_eq!(offers.len(), 1);
    assert_eq!(offers[0].version, "1.0.0");
    assert_eq!(offers[0].md5sum, Some(digest()));
    assert_eq!(offers[0].file_size, Some(234_775));
    assert_eq!(offers[0].user_defined, None);
    assert_eq!(offers[0].url, signer().sign("/TESTPROD01_1.0.0", UNIX + 17));
    assert_eq!(desk.status(), Status::Delivered);
    // The device repeats its zero, then counts up.
    desk.downloading(19_052, "0");
    desk.downloading(20_032, "0");
    assert_eq!((desk.status(), desk.task().percent), (Status::Downloading, Some(0)));
    desk.downloading(21_119, "1");
    assert_eq!(desk.task().percent, Some(1));
    desk.downloading(177_537, "100");
    assert_eq!(desk.status(), Status::Downloaded);
    // It says done without burning, then reports the old version again.
    desk.done(177_538);
    assert_eq!((desk.status(), desk.task().claimed), (Status::Complete, Some(at(177_538))));
    desk.version(180_042, "0.1.0");
    assert_eq!(desk.sent(200_000), [""; 0]);
    assert_eq!(desk.task().proved, None);
    assert!(!desk.proved());
    // A device that really restarts would show it.
    desk.version(210_000, "1.0.0");
    assert_eq!(desk.task().proved, Some(at(210_000)));
    assert!(desk.proved());
    assert_eq!(desk.deadline(210_000), None);
    let counters = desk.cloud.device(&device()).unwrap().counters;
    assert_eq!((counters.received, counters.versions, counters.progress), (8, 3, 5));
    assert_eq!((counters.replies, counters.offers, counters.results), (3, 1, 1));
}

#[test]
fn the_offer_leaves_a_turn_after_the_reply() {
    let mut desk = Desk::new(config());
    desk.connect(0);
    desk.start(0);
    assert_eq!(desk.sent(0), ["offer 1.0.0"]);
    desk.version(1_000, "0.1.0");
    assert_eq!(desk.deadline(1_000), Some(at(1_050)));
    assert_eq!(desk.sent(1_049), [""; 0]);
    assert_eq!(desk.sent(1_050), ["offer 1.0.0"]);
    let mut desk = Desk::new(CloudConfig { reply_gap: Duration::ZERO, ..config() });
    desk.connect(0);
    desk.start(0);
    desk.sent(0);
    desk.say(1_000, r#"{"type":"report_version","report":{"version":"0.1.0"}}"#);
    assert_eq!(desk.sent(1_000), ["reply 0.1.0", "offer 1.0.0"]);
}

#[test]
fn every_other_version_draws_the_offer_again_with_a_fresh_url() {
    let mut desk = Desk::started(config());
    let mut urls = Vec::new();
    for (n, version) in ["0.1.0", "0.1.0", "0.2.0", "9.9.9"].iter().enumerate() {
        let ms = 10_000 * (n as u64 + 1);
        desk.downloading(ms, "50");
        desk.version(ms, version);
        let offers = desk.offers(ms + 50);
        assert_eq!(offers.len(), 1, "{version}");
        assert_eq!(offers[0].url, signer().sign("/TESTPROD01_1.0.0", UNIX + ms / 1_000));
        urls.push(offers[0].url.clone());
        // A repeated offer does not put the status back.
        assert_eq!(desk.status(), Status::Downloading);
    }
    urls.dedup();
    assert_eq!(urls.len(), 4);
    assert_eq!(desk.task().pushes, 5);
    // The target itself draws none.
    desk.version(60_000, "1.0.0");
    assert_eq!(desk.sent(61_000), [""; 0]);
}

#[test]
fn two_reports_before_one_offer() {
    let mut desk = Desk::started(config());
    desk.version(2_000, "0.1.0");
    desk.version(2_049, "0.1.0");
    assert_eq!(desk.sent(2_050), ["offer 1.0.0"]);
    assert_eq!(desk.sent(9_000), [""; 0]);
}

#[test]
fn a_planned_offer_dies_with_its_reason() {
    // The device turns out to run the target.
    let mut desk = Desk::started(config());
    desk.version(2_000, "0.1.0");
    desk.version(2_049, "1.0.0");
    assert_eq!(desk.sent(9_000), [""; 0]);
    // The task ends.
    let mut desk = Desk::started(config());
    desk.version(2_000, "0.1.0");
    desk.fail(2_010, "-5", "no");
    assert_eq!(desk.deadline(2_010), None);
    assert_eq!(desk.sent(9_000), [""; 0]);
}

#[test]
fn nothing_is_sent_to_a_device_that_is_away() {
    let mut desk = Desk::new(config());
    desk.start(0);
    assert_eq!(desk.status(), Status::Offline);
    assert_eq!(desk.sent(5_000), [""; 0]);
    // Coming back is not enough: the report draws the push.
    desk.connect(10_000);
    assert_eq!(desk.sent(10_000), [""; 0]);
    desk.version(11_000, "0.1.0");
    assert_eq!(desk.status(), Status::Pending);
    // Gone between the reply and the offer.
    desk.disconnect(11_020);
    assert_eq!(desk.sent(20_000), [""; 0]);
    assert_eq!(desk.status(), Status::Offline);
    assert_eq!(desk.deadline(20_000), None);
    desk.connect(30_000);
    desk.version(30_000, "0.1.0");
    assert_eq!(desk.sent(30_050), ["offer 1.0.0"]);
    assert_eq!(desk.status(), Status::Delivered);
    // A report that arrives without a subscription is noted and not answered.
    desk.disconnect(40_000);
    desk.say(41_000, r#"{"type":"report_version","report":{"version":"0.3.0"}}"#);
    assert_eq!(desk.sent(50_000), [""; 0]);
    assert_eq!(desk.cloud.device(&device()).unwrap().runs(), Some("0.3.0"));
}

#[test]
fn a_second_login_is_a_new_session() {
    let mut desk = Desk::started(config());
    desk.say(2_000, r#"{"type":"report_version","report":{"version":"0.1.0"}}"#);
    desk.connect(2_010);
    // What was due went to the old connection's grave.
    assert_eq!(desk.sent(9_000), [""; 0]);
    desk.version(10_000, "0.1.0");
    assert_eq!(desk.sent(10_050), ["offer 1.0.0"]);
    assert_eq!(desk.cloud.device(&device()).unwrap().counters.sessions, 2);
}

#[test]
fn a_broker_client_sees_no_connects() {
    let mut desk = Desk::new(CloudConfig { presume_connected: true, ..config() });
    desk.start(0);
    desk.version(1_000, "0.1.0");
    assert_eq!(desk.sent(1_050), ["offer 1.0.0"]);
}

#[test]
fn user_defined_and_type_are_offered() {
    let mut desk = Desk::new(config());
    let text = "{\"a\":\"\u{1}é\\\"}".repeat(100);
    desk.cloud
        .add_firmware(Firmware {
            user_defined: Some(text.clone()),
            fw_type: Some("mcu".into()),
            ..Firmware::new("TESTPROD01", "2.0.0", digest(), 1)
        })
        .unwrap();
    desk.connect(0);
    desk.cloud.start_task(at(0), &device(), "2.0.0", &TaskOptions::default()).unwrap();
    let offers = desk.offers(0);
    assert_eq!(offers[0].user_defined.as_deref(), Some(text.as_str()));
    assert_eq!(offers[0].fw_type.as_deref(), Some("mcu"));
}

#[test]
fn a_clock_that_runs_back_stands_still() {
    let mut desk = Desk::started(config());
    desk.version(5_000, "0.1.0");
    desk.downloading(1, "3");
    assert_eq!(desk.task().heard, Some(at(5_000)));
}
