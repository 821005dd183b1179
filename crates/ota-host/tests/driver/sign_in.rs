//! A login for each connection, and until when it holds.

use std::sync::{Arc, Mutex};

use ota_host::{Clock, SignIn};
use ota_proto::credentials::{APP_ID, Algorithm, Login};
use ota_wire::client::{ClientEvent as Client, Disconnect};
use ota_wire::mqtt::{self, Expiry};

use super::{Rig, cloud, device_config, identity, image, secret, wire_config};
use crate::adapter::{DriverEvent, Options};

/// Found in the field: a login that is seen once held until 2038; and one that lapses keeps a
/// device out whose clock is behind. Here that is by two days, and the cloud is strict.
#[tokio::test]
async fn a_login_lapses_in_a_day_and_a_device_whose_clock_is_behind_gets_in() {
    let cloud = cloud(&image(1000), None).await;
    let expiries = Arc::new(Mutex::new(Vec::new()));
    let behind = {
        let expiries = Arc::clone(&expiries);
        SignIn::new(Expiry::default(), move |expiry| {
            expiries.lock().unwrap().push(expiry);
            let expiry = if expiry == Expiry::FAR { expiry } else { expiry - 2 * 86_400 };
            let login =
                Login::new(&identity(), &secret(), Algorithm::HmacSha256, APP_ID, "AbC12", expiry);
            let login = login.unwrap();
            mqtt::ConnectLogin::new(login.client_id, login.username, login.password)
        })
    };
    let mut options = Options::default();
    options.sign_in = Some(behind);
    let mut config = wire_config(cloud.mqtt_addr());
    config.reconnect.cap = ota_proto::Micros::from_millis(50);
    let mut rig = Rig::with_options(config, device_config(), options);
    let refused = |event: &DriverEvent| {
        matches!(event, DriverEvent::Client(Client::Disconnected { cause: Disconnect::Session(why), .. })
            if why.is_login_refused())
    };
    let now = Clock::unix_time().unwrap();
    rig.until(&[], refused).await;
    rig.until(&[], |event| *event == DriverEvent::Client(Client::Connected)).await;
    // The next one lapses again: what never does is sent once, and not longer.
    rig.driver.disconnect();
    rig.until(&[], refused).await;
    let seen = expiries.lock().unwrap().clone();
    let near = |at: usize| (now + 86_400..now + 86_460).contains(&seen[at]);
    assert!(seen.len() >= 3 && near(0) && seen[1] == Expiry::FAR && near(2), "{seen:?}");
}
