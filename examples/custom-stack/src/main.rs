//! An update on a stack of one's own: blocking sockets, mqttbytes, ureq and two files. Of this
//! project there is only `ota-proto`. `docs/custom-stack.md` is the guide to it.
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

use mqttbytes::v4::{Packet, PubAck};
use ota_proto::credentials::{APP_ID, Algorithm, Login, Secret, conn_id};
use ota_proto::{
    Boot, Command, Config, Event, Identity, Idle, Installed, Instant, Output, SlotState,
    TransportError, Updater,
};

use download::Download;
use flash::Flash;
use mqtt::Mqtt;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [host, port, product, name] = args.as_slice() else {
        return Err("usage: custom-stack HOST PORT PRODUCT DEVICE, and DEVICE_SECRET set".into());
    };

    // Who the device is, and how it logs in.
    let identity = Identity::new(product, name)?;
    let secret = Secret::from_base64(&std::env::var("DEVICE_SECRET")?)?;
    let unix = SystemTime::UNIX_EPOCH.elapsed()?.as_secs();
    let seed = unix ^ u64::from(std::process::id()) << 32;
    let (algorithm, expiry) = (Algorithm::HmacSha256, unix + 365 * 86_400);
    let login = Login::new(&identity, &secret, algorithm, APP_ID, &conn_id(seed), expiry)?;

    // What it knows at boot: which version runs, what the journal says, where an image goes.
    let mut flash = Flash::open(&format!("{name}-data"))?;
    let (running, journal) = (flash.running(), flash.record());
    let slot = SlotState::Confirmed;
    let boot = Boot { running: &running, slot, journal: journal.as_ref(), storage: flash.info() };
    let topic = identity.update_topic().to_owned();
    let mut config = Config::new(identity, seed);
    config.allow_http = true; // The cloud on a desk has no TLS.
    let start = time::Instant::now();
    let now = || Instant::from_micros(start.elapsed().as_micros() as u64);
    let mut machine = Updater::new(now(), config, boot)?;

    loop {
        let address = (host.as_str(), port.parse()?).to_socket_addrs()?.next().ok_or("no host")?;
        match Mqtt::connect(address, &login, &topic) {
            Ok(mqtt) => {
                machine.handle_session(now(), true);
                if let Err(why) = live(&mut machine, mqtt, &mut flash, &now) {
                    println!("the connection is gone: {why}");
                }
                machine.handle_session(now(), false);
            }
            Err(why) => println!("no connection: {why}"),
        }
        // The platform takes one connection in five seconds.
        std::thread::sleep(Duration::from_secs(5));
    }
}

/// One session: outputs until the machine is idle, then whatever comes first.
fn live(
    machine: &mut Updater,
    mut mqtt: Mqtt,
    flash: &mut Flash,
    now: &dyn Fn() -> Instant,
) -> Result<(), Box<dyn Error>> {
    let mut download: Option<Download> = None;
    loop {
        let turn = perform(machine, &mut mqtt, flash, &mut download, now)?;
        let Some(Idle { deadline, read_body, .. }) = turn else { continue };
        if deadline.is_some_and(|at| at <= now()) {
            machine.handle_timeout(now());
            continue;
        }
        // A piece of the image when one is wanted, and whatever the broker has meanwhile.
        let mut wait = deadline.map_or(Duration::from_secs(1), |at| at.since(now()));
        if let Some(piece) = download.as_mut().filter(|_| read_body) {
            if !piece.advance(machine, flash, now) {
                download = None;
            }
            wait = Duration::from_millis(1);
        }
        if let Some(packet) = mqtt.receive(wait)? {
            heard(machine, &mut mqtt, packet, now())?;
        }
    }
}

/// Does what the machine asks for next; `Some` when that is nothing.
fn perform(
    machine: &mut Updater,
    mqtt: &mut Mqtt,
    flash: &mut Flash,
    download: &mut Option<Download>,
    now: &dyn Fn() -> Instant,
) -> Result<Option<Idle>, Box<dyn Error>> {
    let mut buf = [0; Config::buffer_len()];
    match machine.poll(now(), &mut buf)? {
        Output::Publish(publish) => {
            println!("→ {}", String::from_utf8_lossy(publish.payload));
            if let Some(handed_over) = mqtt.publish(publish)? {
                machine.handle_published(now(), handed_over);
            }
        }
        Output::Fetch(fetch) => {
            let op = fetch.op;
            *download = Download::open(fetch).ok();
            match download {
                // What a refused answer leads to comes with the next output.
                Some(opened) => drop(machine.handle_response(now(), op, &opened.head())),
                None => machine.handle_fetch_failed(now(), op, TransportError::Refused),
            }
        }
        Output::CancelFetch(_) => *download = None,
        Output::Do(op, work) => {
            let done = flash.run(work);
            machine.handle_done(now(), op, done);
        }
        Output::Event(event) => {
            println!("* {event:?}");
            if let Event::Install { .. } = event {
                // The image is whole and its digest is right: a real device installs it here.
                let version = machine.offer().map(|offer| offer.version.to_string());
                flash.set_running(&version.unwrap_or_default())?;
                machine.command(now(), Command::Installed(Installed::Running))?;
            }
        }
        Output::Idle(idle) => return Ok(Some(idle)),
        _ => {}
    }
    Ok(None)
}

/// Gives a packet of the broker's to the machine.
fn heard(
    machine: &mut Updater,
    mqtt: &mut Mqtt,
    packet: Packet,
    now: Instant,
) -> Result<(), Box<dyn Error>> {
    match packet {
        Packet::Publish(message) => {
            println!("← {} bytes on {}", message.payload.len(), message.topic);
            // What the broker kept is an old offer, and may be of somebody else.
            if message.retain {
                println!("a retained message is no offer");
            } else if let Err(why) = machine.handle_message(now, &message.topic, &message.payload) {
                println!("no message of the cloud's: {why}");
            }
            if message.pkid > 0 {
                mqtt.send(|tx| PubAck::new(message.pkid).write(tx))?;
            }
        }
        Packet::PubAck(ack) => {
            if let Some(id) = mqtt.acknowledged(ack.pkid) {
                machine.handle_published(now, id);
            }
        }
        _ => {}
    }
    Ok(())
}
