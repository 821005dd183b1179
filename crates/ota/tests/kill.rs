//! A real device is killed, again and again: each update resumes and ends as if nothing had been.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test on the real clock")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::TcpStream;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use common::{Desk, Ota, PATIENCE, cloud, image};
use ota_proto::{Micros, Rng};
use serde_json::Value;

/// Kills that must hit an update, unless `OTA_KILLS` says how many.
const KILLS: usize = 24;
/// Kills for each device, at most: three cut installations are a failure by design.
const EACH: usize = 2;
/// Bytes that may be fetched again after a cut: from one checkpoint to the next, for an image of
/// 4 MiB one erase unit, and one receive buffer.
const REFETCHED: usize = 256 * 1024 + 256 * 1024;

/// A name for each device, whatever happens to it.
fn name(n: usize) -> String {
    format!("dev{n:03}")
}

/// What is killed: the agent, or the gateway whose program `OTA_KILL_GATEWAY` names.
struct Victim {
    gateway: Option<String>,
    moments: &'static [(&'static str, u64)],
    progress: &'static str,
    reported: &'static str,
    accepted: &'static str,
}

impl Victim {
    fn new() -> Self {
        let gateway = std::env::var("OTA_KILL_GATEWAY").ok();
        if gateway.is_some() {
            Self {
                gateway,
                moments: &GATEWAY,
                progress: "% of the image is stored",
                reported: "the cloud knows that the update",
                accepted: "the cloud knows which version runs",
            }
        } else {
            let (progress, reported) = ("\"progress\"", "\"reported\"");
            Self {
                gateway,
                moments: &MOMENTS,
                progress,
                reported,
                accepted: "\"version-accepted\"",
            }
        }
    }

    fn start(&self, desk: &Desk, device: &str, config: &str, broker: &str) -> Ota {
        let Some(gateway) = &self.gateway else {
            return Ota::start(["agent", "--config", config, "--json"]);
        };
        let (host, port) = broker.rsplit_once(':').unwrap();
        let folder = desk.path("");
        let env = [("DEVICE_SECRET", common::SECRET), ("CONNECT_SPACING", "0")];
        let folder = folder.to_str().unwrap();
        Ota::start_program("env", env, ["-C", folder, gateway, host, port, "TESTPROD01", device])
    }

    fn slot(&self, device: &str) -> String {
        let folder = if self.gateway.is_some() { "-data" } else { "" };
        format!("{device}{folder}/slot.img")
    }

    fn version(&self, device: &str) -> String {
        format!("{device}{}version", if self.gateway.is_some() { "-" } else { "." })
    }
}

#[test]
#[ignore = "takes seconds of real time: the gate runs it in a step of its own"]
fn a_device_killed_at_random_moments_ends_with_the_right_bytes_and_one_result() {
    let seed = match std::env::var("OTA_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => u64::from(std::process::id()),
    };
    println!("again with OTA_SEED={seed}");
    let wanted = std::env::var("OTA_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let victim = Victim::new();
    let mut rng = Rng::new(seed);
    let desk = Desk::new();
    let firmware = image(seed, 4 << 20);
    desk.write("image", &firmware);
    let names: Vec<String> = (0..2 * wanted).map(name).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (mut cloud, broker) = cloud(&names, &desk.path("image"));
    let http = common::json(&cloud.said[0])["http"].as_str().unwrap().to_owned();
    let mut hits = Vec::new();
    let mut refetched = Vec::new();
    let mut updated = 0;
    for device in names {
        if hits.len() >= wanted {
            break;
        }
        let config = desk.plain_device(device, &broker);
        let mut seen = Seen::default();
        let mut stored = None;
        for _ in 0..EACH {
            if desk.path(&victim.version(device)).exists()
                && desk.read(&victim.version(device)) == b"1.0.0\n"
            {
                break;
            }
            let running = victim.start(&desk, device, &config, &broker);
            hits.extend(kill_somewhere(running, &victim, &mut rng));
            seen.catch_up(&mut cloud, &http, device);
            refetched.extend(seen.again(stored));
            stored = common_start(&desk, &victim.slot(device), &firmware);
        }
        let mut last = victim.start(&desk, device, &config, &broker);
        seen.finish(&mut cloud, device);
        refetched.extend(seen.again(stored));
        while !last.line().contains(victim.accepted) {}
        last.terminate();
        let end = last.end();
        if victim.gateway.is_none() {
            end.expect(0);
        }
        let done = r#"{"result_code":"0","result_msg":"","state":"done"}"#;
        assert_eq!(seen.results, BTreeSet::from([done.to_owned()]), "{device}");
        assert!(desk.read(&victim.slot(device)) == firmware, "{device}: other bytes");
        assert_eq!(desk.read(&victim.version(device)), b"1.0.0\n", "{device}");
        updated += 1;
    }
    let mut moments = BTreeMap::new();
    for hit in &hits {
        *moments.entry(hit.as_str()).or_insert(0) += 1;
    }
    let most = refetched.iter().max().copied().unwrap_or(0);
    println!(
        "{} kills in {updated} updates: 0 lost, 0 with other bytes or results; {} resumed, at most \
         {most} bytes fetched again; killed after {moments:?}",
        hits.len(),
        refetched.len(),
    );
    assert!(hits.len() * 6 >= wanted * 5, "too few kills hit an update");
    assert!(most <= REFETCHED, "{most}");
}

/// How many bytes of the image stand in the slot, from its start.
fn common_start(desk: &Desk, slot: &str, image: &[u8]) -> Option<usize> {
    // One that was verified has its name already.
    let part = desk.path(&slot.replace("slot.img", "slot.part"));
    let stored = [part, desk.path(&slot.replace("slot.img", "slot.new")), desk.path(slot)];
    let stored = stored.iter().find_map(|path| std::fs::read(path).ok())?;
    let same = stored.chunks(512).zip(image.chunks(512)).take_while(|(a, b)| a == b).count();
    Some((same * 512).min(image.len()))
}

/// The moments of an update: the so-and-so-many-th line with this word.
const MOMENTS: [(&str, u64); 10] = [
    ("\"started\"", 1),
    ("\"connected\"", 1),
    ("\"version-accepted\"", 1),
    ("\"downloading\"", 1),
    ("\"ready\"", 1),
    ("\"installing\"", 1),
    ("\"restarting\"", 1),
    ("\"started\"", 2),
    ("\"connected\"", 2),
    ("\"finished\"", 1),
];

/// The same in the words of the gateway.
const GATEWAY: [(&str, u64); 7] = [
    ("connected to the broker", 1),
    ("the cloud knows which version runs", 1),
    ("the download ", 1),
    ("the image is verified", 1),
    ("installing", 1),
    ("the update to version", 1),
    ("the cloud knows which version runs", 2),
];

/// After one of the moments, or in the midst of the download, and a little time more. Says what
/// it said last; `None` when the update was over already.
fn kill_somewhere(mut agent: Ota, victim: &Victim, rng: &mut Rng) -> Option<String> {
    let places = u64::try_from(victim.moments.len()).unwrap() + 5;
    let chance = usize::try_from(rng.below(places)).unwrap();
    let (word, count) = match victim.moments.get(chance) {
        Some(moment) => *moment,
        None => (victim.progress, 1 + rng.below(15)),
    };
    let more = Duration::from(rng.up_to(Micros::from_millis(4)));
    let patience = Instant::now() + PATIENCE;
    let mut seen = 0;
    while seen < count {
        let line = agent.line_before(patience);
        let line = line.unwrap_or_else(|why| panic!("{why}; it said:\n{}", agent.said.join("\n")));
        seen += u64::from(line.contains(word));
        // An agent that starts with the new version says little more, and nothing of this.
        let new = line.contains("\"started\"") && line.contains("1.0.0");
        if line.contains(victim.reported) || (new && agent.said.len() == 1) {
            break;
        }
    }
    let moment = Instant::now() + more;
    while !matches!(agent.line_before(moment), Err(RecvTimeoutError::Timeout)) {}
    let end = agent.kill();
    assert_eq!(end.code, None, "it was killed");
    if end.out.iter().any(|line| line.contains(victim.reported)) {
        return None;
    }
    let last = end.out.last().map_or("nothing", String::as_str);
    if victim.gateway.is_some() {
        // Without the numbers in it.
        return Some(last.chars().filter(|letter| !letter.is_ascii_digit()).collect());
    }
    let last: Value = if last == "nothing" { Value::Null } else { common::json(last) };
    let word = ["state", "event"].into_iter().find_map(|key| last[key].as_str());
    Some(word.unwrap_or("nothing").to_owned())
}

/// Where nothing is: a request of the test's own, after those of the device.
const MARK: &str = "/mark";

/// What the cloud saw of a device.
#[derive(Default)]
struct Seen {
    /// The different results that it reported.
    results: BTreeSet<String>,
    claimed: bool,
    proved: bool,
    /// A version report after both was answered.
    settled: bool,
    /// The first bytes of the requests since the last look.
    requests: Vec<usize>,
}

impl Seen {
    fn take(&mut self, line: &Value, device: &str) {
        if line["event"] == "request" && line["path"] != MARK {
            self.requests.push(usize::try_from(line["from"].as_u64().unwrap()).unwrap());
        }
        if line["device"] != format!("TESTPROD01/{device}") {
            return;
        }
        self.claimed |= line["event"] == "claimed";
        self.proved |= line["event"] == "proved";
        let progress = &line["payload"]["report"]["progress"];
        if progress["state"] == "done" || progress["state"] == "fail" {
            self.results.insert(progress.to_string());
        }
        let answered = line["payload"]["type"] == "report_version_rsp";
        self.settled |= self.claimed && self.proved && answered;
    }

    /// Reads all that the cloud has seen until now.
    fn catch_up(&mut self, cloud: &mut Ota, http: &str, device: &str) {
        let mut mark = TcpStream::connect(http).unwrap();
        write!(mark, "GET {MARK} HTTP/1.1\r\nHost: {http}\r\n\r\n").unwrap();
        loop {
            let line = common::json(&cloud.line());
            if line["path"] == MARK {
                return;
            }
            self.take(&line, device);
        }
    }

    /// Reads on until all is told.
    fn finish(&mut self, cloud: &mut Ota, device: &str) {
        while !self.settled {
            let line = cloud.line();
            self.take(&common::json(&line), device);
        }
    }

    /// How much was fetched again, when so much was stored before and a download went on.
    fn again(&mut self, stored: Option<usize>) -> Option<usize> {
        let first = self.requests.first().copied();
        self.requests.clear();
        Some(stored?.saturating_sub(first?))
    }
}
