//! The download: answers, bodies, faults and their bounds (rules 8 and 9 of docs/rules.md).

use core::time::Duration;

use crate::code::Reason;
use crate::error::{FetchError, TransportError};
use crate::input::ResponseHead;
use crate::output::{Body, Event, OpId, Write};
use crate::url::SecretUrl;

use super::Updater;
use super::attempt::{Attempt, End, Faults, Net, Recall, Stage, Stream, Why};
use super::judge::{Asked, Verdict, judge};
use super::storage::{Job, Work};

/// Fetches in a row without progress, while the cloud can be told.
const IDLE_FETCHES: u8 = 8;
/// The same for lies: TLS, redirects, contradictions.
const LIES: u8 = 3;
/// Asks for a fresh URL without a new byte.
const ROUNDS: u8 = 3;
/// Restarts from zero.
const RESTARTS: u8 = 2;
/// Body bytes in all, as a multiple of the image's size.
const RECEIVED: u64 = 3;
/// What counts as progress of one fetch, in bytes.
const PROGRESS: u64 = 4_096;

impl Updater {
    pub(super) fn on_response(
        &mut self,
        op: OpId,
        head: &ResponseHead<'_>,
    ) -> Result<(), FetchError> {
        let Some(attempt) = &self.update else { return Err(FetchError::Stale) };
        let Stage::Fetching(Net::Asked { op: current, from, url, hops, .. }) = &attempt.stage
        else {
            return Err(FetchError::Stale);
        };
        if *current != op {
            return Err(FetchError::Stale);
        }
        let asked = Asked {
            from: *from,
            size: attempt.image.size,
            etag: attempt.etag,
            url: url.as_ref().map_or(&attempt.source.url.0, |url| &url.0),
            hops: *hops,
        };
        let hops = hops.saturating_add(1);
        match judge(&self.cfg, &asked, head) {
            Verdict::Take { skip, declared, etag } => {
                self.begin_body(op, skip, declared, etag);
                return Ok(());
            }
            Verdict::Restart { body, etag } => {
                if !self.restart(Reason::Contradiction) {
                    return Err(FetchError::Refused);
                }
                if let Some(declared) = body {
                    self.begin_body(op, 0, declared, etag);
                    return Ok(());
                }
                self.end_fetch(Net::Due { hop: None, hops: 0 });
            }
            Verdict::Redirect(url) => {
                self.end_fetch(Net::Due { hop: Some(SecretUrl(url)), hops });
            }
            Verdict::Refused => self.ask_for_url(Why::Refused),
            Verdict::Gone => self.ask_for_url(Why::Gone),
            Verdict::Later(after) => self.fetch_fault(Reason::Network, after),
            Verdict::Fault(reason) => self.fetch_fault(reason, None),
        }
        Err(FetchError::Refused)
    }

    pub(super) fn on_body(&mut self, op: OpId, data: &[u8]) -> Result<Body, FetchError> {
        let reading = self.is_reading();
        let Some(attempt) = &mut self.update else { return Err(FetchError::Stale) };
        let Stage::Fetching(Net::Body(stream)) = &mut attempt.stage else {
            return Err(FetchError::Stale);
        };
        if stream.op != op || stream.end.is_some() {
            return Err(FetchError::Stale);
        }
        if data.is_empty() || !reading {
            return Ok(Body::default());
        }
        let offered = u64::try_from(data.len()).unwrap_or(u64::MAX);
        let missing = attempt.image.size.saturating_sub(attempt.stored);
        if stream.skip == 0 && missing == 0 {
            // More than the image has. What came before it was taken, in whatever pieces it came.
            self.fetch_fault(Reason::Contradiction, None);
            return Err(FetchError::Refused);
        }
        let room = attempt.erased.saturating_sub(attempt.stored).min(missing);
        let taken = offered.min(if stream.skip > 0 { stream.skip } else { room });
        let consumed = usize::try_from(taken).unwrap_or(data.len()).min(data.len());
        stream.bytes = stream.bytes.saturating_add(taken);
        stream.idle = self.now + self.cfg.timing.idle;
        attempt.faults.received = attempt.faults.received.saturating_add(taken);
        if attempt.faults.received > attempt.image.size.saturating_mul(RECEIVED) {
            // The server lies about nothing: its line breaks more often than the image is worth.
            self.fail(Reason::Broken);
            return Err(FetchError::Refused);
        }
        if stream.skip > 0 {
            stream.skip = stream.skip.saturating_sub(taken);
            return Ok(Body { consumed, write: None });
        }
        let at = attempt.stored;
        let end = at.saturating_add(taken);
        let op = self.next_op();
        self.job = Some(Job { op, work: Work::Write { end }, orphan: false });
        Ok(Body { consumed, write: Some(Write { op, at, span: 0..consumed }) })
    }

    pub(super) fn on_body_end(&mut self, op: OpId) {
        self.end_stream(op, End::Clean);
    }

    pub(super) fn on_fetch_failed(&mut self, op: OpId, error: TransportError) {
        let reason = match error {
            TransportError::Tls(why) => why.into(),
            TransportError::Malformed => Reason::Contradiction,
            _ => Reason::Network,
        };
        self.end_stream(op, End::Failed(reason));
    }

    /// The answer is over from the network's side. A write may still be under way: what it means
    /// is decided when that ends.
    fn end_stream(&mut self, op: OpId, end: End) {
        let Some(attempt) = &mut self.update else { return };
        match &mut attempt.stage {
            Stage::Fetching(Net::Body(stream)) if stream.op == op => {
                stream.end.get_or_insert(end);
            }
            Stage::Fetching(Net::Asked { op: asked, .. }) if *asked == op => {
                let reason = match end {
                    End::Clean => Reason::Network,
                    End::Failed(reason) => reason,
                };
                self.forget_fetch();
                self.fetch_fault(reason, None);
            }
            _ => {}
        }
    }

    /// Judges a stream that has ended, once nothing is being written.
    pub(super) fn settle_stream(&mut self) {
        let Some(attempt) = &mut self.update else { return };
        let Stage::Fetching(Net::Body(stream)) = &attempt.stage else { return };
        if self.job.is_some() {
            return;
        }
        let whole = attempt.stored >= attempt.image.size;
        if whole && (stream.declared || stream.end.is_some()) {
            self.cancel_fetch();
            if let Some(attempt) = &mut self.update {
                attempt.faults.streak = 0;
                attempt.stage = Stage::Verifying;
            }
            return;
        }
        match stream.end {
            None => {}
            Some(End::Clean) => self.fetch_fault(Reason::Network, None),
            Some(End::Failed(reason)) => self.fetch_fault(reason, None),
        }
    }

    /// Bytes were stored: what counts as progress forgives what went wrong before.
    pub(super) fn note_progress(&mut self) {
        let Some(attempt) = &mut self.update else { return };
        if attempt.stored > attempt.high {
            attempt.high = attempt.stored;
            attempt.faults.rounds = 0;
        }
        let Stage::Fetching(Net::Body(stream)) = &attempt.stage else { return };
        if attempt.high.saturating_sub(stream.base) >= PROGRESS {
            let Faults { restarts, digest, received, rounds, .. } = attempt.faults;
            attempt.faults = Faults { restarts, digest, received, rounds, ..Faults::default() };
        }
    }

    /// The fetch under way is over without success: pause, or give up.
    pub(super) fn fetch_fault(&mut self, cause: Reason, after: Option<Duration>) {
        self.cancel_fetch();
        let told = u8::from(self.session.is_up());
        let Some(attempt) = &mut self.update else { return };
        let lie = cause.is_tls() || matches!(cause, Reason::Redirect | Reason::Contradiction);
        let faults = &mut attempt.faults;
        let exponent = faults.streak;
        faults.streak = faults.streak.saturating_add(1);
        faults.told = faults.told.saturating_add(told);
        faults.lies = faults.lies.saturating_add(if lie { told } else { 0 });
        if faults.lies >= LIES {
            return self.fail(cause);
        }
        if faults.told >= IDLE_FETCHES {
            // One lie among them is not what the others failed by.
            return self.fail(Reason::Network);
        }
        let timing = &self.cfg.timing;
        let jitter = self.rng.backoff(timing.retry_base, exponent, timing.retry_cap);
        // A lie does not become true in a second.
        let pause = if lie { timing.retry_cap } else { jitter };
        let pause = pause.max(after.unwrap_or_default().min(timing.retry_after_cap));
        attempt.stage = Stage::Backoff { until: self.now + pause };
        self.news.push(Event::Retry { cause });
    }

    /// Begins the image anew; `false` when that was done too often and the attempt is over, for
    /// this reason.
    pub(super) fn restart(&mut self, cause: Reason) -> bool {
        let Some(attempt) = &mut self.update else { return false };
        if attempt.faults.restarts >= RESTARTS {
            self.fail(cause);
            return false;
        }
        attempt.faults.restarts = attempt.faults.restarts.saturating_add(1);
        attempt.stored = 0;
        attempt.erased = 0;
        attempt.synced = 0;
        attempt.hashed = 0;
        attempt.rehashed = false;
        attempt.etag = 0;
        attempt.pieces = 0;
        attempt.checkpoint_at = self.now;
        // What is under way speaks of bytes that are about to go.
        self.orphan_job();
        let Some(attempt) = &self.update else { return false };
        // The journal must not claim bytes that are about to go (O2).
        self.ledger.wanted.target = Some(attempt.target(0));
        true
    }

    /// Asks the cloud for a fresh URL, or gives up after too many rounds.
    pub(super) fn ask_for_url(&mut self, why: Why) {
        self.cancel_fetch();
        let Some(attempt) = &mut self.update else { return };
        let (most, reason) = match why {
            Why::Gone => (1, Reason::NotFound),
            _ => (ROUNDS, Reason::Unauthorized),
        };
        if matches!(why, Why::Refused | Why::Gone) {
            if attempt.faults.rounds >= most {
                return self.fail(reason);
            }
            attempt.faults.rounds = attempt.faults.rounds.saturating_add(1);
            self.news.push(Event::Retry { cause: reason });
        }
        let recall = Recall::new(why, self.now, self.session.is_up(), &self.cfg.timing);
        if let Some(attempt) = &mut self.update {
            attempt.stage = Stage::Recall(recall);
        }
        self.session.report_now(self.now);
    }

    /// Drops the fetch under way, if there is one.
    pub(super) fn cancel_fetch(&mut self) {
        if let Some(op) = self.update.as_ref().and_then(Attempt::fetch_op) {
            self.cancel = Some(op);
        }
    }

    fn begin_body(&mut self, op: OpId, skip: u64, declared: bool, etag: u32) {
        let timing = &self.cfg.timing;
        let Some(attempt) = &mut self.update else { return };
        if attempt.stored == 0 {
            attempt.etag = etag;
        }
        attempt.pieces = attempt.pieces.saturating_add(1);
        attempt.stage = Stage::Fetching(Net::Body(Stream {
            op,
            skip,
            declared,
            base: attempt.high,
            idle: self.now + timing.idle,
            window: self.now + timing.floor_window,
            bytes: 0,
            paused: None,
            end: None,
        }));
    }

    /// Ends the fetch under way for another one.
    fn end_fetch(&mut self, next: Net) {
        self.cancel_fetch();
        if let Some(attempt) = &mut self.update {
            attempt.stage = Stage::Fetching(next);
        }
    }

    /// The network has ended the fetch by itself: nothing to cancel.
    fn forget_fetch(&mut self) {
        if let Some(attempt) = &mut self.update {
            attempt.stage = Stage::Fetching(Net::Due { hop: None, hops: 0 });
        }
    }
}
