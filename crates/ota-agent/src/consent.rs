//! Asks for consent before a download and before an installation, and maps the answers to the
//! commands accept, defer, refuse, approve, veto and install. The state machine decides what
//! follows.

use std::process::ExitStatus;
use std::time::Duration;

use ota_host::{Clock, Image};
use ota_proto::{Command, InstallFault, Updater};

use super::awaited::DeferredBy;
use super::check;
use super::config::Consent;
use super::job::{Job, JobError, Kind, Order};
use super::life::Device;
use super::question::Question;
use super::window::closed;
use crate::print::Line;

/// Exit codes of the consent command besides 0. They are those of sysexits.h, which no shell
/// returns by accident.
const DEFER: i32 = 75;
const REFUSE: i32 = 77;

/// How long the agent itself defers before it asks the cloud and reads the clock again. It is not
/// longer even if a window opens later, because the clock may be set meanwhile.
const HOUR: Duration = Duration::from_secs(3_600);

/// The answer of a consent command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Accept,
    Defer(Duration),
    Refuse,
}

impl Answer {
    /// Maps the exit code. `closed` is how long the window is closed now: the command may have run
    /// longer than the window was open.
    fn of(code: Option<i32>, closed: Option<Duration>) -> Option<Self> {
        match code? {
            0 => Some(closed.map_or(Self::Accept, |wait| Self::Defer(wait.min(HOUR)))),
            DEFER => Some(Self::Defer(HOUR)),
            REFUSE => Some(Self::Refuse),
            _ => None,
        }
    }
}

impl Device<'_> {
    /// An offer is open; repeated while there is no answer.
    pub(super) fn offered(&mut self) {
        let updater = self.driver.updater(self.device);
        let Some(offer) = updater.and_then(Updater::offer) else { return };
        let (version, size, question) = (offer.version, offer.size, Question::of(&offer));
        let of = question.digest();
        if self.printed_offer.as_ref() != Some(&question) {
            // The earlier question was about another offer.
            self.drop_questions();
            self.printed_offer = Some(question);
            let text = format!("* {version} is offered, {size} bytes");
            let line = Line::new(self.clock.now(), "offered", text);
            self.print(&line.with("version", version.as_str()).with("size", size));
        }
        if let Some((wait, by)) = self.deferral.take(of, Clock::unix_time()) {
            return self.defer(wait, by);
        }
        if let Some(wait) = closed(self.config.policy.download) {
            return self.defer(wait.min(HOUR), DeferredBy::Window);
        }
        let config = self.config;
        match &config.policy.consent {
            Consent::Auto => self.accept(),
            Consent::Ask => {}
            Consent::Command(words) => match self.danger(Kind::Consent) {
                // The command cannot be run, now or in an hour.
                Some(why) => self.unable(&[why.why]),
                None => self.order(Kind::Consent, words),
            },
        }
    }

    /// The image is verified; repeated while it waits.
    pub(super) fn ready(&mut self) {
        let config = self.config;
        match &config.policy.verify {
            Some(words) if !self.approved => self.order(Kind::Verify, words),
            _ => self.install_in_window(),
        }
    }

    /// The subject of the current question.
    fn question(&self) -> Option<Question> {
        self.driver.updater(self.device).and_then(Updater::offer).map(|offer| Question::of(&offer))
    }

    /// Whether a command's answer is for the current question. The offer may change while the
    /// command ends; then the agent asks again.
    pub(super) fn is_answered(&mut self) -> bool {
        let asked = self.asked.take();
        asked.is_some() && asked == self.question()
    }

    /// Handles the consent command's answer. A command that fails has neither accepted nor refused.
    pub(super) fn consented(&mut self, result: Result<ExitStatus, JobError>) {
        let code = result.as_ref().ok().and_then(ExitStatus::code);
        match Answer::of(code, closed(self.config.policy.download)) {
            Some(Answer::Accept) => self.accept(),
            Some(Answer::Defer(wait)) => self.defer(wait, DeferredBy::Command),
            Some(Answer::Refuse) => {
                let _ = self.command(Command::Refuse);
            }
            None => {
                let why =
                    result.map_or_else(|broken| broken.why, |status| Kind::Consent.failed(status));
                self.warn(&format!("{why}; the agent asks it again in an hour"));
                self.defer(HOUR, DeferredBy::Command);
            }
        }
    }

    /// Handles the verify command's answer. A command that fails has refused.
    pub(super) fn verified(&mut self, result: Result<ExitStatus, JobError>) {
        let why = match result {
            Ok(status) if status.success() => {
                self.approved = self.command(Command::Approve).is_ok();
                return self.install_in_window();
            }
            Ok(status) => Kind::Verify.failed(status),
            Err(broken) => broken.why,
        };
        self.warn(&why);
        let _ = self.command(Command::Veto);
    }

    fn install_in_window(&mut self) {
        // The image is held while the window is closed; the machine reminds us.
        if self.config.policy.install.is_some() && closed(self.config.policy.install).is_none() {
            let _ = self.command(Command::Install);
        }
    }

    /// Accepts the offer, unless this machine could not install it. Then the agent reports that to
    /// the cloud and continues, because a later update may repair the machine.
    fn accept(&mut self) {
        let found = check::find(self.config);
        if !found.is_empty() {
            return self.unable(&found);
        }
        let _ = self.command(Command::Accept);
    }

    fn unable(&mut self, found: &[String]) {
        for why in found {
            self.warn(&format!("this machine could not install an update: {why}"));
        }
        let _ = self.command(Command::Unable(InstallFault::Machine));
    }

    fn defer(&mut self, wait: Duration, by: DeferredBy) {
        let until = self.clock.now() + wait;
        if self.command(Command::Defer(until)).is_ok() {
            self.note_deferral(wait, by);
        }
    }

    /// Defers the offer. A window is computed again after a restart; other deferrals are stored.
    pub(super) fn note_deferral(&mut self, wait: Duration, by: DeferredBy) {
        self.deferred_by = by;
        let (Some(question), false) = (self.question(), by == DeferredBy::Window) else { return };
        let kept = self.deferral.keep(question.digest(), wait, by, Clock::unix_time());
        if let Err(why) = kept {
            self.warn(&format!("{why}; a restart of the agent ends this deferral"));
        }
    }

    /// The offer is no longer deferred.
    pub(super) fn forget_deferral(&mut self) {
        if let Err(why) = self.deferral.forget() {
            self.warn(&why.to_string());
        }
    }

    /// Starts a command, unless it is already running.
    pub(super) fn order(&mut self, kind: Kind, words: &[String]) {
        let question = matches!(kind, Kind::Consent | Kind::Verify).then(|| self.question());
        let same = question.as_ref().is_none_or(|question| *question == self.asked);
        if same && self.job.as_ref().is_some_and(|job| job.kind() == kind) {
            return;
        }
        self.asked = question.flatten();
        let limit = Some(self.config.policy.limit);
        let order = Order { kind, words, fill: self.fill(), limit };
        match self.danger(kind).map_or_else(|| Job::start(&order), Err) {
            Ok(job) => self.job = Some(job),
            // Handled as a failed command, so that the question is asked again.
            Err(why) => self.job = Some(Job::thread(kind, move |_| Err(why))),
        }
    }

    /// Returns the values for a command's placeholders.
    pub(super) fn fill(&self) -> Vec<(&'static str, String)> {
        let image = self.driver.image(self.device).map(Image::path).unwrap_or_default();
        let image = std::path::absolute(image).unwrap_or_default().to_string_lossy().into_owned();
        let mut fill = vec![("image", image)];
        if let Some(offer) = self.driver.updater(self.device).and_then(Updater::offer) {
            fill.push(("version", offer.version.as_str().to_owned()));
            fill.push(("size", offer.size.to_string()));
            fill.push(("user_defined", offer.user_defined.unwrap_or_default().to_owned()));
        }
        fill
    }

    /// Drops the running questions.
    pub(super) fn drop_questions(&mut self) {
        self.job.take_if(|job| matches!(job.kind(), Kind::Consent | Kind::Verify));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_outlasts_its_window_has_accepted_nothing() {
        let minutes = |minutes: u64| Some(Duration::from_secs(minutes * 60));
        for (code, closed, answer) in [
            (Some(0), None, Some(Answer::Accept)),
            (Some(0), minutes(59), Some(Answer::Defer(Duration::from_secs(59 * 60)))),
            (Some(0), minutes(1_380), Some(Answer::Defer(HOUR))),
            (Some(DEFER), None, Some(Answer::Defer(HOUR))),
            (Some(REFUSE), minutes(5), Some(Answer::Refuse)),
            (Some(1), None, None),
            (None, None, None),
        ] {
            assert_eq!(Answer::of(code, closed), answer, "{code:?}, {closed:?}");
        }
    }
}
