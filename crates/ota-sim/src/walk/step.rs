//! The effect of each step on a state.

use core::time::Duration;

use ota_proto::{
    Body, Command, ContentRange, Installed, Instant, QoS, ResponseHead, Rng, StorageError, Updater,
};

use crate::setup::Setup;
use crate::storage::Cut as PowerCut;
use crate::trace::{Heard, Said, What};

use super::act::{Action, Cut, Head};
use super::env::{Ask, Down, Env, VERSIONS, version};

const ETAG: Option<&[u8]> = Some(b"\"1\"");

impl Env {
    /// Performs a step, and handles the machine's outputs.
    pub(super) fn apply(&mut self, setup: &Setup, action: Action) {
        if let Some(trace) = &mut self.trace {
            trace.push(self.now, What::Fault(format!("-- {action:?}")));
        }
        match action {
            Action::PowerOn => self.boot(setup),
            Action::Persisted => self.persisted(setup, Ok(()), true),
            Action::PersistFails(there) => {
                self.persisted(setup, Err(StorageError::Failed), there);
            }
            Action::Ended => self.ended(setup, None, false),
            Action::EndedTwice => self.ended(setup, None, true),
            Action::JobFails(error) => self.ended(setup, Some(error), false),
            Action::WrongDigest => self.wrong_digest(setup),
            Action::Hear => self.hear_first(setup),
            Action::Tell => self.tell_first(setup, false),
            Action::RefuseReport => self.tell_first(setup, true),
            Action::Answer => self.answer(setup),
            Action::Connect | Action::Renew => self.connect(setup, true),
            Action::Drop => self.connect(setup, false),
            Action::Reconnect => {
                self.connect(setup, false);
                self.drain(setup);
                self.connect(setup, true);
            }
            Action::Timer => self.timeout(setup, self.deadline.unwrap_or(self.now)),
            Action::Early => self.timeout(setup, self.now),
            Action::Late => {
                self.timeout(setup, self.deadline.unwrap_or(self.now) + Duration::from_secs(100));
            }
            Action::Stall => self.now = self.now + Duration::from_secs(30),
            Action::Command(command) => self.command(setup, command),
            Action::Cut(cut) => self.cut(setup, cut),
            Action::Lose(_) | Action::Double(_) | Action::Swap(_) => self.meddle(action),
            Action::Withdraw => self.task = None,
            Action::OtherTask => {
                let other = if self.task == Some(VERSIONS[2]) { VERSIONS[1] } else { VERSIONS[2] };
                self.task = Some(other);
                if self.session {
                    self.down.push(self.offer(false));
                }
            }
            Action::Stop => {
                if let Some(device) = &mut self.device {
                    device.prepare_stop(self.now);
                }
                self.stopping = true;
                self.note(setup, What::Command("stop"));
            }
            Action::Exit => {
                self.off(setup);
                self.storage.end_program();
            }
            Action::Push(fresh) => self.down.push(self.offer(fresh)),
            Action::PushRunning => {
                self.down.push(Down::Offer(version(self.storage.loader.running()), false));
            }
            Action::PushBad => self.down.push(Down::NoDigest),
            Action::PushText => {
                self.down.push(Down::OtherText(self.task.unwrap_or(VERSIONS[1])));
            }
            _ => self.fetch(setup, action),
        }
        self.drain(setup);
    }

    fn connect(&mut self, setup: &Setup, up: bool) {
        self.hang_up();
        self.session = up;
        if let Some(device) = &mut self.device {
            device.handle_session(self.now, up);
        }
        self.note(setup, What::Session(up));
    }

    fn timeout(&mut self, setup: &Setup, at: Instant) {
        self.now = self.now.max(at);
        if let Some(device) = &mut self.device {
            device.handle_timeout(self.now);
        }
        self.note(setup, What::Timeout);
    }

    fn persisted(&mut self, setup: &Setup, result: Result<(), StorageError>, there: bool) {
        let Some((op, block)) = self.storage.persist.take() else { return };
        if there {
            self.storage.journal.write(&block);
        }
        if let Some(device) = &mut self.device {
            device.handle_done(self.now, op, result.map(|()| None));
        }
        self.note(setup, What::Persisted(op, result.is_ok()));
    }

    fn ended(&mut self, setup: &Setup, error: Option<StorageError>, twice: bool) {
        let Some((op, job)) = self.storage.job.take() else { return };
        let digest = match error {
            Some(_) => Ok(None),
            None => self.storage.finish_job(&job, &mut Rng::new(0)),
        };
        let digest = match digest {
            Ok(digest) => digest,
            Err(why) => return self.watch.break_rule(why),
        };
        self.note(setup, What::Done(op, error.is_none()));
        let result = error.map_or(Ok(digest), Err);
        let (now, Some(device)) = (self.now, &mut self.device) else { return };
        for _ in 0..=u8::from(twice) {
            device.handle_done(now, op, result);
        }
    }

    fn wrong_digest(&mut self, setup: &Setup) {
        let Some((op, _)) = self.storage.job.take() else { return };
        self.note(setup, What::Done(op, false));
        if let Some(device) = &mut self.device {
            device.handle_done(self.now, op, Ok(Some(ota_proto::Md5([7; 16]))));
        }
    }

    fn hear_first(&mut self, setup: &Setup) {
        if self.down.is_empty() {
            return;
        }
        let running = self.storage.loader.running();
        let text = match self.down.remove(0) {
            Down::Ack(id) => {
                self.note(setup, What::Published(id));
                if let Some(device) = &mut self.device {
                    device.handle_published(self.now, id);
                }
                return;
            }
            Down::Reply(version) => format!(
                r#"{{"result_code":0,"result_msg":"success","type":"report_version_rsp","version":"{version}"}}"#
            ),
            Down::Refused => format!(
                r#"{{"result_code":-1,"result_msg":"no","type":"report_version_rsp","version":"{running}"}}"#
            ),
            Down::NoDigest => {
                r#"{"file_size":16,"type":"update_firmware","url":"https://h/a","version":"9"}"#
                    .into()
            }
            Down::Offer(version, fresh) => offer_text(setup, version, fresh),
            Down::OtherText(version) => {
                offer_text(setup, version, false).replace(r#""url""#, r#""user_defined":"t","url""#)
            }
        };
        self.note(setup, What::Heard(Heard::read(text.as_bytes())));
        let topic = setup.device.identity.update_topic();
        if let Some(device) = &mut self.device {
            let taken = device.handle_message(self.now, topic, text.as_bytes());
            if let Err(error) = taken {
                self.watch.break_rule(format!("a message was refused: {error:?}"));
            }
        }
    }

    /// The cloud gets a message and answers.
    fn tell_first(&mut self, setup: &Setup, refuse: bool) {
        if self.up.is_empty() {
            return;
        }
        let (id, qos, said) = self.up.remove(0);
        self.note(setup, What::Delivered(said.clone()));
        if qos == QoS::AtLeastOnce {
            self.down.push(Down::Ack(id));
        }
        match said {
            Said::Version(_) if refuse => self.down.push(Down::Refused),
            Said::Version(running) => {
                self.down.push(Down::Reply(version(&running)));
                if self.task.is_some_and(|task| task != running) {
                    self.down.push(self.offer(false));
                }
            }
            Said::Done(target) | Said::Fail(target, ..) => {
                self.task.take_if(|task| *task == target);
            }
            Said::Downloading(..) | Said::Burning(_) => {}
        }
    }

    fn answer(&mut self, setup: &Setup) {
        if self.asked.is_empty() {
            return;
        }
        match self.asked.remove(0) {
            Ask::Accept => self.command(setup, Command::Accept),
            Ask::Approve => {
                self.command(setup, Command::Approve);
                self.command(setup, Command::Install);
            }
            Ask::Install => self.command(setup, Command::Installed(Installed::NeedsRestart)),
            Ask::StopInstall => self.command(
                setup,
                Command::Installed(Installed::Failed(ota_proto::InstallFault::Image)),
            ),
            Ask::Restart => self.cut(setup, Cut::After),
            Ask::Judge => self.command(setup, Command::Confirm),
        }
    }

    fn command(&mut self, setup: &Setup, command: Command) {
        let now = self.now;
        let Some(device) = &mut self.device else { return };
        let before = device.clone();
        let command = match command {
            Command::Defer(after) => Command::Defer(now + after.since(Instant::ZERO)),
            command => command,
        };
        let taken = device.command(now, command);
        let kept = taken.is_ok() || *device == before;
        if !kept {
            self.watch.break_rule(format!("a misuse had an effect: {command:?}"));
        }
        if taken.is_ok() {
            if command == Command::Installed(Installed::Running) {
                let version = self.storage.installing();
                self.storage.loader.replace(&version);
            }
            self.note(setup, What::Command(name(command)));
        }
    }

    fn cut(&mut self, setup: &Setup, cut: Cut) {
        let how = if cut == Cut::Before { PowerCut::Before } else { PowerCut::After };
        self.off(setup);
        self.storage.cut(how, &mut self.rng);
        self.storage.loader.reset(cut != Cut::Unbootable);
    }

    /// A message is lost, duplicated or late.
    fn meddle(&mut self, action: Action) {
        match action {
            Action::Lose(true) if !self.up.is_empty() => {
                let (_, qos, _) = self.up.remove(0);
                self.lost |= qos == QoS::AtLeastOnce;
            }
            Action::Lose(false) if !self.down.is_empty() => {
                let gone = self.down.remove(0);
                self.lost |= matches!(gone, Down::Ack(_));
            }
            Action::Double(true) => self.up.extend(self.up.first().cloned()),
            Action::Double(false) => self.down.extend(self.down.first().copied()),
            Action::Swap(true) if self.up.len() > 1 => self.up.swap(0, 1),
            Action::Swap(false) if self.down.len() > 1 => self.down.swap(0, 1),
            _ => {}
        }
    }

    fn fetch(&mut self, setup: &Setup, action: Action) {
        let (Some(get), Some(device)) = (self.get, &mut self.device) else { return };
        match action {
            Action::Head => self.head(setup, None),
            Action::OtherHead(head) => self.head(setup, Some(head)),
            Action::FetchFails(error) => {
                self.get = None;
                device.handle_fetch_failed(self.now, get.op, error);
            }
            Action::BodyEnds => {
                self.get = None;
                device.handle_body_end(self.now, get.op);
            }
            Action::Body => self.body(setup, usize::MAX, 0),
            Action::Short => self.body(setup, 3, 0),
            Action::Overlong => self.body(setup, usize::MAX, 1),
            _ => {}
        }
    }

    fn head(&mut self, setup: &Setup, wrong: Option<Head>) {
        let size = setup.image.len() as u64;
        let (Some(get), Some(device)) = (&mut self.get, &mut self.device) else { return };
        let part = |from| Some(ContentRange { span: Some((from, size - 1)), total: Some(size) });
        let rest = Some(size.saturating_sub(get.at));
        let mut head = ResponseHead { status: 200, content_length: rest, ..Default::default() };
        head.etag = ETAG;
        if get.at > 0 {
            head.status = 206;
            head.content_range = part(get.at);
        }
        match wrong {
            None => {}
            Some(Head::Status(status)) => {
                head = ResponseHead { status, ..Default::default() };
            }
            Some(Head::Whole) => {
                get.at = 0;
                head = ResponseHead { status: 200, etag: ETAG, ..Default::default() };
            }
            Some(Head::OtherEtag) => head.etag = Some(b"\"2\""),
            Some(Head::OtherPart) => {
                head.status = 206;
                head.content_range = part(get.at + 1);
            }
            Some(Head::Redirect) => {
                let location = Some("https://other.example/b");
                head = ResponseHead { status: 302, location, ..Default::default() };
            }
        }
        get.body = true;
        let (op, status) = (get.op, head.status);
        if device.handle_response(self.now, op, &head).is_err() {
            self.get = None;
        }
        self.note(setup, What::Head(op, status));
    }

    fn body(&mut self, setup: &Setup, most: usize, more: usize) {
        let Some(get) = &mut self.get else { return };
        let target = self.device.as_ref().and_then(Updater::offer).map(|offer| offer.md5);
        let image = target.and_then(|md5| setup.image_of(md5));
        let bytes = image.map_or(&[][..], |image| &image.bytes);
        let rest = usize::try_from(get.at).ok().and_then(|at| bytes.get(at..)).unwrap_or(&[]);
        let mut piece = rest.get(..most.min(rest.len())).unwrap_or(rest).to_vec();
        piece.extend(vec![0; more]);
        let op = get.op;
        let Some(device) = &mut self.device else { return };
        match device.handle_body(self.now, op, &piece) {
            Ok(Body { consumed, work }) => {
                get.at += consumed as u64;
                if let Some((op, work)) = work {
                    self.begin(setup, op, work.map(<[u8]>::to_vec));
                }
            }
            Err(_) => self.get = None,
        }
    }
}

fn name(command: Command) -> &'static str {
    match command {
        Command::Accept => "accept",
        Command::Defer(_) => "defer",
        Command::Refuse => "refuse",
        Command::Cancel => "cancel",
        Command::Approve => "approve",
        Command::Veto => "veto",
        Command::Install => "install",
        Command::Installed(_) => "installed",
        Command::Confirm => "confirm",
        Command::RollBack => "roll back",
        Command::Forgive => "forgive",
        Command::ReportNow => "report now",
        _ => "another",
    }
}

fn offer_text(setup: &Setup, version: &str, fresh: bool) -> String {
    let image = setup.images.iter().find(|image| image.version == version);
    let (md5, size) = image.map_or((setup.md5(), 1), |image| (image.md5, image.bytes.len()));
    let sign = u8::from(fresh);
    format!(
        r#"{{"file_size":{size},"md5sum":"{md5}","type":"update_firmware","url":"https://h/a?{sign}","version":"{version}"}}"#
    )
}
