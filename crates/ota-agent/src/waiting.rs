//! Explains why nothing happens: what the agent waits for, and until when. Printed when it changes,
//! and part of the status.

use std::time::Duration;

use ota_host::Clock;
use ota_proto::{Instant, State, Updater};

use super::awaited::{Awaited, DeferredBy};
use super::config::{Consent, Target};
use super::job::{Job, Kind};
use super::life::Device;
use super::window::closed;
use crate::print::Line;
use crate::size::Bytes;
use crate::{day, sink, span};

impl Device<'_> {
    /// Returns what the agent waits for, and until when if that is known.
    pub(super) fn awaited(&self) -> Option<(Awaited, Option<Instant>)> {
        let updater = self.driver.updater(self.device)?;
        let at = updater.waits_until();
        let job = self.job.as_ref().map(Job::kind);
        Some(match updater.state() {
            State::Offered if job == Some(Kind::Consent) => (Awaited::Command(Kind::Consent), None),
            State::Offered if self.config.policy.consent == Consent::Ask => (Awaited::Person, None),
            State::Deferred => {
                // The machine gets one hour at most; a person wants to know when the window opens.
                let window =
                    self.config.policy.download.filter(|_| self.deferred_by == DeferredBy::Window);
                let opens = closed(window).map(|wait| self.clock.now() + wait);
                (Awaited::Deferral(self.deferred_by), opens.or(at))
            }
            State::Ready if job == Some(Kind::Verify) => (Awaited::Command(Kind::Verify), None),
            State::Ready => {
                let wait = closed(self.config.policy.install)?;
                (Awaited::InstallWindow, Some(self.clock.now() + wait))
            }
            // Nothing starts until the cloud has the report.
            State::Installing if job.is_none() => (Awaited::Report, at),
            State::Installing => (Awaited::Installer, at),
            State::Restarting => match job {
                Some(Kind::Restart) => (Awaited::Command(Kind::Restart), None),
                _ if self.restart_by.is_some() => (Awaited::InstallerRestart, self.restart_by),
                _ => (Awaited::Report, at),
            },
            State::Trial => {
                let health = matches!(&self.config.target,
                    Target::Slots(slots) if slots.health.is_some());
                let what = if health { Awaited::Health } else { Awaited::CloudOnTrial };
                (what, None)
            }
            _ if !self.online && self.connected.is_none() && self.retry_at.is_none() => {
                // The first connection is spread over this time after the start.
                (Awaited::FirstConnection, Some(Instant::ZERO + self.config.connect_spacing))
            }
            _ if !self.online => (Awaited::Connection, self.retry_at),
            State::Waiting => (Awaited::Retry(self.cause), at),
            State::Idle => (Awaited::Offer, None),
            _ => return None,
        })
    }

    /// Prints what the agent waits for if that has changed.
    pub(super) fn print_awaited(&mut self) {
        let now = self.awaited();
        let what = now.map(|(what, _)| what);
        if self.printed_wait == what {
            return;
        }
        self.printed_wait = what;
        let Some((what, until)) = now else { return };
        let mut text = format!("* waiting for {what}");
        let mut fields = vec![("for", what.to_string())];
        if let Some(until) = until {
            let (left, at) = self.left(until);
            text += &format!(", {}", span::show(left));
            if let Some(at) = at {
                text += &format!(", until {}", day::time(at));
                fields.push(("until", day::date_time(at)));
            }
        }
        let line = Line::new(self.clock.now(), "waiting", text);
        self.print(&fields.into_iter().fold(line, |line, (key, value)| line.with(key, value)));
    }

    /// Returns the time left until then, and the Unix time of it.
    pub(super) fn left(&self, until: Instant) -> (Duration, Option<u64>) {
        let left = until.since(self.clock.now());
        (left, Clock::unix_time().map(|unix| unix + left.as_secs()))
    }

    /// Shows the progress of the download: a bar on a terminal, a line elsewhere.
    pub(super) fn print_progress(&self, percent: u8) {
        let now = self.clock.now();
        let progress = self.driver.updater(self.device).and_then(Updater::progress);
        let Some((stored, size)) = progress else { return };
        let mut text = format!("{percent:3} %, {} of {}", Bytes(stored), Bytes(size));
        let rate = self.progress.and_then(|since| since.rate(now, stored, size));
        if let Some((rate, left)) = rate {
            text += &format!(", {}/s, {} left", Bytes(rate), span::show(left));
        }
        if self.has_bar() {
            return sink::bar(Some(format!("{text} {}", gauge(percent))));
        }
        let line = Line::new(now, "progress", format!("*{text}"));
        let line = line.with("percent", percent).with("stored", stored).with("size", size);
        self.print(&match rate {
            Some((rate, left)) => line.with("rate", rate).with("left", left.as_secs()),
            None => line,
        });
    }
}

/// Draws the cells of a bar.
const CELLS: usize = 30;

fn gauge(percent: u8) -> String {
    let filled = usize::from(percent.min(100)) * CELLS / 100;
    let bar = "=".repeat(filled) + if filled < CELLS { ">" } else { "" };
    format!("[{bar:<CELLS$}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_wide_at_its_end_as_at_its_begin() {
        for (percent, filled, head) in [(0, 0, ">"), (50, 15, ">"), (99, 29, ">"), (100, 30, "")] {
            let bar = gauge(percent);
            assert_eq!((bar.len(), bar.matches('=').count()), (CELLS + 2, filled), "{bar}");
            assert_eq!(bar.contains('>'), head == ">", "{bar}");
        }
    }
}
