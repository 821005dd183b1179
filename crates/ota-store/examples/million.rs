//! A million devices: the start, the memory, and pages while reports are committed.
//!
//! `cargo run --release -p ota-store --example million -- [DEVICES] [FOLDER]`
//!
//! The folder is kept when it is named, so that a second run begins with a full database.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ota_store::{
    Commit, DataFolder, DeviceKey, DeviceRow, Filter, Query, Sqlite, Store, VersionFilter,
};

const PRODUCT: &str = "TESTPROD01";
/// Half of the rate that is aimed at.
const REPORTS: u64 = 10_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let devices: u64 = words.next().map_or(Ok(1_000_000), |word| word.parse())?;
    let kept = words.next();
    let temporary = tempfile::tempdir_in(".")?;
    let path = kept.as_ref().map_or(temporary.path(), |path| path.as_ref());
    let folder = DataFolder::open(path)?;
    let mut store = Sqlite::open(&folder)?;
    if store.read().count_devices(&Filter::product(PRODUCT), 1)? == 0 {
        let began = now();
        for first in (0..devices).step_by(1_000) {
            let rows = (first..(first + 1_000).min(devices)).map(row);
            store.commit(&Commit { devices: rows.collect(), ..Commit::default() })?;
        }
        let bytes = std::fs::metadata(folder.database())?.len();
        println!("filled in {:?}; {} bytes a device", began.elapsed(), bytes / devices);
    }
    drop(store);

    let began = now();
    let mut store = Sqlite::open(&folder)?;
    store.load(&[row(devices / 2).key])?;
    println!("opened, and the first device loaded: {:?}", began.elapsed());
    println!("memory at rest: {}", memory());
    let began = now();
    store.due(1_700_000_000_000_000 + devices / 2, 500)?;
    println!("500 due devices: {:?}", began.elapsed());

    let reader = store.reader()?;
    let (done, reports) = (AtomicBool::new(false), AtomicU64::new(0));
    let pages = std::thread::scope(|scope| -> Result<Vec<Duration>, ota_store::StoreError> {
        let writer = scope.spawn(|| write(&mut store, devices, &done, &reports));
        let began = now();
        let pages = (0..4_000).map(|n| page(&*reader, n, devices)).collect();
        let rate = reports.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64();
        println!("meanwhile {rate:.0} durable reports/s");
        done.store(true, Ordering::Relaxed);
        writer.join().unwrap_or(Ok(()))?;
        pages
    })?;
    let mut pages = pages;
    pages.sort_unstable();
    let at = |part: usize| pages[(pages.len() - 1) * part / 1_000];
    println!("pages of 50: median {:?}, p99 {:?}, slowest {:?}", at(500), at(990), at(1_000));
    println!("memory: {}", memory());
    Ok(())
}

fn row(n: u64) -> DeviceRow {
    let mut row = DeviceRow::new(DeviceKey::new(PRODUCT, format!("dev{n:07}")));
    row.versions.insert("mcu".to_owned(), format!("1.0.{}", n % 20));
    row.tags.insert("room".to_owned(), (n % 1_000).to_string());
    row.task = (n.is_multiple_of(10)).then_some((n / 10 % 4) as u8);
    row.wake = (n.is_multiple_of(10)).then_some(1_700_000_000_000_000 + n);
    row.state = vec![n as u8; 300];
    row
}

/// Commits of 256 at half of the rate that is aimed at.
fn write(
    store: &mut Sqlite,
    devices: u64,
    done: &AtomicBool,
    reports: &AtomicU64,
) -> Result<(), ota_store::StoreError> {
    let (began, mut next) = (now(), 0_u64);
    while !done.load(Ordering::Relaxed) {
        let keys: Vec<_> = (next..next + 256).map(|n| row(n * 7_919 % devices).key).collect();
        let mut rows: Vec<_> = store.load(&keys)?.into_iter().flatten().collect();
        for row in &mut rows {
            row.versions.insert("mcu".to_owned(), format!("1.0.{}", next % 20));
        }
        store.commit(&Commit { devices: rows, ..Commit::default() })?;
        next += 256;
        reports.store(next, Ordering::Relaxed);
        let ahead = Duration::from_micros(next * 1_000_000 / REPORTS);
        #[allow(clippy::disallowed_methods, reason = "the rate is the input")]
        std::thread::sleep(ahead.saturating_sub(began.elapsed()));
    }
    Ok(())
}

/// A page in the middle of what a filter finds; each filter in turn.
fn page(
    reader: &dyn ota_store::Read,
    n: u64,
    devices: u64,
) -> Result<Duration, ota_store::StoreError> {
    let mut filter = Filter::product(PRODUCT);
    let version = format!("1.0.{}", n % 20);
    let version = VersionFilter::Is { module: "mcu".to_owned(), version };
    match n % 5 {
        0 => {}
        1 => filter.version = Some(version),
        2 => filter.tag = Some(("room".to_owned(), (n % 1_000).to_string())),
        3 => filter.task = Some(Some((n % 4) as u8)),
        _ => {
            filter.version = Some(version);
            filter.task = Some(None);
            filter.prefix = format!("dev{:02}", n % 100);
        }
    }
    let after = Some(format!("dev{:07}", n * 104_729 % devices));
    let began = now();
    reader.list(&Query { filter, after, limit: 50 })?;
    Ok(began.elapsed())
}

fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS"));
    line.unwrap_or("unknown here").replace("VmRSS:", "").trim().to_owned()
}

#[allow(clippy::disallowed_methods, reason = "it measures")]
fn now() -> Instant {
    Instant::now()
}
