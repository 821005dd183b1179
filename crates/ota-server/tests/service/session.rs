//! Whole sessions of devices.

use mqttbytes::QoS;
use mqttbytes::v4::{Packet, Unsubscribe};
use ota_cloud::{Rollout, Status, TaskError, TaskOptions};
use ota_proto::message::CloudMessage;
use ota_server::{HandleError, NewFirmware, What};

use crate::{Client, PRODUCT, device, http, start};

const REPORT: &str = "$ota/report/TESTPROD01/dev001";
const UPDATE: &str = "$ota/update/TESTPROD01/dev001";

/// The messages of the vendor's log, spaced as its Python SDK does.
const VERSION: &str = r#"{"type": "report_version", "report": {"version": "0.1.0"}}"#;

fn progress(state: &str) -> String {
    let tail = r#""result_code": "0", "result_msg": ""}, "version": "1.0.0"}}"#;
    format!(r#"{{"type": "report_progress", "report": {{"progress": {{"state": "{state}", {tail}"#)
}

#[tokio::test]
async fn the_vendors_session() {
    let running = crate::start().await;
    let handle = running.handle();
    let dev001 = device("dev001");
    let image: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();
    let mut log = handle.log();
    let mut client = Client::device(&running, "dev001").await;

    assert_eq!(VERSION.len(), 58);
    client.publish(REPORT, QoS::AtLeastOnce, VERSION.as_bytes()).await;
    assert!(matches!(client.next().await, Some(Packet::PubAck(ack)) if ack.pkid == 9));
    let (topic, reply) = client.message().await;
    assert_eq!((topic.as_str(), reply.len()), (UPDATE, 86));
    let expected =
        r#"{"result_code":0,"result_msg":"success","type":"report_version_rsp","version":"0.1.0"}"#;
    assert_eq!(reply, expected.as_bytes());

    handle.add_firmware(NewFirmware::memory(PRODUCT, "1.0.0", image.clone())).await.unwrap();
    handle.start_task(&dev001, "1.0.0", TaskOptions::default()).await.unwrap();
    let (topic, payload) = client.message().await;
    assert_eq!(topic, UPDATE);
    let CloudMessage::Offer(offer) = CloudMessage::decode(&payload).unwrap() else { panic!() };
    assert_eq!((&*offer.version, offer.file_size), ("1.0.0", Some(300_000)));

    let downloading = progress(r#"downloading", "percent": "0"#);
    assert_eq!(downloading.len(), 151);
    client.publish(REPORT, QoS::AtMostOnce, downloading.as_bytes()).await;
    let got = http::get(&offer.url, "Range: bytes=0-300000\r\n").await;
    assert_eq!((got.status, got.body == image), (206, true));
    let full = progress(r#"downloading", "percent": "100"#);
    client.publish(REPORT, QoS::AtMostOnce, full.as_bytes()).await;
    let done = progress("done");
    assert_eq!(done.len(), 128);
    client.publish(REPORT, QoS::AtLeastOnce, done.as_bytes()).await;
    assert!(matches!(client.next().await, Some(Packet::PubAck(_))));
    let claimed = handle.device(&dev001).await.unwrap().unwrap().task.unwrap();
    assert!(claimed.claimed.is_some() && !claimed.is_proved());

    let now = VERSION.replace("0.1.0", "1.0.0");
    client.publish(REPORT, QoS::AtLeastOnce, now.as_bytes()).await;
    let task = handle.wait_for(&dev001, |r| r.task.as_ref().is_some_and(|t| t.is_proved())).await;
    assert_eq!(task.unwrap().task.unwrap().status, Status::Complete);

    // What a person sees: every message, and no signature.
    let mut seen = Vec::new();
    running.shutdown().await;
    while let Some(entry) = log.next().await {
        seen.push(entry);
    }
    let text = format!("{seen:?}");
    assert!(text.contains("report_version_rsp") && text.contains("TESTPROD01_1.0.0?…"), "{text}");
    assert!(!text.contains("q-sign") && !text.contains("AbC12"), "{text}");
    let received = seen.iter().filter(|e| matches!(e.what, What::Received { .. })).count();
    assert_eq!(received, 5);
}

#[tokio::test]
async fn a_rollout_offers_to_whoever_reports_another_version() {
    let running = start().await;
    let handle = running.handle();
    handle.add_firmware(NewFirmware::memory(PRODUCT, "1.0.0", &b"image"[..])).await.unwrap();
    handle.set_rollout(PRODUCT, Some(Rollout::new("1.0.0"))).await.unwrap();
    let mut client = Client::device(&running, "dev001").await;
    // At QoS 0, and the reply before the offer, although the offer is due.
    client.publish(REPORT, QoS::AtMostOnce, VERSION.as_bytes()).await;
    let (_, reply) = client.message().await;
    assert!(matches!(CloudMessage::decode(&reply), Ok(CloudMessage::VersionReply { .. })));
    let (_, offer) = client.message().await;
    assert!(matches!(CloudMessage::decode(&offer), Ok(CloudMessage::Offer(_))));
}

#[tokio::test]
async fn what_the_cloud_refuses_is_logged_and_changes_nothing() {
    let running = start().await;
    let handle = running.handle();
    let mut client = Client::device(&running, "dev001").await;
    handle.wait_for(&device("dev001"), |record| record.online).await.unwrap();
    let mut log = handle.log();
    client.publish(REPORT, QoS::AtLeastOnce, b"{").await;
    assert!(matches!(client.next().await, Some(Packet::PubAck(_))));
    client.publish("$ota/report/TESTPROD01/other", QoS::AtLeastOnce, b"{}").await;
    assert!(matches!(client.next().await, Some(Packet::PubAck(_))));
    assert!(matches!(log.next().await.unwrap().what, What::Received { .. }));
    assert!(matches!(log.next().await.unwrap().what, What::Refused { .. }));
    assert!(matches!(log.next().await.unwrap().what, What::Foreign { .. }));
    let none = handle.start_task(&device("dev001"), "9", TaskOptions::default()).await;
    assert!(matches!(none, Err(HandleError::Task(TaskError::FirmwareNotExist))));
}

#[tokio::test]
async fn foreign_filters_are_refused() {
    let running = start().await;
    let mut client = Client::device(&running, "dev001").await;
    for (filter, qos) in [
        ("$ota/update/TESTPROD01/other", QoS::AtLeastOnce),
        ("#", QoS::AtMostOnce),
        ("TESTPROD01/dev001/data", QoS::ExactlyOnce),
    ] {
        assert_eq!(client.subscribe(filter, qos).await, [0x80], "{filter}");
    }
}

#[tokio::test]
async fn an_applications_messages_stay_with_their_device() {
    let running = start().await;
    running.handle().add_device(&device("dev002"), &crate::secret()).await.unwrap();
    let mut one = Client::device(&running, "dev001").await;
    let mut two = Client::device(&running, "dev002").await;
    // Nobody reads a sibling's topics, by whatever filter.
    for filter in ["TESTPROD01/+/data", "TESTPROD01/#", "TESTPROD01/dev001/data"] {
        assert_eq!(two.subscribe(filter, QoS::AtLeastOnce).await, [0x80], "{filter}");
    }
    assert_eq!(one.subscribe("TESTPROD01/dev001/#", QoS::AtLeastOnce).await, [1]);
    // Nor writes there.
    two.publish("TESTPROD01/dev001/data", QoS::AtLeastOnce, b"22").await;
    assert!(matches!(two.next().await, Some(Packet::PubAck(_))));
    one.publish("TESTPROD01/dev001/data", QoS::AtMostOnce, b"23").await;
    let Some(Packet::Publish(got)) = one.next().await else { panic!() };
    assert_eq!(
        (got.topic.as_str(), got.qos, &got.payload[..]),
        ("TESTPROD01/dev001/data", QoS::AtMostOnce, &b"23"[..])
    );
}

#[tokio::test]
async fn subscribing_again_is_no_new_session_and_unsubscribing_ends_it() {
    let running = start().await;
    let handle = running.handle();
    let mut client = Client::device(&running, "dev001").await;
    assert_eq!(client.subscribe(UPDATE, QoS::AtMostOnce).await, [0]);
    let record = handle.wait_for(&device("dev001"), |record| record.online).await.unwrap();
    assert_eq!(record.counters.sessions, 1);
    let mut packet = bytes::BytesMut::new();
    let mut unsubscribe = Unsubscribe::new(UPDATE);
    unsubscribe.pkid = 4;
    unsubscribe.write(&mut packet).unwrap();
    client.send(&packet).await;
    assert!(matches!(client.next().await, Some(Packet::UnsubAck(ack)) if ack.pkid == 4));
    handle.wait_for(&device("dev001"), |record| !record.online).await.unwrap();
    client.subscribe(UPDATE, QoS::AtMostOnce).await;
    let record = handle.wait_for(&device("dev001"), |record| record.online).await.unwrap();
    assert_eq!(record.counters.sessions, 2);
    drop(client);
    handle.wait_for(&device("dev001"), |record| !record.online).await.unwrap();
}
