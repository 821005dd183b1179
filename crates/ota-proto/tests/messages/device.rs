//! What devices say.

use std::borrow::Cow;

use ota_proto::message::ProgressState::{self, Burning, Done, Downloading, Fail};
use ota_proto::message::{DeviceMessage, Progress};

use crate::Meaning::{self, Normal, Same};

const fn version(version: &'static str) -> DeviceMessage<'static> {
    DeviceMessage::ReportVersion { version: Cow::Borrowed(version), fw_type: None }
}

const fn typed(version: &'static str, fw_type: &'static str) -> DeviceMessage<'static> {
    DeviceMessage::ReportVersion {
        version: Cow::Borrowed(version),
        fw_type: Some(Cow::Borrowed(fw_type)),
    }
}

const fn progress(
    version: &'static str,
    state: ProgressState,
    percent: Option<i64>,
    result_code: i64,
    result_msg: &'static str,
) -> DeviceMessage<'static> {
    let progress = Progress { state, percent, result_code, result_msg: Cow::Borrowed(result_msg) };
    DeviceMessage::ReportProgress { version: Cow::Borrowed(version), progress, fw_type: None }
}

const fn downloading(version: &'static str, percent: i64) -> DeviceMessage<'static> {
    progress(version, Downloading, Some(percent), 0, "")
}

const fn fail(code: i64, text: &'static str) -> DeviceMessage<'static> {
    progress("1.0.0", Fail, None, code, text)
}

/// File, length where a log states one, meaning, decoded value, our bytes.
pub(crate) type DeviceCase =
    (&'static str, Option<usize>, Meaning, DeviceMessage<'static>, &'static str);

pub(crate) const DEVICE_TABLE: &[DeviceCase] = &[
    // The vendor's walk-through: lengths from its log.
    (
        "py_report_version",
        Some(58),
        Same,
        version("0.1.0"),
        r#"{"type":"report_version","report":{"version":"0.1.0"}}"#,
    ),
    (
        "py_report_version_after",
        Some(58),
        Same,
        version("1.0.0"),
        r#"{"type":"report_version","report":{"version":"1.0.0"}}"#,
    ),
    (
        "py_downloading_0",
        Some(151),
        Same,
        downloading("1.0.0", 0),
        r#"{"type":"report_progress","report":{"progress":{"state":"downloading","percent":"0","result_code":"0","result_msg":""},"version":"1.0.0"}}"#,
    ),
    (
        "py_downloading_1",
        Some(151),
        Same,
        downloading("1.0.0", 1),
        r#"{"type":"report_progress","report":{"progress":{"state":"downloading","percent":"1","result_code":"0","result_msg":""},"version":"1.0.0"}}"#,
    ),
    (
        "py_downloading_100",
        Some(153),
        Same,
        downloading("1.0.0", 100),
        r#"{"type":"report_progress","report":{"progress":{"state":"downloading","percent":"100","result_code":"0","result_msg":""},"version":"1.0.0"}}"#,
    ),
    (
        "py_done",
        Some(128),
        Same,
        progress("1.0.0", Done, None, 0, ""),
        r#"{"type":"report_progress","report":{"progress":{"state":"done","result_code":"0","result_msg":""},"version":"1.0.0"}}"#,
    ),
    // The same SDK, from its source.
    (
        "py_burning",
        None,
        Same,
        progress("1.0.0", Burning, None, 0, ""),
        r#"{"type":"report_progress","report":{"progress":{"state":"burning","result_code":"0","result_msg":""},"version":"1.0.0"}}"#,
    ),
    (
        "py_fail_time_out",
        None,
        Same,
        fail(-3, "time_out"),
        r#"{"type":"report_progress","report":{"progress":{"state":"fail","result_code":"-3","result_msg":"time_out"},"version":"1.0.0"}}"#,
    ),
    (
        "py_percent_101",
        None,
        Same,
        downloading("1.0.0", 101),
        r#"{"type":"report_progress","report":{"progress":{"state":"downloading","percent":"101","result_code":"0","result_msg":""},"version":"1.0.0"}}"#,
    ),
    // The vendor's documents.
    (
        "doc_report_version",
        None,
        Same,
        version("1.0.0"),
        r#"{"type":"report_version","report":{"version":"1.0.0"}}"#,
    ),
    (
        "doc_downloading",
        None,
        Same,
        downloading("0.2", 10),
        r#"{"type":"report_progress","report":{"progress":{"state":"downloading","percent":"10","result_code":"0","result_msg":""},"version":"0.2"}}"#,
    ),
    (
        "doc_burning",
        None,
        Same,
        progress("0.2", Burning, None, 0, ""),
        r#"{"type":"report_progress","report":{"progress":{"state":"burning","result_code":"0","result_msg":""},"version":"0.2"}}"#,
    ),
    (
        "doc_done",
        None,
        Same,
        progress("0.2", Done, None, 0, ""),
        r#"{"type":"report_progress","report":{"progress":{"state":"done","result_code":"0","result_msg":""},"version":"0.2"}}"#,
    ),
    (
        "doc_fail",
        None,
        Same,
        progress("0.2", Fail, None, -1, "time_out"),
        r#"{"type":"report_progress","report":{"progress":{"state":"fail","result_code":"-1","result_msg":"time_out"},"version":"0.2"}}"#,
    ),
    // Other SDKs.
    (
        "new_c_fail_1",
        None,
        Same,
        fail(-1, "timeout"),
        r#"{"type":"report_progress","report":{"progress":{"state":"fail","result_code":"-1","result_msg":"timeout"},"version":"1.0.0"}}"#,
    ),
    (
        "new_c_fail_2",
        None,
        Same,
        fail(-2, "file not exit"),
        r#"{"type":"report_progress","report":{"progress":{"state":"fail","result_code":"-2","result_msg":"file not exit"},"version":"1.0.0"}}"#,
    ),
    (
        "new_c_fail_3",
        None,
        Same,
        fail(-3, "auth fail"),
        r#"{"type":"report_progress","report":{"progress":{"state":"fail","result_code":"-3","result_msg":"auth fail"},"version":"1.0.0"}}"#,
    ),
    (
        "new_c_fail_4",
        None,
        Same,
        fail(-4, "md5 not match"),
        r#"{"type":"report_progress","report":{"progress":{"state":"fail","result_code":"-4","result_msg":"md5 not match"},"version":"1.0.0"}}"#,
    ),
    (
        "new_c_fail_5",
        None,
        Same,
        fail(-5, "upgrade fail"),
        r#"{"type":"report_progress","report":{"progress":{"state":"fail","result_code":"-5","result_msg":"upgrade fail"},"version":"1.0.0"}}"#,
    ),
    (
        "expc_report_version_mcu",
        None,
        Same,
        typed("1.0.0", "mcu"),
        r#"{"type":"report_version","report":{"version":"1.0.0","fw_type":"mcu"}}"#,
    ),
    (
        "expc_report_version_module",
        None,
        Same,
        typed("2.1.0", "module"),
        r#"{"type":"report_version","report":{"version":"2.1.0","fw_type":"module"}}"#,
    ),
    (
        "expc_downloading_fw_type",
        None,
        Same,
        DeviceMessage::ReportProgress {
            version: Cow::Borrowed("1.0.0"),
            progress: Progress {
                state: Downloading,
                percent: Some(55),
                result_code: 0,
                result_msg: Cow::Borrowed(""),
            },
            fw_type: Some(Cow::Borrowed("mcu")),
        },
        r#"{"type":"report_progress","report":{"progress":{"state":"downloading","percent":"55","result_code":"0","result_msg":""},"version":"1.0.0","fw_type":"mcu"}}"#,
    ),
    (
        "esp_done_prose",
        None,
        Same,
        progress("1.0.0", Done, None, 0, "OTA upgrade success, restart to run the new firmware"),
        r#"{"type":"report_progress","report":{"progress":{"state":"done","result_code":"0","result_msg":"OTA upgrade success, restart to run the new firmware"},"version":"1.0.0"}}"#,
    ),
    (
        "esp_fail_prose",
        None,
        Same,
        fail(-1, "Failed to \"open\" the image\n"),
        r#"{"type":"report_progress","report":{"progress":{"state":"fail","result_code":"-1","result_msg":"Failed to \"open\" the image\n"},"version":"1.0.0"}}"#,
    ),
    (
        "java_done_ok",
        None,
        Same,
        progress("1.0.0", Done, None, 0, "OK"),
        r#"{"type":"report_progress","report":{"progress":{"state":"done","result_code":"0","result_msg":"OK"},"version":"1.0.0"}}"#,
    ),
    (
        "java_fail_word",
        None,
        Same,
        fail(-4, "FAIL"),
        r#"{"type":"report_progress","report":{"progress":{"state":"fail","result_code":"-4","result_msg":"FAIL"},"version":"1.0.0"}}"#,
    ),
    // What a liberal cloud must take (docs/protocol.md, Device to cloud).
    (
        "odd_numbers",
        None,
        Normal,
        downloading("1.0.0", 42),
        r#"{"type":"report_progress","report":{"progress":{"state":"downloading","percent":"42","result_code":"0","result_msg":""},"version":"1.0.0"}}"#,
    ),
    (
        "odd_percent_missing",
        None,
        Normal,
        progress("1.0.0", Downloading, None, 0, ""),
        r#"{"type":"report_progress","report":{"progress":{"state":"downloading","result_code":"0","result_msg":""},"version":"1.0.0"}}"#,
    ),
    (
        "odd_unknown_keys",
        None,
        Normal,
        version("0.1.0"),
        r#"{"type":"report_version","report":{"version":"0.1.0"}}"#,
    ),
];
