//! The thin shell of an [`endpoint::Connection`](ota_cloud::endpoint::Connection): a socket, a timer,
//! and two bounded queues.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use mqttbytes::QoS;
use ota_proto::Identity;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::faulty::Faults;
use super::hub::{ConnId, Input, Link};
use super::stream::{Peer, Stream, push_out};
use ota_cloud::endpoint::{Connection, Event, Limits, Refusal};
use ota_cloud::relay::Line;

/// Something for a device.
#[derive(Clone, Debug)]
pub(super) enum Push {
    /// A message.
    Message { topic: String, payload: Bytes, qos: QoS },
    /// Its report with this id is durable.
    Ack(u16),
}

/// What waits for one connection; a device that lets it pile up is disconnected. Acknowledgements
/// are not more than the endpoint takes reports.
pub(super) const OUTBOX: usize = 96;
/// How long the last bytes of a closed connection may take.
const LINGER: Duration = Duration::from_secs(1);
/// A device's messages have some hundred bytes, and each connection has such a buffer.
const READ: usize = 1024;

/// What all connections share.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) clock: Clock,
    pub(super) limits: Limits,
    pub(super) hub: mpsc::Sender<Input>,
    pub(super) faults: Faults,
    pub(super) stop: CancellationToken,
}

/// Serves one connection until it ends or the service stops.
pub(super) async fn serve(client: Peer, peer: SocketAddr, id: ConnId, shared: Shared) {
    let Shared { clock, limits, hub, faults, stop } = shared;
    let (outbox, pushes) = mpsc::channel(OUTBOX);
    let (alive, dismissed) = oneshot::channel();
    let faulty = !faults.lock().is_idle();
    let mut shell = Shell {
        stream: client.stream,
        certificate: client.certificate,
        peer,
        id,
        clock,
        hub,
        link: Some(Link { outbox, _alive: alive }),
        pushes,
        dismissed,
        decision: None,
        device: None,
        line: Line::new(Connection::new(clock.now(), limits), faulty),
        faults,
        half: limits.unsent / 2,
    };
    let why = tokio::select! {
        why = shell.run() => why,
        () = stop.cancelled() => "the service stops".to_owned(),
    };
    shell.finish().await;
    let device = shell.device.take();
    // A stopped hub has forgotten the connection already.
    let _ = shell.hub.send(Input::Gone { id, peer, device, why }).await;
}

struct Shell {
    stream: Stream,
    /// Handed to the hub with the login.
    certificate: Option<Vec<u8>>,
    peer: SocketAddr,
    id: ConnId,
    clock: Clock,
    hub: mpsc::Sender<Input>,
    /// Handed to the hub with the login.
    link: Option<Link>,
    pushes: mpsc::Receiver<Push>,
    /// Ends when the hub lets go of its end.
    dismissed: oneshot::Receiver<Infallible>,
    decision: Option<oneshot::Receiver<Result<Identity, Refusal>>>,
    device: Option<Identity>,
    line: Line,
    faults: Faults,
    half: usize,
}

impl Shell {
    /// Runs until the connection is to be closed; says why.
    async fn run(&mut self) -> String {
        let mut buf = vec![0; READ];
        let mut unflushed = false;
        loop {
            if self.forward().await.is_err() {
                return "the service stops".to_owned();
            }
            if let Some(why) = self.line.endpoint.closed() {
                return why.to_string();
            }
            if self.line.is_cut() {
                return "a fault".to_owned();
            }
            let (mut reader, mut writer) = tokio::io::split(&mut self.stream);
            let unsent = self.line.unsent();
            let logged_in = self.link.is_none() && self.decision.is_none();
            tokio::select! {
                read = reader.read(&mut buf), if self.line.wants_read() => match read {
                    Ok(0) => return "the client closed it".to_owned(),
                    Ok(n) => {
                        let (now, data) = (self.clock.now(), buf.get(..n).unwrap_or(&[]));
                        self.line.handle_received(&mut self.faults.lock(), now, data);
                    }
                    Err(error) => return format!("cannot read: {error}"),
                },
                pushed = push_out(&mut writer, unsent), if unflushed || !unsent.is_empty() => {
                    match pushed {
                        Ok(n) => {
                            unflushed = n > 0;
                            self.line.handle_sent(self.clock.now(), n);
                        }
                        Err(error) => return format!("cannot write: {error}"),
                    }
                }
                decided = decide(&mut self.decision), if self.decision.is_some() => {
                    self.decision = None;
                    let now = self.clock.now();
                    match decided {
                        Some(Ok(device)) => {
                            self.device = Some(device.clone());
                            self.line.endpoint.accept(now, device);
                        }
                        Some(Err(refusal)) => self.line.endpoint.refuse(now, refusal),
                        None => return "the service stops".to_owned(),
                    }
                }
                Some(push) = self.pushes.recv(), if logged_in && unsent.len() <= self.half => {
                    self.take(push);
                    // An acknowledgement and the reply to the same report leave together.
                    while self.line.unsent().len() <= self.half {
                        let Ok(push) = self.pushes.try_recv() else { break };
                        self.take(push);
                    }
                }
                _ = &mut self.dismissed, if logged_in => {
                    return "another login of the device, or its queue is full".to_owned();
                }
                () = self.clock.sleep_until(self.line.deadline()) => {
                    self.line.handle_timeout(self.clock.now());
                }
            }
        }
    }

    fn take(&mut self, push: Push) {
        let (now, endpoint) = (self.clock.now(), &mut self.line.endpoint);
        match push {
            Push::Message { topic, payload, qos } => {
                // Lost, as QoS 0 may be; the fault shows in the connection's own state.
                let _ = endpoint.publish(now, &topic, &payload, qos);
            }
            Push::Ack(id) => endpoint.acknowledge(now, id),
        }
    }

    /// Hands the events to the hub, each only when it has room.
    async fn forward(&mut self) -> Result<(), mpsc::error::SendError<()>> {
        loop {
            let permit = self.hub.reserve().await?;
            let event = self.faults.next_event(&mut self.line, self.clock.now());
            let Some(event) = event else { return Ok(()) };
            match (event, self.link.take()) {
                (Event::Login(login), Some(link)) => {
                    let (answer, decision) = oneshot::channel();
                    self.decision = Some(decision);
                    let (id, peer) = (self.id, self.peer);
                    let certificate = self.certificate.take();
                    permit.send(Input::Login { id, peer, login, certificate, link, answer });
                }
                (event, link) => {
                    self.link = link;
                    permit.send(Input::Event { id: self.id, event });
                }
            }
        }
    }

    /// Writes what is left, as far as the client takes it, and ends the stream.
    async fn finish(&mut self) {
        let unsent = self.line.unsent();
        let last = async {
            self.stream.write_all(unsent).await?;
            self.stream.shutdown().await
        };
        // The connection is over either way.
        let _ = tokio::time::timeout(LINGER, last).await;
    }
}

/// The hub's decision; pending while none was asked for.
async fn decide(
    decision: &mut Option<oneshot::Receiver<Result<Identity, Refusal>>>,
) -> Option<Result<Identity, Refusal>> {
    match decision {
        Some(decision) => decision.await.ok(),
        None => std::future::pending().await,
    }
}
