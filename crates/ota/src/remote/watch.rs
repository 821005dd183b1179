//! Waits for a state of the cloud: asks every second, outlasts a cloud that is away, and prints each
//! change once.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::Client;
use crate::failure::{Code, Failure};
use crate::print::{clean, err, out};
use crate::stop;

/// The polling interval.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Watch<'a> {
    client: &'a Client,
    path: &'a str,
    end: Instant,
    signals: stop::Signals,
    /// What goes on without this program: "the update", "the batch".
    subject: &'static str,
    /// The line that was printed last.
    last: String,
}

impl<'a> Watch<'a> {
    /// Watches what is at this path, for so long at most.
    pub(super) fn new(
        client: &'a Client,
        path: &'a str,
        wait: Duration,
        subject: &'static str,
    ) -> Result<Self, Failure> {
        let (signals, end) = (stop::Signals::new()?, Instant::now() + wait);
        Ok(Self { client, path, end, signals, subject, last: String::new() })
    }

    /// The state now. While the cloud is away, waits for it as long as there is time.
    pub(super) async fn get(&mut self) -> Result<Value, Failure> {
        loop {
            match self.client.get(self.path) {
                Err(why) if may_pass(&why) && Instant::now() < self.end => {
                    if self.last != why.message {
                        err(&clean(&format!("ota: waiting for the cloud: {}", why.message)));
                        self.last = why.message;
                    }
                    self.pause().await?;
                }
                other => return other,
            }
        }
    }

    /// Prints a state, if its line is not the last one.
    pub(super) fn show(&mut self, state: &Value, line: String) {
        if line != self.last {
            self.client.show(state, |_| out(&clean(&line)));
            self.last = line;
        }
    }

    /// Waits until the state is worth asking for again; `late` names what is missing if the time is
    /// over.
    pub(super) async fn again(&mut self, late: &str) -> Result<(), Failure> {
        if Instant::now() >= self.end {
            let message = format!("{late}: {}", self.last);
            return Err(Failure { code: Code::NoOffer, message });
        }
        self.pause().await
    }

    async fn pause(&mut self) -> Result<(), Failure> {
        tokio::select! {
            () = sleep(PAUSE) => Ok(()),
            why = self.signals.next() => {
                let message = format!("stopped waiting; {} continues", self.subject);
                Err(Failure { message, ..why })
            }
        }
    }
}

/// The cloud is unreachable, or asks to wait.
fn may_pass(why: &Failure) -> bool {
    matches!(why.code, Code::NoConnection | Code::Environment)
}
