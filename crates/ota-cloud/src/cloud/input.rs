//! What the cloud is told: sessions and messages.

use ota_proto::message::{DeviceMessage, Progress, ProgressState};
use ota_proto::{Identity, Instant, Topic, TopicKind, Version};

use super::record::{EventKind, Reported};
use super::task::{Finish, Status};
use super::{Cloud, CloudError};

/// The longest texts that are kept of a device's message, in bytes.
const MAX_MSG: usize = 128;
const MAX_VERSION: usize = 64;
const MAX_TYPE: usize = 32;

impl Cloud {
    /// The device has connected and subscribed to its update topic. Each call is a new session.
    ///
    /// # Errors
    /// [`CloudError::UnknownDevice`] or [`CloudError::TooManyDevices`]; the state is unchanged.
    pub fn handle_connected(
        &mut self,
        now: Instant,
        identity: &Identity,
    ) -> Result<(), CloudError> {
        let device = self.find(identity)?;
        self.advance(now);
        let device = self.admit(identity, device)?;
        self.set_offline(device);
        self.set_online(device);
        Ok(())
    }

    /// The device is gone: nothing more is sent to it. Unknown devices are ignored.
    pub fn handle_disconnected(&mut self, now: Instant, identity: &Identity) {
        self.advance(now);
        if let Some(device) = self.index.get(identity) {
            self.set_offline(*device);
        }
    }

    /// Takes a message that a device published.
    ///
    /// The topic names the device: the caller has made sure that this device may publish there.
    ///
    /// # Errors
    /// [`CloudError`], by what is wrong; the state is unchanged.
    pub fn handle_message(
        &mut self,
        now: Instant,
        topic: &str,
        payload: &[u8],
    ) -> Result<(), CloudError> {
        let topic = Topic::parse(topic)
            .filter(|topic| topic.kind == TopicKind::Report)
            .ok_or(CloudError::ForeignTopic)?;
        let identity = Identity::new(topic.product_id, topic.device_name)
            .map_err(|_| CloudError::ForeignTopic)?;
        let device = self.find(&identity)?;
        if payload.len() > Self::MAX_PAYLOAD {
            return Err(CloudError::TooLarge);
        }
        let message = DeviceMessage::decode(payload).map_err(CloudError::Malformed)?;
        if let DeviceMessage::ReportVersion { version, .. } = &message {
            Version::new(version).map_err(|_| CloudError::BadVersion)?;
        }
        self.advance(now);
        let device = self.admit(&identity, device)?;
        let presume = self.config.presume_connected;
        if presume && self.record(device).is_some_and(|record| !record.online) {
            self.set_online(device);
        }
        match message {
            DeviceMessage::ReportVersion { version, fw_type } => {
                self.version_reported(device, &version, fw_type.as_deref());
            }
            DeviceMessage::ReportProgress { version, progress } => {
                self.progress_reported(device, &version, &progress);
            }
            // A message kind of a later protocol crate: known to be well formed, of no use here.
            _ => {}
        }
        Ok(())
    }

    /// The device's index, or `None` when it is unknown and may be admitted.
    fn find(&self, identity: &Identity) -> Result<Option<u32>, CloudError> {
        match self.index.get(identity) {
            Some(device) => Ok(Some(*device)),
            None if !self.allow_unknown => Err(CloudError::UnknownDevice),
            None if self.devices.len() >= self.config.max_devices as usize => {
                Err(CloudError::TooManyDevices)
            }
            None => Ok(None),
        }
    }

    fn admit(&mut self, identity: &Identity, device: Option<u32>) -> Result<u32, CloudError> {
        if let Some(device) = device {
            return Ok(device);
        }
        let device = self.register(identity)?;
        self.emit(device, EventKind::Registered);
        Ok(device)
    }

    fn set_online(&mut self, device: u32) {
        if let Some(record) = self.record_mut(device) {
            record.online = true;
            record.counters.sessions = record.counters.sessions.saturating_add(1);
            self.emit(device, EventKind::Connected);
        }
    }

    fn set_offline(&mut self, device: u32) {
        let Some(record) = self.record_mut(device).filter(|record| record.online) else { return };
        record.online = false;
        record.state.reply = None;
        let undelivered = record.task.as_ref().is_some_and(|t| t.status == Status::Pending);
        self.set_offer(device, None);
        self.emit(device, EventKind::Disconnected);
        if undelivered {
            self.set_status(device, Status::Offline);
        }
    }

    fn version_reported(&mut self, device: u32, version: &str, fw_type: Option<&str>) {
        let now = self.now;
        let push_at = now + self.config.reply_gap;
        self.emit(device, EventKind::Version { version: version.into() });
        let Some(record) = self.record_mut(device) else { return };
        record.counters.received = record.counters.received.saturating_add(1);
        record.counters.versions = record.counters.versions.saturating_add(1);
        let fw_type = fw_type.map(|text| cut(text, MAX_TYPE));
        record.reported = Some(Reported { version: version.into(), fw_type, at: now });
        if record.online {
            record.state.reply = Some(version.into());
            self.replies.insert(device);
        }
        self.hear(device);
        let Some(record) = self.record_mut(device) else { return };
        let open = record.has_open_task();
        match &mut record.task {
            Some(task) if task.target == version => {
                let proved = task.proved.is_none();
                let already = open && task.pushed.is_none();
                let id = task.id;
                task.proved = task.proved.or(Some(now));
                self.set_offer(device, None);
                if proved {
                    self.emit(device, EventKind::Proved { task: id });
                }
                if already {
                    self.finish(device, Finish::AlreadyThere, Status::Complete);
                }
            }
            Some(task) if open => {
                if task.status != Status::AwaitingConfirm {
                    self.make_due(device, push_at);
                }
            }
            _ => self.roll_out(device, push_at),
        }
    }

    fn progress_reported(&mut self, device: u32, version: &str, progress: &Progress<'_>) {
        let Some(record) = self.record_mut(device) else { return };
        let result = matches!(progress.state, ProgressState::Done | ProgressState::Fail);
        let task = record.task.as_ref().filter(|task| task.target == version);
        // Before the first push of an attempt only `done` can be meant for it: anything else is
        // left over from the attempt before.
        let stray = task.is_none_or(|task| {
            task.finished.is_none()
                && task.pushed.is_none()
                && progress.state != ProgressState::Done
        });
        let counters = &mut record.counters;
        counters.received = counters.received.saturating_add(1);
        counters.progress = counters.progress.saturating_add(1);
        counters.results = counters.results.saturating_add(u64::from(result));
        counters.stray = counters.stray.saturating_add(u64::from(stray));
        let kind = EventKind::Progress {
            version: cut(version, MAX_VERSION),
            state: progress.state,
            percent: progress.percent,
            result_code: progress.result_code,
            result_msg: cut(&progress.result_msg, MAX_MSG),
            stray,
        };
        self.emit(device, kind);
        if stray {
            return;
        }
        self.hear(device);
        match progress.state {
            ProgressState::Downloading => self.downloading(device, progress.percent),
            ProgressState::Burning => self.working(device, Status::Burning),
            ProgressState::Done => self.done(device, progress),
            ProgressState::Fail => self.failed(device, progress),
            // A state of a later protocol crate.
            _ => {}
        }
    }

    fn downloading(&mut self, device: u32, percent: Option<i64>) {
        let Some(task) = self.open_task(device) else { return };
        if let Some(percent) = percent {
            // Clamped, so it fits.
            task.percent = u8::try_from(percent.clamp(0, 100)).ok();
        }
        let whole = percent == Some(100);
        self.working(device, if whole { Status::Downloaded } else { Status::Downloading });
    }

    fn working(&mut self, device: u32, status: Status) {
        if self.open_task(device).is_some() {
            self.set_status(device, status);
        }
    }

    fn done(&mut self, device: u32, progress: &Progress<'_>) {
        let now = self.now;
        let Some(task) = self.record_mut(device).and_then(|record| record.task.as_mut()) else {
            return;
        };
        let first = task.claimed.is_none();
        let otherwise = |(_, how): (Instant, Finish)| {
            matches!(how, Finish::Failed | Finish::TimedOut | Finish::Cancelled)
        };
        let late = task.finished.is_some_and(otherwise);
        let id = task.id;
        task.claimed = task.claimed.or(Some(now));
        task.late |= late;
        task.retcode = progress.result_code;
        task.err_msg = cut(&progress.result_msg, MAX_MSG);
        if first {
            self.emit(device, EventKind::Claimed { task: id, late });
        }
        self.finish(device, Finish::Done, Status::Complete);
    }

    fn failed(&mut self, device: u32, progress: &Progress<'_>) {
        let Some(task) = self.record_mut(device).and_then(|record| record.task.as_mut()) else {
            return;
        };
        // What the device has shown is not undone by what it says.
        if task.is_proved() || matches!(task.finished, Some((_, Finish::AlreadyThere))) {
            return;
        }
        task.late |= matches!(task.finished, Some((_, Finish::TimedOut | Finish::Cancelled)));
        task.retcode = progress.result_code;
        task.err_msg = cut(&progress.result_msg, MAX_MSG);
        self.finish(device, Finish::Failed, Status::Failed);
    }

    /// Marks that the device was heard, which may put its time-out off.
    fn hear(&mut self, device: u32) {
        let now = self.now;
        if let Some(task) = self.open_task(device) {
            task.heard = Some(now);
            self.watch(device);
        }
    }
}

/// The first `max` bytes of a text, or a little less so that no character is split.
fn cut(text: &str, max: usize) -> String {
    let mut end = max.min(text.len());
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.get(..end).unwrap_or("").into()
}
