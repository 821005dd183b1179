//! The due messages: rules 1, 4, 6 and 7.

use serde_json::{Value, json};

use super::book::{Fact, Line, last_said};
use super::steps::{Step, Url};
use super::{Owing, S, Spec};

/// When the version is to be reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// From this moment on, whatever the cloud says before it.
    From(u64),
    /// Not before the first moment and surely at the second, unless the cloud answers.
    Between(u64, u64),
}

impl Spec {
    /// A message is sent: it must be the first that is due. Its text is free; everything else is
    /// literal.
    pub(crate) fn said(&mut self, id: u32, qos: u8, payload: &[u8]) {
        let mut message: Value = serde_json::from_slice(payload).expect("JSON");
        let state = message["report"]["progress"]["state"].as_str().map(String::from);
        let state = state.as_deref();
        if matches!(state, Some("done" | "fail")) {
            let words = message["report"]["progress"]["result_msg"].take();
            let fine = words.as_str().is_some_and(|words| words.len() <= 96);
            let told = words.as_str() != Some("");
            assert!(fine && told == (state == Some("fail")), "the words of {message}: {words}");
        }
        let line = self.find(&message);
        let line = line.unwrap_or_else(|| panic!("nothing asks for {message} at {} µs", self.now));
        assert_eq!(qos, u8::from(!matches!(line, Line::Percent(_))), "QoS of {message}");
        self.fact(Fact::Said { id, line });
        self.settle();
    }

    /// The line that this message is, if it is the first that is due.
    fn find(&self, message: &Value) -> Option<Line> {
        for (line, certain) in self.due() {
            if self.text(&line) == *message {
                return Some(line);
            }
            assert!(!certain, "{} is due before {message}", self.text(&line));
        }
        None
    }

    /// The machine has nothing to do before its deadline: nothing may be due, and what surely
    /// happens by time alone must not come later than it wakes (rule 16).
    pub(crate) fn idle(&mut self, reading: bool, deadline: Option<u64>) {
        self.reading = reading;
        self.settle_wait();
        for (line, certain) in self.due() {
            assert!(!certain, "{} is not said at {} µs", self.text(&line), self.now);
        }
        if let Some(latest) = self.latest() {
            let wakes = deadline.is_some_and(|deadline| deadline <= latest);
            assert!(wakes, "it sleeps until {deadline:?} µs, and {latest} µs is due");
        }
    }

    /// What is due, in order, and whether it certainly is.
    fn due(&self) -> Vec<(Line, bool)> {
        let mut lines = Vec::new();
        if !self.up {
            return lines;
        }
        if self.owed.is_some() {
            if self.owed == Some(Owing::Saved) && self.result_at() <= self.now {
                lines.push((Line::Result, true));
            }
            return lines;
        }
        let (first, last) = match self.version_due() {
            Due::From(at) => (at, at),
            Due::Between(first, last) => (first, last),
        };
        if self.now >= first || self.may_ask() {
            lines.push((Line::Version, self.now >= last));
        }
        if let Some((line, at)) = self.progress_due() {
            if at <= self.now {
                lines.push((line, true));
            }
        }
        lines
    }

    /// A result is said once in a session, and again after 15 s without an acknowledgement.
    fn result_at(&self) -> u64 {
        self.book.result().map_or(0, |(at, _)| at + 15 * S)
    }

    pub(super) fn version_due(&self) -> Due {
        let (mut due, mut unanswered, mut waiting) = (Due::From(0), 0_u32, None);
        let mut said = None;
        for (at, fact) in self.book.session() {
            let waited = waiting.is_some_and(|since| *at >= since + 10 * S);
            match fact {
                Fact::Said { line: Line::Version, .. } => {
                    unanswered += u32::from(waiting.is_some() && waited);
                    // The first wait is exact; the next ones grow at random.
                    let most = if unanswered == 0 { 0 } else { (10 << unanswered.min(9)).min(300) };
                    due = Due::Between(at + 10 * S, at + (10 + most) * S);
                    (waiting, said) = (Some(*at), Some(*at));
                }
                Fact::Answered { waits } => {
                    unanswered = 0;
                    // What was asked for after the report is not answered by the answer.
                    if matches!(due, Due::Between(..)) {
                        // A task may be over while its server is waited for.
                        let (first, last) = if *waits { (300, 300) } else { (77_760, 95_040) };
                        due = Due::Between(at + first * S, at + last * S);
                        waiting = None;
                    }
                }
                Fact::Fault { .. } if waiting.is_none() => {
                    if let (Due::Between(first, last), Some(said)) = (due, said) {
                        let soon = said + 300 * S;
                        due = Due::Between(first.min(soon), last.min(soon));
                    }
                }
                Fact::Denied | Fact::Asked => {
                    unanswered += u32::from(waited);
                    waiting = None;
                    due = Due::From(if *fact == Fact::Asked { *at } else { at + 300 * S });
                }
                _ => {}
            }
        }
        due
    }

    /// What was said of this attempt in this session.
    fn recent(&self) -> &[(u64, Fact)] {
        self.book.since(|fact| matches!(fact, Fact::Began | Fact::Up | Fact::Down))
    }

    /// The progress that the open attempt has to tell, and when.
    pub(super) fn progress_due(&self) -> Option<(Line, u64)> {
        let attempt = self.open.as_ref()?;
        let line = match &attempt.step {
            Step::Consent { .. } | Step::Later { .. } => return None,
            Step::Url { why: Url::Boot | Url::Deferral, .. } => return None,
            Step::Restart { ours: false, .. } | Step::Trial { limit: None, .. } => return None,
            Step::Ready { .. } => Line::Percent(100),
            Step::Install { .. } | Step::Restart { .. } | Step::Trial { .. } => Line::Burning,
            // It never falls, and is at most 99 before the digest.
            _ => {
                let before = match last_said(self.book.attempt(), is_progress) {
                    Some((.., Line::Percent(percent))) => *percent,
                    _ => 0,
                };
                let anew = self.book.count(|fact| *fact == Fact::Anew { digest: true }) > 0;
                let percent = attempt.stored * 100 / attempt.image.size;
                Line::Percent(if anew { 99 } else { percent.min(99).max(before) })
            }
        };
        let Some((at, id, before)) = last_said(self.recent(), is_progress) else {
            return Some((line, 0));
        };
        let pause = match (before, &line) {
            (Line::Percent(old), Line::Percent(100)) if *old < 100 => 0,
            (Line::Percent(old), Line::Percent(new)) if *new >= old + 5 && self.book.heard(id) => S,
            (Line::Percent(_), Line::Burning) => 0,
            _ if self.waits() || matches!(attempt.step, Step::Url { .. }) => 45 * S,
            _ => 20 * S,
        };
        Some((line, at + pause))
    }

    /// Whether this was the last progress of the attempt in this session, and was acknowledged.
    pub(super) fn told(&self, wanted: &Line) -> Option<bool> {
        let (_, id, line) = last_said(self.recent(), is_progress)?;
        (line == wanted).then(|| self.book.heard(id))
    }

    /// A message as docs/protocol.md prints it, `result_msg` of a result left out.
    fn text(&self, line: &Line) -> Value {
        let attempt = self.open.as_ref().map(|attempt| attempt.image.version);
        let progress = |version: Option<&str>, progress: Value| {
            json!({
                "type": "report_progress",
                "report": { "progress": progress, "version": version },
            })
        };
        match line {
            Line::Version => {
                json!({ "type": "report_version", "report": { "version": self.running } })
            }
            Line::Percent(percent) => progress(
                attempt,
                json!({ "state": "downloading", "percent": percent.to_string(),
                        "result_code": "0", "result_msg": "" }),
            ),
            Line::Burning => progress(
                attempt,
                json!({ "state": "burning", "result_code": "0", "result_msg": "" }),
            ),
            Line::Result => {
                let (state, code) = match self.note.outcome {
                    Some(Err(why)) => ("fail", why.code()),
                    _ => ("done", "0"),
                };
                progress(
                    self.note.image.map(|image| image.version),
                    json!({ "state": state, "result_code": code, "result_msg": null }),
                )
            }
        }
    }

    /// The latest moment at which the device surely does something by itself.
    fn latest(&self) -> Option<u64> {
        let mut moments = Vec::new();
        if self.up {
            match (self.owed, self.version_due()) {
                (Some(Owing::Saved), _) => moments.push(self.result_at()),
                (None, Due::From(last) | Due::Between(_, last)) => moments.push(last),
                _ => {}
            }
            if self.owed.is_none() {
                moments.extend(self.progress_due().map(|(_, at)| at));
            }
        }
        if self.writing.is_none() && !self.is_durable() {
            moments.push(self.write_again);
        }
        moments.extend(self.recall);
        moments.extend(self.wait_over());
        moments.extend(self.url_silence());
        moments.extend(self.stuck_at());
        moments.extend(self.step_latest());
        moments.into_iter().min()
    }
}

fn is_progress(line: &Line) -> bool {
    matches!(line, Line::Percent(_) | Line::Burning)
}
