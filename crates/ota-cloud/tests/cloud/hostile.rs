//! Bad input: a typed error, and the state is as it was.

use super::*;
use ota_cloud::CloudError;
use ota_proto::message::Malformed;

const REPORT: &str = r#"{"type":"report_version","report":{"version":"0.1.0"}}"#;

fn refused(desk: &mut Desk, topic: &str, payload: &[u8]) -> CloudError {
    let before = desk.cloud.clone();
    // Even the clock stands still.
    let error = desk.cloud.handle_message(at(9_000_000), topic, payload).unwrap_err();
    assert!(before == desk.cloud, "{error}");
    error
}

#[test]
fn foreign_topics_and_devices() {
    let mut desk = Desk::started(config());
    for topic in [
        "",
        "$ota/update/TESTPROD01/dev001",
        "$ota/report/TESTPROD01",
        "$ota/report/TESTPROD01/dev001/x",
        "$ota/report/TESTPROD01/+",
        "$thing/up/service/TESTPROD01/dev001",
    ] {
        assert_eq!(refused(&mut desk, topic, REPORT.as_bytes()), CloudError::ForeignTopic);
    }
    let unknown = refused(&mut desk, "$ota/report/TESTPROD01/nobody", REPORT.as_bytes());
    assert_eq!(unknown, CloudError::UnknownDevice);
    let stranger = Identity::new("TESTPROD01", "nobody").unwrap();
    assert!(desk.cloud.handle_connected(at(0), &stranger).is_err());
    desk.cloud.handle_disconnected(at(0), &stranger);
}

#[test]
fn malformed_payloads() {
    let mut desk = Desk::started(config());
    for end in 0..REPORT.len() {
        let error = refused(&mut desk, TOPIC, &REPORT.as_bytes()[..end]);
        assert_eq!(error, CloudError::Malformed(Malformed::Syntax), "{end}");
    }
    let large = format!("{REPORT}{}", " ".repeat(16_384));
    assert_eq!(refused(&mut desk, TOPIC, large.as_bytes()), CloudError::TooLarge);
    assert!(matches!(refused(&mut desk, TOPIC, &[0xff; 9]), CloudError::Malformed(_)));
    for version in ["", "a b", &"v".repeat(33), "é"] {
        let text = format!(r#"{{"type":"report_version","report":{{"version":"{version}"}}}}"#);
        let error = refused(&mut desk, TOPIC, text.as_bytes());
        assert!(
            matches!(error, CloudError::BadVersion | CloudError::Malformed(Malformed::Value)),
            "{version}: {error}"
        );
    }
}

#[test]
fn a_crowd_of_strangers_is_bounded() {
    let mut desk = Desk::new(CloudConfig { max_devices: 10, ..config() });
    desk.cloud.allow_unknown(true);
    let mut taken = 0;
    for n in 0..50 {
        let topic = format!("$ota/report/TESTPROD01/d{n}");
        taken += u32::from(desk.cloud.handle_message(at(0), &topic, REPORT.as_bytes()).is_ok());
    }
    assert_eq!((taken, desk.cloud.devices().count()), (9, 10));
    // A malformed message makes no record.
    let mut desk = Desk::new(config());
    desk.cloud.allow_unknown(true);
    refused(&mut desk, "$ota/report/TESTPROD01/x", b"{");
}

#[test]
fn a_flood_that_nobody_drains_is_bounded() {
    let mut desk = Desk::new(CloudConfig { max_events: 100, max_log: 50, ..config() });
    desk.connect(0);
    desk.start(0);
    for n in 0..1_000 {
        desk.say(n, REPORT);
        desk.downloading(n, "5");
    }
    assert_eq!(desk.cloud.device(&device()).unwrap().log.len(), 50);
    // One reply, one offer, a hundred events.
    assert!(desk.outputs(5_000).len() <= 104);
}

#[test]
fn no_secret_in_debug() {
    let mut desk = Desk::started(config());
    desk.version(5_000, "0.1.0");
    let text = format!("{:?} {:?}", desk.outputs(6_000), desk.cloud);
    for secret in ["0123456789abcdef", "48, 49", "q-sign", "signature", "107, 101"] {
        assert!(!text.contains(secret), "{secret}");
    }
}

#[test]
fn what_is_no_message_names_its_cause() {
    let mut desk = Desk::started(config());
    let why = refused(&mut desk, TOPIC, b"{");
    let cause = std::error::Error::source(&why).map(ToString::to_string);
    assert!(cause.is_some_and(|cause| !cause.is_empty()), "{why}");
    let why = refused(&mut desk, "$ota", b"{");
    assert!(std::error::Error::source(&why).is_none());
}

#[test]
fn the_devices_of_a_client_id_are_those_whose_names_run_together_so() {
    let found = |id| -> Vec<String> {
        ota_cloud::login::devices_of(id, ["AB", "ABC", "X"].into_iter())
            .map(|device| format!("{} {}", device.product_id(), device.device_name()))
            .collect()
    };
    assert_eq!(found("ABCd"), ["AB Cd", "ABC d"]);
    assert_eq!(found("ABC"), ["AB C"], "no name is empty");
    assert_eq!(found("Yd"), [""; 0]);
}
