//! Messages and records as short lines.

use std::fmt::Write as _;

use ota_proto::journal::{Phase, Record};
use ota_proto::message::DeviceMessage;

pub(crate) fn said(payload: &[u8]) -> String {
    match DeviceMessage::decode(payload).unwrap() {
        DeviceMessage::ReportVersion { version, .. } => format!("report {version}"),
        DeviceMessage::ReportProgress { progress, .. } => {
            let mut line = String::from(progress.state.word());
            if let Some(percent) = progress.percent {
                write!(line, " {percent}").unwrap();
            }
            if progress.result_code != 0 {
                write!(line, " {} {}", progress.result_code, progress.result_msg).unwrap();
            }
            line
        }
        _ => unreachable!(),
    }
}

pub(crate) fn persisted(record: &Record) -> String {
    let mut line = format!("persist {:?}", record.phase);
    if let Some(target) = record.target.filter(|_| record.phase != Phase::None) {
        write!(line, " {}@{}", target.version, target.offset).unwrap();
    }
    if record.tries > 0 {
        write!(line, " try {}", record.tries).unwrap();
    }
    if let Some(owed) = record.owed {
        write!(line, " {:?}{}", owed.result, if owed.sent { " sent" } else { "" }).unwrap();
    }
    line
}
