//! Every message that the vendor documents or logs, as it writes it: its length where a log
//! states one, what it means, and what we write for the same (docs/protocol.md).
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod cloud;
mod device;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use cloud::{MD5, URL, cloud_table};
use device::DEVICE_TABLE;
use ota_proto::journal::Owed;
use ota_proto::message::{CloudMessage, DeviceMessage, Malformed, Progress, ProgressState};
use ota_proto::{Answer, BufferTooSmall, Config, Media, Outcome, Reason, Version};
use serde_json::Value;

fn dir(kind: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/messages").join(kind)
}

fn load(kind: &str, name: &str) -> Vec<u8> {
    let path = dir(kind).join(name).with_extension("json");
    fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The table must name every file of the directory, and no other.
fn assert_complete<'a>(kind: &str, table: impl Iterator<Item = &'a str>) {
    let listed: BTreeSet<String> = table.map(str::to_owned).collect();
    let there: BTreeSet<String> = fs::read_dir(dir(kind))
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(listed, there, "{kind}");
}

/// What a peer's message says, against what we write for the same.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Meaning {
    /// The same JSON value.
    Same,
    /// The peer adds, leaves out or writes otherwise what we normalise.
    Normal,
}
fn assert_meaning(name: &str, meaning: Meaning, theirs: &[u8], ours: &[u8]) {
    let theirs: Value = serde_json::from_slice(theirs).unwrap();
    let ours: Value = serde_json::from_slice(ours).unwrap();
    assert_eq!(meaning == Meaning::Same, theirs == ours, "{name}: {theirs} against {ours}");
}

type Encode<'a> = &'a dyn Fn(&mut [u8]) -> Result<usize, BufferTooSmall>;

fn written(encode: Encode<'_>) -> Vec<u8> {
    let mut buf = vec![0xee; 2048];
    let len = encode(&mut buf).unwrap();
    assert!(buf[len..].iter().all(|byte| *byte == 0xee), "wrote behind its end");
    assert_eq!(encode(&mut buf[..len]), Ok(len));
    for short in 0..len {
        assert_eq!(encode(&mut buf[..short]), Err(BufferTooSmall { needed: len }));
    }
    encode(&mut buf).unwrap();
    buf.truncate(len);
    buf
}

#[test]
fn messages_of_devices() {
    let table = DEVICE_TABLE;
    assert_complete("device", table.iter().map(|case| case.0));
    for (name, length, meaning, value, ours) in table {
        let theirs = load("device", name);
        assert_eq!(length.unwrap_or(theirs.len()), theirs.len(), "{name}");
        let decoded = DeviceMessage::decode(&theirs).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(&decoded, value, "{name}");
        let encoded = written(&|buf| decoded.encode(buf));
        assert_eq!(std::str::from_utf8(&encoded), Ok(*ours), "{name}");
        assert_meaning(name, *meaning, &theirs, &encoded);
    }
}

#[test]
fn messages_of_the_cloud() {
    let table = cloud_table();
    assert_complete("cloud", table.iter().map(|case| case.0));
    for (name, length, meaning, value, ours) in &table {
        let theirs = load("cloud", name);
        assert_eq!(length.unwrap_or(theirs.len()), theirs.len(), "{name}");
        let decoded = CloudMessage::decode(&theirs).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(&decoded, value, "{name}");
        let encoded = written(&|buf| decoded.encode(buf));
        let ours = ours.replace("{url}", URL).replace("{md5}", MD5);
        assert_eq!(std::str::from_utf8(&encoded), Ok(&*ours), "{name}");
        assert_meaning(name, *meaning, &theirs, &encoded);
    }
}

#[test]
fn what_is_no_message_is_refused() {
    use Malformed::{Shape, Syntax, Unknown, Value};
    // What the device's decoder says of it, and the cloud message's decoder.
    let table = [
        ("doc_stray_quote", Syntax, Syntax),
        ("app_state_updating", Unknown, Unknown),
        ("resource_report", Unknown, Unknown),
        ("offer_fraction_size", Unknown, Value),
        ("offer_negative_size", Unknown, Value),
        ("offer_short_md5", Unknown, Value),
        ("offer_long_version", Unknown, Value),
        ("offer_without_url", Unknown, Shape),
        ("offer_url_number", Unknown, Shape),
        ("offer_twice", Syntax, Syntax),
        ("offer_two_urls", Unknown, Shape),
        ("reply_without_code", Unknown, Shape),
        ("array", Shape, Shape),
    ];
    assert_complete("malformed", table.iter().map(|case| case.0));
    for (name, device, cloud) in table {
        let payload = load("malformed", name);
        assert_eq!(DeviceMessage::decode(&payload), Err(device), "{name}");
        assert_eq!(CloudMessage::decode(&payload), Err(cloud), "{name}");
    }
}

#[test]
fn each_side_refuses_the_others_messages() {
    for (name, ..) in DEVICE_TABLE {
        assert_eq!(CloudMessage::decode(&load("device", name)), Err(Malformed::Unknown), "{name}");
    }
    for (name, ..) in cloud_table() {
        assert_eq!(DeviceMessage::decode(&load("cloud", name)), Err(Malformed::Unknown), "{name}");
    }
}

#[test]
fn every_message_cut_short_is_an_error() {
    for (name, ..) in DEVICE_TABLE {
        let payload = load("device", name);
        let end = payload.trim_ascii_end().len();
        for cut in 0..end {
            let result = DeviceMessage::decode(&payload[..cut]);
            assert_eq!(result, Err(Malformed::Syntax), "{name} at {cut}");
        }
    }
    for (name, ..) in cloud_table() {
        let payload = load("cloud", name);
        let end = payload.trim_ascii_end().len();
        for cut in 0..end {
            let result = CloudMessage::decode(&payload[..cut]);
            assert_eq!(result, Err(Malformed::Syntax), "{name} at {cut}");
        }
    }
}

#[test]
fn an_offer_hides_its_signature_in_debug_output() {
    let payload = load("cloud", "offer");
    let shown = format!("{:?}", CloudMessage::decode(&payload).unwrap());
    assert!(shown.contains("100012619289_AP9ZLEVFKT_0.0.2") && !shown.contains("sign="), "{shown}");
}

#[test]
fn debug_hides_a_user_and_a_password_of_a_url() {
    let text = r#"{"type":"update_firmware","url":"https://me:hunter2@h/fw?sign=x","version":"2","file_size":1,"md5sum":"00000000000000000000000000000000"}"#;
    let shown = format!("{:?}", CloudMessage::decode(text.as_bytes()).unwrap());
    assert!(shown.contains("…@h/fw?…") && !shown.contains("hunter2"), "{shown}");
    let slash = text.replace("hunter2", "hunt/er2@x");
    let shown = format!("{:?}", CloudMessage::decode(slash.as_bytes()).unwrap());
    assert!(shown.contains("\"…@…?…\"") && !shown.contains("hunt"), "{shown}");
}

#[test]
fn texts_without_escapes_are_borrowed() {
    let payload = load("cloud", "offer");
    let Ok(CloudMessage::Offer(offer)) = CloudMessage::decode(&payload) else { panic!() };
    assert!(matches!(offer.url, std::borrow::Cow::Borrowed(_)));
    assert!(matches!(offer.version, std::borrow::Cow::Borrowed(_)));
}

#[test]
fn every_report_of_ours_fits_the_advised_buffer() {
    let version = "9".repeat(Version::MAX);
    let answer = Answer::new(999, Some(u64::MAX), Media::new(&[b'x'; 40]), true);
    for (reason, answer) in Reason::ALL.iter().flat_map(|reason| [(reason, None), (reason, answer)])
    {
        let owed = Owed { result: Outcome::Failed(*reason), sent: true, answer };
        // The longest words explain.
        assert!(owed.to_string().len() <= 105);
        let message = DeviceMessage::ReportProgress {
            version: version.as_str().into(),
            progress: Progress {
                state: ProgressState::Fail,
                percent: None,
                result_code: reason.code().number().into(),
                result_msg: owed.to_string().into(),
            },
            fw_type: None,
        };
        let bytes = written(&|buf| message.encode(buf));
        assert!(bytes.len() <= Config::buffer_len(), "{}", bytes.len());
        let expected = format!(
            r#"{{"type":"report_progress","report":{{"progress":{{"state":"fail","result_code":"{}","result_msg":"{owed}"}},"version":"{version}"}}}}"#,
            reason.code().number(),
        );
        assert_eq!(String::from_utf8(bytes), Ok(expected));
    }
}
