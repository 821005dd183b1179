//! Stores that answer in their own ways.

use std::sync::{Arc, Mutex};

use crate::adapter::DriverEvent;
use mqttbytes::v4::{Packet, PubAck};
use ota_proto::{Command, Digester, Event as Update, Identity, Installed, Reason};
use ota_wire::client::ClientEvent as Client;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::messages::{Broker, beside};
use super::{PRODUCT, Rig, cloud, device_config, identity, image, is_update, wire_config};

/// How a connection ends after its answer.
#[derive(Clone, Copy)]
pub(crate) enum End {
    Closed,
    Reset,
    /// It stays open until the device closes it.
    Kept,
}

/// Gives each connection its answer. Returns its address and where it notes the requests.
pub(crate) async fn store(answers: Vec<(Vec<u8>, End)>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::new(Mutex::new(Vec::new()));
    let noted = requests.clone();
    tokio::spawn(async move {
        for (answer, end) in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let request = read_request(&mut stream).await;
            noted.lock().unwrap().push(request);
            // The device may close early.
            let _ = stream.write_all(&answer).await;
            match end {
                End::Closed => {}
                End::Reset => {
                    // What was written must arrive first: a reset throws it away.
                    stream.shutdown().await.unwrap();
                    stream.set_zero_linger().unwrap();
                }
                End::Kept => {
                    let _ = stream.read_to_end(&mut Vec::new()).await;
                }
            }
        }
    });
    (url, requests)
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
    }
    String::from_utf8(request).unwrap()
}

pub(crate) fn answer(head: &str, body: &[u8]) -> Vec<u8> {
    [b"HTTP/1.1 ", head.as_bytes(), b"\r\n\r\n", body].concat()
}

fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in body.chunks(size) {
        out.extend_from_slice(format!("{:x};x=y\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\nTrailer: 1\r\n\r\n");
    out
}

/// An update from these answers; returns the requests and the causes of retries.
async fn update(image: &[u8], answers: Vec<(Vec<u8>, End)>) -> (Vec<String>, Vec<Reason>) {
    let (url, requests) = store(answers).await;
    let cloud = cloud(image, Some(url)).await;
    let mut config = device_config();
    config.timing.retry_cap = ota_proto::Micros::from_millis(1);
    config.timing.violation = ota_proto::Micros::from_millis(1);
    let mut rig = Rig::with(wire_config(cloud.mqtt_addr()), config);
    rig.prove(&cloud, image).await;
    let causes = rig.events.iter().filter_map(|event| match event {
        DriverEvent::Client(Client::Device { event: Update::Retry { cause }, .. }) => Some(*cause),
        _ => None,
    });
    let requests = requests.lock().unwrap().clone();
    (requests, causes.collect())
}

#[tokio::test]
async fn a_body_may_end_with_its_length_its_last_chunk_or_the_connection() {
    let image = image(300_000);
    let length = format!("200 OK\r\nContent-Length: {}", image.len());
    for (answer, end) in [
        (answer(&length, &image), End::Kept),
        (answer(&length, &image), End::Closed),
        (answer("200 OK\r\nTransfer-Encoding: chunked", &chunked(&image, 997)), End::Kept),
        (answer("200 OK\r\nTransfer-Encoding: chunked", &chunked(&image, 70_000)), End::Closed),
        (answer("200 OK", &image), End::Closed),
    ] {
        let (requests, causes) = update(&image, vec![(answer, end)]).await;
        assert_eq!((requests.len(), causes), (1, vec![]));
        assert!(requests[0].starts_with("GET /TESTPROD01_1.0.0?sign="), "{}", requests[0]);
        assert!(!requests[0].contains("Range:"));
    }
}

/// Not only when the next connection needs its place, or the driver goes.
#[tokio::test]
async fn a_store_is_left_as_soon_as_the_image_has_come() {
    let image = image(300_000);
    let length = format!("200 OK\r\nContent-Length: {}", image.len());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let cloud = cloud(&image, Some(url)).await;
    let mut rig = Rig::new(cloud.mqtt_addr());
    let end = beside(&mut rig, async {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await;
        stream.write_all(&answer(&length, &image)).await.unwrap();
        stream.read_to_end(&mut Vec::new()).await
    });
    assert_eq!(end.await.unwrap(), 0);
}

#[tokio::test]
async fn a_body_that_is_cut_is_fetched_from_where_it_was_stored() {
    let image = image(300_000);
    let length = format!("200 OK\r\nContent-Length: {}", image.len());
    let half = &image[..150_000];
    for (first, end) in [
        (answer(&length, half), End::Closed),
        (answer(&length, half), End::Reset),
        (answer("200 OK", half), End::Reset),
        (
            answer("200 OK\r\nTransfer-Encoding: chunked", &chunked(&image, 997)[..150_000]),
            End::Closed,
        ),
    ] {
        // The store has no ranges: what is stored already is skipped.
        let second = (answer(&length, &image), End::Closed);
        let (requests, causes) = update(&image, vec![(first, end), second]).await;
        assert_eq!((requests.len(), causes), (2, vec![Reason::Closed]));
        assert!(requests[1].contains("\r\nRange: bytes=1"), "{}", requests[1]);
    }
}

/// Over plain http it may be the page of a captive portal.
#[tokio::test]
async fn a_body_without_a_length_that_ends_too_early_is_not_stored() {
    let image = image(300_000);
    let length = format!("200 OK\r\nContent-Length: {}", image.len());
    let page = &b"<html>Log in</html>".repeat(500);
    for (first, end) in [
        (answer("200 OK\r\nContent-Type: text/html", page), End::Closed),
        (answer("200 OK\r\nTransfer-Encoding: chunked", &chunked(page, 997)), End::Kept),
    ] {
        let second = (answer(&length, &image), End::Closed);
        let (requests, causes) = update(&image, vec![(first, end), second]).await;
        assert_eq!((requests.len(), causes), (2, vec![Reason::Contradiction]));
        assert!(!requests[1].contains("Range:"), "{}", requests[1]);
    }
}

/// A copy on the way may be damaged: the clean download goes past all caches.
#[tokio::test]
async fn the_clean_download_after_a_wrong_digest_asks_past_all_caches() {
    let image = image(100_000);
    let length = format!("200 OK\r\nContent-Length: {}", image.len());
    let mut damaged = image.clone();
    damaged[50_000] ^= 1;
    let answers =
        vec![(answer(&length, &damaged), End::Closed), (answer(&length, &image), End::Closed)];
    let (requests, causes) = update(&image, answers).await;
    assert_eq!((requests.len(), causes), (2, vec![]));
    let fresh = |request: &String| request.contains("\r\nCache-Control: no-cache\r\n");
    assert_eq!(requests.iter().map(fresh).collect::<Vec<_>>(), [false, true], "{requests:?}");
}

#[tokio::test]
async fn what_is_not_http_is_refused_and_tried_again() {
    let image = image(10_000);
    let length = format!("200 OK\r\nContent-Length: {}", image.len());
    let answers = vec![
        (b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), End::Kept),
        (answer(&format!("200 OK\r\nX: {}", "x".repeat(70_000)), b""), End::Kept),
        (Vec::new(), End::Closed),
        (b"HTTP/1.1 200 OK\r\nContent-Le".to_vec(), End::Closed),
        (answer(&length, &image), End::Closed),
    ];
    // Over plain http, violations are tolerated for a while.
    let (requests, causes) = update(&image, answers).await;
    assert_eq!(requests.len(), 5);
    let cut = Reason::Closed;
    assert_eq!(causes, [Reason::NotHttp, Reason::HeadTooLong, cut, cut]);
}

#[tokio::test]
async fn a_sub_device_is_updated_over_the_gateways_connection() {
    let image = image(100_000);
    let length = format!("200 OK\r\nContent-Length: {}", image.len());
    let (url, _) = store(vec![(answer(&length, &image), End::Kept)]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut rig = Rig::new(listener.local_addr().unwrap());
    let sub = Identity::new(PRODUCT, "meter7").unwrap();
    let mut config = device_config();
    config.identity = sub.clone();
    let temp = tempfile::tempdir().unwrap();
    let index = rig.driver.add_device(config, "3.1", super::storage(&temp)).unwrap();
    let image_at = rig.driver.image(index).map(|image| image.path());
    assert_eq!(image_at, Some(temp.path().join("slot.img")));

    let mut md5 = Digester::default();
    md5.update(&image);
    let offer = format!(
        r#"{{"type":"update_firmware","version":"3.2","url":"{url}/m","md5sum":"{}","file_size":{}}}"#,
        md5.finish(),
        image.len(),
    );
    let mut broker = beside(&mut rig, async {
        let mut broker = Broker::accept(&listener).await;
        let filters = [broker.grant().await, broker.grant().await];
        assert_eq!(filters, [identity().update_topic(), sub.update_topic()]);
        broker.publish(sub.update_topic(), 0, offer.as_bytes()).await;
        broker
    })
    .await;
    let install = |e: &DriverEvent| is_update(e, |e| matches!(e, Update::Install { .. }));
    let reported = async {
        let mut reported = Vec::new();
        // Acknowledges everything until the result has come.
        while !reported.iter().any(|(_, payload): &(String, String)| payload.contains("done")) {
            let Packet::Publish(publish) = broker.next().await else { continue };
            if publish.pkid > 0 {
                let mut tx = bytes::BytesMut::new();
                PubAck::new(publish.pkid).write(&mut tx).unwrap();
                broker.send(&tx).await;
            }
            let payload = String::from_utf8(publish.payload.to_vec()).unwrap();
            reported.push((publish.topic, payload));
        }
        reported
    };
    let mut reported = std::pin::pin!(reported);
    let reported = loop {
        tokio::select! {
            reported = &mut reported => break reported,
            event = rig.driver.next() => {
                let event = event.unwrap();
                if install(&event) {
                    assert!(std::fs::read(temp.path().join("slot.img")).unwrap() == image);
                    rig.driver.command(index, Command::Installed(Installed::Running)).unwrap();
                }
                rig.events.push(event);
            }
        }
    };
    let topics = |topic: &str| reported.iter().filter(|(t, _)| t == topic).count();
    assert_eq!(topics(identity().report_topic()), 1, "its version: {reported:?}");
    assert_eq!(topics(sub.report_topic()), reported.len() - 1);
    let of_sub = |e: &DriverEvent| matches!(e, DriverEvent::Client(Client::Device { device, .. }) if *device != index);
    assert_eq!(rig.count(of_sub), 0, "{:?}", rig.events);
}
