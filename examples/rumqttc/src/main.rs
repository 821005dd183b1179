//! An update over an application's existing MQTT connection, here of rumqttc. The application can
//! publish and subscribe on it, too: see `Sent`.
//!
//! Of this project it uses `ota-proto`, which makes the decisions, the file slot and the journal of
//! `ota-host`, and the HTTP framing of `ota-wire`.
//!
//! ```text
//! bash examples/run rumqttc
//! ```
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "whoever brings a stack brings the clock")]

mod download;

use std::collections::VecDeque;
use std::error::Error;
use std::thread::sleep;
use std::time::Duration;

use ota_host::{Clock, DataDir, FileSlot, Job, JournalFile, NoSwitch, SlotOptions, Storage};
use ota_proto::{
    Boot, Config, Event, Fetch, Identity, Idle, Installed, Output, PubId, Publish, QoS as Level,
    TransportError, Updater, Work,
};
use rumqttc::{Client, Event as Mqtt, Incoming, MqttOptions, Outgoing, QoS, RecvTimeoutError};

use download::Download;

/// The machine's publications, in order: those to be sent, and those that wait for their
/// acknowledgement. rumqttc numbers a packet only when it sends it, so an application that
/// publishes must add its own entries to the same queue.
#[derive(Default)]
struct Sent {
    queued: VecDeque<(PubId, Level)>,
    handed_over: Vec<(u16, PubId)>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [host, port, product, name] = args.as_slice() else {
        return Err("usage: rumqttc HOST PORT PRODUCT DEVICE, and DEVICE_SECRET set".into());
    };
    let identity = Identity::new(product, name)?;
    let secret = std::env::var("DEVICE_SECRET")?.parse()?;
    let unix = Clock::unix_time().ok_or("the clock is before 1970")?;
    let seed = unix ^ u64::from(std::process::id()) << 32;
    // rumqttc keeps one login for all connections: this one does not expire.
    let login = identity.login(&secret, None, seed);

    let mut options = MqttOptions::new(login.client_id.as_str(), host.as_str(), port.parse()?);
    options.set_credentials(login.username.as_str(), login.password.as_str());
    options.set_keep_alive(Duration::from_secs(60));
    let (client, mut connection) = Client::new(options, 16);

    let dir = DataDir::open(format!("{name}-data"))?;
    let slot = FileSlot::open(&dir, SlotOptions::default())?;
    let mut storage = Storage::new(slot, JournalFile::open(&dir)?, Box::new(NoSwitch));
    let record = storage.record();
    let boot = Boot {
        running: "0.1.0",
        slot: storage.slot_state(),
        journal: record.as_ref(),
        storage: storage.info(),
    };
    let mut config = Config::new(identity, seed);
    config.allow_http = true; // The cloud on a desk has no TLS.
    let clock = Clock::start();
    let mut machine = Updater::new(clock.now(), config, boot)?;
    let (mut sent, mut download) = (Sent::default(), None);

    loop {
        let (wait, read_body) =
            turn(&mut machine, &client, &mut sent, &mut storage, &mut download, clock)?;
        let piece = download.as_mut().filter(|_| read_body);
        let wait = if piece.is_some() { Duration::from_millis(1) } else { wait };
        if let Some(false) =
            piece.map(|piece: &mut Download| piece.advance(&mut machine, &mut storage, clock))
        {
            download = None;
        }
        match connection.recv_timeout(wait) {
            Ok(Ok(event)) => heard(&mut machine, &client, &mut sent, event, clock)?,
            Ok(Err(why)) => {
                println!("the connection is gone: {why}");
                machine.handle_session(clock.now(), false);
                sent = Sent::default();
                // The platform accepts one connection in five seconds.
                sleep(Duration::from_secs(5));
            }
            Err(RecvTimeoutError::Disconnected) => return Err("rumqttc has ended".into()),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// Passes an event of the connection to the machine.
fn heard(
    machine: &mut Updater,
    client: &Client,
    sent: &mut Sent,
    event: Mqtt,
    clock: Clock,
) -> Result<(), Box<dyn Error>> {
    let now = clock.now();
    match event {
        Mqtt::Incoming(Incoming::ConnAck(_)) => {
            client.subscribe(machine.config().identity.update_topic(), QoS::AtLeastOnce)?;
        }
        Mqtt::Incoming(Incoming::SubAck(_)) => machine.handle_session(now, true),
        Mqtt::Incoming(Incoming::Publish(message)) => {
            println!("← {} bytes", message.payload.len());
            // A retained message is old, and may come from somebody else.
            if message.retain {
                println!("a retained message is no offer");
            } else if let Err(why) = machine.handle_message(now, &message.topic, &message.payload) {
                println!("no message of the cloud's: {why}");
            }
        }
        Mqtt::Incoming(Incoming::PubAck(ack)) => {
            let at = sent.handed_over.iter().position(|(packet, _)| *packet == ack.pkid);
            if let Some(at) = at {
                let (_, id) = sent.handed_over.swap_remove(at);
                machine.handle_published(now, id);
            }
        }
        Mqtt::Outgoing(Outgoing::Publish(packet)) => match sent.queued.pop_front() {
            Some((id, Level::AtMostOnce)) => machine.handle_published(now, id),
            Some((id, Level::AtLeastOnce)) => sent.handed_over.push((packet, id)),
            None => {}
        },
        _ => {}
    }
    Ok(())
}

/// Handles the machine's outputs until it is idle; returns how long, and whether it accepts body
/// bytes.
fn turn(
    machine: &mut Updater,
    client: &Client,
    sent: &mut Sent,
    storage: &mut Storage,
    download: &mut Option<Download>,
    clock: Clock,
) -> Result<(Duration, bool), Box<dyn Error>> {
    let mut buf = [0; Config::buffer_len()];
    loop {
        let now = clock.now();
        let (op, work) = match machine.poll(now, &mut buf)? {
            Output::Publish(Publish { id, topic, qos, payload }) => {
                println!("→ {}", String::from_utf8_lossy(payload));
                let level = match qos {
                    Level::AtMostOnce => QoS::AtMostOnce,
                    Level::AtLeastOnce => QoS::AtLeastOnce,
                };
                client.publish(topic, level, false, payload)?;
                sent.queued.push_back((id, qos));
                continue;
            }
            Output::Fetch(Fetch { op, url, from, fresh }) => {
                *download = Download::open(op, url, from, fresh);
                if download.is_none() {
                    machine.handle_fetch_failed(now, op, TransportError::Refused);
                }
                continue;
            }
            Output::CancelFetch(_) => {
                *download = None;
                continue;
            }
            Output::Do(op, work) => (op, work.map(download::piece)),
            Output::Event(event) => {
                println!("* {event:?}");
                if let Event::Install { .. } = event {
                    // The image is complete and its digest is right: a real device installs it
                    // here.
                    println!("installing {}", storage.image().path().display());
                    machine.command(now, Installed::Running.into())?;
                }
                continue;
            }
            Output::Idle(Idle { deadline, read_body, .. }) => match deadline {
                Some(at) if at <= now => {
                    machine.handle_timeout(now);
                    continue;
                }
                _ => {
                    let wait = deadline.map_or(Duration::MAX, |at| at.since(now));
                    return Ok((wait.min(Duration::from_secs(10)), read_body));
                }
            },
            _ => continue,
        };
        // The installer gets an image with the digest of the offer.
        let whole = match &work {
            Work::Digest { range } => machine.offer().filter(|offer| offer.size == range.end),
            _ => None,
        };
        let whole = whole.map(|offer| offer.md5);
        let ended = storage.run(Job { op, work, whole });
        machine.handle_done(clock.now(), op, ended.result);
    }
}
