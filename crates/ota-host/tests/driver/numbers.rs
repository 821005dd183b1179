//! Promises in numbers: how long a message waits, what is left behind, how often it wakes.

use std::collections::BTreeMap;
use std::pin::pin;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use ota_cloud::Rollout;
use ota_cloud::service::NewFirmware;
use ota_host::Work;
use ota_proto::{Event as Update, QoS};
use ota_wire::client::Event as Client;

use super::{
    FIRST, PRODUCT, Rig, cloud, device_config, image, is_update, storage_with, wire_config,
};
use crate::adapter::{Driver, Event};

#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "a test on the real clock")]
async fn a_message_leaves_within_100_ms_while_erases_take_400() {
    let image = image(256 * 1024);
    let cloud = cloud(&image, None).await;
    let temp = tempfile::tempdir().unwrap();
    let erases = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&erases);
    let mut storage = storage_with(&temp, 64 * 1024);
    storage.inject(Box::new(move |work| {
        if matches!(work, Work::Erase { .. }) {
            count.fetch_add(1, Ordering::SeqCst);
            // The slow flash of this test.
            thread::sleep(Duration::from_millis(400));
        }
        None
    }));
    let mut driver = Driver::new(wire_config(cloud.mqtt_addr())).unwrap();
    driver.add_device(device_config(), "0.1.0", storage).unwrap();
    driver.subscribe(&format!("{PRODUCT}/dev001/control"), QoS::AtLeastOnce).unwrap();
    let mut rig = Rig { driver, temp, events: Vec::new() };
    rig.until(&image, |e| is_update(e, |e| matches!(e, Update::Started { .. }))).await;
    assert_eq!(rig.count(|e| matches!(e, Event::Client(Client::Subscribed(_)))), 1);
    let topic = format!("{PRODUCT}/dev001/data");
    let mut waits = Vec::new();
    let ready = |e: &Event| is_update(e, |e| matches!(e, Update::Ready));
    while rig.count(ready) == 0 {
        let sent = Instant::now();
        let handle = rig.driver.publish(&topic, b"21.5", QoS::AtLeastOnce).unwrap();
        let published = |e: &Event| *e == Event::Client(Client::Published(handle));
        rig.until(&image, published).await;
        waits.push(sent.elapsed());
        // A pause between readings, in which the driver goes on.
        let pause = tokio::time::timeout(Duration::from_millis(2), rig.driver.next());
        if let Ok(event) = pause.await {
            rig.take(event.unwrap(), &image);
        }
    }
    waits.sort();
    let at = |share: usize| waits[(waits.len() - 1) * share / 100];
    println!(
        "{} erases of 400 ms; {} messages: p50 {:?}, p99 {:?}, longest {:?}, PUBACK included",
        erases.load(Ordering::SeqCst),
        waits.len(),
        at(50),
        at(99),
        at(100),
    );
    assert!(erases.load(Ordering::SeqCst) >= 4 && waits.len() > 100);
    assert!(at(99) < Duration::from_millis(100), "{:?}", at(99));
    rig.prove(&cloud, &image).await;
}

/// Runs an ignored test of this file as a process of its own: other tests share theirs.
fn alone(name: &str) {
    let name = format!("{}::{name}", module_path!().split_once("::").unwrap().1);
    let this = std::env::current_exe().unwrap();
    let child = Command::new(this).args(["--ignored", "--exact", "--nocapture", &name]).output();
    let child = child.unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    println!("{out}");
    assert!(child.status.success() && out.contains("1 passed"), "{out}\n{err}");
}

#[test]
fn a_hundred_updates_in_one_process_leave_nothing_behind() {
    alone("a_hundred_updates");
}

/// What this process holds.
fn held() -> BTreeMap<&'static str, usize> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let number = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count();
    [("KiB of RssAnon", number("RssAnon:")), ("threads", number("Threads:")), ("files", open)]
        .into()
}

#[tokio::test]
#[ignore = "another test runs it in a process of its own"]
async fn a_hundred_updates() {
    let image = image(200_000);
    let cloud = cloud(&image, None).await;
    let handle = cloud.handle();
    let mut rig = Rig::new(cloud.mqtt_addr());
    let file = rig.temp.path().join("firmware");
    std::fs::write(&file, &image).unwrap();
    // What is kept raises the least of the later half above the most of the earlier one. Threads
    // of a pool and pages of an allocator come and go.
    let (mut most, mut least) = (BTreeMap::new(), BTreeMap::new());
    for number in 0..100 {
        let version = format!("1.0.{number}");
        if number > 0 {
            handle.add_firmware(NewFirmware::file(PRODUCT, &version, &file)).await.unwrap();
            handle.set_rollout(PRODUCT, Some(Rollout::new(&version))).await.unwrap();
            // Refused while the result before is owed: the next report follows by itself then.
            let _ = rig.driver.command(FIRST, |updater, now| updater.report_now(now));
        }
        rig.until(&image, |e| is_update(e, |e| matches!(e, Update::Reported { .. }))).await;
        let accepted = |e: &Event| is_update(e, |e| matches!(e, Update::VersionAccepted));
        rig.until(&image, accepted).await;
        assert_eq!(rig.driver.updater(FIRST).unwrap().running().as_str(), version);
        rig.events.clear();
        for (what, now) in held() {
            match number {
                0..10 => {}
                10..55 => _ = most.entry(what).and_modify(|n| *n = now.max(*n)).or_insert(now),
                _ => _ = least.entry(what).and_modify(|n| *n = now.min(*n)).or_insert(now),
            }
        }
    }
    println!("at most in updates 10 to 54, at least in 55 to 99: {most:?}, {least:?}");
    assert!(least["KiB of RssAnon"] <= most["KiB of RssAnon"] + 64);
    assert!(least["threads"] <= most["threads"]);
    assert!(least["files"] <= most["files"]);
}

/// Counts how often it is woken, and wakes the thread that waits.
struct Alarm(AtomicUsize, Thread);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
        self.1.unpark();
    }
}

/// Drives for this time and says how often the driver was woken.
#[allow(clippy::disallowed_methods, reason = "a test on the real clock")]
fn wakes(rig: &mut Rig, time: Duration) -> usize {
    let alarm = Arc::new(Alarm(AtomicUsize::new(0), thread::current()));
    let waker = Waker::from(Arc::clone(&alarm));
    let end = Instant::now() + time;
    loop {
        let seen = alarm.0.load(Ordering::SeqCst);
        while let Poll::Ready(event) =
            pin!(rig.driver.next()).poll(&mut Context::from_waker(&waker))
        {
            rig.events.push(event.unwrap());
        }
        while alarm.0.load(Ordering::SeqCst) == seen {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return seen;
            }
            thread::park_timeout(left);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_driver_wakes_for_its_pings_and_for_nothing_else() {
    let image = image(1000);
    let cloud = cloud(&image, None).await;
    let mut config = wire_config(cloud.mqtt_addr());
    config.mqtt.timing.keep_alive = Duration::from_secs(1);
    let mut rig = Rig::with(config, device_config());
    rig.prove(&cloud, &image).await;
    // What is still on its way.
    wakes(&mut rig, Duration::from_millis(300));
    let count = wakes(&mut rig, Duration::from_secs(4));
    println!("{count} wake-ups in 4 keep-alive periods");
    // A ping is due after each period: the deadline, the answer, and it may come in two pieces.
    assert!((4..=12).contains(&count), "{count}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_that_waits_wakes_once_a_deadline() {
    let cloud = cloud(&image(1000), None).await;
    let mut device = device_config();
    device.consent = ota_proto::Hold::Ask;
    let mut rig = Rig::with(wire_config(cloud.mqtt_addr()), device);
    rig.until(&[], |e| is_update(e, |e| matches!(e, Update::Offered))).await;
    let hour = Duration::from_secs(3600);
    rig.driver.command(FIRST, |machine, now| machine.defer(now, now + hour)).unwrap();
    wakes(&mut rig, Duration::from_millis(300));
    let count = wakes(&mut rig, Duration::from_secs(2));
    println!("{count} wake-ups in 2 s of a deferral");
    assert!(count <= 1, "{count}");
}
