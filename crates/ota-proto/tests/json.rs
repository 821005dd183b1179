//! The messages' own JSON reader against serde_json, over texts that are nearly messages.

use ota_proto::message::{CloudMessage, DeviceMessage, Malformed};
use proptest::prelude::*;
use serde_json::Value;
use serde_json::value::Value::{Null, String as Text};

const OFFER: &str = r#"{"file_size":234775,"md5sum":"f2f1b3317d4f1ef7f512bfae5050563b","type":"update_firmware","url":"https:\/\/x.example\/fw?a=1\u0026b=\ud83d\ude00","version":"0.0.2","extra":{"a":[1,-2.5e3,true,null,"\u00e9\n"],"b":{}}}"#;
const REPLY: &str =
    r#"{"result_code":0,"result_msg":"success","type":"report_version_rsp","version":"0.1.0"}"#;
const REPORT: &str = r#"{"type":"report_progress","report":{"progress":{"state":"fail","result_code":"-1","result_msg":"time_out"},"version":"0.2"}}"#;

/// Pieces that texts are made of or broken with.
const PIECES: [&str; 30] = [
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "\\",
    "\\u",
    "d800",
    "\\ud83d\\ude00",
    "null",
    "true",
    "fals",
    "-",
    "0",
    "01",
    "1.",
    ".5",
    "1e",
    "e+5",
    "-0",
    "18446744073709551616",
    " ",
    "\t",
    "\u{1}",
    "é",
    "\"type\"",
    "\"report\":null",
    "\"version\":7",
];

/// A message with pieces cut out, put in or repeated.
fn texts() -> impl Strategy<Value = String> {
    let change = (any::<prop::sample::Index>(), 0..6_usize, prop::sample::select(&PIECES[..]));
    let base = prop::sample::select(&[OFFER, REPLY, REPORT][..]);
    (base, prop::collection::vec(change, 0..5)).prop_map(|(base, changes)| {
        let mut text: Vec<char> = base.chars().collect();
        for (place, cut, piece) in changes {
            let at = place.index(text.len() + 1);
            let end = (at + cut).min(text.len());
            text.splice(at..end, piece.chars());
        }
        text.into_iter().collect()
    })
}

/// The value of a key at the top, when there is exactly one and it is a text or nothing.
fn text_of(value: &Value, key: &str) -> Option<String> {
    match value.get(key) {
        Some(Text(text)) => Some(text.clone()),
        None | Some(Null) => None,
        Some(other) => panic!("{key} was taken, and is {other}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn what_is_json_and_what_it_says_is_as_serde_json_has_it(text in texts()) {
        let cloud = CloudMessage::decode(text.as_bytes());
        let device = DeviceMessage::decode(text.as_bytes());
        let syntax = |error: Option<&Malformed>| error == Some(&Malformed::Syntax);
        let wrong = [syntax(cloud.as_ref().err()), syntax(device.as_ref().err())];
        match serde_json::from_str::<Value>(&text) {
            Err(_) if serde_json::from_str::<serde::de::IgnoredAny>(&text).is_err() => {
                prop_assert_eq!(wrong, [true, true]);
            }
            // A half of a pair, or a number beyond all bounds: it matters only where it is read.
            Err(_) => {}
            Ok(value) => {
                prop_assert_eq!(wrong, [false, false]);
                if let Ok(CloudMessage::Offer(offer)) = &cloud {
                    prop_assert_eq!(Some(offer.url.to_string()), text_of(&value, "url"));
                    prop_assert_eq!(Some(offer.version.to_string()), text_of(&value, "version"));
                }
                if let Ok(CloudMessage::VersionReply { result_msg, .. }) = &cloud {
                    let said = text_of(&value, "result_msg").unwrap_or_default();
                    prop_assert_eq!(result_msg.to_string(), said);
                }
            }
        }
    }
}

#[test]
fn the_reader_takes_what_the_platform_sends() {
    let Ok(CloudMessage::Offer(offer)) = CloudMessage::decode(OFFER.as_bytes()) else {
        panic!("the offer is one");
    };
    assert_eq!(offer.url, "https://x.example/fw?a=1&b=😀");
    assert!(CloudMessage::decode(REPLY.as_bytes()).is_ok());
    assert!(DeviceMessage::decode(REPORT.as_bytes()).is_ok());
}

#[test]
fn numbers_keep_their_bounds() {
    let size = |number: &str| {
        let text =
            format!(r#"{{"type":"update_firmware","version":"1","url":"u","file_size":{number}}}"#);
        match CloudMessage::decode(text.as_bytes()) {
            Ok(CloudMessage::Offer(offer)) => Ok(offer.file_size),
            Ok(_) => panic!("an offer"),
            Err(error) => Err(error),
        }
    };
    assert_eq!(size("18446744073709551615"), Ok(Some(u64::MAX)));
    for number in ["18446744073709551616", "-1", "-0", "1.0", "1e3", "1e-3", "1E+3", "2.5e-1"] {
        assert_eq!(size(number), Err(Malformed::Value), "{number}");
    }
    for number in ["01", "1.", ".5", "+1", "0x1", "1e", "--1"] {
        assert_eq!(size(number), Err(Malformed::Syntax), "{number}");
    }
    assert_eq!((size("[1,2]"), size("true")), (Err(Malformed::Shape), Err(Malformed::Shape)));
}

/// Another value instead of an object is the wrong shape, not a syntax error.
#[test]
fn an_object_is_asked_for_and_something_else_comes() {
    for value in ["7", "\"text\"", "true", "[1,{\"a\":\"]}\"}]"] {
        let text = format!(r#"{{"type":"report_version","report":{value}}}"#);
        assert_eq!(DeviceMessage::decode(text.as_bytes()), Err(Malformed::Shape), "{value}");
        // Also where nobody asks for what should be there.
        let text =
            format!(r#"{{"type":"report_version","report":{{"version":"1","progress":{value}}}}}"#);
        assert_eq!(DeviceMessage::decode(text.as_bytes()), Err(Malformed::Shape), "{value}");
        let text = format!(r#"{{"type":"report_progress","report":{{"progress":{value}}}}}"#);
        assert_eq!(DeviceMessage::decode(text.as_bytes()), Err(Malformed::Shape), "{value}");
    }
}

/// A half of a character beyond 16 bits matters only where it is read.
#[test]
fn half_a_pair_is_refused_only_in_a_text_that_is_kept() {
    let offer = |more: &str, url: &str| {
        let text = format!(r#"{{{more}"type":"update_firmware","version":"1","url":"{url}"}}"#);
        CloudMessage::decode(text.as_bytes()).map(|_| ())
    };
    for half in [r"\ud800", r"\udc00", r"\ud800\ud800", r"\udfffx"] {
        for more in [
            format!(r#""extra":"{half}","#),
            format!(r#""extra":["{half}"],"#),
            format!(r#""extra":{{"{half}":"{half}"}},"#),
        ] {
            assert_eq!(offer(&more, "u"), Ok(()), "{more}");
        }
        assert_eq!(offer("", half), Err(Malformed::Syntax), "{half}");
        assert_eq!(offer(&format!(r#""{half}":1,"#), "u"), Err(Malformed::Syntax), "{half}");
    }
    assert_eq!(offer(r#""extra":"\ud80","#, "u"), Err(Malformed::Syntax));
    assert_eq!(offer("", r"\ud83d\ude00"), Ok(()));
}
