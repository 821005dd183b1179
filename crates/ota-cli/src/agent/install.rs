//! The operator's install command, as a child in a process group of its own.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use ota_proto::Version;
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::print::{clean, err};

/// A running installation. Dropping it kills its process group.
///
/// The child's standard input is an empty file that this agent has locked. When the agent is
/// killed, the lock lives on with the child: so the next agent knows that an installer of its
/// predecessor still runs, and stops it before its own.
#[derive(Debug)]
pub(crate) struct Installer {
    child: Child,
    group: Option<Pid>,
    lock: File,
    stopped: bool,
}

impl Installer {
    /// Starts the command; `{image}` and `{version}` in its words stand for the two.
    pub(crate) async fn start(
        words: &[String],
        image: &Path,
        version: Version,
        data_dir: &Path,
    ) -> Result<Self, String> {
        let lock = lock(&data_dir.join("install.lock")).await;
        let mut lock = lock.map_err(|why| format!("cannot lock the installation: {why}"))?;
        let image = std::path::absolute(image).map_err(|why| why.to_string())?;
        let image = image.to_str().ok_or("the path of data_dir is not UTF-8")?;
        let fill =
            |word: &String| word.replace("{image}", image).replace("{version}", version.as_str());
        let mut filled = words.iter().map(fill);
        let program = filled.next().unwrap_or_default();
        let stdin = lock.try_clone().map_err(|why| why.to_string())?;
        let mut child = Command::new(&program)
            .args(filled)
            .stdin(Stdio::from(stdin))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|why| format!("cannot start {program}: {why}"))?;
        let id = child.id().unwrap_or(0);
        let group = i32::try_from(id).ok().and_then(Pid::from_raw);
        // Moves the end that the child reads from, too: its input stays empty.
        let noted = lock.set_len(0).and_then(|()| lock.write_all(id.to_string().as_bytes()));
        child.stdout.take().map(|pipe| tokio::spawn(echo(pipe)));
        child.stderr.take().map(|pipe| tokio::spawn(echo(pipe)));
        let mut started = Self { child, group, lock, stopped: false };
        if let Err(why) = noted {
            started.stop();
            return Err(format!("cannot note the installation: {why}"));
        }
        Ok(started)
    }

    /// Waits for its end. Cancel-safe.
    pub(crate) async fn ended(&mut self) -> Result<(), String> {
        let status = self.child.wait().await;
        self.group = None;
        // What the command left running in the background is no installation any more.
        let _ = flock(&self.lock, FlockOperation::Unlock);
        match status {
            _ if self.stopped => Err("the installation took too long and was stopped".into()),
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("the installation failed: {status}")),
            Err(why) => Err(format!("the installation failed: {why}")),
        }
    }

    /// Kills the process group; [`Installer::ended`] says when it is gone.
    pub(crate) fn stop(&mut self) {
        self.stopped = true;
        if let Some(group) = self.group {
            // It may have ended by itself this moment.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Installer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Locks the file against the installer of an agent that was killed; stops that one if need be.
async fn lock(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(path)?;
    for _ in 0..100 {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) => {}
            Err(why) => return Err(why.into()),
        }
        let mut text = String::new();
        io::Seek::rewind(&mut file)?;
        file.read_to_string(&mut text)?;
        // 0 and 1 would be our own group and everybody.
        let group = text.parse().ok().filter(|group| *group > 1).and_then(Pid::from_raw);
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
        // The end of somebody else's child cannot be awaited.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(io::Error::new(io::ErrorKind::WouldBlock, "an earlier installation still runs"))
}

/// Passes a pipe on to our log, a line at a time.
async fn echo(pipe: impl AsyncRead + Unpin) {
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::new();
    // A line without an end must not fill our memory.
    while let Ok(1..) = (&mut pipe).take(1024).read_until(b'\n', &mut line).await {
        let text = String::from_utf8_lossy(&line);
        err(&format!("install: {}", clean(text.trim_end())));
        line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn run(folder: &Path, script: &str) -> Installer {
        let words = ["sh", "-c", script, "sh", "{image}", "{version}"].map(str::to_owned);
        let version = Version::new("1.0.0").unwrap();
        Installer::start(&words, &folder.join("slot.img"), version, folder).await.unwrap()
    }

    #[tokio::test]
    async fn the_command_gets_image_and_version_and_no_input() {
        let folder = tempfile::tempdir().unwrap();
        let script = format!("cat; echo \"$1 $2\" > {}/said", folder.path().display());
        assert_eq!(run(folder.path(), &script).await.ended().await, Ok(()));
        let said = std::fs::read_to_string(folder.path().join("said")).unwrap();
        assert_eq!(said, format!("{}/slot.img 1.0.0\n", folder.path().display()));
    }

    #[tokio::test]
    async fn failures_are_told_in_words() {
        let folder = tempfile::tempdir().unwrap();
        let error = run(folder.path(), "exit 3").await.ended().await.unwrap_err();
        assert!(error.contains("exit status: 3"), "{error}");
        let words = ["/nowhere/installer".to_owned()];
        let version = Version::new("1.0.0").unwrap();
        let error =
            Installer::start(&words, Path::new("i"), version, folder.path()).await.unwrap_err();
        assert!(error.starts_with("cannot start /nowhere/installer"), "{error}");
    }

    #[tokio::test]
    async fn stopping_ends_the_whole_group() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let held = format!(
            "exec 9>{}; trap '' TERM; (echo one >&9; sleep 60) & sleep 60; sleep 60",
            pipe.display()
        );
        let mut installer = run(folder.path(), &held).await;
        // The pipe has an end only when nobody of the group holds it any more.
        let mut reader = BufReader::new(tokio::fs::File::open(&pipe).await.unwrap());
        let mut text = String::new();
        reader.read_line(&mut text).await.unwrap();
        installer.stop();
        assert!(installer.ended().await.unwrap_err().contains("stopped"));
        reader.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "one\n");
    }

    #[tokio::test]
    async fn an_installer_that_outlived_its_agent_is_stopped_first() {
        let folder = tempfile::tempdir().unwrap();
        let mut left = run(folder.path(), "sleep 60").await;
        let second = run(folder.path(), "exit 0");
        let (first, second) = tokio::join!(left.ended(), async { second.await.ended().await });
        assert!(first.unwrap_err().contains("signal: 9"));
        assert_eq!(second, Ok(()));
    }
}
