//! The socket through which a person commands a running agent: one line of JSON in each direction.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixListener as StdListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ota_proto::{Md5, Version};
use rustix::fs::{AtFlags, Mode, fchmod, unlinkat};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::print::safe_json;
use crate::span::MOST;

const NAME: &str = "control";

/// The longest request in bytes: it may contain the text of an offer, with escapes.
const LINE: u64 = 16 * 1024;

/// Concurrent connections; further ones wait in the system's queue.
const CONNECTIONS: usize = 4;

/// The time limit of an exchange.
const PATIENCE: Duration = Duration::from_secs(5);

/// The offer that a person has seen. Their decision applies only to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) version: Version,
    pub(crate) md5: Md5,
    /// The text of the offer.
    pub(crate) user_defined: Option<String>,
}

/// A person's requests. Each is a command of the core, except the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Status,
    Accept(Seen),
    Defer(Duration, Seen),
    Refuse(Seen),
    Cancel,
    /// The waiting image is the accepted one; if the request names an offer, it must be that one.
    Install(Option<Seen>),
    RollBack,
    Check,
    Forgive,
}

impl Request {
    /// The word on the command line.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Accept(_) => "accept",
            Self::Defer(..) => "defer",
            Self::Refuse(_) => "refuse",
            Self::Cancel => "cancel",
            Self::Install(_) => "install",
            Self::RollBack => "rollback",
            Self::Check => "check",
            Self::Forgive => "forgive",
        }
    }

    /// The offer that the request is about.
    pub(crate) fn seen(&self) -> Option<&Seen> {
        match self {
            Self::Accept(seen) | Self::Defer(_, seen) | Self::Refuse(seen) => Some(seen),
            Self::Install(seen) => seen.as_ref(),
            _ => None,
        }
    }

    /// The request as a line of JSON, without the line end.
    pub(crate) fn to_json(&self) -> Value {
        let mut value = json!({"command": self.word()});
        if let Self::Defer(time, _) = self {
            value["seconds"] = time.as_secs().into();
        }
        if let Some(Seen { version, md5, user_defined }) = self.seen() {
            value["version"] = version.as_str().into();
            value["md5"] = md5.to_string().into();
            value["user_defined"] = user_defined.as_deref().into();
        }
        value
    }

    fn parse(line: &[u8]) -> Result<Self, &'static str> {
        let value: Value = serde_json::from_slice(line).map_err(|_| "the request is not JSON")?;
        let word = value.get("command").and_then(Value::as_str);
        let seen = || seen(&value);
        let missing = "name the offer by its version and md5, as status shows them";
        Ok(match word.ok_or("the request has no command")? {
            "status" => Self::Status,
            "accept" => Self::Accept(seen()?.ok_or(missing)?),
            "refuse" => Self::Refuse(seen()?.ok_or(missing)?),
            "defer" => {
                let seconds = value.get("seconds").and_then(Value::as_u64);
                let seconds = seconds.filter(|seconds| (1..=MOST.as_secs()).contains(seconds));
                let seconds = seconds.ok_or("defer takes seconds, 1 to 2592000")?;
                Self::Defer(Duration::from_secs(seconds), seen()?.ok_or(missing)?)
            }
            "cancel" => Self::Cancel,
            "install" => Self::Install(seen()?),
            "rollback" => Self::RollBack,
            "check" => Self::Check,
            "forgive" => Self::Forgive,
            _ => return Err("there is no such command"),
        })
    }
}

/// Reads the offer from a request; `None` if it names none.
fn seen(value: &Value) -> Result<Option<Seen>, &'static str> {
    let text = |key| value.get(key).and_then(Value::as_str);
    let (version, md5) = match (text("version"), text("md5")) {
        (None, None) => return Ok(None),
        (Some(version), Some(md5)) => (version, md5),
        _ => return Err("name an offer by both its version and its md5"),
    };
    let version = Version::new(version).map_err(|_| "the version is invalid")?;
    let md5 = Md5::from_hex(md5).ok_or("md5 must be a digest of 32 hex digits")?;
    Ok(Some(Seen { version, md5, user_defined: text("user_defined").map(str::to_owned) }))
}

/// A request, the user who sent it, and the channel for the answer.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) request: Request,
    /// The user's number, if the system reports it.
    pub(crate) by: Option<u32>,
    pub(crate) reply: oneshot::Sender<Value>,
}

/// The listening socket. Dropping it ends all connections.
#[derive(Debug)]
pub(crate) struct Control {
    asked: mpsc::Receiver<Asked>,
    task: JoinHandle<()>,
}

impl Control {
    /// Listens in this folder, which this process has locked. Only the owner can open the socket.
    pub(crate) fn open(data_dir: impl AsFd) -> io::Result<Self> {
        let listener = UnixListener::from_std(listen(&data_dir)?)?;
        let (sender, asked) = mpsc::channel(CONNECTIONS);
        Ok(Self { asked, task: tokio::spawn(serve(listener, sender)) })
    }

    /// Returns the next request, skipping those whose sender was already told that there is no
    /// answer. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Asked {
        while let Some(asked) = self.asked.recv().await {
            if !asked.reply.is_closed() {
                return asked;
            }
        }
        // The task ends only with this object.
        std::future::pending().await
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Returns the socket's path through its folder's descriptor, because the system limits the length
/// of socket paths.
pub(crate) fn path_in(folder: &impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{NAME}", folder.as_fd().as_raw_fd()))
}

/// Uses the folder that was opened once: its path may lead elsewhere now.
fn listen(folder: &impl AsFd) -> io::Result<StdListener> {
    match unlinkat(folder, NAME, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(why) => return Err(why.into()),
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket: OwnedFd = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // Sets the rights before the socket has its name, so nobody can open it with others.
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    net::bind(&socket, &SocketAddrUnix::new(path_in(folder))?)?;
    net::listen(&socket, 16)?;
    Ok(socket.into())
}

async fn serve(listener: UnixListener, sender: mpsc::Sender<Asked>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Descriptors may have run out: wait instead of spinning.
            tokio::time::sleep(Duration::from_secs(1)).await;
            continue;
        };
        let sender = sender.clone();
        tokio::spawn(async move {
            // A peer that is too slow is disconnected.
            let _ = timeout(PATIENCE, exchange(stream, sender)).await;
            drop(place);
        });
    }
}

async fn exchange(stream: UnixStream, sender: mpsc::Sender<Asked>) -> io::Result<()> {
    let by = stream.peer_cred().ok().map(|peer| peer.uid());
    let (input, mut output) = stream.into_split();
    let mut line = Vec::new();
    BufReader::new(input.take(LINE)).read_until(b'\n', &mut line).await?;
    let whole = line.last() == Some(&b'\n');
    let request =
        if whole { Request::parse(&line) } else { Err("the request is too long or incomplete") };
    let answer = match request {
        Err(why) => refusal(why),
        Ok(request) => {
            let (reply, answer) = oneshot::channel();
            let ended = || refusal("the agent is ending");
            match sender.send(Asked { request, by, reply }).await {
                Ok(()) => answer.await.unwrap_or_else(|_| ended()),
                Err(_) => ended(),
            }
        }
    };
    output.write_all(format!("{}\n", safe_json(&answer.to_string())).as_bytes()).await
}

/// The answer to an impossible request.
pub(crate) fn refusal(why: &str) -> Value {
    json!({"ok": false, "error": why})
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::path::Path;

    use super::*;
    use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};

    fn offer(user_defined: Option<&str>) -> Seen {
        let version = Version::new("1.0.0").unwrap();
        Seen { version, md5: Md5([0xab; 16]), user_defined: user_defined.map(str::to_owned) }
    }

    #[test]
    fn a_request_is_read_as_it_was_written() {
        for request in [
            Request::Status,
            Request::Accept(offer(None)),
            Request::Accept(offer(Some("text \u{202e}\n"))),
            Request::Defer(Duration::from_secs(7_200), offer(None)),
            Request::Refuse(offer(Some(""))),
            Request::Cancel,
            Request::Install(None),
            Request::Install(Some(offer(None))),
            Request::RollBack,
            Request::Check,
            Request::Forgive,
        ] {
            let line = request.to_json().to_string();
            assert_eq!(Request::parse(line.as_bytes()), Ok(request), "{line}");
        }
    }

    #[test]
    fn a_decision_names_the_offer_that_it_is_about() {
        for (line, words) in [
            (r#"{"command":"accept"}"#, "name the offer"),
            (r#"{"command":"refuse"}"#, "name the offer"),
            (r#"{"command":"defer","seconds":60}"#, "name the offer"),
            (r#"{"command":"accept","version":"1.0.0"}"#, "both"),
            (r#"{"command":"install","version":"1.0.0"}"#, "both"),
            (r#"{"command":"accept","version":"1.0.0","md5":"ab"}"#, "32 hex digits"),
            (
                r#"{"command":"accept","version":"a b","md5":"abababababababababababababababab"}"#,
                "the version is invalid",
            ),
        ] {
            let why = Request::parse(line.as_bytes()).unwrap_err();
            assert!(why.contains(words), "{line}: {why}");
        }
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for line in [
            "",
            "{",
            "[]",
            "null",
            "{}",
            r#"{"command":5}"#,
            r#"{"command":"reboot"}"#,
            r#"{"command":"defer"}"#,
            r#"{"command":"defer","seconds":0}"#,
            r#"{"command":"defer","seconds":2592001}"#,
            r#"{"command":"defer","seconds":-1}"#,
        ] {
            assert!(Request::parse(line.as_bytes()).is_err(), "{line}");
        }
        assert!(Request::parse("[".repeat(500).as_bytes()).is_err());
    }

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_is_not_done() {
        let (sender, asked) = mpsc::channel(2);
        let mut control = Control { asked, task: tokio::spawn(async {}) };
        let (late, gone) = oneshot::channel();
        let (reply, _waits) = oneshot::channel();
        drop(gone);
        let asked = |request, reply| Asked { request, by: None, reply };
        sender.send(asked(Request::Cancel, late)).await.unwrap();
        sender.send(asked(Request::Status, reply)).await.unwrap();
        assert_eq!(control.next().await.request, Request::Status);
    }

    async fn ask(folder: &Path, bytes: &[u8]) -> String {
        let folder = File::open(folder).unwrap();
        let mut stream = UnixStream::connect(path_in(&folder)).await.unwrap();
        // It may have been answered and closed before all is written.
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text).await;
        text
    }

    #[tokio::test]
    async fn the_socket_is_private_and_hostile_input_is_bounded() {
        let temp = tempfile::tempdir().unwrap();
        // Longer than the path of any socket may be.
        let folder = temp.path().join("x".repeat(120));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join(NAME), "left by an agent that was killed").unwrap();
        let mut control = Control::open(File::open(&folder).unwrap()).unwrap();
        let found = std::fs::metadata(folder.join(NAME)).unwrap();
        assert!(found.file_type().is_socket());
        assert_eq!(found.permissions().mode() & 0o777, 0o600);
        let long = vec![b'x'; 1 << 20];
        let answers = async {
            for bytes in [&b"{}\n"[..], b"\xff\n", b"{\"command\":\"status\"}", &long, b""] {
                let text = ask(&folder, bytes).await;
                assert!(text.is_empty() || text.contains(r#""ok":false"#), "{text}");
            }
            ask(&folder, b"{\"command\":\"cancel\"}\n").await
        };
        let serve = async {
            let Asked { request, by, reply } = control.next().await;
            assert_eq!(request, Request::Cancel);
            assert_eq!(by, Some(rustix::process::geteuid().as_raw()));
            reply.send(json!({"ok": true})).unwrap();
        };
        let (answer, ()) = tokio::join!(answers, serve);
        assert_eq!(answer, "{\"ok\":true}\n");
    }

    #[tokio::test]
    async fn what_takes_the_folders_place_loses_no_file_and_gets_no_socket() {
        let temp = tempfile::tempdir().unwrap();
        let (data, victim) = (temp.path().join("data"), temp.path().join("victim"));
        std::fs::create_dir(&victim).unwrap();
        std::fs::write(victim.join(NAME), "precious").unwrap();
        let dir = ota_host::DataDir::open(&data).unwrap();
        std::fs::rename(&data, temp.path().join("moved")).unwrap();
        std::os::unix::fs::symlink(&victim, &data).unwrap();
        let _control = Control::open(&dir).unwrap();
        assert_eq!(std::fs::read(victim.join(NAME)).unwrap(), b"precious");
        let made = std::fs::metadata(temp.path().join("moved").join(NAME)).unwrap();
        assert!(made.file_type().is_socket());
    }
}
