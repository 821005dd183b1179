//! A gateway on tokio that sends a reading every ten seconds and is updated meanwhile.
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
//! `bash examples/run tokio-gateway tokio-gateway+tls` does both.
#![forbid(unsafe_code)]

use std::error::Error;
use std::time::Duration;

use ota_host::{Clock, DataDir, FileSlot, Image, JournalFile, NoSwitch, SlotOptions, Storage};
use ota_proto::credentials::{APP_ID, Algorithm, Login, Secret, conn_id};
use ota_proto::{Event as Update, Identity, Installed, QoS};
use ota_tokio::{Config, Driver, Event, Options, Tls};
use ota_wire::{client::Event as Client, mqtt};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [host, port, product, name] = args.as_slice() else {
        return Err("usage: tokio-gateway HOST PORT PRODUCT DEVICE, and DEVICE_SECRET set".into());
    };
    let identity = Identity::new(product, name)?;
    let secret = Secret::from_base64(&std::env::var("DEVICE_SECRET")?)?;

    // Chance of its own for each device: back-off must not make a fleet march in step.
    let unix = Clock::unix_time().ok_or("the clock is before 1970")?;
    let seed = unix ^ u64::from(std::process::id()) << 32;
    let (algorithm, expiry) = (Algorithm::HmacSha256, unix + 365 * 86_400);
    let login = Login::new(&identity, &secret, algorithm, APP_ID, &conn_id(seed), expiry)?;
    let login = mqtt::Login::new(login.client_id, login.username, login.password);
    let mut options = Options::default();
    if let Some(file) = std::env::var_os("CA_FILE") {
        options.tls = Some(Tls::new(Some(&std::fs::read(file)?), None)?);
    }
    let tls = options.tls.is_some();
    let wire = Config::new(host.clone(), port.parse()?, tls, login, seed);
    let mut driver = Driver::with_options(wire, options)?;

    let dir = DataDir::open(format!("{name}-data"))?;
    let slot = FileSlot::open(&dir, SlotOptions::default())?;
    let storage = Storage::new(slot, JournalFile::open(&dir)?, Box::new(NoSwitch));
    let mut config = ota_proto::Config::new(identity, seed);
    config.allow_http = !tls;
    driver.add_device(config, "0.1.0", storage)?;

    let topic = format!("{product}/{name}/data");
    let mut clock = tokio::time::interval(Duration::from_secs(10));
    loop {
        tokio::select! {
            // A future of `next` that loses this race has lost nothing else.
            event = driver.next() => {
                let event = event?;
                println!("{event:?}");
                if let Event::Client(Client::Device { device, event: Update::Install { .. } }) = event {
                    // A real gateway installs here. The image is whole and its digest is right.
                    println!("installing {:?}", driver.image(device).map(Image::path));
                    driver.command(device, |updater, now| updater.installed(now, Installed::Running))?;
                }
            }
            _ = clock.tick() => {
                if let Err(why) = driver.publish(&topic, b"{\"celsius\":21.5}", QoS::AtLeastOnce) {
                    println!("a reading is dropped: {why}");
                }
            }
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    driver.stop().await;
    Ok(())
}
