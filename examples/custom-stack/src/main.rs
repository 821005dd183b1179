//! An update on your own stack: blocking sockets, mqttbytes, ureq and two files. Of this project it
//! uses only `ota-proto`. `docs/custom-stack.md` is the guide.
//!
//! ```text
//! bash examples/run custom-stack
//! ```
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "whoever brings a stack brings the clock")]

mod download;
mod flash;
mod mqtt;

use std::error::Error;
use std::net::ToSocketAddrs as _;
use std::time::{self, Duration, SystemTime};

use mqttbytes::v4::{Connect, Packet, Publish};
use ota_proto::{Boot, Config, Event, Identity, Installed, Output, ResponseHead, Updater};

use download::Download;
use flash::Flash;
use mqtt::Mqtt;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [host, port, product, name] = args.as_slice() else {
        return Err("usage: custom-stack HOST PORT PRODUCT DEVICE, and DEVICE_SECRET set".into());
    };

    // The device's identity, and its secret.
    let identity = Identity::new(product, name)?;
    let secret = std::env::var("DEVICE_SECRET")?.parse()?;

    // The state at boot: the running version, the journal, and the slot.
    let mut flash = Flash::open(&format!("{name}-data"))?;
    let (running, record) = (flash.running(), flash.record());
    let slot = Boot::new(&running, Flash::CAPACITY, Flash::ERASE);
    let boot = Boot { journal: record.as_ref(), ..slot };
    let seed = unix_time()? ^ u64::from(std::process::id()) << 32;
    let mut config = Config::new(identity.clone(), seed);
    config.allow_http = true; // The cloud on a desk has no TLS.
    let start = time::Instant::now();
    let mut updater = Updater::new(start.elapsed().into(), config, boot)?;

    loop {
        let address = (host.as_str(), port.parse()?).to_socket_addrs()?.next().ok_or("no host")?;
        let unix = unix_time()?;
        let login = identity.login(&secret, Some(unix), seed ^ unix);
        let mut connect = Connect::new(login.client_id);
        connect.set_login(login.username, login.password);
        match Mqtt::connect(address, connect, identity.update_topic()) {
            Ok(mqtt) => {
                updater.handle_session(start.elapsed().into(), true);
                if let Err(why) = live(&mut updater, mqtt, &mut flash, start) {
                    println!("the connection is gone: {why}");
                }
                updater.handle_session(start.elapsed().into(), false);
            }
            Err(why) => println!("no connection: {why}"),
        }
        // The platform accepts one connection in five seconds.
        std::thread::sleep(Duration::from_secs(5));
    }
}

fn unix_time() -> Result<u64, time::SystemTimeError> {
    Ok(SystemTime::UNIX_EPOCH.elapsed()?.as_secs())
}

/// One session: handles the machine's outputs until it is idle, then waits for the first input.
fn live(
    updater: &mut Updater,
    mut mqtt: Mqtt,
    flash: &mut Flash,
    start: time::Instant,
) -> Result<(), Box<dyn Error>> {
    let now = || start.elapsed().into();
    let (mut download, mut sent) = (None, Vec::new());
    let mut buf = [0; Config::buffer_len()];
    loop {
        match updater.poll(now(), &mut buf)? {
            Output::Publish(publish) => {
                let id = publish.id;
                match mqtt.publish(publish.topic, publish.qos as u8, publish.payload)? {
                    0 => updater.handle_published(now(), id), // nobody acknowledges it
                    packet => sent.push((packet, id)),
                }
            }
            Output::Fetch(fetch) => {
                let op = fetch.op;
                match Download::open(fetch.url, fetch.from, fetch.fresh) {
                    Ok(opened) => {
                        let head = ResponseHead::new(opened.status, opened.headers());
                        // If the machine refuses the answer, its next output says what follows.
                        let _ = updater.handle_response(now(), op, &head);
                        download = Some((op, opened));
                    }
                    Err(why) => updater.handle_fetch_failed(now(), op, why.into()),
                }
            }
            Output::CancelFetch(_) => download = None,
            Output::Do(op, work) => {
                let done = flash.run(work);
                updater.handle_done(now(), op, done);
            }
            Output::Event(event) => told(&event, updater, flash, start)?,
            Output::Idle(idle) if idle.deadline.is_some_and(|at| at <= now()) => {
                updater.handle_timeout(now());
            }
            Output::Idle(idle) => {
                let mut wait = idle.deadline.map_or(Duration::MAX, |at| at.since(now()));
                // Passes on a piece of the image if the machine accepts one, and the broker's
                // packets.
                if let Some((op, body)) = download.as_mut().filter(|_| idle.read_body) {
                    match body.piece() {
                        Ok([]) => updater.handle_body_end(now(), *op),
                        Ok(piece) => {
                            // The machine takes nothing of a refused download, and cancels it.
                            let taken = updater.handle_body(now(), *op, piece).unwrap_or_default();
                            let count = taken.consumed;
                            if let Some((op, work)) = taken.work {
                                updater.handle_done(now(), op, flash.run(work));
                            }
                            body.take(count);
                        }
                        Err(why) => updater.handle_fetch_failed(now(), *op, why.into()),
                    }
                    wait = Duration::ZERO;
                }
                let acknowledged = listen(&mut mqtt, updater, wait, start)?;
                if let Some(at) = sent.iter().position(|(of, _)| acknowledged == Some(*of)) {
                    updater.handle_published(now(), sent.swap_remove(at).1);
                }
            }
            _ => {}
        }
    }
}

/// Waits for the broker's next packet; returns the number of the message that it acknowledges.
fn listen(
    mqtt: &mut Mqtt,
    updater: &mut Updater,
    wait: Duration,
    start: time::Instant,
) -> Result<Option<u16>, Box<dyn Error>> {
    match mqtt.receive(wait)? {
        Some(Packet::Publish(message)) => {
            heard(&message, updater, start);
            mqtt.acknowledge(&message)?;
            Ok(None)
        }
        Some(Packet::PubAck(ack)) => Ok(Some(ack.pkid)),
        _ => Ok(None),
    }
}

/// The application's part.
fn told(
    event: &Event,
    updater: &mut Updater,
    flash: &Flash,
    start: time::Instant,
) -> Result<(), Box<dyn Error>> {
    println!("* {event:?}");
    if let Event::Install { .. } = event {
        // The image is complete and its digest is right: a real device installs it here.
        let offer = updater.offer().ok_or("an installation without an offer")?;
        flash.set_running(offer.version.as_str())?;
        updater.command(start.elapsed().into(), Installed::Running.into())?;
    }
    Ok(())
}

/// Passes a message of the broker to the machine.
fn heard(message: &Publish, updater: &mut Updater, start: time::Instant) {
    println!("← {} bytes on {}", message.payload.len(), message.topic);
    // A retained message is old, and may come from somebody else.
    if message.retain {
        println!("a retained message is no offer");
    } else if let Err(why) =
        updater.handle_message(start.elapsed().into(), &message.topic, &message.payload)
    {
        println!("no message of the cloud's: {why}");
    }
}
