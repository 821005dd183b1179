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
//! With `CA_FILE`, the PEM file of a CA, broker and firmware server are reached over TLS.
//! `bash examples/run smol-gateway smol-gateway+tls` does both.
//! `CONNECT_SPACING` in seconds replaces the platform's 5.
#![forbid(unsafe_code)]

use std::error::Error;
use std::path::Path;
use std::time::Duration;
use std::{env, fs, io};

use ota_smol::{Device, Event, Installed, QoS, Secret, Updates};
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
    let running = format!("{name}-version");
    let running = Path::new(&running);
    if !running.exists() {
        write(running, "0.1.0")?;
    }
    let me = Device::new(product, name, Secret::from_base64(&env::var("DEVICE_SECRET")?)?)?;
    let version = fs::read_to_string(running)?;
    let setup = Updates::builder(me, version.trim_end(), format!("{name}-data"));
    let setup = setup.broker(host, port.parse()?);
    let setup = match env::var_os("CA_FILE") {
        Some(file) => setup.ca_pem(&fs::read(file)?)?,
        None => setup.without_tls().allow_http(),
    };
    let setup = match env::var("CONNECT_SPACING") {
        Ok(seconds) => setup.connect_spacing(Duration::from_secs(seconds.parse()?)),
        Err(_) => setup,
    };
    let topic = format!("{product}/{name}/data");
    smol::block_on(async { live(setup.open().await?, running, &topic).await })
}

async fn live(mut ota: Updates, running: &Path, topic: &str) -> Result<(), Failure> {
    let mut reading = Timer::interval(Duration::from_secs(10));
    loop {
        // `next` is cancel-safe: dropping its future loses nothing.
        let event = async { ota.next().await.map(Next::Event) };
        let tick = async {
            let _ = smol::stream::StreamExt::next(&mut reading).await;
            Ok(Next::Reading)
        };
        match or(event, tick).await? {
            Next::Event(Event::Install(image)) => {
                // A real gateway installs here. The image is complete and verified.
                println!("installing {}", image.path().display());
                write(running, image.version().as_str())?;
                ota.installed(Installed::Running)?;
            }
            Next::Event(event) => println!("{event}"),
            Next::Reading => {
                if let Err(why) = ota.publish(topic, b"{\"celsius\":21.5}", QoS::AtLeastOnce) {
                    println!("a reading is dropped: {why}");
                }
            }
        }
    }
}

/// Replaces the file in one step: after a kill it has the old version or the new one.
fn write(running: &Path, version: &str) -> io::Result<()> {
    let next = running.with_extension("next");
    fs::write(&next, format!("{version}\n"))?;
    fs::rename(next, running)
}
