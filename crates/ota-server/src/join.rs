//! Runs a [`Session`] over a socket, a timer and two bounded queues. Reconnects after a pause.

use std::time::Duration;

use ota_proto::Rng;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::hub::{Input, Verdict};
use crate::journal::Journal;
use crate::log::What;
use crate::push::{Message, Push};
use crate::stream::{self, Stream, push_out};
use crate::tls::ClientTls;
use ota_cloud::broker::{Broker, Event, Lost, Session};

/// The timeout for the last bytes of a connection.
const LINGER: Duration = Duration::from_secs(1);
/// The longest pause before a reconnect.
const LONGEST: Duration = Duration::from_secs(60);
/// A connection that lasted this long resets the back-off.
const GOOD: Duration = Duration::from_secs(60);
const READ: usize = 4096;

/// The broker, and its trust anchors for TLS.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) broker: Broker,
    pub(crate) tls: Option<ClientTls>,
}

/// The hub's channels to the broker's session.
#[derive(Debug)]
pub(crate) struct FromHub {
    pub(crate) pushes: mpsc::Receiver<Push>,
    /// Each with the number of its session.
    pub(crate) told: mpsc::UnboundedReceiver<(u64, Verdict)>,
}

/// Keeps the connection up until the service stops.
pub(crate) async fn run(
    way: Way,
    hub: mpsc::Sender<Input>,
    mut from_hub: FromHub,
    journal: Journal,
    seed: u64,
    stop: CancellationToken,
) {
    let mut rng = Rng::new(seed);
    let mut failures = 0_u8;
    let clock = journal.clock;
    let mut number = 0_u64;
    loop {
        number = number.wrapping_add(1);
        let began = clock.now();
        let why = match open(&way).await {
            Ok(stream) => {
                let session = Session::new(clock.now(), &way.broker);
                let (hub, journal) = (&hub, &journal);
                let mut shell = Shell { stream, session, number, clock, hub, journal };
                let ended = shell.run(&way.broker, &mut from_hub, &stop).await;
                shell.finish().await;
                ended
            }
            Err(why) => why,
        };
        if stop.is_cancelled() {
            return;
        }
        if clock.now().since(began) >= GOOD {
            failures = 0;
        }
        let retry = pause(&mut rng, &way.broker, failures, &why);
        failures = failures.saturating_add(1);
        journal.write(None, What::BrokerLost { broker: way.broker.to_string(), why, retry });
        tokio::select! {
            () = tokio::time::sleep(retry) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Draws a pause between half and all of the back-off.
fn pause(rng: &mut Rng, broker: &Broker, failures: u8, why: &Lost) -> Duration {
    // Only a person can fix the cause of a refusal, so the pause is longer.
    let exponent = if why.is_refusal() { failures.saturating_add(2) } else { failures };
    let factor = 1_u32.checked_shl(u32::from(exponent)).unwrap_or(u32::MAX);
    let pause = broker.pause.saturating_mul(factor).min(LONGEST);
    let half = pause.checked_div(2).unwrap_or(pause);
    half.saturating_add(rng.up_to(half.into()).into())
}

async fn open(way: &Way) -> Result<Stream, Lost> {
    let late = |_| Lost::NoConnection("no answer in time".into());
    timeout(way.broker.answer, connect(way)).await.map_err(late)?
}

async fn connect(Way { broker, tls }: &Way) -> Result<Stream, Lost> {
    let failed = |error: std::io::Error| Lost::NoConnection(error.to_string());
    let socket = TcpStream::connect((broker.host(), broker.port())).await.map_err(failed)?;
    stream::hurry(&socket);
    match tls {
        None => Ok(Box::new(socket)),
        Some(tls) => tls.connect(broker.host(), socket).await.map_err(failed)?.map_err(Lost::Tls),
    }
}

struct Shell<'a> {
    stream: Stream,
    session: Session,
    /// Ignores acknowledgements of an earlier session.
    number: u64,
    clock: Clock,
    hub: &'a mpsc::Sender<Input>,
    journal: &'a Journal,
}

impl Shell<'_> {
    /// Runs until the connection must close; returns the reason.
    async fn run(
        &mut self,
        broker: &Broker,
        from_hub: &mut FromHub,
        stop: &CancellationToken,
    ) -> Lost {
        let mut buf = vec![0; READ];
        let mut unflushed = false;
        loop {
            if self.forward(broker).await.is_err() {
                return Lost::Closed;
            }
            if let Some(why) = self.session.over() {
                return why.clone();
            }
            let (mut reader, mut writer) = tokio::io::split(&mut self.stream);
            let unsent = self.session.unsent();
            tokio::select! {
                read = reader.read(&mut buf), if self.session.wants_read() => match read {
                    Ok(n) if n > 0 => {
                        self.session.handle_received(buf.get(..n).unwrap_or(&[]));
                    }
                    _ => return Lost::Closed,
                },
                pushed = push_out(&mut writer, unsent), if unflushed || !unsent.is_empty() => {
                    match pushed {
                        Ok(n) => {
                            unflushed = n > 0;
                            self.session.handle_sent(self.clock.now(), n);
                        }
                        Err(_) => return Lost::Closed,
                    }
                }
                Some((number, told)) = from_hub.told.recv() => self.tell(number, told),
                Some(push) = from_hub.pushes.recv(),
                    if self.session.is_joined() && unsent.is_empty() =>
                {
                    // Verdicts that came before the push leave before it.
                    while let Ok((number, told)) = from_hub.told.try_recv() {
                        self.tell(number, told);
                    }
                    if let Push::Message(message) = push {
                        let Message { topic, payload, .. } = *message;
                        self.session.publish(self.clock.now(), &topic, &payload);
                    }
                }
                () = self.clock.sleep_until(self.session.deadline()) => {
                    self.session.handle_timeout(self.clock.now());
                }
                () = stop.cancelled() => self.session.disconnect(self.clock.now()),
            }
        }
    }

    /// Handles the hub's verdicts on reports, of this session or an earlier one.
    fn tell(&mut self, number: u64, told: Verdict) {
        if number == self.number {
            match told {
                Verdict::Ack(id) => self.session.acknowledge(self.clock.now(), id),
                Verdict::NotKept => self.session.give_up(),
            }
        }
    }

    /// Passes the events to the hub; waits for room before each.
    async fn forward(&mut self, broker: &Broker) -> Result<(), mpsc::error::SendError<()>> {
        loop {
            let permit = self.hub.reserve().await?;
            let Some(event) = self.session.poll_event(self.clock.now()) else { return Ok(()) };
            if event == Event::Joined {
                self.journal.write(None, What::BrokerJoined { broker: broker.to_string() });
            } else {
                permit.send(Input::Broker(self.number, event));
            }
        }
    }

    /// Writes the remaining bytes, as far as the broker accepts them, and ends the stream.
    async fn finish(&mut self) {
        let unsent = self.session.unsent();
        let last = async {
            self.stream.write_all(unsent).await?;
            self.stream.shutdown().await
        };
        // The connection is over in both cases.
        let _ = timeout(LINGER, last).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ota_cloud::broker::Refused;

    #[test]
    fn pauses_double_up_to_a_minute_and_refusals_wait_longer() {
        let broker = Broker::from_url("mqtt://h").unwrap();
        let mut rng = Rng::new(1);
        let refused = Lost::Refused(Refused::Credentials);
        for (failures, most) in [(0, 1), (1, 2), (2, 4), (5, 32), (6, 60), (255, 60)] {
            let most = Duration::from_secs(most);
            for _ in 0..20 {
                let span = pause(&mut rng, &broker, failures, &Lost::Closed);
                assert!((most / 2..=most).contains(&span), "{failures}: {span:?}");
            }
        }
        assert!(pause(&mut rng, &broker, 0, &refused) >= Duration::from_secs(2));
    }
}
