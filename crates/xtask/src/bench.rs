//! Compares the agent with manual commands: `curl`, `sync` and `md5sum` of the same file from the
//! same server, alternately, on the same disk.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::metadata::Metadata;
use crate::{cargo, execute};

const DEVICE: &str = "BENCHPRD01/dev001=MDEyMzQ1Njc4OWFiY2RlZg==";
/// The interval of memory measurements.
const LOOK: Duration = Duration::from_millis(20);

/// Runs both modes of verification at this size, `rounds` times alternately, then measures the
/// agent's memory at 16 MiB and at 1 GiB. Prints ratios; the times are of this machine now.
pub(crate) fn run(mib: u64, rounds: usize) -> Result<(), String> {
    let root = Metadata::load_members()?.workspace_root;
    execute(cargo().args(["build", "--release", "--bin", "ota"]).current_dir(&root))?;
    let bench = Bench { ota: target(&root).join("release/ota"), dir: target(&root).join("bench") };
    let _ = fs::remove_dir_all(&bench.dir);
    fs::create_dir_all(&bench.dir).map_err(|error| error.to_string())?;
    let result = bench.compare(mib, rounds).and_then(|()| bench.memory(&[16, 1024]));
    let _ = fs::remove_dir_all(&bench.dir);
    result
}

fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

struct Bench {
    ota: PathBuf,
    dir: PathBuf,
}

/// Wall and CPU seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) wall: f64,
    pub(crate) cpu: f64,
}

impl Bench {
    fn compare(&self, mib: u64, rounds: usize) -> Result<(), String> {
        self.image(mib)?;
        println!("{mib} MiB, {rounds} rounds in turn; medians");
        println!("| mode | wall: agent / by hand | cpu: agent / by hand | agent | by hand |");
        println!("|---|---:|---:|---:|---:|");
        for trailing in [false, true] {
            let (mut walls, mut cpus) = (Vec::new(), Vec::new());
            let (mut agents, mut hands) = (Vec::new(), Vec::new());
            for _ in 0..rounds {
                let agent = self.agent(trailing)?.cost;
                let [curl, sync, md5] = self.by_hand()?;
                let hand = Cost {
                    // With the trailing hash, the slower of the two is the lower bound.
                    wall: if trailing {
                        curl.wall.max(md5.wall)
                    } else {
                        curl.wall + sync.wall + md5.wall
                    },
                    cpu: curl.cpu + md5.cpu,
                };
                walls.push(agent.wall / hand.wall);
                cpus.push(agent.cpu / hand.cpu);
                agents.push(agent.wall);
                hands.push(hand.wall);
            }
            let mode = if trailing {
                "hashed while written, against the slower of curl and md5sum"
            } else {
                "read back, against curl, sync and md5sum"
            };
            let [wall, cpu] = [median(walls), median(cpus)];
            let [agent, hand] = [median(agents), median(hands)];
            println!("| {mode} | {wall:.2} | {cpu:.2} | {agent:.2} s | {hand:.2} s |");
        }
        Ok(())
    }

    /// The agent's peak private memory, for images of these sizes.
    fn memory(&self, sizes: &[u64]) -> Result<(), String> {
        println!("\n| image | RssAnon of the agent at its peak |\n|---|---:|");
        for mib in sizes {
            self.image(*mib)?;
            println!("| {mib} MiB | {} KiB |", self.agent(false)?.rss_kib);
        }
        Ok(())
    }

    /// A deterministic image that does not compress.
    fn image(&self, mib: u64) -> Result<(), String> {
        let mut file = File::create(self.dir.join("image")).map_err(|error| error.to_string())?;
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut block = vec![0_u8; 1 << 20];
        for _ in 0..mib {
            for word in block.chunks_exact_mut(8) {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                word.copy_from_slice(&state.to_le_bytes());
            }
            file.write_all(&block).map_err(|error| error.to_string())?;
        }
        file.sync_all().map_err(|error| error.to_string())
    }

    fn serve(&self) -> Result<(Process, Value), String> {
        let firmware = format!("BENCHPRD01/2.0.0={}", self.dir.join("image").display());
        let mut command = Command::new(&self.ota);
        command.args(["cloud", "serve", "--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
        command.args(["--json", "--show-secrets", "--device", DEVICE, "--firmware", &firmware]);
        let mut cloud = Process::start(command)?;
        let listening = cloud.wait_for(|line| line["event"] == "listening")?;
        Ok((cloud, listening))
    }

    /// From the first requested byte to the verified image.
    fn agent(&self, trailing: bool) -> Result<Run, String> {
        let (_cloud, listening) = self.serve()?;
        let folder = self.dir.join("agent");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        let mqtt = listening["mqtt"].as_str().unwrap_or_default();
        let config = format!(
            "product_id = \"BENCHPRD01\"\ndevice_name = \"dev001\"\n\
             device_secret = \"MDEyMzQ1Njc4OWFiY2RlZg==\"\nbroker = \"mqtt://{mqtt}\"\n\
             data_dir = \"data\"\nversion_file = \"version\"\nallow_http = true\n\
             connect_spacing = 0\ntrailing_digest = {trailing}\n"
        );
        write(&folder.join("agent.toml"), &config)?;
        write(&folder.join("version"), "1.0.0\n")?;
        let mut command = Command::new(&self.ota);
        command.args(["agent", "--once", "--json", "--config"]).arg(folder.join("agent.toml"));
        let mut agent = Process::start(command)?;
        let id = agent.child.id();
        let (done, rss_kib) = (AtomicBool::new(false), AtomicU64::new(0));
        let cost = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    rss_kib.fetch_max(rss_anon(id).unwrap_or(0), Ordering::Relaxed);
                    std::thread::park_timeout(LOOK);
                }
            });
            let cost = agent.download();
            done.store(true, Ordering::Relaxed);
            cost
        })?;
        agent.child.wait().map_err(|error| error.to_string())?;
        Ok(Run { cost, rss_kib: rss_kib.into_inner() })
    }

    /// The same manually: curl, sync, md5sum without the cache.
    fn by_hand(&self) -> Result<[Cost; 3], String> {
        let (mut cloud, listening) = self.serve()?;
        let url =
            cloud.url(&self.ota, &self.dir, listening["mqtt"].as_str().unwrap_or_default())?;
        let out = self.dir.join("by-hand");
        let out = out.display();
        let curl = time(&format!("curl --silent --fail -o '{out}' '{url}'"))?;
        let sync = time(&format!("sync --data '{out}'"))?;
        time(&format!("dd if='{out}' iflag=nocache count=0 status=none"))?;
        let md5 = time(&format!("md5sum '{out}'"))?;
        fs::remove_file(self.dir.join("by-hand")).map_err(|error| error.to_string())?;
        Ok([curl, sync, md5])
    }
}

struct Run {
    cost: Cost,
    rss_kib: u64,
}

/// A program that prints JSON lines; killed when dropped.
struct Process {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(mut command: Command) -> Result<Self, String> {
        let shown = crate::show(&command);
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("`{shown}` did not start: {error}"))?;
        let out = child.stdout.take().ok_or("no output")?;
        Ok(Self { child, lines: BufReader::new(out).lines() })
    }

    fn wait_for(&mut self, wanted: impl Fn(&Value) -> bool) -> Result<Value, String> {
        for line in &mut self.lines {
            let line = line.map_err(|error| error.to_string())?;
            let line: Value =
                serde_json::from_str(&line).map_err(|error| format!("{line}: {error}"))?;
            if wanted(&line) {
                return Ok(line);
            }
        }
        Err("the program ended before it said what was awaited".to_owned())
    }

    /// The cost from the first request to the verified image.
    #[expect(clippy::disallowed_methods, reason = "a stopwatch")]
    fn download(&mut self) -> Result<Cost, String> {
        let id = self.child.id();
        self.wait_for(|line| line["state"] == "downloading")?;
        let (began, cpu) = (Instant::now(), cpu_of(id)?);
        self.wait_for(|line| line["state"] == "ready")?;
        let cost = Cost { wall: began.elapsed().as_secs_f64(), cpu: cpu_of(id)? - cpu };
        for line in &mut self.lines {
            line.map_err(|error| error.to_string())?;
        }
        Ok(cost)
    }

    /// The signed URL of the firmware, as in an offer of this cloud.
    fn url(&mut self, ota: &Path, dir: &Path, mqtt: &str) -> Result<String, String> {
        let folder = dir.join("asks");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        let config = format!(
            "product_id = \"BENCHPRD01\"\ndevice_name = \"dev001\"\n\
             device_secret = \"MDEyMzQ1Njc4OWFiY2RlZg==\"\nbroker = \"mqtt://{mqtt}\"\n\
             data_dir = \"data\"\nversion_file = \"version\"\nconnect_spacing = 0\n"
        );
        write(&folder.join("agent.toml"), &config)?;
        write(&folder.join("version"), "1.0.0\n")?;
        // Plain http is not allowed: the offer is refused, and its URL is known by then.
        let mut command = Command::new(ota);
        command.args(["agent", "--once", "--json", "--config"]).arg(folder.join("agent.toml"));
        command.stderr(Stdio::null());
        let mut agent = Process::start(command)?;
        let offer = self.wait_for(|line| line["payload"]["url"].is_string())?;
        let _ = agent.child.wait();
        agent.lines.by_ref().for_each(drop);
        Ok(offer["payload"]["url"].as_str().unwrap_or_default().to_owned())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a shell command; bash reports its cost.
pub(crate) fn time(line: &str) -> Result<Cost, String> {
    let script = format!("TIMEFORMAT='%R %U %S'; time {line} >/dev/null");
    let run = Command::new("bash").args(["-c", &script]).env("LC_ALL", "C").output();
    let run = run.map_err(|error| format!("bash: {error}"))?;
    let text = String::from_utf8_lossy(&run.stderr);
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    match numbers.as_slice() {
        [wall, user, system] if run.status.success() => {
            Ok(Cost { wall: *wall, cpu: user + system })
        }
        _ => Err(format!("`{line}`: {text}")),
    }
}

/// CPU seconds of a process with all its threads.
fn cpu_of(id: u32) -> Result<f64, String> {
    let path = format!("/proc/{id}/stat");
    let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    // The name may contain spaces; the 12th and 13th fields after it are user and system ticks.
    let (_, fields) = text.rsplit_once(')').ok_or(path)?;
    let ticks: f64 =
        fields.split_whitespace().skip(11).take(2).filter_map(|f| f.parse::<f64>().ok()).sum();
    // A hundred ticks a second, on every Linux.
    Ok(ticks / 100.0)
}

fn rss_anon(id: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let row = text.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    row.split_whitespace().next()?.parse().ok()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    let private = fs::Permissions::from_mode(0o600);
    fs::write(path, text)
        .and_then(|()| fs::set_permissions(path, private))
        .map_err(|error| format!("{}: {error}", path.display()))
}
