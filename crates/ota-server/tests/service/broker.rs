//! The service as a client of somebody else's broker, here one of a few lines.

use std::time::Duration;

use bytes::BytesMut;
use mqttbytes::QoS;
use mqttbytes::v4::{ConnAck, ConnectReturnCode, Packet, SubAck, SubscribeReasonCode};
use ota_cloud::broker::{Broker, Lost, Refused};
use ota_cloud::{CloudError, Rollout, Status};
use ota_proto::message::CloudMessage;
use ota_server::{ClientTls, Log, NewFirmware, Running, Service, ServiceConfig, StartError, What};
use tokio::net::{TcpListener, TcpSocket};

use crate::tls::{Authority, acceptor};
use crate::{Client, PRODUCT, device, start};

const REPORT: &str = "$ota/report/TESTPROD01/dev001";
const UPDATE: &str = "$ota/update/TESTPROD01/dev001";
const VERSION: &str = r#"{"type":"report_version","report":{"version":"0.1.0"}}"#;

/// A broker without routing: the test says what it sends.
struct Fake {
    listener: TcpListener,
}

impl Fake {
    async fn new() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    /// A cloud that joins it, with dev001 known.
    async fn cloud(&self, login: &str) -> Running {
        let url = format!("mqtt://{login}{}", self.listener.local_addr().unwrap());
        Self::cloud_of(Broker::from_url(&url).unwrap(), None).await
    }

    async fn cloud_of(mut broker: Broker, broker_tls: Option<ClientTls>) -> Running {
        broker.pause = Duration::from_millis(1);
        let config = ServiceConfig { broker: Some(broker), broker_tls, ..ServiceConfig::default() };
        let prepared = Service::prepare(config).await.unwrap();
        prepared.handle().add_device_without_secret(&device("dev001")).await.unwrap();
        prepared.open()
    }

    /// The next connection, after its CONNECT.
    async fn accept(&self) -> (Client, mqttbytes::v4::Connect) {
        let (stream, _) = self.listener.accept().await.unwrap();
        Self::greet(Client::on(stream)).await
    }

    async fn greet(mut peer: Client) -> (Client, mqttbytes::v4::Connect) {
        let Some(Packet::Connect(connect)) = peer.next().await else { panic!("no CONNECT") };
        (peer, connect)
    }

    /// The next connection, subscribed.
    async fn joined(&self) -> Client {
        let (peer, _) = self.accept().await;
        Self::subscribed(peer).await
    }

    async fn subscribed(mut peer: Client) -> Client {
        answer(&mut peer, ConnectReturnCode::Success).await;
        let Some(Packet::Subscribe(subscribe)) = peer.next().await else { panic!("no SUBSCRIBE") };
        let [filter] = &subscribe.filters[..] else { panic!("{subscribe:?}") };
        assert_eq!((filter.path.as_str(), filter.qos), ("$ota/report/+/+", QoS::AtLeastOnce));
        let granted = SubscribeReasonCode::Success(QoS::AtLeastOnce);
        let mut packet = BytesMut::new();
        SubAck::new(subscribe.pkid, vec![granted]).write(&mut packet).unwrap();
        peer.send(&packet).await;
        peer
    }
}

async fn answer(peer: &mut Client, code: ConnectReturnCode) {
    let mut packet = BytesMut::new();
    ConnAck::new(code, false).write(&mut packet).unwrap();
    peer.send(&packet).await;
}

async fn lost(log: &mut Log) -> (Lost, Duration) {
    loop {
        if let What::BrokerLost { why, retry, .. } = log.next().await.unwrap().what {
            return (why, retry);
        }
    }
}

async fn offer(peer: &mut Client) -> String {
    let (_, payload) = peer.message().await;
    let CloudMessage::Offer(offer) = CloudMessage::decode(&payload).unwrap() else { panic!() };
    offer.url.into_owned()
}

#[tokio::test]
async fn a_device_is_there_when_it_reports_and_gets_the_url_of_another_server() {
    let fake = Fake::new().await;
    let running = fake.cloud("").await;
    let handle = running.handle();
    let mut firmware = NewFirmware::memory(PRODUCT, "1.0.0", &b"image"[..]);
    firmware.url = Some("https://files.example/a?token=b".into());
    handle.add_firmware(firmware).await.unwrap();
    handle.set_rollout(PRODUCT, Some(Rollout::new("1.0.0"))).await.unwrap();
    let mut peer = fake.joined().await;
    assert!(!handle.device(&device("dev001")).await.unwrap().unwrap().online);

    peer.publish(REPORT, QoS::AtLeastOnce, VERSION.as_bytes()).await;
    assert!(matches!(peer.next().await, Some(Packet::PubAck(ack)) if ack.pkid == 9));
    let (topic, reply) = peer.message().await;
    assert_eq!(topic, UPDATE);
    assert!(matches!(CloudMessage::decode(&reply), Ok(CloudMessage::VersionReply { .. })));
    assert_eq!(offer(&mut peer).await, "https://files.example/a?token=b");
    let record = handle.device(&device("dev001")).await.unwrap().unwrap();
    assert!(record.online);
    assert_eq!(record.task.as_ref().unwrap().status, Status::Delivered);
    // The service does not serve what another server has.
    let ours = format!("http://{}/TESTPROD01_1.0.0", running.http_addr());
    assert_eq!(crate::http::get(&ours, "").await.status, 403);

    running.shutdown().await;
    assert_eq!(peer.next().await, Some(Packet::Disconnect));
}

#[tokio::test]
async fn what_is_to_be_sent_waits_for_the_broker_however_much_it_is() {
    let fake = Fake::new().await;
    let running = fake.cloud("").await;
    let handle = running.handle();
    let mut log = handle.log();
    let mut peer = fake.joined().await;
    let names: Vec<String> = (0..300).map(|n| format!("many{n}")).collect();
    for name in &names {
        handle.add_device_without_secret(&device(name)).await.unwrap();
        let topic = device(name).report_topic().to_owned();
        peer.publish(&topic, QoS::AtMostOnce, VERSION.as_bytes()).await;
        let (_, reply) = peer.message().await;
        assert!(matches!(CloudMessage::decode(&reply), Ok(CloudMessage::VersionReply { .. })));
    }
    drop(peer);
    assert_eq!(lost(&mut log).await.0, Lost::Closed);
    handle.add_firmware(NewFirmware::memory(PRODUCT, "1.0.0", &b"image"[..])).await.unwrap();
    handle.set_rollout(PRODUCT, Some(Rollout::new("1.0.0"))).await.unwrap();
    let mut peer = fake.joined().await;
    let mut urls = Vec::new();
    for _ in &names {
        urls.push(offer(&mut peer).await);
    }
    assert_eq!(urls.len(), 300);
}

#[tokio::test]
async fn a_refusal_is_said_and_the_password_is_not() {
    let fake = Fake::new().await;
    let running = fake.cloud("cloud:pass%20word@").await;
    let mut log = running.handle().log();
    let (mut peer, connect) = fake.accept().await;
    let login = connect.login.unwrap();
    assert_eq!((login.username.as_str(), login.password.as_str()), ("cloud", "pass word"));
    assert!(connect.clean_session && connect.client_id.is_empty());
    answer(&mut peer, ConnectReturnCode::BadUserNamePassword).await;
    peer.closed().await;
    let entry = log.next().await.unwrap();
    let text = format!("{entry:?}");
    assert!(!text.contains("pass") && !text.contains("cloud:"), "{text}");
    let What::BrokerLost { why, .. } = entry.what else { panic!("{text}") };
    assert_eq!(why, Lost::Refused(Refused::Credentials));
    // And it is tried again.
    fake.joined().await;
}

#[tokio::test]
async fn nobody_there_is_said_and_tried_again() {
    // Two sockets at one address: nobody else gets it when the first one is gone.
    let socket = |addr| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseport(true).unwrap();
        socket.bind(addr).unwrap();
        socket
    };
    let later = socket("127.0.0.1:0".parse().unwrap());
    let now = socket(later.local_addr().unwrap());
    let fake = Fake { listener: now.listen(8).unwrap() };
    let running = fake.cloud("").await;
    let mut log = running.handle().log();
    drop(fake.joined().await);
    drop(fake);
    assert_eq!(lost(&mut log).await.0, Lost::Closed);
    assert!(matches!(lost(&mut log).await.0, Lost::NoConnection(_)));
    let fake = Fake { listener: later.listen(8).unwrap() };
    fake.joined().await;
}

#[tokio::test]
async fn what_devices_send_through_a_broker_is_judged_as_ever() {
    let fake = Fake::new().await;
    let running = fake.cloud("").await;
    let mut log = running.handle().log();
    let mut peer = fake.joined().await;
    let other = "$ota/report/TESTPROD01/other";
    let huge = vec![b' '; 200_000];
    peer.publish(other, QoS::AtMostOnce, VERSION.as_bytes()).await;
    peer.publish("$ota/report/a b/c", QoS::AtMostOnce, VERSION.as_bytes()).await;
    peer.publish(REPORT, QoS::AtMostOnce, b"{").await;
    peer.publish(REPORT, QoS::AtLeastOnce, &huge).await;
    let mut errors = Vec::new();
    while errors.len() < 4 {
        if let What::Refused { error, .. } = log.next().await.unwrap().what {
            errors.push(error);
        }
    }
    assert!(matches!(
        errors[..],
        [
            CloudError::UnknownDevice,
            CloudError::ForeignTopic,
            CloudError::Malformed(_),
            CloudError::TooLarge
        ]
    ));
    // And the connection stands.
    assert!(matches!(peer.next().await, Some(Packet::PubAck(_))));
    peer.publish(REPORT, QoS::AtMostOnce, VERSION.as_bytes()).await;
    assert_eq!(peer.message().await.0, UPDATE);
}

#[tokio::test]
async fn a_broker_with_tls_is_trusted_or_not() {
    let ca = Authority::new();
    let fake = Fake::new().await;
    let url = format!("mqtts://localhost:{}", fake.listener.local_addr().unwrap().port());
    let missing = Broker::from_url(&url).unwrap();
    let config = ServiceConfig { broker: Some(missing.clone()), ..ServiceConfig::default() };
    assert!(matches!(Service::start(config).await, Err(StartError::NoTls)));

    let (acceptor, other) = (acceptor(&ca.issue(&["localhost"])), Authority::new());
    for (authority, host, words) in [
        (Some(&other), "localhost", "of no authority that is trusted"),
        (None, "localhost", "of no authority that is trusted"),
        (Some(&ca), "127.0.0.1", "for another name"),
    ] {
        let pem = authority.map(Authority::pem);
        let broker = Broker::from_url(&url.replace("localhost", host)).unwrap();
        let tls = ClientTls::new(pem.as_deref().map(str::as_bytes)).unwrap();
        let running = Fake::cloud_of(broker, Some(tls)).await;
        let mut log = running.handle().log();
        let (stream, _) = fake.listener.accept().await.unwrap();
        assert!(acceptor.accept(stream).await.is_err());
        let (why, _) = lost(&mut log).await;
        assert!(matches!(why, Lost::Tls(_)) && why.to_string().contains(words), "{why}");
    }

    let tls = ClientTls::new(Some(ca.pem().as_bytes())).unwrap();
    let running = Fake::cloud_of(missing, Some(tls)).await;
    let (stream, _) = fake.listener.accept().await.unwrap();
    let peer = Client::on(acceptor.accept(stream).await.unwrap());
    let mut peer = Fake::subscribed(Fake::greet(peer).await.0).await;
    peer.publish(REPORT, QoS::AtMostOnce, VERSION.as_bytes()).await;
    assert_eq!(peer.message().await.0, UPDATE);
    drop(running);
}

#[tokio::test]
async fn a_device_without_a_secret_cannot_log_in() {
    let running = start().await;
    let handle = running.handle();
    handle.add_device_without_secret(&device("bare")).await.unwrap();
    let (_client, code) = Client::connect(running.mqtt_addr(), &crate::login("bare")).await;
    assert_eq!(code, 4);
}
