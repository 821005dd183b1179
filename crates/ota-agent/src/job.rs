//! What the agent has done for it beside its loop: a command of the operator's in a process group
//! of its own, or work on a thread.

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

/// What a job is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Consent,
    Verify,
    /// Before the installation: the slot is emptied.
    Empty,
    Install,
    /// After it: the slot is made lasting.
    Seal,
    Restart,
    Health,
}

impl Kind {
    /// What stands before each line that a command writes.
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

    /// Whether it may go on when the agent is gone.
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

/// Exit code of an installer that could not do its work on this machine, now: that of sysexits.h.
pub(crate) const NOT_NOW: i32 = 75;

/// Whose fault it is that an installer ended so.
///
/// What never ran said nothing about the image: a shell's 126 and 127 are those of a program that
/// is missing or cannot be started, and these signals come from a person, a shutdown, or a system
/// without memory.
pub(crate) fn fault(status: ExitStatus) -> InstallFault {
    let signals = [Signal::KILL, Signal::TERM, Signal::INT, Signal::HUP].map(Signal::as_raw);
    let from_outside = status.signal().is_some_and(|signal| signals.contains(&signal));
    match status.code() {
        Some(NOT_NOW | 126 | 127) => InstallFault::Machine,
        _ if from_outside => InstallFault::Machine,
        _ => InstallFault::Image,
    }
}

/// Why there is no exit status: in words, and whose fault it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) why: String,
    pub(crate) fault: InstallFault,
}

impl Broken {
    pub(crate) fn machine(why: impl Into<String>) -> Self {
        Self { why: why.into(), fault: InstallFault::Machine }
    }

    fn io(doing: &str, error: &io::Error) -> Self {
        let why = format!("{doing}: {error}");
        Self { why, fault: machine_fault(storage_error(error)) }
    }
}

impl From<HostError> for Broken {
    fn from(error: HostError) -> Self {
        Self { why: error.to_string(), fault: machine_fault(error.storage()) }
    }
}

impl fmt::Display for Broken {
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
    /// What stands for `{name}` in the words, and as `OTA_NAME` in the environment.
    pub(crate) fill: Vec<(&'static str, String)>,
    /// When it is stopped; `None` when somebody else says so.
    pub(crate) limit: Option<Duration>,
}

/// A running job. Dropping it kills its process group, but for a restart's.
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
    Thread { handle: JoinHandle<Result<(), Broken>>, stop: Arc<AtomicBool> },
}

impl Job {
    /// Starts the command, with no input.
    pub(crate) fn start(order: &Order<'_>) -> Result<Self, Broken> {
        Self::spawn(order, Stdio::null(), None)
    }

    /// Starts an installation.
    ///
    /// The child's standard input is an empty file that this agent has locked. When the agent is
    /// killed, the lock lives on with the child: so the next agent knows that an installer of its
    /// predecessor still runs, and stops it before its own. The room for the child's number is
    /// taken before the child starts.
    pub(crate) async fn install(order: &Order<'_>, data_dir: impl AsFd) -> Result<Self, Broken> {
        let lock = lock(data_dir).await;
        let lock = lock.map_err(|why| Broken::io("cannot lock the installation", &why))?;
        let stdin = lock.try_clone().map_err(|why| Broken::io("cannot lock it", &why))?;
        let mut job = Self::spawn(order, Stdio::from(stdin), Some(lock))?;
        if let Body::Child { child, lock: Some(lock), .. } = &job.body {
            // In the place that was taken for it: the child reads from the end.
            if let Err(why) = lock.write_all_at(&note(child.id().unwrap_or(0)), 0) {
                job.stop();
                return Err(Broken::io("cannot note the installation", &why));
            }
        }
        Ok(job)
    }

    /// Starts work on a thread, which looks at the flag now and then: when it is set it ends.
    pub(crate) fn thread(
        kind: Kind,
        work: impl FnOnce(&AtomicBool) -> Result<(), Broken> + Send + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = stop.clone();
        let handle = tokio::task::spawn_blocking(move || work(&flag));
        Self { kind, body: Body::Thread { handle, stop }, limit: None, stopped: false }
    }

    fn spawn(order: &Order<'_>, stdin: Stdio, lock: Option<File>) -> Result<Self, Broken> {
        let mut filled = order.words.iter().map(|word| filled(word, &order.fill));
        let program = filled.next().unwrap_or_default();
        let mut command = Command::new(&program);
        command.args(filled).stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        if order.kind.outlives() {
            // A pipe of ours would end with us, and the command at its next line.
            let log = io::stderr().as_fd().try_clone_to_owned();
            let log = log.map_err(|why| Broken::io("cannot pass standard error on", &why))?;
            command.stdout(log).stderr(Stdio::inherit());
        }
        // The service manager is the agent's own business.
        command.env_remove("NOTIFY_SOCKET").env_remove("WATCHDOG_USEC");
        for (name, value) in order.fill.iter().filter(|(_, value)| !value.contains('\0')) {
            command.env(format!("OTA_{}", name.to_ascii_uppercase()), value);
        }
        command.process_group(0).kill_on_drop(order.kind != Kind::Restart);
        let child = command.spawn();
        let mut child =
            child.map_err(|why| Broken::machine(format!("cannot start {program}: {why}")))?;
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

    /// Waits for its end: how a command ended, or why there is nothing to say of that. Work on a
    /// thread ends as a command that succeeds. Cancel-safe.
    pub(crate) async fn ended(&mut self) -> Result<ExitStatus, Broken> {
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
                // It ended by itself before it was stopped: what it has done is known.
                Ok(status) if status.code().is_some() && last => Ok(status),
                _ if self.stopped => Err(Broken {
                    why: format!("{name} took too long and was stopped"),
                    fault: InstallFault::Image,
                }),
                Ok(status) => Ok(status),
                Err(Broken { why, fault }) => {
                    Err(Broken { why: format!("{name} failed: {why}"), fault })
                }
            };
        }
    }

    /// Kills the process group; [`Job::ended`] says when it is gone.
    pub(crate) fn stop(&mut self) {
        self.stopped = true;
        match &self.body {
            Body::Child { group: Some(group), .. } => {
                // It may have ended by itself this moment.
                let _ = kill_process_group(*group, Signal::KILL);
            }
            Body::Child { .. } => {}
            Body::Thread { stop, .. } => stop.store(true, Ordering::Relaxed),
        }
    }
}

impl Body {
    async fn ended(&mut self) -> Result<ExitStatus, Broken> {
        match self {
            Self::Child { child, group, lock } => {
                let status = child.wait().await;
                *group = None;
                // What the command left running in the background is no installation any more.
                lock.as_ref().map(|lock| flock(lock, FlockOperation::Unlock));
                status.map_err(|why| Broken::machine(why.to_string()))
            }
            Self::Thread { handle, .. } => match handle.await {
                Ok(result) => result.map(|()| ExitStatus::default()),
                Err(why) => Err(Broken::machine(why.to_string())),
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

/// Locks the file, and takes out what it says, against the installer of an agent that was killed;
/// stops that one if need be.
async fn lock(data_dir: impl AsFd) -> io::Result<File> {
    let mut file = open_lock(data_dir)?;
    for _ in 0..100 {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                // No group of an earlier installer is left there to be taken for the next one's.
                // This is the room of the next one's note, too.
                file.write_all_at(&note(0), 0)?;
                file.set_len(NOTE as u64)?;
                // What cannot be kept is known before anything is started.
                file.sync_data()?;
                // The child reads from where we stand: its input stays empty.
                io::Seek::seek(&mut file, io::SeekFrom::End(0))?;
                return Ok(file);
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {}
            Err(why) => return Err(why.into()),
        }
        let mut text = String::new();
        io::Seek::rewind(&mut file)?;
        file.read_to_string(&mut text)?;
        // 0 and 1 would be our own group and everybody.
        let group = text.trim().parse().ok().filter(|group| *group > 1).and_then(Pid::from_raw);
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
        // The end of somebody else's child cannot be awaited.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(io::Error::new(io::ErrorKind::WouldBlock, "an earlier installation still runs"))
}

/// In the folder that was opened once: its path may lead elsewhere by now.
fn open_lock(data_dir: impl AsFd) -> io::Result<File> {
    // Others may have put a link or a pipe there.
    let flags =
        OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::from(openat(data_dir, "install.lock", flags, Mode::RUSR | Mode::WUSR)?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "install.lock is no plain file"));
    }
    Ok(file)
}

/// Takes the room for the lock's file and its note before anything is downloaded. One that is
/// there is left as it is: an installation may still run.
pub(super) fn reserve(data_dir: impl AsFd) -> io::Result<()> {
    let file = open_lock(data_dir)?;
    let have = usize::try_from(file.metadata()?.len()).unwrap_or(NOTE);
    if let Some(missing) = [b' '; NOTE].get(have..).filter(|rest| !rest.is_empty()) {
        file.write_all_at(missing, have as u64)?;
        file.sync_all()?;
    }
    Ok(())
}

/// Bytes of a note: always the same, so that no other takes more room.
const NOTE: usize = 16;

/// The process group of an installer; 0 for none.
fn note(group: u32) -> [u8; NOTE] {
    let mut note = [b' '; NOTE];
    let text = group.to_string();
    note.iter_mut().zip(text.bytes()).for_each(|(place, digit)| *place = digit);
    note
}

/// The word with its `{name}`s replaced. What they stand for is the cloud's text, and is not looked
/// at again.
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

/// Passes a pipe on to our log, a line at a time.
async fn echo(prefix: &str, pipe: impl AsyncRead + Unpin) {
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::new();
    // A line without an end must not fill our memory.
    while let Ok(1..) = (&mut pipe).take(1024).read_until(b'\n', &mut line).await {
        let text = String::from_utf8_lossy(&line);
        err(&format!("{prefix}: {}", clean(text.trim_end())));
        line.clear();
    }
}

#[cfg(test)]
#[path = "job_tests.rs"]
mod tests;
