//! The alphabet: what may happen next, and what it does.

use ota_proto::{
    Command, Hold, InstallFault, Installed, Instant, StorageError, TlsError, TransportError, Verify,
};

use crate::setup::Setup;

use super::env::{Down, Env, VERSIONS};

/// What an answer's head says when it is not the right one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Head {
    /// This status, and nothing else.
    Status(u16),
    /// The whole image, its length not declared.
    Whole,
    /// The right part of another object.
    OtherEtag,
    /// Another part than the one asked for.
    OtherPart,
    /// Ask elsewhere.
    Redirect,
}

/// Power, and what is in progress when it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cut {
    /// Nothing of it happened.
    Before,
    /// All of it happened, and nobody was told.
    After,
    /// The same, and an image that was activated does not start.
    Unbootable,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Power is there: the device boots.
    PowerOn,
    /// The journal write ends well.
    Persisted,
    /// The slot operation ends well.
    Ended,
    /// The oldest message to the device arrives.
    Hear,
    /// The device's oldest message arrives.
    Tell,
    /// The application does what it was asked first.
    Answer,
    /// The session comes up.
    Connect,
    /// The client closes the session for an acknowledgement that does not come.
    Reconnect,
    /// The right head comes.
    Head,
    /// All of the body that is wanted comes.
    Body,
    /// The body ends; a fault when that was not all.
    BodyEnds,
    /// Time passes up to the deadline: whatever else could happen is late.
    Timer,
    /// The program ends, for nothing is left that an orderly stop must wait for.
    Exit,

    /// Fault: the oldest message to the cloud (`true`) or to the device is lost.
    Lose(bool),
    /// Fault: it comes twice.
    Double(bool),
    /// Fault: it comes after the next one.
    Swap(bool),
    /// Fault: the clock calls at once.
    Early,
    /// Fault: the clock calls 100 s late.
    Late,
    /// Fault: 30 s pass, and nobody calls.
    Stall,
    /// Fault: the application says this now. A deferral counts from then.
    Command(Command),
    /// Fault: the journal write fails; its record is on the medium (`true`) or not.
    PersistFails(bool),
    /// Fault: the slot operation fails.
    JobFails(StorageError),
    /// Fault: the digest is another one.
    WrongDigest,
    /// Fault: the end of the slot operation or journal write is told twice.
    EndedTwice,
    /// Fault: power goes.
    Cut(Cut),
    /// Fault: the program is asked to stop in an orderly way.
    Stop,
    /// Fault: the session breaks.
    Drop,
    /// Fault: a new session comes instead of the old one.
    Renew,
    /// Fault: another head comes.
    OtherHead(Head),
    /// Fault: the fetch fails.
    FetchFails(TransportError),
    /// Fault: only three bytes come.
    Short,
    /// Fault: a byte more than the image has comes.
    Overlong,
    /// Fault: the operator withdraws the task.
    Withdraw,
    /// Fault: the operator begins a task to another version, or back to the first.
    OtherTask,
    /// Fault: the cloud offers its task unasked; with a fresh URL (`true`).
    Push(bool),
    /// Fault: the cloud offers what runs.
    PushRunning,
    /// Fault: the cloud offers what nobody can take.
    PushBad,
    /// Fault: the cloud offers the task's image with another text.
    PushText,
    /// Fault: the cloud refuses a version report.
    RefuseReport,
}

impl Env {
    /// What a calm world does next: all runs in which from here on nothing goes wrong are this one.
    pub(super) fn calm(&self) -> Option<Action> {
        self.free().first().copied()
    }

    /// What may happen without anything being wrong, the calm step first. Time passes only when
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

    /// What an orderly stop waits for, and its end.
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

    /// The server has bytes from here on.
    fn rest(&self, at: u64) -> bool {
        self.device
            .as_ref()
            .and_then(ota_proto::Updater::progress)
            .is_some_and(|(_, size)| at < size)
    }

    /// Everything that may go wrong now.
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
            if matches!(job, crate::world::Job::Digest(_)) {
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

    /// The offer of the task, or of the task's first version when there is none.
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

/// The machine of the walk: tiny, and with little jitter.
pub(super) fn configure(setup: &mut Setup, hold: Hold, verify: Verify) {
    let device = &mut setup.device;
    (device.consent, device.approval, device.install) = (hold, hold, hold);
    device.verify = verify;
    // Pauses after network faults are random, so they are set to zero. Those after violations are
    // fixed.
    device.timing.retry_base = ota_proto::Micros::ZERO;
    // So that an offer may grow stale within the moments that the key tells apart.
    device.timing.offer_life = ota_proto::Micros::from_secs(150);
}
