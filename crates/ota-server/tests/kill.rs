//! The whole service is killed at named points and at random moments while devices are updated:
//! what was acknowledged is in a row, no device has two successes of a task, and in the end no task
//! is open. `OTA_CLOUD_KILLS` says how often (4), `OTA_SEED` repeats a run's moments.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bytes::BytesMut;
use mqttbytes::QoS;
use mqttbytes::v4::{Connect, Packet, Publish, Subscribe};
use ota_cloud::{Device, EventKind, Rollout, TaskId};
use ota_proto::Identity;
use ota_proto::credentials::{APP_ID, Algorithm, Login, Secret};
use ota_proto::message::CloudMessage;
use ota_server::{NewFirmware, Point, Service, ServiceConfig};
use ota_store::{DataFolder, DeviceKey, EventQuery, Read, Sqlite, Store as _};

/// The folder of the child; its presence makes the test a child.
const CHILD: &str = "OTA_CLOUD_KILL_CHILD";
/// The version that the child's devices shall have.
const TARGET: &str = "OTA_CLOUD_KILL_TARGET";
/// The point at which the child ends itself, and how often it passes it before.
const POINT: &str = "OTA_CLOUD_KILL_POINT";
const AFTER: &str = "OTA_CLOUD_KILL_AFTER";

const PRODUCT: &str = "TESTPROD01";
const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZg==";
const DEVICES: usize = 6;
/// No test waits this long: it is the end of one that would hang.
const PATIENCE: Duration = Duration::from_secs(100);
const EXPIRY: u64 = 4_102_444_800;

fn identity(n: usize) -> Identity {
    Identity::new(PRODUCT, &format!("dev{n:03}")).unwrap()
}

fn secret() -> Secret {
    Secret::from_base64(SECRET).unwrap()
}

fn number(name: &str) -> u32 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

static LEFT: AtomicU32 = AtomicU32::new(u32::MAX);

/// Ends the process like a power cut: nothing is said, nothing is written.
fn die(point: Point) {
    if std::env::var(POINT).is_ok_and(|name| name == format!("{point:?}"))
        && LEFT.fetch_sub(1, Ordering::Relaxed) == 0
    {
        std::process::abort();
    }
}

/// What devices shall have in a life: another one than in the life before. A product has at most
/// 100 firmware, and there may be more lives.
fn version(life: u32) -> String {
    format!("1.0.{}", life % 50)
}

/// Serves from the folder until it is killed.
fn child(dir: &str) {
    LEFT.store(number(AFTER), Ordering::Relaxed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let config =
            ServiceConfig { data: Some(dir.into()), points: Some(die), ..ServiceConfig::default() };
        let prepared = Service::prepare(config).await.unwrap();
        let handle = prepared.handle();
        for n in 0..DEVICES {
            handle.add_device(&identity(n), &secret()).await.unwrap();
        }
        let version = version(number(TARGET));
        let image = NewFirmware::memory(PRODUCT, &version, version.clone().into_bytes());
        handle.add_firmware(image).await.unwrap();
        handle.set_rollout(PRODUCT, Some(Rollout::new(&version))).await.unwrap();
        let running = prepared.open();
        println!("mqtt {}", running.mqtt_addr());
        std::future::pending::<()>().await;
    });
}

/// What a device knows, over all lives of the cloud.
#[derive(Clone, Debug, Default)]
struct Known {
    version: String,
    /// Reports of a version that were acknowledged, and results.
    versions: u64,
    results: u64,
}

struct Client {
    stream: TcpStream,
    rx: BytesMut,
    sent: u16,
}

impl Client {
    /// `None`: the cloud is gone.
    fn open(addr: SocketAddr, device: &Identity) -> Option<Self> {
        let stream = TcpStream::connect(addr).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Self { stream, rx: BytesMut::new(), sent: 0 };
        let login = Login::new(device, &secret(), Algorithm::HmacSha256, APP_ID, "AbC12", EXPIRY);
        let login = login.unwrap();
        let mut connect = Connect::new(login.client_id);
        connect.keep_alive = 20;
        connect.set_login(login.username, login.password);
        let mut packet = BytesMut::new();
        connect.write(&mut packet).unwrap();
        let mut subscribe = Subscribe::new(device.update_topic(), QoS::AtLeastOnce);
        subscribe.pkid = 60_000;
        client.send(&packet)?;
        let Packet::ConnAck(ack) = client.next()? else { panic!("no CONNACK") };
        assert_eq!(ack.code as u8, 0, "a registered device was refused");
        let mut packet = BytesMut::new();
        subscribe.write(&mut packet).unwrap();
        client.send(&packet)?;
        let Packet::SubAck(_) = client.next()? else { panic!("no SUBACK") };
        Some(client)
    }

    fn send(&mut self, bytes: &[u8]) -> Option<()> {
        self.stream.write_all(bytes).ok()
    }

    fn next(&mut self) -> Option<Packet> {
        loop {
            match mqttbytes::v4::read(&mut self.rx, 1 << 20) {
                Ok(packet) => return Some(packet),
                Err(mqttbytes::Error::InsufficientBytes(_)) => {}
                Err(error) => panic!("{error:?}"),
            }
            let mut buf = [0; 4_096];
            match self.stream.read(&mut buf) {
                Ok(n @ 1..) => self.rx.extend_from_slice(&buf[..n]),
                Err(why) if why.kind() == std::io::ErrorKind::WouldBlock => panic!("it hangs"),
                _ => return None,
            }
        }
    }

    /// Reports at QoS 1 and waits for the acknowledgement; offers that come meanwhile are kept.
    fn report(&mut self, device: &Identity, text: &str, offers: &mut Vec<String>) -> Option<()> {
        self.sent += 1;
        let mut publish = Publish::new(device.report_topic(), QoS::AtLeastOnce, text);
        publish.pkid = self.sent;
        let mut packet = BytesMut::new();
        publish.write(&mut packet).unwrap();
        self.send(&packet)?;
        loop {
            match self.next()? {
                Packet::PubAck(ack) if ack.pkid == self.sent => return Some(()),
                Packet::Publish(publish) => offers.extend(offered(&publish)),
                other => panic!("{other:?}"),
            }
        }
    }
}

fn offered(publish: &Publish) -> Option<String> {
    match CloudMessage::decode(&publish.payload) {
        Ok(CloudMessage::Offer(offer)) => Some(offer.version.into_owned()),
        _ => None,
    }
}

fn version_of(version: &str) -> String {
    format!(r#"{{"type":"report_version","report":{{"version":"{version}"}}}}"#)
}

fn done_of(version: &str) -> String {
    format!(
        r#"{{"type":"report_progress","report":{{"progress":{{"state":"done","result_code":"0","result_msg":""}},"version":"{version}"}}}}"#
    )
}

/// A device's life with one life of the cloud: it takes every offer, and ends when the cloud does,
/// or when it has what it shall have.
fn live(addr: SocketAddr, n: usize, wanted: Option<&str>, known: &Mutex<Known>) -> Option<()> {
    let device = identity(n);
    let mut client = Client::open(addr, &device)?;
    // The life before may have ended between a claim and its proof, which is then this life's first
    // report.
    let (mut offers, mut updated) = (Vec::new(), true);
    loop {
        let runs = known.lock().unwrap().version.clone();
        client.report(&device, &version_of(&runs), &mut offers)?;
        known.lock().unwrap().versions += 1;
        if wanted == Some(&runs) {
            return Some(());
        }
        if std::mem::take(&mut updated) {
            // A report that proves a task draws no other one: that is the next report's.
            continue;
        }
        while offers.is_empty() {
            if let Packet::Publish(publish) = client.next()? {
                offers.extend(offered(&publish));
            }
        }
        let target = offers.pop().unwrap();
        offers.clear();
        client.report(&device, &done_of(&target), &mut offers)?;
        let mut known = known.lock().unwrap();
        known.results += 1;
        known.version = target;
        updated = true;
    }
}

/// A child that listens, and what tells of its end; `None` for one whose point came before that.
fn start(
    dir: &Path,
    target: u32,
    point: Option<(&str, u32)>,
) -> Option<(Child, SocketAddr, Receiver<()>)> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["the_service_is_killed", "--nocapture", "--test-threads=1"]);
    command.env(CHILD, dir).env(TARGET, target.to_string());
    if let Some((point, after)) = point {
        command.env(POINT, point).env(AFTER, after.to_string());
    }
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let addr = lines.find_map(|line| Some(line.ok()?.split_once("mqtt ")?.1.parse().unwrap()));
    let (tell, ended) = channel();
    thread::spawn(move || {
        lines.count();
        let _ = tell.send(());
    });
    let Some(addr) = addr else {
        let end = child.wait().unwrap();
        assert!(point.is_some() && end.signal() == Some(6), "the service did not start: {end:?}");
        return None;
    };
    Some((child, addr, ended))
}

/// The rows against what the devices know.
fn check(dir: &Path, known: &[Arc<Mutex<Known>>], at: &str) -> Vec<Device> {
    let store = Sqlite::open(&DataFolder::open(dir).unwrap()).unwrap();
    let mut devices = Vec::new();
    for (n, known) in known.iter().enumerate() {
        let known = known.lock().unwrap();
        let key = DeviceKey::new(PRODUCT, identity(n).device_name());
        let Some(row) = store.read().device(&key).unwrap() else {
            // The first life may end before it has added its devices.
            assert_eq!((known.versions, known.results), (0, 0), "{at}: {n} has no row");
            continue;
        };
        let device = Device::from_bytes(&row.state).unwrap();
        let counters = device.counters;
        assert!(counters.versions >= known.versions, "{at}: {n}: {counters:?} {known:?}");
        assert!(counters.results >= known.results, "{at}: {n}: {counters:?} {known:?}");
        successes(store.read(), &key, at);
        let open = device.task.as_ref().filter(|task| task.finished.is_none());
        assert!(
            open.is_none_or(|task| task.pushed.is_none() || row.wake.is_some()),
            "{at}: {n}: an open task that was pushed has no wake-up: {open:?}"
        );
        devices.push(device);
    }
    devices
}

/// Each task is proved once and claimed once at most.
fn successes(store: &dyn Read, key: &DeviceKey, at: &str) {
    let mut query = EventQuery { after: 0, device: Some(key.clone()) };
    let (mut proved, mut claimed) = (BTreeMap::new(), BTreeMap::new());
    loop {
        let events = store.events(&query, 1_000).unwrap();
        let Some(last) = events.last() else { break };
        query.after = last.seq;
        for event in &events {
            match serde_json::from_slice(&event.what.body).unwrap() {
                EventKind::Proved { task } => *proved.entry(task).or_insert(0) += 1,
                EventKind::Claimed { task, .. } => *claimed.entry(task).or_insert(0) += 1,
                _ => {}
            }
        }
    }
    let once = |counts: &BTreeMap<TaskId, u32>| counts.values().all(|count| *count == 1);
    assert!(once(&proved) && once(&claimed), "{at}: {key}: {proved:?} {claimed:?}");
}

#[test]
fn the_service_is_killed() {
    if let Ok(dir) = std::env::var(CHILD) {
        return child(&dir);
    }
    let kills = std::env::var("OTA_CLOUD_KILLS").map_or(4, |text| text.parse().unwrap());
    let mut seed = u64::from(number("OTA_SEED").max(1));
    let mut random = |below: u32| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as u32 % below
    };
    let dir = tempfile::tempdir().unwrap();
    let known: Vec<_> = (0..DEVICES)
        .map(|_| Arc::new(Mutex::new(Known { version: "0.1.0".into(), ..Known::default() })))
        .collect();
    let points = ["Gathered", "Committed", "Acknowledged", "Published"];
    for kill in 0..kills {
        // Every other life ends at a point, the rest at any moment.
        let point = (kill % 2 == 0).then(|| (points[(kill / 2 % 4) as usize], random(10)));
        let Some((mut child, addr, ended)) = start(dir.path(), kill, point) else {
            check(dir.path(), &known, &format!("kill {kill} at {point:?}, at the start"));
            continue;
        };
        let devices: Vec<_> = (0..DEVICES)
            .map(|n| {
                let known = known[n].clone();
                thread::spawn(move || live(addr, n, None, &known))
            })
            .collect();
        if point.is_none() {
            thread::park_timeout(Duration::from_millis(random(200).into()));
            child.kill().unwrap();
        } else {
            // Whoever has the target waits for another: the point may not come.
            let _ = ended.recv_timeout(Duration::from_secs(2));
            // It may be dead.
            let _ = child.kill();
        }
        child.wait().unwrap();
        for device in devices {
            device.join().unwrap();
        }
        check(dir.path(), &known, &format!("kill {kill} at {point:?}"));
    }
    let (mut child, addr, _ended) = start(dir.path(), kills, None).unwrap();
    let wanted = version(kills);
    for (n, one) in known.iter().enumerate() {
        if live(addr, n, Some(&wanted), one).is_none() {
            child.kill().unwrap();
            child.wait().unwrap();
            let device = &check(dir.path(), &known, "the end")[n];
            panic!("device {n} is stuck: {:?} {device:?}", one.lock().unwrap());
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    for device in check(dir.path(), &known, "the end") {
        let task = device.task.unwrap();
        assert!(task.is_proved() && task.target == wanted, "{task:?}");
    }
}
