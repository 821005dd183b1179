//! Networks that fail, and applications that do not wait.

use std::future::Future as _;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use crate::adapter::{Driver, DriverEvent};
use ota_host::Clock;
use ota_proto::{Event as Update, Reason, Rng, State, TransportError};
use ota_wire::client::{ClientEvent as Client, Disconnect};
use tokio::net::TcpSocket;
use tokio::sync::Notify;

use super::proxy::{Plan, Proxy, Then};
use super::{FIRST, Rig, cloud, device_config, image, is_update, wire_config};

fn disconnected(event: &DriverEvent, why: TransportError) -> bool {
    matches!(event, DriverEvent::Client(Client::Disconnected { cause: Disconnect::Transport(error), .. })
        if *error == why)
}

fn started(event: &DriverEvent, least: u64) -> bool {
    is_update(event, |e| matches!(e, Update::Started { from } if *from >= least))
}

#[tokio::test]
async fn a_next_that_is_dropped_at_any_point_loses_nothing() {
    for seed in 0..8 {
        println!("seed {seed}");
        let image = image(300_000);
        let cloud = cloud(&image, None).await;
        let mut rig = Rig::new(cloud.mqtt_addr());
        let mut rng = Rng::new(seed);
        let mut dropped = 0;
        while rig.driver.updater(FIRST).unwrap().running().as_str() != "1.0.0" {
            let polls = rng.next_u64() % 3;
            let event = {
                let mut next = pin!(rig.driver.next());
                let mut event = None;
                for _ in 0..polls {
                    let poll = std::future::poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx)));
                    if let Poll::Ready(ready) = poll.await {
                        event = Some(ready.unwrap());
                        break;
                    }
                    tokio::task::yield_now().await;
                }
                event
            };
            match event {
                Some(event) => rig.take(event, &image),
                None => {
                    dropped += 1;
                    tokio::task::yield_now().await;
                }
            }
        }
        assert!(dropped > 10, "{dropped}");
        let record = rig.prove(&cloud, &image).await;
        assert_eq!(record.counters.sessions, 1);
        assert_eq!(rig.count(|e| is_update(e, |e| matches!(e, Update::Retry { .. }))), 0);
    }
}

#[tokio::test]
async fn a_download_goes_on_without_the_broker() {
    let image = image(1 << 20);
    let store = Proxy::start(None).await;
    let cloud = cloud(&image, Some(format!("http://{}", store.addr))).await;
    store.aim(cloud.http_addr());
    let broker = Proxy::start(Some(cloud.mqtt_addr())).await;
    let (half, back) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    store.plan(Plan::after(image.len() / 2, Then::Hold(half.clone())));
    broker.plan(Plan::chunks(1024));
    broker.plan(Plan::after(0, Then::Hold(back.clone())));

    let mut rig = Rig::new(broker.addr);
    rig.until(&image, |e| is_update(e, |e| matches!(e, Update::Progress { .. }))).await;
    broker.cut();
    rig.until(&image, |e| disconnected(e, TransportError::Closed)).await;
    half.notify_one();
    rig.until(&image, |e| is_update(e, |e| *e == Update::Ready)).await;
    assert_eq!(rig.count(|e| *e == DriverEvent::Client(Client::Connected)), 1);
    back.notify_one();
    let record = rig.prove(&cloud, &image).await;
    assert_eq!(record.counters.sessions, 2);
    assert_eq!(store.opened(), 1, "one fetch was enough");
    assert_eq!(rig.count(|e| started(e, 0)), 1);
}

#[tokio::test]
async fn a_store_that_falls_silent_is_left_and_the_download_resumes() {
    for (then, why) in [(Then::Silence, Reason::Network), (Then::Cut, Reason::Closed)] {
        let image = image(1 << 20);
        let store = Proxy::start(None).await;
        let cloud = cloud(&image, Some(format!("http://{}", store.addr))).await;
        store.aim(cloud.http_addr());
        store.plan(Plan::after(600_000, then));
        let mut config = device_config();
        let usual = config.timing.idle;
        // Short, and longer than a busy machine stands still.
        config.timing.idle = ota_proto::Micros::from_secs(2);
        let mut rig = Rig::with(wire_config(cloud.mqtt_addr()), config);
        let clock = Clock::start();
        let start = clock.now();
        rig.prove(&cloud, &image).await;
        // A deadline that comes nearer is heeded.
        assert!(clock.now().past(start) < usual, "{:?}", clock.now());
        assert_eq!(store.opened(), 2);
        assert!(store.down() < image.len() + 100_000, "{}", store.down());
        let retry = |e: &Update| matches!(e, Update::Retry { cause } if *cause == why);
        assert_eq!(rig.count(|e| is_update(e, retry)), 1);
    }
}

#[tokio::test]
async fn everything_arrives_byte_by_byte() {
    let image = image(10_000);
    let store = Proxy::start(None).await;
    let cloud = cloud(&image, Some(format!("http://{}", store.addr))).await;
    store.aim(cloud.http_addr());
    store.plan(Plan::chunks(1));
    let broker = Proxy::start(Some(cloud.mqtt_addr())).await;
    broker.plan(Plan::chunks(1));
    let mut rig = Rig::new(broker.addr);
    rig.prove(&cloud, &image).await;
    assert_eq!((broker.opened(), store.opened()), (1, 1));
}

#[tokio::test]
async fn a_broker_that_refuses_is_tried_until_it_is_back() {
    let image = image(1000);
    let cloud = cloud(&image, None).await;
    // A port where nobody listens, and that nobody else gets.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut rig = Rig::new(socket.local_addr().unwrap());
    for _ in 0..3 {
        rig.until(&image, |e| disconnected(e, TransportError::Refused)).await;
    }
    let proxy = Proxy::on(socket.listen(8).unwrap(), Some(cloud.mqtt_addr()));
    rig.prove(&cloud, &image).await;
    assert_eq!(proxy.opened(), 1);
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_told_apart() {
    let mut config = wire_config("127.0.0.1:1".parse().unwrap());
    config.host = "a..b".into();
    let mut rig = Rig::with(config, device_config());
    rig.until(&[], |e| disconnected(e, TransportError::Resolve)).await;
}

#[tokio::test]
async fn opening_has_a_deadline() {
    // A full queue of connections: the next one hangs.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let addr = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    for _ in 0..2 {
        waiting.push(tokio::net::TcpStream::connect(addr).await.unwrap());
    }
    let mut config = wire_config(addr);
    config.connect = ota_proto::Micros::from_millis(100);
    let mut rig = Rig::with(config, device_config());
    rig.until(&[], |e| disconnected(e, TransportError::TimedOut)).await;
}

#[cfg(not(feature = "tls"))]
#[tokio::test]
async fn without_tls_a_broker_that_wants_it_and_an_offer_that_does_are_refused() {
    let mut config = wire_config("127.0.0.1:1".parse().unwrap());
    config.tls = true;
    assert_eq!(Driver::new(config).err(), Some(crate::adapter::Error::NoTls));

    let cloud = cloud(&image(1000), Some("https://127.0.0.1:1".into())).await;
    let mut config = device_config();
    config.timing.retry_cap = ota_proto::Micros::from_millis(1);
    let mut rig = Rig::with(wire_config(cloud.mqtt_addr()), config);
    let failed = |e: &Update| {
        matches!(e, Update::Finished { outcome: ota_proto::Outcome::Failed(Reason::Tls), .. })
    };
    rig.until(&[], |e| is_update(e, failed)).await;
}

#[tokio::test]
async fn a_stopped_driver_frees_its_folder_and_the_next_one_resumes() {
    let image = image(1 << 20);
    let store = Proxy::start(None).await;
    let cloud = cloud(&image, Some(format!("http://{}", store.addr))).await;
    store.aim(cloud.http_addr());
    store.plan(Plan::after(700_000, Then::Silence));
    let mut rig = Rig::new(cloud.mqtt_addr());
    let late = |e: &Update| matches!(e, Update::Progress { percent } if *percent >= 50);
    rig.until(&image, |e| is_update(e, late)).await;
    let Rig { driver, temp, .. } = rig;
    driver.stop().await;

    let mut driver = Driver::new(wire_config(cloud.mqtt_addr())).unwrap();
    driver.add_device(device_config(), "0.1.0", super::storage(&temp)).unwrap();
    let mut rig = Rig { driver, temp, events: Vec::new() };
    rig.prove(&cloud, &image).await;
    assert_eq!(rig.count(|e| started(e, 400_000)), 1, "{:?}", rig.events);
}

/// One poll of a future that is then dropped.
async fn poll_once(rig: &mut Rig) -> Option<DriverEvent> {
    let event = tokio::select! {
        biased;
        event = rig.driver.next() => Some(event.unwrap()),
        () = tokio::task::yield_now() => None,
    };
    event
}

struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_driver_with_nothing_to_do_sleeps() {
    let image = image(100_000);
    let cloud = cloud(&image, None).await;
    let mut rig = Rig::new(cloud.mqtt_addr());
    rig.prove(&cloud, &image).await;
    let count = Arc::new(Count(AtomicUsize::new(0)));
    let waker = Waker::from(count.clone());
    // What is still on its way may wake it a few times; then the deadlines are far.
    for _ in 0..1000 {
        let mut next = pin!(rig.driver.next());
        let _ = next.as_mut().poll(&mut Context::from_waker(&waker));
        tokio::task::yield_now().await;
    }
    assert!(count.0.load(Ordering::SeqCst) < 20, "{count:?}", count = count.0);
    let updater = rig.driver.updater(FIRST).unwrap();
    assert!(updater.is_settled() && updater.state() == State::Idle);
}

#[test]
fn a_driver_and_its_futures_may_move_between_threads() {
    fn is_send<T: Send>(_: &T) {}
    let mut driver = Driver::new(wire_config("127.0.0.1:1".parse().unwrap())).unwrap();
    is_send(&driver);
    is_send(&driver.next());
}

#[tokio::test]
async fn the_state_shows_no_secret() {
    let image = image(1000);
    let cloud = cloud(&image, None).await;
    let mut rig = Rig::new(cloud.mqtt_addr());
    let mut shown = String::new();
    while !shown.contains("Fetching") {
        let _ = poll_once(&mut rig).await;
        shown = format!("{:?}", rig.driver);
        assert!(!shown.contains("sign="), "{shown}");
    }
    let login = wire_config(cloud.mqtt_addr()).mqtt.login;
    let password = login.password.unwrap().0;
    assert!(!shown.contains(&password[..64]));
    // As bytes in a buffer.
    let bytes = format!("{:?}", &password.as_bytes()[..8]);
    assert!(!shown.contains(&bytes[1..bytes.len() - 1]));
}
