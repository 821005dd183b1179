//! Explains why nothing happens: what the agent waits for, and until when. Printed when it changes,
//! and part of the status.

use std::fmt;
use std::time::Duration;

use ota_host::Clock;
use ota_proto::{Instant, Reason, State, Updater};

use super::config::Consent;
use super::consent::closed;
use super::job::Kind;
use super::life::Device;
use crate::print::Line;
use crate::size::Bytes;
use crate::{day, name, sink, span};

/// What the agent waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    FirstConnection,
    Connection,
    Offer,
    Person,
    Command(Kind),
    Deferral(PutOff),
    Retry(Option<Reason>),
    InstallWindow,
    Installer,
    Word,
    InstallerRestart,
    Health,
    CloudOnTrial,
}

/// Who deferred an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PutOff {
    Window,
    Command,
    Person,
    /// An earlier process.
    Before,
}

impl fmt::Display for Awaited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FirstConnection => "the first connection",
            Self::Connection => "the next try to connect",
            Self::Offer => "an offer of the cloud",
            Self::Person => {
                return write!(f, "a person: {} accept, defer or refuse", name::agent());
            }
            Self::Command(kind) => return write!(f, "the end of {}", kind.name()),
            Self::Deferral(PutOff::Window) => "the download window",
            Self::Deferral(PutOff::Command) => "the time when the consent command is asked again",
            Self::Deferral(PutOff::Person) => "the end of a person's deferral",
            Self::Deferral(PutOff::Before) => "the end of a deferral",
            Self::Retry(None) => "the next try to download",
            Self::Retry(Some(why)) => return write!(f, "the next try to download after: {why}"),
            Self::InstallWindow => {
                return write!(f, "the install window, or a person: {} install", name::agent());
            }
            Self::Installer => "the end of the installation",
            Self::Word => "the cloud to hear of it",
            Self::InstallerRestart => "the installer to restart the machine",
            Self::Health => "the health command to succeed, and the cloud's answer",
            Self::CloudOnTrial => "the cloud's answer to the new version",
        })
    }
}

/// The measurement of a download since it started or resumed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meter {
    pub(super) since: Instant,
    pub(super) from: u64,
}

impl Meter {
    /// Returns bytes per second and the remaining time, once they are known.
    pub(super) fn rate(self, now: Instant, stored: u64, size: u64) -> Option<(u64, Duration)> {
        let millis = u64::try_from(now.since(self.since).as_millis()).ok()?;
        let bytes = stored.saturating_sub(self.from);
        let rate = bytes.saturating_mul(1_000).checked_div(millis).filter(|rate| *rate > 0)?;
        Some((rate, Duration::from_secs(size.saturating_sub(stored).div_ceil(rate))))
    }
}

impl Device<'_> {
    /// Returns what the agent waits for, and until when if that is known.
    pub(super) fn awaited(&self) -> Option<(Awaited, Option<Instant>)> {
        let updater = self.driver.updater(self.device)?;
        let at = updater.waits_until();
        let job = self.job.as_ref().map(super::job::Job::kind);
        Some(match updater.state() {
            State::Offered if job == Some(Kind::Consent) => (Awaited::Command(Kind::Consent), None),
            State::Offered if self.config.care.consent == Consent::Ask => (Awaited::Person, None),
            State::Deferred => {
                // The machine gets one hour at most; a person wants to know when the window opens.
                let window = self.config.care.download.filter(|_| self.put_off == PutOff::Window);
                let opens = closed(window).map(|wait| self.clock.now() + wait);
                (Awaited::Deferral(self.put_off), opens.or(at))
            }
            State::Ready if job == Some(Kind::Verify) => (Awaited::Command(Kind::Verify), None),
            State::Ready => {
                let wait = closed(self.config.care.install)?;
                (Awaited::InstallWindow, Some(self.clock.now() + wait))
            }
            // Nothing starts until the cloud has the report.
            State::Installing if job.is_none() => (Awaited::Word, at),
            State::Installing => (Awaited::Installer, at),
            State::Restarting => match job {
                Some(Kind::Restart) => (Awaited::Command(Kind::Restart), None),
                _ if self.restart_by.is_some() => (Awaited::InstallerRestart, self.restart_by),
                _ => (Awaited::Word, at),
            },
            State::Trial => {
                let health = matches!(&self.config.target,
                    super::config::Target::Slots(slots) if slots.health.is_some());
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
    pub(super) fn tell_awaited(&mut self) {
        let now = self.awaited();
        let what = now.map(|(what, _)| what);
        if self.told_awaited == what {
            return;
        }
        self.told_awaited = what;
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
    pub(super) fn progress(&self, percent: u8) {
        let now = self.clock.now();
        let progress = self.driver.updater(self.device).and_then(Updater::progress);
        let Some((stored, size)) = progress else { return };
        let mut text = format!("{percent:3} %, {} of {}", Bytes(stored), Bytes(size));
        let rate = self.meter.and_then(|meter| meter.rate(now, stored, size));
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

    #[test]
    fn rate_and_time_left_are_those_since_the_download_went_on() {
        let at = |millis| Instant::ZERO + Duration::from_millis(millis);
        let meter = Meter { since: at(1_000), from: 1_000 };
        let rate = |now, stored| meter.rate(at(now), stored, 10_000);
        assert_eq!(rate(1_000, 1_000), None, "nothing is known");
        assert_eq!(rate(3_000, 1_000), None, "nothing came");
        assert_eq!(rate(3_000, 3_000), Some((1_000, Duration::from_secs(7))));
        assert_eq!(rate(3_000, 4_000), Some((1_500, Duration::from_secs(4))));
        assert_eq!(rate(3_000, 10_000), Some((4_500, Duration::ZERO)));
    }
}
