//! Whole updates where nothing goes wrong but the application.

use ota_host::Clock;
use ota_proto::{Event as Update, Outcome, State};

use super::{FIRST, Rig, cloud, image, is_update};

#[tokio::test]
async fn an_image_of_1_mib_arrives_is_installed_and_proved() {
    let image = image(1 << 20);
    let cloud = cloud(&image, None).await;
    let clock = Clock::start();
    let start = clock.now();
    let mut rig = Rig::new(cloud.mqtt_addr());
    let record = rig.prove(&cloud, &image).await;
    let took = clock.now().since(start);
    assert!(took.as_secs_f64() < 1.0, "{took:?}");
    println!("{took:?}, {} messages", record.counters.received);
    assert!(record.counters.received <= 25, "{:?}", record.counters);
    assert_eq!(record.counters.sessions, 1);
    assert_eq!(rig.count(|e| is_update(e, |e| matches!(e, Update::Retry { .. }))), 0);
    let done = |e: &Update| matches!(e, Update::Finished { outcome: Outcome::Done, .. });
    assert_eq!(rig.count(|e| is_update(e, done)), 1);
    let updater = rig.driver.updater(FIRST).unwrap();
    assert_eq!((updater.state(), updater.running().as_str()), (State::Idle, "1.0.0"));
}
