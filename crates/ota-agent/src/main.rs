//! The program `ota-agent`; `ota-agent --help` says what it does.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    ota_agent::main()
}
