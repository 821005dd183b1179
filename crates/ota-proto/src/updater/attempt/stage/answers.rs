//! The server's answers during a download: heads, bodies and their ends (rules 8 and 9 of
//! docs/rules.md).

use crate::code::Reason;
use crate::error::{FetchError, TransportError};
use crate::output::{Body, OpId, State, Work};
use crate::response::{Answer, ResponseHead};
use crate::updater::Updater;
use crate::updater::attempt::{Attempt, PROGRESS};
use crate::updater::job::SlotTask;
use crate::url::SecretUrl;

use super::fetching::{BodyEnd, Net, Stream};
use super::judge::{AnswerVerdict, Asked, etag_of, judge};
use super::{Stage, Why};

/// The most restarts from zero after answers that do not fit the stored bytes. Then any answer is
/// taken, and the digest decides.
const RESTARTS: u8 = 2;
/// The most body bytes, as a multiple of the image's size. A wrong digest allows one more.
const RECEIVED: u64 = 3;

impl Updater {
    // Not inlined: that would widen the caller's stack frame and cost flash.
    #[inline(never)]
    pub(in crate::updater) fn on_response(
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
            firm: attempt.faults.restarts >= RESTARTS,
            plain: attempt.source.is_plain(),
            offer: &attempt.source.url.0,
            url: url.as_ref().map_or(&attempt.source.url.0, |url| &url.0),
            hops: *hops,
        };
        let hops = hops.saturating_add(1);
        let verdict = judge(&self.cfg, &asked, head);
        if let Some(attempt) = &mut self.update {
            attempt.answer = Answer::of(head);
        }
        match verdict {
            AnswerVerdict::Take { skip, declared } => {
                self.begin_body(op, skip, declared, head);
                return Ok(());
            }
            AnswerVerdict::Restart { body } => {
                if let Some(attempt) = &mut self.update {
                    attempt.faults.restarts = attempt.faults.restarts.saturating_add(1);
                }
                self.restart();
                if let Some(declared) = body {
                    self.begin_body(op, 0, declared, head);
                    return Ok(());
                }
                self.end_fetch(Net::Due { hop: None, hops: 0 });
            }
            AnswerVerdict::Redirect(url) => {
                self.end_fetch(Net::Due { hop: Some(SecretUrl(url)), hops });
            }
            AnswerVerdict::Refused => self.ask_for_url(Why::Refused),
            AnswerVerdict::Missing => self.ask_for_url(Why::Gone),
            AnswerVerdict::Gone => self.fail(Reason::NotFound),
            AnswerVerdict::Later(reason, after) => self.fetch_fault(reason, after),
            AnswerVerdict::Fault(reason) => self.fetch_fault(reason, None),
        }
        Err(FetchError::Refused)
    }

    // Not inlined: that would widen the caller's stack frame and cost flash.
    #[inline(never)]
    pub(in crate::updater) fn on_body<'d>(
        &mut self,
        op: OpId,
        data: &'d [u8],
    ) -> Result<Body<'d>, FetchError> {
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
            // The body is longer than the image. The bytes before were taken, however they were
            // split.
            if !stream.declared && attempt.source.is_plain() {
                self.drop_answer();
            }
            self.fetch_fault(Reason::TooLong, None);
            return Err(FetchError::Refused);
        }
        let room = attempt.erased.saturating_sub(attempt.stored).min(missing);
        let taken = offered.min(if stream.skip > 0 { stream.skip } else { room });
        let consumed = usize::try_from(taken).unwrap_or(data.len()).min(data.len());
        stream.bytes = stream.bytes.saturating_add(taken);
        stream.idle = self.now + self.cfg.timing.idle;
        attempt.faults.received = attempt.faults.received.saturating_add(taken);
        let times = RECEIVED.saturating_add(u64::from(attempt.faults.digest));
        if attempt.faults.received > attempt.image.size.saturating_mul(times) {
            // The server does nothing wrong, but its connection breaks too often.
            self.fail(Reason::Broken);
            return Err(FetchError::Refused);
        }
        if stream.skip > 0 {
            stream.skip = stream.skip.saturating_sub(taken);
            return Ok(Body { consumed, work: None });
        }
        let at = attempt.stored;
        let end = at.saturating_add(taken);
        let op = self.begin_job(SlotTask::Write { end });
        debug_assert!(consumed <= data.len(), "no more is taken than there is");
        let bytes = data.get(..consumed).unwrap_or_default();
        Ok(Body { consumed, work: Some((op, Work::Write { at, bytes })) })
    }

    pub(in crate::updater) fn on_body_end(&mut self, op: OpId) {
        self.end_stream(op, BodyEnd::Clean);
    }

    pub(in crate::updater) fn on_fetch_failed(&mut self, op: OpId, error: TransportError) {
        self.end_stream(op, BodyEnd::Failed(error.into()));
    }

    /// Notes the end of the answer. A write may still be in progress; [`Self::settle_stream`]
    /// judges the end after it.
    fn end_stream(&mut self, op: OpId, end: BodyEnd) {
        let Some(attempt) = &mut self.update else { return };
        match &mut attempt.stage {
            Stage::Fetching(Net::Body(stream)) if stream.op == op => {
                stream.end.get_or_insert(end);
            }
            Stage::Fetching(Net::Asked { op: asked, .. }) if *asked == op => {
                let reason = match end {
                    BodyEnd::Clean => Reason::Closed,
                    BodyEnd::Failed(reason) => reason,
                };
                attempt.answer = None;
                self.forget_fetch();
                self.fetch_fault(reason, None);
            }
            _ => {}
        }
    }

    /// Judges a body that has ended, once no write is in progress.
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
            Some(BodyEnd::Clean) => self.end_short(),
            Some(BodyEnd::Failed(reason)) => self.fetch_fault(reason, None),
        }
    }

    /// Handles a body that ended as its framing requires, but before the image did. Over plain http
    /// and without a declared length it may be a captive portal's page, or the image over a broken
    /// connection whose proxy removed the length. A page has the same length each time, a
    /// connection breaks at different bytes.
    fn end_short(&mut self) {
        debug_assert!(self.is_in(State::Fetching), "only a body ends short");
        let Some(attempt) = &mut self.update else { return };
        let Stage::Fetching(Net::Body(stream)) = &attempt.stage else { return };
        if stream.declared || !attempt.source.is_plain() {
            return self.fetch_fault(Reason::Closed, None);
        }
        let length = attempt.stored.saturating_sub(stream.skip);
        let before = attempt.faults.short.replace(length);
        if before.is_some_and(|before| before.abs_diff(length) >= PROGRESS) {
            return self.fetch_fault(Reason::Closed, None);
        }
        self.drop_answer();
        self.fetch_fault(Reason::Contradiction, None);
    }

    /// Drops the bytes of the current answer, which are not the image's, and does not count them.
    fn drop_answer(&mut self) {
        debug_assert!(self.is_in(State::Fetching), "only a body is dropped");
        let Some(attempt) = &mut self.update else { return };
        let Stage::Fetching(Net::Body(stream)) = &attempt.stage else { return };
        let (begun, length) = (stream.begun, attempt.stored.saturating_sub(stream.skip));
        attempt.faults.received = attempt.faults.received.saturating_sub(length);
        if begun < attempt.stored {
            self.back_to(self.round_down(begun));
        }
    }

    /// Notes stored bytes. Progress resets the counts of faults.
    pub(in crate::updater) fn note_progress(&mut self) {
        let Some(attempt) = &mut self.update else { return };
        if attempt.stored > attempt.high {
            attempt.high = attempt.stored;
            (attempt.faults.rounds, attempt.faults.gone) = (0, 0);
        }
        if attempt.patience.progress(self.now, attempt.high) {
            (attempt.faults.streak, attempt.faults.violations) = (0, 0);
        }
    }

    /// Runs the clock of patience while a session is up and the attempt waits for the server.
    pub(in crate::updater) fn run_patience(&mut self) {
        let (now, up) = (self.now, self.session.is_up());
        if let Some(attempt) = &mut self.update {
            let from = attempt.waits_from(now).filter(|_| up);
            attempt.patience.run(now, from);
        }
    }

    /// Restarts the download from zero.
    pub(super) fn restart(&mut self) {
        debug_assert!(self.update.is_some(), "only a download restarts");
        let Some(attempt) = &mut self.update else { return };
        attempt.high = 0;
        attempt.patience.restart(self.now);
        self.back_to(0);
    }

    /// Drops the stored bytes from this erase boundary on.
    fn back_to(&mut self, kept: u64) {
        let Some(attempt) = &mut self.update else { return };
        attempt.stored = kept;
        attempt.erased = kept;
        attempt.synced = attempt.synced.min(kept);
        attempt.hashed = 0;
        attempt.rehashed = false;
        attempt.checkpoint_at = self.now;
        // The operation in progress concerns bytes that are being dropped.
        self.orphan_job();
        let claimed = self.ledger.wanted.target.map_or(0, |target| target.offset);
        debug_assert!(self.update.is_some(), "an orphaned job does not end the attempt");
        let Some(attempt) = &self.update else { return };
        // The journal must not claim bytes that will be erased (O2).
        self.ledger.wanted.target = Some(attempt.target(claimed.min(kept)));
    }

    /// Cancels the current fetch, if any.
    pub(in crate::updater) fn cancel_fetch(&mut self) {
        if let Some(op) = self.update.as_ref().and_then(Attempt::fetch_op) {
            self.cancel = Some(op);
        }
    }

    fn begin_body(&mut self, op: OpId, skip: u64, declared: bool, head: &ResponseHead<'_>) {
        let timing = &self.cfg.timing;
        debug_assert!(self.update.is_some(), "its head was taken");
        let Some(attempt) = &mut self.update else { return };
        if attempt.stored == 0 {
            attempt.etag = etag_of(head);
            attempt.coding = head.coding;
        }
        attempt.stage = Stage::Fetching(Net::Body(Stream {
            op,
            skip,
            declared,
            begun: attempt.stored,
            idle: self.now + timing.idle,
            window: self.now + timing.rate_window,
            bytes: 0,
            paused: None,
            end: None,
        }));
    }

    /// Replaces the current fetch by another one.
    fn end_fetch(&mut self, next: Net) {
        self.cancel_fetch();
        if let Some(attempt) = &mut self.update {
            attempt.stage = Stage::Fetching(next);
        }
    }

    /// Ends a fetch that the network has ended: there is nothing to cancel.
    fn forget_fetch(&mut self) {
        if let Some(attempt) = &mut self.update {
            attempt.stage = Stage::Fetching(Net::Due { hop: None, hops: 0 });
        }
    }
}
