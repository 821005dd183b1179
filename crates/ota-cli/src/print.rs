//! What people and programs read on standard output: a transcript, or one JSON object a line.

use std::fmt::Write as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use ota_cloud::{EventKind, Module};
use ota_host::Clock;
use ota_proto::Instant;
use ota_server::{Entry, Payload, What};
use serde_json::Value;

use crate::day;
use crate::sink::{self, is_unsafe};
pub(crate) use crate::sink::{err, out};
use crate::size::Bytes;

/// One line of the output, for both forms.
pub(crate) struct Line {
    /// When: microseconds since the start.
    at: Instant,
    fields: Vec<(&'static str, Field)>,
    /// For people.
    text: String,
}

enum Field {
    Value(Value),
    /// JSON as it came.
    Raw(String),
}

impl Line {
    /// A line for people, and what happened in one word for programs.
    pub(crate) fn new(at: Instant, event: &'static str, text: impl Into<String>) -> Self {
        Self { at, fields: vec![("event", Field::Value(event.into()))], text: text.into() }
    }

    /// Adds a field for programs.
    pub(crate) fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.fields.push((key, Field::Value(value.into())));
        self
    }

    fn raw(mut self, key: &'static str, json: String) -> Self {
        self.fields.push((key, Field::Raw(json)));
        self
    }

    /// A message as it came where that is JSON in one line without controls; else as a text.
    fn payload(self, text: String, is_json: bool) -> Self {
        if is_json && !text.contains(|c: char| c < ' ') {
            self.raw("payload", text)
        } else {
            self.with("payload", text)
        }
    }

    fn to_json(&self, unix_at_zero: Option<Duration>) -> String {
        let mut line = format!("{{\"time\":{:.6}", seconds(self.at));
        if let Some(zero) = unix_at_zero {
            let unix = zero.saturating_add(self.at.since(Instant::ZERO));
            // Not by a float: it has no digits left for microseconds.
            let _ = write!(line, ",\"unix\":{}.{:06}", unix.as_secs(), unix.subsec_micros());
        }
        for (key, field) in &self.fields {
            // Writing to a string cannot fail.
            let _ = match field {
                Field::Value(value) => write!(line, ",\"{key}\":{value}"),
                Field::Raw(json) => write!(line, ",\"{key}\":{json}"),
            };
        }
        line.push('}');
        safe_json(&line)
    }
}

/// JSON whose texts have no character that would act on a terminal: those that JSON leaves as they
/// are stand there as escapes. Nothing but a text has any of them.
pub(crate) fn safe_json(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for c in json.chars() {
        if is_unsafe(c) {
            // All of them have at most four digits.
            let _ = write!(safe, "\\u{:04x}", u32::from(c));
        } else {
            safe.push(c);
        }
    }
    safe
}

/// Writes lines to standard output.
pub(crate) struct Printer {
    json: bool,
    show_secrets: bool,
    /// For people: one device, and only what tells its story.
    brief: bool,
    /// The Unix time of the start, for lines that say when by everybody's clock.
    unix_at_zero: Option<Duration>,
    /// The time of day beside the seconds, by a clock that may be set meanwhile.
    dated: bool,
    bar: Option<ProgressBar>,
}

impl Printer {
    pub(crate) fn new(json: bool, show_secrets: bool, brief: bool) -> Self {
        Self { json, show_secrets, brief, unix_at_zero: None, dated: false, bar: None }
    }

    /// Adds the Unix time to each line for programs.
    pub(crate) fn with_unix(mut self, at_zero: Duration) -> Self {
        self.unix_at_zero = Some(at_zero);
        self
    }

    /// For what runs for long: the time of day beside the seconds since the start.
    pub(crate) fn dated(self) -> Self {
        Self { dated: true, ..self }
    }

    /// Whether a bar can be drawn below the lines.
    pub(crate) fn has_bar(&self) -> bool {
        !self.json && sink::has_bar()
    }

    /// Draws how much of `total` bytes is there, on a terminal only.
    pub(crate) fn progress(&mut self, total: u64, percent: u8) {
        if self.json {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            // Draws on standard error, and nothing when that is no terminal.
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
        let day = self.dated.then(Clock::unix_time).flatten();
        let text = match (self.json, day) {
            (true, None) => line.to_json(self.unix_at_zero),
            (true, Some(day)) => {
                let since = line.at.since(Instant::ZERO);
                line.to_json(Some(Duration::from_secs(day).saturating_sub(since)))
            }
            (false, None) => format!("{:9.3}  {}", seconds(line.at), line.text),
            (false, Some(day)) => {
                format!("{} {:9.3}  {}", day::time(day), seconds(line.at), line.text)
            }
        };
        match &self.bar {
            Some(bar) => bar.suspend(|| out(&text)),
            None => out(&text),
        }
    }

    /// Writes what the cloud logged, if it says anything new.
    pub(crate) fn entry(&self, entry: &Entry) {
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
        if detail && self.brief && !self.json {
            return;
        }
        if let Some(line) = self.describe(entry) {
            self.line(&line);
        }
    }

    fn describe(&self, entry: &Entry) -> Option<Line> {
        let name = entry.device.as_ref().map(|d| format!("{}/{}", d.product_id(), d.device_name()));
        let mut line = match &entry.what {
            What::Received { topic, payload } => {
                self.message(entry.at, "received", "→", topic, payload)
            }
            What::Sent { topic, payload } => self.message(entry.at, "sent", "←", topic, payload),
            What::Event(kind) => event(entry.at, kind)?,
            other => journal(entry.at, other)?,
        };
        if let Some(name) = name {
            if !self.brief {
                line.text = format!("{name}  {}", line.text);
            }
            line.fields.insert(1, ("device", Field::Value(name.into())));
        }
        Some(line)
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

/// Seconds since the start.
fn seconds(at: Instant) -> f64 {
    at.since(Instant::ZERO).as_secs_f64()
}

/// A message of the protocol in a few words; `None` when it is another one.
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

/// A change that the cloud concluded. What only repeats a message is left out.
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

/// What is neither a message nor a conclusion.
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

/// What is of no device's connection: the firmware server, the faults, the broker, the log.
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
                // As HTTP counts: the last one is part of it.
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
            format!("· {product_id} {version} is offered no more: {why}"),
        )
        .with("product", product_id.as_str())
        .with("version", version.as_str())
        .with("why", why.as_str()),
        What::Store { why: Some(why) } => {
            let why = clean(why);
            Line::new(at, "store", format!("! the store refuses: {why}")).with("why", why)
        }
        What::Store { why: None } => Line::new(at, "store", "the store works again".to_owned()),
        What::BrokerJoined { broker } => {
            Line::new(at, "broker-joined", format!("· joined {broker}"))
                .with("broker", broker.as_str())
        }
        What::BrokerLost { broker, why, retry } => {
            let (why, retry) = (clean(&why.to_string()), retry.as_secs_f64());
            let text = format!("· not with {broker}: {why}; tried again in {retry:.0} s");
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

/// A call of the API.
fn called(at: Instant, what: &What) -> Option<Line> {
    let What::Called { peer, key, method, path, status } = what else { return None };
    let call = if method.is_empty() { "no call".into() } else { format!("{method} {path}") };
    let by = if key.is_empty() { String::new() } else { format!(" by {key}") };
    let line = Line::new(at, "called", format!("· api: {call}{by}: {status}"))
        .with("peer", peer.to_string())
        .with("key", key.as_str())
        .with("method", *method)
        .with("path", *path)
        .with("status", *status);
    Some(line)
}

/// A peer's text without what would move a terminal's cursor or the order of what is read.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if is_unsafe(c) { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ota_cloud::CloudError;
    use ota_cloud::endpoint::Refusal;

    #[test]
    fn no_control_reaches_a_terminal_or_a_reader_of_json() {
        let text = "a\u{1b}[2J\u{9b}31m\u{7f}\u{202e}\u{2066}\u{200f}\u{2028}z";
        let line = Line::new(Instant::ZERO, "connected", "t").with("k", text).to_json(None);
        assert!(!line.contains(is_unsafe), "{line:?}");
        let back: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(back["k"], text, "nothing is lost");
        let bare = clean(text);
        assert!(!bare.contains(is_unsafe), "{bare:?}");
        assert_eq!(clean("ü 漢 é\u{301}"), "ü 漢 é\u{301}", "what is no control stays");
    }

    #[test]
    fn a_payload_with_controls_between_its_texts_is_shown_as_a_text() {
        for payload in ["{\"a\":\t1}", "{\"a\":\"\u{85}\u{202e}\"}", "{\"a\":1}"] {
            let line = Line::new(Instant::ZERO, "received", "").payload(payload.into(), true);
            let json = line.to_json(None);
            assert!(!json.contains(is_unsafe), "{json:?}");
            let _: Value = serde_json::from_str(&json).unwrap();
        }
    }

    #[test]
    fn a_refused_login_is_told_and_no_peer_moves_the_cursor() {
        let (peer, client_id) = (([127, 0, 0, 1], 9).into(), "P\u{1b}[2J".to_owned());
        let login = What::LoginRefused { peer, client_id, why: Refusal::BadCredentials };
        let topic = "$ota/report/P/\u{1b}[2J".to_owned();
        let message = What::Refused { topic, error: CloudError::ForeignTopic };
        for (what, text) in [
            (
                login,
                "· login of P\u{fffd}[2J from 127.0.0.1:9 refused: wrong or lapsed credentials",
            ),
            (message, "· refused: $ota/report/P/\u{fffd}[2J: not the report topic of a device"),
        ] {
            assert_eq!(journal(Instant::ZERO, &what).unwrap().text, text);
        }
    }
}
