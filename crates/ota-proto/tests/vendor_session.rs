//! The vendor's log, message by message, at its own times and with its own lengths
//! (vendor-ota-sample.md): 0.1.0 is reported, 1.0.0 is offered, fetched and burnt. Then what the
//! log does not show: the restart, and the new version's own report and result.
//!
//! The vendor writes JSON with spaces, 58, 151, 153 and 128 bytes; we write it compact.
#![allow(clippy::unwrap_used)]

use ota_proto::message::DeviceMessage;
use ota_proto::{
    Boot, Command, Config, Digester, Event, Fetch, Identity, Idle, Installed, Instant, Journal,
    OpId, Output, PubId, Publish, QoS, ResponseHead, SlotInfo, SlotState, Updater, Work,
};

const TOPIC: &str = "$ota/report/TESTPROD01/dev001";
const UPDATE: &str = "$ota/update/TESTPROD01/dev001";
/// The log's 10:54:28.932: subscribed.
const START: u64 = 28_932;
const SIZE: usize = 234_775;

const REPORT_OLD: &str = r#"{"type":"report_version","report":{"version":"0.1.0"}}"#;
const REPORT_NEW: &str = r#"{"type":"report_version","report":{"version":"1.0.0"}}"#;
const REPLY_OLD: &str =
    r#"{"result_code":0,"result_msg":"success","type":"report_version_rsp","version":"0.1.0"}"#;
const REPLY_NEW: &str =
    r#"{"result_code":0,"result_msg":"success","type":"report_version_rsp","version":"1.0.0"}"#;
const BURNING: &str = r#"{"type":"report_progress","report":{"progress":{"state":"burning","result_code":"0","result_msg":""},"version":"1.0.0"}}"#;
const DONE: &str = r#"{"type":"report_progress","report":{"progress":{"state":"done","result_code":"0","result_msg":""},"version":"1.0.0"}}"#;

fn downloading(percent: u8) -> String {
    format!(
        r#"{{"type":"report_progress","report":{{"progress":{{"state":"downloading","percent":"{percent}","result_code":"0","result_msg":""}},"version":"1.0.0"}}}}"#
    )
}

fn image() -> Vec<u8> {
    (0..SIZE).map(|i| u8::try_from(i % 253).unwrap()).collect()
}

/// The offer, 468 bytes as in the log: the URL of the platform's shape, padded in its signature.
fn offer() -> String {
    let mut digester = Digester::new();
    digester.update(&image());
    let text = |pad: &str| {
        format!(
            r#"{{"file_size":{SIZE},"md5sum":"{}","type":"update_firmware","url":"https://ota-1255858890.cos.ap-guangzhou.myqcloud.com/100012619289_TESTPROD01_1.0.0?sign=q-sign-algorithm%3Dsha1%26q-signature%3D{pad}","version":"1.0.0"}}"#,
            digester.clone().finish()
        )
    };
    let pad = "0".repeat(468 - text("").len());
    text(&pad)
}

/// What came out at one moment.
#[derive(Default)]
struct Out {
    published: Vec<(PubId, QoS, String)>,
    events: Vec<Event>,
    fetch: Option<(OpId, u64)>,
    journal: Option<[u8; Journal::LEN]>,
    deadline: Option<Instant>,
}

struct Device {
    machine: Updater,
    slot: Vec<u8>,
    journal: Option<[u8; Journal::LEN]>,
}

impl Device {
    fn boot(ms: u64, running: &str, slot: SlotState, journal: Option<[u8; Journal::LEN]>) -> Self {
        let identity = Identity::new("TESTPROD01", "dev001").unwrap();
        let storage = SlotInfo { capacity: 1 << 20, erase: 4_096, write: 4 };
        let boot = Boot { running, slot, journal: journal.as_ref(), storage };
        let now = Instant::from_millis(ms);
        let machine = Updater::new(now, Config::new(identity, 1), boot).unwrap();
        Self { machine, slot: vec![0; 1 << 20], journal }
    }

    /// All outputs at this moment; storage answers at once.
    fn out(&mut self, ms: u64) -> Out {
        let now = Instant::from_millis(ms);
        let mut out = Out::default();
        let mut buf = [0; Config::buffer_len()];
        loop {
            match self.machine.poll(now, &mut buf).unwrap() {
                Output::Publish(Publish { id, topic, qos, payload }) => {
                    assert_eq!(topic, TOPIC);
                    let text = String::from_utf8(payload.to_vec()).unwrap();
                    out.published.push((id, qos, text));
                }
                Output::Fetch(Fetch { op, from, url, .. }) => {
                    assert!(url.starts_with("https://ota-1255858890.cos."));
                    out.fetch = Some((op, from));
                }
                Output::Do(op, Work::Erase { .. }) => self.machine.handle_done(now, op, Ok(None)),
                Output::Do(op, Work::Sync) => self.machine.handle_done(now, op, Ok(None)),
                Output::Do(op, Work::Slot(_)) => self.machine.handle_done(now, op, Ok(None)),
                Output::Do(op, Work::Digest { range }) => {
                    assert_eq!(range, 0..SIZE as u64);
                    let mut digester = Digester::new();
                    digester.update(&self.slot[..SIZE]);
                    self.machine.handle_done(now, op, Ok(Some(digester.finish())));
                }
                Output::Do(op, Work::Persist(record)) => {
                    out.journal = Some(record);
                    self.journal = out.journal;
                    self.machine.handle_done(now, op, Ok(None));
                }
                Output::Event(event) => out.events.push(event),
                Output::CancelFetch(_) => {}
                Output::Idle(Idle { deadline, .. }) => {
                    out.deadline = deadline;
                    return out;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// Expects exactly these publications at this moment.
    fn says(&mut self, ms: u64, expected: &[(QoS, &str)]) -> Out {
        let out = self.out(ms);
        let said: Vec<_> =
            out.published.iter().map(|(_, qos, text)| (*qos, text.as_str())).collect();
        assert_eq!(said, expected, "at {ms}");
        out
    }

    fn hears(&mut self, ms: u64, text: &str) {
        self.machine.handle_message(Instant::from_millis(ms), UPDATE, text.as_bytes()).unwrap();
    }

    fn published(&mut self, ms: u64, out: &Out) {
        for (id, ..) in &out.published {
            self.machine.handle_published(Instant::from_millis(ms), *id);
        }
    }

    /// Writes the next piece of the image.
    fn receives(&mut self, ms: u64, op: OpId, at: usize, image: &[u8]) -> usize {
        let now = Instant::from_millis(ms);
        let body = self.machine.handle_body(now, op, &image[at..]).unwrap();
        let Some((op, Work::Write { at: to, bytes })) = body.work else { panic!("no write") };
        let to = usize::try_from(to).unwrap();
        self.slot[to..to + bytes.len()].copy_from_slice(bytes);
        self.machine.handle_done(now, op, Ok(None));
        at + body.consumed
    }
}

#[test]
fn the_vendors_session_and_what_follows() {
    use QoS::{AtLeastOnce, AtMostOnce};
    let mut device = Device::boot(0, "0.1.0", SlotState::Confirmed, None);
    device.machine.handle_session(Instant::from_millis(START), true);
    // 10:54:29.004 report, .144 PUBACK, .145 the reply of 86 bytes.
    let out = device.says(29_004, &[(AtLeastOnce, REPORT_OLD)]);
    device.published(29_144, &out);
    assert_eq!(REPLY_OLD.len(), 86);
    device.hears(29_145, REPLY_OLD);
    let out = device.says(29_145, &[]);
    assert_eq!(out.events, [Event::VersionAccepted]);
    let hours = out.deadline.unwrap().since(Instant::from_millis(29_145)).as_secs() / 3_600;
    assert!((21..=26).contains(&hours), "nothing to do until tomorrow");
    // 10:54:45.409 the offer of 468 bytes.
    let offer = offer();
    assert_eq!(offer.len(), 468);
    device.hears(45_409, &offer);
    let out = device.says(45_409, &[(AtMostOnce, &downloading(0))]);
    device.published(45_409, &out);
    assert_eq!(out.events, [Event::Started { from: 0 }]);
    let (op, from) = out.fetch.unwrap();
    assert_eq!(from, 0);
    let head = ResponseHead {
        status: 200,
        content_length: Some(SIZE as u64),
        etag: Some(b"\"f2f1b331\""),
        ..ResponseHead::default()
    };
    device.machine.handle_response(Instant::from_millis(46_036), op, &head).unwrap();
    // To 10:57:25.537 the body comes, a block every 2,779 ms.
    let image = image();
    let mut percents = vec![0];
    let (mut at, mut ms) = (0, 46_036);
    while at < SIZE {
        device.out(ms);
        at = device.receives(ms, op, at, &image);
        if at == SIZE {
            break;
        }
        let out = device.out(ms);
        for (_, qos, text) in &out.published {
            assert_eq!(*qos, AtMostOnce);
            let message = DeviceMessage::decode(text.as_bytes()).unwrap();
            let DeviceMessage::ReportProgress { progress, .. } = message else { panic!("{text}") };
            let percent = u8::try_from(progress.percent.unwrap()).unwrap();
            assert_eq!(*text, downloading(percent));
            percents.push(percent);
        }
        device.published(ms, &out);
        ms += 2_779;
    }
    assert!(percents.windows(2).all(|pair| pair[0] < pair[1] || pair[1] < 100), "{percents:?}");
    assert!(percents.len() <= 21, "{percents:?}");
    // 10:57:25.537 "100", .538 burning.
    let out = device.says(ms, &[(AtMostOnce, &downloading(100)), (AtLeastOnce, BURNING)]);
    assert!(out.events.contains(&Event::Install { size: SIZE as u64 }));
    device.published(ms + 104, &out);
    device
        .machine
        .command(Instant::from_millis(ms + 500), Command::Installed(Installed::NeedsRestart))
        .unwrap();
    let out = device.says(ms + 500, &[]);
    assert_eq!(out.events, [Event::Restart]);
    the_new_version_proves_itself(device.journal);
}

/// What the log does not show.
fn the_new_version_proves_itself(journal: Option<[u8; Journal::LEN]>) {
    use QoS::AtLeastOnce;
    // Our restart: the new image on trial, a new clock.
    let mut device = Device::boot(0, "1.0.0", SlotState::Trial, journal);
    assert_eq!(device.out(0).events, [Event::Trial]);
    device.machine.command(Instant::from_millis(300), Command::Confirm).unwrap();
    device.machine.handle_session(Instant::from_millis(2_000), true);
    let out = device.says(2_000, &[(AtLeastOnce, REPORT_NEW), (AtLeastOnce, BURNING)]);
    device.published(2_100, &out);
    device.hears(2_101, REPLY_NEW);
    let out = device.says(2_101, &[(AtLeastOnce, DONE)]);
    assert!(!device.machine.is_settled());
    device.published(2_200, &out);
    let out = device.says(2_200, &[(AtLeastOnce, REPORT_NEW)]);
    device.published(2_300, &out);
    device.hears(2_301, REPLY_NEW);
    device.says(2_301, &[]);
    assert!(device.machine.is_settled());
}

/// The lengths that the log states are those of the vendor's spacing: the same messages.
#[test]
fn the_vendors_lengths_are_those_of_its_spacing() {
    let spaced = |text: &str| text.replace("\":", "\": ").replace(",\"", ", \"").len();
    assert_eq!(spaced(REPORT_OLD), 58);
    assert_eq!(spaced(&downloading(0)), 151);
    assert_eq!(spaced(&downloading(100)), 153);
    assert_eq!(spaced(DONE), 128);
}
