//! The program's end, and its exit codes.

use std::fmt;

use ota_host::HostError;

use crate::print::clean;

/// The exit codes, as the help documents them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The arguments or the configuration are wrong. Also what the argument parser exits with.
    Usage = 2,
    /// No offer came in time.
    NoOffer = 3,
    /// The update failed.
    Failed = 4,
    /// The machine prevents it: a lock, a disk, an address.
    Environment = 5,
    /// The installed version starts with the next start of the agent.
    Restart = 6,
    /// The command does not fit what the agent is doing.
    Misuse = 7,
    /// No connection was made in time.
    NoConnection = 8,
    /// Ended by SIGINT before the work was done.
    Interrupted = 130,
    /// Ended by SIGTERM before the work was done.
    Terminated = 143,
}

/// The end of the program: a code, and one line with the reason and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub code: Code,
    /// The reason and the remedy.
    pub message: String,
}

impl Failure {
    /// The arguments or the configuration are wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { code: Code::Usage, message: message.into() }
    }

    /// The request was tried and failed.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { code: Code::Failed, message: message.into() }
    }

    /// The machine prevents it.
    pub fn environment(message: impl Into<String>) -> Self {
        Self { code: Code::Environment, message: message.into() }
    }
}

impl From<HostError> for Failure {
    fn from(error: HostError) -> Self {
        Self::environment(error.to_string())
    }
}

impl fmt::Display for Failure {
    /// One line without control characters, whatever an operating system or a peer put into the
    /// message.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message: Vec<String> = self.message.lines().map(clean).collect();
        let mut lines =
            message.iter().map(String::as_str).map(str::trim).filter(|line| !line.is_empty());
        f.write_str(lines.next().unwrap_or("failed"))?;
        lines.try_for_each(|line| write!(f, " {line}"))
    }
}
