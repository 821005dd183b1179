//! One run of the agent: from its start to a signal, or to the start of another version.

use std::cell::RefCell;
use std::time::Duration;

use ota_host::{Clock, DataDir, FileSlot, Image, JournalFile, Recordings, Storage};
use ota_proto::{
    Answer, Command, Event, Hold, InstallFault, Installed, Instant, Misuse, Outcome, Reason,
    StorageError, TlsError, TransportError, Updater,
};
use ota_tokio::driver::{DeviceIndex, Driver};
use ota_wire::client;
use ota_wire::mqtt::{SessionError, packet::ConnectCode};
use tokio::time::{sleep, timeout};

use super::awaited::{Awaited, DeferredBy, Progress};
use super::check;
use super::config::{Config, Confirm};
use super::control::{Asked, Control};
use super::deferral::Deferral;
use super::installer::Installer;
use super::job::{Job, JobError, Kind};
use super::notify::Notify;
use super::question::Question;
use super::switch::Trouble;
use crate::args::Agent;
use crate::device::{self, Account, Setup};
use crate::failure::{Code, Failure};
use crate::print::warn;
use crate::print::{Line, Printer};
use crate::size::Bytes;
use crate::{name, sink, span, stop};

/// Bytes of the latest inputs that are kept for `ota replay`.
const RECORDING: usize = 256 * 1024;

/// How a run ends successfully.
pub(super) enum End {
    Done,
    /// The new version takes over.
    Again,
}

pub(super) struct Device<'a> {
    pub(super) args: &'a Agent,
    pub(super) config: &'a Config,
    pub(super) clock: Clock,
    printer: Printer,
    pub(super) driver: Driver,
    pub(super) recordings: Recordings,
    pub(super) device: DeviceIndex,
    pub(super) installer: Installer,
    pub(super) trouble: Trouble,
    pub(super) job: Option<Job>,
    control: Option<Control>,
    notify: Notify,
    /// When the agent next polls for changes that cause no event.
    pub(super) check_at: Option<Instant>,
    /// When the last connection started.
    pub(super) connected: Option<Instant>,
    pub(super) online: bool,
    /// The offer that was printed last.
    pub(super) printed_offer: Option<Question>,
    /// The subject of the running consent or verify command.
    pub(super) asked: Option<Question>,
    /// The waiting image was approved.
    pub(super) approved: bool,
    /// An update or its result is open.
    busy: bool,
    /// Since when none was open.
    idle_since: Instant,
    /// The cloud has this result.
    pub(super) reported: Option<Outcome>,
    /// Who deferred the offer.
    pub(super) deferred_by: DeferredBy,
    pub(super) deferral: Deferral,
    pub(super) dir: DataDir,
    /// When the next connection is tried.
    pub(super) retry_at: Option<Instant>,
    /// Why the download waits.
    pub(super) cause: Option<Reason>,
    pub(super) progress: Option<Progress>,
    /// The last unusable answer of the server.
    pub(super) last_answer: Option<Answer>,
    /// The last error, and the Unix time of it.
    pub(super) last_error: RefCell<Option<(Option<u64>, String)>>,
    /// The last printed reason for waiting.
    pub(super) printed_wait: Option<Awaited>,
    /// Until when the installer may restart the machine.
    pub(super) restart_by: Option<Instant>,
}

impl<'a> Device<'a> {
    pub(super) fn start(args: &'a Agent, config: &'a Config) -> Result<Self, Failure> {
        let dir = DataDir::open(&config.data_dir)?;
        Installer::settle(&config.target, &dir);
        let slot = FileSlot::open(&dir, config.slot())?;
        let journal = JournalFile::open(&dir)?;
        let (installer, running) = Installer::open(&config.target, &dir, &slot)?;
        let setup = setup(config, &installer)?;
        let trouble = Trouble::default();
        let storage = Storage::new(slot, journal, installer.switch(&trouble));
        let (driver, device) = setup.driver(running, storage)?;
        let clock = driver.clock();
        for why in check::find(config) {
            warn(&format!("warning: {why}; until then no update can be installed"));
        }
        let printer = Printer::new(args.json).dated();
        let identity = &config.account.identity;
        let (product, name) = (identity.product_id(), identity.device_name());
        let text = format!("* version {running} of {product}/{name}");
        let line = Line::new(clock.now(), "started", text).with("version", running.as_str());
        printer.line(&line.with("device", name));
        let busy = driver.updater(device).is_some_and(|updater| updater.owed().is_some());
        let control = Control::open(&dir).map_err(|why| {
            warn(&format!("commands like {} status will not work: {why}", name::agent()))
        });
        let notify = Notify::from_env();
        notify.send("READY=1");
        Ok(Self {
            args,
            config,
            idle_since: clock.now(),
            clock,
            printer,
            driver,
            recordings: Recordings::new(&dir),
            device,
            installer,
            trouble,
            job: None,
            control: control.ok(),
            notify,
            check_at: None,
            connected: None,
            online: false,
            printed_offer: None,
            asked: None,
            approved: false,
            busy,
            reported: None,
            deferred_by: DeferredBy::Before,
            deferral: Deferral::open(&dir)?,
            dir,
            retry_at: None,
            cause: None,
            progress: None,
            last_answer: None,
            last_error: RefCell::new(None),
            printed_wait: None,
            restart_by: None,
        })
    }

    pub(super) async fn live(mut self, mut stop: stop::Signals) -> Result<End, Failure> {
        self.begin();
        let mut hang_up = stop::HangUp::new()?;
        let end = loop {
            self.print_removed();
            self.print_awaited();
            let (wait, check) = (self.wait_left(), self.until_check());
            let end = tokio::select! {
                event = self.driver.next() => {
                    match event.map_err(|why| Failure::environment(why.to_string()))? {
                        ota_tokio::driver::DriverEvent::Client(event) => self.handle_event(&event).await,
                        ota_tokio::driver::DriverEvent::Message { ack, .. } => {
                            // These are the agent's own; unanswered ones would block all others.
                            ack.map(|ack| self.driver.acknowledge(ack));
                            None
                        }
                        _ => None,
                    }
                }
                (kind, result) = ended(&mut self.job) => {
                    self.job = None;
                    self.ended(kind, result).await
                }
                Asked { request, by, reply } = asked(&mut self.control) => {
                    // The sender may be gone.
                    let _ = reply.send(self.answer(&request, by));
                    None
                }
                () = self.notify.watchdog() => None,
                () = hang_up.next() => {
                    self.driver.renew_trust();
                    None
                }
                () = sleep(check) => self.check_slot(),
                () = sleep(wait) => Some(Err(self.waited())),
                signal = stop.next() => {
                    Some(if self.args.once { Err(signal) } else { Ok(End::Done) })
                }
            };
            if let Some(end) = end {
                break end;
            }
        };
        self.job = None;
        // The next run is the same process and has not stopped.
        let again = matches!(end, Ok(End::Again));
        if !again {
            self.notify.send("STOPPING=1");
        }
        let (left, once) = (self.until_next_connection(), self.args.once);
        self.driver.stop().await;
        if !again {
            return end;
        }
        // Flush first: writing may take a while if nobody reads, and the next run's start discards
        // a signal that arrives before its handler. Then listen for signals.
        sink::flush();
        before_the_next(left.max(HEARING), stop.next(), once).await
    }

    /// Handles an event; returns the end of this run if one follows.
    async fn handle_event(&mut self, event: &client::ClientEvent) -> Option<Result<End, Failure>> {
        let client::ClientEvent::Device { event: update, .. } = event else {
            self.print_event(event);
            self.note_link(event);
            return None;
        };
        if let Event::Progress { percent } = update {
            self.print_progress(*percent);
            return None;
        }
        sink::bar(None);
        self.print_event(event);
        match update {
            Event::Offered => self.offered(),
            Event::Started { from } => {
                self.forget_deferral();
                self.busy = true;
                self.approved = false;
                self.last_answer = None;
                self.progress = Some(Progress { since: self.clock.now(), from: *from });
            }
            Event::Retry { cause } => self.retry(*cause),
            Event::Ready => {
                self.last_answer = None;
                self.ready();
            }
            Event::VersionRefused { code } => {
                self.note_error(&format!("the cloud refused the version report: code {code}"));
            }
            Event::Superseded => self.set_aside(),
            Event::Withdrawn => {
                self.set_aside();
                self.busy = false;
                self.idle_since = self.clock.now();
            }
            Event::Install { .. } => self.install().await,
            Event::StopInstall => match &mut self.job {
                Some(job) if job.kind().installs() => job.stop(),
                _ => self.report_installed(Installed::Failed(InstallFault::Image)),
            },
            Event::Restart => return self.restart(),
            Event::Trial => return self.trial(),
            Event::Finished { outcome, answer, .. } => {
                self.drop_questions();
                self.forget_deferral();
                self.busy = true;
                if let Outcome::Failed(reason) = outcome {
                    self.last_answer = *answer;
                    let said = self.server_answer();
                    self.warn(&format!("the update failed: {reason}{said}{}", what_to_do(*reason)));
                    self.record().await;
                }
            }
            Event::Reported { outcome } => {
                self.reported = Some(*outcome);
                if let (Outcome::Failed(reason), true) = (outcome, self.args.once) {
                    return Some(Err(Failure::failed(format!("the update failed: {reason}"))));
                }
            }
            Event::VersionAccepted if self.reported == Some(Outcome::Done) && self.args.once => {
                return Some(Ok(End::Done));
            }
            Event::StorageTrouble(why) => return self.storage_trouble(*why),
            _ => {}
        }
        None
    }

    /// Forgets the questions and answers of the attempt.
    fn set_aside(&mut self) {
        self.drop_questions();
        self.last_answer = None;
    }

    /// A folder that is full or read-only may recover; one that was removed does not come back.
    fn storage_trouble(&self, why: StorageError) -> Option<Result<End, Failure>> {
        let elsewhere = self.trouble.take();
        let place = elsewhere.as_deref().unwrap_or(&self.config.data_dir).display();
        let advice = match why {
            StorageError::Gone if elsewhere.is_none() => {
                return Some(Err(Failure::environment(format!(
                    "the data folder {place} was removed while the agent used it: start the agent \
                     again; the update begins anew"
                ))));
            }
            StorageError::Gone => "its folder is gone: put it back",
            StorageError::NoSpace | StorageError::NoSecondSpace => "free some space there",
            StorageError::ReadOnly => "make it writable for the agent",
            _ => "look at the system's log for errors of the disk",
        };
        // A switch that fails ends the update, or is tried and reported again.
        let again = if elsewhere.is_none() { ". Trying again" } else { "" };
        self.warn(&format!("cannot write to {place}: {why}; {advice}{again}"));
        None
    }

    fn print_event(&self, event: &client::ClientEvent) {
        if let Some(line) = device::line(self.clock.now(), event) {
            self.printer.line(&line);
        }
    }

    /// Logs an error, and keeps it for the status.
    pub(super) fn warn(&self, text: &str) {
        warn(text);
        self.note_error(text);
    }

    fn note_error(&self, text: &str) {
        *self.last_error.borrow_mut() = Some((Clock::unix_time(), text.to_owned()));
    }

    /// Whether a bar can be drawn below the lines.
    pub(super) fn has_bar(&self) -> bool {
        self.printer.has_bar()
    }

    fn retry(&mut self, cause: Reason) {
        self.cause = Some(cause);
        let answer = self.driver.updater(self.device).and_then(Updater::answer);
        self.last_answer = answer.filter(|_| cause.is_explained());
        self.note_error(&format!("the download failed for now: {cause}{}", self.server_answer()));
    }

    /// Appends the server's last answer to an error.
    fn server_answer(&self) -> String {
        self.last_answer.map(|answer| format!(": {answer}")).unwrap_or_default()
    }

    /// Reports that a taken image was removed.
    fn print_removed(&self) {
        let removed = self.driver.image(self.device).and_then(Image::take_removed);
        let Some(bytes) = removed else { return };
        let text = format!(
            "* removed slot.img, {}: the next image needs its room; keep_accepted = true would \
             refuse that one instead",
            Bytes(bytes)
        );
        self.print(&Line::new(self.clock.now(), "removed", text).with("bytes", bytes));
    }

    fn note_link(&mut self, event: &client::ClientEvent) {
        match event {
            client::ClientEvent::Connected => {
                self.connected = Some(self.clock.now());
                self.online = true;
            }
            client::ClientEvent::Disconnected { cause, retry_at } => {
                self.online = false;
                self.retry_at = Some(*retry_at);
                if *cause == client::Disconnect::Planned {
                    return;
                }
                let wait = span::show(retry_at.since(self.clock.now()));
                let Account { host, port, .. } = &self.config.account;
                self.warn(&format!(
                    "no connection to {host}:{port}: {cause}{}; trying again in {wait}",
                    advice(*cause)
                ));
            }
            _ => {}
        }
    }

    /// Prints an event of this run.
    pub(super) fn print(&self, line: &Line) {
        self.printer.line(line);
    }

    /// Sends the machine a command, which may no longer fit its state.
    pub(super) fn command(&mut self, command: Command) -> Result<(), Misuse> {
        self.driver.command(self.device, command)
    }

    /// How long no connection may start: the next run connects at once, and does not know of this
    /// run's connection.
    fn until_next_connection(&self) -> Duration {
        let since = self.connected.map(|connected| self.clock.now().since(connected));
        since.map_or(Duration::ZERO, |since| self.config.connect_spacing.saturating_sub(since))
    }

    /// How much longer to wait for an offer.
    fn wait_left(&self) -> Duration {
        let wait = self.args.wait.filter(|_| !self.busy);
        let since = self.clock.now().since(self.idle_since);
        wait.map_or(FOREVER, |wait| wait.saturating_sub(since))
    }

    /// The message when the wait is over.
    fn waited(&self) -> Failure {
        let offer = self.driver.updater(self.device).and_then(|updater| updater.offer());
        let (code, message) = match offer {
            Some(offer) => {
                (Code::NoOffer, format!("no decision on the offer of {} in time", offer.version))
            }
            None if self.connected.is_none() => {
                let Account { host, port, .. } = &self.config.account;
                let error = self.last_error.borrow();
                let why = error.as_ref().map_or("no answer yet", |(_, text)| text);
                (
                    Code::NoConnection,
                    format!("never connected to {host}:{port} in time; last: {why}"),
                )
            }
            None => {
                let text = "no offer came in time; is there a firmware for this device?";
                (Code::NoOffer, text.into())
            }
        };
        Failure { code, message }
    }

    fn until_check(&self) -> Duration {
        self.check_at.map_or(FOREVER, |at| at.since(self.clock.now()))
    }
}

/// Waits until the next run may connect. A signal that arrives before then ends this run, because
/// the next one would not see it.
async fn before_the_next(
    left: Duration,
    signal: impl Future<Output = Failure>,
    once: bool,
) -> Result<End, Failure> {
    match timeout(left, signal).await {
        Err(_) => Ok(End::Again),
        Ok(signal) if once => Err(signal),
        Ok(_) => Ok(End::Done),
    }
}

/// Long enough to see a signal that has arrived.
const HEARING: Duration = Duration::from_millis(10);

/// 30 years: longer than any wait.
const FOREVER: Duration = Duration::from_secs(1_000_000_000);

/// Waits for the end of the job; pending while there is none.
async fn ended(job: &mut Option<Job>) -> (Kind, Result<std::process::ExitStatus, JobError>) {
    match job {
        Some(job) => (job.kind(), job.ended().await),
        None => std::future::pending().await,
    }
}

/// Waits for the next request; pending without a control socket.
async fn asked(control: &mut Option<Control>) -> Asked {
    match control {
        Some(control) => control.next().await,
        None => std::future::pending().await,
    }
}

/// What a person can do about a failed update.
fn what_to_do(reason: Reason) -> &'static str {
    match reason {
        Reason::PlainHttp => {
            "; its URL has no TLS: write allow_http = true to take it, best with verify beside it"
        }
        _ => "",
    }
}

/// What a person can do about a failed connection.
fn advice(cause: client::Disconnect) -> &'static str {
    use ConnectCode::{Credentials, Identifier, NotAuthorized};
    let why = match cause {
        client::Disconnect::Transport(TransportError::Tls(why)) => why,
        client::Disconnect::Transport(TransportError::Resolve) => return " (see broker)",
        client::Disconnect::Session(SessionError::Refused(
            Credentials | Identifier | NotAuthorized,
        )) => return " (see product_id, device_name, and the secret or certificate)",
        client::Disconnect::Session(SessionError::SpeaksTls) => {
            return " (write broker = \"mqtts://…\")";
        }
        _ => return "",
    };
    match why {
        TlsError::WrongHost => " (write the name in broker that the certificate is for)",
        TlsError::Untrusted => " (put its CA certificate into ca_file)",
        TlsError::ClockNotSet => " (set the clock; if it is right, remove the folder data_dir)",
        TlsError::ClientRefused => " (see client_cert and client_key)",
        TlsError::Handshake => " (check that the port uses TLS 1.2 or later)",
        TlsError::NotTls => " (write its port for TLS, or mqtt:// where there is none)",
        TlsError::Version1 => {
            " (make one of version 3: openssl req -x509 -addext subjectAltName=…)"
        }
        TlsError::Authority => {
            " (openssl req -x509 makes one of an authority: add -addext \
             basicConstraints=critical,CA:FALSE, or sign the server's with it)"
        }
        TlsError::Algorithm => " (use a key of ECDSA P-256 or P-384, Ed25519, or RSA of 2048 bits)",
        _ => "",
    }
}

/// What the configuration asks of the machine and its connection.
fn setup(config: &Config, installer: &Installer) -> Result<Setup, Failure> {
    let policy = &config.policy;
    let hold = |held| if held { Hold::Ask } else { Hold::Auto };
    Ok(Setup {
        account: config.account.clone(),
        allow_http: config.allow_http,
        public_store_only: config.public_store_only,
        trailing_digest: config.trailing_digest,
        downgrade: config.downgrade.clone(),
        // Also where nobody is asked: the machine is looked at before each download.
        consent: Hold::Ask,
        approval: hold(policy.verify.is_some()),
        install: hold(policy.install.is_some()),
        login_valid: config.login_valid,
        spacing: config.connect_spacing,
        spread: config.connect_spacing,
        install_limit: installer.limit(),
        trial: installer.trial(),
        confirm_needs_reply: config.target.confirm() == Confirm::Cloud,
        record: RECORDING,
        longest_pause: None,
        hurry: 1,
        seed: device::seed()?,
    })
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn a_signal_between_two_lives_ends_the_agent() {
        let signal = || ready(Failure { code: Code::Terminated, message: String::new() });
        for left in [Duration::ZERO, Duration::from_secs(60)] {
            assert!(matches!(before_the_next(left, signal(), false).await, Ok(End::Done)));
            assert!(before_the_next(left, signal(), true).await.is_err());
        }
        assert!(matches!(before_the_next(Duration::ZERO, pending(), true).await, Ok(End::Again)));
    }
}
