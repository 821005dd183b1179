//! Input of any kind: refused with the right word, or taken whole; never a panic.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::borrow::Cow;
use std::fs;
use std::path::PathBuf;

use ota_proto::Md5;
use ota_proto::message::{
    CloudMessage, DeviceMessage, Malformed, OfferMessage, Progress, ProgressState,
};
use proptest::prelude::*;

fn fixtures() -> Vec<Vec<u8>> {
    let base = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/messages");
    let mut paths: Vec<PathBuf> = ["device", "cloud", "malformed"]
        .iter()
        .flat_map(|kind| fs::read_dir(base.join(kind)).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Decodes both ways; what is taken must survive a round trip.
fn decode_both(payload: &[u8]) {
    let mut buf = vec![0; payload.len() * 2 + 256];
    if let Ok(message) = DeviceMessage::decode(payload) {
        let len = message.encode(&mut buf).unwrap();
        assert_eq!(DeviceMessage::decode(&buf[..len]).as_ref(), Ok(&message));
    }
    if let Ok(message) = CloudMessage::decode(payload) {
        let len = message.encode(&mut buf).unwrap();
        assert_eq!(CloudMessage::decode(&buf[..len]).as_ref(), Ok(&message));
    }
}

fn any_text() -> impl Strategy<Value = Cow<'static, str>> {
    prop_oneof!["[ -~]{0,40}", "\\PC{0,20}", "[\\x00-\\x1f\"\\\\/&\\u{7f}\\u{2028}a😀]{0,20}"]
        .prop_map(Cow::Owned)
}

fn any_version() -> impl Strategy<Value = Cow<'static, str>> {
    "[!#-\\[\\]-~]{1,32}".prop_map(Cow::Owned)
}

fn any_device_message() -> impl Strategy<Value = DeviceMessage<'static>> {
    let states = [
        ProgressState::Downloading,
        ProgressState::Burning,
        ProgressState::Done,
        ProgressState::Fail,
    ];
    let report = (any_text(), proptest::option::of(any_text()))
        .prop_map(|(version, fw_type)| DeviceMessage::ReportVersion { version, fw_type });
    let progress = (
        any_text(),
        proptest::sample::select(states.to_vec()),
        any::<Option<i64>>(),
        any::<i64>(),
        any_text(),
        proptest::option::of(any_text()),
    )
        .prop_map(|(version, state, percent, result_code, result_msg, fw_type)| {
            let progress = Progress { state, percent, result_code, result_msg };
            DeviceMessage::ReportProgress { version, progress, fw_type }
        });
    prop_oneof![report, progress]
}

fn any_cloud_message() -> impl Strategy<Value = CloudMessage<'static>> {
    let reply = (any::<i64>(), any_text(), proptest::option::of(any_text())).prop_map(
        |(result_code, result_msg, version)| CloudMessage::VersionReply {
            result_code,
            result_msg,
            version,
        },
    );
    let offer = (
        any_version(),
        any_text(),
        any::<Option<[u8; 16]>>(),
        any::<Option<u64>>(),
        proptest::option::of(any_text()),
        proptest::option::of(any_text()),
    )
        .prop_map(|(version, url, md5, file_size, user_defined, fw_type)| {
            let md5sum = md5.map(Md5);
            CloudMessage::Offer(OfferMessage {
                version,
                url,
                md5sum,
                file_size,
                user_defined,
                fw_type,
            })
        });
    prop_oneof![reply, offer]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn device_messages_survive_a_round_trip(message in any_device_message()) {
        let mut buf = [0; 2048];
        let len = message.encode(&mut buf).unwrap();
        prop_assert_eq!(DeviceMessage::decode(&buf[..len]), Ok(message));
    }

    #[test]
    fn cloud_messages_survive_a_round_trip(message in any_cloud_message()) {
        let mut buf = [0; 2048];
        let len = message.encode(&mut buf).unwrap();
        prop_assert_eq!(CloudMessage::decode(&buf[..len]), Ok(message));
    }

    #[test]
    fn texts_are_escaped_as_serde_json_does(text in any_text()) {
        let expected = format!(
            r#"{{"type":"report_version","report":{{"version":{}}}}}"#,
            serde_json::to_string(&text).unwrap(),
        );
        let mut buf = [0; 1024];
        let message = DeviceMessage::ReportVersion { version: text, fw_type: None };
        let len = message.encode(&mut buf).unwrap();
        prop_assert_eq!(std::str::from_utf8(&buf[..len]), Ok(&*expected));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        decode_both(&bytes);
    }

    #[test]
    fn mutated_fixtures_never_panic(
        pick: prop::sample::Index,
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4), 1..4),
    ) {
        let all = fixtures();
        let mut payload = pick.get(&all).clone();
        for (at, byte, kind) in edits {
            let at = at.index(payload.len().max(1)).min(payload.len());
            match kind {
                0 if at < payload.len() => payload[at] = byte,
                1 if at < payload.len() => { payload.remove(at); }
                2 => payload.insert(at, br#"{}[]":,\-0"#[usize::from(byte) % 10]),
                _ => { let tail = payload.split_off(at); payload.extend_from_slice(&tail); payload.extend(tail); }
            }
        }
        decode_both(&payload);
    }
}

fn offer_with(key: &str, value: &str) -> Result<OfferMessage<'static>, Malformed> {
    let mut keys = vec![("version", r#""1""#), ("url", r#""u""#), ("type", r#""update_firmware""#)];
    keys.retain(|(other, _)| *other != key);
    keys.push((key, value));
    let body: Vec<String> = keys.iter().map(|(k, v)| format!("\"{k}\":{v}")).collect();
    let text = format!("{{{}}}", body.join(",")).leak();
    match CloudMessage::decode(text.as_bytes())? {
        CloudMessage::Offer(offer) => Ok(offer),
        other => panic!("{other:?}"),
    }
}

#[test]
fn sizes_and_their_limits() {
    let size = |text: &str| offer_with("file_size", text).map(|offer| offer.file_size);
    for (text, value) in [
        ("0", Some(0)),
        ("18446744073709551615", Some(u64::MAX)),
        (r#""18446744073709551615""#, Some(u64::MAX)),
        (r#""007""#, Some(7)),
        (r#""""#, None),
        ("null", None),
    ] {
        assert_eq!(size(text), Ok(value), "{text}");
    }
    for text in [
        "-1",
        "1.0",
        "1e3",
        "-0",
        "1e999",
        "18446744073709551616",
        r#""18446744073709551616""#,
        r#""-1""#,
        r#""+5""#,
        r#"" 5""#,
        r#""5 ""#,
        r#""0x5""#,
        r#""1.0""#,
        r#""five""#,
    ] {
        assert_eq!(size(text), Err(Malformed::Value), "{text}");
    }
    for text in ["true", "[]", "[5]", "{}"] {
        assert_eq!(size(text), Err(Malformed::Shape), "{text}");
    }
    for text in ["05", "+5", "0x5", "", "NaN"] {
        assert_eq!(size(text), Err(Malformed::Syntax), "{text}");
    }
}

#[test]
fn texts_and_their_limits() {
    for key in ["type", "version", "url"] {
        for value in ["null", "5", "[]", "{}", "true"] {
            assert_eq!(offer_with(key, value), Err(Malformed::Shape), "{key} {value}");
        }
    }
    for version in
        ["", "a b", "a\\\"b", "a\\\\b", "é", "\\u0000", "123456789012345678901234567890123"]
    {
        let value = format!("\"{version}\"");
        assert_eq!(offer_with("version", &value), Err(Malformed::Value), "{version}");
    }
    assert_eq!(offer_with("version", r#""\u0031.\u0030""#).unwrap().version, "1.0");
    assert_eq!(offer_with("url", r#""""#).unwrap().url, "");
    assert_eq!(offer_with("url", r#""\ud83d\ude00""#).unwrap().url, "😀");
    assert_eq!(offer_with("url", r#""\ud83d""#), Err(Malformed::Syntax));
    assert_eq!(offer_with("md5sum", "5"), Err(Malformed::Shape));
    assert_eq!(
        offer_with("md5sum", r#""f2f1b3317d4f1ef7f512bfae5050563g""#),
        Err(Malformed::Value)
    );
    assert_eq!(offer_with("user_defined", "{}"), Err(Malformed::Shape));
    assert_eq!(
        offer_with("ty\\u0070e", r#""update_firmware""#),
        Err(Malformed::Shape),
        "two types"
    );
    assert_eq!(offer_with("type", r#""update_firmware2""#), Err(Malformed::Unknown));
    assert_eq!(offer_with("type", r#""""#), Err(Malformed::Unknown));
}

fn progress_with(inner: &str) -> Result<Progress<'static>, Malformed> {
    let text =
        format!(r#"{{"report":{{"version":"1","progress":{inner}}},"type":"report_progress"}}"#);
    match DeviceMessage::decode(text.leak().as_bytes())? {
        DeviceMessage::ReportProgress { progress, .. } => Ok(progress),
        other => panic!("{other:?}"),
    }
}

#[test]
fn progress_of_all_kinds_of_peers() {
    let percent = |text: &str| {
        progress_with(&format!(r#"{{"state":"downloading","percent":{text}}}"#))
            .map(|progress| progress.percent)
    };
    for (text, value) in [
        ("0", Some(0)),
        (r#""0""#, Some(0)),
        (r#""-1""#, Some(-1)),
        ("-1", Some(-1)),
        ("101", Some(101)),
        (r#""""#, None),
        ("null", None),
        ("-9223372036854775808", Some(i64::MIN)),
    ] {
        assert_eq!(percent(text), Ok(value), "{text}");
    }
    for text in ["12.5", r#""12.5""#, r#""12%""#, r#""+5""#, r#"" 5""#, "9223372036854775808"] {
        assert_eq!(percent(text), Err(Malformed::Value), "{text}");
    }
    let code = |text: &str| progress_with(text).map(|progress| progress.result_code);
    assert_eq!(code(r#"{"state":"done"}"#), Ok(0));
    assert_eq!(code(r#"{"state":"fail","result_code":-3}"#), Ok(-3));
    assert_eq!(code(r#"{"state":"fail","result_code":"-3"}"#), Ok(-3));
    assert_eq!(code(r#"{"state":"fail"}"#), Err(Malformed::Shape));
    assert_eq!(code(r#"{"state":"fail","result_code":""}"#), Err(Malformed::Shape));
    assert_eq!(code(r#"{"state":"done","result_code":[]}"#), Err(Malformed::Shape));
    assert_eq!(code(r#"{"state":"done","result_msg":5}"#), Err(Malformed::Shape));
    assert_eq!(code(r#"{"state":"DONE"}"#), Err(Malformed::Unknown));
    assert_eq!(code("{}"), Err(Malformed::Shape));
    assert_eq!(code(r#"["downloading","5","0",""]"#), Err(Malformed::Shape));
    assert_eq!(code(r#""{}""#), Err(Malformed::Shape));
    assert_eq!(code("null"), Err(Malformed::Shape));
}

#[test]
fn what_is_no_json_object_is_refused() {
    for (text, why) in [
        ("", Malformed::Syntax),
        (" ", Malformed::Syntax),
        ("\u{feff}{}", Malformed::Syntax),
        ("{}", Malformed::Shape),
        ("null", Malformed::Shape),
        ("5", Malformed::Shape),
        ("\"type\"", Malformed::Shape),
        ("[]", Malformed::Shape),
        ("{\"type\":\"report_version\"}", Malformed::Shape),
        ("{\"type\":\"report_version\",\"report\":null}", Malformed::Shape),
        ("{\"type\":\"report_version\",\"report\":[]}", Malformed::Shape),
        ("{\"type\":\"report_version\",\"report\":{}}", Malformed::Shape),
        ("{\"type\":\"report_version\",\"report\":{\"version\":1.0}}", Malformed::Shape),
        ("{\"type\":\"report_version\",\"report\":{\"version\":\"1\"}}x", Malformed::Syntax),
        ("{\"type\":\"report_version\",\"report\":{\"version\":\"1\"}}\0", Malformed::Syntax),
        ("{\"type\":\"report_version\",\"report\":{\"version\":\"1\",}}", Malformed::Syntax),
    ] {
        assert_eq!(DeviceMessage::decode(text.as_bytes()), Err(why), "{text}");
    }
    for bytes in [
        &b"{\"x\":\"\xff\",\"type\":\"report_version\",\"report\":{\"version\":\"1\"}}"[..],
        &[0xff; 9],
    ] {
        assert_eq!(DeviceMessage::decode(bytes), Err(Malformed::Syntax));
    }
}

#[test]
fn nesting_has_an_end() {
    let nested = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        format!(
            r#"{{"x":{open}{close},"type":"report_version_rsp","result_code":0,"y":"[[[\"[["}}"#
        )
    };
    assert!(CloudMessage::decode(nested(31).as_bytes()).is_ok());
    assert_eq!(CloudMessage::decode(nested(32).as_bytes()), Err(Malformed::Syntax));
    for unit in ["[", "{\"a\":", "{\"report\":", "{\"type\":["] {
        let deep = unit.repeat((1 << 20) / unit.len());
        assert_eq!(CloudMessage::decode(deep.as_bytes()), Err(Malformed::Syntax));
        assert_eq!(DeviceMessage::decode(deep.as_bytes()), Err(Malformed::Syntax));
    }
}

#[test]
fn a_mebibyte_is_read_through_or_refused() {
    let long = "a".repeat(1 << 20);
    assert_eq!(offer_with("version", &format!("\"{long}\"")), Err(Malformed::Value));
    assert_eq!(offer_with("x", &format!("\"{long}\"")).unwrap().version, "1");
    assert_eq!(offer_with("file_size", &"9".repeat(1 << 20)), Err(Malformed::Value));
    assert_eq!(
        offer_with("file_size", &format!("\"{}\"", "9".repeat(1 << 20))),
        Err(Malformed::Value)
    );
    for filler in [" ", "\0", "\"", "\\", "9", "{}", "\"\","] {
        let text = filler.repeat((1 << 20) / filler.len());
        assert!(CloudMessage::decode(text.as_bytes()).is_err());
    }
}
