//! Clients that mean no good, and the end of the service.

use std::net::SocketAddr;
use std::time::Duration;

use ota_cloud::TaskOptions;
use ota_cloud::endpoint::Limits;
use ota_cloud::sign::UrlSigner;
use ota_server::{HandleError, NewFirmware, Service, ServiceConfig, StartError, What};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::{Client, PATIENCE, PRODUCT, device, http, login, start, start_with};

#[tokio::test]
async fn garbage_is_closed_and_the_others_go_on() {
    let running = start().await;
    let mut good = Client::device(&running, "dev001").await;
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
        b"\0\0\0\0",
        b"\x10\xff\xff\xff\x7f",
        b"\xff\xff\xff\xff\xff\xff",
    ] {
        let mut bad = Client::open(running.mqtt_addr()).await;
        bad.send(bytes).await;
        bad.closed().await;
    }
    good.send(b"\x30\xff\xff\x7f").await;
    good.closed().await;
    Client::device(&running, "dev001").await;
}

#[tokio::test]
async fn a_slow_connect_is_closed() {
    let limits = Limits { connect: Duration::from_millis(50), ..Limits::default() };
    let running = start_with(ServiceConfig { limits, ..Default::default() }).await;
    let mut log = running.handle().log();
    let mut client = Client::open(running.mqtt_addr()).await;
    client.send(b"\x10").await;
    client.closed().await;
    let What::Closed { why, .. } = log.next().await.unwrap().what else { panic!() };
    assert_eq!(why, "no CONNECT in time");
}

#[tokio::test]
async fn a_silent_device_is_closed() {
    let running = start().await;
    let mut connect = login("dev001");
    connect.keep_alive = 1;
    let (mut client, code) = Client::connect(running.mqtt_addr(), &connect).await;
    assert_eq!(code, 0);
    client.closed().await;
}

#[tokio::test]
async fn a_device_that_does_not_read_is_disconnected_when_its_queue_is_full() {
    // Not by the stall: that is the connection's own test.
    let stall = Duration::from_secs(3600);
    let limits = Limits { stall, ..Limits::default() };
    let running = start_with(ServiceConfig { limits, ..Default::default() }).await;
    let handle = running.handle();
    let mut image = NewFirmware::memory(PRODUCT, "1.0.0", &b"image"[..]);
    image.user_defined = Some("x".repeat(1_500));
    handle.add_firmware(image).await.unwrap();
    let _reader = Client::device(&running, "dev001").await;
    handle.wait_for(&device("dev001"), |record| record.online).await.unwrap();
    let mut log = handle.log();
    let flood = async {
        loop {
            let task = handle.start_task(&device("dev001"), "1.0.0", TaskOptions::default()).await;
            let task = task.unwrap();
            handle.cancel_task(&device("dev001"), task).await.unwrap();
        }
    };
    let closed = async {
        while let Some(entry) = log.next().await {
            if let What::Closed { why, .. } = entry.what {
                assert_eq!(entry.device, Some(device("dev001")));
                return why;
            }
        }
        String::new()
    };
    tokio::select! {
        () = flood => {}
        why = timeout(PATIENCE, closed) => {
            let why = why.unwrap();
            assert!(why.contains("queue is full"), "{why}");
        }
    }
}

#[tokio::test]
async fn connections_are_bounded() {
    let running = start_with(ServiceConfig { max_connections: 1, ..Default::default() }).await;
    let mut first = Client::device(&running, "dev001").await;
    let mut log = running.handle().log();
    let mut second = Client::open(running.mqtt_addr()).await;
    second.send(b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01d").await;
    // No CONNACK: nobody serves it, which is told.
    second.closed().await;
    loop {
        if let What::TurnedAway { most, .. } = log.next().await.unwrap().what {
            assert_eq!(most, 1);
            break;
        }
    }
    first.send(b"\xc0\0").await;
    assert!(first.next().await.is_some());
}

/// A connection from this address of the loopback network.
async fn from(address: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{address}:0").parse().unwrap()).unwrap();
    socket.connect(to).await.unwrap()
}

#[tokio::test]
async fn one_address_leaves_connections_to_others() {
    let config = ServiceConfig { connections_of_one: Some(2), ..Default::default() };
    let running = start_with(config).await;
    for to in [running.mqtt_addr(), running.http_addr()] {
        let _held = [from("127.0.0.2", to).await, from("127.0.0.2", to).await];
        let mut late = from("127.0.0.2", to).await;
        let end = timeout(PATIENCE, late.read(&mut [0])).await.unwrap();
        assert_eq!(end.unwrap_or(0), 0);
    }
    Client::device(&running, "dev001").await;
    let url = format!("http://{}/nothing", running.http_addr());
    assert_eq!(http::get(&url, "").await.status, 403);
}

#[tokio::test]
async fn an_http_client_that_sends_nothing_is_closed() {
    let http_patience = Duration::from_millis(50);
    let running = start_with(ServiceConfig { http_patience, ..Default::default() }).await;
    let stream = TcpStream::connect(running.http_addr()).await.unwrap();
    http::read_all(stream).await;
}

#[tokio::test]
async fn an_http_client_that_does_not_read_is_closed() {
    let http_patience = Duration::from_millis(500);
    let url_key = Some(http::KEY.to_vec());
    let running = start_with(ServiceConfig { http_patience, url_key, ..Default::default() }).await;
    let size = 64 << 20;
    let image = NewFirmware::memory(PRODUCT, "1.0.0", vec![7; size]);
    let path = running.handle().add_firmware(image).await.unwrap().path;
    let target = UrlSigner::new("", http::KEY, UrlSigner::LIFE).sign(&path, http::unix());
    let mut log = running.handle().log();
    let mut stream = TcpStream::connect(running.http_addr()).await.unwrap();
    let head = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    assert!(matches!(log.next().await.unwrap().what, What::Request { status: 200, .. }));
    let ended = timeout(PATIENCE, log.next()).await.unwrap().unwrap();
    assert!(matches!(ended.what, What::Closed { .. }), "{ended:?}");
    let mut got = 0;
    let mut buf = vec![0; 1 << 20];
    while let Ok(n @ 1..) = timeout(PATIENCE, stream.read(&mut buf)).await.unwrap() {
        got += n;
    }
    assert!(got < size, "{got}");
}

#[tokio::test]
async fn shutdown_ends_everything() {
    let running = start().await;
    let (mqtt, http, handle) = (running.mqtt_addr(), running.http_addr(), running.handle());
    let mut log = handle.log();
    let mut client = Client::device(&running, "dev001").await;
    running.shutdown().await;
    client.closed().await;
    while log.next().await.is_some() {}
    assert!(handle.log().next().await.is_none());
    assert!(matches!(handle.device(&device("dev001")).await, Err(HandleError::Stopped)));
    TcpListener::bind(mqtt).await.unwrap();
    TcpListener::bind(http).await.unwrap();
}

#[tokio::test]
async fn dropping_it_stops_it_too() {
    let running = start().await;
    let mut client = Client::device(&running, "dev001").await;
    drop(running);
    client.closed().await;
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = taken.local_addr().unwrap();
    for config in [
        ServiceConfig { mqtt_addr: addr, ..Default::default() },
        ServiceConfig { http_addr: addr, ..Default::default() },
    ] {
        let error = Service::start(config).await.unwrap_err();
        assert!(matches!(&error, StartError::Bind { addr: named, .. } if *named == addr));
        let text = error.to_string();
        assert!(text.contains(&addr.to_string()) && text.contains("another program"), "{text}");
    }
}
