//! Faults over sockets: the firmware server of [`origin`](ota_cloud::origin), and what the lines to
//! the broker share of [`relay`](ota_cloud::relay).

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ota_proto::Instant;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::hub::Journal;
use super::log::What;
use super::stream::{Stream, push_out};
use ota_cloud::endpoint::Event;
use ota_cloud::fault::FaultPlan;
use ota_cloud::origin::{self, Closing, Connection, Content, Origin, OriginConfig};
use ota_cloud::relay::{Line, Relay};
use ota_cloud::sign::UrlSigner;

/// What the broker's lines share.
#[derive(Clone, Debug)]
pub(super) struct Faults {
    relay: Arc<Mutex<Relay>>,
    journal: Journal,
}

impl Faults {
    pub(super) fn new(plan: &FaultPlan, journal: Journal) -> Self {
        Self { relay: Arc::new(Mutex::new(Relay::new(plan))), journal }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Relay> {
        self.relay.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next event of a line, when all bytes on it are where they belong.
    pub(super) fn next_event(&self, line: &mut Line, now: Instant) -> Option<Event> {
        let mut relay = self.lock();
        line.pump(&mut relay, now);
        let event = line.endpoint.poll_event(now);
        line.pump(&mut relay, now);
        while let Some(fault) = relay.next_struck() {
            self.journal.write(None, What::Fault { fault });
        }
        event
    }
}

/// The images and the plan.
#[derive(Clone, Debug)]
pub(super) struct Images(Arc<Mutex<Origin>>);

impl Images {
    /// Serves these bytes from now on.
    pub(super) fn insert(&self, path: String, content: Content) {
        self.lock().add_file(path, content);
    }

    fn lock(&self) -> MutexGuard<'_, Origin> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What all connections share.
#[derive(Clone, Debug)]
pub(super) struct Faulty {
    images: Images,
    clock: Clock,
    journal: Journal,
}

impl Faulty {
    pub(super) fn new(
        plan: FaultPlan,
        signer: UrlSigner,
        clock: Clock,
        journal: Journal,
        patience: std::time::Duration,
    ) -> Self {
        let config = OriginConfig {
            idle: patience,
            ..OriginConfig::new(Some(signer), clock.unix_at_zero().as_secs())
        };
        let mut origin = Origin::new(config);
        origin.set_faults(plan);
        Self { images: Images(Arc::new(Mutex::new(origin))), clock, journal }
    }

    /// For whoever adds images; the journal ends without it.
    pub(super) fn images(&self) -> Images {
        self.images.clone()
    }
}

/// Serves one connection until it ends or the service stops.
pub(super) async fn serve(
    stream: Stream,
    peer: SocketAddr,
    faulty: Faulty,
    stop: CancellationToken,
) {
    let connection = Connection::new(faulty.clock.now());
    let mut shell = Shell { stream, peer, faulty, connection, pending: Vec::new() };
    tokio::select! {
        () = shell.run() => {}
        () = stop.cancelled() => {}
    }
}

struct Shell {
    stream: Stream,
    peer: SocketAddr,
    faulty: Faulty,
    connection: Connection,
    /// Received and not yet taken.
    pending: Vec<u8>,
}

impl Shell {
    async fn run(&mut self) {
        let mut buf = vec![0; 4_096];
        let mut unflushed = false;
        loop {
            let unsent = self.turn();
            let deadline = self.connection.deadline(&self.faulty.images.lock());
            if let (Some(closing), true) = (self.connection.closing(), unsent.is_empty()) {
                // It ends either way.
                let _ = match closing {
                    Closing::Close => self.stream.shutdown().await,
                    Closing::Reset => {
                        self.stream.reset_at_end();
                        Ok(())
                    }
                };
                return;
            }
            let clock = self.faulty.clock;
            let (mut reader, mut writer) = tokio::io::split(&mut self.stream);
            tokio::select! {
                read = reader.read(&mut buf), if self.pending.is_empty() => match read {
                    Ok(n) if n > 0 => self.pending.extend_from_slice(buf.get(..n).unwrap_or(&[])),
                    _ => return,
                },
                pushed = push_out(&mut writer, &unsent), if unflushed || !unsent.is_empty() => {
                    match pushed {
                        Ok(n) => {
                            unflushed = n > 0;
                            self.connection.handle_sent(clock.now(), n);
                        }
                        Err(_) => return,
                    }
                }
                () = clock.sleep_until(deadline) => {}
            }
        }
    }

    /// Gives the connection what has come, and takes what it wants sent and told.
    fn turn(&mut self) -> Vec<u8> {
        let now = self.faulty.clock.now();
        let mut origin = self.faulty.images.lock();
        let taken = self.connection.handle_received(now, &self.pending);
        self.connection.handle_timeout(&origin, now);
        let unsent = self.connection.transmit(&mut origin, now).to_vec();
        drop(origin);
        self.pending.drain(..taken.min(self.pending.len()));
        while let Some(served) = self.connection.next_served() {
            for fault in served.faults {
                self.faulty.journal.write(None, What::Fault { fault });
            }
            let origin::Served { method, path, status, range, why, .. } = served;
            let why = why.to_owned();
            let request = What::Request { peer: self.peer, method, path, status, range, why };
            self.faulty.journal.write(None, request);
        }
        unsent
    }
}
