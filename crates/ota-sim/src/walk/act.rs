//! The alphabet of the walk: the possible next steps and their effects.

use ota_proto::{
    Command, Hold, InstallFault, Installed, Instant, StorageError, TlsError, TransportError, Verify,
};

use crate::setup::Setup;

use super::env::{Down, Env, VERSIONS};

/// A wrong head of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Head {
    /// Only this status.
    Status(u16),
    /// The whole image without a declared length.
    Whole,
    /// The requested part of another object.
    OtherEtag,
    /// Another part than the requested one.
    OtherPart,
    /// A redirect.
    Redirect,
}

/// What a power cut does to work in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cut {
    /// None of it takes effect.
    Before,
    /// All of it takes effect, but the program does not learn of it.
    After,
    /// The same, and an activated image does not start.
    Unbootable,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Power returns: the device boots.
    PowerOn,
    /// The journal write succeeds.
    Persisted,
    /// The slot operation succeeds.
    Ended,
    /// The oldest message to the device arrives.
    Hear,
    /// The device's oldest message arrives.
    Tell,
    /// The application answers its oldest question.
    Answer,
    /// The session is established.
    Connect,
    /// The client closes the session because an acknowledgement is missing.
    Reconnect,
    /// The correct head arrives.
    Head,
    /// The rest of the wanted body arrives.
    Body,
    /// The body ends; a fault if bytes are missing.
    BodyEnds,
    /// The clock reaches the deadline before any other event.
    Timer,
    /// The program ends, because an orderly stop has nothing left to wait for.
    Exit,

    /// Fault: the oldest message to the cloud (`true`) or to the device is lost.
    Lose(bool),
    /// Fault: it arrives twice.
    Double(bool),
    /// Fault: it arrives after the next one.
    Swap(bool),
    /// Fault: the timer fires at once.
    Early,
    /// Fault: the timer fires 100 s late.
    Late,
    /// Fault: 30 s pass without a call.
    Stall,
    /// Fault: the application sends this command now. A deferral counts from then.
    Command(Command),
    /// Fault: the journal write fails, with its record on the medium (`true`) or not.
    PersistFails(bool),
    /// Fault: the slot operation fails.
    JobFails(StorageError),
    /// Fault: the digest is wrong.
    WrongDigest,
    /// Fault: the end of the slot operation or journal write is reported twice.
    EndedTwice,
    /// Fault: the power is cut.
    Cut(Cut),
    /// Fault: the program is asked to stop in an orderly way.
    Stop,
    /// Fault: the session breaks.
    Drop,
    /// Fault: a new session replaces the old one.
    Renew,
    /// Fault: a wrong head arrives.
    OtherHead(Head),
    /// Fault: the fetch fails.
    FetchFails(TransportError),
    /// Fault: only three bytes arrive.
    Short,
    /// Fault: one byte more than the image arrives.
    Overlong,
    /// Fault: the operator withdraws the task.
    Withdraw,
    /// Fault: the operator begins a task to another version, or back to the first.
    OtherTask,
    /// Fault: the cloud offers its task unasked; with a fresh URL (`true`).
    Push(bool),
    /// Fault: the cloud offers the running version.
    PushRunning,
    /// Fault: the cloud sends an invalid offer.
    PushBad,
    /// Fault: the cloud offers the task's image with another text.
    PushText,
    /// Fault: the cloud refuses a version report.
    RefuseReport,
}

impl Env {
    /// The next step of a calm world. All runs without a further fault are the same from here.
    pub(super) fn calm(&self) -> Option<Action> {
        self.free().first().copied()
    }

    /// The steps that are possible without a fault, the calm step first. Time passes only if
    /// nothing else can happen.
    pub(super) fn free(&self) -> Vec<Action> {
        if self.device.is_none() {
            return vec![Action::PowerOn];
        }
        if self.stopping {
            return self.last_steps();
        }
        if self.is_end() {
            return Vec::new();
        }
        let fetching = self.get.filter(|_| self.reading);
        let ready = [
            (self.storage.persist.is_some(), Action::Persisted),
            (self.storage.job.is_some(), Action::Ended),
            (!self.down.is_empty(), Action::Hear),
            (!self.up.is_empty(), Action::Tell),
            (!self.asked.is_empty(), Action::Answer),
            (!self.session, Action::Connect),
            (fetching.is_some_and(|get| !get.body), Action::Head),
            (fetching.is_some_and(|get| get.body && self.rest(get.at)), Action::Body),
            (fetching.is_some_and(|get| get.body && !self.rest(get.at)), Action::BodyEnds),
        ];
        let mut free: Vec<_> = ready.iter().filter(|(may, _)| *may).map(|(_, act)| *act).collect();
        if free.is_empty() {
            free.push(if self.lost { Action::Reconnect } else { Action::Timer });
        }
        free
    }

    /// The steps that an orderly stop waits for, and its end.
    fn last_steps(&self) -> Vec<Action> {
        let stopped = self.device.as_ref().is_none_or(ota_proto::Updater::is_stopped);
        let ready = [
            (self.storage.persist.is_some(), Action::Persisted),
            (self.storage.job.is_some(), Action::Ended),
        ];
        let ready = ready.iter().filter(|(may, _)| *may && !stopped).map(|(_, act)| *act);
        let mut all: Vec<_> = ready.collect();
        if all.is_empty() {
            all.push(Action::Exit);
        }
        all
    }

    /// Whether the server has bytes from here on.
    fn rest(&self, at: u64) -> bool {
        self.device
            .as_ref()
            .and_then(ota_proto::Updater::progress)
            .is_some_and(|(_, size)| at < size)
    }

    /// All faults that are possible now.
    pub(super) fn faults(&self) -> Vec<Action> {
        if self.device.is_none() {
            return vec![Action::Withdraw];
        }
        let mut all = vec![Action::Early, Action::Late, Action::Stall];
        if !self.stopping {
            all.push(Action::Stop);
        }
        let waits = !matches!(self.free().first(), Some(Action::Timer) | None);
        if waits && self.deadline.is_some() {
            all.push(Action::Timer);
        }
        all.extend([Cut::Before, Cut::After, Cut::Unbootable].map(Action::Cut));
        all.extend(COMMANDS.map(Action::Command));
        if self.storage.persist.is_some() {
            all.extend([Action::PersistFails(false), Action::PersistFails(true)]);
        }
        if let Some((_, job)) = &self.storage.job {
            all.extend([StorageError::Failed, StorageError::NoSpace].map(Action::JobFails));
            all.push(Action::EndedTwice);
            if matches!(job, crate::storage::Job::Digest(_)) {
                all.push(Action::WrongDigest);
            }
        }
        for (up, length) in [(true, self.up.len()), (false, self.down.len())] {
            if length > 0 {
                all.extend([Action::Lose(up), Action::Double(up)]);
            }
            if length > 1 {
                all.push(Action::Swap(up));
            }
        }
        if self.session {
            all.extend([Action::Drop, Action::Renew, Action::PushRunning, Action::PushBad]);
            all.extend([Action::Push(false), Action::Push(true), Action::PushText]);
            if matches!(self.up.first(), Some((_, _, crate::trace::Said::Version(_)))) {
                all.push(Action::RefuseReport);
            }
        }
        all.extend(self.fetch_faults());
        if self.task.is_some() {
            all.push(Action::Withdraw);
        }
        all.push(Action::OtherTask);
        all
    }

    fn fetch_faults(&self) -> Vec<Action> {
        let fails = [
            TransportError::Refused,
            TransportError::Malformed,
            TransportError::Tls(TlsError::Expired),
        ]
        .map(Action::FetchFails);
        match self.get {
            None => Vec::new(),
            Some(get) if get.body => {
                let mut all = fails.to_vec();
                all.push(Action::BodyEnds);
                if self.reading {
                    all.extend([Action::Short, Action::Overlong]);
                }
                all
            }
            Some(get) => {
                let mut heads = vec![Head::Whole, Head::OtherPart, Head::Redirect];
                heads.extend([403, 404, 416, 503].map(Head::Status));
                if get.at > 0 {
                    heads.push(Head::OtherEtag);
                }
                fails.into_iter().chain(heads.into_iter().map(Action::OtherHead)).collect()
            }
        }
    }

    /// The offer of the task, or of the task's first version if there is none.
    pub(super) fn offer(&self, fresh: bool) -> Down {
        Down::Offer(self.task.unwrap_or(VERSIONS[1]), fresh)
    }
}

const COMMANDS: [Command; 15] = [
    Command::Accept,
    Command::Defer(Instant::from_secs(40)),
    Command::Refuse,
    Command::Cancel,
    Command::Approve,
    Command::Veto,
    Command::Install,
    Command::Installed(Installed::NeedsRestart),
    Command::Installed(Installed::Running),
    Command::Installed(Installed::Failed(InstallFault::Image)),
    Command::Installed(Installed::Failed(InstallFault::Machine)),
    Command::Confirm,
    Command::RollBack,
    Command::Forgive,
    Command::ReportNow,
];

/// The updater of the walk: tiny, and with little jitter.
pub(super) fn configure(setup: &mut Setup, hold: Hold, verify: Verify) {
    let device = &mut setup.device;
    (device.consent, device.approval, device.install) = (hold, hold, hold);
    device.verify = verify;
    // Pauses after network faults are random, so they are set to zero. Those after violations are
    // fixed.
    device.timing.retry_base = ota_proto::Micros::ZERO;
    // Lets an offer become stale within the moments that the key distinguishes.
    device.timing.offer_life = ota_proto::Micros::from_secs(150);
}
