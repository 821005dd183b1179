//! What the cloud does: statuses, offers, time-outs, events, outputs.

use std::borrow::Cow;

use ota_proto::Instant;
use ota_proto::message::{CloudMessage, OfferMessage};

use super::Cloud;
use super::config::TimeoutFrom;
use super::output::Output;
use super::record::{CloudEvent, EventKind, LogEntry};
use super::task::{Finish, Status, Task, TaskId, TaskOptions};

impl Cloud {
    /// Time has passed: a deadline of [`Output::Idle`] may be due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
    }

    /// The next thing to do; [`Output::Idle`] when there is nothing before its deadline. What
    /// an input caused comes as events before the messages that it draws;
    /// [`EventKind::Offered`] follows its message.
    pub fn poll_output(&mut self, now: Instant) -> Output {
        self.advance(now);
        loop {
            if let Some(event) = self.events.pop_front() {
                return Output::Event(event);
            }
            if let Some(device) = self.replies.pop_first() {
                if let Some(output) = self.reply(device) {
                    return output;
                }
                continue;
            }
            match self.offers.first() {
                Some((at, device)) if *at <= self.now => {
                    let device = *device;
                    self.set_offer(device, None);
                    if let Some(output) = self.offer(device) {
                        return output;
                    }
                }
                offer => {
                    let offer = offer.map(|(at, _)| *at);
                    let timeout = self.timeouts.first().map(|(at, _)| *at);
                    let deadline = offer.into_iter().chain(timeout).min();
                    return Output::Idle { deadline };
                }
            }
        }
    }

    /// Moves the clock on and ends what has timed out.
    pub(super) fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
        while let Some((at, device)) = self.timeouts.first().copied() {
            if at > self.now {
                break;
            }
            self.timeouts.remove(&(at, device));
            if let Some(record) = self.record_mut(device) {
                record.state.timeout = None;
            }
            self.finish(device, Finish::TimedOut, Status::TimedOut);
        }
    }

    /// The device's task while it is not over.
    pub(super) fn open_task(&mut self, device: u32) -> Option<&mut Task> {
        self.record_mut(device)?.task.as_mut().filter(|task| task.finished.is_none())
    }

    /// Makes a task; the device has no open one.
    pub(super) fn begin(
        &mut self,
        device: u32,
        target: &str,
        options: &TaskOptions,
        push_at: Instant,
    ) -> Option<TaskId> {
        let began = self.now;
        let timeout = options.timeout.unwrap_or(self.config.timeout_interval);
        let max_history = self.config.max_history;
        let record = self.record_mut(device)?;
        record.state.tasks = record.state.tasks.saturating_add(1);
        let id = TaskId { device, number: record.state.tasks };
        let mut task = Task::new(id, target, timeout, began);
        if options.confirm {
            task.status = Status::AwaitingConfirm;
        } else if record.online {
            task.status = Status::Pending;
        }
        if let Some(old) = record.task.replace(task) {
            record.history.push_back(old);
        }
        while record.history.len() > max_history {
            record.history.pop_front();
        }
        self.emit(device, EventKind::Began { task: id, version: target.into() });
        if !options.confirm {
            self.make_due(device, push_at);
        }
        Some(id)
    }

    /// Begins a task for the device when the product's rollout wants one.
    pub(super) fn roll_out(&mut self, device: u32, push_at: Instant) {
        let Some(record) = self.record(device) else { return };
        let Some(rollout) = self.rollouts.get(record.identity.product_id()) else { return };
        let Some(runs) = record.reported.as_ref().map(|r| r.version.as_str()) else { return };
        let made = match &record.state.rollout {
            Some((target, made)) if *target == rollout.version => *made,
            _ => 0,
        };
        let again = made == 0 || record.counters.sessions > record.state.ended_in;
        if record.has_open_task()
            || runs == rollout.version
            || !again
            || made >= rollout.attempts.max(1)
            || rollout.options.check_source(Some(runs)).is_err()
        {
            return;
        }
        let rollout = rollout.clone();
        if let Some(record) = self.record_mut(device) {
            record.state.rollout = Some((rollout.version.clone(), made.saturating_add(1)));
        }
        self.begin(device, &rollout.version, &rollout.options, push_at);
        if let Some(task) = self.open_task(device) {
            task.by_rollout = true;
        }
    }

    /// Plans an offer for the device's open task, or leaves it until the device is back.
    pub(super) fn make_due(&mut self, device: u32, at: Instant) {
        let Some(record) = self.record_mut(device) else { return };
        let online = record.online;
        let sooner = record.state.offer.map_or(at, |planned| planned.min(at));
        let Some(task) = self.open_task(device) else { return };
        let delivered = task.pushed.is_some();
        if online {
            self.set_offer(device, Some(sooner));
        }
        if !delivered {
            self.set_status(device, if online { Status::Pending } else { Status::Offline });
        }
    }

    /// Ends the device's task, or takes a late result for one that has ended.
    pub(super) fn finish(&mut self, device: u32, how: Finish, status: Status) {
        let now = self.now;
        let Some(record) = self.record_mut(device) else { return };
        let Some(task) = &mut record.task else { return };
        if task.finished.is_none() {
            record.state.ended_in = record.counters.sessions;
        }
        task.finished = task.finished.or(Some((now, how)));
        self.set_offer(device, None);
        self.set_timeout(device, None);
        self.set_status(device, status);
    }

    pub(super) fn set_status(&mut self, device: u32, to: Status) {
        let Some(task) = self.record_mut(device).and_then(|record| record.task.as_mut()) else {
            return;
        };
        let (id, from) = (task.id, task.status);
        task.status = to;
        if from != to {
            self.emit(device, EventKind::Status { task: id, from, to });
        }
    }

    pub(super) fn set_offer(&mut self, device: u32, at: Option<Instant>) {
        let Some(record) = self.record_mut(device) else { return };
        if let Some(old) = std::mem::replace(&mut record.state.offer, at) {
            self.offers.remove(&(old, device));
        }
        if let Some(at) = at {
            self.offers.insert((at, device));
        }
    }

    fn set_timeout(&mut self, device: u32, at: Option<Instant>) {
        let Some(record) = self.record_mut(device) else { return };
        if let Some(old) = std::mem::replace(&mut record.state.timeout, at) {
            self.timeouts.remove(&(old, device));
        }
        if let Some(at) = at {
            self.timeouts.insert((at, device));
        }
    }

    /// Plans the time-out of the device's open task. One that was never pushed has none.
    pub(super) fn watch(&mut self, device: u32) {
        let from = self.config.timeout_from;
        let Some(task) = self.open_task(device) else { return };
        let timeout = task.timeout;
        let since = task.pushed.map(|first| match from {
            TimeoutFrom::Push => first,
            TimeoutFrom::LastReport => {
                first.max(task.last_push.unwrap_or(first)).max(task.heard.unwrap_or(first))
            }
        });
        self.set_timeout(device, since.map(|since| since + timeout));
    }

    /// Notes an event in the device's log and hands it out.
    pub(super) fn emit(&mut self, device: u32, kind: EventKind) {
        let at = self.now;
        let (max_log, max_events) = (self.config.max_log, self.config.max_events);
        let Some(record) = self.record_mut(device) else { return };
        record.log.push_back(LogEntry { at, kind: kind.clone() });
        while record.log.len() > max_log {
            record.log.pop_front();
        }
        let device = record.identity.clone();
        self.events.push_back(CloudEvent { device, at, kind });
        while self.events.len() > max_events {
            self.events.pop_front();
        }
    }

    fn reply(&mut self, device: u32) -> Option<Output> {
        let record = self.record_mut(device)?;
        let version = record.state.reply.take()?;
        record.counters.replies = record.counters.replies.saturating_add(1);
        let message = CloudMessage::VersionReply {
            result_code: 0,
            result_msg: Cow::Borrowed("success"),
            version: Some(Cow::Owned(version)),
        };
        self.send(device, &message)
    }

    fn offer(&mut self, device: u32) -> Option<Output> {
        let now = self.now;
        let product = self.record(device)?.identity.product_id().to_owned();
        let (id, target) = self.open_task(device).map(|task| (task.id, task.target.clone()))?;
        let firmware = self.firmware.get(&(product, target.clone()))?.clone();
        let unix = self.config.unix_at_zero.saturating_add(now.as_micros() / 1_000_000);
        let url = match &firmware.url {
            Some(url) => Cow::Borrowed(url.as_str()),
            None => Cow::Owned(self.config.signer.sign(&firmware.path, unix)),
        };
        let message = CloudMessage::Offer(OfferMessage {
            version: Cow::Borrowed(&target),
            url,
            md5sum: Some(firmware.md5),
            file_size: Some(firmware.size),
            user_defined: firmware.user_defined.as_deref().map(Cow::Borrowed),
            fw_type: firmware.fw_type.as_deref().map(Cow::Borrowed),
        });
        let output = self.send(device, &message)?;
        let task = self.open_task(device)?;
        task.pushed = task.pushed.or(Some(now));
        task.last_push = Some(now);
        task.pushes = task.pushes.saturating_add(1);
        let first = matches!(task.status, Status::Pending | Status::Offline);
        let counters = &mut self.record_mut(device)?.counters;
        counters.offers = counters.offers.saturating_add(1);
        self.emit(device, EventKind::Offered { task: id, version: target });
        // A repeated offer says nothing new of the device: its status stays.
        if first {
            self.set_status(device, Status::Delivered);
        }
        self.watch(device);
        Some(output)
    }

    fn send(&self, device: u32, message: &CloudMessage<'_>) -> Option<Output> {
        let record = self.record(device).filter(|record| record.online)?;
        let mut payload = vec![0; 1_024];
        if let Err(small) = message.encode(&mut payload) {
            // The lengths are our own: the catalogue bounds them.
            payload.resize(small.needed, 0);
        }
        let len = message.encode(&mut payload).ok()?;
        payload.truncate(len);
        let topic = record.identity.update_topic().to_owned();
        Some(Output::Send { device: record.identity.clone(), topic, payload })
    }
}
