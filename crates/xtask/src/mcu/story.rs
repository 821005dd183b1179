//! A device's messages, from the lines of `ota cloud serve --json`.

use serde_json::Value;

/// A result as the device reported it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) version: String,
    /// `done` or `fail`.
    pub(super) state: String,
    pub(super) code: String,
    pub(super) text: String,
}

/// The messages of one device.
#[derive(Clone, Debug, Default)]
pub(super) struct Story {
    /// Reported versions, without repetitions in a row.
    pub(super) versions: Vec<String>,
    /// Results, without repetitions in a row.
    pub(super) results: Vec<Outcome>,
    /// The version was reported after the last result.
    pub(super) settled: bool,
    /// Messages of the device.
    pub(super) messages: u32,
    /// The last progress in percent of the attempt.
    pub(super) percent: Option<u32>,
    /// Requests for the image: status and first byte.
    pub(super) requests: Vec<(u64, u64)>,
}

impl Story {
    /// Reads a line of the cloud.
    pub(super) fn hear(&mut self, line: &str, device: &str) {
        let Ok(line) = serde_json::from_str::<Value>(line) else { return };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if line["event"] == "request" {
            let status = line["status"].as_u64().unwrap_or_default();
            self.requests.push((status, line["from"].as_u64().unwrap_or_default()));
        }
        let of = line["device"].as_str().and_then(|name| name.split('/').nth(1));
        if line["event"] != "received" || of != Some(device) {
            return;
        }
        self.messages += 1;
        let (report, progress) =
            (&line["payload"]["report"], &line["payload"]["report"]["progress"]);
        match (line["payload"]["type"].as_str(), progress["state"].as_str()) {
            (Some("report_version"), _) => {
                let version = text(&report["version"]);
                self.settled = !self.results.is_empty();
                if self.versions.last() != Some(&version) {
                    self.versions.push(version);
                }
            }
            (_, Some("downloading")) => {
                self.percent = progress["percent"].as_str().and_then(|text| text.parse().ok());
            }
            (_, Some("done" | "fail")) => {
                let outcome = Outcome {
                    version: text(&report["version"]),
                    state: text(&progress["state"]),
                    code: text(&progress["result_code"]),
                    text: text(&progress["result_msg"]),
                };
                let copy = !self.settled && self.results.last() == Some(&outcome);
                self.settled = false;
                if !copy {
                    self.results.push(outcome);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_versions_and_requests_are_told_apart() {
        let mut story = Story::default();
        let version = r#"{"event":"received","device":"P/d","payload":{"type":"report_version","report":{"version":"1.0.0"}}}"#;
        let done = r#"{"event":"received","device":"P/d","payload":{"type":"report_progress","report":{"progress":{"state":"done","result_code":"0","result_msg":""},"version":"2.0.0"}}}"#;
        let request = r#"{"event":"request","path":"/x","status":206,"from":4096,"to":9000}"#;
        for line in [version, version, done, done, request, "no JSON"] {
            story.hear(line, "d");
        }
        story.hear(done, "another");
        assert_eq!((story.versions, story.messages), (vec!["1.0.0".to_owned()], 4));
        assert_eq!((story.results.len(), story.requests), (1, vec![(206, 4096)]));
    }
}
