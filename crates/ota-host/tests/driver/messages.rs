//! The application's own messages.

use crate::adapter::{DriverEvent, Options};
use bytes::{BufMut as _, BytesMut};
use mqttbytes::v4::{Packet, PubAck};
use ota_proto::QoS;
use ota_wire::client::ClientEvent as Client;
use tokio::net::TcpListener;
use tokio::time::timeout;

pub(crate) use super::broker::Broker;
use super::{PATIENCE, Rig, cloud, device_config, identity, image, wire_config};

/// Runs the driver until the broker's part is over.
pub(crate) async fn beside<T>(rig: &mut Rig, part: impl Future<Output = T>) -> T {
    let mut part = std::pin::pin!(part);
    let run = async {
        loop {
            tokio::select! {
                biased;
                end = &mut part => return end,
                event = rig.driver.next() => rig.events.push(event.unwrap()),
            }
        }
    };
    timeout(PATIENCE, run).await.unwrap()
}

#[tokio::test]
async fn a_message_is_acknowledged_when_the_application_has_taken_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut rig = Rig::new(listener.local_addr().unwrap());
    rig.driver.subscribe("room/+", QoS::AtLeastOnce).unwrap();
    let mut broker = beside(&mut rig, async {
        let mut broker = Broker::accept(&listener).await;
        assert_eq!(broker.grant().await, identity().update_topic());
        assert_eq!(broker.grant().await, "room/+");
        broker.publish("room/1", 7, b"on").await;
        broker.publish("room/2", 0, b"").await;
        broker
    })
    .await;
    rig.until(&[], |e| matches!(e, DriverEvent::Message { ack: None, .. })).await;
    let messages: Vec<_> =
        rig.events.iter().filter(|e| matches!(e, DriverEvent::Message { .. })).cloned().collect();
    let [first, second] = &messages[..] else { panic!("{messages:?}") };
    let DriverEvent::Message { topic, payload, ack: Some(ack) } = first else {
        panic!("{first:?}")
    };
    assert_eq!((topic.as_str(), payload.as_slice()), ("room/1", &b"on"[..]));
    let empty = DriverEvent::Message { topic: "room/2".into(), payload: Vec::new(), ack: None };
    assert_eq!(*second, empty);

    // The version report has come by now, a PUBACK has not.
    let seen = beside(&mut rig, broker.next()).await;
    assert!(matches!(seen, Packet::Publish(_)), "{seen:?}");
    assert!(rig.driver.acknowledge(*ack));
    let seen = beside(&mut rig, broker.next()).await;
    assert_eq!(seen, Packet::PubAck(PubAck::new(7)));
}

#[tokio::test]
async fn messages_that_come_all_at_once_arrive_one_by_one() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut rig = Rig::new(listener.local_addr().unwrap());
    rig.driver.subscribe("#", QoS::AtMostOnce).unwrap();
    let mut broker = beside(&mut rig, async {
        let mut broker = Broker::accept(&listener).await;
        broker.grant().await;
        broker.grant().await;
        broker
    })
    .await;
    // 16 KiB fit into the buffer: some come in two parts, every twentieth is too long.
    for number in 0..100_u8 {
        let len = if number % 20 == 19 { 20_000 } else { 900 + usize::from(number) };
        broker.publish("all", 0, &vec![number; len]).await;
    }
    rig.until(&[], |e| matches!(e, DriverEvent::Message { payload, .. } if payload[0] == 98)).await;
    let numbers: Vec<u8> = rig
        .events
        .iter()
        .filter_map(|event| match event {
            DriverEvent::Message { payload, .. } => {
                assert!(payload.iter().all(|byte| *byte == payload[0]));
                assert_eq!(payload.len(), 900 + usize::from(payload[0]));
                Some(payload[0])
            }
            _ => None,
        })
        .collect();
    assert_eq!(numbers, (0..99).filter(|number| number % 20 != 19).collect::<Vec<_>>());
    let skipped =
        |e: &DriverEvent| matches!(e, DriverEvent::Client(Client::TooLong { len: 20_009 }));
    assert_eq!(rig.count(skipped), 4);
}

#[tokio::test]
async fn a_peer_that_reads_late_gets_everything_in_order() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut rig = Rig::new(listener.local_addr().unwrap());
    let mut broker = beside(&mut rig, async {
        let mut broker = Broker::accept(&listener).await;
        broker.grant().await;
        broker
    })
    .await;
    // Until both the socket's buffers and ours are full.
    let (mut sent, mut full) = (0_u32, 0);
    while full < 200 {
        let mut payload = BytesMut::zeroed(1500);
        payload.put_u32(sent);
        match rig.driver.publish("data", &payload, QoS::AtMostOnce) {
            Ok(_) => (sent, full) = (sent + 1, 0),
            Err(_) => full += 1,
        }
        tokio::select! {
            biased;
            event = rig.driver.next() => rig.events.push(event.unwrap()),
            () = tokio::task::yield_now() => {}
        }
    }
    assert!(sent > 100, "{sent}");
    let received = beside(&mut rig, async {
        let mut next = 0_u32;
        while next < sent {
            let Packet::Publish(publish) = broker.next().await else { continue };
            if publish.topic == "data" {
                assert_eq!(publish.payload[1500..], next.to_be_bytes());
                next += 1;
            }
        }
        next
    })
    .await;
    assert_eq!(received, sent);
    assert_eq!(rig.count(|e| matches!(e, DriverEvent::Client(Client::Disconnected { .. }))), 0);
}

#[tokio::test]
async fn the_application_publishes_during_a_download() {
    let image = image(1 << 20);
    let cloud = cloud(&image, None).await;
    let mut rig = Rig::new(cloud.mqtt_addr());
    let begun = |e: &ota_proto::Event| matches!(e, ota_proto::Event::Started { .. });
    rig.until(&image, |e| super::is_update(e, begun)).await;
    let topic = format!("{}/dev001/data", super::PRODUCT);
    let handle = rig.driver.publish(&topic, b"21.5", QoS::AtLeastOnce).unwrap();
    rig.prove(&cloud, &image).await;
    assert_eq!(rig.count(|e| *e == DriverEvent::Client(Client::Published(handle))), 1);
    assert!(rig.driver.publish("$ota/report/x/y", b"", QoS::AtMostOnce).is_err());
}

#[tokio::test]
async fn what_came_is_recorded_when_it_is_asked_for() {
    for record in [0, 65_536] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = wire_config(listener.local_addr().unwrap());
        let mut options = Options::default();
        options.record = record;
        let mut rig = Rig::with_options(config, device_config(), options);
        beside(&mut rig, async {
            let mut broker = Broker::accept(&listener).await;
            assert_eq!(broker.grant().await, identity().update_topic());
            broker
        })
        .await;
        let recording = rig.driver.recording();
        assert_eq!(recording.is_some_and(|bytes| !bytes.is_empty()), record > 0);
    }
}
