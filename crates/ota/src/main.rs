//! The program `ota`; see `ota --help`.
#![forbid(unsafe_code)]

mod admin;
mod args;
mod audit;
mod backup;
mod demo;
mod faults;
mod key;
mod load;
mod print;
mod remote;
mod replay;
mod serve;

use std::process::ExitCode;

use clap::Parser as _;
use ota_agent::{day, device, failure, open_files, sink, size, span, stop};

use args::{AdminCommand, AuditCommand, Cli, Cloud, Command, KeyCommand};

fn main() -> ExitCode {
    let ended = match Cli::parse().command {
        Command::Demo(args) => demo::run(&args),
        Command::Agent(args) => ota_agent::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Cloud(Cloud::Serve(args)) => serve::run(&args),
        Command::Cloud(Cloud::Backup(args)) => backup::run(&args),
        Command::Cloud(Cloud::Audit(AuditCommand::Verify(args))) => audit::verify(&args),
        Command::Cloud(Cloud::Key(KeyCommand::Add(args))) => key::add(&args),
        Command::Cloud(Cloud::Admin(AdminCommand::Link(args))) => admin::link(&args),
        Command::Cloud(Cloud::Webhook(command)) => remote::webhook(&command),
        Command::Cloud(Cloud::Rekey(remote)) => remote::rekey(&remote),
        Command::Cloud(Cloud::Product(command)) => remote::product(&command),
        Command::Cloud(Cloud::Module(command)) => remote::module(&command),
        Command::Cloud(Cloud::Device(command)) => remote::device(&command),
        Command::Cloud(Cloud::Firmware(command)) => remote::firmware(&command),
        Command::Cloud(Cloud::Import(args)) => remote::import(&args),
        Command::Cloud(Cloud::Export(args)) => remote::export(&args),
        Command::Cloud(Cloud::Update(args)) => remote::update(&args),
        Command::Cloud(Cloud::Events(args)) => remote::events(&args),
        Command::Cloud(Cloud::Task(command)) => remote::act(&command),
        Command::Cloud(Cloud::Batch(command)) => remote::batch(&command),
        Command::Cloud(Cloud::Faults(args)) => {
            faults::list(&args);
            Ok(())
        }
        Command::Cloud(Cloud::Load(args)) => load::run(&args),
    };
    let code = match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            print::err(&format!("ota: {failure}"));
            ExitCode::from(failure.code as u8)
        }
    };
    sink::flush();
    code
}
