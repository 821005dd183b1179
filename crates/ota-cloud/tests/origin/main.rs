//! The firmware server through its public API, with exact bytes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails may panic")]

mod faults;
mod hostile;
mod plain;
mod stored;

use ota_cloud::fault::{FaultPlan, Rule};
use ota_cloud::origin::{Closing, Connection, Content, Origin, OriginConfig};
use ota_proto::Instant;

const LEN: u64 = 1_000;

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

/// The image: 1,000 bytes that differ from their neighbours.
fn image() -> Vec<u8> {
    (0..LEN).map(|n| (n * 7 % 251) as u8).collect()
}

fn origin() -> Origin {
    let mut origin = Origin::new(OriginConfig::new(None, 0));
    origin.add_file("/fw", image());
    origin
}

fn faulty(rules: impl IntoIterator<Item = Rule>) -> Origin {
    let mut origin = origin();
    origin.set_faults(rules.into_iter().fold(FaultPlan::new(7), FaultPlan::with));
    origin
}

fn get(range: &str) -> String {
    let range = if range.is_empty() { String::new() } else { format!("Range: {range}\r\n") };
    format!("GET /fw HTTP/1.1\r\nHost: h:1\r\n{range}\r\n")
}

/// Everything that can be sent now.
fn drain(connection: &mut Connection, origin: &mut Origin, now: Instant) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let out = connection.transmit(origin, now);
        if out.is_empty() {
            return all;
        }
        assert!(out.len() <= Connection::MAX_OUT);
        all.extend_from_slice(out);
        let n = out.len();
        connection.handle_sent(now, n);
    }
}

struct Answer {
    head: String,
    body: Vec<u8>,
    closing: Option<Closing>,
}

impl Answer {
    fn of(bytes: &[u8], closing: Option<Closing>) -> Self {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Self { head: String::new(), body: bytes.to_vec(), closing };
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        Self { head, body: bytes[end + 4..].to_vec(), closing }
    }

    fn status(&self) -> &str {
        self.head.get(9..12).unwrap_or("")
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// One request on a connection of its own, drained at 0 ms.
fn ask(origin: &mut Origin, request: &str) -> Answer {
    let mut connection = Connection::new(at(0));
    assert_eq!(connection.handle_received(at(0), request.as_bytes()), request.len());
    let bytes = drain(&mut connection, origin, at(0));
    Answer::of(&bytes, connection.closing())
}

fn generated(seed: u64, len: u64) -> Vec<u8> {
    let content = Content::Generated { seed, len };
    let mut bytes = vec![0; usize::try_from(len).unwrap()];
    assert_eq!(content.read(0, &mut bytes), bytes.len());
    bytes
}
