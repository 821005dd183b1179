//! What the cloud says.

use ota_proto::Md5;
use ota_proto::message::{CloudMessage, OfferMessage};

use crate::Meaning::{self, Normal, Same};

pub(crate) const MD5: &str = "f2f1b3317d4f1ef7f512bfae5050563b";
pub(crate) const URL: &str = "https://ota-1255858890.cos.ap-guangzhou.myqcloud.com/100012619289_AP9ZLEVFKT_0.0.2?sign=q-sign-algorithm%3Dsha1%26q-ak%3DAKIDEXAMPLEexampleEXAMPLEexample0001%26q-sign-time%3D1626663285%3B1626749685%26q-key-time%3D1626663285%3B1626749685%26q-header-list%3D%26q-url-param-list%3D%26q-signature%3D0123456789abcdef0123456789abcdef01234567";

fn offer(change: impl FnOnce(&mut OfferMessage<'static>)) -> CloudMessage<'static> {
    let mut offer = OfferMessage {
        version: "0.0.2".into(),
        url: URL.into(),
        md5sum: Md5::from_hex(MD5),
        file_size: Some(234_775),
        user_defined: None,
        fw_type: None,
    };
    change(&mut offer);
    CloudMessage::Offer(offer)
}

fn reply(code: i64, text: &'static str, version: Option<&'static str>) -> CloudMessage<'static> {
    CloudMessage::VersionReply {
        result_code: code,
        result_msg: text.into(),
        version: version.map(Into::into),
    }
}

/// File, length where a log states one, meaning, decoded value, our bytes with `{url}` and
/// `{md5}` for the two long texts.
pub(crate) type CloudCase =
    (&'static str, Option<usize>, Meaning, CloudMessage<'static>, &'static str);

const SUCCESS: &str =
    r#"{"result_code":0,"result_msg":"success","type":"report_version_rsp","version":"0.1.0"}"#;
const PLAIN: &str = r#"{"file_size":234775,"md5sum":"{md5}","type":"update_firmware","url":"{url}","version":"0.0.2"}"#;

pub(crate) fn cloud_table() -> Vec<CloudCase> {
    [replies(), offers(), odd_offers()].concat()
}

fn replies() -> Vec<CloudCase> {
    vec![
        ("reply_0_1_0", Some(86), Same, reply(0, "success", Some("0.1.0")), SUCCESS),
        ("reply_code_as_text", None, Normal, reply(0, "success", Some("0.1.0")), SUCCESS),
        (
            "reply_refused",
            None,
            Same,
            reply(-7, "no such product", Some("0.1.0")),
            r#"{"result_code":-7,"result_msg":"no such product","type":"report_version_rsp","version":"0.1.0"}"#,
        ),
        (
            "reply_bare",
            None,
            Normal,
            reply(0, "", None),
            r#"{"result_code":0,"result_msg":"","type":"report_version_rsp"}"#,
        ),
    ]
}

/// As the vendor writes them, in its documents and its logs.
fn offers() -> Vec<CloudCase> {
    vec![
        ("offer", None, Same, offer(|_| {}), PLAIN),
        (
            "offer_doc_http",
            None,
            Same,
            offer(|o| {
                o.url = "http://ota-1255858890.cos.ap-guangzhou.myqcloud.com/100012619289_AP9ZLEVFKT_0.0.2?sign=abc".into()
            }),
            r#"{"file_size":234775,"md5sum":"{md5}","type":"update_firmware","url":"http://ota-1255858890.cos.ap-guangzhou.myqcloud.com/100012619289_AP9ZLEVFKT_0.0.2?sign=abc","version":"0.0.2"}"#,
        ),
        ("offer_escaped_slash", None, Same, offer(|_| {}), PLAIN),
        (
            "offer_escaped_ampersand",
            None,
            Same,
            offer(|o| o.url = "https://h.example/f?a=1&b=2".into()),
            r#"{"file_size":234775,"md5sum":"{md5}","type":"update_firmware","url":"https://h.example/f?a=1&b=2","version":"0.0.2"}"#,
        ),
        (
            "offer_user_defined",
            None,
            Same,
            offer(|o| o.user_defined = Some(r#"{"k":"v","n":[1,2]}"#.into())),
            r#"{"file_size":234775,"md5sum":"{md5}","type":"update_firmware","url":"{url}","user_defined":"{\"k\":\"v\",\"n\":[1,2]}","version":"0.0.2"}"#,
        ),
        (
            "offer_fw_type_mcu",
            None,
            Same,
            offer(|o| o.fw_type = Some("mcu".into())),
            r#"{"file_size":234775,"fw_type":"mcu","md5sum":"{md5}","type":"update_firmware","url":"{url}","version":"0.0.2"}"#,
        ),
        (
            "offer_fw_type_module",
            None,
            Same,
            offer(|o| {
                o.fw_type = Some("module".into());
                o.user_defined = Some("".into());
            }),
            r#"{"file_size":234775,"fw_type":"module","md5sum":"{md5}","type":"update_firmware","url":"{url}","user_defined":"","version":"0.0.2"}"#,
        ),
    ]
}

/// Forms that a device should accept anyway.
fn odd_offers() -> Vec<CloudCase> {
    vec![
        ("offer_upper_md5", None, Normal, offer(|_| {}), PLAIN),
        ("offer_size_as_text", None, Normal, offer(|_| {}), PLAIN),
        (
            "offer_size_above_32_bits",
            None,
            Same,
            offer(|o| o.file_size = Some(5_000_000_000)),
            r#"{"file_size":5000000000,"md5sum":"{md5}","type":"update_firmware","url":"{url}","version":"0.0.2"}"#,
        ),
        (
            "offer_without_md5",
            None,
            Same,
            offer(|o| o.md5sum = None),
            r#"{"file_size":234775,"type":"update_firmware","url":"{url}","version":"0.0.2"}"#,
        ),
        (
            "offer_empty_md5_null_size",
            None,
            Normal,
            offer(|o| {
                o.md5sum = None;
                o.file_size = None;
            }),
            r#"{"type":"update_firmware","url":"{url}","version":"0.0.2"}"#,
        ),
        (
            "offer_type_last_spaced",
            None,
            Normal,
            offer(|o| {
                o.url = "https://h.example/f".into();
                o.file_size = Some(1);
            }),
            r#"{"file_size":1,"md5sum":"{md5}","type":"update_firmware","url":"https://h.example/f","version":"0.0.2"}"#,
        ),
    ]
}
