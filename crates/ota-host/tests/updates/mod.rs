//! `Updates` of an adapter over real sockets on loopback, by nothing but what the adapter exports.
//! The tests of each adapter for std include this file, with themselves as `crate::adapter`.

#[path = "../common/broker.rs"]
mod broker;

use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use crate::adapter::{
    AbSlots, Builder, Device, Disconnect, Error, Event, InstallFault, Installed, OpenError, Order,
    QoS, Region, Secret, State, Updates, Version,
};
use mqttbytes::v4::{ConnectReturnCode, Packet, PubAck};
use ota_cloud::Rollout;
use ota_proto::{Identity, Micros, Rng};
use ota_server::{NewFirmware, Running, Service, ServiceConfig};
use tokio::net::TcpListener;
use tokio::time::timeout;

use broker::Broker;

const PRODUCT: &str = "TESTPROD01";
const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZg==";
/// No test waits this long: it is the end of one that would hang.
const PATIENCE: Duration = Duration::from_secs(100);
/// 2100-01-01.
const FAR: u64 = 4_102_444_800;

fn identity() -> Identity {
    Identity::new(PRODUCT, "dev001").unwrap()
}

fn image(len: usize) -> Vec<u8> {
    let mut rng = Rng::new(len as u64);
    std::iter::repeat_with(|| rng.next_u64().to_le_bytes()).flatten().take(len).collect()
}

/// A cloud that offers this image as 1.0.0 to the one device it knows.
async fn cloud(image: &[u8]) -> Running {
    let mut config = ServiceConfig::default();
    config.cloud.reply_gap = Duration::ZERO;
    let running = Service::start(config).await.unwrap();
    let handle = running.handle();
    let secret = ota_proto::credentials::Secret::from_base64(SECRET).unwrap();
    handle.add_device(&identity(), &secret).await.unwrap();
    handle.add_firmware(NewFirmware::memory(PRODUCT, "1.0.0", image.to_vec())).await.unwrap();
    handle.set_rollout(PRODUCT, Some(Rollout::new("1.0.0"))).await.unwrap();
    running
}

/// On a desk: this broker, no TLS, and none of the platform's spacing of connections.
fn desk(broker: SocketAddr, version: &str, dir: &Path) -> Builder<Updates> {
    let me = Device::new(PRODUCT, "dev001", Secret::from_base64(SECRET).unwrap()).unwrap();
    Updates::builder(me, version, dir)
        .broker(&broker.ip().to_string(), broker.port())
        .without_tls()
        .allow_http()
        .seed(1)
        .client(|client| {
            client.reconnect.spread = Micros::ZERO;
            client.reconnect.min_interval = Micros::from_millis(1);
            client.reconnect.base = Micros::from_millis(10);
            client.reconnect.cap = Micros::from_millis(50);
        })
}

/// The next event that is wanted; the others are dropped.
async fn until(ota: &mut Updates, wanted: impl Fn(&Event) -> bool) -> Event {
    let mut seen = Vec::new();
    let run = async {
        loop {
            let event = ota.next().await.unwrap();
            if wanted(&event) {
                return event;
            }
            seen.push(event.to_string());
        }
    };
    match timeout(PATIENCE, run).await {
        Ok(event) => event,
        Err(_) => panic!("{seen:#?}"),
    }
}

/// One life of the program on the pages, to its restart or until the cloud has everything. Each
/// future of `next` is dropped after one poll.
async fn life(mut ota: Updates, installer: impl Fn(&Path)) -> Vec<String> {
    let mut log = Vec::new();
    let run = async {
        loop {
            let event = tokio::select! {
                biased;
                event = ota.next() => event.unwrap(),
                () = tokio::task::yield_now() => continue,
            };
            log.push(event.to_string());
            match event {
                Event::Install(image) => {
                    image.check().unwrap();
                    assert_eq!(
                        (image.version().as_str(), ota.status().state),
                        ("1.0.0", State::Installing)
                    );
                    installer(&image.path());
                    ota.installed(Installed::NeedsRestart).unwrap();
                }
                Event::Restart => return,
                Event::Reported(_) => {}
                Event::VersionReported
                    if ota.running().as_str() == "1.0.0" && ota.status().owed.is_none() =>
                {
                    return;
                }
                _ => {}
            }
        }
    };
    assert!(timeout(PATIENCE, run).await.is_ok(), "{log:#?}");
    ota.stop().await;
    log
}

#[tokio::test]
async fn the_program_on_the_pages_updates_once_and_every_next_may_be_dropped() {
    let image = image(300_000);
    let cloud = cloud(&image).await;
    let temp = tempfile::tempdir().unwrap();
    let installed = temp.path().join("installed");
    let install = |path: &Path| {
        std::fs::copy(path, &installed).unwrap();
    };
    let open = async |version| desk(cloud.mqtt_addr(), version, temp.path()).open().await.unwrap();

    let log = life(open("0.1.0").await, install).await;
    assert_eq!(std::fs::read(&installed).unwrap(), image);
    let end = "a restart is needed to continue the update";
    assert_eq!(log.iter().filter(|line| line.starts_with("to be installed: ")).count(), 1);
    assert_eq!(log.last().unwrap(), end, "{log:#?}");

    let log = life(open("1.0.0").await, |_| panic!("a second installation")).await;
    assert!(log.contains(&"the update to version 1.0.0 succeeded".to_owned()), "{log:#?}");
    let device = cloud.handle().device(&identity()).await.unwrap().unwrap();
    assert!(device.is_claimed_and_proved(), "{device:?}");
}

#[tokio::test]
async fn two_slots_are_filled_switched_tried_and_confirmed() {
    let image = image(200_000);
    let cloud = cloud(&image).await;
    let temp = tempfile::tempdir().unwrap();
    let (data, app) = (temp.path().join("data"), temp.path().join("app"));
    std::fs::create_dir_all(app.join("a")).unwrap();
    std::fs::write(app.join("a/image"), "old").unwrap();
    std::fs::write(app.join("a/version"), "0.1.0\n").unwrap();
    symlink("a", app.join("current")).unwrap();
    // What starts the program does so by way of the slots.
    let start = async || {
        let slots = AbSlots::open(&app, 3).unwrap();
        slots.start("boot").unwrap();
        let version = slots.version().unwrap();
        let ota = desk(cloud.mqtt_addr(), version.as_str(), &data).switch(slots.clone());
        (slots, ota.open().await.unwrap())
    };

    let (slots, mut ota) = start().await;
    let Event::Install(new) = until(&mut ota, |e| matches!(e, Event::Install(_))).await else {
        unreachable!()
    };
    tokio::task::spawn_blocking(move || new.copy_to(&slots)).await.unwrap().unwrap();
    ota.installed(Installed::NeedsRestart).unwrap();
    until(&mut ota, |e| matches!(e, Event::Restart)).await;
    ota.stop().await;
    assert_eq!(std::fs::read(app.join("current/image")).unwrap(), b"old");

    let (_, mut ota) = start().await;
    assert_eq!(std::fs::read(app.join("current/image")).unwrap(), image);
    until(&mut ota, |e| matches!(e, Event::Trial)).await;
    assert_eq!(ota.status().state, State::Trial);
    ota.confirm().unwrap();
    let done = until(&mut ota, |e| matches!(e, Event::Done { .. })).await;
    assert!(matches!(done, Event::Done { version } if version == Version::new("1.0.0").unwrap()));
    until(&mut ota, |e| matches!(e, Event::Reported(_))).await;
    assert!(ota.roll_back().is_err(), "what is confirmed stays");
}

#[tokio::test]
async fn whoever_asks_to_be_asked_decides_at_each_gate() {
    let image = image(50_000);
    let cloud = cloud(&image).await;
    let temp = tempfile::tempdir().unwrap();
    let builder = desk(cloud.mqtt_addr(), "0.1.0", temp.path());
    let builder = builder.ask_to_download().ask_to_approve().ask_to_install();
    let mut ota = builder.hash_while_downloading().record(65_536).open().await.unwrap();
    assert!(ota.accept().is_err() && ota.confirm().is_err() && ota.cancel().is_err());
    let Event::Offered { version, size } =
        until(&mut ota, |e| matches!(e, Event::Offered { .. })).await
    else {
        unreachable!()
    };
    assert_eq!((version.as_str(), size), ("1.0.0", 50_000));
    assert_eq!(
        ota.status().to_string(),
        "version 0.1.0, connected; an offer waits for an answer, version 1.0.0"
    );
    ota.defer(Duration::from_secs(3_600)).unwrap();
    assert_eq!((ota.status().state, ota.offer().unwrap().size), (State::Deferred, 50_000));
    ota.accept().unwrap();
    assert!(ota.image().is_none(), "nothing is verified yet");
    until(&mut ota, |e| matches!(e, Event::Ready)).await;
    let ready = ota.image().unwrap();
    assert_eq!((ready.version().as_str(), ready.size()), ("1.0.0", 50_000));
    assert_eq!(std::fs::read(ready.path()).unwrap(), image, "what a signature is checked of");
    ota.approve().unwrap();
    ota.install().unwrap();
    until(&mut ota, |e| matches!(e, Event::Install(_))).await;
    ota.installed(Installed::Failed(InstallFault::Machine)).unwrap();
    let failed = until(&mut ota, |e| matches!(e, Event::Failed { .. })).await;
    assert_eq!(
        failed.to_string(),
        "the update to version 1.0.0 failed: this machine could not install it"
    );
    assert!(ota.recording().is_some());
    until(&mut ota, |e| matches!(e, Event::Reported(_))).await;
    assert!(ota.report_now().is_ok());
}

#[tokio::test]
async fn an_older_version_is_refused_where_the_builder_says_so() {
    let cloud = cloud(&image(1_000)).await;
    let temp = tempfile::tempdir().unwrap();
    let builder = desk(cloud.mqtt_addr(), "2.0.0", temp.path()).refuse_older(Order::SemVer);
    let mut ota = builder.open().await.unwrap();
    let failed = until(&mut ota, |e| matches!(e, Event::Failed { .. })).await;
    assert_eq!(failed.to_string(), "the update to version 1.0.0 failed: downgrade refused");
}

/// Runs the device until the broker's part is over.
async fn beside<T>(ota: &mut Updates, part: impl Future<Output = T>) -> (T, Vec<Event>) {
    let mut part = std::pin::pin!(part);
    let mut events = Vec::new();
    let run = async {
        loop {
            tokio::select! {
                biased;
                end = &mut part => return end,
                event = ota.next() => events.push(event.unwrap()),
            }
        }
    };
    let end = timeout(PATIENCE, run).await.unwrap();
    (end, events)
}

#[tokio::test]
async fn each_connection_has_a_login_of_its_own_and_a_refused_one_says_what_to_do() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let temp = tempfile::tempdir().unwrap();
    let builder = desk(addr, "0.1.0", temp.path()).login_valid(Duration::from_secs(3_600));
    assert!(!format!("{builder:?}").contains(SECRET));
    let mut ota = builder.open().await.unwrap();
    let now = ota_host::Clock::unix_time().unwrap();
    let expiry = |user: &str| user.rsplit(';').next().unwrap().parse::<u64>().unwrap();
    let near = |user: &str| (now + 3_600..now + 3_660).contains(&expiry(user));

    let refused = Broker::answer(&listener, ConnectReturnCode::BadUserNamePassword);
    let ((_gone, user), _) = beside(&mut ota, refused).await;
    assert!(user.starts_with("TESTPROD01dev001;12010126;") && near(&user), "{user}");
    let told = until(&mut ota, |e| matches!(e, Event::Disconnected { .. })).await;
    let Event::Disconnected { host, port, cause, .. } = &told else { unreachable!() };
    assert_eq!(format!("{host}:{port}"), addr.to_string());
    assert!(matches!(cause, Disconnect::Session(why) if why.is_login_refused()));
    let text = told.to_string();
    let (what, next) = text.rsplit_once(';').unwrap();
    assert_eq!(
        what,
        format!(
            "no connection to {addr}: refused: bad user name or password (check the product id, \
             the device name, and the secret or certificate)"
        )
    );
    assert!(next.starts_with(" the next try is in 0."), "{text}");

    let accepted = Broker::answer(&listener, ConnectReturnCode::Success);
    let ((broker, user), events) = beside(&mut ota, accepted).await;
    assert_eq!(expiry(&user), FAR);
    assert!(events.is_empty(), "{events:?}");
    until(&mut ota, |e| matches!(e, Event::LastingLogin)).await;
    until(&mut ota, |e| matches!(e, Event::Connected)).await;
    assert!(ota.status().connected);
    drop(broker);
    until(&mut ota, |e| matches!(e, Event::Disconnected { .. })).await;
    assert!(!ota.status().connected);
    let accepted = Broker::answer(&listener, ConnectReturnCode::Success);
    let ((_broker, user), _) = beside(&mut ota, accepted).await;
    assert!(near(&user), "{user}");
}

#[tokio::test]
async fn the_keep_alive_of_the_builder_is_that_of_connect() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    for (set, sent) in [(None, 60), (Some(240), 240)] {
        let temp = tempfile::tempdir().unwrap();
        let builder = desk(addr, "0.1.0", temp.path());
        let builder = match set {
            None => builder,
            Some(seconds) => builder.keep_alive(Duration::from_secs(seconds)),
        };
        let mut ota = builder.open().await.unwrap();
        let greeted = Broker::greet(&listener, ConnectReturnCode::Success);
        let ((_broker, connect), _) = beside(&mut ota, greeted).await;
        assert_eq!(connect.keep_alive, sent);
    }
    for millis in [0, 1_500, 65_536_000] {
        let temp = tempfile::tempdir().unwrap();
        let builder = desk(addr, "0.1.0", temp.path());
        let why = builder.keep_alive(Duration::from_millis(millis)).open().await.unwrap_err();
        assert!(matches!(why, OpenError::Settings(_)), "{millis}: {why}");
    }
}

#[tokio::test]
async fn the_applications_topics_share_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let temp = tempfile::tempdir().unwrap();
    let mut ota = desk(listener.local_addr().unwrap(), "0.1.0", temp.path()).open().await.unwrap();
    let room = ota.subscribe("room/+", QoS::AtLeastOnce).unwrap();
    assert!(ota.subscribe("$ota/#", QoS::AtMostOnce).is_err());
    assert!(ota.publish("data", b"early", QoS::AtMostOnce).is_err(), "there is no connection");
    let (mut broker, events) = beside(&mut ota, async {
        let mut broker = Broker::accept(&listener).await;
        assert_eq!(broker.grant().await, identity().update_topic());
        assert_eq!(broker.grant().await, "room/+");
        broker.publish("room/1", 7, b"on").await;
        broker
    })
    .await;
    let mut early = events;
    let message = loop {
        match timeout(PATIENCE, ota.next()).await.unwrap().unwrap() {
            Event::Message(message) => break message,
            event => early.push(event),
        }
    };
    assert!(matches!(early[..], [Event::Connected, Event::Subscribed(id)] if id == room));
    assert_eq!((message.topic.as_str(), message.payload.as_slice()), ("room/1", &b"on"[..]));
    assert_eq!(format!("{message:?}"), "Message(\"room/1\", 2 bytes)");

    let handle = ota.publish("data", b"21.5", QoS::AtMostOnce).unwrap();
    // The version report, the acknowledgement of what was taken, and the reading, in any order.
    let (seen, events) =
        beside(&mut ota, async { [broker.next().await, broker.next().await, broker.next().await] })
            .await;
    assert!(seen.contains(&Packet::PubAck(PubAck::new(7))), "{seen:?}");
    let is_reading = |p: &Packet| matches!(p, Packet::Publish(p) if p.topic == "data");
    assert!(seen.iter().any(is_reading), "{seen:?}");
    assert!(
        events.iter().any(|e| matches!(e, Event::Published(it) if *it == handle)),
        "{events:?}"
    );
    assert!(ota.unsubscribe(room) && !ota.unsubscribe(room));
}

#[tokio::test]
async fn what_cannot_work_is_said_when_it_is_opened() {
    let temp = tempfile::tempdir().unwrap();
    let me = || Device::new(PRODUCT, "dev001", Secret::from_base64(SECRET).unwrap()).unwrap();
    let open = |device, version| Updates::builder(device, version, temp.path());
    assert!(Device::new("#", "dev001", Secret::from_base64(SECRET).unwrap()).is_err());
    assert!(Secret::from_base64("no secret").is_err());
    let why = Updates::open(me(), "one point zero", temp.path()).await.unwrap_err();
    assert!(matches!(why, OpenError::Version(_)), "{why}");
    let why = open(me().app_id("x"), "0.1.0").open().await.unwrap_err();
    assert!(matches!(why, OpenError::AppId(_)), "{why}");
    let why = Updates::open(me(), "0.1.0", temp.path().join("no/folder")).await.unwrap_err();
    assert!(matches!(why, OpenError::Files(_)), "{why}");
    #[cfg(feature = "tls")]
    assert!(open(me(), "0.1.0").ca_pem(b"no certificate").is_err());
    if cfg!(not(feature = "tls")) {
        let why = Updates::open(me(), "0.1.0", temp.path()).await.unwrap_err();
        assert!(matches!(why, OpenError::Settings(Error::NoTls)), "{why}");
    }
    let first = open(me(), "0.1.0").without_tls().region(Region::Europe).open().await.unwrap();
    let why = open(me(), "0.1.0").without_tls().open().await.unwrap_err();
    assert!(why.to_string().starts_with("another agent is using the data folder"), "{why}");
    assert_eq!(first.running().as_str(), "0.1.0");
    assert_eq!(first.status().to_string(), "version 0.1.0, not connected; no update");
    let shown = format!("{first:?}");
    assert!(shown.contains("TESTPROD01.europe.iothub.tencentdevices.com\", port: 1883"), "{shown}");
    assert!(!shown.contains(SECRET));
}
