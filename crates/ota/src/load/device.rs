//! One device of the load: a real client on its own socket, without storage.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ota_cloud::broker::Broker;
use ota_host::{Clock, transport_error};
use ota_proto::{Boot, Command, Event, Identity, Instant, SlotInfo, SlotState, TransportError};
use ota_wire::Client;
use ota_wire::client::{ClientConfig, ClientEvent, DeviceIndex, Link, Output};
use ota_wire::mqtt::ConnectLogin;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::sleep_until;

use super::{Counters, Phase, moment};
use crate::failure::Failure;

/// Ten characters, like the platform's.
const PRODUCT: &str = "LOADTEST01";
/// The longest received packet is a reply of a few hundred bytes.
const READ: usize = 1024;

pub(super) struct Device {
    client: Client,
    index: DeviceIndex,
    clock: Clock,
    socket: Option<(Link, TcpStream)>,
    rx: Vec<u8>,
    /// When the current report was requested.
    asked: Instant,
    ready: bool,
    latencies: Vec<Duration>,
}

impl Device {
    pub(super) fn new(
        broker: &Broker,
        number: u32,
        spread: Duration,
        clock: Clock,
    ) -> Result<Self, Failure> {
        let wrong = |why: String| Failure::usage(format!("a device does not start: {why}"));
        let name = format!("dev{number:06}");
        let identity = Identity::new(PRODUCT, &name).map_err(|why| wrong(why.to_string()))?;
        let id = format!("{PRODUCT}{name}");
        let user = format!("{id};12010126;AbC12;4102444800");
        let login = ConnectLogin::new(id, user, "not checked".into());
        let seed = u64::from(number);
        let mut config =
            ClientConfig::new(broker.host().to_owned(), broker.port(), false, login, seed);
        config.reconnect.spread = spread.into();
        let now = clock.now();
        let mut client = Client::new(now, config).map_err(|why| wrong(why.to_string()))?;
        let storage = SlotInfo { capacity: 1 << 20, erase: 4096, write: 1 };
        let boot = Boot { running: "0.1.0", slot: SlotState::Confirmed, journal: None, storage };
        let index = client
            .add_device(now, ota_proto::Config::new(identity, seed), boot)
            .map_err(|why| wrong(why.to_string()))?;
        Ok(Self {
            client,
            index,
            clock,
            socket: None,
            rx: Vec::new(),
            asked: Instant::ZERO,
            ready: false,
            latencies: Vec::new(),
        })
    }

    /// Runs until the load stops; returns the duration of each report.
    pub(super) async fn run(
        mut self,
        counters: Arc<Counters>,
        mut phase: watch::Receiver<Phase>,
    ) -> Result<Vec<Duration>, Failure> {
        loop {
            let now = *phase.borrow_and_update();
            if now == Phase::Stop {
                return Ok(self.latencies);
            }
            let deadline = self.turn(now, &counters).await?;
            let wake = deadline.and_then(|at| moment(self.clock, at));
            let timer = async {
                match wake {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                moved = exchange(&mut self.socket, &mut self.rx, &self.client) => self.moved(moved),
                () = timer => self.client.handle_timeout(self.clock.now()),
                changed = phase.changed() => {
                    if changed.is_err() {
                        return Ok(self.latencies);
                    }
                    if *phase.borrow() == Phase::Report {
                        self.report();
                    }
                }
            }
        }
    }

    /// Handles all outputs; returns the deadline.
    async fn turn(
        &mut self,
        phase: Phase,
        counters: &Counters,
    ) -> Result<Option<Instant>, Failure> {
        loop {
            let now = self.clock.now();
            match self.client.poll(now) {
                Output::Connect { link, host, port, .. } => {
                    let (host, limit) = (host.to_owned(), Duration::from_secs(10));
                    let opening = TcpStream::connect((host.as_str(), port));
                    let opened = match tokio::time::timeout(limit, opening).await {
                        Ok(opened) => opened.map_err(|why| transport_error(&why)),
                        Err(_) => Err(TransportError::TimedOut),
                    };
                    match opened {
                        Ok(stream) => {
                            let _ = stream.set_nodelay(true);
                            self.socket = Some((link, stream));
                            self.client.handle_connected(self.clock.now(), link);
                        }
                        Err(why) => {
                            self.client.handle_connect_failed(self.clock.now(), link, why);
                        }
                    }
                }
                Output::Close { .. } => self.socket = None,
                Output::Event(ClientEvent::Disconnected { .. }) => {
                    counters.lost.fetch_add(1, Ordering::Relaxed);
                }
                Output::Event(ClientEvent::Device { event: Event::VersionAccepted, .. }) => {
                    self.answered(phase, counters);
                }
                Output::Event(_) => {}
                Output::Idle { deadline, .. } => return Ok(deadline),
                _ => return Err(Failure::usage("the cloud offers firmware to the load's devices")),
            }
        }
    }

    fn answered(&mut self, phase: Phase, counters: &Counters) {
        if !self.ready {
            self.ready = true;
            counters.ready.fetch_add(1, Ordering::Relaxed);
        } else if phase == Phase::Report {
            counters.answers.fetch_add(1, Ordering::Relaxed);
            self.latencies.push(self.clock.now().since(self.asked));
            self.report();
        }
    }

    fn report(&mut self) {
        let now = self.clock.now();
        self.asked = now;
        if let Some(updater) = self.client.updater_mut(self.index) {
            // Without a session the next one reports by itself.
            let _ = updater.command(now, Command::ReportNow);
        }
    }

    fn moved(&mut self, moved: Moved) {
        let now = self.clock.now();
        let Some((link, _)) = &self.socket else { return };
        let link = *link;
        match moved {
            Moved::Sent(count) => self.client.handle_sent(now, link, count),
            Moved::Closed(clean) => {
                self.socket = None;
                self.client.handle_closed(now, link, clean);
            }
            Moved::Received => loop {
                let received = self.client.handle_received(now, link, &self.rx);
                if received.consumed == 0 {
                    return;
                }
                self.rx.drain(..received.consumed.min(self.rx.len()));
            },
        }
    }
}

enum Moved {
    Sent(usize),
    /// Bytes were added to the buffer.
    Received,
    Closed(bool),
}

/// Reads or writes, whichever is possible first.
async fn exchange(
    socket: &mut Option<(Link, TcpStream)>,
    rx: &mut Vec<u8>,
    client: &Client,
) -> Moved {
    let Some((link, stream)) = socket else { return std::future::pending().await };
    let unsent = client.transmit(*link);
    let (mut reader, mut writer) = stream.split();
    rx.reserve(READ);
    tokio::select! {
        read = reader.read_buf(rx) => match read {
            Ok(0) => Moved::Closed(true),
            Ok(_) => Moved::Received,
            Err(_) => Moved::Closed(false),
        },
        written = writer.write(unsent), if !unsent.is_empty() => {
            written.map_or(Moved::Closed(false), Moved::Sent)
        }
    }
}
