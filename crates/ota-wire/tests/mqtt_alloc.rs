//! Counts the heap of an MQTT session (rule 17 of docs/rules.md).
#![allow(missing_docs, clippy::unwrap_used)]

use allocation_counter::measure;
use ota_proto::{Instant, QoS};
use ota_wire::mqtt::{ConnectLogin, Outgoing, Purpose, Session, SessionConfig, SessionFound};

const CONNACK: &[u8] = b"\x20\x02\0\0";

fn flush(session: &mut Session<u32>) {
    session.handle_sent(Instant::ZERO, session.transmit().len());
}

fn new() -> Session<u32> {
    // As long as the platform's names get.
    let login = ConnectLogin::new("x".repeat(58), "x".repeat(90), "x".repeat(75));
    Session::new(SessionConfig::new(login)).unwrap()
}

fn start(session: &mut Session<u32>) {
    session
        .subscribe(Instant::ZERO, Purpose::Ota, "$ota/update/PRODUCTID1/device", QoS::AtLeastOnce)
        .unwrap();
    session.handle_connected(Instant::ZERO);
    flush(session);
    let _ = session.handle_received(Instant::ZERO, CONNACK).unwrap();
    flush(session);
    let _ = session.handle_received(Instant::ZERO, b"\x90\x03\0\x01\x01").unwrap();
}

/// A report, its completion, and an offer.
fn exchange(session: &mut Session<u32>, offer: &[u8]) {
    let message = Outgoing {
        kind: Purpose::Ota,
        qos: QoS::AtLeastOnce,
        topic: "$ota/report/PRODUCTID1/device",
        payload: &[b'x'; 150],
    };
    session.publish(Instant::ZERO, message, 1).unwrap();
    let packet = session.transmit();
    let id = [packet[packet.len() - 152], packet[packet.len() - 151]];
    flush(session);
    let _ = session.handle_received(Instant::ZERO, &[0x40, 2, id[0], id[1]]).unwrap();
    assert!(session.poll_published().is_some());
    let received = session.handle_received(Instant::ZERO, offer).unwrap();
    assert!(matches!(received.found, SessionFound::Message { .. }));
}

#[test]
fn an_idle_session_is_small_and_traffic_leaves_nothing() {
    let offer = [&b"\x30\x85\x04\0\x01a"[..], &[b'x'; 514]].concat();
    let mut place = None;
    let first = measure(|| {
        let session = place.insert(new());
        start(session);
        exchange(session, &offer);
    });
    let mut session = place.unwrap();
    let later = measure(|| {
        for _ in 0..1_000 {
            exchange(&mut session, &offer);
        }
    });
    println!("idle {} bytes, then {later:?}", first.bytes_current);
    assert!(first.bytes_current < 1_500, "{first:?}");
    assert!(later.bytes_current <= 0 && later.bytes_max < 1_024, "{later:?}");
}

#[test]
fn a_peer_s_numbers_allocate_nothing() {
    let mut session = new();
    start(&mut session);
    let head = b"\x30\xff\xff\xff\x7f\xff\xff";
    let chunk = [b't'; 4_096];
    let info = measure(|| {
        let _ = session.handle_received(Instant::ZERO, head).unwrap();
        for _ in 0..1_000 {
            let _ = session.handle_received(Instant::ZERO, &chunk).unwrap();
        }
    });
    assert_eq!(info.count_total, 0, "{info:?}");
}
