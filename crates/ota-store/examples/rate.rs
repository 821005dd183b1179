//! Durable reports a second: version reports that change a row, committed in groups.
//!
//! `cargo run --release -p ota-store --example rate -- [DEVICES] [SECONDS] [FOLDER]`

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ota_store::{Commit, DataFolder, DeviceKey, DeviceRow, NewEvent, Sqlite, Store};

const PRODUCT: &str = "TESTPROD01";
/// A device as it is written: a few hundred bytes.
const STATE: usize = 300;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let devices: u64 = words.next().map_or(Ok(10_000), |word| word.parse())?;
    let seconds: u64 = words.next().map_or(Ok(5), |word| word.parse())?;
    let dir = match words.next() {
        Some(folder) => tempfile::tempdir_in(folder)?,
        None => tempfile::tempdir_in(".")?,
    };
    let mut store = Sqlite::open(&DataFolder::open(dir.path())?)?;
    let keys: Vec<_> =
        (0..devices).map(|n| DeviceKey::new(PRODUCT, format!("dev{n:07}"))).collect();
    for some in keys.chunks(1_000) {
        let rows = some.iter().map(|key| report(DeviceRow::new(key.clone()), 0));
        store.commit(&Commit { devices: rows.collect(), ..Commit::default() })?;
    }
    println!("{devices} devices, {STATE} bytes of state each, a new version and an event a report");
    let mut next = 0;
    for group in [1, 100, 256] {
        let (mut reports, mut slowest) = (0_u64, Duration::ZERO);
        let began = now();
        while began.elapsed() < Duration::from_secs(seconds) {
            let commit_began = now();
            let some: Vec<_> = (0..group)
                .map(|_| {
                    // Not the order of the rows: neighbours of a group are far apart.
                    next += 1;
                    keys[(next * 7_919 % devices) as usize].clone()
                })
                .collect();
            let rows = store.load(&some)?.into_iter().flatten();
            let devices: Vec<_> = rows.map(|row| report(row, next)).collect();
            let events = devices.iter().map(event).collect();
            let counts = BTreeMap::from([(format!("{PRODUCT}/reports"), group as i64)]);
            store.commit(&Commit { devices, events, counts, ..Commit::default() })?;
            reports += group;
            slowest = slowest.max(commit_began.elapsed());
        }
        let rate = reports as f64 / began.elapsed().as_secs_f64();
        println!("{group:4} a commit: {rate:8.0} durable reports/s, slowest commit {slowest:?}");
    }
    Ok(())
}

fn report(mut row: DeviceRow, number: u64) -> DeviceRow {
    row.versions.insert("mcu".to_owned(), format!("1.0.{}", number % 50));
    row.wake = Some(1_700_000_000_000_000 + number);
    row.state = vec![number as u8; STATE];
    row
}

fn event(row: &DeviceRow) -> NewEvent {
    let DeviceKey { product, name } = row.key.clone();
    let (at, kind) = (1_700_000_000_000_000, "version".to_owned());
    NewEvent { at, product, name, kind, body: b"1.0.0".to_vec() }
}

#[allow(clippy::disallowed_methods, reason = "it measures")]
fn now() -> Instant {
    Instant::now()
}
