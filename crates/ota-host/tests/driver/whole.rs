//! Whole updates where nothing goes wrong but the application.

use std::time::Duration;

use crate::adapter::{Driver, Options};
use ota_host::Clock;
use ota_proto::{Event as Update, Outcome, State};

use super::{
    FIRST, Rig, best_of_some, cloud, device_config, image, is_update, storage_with, wire_config,
};

#[tokio::test]
async fn an_image_of_1_mib_arrives_is_installed_and_proved_within_a_second() {
    let quick = |took: &Duration| *took < Duration::from_secs(1);
    let took = best_of_some(update, quick).await;
    assert!(quick(&took), "{took:?}");
}

/// One update; how long it took.
async fn update() -> Duration {
    let image = image(1 << 20);
    let cloud = cloud(&image, None).await;
    let clock = Clock::start();
    let start = clock.now();
    let mut rig = Rig::new(cloud.mqtt_addr());
    let record = rig.prove(&cloud, &image).await;
    let took = clock.now().since(start);
    println!("{took:?}, {} messages", record.counters.received);
    assert!(record.counters.received <= 25, "{:?}", record.counters);
    assert_eq!(record.counters.sessions, 1);
    assert_eq!(rig.count(|e| is_update(e, |e| matches!(e, Update::Retry { .. }))), 0);
    let done = |e: &Update| matches!(e, Update::Finished { outcome: Outcome::Done, .. });
    assert_eq!(rig.count(|e| is_update(e, done)), 1);
    let updater = rig.driver.updater(FIRST).unwrap();
    assert_eq!((updater.state(), updater.running().as_str()), (State::Idle, "1.0.0"));
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_buffer_goes_with_any_erase_unit() {
    let image = image(200_001);
    for (buffer, erase) in [(0, 1000), (4099, 7919), (300_000, 65_536), (65_536, 1 << 20)] {
        let cloud = cloud(&image, None).await;
        let temp = tempfile::tempdir().unwrap();
        let mut options = Options::default();
        options.store_buffer = buffer;
        let wire = wire_config(cloud.mqtt_addr());
        let mut driver = Driver::with_options(wire, options).unwrap();
        driver.add_device(device_config(), "0.1.0", storage_with(&temp, erase)).unwrap();
        let mut rig = Rig { driver, temp, events: Vec::new() };
        rig.prove(&cloud, &image).await;
        let retry = |e: &Update| matches!(e, Update::Retry { .. });
        assert_eq!(rig.count(|e| is_update(e, retry)), 0, "{buffer} {erase}");
    }
}
