//! What a person asks for, and what is answered.

use std::time::Duration;

use ota_proto::{Outcome, State, Updater};
use serde_json::{Value, json};

use super::consent::closed;
use super::control::{Request, refusal};
use super::life::Device;

impl Device<'_> {
    /// Does what was asked for.
    pub(super) fn answer(&mut self, request: Request) -> Value {
        let done = self.command(|updater, now| match request {
            Request::Status => Ok(()),
            Request::Accept => updater.accept(now),
            Request::Defer(time) => updater.defer(now, now + time),
            Request::Refuse => updater.refuse(now),
            Request::Cancel => updater.cancel(now),
            Request::Install => updater.install(now),
            Request::RollBack => updater.roll_back(now),
            Request::Check => updater.report_now(now),
            Request::Forgive => updater.forgive(now),
        });
        if done.is_err() {
            return refusal(misuse(request));
        }
        // A person has answered: nobody else is asked any more.
        match request {
            Request::Accept | Request::Refuse | Request::Cancel | Request::Defer(_) => {
                self.drop_questions();
            }
            _ => {}
        }
        match request {
            Request::Status => json!({"ok": true, "status": self.status()}),
            _ => json!({"ok": true}),
        }
    }

    fn status(&self) -> Value {
        let identity = &self.config.account.identity;
        let updater = self.driver.updater(self.device);
        let offer = updater.and_then(Updater::offer);
        let percent = updater.and_then(Updater::progress);
        // 0 of 0 is nothing yet.
        let percent = percent.and_then(|(stored, size)| (stored * 100).checked_div(size));
        json!({
            "device": format!("{}/{}", identity.product_id(), identity.device_name()),
            "version": updater.map(|updater| updater.running().as_str().to_owned()),
            "connected": self.online,
            "state": updater.map(|updater| state(updater.state())),
            "offered": offer.map(|offer| offer.version.as_str().to_owned()),
            "size": offer.map(|offer| offer.size),
            "percent": percent.filter(|_| offer.is_some()),
            "download_window_opens_in": closed(self.config.care.download).map(seconds),
            "install_window_opens_in": closed(self.config.care.install).map(seconds),
            "result_to_report": updater.and_then(Updater::owed).map(outcome),
            "last_result": self.reported.map(outcome),
            "slot": self.installer.slot(),
        })
    }
}

fn seconds(time: Duration) -> u64 {
    time.as_secs()
}

/// Why the command does not fit.
fn misuse(request: Request) -> &'static str {
    match request {
        Request::Accept | Request::Refuse => "no offer waits for an answer",
        Request::Defer(_) => "neither an offer nor a verified image waits",
        Request::Cancel => "there is no update that could still be cancelled",
        Request::Install => "no verified image waits for the word to install",
        Request::RollBack => "no version is on trial",
        Request::Check => "there is no connection; the version is reported as soon as there is one",
        Request::Forgive => "no image is remembered as bad",
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
