//! Handles a person's requests and answers them.

use std::time::Duration;

use ota_proto::{Command, Outcome, State, Updater, Version};
use serde_json::{Value, json};

use super::awaited::DeferredBy;
use super::check;
use super::control::{Request, Seen, refusal};
use super::life::Device;
use super::window::closed;
use crate::print::Line;
use crate::{day, span};

impl Device<'_> {
    /// Handles a request.
    pub(super) fn answer(&mut self, request: &Request, by: Option<u32>) -> Value {
        if let Some(why) = request.seen().and_then(|seen| self.is_another(seen)) {
            return refusal(&why);
        }
        if let (Request::Accept(_), Some(why)) = (request, check::find(self.config).first()) {
            return refusal(&format!("this machine could not install it: {why}"));
        }
        let offered = self.driver.updater(self.device).and_then(Updater::offer);
        let version = offered.map(|offer| offer.version);
        let command = match request {
            Request::Status => None,
            Request::Accept(_) => Some(Command::Accept),
            Request::Defer(time, _) => Some(Command::Defer(self.clock.now() + *time)),
            Request::Refuse(_) => Some(Command::Refuse),
            Request::Cancel => Some(Command::Cancel),
            Request::Install(_) => Some(Command::Install),
            Request::RollBack => Some(Command::RollBack),
            Request::Check => Some(Command::ReportNow),
            Request::Forgive => Some(Command::Forgive),
        };
        let done = command.map_or(Ok(()), |command| self.command(command));
        if done.is_err() {
            return refusal(misuse(request));
        }
        // A person has answered, so running questions are dropped.
        match request {
            Request::Status => return json!({"ok": true, "status": self.status()}),
            Request::Defer(time, _) => {
                self.note_deferral(*time, DeferredBy::Person);
                self.drop_questions();
            }
            Request::Accept(_) | Request::Refuse(_) | Request::Cancel => {
                self.forget_deferral();
                self.drop_questions();
            }
            _ => {}
        }
        self.print_decision(request, version, by);
        json!({"ok": true})
    }

    /// Returns why this is not the offer that the person has seen.
    fn is_another(&self, seen: &Seen) -> Option<String> {
        let offer = self.driver.updater(self.device).and_then(Updater::offer);
        let Some(offer) = offer else { return Some("there is no longer an offer".into()) };
        let (found, named) = (offer.version, seen.version);
        if found != named {
            return Some(format!("{found} is offered now, and not {named}"));
        }
        if offer.md5 != seen.md5 || offer.user_defined != seen.user_defined.as_deref() {
            return Some(format!("another image or text of {found} is offered now: look again"));
        }
        None
    }

    /// Logs the decision of a person.
    fn print_decision(&self, request: &Request, version: Option<Version>, by: Option<u32>) {
        let word = request.word();
        let who = by.map_or_else(|| "somebody".into(), |by| format!("user {by}"));
        let mut text = format!("* {who} said {word}");
        let line = |text| Line::new(self.clock.now(), "decision", text).with("command", word);
        if let Some(version) = version {
            text += &format!(" to {version}");
        }
        if let Request::Defer(time, _) = request {
            text += &format!(", for {}", span::show(*time));
        }
        let version = version.map(|version| version.as_str().to_owned());
        self.print(&line(text).with("version", version).with("user", by));
    }

    fn status(&self) -> Value {
        let identity = &self.config.account.identity;
        let updater = self.driver.updater(self.device);
        let offer = updater.and_then(Updater::offer);
        let progress = updater.and_then(Updater::progress).filter(|_| offer.is_some());
        // The size is 0 before the first offer.
        let percent = progress.and_then(|(stored, size)| (stored * 100).checked_div(size));
        let downloads = updater.is_some_and(|updater| updater.state() == State::Fetching);
        let rate = progress.filter(|_| downloads).and_then(|(stored, size)| {
            self.progress.and_then(|since| since.rate(self.clock.now(), stored, size))
        });
        let awaited = self.awaited();
        let until = awaited.and_then(|(_, until)| Some(self.left(until?)));
        let error = self.last_error.borrow();
        let error = error.as_ref();
        json!({
            "device": format!("{}/{}", identity.product_id(), identity.device_name()),
            "version": updater.map(|updater| updater.running().as_str().to_owned()),
            "connected": self.online,
            "state": updater.map(|updater| state(updater.state())),
            "waiting_for": awaited.map(|(what, _)| what.to_string()),
            "until": until.and_then(|(_, at)| at).map(day::date_time),
            "next_in": until.map(|(left, _)| seconds(left)),
            "offered": offer.map(|offer| offer.version.as_str().to_owned()),
            "size": offer.map(|offer| offer.size),
            "md5": offer.map(|offer| offer.md5.to_string()),
            "user_defined": offer.and_then(|offer| offer.user_defined),
            "percent": percent,
            "stored": progress.map(|(stored, _)| stored),
            "rate": rate.map(|(rate, _)| rate),
            "left_in": rate.map(|(_, left)| seconds(left)),
            "download_window_opens_in": closed(self.config.policy.download).map(seconds),
            "install_window_opens_in": closed(self.config.policy.install).map(seconds),
            "result_to_report": updater.and_then(Updater::owed).map(outcome),
            "last_result": self.reported.map(outcome),
            "last_answer": self.last_answer.map(|answer| answer.to_string()),
            "last_error": error.map(|(_, text)| text),
            "last_error_at": error.and_then(|(at, _)| *at).map(day::date_time),
            "slot": self.installer.slot(),
        })
    }
}

fn seconds(time: Duration) -> u64 {
    time.as_secs()
}

/// Why the command does not fit the state.
fn misuse(request: &Request) -> &'static str {
    match request {
        Request::Accept(_) | Request::Refuse(_) => "there is no open offer",
        Request::Defer(..) => "there is neither an open offer nor a verified image",
        Request::Cancel => "there is no update that could still be cancelled",
        Request::Install(_) => "there is no verified image to install",
        Request::RollBack => "no version is on trial",
        Request::Check => "there is no connection; the agent reports its version once connected",
        Request::Forgive => "no image has failed here",
        Request::Status => "there is no status",
    }
}

fn outcome(outcome: Outcome) -> String {
    match outcome {
        Outcome::Done => "done".into(),
        Outcome::Failed(reason) => format!("failed: {reason}"),
    }
}

fn state(state: State) -> &'static str {
    match state {
        State::Idle => "idle",
        State::Offered => "offered",
        State::Deferred => "deferred",
        State::Fetching => "downloading",
        State::Waiting => "waiting",
        State::Verifying => "verifying",
        State::Ready => "ready",
        State::Installing => "installing",
        State::Restarting => "restarting",
        State::Trial => "trial",
        _ => "busy",
    }
}
