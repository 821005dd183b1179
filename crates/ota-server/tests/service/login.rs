//! Who gets in.

use std::time::Duration;

use mqttbytes::QoS;
use mqttbytes::v4::Connect;
use ota_cloud::endpoint::Refusal;
use ota_server::{HandleError, ServiceConfig, What};

use crate::{Client, device, login, secret, start, start_with};

#[tokio::test]
async fn right_and_wrong_credentials() {
    let running = start().await;
    let addr = running.mqtt_addr();
    let (_, code) = Client::connect(addr, &login("dev001")).await;
    assert_eq!(code, 0);

    let mut wrong = login("dev001");
    wrong.login.as_mut().unwrap().password.replace_range(0..1, "x");
    let mut lapsed = login("dev001");
    let user = lapsed.login.as_mut().unwrap();
    user.username = "TESTPROD01dev001;12010126;AbC12;1".into();
    let mut none = login("dev001");
    none.login.as_mut().unwrap().password.clear();
    let mut nobody = login("dev001");
    nobody.login = None;
    let mut stranger = login("dev002");
    stranger.login = None;
    for bad in [wrong, lapsed, none, nobody, stranger] {
        let (mut client, code) = Client::connect(addr, &bad).await;
        assert_eq!(code, 4);
        client.closed().await;
    }

    let mut log = running.handle().log();
    let (mut client, code) = Client::connect(addr, &login("dev002")).await;
    assert_eq!(code, 5);
    client.closed().await;
    let mut refused = log.next().await.unwrap().what;
    while matches!(refused, What::Closed { .. }) {
        refused = log.next().await.unwrap().what;
    }
    let What::LoginRefused { client_id, why, .. } = refused else { panic!("{refused:?}") };
    assert_eq!((client_id.as_str(), why), ("TESTPROD01dev002", Refusal::UnknownDevice));

    let mut other = login("dev001");
    other.client_id = "TESTPROD01dev002".into();
    running.handle().add_device(&device("dev002"), &secret()).await.unwrap();
    let (mut client, code) = Client::connect(addr, &other).await;
    assert_eq!(code, 2);
    client.closed().await;
}

/// Captured from the vendor's SDKs with this device's secret.
#[tokio::test]
async fn the_captured_logins_of_both_vendor_sdks() {
    let running = start().await;
    let mut log = running.handle().log();
    let python = b"\x10\x80\x01\0\x06MQIsdp\x03\xc2\0\x3c\
        \0\x10TESTPROD01dev001\
        \0\x2dTESTPROD01dev001;21010406;5QY3H;1795431582795\
        \0\x319d1323f890a6176cba73c6a87adce4bca61fa512;hmacsha1";
    let (_python, code) = Client::connect_raw(running.mqtt_addr(), python).await;
    assert_eq!(code, 0);
    assert!(matches!(log.next().await.unwrap().what, What::LoggedIn { legacy: true, .. }));
    let c = b"\x10\x82\x01\0\x04MQTT\x04\xc2\0\x78\
        \0\x10TESTPROD01dev001\
        \0\x31TESTPROD01dev001;21010406;99X2l;92233720368547758\
        \0\x31c0df5f79c7fdfb785bb4df85ae42fb7fbd6d8ef8;hmacsha1";
    let (_c, code) = Client::connect_raw(running.mqtt_addr(), c).await;
    assert_eq!(code, 0);
}

#[tokio::test]
async fn a_second_login_kicks_the_first() {
    let running = start().await;
    let mut first = Client::device(&running, "dev001").await;
    let mut second = Client::device(&running, "dev001").await;
    first.closed().await;
    // The second one stays, and stays online.
    second.send(b"\xc0\0").await;
    assert_eq!(second.next().await, Some(mqttbytes::v4::Packet::PingResp));
    let handle = running.handle();
    let record = handle.wait_for(&device("dev001"), |record| record.counters.sessions == 2).await;
    assert!(record.unwrap().online);
}

#[tokio::test]
async fn logins_too_close_together_are_refused_when_asked() {
    let connect_spacing = Some(Duration::from_secs(5));
    let running = start_with(ServiceConfig { connect_spacing, ..Default::default() }).await;
    let (_first, code) = Client::connect(running.mqtt_addr(), &login("dev001")).await;
    assert_eq!(code, 0);
    let (mut second, code) = Client::connect(running.mqtt_addr(), &login("dev001")).await;
    assert_eq!(code, 3);
    second.closed().await;
}

#[tokio::test]
async fn anonymous_takes_any_device_but_not_a_registered_ones_name() {
    let running = start_with(ServiceConfig { anonymous: true, ..Default::default() }).await;
    let addr = running.mqtt_addr();
    let (mut client, code) = Client::connect(addr, &Connect::new("ANYPRODUCTany-name")).await;
    assert_eq!(code, 0);
    let ack = client.subscribe("$ota/update/ANYPRODUCT/any-name", QoS::AtMostOnce).await;
    assert_eq!(ack, [0]);
    client.publish("$ota/report/ANYPRODUCT/any-name", QoS::AtMostOnce, REPORT).await;
    let (_, payload) = client.message().await;
    assert!(payload.starts_with(br#"{"result_code":0"#));
    for bad in ["", "short", "ANYPRODUCT", "ANYPRODUCTa/b", "ANYPRODUCé+"] {
        let (_, code) = Client::connect(addr, &Connect::new(bad)).await;
        assert_eq!(code, 2, "{bad}");
    }
    for (id, user) in [("TESTPROD01dev001", ""), ("", "TESTPROD01dev001;1;2;3")] {
        let mut connect = Connect::new(id);
        connect.set_login(user, "");
        let (_, code) = Client::connect(addr, &connect).await;
        assert_ne!(code, 0, "{id}");
    }
}

const REPORT: &[u8] = br#"{"type":"report_version","report":{"version":"0.1.0"}}"#;

#[tokio::test]
async fn two_devices_cannot_have_one_client_id() {
    let running = start().await;
    let other = ota_proto::Identity::new("TESTPROD01d", "ev001").unwrap();
    let refused = running.handle().add_device(&other, &secret()).await.unwrap_err();
    assert!(matches!(refused, HandleError::ClientIdTaken(_)));
}
