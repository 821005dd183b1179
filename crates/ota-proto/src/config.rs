//! The configuration: identity, policies, limits and times.

use core::fmt;

use crate::identity::Identity;
use crate::order::Order;
use crate::time::Micros;
use crate::url::{BadUrl, Url};

/// The configuration of an [`crate::Updater`]. [`Config::new`] has the defaults.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Config {
    /// The device's identity.
    pub identity: Identity,
    /// The seed of all random numbers (back-off jitter): use a different one for each device.
    pub seed: u64,
    /// Who accepts an offer. Default [`Hold::Auto`].
    pub consent: Hold,
    /// Who approves a verified image (signature, anti-rollback). Default [`Hold::Auto`].
    pub approval: Hold,
    /// Who starts the installation of an approved image. Default [`Hold::Auto`].
    pub install: Hold,
    /// Accept offers whose URL is plain `http`. Default `false`.
    pub allow_http: bool,
    /// Accept URLs with `user:password@`. The HTTP client must send these as Basic authentication
    /// to that origin only. Default `false`: such a URL is refused.
    pub url_user: bool,
    /// Whether an older version may be installed. Default [`Downgrade::Allow`]: an operator who
    /// offers an older version intends it.
    pub downgrade: Downgrade,
    /// Confirm a new image only after the cloud has answered its version report too. The wait for
    /// that is [`Timing::patience`] after the application's word. Default `true`.
    pub confirm_needs_reply: bool,
    /// How the image is verified. Default [`Verify::ReadBack`].
    pub verify: Verify,
    /// Limits on data from the network.
    pub limits: Limits,
    /// Time-outs and intervals.
    pub timing: Timing,
}

impl Config {
    /// Returns the defaults for this device.
    #[must_use]
    pub fn new(identity: Identity, seed: u64) -> Self {
        Self {
            identity,
            seed,
            consent: Hold::Auto,
            approval: Hold::Auto,
            install: Hold::Auto,
            allow_http: false,
            url_user: false,
            downgrade: Downgrade::Allow,
            confirm_needs_reply: true,
            verify: Verify::ReadBack,
            limits: Limits::default(),
            timing: Timing::default(),
        }
    }

    /// Parses a URL, with the user in it if that is accepted.
    pub(crate) fn parse_url<'a>(
        &self,
        text: &'a str,
    ) -> Result<(Url<'a>, Option<&'a str>), BadUrl> {
        if self.url_user { Url::parse_with_user(text) } else { Ok((Url::parse(text)?, None)) }
    }

    /// The length in bytes of a buffer that every output fits into.
    #[must_use]
    pub const fn buffer_len() -> usize {
        // The longest report is `fail`: 123 bytes of frame, a version and a text.
        256
    }
}

/// Who decides at a hold point of the update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Hold {
    /// The machine goes on by itself.
    #[default]
    Auto,
    /// The machine raises an event and waits for a command.
    Ask,
}

/// How the image is verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Verify {
    /// Once, after the last byte, from the medium with the cache dropped.
    #[default]
    ReadBack,
    /// In parts after each sync, so that little is left at the end. The bytes are still read from
    /// the slot, but possibly from a cache.
    Trailing,
}

/// Whether an older version may be installed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Downgrade {
    /// Any version.
    #[default]
    Allow,
    /// Only a version that is newer in this order. Versions that do not fit the order are refused,
    /// and so are equal ones with another spelling.
    Refuse(Order),
}

/// Limits on data from the network, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Limits {
    /// A message's payload. Default 4,096.
    pub payload: usize,
    /// A URL, the offer's or a redirect's. Default 1,024.
    pub url: usize,
    /// The offer's `user_defined`. Default 1,536.
    pub user_defined: usize,
}

impl Limits {
    /// Whether a short offer fits the limits: payloads of 256 bytes and URLs of 32.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        self.payload >= 256 && self.url >= 32
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { payload: 4_096, url: 1_024, user_defined: 1_536 }
    }
}

/// All times and counts of the rules of behaviour (docs/rules.md).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Timing {
    /// Wait for the answer to `report_version`, then again with back-off. 10 s.
    pub reply: Micros,
    /// Wait for the PUBACK of a result in an open session, then repeat it. 15 s.
    pub puback: Micros,
    /// Longest pause between two version reports that are unanswered or refused, or while a
    /// download waits for its server. 5 min.
    pub report_cap: Micros,
    /// Interval of an idle device's version reports, ± 10 %. 24 h.
    pub idle_report: Micros,
    /// An offer within this time after a version report counts as its result; a later one as an
    /// operator's act. 30 s.
    pub elicited: Micros,
    /// The awaited offer counts as withdrawn after two replies without it, this long apart. 10 s.
    pub withdrawn: Micros,
    /// Longest wait for a fresh offer after a refused URL. 30 s.
    pub fresh_offer: Micros,
    /// Wait before a refused URL is tried again. After a pause of this length or more, the device
    /// first reports its version to get a fresh URL. 60 s.
    pub same_url: Micros,
    /// Shortest time until a failed image is attempted again, if the device's own report led to its
    /// offer; doubles up to `retry_after_cap`. 60 s.
    pub after_failure: Micros,
    /// Without a success, eight attempts may begin at once, for all images together, and then one
    /// in each interval of this length. 10 min.
    pub attempt: Micros,
    /// An offer older than this is refreshed before use. 23 h.
    pub offer_life: Micros,
    /// At most one superseding offer in this time. 60 s.
    pub supersede: Micros,
    /// Minimum interval between two progress reports. 1 s.
    pub progress: Micros,
    /// Longest silence in an open attempt. 20 s.
    pub repeat: Micros,
    /// The same while it waits: the platform's shortest time-out is 60 s. 45 s.
    pub repeat_waiting: Micros,
    /// From asking for a fetch to the response head. 20 s: 10 s to connect, 10 s to answer.
    pub response: Micros,
    /// Longest wait for the next byte of a body. 15 s.
    pub idle: Micros,
    /// Longest time without reading a body because slot or journal do not answer. Then its
    /// connection is closed, because other devices may wait for it. 60 s.
    pub unread: Micros,
    /// Window of the minimum rate. 60 s.
    pub rate_window: Micros,
    /// Minimum rate over the window, in bytes per second. 256.
    pub min_rate: u32,
    /// First pause after a failed fetch; doubles. 1 s.
    pub retry_base: Micros,
    /// Longest pause after a failed fetch. 5 min.
    pub retry_cap: Micros,
    /// Pause after a protocol violation: TLS, a redirect or a contradiction. 30 s.
    pub violation: Micros,
    /// An attempt ends after this time without 4 KiB of progress. The time counts in a session,
    /// while the attempt waits for the server. 30 min.
    pub patience: Micros,
    /// How long other answers over plain http are tolerated, from a captive portal. 10 min.
    pub portal: Micros,
    /// Longest `Retry-After` that is followed. Up to this total, such pauses do not count as time
    /// without progress. 1 h.
    pub retry_after_cap: Micros,
    /// Longest time until new bytes are made durable. 60 s.
    pub checkpoint: Micros,
    /// Most bytes between two checkpoints, at least one erase unit. 32 MiB.
    pub checkpoint_cap: u64,
    /// Wait for the PUBACK of `burning` before the restart, and for a session before the
    /// installation. 5 s.
    pub burning: Micros,
    /// Longest installation. 10 min.
    pub install: Micros,
    /// Interval of repeating an event that needs an answer of the application. 60 s.
    pub ask_again: Micros,
    /// A new image must be confirmed within this time. 10 min.
    pub trial: Micros,
    /// First pause after a journal write failed; doubles to `report_cap`. 1 s.
    pub journal_retry: Micros,
}

impl Timing {
    /// Divides all waits by this, for tests and demonstrations. The lifetime of an offer, the
    /// longest `Retry-After` and the minimum rate stay, because the cloud determines them.
    pub fn divide(&mut self, by: u32) {
        for time in [
            &mut self.reply,
            &mut self.puback,
            &mut self.report_cap,
            &mut self.idle_report,
            &mut self.elicited,
            &mut self.withdrawn,
            &mut self.fresh_offer,
            &mut self.same_url,
            &mut self.after_failure,
            &mut self.attempt,
            &mut self.supersede,
            &mut self.progress,
            &mut self.repeat,
            &mut self.repeat_waiting,
            &mut self.response,
            &mut self.idle,
            &mut self.unread,
            &mut self.rate_window,
            &mut self.retry_base,
            &mut self.retry_cap,
            &mut self.violation,
            &mut self.patience,
            &mut self.portal,
            &mut self.checkpoint,
            &mut self.burning,
            &mut self.install,
            &mut self.ask_again,
            &mut self.trial,
            &mut self.journal_retry,
        ] {
            *time = time.part(by);
        }
    }

    /// Whether every time except [`Timing::retry_base`] and [`Timing::burning`] is at least a
    /// microsecond. With a time of zero something would be due again at once, forever, or end
    /// before it began.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        let times = [
            &self.reply,
            &self.puback,
            &self.report_cap,
            &self.idle_report,
            &self.elicited,
            &self.withdrawn,
            &self.fresh_offer,
            &self.same_url,
            &self.after_failure,
            &self.attempt,
            &self.offer_life,
            &self.supersede,
            &self.progress,
            &self.repeat,
            &self.repeat_waiting,
            &self.response,
            &self.idle,
            &self.unread,
            &self.rate_window,
            &self.retry_cap,
            &self.violation,
            &self.patience,
            &self.portal,
            &self.retry_after_cap,
            &self.checkpoint,
            &self.install,
            &self.ask_again,
            &self.trial,
            &self.journal_retry,
        ];
        let mut rest = times.as_slice();
        while let [time, more @ ..] = rest {
            if time.is_zero() {
                return false;
            }
            rest = more;
        }
        true
    }
}

/// One table: setting field by field takes twice as much flash.
const TIMING: Timing = {
    const fn secs(secs: u64) -> Micros {
        Micros::from_secs(secs)
    }
    Timing {
        reply: secs(10),
        puback: secs(15),
        report_cap: secs(300),
        idle_report: secs(24 * 3_600),
        elicited: secs(30),
        withdrawn: secs(10),
        fresh_offer: secs(30),
        same_url: secs(60),
        after_failure: secs(60),
        attempt: secs(600),
        offer_life: secs(23 * 3_600),
        supersede: secs(60),
        progress: secs(1),
        repeat: secs(20),
        repeat_waiting: secs(45),
        response: secs(20),
        idle: secs(15),
        unread: secs(60),
        rate_window: secs(60),
        min_rate: 256,
        retry_base: secs(1),
        retry_cap: secs(300),
        violation: secs(30),
        patience: secs(1_800),
        portal: secs(600),
        retry_after_cap: secs(3_600),
        checkpoint: secs(60),
        checkpoint_cap: 32 * 1_024 * 1_024,
        burning: secs(5),
        install: secs(600),
        ask_again: secs(60),
        trial: secs(600),
        journal_retry: secs(1),
    }
};

impl Default for Timing {
    fn default() -> Self {
        TIMING
    }
}

/// The caller's fault: invalid arguments of [`crate::Updater::new`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ConfigError {
    /// The running version is invalid.
    Version,
    /// The erase unit is zero, or the capacity is.
    Storage,
    /// [`Timing::is_sound`] does not hold.
    Timing,
    /// [`Limits::is_sound`] does not hold.
    Limits,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Version => "the running version is not 1 to 32 printable ASCII characters",
            Self::Storage => "the slot's erase unit and capacity must not be zero",
            Self::Timing => "only `retry_base` and `burning` may be zero",
            Self::Limits => "the limits leave no room for an offer: 256 bytes, 32 for its URL",
        })
    }
}

impl core::error::Error for ConfigError {}
