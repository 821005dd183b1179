//! What demo and agent share: the set-up of the device, and its events in words.

use std::time::Duration;

use ota_host::{SignIn, Storage};
use ota_proto::credentials::{self, Algorithm, Secret};
use ota_proto::{Answer, Downgrade, Event, Hold, Identity, Instant, Outcome, Rng, Verify, Version};
use ota_tokio::driver::{DeviceIndex, Driver, Options};
use ota_tokio::{Renewal, Tls};
use ota_wire::client;
use ota_wire::mqtt::{ConnectLogin, Expiry};

use crate::failure::Failure;
use crate::print::Line;
use crate::print::warn;

/// The device's identity, and where it connects.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its product and name.
    pub identity: Identity,
    /// `None`: the certificate in `tls` signs in.
    pub secret: Option<Secret>,
    /// The application id of its login.
    pub app_id: String,
    /// The broker's host.
    pub host: String,
    /// The broker's port.
    pub port: u16,
    /// Whether the broker uses TLS.
    pub secure: bool,
    /// The CAs that TLS trusts; `None` for the public ones.
    pub tls: Option<Tls>,
    /// Whether the certificates have changed since.
    pub renewal: Option<Renewal>,
}

/// The settings of a device.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Its account.
    pub account: Account,
    /// Accept offers whose URL is plain HTTP.
    pub allow_http: bool,
    /// Refuse firmware servers at loopback, link-local and private addresses.
    pub public_store_only: bool,
    /// Hash after each sync, instead of once at the end.
    pub trailing_digest: bool,
    /// Whether an older version may be installed.
    pub downgrade: Downgrade,
    /// Who accepts an offer.
    pub consent: Hold,
    /// Who approves a verified image.
    pub approval: Hold,
    /// Who starts the installation.
    pub install: Hold,
    /// How long a login is valid after its connection.
    pub login_valid: Duration,
    /// The minimum interval between two connections.
    pub spacing: Duration,
    /// The first connection starts within this time.
    pub spread: Duration,
    /// The longest installation.
    pub install_limit: Duration,
    /// The interval of an idle device's reports, and the longest back-off; `None` for the defaults.
    pub longest_pause: Option<Duration>,
    /// Divides all default times by this.
    pub hurry: u32,
    /// The longest trial; `None` for the default.
    pub trial: Option<Duration>,
    /// Confirm a new image only after the cloud has answered its version report.
    pub confirm_needs_reply: bool,
    /// Bytes of the flight recorder; 0 for none.
    pub record: usize,
    /// The seed of all random numbers.
    pub seed: u64,
}

impl Setup {
    /// Makes a driver with this device, which runs this version.
    pub fn driver(
        &self,
        running: Version,
        storage: Storage,
    ) -> Result<(Driver, DeviceIndex), Failure> {
        let account = &self.account;
        let identity = &account.identity;
        let login = account.login(self.seed, Expiry::FAR);
        let login = login.map_err(|why| Failure::usage(format!("app_id: {why}")))?;
        let (host, seed) = (account.host.clone(), self.seed);
        let mut config =
            client::ClientConfig::new(host, account.port, account.secure, login.clone(), seed);
        config.reconnect.cap = self.longest_pause.map_or(config.reconnect.cap, Into::into);
        config.divide_times(self.hurry);
        config.reconnect.set_spacing(self.spacing.into(), self.spread.into());
        let mut options = Options::default();
        options.record = self.record;
        options.public_store_only = self.public_store_only;
        options.tls = account.tls.clone();
        options.renewal = account.renewal.clone();
        options.sign_in = Some(self.sign_in(&login));
        let driver = Driver::with_options(config, options);
        let mut driver = driver.map_err(|why| Failure::usage(why.to_string()))?;
        let mut config = ota_proto::Config::new(identity.clone(), self.seed);
        if let Some(pause) = self.longest_pause.map(Into::into) {
            (config.timing.idle_report, config.timing.report_cap) = (pause, pause);
            config.timing.portal = pause;
        }
        config.timing.divide(self.hurry);
        config.allow_http = self.allow_http;
        config.downgrade = self.downgrade.clone();
        if self.trailing_digest {
            config.verify = Verify::Trailing;
        }
        config.timing.install = self.install_limit.into();
        config.timing.trial = self.trial.map_or(config.timing.trial, Into::into);
        config.confirm_needs_reply = self.confirm_needs_reply;
        (config.consent, config.approval, config.install) =
            (self.consent, self.approval, self.install);
        let device = driver.add_device(config, running.as_str(), storage);
        let device = device.map_err(|why| Failure::usage(why.to_string()))?;
        Ok((driver, device))
    }
}

impl Setup {
    /// Makes a login for each connection, valid for a limited time.
    fn sign_in(&self, first: &ConnectLogin) -> SignIn {
        let (account, seed, first) = (self.account.clone(), self.seed, first.clone());
        SignIn::new(Expiry::new(self.login_valid), move |expiry| {
            if expiry == Expiry::FAR {
                warn(
                    "this login does not expire: the clock is not set, or the last login was refused",
                );
            }
            // The first login succeeded, so later ones do too.
            account.login(seed, expiry).unwrap_or_else(|_| first.clone())
        })
    }
}

impl Account {
    fn login(&self, seed: u64, expiry: u64) -> Result<ConnectLogin, credentials::BadLogin> {
        let conn_id = credentials::conn_id(Rng::new(seed).next_u64());
        let (identity, app_id) = (&self.identity, self.app_id.as_str());
        let login = match &self.secret {
            Some(secret) => {
                let algorithm = Algorithm::HmacSha256;
                credentials::Login::new(identity, secret, algorithm, app_id, &conn_id, expiry)
            }
            None => credentials::Login::certified(identity, app_id, &conn_id, expiry),
        }?;
        let mut made = ConnectLogin::new(login.client_id, login.username, login.password);
        made.password = made.password.filter(|_| self.secret.is_some());
        Ok(made)
    }
}

/// Formats an event of the device as a line. `None` for events that only a program handles.
pub fn line(at: Instant, event: &client::ClientEvent) -> Option<Line> {
    Some(match event {
        client::ClientEvent::Device { event, .. } => return device_line(at, event),
        client::ClientEvent::Connected => Line::new(at, "connected", "* connected"),
        client::ClientEvent::Disconnected { cause, .. } => {
            Line::new(at, "disconnected", format!("* disconnected: {cause}"))
                .with("cause", cause.to_string())
        }
        client::ClientEvent::Kicked => Line::new(
            at,
            "kicked",
            "* connections are lost repeatedly: another client may be using this login",
        ),
        client::ClientEvent::Retained { .. } => Line::new(
            at,
            "retained",
            "* ignored a retained message of the broker: it is not an offer",
        ),
        client::ClientEvent::LeftOut => Line::new(
            at,
            "left-out",
            "* messages were not taken: their subscriptions pause until the device has its reply",
        ),
        client::ClientEvent::BadMessage { error, .. } => {
            Line::new(at, "bad-message", format!("* ignored an invalid message: {error}"))
                .with("error", error.to_string())
        }
        client::ClientEvent::TooLong { len } => {
            Line::new(at, "too-long", format!("* skipped a message of {len} bytes"))
                .with("bytes", *len)
        }
        _ => return None,
    })
}

fn device_line(at: Instant, event: &Event) -> Option<Line> {
    let state = |state: &'static str, text: &str| Line::new(at, "state", text).with("state", state);
    Some(match event {
        Event::Started { from: 0 } => state("downloading", "* downloading").with("from", 0),
        Event::Started { from } => {
            state("downloading", &format!("* downloading, from byte {from}")).with("from", *from)
        }
        Event::Progress { percent } => {
            Line::new(at, "progress", format!("* {percent} % is stored")).with("percent", *percent)
        }
        Event::Retry { cause } => {
            state("waiting", &format!("* trying again: {cause}")).with("cause", cause.to_string())
        }
        Event::Ready => state("ready", "* verified"),
        Event::Install { .. } => state("installing", "* installing"),
        Event::StopInstall => {
            Line::new(at, "stop-install", "* the installation took too long: stopping it")
        }
        Event::Restart => state("restarting", "* restarting"),
        Event::Trial => state("trial", "* the new version runs on trial"),
        Event::Finished { version, outcome, answer } => {
            outcome_line(at, "finished", &format!("* update to {version}"), *outcome, *answer)
                .with("version", version.as_str())
        }
        Event::Reported { outcome } => {
            outcome_line(at, "reported", "* the cloud has the result", *outcome, None)
        }
        Event::VersionAccepted => Line::new(at, "version-accepted", "* the cloud has the version"),
        Event::VersionRefused { code } => {
            Line::new(at, "version-refused", format!("* the cloud refuses the version: {code}"))
                .with("code", *code)
        }
        Event::Superseded => Line::new(at, "superseded", "* another offer replaced this one"),
        Event::Withdrawn => Line::new(at, "withdrawn", "* the cloud no longer offers the update"),
        Event::Banned => Line::new(at, "banned", "* refused: this image failed here too often"),
        Event::HeldBack { until } => Line::new(
            at,
            "held-back",
            format!(
                "* too many attempts failed: asking the cloud again in {} s",
                until.since(at).as_secs()
            ),
        ),
        Event::StorageTrouble(why) => Line::new(
            at,
            "storage-trouble",
            format!("* cannot write the journal or the slot's state: {why}"),
        )
        .with("error", why.to_string()),
        _ => return None,
    })
}

fn outcome_line(
    at: Instant,
    event: &'static str,
    text: &str,
    outcome: Outcome,
    answer: Option<Answer>,
) -> Line {
    let Outcome::Failed(reason) = outcome else {
        return Line::new(at, event, format!("{text}: done")).with("outcome", "done");
    };
    let said = answer.map(|answer| format!(": {answer}")).unwrap_or_default();
    Line::new(at, event, format!("{text}: failed: {reason}{said}"))
        .with("outcome", "failed")
        .with("code", reason.code().number())
        .with("reason", format!("{reason}{said}"))
}

/// A seed that differs from every other device's.
pub fn seed() -> Result<u64, Failure> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|why| {
        Failure::environment(format!("the system provides no random bytes: {why}"))
    })?;
    Ok(u64::from_le_bytes(bytes))
}
