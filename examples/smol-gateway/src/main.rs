//! A gateway on smol that sends a reading every ten seconds and is updated meanwhile. It keeps
//! its version in a file, so it may be killed at any moment.
//!
//! ```text
//! head -c 1000000 /dev/urandom >image.bin
//! (umask 077 && echo MDEyMzQ1Njc4OWFiY2RlZg== >secret)
//! ota cloud serve --mqtt 127.0.0.1:1883 --http 127.0.0.1:8080 \
//!     --device TESTPROD01/gateway=@secret --firmware TESTPROD01/1.0.0=image.bin
//! DEVICE_SECRET=$(cat secret) cargo run -- 127.0.0.1 1883 TESTPROD01 gateway
//! ```
//!
//! With `CA_FILE`, the PEM file of an authority, broker and store are talked to over TLS.
//! `bash examples/run smol-gateway smol-gateway+tls` does both.
//! `CONNECT_SPACING` in seconds replaces the platform's 5.
#![forbid(unsafe_code)]

use std::env;
use std::error::Error;
use std::time::Duration;

use ota_host::{
    Clock, DataDir, FileSlot, Image, JournalFile, NoSwitch, SlotOptions, Storage, Tls, VersionFile,
};
use ota_proto::credentials::{APP_ID, Algorithm, Login, Secret, conn_id};
use ota_proto::{Event as Update, Identity, Installed, Micros, QoS, Version};
use ota_smol::{Config, DeviceIndex, Driver, Event, Options};
use ota_wire::{client::Event as Client, mqtt};
use smol::Timer;
use smol::future::or;

type Failure = Box<dyn Error>;

/// Whichever comes first.
enum Next {
    Event(Event),
    Reading,
}

fn main() -> Result<(), Failure> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [host, port, product, name] = args.as_slice() else {
        return Err("usage: smol-gateway HOST PORT PRODUCT DEVICE, and DEVICE_SECRET set".into());
    };
    let dir = DataDir::open(format!("{name}-data"))?;
    let running = VersionFile::new(format!("{name}-version"));
    if !running.path().exists() {
        running.write(&Version::new("0.1.0")?)?;
    }
    let identity = Identity::new(product, name)?;
    let mut driver = connect(&identity, host, port.parse()?)?;
    let slot = FileSlot::open(&dir, SlotOptions::default())?;
    let storage = Storage::new(slot, JournalFile::open(&dir)?, Box::new(NoSwitch));
    let mut config = ota_proto::Config::new(identity, seed()?);
    config.allow_http = env::var_os("CA_FILE").is_none();
    driver.add_device(config, running.read()?.as_str(), storage)?;
    smol::block_on(live(driver, &running, &format!("{product}/{name}/data")))
}

async fn live(mut driver: Driver, running: &VersionFile, topic: &str) -> Result<(), Failure> {
    let mut reading = Timer::interval(Duration::from_secs(10));
    loop {
        // A future of `next` that loses this race has lost nothing else.
        let event = async { driver.next().await.map(Next::Event) };
        let tick = async {
            let _ = smol::stream::StreamExt::next(&mut reading).await;
            Ok(Next::Reading)
        };
        match or(event, tick).await? {
            Next::Event(event) => {
                println!("{event:?}");
                if let Event::Client(Client::Device { device, event: Update::Install { .. } }) =
                    event
                {
                    install(&mut driver, device, running)?;
                }
            }
            Next::Reading => {
                let sent = driver.publish(topic, b"{\"celsius\":21.5}", QoS::AtLeastOnce);
                if let Err(why) = sent {
                    println!("a reading is dropped: {why}");
                }
            }
        }
    }
}

/// A real gateway installs here. The image is whole and its digest is right.
fn install(driver: &mut Driver, device: DeviceIndex, running: &VersionFile) -> Result<(), Failure> {
    println!("installing {:?}", driver.image(device).map(Image::path));
    let offer = driver.updater(device).and_then(|updater| updater.offer());
    running.write(&offer.ok_or("no offer")?.version)?;
    driver.command(device, |updater, now| updater.installed(now, Installed::Running))?;
    Ok(())
}

fn connect(identity: &Identity, host: &str, port: u16) -> Result<Driver, Failure> {
    let secret = Secret::from_base64(&env::var("DEVICE_SECRET")?)?;
    let seed = seed()?;
    let expiry = Clock::unix_time().ok_or("the clock is before 1970")? + 365 * 86_400;
    let algorithm = Algorithm::HmacSha256;
    let login = Login::new(identity, &secret, algorithm, APP_ID, &conn_id(seed), expiry)?;
    let login = mqtt::Login::new(login.client_id, login.username, login.password);
    let mut options = Options::default();
    if let Some(file) = env::var_os("CA_FILE") {
        options.tls = Some(Tls::new(Some(&std::fs::read(file)?), None)?);
    }
    let mut config = Config::new(host.to_owned(), port, options.tls.is_some(), login, seed);
    if let Ok(seconds) = env::var("CONNECT_SPACING") {
        let spacing = Micros::from_secs(seconds.parse()?);
        (config.reconnect.floor, config.reconnect.spread) = (spacing, spacing);
        config.reconnect.base = spacing.max(Micros::from_millis(200));
    }
    Ok(Driver::with_options(config, options)?)
}

/// Chance of its own for each device: back-off must not make a fleet march in step.
fn seed() -> Result<u64, Failure> {
    let unix = Clock::unix_time().ok_or("the clock is before 1970")?;
    Ok(unix ^ u64::from(std::process::id()) << 32)
}
