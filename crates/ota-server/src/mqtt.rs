//! Runs an [`endpoint::Connection`](ota_cloud::endpoint::Connection) over a socket, a timer and two
//! bounded queues.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use mqttbytes::QoS;
use ota_proto::{Identity, Instant};
use tokio::io::{AsyncRead as _, AsyncWrite as _, AsyncWriteExt as _, ReadBuf};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::faults::Faults;
use super::hub::{Input, Link};
use super::listen::ConnId;
use super::outbox;
use super::push::{Message, Push};
use super::stream::{Peer, Stream};
use ota_cloud::endpoint::{Connection, Event, Limits, Refusal};
use ota_cloud::relay::Line;

/// The most queued messages of one connection; a device that exceeds it is disconnected. The
/// endpoint bounds the reports, and thereby the acknowledgements.
pub(super) const OUTBOX: usize = 96;
/// The timeout for the last bytes of a closed connection.
const LINGER: Duration = Duration::from_secs(1);
/// The initial size of the buffer. A device's messages have a few hundred bytes.
const READ: usize = 2048;

/// The state that all connections share.
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
    let (outbox, pushes) = outbox::outbox(OUTBOX);
    let (alive, dismissed) = oneshot::channel();
    let is_faulty = !faults.lock().is_idle();
    let mut shell = Shell {
        wire: Wire {
            stream: client.stream,
            line: Line::new(Connection::new(clock.now(), limits), is_faulty),
            faults: is_faulty.then_some(faults),
            unflushed: false,
            clock,
        },
        certificate: client.certificate,
        peer,
        id,
        hub,
        link: Some(Link { outbox, _alive: alive }),
        pushes,
        dismissed,
        decision: None,
        device: None,
        half: limits.unsent / 2,
    };
    let why = tokio::select! {
        why = shell.run() => why,
        () = stop.cancelled() => "the service stops".to_owned(),
    };
    shell.wire.finish().await;
    let device = shell.device.take();
    // A hub that has stopped has no connections.
    let _ = shell.hub.send(Input::Gone { id, peer, device, why }).await;
}

struct Shell {
    wire: Wire,
    /// Sent to the hub with the login.
    certificate: Option<Vec<u8>>,
    peer: SocketAddr,
    id: ConnId,
    hub: mpsc::Sender<Input>,
    /// Sent to the hub with the login.
    link: Option<Link>,
    pushes: outbox::Receiver<Push>,
    /// Ends when the hub drops its end.
    dismissed: oneshot::Receiver<Infallible>,
    decision: Option<oneshot::Receiver<Result<Identity, Refusal>>>,
    device: Option<Identity>,
    half: usize,
}

impl Shell {
    /// Runs until the connection must close; returns the reason.
    async fn run(&mut self) -> String {
        let clock = self.wire.clock;
        // The timer is set again only for an earlier deadline, because every packet moves the
        // deadline on.
        let mut timer = pin!(tokio::time::sleep(Duration::ZERO));
        let mut rings: Option<Instant> = None;
        loop {
            if self.forward().await.is_err() {
                return "the service stops".to_owned();
            }
            if let Some(why) = self.wire.line.endpoint.closed() {
                return why.to_string();
            }
            if self.wire.line.is_cut() {
                return "a fault".to_owned();
            }
            let deadline = self.wire.line.deadline();
            if let Some(at) = deadline.filter(|at| rings.is_none_or(|rings| *at < rings))
                && let Some(moment) = clock.moment_of(at)
            {
                timer.as_mut().reset(moment);
                rings = Some(at);
            }
            let unsent = self.wire.line.unsent().len();
            let logged_in = self.link.is_none() && self.decision.is_none();
            tokio::select! {
                biased;
                _ = &mut self.dismissed, if logged_in => {
                    return "another login of the device, or its queue is full".to_owned();
                }
                () = timer.as_mut(), if rings.is_some() => {
                    rings = None;
                    self.wire.line.handle_timeout(clock.now());
                }
                decided = decide(&mut self.decision), if self.decision.is_some() => {
                    self.decision = None;
                    let endpoint = &mut self.wire.line.endpoint;
                    match decided {
                        Some(Ok(device)) => {
                            self.device = Some(device.clone());
                            endpoint.accept(clock.now(), device);
                        }
                        Some(Err(refusal)) => endpoint.refuse(clock.now(), refusal),
                        None => return "the service stops".to_owned(),
                    }
                }
                Some(push) = self.pushes.recv(), if logged_in && unsent <= self.half => {
                    self.take(push);
                    // Everything that is queued leaves in one write.
                    while self.wire.line.unsent().len() <= self.half {
                        let Some(push) = self.pushes.try_recv() else { break };
                        self.take(push);
                    }
                }
                moved = poll_fn(|cx| self.wire.poll_move(cx)) => {
                    if let Err(why) = moved {
                        return why;
                    }
                }
            }
        }
    }

    fn take(&mut self, push: Push) {
        let (now, endpoint) = (self.wire.clock.now(), &mut self.wire.line.endpoint);
        // A message at QoS 0 may be lost; the state of the connection shows the error.
        match push {
            Push::Update { payload, ack } => {
                if let Some(id) = ack {
                    endpoint.acknowledge(now, id);
                }
                if let Some(device) = &self.device {
                    let topic = device.update_topic();
                    let _ = endpoint.publish(now, topic, &payload, QoS::AtMostOnce);
                }
            }
            Push::Message(message) => {
                let Message { topic, payload, qos } = *message;
                let _ = endpoint.publish(now, &topic, &payload, qos);
            }
            Push::Ack(id) => endpoint.acknowledge(now, id),
        }
    }

    /// Passes the events to the hub, and waits while the hub has no room.
    async fn forward(&mut self) -> Result<(), mpsc::error::SendError<Input>> {
        while let Some(event) = self.wire.next_event() {
            let id = self.id;
            let input = match (event, self.link.take()) {
                (Event::Login(login), Some(link)) => {
                    let (answer, decision) = oneshot::channel();
                    self.decision = Some(decision);
                    let (peer, certificate) = (self.peer, self.certificate.take());
                    Input::Login { id, peer, login, certificate, link, answer }
                }
                (event, link) => {
                    self.link = link;
                    Input::Event { id, event }
                }
            };
            self.hub.send(input).await?;
        }
        Ok(())
    }
}

/// The socket and the state of its streams.
struct Wire {
    stream: Stream,
    line: Line,
    /// The line that faults apply to.
    faults: Option<Faults>,
    /// Whether a layer below may hold bytes that need a flush.
    unflushed: bool,
    clock: Clock,
}

impl Wire {
    fn next_event(&mut self) -> Option<Event> {
        let now = self.clock.now();
        match &self.faults {
            None => self.line.endpoint.poll_event(now),
            Some(faults) => faults.next_event(&mut self.line, now),
        }
    }

    /// Writes what is queued and reads what arrived. Ready when at least one of them made progress.
    fn poll_move(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        let wrote = match self.poll_send(cx) {
            Poll::Ready(Ok(wrote)) => wrote,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(format!("cannot write: {error}"))),
            Poll::Pending => false,
        };
        if self.line.wants_read() {
            let mut space = [0; READ];
            let mut space = ReadBuf::new(&mut space);
            match Pin::new(&mut self.stream).poll_read(cx, &mut space) {
                Poll::Ready(Ok(())) if space.filled().is_empty() => {
                    return Poll::Ready(Err("the client closed it".to_owned()));
                }
                Poll::Ready(Ok(())) => {
                    self.received(space.filled());
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Err(format!("cannot read: {error}")));
                }
                Poll::Pending => {}
            }
        }
        if wrote { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// Ready when everything is written and flushed. Returns whether anything was.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<bool>> {
        let mut wrote = false;
        while !self.line.unsent().is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, self.line.unsent()) {
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
                }
                Poll::Ready(Ok(n)) => {
                    (wrote, self.unflushed) = (true, true);
                    self.line.handle_sent(self.clock.now(), n);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                // The room that this made counts as progress, too.
                Poll::Pending if wrote => return Poll::Ready(Ok(true)),
                Poll::Pending => return Poll::Pending,
            }
        }
        if self.unflushed {
            match Pin::new(&mut self.stream).poll_flush(cx) {
                Poll::Ready(flushed) => flushed?,
                Poll::Pending if wrote => return Poll::Ready(Ok(true)),
                Poll::Pending => return Poll::Pending,
            }
            self.unflushed = false;
        }
        Poll::Ready(Ok(wrote))
    }

    fn received(&mut self, data: &[u8]) {
        match &self.faults {
            None => self.line.endpoint.handle_received(data),
            Some(faults) => {
                let now = self.clock.now();
                self.line.handle_received(&mut faults.lock(), now, data);
            }
        }
    }

    /// Writes the remaining bytes, as far as the client accepts them, and ends the stream.
    async fn finish(&mut self) {
        let unsent = self.line.unsent();
        let last = async {
            self.stream.write_all(unsent).await?;
            self.stream.shutdown().await
        };
        // The connection is over in both cases.
        let _ = tokio::time::timeout(LINGER, last).await;
    }
}

/// The hub's decision on a login. Pending while no login was sent.
async fn decide(
    decision: &mut Option<oneshot::Receiver<Result<Identity, Refusal>>>,
) -> Option<Result<Identity, Refusal>> {
    match decision {
        Some(decision) => decision.await.ok(),
        None => std::future::pending().await,
    }
}
