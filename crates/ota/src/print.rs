//! Output on standard output for people and programs: a transcript, or one JSON object per line.

use std::fmt::Write as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
pub(crate) use ota_agent::print::{Line, clean, err, out, safe_json};
use ota_agent::size::Bytes;
use ota_cloud::{EventKind, Module};
use ota_proto::Instant;
use ota_server::{Entry, Payload, What};
use serde_json::Value;

/// Writes lines to standard output, including the cloud's log.
pub(crate) struct Printer {
    lines: ota_agent::print::Printer,
    show_secrets: bool,
    /// For people: only the important lines of one device.
    brief: bool,
    bar: Option<ProgressBar>,
}

impl Printer {
    pub(crate) fn new(json: bool, show_secrets: bool, brief: bool) -> Self {
        let lines = ota_agent::print::Printer::new(json);
        Self { lines, show_secrets, brief, bar: None }
    }

    /// Adds the Unix time to each line for programs.
    pub(crate) fn with_unix(self, at_zero: Duration) -> Self {
        Self { lines: self.lines.with_unix(at_zero), ..self }
    }

    /// Draws the part of `total` bytes that is present, on a terminal only.
    pub(crate) fn progress(&mut self, total: u64, percent: u8) {
        if self.lines.is_json() {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            // Draws on standard error, and only on a terminal.
            let bar = ProgressBar::new(total);
            let style = ProgressStyle::with_template("          [{bar:40}] {bytes}/{total_bytes}");
            bar.with_style(
                style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "),
            )
        });
        bar.set_position(total / 100 * u64::from(percent));
    }

    /// Removes the bar.
    pub(crate) fn end_progress(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// Writes the line.
    pub(crate) fn line(&self, line: &Line) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.lines.line(line)),
            None => self.lines.line(line),
        }
    }

    /// Writes an entry of the cloud's log, if it is new information.
    pub(crate) fn entry(&self, entry: &Entry) {
        if let Some(line) = self.describe(entry) {
            self.line(&line);
        }
    }

    /// What [`Printer::entry`] would write, for several lines at once.
    pub(crate) fn text(&self, entry: &Entry) -> Option<String> {
        Some(self.lines.text(&self.describe(entry)?))
    }

    fn describe(&self, entry: &Entry) -> Option<Line> {
        let detail = matches!(
            entry.what,
            What::LoggedIn { .. }
                | What::Closed { .. }
                | What::Subscribed { .. }
                | What::Event(
                    EventKind::Connected
                        | EventKind::Disconnected
                        | EventKind::NotOffered { .. }
                        | EventKind::Status { .. }
                )
        );
        if detail && self.brief && !self.lines.is_json() {
            return None;
        }
        let name = entry.device.as_ref().map(|d| format!("{}/{}", d.product_id(), d.device_name()));
        let line = match &entry.what {
            What::Received { topic, payload } => {
                self.message(entry.at, "received", "→", topic, payload)
            }
            What::Sent { topic, payload } => self.message(entry.at, "sent", "←", topic, payload),
            What::Event(kind) => event(entry.at, kind)?,
            other => journal(entry.at, other)?,
        };
        Some(match name {
            Some(name) => line.of_device(name, !self.brief),
            None => line,
        })
    }

    fn message(
        &self,
        at: Instant,
        event: &'static str,
        arrow: &str,
        topic: &str,
        payload: &Payload,
    ) -> Line {
        let text = if self.show_secrets {
            String::from_utf8_lossy(payload.reveal()).into_owned()
        } else {
            payload.to_string()
        };
        let value = serde_json::from_str::<Value>(&text).ok();
        let summary = value
            .as_ref()
            .and_then(summary)
            .unwrap_or_else(|| format!("{}  {}", clean(topic), clean(&text)));
        let line = Line::new(at, event, format!("{arrow} {summary}")).with("topic", topic);
        line.payload(text, value.is_some())
    }
}

/// Summarises a message of the protocol; `None` for others.
fn summary(message: &Value) -> Option<String> {
    let text = |value: &Value, key: &str| match value.get(key) {
        Some(Value::String(text)) => clean(text),
        Some(other) => clean(&other.to_string()),
        None => String::new(),
    };
    let kind = message.get("type")?.as_str()?;
    let rest = match kind {
        "report_version" => text(message.get("report")?, "version"),
        "report_version_rsp" => format!(
            "{}, {} {}",
            text(message, "version"),
            text(message, "result_code"),
            text(message, "result_msg")
        ),
        "report_progress" => {
            let report = message.get("report")?;
            let progress = report.get("progress")?;
            let state = text(progress, "state");
            let detail = match state.as_str() {
                "downloading" => format!(" {} %", text(progress, "percent")),
                "fail" => {
                    format!(" {} {}", text(progress, "result_code"), text(progress, "result_msg"))
                }
                _ => String::new(),
            };
            format!("{}, {state}{detail}", text(report, "version"))
        }
        "update_firmware" => {
            let size = message.get("file_size").and_then(Value::as_u64).unwrap_or(0);
            format!("{}, {}, {}", text(message, "version"), Bytes(size), text(message, "url"))
        }
        _ => return None,
    };
    Some(format!("{kind:<18} {rest}"))
}

/// A change that the cloud concluded. Entries that only repeat a message are left out.
fn event(at: Instant, kind: &EventKind) -> Option<Line> {
    Some(match kind {
        EventKind::Registered => Line::new(at, "registered", "· registered"),
        EventKind::Removed => Line::new(at, "removed", "· removed"),
        EventKind::Disabled => Line::new(at, "disabled", "· may not log in any more"),
        EventKind::Enabled => Line::new(at, "enabled", "· may log in again"),
        EventKind::Connected => Line::new(at, "connected", "· online"),
        EventKind::Disconnected => Line::new(at, "disconnected", "· offline"),
        EventKind::Began { task, version } => {
            Line::new(at, "began", format!("· task {task}: update to {version}"))
                .with("task", task.to_string())
                .with("version", version.as_str())
        }
        EventKind::Status { task, from, to, code, text } => {
            let mut words = format!("· task {task}: {to}");
            if *code != 0 {
                let _ = write!(words, " {code}");
            }
            if !text.is_empty() {
                let _ = write!(words, ": {}", clean(text));
            }
            Line::new(at, "status", words)
                .with("task", task.to_string())
                .with("from", from.word())
                .with("to", to.word())
                .with("status", to.number())
                .with("code", *code)
                .with("text", text.as_str())
        }
        EventKind::Claimed { task, late } => {
            let how = if *late { ", late" } else { "" };
            Line::new(
                at,
                "claimed",
                format!("· task {task}: claimed: the device says that it is done{how}"),
            )
            .with("task", task.to_string())
            .with("late", *late)
        }
        EventKind::NotOffered { module, why } => {
            let of =
                if *module == Module::default() { String::new() } else { format!(" {module}") };
            Line::new(at, "not-offered", format!("· no offer{of}: {}", clean(&why.to_string())))
                .with("module", module.as_str())
                .with("why", why.name())
                .with("text", why.to_string())
        }
        EventKind::Proved { task } => Line::new(
            at,
            "proved",
            format!("· task {task}: proved: the device runs the new version"),
        )
        .with("task", task.to_string()),
        _ => return None,
    })
}

/// Entries that are neither messages nor conclusions.
fn journal(at: Instant, what: &What) -> Option<Line> {
    Some(match what {
        What::LoggedIn { peer, legacy } => {
            let how = if *legacy { " with MQTT 3.1" } else { "" };
            Line::new(at, "login", format!("· logged in from {peer}{how}"))
                .with("peer", peer.to_string())
                .with("legacy", *legacy)
        }
        What::LoginRefused { peer, client_id, why } => {
            let text = format!("· login of {} from {peer} refused: {why}", clean(client_id));
            Line::new(at, "login-refused", text)
                .with("peer", peer.to_string())
                .with("client_id", client_id.as_str())
                .with("why", why.to_string())
        }
        What::Closed { peer, why } => {
            Line::new(at, "closed", format!("· connection from {peer} ended: {}", clean(why)))
                .with("peer", peer.to_string())
                .with("why", why.as_str())
        }
        What::NotSent { topic } => {
            Line::new(at, "not-sent", format!("· not subscribed: nothing sent to {topic}"))
                .with("topic", topic.as_str())
        }
        What::Refused { topic, error } => {
            Line::new(at, "refused", format!("· refused: {}: {error}", clean(topic)))
                .with("topic", topic.as_str())
                .with("error", error.to_string())
        }
        What::Foreign { topic } => {
            Line::new(at, "foreign", format!("· dropped: not the device's topic: {}", clean(topic)))
                .with("topic", topic.as_str())
        }
        What::Subscribed { granted, refused } => {
            let mut text = format!("· subscribed to {}", clean(&granted.join(", ")));
            if !refused.is_empty() {
                let _ = write!(text, ", not to {}", clean(&refused.join(", ")));
            }
            Line::new(at, "subscribed", text)
                .with("granted", granted.as_slice())
                .with("refused", refused.as_slice())
        }
        other => return beside(at, other),
    })
}

/// Entries without a device's connection: the firmware server, the faults, the broker, the log.
fn beside(at: Instant, what: &What) -> Option<Line> {
    Some(match what {
        What::Fault { fault } => Line::new(at, "fault", format!("! {fault}: {}", fault.about()))
            .with("fault", fault.name()),
        What::Called { .. } => return called(at, what),
        What::Request { peer, method, path, status, range, why } => {
            let answer = match status {
                0 => "no answer".to_owned(),
                _ if !why.is_empty() => format!("{status}, {}", clean(why)),
                _ if range.is_empty() => format!("{status}, no bytes"),
                // Like in HTTP, the last byte is included.
                _ => format!("{status}, bytes {}-{}", range.start, range.end - 1),
            };
            let text = format!("· {} {}: {answer}", clean(method), clean(path));
            Line::new(at, "request", text)
                .with("peer", peer.to_string())
                .with("method", method.as_str())
                .with("path", path.as_str())
                .with("status", *status)
                .with("from", range.start)
                .with("to", range.end)
                .with("why", why.as_str())
        }
        What::TurnedAway { peer, most } => Line::new(
            at,
            "turned-away",
            format!("· connection from {peer} closed: there are {most} already"),
        )
        .with("peer", peer.to_string())
        .with("most", *most),
        What::Withdrawn { product_id, version, why } => Line::new(
            at,
            "withdrawn",
            format!("· {product_id} {version} is no longer offered: {why}"),
        )
        .with("product", product_id.as_str())
        .with("version", version.as_str())
        .with("why", why.as_str()),
        What::Store { why: Some(why) } => {
            let why = clean(why);
            Line::new(at, "store", format!("! the store refuses: {why}")).with("why", why)
        }
        What::Store { why: None } => Line::new(at, "store", "the store works again".to_owned()),
        What::Alert { .. } | What::Certificate { .. } => return surroundings(at, what),
        What::BrokerJoined { broker } => {
            Line::new(at, "broker-joined", format!("· joined {broker}"))
                .with("broker", broker.as_str())
        }
        What::BrokerLost { broker, why, retry } => {
            let (why, retry) = (clean(&why.to_string()), retry.as_secs_f64());
            let text = format!("· no connection to {broker}: {why}; trying again in {retry:.0} s");
            Line::new(at, "broker-lost", text)
                .with("broker", broker.as_str())
                .with("why", why)
                .with("retry", retry)
        }
        What::Lost(count) => {
            Line::new(at, "lost", format!("· {count} entries were lost: too slow a reader"))
                .with("count", *count)
        }
        _ => return None,
    })
}

/// What the cloud sees of its surroundings.
fn surroundings(at: Instant, what: &What) -> Option<Line> {
    Some(match what {
        What::Alert { alert, raised, text } => {
            let words = format!("! {}", clean(text));
            Line::new(at, "alert", words)
                .with("alert", alert.name())
                .with("raised", *raised)
                .with("text", text.as_str())
        }
        What::Certificate { why: Some(why) } => {
            let why = clean(why);
            let text = format!("! the new certificate cannot be used, the old one stays: {why}");
            Line::new(at, "certificate", text).with("why", why)
        }
        What::Certificate { why: None } => {
            Line::new(at, "certificate", "· the new certificate is used from now on".to_owned())
        }
        _ => return None,
    })
}

/// A call of the API.
fn called(at: Instant, what: &What) -> Option<Line> {
    let What::Called { peer, key, method, path, status, request } = what else { return None };
    let call = if method.is_empty() { "no call".into() } else { format!("{method} {path}") };
    let by = if key.is_empty() { String::new() } else { format!(" by {key}") };
    let line = Line::new(at, "called", format!("· api: {call}{by}: {status}"))
        .with("peer", peer.to_string())
        .with("key", key.as_str())
        .with("method", *method)
        .with("path", *path)
        .with("status", *status)
        .with("request", request.as_str());
    Some(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ota_cloud::CloudError;
    use ota_cloud::endpoint::Refusal;

    #[test]
    fn a_refused_login_is_told_and_no_peer_moves_the_cursor() {
        let (peer, client_id) = (([127, 0, 0, 1], 9).into(), "P\u{1b}[2J".to_owned());
        let login = What::LoginRefused { peer, client_id, why: Refusal::BadCredentials };
        let topic = "$ota/report/P/\u{1b}[2J".to_owned();
        let message = What::Refused { topic, error: CloudError::ForeignTopic };
        for (what, text) in [
            (
                login,
                "· login of P\u{fffd}[2J from 127.0.0.1:9 refused: wrong or expired credentials",
            ),
            (message, "· refused: $ota/report/P/\u{fffd}[2J: not the report topic of a device"),
        ] {
            assert_eq!(journal(Instant::ZERO, &what).unwrap().text(), text);
        }
    }
}
