//! What one step of the device costs, counted in instructions: `cargo xtask instructions` runs
//! this under callgrind, which counts only what [`measured`] calls. A count is the same on every
//! run of one binary, whatever else the machine does; a time is not.
//!
//! `instructions` lists the cases, `instructions CASE` runs one of them [`ROUNDS`] times.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a bench that fails may panic")]

use std::hint::black_box;

use ota_proto::message::{CloudMessage, DeviceMessage};
use ota_proto::url::Url;
use ota_proto::{
    Boot, Fetch as Get, Idle, Output, Publish, QoS, ResponseHead, SlotInfo, SlotState, Updater,
    Work,
};
use ota_wire::Client;
use ota_wire::client::{self, Found, Link, LinkKind};
use ota_wire::http::{self, Fetch, FetchLimits};

#[path = "../tests/client/common.rs"]
#[allow(dead_code, reason = "the desk of the tests, of which only a part is needed")]
mod common;

use common::{Desk, FIRST, at, config, device, digest, publish};

/// How often a case is run; the tool divides by it.
const ROUNDS: usize = 64;
const BLOCK: usize = 4_096;
const IMAGE: usize = (ROUNDS + 1) * BLOCK;

const PROGRESS: &[u8] = br#"{"type":"report_progress","report":{"progress":{"state":"downloading","percent":"10","result_code":"0","result_msg":""},"version":"2.0.0"}}"#;
const VERSION: &[u8] = br#"{"type":"report_version","report":{"version":"1.0.0"}}"#;
const REPLY: &[u8] =
    br#"{"result_code":0,"result_msg":"success","type":"report_version_rsp","version":"1.0.0"}"#;
/// As long as the platform's own: a signature of some 200 bytes.
const OFFER: &[u8] = br#"{"file_size":234775,"md5sum":"f2f1b3317d4f1ef7f512bfae5050563b","type":"update_firmware","url":"https://ota-1255858890.cos.ap-guangzhou.myqcloud.com/100012619289_AP9ZLEVFKT_0.0.2?sign=q-sign-algorithm%3Dsha1%26q-ak%3DAKIDabcdefghijklmnopqrstuvwxyz012345%26q-sign-time%3D1626663285%3B1626749685%26q-key-time%3D1626663285%3B1626749685%26q-header-list%3D%26q-url-param-list%3D%26q-signature%3D0123456789abcdef0123456789abcdef01234567","version":"0.0.2"}"#;
const HEAD: &[u8] = include_bytes!("../tests/fixtures/http/cos-206.http");
const TOPIC: &str = "P/D/data";

type Step = Box<dyn FnMut()>;
/// Makes ready, and returns the step that is counted.
type Case = fn() -> Step;

const CASES: [(&str, Case); 9] = [
    ("decode-report-version", || decode_device(VERSION)),
    ("decode-report-progress", || decode_device(PROGRESS)),
    ("decode-version-reply", || decode_cloud(REPLY)),
    ("decode-offer", || decode_cloud(OFFER)),
    ("updater-step", updater_step),
    ("mqtt-out", mqtt_out),
    ("mqtt-in", mqtt_in),
    ("http-head", http_head),
    ("body-block", body_block),
];

fn main() {
    let wanted = std::env::args().nth(1).filter(|word| !word.starts_with('-'));
    let Some(wanted) = wanted else {
        CASES.iter().for_each(|(name, _)| println!("{name} {ROUNDS}"));
        return;
    };
    let (_, case) = CASES.iter().find(|(name, _)| *name == wanted).expect("a case");
    let mut step = case();
    for _ in 0..ROUNDS {
        measured(&mut step);
    }
}

/// The only place that is counted.
#[inline(never)]
fn measured(step: &mut Step) {
    step();
}

fn decode_device(payload: &'static [u8]) -> Step {
    Box::new(move || {
        black_box(DeviceMessage::decode(black_box(payload)).unwrap());
    })
}

fn decode_cloud(payload: &'static [u8]) -> Step {
    Box::new(move || {
        black_box(CloudMessage::decode(black_box(payload)).unwrap());
    })
}

/// Bytes come, are stored, and the machine says what is next: no wires.
fn updater_step() -> Step {
    let config = device("P", "D");
    let topic = config.identity.update_topic().to_owned();
    let mut machine = Updater::new(at(0), config, large_slot()).unwrap();
    let mut fetch = None;
    machine.handle_session(at(1), true);
    machine.handle_message(at(1), &topic, REPLY).unwrap();
    machine.handle_message(at(1), &topic, offer().as_bytes()).unwrap();
    let mut buf = [0; ota_proto::Config::buffer_len()];
    let fetch = loop {
        match machine.poll(at(1), &mut buf).unwrap() {
            Output::Publish(Publish { id, .. }) => machine.handle_published(at(1), id),
            Output::Do(op, Work::Persist(_) | Work::Erase { .. }) => {
                machine.handle_done(at(1), op, Ok(None));
            }
            Output::Fetch(Get { op, .. }) => {
                let content_length = u64::try_from(IMAGE).ok();
                let head = ResponseHead { status: 200, content_length, ..Default::default() };
                machine.handle_response(at(1), op, &head).unwrap();
                fetch = Some(op);
            }
            Output::Idle(Idle { read_body: true, .. }) => break fetch.unwrap(),
            Output::Idle(_) => panic!("no download"),
            _ => {}
        }
    };
    Box::new(move || {
        let body = machine.handle_body(at(1), fetch, &[0; 16]).unwrap();
        machine.handle_done(at(1), body.work.unwrap().0, Ok(None));
        let _ = black_box(machine.poll(at(1), &mut buf).unwrap());
    })
}

/// A QoS 0 message of the application, from the call to the event that it has left.
fn mqtt_out() -> Step {
    let mut desk = Desk::new();
    let link = desk.up(at(1));
    desk.sent(at(1), link);
    Box::new(move || {
        desk.client.publish(at(1), TOPIC, &[b'x'; 64], QoS::AtMostOnce).unwrap();
        let count = black_box(desk.client.transmit(link)).len();
        desk.client.handle_sent(at(1), link, count);
        assert!(matches!(desk.client.poll(at(1)), client::Output::Event(_)));
    })
}

/// A QoS 0 message for the application.
fn mqtt_in() -> Step {
    let mut desk = Desk::new();
    let link = desk.up(at(1));
    desk.sent(at(1), link);
    let packet = publish(TOPIC, &"x".repeat(64));
    Box::new(move || {
        let received = desk.client.handle_received(at(1), link, &packet);
        assert!(matches!(received.found, Some(Found::Message { .. })));
    })
}

fn http_head() -> Step {
    let url = Url { tls: false, host: "store.example", port: 80, target: "/fw.bin?sign=secret" };
    let fresh = Fetch::new(&url, 40, FetchLimits::default()).unwrap();
    let mut all: Vec<_> = (0..ROUNDS).map(|_| fresh.clone()).collect();
    Box::new(move || {
        let mut fetch = all.pop().unwrap();
        let received = fetch.handle_received(HEAD).unwrap();
        assert!(matches!(received.found, http::FetchFound::Head(_)));
    })
}

/// 4 KiB of body through the client to the slot's write, its completion and the next output;
/// nothing is copied or hashed.
fn body_block() -> Step {
    let (mut desk, link) = downloading();
    let block = vec![0_u8; BLOCK];
    Box::new(move || {
        let received = desk.client.handle_received(at(1), link, &block);
        let Some(Found::Write { op, span, .. }) = received.found else { panic!("no write") };
        assert_eq!(span.len(), BLOCK);
        let updater = desk.client.updater_mut(FIRST).unwrap();
        updater.handle_done(at(1), op, Ok(None));
        let _ = black_box(desk.client.poll(at(1)));
    })
}

/// A client whose download has begun: the first block has come.
fn downloading() -> (Desk, Link) {
    let mut client = Client::new(at(0), config()).unwrap();
    client.add_device(at(0), device("P", "D"), large_slot()).unwrap();
    let mut desk = Desk { client, flash: vec![0; IMAGE], ..Desk::new() };
    let broker = desk.up(at(1));
    desk.sent(at(1), broker);
    desk.feed(at(1), broker, &publish("$ota/update/P/D", &offer()));
    let store = desk.open(at(1), LinkKind::Store);
    desk.client.handle_connected(at(1), store);
    desk.sent(at(1), store);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {IMAGE}\r\n\r\n");
    desk.feed(at(1), store, head.as_bytes());
    desk.feed_body(at(1), store, &[0; BLOCK]);
    (desk, store)
}

/// A slot that is erased in one step, so that only blocks are counted.
fn large_slot() -> Boot<'static> {
    let storage = SlotInfo { capacity: 1 << 30, erase: 1 << 20, write: 1 };
    Boot { running: "0.1.0", slot: SlotState::Confirmed, journal: None, storage }
}

/// An offer of [`IMAGE`] zeros.
fn offer() -> String {
    let md5 = digest(&[0; IMAGE]);
    format!(
        r#"{{"file_size":{IMAGE},"md5sum":"{md5}","type":"update_firmware","url":"http://store.example/fw?sign=x","version":"1.0.0"}}"#
    )
}
