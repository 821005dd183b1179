//! What the agent can wait for, and how fast a download is.

use std::fmt;
use std::time::Duration;

use ota_proto::{Instant, Reason};

use crate::job::Kind;
use crate::name;

/// What the agent waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaited {
    FirstConnection,
    Connection,
    Offer,
    Person,
    Command(Kind),
    Deferral(DeferredBy),
    Retry(Option<Reason>),
    InstallWindow,
    Installer,
    Report,
    InstallerRestart,
    Health,
    CloudOnTrial,
}

/// Who deferred an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeferredBy {
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
            Self::Deferral(DeferredBy::Window) => "the download window",
            Self::Deferral(DeferredBy::Command) => {
                "the time when the consent command is asked again"
            }
            Self::Deferral(DeferredBy::Person) => "the end of a person's deferral",
            Self::Deferral(DeferredBy::Before) => "the end of a deferral",
            Self::Retry(None) => "the next try to download",
            Self::Retry(Some(why)) => return write!(f, "the next try to download after: {why}"),
            Self::InstallWindow => {
                return write!(f, "the install window, or a person: {} install", name::agent());
            }
            Self::Installer => "the end of the installation",
            Self::Report => "the cloud to receive the report",
            Self::InstallerRestart => "the installer to restart the machine",
            Self::Health => "the health command to succeed, and the cloud's answer",
            Self::CloudOnTrial => "the cloud's answer to the new version",
        })
    }
}

/// The measurement of a download since it started or resumed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    pub(crate) since: Instant,
    pub(crate) from: u64,
}

impl Progress {
    /// Returns bytes per second and the remaining time, once they are known.
    pub(crate) fn rate(self, now: Instant, stored: u64, size: u64) -> Option<(u64, Duration)> {
        let millis = u64::try_from(now.since(self.since).as_millis()).ok()?;
        let bytes = stored.saturating_sub(self.from);
        let rate = bytes.saturating_mul(1_000).checked_div(millis).filter(|rate| *rate > 0)?;
        Some((rate, Duration::from_secs(size.saturating_sub(stored).div_ceil(rate))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_time_left_are_those_since_the_download_went_on() {
        let at = |millis| Instant::ZERO + Duration::from_millis(millis);
        let progress = Progress { since: at(1_000), from: 1_000 };
        let rate = |now, stored| progress.rate(at(now), stored, 10_000);
        assert_eq!(rate(1_000, 1_000), None, "nothing is known");
        assert_eq!(rate(3_000, 1_000), None, "nothing came");
        assert_eq!(rate(3_000, 3_000), Some((1_000, Duration::from_secs(7))));
        assert_eq!(rate(3_000, 4_000), Some((1_500, Duration::from_secs(4))));
        assert_eq!(rate(3_000, 10_000), Some((4_500, Duration::ZERO)));
    }
}
