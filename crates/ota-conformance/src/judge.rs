//! Checks outcomes against the table and the rules.

use ota_proto::message::{DeviceMessage, Progress, ProgressState};
use ota_wire::client::ClientEvent;

use crate::table::{End, Notice, Row, row};
use crate::{Outcome, Report, Scenario};

/// The violations of an outcome as texts; empty if there are none.
#[must_use]
pub fn judge(scenario: &Scenario, outcome: &Outcome) -> Vec<String> {
    let mut wrong = Vec::new();
    let Some(row) = row(scenario.fault).map(|row| row.over(scenario.tls)) else {
        return vec![format!("{}: not in the table", scenario.fault)];
    };
    let mut demand = |holds: bool, what: String| {
        if !holds {
            wrong.push(what);
        }
    };
    demand(outcome.ended, "it never came to rest".into());
    demand(outcome.struck.contains(&row.fault), "the fault never struck".into());
    let told: Vec<Notice> = outcome.events.iter().filter_map(Notice::of).collect();
    demand(row.told.is_none_or(|what| told.contains(&what)), format!("told: {told:?}"));
    let requests = outcome.requests.len();
    demand(
        row.requests.contains(&requests),
        format!("{requests} requests, not {:?}", row.requests),
    );
    let sessions = outcome.sessions.saturating_sub(outcome.restarts);
    demand(
        row.sessions.contains(&sessions),
        format!("{sessions} sessions, not {:?}", row.sessions),
    );
    wrong.extend(the_end(&row, scenario, outcome));
    wrong.extend(shapes(&outcome.reports));
    wrong.extend(story(&row, scenario, &outcome.reports));
    wrong
}

impl Notice {
    fn of(event: &ClientEvent) -> Option<Self> {
        Some(match event {
            ClientEvent::Device { event, .. } => match event {
                ota_proto::Event::Withdrawn => Self::Withdrawn,
                ota_proto::Event::Superseded => Self::Superseded,
                ota_proto::Event::VersionRefused { .. } => Self::VersionRefused,
                _ => return None,
            },
            ClientEvent::BadMessage { .. } => Self::BadMessage,
            ClientEvent::TooLong { .. } => Self::TooLong,
            ClientEvent::Kicked => Self::Kicked,
            _ => return None,
        })
    }
}

/// The running version, and the content of the slot.
fn the_end(row: &Row, scenario: &Scenario, outcome: &Outcome) -> Vec<String> {
    let mut wrong = Vec::new();
    let (runs, image) = (outcome.running.as_str(), &scenario.image);
    let expected = if row.end == End::Done { Scenario::TO } else { Scenario::FROM };
    if runs != expected {
        wrong.push(format!("{runs} runs, not {expected}"));
    }
    let last = outcome.reports.iter().rev().find_map(|report| version(&report.payload));
    if last.as_deref() != Some(expected) {
        wrong.push(format!("the last version reported is {last:?}, not {expected}"));
    }
    let kept = match row.end {
        End::Done => image.len(),
        _ if row.kept => image.len() * stored(&outcome.reports) / 100,
        _ => 0,
    };
    if outcome.slot.get(..kept) != image.get(..kept) {
        wrong.push(format!("the slot does not hold the first {kept} bytes of the image"));
    }
    wrong
}

/// The highest reported percentage.
fn stored(reports: &[Report]) -> usize {
    let percent = |report: &Report| progress(&report.payload)?.1.percent;
    reports
        .iter()
        .filter_map(percent)
        .max()
        .and_then(|most| usize::try_from(most).ok())
        .unwrap_or(0)
}

/// Rule 2: strict out.
fn shapes(reports: &[Report]) -> Vec<String> {
    let strict = |report: &&Report| {
        let mut buf = [0; 512];
        let again = DeviceMessage::decode(&report.payload)
            .ok()
            .and_then(|message| message.encode(&mut buf).ok())
            .and_then(|len| buf.get(..len));
        again != Some(&report.payload[..])
    };
    let shown = |report: &Report| String::from_utf8_lossy(&report.payload).into_owned();
    let odd = reports.iter().filter(strict).map(|report| format!("odd: {}", shown(report)));
    odd.collect()
}

/// Rules 1, 4 and 6: the order and number of messages.
fn story(row: &Row, scenario: &Scenario, reports: &[Report]) -> Vec<String> {
    let mut wrong = Vec::new();
    if reports.first().and_then(|r| version(&r.payload)).as_deref() != Some(Scenario::FROM) {
        wrong.push("the first report is not of the running version".into());
    }
    let mut percent = 0;
    let mut burning = false;
    let mut results = Vec::new();
    for (target, progress) in reports.iter().filter_map(|report| progress(&report.payload)) {
        if target != Scenario::TO {
            // A superseded update was in progress, and was not reported after that (rule 3).
            let before = row.told == Some(Notice::Superseded) && percent == 0 && !burning;
            if !before || progress.state != ProgressState::Downloading {
                wrong.push(format!("{:?} about {target}", progress.state));
            }
            continue;
        }
        let result = matches!(progress.state, ProgressState::Done | ProgressState::Fail);
        if !result && !results.is_empty() {
            wrong.push(format!("{:?} after the result", progress.state));
        }
        match progress.state {
            ProgressState::Downloading => {
                let now = progress.percent.unwrap_or(-1);
                if now < percent || burning {
                    wrong.push(format!("{now} % after {percent} %, burning: {burning}"));
                }
                percent = now;
            }
            ProgressState::Burning => {
                if percent != 100 {
                    wrong.push(format!("burning after {percent} %"));
                }
                burning = true;
            }
            _ => results.push((progress.state, progress.result_code, progress.result_msg)),
        }
    }
    let copies = results.len();
    results.dedup();
    match (row.end, &results[..]) {
        (End::Withdrawn, []) => {}
        (End::Done, [(ProgressState::Done, 0, _)]) if burning => {}
        (End::Fail(code, words), [(ProgressState::Fail, is, said)])
            if code == *is && says(said, words) => {}
        _ => wrong.push(format!("results: {results:?}, not {:?}", row.end)),
    }
    let asked = row.end != End::Withdrawn;
    if asked && !row.copies.contains(&copies) {
        wrong.push(format!("{copies} copies of the result, not {:?}", row.copies));
    }
    wrong.extend(count(scenario, reports));
    wrong
}

/// Whether the text matches, with or without the server's answer.
fn says(said: &str, words: &str) -> bool {
    said.strip_prefix(words).is_some_and(|rest| rest.is_empty() || rest.starts_with(": "))
}

/// Rule 4: a fast update costs 25 messages at most; a long one repeats its report each 20 s.
fn count(scenario: &Scenario, reports: &[Report]) -> Option<String> {
    let took = reports.last()?.at;
    let repeats = took.as_micros() / scenario.time(20).as_micros().max(1);
    let most = usize::try_from(repeats).unwrap_or(usize::MAX).saturating_mul(2).saturating_add(25);
    (reports.len() > most).then(|| format!("{} messages in {took:?}", reports.len()))
}

fn version(payload: &[u8]) -> Option<String> {
    match DeviceMessage::decode(payload) {
        Ok(DeviceMessage::ReportVersion { version, .. }) => Some(version.into_owned()),
        _ => None,
    }
}

fn progress(payload: &[u8]) -> Option<(String, Progress<'_>)> {
    match DeviceMessage::decode(payload) {
        Ok(DeviceMessage::ReportProgress { version, progress, .. }) => {
            Some((version.into_owned(), progress))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use ota_cloud::fault::Fault;

    use super::*;
    use crate::Request;

    fn version(version: &str) -> String {
        format!(r#"{{"type":"report_version","report":{{"version":"{version}"}}}}"#)
    }

    fn progress(state: &str) -> String {
        format!(
            r#"{{"type":"report_progress","report":{{"progress":{{{state},"result_msg":""}},"version":"1.0.0"}}}}"#
        )
    }

    fn report(payload: String) -> Report {
        Report { at: Duration::from_secs(1), payload: payload.into_bytes() }
    }

    fn scenario() -> Scenario {
        Scenario::new(Fault::Chunked, 1, 1)
    }

    fn good() -> Outcome {
        let states = [
            r#""state":"downloading","percent":"0","result_code":"0""#,
            r#""state":"downloading","percent":"100","result_code":"0""#,
            r#""state":"burning","result_code":"0""#,
            r#""state":"done","result_code":"0""#,
        ];
        let mut reports = vec![report(version("0.1.0"))];
        reports.extend(states.map(progress).map(report));
        reports.push(report(version("1.0.0")));
        Outcome {
            ended: true,
            running: "1.0.0".into(),
            slot: scenario().image,
            reports,
            requests: vec![Request { status: 200, range: 0..10_000 }],
            struck: vec![Fault::Chunked],
            events: Vec::new(),
            sessions: 1,
            restarts: 0,
        }
    }

    type Change = fn(&mut Outcome);

    #[test]
    fn what_is_right_is_right_and_whatever_is_wrong_is_told() {
        assert_eq!(judge(&scenario(), &good()), [""; 0]);
        let wrong: [(&str, Change); 13] = [
            ("never ended", |outcome| outcome.ended = false),
            ("the old version", |outcome| outcome.running = "0.1.0".into()),
            ("another byte", |outcome| outcome.slot[9_999] ^= 1),
            ("no fault", |outcome| outcome.struck.clear()),
            ("two requests", |outcome| outcome.requests.extend(outcome.requests.clone())),
            ("two sessions", |outcome| outcome.sessions = 2),
            ("no first version", |outcome| drop(outcome.reports.remove(0))),
            ("no last version", |outcome| drop(outcome.reports.pop())),
            ("no result", |outcome| drop(outcome.reports.remove(4))),
            ("two copies", |outcome| outcome.reports.insert(4, outcome.reports[4].clone())),
            ("progress falls", |outcome| outcome.reports.swap(1, 2)),
            ("burning after the result", |outcome| outcome.reports.swap(3, 4)),
            ("an odd shape", |outcome| outcome.reports[1].payload.push(b' ')),
        ];
        for (what, change) in wrong {
            let mut outcome = good();
            change(&mut outcome);
            assert!(!judge(&scenario(), &outcome).is_empty(), "{what}");
        }
    }
}
