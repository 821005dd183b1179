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
//! With `CA_FILE`, the PEM file of a CA, broker and firmware server are reached over TLS.
//! `bash examples/run tokio-gateway tokio-gateway+tls` does both.
#![forbid(unsafe_code)]

use std::error::Error;
use std::time::Duration;

use ota_tokio::{Device, Event, Installed, QoS, Secret, Updates};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [host, port, product, name] = args.as_slice() else {
        return Err("usage: tokio-gateway HOST PORT PRODUCT DEVICE, and DEVICE_SECRET set".into());
    };
    let secret = Secret::from_base64(&std::env::var("DEVICE_SECRET")?)?;
    let me = Device::new(product, name, secret)?;
    let setup = Updates::builder(me, "0.1.0", format!("{name}-data")).broker(host, port.parse()?);
    let setup = match std::env::var_os("CA_FILE") {
        Some(file) => setup.ca_pem(&std::fs::read(file)?)?,
        None => setup.without_tls().allow_http(),
    };
    let mut ota = setup.open().await?;

    let topic = format!("{product}/{name}/data");
    let mut clock = tokio::time::interval(Duration::from_secs(10));
    loop {
        tokio::select! {
            // `next` is cancel-safe: dropping its future loses nothing.
            event = ota.next() => match event? {
                Event::Install(image) => {
                    // A real gateway installs here. The image is complete and verified.
                    println!("installing {}", image.path().display());
                    ota.installed(Installed::Running)?;
                }
                event => println!("{event}"),
            },
            _ = clock.tick() => {
                if let Err(why) = ota.publish(&topic, b"{\"celsius\":21.5}", QoS::AtLeastOnce) {
                    println!("a reading is dropped: {why}");
                }
            }
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    ota.stop().await;
    Ok(())
}
