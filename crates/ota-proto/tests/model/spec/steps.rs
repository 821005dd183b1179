//! The attempt after its bytes: digest, installation, restart, trial, and the application's word.

use ota_proto::{Command, InstallFault, Installed, SlotAction};

use super::book::{Fact, Image, Line};
use super::fetch::Body;
use super::{CAPACITY, Phase, S, Spec, Why};

/// One attempt at an image.
pub(crate) struct Attempt {
    pub(super) image: Image,
    /// Empty while only the journal knows of it.
    pub(super) url: String,
    /// Bytes of its text; none while only the journal knows of it.
    pub(super) text: Option<usize>,
    /// The offer, as it counts now, came then.
    pub(super) offered: u64,
    pub(super) step: Step,
    pub(super) stored: u64,
    /// The most that was ever stored.
    pub(super) high: u64,
    /// How long the last doubtful body was that ended too early.
    pub(super) page: Option<u64>,
    /// The server's name for what is stored.
    pub(super) etag: u8,
    /// The journal alone knew of it when the device booted.
    pub(super) found: bool,
    /// Starts before this one without a checkpoint, until there is one.
    pub(super) short: u8,
    pub(super) wait: Wait,
    /// Replies without the offer that is waited for: how many, when the last one that counts
    /// came, and whether the second report was asked for.
    pub(super) replies: u8,
    pub(super) reply_at: u64,
    pub(super) again: bool,
}

/// How long the server has been waited for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wait {
    /// Where the next 4 KiB of progress begin.
    pub(super) base: u64,
    pub(super) spent: u64,
    pub(super) since: Option<u64>,
    /// Pauses that the server has asked for.
    pub(super) asked: u64,
    /// `spent` when something else came over plain http for the first time.
    pub(super) odd: Option<u64>,
}

impl Wait {
    pub(super) fn spent(&self, now: u64) -> u64 {
        self.spent + self.since.map_or(0, |since| now.saturating_sub(since))
    }

    pub(super) fn stop(&mut self, now: u64) {
        (self.spent, self.since) = (self.spent(now), None);
    }

    /// Nothing of it counts any more.
    pub(super) fn forget(&mut self, now: u64) {
        (self.spent, self.odd) = (0, None);
        self.since = self.since.map(|since| since.max(now));
    }
}

/// Where it stands.
pub(crate) enum Step {
    /// The application is asked.
    Consent {
        ask: u64,
    },
    /// It said later.
    Later {
        until: u64,
    },
    /// A fetch is to begin: of the offer's URL, or of a place this many hops away.
    Due {
        hops: u8,
    },
    /// It has begun.
    Asked {
        since: u64,
        hops: u8,
    },
    Body(Body),
    /// A pause after a failure ends between these moments. Up to `free` the server has asked for
    /// it. With `ask` the version is reported at its end, and `over` is when the wait for an
    /// answer ends, once that is known; a reply without the offer holds it up to `held`.
    Pause {
        earliest: u64,
        latest: u64,
        free: u64,
        ask: bool,
        over: Option<u64>,
        held: u64,
    },
    /// An offer is waited for.
    Url {
        why: Url,
        until: Option<u64>,
    },
    /// All bytes are there.
    Check,
    /// The digest was right.
    Ready {
        approved: bool,
        go: bool,
        since: u64,
        ask: u64,
    },
    /// The installation: asked for, with its limit.
    Install {
        since: u64,
        begun: Option<u64>,
        late: bool,
    },
    /// The switch: durable, and when the restart is asked for again.
    Restart {
        since: u64,
        active: bool,
        ask: Option<u64>,
        ours: bool,
    },
    /// The new image runs; no limit for one that somebody else installed.
    Trial {
        limit: Option<u64>,
        ask: u64,
        confirmed: bool,
        unable: bool,
        back: Option<bool>,
    },
}

/// Why an offer is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Url {
    Refused,
    Gone,
    Stale,
    Deferral,
    Boot,
}

/// An image that runs on trial, or is armed, without a word in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Foreign {
    Trial,
    Armed,
}

/// What the slot is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    Erase,
    Write { end: u64 },
    Sync { upto: u64 },
    Digest { upto: u64 },
    Slot(SlotAction),
}

/// The application.
impl Spec {
    /// Whether the command fits, and what it does.
    pub(crate) fn command(&mut self, command: Command) -> bool {
        let done = self.obey(command).is_some();
        if done {
            self.settle();
        }
        done
    }

    fn obey(&mut self, command: Command) -> Option<()> {
        let now = self.now;
        if command == Command::ReportNow {
            return self.up.then(|| self.fact(Fact::Asked));
        }
        if command == Command::Forgive {
            let failed = self.book.since(|fact| *fact == Fact::Forgiven);
            let failed = failed.iter().any(|(_, fact)| matches!(fact, Fact::Failed(_)));
            let guard = self.note.guard.take().is_some();
            let held = self.budget() > now + 4_200 * S;
            if !guard && !failed && !held && self.turned_down().is_empty() {
                return None;
            }
            self.fact(Fact::Forgiven);
            if self.up {
                self.fact(Fact::Asked);
            }
            return Some(());
        }
        let attempt = self.open.as_mut()?;
        let image = attempt.image;
        match (command, &mut attempt.step) {
            (Command::Accept, Step::Consent { .. } | Step::Later { .. }) => self.start(),
            (
                Command::Refuse | Command::Unable(_) | Command::Cancel,
                Step::Consent { .. } | Step::Later { .. },
            ) => self.turn_down(image),
            (
                Command::Defer(until),
                step @ (Step::Consent { .. } | Step::Later { .. } | Step::Ready { .. }),
            ) => {
                *step = Step::Later { until: until.as_micros() };
                self.note.accepted = None;
            }
            (Command::Veto, Step::Ready { .. }) => self.fail(Why::Other),
            (Command::Approve, Step::Ready { approved, since, .. }) if !*approved => {
                (*approved, *since) = (true, now);
            }
            (Command::Install, Step::Ready { go, since, .. }) if !*go => {
                (*go, *since) = (true, now);
            }
            (Command::Installed(what), Step::Install { begun: Some(_), .. }) => {
                self.installed(what, image);
            }
            (Command::Confirm, Step::Trial { confirmed, back: None, limit, .. }) => {
                if !*confirmed && self.policy.needs_reply && !self.proved {
                    *limit = limit.map(|_| now + 1_800 * S);
                }
                *confirmed = true;
            }
            (Command::Unable(_), Step::Trial { confirmed: false, back: None, unable, .. }) => {
                *unable = true;
            }
            (Command::RollBack, Step::Trial { back: None, .. }) => self.begin_back(Why::Image),
            (Command::Cancel, step) if !is_past_return(step) => self.fail(Why::Other),
            _ => return None,
        }
        Some(())
    }

    fn installed(&mut self, what: Installed, image: Image) {
        match what {
            Installed::Failed(InstallFault::Image | InstallFault::WrongVersion) => {
                self.fail(Why::Image)
            }
            Installed::Failed(_) => self.fail(Why::Other),
            Installed::NeedsRestart => {
                let step = Step::Restart { since: self.now, active: false, ask: None, ours: true };
                self.step(step);
                self.note.phase = Phase::Switch;
            }
            Installed::Running => {
                self.running = image.version;
                self.proved = false;
                let etag = self.open.as_ref().map_or(0, |attempt| attempt.etag);
                self.finish(image, (image.size, etag), Ok(()));
                // Nothing left, and what was installed in place may be lost with the power.
                self.note.sent = false;
            }
        }
    }

    /// The way back: its reason first (O11).
    pub(super) fn begin_back(&mut self, why: Why) {
        let Some(Attempt { step: Step::Trial { limit, back, .. }, .. }) = &mut self.open else {
            return;
        };
        *back = Some(false);
        self.cannot = 0;
        if limit.is_some() {
            self.note.outcome = Some(Err(why));
            self.note.sent = false;
        }
    }
}

/// What follows by itself, and with time.
impl Spec {
    pub(super) fn step(&mut self, step: Step) {
        if let Some(attempt) = &mut self.open {
            attempt.step = step;
        }
    }

    pub(super) fn drop_attempt(&mut self) {
        self.open = None;
        self.note.accepted = None;
        self.orphan();
    }

    /// The slot's operation is not needed any more (O3).
    pub(super) fn orphan(&mut self) {
        if let Some((_, wanted, _)) = &mut self.job {
            *wanted = false;
        }
    }

    /// What is on trial without our doing has the other slot as its way back.
    pub(super) fn adopt(&mut self) {
        let Some(foreign) = self.foreign.filter(|_| self.open.is_none() && self.owed.is_none())
        else {
            return;
        };
        let image = Image { version: self.running, md5: 0, size: 1 };
        let step = match foreign {
            Foreign::Armed => {
                Step::Restart { since: self.now, active: true, ask: None, ours: false }
            }
            Foreign::Trial => {
                let ask = self.now + 60 * S;
                Step::Trial { limit: None, ask, confirmed: false, unable: false, back: None }
            }
        };
        self.begin(image, String::new(), step, (image.size, 0));
    }

    /// Rules 4 and 6: 100 is said, then the try is counted, then `burning` is said.
    pub(super) fn settle_ready(&mut self) {
        let now = self.now;
        let told = self.told(&Line::Percent(100)).is_some();
        let Some(attempt) = &mut self.open else { return };
        if let Step::Ready { approved: true, go: true, since, .. } = attempt.step {
            if told || now >= since + 5 * S {
                attempt.step = Step::Install { since: now, begun: None, late: false };
                self.note.phase = Phase::Install;
                self.note.tries += 1;
            }
        }
    }

    /// The machine asks the application to install: everything before it has happened (O5).
    pub(crate) fn install_asked(&mut self) {
        let told = self.told(&Line::Burning).is_some();
        assert!(self.is_durable() && self.durable.phase == Phase::Install, "O5: not counted");
        let now = self.now;
        let Some(Attempt { step: Step::Install { since, begun, .. }, .. }) = &mut self.open else {
            panic!("nothing asks for an installation");
        };
        assert!(begun.is_none(), "an installation asked for twice");
        assert!(told || now >= *since + 5 * S, "O5: burning was not said");
        *begun = Some(now + 600 * S);
    }

    /// The machine asks for the restart (O7), or asks again.
    pub(crate) fn restart_asked(&mut self) {
        let told = self.told(&Line::Burning) == Some(true);
        let now = self.now;
        match self.open.as_mut().map(|attempt| &mut attempt.step) {
            Some(Step::Restart { since, active: true, ask, .. }) => {
                let due = ask.map_or(told || now >= *since + 5 * S, |at| at <= now);
                assert!(due, "O7: too soon");
                *ask = Some(now + 60 * S);
            }
            Some(Step::Trial { back: Some(true), .. }) => {}
            _ => panic!("nothing asks for a restart"),
        }
    }

    pub(super) fn tick_step(&mut self) {
        let now = self.now;
        let Some(attempt) = &mut self.open else { return };
        match &mut attempt.step {
            Step::Consent { ask } | Step::Ready { ask, .. } if *ask <= now => *ask = now + 60 * S,
            Step::Later { until } if *until <= now => self.ask_url(Url::Deferral),
            Step::Due { .. } | Step::Asked { .. } | Step::Body(_) | Step::Pause { .. } => {
                self.tick_fetch();
            }
            Step::Url { why, until } if until.is_some_and(|at| at <= now) => {
                let why = *why;
                self.ask_url(why);
            }
            Step::Install { begun: Some(limit), late, .. } if *limit <= now => {
                (*late, *limit) = (true, now + 60 * S);
            }
            Step::Trial { limit: Some(limit), back: None, confirmed, unable, .. }
                if *limit <= now =>
            {
                // Who waits only for the cloud, or for the slot, blames nothing.
                let why = if *confirmed || *unable { Why::Other } else { Why::Image };
                self.begin_back(why);
            }
            Step::Trial { ask, unable, .. } if *ask <= now => {
                (*ask, *unable) = (now + 60 * S, false);
            }
            _ => {}
        }
    }

    /// When the step certainly ends, or is reported again, by time alone.
    pub(super) fn step_latest(&self) -> Option<u64> {
        let attempt = self.open.as_ref()?;
        let later = |at: u64| (at > self.now).then_some(at);
        match &attempt.step {
            Step::Consent { ask } => Some(*ask),
            Step::Later { until } => Some(*until),
            Step::Asked { since, .. } => Some(since + 20 * S),
            Step::Body(body) if self.reading => Some(body.latest()),
            Step::Body(body) => body.unread_latest(self.now),
            // What could not be stored is not asked for, and the end of a pause is not seen.
            Step::Pause { .. } => self.may_write(attempt).then(|| self.pause_over(attempt)),
            Step::Url { until, .. } => *until,
            Step::Ready { approved: true, go: true, since, .. } => later(since + 5 * S),
            Step::Ready { ask, .. } => Some(*ask),
            Step::Install { begun: Some(limit), .. } => Some(*limit),
            Step::Install { since, .. } => later(since + 5 * S),
            Step::Restart { ask: Some(ask), .. } => Some(*ask),
            Step::Restart { since, .. } => later(since + 5 * S),
            Step::Trial { ask, confirmed: false, back: None, .. } => Some(*ask),
            Step::Trial { limit, back: None, .. } => *limit,
            Step::Trial { ask, back: Some(true), .. } => Some(*ask),
            _ => None,
        }
    }
}

pub(super) fn is_past_return(step: &Step) -> bool {
    matches!(step, Step::Install { .. } | Step::Restart { .. } | Step::Trial { .. })
}

/// Whether an image fits into the slot.
pub(super) fn fits(size: u64) -> bool {
    (1..=CAPACITY).contains(&size)
}
