//! Promises in numbers: how long a message waits, what is left behind, how often it wakes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::pin;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use ota_cloud::Rollout;
use ota_host::Work;
use ota_proto::{Event as Update, QoS, State};
use ota_server::NewFirmware;
use ota_wire::client::ClientEvent as Client;

use super::{
    FIRST, PATIENCE, PRODUCT, Rig, best_of_some, cloud, device_config, image, is_update,
    storage_with, wire_config,
};
use crate::adapter::{Driver, DriverEvent};

/// How long messages of the application were on their way, in order.
#[derive(Debug)]
struct Waits {
    /// Until the broker had acknowledged them.
    out: Vec<Duration>,
    /// Until they came back from the broker, which is the way in and the way out.
    inbound: Vec<Duration>,
}

impl Waits {
    fn at(&self, share: usize) -> [Duration; 2] {
        [&self.out, &self.inbound].map(|waits| waits[(waits.len() - 1) * share / 100])
    }
}

#[tokio::test]
async fn messages_take_less_than_100_ms_both_ways_while_erases_take_400() {
    let soon = |waits: &Waits| waits.at(99).iter().all(|wait| *wait < Duration::from_millis(100));
    let waits = best_of_some(messages_during_erases, soon).await;
    assert!(soon(&waits), "{waits:?}");
}

/// What has happened in a download.
#[derive(Default)]
struct Counts {
    erases: AtomicUsize,
    out: AtomicUsize,
    inbound: AtomicUsize,
}

impl Counts {
    /// The slow flash of this test: 400 ms, and more until there are enough messages to judge by.
    #[allow(clippy::disallowed_methods, reason = "a test on the real clock")]
    fn erase(&self) {
        let count = |which: &AtomicUsize| which.load(Ordering::SeqCst);
        let goal = 30 * (1 + self.erases.fetch_add(1, Ordering::SeqCst));
        thread::sleep(Duration::from_millis(400));
        let end = Instant::now() + Duration::from_secs(5);
        while count(&self.out).min(count(&self.inbound)) < goal && Instant::now() < end {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "a test on the real clock")]
async fn messages_during_erases() -> Waits {
    let image = image(256 * 1024);
    let cloud = cloud(&image, None).await;
    let temp = tempfile::tempdir().unwrap();
    let counts = Arc::new(Counts::default());
    let flash = Arc::clone(&counts);
    let mut storage = storage_with(&temp, 64 * 1024);
    storage.inject(Box::new(move |work| {
        if matches!(work, Work::Erase { .. }) {
            flash.erase();
        }
        None
    }));
    let mut driver = Driver::new(wire_config(cloud.mqtt_addr())).unwrap();
    driver.add_device(device_config(), "0.1.0", storage).unwrap();
    let topic = format!("{PRODUCT}/dev001/data");
    driver.subscribe(&topic, QoS::AtMostOnce).unwrap();
    let mut rig = Rig { driver, temp, events: Vec::new() };
    rig.until(&image, |e| is_update(e, |e| matches!(e, Update::Started { .. }))).await;
    assert_eq!(rig.count(|e| matches!(e, DriverEvent::Client(Client::Subscribed(_)))), 1);
    let began = Instant::now();
    let (mut out, inbound) = (Vec::new(), RefCell::new(Vec::new()));
    let hear = |event: &DriverEvent| {
        if let DriverEvent::Message { payload, .. } = event {
            let sent = u64::from_be_bytes(payload[..].try_into().unwrap());
            inbound.borrow_mut().push(began.elapsed() - Duration::from_micros(sent));
            counts.inbound.fetch_add(1, Ordering::SeqCst);
        }
    };
    while rig.count(|e| is_update(e, |e| matches!(e, Update::Ready))) == 0 {
        let sent = Instant::now();
        let now = u64::try_from(began.elapsed().as_micros()).unwrap().to_be_bytes();
        let handle = rig.driver.publish(&topic, &now, QoS::AtLeastOnce).unwrap();
        let published = |e: &DriverEvent| {
            hear(e);
            *e == DriverEvent::Client(Client::Published(handle))
        };
        rig.until(&image, published).await;
        out.push(sent.elapsed());
        counts.out.fetch_add(1, Ordering::SeqCst);
        // A pause between readings, in which the driver goes on.
        let pause = tokio::time::timeout(Duration::from_millis(2), rig.driver.next());
        if let Ok(event) = pause.await {
            let event = event.unwrap();
            hear(&event);
            rig.take(event, &image);
        }
    }
    rig.prove(&cloud, &image).await;
    let mut waits = Waits { out, inbound: inbound.into_inner() };
    waits.out.sort();
    waits.inbound.sort();
    let [erases, out, inbound] = [&counts.erases, &counts.out, &counts.inbound];
    let [erases, out, inbound] = [erases, out, inbound].map(|n| n.load(Ordering::SeqCst));
    println!("{erases} erases of 400 ms; {out} messages out, PUBACK included, and {inbound} in:");
    println!("p50 {:?}, p99 {:?}, longest {:?}", waits.at(50), waits.at(99), waits.at(100));
    assert!(erases >= 4 && out > 100 && inbound > 100);
    waits
}

/// Runs an ignored test of this file as a process of its own: other tests share theirs. One of three
/// runs must do well: on a busy machine an allocator may take its next step late, once.
fn alone(name: &str) {
    let name = format!("{}::{name}", module_path!().split_once("::").unwrap().1);
    let this = std::env::current_exe().unwrap();
    let run = || {
        let words = ["--ignored", "--exact", "--nocapture", &name];
        let child = Command::new(&this).args(words).output().unwrap();
        let [out, err] = [child.stdout, child.stderr].map(|said| String::from_utf8(said).unwrap());
        println!("{out}{err}");
        child.status.success() && out.contains("1 passed")
    };
    assert!((0..3).any(|_| run()));
}

#[test]
#[ignore = "takes seconds of real time: the gate runs it in a step of its own"]
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
            let _ = rig.driver.command(FIRST, ota_proto::Command::ReportNow);
        }
        rig.until(&image, |e| is_update(e, |e| matches!(e, Update::Reported { .. }))).await;
        let accepted = |e: &DriverEvent| is_update(e, |e| matches!(e, Update::VersionAccepted));
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

/// Drives until this is so, or for this time; says how often the driver was woken.
#[allow(clippy::disallowed_methods, reason = "a test on the real clock")]
fn wakes(rig: &mut Rig, time: Duration, until: impl Fn(&Rig) -> bool) -> usize {
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
        if until(rig) {
            return seen;
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

/// Drives until nothing is on its way any more.
fn settle(rig: &mut Rig) {
    let quiet = (0..100).any(|_| wakes(rig, Duration::from_millis(300), |_| false) == 0);
    assert!(quiet, "{:#?}", rig.events);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::disallowed_methods, reason = "a test on the real clock")]
#[ignore = "takes seconds of real time: the gate runs it in a step of its own"]
async fn an_idle_driver_wakes_for_its_pings_and_for_nothing_else() {
    let image = image(1000);
    let cloud = cloud(&image, None).await;
    let mut config = wire_config(cloud.mqtt_addr());
    config.mqtt.timing.keep_alive = ota_proto::Micros::from_secs(1);
    let mut rig = Rig::with(config, device_config());
    rig.prove(&cloud, &image).await;
    settle(&mut rig);
    rig.events.clear();
    let began = Instant::now();
    let count = wakes(&mut rig, Duration::from_secs(4), |_| false);
    let periods = usize::try_from(began.elapsed().as_secs()).unwrap();
    // A machine that stands still for half a period loses the connection.
    let lost = rig.count(|e| matches!(e, DriverEvent::Client(Client::Disconnected { .. })));
    println!("{count} wake-ups in {periods} keep-alive periods; {lost} connections lost");
    // A ping is due after each period: the deadline, the answer, and it may come in two pieces.
    // A new connection takes its packets, one by one.
    assert!((3..=3 * periods + 10 * lost).contains(&count), "{count}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_that_waits_wakes_once_a_deadline() {
    let cloud = cloud(&image(1000), None).await;
    let mut device = device_config();
    device.consent = ota_proto::Hold::Ask;
    let mut rig = Rig::with(wire_config(cloud.mqtt_addr()), device);
    rig.until(&[], |e| is_update(e, |e| matches!(e, Update::Offered))).await;
    let defer = |rig: &mut Rig, time| {
        let until = rig.driver.clock().now() + time;
        rig.driver.command(FIRST, ota_proto::Command::Defer(until)).unwrap();
    };
    defer(&mut rig, Duration::from_secs(3600));
    settle(&mut rig);
    let second = Duration::from_secs(1);
    assert_eq!(wakes(&mut rig, second, |_| false), 0, "nothing is due");
    defer(&mut rig, second);
    // One that came too early would find it deferred still, and another one would follow.
    let over = |rig: &Rig| rig.driver.updater(FIRST).unwrap().state() != State::Deferred;
    let count = wakes(&mut rig, PATIENCE, over);
    assert_eq!(count, 1);
    assert!(over(&rig));
}
