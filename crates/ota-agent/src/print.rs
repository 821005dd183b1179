//! Output on standard output for people and programs: a transcript, or one JSON object per line.

use std::fmt::Write as _;
use std::time::Duration;

use ota_host::Clock;
use ota_proto::Instant;
use serde_json::Value;

use crate::sink::{self, is_unsafe};
pub use crate::sink::{err, out};
use crate::{day, name};

/// One line of the output, in both forms.
#[derive(Debug)]
pub struct Line {
    /// Microseconds since the start.
    at: Instant,
    fields: Vec<(&'static str, Field)>,
    /// The text for people.
    text: String,
}

#[derive(Debug)]
enum Field {
    Value(Value),
    /// JSON of a peer, unchanged.
    Raw(String),
}

impl Line {
    /// Makes a line with a text for people and an event name for programs.
    pub fn new(at: Instant, event: &'static str, text: impl Into<String>) -> Self {
        Self { at, fields: vec![("event", Field::Value(event.into()))], text: text.into() }
    }

    /// Adds a field for programs.
    pub fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.fields.push((key, Field::Value(value.into())));
        self
    }

    /// Adds the device of the line. People see it in front if `named` is set.
    pub fn of_device(mut self, name: String, named: bool) -> Self {
        if named {
            self.text = format!("{name}  {}", self.text);
        }
        self.fields.insert(1, ("device", Field::Value(name.into())));
        self
    }

    /// The text for people.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn raw(mut self, key: &'static str, json: String) -> Self {
        self.fields.push((key, Field::Raw(json)));
        self
    }

    /// Adds a message unchanged if it is JSON in one line without control characters; otherwise as
    /// a text.
    pub fn payload(self, text: String, is_json: bool) -> Self {
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
            // A float does not have enough digits for microseconds.
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

/// Escapes all characters that would act on a terminal in the texts of JSON. Only texts can contain
/// them.
pub fn safe_json(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for c in json.chars() {
        if is_unsafe(c) {
            // Each of them has at most four digits.
            let _ = write!(safe, "\\u{:04x}", u32::from(c));
        } else {
            safe.push(c);
        }
    }
    safe
}

/// Writes lines to standard output.
#[derive(Debug)]
pub struct Printer {
    json: bool,
    /// The Unix time of the start, for lines with the time of day.
    unix_at_zero: Option<Duration>,
    /// Prints the time of day in addition to the seconds, by a clock that may be set meanwhile.
    dated: bool,
}

impl Printer {
    /// Selects the form for programs or for people.
    pub fn new(json: bool) -> Self {
        Self { json, unix_at_zero: None, dated: false }
    }

    /// Adds the Unix time to each line for programs.
    pub fn with_unix(self, at_zero: Duration) -> Self {
        Self { unix_at_zero: Some(at_zero), ..self }
    }

    /// For programs that run long: prints the time of day in addition to the seconds since the
    /// start.
    pub fn dated(self) -> Self {
        Self { dated: true, ..self }
    }

    /// Whether the lines are JSON.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a bar can be drawn below the lines.
    pub fn has_bar(&self) -> bool {
        !self.json && sink::has_bar()
    }

    /// Writes the line.
    pub fn line(&self, line: &Line) {
        out(&self.text(line));
    }

    /// The formatted line.
    pub fn text(&self, line: &Line) -> String {
        let day = self.dated.then(Clock::unix_time).flatten();
        match (self.json, day) {
            (true, None) => line.to_json(self.unix_at_zero),
            (true, Some(day)) => {
                let since = line.at.since(Instant::ZERO);
                line.to_json(Some(Duration::from_secs(day).saturating_sub(since)))
            }
            (false, None) => format!("{:9.3}  {}", seconds(line.at), line.text),
            (false, Some(day)) => {
                format!("{} {:9.3}  {}", day::time(day), seconds(line.at), line.text)
            }
        }
    }
}

/// Seconds since the start.
fn seconds(at: Instant) -> f64 {
    at.since(Instant::ZERO).as_secs_f64()
}

/// Removes from a peer's text the characters that move a terminal's cursor or change the reading
/// order.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if is_unsafe(c) { '\u{fffd}' } else { c }).collect()
}

/// Writes a warning to standard error: something is wrong, but it is no reason to end.
pub fn warn(text: &str) {
    err(&format!("{}: {}", name::program(), clean(text)));
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
