//! The required outcome of each fault, as data, by the rules of behaviour in docs/rules.md.

use core::ops::RangeInclusive;

use ota_cloud::fault::Fault;

/// How a task ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// `done`: the new version runs, and the slot holds its image.
    Done,
    /// `fail` with this code and text; the old version runs.
    Fail(i64, &'static str),
    /// No result: the offer was withdrawn (rule 3).
    Withdrawn,
}

/// What the application must be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// [`ota_proto::Event::Withdrawn`].
    Withdrawn,
    /// [`ota_proto::Event::Superseded`].
    Superseded,
    /// [`ota_proto::Event::VersionRefused`].
    VersionRefused,
    /// [`ota_wire::client::ClientEvent::BadMessage`].
    BadMessage,
    /// [`ota_wire::client::ClientEvent::TooLong`].
    TooLong,
    /// [`ota_wire::client::ClientEvent::Kicked`].
    Kicked,
}

/// One row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The fault.
    pub fault: Fault,
    /// How the task ends.
    pub end: End,
    /// Whether the reported bytes are in the slot at the end (rule 5).
    pub kept: bool,
    /// The number of copies of the result.
    pub copies: RangeInclusive<usize>,
    /// The number of requests to the firmware server.
    pub requests: RangeInclusive<usize>,
    /// The number of sessions, of a device that does not restart.
    pub sessions: RangeInclusive<u64>,
    /// What the application must be told.
    pub told: Option<Notice>,
}

const fn done(fault: Fault) -> Row {
    Row {
        fault,
        end: End::Done,
        kept: true,
        copies: 1..=1,
        requests: 1..=1,
        sessions: 1..=1,
        told: None,
    }
}

/// −1, −2 and −3 keep the bytes (rule 5).
const fn fail(fault: Fault, code: i64, words: &'static str) -> Row {
    Row { end: End::Fail(code, words), kept: code >= -3, ..done(fault) }
}

impl Row {
    /// The row over TLS, where no captive portal can answer.
    #[must_use]
    pub fn over(self, tls: bool) -> Self {
        let words = "server has another length than the offer";
        match self.end {
            End::Fail(code, SOMETHING_ELSE) if tls => Self { end: End::Fail(code, words), ..self },
            _ => self,
        }
    }

    const fn sessions(self, sessions: RangeInclusive<u64>) -> Self {
        Self { sessions, ..self }
    }

    const fn copies(self, copies: RangeInclusive<usize>) -> Self {
        Self { copies, ..self }
    }

    const fn told(self, what: Notice) -> Self {
        Self { told: Some(what), ..self }
    }

    const fn requests(self, requests: RangeInclusive<usize>) -> Self {
        Self { requests, ..self }
    }
}

/// The row of a fault. `None` if the suite does not know it, which its own test rules out.
#[must_use]
pub fn row(fault: Fault) -> Option<Row> {
    rows().into_iter().find(|row| row.fault == fault)
}

const REFUSED: &str = "url expired or refused";
/// The worlds use plain http, over which a captive portal may answer for a while.
const SOMETHING_ELSE: &str = "server answers with something else";

/// All rows, in the order of [`Fault::ALL`].
#[must_use]
pub fn rows() -> Vec<Row> {
    let mut rows = store();
    rows.extend(broker());
    rows
}

/// Faults of the firmware server.
fn store() -> Vec<Row> {
    vec![
        // Rule 8: a fresh URL; when it is the same one, once more after a while.
        done(Fault::ExpireUrl).requests(2..=6),
        // Rules 5 and 8: at most three rounds, each with one URL twice at most.
        fail(Fault::RefuseUrl, -3, REFUSED).requests(3..=8),
        // Rule 5: a fresh URL, and once more after a minute.
        fail(Fault::Gone, -2, "file does not exist").requests(3..=3),
        // Rule 8: back-off.
        done(Fault::ServerError).requests(3..=3),
        done(Fault::Throttle).requests(3..=3),
        // Rule 8: at most five redirects, and none from https to http; the worlds use http.
        done(Fault::Redirect).requests(2..=2),
        fail(Fault::RedirectLoop, -5, "redirect refused").requests(12..=240),
        done(Fault::RedirectDowngrade).requests(2..=2),
        // Rule 9: the first byte has a deadline.
        done(Fault::Mute).requests(2..=2),
        // Rule 8: a 200 to a range request is skipped up to the stored offset.
        done(Fault::IgnoreRange).requests(2..=2),
        // Rule 8: a 206 must match.
        done(Fault::WrongRange).requests(3..=3),
        // Rule 12: a mismatch after a resume costs one clean restart.
        done(Fault::ShiftedRange).requests(3..=3),
        // Rule 8: another ETag means another object: from zero.
        done(Fault::ChangedObject).requests(2..=3),
        done(Fault::FlappingEtag),
        // Rule 8: a short body resumes.
        done(Fault::Truncate).requests(2..=2),
        // Bytes after a body do not belong to it.
        done(Fault::ExtraBytes),
        // Rules 5 and 8: over-long or contradictory bodies are refused.
        fail(Fault::LyingLength, -5, SOMETHING_ELSE).requests(2..=40),
        // HTTP allows both.
        done(Fault::Chunked),
        done(Fault::NoLength),
        // Rule 8: a label is believed only if the length does not contradict it.
        done(Fault::Compressed),
        // Rule 9: above the minimum rate the fetch continues, below it starts again.
        done(Fault::Slow),
        done(Fault::Trickle).requests(2..=2),
        done(Fault::Stall).requests(2..=2),
        done(Fault::Reset).requests(2..=2),
        // Rule 12: one clean download that bypasses all caches.
        fail(Fault::WrongDigest, -4, "md5 does not match").requests(2..=2),
    ]
}

/// Faults of messages and of the broker's connection.
fn broker() -> Vec<Row> {
    vec![
        // Rule 8: the same URL again is tried once more, later, unless a version report of the
        // device's own has brought a fresh one before.
        done(Fault::SameUrlAgain).requests(2..=6),
        // Rules 5 and 8.
        fail(Fault::WrongSize, -5, SOMETHING_ELSE).requests(2..=40),
        // Rule 2: liberal in.
        done(Fault::UpperCaseDigest),
        done(Fault::EscapedUrl),
        // Rule 1: no reply in time: report again. A late reply also counts.
        done(Fault::LostReply),
        done(Fault::LateReply),
        done(Fault::BadReply).told(Notice::VersionRefused),
        // Rule 7: the next report replaces a lost push.
        done(Fault::LostOffer),
        // Rules 1 and 6: a missing PUBACK closes the session, and the result comes again.
        done(Fault::LostAck).sessions(2..=2).copies(2..=2),
        // Rule 3: a repeated offer has no effect, and the running version is never downloaded.
        done(Fault::DuplicateOffer),
        done(Fault::ReplayedOffer),
        // Rule 3: no report for the old one.
        done(Fault::Supersede).requests(2..=2).told(Notice::Superseded),
        // Rule 1: an offer that comes before the reply is the reply.
        done(Fault::OfferBeforeReply),
        // Rule 3: two replies without an offer.
        Row {
            end: End::Withdrawn,
            ..done(Fault::Withdraw).requests(1..=2).told(Notice::Withdrawn)
        },
        // Rule 2: none of these changes anything.
        done(Fault::ForeignTopic),
        done(Fault::GarbagePayload).told(Notice::BadMessage),
        done(Fault::HugePayload).told(Notice::TooLong),
        done(Fault::DeepJson).told(Notice::BadMessage),
        // Rule 10: back-off; a download goes on meanwhile.
        done(Fault::BrokerDrop).sessions(2..=2),
        done(Fault::BrokerGarbage).sessions(2..=2),
        // Rule 1: PUBACK and PINGRESP have deadlines.
        done(Fault::HalfOpen).sessions(2..=2),
        // Rule 10: the next login waits longest. The broker accepts the first login, but its answer
        // is lost.
        done(Fault::RefuseLogin).sessions(2..=2),
        // Rule 10: three kicks in a minute raise an event.
        done(Fault::Kick).sessions(4..=4).told(Notice::Kicked),
    ]
}
