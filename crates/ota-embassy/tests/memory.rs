//! All memory of the update, measured over whole updates: what the caller gives, and the heap.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod world;

use std::cell::Cell;
use std::mem::size_of;

use allocation_counter::measure;
use ota_cloud::fault::FaultPlan;
use ota_embassy::driver::Driver;
use ota_embassy::{Event, Installed, Tcp, TcpStream, Updates};
use ota_embassy_tls::EmbeddedTls;
use world::link::Weather;
use world::seal::{Authority, Dice, Tls, params};
use world::{FlatApp, Ota, World};

thread_local! {
    /// Bytes of the heap that the program has, and had at most.
    static HEAP: Cell<(i64, i64)> = const { Cell::new((0, 0)) };
}

fn metered(poll: &mut dyn FnMut()) {
    let info = measure(poll);
    let (now, most) = HEAP.get();
    let most = most.max(now + i64::try_from(info.bytes_max).unwrap());
    HEAP.set((now + info.bytes_current, most));
}

/// The most heap over an update, without the receive buffers, which the test takes from it.
fn peak(mut world: World) -> usize {
    let given = world.device.config.mqtt.limits.packet + world.device.config.http.line;
    world.device.around = metered;
    world.device.events.borrow_mut().reserve(64);
    HEAP.set((0, 0));
    assert_eq!(world.boot(600_000_000, |_, _| false), world::End::Restart);
    usize::try_from(HEAP.get().1).unwrap() - given
}

/// Two sockets of 2 KiB each way, and what `docs/microcontroller.md` names beside them.
const SOCKETS: usize = 4 * 2_048;

fn total(what: &str, world: World) -> usize {
    let config = &world.device.config;
    let buffers = config.mqtt.limits.packet + config.http.line;
    // A write unit for the slot, and one for the boot loader's state.
    let units = 2 * 8;
    let sockets = SOCKETS + size_of::<Tcp<'_>>();
    let driver = size_of::<Driver<'_, &Tcp<'_>>>();
    let heap = peak(world);
    let total = sockets + buffers + units + driver + heap;
    println!(
        "{what}: sockets {sockets}, buffers {buffers}, units {units}, driver {driver}, heap {heap}: {total}"
    );
    total
}

#[test]
fn all_of_it_is_at_most_24_kib() {
    println!("stream {}", size_of::<TcpStream<'_, '_>>());
    let world = World::new(Weather::FAIR, FaultPlan::new(0), 1);
    assert!(total("default", world) <= 24 * 1_024);
}

/// The same with [`Updates`], whose login is gone while the connection lasts.
#[test]
fn updates_take_no_more_than_a_driver_and_its_login() {
    fn act(ota: &mut Ota, event: &Event) {
        if let Event::Install(_) = event {
            ota.installed(Installed::NeedsRestart).unwrap();
        }
    }
    let driver = peak(World::new(Weather::FAIR, FaultPlan::new(0), 1));
    let mut world = World::new(Weather::FAIR, FaultPlan::new(0), 1);
    world.device.config.http.line = 1_024;
    let (secret, unix_time, told) = ("MDEyMzQ1Njc4OWFiY2RlZg==", || None, std::rc::Rc::default());
    let keep_alive = std::time::Duration::from_secs(60);
    let app = FlatApp { secret, unix_time, keep_alive, act, told };
    app.told.borrow_mut().reserve(64);
    world.device.flat = Some(app);
    // What the test itself takes from the heap.
    let leaked = SOCKETS + size_of::<Tcp<'_>>() + 16 + size_of::<fn()>();
    let heap = peak(world) - leaked;
    let [ours, its] = [size_of::<Updates<'_, &Tcp<'_>>>(), size_of::<Driver<'_, &Tcp<'_>>>()];
    println!("Updates {ours} and heap {heap}; a driver {its} and heap {driver}");
    assert!(ours + heap <= its + driver, "{ours} {heap} {its} {driver}");
}

/// Beside all that is needed without it.
#[test]
fn tls_takes_its_records_and_8_kib() {
    let authority = Authority::new("ours");
    let tls = || Some(Tls::new(&authority, params()));
    let world = |tls| World::over(Weather::FAIR, FaultPlan::new(0), 1, tls);
    // What the test itself takes for records is not the adapter's.
    let records = 2 * (16_640 + 1_024);
    let handle = size_of::<EmbeddedTls<'_, Dice, fn() -> Option<u64>>>() - size_of::<Tcp<'_>>();
    let (with, without) = (peak(world(tls())) - records, peak(world(None)));
    println!("TLS: records {records}, handle {handle}, heap {with}, without TLS {without}");
    assert!(handle + with - without <= 8 * 1_024);
}

#[test]
fn the_small_profile_is_at_most_20_kib() {
    let mut world = World::new(Weather::FAIR, FaultPlan::new(0), 1);
    let config = &mut world.device.config;
    config.mqtt.limits.packet = 2_048;
    config.mqtt.limits.kept = 512;
    config.mqtt.limits.tx = 1_536;
    config.http.line = 1_024;
    world.device.machine.limits.payload = 2_048;
    world.device.machine.limits.url = 512;
    world.device.machine.limits.user_defined = 256;
    assert!(total("small", world) <= 20 * 1_024);
}
