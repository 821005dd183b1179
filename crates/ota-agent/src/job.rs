//! Work beside the agent's loop: a command of the operator in its own process group, or work on a
//! thread.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ota_host::{HostError, storage_error};
use ota_proto::{InstallFault, StorageError};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, openat};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::print::{clean, err};

/// The purpose of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Consent,
    Verify,
    /// Before the installation: empties the slot.
    Empty,
    Install,
    /// After it: makes the slot durable.
    Seal,
    Restart,
    Health,
}

impl Kind {
    /// The prefix of each line that a command writes.
    fn prefix(self) -> &'static str {
        match self {
            Self::Consent => "consent",
            Self::Verify => "verify",
            Self::Empty | Self::Install | Self::Seal => "install",
            Self::Restart => "restart",
            Self::Health => "health",
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Consent => "the consent command",
            Self::Verify => "the verify command",
            Self::Empty | Self::Install | Self::Seal => "the installation",
            Self::Restart => "the restart command",
            Self::Health => "the health command",
        }
    }

    /// Whether it may continue after the agent has ended.
    fn outlives(self) -> bool {
        matches!(self, Self::Install | Self::Restart)
    }

    /// Whether it is a part of the installation.
    pub(crate) fn installs(self) -> bool {
        matches!(self, Self::Empty | Self::Install | Self::Seal)
    }

    /// Describes how the command failed.
    pub(crate) fn failed(self, status: ExitStatus) -> String {
        format!("{} failed: {status}", self.name())
    }
}

/// The exit code of sysexits.h for an installer that cannot work on this machine now.
pub(crate) const NOT_NOW: i32 = 75;

/// Maps the end of an installer to who is at fault.
///
/// An installer that never ran says nothing about the image: a shell returns 126 and 127 for a
/// program that is missing or cannot be started, and these signals come from a person, a shutdown,
/// or a system without memory.
pub(crate) fn fault(status: ExitStatus) -> InstallFault {
    let signals = [Signal::KILL, Signal::TERM, Signal::INT, Signal::HUP].map(Signal::as_raw);
    let from_outside = status.signal().is_some_and(|signal| signals.contains(&signal));
    match status.code() {
        Some(NOT_NOW | 126 | 127) => InstallFault::Machine,
        _ if from_outside => InstallFault::Machine,
        _ => InstallFault::Image,
    }
}

/// Why there is no exit status: a text, and who is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JobError {
    pub(crate) why: String,
    pub(crate) fault: InstallFault,
}

impl JobError {
    pub(crate) fn machine(why: impl Into<String>) -> Self {
        Self { why: why.into(), fault: InstallFault::Machine }
    }

    fn io(doing: &str, error: &io::Error) -> Self {
        let why = format!("{doing}: {error}");
        Self { why, fault: machine_fault(storage_error(error)) }
    }
}

impl From<HostError> for JobError {
    fn from(error: HostError) -> Self {
        Self { why: error.to_string(), fault: machine_fault(error.storage()) }
    }
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

fn machine_fault(why: StorageError) -> InstallFault {
    match why {
        StorageError::NoSpace | StorageError::NoSecondSpace => InstallFault::NoSpace,
        _ => InstallFault::Machine,
    }
}

/// A command to start.
#[derive(Debug)]
pub(crate) struct Order<'a> {
    pub(crate) kind: Kind,
    pub(crate) words: &'a [String],
    /// The values of `{name}` in the words, and of `OTA_NAME` in the environment.
    pub(crate) fill: Vec<(&'static str, String)>,
    /// When it is stopped; `None` if the caller decides.
    pub(crate) limit: Option<Duration>,
}

/// A running job. Dropping it kills its process group, except a restart's.
#[derive(Debug)]
pub(crate) struct Job {
    kind: Kind,
    body: Body,
    limit: Option<Instant>,
    stopped: bool,
}

#[derive(Debug)]
enum Body {
    Child { child: Child, group: Option<Pid>, lock: Option<File> },
    Thread { handle: JoinHandle<Result<(), JobError>>, stop: Arc<AtomicBool> },
}

impl Job {
    /// Starts the command, without input.
    pub(crate) fn start(order: &Order<'_>) -> Result<Self, JobError> {
        Self::spawn(order, Stdio::null(), None)
    }

    /// Starts an installation.
    ///
    /// The child's standard input is an empty file that this agent has locked. If the agent is
    /// killed, the child keeps the lock. The next agent then knows that an installer of its
    /// predecessor is still running, and stops it before it starts its own. The room for the
    /// child's number is reserved before the child starts.
    pub(crate) async fn install(order: &Order<'_>, data_dir: impl AsFd) -> Result<Self, JobError> {
        let lock = lock(data_dir).await;
        let lock = lock.map_err(|why| JobError::io("cannot lock the installation", &why))?;
        let stdin = lock.try_clone().map_err(|why| JobError::io("cannot lock it", &why))?;
        let mut job = Self::spawn(order, Stdio::from(stdin), Some(lock))?;
        if let Body::Child { child, lock: Some(lock), .. } = &job.body {
            // The note uses its reserved place: the child reads from the end.
            if let Err(why) = lock.write_all_at(&note(child.id().unwrap_or(0)), 0) {
                job.stop();
                return Err(JobError::io("cannot note the installation", &why));
            }
        }
        Ok(job)
    }

    /// Starts work on a thread. The thread checks the flag from time to time and ends when it is
    /// set.
    pub(crate) fn thread(
        kind: Kind,
        work: impl FnOnce(&AtomicBool) -> Result<(), JobError> + Send + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = stop.clone();
        let handle = tokio::task::spawn_blocking(move || work(&flag));
        Self { kind, body: Body::Thread { handle, stop }, limit: None, stopped: false }
    }

    fn spawn(order: &Order<'_>, stdin: Stdio, lock: Option<File>) -> Result<Self, JobError> {
        let mut filled = order.words.iter().map(|word| filled(word, &order.fill));
        let program = filled.next().unwrap_or_default();
        let mut command = Command::new(&program);
        command.args(filled).stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        if order.kind.outlives() {
            // A pipe of ours would end with the agent, and the command at its next line.
            let log = io::stderr().as_fd().try_clone_to_owned();
            let log = log.map_err(|why| JobError::io("cannot pass standard error on", &why))?;
            command.stdout(log).stderr(Stdio::inherit());
        }
        // Only the agent talks to the service manager.
        command.env_remove("NOTIFY_SOCKET").env_remove("WATCHDOG_USEC");
        for (name, value) in order.fill.iter().filter(|(_, value)| !value.contains('\0')) {
            command.env(format!("OTA_{}", name.to_ascii_uppercase()), value);
        }
        command.process_group(0).kill_on_drop(order.kind != Kind::Restart);
        let child = command.spawn();
        let mut child =
            child.map_err(|why| JobError::machine(format!("cannot start {program}: {why}")))?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let prefix = order.kind.prefix();
        child.stdout.take().map(|pipe| tokio::spawn(echo(prefix, pipe)));
        child.stderr.take().map(|pipe| tokio::spawn(echo(prefix, pipe)));
        Ok(Self {
            kind: order.kind,
            body: Body::Child { child, group, lock },
            limit: order.limit.map(|limit| Instant::now() + limit),
            stopped: false,
        })
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Waits for its end: the exit status of a command, or why there is none. Work on a thread ends
    /// like a command that succeeded. Cancel-safe.
    pub(crate) async fn ended(&mut self) -> Result<ExitStatus, JobError> {
        let name = self.kind.name();
        loop {
            let limit = self.limit.filter(|_| !self.stopped);
            let at = limit.unwrap_or_else(Instant::now);
            let result = tokio::select! {
                result = self.body.ended() => result,
                () = sleep_until(at), if limit.is_some() => {
                    self.stop();
                    continue;
                }
            };
            let last = self.kind != Kind::Empty;
            return match result {
                // It ended by itself before it was stopped, so its result is known.
                Ok(status) if status.code().is_some() && last => Ok(status),
                _ if self.stopped => Err(JobError {
                    why: format!("{name} took too long and was stopped"),
                    fault: InstallFault::Image,
                }),
                Ok(status) => Ok(status),
                Err(JobError { why, fault }) => {
                    Err(JobError { why: format!("{name} failed: {why}"), fault })
                }
            };
        }
    }

    /// Kills the process group; [`Job::ended`] reports when it is gone.
    pub(crate) fn stop(&mut self) {
        self.stopped = true;
        match &self.body {
            Body::Child { group: Some(group), .. } => {
                // It may have ended by itself just now.
                let _ = kill_process_group(*group, Signal::KILL);
            }
            Body::Child { .. } => {}
            Body::Thread { stop, .. } => stop.store(true, Ordering::Relaxed),
        }
    }
}

impl Body {
    async fn ended(&mut self) -> Result<ExitStatus, JobError> {
        match self {
            Self::Child { child, group, lock } => {
                let status = child.wait().await;
                *group = None;
                // Processes that the command left in the background are not part of the
                // installation.
                lock.as_ref().map(|lock| flock(lock, FlockOperation::Unlock));
                status.map_err(|why| JobError::machine(why.to_string()))
            }
            Self::Thread { handle, .. } => match handle.await {
                Ok(result) => result.map(|()| ExitStatus::default()),
                Err(why) => Err(JobError::machine(why.to_string())),
            },
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if self.kind != Kind::Restart {
            self.stop();
        }
    }
}

/// Locks the file against the installer of an agent that was killed, stops that installer if
/// necessary, and removes its note.
async fn lock(data_dir: impl AsFd) -> io::Result<File> {
    let mut file = open_lock(data_dir)?;
    for _ in 0..100 {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                // No group of an earlier installer can be mistaken for the next one's.
                // This also reserves the room for the next note.
                file.write_all_at(&note(0), 0)?;
                file.set_len(NOTE as u64)?;
                // A note that cannot be written is an error before anything starts.
                file.sync_data()?;
                // The child reads from the current position, so its input stays empty.
                io::Seek::seek(&mut file, io::SeekFrom::End(0))?;
                return Ok(file);
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {}
            Err(why) => return Err(why.into()),
        }
        let mut text = String::new();
        io::Seek::rewind(&mut file)?;
        file.read_to_string(&mut text)?;
        // 0 and 1 would mean our own group and all processes.
        let group = text.trim().parse().ok().filter(|group| *group > 1).and_then(Pid::from_raw);
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
        // Only children can be awaited, so this polls.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(io::Error::new(io::ErrorKind::WouldBlock, "an earlier installation still runs"))
}

/// Uses the folder that was opened once: its path may lead elsewhere now.
fn open_lock(data_dir: impl AsFd) -> io::Result<File> {
    // Another user may have put a link or a pipe there.
    let flags =
        OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::from(openat(data_dir, "install.lock", flags, Mode::RUSR | Mode::WUSR)?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "install.lock is not a plain file",
        ));
    }
    Ok(file)
}

/// Reserves room for the lock file and its note before a download. An existing file stays
/// unchanged: an installation may still be running.
pub(super) fn reserve(data_dir: impl AsFd) -> io::Result<()> {
    let file = open_lock(data_dir)?;
    let have = usize::try_from(file.metadata()?.len()).unwrap_or(NOTE);
    if let Some(missing) = [b' '; NOTE].get(have..).filter(|rest| !rest.is_empty()) {
        file.write_all_at(missing, have as u64)?;
        file.sync_all()?;
    }
    Ok(())
}

/// The fixed length of a note in bytes, so that no later one needs more room.
const NOTE: usize = 16;

/// The process group of an installer; 0 for none.
fn note(group: u32) -> [u8; NOTE] {
    let mut note = [b' '; NOTE];
    let text = group.to_string();
    note.iter_mut().zip(text.bytes()).for_each(|(place, digit)| *place = digit);
    note
}

/// Replaces `{name}` in a word. The values are the cloud's texts and are not expanded again.
fn filled(word: &str, fill: &[(&str, String)]) -> String {
    let mut text = String::new();
    let mut rest = word;
    while let Some((before, behind)) = rest.split_once('{') {
        text.push_str(before);
        let found = fill.iter().find_map(|(name, value)| {
            Some((value.as_str(), behind.strip_prefix(name)?.strip_prefix('}')?))
        });
        let (value, next) = found.unwrap_or(("{", behind));
        text.push_str(value);
        rest = next;
    }
    text + rest
}

/// Copies a pipe to the log, line by line.
async fn echo(prefix: &str, pipe: impl AsyncRead + Unpin) {
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::new();
    // A line without an end must not fill the memory.
    while let Ok(1..) = (&mut pipe).take(1024).read_until(b'\n', &mut line).await {
        let text = String::from_utf8_lossy(&line);
        err(&format!("{prefix}: {}", clean(text.trim_end())));
        line.clear();
    }
}

#[cfg(test)]
mod tests;
