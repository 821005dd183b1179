//! Outputs, derived from the state: the result's first, then the session's, then the attempt's.

use alloc::borrow::Cow;

use crate::journal::{Outcome, Owed};
use crate::message::{BufferTooSmall, DeviceMessage, Progress, ProgressState};
use crate::output::{Idle, Output, PubId, Publish, QoS, SlotAction, Work};
use crate::time::Instant;
use crate::version::Version;

use super::Updater;
use super::attempt::stage::{Restarting, Stage};
use super::job::SlotTask;
use super::progress::ProgressReport;
use super::result::Owing;
use super::session::Session;

impl Updater {
    /// Returns the next output. Call it after every input until it returns [`Output::Idle`]. `buf`
    /// holds a message's payload while the output lives; [`crate::Config::buffer_len`] bytes are
    /// always enough.
    ///
    /// # Errors
    /// [`BufferTooSmall`]: the state is unchanged.
    // Not inlined: that would widen the caller's stack frame and cost flash.
    #[inline(never)]
    pub fn poll<'b>(
        &'b mut self,
        now: Instant,
        buf: &'b mut [u8],
    ) -> Result<Output<'b>, BufferTooSmall> {
        let now = self.now.max(now);
        if let Some(op) = self.cancel.take() {
            return Ok(Output::CancelFetch(op));
        }
        if self.ledger.due(now) {
            return Ok(self.persist());
        }
        if let Some((version, due)) = self.next_message(now) {
            let length = due.message(&version).encode(buf)?;
            self.enter(now);
            let (id, qos) = self.publish(due);
            self.advance();
            debug_assert!(length <= buf.len(), "what does not fit is an error");
            let payload = buf.get(..length).unwrap_or_default();
            let topic = self.cfg.identity.report_topic();
            return Ok(Output::Publish(Publish { id, topic, qos, payload }));
        }
        self.enter(now);
        if let Some(task) = self.next_task() {
            return Ok(self.begin_task(task));
        }
        if self.is_fetch_due() {
            return Ok(self.begin_fetch());
        }
        if let Some(event) = self.events.pop() {
            return Ok(Output::Event(event));
        }
        let (deadline, timer) = self.deadline().unzip();
        Ok(Output::Idle(Idle { deadline, timer, read_body: self.is_reading() }))
    }

    // Not inlined: that would widen the caller's stack frame and cost flash.
    #[inline(never)]
    fn persist(&mut self) -> Output<'static> {
        let op = self.next_op();
        self.ledger.wanted.attempts = self.attempts();
        self.ledger.issue(op, self.now + self.cfg.timing.patience);
        Output::Do(op, Work::Persist(*self.ledger.block()))
    }

    /// The due message: result, then version, then progress (O12).
    // Not inlined: that would widen the caller's stack frame and cost flash.
    #[inline(never)]
    fn next_message(&self, now: Instant) -> Option<(Version, Due)> {
        if !self.gate.publish {
            return None;
        }
        if self.is_result_due(now) {
            let (version, owed) = self.owed_report()?;
            return Some((version, Due::Result(owed)));
        }
        if self.owing != Owing::None {
            return None;
        }
        if self.session.is_report_due(now) {
            return Some((self.running, Due::Version));
        }
        if self.progress_at().is_some_and(|at| at <= now) {
            let report = self.progress_report()?;
            let version = self.update.as_ref()?.image.version;
            return Some((version, Due::Progress(report)));
        }
        None
    }

    /// Notes that a message was returned to the caller.
    fn publish(&mut self, due: Due) -> (PubId, QoS) {
        let now = self.now;
        let id = self.next_pub();
        let mut qos = QoS::AtLeastOnce;
        match due {
            Due::Result(_) => {
                let deadline = now + self.cfg.timing.puback;
                self.owing.published(id, deadline);
            }
            Due::Version => {
                self.last_report = Some(now);
                if let Session::Up(up) = &mut self.session {
                    up.reported(now, id, &self.cfg.timing, &mut self.rng);
                }
            }
            Due::Progress(report) => {
                if matches!(report, ProgressReport::Downloading(_)) {
                    qos = QoS::AtMostOnce;
                }
                if let Some(attempt) = &mut self.update {
                    attempt.progress.mark_sent(now, report, id);
                }
            }
        }
        (id, qos)
    }

    /// The due slot operation: one at a time, and none of a new attempt before the last one of the
    /// old attempt has ended (O3).
    fn next_task(&self) -> Option<SlotTask> {
        if self.job.is_some() {
            return None;
        }
        self.next_slot_action().map(SlotTask::Slot).or_else(|| self.next_storage())
    }

    fn next_slot_action(&self) -> Option<SlotAction> {
        // The current attempt's action comes before clearing the mark of an earlier one.
        let action = self.next_switch().or_else(|| {
            let (_, at) = self.mark?;
            let armed = self.update.as_ref().is_some_and(|attempt| {
                matches!(attempt.stage, Stage::Restarting(Restarting { active: true, .. }))
            });
            let due = self.owing != Owing::Saving && at <= self.now && !armed;
            due.then_some(SlotAction::ClearMark)
        })?;
        self.ledger.settled().then_some(action)
    }

    // Not inlined: that would widen the caller's stack frame and cost flash.
    #[inline(never)]
    fn begin_task(&mut self, task: SlotTask) -> Output<'static> {
        let op = self.begin_job(task);
        // The operation stops reading, so the network's deadlines must pause.
        self.advance();
        let (stored, hashed, size) = self
            .update
            .as_ref()
            .map_or((0, 0, 0), |attempt| (attempt.stored, attempt.hashed, attempt.image.size));
        let work = match task {
            SlotTask::Erase { end } => Work::Erase { range: stored..end, size },
            SlotTask::Digest { upto } => Work::Digest { range: hashed..upto },
            SlotTask::Slot(action) => Work::Slot(action),
            // A write never starts here: it comes with a piece of body.
            SlotTask::Sync { .. } | SlotTask::Write { .. } => Work::Sync,
        };
        Output::Do(op, work)
    }
}

/// A due message.
#[derive(Clone, Copy, Debug)]
enum Due {
    Result(Owed),
    Version,
    Progress(ProgressReport),
}

impl Due {
    /// Makes the message, about this version.
    fn message(self, version: &Version) -> DeviceMessage<'_> {
        let version = Cow::Borrowed(version.as_str());
        let (state, percent, owed) = match self {
            Self::Version => return DeviceMessage::ReportVersion { version, fw_type: None },
            Self::Progress(ProgressReport::Downloading(percent)) => {
                (ProgressState::Downloading, Some(i64::from(percent)), None)
            }
            Self::Progress(ProgressReport::Burning) => (ProgressState::Burning, None, None),
            Self::Result(owed) if owed.result == Outcome::Done => (ProgressState::Done, None, None),
            Self::Result(owed) => (ProgressState::Fail, None, Some(owed)),
        };
        let progress = Progress {
            state,
            percent,
            result_code: owed.map_or(0, |owed| i64::from(owed.result.code())),
            result_msg: owed.map_or(Cow::Borrowed(""), |owed| Cow::Owned(owed.text())),
        };
        DeviceMessage::ReportProgress { version, progress, fw_type: None }
    }
}
