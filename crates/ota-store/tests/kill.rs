//! A process that commits is killed at random moments; whatever it had acknowledged is there.
//! `OTA_STORE_KILLS` says how often (5), `OTA_SEED` repeats a run.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use ota_store::seal::{MasterKey, Ring};
use ota_store::{
    Commit, DataFolder, DeviceKey, DeviceRow, EventQuery, Images, Limits, NewAudit, NewEvent,
    Sqlite, Store as _, audit,
};

/// The folder of the child; its presence makes the test a child.
const CHILD: &str = "OTA_STORE_KILL_CHILD";
const DEVICES: u64 = 40;

fn ring() -> Ring {
    Ring::new(MasterKey::new([1; 32]))
}

fn key(n: u64) -> DeviceKey {
    DeviceKey::new("TESTPROD01", format!("dev{:03}", n % DEVICES))
}

/// Commits round after round and says so on its output, until it is killed. A round writes its
/// number into a third of the devices, counts it, and tells it in the journal and in the audit.
fn child(dir: &str) {
    let folder = DataFolder::open(dir).unwrap();
    let mut store = Sqlite::open(&folder).unwrap();
    store.set_audit_key(ring().audit_key());
    let images = Images::open(folder.images(), Limits { reserve: 0, ..Limits::default() }).unwrap();
    let mut round = store.read().counts("").unwrap().get("rounds").copied().unwrap_or(0) as u64;
    let mut out = std::io::stdout().lock();
    loop {
        round += 1;
        let keys: Vec<_> =
            (0..DEVICES).filter(|n| (n + round).is_multiple_of(3)).map(key).collect();
        let loaded = store.load(&keys).unwrap();
        let mut commit = Commit::default();
        for (key, row) in keys.into_iter().zip(loaded) {
            let mut row = row.unwrap_or_else(|| DeviceRow::new(key));
            row.state = round.to_be_bytes().to_vec();
            row.wake = Some(round);
            row.versions.insert("mcu".into(), round.to_string());
            commit.devices.push(row);
        }
        let body = round.to_be_bytes().to_vec();
        commit.events.push(NewEvent {
            at: round,
            product: "TESTPROD01".into(),
            name: String::new(),
            kind: "round".into(),
            body: body.clone(),
        });
        commit.audit.push(NewAudit { at: round, body: body.clone() });
        commit.counts.insert("rounds".into(), 1);
        store.commit(&commit).unwrap();
        let image = if round.is_multiple_of(4) {
            let mut upload = images.upload(None).unwrap();
            upload.write(&body.repeat(1_000)).unwrap();
            format!(" {}", upload.finish().unwrap().name)
        } else {
            String::new()
        };
        writeln!(out, "acknowledged {round}{image}").unwrap();
    }
}

#[test]
fn what_was_acknowledged_is_there_after_each_kill() {
    if let Ok(dir) = std::env::var(CHILD) {
        child(&dir);
    }
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let kills = number("OTA_STORE_KILLS").unwrap_or(5);
    let mut seed = number("OTA_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("OTA_SEED={seed} OTA_STORE_KILLS={kills}");
    let dir = tempfile::tempdir().unwrap();
    let (mut acknowledged, mut images) = (0, Vec::new());
    for kill in 0..kills {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "what_was_acknowledged_is_there_after_each_kill", "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        // Some lines by the seed, then a moment that falls anywhere within the next commit.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let (wait, moment) = (1 + (seed >> 33) % 8, (seed >> 40) % 3_000);
        let mut seen = 0;
        for line in lines.map_while(Result::ok) {
            let Some(said) = line.strip_prefix("acknowledged ") else { continue };
            let mut words = said.split(' ');
            acknowledged = words.next().unwrap().parse().unwrap();
            images.extend(words.map(str::to_owned));
            seen += 1;
            if seen == wait {
                // Not a wait for anything: the moment of the kill is the input.
                #[allow(clippy::disallowed_methods, reason = "the kill's moment")]
                std::thread::sleep(Duration::from_micros(moment));
                process.kill().unwrap();
            }
        }
        process.wait().unwrap();
        assert!(seen >= wait, "kill {kill}: the child ended by itself");
        check(dir.path(), acknowledged, &images);
    }
}

fn check(dir: &std::path::Path, acknowledged: u64, names: &[String]) {
    let folder = DataFolder::open(dir).unwrap();
    let mut store = Sqlite::open(&folder).unwrap();
    let rounds = store.read().counts("").unwrap()["rounds"] as u64;
    assert!(rounds >= acknowledged, "{acknowledged} were acknowledged, {rounds} are there");
    // A commit is whole: rows, journal, audit and counts tell of the same rounds.
    let events = store.read().events(&EventQuery { after: 0, device: None }, 1_000).unwrap();
    assert_eq!(events.len() as u64, rounds.min(1_000));
    assert_eq!(audit::verify(store.read(), &ring()).unwrap().seq, rounds);
    for n in 0..DEVICES {
        let Some(last) = (1..=rounds).rev().find(|round| (n + round).is_multiple_of(3)) else {
            continue;
        };
        let row = store.load(&[key(n)]).unwrap().remove(0).unwrap();
        assert_eq!(row.state, last.to_be_bytes());
        assert_eq!(row.wake, Some(last));
    }
    store.check().unwrap();
    let images = Images::open(folder.images(), Limits::default()).unwrap();
    let there: Vec<_> = images.names().unwrap().iter().map(ToString::to_string).collect();
    assert!(names.iter().all(|name| there.contains(name)), "an acknowledged image is gone");
}
