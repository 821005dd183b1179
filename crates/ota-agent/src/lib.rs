//! The device as a daemon, and its control commands: the library behind the programs `ota-agent`
//! and `ota agent`, which behave the same.
//!
//! [`main`] is the whole of `ota-agent`. A program with the agent as a subcommand adds
//! [`args::Agent`] to its arguments and calls [`run`]. The program `ota` uses the other modules for
//! a common output; their interface changes with each version.
#![forbid(unsafe_code)]

pub mod args;
pub mod day;
pub mod device;
pub mod failure;
pub mod open_files;
pub mod print;
pub mod sink;
pub mod size;
pub mod span;
pub mod stop;

mod ask;
mod awaited;
mod check;
mod config;
mod consent;
mod control;
mod deferral;
mod install;
mod installer;
mod job;
mod life;
mod name;
mod notify;
mod question;
mod recorder;
mod status;
mod switch;
mod waiting;
mod window;

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use ota_host::AbSlots;

use args::{Agent, AgentCommand};
use ask::UserCommand;
use config::{Config, Target};
use control::Request;
use failure::Failure;
use life::{Device, End};
pub use print::warn;
use print::{err, out};

/// The program `ota-agent`, with the arguments of `ota agent`.
pub fn main() -> ExitCode {
    name::alone();
    let code = match run(&args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            err(&format!("{}: {failure}", name::program()));
            ExitCode::from(failure.code as u8)
        }
    };
    sink::flush();
    code
}

/// Runs the agent, or sends a command to a running one.
pub fn run(args: &Agent) -> Result<(), Failure> {
    match &args.command {
        None => live(args),
        Some(AgentCommand::Start) => start(&args.config),
        Some(AgentCommand::CheckConfig) => check::run(&args.config, args.json),
        Some(command) => ask::run(&args.config, user_command(command), args.json),
    }
}

/// Runs until a signal, or with `--once` until an update has ended.
fn live(args: &Agent) -> Result<(), Failure> {
    // A slow reader of the output must not delay the agent.
    sink::detach(args.json);
    let config = Config::read(&args.config)?;
    if let Some(path) = &config.exposed {
        let path = path.display();
        warn(&format!("warning: everybody can read the secret in {path}: run chmod 600 {path}"));
    }
    open_files::try_some(DESCRIPTORS)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Slot, journal, installation and recording may run at the same time.
        .max_blocking_threads(4)
        .build()
        .map_err(|error| Failure::environment(format!("cannot start: {error}")))?;
    let end = runtime.block_on(async {
        // Before everything else, so that no signal is missed.
        let stop = stop::Signals::new()?;
        Device::start(args, &config)?.live(stop).await
    });
    // No thread of this run may continue in the next one. The driver has waited for its storage, but
    // only for a limited time, because a disk may hang.
    runtime.shutdown_timeout(Duration::from_millis(100));
    match end? {
        End::Done => Ok(()),
        End::Again => Err(again()),
    }
}

/// The most files and sockets that an agent has open at once.
const DESCRIPTORS: usize = 24;

/// Replaces this process with the same program and arguments. Returns only on failure.
fn again() -> Failure {
    let mut args = std::env::args_os();
    let mut command = Command::new("/proc/self/exe");
    if let Some(name) = args.next() {
        command.arg0(name);
    }
    let why = command.args(args).exec();
    Failure::environment(format!("cannot start again in place: {why}; start the agent yourself"))
}

/// Acts as the boot loader before a service starts the image in `current`.
fn start(config: &Path) -> Result<(), Failure> {
    let Target::Slots(slots) = Config::read_target(config)? else {
        return Err(Failure::usage("slots: missing; only slots are started by a service"));
    };
    let slots = AbSlots::open(&slots.path, slots.starts)?;
    slots.start(&ota_host::boot_id())?;
    let running = slots.running()?;
    out(&format!("slot {}, version {}", running.side.name(), slots.version()?));
    Ok(())
}

fn user_command(command: &AgentCommand) -> UserCommand {
    UserCommand::Plain(match command {
        AgentCommand::Accept { version } => return UserCommand::Accept(version.clone()),
        AgentCommand::Defer { time, version } => return UserCommand::Defer(*time, version.clone()),
        AgentCommand::Refuse { version } => return UserCommand::Refuse(version.clone()),
        AgentCommand::Install { version } => return UserCommand::Install(version.clone()),
        AgentCommand::Status | AgentCommand::Start | AgentCommand::CheckConfig => Request::Status,
        AgentCommand::Cancel => Request::Cancel,
        AgentCommand::Rollback => Request::RollBack,
        AgentCommand::Check => Request::Check,
        AgentCommand::Forgive => Request::Forgive,
    })
}
