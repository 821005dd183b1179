//! `ota agent`: the device as a daemon.

mod config;
mod install;
mod switch;

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ota_host::{Clock, DataDir, FileSlot, JournalFile, NoSwitch, SlotOptions, Storage, Switch};
use ota_proto::{Event, Installed, Instant, Outcome, Version};
use ota_tokio::{DeviceIndex, Driver};
use ota_wire::client;
use tokio::time::{sleep, timeout};

use crate::args::Agent;
use crate::device::{self, Setup};
use crate::failure::{Code, Failure};
use crate::print::{self, Line, Printer};
use crate::stop;
use config::{Config, Restart, Running, Target};
use install::Installer;
use switch::{FileSwitch, Goal};

/// Runs until a signal, or with `--once` until an update has ended.
pub(crate) fn run(args: &Agent) -> Result<(), Failure> {
    let config = Config::read(&args.config)?;
    if let Some(path) = &config.exposed {
        let path = path.display();
        warn(&format!("warning: everybody can read the secret in {path}: run chmod 600 {path}"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::environment(format!("cannot start: {error}")))?;
    let end = runtime.block_on(async {
        // First of all, so that no signal finds the agent half-way.
        let stop = stop::Signals::new()?;
        Device::start(args, &config)?.live(stop).await
    });
    // Nothing of this life may reach into the next one.
    drop(runtime);
    match end? {
        End::Done => Ok(()),
        End::Again => Err(again()),
    }
}

/// Starts this program again in place, with the same arguments. Returns only when it cannot.
fn again() -> Failure {
    let mut args = std::env::args_os();
    let mut command = Command::new("/proc/self/exe");
    if let Some(name) = args.next() {
        command.arg0(name);
    }
    let why = command.args(args).exec();
    Failure::environment(format!("cannot start again in place: {why}; start the agent yourself"))
}

/// How a life ends well.
enum End {
    Done,
    /// The new version takes over.
    Again,
}

struct Device<'a> {
    args: &'a Agent,
    config: &'a Config,
    clock: Clock,
    printer: Printer,
    driver: Driver,
    device: DeviceIndex,
    goal: Goal,
    installer: Option<Installer>,
    /// When the last connection was made.
    connected: Option<Instant>,
    /// An update is under way, or its result.
    busy: bool,
    /// Since when there was none.
    idle_since: Instant,
    /// The cloud has this result.
    reported: Option<Outcome>,
}

impl<'a> Device<'a> {
    fn start(args: &'a Agent, config: &'a Config) -> Result<Self, Failure> {
        let dir = DataDir::open(&config.data_dir)?;
        let slot = FileSlot::open(&dir, SlotOptions::default())?;
        let journal = JournalFile::open(&dir)?;
        let goal = Goal::default();
        let running = running_version(&config.target)?;
        let (switch, install_limit): (Box<dyn Switch + Send>, _) = match &config.target {
            Target::File(file) => {
                (Box::new(FileSwitch::new(file.clone(), goal.clone())), Duration::from_secs(600))
            }
            Target::Command { limit, .. } => (Box::new(NoSwitch), *limit),
        };
        let setup = Setup {
            identity: config.identity.clone(),
            secret: config.secret.clone(),
            app_id: config.app_id.clone(),
            host: config.host.clone(),
            port: config.port,
            allow_http: config.allow_http,
            trailing_digest: config.trailing_digest,
            spacing: config.connect_spacing,
            spread: config.connect_spacing,
            install_limit,
            seed: device::seed()?,
        };
        let (driver, device) = setup.driver(running, Storage::new(slot, journal, switch))?;
        let clock = driver.clock();
        let printer = Printer::new(args.json, false, true);
        printer.line(
            &Line::new(
                clock.now(),
                "started",
                format!(
                    "* version {running} of {}/{}",
                    config.identity.product_id(),
                    config.identity.device_name()
                ),
            )
            .with("version", running.as_str())
            .with("device", config.identity.device_name()),
        );
        let busy = driver.updater(device).is_some_and(|updater| updater.owed().is_some());
        let idle_since = clock.now();
        Ok(Self {
            args,
            config,
            clock,
            printer,
            driver,
            device,
            goal,
            installer: None,
            connected: None,
            busy,
            idle_since,
            reported: None,
        })
    }

    async fn live(mut self, mut stop: stop::Signals) -> Result<End, Failure> {
        let end = loop {
            let wait = self.wait_left();
            tokio::select! {
                event = self.driver.next() => {
                    let event = event.map_err(|why| Failure::environment(why.to_string()))?;
                    let ota_tokio::Event::Client(event) = event else { continue };
                    if let Some(end) = self.take(&event).await {
                        break end;
                    }
                }
                result = ended(&mut self.installer) => self.installed(result),
                () = sleep(wait) => break Err(Failure {
                    code: Code::NoOffer,
                    message: "no offer came in time; is there a firmware for this device?".into(),
                }),
                signal = stop.next() => {
                    break if self.args.once { Err(signal) } else { Ok(End::Done) };
                }
            }
        };
        self.installer = None;
        self.leave().await;
        if matches!(end, Ok(End::Again)) {
            self.keep_distance(&mut stop).await?;
        }
        self.driver.stop().await;
        end
    }

    /// What follows an event; the end of this life if that is what follows.
    async fn take(&mut self, event: &client::Event) -> Option<Result<End, Failure>> {
        if let Some(line) = device::line(self.clock.now(), event) {
            self.printer.line(&line);
        }
        let client::Event::Device { event, .. } = event else {
            self.note_link(event);
            return None;
        };
        match event {
            Event::Started { .. } => self.busy = true,
            Event::Withdrawn => {
                self.busy = false;
                self.idle_since = self.clock.now();
            }
            Event::Install { .. } => self.install().await,
            Event::StopInstall => match &mut self.installer {
                Some(installer) => installer.stop(),
                None => self.say(Installed::Failed),
            },
            Event::Restart => return self.restart().await,
            Event::Trial => {
                let _ = self.driver.command(self.device, |updater, now| updater.confirm(now));
            }
            Event::Finished { outcome, .. } => {
                self.busy = true;
                if let Outcome::Failed(reason) = outcome {
                    warn(&format!("the update failed: {reason}"));
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
            _ => {}
        }
        None
    }

    fn note_link(&mut self, event: &client::Event) {
        match event {
            client::Event::Connected => self.connected = Some(self.clock.now()),
            client::Event::Disconnected { cause, retry_at }
                if *cause != client::Disconnect::Planned =>
            {
                let wait = retry_at.since(self.clock.now()).as_secs_f64();
                let Config { host, port, .. } = self.config;
                warn(&format!(
                    "no connection to {host}:{port}: {cause}; trying again in {wait:.1} s"
                ));
            }
            _ => {}
        }
    }

    async fn install(&mut self) {
        let updater = self.driver.updater(self.device);
        let Some(version) = updater.and_then(|updater| Some(updater.offer()?.version)) else {
            return self.say(Installed::Failed);
        };
        let Target::Command { install, .. } = &self.config.target else {
            self.goal.set(version);
            return self.say(Installed::NeedsRestart);
        };
        let image = self.driver.image(self.device).unwrap_or(Path::new("")).to_owned();
        match Installer::start(install, &image, version, &self.config.data_dir).await {
            Ok(installer) => self.installer = Some(installer),
            Err(why) => self.installed(Err(why)),
        }
    }

    fn installed(&mut self, result: Result<(), String>) {
        self.installer = None;
        match (&self.config.target, result) {
            (_, Err(why)) => {
                warn(&why);
                self.say(Installed::Failed);
            }
            (Target::Command { restart: Restart::None, .. }, Ok(())) => {
                self.say(Installed::Running)
            }
            (_, Ok(())) => self.say(Installed::NeedsRestart),
        }
    }

    fn say(&mut self, what: Installed) {
        // It may have been given up meanwhile.
        let _ = self.driver.command(self.device, |updater, now| updater.installed(now, what));
    }

    async fn restart(&mut self) -> Option<Result<End, Failure>> {
        match &self.config.target {
            Target::File(_) => Some(Ok(End::Again)),
            Target::Command { restart: Restart::Exit, .. } => Some(Err(Failure {
                code: Code::Restart,
                message: "the new version is installed: start the agent again".into(),
            })),
            Target::Command { restart: Restart::Command(words), .. } => {
                let (program, args) = words.split_first()?;
                // Asked for again when nothing comes of it.
                match tokio::process::Command::new(program).args(args).spawn() {
                    Ok(_) => None,
                    Err(why) => {
                        warn(&format!("cannot start the restart command {program}: {why}"));
                        None
                    }
                }
            }
            Target::Command { restart: Restart::None, .. } => None,
        }
    }

    /// Says good-bye to the broker, if it listens.
    async fn leave(&mut self) {
        self.driver.disconnect();
        let gone = async {
            while let Ok(event) = self.driver.next().await {
                if matches!(event, ota_tokio::Event::Client(client::Event::Disconnected { .. })) {
                    break;
                }
            }
        };
        if self.connected.is_some() {
            let _ = timeout(Duration::from_secs(1), gone).await;
        }
    }

    /// The next life connects at once, and knows nothing of this one's connection.
    async fn keep_distance(&self, stop: &mut stop::Signals) -> Result<(), Failure> {
        let Some(connected) = self.connected else { return Ok(()) };
        let since = self.clock.now().since(connected);
        let left = self.config.connect_spacing.saturating_sub(since);
        tokio::select! {
            () = sleep(left) => Ok(()),
            signal = stop.next() => if self.args.once { Err(signal) } else { Ok(()) },
        }
    }

    /// How long an offer is still waited for.
    fn wait_left(&self) -> Duration {
        let wait = self.args.wait.filter(|_| !self.busy).map(Duration::from_secs);
        let since = self.clock.now().since(self.idle_since);
        // 30 years are beyond all waiting.
        wait.map_or(Duration::from_secs(1_000_000_000), |wait| wait.saturating_sub(since))
    }
}

/// The end of the installation; pending while there is none.
async fn ended(installer: &mut Option<Installer>) -> Result<(), String> {
    match installer {
        Some(installer) => installer.ended().await,
        None => std::future::pending().await,
    }
}

fn running_version(target: &Target) -> Result<Version, Failure> {
    let file = match target {
        Target::File(file) | Target::Command { running: Running::File(file), .. } => file,
        Target::Command { running: Running::Literal(version), .. } => return Ok(*version),
    };
    file.read().map_err(|why| {
        let path = file.path().display();
        Failure::usage(format!(
            "version_file: {why}; write the running version to it: echo 0.1.0 > {path}"
        ))
    })
}

fn warn(text: &str) {
    print::err(&format!("ota: {text}"));
}
