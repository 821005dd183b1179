//! A broker that answers every packet, and a store that answers every request.

use bytes::BytesMut;
use mqttbytes::v4;
use ota_proto::{Digester, Md5};

use crate::input::Input;

/// The longest packet that the client may send, in bytes.
const LONGEST: usize = 64 * 1_024;

/// The image on offer.
pub(super) fn image() -> Vec<u8> {
    (0..40).map(|i| i * 5 + 1).collect()
}

fn digest() -> Md5 {
    let mut digester = Digester::new();
    digester.update(&image());
    digester.finish()
}

#[derive(Debug, Default)]
pub(super) struct Broker {
    rx: BytesMut,
    connected: bool,
    /// It replies to version reports.
    pub(super) replies: bool,
}

impl Broker {
    /// A new connection.
    pub(super) fn reset(&mut self) {
        self.rx.clear();
        self.connected = false;
    }

    /// Reads what came; the answers.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.rx.extend_from_slice(bytes);
        let mut answers = Vec::new();
        loop {
            let packet = match v4::read(&mut self.rx, LONGEST) {
                Ok(packet) => packet,
                Err(mqttbytes::Error::InsufficientBytes(_)) => return answers,
                Err(error) => panic!("the client sent what is no packet: {error:?}"),
            };
            let first = matches!(packet, v4::Packet::Connect(_));
            assert!(first != self.connected, "CONNECT is the first packet, and only the first");
            self.connected = true;
            match packet {
                v4::Packet::Connect(_) => answers.extend([0x20, 2, 0, 0]),
                v4::Packet::Subscribe(packet) => {
                    answers.extend([0x90, 3]);
                    answers.extend(packet.pkid.to_be_bytes());
                    answers.push(1);
                }
                v4::Packet::Unsubscribe(packet) => {
                    answers.extend([0xB0, 2]);
                    answers.extend(packet.pkid.to_be_bytes());
                }
                v4::Packet::Publish(packet) => self.published(&packet, &mut answers),
                v4::Packet::PingReq => answers.extend([0xD0, 0]),
                v4::Packet::PubAck(_) | v4::Packet::Disconnect => {}
                other => panic!("a client sent {other:?}"),
            }
        }
    }

    fn published(&self, packet: &v4::Publish, answers: &mut Vec<u8>) {
        if packet.pkid != 0 {
            answers.extend([0x40, 2]);
            answers.extend(packet.pkid.to_be_bytes());
        }
        let text = String::from_utf8_lossy(&packet.payload);
        let device = packet.topic.strip_prefix("$ota/report/");
        if let Some(device) = device.filter(|_| self.replies && text.contains("report_version")) {
            let version = text.split('"').rev().nth(1).unwrap();
            answers.extend(publish(&format!("$ota/update/{device}"), &reply(version), 0));
        }
    }
}

fn reply(version: &str) -> String {
    format!(
        r#"{{"result_code":0,"result_msg":"","type":"report_version_rsp","version":"{version}"}}"#
    )
}

/// A PUBLISH; of QoS 1 unless the identifier is 0.
fn publish(topic: &str, payload: &str, id: u16) -> Vec<u8> {
    let qos = if id == 0 { mqttbytes::QoS::AtMostOnce } else { mqttbytes::QoS::AtLeastOnce };
    let mut packet = v4::Publish::new(topic, qos, payload);
    packet.pkid = id;
    let mut bytes = BytesMut::new();
    packet.write(&mut bytes).unwrap();
    bytes.to_vec()
}

/// A message that the broker sends by itself.
pub(super) fn message(input: &mut Input<'_>) -> Vec<u8> {
    let topic = input.pick(&["$ota/update/P/D", "$ota/update/Q/E", "P/D/data"]);
    let id = u16::from(input.byte() % 4);
    let size = if input.byte() == 255 { 41 } else { image().len() };
    let version = input.pick(&["1.0.0", "2.0.0", "0.1.0"]);
    let url = input.pick(&[
        "http://a.example/x?sign=1",
        "http://b.example:81/y",
        "https://c.example/z",
        "http://a.example/x y",
        "nonsense",
    ]);
    let md5 = digest();
    let offer = format!(
        r#"{{"file_size":{size},"md5sum":"{md5}","type":"update_firmware","url":"{url}","version":"{version}"}}"#
    );
    let payload = match input.byte() % 6 {
        0 => reply(version),
        1 => "x".repeat(usize::from(input.byte()) * 40),
        _ => offer,
    };
    publish(topic, &payload, id)
}

#[derive(Debug, Default)]
pub(super) struct Store {
    rx: Vec<u8>,
    /// How requests are answered.
    pub(super) answer: u8,
}

impl Store {
    pub(super) fn reset(&mut self) {
        self.rx.clear();
    }

    /// Reads what came; the answer to a whole request.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.rx.extend_from_slice(bytes);
        assert!(self.rx.len() <= 4_096, "a long request");
        if !self.rx.ends_with(b"\r\n\r\n") {
            return Vec::new();
        }
        let text = String::from_utf8(std::mem::take(&mut self.rx)).unwrap();
        assert!(text.starts_with("GET /") && text.matches("\r\n\r\n").count() == 1, "{text:?}");
        let from = text.split("bytes=").nth(1).and_then(|rest| rest.split('-').next());
        let from: usize = from.map_or(0, |from| from.parse().unwrap());
        self.respond(from)
    }

    fn respond(&self, from: usize) -> Vec<u8> {
        let image = image();
        let (body, total) = (&image[from.min(image.len())..], image.len());
        let last = total - 1;
        let head = match self.answer % 12 {
            0..=3 if from > 0 => format!(
                "206 Partial\r\nETag: \"1\"\r\nContent-Range: bytes {from}-{last}/{total}\r\nContent-Length: {}",
                body.len()
            ),
            0..=3 => format!("200 OK\r\nETag: \"1\"\r\nContent-Length: {total}"),
            4 => return chunked(&image),
            5 => "403 No\r\nContent-Length: 0".into(),
            6 => "404 No\r\nContent-Length: 0".into(),
            7 => "302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0".into(),
            8 => "200 OK\r\nContent-Length: 3".into(),
            9 => "500 Oh\r\nRetry-After: 1".into(),
            10 => "206 Partial\r\nContent-Range: bytes 1-2/3".into(),
            _ => "416 No\r\nContent-Range: bytes */40\r\nContent-Length: 0".into(),
        };
        let mut all = format!("HTTP/1.1 {head}\r\n\r\n").into_bytes();
        all.extend_from_slice(if from > 0 { body } else { &image });
        all
    }
}

fn chunked(image: &[u8]) -> Vec<u8> {
    let mut all = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in image.chunks(15) {
        all.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        all.extend(chunk);
        all.extend(b"\r\n");
    }
    all.extend(b"0\r\n\r\n");
    all
}
