//! Programs as children, read line by line. Nothing here sleeps: whatever is awaited has a
//! deadline, and what a child said is shown when it passes.
#![allow(dead_code, reason = "each test uses a part of it")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests on the real clock")]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longer than anything takes, also on a machine with much else to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(100);
pub(crate) const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZg==";

/// A running `ota`. Dropping it kills it.
pub(crate) struct Ota {
    child: Child,
    out: Receiver<String>,
    err: Receiver<String>,
    /// What it said so far.
    pub(crate) said: Vec<String>,
}

/// How it ended.
pub(crate) struct End {
    /// The exit code; `None` after a signal.
    pub(crate) code: Option<i32>,
    pub(crate) out: Vec<String>,
    pub(crate) err: Vec<String>,
}

impl Ota {
    pub(crate) fn start<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Self {
        Self::start_with([("OTA_TEST", "")], args)
    }

    /// With these environment variables.
    pub(crate) fn start_with<S: AsRef<OsStr>, K: AsRef<OsStr>, V: AsRef<OsStr>>(
        env: impl IntoIterator<Item = (K, V)>,
        args: impl IntoIterator<Item = S>,
    ) -> Self {
        Self::start_program(env!("CARGO_BIN_EXE_ota"), env, args)
    }

    /// Another program, which becomes an `ota`.
    pub(crate) fn start_program<S: AsRef<OsStr>, K: AsRef<OsStr>, V: AsRef<OsStr>>(
        program: &str,
        env: impl IntoIterator<Item = (K, V)>,
        args: impl IntoIterator<Item = S>,
    ) -> Self {
        let mut command = Command::new(program);
        command.args(args).envs(env).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = spawn(&mut command).unwrap();
        let out = lines(child.stdout.take().unwrap());
        let err = lines(child.stderr.take().unwrap());
        Self { child, out, err, said: Vec::new() }
    }

    /// The next line of standard output; `None` at its end, or at the deadline.
    pub(crate) fn line_before(&mut self, deadline: Instant) -> Result<String, RecvTimeoutError> {
        let left = deadline.saturating_duration_since(Instant::now());
        let line = self.out.recv_timeout(left)?;
        self.said.push(line.clone());
        Ok(line)
    }

    /// The next line.
    pub(crate) fn line(&mut self) -> String {
        let deadline = Instant::now() + PATIENCE;
        self.line_before(deadline).unwrap_or_else(|why| panic!("no line: {why}"))
    }

    /// Reads on to the first object that fits.
    pub(crate) fn wait_for(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.line_before(deadline) {
                Ok(line) => {
                    let value = json(&line);
                    if fits(&value) {
                        return value;
                    }
                }
                Err(_) => {
                    let errors: Vec<String> = self.err.try_iter().collect();
                    panic!("no {what}; it said:\n{}\n{}", self.said.join("\n"), errors.join("\n"));
                }
            }
        }
    }

    /// Reads on to the first event of this name.
    pub(crate) fn event(&mut self, name: &str) -> Value {
        self.wait_for(name, |value| value["event"] == name)
    }

    /// Reads on to the first line of standard error with these words.
    pub(crate) fn error(&self, words: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.err.recv_timeout(left).unwrap_or_else(|why| panic!("{words}: {why}"));
            if line.contains(words) {
                return line;
            }
        }
    }

    /// Its anonymous memory in KiB: what no file stands behind.
    pub(crate) fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap()
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn terminate(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    /// Ctrl-C.
    pub(crate) fn interrupt(&self) {
        self.signal(rustix::process::Signal::INT);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) -> End {
        self.child.kill().unwrap();
        // A command of its that lives on has its standard error, too.
        self.ended(|err| err.try_iter().collect())
    }

    /// Waits until it ends by itself.
    pub(crate) fn end(self) -> End {
        self.ended(|err| err.iter().collect())
    }

    fn ended(mut self, errors: impl FnOnce(&Receiver<String>) -> Vec<String>) -> End {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.line_before(deadline) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("it does not end; it said:\n{}", self.said.join("\n"))
                }
            }
        }
        let code = self.child.wait().unwrap().code();
        let err = errors(&self.err);
        End { code, out: std::mem::take(&mut self.said), err }
    }
}

impl Drop for Ota {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl End {
    /// Asserts the exit code, showing everything when it is another.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        let (out, err) = (self.out.join("\n"), self.err.join("\n"));
        assert_eq!(self.code, Some(code), "it said:\n{out}\n{err}");
        self
    }
}

pub(crate) fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}"))
}

/// A folder with a device's configuration, and whatever the tests put beside it.
pub(crate) struct Desk {
    pub(crate) folder: tempfile::TempDir,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        fs::write(self.path(name), bytes).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// Makes the slots of this name: 0.1.0 runs from `a`.
    pub(crate) fn slots(&self, name: &str) -> PathBuf {
        let slots = self.path(name);
        fs::create_dir_all(slots.join("a")).unwrap();
        fs::write(slots.join("a/image"), "old").unwrap();
        fs::write(slots.join("a/version"), "0.1.0\n").unwrap();
        std::os::unix::fs::symlink("a", slots.join("current")).unwrap();
        slots
    }

    /// A device at 0.1.0 with its configuration `NAME.toml`; `more` are further lines.
    pub(crate) fn device(&self, name: &str, broker: &str, more: &str) -> String {
        self.write(&format!("{name}.version"), "0.1.0\n");
        let config = format!(
            "product_id = \"TESTPROD01\"\ndevice_name = \"{name}\"\n\
             device_secret_file = \"secret\"\nbroker = \"mqtt://{broker}\"\n\
             data_dir = \"{name}\"\nallow_http = true\nconnect_spacing = 0\n{more}\n"
        );
        // Whole at any moment: the agents of other threads read it.
        let secret = self.write(&format!("{name}.new-secret"), SECRET);
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(secret, self.path("secret")).unwrap();
        self.write(&format!("{name}.toml"), config)
    }

    /// As [`Desk::device`], with its version in a file.
    pub(crate) fn device_with(&self, name: &str, broker: &str, more: &str) -> String {
        self.device(name, broker, &format!("version_file = \"{name}.version\"\n{more}"))
    }

    /// As [`Desk::device_with`], with nothing more.
    pub(crate) fn plain_device(&self, name: &str, broker: &str) -> String {
        self.device_with(name, broker, "")
    }

    /// Writes a file anew, with other words in the place of these, which it must have.
    pub(crate) fn replace(&self, name: &str, from: &str, to: &str) {
        let text = String::from_utf8(self.read(name)).unwrap();
        assert!(text.contains(from), "{from} is not in {text}");
        self.write(name, text.replace(from, to));
    }
}

/// A desk with this image, a cloud that offers it to these devices as 1.0.0, and where they
/// connect.
pub(crate) fn setup(devices: &[&str], image: impl AsRef<[u8]>) -> (Desk, Ota, String) {
    let desk = Desk::new();
    desk.write("image", image);
    let (cloud, broker) = cloud(devices, &desk.path("image"));
    (desk, cloud, broker)
}

/// A cloud with these devices and this firmware as 1.0.0; also where devices connect.
pub(crate) fn cloud(devices: &[&str], firmware: &Path) -> (Ota, String) {
    cloud_with(devices, firmware, &[])
}

/// The same, with more arguments.
pub(crate) fn cloud_with(devices: &[&str], firmware: &Path, more: &[&str]) -> (Ota, String) {
    let mut args: Vec<String> = "cloud serve --json --mqtt 127.0.0.1:0 --http 127.0.0.1:0"
        .split(' ')
        .map(str::to_owned)
        .collect();
    for device in devices {
        args.extend(["--device".into(), format!("TESTPROD01/{device}={SECRET}")]);
    }
    args.extend(["--firmware".into(), format!("TESTPROD01/1.0.0={}", firmware.display())]);
    args.extend(more.iter().map(|&word| word.to_owned()));
    let mut cloud = Ota::start(args);
    let listening = cloud.event("listening");
    let broker = listening["mqtt"].as_str().unwrap().to_owned();
    (cloud, broker)
}

/// Until it is another program, a process that is just being started has what this one has open, and
/// so the port that [`fixed_addr`] tries: no process is started meanwhile.
static STARTS: RwLock<()> = RwLock::new(());

/// Starts a process.
pub(crate) fn spawn(command: &mut Command) -> std::io::Result<Child> {
    let _starts = STARTS.read().unwrap_or_else(PoisonError::into_inner);
    command.spawn()
}

/// The ports of [`fixed_addr`].
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// An address for a server that is started again at the same one: the system gives its port to
/// nobody who asks for any port.
pub(crate) fn fixed_addr() -> String {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let first: u16 = range.split_whitespace().next().map_or(32_768, |port| port.parse().unwrap());
    let ports = first.saturating_sub(10_000).max(1_024)..first;
    // Each test program begins elsewhere, and gives no port to two of its tests.
    let begin = std::process::id() as usize * 97 % ports.len().max(1);
    let mut ports = ports.clone().skip(begin).chain(ports.take(begin));
    let _no_starts = STARTS.write().unwrap_or_else(PoisonError::into_inner);
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let is_free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let free = ports.find(|port| !given.contains(port) && is_free(port));
    given.extend(free);
    format!("127.0.0.1:{}", free.expect("a free port"))
}

/// A cloud at this address with one device, and this text beside its firmware; also where devices
/// connect.
pub(crate) fn cloud_at(mqtt: &str, device: &str, firmware: &str, text: &str) -> (Ota, String) {
    let device = format!("TESTPROD01/{device}={SECRET}");
    let firmware = format!("TESTPROD01/1.0.0={firmware}");
    let args = ["cloud", "serve", "--json", "--mqtt", mqtt, "--http", "127.0.0.1:0"];
    let more = ["--device", &device, "--firmware", &firmware, "--user-defined", text];
    let mut cloud = Ota::start([&args[..], &more].concat());
    let broker = cloud.event("listening")["mqtt"].as_str().unwrap().to_owned();
    (cloud, broker)
}

/// An agent that ends with an update, or when it has waited in vain.
pub(crate) const ONCE: [&str; 3] = ["--once", "--wait", "90"];

/// A running agent.
pub(crate) fn agent(config: &str, more: &[&str]) -> Ota {
    Ota::start([&["agent", "--config", config, "--json"], more].concat())
}

/// An agent, until an update has ended.
pub(crate) fn once(config: &str) -> End {
    agent(config, &ONCE).end()
}

/// The next result that the cloud is told: its code and its words.
pub(crate) fn told(cloud: &mut Ota) -> (String, String) {
    let line = cloud.wait_for("a result", |line| {
        let state = &line["payload"]["report"]["progress"]["state"];
        state == "fail" || state == "done"
    });
    let progress = &line["payload"]["report"]["progress"];
    let text = |key: &str| progress[key].as_str().unwrap_or_default().to_owned();
    (text("result_code"), text("result_msg"))
}

/// Asks the agent of this configuration.
pub(crate) fn ask(config: &str, words: &[&str]) -> End {
    Ota::start([&["agent"], words, &["--config", config]].concat()).end()
}

/// The agent's status as it is now.
pub(crate) fn status(config: &str) -> Value {
    let end = ask(config, &["status", "--json"]).expect(0);
    json(&end.out[0])["status"].clone()
}

/// Asks for the status until it fits. An agent that has only just been started listens for no
/// question yet.
pub(crate) fn wait_for_status(config: &str, fits: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let end = ask(config, &["status", "--json"]);
        if Instant::now() < deadline && end.code == Some(5) {
            continue;
        }
        let status = json(&end.expect(0).out[0])["status"].clone();
        if fits(&status) {
            return status;
        }
        assert!(Instant::now() < deadline, "the status stays {status}");
    }
}

/// Waits for the next datagram, also when a signal interrupts the wait.
pub(crate) fn datagram(socket: &std::os::unix::net::UnixDatagram) -> String {
    let mut text = [0; 64];
    loop {
        match socket.recv(&mut text) {
            Ok(length) => return String::from_utf8_lossy(&text[..length]).into_owned(),
            Err(why) => assert_eq!(why.kind(), std::io::ErrorKind::Interrupted),
        }
    }
}

/// Looks again and again until this is so.
#[track_caller]
pub(crate) fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        thread::yield_now();
    }
}

/// An image of this many bytes.
pub(crate) fn image(seed: u64, size: usize) -> Vec<u8> {
    let mut rng = ota_proto::Rng::new(seed);
    (0..size / 8).flat_map(|_| rng.next_u64().to_le_bytes()).collect()
}

fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines() {
            let Ok(line) = line else { return };
            // Read on when nobody listens: a log does not go away either.
            let _ = sender.send(line);
        }
    });
    receiver
}

const ANY: &str = "127.0.0.1:0";

/// A cloud with an API, and how it is asked.
pub(crate) struct Site {
    pub(crate) desk: Desk,
    pub(crate) cloud: Ota,
    pub(crate) mqtt: String,
    pub(crate) url: String,
    pub(crate) key: String,
}

impl Site {
    pub(crate) fn new() -> Self {
        let desk = Desk::new();
        let data = desk.path("data").to_str().unwrap().to_owned();
        Self::over(desk, &data, ANY, ANY)
    }

    pub(crate) fn over(desk: Desk, data: &str, mqtt: &str, http: &str) -> Self {
        let args = ["cloud", "serve", "--json", "--mqtt", mqtt, "--http", http, "--api", ANY];
        let mut cloud = Ota::start([&args[..], &["--data", data]].concat());
        let listening = cloud.event("listening");
        let of = |name: &str| listening[name].as_str().unwrap().to_owned();
        let (mqtt, url) = (of("mqtt"), format!("http://{}", of("api")));
        let key = format!("{data}/first-start");
        Self { desk, cloud, mqtt, url, key }
    }

    pub(crate) fn ask(&self, words: &[&str]) -> End {
        let env = [("OTA_CLOUD_URL", &self.url), ("OTA_CLOUD_KEY_FILE", &self.key)];
        Ota::start_with(env, [&["cloud"], words].concat()).end()
    }
}
